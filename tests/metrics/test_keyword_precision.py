"""Keyword spotting: average precision and false alarms."""

import numpy as np
import pytest

from sk_b2s.metrics import average_precision_chance, false_alarms_per_hour, keyword_scores


def test_false_alarms_of_example():
    """Three targets in a quarter of an hour, counted by hand."""
    is_target = np.array([1, 0, 1, 0, 0, 1, 0], bool)
    scores = [0.9, 0.95, 0.6, 0.7, 0.6, 0.1, 0.05]
    expected = {1 / 3: 1, 0.34: 3, 2 / 3: 3, 0.67: 3, 1: 3}  # 0.6 ties with a target
    for recall, alarms in expected.items():
        assert false_alarms_per_hour(is_target, scores, 0.25, recall) == 4 * alarms, recall
    assert false_alarms_per_hour(is_target, is_target, 2.0, 1) == 0
    assert false_alarms_per_hour(is_target, np.zeros(7), 2.0, 0.1) == 2, "constant scores: each other window"


@pytest.mark.parametrize(("n_targets", "n_windows"), [(1, 12), (3, 30), (20, 60)])
def test_random_scores_have_the_chance_level(n_targets, n_windows):
    rng, is_target = np.random.default_rng(0), np.arange(n_windows) < n_targets
    found = [keyword_scores(is_target, rng.random(n_windows), 0.5, 0.5) for _ in range(200)]
    for score, chance in (("auprc", "auprc_chance"), ("false_alarms_per_hour", "false_alarms_chance")):
        values = [one[score] for one in found]
        error = np.std(values) / np.sqrt(len(values))
        assert abs(np.mean(values) - found[0][chance]) < 4 * error, score
    assert found[0]["auprc_chance"] > found[0]["prevalence"] == n_targets / n_windows


def test_chance_approaches_the_prevalence():
    assert average_precision_chance(500, 10_000) == pytest.approx(0.05, rel=0.02)
    assert average_precision_chance(7, 7) == pytest.approx(1)
    assert np.isnan(average_precision_chance(0, 7))


def test_keyword_scores_limits():
    is_target = np.array([True, False, False, True])
    perfect, flat = keyword_scores(is_target, is_target, 1.0), keyword_scores(is_target, np.ones(4), 1.0)
    assert (perfect["auprc"], perfect["false_alarms_per_hour"]) == (1, 0)
    assert flat["auprc"] == flat["prevalence"] == 0.5
    nothing = keyword_scores(np.zeros(4, bool), np.ones(4), 1.0)
    assert np.isnan(
        [nothing["auprc"], nothing["false_alarms_per_hour"], nothing["false_alarms_chance"]]
    ).all()
    assert nothing["prevalence"] == 0


def test_keyword_scores_rejects_bad_input():
    with pytest.raises(ValueError, match="recall"):
        false_alarms_per_hour([True, False], [1, 0], 1.0, recall=0)
    with pytest.raises(ValueError, match="NaN in 1 of 2"):
        keyword_scores([True, False], [np.nan, 0])
    with pytest.raises(ValueError, match="shape"):
        keyword_scores([True, False], [1.0])
