"""What a retrieval is worth, on numpy arrays and torch tensors alike.

The losses import :func:`similarity` from here, so that training and scoring cannot disagree.

References
----------
.. [1] Défossez et al. 2023, Nat. Mach. Intell. 5:1097, doi:10.1038/s42256-023-00714-5.
"""

from contextlib import nullcontext

import numpy as np
import torch

__all__ = [
    "balanced_top_k",
    "chance_level",
    "check_k",
    "check_scores",
    "median_relative_rank",
    "ranks",
    "similarity",
    "top_k_accuracy",
    "weighted_norms",
]


def similarity(Z, Y, weights=None, *, norms=None, out=None):
    r"""Compare each estimate with each candidate by the score of the paper [1]_.

    .. math::

        s_{io} = \frac{\sum_j w_j \langle z_{ij}, y_{oj} \rangle}
                      {10^{-8} + \sqrt{\sum_j w_j |y_{oj}|^2}}

    over frames :math:`j`. Only candidates are normalised: a candidate does not win by being loud,
    while the length of an estimate is its confidence (unlike the cosine). If frame j of ``Z`` is
    the mean of :math:`w_j` steps, this equals to rounding the similarity of the unpooled steps to
    features repeated at the brain's rate.

    One matrix product. ``Z`` is never copied: the order in which it lies in memory, time-major or
    not, is that of the sum.

    Parameters
    ----------
    Z : array or Tensor, shape (n_windows, n_features) or (n_windows, n_features, n_frames)
        Estimates. No frame axis means one frame.
    Y : array or Tensor, shape (n_candidates, n_features) or (n_candidates, n_features, n_frames)
        Candidates, of the same kind as ``Z``.
    weights : array-like, shape (n_frames,), or None
        Steps in each frame (:func:`sk_b2s.frames.frame_weights`). None weighs all alike. Only
        their ratios matter to an order of candidates, their scale to the sharpness of a softmax.
    norms : array or Tensor, shape (n_candidates,), or None
        :func:`weighted_norms` of the candidates where they are known; ``weights`` then concern the
        products alone. Whoever compares the same candidates with many windows computes them once,
        and weighs the windows once: ``similarity(Z * weights, Y, norms=weighted_norms(Y, weights))``.
    out : array or Tensor, shape (n_windows, n_candidates), or None
        Where the scores are written, such as some columns of a larger matrix. Without gradients.

    Returns
    -------
    scores : array or Tensor, shape (n_windows, n_candidates)
        In float32, or float64 where an input is; also within ``torch.autocast``. Differentiable in
        torch unless ``out`` is given, which then is what is returned.

    Raises
    ------
    TypeError
        If one of ``Z`` and ``Y`` is a Tensor and the other is not.
    ValueError
        If features, frames or weights do not match.

    Examples
    --------
    >>> Z, Y = np.eye(2, dtype="float32"), np.array([[3, 0], [0, 0.1], [1, 1]], dtype="float32")
    >>> similarity(Z, Y).round(2)
    array([[1.  , 0.  , 0.71],
           [0.  , 1.  , 0.71]], dtype=float32)
    """
    Z, Y = _as_floats(Z, Y)
    if Z.shape[1:] != Y.shape[1:]:
        raise ValueError(
            "Z and Y must agree in (n_features, n_frames); "
            f"got {tuple(Z.shape[1:])} and {tuple(Y.shape[1:])}. "
            "Read both with the same speech features and window."
        )
    weights = _as_weights(weights, Y)
    if norms is not None and tuple(norms.shape) != (len(Y),):
        raise ValueError(
            f"norms must have one entry for each of {len(Y)} candidates; got shape {tuple(norms.shape)}. "
            f"Compute them by weighted_norms(Y, weights)."
        )
    with torch.autocast(Z.device.type, enabled=False) if isinstance(Z, torch.Tensor) else nullcontext():
        scale = 1e-8 + (_norms(Y, weights) if norms is None else norms)
        if out is None:
            return _products(Z, Y, weights) / scale
        _products(Z, Y, weights, out)
        out /= scale
        return out


