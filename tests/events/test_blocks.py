"""Test blocks of stimuli."""

import numpy as np
import pandas as pd
import pytest
from helpers.event_tables import make_two_subjects

from sk_b2s import StimulusArray, StimulusKFold, make_segments
from sk_b2s.events._blocks import cut_blocks
from sk_b2s.events._stimuli import stimulus_duration


@pytest.fixture
def events():
    return make_two_subjects()


def test_blocks_end_at_sentences_and_last_20_s(events):
    _, y = make_segments(events, block=20)
    spans = y[["block", "block_start", "block_stop"]].drop_duplicates()
    assert (spans["block_stop"] - spans["block_start"] >= 20).all()
    assert y.groupby("sequence")["block"].nunique().max() == 1
    assert y["block"].nunique() == 8


def test_rows_have_the_edges_of_adjacent_blocks(events):
    _, y = make_segments(events, block=20)
    for _, rows in y.groupby("sound", sort=False):
        spans = (
            rows[["block_before", "block_start", "block_stop", "block_after"]].drop_duplicates().to_numpy()
        )
        spans = spans[np.argsort(spans[:, 1])]
        assert (spans[1:, 1] == spans[:-1, 2]).all(), "blocks are adjacent"
        assert (spans[1:, 0] == spans[:-1, 1]).all(), "block_before is the start of the previous block"
        assert (spans[:-1, 3] == spans[1:, 2]).all(), "block_after is the stop of the next block"
        assert spans[0, 0] == spans[0, 1] == 0
        assert spans[-1, 3] == spans[-1, 2] == stimulus_duration(rows["sound"].iloc[0])


def test_blocks_of_equal_text_have_one_id():
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
def test_words_without_text_do_not_merge_blocks(events, anchor):
    _, expected = make_segments(events, anchor=anchor)
    _, y = make_segments(events.drop(columns="text"), anchor=anchor)
    assert set(y["text"]) == {""}
    pd.testing.assert_series_equal(y["segment"], expected["segment"])
    assert (pd.crosstab(y["block"], expected["block"]) > 0).sum(axis=1).eq(1).all()
    _, some = make_segments(events.assign(text=events["text"].where(events["text"] != "a6")), anchor=anchor)
    assert "a6" in " ".join(expected["text"]).split()
    kept = [" ".join(word for word in text.split() if word != "a6") for text in expected["text"]]
    assert some["text"].tolist() == kept


def test_cut_blocks_is_regular_without_words():
    none = pd.DataFrame({"sound_onset": [], "duration": [], "sequence": []})
    np.testing.assert_allclose(cut_blocks(none, 65.0, block=20), [0, 20, 40, 65])
    np.testing.assert_allclose(cut_blocks(none, 5.0, block=20), [0, 5])


def test_blocks_do_not_depend_on_sentence_names():
    """Two studies of one story name its sentences differently."""
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
    assert y["block"].nunique() >= 8, "enough for a split"
    lasts = (y["block_stop"] - y["block_start"]).groupby(X["subject"]).min()
    assert (lasts >= 17).all(), "20 s at the pace of the other voice"
    for train, test in StimulusKFold(4).split(X, y):
        assert not set(y["word"].iloc[train]) & set(y["word"].iloc[test])


def test_two_voices_share_the_blocks_of_a_story():
    """A sentence is in one block, although the voices differ in pace."""
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
