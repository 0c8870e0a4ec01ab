"""Disk cache of slow computations, keyed by the content of files."""

from __future__ import annotations

import hashlib
import os
import pickle
import stat
import time
import warnings
from functools import lru_cache
from pathlib import Path

import joblib
import pooch

CHUNK = 2**20  # bytes read at a time for a digest
MOST_DIGESTS = 2**16  # digests of files that a process remembers
# A file system that counts time in seconds may write a file twice at one time of change.
SETTLED, SETTLED_COARSE = (
    0.1,
    2.5,
)  # s since the last change after which a time of change identifies a content
_DIGESTS: dict = {}


def file_state(path):
    """Return what changes when a file is written, without reading it.

    The time of change (ctime) cannot be set by programs such as ``rsync`` or ``tar``, unlike the date. Valid within a
    process only, because a file system image may repeat all of it. Use :func:`content_digest` for a cache on disk.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    state : tuple
        The path first. Equal states are the same content. A file that was written a moment ago has another state at
        each call.

    Raises
    ------
    OSError
        If there is no such file.
    """
    found = os.stat(path)
    age = time.time() - max(found.st_mtime_ns, found.st_ctime_ns) / 1e9
    limit = SETTLED if found.st_ctime_ns % 10**9 else SETTLED_COARSE
    token = time.perf_counter_ns() if abs(age) < limit else 0
    return (
        str(path), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev, token
    )  # fmt: skip


def content_digest(path):
    """Digest the whole content of a file. Unchanged files are read once in a process.

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
    state = file_state(path)
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
    if not state[-1] and file_state(path) == state:  # not written just before the reading, or during it
        _DIGESTS[state] = hasher.hexdigest()
    return hasher.hexdigest()


class FromFile:
    """Computation on the content of a file, kept on disk if there is a memory.

    The cache entry depends on the content and the settings, and not on the path or date of the file.

    Parameters
    ----------
    function : callable
        Importable, with the arguments ``path``, ``stamp`` and the settings.
    path : str
    stamp_of : callable
        Importable. Returns the identity of the content at a path.
    memory : None, str, Path or joblib.Memory, default=None
        As in :func:`cached`. Without it the content is only digested where it is asked for.
    ignore : sequence of str, default=()
        Settings that do not change the result.
    **settings : object
        Further arguments of ``function``.
    """

    def __init__(self, function, path, stamp_of, memory=None, ignore=(), **settings):
        self.function, self.path, self.stamp_of, self.memory = function, path, stamp_of, memory
        self.ignore, self.settings = tuple(ignore), settings
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
            return self.function(path=self.path, stamp=None, **self.settings, **more)
        compute = cached(self.function, self.memory, ignore=("path", *self.ignore))
        arguments = {"path": self.path, "stamp": self.stamp, **self.settings, **more}
        # A changed file must not be kept under the content that it had.
        if not compute.check_call_in_cache(**arguments) and self.stamp_of(self.path) != self.stamp:
            raise ValueError(
                f"{self.path!r} has changed since the table it belongs to was transformed. Transform the table again."
            )
        return compute(**arguments)

    def identity(self):
        """Return what decides the result, in place of the path: list."""
        stamp = self.stamp_of(self.path) if self.stamp is None else self.stamp
        return [self.function, stamp, {k: v for k, v in self.settings.items() if k not in self.ignore}]

    def __repr__(self):
        return f"{type(self).__name__}({self.function.__name__}, {self.path!r})"


def code_of(path, *libraries):
    """Digest a source file and versions of libraries, so that a cache is renewed when either changes.

    joblib looks at the source of the cached function alone, not at what it calls.

    Parameters
    ----------
    path : str
        The source file, ``__file__``.
    *libraries : module
        With a ``__version__``.

    Returns
    -------
    code : str
        16 hexadecimal digits.
    """
    versions = " ".join(library.__version__ for library in libraries)
    return hashlib.blake2b(Path(path).read_bytes() + versions.encode(), digest_size=8).hexdigest()


def cached(function, memory, ignore=()):
    """Cache a function on disk, its arrays memory-mapped when they are read back.

    Parameters
    ----------
    function : callable
    memory : None, str, Path or joblib.Memory
        As in scikit-learn; None does not cache. The folder holds pickle, which runs code when it is read. Use one that
        only you can write.
    ignore : sequence of str, default=()
        Arguments that do not change the result.

    Returns
    -------
    function : callable

    Warns
    -----
    UserWarning
        If others can write the folder. Each folder is looked at once in a process.
    """
    if memory is None:
        return function
    folder = memory.location if isinstance(memory, joblib.Memory) else memory
    if isinstance(folder, (str, os.PathLike)):
        _warn_of_others(os.fspath(folder))
    if not isinstance(memory, joblib.Memory):
        # Copy-on-write maps share their pages with every process and are writable for torch's sake.
        memory = joblib.Memory(memory, mmap_mode="c", verbose=0)
    return memory.cache(function, ignore=list(ignore))


@lru_cache(maxsize=1024)
def _warn_of_others(folder):
    """Warn if others can write a cache folder, or replace it, on systems with POSIX permissions."""
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
                f"the cache folder {str(folder)!r} is not safe: {str(path)!r} {why}. A cache holds pickle, which runs "
                f"code when it is read, so whoever can write there can run code as you. Use a folder that only you can "
                f"write, or take the permission away (chmod go-w), or silence this by "
                f"warnings.filterwarnings('ignore', 'the cache folder').",
                stacklevel=4,
            )
            return


def _why_foreign(found, is_parent):
    """Say who else may write into a folder; in a parent that is sticky nobody can replace what is ours."""
    if found.st_uid not in (0, os.geteuid()):
        return f"belongs to another user (uid {found.st_uid})"
    if is_parent and found.st_mode & stat.S_ISVTX:
        return None
    if found.st_mode & stat.S_IWOTH:
        return f"can be written by everybody (mode {stat.S_IMODE(found.st_mode):o})"
    if found.st_mode & stat.S_IWGRP and found.st_gid != 0 and not _is_own_group(found.st_gid):
        return f"can be written by the group {found.st_gid} (mode {stat.S_IMODE(found.st_mode):o})"
    return None


def _is_own_group(gid):
    """Whether a group is that of this user alone, as many systems make one for each user."""
    try:
        import grp
        import pwd

        name, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(gid)
    except (ImportError, KeyError):  # a user or group without a name, as in containers
        return gid == os.getegid()
    return group.gr_name == name and not set(group.gr_mem) - {name}


def importable(function):
    """Tell whether a function can be sent to another process, and be named in a cache.

    Parameters
    ----------
    function : callable

    Returns
    -------
    importable : bool
    """
    try:
        pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True


def cache_folder():
    """Folder for what can be computed again: the environment's ``SK_B2S_CACHE``, or else the user's cache.

    Returns
    -------
    folder : Path
    """
    return Path(os.environ.get("SK_B2S_CACHE") or pooch.os_cache("sk_b2s"))
