"""Figures of word decoding: confusion matrix and precision-recall curves."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s._utils._text import format_percent_text, make_plain_text, with_visible_text
from sk_b2s.decoding._retrieval._word_result import WordResult
from sk_b2s.metrics._word_scores import word_probabilities
from sk_b2s.plotting._retrieval import LONGEST_WORD, check_common_retrieval_candidates
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


def _get_word_result(result):
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
    words = _get_word_result(result)
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

    result = _get_word_result(result)
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


def compute_plotted_word_confusions(result, n_words=12):
    r"""Compute how much each presented word changes the probability of words.

    With :math:`p_i(v)` the probability of word v in window i
    (:func:`~sk_b2s.metrics.word_probabilities`), the entry (w, v) is the mean
    of :math:`p_i(v)` over the windows with target word w, divided by its mean
    over all target words, with equal weights of words. Chance is 1, however
    frequent a word is.

    Parameters
    ----------
    result : RetrievalResult
        Its candidates must have a column ``word``.
    n_words : int, default=12
        Number of words, those of most windows.

    Returns
    -------
    table : DataFrame of shape (n_words, n_words)
        Presented words in rows, decoded words in columns.
    """
    check_common_retrieval_candidates(result)
    words = result.candidates["word"] if "word" in result.candidates else [None] * result.n_candidates
    words = np.array(
        [make_plain_text([word]) or None if isinstance(word, str) else None for word in words], object
    )
    probabilities, vocabulary = word_probabilities(result.scores, words)
    presented = pd.Series(words[result.target])
    frequent = presented.value_counts(sort=True).index[:n_words]
    if len(frequent) < 2:
        raise ValueError(
            f"The candidates of 'result' must have at least two words. Got {len(frequent)} instead. Pass y with a "
            f"column 'word' to retrieve."
        )
    mean = pd.DataFrame(probabilities, columns=list(vocabulary)).groupby(presented.to_numpy()).mean()
    return (mean / mean.mean()).loc[frequent, frequent].rename_axis(index="presented", columns="decoded")


@with_visible_text
def plot_words(result, n_words=12, ax=None):
    """Plot confusions between the most frequent words.

    Parameters
    ----------
    result : RetrievalResult
        Its candidates must have a column ``word``.
    n_words : int, default=12
        Number of words, those of most windows.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw on. If None, new axes are made.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Colors are factors: how many times more probable a decoded word is in
        windows of a presented word than on average. White is chance, a factor
        of 1. Words that are decoded have a dark diagonal.

    Raises
    ------
    ValueError
        If there are fewer than two target words.
    """
    from matplotlib.colors import LogNorm

    table = compute_plotted_word_confusions(result, n_words)
    ax = get_styled_axes(ax, figsize=(6.5, 5.5))
    limit = max(float(np.abs(np.log(np.maximum(table.to_numpy(), 1e-3))).max()), np.log(1.1))
    norm = LogNorm(np.exp(-limit), np.exp(limit))
    image = ax.imshow(np.maximum(table.to_numpy(), 1e-3), cmap="PuOr_r", norm=norm, interpolation="nearest")
    bar = ax.figure.colorbar(
        image, ax=ax, label="probability relative to its mean (1 is chance)", shrink=0.85
    )
    factors = (
        (1, 1.1, 1.25, 1.5) if limit < np.log(2) else (1, 2, 4) if limit < np.log(10) else (1, 3, 10, 100)
    )
    ticks = sorted(
        {tick for factor in factors for tick in (factor, 1 / factor) if abs(np.log(tick)) <= limit}
    )
    bar.set_ticks(ticks, labels=[f"{tick:.2g}×" for tick in ticks])
    bar.minorticks_off()
    place = range(len(table))
    names = [wrap_style_label(word, LONGEST_WORD, 1) for word in table]
    ax.set_xticks(place, names, rotation=90)
    ax.set_yticks(place, names)
    ax.set(xlabel="decoded word", ylabel="presented word", title=f"the {len(table)} most frequent words")
    return ax
