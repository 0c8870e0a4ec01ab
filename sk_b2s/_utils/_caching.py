"""Disk cache of slow computations, keyed by the content of files."""

from __future__ import annotations

import hashlib
import os
import pickle
import stat
import time
import warnings
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from threading import Lock

import joblib
import numpy as np
import pooch

from sk_b2s._utils._logging import log_seconds

CHUNK = 2**20  # bytes read at a time for a digest
MOST_DIGESTS = 2**16  # digests of files that a process remembers
# A file system that counts time in seconds may write a file twice at one time of change.
SETTLED, SETTLED_COARSE = (
    0.1,
    2.5,
)  # s since the last change after which a time of change identifies a content
_DIGESTS: dict = {}
LEAST_LOGGED = 0.1  # seconds of a computation that is logged
MOST_BYTES = 2**28  # of results that a process keeps in memory


class CacheInMemory:
    """Results of a process by key, the least recently used are dropped.

    Parameters
    ----------
    most_bytes : int
        Largest sum of the sizes of all arrays. Arrays larger than half of it
        are not stored.
    """

    def __init__(self, most_bytes):
        self.most_bytes, self.n_bytes = most_bytes, 0
        self._arrays: OrderedDict = OrderedDict()
        self._lock = Lock()

    def get(self, key):
        """Return the array of a key, None if it is not stored."""
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
            return self._arrays.get(key)

    def add(self, key, array):
        """Store a read-only array."""
        if array.nbytes > self.most_bytes / 2:
            return
        with self._lock:
            if key in self._arrays:
                self.n_bytes -= self._arrays.pop(key).nbytes
            while self._arrays and self.n_bytes + array.nbytes > self.most_bytes:
                self.n_bytes -= self._arrays.popitem(last=False)[1].nbytes
            self._arrays[key] = array
            self.n_bytes += array.nbytes

    def clear(self):
        """Forget all results."""
        with self._lock:
            self._arrays.clear()
            self.n_bytes = 0


_RESULTS = CacheInMemory(MOST_BYTES)


def get_cached_file_state(path):
    """Return what changes when a file is written, without reading it.

    Programs such as ``rsync`` or ``tar`` cannot set the time of change
    (ctime), unlike the date. The state is valid within a process only,
    because a file system image may repeat all of it. Use
    :func:`digest_cached_content` for a cache on disk.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    state : tuple
        The path comes first. Equal states mean equal content. A file that was
        written a moment ago has another state at each call.

    Raises
    ------
    OSError
        If the file does not exist.
    """
    found = os.stat(path)
    age = time.time() - max(found.st_mtime_ns, found.st_ctime_ns) / 1e9
    limit = SETTLED if found.st_ctime_ns % 10**9 else SETTLED_COARSE
    token = time.perf_counter_ns() if abs(age) < limit else 0
    return (
        str(path), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev, token
    )  # fmt: skip


def digest_cached_content(path):
    """Compute a digest of the whole content of a file.

    Unchanged files are read once in a process.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    digest : str
        32 hexadecimal digits, equal for equal content at any path.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If the path is a device, a pipe or a folder.
    """
    state = get_cached_file_state(path)
    if (known := _DIGESTS.get(state)) is not None:
        return known
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{str(path)!r} must be a regular file, got a folder, pipe or device.")
    hasher = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            hasher.update(chunk)
    hasher.update(b"\0")
    if len(_DIGESTS) >= MOST_DIGESTS:
        _DIGESTS.clear()
    if (
        not state[-1] and get_cached_file_state(path) == state
    ):  # not written just before the reading, or during it
        _DIGESTS[state] = hasher.hexdigest()
    return hasher.hexdigest()


class CachedFromFile:
    """Computation on the content of a file, cached on disk with a memory.

    The cache entry depends on the content and the settings, not on the path or
    the date of the file.

    Parameters
    ----------
    function : callable
        Importable, with the arguments ``path``, ``stamp`` and the settings.
    path : str
    stamp_of : callable
        Importable. Returns the identity of the content at a path.
    memory : None, str, Path or joblib.Memory, default=None
        As in :func:`cached`. If None, the digest of the content is computed
        only where it is needed.
    ignore : sequence of str, default=()
        Settings that do not change the result.
    is_kept : bool, default=False
        Whether the process keeps the result without ``memory``, up to
        ``MOST_BYTES`` of all results together.
    **settings : object
        Further arguments of ``function``.
    """

    def __init__(self, function, path, stamp_of, memory=None, ignore=(), is_kept=False, **settings):
        self.function, self.path, self.stamp_of, self.memory = function, path, stamp_of, memory
        self.ignore, self.is_kept, self.settings = tuple(ignore), is_kept, settings
        self.stamp = None if memory is None else stamp_of(path)

    def __call__(self, **more):
        """Compute, or read from the cache.

        Parameters
        ----------
        **more : object
            Further settings.

        Raises
        ------
        ValueError
            If the file has changed since this object was made.
        """
        if self.memory is None:
            return self._compute_in_memory(more) if self.is_kept else self._compute(more)
        compute = cached(self.function, self.memory, ignore=("path", *self.ignore))
        arguments = {"path": self.path, "stamp": self.stamp, **self.settings, **more}
        if compute.check_call_in_cache(**arguments):
            return compute(**arguments)
        # A changed file must not be cached under the digest of its old content.
        if self.stamp_of(self.path) != self.stamp:
            raise ValueError(
                f"{self.path!r} has changed since the table it belongs to was transformed. Transform the table again."
            )
        with self._log():
            return compute(**arguments)

    def _log(self):
        """Log the duration of a computation."""
        what = self.function.__name__.strip("_").replace("_", " ")
        return log_seconds(f"{what}, {os.path.basename(str(self.path))}", least=LEAST_LOGGED)

    def _compute(self, more):
        """Compute without a cache."""
        with self._log():
            return self.function(path=self.path, stamp=None, **self.settings, **more)

    def _compute_in_memory(self, more):
        """Compute once per content and settings in this process."""
        _, stamp, settings = self.identity()
        key = self.function, joblib.hash([stamp, settings, more])
        if (known := _RESULTS.get(key)) is None:
            known = self._compute(more)
            # A file that changes while it is read must not be stored under the digest of its old content.
            if isinstance(known, np.ndarray) and self.stamp_of(self.path) == stamp:
                known.setflags(write=False)
                _RESULTS.add(key, known)
        return known

    def identity(self):
        """Return the content and settings that decide the result: list."""
        stamp = self.stamp_of(self.path) if self.stamp is None else self.stamp
        return [self.function, stamp, {k: v for k, v in self.settings.items() if k not in self.ignore}]

    def __repr__(self):
        return f"{type(self).__name__}({self.function.__name__}, {self.path!r})"


