"""Reconstruction as a task."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from sk_b2s.evaluation._controls._leak_test import pool_leak_test_rows
from sk_b2s.evaluation._reconstruction._result import ReconstructionResult
from sk_b2s.evaluation._results._lines import format_result_line_outcome, parse_result_line_outcome
from sk_b2s.evaluation._tasks._judge_reconstruction import judge_reconstruction


def test_judge_reconstruction_rows_equal_correlations():
    rng = np.random.default_rng(0)
    target = [rng.standard_normal((2, n)) for n in (200, 100)]
    estimate = [one + rng.standard_normal(one.shape) for one in target]
    rows = pd.DataFrame({
        "subject": "a", "recording": ["r0", "r1"], "n_windows": [20, 10], "n_frames": [200, 100],
    })  # fmt: skip
    result = ReconstructionResult(estimate, target, rows, window=10, sfreq=10.0)
    judgment = judge_reconstruction(result, None)
    (row,) = judgment.make_rows("reconstruction_r", 100)
    expected = result.correlations(0)["r"][0]
    assert row["reconstruction_r"] == pytest.approx(expected)
    assert row["null_high"] < expected
    pooled = pool_leak_test_rows([judgment.make_outcome(100, 0)])
    assert pooled["top_k"] == pytest.approx(expected)
    assert pooled["leak_threshold"] < expected


def make_noise_outcomes(rng, n_folds=5, n=300, n_channels=20):
    """Decode noise in each fold with the covariances of the other folds."""
    X, y = rng.standard_normal((n_folds, n, n_channels)), rng.standard_normal((n_folds, n))
    covariance = np.einsum("knc,kn->kc", X, y)
    rows = pd.DataFrame({"subject": ["a"], "recording": "r", "n_windows": 30, "n_frames": n})
    for fold in range(n_folds):
        estimate = X[fold] @ (covariance.sum(0) - covariance[fold])
        result = ReconstructionResult([estimate[None]], [y[fold][None]], rows, window=10)
        yield judge_reconstruction(result, None).make_outcome(200, fold)


def test_leak_test_allows_for_shared_folds():
    """Each product of two folds is in the scores of both."""
    outcomes = list(make_noise_outcomes(np.random.default_rng(0)))
    independent = [replace(outcome, is_correlation=False) for outcome in outcomes]
    limits = [pool_leak_test_rows(parts)["leak_threshold"] for parts in (outcomes, independent)]
    assert limits[0] == pytest.approx(np.sqrt(2) * limits[1])
    one = [pool_leak_test_rows(parts[:1])["leak_threshold"] for parts in (outcomes, independent)]
    assert one[0] == one[1]
    assert parse_result_line_outcome(format_result_line_outcome(outcomes[0])).is_correlation
