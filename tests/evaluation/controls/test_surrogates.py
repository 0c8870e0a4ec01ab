"""Surrogate recordings."""

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.signal
from sklearn.base import clone

from sk_b2s import Epocher, RobustChannelScaler, SurrogateRecordings, Windows, load, save
from sk_b2s.evaluation._controls._surrogates import SURROGATES
from sk_b2s.preprocessing._windows._signals import Signal

pytestmark = pytest.mark.filterwarnings("ignore:make_segments left out")


def colored(n_times, n_channels, seed):
    """Correlated channels with a 1/f spectrum and offsets, in volts."""
    rng = np.random.default_rng(seed)
    signal = np.cumsum(rng.standard_normal((n_times, n_channels)), 0) @ rng.standard_normal(
        (n_channels, n_channels)
    )
    return (1e-5 * (signal + 10 * rng.standard_normal(n_channels))).astype(np.float32)


@pytest.fixture
def windows():
    signals = [colored(1001, 4, 0), colored(800, 4, 1)]
    rows = pd.DataFrame({"recording": ["a"] * 5 + ["b"] * 3, "subject": "s"})
    return Windows(signals, [0] * 5 + [1] * 3, [0, 40, 80, 120, 900, 0, 30, 700], 100, 50.0, rows=rows)


@pytest.mark.parametrize("n_times", [1000, 1001])
def test_phase_randomized_preserves_cross_spectra(n_times):
    signal = colored(n_times, 4, 0)
    surrogate = SURROGATES["phase"](signal, 3)
    before, after = (np.fft.rfft(x.astype(float), axis=0) for x in (signal, surrogate))
    cross = [f[:, :, None] * f[:, None].conj() for f in (before, after)]
    np.testing.assert_allclose(cross[1], cross[0], atol=1e-4 * abs(cross[0]).max())
    np.testing.assert_allclose(abs(after), abs(before), rtol=1e-4, atol=1e-4 * abs(before).mean())
    np.testing.assert_allclose(np.cov(surrogate.T), np.cov(signal.T), rtol=1e-4)
    np.testing.assert_allclose(surrogate.mean(0), signal.mean(0), rtol=1e-4)


@pytest.mark.parametrize("kind", SURROGATES)
def test_surrogates_are_unrelated_to_signal(kind):
    signal = np.diff(colored(20_001, 3, 2), axis=0)  # white, so that chance correlations are small
    surrogate = SURROGATES[kind](signal, 0)
    for channel in range(3):
        correlation = scipy.signal.correlate(
            surrogate[:, channel] / surrogate[:, channel].std(), signal[:, channel] / signal[:, channel].std()
        )
        assert abs(correlation).max() / len(signal) < 6 / np.sqrt(len(signal))  # at any delay


def test_white_noise_ignores_signal():
    signal = colored(20_000, 3, 0)
    signal[:, 1] = 0  # a bad channel
    surrogate = SURROGATES["white"](signal, 0)
    np.testing.assert_array_equal(surrogate, SURROGATES["white"](np.ones_like(signal), 0))
    np.testing.assert_allclose(np.cov(surrogate.T), np.eye(3), atol=0.05)
    np.testing.assert_allclose(
        scipy.signal.welch(surrogate, axis=0)[1][5:-5].mean(0), 2, rtol=0.1
    )  # flat: variance 1 over frequencies from 0 to 0.5, one-sided


@pytest.mark.parametrize("kind", SURROGATES)
def test_surrogates_of_subset_are_equal(windows, kind):
    surrogate = SurrogateRecordings(kind).fit(windows)
    whole = np.asarray(surrogate.transform(windows))
    for rows in ([6, 0], [7], np.arange(5), np.array([0, 1, 0, 0, 0, 1, 0, 1], bool)):
        np.testing.assert_array_equal(np.asarray(surrogate.transform(windows[rows])), whole[rows])
    np.testing.assert_array_equal(whole[0][:, 40:], whole[1][:, :60])  # windows overlap as they did
    again = SurrogateRecordings(kind).fit(windows[5:])  # other rows in fit
    np.testing.assert_array_equal(np.asarray(again.transform(windows)), whole)


