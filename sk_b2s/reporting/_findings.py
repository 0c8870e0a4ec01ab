"""Findings of a results table in words."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s._utils._text import join_words
from sk_b2s.decoding._stimulus_artifacts import HOLD_SOUND
from sk_b2s.evaluation._controls._registry import CONTROLS, LEAK_TESTS
from sk_b2s.evaluation._controls._verdicts import BELOW_MEANS, Verdict
from sk_b2s.evaluation._results._amounts import amounts_in, select_amount
from sk_b2s.evaluation._results._plan import UNKNOWN, lacking, plans_that_differ
from sk_b2s.evaluation._results._table import summarize
from sk_b2s.evaluation._statistics import of_decoders
from sk_b2s.evaluation._summary import add_labels, get_score_label
from sk_b2s.model_selection._leakage import leaks_in

LIMITS = (  # what similarities do not show, whatever their null and controls
    "Choice by the test: an epoch, seed, parameter, channel, band or estimator that was kept because it scored best on "
    "the windows tested. The best of 60 decoders of noise is above its null. Choose on validation windows of the "
    "training rows, and report all that was tried.",
    "State kept from fold to fold: an estimator of one's own whose fit goes on from earlier weights, or that clone "
    "does not copy, has learned from the windows that it is tested on.",
    "Preprocessing of all windows together before the folds were made, such as components, scaling or rejection that "
    "was fitted on test windows.",
    "Pretraining on the same subjects or stimuli elsewhere: a network from a file does not have to record its data.",
    "Artifacts that follow the stimulus, such as sound in the cables of earphones or an electrode that records sound: "
    "they are decoded like a response, and controls of the recording do not see them.",
    "Timing: where words come at their own intervals, the times of the windows alone give words away.",
)
MOST_NOTES = 5  # warnings of one decoder that are notes


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


def null_of(row):
    """Write both sides of the null of a row.

    Parameters
    ----------
    row : dict or Series
        With ``null_low`` and ``null_high``.

    Returns
    -------
    text : str
        A dash where there is none.

    Examples
    --------
    >>> null_of({"null_low": 0.016, "null_high": 0.043}).replace("\N{NO-BREAK SPACE}", " ")
    '1.6 % to 4.3 %'
    """
    return f"{pct(row['null_low'])} to {pct(row['null_high'])}" if np.isfinite(row["null_high"]) else "–"


def verdict_class(verdict):
    """Tell how a verdict is colored.

    Parameters
    ----------
    verdict : str

    Returns
    -------
    name : {"good", "bad", "so"}
    """
    if verdict in (Verdict.LEAK, Verdict.ERROR, Verdict.BELOW_NULL):
        return "bad"
    return "good" if verdict == Verdict.ABOVE_NULL else "so"


def summary_rows(results):
    """Rows of :func:`~sk_b2s.summarize` with a ``label``, as :func:`~sk_b2s.evaluation._summary.add_labels` gives it.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)

    Returns
    -------
    rows : DataFrame
    """
    return add_labels(summarize(results))


def stimulus_facts(results):
    """Say in a line what was tested.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)

    Returns
    -------
    text : str
    """
    mine = of_decoders(results[results["error"].astype(object).fillna("") == ""])
    one = select_amount(mine).drop_duplicates(["subject", "fold", "condition"])
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
    number, beside : str
    row : dict
        The row itself, with its verdict.
    """
    error = f"± {100 * row['top_k_sem']:.1f} s.e.m., " if np.isfinite(row["top_k_sem"]) else ""
    null = f", null {null_of(row)}" if np.isfinite(row["null_high"]) else ""
    beside = (
        f"top-{int(row['k'])} accuracy among {row['n_candidates']:.0f} candidates, {error}"
        f"chance {pct(row['chance'])}{null}"
    )
    return pct(row["top_k"]), beside, row


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
    leaks = mine[mine["verdict"] == Verdict.LEAK]["label"]
    good = mine[mine["verdict"] == Verdict.ABOVE_NULL]["label"]
    below = mine[mine["verdict"] == Verdict.BELOW_NULL]["label"]
    n = len(mine)
    if len(_leaking_folds(results)):
        kind, said = "bad", "Training and test are not apart: what was scored is no evidence."
    elif len(leaks):
        kind, said = "bad", f"There is a leak: what {join_words(leaks)} scored is no evidence."
    elif holds := list(_said_by_fits(results, f"UserWarning: {HOLD_SOUND}")):
        kind, said = (
            "bad",
            (
                f"Channels of the recordings hold the sound: what {join_words(holds)} scored may be read from them and not "
                f"from a brain."
            ),
        )
    elif len(below):
        kind, said = "bad", _inverted(below, good, mine)
    elif len(good) == n:
        reads = (
            "reads heard speech better than its null"
            if n == 1
            else "read heard speech better than their nulls"
        )
        kind, said = "good", f"{join_words(good)} {reads}."
    elif len(good):
        others = join_words(mine.loc[~mine.index.isin(good.index), "label"])
        reads = "reads" if len(good) == 1 else "read"
        kind, said = (
            "so",
            f"{join_words(good)} {reads} heard speech better than the null; {others} cannot be said to.",
        )
    elif (mine["verdict"] == Verdict.NO_NULL).all():
        kind, said = (
            "so",
            "Nothing can be said: no null could be made, for recordings are too short or times unknown.",
        )
    else:
        kind, said = "so", "No decoder reads heard speech better than its null."
    lacks = lacking(results, ["estimator", "control", *amounts_in(results)])
    if unfinished := [text for text in lacks if not text.endswith(UNKNOWN)]:
        kind = "so" if kind == "good" else kind
        said = f"Not complete: {'; '.join(unfinished)}. {said}"
    notes = _notes(mine, rows, results)
    if len(unfinished) < len(lacks):
        notes.append("The table does not have its plan: whether people or folds are missing is not known.")
    if differ := plans_that_differ(results):
        notes.insert(
            0, f"These are results of several plans, and scores do not compare between them: {differ}."
        )
    return kind, said, notes


