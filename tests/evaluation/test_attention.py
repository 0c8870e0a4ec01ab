"""Auditory attention decoding."""

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sk_b2s import (
    Envelope,
    Epocher,
    FeatureScaler,
    PrecomputedFeatures,
    RidgeDecoder,
    StimulusArray,
    StimulusKFold,
    StimulusLeakWarning,
    Windows,
    attention_decision_accuracy,
    attention_decoding_scores,
    concurrent_stream,
    make_segments,
    mean_and_sem,
)
from sk_b2s.datasets import make_listening

pytestmark = pytest.mark.filterwarnings("ignore:make_segments left out", "ignore::sk_b2s.StimulusLeakWarning")


def test_concurrent_stream_matches_recording_time():
    story, other = StimulusArray(np.zeros(600), 10, "story"), StimulusArray(np.ones(300), 10, "other")
    events = pd.DataFrame({
        "subject": "a", "recording": ["r1", "r1", "r2", "r2"], "type": "sound", "onset": [5.0, 8.0, 1.0, 2.0],
        "duration": [60.0, 30.0, 60.0, 30.0], "sound": [story, other, story, other],
        "stream": ["attended", "ignored"] * 2, "recording_duration": 100.0,
    })  # fmt: skip
    X = pd.DataFrame(
        {"recording": ["r1", "r1", "r1", "r2"], "onset": [7.9, 8.0, 36.0, 12.5], "duration": 2.0}
    )
    y = pd.DataFrame(
        {"sound": [story] * 4, "sound_onset": [2.9, 3.0, 31.0, 11.5], "duration": 2.0, "word": "w"}
    )
    found = concurrent_stream(X, y, events)
    assert found["sound"].tolist() == [None, other, other, other]
    np.testing.assert_allclose(found["sound_onset"], [np.nan, 0.0, 28.0, 10.5])
    assert found["segment"].nunique() == 4
    assert "word" not in found
    with pytest.raises(
        ValueError, match=r"no stimulus in the stream 'left'. It has the streams \['attended', 'ignored'\]"
    ):
        concurrent_stream(X, y, events, "left")


def test_attention_scores_warn_of_attended_in_training():
    rng = np.random.default_rng(0)
    stories = [StimulusArray(rng.standard_normal((1200, 1)).astype("f4"), 20, name) for name in "ab"]
    rows = [("r1", stories[0], "attended"), ("r1", stories[1], "ignored"), ("r2", stories[1], "attended"),
            ("r2", stories[0], "ignored")]  # fmt: skip
    events = pd.DataFrame([
        {"subject": "s", "recording": recording, "type": "sound", "onset": 2.0, "duration": 60.0, "sound": sound,
         "stream": stream, "recording_duration": 66.0} for recording, sound, stream in rows
    ])  # fmt: skip
    X, y = make_segments(events, anchor=1.0, tmin=0, tmax=1, stream="attended")
    brain = rng.standard_normal((len(X), 3, 21)).astype("f4")
    cut = FunctionTransformer(lambda rows: Windows.from_array(brain[rows.index], rows, sfreq=20))
    ridge = RidgeDecoder(
        make_pipeline(PrecomputedFeatures(), FeatureScaler()), lags=(0, 0.2), alphas=(1.0,), k=1
    )
    first = (X["recording"] == "r1").to_numpy()
    swapped = [(np.flatnonzero(~first), np.flatnonzero(first))]
    with pytest.warns(StimulusLeakWarning, match=r"scored windows contain stimuli .* \(b\)"):
        attention_decoding_scores(make_pipeline(cut, ridge), X, y, swapped, events, lengths=(2,))


