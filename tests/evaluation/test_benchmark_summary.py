"""Summary of a results table."""

import numpy as np
import pandas as pd
import pytest
from helpers.score_tables import make_score_table

from sk_b2s import compare_estimators, mean_and_sem, summarize
from sk_b2s.evaluation._benchmark_summary import BenchmarkSummary


@pytest.fixture(scope="module")
def results():
    return make_score_table(leak="ridge")


@pytest.fixture
def summary(results):
    return BenchmarkSummary(results)


def test_summary_of_returns_a_summary_unchanged(summary, results):
    assert BenchmarkSummary.of(summary) is summary
    assert BenchmarkSummary.of(results).results is results


def test_summary_table_is_that_of_summarize(summary, results):
    pd.testing.assert_frame_equal(summary.table.drop(columns="label"), summarize(results))
    assert summary.table is summary.table  # computed once
    assert summary.scored["label"].tolist() == ["ridge", "encoder"]
    assert (summary.controls["control"] == "phase_randomized").all()
    assert len(summary.leak_tests) == 2


def test_summary_selects_labels_by_verdict(summary):
    assert summary.labels_with("leak") == ["ridge"]
    assert summary.labels_with("above_null") == ["encoder"]
    assert summary.labels_with("leak", "above_null") == ["ridge", "encoder"]
    assert summary.controls_with("leak") == ["phase_randomized"]


def test_summary_means_are_those_over_subjects(summary, results):
    own = results[(results["control"] == "decoder") & (results["pool"] == "all")]
    expected = mean_and_sem(own, "top_k", "estimator")
    means = summary.means()
    np.testing.assert_allclose(means["score"], expected["mean"])
    np.testing.assert_allclose(means["sem"], expected["sem"])
    np.testing.assert_allclose(means["null_high"], summary.scored["null_high"])
    assert summary.means() is means
    with_controls = summary.means(by=["control", "label"], decoders_only=False)
    assert set(with_controls.index.get_level_values("control")) == {"decoder", "phase_randomized"}
    halves = summary.means("match_mismatch")
    assert (halves["chance"] == 0.5).all()
    assert halves["null_high"].isna().all()


def test_summary_compare_is_that_of_decoders(summary, results):
    pd.testing.assert_frame_equal(
        summary.compare("ridge", "top_k"), compare_estimators(results, "ridge", "top_k")
    )


def test_summary_names_score_and_k(summary, results):
    assert summary.k == 10
    assert summary.score_label == "top-10 accuracy"
    several = BenchmarkSummary(results.assign(k=np.where(results["fold"] == 0, 5, 10)))
    assert several.k is None
    assert several.score_label == "top-k accuracy"
    assert several.rows["label"].iloc[0] == "ridge, k = 5"


def test_summary_counts_failed_fits(results):
    error = np.where((results["fold"] == 0) & (results["seed"] == 0), "ValueError: no", "")
    summary = BenchmarkSummary(results.assign(error=error))
    assert len(summary.failed) == 4  # two estimators and their controls
    assert (summary.rows["error"] == "").all()
    assert summary.scored["n_failed"].tolist() == [1, 1]


def test_summary_lists_leaking_folds(results):
    leakage = np.where(results["fold"] == 1, "LEAK: 30 % of the test sound was in training", "no leak")
    former = results.assign(leakage=leakage).drop(columns="leakage_verdict", errors="ignore")
    verdict = np.where(results["fold"] == 0, "leak", "no_leak")
    for table, fold in ((former, 1), (former.assign(leakage_verdict=verdict), 0)):
        assert BenchmarkSummary(table).leaking_folds["fold"].tolist() == [fold]
    assert not len(BenchmarkSummary(results.assign(leakage=np.nan)).leaking_folds)


def test_summary_collects_warnings(results):
    text = np.where(results["estimator"] == "ridge", "UserWarning: a\nUserWarning: b", "")
    summary = BenchmarkSummary(results.assign(warnings=text))
    assert summary.warnings_of_decoders("UserWarning: a") == {"ridge": (["UserWarning: a"], 4, 4)}
    assert summary.count_warnings() == {"UserWarning: a": 8, "UserWarning: b": 8}


def test_summary_without_plan(results):
    summary = BenchmarkSummary(results.assign(plan=None))
    assert not summary.is_plan_known
    assert summary.unfinished == []
    assert summary.plan_differences == ""
