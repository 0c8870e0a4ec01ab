"""Cross-validated correlations of forward models."""

from __future__ import annotations

import warnings

from sklearn.utils import _safe_indexing

from sk_b2s._utils._estimators import (
    find_innermost_estimator,
    iter_nested_estimators,
    unwrap_innermost_estimator,
)
from sk_b2s._utils._validation import is_validated_table, validate_count
from sk_b2s.decoding._trf._forward import ForwardTRF
from sk_b2s.evaluation._fit_score import fit_and_score_folds, fit_fold
from sk_b2s.model_selection._split import list_split_folds
from sk_b2s.preprocessing._epocher._epocher import Epocher


def cross_val_encoding(
    estimator, X, y, cv, n_shifts=100, random_state=0, n_jobs=None, *, groups=None, return_estimator=False
):
    r"""Correlate held-out EEG/MEG with the prediction of a forward model.

    Parameters
    ----------
    estimator : estimator
        A :class:`~sk_b2s.ForwardTRF`, or a Pipeline that ends in one. It is
        cloned and fitted in each fold.
    X : DataFrame, Windows or array-like of shape (n_windows, ...)
        EEG/MEG windows.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        Stimulus segments or features, one row per window.
    cv : splitter or iterable of (train, test)
        Folds by stimulus, for example ``StimulusKFold(5)``.
    n_shifts : int, default=100
        Number of circular shifts of each null.
    random_state : int, default=0
        Draws the shifts.
    n_jobs : int or None, default=None
        Number of folds run in parallel.
    groups : array-like of shape (n_windows,), default=None
        Group of each row, passed to the splitter, for example the stimulus of
        each row, ``pd.factorize(y["sound"])[0]``, for
        :class:`~sklearn.model_selection.GroupKFold`.
    return_estimator : bool, default=False
        Whether to also return the fitted estimators.

    Returns
    -------
    topography : DataFrame of shape (n_folds * n_subjects * n_channels, ...)
        ``fold`` and the columns of :meth:`~sk_b2s.ForwardTRF.correlations`.
        Mean of each channel over subjects: ``mean_and_sem(topography, "r",
        by="channel")``. If channels are bad in some subjects, pass
        ``topography.dropna(subset="r")``.
    estimators : list of estimator
        The fitted estimator of each fold. Only with ``return_estimator``.
        :func:`~sk_b2s.average_trfs` averages their weights.

    Raises
    ------
    TypeError
        If the estimator does not end in a ForwardTRF, or ``cv`` is a number,
        which would split overlapping windows.

    Warns
    -----
    UserWarning
        If an :class:`~sk_b2s.Epocher` in the Pipeline has a ``lag``, from
        which the lags of weights count.

    See Also
    --------
    sk_b2s.split_half_reliability : Noise ceiling with repeated stimuli.

    Notes
    -----
    In EEG, a correlation of 0.05 is usual and 0.1 is high, because most
    activity is unrelated to the stimulus. Compare it with its null and its
    noise ceiling, not with 1. Artifacts that follow the stimulus, such as
    earphones near the sensors, are predicted best, at a lag of 0 s.
    """
    validate_count("n_shifts", n_shifts, least=0)
    last, _ = find_innermost_estimator(estimator)
    if not isinstance(last, ForwardTRF):
        hint = " Use cross_val_reconstruction, which scores decoders." if hasattr(last, "ranks") else ""
        raise TypeError(
            f"cross_val_encoding requires a ForwardTRF, or a Pipeline that ends in one. Got {type(last).__name__}.{hint}"
        )
    _warn_of_encoding_lag(estimator, X)
    return fit_and_score_folds(
        correlate_encoding_fold,
        estimator,
        X,
        y,
        list_split_folds(cv, X, y, groups),
        n_shifts,
        random_state,
        n_jobs=n_jobs,
        return_estimator=return_estimator,
    )


def _warn_of_encoding_lag(estimator, X):
    """Warn if lags do not count from the stimulus."""
    epocher = next((step for step in iter_nested_estimators(estimator) if isinstance(step, Epocher)), None)
    if epocher is not None and epocher.lag and is_validated_table(X):
        warnings.warn(
            f"Epocher(lag={epocher.lag:g}) reads EEG/MEG later, so the lags of ForwardTRF count from {epocher.lag:g} s after "
            f"the stimulus: weights at a lag of 0 are a response after {epocher.lag:g} s. Set Epocher(lag=0, "
            f"baseline=None).",
            stacklevel=3,
        )


def correlate_encoding_fold(estimator, X, y, train, test, n_shifts, random_state):
    """Return the correlations of one fold, and the fitted estimator."""
    estimator = fit_fold(estimator, X, y, train, test)
    X, y = _safe_indexing(X, test), _safe_indexing(y, test)
    forward, X = unwrap_innermost_estimator(estimator, X)
    return forward.correlations(X, y, n_shifts, random_state), estimator
