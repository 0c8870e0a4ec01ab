"""Segments are the rows their sound and recording say they are."""

import warnings

import numpy as np
import pandas as pd
import pytest

from sk_b2s import StimulusArray, StimulusIntervals, StimulusKFold, check_events, make_segments
from sk_b2s.events._blocks import cut_blocks
from sk_b2s.events._stimuli import stable_id, stimulus_duration


@pytest.fixture
def events():
    """Two people who hear two sounds in different order, with words of known times."""
    rng = np.random.default_rng(0)
    sounds = {name: StimulusArray(rng.standard_normal(6400), 64, name) for name in "ab"}  # 100 s each
    rows = []
    for subject, order in [("1", "ab"), ("2", "ba")]:
        for place, name in enumerate(order):
            begin = 3.0 + 110 * place
            recording = {
                "subject": subject,
                "recording": f"{subject}.fif",
                "recording_duration": 240.0,
            }
            rows.append(
                {
                    **recording,
                    "type": "sound",
                    "onset": begin,
                    "duration": 0.0,
                    "sound": sounds[name],
                }
            )
            for i in range(99):
                rows.append({
                    **recording, "type": "word", "onset": begin + i + 0.2, "duration": 0.9, "text": f"{name}{i}",
                    "sequence": f"{name}/{i // 6}", "word_index": i % 6, "speaker": "s",
                })  # fmt: skip
    return pd.DataFrame(rows)


def test_a_segment_is_the_same_for_all_who_heard_it(events):
    X, y = make_segments(events, tmin=-0.5, tmax=2.35, block=20)
    one, two = (y[X["subject"] == s].set_index("segment").sort_index() for s in "12")
    assert one.index.is_unique
    pd.testing.assert_frame_equal(one, two)


def test_windows_start_where_their_word_says(events):
    X, y = make_segments(events, tmin=-0.5, tmax=2.35)
    np.testing.assert_allclose(y["sound_onset"] + 0.5, y["word"].str[1:].astype(int) + 0.2)
    np.testing.assert_allclose(X["duration"], 2.85)
    first = X["onset"] - y["sound_onset"]  # where each sound began in the recording
    assert set(first.round(6)) == {3.0, 113.0}
    assert y.loc[5, "text"] == "a5 a6 a7"
    assert list(y["speaker"].unique()) == ["s"], "unknown columns are carried along"


def test_grid_anchors_lie_in_sound_time(events):
    shifted = events.copy()
    shifted.loc[shifted["subject"] == "2", "onset"] += 0.317
    X, y = make_segments(shifted, anchor=0.5, tmin=0, tmax=3)
    assert set((y["sound_onset"] / 0.5) % 1) == {0.0}
    assert y["sound_onset"].max() == 97.0, "the last window of 3 s in 100 s of sound"
    assert (y.groupby("segment").size() == 2).all()
    anchor = y.set_index("sound_onset").loc[7.5].iloc[0]
    assert anchor["word"] == "a7", "the word spoken at the anchor"


def test_blocks_end_at_sentences_and_hold_20_seconds(events):
    _, y = make_segments(events, block=20)
    spans = y[["block", "block_start", "block_stop"]].drop_duplicates()
    assert (spans["block_stop"] - spans["block_start"] >= 20).all()
    assert y.groupby("sequence")["block"].nunique().max() == 1
    assert y["block"].nunique() == 8


def test_every_row_knows_the_blocks_beside_its_own(events):
    _, y = make_segments(events, block=20)
    for _, rows in y.groupby("sound", sort=False):
        spans = (
            rows[["block_before", "block_start", "block_stop", "block_after"]].drop_duplicates().to_numpy()
        )
        spans = spans[np.argsort(spans[:, 1])]
        assert (spans[1:, 1] == spans[:-1, 2]).all(), "blocks adjoin"
        assert (spans[1:, 0] == spans[:-1, 1]).all(), "the block before starts where that block does"
        assert (spans[:-1, 3] == spans[1:, 2]).all(), "the block after stops where that block does"
        assert spans[0, 0] == spans[0, 1] == 0
        assert spans[-1, 3] == spans[-1, 2] == stimulus_duration(rows["sound"].iloc[0])