def weighted_norms(Y, weights=None):
    r"""Length of each candidate, :math:`\sqrt{\sum_j w_j |y_{oj}|^2}`, as :func:`similarity` divides by.

    Parameters
    ----------
    Y : array or Tensor, shape (n_candidates, n_features) or (n_candidates, n_features, n_frames)
        Candidates.
    weights : array-like, shape (n_frames,), or None
        Steps in each frame; None weighs all alike.

    Returns
    -------
    norms : array or Tensor, shape (n_candidates,)
        In float32, or float64 where ``Y`` is.

    Raises
    ------
    ValueError
        If weights do not match the frames.

    Examples
    --------
    >>> weighted_norms(np.array([[[3.0, 1.0]], [[0.0, 0.5]]]), weights=[1, 4])
    array([3.60555128, 1.        ])
    """
    Y, _ = _as_floats(Y, Y)
    return _norms(Y, _as_weights(weights, Y))


def _as_weights(weights, Y):
    """Return the weights as numbers of the kind of ``Y``, checked against its frames."""
    if weights is None:
        return None
    is_tensor = isinstance(Y, torch.Tensor)
    weights = torch.as_tensor(weights).to(Y) if is_tensor else np.asarray(weights, dtype=Y.dtype)
    if tuple(weights.shape) != (Y.shape[2],):
        raise ValueError(
            f"weights must have one entry for each of {Y.shape[2]} frames; "
            f"got shape {tuple(weights.shape)}. Give Y the frames that frame_weights counts."
        )
    return weights


def _as_floats(Z, Y):
    """Return both with three axes, of one kind and one float type."""
    are_tensors = [isinstance(A, torch.Tensor) for A in (Z, Y)]
    if any(are_tensors) and not all(are_tensors):
        raise TypeError(
            "Z and Y must both be arrays or both be Tensors; "
            f"got {type(Z).__name__} and {type(Y).__name__}. Use torch.as_tensor or .numpy()."
        )
    if all(are_tensors):
        dtype = torch.promote_types(torch.promote_types(Z.dtype, Y.dtype), torch.float32)
        Z, Y = Z.to(dtype), Y.to(dtype)
    else:
        Z, Y = np.asarray(Z), np.asarray(Y)
        dtype = np.result_type(Z, Y, np.float32)
        Z, Y = Z.astype(dtype, copy=False), Y.astype(dtype, copy=False)
    for name, A in {"Z": Z, "Y": Y}.items():
        if A.ndim not in (2, 3):
            raise ValueError(
                f"{name} must have the axes (rows, features) or (rows, features, frames); "
                f"got shape {tuple(A.shape)}."
            )
    return tuple(A[:, :, None] if A.ndim == 2 else A for A in (Z, Y))


def _products(Z, Y, weights, out=None):
    """Weighted inner product of each estimate with each candidate."""
    if weights is not None:
        Y = Y * weights
    strides = Z.stride() if isinstance(Z, torch.Tensor) else Z.strides
    if strides[1] < strides[2]:
        Z, Y = Z.swapaxes(1, 2), Y.swapaxes(1, 2)
    n_columns = Z.shape[1] * Z.shape[2]
    Z, Y = Z.reshape(len(Z), n_columns), Y.reshape(len(Y), n_columns).T
    return (torch if isinstance(Z, torch.Tensor) else np).matmul(Z, Y, out=out)


def _norms(Y, weights):
    """Weighted norm of each candidate."""
    by_frame = _norm(Y)
    return _norm(by_frame if weights is None else by_frame * weights**0.5)


def _norm(A):
    """Euclidean norm over the second axis."""
    if isinstance(A, torch.Tensor):
        # Unlike the root of a sum it has a gradient, zero, at a candidate of zeros.
        return torch.linalg.vector_norm(A, dim=1)
    return np.sqrt(np.square(A).sum(axis=1))


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
