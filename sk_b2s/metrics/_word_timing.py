"""Word decoding from the timing of words alone, without EEG/MEG."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import softmax
from scipy.stats import betabinom
from scipy.stats import f as f_distribution

from sk_b2s._utils._validation import get_validated_recordings
from sk_b2s.metrics._confidence import fit_temperature

SHORTEST, LONGEST = 0.03, 3.0  # s; intervals between onsets beyond these carry no information
N_SPLITS = 5  # cross-validation folds of neighboring stimuli
LEVEL = 0.01  # of an F test; features in which words do not differ are excluded
RUN = 10  # words since a silence; longer runs count as this
FLAT = 1e-9  # differences of this size are rounding
OUTLIERS = 0.01  # share of windows whose timing is not normally distributed
FEATURES = ("onsets", "all")
MOST_CALIBRATED = 2000  # training rows that calibrate probabilities


def timing_scores(rows, words, vocabulary, k, train=None, features="onsets"):
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
    features : {"onsets", "all"}, default="onsets"
        "onsets" uses the onsets of windows. "all" adds the duration of the
        word (column ``word_duration``, s), its position in the sentence
        (``sequence, word_index``) and the time in the recording, as far as the
        columns are known.

    Returns
    -------
    hits : Series of shape (n_windows,)
        Probability that the word is among the ``k`` best of the vocabulary,
        NaN for windows without a word. The chance level is k / n_words.
    """
    code, n_words = _encode_words(words, vocabulary), len(vocabulary)
    hits = np.full(len(code), np.nan)
    for test, timing, model in _iter_timing_models(rows, code, vocabulary, train, features):
        hits[test] = _predict_word_timing_hits(model, timing, code[test], n_words, k)
    return pd.Series(np.where(code >= 0, hits, np.nan), index=rows.index)


def timing_probabilities(rows, words, vocabulary, train=None, features="onsets"):
    """Predict the probability of words from window onsets alone.

    The classifier is that of :func:`timing_scores`. Its probabilities are
    calibrated on the training rows. Words without a training row have the
    probability 1 / n_words in all windows.

    Parameters
    ----------
    rows : DataFrame of shape (n_windows, ...)
        Has ``subject, recording, onset``, and if known ``sound,
        sound_onset``, by which folds are divided.
    words : array-like of shape (n_windows,)
        Word at the anchor of each window, None for windows without a word.
    vocabulary : sequence of str
        All words that can be predicted.
    train : DataFrame, default=None
        Training rows with ``word`` and the columns of ``rows``. If None, each
        of five folds of ``rows`` is predicted from the other four.
    features : {"onsets", "all"}, default="onsets"
        As in :func:`timing_scores`.

    Returns
    -------
    probabilities : ndarray of shape (n_windows, n_words)
        Rows sum to 1, also those of windows whose word is not in the
        vocabulary. All words are equally probable before.
    """
    code, n_words = _encode_words(words, vocabulary), len(vocabulary)
    out = np.full((len(code), n_words), 1 / n_words)
    for test, timing, model in _iter_timing_models(rows, code, vocabulary, train, features, calibrate=True):
        if model is not None:
            known = softmax(_score_word_timing(model, timing) / model.temperature, axis=1)
            known = (1 - OUTLIERS) * known + OUTLIERS / len(model.seen)
            out[np.ix_(test, model.seen)] = known * len(model.seen) / n_words
    return out


def _encode_words(words, vocabulary):
    """Return the place of each word in the vocabulary, -1 for others."""
    return pd.Index(vocabulary, dtype=object).get_indexer(np.asarray(words, dtype=object))


