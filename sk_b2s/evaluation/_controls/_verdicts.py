"""Verdicts on scores of controls: leak, above chance, at chance."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from math import factorial

import numpy as np
import pandas as pd

ABOVE, BELOW, AT_CHANCE = "above its null", "below its null", "at chance"
BELOW_MEANS = (
    "no guess scores that low, so the decoder reads something and its answer is inverted. The usual causes: labels, "
    "signs or pairs of X and y are wrong, two codes are swapped, or training lacks what its test holds (folds that "
    "predict the opposite)"
)

LEAKS = ("surrogate", "white noise", "shifted pairing")  # must be at chance, or something leaks
ALARM = 0.025 / len(LEAKS)  # chance that one of them is marked without a leak
TINY = 1e-9  # a difference that is but rounding
CONTEXT = ("silence only", "oracle")  # no brain was asked
FEW = 5  # recordings; the true one of the 4! deals of fewer cannot be rarer than ALARM
DEALS = 10_000  # that are drawn where there are more


@dataclass
class ControlOutcome:
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
    n_heard : int, default=0
        Test windows whose stimulus the fitted estimator was trained on.
    """

    records: list
    across: list
    n_left_out: int
    n_heard: int = 0


def pooled_row(outcomes, random_state=0):
    r"""Pool all folds: one score per subject, then their mean.

    The limit of a leak. Let T be the score, a mean over recordings r with weights :math:`w_r`, and
    :math:`m_r` the mean of the null of r, in which labels move within r. Then

    .. math:: T - c = (T - \sum_r w_r m_r) + \sum_r w_r (m_r - c_r)

    with chance c. A recording's fingerprint moves no label in time, so it lifts each :math:`m_r` as it
    lifts T: the first bracket, all that a comparison with the null sees, is blind to it, and T must be
    held against c. What T may exceed c by without a leak is luck in either bracket. The first is as wide
    as the null. The second is zero where all recordings hold the same candidates; where they do not, a
    decoder that prefers some candidates throughout a recording may by luck prefer that recording's own,
    as much as recordings do that are dealt each other's labels: see :func:`permuted_label_scores`. The limit of T is
    :math:`c + \sqrt{(q - \sum w_r m_r)^2 + b^2}`, q and b being the quantiles of the null and of those deals
    (from their mean) that leave 2.5 % to all of ``LEAKS`` together. The second bracket is the fingerprint
    itself and far less noisy than T, so it is looked at alone as well: ``fingerprint`` is the share of deals
    that score as high as the true one, and its limit is those 2.5 % shared among ``LEAKS``, 0.83 %. Of a recording
    too short for a null the widest there can be is taken for q, all windows or none.

    Parameters
    ----------
    outcomes : list of Outcome
        Of one control, a fold each.
    random_state : None, int or Generator, default=0
        Draws deals of the recordings where there are many.

    Returns
    -------
    row : dict
        As in :func:`~sk_b2s.run_controls`.

    Notes
    -----
    How many rows without a leak are marked, of 4000 to 8000 drawn: of 5, 6, 8 and 12 recordings whose hits
    under each other's labels are normal, prefer one label each, or have heavy tails (log-normal, sigma 2),
    ``fingerprint`` marks 0.6 to 1.0 % (0.83 % are meant), the limit 0.5 to 1.3 % where luck between
    recordings is as large as that within or smaller, and at worst 1.8 % where it is three times as large; one of
    the two marks 1.1 to 1.8 % where both are as large. A normal quantile in the place of the deals
    marked up to 4.6 %, of heavy tails. Of four recordings, where nothing is allowed for, the limit marks 1 %
    if luck between recordings is a third of that within, 5 % if it is as large, and 26 % if it is three
    times as large.
    """
    table = pd.DataFrame([record for outcome in outcomes for record in outcome.records])
    n_of = table.groupby("subject")["n"].sum()
    weight = 1 / (len(n_of) * table["subject"].map(n_of))
    subjects = table.groupby("subject")[["top_1", "top_k"]].sum().div(n_of, axis=0)
    relative = table.groupby("subject")["relative"].agg(lambda parts: np.median(np.concatenate(list(parts))))
    null = sum(w * part for w, part in zip(weight, table["null"], strict=True))
    chance = float((weight * table["chance"]).sum())
    low, high = np.quantile(null, [0.025, 0.975])
    random = np.random.default_rng(random_state)
    records = table.to_dict("records")
    allowed = sum(w * _null_or_widest(record, random) for w, record in zip(weight, records, strict=True))
    luck = np.quantile(allowed, 1 - ALARM) - allowed.mean()
    dealt = permuted_label_scores(outcomes, weight.groupby(table["recording"]).first(), random)
    between = np.quantile(dealt, 1 - ALARM, method="higher") - dealt.mean()
    down = (
        allowed.mean() - np.quantile(allowed, ALARM),
        dealt.mean() - np.quantile(dealt, ALARM, method="lower"),
    )
    return {
        "top_1": subjects["top_1"].mean(), "top_k": subjects["top_k"].mean(), "sem": subjects["top_k"].sem(),
        "median_relative_rank": relative.mean(), "n_subjects": len(n_of), "n_windows": int(n_of.sum()),
        "n_candidates": table["n_candidates"].sum() / n_of.sum(), "chance": chance, "null_mean": null.mean(),
        "null_low": low, "null_high": high, "leak_above": chance + np.hypot(luck, between),
        "inverted_below": chance - np.hypot(*down),
        "fingerprint": np.mean(dealt >= dealt[0] - TINY) if len(dealt) > 1 else np.nan,
    }  # fmt: skip