@pytest.mark.parametrize("kind", SURROGATES)
def test_surrogates_differ_by_recording_and_seed(windows, kind):
    twin = Windows([windows.signals[0]] * 2, [0, 1], [0, 0], 100, 50.0,
                   rows=pd.DataFrame({"recording": ["a", "b"]}))  # fmt: skip
    first, second = np.asarray(SurrogateRecordings(kind).fit_transform(twin))
    assert abs(first - second).max() > 1e-6
    other = np.asarray(SurrogateRecordings(kind, random_state=1).fit_transform(twin))[0]
    assert abs(first - other).max() > 1e-6
    np.testing.assert_array_equal(np.asarray(SurrogateRecordings(kind).fit_transform(twin))[0], first)
    unnamed = Windows(twin.signals, twin.which, twin.start, 100, 50.0)
    first, second = np.asarray(SurrogateRecordings(kind).fit_transform(unnamed))
    assert abs(first - second).max() > 1e-6


@pytest.mark.parametrize("kind", SURROGATES)
def test_surrogates_ignore_folder(windows, kind):
    def noise(*names, **columns):
        rows = pd.DataFrame({"recording": names, "subject": "s"}).assign(**columns)
        twin = Windows([windows.signals[0]] * 2, [0, 1], [0, 0], 100, 50.0, rows=rows)
        return np.asarray(SurrogateRecordings(kind).fit_transform(twin))

    here = noise("/here/a_eeg.fif", "/here/b_eeg.fif")
    for names in (("/there/in/a_eeg.fif", "/there/b_eeg.fif"), ("a_eeg.fif", "there/b_eeg.fif")):
        np.testing.assert_array_equal(noise(*names), here)
    for other in (
        noise("/s/c,rfDC", "/t/c,rfDC", session=["1", "2"]), noise("/s/eeg.fif", "/t/eeg.fif", subject=["s", "t"]),
        noise("/s/eeg.fif", "/t/eeg.fif", study=["one", None]), noise("s/0", "t/0"),
    ):  # fmt: skip
        assert abs(other[0] - other[1]).max() > 1e-6


def test_surrogates_replace_signals_only(windows):
    positions = np.random.default_rng(0).random((1, 4, 2))
    windows = windows._replace(
        positions=positions, ch_names=list("wxyz"), extent=np.array([[5, 900], [0, 700]])
    )
    scaled = RobustChannelScaler().fit_transform(windows)
    surrogate = SurrogateRecordings().fit_transform(scaled)
    assert surrogate.rows.equals(windows.rows)
    assert surrogate.steps == scaled.steps
    assert surrogate.ch_names == windows.ch_names
    for name in ("positions", "which", "start", "extent", "layout"):
        np.testing.assert_array_equal(getattr(surrogate, name), getattr(windows, name))


def test_white_noise_ignores_earlier_steps(windows):
    """Scales of real recordings, 1e-13 T, would identify them."""
    tiny = windows._replace(signals=[signal * np.float32(1e-9) for signal in windows.signals])
    scaled = RobustChannelScaler().fit_transform(tiny).then(LastHalf())
    noise = SurrogateRecordings("white").fit_transform(scaled)
    assert noise.shape == scaled.shape == (8, 4, 50)
    assert noise.rows.equals(scaled.rows)
    values = np.asarray(noise)
    np.testing.assert_allclose(values.std((0, 2)), 1, atol=0.15)
    other = tiny._replace(signals=[tiny.signals[0] * 7, tiny.signals[1][:, ::-1]])
    again = SurrogateRecordings("white").fit_transform(
        RobustChannelScaler().fit_transform(other).then(LastHalf())
    )
    np.testing.assert_array_equal(np.asarray(again), values)
    # Phases keep the scales that the scaler was fitted on.
    phase = np.asarray(SurrogateRecordings("phase").fit_transform(scaled))
    assert phase.shape == values.shape
    assert abs(phase).max() < 20
    assert 0.1 < phase.std() < 3


