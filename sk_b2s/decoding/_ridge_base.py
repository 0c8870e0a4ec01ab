"""Lags, cross-validated regularization and models of ridge estimators."""

from __future__ import annotations

import warnings
from functools import partial
from numbers import Integral, Real

import numpy as np
import pandas as pd
import torch
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import HasMethods, Interval

from sk_b2s._utils._chunks import count_chunk_rows, slice_rows_into_chunks
from sk_b2s._utils._estimators import DocLinkMixin
from sk_b2s._utils._validation import validate_rows_in_step, validate_table
from sk_b2s.decoding._mixins import RetrievalMixin
from sk_b2s.decoding._ridge_solver import compute_ridge_correlation, iter_ridge_path
from sk_b2s.decoding._stimulus_artifacts import warn_stimulus_artifact_channels
from sk_b2s.decoding._trf._weights import set_trf_channels
from sk_b2s.model_selection._split import iter_inner_split_folds
from sk_b2s.preprocessing._windows._checks import check_window_subjects

LONGEST_LAG = 50.0  # s, longer than any window or response
BATCH_BYTES = 2**26  # of float64 windows in memory


class RidgeMixin(DocLinkMixin):
    """Parameters, batches and models of ridge regression on lagged windows.

    An estimator has the parameters ``alphas``, ``cv`` and ``per_subject``, and
    a method ``_fit_model`` that fits one model to some rows.
    """

    _parameter_constraints = {
        "speech": [HasMethods(["fit", "transform"]), None],
        "lags": ["array-like"],
        "alphas": ["array-like"],
        "cv": [Interval(Integral, 2, None, closed="left"), HasMethods(["split"])],
        "per_subject": ["boolean"],
        "sfreq": [Interval(Real, 0, None, closed="neither"), None],
    }

    def _fit_models(self, X, targets, y, segments):
        """Fit one model per subject, or one for all, and warn about alphas."""
        fit = partial(self._fit_model, X, targets, y, segments)
        self.subjects_, self.coef_, self.intercept_, self.mean_, *chosen = fit_ridge_subjects(
            fit, check_window_subjects(X), self.per_subject
        )
        self.alpha_, self.cv_scores_, beyond, *patterns = chosen
        for name in ("patterns_", "moments_"):  # of an earlier fit
            vars(self).pop(name, None)
        if patterns:
            self.patterns_ = patterns[0]
        set_trf_channels(self, X)
        warn_ridge_alpha_choice(self, beyond, stacklevel=5)

    def _regress(self, moments, rows, y, segments, offset, bands=None):
        """Select alpha and regress.

        Returns moments, coefficients, intercept, alpha, scores and beyond.
        ``bands`` are the :class:`RidgeBands` of feature sets.
        """
        alphas, penalties = self.alphas, None
        if bands is not None:
            alphas, penalties = bands.alphas, bands.expand(len(self._lags))
        everything, coef, ratio, alpha, scores, beyond = select_ridge_alpha(
            moments, rows, y, segments, alphas, self.cv, penalties
        )
        intercept = offset.numpy() + (everything.y - everything.x @ coef) / everything.n
        if bands is None:
            return everything, coef, intercept, alpha, scores[0], beyond
        scores = scores.max(0) if len(alphas) == len(self.alphas) else scores[:, 0]
        return everything, coef, intercept, alpha * bands.ratios[ratio], scores, beyond

    def _fit_lags(self, X, targets):
        """Set the lags in frames and in seconds."""
        n_frames = targets.shape[2]
        if n_frames == 1:
            self.lag_frames_, self.lags_ = np.zeros(1, int), np.zeros(1)
            return
        rate = get_ridge_frame_rate(X, targets, self)
        self.lag_frames_ = select_ridge_lags(self.lags, rate, n_frames)
        self.lags_ = self.lag_frames_ / rate

    def _iter_batches(self, X, targets, rows):
        """Yield batches (X, targets), the latter time-major."""
        for part in self._iter_rows(X, targets, rows):
            yield X.gather(part), targets.gather(part).transpose(1, 2)

    def _iter_rows(self, X, targets, rows):
        """Yield rows of batches."""
        rows = rows[np.argsort(X.which[rows], kind="stable")]  # neighbors in memory
        for piece in slice_ridge_windows(len(rows), X, targets):
            yield rows[piece]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.required = True
        return tags


class RidgeDecodingMixin(RidgeMixin, RetrievalMixin):
    """Fit of decoders with lags.

    A decoder has the parameters ``lags`` and ``sfreq``, and a method
    ``_fit_models`` that fits the models of all subjects.
    """

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Fit the models of all subjects.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            EEG/MEG windows. ``Windows`` provide subjects and their sampling
            rate. An array has one unnamed subject and the rate ``sfreq``.
        y : DataFrame, Windows or array-like of shape \
