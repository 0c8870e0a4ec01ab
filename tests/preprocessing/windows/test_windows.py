"""Test Windows against arrays."""

import pickle
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.utils import _safe_indexing

from sk_b2s import Windows
from sk_b2s.preprocessing._scalers import WhiteningScaling
from sk_b2s.preprocessing._windows._signals import Signal

N_CHANNELS, N_TIMES = 5, 11


def noise(n_times, seed, n_channels=N_CHANNELS):
    """Make a signal: (n_times, n_channels)."""
    return np.random.default_rng(seed).standard_normal((n_times, n_channels), dtype=np.float32)


class Scale:
    """Multiply by a factor per signal."""

    def __init__(self, factors):
        self.factors = torch.tensor(factors, dtype=torch.float32)

    def __call__(self, batch, which):
        return batch.mul_(self.factors[torch.from_numpy(which)][:, None, None])


class Shift:
    """Add a number and remove the first samples."""

    def __init__(self, by, drop=0):
        self.by, self.drop = by, drop

    def n_times(self, n_times):
        return n_times - self.drop

    def __call__(self, batch, which):
        return batch[..., self.drop :] + self.by


@pytest.fixture
def signals():
    return [noise(n, seed) for seed, n in enumerate([400, 90, 233])]


@pytest.fixture
def windows(signals):
    rng = np.random.default_rng(7)
    which = rng.integers(0, 3, 60)
    start = np.array([rng.integers(0, len(signals[w]) - N_TIMES + 1) for w in which])
    start[which == 1][:1] = len(signals[1]) - N_TIMES  # the very last that fits
    rows = pd.DataFrame(
        {"recording": np.array(["a", "b", "c"])[which], "row": range(60)}, index=range(100, 160)
    )
    return Windows(signals, which, start, N_TIMES, 120.0, rows=rows, ch_names=list("abcde"))


def cut(windows):
    """Slice each window with numpy."""
    return np.stack([
        windows.signals[w][s : s + windows.n_read].T for w, s in zip(windows.which, windows.start, strict=True)
    ])  # fmt: skip


@pytest.mark.parametrize("order", ["sorted", "shuffled", "one signal", "repeated", "reversed"])
def test_gather_equals_slicing(windows, order):
    rng = np.random.default_rng(1)
    indices = {
        "sorted": np.argsort(windows.which, kind="stable"),
        "shuffled": rng.permutation(60),
        "one signal": np.flatnonzero(windows.which == 1)[::-1],
        "repeated": rng.integers(0, 60, 200),
        "reversed": -1 - np.arange(60),
    }[order]
    expected = cut(windows)[indices]
    batch = windows.gather(indices)
    np.testing.assert_array_equal(batch.numpy(), expected)
    assert batch.dtype == torch.float32
    assert batch.transpose(1, 2).is_contiguous(), "time-major in memory"


def test_gather_in_pieces_equals_slicing(windows, monkeypatch):
    monkeypatch.setattr("sk_b2s.preprocessing._windows._signals.PIECE_BYTES", 3 * 4 * N_TIMES * N_CHANNELS)
    order = np.random.default_rng(2).permutation(60)
    np.testing.assert_array_equal(windows.gather(order).numpy(), cut(windows)[order])


def test_gather_accepts_masks_and_empty_indices(windows):
    mask = windows.which == 2
    np.testing.assert_array_equal(windows.gather(mask).numpy(), cut(windows)[mask])
    assert windows.gather([]).shape == (0, N_CHANNELS, N_TIMES)
    assert windows.gather(np.zeros(60, bool)).shape == (0, N_CHANNELS, N_TIMES)
    np.testing.assert_array_equal(windows.gather().numpy(), cut(windows))


@pytest.mark.parametrize("indices", [[3, 2, 50, 8], [8, 7, 6, 5]])
def test_gather_fills_the_buffer(windows, indices):
    out = windows.empty(4)
    place = out.data_ptr()
    batch = windows.gather(indices, out=out)
    assert batch.data_ptr() == place
    np.testing.assert_array_equal(out.numpy(), cut(windows)[indices])


@pytest.mark.parametrize(
    "wrong",
    [
        torch.empty(4, N_CHANNELS, N_TIMES),  # channel-major
        torch.empty(5, N_TIMES, N_CHANNELS).transpose(1, 2),  # too many
        torch.empty(4, N_TIMES, N_CHANNELS + 1).transpose(1, 2),
    ],
)
def test_gather_rejects_other_buffers(windows, wrong):
    with pytest.raises(ValueError, match=r"out must be made by empty\(4\)"):
        windows.gather([0, 1, 2, 3], out=wrong)


