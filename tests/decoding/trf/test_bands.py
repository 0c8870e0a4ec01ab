"""Tests of separate regularization of feature sets."""

import warnings

import numpy as np
import pytest
from helpers.trf import simulate_group, simulate_two_sets
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    FeatureScaler,
    ForwardTRF,
    PrecomputedFeatures,
    SpeechFeatureUnion,
    Windows,
    load,
    save,
)
from sk_b2s.decoding._ridge_solver import iter_ridge_path
from sk_b2s.decoding._trf._bands import sample_band_ratios

LAGS = {"lags": (0.0, 0.3), "sfreq": 10.0}


def test_ridge_path_equals_explicit_penalties():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 4)), rng.standard_normal((50, 2))
    cov_xx, cov_xy, penalty = x.T @ x / 50, x.T @ y / 50, np.array([1.0, 10.0, 0.1, 1e3])
    scale = np.trace(cov_xx) / 4
    for alpha, coef in zip((0.1, 2.0), iter_ridge_path(cov_xx, cov_xy, (0.1, 2.0), penalty), strict=True):
        expected = np.linalg.solve(cov_xx + alpha * scale * np.diag(penalty), cov_xy)
        np.testing.assert_allclose(coef, expected, rtol=1e-9)


def test_forward_trf_equal_bands_equal_one_parameter():
    eeg, speech = simulate_two_sets()
    plain = ForwardTRF(alphas=(0.1,), **LAGS).fit(eeg, speech)
    for alphas, n_ratios in [((0.1,), 1), (((0.1, 0.1),), 20)]:
        trf = ForwardTRF(alphas=alphas, bands=[1, 8], n_ratios=n_ratios, **LAGS).fit(eeg, speech)
        np.testing.assert_allclose(trf.coef_, plain.coef_, atol=1e-6)
        np.testing.assert_allclose(trf.band_alphas_, [[0.1, 0.1]])
    grid = ForwardTRF(alphas=(0.01, 0.1, 1.0), bands=[1, 8], n_ratios=1, **LAGS).fit(eeg, speech)
    one = ForwardTRF(alphas=(0.01, 0.1, 1.0), **LAGS).fit(eeg, speech)
    np.testing.assert_allclose(grid.cv_scores_, one.cv_scores_, atol=1e-9)


@pytest.mark.parametrize("seed", [100, 101, 102])
def test_forward_trf_bands_ignore_noise_features(seed):
    eeg, speech = simulate_two_sets(n_noise=30, seed=seed)
    train, test = slice(0, 30), slice(30, None)
    models = (ForwardTRF(**LAGS), ForwardTRF(bands={"true": 1, "noise": 30}, **LAGS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the best alpha is beyond the ends
        plain, banded = (trf.fit(eeg[train], speech[train]) for trf in models)
    r = [trf.score(eeg[test], speech[test]) for trf in (plain, banded)]
    assert r[1] > r[0] + 0.02
    assert banded.band_alphas_[0, 1] > 5 * banded.band_alphas_[0, 0]
    assert banded.cv_scores_.shape == (1, len(banded.alphas))
    assert banded.feature_sets_ == {"true": (0, 1), "noise": (1, 31)}


def test_forward_trf_bands_equal_mtrfpy():
    mtrf = pytest.importorskip("mtrf", reason="mTRFpy is not installed")
    rng = np.random.default_rng(0)
    stimuli = [rng.standard_normal((400, 3)) for _ in range(3)]
    responses = [np.roll(s[:, :2], 3, axis=0) + rng.standard_normal((400, 2)) for s in stimuli]
    joined = np.concatenate(stimuli)
    centered = [stimulus - joined.mean(0) for stimulus in stimuli]
    other = mtrf.TRF(method="banded")
    other.train(centered, responses, 50, -0.1, 0.3, [1.0, 10.0], bands=[1, 2], verbose=False)
    chosen = np.diag(np.asarray(other.regularization))[1:4] * 50  # those of the first lag, in its unit
    alphas = chosen[[0, 1]] / (400 * joined.var(0).mean())
    X, y = Windows.from_trials(responses, stimuli, 50.0, seconds=8.0)
    trf = ForwardTRF(PrecomputedFeatures(), lags=(-0.1, 0.3), alphas=(tuple(alphas),), bands=[1, 2]).fit(X, y)
    theirs = other.weights[:, : len(trf.lags_)] / 50
    np.testing.assert_allclose(trf.coef_[0].transpose(1, 0, 2), theirs, atol=0.005 * abs(theirs).max())
    assert np.corrcoef(trf.coef_[0].transpose(1, 0, 2).ravel(), theirs.ravel())[0, 1] > 0.9999


def test_forward_trf_bands_of_union(tmp_path):
    rng = np.random.default_rng(0)
    stimuli = [rng.standard_normal((400, 2)) for _ in range(4)]
    X, y = Windows.from_trials([np.roll(s, 2, axis=0) for s in stimuli], stimuli, 10.0, block=5.0)
    union = SpeechFeatureUnion([("a", PrecomputedFeatures()), ("b", PrecomputedFeatures())])
    speech = make_pipeline(union, FeatureScaler())
    trf = ForwardTRF(speech, lags=(0, 0.3), alphas=(1.0,), bands="union", n_ratios=4).fit(X, y)
    assert trf.feature_sets_ == {"a": (0, 2), "b": (2, 4)}
    assert trf.band_alphas_.shape == (1, 2)
    save(trf, tmp_path / "trf")
    np.testing.assert_array_equal(load(tmp_path / "trf").predict(y), trf.predict(y))


@pytest.mark.parametrize("as_given", [tuple, np.array], ids=["tuple", "array"])
def test_forward_trf_band_rows_of_three_subjects(as_given):
    X, y = simulate_group(3)
    y = np.concatenate([y, np.roll(y, 1, axis=0)], axis=1)
    rows = as_given([(0.1, 0.1), (0.1, 100.0)])
    trf = ForwardTRF(lags=(0, 0.3), alphas=rows, bands=[1, 1]).fit(X, y)
    assert trf.band_alphas_.shape == trf.cv_scores_.shape == (3, 2)
    np.testing.assert_allclose(trf.band_alphas_[:, 0], 0.1)


def test_sample_band_ratios_begin_with_corners():
    ratios = sample_band_ratios(3, 20)
    assert ratios.shape == (20, 3)
    np.testing.assert_allclose(np.log10(ratios).sum(1), 0, atol=1e-9)
    np.testing.assert_array_equal(ratios[0], 1)
    assert (np.unique(ratios, axis=0)).shape == (20, 3)
    assert np.ptp(np.log10(ratios), axis=1).max() == pytest.approx(3.0, abs=0.8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bands": [1, 7]}, r"sum to the 9 features of speech. Got \[1, 7\]"),
        ({"bands": "union"}, "bands='union' requires that speech is or contains a SpeechFeatureUnion"),
        (
            {"bands": [1, 8], "alphas": ((1.0,),)},
            "rows of one number for each of the 2 feature sets '0', '1'",
        ),
        ({"bands": [1, 8], "alphas": (-1.0,)}, "finite numbers above 0"),
        ({"bands": [1, 8], "alphas": ()}, r"finite numbers above 0. Got \(\)"),
        ({"alphas": ((1.0, 2.0),)}, "finite numbers above 0"),
    ],
)
def test_forward_trf_rejects_invalid_bands(options, message):
    with pytest.raises(ValueError, match=message):
        ForwardTRF(**LAGS, **options).fit(*simulate_two_sets())