@pytest.mark.slow
def test_attention_scores_find_attended_talker(tmp_path):
    events = make_listening(
        2, 4, modality="eeg", n_channels=16, snr_db=5, sfreq=64, artifacts=["ignored"], root=tmp_path
    )
    X, y = make_segments(events, anchor=1.0, tmin=0, tmax=1, stream="attended")
    speech = make_pipeline(Envelope(sfreq=32), FeatureScaler())
    pipe = Pipeline(
        [("epochs", Epocher(sfreq=32)), ("ridge", RidgeDecoder(speech, lags=(0, 0.4), alphas=(1e-2,)))]
    )
    scores = attention_decoding_scores(pipe, X, y, StimulusKFold(2), events, lengths=(1, 5, 20))
    means = mean_and_sem(scores, "accuracy", by="length", weight="n_decisions")["mean"]
    assert means[1] > 0.55
    assert means[20] > means[5] > means[1]
    wrong = concurrent_stream(X, y, events)
    known = wrong["sound_onset"].notna().to_numpy()
    assert known.mean() > 0.5  # the other talker begins later, and may end earlier
    swapped = make_segments(events, anchor=1.0, tmin=0, tmax=1, stream="ignored")
    assert len(swapped[0])
    with pytest.raises(TypeError, match="Use cv=StimulusKFold"):
        attention_decoding_scores(pipe, X, y, 2, events)


# --- attention_decision_accuracy ---------------------------------------------------------------------


def decisions(n=60, step=1.0, duration=1.0, seed=0):
    rng = np.random.default_rng(seed)
    onset = np.tile(5 + step * np.arange(n), 4)
    names = np.repeat(["a/1", "a/2", "b/1", "b/2"], n)
    rows = pd.DataFrame(
        {"recording": names, "subject": [name[0] for name in names], "onset": onset, "duration": duration}
    )
    return 0.3 + rng.normal(size=4 * n), rng.normal(size=4 * n), rows


@pytest.mark.parametrize(("step", "duration"), [(1.0, 1.0), (0.5, 2.0), (0.7, 1.3)])
def test_decision_accuracy_counts_decisions(step, duration):
    attended, ignored, rows = decisions(step=step, duration=duration)
    order = np.random.default_rng(1).permutation(len(rows))
    table = attention_decision_accuracy(attended[order], ignored[order], rows.iloc[order], lengths=(2, 5))
    for row in table.itertuples():
        right = []
        for name in (f"{row.subject}/1", f"{row.subject}/2"):
            own = np.flatnonzero(rows["recording"] == name)
            onset = rows["onset"].to_numpy()[own]
            for first in np.arange(5.0, onset.max() + 1, row.length):
                inside = own[(onset > first - 1e-6) & (onset + duration < first + row.length + 1e-6)]
                if len(inside):
                    right.append(attended[inside].sum() > ignored[inside].sum())
        assert row.accuracy == pytest.approx(np.mean(right))
        assert row.n_decisions == len(right)


def test_decision_accuracy_follows_normal_theory():
    from scipy.stats import norm

    attended, ignored, rows = decisions(n=6000)
    means = (
        attention_decision_accuracy(attended, ignored, rows, (1, 4, 16)).groupby("length")["accuracy"].mean()
    )
    np.testing.assert_allclose(means, norm.cdf(0.3 / np.sqrt(2) * np.sqrt([1, 4, 16])), atol=0.02)
    swapped = attention_decision_accuracy(ignored, attended, rows, (4,))["accuracy"]
    np.testing.assert_allclose(
        1 - swapped, attention_decision_accuracy(attended, ignored, rows, (4,))["accuracy"]
    )
    assert (attention_decision_accuracy(attended, attended, rows, (4,))["accuracy"] == 0).all(), (
        "a tie is wrong"
    )


def test_decision_accuracy_refuses_invalid_input():
    attended, ignored, rows = decisions(duration=3.0)
    with pytest.raises(ValueError, match="decision of 1 s is shorter than a window of 3 s"):
        attention_decision_accuracy(attended, ignored, rows)
    with pytest.raises(ValueError, match=r"columns \['onset'\]"):
        attention_decision_accuracy(attended, ignored, rows.drop(columns="onset"))
    with pytest.raises(ValueError, match="each of 240 rows"):
        attention_decision_accuracy(attended[1:], ignored[1:], rows)
