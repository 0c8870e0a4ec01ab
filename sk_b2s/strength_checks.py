"""Checks of ridge strengths chosen by cross-validation: the edge of those tried, and no relation at all."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

__all__ = ["better_beyond", "strengths_beyond", "warn_of_choice"]

ALPHAS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
LEAST = 3  # strengths that make a search, fewer are a comparison
BEYOND = (10.0, 1000.0)  # factors beyond the lowest and the highest strength
WITHIN = (1e-12, 1e12)  # beyond which rounding decides, or nothing changes any more
GAIN = 0.05  # share of a correlation by which a strength beyond the ends must be better
NOTHING = (np.nan, np.nan)


def strengths_beyond(alphas):
    """Return strengths beyond both ends of those tried, to see whether the search was wide enough.

    Parameters
    ----------
    alphas : sequence of float

    Returns
    -------
    beyond : list of float
        Rising. Empty where ``alphas`` are fewer than three.

    Examples
    --------
    >>> [f"{alpha:.0e}" for alpha in strengths_beyond((1e-6, 1.0, 1e3))]
    ['1e-09', '1e-07', '1e+04', '1e+06']
    """
    if len(set(alphas)) < LEAST:
        return []
    low, high = min(alphas), max(alphas)
    beyond = [edge for factor in BEYOND for edge in (low / factor, high * factor)]
    beyond += [alpha for alpha in ALPHAS if not low <= alpha <= high]
    return sorted({float(alpha) for alpha in beyond if WITHIN[0] <= alpha <= WITHIN[1]})


def better_beyond(n_alphas, chosen, tried, scores):
    """Find a strength beyond the ends that is better than the chosen one in every inner fold.

    Parameters
    ----------
    n_alphas : int
        Number of strengths to choose from.
    chosen : float
    tried : list of float
        Strengths to choose from, then those of :func:`strengths_beyond`.
    scores : ndarray of shape (n_folds, n_tried)
        Held-out correlations.

    Returns
    -------
    better : tuple of float
        Strength and mean correlation. NaN where nothing beyond the ends is better by more than 5 %. The curve is then
        flat there or falls, and a wider search would change nothing, whether or not ``chosen`` is at an end.
    """
    if len(tried) == n_alphas:
        return NOTHING
    means, at = scores.mean(0), tried.index(chosen)
    best = n_alphas + int(np.argmax(means[n_alphas:]))
    is_better = means[best] - means[at] > GAIN * means[best] > 0 and (scores[:, best] > scores[:, at]).all()
    return (tried[best], float(means[best])) if is_better else NOTHING


def warn_of_choice(estimator, beyond):
    """Warn of subjects without a relation of X and y, and of alphas that end before the best strength.

    Parameters
    ----------
    estimator : RidgeDecoder or ForwardTRF
        With ``alphas, alpha_, inner_scores_`` and ``subjects_``.
    beyond : ndarray of shape (n_models, 2)
        What :func:`better_beyond` found for each model.

    Warns
    -----
    ConvergenceWarning
        Naming the subjects, at most once for each of both.
    """
    names, best = _models(estimator), estimator.inner_scores_.max(1)
    is_short = np.isfinite(beyond[:, 0])
    if (is_nothing := (best <= 0) & ~is_short).any():
        said = ", ".join(f"{names[i]} ({best[i]:.3f})" for i in np.flatnonzero(is_nothing))
        warnings.warn(
            f"inner cross-validation found no relation between X and y for {said}: the best correlation of all alphas, "
            f"in brackets, is not above 0, so estimates are guesses. Check that X and y belong together and vary, or "
            f"give more data.",
            ConvergenceWarning,
            stacklevel=4,
        )
    ways = []
    for edge, word, end in (
        (max(estimator.alphas), "higher", "highest"),
        (min(estimator.alphas), "lower", "lowest"),
    ):
        is_mine = is_short & ((beyond[:, 0] > edge) if word == "higher" else (beyond[:, 0] < edge))
        if is_mine.any():
            said = ", ".join(
                f"{names[i]} ({best[i]:.3f} at alpha={estimator.alpha_[i]:g}, {beyond[i, 1]:.3f} at "
                f"{beyond[i, 0]:g})"
                for i in np.flatnonzero(is_mine)
            )
            ways.append(
                f"alphas end at {edge:g}, and {word} strengths than the {end} have a better correlation in inner "
                f"cross-validation for {said}. Add {word} values to alphas."
            )
    if ways:
        text = " Also, ".join(ways)
        warnings.warn(
            f"{text} A single alpha is not searched and not judged.", ConvergenceWarning, stacklevel=4
        )


def _models(estimator):
    """Name the models of an estimator."""
    if len(estimator.alpha_) != len(estimator.subjects_):
        return ["all subjects together"]
    return [f"subject {str(name)!r}" if name != "" else "all rows" for name in estimator.subjects_]
