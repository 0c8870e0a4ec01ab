"""Checks of ridge strengths chosen by cross-validation: the edge of those tried, and no relation at all."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

__all__ = ["better_beyond", "strengths_beyond", "warn_of_choice"]

LEAST = 3  # strengths that make a search, fewer are a comparison and always end at one of them
BEYOND = (10.0, 1000.0)  # factors beyond the lowest and the highest strength
WITHIN = (1e-12, 1e12)  # beyond which rounding decides, or nothing changes any more
GAIN = 0.05  # share of a correlation by which a strength beyond the edge must be better
NOTHING = (np.nan, np.nan)


def strengths_beyond(alphas):
    """Return strengths beyond both ends of those tried, by which a choice at an end is judged.

    Parameters
    ----------
    alphas : sequence of float

    Returns
    -------
    beyond : list of float
        Empty where ``alphas`` are fewer than three.

    Examples
    --------
    >>> strengths_beyond((0.1, 1.0, 10.0))
    [0.01, 0.0001, 100.0, 10000.0]
    """
    if len(set(alphas)) < LEAST:
        return []
    beyond = [min(alphas) / factor for factor in BEYOND] + [max(alphas) * factor for factor in BEYOND]
    return [alpha for alpha in beyond if WITHIN[0] <= alpha <= WITHIN[1]]


def better_beyond(alphas, chosen, scores):
    """Find a strength beyond the edge that is better than the chosen one in every inner fold.

    Parameters
    ----------
    alphas : sequence of float
        Strengths to choose from.
    chosen : float
    scores : ndarray of shape (n_folds, n_tried)
        Held-out correlations, of ``alphas`` and then of :func:`strengths_beyond`.

    Returns
    -------
    better : tuple of float
        Strength and mean correlation. NaN where ``chosen`` is not at an end, or nothing beyond it is better by more
        than 5 %: there the curve is flat, and a wider search would change nothing.
    """
    tried, means = [*alphas, *strengths_beyond(alphas)], scores.mean(0)
    at, is_high, is_low = tried.index(chosen), chosen == max(alphas), chosen == min(alphas)
    outside = [
        index
        for index in range(len(alphas), len(tried))
        if (is_high and tried[index] > chosen) or (is_low and tried[index] < chosen)
    ]
    if not outside:
        return NOTHING
    best = max(outside, key=means.__getitem__)
    is_better = means[best] - means[at] > GAIN * means[best] > 0 and (scores[:, best] > scores[:, at]).all()
    return (float(tried[best]), float(means[best])) if is_better else NOTHING


def warn_of_choice(estimator, beyond):
    """Warn of subjects without a relation of X and y, and of strengths at the edge of those tried.

    Parameters
    ----------
    estimator : RidgeDecoder or ForwardTRF
        With ``alpha_``, ``inner_scores_`` and ``subjects_``.
    beyond : ndarray of shape (n_models, 2)
        What :func:`better_beyond` found for each model.

    Warns
    -----
    ConvergenceWarning
        Naming the subjects, at most once for each of both.
    """
    scores = estimator.inner_scores_.max(1)
    is_edge = np.isfinite(beyond[:, 0])
    is_nothing = (scores <= 0) & ~is_edge
    if is_nothing.any():
        names = [f"{name} ({score:.3f})" for name, score in zip(_models(estimator), scores, strict=True)]
        warnings.warn(
            f"inner cross-validation found no relation between X and y for "
            f"{', '.join(np.compress(is_nothing, names))}: the correlation in brackets is the highest of all alphas "
            f"and not above 0, so that estimates are guesses. Check that X and y belong together and vary, or give "
            f"more data.",
            ConvergenceWarning,
            stacklevel=4,
        )
    ways = []
    for is_high, word, way in ((True, "highest", "higher"), (False, "lowest", "lower")):
        mine = np.flatnonzero(is_edge & ((beyond[:, 0] > estimator.alpha_) == is_high))
        if len(mine):
            ways.append(_edge_of(estimator, beyond, mine, word, way))
    if ways:
        warnings.warn(f"{' '.join(ways)} One alpha is taken without a search.", ConvergenceWarning, stacklevel=4)


def _edge_of(estimator, beyond, mine, word, way):
    """Name the models whose strength is at one end, with what is better beyond it."""
    names, scores, edge = _models(estimator), estimator.inner_scores_.max(1), estimator.alpha_[mine[0]]
    said = [
        f"{names[i]} ({scores[i]:.3f} there, {beyond[i, 1]:.3f} at alpha={beyond[i, 0]:g})" for i in mine
    ]
    far = beyond[mine, 0].max() if word == "highest" else beyond[mine, 0].min()
    return (
        f"The strength chosen is the {word} of alphas, {edge:g}, though {way} ones have a better correlation in inner "
        f"cross-validation, for {', '.join(said)}. Extend alphas to {way} values, to {far:g} and beyond."
    )


def _models(estimator):
    """Name the models of an estimator."""
    if len(estimator.alpha_) != len(estimator.subjects_):
        return ["all subjects together"]
    return [f"subject {str(name)!r}" if name != "" else "all rows" for name in estimator.subjects_]
