"""Axes, colors and chance line of all figures."""

from __future__ import annotations

import numpy as np

# Okabe and Ito's colors, https://jfly.uni-koeln.de/color, without black and yellow: lines on paper and on black.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MUTED = "#808080"  # seen on white and on black: chance, nulls and single people
ALPHA = 0.25


def axes_of(ax, **size):
    """Give axes, new ones where there are none.

    Parameters
    ----------
    ax : matplotlib.axes.Axes or None
    **size : dict
        ``figsize`` of new ones, in inches.

    Returns
    -------
    ax : matplotlib.axes.Axes
    """
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained", **size)[1] if ax is None else ax


def colors(names):
    """Give each name a color; after six they come again.

    Parameters
    ----------
    names : iterable of str

    Returns
    -------
    colors : dict of str to str

    Examples
    --------
    >>> colors(["ridge", "clip"])
    {'ridge': '#0072b2', 'clip': '#d55e00'}
    """
    return {name: COLORS[place % len(COLORS)] for place, name in enumerate(names)}


def chance_line(ax, chance, label=None, **options):
    """Draw chance, a dashed line across the axes.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    chance : float
    label : str, default=None
        Its name in the legend; None says the percentage, "" nothing.
    **options : dict
        Of the line.
    """
    label = f"chance {100 * chance:.1f} %" if label is None else label or "_chance"
    ax.axhline(chance, **{"color": MUTED, "linestyle": (0, (4, 3)), "linewidth": 1.4, "zorder": 1.5, **options},
               label=label)  # fmt: skip


def percent(axis):
    """Write an axis of shares in per cent.

    Parameters
    ----------
    axis : matplotlib.axis.Axis
    """
    axis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %".replace("-", "−"))


def tidy(ax, grid="y"):
    """Take away the frame where nothing is, and lay a faint grid under the numbers.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    grid : {"x", "y", "both"}, default="y"
        Which lines.
    """
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    ax.grid(True, axis=grid, color=MUTED, alpha=ALPHA, linewidth=0.6)


def spread(n, width=0.5):
    """Places of n things side by side about 0.

    Parameters
    ----------
    n : int
    width : float, default=0.5
        From the first to the last, if there are many.

    Returns
    -------
    places : ndarray of shape (n,)
    """
    return (np.arange(n) - (n - 1) / 2) * min(width / max(n - 1, 1), 0.22)