def _iter_timing_models(rows, code, vocabulary, train, features, calibrate=False):
    """Yield test rows, their features, and a model of other rows."""
    if features not in FEATURES:
        raise ValueError(f"features must be one of {list(FEATURES)}. Got {features!r} instead.")
    columns = set(rows) if train is None else set(rows) & set(train)
    timing, n_words = _timing_features(rows, features, columns), len(vocabulary)
    if train is not None:
        known = _encode_words(train["word"], vocabulary)
        of_train = _timing_features(train, features, columns)
        yield np.arange(len(code)), timing, _fit_word_timing(of_train, known, n_words, calibrate)
        return
    stretch = _divide_into_word_timing_folds(rows)
    often = _find_words_in_several_stretches(
        code, stretch, n_words
    )  # other words are in training only if they are not in the test
    for one in range(N_SPLITS):
        test = np.flatnonzero(stretch == one)
        repeated = (
            rows.assign(stretch=stretch, code=code).duplicated(_make_repetition_features(rows)).to_numpy()
        )
        first = (stretch != one) & often & ~repeated
        yield test, timing[test], _fit_word_timing(timing[first], code[first], n_words, calibrate)


def _make_repetition_features(rows):
    """Return columns that are equal in repetitions of the same word."""
    stimulus = ["sound", "sound_onset"]
    return [*(stimulus if set(stimulus) <= set(rows) else ["recording", "onset"]), "stretch", "code"]


def _timing_features(rows, features="onsets", columns=()):
    """Compute log intervals around windows, counts and other times.

    Array of shape (n_windows, n_features), five with "onsets".
    """
    intervals = _make_onset_features(rows)
    if features == "onsets":
        return intervals
    others = [rows["onset"].to_numpy(float)]
    if "word_duration" in columns:
        others.append(np.log(rows["word_duration"].astype(float).clip(SHORTEST, LONGEST)))
    if {"sequence", "word_index"} <= set(columns):
        index = rows["word_index"].astype(float)
        sentence = index.groupby([get_validated_recordings(rows), rows["sequence"]])
        others += [np.log1p(index.clip(lower=0)), np.log1p(sentence.transform("max") - index)]
    others = pd.DataFrame(np.column_stack(others))
    return np.column_stack([intervals, others.fillna(others.mean()).fillna(0.0)])


def _make_onset_features(rows):
    """Compute log intervals around windows and log counts: (n_windows, 5)."""
    recording, onset = pd.factorize(get_validated_recordings(rows))[0], rows["onset"].to_numpy(float)
    order = np.lexsort((onset, recording))
    recording, onset = recording[order], onset[order]
    gaps = np.full((4, len(order)), np.nan)  # to one and two before, to one and two after
    for n in (1, 2):
        is_same = (recording[n:] == recording[:-n]) & (recording[n:] >= 0)
        gaps[n - 1, n:] = gaps[n + 1, :-n] = np.where(is_same, abs(onset[n:] - onset[:-n]), np.nan)
    gaps[[1, 3]] -= gaps[[0, 2]]
    begins = np.isnan(gaps[0]) | (gaps[0] > 3 * pd.Series(gaps[0]).median())
    place = np.arange(len(order))
    run = place - np.maximum.accumulate(np.where(begins, place, 0))
    features = np.empty((len(order), 5))
    features[order, :4] = np.where(np.isnan(gaps), LONGEST, gaps).clip(SHORTEST, LONGEST).round(6).T
    features[order, 4] = run.clip(max=RUN - 1) + 1.0
    return np.log(features)


def _find_words_in_several_stretches(code, stretch, n_words):
    """Return whether the word of each window is in several folds."""
    there = np.zeros((n_words, N_SPLITS), bool)
    there[code[code >= 0], stretch[code >= 0]] = True
    return (there.sum(1) > 1)[code] & (code >= 0)


def _divide_into_word_timing_folds(rows):
    """Divide windows into folds of neighboring stimuli, equal for subjects."""
    if {"sound", "sound_onset"} <= set(rows):
        place = [pd.factorize(rows["sound"].map(str))[0], rows["sound_onset"].to_numpy(float)]
    else:
        place = [pd.factorize(rows["recording"])[0], rows["onset"].to_numpy(float)]
    distinct, of = np.unique(np.column_stack(place), axis=0, return_inverse=True)
    return np.ravel(of) * N_SPLITS // max(1, len(distinct))


