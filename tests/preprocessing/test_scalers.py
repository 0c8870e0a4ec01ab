"""Test scalers of channels and features."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from sk_b2s import FeatureScaler, RobustChannelScaler, Windows

N_TIMES, N_CHANNELS = 50, 4


def recording(seed, n_times=6000):
    """Noise of different scales and offsets, with a loud part at the end."""
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((n_times, N_CHANNELS)) * 10.0 ** rng.uniform(-13, -5, N_CHANNELS)
    signal += signal.std(0) * rng.uniform(-3, 3, N_CHANNELS)
    signal[-1000:] *= 100
    signal[rng.integers(0, n_times, 20)] *= 1000  # artifacts
    return signal.astype(np.float32)


@pytest.fixture
def windows():
    rng = np.random.default_rng(0)
    signals = [recording(seed) for seed in range(3)]
    which = rng.integers(0, 3, 80)
    rows = pd.DataFrame({"recording": [f"{w}.fif" for w in which], "row": range(80)})
    return Windows(
        signals, which, rng.integers(0, 6000 - N_TIMES, 80), N_TIMES, 120.0, rows=rows, extent=[(200, 5000)] * 3,
        ch_names=["Fz", "Cz", "Pz", "Oz"],
    )  # fmt: skip


@pytest.mark.parametrize("quantile_range", [(25.0, 75.0), (5, 95)])
@pytest.mark.parametrize("clip", [20, 3.0, None])
def test_robust_channel_scaler_equals_numpy(windows, clip, quantile_range):
    scaled = RobustChannelScaler(clip=clip, quantile_range=quantile_range).fit_transform(windows)
    expected = np.asarray(windows).astype(float)
    for index, signal in enumerate(windows.signals):
        heard = signal[200 : 200 + 96 * N_TIMES].astype(float)  # 96 windows side by side, until 5000
        low, median, high = np.percentile(heard, [quantile_range[0], 50, quantile_range[1]], axis=0)
        mine = windows.which == index
        expected[mine] = (expected[mine] - median[:, None]) / (high - low)[:, None]
    if clip is not None:
        expected = np.clip(expected, -clip, clip)
        assert np.abs(np.asarray(scaled)).max() == clip
    np.testing.assert_allclose(np.asarray(scaled), expected, rtol=1e-5, atol=1e-5)


def test_robust_channel_scaler_samples_long_recordings():
    """200 windows of 3 s estimate statistics of an hour to a few percent."""
    rng = np.random.default_rng(0)
    signal = (rng.standard_normal((200_000, 3)) * [1, 5, 9] + [0, 1, 2]).astype(np.float32)
    windows = Windows([signal], [0], [7], 343, 120.0)
    scaled = RobustChannelScaler(clip=None).fit_transform(windows)[0]
    iqr = 1.349 * np.array([1, 5, 9])
    np.testing.assert_allclose(scaled, (signal[7:350] - [0, 1, 2]).T / iqr[:, None], rtol=0.04, atol=0.04)


@pytest.mark.parametrize("seconds", [0.5, 3.2, 99.0])
def test_calibration_limits_the_statistics(seconds):
    rng, sfreq = np.random.default_rng(0), 10
    signal = (rng.normal(size=(400, 2)) * np.linspace(1, 3, 400)[:, None]).astype("f4")
    windows = Windows([signal], [0, 0], [0, 300], 20, sfreq, extent=[(50, 350)])
    n_first = min(round(seconds * sfreq), 300)
    low, median, high = np.percentile(signal[50 : 50 + n_first], [25, 50, 75], axis=0)
    expected = (signal[300:320].T - median[:, None]) / (high - low)[:, None]
    scaled = RobustChannelScaler(calibration=seconds).fit_transform(windows)
    np.testing.assert_allclose(np.asarray(scaled)[1], expected, rtol=1e-4, atol=1e-5)
    plain = Windows([signal], [0, 0], [0, 300], 20, None)
    with pytest.raises(ValueError, match="calibration=1 is in seconds and requires the sampling rate"):
        RobustChannelScaler(calibration=1).fit_transform(plain)


@pytest.mark.parametrize(
    "rows", [[3], [70, 3, 3, 12], slice(0, 80, 7), np.arange(79, -1, -1), "one recording"], ids=str
)
def test_scaling_does_not_depend_on_other_rows(windows, rows):
    rows = np.flatnonzero(windows.which == 1) if isinstance(rows, str) else rows
    scaler = RobustChannelScaler().fit(windows)
    whole = np.asarray(scaler.transform(windows))
    np.testing.assert_array_equal(np.asarray(scaler.transform(windows[rows])), whole[rows])
    np.testing.assert_array_equal(np.asarray(scaler.transform(windows)[rows]), whole[rows])
    np.testing.assert_array_equal(np.asarray(RobustChannelScaler().fit_transform(windows[rows])), whole[rows])


def test_scaling_does_not_depend_on_recordings_in_fit(windows):
    alone = windows[windows.which == 2]
    fewer = Windows(
        [windows.signals[2]], np.zeros(len(alone)), alone.start, N_TIMES, 120.0, extent=[(200, 5000)]
    )
    np.testing.assert_array_equal(
        np.asarray(RobustChannelScaler().fit_transform(fewer)),
        np.asarray(RobustChannelScaler().fit_transform(windows))[windows.which == 2],
    )


def test_scaling_includes_earlier_steps(windows):
    """The output does not change after a step that doubles the input."""

    def plus_one_volt(batch, which):
        return batch.mul_(2).add_(1e-7)

    once, twice = (RobustChannelScaler().fit_transform(w) for w in (windows, windows.then(plus_one_volt)))
    heard_well = np.array([signal.std(0) > 1e-7 for signal in windows.signals])[windows.which]
    np.testing.assert_allclose(np.asarray(once)[heard_well], np.asarray(twice)[heard_well], atol=1e-3)
    assert heard_well.any()


def test_robust_channel_scaler_warns_of_constant(windows):
    windows.signals[1][:, 2] = 3e-6
    scaler = RobustChannelScaler().fit(windows)
    with pytest.warns(
        UserWarning, match=r"1 constant channel in recording '1\.fif': Pz\. .*Mark them as bad"
    ) as caught:
        scaled = scaler.transform(windows)
    assert len(caught) == 1
    assert (np.asarray(scaled)[windows.which == 1, 2] == 0).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scaler.transform(windows[windows.which != 1])


def test_masked_channels_do_not_warn(windows):
    windows.signals[1][:, 2] = 0.0
    positions = np.random.default_rng(0).random((2, N_CHANNELS, 2))
    positions[1, 2] = np.nan
    masked = windows._replace(positions=positions, layout=[0, 1, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (np.asarray(RobustChannelScaler().fit_transform(masked))[windows.which == 1, 2] == 0).all()
    windows.signals[1][:, 0] = 0.0
    with pytest.warns(UserWarning, match="1 constant channel in recording '1.fif': Fz"):
        RobustChannelScaler().fit_transform(masked)


@pytest.mark.parametrize("shape", [(30, 5, 20), (300, 5)])
def test_array_is_scaled_by_the_statistics_of_fit(shape):
    rng = np.random.default_rng(0)
    X, other = (rng.standard_normal(shape) * 4 + 2 for _ in range(2))
    scaler = RobustChannelScaler(clip=1.5).fit(X)
    axes = (0, 2) if len(shape) == 3 else 0
    low, median, high = np.percentile(X, [25, 50, 75], axis=axes, keepdims=True)
    np.testing.assert_allclose(scaler.transform(other), np.clip((other - median) / (high - low), -1.5, 1.5))
    np.testing.assert_allclose(scaler.center_, median.ravel())


def test_transform_rejects_array_after_windows(windows):
    with pytest.raises(ValueError, match="fitted on Windows. Call fit with an array"):
        RobustChannelScaler().fit(windows).transform(np.zeros((2, N_CHANNELS, N_TIMES)))


@pytest.mark.parametrize("quantile_range", [(75, 25), (-1, 50), (25, 101), (50, 50)])
def test_fit_checks_the_order_of_percentiles(quantile_range):
    with pytest.raises(ValueError, match="two increasing percentiles"):
        RobustChannelScaler(quantile_range=quantile_range).fit(np.zeros((3, 2)))


def test_fit_rejects_fractions_as_percentiles():
    with pytest.raises(ValueError, match=r"in percent.*Use \(25.0, 75.0\)"):
        RobustChannelScaler(quantile_range=(0.25, 0.75)).fit(np.zeros((3, 2)))


# --- features ----------------------------------------------------------------------------------------


@pytest.fixture
def features():
    rng = np.random.default_rng(1)
    signal = (rng.standard_normal((4000, 6)) * np.arange(1, 7) + 100 * np.arange(6)).astype(np.float32)
    return Windows([signal], np.zeros(500), rng.integers(0, 3900, 500), 30, 50.0)


@pytest.mark.parametrize("per_feature", [True, False])
@pytest.mark.parametrize("batch", [1, 30 * 6 * 7, 2**24])
def test_feature_scaler_batches_equal_numpy(features, per_feature, batch, monkeypatch):
    monkeypatch.setattr("sk_b2s.preprocessing._scalers.BATCH_VALUES", batch)
    scaler = FeatureScaler(per_feature=per_feature).fit(features)
    whole = np.asarray(features).astype(float)
    axes = (0, 2) if per_feature else None
    mean, std = (np.broadcast_to(f(whole, axis=axes), 6) for f in (np.mean, np.std))
    np.testing.assert_allclose(scaler.mean_, mean, rtol=1e-12)
    np.testing.assert_allclose(scaler.scale_, std, rtol=1e-12)
    scaled = np.asarray(scaler.transform(features))
    np.testing.assert_allclose(scaled, (whole - mean[:, None]) / std[:, None], atol=1e-4)
    np.testing.assert_allclose(
        np.asarray(FeatureScaler(per_feature=per_feature).fit(whole).transform(whole)), scaled, atol=1e-4
    )


def test_feature_scaler_equals_standard_scaler():
    X = np.random.default_rng(0).standard_normal((100, 4)) * [1, 2, 3, 0] + 7
    np.testing.assert_allclose(
        FeatureScaler(per_feature=True).fit_transform(X), StandardScaler().fit_transform(X), atol=1e-12
    )


def test_feature_scaler_uses_training_rows(features):
    half = FeatureScaler(per_feature=False).fit(features[:250])
    np.testing.assert_allclose(half.mean_[0], np.asarray(features[:250]).mean(dtype=float), rtol=1e-6)
    np.testing.assert_array_equal(
        np.asarray(half.transform(features))[250:], np.asarray(half.transform(features[250:]))
    )


def test_feature_scaler_avoids_cancellation():
    X = 1e8 + np.random.default_rng(0).standard_normal((1000, 1, 20))
    np.testing.assert_allclose(FeatureScaler(per_feature=False).fit(X).scale_, X.std(), rtol=1e-6)


@pytest.mark.parametrize("per_feature", [True, False])
def test_feature_scaler_whitens_autoregression(per_feature, monkeypatch):
    """Two features with coefficients of 0.9 and 0.5, and a constant one."""
    monkeypatch.setattr("sk_b2s.preprocessing._scalers.BATCH_VALUES", 3 * 40 * 30)
    signal = np.random.default_rng(2).standard_normal((6000, 3)) * [1, 5, 0]
    for frame in range(1, 6000):
        signal[frame] += [0.9, 0.5, 0] * signal[frame - 1]
    windows = Windows([(signal + 7).astype("f4")], np.zeros(200), np.arange(200) * 30, 30, 50.0)
    scaler = FeatureScaler(per_feature, whiten=True).fit(windows)
    white = np.asarray(scaler.transform(windows), float)
    past, now = white[:, :2, 1:-1], white[:, :2, 2:]
    if per_feature:
        np.testing.assert_allclose(scaler.autocorrelation_, [0.9, 0.5, 0], atol=0.03)
        np.testing.assert_allclose((now**2).mean((0, 2)), 1, atol=0.01)
        assert (abs((past * now).mean((0, 2))) < 0.03).all()
    else:
        assert np.ptp(scaler.autocorrelation_) == np.ptp(scaler.scale_) == 0
        assert (white[:, :, 1:] ** 2).mean() == pytest.approx(1, abs=0.01)
    expected = np.asarray(windows, float) - scaler.mean_[:, None]
    expected[:, :, 1:] -= scaler.autocorrelation_[:, None] * expected[:, :, :-1]
    expected[:, :, 0] *= 1 - scaler.autocorrelation_
    np.testing.assert_allclose(white, expected / scaler.scale_[:, None], atol=1e-4)
    array = np.asarray(windows, float)
    np.testing.assert_allclose(FeatureScaler(per_feature, whiten=True).fit_transform(array), white, atol=1e-4)


@pytest.mark.parametrize("shape", [(9, 3), (9, 3, 1)])
def test_feature_scaler_whiten_requires_frames(shape):
    with pytest.raises(ValueError, match="whiten=True requires windows of at least 2 frames"):
        FeatureScaler(whiten=True).fit(np.ones(shape))


@pytest.mark.parametrize("scaler", [RobustChannelScaler(clip=3), FeatureScaler(), FeatureScaler(whiten=True)])
def test_scalers_clone_and_pickle(windows, scaler):
    fitted = clone(scaler).fit(windows)
    expected = np.asarray(fitted.transform(windows))
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(fitted)).transform(windows)), expected)
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(fitted.transform(windows)))), expected)
    assert clone(fitted).get_params() == scaler.get_params()