def test_blocks_of_equal_text_are_one():
    rng = np.random.default_rng(1)
    sounds = [
        StimulusArray(rng.standard_normal(1280), 64, name) for name in ("low voice", "high voice", "other")
    ]
    rows = []
    for i, (sound, text) in enumerate(zip(sounds, ["Same words", "same words!", "other words"], strict=True)):
        recording = {"subject": "1", "recording": "1.fif", "recording_duration": 99.0}
        rows.append({**recording, "type": "sound", "onset": 5 + 30 * i, "duration": 0, "sound": sound})
        for j, word in enumerate(text.split()):
            rows.append(
                {
                    **recording,
                    "type": "word",
                    "onset": 6 + 30 * i + j,
                    "duration": 0.5,
                    "text": word,
                }
            )
    _, y = make_segments(pd.DataFrame(rows))
    low, high, other = (y.loc[y["sound"] == s, "block"].iloc[0] for s in sounds)
    assert low == high != other


@pytest.mark.parametrize("anchor", ["word", 0.5])
def test_words_without_text_say_nothing(events, anchor):
    """Blocks of two sounds are not one because neither has text."""
    _, expected = make_segments(events, anchor=anchor)
    _, y = make_segments(events.drop(columns="text"), anchor=anchor)
    assert set(y["text"]) == {""}
    pd.testing.assert_series_equal(y["segment"], expected["segment"])
    assert (pd.crosstab(y["block"], expected["block"]) > 0).sum(axis=1).eq(1).all()
    _, some = make_segments(events.assign(text=events["text"].where(events["text"] != "a6")), anchor=anchor)
    assert "a6" in " ".join(expected["text"]).split()
    kept = [" ".join(word for word in text.split() if word != "a6") for text in expected["text"]]
    assert some["text"].tolist() == kept


def test_cuts_without_words_are_regular():
    none = pd.DataFrame({"sound_onset": [], "duration": [], "sequence": []})
    np.testing.assert_allclose(cut_blocks(none, 65.0, block=20), [0, 20, 40, 65])
    np.testing.assert_allclose(cut_blocks(none, 5.0, block=20), [0, 5])


def test_left_out_windows_are_counted(events):
    bad = {"subject": "1", "recording": "1.fif", "type": "bad", "onset": 50.0, "duration": 2.0}
    events = pd.concat([events, pd.DataFrame([bad])], ignore_index=True)
    everything = 4 * 99
    with pytest.warns(UserWarning, match=r"left out (\d+) of 396 windows: .* touch a bad stretch") as caught:
        X, _ = make_segments(events, margin=0.5)
    assert f"left out {everything - len(X)} of" in str(caught[0].message)
    one = X[X["recording"] == "1.fif"]
    assert not ((one["onset"] - 0.5 < 52) & (one["onset"] + 2.85 + 0.5 > 50)).any()
    with pytest.warns(UserWarning, match="leave the recording"):
        make_segments(events, margin=5.0, reject_by_annotation=False)


