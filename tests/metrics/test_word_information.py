"""Confusions and bits per word."""

import numpy as np
import pytest

from sk_b2s.metrics import log_loss_gain, mutual_information


@pytest.mark.parametrize(("n_words", "n"), [(4, 40), (30, 150)])
def test_information_of_noise_is_zero(n_words, n):
    """The uncorrected estimate of noise is up to most of the entropy."""
    rng = np.random.default_rng(0)
    p = 1 / np.arange(1, n_words + 1)
    draws = [rng.choice(n_words, (2, n), p=p / p.sum()) for _ in range(100)]
    found = [mutual_information(*draw) for draw in draws]
    bits = [one["mutual_information"] for one in found]
    assert abs(np.mean(bits)) < 4 * np.std(bits) / np.sqrt(len(bits))
    plug_in = np.mean([one["plug_in"] for one in found])
    assert plug_in > 4 * np.std(bits) / np.sqrt(len(bits))
    assert plug_in == pytest.approx(np.mean([one["bias"] for one in found]), rel=0.1)


def test_information_of_perfect_words_is_entropy():
    target = np.repeat(np.arange(8), 5)
    found = mutual_information(target, (target + 3) % 8)
    assert found["mutual_information"] == pytest.approx(3)
    assert found["bias"] > 0.5
    assert np.isnan(mutual_information(np.arange(9), np.arange(9))["mutual_information"]), "each word once"
    assert mutual_information(target, np.zeros(40))["mutual_information"] == pytest.approx(0)
    assert np.isnan(mutual_information([], [])["plug_in"])


def test_log_loss_gain_equals_kl_divergence():
    prior = np.array([0.7, 0.2, 0.1])
    logs = np.log(np.tile([0.5, 0.25, 0.25], (10, 1))) + 3.0  # not normalized
    target = np.repeat([0, 1, 2, -1], [7, 2, 1, 0])
    expected = prior @ np.log2(np.array([0.5, 0.25, 0.25]) / prior)
    assert log_loss_gain(logs, target, np.log(prior)) == pytest.approx(expected)
    assert expected < 0, "frequencies that are wrong lose bits"
    assert log_loss_gain(np.log(np.tile(prior, (10, 1))), target, np.log(prior)) == pytest.approx(0)
    sure = np.where(np.eye(3)[[0, 1, 2]], 0.0, -1e3)
    assert log_loss_gain(sure, [0, 1, 2], np.zeros(3)) == pytest.approx(np.log2(3))
    assert np.isnan(log_loss_gain(sure, [-1, -1, -1], np.zeros(3)))
