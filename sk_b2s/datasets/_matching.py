"""Matching of two incomplete lists of the same entries."""

from __future__ import annotations

import numpy as np


def match_sequences(first, second):
    """Pair the entries that two sequences share, in order, by the fewest edits.

    Levenshtein's distance: an entry that is inserted, left out or replaced costs 1. Replaced entries are paired
    with nothing.

    Parameters
    ----------
    first, second : sequence
        Entries that can be compared.

    Returns
    -------
    pairs : ndarray of int of shape (n_pairs, 2)
        Positions of equal entries, rising in both columns.

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
        # Leaving out entries of ``second`` costs 1 each: the least over all places to the left, plus the way.
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


def match_times(first, second, within):
    """Pair times of one clock with the nearest of another, each at most once.

    Parameters
    ----------
    first, second : ndarray of shape (n_first,), (n_second,)
        Rising times in seconds, on one clock.
    within : float
        Largest difference of a pair in seconds.

    Returns
    -------
    pairs : ndarray of int of shape (n_pairs, 2)
    """
    if len(first) == 0 or len(second) == 0:
        return np.empty((0, 2), int)
    right = np.clip(np.searchsorted(second, first), 1, max(len(second) - 1, 1)) % max(len(second), 1)
    left = np.maximum(right - 1, 0)
    nearest = np.where(np.abs(second[left] - first) <= np.abs(second[right] - first), left, right)
    off = np.abs(second[nearest] - first)
    order = np.lexsort([off, nearest])
    once = np.r_[True, nearest[order][1:] != nearest[order][:-1]]
    kept = np.sort(order[once & (off[order] <= within)])
    return np.column_stack([kept, nearest[kept]])
