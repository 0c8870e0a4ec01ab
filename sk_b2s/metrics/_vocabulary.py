"""Fixed vocabulary of the words that are decoded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from numbers import Integral

import numpy as np
import pandas as pd

from sk_b2s._utils._text import make_plain_word, shorten_list


def make_vocabulary_words(words):
    """Return words in lower case without punctuation, None if missing."""
    codes, names = pd.factorize(np.asarray(words, dtype=object))
    plain = np.array([*(make_plain_word(name) or None for name in names), None], dtype=object)
    return plain[codes]


@dataclass(frozen=True)
class WordVocabulary:
    """Fixed list of words, the classes of word decoding.

    Scores of words depend on the vocabulary, so it is fixed before any test
    row is scored. :func:`make_vocabulary` selects the most frequent words of
    training rows.

    Parameters
    ----------
    words : sequence of str
        At least two distinct words. They are stored in lower case without
        punctuation.

    Raises
    ------
    ValueError
        If there are fewer than two words, or if a word is repeated or empty.

    Examples
    --------
    >>> vocabulary = WordVocabulary(["the", "Hare", "end"])
    >>> vocabulary.words
    ('the', 'hare', 'end')
    >>> vocabulary.encode(["hare,", "tortoise", None, "the"])
    array([ 1, -1, -1,  0])
    >>> vocabulary.coverage(["hare,", "tortoise", None, "the"])
    0.6666666666666666
    """

    words: tuple

    def __post_init__(self):
        given = [self.words] if isinstance(self.words, str) else list(self.words)
        plain = make_vocabulary_words(given).tolist() if given else []
        if None in plain or len(plain) < 2 or len(set(plain)) < len(plain):
            counts = pd.Series(plain, dtype=object).value_counts(dropna=False)
            problem = (
                f"{len(plain)} words" if len(plain) < 2 else "an empty word" if None in plain
                else f"repeated words ({shorten_list(counts.index[counts > 1], 5)})"
            )  # fmt: skip
            raise ValueError(
                f"WordVocabulary requires at least two distinct words in lower case without punctuation. Got {problem}. "
                f"Use make_vocabulary(y_train, n_words) to select the most frequent words."
            )
        object.__setattr__(self, "words", tuple(plain))

    def __len__(self):
        return len(self.words)

    def __iter__(self):
        return iter(self.words)

    @cached_property
    def _index(self):
        return pd.Index(self.words, dtype=object)

    def encode(self, words):
        """Return the place of words in the vocabulary.

        Parameters
        ----------
        words : array-like of str of shape (n_words,)
            Words in any case, with or without punctuation, None if missing.

        Returns
        -------
        codes : ndarray of int of shape (n_words,)
            -1 for other and missing words.
        """
        return self._index.get_indexer(make_vocabulary_words(words))

    def coverage(self, words):
        """Compute the share of words that are in the vocabulary.

        Parameters
        ----------
        words : array-like of str of shape (n_words,)
            Presented words. Missing words do not count.

        Returns
        -------
        coverage : float
            From 0 to 1, NaN without words.
        """
        plain = make_vocabulary_words(words)
        is_word = np.array([word is not None for word in plain], bool)
        return float((self._index.get_indexer(plain)[is_word] >= 0).mean()) if is_word.any() else np.nan


def make_vocabulary(y, n_words=50):
    """Select the most frequent words of training rows.

    Select the vocabulary from training rows, and never from rows that are
    scored. Otherwise it depends on the test set.

    Parameters
    ----------
    y : DataFrame, Windows or array-like of str of shape (n_rows,)
        Training rows with the column ``word``, as returned by
        :func:`~sk_b2s.make_segments`, or words. Each distinct ``segment`` of a
        table counts once, so that counts do not depend on the number of
        subjects.
    n_words : int or None, default=50
        Number of words, None for all of them. Of equally frequent words, those
        that are first in alphabetical order are selected.

    Returns
    -------
    vocabulary : WordVocabulary
        Words by decreasing frequency.

    Raises
    ------
    ValueError
        If there are fewer than ``n_words`` distinct words.

    Examples
    --------
    >>> make_vocabulary(["the", "hare", "and", "the", "end"], n_words=3).words
    ('the', 'and', 'end')
    """
    if n_words is not None and (not isinstance(n_words, Integral) or n_words < 2):
        raise ValueError(
            f"The 'n_words' parameter must be None or an int of at least 2. Got {n_words!r} instead."
        )
    table = y if isinstance(y, pd.DataFrame) else getattr(y, "rows", None)
    if isinstance(table, pd.DataFrame):
        if "word" not in table:
            raise ValueError(
                "make_vocabulary requires the column 'word' in y. Make segments with make_segments(anchor='word')."
            )
        y = table.drop_duplicates("segment")["word"] if "segment" in table else table["word"]
    counts = pd.Series(make_vocabulary_words(y), dtype=object).value_counts()
    if n_words is not None and len(counts) < n_words:
        raise ValueError(
            f"make_vocabulary requires n_words={n_words} distinct words. y has {len(counts)}. Use a smaller n_words."
        )
    order = sorted(counts.index, key=lambda word: (-counts[word], word))
    return WordVocabulary(order[:n_words])


def check_vocabulary(vocabulary, train=None):
    """Return a WordVocabulary, of the words of ``train`` for a number."""
    if isinstance(vocabulary, WordVocabulary):
        return vocabulary
    if vocabulary is None or isinstance(vocabulary, Integral):
        if train is None:
            raise ValueError(
                f"vocabulary={vocabulary} selects the most frequent words of training rows, so it requires 'train', the "
                f"training rows with the column 'word', such as X_train.join(y_train['word']). Words must not be "
                f"selected from the rows that are scored."
            )
        return make_vocabulary(train, vocabulary)
    return WordVocabulary(vocabulary)
