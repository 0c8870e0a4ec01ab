"""Test labels of segments."""

import numpy as np
import pandas as pd
import pytest

from sk_b2s import (
    StimulusArray,
    label_segments,
)


def test_label_segments_reads_events():
    story = StimulusArray(np.zeros(640), sfreq=64)
    events = pd.DataFrame({
        "type": ["phoneme", "phoneme", "phoneme", "word"], "sound": story, "sound_onset": [1.0, 1.1, 1.3, 1.0],
        "duration": [0.1, 0.2, 0.3, 0.3], "text": ["AH0", "B", "sil", "ab"],
    })  # fmt: skip
    y = pd.DataFrame(
        {"sound": story, "sound_onset": [0.4, 0.5, 0.6, 0.8], "duration": 1.0}, index=[3, 5, 7, 9]
    )
    phones = label_segments(y, events, at=0.5)
    assert phones.to_dict() == {3: None, 5: "ah", 7: "b", 9: None}
    speech = label_segments(y, events, kind="speech", at=0.5)
    assert speech.tolist() == ["silence", "speech", "speech", "silence"]
    at_anchor = label_segments(y.assign(phoneme=["AH0", "B", "K", None]))
    assert at_anchor.tolist() == ["ah", "b", "k", None]
    with pytest.raises(ValueError, match="requires the phonemes"):
        label_segments(y)
    with pytest.raises(ValueError, match="must be one of"):
        label_segments(y, kind="word")
    with pytest.raises(ValueError, match="no row of type 'word'"):
        label_segments(y, events[:3], kind="speech")


def test_label_segments_detects_speech(listening):
    X, y = listening
    labels = label_segments(y, kind="speech", at=1.0)
    assert set(labels) == {"speech", "silence"}
    assert 0.5 < (labels == "speech").mean() < 0.98
    assert labels.groupby(y["segment"]).nunique().max() == 1


def test_label_segments_reads_speech_feature():
    data = np.column_stack([np.arange(40) % 20 >= 10, np.zeros(40)])
    sound = StimulusArray(data, 10.0, features=("speech", "word"))
    y = pd.DataFrame({"sound": [sound] * 4, "sound_onset": [0.0, 1.0, 1.9, 3.9], "duration": 0.5})
    assert label_segments(y, kind="speech").tolist() == ["silence", "speech", "speech", "speech"]
    assert label_segments(y, kind="speech", at=0.5).tolist() == ["silence", "speech", "silence", "silence"]
    with pytest.raises(ValueError, match=r"must name all 2 features\. Got \('speech',\)"):
        StimulusArray(data, 10.0, features=("speech",))
