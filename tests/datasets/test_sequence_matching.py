"""Tests of the matching of incomplete sequences."""

import numpy as np
import pytest

from sk_b2s.datasets._sequence_matching import match_nearest_time, match_sequence_times, match_sequences


def count_edits(a, b):
    """Compute the Levenshtein distance by the standard recursion."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        new = [i]
        for j, z in enumerate(b, start=1):
            new.append(min(row[j] + 1, new[-1] + 1, row[j - 1] + (x != z)))
        row = new
    return row[-1]


@pytest.mark.parametrize("seed", range(20))
def test_match_sequences_uses_fewest_edits(seed):
    rng = np.random.default_rng(seed)
    first, second = (rng.integers(0, 4, rng.integers(0, 30)) for _ in range(2))
    pairs = match_sequences(first, second)
    assert (first[pairs[:, 0]] == second[pairs[:, 1]]).all()
    assert (np.diff(pairs, axis=0) > 0).all()
    edges = np.concatenate([[[-1, -1]], pairs, [[len(first), len(second)]]])
    assert np.maximum(*np.diff(edges, axis=0).T - 1).sum() == count_edits(first, second)


def test_match_times_uses_each_time_once():
    first, second = np.array([1.0, 2.0, 2.004, 5.0]), np.array([0.99, 2.003, 9.0])
    assert match_sequence_times(first, second, 0.02).tolist() == [[0, 0], [2, 1]]
    assert match_sequence_times(first, second[:0], 0.02).tolist() == []
    assert match_sequence_times(first, second[:1], 0.02).tolist() == [[0, 0]]


def test_find_nearest_equals_all_distances():
    rng = np.random.default_rng(0)
    for n_second in (1, 2, 7):
        first, second = np.sort(rng.uniform(0, 10, 20)), np.sort(rng.uniform(0, 10, n_second))
        expected = np.abs(first[:, None] - second).argmin(axis=1)
        np.testing.assert_array_equal(match_nearest_time(first, second), expected)
    assert match_nearest_time(np.array([1.0]), np.array([0.0, 2.0])).tolist() == [0]
