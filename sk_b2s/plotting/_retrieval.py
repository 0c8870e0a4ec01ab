"""Figures of retrieval results: ranks, similarities and words."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s._utils._text import plain_text, with_visible_text
from sk_b2s.decoding._retrieval_result import RetrievalResult
from sk_b2s.metrics._words import word_probabilities
from sk_b2s.plotting._style import COLORS, MUTED, axes_of, percent, tidy

# --- ranks -----------------------------------------------------------------------------------------


def rank_shares(ranks, n_candidates, bins=20):
    """Share of windows, and of guesses, whose rank lies in each of some bins as equal as can be.

    Parameters
    ----------
    ranks : array-like of int of shape (n_windows,)
        0 is best.
    n_candidates : int
    bins : int, default=20

    Returns
    -------
    edges : ndarray of int of shape (n_bins + 1,)
        Bin i holds the ranks ``edges[i] .. edges[i + 1] - 1``.
    share, chance : ndarray of shape (n_bins,)
        Each sums to one.

    Examples
    --------
    >>> edges, share, chance = rank_shares([0, 0, 1, 9], 10, bins=2)
    >>> edges.tolist(), share.tolist(), chance.tolist()
    ([0, 5, 10], [0.75, 0.25], [0.5, 0.5])
    """
    edges = np.linspace(0, n_candidates, min(bins, n_candidates) + 1).round().astype(int)
    counts = np.histogram(ranks, edges)[0]
    return edges, counts / len(ranks), np.diff(edges) / n_candidates


@with_visible_text
def plot_ranks(answers, bins=20, ax=None):
    """Plot how often the segment heard came at which rank, beside chance.

    Parameters
    ----------
    answers : RetrievalResult
        What a decoder answered.
    bins : int, default=20
        Bars, of as equally many ranks as can be.
    ax : matplotlib.axes.Axes, default=None
        Where to draw; new axes by default.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Bars add up to one; a guess has all ranks equally often.
    """
    edges, share, chance = rank_shares(answers.ranks, answers.n_candidates, bins)
    ax = axes_of(ax)
    ax.bar(edges[:-1], share, np.diff(edges), align="edge", color=COLORS[0], edgecolor="none", alpha=0.85)
    ax.stairs(chance, edges, color=MUTED, linestyle=(0, (4, 3)), linewidth=1.4, baseline=None, label="chance")
    ax.set(xlim=(0, answers.n_candidates), xlabel=f"rank of the segment heard among {answers.n_candidates} (0 is best)",
           ylabel="share of windows", title=f"{len(answers.ranks)} windows, median relative rank "
           f"{answers.median_relative_rank():.2f} (chance 0.50)")  # fmt: skip
    percent(ax.yaxis)
    tidy(ax)
    ax.legend(frameon=False)
    return ax


@with_visible_text
def plot_rank_curve(ranks, n_candidates=None, label=None, ax=None):
    """Plot top-k accuracy over all k, beside chance.

    Parameters
    ----------
    ranks : RetrievalResult or array-like of int of shape (n_windows,)
        Answers of a decoder, or ranks of what was heard, 0 is best (:meth:`~sk_b2s.BrainEncoder.ranks`).
    n_candidates : int, default=None
        How many candidates there were; answers know it.
    label : str, default=None
        Name of the curve.
    ax : matplotlib.axes.Axes, default=None
        Where to draw; new axes by default.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Chance is drawn once for each number of candidates.
    """
    if isinstance(ranks, RetrievalResult):
        ranks, n_candidates = ranks.ranks, ranks.n_candidates
    ax = axes_of(ax)
    k = np.arange(1, n_candidates + 1)
    accuracy = np.cumsum(np.bincount(np.asarray(ranks), minlength=n_candidates)) / len(ranks)
    drawn = [line for line in ax.lines if line.get_label().startswith("chance")]
    if n_candidates not in [len(line.get_xdata()) for line in drawn]:
        ax.plot(k, k / n_candidates, color=MUTED, linestyle=(0, (4, 3)), linewidth=1.4,
                label="chance" if not drawn else f"chance, {n_candidates} candidates")  # fmt: skip
    n_curves = len(ax.lines) - len([line for line in ax.lines if line.get_label().startswith("chance")])
    ax.plot(k, accuracy, label=label, color=COLORS[n_curves % len(COLORS)], linewidth=1.8)
    ax.set(xscale="log", xlabel="k", ylabel="top-k accuracy", ylim=(0, 1), title=f"{n_candidates} candidates")
    ax.xaxis.set_major_formatter("{x:g}")
    percent(ax.yaxis)
    tidy(ax, "both")
    ax.legend(frameon=False)
    return ax


# --- a sentence ------------------------------------------------------------------------------------


def longest_sentence(answers, by="sequence"):
    """Rows and columns of the sentence of which one person heard most segments.

    Parameters
    ----------
    answers : RetrievalResult
    by : str, default="sequence"
        Column that tells sentences apart; without it all windows of a person are one.

    Returns
    -------
    rows : ndarray of int of shape (n_windows,)
        Windows of one person in one recording, in order of time.
    columns : ndarray of int of shape (n_candidates,)
        The segments that these heard, in the same order.
    """
    keys = [name for name in ("subject", "recording", by) if name in answers.rows]
    groups = answers.rows.assign(target=answers.target).groupby(keys, sort=False, dropna=True)
    name = groups["target"].nunique().idxmax()
    rows = groups.indices[name]
    if "onset" in answers.rows:
        rows = rows[np.argsort(answers.rows["onset"].to_numpy()[rows], kind="stable")]
    return rows, pd.unique(answers.target[rows])


@with_visible_text
def plot_similarity(answers, rows=None, most=24, ax=None):
    """Plot how similar each segment of a sentence is to what was decoded from each of its windows.

    Parameters
    ----------
    answers : RetrievalResult
        What a decoder answered.
    rows : array-like of int, default=None
        Windows to show; the longest sentence of one person by default.
    most : int, default=24
        Windows that are shown at most.
    ax : matplotlib.axes.Axes, default=None
        Where to draw; new axes by default.

    Returns
    -------
    ax : matplotlib.axes.Axes
        A row for each window, a column for each segment of the same sentence in the same order; a ring about what
        was heard, a dot on the best of the row. Colors are standard deviations from the mean of the window over
        *all* candidates. The title counts the dots in rings, beside how many a guess would have.

    Raises
    ------
    ValueError
        If there are fewer than two segments to show.
    """
    rows = longest_sentence(answers)[0] if rows is None else np.asarray(rows)
    rows = rows[:most]
    columns = pd.unique(answers.target[rows])
    if len(columns) < 2:
        raise ValueError("rows must be windows that heard two distinct segments at least.")
    scores = answers.scores[rows].astype(float)
    part = (scores - scores.mean(1, keepdims=True)) / np.maximum(scores.std(1, keepdims=True), 1e-12)
    part, target = part[:, columns], pd.Index(columns).get_indexer(answers.target[rows])
    best = part.argmax(1)
    ax = axes_of(ax, figsize=(6.5, 5.5))
    limit = max(float(np.abs(part).max()), 1e-9)
    picture = ax.imshow(part, cmap="PuOr_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    ax.figure.colorbar(picture, ax=ax, label="similarity (s.d. from the window's mean)", shrink=0.85)
    place = np.arange(len(rows))
    ax.scatter(target, place, s=70, facecolor="none", edgecolor="black", linewidth=1.2, label="heard")
    ax.scatter(best, place, s=12, color="black", linewidth=0, label="best of the row")
    words = answers.candidates["word"].to_numpy(object)[columns] if "word" in answers.candidates else None
    if words is not None and len(columns) <= most:
        names = [word if isinstance(word, str) else "·" for word in words]
        ax.set_xticks(range(len(columns)), names, rotation=90)
        ax.set_yticks(place, [names[column] for column in target])
    who = answers.rows["subject"].iloc[rows[0]] if "subject" in answers.rows else ""
    hits = int((best == target).sum())
    ax.set(xlabel="segment of the sentence", ylabel="window of the brain")
    said = f"{who}: {hits} of {len(rows)} right, {len(rows) / len(columns):.1f} by chance".lstrip(": ")
    ax.set_title(said, pad=26)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    return ax


# --- words -----------------------------------------------------------------------------------------


def word_confusions(answers, n_words=12):
    r"""How many times more probable a word becomes when a certain word is heard, for the words heard most.

    With :math:`p_i(v)` the probability of word v in window i (:func:`~sk_b2s.metrics.word_probabilities`), the entry
    (w, v) is the mean of :math:`p_i(v)` over the windows that heard w, divided by its mean over all words heard,
    each word counting once. One is chance: whatever is common is common in all rows.

    Parameters
    ----------
    answers : RetrievalResult
        Whose candidates have a ``word``.
    n_words : int, default=12
        Words shown, those heard in most windows.

    Returns
    -------
    table : DataFrame of shape (n_words, n_words)
        Heard words in rows, decoded words in columns.

    Raises
    ------
    ValueError
        If fewer than two words were heard.
    """
    words = answers.candidates["word"] if "word" in answers.candidates else [None] * answers.n_candidates
    words = np.array(
        [plain_text([word]) or None if isinstance(word, str) else None for word in words], object
    )
    probabilities, vocabulary = word_probabilities(answers.scores, words)
    heard = pd.Series(words[answers.target])
    often = heard.value_counts(sort=True).index[:n_words]
    if len(often) < 2:
        raise ValueError("answers must be about two words at least; give y with a column 'word'.")
    mean = pd.DataFrame(probabilities, columns=list(vocabulary)).groupby(heard.to_numpy()).mean()
    return (mean / mean.mean()).loc[often, often].rename_axis(index="heard", columns="decoded")


@with_visible_text
def plot_words(answers, n_words=12, ax=None):
    """Plot which words are taken for which: how many times more probable each is than when other words are heard.

    Parameters
    ----------
    answers : RetrievalResult
        Whose candidates have a ``word``.
    n_words : int, default=12
        Words shown, those heard in most windows.
    ax : matplotlib.axes.Axes, default=None
        Where to draw; new axes by default.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Words that are told apart have a dark diagonal. White is chance, a factor of one.

    Raises
    ------
    ValueError
        If fewer than two words were heard.
    """
    from matplotlib.colors import LogNorm

    table = word_confusions(answers, n_words)
    ax = axes_of(ax, figsize=(6.5, 5.5))
    limit = max(float(np.abs(np.log(np.maximum(table.to_numpy(), 1e-3))).max()), np.log(1.1))
    norm = LogNorm(np.exp(-limit), np.exp(limit))
    picture = ax.imshow(np.maximum(table.to_numpy(), 1e-3), cmap="PuOr_r", norm=norm, interpolation="nearest")
    bar = ax.figure.colorbar(
        picture, ax=ax, label="times as probable as on average (1 is chance)", shrink=0.85
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
    ax.set_xticks(place, table.columns, rotation=90)
    ax.set_yticks(place, table.index)
    ax.set(xlabel="word decoded", ylabel="word heard", title=f"the {len(table)} words heard most")
    return ax