def _null_or_widest(record, random):
    """Null of a recording's hits; where it is too short for one, all windows or none, as chance has it.

    No null of that mean is wider, so the recording is not accused by luck, and the others are judged all the same.
    """
    null, n = np.asarray(record["null"], float), record["n"]
    missing = np.isnan(null)
    return (
        np.where(missing, n * (random.random(len(null)) < record["chance"] / n), null)
        if missing.any()
        else null
    )


def permuted_label_scores(outcomes, weight, random):
    r"""Scores of the recordings if they are dealt each other's labels, the true deal first.

    With :math:`a_{rq}` the weighted hits of recording r under random labels of recording q, the score under
    a permutation :math:`\pi` of the recordings is :math:`\sum_r a_{r \pi(r)}`. Without a leak the true deal,
    the identity, is one like any other: its rank among all of them is a test that is exact whatever the
    hits look like, and so is that among deals drawn at random, the true one counted with them [1]_. Folds
    that test the same recordings are permuted together. The true one of fewer than ``FEW`` recordings'
    deals is too often the best; there nothing is said, nothing is allowed for, and the limit of the score
    errs on the side of warning.

    Parameters
    ----------
    outcomes : list of Outcome
        Of one control, a fold each.
    weight : Series of shape (n_recordings,)
        Weight of a hit of each recording.
    random : Generator
        Draws deals.

    Returns
    -------
    dealt : ndarray of shape (n_deals,)
        All deals of up to seven recordings, ``DEALS`` of more or of several pools; one where nothing is said.

    References
    ----------
    .. [1] Phipson, Smyth (2010). Permutation p-values should never be zero. Statistical Applications in
       Genetics and Molecular Biology 9:39. https://doi.org/10.2202/1544-6115.1585
    """
    pooled: dict[tuple, np.ndarray] = {}
    for names, hits in [pair for outcome in outcomes for pair in outcome.across]:
        if len(names) >= FEW:
            pooled[names] = pooled.get(names, 0) + weight[list(names)].to_numpy()[:, None] * hits
    exact = len(pooled) == 1 and all(factorial(len(names)) <= DEALS for names in pooled)
    dealt = np.zeros(1)
    for names, a in pooled.items():
        own = np.arange(len(names))
        if exact:
            orders = np.array(list(permutations(own)))
        else:
            orders = random.permuted(np.tile(own, (DEALS, 1)), axis=1)
            orders[0] = own
        dealt = dealt + a[own, orders].sum(1)
    return dealt


def verdicts(table, reasons=()):
    """Say in words what each row means.

    A control in ``LEAKS`` that is below its null is not a leak: no score can gain by it. It is reported all the same,
    because the folds then predict the opposite, or a fingerprint is read with the wrong sign. Its limit leaves as
    little to chance as that of a leak.

    Parameters
    ----------
    table : DataFrame of shape (n_controls, ...)
        Rows of :func:`pooled_row`.
    reasons : sequence of str, default=()
        What else leaks into the decoder: "sound of training", for example.

    Returns
    -------
    verdict : Series of str
    """
    verdict = against_null(table, "no null: recordings too short")
    verdict[verdict.index.isin(CONTEXT)] = "context"
    leaking = [name for name in LEAKS if name in table.index and _leaks(table.loc[name])]
    for name in LEAKS:
        if name in leaking:
            verdict[name] = "LEAK"
        elif name in table.index and not _is_inverted(verdict[name], table.loc[name]):
            verdict[name] = verdict[name].replace(ABOVE, AT_CHANCE).replace(BELOW, AT_CHANCE)
    if (leaking or reasons) and "decoder" in table.index:
        verdict["decoder"] = f"LEAK ({', '.join([*leaking, *reasons])})"
    return verdict


def against_null(table, without="no null"):
    """Compare each score with both sides of the null of its own row.

    Parameters
    ----------
    table : DataFrame of shape (n_rows, ...)
        With ``top_k`` and ``null_high``, the 97.5 % quantile. Without ``null_low``, the 2.5 % quantile, no score is
        below.
    without : str, default="no null"
        Verdict where ``null_high`` is NaN.

    Returns
    -------
    verdict : Series of str
        "above its null", "below its null" or "at chance". A score below its null is as much a finding as one above
        it: ``BELOW_MEANS`` lists the causes.

    Examples
    --------
    >>> table = pd.DataFrame({"top_k": [0.3, 0.1, 0.02], "null_low": 0.05, "null_high": [0.2, 0.2, 0.2]})
    >>> against_null(table).tolist()
    ['above its null', 'at chance', 'below its null']
    """
    score, high = table["top_k"].astype(float), table["null_high"].astype(float)
    above = score > high + TINY
    below = (
        score < table["null_low"].astype(float) - TINY if "null_low" in table else np.zeros(len(table), bool)
    )
    verdict = np.select([above, below], [ABOVE, BELOW], AT_CHANCE).astype(object)
    verdict[table["null_high"].isna()] = without
    return pd.Series(verdict, index=table.index)


def _is_inverted(verdict, row):
    """Return whether a control is so low that chance does not explain it, by the limit of a leak, mirrored."""
    return verdict == BELOW and row["top_k"] < row["inverted_below"]


def _leaks(row):
    return row["top_k"] > row["leak_above"] or row["fingerprint"] <= ALARM + TINY
