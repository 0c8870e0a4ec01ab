"""Figures of retrieval results: ranks, similarities and words."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s._utils._text import with_visible_text
from sk_b2s._utils._validation import get_validated_recordings
from sk_b2s.decoding._retrieval._row_result import RowRetrievalResult
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


def check_common_retrieval_candidates(result):
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
    check_common_retrieval_candidates(result)
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
    check_common_retrieval_candidates(result)
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
