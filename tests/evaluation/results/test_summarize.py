"""Summaries of results tables."""

import numpy as np
import pandas as pd
import pytest
from helpers.decoders import FAST, ONE, people, ridge

from sk_b2s import (
    LeaveOneSubjectOut,
    StimulusKFold,
    benchmark,
    run_controls,
    summarize,
)


def test_summarize_averages_over_subjects(done):
    _, results, _ = done
    summary = summarize(results).set_index(["estimator", "control", "pool"])
    rows = results.query("estimator == 'one' and control == 'decoder' and pool == 'all'")
    hits = (rows["top_10"] * rows["n_windows"]).groupby(rows["subject"]).sum()
    scores = hits / rows.groupby("subject")["n_windows"].sum()
    one = summary.loc["one", "decoder", "all"]
    assert one["top_10"] == pytest.approx(scores.mean())
    assert one["top_10_sem"] == pytest.approx(scores.std() / np.sqrt(3))
    assert (one["n_subjects"], one["n_folds"], one["n_windows"]) == (3, 3, 360)
    assert summary.loc[("pooled", "decoder", "all"), "verdict"] == "above_null"
    assert (
        summary.loc[("pooled", ["phase_randomized", "shifted_labels"], "all"), "verdict"] == "at_null"
    ).all()


def test_summarize_combines_null_of_folds(done):
    arguments, results, _ = done
    controls = run_controls(
        ONE, arguments["X"], arguments["y"], StimulusKFold(3), controls=["phase_randomized"], n_shifts=2000
    )
    more = benchmark(**{**arguments, "estimators": {"one": ONE}, "controls": False, "n_shifts": 2000})
    row = summarize(more).set_index("pool").loc["all"]
    table = run_controls(
        ONE, arguments["X"], arguments["y"], StimulusKFold(3), controls=["decoder"], n_shifts=2000
    )
    assert row["top_k"] == pytest.approx(table.loc["decoder", "top_k"])
    assert row["null_mean"] == pytest.approx(table.loc["decoder", "null_mean"], abs=0.003)
    assert row["null_high"] == pytest.approx(table.loc["decoder", "null_high"], abs=0.01)
    assert controls.loc["phase_randomized", "verdict"] == "at_null"


def test_summarize_of_csv_file(done, tmp_path):
    results = done[1]
    results.to_csv(tmp_path / "r.csv", index=False)
    pd.testing.assert_frame_equal(
        summarize(pd.read_csv(tmp_path / "r.csv")), summarize(results), check_dtype=False
    )


def test_summarize_counts_subjects_and_seeds():
    X, y = people(n_recordings=3, n=60)
    results = benchmark(
        {"pooled": ridge(alphas=(1.0,), per_subject=False)}, X, y, LeaveOneSubjectOut(stimulus_folds=2),
        controls=["white_noise"], seeds=(0, 1), n_candidates=None, **FAST,
    )  # fmt: skip
    assert len(results) == 3 * 2 * 2 * 2
    pairs = results.pivot_table(index=["fold", "control"], columns="seed", values="top_k")
    assert pairs[0].loc[:, "decoder"].equals(pairs[1].loc[:, "decoder"])  # a ridge draws nothing
    assert not pairs[0].loc[:, "white_noise"].equals(pairs[1].loc[:, "white_noise"])
    row = summarize(results).query("control == 'decoder'").iloc[0]
    assert (row["n_subjects"], row["n_seeds"], row["n_folds"], row["n_windows"]) == (3, 2, 6, 180)


def test_summarize_drops_duplicates(done):
    results = done[1]
    whole = summarize(results)
    with pytest.warns(UserWarning, match="are left out. Check whether a table was joined"):
        twice = summarize(pd.concat([results, results.iloc[:3]]))
    pd.testing.assert_frame_equal(whole, twice)
