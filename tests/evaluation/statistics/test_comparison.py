"""Paired comparison of estimators."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from helpers.score_tables import make_results
from scipy import stats

from sk_b2s import compare_estimators, mean_and_sem
from sk_b2s.evaluation._statistics._comparison import adjust_comparison_p_values, compute_comparison_p


def test_compare_estimators_ignores_controls():
    scores = np.random.default_rng(0).random((2, 6))
    real = make_results(scores).assign(control="decoder", pool="all")
    others = [
        real.assign(**changes, top_10=0.0) for changes in ({"control": "phase_randomized"}, {"pool": "50"})
    ]
    everything = pd.concat([real, *others], ignore_index=True)
    means = mean_and_sem(everything)["mean"]
    assert len(means) == 6
    assert means["a", "decoder", "all"] == pytest.approx(scores[0].mean())
    assert means["a", "phase_randomized", "all"] == means["b", "decoder", "50"] == 0
    pd.testing.assert_frame_equal(compare_estimators(everything), compare_estimators(real))


def test_compare_estimators_refuses_missing_rows():
    results = make_results(np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"lacks the columns \['top_5'\]"):
        mean_and_sem(results, "top_5")
    with pytest.raises(ValueError, match="NaN in 1 of 48 rows"):
        mean_and_sem(results.assign(top_10=results["top_10"].where(results.index != 3)))
    with pytest.raises(ValueError, match=r"same subjects and folds, .* \{'subject': 's3', 'fold': 2\}"):
        compare_estimators(results.query("not (estimator == 'b' and subject == 's3' and fold == 2)"))
    with pytest.raises(ValueError, match="must be one of the estimators"):
        compare_estimators(results, reference="c")
    with pytest.raises(ValueError, match="Two estimators or more"):
        compare_estimators(results.query("estimator == 'a'"))


def test_compare_estimators_reads_empty_conditions(tmp_path):
    """Empty text is NaN in a table from a file."""
    results = make_results(np.random.default_rng(0).random((2, 4))).assign(condition="")
    results.to_csv(tmp_path / "results.csv", index=False)
    found = compare_estimators(pd.read_csv(tmp_path / "results.csv"))
    pd.testing.assert_frame_equal(found, compare_estimators(results))


def test_compare_estimators_by_numbers():
    """Zero is a reference, and rows without a value are refused."""
    results = make_results(np.random.default_rng(0).random((3, 4)), names=(0.0, 0.5, 1.0))
    found = compare_estimators(results, reference=0.0)
    assert found[["estimator", "reference"]].to_numpy().tolist() == [[0.5, 0.0], [1.0, 0.0]]
    with pytest.raises(ValueError, match=r"'estimator' has no value in 24 of 72 rows\. Name them"):
        compare_estimators(results.replace({"estimator": {1.0: np.nan}}))


# --- Wilcoxon, Holm ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5, 8, 19, 40])
def test_signed_rank_p_equals_scipy_without_ties(n):
    differences = np.random.default_rng(n).normal(0.3, size=n)
    expected = stats.wilcoxon(differences, method="exact").pvalue
    assert compute_comparison_p(differences) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_signed_rank_p_equals_enumeration_of_signs(seed):
    differences = np.random.default_rng(seed).integers(-2, 4, size=9) / 20
    kept = differences[differences != 0]
    rank = stats.rankdata(np.abs(kept))
    found = rank[kept > 0].sum()
    sums = np.array([rank @ signs for signs in product([0, 1], repeat=len(kept))])
    expected = min(1, 2 * min(np.mean(sums <= found), np.mean(sums >= found)))
    assert compute_comparison_p(differences) == pytest.approx(expected)
    assert compute_comparison_p(-differences) == pytest.approx(expected), (
        "the order of the estimators does not matter"
    )


def test_compute_comparison_p_ignores_rounding():
    assert compute_comparison_p(np.zeros(5)) == 1
    assert compute_comparison_p(np.array([0.1 + 0.2 - 0.3] * 5)) == 1
    assert compute_comparison_p([0.3, 0.1 + 0.2, -0.1]) == compute_comparison_p([0.3, 0.3, -0.1])


def test_holm_follows_step_down_rule():
    p = np.array([0.001, 0.2, 0.013, 0.012, 0.9])
    corrected = adjust_comparison_p_values(p)
    order = sorted(range(5), key=p.__getitem__)
    for alpha in (0.01, 0.04, 0.05, 0.3, 0.7):
        rejected = set()
        for step, index in enumerate(order):
            if p[index] > alpha / (5 - step):
                break
            rejected.add(index)
        assert set(np.flatnonzero(corrected <= alpha)) == rejected
    assert (corrected >= p).all()
    assert (corrected <= np.minimum(1, 5 * p)).all()


def test_compare_estimators_pairs_subjects():
    rng = np.random.default_rng(3)
    scores = rng.random((3, 8)) + np.array([0, 0.1, 1])[:, None]
    results = make_results(scores, names=["ridge", "mel", "clip"]).sample(frac=1, random_state=0)
    table = compare_estimators(results, reference="ridge").set_index("estimator")
    for name, own in [("mel", scores[1]), ("clip", scores[2])]:
        row, difference = table.loc[name], own - scores[0]
        assert row["p"] == pytest.approx(stats.wilcoxon(own, scores[0], method="exact").pvalue)
        assert row["mean_difference"] == pytest.approx(difference.mean())
        assert row["sem"] == pytest.approx(stats.sem(difference))
        assert (row["n_better"], row["n_worse"]) == (np.sum(difference > 0), np.sum(difference < 0))
    assert table["smallest_p"].tolist() == [2 / 2**8] * 2
    assert table["smallest_p_holm"].tolist() == [4 / 2**8] * 2
    assert table.loc["clip", "p"] == 2 / 2**8, "all subjects agree"
    np.testing.assert_allclose(table["p_holm"], adjust_comparison_p_values(table["p"]))
    assert len(compare_estimators(results)) == 3
    some = results[(results["estimator"] != "ridge") | (results["seed"] == 0)]
    assert len(compare_estimators(some, reference="ridge")) == 2, "an estimator may have a single seed"


def test_compare_estimators_counts_equal_subjects():
    row = compare_estimators(make_results([[0.1] * 5, [0.2] * 4 + [0.1]])).iloc[0]
    assert (row["n_subjects"], row["n_equal"], row["n_worse"]) == (5, 1, 4)
    assert row["p"] == row["smallest_p"] == 2 / 2**4