class LastHalf:
    """A step that leaves the second half of each window."""

    def n_times(self, n_times):
        return n_times // 2

    def __call__(self, batch, which):
        return batch[..., batch.shape[2] // 2 :]


def test_surrogates_are_lazy_and_pickled_small(windows):
    calls = []

    def recipe():
        calls.append(1)
        return colored(1001, 4, 0)

    lazy = Windows([Signal(recipe, (1001, 4))], [0, 0], [0, 10], 100, 50.0)
    surrogate = SurrogateRecordings().fit_transform(lazy)
    assert not calls
    first = np.asarray(surrogate)
    np.testing.assert_array_equal(np.asarray(surrogate[1:])[0], first[1])
    assert len(calls) == 1
    assert repr(lazy.signals[0]) == "Signal(1001 x 4)"  # the recording itself is not held as well


def test_pickle_of_pipeline_has_no_samples(listening, tmp_path):
    X, _ = listening
    windows = Epocher(sfreq=32, memory=str(tmp_path)).fit_transform(X)
    surrogate = SurrogateRecordings().fit_transform(windows)
    first = np.asarray(surrogate[:3])
    assert not np.allclose(first, np.asarray(windows[:3]))
    content = pickle.dumps(surrogate)
    assert len(content) < windows.signals[0].shape[0] * windows.signals[0].shape[1]  # a quarter of one signal
    np.testing.assert_array_equal(np.asarray(pickle.loads(content)[:3]), first)


@pytest.mark.parametrize("kind", SURROGATES)
def test_surrogates_keep_nan_channels(kind):
    X = np.random.default_rng(0).standard_normal((6, 3, 20))
    X[:, 1] = np.nan
    for given in (X, Windows.from_array(X)):
        noise = np.asarray(SurrogateRecordings(kind).fit_transform(given))
        assert np.isnan(noise[:, 1]).all()
        assert np.isfinite(noise[:, [0, 2]]).all()


def test_surrogates_of_array():
    X = np.random.default_rng(0).standard_normal((6, 3, 20)).astype(np.float32)
    from_array = SurrogateRecordings().fit_transform(X)
    np.testing.assert_allclose(
        from_array, np.asarray(SurrogateRecordings().fit_transform(Windows.from_array(X)))
    )
    flat, noise = (np.moveaxis(x, 1, 2).reshape(-1, 3) for x in (X, from_array))
    np.testing.assert_allclose(np.cov(noise.T), np.cov(flat.T), rtol=1e-4)


def test_surrogates_of_copies_are_equal(windows, tmp_path):
    fitted = SurrogateRecordings("white", random_state=np.random.RandomState(5)).fit(windows)
    expected = np.asarray(fitted.transform(windows))
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(fitted)).transform(windows)), expected)
    save(fitted, tmp_path / "noise.safetensors")
    np.testing.assert_array_equal(
        np.asarray(load(tmp_path / "noise.safetensors").transform(windows)), expected
    )
    seeded = SurrogateRecordings(random_state=3)
    np.testing.assert_array_equal(
        np.asarray(clone(seeded).fit_transform(windows)), np.asarray(seeded.fit_transform(windows))
    )


def test_surrogates_refuse_invalid_input(windows):
    with pytest.raises(ValueError, match="'kind' parameter of SurrogateRecordings must be a str among"):
        SurrogateRecordings("pink").fit(windows)
    with pytest.raises(ValueError, match="X has 4 channels, but SurrogateRecordings was fitted on 2"):
        SurrogateRecordings().fit(np.zeros((3, 2, 10))).transform(windows)
