"""Tests of the comparison of feature sets."""

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from sk_b2s import (
    FeatureScaler,
    ForwardTRF,
    PrecomputedFeatures,
    RidgeDecoder,
    StimulusArray,
    StimulusKFold,
    Windows,
    compare_feature_sets,
    unique_variance,
)


class Column(PrecomputedFeatures):
    """One column of the stored features."""

    def __init__(self, column=0):
        super().__init__()
        self.column = column

    def _count_features(self, sounds):
        return 1

    def _compute_features(self, sound):
        return sound.data[:, [self.column]]


def simulate_response(n=80, sfreq=10.0, seed=0):
    """Simulate two subjects that follow feature 0, correlated with 1."""
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((int(3 * n * sfreq) + 40, 3)).astype("f4")
    data[:, 1] = data[:, 0] + 0.7 * data[:, 1]
    data_by_subject = [
        np.column_stack([np.roll(data[:, 0], 1), 0 * data[:, 0]]) + rng.standard_normal((len(data), 2))
        for _ in "ab"
    ]
    start = np.tile(np.arange(n) * int(3 * sfreq), 2)
    rows = pd.DataFrame({
        "subject": np.repeat(["a", "b"], n), "recording": np.repeat(["ra", "rb"], n), "onset": start / sfreq,
        "duration": 3.0,
    })  # fmt: skip
    y = pd.DataFrame({
        "sound": [StimulusArray(data, sfreq)] * (2 * n), "sound_onset": start / sfreq, "duration": 2.9, "segment": start,
        "block": start // int(30 * sfreq),
    })  # fmt: skip
    return Windows(data_by_subject, np.repeat([0, 1], n), start, int(3 * sfreq), sfreq, rows=rows), y


@pytest.mark.parametrize("kind", ["forward", "decoder"])
def test_unique_variance_finds_simulated_feature(kind):
    X, y = simulate_response()
    if kind == "forward":
        estimator, score = ForwardTRF(lags=(0, 0.3), alphas=(1e-3,)), "r"
    else:
        estimator, score = Pipeline([("ridge", RidgeDecoder(lags=(0, 0.3), alphas=(1e-3,), k=1))]), "top_k"
    feature_sets = {"true": Column(0), "correlated": Column(1), "none": Column(2)}
    scores = compare_feature_sets(estimator, X, y, StimulusKFold(2, gap=0), feature_sets)
    assert len(scores) == 7 * 2 * 2
    means = scores.groupby("features")[score].mean()
    assert means["true"] > means["correlated"] > means["none"]
    found = unique_variance(scores, score)
    assert list(found.columns) == ["features", "subject", "alone", "without", "all", "unique"]
    if kind == "forward":
        unique = found.groupby("features")["unique"].mean()
        assert unique["true"] > 0.03
        assert unique.drop("true").abs().max() < 0.02
        assert means["true"] == pytest.approx(np.sqrt(0.5) / 2, abs=0.04)  # one of two channels


def test_compare_feature_sets_of_two_and_errors():
    X, y = simulate_response(n=40)
    trf = ForwardTRF(lags=(0, 0.3), alphas=(1e-3,))
    scores = compare_feature_sets(trf, X, y, StimulusKFold(2, gap=0), {"true": Column(0), "none": Column(2)})
    one, other = (
        scores[scores["features"] == name].reset_index(drop=True).drop(columns="features")
        for name in ("none", "all but true")
    )
    pd.testing.assert_frame_equal(one, other)
    with pytest.raises(ValueError, match="two entries or more"):
        compare_feature_sets(trf, X, y, StimulusKFold(2), {"true": Column(0)})
    with pytest.raises(ValueError, match="has no parameter 'speech'"):
        compare_feature_sets(FeatureScaler(), X, y, StimulusKFold(2), {"a": Column(0), "b": Column(1)})
    with pytest.raises(TypeError, match="Use cv=StimulusKFold"):
        compare_feature_sets(trf, X, y, 3, {"a": Column(0), "b": Column(1)})


def test_compare_feature_sets_with_bands():
    X, y = simulate_response(n=40)
    options = {"lags": (0, 0.3), "alphas": (1e-3,)}
    sets, cv = {"true": Column(0), "none": Column(2)}, StimulusKFold(2, gap=0)
    plain = compare_feature_sets(ForwardTRF(**options), X, y, cv, sets)
    equal = compare_feature_sets(ForwardTRF(**options, bands="union", n_ratios=1), X, y, cv, sets)
    np.testing.assert_allclose(equal["r"], plain["r"], atol=1e-6)
    other = compare_feature_sets(ForwardTRF(**options, bands="union", n_ratios=4), X, y, cv, sets)
    is_all = (other["features"] == "all").to_numpy()
    assert (other["r"] != equal["r"])[is_all].all()
    np.testing.assert_allclose(other["r"][~is_all], plain["r"][~is_all], atol=1e-6)
