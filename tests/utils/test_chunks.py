"""Chunks of rows that bound memory."""

import numpy as np
import pytest

from sk_b2s._utils._chunks import (
    count_chunk_rows,
    slice_rows_into_chunks,
    split_groups_into_chunks,
    split_rows_into_chunks,
)


@pytest.mark.parametrize(("n_rows", "max_rows"), [(0, 3), (1, 3), (3, 3), (7, 3), (7, 100)])
def test_slice_rows_into_chunks_covers_rows_once(n_rows, max_rows):
    rows = np.arange(n_rows)
    slices = slice_rows_into_chunks(n_rows, max_rows)
    np.testing.assert_array_equal(np.concatenate([rows[part] for part in slices] or [rows]), rows)
    assert all(0 < part.stop - part.start <= max_rows for part in slices)


@pytest.mark.parametrize(("n_rows", "max_rows"), [(0, 3), (1, 3), (3, 3), (7, 3), (10, 4), (7, 0)])
def test_split_rows_makes_fewest_equal_parts(n_rows, max_rows):
    parts = split_rows_into_chunks(np.arange(n_rows), max_rows)
    lengths = [len(part) for part in parts]
    assert sum(lengths) == n_rows
    assert len(parts) == -(-n_rows // max(1, max_rows))
    assert not lengths or max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize(
    ("max_bytes", "shape", "itemsize", "expected"),
    [(80, (2,), 4, 10), (80, (2, 5), 8, 1), (1, (100,), 4, 1), (100, (0,), 4, 100)],
)
def test_count_chunk_rows(max_bytes, shape, itemsize, expected):
    assert count_chunk_rows(max_bytes, *shape, itemsize=itemsize) == expected


@pytest.mark.parametrize("max_rows", [1, 3, 100])
def test_split_groups_into_chunks_cuts_no_group(max_rows):
    codes = np.array([2, 0, 1, 0, 2, 2, 5])
    rows = np.arange(7) + 10
    parts = split_groups_into_chunks(rows, codes, max_rows)
    assert sorted(np.concatenate(parts)) == rows.tolist()
    groups = [set(codes[part - 10]) for part in parts]
    assert sum(map(len, groups)) == len(set(codes))
    assert len(parts) == {1: 4, 3: 3, 100: 1}[max_rows]
