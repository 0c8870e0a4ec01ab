"""Matching of two incomplete sequences of the same events."""

from __future__ import annotations

import numpy as np


def match_sequences(first, second):
    """Pair equal entries of two sequences, in order, by the fewest edits.

    Edits are counted by the Levenshtein distance: an inserted, deleted or
    replaced entry costs 1. Replaced entries are not paired.

    Parameters
    ----------
    first, second : sequence
        Sequences to compare.

    Returns
    -------
    pairs : ndarray of int of shape (n_pairs, 2)
        Indices of equal entries, ascending in both columns.

    Examples
    --------
    >>> match_sequences("kitten", "sitting").tolist()
    [[1, 1], [2, 2], [3, 3], [5, 5]]
    """
    first, second = np.asarray(list(first), object), np.asarray(list(second), object)
    n, m = len(first), len(second)
    different = np.array(first[:, None] != second[None, :]).reshape(n, m)
    steps = np.arange(m + 1)
    cost = np.empty((n + 1, m + 1), np.int32)
    cost[0] = steps
    for row in range(n):
        best = cost[row] + 1
        best[1:] = np.minimum(best[1:], cost[row, :-1] + different[row])
        # Deleting entries of ``second`` costs 1 each: the minimum over all places to the left, plus the distance.
        cost[row + 1] = np.minimum.accumulate(best - steps) + steps
    pairs, i, j = [], n, m
    while i and j:
        if cost[i, j] == cost[i - 1, j - 1] + different[i - 1, j - 1]:
            i, j = i - 1, j - 1
            if not different[i, j]:
                pairs.append((i, j))
        elif cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    return np.array(pairs[::-1], int).reshape(-1, 2)


def match_nearest_time(first, second):
    """Return the index of the nearest of ``second`` to each of ``first``.

    Both are ascending times, and ``second`` is not empty. Of two equally near
    ones, the earlier is returned.
    """
    right = np.clip(np.searchsorted(second, first), 1, max(len(second) - 1, 1)) % len(second)
    left = np.maximum(right - 1, 0)
    return np.where(np.abs(second[left] - first) <= np.abs(second[right] - first), left, right)


def match_sequence_times(first, second, within):
    """Pair each time with the nearest one of another sequence, at most once.

    Parameters
    ----------
    first, second : ndarray of shape (n_first,), (n_second,)
        Ascending times in seconds.
    within : float
        Largest difference of a pair in seconds.

    Returns
    -------
    pairs : ndarray of int of shape (n_pairs, 2)
        Indices of paired times.
    """
    if len(first) == 0 or len(second) == 0:
        return np.empty((0, 2), int)
    nearest = match_nearest_time(first, second)
    distance = np.abs(second[nearest] - first)
    order = np.lexsort([distance, nearest])
    is_first = np.r_[True, nearest[order][1:] != nearest[order][:-1]]
    kept = np.sort(order[is_first & (distance[order] <= within)])
    return np.column_stack([kept, nearest[kept]])
