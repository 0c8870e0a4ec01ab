"""Tests of correlations of reconstructed features."""

import numpy as np
import pytest
from scipy.stats import pearsonr

from sk_b2s.metrics import overlap_add, reconstruction_correlation
from sk_b2s.metrics._reconstruction import correlate_reconstruction_shifts


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_correlation_equals_scipy():
    estimate, target = draw(2, 3, 20), draw(2, 3, 20, seed=1)
    pooled, windows = (reconstruction_correlation(estimate, target, per_window=one) for one in (False, True))
    for band in range(3):
        r = pearsonr(estimate[:, band].ravel(), target[:, band].ravel()).statistic
        assert pooled[band] == pytest.approx(r)
        assert windows[1, band] == pytest.approx(pearsonr(estimate[1, band], target[1, band]).statistic)
    assert reconstruction_correlation(estimate[0, 0], target[0, 0]) == pytest.approx(windows[0, 0])


def test_correlation_ignores_scale_and_offset():
    target = draw(2, 50)
    found = reconstruction_correlation(np.array([[3.0], [-2.0]]) * target + 100, target)
    np.testing.assert_allclose(found, [1, -1])


def test_correlation_of_constants_by_rule():
    noise, constant = draw(1, 30), np.full((1, 30), 0.1, np.float32)
    assert reconstruction_correlation(constant, noise) == 0  # no information
    assert np.isnan(reconstruction_correlation(noise, constant))  # nothing to reconstruct
    np.testing.assert_array_equal(correlate_reconstruction_shifts(constant, noise), np.zeros((1, 30)))
    assert np.isnan(correlate_reconstruction_shifts(noise, constant)).all()


def test_correlation_weights_repeat_frames():
    estimate, target, count = draw(2, 6), draw(2, 6, seed=1), np.array([1, 2, 0, 1, 3, 1])
    estimate[:, 2] = np.nan
    repeated = [np.repeat(data, count, axis=1) for data in (estimate, target)]
    found = reconstruction_correlation(estimate, target, weights=count)
    np.testing.assert_allclose(found, reconstruction_correlation(*repeated))
    with pytest.raises(ValueError, match="estimate has 2 values that are NaN"):
        reconstruction_correlation(estimate, target)


@pytest.mark.parametrize(
    ("estimate", "kwargs", "match"),
    [
        (np.zeros((2, 3)), {}, "same shape"),
        (np.zeros((2, 4)), {"per_window": True}, "per_window=True requires"),
        (np.zeros((2, 4)), {"weights": np.ones(3)}, "weights must have the shape"),
        (np.zeros((2, 4)), {"weights": np.zeros(4)}, "one must be above 0"),
    ],
    ids=["shape", "one window", "weights", "no weight"],
)  # fmt: skip
def test_correlation_names_bad_input(estimate, kwargs, match):
    with pytest.raises(ValueError, match=match):
        reconstruction_correlation(estimate, np.ones((2, 4)), **kwargs)


def test_overlap_add_restores_signal():
    signal, start = draw(3, 40), np.array([10, 0, 5, 25])  # frames 20 to 24 have no window
    windows = np.stack([signal[:, at : at + 10] for at in start])
    found, coverage = overlap_add(windows, start + 1000)
    np.testing.assert_array_equal(coverage, np.repeat([1, 2, 2, 1, 0, 1], [5, 5, 5, 5, 5, 10]))
    covered = coverage > 0
    np.testing.assert_allclose(found[:, covered], signal[:, :35][:, covered])
    assert np.isnan(found[:, ~covered]).all()
    with pytest.raises(ValueError, match="one integer per window"):
        overlap_add(windows, start / 2)


def test_correlate_all_shifts_equals_rolled_target():
    estimate, target = draw(2, 17), draw(2, 17, seed=1)
    found = correlate_reconstruction_shifts(estimate, target)
    for shift in range(17):
        expected = reconstruction_correlation(estimate, np.roll(target, shift, axis=1))
        np.testing.assert_allclose(found[:, shift], expected, atol=1e-12)
