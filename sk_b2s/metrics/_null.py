"""Null distribution of retrieval scores by circular shifts."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from sk_b2s._utils._chunks import slice_rows_into_chunks
from sk_b2s._utils._validation import get_validated_recordings
from sk_b2s.metrics._ranks_and_top_k import check_rank_scores, check_top_k, mark_top_k_hits

MIN_SHIFTS = 10  # with fewer possible shifts of a recording, the null includes its true order


def circular_shift_null(
    scores, target, recording, onset, duration, k=10, n_shifts=1000, random_state=None, sample_weight=None, subject=None
):  # fmt: skip
    """Compute the null distribution of top-k accuracy by circular shifts.

    Within each recording the true labels are circularly shifted in time by a
    random number of windows, large enough that no window keeps a part of its
    own stimulus. The accuracy is computed in the same similarity matrix.
    Unlike a binomial interval, this keeps the dependence of neighboring
    windows. With overlapping windows a binomial interval is far too narrow.
    Recordings with fewer than 10 such shifts are also drawn unshifted, as in
    an exact permutation test. Otherwise, with few candidates, the targets that
    a good decoder ranks first would never be drawn, and the null would be
    below chance.

    Parameters
    ----------
    scores : array of shape (n_windows, n_candidates)
        Similarities.
    target : array-like of int of shape (n_windows,)
        Column of the target segment.
    recording : array-like of shape (n_windows,)
        Recording of each window.
    onset : array-like of float of shape (n_windows,)
        Start of each window in its recording, in seconds.
    duration : float
        Length of a window in seconds.
    k : int, default=10
        The accuracy is top-k.
    n_shifts : int, default=1000
        Number of shifts.
    random_state : None, int or RandomState, default=None
        Seed of the shifts.
    sample_weight : array-like of float of shape (n_windows,), default=None
        Weight of each window in the accuracy. If None, all have equal weight.
        For the null of a mean over subjects, use one over the number of
        windows of the subject.
    subject : array-like of shape (n_windows,), default=None
        Subject of each window. If None, recordings of different subjects must
        have different names.

    Returns
    -------
    null : array of shape (n_shifts,)
        Top-k accuracies. Their mean is the chance level. A result above chance
        exceeds their upper quantiles.

    Raises
    ------
    ValueError
        If a recording is too short for a shift by more than a window, or
        repeats its stimuli throughout, if a score is NaN, or if there are not
        more candidates than ``k``.
    """
    scores, target = np.asarray(scores), np.asarray(target)
    check_rank_scores(scores, target)
    check_top_k(k, scores.shape[1])
    return compute_null_means(
        mark_top_k_hits(scores, k),
        target,
        recording,
        onset,
        duration,
        n_shifts,
        random_state,
        sample_weight,
        subject,
    )


def compute_null_means(
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
    """Compute mean scores of circularly shifted labels.

    Parameters
    ----------
    worth : array of shape (n_windows, n_candidates)
        Score of each window if each candidate were the target.
    target, recording, onset, duration, n_shifts, random_state, sample_weight,
    subject
        As in :func:`circular_shift_null`.

    Returns
    -------
    null : array of shape (n_shifts,)

    Raises
    ------
    ValueError
        If a recording is too short or repeats its stimuli throughout.
    """
    random = check_random_state(random_state)
    subjects = {} if subject is None else {"subject": np.asarray(subject, dtype=object)}
    onset = np.asarray(onset, float)
    recording = get_validated_recordings(
        pd.DataFrame({"recording": np.asarray(recording, dtype=object), **subjects})
    )
    weight = np.ones(len(worth)) if sample_weight is None else np.asarray(sample_weight, float)
    total = np.zeros(n_shifts)
    for name in pd.unique(recording):
        rows = np.flatnonzero(recording == name)
        rows = rows[np.argsort(onset[rows], kind="stable")]
        labels = target[rows]
        possible = find_null_shifts(name, labels, onset[rows], duration)
        shifts = random.choice(possible, size=n_shifts)
        for part in slice_rows_into_chunks(n_shifts, 256):
            shifted = (np.arange(len(rows)) + shifts[part, None]) % len(rows)
            total[part] += worth[rows, labels[shifted]] @ weight[rows]
    return total / weight.sum()


def find_null_shifts(name, labels, onset, duration):
    """Find shifts after which no window keeps a part of its own stimulus.

    With fewer than ``MIN_SHIFTS`` of them, zero is added, the true order.

    Parameters
    ----------
    name : str
        Recording, for the error.
    labels : ndarray of int of shape (n_windows,)
        Column of the target segment, in the order of ``onset``.
    onset : ndarray of float of shape (n_windows,)
        Start of each window in seconds, ascending.
    duration : float
        Length of a window in seconds.

    Returns
    -------
    shifts : ndarray of int of shape (n_shifts,)
        Numbers of windows.
    """
    n_windows = len(labels)
    least = int((np.searchsorted(onset, onset + duration) - np.arange(n_windows)).max())
    if 2 * least > n_windows:
        raise ValueError(
            f"recording {name!r} has {n_windows} windows, and labels must be shifted by {least} or more in both "
            f"directions to leave their own stimulus. Score more windows of it together."
        )
    possible = np.arange(least, n_windows - least + 1)
    if len(np.unique(labels)) == n_windows:
        possible = possible[possible % n_windows > 0]
    else:  # at some shifts, a repeated stimulus of the recording meets itself
        possible = possible[[not (np.roll(labels, -shift) == labels).any() for shift in possible]]
    if len(possible) == 0:
        raise ValueError(
            f"recording {name!r} repeats its stimuli so often that no circular shift changes all labels. Score each "
            f"repetition as a separate recording."
        )
    return possible if len(possible) >= MIN_SHIFTS else np.r_[0, possible]
