"""Sections of a report with scores of decoders, subjects and controls."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s.evaluation._benchmark_summary import BenchmarkSummary, get_summary_score_label
from sk_b2s.evaluation._controls._registry import CONTEXT, CONTROLS
from sk_b2s.evaluation._controls._verdicts import RIVALS, Verdict, add_rival_scores
from sk_b2s.evaluation._results._amounts import amounts_in
from sk_b2s.evaluation._scores import SCORES, get_main_score, is_score_correlation
from sk_b2s.evaluation._statistics._comparison import describe_comparison_counts
from sk_b2s.plotting._calibration import plot_adaptation
from sk_b2s.plotting._scores import draw_comparisons, plot_controls, plot_subjects
from sk_b2s.reporting._findings import (
    MAX_NAMES,
    format_finding_count,
    format_finding_error,
    format_finding_null,
    format_finding_share,
    get_finding_style,
    join_finding_names,
)
from sk_b2s.reporting._html import (
    group_html_blocks,
    make_html_badge,
    make_html_cell,
    make_html_details,
    make_html_figure,
    make_html_heading,
    make_html_id,
    make_html_items,
    make_html_paragraph,
    make_html_table,
    pair_html_blocks,
)

MAX_NARROW = 2  # decoders of tables in two columns
MAX_PAIRS, MAX_DRAWN_PAIRS = 15, 10  # comparisons
MAX_POINTS = 24  # subjects times decoders of a figure in one of two columns


def make_score_section_card(row):
    """Make a card with the main score of one decoder."""
    is_correlation = is_score_correlation(row)
    number, chance = (format_finding_share(row[name], is_correlation) for name in ("top_k", "chance"))
    sem = format_finding_error(row["top_k_sem"], is_correlation)
    sem = f"{sem.strip()} s.e.m., " if sem else ""
    null = f", null {format_finding_null(row, is_correlation)}" if np.isfinite(row["null_high"]) else ""
    label = get_summary_score_label(pd.DataFrame([row]))
    among = f" among {row['n_candidates']:.0f} candidates" if row["n_candidates"] else ""
    return {
        "label": row["label"], "number": number, "badge": _make_badge(row),
        "score": f"{100 * max(row['top_k'], 0):.2f}", "chance": f"{100 * row['chance']:.2f}",
        "bar_text": f"A bar of {number} with chance at {chance}.",
        "details": f"{label}{among}, {sem}chance {chance}{null}", "link": make_html_id("folds", row["estimator"]),
    }  # fmt: skip


def _make_badge(row):
    """Make the badge of a verdict. Only decoders have good news."""
    style, text = get_finding_style(row["verdict"]), row["verdict_text"]
    rivals = [
        f"{name} alone ({format_finding_share(row[f'{name}_alone'], is_score_correlation(row))})"
        for name in RIVALS
        if row["verdict"] == Verdict.ABOVE_NULL and row.get(f"{name}_alone", np.nan) >= row["top_k"]
    ]
    if rivals:
        text = f"{text.partition(', not above')[0]}, not above {' or '.join(rivals)}"
    is_control = row.get("control", "decoder") != "decoder"
    return make_html_badge(text, "neutral" if style == "good" and (is_control or rivals) else style)


def show_score_tables(means):
    """Show tables of all scores, one for each pool of candidates.

    Scores are rows, so that a table is as narrow as its decoders are few.
    """
    yield make_html_heading("Scores")
    shown = (
        "Scores of one subject" if means["n_subjects"].max() == 1 else "Means ± standard errors over subjects"
    )
    yield make_html_paragraph(
        f"{shown}, with the chance level below. Numbers in the first row link to their folds."
    )
    means = add_rival_scores(means)
    tables = [
        _make_score_table(pool, own)
        for pool, own in means[means["control"] == "decoder"].groupby("pool", sort=False)
    ]
    is_narrow = means["label"].nunique() <= MAX_NARROW
    yield from (
        [pair_html_blocks(*map(group_html_blocks, tables))] if is_narrow and len(tables) > 1 else tables
    )


def _make_score_table(pool, own):
    """Make the table of one pool, with a column for each decoder."""
    k = own["k"].dropna().unique()
    main = get_main_score(own)  # is in the column top_k
    left_out = ["top_k", main, *(f"top_{n}" for n in k[:1] if len(k) == 1)]
    if not own["word_top_10"].notna().any():  # timing of words is compared with it
        left_out.append("word_top_10_timing")
    names = [
        name for name, spec in SCORES.items()
        if spec.higher_is_better and name in own and own[name].notna().any() and name not in left_out
    ]  # fmt: skip
    rows = own.to_dict("records")
    body = [
        [get_summary_score_label(own, "top_k"),
         *(_make_score_cell(row, "top_k", link=make_html_id("folds", row["estimator"])) for row in rows)],
        ["95 % of the null", *(format_finding_null(row, is_score_correlation(row)) for row in rows)],
        ["verdict", *(make_html_cell(badge=_make_badge(row)) for row in rows)],
        *([get_summary_score_label(own, name).replace("0.5 s", "0.5\N{NO-BREAK SPACE}s"),
           *(_make_score_cell(row, name) for row in rows)] for name in names),
    ]  # fmt: skip
    if own["median_relative_rank"].notna().any():
        body.append(["median relative rank", *(_make_rank_cell(row["median_relative_rank"]) for row in rows)])
    body.append([
        "subjects", *(make_html_cell(f"{row['n_subjects']}", format_finding_count(row["n_windows"], "window")) for row in rows)
    ])  # fmt: skip
    return make_html_table(
        ["score", *own["label"]], body, _describe_pool(pool, own["n_candidates"]), is_number=True
    )


def _make_rank_cell(rank):
    return make_html_cell(f"{rank:.2f}", "chance 0.50") if np.isfinite(rank) else make_html_cell("–")


def _describe_pool(pool, n):
    """Describe the candidates of a table of scores."""
    if not n.max():
        return "Without candidates"
    among = f"{n.min():.0f}" if np.ptp(n) < 0.5 else f"{n.min():.0f} to {n.max():.0f}"
    return f"Among {among} candidates, " + (
        "all segments of a test set" if pool == "all" else "the mean over all such pools"
    )


def _make_score_cell(row, name, badge=None, link=None):
    """Make a cell with a score, its standard error and chance level."""
    if not np.isfinite(row[name]):
        return make_html_cell("–", badge=badge)
    is_correlation = is_score_correlation(row, name)
    error = format_finding_error(row[f"{name}_sem"], is_correlation).replace(" ", "\N{NO-BREAK SPACE}")
    text = format_finding_share(row[name], is_correlation) + error
    small = f"chance {format_finding_share(SCORES[name].chance(row), is_correlation)}"
    p_column = SCORES[name].p_column
    if p_column in row and np.isfinite(row[p_column]):
        small += f", p {row[p_column]:.2g}"
    return make_html_cell(text, small, badge, link=link)


def _describe_scores(scores, is_correlation):
    """Describe a table of scores in words, for an alternative text."""
    parts = []
    for name, row in scores.iterrows():
        name = " of ".join(map(str, name)) if isinstance(name, tuple) else name
        error = f" ± {format_finding_share(row['sem'], is_correlation)}" if np.isfinite(row["sem"]) else ""
        null = f", null {format_finding_null(row, is_correlation)}" if np.isfinite(row["null_high"]) else ""
        score, chance = (format_finding_share(row[column], is_correlation) for column in ("score", "chance"))
        parts.append(f"{name} {score}{error} (chance {chance}{null})")
    return "; ".join(parts)


def show_calibration_scores(summary):
    """Show scores by calibration minutes, if there are several."""
    if not amounts_in(summary.results):
        return
    yield make_html_heading("Calibration to the test subject")
    alt = f"{summary.score_label} by minutes of calibration. {_describe_scores(summary.means(), summary.is_correlation())}."
    caption = "All durations are tested on the same windows. Calibration data were recorded before them."
    yield make_html_figure(plot_adaptation(summary.results).figure, alt, caption)


def show_subject_scores(summary, rank_curves=None):
    """Show the scores of each subject over their nulls, and rank curves.

    Parameters
    ----------
    summary : BenchmarkSummary
    rank_curves : dict, default=None
        Block next to the subjects.
    """
    own, name = summary.means(by=("label", "subject")), summary.score_label
    is_correlation = summary.is_correlation()
    blocks = [make_html_heading("Subjects")]
    text = "; ".join(
        f"{label}: "
        + ", ".join(
            f"{who} {format_finding_share(score, is_correlation)}"
            for (_, who), score in part["score"].items()
        )
        for label, part in own.groupby("label", sort=False)
    )
    caption = "Score of each subject. The shaded area is 95 % of its own null."
    is_wide = len(own) > MAX_POINTS
    alt = f"{name} of each subject. {text}."
    figure = make_html_figure(plot_subjects(summary).figure, alt, caption, wide=is_wide)
    blocks += [figure] * (not is_wide)
    blocks += _count_significant(own[own["null_high"].notna()])
    body = [
        [
            subject,
            label,
            format_finding_share(row["score"], is_correlation),
            format_finding_share(row["chance"], is_correlation),
            format_finding_null(row, is_correlation),
        ]
        for (label, subject), row in own.iterrows()
    ]
    columns = ["subject", "decoder", name, "chance", "95 % of the null"]
    blocks.append(make_html_details("Table of subjects", make_html_table(columns, body, name)))
    yield pair_html_blocks(*[rank_curves] * (rank_curves is not None), group_html_blocks(*blocks))
    yield from [figure] * is_wide


def _count_significant(known):
    """Count the subjects above and below their own null."""

    def count(is_outside, all_labels=True):
        table = is_outside.groupby("label", sort=False).agg(["sum", "size"])
        if len(table) > MAX_NAMES:
            kinds = table[(table["sum"] > 0) | all_labels].groupby(["sum", "size"], sort=False).groups
            return "; ".join(
                f"{join_finding_names(labels)}: {n} of {format_finding_count(size, 'subject')}"
                for (n, size), labels in kinds.items()
            )
        return "; ".join(
            f"{label}: {n['sum']} of {format_finding_count(n['size'], 'subject')}"
            for label, n in table.iterrows() if all_labels or n["sum"]
        )  # fmt: skip

    if above := count(known["score"] > known["null_high"]):
        yield make_html_paragraph(
            f"Subjects above their own null: {above}. At chance level, 1 in 40 subjects is expected."
        )
    if below := count(known["score"] < known["null_low"], all_labels=False):
        yield make_html_paragraph(
            f"Subjects below their own null: {below}. At chance level, 1 in 40 subjects is expected. More of them "
            f"indicate wrong labels, signs or pairs."
        )


def show_score_comparison(summary):
    """Show differences between decoders with signed-rank tests."""
    if summary.decoders["estimator"].nunique() < 2:
        return
    yield make_html_heading("Comparison of decoders")
    if summary.decoders["subject"].nunique() < 2:
        yield make_html_paragraph(
            "Differences are tested over subjects, and these results are from one subject."
        )
        return
    try:
        found = summary.compare()
    except ValueError as error:
        yield make_html_paragraph(f"The decoders cannot be compared: {error}")
        return
    yield make_html_paragraph(
        "Wilcoxon signed-rank tests, paired over subjects, Holm-corrected for the number of comparisons. If the "
        "smallest possible p of so many subjects is 0.05 or above, no difference can be significant."
    )
    name, is_correlation = summary.score_label, summary.is_correlation()
    caption = "Diamonds: mean ± standard error over subjects, which is not a confidence interval. Small points: subjects."
    drawn = found
    if len(found) > MAX_PAIRS:
        best = found["estimator"].value_counts().idxmax()  # first in all of its pairs, ties included
        drawn = found[found["estimator"] == best].nsmallest(MAX_DRAWN_PAIRS, "mean_difference")
        caption = f"{best} minus the {len(drawn)} next decoders. The table has all {len(found)} comparisons. {caption}"
    figure = make_html_figure(
        draw_comparisons(summary.decoders, drawn).figure, f"Differences in {name}: {_describe_differences(drawn, is_correlation)}.", caption
    )  # fmt: skip
    columns = ["comparison", "difference", "subjects", "corrected p", "p"]
    body = [
        [f"{row.estimator} − {row.reference}",
         _format_score_difference(row.mean_difference, is_correlation) + format_finding_error(row.sem, is_correlation),
         make_html_cell(f"{row.n_better} better", f"{row.n_worse} worse"),
         make_html_cell(f"{row.p_holm:.2g}", f"smallest {row.smallest_p_holm:.2g}"), f"{row.p:.2g}"]
        for row in found.itertuples()
    ]  # fmt: skip
    unit = "" if is_correlation else ", percentage points"
    table = make_html_table(columns, body, f"Differences in {name}{unit}", is_tall=len(found) > MAX_PAIRS)
    yield pair_html_blocks(group_html_blocks(figure), group_html_blocks(table))


def _describe_differences(table, is_correlation):
    """Describe a table of comparisons in words, for an alternative text."""
    return "; ".join(
        f"{row.estimator} minus {row.reference} {_format_score_difference(row.mean_difference, is_correlation)}"
        f"{'' if is_correlation else ' points'}, {describe_comparison_counts(row)}, corrected p {row.p_holm:.2g}"
        for row in table.itertuples()
    )


def _format_score_difference(difference, is_correlation):
    """Format a difference of scores, in percentage points or as a number."""
    text = f"{difference:+.3f}" if is_correlation else f"{100 * difference:+.1f}"
    return text.replace("-", "−")


def show_control_scores(summary):
    """Show the scores of all controls and what they mean."""
    names = [name for name in pd.unique(summary.results["control"]) if name != "decoder"]
    yield make_html_heading("Controls")
    if not names:
        yield make_html_paragraph("No control was run. A score above its null does not exclude a leak.")
        return
    name, scores = summary.score_label, summary.means(by=("control", "label"), decoders_only=False)
    alt = f"{name} of controls and decoders. {_describe_scores(scores, summary.is_correlation())}."
    without = summary.results[~summary.results["control"].isin(CONTEXT)]  # others are far from chance
    is_split = 0 < without["control"].nunique() - 1 < len(names)
    drawn = plot_controls(BenchmarkSummary(without) if is_split else summary)
    figure = make_html_figure(
        drawn.figure, alt, "Controls without neural data are in the table." if is_split else None
    )
    cells = {
        (row["control"], row["label"]): _make_score_cell(row, "top_k", _make_badge(row))
        for row in pd.concat([summary.scored, summary.controls]).to_dict("records")
    }
    labels = list(dict.fromkeys(label for _, label in cells))
    meanings = {control: CONTROLS[control].meaning for control in names if control in CONTROLS}
    is_narrow = len(labels) <= MAX_NARROW
    body = [
        [control, *(cells.get((control, label), "–") for label in labels),
         *[make_html_cell(small=meanings.get(control, ""))] * is_narrow]
        for control in names
    ]  # fmt: skip
    columns = ["control", *labels, *["meaning"] * is_narrow]
    table = make_html_table(columns, body, f"Controls, computed with the same code: {name}")
    if is_narrow:
        yield pair_html_blocks(group_html_blocks(figure), group_html_blocks(table))
        return
    texts = make_html_items([f"{control}: {meaning}" for control, meaning in meanings.items()])
    yield pair_html_blocks(group_html_blocks(figure), group_html_blocks(texts))
    yield table
