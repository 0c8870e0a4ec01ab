"""Pictures show the numbers they are given."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from sk_b2s.answers import Retrieval  # noqa: E402
from sk_b2s.plotting import plot_history, plot_rank_curve, plot_scores  # noqa: E402


def test_scores_show_every_subject_and_chance():
    scores = pd.DataFrame({"ridge": [0.1, 0.2, 0.3], "encoder": [0.4, 0.5, 0.6]}, index=list("abc"))
    ax = plot_scores(scores, chance=0.05)
    points = np.concatenate([c.get_offsets() for c in ax.collections if len(c.get_offsets()) == 3])
    np.testing.assert_allclose(sorted(points[:, 1]), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert "chance 5.0%" in ax.get_legend_handles_labels()[1]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["ridge", "encoder"]


def test_rank_curve_is_the_accuracy_at_every_k():
    ax = plot_rank_curve([0, 0, 3, 9], 10, label="encoder")
    curve = next(line for line in ax.lines if line.get_label() == "encoder")
    np.testing.assert_allclose(curve.get_ydata(), [0.5, 0.5, 0.5, 0.75, 0.75, 0.75, 0.75, 0.75, 0.75, 1])
    assert len(plot_rank_curve([1], 10, ax=ax).lines) == 3, "a second curve joins the first and its chance"


def test_answers_bring_what_is_plotted():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"subject": np.repeat(["a", "b", "c"], 20)})
    answers = Retrieval(
        rng.normal(size=(60, 20)), np.tile(np.arange(20), 3), pd.DataFrame(index=range(20)), rows, k=5
    )
    ax = plot_scores({"encoder": answers})
    assert "chance 25.0%" in ax.get_legend_handles_labels()[1]
    np.testing.assert_allclose(ax.collections[0].get_offsets()[:, 1], answers.per_subject())
    curve = plot_rank_curve(answers, label="encoder").lines[-1].get_ydata()
    np.testing.assert_allclose(curve, [np.mean(answers.ranks < k) for k in range(1, 21)])
    with pytest.raises(ValueError, match="one chance level"):
        plot_scores({"encoder": answers, "other": replace(answers, k=4)})
    with pytest.raises(ValueError, match="chance must be given"):
        plot_scores(pd.DataFrame({"encoder": answers.per_subject()}))


def test_history_marks_the_best_epoch():
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
    assert ax.lines[-1].get_xdata()[0] == 2
