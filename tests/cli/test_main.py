"""Tests of the entry point of the command line."""

import os
import sys

import pytest

from sk_b2s._cli import _main
from sk_b2s._cli._main import WAIT_SETTINGS, find_flags_of_error, main, restart_main_with_passive_waiting
from sk_b2s._cli._parser import make_parser


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


@pytest.mark.parametrize(("options", "text", "flags"), [
    ("--n-subjects 0", "The 'n_subjects' parameter of make_listening must be an integer above 0.", ["--n-subjects"]),
    ("", "X has 3 rows. Use other n_subjects.", ["--n-subjects"]),
    ("--tmin 3 --tmax 1", "tmin and tmax must be finite seconds.", ["--tmin", "--tmax"]),
    ("", "Fold 4 has 8 distinct segments. Use a smaller k or fewer folds.", ["--folds", "--k"]),
    ("--stream foo --root x", "events has no stream 'foo', the task and root is set.", ["--stream"]),
    ("--out folder", "'/home/folder' must be a regular file, but is a folder.", ["--out"]),
    ("--out a/b.tsv", "[Errno 21] Is a directory: 'a/b.tsv'", ["--out"]),
    ("--set ridge:ridge__alphas=a", "The 'alphas' parameter of RidgeDecoder must be an array-like.", ["--set"]),
    ("--k 3 --seeds 0,1", "the test set of k windows has no seeds", []),
    ("--subjects 01", "'listening' has no option 'subjects'. It has only n_subjects, minutes, data_seed.", ["--subjects"]),
], ids=range(10))  # fmt: skip
def test_find_flags_of_error(options, text, flags):
    argv = ["benchmark", "listening", "--n-subjects", "2", *options.split()]
    assert sorted(find_flags_of_error(text, make_parser().parse_args(argv), argv)) == sorted(flags)


def test_error_names_option_and_splitter(capsys):
    options = ["--n-subjects", "1", "--minutes", "1"]
    assert main(["folds", "listening", *options]) == 1
    assert capsys.readouterr().err.strip().endswith("with StimulusKFold. StimulusKFold is --cv stimulus.")
    assert main(["folds", "listening", *options, "--block=-1"]) == 1
    assert "error: argument --block: block must be a number of seconds" in capsys.readouterr().err
