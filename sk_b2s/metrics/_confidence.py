"""Temperature, reliability and abstention of retrieval probabilities."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from sk_b2s._utils._chunks import count_chunk_rows, slice_rows_into_chunks

CHUNK_BYTES = 2**26  # of float64 similarities in memory
PRIOR = 10.0  # s.d. of weights, which keeps them finite if all windows are decoded
SHARPEST = 1e3  # range of 1 / temperature, times the standard deviation of the similarities


def slice_confidence_scores(scores):
    """Return slices of the rows of a score matrix, each of bounded memory."""
    return slice_rows_into_chunks(len(scores), count_chunk_rows(CHUNK_BYTES, scores.shape[-1], itemsize=8))


def compute_confidence_loss(weights, folds):
    r"""Compute the cross-entropy of weighted similarities and its gradient.

    Parameters
    ----------
    weights : ndarray of shape (n_members,)
    folds : list of (ndarray, ndarray)
        Similarities of shape (n_members, n_windows, n_candidates), and the
        target column of each window.

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
        for rows in slice_confidence_scores(scores[0]):
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


def fit_confidence_weights(folds):
    """Fit non-negative weights of similarities by their cross-entropy.

    The loss is convex, so that there is one minimum. Its scale makes the
    softmax of the weighted sum reliable on ``folds``. Parameters are those of
    :func:`compute_confidence_loss`.
    """
    n_members, n_windows = len(folds[0][0]), sum(len(target) for _, target in folds)
    penalty = 1 / (PRIOR**2 * n_windows)

    def penalized_loss(weights):
        loss, gradient = compute_confidence_loss(weights, folds)
        return loss + penalty / 2 * weights @ weights, gradient + penalty * weights

    start, bounds = np.full(n_members, 0.5 / n_members), [(0, None)] * n_members
    return minimize(penalized_loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x


def fit_temperature(scores, target):
    r"""Fit the temperature that makes the softmax of similarities reliable.

    The temperature T minimizes the mean of :math:`-\log p` of the target,
    where p is the softmax of ``scores / T`` [1]_. Ranks do not depend on T.

    Parameters
    ----------
    scores : ndarray of shape (n_windows, n_candidates)
        Similarities.
    target : ndarray of int of shape (n_windows,)
        Column of the target of each window.

    Returns
    -------
    temperature : float
        Above 0, in the unit of ``scores``, at most 1,000 times and at least
        a thousandth of their mean standard deviation over candidates. It is at
        the maximum if the scores are not above chance.

    Raises
    ------
    ValueError
        If all scores of each window are equal, or a score is not finite.

    References
    ----------
    .. [1] Guo, Pleiss, Sun, Weinberger (2017). On calibration of modern neural
       networks. ICML. https://arxiv.org/abs/1706.04599

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> scores = rng.standard_normal((2000, 20))
    >>> target = np.arange(2000) % 20
    >>> scores[np.arange(2000), target] += 2  # separation d: T = s.d. / d
    >>> print(round(fit_temperature(scores, target), 1))
    0.5
    """
    scores, target = np.asarray(scores), np.asarray(target)
    spread = np.mean([scores[rows].astype(float).std(1).mean() for rows in slice_confidence_scores(scores)])
    if not (np.isfinite(spread) and spread > 0):
        raise ValueError(
            f"fit_temperature requires finite scores that differ between candidates. Their mean standard deviation is "
            f"{spread}. Check the fit of the decoder."
        )
    folds = [(scores[None], target)]
    found = minimize_scalar(
        lambda log_weight: compute_confidence_loss(np.exp([log_weight]), folds)[0],
        bounds=tuple(np.log([1 / SHARPEST / spread, SHARPEST / spread])), method="bounded",
    )  # fmt: skip
    return float(np.exp(-found.x))


def compute_confidence_of_best(scores, kind="probability"):
    """Compute the confidence in the best candidate of each window.

    ``kind`` is "probability", the softmax of the best candidate, or "margin",
    the difference of the two best similarities. Returns an ndarray of shape
    (n_windows,).
    """
    if kind not in ("probability", "margin"):
        raise ValueError(f"confidence must be 'probability' or 'margin'. Got {kind!r} instead.")
    out = np.empty(len(scores))
    for rows in slice_confidence_scores(scores):
        part = scores[rows].astype(float)
        best = part.max(1, keepdims=True)
        if kind == "probability":
            out[rows] = 1 / np.exp(part - best).sum(1)
        else:
            out[rows] = best[:, 0] - np.partition(part, -2, axis=1)[:, -2]
    return out


def _check_confidence_predictions(confidence, is_hit, name):
    """Return both as arrays, or raise if their shapes do not match."""
    confidence, is_hit = np.asarray(confidence, float), np.asarray(is_hit, float)
    if confidence.shape != is_hit.shape or confidence.ndim != 1 or not len(confidence):
        raise ValueError(
            f"{name} and is_hit must have one entry per window. Got shapes {confidence.shape} and {is_hit.shape}."
        )
    return confidence, is_hit


def reliability_curve(probability, is_hit, n_bins=10):
    """Compute the accuracy of predictions by their probability.

    Parameters
    ----------
    probability : array-like of shape (n_windows,)
        Probability of each prediction.
    is_hit : array-like of bool of shape (n_windows,)
        Whether it is right.
    n_bins : int, default=10
        Number of bins with nearly equal numbers of windows.

    Returns
    -------
    mean_probability, accuracy : ndarray of shape (n_bins,)
        Means of each bin, equal for reliable probabilities.
    n_windows : ndarray of int of shape (n_bins,)
        Windows in each bin. Empty bins are left out.

    Examples
    --------
    >>> probability, accuracy, n = reliability_curve(
    ...     [0.1, 0.2, 0.9, 0.8], [False, False, True, True], n_bins=2
    ... )
    >>> probability, accuracy, n
    (array([0.15, 0.85]), array([0., 1.]), array([2, 2]))
    """
    probability, is_hit = _check_confidence_predictions(probability, is_hit, "probability")
    parts = [part for part in np.array_split(np.argsort(probability, kind="stable"), n_bins) if len(part)]
    return (
        np.array([probability[part].mean() for part in parts]),
        np.array([is_hit[part].mean() for part in parts]),
        np.array([len(part) for part in parts]),
    )


def risk_coverage_curve(confidence, is_hit):
    """Compute the accuracy of the most confident predictions by their share.

    Parameters
    ----------
    confidence : array-like of shape (n_windows,)
        Confidence in each prediction.
    is_hit : array-like of bool of shape (n_windows,)
        Whether it is right.

    Returns
    -------
    coverage : ndarray of shape (n_thresholds,)
        Share of windows with at least the confidence of each threshold,
        rising to 1.
    accuracy : ndarray of shape (n_thresholds,)
        Accuracy of these windows. The risk is 1 - accuracy.
    threshold : ndarray of shape (n_thresholds,)
        Distinct confidences, falling.

    Examples
    --------
    >>> risk_coverage_curve([0.9, 0.5, 0.5], [True, True, False])[:2]
    (array([0.33333333, 1.        ]), array([1.        , 0.66666667]))
    """
    confidence, is_hit = _check_confidence_predictions(confidence, is_hit, "confidence")
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order]
    last = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True])
    n_answered = last + 1
    return n_answered / len(order), np.cumsum(is_hit[order])[last] / n_answered, ordered[last]
