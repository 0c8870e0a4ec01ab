"""Power of the temporal response function by lag, and its offset."""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq
from scipy.signal import welch

from sk_b2s._utils._chunks import slice_rows_into_chunks
from sk_b2s._utils._whitening import find_whitening_axes

RESPONSE = 0.12  # s; usual lag of the largest response to an envelope
REACH = 0.45  # s; lag where a response has ended
CLIP = 5.0  # interquartile ranges
SHRINKAGE = 0.02  # of the channels' covariance towards its mean eigenvalue
RIDGE = 1.0  # of the envelope's power spectrum, in units of its mean in the band
GROUP = 32  # channels transformed at a time
ZERO_LAG = 0.07  # s; half the width of a peak at lag 0 that is a sample off


def get_least_lag_curve_seconds(max_offset):
    """Return the least duration with four null stretches beyond the search."""
    return 4 * (2 * max_offset + REACH) + 2 * (max_offset + 2 * REACH)


def whiten_for_lag_curve(signal):
    """Scale, clip and whiten channels.

    Parameters
    ----------
    signal : ndarray of shape (n_times, n_channels)

    Returns
    -------
    white : ndarray of shape (n_times, n_good_channels)
        Of unit variance and, up to shrinkage, uncorrelated.
        Constant channels are left out.
    """
    low, middle, high = np.quantile(signal, [0.25, 0.5, 0.75], axis=0)
    good = high > low
    scaled = ((signal[:, good] - middle[good]) / (high - low)[good]).astype(np.float32)
    np.clip(scaled, -CLIP, CLIP, out=scaled)
    scaled -= scaled.mean(0)
    rotation, _ = find_whitening_axes(
        (scaled.T @ scaled).astype(np.float64) / len(scaled),
        shrink=lambda values: np.maximum(values, 0) + SHRINKAGE * values.mean(),
    )
    return scaled @ rotation.astype(np.float32)


def compute_lag_curve_weights(sound, sfreq, n_times):
    """Compute the factors of a channel's spectrum: (n_times // 2 + 1,)."""
    freqs, smooth = welch(sound, sfreq, nperseg=min(len(sound), round(4 * sfreq)))
    smooth = np.interp(rfftfreq(n_times, 1 / sfreq), freqs, smooth)
    inside = smooth > 0.05 * smooth.max()
    return np.conj(rfft(sound, n_times)) / (smooth + RIDGE * smooth[inside].mean() + 1e-300)


