"""Words and classes as candidates of a task."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.utils import _safe_indexing

from sk_b2s._utils._validation import validate_table
from sk_b2s.decoding._candidates import find_distinct_candidates
from sk_b2s.decoding._retrieval._result import RetrievalResult
from sk_b2s.decoding._retrieval._retrieve_words import retrieve_words
from sk_b2s.evaluation._classification._classifiers import (
    classify_with_timing_classifier,
    make_template_classifier,
)
from sk_b2s.evaluation._classification._label_segments import label_segments
from sk_b2s.evaluation._classification._scores import compute_class_scores
from sk_b2s.evaluation._controls._timing import K_WORDS, has_timing_of_rows, separate_timing_ties
from sk_b2s.evaluation._tasks._judgment import Judgment
from sk_b2s.metrics._ranks_and_top_k import balanced_top_k, mark_top_k_hits, ranks
from sk_b2s.metrics._vocabulary import make_vocabulary, make_vocabulary_words
from sk_b2s.metrics._word_scores import compute_word_score_log_probabilities
from sk_b2s.metrics._word_timing import timing_probabilities, timing_scores


class JudgedSpeechRows(NamedTuple):
    """Fitted estimator with the test rows of a fold.

    Rows that are scored by their times alone have None in its place.
    """

    estimator: Any
    X: Any
    y: Any

    @classmethod
    def of_timing(cls, X, y):
        """Return the rows of the control "timing_only"."""
        return cls(None, X, y)


def judge_words(result, fold, n_words=50, k=10):
    """Judge whether each word is among the ``k`` best of a vocabulary.

    The score of a word is the mean probability of its test segments, so that
    frequent words are not preferred.

    Parameters
    ----------
    result : RetrievalResult
        Candidates have the column ``word``.
    fold : ControlFold
    n_words : int, default=50
        Number of most frequent words of the training rows. Words without a
        test segment are left out.
    k : int, default=10
        Number of guesses.

    Returns
    -------
    judgment : Judgment
        Of the windows of these words.
    """
    words = result.to_words(make_vocabulary(_list_training_words(fold), n_words))
    codes = words.vocabulary.encode(result.candidates["word"])
    scores = words.log_probabilities - words.log_prior
    timed = _score_word_timing_of_judge(words, result.rows, codes[result.target], fold)
    return judge_types(scores, codes, result.target, result.rows, k, timed=timed)


def judge_word_types(result, fold, n_words=50, k=10):
    """Judge words by templates of training segments.

    Parameters
    ----------
    result : JudgedSpeechRows or RetrievalResult
        Without an estimator, the same words are predicted from the times of
        windows. Segments of other controls are scored as by
        :func:`judge_words`.
    fold : ControlFold
    n_words, k : int, default=50, 10
        As in :func:`judge_words`.

    Returns
    -------
    judgment : Judgment
    """
    if isinstance(result, RetrievalResult):
        return judge_words(result, fold, n_words, k)
    vocabulary = make_vocabulary(_list_training_words(fold), n_words)
    found = find_distinct_candidates(result.y)
    if result.estimator is None:
        return _judge_timing_of_words(result, fold, found, vocabulary, k)
    X, y, train, test = fold.used
    X, y = _safe_indexing(X, train), _safe_indexing(y, train)
    words = retrieve_words(result.estimator, result.X, result.y, X, y, vocabulary)
    codes = words.vocabulary.encode(validate_table(result.y)["word"].iloc[found.first])
    rows = fold.rows.iloc[test]
    timed = _score_word_timing_of_judge(words, rows, codes[found.target], fold)
    return judge_types(words.log_probabilities, codes, found.target, rows, k, timed=timed)


def _judge_timing_of_words(result, fold, found, vocabulary, k):
    """Judge words that are predicted from the times of windows alone."""
    codes = vocabulary.encode(validate_table(result.y)["word"].iloc[found.first])
    rows, train = fold.rows.iloc[fold.test].reset_index(drop=True), fold.rows.iloc[fold.train]
    presented = np.array([*vocabulary, None], dtype=object)[codes[found.target]]
    train = train.assign(word=make_vocabulary_words(_list_training_words(fold)["word"]))
    scores = np.log(timing_probabilities(rows, presented, list(vocabulary), train, features="all"))
    return judge_types(separate_timing_ties(scores, fold.seed), codes, found.target, rows, k)


def _score_word_timing_of_judge(words, rows, codes, fold):
    """Return the hits of timing alone among ten words, None if unknown."""
    if words.n_words <= K_WORDS or not has_timing_of_rows(rows):
        return None
    presented = np.array([*words.vocabulary, None], dtype=object)[codes]
    train = None
    if fold.has_own_stimuli and "word" in fold.rows:
        train = fold.rows.iloc[fold.train]
        train = train.assign(word=make_vocabulary_words(train["word"]))
    hits = timing_scores(
        rows.reset_index(drop=True), presented, list(words.vocabulary), K_WORDS, train, features="all"
    )
    return hits.to_numpy()


def _list_training_words(fold):
    """Return the table of training segments with their words."""
    table = validate_table(fold.y)
    if table is None or "word" not in table:
        raise ValueError("Tasks of words require the column 'word' in y. Use make_segments(anchor='word').")
    return table.iloc[fold.train]


def judge_speech(result, fold):
    """Judge whether speech and silence at the center are distinguished."""
    return _judge_classes(result, fold, "speech")


def judge_phonemes(result, fold, n_windows=10):
    """Judge phonemes with at least ``n_windows`` windows of each subject."""
    return _judge_classes(result, fold, "phoneme", n_windows)


def _judge_classes(result, fold, kind, n_windows=1):
    """Classify test windows by templates of the training rows."""
    is_retrieved = isinstance(result, RetrievalResult)
    is_timing = not is_retrieved and result.estimator is None
    is_fitted = not (is_retrieved or is_timing)
    X, y, train, test = fold.used if is_fitted else (fold.X, fold.y, fold.train, fold.test)
    table = validate_table(y)
    if is_retrieved:
        segments, target, rows = result.candidates, result.target, result.rows
    else:
        found = find_distinct_candidates(result.y)
        segments, target = validate_table(result.y).iloc[found.first], found.target
        rows = fold.rows.iloc[test]
    at = None if kind == "phoneme" else float(segments["duration"].iloc[0]) / 2
    trained, own = (
        label_segments(part.reset_index(drop=True), kind=kind, at=at).to_numpy(object)
        for part in (table.iloc[train], segments)
    )
    codes, classes = _encode_classes(own, target, rows["subject"].to_numpy(), set(trained), n_windows)
    if is_retrieved:
        scores = compute_word_score_log_probabilities(result.scores, codes, len(classes))
        scores = scores - np.log(np.bincount(codes[codes >= 0], minlength=len(classes)))
    elif is_timing:
        labels = np.empty(len(fold.rows), object)
        labels[train], labels[test] = trained, own[target]
        known = train[np.isin(trained.astype(str), classes)]
        scores, _ = classify_with_timing_classifier(fold.rows, labels.astype(str), known, test)
        scores = separate_timing_ties(scores, fold.seed)
    else:
        make, fit = make_template_classifier(result.estimator, X, y)
        kept = np.isin(trained.astype(str), classes)
        classifier = fit(train[kept], trained[kept].astype(str))
        scores = classifier.decision_function(make(np.arange(len(target)), result.X))
    return judge_types(scores, codes, target, rows, k=1, has_f1=True)


def _encode_classes(own, target, subject, trained, n_windows):
    """Return the class of each segment, -1 for others, and the classes."""
    counts = pd.crosstab(subject, own[target]).min()
    classes = [name for name in counts.index if name in trained and counts[name] >= n_windows]
    if len(classes) < 2:
        raise ValueError(
            f"The test set has {len(classes)} classes with {n_windows} or more windows of each subject and a training "
            f"window, and 2 are required. Use fewer folds, more data, or another value of the option 'n_windows'."
        )
    return pd.Index(classes).get_indexer(own), classes


def judge_types(scores, codes, target, rows, k=1, has_f1=False, timed=None):
    """Judge scores of types, words or classes, each with equal weight.

    Parameters
    ----------
    scores : ndarray of shape (n_windows, n_types)
    codes : ndarray of int of shape (n_segments,)
        Type of each distinct segment, -1 for others, which are left out.
    target : ndarray of int of shape (n_windows,)
        Segment of each window.
    rows : DataFrame of shape (n_windows, ...)
    k : int, default=1
        Number of guesses.
    has_f1 : bool, default=False
        Whether the F1 score is computed as well.
    timed : None or ndarray of shape (n_windows,), default=None
        Hits of timing alone among ten types.

    Returns
    -------
    judgment : Judgment
    """
    n_types, own = scores.shape[1], np.flatnonzero(codes[target] >= 0)
    if n_types <= k:
        raise ValueError(
            f"The test set has {n_types} words of the vocabulary, so top-{k} accuracy is always 1. Use fewer folds, more "
            f"words, or a smaller option 'k'."
        )
    scores, target, rows = scores[own], target[own], rows.iloc[own].reset_index(drop=True)
    known = np.flatnonzero(codes >= 0)
    place = np.full(len(codes), -1)
    place[known] = np.arange(len(known))
    found, types, best = ranks(scores, codes[target]), codes[target], scores.argmax(1)

    def extra(windows):
        out = {
            f"top_{n}": float(balanced_top_k(found[windows], types[windows], n, n_types))
            for n in (1, 5, 10)
            if n < n_types
        }
        if timed is not None:
            hits = pd.Series(timed[own[windows]])
            out["word_top_10_timing"] = float(hits.groupby(types[windows]).mean().mean())
            out["word_timing_chance"] = K_WORDS / n_types
        if has_f1:
            out["f1_macro"] = compute_class_scores(types[windows], best[windows], n_types)["f1_macro"]
        return out

    return Judgment(
        worth=mark_top_k_hits(scores, k)[:, codes[known]].astype(np.float32), target=place[target], rows=rows,
        n_candidates=n_types, chance=k / n_types, k=k, types=codes[known], extra=extra,
    )  # fmt: skip
