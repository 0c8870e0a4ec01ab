"""Figure of an alignment check."""

from __future__ import annotations

import numpy as np

from sk_b2s._utils._text import with_visible_text
from sk_b2s.evaluation._alignment._notes import AlignmentNoteVerdict
from sk_b2s.plotting._style import COLORS, MUTED, get_styled_axes, place_style_legend, style_axes

VERDICT_COLORS = {
    AlignmentNoteVerdict.ALIGNED: COLORS[2],
    AlignmentNoteVerdict.OFF: COLORS[1],
    AlignmentNoteVerdict.CANNOT_TELL: MUTED,
}
RESPONSE_LAGS = (0.05, 0.25)  # s after the stimulus, where a response is expected


@with_visible_text
def plot_alignment(table, max_curves=24, ax=None):
    """Plot the power of the response by lag, one curve for each recording.

    Parameters
    ----------
    table : DataFrame
        Table returned by :func:`~sk_b2s.check_alignment`, or rows of it. For
        one recording the whole and its parts are drawn, for several
        recordings only the whole.
    max_curves : int, default=24
        Maximum number of curves. Recordings that are not aligned come first.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw on. If None, new axes are made.

    Returns
    -------
    ax : matplotlib.axes.Axes
        One curve for each recording, scaled to its maximum, in the color of
        its verdict. The shaded band is where a response to speech is expected.
        A triangle marks the estimated offset from there.

    Raises
    ------
    ValueError
        If ``table`` is not a table of ``check_alignment``.
    """
    if "lags" not in table.attrs or "curve" not in table:
        raise ValueError(
            "The 'table' parameter of plot_alignment must be the table returned by check_alignment, or rows of it. "
            "Select rows by table[...], which keeps the lags in table.attrs."
        )
    lags = np.array(table.attrs["lags"])
    rows = table if table["recording"].nunique() == 1 else table[table["part"] == 0]
    shown = rows.assign(aligned=rows["verdict"] == AlignmentNoteVerdict.ALIGNED).sort_values(
        "aligned", kind="stable"
    )
    shown = shown.head(max_curves).sort_index()
    ax = get_styled_axes(ax, figsize=(7, 1.2 + 0.35 * len(shown)))
    ax.axvspan(*RESPONSE_LAGS, color=MUTED, alpha=0.15, linewidth=0)
    ax.axvline(0, color=MUTED, linewidth=0.8)
    for place, (_, row) in enumerate(shown.iterrows()):
        base = len(shown) - 1 - place
        height = 0.9 * row["curve"] / max(np.max(row["curve"]), 1e-12)
        color = VERDICT_COLORS[row["verdict"]]
        ax.fill_between(lags, base, base + np.maximum(height, 0), color=color, alpha=0.7, linewidth=0)
        if np.isfinite(row["offset"]):
            ax.plot(row["offset"] + 0.12, base, marker="^", color="black", markersize=4)
    ax.set(
        yticks=range(len(shown)), yticklabels=[_format_alignment_label(row) for _, row in shown.iloc[::-1].iterrows()],
        ylim=(-0.2, len(shown)), xlim=(lags[0], lags[-1]), xlabel="lag of the response after the stimulus (s)",
        title=_format_alignment_title(rows, len(shown)),
    )  # fmt: skip
    for verdict, color in VERDICT_COLORS.items():
        if (shown["verdict"] == verdict).any():
            ax.fill_between([], [], color=color, alpha=0.7, label=verdict.replace("_", " "))
    style_axes(ax, grid="x")
    place_style_legend(ax)
    return ax


def _format_alignment_label(row):
    """Format subject, session, time and verdict of a curve."""
    time = "" if row["part"] == 0 else f" {row['start'] / 60:.0f}–{row['stop'] / 60:.0f} min"
    session = f" ses {row['session']}" if isinstance(row["session"], str) and row["session"] else ""
    return f"{row['subject']}{session}{time}: {row['verdict_text']}"


def _format_alignment_title(rows, n_shown):
    n_aligned = int((rows["verdict"] == AlignmentNoteVerdict.ALIGNED).sum())
    unit = "parts and whole" if rows["recording"].nunique() == 1 else "recordings"
    shown = f", {n_shown} of them shown" if n_shown < len(rows) else ""
    return f"{n_aligned} of {len(rows)} {unit} aligned{shown}"
