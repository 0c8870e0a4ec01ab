"""Candidates of like timing."""

import numpy as np
import pandas as pd
import pytest

from sk_b2s.metrics._matched import (
    compute_matched_accuracy,
    compute_matched_overlap_factor,
    find_matched_strata,
    select_matched_strata,
)


def test_find_matched_strata_limits_differences():
    random = np.random.default_rng(0)
    timing = pd.DataFrame({
        "duration": random.uniform(0.1, 0.8, 400), "interval": random.uniform(0.1, 0.8, 400),
        "level": random.uniform(-40, -20, 400),
    })  # fmt: skip
    strata = find_matched_strata(timing)
    groups = timing.groupby(strata)
    for name in ("duration", "interval"):
        assert (groups[name].max() / groups[name].min()).max() < 1.25 + 1e-9
    assert (groups["level"].max() - groups["level"].min()).max() < 3 + 1e-9
    np.testing.assert_array_equal(find_matched_strata(timing.iloc[:30]), strata[:30])  # independent of others
    assert (find_matched_strata(timing[["level"]] * np.nan) == -1).all()


def test_select_usable_strata_counts_candidates():
    strata = np.array([0] * 6 + [1] * 5 + [-1])
    usable = select_matched_strata(strata, np.arange(12))
    assert usable.tolist() == [True] * 6 + [False] * 6


def test_matched_accuracy_removes_timing():
    random = np.random.default_rng(0)
    duration = np.repeat([0.1, 0.2, 0.4], 20)
    strata, target = find_matched_strata(pd.DataFrame({"duration": duration})), np.arange(60)
    by_timing = -abs(np.log(duration[:, None] / duration)) + 1e-3 * random.standard_normal((60, 60))
    assert (by_timing[target, target][:, None] > by_timing).mean() > 0.8
    accuracy, null = compute_matched_accuracy(by_timing, target, strata, 200)
    assert np.quantile(null.mean(1), 0.01) < accuracy.mean() < np.quantile(null.mean(1), 0.99)
    assert null.mean() == pytest.approx(0.5, abs=0.02)
    accuracy, _ = compute_matched_accuracy(by_timing + 0.005 * np.eye(60), target, strata)
    assert accuracy.mean() > 0.95
    assert compute_matched_accuracy(np.ones((60, 60)), target, strata)[0].tolist() == [0.5] * 60


def test_compute_overlap_factor_of_shared_samples():
    """Windows of four independent steps have four times the variance."""
    random = np.random.default_rng(0)
    noise = random.standard_normal(4003)
    values = np.convolve(noise, np.ones(4), "valid")
    at = np.arange(4000.0)
    for recording, duration, expected in (
        ("r", 4.0, 4),
        ("r", 1.0, 1),
        (at, 4.0, 1),
    ):
        factor = compute_matched_overlap_factor(
            values, np.broadcast_to(recording, 4000), at, np.full(4000, duration)
        )
        assert factor == pytest.approx(expected, rel=0.2)
    assert compute_matched_overlap_factor([np.nan, 1.0], ["r", "r"], [0, 1], [2, 2]) == 1
