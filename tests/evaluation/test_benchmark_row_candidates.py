"""Tests of benchmark and run_controls with own candidates of each window."""

import numpy as np
import pytest
from helpers.decoders import ONE, people

from sk_b2s import RowCandidates, StimulusKFold, benchmark, read_results, run_controls

PAIRS = RowCandidates(2, "balanced")
OPTIONS = {"cv": StimulusKFold(2), "n_shifts": 30, "verbose": 0}


@pytest.fixture(scope="module")
def data():
    return people(n_recordings=2, n=60)


def test_benchmark_scores_row_candidates(data, tmp_path):
    path = tmp_path / "results.jsonl"
    table = benchmark(
        {"ridge": ONE}, *data, path=path, candidates_per_row=PAIRS, k=1, controls=False, **OPTIONS
    )
    columns = ["n_candidates", "chance", "pool", "verdict"]
    assert table[columns].drop_duplicates().values.tolist() == [[2, 0.5, "all", "above_null"]]
    assert table["top_10"].isna().all()
    np.testing.assert_allclose(table["top_1"], table["match_mismatch"])
    n_test = table.groupby("fold")["n_windows"].sum() + table.groupby("fold")["n_without_candidates"].first()
    assert n_test.sum() == len(data[0])
    assert np.array_equal(read_results(path)["top_1"], table["top_1"])


def test_run_controls_scores_row_candidates(data):
    names = ["decoder", "white_noise", "oracle"]
    segments = data[1]["segment"].to_numpy()

    def oracle(X, y):
        return (y["segment"].to_numpy()[:, None] == y["segment"].to_numpy()).astype(float)

    table = run_controls(ONE, *data, controls=names, oracle=oracle, candidates_per_row=PAIRS, n_shifts=30)
    assert len(np.unique(segments)) == len(segments)
    assert table.loc["oracle", "top_k"] == 1
    assert table["verdict"][["decoder", "white_noise"]].tolist() == ["above_null", "at_null"]
    assert (table["chance"] == 0.5).all()


@pytest.mark.parametrize("n_shifts", [-1, True, "x"])
def test_n_shifts_is_checked_before_fits(data, n_shifts):
    with pytest.raises(ValueError, match="n_shifts must be an integer of 0 or more"):
        benchmark(ONE, *data, n_shifts=n_shifts, verbose=0)
    with pytest.raises(ValueError, match="n_shifts must be an integer of 1 or more"):
        run_controls(ONE, *data, n_shifts=n_shifts)


def test_leak_tests_require_shifts(data):
    with pytest.raises(ValueError, match="n_shifts must be 1 or more for the controls .'shifted_labels'"):
        benchmark(ONE, *data, controls=["shifted_labels"], **OPTIONS | {"n_shifts": 0})


def test_missing_column_of_rule_is_checked_before_fits(data):
    rule = RowCandidates(2, within="sentnce")
    with pytest.raises(ValueError, match="within='sentnce'"):
        benchmark(ONE, *data, k=1, candidates_per_row=rule, **OPTIONS)


def test_benchmark_rejects_k_of_all_candidates(data):
    with pytest.raises(ValueError, match="Each window has 2 candidates"):
        benchmark(ONE, *data, candidates_per_row=2, **OPTIONS)
    with pytest.raises(ValueError, match="differ between folds"):
        benchmark(ONE, *data, k=1, candidates_per_row=np.zeros((len(data[0]), 2), int), **OPTIONS)
    with pytest.raises(ValueError, match="within_recording"):
        run_controls(ONE, *data, controls=["within_recording"], candidates_per_row=2)
