"""Keeping on disk what is slow to compute: recordings and features of sounds."""

from __future__ import annotations

import joblib

__all__ = ["cached"]


def cached(function, memory):
    """Cache a function on disk, its arrays memory-mapped when they are read back.

    Parameters
    ----------
    function : callable
    memory : None, str, Path or joblib.Memory
        As in scikit-learn; None does not cache.

    Returns
    -------
    function : callable
    """
    if memory is None:
        return function
    if not isinstance(memory, joblib.Memory):
        # Copy-on-write maps share their pages with every process and are writable for torch's sake.
        memory = joblib.Memory(memory, mmap_mode="c", verbose=0)
    return memory.cache(function)
