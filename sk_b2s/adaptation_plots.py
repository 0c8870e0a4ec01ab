"""Pictures of what a new listener gains from minutes of their own."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s.minutes import AMOUNT
from sk_b2s.palette import COLOURS, MUTED, axes_of, colours, percent, spread, tidy
from sk_b2s.score_plots import named_score, scores_over
from sk_b2s.statistics import of_decoders

__all__ = ["plot_adaptation"]

MARKERS = "osD^vPX"  # so that lines are told apart without colour


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
        where it could decode at all. Chance is dashed; shaded is what the nulls of the decoders span.

    Raises
    ------
    ValueError
        If results do not say how many minutes there were.
    """
    rows = of_decoders(results)
    if "error" in rows:
        rows = rows[rows["error"].fillna("") == ""]
    if AMOUNT not in rows or rows[AMOUNT].isna().all():
        raise ValueError(
            f"results do not say minutes in a column {AMOUNT!r}: run benchmark(cv=LeaveOneSubjectOut("
            f"calibration_minutes=[0, 1, 5, numpy.inf]))."
        )
    rows = rows[rows[AMOUNT].notna()]
    amounts = np.sort(pd.unique(rows[AMOUNT]))
    table = scores_over(rows, score, ["estimator", AMOUNT])
    names = list(pd.unique(rows["estimator"]))
    ax = axes_of(ax, figsize=(max(6.4, 1.0 * len(amounts)), 4.8))
    level = table.groupby(AMOUNT)[["chance", "null_low", "null_high"]].agg(
        {"chance": "mean", "null_low": "min", "null_high": "max"}
    )
    level = level.reindex(amounts)
    places = np.arange(len(amounts))
    if level["null_high"].notna().any():
        ax.fill_between(places, level["null_low"], level["null_high"], color=MUTED, alpha=0.28, linewidth=0,
                        label="95 % of the nulls")  # fmt: skip
    ax.plot(
        places, level["chance"], color=MUTED, linestyle=(0, (4, 3)), linewidth=1.4, zorder=1.5, label="chance"
    )
    shifts = spread(len(names), 0.24)
    for at, (name, colour) in enumerate(colours(names).items()):
        own = table.loc[name].sort_index()
        place = np.searchsorted(amounts, own.index.to_numpy(float)) + shifts[at]
        style = "-" if at < len(COLOURS) else "--"  # where colours come again
        ax.errorbar(place, own["score"], own["sem"], color=colour, linestyle=style, marker=MARKERS[at % len(MARKERS)],
                    markersize=6, linewidth=1.8, capsize=3, label=name, zorder=3)  # fmt: skip
    n_subjects = rows["subject"].nunique()
    ax.set(
        xticks=places, xticklabels=["all" if amount == np.inf else f"{amount:g}" for amount in amounts],
        xlabel="minutes of the person who is tested", ylabel=named_score(rows, score), ylim=(0, None),
        title=f"mean ± s.e.m. of {n_subjects} {'people' if n_subjects > 1 else 'person'}",
    )  # fmt: skip
    percent(ax.yaxis)
    tidy(ax)
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return ax
