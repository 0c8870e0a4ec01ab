"""Figures of curves: training history, and scores by a parameter."""

from __future__ import annotations

from textwrap import fill

import numpy as np
import pandas as pd

from sk_b2s._utils._text import with_visible_text
from sk_b2s.decoding._retrieval._result import RetrievalResult
from sk_b2s.evaluation._benchmark_summary import get_summary_score_label
from sk_b2s.evaluation._curves import describe_learning_curve_edge
from sk_b2s.evaluation._results._rank_curves import average_rank_curves
from sk_b2s.evaluation._scores import chance_of_score, is_score_correlation
from sk_b2s.evaluation._statistics._subject_means import compute_subject_statistics, mean_and_sem
from sk_b2s.nn._registry import CROSS_ENTROPY, LOSSES
from sk_b2s.plotting._style import (
    COLORS,
    DASHED,
    MUTED,
    draw_styled_chance,
    format_style_means,
    get_styled_axes,
    place_style_legend,
    style_axes,
    style_score_ticks,
    style_ticks_as_percent,
    style_whole_ticks,
    wrap_style_axis,
)

STILL_FALLING = ", the last: the loss still decreases, consider a larger max_epochs"

UNITS = {
    "minutes": "minutes of training for each subject",
    "n_subjects": "subjects in the training set",
    "length": "seconds of a decision",
}


# --- training --------------------------------------------------------------------------------------


def label_loss_curve(name):
    """Return the label of a loss, or "loss" if its name is not known."""
    return LOSSES[name].label if name in LOSSES else "loss"


def plot_history(history, ax=None):
    """Plot the training and validation losses by epoch.

    Parameters
    ----------
    history : BrainEncoder or skorch.history.History
        Fitted encoder, or its ``history_``, which does not name its loss.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw on. If None, new axes are made.

    Returns
    -------
    ax : matplotlib.axes.Axes
        The best validation epoch is marked, and the cross-entropy at chance
        level is drawn. The validation loss is always a cross-entropy. If the
        training loss is not, it has its own axis on the right.
    """
    name = label_loss_curve(getattr(history, "loss", None))
    history = getattr(history, "history_", history)
    ax, epochs = get_styled_axes(ax), history[:, "epoch"]
    has_validation = "valid_loss" in history[0]
    train_ax = ax.twinx() if has_validation and name not in (CROSS_ENTROPY, "loss") else ax
    label = f"training {name}, over a batch"
    lines = train_ax.plot(epochs, history[:, "train_loss"], color=COLORS[0], linewidth=1.8, label=label)
    if has_validation:
        losses, n = history[:, "valid_loss"], history[-1, "valid_candidates"]
        label = f"validation {CROSS_ENTROPY}, over {n} segments"
        lines += ax.plot(epochs, losses, color=COLORS[1], linewidth=1.8, label=label)
        draw_styled_chance(ax, np.log(n), f"chance level of {n} segments")
        best = epochs[int(np.argmin(losses))]
        label = f"best state, epoch {best}, restored" + (STILL_FALLING if best == epochs[-1] else "")
        ax.axvline(best, color=MUTED, linestyle=":", label=label)
    ax.set(xlabel="epoch", ylabel=CROSS_ENTROPY if train_ax is not ax else name, title="Training")
    style_whole_ticks(ax.xaxis)
    style_axes(ax)
    if train_ax is not ax:
        train_ax.set_ylabel(name, color=COLORS[0])
        train_ax.spines["top"].set_visible(False)
    lines += [line for line in ax.lines if line not in lines]
    place_style_legend(ax, lines, [line.get_label() for line in lines])
    return ax


def draw_training_curves(histories):
    """Draw the losses of several fits of one network by epoch.

    Parameters
    ----------
    histories : list of dict
        ``loss, epoch, train_loss`` and, with validation, ``valid_loss`` and
        ``valid_candidates``, as in the details of a fit.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Training losses have an axis on the right if they are not a
        cross-entropy.
    """
    from matplotlib.lines import Line2D

    name, ax = label_loss_curve(histories[0]["loss"]), get_styled_axes(None)
    valid = [one for one in histories if "valid_loss" in one]
    is_other = bool(valid) and name not in (CROSS_ENTROPY, "loss")
    train_ax = ax.twinx() if is_other else ax
    alpha = max(0.3, 1 / len(histories))
    for one in histories:
        train_ax.plot(one["epoch"], one["train_loss"], color=COLORS[0], linewidth=1.6, alpha=alpha)
    for one in valid:
        ax.plot(one["epoch"], one["valid_loss"], color=COLORS[1], linewidth=1.6, alpha=alpha)
        best = int(np.argmin(one["valid_loss"]))
        ax.plot(one["epoch"][best], one["valid_loss"][best], "o", color=COLORS[1], markersize=5)
    handles = [Line2D([], [], color=COLORS[0], linewidth=1.6)]
    labels = [f"training {name}"]
    if valid:
        handles += [Line2D([], [], color=COLORS[1], linewidth=1.6), ax.lines[-1]]
        labels += [f"validation {CROSS_ENTROPY}", "best epoch, used"]
    if known := {one["valid_candidates"] for one in valid if "valid_candidates" in one}:
        handles.append(ax.axhline(np.log(np.mean(list(known))), **DASHED))
        labels.append("chance of validation")
    ax.set(xlabel="epoch", ylabel=CROSS_ENTROPY if is_other else name)
    style_whole_ticks(ax.xaxis)
    style_axes(ax)
    if is_other:
        train_ax.set_ylabel(name, color=COLORS[0])
        train_ax.spines["top"].set_visible(False)
    place_style_legend(ax, handles, labels)
    return ax


