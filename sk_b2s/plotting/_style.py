"""Axes, colors and chance level shared by all figures."""

from __future__ import annotations

import numpy as np

from sk_b2s._utils._text import format_percent_text

# Colors of Okabe and Ito, https://jfly.uni-koeln.de/color, without black and yellow.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MUTED = "#808080"  # visible on white and on black: chance, nulls and single subjects
ALPHA = 0.25
DASHED = {"color": MUTED, "linestyle": (0, (4, 3)), "linewidth": 1.4, "zorder": 1.5}  # lines of chance


def get_styled_axes(ax, **size):
    """Return ``ax``, or create new axes if ``ax is None``."""
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained", **size)[1] if ax is None else ax


def assign_style_colors(names):
    """Assign a color to each name. Colors repeat after six names.

    Examples
    --------
    >>> assign_style_colors(["ridge", "clip"])
    {'ridge': '#0072b2', 'clip': '#d55e00'}
    """
    return {name: COLORS[place % len(COLORS)] for place, name in enumerate(names)}


def draw_styled_chance(ax, chance, label=None):
    """Draw the chance level as a dashed line across the axes.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    chance : float
    label : str, default=None
        Label in the legend. If None, the chance level in percent.
    """
    ax.axhline(chance, **DASHED, label=f"chance {format_percent_text(chance)}" if label is None else label)


def style_score_ticks(axis, is_correlation=False):
    """Format the tick labels of scores, in percent unless correlations.

    Correlations may be negative, so that their axis does not begin at 0.
    """
    if not is_correlation:
        style_ticks_as_percent(axis)
        return
    axis.set_major_formatter(lambda value, _: f"{value:.4g}".replace("-", "−"))
    axis.axes.autoscale(axis=axis.axis_name)


def style_ticks_as_percent(axis):
    """Format the tick labels of a matplotlib axis in percent."""
    axis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %".replace("-", "−"))


def style_axes(ax, grid="y"):
    """Remove the top and right spines and add a light grid."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    ax.grid(True, axis=grid, color=MUTED, alpha=ALPHA, linewidth=0.6)


def spread_positions_in_style(n, width=0.5):
    """Return n evenly spaced positions around 0, at most ``width`` apart."""
    return (np.arange(n) - (n - 1) / 2) * min(width / max(n - 1, 1), 0.22)
