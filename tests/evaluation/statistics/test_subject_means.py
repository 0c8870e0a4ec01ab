"""Means and standard errors over subjects."""

import numpy as np
import pandas as pd
import pytest
from helpers.score_tables import make_results
from scipy import stats

from sk_b2s import compare_estimators, mean_and_sem
from sk_b2s.evaluation._statistics._subject_means import compute_subject_null_statistics


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


def _correlate_folds_of_noise(rng, n_folds=4, n=300, n_channels=20):
    """Decode noise with ridge in each fold: score and spread of shifts."""
    X = rng.standard_normal((n_folds, n, n_channels))
    y = rng.standard_normal((n_folds, n))
    covariance = np.einsum("knc,kn->kc", X, y)
    rows = []
    for fold in range(n_folds):
        estimate = X[fold] @ (covariance.sum(0) - covariance[fold])
        score = np.corrcoef(estimate, y[fold])[0, 1]
        rows.append({"fold": fold, "subject": "a", "n_windows": n, "reconstruction_r": score})
    return pd.DataFrame(rows).assign(
        null_mean=0.0, null_low=-1.96 / np.sqrt(n), null_high=1.96 / np.sqrt(n), main_score="reconstruction_r"
    )


def test_null_statistics_covers_reconstructed_noise():
    rng = np.random.default_rng(0)
    tables = [_correlate_folds_of_noise(rng).assign(estimator=number) for number in range(400)]
    null = compute_subject_null_statistics(pd.concat(tables, ignore_index=True), ["estimator"])
    outside = (null["top_k_judged"] > null["null_high"]) | (null["top_k_judged"] < null["null_low"])
    independent = np.abs(null["top_k_judged"]) > null["null_high"] / np.sqrt(2)
    assert outside.mean() < 0.09 < independent.mean()


def test_null_statistics_keeps_null_of_one_fold():
    rows = _correlate_folds_of_noise(np.random.default_rng(0)).query("fold == 0").assign(estimator="a")
    null = compute_subject_null_statistics(rows, ["estimator"]).iloc[0]
    assert null["null_high"] == pytest.approx(1.96 / np.sqrt(300))
