"""The command line waits passively for threads, and networks use no more threads than they may."""

import contextlib
import os
import sys

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from sk_b2s import BrainEncoder
from sk_b2s._cli import _parser as __main__
from sk_b2s._cli._waiting import CHOICES, restart_with_passive_waiting
from sk_b2s._utils import _devices as devices
from sk_b2s._utils._devices import allowed_threads


@pytest.fixture
def restarts(monkeypatch):
    """Record what would replace the process, on Linux and without a policy chosen."""
    found = []
    monkeypatch.setattr(os, "execve", lambda *arguments: found.append(arguments))
    monkeypatch.setattr(sys, "platform", "linux")
    for name in CHOICES:
        monkeypatch.delenv(name, raising=False)
    return found


def started(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "orig_argv", ["python3", *arguments])


@pytest.mark.parametrize("before", [["-W", "ignore", "-m", "sk_b2s"], ["/bin/sk-b2s"]])
def test_command_line_restarts_itself(before, restarts, monkeypatch):
    started(monkeypatch, *before, "demo", "--people", "2")
    restart_with_passive_waiting(["demo", "--people", "2"])
    ((program, argv, environment),) = restarts
    assert (program, argv) == (sys.executable, [sys.executable, *before, "demo", "--people", "2"])
    assert environment == {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    assert "OMP_WAIT_POLICY" not in os.environ


@pytest.mark.parametrize("name", CHOICES)
def test_command_line_keeps_choice_of_user(name, restarts, monkeypatch):
    started(monkeypatch, "-m", "sk_b2s", "demo")
    monkeypatch.setenv(name, "ACTIVE")
    restart_with_passive_waiting(["demo"])
    assert not restarts


@pytest.mark.parametrize(
    ("arguments", "platform"),
    [
        (["-m", "pytest", "demo"], "linux"),
        (["script.py", "demo"], "linux"),
        (["-c", "...", "other"], "linux"),
        (["-m", "sk_b2s", "demo"], "darwin"),
    ],
)
def test_other_programs_are_not_restarted(arguments, platform, restarts, monkeypatch):
    started(monkeypatch, *arguments)
    monkeypatch.setattr(sys, "platform", platform)
    restart_with_passive_waiting(["demo"])
    assert not restarts


@pytest.mark.parametrize(
    ("command", "n_restarts"), [("demo", 1), ("benchmark", 1), ("report", 0), ("--help", 0)]
)
def test_only_training_commands_restart(command, n_restarts, restarts, monkeypatch):
    started(monkeypatch, "-m", "sk_b2s", command)
    monkeypatch.setattr(sys, "argv", ["sk_b2s", command])
    monkeypatch.setattr(__main__, "main", lambda: 0)
    assert __main__.run() == 0
    assert len(restarts) == n_restarts


@pytest.mark.parametrize(("allowed", "n_inside"), [(1, 1), (2, 2), (3, 3), (64, 3)])
def test_allowed_threads_is_scoped(allowed, n_inside, monkeypatch):
    monkeypatch.setattr(devices.joblib, "cpu_count", lambda: allowed)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with contextlib.suppress(RuntimeError), allowed_threads():
            assert torch.get_num_threads() == n_inside
            raise RuntimeError
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_fit_uses_allowed_threads(monkeypatch):
    class Count(Callback):
        def on_batch_begin(self, net, **kwargs):
            counts.append(torch.get_num_threads())

    counts, before = [], torch.get_num_threads()
    monkeypatch.setattr(devices.joblib, "cpu_count", lambda: 2)
    brain = np.random.default_rng(0).standard_normal((8, 3, 10)).astype("f4")
    encoder = BrainEncoder(
        hidden=4, depth=1, n_virtual_channels=4, spatial_attention=False, max_epochs=1, validation=None, verbose=0,
        callbacks=[Count()],
    )  # fmt: skip
    torch.set_num_threads(3)
    try:
        encoder.fit(brain, brain)
        assert counts == [2]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
