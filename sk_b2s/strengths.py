"""What ridge regressions of brain and speech share: lags in frames, and a strength chosen on held-out sound."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from sk_b2s.model_selection import assign_folds, clear_of, table_of
from sk_b2s.ridge import heldout_correlation, ridge_path
from sk_b2s.strength_checks import ALPHAS, NOTHING, better_beyond, strengths_beyond

__all__ = [
    "ALPHAS", "check_alphas", "check_finite", "check_lags", "check_rate", "chosen_strength", "fit_people", "frame_rate",
    "inner_splits", "pieces",
]  # fmt: skip

LONGEST_LAG = 50.0  # s; no window is as long, and no response as late
BATCH_BYTES = 2**26  # of float64 windows that are held at a time


# --- parameters ------------------------------------------------------------------------------------


def check_alphas(alphas):
    """Raise unless there are strengths, all above 0."""
    numbers = np.asarray(alphas, float)
    if numbers.ndim != 1 or not len(numbers) or not np.all((numbers > 0) & np.isfinite(numbers)):
        raise ValueError(f"alphas must be one or more finite numbers above 0, got {alphas!r}.")


def check_lags(lags):
    """Return the first and the last lag in seconds: ndarray of shape (2,)."""
    seconds = np.asarray(lags, float)
    if seconds.shape != (2,) or not np.isfinite(seconds).all() or seconds[0] > seconds[1]:
        raise ValueError(f"lags must be two rising numbers of seconds, got {lags!r}.")
    if np.abs(seconds).max() >= LONGEST_LAG:
        raise ValueError(
            f"lags must be two rising numbers of seconds below {LONGEST_LAG:g}, got {lags!r}: were milliseconds meant?"
        )
    return seconds


def check_rate(sfreq, X):
    """Raise a ValueError if windows have another rate than the parameter ``sfreq``, where both are known."""
    if None not in (sfreq, X.sfreq) and not np.isclose(sfreq, X.sfreq):
        raise ValueError(
            f"sfreq={sfreq:g}, but X says {X.sfreq:g} Hz; sfreq=None takes the rate of the windows."
        )


def frame_rate(X, targets, estimator):
    """Tell the rate of the frames, by which lags in seconds become frames.

    Parameters
    ----------
    X, targets : Windows of shape (n_windows, n_channels, n_times) and (n_windows, n_features, n_frames)
    estimator : estimator
        With ``lags``, and ``sfreq``, the rate of arrays.

    Returns
    -------
    rate : float
        In Hz.

    Raises
    ------
    ValueError
        If neither windows nor the estimator know it.
    """
    if targets.sfreq is not None:
        return targets.sfreq
    sfreq = estimator.sfreq if X.sfreq is None else X.sfreq
    if sfreq is None:
        raise ValueError(
            f"lags={estimator.lags!r} are seconds, but X and y are arrays of {X.shape[2]} steps and {targets.shape[2]} "
            f"frames without a rate: set {type(estimator).__name__}(sfreq=...), the rate of X in Hz, or wrap X by "
            f"Windows.from_array(X, sfreq=...)."
        )
    return sfreq * targets.shape[2] / X.shape[2]


# --- data ------------------------------------------------------------------------------------------


def check_finite(**means):
    """Raise where the mean of a channel of ``X``, or of a feature of ``y``, is not finite."""
    for name, mean in means.items():
        if len(lost := torch.nonzero(~torch.isfinite(mean))[:8, 0].tolist()):
            raise ValueError(
                f"{name} contains NaN or infinity in {'channels' if name == 'X' else 'features'} {lost}. Mark bad "
                f"stretches or channels ('bad' events, info['bads']) before fit."
            )


def pieces(n_rows, *windows):
    """Slices of rows whose windows together stay below BATCH_BYTES."""
    step = max(1, BATCH_BYTES // (8 * sum(w.shape[1] * w.shape[2] for w in windows)))
    return [slice(first, min(first + step, n_rows)) for first in range(0, n_rows, step)]


# --- one model for each person, or one for all ------------------------------------------------------


def fit_people(fit, subjects, per_subject):
    """Fit one model to the rows of each person, or one to all rows.

    Parameters
    ----------
    fit : callable
        ``fit(rows)`` returns a tuple of arrays.
    subjects : ndarray of shape (n_windows,)
    per_subject : bool

    Returns
    -------
    names : ndarray of shape (n_subjects,)
        Sorted.
    *parts : ndarray of shape (n_models, ...)
        What ``fit`` returned, stacked.
    """
    names = np.unique(subjects)
    people = [subjects == name for name in names] if per_subject else [subjects == subjects]
    models = [fit(np.flatnonzero(rows)) for rows in people]
    return names, *(np.stack(parts) for parts in zip(*models, strict=True))


def chosen_strength(moments, rows, y, segments, alphas, n_folds):
    """Regress with the strength that correlates best on held-out sound.

    Parameters
    ----------
    moments : callable
        ``moments(rows)`` gives the :class:`~sk_b2s.ridge.Moments` of some rows.
    rows : ndarray of int
    y : DataFrame, Windows or ndarray of shape (n_windows, ...)
        What was heard, by which :func:`inner_splits` splits.
    segments : ndarray of int of shape (n_windows,)
        Identity of each segment.
    alphas : sequence of float
        Strengths; the highest of equally good ones is taken, and a single one as it is.
    n_folds : int

    Returns
    -------
    everything : Moments
        Of all rows.
    coef : ndarray of shape (n_columns, n_features)
    alpha : float
    scores : ndarray of shape (n_alphas,)
        Mean correlation over features and folds; NaN where there was no choice.
    beyond : tuple of float
        A strength beyond the ends of ``alphas`` that is better, and its correlation, see
        :func:`~sk_b2s.strength_checks.better_beyond`. NaN where there is none.
    """
    everything, alpha, scores = moments(rows), alphas[0], np.full(len(alphas), np.nan)
    beyond = NOTHING
    if len(alphas) > 1:
        tried, folds = [*alphas, *strengths_beyond(alphas)], inner_splits(y, segments, rows, n_folds)
        of_folds = np.array([_fold_scores(moments, everything, rows, *fold, tried) for fold in folds])
        scores = of_folds[:, : len(alphas)].mean(0)
        alpha = max(alpha for alpha, score in zip(alphas, scores, strict=True) if score == scores.max())
        beyond = better_beyond(len(alphas), alpha, tried, of_folds)
    cov_xx, cov_xy, _ = everything.centred()
    return everything, next(ridge_path(cov_xx, cov_xy, [alpha])), alpha, scores, beyond


def _fold_scores(moments, everything, rows, train, test, alphas):
    """Held-out correlation of each strength in one fold."""
    heldout = moments(test)
    kept = everything - heldout - moments(np.setdiff1d(rows, np.concatenate([train, test])))
    cov_xx, cov_xy, _ = kept.centred()
    heldout = heldout.centred()
    return [heldout_correlation(coef, heldout) for coef in ridge_path(cov_xx, cov_xy, alphas)]


def inner_splits(y, segments, rows, n_folds):
    """Split rows so that no stimulus is on both sides.

    Parameters
    ----------
    y : DataFrame, Windows or ndarray of shape (n_windows, ...)
        What was heard. Blocks of its table make the folds, with the guard of
        :func:`~sk_b2s.model_selection.clear_of`; else contiguous runs of distinct segments do.
    segments : ndarray of int of shape (n_windows,)
        Identity of each segment.
    rows : ndarray of int
        Rows to split.
    n_folds : int
        At most so many folds; as many as there are blocks or segments, where they are fewer.

    Yields
    ------
    train, test : ndarray of int
        Rows. A fold whose training rows all lie within the guard is left out.

    Raises
    ------
    ValueError
        If there is no fold.
    """
    table = table_of(y)
    has_blocks = table is not None and "block" in table
    labels = table["block"].to_numpy()[rows] if has_blocks else segments[rows]
    codes, distinct = pd.factorize(labels)
    n_folds = min(n_folds, len(distinct))
    fold = assign_folds(codes, n_folds) if has_blocks else codes * n_folds // len(distinct)
    empty = True
    for index in range(n_folds):
        test = rows[fold == index]
        train = clear_of(y, rows[fold != index], test)
        if len(train):
            empty = False
            yield train, test
    if empty:
        raise ValueError(
            f"choosing among several alphas needs two or more stretches of sound for each model, apart by more than "
            f"the guard; got {len(distinct)} {'block' if has_blocks else 'segment'}(s) in {len(rows)} windows. Give "
            f"more sound, shorter blocks (make_segments(block=...)), per_subject=False, or one alpha."
        )
