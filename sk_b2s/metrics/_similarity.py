"""Cosine similarity of estimates and candidate segments."""

from contextlib import nullcontext

import numpy as np
import torch


def similarity(Z, Y, weights=None, *, norms=None, out=None):
    r"""Compute the similarity of each estimate with each candidate.

    The score is that of Défossez et al. (2023) [1]_,

    .. math::

        s_{io} = \frac{\sum_j w_j \langle z_{ij}, y_{oj} \rangle}
                      {10^{-8} + \sqrt{\sum_j w_j |y_{oj}|^2}}

    summed over frames :math:`j`. Only candidates are normalized. A candidate
    does not rank high because its features are large, while the length of an
    estimate expresses its confidence (unlike the cosine). If frame j of ``Z``
    is the mean of :math:`w_j` samples, the result equals, up to rounding, the
    similarity of all samples with features repeated at the rate of the
    EEG/MEG.

    It is computed by one matrix product. ``Z`` is never copied. The sum
    follows the order of its values in memory, time-major or not.

    Parameters
    ----------
    Z : array or Tensor, shape (n_windows, n_features[, n_frames])
        Estimates. Without a frame axis there is one frame.
    Y : array or Tensor, shape (n_candidates, n_features[, n_frames])
        Candidates, of the same type as ``Z``.
    weights : array-like, shape (n_frames,), or None
        Number of samples in each frame. If None, all frames have equal weight.
        The ranking of candidates depends on the ratios of weights only. Their
        scale changes the sharpness of a softmax.
    norms : array or Tensor, shape (n_candidates,), or None
        :func:`weighted_norms` of the candidates, if they were computed before.
        In this case ``weights`` apply to the products only. To compare the
        same candidates with many windows, compute the norms once and weight
        the windows once: ``similarity(Z * weights, Y,
        norms=weighted_norms(Y, weights))``.
    out : array or Tensor, shape (n_windows, n_candidates), or None
        Array that the scores are written to, for example columns of a larger
        matrix. Without gradients.

    Returns
    -------
    scores : array or Tensor, shape (n_windows, n_candidates)
        In float32, or in float64 if an input is, also within
        ``torch.autocast``. This is ``out`` if it is given, and else
        differentiable in torch.

    Raises
    ------
    TypeError
        If one of ``Z`` and ``Y`` is a Tensor and the other is not.
    ValueError
        If features, frames or weights do not match.

    Examples
    --------
    >>> Z = np.eye(2, dtype="float32")
    >>> Y = np.array([[3, 0], [0, 0.1], [1, 1]], dtype="float32")
    >>> similarity(Z, Y).round(2)
    array([[1.  , 0.  , 0.71],
           [0.  , 1.  , 0.71]], dtype=float32)
    """
    Z, Y = _make_similarity_floats(Z, Y)
    if Z.shape[1:] != Y.shape[1:]:
        raise ValueError(
            "Z and Y must agree in (n_features, n_frames). "
            f"Got {tuple(Z.shape[1:])} and {tuple(Y.shape[1:])}. "
            "Compute both with the same speech features and window."
        )
    weights = _check_similarity_weights(weights, Y)
    if norms is not None and tuple(norms.shape) != (len(Y),):
        raise ValueError(
            f"norms must have one entry for each of {len(Y)} candidates. Got shape {tuple(norms.shape)}. "
            f"Compute them with weighted_norms(Y, weights)."
        )
    with torch.autocast(Z.device.type, enabled=False) if isinstance(Z, torch.Tensor) else nullcontext():
        scale = 1e-8 + (_compute_candidate_norms(Y, weights) if norms is None else norms)
        if out is None:
            return _compute_similarity_products(Z, Y, weights) / scale
        _compute_similarity_products(Z, Y, weights, out)
        out /= scale
        return out


def weighted_norms(Y, weights=None):
    r"""Compute the norm of each candidate, the denominator of the similarity.

    The norm of candidate o is :math:`\sqrt{\sum_j w_j |y_{oj}|^2}`, see
    :func:`similarity`.

    Parameters
    ----------
    Y : array or Tensor, shape (n_candidates, n_features[, n_frames])
        Candidates.
    weights : array-like, shape (n_frames,), or None
        Number of samples in each frame. If None, all have equal weight.

    Returns
    -------
    norms : array or Tensor, shape (n_candidates,)
        In float32, or in float64 if ``Y`` is.

    Raises
    ------
    ValueError
        If weights do not match the frames.

    Examples
    --------
    >>> weighted_norms(np.array([[[3.0, 1.0]], [[0.0, 0.5]]]), weights=[1, 4])
    array([3.60555128, 1.        ])
    """
    Y, _ = _make_similarity_floats(Y, Y)
    return _compute_candidate_norms(Y, _check_similarity_weights(weights, Y))


def _check_similarity_weights(weights, Y):
    """Return the weights in the type of ``Y``, checked against its frames."""
    if weights is None:
        return None
    is_tensor = isinstance(Y, torch.Tensor)
    weights = torch.as_tensor(weights).to(Y) if is_tensor else np.asarray(weights, dtype=Y.dtype)
    if tuple(weights.shape) != (Y.shape[2],):
        raise ValueError(
            f"weights must have one entry for each of {Y.shape[2]} frames. "
            f"Got shape {tuple(weights.shape)}. Compute Y and weights for the same frames."
        )
    return weights


def _make_similarity_floats(Z, Y):
    """Return both with three axes and one float type."""
    are_tensors = [isinstance(A, torch.Tensor) for A in (Z, Y)]
    if any(are_tensors) and not all(are_tensors):
        raise TypeError(
            "Z and Y must both be arrays or both be Tensors. "
            f"Got {type(Z).__name__} and {type(Y).__name__}. Use torch.as_tensor or .numpy()."
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
                f"{name} must have the axes (rows, features) or (rows, features, frames). "
                f"Got shape {tuple(A.shape)}."
            )
    return tuple(A[:, :, None] if A.ndim == 2 else A for A in (Z, Y))


def _compute_similarity_products(Z, Y, weights, out=None):
    """Compute the weighted inner product of each estimate and candidate."""
    if weights is not None:
        Y = Y * weights
    strides = Z.stride() if isinstance(Z, torch.Tensor) else Z.strides
    if strides[1] < strides[2]:
        Z, Y = Z.swapaxes(1, 2), Y.swapaxes(1, 2)
    n_columns = Z.shape[1] * Z.shape[2]
    Z, Y = Z.reshape(len(Z), n_columns), Y.reshape(len(Y), n_columns).T
    return (torch if isinstance(Z, torch.Tensor) else np).matmul(Z, Y, out=out)


def _compute_candidate_norms(Y, weights):
    """Compute the weighted norm of each candidate."""
    by_frame = _compute_estimate_norm(Y)
    return _compute_estimate_norm(by_frame if weights is None else by_frame * weights**0.5)


def _compute_estimate_norm(A):
    """Compute the Euclidean norm over the second axis."""
    if isinstance(A, torch.Tensor):
        # At a candidate of zeros its gradient is zero, where that of the root of a sum is undefined.
        return torch.linalg.vector_norm(A, dim=1)
    return np.sqrt(np.square(A).sum(axis=1))
