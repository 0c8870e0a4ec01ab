"""Tests of the vocoder."""

import numpy as np
import pytest

from sk_b2s.metrics import reconstruction_correlation
from sk_b2s.synthesis import mel_to_audio
from sk_b2s.synthesis._vocoder import make_vocoder_mel


@pytest.fixture(scope="module")
def tones():
    """Two seconds of tones that change, at 16 kHz."""
    times = np.arange(32000) / 16000
    return np.sin(2 * np.pi * (300 + 400 * times) * times) * (0.2 + np.sin(2 * np.pi * 3 * times) ** 2)


@pytest.mark.parametrize("rate", [50, 100])
def test_mel_to_audio_preserves_features(tones, rate):
    mel = make_vocoder_mel(tones, rate, 40)
    audio = mel_to_audio(mel, rate)
    assert audio.shape == tones.shape
    assert abs(audio).max() <= 1
    again = make_vocoder_mel(audio, rate, 40)
    inside = slice(2, -2)
    r = reconstruction_correlation(again[inside].T, mel[inside].T)
    assert r[:20].mean() > 0.9  # bands of the tones
    assert reconstruction_correlation(again[::-1].T, mel.T)[:20].mean() < 0.5


def test_mel_to_audio_is_repeatable(tones):
    mel = make_vocoder_mel(tones[:8000], 50, 20)
    assert (mel_to_audio(mel) == mel_to_audio(mel)).all()
    assert not (mel_to_audio(mel) == mel_to_audio(mel, random_state=1)).all()
    assert len(mel_to_audio(mel, sfreq=8000)) == 4000


def test_mel_to_audio_is_silent_where_mel_is_nan(tones):
    mel = make_vocoder_mel(tones, 50, 40)
    mel[50:] = np.nan
    audio = mel_to_audio(mel)
    assert abs(audio[20000:]).max() < 0.05 * abs(audio[:16000]).max()
    assert len(mel_to_audio(mel[:1])) == 320


@pytest.mark.parametrize(("mel", "options"), [
    (np.zeros(5), {}), (np.zeros((0, 4)), {}), (np.zeros((5, 4)), {"mel_sfreq": 0}),
    (np.zeros((5, 4)), {"sfreq": 0.5}), (np.zeros((5, 4)), {"n_rounds": -1}),
])  # fmt: skip
def test_mel_to_audio_checks_input(mel, options):
    with pytest.raises(ValueError, match="parameter|mel|n_rounds"):
        mel_to_audio(mel, **options)