def compute_lag_curve(brain, sound, sfreq):
    r"""Compute the power of the temporal response function by lag.

    .. math::

        W_c(\tau) = \mathcal F^{-1}\left[
            \frac{X_c(f) \, \overline{Y(f)}}{n (P(f) + \lambda \bar P)}
        \right](\tau), \qquad p(\tau) = \sum_c W_c(\tau)^2

    with :math:`X_c` and :math:`Y` the spectra of channel and envelope over the
    n samples, :math:`P` the envelope's power spectrum, smoothed to a
    resolution of 1/4 Hz, and :math:`\lambda` its mean in the band. Ridge
    regression on lagged envelopes has these weights up to the smoothing and
    the ends. One Fourier transform computes all lags, including those where no
    response is possible.

    Parameters
    ----------
    brain : ndarray of shape (n_times, n_channels)
    sound : ndarray of shape (n_times,)
    sfreq : float
        Sampling rate in Hz.

    Returns
    -------
    lags : ndarray of shape (n_lags,)
        Seconds from minus to plus half the duration, ascending. Lags are
        positive where EEG/MEG follows the stimulus.
    power : ndarray of shape (n_lags,)
    """
    n_times = next_fast_len(len(sound), real=True)
    lags = (np.arange(n_times) - n_times // 2) / sfreq
    if not np.ptp(sound):
        return lags, np.zeros(n_times)  # silence has no spectrum to divide by
    weight = compute_lag_curve_weights(sound, sfreq, n_times)
    power = np.zeros(n_times)
    for part in slice_rows_into_chunks(brain.shape[1], GROUP):
        channels = rfft(brain[:, part], n_times, axis=0)
        power += (irfft(channels * weight[:, None], n_times, axis=0) ** 2).sum(1)
    return lags, np.roll(power, n_times // 2)


def find_lag_curve_offset(lags, power, max_offset):
    r"""Find a response in a lag curve and its offset from the expected lag.

    The curve is correlated with a typical response, :math:`h(\tau) \propto
    (\tau / \tau_0)^2 e^{2 - 2 \tau / \tau_0}` from 0 to 0.45 s with
    :math:`\tau_0` = 0.12 s,

    .. math:: s(\delta) = \sum_\tau h(\tau) \, p(\tau + \delta),

    and the offset is the lag of the largest s up to ``max_offset``. The null
    distribution consists of the largest s of stretches of equal duration at
    larger lags. A Gumbel distribution of their mean and spread yields p.

    Parameters
    ----------
    lags, power : ndarray of shape (n_lags,)
        Output of :func:`compute_lag_curve`.
    max_offset : float
        Seconds.

    Returns
    -------
    found : dict
        ``offset`` (s, interpolated by a parabola), ``offset_error`` (its
        standard error in noise), ``p``, ``edge`` (whether the offset is at an
        edge of the search), ``wide`` and ``wide_p`` (the largest lag beyond
        the search, with p of the largest at all lags), ``lags`` and ``curve``
        of p near the search (in standard deviations of the null), and ``rest``
        and ``rest_p``, offset and p of :math:`p(\tau) - p(-\tau)`. This
        difference does not contain a copy of the stimulus in the recording,
        which is symmetric about 0 s. Lags within 0.07 s of 0 are excluded.
    """
    step = lags[1] - lags[0]
    after = np.arange(0, REACH, step)
    shape = (after / RESPONSE) ** 2 * np.exp(2 - 2 * after / RESPONSE)
    far = np.abs(lags) > max_offset + 2 * REACH
    if len(lags) * step < get_least_lag_curve_seconds(max_offset):
        raise ValueError(
            f"max_offset={max_offset:g} s leaves no shifts for the null in a part of {len(lags) * step:.0f} s. Use a "
            f"smaller max_offset or longer parts."
        )
    curve = (power - power[far].mean()) / (power[far].std() or 1.0)
    near = np.abs(lags) <= max_offset + REACH + 1e-9
    offset, p, edge, wide, wide_p, error = _find_lag_peaks(lags, curve, shape, max_offset, far)
    asymmetric = np.where(np.abs(lags) > ZERO_LAG, curve - np.interp(-lags, lags, curve), 0.0)
    rest, rest_p, *_ = _find_lag_peaks(lags, asymmetric, shape, max_offset, far)
    return {
        "offset": offset, "offset_error": error, "p": p, "edge": edge, "wide": wide, "wide_p": wide_p,
        "rest": rest, "rest_p": rest_p, "lags": lags[near], "curve": curve[near],
    }  # fmt: skip


def _find_lag_peaks(lags, curve, shape, max_offset, far):
    """Find the largest response within and beyond the search, with p."""
    weighted = np.correlate(np.r_[curve, curve[: len(shape) - 1]], shape, "valid")
    near = np.flatnonzero(np.abs(lags) <= max_offset)
    best = near[np.argmax(weighted[near])]
    p, _ = _compute_lag_gumbel_p(weighted, far, len(near), weighted[best])
    beyond = np.abs(lags) > max_offset
    beyond[-len(shape) :] = False  # around the circle
    wide = np.flatnonzero(beyond)[np.argmax(weighted[beyond])]
    others = far & (np.abs(lags - lags[wide]) > max_offset + 2 * REACH)
    single, n_places = _compute_lag_gumbel_p(weighted, others, len(near), weighted[wide])
    wide_p = float(-np.expm1(n_places * np.log1p(-min(single, 1 - 1e-16))))
    edge = best in (near[0], near[-1])
    error = _compute_lag_error(lags, weighted, best, far)
    return (
        _interpolate_lag_peak(lags, weighted, best),
        p,
        edge,
        _interpolate_lag_peak(lags, weighted, wide),
        wide_p,
        error,
    )


def _compute_lag_error(lags, weighted, at, far):
    """Compute the standard error of the lag of a peak."""
    step = lags[1] - lags[0]
    left, top, right = (weighted[i % len(weighted)] for i in (at - 1, at, at + 1))
    curvature = (2 * top - left - right) / step**2
    return float(np.gradient(weighted, step)[far].std() / curvature) if curvature > 0 else np.inf


def _interpolate_lag_peak(lags, weighted, at):
    """Return the lag of the parabola through a peak and its neighbors."""
    left, top, right = (weighted[i % len(weighted)] for i in (at - 1, at, at + 1))
    bend = left - 2 * top + right
    shift = 0.5 * (left - right) / bend if bend < 0 and top >= max(left, right) else 0.0
    return float(lags[at] + shift * (lags[1] - lags[0]))


def _compute_lag_gumbel_p(weighted, null, length, value):
    """Compute p of a largest value, and the number of null stretches."""
    null = weighted[null]
    null = null[: len(null) // length * length].reshape(-1, length).max(1)
    if len(null) < 2 or not (scale := np.sqrt(6) / np.pi * null.std(ddof=1)) > 0:
        return np.nan, len(null) + 1
    place = null.mean() - np.euler_gamma * scale
    return float(-np.expm1(-np.exp(-(value - place) / scale))), len(null) + 1
