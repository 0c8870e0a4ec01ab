"""Word decoding from the timing of words alone, without EEG/MEG."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import betabinom
from scipy.stats import f as f_distribution

SHORTEST, LONGEST = 0.03, 3.0  # s; intervals between onsets beyond these say no more
N_SPLITS = 5  # stretches of sound that are predicted from the others
LEVEL = 0.01  # of an F test; features in which words do not differ are left out
RUN = 10  # words since a pause, beyond which they are not counted
FLAT = 1e-9  # differences that are but rounding


def timing_scores(rows, words, vocabulary, k, train=None):
    """Score a classifier of words that sees nothing but when windows began, each word counting once.

    Of each window it takes the intervals to the two onsets before and the two after it, and how many windows followed
    each other without a longer pause. Each word is a normal distribution of those in which words differ, of one
    variance, and all words are equally probable beforehand. Words that are in no training row are at chance, and ties
    count as a guess does.

    Parameters
    ----------
    rows : DataFrame of shape (n_windows, ...)
        ``subject, recording, onset``; and ``sound, sound_onset`` where known, by which stretches are divided.
    words : array-like of shape (n_windows,)
        Word at the anchor of each window, None for none.
    vocabulary : sequence of str
        All words there are to choose from.
    k : int
        Number of guesses.
    train : DataFrame, default=None
        Training rows with ``word`` beside the columns of ``rows``. None predicts each of five stretches of ``rows``
        from the other four.

    Returns
    -------
    hits : Series of shape (n_windows,)
        Probability that the word is among the ``k`` best of the vocabulary, NaN of windows without a word.
        Chance is k / n_words.
    """
    vocabulary = pd.Index(vocabulary, dtype=object)
    code = vocabulary.get_indexer(np.asarray(words, dtype=object))
    timing, n_words = _timing(rows), len(vocabulary)
    if train is not None:
        known = vocabulary.get_indexer(np.asarray(train["word"], dtype=object))
        hits = _hits(_timing(train), known, timing, code, n_words, k)
    else:
        hits, stretch = np.full(len(code), np.nan), _stretches(rows)
        often = _in_several(
            code, stretch, n_words
        )  # others would only be in training where they are not tested
        for one in range(N_SPLITS):
            test = stretch == one
            first = (
                ~test & often & ~rows.assign(stretch=stretch, code=code).duplicated(_same(rows)).to_numpy()
            )
            hits[test] = _hits(timing[first], code[first], timing[test], code[test], n_words, k)
    return pd.Series(np.where(code >= 0, hits, np.nan), index=rows.index)


def _same(rows):
    """Columns that are equal where the same word of the same sound was heard again."""
    heard = ["sound", "sound_onset"]
    return [*(heard if set(heard) <= set(rows) else ["recording", "onset"]), "stretch", "code"]


def _timing(rows):
    """Intervals around each window: (n_windows, 5) array of log seconds and log counts."""
    table = rows[["subject", "recording", "onset"]].reset_index(drop=True)
    table = table.sort_values(["subject", "recording", "onset"], kind="stable")
    group = table.groupby(["subject", "recording"], sort=False, dropna=False)["onset"]
    gaps = pd.DataFrame({n: group.diff(n).abs() for n in (1, 2, -1, -2)})
    gaps[2], gaps[-2] = gaps[2] - gaps[1], gaps[-2] - gaps[-1]
    pause = (gaps[1].isna() | (gaps[1] > 3 * gaps[1].median())).cumsum()
    gaps["run"] = pause.groupby(pause).cumcount().clip(upper=RUN - 1) + 1.0
    gaps[[1, 2, -1, -2]] = gaps[[1, 2, -1, -2]].fillna(LONGEST).clip(SHORTEST, LONGEST).round(6)
    return np.log(gaps.sort_index().to_numpy(float))


def _in_several(code, stretch, n_words):
    """Whether the word of each window is in more than one stretch."""
    there = np.zeros((n_words, N_SPLITS), bool)
    there[code[code >= 0], stretch[code >= 0]] = True
    return (there.sum(1) > 1)[code] & (code >= 0)


def _stretches(rows):
    """Divide windows into N_SPLITS parts of neighboring sound, the same for all who heard it."""
    if {"sound", "sound_onset"} <= set(rows):
        place = [pd.factorize(rows["sound"].map(str))[0], rows["sound_onset"].to_numpy(float)]
    else:
        place = [pd.factorize(rows["recording"])[0], rows["onset"].to_numpy(float)]
    distinct, of = np.unique(np.column_stack(place), axis=0, return_inverse=True)
    return np.ravel(of) * N_SPLITS // max(1, len(distinct))


def _variances(values, of_word, count):
    """Variance of each feature within words and between them, and p of an F test that words do not differ."""
    n, n_words = count.sum(), len(count)
    free = np.array([n_words - 1, max(1, n - n_words)])
    explained = (count[:, None] * of_word**2).sum(0)
    within = np.maximum((values**2).sum(0) - explained, FLAT) / free[1]
    size = (n - (count**2).sum() / n) / free[0]
    between = np.maximum(explained / free[0] - within, 0) / size
    return within, between, f_distribution.sf(explained / free[0] / within, *free)


def _hits(train, known, test, code, n_words, k):
    """Probability of each test word to be among the k best, given timing and words of training."""
    train, known = train[known >= 0], known[known >= 0]
    chance = min(1.0, k / n_words)
    count = np.bincount(known, minlength=n_words).astype(float)
    seen = np.flatnonzero(count)
    if len(seen) < 2:
        return np.full(len(test), chance)
    center = train.mean(0)
    train, test = train - center, test - center
    total = np.zeros((n_words, train.shape[1]))
    np.add.at(total, known, train)
    within, between, p = _variances(train, total[seen] / count[seen, None], count[seen])
    told = p < LEVEL
    if not told.any():
        return np.full(len(test), chance)
    prior = within[told] / between[told]  # words that the mean of all words counts for in the mean of each
    mean = total[seen][:, told] / (count[seen, None] + prior) / np.sqrt(within[told])
    test = test[:, told] / np.sqrt(within[told])
    place = np.full(n_words, -1)
    place[seen] = np.arange(len(seen))
    hits = np.full(len(test), chance)
    for row in np.flatnonzero(place[code] >= 0):
        score = -((test[row] - mean) ** 2).sum(1)
        own = score[place[code[row]]]
        above = int(np.sum(score > own + FLAT))
        ties = int(np.sum(abs(score - own) <= FLAT))
        at = above + np.arange(ties)  # any of these ranks, as a guess breaks ties
        hits[row] = betabinom.cdf(k - 1 - at, n_words - len(seen), at + 1, len(seen) - at).mean()
    return hits
