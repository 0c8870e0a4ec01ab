"""Logger of the package, its level, and progress of long work."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import threading
import time
from contextlib import contextmanager

import joblib

from sk_b2s._utils._monitoring import show_warnings_once

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
DELAY = 2.0  # seconds before a bar is shown
EVERY = 60.0  # seconds between lines of progress in a log
LONG = 60.0  # seconds of work that is announced without a terminal
logger = logging.getLogger("sk_b2s")


class _LogOutput(logging.Handler):
    """Print messages, unless the root logger has handlers that do so."""

    def emit(self, record):
        if not has_root_logging_handlers():
            print(self.format(record), flush=True)


def has_root_logging_handlers():
    """Return whether the root logger has handlers, which get all messages."""
    return bool(logging.getLogger().handlers)


def _get_level(verbose):
    """Return the number of a level that is given in MNE's ways."""
    if isinstance(verbose, bool):
        return logging.INFO if verbose else logging.WARNING
    if isinstance(verbose, str) and verbose.upper() in LEVELS:
        return getattr(logging, verbose.upper())
    if isinstance(verbose, int):
        return verbose
    raise ValueError(
        f"The log level must be one of {', '.join(LEVELS)}, a number of the module logging, or a bool (INFO or "
        f"WARNING). Got {verbose!r}."
    )


def set_log_level(verbose=None, return_old_level=False):
    """Set which messages of the package are printed.

    At "INFO" there is one line for each table that is made, for each fold of a
    split, and for each recording and stimulus whose reading or computation
    takes 0.1 s or more.
    Warnings are those of the module :mod:`warnings` and do not depend on the
    level. Worker processes print nothing. Progress bars are written to
    standard error. If that is not a terminal, loops of a minute or longer are
    announced there by one line.

    Parameters
    ----------
    verbose : bool, str, int or None, default=None
        "DEBUG", "INFO", "WARNING", "ERROR" or "CRITICAL", a number of the
        module :mod:`logging`, or True for "INFO" and False for "WARNING".
        "ERROR" also hides progress bars and announcements. If None, the
        environment variable ``SK_B2S_LOG_LEVEL``, or else "WARNING".
    return_old_level : bool, default=False
        If True, return the former level.

    Returns
    -------
    old_level : int
        Only if ``return_old_level``.

    See Also
    --------
    mne.set_log_level : The same for MNE, whose level is its own.

    Notes
    -----
    Messages are printed to standard output. If the root logger has a handler,
    as after :func:`logging.basicConfig`, it gets them instead. The name of the
    logger is "sk_b2s".

    Examples
    --------
    >>> import sk_b2s
    >>> before = sk_b2s.set_log_level("INFO", return_old_level=True)
    >>> sk_b2s.set_log_level(before)
    """
    old = logger.getEffectiveLevel()
    if verbose is None:
        verbose = os.environ.get("SK_B2S_LOG_LEVEL") or "WARNING"
        if verbose.isdigit():
            verbose = int(verbose)
        elif verbose.upper() not in LEVELS:
            raise ValueError(
                f"The environment variable SK_B2S_LOG_LEVEL must be one of {', '.join(LEVELS)}, or a number of the module "
                f"logging. Got {verbose!r}."
            )
    logger.setLevel(_get_level(verbose))
    return old if return_old_level else None


def log(message, verbose=None):
    """Log a message at the level INFO.

    ``verbose`` replaces the level of the logger for this message.
    """
    if logger.isEnabledFor(logging.INFO) if verbose is None else _get_level(verbose) <= logging.INFO:
        logger.handle(logger.makeRecord(logger.name, logging.INFO, __file__, 0, message, (), None))


@contextmanager
def log_seconds(message, least=0.0):
    """Log the duration of a step, unless it is shorter than ``least``."""
    began = time.perf_counter()
    yield
    if (seconds := time.perf_counter() - began) >= least:
        log(f"{message}: {seconds:.1f} s")


def is_logging_process():
    """Return whether this is the main thread of the main process."""
    is_first = multiprocessing.current_process().name == "MainProcess"
    return is_first and threading.current_thread() is threading.main_thread()


def format_logged_seconds(seconds):
    """Format a duration with one unit, such as "3 min"."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1, round(seconds))} s"


def iterate_with_logged_progress(
    items, title, total=None, verbose=None, n_ahead=0, announce=True, n_at_once=1
):
    """Iterate, with a progress bar on terminals and lines in logs.

    A bar is shown after two seconds. Elsewhere, work of a minute or longer is
    announced once with the time left, and then one line a minute is logged at
    the level INFO. Worker processes and threads show nothing.

    Parameters
    ----------
    items : iterable
    title : str
        What is done, such as "fits".
    total : int, default=None
        Number of items. If None, ``len(items)``.
    verbose : bool, str, int or None, default=None
        As for :func:`set_log_level`. If None, the level of the logger.
    n_ahead : int, default=0
        Number of items that are done when the first is received, 1 for the
        results of a generator.
    announce : bool, default=True
        Whether long work is announced.
    n_at_once : int, default=1
        Number of items that are computed at the same time. The others of the
        first ones are nearly done when the first is received.
    """
    total = len(items) if total is None else total
    level = logger.getEffectiveLevel() if verbose is None else _get_level(verbose)
    if total < 2 or level > logging.WARNING or not is_logging_process():
        yield from items
    elif sys.stderr.isatty() or "ipykernel" in sys.modules:
        from tqdm.auto import tqdm

        yield from tqdm(items, title, total=total, delay=DELAY, leave=False, dynamic_ncols=True)
    else:
        yield from _iterate_with_lines(items, title, total, verbose, n_ahead, announce, n_at_once)


def _iterate_with_lines(items, title, total, verbose, n_ahead, announce, n_at_once):
    """Iterate, and log the number of items and the time left each minute."""
    began = said = time.monotonic()
    for done, item in enumerate(items, n_ahead):
        now = time.monotonic()
        if 0 < done < total:
            left = (now - began) / max(done, min(n_at_once, total)) * (total - done)
            message = f"{title}: {done} of {total}, about {format_logged_seconds(left)} left"
            if announce and now - began + left >= LONG:
                announce, said = False, now
                _log_or_print(message, verbose)
            elif now - said >= EVERY:
                said = now
                log(message, verbose)
        yield item


def _log_or_print(message, verbose):
    """Log a message, or write it where a bar would be below the level INFO."""
    level = logger.getEffectiveLevel() if verbose is None else _get_level(verbose)
    if level <= logging.INFO or has_root_logging_handlers():
        log(message, verbose=True)
    else:
        print(message, file=sys.stderr, flush=True)


def run_in_parallel_with_logging(calls, title, n_jobs=None):
    """Run delayed functions of joblib with a progress bar: list of results.

    Equal warnings of several calls are shown once.
    """
    calls = list(calls)
    parallel = joblib.Parallel(n_jobs, return_as="generator")
    n_at_once = joblib.effective_n_jobs(n_jobs)
    with show_warnings_once():
        return list(
            iterate_with_logged_progress(
                parallel(calls), title, total=len(calls), n_ahead=1, n_at_once=n_at_once
            )
        )


logger.addHandler(_LogOutput())
if logger.level == logging.NOTSET:  # a level that was set before the import remains
    set_log_level()
