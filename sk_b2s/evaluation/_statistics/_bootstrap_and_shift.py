"""Bootstrap intervals and circular shift tests of a score."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from sk_b2s._utils._validation import get_validated_recordings, validate_count
from sk_b2s.decoding._retrieval._result import RetrievalResult
from sk_b2s.decoding._retrieval._row_result import RowRetrievalResult
from sk_b2s.metrics._null import find_null_shifts
from sk_b2s.metrics._ranks_and_top_k import mark_top_k_hits

TINY = 1e-12  # difference below which two scores are equal


def bootstrap_ci(hits, subject, block, level=0.95, n_boot=5000, random_state=0):
    r"""Compute a crossed bootstrap interval over subjects and stimulus blocks.

    All subjects are presented the same stimuli, so scores of windows correlate
    within subjects and within stretches of the stimulus. The pigeonhole
    bootstrap [1]_ draws S subjects and, independently, B blocks with
    replacement. Let :math:`w_s` and :math:`v_b` be how often each was drawn,
    :math:`h_{sb}` the sum of hits and :math:`n_{sb}` the number of windows of
    a cell. The score of a draw is

    .. math:: m^* = \frac{1}{\sum_s w_s}
              \sum_s w_s \, \frac{\sum_b v_b h_{sb}}{\sum_b v_b n_{sb}},

    so a window counts :math:`w_s v_b` times, and the score is the mean over
    subjects of the mean over windows. A subject without windows in a draw is
    left out of it. The interval is given by quantiles of :math:`m^*`. With one
    block it is the ordinary bootstrap over subjects. A bootstrap over windows,
    or a binomial interval, assumes independent windows and is far too narrow.

    Parameters
    ----------
    hits : array-like of float of shape (n_windows,)
        Score of each window: whether the target is among the k best candidates
        (``result.ranks < k``), or the *difference* of the hits of two
        decoders for an interval of the difference.
    subject, block : array-like of shape (n_windows,)
        Subject and stimulus block of each window.
    level : float, default=0.95
        Nominal coverage.
    n_boot : int, default=5000
        Number of draws.
    random_state : None, int or RandomState, default=0
        Draws subjects and blocks.

    Returns
    -------
    interval : Series
        ``mean, low, high``, ``se`` (standard deviation over draws),
        ``n_subjects, n_blocks, n_windows, level``.

    Raises
    ------
    ValueError
        If lengths differ, a value is NaN, or there is only one subject and one
        block.

    Notes
    -----
    No bootstrap is exact for crossed effects. This one counts the variance of
    cells three times, which makes it conservative. Like every percentile
    interval it is too narrow by about :math:`\sqrt{(n - 1) / n}` with few
    subjects or blocks. Coverage of nominal 95 % intervals in 1000 simulations
    of 10 windows per cell, with equal standard deviations of subjects and
    blocks (0.1 around 0.4, and 0.05 of a cell):

    ================ ======= ============= =================
    subjects, blocks crossed subjects only binomial, windows
    ================ ======= ============= =================
    27, 60           94.9 %  88.6 %        25.9 %
    12, 20           93.7 %  82.9 %        38.2 %
    8, 10            94.1 %  79.9 %        49.4 %
    5, 5             93.8 %  75.3 %        60.8 %
    ================ ======= ============= =================

    If neither subjects nor blocks differ, it covered 98 to 100 %.

    References
    ----------
    .. [1] Owen (2007). The pigeonhole bootstrap. Annals of Applied Statistics
       1:386. https://doi.org/10.1214/07-AOAS122

    Examples
    --------
    >>> from sk_b2s import bootstrap_ci
    >>> hits, subject = [1, 1, 0, 1, 0, 0, 0, 1], list("aaaabbbb")
    >>> block = [0, 0, 1, 1, 0, 0, 1, 1]
    >>> bootstrap_ci(hits, subject, block)[["mean", "low", "high"]].tolist()
    [0.5, 0.0, 1.0]
    """
    hits = np.asarray(hits, float)
    labels = [pd.factorize(np.asarray(column, dtype=object))[0] for column in (subject, block)]
    if hits.ndim != 1 or any(len(label) != len(hits) for label in labels) or not len(hits):
        raise ValueError(
            f"hits, subject and block must have one entry per window. Got {hits.shape}, {len(labels[0])} and "
            f"{len(labels[1])}."
        )
    if np.isnan(hits).any() or min(label.min() for label in labels) < 0:
        raise ValueError("hits, subject and block must not be NaN or None. Remove such windows.")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1. Got {level!r}.")
    shape = n_subjects, n_blocks = tuple(label.max() + 1 for label in labels)
    if shape == (1, 1):
        raise ValueError("Bootstrapping needs at least two subjects or two stimulus blocks.")
    random = check_random_state(random_state)
    cell = np.ravel_multi_index(labels, shape)
    total = np.bincount(cell, hits, minlength=n_subjects * n_blocks).reshape(shape)
    count = np.bincount(cell, minlength=n_subjects * n_blocks).reshape(shape)
    subjects = random.multinomial(n_subjects, np.full(n_subjects, 1 / n_subjects), size=n_boot)
    blocks = random.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=n_boot)
    n_drawn = blocks @ count.T
    means = blocks @ total.T / np.maximum(n_drawn, 1)
    subjects = subjects * (n_drawn > 0)
    drawn = subjects.sum(1) > 0  # a draw may have no window if subjects had different stimuli
    means = (subjects * means).sum(1)[drawn] / subjects.sum(1)[drawn]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return pd.Series({
        "mean": (total.sum(1) / count.sum(1)).mean(), "low": low, "high": high, "se": means.std(ddof=1),
        "n_subjects": n_subjects, "n_blocks": n_blocks, "n_windows": len(hits), "level": level,
    })  # fmt: skip


def circular_shift_test(results, k=None, n_shifts=1000, random_state=0):
    r"""Test the mean top-k accuracy of all subjects by circular shifts.

    The statistic is the mean over subjects of top-k accuracy. Under the null
    hypothesis the recordings do not depend on the stimulus, so labels may be
    shifted circularly in time, in all recordings at once and in each by a
    different shift, see :func:`~sk_b2s.circular_shift_null`. If b of N shifts
    score as high or higher,

    .. math:: p = \frac{1 + b}{1 + N},

    because the observed labels are one of the possible shifts, so p is never
    zero [1]_. If there are no more than ``n_shifts`` combinations of shifts,
    each is used once. A thousand draws from forty shifts would give 0.001,
    although no p below 1/41 is possible. Recordings with fewer than 10 shifts
    are also combined unshifted, but not all recordings at once.

    Parameters
    ----------
    results : RetrievalResult or sequence of RetrievalResult
        Results of one or several folds, which are pooled per subject.
    k : None or int, default=None
        Number of guesses. If None, that of the decoder.
    n_shifts : int, default=1000
        Number of shifts.
    random_state : None, int or RandomState, default=None
        Draws the shifts, if not all are used.

    Returns
    -------
    test : Series
        ``top_k`` (mean over subjects), ``chance`` (of the candidates of each
        window), ``null_low, null_mean, null_high`` (mean, 2.5 and 97.5 %
        quantile), ``p``, the probability of a score as high by chance,
        ``p_below``, the probability of a score as low (an inverted estimate:
        wrong labels, signs or pairs), ``smallest_p`` = 1 / (1 + N),
        ``n_shifts`` = N, ``every_shift`` (whether all shifts were used),
        ``n_subjects, n_windows, k``.

    Raises
    ------
    ValueError
        If the times of the windows are unknown, or a recording is too short to
        shift its labels.

    Notes
    -----
    A small p shows that similarities depend on *when* in a recording each
    segment was presented. Differences between recordings do not lower it, but
    :func:`~sk_b2s.run_controls` detects them. Shifts wrap around the end of a
    recording and exclude those shorter than a window, so they are not a group.
    The test is exact for stationary recordings only. Trends of a recording may
    correlate with trends of the stimulus.

    References
    ----------
    .. [1] Phipson, Smyth (2010). Permutation p-values should never be zero.
       Statistical Applications in Genetics and Molecular Biology 9:39.
       https://doi.org/10.2202/1544-6115.1585
    """
    validate_count("n_shifts", n_shifts, least=1)
    parts = [results] if isinstance(results, RetrievalResult) else list(results)
    for place, part in enumerate(parts):
        if missing := [name for name in ("onset", "duration") if name not in part.rows]:
            raise ValueError(
                f"The test shifts labels in time, but the rows of results {place} lack {missing}. Add these columns (s)."
            )
    k = parts[0].k if k is None else k
    subject = pd.concat([part.rows["subject"] for part in parts])
    each = 1 / (subject.map(subject.value_counts()) * subject.nunique()).to_numpy(float)
    weights = np.split(each, np.cumsum([len(part.rows) for part in parts])[:-1])
    weighted = list(zip(parts, weights, strict=True))
    top_k = sum(float(weight @ (part.ranks < k)) for part, weight in weighted)
    null = _combine_shifts_of_recordings(weighted, k, n_shifts)
    if every := null is not None:
        n_shifts = len(null)
    else:
        random = check_random_state(random_state)
        null = sum(
            weight.sum() * _draw_shifts_of_recordings(part, weight, k, n_shifts, random)
            for part, weight in weighted
        )
    return pd.Series({
        "top_k": top_k, "chance": sum(weight.sum() * k / part.n_candidates for part, weight in weighted),
        "null_low": np.quantile(null, 0.025), "null_mean": null.mean(), "null_high": np.quantile(null, 0.975),
        "p": (1 + np.sum(null >= top_k - TINY)) / (1 + n_shifts),
        "p_below": (1 + np.sum(null <= top_k + TINY)) / (1 + n_shifts), "smallest_p": 1 / (1 + n_shifts),
        "n_shifts": n_shifts, "every_shift": every, "n_subjects": subject.nunique(), "n_windows": len(subject),
        "k": k,
    })  # fmt: skip


def _draw_shifts_of_recordings(part, weight, k, n_shifts, random):
    return replace(part, k=k).draw_null(n_shifts, random, weight)


def _combine_shifts_of_recordings(weighted, k, most):
    """Score all combinations of shifts, None if there are too many."""
    if any(isinstance(part, RowRetrievalResult) for part, _ in weighted):
        return None
    sums, n, is_true_order = [], 1, True
    for part, weight in weighted:
        hit, duration = mark_top_k_hits(part.scores, k), part.rows["duration"].max()
        onset = part.rows["onset"].to_numpy(float)
        for name, rows in part.rows.groupby(get_validated_recordings(part.rows), sort=False).indices.items():
            rows = rows[np.argsort(onset[rows], kind="stable")]
            labels = part.target[rows]
            shifts = find_null_shifts(name, labels, onset[rows], duration)
            if (n := n * len(shifts)) > most:
                return None
            is_true_order = is_true_order and shifts[0] == 0
            sums.append([weight[rows] @ hit[rows, np.roll(labels, -shift)] for shift in shifts])
    return reduce(np.add.outer, sums).ravel()[
        int(is_true_order) :
    ]  # the true order is in the p value already
