"""Timing as a control: timing alone, and candidates of like timing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from sklearn.utils import _safe_indexing, check_random_state

from sk_b2s._utils._validation import get_validated_recordings
from sk_b2s.decoding._candidates import find_distinct_candidates
from sk_b2s.decoding._retrieval._result import RetrievalResult
from sk_b2s.events._audio._track_files import read_track_samples
from sk_b2s.events._stimuli import NOT_FILES, digest_stimuli, get_stimulus_state
from sk_b2s.metrics._matched import (
    MIN_STRATUM,
    compute_matched_overlap_factor,
    find_matched_strata,
    select_matched_strata,
)
from sk_b2s.metrics._ranks_and_top_k import mark_top_k_hits
from sk_b2s.metrics._vocabulary import make_vocabulary_words
from sk_b2s.metrics._word_timing import LONGEST, timing_probabilities, timing_scores

K_WORDS = 10  # guesses of the word scores in score tables
SAME_DURATION = 0.02  # s, standard deviation of the error of a duration that is read from a window
RARE = 1e-12  # smallest probability of a word
MIN_SHARE = 0.1  # of windows with a usable stratum; fewer are not representative
TIMES = ("subject", "recording", "onset", "duration")


def has_timing_of_rows(rows):
    """Return whether windows are at words or sentences of known times.

    True if a window has a word, or if windows differ in duration.
    """
    if not set(TIMES) <= set(rows):
        return False
    return bool("word" in rows and rows["word"].notna().any()) or has_timing_of_durations(rows)


def has_timing_of_durations(rows):
    """Return whether windows differ in duration."""
    return bool(np.ptp(rows["duration"].to_numpy(float)) > 1e-6)


def has_timing_of_overlap(rows):
    """Return whether most windows overlap the next one of their recording."""
    table = rows[["onset", "duration"]].assign(recording=get_validated_recordings(rows))
    step = table.sort_values("onset").groupby("recording", sort=False)["onset"].diff()
    return bool((step.dropna() < table["duration"].median()).mean() > 0.5)


def is_timing_above_chance(result):
    """Return whether top-k accuracy is two standard errors above chance."""
    error = np.sqrt(result.chance * (1 - result.chance) / len(result.target))
    return result.n_candidates > result.k and result.top_k() > result.chance + 2 * error


def add_timing_loudness(rows):
    """Add the column ``loudness`` (dB), the level of the word of each window.

    Without ``word_onset`` and ``word_duration`` it is the level of the window.
    NaN without audio files.
    """
    if "loudness" in rows or not {"sound", "sound_onset"} <= set(rows):
        return rows
    of_word = {"word_onset", "word_duration"} <= set(rows)
    columns = ["word_onset", "word_duration"] if of_word else ["sound_onset", "duration"]
    times = rows[columns].to_numpy(float)
    level = np.full(len(rows), np.nan)
    is_file = [not (isinstance(sound, NOT_FILES) or pd.isna(sound)) for sound in rows["sound"]]
    files = np.flatnonzero(is_file)
    try:
        digest = digest_stimuli(rows["sound"].iloc[files])
        for mine in pd.Series(files).groupby(np.asarray(digest)):
            sound = rows["sound"].iloc[mine[1].iloc[0]]
            level[mine[1]] = _measure_audio_levels(sound, times[mine[1]])
    except (OSError, ValueError, TypeError):  # names instead of audio files
        return rows.assign(loudness=np.nan)
    return rows.assign(loudness=level)


def _measure_audio_levels(sound, times):
    """Return the level (dB) of stretches (onset, duration) of a sound."""
    samples, rate = read_track_samples(sound, get_stimulus_state(sound))
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(float) ** 2)])
    first, last = (
        np.clip(np.nan_to_num(edge * rate).round().astype(int), 0, len(samples))
        for edge in (times[:, 0], times.sum(1))
    )
    power = (energy[last] - energy[first]) / np.maximum(last - first, 1)
    return np.where(
        np.isfinite(times).all(1) & (last > first), 10 * np.log10(np.maximum(power, 1e-12)), np.nan
    )


# --- timing alone ------------------------------------------------------------------------------------


def rank_by_timing(test, target, candidates, train=None, random_state=0):
    """Compute similarities of windows and candidates from their times alone.

    A naive Bayes classifier of intervals, durations and positions is fitted on
    the training rows. The similarity to a candidate is the log probability of
    its word, plus those of its next words in the windows that follow within
    the duration of a window. If windows differ in duration, the squared
    difference in duration is subtracted. Equal similarities are separated at
    random.

    Parameters
    ----------
    test : DataFrame of shape (n_windows, ...)
        ``subject, recording, onset, duration`` and other times if known.
    target : ndarray of int of shape (n_windows,)
        Candidate of each window, only used to find the durations of
        candidates, and their words without ``train``.
    candidates : DataFrame of shape (n_candidates, ...)
        ``word`` if known.
    train : DataFrame, default=None
        Training rows. If None, each fifth of ``test`` is predicted from the
        other four fifths.
    random_state : None, int or RandomState, default=0

    Returns
    -------
    scores : ndarray of shape (n_windows, n_candidates)
    """
    scores = separate_timing_ties(np.zeros((len(test), len(candidates))), random_state)
    if "word" in candidates:
        words = make_vocabulary_words(candidates["word"])
        vocabulary = sorted({word for word in words if word})
        if train is not None:
            train = train.assign(word=make_vocabulary_words(train["word"]))
        if len(vocabulary) > 1:
            found = timing_probabilities(test, words[target], vocabulary, train, features="all")
            found = np.column_stack([np.log(np.maximum(found * len(vocabulary), RARE)), np.zeros(len(test))])
            of_words = found[:, pd.Index(vocabulary).get_indexer(words)]  # the last column without a word
            scores += _sum_over_timing_window(of_words, test, target)
    if has_timing_of_durations(test):
        own = test["duration"].to_numpy(float)
        first = np.full(len(candidates), np.nan)
        first[target[::-1]] = own[::-1]
        scores -= np.nan_to_num((own[:, None] - first) / SAME_DURATION, nan=1e3) ** 2 / 2
    return scores


def separate_timing_ties(scores, random_state):
    """Separate equal scores at random, since ties count as misses."""
    return scores + 1e-7 * check_random_state(random_state).random_sample(scores.shape)


def _sum_over_timing_window(scores, rows, target):
    """Add the scores of the next windows and candidates within a window."""
    order = np.lexsort([rows["onset"], get_validated_recordings(rows).astype(str)])
    recording = get_validated_recordings(rows)[order]
    after = np.full(len(rows), -1)
    after[order[:-1]] = np.where(recording[1:] == recording[:-1], order[1:], -1)
    candidate_after, first = np.full(scores.shape[1], -1), np.unique(target, return_index=True)[1]
    known = first[after[first] >= 0]
    candidate_after[target[known]] = target[after[known]]
    total, row, column = scores.copy(), np.arange(len(rows)), np.arange(scores.shape[1])
    onset = rows["onset"].to_numpy(float)
    stop = onset + rows["duration"].to_numpy(float)
    while True:
        row, column = np.where(row >= 0, after[row], -1), np.where(column >= 0, candidate_after[column], -1)
        row[(row >= 0) & (onset[row] >= stop)] = -1
        here, there = np.flatnonzero(row >= 0), np.flatnonzero(column >= 0)
        if not (len(here) and len(there)):
            return total
        total[np.ix_(here, there)] += scores[np.ix_(row[here], column[there])]


def rank_fold_by_timing(task):
    """Compute similarities of the test rows of a fold from timing alone."""
    test, train = task.rows.iloc[task.test].reset_index(drop=True), task.rows.iloc[task.train]
    found = find_distinct_candidates(_safe_indexing(task.y, task.test))
    candidates = test.iloc[found.first].reset_index(drop=True)
    return rank_by_timing(test, found.target, candidates, train, task.seed)


def add_timing_control_columns(result, train=None):
    """Add what timing alone explains to a retrieval result.

    Parameters
    ----------
    result : RetrievalResult
    train : DataFrame, default=None
        Training rows with ``word`` and times. If None, the words of each fifth
        of the windows are predicted from the other four fifths.

    Returns
    -------
    result : RetrievalResult
        ``rows`` have ``timing_top_10``, the probability that timing alone
        ranks the word among ten, and ``candidates`` have ``stratum``. Without
        times or words the result is unchanged.
    """
    rows = result.rows.reset_index(drop=True)
    is_shared = type(result) is RetrievalResult  # all windows have the same candidates
    if "timing_top_10" in rows or not (is_shared and has_timing_of_rows(rows)):
        return result
    if "word" in result.candidates:
        words = make_vocabulary_words(result.candidates["word"])
        vocabulary = sorted({word for word in words if word})
        if len(vocabulary) > K_WORDS:
            if train is not None:
                train = train.assign(word=make_vocabulary_words(train["word"]))
            hits = timing_scores(rows, words[result.target], vocabulary, K_WORDS, train, features="all")
            rows = rows.assign(timing_top_10=hits.to_numpy(), timing_chance=K_WORDS / len(vocabulary))
    strata = find_matched_strata(describe_timing_of_rows(rows, result.target, result.n_candidates))
    return replace(result, rows=rows, candidates=result.candidates.assign(stratum=strata))


# --- candidates of like timing -----------------------------------------------------------------------


def describe_timing_of_rows(rows, target, n_candidates):
    """Return duration, interval to the next onset, and level of candidates.

    The values are those of the first window of each candidate. A column is
    left out if it is unknown, or if no window differs from another.
    """
    table = rows[["onset"]].reset_index(drop=True).assign(recording=get_validated_recordings(rows))
    group = table.sort_values("onset", kind="stable").groupby("recording", sort=False)["onset"]
    interval = (-group.diff(-1)).fillna(LONGEST).clip(upper=LONGEST).sort_index()
    timing = pd.DataFrame({"interval": interval.to_numpy()})
    if "word_duration" in rows:
        timing["duration"] = rows["word_duration"].to_numpy(float)
    elif has_timing_of_durations(rows):
        timing["duration"] = rows["duration"].to_numpy(float)
    if "loudness" in rows:
        timing["level"] = rows["loudness"].to_numpy(float)
    found, first = np.unique(target, return_index=True)
    return timing.iloc[first].set_axis(found).reindex(range(n_candidates))


def score_timing_strata(result, n_shifts, random):
    """Score the windows of each recording within strata of like timing.

    The number of guesses in a stratum is such that its chance level is close
    to that among all candidates, and at least one. The null permutes targets
    among the windows of a recording in a stratum, and is widened because
    windows overlap.

    Parameters
    ----------
    result : RetrievalResult
        With ``stratum`` in ``candidates``.
    n_shifts : int
        Number of permutations.
    random : RandomState

    Returns
    -------
    records : list of dict
        As those of :func:`~sk_b2s.evaluation._controls._run.\
run_control_outcome`, empty if fewer than a tenth of the windows have a
        stratum of six candidates.
    """
    if "stratum" not in result.candidates:
        return []
    strata, target = result.candidates["stratum"].to_numpy(), np.asarray(result.target)
    usable = select_matched_strata(strata, target)
    if usable.mean() < MIN_SHARE:
        return []
    n, subject = len(target), result.rows["subject"].to_numpy()
    recording, records = get_validated_recordings(result.rows), []
    found = pd.DataFrame(np.zeros((n, 5)), columns=["top_1", "top_k", "chance", "relative", "size"])
    null = np.zeros((n_shifts, n), bool)
    groups = pd.Series(np.arange(n))[usable].groupby([recording[usable], strata[target[usable]]], sort=False)
    for (_, stratum), rows in groups:
        rows, columns = rows.to_numpy(), np.flatnonzero(strata == stratum)
        scores, row, place = (
            result.scores[np.ix_(rows, columns)],
            np.arange(len(rows)),
            np.searchsorted(columns, target[rows]),
        )
        size = len(columns)
        k = min(size - 1, max(1, round(result.k * size / result.n_candidates)))
        hit = mark_top_k_hits(scores, k)
        rank = (scores >= scores[row, place][:, None]).sum(1) - 1
        found.iloc[rows] = np.column_stack([rank < 1, rank < k, np.full(len(rows), k / size), rank / (size - 1),
                                            np.full(len(rows), size)])  # fmt: skip
        drawn = random.random_sample((n_shifts, len(rows))).argsort(1)
        null[:, rows] = hit[row, place[drawn]]
    for name in pd.unique(recording[usable]):
        own = np.flatnonzero(usable & (recording == name))
        part, hits = found.iloc[own], null[:, own].sum(1).astype(float)
        times = result.rows.iloc[own]
        factor = compute_matched_overlap_factor(
            part["top_k"], recording[own], times["onset"], times["duration"]
        )
        if n_shifts:
            hits = hits.mean() + (hits - hits.mean()) * np.sqrt(factor)
        records.append({
            "subject": subject[own[0]], "recording": name, "n": len(own), "top_1": part["top_1"].sum(),
            "top_k": part["top_k"].sum(), "chance": part["chance"].sum(), "null": hits,
            "relative": part["relative"].to_numpy(), "n_candidates": part["size"].sum(),
        })  # fmt: skip
    return records


def describe_unusable_timing_strata():
    """Return why a score within strata is missing."""
    return f"fewer than {MIN_SHARE:.0%} of the windows have {MIN_STRATUM} candidates of like timing"