def _inverted(below, good, mine):
    """State that decoders are below their null, and then what the others are."""
    own = "its null" if below.nunique() == 1 else "their nulls"
    others = mine.loc[~mine.index.isin([*below.index, *good.index]), "label"]
    said = [f"{join_words(below)} scored below {own}: {BELOW_MEANS}."]
    if len(good):
        reads = "reads" if good.nunique() == 1 else "read"
        said.append(f"{join_words(good)} {reads} heard speech better than the null.")
    if len(others):
        said.append(f"{join_words(others)} cannot be said to read heard speech.")
    return " ".join(said)


def _notes(mine, rows, results):
    """What else a verdict hangs on."""
    controls = rows[rows["control"].isin(LEAK_TESTS) & (rows["pool"] == "all")]
    run = [name for name in pd.unique(results["control"]) if name in LEAK_TESTS]
    at_chance = [
        name for name in run
        if (own := controls.loc[controls["control"] == name, "verdict"]).eq(Verdict.AT_NULL).all() and len(own)
    ]  # fmt: skip
    inverted = list(pd.unique(controls.loc[controls["verdict"] == Verdict.BELOW_NULL, "control"]))
    notes = []
    if not run:
        notes = ["No control for leaks was run, so a leak is not ruled out."]
    elif not controls["verdict"].eq(Verdict.LEAK).any():
        if at_chance:
            notes = [f"What must be at chance is at chance: {join_words(at_chance)}."]
        if inverted:
            notes.append(f"{join_words(inverted)} scored below what chance explains. That is no leak, but either the folds "
                         f"predict the opposite of what they test, or a leak is read with the wrong sign.")  # fmt: skip
        if unknown := [name for name in run if name not in [*at_chance, *inverted]]:
            notes.append(f"Whether all of {join_words(unknown)} is at chance cannot be said: fits failed, or recordings "
                         f"are too short for a null.")  # fmt: skip
    if results["n_train_overlap"].isna().any():
        notes.append("It is not known whether sound of training was tested.")
    elif not (results["n_train_overlap"] > 0).any():
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
    for name, (texts, n, n_fits) in _said_by_fits(results, "ConvergenceWarning: ").items():
        notes += [f"{name}: {text.removeprefix('ConvergenceWarning: ')}" for text in texts[:MOST_NOTES]]
        if len(texts) > MOST_NOTES:
            notes.append(
                f"{name}: {n} of {n_fits} fits have such warnings. All are under 'Warnings of fits'."
            )
    return notes


