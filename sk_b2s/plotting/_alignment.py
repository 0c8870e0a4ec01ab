"""Figures of an alignment check."""

from __future__ import annotations

import numpy as np

from sk_b2s._utils._text import with_visible_text
from sk_b2s.plotting._style import COLORS, MUTED, axes_of, tidy

HUES = {"aligned": COLORS[2], "off": COLORS[1], "cannot tell": MUTED}


@with_visible_text
def plot_alignment(found, most=24, ax=None):
    """Plot when the brain answers the sound in each recording, one curve above the other.

    Parameters
    ----------
    found : DataFrame
        Of :func:`~sk_b2s.check_alignment`. Of one recording the parts are drawn below the whole; of several
        the whole recordings alone. Pass a part of the table for others.
    most : int, default=24
        Number of curves at most; those that are not aligned come first.
    ax : matplotlib.axes.Axes, default=None
        Where to draw; new axes by default.

    Returns
    -------
    ax : matplotlib.axes.Axes
        The power of the response by lag, each curve scaled to its largest value, in the color of its verdict. The band
        is where a response to sound belongs; a mark on the curve is its offset from there.

    Raises
    ------
    ValueError
        If the table is not one of ``check_alignment``.
    """
    if "lags" not in found.attrs or "curve" not in found:
        raise ValueError("found must be the table that check_alignment returned, or rows of it (found[...]).")
    lags = np.array(found.attrs["lags"])
    rows = found if found["recording"].nunique() == 1 else found[found["part"] == 0]
    shown = rows.assign(aligned=rows["verdict"] == "aligned").sort_values("aligned", kind="stable")
    shown = shown.head(most).sort_index()
    ax = axes_of(ax, figsize=(7, 1.2 + 0.35 * len(shown)))
    ax.axvspan(0.05, 0.25, color=MUTED, alpha=0.15, linewidth=0)
    ax.axvline(0, color=MUTED, linewidth=0.8)
    for place, (_, row) in enumerate(shown.iterrows()):
        kind = row["verdict"].split(" by ")[0]
        base = len(shown) - 1 - place
        height = 0.9 * row["curve"] / max(np.max(row["curve"]), 1e-12)
        ax.fill_between(lags, base, base + np.maximum(height, 0), color=HUES[kind], alpha=0.7, linewidth=0)
        if np.isfinite(row["offset"]):
            ax.plot(row["offset"] + 0.12, base, marker="^", color="black", markersize=4)
    ax.set(
        yticks=range(len(shown)), yticklabels=[_name(row) for _, row in shown.iloc[::-1].iterrows()],
        ylim=(-0.2, len(shown)), xlim=(lags[0], lags[-1]), xlabel="lag of the brain after the sound (s)",
        title=_title(rows, len(shown)),
    )  # fmt: skip
    for kind, color in HUES.items():
        if (shown["verdict"].str.split(" by ").str[0] == kind).any():
            ax.fill_between([], [], color=color, alpha=0.7, label=kind)
    ax.legend(frameon=False, loc="upper right", fontsize="small")
    tidy(ax, grid="x")
    return ax


def _name(row):
    """Who and when, and what is to be seen."""
    when = "" if row["part"] == 0 else f" {row['start'] / 60:.0f}–{row['stop'] / 60:.0f} min"
    session = f" ses {row['session']}" if isinstance(row["session"], str) and row["session"] else ""
    return f"{row['subject']}{session}{when}: {row['verdict']}"


def _title(rows, n_shown):
    n_aligned = int((rows["verdict"] == "aligned").sum())
    what = "parts and whole" if rows["recording"].nunique() == 1 else "recordings"
    more = f", {n_shown} of them shown" if n_shown < len(rows) else ""
    return f"{n_aligned} of {len(rows)} {what} aligned{more}"
