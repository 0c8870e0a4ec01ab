"""Text tables of scores."""

from __future__ import annotations

import textwrap

import pandas as pd

from sk_b2s.evaluation._controls._verdicts import BELOW_MEANS, TEXTS, Verdict
from sk_b2s.evaluation._results._amounts import amounts_in, format_calibration_amounts
from sk_b2s.evaluation._results._plan import UNKNOWN
from sk_b2s.evaluation._results._summarize import summarize
from sk_b2s.evaluation._scores import get_main_score
from sk_b2s.evaluation._tasks._registry import TASKS

WIDTH = 110  # characters of a line of printed paragraphs


def format_scores(results):
    """Format the scores of a benchmark as a text table to print.

    Parameters
    ----------
    results : DataFrame
        Table of :func:`~sk_b2s.benchmark`, or its summary by
        :func:`~sk_b2s.summarize`.

    Returns
    -------
    text : str
        One line for each decoder and control: top-1 and top-k accuracy with
        the standard error over subjects, chance level, 97.5 % quantile of the
        null of top-k, number of candidates, top-k in pools of equal size, and
        the verdict. Below it, over what the means are taken, and what is
        missing from the plan.

    See Also
    --------
    write_report : Write an HTML page with figures.
    generate_methods_text : Describe rows, candidates, folds and controls.

    Examples
    --------
    >>> from sk_b2s import format_scores, read_results
    >>> results = read_results("results.jsonl")  # doctest: +SKIP
    >>> print(format_scores(results))  # doctest: +SKIP
    """
    summary = results if "n_without_null" in results else summarize(results)
    if "task" in summary and summary["task"].nunique() > 1:
        parts = [(name, format_scores(own)) for name, own in summary.groupby("task", sort=False)]
        return "\n\n".join(f"{name or 'segments of a benchmark'}\n{text}" for name, text in parts)
    columns = ["estimator", "control", "condition", *amounts_in(summary)]
    whole = summary[summary["pool"] == "all"].set_index(columns, drop=False)
    k = _join_k(whole)
    lines = pd.DataFrame(index=whole.index)
    lines["estimator"] = whole["estimator"].where(whole["control"] == "decoder", "")
    lines["control"] = whole["control"].where(whole["control"] != "decoder", "")
    if whole["condition"].nunique() > 1:
        lines["condition"] = whole["condition"]
    for column in amounts_in(summary):
        lines["calibration"] = [text.removeprefix(", ") for text in format_calibration_amounts(whole[column])]
    main, called = _name_main_score(whole)
    if whole["top_1"].notna().any() and (main, k) != ("top_k", "1"):
        lines["top-1"] = _format_score_numbers(whole["top_1"])
    lines[called if whole[f"{main}_sem"].isna().all() else f"{called} ± s.e.m."] = [
        f"{mean:.3f}" if pd.isna(sem) else f"{mean:.3f} ± {sem:.3f}"
        for mean, sem in zip(whole[main], whole[f"{main}_sem"], strict=True)
    ]
    lines["chance"] = _format_score_numbers(whole["chance"])
    is_low = (whole["verdict"] == Verdict.BELOW_NULL).any()
    if is_low:
        lines["null from"] = _format_score_numbers(whole["null_low"])
    lines["null to"] = _format_score_numbers(whole["null_high"])
    if (whole["n_candidates"] > 0).any():  # not of a reconstruction
        lines["candidates"] = whole["n_candidates"].map("{:,.0f}".format)
    for pool, rows in summary[summary["pool"] != "all"].groupby("pool", sort=False):
        lines[f"top-{k} of {pool}"] = _format_score_numbers(
            rows.set_index(columns)["top_k"].reindex(lines.index)
        )
    if "timing_matched_p" in whole and whole["timing_matched_p"].notna().any():
        lines["timing-matched"] = _format_score_numbers(whole["timing_matched"])
        lines["its p"] = _format_score_numbers(whole["timing_matched_p"])
    lines["verdict"] = whole["verdict_text"] + whole["n_failed"].map(lambda n: f", {n} failed" if n else "")
    lines["verdict"] += whole["n_without_null"].map(lambda n: f", {n} without null" if n else "")
    notes = [f"{TEXTS[Verdict.BELOW_NULL]}: {BELOW_MEANS}."] if is_low else []
    notes += _list_unfinished_estimators(whole)
    return "\n".join(
        [
            _align_score_columns(lines),
            "",
            wrap_scores_text(_describe_score_means(whole)),
            *map(wrap_scores_text, notes),
        ]
    )


def _name_main_score(whole):
    """Return the column of the main score, and its name in the table."""
    main = get_main_score(whole)
    if main != "top_k":
        return main, main
    spec = TASKS.get(whole["task"].iloc[0]) if "task" in whole else None
    if spec is not None and "{k}" not in spec.label:
        return main, spec.label.partition(" of ")[0]
    return main, f"top-{_join_k(whole)}"


def _join_k(whole):
    """Join the numbers of guesses of a table as text."""
    return "/".join(str(int(k)) for k in pd.unique(whole["k"]))


def _describe_score_means(whole):
    """Describe over what the means are taken."""
    _, called = _name_main_score(whole)
    counts = [
        f"{n} {word}{'s' if n > 1 else ''}"
        for n, word in (
            (whole["n_subjects"].max(), "subject"),
            (whole["n_folds"].max(), "fold"),
            (whole["n_seeds"].iloc[0], "seed"),
        )
        if word != "seed" or n > 1
    ]
    text = f"Means over {counts[0]} in {', '.join(counts[1:])}. "
    text += f'"null to": the 97.5 % quantile of the null of {called}.'
    if "timing_matched_p" in whole and whole["timing_matched_p"].notna().any():
        text += ' "timing-matched": match-mismatch among candidates of like timing (chance .5), and its p.'
    return text


def _list_unfinished_estimators(whole):
    """List what is missing from the plan of each estimator."""
    decoder = whole["control"] == "decoder"
    reported = set(whole.loc[decoder, ["estimator", "missing"]].itertuples(index=False, name=None))
    for row in whole.drop_duplicates(["estimator", "control", "missing"]).to_dict("records"):
        is_control = row["control"] != "decoder"
        if row["missing"] and not (is_control and (row["estimator"], row["missing"]) in reported):
            name = row["estimator"] + f" ({row['control']})" * is_control
            if row["missing"] == UNKNOWN:
                yield f"{name}: {UNKNOWN}."
            else:
                yield f"Not complete, {name}: {row['missing']}."


def _format_score_numbers(column):
    return column.map("{:.3f}".format).replace("nan", "-")


def wrap_scores_text(text):
    """Wrap a paragraph to the width of a printed line."""
    return textwrap.fill(text, WIDTH)


def _align_score_columns(table):
    """Align a table of texts, words to the left and numbers to the right."""
    columns = []
    for name, values in table.items():
        width = max(len(str(name)), *(len(value) for value in values))
        left = name in ("estimator", "control", "condition", "verdict")
        columns.append([f"{text:<{width}}" if left else f"{text:>{width}}" for text in [str(name), *values]])
    return "\n".join("  ".join(cells).rstrip() for cells in zip(*columns, strict=True))
