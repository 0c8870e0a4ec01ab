"""Retrieval results: similarities of windows with candidate segments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from sk_b2s.decoding._retrieval._checks import check_retrieval_columns
from sk_b2s.decoding._retrieval._combine import CombinationMixin
from sk_b2s.decoding._retrieval._confidence_mixin import ConfidenceMixin
from sk_b2s.decoding._retrieval._guesses import GuessesMixin
from sk_b2s.decoding._retrieval._words import WordsMixin
from sk_b2s.metrics._null import circular_shift_null
from sk_b2s.metrics._ranks_and_top_k import (
    chance_level,
    compute_rank_scores,
    median_relative_rank,
    ranks,
    top_k_accuracy,
)


@dataclass(frozen=True, eq=False, repr=False)
class RetrievalResult(CombinationMixin, ConfidenceMixin, GuessesMixin, WordsMixin):
    """Similarities of windows to candidate segments, with their tables.

    Returned by :func:`retrieve`. :meth:`summary`, :meth:`null` and
    :meth:`score_words` average over the windows of each subject and then over
    subjects. :meth:`top_k` and :meth:`median_relative_rank` are computed over
    all windows, like the ``score`` of a decoder. Ties count as errors.

    Parameters
    ----------
    scores : ndarray of shape (n_windows, n_candidates)
        Similarities, float32.
    target : ndarray of int of shape (n_windows,)
        Column of the target segment of each window.
    candidates : DataFrame of shape (n_candidates, ...)
        Distinct segments, in the order of the columns of ``scores``.
    rows : DataFrame of shape (n_windows, ...)
        Metadata of each window: recording, subject, session, onset, duration,
        and the columns of its target segment such as sequence and word.
    k : int
        Number of candidates that count as a hit, as set in the decoder.
    """

    scores: np.ndarray
    target: np.ndarray
    candidates: pd.DataFrame
    rows: pd.DataFrame
    k: int = 10

    def __post_init__(self):
        n_windows, n_candidates = self.scores.shape
        lengths = (len(self.target), len(self.rows), len(self.candidates))
        if lengths != (n_windows, n_windows, n_candidates):
            raise ValueError(
                f"scores have the shape {self.scores.shape}, but target, rows and candidates have {lengths} entries."
            )

    @property
    def n_candidates(self):
        """Number of distinct segments among which each window is ranked."""
        return self.scores.shape[1]

    @property
    def chance(self):
        """Chance level of the top-k accuracy, k / n_candidates."""
        return chance_level(self.k, self.n_candidates)

    @cached_property
    def ranks(self):
        """Number of other candidates with at least the target's similarity."""
        return ranks(self.scores, self.target)

    def _k(self, k):
        return self.k if k is None else k

    def top_k(self, k=None):
        """Compute the top-k accuracy over all windows.

        Parameters
        ----------
        k : int, default=None
            Number of candidates that count as a hit. If None, use the ``k`` of
            the decoder.

        Returns
        -------
        accuracy : float
            Fraction of windows whose target is among the k most similar
            candidates.
        """
        return top_k_accuracy(self.ranks, self._k(k), self.n_candidates)

    def median_relative_rank(self):
        """Compute the median of rank / (n_candidates - 1) over all windows.

        Returns
        -------
        median : float
            0 is best, 0.5 is the chance level.
        """
        return median_relative_rank(self.ranks, self.n_candidates)

    def by_subject(self, k=None):
        """Compute the scores of each subject.

        Parameters
        ----------
        k : int, default=None
            Number of candidates that count as a hit. If None, use the ``k`` of
            the decoder.

        Returns
        -------
        scores : DataFrame of shape (n_subjects, 3)
            Columns ``top_1``, ``top_k`` and ``median_relative_rank``, indexed
            by subject.
        """
        k = self._k(k)
        return pd.DataFrame({
            subject: compute_rank_scores(own, k, self.n_candidates)
            for subject, own in pd.Series(self.ranks).groupby(self.rows["subject"].to_numpy())
        }).T.rename_axis("subject")  # fmt: skip

    def summary(self, k=None, n_shifts=1000, random_state=0):
        """Compute scores over subjects, with chance level and null.

        Parameters
        ----------
        k : int, default=None
            Number of candidates that count as a hit. If None, use the ``k`` of
            the decoder.
        n_shifts : int, default=1000
            Number of circular shifts for the null distribution. If 0, do not
            compute it.
        random_state : None, int or RandomState, default=0
            Seed of the shifts.

        Returns
        -------
        summary : Series
            Means over subjects ``top_1``, ``top_k`` and
            ``median_relative_rank``, each with its standard error ``..._sem``
            (NaN for a single subject). ``k``, ``n_subjects``, ``n_windows``,
            ``n_candidates`` and ``chance``. ``null_low``, ``null_mean`` and
            ``null_high``, the 2.5 % quantile, mean and 97.5 % quantile of
            :meth:`null`. After :meth:`average` also ``n_averaged``, the mean
            number of windows in an average, and ``single_top_1`` and
            ``single_top_k``, the scores of these windows one by one. Report
            both, because an average hides how few windows decode.

        Raises
        ------
        ValueError
            If there are at most ``k`` candidates, or if ``n_shifts`` is not 0
            and the null cannot be computed.
        """
        k = self._k(k)
        subjects = self.by_subject(k)
        out = {}
        for name in subjects:
            out[name], out[f"{name}_sem"] = subjects[name].mean(), subjects[name].sem()
        out |= {
            "k": k, "n_subjects": len(subjects), "n_windows": len(self.rows), "n_candidates": self.n_candidates,
            "chance": chance_level(k, self.n_candidates),
        }  # fmt: skip
        if n_shifts:
            try:
                null = self.null(k, n_shifts, random_state)
            except ValueError as error:
                raise ValueError(f"{error} Use summary(n_shifts=0) to skip the null.") from error
            low, high = np.quantile(null, [0.025, 0.975])
            out |= {"null_low": low, "null_mean": null.mean(), "null_high": high}
        return pd.Series(out | self._score_single(k))

    def _score_single(self, k):
        """Return the scores of the windows before averaging, over subjects."""
        if "single_ranks" not in self.rows:
            return {}
        single = self.rows[["subject", "single_ranks"]].explode("single_ranks")
        hits = pd.DataFrame({
            "single_top_1": single["single_ranks"] < 1, "single_top_k": single["single_ranks"] < k,
        })  # fmt: skip
        scores = hits.astype(float).groupby(single["subject"]).mean().mean()
        return {"n_averaged": self.rows["n_averaged"].mean(), **scores}

    def null(self, k=None, n_shifts=1000, random_state=0):
        """Compute top-k accuracies of labels shifted within each recording.

        Parameters
        ----------
        k : int, default=None
            Number of candidates that count as a hit. If None, use the ``k`` of
            the decoder.
        n_shifts : int, default=1000
            Number of circular shifts.
        random_state : None, int or RandomState, default=0
            Seed of the shifts.

        Returns
        -------
        null : ndarray of shape (n_shifts,)
            Means over subjects, see :func:`circular_shift_null`.

        Raises
        ------
        ValueError
            If the times of the windows are unknown, or if a recording is too
            short for a shift.
        """
        check_retrieval_columns(["onset", "duration"], self.rows, "The null shifts labels in time")
        subject = self.rows["subject"]
        weight = 1 / subject.map(subject.value_counts()).to_numpy(float)
        return replace(self, k=self._k(k)).draw_null(n_shifts, random_state, weight)

    def draw_null(self, n_shifts, random_state=None, sample_weight=None):
        """Draw top-k accuracies of shifted labels with weights of windows.

        Parameters
        ----------
        n_shifts : int
            Number of circular shifts.
        random_state : None, int or RandomState, default=None
            Seed of the shifts.
        sample_weight : array-like of shape (n_windows,), default=None
            Weight of each window. If None, all weights are equal.

        Returns
        -------
        null : ndarray of shape (n_shifts,)
            See :func:`circular_shift_null`.
        """
        return circular_shift_null(
            self.scores, self.target, self.rows["recording"], self.rows["onset"], self.rows["duration"].max(),
            k=self.k, n_shifts=n_shifts, random_state=random_state, sample_weight=sample_weight,
            subject=self.rows["subject"].to_numpy(),
        )  # fmt: skip

    def score_within_recording(self, by="recording", k=None):
        """Score with candidates from the window's own recording only.

        A decoder that identifies the recording, for example by its noise, and
        not the speech, is above the chance level among all candidates and at
        the chance level here.

        Parameters
        ----------
        by : str, default="recording"
            Column of ``rows``. Windows with equal values in it and the same
            subject share their candidates.
        k : int, default=None
            Number of candidates that count as a hit. If None, use the ``k`` of
            the decoder.

        Returns
        -------
        pools : DataFrame of shape (n_pools, 8)
            Columns ``subject``, ``by``, ``n_windows``, ``n_candidates``,
            ``chance``, ``top_1``, ``top_k`` and ``median_relative_rank``.
            ``n_candidates`` and ``chance`` differ between pools. If the pools
            of a subject have similar sizes, the mean over subjects is
            ``pools.groupby("subject")[["top_k", "chance"]].mean().mean()``.

        Raises
        ------
        ValueError
            If a pool has at most ``k`` candidates.
        """
        k = self._k(k)
        check_retrieval_columns(
            [by], self.rows, f"score_within_recording(by={by!r}) groups windows by that column"
        )
        pools = []
        for pool in split_retrieval_result_pools(self, by):
            subject, name = pool.rows[["subject", by]].iloc[0]
            if pool.n_candidates <= k:
                raise ValueError(
                    f"The windows of {by} {name!r} have {pool.n_candidates} distinct segments, so top-{k} accuracy is "
                    f"always 1. Score more windows of it together, or use a smaller k."
                )
            pools.append({
                "subject": subject, by: name, "n_windows": len(pool.rows), "n_candidates": pool.n_candidates,
                "chance": chance_level(k, pool.n_candidates),
                **compute_rank_scores(pool.ranks, k, pool.n_candidates),
            })  # fmt: skip
        return pd.DataFrame(pools)

    def select(self, rows):
        """Select windows, with all candidates.

        Parameters
        ----------
        rows : array-like of bool or int
            Mask or positions of the windows.

        Returns
        -------
        result : RetrievalResult
            With these windows.
        """
        rows = np.arange(len(self.rows))[np.asarray(rows)]
        table = self.rows.iloc[rows].reset_index(drop=True)
        return replace(self, scores=self.scores[rows], target=self.target[rows], rows=table)


def split_retrieval_result_pools(result, by="recording"):
    """Split a result by subject and a column, with own candidates.

    Returns a list of RetrievalResult in order of appearance.
    """
    pools = []
    groups = result.rows.groupby(["subject", by], sort=False, dropna=False)
    for rows in groups.indices.values():
        columns, target = np.unique(result.target[rows], return_inverse=True)
        pools.append(
            replace(
                result, scores=result.scores[np.ix_(rows, columns)], target=target,
                candidates=result.candidates.iloc[columns].reset_index(drop=True),
                rows=result.rows.iloc[rows].reset_index(drop=True),
            )
        )  # fmt: skip
    return pools
