"""Figures of the functions of ``sk_b2s.plotting``."""

import numpy as np
from _figure_registry import draws

from sk_b2s import plotting


@draws("plot_alignment")
def draw_alignment(ax, results):
    plotting.plot_alignment(results.alignment, ax=ax)


@draws("plot_scores")
def draw_scores(ax, results):
    plotting.plot_scores(results.retrieved, ax=ax)


@draws("plot_subjects")
def draw_subjects(ax, results):
    plotting.plot_subjects(results.results, ax=ax)


@draws("plot_comparison", width=5.6)
def draw_comparison(ax, results):
    plotting.plot_comparison(results.results, ax=ax)


@draws("plot_controls", width=5.6, height=3.4)
def draw_controls(ax, results):
    plotting.plot_controls(results.results, ax=ax)


@draws("plot_curve")
def draw_curve(ax, results):
    plotting.plot_curve(results.curve, ax=ax)


@draws("plot_adaptation")
def draw_adaptation(ax, results):
    plotting.plot_adaptation(results.calibration, ax=ax)


@draws("plot_ranks")
def draw_ranks(ax, results):
    plotting.plot_ranks(results.retrieved["ridge"], ax=ax)


@draws("plot_rank_curve")
def draw_rank_curve(ax, results):
    for name, result in results.retrieved.items():
        plotting.plot_rank_curve(result, label=name, ax=ax)


@draws("plot_reliability", height=3.4)
def draw_reliability(ax, results):
    plotting.plot_reliability(results.retrieved["ridge"].scale_temperature(), ax=ax)


@draws("plot_risk_coverage")
def draw_risk_coverage(ax, results):
    plotting.plot_risk_coverage(results.retrieved["ridge"].scale_temperature(), ax=ax)


@draws("plot_similarity", height=4.4)
def draw_similarity(ax, results):
    plotting.plot_similarity(results.retrieved["ridge"], max_windows=14, ax=ax)


@draws("plot_guesses", height=4.4)
def draw_guesses(ax, results):
    plotting.plot_guesses(results.retrieved["ridge"].scale_temperature(), n_windows=8, ax=ax)


@draws("plot_words", height=4.0)
def draw_words(ax, results):
    plotting.plot_words(results.retrieved["ridge"], n_words=10, ax=ax)


@draws("plot_word_confusion", height=4.0)
def draw_word_confusion(ax, results):
    plotting.plot_word_confusion(results.words, n_words=10, ax=ax)


@draws("plot_keywords", height=3.4)
def draw_keywords(ax, results):
    plotting.plot_keywords(results.words, n_words=3, ax=ax)


@draws("plot_topography", height=3.4)
def draw_topography(ax, results):
    trf, positions = results.trf
    weights = trf.coef_.mean(0)[:, 0]
    lag = np.abs(weights).mean(1).argmax()
    plotting.plot_topography(weights[lag], positions, label="weight (a. u.)", ax=ax)
    ax.set_title(f"lag {trf.lags_[lag]:.2f} s")


@draws("plot_trf", height=3.2)
def draw_trf(ax, results):
    plotting.plot_trf(results.trf[0], unit="a. u.", ax=ax)


@draws("plot_trf_features", height=4.4, rows=2)
def draw_trf_features(axes, results):
    plotting.plot_trf_features(results.trf_of_sets, unit="a. u.", axes=axes)


@draws("plot_trf_joint", height=4.0, rows=0)
def draw_trf_joint(figure, results):
    plotting.plot_trf_joint(results.trf[0], lags=[0.08, 0.15], unit="a. u.", fig=figure)
    for line in [line for line in figure.axes[0].lines if line.get_alpha() == 0.5][1::2]:
        line.remove()  # half of the channels, for a small file


@draws("plot_attention", height=3.4)
def draw_attention(ax, results):
    plotting.plot_attention(*results.network, ax=ax)


@draws("plot_history")
def draw_history(ax, results):
    plotting.plot_history(results.network[0], ax=ax)
