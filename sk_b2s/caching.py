"""Keeping on disk what is slow to compute: recordings and features of sounds."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import joblib

__all__ = ["cached", "code_of", "importable"]


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
        As in scikit-learn; None does not cache.
    ignore : sequence of str, default=()
        Arguments that do not change the result.

    Returns
    -------
    function : callable
    """
    if memory is None:
        return function
    if not isinstance(memory, joblib.Memory):
        # Copy-on-write maps share their pages with every process and are writable for torch's sake.
        memory = joblib.Memory(memory, mmap_mode="c", verbose=0)
    return memory.cache(function, ignore=list(ignore))


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