def _said_by_fits(results, beginning):
    """Return distinct warnings of decoders that begin so, and how many fits have one: {name: (texts, n, n_fits)}."""
    if "warnings" not in results:
        return {}
    found = {}
    fits = results[results["control"] == "decoder"].drop_duplicates(["estimator", "seed", "fold"])
    for name, own in fits.groupby("estimator", sort=False):
        lines = [
            [line for line in text.splitlines() if line.startswith(beginning)]
            for text in own["warnings"].astype(object).fillna("").astype(str)
        ]
        if texts := list(dict.fromkeys(line for each in lines for line in each)):
            found[name] = texts, sum(map(bool, lines)), len(own)
    return found


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
    leaks = rows["verdict"].eq(Verdict.LEAK) & rows["control"].isin(LEAK_TESTS) & (rows["pool"] == "all")
    reasons = [
        f"{row['label']}, {row['control']}: {pct(row['top_k'])} where chance is {pct(row['chance'])}; "
        f"{CONTROLS[row['control']].leak_meaning}."
        for row in rows[leaks].to_dict("records")
    ]
    folds, n_folds = _leaking_folds(results), results["fold"].nunique()
    if len(folds):
        reasons.append(
            f"In {len(folds)} of {n_folds} folds; fold {folds['fold'].iloc[0]}: {folds['leakage'].iloc[0]}"
        )
    for name, (texts, n, n_fits) in _said_by_fits(results, f"UserWarning: {HOLD_SOUND}").items():
        reasons.append(f"{name}, in {n} of {n_fits} fits: {texts[0].removeprefix('UserWarning: ')}")
    mine = of_decoders(results)
    heard = mine[mine["n_train_overlap"] > 0].drop_duplicates(["estimator", "fold"])
    for name, own in heard.groupby("estimator", sort=False):
        reasons.append(
            f"{name}: {own['n_train_overlap'].sum():.0f} windows tested contain sound of training, in "
            f"{own['fold'].nunique()} of {n_folds} folds. They may be remembered rather than decoded: "
            f"divide whole blocks, with a gap, as StimulusKFold and LeaveOneSubjectOut do."
        )
    return reasons


def _leaking_folds(results):
    """Folds of which check_leakage says so, whatever was scored on them."""
    if "leakage" not in results:
        return results.iloc[:0]
    return results[[bool(leaks_in([text])) for text in results["leakage"]]].drop_duplicates("fold")


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
    mine = of_decoders(results[results["error"].astype(object).fillna("") == ""])
    score, rows = get_score_label(mine), []
    columns = ["decoder", "seed", "fold", "people", "trained on", "tested", "candidates", score, "chance"]
    columns += ["fit, s", "scored, s", "memory, MB"]
    for (name, seed, fold), own in mine.groupby(["estimator", "seed", "fold"], sort=False, dropna=False):
        share = own["n_windows"] / own["n_windows"].sum()
        people = pd.unique(own["subject"])
        who = ", ".join(people) if len(people) <= 3 else f"{len(people)} people"
        numbers = [own[column].iloc[0] for column in ("seconds_fit", "seconds_score", "peak_memory_mb")]
        rows.append([
            str(name), f"{seed}", f"{fold}", who, _whole(own["n_train"].iloc[0]), _whole(own["n_windows"].sum()),
            _whole(own["n_candidates"].iloc[0]), pct((share * own["top_k"]).sum()), pct((share * own["chance"]).sum()),
            *(f"{number:.1f}" if np.isfinite(number) else "–" for number in numbers),
        ])  # fmt: skip
    return columns, rows


def _whole(number):
    return f"{number:.0f}" if np.isfinite(number) else "–"
