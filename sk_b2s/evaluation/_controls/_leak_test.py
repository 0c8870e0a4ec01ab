"""Leak test of control analyses: limits of the scores of controls."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from math import factorial

import numpy as np
import pandas as pd

from sk_b2s.evaluation._controls._registry import LEAK_ALPHA
from sk_b2s.evaluation._reconstruction._result import FOLDS_FACTOR

TINY = 1e-9  # difference below which two scores are equal
MIN_RECORDINGS = 5  # with fewer, the true one of the 4! permutations cannot be rarer than LEAK_ALPHA
N_PERMUTATIONS = 10_000  # drawn if there are more permutations than that

POOLED = (
    "top_1", "top_k", "top_k_sem", "median_relative_rank", "n_subjects", "n_windows", "n_candidates", "chance",
    "null_mean", "null_low", "null_high", "leak_threshold", "inverted_below", "recording_identity_p",
)  # fmt: skip


@dataclass
class LeakTestOutcome:
    """Scores of one control in one fold.

    Parameters
    ----------
    records : list of dict
        Hits, chance level and null of each recording.
    across : list of (tuple of str, ndarray)
        For each pool of candidates the names of its recordings, and the hits
        of each with labels drawn from each, an array of shape (n_recordings,
        n_recordings).
    n_left_out : int
        Training windows that were excluded.
    n_train_overlap : int, default=0
        Test windows whose stimulus the fitted estimator was trained on.
    separate : None or LeakTestOutcome, default=None
        Outcome of surrogates whose windows share no samples.
    is_correlation : bool, default=False
        Whether scores are correlations of a reconstruction, whose null of a
        mean over folds is wider than that of independent folds.
    """

    records: list
    across: list
    n_left_out: int
    n_train_overlap: int = 0
    separate: LeakTestOutcome | None = None
    is_correlation: bool = False


def pool_leak_test_rows(outcomes, random_state=0):
    r"""Pool all folds into one score per subject and average over subjects.

    **Threshold of a leak.** Let T be the score, a mean over recordings r with
    weights :math:`w_r`, and :math:`m_r` the mean of the null of r, in which
    labels are shifted within r. Then

    .. math:: T - c = (T - \sum_r w_r m_r) + \sum_r w_r (m_r - c_r)

    with chance level c. Differences between recordings do not shift labels in
    time, so they raise each :math:`m_r` as they raise T. A comparison with the
    null only uses the first bracket and does not detect them, so T must be
    compared with c. Without a leak, T exceeds c by sampling error in either
    bracket. The first has the width of the null. The second is zero if all
    recordings have the same candidates. If not, a decoder that prefers some
    candidates throughout a recording may by chance prefer those of that
    recording. The permutation of labels between recordings measures this, see
    :func:`permute_leak_test_labels`. The threshold of T is
    :math:`c + \sqrt{(q - \sum w_r m_r)^2 + b^2}`, where q and b are the
    quantiles of the null and of the permutations (minus their mean) that leave
    2.5 % to all leak tests together.

    The second bracket is the difference between recordings itself and has less
    noise than T, so it is also tested alone: ``recording_identity_p`` is the
    proportion of permutations that score as high as the true labels. It is
    significant at 2.5 % divided by the number of leak tests, 0.83 %. A
    recording too short for a null gets the widest null possible for q, in
    which all windows or no windows are hits.

    Parameters
    ----------
    outcomes : list of LeakTestOutcome
        One control, one entry per fold.
    random_state : None, int or Generator, default=0
        Draws permutations if there are too many of them.

    Returns
    -------
    row : dict
        Columns as in :func:`~sk_b2s.run_controls`.

    Notes
    -----
    False positives in 4000 to 8000 simulated rows without a leak, with 5, 6, 8
    and 12 recordings whose hits under permuted labels are normal, prefer one
    label each, or have heavy tails (log-normal, sigma 2):

    - ``recording_identity_p`` marks 0.6 to 1.0 % (nominal 0.83 %).
    - The threshold marks 0.5 to 1.3 % if the variation between recordings is
      at most as large as that within, and at worst 1.8 % if it is three times
      as large.
    - One of the two marks 1.1 to 1.8 % if both are as large.

    A normal quantile instead of the permutations marks up to 4.6 % with heavy
    tails. With four recordings, where permutations are not used, the threshold
    marks 1 % if the variation between recordings is a third of that within,
    5 % if it is as large, and 26 % if it is three times as large.
    """
    table = pd.DataFrame([record for outcome in outcomes for record in outcome.records])
    if not len(table):
        return dict.fromkeys(POOLED, np.nan) | {"n_subjects": 0, "n_windows": 0}
    n_of = table.groupby("subject")["n"].sum()
    weight = 1 / (len(n_of) * table["subject"].map(n_of))
    subjects = table.groupby("subject")[["top_1", "top_k"]].sum().div(n_of, axis=0)
    relative = table.groupby("subject")["relative"].agg(lambda parts: np.median(np.concatenate(list(parts))))
    is_shared = sum(outcome.is_correlation for outcome in outcomes) > 1
    factor = FOLDS_FACTOR if is_shared else 1.0
    null = _widen_null(sum(w * part for w, part in zip(weight, table["null"], strict=True)), factor)
    chance = float((weight * table["chance"]).sum())
    low, high = np.quantile(null, [0.025, 0.975])
    random = np.random.default_rng(random_state)
    records = table.to_dict("records")
    allowed = sum(w * _take_null_or_widest(record, random) for w, record in zip(weight, records, strict=True))
    allowed = _widen_null(allowed, factor)
    within = np.quantile(allowed, 1 - LEAK_ALPHA) - allowed.mean()
    permuted = permute_leak_test_labels(outcomes, weight.groupby(table["recording"]).first(), random)
    between = np.quantile(permuted, 1 - LEAK_ALPHA, method="higher") - permuted.mean()
    below = (
        allowed.mean() - np.quantile(allowed, LEAK_ALPHA),
        permuted.mean() - np.quantile(permuted, LEAK_ALPHA, method="lower"),
    )
    return {
        "top_1": subjects["top_1"].mean(), "top_k": subjects["top_k"].mean(), "top_k_sem": subjects["top_k"].sem(),
        "median_relative_rank": relative.mean(), "n_subjects": len(n_of), "n_windows": int(n_of.sum()),
        "n_candidates": table["n_candidates"].sum() / n_of.sum(), "chance": chance, "null_mean": null.mean(),
        "null_low": low, "null_high": high, "leak_threshold": chance + np.hypot(within, between),
        "inverted_below": chance - np.hypot(*below),
        "recording_identity_p": np.mean(permuted >= permuted[0] - TINY) if len(permuted) > 1 else np.nan,
    }  # fmt: skip


def _widen_null(null, factor):
    """Increase the distances of a null from its mean."""
    return null if factor == 1 else null.mean() + factor * (null - null.mean())


def _take_null_or_widest(record, random):
    """Return the null of a recording, or the widest one with its mean.

    If the recording is too short for a null, all or no windows are hits. This
    avoids a false alarm, and the other recordings are still tested.
    """
    null, n = np.asarray(record["null"], float), record["n"]
    missing = np.isnan(null)
    return (
        np.where(missing, n * (random.random(len(null)) < record["chance"] / n), null)
        if missing.any()
        else null
    )


def permute_leak_test_labels(outcomes, weight, random):
    r"""Score permutations of labels between recordings, the true one first.

    Let :math:`a_{rq}` be the weighted hits of recording r with random labels
    of recording q. The score of a permutation :math:`\pi` of the recordings is
    :math:`\sum_r a_{r \pi(r)}`. Without a leak the identity is exchangeable
    with all others, so the rank of its score is an exact test for any
    distribution of hits. The rank among random permutations that include the
    identity is exact as well [1]_. Folds with the same test recordings are
    permuted together. With fewer than ``MIN_RECORDINGS`` recordings the
    identity is the best too often, so they are not permuted and the threshold
    of the score is conservative.

    Parameters
    ----------
    outcomes : list of LeakTestOutcome
        One control, one entry per fold.
    weight : Series of shape (n_recordings,)
        Weight of a hit of each recording.
    random : Generator
        Draws permutations.

    Returns
    -------
    permuted : ndarray of shape (n_permutations,)
        All permutations of up to seven recordings, or ``N_PERMUTATIONS`` of
        more recordings or several pools. One entry if nothing is permuted.

    References
    ----------
    .. [1] Phipson, Smyth (2010). Permutation p-values should never be zero.
       Statistical Applications in Genetics and Molecular Biology 9:39.
       https://doi.org/10.2202/1544-6115.1585
    """
    pooled: dict[tuple, np.ndarray] = {}
    for names, hits in [pair for outcome in outcomes for pair in outcome.across]:
        if len(names) >= MIN_RECORDINGS:
            pooled[names] = pooled.get(names, 0) + weight[list(names)].to_numpy()[:, None] * hits
    exact = len(pooled) == 1 and all(factorial(len(names)) <= N_PERMUTATIONS for names in pooled)
    permuted = np.zeros(1)
    for names, a in pooled.items():
        own = np.arange(len(names))
        if exact:
            orders = np.array(list(permutations(own)))
        else:
            orders = random.permuted(np.tile(own, (N_PERMUTATIONS, 1)), axis=1)
            orders[0] = own
        permuted = permuted + a[own, orders].sum(1)
    return permuted


def is_leak_test_positive(row):
    """Return whether a row of :func:`pool_leak_test_rows` reveals a leak."""
    return row["top_k"] > row["leak_threshold"] or row["recording_identity_p"] <= LEAK_ALPHA + TINY
