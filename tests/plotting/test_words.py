"""Tests of the figures of word decoding."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.score_tables import make_retrieval_result
from helpers.words import make_word_retrieval

from sk_b2s.plotting import plot_keywords, plot_word_confusion, plot_words
from sk_b2s.plotting._words import compute_plotted_word_confusions


@pytest.fixture(scope="module")
def words():
    """Return words that are partly decoded."""
    return make_word_retrieval(3.0).to_words()


def test_plot_word_confusion_draws_frequent_words(words):
    ax = plot_word_confusion(words, n_words=5)
    whole = words.confusion()
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert len(names) == 5
    np.testing.assert_allclose(ax.images[0].get_array(), whole.loc[names, names])
    balanced = 100 * np.diag(whole).mean()
    assert f"balanced accuracy {balanced:.1f} % (chance 8.3 %, timing alone" in ax.get_title().replace(
        "\n", " "
    )
    timed = plot_word_confusion(words, n_words=None, source="timing")
    assert timed.images[0].get_array().shape == (12, 12)
    assert "timing alone: balanced accuracy" in timed.get_title().replace("\n", " ")
    blind = replace(words, rows=words.rows.drop(columns="onset"))
    assert "timing" not in plot_word_confusion(blind).get_title()


def test_plot_keywords_draws_curves_and_prevalence(words):
    ax = plot_keywords(words, ["w1", "w4"])
    table = words.spot_keywords(["w1", "w4"])
    assert len(ax.lines) == 2 * 3
    assert ax.lines[2].get_ydata()[0] == pytest.approx(table.loc["w1", "prevalence"])
    labels = ax.get_legend_handles_labels()[1]
    assert labels[0].startswith(f"w1: {table.loc['w1', 'auprc']:.2f}, chance")
    assert f"timing {table.loc['w4', 'timing_auprc']:.2f}" in labels[1]
    assert len(plot_keywords(make_word_retrieval(), n_words=3, timing=False).lines) == 3 * 2
    with pytest.raises(ValueError, match="not in it"):
        plot_keywords(words, "absent")
    unspoken = replace(words, target=np.where(words.target == 1, -1, words.target))
    with pytest.raises(ValueError, match="no window was presented"):
        plot_keywords(unspoken, words.vocabulary.words[1])


def test_compute_plotted_word_confusions_has_chance_1():
    flat = make_retrieval_result(gain=0.0)
    flat = replace(flat, scores=np.zeros_like(flat.scores))
    np.testing.assert_allclose(compute_plotted_word_confusions(flat), 1)
    sure = compute_plotted_word_confusions(make_retrieval_result(gain=30.0), n_words=4)
    assert sure.shape == (4, 4)
    np.testing.assert_allclose(np.diag(sure), 6, rtol=1e-3)  # certain, of six words that are equally frequent
    ax = plot_words(make_retrieval_result(), n_words=4)
    np.testing.assert_allclose(
        ax.images[0].get_array(), compute_plotted_word_confusions(make_retrieval_result(), n_words=4)
    )
    wordless = replace(flat, candidates=flat.candidates.drop(columns="word"))
    with pytest.raises(ValueError, match="two words"):
        compute_plotted_word_confusions(wordless)
