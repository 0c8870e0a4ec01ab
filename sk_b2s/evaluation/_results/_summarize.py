"""Summary of a results table over subjects."""

from __future__ import annotations

import warnings

import pandas as pd
from scipy.stats import norm

from sk_b2s.evaluation._controls._registry import CONTEXT, LEAK_TESTS
from sk_b2s.evaluation._controls._verdicts import Verdict, add_verdict_texts, decide_verdict_against_null
from sk_b2s.evaluation._results._amounts import amounts_in
from sk_b2s.evaluation._results._former import refuse_former_columns
from sk_b2s.evaluation._results._plan import describe_missing_plan_rows
from sk_b2s.evaluation._results._table import CELL, OF_TASK
from sk_b2s.evaluation._scores import (
    CHANCE_COLUMNS,
    N_PERMUTATIONS,
    NULL_COLUMNS,
    SCORES,
    SHARE_COLUMNS,
    VERDICT_COLUMNS,
)
from sk_b2s.evaluation._statistics._subject_means import (
    KINDS,
    compute_statistics_over_subjects,
    compute_subject_null_statistics,
    compute_subject_score_statistics,
)


def summarize(results):
    """Summarize results over subjects, with chance level, null and verdict.

    The score of a subject is the mean over its windows in all folds, then over
    seeds. Standard errors are over subjects and never over folds, which share
    training data.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        From :func:`~sk_b2s.benchmark`, :func:`~sk_b2s.read_results` or
        :func:`~sk_b2s.score_similarities`, or some of its rows.

    Returns
    -------
    table : DataFrame of shape (n_summaries, ...)
        One row per ``estimator, control, condition`` and ``pool``, and per
        ``calibration_minutes`` if there are several, in order of appearance.
        Tasks of :func:`~sk_b2s.benchmark_task` are summarized separately:

        - ``n_subjects, n_folds, n_seeds, n_windows`` (of one seed), ``k``.
        - The scores, each with its ``..._sem`` (NaN for one subject).
          ``median_relative_rank`` is the mean over folds of medians.
        - Chance levels and ``n_candidates``.
        - ``null_low, null_mean, null_high`` of the mean of ``top_k`` (of a
          task, of its ``main_score``) over subjects, ``n_without_null`` (folds
          of subjects whose recordings are too short for a null) and
          ``top_k_judged``, the mean without them, which is compared with the
          null.
        - ``timing_matched_null_mean, timing_matched_null_low,
          timing_matched_null_high`` and ``timing_matched_p``, the null of that
          score and its one-sided p, at least 1 / 201, if windows have times.
        - ``n_failed``: number of failed fits.
        - ``missing``: missing parts of the plan, "2 of 4 subjects, 4 of 8
          folds; missing: 03, 04" for example, "" if it is complete, and "plan
          unknown" for tables without a plan.
        - ``verdict, leak_sources, verdict_text``, as in
          :func:`~sk_b2s.run_controls`.

    Raises
    ------
    ValueError
        If all fits failed, ``top_k`` of one estimator has several ``k``, or
        columns have the names of an earlier version.

    Notes
    -----
    Nulls of subjects and folds are independent, so the distances of their
    97.5 % quantiles from their means add up like standard deviations. For one
    subject and fold it is the quantile itself. Nulls of seeds are not
    independent and are averaged.

    Correlations of a reconstruction in several folds are not independent. The
    covariance by chance in one fold determines the score of another, and the
    reverse, so that each pair of folds counts twice. Their null is therefore
    wider by the square root of 2. This is exact for a linear decoder that is
    weakly fitted, if each fold is in the training set of all others. In
    49 simulations of noise with two subjects and five folds, 4 summaries were
    above and 1 was below this null (11 and 2 without the factor).

    In simulated noise, in 3 folds of 4 subjects whose windows overlap sixfold,
    3.8 % of the rows were above their null if a recording had 80 windows, and
    2.1 % if it had 300. The nominal rate is 2.5 %. Labels cannot be shifted by
    less than a window, which matters in short recordings. Of the summaries
    1.5 % and 0 % were above their null (in 200 and 100 draws).
    """
    refuse_former_columns(results)
    if "task" in results and results["task"].nunique() > 1:
        return pd.concat(
            [summarize(own) for _, own in results.groupby("task", sort=False)], ignore_index=True
        )
    # Other file formats do not preserve empty texts, nor pools as texts.
    texts = {name: results[name].astype(object).fillna("") for name in ("condition", "error", "leak_sources")}
    results = _drop_duplicate_result_rows(results.assign(**texts, pool=results["pool"].astype(str)))
    done, by = results[results["error"] == ""], [*KINDS, *amounts_in(results)]
    if not len(done):
        first = f": all fits failed, the first with {results['error'].iloc[0]}" if len(results) else "."
        raise ValueError(f"results has no finished fits{first}")
    names, levels = (
        [name for name in of if name in done] for of in (SCORES, (*CHANCE_COLUMNS, *SHARE_COLUMNS))
    )
    counts = pd.DataFrame(
        [_count_summary_units(rows, by) for _, rows in done.groupby(by, sort=False, dropna=False)]
    )
    scores = compute_statistics_over_subjects(
        compute_subject_score_statistics(done, [*names, *levels, "n_candidates"], [*by, "subject"]),
        by,
    )
    null = compute_subject_null_statistics(done, by)
    of = [*by[:2], *by[len(KINDS) :]]
    failed = results[results["error"] != ""].drop_duplicates(CELL).groupby(of, dropna=False).size()
    table = counts.join(scores, on=by).join(null, on=by).join(failed.rename("n_failed"), on=of)
    table = table.join(describe_missing_plan_rows(results, of).rename("missing"), on=of)
    table = table.fillna({"n_failed": 0})
    further = _summarize_nulls_of_scores(done, by)
    table = table.join(further, on=by)
    verdict = decide_verdict_against_null(table.assign(top_k=table["top_k_judged"]))
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
        *(column for name in names for column in (name, f"{name}_sem")), *levels, *further, "n_candidates", *null,
        "n_failed", "missing", *VERDICT_COLUMNS,
    ]  # fmt: skip
    if "task" in results:
        table = table.assign(**{name: results[name].iloc[0] for name in OF_TASK})
        columns = [*OF_TASK, *columns]
    place = {name: {one: at for at, one in enumerate(pd.unique(results[name]))} for name in by[:2]}
    return table.astype({"n_failed": int}).sort_values(
        by[:2], key=lambda names: names.map(place[names.name]), kind="stable", ignore_index=True
    )[columns]


