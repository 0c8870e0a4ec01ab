"""Retrieval metrics: ranks, top-k accuracy and chance level.

The losses import :func:`similarity` from here, so that training and scoring cannot disagree.

References
----------
.. [1] Défossez et al. 2023, Nat. Mach. Intell. 5:1097, doi:10.1038/s42256-023-00714-5.
"""

import numpy as np
import torch


def ranks(scores, target):
    """Count the other candidates that score as high as the right one, or higher.

    Zero is best. Ties count against, so that a constant output is worth nothing.

    Parameters
    ----------
    scores : array or Tensor, shape (n_windows, n_candidates)
        Higher is more similar.
    target : array or Tensor of int, shape (n_windows,)
        Column of each window's right candidate.

    Returns
    -------
    ranks : array or Tensor of int64, shape (n_windows,)
        From 0 to n_candidates - 1.

    Raises
    ------
    ValueError
        If a score is NaN, which could not lose a comparison, or a target is not a column.

    Examples
    --------
    >>> ranks(np.array([[0.9, 0.1, 0.3], [0.5, 0.5, 0.5]]), np.array([0, 1]))
    array([0, 2])
    """
    is_tensor = isinstance(scores, torch.Tensor)
    scores = scores if is_tensor else np.asarray(scores)
    target = torch.as_tensor(target, device=scores.device) if is_tensor else np.asarray(target)
    check_scores(scores, target)
    if is_tensor:
        own = scores.gather(1, target.long()[:, None])
    else:
        own = np.take_along_axis(scores, target.astype(np.int64)[:, None], axis=1)
    return (scores >= own).sum(1) - 1


def check_scores(scores, target):
    """Raise unless scores are a matrix of numbers and each target one of its columns."""
    if scores.ndim != 2 or tuple(target.shape) != (len(scores),):
        raise ValueError(
            "scores must be (n_windows, n_candidates) and target (n_windows,); "
            f"got {tuple(scores.shape)} and {tuple(target.shape)}."
        )
    rows = _rows((scores != scores).any(1))
    if rows:
        raise ValueError(
            f"scores are NaN in {len(rows)} of {len(scores)} rows ({_few(rows)}). Look for NaN in "
            "the recording, or for a fit that diverged (a smaller lr, a clip in the scaler)."
        )
    rows = _rows((target < 0) | (target >= scores.shape[1]))
    if rows:
        raise ValueError(
            f"target must name a column, 0 to {scores.shape[1] - 1}; it does not in rows "
            f"{_few(rows)}. Is the right segment among the candidates?"
        )


def _rows(mask):
    """Return the indices where a mask is true, as a list."""
    mask = mask.cpu().numpy() if isinstance(mask, torch.Tensor) else mask
    return np.flatnonzero(mask).tolist()


def _few(rows):
    """Return the first rows as text."""
    return ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")


def top_k_accuracy(ranks, k, n_candidates, sample_weight=None):
    """Share of windows whose right candidate is among the ``k`` best: P(rank < k).

    Parameters
    ----------
    ranks : array-like of int, shape (n_windows,)
        As :func:`ranks` gives them.
    k : int
        Number of guesses; the paper reports 10.
    n_candidates : int
        Number of candidates they were ranked among. An accuracy means nothing without it: see
        :func:`chance_level`.
    sample_weight : array-like, shape (n_windows,), or None
        Weight of each window.

    Returns
    -------
    accuracy : float
        From 0 to 1.

    Raises
    ------
    ValueError
        If there are no more candidates than ``k``, so that every guess is right, or no window is
        left to average.

    Examples
    --------
    >>> top_k_accuracy([0, 3, 12, 40], k=10, n_candidates=50)
    0.5
    """
    check_k(k, n_candidates)
    hits = _as_ranks(ranks, n_candidates) < k
    if sample_weight is None:
        return float(hits.mean())
    sample_weight = np.asarray(sample_weight, dtype=np.float64)
    if sample_weight.shape != hits.shape or not sample_weight.sum() > 0:
        raise ValueError(
            f"sample_weight must have one entry for each of {len(hits)} windows and a positive "
            f"sum; got shape {sample_weight.shape} and sum {sample_weight.sum()}."
        )
    return float(np.average(hits, weights=sample_weight))


def balanced_top_k(ranks, labels, k, n_candidates):
    """Mean over labels of the top-``k`` accuracy of the windows of each: every label counts once.

    Words follow Zipf's law. Over windows, naming the ten commonest words whatever the brain does is
    right nearly every second time; over words it is right for ten of them.

    Parameters
    ----------
    ranks : array-like of int, shape (n_windows,)
        As :func:`ranks` gives them.
    labels : array-like, shape (n_windows,)
        What makes windows of one kind, such as the word that was heard.
    k : int
        Number of guesses.
    n_candidates : int
        Number of candidates they were ranked among.

    Returns
    -------
    accuracy : float
        From 0 to 1.

    Examples
    --------
    >>> balanced_top_k([0, 0, 0, 7], ["the", "the", "the", "rabbit"], k=5, n_candidates=10)
    0.5
    """
    _, label, count = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    return top_k_accuracy(ranks, k, n_candidates, sample_weight=1 / count[label])


def median_relative_rank(ranks, n_candidates):
    """Median over windows of rank / (n_candidates - 1): 0 is best, 0.5 is chance, 1 is worst.

    Unlike :func:`top_k_accuracy` it needs no ``k``, moves with every window, and compares across
    numbers of candidates.

    Parameters
    ----------
    ranks : array-like of int, shape (n_windows,)
        As :func:`ranks` gives them.
    n_candidates : int
        Number of candidates they were ranked among, at least 2.

    Returns
    -------
    median : float
        From 0 to 1.

    Examples
    --------
    >>> median_relative_rank([0, 10, 50], n_candidates=101)
    0.1
    """
    check_k(1, n_candidates)
    return float(np.median(_as_ranks(ranks, n_candidates) / (n_candidates - 1)))


def chance_level(k, n_candidates):
    """Top-``k`` accuracy of a guess: k / n_candidates.

    Parameters
    ----------
    k : int
        Number of guesses.
    n_candidates : int
        Number of candidates, more than ``k``.

    Returns
    -------
    chance : float
        From 0 to 1. It does not depend on how often each candidate is the right one, as long as the
        guess knows nothing.

    Examples
    --------
    >>> chance_level(10, 1000)
    0.01
    """
    check_k(k, n_candidates)
    return k / n_candidates


def _as_ranks(ranks, n_candidates):
    """Return the ranks as an array, checked against the number of candidates."""
    ranks = ranks.cpu().numpy() if isinstance(ranks, torch.Tensor) else np.asarray(ranks)
    if ranks.ndim != 1 or not len(ranks):
        raise ValueError(f"ranks must be (n_windows,) with at least one window; got shape {ranks.shape}.")
    if ranks.min() < 0 or ranks.max() >= n_candidates:
        raise ValueError(
            f"ranks must lie in 0 .. n_candidates - 1 = {n_candidates - 1}; "
            f"got values from {ranks.min()} to {ranks.max()}."
        )
    return ranks


def check_k(k, n_candidates):
    """Raise unless a guess can be wrong."""
    if k < 1 or n_candidates <= k:
        raise ValueError(
            "k must be at least 1 and there must be more candidates than k; "
            f"got k={k} and {n_candidates} candidates. Give more distinct segments or a smaller k."
        )
