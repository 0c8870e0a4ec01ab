"""Null distribution of retrieval scores by circular shifts."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from sk_b2s._utils._chunks import slice_rows
from sk_b2s._utils._validation import recordings_of
from sk_b2s.metrics._ranking import check_k, check_scores


def circular_shift_null(
    scores, target, recording, onset, duration, k=10, n_shifts=1000, random_state=None, sample_weight=None, subject=None
):  # fmt: skip
    """Accuracies that would come about if the brain had nothing to do with what was heard.

    Within each recording the true labels are moved along in time, round the end, by a random number
    of windows, far enough that no window keeps sound of its own, and the accuracy is computed in the
    same similarity matrix. Unlike a binomial interval this keeps what makes neighboring windows
    succeed and fail together; with overlapping windows a binomial interval is far too narrow.

    Parameters
    ----------
    scores : array of shape (n_windows, n_candidates)
        Similarities.
    target : array-like of int of shape (n_windows,)
        Column of the segment that was heard.
    recording : array-like of shape (n_windows,)
        Recording of each window.
    onset : array-like of float of shape (n_windows,)
        When each window begins, in seconds.
    duration : float
        Length of a window in seconds.
    k : int, default=10
        The accuracy is top-k.
    n_shifts : int, default=1000
        How many times the labels are moved.
    random_state : None, int or RandomState, default=None
        Draws the shifts.
    sample_weight : array-like of float of shape (n_windows,), default=None
        Weight of each window in the accuracy; all alike by default. The null of a mean over subjects
        weighs each window by one over the number of its subject's.
    subject : array-like of shape (n_windows,), default=None
        Person of each window. Recordings of two people are two, however they are named; without it they must have
        names of their own.

    Returns
    -------
    null : array of shape (n_shifts,)
        Top-k accuracies; their mean is chance and their upper quantiles what an honest result must
        exceed.

    Raises
    ------
    ValueError
        If a recording is too short to move its labels by more than a window or repeats its sounds all
        through, a score is NaN, or there are no more candidates than ``k``.
    """
    scores, target = np.asarray(scores), np.asarray(target)
    check_scores(scores, target)
    check_k(k, scores.shape[1])
    return shifted_means(
        count_hits(scores, k),
        target,
        recording,
        onset,
        duration,
        n_shifts,
        random_state,
        sample_weight,
        subject,
    )


def shifted_means(
    worth,
    target,
    recording,
    onset,
    duration,
    n_shifts=1000,
    random_state=None,
    sample_weight=None,
    subject=None,
):
    """Mean worth of the labels after they were moved along each recording, as :func:`circular_shift_null` moves them.

    Parameters
    ----------
    worth : array of shape (n_windows, n_candidates)
        What each window would score if each candidate were the right one.
    target, recording, onset, duration, n_shifts, random_state, sample_weight, subject
        As in :func:`circular_shift_null`.

    Returns
    -------
    null : array of shape (n_shifts,)

    Raises
    ------
    ValueError
        If a recording is too short or repeats its sounds all through.
    """
    random = check_random_state(random_state)
    whose = {} if subject is None else {"subject": np.asarray(subject, dtype=object)}
    onset = np.asarray(onset, float)
    recording = recordings_of(pd.DataFrame({"recording": np.asarray(recording, dtype=object), **whose}))
    weight = np.ones(len(worth)) if sample_weight is None else np.asarray(sample_weight, float)
    total = np.zeros(n_shifts)
    for name in pd.unique(recording):
        rows = np.flatnonzero(recording == name)
        rows = rows[np.argsort(onset[rows], kind="stable")]
        labels = target[rows]
        shifts = random.choice(possible_shifts(name, labels, onset[rows], duration), size=n_shifts)
        for part in slice_rows(n_shifts, 256):
            moved = (np.arange(len(rows)) + shifts[part, None]) % len(rows)
            total[part] += worth[rows, labels[moved]] @ weight[rows]
    return total / weight.sum()


def count_hits(scores, k):
    """Tell for every label whether it would be among the k best of each window: (n_windows, n_candidates)."""
    hit = np.empty(scores.shape, bool)
    for part in slice_rows(len(scores), 1024):
        block = scores[part]
        kth = np.partition(block, -k, axis=1)[:, -k, None]
        at_least = block >= kth
        # A tie at the edge counts against, as in ``ranks``.
        hit[part] = at_least & ((at_least.sum(1, keepdims=True) <= k) | (block > kth))
    return hit


def possible_shifts(name, labels, onset, duration):
    """Shifts, in windows, after which no window of a recording keeps sound of its own.

    Parameters
    ----------
    name : str
        Recording, for the error.
    labels : ndarray of int of shape (n_windows,)
        Column of the segment that was heard, in the order of ``onset``.
    onset : ndarray of float of shape (n_windows,)
        When each window begins, in seconds, rising.
    duration : float
        Length of a window in seconds.

    Returns
    -------
    shifts : ndarray of int of shape (n_shifts,)

    Raises
    ------
    ValueError
        If there is none.
    """
    n_windows = len(labels)
    least = int((np.searchsorted(onset, onset + duration) - np.arange(n_windows)).max())
    if 2 * least > n_windows:
        raise ValueError(
            f"recording {name!r} has {n_windows} windows, and labels must move by {least} or more in both "
            f"directions to leave their own sound; score more windows of it together."
        )
    possible = np.arange(least, n_windows - least + 1)
    # A sound that is played again within the recording comes to lie upon itself at some shifts.
    possible = possible[[not (np.roll(labels, -shift) == labels).any() for shift in possible]]
    if len(possible) == 0:
        raise ValueError(
            f"recording {name!r} repeats its sounds so often that every shift lays some label upon itself; "
            f"score each repeat as a recording of its own."
        )
    return possible
