"""Tests of the figures of confidence."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from sk_b2s import RetrievalResult
from sk_b2s.plotting import plot_reliability, plot_risk_coverage


@pytest.fixture(scope="module")
def result():
    rng = np.random.default_rng(0)
    scores, target = rng.standard_normal((100, 20)).astype("f4"), np.arange(100) % 20
    scores[np.arange(100), target] += 2
    return RetrievalResult(scores, target, pd.DataFrame(index=range(20)), pd.DataFrame(index=range(100)))


def test_plot_reliability_draws_table(result):
    ax = plot_reliability(result, n_bins=4, label="one")
    table = result.reliability(4)
    plot_reliability(result.select(np.arange(50)), n_bins=4, label="half", ax=ax)
    assert ax.get_legend_handles_labels()[1] == ["reliable", "one", "half"]
    np.testing.assert_allclose(ax.lines[1].get_xydata(), table[["probability", "accuracy"]])
    colors = [container.lines[0].get_color() for container in ax.containers]
    assert len(set(colors)) == 2
    plt.close(ax.figure)


def test_plot_risk_coverage_ends_at_accuracy(result):
    ax = plot_risk_coverage(result, k=3, label="all")
    plot_risk_coverage(result, confidence="margin", label="margin", ax=ax)
    assert ax.get_legend_handles_labels()[1] == ["chance", "all", "margin"]
    assert set(ax.lines[0].get_ydata()) == {3 / 20}
    curve = ax.lines[1].get_xydata()
    assert curve[0, 0] == 0.1
    assert curve[-1].tolist() == [1, result.top_k(3)]
    assert curve[0, 1] > curve[-1, 1]
    plt.close(ax.figure)
