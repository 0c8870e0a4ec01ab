"""Linear fit from stimulus time to recording time."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from sk_b2s._utils._units import guess_factor
from sk_b2s.io._clocks._change_points import find_clock_breaks, format_clock_breaks

WORST = 0.020  # s of residual above which times are refused
USUAL = 100e-6  # drift above which two clocks are seldom apart
FASTEST = 2000e-6  # drift above which a sound was not played at its rate
JITTER = 0.001  # s by which a mark may be off where nothing tells
FALSE = 0.010  # s off the line beyond which a mark is a false one
IGNORED = 0.1  # share of marks off the line above which they are reported
SCATTER = 0.010  # s of residual above which marks are doubted; those of a 60 Hz screen have 5 ms


class ClockFit(NamedTuple):
    """A line from the time of sounds to that of a recording.

    Attributes
    ----------
    onsets : ndarray of shape (n_sounds,)
        Where in the recording each sound's 0 lies, in seconds.
    drift : float
        Seconds of the recording in a second of sound, minus 1; 0 if no sound has two marks.
    residual : float
        Root mean square of the marks that count around the line, in seconds; NaN where there are no more marks
        than the line has unknowns, so that it goes through all of them.
    used : ndarray of bool of shape (n_marks,)
        Marks that count.
    drift_error : float
        Standard error of ``drift``. Where the residual is NaN, that of marks with a jitter of 1 ms.
    bends : tuple of ClockBreak
        Where the marks leave the line together, see :func:`~sk_b2s.io._clocks._change_points.find_clock_breaks`.
    worst : float
        Largest distance of the bent line from the straight one, in seconds; 0 without bends.
    n_false : int
        Marks more than 10 ms and 5 robust standard deviations off the line.
    """

    onsets: np.ndarray
    drift: float
    residual: float
    used: np.ndarray
    drift_error: float = np.inf
    bends: tuple = ()
    worst: float = 0.0
    n_false: int = 0


def fit_clock(which, in_sound, in_recording, *, resolution=0.0, overlap=1):
    r"""Fit one drift and the onset of each sound, whatever a minority of marks says.

    First :math:`o_k` and :math:`d` minimize :math:`\sum_i |r_i - o_{k_i} - (1 + d) s_i|`, then the
    sum of squares over the marks within 3 robust standard deviations (2 ms or ``resolution`` at least) of that line.

    Parameters
    ----------
    which : array-like of int of shape (n_marks,)
        Sound of each mark, from 0.
    in_sound, in_recording : array-like of shape (n_marks,)
        Its time in the sound and in the recording, in seconds.
    resolution : float, default=0.0
        Seconds to which times in the recording are rounded.
    overlap : int, default=1
        Number of successive marks that share data, so that their errors are alike.

    Returns
    -------
    fit : ClockFit

    Raises
    ------
    ValueError
        If there are no marks, the lengths differ, a time is not finite, or a sound has no mark.

    Examples
    --------
    >>> s = np.arange(60.0)
    >>> fit = fit_clock(np.zeros(60, int), s, 7.5 + s * (1 + 50e-6))
    >>> round(float(fit.onsets[0]), 6), round(fit.drift * 1e6, 3)
    (7.5, 50.0)
    """
    which, s, r = _checked_marks(which, in_sound, in_recording)
    n_sounds = which.max() + 1
    weights = np.ones(len(s))
    for _ in range(60):  # least absolute deviations by reweighted least squares
        onsets, drift = _weighted_line(which, s, r - s, weights, n_sounds)
        error = np.abs(r - s - onsets[which] - drift * s)
        weights = 1 / np.maximum(error, 1e-5)
    used = error <= max(3 * 1.4826 * float(np.median(error)), 0.002, resolution)
    onsets, drift = _weighted_line(which, s, r - s, used.astype(float), n_sounds)
    error = (r - s - onsets[which] - drift * s)[used]
    marks = np.bincount(which[used], minlength=n_sounds)
    unknowns = np.count_nonzero(marks) + (marks > 1).any()
    residual = float(np.sqrt(np.mean(error**2))) if used.sum() > unknowns else np.nan
    mean_s = np.bincount(which[used], s[used], n_sounds) / np.maximum(marks, 1)
    spread = np.sqrt(((s - mean_s[which])[used] ** 2).sum())
    noise = max(JITTER, resolution) if np.isnan(residual) else residual
    bends, worst = find_clock_breaks(which, s, r, onsets[which] + (1 + drift) * s, resolution, overlap)
    off = np.abs(r - s - onsets[which] - drift * s)
    n_false = np.count_nonzero(off > max(FALSE, 5 * 1.4826 * float(np.median(off))))
    return ClockFit(
        onsets, drift, residual, used, noise / spread if spread else np.inf, bends, worst, n_false
    )


def _checked_marks(which, s, r):
    """Marks as arrays, or an error where no line goes through them."""
    which, s, r = np.asarray(which), np.asarray(s, float), np.asarray(r, float)
    if which.ndim != 1 or not len(which) or not which.shape == s.shape == r.shape:
        raise ValueError(
            f"which, in_sound and in_recording must hold one value for each mark, one mark at least. Got the shapes "
            f"{which.shape}, {s.shape} and {r.shape}."
        )
    if not np.isfinite([s, r]).all():
        raise ValueError(
            f"in_sound and in_recording must be finite seconds. Mark {int(np.argmin(np.isfinite(s + r)))} is not."
        )
    if not np.array_equal(present := np.unique(which), np.arange(len(present))):
        raise ValueError(f"which must number the sounds from 0 without gaps. Got {present.tolist()[:12]}.")
    return which.astype(int), s, r


def _weighted_line(which, s, shift, weights, n_sounds):
    """Least squares of shift = onset of the sound + drift · s."""
    total = np.maximum(np.bincount(which, weights, n_sounds), 1e-300)
    mean_s = np.bincount(which, weights * s, n_sounds) / total
    mean_shift = np.bincount(which, weights * shift, n_sounds) / total
    from_mean = s - mean_s[which]
    spread = float(weights @ from_mean**2)
    drift = float(weights @ (from_mean * shift)) / spread if spread > 1e-9 * weights.sum() else 0.0
    return mean_shift - drift * mean_s, drift


def check_fit(fit, name):
    """Raise unless a line is one that two clocks can make.

    Parameters
    ----------
    fit : ClockFit
    name : str
        What the message calls the recording.

    Raises
    ------
    ValueError
        If the residual is above 20 ms, a third of the marks is off the line, or the drift above 2000 ppm.

    Warns
    -----
    UserWarning
        If the drift is above 100 ppm by more than three standard errors, if marks leave the line together (a change
        of rate or a jump, by 3 ms or more), if a tenth of the marks is off the line, or if they scatter by more than
        10 ms.
    """
    off, n_marks = np.count_nonzero(~fit.used), len(fit.used)
    bends = format_clock_breaks(fit.bends)
    if fit.residual > WORST or off > n_marks / 3:
        raise ValueError(
            f"{name}: the marks of its sounds are {fit.residual * 1e3:.1f} ms off a straight line (r.m.s.; {off} of "
            f"{n_marks} marks further still), and at most {WORST * 1e3:g} ms can be two clocks. Were marks lost, "
            f"are they of other sounds, or was a sound interrupted?{f' The clock bends: {bends}.' if bends else ''}"
        )
    if abs(fit.drift) > FASTEST:
        raise ValueError(
            f"{name}: its sounds ran {fit.drift * 1e6:+.0f} ppm off the recorder's clock, real clocks 100. "
            f"Were they played at another sampling rate than their files say?{guess_factor(1 + fit.drift)}"
        )
    fast = abs(fit.drift) - 3 * fit.drift_error > USUAL
    if fast and np.isnan(fit.residual):
        warnings.warn(
            f"{name}: its marks say that the clocks are {fit.drift * 1e6:+.0f} ppm apart, real ones are less than "
            f"100, and are too few to check it by. One that is late makes a drift of its own; give more of them.",
            stacklevel=3,
        )
    elif fast:
        warnings.warn(
            f"{name}: the clocks are {fit.drift * 1e6:+.0f} ppm apart ({fit.drift * 60:+.3f} s a minute), real ones "
            f"less than 100. Times follow this drift. Check the sampling rates of recording and sound files.",
            stacklevel=3,
        )
    if fit.bends:
        warnings.warn(
            f"{name}: its marks are not on a straight line. In the recording, {bends}, so times of sounds are up to "
            f"{fit.worst * 1e3:.0f} ms wrong. Split the sound there into rows of its own, or mark the stretch as bad.",
            stacklevel=3,
        )
    elif fit.n_false > max(1, IGNORED * n_marks) or (fit.n_false and np.isnan(fit.residual)):
        warnings.warn(
            f"{name}: {fit.n_false} of {n_marks} marks are off the line and were ignored. Check that no mark was "
            f"lost or sent twice, and that they are of these sounds.",
            stacklevel=3,
        )
    elif fit.residual > SCATTER:
        warnings.warn(
            f"{name}: its marks scatter by {fit.residual * 1e3:.1f} ms (r.m.s.) around a straight line, those of two "
            f"clocks by 1 to 5 ms. Times of sounds are as uncertain. Check what sends the marks, and with which delay.",
            stacklevel=3,
        )


def follow_marks(expected, observed, onset, tolerance=0.1):
    """Pair the marks of one sound with those of a recording, following the drift from mark to mark.

    Parameters
    ----------
    expected : ndarray of shape (n_expected,)
        Rising times in the sound, in seconds.
    observed : ndarray of shape (n_observed,)
        Rising times in the recording, in seconds.
    onset : float
        Where the sound begins, by the first mark.
    tolerance : float, default=0.1
        Seconds by which a mark may be off from where the one before puts it, and 2 ms more for each second between
        the two. It is never more than half of the time to the next expected mark.

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
        if len(near) and off.min() <= min(tolerance + FASTEST * (time - last), most):
            found.append((time, near[np.argmin(off)]))
            last, onset = time, found[-1][1] - time
    return np.array(found, float).reshape(-1, 2).T
