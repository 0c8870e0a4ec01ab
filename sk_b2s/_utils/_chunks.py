"""Chunks of rows that bound the memory of a computation."""

from __future__ import annotations

import math

import numpy as np


def count_chunk_rows(max_bytes, *shape, itemsize=4):
    """Return how many rows of ``shape`` fit into ``max_bytes``, at least one.

    Examples
    --------
    >>> count_chunk_rows(2**20, 64, 100), count_chunk_rows(100, 64, 100)
    (40, 1)
    """
    return max(1, max_bytes // max(1, itemsize * math.prod(shape)))


def slice_rows_into_chunks(n_rows, max_rows):
    """Return slices of at most ``max_rows`` rows.

    Examples
    --------
    >>> slice_rows_into_chunks(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    # gen_batches of scikit-learn validates its arguments at each call, which is slow for each batch of training
    return [slice(first, min(first + max_rows, n_rows)) for first in range(0, n_rows, max_rows)]


def split_groups_into_chunks(rows, codes, max_rows):
    """Split rows into chunks of about ``max_rows`` that cut no group.

    Examples
    --------
    >>> split_groups_into_chunks(np.arange(5), np.array([1, 0, 1, 0, 2]), 2)
    [array([1, 3]), array([0, 2]), array([4])]
    """
    order = np.argsort(codes, kind="stable")
    begins = np.flatnonzero(np.r_[True, np.diff(codes[order]) != 0])
    chunk = np.repeat(begins // max_rows, np.diff(np.r_[begins, len(order)]))
    return [rows[order[chunk == index]] for index in np.unique(chunk)]


def split_rows_into_chunks(rows, max_rows):
    """Split rows into few parts of nearly equal length, at most ``max_rows``.

    Examples
    --------
    >>> split_rows_into_chunks(np.arange(5), 3)
    [array([0, 1, 2]), array([3, 4])]
    """
    return np.array_split(rows, -(-len(rows) // max(1, max_rows))) if len(rows) else []