def test_what_is_left_out_of_a_recording_hangs_on_it_alone(events):
    """Bad stretches, lengths and second sounds of one recording do nothing to another's."""
    bad = pd.DataFrame({
        "subject": ["1", "2", "2"], "recording": ["1.fif", "2.fif", "2.fif"], "type": "bad",
        "onset": [30.0, 60.0, 150.0], "duration": [2.0, 5.0, 0.5],
    })  # fmt: skip
    table = pd.concat([events, bad], ignore_index=True)
    table["recording_duration"] = table["subject"].map({"1": 200.0, "2": 180.0})
    with pytest.warns(UserWarning, match="left out"):
        X, y = make_segments(table)
    for subject, own in table.groupby("subject"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mine, heard = make_segments(own)
        rows = (X["subject"] == subject).to_numpy()
        pd.testing.assert_frame_equal(X[rows].reset_index(drop=True), mine)
        assert y.loc[rows, "segment"].tolist() == heard["segment"].tolist()
        end = own["recording_duration"].iloc[0]
        assert (mine["onset"] + mine["duration"] + 0.5 <= end).all()


def test_a_window_with_a_second_sound_is_left_out(events):
    close = events.copy()
    close.loc[(close["subject"] == "1") & (close["onset"] > 105), "onset"] -= 9.5  # second sound at 103.5 s
    with pytest.warns(UserWarning, match="contain a second sound"):
        X, _ = make_segments(close)
    of_it = X[X["subject"] == "1"]
    crosses = (of_it["onset"] < 103.5 - 1e-6) & (of_it["onset"] + of_it["duration"] > 103.5)
    assert not (crosses & (of_it["onset"] + of_it["duration"] > 103.5) & (of_it["onset"] < 103.0)).any()


def test_streams_may_overlap_and_one_can_be_taken(events):
    ignored = events.copy()
    ignored["onset"] += 0.05
    both = pd.concat([events.assign(stream="attended"), ignored.assign(stream="ignored")], ignore_index=True)
    X, y = make_segments(both, stream="attended")
    assert set(y["stream"]) == {"attended"}
    assert len(X) == len(make_segments(events)[0])
    with pytest.raises(ValueError, match=r"stream='heard' is none of the streams .*attended"):
        make_segments(both, stream="heard")


def test_a_word_after_its_sound_has_ended_has_none():
    story = StimulusArray(np.zeros(64 * 20), 64, "story")
    events = pd.DataFrame({
        "subject": "1", "recording": "1.fif", "type": ["sound", "word", "word"], "onset": [2.0, 6.9, 15.0],
        "duration": [5.0, 0.3, 0.3], "sound": [story, None, None], "text": [None, "a", "b"],
    })  # fmt: skip
    with pytest.raises(
        ValueError, match=r"row 2, column 'sound': .*'story', has ended at 7\.000 s .*row missing"
    ):
        check_events(events)
    assert check_events(events[:2])["sound_onset"].tolist() == [0.0, 4.9]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.drop(columns="onset"), r"lacks the column \['onset'\]"),
        (
            lambda e: e.assign(duration=e["duration"].where(e.index != 7, -0.3)),
            r"row 7, column 'duration'.*-0\.3",
        ),
        (
            lambda e: e.assign(onset=e["onset"].where(e.index != 5)),
            r"row 5, column 'onset': expected a time",
        ),
        (
            lambda e: e.assign(type=e["type"].where(e.index != 3, "wrod")),
            r"row 3, column 'type'.*did you mean 'word'",
        ),
        (
            lambda e: e.assign(sound=e["sound"].where(e.index != 0, "no.wav")),
            r"row 0, column 'sound': .*existing file",
        ),
        (
            lambda e: e.assign(duration=e["duration"].where(e.index != 9, "long")),
            r"row 9, column 'duration'.*'long'",
        ),
        (
            lambda e: e.assign(onset=e["onset"].where(e.index != 100, 60.0)),
            r"row 100, column 'onset': the sound 'b'",
        ),
        (
            lambda e: e.assign(sound_onset=np.where(e.index == 4, 130.0, np.nan)),
            "row 4, column 'sound_onset'.*within",
        ),
        (
            lambda e: e[e["type"] == "word"],
            "row 1, column 'sound': expected a sound, given or playing",
        ),
        (
            lambda e: e.assign(duration=e["duration"].where(e.index != 7, np.inf)),
            "row 7, column 'duration'.*inf",
        ),
        (
            lambda e: e.assign(sound_onset=np.where(e.index == 4, 30.0, np.nan)),
            "row 4, column 'sound_onset'.*give",
        ),
        (
            lambda e: e.assign(subject=e["subject"].where(e.index != 6)),
            "row 6, column 'subject': expected the name",
        ),
        (lambda e: e.assign(recording=e["recording"].where(e.index != 6)), "row 6, column 'recording'.*path"),
        (
            lambda e: e.assign(subject=e["subject"].where(e.index != 6, "2")),
            "row 6, column 'subject': expected one",
        ),
        (
            lambda e: e.assign(study=e.index // 9),
            "row 9, column 'study': expected one study for each subject",
        ),
        (
            lambda e: pd.concat([e, e[7:8]], ignore_index=True),
            "row 400, column 'onset': expected each event once",
        ),
        (lambda e: e.iloc[:0], "no rows"),
        (lambda e: e.to_numpy(), "must be a pandas DataFrame"),
    ],
    ids=[
        "column", "negative", "nan", "type", "file", "text", "overlap", "beyond", "silent", "endless", "contradiction",
        "nobody", "nowhere", "two people", "two studies", "twice", "empty", "array",
    ],
)  # fmt: skip
def test_wrong_tables_are_named(events, change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make_segments(change(events))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"anchor": "phone"}, "anchor must be 'word' or a step"),
        ({"anchor": 0}, "anchor must be a number of seconds"),
        ({"tmin": 1, "tmax": 1}, "tmax later than tmin"),
        ({"margin": -1}, "margin must be"),
        ({"anchor": None}, "anchor must be"),
        ({"block": None}, "block must be a number of seconds of 0 or more, got None"),
        ({"tmax": 500.0}, "none of 396 windows is left"),
    ],
)
def test_wrong_parameters_are_named(events, parameters, message):
    with pytest.raises(ValueError, match=message):
        make_segments(events, **parameters)


