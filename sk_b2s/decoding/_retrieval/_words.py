"""Words of retrieval results."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s.decoding._retrieval._checks import check_retrieval_columns, count_windows_for_retrieval_checks
from sk_b2s.decoding._retrieval._word_result import WordResult
from sk_b2s.metrics._vocabulary import WordVocabulary, check_vocabulary, make_vocabulary_words
from sk_b2s.metrics._word_scores import compute_word_score_log_probabilities

PRIORS = ("candidates", "equal")


class WordsMixin:
    """Word scores of retrieval results."""

    def to_words(self, vocabulary=None, train=None, prior="candidates"):
        """Sum the probabilities of the segments of each word.

        Parameters
        ----------
        vocabulary : int, WordVocabulary, sequence of str or None, default=None
            Words that are decoded. An int is the number of most frequent words
            of ``train``, see :func:`sk_b2s.metrics.make_vocabulary`. None uses
            all words of the candidates.
        train : DataFrame, default=None
            Training rows with the column ``word``, and for the classifier of
            timing ``subject``, ``recording`` and ``onset``, for example
            ``X_train.join(y_train["word"])``. If None, timing is fitted on the
            other windows of this result.
        prior : {"candidates", "equal"}, default="candidates"
            "candidates" sums the probabilities of segments, so that words with
            more segments are more probable before any EEG/MEG. "equal" divides
            the sums by the numbers of segments, and scales them to a sum of 1
            over the vocabulary. This suits scores with equal weights of words.

        Returns
        -------
        words : WordResult
            All windows, including those of other words. Words of the
            vocabulary without a candidate segment cannot be retrieved. They
            are left out and named in ``missing``.

        Raises
        ------
        ValueError
            If the column ``word`` is missing, if ``prior`` is unknown, if
            ``vocabulary`` is an int without ``train``, or if ``train``
            contains windows of this result.
        """
        if prior not in PRIORS:
            raise ValueError(f"The 'prior' parameter must be one of {PRIORS}. Got {prior!r} instead.")
        check_retrieval_columns(["word"], self.candidates, "Words are scored by the sums over their segments")
        words = make_vocabulary_words(self.candidates["word"])
        if vocabulary is None:
            known = sorted({word for word in words if word})
            if len(known) < 2:
                raise ValueError(
                    f"No target segment has a word at its anchor, or all have the same. The candidates have {len(known)} "
                    f"distinct words. Make segments with anchor='word'."
                )
            vocabulary = WordVocabulary(known)
        elif (
            isinstance(vocabulary, int)
            and train is not None
            and (n_shared := count_windows_for_retrieval_checks(self.rows, train))
        ):
            raise ValueError(
                f"vocabulary={vocabulary} must be selected from training rows, but 'train' contains {n_shared} of the "
                f"{len(self.rows)} windows that are scored. Pass other rows, or a fixed WordVocabulary."
            )
        requested = check_vocabulary(vocabulary, train)
        present = np.isin(np.arange(len(requested)), requested.encode(words))
        if present.sum() < 2:
            raise ValueError(
                f"Only {present.sum()} of {len(requested)} words of the vocabulary have a candidate segment. Score more "
                f"stimuli together, or use a larger vocabulary."
            )
        vocabulary = WordVocabulary([word for word, kept in zip(requested, present, strict=True) if kept])
        codes = vocabulary.encode(words)
        words = WordResult(
            log_probabilities=compute_word_score_log_probabilities(self.scores, codes, len(vocabulary)),
            target=codes[self.target], rows=self.rows.assign(word=words[self.target]), vocabulary=vocabulary,
            counts=np.bincount(codes[codes >= 0], minlength=len(vocabulary)),
            missing=tuple(word for word, kept in zip(requested, present, strict=True) if not kept),
            train=train, k=self.k,
        )  # fmt: skip
        return words if prior == "candidates" else words.equalize()

    def score_words(
        self, k=None, timing=True, train=None, vocabulary=None, prior="candidates", by_subject=False
    ):
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
            the classifier of timing and to select the vocabulary. If None,
            each fifth of the windows is predicted from the other four fifths.
        vocabulary : int, WordVocabulary, sequence of str or None, default=None
            Words that are decoded, see :meth:`to_words`. None uses all words
            of the candidates.
        prior : {"candidates", "equal"}, default="candidates"
            "equal" divides the sum of each word by its number of segments.
            This suits the row "balanced".
        by_subject : bool, default=False
            If True, return the scores of each subject.

        Returns
        -------
        scores : DataFrame of shape (3, 11)
            Row "balanced" is the main result: the mean over distinct words of
            the mean over their windows. Row "plain" is the mean over windows.
            Row "timing alone" is the balanced score of a classifier without
            EEG/MEG (see Notes). ``top_k`` and ``chance`` are means over
            subjects, ``sem`` is the standard error of ``top_k``. ``guess`` is
            k / n_words. Words are compared in lower case without punctuation.
            ``n_words`` is the number of words of the vocabulary among the
            candidates. Of all windows, ``n_windows`` have such a word,
            ``n_outside`` have another word and ``n_wordless`` have none at
            their anchor. ``coverage`` is the share of the presented words that
            are in the vocabulary. ``candidates`` is "tokens".

        Raises
        ------
        ValueError
            If there are at most ``k`` words, or no column ``word``.

        See Also
        --------
        retrieve_words : Score word types, whose templates are made of training
            rows.
        to_words : Return the probabilities of words.

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
        return self.to_words(vocabulary, train, prior).score(k, timing, by_subject)

    def word_probabilities(self, vocabulary=None, train=None):
        """Return the probabilities of words.

        Parameters
        ----------
        vocabulary : int, WordVocabulary, sequence of str or None, default=None
            Words that are decoded, see :meth:`to_words`.
        train : DataFrame, default=None
            Training rows that select the vocabulary.

        Returns
        -------
        probabilities : DataFrame of shape (n_windows, n_words)
            One column per word. Rows sum to at most 1. Other words and
            segments without a word have the remaining probability.
        """
        words = self.to_words(vocabulary, train)
        return pd.DataFrame(words.probabilities, index=self.rows.index, columns=list(words.vocabulary))

    def word_confusion(self, vocabulary=None, train=None, source="decoder", normalize="true"):
        """Compute the confusion matrix of words.

        Parameters
        ----------
        vocabulary : int, WordVocabulary, sequence of str or None, default=None
            Words that are decoded, see :meth:`to_words`.
        train : DataFrame, default=None
            Training rows that select the vocabulary and fit the timing.
        source : {"decoder", "timing"}, default="decoder"
            "timing" decodes words from the onsets of windows alone.
        normalize : {"true", "pred", "all"} or None, default="true"
            See :meth:`WordResult.confusion`.

        Returns
        -------
        confusion : DataFrame of shape (n_words, n_words)
            Presented words in rows, decoded words in columns.
        """
        return self.to_words(vocabulary, train).confusion(source, normalize)

    def spot_keywords(
        self, words=None, recall=0.5, train=None, vocabulary=None, timing=True, by_subject=False
    ):
        """Score the detection of keywords in all windows.

        Parameters
        ----------
        words : str or sequence of str, default=None
            Keywords. If None, use all words of the vocabulary.
        recall : float, default=0.5
            Share of the windows of a keyword that are detected at the
            threshold of ``false_alarms_per_hour``.
        train : DataFrame, default=None
            Training rows that select the vocabulary and fit the timing.
        vocabulary : int, WordVocabulary, sequence of str or None, default=None
            Words that are decoded, see :meth:`to_words`.
        timing : bool, default=True
            If True, add the scores from the onsets of windows alone.
        by_subject : bool, default=False
            If True, return a row for each keyword and subject.

        Returns
        -------
        scores : DataFrame of shape (n_keywords + 1, 15)
            See :meth:`WordResult.spot_keywords`.
        """
        return self.to_words(vocabulary, train).spot_keywords(words, recall, timing, by_subject)

    def word_information(self, vocabulary=None, train=None, timing=True, by_subject=False):
        """Compute the information about words in bits per word.

        Parameters
        ----------
        vocabulary : int, WordVocabulary, sequence of str or None, default=None
            Words that are decoded, see :meth:`to_words`.
        train : DataFrame, default=None
            Training rows that select the vocabulary and fit the timing.
        timing : bool, default=True
            If True, compute the row "timing alone".
        by_subject : bool, default=False
            If True, return the rows of each subject.

        Returns
        -------
        information : DataFrame of shape (2, 16)
            See :meth:`WordResult.information`.
        """
        return self.to_words(vocabulary, train).information(timing, by_subject)
