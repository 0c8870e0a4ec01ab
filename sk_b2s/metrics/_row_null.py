"""Null distribution of retrieval scores with own candidates of each window."""

from __future__ import annotations

import numpy as np
from sklearn.utils import check_random_state

LEAST_SHARE = 0.5  # of the windows of a group that a shift must be possible for
MIN_SHIFTS = 10  # of a group; fewer are too similar to show the variation of its score


def compute_row_null_means(
    worth, possible, group, n_shifts, random_state=None, sample_weight=None, variance=0.0, is_balanced=False
):
    """Compute mean scores of windows ranked among candidates of other windows.

    Column s of ``worth`` belongs to the circular shift of the windows of a
    group by s. Unlike permuted labels, this keeps the candidates of a row
    together, so that a decoder that prefers some candidates, such as the later
    one, has the same mean score in the null.

    Parameters
    ----------
    worth : array of shape (n_windows, n_shifts_of_group)
        Score of each window among the candidates of the window that many
        places later in its group.
    possible : array of bool of shape (n_windows, n_shifts_of_group)
        False if both windows share a part of the stimulus or recording.
    group : array of int of shape (n_windows,)
        Group of each window, a stretch of a recording.
    n_shifts : int
        Number of draws.
    random_state : None, int or RandomState, default=None
    sample_weight : array-like of shape (n_windows,), default=None
        If None, all windows have equal weight.
    variance : float, default=0.0
        Variance of the score of one window at random. It is added for groups
        with fewer than ``MIN_SHIFTS`` shifts, and unless ``is_balanced``.
    is_balanced : bool, default=False
        Whether each candidate is the target of one of the windows that share
        it. If not, a preference for some candidates has a score that shifts do
        not change, but other random candidates would.

    Returns
    -------
    null : array of shape (n_shifts,)

    Raises
    ------
    ValueError
        If a group has no possible shift.
    """
    random = check_random_state(random_state)
    weight = np.ones(len(worth)) if sample_weight is None else np.asarray(sample_weight, float)
    total, added = np.zeros(n_shifts), 0.0
    for code in np.unique(group):
        rows = np.flatnonzero(group == code)
        own = weight[rows].sum()
        if not own:
            continue
        usable = weight[rows, None] * possible[rows]
        sums = usable.sum(0)
        if not sums.any():
            raise ValueError(
                f"A recording has {len(rows)} windows with candidates, too few to shift them by more than a window. "
                f"Score more windows of it together."
            )
        allowed = np.flatnonzero(sums >= min(LEAST_SHARE * own, sums.max()))
        means = (usable[:, allowed] * worth[rows][:, allowed]).sum(0) / sums[allowed]
        total += own * means[random.randint(len(allowed), size=n_shifts)]
        if not is_balanced or len(allowed) < MIN_SHIFTS:
            added += variance * np.sum(weight[rows] ** 2)
    null = (total + np.sqrt(added) * random.standard_normal(n_shifts)) / weight.sum()
    return np.clip(null, worth.min(initial=0.0), worth.max(initial=1.0))
