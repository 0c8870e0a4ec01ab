"""Standardized similarities of ensemble members, and their weights."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from sk_b2s._utils._chunks import count_chunk_rows, slice_rows_into_chunks

CHUNK_BYTES = 2**26  # of float64 similarities in memory
PRIOR = 10.0  # s.d. of weights, which keeps them finite if all windows are decoded
FLAT = 1e-3  # weight of each member if none is above chance, so that candidates do not tie


def standardize_ensemble_scores(scores):
    """Standardize similarities over the candidates of each window, in place.

    Each row gets the mean 0 and the standard deviation 1. Constant rows become
    zeros. ``scores`` is a float32 matrix (n_windows, n_candidates).
    """
    for rows in slice_rows_into_chunks(len(scores), count_chunk_rows(CHUNK_BYTES, scores.shape[1], 8)):
        part = scores[rows].astype(float)
        part -= part.mean(1, keepdims=True)
        spread = part.std(1, keepdims=True)
        np.divide(part, spread, out=part, where=spread > 0)
        scores[rows] = part
    return scores


def compute_ensemble_loss(weights, folds):
    r"""Compute the cross-entropy of weighted similarities and its gradient.

    Parameters
    ----------
    weights : ndarray of shape (n_members,)
    folds : list of (ndarray, ndarray)
        Standardized similarities of shape (n_members, n_windows,
        n_candidates), and the target column of each window.

    Returns
    -------
    loss : float
        Mean of :math:`-\log p` of the target over windows in nats, where p is
        the softmax of the sum of weights times similarities.
    gradient : ndarray of shape (n_members,)
    """
    loss, gradient, n_windows = 0.0, np.zeros(len(weights)), 0
    for scores, target in folds:
        n_windows += len(target)
        for rows in slice_rows_into_chunks(len(target), count_chunk_rows(CHUNK_BYTES, scores.shape[2], 8)):
            part, own = scores[:, rows], (np.arange(len(target[rows])), target[rows])
            logits = np.tensordot(weights, part, 1)
            logits -= logits.max(1, keepdims=True)
            proba = np.exp(logits)
            total = proba.sum(1, keepdims=True)
            loss += np.sum(np.log(total[:, 0]) - logits[own])
            proba /= total
            proba[own] -= 1
            gradient += np.tensordot(part, proba, 2)
    return loss / n_windows, gradient / n_windows


def learn_ensemble_weights(folds):
    """Learn non-negative weights by minimizing the cross-entropy.

    The loss is convex, so that there is one minimum. Its scale makes the
    softmax of the combined similarities calibrated on ``folds``. Parameters
    are those of :func:`compute_ensemble_loss`.
    """
    n_members, n_windows = len(folds[0][0]), sum(len(target) for _, target in folds)
    penalty = 1 / (PRIOR**2 * n_windows)

    def penalized_loss(weights):
        loss, gradient = compute_ensemble_loss(weights, folds)
        return loss + penalty / 2 * weights @ weights, gradient + penalty * weights

    start, bounds = np.full(n_members, 0.5 / n_members), [(0, None)] * n_members
    found = minimize(penalized_loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    if found.x.sum() > FLAT * n_members:
        return found.x
    warnings.warn(
        "No member of the EnsembleDecoder is above the chance level on the inner folds, so weights_ are equal and "
        "probabilities are nearly equal. Check that X and y match, use more data, or set weights='equal'.",
        ConvergenceWarning,
        stacklevel=4,
    )
    return np.full(n_members, FLAT)
