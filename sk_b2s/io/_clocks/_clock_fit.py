"""Linear fit from stimulus time to recording time."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from sk_b2s._utils._units import guess_unit_factor
from sk_b2s.io._clocks._change_points import find_change_points, format_change_points

MAX_RESIDUAL = 0.020  # s, maximum r.m.s. residual
USUAL_DRIFT = 100e-6  # maximum drift of real clocks
MAX_DRIFT = 2000e-6  # larger drifts mean a wrong sampling rate
JITTER = 0.001  # s, assumed error of marks if it cannot be estimated
MAX_DISTANCE = 0.010  # s, maximum distance of a valid mark from the line
MAX_INVALID = 0.1  # share of invalid marks that is not reported
USUAL_RESIDUAL = 0.010  # s, larger residuals are reported. Marks of a 60 Hz screen have 5 ms.


class ClockFit(NamedTuple):
    """Line from the time in stimuli to the time in a recording.

    Attributes
    ----------
    onsets : ndarray of shape (n_sounds,)
        Time of the start of each audio file in the recording, in seconds.
    drift : float
        Duration in the recording divided by that in the audio file, minus 1.
        It is 0 if no stimulus has two marks.
    residual : float
        Root mean square distance of the used marks from the line, in seconds.
        NaN if there are no more marks than unknowns.
    used : ndarray of bool of shape (n_marks,)
        Marks that were used in the fit.
    drift_error : float
        Standard error of ``drift``. If the residual is NaN, that of marks with
        a jitter of 1 ms.
    breaks : tuple of ClockChangePoint
        Changes of the rate and jumps.
    worst : float
        Largest distance of the broken line from the straight one, in seconds.
    n_false : int
        Marks more than 10 ms and 5 robust standard deviations off the line.
    """

    onsets: np.ndarray
    drift: float
    residual: float
    used: np.ndarray
    drift_error: float = np.inf
    breaks: tuple = ()
    worst: float = 0.0
    n_false: int = 0


def fit_clock(which, in_sound, in_recording, *, resolution=0.0, overlap=1):
    r"""Fit one drift and the onset of each stimulus, robustly to false marks.

    First :math:`o_k` and :math:`d` minimize :math:`\sum_i |r_i - o_{k_i} - (1
    + d) s_i|`, then the sum of squares over the marks within 3 robust standard
    deviations of that line (at least 2 ms and ``resolution``).

    Parameters
    ----------
    which : array-like of int of shape (n_marks,)
        Stimulus of each mark, from 0.
    in_sound, in_recording : array-like of shape (n_marks,)
        Time of each mark in the stimulus and in the recording, in seconds.
    resolution : float, default=0.0
        Rounding of times in the recording, in seconds.
    overlap : int, default=1
        Number of successive marks that share data.

    Returns
    -------
    fit : ClockFit

    Raises
    ------
    ValueError
        If marks are missing, the lengths differ, a time is not finite, or a
        stimulus has no mark.

    Examples
    --------
    >>> s = np.arange(60.0)
    >>> fit = fit_clock(np.zeros(60, int), s, 7.5 + s * (1 + 50e-6))
    >>> round(float(fit.onsets[0]), 6), round(fit.drift * 1e6, 3)
    (7.5, 50.0)
    """
    which, s, r = _check_clock_marks(which, in_sound, in_recording)
    n_sounds = which.max() + 1
    onsets, drift, used = fit_clock_line(which, s, r, resolution)
    error = (r - s - onsets[which] - drift * s)[used]
    marks = np.bincount(which[used], minlength=n_sounds)
    unknowns = np.count_nonzero(marks) + (marks > 1).any()
    residual = float(np.sqrt(np.mean(error**2))) if used.sum() > unknowns else np.nan
    mean_s = np.bincount(which[used], s[used], n_sounds) / np.maximum(marks, 1)
    spread = np.sqrt(((s - mean_s[which])[used] ** 2).sum())
    noise = max(JITTER, resolution) if np.isnan(residual) else residual
    breaks, worst = find_change_points(which, s, r, onsets[which] + (1 + drift) * s, resolution, overlap)
    off = np.abs(r - s - onsets[which] - drift * s)
    n_false = np.count_nonzero(off > max(MAX_DISTANCE, 5 * 1.4826 * float(np.median(off))))
    return ClockFit(
        onsets, drift, residual, used, noise / spread if spread else np.inf, breaks, worst, n_false
    )


def _check_clock_marks(which, s, r):
    """Return marks as arrays, or raise if they determine no line."""
    which, s, r = np.asarray(which), np.asarray(s, float), np.asarray(r, float)
    if which.ndim != 1 or not len(which) or not which.shape == s.shape == r.shape:
        raise ValueError(
            "which, in_sound and in_recording must have one value per mark, and at least one mark. Got the "
            f"shapes {which.shape}, {s.shape} and {r.shape} instead."
        )
    if not np.isfinite([s, r]).all():
        raise ValueError(
            f"in_sound and in_recording must be finite. Mark {int(np.argmin(np.isfinite(s + r)))} is not."
        )
    if not np.array_equal(present := np.unique(which), np.arange(len(present))):
        raise ValueError(
            f"which must number the stimuli from 0 without gaps. Got {present.tolist()[:12]} instead."
        )
    return which.astype(int), s, r


def fit_clock_line(which, s, r, resolution=0.0):
    """Fit the line of :func:`fit_clock`, without a search for breaks.

    Parameters
    ----------
    which : ndarray of int of shape (n_marks,)
    s, r : ndarray of shape (n_marks,)
        Times by both clocks, in seconds.
    resolution : float, default=0.0

    Returns
    -------
    onsets : ndarray of shape (n_sounds,)
    drift : float
    used : ndarray of bool of shape (n_marks,)
    """
    n_sounds, weights = which.max() + 1, np.ones(len(s))
    for _ in range(60):  # least absolute deviations by reweighted least squares
        onsets, drift = _fit_weighted_line(which, s, r - s, weights, n_sounds)
        error = np.abs(r - s - onsets[which] - drift * s)
        weights = 1 / np.maximum(error, 1e-5)
    used = error <= max(3 * 1.4826 * float(np.median(error)), 0.002, resolution)
    return *_fit_weighted_line(which, s, r - s, used.astype(float), n_sounds), used


def _fit_weighted_line(which, s, shift, weights, n_sounds):
    """Fit the shift, onset + drift * s, by weighted least squares."""
    total = np.maximum(np.bincount(which, weights, n_sounds), 1e-300)
    mean_s = np.bincount(which, weights * s, n_sounds) / total
    mean_shift = np.bincount(which, weights * shift, n_sounds) / total
    from_mean = s - mean_s[which]
    spread = float(weights @ from_mean**2)
    drift = float(weights @ (from_mean * shift)) / spread if spread > 1e-9 * weights.sum() else 0.0
    return mean_shift - drift * mean_s, drift


def check_clock_fit(fit, name):
    """Raise if a fitted line is not one of two clocks.

    Parameters
    ----------
    fit : ClockFit
    name : str
        Name of the recording, for messages.

    Raises
    ------
    ValueError
        If the residual is above 20 ms, a third of the marks is off the line,
        or the drift is above 2000 ppm.

    Warns
    -----
    UserWarning
        If the drift is above 100 ppm by more than three standard errors, the
        clock has breaks of 3 ms or more, a tenth of the marks is off the line,
        or the residual is above 10 ms.
    """
    off, n_marks = np.count_nonzero(~fit.used), len(fit.used)
    breaks = format_change_points(fit.breaks)
    if fit.residual > MAX_RESIDUAL or off > n_marks / 3:
        raise ValueError(
            f"{name}: the marks must be on a straight line to within {MAX_RESIDUAL * 1e3:g} ms, but are "
            f"{fit.residual * 1e3:.1f} ms off (r.m.s., without {off} of {n_marks} marks that are further off). "
            "Check that no mark is missing, that they belong to these stimuli, and that no stimulus was "
            f"interrupted.{f' The clock has breaks: {breaks}.' if breaks else ''}"
        )
    if abs(fit.drift) > MAX_DRIFT:
        raise ValueError(
            f"{name}: the stimuli have a drift of {fit.drift * 1e6:+.0f} ppm, but real clocks are within 100 "
            "ppm. Check that they were presented at the sampling rate of their audio "
            f"files.{guess_unit_factor(1 + fit.drift)}"
        )
    fast = abs(fit.drift) - 3 * fit.drift_error > USUAL_DRIFT
    if fast and np.isnan(fit.residual):
        warnings.warn(
            f"{name}: the marks imply a drift of {fit.drift * 1e6:+.0f} ppm, but real clocks are within 100 "
            "ppm. They are too few to check this, and a single late mark could be the reason. Add more marks.",
            stacklevel=3,
        )
    elif fast:
        warnings.warn(
            f"{name}: the clocks have a drift of {fit.drift * 1e6:+.0f} ppm ({fit.drift * 60:+.3f} s per "
            "minute), but real clocks are within 100 ppm. Event times include this drift. Check the sampling "
            "rates of the recording and the audio files.",
            stacklevel=3,
        )
    if fit.breaks:
        warnings.warn(
            f"{name}: the marks are not on a straight line. In the recording, {breaks}, so that stimulus times "
            f"are up to {fit.worst * 1e3:.0f} ms wrong. Split the stimulus there into separate rows, or mark "
            "the segment as bad.",
            stacklevel=3,
        )
    elif fit.n_false > max(1, MAX_INVALID * n_marks) or (fit.n_false and np.isnan(fit.residual)):
        warnings.warn(
            f"{name}: {fit.n_false} of {n_marks} marks are off the line and were ignored. Check that no mark is "
            "missing or was sent twice, and that they belong to these stimuli.",
            stacklevel=3,
        )
    elif fit.residual > USUAL_RESIDUAL:
        warnings.warn(
            f"{name}: the marks have a residual of {fit.residual * 1e3:.1f} ms (r.m.s.) from a straight line, "
            "but 1 to 5 ms are usual. Stimulus times have the same uncertainty. Check the device that sends "
            "the marks, and its delay.",
            stacklevel=3,
        )


def match_clock_fit_marks(expected, observed, onset, tolerance=0.1):
    """Match the marks of a stimulus and a recording, following the drift.

    Parameters
    ----------
    expected : ndarray of shape (n_expected,)
        Sorted times in the stimulus, in seconds.
    observed : ndarray of shape (n_observed,)
        Sorted times in the recording, in seconds.
    onset : float
        Onset of the stimulus by its first mark.
    tolerance : float, default=0.1
        Maximum distance in seconds from the time predicted by the previous
        mark, plus 2 ms per second since that mark. It is at most half of the
        interval to the next expected mark.

    Returns
    -------
    in_sound, in_recording : ndarray of shape (n_found,)
    """
    expected, observed = np.asarray(expected, float), np.asarray(observed, float)
    gaps = np.diff(expected, prepend=-np.inf, append=np.inf)
    nearest = np.minimum(gaps[:-1], gaps[1:]) / 2
    found, last = [], 0.0
    for time, most in zip(expected, nearest, strict=True):
        place = np.searchsorted(observed, onset + time)
        near = observed[max(place - 1, 0) : place + 1]
        off = np.abs(near - onset - time)
        if len(near) and off.min() <= min(tolerance + MAX_DRIFT * (time - last), most):
            found.append((time, near[np.argmin(off)]))
            last, onset = time, found[-1][1] - time
    return np.array(found, float).reshape(-1, 2).T
