"""Append-only JSON Lines file, safe under concurrent writers."""

from __future__ import annotations

import codecs
import errno
import json
import os
import stat
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np

try:
    import fcntl
except ImportError:  # no such locks on Windows: two processes may then do the same work, and that is all
    fcntl = None  # type: ignore[assignment]

CLAIMS, WRITING = 2**60, 2**59  # bytes far beyond the end of any file, locked in its stead


class JsonLinesFile:
    """An append-only file of JSON lines, each the result of one piece of work under its key.

    Lines that hold no result are skipped, with a warning that names them: a file of results may have come a long way.
    A line is added by one call of the system's ``write`` in append mode, so lines of several processes do not
    mix, and it begins with a line break, so what a killed process left of its last line spoils no other. Such
    a torn line is no JSON, is not read, and its work is done again.

    Parameters
    ----------
    path : str or Path
        The file; it and its folder are made when they are first needed.
    find_problem : callable, default=None
        ``find_problem(line)`` says in a text why a dict is no line of this file, or returns None.
    """

    def __init__(self, path, find_problem=None):
        self.path = Path(path).absolute()  # a worker may stand elsewhere
        self.find_problem = find_problem

    def lines(self):
        """Read the results.

        Returns
        -------
        lines : list of dict
            In the order they were written.

        Raises
        ------
        ValueError
            If the path is a folder, device or FIFO.

        Warns
        -----
        UserWarning
            If lines hold no result, with their numbers.
        """
        if not self.size():
            return []
        skipped: dict[int, str] = {}
        found = _parsed(self.path.read_bytes(), None, self.find_problem, skipped)
        if skipped:
            numbers, n = [str(number) for number in skipped], len(skipped)
            more = f" and {n - 10} more" if n > 10 else ""
            what = f"{n} lines that hold no result were" if n > 1 else "a line that holds no result was"
            warnings.warn(
                f"{str(self.path)!r}: {what} skipped, line {', '.join(numbers[:10])}{more} (the first: "
                f"{next(iter(skipped.values()))}). {len(found)} were read. What is lost by an interruption or damage "
                f"is computed again by the next benchmark(path=...) with the same arguments. Delete these lines to "
                f"silence this.",
                stacklevel=3,
            )
        return found

    def size(self):
        """Number of bytes written so far; a path that is not a regular file is refused."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return 0
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, FIFO or socket"
            raise ValueError(
                f"{str(self.path)!r} is {kind} and not a regular file, and was not opened: name a file for results, "
                f"such as 'results.jsonl'."
            )
        return status.st_size

    @contextmanager
    def claim(self, key):
        """Take a piece of work, if no other process has it.

        The claim is a lock of the system's and ends with the process, however it ends. Within one process
        nobody is kept out: whoever hands out the work there knows what it handed out. Of several threads the
        first that is done gives up the claims of all, and then another process may do the same work once more.

        Parameters
        ----------
        key : str
            Of 13 hexadecimal digits or more.

        Yields
        ------
        claim : Claim or None
            Whoever has it may write; None if another process is at this work.
        """
        self.size()  # refuses what is no file
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        file = os.open(self.path, flags, 0o666)
        try:
            mine = _lock(file, CLAIMS + int(key[:13], 16), wait=False)
            yield KeyLock(file, key, self) if mine else None
        finally:
            os.close(file)  # and with it goes the lock


class KeyLock:
    """A piece of work that no other process is at.

    It reads by the open file that holds the lock, for the system drops the locks of a process on a file
    when *any* of its handles on that file is closed.

    Parameters
    ----------
    file : int
        Handle of the open file.
    key : str
        Of the work.
    ledger : JsonLinesFile
        Whose file it is.
    """

    def __init__(self, file, key, ledger):
        self.file, self.key, self.ledger = file, key, ledger

    def found(self, start=0):
        """Read what was written of this work since byte ``start``: list of dict."""
        parts = []
        os.lseek(self.file, start, os.SEEK_SET)
        while part := os.read(self.file, 2**24):
            parts.append(part)
        return _parsed(b"".join(parts), self.key, self.ledger.find_problem)

    def write(self, line):
        """Add a line, and see it to the disk."""
        content = b"\n" + json.dumps(line | {"key": self.key}, default=_plain).encode() + b"\n"
        _lock(self.file, WRITING, wait=True)  # on a network's file system appending alone is not atomic
        try:
            written = os.write(self.file, content)
            if written < len(content):
                raise OSError(
                    errno.ENOSPC, f"only {written} of {len(content)} bytes of a result could be written"
                )
            os.fsync(self.file)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror}: is the disk full, or a limit of file sizes (ulimit -f) reached? Finished fits are "
                f"kept: make room, and call benchmark again with the same arguments",
                str(self.ledger.path),
            ) from error
        finally:
            if fcntl is not None:
                fcntl.lockf(self.file, fcntl.LOCK_UN, 1, WRITING, os.SEEK_SET)


def _parsed(content, of=None, find_problem=None, skipped=None):
    """Lines of a file that are whole, of one key or of all; ``skipped`` is given the others by their numbers."""
    found = []
    for number, text in enumerate(content.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        if not text.strip() or (of is not None and of.encode() not in text):
            continue
        problem = None
        try:
            line = json.loads(text)
        except (ValueError, RecursionError) as error:  # torn, or not of this file
            line, problem = None, f"{type(error).__name__}, {str(error)[:100]}"
        if problem is None:
            if not (isinstance(line, dict) and isinstance(line.get("key"), str)):
                problem = "it has no key"
            elif of in (None, line["key"]):
                problem = None if find_problem is None else find_problem(line)
            else:
                continue
        if problem is None:
            found.append(line)
        elif skipped is not None:
            skipped[number] = problem
    return found


def _lock(file, byte, wait):
    """Lock one byte of a file; False if another process has it."""
    if fcntl is None:
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, byte, os.SEEK_SET)
    except BlockingIOError:
        return False
    except PermissionError:  # what some systems say instead
        return False
    return True


def _plain(value):
    """Represent in JSON what it has no type for."""
    return value.item() if isinstance(value, np.generic) else str(value)
