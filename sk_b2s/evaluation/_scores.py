"""Scores, null and verdict of each subject."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.stats import hypergeom, rankdata

from sk_b2s._utils._chunks import slice_rows
from sk_b2s.evaluation._controls._verdicts import (
    ABOVE,
    AT_CHANCE,
    BELOW,
    CONTEXT,
    LEAKS,
    against_null,
    pooled_row,
    verdicts,
)
from sk_b2s.events._stimuli import digest_stimuli, stable_id
from sk_b2s.metrics._null import shifted_means
from sk_b2s.metrics._ranking import median_relative_rank
from sk_b2s.model_selection._leakage import leaks_in

NEAR = 0.5  # s; an answer that begins so near the right one is nearly right
SCORES = (
    "k", "chance", "top_1", "top_5", "top_10", "top_k", "median_relative_rank", "near", "near_chance",
    "match_mismatch", "word_top_10", "word_chance", "null_mean", "null_low", "null_high",
)  # fmt: skip


# --- one row for each subject, condition and pool ---------------------------------------------------


def score_rows(answers, n_candidates=50, n_shifts=1000, random_state=0):
    r"""Score each subject and condition among all candidates, and among a number that is always the same.

    A score among all candidates falls with their number, which differs from fold to fold. Beside it stands
    the mean over *all* pools of n of them, the right one always among them: if r of the N - 1 others score
    as high or higher, then

    .. math:: P(\text{hit}) = P(H \le k - 1), \quad H \sim \mathrm{Hypergeometric}(N - 1, r, n - 1)

    No pool is drawn, so none is lucky, and every estimator has the same.

    Parameters
    ----------
    answers : RetrievalResult
        Rows need ``subject`` and ``recording``; ``condition, study, onset, duration`` are used where they are.
    n_candidates : int or None, default=50
        Size of the pools beside all; None, or fewer candidates than that, leaves them out.
    n_shifts : int, default=1000
        Shifts of which each null is made.
    random_state : int, default=0
        Draws the shifts, equal ones for equal questions.

    Returns
    -------
    rows : list of dict
        ``study, subject, condition, pool, n_windows, n_candidates`` and ``SCORES``.
    """
    sizes = {"all": answers.n_candidates}
    if n_candidates is not None and n_candidates <= answers.n_candidates:
        sizes[str(n_candidates)] = n_candidates
    table = answers.rows.reset_index(drop=True)
    condition = table["condition"] if "condition" in table else pd.Series("", index=table.index)
    condition = condition.astype(object).where(condition.notna(), "")
    out = []
    for subject, mine in table.groupby("subject", sort=False).indices.items():
        own = _part(answers, mine)
        worth = rankdata(-own.scores, method="max", axis=1).astype(np.int64) - 1
        for name in pd.unique(condition[mine]):
            chosen = (condition[mine] == name).to_numpy()
            asked = _part(own, np.flatnonzero(chosen))
            study = table["study"].iloc[mine[0]] if "study" in table else ""
            for pool, size in sizes.items():
                null = _null(own, worth, size, chosen, n_shifts, random_state)
                out.append({
                    "study": study, "subject": subject, "condition": name, "pool": pool,
                    "n_windows": len(asked.rows), "n_candidates": size, **_scores(asked, size, null),
                })  # fmt: skip
    return out


def _part(answers, rows):
    """Answers to some of the windows."""
    return replace(
        answers, scores=answers.scores[rows], target=answers.target[rows],
        rows=answers.rows.iloc[rows].reset_index(drop=True),
    )  # fmt: skip


def _worth(n_candidates, size, k):
    """Share of pools in which a window is a hit, for each of its ranks: (n_candidates,)."""
    if size <= k:
        return np.full(n_candidates, np.nan)
    return hypergeom.cdf(k - 1, n_candidates - 1, np.arange(n_candidates), size - 1)


def _null(own, ranks, size, chosen, n_shifts, random_state):
    """Null of the chosen windows' top-k accuracy in pools of a size; NaN where none can be made."""
    nothing = np.full(max(n_shifts, 1), np.nan)
    if not {"onset", "duration"} <= set(own.rows) or not n_shifts:
        return nothing
    rows = own.rows
    heard = pd.factorize(own.target)[0].tolist()  # however the columns are ordered
    seed = stable_id(random_state, heard, rows["onset"].tolist()) % 2**32
    try:
        return shifted_means(
            _worth(own.n_candidates, size, own.k)[ranks], own.target, rows["recording"], rows["onset"],
            rows["duration"].max(), n_shifts, seed, sample_weight=chosen,
        )  # fmt: skip
    except ValueError:  # a recording too short to move its labels; the row says so
        return nothing


