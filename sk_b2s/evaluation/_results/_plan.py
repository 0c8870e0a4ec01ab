"""Plan of a benchmark: the folds and estimators that it should hold."""

from __future__ import annotations

import json

import pandas as pd

from sk_b2s._utils._text import shorten_list
from sk_b2s.evaluation._results._amounts import format_calibration_amounts

UNKNOWN = "plan unknown"
AUDIT = '{"audit": true}'  # of precomputed similarities, without folds
MAX_NAMES = 40  # that are listed
NAMES = {  # key of a plan -> name in messages
    "cv": "folds made by", "code": "code", "X": "X", "y": "y",
    "task": "task", "k": "k", "n_candidates": "n_candidates", "n_shifts": "n_shifts",
}  # fmt: skip


def write_plan(plan):
    """Write a plan as one line of JSON, or an empty text for None."""
    return "" if plan is None else json.dumps(plan, sort_keys=True)


def read_plan(text):
    """Read a plan from its text as a dict, None if it is not a plan."""
    if not isinstance(text, str) or not text:
        return None
    try:
        plan = json.loads(text)
    except ValueError:
        return None
    return plan if _is_plan(plan) else None


def _is_plan(plan):
    """Return whether a value read from a file has the form of a plan."""
    if plan == json.loads(AUDIT):
        return True
    try:
        n, n_subjects = len(plan["questions"]), len(plan["subjects"])
        return (
            all(isinstance(plan[name], dict) for name in ("work", "settings", "data"))
            and isinstance(plan["cv"], str)
            and len(plan["tests"]) == n
            and all(isinstance(one, int) and 0 <= one < n_subjects for test in plan["tests"] for one in test)
            and (plan["minutes"] is None or all(isinstance(one, (int, float)) for one in plan["minutes"]))
            and all(
                isinstance(n_folds, int) and n_folds <= n and isinstance(seeds, list)
                for controls in plan["work"].values()
                for seeds, n_folds in controls.values()
            )
        )
    except (TypeError, KeyError, ValueError, AttributeError):
        return False


# --- several plans -----------------------------------------------------------------------------------


def are_plans_compatible(one, other):
    """Return whether two plans have the same folds, data, settings and code.

    Estimators, controls, seeds and the number of folds may differ.
    """
    if one is None or other is None:
        return one is other
    if "audit" in one or "audit" in other:
        return one == other
    n = min(len(one["questions"]), len(other["questions"]))
    return one["questions"][:n] == other["questions"][:n] and one["settings"] == other["settings"]


def group_compatible_plans(plans):
    """Number groups of compatible plans in order of first appearance."""
    kinds, groups = [], []
    for plan in plans:
        known = [place for place, kind in enumerate(kinds) if are_plans_compatible(kind, plan)]
        if not known:
            kinds.append(plan)
        elif (
            plan is not None
            and "audit" not in plan
            and len(plan["questions"]) > len(kinds[known[0]]["questions"])
        ):
            kinds[known[0]] = plan
        groups.append(known[0] if known else len(kinds) - 1)
    return groups


def merge_plans(plans):
    """Merge compatible plans to one with all their folds and fits."""
    plans = [plan for plan in plans if plan is not None]
    if not plans or "audit" in plans[0]:
        return plans[0] if plans else None
    work: dict = {}
    for plan in plans:
        for name, controls in plan["work"].items():
            for control, (seeds, n_folds) in controls.items():
                before = work.setdefault(name, {}).get(control, ([], 0))
                work[name][control] = [sorted({*before[0], *seeds}), max(before[1], n_folds)]
    return max(plans, key=lambda plan: len(plan["questions"])) | {"work": work}


def describe_plan_differences(one, other):
    """Describe the differences of two plans, "k (10 and 5), y" for example."""
    if one is None or other is None:
        return "the plan, which one of them lacks because an earlier version wrote it"
    if "audit" in one or "audit" in other:
        return "the function, one of them is from score_similarities"
    flat = [plan["settings"] | {"cv": plan["cv"]} | plan["data"] for plan in (one, other)]
    found = []
    for name, called in NAMES.items():
        values = [part.get(name) for part in flat]
        if values[0] == values[1]:
            continue
        shown = name not in ("X", "y", "code")
        found.append(f"{called} ({values[0]} and {values[1]})" if shown else called)
    return ", ".join(found) or "the rows of their folds"


# --- what is missing ---------------------------------------------------------------------------------


def describe_missing_plan_folds(plan, done, name, control="decoder", minutes=None):
    """Describe the missing subjects and folds of an estimator.

    Parameters
    ----------
    plan : dict or None
    done : set of (fold, seed)
        Finished fits.
    name, control : str
    minutes : collection of float or None, default=None
        Amounts of calibration. If None, all.

    Returns
    -------
    text : str
        "2 of 4 subjects, 4 of 8 folds; missing: 03, 04" for example, "" if the
        plan is complete, or ``UNKNOWN`` without a plan.
    """
    if plan is None:
        return UNKNOWN
    if "audit" in plan:
        return ""
    seeds, n_folds = plan["work"].get(name, {}).get(control, ([], 0))
    amounts = plan.get("minutes") or [None]
    folds = [fold for fold in range(n_folds) if minutes is None or amounts[fold % len(amounts)] in minutes]
    wanted = {(fold, seed) for fold in folds for seed in seeds}
    if wanted <= done:
        return ""
    tests = {fold: [plan["subjects"][one] for one in plan["tests"][fold]] for fold in folds}
    finished = [fold for fold in folds if any((fold, seed) in done for seed in seeds)]
    subjects = list(dict.fromkeys(subject for fold in folds for subject in tests[fold]))
    seen = {subject for fold in finished for subject in tests[fold]}
    lost = [subject for subject in subjects if subject not in seen]
    others = [fold for fold in folds if fold not in finished and seen & set(tests[fold])]
    parts = [_name_first_planned(lost)] if lost else []
    if others:
        parts.append(_list_planned_folds(others, tests if len(subjects) > 1 else {}))
    for seed in seeds:
        if of_seed := [fold for fold in finished if (fold, seed) not in done]:
            parts.append(f"with seed {seed} {_list_planned_folds(of_seed, {})}")
    counts = f"{len(seen)} of {len(subjects)} subject{'s' * (len(subjects) > 1)}"
    return f"{counts}, {len(finished)} of {len(folds)} folds; missing: {'; '.join(parts)}"


