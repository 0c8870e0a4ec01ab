"""Axes, colors and chance level shared by all figures."""

from __future__ import annotations

from textwrap import wrap

import numpy as np

from sk_b2s._utils._text import format_percent_text

# Colors of Okabe and Ito, https://jfly.uni-koeln.de/color, without black and yellow.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = "osD^vPX"  # labels differ without color too
MUTED = "#808080"  # visible on white and on black: chance, nulls and single subjects
ALPHA = 0.25
LONGEST_LABEL = 56  # characters of a line in a legend
LONGEST_AXIS = 30  # characters of a line next to an axis
DASHED = {"color": MUTED, "linestyle": (0, (4, 3)), "linewidth": 1.4, "zorder": 1.5}  # lines of chance


def get_styled_axes(ax, **size):
    """Return ``ax``, or create new axes if ``ax is None``.

    Widths are for the default width of figures in matplotlib, and follow it.
    """
    import matplotlib.pyplot as plt

    if ax is not None:
        return ax
    if "figsize" in size:
        width, height = size["figsize"]
        size["figsize"] = (
            width * plt.rcParams["figure.figsize"][0] / plt.rcParamsDefault["figure.figsize"][0],
            height,
        )
    return plt.subplots(layout="constrained", **size)[1]


def assign_style_colors(names):
    """Assign a color to each name. Colors repeat after six names.

    Examples
    --------
    >>> assign_style_colors(["ridge", "clip"])
    {'ridge': '#0072b2', 'clip': '#d55e00'}
    """
    return {name: COLORS[place % len(COLORS)] for place, name in enumerate(names)}


def assign_style_markers(names):
    """Assign a marker to each name, the next one where colors repeat.

    Examples
    --------
    >>> list(assign_style_markers("abcdefg").values())
    ['o', 'o', 'o', 'o', 'o', 'o', 's']
    """
    return {name: MARKERS[place // len(COLORS) % len(MARKERS)] for place, name in enumerate(names)}


def wrap_style_label(text, width=24, max_lines=3):
    r"""Break a label into lines, with an ellipsis after the last one.

    Examples
    --------
    >>> wrap_style_label("linear decoder of the envelope", 16)
    'linear decoder\nof the envelope'
    """
    lines = wrap(str(text), width) or [""]
    if len(lines) > max_lines:
        lines = [*lines[: max_lines - 1], f"{lines[max_lines - 1][: width - 1]}…"]
    return "\n".join(lines)


def wrap_style_axis(text, width=LONGEST_AXIS):
    r"""Break the long label of an axis into two lines.

    Examples
    --------
    >>> wrap_style_axis("top-10 accuracy of words, each with equal weight")
    'top-10 accuracy of words, each\nwith equal weight'
    """
    text = str(text)
    return wrap_style_label(text, max(width, len(text) // 2 + 4)) if len(text) > width else text


def place_style_legend(ax, handles=None, labels=None, title=None):
    """Place the legend below the axes, where it covers no data.

    It follows the height of tick labels, and has as many columns as fit.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        After its labels and ticks are set.
    handles, labels : list, default=None
        Entries. If None, those of ``ax``.
    title : str, default=None
    """
    from matplotlib import rcParams
    from matplotlib.transforms import ScaledTranslation

    if handles is None:
        handles, labels = ax.get_legend_handles_labels()
    if not handles:
        return
    figure, box = ax.figure, ax.xaxis.get_tightbbox()
    depth = 0.0 if box is None else max(0.0, ax.bbox.y0 - box.y0) / figure.dpi
    n_characters = int(72 * figure.get_figwidth() / (0.52 * rcParams["font.size"]))
    labels = [wrap_style_label(label, min(n_characters - 8, LONGEST_LABEL)) for label in labels]
    longest = max(len(line) for label in labels for line in label.split("\n"))
    n_columns = int(np.clip(n_characters // (longest + 7), 1, 4))
    below = ax.transAxes + ScaledTranslation(0, -depth - 0.05, figure.dpi_scale_trans)
    ax.legend(
        handles, labels, frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, 0),
        bbox_transform=below, ncols=n_columns, title=title, title_fontsize="small",
    )  # fmt: skip


def format_style_means(n_subjects):
    """Return the title of means over subjects, of one without an error.

    Examples
    --------
    >>> format_style_means(8), format_style_means(1)
    ('mean ± s.e.m. of 8 subjects', 'one subject')
    """
    return f"mean ± s.e.m. of {n_subjects} subjects" if n_subjects > 1 else "one subject"


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


def style_whole_ticks(axis):
    """Place the ticks of a matplotlib axis at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", integer=True))


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