def test_ids_are_the_same_everywhere():
    assert stable_id("word", "x", 1) == 1311013341488434
    assert stable_id("word", "x", 1) < 2**52


def test_ids_do_not_hang_on_the_rest_of_the_table(events):
    _, whole = make_segments(events)
    bad = {"subject": "1", "recording": "1.fif", "type": "bad", "onset": 10.0, "duration": 40.0}
    with pytest.warns(UserWarning, match="touch a bad stretch"):
        _, holed = make_segments(pd.concat([events, pd.DataFrame([bad])], ignore_index=True))
    _, alone = make_segments(events[events["subject"] == "2"])
    key = ["sound", "word"]
    ids = whole.drop_duplicates(key).set_index(key)["segment"]
    for table in (holed, alone):
        assert (table.set_index(key)["segment"] == ids.reindex(table.set_index(key).index)).all()


def test_a_word_said_again_keeps_its_own_id_if_the_first_does_not_fit(events):
    twice = events.copy()
    again = twice["text"].isin(["a5", "a60"])
    twice.loc[again, ["sequence", "word_index"]] = ["again", 0]
    _, y = make_segments(twice)
    first, second = (y.loc[y["word"] == word, "segment"].iloc[0] for word in ("a5", "a60"))
    assert first != second
    bad = {"subject": "1", "recording": "1.fif", "type": "bad", "onset": 8.0, "duration": 2.0}
    one = pd.concat([twice[twice["subject"] == "1"], pd.DataFrame([bad])], ignore_index=True)
    with pytest.warns(UserWarning, match="bad stretch"):
        _, y = make_segments(one)
    assert "a5" not in set(y["word"])
    assert y.loc[y["word"] == "a60", "segment"].iloc[0] == second


def test_ids_survive_the_dtypes_of_tables(events):
    numbered = events.assign(sequence=pd.factorize(events["sequence"])[0])
    _, as_int = make_segments(numbered)
    _, as_float = make_segments(
        numbered.assign(sequence=numbered["sequence"].where(events["type"] == "word"))
    )
    _, as_text = make_segments(numbered.assign(sequence=numbered["sequence"].astype(str)))
    assert (as_int["segment"] == as_float["segment"]).all()
    assert (as_int["segment"] == as_text["segment"]).all()


def test_another_window_is_another_candidate(events):
    _, y = make_segments(events, tmin=0, tmax=3)
    _, earlier = make_segments(events, tmin=-1, tmax=2)
    assert not set(y["segment"]) & set(earlier["segment"])


