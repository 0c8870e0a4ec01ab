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
_LISTENING: list[list] = []
_CAUGHT = warnings.catch_warnings()


@contextmanager
def capture_warnings():
    """Keep the warnings that this thread gives meanwhile, each once, instead of showing them.

    Workers in other processes show their warnings to nobody, or once for each of them. What the filters ignore
    is not kept, and what they turn into errors is raised. Unlike :class:`warnings.catch_warnings`, which changes
    what all threads see, it may be used in several at once: each keeps its own, and those of a thread that
    does not listen are shown as ever.

    Yields
    ------
    heard : list of str
        ``"Category: message"``, in the order they came.

    Examples
    --------
    >>> with capture_warnings() as heard:
    ...     for _ in range(3):
    ...         warnings.warn("no convergence", RuntimeWarning)
    >>> heard
    ['RuntimeWarning: no convergence']
    """
    global _CAUGHT
    heard: list[str] = []
    before, _OWN.heard = getattr(_OWN, "heard", None), heard
    with _LOCK:
        if not _LISTENING:
            _CAUGHT = warnings.catch_warnings()
            _CAUGHT.__enter__()
            # Behind all other filters: else a place in the code warns once, whoever is listening.
            warnings.simplefilter("always", append=True)
            warnings.showwarning = _hear(warnings.showwarning)
        _LISTENING.append(heard)
    try:
        yield heard
    finally:
        _OWN.heard = before
        with _LOCK:
            _LISTENING[:] = [other for other in _LISTENING if other is not heard]
            if not _LISTENING:
                _CAUGHT.__exit__(None, None, None)


def _hear(show):
    """Keep a warning for whoever listens in this thread, or show it."""

    def showwarning(message, category, filename, lineno, file=None, line=None):
        heard = getattr(_OWN, "heard", None)
        if heard is None:
            return show(message, category, filename, lineno, file, line)
        text = f"{category.__name__}: {message}"
        if text not in heard:
            heard.append(text)

    return showwarning


def reset_peak_memory():
    """Forget the peak of the work before, where the system lets us (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb():
    """Peak of the memory of this process in MB (of all its life, where it cannot be reset); NaN if unknown."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    if resource is None:
        return np.nan
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes, where there is no /proc