# --- scores by a parameter ----------------------------------------------------------------------------


@with_visible_text
def plot_curve(curve, x=None, score=None, label=None, ax=None):
    """Plot a score by training duration, number of subjects, or a parameter.

    Parameters
    ----------
    curve : DataFrame of shape (n_rows, ...)
        Table returned by :func:`~sk_b2s.retrieval_learning_curve`,
        :func:`~sk_b2s.retrieval_validation_curve` or
        :func:`~sk_b2s.attention_decision_accuracy`.
    x : str, default=None
        Column of the x-axis. If None, the first of "value", "length",
        "minutes" and "n_subjects" that varies.
    score : str, default=None
        Column of the score. If None, "accuracy" of decisions, or "top_k".
    label : str, default=None
        Label of the curve in the legend.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw on. If None, new axes are made. Another curve on the same
        axes has the next color.

    Returns
    -------
    ax : matplotlib.axes.Axes
        A thin line for each subject, mean ± s.e.m., and chance. The x-axis is
        logarithmic for positive numbers over a large range, and categorical
        for texts. If the highest mean is at the first or last of at least
        three values, the title notes it. Call ``ax.set_xlabel`` to name a
        "value".

    Raises
    ------
    ValueError
        If a column is missing.
    """
    x = _choose_curve_x(curve) if x is None else x
    score = ("accuracy" if "accuracy" in curve else "top_k") if score is None else score
    if missing := [name for name in (x, score, "subject") if name not in curve]:
        raise ValueError(
            f"The 'curve' parameter of plot_curve must have the columns {missing}. Got {list(curve.columns)} "
            f"instead. Choose other columns by x and score."
        )
    curve = curve.assign(chance=chance_of_score(curve, score))
    weight = "n_windows" if score != "accuracy" else "n_decisions"
    subjects = compute_subject_statistics(curve, score, [x], weight=weight).unstack("subject").sort_index()
    means = mean_and_sem(curve, score, x, weight=weight).reindex(subjects.index)
    if not (is_number := pd.api.types.is_numeric_dtype(curve[x])):
        subjects, means = (table.reindex(pd.unique(curve[x])) for table in (subjects, means))
    is_first, ax = ax is None or not ax.has_data(), get_styled_axes(ax)
    place = subjects.index.to_numpy(float) if is_number else np.arange(len(subjects))
    color = COLORS[len(ax.containers) % len(COLORS)]
    ax.plot(place, subjects.to_numpy(), color=color, alpha=0.25, linewidth=0.9)
    ax.errorbar(place, means["mean"], means["sem"], fmt="o-" if is_number else "D", color=color, markersize=6,
                linewidth=1.8, capsize=3, label=label, zorder=3)  # fmt: skip
    if is_first and means["chance"].notna().all():
        ax.plot(place, means["chance"], **DASHED, label="chance")
    if is_number and (place > 0).all() and place.max() > 3 * place.min():
        ax.set_xscale("log")
        ax.minorticks_off()
    ax.set_xticks(place, [f"{at:.3g}" for at in place] if is_number else list(subjects.index))
    title, note = (
        format_style_means(subjects.shape[1]),
        describe_learning_curve_edge(subjects) if x == "value" else "",
    )
    ax.set(xlabel=UNITS.get(x, x), ylabel=wrap_style_axis(get_summary_score_label(curve, score)), ylim=(0, None),
           title=fill(f"{title}. {note}", 60) if note else title)  # fmt: skip
    style_score_ticks(ax.yaxis, is_score_correlation(curve, score))
    style_axes(ax)
    place_style_legend(ax)
    return ax


def _choose_curve_x(curve):
    """Choose the column of the x-axis: the one that varies."""
    for name in ("value", "length"):
        if name in curve:
            return name
    minutes_vary = "minutes" in curve and (
        curve["minutes"].nunique() > 1 or curve["n_subjects"].nunique() == 1
    )
    return "minutes" if minutes_vary else "n_subjects"


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
    line = ("-", "-.", ":")[n_curves // len(COLORS) % 3]  # colors repeat
    ax.plot(k, accuracy, label=label, color=COLORS[n_curves % len(COLORS)], linewidth=1.8, linestyle=line)
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
