"""Tests of training by several processes."""

import os
import subprocess
import sys
import warnings
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.processes import run_in_processes
from helpers.windows import make_planted_windows
from torch import nn

from sk_b2s import BrainEncoder
from sk_b2s.nn._data import BalancedBatchSampler
from sk_b2s.nn._distributed import SharedBatchSampler, make_accelerator

SMALL = {
    "k": 1,
    "precision": "float32",
    "random_state": 0,
    "verbose": 0,
    "max_epochs": 2,
    "distributed": True,
}


def fit_encoders(rank, n_processes, port, params):
    """Fit as one of several processes: digests and small weights."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(n_processes), "MASTER_ADDR": "127.0.0.1",
        "LOCAL_WORLD_SIZE": str(n_processes), "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1", "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip
    warnings.simplefilter("ignore")
    X, y = make_planted_windows()
    fits = []
    with pytest.raises(ValueError, match="requires the same X, y, parameters and versions"):
        BrainEncoder(**params[0]).fit(X[: len(X) - 4 * rank], y[: len(X) - 4 * rank])
    for one in params:
        encoder = BrainEncoder(**one).fit(X, y)
        weights = {name: value.numpy() for name, value in encoder.net_.state().items() if value.numel() < 100}
        fits.append((encoder.digest(), weights, encoder.history_[:, "train_loss"]))
    return fits


def make_linear_network():
    """One convolution with constant weights."""
    net = nn.Conv1d(5, 4, 1)
    nn.init.constant_(net.weight, 0.1)
    nn.init.zeros_(net.bias)
    return net


def skip_unless_processes_meet():
    """Skip a test where processes cannot exchange gradients."""
    pytest.importorskip("accelerate", reason="the engine of several processes")
    if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
        pytest.skip("torch was built without gloo, by which processes on CPUs exchange gradients")
    if sys.platform == "win32":
        pytest.skip("the launcher of torch needs libuv, without which it can be built for Windows")


class PartlyUsedNet(nn.Conv1d):
    """Convolution with a layer that its output does not depend on."""

    def __init__(self, n_chans, n_outputs):
        super().__init__(n_chans, n_outputs, 1)
        self.unused = nn.Linear(2, 2)


@pytest.mark.parametrize("n_rows", [64, 61])
def test_shared_batches_are_parts_of_batches(n_rows):
    whole = list(BalancedBatchSampler(n_rows, 16, np.random.RandomState(0)))
    parts = [list(SharedBatchSampler(n_rows, 8, np.random.RandomState(0), 2, index)) for index in range(2)]
    assert [len(one) for one in parts] == [len(whole)] * 2
    for rows, *shared in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate(shared), rows)
        assert max(map(len, shared)) <= 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precision": "auto"}, "distributed=True requires precision='float32'"),
        ({"checkpoint": "folder"}, "distributed=True cannot be combined with checkpoint"),
        ({"random_state": None}, "distributed=True requires an integer random_state"),
    ],
    ids=["precision", "checkpoint", "random_state"],
)
def test_distributed_errors_name_the_way_out(change, message):
    with pytest.raises(ValueError, match=message):
        BrainEncoder(**{**SMALL, **change}).fit(*make_planted_windows())


def test_shared_batches_are_not_too_small():
    with pytest.raises(
        ValueError, match="at least 2 windows in each batch of each process. 3 windows in 1 b"
    ):
        SharedBatchSampler(3, 8, np.random.RandomState(0), 2, 0, fewest=2)


def test_distributed_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match=r"distributed=True requires accelerate.*'sk_b2s\[distributed\]'"):
        BrainEncoder(**SMALL).fit(*make_planted_windows())


def test_distributed_names_variable_of_cpus(monkeypatch):
    accelerate = SimpleNamespace(Accelerator=lambda **_: SimpleNamespace(num_processes=1))
    monkeypatch.setitem(sys.modules, "accelerate", accelerate)
    with pytest.raises(ValueError, match="requires several processes, and there is one"):
        make_accelerator()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="the 2 processes that were started.*ACCELERATE_USE_CPU=true"):
        make_accelerator()


@pytest.mark.slow
def test_distributed_processes_end_with_equal_networks():
    skip_unless_processes_meet()
    linear = {
        **SMALL,
        "lr": 1e-2,
        "loss": "mse",
        "batch_size": 8,
        "validation": None,
        "module": make_linear_network(),
    }
    small = {"hidden": 8, "depth": 2, "n_virtual_channels": 6, "batch_size": 16, "speech_embedding_dim": 5}
    trained = {
        "loss": "siglip",
        "weight_averaging": 0.9,
        "weight_decay": 0.1,
        "verbose": 1,
        "validation": None,
    }
    # The port of this process, as that of a launcher, can be taken by no other program until the processes meet.
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    fit = partial(
        fit_encoders,
        n_processes=2,
        port=store.port,
        params=[linear, {**SMALL, **small, **trained}, {**linear, "module": PartlyUsedNet}],
    )
    first, other = run_in_processes(fit, range(2))
    assert [digest for digest, *_ in first] == [digest for digest, *_ in other]
    assert [losses for *_, losses in first] == [losses for *_, losses in other]  # so callbacks act equally
    # Two processes with half the batch have the gradients of one.
    alone = BrainEncoder(**{**linear, "distributed": False, "batch_size": 16}).fit(*make_planted_windows())
    for name, value in alone.net_.state().items():
        np.testing.assert_allclose(first[0][1][name], value, atol=1e-5)


SCRIPT = """
import os
import pathlib
import numpy as np
from skorch.callbacks import Callback
from sk_b2s import BrainEncoder

class InterruptOne(Callback):
    def on_batch_end(self, net, **kwargs):
        if os.environ["RANK"] == "1":
            raise KeyboardInterrupt

X = np.random.default_rng(0).standard_normal((24, 4, 6), "f4")
encoder = BrainEncoder(
    hidden=4, depth=1, spatial_attention=False, n_virtual_channels=3, batch_size=4, max_epochs=2, validation=None, k=1,
    precision="float32", random_state=0, verbose=0, distributed=True,
)
pathlib.Path(__file__).with_name("digest" + os.environ["RANK"]).write_text(encoder.fit(X, X[:, :2]).digest())
encoder.set_params(callbacks=[InterruptOne()]).fit(X, X[:, :2])
pathlib.Path(__file__).with_name("interrupted" + os.environ["RANK"]).touch()
"""


@pytest.mark.slow
def test_torchrun_ends_after_one_interruption(tmp_path):
    skip_unless_processes_meet()
    path = tmp_path / "train.py"
    path.write_text(SCRIPT)
    command = [
        "torch.distributed.run",
        "--nproc-per-node=2",
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=127.0.0.1:0",
    ]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *command, path], env=environment, capture_output=True, text=True,
        timeout=1200, check=False,
    )  # fmt: skip
    digests = [file.read_text() for file in sorted(tmp_path.glob("digest*"))]
    assert len(digests) == 2, done.stderr
    assert digests[0] == digests[1]
    assert not list(tmp_path.glob("interrupted*"))
    assert done.returncode != 0
    assert "KeyboardInterrupt" in done.stderr
