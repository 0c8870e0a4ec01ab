"""Test covariance alignment and its Riemannian geometry."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import expm, inv, logm, sqrtm

from sk_b2s import CovarianceAlignment, Windows
from sk_b2s.preprocessing._covariance_alignment import (
    compute_covariance_alignment_whitener,
    compute_covariance_distance,
    compute_mean_covariance,
)

MEANS = ["euclidean", "riemannian"]


def recordings(n_recordings=3, n_channels=5, n_times=4000, length=50, seed=0):
    """Make recordings with different mixtures of the same kind of sources."""
    rng = np.random.default_rng(seed)
    signals = [
        (rng.standard_normal((n_times, n_channels)) @ rng.standard_normal((n_channels, n_channels))).astype(
            "f4"
        )
        for _ in range(n_recordings)
    ]
    starts = np.arange(0, n_times - length + 1, length)
    which = np.repeat(np.arange(n_recordings), len(starts))
    rows = pd.DataFrame({"subject": which.astype(str), "recording": which.astype(str)})
    return Windows(signals, which, np.tile(starts, n_recordings), length, 100, rows=rows)


def covariance(batch):
    flat = np.moveaxis(np.asarray(batch), 1, 0).reshape(batch.shape[1], -1)
    return np.cov(flat, bias=True)


def test_transform_whitens_each_recording():
    X = recordings()
    white = CovarianceAlignment(shrinkage=0).fit_transform(X)
    for index in range(3):
        mine = white[np.flatnonzero(X.which == index)].gather()
        np.testing.assert_allclose(covariance(mine), np.eye(5), atol=1e-3)


@pytest.mark.parametrize("mean", MEANS)
def test_transform_does_not_depend_on_other_rows(mean):
    X = recordings()
    step = CovarianceAlignment(mean).fit(X[:5])
    rows = np.array([3, 90, 170])
    np.testing.assert_allclose(
        step.transform(X[rows]).gather(), step.transform(X).gather(rows), rtol=1e-5, atol=1e-5
    )
    again = pickle.loads(pickle.dumps(step.transform(X)))
    np.testing.assert_array_equal(again.gather(rows), step.transform(X).gather(rows))


def test_whitener_inverts_mixing_up_to_a_rotation():
    """With K = (M C Mᵀ)^-1/2 the product K M C^1/2 is orthogonal for all M."""
    rng = np.random.default_rng(0)
    mixing, root = rng.standard_normal((2, 6, 6))
    c = root @ root.T
    rotation = compute_covariance_alignment_whitener(mixing @ c @ mixing.T, 0) @ mixing @ sqrtm(c).real
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(6), atol=1e-8)


def test_riemannian_mean_has_zero_mean_logarithm():
    rng = np.random.default_rng(0)
    roots = rng.standard_normal((7, 4, 9))
    covariances = roots @ roots.transpose(0, 2, 1)
    center = compute_mean_covariance(covariances, "riemannian")
    inverse = inv(sqrtm(center).real)
    tangent = sum(logm(inverse @ c @ inverse).real for c in covariances)
    np.testing.assert_allclose(tangent, 0, atol=1e-7)
    mixing = rng.standard_normal((4, 4))
    mixed = compute_mean_covariance(mixing @ covariances @ mixing.T, "riemannian")
    np.testing.assert_allclose(mixed, mixing @ center @ mixing.T, rtol=1e-6)  # affine invariance


def test_riemannian_mean_of_diagonal_matrices():
    values = np.array([[1.0, 4.0], [4.0, 16.0]])
    center = compute_mean_covariance(np.stack([np.diag(v) for v in values]), "riemannian")
    np.testing.assert_allclose(center, np.diag([2.0, 8.0]), rtol=1e-8)
    np.testing.assert_allclose(expm(np.log(values).mean(0) * np.eye(2)), center, rtol=1e-8)


@pytest.mark.parametrize("mean", MEANS)
def test_transform_keeps_removed_directions_at_zero(mean):
    X = recordings(n_recordings=2)
    signals = [signal - signal.mean(1, keepdims=True) for signal in X.signals]
    signals[1][:, 2] = 0  # a bad channel, masked
    X = Windows(signals, X.which, X.start, 50, 100)
    white = CovarianceAlignment(mean).fit_transform(X)
    first, second = (np.asarray(white[np.flatnonzero(X.which == i)].gather()) for i in range(2))
    np.testing.assert_allclose(first.mean(1), 0, atol=1e-4)
    np.testing.assert_allclose(second[:, 2], 0, atol=1e-10)
    assert 0.5 < first.std() < 1.5


@pytest.mark.parametrize("shrinkage", [0.0, 0.3, 1.0])
def test_whitener_shrinks_variances(shrinkage):
    matrix = compute_covariance_alignment_whitener(np.diag([9.0, 1.0]), shrinkage)
    after = matrix @ np.diag([9.0, 1.0]) @ matrix
    expected = np.array([9.0, 1.0]) / ((1 - shrinkage) * np.array([9.0, 1.0]) + shrinkage * 5)
    np.testing.assert_allclose(np.diag(after), expected)


def test_array_is_one_recording():
    X = recordings(n_recordings=1)
    array = X.gather().numpy()
    step = CovarianceAlignment().fit(array)
    np.testing.assert_allclose(
        step.transform(array), CovarianceAlignment().fit_transform(X).gather(), rtol=1e-3, atol=1e-3
    )


def test_riemannian_mean_is_robust_to_an_artifact():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 3, 200))
    clean = compute_covariance_alignment_whitener(compute_mean_covariance(X @ X.transpose(0, 2, 1) / 200), 0)
    X[0, 0] *= 100
    covariances = X @ X.transpose(0, 2, 1) / 200
    change = {
        mean: abs(
            compute_covariance_alignment_whitener(compute_mean_covariance(covariances, mean), 0) - clean
        ).max()
        for mean in MEANS
    }
    assert change["riemannian"] < 0.3 * change["euclidean"]


def test_covariance_alignment_checks_input():
    X = recordings()
    with pytest.raises(ValueError, match="5 features, but CovarianceAlignment is expecting 4"):
        CovarianceAlignment().fit(recordings(n_channels=4).gather().numpy()).transform(X.gather().numpy())
    with pytest.raises(ValueError, match="Call fit with an array"):
        CovarianceAlignment().fit(X).transform(X.gather().numpy())
    with pytest.raises(ValueError, match="'mean' parameter of CovarianceAlignment"):
        CovarianceAlignment("median").fit(X)


def test_transform_accepts_other_channels():
    X = recordings(n_channels=7)
    white = CovarianceAlignment(shrinkage=0).fit(recordings(n_channels=4)).transform(X)
    np.testing.assert_allclose(covariance(white[np.flatnonzero(X.which == 1)].gather()), np.eye(7), atol=1e-3)


def test_fit_removes_the_matrix_of_an_earlier_fit():
    X = recordings()
    step = CovarianceAlignment().fit(X.gather().numpy()).fit(X)
    with pytest.raises(ValueError, match="Call fit with an array"):
        step.transform(X.gather().numpy())


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("mean", MEANS)
def test_transform_names_recording_with_nan(mean, value):
    X = recordings()
    X.signals[1][70, [2, 4]] = value
    step = CovarianceAlignment(mean).fit(X)
    with pytest.raises(
        ValueError, match=r"recording '1' has NaN .* in 2 of 5 channels: 2, 4\. .*Set a bad channel"
    ):
        step.transform(X)
    others = X[np.flatnonzero(X.which != 1)]
    assert np.isfinite(np.asarray(step.transform(others))).all()
    named = Windows(X.signals, X.which, X.start, 50, 100, ch_names="ABCDE")
    with pytest.raises(ValueError, match=r"recording 1 has NaN .*channels: C, E\."):
        step.transform(named)


def test_means_and_whitener_reject_nan():
    covariance = np.eye(4)
    covariance[1, 1] = np.nan
    for function in (
        compute_covariance_alignment_whitener,
        lambda c: compute_mean_covariance(np.stack([np.eye(4), c]), "riemannian"),
    ):
        with pytest.raises(ValueError, match="covariance has NaN .* channels with index 1"):
            function(covariance)


def test_geometry_equals_pyriemann():
    pytest.importorskip("pyriemann")
    try:
        from pyriemann.geometry.distance import distance_riemann
        from pyriemann.geometry.mean import mean_riemann
    except ImportError:
        from pyriemann.utils.distance import distance_riemann
        from pyriemann.utils.mean import mean_riemann
    roots = np.random.default_rng(0).standard_normal((6, 4, 9))
    covariances = roots @ roots.transpose(0, 2, 1)
    expected = mean_riemann(covariances, tol=1e-9)
    np.testing.assert_allclose(compute_mean_covariance(covariances, "riemannian"), expected, rtol=1e-7)
    a, b = covariances[:2]
    assert compute_covariance_distance(a, b, shrinkage=0) == pytest.approx(distance_riemann(a, b))
