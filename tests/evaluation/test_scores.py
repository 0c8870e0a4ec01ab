"""Scores of retrieval results."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers.decoders import ONE, people, ridge

from sk_b2s import (
    StimulusKFold,
    retrieve,
    score_similarities,
    summarize,
)


def test_compute_all_scores_equals_drawn_pools(done):
    arguments, results, _ = done
    pools = results[results["pool"] == "50"]
    assert (pools["n_candidates"] == 50).all()
    assert (pools["chance"] == 10 / 50).all()
    assert set(pools["fold"]) == {0, 1, 2}
    # Drawn: the right one and 49 of the others.
    X, y = arguments["X"], arguments["y"]
    train, test = next(StimulusKFold(3).split(X, y))
    answers = retrieve(ridge(alphas=(1.0,)).fit(X[train], y.iloc[train]), X[test], y.iloc[test])
    random, hits = np.random.default_rng(0), []
    for scores, target in zip(answers.scores, answers.target, strict=True):
        others = np.delete(scores, target)
        better = [np.sum(random.choice(others, 49, replace=False) >= scores[target]) < 10 for _ in range(200)]
        hits.append(np.mean(better))
    drawn = pd.Series(hits).groupby(answers.rows["subject"].to_numpy()).mean()
    rows = pools.query("estimator == 'one' and control == 'decoder' and fold == 0").set_index("subject")
    np.testing.assert_allclose(rows["top_10"], drawn.loc[rows.index], atol=0.01)


def test_compute_all_scores_null_equals_shifts():
    X, y = people(n_recordings=2, n=120, together=2)
    train, test = next(StimulusKFold(2).split(X, y))
    answers = retrieve(ONE.fit(X[train], y.iloc[train]), X[test], y.iloc[test])
    rows = score_similarities(answers.scores, answers.rows, n_shifts=4000).set_index("pool")
    null = answers.null(n_shifts=4000)
    assert rows.loc["all", "null_mean"] == pytest.approx(null.mean(), abs=0.005)
    assert rows.loc["all", "null_high"] == pytest.approx(np.quantile(null, 0.975), abs=0.02)
    assert rows.loc["50", "null_low"] < 0.2 < rows.loc["50", "null_high"]
    whole = score_similarities(answers.scores, answers.rows, n_candidates=answers.n_candidates)
    pd.testing.assert_series_equal(  # all of them are a pool too, and details are in the first row
        whole.loc[0].drop(["pool", "details"]), whole.loc[1].drop(["pool", "details"]), check_names=False
    )


def test_compute_all_scores_of_noise_is_at_chance():
    random = np.random.default_rng(2)
    n = 600
    words = np.array(["the", "a", *[f"w{i}" for i in range(38)]])[random.integers(0, 40, n)]
    table = pd.DataFrame({
        "subject": np.repeat(["a", "b", "c"], 200), "recording": np.repeat(["a", "b", "c"], 200),
        "onset": np.tile(np.arange(200) * 0.4, 3), "duration": 3.0, "segment": np.arange(n), "word": words,
    })  # fmt: skip
    results = score_similarities(random.standard_normal((n, n)), table)
    assert set(results["control"]) == {"decoder", "timing_only"}
    rows = summarize(results[results["control"] == "decoder"]).set_index("pool")
    assert rows.loc["all", "top_10"] == pytest.approx(10 / n, abs=0.015)
    assert rows.loc["50", "top_10"] == pytest.approx(0.2, abs=0.03)
    assert rows.loc["all", "match_mismatch"] == pytest.approx(0.5, abs=0.03)
    assert rows.loc["all", "median_relative_rank"] == pytest.approx(0.5, abs=0.05)
    assert rows.loc["all", "word_top_10"] == pytest.approx(rows.loc["all", "word_chance"], abs=0.06)
    assert list(rows["verdict"]) == ["at_null"] * 2


def test_top_1_within_500ms_counts_close_candidates():
    X, y = people(n_recordings=2, n=30, together=2)
    y["sound_onset"] = y["sound_onset"] * 0.4  # every 0.4 s
    n = len(y)
    table = X.rows.join(y.drop(columns="duration"))
    nearly = np.roll(np.eye(n), 1, axis=1)  # always the next segment
    row = score_similarities(nearly, table, n_candidates=None, n_shifts=0).iloc[0]
    assert row["top_1"] == 0
    assert row["top_1_within_500ms"] == (n - 2) / n  # the last of each sound is followed by none of its own
    assert row["top_1_within_500ms_chance"] == pytest.approx((28 * 3 + 2 * 2) * 2 / n**2)
    flat = score_similarities(np.ones((n, n)), table, n_candidates=None, n_shifts=0).iloc[0]
    assert flat["top_1_within_500ms"] == flat["top_10"] == flat["match_mismatch"] == 0


def test_score_rows_ignores_order_of_windows():
    X, y = people(n_recordings=2, n=40, together=1)
    train, test = next(StimulusKFold(2).split(X, y))
    answers = retrieve(ONE.fit(X[train], y.iloc[train]), X[test], y.iloc[test])
    order = np.random.default_rng(0).permutation(len(test))
    other = replace(
        answers, scores=answers.scores[order], target=answers.target[order], rows=answers.rows.iloc[order]
    )
    columns = ["top_1", "top_10", "match_mismatch", "top_1_within_500ms", "chance"]
    a, b = (
        score_similarities(one.scores, one.rows, answers.candidates, n_candidates=20).set_index(
            ["subject", "pool"]
        )[columns]
        for one in (answers, other)
    )
    pd.testing.assert_frame_equal(a, b.loc[a.index])
