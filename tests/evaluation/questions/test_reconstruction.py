"""Reconstruction as a task."""

import numpy as np
import pandas as pd
import pytest

from sk_b2s.evaluation._controls._leak_test import pool_leak_test_rows
from sk_b2s.evaluation._questions._reconstruction import judge_reconstruction
from sk_b2s.evaluation._reconstruction._result import ReconstructionResult


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
