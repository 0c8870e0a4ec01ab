"""Figures of scores by calibration minutes."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from sk_b2s._utils._text import with_visible_text
from sk_b2s.evaluation._results._amounts import AMOUNT, format_minutes
from sk_b2s.evaluation._statistics import of_decoders
from sk_b2s.plotting._scores import named_score, scores_over
from sk_b2s.plotting._style import COLORS, MUTED, axes_of, colors, percent, spread, tidy

MARKERS = "osD^vPX"  # so that lines are told apart without color


@with_visible_text
def plot_adaptation(results, score="top_k", ax=None):
    """Plot what decoders score after minutes of calibration to the person who is tested.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        Of :func:`~sk_b2s.benchmark` over ``LeaveOneSubjectOut(calibration_minutes=...)``. Of those that name a
        ``control`` only "decoder" counts, and of several a ``pool`` of candidates only "all".
    score : str, default="top_k"
        Column. Nulls are of ``top_k``; others are drawn without.
    ax : matplotlib.axes.Axes, default=None
        Where to draw; new axes by default.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Amounts stand side by side, evenly spaced, from 0 to all; a line for each decoder, mean ± s.e.m. over people,
        where it could decode at all. Points that lack people are hollow, and no line leads to them. Chance is dashed;
        shaded is what the nulls of the decoders span.

    Raises
    ------
    ValueError
        If results do not say how many minutes there were, have no such column of scores, or no score at all.

    Warns
    -----
    UserWarning
        If a decoder was tested on fewer people at some amount than others, or at others.
    """
    rows = _scored(results, score)
    amounts = np.sort(pd.unique(rows[AMOUNT]))
    table = scores_over(rows, score, ["estimator", AMOUNT])
    names, n_people = list(pd.unique(rows["estimator"])), rows["subject"].nunique()
    _warn_of_fewer(table, n_people)
    ax = axes_of(ax, figsize=(max(6.4, 1.0 * len(amounts)), 4.8))
    _draw_chance(ax, table, amounts)
    shifts = spread(len(names), 0.24)
    for at, (name, color) in enumerate(colors(names).items()):
        own = table.loc[name].sort_index()
        place = np.searchsorted(amounts, own.index.to_numpy(float)) + shifts[at]
        style = "-" if at < len(COLORS) else "--"  # where colors come again
        whole, label = (own["n_subjects"] == n_people).to_numpy(), name
        for some, options in ((whole, {}), (~whole, {"markerfacecolor": "white", "linestyle": "none"})):
            if some.any():
                options = {
                    "linestyle": style,
                    "marker": MARKERS[at % len(MARKERS)],
                    "label": label,
                    **options,
                }
                ax.errorbar(place[some], own["score"][some], own["sem"][some], color=color, markersize=6,
                            linewidth=1.8, capsize=3, zorder=3, **options)  # fmt: skip
                label = None
    places = np.arange(len(amounts))
    ax.set(
        xticks=places, xticklabels=["all" if amount == np.inf else f"{amount:g}" for amount in amounts],
        xlabel="minutes of the person who is tested", ylabel=named_score(rows, score), ylim=(0, None),
        title=f"mean ± s.e.m. of {n_people} {'people' if n_people > 1 else 'person'}",
    )  # fmt: skip
    percent(ax.yaxis)
    tidy(ax)
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def _scored(results, score):
    """Rows of the decoders themselves that have an amount and a score."""
    rows = of_decoders(results)
    if AMOUNT not in rows or len(rows) and rows[AMOUNT].isna().all():
        raise ValueError(
            f"results do not say minutes in a column {AMOUNT!r}: run benchmark(cv=LeaveOneSubjectOut("
            f"calibration_minutes=[0, 1, 5, numpy.inf]))."
        )
    if score not in rows:
        raise ValueError(f"results have no score {score!r}; their columns are {list(rows.columns)}.")
    failed = (
        rows["error"].astype(object).fillna("") != ""
        if "error" in rows
        else pd.Series(False, index=rows.index)
    )
    known = rows[~failed & rows[AMOUNT].notna() & rows[score].notna()]
    if not len(known):
        first = f", the first with {rows['error'][failed].iloc[0]}" if failed.any() else ""
        raise ValueError(
            f"there is nothing to draw: of {len(rows)} rows none has {score!r}, and {failed.sum()} are of fits that "
            f"failed{first}."
        )
    return known


def _warn_of_fewer(table, n_people):
    """Say which points are means over fewer people than others."""
    fewer = table[table["n_subjects"] < n_people]
    if len(fewer):
        name, minutes = fewer.index[0]
        warnings.warn(
            f"{len(fewer)} of {len(table)} points are means over fewer than {n_people} people and drawn hollow, the "
            f"first {name!r}{format_minutes([minutes])[0]}, over {fewer['n_subjects'].iloc[0]}: finish the benchmark, or "
            f"leave the same people out everywhere.",
            stacklevel=3,
        )


def _draw_chance(ax, table, amounts):
    """Draw chance, and what the nulls of all decoders span."""
    level = table.groupby(AMOUNT)[["chance", "null_low", "null_high"]].agg(
        {"chance": "mean", "null_low": "min", "null_high": "max"}
    )
    level, places = level.reindex(amounts), np.arange(len(amounts))
    if level["null_high"].notna().any():
        ax.fill_between(places, level["null_low"], level["null_high"], color=MUTED, alpha=0.28, linewidth=0,
                        label="95 % of the nulls")  # fmt: skip
    ax.plot(
        places, level["chance"], color=MUTED, linestyle=(0, (4, 3)), linewidth=1.4, zorder=1.5, label="chance"
    )
