"""Tests of temperatures, reliability and abstention."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from sk_b2s.metrics import fit_temperature, reliability_curve, risk_coverage_curve
from sk_b2s.metrics._confidence import compute_confidence_of_best


def drawn(temperature, n=3000, n_candidates=20, seed=0):
    """Scores whose softmax at this temperature is the truth."""
    rng = np.random.default_rng(seed)
    scores = 2 * rng.standard_normal((n, n_candidates))
    proba = softmax(scores, 1)
    target = (proba.cumsum(1) > rng.random((n, 1))).argmax(1)
    return (scores * temperature).astype("f4"), target


@pytest.mark.parametrize("temperature", [0.01, 1, 300])
def test_fit_temperature_recovers_truth(temperature):
    scores, target = drawn(temperature)
    found = fit_temperature(scores, target)
    assert found == pytest.approx(temperature, rel=0.08)
    loss = [
        -log_softmax(scores / (found * factor), 1)[np.arange(len(target)), target].mean()
        for factor in (0.9, 1, 1.1)
    ]
    assert loss[1] < min(loss[0], loss[2])


def test_fit_temperature_in_pieces(monkeypatch):
    scores, target = drawn(1, n=100)
    whole = fit_temperature(scores, target)
    monkeypatch.setattr("sk_b2s.metrics._confidence.CHUNK_BYTES", 1000)
    assert fit_temperature(scores, target) == pytest.approx(whole, rel=1e-4)


def test_fit_temperature_without_information():
    scores, target = drawn(1)
    assert fit_temperature(-scores, target) > 900 * scores.std(), "flat, since the best candidate is wrong"
    with pytest.raises(ValueError, match="finite scores that differ between candidates"):
        fit_temperature(np.zeros((3, 4)), [0, 1, 2])


def test_reliability_of_true_probabilities():
    scores, target = drawn(1)
    best = compute_confidence_of_best(scores)
    np.testing.assert_allclose(best, softmax(scores, 1).max(1), rtol=1e-4)
    probability, accuracy, n_windows = reliability_curve(best, scores.argmax(1) == target, n_bins=6)
    assert (n_windows == 500).all()
    np.testing.assert_allclose(accuracy, probability, atol=4 * np.sqrt(0.25 / 500))
    assert accuracy[-1] > accuracy[0] + 0.3
    with pytest.raises(ValueError, match="one entry per window"):
        reliability_curve([0.1], [True, False])


def test_risk_coverage_by_hand():
    coverage, accuracy, threshold = risk_coverage_curve([3, 1, 2, 2, 0], [True, False, True, False, True])
    np.testing.assert_allclose(coverage, [0.2, 0.6, 0.8, 1])
    np.testing.assert_allclose(accuracy, [1, 2 / 3, 1 / 2, 3 / 5])
    assert threshold.tolist() == [3, 2, 1, 0]


def test_confidence_is_probability_or_margin():
    scores = np.log([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    np.testing.assert_allclose(compute_confidence_of_best(scores), [0.5, 0.6])
    np.testing.assert_allclose(compute_confidence_of_best(scores, "margin"), np.log([5 / 3, 3]))
    with pytest.raises(ValueError, match="'probability' or 'margin'. Got 'entropy'"):
        compute_confidence_of_best(scores, "entropy")