(n_windows[, n_features[, n_frames]])
            Stimulus segments for ``speech``, or features without ``speech``.
            One row per window.

        Returns
        -------
        self : object
            The fitted decoder.
        """
        X = self._check_windows(X, reset=True)
        y = self._check_y(y)
        validate_rows_in_step(X, y)
        self._check_parameters(X)
        segments = self._fit_segments(y).target
        self._fit_stimulus_intervals(y)
        self._fit_recording_intervals(X)
        targets = self._fit_speech(y, np.arange(len(y)))
        warn_stimulus_artifact_channels(X, y, targets)
        self._frames = self._fit_frames(X, y, targets)
        self._fit_lags(X, targets)
        self._fit_models(X, targets, y, segments)
        return self

    def _check_parameters(self, X):
        """Raise if lags or the sampling rate are invalid."""
        check_ridge_lags(self.lags)
        check_ridge_rate(self.sfreq, X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # the output is always float32
        return tags


# --- parameters ------------------------------------------------------------------------------------


def check_ridge_alphas(alphas):
    """Raise unless alphas are finite numbers above 0."""
    numbers = np.asarray(alphas, float)
    if numbers.ndim != 1 or not len(numbers) or not np.all((numbers > 0) & np.isfinite(numbers)):
        raise ValueError(f"alphas must be one or more finite numbers above 0. Got {alphas!r} instead.")


def check_ridge_lags(lags):
    """Return the first and the last lag in seconds: ndarray of shape (2,)."""
    seconds = np.asarray(lags, float)
    if seconds.shape != (2,) or not np.isfinite(seconds).all() or seconds[0] > seconds[1]:
        raise ValueError(f"lags must be two rising numbers of seconds. Got {lags!r} instead.")
    if np.abs(seconds).max() >= LONGEST_LAG:
        raise ValueError(
            f"lags must be two rising numbers of seconds below {LONGEST_LAG:g}. Got {lags!r}. Convert milliseconds to "
            f"seconds."
        )
    return seconds


def select_ridge_lags(lags, rate, n_frames=None):
    """Return the lags in frames: ndarray of int.

    They must be shorter than a window of ``n_frames``. None if windows have
    context.
    """
    first, last = np.round(check_ridge_lags(lags) * rate).astype(int)
    if n_frames is not None and max(-first, last) >= n_frames:
        raise ValueError(
            f"lags={lags!r} are seconds and must be shorter than the window of {n_frames / rate:.3f} s. Use smaller lags "
            f"or longer windows."
        )
    return np.arange(first, last + 1)


def check_ridge_rate(sfreq, X):
    """Raise if ``sfreq`` and the rate of X are known and differ."""
    if None not in (sfreq, X.sfreq) and not np.isclose(sfreq, X.sfreq):
        raise ValueError(
            f"sfreq={sfreq:g}, but X has a sampling rate of {X.sfreq:g} Hz. Set sfreq=None to use the rate of X."
        )


def get_ridge_frame_rate(X, targets, estimator):
    """Return the rate of frames in Hz, which converts lags to frames.

    ``estimator`` has the parameters ``lags`` and ``sfreq``, the rate of
    arrays.
    """
    if targets.sfreq is not None:
        return targets.sfreq
    sfreq = estimator.sfreq if X.sfreq is None else X.sfreq
    if sfreq is None:
        raise ValueError(
            f"lags={estimator.lags!r} are in seconds, but X and y are arrays of {X.shape[2]} samples and "
            f"{targets.shape[2]} frames without a sampling rate. Set {type(estimator).__name__}(sfreq=...), the rate "
            f"of X in Hz, or pass Windows.from_array(X, sfreq=...)."
        )
    return sfreq * targets.shape[2] / X.shape[2]


# --- data ------------------------------------------------------------------------------------------


def check_ridge_values(**means):
    """Raise if the mean of a channel or feature is not finite."""
    for name, mean in means.items():
        if len(lost := torch.nonzero(~torch.isfinite(mean))[:8, 0].tolist()):
            raise ValueError(
                f"{name} contains NaN or infinity in {'channels' if name == 'X' else 'features'} {lost}. Mark bad "
                f"segments or channels ('bad' events, info['bads']) before fit."
            )


def slice_ridge_windows(n_rows, *windows):
    """Slice rows so that their windows together need at most BATCH_BYTES."""
    n_values = sum(w.shape[1] * w.shape[2] for w in windows)
    return slice_rows_into_chunks(n_rows, count_chunk_rows(BATCH_BYTES, n_values, itemsize=8))


# --- models --------------------------------------------------------------------------------------


def fit_ridge_subjects(fit, subjects, per_subject):
    """Fit one model per subject, or one to all rows.

    Returns the sorted subjects, and what ``fit(rows)`` returned, stacked.
    """
    names = np.unique(subjects)
    masks = [subjects == name for name in names] if per_subject else [subjects == subjects]
    models = [fit(np.flatnonzero(mask)) for mask in masks]
    return names, *(np.stack(parts) for parts in zip(*models, strict=True))


def select_ridge_alpha(moments, rows, y, segments, alphas, cv, penalties=None):
    """Regress with the alpha of the highest held-out correlation.

    Parameters
    ----------
    moments : callable
        ``moments(rows)`` returns the ``RidgeMoments`` of some rows.
    rows : ndarray of int
    y : DataFrame, Windows or ndarray of shape (n_windows, ...)
    segments : ndarray of int of shape (n_windows,)
    alphas : sequence of float
        The highest of equally good values is selected. A single value is not
        scored.
    cv : int or splitter
        See :func:`iter_ridge_splits`.
    penalties : ndarray of shape (n_penalties, n_columns), default=None
        Relative penalties of the columns, see :func:`iter_ridge_path`, of
        which one is selected, too. If None, columns have equal penalties.

    Returns
    -------
    everything : RidgeMoments
        Of all rows.
    coef : ndarray of shape (n_columns, n_features)
    best : int
        Index of the selected penalties, the first of equally good ones.
    alpha : float
    scores : ndarray of shape (n_penalties, n_alphas)
        Mean correlation over features and folds. NaN without selection.
    beyond : tuple of float
        See :func:`find_better_ridge_alpha`, NaN with ``penalties``.
    """
    is_plain = penalties is None
    penalties = [None] if is_plain else penalties
    best, alpha, beyond = 0, alphas[0], NOTHING
    scores = np.full((len(penalties), len(alphas)), np.nan)
    folds = list(iter_ridge_splits(y, segments, rows, cv)) if scores.size > 1 else []
    everything, heldout, excluded = _sum_fold_moments(moments, rows, folds)
    if folds:
        tried = [*alphas, *extend_ridge_alphas(alphas)] if is_plain else list(alphas)
        of_folds = np.array([
            _score_ridge_alphas(everything - test - out, test, tried, penalties)
            for test, out in zip(heldout, excluded, strict=True)
        ])  # fmt: skip
        scores = of_folds[:, :, : len(alphas)].mean(0)
        best = int(scores.max(1).argmax())
        alpha = max(alpha for alpha, score in zip(alphas, scores[best], strict=True) if score == scores.max())
        if is_plain:
            beyond = find_better_ridge_alpha(len(alphas), alpha, tried, of_folds[:, 0])
    cov_xx, cov_xy, _ = everything.centered()
    coef = next(iter_ridge_path(cov_xx, cov_xy, [alpha], penalties[best]))
    return everything, coef, best, alpha, scores, beyond


def _sum_fold_moments(moments, rows, folds):
    """Sum the moments of all rows and of parts of each fold, in one pass.

    Returns those of all rows, of test rows, and of rows in neither part.
    """
    roles = [np.where(np.isin(rows, test), 1, np.where(np.isin(rows, train), 0, 2)) for train, test in folds]
    roles = np.stack([np.zeros(len(rows), int), *roles])
    kinds, code = np.unique(roles, axis=1, return_inverse=True)
    everything, parts = None, [[moments(rows[:0]) for _ in folds] for _ in range(2)]
    for kind in range(kinds.shape[1]):
        part = moments(rows[code.ravel() == kind])
        for fold, role in enumerate(kinds[1:, kind]):
            if role:
                parts[role - 1][fold].add(part)
        everything = part if everything is None else everything.add(part)
    return everything, *parts


def _score_ridge_alphas(kept, heldout, alphas, penalties):
    """Compute held-out correlations in one fold, of penalties and alphas."""
    cov_xx, cov_xy, _ = kept.centered()
    heldout = heldout.centered()
    return [
        [
            compute_ridge_correlation(coef, heldout)
            for coef in iter_ridge_path(cov_xx, cov_xy, alphas, penalty)
        ]
        for penalty in penalties
    ]


def iter_ridge_splits(y, segments, rows, cv):
    """Split rows so that no stimulus is in both training and test rows.

    Folds are stimulus blocks with a gap if ``y`` has a table with blocks, else
    contiguous runs of distinct ``segments``. There are at most ``cv`` of them.
    A splitter is given the rows of ``y`` as X and y. Folds whose training rows
    are all within the gap are left out.
    """
    if hasattr(cv, "split"):
        part = _safe_indexing(y, rows)
        yield from ((rows[train], rows[test]) for train, test in cv.split(part, part))
        return
    empty = True
    for train, test in iter_inner_split_folds(y, segments, rows, cv):
        empty = False
        yield train, test
    if empty:
        table = validate_table(y)
        has_blocks = table is not None and "block" in table
        distinct = pd.unique(table["block"].to_numpy()[rows] if has_blocks else segments[rows])
        raise ValueError(
            f"Selection among several alphas requires at least two stimulus intervals for each model, separated by "
            f"more than the gap. Got {len(distinct)} {'block' if has_blocks else 'segment'}(s) in {len(rows)} windows. "
            f"Use more stimuli, shorter blocks (block= in make_segments or Windows.from_trials), per_subject=False, or one alpha. "
            f"For a learning curve, use retrieval_learning_curve with minutes that hold several blocks."
        )


ALPHAS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
LEAST = 3  # alphas that make a search, fewer are a comparison
BEYOND = (10.0, 1000.0)  # factors beyond the lowest and the highest alpha
WITHIN = (1e-12, 1e12)  # limits of rounding and of any effect
GAIN = 0.05  # relative increase of a correlation that an alpha beyond the ends must have
ROUNDING = 1e-9  # correlations up to this are 0
NOTHING = (np.nan, np.nan)


def extend_ridge_alphas(alphas):
    """Return rising alphas beyond both ends, empty for fewer than three.

    They show whether the search was wide enough.

    Examples
    --------
    >>> [f"{alpha:.0e}" for alpha in extend_ridge_alphas((1e-6, 1.0, 1e3))]
    ['1e-09', '1e-07', '1e+04', '1e+06']
    """
    if len(set(alphas)) < LEAST:
        return []
    low, high = min(alphas), max(alphas)
    beyond = [edge for factor in BEYOND for edge in (low / factor, high * factor)]
    beyond += [alpha for alpha in ALPHAS if not low <= alpha <= high]
    return sorted({float(alpha) for alpha in beyond if WITHIN[0] <= alpha <= WITHIN[1]})


def find_better_ridge_alpha(n_alphas, chosen, tried, scores):
    """Find an alpha beyond the ends that is better in every fold.

    Parameters
    ----------
    n_alphas : int
        Number of alphas to select from.
    chosen : float
    tried : list of float
        Alphas to select from, then those of :func:`extend_ridge_alphas`.
    scores : ndarray of shape (n_folds, n_tried)
        Held-out correlations.

    Returns
    -------
    better : tuple of float
        Alpha and mean correlation. NaN if no alpha beyond the ends is better
        by more than 5 %. A wider search would then change nothing.
    """
    if len(tried) == n_alphas:
        return NOTHING
    means, at = scores.mean(0), tried.index(chosen)
    best = n_alphas + int(np.argmax(means[n_alphas:]))
    is_better = means[best] - means[at] > GAIN * means[best] > 0 and (scores[:, best] > scores[:, at]).all()
    return (tried[best], float(means[best])) if is_better else NOTHING


def warn_ridge_alpha_choice(estimator, beyond, stacklevel=4):
    """Warn about models without a correlation, and about a search too narrow.

    ``beyond`` holds the result of :func:`find_better_ridge_alpha` for each
    model.
    """
    names, best = _name_ridge_models(estimator), estimator.cv_scores_.max(1)
    is_short = np.isfinite(beyond[:, 0])
    if (is_nothing := (best <= ROUNDING) & ~is_short).any():
        models = ", ".join(f"{names[i]} ({best[i]:.3f})" for i in np.flatnonzero(is_nothing))
        warnings.warn(
            f"Cross-validation found no relation between X and y for {models}. The best correlation of all alphas, in "
            f"parentheses, is not above 0, so estimates are guesses. Check that X and y match and vary, or use more "
            f"data.",
            ConvergenceWarning,
            stacklevel=stacklevel,
        )
    ways = []
    for edge, word, end in (
        (np.max(estimator.alphas), "higher", "highest"),
        (np.min(estimator.alphas), "lower", "lowest"),
    ):
        is_mine = is_short & ((beyond[:, 0] > edge) if word == "higher" else (beyond[:, 0] < edge))
        if is_mine.any():
            models = ", ".join(
                f"{names[i]} ({best[i]:.3f} at alpha={estimator.alpha_[i]:g}, {beyond[i, 1]:.3f} at "
                f"{beyond[i, 0]:g})"
                for i in np.flatnonzero(is_mine)
            )
            ways.append(
                f"alphas end at {edge:g}, and {word} values than the {end} have a better correlation in "
                f"cross-validation for {models}. Add {word} values to alphas."
            )
    if ways:
        text = " Also, ".join(ways)
        warnings.warn(
            f"{text} A single alpha is used without this check.", ConvergenceWarning, stacklevel=stacklevel
        )


def _name_ridge_models(estimator):
    """Name the models of an estimator."""
    if len(estimator.alpha_) != len(estimator.subjects_):
        return ["all subjects together"]
    return [f"subject {str(name)!r}" if name != "" else "all rows" for name in estimator.subjects_]
