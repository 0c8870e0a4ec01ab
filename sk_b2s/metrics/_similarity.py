"""Cosine similarity of estimates and candidate segments."""

from contextlib import nullcontext

import numpy as np
import torch


def similarity(Z, Y, weights=None, *, norms=None, out=None):
    r"""Compare each estimate with each candidate by the score of the paper [1]_.

    .. math::

        s_{io} = \frac{\sum_j w_j \langle z_{ij}, y_{oj} \rangle}
                      {10^{-8} + \sqrt{\sum_j w_j |y_{oj}|^2}}

    over frames :math:`j`. Only candidates are normalized: a candidate does not win by being loud,
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
        Steps in each frame (:func:`sk_b2s.metrics._frames.frame_weights`). None weighs all alike. Only
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
