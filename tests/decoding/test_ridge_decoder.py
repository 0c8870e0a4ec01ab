"""Tests of RidgeDecoder and its solvers."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

from sk_b2s import RidgeDecoder, StimulusKFold, Windows
from sk_b2s.decoding import _ridge_base as strengths
from sk_b2s.decoding._ridge_base import iter_ridge_splits
from sk_b2s.decoding._ridge_solver import compute_ridge_correlation, compute_ridge_moments, iter_ridge_path
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.events._stimuli import StimulusArray


def lagged(x, lags):
    """Lag windows, with zeros outside.

    (n_windows, n_frames, n_channels) ->
    (n_windows * n_frames, n_lags * n_channels)
    """
    n_frames = x.shape[1]
    out = np.zeros((len(x), n_frames, len(lags), x.shape[2]))
    for index, lag in enumerate(lags):
        for frame in range(n_frames):
            if 0 <= frame + lag < n_frames:
                out[:, frame, index] = x[:, frame + lag]
    return out.reshape(len(x) * n_frames, -1)


def draw(seed=0, n_windows=20, n_frames=12, n_channels=3, n_features=2):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_windows, n_frames, n_channels))
    x += 0.5 * np.roll(x, 1, axis=1) + 0.3
    return x, rng.standard_normal((n_windows, n_frames, n_features)) + x[:, :, :1]


def tensors(x, y, n_batches=3):
    pairs = zip(np.array_split(x, n_batches), np.array_split(y, n_batches), strict=True)
    return [(torch.from_numpy(a), torch.from_numpy(b)) for a, b in pairs]


LAGS = [range(0, 1), range(0, 5), range(-3, 4), range(2, 6), range(-6, -2), range(-11, 12)]


@pytest.mark.parametrize("lags", LAGS, ids=str)
def test_lagged_moments_equal_lagged_matrix(lags):
    x, y = draw()
    lags = np.array(lags)
    found = compute_ridge_moments(tensors(x, y), lags, 3, 2)
    D, Y = lagged(x, lags), y.reshape(-1, 2)
    np.testing.assert_allclose(found.xx, D.T @ D, atol=1e-10)
    np.testing.assert_allclose(found.xy, D.T @ Y, atol=1e-10)
    np.testing.assert_allclose(found.x, D.sum(0), atol=1e-10)
    cov_xx, cov_xy, var_y = found.centered()
    np.testing.assert_allclose(cov_xx, np.cov(D.T, bias=True), atol=1e-12)
    np.testing.assert_allclose(cov_xy, (D - D.mean(0)).T @ (Y - Y.mean(0)) / len(D), atol=1e-12)
    np.testing.assert_allclose(var_y, Y.var(0), atol=1e-12)
    assert found.n == len(D)


def test_moments_subtraction_removes_rows():
    x, y = draw()
    lags = np.arange(4)
    rest = compute_ridge_moments(tensors(x, y), lags, 3, 2) - compute_ridge_moments(
        tensors(x[:7], y[:7]), lags, 3, 2
    )
    direct = compute_ridge_moments(tensors(x[7:], y[7:]), lags, 3, 2)
    for name, value in vars(direct).items():
        np.testing.assert_allclose(getattr(rest, name), value, atol=1e-10)
    nothing = compute_ridge_moments([], lags, 3, 2)
    assert nothing.n == 0
    assert nothing.xx.shape == (12, 12)


def test_ridge_path_equals_sklearn():
    x, y = draw()
    D, Y = lagged(x, range(5)), y.reshape(-1, 2)
    D, Y = D - D.mean(0), Y - Y.mean(0)
    cov_xx, cov_xy = D.T @ D / len(D), D.T @ Y / len(D)
    alphas = (1e-4, 1e-1, 10.0)
    scale = np.trace(cov_xx) / len(cov_xx)
    for alpha, coef in zip(alphas, iter_ridge_path(cov_xx, cov_xy, alphas), strict=True):
        direct = np.linalg.solve(cov_xx + alpha * scale * np.eye(len(cov_xx)), cov_xy)
        np.testing.assert_allclose(coef, direct, atol=1e-12)
        reference = Ridge(alpha=alpha * scale * len(D), solver="cholesky").fit(D, Y)
        np.testing.assert_allclose(coef, reference.coef_.T, atol=1e-10)


def test_ridge_path_constant_columns_are_zero():
    coef = next(iter_ridge_path(np.zeros((3, 3)), np.zeros((3, 1)), [1e-3]))
    np.testing.assert_array_equal(coef, 0)


def test_heldout_correlation_equals_pearson():
    x, y = draw()
    D, Y = lagged(x, range(3)), y.reshape(-1, 2)
    coef = np.random.default_rng(1).standard_normal((9, 2))
    expected = np.mean([np.corrcoef((D @ coef)[:, f], Y[:, f])[0, 1] for f in range(2)])
    moments = compute_ridge_moments(tensors(x, y), np.arange(3), 3, 2).centered()
    assert compute_ridge_correlation(coef, moments) == pytest.approx(expected)
    coef[:, 1] = 0  # a constant estimate correlates with nothing
    expected = np.corrcoef((D @ coef)[:, 0], Y[:, 0])[0, 1] / 2
    assert compute_ridge_correlation(coef, moments) == pytest.approx(expected)


@pytest.mark.parametrize("lags", [(0.0, 0.2), (-0.1, 0.1), (0.1, 0.3)])
def test_ridge_decoder_equals_sklearn(lags):
    x, y = (a.astype("f4") for a in draw(n_windows=40))
    ridge = RidgeDecoder(lags=lags, alphas=(1e-2,), sfreq=20, k=1)
    ridge.fit(x.swapaxes(1, 2), y.swapaxes(1, 2))
    D = lagged(x - x.mean((0, 1)), ridge.lag_frames_)
    np.testing.assert_allclose(ridge.lags_[[0, -1]], lags)
    reference = Ridge(alpha=1e-2 * D.var(0).mean() * len(D)).fit(D, y.reshape(-1, 2))
    expected = reference.predict(D).reshape(40, 12, 2).swapaxes(1, 2)
    np.testing.assert_allclose(ridge.transform(x.swapaxes(1, 2)), expected, atol=2e-6)
    np.testing.assert_allclose(ridge.coef_[0].reshape(-1, 2), reference.coef_.T, atol=2e-6)


def test_ridge_decoder_one_frame():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((50, 5)), rng.standard_normal((50, 3))
    ridge = RidgeDecoder(alphas=(0.1,), k=1).fit(X, y)
    reference = Ridge(alpha=0.1 * X.var(0).mean() * 50).fit(X, y)
    np.testing.assert_allclose(ridge.transform(X), reference.predict(X), atol=2e-6)
    np.testing.assert_allclose(
        ridge.intercept_[0] - ridge.mean_[0] @ ridge.coef_[0, 0], reference.intercept_, atol=2e-6
    )
    flat = RidgeDecoder(k=1).fit(X, y[:, 0])
    assert flat.transform(X).shape == (50, 1)
    assert flat.lags_.tolist() == [0.0]


def test_ridge_decoder_pools_frames():
    rng = np.random.default_rng(0)
    brain, speech = (
        rng.standard_normal((30, 4, 24)).astype("f4"),
        rng.standard_normal((30, 2, 10)).astype("f4"),
    )
    frames = np.floor(np.arange(24) * 50 / 120).astype(int)
    pooled = np.stack([brain[:, :, frames == frame].mean(2) for frame in range(10)], 2)
    settings = {"lags": (0, 0.06), "alphas": (1e-2,), "k": 1}
    fast = RidgeDecoder(**settings).fit(
        Windows.from_array(brain, sfreq=120), Windows.from_array(speech, sfreq=50)
    )
    slow = RidgeDecoder(**settings, sfreq=50).fit(pooled, speech)
    np.testing.assert_allclose(fast.coef_, slow.coef_, atol=1e-6)
    np.testing.assert_allclose(
        fast.transform(Windows.from_array(brain, sfreq=120)), slow.transform(pooled), atol=2e-6
    )


def test_ridge_decoder_frame_without_samples():
    rng = np.random.default_rng(0)
    brain = rng.standard_normal((30, 4, 8)).astype("f4") + 5
    speech = rng.standard_normal((30, 1, 5)).astype("f4")
    windows = Windows.from_array(brain, sfreq=20), Windows.from_array(speech, sfreq=10)
    ridge = RidgeDecoder(lags=(0, 0.1), alphas=(1e-2,), k=1).fit(*windows)
    assert ridge.frame_weights_.tolist() == [2, 2, 2, 2, 0]
    pooled = brain.reshape(30, 4, 4, 2).mean(3)
    mean = np.broadcast_to(pooled.mean((0, 2))[None, :, None], (30, 4, 1))
    filled = np.concatenate([pooled, mean], axis=2)
    slow = RidgeDecoder(lags=(0, 0.1), alphas=(1e-2,), sfreq=10, k=1).fit(filled, speech)
    np.testing.assert_allclose(ridge.transform(windows[0]), slow.transform(filled), atol=5e-6)


def planted(n_subjects=2, n_windows=60, noise=1.0, shared=False, seed=0):
    """EEG that follows a feature by two frames of 20 Hz, in own patterns."""
    rng = np.random.default_rng(seed)
    speech = rng.standard_normal((n_windows, 1, 40)).astype("f4")
    patterns = rng.standard_normal((1 if shared else n_subjects, 8, 1)) * np.ones((n_subjects, 1, 1))
    brains, rows = [], []
    for subject, pattern in enumerate(patterns):
        followed = pattern * np.roll(speech, 2, axis=2)
        brains.append(followed + noise * rng.standard_normal(followed.shape))
        rows.append(
            pd.DataFrame({"subject": f"s{subject}", "recording": f"r{subject}"}, index=range(n_windows))
        )
    X = Windows.from_array(np.concatenate(brains), rows=pd.concat(rows, ignore_index=True), sfreq=20)
    return X, np.concatenate([speech] * n_subjects)


def test_ridge_decoder_recovers_lag():
    X, y = planted(1)
    ridge = RidgeDecoder(lags=(0, 0.3), k=1).fit(X, y)
    power = np.square(ridge.coef_[0]).sum((1, 2))
    assert ridge.lags_[power.argmax()] == pytest.approx(0.1)
    assert power.max() > 0.9 * power.sum()


def test_ridge_decoder_models_are_independent():
    X, y = planted(2)
    both = RidgeDecoder(lags=(0, 0.2), k=1).fit(X, y)
    for index in range(2):
        mine = (X.rows["subject"] == f"s{index}").to_numpy()
        alone = RidgeDecoder(lags=(0, 0.2), k=1).fit(X[mine], y[mine])
        np.testing.assert_allclose(both.coef_[index], alone.coef_[0], atol=1e-6)
        np.testing.assert_allclose(both.transform(X)[mine], alone.transform(X[mine]), atol=1e-5)


def test_ridge_decoder_opposite_subjects():
    X, y = planted(1, n_windows=60)
    data = np.concatenate([np.asarray(X), -np.asarray(X)])
    rows = pd.DataFrame({"subject": np.repeat(["a", "b"], 60), "recording": np.repeat(["a", "b"], 60)})
    X, y = Windows.from_array(data, rows=rows, sfreq=20), np.concatenate([y, y])
    own, pooled = (RidgeDecoder(lags=(0, 0.2), per_subject=p, k=1).fit(X, y) for p in (True, False))
    assert own.coef_.shape == (2, 5, 8, 1)
    assert pooled.coef_.shape == (1, 5, 8, 1)
    assert np.abs(pooled.coef_).max() < 1e-3 * np.abs(own.coef_).max()


def test_ridge_decoder_unseen_subject():
    X, y = planted(3)
    new, _ = planted(1, seed=5)
    new.rows["subject"] = "stranger"
    ridge = RidgeDecoder(lags=(0, 0.2), alphas=(1e-2,), k=1).fit(X, y)
    x = np.asarray(new).swapaxes(1, 2) - ridge.mean_.mean(0)
    expected = lagged(x, ridge.lag_frames_) @ ridge.coef_.mean(0).reshape(-1, 1) + ridge.intercept_.mean(0)
    np.testing.assert_allclose(ridge.transform(new)[:, 0].ravel(), expected.ravel(), atol=1e-5)
    strict = clone(ridge).set_params(unseen_subject="error").fit(X, y)
    with pytest.raises(
        ValueError, match=r"not in fit: \['stranger'\]. Subjects in fit: \['s0', 's1', 's2'\]"
    ):
        strict.transform(new)


def test_ridge_decoder_components():
    X, y = planted(2, shared=True, noise=0.3)
    train = np.arange(120) % 60 < 40
    whole, all_of_them, one = (
        RidgeDecoder(lags=(0, 0.2), alphas=(1e-3,), n_components=n, k=1).fit(X[train], y[train])
        for n in (None, 8, 1)
    )
    np.testing.assert_allclose(all_of_them.coef_, whole.coef_, atol=1e-5)
    assert one.coef_.shape == whole.coef_.shape
    assert np.linalg.matrix_rank(one.coef_[0, :, :, 0], tol=1e-5) == 1
    assert one.score(X[~train], y[~train]) == 1.0


def test_ridge_decoder_alpha_is_unit_free():
    X, y = planted(1)
    volts = np.asarray(X) * np.float32(1e-6)
    first, second = (RidgeDecoder(lags=(0, 0.2), sfreq=20, k=1).fit(x, y) for x in (np.asarray(X), volts))
    assert first.alpha_ == second.alpha_
    np.testing.assert_allclose(first.coef_, second.coef_ * 1e-6, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(first.cv_scores_, second.cv_scores_, atol=1e-6)


def test_ridge_decoder_selects_alpha_by_cv():
    X, y = planted(1, n_windows=30, noise=5.0)
    alphas = (1e-4, 1e-2, 1.0, 100.0)
    ridge = RidgeDecoder(lags=(0, 0.2), alphas=alphas, cv=3, k=1).fit(X, y)
    x = np.asarray(X).swapaxes(1, 2)
    D = lagged(x - x.mean((0, 1)), range(5)).reshape(30, 40, -1)
    expected = np.zeros((3, 4))
    for fold, test in enumerate(np.array_split(np.arange(30), 3)):
        train = np.setdiff1d(np.arange(30), test)
        A, b = D[train].reshape(-1, 40), y[train].ravel()
        for index, alpha in enumerate(alphas):
            model = Ridge(alpha=alpha * A.var(0).mean() * len(A)).fit(A, b)
            expected[fold, index] = np.corrcoef(model.predict(D[test].reshape(-1, 40)), y[test].ravel())[0, 1]
    np.testing.assert_allclose(ridge.cv_scores_[0], expected.mean(0), atol=1e-4)
    assert ridge.alpha_[0] == alphas[expected.mean(0).argmax()]


def test_ridge_decoder_noise_is_at_chance():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((400, 6, 20)), rng.standard_normal((400, 1, 20))
    ridge = RidgeDecoder(lags=(0, 0.1), sfreq=20, k=10).fit(X[:200], y[:200])
    assert np.abs(ridge.cv_scores_).max() < 0.1
    assert ridge.score(X[200:], y[200:]) < 0.12  # 10 of 200


# --- inner folds -----------------------------------------------------------------------------------


def table_of_windows(n_blocks=6, seconds=20.0, step=1.0, duration=3.0):
    sound = StimulusArray(np.zeros(int(n_blocks * seconds)), sfreq=1)
    onset = np.arange(0, n_blocks * seconds - duration + 1e-9, step)
    block = (onset // seconds).astype(int)
    return pd.DataFrame({
        "sound": [sound] * len(onset), "sound_onset": onset, "duration": duration, "block": block,
        "block_start": block * seconds, "block_stop": (block + 1) * seconds, "segment": np.arange(len(onset)),
    })  # fmt: skip


def test_iter_ridge_splits_share_no_stimulus():
    table = table_of_windows()
    rows = np.flatnonzero(np.arange(len(table)) % 7)
    tested = []
    for train, test in iter_ridge_splits(table, table["segment"].to_numpy(), rows, 3):
        held_out = StimulusIntervals.from_table(table.iloc[test], blocks=True)
        assert not held_out.touches(table.iloc[train], gap=0.999).any()
        assert set(train) | set(test) <= set(rows)
        tested.extend(test)
    assert sorted(tested) == rows.tolist()


def test_iter_ridge_splits_of_arrays():
    segments = np.repeat(np.arange(7), 2)
    folds = [test for _, test in iter_ridge_splits(np.zeros(14), segments, np.arange(14), 3)]
    assert [np.unique(segments[f]).tolist() for f in folds] == [[0, 1, 2], [3, 4], [5, 6]]
    assert len(list(iter_ridge_splits(np.zeros(14), segments, np.arange(4), 3))) == 2  # no more than segments


def test_iter_ridge_splits_accepts_splitters():
    table = table_of_windows()
    rows, segments = np.flatnonzero(np.arange(len(table)) % 7), table["segment"].to_numpy()
    for given, cv in ((table, StimulusKFold(3)), (np.zeros(len(table)), KFold(2))):
        expected = list(iter_ridge_splits(given, segments, rows, cv.get_n_splits()))
        for found, own in zip(iter_ridge_splits(given, segments, rows, cv), expected, strict=True):
            np.testing.assert_array_equal(found[0], own[0])
            np.testing.assert_array_equal(found[1], own[1])


def test_ridge_decoder_cv_accepts_splitters():
    X, y = planted(2)
    alphas = (1e-3, 1e-1, 10.0)
    by_number, by_splitter = (
        RidgeDecoder(lags=(0, 0.2), alphas=alphas, cv=cv, k=1).fit(X, y).cv_scores_ for cv in (3, KFold(3))
    )
    assert by_splitter.shape == by_number.shape
    assert np.isfinite(by_splitter).all()
    with pytest.raises(ValueError, match="'cv' parameter"):
        RidgeDecoder(cv=1, k=1).fit(X, y)


def test_ridge_decoder_too_many_components():
    X, y = planted(2)
    models = [RidgeDecoder(lags=(0, 0.2), n_components=n, k=1).fit(X, y) for n in (None, X.shape[1], 48)]
    for model in models[1:]:
        np.testing.assert_array_equal(model.coef_, models[0].coef_)


def test_ridge_decoder_ranks_ignore_scale():
    x, y = draw(n_windows=40)
    ridge = RidgeDecoder(lags=(0, 0.2), sfreq=10, k=1).fit(x[:30].swapaxes(1, 2), y[:30].swapaxes(1, 2))
    before, _ = ridge.ranks(x[30:].swapaxes(1, 2), y[30:].swapaxes(1, 2))
    ridge.coef_, ridge.intercept_ = 64 * ridge.coef_, 64 * ridge.intercept_
    after, _ = ridge.ranks(x[30:].swapaxes(1, 2), y[30:].swapaxes(1, 2))
    np.testing.assert_array_equal(after, before)
    moments = compute_ridge_moments(tensors(x, y), np.arange(3), 3, 2).centered()
    coef = ridge.coef_[0].reshape(9, 2)
    assert compute_ridge_correlation(coef, moments) == pytest.approx(
        compute_ridge_correlation(coef / 64, moments)
    )


def test_ridge_decoder_cv_rejects_one_block():
    table = table_of_windows(n_blocks=1)
    rng = np.random.default_rng(0)
    speech = Windows.from_array(rng.standard_normal((len(table), 1, 30)), rows=table, sfreq=10)
    brain = Windows.from_array(rng.standard_normal((len(table), 2, 30)), sfreq=10)
    with pytest.raises(ValueError, match=r"Got 1 block\(s\) in 18 windows.*one alpha"):
        RidgeDecoder(k=1).fit(brain, speech)
    assert np.isnan(RidgeDecoder(alphas=(1.0,), k=1).fit(brain, speech).cv_scores_).all()


# --- windows and persistence -----------------------------------------------------------------------


def test_ridge_decoder_ignores_batches_and_order(monkeypatch):
    X, y = planted(2)
    ridge = RidgeDecoder(lags=(0, 0.2), k=1).fit(X, y)
    whole = ridge.transform(X)
    order = np.random.default_rng(0).permutation(len(X))
    np.testing.assert_allclose(ridge.transform(X[order]), whole[order], atol=1e-6)
    monkeypatch.setattr(strengths, "BATCH_BYTES", 8 * 7 * 8 * 40)  # seven windows
    np.testing.assert_allclose(ridge.transform(X), whole, atol=1e-6)
    again = clone(ridge).fit(X, y)
    np.testing.assert_allclose(again.coef_, ridge.coef_, atol=1e-6)
    np.testing.assert_allclose(again.cv_scores_, ridge.cv_scores_, atol=1e-9)


def test_ridge_decoder_pickle():
    X, y = planted(2)
    ridge = RidgeDecoder(lags=(0, 0.2), k=1).fit(X, y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ridge)).transform(X), ridge.transform(X))


# --- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sfreq": None}, r"without a sampling rate. Set RidgeDecoder\(sfreq=...\)"),
        ({"lags": (0.5, 0.1)}, r"lags must be two rising numbers of seconds. Got \(0.5, 0.1\)"),
        ({"lags": (2.5, 3.0)}, r"shorter than the window of 2.000 s"),
        ({"alphas": (0.0, 1.0)}, "alphas must be one or more finite numbers above 0"),
        ({"alphas": ()}, "alphas must be one or more"),
    ],
)
def test_ridge_decoder_rejects_bad_parameters(settings, message):
    X, y = planted(1)
    with pytest.raises(ValueError, match=message):
        RidgeDecoder(**{"sfreq": 20, "k": 1, **settings}).fit(np.asarray(X), y)


def test_ridge_decoder_rejects_bad_windows():
    X, y = planted(1)
    with pytest.raises(ValueError, match="sfreq=50, but X has a sampling rate of 20 Hz"):
        RidgeDecoder(sfreq=50).fit(X, y)
    data = np.asarray(X)
    data[3, 5, 7] = np.nan
    with pytest.raises(ValueError, match=r"X contains NaN or infinity in channels \[5\]"):
        RidgeDecoder().fit(Windows.from_array(data, rows=X.rows, sfreq=20), y)


def test_ridge_decoder_constant_channel_is_zero():
    X, y = planted(1)
    data = np.asarray(X)
    data[:, 3] = 7
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ridge = RidgeDecoder(lags=(0, 0.2), sfreq=20, k=1).fit(data, y)
    np.testing.assert_allclose(ridge.coef_[0, :, 3], 0, atol=1e-12)