def test_one_story_has_its_blocks_whatever_its_sentences_are_called():
    """Two studies of one story name its sentences in their own ways; nobody trains on what another study tests."""
    rows = []
    for subject, (pace, name) in enumerate([(1.0, "alice/{}"), (1.1, "s{}")]):
        sound = StimulusArray(np.full(64 * 400, float(subject)), 64, f"voice {subject}")
        own = {
            "subject": str(subject),
            "recording": f"{subject}.fif",
            "recording_duration": 500.0,
            "sound": sound,
        }
        rows.append({**own, "type": "sound", "onset": 5.0, "duration": 0.0})
        for i in range(240):
            rows.append({
                **own, "type": "word", "onset": 5 + pace * i, "duration": 0.4, "text": f"w{i}",
                "sequence": name.format(i // 6), "word_index": i % 6,
            })  # fmt: skip
    X, y = make_segments(pd.DataFrame(rows), tmin=0, tmax=1)
    of_word = y.groupby("word")["block"].nunique()
    assert (of_word == 1).all()
    assert y["block"].nunique() >= 8, "and it can be split"
    lasts = (y["block_stop"] - y["block_start"]).groupby(X["subject"]).min()
    assert (lasts >= 17).all(), "20 s in the pace of one of them"
    for train, test in StimulusKFold(4).split(X, y):
        assert not set(y["word"].iloc[train]) & set(y["word"].iloc[test])


def test_two_voices_that_tell_one_story_share_its_blocks():
    """Read at another pace, a story is cut at other sentences; no sentence may be on both sides."""
    rng = np.random.default_rng(0)
    rows = []
    for i, pace in enumerate((1.0, 0.8)):
        sound = StimulusArray(rng.standard_normal(int(64 * 130 * pace)), 64, f"voice {i}")
        recording = {"subject": str(i), "recording": f"{i}.fif", "recording_duration": 150.0}
        rows.append({**recording, "type": "sound", "onset": 5.0, "duration": 0, "sound": sound})
        for j in range(120):
            rows.append({
                **recording, "type": "word", "onset": 5 + pace * j, "duration": 0.9 * pace, "text": f"w{j}",
                "sequence": f"s{j // 6}", "word_index": j % 6,
            })  # fmt: skip
    _, y = make_segments(pd.DataFrame(rows), tmin=0, tmax=2, block=20)
    assert y.groupby("sequence")["block"].nunique().max() == 1


@pytest.mark.filterwarnings("ignore:make_segments left out")
@pytest.mark.parametrize("table", ["masc_events", "brennan_events"])
@pytest.mark.parametrize("anchor", ["word", 0.5])
def test_no_millisecond_is_shared_on_real_tables(request, table, anchor):
    """After a split no held-out window shares sound with training; a split by sentence does."""
    X, y = make_segments(request.getfixturevalue(table), anchor=anchor)
    for train, test in StimulusKFold(5).split(X, y):
        for sound, held in y.iloc[test].groupby("sound"):
            of_it = y.iloc[train][y.iloc[train]["sound"] == sound]
            gap = np.maximum(
                held["sound_onset"].to_numpy()[:, None]
                - (of_it["sound_onset"] + of_it["duration"]).to_numpy(),
                of_it["sound_onset"].to_numpy()
                - (held["sound_onset"] + held["duration"]).to_numpy()[:, None],
            )
            assert gap.size == 0 or gap.min() >= 1.0 - 1e-6
    sentence = pd.factorize(y["sequence"])[0]
    held = (sentence % 5 == 0) & (sentence >= 0)
    leaking = StimulusIntervals.from_table(y[~held]).touches(y[held]).mean()
    assert leaking > 0.4, "a split by sentence leaks, so the gap is needed"


def test_real_masc_table_has_its_known_counts(masc_events):
    checked = check_events(masc_events)
    assert checked.groupby("type").size().to_dict() == {"phoneme": 30761, "sound": 30, "word": 8561}
    X, y = make_segments(masc_events)
    assert len(X) == 8561, "every word of every story can be an anchor"
    twice = y[y["segment"].duplicated(keep=False)]
    assert list(twice["word"]) == ["your", "ur"], (
        "a pseudo-word 40 ms from the word it stands for is one stretch"
    )
    assert y["segment"].nunique() == 8560
    assert (X["onset"] - y["sound_onset"]).groupby([X["recording"], y["sound"]]).std().max() < 1e-4
