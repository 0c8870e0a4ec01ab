"""Word probabilities and scores from segment probabilities."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.special import softmax
from sklearn.metrics import confusion_matrix

from sk_b2s.metrics._group_context import slice_group_context_scores
from sk_b2s.metrics._ranks_and_top_k import balanced_top_k, chance_level, ranks, top_k_accuracy

UNDERFLOW = 1e-290  # sums of exponentials below this are computed from logarithms


def word_probabilities(scores, words):
    """Compute the probability of each word, the sum over its candidates.

    Parameters
    ----------
    scores : ndarray of shape (n_windows, n_candidates)
        Logits. Probabilities of candidates are their softmax.
    words : array-like of shape (n_candidates,)
        Word of each candidate, None for candidates without a word.

    Returns
    -------
    probabilities : ndarray of shape (n_windows, n_words)
        Rows sum to one minus the probability of candidates without a word.
    vocabulary : ndarray of shape (n_words,)
        The distinct words, in order of appearance.

    Examples
    --------
    >>> words = ["the", "hare", "the", "end"]
    >>> probabilities, vocabulary = word_probabilities(np.zeros((1, 4)), words)
    >>> dict(zip(vocabulary.tolist(), probabilities[0].tolist()))
    {'the': 0.5, 'hare': 0.25, 'end': 0.25}
    """
    code, vocabulary = pd.factorize(np.asarray(words, dtype=object))
    spoken = np.flatnonzero(code >= 0)
    to_words = csr_array(
        (np.ones(len(spoken)), (code[spoken], spoken)), shape=(len(vocabulary), len(code))
    )  # (n_words, n_candidates)
    probabilities = softmax(np.asarray(scores, float), axis=1)
    return np.ascontiguousarray((to_words @ probabilities.T).T), vocabulary


def word_ranks(scores, words, target):
    """Rank the target word in the vocabulary by :func:`word_probabilities`.

    Parameters
    ----------
    scores : ndarray of shape (n_windows, n_candidates)
        Logits.
    words : array-like of shape (n_candidates,)
        Word of each candidate, None for candidates without a word.
    target : array-like of int of shape (n_windows,)
        Column of the target segment.

    Returns
    -------
    ranks : ndarray of int of shape (n_windows,)
        Number of other words at least as probable. The best rank is 0. It is
        -1 where the target segment has no word.
    n_words : int
        Size of the vocabulary.
    """
    code, vocabulary = pd.factorize(np.asarray(words, dtype=object))
    presented = code[np.asarray(target)]
    found = np.full(len(presented), -1)
    for piece in slice_group_context_scores(scores):
        rows = np.arange(len(scores))[piece][presented[piece] >= 0]
        if len(rows):
            found[rows] = ranks(word_probabilities(scores[rows], words)[0], presented[rows])
    return found, len(vocabulary)


def compute_flat_word_hits(words, k):
    r"""Compute how often each word is among the k best at equal probabilities.

    All segments are equally probable, and ties are broken at random. The
    probability of a word is proportional to its number of candidates. If ``a``
    words have more candidates and ``t`` words, this one included, have as
    many, it is found with probability clip((k - a) / t, 0, 1).

    Parameters
    ----------
    words : array-like of shape (n_candidates,)
        Word of each candidate, None for candidates without a word.
    k : int
        Number of guesses.

    Returns
    -------
    hits : Series of shape (n_words,)
        Indexed by word. They sum to k if there are at least k words.

    Examples
    --------
    >>> compute_flat_word_hits(["the", "hare", "the", "end"], k=2).to_dict()
    {'the': 1.0, 'hare': 0.5, 'end': 0.5}
    """
    count = pd.Series(words, dtype=object).value_counts()
    return pd.Series(compute_flat_word_hits_of_counts(count.to_numpy(), k), index=count.index)


def compute_flat_word_hits_of_counts(counts, k):
    """Compute the hits of :func:`compute_flat_word_hits` from counts."""
    count = pd.Series(counts)
    above = count.rank(method="min", ascending=False) - 1
    return ((k - above) / count.groupby(count).transform("size")).clip(0, 1).to_numpy()


def compute_word_score_log_probabilities(scores, codes, n_words):
    """Compute log-probabilities of words, the sums over their candidates.

    ``codes`` is the word of each candidate, -1 for other words. Each word has
    a candidate. Returns an array of shape (n_windows, n_words).
    """
    columns = np.flatnonzero(np.asarray(codes) >= 0)
    columns = columns[np.argsort(np.asarray(codes)[columns], kind="stable")]
    first = np.searchsorted(np.asarray(codes)[columns], np.arange(n_words))
    out = np.empty((len(scores), n_words))
    for piece in slice_group_context_scores(scores):
        part = np.asarray(scores[piece], float)
        part = part - part.max(1, keepdims=True)
        exp = np.exp(part)
        sums = np.add.reduceat(exp[:, columns], first, axis=1)
        low = np.flatnonzero((sums < UNDERFLOW).any(1))
        out[piece] = np.log(np.maximum(sums, UNDERFLOW))
        out[piece][low] = np.logaddexp.reduceat(part[low][:, columns], first, axis=1)
        out[piece] -= np.log(exp.sum(1, keepdims=True))
    return out


def word_scores(scores, words, target, subject, k):
    """Compute top-k accuracy over the vocabulary, with its chance level.

    It is averaged over words and over windows.

    Parameters
    ----------
    scores : ndarray of shape (n_windows, n_candidates)
        Logits.
    words : array-like of shape (n_candidates,)
        Word of each candidate, None for candidates without a word.
    target : array-like of int of shape (n_windows,)
        Column of the target segment.
    subject : array-like of shape (n_windows,)
        Subject of each window.
    k : int
        Number of guesses.

    Returns
    -------
    table : DataFrame of shape (2, 8)
        Rows "balanced" and "plain", see
        :meth:`~sk_b2s.RetrievalResult.score_words`.

    Raises
    ------
    ValueError
        If no target segment has a word, if there are not more words than
        ``k``, or if a score is NaN.
    """
    words, target = np.asarray(words, dtype=object), np.asarray(target)
    found, n_words = word_ranks(scores, words, target)
    table = pd.DataFrame({"subject": np.asarray(subject), "word": words[target], "rank": found})[found >= 0]
    if not len(table):
        raise ValueError("No target segment has a word at its anchor. Make segments with anchor='word'.")
    table["chance"] = table["word"].map(compute_flat_word_hits(words, k))
    of_word = table.groupby(["subject", "word"])["chance"].first()
    by_subject = table.groupby("subject")
    measures = {
        "balanced": (lambda own: balanced_top_k(own["rank"], own["word"], k, n_words), of_word),
        "plain": (lambda own: top_k_accuracy(own["rank"], k, n_words), table.set_index("subject")["chance"]),
    }
    out = {}
    for weighting, (measure, chance) in measures.items():
        of_subjects = pd.DataFrame({
            "top_k": {name: measure(own) for name, own in by_subject},
            "chance": chance.groupby("subject").mean(),
        })  # fmt: skip
        out[weighting] = {
            "top_k": of_subjects["top_k"].mean(), "sem": of_subjects["top_k"].sem(),
            "chance": of_subjects["chance"].mean(), "guess": chance_level(k, n_words), "k": k,
            "n_words": n_words, "n_windows": len(table), "n_wordless": len(found) - len(table),
        }  # fmt: skip
    return pd.DataFrame.from_dict(out, orient="index")


def word_confusion(target, decoded, n_words, normalize=None):
    """Count how often each word was decoded for each presented word.

    Parameters
    ----------
    target : array-like of int of shape (n_windows,)
        Presented words, places in the vocabulary. Windows with -1 are left
        out.
    decoded : array-like of int of shape (n_windows,)
        Decoded words.
    n_words : int
        Size of the vocabulary.
    normalize : {"true", "pred", "all"}, default=None
        As in :func:`sklearn.metrics.confusion_matrix`: "true" divides by the
        number of windows of the presented word.

    Returns
    -------
    confusion : ndarray of shape (n_words, n_words)
        Presented words in rows, decoded words in columns.

    Examples
    --------
    >>> word_confusion([0, 0, 1, -1], [0, 1, 1, 0], n_words=2)
    array([[1, 1],
           [0, 1]])
    """
    target, decoded = np.asarray(target), np.asarray(decoded)
    used = target >= 0
    if not used.any():
        return np.zeros((n_words, n_words), float if normalize else int)
    return confusion_matrix(target[used], decoded[used], labels=np.arange(n_words), normalize=normalize)
