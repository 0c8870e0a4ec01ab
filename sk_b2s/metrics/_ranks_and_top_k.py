"""Retrieval metrics: ranks, top-k accuracy and chance level.

Top-10 accuracy is the measure of Défossez et al. (2023), Nat. Mach. Intell.
5:1097, doi:10.1038/s42256-023-00714-5.
"""

import numpy as np
import torch

from sk_b2s._utils._chunks import slice_rows_into_chunks


def ranks(scores, target):
    """Count the other candidates that score at least as high as the target.

    The best rank is zero. Ties count against the target, so that a constant
    output has the worst rank.

    Parameters
    ----------
    scores : array or Tensor, shape (n_windows, n_candidates)
        Similarities.
    target : array or Tensor of int, shape (n_windows,)
        Column of each window's target candidate.

    Returns
    -------
    ranks : array or Tensor of int64, shape (n_windows,)
        From 0 to n_candidates - 1.

    Raises
    ------
    ValueError
        If a score is NaN or a target is not a column.

    Examples
    --------
    >>> ranks(np.array([[0.9, 0.1, 0.3], [0.5, 0.5, 0.5]]), np.array([0, 1]))
    array([0, 2])
    """
    is_tensor = isinstance(scores, torch.Tensor)
    scores = scores if is_tensor else np.asarray(scores)
    target = torch.as_tensor(target, device=scores.device) if is_tensor else np.asarray(target)
    check_rank_scores(scores, target)
    if is_tensor:
        own = scores.gather(1, target.long()[:, None])
    else:
        own = np.take_along_axis(scores, target.astype(np.int64)[:, None], axis=1)
    return (scores >= own).sum(1) - 1


def check_rank_scores(scores, target):
    """Raise a ValueError for scores or targets that cannot be ranked."""
    if scores.ndim != 2 or tuple(target.shape) != (len(scores),):
        raise ValueError(
            "scores must have shape (n_windows, n_candidates) and target (n_windows,). "
            f"Got {tuple(scores.shape)} and {tuple(target.shape)}."
        )
    rows = _list_rows_of_mask((scores != scores).any(1))
    if rows:
        raise ValueError(
            f"scores are NaN in {len(rows)} of {len(scores)} rows ({_format_few_rows(rows)}). Check the recording for NaN, and "
            "whether the fit diverged (use a smaller lr, or a scaler that clips)."
        )
    rows = _list_rows_of_mask((target < 0) | (target >= scores.shape[1]))
    if rows:
        raise ValueError(
            f"target must be a column, 0 to {scores.shape[1] - 1}. It is not in rows {_format_few_rows(rows)}. Check that the "
            f"target segment is among the candidates."
        )


def _list_rows_of_mask(mask):
    """Return the indices where a mask is true, as a list."""
    mask = mask.cpu().numpy() if isinstance(mask, torch.Tensor) else mask
    return np.flatnonzero(mask).tolist()


def _format_few_rows(rows):
    """Return the first rows as text."""
    return ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")


def top_k_accuracy(ranks, k, n_candidates, sample_weight=None):
    """Compute the share of windows with the target among the ``k`` best.

    Parameters
    ----------
    ranks : array-like of int, shape (n_windows,)
        Output of :func:`ranks`.
    k : int
        Number of guesses. Défossez et al. (2023) report 10.
    n_candidates : int
        Number of ranked candidates. An accuracy can be interpreted only with
        this number, see :func:`chance_level`.
    sample_weight : array-like, shape (n_windows,), or None
        Weight of each window. If None, all windows have equal weight.

    Returns
    -------
    accuracy : float
        From 0 to 1.

    Raises
    ------
    ValueError
        If there are not more candidates than ``k``, so that every guess is
        right, or ``ranks`` is empty.

    Examples
    --------
    >>> top_k_accuracy([0, 3, 12, 40], k=10, n_candidates=50)
    0.5
    """
    check_top_k(k, n_candidates)
    hits = _check_ranks(ranks, n_candidates) < k
    if sample_weight is None:
        return float(hits.mean())
    sample_weight = np.asarray(sample_weight, dtype=np.float64)
    if sample_weight.shape != hits.shape or not sample_weight.sum() > 0:
        raise ValueError(
            f"sample_weight must have one entry for each of {len(hits)} windows and a positive "
            f"sum. Got shape {sample_weight.shape} and sum {sample_weight.sum()}."
        )
    return float(np.average(hits, weights=sample_weight))


