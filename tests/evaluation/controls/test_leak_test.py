"""Leak test of controls."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from helpers.decoders import control_outcome
from scipy.stats import norm

from sk_b2s.evaluation._controls._leak_test import (
    LeakTestOutcome,
    permute_leak_test_labels,
    pool_leak_test_rows,
)
from sk_b2s.evaluation._controls._registry import LEAK_ALPHA
from sk_b2s.evaluation._controls._verdicts import control_verdicts

pytestmark = pytest.mark.filterwarnings("ignore:make_segments left out")


def test_pool_leak_test_rows_threshold_equals_formula():
    rng, z = np.random.default_rng(0), norm.isf(LEAK_ALPHA)
    null = rng.normal(0.4, 0.05, (6, 20_000))
    same = pool_leak_test_rows(control_outcome(np.ones((6, 6)), null))
    assert same["top_k"] == pytest.approx(0.4)
    assert same["null_mean"] == pytest.approx(0.4, abs=0.01)
    assert same["leak_threshold"] == pytest.approx(0.1 + z * 0.05 / np.sqrt(6), rel=0.05)
    assert same["recording_identity_p"] == 1
    # By hand: the score with labels permuted between recordings, over all permutations.
    across = rng.random((6, 6)) + 0.2 * np.eye(6)
    scores = [across[np.arange(6), list(order)].sum() / 60 for order in permutations(range(6))]
    row = pool_leak_test_rows(control_outcome(across, null))
    best = np.sort(scores)[-6] - np.mean(scores)  # 5 of 720 are above, 0.7 %
    assert row["leak_threshold"] - 0.1 == pytest.approx(np.hypot(same["leak_threshold"] - 0.1, best))
    assert row["recording_identity_p"] == pytest.approx(
        np.mean(np.array(scores) >= np.trace(across) / 60 - 1e-9)
    )


def test_pool_leak_test_rows_of_short_recording():
    null = np.random.default_rng(0).normal(0.1, 0.02, (12, 1000))
    whole = pool_leak_test_rows(control_outcome(np.ones((12, 12)), null))
    null[3] = np.nan
    row = pool_leak_test_rows(control_outcome(np.ones((12, 12)), null))
    assert np.isnan(row["null_high"])  # nothing is made up in the table
    assert whole["leak_threshold"] < row["leak_threshold"] < row["top_k"] == pytest.approx(0.4)
    assert (
        control_verdicts(pd.DataFrame({"phase_randomized": row}).T)["verdict"]["phase_randomized"] == "leak"
    )
    # Where all are too short, each of four recordings may be right or wrong as a whole.
    few = pool_leak_test_rows(control_outcome(np.ones((4, 4)), np.full((4, 20_000), np.nan)))
    assert few["leak_threshold"] == pytest.approx(2 / 4, abs=0.01)  # two of them, seldom three


def test_pool_leak_test_rows_draws_permutations(monkeypatch):
    rng = np.random.default_rng(1)
    across, null = rng.random((7, 7)) + 0.3 * np.eye(7), rng.normal(0.4, 0.05, (7, 100))
    counted = pool_leak_test_rows(control_outcome(across, null))
    monkeypatch.setattr("sk_b2s.evaluation._controls._leak_test.N_PERMUTATIONS", 5000)  # fewer than 7!
    drawn = pool_leak_test_rows(control_outcome(across, null), random_state=3)
    assert drawn == pytest.approx(
        pool_leak_test_rows(control_outcome(across, null), random_state=3), nan_ok=True
    )
    assert 0.001 < counted["recording_identity_p"] < 0.2
    assert drawn["recording_identity_p"] == pytest.approx(counted["recording_identity_p"], rel=0.2)
    assert drawn["leak_threshold"] == pytest.approx(counted["leak_threshold"], rel=0.03)
    # However clear, a drawn share is never zero: the true deal is one of them.
    assert (
        pool_leak_test_rows(control_outcome(np.eye(12), np.zeros((12, 100))))["recording_identity_p"]
        == 1 / 5000
    )


@pytest.mark.parametrize("kind", ["normal", "one label", "heavy"])
@pytest.mark.parametrize("n_recordings", [5, 8])
def test_permute_leak_test_labels_false_positive_rate(n_recordings, kind, monkeypatch):
    """Distributions of hits. A normal quantile marks 4 % with heavy tails."""
    monkeypatch.setattr("sk_b2s.evaluation._controls._leak_test.N_PERMUTATIONS", 1000)
    rng, marks, names = np.random.default_rng(0), 0, tuple("abcdefgh"[:n_recordings])
    weight = pd.Series(1.0, index=list(names))
    for _ in range(1000):
        across = rng.standard_normal((n_recordings, n_recordings))
        if kind == "heavy":
            across = rng.lognormal(0, 2, across.shape)
        if kind == "one label":
            across = 0.1 * across
            across[np.arange(n_recordings), rng.integers(0, n_recordings, n_recordings)] += 5
        dealt = permute_leak_test_labels([LeakTestOutcome([], [(names, across)], 0)], weight, rng)
        marks += np.mean(dealt >= dealt[0] - 1e-9) <= LEAK_ALPHA + 1e-9
    assert marks <= 18  # 8 of 1000 are expected; 19 or more come about once in a thousand


def test_pool_leak_test_rows_of_four_recordings():
    across = np.ones((4, 4)) + np.eye(4)
    row = pool_leak_test_rows(control_outcome(across, np.full((4, 100), 0.4)))
    assert np.isnan(row["recording_identity_p"])
    assert row["leak_threshold"] == pytest.approx(0.1)