def test_windows_have_the_array_interface(windows):
    whole = cut(windows)
    assert windows.shape == whole.shape
    assert (len(windows), windows.ndim, windows.dtype) == (60, 3, np.float32)
    assert windows.nbytes == whole.nbytes
    np.testing.assert_array_equal(np.asarray(windows), whole)
    assert np.asarray(windows, dtype=np.float64).dtype == np.float64
    assert np.asarray(windows).flags.c_contiguous
    np.testing.assert_array_equal(windows[-1], whole[-1])
    np.testing.assert_array_equal(np.stack(list(windows)), whole)
    with pytest.raises(IndexError, match="Index 60 is out of bounds for 60 windows"):
        windows[60]


KEYS = {
    "list": [5, 0, 7],
    "slice": slice(40, 3, -2),
    "mask": np.arange(60) % 7 == 0,
    "list of bool": [True] * 10 + [False] * 50,
    "negative": np.array([-1, -60]),
    "nothing": [],
    "series": pd.Series([4, 9], index=[17, 3]),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_subsets_equal_array_subsets(windows, key):
    subset, plain = windows[key], np.asarray(key, int) if isinstance(key, list) and not key else key
    np.testing.assert_array_equal(np.asarray(subset), cut(windows)[plain])
    np.testing.assert_array_equal(subset.rows["row"], np.arange(60)[plain])
    assert subset.signals[0] is windows.signals[0], "nothing is copied"
    np.testing.assert_array_equal(np.asarray(windows[key, ...]), np.asarray(subset))
    np.testing.assert_array_equal(np.asarray(windows[key, :, :]), np.asarray(subset))


def test_subset_of_a_subset(windows):
    once, twice = np.array([50, 3, 3, 20, 11]), [4, 0, 1]
    subset = windows[once][twice]
    np.testing.assert_array_equal(np.asarray(subset), cut(windows)[once[twice]])
    assert subset.rows["row"].tolist() == once[twice].tolist()


@pytest.mark.parametrize("key", [[5, 0], np.array([2, 1]), slice(3, 9), np.arange(60) < 4])
def test_sklearn_selects_rows(windows, key):
    np.testing.assert_array_equal(np.asarray(_safe_indexing(windows, key)), cut(windows)[key])


def test_indexing_rejects_other_axes(windows):
    with pytest.raises(IndexError, match="first axis"):
        windows[:, 0]


@pytest.mark.parametrize("key", ["subject", ["subject"], 0.5, [0.5], None, [[0, 1]], np.ones(59, bool)])
def test_windows_refuses_other_indices(windows, key):
    with pytest.raises(IndexError, match=r"indices or masks\. Got .*windows\.rows|one value for each of 60"):
        windows[key]


def test_steps_run_lazily_in_order(windows):
    calls = []

    def spy(batch, which):
        calls.append(len(batch))
        return batch

    stepped = windows.then(Scale([1.0, 10.0, 100.0])).then(Shift(1.0, drop=2)).then(spy)
    assert calls == []
    expected = cut(windows)[..., 2:] * np.array([1, 10, 100], "f4")[windows.which][:, None, None] + 1
    assert stepped.shape == expected.shape
    np.testing.assert_allclose(np.asarray(stepped), expected, rtol=1e-6)
    np.testing.assert_allclose(stepped[[9, 2]][1], expected[2], rtol=1e-6)
    assert calls == [60, 1]
    other = windows.then(Shift(1.0)).then(Scale([1.0, 10.0, 100.0]))
    np.testing.assert_allclose(
        np.asarray(other),
        (cut(windows) + 1) * np.array([1, 10, 100], "f4")[windows.which][:, None, None],
        rtol=1e-6,
    )
    np.testing.assert_array_equal(np.asarray(windows), cut(windows), "the windows themselves are as before")


def test_pickle_contains_recipes():
    signals = [Signal(partial(noise, n, seed), (n, N_CHANNELS)) for seed, n in enumerate([100_000, 70_000])]
    windows = Windows(signals, [1, 0, 1], [5, 99_000, 60_000], N_TIMES, 120.0).then(Scale([2.0, 3.0]))
    before = np.asarray(windows)
    message = pickle.dumps(windows)
    assert len(message) < 4000, "bytes, for 3.4 MB of loaded signals"
    np.testing.assert_array_equal(np.asarray(pickle.loads(message)), before)


def test_signal_is_computed_once_with_its_shape():
    calls = []

    def recipe():
        calls.append(1)
        return np.ones((20, 2), np.float32)

    windows = Windows([Signal(recipe, (20, 2))], [0, 0], [0, 3], 4, 10.0)
    assert calls == []
    np.asarray(windows), windows[1:][0], windows.tiles(0).gather()
    assert calls == [1]
    with pytest.raises(RuntimeError, match=r"must have the shape \(21, 2\)\. Got \(20, 2\)"):
        Signal(recipe, (21, 2)).load()


@pytest.mark.parametrize("with_recording", [True, False])
def test_from_array_round_trip(with_recording):
    data = np.random.default_rng(3).standard_normal((12, 3, 7))
    rows = pd.DataFrame({"recording": list("abcabcaabbcc")} if with_recording else {"subject": ["1"] * 12})
    positions = np.random.default_rng(4).random((3, 2))
    windows = Windows.from_array(data, rows=rows, positions=positions, sfreq=50.0)
    np.testing.assert_array_equal(np.asarray(windows), data.astype(np.float32))
    assert len(windows.signals) == (3 if with_recording else 1)
    assert windows.positions.shape == (1, 3, 2)
    order = np.random.default_rng(5).permutation(12)
    np.testing.assert_array_equal(np.asarray(windows[order]), data[order].astype(np.float32))
    assert np.asarray(Windows.from_array(data[:0])).shape == (0, 3, 7)


def test_from_array_merges_unnamed_recordings():
    data = np.random.default_rng(3).standard_normal((4, 3, 7)).astype("f4")
    windows = Windows.from_array(data, rows=pd.DataFrame({"recording": ["a", None, "a", None]}))
    np.testing.assert_array_equal(np.asarray(windows), data)


@pytest.mark.parametrize(
    "signal",
    [
        np.asfortranarray(noise(50, 0)),
        noise(50, 0).astype(np.float64),
        noise(50, 0).astype(">f4"),
        np.repeat(noise(50, 0), 2, axis=0)[::2],
    ],
    ids=["Fortran", "double", "big-endian", "strided"],
)
def test_signals_have_any_memory_order(signal):
    windows = Windows([signal], [0, 0], [3, 39], N_TIMES, None)
    expected = np.stack([noise(50, 0)[3:14].T, noise(50, 0)[39:50].T])
    np.testing.assert_array_equal(np.asarray(windows), expected)
    lazy = Windows([Signal(lambda: signal, signal.shape)], [0, 0], [3, 39], N_TIMES, None)
    np.testing.assert_array_equal(np.asarray(lazy), expected)


@pytest.mark.parametrize("mode", ["r", "c"])
def test_memory_maps_are_not_copied(tmp_path, mode):
    signal = noise(1000, 3)
    np.save(tmp_path / "signal.npy", signal)
    mapped = np.load(tmp_path / "signal.npy", mmap_mode=mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        windows = Windows([mapped, noise(30, 1)], [0, 1, 0], [900, 2, 17], N_TIMES, 120.0)
        batch = windows.gather([1, 0, 2]).numpy()
    assert np.shares_memory(windows.signals[0], mapped)
    np.testing.assert_array_equal(batch[1], signal[900 : 900 + N_TIMES].T)
    windows.then(Shift(5.0)).gather()
    np.testing.assert_array_equal(np.load(tmp_path / "signal.npy"), signal, "steps never write into it")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": [0, 40]}, r"Window 1 reads samples 40 to 51 of a signal of 50 samples \(1 such"),
        ({"start": [-1, 0]}, "Window 0 reads samples -1"),
        ({"which": [0, 2]}, "Window 1 has the signal 2, but there are 2"),
        ({"which": [-1, 0]}, "Window 0 has the signal -1"),
        ({"which": [0, 0, 0]}, "which and start must have the same length. Got 3 and 2"),
        ({"rows": pd.DataFrame({"a": [1]})}, "Got 1 rows for 2 windows"),
        ({"positions": np.zeros((5, 2))}, r"positions must have the shape \(5, 2\)"),
        ({"layout": [0]}, r"layout must have the shape \(2,\)"),
        ({"ch_names": ["a"]}, r"ch_names must have the shape \(5,\)"),
        ({"extent": [(0, 50)]}, r"extent must have the shape \(2, 2\)"),
        ({"signals": [noise(50, 0), noise(50, 0, 4)]}, r"same number of channels\. Got \[5, 4\]"),
    ],
)
def test_windows_check_their_arguments(change, message):
    parts = {"signals": [noise(50, 0), noise(50, 1)], "which": [0, 1], "start": [0, 39], "n_times": N_TIMES}
    Windows(**parts, sfreq=120.0)
    with pytest.raises(ValueError, match=message):
        Windows(**{**parts, **change}, sfreq=120.0)


def test_from_array_checks_shapes():
    with pytest.raises(ValueError, match=r"\(n_windows, n_channels, n_times\)\. Got \(3, 4\)"):
        Windows.from_array(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="Got 2 rows for 3 windows"):
        Windows.from_array(np.zeros((3, 4, 5)), rows=pd.DataFrame({"recording": ["a", "b"]}))


def test_tiles_are_adjacent_within_extent(signals):
    windows = Windows(signals, [0], [0], N_TIMES, None, extent=[(50, 200), (0, 90), (-5, 999)])
    tiles = windows.tiles(0)
    assert tiles.start.tolist() == list(range(50, 200 - N_TIMES + 1, N_TIMES))
    assert windows.tiles(0, most=4).start.tolist() == [50, 94, 138, 182]
    assert windows.tiles(2).start.tolist() == list(range(0, 233 - N_TIMES + 1, N_TIMES))
    np.testing.assert_array_equal(windows[:0].tiles(1).gather().numpy(), windows.tiles(1).gather().numpy())


@pytest.mark.filterwarnings("error")
def test_windows_are_drawn_in_html():
    from xml.etree import ElementTree

    signal = np.random.default_rng(0).standard_normal((50, 12))
    signal[:, 3] = np.nan  # a bad channel
    place = np.full((1, 12, 2), 0.5)
    windows = Windows(
        [signal], [0, 0], [0, 20], 10, 100.0, positions=place, ch_names=[f"<{i}>" for i in range(12)]
    )
    page = ElementTree.fromstring(windows._repr_html_())
    assert len(page.findall(".//polyline")) == 8
    assert len(page.findall(".//circle")) == 13
    assert "first window, <0> (top) to <7>" in [one.text for one in page.findall(".//text")]
    lazy = Signal(partial(np.zeros, (50, 12)), (50, 12))
    page = ElementTree.fromstring(Windows([lazy], [0], [0], 10, 100.0)._repr_html_())
    assert page.findall(".//polyline") == []
    assert lazy._data is None, "a representation reads no recording"


def test_gather_context_stays_inside_the_signal():
    signal = np.arange(20, dtype="f4")[:, None]
    windows = Windows([signal, signal + 100], [0, 1, 0, 0], [0, 5, 8, 16], 4, 100.0).then(Scale([2.0, 2.0]))
    found = windows.gather_context([0, 1, 2, 3], 2, 3, torch.tensor([-1.0]))[:, 0]
    padded = np.r_[[-0.5] * 4, signal[:, 0], [-0.5] * 4]
    expected = [2 * (padded[start + 2 : start + 11]) for start in (0, 5, 8, 16)]
    expected[1] = expected[1] + 200
    np.testing.assert_array_equal(found, expected)
    whole = Windows([signal**2], [0], [0], 20, 100.0)
    change = WhiteningScaling([1.0], [0.5], [2.0])
    other = Windows(whole.signals, [0, 0, 0], [0, 5, 16], 4, 100.0).then(change)
    found = other.gather_context([0, 1, 2], 0, 0, torch.tensor([0.0]))[:, 0]
    expected = whole.then(change)[0][0]
    np.testing.assert_allclose(found, [expected[:4], expected[5:9], expected[16:]])
    cropped = windows.gather_context([2], -1, -1, torch.tensor([0.0]))
    np.testing.assert_array_equal(cropped[0, 0], [18, 20])
    array = Windows.from_array(np.arange(8.0).reshape(2, 1, 4))
    found = array.gather_context([0, 1], 1, 1, torch.tensor([9.0]))[:, 0]
    np.testing.assert_array_equal(found, [[9, 0, 1, 2, 3, 9], [9, 4, 5, 6, 7, 9]])
