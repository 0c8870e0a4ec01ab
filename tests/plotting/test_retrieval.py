"""Figures of retrieval results show ranks, similarities and words."""

import matplotlib
import numpy as np
import pytest
from helpers.score_tables import make_retrieval_result

from sk_b2s.plotting import plot_ranks, plot_similarity
from sk_b2s.plotting._retrieval import bin_retrieval_ranks, find_longest_retrieval_sentence


@pytest.mark.parametrize(("n_candidates", "bins"), [(30, 20), (7, 20), (100, 10)])
def test_bin_retrieval_ranks_returns_shares(n_candidates, bins):
    ranks = np.random.default_rng(0).integers(0, n_candidates, 200)
    edges, share, chance = bin_retrieval_ranks(ranks, n_candidates, bins)
    assert share.sum() == pytest.approx(1)
    assert chance.sum() == pytest.approx(1)
    for i in range(len(share)):
        assert share[i] == pytest.approx(np.mean((ranks >= edges[i]) & (ranks < edges[i + 1])))
    every = bin_retrieval_ranks(np.arange(n_candidates), n_candidates, bins)
    np.testing.assert_allclose(every[1], every[2])  # all ranks equally often is chance


def test_plot_ranks_shows_shares_and_chance():
    result = make_retrieval_result()
    ax = plot_ranks(result, bins=10)
    _, share, chance = bin_retrieval_ranks(result.ranks, result.n_candidates, 10)
    bars = [patch for patch in ax.patches if isinstance(patch, matplotlib.patches.Rectangle)]
    np.testing.assert_allclose([bar.get_height() for bar in bars], share)
    np.testing.assert_allclose(next(p for p in ax.patches if p not in bars).get_data().values, chance)


def test_plot_similarity_shows_sentence_in_order():
    result = make_retrieval_result(gain=20.0)
    rows, columns = find_longest_retrieval_sentence(result)
    assert result.rows.iloc[rows]["subject"].nunique() == 1
    assert result.rows.iloc[rows]["sequence"].nunique() == 1
    np.testing.assert_array_equal(columns, result.target[rows])
    ax = plot_similarity(result)
    part = result.scores[rows]
    part = (part - part.mean(1, keepdims=True)) / part.std(1, keepdims=True)
    np.testing.assert_allclose(ax.images[0].get_array(), part[:, columns], atol=1e-5)
    assert ax.get_title() == "a: 6 of 6 correct, 1.0 by chance"
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [f"w{i}" for i in range(6)]
    with pytest.raises(ValueError, match="two distinct segments"):
        plot_similarity(result, rows=[0])