def balanced_top_k(ranks, labels, k, n_candidates):
    """Compute the mean over labels of the top-``k`` accuracy of each label.

    Words follow Zipf's law. A guess of the ten most frequent words is right
    for nearly half of all windows, without any EEG/MEG. Averaged over words,
    it is right for ten of them only.

    Parameters
    ----------
    ranks : array-like of int, shape (n_windows,)
        Output of :func:`ranks`.
    labels : array-like, shape (n_windows,)
        Label of each window, for example its word.
    k : int
        Number of guesses.
    n_candidates : int
        Number of ranked candidates.

    Returns
    -------
    accuracy : float
        From 0 to 1.

    Examples
    --------
    >>> words = ["the", "the", "the", "rabbit"]
    >>> balanced_top_k([0, 0, 0, 7], words, k=5, n_candidates=10)
    0.5
    """
    _, label, count = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    return top_k_accuracy(ranks, k, n_candidates, sample_weight=1 / count[label])


def mark_top_k_hits(scores, k):
    """Mark the k best candidates of each window: (n_windows, n_candidates)."""
    hit = np.empty(scores.shape, bool)
    for part in slice_rows_into_chunks(len(scores), 1024):
        block = scores[part]
        kth = np.partition(block, -k, axis=1)[:, -k, None]
        at_least = block >= kth
        # A tie at the k-th place counts as a miss, as in ``ranks``.
        hit[part] = at_least & ((at_least.sum(1, keepdims=True) <= k) | (block > kth))
    return hit


def median_relative_rank(ranks, n_candidates):
    """Compute the median of rank / (n_candidates - 1) over windows.

    The best value is 0, chance is 0.5, the worst value is 1. Unlike
    :func:`top_k_accuracy` it needs no ``k``, depends on every window, and is
    comparable across numbers of candidates.

    Parameters
    ----------
    ranks : array-like of int, shape (n_windows,)
        Output of :func:`ranks`.
    n_candidates : int
        Number of ranked candidates, at least 2.

    Returns
    -------
    median : float
        From 0 to 1.

    Examples
    --------
    >>> median_relative_rank([0, 10, 50], n_candidates=101)
    0.1
    """
    check_top_k(1, n_candidates)
    return float(np.median(_check_ranks(ranks, n_candidates) / (n_candidates - 1)))


def compute_rank_scores(ranks, k, n_candidates):
    """Compute the scores of ranks that need no table: a dict."""
    return {
        "top_1": top_k_accuracy(ranks, 1, n_candidates),
        "top_k": top_k_accuracy(ranks, k, n_candidates),
        "median_relative_rank": median_relative_rank(ranks, n_candidates),
    }


def chance_level(k, n_candidates):
    """Compute the top-``k`` accuracy of a guess: k / n_candidates.

    Parameters
    ----------
    k : int
        Number of guesses.
    n_candidates : int
        Number of candidates, more than ``k``.

    Returns
    -------
    chance : float
        From 0 to 1. It does not depend on how often each candidate is the
        target, as long as guesses are independent of it.

    Examples
    --------
    >>> chance_level(10, 1000)
    0.01
    """
    check_top_k(k, n_candidates)
    return k / n_candidates


def _check_ranks(ranks, n_candidates):
    """Return ranks as an array, checked against the number of candidates."""
    ranks = ranks.cpu().numpy() if isinstance(ranks, torch.Tensor) else np.asarray(ranks)
    if ranks.ndim != 1 or not len(ranks):
        raise ValueError(f"ranks must have shape (n_windows,) with at least one window. Got {ranks.shape}.")
    if ranks.min() < 0 or ranks.max() >= n_candidates:
        raise ValueError(
            f"ranks must lie in 0 to n_candidates - 1 = {n_candidates - 1}. "
            f"Got values from {ranks.min()} to {ranks.max()}."
        )
    return ranks


def check_top_k(k, n_candidates):
    """Raise a ValueError if ``k`` guesses cannot be wrong."""
    if k < 1 or n_candidates <= k:
        raise ValueError(
            "k must be at least 1 and less than the number of candidates. "
            f"Got k={k} and {n_candidates} candidates. Use more distinct segments or a smaller k."
        )
