"""All that a decoder answers to some windows, kept in one table and asked in many ways."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from sk_b2s.metrics import chance_level, median_relative_rank, ranks, top_k_accuracy
from sk_b2s.model_selection import table_of
from sk_b2s.nulls import shift_null

__all__ = ["Retrieval", "retrieval_scores", "retrieve"]


def _decoder_and_windows(estimator, X, owner):
    """Walk through searches and pipelines to the decoder at their end, and take X along."""
    while not hasattr(estimator, "ranks"):
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "steps"):
            X = estimator[:-1].transform(X) if len(estimator) > 1 else X
            estimator = estimator[-1]
        else:
            raise TypeError(
                f"{owner} needs a decoder such as BrainEncoder or RidgeDecoder, or a Pipeline that ends in one; got "
                f"{type(estimator).__name__}."
            )
    return estimator, X


def retrieval_scores(estimator, X, y):
    """Score a fitted decoder in all ways at once, by one pass over the windows.

    This is *the* scorer: give it as ``scoring=`` to :func:`~sklearn.model_selection.cross_validate`
    or, with ``refit="top_k"``, to :class:`~sklearn.model_selection.GridSearchCV`.

    Parameters
    ----------
    estimator : estimator
        A fitted decoder of the package, a Pipeline that ends in one, or a fitted search over either.
    X : DataFrame, Windows or array-like of shape (n_windows, ...)
        What the brain did, as the estimator takes it.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        What was heard.

    Returns
    -------
    scores : dict of str to float
        ``top_1`` and ``top_k``, the share of windows whose segment is the best or among the ``k`` best
        (the decoder's ``k``) of the distinct segments of ``y``; ``median_relative_rank`` (0 is best,
        0.5 is chance); ``n_candidates``; ``chance``, that of ``top_k``.

    Raises
    ------
    TypeError
        If the last step is no decoder.
    ValueError
        If there are no more candidates than ``k``.

    See Also
    --------
    retrieve : Keeps the similarities themselves, for all other questions.
    """
    estimator, X = _decoder_and_windows(estimator, X, "retrieval_scores")
    found, n_candidates = estimator.ranks(X, y)
    return {
        "top_1": float(top_k_accuracy(found, 1, n_candidates)),
        "top_k": float(top_k_accuracy(found, estimator.k, n_candidates)),
        "median_relative_rank": float(median_relative_rank(found, n_candidates)),
        "n_candidates": n_candidates,
        "chance": float(chance_level(estimator.k, n_candidates)),
    }


def retrieve(estimator, X, y):
    """Let a fitted decoder say, of every window, how similar each distinct segment of ``y`` is to it.

    One pass: the brain is transformed once, and every further question is put to the matrix.

    Parameters
    ----------
    estimator : estimator
        A fitted decoder of the package, a Pipeline that ends in one, or a fitted search over either.
    X : DataFrame, Windows or array-like of shape (n_windows, ...)
        What the brain did, as the estimator takes it.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        What was heard, row by row. Its distinct segments are the candidates.

    Returns
    -------
    answers : Retrieval

    Raises
    ------
    TypeError
        If the last step is no decoder.
    ValueError
        If X and y are out of step or do not fit the decoder.

    Warns
    -----
    StimulusLeakWarning
        If ``y`` contains sound that the decoder was fitted on.
    """
    decoder, windows = _decoder_and_windows(estimator, X, "retrieve")
    found, pieces = decoder._compare(windows, y, stacklevel=4)
    scores = np.empty((len(found.target), len(found.ids)), np.float32)
    for rows, part in pieces:
        scores[rows] = part.cpu().numpy()
    heard = table_of(y)
    heard = pd.DataFrame({"segment": found.ids[found.target]}) if heard is None else heard
    brain = table_of(X) if table_of(X) is not None else table_of(windows)
    return Retrieval(
        scores=scores,
        target=found.target,
        candidates=heard.iloc[found.first].reset_index(drop=True),
        rows=_joined(brain, heard),
        k=decoder.k,
    )


def _joined(brain, heard):
    """Tables of both sides in one; plain arrays are one unnamed subject and recording."""
    heard = heard.reset_index(drop=True)
    brain = pd.DataFrame(index=heard.index) if brain is None else brain.reset_index(drop=True)
    rows = brain.join(heard[[column for column in heard if column not in brain]])
    unnamed = {column: "" for column in ("subject", "recording") if column not in rows}
    return rows.assign(**unnamed)


@dataclass(frozen=True, eq=False)
class Retrieval:
    """Similarities of windows to candidates, with the tables that say what both are.

    Made by :func:`retrieve`. Every score is a mean over subjects of the mean over the windows of each;
    ties count against, as everywhere.

    Parameters
    ----------
    scores : ndarray of shape (n_windows, n_candidates)
        Similarities, float32.
    target : ndarray of int of shape (n_windows,)
        Column of the segment that was heard.
    candidates : DataFrame of shape (n_candidates, ...)
        The distinct segments, in the order of the columns.
    rows : DataFrame of shape (n_windows, ...)
        Of each window, what the tables of the brain (recording, subject, session, onset, duration ...) and
        of what was heard (segment, sequence, word ...) say.
    k : int
        Number of guesses, the decoder's.
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
                f"scores have shape {self.scores.shape}, but target, rows and candidates have {lengths} entries."
            )

    # --- how well ----------------------------------------------------------------------------------

    @property
    def n_candidates(self):
        """Number of distinct segments to choose from."""
        return self.scores.shape[1]

    @property
    def chance(self):
        """Top-k accuracy of a guess, k / n_candidates."""
        return chance_level(self.k, self.n_candidates)

    @cached_property
    def ranks(self):
        """How many other candidates score as high as the segment heard, or higher: (n_windows,)."""
        return ranks(self.scores, self.target)

    def _k(self, k):
        return self.k if k is None else k

    def top_k(self, k=None):
        """Share of all windows whose segment is among the k best.

        Parameters
        ----------
        k : int, default=None
            Number of guesses; the decoder's by default.

        Returns
        -------
        accuracy : float
        """
        return top_k_accuracy(self.ranks, self._k(k), self.n_candidates)

    def median_relative_rank(self):
        """Median over all windows of rank / (n_candidates - 1).

        Returns
        -------
        median : float
            0 is best, 0.5 is chance.
        """
        return median_relative_rank(self.ranks, self.n_candidates)

    def per_subject(self, k=None):
        """Top-k accuracy of each subject.

        Parameters
        ----------
        k : int, default=None
            Number of guesses; the decoder's by default.

        Returns
        -------
        accuracy : Series of shape (n_subjects,)
            Indexed by subject.
        """
        return self._by_subject(self._k(k))["top_k"]

    def _by_subject(self, k):
        """Scores of each subject: a row for each."""
        return pd.DataFrame({
            subject: {
                "top_1": top_k_accuracy(own, 1, self.n_candidates),
                "top_k": top_k_accuracy(own, k, self.n_candidates),
                "median_relative_rank": median_relative_rank(own, self.n_candidates),
            }
            for subject, own in pd.Series(self.ranks).groupby(self.rows["subject"].to_numpy())
        }).T.rename_axis("subject")  # fmt: skip

    def summary(self, k=None, n_shifts=1000, random_state=0):
        """Scores over subjects, with all that is needed to read them.

        Parameters
        ----------
        k : int, default=None
            Number of guesses; the decoder's by default.
        n_shifts : int, default=1000
            Shifts of which the null is made; 0 leaves it out.
        random_state : None, int or RandomState, default=0
            Draws the shifts.

        Returns
        -------
        summary : Series
            ``top_1, top_k, median_relative_rank``, means over subjects, each with its standard error
            ``..._sem`` (NaN for a single subject); ``k, n_subjects, n_windows, n_candidates, chance``;
            ``null_mean`` and ``null_high``, mean and 97.5 % quantile of :meth:`null` of ``top_k``.
        """
        k = self._k(k)
        subjects = self._by_subject(k)
        out = {}
        for name in subjects:
            out[name], out[f"{name}_sem"] = subjects[name].mean(), subjects[name].sem()
        out |= {
            "k": k, "n_subjects": len(subjects), "n_windows": len(self.rows), "n_candidates": self.n_candidates,
            "chance": chance_level(k, self.n_candidates),
        }  # fmt: skip
        if n_shifts:
            null = self.null(k, n_shifts, random_state)
            out |= {"null_mean": null.mean(), "null_high": np.quantile(null, 0.975)}
        return pd.Series(out)

    def null(self, k=None, n_shifts=1000, random_state=0):
        """Top-k accuracies, means over subjects, of labels moved along within each recording.

        Parameters
        ----------
        k : int, default=None
            Number of guesses; the decoder's by default.
        n_shifts : int, default=1000
            How many times the labels are moved.
        random_state : None, int or RandomState, default=0
            Draws the shifts.

        Returns
        -------
        null : ndarray of shape (n_shifts,)
            See :func:`~sk_b2s.shift_null`.

        Raises
        ------
        ValueError
            If it is unknown when the windows were, or a recording is too short to move labels in.
        """
        missing = [column for column in ("onset", "duration") if column not in self.rows]
        if missing:
            raise ValueError(
                f"the null moves labels in time, but the rows lack {missing}: give X as a table of make_segments, or "
                f"Windows with one."
            )
        subject = self.rows["subject"].to_numpy()
        return shift_null(
            self.scores, self.target, self.rows["recording"], self.rows["onset"], self.rows["duration"].max(),
            k=self._k(k), n_shifts=n_shifts, random_state=random_state,
            sample_weight=1 / pd.Series(subject).map(pd.Series(subject).value_counts()),
        )  # fmt: skip
