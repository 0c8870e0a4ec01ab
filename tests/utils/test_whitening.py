"""Tests of whitening by eigenvectors."""

import numpy as np
import pytest
import torch

from sk_b2s._utils._whitening import find_whitening_axes


@pytest.mark.parametrize("make", [np.asarray, torch.tensor], ids=["numpy", "torch"])
def test_find_whitening_axes_decorrelates(make):
    signal = np.random.default_rng(0).normal(size=(50, 4)) @ np.diag([1.0, 2.0, 3.0, 0.0])
    covariance = make(signal.T @ signal / 50)
    axes, vectors = find_whitening_axes(covariance, 1e-9)
    assert axes.shape == vectors.shape == (4, 3)
    np.testing.assert_allclose(axes.T @ covariance @ axes, np.eye(3), atol=1e-12)
    assert find_whitening_axes(covariance, 1e-9, floor=1e12)[0].shape == (4, 0)


def test_find_whitening_axes_shrinks_variances():
    axes, _ = find_whitening_axes(np.diag([1.0, 3.0]), shrink=lambda values: values + 6)
    np.testing.assert_allclose(np.abs(axes), np.diag([7**-0.5, 9**-0.5]), atol=1e-12)
