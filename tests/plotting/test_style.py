"""Legends and labels of figures: long names fit."""

import pytest
from helpers.score_tables import add_details, make_curve, make_retrieval_result, make_score_table

from sk_b2s.plotting import (
    plot_controls,
    plot_curve,
    plot_rank_curve,
    plot_reliability,
    plot_scores,
    plot_subjects,
)

LONG = (
    "clip decoder with wav2vec 2.0 layers, 60 s calibration",
    "ridge_regression_of_the_envelope_and_onsets_of_speech",
)


def draw_reliability(name, ax=None):
    return plot_reliability(make_retrieval_result(), label=name, ax=ax)


@pytest.mark.parametrize("draw", [
    lambda: plot_scores(make_score_table(LONG)), lambda: plot_subjects(make_score_table(LONG)),
    lambda: plot_controls(make_score_table(LONG)), lambda: plot_rank_curve(add_details(make_score_table(LONG))),
    lambda: draw_reliability(LONG[1], draw_reliability(LONG[0])),
    lambda: plot_curve(make_curve("value", [0.0, 0.1]), label=LONG[0]),
], ids=["scores", "subjects", "controls", "rank curve", "reliability", "curve"])  # fmt: skip
def test_legend_of_long_names_fits(draw):
    ax = draw()
    ax.figure.canvas.draw()
    legend, inside = ax.get_legend().get_window_extent(), ax.figure.bbox
    assert legend.x0 >= inside.x0 - 1
    assert legend.x1 <= inside.x1 + 1
    assert legend.y0 >= inside.y0 - 1
    assert legend.y1 <= ax.xaxis.get_tightbbox().y0 + 1, "below the labels of the axis"
    assert ax.bbox.height > 0.3 * inside.height
