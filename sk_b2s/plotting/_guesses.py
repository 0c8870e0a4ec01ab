"""Figure of the guesses of a decoder, one row per window."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s._utils._text import with_visible_text
from sk_b2s.decoding._retrieval._result import RetrievalResult
from sk_b2s.plotting._style import COLORS, MUTED, get_styled_axes, style_ticks_as_percent

WIDEST = 32  # characters of a text


@with_visible_text
def plot_guesses(result, recording=None, start=0.0, n_windows=12, ax=None):
    """Plot targets, guesses and their probabilities, one row per window.

    Parameters
    ----------
    result : RetrievalResult
        Retrieval result of a decoder, with calibrated probabilities after
        ``result.scale_temperature()``.
    recording : str, default=None
        Recording of the windows. If None, the first one.
    start : float, default=0.0
        Earliest onset of a window in seconds.
    n_windows : int, default=12
        Maximum number of windows, in the order of their onsets.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw on. If None, new axes are made.

    Returns
    -------
    ax : matplotlib.axes.Axes
        The label of a row is its target. The bar is the probability of the
        guess, with its text, blue if correct and orange otherwise. The gray
        line is the probability of the target.

    Raises
    ------
    ValueError
        If the recording has no window from ``start`` on.
    TypeError
        If the result is not a RetrievalResult.

    See Also
    --------
    sk_b2s.decoding.RetrievalResult.guesses : The table.
    """
    if not isinstance(result, RetrievalResult):
        raise TypeError(
            f"plot_guesses requires a RetrievalResult, see retrieve(). Got {type(result).__name__}."
        )
    table = result.guesses()
    if "recording" in table:
        known = pd.unique(table["recording"].map(str))
        recording = known[0] if recording is None else str(recording)
        if recording not in known:
            raise ValueError(f"recording must be one of {list(known)[:5]}... Got {recording!r}.")
        table = table[table["recording"].map(str) == recording]
    if "onset" in table:
        table = table[table["onset"] >= start].sort_values("onset", kind="stable")
    table = table.head(n_windows)
    if table.empty:
        raise ValueError(f"No window of the recording begins at {start:g} s or later. Use an earlier start.")
    names = {name: f"{name}_word" if f"{name}_word" in table else name for name in ("target", "guess")}
    texts = {
        name: ["" if pd.isna(text) else str(text)[:WIDEST] for text in table[column]]
        for name, column in names.items()
    }
    ax = get_styled_axes(ax, figsize=(6.4, 0.6 + 0.28 * len(table)))
    rows = np.arange(len(table))
    colors = np.where(table["is_correct"], COLORS[0], COLORS[1])
    ax.barh(rows, table["probability"], color=colors, height=0.7, alpha=0.75)
    for row, value in zip(rows, table["target_probability"], strict=True):
        ax.plot([value, value], [row - 0.35, row + 0.35], color=MUTED, linewidth=2)
    for row, text in zip(rows, texts["guess"], strict=True):
        ax.text(0.01, row, text, va="center", fontsize="small", transform=ax.get_yaxis_transform())
    ax.set(ylim=(len(table) - 0.5, -0.5), xlim=(0, 1), xlabel="probability of the guess")
    has_onset = "onset" in table
    labels = [
        f"{onset:.1f} s  {text}" if has_onset else text
        for onset, text in zip(table["onset"] if has_onset else rows, texts["target"], strict=True)
    ]
    ax.set_yticks(rows, labels, fontsize="small")
    style_ticks_as_percent(ax.xaxis)
    return ax
