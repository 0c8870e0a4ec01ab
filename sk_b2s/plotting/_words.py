"""Figures of word decoding: confusion matrix and precision-recall curves."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s._utils._text import format_percent_text, with_visible_text
from sk_b2s.decoding._retrieval._word_result import WordResult
from sk_b2s.plotting._style import (
    COLORS,
    DASHED,
    get_styled_axes,
    place_style_legend,
    style_axes,
    style_ticks_as_percent,
    wrap_style_label,
)

MOST_LABELED = 60  # words whose names are printed
DOTTED = (0, (1, 1.5))  # curves of timing


def _get_words(result):
    """Return a WordResult, of all words for a RetrievalResult."""
    return result if isinstance(result, WordResult) else result.to_words()


@with_visible_text
def plot_word_confusion(result, n_words=20, source="decoder", ax=None):
    """Plot the confusion matrix of words.

    Parameters
    ----------
    result : WordResult or RetrievalResult
        Result of :func:`retrieve_words` or :meth:`RetrievalResult.to_words`.
        The words of a retrieval result are all words of its candidates.
    n_words : int or None, default=20
        Number of presented and decoded words that are shown, those of most
        windows. None shows all.
    source : {"decoder", "timing"}, default="decoder"
        "timing" shows the classifier that uses the onsets of windows alone.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw on. If None, new axes are made.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Rows are presented words, and colors are the share of their windows,
        averaged over subjects. The title contains the balanced accuracy of all
        words, its chance level and that of timing alone.

    Raises
    ------
    ValueError
        If ``source`` is unknown, or "timing" without onsets.
    """
    words = _get_words(result)
    whole = words.confusion(source)
    counts = pd.Series(words.target[words.target >= 0]).value_counts(sort=True)
    places = np.sort(counts.index[: len(whole) if n_words is None else n_words])
    table = whole.iloc[places, places]
    ax = get_styled_axes(ax, figsize=(6.5, 5.5))
    image = ax.imshow(
        table, cmap="viridis", vmin=0, vmax=max(float(table.max(axis=None)), 1e-9), interpolation="nearest"
    )
    bar = ax.figure.colorbar(image, ax=ax, label="share of the windows of the presented word", shrink=0.85)
    style_ticks_as_percent(bar.ax.yaxis)
    if len(table) <= MOST_LABELED:
        names = [wrap_style_label(word, 16, 1) for word in table]
        ax.set_xticks(range(len(table)), names, rotation=90)
        ax.set_yticks(range(len(table)), names)
    own = f"balanced accuracy {format_percent_text(np.nanmean(np.diag(whole)))}"
    chance = f"chance {format_percent_text(1 / words.n_words)}"
    if source == "timing":
        title = f"timing alone: {own} ({chance})"
    elif words.timing_probabilities is None:
        title = f"{own} ({chance})"
    else:
        timed = np.nanmean(np.diag(words.confusion("timing")))
        title = f"{own} ({chance}, timing alone {format_percent_text(timed)})"
    ax.set(
        xlabel="decoded word",
        ylabel="presented word",
        title=f"{words.n_words} words\n{wrap_style_label(title, 44)}",
    )
    return ax


@with_visible_text
def plot_keywords(result, words=None, n_words=4, timing=True, ax=None):
    """Plot precision-recall curves of keyword spotting.

    Parameters
    ----------
    result : WordResult or RetrievalResult
        Result of :func:`retrieve_words` or :meth:`RetrievalResult.to_words`.
        The words of a retrieval result are all words of its candidates.
    words : str or sequence of str, default=None
        Keywords. If None, those of most windows.
    n_words : int, default=4
        Number of keywords without ``words``.
    timing : bool, default=True
        If True, draw the curves of onsets alone, dotted.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw on. If None, new axes are made.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Curves of all windows of all subjects together. The area and its chance
        level in the legend are means over subjects, see
        :meth:`WordResult.spot_keywords`. Dashed lines are the prevalence of
        each keyword.

    Raises
    ------
    ValueError
        If a keyword is not in the vocabulary or was not presented.
    """
    from sklearn.metrics import precision_recall_curve

    result = _get_words(result)
    counts = pd.Series(result.target[result.target >= 0]).value_counts(sort=True)
    if words is None:
        words = [result.vocabulary.words[code] for code in counts.index[:n_words]]
    table = result.spot_keywords(words, timing=timing).iloc[:-1]
    if len(absent := table.index[table["n_subjects"] == 0]):
        raise ValueError(f"The 'words' parameter contains {list(absent)}, which no window was presented.")
    ax = get_styled_axes(ax, figsize=(6.5, 4.5))
    timed = result.timing_probabilities if timing else None
    for place, (name, row) in enumerate(table.iterrows()):
        color, code = COLORS[place % len(COLORS)], result.vocabulary.encode([name])[0]
        label = f"{name}: {row['auprc']:.2f}, chance {row['auprc_chance']:.2f}"
        label += f", timing {row['timing_auprc']:.2f}" if timed is not None else ""
        for scores, style in ((result.log_probabilities, "-"), (timed, DOTTED)):
            if scores is not None:
                precision, recall, _ = precision_recall_curve(result.target == code, scores[:, code])
                ax.plot(recall, precision, color=color, linestyle=style, linewidth=1.6, drawstyle="steps-post",
                        label=label if style == "-" else None)  # fmt: skip
        ax.axhline(row["prevalence"], **DASHED | {"color": color, "linewidth": 1.0})
    ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision",
           title=f"{len(result.target)} windows, dotted: timing alone" if timed is not None
           else f"{len(result.target)} windows")  # fmt: skip
    for axis in (ax.xaxis, ax.yaxis):
        style_ticks_as_percent(axis)
    style_axes(ax, "both")
    place_style_legend(ax, title="area under the curve")
    return ax
