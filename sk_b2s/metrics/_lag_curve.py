"""Power of the temporal response function by lag, and its offset."""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq
from scipy.signal import welch

from sk_b2s._utils._chunks import slice_rows

RESPONSE = 0.12  # s after which the response to an envelope is largest, as a rule
REACH = 0.45  # s until which it lasts
CLIP = 5.0  # interquartile ranges
SHRINKAGE = 0.02  # of the channels' covariance towards its mean eigenvalue
RIDGE = 1.0  # of the envelope's power spectrum, in units of its mean in the band
GROUP = 32  # channels transformed at a time
BESIDE = 0.07  # s; a peak at 0 that is a sample off reaches as far


def least_seconds(max_offset):
    """Return the seconds that leave shifts for the null: four stretches as long as the search, beyond its reach."""
    return 4 * (2 * max_offset + REACH) + 2 * (max_offset + 2 * REACH)


def whitened(signal):
    """Scale and clip channels, then rotate them so that all directions have equal power.

    Parameters
    ----------
    signal : ndarray of shape (n_times, n_channels)

    Returns
    -------
    white : ndarray of shape (n_times, n_good_channels)
        Of unit variance and, but for a little shrinkage, uncorrelated; constant channels are left out.
    """
    low, middle, high = np.quantile(signal, [0.25, 0.5, 0.75], axis=0)
    good = high > low
    scaled = ((signal[:, good] - middle[good]) / (high - low)[good]).astype(np.float32)
    np.clip(scaled, -CLIP, CLIP, out=scaled)
    scaled -= scaled.mean(0)
    values, vectors = np.linalg.eigh((scaled.T @ scaled).astype(np.float64) / len(scaled))
    rotation = vectors / np.sqrt(np.maximum(values, 0) + SHRINKAGE * values.mean())
    return scaled @ rotation.astype(np.float32)


def lag_weights(sound, sfreq, n_times):
    """Compute what the spectrum of a channel is multiplied by: ndarray of shape (n_times // 2 + 1,)."""
    freqs, smooth = welch(sound, sfreq, nperseg=min(len(sound), round(4 * sfreq)))
    smooth = np.interp(rfftfreq(n_times, 1 / sfreq), freqs, smooth)
    inside = smooth > 0.05 * smooth.max()
    return np.conj(rfft(sound, n_times)) / (smooth + RIDGE * smooth[inside].mean() + 1e-300)


