"""Word decoding from the timing of words alone, without EEG/MEG."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import betabinom
from scipy.stats import f as f_distribution

SHORTEST, LONGEST = 0.03, 3.0  # s; intervals between onsets beyond these carry no information
N_SPLITS = 5  # cross-validation folds of neighboring stimuli
LEVEL = 0.01  # of an F test; features in which words do not differ are excluded
RUN = 10  # words since a silence; longer runs count as this
FLAT = 1e-9  # differences of this size are rounding


def timing_scores(rows, words, vocabulary, k, train=None):
    """Score a classifier that predicts words from window onsets alone.

    Features of a window are the intervals to the two onsets before and the two
    after it, and the number of windows since a longer silence. Each word has a
    normal distribution of the features in which words differ, with a common
    variance and equal prior probabilities. Words without a training row are at
    chance level, and ties count as guesses.

    Parameters
    ----------
    rows : DataFrame of shape (n_windows, ...)
        Has ``subject, recording, onset``, and if known ``sound,
        sound_onset``, by which folds are divided.
    words : array-like of shape (n_windows,)
        Word at the anchor of each window, None for windows without a word.
    vocabulary : sequence of str
        All words that can be predicted.
    k : int
        Number of guesses.
    train : DataFrame, default=None
        Training rows with ``word`` and the columns of ``rows``. If None, each
        of five folds of ``rows`` is predicted from the other four.

    Returns
    -------
    hits : Series of shape (n_windows,)
        Probability that the word is among the ``k`` best of the vocabulary,
        NaN for windows without a word. The chance level is k / n_words.
    """
    vocabulary = pd.Index(vocabulary, dtype=object)
    code = vocabulary.get_indexer(np.asarray(words, dtype=object))
    timing, n_words = _timing_features(rows), len(vocabulary)
    if train is not None:
        known = vocabulary.get_indexer(np.asarray(train["word"], dtype=object))
        hits = _predict_hits(_timing_features(train), known, timing, code, n_words, k)
    else:
        hits, stretch = np.full(len(code), np.nan), _stretches(rows)
        often = _in_several(
            code, stretch, n_words
        )  # other words are in training only if they are not in the test
        for one in range(N_SPLITS):
            test = stretch == one
            first = (
                ~test
                & often
                & ~rows.assign(stretch=stretch, code=code).duplicated(_repetition_columns(rows)).to_numpy()
            )
            hits[test] = _predict_hits(timing[first], code[first], timing[test], code[test], n_words, k)
    return pd.Series(np.where(code >= 0, hits, np.nan), index=rows.index)


def _repetition_columns(rows):
    """Return columns that are equal in repetitions of the same word."""
    stimulus = ["sound", "sound_onset"]
    return [*(stimulus if set(stimulus) <= set(rows) else ["recording", "onset"]), "stretch", "code"]


def _timing_features(rows):
    """Compute log intervals around windows and log counts: (n_windows, 5)."""
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
    """Return whether the word of each window is in several folds."""
    there = np.zeros((n_words, N_SPLITS), bool)
    there[code[code >= 0], stretch[code >= 0]] = True
    return (there.sum(1) > 1)[code] & (code >= 0)


def _stretches(rows):
    """Divide windows into folds of neighboring stimuli, equal for subjects."""
    if {"sound", "sound_onset"} <= set(rows):
        place = [pd.factorize(rows["sound"].map(str))[0], rows["sound_onset"].to_numpy(float)]
    else:
        place = [pd.factorize(rows["recording"])[0], rows["onset"].to_numpy(float)]
    distinct, of = np.unique(np.column_stack(place), axis=0, return_inverse=True)
    return np.ravel(of) * N_SPLITS // max(1, len(distinct))


def _variances(values, of_word, count):
    """Compute variances within and between words, and p of an F test."""
    n, n_words = count.sum(), len(count)
    free = np.array([n_words - 1, max(1, n - n_words)])
    explained = (count[:, None] * of_word**2).sum(0)
    within = np.maximum((values**2).sum(0) - explained, FLAT) / free[1]
    size = (n - (count**2).sum() / n) / free[0]
    between = np.maximum(explained / free[0] - within, 0) / size
    return within, between, f_distribution.sf(explained / free[0] / within, *free)


def _predict_hits(train, known, test, code, n_words, k):
    """Compute the probability of each test word to be among the k best."""
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
    differs = p < LEVEL
    if not differs.any():
        return np.full(len(test), chance)
    prior = within[differs] / between[differs]  # number of words that the common mean counts for
    mean = total[seen][:, differs] / (count[seen, None] + prior) / np.sqrt(within[differs])
    test = test[:, differs] / np.sqrt(within[differs])
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
