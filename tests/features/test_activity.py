"""Speech activity."""

import numpy as np
import pandas as pd
import pytest
import soundfile

from sk_b2s import (
    SpeechActivity,
    StimulusArray,
)

pytestmark = pytest.mark.filterwarnings("ignore:make_segments left out")


def test_speech_activity_finds_silences(tmp_path):
    rng = np.random.default_rng(0)
    loud = np.repeat([1, 1, 0, 1, 0, 1, 0], [16000, 800, 800, 16000, 8000, 8000, 1600])  # samples at 16 kHz
    audio = loud * rng.standard_normal(len(loud)) * 0.1 + 1e-5 * rng.standard_normal(len(loud))
    soundfile.write(tmp_path / "sound.wav", audio, 16000)
    seconds = len(loud) / 16000
    y = pd.DataFrame(
        {"sound": [str(tmp_path / "sound.wav")], "sound_onset": [0.0], "duration": [seconds - 0.02]}
    )
    mask = np.asarray(SpeechActivity(memory=str(tmp_path / "cache")).fit_transform(y))[0, 0]
    expected = np.ones(len(mask))
    expected[int(2.1 * 50) : int(2.6 * 50)] = 0  # half a second is a pause, 50 ms are not
    expected[int(3.1 * 50) :] = 0
    assert set(np.unique(mask)) == {0, 1}
    assert abs(mask - expected).sum() <= 4  # one frame at each edge
    with pytest.raises(ValueError, match="SpeechActivity requires audio files"):
        SpeechActivity().fit_transform(y.assign(sound=[StimulusArray(np.zeros((200, 1)), 50)]))
