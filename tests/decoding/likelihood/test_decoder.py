"""Tests of LikelihoodDecoder, its noise model and its prior."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.linalg import toeplitz
from sklearn.exceptions import ConvergenceWarning

from sk_b2s import LikelihoodDecoder, StimulusLeakWarning, Windows, load, save
from sk_b2s.decoding._likelihood import _decoder as module
from sk_b2s.decoding._likelihood._fitting import select_likelihood_fitting_cover
from sk_b2s.decoding._likelihood._noise import average_noise, fit_noise, make_noise_time_filter, whiten_noise
from sk_b2s.decoding._likelihood._response import (
    ResponseMoments,
    ResponsePrior,
    iter_brain_responses,
    lag_response_features,
)

RATE, N_FRAMES, N_CHANNELS = 20, 40, 6


def draw_noise(n_windows, rng, n_frames=N_FRAMES, n_channels=N_CHANNELS):
    """Draw slow noise with correlated channels."""
    white = rng.standard_normal((n_windows, n_frames + 30, n_channels))
    out = np.zeros_like(white)
    for frame in range(1, white.shape[1]):
        out[:, frame] = 0.8 * out[:, frame - 1] + white[:, frame]
    mixing = np.random.default_rng(9).standard_normal((n_channels, n_channels))
    return out[:, 30:] @ mixing


def simulate(n_subjects=3, n_segments=40, level=1.0, seed=0):
    """Simulate subjects whose channels follow speech after 0.1 s."""
    rng = np.random.default_rng(seed)
    speech = rng.standard_normal((n_segments, 2, N_FRAMES)).astype("f4")
    evoked = np.pad(speech, ((0, 0), (0, 0), (2, 0)))[..., :N_FRAMES]
    signals = []
    for _ in range(n_subjects):
        patterns = rng.standard_normal((N_CHANNELS, 2))
        noise = draw_noise(n_segments, rng).swapaxes(1, 2)
        signals.append(noise + level * np.einsum("cf,nft->nct", patterns, evoked))
    rows = pd.DataFrame({
        "subject": np.repeat([f"S{i}" for i in range(n_subjects)], n_segments),
        "segment": np.tile(np.arange(n_segments), n_subjects),
    })  # fmt: skip
    X = Windows.from_array(np.concatenate(signals).astype("f4"), rows=rows, sfreq=RATE)
    return X, np.tile(speech, (n_subjects, 1, 1)), rows["segment"].to_numpy()


@pytest.fixture(scope="module")
def fitted():
    X, y, segment = simulate()
    train = segment < 30
    return LikelihoodDecoder(lags=(0, 0.2), k=1).fit(X[train], y[train]), X[~train], y[~train]


# --- noise -------------------------------------------------------------------------------------------


def test_time_filter_is_inverse_cholesky_factor():
    autocorrelation = 0.8 ** np.arange(4)
    extended = 0.8 ** np.arange(10)  # of the process of order 1
    found = make_noise_time_filter(autocorrelation, 10).double().numpy()
    np.testing.assert_allclose(found @ toeplitz(extended) @ found.T, np.eye(10), atol=1e-6)
    np.testing.assert_allclose(found, np.tril(found))


@pytest.mark.parametrize("order", ["auto", 1, 4])
def test_fit_noise_whitens_space_and_time(order):
    frames = torch.from_numpy(draw_noise(200, np.random.default_rng(0))).float()
    noise = fit_noise(frames, order, clip=None)
    args = noise.mean, noise.unmix, noise.limit, noise.make_time_filter(N_FRAMES), noise.remix
    white = whiten_noise(frames, *args).numpy()
    flat = white.reshape(-1, N_CHANNELS)
    np.testing.assert_allclose(np.cov(flat.T), np.eye(N_CHANNELS), atol=0.1)
    assert np.abs((white[:, 1:] * white[:, :-1]).mean((0, 1))).max() < 0.1
    assert np.abs(white.std((0, 2)) - 1).max() < 0.1  # the first frames as well


def test_fit_noise_limits_bursts():
    rng = np.random.default_rng(0)
    frames = torch.from_numpy(draw_noise(100, rng)).float()
    spoiled = frames.clone()
    spoiled[:5, :20] += 1e3 * torch.randn(5, 20, 1) * torch.ones(N_CHANNELS)
    noise = fit_noise(spoiled, 4, clip=2.0)
    args = noise.mean, noise.unmix, noise.limit, noise.make_time_filter(N_FRAMES), noise.remix
    assert whiten_noise(spoiled, *args)[:5].abs().max() < 20
    assert fit_noise(spoiled, 4, clip=None).limit == np.inf


def test_average_noise_of_equal_models_is_equal():
    frames = torch.from_numpy(draw_noise(50, np.random.default_rng(0))).float()
    noise = fit_noise(frames, 2)
    average = average_noise([noise, noise])
    for one in (noise, average):
        inverse = np.linalg.inv(one.filters)
        np.testing.assert_allclose(
            inverse.T @ inverse, np.linalg.inv(noise.filters @ noise.filters.T), rtol=1e-6
        )


# --- responses ---------------------------------------------------------------------------------------


def test_lag_features_equals_definition():
    features, lags = torch.arange(12.0).reshape(1, 6, 2), np.arange(-1, 3)
    found = lag_response_features(features, lags).reshape(1, 6, 4, 2)
    for frame in range(6):
        for place, lag in enumerate(lags):
            inside = 0 <= frame - lag < 6
            expected = features[0, frame - lag] if inside else torch.zeros(2)
            assert torch.equal(found[0, frame, place], expected)


def test_estimate_equals_bayesian_regression():
    rng = np.random.default_rng(0)
    z, x, filters = (rng.standard_normal(shape) for shape in ((50, 4), (50, 3), (3, 3)))
    roots = rng.standard_normal((4, 4)), rng.standard_normal((3, 3))
    prior = ResponsePrior(*(root @ root.T + np.eye(len(root)) for root in roots))
    found, _ = prior.estimate(ResponseMoments(50, z.T @ z, z.T @ x), filters)
    covariance = np.kron(prior.columns, filters.T @ prior.channels @ filters)  # of row-major responses
    precision = np.linalg.inv(covariance) + np.kron(z.T @ z, np.eye(3))
    np.testing.assert_allclose(found, np.linalg.solve(precision, (z.T @ x).ravel()).reshape(4, 3), atol=1e-6)


def test_iterations_find_shared_columns():
    rng = np.random.default_rng(0)
    moments, truths = [], []
    for _ in range(6):
        z, truth = rng.standard_normal((60, 12)), np.zeros((12, 3))
        truth[:2] = rng.standard_normal((2, 3))  # all subjects respond to the first two columns
        x = z @ truth + 2 * rng.standard_normal((60, 3))
        moments.append(ResponseMoments(15, z.T @ z / 4, z.T @ x / 4))
        truths.append(truth)
    errors = [
        np.mean([(one - truth) ** 2 for one, truth in zip(responses, truths, strict=True)])
        for responses, _ in iter_brain_responses(moments, [np.eye(3)] * 6, 8)
    ]
    assert errors[-1] < 0.5 * errors[0]


# --- decoder -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", [False, True])
def test_similarity_equals_log_likelihood_ratio(fitted, normalize):
    decoder, X, y = copy.copy(fitted[0]), *fitted[1:]
    decoder.normalize_ = normalize
    rows = np.flatnonzero(X.rows["subject"] == "S1")
    model = decoder._model(1)
    evoked = decoder.gain_ * decoder._predict_components(Windows.from_array(y[:10]), model)
    if normalize:
        evoked *= decoder.energy_[1] ** 0.5 / evoked.norm(dim=1, keepdim=True) * decoder.gain_
    seen = decoder._components(X, rows, model).flatten(1)
    direct = (seen.square().sum(1)[:, None] - torch.cdist(seen, evoked).square()) / 2
    scores = decoder.similarity(X, y[:10])
    np.testing.assert_allclose(scores[rows], decoder.scale_ * direct.numpy(), rtol=1e-3, atol=1e-2)


def test_similarity_is_linear_in_transform(fitted):
    decoder, X, y = copy.copy(fitted[0]), *fitted[1:]
    decoder.normalize_ = False
    rows = np.flatnonzero(X.rows["subject"] == "S2")
    estimates = decoder.transform(X[rows])
    centered = y[:10] - decoder.speech_mean_[:, None]
    norms = decoder._predict_candidates(Windows.from_array(y[:10]), 2)[1].numpy()
    products = decoder.scale_ * decoder.gain_ * np.einsum("nft,cft->nc", estimates, centered)
    np.testing.assert_allclose(decoder.similarity(X[rows], y[:10]), products - norms, rtol=1e-3, atol=1e-2)


def test_predict_proba_is_calibrated():
    X, y, segment = simulate(6, 120, level=0.015, seed=1)
    train = segment < 60
    decoder = LikelihoodDecoder(lags=(0, 0.2), k=1).fit(X[train], y[train])
    found = decoder.predict_proba(X[~train], y[~train])
    target = segment[~train] - 60
    chosen, is_right = found.max(1), found.argmax(1) == target
    for low, high in ((0, 0.2), (0.2, 0.5), (0.5, 1.0)):
        own = (chosen >= low) & (chosen < high)
        assert own.sum() > 20
        assert chosen[own].mean() == pytest.approx(is_right[own].mean(), abs=0.15)


def test_fit_finds_rank_lag_and_segments(fitted):
    decoder, X, y = fitted
    assert decoder.score(X, y) > 0.9
    assert decoder.rank_ == 2
    power = np.square(decoder.coef_[:3]).sum((0, 2, 3))
    assert decoder.lags_[power.argmax()] == 0.1
    assert decoder.gain_ == pytest.approx(1, abs=0.2)
    assert decoder.cv_scores_.shape == (10, 6)


@pytest.mark.parametrize("lags", [(0, 0.2), (-0.15, 0.1)])
def test_context_adds_features_around_candidates(fitted, lags):
    decoder, X, y = copy.deepcopy(fitted[0]), *fitted[1:]
    decoder.lag_frames_ = np.arange(round(lags[0] * RATE), round(lags[1] * RATE) + 1)
    decoder.set_params(context=True)
    if lags[0] == 0:  # of fit; arrays have no samples beyond a segment
        np.testing.assert_allclose(decoder.similarity(X, y), fitted[0].similarity(X, y), atol=1e-4)
    signal = np.random.default_rng(0).standard_normal((90, 2)).astype("f4")
    found = decoder._lag_candidates(Windows([signal], [0] * 3, [0, 20, 50], N_FRAMES, RATE), np.arange(3))
    mean = torch.from_numpy(decoder.speech_mean_).float()
    projected = (torch.from_numpy(signal) - mean) @ torch.from_numpy(decoder.speech_components_).float()
    whole = lag_response_features(projected[None], decoder.lag_frames_)[0]
    for one, start in zip(found, (0, 20, 50), strict=True):
        torch.testing.assert_close(one, whole[start : start + N_FRAMES])


def test_scores_do_not_depend_on_chunks(fitted, monkeypatch):
    decoder, X, y = fitted
    whole = decoder.similarity(X, y)
    monkeypatch.setattr(module, "CHUNK_BYTES", 4 * N_FRAMES * N_CHANNELS * 4)
    monkeypatch.setattr(module, "BATCH_BYTES", 1)
    np.testing.assert_allclose(decoder.similarity(X, y), whole, rtol=1e-4, atol=1e-4)


def test_unseen_subject_uses_average():
    X, y, segment = simulate(1, level=2)
    train = segment < 30
    twice = Windows.from_array(
        np.concatenate([X[train]] * 2), rows=pd.DataFrame({"subject": np.repeat(["a", "b"], 30)}), sfreq=RATE
    )
    decoder = LikelihoodDecoder(lags=(0, 0.2), k=1).fit(twice, np.concatenate([y[train]] * 2))
    test = X[~train]
    known = test._replace(rows=pd.DataFrame({"subject": ["a"] * len(test)}))
    np.testing.assert_allclose(
        decoder.similarity(test, y[~train]), decoder.similarity(known, y[~train]), rtol=1e-2, atol=0.1
    )
    with pytest.raises(ValueError, match="unseen_subject='average'"):
        decoder.set_params(unseen_subject="error").similarity(test, y[~train])


def test_fit_warns_without_relation():
    X, y, _ = simulate(2, level=0)
    with pytest.warns(ConvergenceWarning, match="no relation between X and y for . of 2 subjects"):
        LikelihoodDecoder(lags=(0, 0.2)).fit(X, np.random.default_rng(3).standard_normal(y.shape))


def test_single_settings_are_used_without_selection():
    X, y, _ = simulate(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoder = LikelihoodDecoder(lags=(0, 0.2), rank=3, order=2, max_iter=1).fit(X[:4], y[:4])
    assert (decoder.rank_, decoder.n_iter_, decoder.gain_) == (3, 1, 1.0)
    np.testing.assert_array_equal(decoder.order_, 2)
    assert np.isnan(decoder.cv_scores_).all()


@pytest.mark.parametrize("share", [1.0, 0.6, 0.1])
def test_select_cover_reaches_every_sample(share):
    rng = np.random.default_rng(0)
    start = np.sort(rng.integers(0, 500, 200))
    windows = Windows([np.zeros((520, 1)), np.zeros((520, 1))], rng.integers(0, 2, 200), start, 20, 10)
    found = select_likelihood_fitting_cover(windows, share)
    for signal in (0, 1):
        reached, wanted = np.zeros(520, bool), np.zeros(520, bool)
        for rows, mask in ((np.arange(200), wanted), (found, reached)):
            for row in rows[windows.which[rows] == signal]:
                mask[start[row] : start[row] + int(share * 20)] = True
        np.testing.assert_array_equal(reached, wanted)
    assert len(found) < 200 or share == 0.1


def test_components_replace_redundant_features(fitted):
    decoder, X, y = fitted
    train_X, train_y, segment = simulate()
    train = segment < 30
    mixing = np.random.default_rng(0).standard_normal((9, 2)).astype("f4")
    wide, test = (np.einsum("wf,nft->nwt", mixing, one) for one in (train_y[train], y))
    reduced = LikelihoodDecoder(lags=(0, 0.2), n_components=2, k=1).fit(train_X[train], wide)
    assert reduced.coef_.shape[2] == 2
    assert reduced.speech_components_.shape == (9, 2)
    assert reduced.score(X, test) == pytest.approx(decoder.score(X, y), abs=0.1)
    assert reduced.transform(X).shape == (len(X), 9, N_FRAMES)
    np.testing.assert_array_equal(decoder.speech_components_, np.eye(2))


def test_adapt_adds_subject_and_keeps_others(tmp_path):
    X, y, segment = simulate(4, 60)
    subject = X.rows["subject"].to_numpy()
    train, mine = segment < 30, subject == "S3"
    decoder = LikelihoodDecoder(lags=(0, 0.2), k=1).fit(X[train & ~mine], y[train & ~mine])
    adapted = decoder.adapt(X[train & mine], y[train & mine])
    test = ~train
    before, after = (one.similarity(X[test], y[test]) for one in (decoder, adapted))
    others = ~mine[test]
    np.testing.assert_array_equal(after[others], before[others])
    assert adapted.score(X[test & mine], y[test & mine]) > decoder.score(X[test & mine], y[test & mine]) + 0.3
    assert list(adapted.subjects_) == ["S0", "S1", "S2", "S3"]
    assert list(decoder.subjects_) == ["S0", "S1", "S2"]
    assert adapted.adaptations_.to_dict("records")[0]["n_windows"] == 30
    save(adapted, tmp_path / "adapted.b2s")
    np.testing.assert_array_equal(load(tmp_path / "adapted.b2s").similarity(X[test], y[test]), after)
    with pytest.warns(StimulusLeakWarning):
        adapted.score(X[train & mine], y[train & mine])


def test_adapt_rejects_known_subjects_and_methods(fitted):
    decoder, X, y = fitted
    with pytest.raises(ValueError, match="subjects that the decoder was fitted on: \\['S0', 'S1', 'S2'\\]"):
        decoder.adapt(X, y)
    with pytest.raises(ValueError, match="method of LikelihoodDecoder.adapt must be one of"):
        decoder.adapt(X, y, method="layer")
    with pytest.raises(ValueError, match="X has no windows"):
        decoder.adapt(X[:0], y[:0])


def test_nan_candidates_raise(fitted):
    decoder, X, y = fitted
    wrong = Windows.from_array(y[:10]).then(lambda batch, which: batch.fill_(np.nan))
    with pytest.raises(ValueError, match="10 candidates are NaN or infinite"):
        decoder.similarity(X, wrong)
