"""Figures of training histories and of scores by a parameter."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers.score_tables import make_curve

from sk_b2s.plotting import plot_curve, plot_history, plot_rank_curve
from sk_b2s.plotting._curves import draw_training_curves
from sk_b2s.plotting._style import COLORS


def test_plot_history_marks_best_epoch():
    from skorch.history import History

    history = History()
    for epoch, loss in enumerate([3.0, 2.0, 2.5], 1):
        history.new_epoch()
        for name, value in {
            "epoch": epoch,
            "train_loss": 1.0,
            "valid_loss": loss,
            "valid_candidates": 7,
        }.items():
            history.record(name, value)
    ax = plot_history(history)
    assert (ax.get_xticks() == ax.get_xticks().round()).all(), "whole epochs"
    assert ax.lines[-1].get_xdata()[0] == 2
    assert ax.get_ylabel() == "loss", "a history does not name its loss"
    for loss, label in (("clip", "cross-entropy (nats)"), ("symmetric_clip", "cross-entropy (nats)")):
        ax = plot_history(SimpleNamespace(history_=history, loss=loss))
        assert ax.get_ylabel() == label
        assert len(ax.figure.axes) == 1
    for loss, label in (("mse", "mean squared error"), ("siglip", "pairwise loss (nats)")):
        left, right = plot_history(SimpleNamespace(history_=history, loss=loss)).figure.axes
        assert (left.get_ylabel(), right.get_ylabel()) == ("cross-entropy (nats)", label)
        np.testing.assert_allclose(right.lines[0].get_ydata(), 1.0)
        np.testing.assert_allclose(left.lines[0].get_ydata(), [3.0, 2.0, 2.5])
        assert f"training {label}, over a batch" in [
            text.get_text() for text in left.get_legend().get_texts()
        ]


@pytest.mark.parametrize(("column", "values", "scale"), [
    ("minutes", [1.0, 2.0, 8.0], "log"), ("n_subjects", [1, 2, 4], "log"), ("value", [-0.1, 0.0, 0.1], "linear"),
    ("value", ["theta", "alpha", "delta"], "linear"),
])  # fmt: skip
def test_plot_curve_shows_mean_and_chance(column, values, scale):
    curve = make_curve(column, values)
    ax = plot_curve(curve, label="ridge")
    line = ax.containers[0][0]
    np.testing.assert_allclose(line.get_ydata(orig=False), [0.21, 0.31, 0.41])
    chance = next(line for line in ax.lines if line.get_label() == "chance")
    np.testing.assert_allclose(chance.get_ydata(), 0.1)
    assert ax.get_xscale() == scale
    assert len([line for line in ax.lines if line.get_alpha()]) == 3, "a line for each subject"
    plot_curve(curve.assign(top_k=0.5), label="other", ax=ax)
    assert ax.containers[1][0].get_color() == COLORS[1]
    assert sum(line.get_label() == "chance" for line in ax.lines) == 1
    if isinstance(values[0], str):
        assert [tick.get_text() for tick in ax.get_xticklabels()] == values, "names keep their order"


def test_plot_curve_of_decisions_has_half_chance():
    scores = pd.DataFrame({"length": [1, 1, 10, 10], "subject": list("abab"), "accuracy": [0.6, 0.7, 0.8, 0.9],
                           "chance": 0.5, "n_decisions": 9})  # fmt: skip
    ax = plot_curve(scores)
    np.testing.assert_allclose(ax.containers[0][0].get_ydata(orig=False), [0.65, 0.85])
    chance = next(line for line in ax.lines if line.get_label() == "chance")
    np.testing.assert_allclose(chance.get_ydata(), 0.5)
    assert ax.get_xlabel() == "seconds of a decision"
    with pytest.raises(ValueError, match="must have the columns"):
        plot_curve(scores, x="minutes")
    # Folds of few decisions count for less.
    folds = pd.concat([scores.assign(fold=0), scores.assign(fold=1, accuracy=0.0, n_decisions=1)])
    ax = plot_curve(folds)
    np.testing.assert_allclose(ax.containers[0][0].get_ydata(orig=False), np.array([0.65, 0.85]) * 0.9)


def test_plot_history_states_best_last_epoch():
    pytest.importorskip("matplotlib").use("Agg")
    from skorch.history import History

    from sk_b2s.plotting import plot_history

    def legend(losses):
        history = History()
        for epoch, loss in enumerate(losses):
            history.new_epoch()
            for name, value in (("epoch", epoch + 1), ("train_loss", loss), ("valid_loss", loss)):
                history.record(name, value)
            history.record("valid_candidates", 20)
        texts = [text.get_text() for text in plot_history(history).get_legend().get_texts()]
        assert max(len(line) for text in texts for line in text.splitlines()) <= 56
        return " ".join(texts).replace("\n", " ")

    assert "epoch 3, restored, the last: the loss still decreases" in legend([3.0, 2.5, 2.0])
    assert "still decreases" not in legend([3.0, 2.0, 2.5])


def test_plot_rank_curve_shows_accuracy_of_all_k():
    ax = plot_rank_curve([0, 0, 3, 9], 10, label="encoder")
    curve = next(line for line in ax.lines if line.get_label() == "encoder")
    np.testing.assert_allclose(curve.get_ydata(), [0.5, 0.5, 0.5, 0.75, 0.75, 0.75, 0.75, 0.75, 0.75, 1])
    assert len(plot_rank_curve([1], 10, ax=ax).lines) == 3, "a second curve joins the first and its chance"


def test_draw_training_curves_has_whole_epochs():
    history = {"loss": "clip", "epoch": [1, 2, 3], "train_loss": [3.0, 2.0, 1.0]}
    ticks = draw_training_curves([history]).get_xticks()
    assert len(ticks) > 2
    assert (ticks == ticks.round()).all()
