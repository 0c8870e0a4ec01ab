"""Figures of the confidence of retrieval results."""

from __future__ import annotations

import numpy as np

from sk_b2s._utils._text import with_visible_text
from sk_b2s.plotting._style import (
    COLORS,
    DASHED,
    get_styled_axes,
    place_style_legend,
    style_axes,
    style_ticks_as_percent,
)


def _find_free_color(ax):
    """Return the color after those of the curves that are drawn."""
    n_curves = sum(line.get_linestyle() != "--" for line in ax.lines)
    return COLORS[n_curves % len(COLORS)]


@with_visible_text
def plot_reliability(result, n_bins=10, label=None, ax=None):
    """Plot the accuracy of the best candidate by its probability.

    Parameters
    ----------
    result : RetrievalResult
        Retrieval result of a decoder, see :meth:`RetrievalResult.reliability`.
    n_bins : int, default=10
        Number of points, of nearly equal numbers of windows.
    label : str, default=None
        Label of the curve in the legend.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw on. If None, new axes are made.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Points on the dashed diagonal are reliable, those below are too sure.
        Bars are the binomial standard error, which is too small if windows
        overlap.
    """
    table = result.reliability(n_bins)
    ax, is_new = get_styled_axes(ax), ax is None or not ax.lines
    color = _find_free_color(ax)
    if is_new:
        ax.plot([0, 1], [0, 1], **DASHED, label="reliable")
    error = np.sqrt(table["accuracy"] * (1 - table["accuracy"]) / table["n_windows"])
    ax.errorbar(
        table["probability"],
        table["accuracy"],
        error,
        label=label,
        color=color,
        marker="o",
        markersize=5,
        linewidth=1.8,
    )
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability of the best candidate", ylabel="share that is right")
    for axis in (ax.xaxis, ax.yaxis):
        style_ticks_as_percent(axis)
    style_axes(ax, "both")
    place_style_legend(ax)
    return ax


@with_visible_text
def plot_risk_coverage(result, k=1, confidence="probability", label=None, ax=None):
    """Plot the accuracy of the most confident windows by their share.

    Parameters
    ----------
    result : RetrievalResult
        Retrieval result of a decoder, see
        :meth:`RetrievalResult.risk_coverage`.
    k : int, default=1
        Number of candidates that count as a hit.
    confidence : {"probability", "margin"}, default="probability"
        Kind of confidence.
    label : str, default=None
        Label of the curve in the legend.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw on. If None, new axes are made.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Curve from a few windows to all. Its right end is the top-k accuracy.
        At chance level, and for a confidence without information, it is flat.
    """
    table = result.risk_coverage(k, confidence)
    table = table[
        table["coverage"] * len(result.rows) >= min(10, len(result.rows))
    ]  # a few windows are noise
    ax, is_new = get_styled_axes(ax), ax is None or not ax.lines
    color = _find_free_color(ax)
    if is_new:
        ax.axhline(k / result.n_candidates, **DASHED, label="chance")
    ax.plot(table["coverage"], table["accuracy"], label=label, color=color, linewidth=1.8)
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="share of windows that are accepted",
           ylabel=f"top-{k} accuracy of these windows", title=f"{result.n_candidates} candidates")  # fmt: skip
    for axis in (ax.xaxis, ax.yaxis):
        style_ticks_as_percent(axis)
    style_axes(ax, "both")
    place_style_legend(ax)
    return ax
