"""Means over people and estimators compared: laws, and the same numbers by other ways."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sk_b2s import compare_estimators, mean_and_sem
from sk_b2s.evaluation._statistics import holm, signed_rank_p


def results_of(scores, names=("a", "b"), n_folds=3, n_seeds=2, seed=0):
    """Table whose mean over seeds and folds of estimator e and person s is ``scores[e, s]``."""
    rng = np.random.default_rng(seed)
    rows = []
    for name, own in zip(names, np.asarray(scores), strict=True):
        for subject, score in enumerate(own):
            noise = rng.normal(size=(n_folds, n_seeds))
            noise -= noise.mean()
            rows += [
                {"estimator": name, "subject": f"s{subject}", "fold": f, "seed": r, "top_10": score + noise[f, r]}
                for f in range(n_folds) for r in range(n_seeds)
            ]  # fmt: skip
    return pd.DataFrame(rows).assign(chance=0.1)


# --- mean ± s.e.m. ----------------------------------------------------------------------------------


def test_error_is_over_people_whatever_the_number_of_folds_and_seeds():
    scores = np.random.default_rng(0).random((2, 7))
    for n_folds, n_seeds in [(1, 1), (5, 3)]:
        table = mean_and_sem(results_of(scores, n_folds=n_folds, n_seeds=n_seeds))
        np.testing.assert_allclose(table["mean"], scores.mean(1))
        np.testing.assert_allclose(table["sem"], stats.sem(scores, axis=1))
        assert table["n_subjects"].tolist() == [7, 7]
        assert table["chance"].tolist() == pytest.approx([0.1, 0.1])


def test_rows_of_two_kinds_are_not_averaged_unseen():
    results = pd.concat(
        [results_of(np.full((2, 4), s)).assign(kind=k) for s, k in [(0.5, "real"), (0.1, "noise")]]
    )
    with pytest.raises(ValueError, match=r"differ in \['kind'\]"):
        mean_and_sem(results)
    with pytest.raises(ValueError, match=r"differ in \['kind'\]"):
        compare_estimators(results)
    by = mean_and_sem(results, by=["kind"], over=["seed", "fold", "estimator"])["mean"]
    assert by.to_dict() == pytest.approx({"real": 0.5, "noise": 0.1})


def test_a_person_is_the_mean_over_windows_not_over_folds():
    results = results_of(np.ones((1, 3)), names=["a"], n_folds=2, n_seeds=1, seed=2)
    results["n_windows"] = [30, 10, 20, 20, 5, 35]
    own = results.groupby("subject")[["top_10", "n_windows"]].apply(
        lambda rows: np.average(rows["top_10"], weights=rows["n_windows"])
    )
    row = mean_and_sem(results).iloc[0]
    assert row["mean"] == pytest.approx(own.mean())
    assert row["sem"] == pytest.approx(stats.sem(own))
    assert mean_and_sem(results, weight=None)["mean"].item() == pytest.approx(1)


def test_controls_and_smaller_pools_have_rows_of_their_own_and_are_no_part_of_a_comparison():
    scores = np.random.default_rng(0).random((2, 6))
    real = results_of(scores).assign(control="decoder", pool="all")
    others = [
        real.assign(**changes, top_10=0.0) for changes in ({"control": "phase_randomized"}, {"pool": "50"})
    ]
    everything = pd.concat([real, *others], ignore_index=True)
    means = mean_and_sem(everything)["mean"]
    assert len(means) == 6
    assert means["a", "decoder", "all"] == pytest.approx(scores[0].mean())
    assert means["a", "phase_randomized", "all"] == means["b", "decoder", "50"] == 0
    pd.testing.assert_frame_equal(compare_estimators(everything), compare_estimators(real))


def test_what_is_missing_is_named():
    results = results_of(np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"must have the columns \['top_5'\]"):
        mean_and_sem(results, "top_5")
    with pytest.raises(ValueError, match="NaN in 1 of 48 rows"):
        mean_and_sem(results.assign(top_10=results["top_10"].where(results.index != 3)))
    with pytest.raises(ValueError, match=r"same people and folds .* \{'subject': 's3', 'fold': 2\}"):
        compare_estimators(results.query("not (estimator == 'b' and subject == 's3' and fold == 2)"))
    with pytest.raises(ValueError, match="none of the estimators"):
        compare_estimators(results, reference="c")
    with pytest.raises(ValueError, match="two estimators or more"):
        compare_estimators(results.query("estimator == 'a'"))


# --- Wilcoxon, Holm ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5, 8, 19, 40])
def test_p_without_ties_equals_scipy(n):
    differences = np.random.default_rng(n).normal(0.3, size=n)
    expected = stats.wilcoxon(differences, method="exact").pvalue
    assert signed_rank_p(differences) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_p_with_ties_and_zeros_equals_all_signs_tried(seed):
    differences = np.random.default_rng(seed).integers(-2, 4, size=9) / 20
    kept = differences[differences != 0]
    rank = stats.rankdata(np.abs(kept))
    found = rank[kept > 0].sum()
    sums = np.array([rank @ signs for signs in product([0, 1], repeat=len(kept))])
    expected = min(1, 2 * min(np.mean(sums <= found), np.mean(sums >= found)))
    assert signed_rank_p(differences) == pytest.approx(expected)
    assert signed_rank_p(-differences) == pytest.approx(expected), (
        "the p of b against a is that of a against b"
    )


def test_p_of_no_difference_is_one_and_rounding_makes_none():
    assert signed_rank_p(np.zeros(5)) == 1
    assert signed_rank_p(np.array([0.1 + 0.2 - 0.3] * 5)) == 1
    assert signed_rank_p([0.3, 0.1 + 0.2, -0.1]) == signed_rank_p([0.3, 0.3, -0.1])


def test_holm_is_its_step_down_rule_and_lies_between_p_and_bonferroni():
    p = np.array([0.001, 0.2, 0.013, 0.012, 0.9])
    corrected = holm(p)
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


def test_comparison_pairs_people_and_says_what_so_many_can_show():
    rng = np.random.default_rng(3)
    scores = rng.random((3, 8)) + np.array([0, 0.1, 1])[:, None]
    results = results_of(scores, names=["ridge", "mel", "clip"]).sample(frac=1, random_state=0)
    table = compare_estimators(results, reference="ridge").set_index("estimator")
    for name, own in [("mel", scores[1]), ("clip", scores[2])]:
        row, difference = table.loc[name], own - scores[0]
        assert row["p"] == pytest.approx(stats.wilcoxon(own, scores[0], method="exact").pvalue)
        assert row["mean_difference"] == pytest.approx(difference.mean())
        assert row["sem"] == pytest.approx(stats.sem(difference))
        assert (row["n_better"], row["n_worse"]) == (np.sum(difference > 0), np.sum(difference < 0))
    assert table["smallest_p"].tolist() == [2 / 2**8] * 2
    assert table["smallest_p_holm"].tolist() == [4 / 2**8] * 2
    assert table.loc["clip", "p"] == 2 / 2**8, "all people agree"
    np.testing.assert_allclose(table["p_holm"], holm(table["p"]))
    assert len(compare_estimators(results)) == 3
    some = results[(results["estimator"] != "ridge") | (results["seed"] == 0)]
    assert len(compare_estimators(some, reference="ridge")) == 2, "an estimator may have one seed alone"


def test_a_person_without_a_difference_does_not_make_a_small_p_possible():
    row = compare_estimators(results_of([[0.1] * 5, [0.2] * 4 + [0.1]])).iloc[0]
    assert (row["n_subjects"], row["n_equal"], row["n_worse"]) == (5, 1, 4)
    assert row["p"] == row["smallest_p"] == 2 / 2**4
