"""A file of results that many may write to and that no kill can spoil: one line for each that is done."""

from __future__ import annotations

import codecs
import errno
import hashlib
import inspect
import json
import os
import re
import stat
import sys
import sysconfig
import warnings
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

from sk_b2s.caching import FromFile
from sk_b2s.recordings import recording_stamp
from sk_b2s.stimuli import digests
from sk_b2s.windows import Windows

try:
    import fcntl
except ImportError:  # no such locks on Windows: two processes may then do the same work, and that is all
    fcntl = None  # type: ignore[assignment]

__all__ = ["Claim", "Ledger", "code_digest", "describe", "key_of", "row_digests"]

IDLE = ("memory", "n_jobs", "verbose")  # parameters that change no result
HERE = Path(__file__).resolve().parent
INSTALLED = {
    Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")
}
CLAIMS, WRITING = 2**60, 2**59  # bytes far beyond the end of any file, locked in its stead


class Ledger:
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
            yield Claim(file, key, self) if mine else None
        finally:
            os.close(file)  # and with it goes the lock


class Claim:
    """A piece of work that no other process is at.

    It reads by the open file that holds the lock, for the system drops the locks of a process on a file
    when *any* of its handles on that file is closed.

    Parameters
    ----------
    file : int
        Handle of the open file.
    key : str
        Of the work.
    ledger : Ledger
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
    """Numbers of numpy's as Python's, anything else as text."""
    return value.item() if isinstance(value, np.generic) else str(value)


# --- who is who ----------------------------------------------------------------------------------------


def key_of(*parts):
    """Digest whatever identifies a piece of work.

    Parameters
    ----------
    *parts : object
        Given to :func:`describe`.

    Returns
    -------
    key : str
        32 hexadecimal digits, equal in every process.
    """
    return hashlib.blake2b(json.dumps(describe(parts)).encode(), digest_size=16).hexdigest()


def describe(value):
    """Say what something is, in lists and texts that are equal in every process.

    Unlike a digest of a pickle it does not depend on which objects are shared, and says of an estimator
    its class and parameters alone, without those that change no result (``memory, n_jobs, verbose``). Of functions
    and classes of yours, in no installed package, their own code counts, and not that of functions they call.

    Parameters
    ----------
    value : object
        An estimator, function, array, table or anything that joblib can hash.

    Returns
    -------
    description : list or str
    """
    if isinstance(value, (str, bytes, bool, int, float, type(None), np.generic)):
        return repr(value.item() if isinstance(value, np.generic) else value)
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    if isinstance(value, dict):
        return ["dict", *sorted([describe(key), describe(item)] for key, item in value.items())]
    if isinstance(value, (set, frozenset)):
        return ["set", *sorted(map(str, map(describe, value)))]
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return ["array", str(value.shape), str(value.dtype), _digest(np.ascontiguousarray(value))]
    if isinstance(value, (np.ndarray, pd.DataFrame, Windows)):
        rows = np.atleast_1d(value) if isinstance(value, np.ndarray) else value
        return ["rows", str(np.shape(value)), _digest(row_digests(rows).tobytes())]
    if isinstance(value, FromFile):
        return ["from file", *describe(value.identity())]
    if isinstance(value, partial):
        return ["partial", describe(value.func), describe(value.args), describe(value.keywords)]
    if isinstance(value, type):
        return [f"{value.__module__}.{value.__qualname__}", *_describe_own_classes(value)]
    if hasattr(value, "get_params"):
        params = value.get_params(deep=False)
        return [describe(type(value)), describe({k: v for k, v in params.items() if k not in IDLE})]
    if hasattr(value, "__code__"):
        held = [cell.cell_contents for cell in value.__closure__ or ()]
        held = [thing for thing in held if thing is not value]  # one that calls itself
        given = [value.__defaults__, value.__kwdefaults__, held, getattr(value, "__self__", None)]
        return [f"{value.__module__}.{value.__qualname__}", _describe_code(value.__code__), *describe(given)]
    return [describe(type(value)), joblib.hash(value)]


def _describe_own_classes(kind):
    """Say what the methods of a class do that is in no installed package, such as one of a notebook's or script's."""
    own = [base for base in kind.__mro__ if not _is_installed(base)]
    parts = [(name, getattr(part, "__func__", part)) for base in own for name, part in vars(base).items()]
    parts = [(name, inspect.unwrap(part)) for name, part in parts if callable(part)]
    return [
        [name, _describe_code(part.__code__), describe(part.__defaults__), describe(part.__kwdefaults__)]
        for name, part in parts
        if hasattr(part, "__code__")
    ]


def _is_installed(kind):
    """Whether a class is Python's, of a package installed, or of this one, whose code is digested as a whole."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if kind.__module__ == "__main__" or file is None:
        return kind.__module__ != "__main__"
    path = Path(file).resolve()
    return HERE in path.parents or any(path.is_relative_to(folder) for folder in INSTALLED)


