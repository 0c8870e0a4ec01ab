"""Tests of lags that read beyond the ends of windows."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter1d

from sk_b2s import PrecomputedFeatures, RidgeDecoder, Windows, average_trfs, load, reconstruct, save
from sk_b2s.decoding._trf._context import find_adjoining_spans
from sk_b2s.evaluation._controls._surrogates import SurrogateRecordings
from sk_b2s.preprocessing._epocher._table import EpocherTableBaseline

SFREQ = 64.0


def make_trials(lengths=(1280, 1280, 1280), seed=0):
    """Three channels that follow two features by 5 samples, in noise."""
    rng = np.random.default_rng(seed)
    stimuli = [uniform_filter1d(rng.standard_normal((n, 2)), 4, axis=0) for n in lengths]
    responses = [np.roll(s[:, [0, 1, 0]], 5, axis=0) + rng.standard_normal((len(s), 3)) for s in stimuli]
    return responses, stimuli


@lru_cache
def cut(seconds, lengths=(1280, 1280, 1280), stimulus_sfreq=SFREQ):
    """Cut trials into windows."""
    responses, stimuli = make_trials(lengths)
    stimuli = [s.reshape(-1, int(SFREQ / stimulus_sfreq), 2).mean(1) for s in stimuli]
    return Windows.from_trials(responses, stimuli, SFREQ, seconds=seconds, stimulus_sfreq=stimulus_sfreq)


def fit(seconds, context=True, stimulus_sfreq=SFREQ, **params):
    """Train on two trials, and return r of the third."""
    X, y = cut(seconds, stimulus_sfreq=stimulus_sfreq)
    train = X.which < 2
    params = {"lags": (0, 0.25), "alphas": (0.01,), "k": 1, "context": context, **params}
    ridge = RidgeDecoder(PrecomputedFeatures(), **params).fit(X[train], y[train])
    return ridge, reconstruct(ridge, X[~train], y[~train]).correlations(n_shifts=0)["r"].to_numpy()[1:]


@pytest.mark.parametrize("seconds", [0.5, 5.0])
def test_ridge_decoder_context_equals_mtrfpy(seconds):
    mtrf = pytest.importorskip("mtrf", reason="mTRFpy is not installed")
    responses, stimuli = make_trials()
    ridge, r = fit(seconds)
    joined = np.concatenate(responses[:2])
    centered = [response - joined.mean(0) for response in responses]
    other = mtrf.TRF(direction=-1)
    penalty = 0.01 * joined.var(0).mean() * 1280 / SFREQ  # mTRFpy averages sums over trials
    other.train(stimuli[:2], centered[:2], int(SFREQ), 0, 0.25, penalty)
    _, expected = other.predict([stimuli[2]], [centered[2]], average=False)
    np.testing.assert_allclose(r, np.ravel(expected), atol=1e-4)
    weights = other.weights[:, ::-1].transpose(1, 0, 2)  # from lag 0 to the last
    assert np.corrcoef(ridge.coef_.ravel(), weights.ravel())[0, 1] > 0.9999
    assert (r > fit(0.5, context=False)[1] + 0.01).all()


@pytest.mark.parametrize(
    ("lags", "params"),
    [((-0.125, 0.25), {}), ((0.125, 0.25), {}), ((-0.25, -0.125), {}), ((0, 0.25), {"stimulus_sfreq": 16.0}),
     ((-0.125, 0.25), {"n_components": 2, "alphas": (0.1, 1.0)})],
)  # fmt: skip
def test_context_weights_ignore_window_length(lags, params):
    (whole, r_whole), (short, r) = (fit(seconds, lags=lags, **params) for seconds in (20, 1))
    assert short.coef_.shape == whole.coef_.shape
    np.testing.assert_allclose(short.coef_, whole.coef_, atol=1e-4 * abs(whole.coef_).max())
    np.testing.assert_allclose(r, r_whole, atol=1e-4)


def test_context_fit_reads_its_own_windows_only():
    X, y = cut(1, (1280,))
    rows = np.r_[0:5, 8:15]
    inside = np.zeros(1280, bool)
    for row in rows:
        inside[X.start[row] : X.start[row] + X.n_times] = True
    Y = X._replace(signals=[np.where(inside[:, None], X.signals[0], np.nan)])
    ridge = RidgeDecoder(PrecomputedFeatures(), lags=(-0.1, 0.4), alphas=(0.1,), k=1, context=True)
    expected = ridge.fit(X[rows], y.iloc[rows]).coef_
    np.testing.assert_array_equal(ridge.fit(Y[rows], y.iloc[rows]).coef_, expected)


def test_context_fit_does_not_read_baselines():
    """A baseline is averaged, but its samples are those of other windows."""
    X, y = cut(1, (1280,))
    rows = np.r_[1:5, 8:15]  # the baseline of the eighth window is in the seventh
    ridge = RidgeDecoder(PrecomputedFeatures(), lags=(-0.1, 0.1), alphas=(0.1,), k=1, context=True)
    coefs = []
    for change in (0.0, 5.0):
        signal = X.signals[0].copy()
        signal[496:504] += change
        signal[504:512] -= change  # the mean of the baseline is the same
        Y = Windows([signal], X.which[rows], X.start[rows] - 16, 80, SFREQ, rows=X.rows.iloc[rows])
        coefs.append(ridge.fit(Y.then(EpocherTableBaseline(0, 16, 16, 64)), y.iloc[rows]).coef_)
    np.testing.assert_allclose(*coefs, atol=1e-6)


def test_context_estimates_do_not_depend_on_rows():
    X, y = cut(1, (1280,))
    ridge = RidgeDecoder(PrecomputedFeatures(), lags=(-0.1, 0.4), alphas=(0.1,), k=1, context=True).fit(X, y)
    whole = ridge.transform(X)
    np.testing.assert_allclose(ridge.transform(X[[3, 7]]), whole[[3, 7]], atol=1e-6)
    padded = ridge.transform(Windows.from_array(np.asarray(X), X.rows, sfreq=SFREQ))
    reach = len(ridge.lags_)
    np.testing.assert_allclose(padded[..., reach:-reach], whole[..., reach:-reach], atol=1e-5)
    assert abs(padded[1:-1] - whole[1:-1])[..., -3:].min(axis=(1, 2)).all()


def test_context_without_recording_is_mean():
    rng = np.random.default_rng(0)
    eeg, speech = rng.standard_normal((20, 3, 30)), rng.standard_normal((20, 2, 30))
    params = {"lags": (-0.2, 0.4), "alphas": (0.1,), "sfreq": 10, "k": 1}
    found, expected = (RidgeDecoder(context=on, **params).fit(eeg, speech) for on in (True, False))
    np.testing.assert_allclose(found.coef_, expected.coef_, atol=1e-6)
    np.testing.assert_allclose(found.transform(eeg), expected.transform(eeg), atol=1e-5)


def test_context_of_surrogates_is_not_other_windows():
    X = cut(1, (640,))[0]
    found = SurrogateRecordings("white", overlap=False, random_state=0).fit(X).transform(X)
    fill = torch.full((3,), 9.0)
    assert (found.gather_context([2], 4, 4, fill)[0, :, :4] == 9).all()


def test_context_decoder_is_saved(tmp_path):
    X, y = cut(1, (1280,))
    ridge = RidgeDecoder(PrecomputedFeatures(), lags=(-0.1, 0.4), alphas=(0.1,), k=1, context=True).fit(X, y)
    save(ridge, tmp_path / "ridge")
    expected = ridge.transform(X)
    np.testing.assert_array_equal(load(tmp_path / "ridge").transform(X), expected)
    ridge.set_params(context=False)  # has an effect on the next fit only
    np.testing.assert_array_equal(ridge.transform(X), expected)


def test_average_trfs_requires_equal_context():
    (one, _), (other, _) = fit(1), fit(1, context=False)
    X = cut(1)[0]
    np.testing.assert_allclose(average_trfs([one, one]).transform(X), one.transform(X), atol=1e-6)
    with pytest.raises(ValueError, match="equal context. Index 1 and index 0 differ"):
        average_trfs([one, other])


def test_context_refuses_unequal_windows_and_parts():
    X, y = cut(1, (640,))
    ridge = RidgeDecoder(PrecomputedFeatures(), alphas=(0.1,), k=1, context=True)
    assert not hasattr(ridge, "partial_fit")
    unequal = X._replace(n_valid=np.r_[32, np.full(len(X) - 1, 64)])
    with pytest.raises(ValueError, match=r"RidgeDecoder\(context=True\) requires windows of equal length"):
        ridge.fit(unequal, y)


def test_find_adjoining_spans_of_signals():
    rng = np.random.default_rng(0)
    which, start = rng.integers(0, 3, 40), rng.integers(0, 300, 40)
    X = Windows([np.zeros((310, 1), "f4")] * 3, which, start, 5, 100.0)
    for row, (low, high) in enumerate(find_adjoining_spans(X)):
        covered = np.zeros(312, bool)
        for first in start[which == which[row]]:
            covered[first : first + 5] = True
        assert covered[low:high].all()
        assert not covered[high]
        assert low == 0 or not covered[low - 1]
    assert find_adjoining_spans(X[[]]).shape == (0, 2)


def test_gather_context_keeps_the_baseline():
    signal = np.random.default_rng(0).standard_normal((100, 2)).astype("f4")
    step = EpocherTableBaseline(0, 4, 3, 10)  # windows of 10 from the third of 15 samples
    windows = Windows([signal], [0, 0, 0], [0, 40, 85], 15, 100.0).then(step)
    fill = torch.full((2,), 9.0)
    for before, after in ((6, 7), (2, 1), (-2, 3), (1, -3)):
        found = windows.gather_context([0, 1, 2], before, after, fill).numpy()
        for start, batch in zip((0, 40, 85), found, strict=True):
            place = np.arange(start + 3 - before, start + 13 + after)
            has = (place >= 0) & (place < 100)
            expected = signal[place[has]] - signal[start : start + 4].mean(0)
            np.testing.assert_allclose(batch[:, has].T, expected, atol=1e-5)
            assert (batch[:, ~has] == 9).all()
