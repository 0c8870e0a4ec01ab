"""Figure of scores by minutes of calibration."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from sk_b2s._utils._text import with_visible_text
from sk_b2s.evaluation._benchmark_summary import average_summary_scores, get_summary_score_label
from sk_b2s.evaluation._results._amounts import AMOUNT, format_calibration_amounts
from sk_b2s.evaluation._scores import is_score_correlation
from sk_b2s.evaluation._statistics._subject_means import select_subject_rows_for_statistics
from sk_b2s.plotting._style import (
    COLORS,
    DASHED,
    MARKERS,
    MUTED,
    assign_style_colors,
    format_style_means,
    get_styled_axes,
    place_style_legend,
    spread_positions_in_style,
    style_axes,
    style_score_ticks,
    wrap_style_axis,
)


@with_visible_text
def plot_adaptation(results, score="top_k", ax=None):
    """Plot scores of decoders by minutes of calibration to the test subject.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        Results of :func:`~sk_b2s.benchmark` with
        ``LeaveOneSubjectOut(calibration_minutes=...)``. Only rows of decoders,
        not of controls, and only with all candidates are drawn.
    score : str, default="top_k"
        Column of the score. Nulls are only drawn for ``top_k``.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw on. If None, new axes are made.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Evenly spaced calibration durations from 0 to all, and a line for each
        decoder, mean ± s.e.m. over subjects. Points with missing subjects are
        hollow and not connected. Chance is dashed, and the range of the nulls
        of all decoders is shaded.

    Raises
    ------
    ValueError
        If ``results`` has no calibration durations, no column ``score``, or no
        score at all.

    Warns
    -----
    UserWarning
        If a decoder was tested on fewer subjects at some calibration duration.
    """
    rows = _select_calibration_rows(results, score)
    amounts = np.sort(pd.unique(rows[AMOUNT]))
    table = average_summary_scores(rows, score, ["estimator", AMOUNT])
    names, n_subjects = list(pd.unique(rows["estimator"])), rows["subject"].nunique()
    _warn_missing_calibration_subjects(table, n_subjects)
    ax = get_styled_axes(ax, figsize=(max(6.4, 1.0 * len(amounts)), 4.8))
    _draw_chance_and_null(ax, table, amounts)
    shifts = spread_positions_in_style(len(names), 0.24)
    for at, (name, color) in enumerate(assign_style_colors(names).items()):
        own = table.loc[name].sort_index()
        place = np.searchsorted(amounts, own.index.to_numpy(float)) + shifts[at]
        style = {
            "color": color,
            "marker": MARKERS[at % len(MARKERS)],
            "markersize": 6,
            "linewidth": 1.8,
            "capsize": 3,
        }
        is_complete, label = (own["n_subjects"] == n_subjects).to_numpy(), name
        solid = {"linestyle": "-" if at < len(COLORS) else "--"}  # dashed where colors repeat
        hollow = {"markerfacecolor": "white", "linestyle": "none"}
        for chosen, options in ((is_complete, solid), (~is_complete, hollow)):
            if chosen.any():
                ax.errorbar(
                    place[chosen],
                    own["score"][chosen],
                    own["sem"][chosen],
                    label=label,
                    zorder=3,
                    **style,
                    **options,
                )
                label = None
    ax.set(
        xticks=np.arange(len(amounts)), xticklabels=["all" if amount == np.inf else f"{amount:g}" for amount in amounts],
        xlabel="minutes of calibration to the test subject", ylabel=wrap_style_axis(get_summary_score_label(rows, score)), ylim=(0, None),
        title=format_style_means(n_subjects),
    )  # fmt: skip
    style_score_ticks(ax.yaxis, is_score_correlation(rows, score))
    style_axes(ax)
    place_style_legend(ax)
    return ax


def _select_calibration_rows(results, score):
    """Select rows of decoders that have a calibration duration and a score."""
    rows = select_subject_rows_for_statistics(results)
    if AMOUNT not in rows or len(rows) and rows[AMOUNT].isna().all():
        raise ValueError(
            f"The 'results' parameter of plot_adaptation must have calibration durations in a column {AMOUNT!r}. Run "
            f"benchmark with cv=LeaveOneSubjectOut(calibration_minutes=[0, 1, 5, numpy.inf])."
        )
    if score not in rows:
        raise ValueError(
            f"The 'score' parameter of plot_adaptation must be a column of results. Got {score!r} instead. "
            f"The columns are {list(rows.columns)}."
        )
    failed = pd.Series(False, index=rows.index)
    if "error" in rows:
        failed = rows["error"].astype(object).fillna("") != ""
    known = rows[~failed & rows[AMOUNT].notna() & rows[score].notna()]
    if not len(known):
        first = f", the first with {rows['error'][failed].iloc[0]}" if failed.any() else ""
        raise ValueError(
            f"The results must have at least one row with {score!r}. Of {len(rows)} rows, {failed.sum()} are of fits "
            f"that failed{first}."
        )
    return known


def _warn_missing_calibration_subjects(table, n_subjects):
    """Warn of points that are means over fewer subjects than others."""
    fewer = table[table["n_subjects"] < n_subjects]
    if len(fewer):
        name, minutes = fewer.index[0]
        warnings.warn(
            f"{len(fewer)} of {len(table)} points are means over fewer than {n_subjects} subjects, the first "
            f"{name!r}{format_calibration_amounts([minutes])[0]}, over {fewer['n_subjects'].iloc[0]}. They are drawn hollow. Finish "
            f"the benchmark, or remove the same subjects from all rows.",
            stacklevel=3,
        )


def _draw_chance_and_null(ax, table, amounts):
    """Draw the chance level, and the range of the nulls of all decoders."""
    level = table.groupby(AMOUNT)[["chance", "null_low", "null_high"]].agg(
        {"chance": "mean", "null_low": "min", "null_high": "max"}
    )
    level, places = level.reindex(amounts), np.arange(len(amounts))
    if level["null_high"].notna().any():
        ax.fill_between(places, level["null_low"], level["null_high"], color=MUTED, alpha=0.28, linewidth=0,
                        label="95 % of the nulls")  # fmt: skip
    ax.plot(places, level["chance"], **DASHED, label="chance")
