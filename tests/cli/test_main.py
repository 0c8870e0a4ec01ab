"""Tests of the entry point of the command line."""

import os
import sys

import pytest

from sk_b2s._cli import _main
from sk_b2s._cli._main import WAIT_SETTINGS, restart_main_with_passive_waiting


@pytest.fixture
def restarts(monkeypatch):
    """Record replacements of the process, on Linux without user settings."""
    found = []
    monkeypatch.setattr(os, "execve", lambda *arguments: found.append(arguments))
    monkeypatch.setattr(sys, "platform", "linux")
    for name in WAIT_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    return found


def set_process_arguments(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "orig_argv", ["python3", *arguments])


@pytest.mark.parametrize("before", [["-W", "ignore", "-m", "sk_b2s"], ["/bin/sk-b2s"]])
def test_restart_replaces_process(before, restarts, monkeypatch):
    set_process_arguments(monkeypatch, *before, "demo", "--n-subjects", "2")
    restart_main_with_passive_waiting(["demo", "--n-subjects", "2"])
    ((program, argv, environment),) = restarts
    assert (program, argv) == (sys.executable, [sys.executable, *before, "demo", "--n-subjects", "2"])
    assert environment == {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    assert "OMP_WAIT_POLICY" not in os.environ


@pytest.mark.parametrize("name", WAIT_SETTINGS)
def test_restart_keeps_setting_of_user(name, restarts, monkeypatch):
    set_process_arguments(monkeypatch, "-m", "sk_b2s", "demo")
    monkeypatch.setenv(name, "ACTIVE")
    restart_main_with_passive_waiting(["demo"])
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
def test_restart_leaves_other_programs(arguments, platform, restarts, monkeypatch):
    set_process_arguments(monkeypatch, *arguments)
    monkeypatch.setattr(sys, "platform", platform)
    restart_main_with_passive_waiting(["demo"])
    assert not restarts


@pytest.mark.parametrize(
    ("command", "n_restarts"), [("demo", 1), ("benchmark", 1), ("report", 0), ("--help", 0)]
)
def test_run_restarts_training_commands(command, n_restarts, restarts, monkeypatch):
    set_process_arguments(monkeypatch, "-m", "sk_b2s", command)
    monkeypatch.setattr(sys, "argv", ["sk_b2s", command])
    monkeypatch.setattr(_main, "main", lambda: 0)
    assert _main.run() == 0
    assert len(restarts) == n_restarts