def get_cache_code(path, *libraries):
    """Compute a digest of a source file and of versions of libraries.

    As part of a cache key it renews the cache when either changes. joblib
    compares the source of the cached function only, not of those it calls.

    Parameters
    ----------
    path : str
        The source file, ``__file__``.
    *libraries : module
        Each has a ``__version__``.

    Returns
    -------
    code : str
        16 hexadecimal digits.
    """
    versions = " ".join(library.__version__ for library in libraries)
    return hashlib.blake2b(Path(path).read_bytes() + versions.encode(), digest_size=8).hexdigest()


def cached(function, memory, ignore=()):
    """Cache a function on disk, with memory-mapped arrays.

    Parameters
    ----------
    function : callable
    memory : None, str, Path or joblib.Memory
        As in scikit-learn. If None, nothing is cached. The folder holds pickle
        files, which run code when they are read. Use a folder that only you
        can write.
    ignore : sequence of str, default=()
        Arguments that do not change the result.

    Returns
    -------
    function : callable

    Warns
    -----
    UserWarning
        If other users can write the folder. Each folder is checked once in a
        process.
    """
    if memory is None:
        return function
    folder = memory.location if isinstance(memory, joblib.Memory) else memory
    if isinstance(folder, (str, os.PathLike)):
        _warn_of_others(os.fspath(folder))
    if not isinstance(memory, joblib.Memory):
        # Copy-on-write maps share their pages among processes, and torch needs writable arrays.
        memory = joblib.Memory(memory, mmap_mode="c", verbose=0)
    return memory.cache(function, ignore=list(ignore))


@lru_cache(maxsize=1024)
def _warn_of_others(folder):
    """Warn if other users can write or replace a cache folder (POSIX)."""
    if os.name != "posix":
        return
    folder = Path(os.path.realpath(folder))
    inside = [folder / "joblib", folder]
    for path in [*inside, *folder.parents]:
        try:
            found = path.stat()
        except OSError:  # it is made later, with the permissions of its parent's owner
            continue
        why = _why_foreign(found, path not in inside)
        if why:
            warnings.warn(
                f"the cache folder {str(folder)!r} is not safe: {str(path)!r} {why}. A cache holds pickle files, which "
                f"run code when they are read, so a user who can write there can run code as you. Use a folder that "
                f"only you can write, remove the permission (chmod go-w), or silence this warning with "
                f"warnings.filterwarnings('ignore', 'the cache folder').",
                stacklevel=4,
            )
            return


def _why_foreign(found, is_parent):
    """Return why other users may write a folder, or None if they may not.

    In a sticky parent folder, users cannot replace the files of others.
    """
    if found.st_uid not in (0, os.geteuid()):
        return f"belongs to another user (uid {found.st_uid})"
    if is_parent and found.st_mode & stat.S_ISVTX:
        return None
    if found.st_mode & stat.S_IWOTH:
        return f"can be written by all users (mode {stat.S_IMODE(found.st_mode):o})"
    if found.st_mode & stat.S_IWGRP and found.st_gid != 0 and not _is_own_group(found.st_gid):
        return f"can be written by the group {found.st_gid} (mode {stat.S_IMODE(found.st_mode):o})"
    return None


def _is_own_group(gid):
    """Return whether a group has this user as its only member."""
    try:
        import grp
        import pwd

        name, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(gid)
    except (ImportError, KeyError):  # a user or group without a name, as in containers
        return gid == os.getegid()
    return group.gr_name == name and not set(group.gr_mem) - {name}


def is_importable_for_cache(function):
    """Return whether a function can be imported by name."""
    try:
        pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True


def cache_folder():
    """Return the folder in ``SK_B2S_CACHE``, or the user's cache folder."""
    return Path(os.environ.get("SK_B2S_CACHE") or pooch.os_cache("sk_b2s"))
