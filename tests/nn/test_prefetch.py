"""Windows on a device, and batches read ahead."""

import threading

import numpy as np
import pandas as pd
import pytest
import torch

from sk_b2s import BrainEncoder, Windows
from sk_b2s._utils._devices import choose_dtype_of_device, get_free_device_bytes
from sk_b2s.metrics import _tiled
from sk_b2s.nn import _prefetch as feeding
from sk_b2s.nn._prefetch import (
    PrefetchedWindows,
    StoredPrefetchWindows,
    prefetch_batches,
    prefetch_windows_to_device,
    store_prefetched_windows,
)
from sk_b2s.preprocessing._windows._signals import Signal

N_CHANNELS, N_TIMES = 5, 11
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, cuda])]


class Add:
    """Add a number to each signal on the device, and drop the first time."""

    def __init__(self, numbers):
        self.numbers = torch.tensor(numbers, dtype=torch.float32)

    def n_times(self, n_times):
        return n_times - 1

    def __call__(self, batch, which):
        return (batch + self.numbers[torch.from_numpy(which)].to(batch.device)[:, None, None])[..., 1:]


@pytest.fixture
def windows():
    rng = np.random.default_rng(0)
    signals = [rng.standard_normal((n, N_CHANNELS), dtype=np.float32) for n in (300, 90, 170, 50)]
    signals[2] = Signal(lambda data=signals[2]: data, signals[2].shape)
    which = rng.integers(0, 3, 40)  # nothing is of the last
    start = [rng.integers(0, signals[w].shape[0] - N_TIMES + 1) for w in which]
    rows = pd.DataFrame({"recording": np.array(["a", "b", "c"])[which], "row": range(40)})
    return Windows(signals, which, start, N_TIMES, 120.0, rows=rows).then(Add([1.0, 2.0, 3.0, 4.0]))


@pytest.mark.parametrize("device", DEVICES)
def test_resident_windows_equal_windows(windows, device):
    resident = PrefetchedWindows(windows, device)
    order = np.random.default_rng(1).integers(0, 40, 100)
    for indices in (None, order, np.flatnonzero(windows.which == 1), windows.which == 2, []):
        batch, expected = resident.gather(indices), windows.gather(indices)
        assert batch.device.type == device
        assert torch.equal(batch.cpu(), expected)
        assert batch.stride() == expected.stride()
    np.testing.assert_array_equal(np.asarray(resident), np.asarray(windows))
    np.testing.assert_array_equal(resident[3], windows[3])
    assert torch.equal(resident.gather(order, device="cpu"), windows.gather(order))  # waited for, too


@pytest.mark.parametrize("device", DEVICES)
def test_resident_subsets_share_signals(windows, device):
    resident = PrefetchedWindows(windows, device)
    some = resident[[30, 2, 2]].then(Add([0.5] * 4))
    assert some.memory is resident.memory
    assert torch.equal(some.gather().cpu(), windows[[30, 2, 2]].then(Add([0.5] * 4)).gather())
    assert some.rows["row"].tolist() == [30, 2, 2]


def test_resident_copies_used_signals(windows):
    resident = PrefetchedWindows(windows, "cpu")
    assert len(resident.memory) == 300 + 90 + 170
    assert len(PrefetchedWindows(windows[windows.which == 1], "cpu").memory) == 90
    with pytest.raises(
        RuntimeError,
        match=r"signal 3 is not on the device, because no window used it when signals were copied\.",
    ):
        resident.tiles(3).gather()


def test_resident_gather_fills_buffer(windows):
    resident = PrefetchedWindows(windows, "cpu")
    out = resident.empty(3)
    resident.gather([5, 1, 7], out=out)
    plain = windows.empty(3)
    windows.gather([5, 1, 7], out=plain)
    assert torch.equal(out, plain)
    with pytest.raises(ValueError, match=r"out must be made by empty\(2\)"):
        resident.gather([1, 2], out=out)


