"""Tests of short-time spectra and mel filters."""

import numpy as np
import pytest
from transformers.audio_utils import mel_filter_bank

from sk_b2s.features._stft import compute_stft, make_stft_filter_bank


@pytest.mark.parametrize(("n_fft", "hop"), [(512, 160), (400, 100), (33, 40)])
def test_compute_stft_equals_definition(n_fft, hop):
    samples = np.random.default_rng(0).standard_normal(90_000).astype("f4")
    found = compute_stft(samples, n_fft, hop)
    assert (found.dtype, found.shape) == (np.complex64, (n_fft // 2 + 1, 1 + (90_000 - n_fft) // hop))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    for frame in (0, 7, found.shape[1] - 1):
        expected = np.fft.rfft(samples[frame * hop : frame * hop + n_fft] * window)
        np.testing.assert_allclose(found[:, frame], expected, atol=1e-5)


@pytest.mark.parametrize(("n_fft", "n_mels"), [(512, 20), (512, 120), (400, 80)])
@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.filterwarnings("ignore:At least one mel filter")
def test_mel_filters_equal_transformers(scale, n_fft, n_mels):
    norm = None if scale == "htk" else "slaney"
    expected = mel_filter_bank(n_fft // 2 + 1, n_mels, 0.0, 8000.0, 16000, norm=norm, mel_scale=scale).T
    found = make_stft_filter_bank(16000, n_fft, n_mels, htk=scale == "htk")
    np.testing.assert_allclose(found, expected, atol=1e-6 * expected.max())
