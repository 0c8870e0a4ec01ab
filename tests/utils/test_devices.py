"""Threads that networks may use."""

import contextlib

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from sk_b2s import BrainEncoder
from sk_b2s._utils import _devices
from sk_b2s._utils._devices import allowed_threads, choose_device, explain_lack_of_memory


@pytest.mark.parametrize(("allowed", "n_inside"), [(1, 1), (2, 2), (3, 3), (64, 3)])
def test_allowed_threads_restores_number(allowed, n_inside, monkeypatch):
    monkeypatch.setattr(_devices.joblib, "cpu_count", lambda: allowed)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with contextlib.suppress(RuntimeError), allowed_threads():
            assert torch.get_num_threads() == n_inside
            raise RuntimeError
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_allowed_threads_limits_fit(monkeypatch):
    class Count(Callback):
        def on_batch_begin(self, net, **kwargs):
            counts.append(torch.get_num_threads())

    counts, before = [], torch.get_num_threads()
    monkeypatch.setattr(_devices.joblib, "cpu_count", lambda: 2)
    windows = np.random.default_rng(0).standard_normal((8, 3, 10)).astype("f4")
    encoder = BrainEncoder(
        hidden=4, depth=1, n_virtual_channels=4, spatial_attention=False, max_epochs=1, validation=None, verbose=0,
        callbacks=[Count()],
    )  # fmt: skip
    torch.set_num_threads(3)
    try:
        encoder.fit(windows, windows)
        assert counts == [2]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("device", ["meta", "cuda:99", "nothing"])
def test_choose_device_refuses_missing(device):
    with pytest.raises(ValueError, match=f"device='{device}' is not available.*device='auto'"):
        choose_device(device)


def test_explain_lack_of_memory_names_parameters():
    encoder = BrainEncoder(hidden=10**12, spatial_attention=False, random_state=0, verbose=0)
    X = np.random.default_rng(0).standard_normal((8, 3, 5))
    with pytest.raises(MemoryError, match=r"more memory than there is \(.*Reduce batch_size"):
        encoder.fit(X, X[:, :2])
    with pytest.raises(MemoryError, match="CUDA out of memory"), explain_lack_of_memory():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    with pytest.raises(RuntimeError, match="other"), explain_lack_of_memory():
        raise RuntimeError("other")
