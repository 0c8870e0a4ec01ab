"""Tests for concurrent streams."""

import numpy as np
import pandas as pd

from sk_b2s import StimulusArray, concurrent_stream, make_segments


def test_concurrent_stream_follows_drift():
    attended, ignored = (StimulusArray(np.full(64 * 40, level), sfreq=64) for level in (0.0, 1.0))
    events = pd.DataFrame({
        "subject": "01", "recording": "a.fif", "recording_duration": 60.0, "type": "sound",
        "onset": [5.0, 7.5], "duration": [0, 20.0], "sound": [attended, ignored], "sound_onset": [0.0, 3.0],
        "stream": ["attended", "ignored"], "drift_ppm": [0.0, 1000.0],
    })  # fmt: skip
    X, y = make_segments(events, anchor=1.0, tmin=0, tmax=3, stream="attended")
    other = concurrent_stream(X, y, events)
    beside = other["sound"].notna()
    assert (beside == ((X["onset"] >= 7.5) & (X["onset"] + 3 <= 27.52))).all()
    np.testing.assert_allclose(other["sound_onset"][beside], 3 + (X["onset"][beside] - 7.5) / 1.001)


def test_make_segments_copies_concurrent_streams():
    """Windows have the columns of the other talkers, too."""
    talkers = {name: StimulusArray(np.full(64 * 40, level), 64, name) for level, name in enumerate("abc")}
    events = pd.DataFrame({
        "subject": ["01"] * 3 + ["02"] * 2, "recording": ["1.fif"] * 3 + ["2.fif"] * 2, "recording_duration": 60.0,
        "type": "sound", "onset": [5.0, 7.5, 20.0, 5.0, 5.2], "duration": [0, 20.0, 12.0, 0, 0],
        "sound": [talkers[name] for name in "abcab"], "sound_onset": [0.0, 3.0, 1.0, 0.0, 0.0],
        "stream": ["attended", "ignored", "radio", "attended", "ignored"],
    })  # fmt: skip
    X, y = make_segments(events, anchor=1.0, tmin=0, tmax=3, stream="attended")
    alone = make_segments(events[events["stream"] == "attended"], anchor=1.0, tmin=0, tmax=3)[1]
    pd.testing.assert_frame_equal(y[alone.columns], alone)
    for stream in ("ignored", "radio"):
        other = concurrent_stream(X, y, events, stream)
        for column in ("sound", "sound_onset", "segment"):
            pd.testing.assert_series_equal(y[f"{stream}_{column}"], other[column], check_names=False)
    radio = (X["recording"] == "1.fif") & (X["onset"] >= 20) & (X["onset"] + 3 <= 32)
    assert (y["radio_sound"].notna() == radio).all()
    assert (y.loc[~radio, "radio_segment"] == -1).all()
    np.testing.assert_allclose(y.loc[radio, "radio_sound_onset"], X.loc[radio, "onset"] - 19)
    assert not y["radio_segment"].isin(y["segment"]).any()
    assert "ignored_sound" not in make_segments(events, anchor=1.0, tmin=0, tmax=3)[1]
