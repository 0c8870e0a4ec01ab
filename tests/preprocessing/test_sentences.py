"""Tests of windows at sentences, and of windows of unequal length."""

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.decoders import tiny_encoder

from sk_b2s import (
    FeatureScaler,
    PrecomputedFeatures,
    SpeechFeatureUnion,
    StimulusArray,
    Windows,
    make_segments,
)

STORY = StimulusArray(np.random.default_rng(0).normal(size=(800, 2)), sfreq=20, name="story")


def words_of(recording, start, jitter=0.0):
    """Sentences of 1.2, 3.4, 0.3 and 3.4 s, the last two repeated names."""
    rows = [("sound", start, 40.0, None, None, np.nan)]
    for name, onset, length in [("a", 2.0, 1.2), ("b", 5.0, 3.4), ("c", 10.0, 0.3), ("b", 12.0, 3.4)]:
        middle = length / 2
        rows.append(("word", start + onset, middle, f"{name}1", name, 0))
        rows.append(("word", start + onset + middle, middle + jitter, f"{name}2", name, 1))
    table = pd.DataFrame(rows, columns=["type", "onset", "duration", "text", "sequence", "word_index"])
    sound = [STORY if kind == "sound" else None for kind in table["type"]]
    return table.assign(recording=recording, subject=recording[0], sound=sound, recording_duration=60.0)


EVENTS = pd.concat([words_of("a.fif", 3.0), words_of("b.fif", 5.0, jitter=0.02)], ignore_index=True)


# --- tables ------------------------------------------------------------------------------------------


def test_make_segments_has_one_row_per_sentence():
    X, y = make_segments(EVENTS, anchor="sentence", tmin=-0.5, tmax=2.0, block=0)
    assert y["sequence"].tolist() == ["a", "b", "c", "b"] * 2
    assert y["word"].tolist() == ["a1", "b1", "c1", "b1"] * 2
    np.testing.assert_allclose(y["sound_onset"], [1.5, 4.5, 9.5, 11.5] * 2)
    assert (X["duration"] == 2.5).all()
    assert "padded_duration" not in X
    assert y["segment"].nunique() == 4


def test_sentence_windows_have_unequal_lengths():
    with pytest.warns(UserWarning, match="left out 2 of 8 sentences that are shorter than 1 s"):
        X, y = make_segments(EVENTS, anchor="sentence", tmin=-0.5, tmax=(1.0, 3.0, 9.0), block=0)
    for table in (X, y):
        assert table["duration"].tolist() == [1.5, 3.5, 3.5] * 2
        assert (table["padded_duration"] == 9.5).all()
    assert y["segment"].tolist()[:3] == y["segment"].tolist()[3:]
    longer = make_segments(EVENTS, anchor="sentence", tmin=-0.5, tmax=(1.0, 2.0, 9.0), block=0)[1]
    assert y["segment"].iloc[0] == longer["segment"].iloc[0]
    assert not set(y["segment"].iloc[1:3]) & set(longer["segment"])


def test_make_segments_ends_sentences_at_half_seconds():
    with pytest.warns(UserWarning, match="shorter than 0.5 s"):
        X, _ = make_segments(EVENTS, anchor="sentence", tmin=0.0, tmax=None, block=0)
    assert X["duration"].tolist() == [1.0, 3.0, 3.0] * 2  # also where a table has later ends
    assert (X["padded_duration"] == 3.0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tmax": None}, "requires anchor='sentence'"),
        ({"tmax": (1.0, 2.0)}, "requires anchor='sentence'"),
        ({"anchor": "sentence", "tmax": (-1.0, 2.0)}, "tmax later than tmin"),
        ({"anchor": "sentence", "tmax": ()}, "tmax later than tmin"),
        ({"anchor": "phrase"}, "'sentence', 'image' or a step"),
    ],
    ids=["none", "several", "early", "empty", "anchor"],
)
def test_make_segments_rejects_sentence_windows(options, message):
    with pytest.raises(ValueError, match=message):
        make_segments(EVENTS, **options)


def test_make_segments_explains_missing_sentences():
    events = EVENTS.assign(sequence=None, word_index=np.nan)
    with pytest.raises(ValueError, match="words with a sentence in the column 'sequence'"):
        make_segments(events, anchor="sentence")


# --- windows -----------------------------------------------------------------------------------------


def make_windows(n_valid=(3, 5, 2), signal=None):
    signal = np.arange(1.0, 21.0)[:, None] if signal is None else signal
    return Windows([signal], [0, 0, 0], [0, 4, 9], 5, sfreq=10, n_valid=n_valid)


def test_windows_are_zero_beyond_valid_samples():
    found = np.asarray(make_windows())[:, 0]
    assert found.tolist() == [[1, 2, 3, 0, 0], [5, 6, 7, 8, 9], [10, 11, 0, 0, 0]]
    assert np.asarray(make_windows()[[2, 0]])[:, 0].tolist() == [found[2].tolist(), found[0].tolist()]
    later = make_windows().then(torch_plus_one)
    assert np.asarray(later)[0, 0].tolist() == [2, 3, 4, 0, 0]


def torch_plus_one(batch, which):
    return batch + 1


def test_windows_mask_does_not_change_tiles():
    assert torch.all(make_windows().tiles(0).gather() > 0)


@pytest.mark.parametrize("n_valid", [(3, 5), (0, 5, 5), (3, 6, 5)], ids=["short", "zero", "long"])
def test_windows_reject_valid_samples(n_valid):
    with pytest.raises(ValueError, match="n_valid must have one number of samples from 1 to 5"):
        make_windows(n_valid)


def test_feature_scaler_ignores_padding():
    windows = make_windows()
    valid = np.r_[1:4, 5:10, 10:12].astype(float)
    scaler = FeatureScaler().fit(windows)
    np.testing.assert_allclose([scaler.mean_[0], scaler.scale_[0]], [valid.mean(), valid.std()])


def test_features_of_sentences_are_padded():
    with pytest.warns(UserWarning, match="shorter than"):
        _, y = make_segments(EVENTS, anchor="sentence", tmin=0.0, tmax=(1.0, 3.0), block=0)
    union = SpeechFeatureUnion([("one", PrecomputedFeatures()), ("two", PrecomputedFeatures())]).fit(y)
    windows = union.transform(y)
    assert windows.shape == (6, 4, 61)
    array = np.asarray(windows)
    assert not array[0, :, 21:].any()
    assert array[0, :, :21].all()
    assert array[1].all()


def test_encoder_accepts_unequal_lengths():
    rng = np.random.default_rng(0)
    heard = rng.normal(size=(640, 3)).astype(np.float32)
    brain = np.c_[heard, rng.normal(size=(640, 1))].astype(np.float32)
    start, n_valid = np.arange(60) * 10, np.tile([8, 16], 30)
    rows = pd.DataFrame({"segment": np.arange(60), "duration": n_valid / 8, "padded_duration": 2.0})
    X = Windows([brain], np.zeros(60, int), start, 16, 8.0, n_valid=n_valid)
    y = Windows([heard], np.zeros(60, int), start, 16, 8.0, rows=rows, n_valid=n_valid)
    encoder = tiny_encoder().set_params(speech=None, max_epochs=1)
    estimate = encoder.fit(X[:40], y[:40]).similarity(X[40:], y[40:])
    assert np.isfinite(estimate).all()
