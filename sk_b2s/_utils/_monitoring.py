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


@contextmanager
def monitor_warnings():
    """Collect the warnings of this thread, each once, instead of showing them.

    Warnings of worker processes would be lost, or shown once per worker.
    Warnings that filters ignore are not collected, and those that filters
    turn into errors are raised. Unlike :class:`warnings.catch_warnings`,
    which changes all threads, it can be used in several threads at once.
    Warnings of other threads are shown as usual.

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
    before, _OWN.collected = getattr(_OWN, "collected", None), collected
    with _LOCK:
        if not _COLLECTING:
            _CAUGHT = warnings.catch_warnings()
            _CAUGHT.__enter__()
            # After all other filters. By default a line of code warns only once, in whatever thread.
            warnings.simplefilter("always", append=True)
            warnings.showwarning = _collect_or_show(warnings.showwarning)
        _COLLECTING.append(collected)
    try:
        yield collected
    finally:
        _OWN.collected = before
        with _LOCK:
            _COLLECTING[:] = [other for other in _COLLECTING if other is not collected]
            if not _COLLECTING:
                _CAUGHT.__exit__(None, None, None)


def _collect_or_show(show):
    """Make a ``showwarning`` that collects warnings of collecting threads."""

    def showwarning(message, category, filename, lineno, file=None, line=None):
        collected = getattr(_OWN, "collected", None)
        if collected is None:
            return show(message, category, filename, lineno, file, line)
        text = f"{category.__name__}: {message}"
        if text not in collected:
            collected.append(text)

    return showwarning


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
