"""Tests of the logger, its level and of progress."""

import io
import itertools
import logging
import sys
import threading

import joblib
import pytest

import sk_b2s
from sk_b2s import set_log_level
from sk_b2s._utils import _caching, _logging
from sk_b2s._utils._logging import (
    format_logged_seconds,
    iterate_with_logged_progress,
    log,
    run_in_parallel_with_logging,
)


@pytest.fixture
def plain(monkeypatch):
    """The logger without the handlers of pytest, at its default level."""
    monkeypatch.setattr(_logging, "has_root_logging_handlers", lambda: False)
    before = set_log_level("WARNING", return_old_level=True)
    yield
    set_log_level(before)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("level", "number"), [(True, 20), (False, 30), ("debug", 10), (15, 15), (None, 30)], ids=str
)
def test_set_log_level_takes_levels_of_mne(plain, monkeypatch, level, number):
    monkeypatch.delenv("SK_B2S_LOG_LEVEL", raising=False)
    assert set_log_level(level) is None
    assert set_log_level(30, return_old_level=True) == number


def test_set_log_level_reads_environment(plain, monkeypatch):
    monkeypatch.setenv("SK_B2S_LOG_LEVEL", "ERROR")
    set_log_level()
    assert set_log_level(30, return_old_level=True) == logging.ERROR
    monkeypatch.setenv("SK_B2S_LOG_LEVEL", "10")
    set_log_level()
    assert set_log_level(30, return_old_level=True) == logging.DEBUG
    monkeypatch.setenv("SK_B2S_LOG_LEVEL", "loud")
    with pytest.raises(ValueError, match="environment variable SK_B2S_LOG_LEVEL must be one of DEBUG"):
        set_log_level()


@pytest.mark.parametrize("level", ["loud", 1.5], ids=str)
def test_set_log_level_names_levels(plain, level):
    with pytest.raises(ValueError, match="must be one of DEBUG, INFO"):
        set_log_level(level)


def test_log_prints_once(plain, capsys, caplog, monkeypatch):
    log("quiet")
    log("asked for", verbose=True)
    set_log_level("INFO")
    log("heard")
    log("not wanted", verbose="ERROR")
    monkeypatch.setattr(_logging, "has_root_logging_handlers", lambda: True)
    log("for the root")
    assert capsys.readouterr().out.splitlines() == ["asked for", "heard"]
    assert caplog.messages[-1] == "for the root"


def test_progress_shows_bar_on_terminal_only(plain, capsys, monkeypatch):
    monkeypatch.setattr(_logging, "DELAY", 0)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert list(iterate_with_logged_progress([1, 2, 3], "fits")) == [1, 2, 3]
    assert "fits" in terminal.getvalue()
    monkeypatch.setattr(sys, "stderr", silent := Terminal())
    list(iterate_with_logged_progress([1, 2, 3], "fits", verbose="ERROR"))
    worker = threading.Thread(target=lambda: list(iterate_with_logged_progress([1, 2], "fits", verbose=True)))
    worker.start()
    worker.join()
    monkeypatch.setattr(sys, "stderr", pipe := io.StringIO())
    list(iterate_with_logged_progress([1, 2, 3], "fits", verbose=True))
    assert silent.getvalue() == pipe.getvalue() == capsys.readouterr().out == ""


def test_progress_logs_a_line_a_minute(plain, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(_logging.time, "monotonic", iter([0, 0, 30, 61, 90, 130]).__next__)
    list(iterate_with_logged_progress(range(5), "folds", verbose=True, announce=False))
    lines = ["folds: 2 of 5, about 2 min left", "folds: 4 of 5, about 32 s left"]
    assert capsys.readouterr().out.splitlines() == lines


def test_progress_announces_long_work_once(plain, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stderr", pipe := io.StringIO())

    def pass_by(seconds, **params):
        clock = itertools.count(0, seconds)
        monkeypatch.setattr(_logging.time, "monotonic", lambda: float(next(clock)))
        list(iterate_with_logged_progress(range(4), "folds", **params))
        text = pipe.getvalue()
        pipe.truncate(pipe.seek(0))
        return text

    assert pass_by(14) == "folds: 1 of 4, about 84 s left\n"  # the first call starts the clock
    assert pass_by(16, n_ahead=1) == "folds: 1 of 4, about 48 s left\n"
    assert pass_by(100, n_ahead=1, n_at_once=4) == "folds: 1 of 4, about 75 s left\n"
    assert pass_by(7) == pass_by(100, verbose="ERROR") == ""
    assert pass_by(100, verbose=True) == ""  # in the log, with one line a minute
    assert capsys.readouterr().out.splitlines() == [
        "folds: 1 of 4, about 10 min left", "folds: 2 of 4, about 5 min left", "folds: 3 of 4, about 2 min left",
    ]  # fmt: skip


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_run_in_parallel_with_logging_keeps_order(n_jobs):
    with joblib.parallel_config("threading"):
        assert run_in_parallel_with_logging(
            (joblib.delayed(abs)(-i) for i in range(5)), "calls", n_jobs
        ) == list(range(5))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.1, "1 s"), (89, "89 s"), (90, "2 min"), (7200, "2 h"), (8e5, "9 days")]
)
def test_format_seconds(seconds, text):
    assert format_logged_seconds(seconds) == text


def test_reading_and_cutting_are_logged(plain, capsys, listening_events, monkeypatch):
    monkeypatch.setattr(_caching, "LEAST_LOGGED", 0.0)
    X, _ = sk_b2s.make_segments(listening_events, anchor=5.0, tmin=0, tmax=3, verbose=True)
    assert capsys.readouterr().out.startswith(f"make_segments: {len(X)} windows of 2 subjects")
    sk_b2s.make_segments(listening_events, anchor=5.0, tmin=0, tmax=3)
    assert capsys.readouterr().out == ""
    set_log_level("INFO")
    sk_b2s.Epocher(sfreq=30).fit_transform(X).gather([0])
    assert "read recording signal, sub-01_task-listening_eeg.fif:" in capsys.readouterr().out
