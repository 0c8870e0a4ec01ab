"""Figures of score tables: subjects, decoders and controls."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s._utils._text import with_visible_text
from sk_b2s.decoding._retrieval._result import RetrievalResult
from sk_b2s.evaluation._benchmark_summary import BenchmarkSummary, get_summary_score_label
from sk_b2s.evaluation._controls._registry import LEAK_TESTS
from sk_b2s.evaluation._controls._verdicts import TEXTS, Verdict
from sk_b2s.evaluation._scores import is_score_correlation
from sk_b2s.evaluation._statistics._comparison import (
    compare_estimators,
    describe_comparison_counts,
    order_comparison_pairs,
)
from sk_b2s.evaluation._statistics._subject_means import (
    compute_subject_statistics,
    select_subject_rows_for_statistics,
)
from sk_b2s.plotting._style import (
    COLORS,
    DASHED,
    MUTED,
    assign_style_colors,
    assign_style_markers,
    draw_styled_chance,
    get_styled_axes,
    place_style_legend,
    spread_positions_in_style,
    style_axes,
    style_score_ticks,
    wrap_style_axis,
    wrap_style_label,
)

LEGEND_LINE = 0.18  # inches

# --- chance, null and legend -----------------------------------------------------------------------


def _shade_score_null(ax, places, low, high, half_width, horizontal=False):
    """Shade the range of the null at each place."""
    for at, bottom, top in zip(places, low, high, strict=True):
        if np.isfinite(top):
            draw = ax.fill_betweenx if horizontal else ax.fill_between
            draw(
                [at - half_width, at + half_width],
                bottom,
                top,
                color=MUTED,
                alpha=0.28,
                linewidth=0,
                zorder=1,
            )


def _draw_score_chances(ax, places, chance, half_width, is_correlation=False):
    """Draw one line of chance if it is constant, or a piece at each place."""
    known = np.asarray(chance, float)
    if len(known) and np.isfinite(known).all() and np.ptp(known) < 1e-9:
        draw_styled_chance(ax, known[0], f"chance {known[0]:.4g}" if is_correlation else None)
        return
    low, high = f"{100 * np.nanmin(known):.1f}", f"{100 * np.nanmax(known):.1f}"
    label = f"chance {low} %" if low == high else f"chance {low} to {high} %"
    style = {**DASHED, "linestyle": (0, (3, 2))}
    ax.hlines(known, np.subtract(places, half_width), np.add(places, half_width), label=label, **style)


def _add_scores_legend(ax, null=True):
    """Add a legend, with an entry for the shaded null if there is one."""
    from matplotlib.patches import Patch

    handles, names = ax.get_legend_handles_labels()
    if null:
        handles.append(Patch(color=MUTED, alpha=0.28, linewidth=0))
        names.append("95 % of the null")
    place_style_legend(ax, handles, names)


# --- subjects --------------------------------------------------------------------------------------


@with_visible_text
def plot_scores(scores, chance=None, ax=None, score="top_k"):
    """Plot the accuracy of each subject for each decoder, with chance.

    Parameters
    ----------
    scores : DataFrame or dict of str to RetrievalResult
        Results of :func:`~sk_b2s.benchmark`, or retrieval results with equal
        ``k`` and number of candidates by name of the decoder. Or accuracies
        between 0 and 1, with a row for each subject and a column for each
        decoder.
    chance : float, default=None
        Chance level. Required with a table of accuracies only.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw on. If None, new axes are made.
    score : str, default="top_k"
        Column of benchmark results.

    Returns
    -------
    ax : matplotlib.axes.Axes
        A point for each subject, lines between points of one subject, and mean
        and standard error over subjects. For benchmark results, the null of
        the mean is shaded between its 2.5 and 97.5 % quantiles.

    Raises
    ------
    ValueError
        If chance is missing, or differs between the retrieval results.
    """
    scores, chance, name, null, is_correlation = _collect_plotted_scores(scores, chance, score)
    ax = get_styled_axes(ax, figsize=(max(6.4, 1.6 * scores.shape[1]), 4.8))
    place = np.arange(scores.shape[1])
    if null is not None:
        _shade_score_null(ax, place, null["null_low"], null["null_high"], 0.3)
    _draw_score_chances(ax, place, np.broadcast_to(chance, len(place)), 0.3, is_correlation)
    ax.plot(place, scores.to_numpy().T, color=MUTED, alpha=0.35, linewidth=0.8, zorder=1.6)
    for x, (decoder, color) in zip(place, assign_style_colors(scores).items(), strict=True):
        values = scores[decoder].to_numpy(float)
        ax.scatter(np.full(len(values), x), values, s=26, color=color, alpha=0.65, linewidth=0, zorder=2)
        if len(values) > 1:
            ax.errorbar(x + 0.14, np.nanmean(values), pd.Series(values).sem(), fmt="D", markersize=6, color=color,
                        capsize=4, linewidth=1.8, zorder=3)  # fmt: skip
    ax.set(
        xticks=place, xticklabels=[wrap_style_label(label, 18, 4) for label in scores], xlim=(-0.5, len(place) - 0.5),
        ylim=(0, None), ylabel=wrap_style_axis(name),
        title="One subject" if len(scores) == 1 else f"One point per subject (n = {len(scores)}), mean ± s.e.m.",
    )  # fmt: skip
    style_score_ticks(ax.yaxis, is_correlation)
    style_axes(ax)
    _add_scores_legend(ax, null is not None and null["null_high"].notna().any())
    return ax


def _collect_plotted_scores(scores, chance, score):
    """Collect scores by subject and decoder, chance, label, null and kind."""
    null, name, is_correlation = None, "accuracy", False
    if isinstance(scores, pd.DataFrame) and {"estimator", "subject"} <= set(scores):
        scores = BenchmarkSummary(scores)
    if isinstance(scores, dict):
        levels = {result.chance for result in scores.values()}
        if len(levels) > 1:
            raise ValueError(
                f"All retrieval results in 'scores' must have one chance level. Got {sorted(levels)} instead. Use an "
                f"equal k and number of candidates."
            )
        chance = levels.pop() if chance is None else chance
        ks = {result.k for result in scores.values() if isinstance(result, RetrievalResult)}
        name = f"top-{ks.pop()} accuracy" if len(ks) == 1 else name
        scores = pd.DataFrame({label: result.by_subject()["top_k"] for label, result in scores.items()})
    elif isinstance(scores, BenchmarkSummary):
        null, name, is_correlation = (
            scores.means(score),
            scores.label_score(score),
            scores.is_correlation(score),
        )
        chance = null["chance"].to_numpy() if chance is None else chance
        scores = scores.means(score, ("label", "subject"))["score"].unstack("label")[list(null.index)]
    if chance is None:
        raise ValueError(
            "The 'chance' parameter of plot_scores must be given with a table of accuracies. "
            "Pass chance=chance_level(k, n_candidates)."
        )
    return scores, chance, name, null, is_correlation


@with_visible_text
def plot_subjects(results, score="top_k", ax=None):
    """Plot the accuracy of each subject with its own chance and null.

    A point above the shaded range is above the null of this subject, that is
    95 % of the scores of the same decoder with circularly shifted labels.
    Folds and seeds of a subject are averaged.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        Results of :func:`~sk_b2s.benchmark`. Only rows of decoders, not of
        controls, and only with all candidates are drawn.
    score : str, default="top_k"
        Column of the score. Nulls are only drawn for ``top_k``.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw on. If None, new axes are made.

    Returns
    -------
    ax : matplotlib.axes.Axes
    """
    summary = BenchmarkSummary.of(results)
    table = summary.means(score, ("label", "subject"))
    labels, subjects = (list(pd.unique(table.index.get_level_values(name))) for name in table.index.names)
    is_long = max(len(str(name)) for name in subjects) * len(subjects) > 70
    height = 4.0 + LEGEND_LINE * len(labels) + 1.2 * is_long
    ax = get_styled_axes(ax, figsize=(max(6.0, 1.5 + len(subjects) * (0.3 + 0.12 * len(labels))), height))
    places, chances = [], []
    width = min(0.22, 0.7 / len(labels))
    shifts, markers = spread_positions_in_style(len(labels), 0.7), assign_style_markers(labels)
    for (label, color), shift in zip(assign_style_colors(labels).items(), shifts, strict=True):
        own = table.loc[label].reindex(subjects)
        place = np.arange(len(subjects)) + shift
        _shade_score_null(ax, place, own["null_low"], own["null_high"], 0.4 * width)
        ax.scatter(
            place, own["score"], s=42, color=color, linewidth=0, label=label, zorder=3, marker=markers[label]
        )
        places += list(place)
        chances += list(own["chance"])
    _draw_score_chances(ax, places, chances, 0.5 * width, summary.is_correlation(score))
    ax.set(
        xticks=range(len(subjects)), xticklabels=[wrap_style_label(name, 24, 2) for name in subjects], xlim=(-0.6, len(subjects) - 0.4), ylim=(0, None),
        xlabel="subject", ylabel=wrap_style_axis(summary.label_score(score)),
    )  # fmt: skip
    if is_long:
        ax.tick_params(axis="x", labelrotation=90)
    style_score_ticks(ax.yaxis, summary.is_correlation(score))
    style_axes(ax)
    _add_scores_legend(ax, table["null_high"].notna().any())
    return ax


# --- decoders and controls -------------------------------------------------------------------------


@with_visible_text
def plot_comparison(results, reference=None, score="top_k", ax=None):
    """Plot differences between estimators by subject, with signed-rank tests.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        Results of :func:`~sk_b2s.benchmark`, or any table that
        :func:`~sk_b2s.compare_estimators` accepts.
    reference : None or str, default=None
        Estimator that all others are compared with. If None, all pairs are
        compared, each as the better minus the other one.
    score : str, default="top_k"
        Column of the score. Higher must be better.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw on. If None, new axes are made.

    Returns
    -------
    ax : matplotlib.axes.Axes
        A row for each comparison, the first on top: a point for each subject,
        mean ± s.e.m., Holm-corrected p, and the smallest p that is possible
        with so many subjects. A difference of zero is dashed.
    """
    if isinstance(results, BenchmarkSummary):
        rows, table = results.decoders, results.compare(reference, score)
    else:
        rows = select_subject_rows_for_statistics(results)
        table = compare_estimators(rows, reference, score)
        table = order_comparison_pairs(table) if reference is None else table
    return draw_comparisons(rows, table, score, ax)


@with_visible_text
def draw_comparisons(rows, table, score="top_k", ax=None):
    """Draw the rows of a table of comparisons, see :func:`plot_comparison`.

    Parameters
    ----------
    rows : DataFrame of shape (n_rows, ...)
        Scores of the decoders.
    table : DataFrame of shape (n_comparisons, ...)
        Rows of :func:`~sk_b2s.compare_estimators`.
    score : str, default="top_k"
    ax : matplotlib.axes.Axes, default=None

    Returns
    -------
    ax : matplotlib.axes.Axes
    """
    means = compute_subject_statistics(rows, score, ["estimator"])
    ax = get_styled_axes(ax, figsize=(6.4, 1.2 + 0.75 * len(table)))
    place = np.arange(len(table))
    for at, row in zip(place, table.itertuples(), strict=True):
        difference = (means[row.estimator] - means[row.reference]).to_numpy()
        points = at + spread_positions_in_style(len(difference), 0.2)
        ax.scatter(difference, points, s=22, color=COLORS[0], alpha=0.55, linewidth=0)
        ax.errorbar(row.mean_difference, at + 0.28, xerr=row.sem, fmt="D", markersize=6, color=COLORS[1], capsize=4,
                    linewidth=1.8, zorder=3)  # fmt: skip
        text = f"p = {row.p_holm:.2g} (smallest possible {row.smallest_p_holm:.2g}), {describe_comparison_counts(row)}"
        ax.annotate(text, (0.01, at - 0.4), xycoords=("axes fraction", "data"), va="bottom", fontsize="small")
    ax.vlines(0.0 * place, place - 0.38, place + 0.4, **{**DASHED, "zorder": 1})  # not through the text
    ax.set(
        yticks=place, yticklabels=[
            f"{wrap_style_label(row.estimator, 28, 2)}\n− {wrap_style_label(row.reference, 26, 2)}"
            for row in table.itertuples()
        ],
        ylim=(len(table) - 0.4, -0.75), xlabel=wrap_style_axis(f"difference in {get_summary_score_label(rows, score)}, one point per subject", 60),
    )  # fmt: skip
    style_score_ticks(ax.xaxis, is_score_correlation(rows, score))
    style_axes(ax, "x")
    return ax


@with_visible_text
def plot_controls(results, ax=None):
    """Plot scores of controls and decoders, with chance and null of each.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        Results of :func:`~sk_b2s.benchmark`, with ``control, verdict`` and
        ``top_k``.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw on. If None, new axes are made.

    Returns
    -------
    ax : matplotlib.axes.Axes
        A row for each control. Controls that detect leaks are labeled "must be
        at chance". Controls that leak or are below their null are marked.
    """
    summary = BenchmarkSummary.of(results)
    table = summary.means(by=("control", "label"), decoders_only=False)
    names, labels = (list(pd.unique(table.index.get_level_values(name))) for name in table.index.names)
    verdicts = _select_plotted_verdicts(summary.rows)
    height = min(0.22, 0.7 / len(labels))
    ax = get_styled_axes(
        ax, figsize=(6.4, 1.3 + len(names) * (0.3 + 0.16 * len(labels)) + LEGEND_LINE * len(labels))
    )
    shifts, markers = spread_positions_in_style(len(labels), 0.7), assign_style_markers(labels)
    for (label, color), shift in zip(assign_style_colors(labels).items(), shifts, strict=True):
        known = [name for name in names if (name, label) in table.index]
        own = table.loc[[(name, label) for name in known]]
        place = np.array([names.index(name) for name in known]) + shift
        _shade_score_null(ax, place, own["null_low"], own["null_high"], 0.42 * height, horizontal=True)
        ax.vlines(own["chance"], place - 0.5 * height, place + 0.5 * height, color=MUTED, linewidth=2,
                  label="chance" if shift == shifts[0] else "_chance")  # fmt: skip
        ax.errorbar(own["score"], place, xerr=own["sem"], fmt=markers[label], markersize=6, color=color, capsize=3,
                    label=label, zorder=3)  # fmt: skip
        for name, at, x in zip(known, place, own["score"] + own["sem"].fillna(0), strict=True):
            if mark := _get_verdict_mark(verdicts[name, label]):
                ax.annotate(
                    mark, (x, at), xytext=(8, 0), textcoords="offset points", va="center", weight="bold"
                )
    ticks = [f"{name}\n(must be at chance)" if name in LEAK_TESTS else name for name in names]
    ax.set(yticks=range(len(names)), yticklabels=ticks, ylim=(len(names) - 0.4, -0.6), xlim=(0, None),
           xlabel=wrap_style_axis(summary.score_label + (", mean ± s.e.m. over subjects" if table["sem"].notna().any() else ", one subject"), 56))  # fmt: skip
    style_score_ticks(ax.xaxis, summary.is_correlation())
    style_axes(ax, "x")
    _add_scores_legend(ax, table["null_high"].notna().any())
    return ax


def _select_plotted_verdicts(rows):
    """Return the verdict of each control and label, with all candidates."""
    if "pool" in rows and (rows["pool"] == "all").any():
        rows = rows[rows["pool"] == "all"]
    return rows.groupby(["control", "label"], sort=False)["verdict"].first()


def _get_verdict_mark(verdict):
    """Return the text that marks a score with a problem, or an empty text."""
    return TEXTS[Verdict(verdict)] if verdict in (Verdict.LEAK, Verdict.BELOW_NULL) else ""
