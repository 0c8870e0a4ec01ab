"""Results tables from lines and files."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pandas as pd

from sk_b2s._utils._json_lines import JsonLinesFile
from sk_b2s._utils._text import shorten_list
from sk_b2s.evaluation._controls._registry import LEAK_TESTS
from sk_b2s.evaluation._controls._verdicts import assign_verdicts
from sk_b2s.evaluation._results._amounts import amounts_in
from sk_b2s.evaluation._results._lines import find_line_problem, parse_result_line_outcome
from sk_b2s.evaluation._results._plan import (  # fmt: skip
    UNKNOWN,
    describe_plan_differences,
    group_compatible_plans,
    list_missing_plan_parts,
    merge_plans,
    plans_that_differ,
    read_plan,
    write_plan,
)
from sk_b2s.evaluation._scores import OPTIONAL_COLUMNS, SCORE_COLUMNS, VERDICT_COLUMNS

ABOUT = (  # of the fold, and of the estimator in it
    "cv", "leakage", "leakage_verdict", "leakage_sources", "n_train_overlap", "train_seconds",
    "calibration_minutes", "calibration_minutes_used", "transductive_steps", "n_without_candidates",
)  # fmt: skip
COST = (  # may differ between equal results
    "seconds_fit", "seconds_score", "peak_memory_mb", "versions", "machine", "warnings", "written",
)  # fmt: skip
MADE = ("parameters", "features", "chosen")  # of the estimator
COLUMNS = (
    "study", "estimator", "control", "seed", "fold", "subject", "condition", "pool", "n_train", "n_windows",
    "n_candidates", *(name for name in SCORE_COLUMNS if name not in OPTIONAL_COLUMNS), *VERDICT_COLUMNS, *ABOUT, *MADE,
    *COST, "error", "key", "plan", "details",
)  # fmt: skip
OF_TASK = ("task", "main_score")  # first columns of the results of a task
CELL = ["estimator", "seed", "fold", "control"]  # identify a fit


def make_results_table(lines):
    """Make a table with verdicts from lines of results.

    Parameters
    ----------
    lines : list of dict
        One per estimator, seed, fold and control.

    Returns
    -------
    results : DataFrame of shape (n_rows, ...)
        Sorted by task, estimator in the order of the benchmark, seed, fold
        and control.
    """
    tasks = list(dict.fromkeys(line["about"].get("task") for line in lines))
    if len(tasks) > 1:
        parts = [[line for line in lines if line["about"].get("task") == task] for task in tasks]
        parts = [
            make_results_table(part).assign(task=task or "") for part, task in zip(parts, tasks, strict=True)
        ]
        results = pd.concat(parts, ignore_index=True)
        names = _list_result_columns(results)
        return results.fillna({"main_score": "top_k"})[names]
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
    plans = _merge_plan_texts(lines)
    rows = [
        {
            **row, **line["common"], **line["about"], **_get_estimator_columns(line), **line["cost"],
            "error": line["error"], "key": line["key"], "plan": plan,
            "details": json.dumps(line["details"]) if not place and line.get("details") else None,
        }
        for line, plan in zip(lines, plans, strict=True)
        for place, row in enumerate(line["rows"])
    ]  # fmt: skip
    results = pd.DataFrame(rows)
    names = _list_result_columns(results)
    results = results.reindex(columns=[name for name in names if name not in VERDICT_COLUMNS])
    numbers = (
        "n_candidates",
        "n_train_overlap",
        "train_seconds",
        "calibration_minutes",
        "calibration_minutes_used",
        "n_without_candidates",
    )
    results = results.astype({name: float for name in (*SCORE_COLUMNS, *numbers) if name in results})
    integers = [
        name for name in ("k", "n_candidates") if results[name].notna().all()
    ]  # NaN in rows of errors
    results = results.astype(dict.fromkeys(integers, int))
    outcomes: dict[tuple, list] = {}
    for line in lines:
        if line["outcome"] is not None:
            name = tuple(line["common"][column] for column in ("estimator", "seed", "control"))
            name += (line["about"].get("calibration_minutes"),)
            outcomes.setdefault(name, []).append(parse_result_line_outcome(line["outcome"]))
    return assign_verdicts(results, outcomes)[names]


def _list_result_columns(results):
    """List the columns of a table: those of a task only if it has them."""
    own = [name for name in OPTIONAL_COLUMNS if name in results and results[name].notna().any()]
    place = COLUMNS.index(VERDICT_COLUMNS[0])
    return [*(name for name in OF_TASK if name in results), *COLUMNS[:place], *own, *COLUMNS[place:]]


def _get_estimator_columns(line):
    """Return the texts that describe the estimator."""
    made = line.get("made", {})
    return {name: str(made[name]) for name in MADE if isinstance(made.get(name), str)}


def _get_plan_of_line(line):
    return read_plan(write_plan(line.get("plan")))


def _merge_plan_texts(lines):
    """Return the text of the plan of each line, compatible ones merged.

    None for lines without a plan.
    """
    texts = [write_plan(line.get("plan")) or None for line in lines]
    known = list(dict.fromkeys(texts))
    plans = [read_plan(text) for text in known]
    groups = group_compatible_plans(plans)
    whole = {
        group: write_plan(merge_plans([plan for plan, of in zip(plans, groups, strict=True) if of == group]))
        or None
        for group in groups
    }
    return [whole[groups[known.index(text)]] for text in texts]


def read_results(paths, conflicts="raise"):
    """Read the results of :func:`~sk_b2s.benchmark` from one or more files.

    Parameters
    ----------
    paths : str, Path or sequence of them
        Files, or folders with ``*.jsonl`` files. Former names of columns and
        controls are renamed.
    conflicts : {"raise", "last"}, default="raise"
        What to do if files differ in the results of an estimator, seed, fold
        and control, or in its plan (folds, data, ``k``, candidates, parameters
        or code were changed under the same name). If "raise", raise an error.
        If "last", use what was written last, and of two plans the last one
        even if it is incomplete.

    Returns
    -------
    results : DataFrame of shape (n_rows, ...)
        As :func:`~sk_b2s.benchmark` returns. Equal results are included once.
        An error is left out if the same fit succeeded later or elsewhere.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ValueError
        If files have no results, or different ones.

    Warns
    -----
    UserWarning
        If folds, subjects or estimators of the plan are missing, the plan is
        unknown, or scores of estimators are not comparable.
    """
    if conflicts not in ("raise", "last"):
        raise ValueError(f"conflicts must be 'raise' or 'last'. Got {conflicts!r}.")
    lines = []
    for path in map(Path, [paths] if isinstance(paths, (str, Path)) else paths):
        if not path.exists():
            raise FileNotFoundError(f"Results file {str(path)!r} does not exist. Check the path.")
        for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
            lines += JsonLinesFile(file, find_line_problem).lines()
    if not lines:
        raise ValueError(
            f"{_format_result_paths(paths)}: no results found. Use files written by benchmark(path=...)."
        )
    lines = sorted(lines, key=lambda line: line["cost"]["written"])
    kept: dict[tuple, dict] = {}
    for line in _select_last_plans(lines) if conflicts == "last" else lines:
        cell = line["about"].get("task"), *(line["common"][name] for name in CELL)
        before = kept.get(cell)
        if before is None or before["error"]:
            kept[cell] = line
        elif not line["error"] and _differ_in_results(before, line):
            if conflicts == "raise":
                raise ValueError(_describe_conflict(before, line))
            kept[cell] = line
    lines = _select_last_plans(list(kept.values()), "raise")
    results = make_results_table(lines)
    _warn_of_plans(results, _format_result_paths(paths))
    return results


def _format_result_paths(paths):
    """Format file names for messages."""
    paths = [paths] if isinstance(paths, (str, Path)) else list(paths)
    return shorten_list((repr(str(path)) for path in paths), 5)


def _select_last_plans(lines, conflicts="last"):
    """Select lines of the last plan and parameters of each estimator.

    Raises a ValueError if there are several and conflicts="raise".
    """
    plans = [line.get("plan") for line in lines]
    texts = list(dict.fromkeys(map(write_plan, plans)))
    number = dict(zip(texts, group_compatible_plans([read_plan(text) for text in texts]), strict=True))
    kinds = [
        (number[write_plan(plan)], line.get("made", {}).get("digest"))
        for plan, line in zip(plans, lines, strict=True)
    ]
    names = [(line["common"]["estimator"], line["about"].get("task")) for line in lines]
    last: dict[tuple, int] = {}
    for place, (name, line) in enumerate(zip(names, lines, strict=True)):
        if line["error"]:
            continue
        if name in last and kinds[last[name]] != kinds[place] and conflicts == "raise":
            raise ValueError(_describe_two_plans(name[0], lines[last[name]], line))
        last[name] = place
    return [
        line for name, kind, line in zip(names, kinds, lines, strict=True)
        if name not in last or kind == kinds[last[name]]
    ]  # fmt: skip


def _describe_two_plans(name, one, other):
    plans = _get_plan_of_line(one), _get_plan_of_line(other)
    what = describe_plan_differences(*plans) if write_plan(plans[0]) != write_plan(plans[1]) else ""
    what = what if group_compatible_plans(plans) != [0, 0] else "the parameters of the estimator"
    folds = [line["common"]["fold"] for line in (one, other)]
    return (
        f"The results of {name!r} have two plans, which differ in {what}. Fold {folds[0]} is from one and fold "
        f"{folds[1]} from the other. Read their files separately, use different names for the estimators, or pass "
        f"conflicts='last' to read the plan that was written last."
    )


def _warn_of_plans(results, shown):
    """Warn of missing parts of plans and of incomparable scores."""
    if "task" in results and results["task"].nunique() > 1:
        for _, own in results.groupby("task", sort=False):
            _warn_of_plans(own, shown)
        return
    by = ["estimator", "control", *amounts_in(results)]
    known = results["plan"].map(read_plan)
    if known.isna().any():
        names = ", ".join(map(repr, pd.unique(results.loc[known.isna(), "estimator"])))
        warnings.warn(
            f"{shown} does not have the plan of {names}, because an earlier version wrote it, so missing subjects or "
            f"folds are not detected.",
            stacklevel=3,
        )
    if lacks := [text for text in list_missing_plan_parts(results, by) if not text.endswith(UNKNOWN)]:
        warnings.warn(
            f"{shown} is not complete. {'. '.join(lacks)}. Call benchmark again with the same arguments and "
            f"path to finish it.",
            stacklevel=3,
        )
    if differ := plans_that_differ(results):
        warnings.warn(
            f"{shown} has several plans: {differ}. Their scores are not comparable. Read their files separately.",
            stacklevel=3,
        )


def _differ_in_results(a, b):
    """Return whether two lines have different results, whatever their cost."""
    return any(
        _format_conflict_value(a[name]) != _format_conflict_value(b[name])
        for name in ("key", "common", "rows", "outcome")
    )


def _format_conflict_value(value):
    return repr(value)  # NaN equals itself


def _describe_conflict(before, line):
    common, plans = line["common"], [_get_plan_of_line(before), _get_plan_of_line(line)]
    what = (
        "with different parameters, data, settings or code"
        if before["key"] != line["key"]
        else "with different results"
    )
    if group_compatible_plans(plans) != [0, 0]:
        what += f" (the plans differ in {describe_plan_differences(*plans)})"
    return (
        f"{common['estimator']!r}, seed {common['seed']}, fold {common['fold']}, {common['control']!r} was run twice, "
        f"{what}. Use different names for changed estimators, read files separately, or pass conflicts='last'."
    )
