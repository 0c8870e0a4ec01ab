"""Resampling of audio."""

from __future__ import annotations

import math

import numpy as np
import soxr


def resample_audio(samples, rate, target, quality="HQ"):
    """Resample mono audio with an anti-aliasing filter.

    Parameters
    ----------
    samples : ndarray of shape (n_samples,)
        Floating-point samples.
    rate, target : float
        Sampling rates in Hz.
    quality : str, default="HQ"
        Of soxr.

    Returns
    -------
    samples : ndarray of shape (ceil(n_samples * target / rate),)
        In the type of the input.

    Examples
    --------
    >>> resample_audio(np.zeros(441, "f4"), 44100, 16000).shape
    (160,)
    """
    if rate == target:
        return samples
    n_samples = math.ceil(len(samples) * (target / rate))
    resampled = soxr.resample(samples, rate, target, quality=quality)[:n_samples]
    return np.pad(resampled, (0, n_samples - len(resampled))).astype(samples.dtype, copy=False)
