"""Tests of reconstructions of speech features and their scores."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import uniform_filter1d
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score

from sk_b2s import (
    BrainEncoder,
    CalibratedDecoder,
    EnsembleDecoder,
    LikelihoodDecoder,
    PrecomputedFeatures,
    ReconstructionResult,
    RidgeDecoder,
    StimulusArray,
    StimulusKFold,
    Windows,
    cross_val_reconstruction,
    mean_and_sem,
    reconstruct,
    reconstruction_scorer,
)
from sk_b2s.evaluation._reconstruction._result import find_reconstruction_result_shifts
from sk_b2s.metrics import reconstruction_correlation

RATE, N_TIMES, STEP = 10.0, 20, 5  # Hz; frames of a window and between windows


def simulate(snr=np.inf, n_frames=600, delay=0, subjects="ab", seed=0):
    """Windows of subjects whose channels are two bands, or noise (snr=0)."""
    rng = np.random.default_rng(seed)
    speech = rng.standard_normal((n_frames, 2)).astype(np.float32)
    start = np.arange(0, n_frames - N_TIMES + 1, STEP)
    which = np.repeat(np.arange(len(subjects)), len(start))
    noise = rng.standard_normal((len(subjects), n_frames, 2))
    eeg = [np.roll(speech, delay, axis=0) + one / snr if snr else one for one in noise]
    rows = pd.DataFrame({
        "subject": np.array(list(subjects))[which], "recording": "run", "onset": np.tile(start, len(subjects)) / RATE,
        "duration": N_TIMES / RATE,
    })  # fmt: skip
    onset = rows["onset"]
    sounds = pd.DataFrame({
        "sound": StimulusArray(speech, RATE), "sound_onset": onset, "duration": N_TIMES / RATE, "segment": (onset * RATE).astype(int),
        "block": (onset // 10).astype(int),
    })  # fmt: skip
    X = Windows(eeg, which, np.tile(start, len(subjects)), N_TIMES, RATE, rows=rows)
    y = Windows([speech], 0 * which, np.tile(start, len(subjects)), N_TIMES, RATE, rows=sounds)
    return X, y


def make_ridge(**params):
    return RidgeDecoder(lags=(0, 0), alphas=(1e-6,), k=1, **params)


def split(X, y):
    (train, test), *_ = StimulusKFold(3, gap=0).split(X, y)
    return X[train], y[train], X[test], y[test]


def test_reconstruct_is_perfect_without_noise():
    X, y, X_test, y_test = split(*simulate())
    result = reconstruct(make_ridge().fit(X, y), X_test, y_test)
    for estimate, target in zip(result.estimate, result.target, strict=True):
        np.testing.assert_allclose(estimate, target, atol=1e-3)
        covered = np.unique(y_test.start[: len(y_test) // 2, None] + np.arange(N_TIMES))
        assert estimate.shape == (2, len(covered))  # each frame once, without gaps
    scores = result.correlations(n_shifts=200)
    assert scores["band"].tolist() == ["mean", "0", "1"] * 2
    np.testing.assert_allclose(scores["r"], 1, atol=1e-4)
    assert (scores["chance"] == 0).all()
    assert (scores["null_high"] < 0.4).all()
    assert scores["minutes"][0] == pytest.approx(len(covered) / RATE / 60)


def test_reconstruct_of_known_noise_has_known_r():
    X, y = simulate(snr=0.5, n_frames=6000)
    scores = cross_val_reconstruction(make_ridge(), X, y, StimulusKFold(2, gap=0), n_shifts=50)
    assert scores["fold"].tolist() == [0] * 6 + [1] * 6
    np.testing.assert_allclose(scores["r"], 1 / np.sqrt(1 + 4), atol=0.05)
    means = mean_and_sem(scores, "r")  # bands are not averaged
    assert means.index.tolist() == ["mean", "0", "1"]
    assert (means["n_subjects"] == 2).all()
    assert means.loc["mean", "mean"] == pytest.approx(1 / np.sqrt(5), abs=0.02)
    values = cross_val_score(make_ridge(), X, y, cv=StimulusKFold(2, gap=0), scoring=reconstruction_scorer)
    expected = scores[scores["band"] == "mean"].groupby("fold")["r"].mean()
    np.testing.assert_allclose(values, expected)


def test_reconstruct_of_noise_is_within_its_null():
    inside = []
    for seed in range(5):
        scores = cross_val_reconstruction(
            make_ridge(), *simulate(snr=0, seed=seed), StimulusKFold(3), n_shifts=200
        )
        inside.append(scores["r"].between(scores["null_low"], scores["null_high"]))
        assert abs(scores["null_mean"]).max() < 0.1
    assert 0.85 < np.concatenate(inside).mean() <= 1


def test_reconstruct_of_shifted_response_fails():
    X, y, X_test, y_test = split(*simulate())
    fitted = make_ridge().fit(X, y)
    X_late, _ = simulate(delay=3)
    late = X_late[np.isin(X_late.rows["onset"], X_test.rows["onset"])]
    assert abs(reconstruction_scorer(fitted, late, y_test)) < 0.15
    assert reconstruction_scorer(fitted, X_test, y_test) > 0.999


def test_reconstruct_keeps_presentations_apart():
    X, y, X_test, y_test = split(*simulate(subjects="a"))
    fitted = make_ridge().fit(X, y)
    n = len(X_test)
    again = np.r_[np.arange(n), np.arange(n)]
    X_both, y_both = X_test[again], y_test[again]
    X_both.rows = X_both.rows.reset_index(drop=True)
    y_both.rows = y_both.rows.reset_index(drop=True)
    X_both.rows.loc[n:, "onset"] += 100.0  # presented again in the same recording
    once, twice = (reconstruct(fitted, *pair) for pair in ((X_test, y_test), (X_both, y_both)))
    assert twice.rows["n_frames"][0] == 2 * once.rows["n_frames"][0]
    n_frames = once.rows["n_frames"][0]
    shifts = find_reconstruction_result_shifts(twice.place[0], N_TIMES)
    assert shifts.min() == N_TIMES
    assert not (abs(shifts - n_frames) < N_TIMES).any()
    assert n_frames - N_TIMES in shifts
    assert np.isnan(
        ReconstructionResult([np.ones((1, 30))], [np.eye(1, 30)], once.rows, 20).correlations()["null_low"][0]
    )


def test_reconstruct_leaves_out_padding():
    X, y, X_test, y_test = split(*simulate(subjects="a"))
    fitted = make_ridge().fit(X, y)
    frames = np.unique(y_test.start[:, None] + np.arange(N_TIMES))
    y_test.extent = np.array([[frames[0] + 4, frames[-1] - 2]])
    result = reconstruct(fitted, X_test, y_test)
    assert result.rows["n_frames"][0] == len(frames) - 4 - 3


def test_reconstruct_arrays_of_single_frames():
    rng = np.random.default_rng(0)
    speech = rng.standard_normal((60, 3)).astype(np.float32)
    eeg = speech @ rng.standard_normal((3, 8)).astype(np.float32)
    fitted = RidgeDecoder(alphas=(1e-6,), k=1).fit(eeg[:40], speech[:40])
    result = reconstruct(fitted, eeg[40:], speech[40:])
    r = reconstruction_correlation(fitted.transform(eeg[40:]).T, speech[40:].T)
    np.testing.assert_allclose(result.correlations(0)["r"], [r.mean(), *r])


def test_reconstruct_by_likelihood_uses_the_prior():
    rng = np.random.default_rng(0)
    smooth = uniform_filter1d(rng.standard_normal((400, 1, 40)), 7, axis=2)
    speech = np.concatenate([smooth, smooth + 0.05 * rng.standard_normal(smooth.shape)], axis=1).astype(
        np.float32
    )
    eeg = speech[:, :1] + rng.standard_normal((400, 4, 40)).astype(np.float32)
    decoder = LikelihoodDecoder(lags=(0, 0.1), k=1, rank=1, order=0, max_iter=1, sfreq=10.0)
    decoder.fit(eeg[:300], speech[:300])
    scores = reconstruct(decoder, eeg[300:], speech[300:]).correlations(0)
    matched = reconstruction_correlation(decoder.transform(eeg[300:]), speech[300:]).mean()
    best = reconstruction_correlation(
        uniform_filter1d(eeg[300:].mean(1), 7, axis=1).ravel(), smooth[300:, 0].ravel()
    )
    assert matched < best - 0.1
    assert scores["r"][0] == pytest.approx(best, abs=0.05)


def test_reconstruct_names_decoders_without_features():
    X, y, X_test, y_test = split(*simulate(n_frames=300))
    small = {
        "hidden": 4, "depth": 1, "spatial_attention": False, "max_epochs": 1, "k": 1, "validation": None, "verbose": 0,
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        embedding = BrainEncoder(target_dim=4, **small).fit(X, y)
        contrastive = BrainEncoder(**small).fit(X, y)
    with pytest.raises(ValueError, match="Fit it with target_dim=None"):
        reconstruct(embedding, X_test, y_test)
    with pytest.warns(UserWarning, match="loss='mse' for a reconstruction"):
        reconstruct(contrastive, X_test, y_test)
    ensemble = EnsembleDecoder([("one", make_ridge()), ("two", make_ridge(per_subject=False))]).fit(X, y)
    with pytest.raises(TypeError, match="one of the members"):
        reconstruct(ensemble, X_test, y_test)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calibrated = CalibratedDecoder(make_ridge(), method="none").fit(X, y)
        mse = BrainEncoder(loss="mse", **small).fit(X, y)
        assert reconstruction_scorer(calibrated, X_test, y_test) > 0.999
        assert np.isfinite(reconstruction_scorer(mse, X_test, y_test))


@pytest.mark.parametrize("n_train", [1, 2])
def test_reconstruct_equals_mtrfpy(n_train):
    mtrf = pytest.importorskip("mtrf", reason="mTRFpy is not installed")
    rng = np.random.default_rng(0)
    stimuli = [uniform_filter1d(rng.standard_normal((640, 2)), 4, axis=0) for _ in range(3)]
    responses = [np.roll(s[:, [0, 1, 0]], 5, axis=0) + rng.standard_normal((640, 3)) for s in stimuli]
    X, y = Windows.from_trials(responses, stimuli, 64.0, seconds=10.0)  # a window is a trial
    ridge = RidgeDecoder(PrecomputedFeatures(), lags=(0, 0.25), alphas=(0.01,), k=1)
    ridge.fit(X[:n_train], y.iloc[:n_train])
    found = reconstruct(ridge, X[2:], y.iloc[2:]).correlations(n_shifts=0)
    joined = np.concatenate(responses[:n_train])
    centered = [response - joined.mean(0) for response in responses]
    other = mtrf.TRF(direction=-1)
    penalty = 0.01 * joined.var(0).mean() * 640 / 64.0  # mTRFpy averages sums over trials
    other.train(stimuli[:n_train], centered[:n_train], 64, 0, 0.25, penalty)
    for band in range(2):
        _, r = other.predict([stimuli[2]], [centered[2]], average=False)
        assert found["r"].iloc[1 + band] == pytest.approx(np.ravel(r)[band], abs=1e-4)
    assert found["r"].iloc[0] > 0.6
    with pytest.raises(ValueError, match="less than the number of candidates. Got k=1 and 1 candidates"):
        ridge.score(X[2:], y.iloc[2:])


def test_ridge_decoder_selects_alpha_on_two_segments():
    eeg = np.random.default_rng(0).standard_normal((64, 2))
    X, y = Windows.from_trials([eeg], [np.arange(64.0)], 64.0, seconds=1.0)
    with pytest.raises(ValueError, match="at least 2 distinct segments in y"):
        RidgeDecoder(PrecomputedFeatures()).fit(X, y)
