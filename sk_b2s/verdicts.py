"""What the answers to controls say: a row for each, the limit of a leak, and a verdict in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

__all__ = ["LEAKS", "Outcome", "pooled_row", "verdicts"]

LEAKS = ("surrogate", "white noise", "shifted pairing")  # must be at chance, or something leaks
ALARM = 0.025 / len(LEAKS)  # chance that one of them is marked without a leak
TINY = 1e-9  # a spread that is but rounding
CONTEXT = ("silence only", "oracle")  # no brain was asked
FEW = 4  # recordings; fewer cannot tell a leak from a preference that met its recording by luck


@dataclass
class Outcome:
    """What one control scored in one fold.

    Parameters
    ----------
    records : list of dict
        Hits, chance and null of each recording.
    across : list of (tuple of str, ndarray of shape (n_recordings, n_recordings))
        For each pool of candidates the names of its recordings, and the hits of each if its labels were
        drawn from each.
    n_left_out : int
        Training windows dropped.
    """

    records: list
    across: list
    n_left_out: int


def pooled_row(outcomes):
    r"""Pool all folds: one score per subject, then their mean.

    The limit of a leak. Let T be the score, a mean over recordings r with weights :math:`w_r`, and
    :math:`m_r` the mean of the null of r, in which labels move within r. Then

    .. math:: T - c = (T - \sum_r w_r m_r) + \sum_r w_r (m_r - c_r)

    with chance c. A recording's fingerprint moves no label in time, so it lifts each :math:`m_r` as it
    lifts T: the first bracket, all that a comparison with the null sees, is blind to it, and T must be
    held against c. What T may exceed c by without a leak is luck in either bracket. The first is as wide
    as the null. The second is zero where all recordings hold the same candidates; where they do not, a
    decoder that prefers some candidates throughout a recording may by luck prefer that recording's own,
    with standard deviation s: see :func:`_between`. The limit of T is :math:`c + \sqrt{(q - \sum w_r m_r)^2
    + (z s)^2}`, q and z being the quantiles of the null and of a normal distribution that leave 2.5 % to
    all of ``LEAKS`` together. The second bracket is the fingerprint itself and far less noisy than T, so it
    is looked at alone as well: ``fingerprint`` is how many s it is, and its limit is z.

    Parameters
    ----------
    outcomes : list of Outcome
        Of one control, a fold each.

    Returns
    -------
    row : dict
        As in :func:`~sk_b2s.run_controls`.
    """
    table = pd.DataFrame([record for outcome in outcomes for record in outcome.records])
    n_of = table.groupby("subject")["n"].sum()
    weight = 1 / (len(n_of) * table["subject"].map(n_of))
    subjects = table.groupby("subject")[["top_1", "top_k"]].sum().div(n_of, axis=0)
    relative = table.groupby("subject")["relative"].agg(lambda parts: np.median(np.concatenate(list(parts))))
    null = sum(w * part for w, part in zip(weight, table["null"], strict=True))
    chance = float((weight * table["chance"]).sum())
    low, high = np.quantile(null, [0.025, 0.975])
    luck = np.quantile(null, 1 - ALARM) - null.mean()
    lift, spread = _between(outcomes, weight.groupby(table["recording"]).first())
    return {
        "top_1": subjects["top_1"].mean(), "top_k": subjects["top_k"].mean(), "sem": subjects["top_k"].sem(),
        "median_relative_rank": relative.mean(), "n_subjects": len(n_of), "n_windows": int(n_of.sum()),
        "n_candidates": table["n_candidates"].sum() / n_of.sum(), "chance": chance, "null_mean": null.mean(),
        "null_low": low, "null_high": high, "leak_above": chance + np.hypot(luck, norm.isf(ALARM) * spread),
        "fingerprint": lift / spread if spread > TINY else np.nan,
    }  # fmt: skip


def _between(outcomes, weight):
    r"""How much better each recording does with labels of its own than if recordings were dealt each other's.

    With :math:`a_{rq}` the weighted hits of recording r under random labels of recording q, the score under
    a random permutation :math:`\pi` of the recordings, :math:`\sum_r a_{r \pi(r)}`, has the mean
    :math:`\sum_{rq} a_{rq} / R` and the variance :math:`\sum_{rq} d_{rq}^2 / (R - 1)`, d being a minus its
    row and column means [1]_. Folds that test the same recordings are permuted together. Of fewer than
    ``FEW`` recordings every permutation is likely to be the true one; there nothing is said, nothing is
    allowed for, and the limit of the score errs on the side of warning.

    Returns
    -------
    lift, spread : float
        :math:`\sum_r a_{rr}` minus that mean, and the root of that variance.

    References
    ----------
    .. [1] Hoeffding (1951). A combinatorial central limit theorem. Annals of Mathematical Statistics
       22:558. https://doi.org/10.1214/aoms/1177729545
    """
    pooled: dict[tuple, np.ndarray] = {}
    for names, hits in [pair for outcome in outcomes for pair in outcome.across]:
        pooled[names] = pooled.get(names, 0) + weight[list(names)].to_numpy()[:, None] * hits
    lift = variance = 0.0
    for names, a in pooled.items():
        if len(names) >= FEW:
            d = a - a.mean(0) - a.mean(1, keepdims=True) + a.mean()
            lift += np.trace(d)
            variance += (d**2).sum() / (len(names) - 1)
    return lift, np.sqrt(variance)


def verdicts(table):
    """Say in words what each row means.

    Parameters
    ----------
    table : DataFrame of shape (n_controls, ...)
        Rows of :func:`pooled_row`.

    Returns
    -------
    verdict : Series of str
    """
    verdict = np.where(table["top_k"] > table["null_high"], "above its null", "at chance").astype(object)
    verdict[table["null_high"].isna()] = "no null: recordings too short"
    verdict = pd.Series(verdict, index=table.index)
    verdict[verdict.index.isin(CONTEXT)] = "context"
    leaking = [name for name in LEAKS if name in table.index and _leaks(table.loc[name])]
    for name in LEAKS:
        if name in leaking:
            verdict[name] = "LEAK"
        elif name in table.index and verdict[name] == "above its null":
            verdict[name] = "at chance"  # above the one, below the limit that counts
    if leaking and "decoder" in table.index:
        verdict["decoder"] = f"LEAK ({', '.join(leaking)})"
    return verdict


def _leaks(row):
    return row["top_k"] > row["leak_above"] or row["fingerprint"] > norm.isf(ALARM)
