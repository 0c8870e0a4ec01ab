"""Figure of the training history."""

from __future__ import annotations

import numpy as np

from sk_b2s.plotting._style import COLORS, MUTED, axes_of, chance_line, tidy

CROSS_ENTROPY = "cross-entropy (nats)"
STILL_FALLING = ", the last: it still fell, so a larger max_epochs may be better"
LOSS_NAMES = {
    "clip": CROSS_ENTROPY,
    "symmetric_clip": CROSS_ENTROPY,
    "siglip": "loss of pairs (nats)",
    "mse": "mean squared error",
}


# --- training --------------------------------------------------------------------------------------


def plot_history(history, ax=None):
    """Plot the losses of training and validation by epoch.

    Parameters
    ----------
    history : BrainEncoder or skorch.history.History
        A fitted encoder; or its ``history_``, which does not know what loss was trained.
    ax : matplotlib.axes.Axes, default=None
        Where to draw; new axes by default.

    Returns
    -------
    ax : matplotlib.axes.Axes
        The best epoch of validation is marked, with a note if it is the last, and the cross-entropy of a guess among
        its segments drawn. Validation is a cross-entropy whatever the loss; a training loss that is none has an axis of
        its own, on the right.
    """
    name = LOSS_NAMES.get(getattr(history, "loss", None), "loss")
    history = getattr(history, "history_", history)
    ax, epochs = axes_of(ax), history[:, "epoch"]
    validated = "valid_loss" in history[0]
    own = ax.twinx() if validated and name not in (CROSS_ENTROPY, "loss") else ax
    lines = own.plot(
        epochs,
        history[:, "train_loss"],
        color=COLORS[0],
        linewidth=1.8,
        label=f"training {name}, over a batch",
    )
    if validated:
        valid, n = history[:, "valid_loss"], history[-1, "valid_candidates"]
        lines += ax.plot(
            epochs,
            valid,
            color=COLORS[1],
            linewidth=1.8,
            label=f"validation {CROSS_ENTROPY}, over {n} segments",
        )
        chance_line(ax, np.log(n), f"chance among {n} segments")
        best = epochs[int(np.argmin(valid))]
        label = f"best state, epoch {best}, restored" + (STILL_FALLING if best == epochs[-1] else "")
        ax.axvline(best, color=MUTED, linestyle=":", label=label)
    ax.set(xlabel="epoch", ylabel=CROSS_ENTROPY if own is not ax else name, title="Training")
    tidy(ax)
    if own is not ax:
        own.set_ylabel(name, color=COLORS[0])
        own.spines["top"].set_visible(False)
    lines += [line for line in ax.lines if line not in lines]
    ax.legend(handles=lines, frameon=False)
    return ax
