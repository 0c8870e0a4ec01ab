"""Match-mismatch accuracy among candidates of like timing and loudness."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata
from sklearn.utils import check_random_state

TOLERANCES = {"duration": 1.25, "interval": 1.25, "level": 3.0}  # largest ratio, and difference in dB
MIN_STRATUM = 6  # candidates; fewer leave too few permutations
TIE = 1e-9


def find_matched_strata(timing):
    """Divide candidates into strata of like duration, interval and level.

    A stratum is a cell of a fixed grid: durations and intervals differ by at
    most a factor of 1.25, levels by at most 3 dB. Cells do not depend on the
    other candidates.

    Parameters
    ----------
    timing : DataFrame of shape (n_candidates, ...)
        ``duration`` and ``interval`` to the next onset (s), and ``level``
        (dB). Columns that are absent or completely NaN are not matched.

    Returns
    -------
    strata : ndarray of int of shape (n_candidates,)
        Stratum of each candidate, -1 if one of its values is NaN.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"duration": [0.22, 0.23, 0.4, np.nan]})
    >>> find_matched_strata(table).tolist()
    [0, 0, 1, -1]
    """
    cells = []
    for name, tolerance in TOLERANCES.items():
        if name not in timing or timing[name].isna().all():
            continue
        values = timing[name].to_numpy(float)
        if name != "level":
            values, tolerance = np.log(np.maximum(values, 1e-3)), np.log(tolerance)
        cells.append(np.floor(values / tolerance + TIE))
    if not cells:
        return np.full(len(timing), -1)
    cells = np.column_stack(cells)
    known = np.isfinite(cells).all(1)
    strata = np.full(len(timing), -1)
    if known.any():
        first, codes = np.unique(cells[known], axis=0, return_index=True, return_inverse=True)[1:]
        order = np.argsort(np.argsort(first))  # numbered by first appearance
        strata[known] = order[np.ravel(codes)]
    return strata


def select_matched_strata(strata, target, min_size=MIN_STRATUM):
    """Return which windows have a stratum that is large enough.

    Parameters
    ----------
    strata : ndarray of int of shape (n_candidates,)
    target : ndarray of int of shape (n_windows,)
        Candidate of each window.
    min_size : int, default=6
        Smallest number of candidates of a stratum.

    Returns
    -------
    usable : ndarray of bool of shape (n_windows,)
    """
    strata = np.asarray(strata)
    size = np.bincount(strata[strata >= 0], minlength=1)
    own = strata[np.asarray(target)]
    return (own >= 0) & (size[np.maximum(own, 0)] >= min_size)


def compute_matched_accuracy(scores, target, strata, n_permutations=0, random_state=0):
    """Compute match-mismatch accuracy within strata, with its null.

    The accuracy of a window is the proportion of the other candidates of its
    stratum that score below its target. Ties count as half. Its chance level
    is 0.5 in a stratum of any size.

    Parameters
    ----------
    scores : ndarray of shape (n_windows, n_candidates)
        Higher is more similar.
    target : ndarray of int of shape (n_windows,)
        Candidate of each window.
    strata : ndarray of int of shape (n_candidates,)
        From :func:`find_matched_strata`.
    n_permutations : int, default=0
        Number of permutations of targets among the windows of a stratum.
    random_state : None, int or RandomState, default=0
        Draws the permutations.

    Returns
    -------
    accuracy : ndarray of shape (n_windows,)
        NaN for windows without a usable stratum.
    null : ndarray of shape (n_permutations, n_windows)
        Accuracies with permuted targets.

    Notes
    -----
    The permutation keeps duration, interval and level of each window within
    the tolerance, so that a decoder of timing alone has the same score with
    permuted targets. It does not keep the time of windows.
    """
    scores, target, strata = np.asarray(scores), np.asarray(target), np.asarray(strata)
    random = check_random_state(random_state)
    accuracy = np.full(len(target), np.nan)
    null = np.full((n_permutations, len(target)), np.nan)
    usable, own = select_matched_strata(strata, target), strata[target]
    for stratum in np.unique(own[usable]):
        rows, columns = np.flatnonzero(usable & (own == stratum)), np.flatnonzero(strata == stratum)
        part = scores[np.ix_(rows, columns)]
        relative = (rankdata(part, axis=1) - 1) / (len(columns) - 1)  # as if each were the target
        place, row = np.searchsorted(columns, target[rows]), np.arange(len(rows))
        accuracy[rows] = relative[row, place]
        if n_permutations:
            drawn = random.random_sample((n_permutations, len(rows))).argsort(1)
            null[:, rows] = relative[row, place[drawn]]
    return accuracy, null


def compute_matched_overlap_factor(values, recording, onset, duration):
    r"""Compute the variance of a mean over windows that share samples.

    The variance is relative to that of independent windows. With deviations d
    from the mean, it is

    .. math:: 1 + 2 \sum_{i < j} d_i d_j / \sum_i d_i^2

    over all pairs of windows of a recording that overlap, and at least 1.

    Parameters
    ----------
    values : ndarray of shape (n_windows,)
        Scores. NaN is left out.
    recording : array-like of shape (n_windows,)
    onset, duration : array-like of shape (n_windows,)
        Seconds.

    Returns
    -------
    factor : float
    """
    values, onset, duration = (np.asarray(part, float) for part in (values, onset, duration))
    codes = np.unique(np.asarray(recording).astype(str), return_inverse=True)[1]
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.lexsort([onset[known], codes[known]])]
    codes, onset, duration = codes[order], onset[order], duration[order]
    away = values[order] - values[order].mean() if len(order) else values[order]
    total = float((away**2).sum())
    if not total:
        return 1.0
    shared = 0.0
    for lag in range(1, len(order)):
        overlaps = (codes[lag:] == codes[:-lag]) & (onset[lag:] - onset[:-lag] < duration[:-lag] - TIE)
        if not overlaps.any():
            break
        shared += float((away[lag:] * away[:-lag])[overlaps].sum())
    return max(1.0, 1 + 2 * shared / total)
