"""Tests of the patterns of RidgeDecoder."""

import mne
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from sk_b2s import RidgeDecoder, RobustChannelScaler, Windows, load, save
from sk_b2s.plotting import plot_topography, plot_trf

MIXING = np.array([[3.0, 0.0], [2.0, 1.0], [0.0, 1.0], [0.0, 0.0]])  # channels x features
LAG = 2  # frames


def simulate_mixture(n=80, seed=0, scale=1e-6, n_features=2):
    """Channels that follow features after 2 frames, in correlated noise."""
    rng = np.random.default_rng(seed)
    speech = rng.standard_normal((n, n_features, 40))
    eeg = rng.standard_normal((n, 4, 40)) + 4 * rng.standard_normal((n, 1, 40))  # noise of all channels
    eeg[:, :, LAG:] += np.einsum("cf,nft->nct", MIXING[:, :n_features], speech[:, :, :-LAG])
    return scale * eeg, speech


def fit_ridge(eeg, speech, **changes):
    return RidgeDecoder(**{"lags": (0.0, 0.4), "alphas": (1e-6,), "sfreq": 10.0, "k": 1, **changes}).fit(
        eeg, speech
    )


def test_patterns_recover_simulated_mixture():
    ridge = fit_ridge(*simulate_mixture())
    assert ridge.patterns_.shape == ridge.coef_.shape == (1, 5, 4, 2)
    at_lag = 1e6 * ridge.patterns_[0, LAG]
    np.testing.assert_allclose(at_lag, MIXING, atol=0.35)
    weights = ridge.coef_[0, LAG] / abs(ridge.coef_[0, LAG]).max()
    assert abs(weights[3]).max() > 0.3, "weights also cancel noise in a channel without response"
    assert abs(1e6 * ridge.patterns_[0, [0, 4]]).max() < 0.35


def test_patterns_equal_mne():
    eeg, speech = simulate_mixture()
    ridge = fit_ridge(eeg, speech, lags=(0.0, 0.0), alphas=(0.1,))
    channels, features = (part.transpose(0, 2, 1).reshape(-1, part.shape[1]) for part in (1e6 * eeg, speech))
    channels = channels - channels.mean(0)
    model = mne.decoding.LinearModel(Ridge(0.1 * channels.var(0).mean() * len(channels)))
    model.fit(channels, features)
    np.testing.assert_allclose(1e6 * ridge.patterns_[0, 0].T, model.patterns_, rtol=1e-3, atol=1e-6)


def test_patterns_of_subjects_and_components():
    (eeg, speech), (other, heard) = simulate_mixture(), simulate_mixture(seed=1)
    X = Windows.from_array(
        np.concatenate([eeg, -other]), pd.DataFrame({"subject": np.repeat(["a", "b"], 80)}), sfreq=10.0
    )
    both = fit_ridge(X, np.concatenate([speech, heard]), sfreq=None)
    np.testing.assert_allclose(both.patterns_[0], fit_ridge(eeg, speech).patterns_[0], atol=1e-10)
    np.testing.assert_allclose(1e6 * both.patterns_[1, LAG], -MIXING, atol=0.35)
    few = fit_ridge(eeg, speech, n_components=3)
    np.testing.assert_allclose(1e6 * few.patterns_[0, LAG, :2, 0], MIXING[:2, 0], atol=0.5)


def test_patterns_in_pipeline_with_mne(tmp_path):
    eeg, speech = simulate_mixture()
    eeg = eeg + 1e-3  # an offset of the amplifier
    pipe = make_pipeline(
        RobustChannelScaler(clip=None), RidgeDecoder(lags=(0, 0.4), alphas=(1e-6,), sfreq=10, k=1)
    )
    pipe.fit(eeg, speech)
    scaled = mne.decoding.get_coef(pipe, "patterns_")
    np.testing.assert_array_equal(scaled, pipe[-1].patterns_)
    found = scaled * pipe[0].scale_[:, None]
    np.testing.assert_allclose(found, fit_ridge(eeg, speech).patterns_, atol=1e-7)
    np.testing.assert_allclose(pipe[0].inverse_transform(pipe[0].transform(eeg)), eeg, atol=1e-12)
    with pytest.raises(ValueError, match="4 channels of fit in axis -2. Got shape"):
        pipe[0].inverse_transform(eeg[:, :2])
    with pytest.raises(ValueError, match="fitted on an array"):
        RobustChannelScaler().fit(Windows.from_array(eeg)).inverse_transform(eeg)
    save(pipe[-1], tmp_path / "ridge")
    np.testing.assert_array_equal(load(tmp_path / "ridge").patterns_, pipe[-1].patterns_)


def test_patterns_are_plotted():
    eeg, speech = simulate_mixture()
    place = np.array([[0.2, 0.4], [0.8, 0.4], [0.5, 0.8], [0.5, 0.2]])
    X = Windows.from_array(eeg, positions=place, sfreq=10.0, ch_names=list("abcd"))
    ridge = fit_ridge(X, speech, sfreq=None)
    ax = plot_trf(ridge, scale=1e6, unit="µV", channels="b")
    assert ax.get_ylabel() == "pattern (µV)"
    line = next(line for line in ax.lines if line.get_label() == "b")
    np.testing.assert_allclose(line.get_ydata(), 1e6 * ridge.patterns_[0, :, 1, 0], rtol=1e-6)
    assert ridge.to_evoked(feature=1).get_peak()[0] in ("b", "c")
    plot_topography(ridge.patterns_[0, LAG, :, 0], ridge.positions_)
