"""Captured warnings and peak memory of a task."""

from __future__ import annotations

import threading
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


_LOCK, _OWN = threading.Lock(), threading.local()
_COLLECTING: list[list] = []
_CAUGHT = warnings.catch_warnings()
_FORMER = warnings.catch_warnings.__enter__, warnings.catch_warnings.__exit__, warnings._showwarnmsg  # type: ignore[attr-defined]


@contextmanager
def monitor_warnings():
    """Collect the warnings of this thread, each once, instead of showing them.

    Warnings of worker processes would be lost, or shown once per worker.
    Warnings that filters ignore are not collected, and those that filters
    turn into errors are raised. Unlike :class:`warnings.catch_warnings`,
    which changes all threads, it can be used in several threads at once, also
    if one of them uses ``catch_warnings(record=True)`` meanwhile, as pandas
    does to align tables: only warnings of that thread are recorded. Warnings
    of other threads are shown as usual.

    Yields
    ------
    collected : list of str
        ``"Category: message"``, in order of occurrence.

    Examples
    --------
    >>> with monitor_warnings() as collected:
    ...     for _ in range(3):
    ...         warnings.warn("no convergence", RuntimeWarning)
    >>> collected
    ['RuntimeWarning: no convergence']
    """
    global _CAUGHT
    collected: list[str] = []
    before = (
        getattr(_OWN, "collected", None),
        getattr(_OWN, "recording", set()),
        getattr(_OWN, "shown", False),
    )
    _OWN.collected, _OWN.recording, _OWN.shown = collected, set(), False
    with _LOCK:
        if not _COLLECTING:
            _CAUGHT = warnings.catch_warnings()
            _CAUGHT.__enter__()
            # After all other filters. By default a line of code warns only once, in whatever thread.
            warnings.simplefilter("always", append=True)
            _set_warning_hooks(_enter_catch_warnings, _exit_catch_warnings, _collect_or_show)
        _COLLECTING.append(collected)
    try:
        yield collected
    finally:
        _OWN.collected, _OWN.recording, _OWN.shown = before
        with _LOCK:
            _COLLECTING[:] = [other for other in _COLLECTING if other is not collected]
            if not _COLLECTING:
                _set_warning_hooks(*_FORMER)
                _CAUGHT.__exit__(None, None, None)


@contextmanager
def show_warnings_once():
    """Show equal warnings of this thread once, for example those of folds.

    Python repeats a warning whenever any library has used
    :class:`warnings.catch_warnings` since. Within :func:`monitor_warnings`,
    warnings are collected there.
    """
    if getattr(_OWN, "collected", None) is not None:
        yield
        return
    with monitor_warnings():
        _OWN.shown = True
        yield


def _set_warning_hooks(enter, leave, show):
    """Replace what is called by catch_warnings and for each warning."""
    warnings.catch_warnings.__enter__, warnings.catch_warnings.__exit__ = enter, leave  # type: ignore[method-assign]
    warnings._showwarnmsg = show  # type: ignore[attr-defined]


def _enter_catch_warnings(self):
    """Enter catch_warnings, and note the thread that records warnings."""
    log = _FORMER[0](self)
    if log is not None and hasattr(_OWN, "recording"):
        _OWN.recording.add(id(self))
    return log


def _exit_catch_warnings(self, *exception):
    """Leave catch_warnings."""
    if hasattr(_OWN, "recording"):
        _OWN.recording.discard(id(self))
    return _FORMER[1](self, *exception)


def _collect_or_show(message):
    """Collect a warning of a collecting thread that does not record it."""
    collected = getattr(_OWN, "collected", None)
    if collected is None or _OWN.recording:
        _FORMER[2](message)
    elif (text := f"{message.category.__name__}: {message.message}") not in collected:
        collected.append(text)
        if _OWN.shown:
            _FORMER[2](message)


def reset_monitored_peak_memory():
    """Reset the peak memory of this process (Linux only)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb():
    """Return the peak memory of this process in MB, NaN if unknown."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    if resource is None:
        return np.nan
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes, where there is no /proc
