"""Short-time spectra and mel filters."""

from __future__ import annotations

import numpy as np
from scipy.fft import rfft
from scipy.signal import get_window

BATCH_BYTES = 2**18  # of windowed frames, few enough for the cache of the processor


def compute_stft(samples, n_fft, hop):
    """Compute spectra of frames that begin every ``hop`` samples.

    Parameters
    ----------
    samples : ndarray of shape (n_samples,)
        At least ``n_fft`` samples.
    n_fft : int
        Length of a frame, under a periodic Hann window.
    hop : int

    Returns
    -------
    spectrum : ndarray of shape (n_fft // 2 + 1, n_frames)
        complex64 for float32.

    Examples
    --------
    >>> compute_stft(np.ones(10), 4, 2).shape
    (3, 4)
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples, n_fft)[::hop]
    window = get_window("hann", n_fft)
    dtype = np.result_type(samples.dtype, np.complex64)
    out = np.empty((n_fft // 2 + 1, len(frames)), dtype, order="F")
    step = max(BATCH_BYTES // (8 * n_fft), 1)
    for first in range(0, len(frames), step):
        part = slice(first, first + step)
        out[:, part] = rfft(frames[part] * window, axis=1).T
    return out


def make_stft_filter_bank(sfreq, n_fft, n_mels, htk=True):
    """Make triangular mel filters.

    Parameters
    ----------
    sfreq : float
        Sampling rate in Hz.
    n_fft : int
        Length of a frame.
    n_mels : int
        Number of bands, equally spaced in mel from 0 to ``sfreq / 2``.
    htk : bool, default=True
        If True, mel are 2595 log10(1 + f / 700) and triangles have the peak 1,
        as in HTK. If False, mel are those of Slaney's Auditory Toolbox,
        linear below 1 kHz, and triangles have equal areas.

    Returns
    -------
    filters : ndarray of float32 of shape (n_mels, n_fft // 2 + 1)
        A band narrower than a bin may be 0.

    Examples
    --------
    >>> make_stft_filter_bank(16000, 512, 20).shape
    (20, 257)
    """
    frequency = np.linspace(0, sfreq / 2, n_fft // 2 + 1)
    to_mel, to_hertz = (_hz_to_htk_mel, _htk_mel_to_hz) if htk else (_hz_to_slaney_mel, _slaney_mel_to_hz)
    edges = to_hertz(np.linspace(to_mel(0.0), to_mel(sfreq / 2), n_mels + 2))
    width = np.diff(edges)
    distance = edges[:, None] - frequency
    rising, falling = -distance[:-2] / width[:-1, None], distance[2:] / width[1:, None]
    filters = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    return filters if htk else (filters * (2.0 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


def _hz_to_htk_mel(hertz):
    return 2595.0 * np.log10(1.0 + np.asarray(hertz) / 700.0)


def _htk_mel_to_hz(mel):
    return 700.0 * (10.0 ** (np.asarray(mel) / 2595.0) - 1.0)


STEP, CORNER = 200 / 3, 1000.0  # Hz per mel below the corner, and the corner in Hz
LOG_STEP = np.log(6.4) / 27  # of a mel above


def _hz_to_slaney_mel(hertz):
    hertz = np.asarray(hertz, float)
    return np.where(
        hertz < CORNER, hertz / STEP, CORNER / STEP + np.log(np.maximum(hertz, CORNER) / CORNER) / LOG_STEP
    )


def _slaney_mel_to_hz(mel):
    mel = np.asarray(mel, float)
    corner = CORNER / STEP
    return np.where(mel < corner, mel * STEP, CORNER * np.exp(LOG_STEP * (mel - corner)))
