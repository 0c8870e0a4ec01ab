"""One fold of a benchmark or control analysis with its data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import _safe_indexing

from sk_b2s._utils._estimators import find_decoder_in_estimator
from sk_b2s._utils._validation import join_validated_tables, validate_table
from sk_b2s.decoding._candidates import find_distinct_candidates
from sk_b2s.decoding._retrieval._result import RetrievalResult
from sk_b2s.decoding._retrieval._retrieve import (
    find_table_to_retrieve,
    retrieve,
)
from sk_b2s.decoding._retrieval._row_candidates import locate_row_candidate_stimuli, make_row_candidate_sets
from sk_b2s.decoding._retrieval._row_result import RowRetrievalResult, make_row_retrieval_result
from sk_b2s.decoding._retrieval._row_scores import compute_row_scores
from sk_b2s.evaluation._controls._timing import add_timing_control_columns
from sk_b2s.evaluation._fit_score import fit_and_score_fold
from sk_b2s.model_selection._exposure import find_exposure


@dataclass
class ControlFold:
    """One fold with all data that a control needs.

    ``fitted`` is the estimator of the last fit, ``n_left_out`` the number of
    training windows that the control excluded. ``separate`` is the result of
    the last surrogates with windows that share no samples.
    ``has_own_stimuli`` is False if the last fit had reordered stimuli.
    ``retrieve`` computes a retrieval result from a fitted estimator and the
    test rows of X and y. ``used`` is X, y, training and test rows of the last
    fit.
    """

    estimator: Any
    X: Any
    y: Any
    rows: pd.DataFrame
    train: np.ndarray
    test: np.ndarray
    seed: int
    oracle: Any = None
    n_left_out: int = 0
    k: int | None = None
    candidates_per_row: Any = None
    seconds_fit: float = 0.0
    seconds_score: float = 0.0
    fitted: Any = None
    separate: Any = None
    has_own_stimuli: bool = True
    retrieve: Callable = retrieve
    used: Any = None

    def refit(self, estimator=None, X=None, y=None, train=None, test=None):
        """Fit a clone on the training rows and retrieve the test rows."""
        self.has_own_stimuli = y is None
        X, y = self.X if X is None else X, self.y if y is None else y
        train, test = self.train if train is None else train, self.test if test is None else test
        estimator = self.estimator if estimator is None else estimator
        self.used = X, y, train, test
        fold = fit_and_score_fold(
            estimator,
            X,
            y,
            train,
            test,
            subject=self.rows["subject"],
            candidates_per_row=self.candidates_per_row,
            retrieve=self.retrieve,
        )
        self.fitted = fold.estimator
        self.seconds_fit += fold.seconds_fit
        self.seconds_score += fold.seconds_score
        return self.with_rows(fold.result, test)

    def exposure(self):
        """Find test rows that the fitted estimator was trained on."""
        return find_exposure(self.fitted, _safe_indexing(self.y, self.test))

    def with_rows(self, result, test):
        """Give a retrieval result the rows and the ``k`` of this task."""
        if not isinstance(result, RetrievalResult):  # of a task without candidates
            return result
        test = test[result.kept] if isinstance(result, RowRetrievalResult) else test
        return replace(result, rows=self.rows.iloc[test], k=self.k or result.k)

    @cached_property
    def decoded(self):
        """Retrieval result of the decoder itself."""
        return self.refit()

    def add_timing_control_columns(self, result):
        """Add what timing alone explains, learned from the training rows."""
        return add_timing_control_columns(
            result, self.rows.iloc[self.train] if self.has_own_stimuli else None
        )

    def result_of_scores(self, scores):
        """Make a result of similarities to the distinct test segments."""
        stimuli = _safe_indexing(self.y, self.test)
        found, table = find_distinct_candidates(stimuli), validate_table(stimuli)
        k = self.k or find_decoder_in_estimator(self.estimator)[0].k
        has_names = table is not None and "segment" in table
        names = table.iloc[found.first] if has_names else pd.DataFrame({"segment": found.ids})
        rows, scores = self.rows.iloc[self.test], np.asarray(scores)
        if self.candidates_per_row is None:
            return RetrievalResult(scores, found.target, names, rows, k)
        line = locate_row_candidate_stimuli(stimuli, table)
        joined = join_validated_tables(rows, find_table_to_retrieve(stimuli))
        sets = make_row_candidate_sets(self.candidates_per_row, found, joined, line)
        row_scores = compute_row_scores(lambda *places: scores[np.ix_(*places)], sets, found, joined, line)
        return self.with_rows(make_row_retrieval_result(row_scores, names, rows, k), self.test)
