"""How much of each channel a forward model predicts on sound that it never heard."""

from __future__ import annotations

import joblib
import pandas as pd
from sklearn.base import clone
from sklearn.utils import _safe_indexing

from sk_b2s.forward import ForwardTRF
from sk_b2s.model_selection import folds_of

__all__ = ["forward_prediction"]


def forward_prediction(estimator, X, y, cv, n_shifts=100, random_state=0, n_jobs=None):
    r"""Correlate the brain with what a forward model predicts of it, on held-out sound: a topography.

    Parameters
    ----------
    estimator : estimator
        A :class:`~sk_b2s.ForwardTRF`, or a Pipeline that ends in one. It is cloned and fitted anew in each fold.
    X : DataFrame, Windows or array-like of shape (n_windows, ...)
        What the brain did.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        What was heard.
    cv : splitter or iterable of (train, test)
        Folds by sound, such as ``StimulusKFold(5)``.
    n_shifts : int, default=100
        Shifts of each null.
    random_state : int, default=0
        Draws them.
    n_jobs : int or None, default=None
        Folds at once.

    Returns
    -------
    topography : DataFrame of shape (n_folds * n_subjects * n_channels, ...)
        ``fold`` and what :meth:`~sk_b2s.ForwardTRF.correlations` gives. Mean of each channel over people:
        ``mean_and_sem(topography, "r", by="channel")``.

    Raises
    ------
    TypeError
        If the estimator is or ends in none, or ``cv`` is a number, which would split overlapping windows.

    See Also
    --------
    sk_b2s.split_half_reliability : The highest correlation there could be, where sounds are repeated.

    Notes
    -----
    Of real EEG a correlation of 0.05 is usual and 0.1 is high, for most of the brain's activity has nothing to
    do with the sound: compare it with its null and its ceiling, not with 1. Artefacts that follow the sound, such
    as earphones near the sensors, are predicted best of all, and at 0 s.
    """
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    if not isinstance(last, ForwardTRF):
        raise TypeError(
            f"forward_prediction needs a ForwardTRF, or a Pipeline that ends in one, got {type(last).__name__}."
        )
    parts = joblib.Parallel(n_jobs)(
        joblib.delayed(_one_fold)(estimator, X, y, train, test, n_shifts, random_state)
        for train, test in folds_of(cv, X, y)
    )
    return pd.concat([part.assign(fold=fold) for fold, part in enumerate(parts)], ignore_index=True)


def _one_fold(estimator, X, y, train, test, n_shifts, random_state):
    """Topography of one fold."""
    estimator = clone(estimator).fit(_safe_indexing(X, train), _safe_indexing(y, train))
    X, y = _safe_indexing(X, test), _safe_indexing(y, test)
    if hasattr(estimator, "steps"):
        X = estimator[:-1].transform(X) if len(estimator) > 1 else X
        estimator = estimator[-1]
    return estimator.correlations(X, y, n_shifts, random_state)