def _compute_word_timing_variances(values, of_word, count):
    """Compute variances within and between words, and p of an F test."""
    n, n_words = count.sum(), len(count)
    free = np.array([n_words - 1, max(1, n - n_words)])
    explained = (count[:, None] * of_word**2).sum(0)
    within = np.maximum((values**2).sum(0) - explained, FLAT) / free[1]
    size = (n - (count**2).sum() / n) / free[0]
    between = np.maximum(explained / free[0] - within, 0) / size
    return within, between, f_distribution.sf(explained / free[0] / within, *free)


class WordTimingModel(NamedTuple):
    """Normal distributions of the timing of words, see `_fit_word_timing`."""

    seen: np.ndarray  # (n_seen,) words of the vocabulary with training rows
    differs: np.ndarray  # (n_features,) features in which words differ
    center: np.ndarray  # (n_differing,) training means
    scale: np.ndarray  # (n_differing,) standard deviations within words
    mean: np.ndarray  # (n_seen, n_differing) of words, in these units
    temperature: float  # of log-likelihoods, because features are not independent


def _fit_word_timing(train, known, n_words, calibrate=False):
    """Fit the timing of words, None if words do not differ."""
    train, known = train[known >= 0], known[known >= 0]
    count = np.bincount(known, minlength=n_words).astype(float)
    seen = np.flatnonzero(count)
    if len(seen) < 2:
        return None
    center = train.mean(0)
    train = train - center
    total = np.zeros((n_words, train.shape[1]))
    np.add.at(total, known, train)
    within, between, p = _compute_word_timing_variances(train, total[seen] / count[seen, None], count[seen])
    differs = p < LEVEL
    if not differs.any():
        return None
    prior = within[differs] / between[differs]  # number of words that the common mean counts for
    scale = np.sqrt(within[differs])
    mean = total[seen][:, differs] / (count[seen, None] + prior) / scale
    model = WordTimingModel(seen, differs, center[differs], scale, mean, 1.0)
    if not calibrate:
        return model
    place, rows = np.searchsorted(seen, known), np.arange(len(known))
    if len(rows) > MOST_CALIBRATED:
        rows = np.unique(np.linspace(0, len(rows) - 1, MOST_CALIBRATED).astype(int))
    scores = _score_word_timing(model, train[rows] + center)
    others = total[known[rows]] - train[rows]  # of the same word
    own = (train[rows][:, differs] - others[:, differs] / (count[known[rows], None] - 1 + prior)) / scale
    scores[np.arange(len(rows)), place[rows]] = -(own**2).sum(1) / 2
    return model._replace(temperature=max(1.0, fit_temperature(scores, place[rows])))


def _score_word_timing(model, timing):
    """Compute the log-likelihoods of seen words: (n_windows, n_seen)."""
    timing = (timing[:, model.differs] - model.center) / model.scale
    squares = (timing**2).sum(1)[:, None] - 2 * timing @ model.mean.T + (model.mean**2).sum(1)
    return -squares / 2


def _predict_word_timing_hits(model, timing, code, n_words, k):
    """Compute the probability of each test word to be among the k best."""
    chance = min(1.0, k / n_words)
    hits = np.full(len(code), chance)
    if model is None:
        return hits
    place = np.full(n_words, -1)
    place[model.seen] = np.arange(len(model.seen))
    rows = np.flatnonzero((code >= 0) & (place[code] >= 0))
    scores = _score_word_timing(model, timing[rows])
    n_seen = len(model.seen)
    ranks = np.arange(n_seen)
    of_rank = np.zeros(n_seen)  # probability of a hit by the rank among seen words, 0 from k on
    of_rank[:k] = betabinom.cdf(k - 1 - ranks[:k], n_words - n_seen, ranks[:k] + 1, n_seen - ranks[:k])
    own = scores[np.arange(len(rows)), place[code[rows]]][:, None]
    above = (scores > own + FLAT).sum(1)
    ties = (abs(scores - own) <= FLAT).sum(1)
    for row, first, n_tied in zip(rows, above, ties, strict=True):
        hits[row] = of_rank[first : first + n_tied].mean()  # any of these ranks, as a guess breaks ties
    return hits
