"""Confidence of retrieval results and the choice to abstain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from sk_b2s.decoding._retrieval._checks import check_other_retrieval_windows, check_retrieval_columns
from sk_b2s.metrics._confidence import (
    compute_confidence_of_best,
    fit_temperature,
    reliability_curve,
    risk_coverage_curve,
)


def iter_confidence_mixin_folds(rows, by, n_folds):
    """Yield masks of held-out windows, whole groups of a column."""
    check_retrieval_columns([by], rows, f"scale_temperature(by={by!r}) holds out groups")
    codes, names = pd.factorize(rows[by].to_numpy(dtype=object), use_na_sentinel=False)
    if len(names) < 2:
        raise ValueError(
            f"scale_temperature requires at least two groups in column {by!r}. Got {len(names)}. Pass a reference or "
            f"another column."
        )
    fold = codes * min(n_folds, len(names)) // len(names)
    for index in np.unique(fold):
        yield fold == index


class ConfidenceMixin:
    """Temperatures, reliability and thresholds of retrieval results."""

    def scale_temperature(self, reference=None, by="sequence", n_folds=5):
        """Divide the similarities by a temperature learned on other windows.

        The softmax of the result is reliable if the other windows have the
        same distribution of similarities. Ranks do not change. Apply it after
        :meth:`average` and :meth:`pool_groups`, which change the scale.

        Parameters
        ----------
        reference : RetrievalResult, default=None
            Result of other windows, averaged and pooled in the same way, whose
            targets determine the temperature. If None, groups are assigned to
            folds, and the temperature of a fold is learned on the others.
        by : str, default="sequence"
            Column of the groups without ``reference``.
        n_folds : int, default=5
            Number of folds without ``reference``, at most that of groups.

        Returns
        -------
        result : RetrievalResult
            With scaled similarities and the column ``temperature`` in
            ``rows``.

        Raises
        ------
        ValueError
            If ``reference`` contains windows of this result, or if there are
            fewer than two groups.

        See Also
        --------
        sk_b2s.metrics.fit_temperature : Definition of the temperature.
        """
        if reference is not None:
            check_other_retrieval_windows(self, reference, "scale_temperature")
            temperature = np.full(len(self.rows), fit_temperature(reference.scores, reference.target))
        else:
            temperature = np.empty(len(self.rows))
            for own in iter_confidence_mixin_folds(self.rows, by, n_folds):
                temperature[own] = fit_temperature(self.scores[~own], self.target[~own])
        scores = (self.scores / temperature[:, None]).astype(self.scores.dtype)
        return replace(self, scores=scores, rows=self.rows.assign(temperature=temperature))

    def confidence(self, kind="probability"):
        """Compute the confidence in the most similar candidate.

        Parameters
        ----------
        kind : {"probability", "margin"}, default="probability"
            "probability" is its softmax over candidates, which is reliable
            after :meth:`scale_temperature`. "margin" is the difference between
            the two largest similarities.

        Returns
        -------
        confidence : ndarray of shape (n_windows,)
        """
        return compute_confidence_of_best(self.scores, kind)

    def reliability(self, n_bins=10):
        """Compute the accuracy of the best candidate by its probability.

        Parameters
        ----------
        n_bins : int, default=10
            Number of bins with nearly equal numbers of windows.

        Returns
        -------
        table : DataFrame of shape (n_bins, 3)
            Mean ``probability``, ``accuracy`` and ``n_windows`` of each bin.
            The first two are equal for reliable probabilities.
        """
        parts = reliability_curve(self.confidence(), self.ranks < 1, n_bins)
        return pd.DataFrame(dict(zip(("probability", "accuracy", "n_windows"), parts, strict=True)))

    def risk_coverage(self, k=1, confidence="probability"):
        """Compute the accuracy of the most confident windows by their share.

        Parameters
        ----------
        k : int, default=1
            Number of candidates that count as a hit.
        confidence : {"probability", "margin"}, default="probability"
            Kind of :meth:`confidence`.

        Returns
        -------
        table : DataFrame of shape (n_thresholds, 3)
            ``coverage``, the share of windows with at least the confidence
            ``threshold``, rising to 1, and their ``accuracy``.
        """
        parts = risk_coverage_curve(self.confidence(confidence), self.ranks < k)
        return pd.DataFrame(dict(zip(("coverage", "accuracy", "threshold"), parts, strict=True)))

    def abstain(self, reference, coverage=0.9, confidence="probability"):
        """Select the windows that are confident enough to be accepted.

        Parameters
        ----------
        reference : RetrievalResult
            Result of other windows, averaged and pooled in the same way. The
            threshold is the confidence that a share ``coverage`` of them
            reaches.
        coverage : float, default=0.9
            Share of the windows of ``reference`` that are accepted, above 0
            and at most 1. The share of this result is ``len(accepted.rows) /
            len(result.rows)``, and can differ from it.
        confidence : {"probability", "margin"}, default="probability"
            Kind of :meth:`confidence`.

        Returns
        -------
        accepted : RetrievalResult
            Windows with at least this confidence, with the column
            ``confidence`` in ``rows``.

        Raises
        ------
        ValueError
            If ``reference`` contains windows of this result, if ``coverage``
            is not above 0 and at most 1, or if no window is accepted.

        See Also
        --------
        risk_coverage : Accuracy at all coverages, with known targets.
        """
        if not 0 < coverage <= 1:
            raise ValueError(f"coverage must be above 0 and at most 1. Got {coverage!r} instead.")
        check_other_retrieval_windows(self, reference, "abstain")
        ordered = np.sort(reference.confidence(confidence))[::-1]
        threshold = ordered[int(np.ceil(coverage * len(ordered))) - 1]
        own = self.confidence(confidence)
        if not (own >= threshold).any():
            raise ValueError(
                f"No window has the confidence {threshold:.3g} that {coverage:.0%} of the windows of reference have. "
                f"Scale both with scale_temperature, and average and pool both in the same way."
            )
        return replace(self, rows=self.rows.assign(confidence=own)).select(own >= threshold)
