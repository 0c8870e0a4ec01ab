"""Standardized similarities of ensemble members, and their weights."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sk_b2s.metrics._confidence import fit_confidence_weights, slice_confidence_scores

FLAT = 1e-3  # weight of each member if none is above chance, so that candidates do not tie


def standardize_weighted_ensemble_scores(scores):
    """Standardize similarities over the candidates of each window, in place.

    Each row gets the mean 0 and the standard deviation 1. Constant rows become
    zeros. ``scores`` is a float32 matrix (n_windows, n_candidates).
    """
    for rows in slice_confidence_scores(scores):
        part = scores[rows].astype(float)
        part -= part.mean(1, keepdims=True)
        spread = part.std(1, keepdims=True)
        np.divide(part, spread, out=part, where=spread > 0)
        scores[rows] = part
    return scores


def learn_ensemble_weights(folds):
    """Learn the weights of members, equal ones if none is above chance.

    Parameters are those of :func:`compute_confidence_loss`.
    """
    weights = fit_confidence_weights(folds)
    if weights.sum() > FLAT * len(weights):
        return weights
    warnings.warn(
        "No member of the EnsembleDecoder is above the chance level on the inner folds, so weights_ are equal and "
        "probabilities are nearly equal. Check that X and y match, use more data, or set weights='equal'.",
        ConvergenceWarning,
        stacklevel=4,
    )
    return np.full(len(weights), FLAT)