def test_prefetch_windows_to_device_within_memory(windows):
    size = 4 * N_CHANNELS * (300 + 90 + 170)
    device = torch.device("cpu")
    for room, expected in [
        (2 * size, [True, True]),
        (2 * size - 1, [True, False]),
        (size - 1, [False, False]),
    ]:
        kept = prefetch_windows_to_device(device, windows, windows[::-1], room=room)
        assert [isinstance(part, PrefetchedWindows) for part in kept] == expected
        for part, plain in zip(kept, (windows, windows[::-1]), strict=True):
            assert torch.equal(part.gather([0, 1]), plain.gather([0, 1]))
    assert prefetch_windows_to_device(device, windows) == [windows], "a CPU reads them where they lie"


@pytest.mark.parametrize("device", DEVICES)
def test_prefetch_batches_keeps_order(windows, device):
    batches = np.array_split(np.random.default_rng(2).permutation(40), 7)
    made_in = []

    def make():
        for batch in batches:
            made_in.append(threading.current_thread())
            yield {"x": windows.gather(batch, device=device)}, (torch.from_numpy(batch), None)

    got = list(prefetch_batches(make(), device, threaded=True))
    assert len(got) == 7
    for (inputs, (rows, _)), batch in zip(got, batches, strict=True):
        assert rows.tolist() == batch.tolist()
        assert torch.equal(inputs["x"].cpu(), windows.gather(batch))
    assert threading.current_thread() not in made_in


def test_prefetch_batches_raises_in_consumer():
    def make():
        yield torch.zeros(1)
        raise OSError("the recording is gone")

    came = prefetch_batches(make(), "cpu", threaded=True)
    assert next(came) == 0
    with pytest.raises(OSError, match="the recording is gone"):
        next(came)


def test_prefetch_batches_reads_one_batch_ahead():
    made = []
    came = prefetch_batches((made.append(i) or i for i in range(100)), "cpu", threaded=True)
    for _ in range(3):
        next(came)
    came.close()
    assert 3 <= len(made) <= 4


def test_prefetch_batches_has_no_thread_on_cpu():
    made_in = []
    assert list(
        prefetch_batches((made_in.append(threading.current_thread()) or i for i in range(3)), "cpu")
    ) == [
        0,
        1,
        2,
    ]
    assert set(made_in) == {threading.current_thread()}


# --- a fit ------------------------------------------------------------------------------------------


