"""Retrieval results with own candidates of each window."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from sk_b2s.decoding._retrieval._result import RetrievalResult
from sk_b2s.metrics._row_null import compute_row_null_means


@dataclass(frozen=True, eq=False, repr=False)
class RowRetrievalResult(RetrievalResult):
    """Similarities of windows to a few own candidates each.

    Returned by :func:`retrieve` with ``candidates_per_row``. Methods that
    compare all windows with the same candidates, such as :meth:`average`, are
    not available.

    Parameters
    ----------
    scores : ndarray of shape (n_windows, n_candidates)
        Similarities to the candidates of each window, float32.
    target : ndarray of int of shape (n_windows,)
        Place of the target among the candidates of the window.
    candidates : DataFrame of shape (n_segments, ...)
        Distinct segments of all windows.
    rows : DataFrame of shape (n_windows, ...)
        Metadata of each window that has candidates.
    k : int
        Number of candidates that count as a hit.
    columns : ndarray of int of shape (n_windows, n_candidates)
        Row of ``candidates`` of each score.
    kept : ndarray of int of shape (n_windows,)
        Row of ``X`` and ``y`` of each window.
    n_left_out : int
        Number of windows without enough candidates, which are left out.
    null_ranks : ndarray of int of shape (n_windows, n_places)
        Ranks among the candidates of other windows, for :meth:`null`.
    group : ndarray of int of shape (n_windows,)
        Stretch of a recording of each window, for :meth:`null`.
    is_balanced : bool
        Whether each candidate is the target of one of the windows that share
        it, so that no preference changes the score.
    """

    columns: np.ndarray | None = None
    kept: np.ndarray | None = None
    n_left_out: int = 0
    null_ranks: np.ndarray | None = None
    group: np.ndarray | None = None
    is_balanced: bool = False

    def __post_init__(self):
        if self.columns is None or self.columns.shape != self.scores.shape:
            raise ValueError(
                f"columns must have the shape of scores {self.scores.shape}. Got {np.shape(self.columns)}. Use "
                f"retrieve(..., candidates_per_row=...)."
            )
        lengths = (len(self.target), len(self.rows))
        if lengths != (len(self.scores),) * 2:
            raise ValueError(f"scores have {len(self.scores)} rows, but target and rows have {lengths}.")

    def summary(self, k=None, n_shifts=1000, random_state=0):
        """Compute scores over subjects, with chance level and null.

        Parameters
        ----------
        k : int, default=None
            Number of candidates that count as a hit. If None, use ``k`` of
            this result.
        n_shifts : int, default=1000
            Number of draws of the null. If 0, do not compute it.
        random_state : None, int or RandomState, default=0
            Seed of the null.

        Returns
        -------
        summary : Series
            As :meth:`RetrievalResult.summary`, with ``n_left_out``, the number
            of windows without enough candidates.
        """
        out = super().summary(k, n_shifts, random_state)
        return pd.concat([out, pd.Series({"n_left_out": self.n_left_out})])

    def draw_null(self, n_shifts, random_state=None, sample_weight=None, worth=None):
        """Draw mean scores of windows among the candidates of other windows.

        Within stretches of up to 128 windows of a recording, all candidates
        are circularly shifted in time. Windows that share a part of the
        stimulus with the candidates are left out. The variance of random
        scores is added in stretches with fewer than ten possible shifts, and
        unless candidates are balanced.

        Parameters
        ----------
        n_shifts : int
            Number of draws.
        random_state : None, int or RandomState, default=None
            Seed.
        sample_weight : array-like of shape (n_windows,), default=None
            Weight of each window.
        worth : array-like of shape (n_candidates,), default=None
            Score of each rank. If None, 1 for the first ``k`` ranks.

        Returns
        -------
        null : ndarray of shape (n_shifts,)
        """
        worth = np.arange(self.n_candidates) < self.k if worth is None else np.asarray(worth)
        return compute_row_null_means(
            worth[self.null_ranks], self.null_ranks >= 0, self.group, n_shifts, random_state, sample_weight,
            variance=float(np.var(worth)), is_balanced=self.is_balanced,
        )  # fmt: skip

    def select(self, rows):
        """Select windows, with their candidates.

        Parameters
        ----------
        rows : array-like of bool or int
            Mask or positions of the windows.

        Returns
        -------
        result : RowRetrievalResult
            With these windows.
        """
        rows = np.arange(len(self.rows))[np.asarray(rows)]
        return replace(
            self, scores=self.scores[rows], target=self.target[rows], rows=self.rows.iloc[rows].reset_index(drop=True),
            columns=self.columns[rows], kept=self.kept[rows], null_ranks=self.null_ranks[rows], group=self.group[rows],
        )  # fmt: skip

    @property
    def average(self):
        """Not available, because windows have different candidates."""
        raise self._make_error("average")

    @property
    def pool_groups(self):
        """Not available, because windows have different candidates."""
        raise self._make_error("pool_groups")

    @property
    def score_words(self):
        """Not available, because windows have different candidates."""
        raise self._make_error("score_words")

    @property
    def score_within_recording(self):
        """Not available, because windows have different candidates."""
        raise self._make_error("score_within_recording")

    def _make_error(self, name):
        return AttributeError(
            f"{name} compares all windows with the same candidates, but each window of this result has its own. Call "
            f"retrieve without candidates_per_row."
        )


def make_row_retrieval_result(row_scores, candidates, rows, k):
    """Make a RowRetrievalResult of RowScores and tables."""
    sets = row_scores.sets
    return RowRetrievalResult(
        row_scores.scores, sets.target, candidates.reset_index(drop=True),
        rows.iloc[sets.kept].reset_index(drop=True), k if k < sets.columns.shape[1] else 1, columns=sets.columns,
        kept=sets.kept, n_left_out=len(rows) - len(sets.kept), null_ranks=row_scores.null_ranks,
        group=row_scores.group, is_balanced=sets.is_balanced,
    )  # fmt: skip
