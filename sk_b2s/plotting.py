"""Pictures of what a decoder can do: arrays and tables in, matplotlib Axes out."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s.answers import Retrieval

__all__ = ["plot_history", "plot_rank_curve", "plot_scores"]


def _axes(ax):
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained")[1] if ax is None else ax


def plot_scores(scores, chance=None, ax=None):
    """Plot the accuracy of each subject under each decoder, with chance.

    Parameters
    ----------
    scores : DataFrame of shape (n_subjects, n_decoders) or dict of str to Retrieval
        Accuracies between 0 and 1; one row for each subject, one column for each decoder. Or what each
        decoder answered, with equal ``k`` and as many candidates.
    chance : float, default=None
        Accuracy of guessing, drawn as a line; answers know theirs.
    ax : matplotlib.axes.Axes, default=None
        Where to draw; new axes by default.

    Returns
    -------
    ax : matplotlib.axes.Axes
        A point for each subject, a line between the points of one subject, mean and standard error
        over subjects.

    Raises
    ------
    ValueError
        If chance is not given with a table of numbers, or differs between the answers.
    """
    if isinstance(scores, dict):
        levels = {answers.chance for answers in scores.values()}
        if len(levels) > 1:
            raise ValueError(f"the answers must have one chance level to be compared, got {sorted(levels)}.")
        chance = levels.pop() if chance is None else chance
        scores = pd.DataFrame({name: answers.per_subject() for name, answers in scores.items()})
    if chance is None:
        raise ValueError("chance must be given with a table of numbers: chance_level(k, n_candidates).")
    ax = _axes(ax)
    place = np.arange(scores.shape[1])
    ax.plot(place, scores.to_numpy().T, color="0.8", zorder=1)
    for x, decoder in zip(place, scores, strict=True):
        values = scores[decoder].to_numpy(float)
        ax.scatter(np.full(len(values), x), values, s=18, color="tab:blue", alpha=0.6, zorder=2)
        if len(values) > 1:
            error = values.std(ddof=1) / np.sqrt(len(values))
            ax.errorbar(x + 0.12, values.mean(), error, fmt="o", color="black", capsize=3, zorder=3)
    ax.axhline(chance, color="tab:red", linestyle="--", label=f"chance {chance:.1%}")
    ax.set(
        xticks=place, xticklabels=list(scores), xlim=(-0.5, len(place) - 0.5), ylim=(0, None), ylabel="accuracy",
        title=f"One point per subject (n = {len(scores)}), mean ± s.e.m.",
    )  # fmt: skip
    ax.legend(frameon=False)
    return ax


def plot_rank_curve(ranks, n_candidates=None, label=None, ax=None):
    """Plot top-k accuracy over all k, beside chance.

    Parameters
    ----------
    ranks : Retrieval or array-like of int of shape (n_windows,)
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
    """
    if isinstance(ranks, Retrieval):
        ranks, n_candidates = ranks.ranks, ranks.n_candidates
    new = ax is None
    ax = _axes(ax)
    k = np.arange(1, n_candidates + 1)
    accuracy = np.cumsum(np.bincount(np.asarray(ranks), minlength=n_candidates)) / len(ranks)
    if new:
        ax.plot(k, k / n_candidates, color="tab:red", linestyle="--", label="chance")
    ax.plot(k, accuracy, label=label)
    ax.set(xscale="log", xlabel="k", ylabel="top-k accuracy", ylim=(0, 1), title=f"{n_candidates} candidates")
    ax.legend(frameon=False)
    return ax


def plot_history(history, ax=None):
    """Plot the losses of training and validation by epoch.

    Parameters
    ----------
    history : skorch.history.History
        ``encoder.history_``.
    ax : matplotlib.axes.Axes, default=None
        Where to draw; new axes by default.

    Returns
    -------
    ax : matplotlib.axes.Axes
        The best epoch of validation is marked.
    """
    ax = _axes(ax)
    epochs = history[:, "epoch"]
    ax.plot(epochs, history[:, "train_loss"], label="training, over a batch")
    if "valid_loss" in history[0]:
        valid = history[:, "valid_loss"]
        ax.plot(epochs, valid, label=f"validation, over {history[-1, 'valid_candidates']} segments")
        ax.axvline(epochs[int(np.argmin(valid))], color="0.7", linestyle=":", label="best state, restored")
    ax.set(xlabel="epoch", ylabel="cross-entropy", title="Training")
    ax.legend(frameon=False)
    return ax
