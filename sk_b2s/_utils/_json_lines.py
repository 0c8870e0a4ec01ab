"""Append-only JSON Lines file, safe under concurrent writers.

Locks are byte ranges of the file itself (fcntl). filelock would need one lock
file for each of thousands of keys, which cannot be deleted safely while other
processes wait for them.
"""

from __future__ import annotations

import codecs
import errno
import json
import os
import stat
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from sk_b2s._utils._text import shorten_list

try:
    import fcntl
except ImportError:  # without locks (Windows), two processes may compute the same task
    fcntl = None  # type: ignore[assignment]

CLAIMS, WRITING = 2**60, 2**59  # locked bytes, far beyond the end of any file


class JsonLinesFile:
    """Append-only file of JSON lines, each the result of a task with a key.

    Invalid lines are skipped with a warning that names them. A line is added
    by one call of ``write`` of the system in append mode, so that lines of
    several processes do not mix. It begins with a line break, so that the
    truncated line of an interrupted process damages no other line. The
    truncated line is not valid JSON, and its task is computed again.

    Parameters
    ----------
    path : str or Path
        The file. It is made with its folder when it is first written.
    find_problem : callable, default=None
        ``find_line_problem(line)`` returns a text on why a dict is not a valid
        line of this file, or None.
    """

    def __init__(self, path, find_problem=None):
        self.path = Path(path).absolute()  # workers may have another working directory
        self.find_problem = find_problem

    def lines(self):
        """Read all valid lines in the order of writing: list of dict.

        Raises a ValueError if the path is not a regular file. Warns of invalid
        lines, with their numbers.
        """
        return self.read()[0]

    def read(self):
        """Read all valid lines, and find where later ones start.

        That is not the end of the file, because another process may have
        written a part of a line by then.

        Returns
        -------
        lines : list of dict
            As of :meth:`lines`.
        start : int
            First byte of the last line, whether it is complete or not.
        """
        if not self.size():
            return [], 0
        content = self._read_bytes()
        skipped: dict[int, str] = {}
        found = _parse_json_lines(content, None, self.find_problem, skipped)
        if skipped:
            n = len(skipped)
            what = f"{n} invalid lines were" if n > 1 else "an invalid line was"
            warnings.warn(
                f"{str(self.path)!r}: {what} skipped, line {shorten_list(skipped, 10)} (first: "
                f"{next(iter(skipped.values()))}). {len(found)} lines were read. The next benchmark(path=...) with the "
                f"same arguments computes lost results again. Delete these lines to silence this warning.",
                stacklevel=4,
            )
        return found, content.rfind(b"\n", 0, -1) + 1

    def _read_bytes(self):
        """Read the whole file while no other process writes a line."""
        with open(self.path, "rb") as file:
            with suppress(OSError):  # a file system without locks
                _lock_json_lines_byte(file, WRITING, wait=True, shared=True)
            return file.read()

    def size(self):
        """Return the number of bytes, or raise if it is not a regular file."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return 0
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, FIFO or socket"
            raise ValueError(
                f"{str(self.path)!r} must be a regular file, but is {kind}. Pass a path such as 'results.jsonl'."
            )
        return status.st_size

    @contextmanager
    def claim(self, key):
        """Claim a task, unless another process has claimed it.

        The claim is a lock of the operating system, which is released when the
        process ends for any reason. It does not exclude threads of the same
        process. If several threads have claims, the first that ends releases
        all, and another process may then repeat a task.

        Parameters
        ----------
        key : str
            13 or more hexadecimal digits.

        Yields
        ------
        claim : JsonLinesLock or None
            None if another process has the claim.
        """
        self.size()  # raises if it is not a file
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        file = os.open(self.path, flags, 0o666)
        try:
            mine = _lock_json_lines_byte(file, CLAIMS + int(key[:13], 16), wait=False)
            yield JsonLinesLock(file, key, self) if mine else None
        finally:
            os.close(file)  # releases the lock


class JsonLinesLock:
    """Claim of a task, with which its lines can be read and written.

    It reads through the open file that has the lock, because the system
    releases all locks of a process on a file when it closes *any* handle of
    the file.

    Parameters
    ----------
    file : int
        Handle of the open file.
    key : str
        Key of the task.
    owner : JsonLinesFile
        File of the task.
    """

    def __init__(self, file, key, owner):
        self.file, self.key, self.owner = file, key, owner

    def found(self, start=0):
        """Return the lines of this task from byte ``start`` on."""
        parts = []
        os.lseek(self.file, start, os.SEEK_SET)
        while part := os.read(self.file, 2**24):
            parts.append(part)
        return _parse_json_lines(b"".join(parts), self.key, self.owner.find_problem)

    def write(self, line):
        """Append a line and flush it to the disk."""
        content = b"\n" + json.dumps(line | {"key": self.key}, default=_convert_json_value).encode() + b"\n"
        _lock_json_lines_byte(
            self.file, WRITING, wait=True
        )  # appending is not atomic on network file systems
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
                f"{error.strerror}. Check for a full disk or a limit of the file size (ulimit -f). Finished fits are "
                f"saved. Free some space and call benchmark again with the same arguments",
                str(self.owner.path),
            ) from error
        finally:
            if fcntl is not None:
                fcntl.lockf(self.file, fcntl.LOCK_UN, 1, WRITING, os.SEEK_SET)


def _parse_json_lines(content, of=None, find_problem=None, skipped=None):
    """Return the valid lines of a content, and add others to ``skipped``."""
    found = []
    for number, text in enumerate(content.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        if not text.strip() or (of is not None and of.encode() not in text):
            continue
        problem = None
        try:
            line = json.loads(text)
        except (ValueError, RecursionError) as error:  # truncated, or not of this file
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


def _lock_json_lines_byte(file, byte, wait, shared=False):
    """Lock one byte of a file, and return False if another process has it."""
    if fcntl is None:
        return True
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.lockf(file, kind | (0 if wait else fcntl.LOCK_NB), 1, byte, os.SEEK_SET)
    except BlockingIOError:
        return False
    except PermissionError:  # on some systems
        return False
    return True


def _convert_json_value(value):
    """Convert a value that JSON cannot represent."""
    return value.item() if isinstance(value, np.generic) else str(value)
