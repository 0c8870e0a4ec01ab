"""Figures of retrieval results: ranks, similarities and words."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s._utils._text import make_plain_text, with_visible_text
from sk_b2s._utils._validation import get_validated_recordings
from sk_b2s.decoding._retrieval._result import RetrievalResult
from sk_b2s.decoding._retrieval._row_result import RowRetrievalResult
from sk_b2s.evaluation._results._rank_curves import average_rank_curves
from sk_b2s.metrics._word_scores import word_probabilities
from sk_b2s.plotting._style import (
    COLORS,
    DASHED,
    get_styled_axes,
    place_style_legend,
    style_axes,
    style_ticks_as_percent,
    wrap_style_label,
)

LONGEST_WORD = 16  # characters of a tick label

# --- ranks -----------------------------------------------------------------------------------------


def bin_retrieval_ranks(ranks, n_candidates, bins=20):
    """Compute the share of windows, and of random guesses, in bins of ranks.

    Parameters
    ----------
    ranks : array-like of int of shape (n_windows,)
        0 is best.
    n_candidates : int
    bins : int, default=20
        Number of bins, of approximately equal size.

    Returns
    -------
    edges : ndarray of int of shape (n_bins + 1,)
        Bin i holds the ranks ``edges[i] .. edges[i + 1] - 1``.
    share, chance : ndarray of shape (n_bins,)
        Each sums to one.

    Examples
    --------
    >>> edges, share, chance = bin_retrieval_ranks([0, 0, 1, 9], 10, bins=2)
    >>> edges.tolist(), share.tolist(), chance.tolist()
    ([0, 5, 10], [0.75, 0.25], [0.5, 0.5])
    """
    edges = np.linspace(0, n_candidates, min(bins, n_candidates) + 1).round().astype(int)
    counts = np.histogram(ranks, edges)[0]
    return edges, counts / len(ranks), np.diff(edges) / n_candidates


@with_visible_text
def plot_ranks(result, bins=20, ax=None):
    """Plot a histogram of the ranks of the target segments, with chance.

    Parameters
    ----------
    result : RetrievalResult
        Retrieval result of a decoder.
    bins : int, default=20
        Number of bars, of approximately as many ranks each.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw on. If None, new axes are made.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Bars sum to one. At chance level all ranks are equally frequent.
    """
    edges, share, chance = bin_retrieval_ranks(result.ranks, result.n_candidates, bins)
    ax = get_styled_axes(ax)
    ax.bar(edges[:-1], share, np.diff(edges), align="edge", color=COLORS[0], edgecolor="none", alpha=0.85)
    ax.stairs(chance, edges, **DASHED, baseline=None, label="chance")
    ax.set(xlim=(0, result.n_candidates), xlabel=f"rank of the target segment among {result.n_candidates} (0 is best)",
           ylabel="share of windows", title=f"{len(result.ranks)} windows, median relative rank "
           f"{result.median_relative_rank():.2f} (chance 0.50)")  # fmt: skip
    style_ticks_as_percent(ax.yaxis)
    style_axes(ax)
    place_style_legend(ax)
    return ax


@with_visible_text
def plot_rank_curve(ranks, n_candidates=None, label=None, ax=None):
    """Plot the top-k accuracy for all k, with chance.

    Parameters
    ----------
    ranks : RetrievalResult, DataFrame or array-like of int
        Retrieval result of a decoder, results of :func:`~sk_b2s.benchmark`, or
        ranks of the target segments of shape (n_windows,), as
        :meth:`~sk_b2s.BrainEncoder.ranks` returns them. 0 is best.
    n_candidates : int, default=None
        Number of candidates. Only needed with ranks.
    label : str, default=None
        Label of the curve in the legend. Not used with a DataFrame, which has
        a curve for each decoder.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw on. If None, new axes are made.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Chance is drawn once for each number of candidates.

    Raises
    ------
    ValueError
        If the DataFrame was read from a file of an earlier version, which has
        no ranks.
    """
    ax = get_styled_axes(ax)
    if isinstance(ranks, pd.DataFrame):
        curves = average_rank_curves(ranks)
        if not curves:
            raise ValueError(
                "The results have no ranks, which earlier versions did not store. Run the benchmark again, or pass a "
                "RetrievalResult."
            )
        for name, curve in curves.items():
            _draw_rank_curve(ax, curve.k, curve.accuracy, curve.n_candidates, name)
        return ax
    if isinstance(ranks, RetrievalResult):
        ranks, n_candidates = ranks.ranks, ranks.n_candidates
    accuracy = np.cumsum(np.bincount(np.asarray(ranks), minlength=n_candidates)) / len(ranks)
    _draw_rank_curve(ax, np.arange(1, n_candidates + 1), accuracy, n_candidates, label)
    return ax


def _draw_rank_curve(ax, k, accuracy, n_candidates, label):
    """Draw one curve, and chance if it is not drawn for this number."""
    drawn = [line for line in ax.lines if line.get_label().startswith("chance")]
    n_curves = len(ax.lines) - len(drawn)
    if not any(
        np.isclose(n_candidates, line.get_xdata()[-1], rtol=0.02) for line in drawn
    ):  # folds differ a little
        chance_label = f"chance, {n_candidates} candidates" if drawn else "chance"
        at = np.geomspace(1, n_candidates, 100)
        ax.plot(at, at / n_candidates, **DASHED, label=chance_label)
    ax.plot(k, accuracy, label=label, color=COLORS[n_curves % len(COLORS)], linewidth=1.8)
    ax.set(
        xscale="log",
        xlabel="k, number of guesses",
        ylabel="top-k accuracy",
        ylim=(0, 1),
        title=f"{n_candidates} candidates",
    )
    ax.xaxis.set_major_formatter("{x:g}")
    style_ticks_as_percent(ax.yaxis)
    style_axes(ax, "both")
    place_style_legend(ax)


def _check_common_candidates(result):
    """Raise if windows have candidates of their own."""
    if isinstance(result, RowRetrievalResult):
        raise ValueError(
            "The figure compares all windows with the same candidates, but each window of this result has its own. Call "
            "retrieve without candidates_per_row, or use plot_ranks."
        )


# --- sentences -------------------------------------------------------------------------------------


def find_longest_retrieval_sentence(result, by="sequence"):
    """Find the sentence with most distinct segments presented to one subject.

    Parameters
    ----------
    result : RetrievalResult
    by : str, default="sequence"
        Column of the sentence. Without it, all windows of a subject are one.

    Returns
    -------
    rows : ndarray of int of shape (n_windows,)
        Windows of one subject in one recording, in order of time.
    columns : ndarray of int of shape (n_candidates,)
        Target segments of these windows, in the same order.
    """
    _check_common_candidates(result)
    keys = [name for name in ("subject", by) if name in result.rows]
    if "recording" in result.rows:
        keys.append(get_validated_recordings(result.rows))
    groups = result.rows.assign(target=result.target).groupby(keys, sort=False, dropna=True)
    name = groups["target"].nunique().idxmax()
    rows = groups.indices[name]
    if "onset" in result.rows:
        rows = rows[np.argsort(result.rows["onset"].to_numpy()[rows], kind="stable")]
    return rows, pd.unique(result.target[rows])


@with_visible_text
def plot_similarity(result, rows=None, max_windows=24, ax=None):
    """Plot the similarities between windows and segments of one sentence.

    Parameters
    ----------
    result : RetrievalResult
        Retrieval result of a decoder.
    rows : array-like of int, default=None
        Windows to show. If None, those of the sentence with most segments that
        were presented to one subject.
    max_windows : int, default=24
        Maximum number of windows.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw on. If None, new axes are made.

    Returns
    -------
    ax : matplotlib.axes.Axes
        A row for each window and a column for each segment of the sentence, in
        order of time. A ring marks the target segment, a dot the best segment
        of the row. Colors are standard deviations from the mean of the window
        over *all* candidates. The title gives the number of correct windows
        and the number expected by chance.

    Raises
    ------
    ValueError
        If there are fewer than two segments to show.
    """
    _check_common_candidates(result)
    rows = find_longest_retrieval_sentence(result)[0] if rows is None else np.asarray(rows)
    rows = rows[:max_windows]
    columns = pd.unique(result.target[rows])
    if len(columns) < 2:
        raise ValueError(
            "The 'rows' parameter of plot_similarity must be windows with at least two distinct segments. "
            f"Got {len(columns)} instead. Pass more rows."
        )
    scores = result.scores[rows].astype(float)
    part = (scores - scores.mean(1, keepdims=True)) / np.maximum(scores.std(1, keepdims=True), 1e-12)
    part, target = part[:, columns], pd.Index(columns).get_indexer(result.target[rows])
    best = part.argmax(1)
    ax = get_styled_axes(ax, figsize=(6.5, 5.5))
    limit = max(float(np.abs(part).max()), 1e-9)
    image = ax.imshow(part, cmap="PuOr_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    ax.figure.colorbar(image, ax=ax, label="similarity (s.d. from the window's mean)", shrink=0.85)
    place = np.arange(len(rows))
    ax.scatter(target, place, s=70, facecolor="none", edgecolor="black", linewidth=1.2, label="target")
    ax.scatter(best, place, s=12, color="black", linewidth=0, label="best of the row")
    words = result.candidates["word"].to_numpy(object)[columns] if "word" in result.candidates else None
    if words is not None and len(columns) <= max_windows:
        names = [word if isinstance(word, str) else "·" for word in words]
        names = [wrap_style_label(name, LONGEST_WORD, 1) for name in names]
        ax.set_xticks(range(len(columns)), names, rotation=90)
        ax.set_yticks(place, [names[column] for column in target])
    subject = result.rows["subject"].iloc[rows[0]] if "subject" in result.rows else ""
    hits = int((best == target).sum())
    ax.set(xlabel="segment of the sentence", ylabel="EEG/MEG window")
    title = f"{subject}: {hits} of {len(rows)} correct, {len(rows) / len(columns):.1f} by chance"
    ax.set_title(wrap_style_label(title.lstrip(": "), 50))
    place_style_legend(ax)
    return ax


# --- words -----------------------------------------------------------------------------------------


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
    _check_common_candidates(result)
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
