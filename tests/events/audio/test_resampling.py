"""Tests of resampling of audio."""

import numpy as np
import pytest

from sk_b2s.events._audio._resampling import resample_audio


@pytest.mark.parametrize(("rate", "target"), [(44100, 16000), (8000, 16000), (22050, 8000)])
def test_resample_audio_keeps_tones_without_aliases(rate, target):
    time, new_time = np.arange(2 * rate + 7) / rate, np.arange(-(-(2 * rate + 7) * target // rate)) / target
    found = resample_audio(np.sin(2 * np.pi * 440 * time).astype("f4"), rate, target)
    assert (found.dtype, found.shape) == (np.float32, new_time.shape)
    inside = slice(target // 10, -target // 10)
    np.testing.assert_allclose(found[inside], np.sin(2 * np.pi * 440 * new_time)[inside], atol=1e-3)
    if target < rate:
        high = np.sin(2 * np.pi * 0.6 * target * time).astype("f4")
        assert abs(resample_audio(high, rate, target)[inside]).max() < 1e-3


def test_resample_audio_returns_equal_rates_unchanged():
    samples = np.ones(5, "f4")
    assert resample_audio(samples, 16000, 16000) is samples
