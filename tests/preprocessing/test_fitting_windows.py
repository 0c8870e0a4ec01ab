"""Test the selection of windows and messages about excluded windows."""

import warnings

import numpy as np
import pandas as pd
import pytest

from sk_b2s import StimulusArray, make_segments

RNG = np.random.default_rng(0)
STORY, TALE = (StimulusArray(RNG.random(20 * 64), sfreq=64, name=name) for name in ("story", "tale"))


def table(subjects=("1", "2", "3"), length=60.0):
    """Make events of two stimuli of 20 s with a word per second."""
    rows = []
    for subject in subjects:
        for begin, sound in ((5.0, STORY), (30.0, TALE)):
            rows.append((subject, "sound", begin, 20.0, sound, None))
            rows += [(subject, "word", begin + t, 0.3, None, f"w{t}") for t in range(1, 19)]
    events = pd.DataFrame(rows, columns=["subject", "type", "onset", "duration", "sound", "text"])
    return events.assign(recording=events["subject"] + ".fif", recording_duration=length)


def segment(events, **keywords):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        X, _ = make_segments(events, tmin=0, tmax=1, margin=0, **keywords)
    return sorted(X["subject"].unique()), " ".join(str(warning.message) for warning in caught)


def change_second(events, **changes):
    return events.assign(
        **{name: events[name].mask(events["subject"] == "2", v) for name, v in changes.items()}
    )


def test_make_segments_does_not_warn_if_all_fit():
    assert segment(table()) == (["1", "2", "3"], "")


def test_subject_of_short_recording_is_named():
    kept, text = segment(change_second(table(), recording_duration=2.0))
    assert kept == ["1", "3"]
    assert "left out 36 of 108 windows: 36 leave the recording (margin=0 s)" in text
    assert "No window is left of subject '2'" in text
    assert "'2.fif' (36 of 36 leave the recording" in text
    assert "It has 2.000 s, and windows are from 6.000 to 49.000 s)" in text


def test_subject_with_bad_stretch_is_named():
    bad = pd.DataFrame(
        {"subject": ["2"], "recording": "2.fif", "type": "bad", "onset": 0.0, "duration": 60.0}
    )
    kept, text = segment(pd.concat([table(), bad], ignore_index=True))
    assert kept == ["1", "3"]
    assert "subject '2'" in text
    assert "36 of 36 touch a bad stretch" in text


@pytest.mark.parametrize("kind", ["word", "sound"])
def test_subject_without_anchors_is_named(kind):
    events = table()
    events = events[(events["subject"] != "2") | (events["type"] != "word")]
    if kind == "word":
        kept, text = segment(events)
        assert "'2.fif' has no row of type 'word'" in text
    else:
        events = change_second(events, duration=0.5)
        kept, text = segment(events, anchor=0.5)
        assert "'2.fif' has no stimulus as long as a window, the longest has 0.50 s" in text
    assert kept == ["1", "3"]
    assert "No window is left of subject '2'" in text


def test_subject_without_the_stream_is_named():
    kept, text = segment(
        change_second(table().assign(stream="attended"), stream="ignored"), stream="attended"
    )
    assert kept == ["1", "3"]
    assert "subject '2'" in text


def test_stimulus_without_words_is_named():
    events = table()
    kept, text = segment(events[(events["type"] == "sound") | (events["onset"] < 25)])
    assert len(kept) == 3
    assert "No window is left of the stimuli 'tale'." in text


def test_recording_with_few_windows_is_named():
    _, text = segment(change_second(table(), recording_duration=10.0))
    assert "Less than half of the windows are left in '2.fif' (3 of 36)" in text


def test_make_segments_raises_if_no_window_fits():
    with pytest.raises(ValueError, match=r"none of 108 windows is left.*has 2\.000 s, and windows are from"):
        segment(table(length=2.0))
    with pytest.raises(ValueError, match=r"margin=500 is in seconds"):
        make_segments(table(), margin=500)
    with pytest.raises(ValueError, match=r"window of 30\.000 s\. The longest of 6 has 20\.000 s"):
        make_segments(table(), anchor=1.0, tmin=0, tmax=30)
