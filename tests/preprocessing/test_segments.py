"""Test tables of segments."""

import warnings

import numpy as np
import pandas as pd
import pytest
from helpers.event_tables import OTHER, STORY, make_two_stimuli, make_two_subjects

from sk_b2s import StimulusArray, StimulusIntervals, StimulusKFold, check_events, make_segments


@pytest.fixture
def events():
    return make_two_subjects()


def test_segments_are_equal_for_all_subjects(events):
    X, y = make_segments(events, tmin=-0.5, tmax=2.35, block=20)
    one, two = (y[X["subject"] == s].set_index("segment").sort_index() for s in "12")
    assert one.index.is_unique
    pd.testing.assert_frame_equal(one, two)


def test_windows_begin_at_words(events):
    X, y = make_segments(events, tmin=-0.5, tmax=2.35)
    np.testing.assert_allclose(y["sound_onset"] + 0.5, y["word"].str[1:].astype(int) + 0.2)
    np.testing.assert_allclose(X["duration"], 2.85)
    first = X["onset"] - y["sound_onset"]  # where each sound began in the recording
    assert set(first.round(6)) == {3.0, 113.0}
    assert y.loc[5, "text"] == "a5 a6 a7"
    assert list(y["speaker"].unique()) == ["s"], "other columns are passed through"


def test_grid_is_in_stimulus_time(events):
    shifted = events.copy()
    shifted.loc[shifted["subject"] == "2", "onset"] += 0.317
    X, y = make_segments(shifted, anchor=0.5, tmin=0, tmax=3)
    assert set((y["sound_onset"] / 0.5) % 1) == {0.0}
    assert y["sound_onset"].max() == 97.0, "the last window of 3 s in 100 s"
    assert (y.groupby("segment").size() == 2).all()
    anchor = y.set_index("sound_onset").loc[7.5].iloc[0]
    assert anchor["word"] == "a7", "the word at the anchor"


def test_grid_in_silence_has_condition_of_last_word(events):
    number = events["text"].str[1:].astype(float)  # word 50 begins at 50.2 s
    table = events.assign(condition=np.select([number < 50, number >= 50], ["quiet", "noise"], None))
    _, y = make_segments(table, anchor=0.5, tmin=0, tmax=3)
    assert y["word"].isna().any()  # between words
    assert y["condition"].notna().all()
    np.testing.assert_array_equal(y["condition"], np.where(y["sound_onset"] < 50.2, "quiet", "noise"))


def test_windows_begin_at_phonemes(events):
    words = events[events["type"] == "word"]
    phones = [words.assign(type="phoneme", text="AH0"), words.assign(type="phoneme", text="sil")]
    late = words.assign(
        type="phoneme", text="B", onset=words["onset"] + 0.05, sequence=None, word_index=np.nan
    )
    X, y = make_segments(
        pd.concat([events, *phones, late], ignore_index=True), anchor="phoneme", tmin=-0.1, tmax=0.4
    )
    _, expected = make_segments(events, tmin=-0.1, tmax=0.4)
    assert y["phoneme"].value_counts().to_dict() == {"AH0": len(expected), "B": len(expected)}, "no silence"
    late = y[y["phoneme"] == "B"]
    np.testing.assert_allclose(late["sound_onset"] - 0.05, expected["sound_onset"])
    for column in ("word", "sequence", "word_index", "block"):
        assert late[column].tolist() == expected[column].tolist(), "of the word at the anchor"
    assert y["segment"].nunique() == 2 * expected["segment"].nunique()
    with pytest.raises(ValueError, match="requires rows of type 'phoneme'"):
        make_segments(events, anchor="phoneme")


def test_make_segments_counts_excluded_windows(events):
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


def test_exclusion_depends_on_own_recording_only(events):
    """Bad stretches and durations of one recording do not affect another."""
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
            mine, stimuli = make_segments(own)
        rows = (X["subject"] == subject).to_numpy()
        pd.testing.assert_frame_equal(X[rows].reset_index(drop=True), mine)
        assert y.loc[rows, "segment"].tolist() == stimuli["segment"].tolist()
        end = own["recording_duration"].iloc[0]
        assert (mine["onset"] + mine["duration"] + 0.5 <= end).all()


def test_windows_with_two_stimuli_are_excluded(events):
    close = events.copy()
    close.loc[(close["subject"] == "1") & (close["onset"] > 105), "onset"] -= (
        9.5  # second stimulus at 103.5 s
    )
    with pytest.warns(UserWarning, match="contain a second stimulus"):
        X, _ = make_segments(close)
    of_it = X[X["subject"] == "1"]
    crosses = (of_it["onset"] < 103.5 - 1e-6) & (of_it["onset"] + of_it["duration"] > 103.5)
    assert not (crosses & (of_it["onset"] + of_it["duration"] > 103.5) & (of_it["onset"] < 103.0)).any()


