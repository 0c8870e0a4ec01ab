"""Test principal components of speech features."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from sk_b2s import FeaturePCA, Windows
from sk_b2s.nn._prefetch import PrefetchedWindows


@pytest.fixture
def features():
    """Windows of five features of three sources."""
    rng = np.random.default_rng(1)
    signal = rng.standard_normal((900, 3)) * [5, 2, 1] @ rng.standard_normal((3, 5)) + 100 * np.arange(5)
    return Windows([signal], np.zeros(60), rng.integers(0, 870, 60), 30, 50.0, ch_names=list("abcde"))


@pytest.mark.parametrize("whiten", [True, False])
@pytest.mark.parametrize("n_components", [2, 0.9])
def test_feature_pca_equals_pca_of_frames(features, n_components, whiten, monkeypatch):
    monkeypatch.setattr("sk_b2s.preprocessing._scalers.BATCH_VALUES", 7 * 5 * 30)
    array = np.asarray(features, float)
    frames = array.transpose(0, 2, 1).reshape(-1, 5)
    expected = PCA(n_components, svd_solver="full").fit(frames)
    pca = FeaturePCA(n_components, whiten).fit(features)
    assert pca.components_.shape == expected.components_.shape
    signs = np.sign((pca.components_ * expected.components_).sum(1))
    np.testing.assert_allclose(pca.components_, signs[:, None] * expected.components_, atol=1e-5)
    np.testing.assert_allclose(pca.explained_variance_ratio_, expected.explained_variance_ratio_, rtol=1e-4)
    windows = pca.transform(features)
    assert windows.shape == (60, len(signs), 30)
    assert windows.gather([3], out=windows.empty(1)).shape == windows[3:4].shape
    reduced = signs[:, None] * expected.transform(frames).reshape(60, 30, -1).transpose(0, 2, 1)
    if whiten:
        reduced /= np.sqrt(pca.explained_variance_)[:, None]
    np.testing.assert_allclose(np.asarray(windows), reduced, atol=2e-3)
    np.testing.assert_allclose(
        FeaturePCA(n_components, whiten).fit(array).transform(array), reduced, atol=2e-3
    )
    np.testing.assert_array_equal(PrefetchedWindows(windows, "cpu").gather(), windows.gather())


def test_feature_pca_finds_number_of_sources(features):
    assert len(FeaturePCA(1 - 1e-9).fit(features).components_) == 3
    vectors = np.random.default_rng(0).standard_normal((9, 4))
    assert FeaturePCA(2).fit_transform(vectors).shape == (9, 2)


def test_feature_pca_rejects_bad_input(features):
    with pytest.raises(ValueError, match="n_components=6 must not be larger than .* Got 5 features"):
        FeaturePCA(6).fit(features)
    signal = np.full((90, 2), np.nan, np.float32)
    with pytest.raises(ValueError, match="FeaturePCA requires finite values"):
        FeaturePCA(1).fit(Windows([signal], [0, 0], [0, 9], 30, 50.0))