def _summarize_nulls_of_scores(done, by):
    """Return nulls and p of the mean of scores with nulls of their own.

    p is that of a normal distribution with the quantiles of the null, and at
    least the smallest p of the permutations of one row.
    """
    parts = [pd.DataFrame(index=done.groupby(by, sort=False, dropna=False).size().index)]
    for spec in SCORES.values():
        if not (spec.has_null and {spec.name, *spec.null_columns} <= set(done)):
            continue
        own = done.drop(columns="main_score", errors="ignore").assign(top_k=done[spec.name])
        found = compute_subject_null_statistics(own.assign(**{
            name: done[column] for name, column in zip(NULL_COLUMNS, spec.null_columns, strict=True)
        }), by)  # fmt: skip
        width = (found["null_high"] - found["null_mean"]) / norm.ppf(0.975)
        away = (found["top_k_judged"] - found["null_mean"]) / width.where(width > 0)
        found = found[list(NULL_COLUMNS)].set_axis(spec.null_columns, axis=1)
        parts.append(found.assign(**{str(spec.p_column): norm.sf(away).clip(min=1 / (1 + N_PERMUTATIONS))}))
    return pd.concat(parts, axis=1)


def _drop_duplicate_result_rows(results):
    """Drop duplicate rows of a fit with a warning."""
    if "key" not in results:
        return results
    of = [name for name in (*CELL, "subject", "study", "condition", "pool", "key") if name in results]
    twice = results.duplicated(of) & ~results["key"].isna() & (results["key"] != "")
    if n := int(twice.sum()):
        warnings.warn(
            f"{n} of {len(results)} rows of results are duplicates and are left out. Check whether a table was joined "
            f"with itself. drop_duplicates({of}) silences this.",
            stacklevel=3,
        )
    return results[~twice]


def _count_summary_units(rows, by):
    """Return the columns of a summary row besides its scores."""
    name = dict(zip(by, rows[by].iloc[0], strict=True))
    if rows["k"].nunique() > 1:
        raise ValueError(
            f"top_k of {name['estimator']!r} has k = {sorted(map(int, rows['k'].unique()))} in different rows, which "
            f"cannot be averaged. Select one, results[results['k'] == ...]."
        )
    leaks = rows["leak_sources"][rows["verdict"] == Verdict.LEAK]
    n_seeds = rows["seed"].nunique()
    return name | {
        "n_folds": rows["fold"].nunique(), "n_seeds": n_seeds, "n_windows": int(rows["n_windows"].sum() / n_seeds),
        "k": rows["k"].iloc[0], "is_leak": len(leaks) > 0, "leak_sources": "" if leaks.empty else leaks.iloc[0],
        "inverted": bool((rows["verdict"] == Verdict.BELOW_NULL).any()),
    }  # fmt: skip