def _describe_code(code):
    """Say what a function does: its instructions, names and numbers, and those of functions within it."""
    parts = [_describe_code(part) if hasattr(part, "co_code") else describe(part) for part in code.co_consts]
    return [_digest(code.co_code), repr(code.co_names), parts]


def row_digests(data):
    """Digest each row of a table, of windows or of an array.

    Parameters
    ----------
    data : DataFrame, Windows or array-like of shape (n_rows, ...)
        Of a table the names of its columns count, and neither their order nor the index; sounds count by their
        content, and recordings by that of all their files, so that a copy with another path or date is the same.

    Returns
    -------
    digests : ndarray of uint64 of shape (n_rows,)
    """
    if isinstance(data, Windows):
        signals = np.array([_signal_digest(signal) for signal in data.signals], np.uint64)
        how = int(key_of(data.n_read, data.sfreq, data.steps, data.positions, data.ch_names)[:15], 16)
        table = pd.DataFrame({"signal": signals[data.which], "start": data.start, "how": how})
        if data.rows is not None:
            table = pd.concat([table.add_prefix("windows' "), data.rows.reset_index(drop=True)], axis=1)
        return row_digests(table)
    if not isinstance(data, pd.DataFrame):
        data = np.asarray(data)
        rows = np.ascontiguousarray(data.astype(str) if data.dtype.hasobject else data).reshape(len(data), -1)
        return np.array([int(_digest(row.tobytes())[:16], 16) for row in rows], np.uint64)
    data = data.reset_index(drop=True)
    table = {str(name): _comparable(str(name), column) for name, column in data.items()}
    table = {name: table[name] for name in sorted(table)}
    table["\0"] = pd.Series(repr(list(table)), index=data.index, dtype=object)  # no name of a column
    return pd.util.hash_pandas_object(pd.DataFrame(table, index=data.index), index=False).to_numpy(np.uint64)


def _comparable(name, column):
    """Return a column whose values are equal where they mean the same."""
    if pd.api.types.is_numeric_dtype(column.dtype) and not column.isna().all():
        return column  # one without any value may have been a text before it was read from a file
    if name == "sound":
        return pd.Series(digests(column), index=column.index)
    text = column.astype(object).where(column.notna(), "").map(str)
    if name == "recording":
        text = text.map({one: _identity(one) for one in text.unique()})
    return text.astype(object)


def _identity(recording):
    """Digest of a recording's files, its name if there are none."""
    path = Path(recording)
    if not (path.suffix or path.is_absolute()):
        return recording
    return recording_stamp(path) or path.name


def _signal_digest(signal):
    if isinstance(signal, np.ndarray):
        return int(_digest(np.ascontiguousarray(signal))[:16], 16)
    return int(key_of(signal.recipe, signal.shape)[:16], 16)


def _digest(content):
    return hashlib.blake2b(content, digest_size=16).hexdigest()


@cache
def code_digest(folder=HERE, room="evaluation"):
    """Digest the sources that have a say in a result, so that those of two codes are not taken for each other's.

    Parameters
    ----------
    folder : Path, default=that of this package
    room : str, default="evaluation"
        The module that is digested with all that it imports of the package, and that these import. Plots,
        reports and statistics are not among them, and may change without anything being computed again.

    Returns
    -------
    digest : str
        16 hexadecimal digits.
    """
    return key_of(_sources(folder, room))[:16]


def _sources(folder, room):
    """Sources of a module and of all that it imports, and these, by name."""
    sources, ahead = {}, [room]
    while ahead:
        if (name := ahead.pop()) in sources:
            continue
        files = sorted((folder / name).rglob("*.py")) or [folder / f"{name}.py"]
        sources[name] = b"".join(path.read_bytes() for path in files)
        found = re.findall(rb"^\s*(?:from|import) sk_b2s\.(\w+)", sources[name], re.MULTILINE)
        ahead += [other.decode() for other in found]
    return sources
