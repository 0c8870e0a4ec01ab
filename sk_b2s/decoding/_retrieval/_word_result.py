"""Word decoding results: scores over a fixed vocabulary."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from sk_b2s.decoding._retrieval._checks import check_retrieval_columns
from sk_b2s.decoding._retrieval._word_figures import (
    fit_word_figure_temperatures,
)
from sk_b2s.decoding._retrieval._word_result_scores import TIMED, WordResultScoresMixin
from sk_b2s.metrics._ranks_and_top_k import ranks
from sk_b2s.metrics._vocabulary import WordVocabulary, check_vocabulary, make_vocabulary_words
from sk_b2s.metrics._word_timing import timing_probabilities


@dataclass(frozen=True, eq=False)
class WordResult(WordResultScoresMixin):
    """Probabilities of the words of a vocabulary, with the presented words.

    Returned by :meth:`RetrievalResult.to_words`, where the probability of a
    word is the sum over its segments (tokens), and by :func:`retrieve_words`,
    where each word is one candidate (type). Scores are computed for each
    subject and then averaged. Tables contain the chance level, the number of
    words and the score of a classifier that uses only the onsets of the
    windows ("timing alone").

    Parameters
    ----------
    log_probabilities : ndarray of shape (n_windows, n_words)
        Natural logarithm of the probability of each word. Words outside the
        vocabulary may have the remaining probability.
    target : ndarray of int of shape (n_windows,)
        Place of the presented word in the vocabulary. It is -1 for windows of
        other words and windows without a word.
    rows : DataFrame of shape (n_windows, ...)
        Metadata of each window: subject, recording, onset, duration and word.
    vocabulary : WordVocabulary
        Words in the order of the columns.
    counts : ndarray of int of shape (n_words,)
        Number of candidates of each word.
    kind : {"tokens", "types"}
        Whether candidates were segments or words.
    missing : tuple of str, default=()
        Words of the requested vocabulary that are left out: those without a
        candidate segment (tokens) or without a training segment (types).
    train : DataFrame, default=None
        Training rows of the classifier of timing. If None, each fifth of the
        windows is predicted from the other four fifths.
    k : int, default=10
        Number of words that count as a hit.
    """

    log_probabilities: np.ndarray
    target: np.ndarray
    rows: pd.DataFrame
    vocabulary: WordVocabulary
    counts: np.ndarray
    kind: str = "tokens"
    missing: tuple = ()
    train: pd.DataFrame | None = None
    k: int = 10

    def __post_init__(self):
        n_windows, n_words = self.log_probabilities.shape
        lengths = (len(self.target), len(self.rows), len(self.vocabulary), len(self.counts))
        if lengths != (n_windows, n_windows, n_words, n_words):
            raise ValueError(
                f"log_probabilities have the shape {(n_windows, n_words)}, but target, rows, vocabulary and counts have "
                f"{lengths} entries."
            )
        if not (np.asarray(self.target) >= 0).any():
            raise ValueError(
                "No window has a word of the vocabulary. Make segments with anchor='word', and select the vocabulary from "
                "training rows of the same language."
            )

    # --- what is scored ------------------------------------------------------------------------------

    @property
    def n_words(self):
        """Number of words among which each window is ranked."""
        return len(self.vocabulary)

    @property
    def probabilities(self):
        """Probabilities of words: ndarray of shape (n_windows, n_words)."""
        return np.exp(self.log_probabilities)

    @property
    def log_prior(self):
        """Logarithm of the probabilities of words at equal similarities."""
        return np.log(self.counts / self.counts.sum())

    @cached_property
    def ranks(self):
        """Number of other words at least as probable, -1 for other windows."""
        found, used = np.full(len(self.target), -1), self.target >= 0
        found[used] = ranks(self.log_probabilities[used], self.target[used])
        return found

    @cached_property
    def decoded(self):
        """Most probable word of each window, its place in the vocabulary."""
        return self.log_probabilities.argmax(1)

    @cached_property
    def _is_word(self):
        words = self.rows["word"] if "word" in self.rows else [None] * len(self.rows)
        return np.array([word is not None for word in make_vocabulary_words(words)], bool) | (
            self.target >= 0
        )

    @property
    def coverage(self):
        """Share of the presented words that are in the vocabulary."""
        return float((self.target >= 0).sum() / self._is_word.sum())

    def _counts(self, rows=slice(None)):
        """Return the numbers that each table contains."""
        target, is_word = self.target[rows], self._is_word[rows]
        n_windows, n_presented = int((target >= 0).sum()), int(is_word.sum())
        return {
            "n_words": self.n_words, "n_windows": n_windows, "n_wordless": int((~is_word).sum()),
            "n_outside": n_presented - n_windows, "coverage": n_windows / max(n_presented, 1),
            "candidates": self.kind,
        }  # fmt: skip

    # --- timing --------------------------------------------------------------------------------------

    @property
    def _has_timing(self):
        if not set(TIMED) <= set(self.rows):
            return False
        if self.train is not None:
            check_retrieval_columns([*TIMED, "word"], self.train, "The timing is fitted on train")
        return True

    @cached_property
    def _timed(self):
        """Rows, words and training rows for the classifier of timing."""
        words = np.array([*self.vocabulary, None], dtype=object)[self.target]
        train = None
        if self.train is not None:
            train = self.train.assign(word=make_vocabulary_words(self.train["word"]))
        return self.rows.reset_index(drop=True), words, list(self.vocabulary), train

    @cached_property
    def timing_probabilities(self):
        """Probabilities of words from onsets alone, None if unknown.

        Shape (n_windows, n_words), with equal prior probabilities. See
        :func:`sk_b2s.metrics.timing_probabilities`.
        """
        return timing_probabilities(*self._timed) if self._has_timing else None

    # --- probabilities -------------------------------------------------------------------------------

    def equalize(self):
        """Divide probabilities by the prior, so that words are equal before.

        Scores with equal weights of words do not reward the frequency of
        words, which the prior contains.

        Returns
        -------
        result : WordResult
            With ``counts`` of 1 and probabilities that sum to 1 over the
            vocabulary.
        """
        logs = self.log_probabilities - self.log_prior
        logs -= np.logaddexp.reduce(logs, axis=1, keepdims=True)
        return replace(self, log_probabilities=logs, counts=np.ones_like(self.counts))

    def select_words(self, vocabulary):
        """Select words, and rank each window among them only.

        Parameters
        ----------
        vocabulary : WordVocabulary or sequence of str
            Words. Those without a candidate or template are added to
            ``missing``. Windows of other words have the target -1.

        Returns
        -------
        result : WordResult
            Probabilities of the selected words do not change, so that rows may
            sum to less than 1.

        Raises
        ------
        ValueError
            If fewer than two words are known.
        """
        vocabulary = check_vocabulary(vocabulary)
        codes = self.vocabulary.encode(vocabulary.words)
        words = np.array(vocabulary.words, dtype=object)
        if (codes >= 0).sum() < 2:
            raise ValueError(
                f"Only {(codes >= 0).sum()} of {len(vocabulary)} words are among the {self.n_words} words of this result. "
                f"Use a larger vocabulary."
            )
        kept = WordVocabulary(words[codes >= 0])
        known = np.array([*self.vocabulary, None], dtype=object)
        return replace(
            self, log_probabilities=self.log_probabilities[:, codes[codes >= 0]], vocabulary=kept,
            target=kept.encode(known[self.target]), counts=self.counts[codes[codes >= 0]],
            missing=(*self.missing, *words[codes < 0]),
        )  # fmt: skip

    def scale_temperature(self, reference=None, by="sequence", n_folds=5):
        """Make probabilities reliable by a temperature of other windows.

        Ranks, confusions and keyword scores within a window do not change. The
        log-loss requires reliable probabilities.

        Parameters
        ----------
        reference : WordResult, default=None
            Result of other windows with the same vocabulary. If None, groups
            are assigned to folds, and the temperature of a fold is fitted on
            the others.
        by : str, default="sequence"
            Column of the groups without ``reference``.
        n_folds : int, default=5
            Number of folds without ``reference``, at most that of groups.

        Returns
        -------
        result : WordResult
            With probabilities that sum to 1 over the vocabulary, and the
            column ``temperature`` in ``rows``.

        Raises
        ------
        ValueError
            If ``reference`` has another vocabulary or contains windows of this
            result, or if there are fewer than two groups.

        See Also
        --------
        RetrievalResult.scale_temperature : The same for segments.
        """
        temperature = fit_word_figure_temperatures(self, reference, by, n_folds)
        logs = self.log_prior + (self.log_probabilities - self.log_prior) / temperature[:, None]
        logs -= np.logaddexp.reduce(logs, axis=1, keepdims=True)
        return replace(self, log_probabilities=logs, rows=self.rows.assign(temperature=temperature))
