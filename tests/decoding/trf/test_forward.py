"""Tests of ForwardTRF."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline

from sk_b2s import (
    Envelope,
    Epocher,
    FeatureScaler,
    ForwardTRF,
    RidgeDecoder,
    StimulusArray,
    StimulusKFold,
    StimulusLeakWarning,
    Windows,
    cross_val_encoding,
    mean_and_sem,
    reconstruct,
)

SFREQ = 10.0


def planted(n=60, n_channels=3, n_features=2, n_frames=30, lag=2, gain=1.0, seed=0):
    """Channel 0 follows feature 0 by some frames; the others are noise."""
    rng = np.random.default_rng(seed)
    speech = rng.standard_normal((n, n_features, n_frames))
    brain = rng.standard_normal((n, n_channels, n_frames))
    brain[:, 0, lag:] += gain * speech[:, 0, : n_frames - lag]
    return brain, speech


def lagged(speech, lags):
    """Lag features: rows of frames, columns (lag, feature), 0 outside."""
    n, n_features, n_frames = speech.shape
    out = np.zeros((n, n_frames, len(lags), n_features))
    for index, lag in enumerate(lags):
        for frame in range(n_frames):
            if 0 <= frame - lag < n_frames:
                out[:, frame, index] = speech[:, :, frame - lag]
    return out.reshape(n * n_frames, -1)


@pytest.mark.parametrize("lags", [(0.0, 0.5), (-0.2, 0.4), (0.2, 0.2), (0.1, 0.3), (-0.3, -0.1)])
def test_forward_trf_equals_explicit_regression(lags):
    brain, speech = planted()
    speech += 3.0  # a mean, which is taken away before windows are continued by zeros
    trf = ForwardTRF(lags=lags, alphas=(0.1,), sfreq=SFREQ).fit(brain, speech)
    frames = np.arange(round(lags[0] * SFREQ), round(lags[1] * SFREQ) + 1)
    np.testing.assert_allclose(trf.lags_, frames / SFREQ)
    mean = speech.mean((0, 2), keepdims=True)
    D, B = lagged(speech - mean, frames), brain.transpose(0, 2, 1).reshape(-1, 3)
    scale = np.linalg.eigvalsh(np.cov(D.T, bias=True)).mean() if D.shape[1] > 1 else D.var()
    model = Ridge(0.1 * scale * len(D)).fit(D, B)
    np.testing.assert_allclose(trf.coef_[0].reshape(-1, 3), model.coef_.T, atol=1e-5)
    other, heard = planted(seed=1)
    expected = model.predict(lagged(heard - mean, frames)).reshape(60, 30, 3).transpose(0, 2, 1)
    np.testing.assert_allclose(trf.predict(heard), expected, atol=1e-4)
    r = [pearsonr(expected[:, c].ravel(), other[:, c].ravel())[0] for c in range(3)]
    np.testing.assert_allclose(trf.correlations(other, heard)["r"], r, atol=1e-5)
    assert trf.score(other, heard) == pytest.approx(np.mean(r), abs=1e-5)


def test_forward_trf_equals_mne():
    from mne.decoding import ReceptiveField

    brain, speech = planted()
    speech -= speech.mean((0, 2), keepdims=True)
    brain -= brain.mean((0, 2), keepdims=True)
    trf = ForwardTRF(lags=(0.0, 0.4), alphas=(1e-3,), sfreq=SFREQ).fit(brain, speech)
    scale = np.mean(np.diag(np.cov(lagged(speech, range(5)).T, bias=True)))
    field = ReceptiveField(0, 0.4, SFREQ, estimator=Ridge(1e-3 * scale * 1800, fit_intercept=False))
    field.fit(speech.transpose(2, 0, 1), brain.transpose(2, 0, 1))  # (n_times, n_epochs, ...)
    # With an intercept MNE continues features by a mean of each lag's own, so it has none here: all that differs.
    np.testing.assert_allclose(trf.coef_[0].transpose(2, 1, 0), field.coef_, atol=1e-3)


def test_forward_trf_recovers_simulated_response():
    brain, speech = planted(n=400)
    trf = ForwardTRF(lags=(-0.3, 0.6), alphas=(1e-6,), sfreq=SFREQ).fit(brain[:300], speech[:300])
    peak = np.unravel_index(abs(trf.coef_[0]).argmax(), trf.coef_[0].shape)
    assert (trf.lags_[peak[0]], *peak[1:]) == (pytest.approx(0.2), 0, 0)
    assert trf.coef_[0][peak] == pytest.approx(1.0, abs=0.05)
    r = trf.correlations(brain[300:], speech[300:])["r"]
    assert r[0] == pytest.approx(
        np.sqrt(28 / 30 / (1 + 28 / 30)), abs=0.03
    )  # two frames of thirty hear nothing
    assert abs(r[1:]).max() < 0.06
    wrong = trf.correlations(brain[300:], np.roll(speech[300:], 7, axis=0))["r"]
    assert abs(wrong).max() < 0.06


def test_forward_trf_selects_best_alpha():
    rng = np.random.default_rng(0)
    brain, speech = planted(n=40, n_features=1)
    speech = np.cumsum(speech, axis=2)  # neighboring lags are correlated, so that alpha matters
    speech = np.concatenate([speech, speech + 0.1 * rng.standard_normal(speech.shape)], axis=1)
    trf = ForwardTRF(lags=(0, 0.5), sfreq=SFREQ).fit(brain, speech)
    best = trf.cv_scores_[0].argmax()
    assert trf.alpha_[0] == trf.alphas[best]
    assert np.ptp(trf.cv_scores_[0]) > 0.01
    alone = ForwardTRF(lags=(0, 0.5), alphas=(trf.alphas[best],), sfreq=SFREQ).fit(brain, speech)
    np.testing.assert_array_equal(trf.coef_, alone.coef_)


def of_people():
    """Two subjects with opposite responses, positions and a flat channel."""
    (one, speech), (other, _) = planted(), planted(seed=1)
    other[:, 0] -= other[:, 0] + one[:, 0]
    brain = np.repeat(np.concatenate([one, other]), 2, axis=2)
    brain[:, 2] = 0
    second = np.arange(60) * 3.0
    rows = pd.DataFrame({
        "subject": np.repeat(["a", "b"], 60), "recording": np.repeat(["ra", "rb"], 60),
        "onset": np.tile(second, 2), "duration": 3.0,
    })  # fmt: skip
    heard = pd.DataFrame({
        "sound": [StimulusArray(np.zeros(1800), SFREQ)] * 120, "sound_onset": np.tile(second, 2), "duration": 2.9,
        "segment": np.tile(np.arange(60), 2), "block": np.tile(np.arange(60) // 10, 2),
    })  # fmt: skip
    places = np.array([[0.1, 0.2], [0.5, 0.5], [np.nan, np.nan]])
    X = Windows.from_array(brain, rows=rows, positions=places, sfreq=2 * SFREQ, ch_names=["Fz", "Cz", "Oz"])
    return X, Windows.from_array(np.concatenate([speech, speech]), rows=heard, sfreq=SFREQ)


def test_forward_trf_models_of_subjects():
    X, y = of_people()
    trf = ForwardTRF(lags=(0, 0.4)).fit(X, y)
    assert trf.subjects_.tolist() == ["a", "b"]
    assert trf.coef_[0, 2, 0, 0] > 0.8
    assert trf.coef_[1, 2, 0, 0] < -0.8
    each = [trf.predict(y[:5], [name] * 5) for name in ("a", "b", "z")]
    np.testing.assert_allclose(each[2], (each[0] + each[1]) / 2, atol=1e-5)
    np.testing.assert_array_equal(trf.predict(y[:5]), each[2])
    pooled = ForwardTRF(lags=(0, 0.4), per_subject=False).fit(X, y)
    assert abs(pooled.coef_[0, :, :, 0]).max() < 0.2


def test_forward_trf_warns_about_training_stimuli():
    X, y = of_people()
    trf = ForwardTRF(lags=(0, 0.4), alphas=(1.0,))
    with pytest.warns(StimulusLeakWarning, match="60 of 60 scored windows contain stimuli this ForwardTRF"):
        trf.fit(X[:60], y[:60]).score(X[60:], y[60:])  # both subjects have the same stimuli
    with warnings.catch_warnings():
        warnings.simplefilter("error", StimulusLeakWarning)
        for train, test in StimulusKFold(3, gap=0).split(X, y):
            trf.fit(X[train], y[train]).score(X[test], y[test])


def test_cross_val_encoding_topographies():
    X, y = of_people()
    topography = cross_val_encoding(ForwardTRF(lags=(0, 0.4)), X, y, StimulusKFold(3, gap=0), n_shifts=50)
    assert topography.groupby(["fold", "subject"]).size().tolist() == [3] * 6
    means = mean_and_sem(topography[topography["channel"] != "Oz"], "r", by="channel")
    assert means.loc["Fz", "mean"] > 0.6
    assert abs(means.loc["Cz", "mean"]) < 0.1
    first = topography.iloc[:3]
    assert first["channel"].tolist() == ["Fz", "Cz", "Oz"]
    np.testing.assert_array_equal(first[["x", "y"]], X.positions[0])
    assert np.isnan(first["r"].iloc[2])
    assert (topography.query("channel == 'Fz'")["r"] > topography.query("channel == 'Fz'")["null_high"]).all()
    assert abs(topography["null_mean"].dropna()).max() < 0.05
    again = cross_val_encoding(ForwardTRF(lags=(0, 0.4)), X, y, StimulusKFold(3, gap=0), n_shifts=50)
    pd.testing.assert_frame_equal(topography, again)
    assert (
        cross_val_encoding(clone(ForwardTRF()), X, y, StimulusKFold(3), n_shifts=0)["null_high"].isna().all()
    )


@pytest.mark.filterwarnings("ignore:make_segments left out")
def test_forward_trf_on_tables(listening):
    X, y = listening
    speech = make_pipeline(Envelope(sfreq=32), FeatureScaler())
    pipe = Pipeline([("epochs", Epocher(sfreq=32)), ("trf", ForwardTRF(speech, lags=(0, 0.3)))])
    with pytest.warns(
        UserWarning, match=r"Epocher\(lag=0.15\) reads EEG/MEG later, so the lags of ForwardTRF"
    ):
        topography = cross_val_encoding(pipe, X, y, StimulusKFold(3), n_shifts=100)
    means = topography.groupby(["subject", "channel"])[["r", "null_high"]].mean()
    assert (means["r"] > means["null_high"]).mean() > 0.5
    assert topography[["x", "y"]].notna().all(axis=None)


def test_forward_trf_rejects_bad_input():
    brain, speech = planted()
    with pytest.raises(ValueError, match="30 frames without a sampling rate. Set ForwardTRF"):
        ForwardTRF().fit(brain, speech)
    with pytest.raises(ValueError, match="two rising numbers"):
        ForwardTRF(lags=(0.3, 0.1), sfreq=SFREQ).fit(brain, speech)
    with pytest.raises(ValueError, match="finite numbers above 0"):
        ForwardTRF(alphas=(0.0,), sfreq=SFREQ).fit(brain, speech)
    with pytest.raises(ValueError, match="y is a table"):
        ForwardTRF(sfreq=SFREQ).fit(brain, pd.DataFrame({"segment": range(60)}))
    with pytest.raises(TypeError, match="X must be windows, but is a table.*exchanged"):
        ForwardTRF(sfreq=SFREQ).fit(pd.DataFrame({"segment": range(60)}), brain)
    with pytest.raises(ValueError, match=r"Got \(60, 3\) instead\. .*use X, y = Windows\.from_trials"):
        ForwardTRF(sfreq=SFREQ).fit(brain[:, :, 0], speech)
    with pytest.raises(ValueError, match="y must have numbers. Got text"):
        ForwardTRF(sfreq=SFREQ).fit(brain, ["a"] * 60)
    with pytest.raises(ValueError, match=r"ForwardTRF\(speech=Envelope.*table of segments.*Got ndarray"):
        ForwardTRF(Envelope()).fit(brain, speech)
    trf = ForwardTRF(sfreq=SFREQ).fit(brain, speech)
    with pytest.raises(ValueError, match="X has 2 channels x 30 samples, but fit was given 3 x 30"):
        trf.correlations(brain[:, :2], speech)
    with pytest.raises(ValueError, match="y has 1 features x 30 frames, but fit was given 2 x 30"):
        trf.predict(speech[:, :1])
    with pytest.raises(ValueError, match=r"one name for each of 60 windows. Got the shape \(3,\)"):
        trf.predict(speech, ["a"] * 3)
    with pytest.raises(TypeError, match="Use cv=StimulusKFold"):
        cross_val_encoding(trf, brain, speech, cv=3)
    with pytest.raises(TypeError, match="requires a ForwardTRF.*Got Ridge.$"):
        cross_val_encoding(Ridge(), brain, speech, cv=[])
    with pytest.raises(TypeError, match="Use cross_val_reconstruction"):
        cross_val_encoding(RidgeDecoder(), brain, speech, cv=[])
    with pytest.raises(TypeError, match=r"reconstruct needs a decoder.*Use cross_val_encoding"):
        reconstruct(trf, brain, speech)
