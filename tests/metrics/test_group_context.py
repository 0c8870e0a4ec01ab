"""Tests of averages and context over groups of windows."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp

from sk_b2s.metrics._group_context import (
    average_context_groups,
    group_context_bias,
    make_sentence_context_groups,
)
from sk_b2s.metrics._ranking import ranks


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(params=[2**27, 1000], ids=["in one piece", "in many"])
def pieces(request, monkeypatch):
    monkeypatch.setattr("sk_b2s.metrics._group_context.CHUNK_BYTES", request.param)


def planted(rng, n_sentences=20, length=12, signal=2.0):
    """Make scores in which the target is slightly larger, and sentences."""
    n_windows = n_sentences * length
    scores = rng.normal(size=(n_windows, n_windows)).astype(np.float32)
    scores[np.arange(n_windows), np.arange(n_windows)] += signal
    return scores, np.arange(n_windows), np.repeat(np.arange(n_sentences), length)


def test_averages_equal_those_of_a_loop(rng):
    scores, groups = rng.normal(size=(50, 7)).astype(np.float32), np.r_[np.arange(9), rng.integers(0, 9, 41)]
    expected = [scores[groups == group].mean(0) for group in range(9)]
    means = average_context_groups(scores, groups)
    assert means.dtype == np.float32
    np.testing.assert_allclose(means, expected, rtol=1e-5, atol=1e-6)


def test_a_window_alone_is_its_own_average(rng):
    scores = rng.normal(size=(5, 7)).astype(np.float32)
    np.testing.assert_array_equal(average_context_groups(scores, np.arange(5)), scores)


def test_bias_equals_its_formula_written_as_loops(rng, pieces):
    scores = 3 * rng.normal(size=(30, 17))
    sentence, group = rng.permutation(np.arange(17) % 5), rng.integers(-1, 6, 30)
    expected = scores.copy()
    for i in range(30):
        others = [j for j in range(30) if group[j] == group[i] and j != i and group[i] >= 0]
        for c in range(17):
            of_sentence = np.flatnonzero(sentence == sentence[c])
            says = [
                logsumexp(scores[j, of_sentence])
                - np.log(len(of_sentence))
                - logsumexp(scores[j])
                + np.log(17)
                for j in others
            ]
            expected[i, c] += 1.5 * np.mean(says) if says else 0
    np.testing.assert_allclose(group_context_bias(scores, sentence, group, weight=1.5), expected, atol=1e-9)


def test_group_context_bias_without_evidence(rng):
    scores, _, sentence = planted(rng, 4, 5)
    np.testing.assert_array_equal(group_context_bias(scores, sentence, sentence, weight=0), scores)
    np.testing.assert_array_equal(group_context_bias(scores, sentence, np.full(20, -1)), scores)
    np.testing.assert_array_equal(group_context_bias(scores, sentence, np.arange(20)), scores)
    uneven = np.repeat([0, 1], [2, 18])
    np.testing.assert_allclose(group_context_bias(0 * scores, uneven, sentence), 0, atol=1e-6)


def test_group_context_bias_keeps_constants(rng):
    scores, _, sentence = planted(rng, 4, 5)
    scores = scores.astype(float)
    shift = rng.normal(size=(20, 1))
    biased = group_context_bias(scores + shift, sentence, sentence)
    np.testing.assert_allclose(biased, group_context_bias(scores, sentence, sentence) + shift, atol=1e-9)


def test_true_sentences_gain_and_random_groups_do_not(rng):
    scores, target, sentence = planted(rng)
    alone = (ranks(scores, target) < 10).mean()
    together = (ranks(group_context_bias(scores, sentence, sentence, weight=3), target) < 10).mean()
    assert together > alone + 0.05
    for _ in range(5):
        shuffled = rng.permutation(sentence)
        among_strangers = ranks(group_context_bias(scores, sentence, shuffled, weight=3), target)
        assert (among_strangers < 10).mean() < alone + 0.01


def test_noise_gains_nothing_from_true_sentences(rng):
    scores, target, sentence = planted(rng, signal=0)
    biased = [
        (ranks(group_context_bias(rng.permuted(scores, axis=1), sentence, sentence), target) < 24).mean()
        for _ in range(20)
    ]
    assert np.mean(biased) == pytest.approx(0.1, abs=4 * np.std(biased) / np.sqrt(20))


def test_a_sentence_played_again_is_another_group():
    onset = np.r_[np.arange(5.0), 5 + np.arange(5.0), 100 + np.arange(5.0)]
    rows = pd.DataFrame({
        "subject": "a", "recording": "r", "sequence": "s", "onset": onset, "duration": 3.0,
        "sound_onset": np.tile(np.arange(5.0), 3),
    })  # fmt: skip
    rows.loc[14, "sequence"] = None
    assert make_sentence_context_groups(rows).tolist() == [0] * 5 + [1] * 5 + [2] * 4 + [-1]
    mixed = rows.sample(frac=1, random_state=0).reset_index(drop=True)
    groups = pd.Series(make_sentence_context_groups(mixed), index=mixed["onset"]).sort_index()
    assert groups.tolist() == make_sentence_context_groups(rows).tolist(), "the order of rows does not matter"
    assert len(set(make_sentence_context_groups(rows.assign(subject=list("abcde") * 3)))) == 15