def _scores(asked, size, null):
    """Scores of some windows in pools of a size."""
    top = {k: float(_worth(asked.n_candidates, size, k)[asked.ranks].mean()) for k in (1, 5, 10, asked.k)}
    is_all = size == asked.n_candidates
    low, high = np.quantile(null, [0.025, 0.975])
    return {
        "k": asked.k, "chance": asked.k / size if size > asked.k else np.nan,
        "top_1": top[1], "top_5": top[5], "top_10": top[10], "top_k": top[asked.k],
        "median_relative_rank": median_relative_rank(asked.ranks, asked.n_candidates),
        "match_mismatch": float(1 - asked.ranks.mean() / (asked.n_candidates - 1)),
        **dict(zip(("near", "near_chance"), _near(asked) if is_all else (np.nan, np.nan), strict=True)),
        **dict(zip(("word_top_10", "word_chance"), _words(asked) if is_all else (np.nan, np.nan), strict=True)),
        "null_mean": null.mean(), "null_low": low, "null_high": high,
    }  # fmt: skip


def _near(asked):
    """How often the best candidate begins within NEAR of the right one in its sound, and how often by chance."""
    names = asked.candidates
    if not {"sound", "sound_onset"} <= set(names):
        return np.nan, np.nan
    sound = pd.factorize(digest_stimuli(names["sound"]))[0]
    onset = names["sound_onset"].to_numpy(float)
    hits, chance = [], []
    for part in slice_rows(len(asked.target), 1024):
        right, scores = asked.target[part], asked.scores[part]
        near = (sound[right, None] == sound) & (abs(onset[right, None] - onset) <= NEAR + 1e-9)
        best = np.where(near, scores, -np.inf).max(1), np.where(near, -np.inf, scores).max(1)
        hits.append(best[0] > best[1])  # a tie counts against
        chance.append(near.mean(1))
    return float(np.concatenate(hits).mean()), float(np.concatenate(chance).mean())


def _words(asked):
    """Balanced top-10 accuracy of words with its chance; NaN without words enough to choose from."""
    if "word" not in asked.candidates:
        return np.nan, np.nan
    try:
        table = asked.score_words(k=10, timing=False)
    except ValueError:  # ten words or fewer, or none heard
        return np.nan, np.nan
    return float(table.loc["balanced", "top_k"]), float(table.loc["balanced", "chance"])


# --- verdicts --------------------------------------------------------------------------------------


def assign_verdicts(results, outcomes):
    """Give every row its verdict: what its null says, unless something leaks.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        With ``estimator, seed, control, calibration_minutes, top_k, null_low, null_high, n_heard, leakage, error``.
    outcomes : dict of (estimator, seed, control, minutes) to list of Outcome
        Of the controls in ``LEAKS``, one for each fold; of each amount of calibration alone, as all of them have
        the same test. None is no amount.

    Returns
    -------
    results : DataFrame of shape (n_rows, ...)
        With ``verdict``: "above its null", "below its null", "at chance", "context" (no brain was asked), "no null"
        (recordings are too short for one, or times unknown), "error", or "LEAK": of a control that is not at chance
        over its folds, and, with their names in brackets, of the decoder it stands beside; what else is in the
        brackets ("sound of training", or its "text" in another voice, or "segments" of it under other sounds, or
        "samples" of its recordings) is on both sides of a fold.
    """
    verdict = against_null(results)
    verdict[results["control"].isin(CONTEXT)] = "context"
    verdict[results["control"].isin(LEAKS) & verdict.isin([ABOVE, BELOW])] = (
        AT_CHANCE  # judged over all folds
    )
    said_of = results["leakage"].astype(str)
    keys = ["estimator", "seed", "calibration_minutes"]
    for (name, seed, minutes), rows in results.groupby(keys, sort=False, dropna=False).indices.items():
        minutes = None if pd.isna(minutes) else minutes
        found = {
            control: outcomes[name, seed, control, minutes]
            for control in LEAKS
            if (name, seed, control, minutes) in outcomes
        }
        reasons = []
        if found:
            pooled = pd.DataFrame({control: pooled_row(parts) for control, parts in found.items()}).T
            said = verdicts(pooled)
            reasons = list(said.index[said == "LEAK"])
        rows = results.index[rows]
        control = results.loc[rows, "control"]
        if found:
            verdict[rows[control.isin(said.index[said == BELOW])]] = BELOW
        verdict[rows[control.isin(reasons)]] = "LEAK"
        reasons += leaks_in(said_of[rows], results.loc[rows, "n_heard"].max())
        if reasons:
            verdict[rows[control == "decoder"]] = f"LEAK ({', '.join(reasons)})"
    verdict[results["error"] != ""] = "error"
    return results.assign(verdict=verdict)
