"""Scores of the words of retrieval results."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s._utils._text import make_plain_text
from sk_b2s.decoding._retrieval._checks import check_columns
from sk_b2s.metrics._word_timing import timing_scores
from sk_b2s.metrics._words import word_scores


class WordScoresMixin:
    """Word scores of retrieval results."""

    def score_words(self, k=None, timing=True, train=None):
        """Score words by the summed probabilities of their segments.

        Parameters
        ----------
        k : int, default=None
            Number of words that count as a hit. If None, use the ``k`` of the
            decoder.
        timing : bool, default=True
            If True, compute the row "timing alone".
        train : DataFrame, default=None
            Training rows with the columns ``subject``, ``recording``,
            ``onset`` and ``word``, for example ``X.join(y["word"])``, to fit
            the classifier of timing. If None, each fifth of the windows is
            predicted from the other four fifths.

        Returns
        -------
        scores : DataFrame of shape (3, 8)
            Row "balanced" is the main result: the mean over distinct words of
            the mean over their windows. Row "plain" is the mean over windows.
            Row "timing alone" is the balanced score of a classifier without
            EEG/MEG (see Notes). ``top_k`` and ``chance`` are means over
            subjects, ``sem`` is the standard error of ``top_k``. ``guess`` is
            k / n_words. Words are compared in lower case without punctuation.
            ``n_words`` is their number among the candidates. ``n_wordless``
            windows without a word at their anchor, of
            ``n_windows + n_wordless``, are left out.

        Raises
        ------
        ValueError
            If there are at most ``k`` words, or no column ``word``.

        Notes
        -----
        ``chance`` is the expected score if all segments have the same
        probability. Words are then ranked by their number of candidates, with
        ties broken at random. In row "plain" it is far above ``guess`` for
        natural speech. Probabilities that are noisy but not flat score below
        it, since they reflect word frequency less. In row "balanced" it equals
        ``guess`` if each subject was presented all words. In ``top_k`` itself,
        ties count as errors.

        The classifier of row "timing alone" receives the intervals to the two
        preceding and the two following window onsets and the number of words
        since a silence. Its ``chance`` is ``guess``, the score for words at
        equal intervals. A decoder that scores no higher may have decoded only
        rhythm. ``top_k`` is NaN if ``onset`` is unknown.
        """
        k = self._k(k)
        check_columns(["word"], self.candidates, "score_words() sums over the segments of each word")
        words = [make_plain_text([word]) or None for word in self.candidates["word"]]
        table = word_scores(self.scores, words, self.target, self.rows["subject"], k)
        return self._with_timing(table, words, k, train) if timing else table

    def _with_timing(self, table, words, k, train):
        """Add the row "timing alone" to a table of words."""
        of_subjects = pd.Series(dtype=float)
        if {"subject", "recording", "onset"} <= set(self.rows):
            targets = np.asarray(words, dtype=object)[self.target]
            if train is not None:
                check_columns(
                    ["subject", "recording", "onset", "word"], train, "The timing is fitted on train"
                )
                train = train.assign(word=[make_plain_text([word]) or None for word in train["word"]])
            rows = self.rows.reset_index(drop=True)
            hits = timing_scores(rows, targets, sorted({word for word in words if word}), k, train)
            groups = [rows["subject"], pd.Series(targets, dtype=object)]
            of_subjects = hits.groupby(groups).mean().groupby(level=0).mean()  # without wordless windows
        row = table.loc["balanced"].to_dict() | {
            "top_k": of_subjects.mean(), "sem": of_subjects.sem(), "chance": table.loc["balanced", "guess"],
        }  # fmt: skip
        return pd.concat([table, pd.DataFrame(row, index=["timing alone"])]).astype(table.dtypes)