def _list_planned_folds(folds, tests):
    """List folds, with the subject of each that tests a single one."""
    names = [f"{fold} ({tests[fold][0]})" if len(tests.get(fold, ())) == 1 else str(fold) for fold in folds]
    return f"fold{'s' * (len(folds) > 1)} {_name_first_planned(names)}"


def _name_first_planned(names):
    return shorten_list([str(name) or "unnamed" for name in names], MAX_NAMES)


def describe_missing_plan_rows(results, by=("estimator", "control")):
    """Describe the missing parts of each estimator and control.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        With ``estimator, control, fold, seed, error`` and ``plan``.
    by : sequence of str, default=("estimator", "control")
        Columns. "calibration_minutes" can be one of them. Each combination
        gets an entry.

    Returns
    -------
    missing : Series of str
        Indexed by ``by``, see :func:`describe_missing_plan_folds`.

    Raises
    ------
    ValueError
        If the rows of one estimator have incompatible plans.
    """
    out, by = {}, list(by)
    whole = _merge_plans(results)
    for key, rows in results.groupby(by, sort=False, dropna=False):
        values = dict(zip(by, key, strict=True))
        amounts = rows["calibration_minutes"] if "calibration_minutes" in rows else pd.Series(dtype=float)
        good = rows[rows["error"].astype(object).fillna("") == ""]
        done = set(zip(good["fold"].tolist(), good["seed"].tolist(), strict=True))
        name = values["estimator"]
        out[key] = describe_missing_plan_folds(
            whole[name], done, name, values.get("control", "decoder"), set(amounts.dropna()) or None
        )
    return pd.Series(list(out.values()), index=pd.MultiIndex.from_tuples(out, names=by), dtype=object)


def list_missing_plan_parts(results, by=("estimator", "control")):
    """List the missing parts of a table, one text per estimator.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
    by : sequence of str, default=("estimator", "control")
        As for :func:`describe_missing_plan_rows`.

    Returns
    -------
    texts : list of str
        "ridge: 2 of 4 subjects, 4 of 8 folds; missing: 03, 04" and "no result
        of clip" for example.
    """
    missing = describe_missing_plan_rows(results, by)
    missing, texts = missing[missing != ""], {}
    for (name, control, *minutes), text in missing.items():
        if control == "decoder" or missing.get((name, "decoder", *minutes), "") != text:
            owner = name if control == "decoder" else f"{control} of {name}"
            texts[owner + "".join(format_calibration_amounts(minutes))] = text
    lost = list_missing_plan_estimators(results)
    return [f"{name}: {text}" for name, text in texts.items()] + [f"no result of {name}" for name in lost]


def list_missing_plan_estimators(results):
    """List the planned estimators and controls without any row."""
    there = set(zip(results["estimator"], results["control"], strict=True))
    plans = [plan for plan in _merge_plans(results).values() if plan is not None and "audit" not in plan]
    wanted = {
        (name, control) for plan in plans for name, controls in plan["work"].items() for control in controls
    }
    names = {name for name, _ in there}
    lost = [name for name in dict.fromkeys(name for name, _ in sorted(wanted)) if name not in names]
    return lost + [f"{control} of {name}" for name, control in sorted(wanted - there) if name in names]


def plans_that_differ(results):
    """Describe estimators whose scores are not comparable.

    Returns
    -------
    text : str
        "'ridge' and 'clip' differ in k (10 and 5)" for example, "" if all
        scores are comparable.
    """
    plans = {name: plan for name, plan in _merge_plans(results).items() if plan is not None}
    groups = group_compatible_plans(list(plans.values()))
    if len(set(groups)) < 2:
        return ""
    names = list(plans)
    first, other = names[0], names[groups.index(1)]
    return f"{first!r} and {other!r} differ in {describe_plan_differences(plans[first], plans[other])}"


def _merge_plans(results):
    """Merge the plans of the rows of each estimator: {name: plan or None}."""
    plans = results["plan"] if "plan" in results else pd.Series(None, index=results.index, dtype=object)
    out = {}
    for name, texts in plans.groupby(results["estimator"], sort=False):
        found = [read_plan(text) for text in pd.unique(texts)]
        found = list({write_plan(plan): plan for plan in found}.values())
        groups = group_compatible_plans(found)
        if max(groups) > 0:
            other = found[groups.index(1)]
            raise ValueError(
                f"The results of {name!r} have {max(groups) + 1} plans, which differ in "
                f"{describe_plan_differences(found[0], other)}. Select the rows of one, results[results['plan'] == ...]."
            )
        out[name] = merge_plans(found)
    return out