def test_make_segments_selects_a_stream(events):
    ignored = events.copy()
    ignored["onset"] += 0.05
    both = pd.concat([events.assign(stream="attended"), ignored.assign(stream="ignored")], ignore_index=True)
    X, y = make_segments(both, stream="attended")
    assert set(y["stream"]) == {"attended"}
    assert len(X) == len(make_segments(events)[0])
    with pytest.raises(ValueError, match=r"no stream 'heard'\. It has the streams .*attended"):
        make_segments(both, stream="heard")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"anchor": "phone"}, "anchor must be 'word', 'phoneme', 'sentence', 'image' or a step"),
        ({"anchor": 0}, "anchor must be a number of seconds"),
        ({"tmin": 1, "tmax": 1}, "tmax later than tmin"),
        ({"margin": -1}, "margin must be"),
        ({"anchor": None}, "anchor must be"),
        ({"block": None}, "block must be a number of seconds of at least 0. Got None"),
        ({"tmax": 500.0}, "none of 396 windows is left"),
    ],
)
def test_make_segments_checks_parameters(events, parameters, message):
    with pytest.raises(ValueError, match=message):
        make_segments(events, **parameters)


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"margin": np.inf}, "margin must be a number of seconds of at least 0. Got inf"),
        ({"anchor": np.inf}, "anchor must be a number of seconds"),
        ({"tmin": -np.inf}, "tmin and tmax must be finite seconds"),
        ({"tmax": "end"}, "tmax must be a number of seconds. With"),
        ({"anchor": 500}, "multiple of 500 s. .*anchor is in seconds"),
        ({"tmin": -500, "tmax": 2350}, "A window has 2850.000 s, tmin and tmax are in seconds"),
    ],
)
def test_make_segments_suggests_other_units(parameters, match):
    with pytest.raises(ValueError, match=match):
        make_segments(make_two_stimuli(), **parameters)


def test_ids_do_not_depend_on_other_rows(events):
    _, whole = make_segments(events)
    bad = {"subject": "1", "recording": "1.fif", "type": "bad", "onset": 10.0, "duration": 40.0}
    with pytest.warns(UserWarning, match="touch a bad stretch"):
        _, holed = make_segments(pd.concat([events, pd.DataFrame([bad])], ignore_index=True))
    _, alone = make_segments(events[events["subject"] == "2"])
    key = ["sound", "word"]
    ids = whole.drop_duplicates(key).set_index(key)["segment"]
    for table in (holed, alone):
        assert (table.set_index(key)["segment"] == ids.reindex(table.set_index(key).index)).all()


def test_repeated_word_keeps_its_id(events):
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


def test_ids_do_not_depend_on_dtypes(events):
    numbered = events.assign(sequence=pd.factorize(events["sequence"])[0])
    _, as_int = make_segments(numbered)
    _, as_float = make_segments(
        numbered.assign(sequence=numbered["sequence"].where(events["type"] == "word"))
    )
    _, as_text = make_segments(numbered.assign(sequence=numbered["sequence"].astype(str)))
    assert (as_int["segment"] == as_float["segment"]).all()
    assert (as_int["segment"] == as_text["segment"]).all()


def test_ids_depend_on_the_window(events):
    _, y = make_segments(events, tmin=0, tmax=3)
    _, earlier = make_segments(events, tmin=-1, tmax=2)
    assert not set(y["segment"]) & set(earlier["segment"])


@pytest.mark.parametrize("anchor", ["word", 0.5])
def test_excluded_stimulus_is_named_with_recording(anchor):
    events = make_two_stimuli()
    bad = {"subject": "02", "recording": "02.fif", "type": "bad", "onset": 40.0, "duration": 45.0}
    with pytest.warns(UserWarning, match=r"No window is left of the stimuli 'b' in '02.fif'\."):
        make_segments(pd.concat([events, pd.DataFrame([bad])]), anchor=anchor)


def test_stimulus_without_words_is_named():
    events = make_two_stimuli()
    lost = (events["subject"] == "02") & (events["type"] == "word") & (events["sound"] == OTHER)
    with pytest.warns(UserWarning, match=r"'b' in '02.fif'"):
        make_segments(events[~lost])


def test_streams_without_words_do_not_warn():
    events = make_two_stimuli(("attended",))
    ignored = events[events["type"] == "sound"].assign(stream="ignored", sound=[OTHER, STORY] * 2)
    extra = StimulusArray(np.ones((64 * 5, 1)), sfreq=64, name="c")
    ignored = pd.concat([ignored, ignored.iloc[:1].assign(onset=80.0, duration=5.0, sound=extra)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_segments(pd.concat([events, ignored]))
        make_segments(pd.concat([events, ignored]), stream="attended")


@pytest.mark.filterwarnings("ignore:make_segments left out")
@pytest.mark.parametrize("table", ["masc_events", "brennan_events"])
@pytest.mark.parametrize("anchor", ["word", 0.5])
def test_stimulus_k_fold_has_no_overlap_on_real_tables(request, table, anchor):
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
    assert leaking > 0.4, "a split by sentence leaks"


def test_make_segments_counts_of_gwilliams2022(masc_events):
    checked = check_events(masc_events)
    assert checked.groupby("type").size().to_dict() == {"phoneme": 30761, "sound": 30, "word": 8561}
    X, y = make_segments(masc_events)
    assert len(X) == 8561, "each word of each story is an anchor"
    twice = y[y["segment"].duplicated(keep=False)]
    assert list(twice["word"]) == ["your", "ur"], "a pseudo-word 40 ms from the original word has the same id"
    assert y["segment"].nunique() == 8560
    assert (X["onset"] - y["sound_onset"]).groupby([X["recording"], y["sound"]]).std().max() < 1e-4
