"""Means and standard errors over subjects."""

import numpy as np
import pandas as pd
import pytest
from helpers.score_tables import make_results
from scipy import stats

from sk_b2s import compare_estimators, mean_and_sem


def test_mean_and_sem_ignores_number_of_folds():
    scores = np.random.default_rng(0).random((2, 7))
    for n_folds, n_seeds in [(1, 1), (5, 3)]:
        table = mean_and_sem(make_results(scores, n_folds=n_folds, n_seeds=n_seeds))
        np.testing.assert_allclose(table["mean"], scores.mean(1))
        np.testing.assert_allclose(table["sem"], stats.sem(scores, axis=1))
        assert table["n_subjects"].tolist() == [7, 7]
        assert table["chance"].tolist() == pytest.approx([0.1, 0.1])


def test_mean_and_sem_refuses_mixed_rows():
    results = pd.concat(
        [make_results(np.full((2, 4), s)).assign(kind=k) for s, k in [(0.5, "real"), (0.1, "noise")]]
    )
    with pytest.raises(ValueError, match=r"differ in \['kind'\]"):
        mean_and_sem(results)
    with pytest.raises(ValueError, match=r"differ in \['kind'\]"):
        compare_estimators(results)
    by = mean_and_sem(results, by=["kind"], over=["seed", "fold", "estimator"])["mean"]
    assert by.to_dict() == pytest.approx({"real": 0.5, "noise": 0.1})


def test_mean_and_sem_weights_windows():
    results = make_results(np.ones((1, 3)), names=["a"], n_folds=2, n_seeds=1, seed=2)
    results["n_windows"] = [30, 10, 20, 20, 5, 35]
    own = results.groupby("subject")[["top_10", "n_windows"]].apply(
        lambda rows: np.average(rows["top_10"], weights=rows["n_windows"])
    )
    row = mean_and_sem(results).iloc[0]
    assert row["mean"] == pytest.approx(own.mean())
    assert row["sem"] == pytest.approx(stats.sem(own))
    assert mean_and_sem(results, weight=None)["mean"].item() == pytest.approx(1)