def lag_curve(brain, sound, sfreq):
    r"""Power of the multichannel temporal response function at every circular shift of the sound.

    .. math:: W_c(\tau) = \mathcal F^{-1}\left[\frac{X_c(f) \, \overline{Y(f)}}{n (P(f) + \lambda \bar P)}\right](\tau),
              \qquad p(\tau) = \sum_c W_c(\tau)^2

    with :math:`X_c` and :math:`Y` the spectra of channel and envelope over the n samples, :math:`P` the envelope's
    power spectrum, smoothed to a resolution of 1/4 Hz, and :math:`\lambda` its mean in the band. Ridge
    regression on lagged envelopes has these weights up to the smoothing and the ends; one Fourier transform gives
    the lags that are looked at, and all that no brain can answer at.

    Parameters
    ----------
    brain : ndarray of shape (n_times, n_channels)
    sound : ndarray of shape (n_times,)
    sfreq : float
        Hz.

    Returns
    -------
    lags : ndarray of shape (n_lags,)
        Seconds from minus to plus half the length, rising; positive where the brain comes after the sound.
    power : ndarray of shape (n_lags,)
    """
    n_times = next_fast_len(len(sound), real=True)
    lags = (np.arange(n_times) - n_times // 2) / sfreq
    if not np.ptp(sound):
        return lags, np.zeros(n_times)  # silence has no spectrum to divide by
    weight = lag_weights(sound, sfreq, n_times)
    power = np.zeros(n_times)
    for part in slice_rows(brain.shape[1], GROUP):
        channels = rfft(brain[:, part], n_times, axis=0)
        power += (irfft(channels * weight[:, None], n_times, axis=0) ** 2).sum(1)
    return lags, np.roll(power, n_times // 2)


def response_offset(lags, power, max_offset):
    r"""Find a response in a lag curve, and how far it lies from where it should.

    The curve is weighed by what a response looks like, :math:`h(\tau) \propto (\tau / \tau_0)^2 e^{2 - 2 \tau /
    \tau_0}` from 0 to 0.45 s with :math:`\tau_0` = 0.12 s,

    .. math:: s(\delta) = \sum_\tau h(\tau) \, p(\tau + \delta),

    and the offset is where s is largest up to ``max_offset``. Largest values of s in stretches of equal length further
    off are the null; a Gumbel distribution through their mean and spread gives p.

    Parameters
    ----------
    lags, power : ndarray of shape (n_lags,)
        Of :func:`lag_curve`.
    max_offset : float
        Seconds.

    Returns
    -------
    found : dict
        ``offset`` (s, between samples by a parabola), ``offset_error`` (its standard error in noise), ``p``, ``edge``
        (whether the offset is at an edge of the search), ``wide`` and ``wide_p`` (the largest beyond the search, with p
        of the largest at all lags), ``lags`` and ``curve`` of p within the reach (s.d. of the null about its mean), and
        ``rest`` and ``rest_p``, offset and p of :math:`p(\tau) - p(-\tau)`, from which what leaks at 0 s is gone: its
        smear is as wide to both sides. Within 0.07 s of 0 nothing counts.
    """
    step = lags[1] - lags[0]
    after = np.arange(0, REACH, step)
    shape = (after / RESPONSE) ** 2 * np.exp(2 - 2 * after / RESPONSE)
    far = np.abs(lags) > max_offset + 2 * REACH
    if len(lags) * step < least_seconds(max_offset):
        raise ValueError(
            f"max_offset={max_offset:g} s leaves no shifts for the null in a part of {len(lags) * step:.0f} s; take a "
            f"smaller one or longer parts."
        )
    curve = (power - power[far].mean()) / (power[far].std() or 1.0)
    near = np.abs(lags) <= max_offset + REACH + 1e-9
    offset, p, edge, wide, wide_p, error = _best(lags, curve, shape, max_offset, far)
    lopsided = np.where(np.abs(lags) > BESIDE, curve - np.interp(-lags, lags, curve), 0.0)
    rest, rest_p, *_ = _best(lags, lopsided, shape, max_offset, far)
    return {
        "offset": offset, "offset_error": error, "p": p, "edge": edge, "wide": wide, "wide_p": wide_p,
        "rest": rest, "rest_p": rest_p, "lags": lags[near], "curve": curve[near],
    }  # fmt: skip


def _best(lags, curve, shape, max_offset, far):
    """Where the weighed curve is largest within reach and beyond it, and how rare both are further off."""
    weighed = np.correlate(np.r_[curve, curve[: len(shape) - 1]], shape, "valid")
    near = np.flatnonzero(np.abs(lags) <= max_offset)
    best = near[np.argmax(weighed[near])]
    p, _ = _rarity(weighed, far, len(near), weighed[best])
    beyond = np.abs(lags) > max_offset
    beyond[-len(shape) :] = False  # around the circle
    wide = np.flatnonzero(beyond)[np.argmax(weighed[beyond])]
    others = far & (np.abs(lags - lags[wide]) > max_offset + 2 * REACH)
    single, n_places = _rarity(weighed, others, len(near), weighed[wide])
    wide_p = float(-np.expm1(n_places * np.log1p(-min(single, 1 - 1e-16))))
    edge = best in (near[0], near[-1])
    error = _error(lags, weighed, best, far)
    return _top(lags, weighed, best), p, edge, _top(lags, weighed, wide), wide_p, error


def _error(lags, weighed, at, far):
    """Standard error of the lag of a peak, by the slope of the noise and the curvature of the peak."""
    step = lags[1] - lags[0]
    left, top, right = (weighed[i % len(weighed)] for i in (at - 1, at, at + 1))
    curvature = (2 * top - left - right) / step**2
    return float(np.gradient(weighed, step)[far].std() / curvature) if curvature > 0 else np.inf


def _top(lags, weighed, at):
    """Lag of the top of the parabola through a peak and its neighbors."""
    left, top, right = (weighed[i % len(weighed)] for i in (at - 1, at, at + 1))
    bend = left - 2 * top + right
    shift = 0.5 * (left - right) / bend if bend < 0 and top >= max(left, right) else 0.0
    return float(lags[at] + shift * (lags[1] - lags[0]))


def _rarity(weighed, null, length, value):
    """P of a largest value in a stretch, by a Gumbel distribution, and the number of stretches."""
    null = weighed[null]
    null = null[: len(null) // length * length].reshape(-1, length).max(1)
    if len(null) < 2 or not (scale := np.sqrt(6) / np.pi * null.std(ddof=1)) > 0:
        return np.nan, len(null) + 1
    place = null.mean() - np.euler_gamma * scale
    return float(-np.expm1(-np.exp(-(value - place) / scale))), len(null) + 1
