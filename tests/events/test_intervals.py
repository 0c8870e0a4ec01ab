"""Test the union of intervals and the time that it covers."""

import numpy as np
import pandas as pd
import pytest

from sk_b2s.events._intervals import count_new_interval_seconds, sum_recorded_intervals, unite_intervals
from sk_b2s.preprocessing._overlap_line import OverlapLine


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def covered(start, stop, step=0.5):
    """Times on a grid that lie in an interval."""
    grid = np.arange(0, 30, step) + step / 2
    return ((grid[:, None] > start) & (grid[:, None] < stop)).any(1)


def test_unite_intervals_covers_the_same_time(rng):
    start = rng.integers(0, 40, 12) / 2
    stop = start + rng.integers(1, 8, 12) / 2
    first, last = unite_intervals(start, stop)
    np.testing.assert_array_equal(covered(first, last), covered(start, stop))
    assert (first[1:] > last[:-1]).all()
    line = OverlapLine(np.zeros(12, int), start, stop - start)
    np.testing.assert_allclose(np.subtract(*line.spans(np.ones(12, bool))[::-1]), last - first)


def test_sum_recorded_intervals_are_those_of_the_union(rng):
    start, duration = rng.integers(0, 40, 20) / 2, rng.integers(1, 8, 20) / 2
    windows = pd.DataFrame({"recording": ["a", "b"] * 10, "onset": start, "duration": duration})
    expected = sum(
        np.subtract(*unite_intervals(start[rows], (start + duration)[rows])[::-1]).sum()
        for rows in (slice(0, None, 2), slice(1, None, 2))
    )
    assert sum_recorded_intervals(windows) == expected
    order = np.argsort(start[::2], kind="stable")
    begin, end = start[::2][order], (start + duration)[::2][order]
    new = count_new_interval_seconds(np.zeros(10), begin, end)
    np.testing.assert_array_equal(new[:1], duration[::2][order][:1])
    assert (new >= 0).all()
