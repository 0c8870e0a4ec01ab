"""Keyword spotting: average precision and false alarms per hour."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import average_precision_score


def average_precision_chance(n_targets, n_windows):
    r"""Compute the mean average precision of random scores.

    It approaches the prevalence :math:`m / N` with many windows, and is larger
    with few targets m [1]_:

    .. math:: \frac{1}{N} \left(\frac{(m - 1)(N - H_N)}{N - 1} + H_N\right),
              \quad H_N = \sum_{i=1}^N \frac{1}{i}

    Parameters
    ----------
    n_targets : int
        Number of windows with the keyword, m.
    n_windows : int
        Number of all windows, N.

    Returns
    -------
    chance : float
        NaN without targets.

    References
    ----------
    .. [1] Bestgen (2015). Exact expected average precision of the random
       baseline for system evaluation. Prague Bulletin of Mathematical
       Linguistics 103:131. https://doi.org/10.1515/pralin-2015-0007

    Examples
    --------
    >>> average_precision_chance(1, 2), average_precision_chance(2, 2)
    (0.75, 1.0)
    >>> round(average_precision_chance(1000, 100_000), 4)
    0.0101
    """
    if n_targets < 1:
        return np.nan
    if n_windows == 1:
        return 1.0
    harmonic = float((1 / np.arange(1, n_windows + 1)).sum())
    return ((n_targets - 1) * (n_windows - harmonic) / (n_windows - 1) + harmonic) / n_windows


def false_alarms_per_hour(is_target, scores, hours, recall=0.5):
    """Count the false alarms at the threshold that reaches a recall.

    The threshold is the highest score that detects at least the share
    ``recall`` of the targets. Each other window with at least this score is a
    false alarm, so ties count as errors. Neighboring alarms are not merged.

    Parameters
    ----------
    is_target : array-like of bool of shape (n_windows,)
        Whether the keyword was presented in each window.
    scores : array-like of shape (n_windows,)
        Score of the keyword, such as its probability.
    hours : float
        Duration of the recordings that the windows cover, in hours.
    recall : float, default=0.5
        Share of targets that are detected, above 0 and at most 1.

    Returns
    -------
    rate : float
        False alarms per hour, NaN without targets.

    Raises
    ------
    ValueError
        If ``recall`` is not above 0 and at most 1, or if a score is NaN.

    Examples
    --------
    >>> is_target = [True, False, True, False, False]
    >>> false_alarms_per_hour(is_target, [0.9, 0.8, 0.7, 0.2, 0.7], hours=0.5)
    0.0
    >>> false_alarms_per_hour(
    ...     is_target, [0.9, 0.8, 0.7, 0.2, 0.7], hours=0.5, recall=1
    ... )
    4.0
    """
    is_target, scores = _check_keyword(is_target, scores)
    if not 0 < recall <= 1:
        raise ValueError(f"The 'recall' parameter must be above 0 and at most 1. Got {recall!r} instead.")
    if not is_target.any():
        return np.nan
    threshold = np.sort(scores[is_target])[::-1][_count_detected_keywords(recall, is_target.sum()) - 1]
    return float(np.sum(scores[~is_target] >= threshold) / hours)


def _count_detected_keywords(recall, n_targets):
    """Return the least number of targets with at least this recall."""
    return int(np.ceil(recall * n_targets - 1e-9))


def _check_keyword(is_target, scores):
    """Return arrays of targets and scores."""
    is_target, scores = np.asarray(is_target, bool), np.asarray(scores, float)
    if is_target.ndim != 1 or scores.shape != is_target.shape:
        raise ValueError(
            f"is_target and scores must have the shape (n_windows,). Got {is_target.shape} and {scores.shape}."
        )
    if np.isnan(scores).any():
        raise ValueError(f"scores are NaN in {np.isnan(scores).sum()} of {len(scores)} windows.")
    return is_target, scores


def keyword_scores(is_target, scores, hours=np.nan, recall=0.5):
    """Compute the scores of spotting one keyword, with their chance levels.

    Parameters
    ----------
    is_target : array-like of bool of shape (n_windows,)
        Whether the keyword was presented in each window.
    scores : array-like of shape (n_windows,)
        Score of the keyword, such as its probability.
    hours : float, default=np.nan
        Duration of the recordings that the windows cover, in hours.
    recall : float, default=0.5
        Share of targets that are detected at the threshold of false alarms.

    Returns
    -------
    scores : dict of str to float
        - ``auprc``, the average precision of scikit-learn, an estimate of the
          area under the precision-recall curve, and ``auprc_chance``, see
          :func:`average_precision_chance`. ``prevalence``, the share of
          windows with the keyword, is the limit of the chance level for many
          windows.
        - ``false_alarms_per_hour`` at the ``recall``, and its expected value
          for random scores, ``false_alarms_chance``. NaN if ``hours`` is NaN.
        - ``recall``, ``n_targets``, ``n_windows`` and ``hours``.

        The scores are NaN without targets.

    Examples
    --------
    >>> is_target = [True, False, False, True]
    >>> found = keyword_scores(is_target, [0.9, 0.1, 0.5, 0.7])
    >>> found["auprc"], found["prevalence"]
    (1.0, 0.5)
    """
    is_target, scores = _check_keyword(is_target, scores)
    n_targets, n_windows = int(is_target.sum()), len(is_target)
    n_detected = _count_detected_keywords(recall, n_targets)
    chance = n_detected * (n_windows - n_targets) / (n_targets + 1) / hours if n_targets else np.nan
    return {
        "auprc": float(average_precision_score(is_target, scores)) if n_targets else np.nan,
        "auprc_chance": average_precision_chance(n_targets, n_windows),
        "prevalence": n_targets / n_windows if n_windows else np.nan,
        "false_alarms_per_hour": false_alarms_per_hour(is_target, scores, hours, recall),
        "false_alarms_chance": chance, "recall": recall, "n_targets": n_targets, "n_windows": n_windows,
        "hours": hours,
    }  # fmt: skip
