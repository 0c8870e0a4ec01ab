"""What a table of scores is evidence of, in words: the verdict of a report."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s.minutes import one_amount
from sk_b2s.results import summarise
from sk_b2s.score_plots import labelled, named_score
from sk_b2s.statistics import of_decoders
from sk_b2s.verdicts import LEAKS

__all__ = [
    "MEANINGS", "card_of", "facts_of", "fold_rows", "headline", "leak_reasons", "pct", "summary_rows", "verdict_class",
    "warnings_of",
]  # fmt: skip

MEANINGS = {
    "surrogate": "Recordings of equal spectrum without any response. Must be at chance.",
    "white noise": "Noise in place of the recordings. Must be at chance.",
    "shifted pairing": "Recordings paired with sound of another time. Must be at chance.",
    "within recording": "Candidates of the window's own recording alone: no fingerprint helps.",
    "silence only": "Speech and pause alone, compared with the truth: what the task gives away. No brain was asked.",
    "silence from the brain": "Speech and pause, decoded: how much of the score that explains.",
    "acoustics only": "Loudness, decoded: how much of the score that explains.",
    "oracle": "One who knows the simulated truth: the ceiling.",
}
LEAK_MEANS = {
    "surrogate": "recordings without any response were decoded, so a fingerprint of the recording is enough",
    "white noise": "noise was decoded, so the answer is somewhere in the tables or the folds",
    "shifted pairing": "sound of another time was decoded, so what is read is not bound to what was heard then",
}


def pct(share):
    """Write a share in per cent.

    Parameters
    ----------
    share : float

    Returns
    -------
    text : str
        A dash for NaN.

    Examples
    --------
    >>> pct(0.3333).split(), pct(float("nan"))
    (['33.3', '%'], '–')
    """
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%" if np.isfinite(share) else "–"


def verdict_class(verdict):
    """Tell how a verdict is coloured.

    Parameters
    ----------
    verdict : str

    Returns
    -------
    name : {"good", "bad", "so"}
    """
    if str(verdict).startswith(("LEAK", "error")):
        return "bad"
    return "good" if verdict == "above its null" else "so"


def summary_rows(results):
    """Rows of :func:`~sk_b2s.summarise` with a ``label``, as :func:`~sk_b2s.score_plots.labelled` gives it.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)

    Returns
    -------
    rows : DataFrame
    """
    return labelled(summarise(results))


def facts_of(results):
    """Say in a line what was tested.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)

    Returns
    -------
    text : str
    """
    mine = of_decoders(results[results["error"].fillna("") == ""])
    one = one_amount(mine).drop_duplicates(["subject", "fold", "condition"])
    counts = [
        (one["subject"].nunique(), "person", "people"), (int(one["n_windows"].sum()), "window", "windows"),
        (mine["estimator"].nunique(), "decoder", "decoders"), (mine["fold"].nunique(), "fold", "folds"),
        (mine["seed"].nunique(), "seed", "seeds"),
    ]  # fmt: skip
    return " · ".join(f"{n:,} {single if n == 1 else many}".replace(",", " ") for n, single, many in counts)


def card_of(row):
    """Say one row of the summary: its number, what stands beside it, its verdict.

    Parameters
    ----------
    row : dict

    Returns
    -------
    number, beside, verdict : str
    """
    error = f"± {100 * row['top_k_sem']:.1f} s.e.m., " if np.isfinite(row["top_k_sem"]) else ""
    null = f", null up to {pct(row['null_high'])}" if np.isfinite(row["null_high"]) else ""
    beside = (
        f"top-{int(row['k'])} accuracy among {row['n_candidates']:.0f} candidates, {error}"
        f"chance {pct(row['chance'])}{null}"
    )
    return pct(row["top_k"]), beside, row["verdict"]


def headline(rows, results):
    """Say what the scores are evidence of.

    Parameters
    ----------
    rows : DataFrame
        Of :func:`summary_rows`.
    results : DataFrame of shape (n_rows, ...)
        What they were made of.

    Returns
    -------
    kind : {"good", "bad", "so"}
    said : str
        One sentence.
    notes : list of str
        What must be known beside it.
    """
    mine = rows[(rows["pool"] == "all") & (rows["control"] == "decoder")]
    leaks = mine[mine["verdict"].str.startswith("LEAK")]["label"]
    good = mine[mine["verdict"] == "above its null"]["label"]
    n = len(mine)
    if len(_leaking_folds(results)):
        kind, said = "bad", "Training and test are not apart: what was scored is no evidence."
    elif len(leaks):
        kind, said = "bad", f"There is a leak: what {_list(leaks)} scored is no evidence."
    elif len(good) == n:
        reads = (
            "reads heard speech better than its null"
            if n == 1
            else "read heard speech better than their nulls"
        )
        kind, said = "good", f"{_list(good)} {reads}."
    elif len(good):
        others = _list(mine.loc[~mine.index.isin(good.index), "label"])
        reads = "reads" if len(good) == 1 else "read"
        kind, said = (
            "so",
            f"{_list(good)} {reads} heard speech better than the null; {others} cannot be said to.",
        )
    elif (mine["verdict"] == "no null").all():
        kind, said = (
            "so",
            "Nothing can be said: no null could be made, for recordings are too short or times unknown.",
        )
    else:
        kind, said = "so", "No decoder reads heard speech better than its null."
    return kind, said, _notes(mine, rows, results)


def _notes(mine, rows, results):
    """What else a verdict hangs on."""
    controls = rows[rows["control"].isin(LEAKS) & (rows["pool"] == "all")]
    run = [name for name in pd.unique(results["control"]) if name in LEAKS]
    at_chance = [
        name for name in run
        if (own := controls.loc[controls["control"] == name, "verdict"]).eq("at chance").all() and len(own)
    ]  # fmt: skip
    notes = []
    if not run:
        notes = ["No control for leaks was run, so a leak is not ruled out."]
    elif not controls["verdict"].str.startswith("LEAK").any():
        if at_chance:
            notes = [f"What must be at chance is at chance: {_list(at_chance)}."]
        if unknown := [name for name in run if name not in at_chance]:
            notes.append(f"Whether all of {_list(unknown)} is at chance cannot be said: fits failed, or recordings "
                         f"are too short for a null.")  # fmt: skip
    if results["n_heard"].isna().any():
        notes.append("It is not known whether sound of training was tested.")
    elif not (results["n_heard"] > 0).any():
        notes.append("No window tested contained sound of training.")
    judged = mine[mine["null_high"].notna()]
    if n := int(judged["n_without_null"].max() if len(judged) else 0):
        notes.append(
            f"Of {n} {'fold' if n == 1 else 'folds'} of single people there is no null, for recordings are too short: "
            f"verdicts are of the rest."
        )
    if n := int(mine["n_failed"].sum()):
        notes.append(
            f"{n} {'fit' if n == 1 else 'fits'} of decoders failed and {'is' if n == 1 else 'are'} missing."
        )
    return notes


def leak_reasons(rows, results):
    """Say of each leak what leaks, and how much.

    Parameters
    ----------
    rows, results
        As in :func:`headline`.

    Returns
    -------
    reasons : list of str
    """
    leaks = rows["verdict"].str.startswith("LEAK") & rows["control"].isin(LEAKS) & (rows["pool"] == "all")
    reasons = [
        f"{row['label']}, {row['control']}: {pct(row['top_k'])} where chance is {pct(row['chance'])}; "
        f"{LEAK_MEANS[row['control']]}."
        for row in rows[leaks].to_dict("records")
    ]
    folds, n_folds = _leaking_folds(results), results["fold"].nunique()
    if len(folds):
        reasons.append(
            f"In {len(folds)} of {n_folds} folds; fold {folds['fold'].iloc[0]}: {folds['leakage'].iloc[0]}"
        )
    mine = of_decoders(results)
    heard = mine[mine["n_heard"] > 0].drop_duplicates(["estimator", "fold"])
    for name, own in heard.groupby("estimator", sort=False):
        reasons.append(
            f"{name}: {own['n_heard'].sum():.0f} windows tested contain sound of training, in "
            f"{own['fold'].nunique()} of {n_folds} folds. They may be remembered rather than decoded: "
            f"divide whole blocks, with a guard, as StimulusKFold and LeaveOneSubjectOut do."
        )
    return reasons


def _leaking_folds(results):
    """Folds of which check_leakage says so, whatever was scored on them."""
    if "leakage" not in results:
        return results.iloc[:0]
    return results[results["leakage"].astype(str).str.startswith("LEAK")].drop_duplicates("fold")


def warnings_of(results):
    """Count in how many fits each warning was given.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        With ``warnings``, one a line.

    Returns
    -------
    counts : dict of str to int
        Most frequent first.
    """
    fits = results.dropna(subset=["warnings"]).drop_duplicates(["estimator", "control", "seed", "fold"])
    lines = (
        fits["warnings"].astype(str).map(lambda text: sorted({line for line in text.splitlines() if line}))
    )
    return lines.explode().value_counts().to_dict()


def fold_rows(results):
    """What was done in each fold, as rows of a table.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)

    Returns
    -------
    columns : list of str
    rows : list of list of str
    """
    mine = of_decoders(results[results["error"].fillna("") == ""])
    score, rows = named_score(mine), []
    columns = ["decoder", "seed", "fold", "people", "trained on", "tested", "candidates", score, "chance"]
    columns += ["fit, s", "scored, s", "memory, MB"]
    for (name, seed, fold), own in mine.groupby(["estimator", "seed", "fold"], sort=False, dropna=False):
        share = own["n_windows"] / own["n_windows"].sum()
        people = pd.unique(own["subject"])
        who = ", ".join(people) if len(people) <= 3 else f"{len(people)} people"
        numbers = [own[column].iloc[0] for column in ("seconds_fit", "seconds_score", "peak_mb")]
        rows.append([
            str(name), f"{seed}", f"{fold}", who, _whole(own["n_train"].iloc[0]), _whole(own["n_windows"].sum()),
            _whole(own["n_candidates"].iloc[0]), pct((share * own["top_k"]).sum()), pct((share * own["chance"]).sum()),
            *(f"{number:.1f}" if np.isfinite(number) else "–" for number in numbers),
        ])  # fmt: skip
    return columns, rows


def _whole(number):
    return f"{number:.0f}" if np.isfinite(number) else "–"


def _list(names):
    names = list(dict.fromkeys(names))
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
