"""Results tables: read from files, joined and summarized."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd

from sk_b2s._utils._json_lines import JsonLinesFile
from sk_b2s._utils._text import shorten_list
from sk_b2s.evaluation._controls._registry import CONTEXT, LEAK_TESTS
from sk_b2s.evaluation._controls._verdicts import Verdict, add_verdict_texts, against_null, assign_verdicts
from sk_b2s.evaluation._results._amounts import amounts_in
from sk_b2s.evaluation._results._former import refuse_former_columns
from sk_b2s.evaluation._results._lines import find_problem, outcome_from_dict
from sk_b2s.evaluation._results._plan import (  # fmt: skip
    UNKNOWN,
    describe_differences,
    lacking,
    missing_rows,
    plan_groups,
    plans_that_differ,
    read_plan,
    unite,
    write_plan,
)
from sk_b2s.evaluation._scores import CHANCE_COLUMNS, SCORE_COLUMNS, SCORES, VERDICT_COLUMNS
from sk_b2s.evaluation._statistics import (
    KINDS,
    average_over_subjects,
    null_over_subjects,
    subject_score_means,
)

ABOUT = (  # of the fold, and what the estimator makes of it
    "cv", "leakage", "n_train_overlap", "train_seconds", "calibration_minutes", "calibration_minutes_used", "transductive_steps",
)  # fmt: skip
COST = (  # may differ between equal results
    "seconds_fit", "seconds_score", "peak_memory_mb", "versions", "machine", "warnings", "written",
)  # fmt: skip
MADE = ("parameters", "features", "chosen")  # what was fitted
COLUMNS = (
    "study", "estimator", "control", "seed", "fold", "subject", "condition", "pool", "n_train", "n_windows",
    "n_candidates", *SCORE_COLUMNS, *VERDICT_COLUMNS, *ABOUT, *MADE, *COST, "error", "key", "plan",
)  # fmt: skip
CELL = ["estimator", "seed", "fold", "control"]  # what a line is of


def make_table(lines):
    """Put lines of results into one table, with verdicts over the folds that there are.

    Parameters
    ----------
    lines : list of dict
        One for each estimator, seed, fold and control.

    Returns
    -------
    results : DataFrame of shape (n_rows, ...)
        Ordered by estimator, as a benchmark was given them, seed, fold and control.
    """
    first: dict[str, int] = {}
    for line in lines:
        name = line["common"]["estimator"]
        first[name] = min(line["about"].get("place", 0), first.get(name, len(lines)))
    order = {control: place for place, control in enumerate(["decoder", *LEAK_TESTS])}
    place = [
        (
            first[c["estimator"]],
            c["estimator"],
            c["seed"],
            c["fold"],
            order.get(c["control"], len(order)),
            c["control"],
        )
        for c in (line["common"] for line in lines)
    ]
    lines = [lines[index] for index in sorted(range(len(lines)), key=place.__getitem__)]
    plans = _plans_of(lines)
    rows = [
        {
            **row, **line["common"], **line["about"], **_made_of(line), **line["cost"],
            "error": line["error"], "key": line["key"], "plan": plan,
        }
        for line, plan in zip(lines, plans, strict=True)
        for row in line["rows"]
    ]  # fmt: skip
    results = pd.DataFrame(rows, columns=[name for name in COLUMNS if name not in VERDICT_COLUMNS])
    numbers = (
        "n_candidates",
        "n_train_overlap",
        "train_seconds",
        "calibration_minutes",
        "calibration_minutes_used",
    )
    results = results.astype({name: float for name in (*SCORE_COLUMNS, *numbers)})
    whole = [name for name in ("k", "n_candidates") if results[name].notna().all()]  # not so of errors
    results = results.astype(dict.fromkeys(whole, int))
    outcomes: dict[tuple, list] = {}
    for line in lines:
        if line["outcome"] is not None:
            name = tuple(line["common"][column] for column in ("estimator", "seed", "control"))
            name += (line["about"].get("calibration_minutes"),)
            outcomes.setdefault(name, []).append(outcome_from_dict(line["outcome"]))
    return assign_verdicts(results, outcomes)[list(COLUMNS)]


def _made_of(line):
    """What was fitted, as texts; nothing else of a line counts as such."""
    made = line.get("made", {})
    return {name: str(made[name]) for name in MADE if isinstance(made.get(name), str)}


def _plan_of(line):
    return read_plan(write_plan(line.get("plan")))


def _plans_of(lines):
    """Text of the plan of each line, compatible ones united; None where it is not known."""
    texts = [write_plan(line.get("plan")) or None for line in lines]
    known = list(dict.fromkeys(texts))
    plans = [read_plan(text) for text in known]
    groups = plan_groups(plans)
    whole = {
        group: write_plan(unite([plan for plan, of in zip(plans, groups, strict=True) if of == group]))
        or None
        for group in groups
    }
    return [whole[groups[known.index(text)]] for text in texts]


def read_results(paths, conflicts="raise"):
    """Read the table of :func:`~sk_b2s.benchmark` from its file, or from the files of several jobs.

    Parameters
    ----------
    paths : str, Path or sequence of them
        Files, or folders whose ``*.jsonl`` are read.
    conflicts : {"raise", "last"}, default="raise"
        What is done where files disagree on an estimator, seed, fold and control, or on its plan (folds, data, ``k``,
        candidates, parameters or code were changed under the same name): an error, or what was written last counts. Of
        two plans that is the last, with what is missing of it.

    Returns
    -------
    results : DataFrame of shape (n_rows, ...)
        As :func:`~sk_b2s.benchmark` returns, equal results once; an error is left out if the same was done
        later, or elsewhere.

    Raises
    ------
    FileNotFoundError
        If a file is not there.
    ValueError
        If files hold no results, or disagree.

    Warns
    -----
    UserWarning
        If folds, subjects or estimators of the plan are missing, the plan is not known, or estimators are of plans
        whose scores do not compare.
    """
    if conflicts not in ("raise", "last"):
        raise ValueError(f"conflicts must be 'raise' or 'last', got {conflicts!r}.")
    lines = []
    for path in map(Path, [paths] if isinstance(paths, (str, Path)) else paths):
        if not path.exists():
            raise FileNotFoundError(f"there is no file of results {str(path)!r}.")
        for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
            lines += JsonLinesFile(file, find_problem).lines()
    if not lines:
        raise ValueError(f"{_shown(paths)}: no results in there; were they written by benchmark(path=...)?")
    lines = sorted(lines, key=lambda line: line["cost"]["written"])
    kept: dict[tuple, dict] = {}
    for line in _of_last_plans(lines) if conflicts == "last" else lines:
        cell = tuple(line["common"][name] for name in CELL)
        before = kept.get(cell)
        if before is None or before["error"]:
            kept[cell] = line
        elif not line["error"] and _differ(before, line):
            if conflicts == "raise":
                raise ValueError(_conflict(before, line))
            kept[cell] = line
    lines = _of_last_plans(list(kept.values()), "raise")
    results = make_table(lines)
    _warn_of_plans(results, _shown(paths))
    return results


def _shown(paths):
    """Name files in messages: str."""
    paths = [paths] if isinstance(paths, (str, Path)) else list(paths)
    return shorten_list((repr(str(path)) for path in paths), 5)


def _of_last_plans(lines, conflicts="last"):
    """Lines of each estimator that are of one plan and of equal parameters, the last that was written.

    Raises
    ------
    ValueError
        If conflicts="raise" and there are several.
    """
    plans = [line.get("plan") for line in lines]
    texts = list(dict.fromkeys(map(write_plan, plans)))
    number = dict(zip(texts, plan_groups([read_plan(text) for text in texts]), strict=True))
    kinds = [
        (number[write_plan(plan)], line.get("made", {}).get("digest"))
        for plan, line in zip(plans, lines, strict=True)
    ]
    names = [line["common"]["estimator"] for line in lines]
    last: dict[str, int] = {}
    for place, (name, line) in enumerate(zip(names, lines, strict=True)):
        if line["error"]:
            continue
        if name in last and kinds[last[name]] != kinds[place] and conflicts == "raise":
            raise ValueError(_of_two_plans(name, lines[last[name]], line))
        last[name] = place
    return [
        line for name, kind, line in zip(names, kinds, lines, strict=True)
        if name not in last or kind == kinds[last[name]]
    ]  # fmt: skip


def _of_two_plans(name, one, other):
    plans = _plan_of(one), _plan_of(other)
    what = describe_differences(*plans) if write_plan(plans[0]) != write_plan(plans[1]) else ""
    what = what if plan_groups(plans) != [0, 0] else "the parameters of the estimator"
    folds = [line["common"]["fold"] for line in (one, other)]
    return (
        f"the results of {name!r} are of two plans, which differ in {what}: fold {folds[0]} is of the one and fold "
        f"{folds[1]} of the other. Keep their files apart, give the estimators names of their own, or take "
        f"conflicts='last', which reads the plan that was written last."
    )


def _warn_of_plans(results, shown):
    """Warn of what is missing of the plans of a file, and of estimators whose scores do not compare."""
    by = ["estimator", "control", *amounts_in(results)]
    known = results["plan"].map(read_plan)
    if known.isna().any():
        names = ", ".join(map(repr, pd.unique(results.loc[known.isna(), "estimator"])))
        warnings.warn(
            f"{shown} does not have the plan of {names}, for an older version wrote it: whether subjects or "
            f"folds are missing is not known.",
            stacklevel=3,
        )
    if lacks := [text for text in lacking(results, by) if not text.endswith(UNKNOWN)]:
        warnings.warn(
            f"{shown} is not complete. {'. '.join(lacks)}. Call benchmark again with the same arguments and "
            f"path to finish it.",
            stacklevel=3,
        )
    if differ := plans_that_differ(results):
        warnings.warn(
            f"{shown} has several plans: {differ}. Their scores do not compare; keep their files apart.",
            stacklevel=3,
        )


def _differ(a, b):
    """Tell whether two lines say different things, apart from what they cost."""
    return any(_text(a[name]) != _text(b[name]) for name in ("key", "common", "rows", "outcome"))


def _text(value):
    return repr(value)  # NaN is equal to itself here


def _conflict(before, line):
    common, plans = line["common"], [_plan_of(before), _plan_of(line)]
    what = (
        "with other parameters, data, settings or code"
        if before["key"] != line["key"]
        else "with another outcome"
    )
    if plan_groups(plans) != [0, 0]:
        what += f" (the plans differ in {describe_differences(*plans)})"
    return (
        f"{common['estimator']!r}, seed {common['seed']}, fold {common['fold']}, {common['control']!r} was done twice, "
        f"{what}: give changed estimators names of their own, keep files apart, or take conflicts='last'."
    )


# --- over subjects -----------------------------------------------------------------------------------


def summarize(results):
    """Mean and standard error over subjects of each estimator, with chance, null and verdict.

    The score of a subject is the mean over its windows in all folds, then over seeds. Standard errors are
    over subjects, never over folds, which share training data.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        Of :func:`~sk_b2s.benchmark`, :func:`~sk_b2s.read_results` or :func:`~sk_b2s.score_similarities`, or some of its rows.

    Returns
    -------
    table : DataFrame of shape (n_summaries, ...)
        A row for each ``estimator, control, condition`` and ``pool``, and each of ``calibration_minutes`` where
        there are several, in their order of appearance: ``n_subjects,
        n_folds, n_seeds, n_windows`` (of one seed), ``k``, the scores each with its ``..._sem`` (NaN for one subject)
        and chances (``median_relative_rank`` is the mean over folds of medians), ``n_candidates``; ``null_low,
        null_mean`` and ``null_high``, of the mean over subjects of ``top_k``; ``n_without_null``, subjects' folds whose
        recordings are too short for a null, and ``top_k_judged``, the mean without them: null and verdict are of that;
        ``n_failed``, fits that are missing from it; ``missing``, what is not done of the plan of the benchmark, such as
        "2 of 4 people, 4 of 8 folds; missing: 03, 04", empty where all is done, and "plan unknown" of tables that do
        not have it; ``verdict``: "above its null", "below its null" (the answer is
        inverted: labels, signs or pairs are wrong, codes are swapped, or folds predict the opposite), "at chance",
        "context", "no null" or "LEAK" with what leaks.

    Raises
    ------
    ValueError
        If there is no row but those of failed fits, or ``top_k`` of one estimator is of several ``k``.

    Notes
    -----
    Nulls of subjects and folds are independent, so what their 97.5 % quantiles are above their means adds
    up as standard deviations do; for one subject and fold it is the quantile itself. Those of seeds are not
    independent, and are averaged.

    Of noise, in 3 folds of 4 people whose windows overlap sixfold, 3.8 % of the rows were above their null where a
    recording had 80 windows, and 2.1 % where it had 300 (2.5 % are meant; labels cannot move by less than a window,
    which tells in short recordings). Of the summaries it was 1.5 and 0 % (of 200 and 100 draws).
    """
    refuse_former_columns(results)
    # Files of other kinds do not keep texts without a letter, nor pools that are texts.
    texts = {name: results[name].astype(object).fillna("") for name in ("condition", "error", "leak_sources")}
    results = _once(results.assign(**texts, pool=results["pool"].astype(str)))
    done, by = results[results["error"] == ""], [*KINDS, *amounts_in(results)]
    if not len(done):
        first = f": all fits failed, the first with {results['error'].iloc[0]}" if len(results) else "."
        raise ValueError(f"there are no results to sum up{first}")
    counts = pd.DataFrame([_counts(rows, by) for _, rows in done.groupby(by, sort=False, dropna=False)])
    scores = average_over_subjects(
        subject_score_means(done, [*SCORES, *CHANCE_COLUMNS, "n_candidates"], [*by, "subject"]), by
    )
    null = null_over_subjects(done, by)
    of = [*by[:2], *by[len(KINDS) :]]
    failed = results[results["error"] != ""].drop_duplicates(CELL).groupby(of, dropna=False).size()
    table = counts.join(scores, on=by).join(null, on=by).join(failed.rename("n_failed"), on=of)
    table = table.join(missing_rows(results, of).rename("missing"), on=of)
    table = table.fillna({"n_failed": 0})
    verdict = against_null(table.assign(top_k=table["top_k_judged"]))
    is_leak_test = table["control"].isin(LEAK_TESTS) & (
        verdict != Verdict.NO_NULL
    )  # tested over all folds together
    verdict[is_leak_test] = table["inverted"].map(
        {True: Verdict.BELOW_NULL.value, False: Verdict.AT_NULL.value}
    )
    verdict[table["control"].isin(CONTEXT)] = Verdict.CONTEXT.value
    table["verdict"] = verdict.mask(table["is_leak"], Verdict.LEAK.value)
    table = add_verdict_texts(table)
    columns = [
        *by, "n_subjects", "n_folds", "n_seeds", "n_windows", "k",
        *(column for name in SCORES for column in (name, f"{name}_sem")), *CHANCE_COLUMNS, "n_candidates", *null,
        "n_failed", "missing", *VERDICT_COLUMNS,
    ]  # fmt: skip
    place = {name: {one: at for at, one in enumerate(pd.unique(results[name]))} for name in by[:2]}
    return table.astype({"n_failed": int}).sort_values(
        by[:2], key=lambda names: names.map(place[names.name]), kind="stable", ignore_index=True
    )[columns]


def _once(results):
    """Count rows of one fit once, with a warning, where a table was joined with itself or a part of itself."""
    if "key" not in results:
        return results
    of = [name for name in (*CELL, "subject", "study", "condition", "pool", "key") if name in results]
    twice = results.duplicated(of) & ~results["key"].isna() & (results["key"] != "")
    if n := int(twice.sum()):
        warnings.warn(
            f"{n} of {len(results)} rows of results are of fits that other rows are of as well, and are left out: was "
            f"a table joined with itself? drop_duplicates({of}) silences this.",
            stacklevel=3,
        )
    return results[~twice]


def _counts(rows, by):
    """What a row of the summary says beside its scores."""
    name = dict(zip(by, rows[by].iloc[0], strict=True))
    if rows["k"].nunique() > 1:
        raise ValueError(
            f"top_k of {name['estimator']!r} is of k = {sorted(map(int, rows['k'].unique()))} in different rows, which "
            f"have no mean: sum up one kind, results[results['k'] == ...]."
        )
    leaks = rows["leak_sources"][rows["verdict"] == Verdict.LEAK]
    n_seeds = rows["seed"].nunique()
    return name | {
        "n_folds": rows["fold"].nunique(), "n_seeds": n_seeds, "n_windows": int(rows["n_windows"].sum() / n_seeds),
        "k": rows["k"].iloc[0], "is_leak": len(leaks) > 0, "leak_sources": "" if leaks.empty else leaks.iloc[0],
        "inverted": bool((rows["verdict"] == Verdict.BELOW_NULL).any()),
    }  # fmt: skip
