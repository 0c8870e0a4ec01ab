"""Scores, nulls and leak tests of judgments."""

import numpy as np
import pandas as pd
import pytest
from helpers.score_tables import make_retrieval_result

from sk_b2s.evaluation._controls._run import run_control_outcome
from sk_b2s.evaluation._scores import compute_all_scores
from sk_b2s.evaluation._tasks._judgment import Judgment
from sk_b2s.metrics._ranks_and_top_k import mark_top_k_hits


def judge_segments(result, **changes):
    worth = mark_top_k_hits(result.scores, result.k).astype(float)
    return Judgment(
        **{
            "worth": worth, "target": result.target, "rows": result.rows, "n_candidates": result.n_candidates,
            "chance": result.chance, "k": result.k, **changes,
        }
    )  # fmt: skip


def test_judgment_rows_equal_score_rows():
    result = make_retrieval_result()
    rows = judge_segments(result).make_rows("top_k", 50)
    for row, expected in zip(rows, compute_all_scores(result, None, 50), strict=True):
        for name in ("subject", "n_windows", "n_candidates", "k", "chance", "top_k"):
            assert row[name] == expected[name]
        for name in ("null_mean", "null_low", "null_high"):  # same shifts
            assert row[name] == pytest.approx(expected[name], abs=1e-6)


def test_judgment_outcome_equals_that_of_controls():
    result = make_retrieval_result()
    own = judge_segments(result).make_outcome(50, 0)
    expected = run_control_outcome([result], 50, 0)
    for one, other in zip(own.records, expected.records, strict=True):
        for name in ("n", "top_k", "chance", "null", "n_candidates"):
            np.testing.assert_allclose(one[name], other[name])
    np.testing.assert_allclose(own.across[0][1], expected.across[0][1])


def test_judgment_weighs_types_equally():
    result = make_retrieval_result(subjects="a")
    types = ["often"] * (result.n_candidates - 1) + ["rare"]
    judgment = judge_segments(result, types=types)
    hit = judgment.worth[np.arange(len(result.target)), result.target]
    (row,) = judgment.make_rows("top_k", 200)
    assert row["top_k"] == pytest.approx((hit[:-1].mean() + hit[-1]) / 2)
    assert row["null_mean"] == pytest.approx(row["chance"], abs=0.05)


def test_judgment_rows_separate_conditions():
    result = make_retrieval_result(subjects="a")
    rows = result.rows.assign(condition=np.where(np.arange(len(result.rows)) < 10, "first", None))
    first, other = judge_segments(result, rows=rows).make_rows("top_k", 20)
    assert (first["condition"], first["n_windows"], other["condition"]) == ("first", 10, "")
    hit = judge_segments(result).worth[np.arange(len(result.target)), result.target]
    assert first["top_k"] == pytest.approx(hit[:10].mean())
    assert pd.notna(first["null_high"])


def test_judgment_null_of_few_windows_is_at_chance():
    n, recording = 5, np.repeat(["a", "b", "c"], 5)
    rows = pd.DataFrame(
        {"subject": "a", "recording": recording, "onset": np.tile(3.0 * np.arange(n), 3), "duration": 3.0}
    )
    judgment = Judgment(np.tile(np.eye(n), (3, 1)), np.tile(np.arange(n), 3), rows, n, 1 / n)
    (row,) = judgment.make_rows("top_k", 2000)
    assert row["top_k"] == 1
    assert row["null_mean"] == pytest.approx(0.2, abs=0.03)
