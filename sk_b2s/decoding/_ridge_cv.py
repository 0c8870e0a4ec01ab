"""Lags and cross-validated regularization of ridge models."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import _safe_indexing

from sk_b2s._utils._chunks import count_rows, slice_rows
from sk_b2s._utils._validation import table_of
from sk_b2s.decoding._ridge_solver import compute_heldout_correlation, iter_ridge_path
from sk_b2s.model_selection._split import assign_folds, exclude_overlap

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


def get_frame_rate(X, targets, estimator):
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


def slice_windows(n_rows, *windows):
    """Return slices of rows whose windows together stay below BATCH_BYTES."""
    n_values = sum(w.shape[1] * w.shape[2] for w in windows)
    return slice_rows(n_rows, count_rows(BATCH_BYTES, n_values, itemsize=8))


# --- one model for each person, or one for all ------------------------------------------------------


def fit_subjects(fit, subjects, per_subject):
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


def select_alpha(moments, rows, y, segments, alphas, cv):
    """Regress with the strength that correlates best on held-out sound.

    Parameters
    ----------
    moments : callable
        ``moments(rows)`` gives the :class:`~sk_b2s.decoding._ridge_solver.Moments` of some rows.
    rows : ndarray of int
    y : DataFrame, Windows or ndarray of shape (n_windows, ...)
        What was heard, by which :func:`iter_inner_splits` splits.
    segments : ndarray of int of shape (n_windows,)
        Identity of each segment.
    alphas : sequence of float
        Strengths; the highest of equally good ones is taken, and a single one as it is.
    cv : int or splitter
        Number of folds, or a splitter with ``split(X, y)``.

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
        :func:`~sk_b2s.decoding._ridge_cv.find_better_alpha`. NaN where there is none.
    """
    everything, alpha, scores = moments(rows), alphas[0], np.full(len(alphas), np.nan)
    beyond = NOTHING
    if len(alphas) > 1:
        tried, folds = [*alphas, *extend_alphas(alphas)], iter_inner_splits(y, segments, rows, cv)
        of_folds = np.array([_fold_scores(moments, everything, rows, *fold, tried) for fold in folds])
        scores = of_folds[:, : len(alphas)].mean(0)
        alpha = max(alpha for alpha, score in zip(alphas, scores, strict=True) if score == scores.max())
        beyond = find_better_alpha(len(alphas), alpha, tried, of_folds)
    cov_xx, cov_xy, _ = everything.centered()
    return everything, next(iter_ridge_path(cov_xx, cov_xy, [alpha])), alpha, scores, beyond


def _fold_scores(moments, everything, rows, train, test, alphas):
    """Held-out correlation of each strength in one fold."""
    heldout = moments(test)
    kept = everything - heldout - moments(np.setdiff1d(rows, np.concatenate([train, test])))
    cov_xx, cov_xy, _ = kept.centered()
    heldout = heldout.centered()
    return [compute_heldout_correlation(coef, heldout) for coef in iter_ridge_path(cov_xx, cov_xy, alphas)]


def iter_inner_splits(y, segments, rows, cv):
    """Split rows so that no stimulus is on both sides.

    Parameters
    ----------
    y : DataFrame, Windows or ndarray of shape (n_windows, ...)
        What was heard. Blocks of its table make the folds, with the gap of
        :func:`~sk_b2s.model_selection._split.exclude_overlap`; else contiguous runs of distinct segments do.
    segments : ndarray of int of shape (n_windows,)
        Identity of each segment.
    rows : ndarray of int
        Rows to split.
    cv : int or splitter
        At most this number of folds, as many as there are blocks or segments where these are fewer. A splitter
        is given the rows of ``y`` as X and y.

    Yields
    ------
    train, test : ndarray of int
        Rows. A fold whose training rows all lie within the gap is left out.

    Raises
    ------
    ValueError
        If there is no fold.
    """
    if hasattr(cv, "split"):
        part = _safe_indexing(y, rows)
        yield from ((rows[train], rows[test]) for train, test in cv.split(part, part))
        return
    table = table_of(y)
    has_blocks = table is not None and "block" in table
    labels = table["block"].to_numpy()[rows] if has_blocks else segments[rows]
    codes, distinct = pd.factorize(labels)
    n_folds = min(cv, len(distinct))
    fold = assign_folds(codes, n_folds) if has_blocks else codes * n_folds // len(distinct)
    empty = True
    for index in range(n_folds):
        test = rows[fold == index]
        train = exclude_overlap(y, rows[fold != index], test)
        if len(train):
            empty = False
            yield train, test
    if empty:
        raise ValueError(
            f"choosing among several alphas needs two or more stretches of sound for each model, apart by more than "
            f"the gap; got {len(distinct)} {'block' if has_blocks else 'segment'}(s) in {len(rows)} windows. Give "
            f"more sound, shorter blocks (make_segments(block=...)), per_subject=False, or one alpha."
        )


ALPHAS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
LEAST = 3  # strengths that make a search, fewer are a comparison
BEYOND = (10.0, 1000.0)  # factors beyond the lowest and the highest strength
WITHIN = (1e-12, 1e12)  # beyond which rounding decides, or nothing changes any more
GAIN = 0.05  # share of a correlation by which a strength beyond the ends must be better
NOTHING = (np.nan, np.nan)


def extend_alphas(alphas):
    """Return strengths beyond both ends of those tried, to see whether the search was wide enough.

    Parameters
    ----------
    alphas : sequence of float

    Returns
    -------
    beyond : list of float
        Rising. Empty where ``alphas`` are fewer than three.

    Examples
    --------
    >>> [f"{alpha:.0e}" for alpha in extend_alphas((1e-6, 1.0, 1e3))]
    ['1e-09', '1e-07', '1e+04', '1e+06']
    """
    if len(set(alphas)) < LEAST:
        return []
    low, high = min(alphas), max(alphas)
    beyond = [edge for factor in BEYOND for edge in (low / factor, high * factor)]
    beyond += [alpha for alpha in ALPHAS if not low <= alpha <= high]
    return sorted({float(alpha) for alpha in beyond if WITHIN[0] <= alpha <= WITHIN[1]})


def find_better_alpha(n_alphas, chosen, tried, scores):
    """Find a strength beyond the ends that is better than the chosen one in every inner fold.

    Parameters
    ----------
    n_alphas : int
        Number of strengths to choose from.
    chosen : float
    tried : list of float
        Strengths to choose from, then those of :func:`extend_alphas`.
    scores : ndarray of shape (n_folds, n_tried)
        Held-out correlations.

    Returns
    -------
    better : tuple of float
        Strength and mean correlation. NaN where nothing beyond the ends is better by more than 5 %. The curve is then
        flat there or falls, and a wider search would change nothing, whether or not ``chosen`` is at an end.
    """
    if len(tried) == n_alphas:
        return NOTHING
    means, at = scores.mean(0), tried.index(chosen)
    best = n_alphas + int(np.argmax(means[n_alphas:]))
    is_better = means[best] - means[at] > GAIN * means[best] > 0 and (scores[:, best] > scores[:, at]).all()
    return (tried[best], float(means[best])) if is_better else NOTHING


def warn_alpha_choice(estimator, beyond):
    """Warn of subjects without a relation of X and y, and of alphas that end before the best strength.

    Parameters
    ----------
    estimator : RidgeDecoder or ForwardTRF
        With ``alphas, alpha_, cv_scores_`` and ``subjects_``.
    beyond : ndarray of shape (n_models, 2)
        What :func:`find_better_alpha` found for each model.

    Warns
    -----
    ConvergenceWarning
        Naming the subjects, at most once for each of both.
    """
    names, best = _models(estimator), estimator.cv_scores_.max(1)
    is_short = np.isfinite(beyond[:, 0])
    if (is_nothing := (best <= 0) & ~is_short).any():
        said = ", ".join(f"{names[i]} ({best[i]:.3f})" for i in np.flatnonzero(is_nothing))
        warnings.warn(
            f"inner cross-validation found no relation between X and y for {said}: the best correlation of all alphas, "
            f"in brackets, is not above 0, so estimates are guesses. Check that X and y belong together and vary, or "
            f"give more data.",
            ConvergenceWarning,
            stacklevel=4,
        )
    ways = []
    for edge, word, end in (
        (max(estimator.alphas), "higher", "highest"),
        (min(estimator.alphas), "lower", "lowest"),
    ):
        is_mine = is_short & ((beyond[:, 0] > edge) if word == "higher" else (beyond[:, 0] < edge))
        if is_mine.any():
            said = ", ".join(
                f"{names[i]} ({best[i]:.3f} at alpha={estimator.alpha_[i]:g}, {beyond[i, 1]:.3f} at "
                f"{beyond[i, 0]:g})"
                for i in np.flatnonzero(is_mine)
            )
            ways.append(
                f"alphas end at {edge:g}, and {word} strengths than the {end} have a better correlation in inner "
                f"cross-validation for {said}. Add {word} values to alphas."
            )
    if ways:
        text = " Also, ".join(ways)
        warnings.warn(
            f"{text} A single alpha is not searched and not judged.", ConvergenceWarning, stacklevel=4
        )


def _models(estimator):
    """Name the models of an estimator."""
    if len(estimator.alpha_) != len(estimator.subjects_):
        return ["all subjects together"]
    return [f"subject {str(name)!r}" if name != "" else "all rows" for name in estimator.subjects_]
