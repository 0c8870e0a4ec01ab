"""Tests of cross-validated forward models that are returned."""

import warnings

import numpy as np
import pandas as pd
import pytest
from helpers.trf import simulate_group
from sklearn.base import clone
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    FeatureScaler,
    ForwardTRF,
    PrecomputedFeatures,
    RidgeDecoder,
    StimulusKFold,
    Windows,
    average_trfs,
    cross_val_encoding,
    cross_val_reconstruction,
)
from sk_b2s.evaluation._fit_score import fit_and_score_folds

TRF = ForwardTRF(PrecomputedFeatures(), lags=(-0.1, 0.3), alphas=(0.1,))


@pytest.fixture(scope="module")
def trials():
    rng = np.random.default_rng(0)
    stimuli = [rng.standard_normal(n) for n in (400, 500, 400)]
    responses = [np.roll(s, 3)[:, None] * [1.0, 0.5] + rng.standard_normal((len(s), 2)) for s in stimuli]
    return Windows.from_trials(responses, stimuli, 20.0, seconds=2.0, block=5.0, subject=["a", "b", "a"])


def test_cross_val_encoding_returns_estimators(trials):
    X, y = trials
    table, fitted = cross_val_encoding(TRF, X, y, StimulusKFold(3), n_shifts=0, return_estimator=True)
    pd.testing.assert_frame_equal(table, cross_val_encoding(TRF, X, y, StimulusKFold(3), n_shifts=0))
    assert len(fitted) == 3
    train, test = list(StimulusKFold(3).split(X, y))[1]
    np.testing.assert_array_equal(fitted[1].coef_, TRF.fit(X[train], y.iloc[train]).coef_)
    mean = average_trfs(fitted)
    np.testing.assert_allclose(mean.coef_, np.mean([one.coef_ for one in fitted], axis=0), rtol=1e-5)
    assert mean.subjects_.tolist() == ["a", "b"]
    assert mean.alpha_ == pytest.approx([0.1, 0.1])
    assert (
        mean.stimulus_intervals_ | fitted[0].stimulus_intervals_
    ).seconds == mean.stimulus_intervals_.seconds
    assert mean.predict(y).shape == (len(y), 2, 40)


def test_fit_and_score_folds_shows_warnings_once():
    def score_fold(estimator, X, y, train, test):
        warnings.warn("in each fold", UserWarning, stacklevel=1)
        warnings.warn(f"in fold {test}", RuntimeWarning, stacklevel=1)
        return pd.DataFrame({"r": [0.0]}), estimator

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit_and_score_folds(score_fold, TRF, None, None, [([1], 0), ([0], 1)])
    assert [str(one.message) for one in caught] == ["in each fold", "in fold 0", "in fold 1"]


def test_cross_val_encoding_passes_groups(trials):
    X, y = trials
    trial = X.rows["recording"]
    found = cross_val_encoding(TRF, X, y, GroupKFold(3), n_shifts=0, groups=trial)
    folds = list(GroupKFold(3).split(X, groups=trial))
    pd.testing.assert_frame_equal(found, cross_val_encoding(TRF, X, y, folds, n_shifts=0))
    ridge = RidgeDecoder(PrecomputedFeatures(), lags=(0, 0.3), alphas=(0.1,), k=1)
    scores, fitted = cross_val_reconstruction(
        ridge, X, y, GroupKFold(3), n_shifts=0, groups=trial, return_estimator=True
    )
    assert scores["fold"].nunique() == len(fitted) == 3
    assert average_trfs(fitted).patterns_.shape == (2, 7, 2, 1)


def test_average_trfs_of_unequal_subjects():
    X, speech = simulate_group(n_subjects=3)
    rows = X.rows.assign(onset=0.0, duration=4.0, recording=X.rows["subject"])
    X = Windows.from_array(np.asarray(X), rows, sfreq=10.0)
    folds = [
        (np.flatnonzero(rows["subject"] != name), np.flatnonzero(rows["subject"] == name))
        for name in ("s0", "s1")
    ]
    pipe = make_pipeline(ForwardTRF(lags=(0, 0.3), alphas=(0.1,)))
    _, fitted = cross_val_encoding(pipe, X, speech, folds, n_shifts=0, return_estimator=True)
    mean = average_trfs(fitted)
    assert mean.subjects_.tolist() == ["s0", "s1", "s2"]
    np.testing.assert_allclose(mean.coef_[0], fitted[1][-1].coef_[0])
    np.testing.assert_allclose(
        mean.coef_[2], (fitted[0][-1].coef_[1] + fitted[1][-1].coef_[1]) / 2, rtol=1e-5
    )


def test_average_trfs_joins_models_of_subjects():
    X, speech = simulate_group(n_subjects=3)
    is_mine = [(X.rows["subject"] == name).to_numpy() for name in ("s0", "s1", "s2")]
    trf = ForwardTRF(lags=(0, 0.3), alphas=(0.1,))
    alone = [clone(trf).fit(X[rows], speech[rows]) for rows in is_mine]
    alone[0].positions_[1] = np.nan  # a bad channel
    joined, expected = average_trfs(alone), trf.fit(X, speech)
    np.testing.assert_allclose(joined.coef_, expected.coef_)
    np.testing.assert_array_equal(joined.positions_, expected.positions_)


def test_average_trfs_rejects_bad_input():
    X, speech = simulate_group(n_subjects=2)
    one = ForwardTRF(lags=(0, 0.3), alphas=(0.1,)).fit(X, speech)
    other = ForwardTRF(lags=(0, 0.2), alphas=(0.1,)).fit(X, speech)
    with pytest.raises(ValueError, match="equal lags, features, channels and per_subject. Index 1"):
        average_trfs([one, other])
    named = ForwardTRF(lags=(0, 0.3), alphas=(0.1,), bands={"envelope": 1}).fit(X, speech)
    with pytest.raises(ValueError, match="equal feature sets in equal order. Got .*envelope.* at index 1"):
        average_trfs([one, named])
    with pytest.raises(ValueError, match="one estimator or more"):
        average_trfs([])
    with pytest.raises(TypeError, match="Got FeatureScaler at index 1"):
        average_trfs([one, FeatureScaler()])
