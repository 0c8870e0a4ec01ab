"""Tests of averages and context over groups of windows."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp

from sk_b2s.metrics._group_context import (
    average_agreeing_groups,
    average_context_groups,
    causal_context_bias,
    group_context_bias,
    make_sentence_context_groups,
)
from sk_b2s.metrics._ranks_and_top_k import ranks


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


# --- causal ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_before", [0, 2])
def test_causal_bias_equals_its_formula(rng, pieces, n_before):
    n, n_candidates, n_sentences = 40, 17, 5
    scores = 3 * rng.normal(size=(n, n_candidates))
    sentence = rng.permutation(np.arange(n_candidates) % n_sentences)
    recording, onset = np.repeat(["b", "a"], 20), rng.permutation(n) / 3
    group = np.r_[rng.integers(-1, 4, 20), rng.integers(4, 8, 20)]
    order = np.array([3, -1, 1, 0, 2])  # sentence before each
    first = {g: onset[group == g].min() for g in set(group) - {-1}}

    def before(g, step):
        for _ in range(step):
            own = sorted((h for h in first if (h < 4) == (g < 4)), key=first.get)
            place = own.index(g)
            if place == 0:
                return None
            g = own[place - 1]
        return g

    expected = scores.copy()
    for i in range(n):
        for c in range(n_candidates):
            total, count, g_n = 0.0, 0.0, sentence[c]
            for step in range(n_before + 1):
                g_n = g_n if step == 0 or g_n < 0 else order[g_n]
                for j in range(n):
                    if group[i] < 0 or group[j] != before(group[i], step) or onset[j] >= onset[i]:
                        continue
                    d = np.exp(-0.2 * (onset[i] - onset[j]))
                    count += d
                    if g_n >= 0:
                        own = np.flatnonzero(sentence == g_n)
                        total += d * (logsumexp(scores[j, own]) - np.log(len(own)) - logsumexp(scores[j])
                                      + np.log(n_candidates))  # fmt: skip
            expected[i, c] += 1.5 * total / max(1, count)
    found = causal_context_bias(scores, sentence, group, onset, recording, 1.5, 0.2, n_before, order)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_causal_bias_by_hand():
    """Two sentences of one candidate each, and evidence log 2 - log 1.5."""
    scores = np.log([[2.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    bias = np.log([2 / 1.5, 1 / 1.5])
    found = causal_context_bias(scores, [0, 1], [0, 0, 0], [0.0, 1.0, 5.0], ["r"] * 3, decay=np.log(2))
    np.testing.assert_allclose(found[0], scores[0], err_msg="nothing precedes the first window")
    np.testing.assert_allclose(found[1], bias / 2)
    np.testing.assert_allclose(found[2], bias / 32, err_msg="the second window has no preference")


def test_causal_bias_ignores_later_windows(rng):
    scores, _, sentence = planted(rng, 4, 6)
    onset, recording = np.arange(24.0), np.zeros(24)
    found = causal_context_bias(scores, sentence, sentence, onset, recording)
    changed = scores.copy()
    changed[10:] = rng.normal(size=(14, 24))
    again = causal_context_bias(changed, sentence, sentence, onset, recording)
    np.testing.assert_array_equal(again[:10], found[:10])
    assert found.dtype == scores.dtype


@pytest.mark.parametrize("n_before", [0, 4])
def test_causal_gain_vanishes_for_random_groups(rng, n_before):
    scores, target, sentence = planted(rng)
    onset, recording = np.arange(240.0), np.zeros(240)
    before = np.arange(-1, 19)

    def score(group, weight=3):
        biased = causal_context_bias(scores, sentence, group, onset, recording, weight, 0.1, n_before, before)
        return (ranks(biased, target) < 10).mean()

    alone = score(sentence, 0)
    assert alone == (ranks(scores, target) < 10).mean()
    assert score(sentence) > alone + 0.05
    shuffled = [score(rng.permutation(sentence)) for _ in range(5)]
    assert np.mean(shuffled) < alone + 0.01


def test_causal_bias_rejects_wrong_parameters(rng):
    scores, _, sentence = planted(rng, 2, 3)
    arguments = scores, sentence, sentence, np.arange(6.0), np.zeros(6)
    with pytest.raises(ValueError, match="n_before=2 requires sentence_before"):
        causal_context_bias(*arguments, n_before=2)
    with pytest.raises(ValueError, match="decay must be at least 0 per second. Got -1"):
        causal_context_bias(*arguments, decay=-1)


# --- agreement ---------------------------------------------------------------------------------------


def test_agreeing_average_by_hand():
    """Rows of +-1 are standardized. The third disagrees with the first."""
    scores = np.array([[1, 1, -1, -1], [3, 3, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1]], "f4")
    found = average_agreeing_groups(scores, [0, 0, 1, 1], alpha=2)
    np.testing.assert_allclose(found[0], 3 * scores[0], err_msg="they agree: r is 1")
    r = np.sqrt(0.5)  # of the mean (1, 0, 0, -1)
    np.testing.assert_allclose(found[1], np.array([1, 0, 0, -1]) / r * (1 + 2 * r))
    np.testing.assert_array_equal(average_agreeing_groups(0 * scores, [0, 0, 1, 1], 2), np.zeros((2, 4)))


def test_agreement_of_unrelated_rows(rng):
    scores = rng.normal(size=(4, 20000))
    length = average_agreeing_groups(scores, [0] * 4, alpha=1).std()
    assert length == pytest.approx(1 + 1 / np.sqrt(4), abs=0.01)
