"""Fit an estimator on the training rows of a fold and score its test rows."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils import _safe_indexing

from sk_b2s._utils._estimators import make_estimator_fit_params, was_estimator_interrupted
from sk_b2s._utils._logging import run_in_parallel_with_logging
from sk_b2s._utils._validation import validate_table
from sk_b2s.decoding._retrieval._result import RetrievalResult
from sk_b2s.decoding._retrieval._retrieve import retrieve


@dataclass(frozen=True)
class FitScoreResult:
    """Fitted estimator, retrieval result and durations (s) of one fold."""

    estimator: Any
    result: RetrievalResult
    seconds_fit: float
    seconds_score: float


def fit_fold(estimator, X, y, train, test, params=None, subject=None):
    """Fit a clone on the training rows of a fold.

    Parameters
    ----------
    estimator : estimator
        Not changed.
    X, y : DataFrame, Windows or array-like of shape (n_windows, ...)
        EEG/MEG windows and their stimuli, all rows.
    train, test : ndarray of int
        Rows. An estimator whose ``fit`` takes ``calibration`` gets the mask of
        the training rows whose subject is tested.
    params : None or dict, default=None
        Parameters of the clone that differ from those of ``estimator``.
    subject : None or array-like of shape (n_windows,), default=None
        Subject of each row. If None, that of the table of ``X``.

    Returns
    -------
    estimator : estimator
        Fitted.

    Raises
    ------
    KeyboardInterrupt
        If the training was interrupted, because an unfinished training is not
        a result.
    """
    estimator = clone(estimator)
    if params:
        estimator.set_params(**params)
    subject = _get_subjects_of_scored_rows(X) if subject is None else np.asarray(subject)
    calibration = make_estimator_fit_params(estimator, np.isin(subject[train], subject[test]))
    estimator.fit(_safe_indexing(X, train), _safe_indexing(y, train), **calibration)
    if was_estimator_interrupted(estimator):
        raise KeyboardInterrupt
    return estimator


def fit_and_score_fold(
    estimator, X, y, train, test, params=None, subject=None, candidates_per_row=None, retrieve=retrieve
):
    """Fit a clone on the training rows and retrieve the test rows.

    Parameters are those of :func:`fit_fold`, ``candidates_per_row`` of
    :func:`~sk_b2s.retrieve`, and ``retrieve``, a function of the fitted
    estimator and the test rows of X and y. Returns a :class:`FitScoreResult`.
    """
    start = perf_counter()
    estimator = fit_fold(estimator, X, y, train, test, params, subject)
    fitted = perf_counter()
    own = () if candidates_per_row is None else (candidates_per_row,)
    result = retrieve(estimator, _safe_indexing(X, test), _safe_indexing(y, test), *own)
    return FitScoreResult(estimator, result, fitted - start, perf_counter() - fitted)


def fit_and_score_folds(score_fold, estimator, X, y, folds, *options, n_jobs=None, return_estimator=False):
    """Score all folds, several at a time.

    ``score_fold(estimator, X, y, train, test, *options)`` returns a table and
    the fitted estimator. Returns the tables as one with the column "fold", and
    with ``return_estimator`` also the list of fitted estimators.
    """
    parts = run_in_parallel_with_logging(
        (
            joblib.delayed(_fit_score_one_fold)(
                score_fold, return_estimator, estimator, X, y, train, test, *options
            )
            for train, test in folds
        ),
        "folds",
        n_jobs,
    )
    table = pd.concat([part.assign(fold=fold) for fold, (part, _) in enumerate(parts)], ignore_index=True)
    return (table, [fitted for _, fitted in parts]) if return_estimator else table


def _fit_score_one_fold(score_fold, return_estimator, *arguments):
    """Score a fold, and return the estimator only if it is needed."""
    table, fitted = score_fold(*arguments)
    return table, fitted if return_estimator else None


def make_fit_score_rows(result):
    """Return the scores of each subject in a retrieval result as dicts."""
    counts = result.rows["subject"].value_counts()
    common = {"n_candidates": result.n_candidates, "k": result.k, "chance": result.chance}
    return [
        {"subject": subject, "n_windows": int(counts[subject]), **common, **scores}
        for subject, scores in result.by_subject().to_dict("index").items()
    ]


def _get_subjects_of_scored_rows(X):
    """Return the subject of each row, "" where the rows have no subject."""
    table = validate_table(X)
    if table is None or "subject" not in table:
        return np.full(len(X), "", dtype=object)
    return table["subject"].to_numpy()