def planted(n=96, n_channels=6, n_features=4, n_times=24, seed=0):
    """Windows that mix speech features linearly, of two subjects."""
    rng = np.random.default_rng(seed)
    speech = rng.standard_normal((n, n_features, n_times)).astype("f4")
    brain = np.einsum("cf,nft->nct", rng.standard_normal((n_channels, n_features)), speech)
    rows = pd.DataFrame({"subject": ["a", "b"] * (n // 2), "recording": ["a", "b"] * (n // 2)})
    X = Windows.from_array(brain + 0.1 * rng.standard_normal(brain.shape), rows, rng.random((n_channels, 2)))
    return X, Windows.from_array(speech)


def fitted(device, **changes):
    X, y = planted()
    parameters = {
        "hidden": 16, "depth": 2, "n_virtual_channels": 8, "lr": 3e-3, "batch_size": 32, "max_epochs": 5,
        "validation": 0.2, "k": 1, "precision": "float32", "random_state": 0, "verbose": 0, "device": device,
    }  # fmt: skip
    return BrainEncoder(**(parameters | changes)).fit(X[:64], y[:64]), X[64:], y[64:]


@pytest.mark.parametrize("device", DEVICES)
def test_fit_equal_with_resident_signals(monkeypatch, device):
    room = {"sent": -1, "resident": 2**30}
    encoders = {}
    for name, n_bytes in room.items():
        monkeypatch.setattr(
            "sk_b2s.nn._prefetch._count_free_device_bytes", lambda device, n_bytes=n_bytes: n_bytes
        )
        monkeypatch.setattr(
            "sk_b2s.nn._net.prefetch_batches",
            lambda batches, device: prefetch_batches(batches, device, threaded=True),
        )
        encoders[name] = fitted(device)[0]
    monkeypatch.undo()
    encoders["plain"] = fitted(device)[0]
    losses = [encoder.history_[:, "train_loss"] for encoder in encoders.values()]
    # a GPU adds up in any order, and Adam makes much of little
    np.testing.assert_allclose(losses[:-1], [losses[-1]] * 2, rtol=0 if device == "cpu" else 1e-2)
    if device == "cpu":
        first, *others = (encoder.net_.state() for encoder in encoders.values())
        assert all(torch.equal(first[name], other[name]) for other in others for name in first)


@pytest.mark.gpu
@cuda
def test_fit_on_gpu_equals_cpu():
    on_gpu, X, y = fitted("cuda")
    on_cpu, _, _ = fitted("cpu")
    np.testing.assert_allclose(on_gpu.history_[:, "train_loss"], on_cpu.history_[:, "train_loss"], rtol=3e-2)
    on_cpu.net_.load_state({name: value.cpu() for name, value in on_gpu.net_.state().items()})
    expected = on_cpu.similarity(X, y)
    np.testing.assert_allclose(on_gpu.similarity(X, y), expected, atol=1e-2 * np.abs(expected).max())
    assert on_gpu.score(X, y) == pytest.approx(on_cpu.score(X, y), abs=0.05)
    assert isinstance(on_gpu.transform(X), np.ndarray)


@pytest.mark.gpu
@cuda
def test_fit_frees_signals():
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    encoder, _, _ = fitted("cuda")
    weights = sum(value.numel() * value.element_size() for value in encoder.net_.state().values())
    assert torch.cuda.memory_allocated() - before < 2 * weights + 2**20
    del encoder
    assert torch.cuda.memory_allocated() - before < 2**20


@pytest.mark.gpu
@cuda
def test_bfloat16_learns_like_float32():
    native = torch.cuda.get_device_capability() >= (8, 0)
    assert choose_dtype_of_device("auto", torch.device("cuda")) == (
        torch.bfloat16 if native else torch.float32
    )
    half, X, y = fitted("cuda", precision="bfloat16", max_epochs=20)
    full, _, _ = fitted("cuda", max_epochs=20)
    assert half.score(X, y) > full.score(X, y) - 0.15


def test_get_free_device_bytes_include_reserved(monkeypatch):
    for name, value in {"mem_get_info": (4, 100), "memory_reserved": 90, "memory_allocated": 34}.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    device = torch.device("cuda")
    assert get_free_device_bytes(device) == 60
    assert feeding._count_free_device_bytes(device) == 36
    assert _tiled._count_tile_bytes(device) == 15


def test_choose_precision_requires_native_bfloat16(monkeypatch):
    for capability, expected in {
        (7, 5): torch.float32,
        (8, 0): torch.bfloat16,
        (9, 0): torch.bfloat16,
    }.items():
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        assert choose_dtype_of_device("auto", torch.device("cuda")) == expected


class Doubling:
    """Step that counts the windows it is applied to."""

    n_windows = 0

    def __call__(self, batch, which):
        self.n_windows += len(batch)
        return 2 * batch[:, :, 1:]

    def n_times(self, n_times):
        return n_times - 1


def test_store_computed_windows_applies_steps_once():
    signal = np.random.default_rng(0).standard_normal((40, 3)).astype("f4")
    step, plain = Doubling(), Windows([signal], np.zeros(9, int), np.arange(0, 36, 4), 4, sfreq=10)
    stored = store_prefetched_windows(torch.device("cpu"), plain.then(step))
    for indices in ([4, 2, 4], None, [8], [], np.arange(9) > 5):
        expected = 2 * plain.gather(indices)[:, :, 1:]
        torch.testing.assert_close(stored.gather(indices), expected, rtol=0, atol=0)
    assert step.n_windows == 9
    np.testing.assert_array_equal(np.asarray(stored[2:4]), 2 * plain.gather([2, 3])[:, :, 1:])
    assert store_prefetched_windows(torch.device("cpu"), plain) is plain, "no steps"
    assert not isinstance(
        store_prefetched_windows(torch.device("cpu"), plain.then(step), 100), StoredPrefetchWindows
    )
