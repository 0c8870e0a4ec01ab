"""Tests of the confidence of seconds."""

import numpy as np
import pytest

from sk_b2s.synthesis import compute_confidence


@pytest.fixture
def target():
    return np.random.default_rng(0).standard_normal((2000, 4))


def test_compute_confidence_finds_true_seconds(target):
    noise = np.random.default_rng(1).standard_normal(target.shape)
    estimate = np.r_[target[:1000] + 2 * noise[:1000], noise[1000:]]
    confidence, margin = compute_confidence(estimate, target, 10)
    assert confidence.shape == (200,)
    assert (confidence[:95] >= 0.95).mean() > 0.9
    assert (confidence[105:] >= 0.95).mean() < 0.2
    assert margin[:95].mean() > 3


def test_compute_confidence_is_uniform_for_noise(target):
    shares = [
        (
            compute_confidence(np.random.default_rng(seed).standard_normal(target.shape), target, 10)[0]
            >= 0.95
        ).mean()
        for seed in range(2, 12)
    ]
    assert 0.01 < np.mean(shares) < 0.09


def test_compute_confidence_of_constant_is_low(target):
    confidence, margin = compute_confidence(np.ones_like(target), target, 10)
    assert (confidence == 0).all()
    assert (margin == 0).all()


@pytest.mark.parametrize(("change", "match"), [
    (lambda x: x[:20], "three pieces"), (lambda x: x[:40], "circular shift"), (lambda x: x * np.nan, "finite"),
])  # fmt: skip
def test_compute_confidence_checks_input(target, change, match):
    with pytest.raises(ValueError, match=match):
        compute_confidence(change(target), change(target), 10, least_shift=3)


def test_context_is_centered_in_short_recordings():
    random = np.random.default_rng(0)
    target = random.standard_normal((60, 4))
    estimate = target + 3 * random.standard_normal((60, 4))
    for context in (5, 7, 9):
        _, margin = compute_confidence(estimate, target, 10, context=context)
        _, reverse = compute_confidence(estimate[::-1], target[::-1], 10, context=context)
        np.testing.assert_allclose(margin, reverse[::-1])
