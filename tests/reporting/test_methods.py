"""The methods paragraph says what the table says, and no more."""

import re

import numpy as np
import pandas as pd
import pytest

from sk_b2s import generate_methods_text, mean_and_sem, score_similarities
from sk_b2s.evaluation._controls._verdicts import describe_verdict
from sk_b2s.evaluation._results._plan import AUDIT


@pytest.fixture
def results():
    """Table as of a benchmark: 2 estimators, a control, 3 people and folds, 2 seeds, 2 pools."""
    rng, rows = np.random.default_rng(0), []
    for estimator in ("ridge", "clip"):
        for control in ("decoder", "phase_randomized"):
            for fold in range(3):
                for seed in range(2):
                    for pool, n_candidates in (("all", 100 + fold), ("50", 50)):
                        rows.append({
                            "study": "story", "estimator": estimator, "control": control, "seed": seed, "fold": fold,
                            "subject": f"s{fold}", "condition": "", "pool": pool, "n_train": 400 + fold, "k": 10,
                            "n_windows": 120 + fold, "n_candidates": n_candidates, "chance": 10 / n_candidates,
                            "top_k": rng.random(), "null_mean": 0.1, "null_high": 0.2, "n_train_overlap": 0.0,
                            "verdict": "above_null", "leak_sources": "", "verdict_text": "above its null", "versions": "sk_b2s 0.1.0 numpy 2.0", "error": "",
                            "plan": AUDIT,
                        })  # fmt: skip
    return pd.DataFrame(rows)


def test_every_number_is_the_table_s(results):
    text = generate_methods_text(results, cv="LeaveOneSubjectOut(stimulus_folds=5)")
    assert "tested on 363 windows of 3 people (120 to 122 each) (story)" in text
    assert "in 3 folds made by LeaveOneSubjectOut(stimulus_folds=5), each of which tested one person." in text
    assert "ridge and clip were each fitted on 400 to 402 windows with 2 random seeds." in text
    assert "among the distinct segments of its test set (100 to 102)" in text
    assert "No window tested contained sound of the training windows." in text
    assert "moving the labels circularly in time" in text
    assert "controls: phase-randomized recordings." in text
    assert text.endswith("Software: sk_b2s 0.1.0 numpy 2.0.")
    assert "does not tell" not in text
    means = mean_and_sem(results[results["pool"] == "all"], "top_k")
    for name in ("ridge", "clip"):
        row = means.loc[(name, "decoder", "", "all")]
        expected = (
            f"{name}: top-10 accuracy {100 * row['mean']:.1f} % ± {100 * row['sem']:.1f} %, chance 9.9 %."
        )
        assert expected in text


def test_what_the_table_lacks_is_not_made_up_but_named(results):
    text = generate_methods_text(
        results[["estimator", "subject", "top_k", "seed", "fold", "pool", "control"]]
    )
    for word in ("candidates (", "circularly", "Software", "chance", "contained sound", "top-10"):
        assert word not in text
    unsaid = re.search(r"\[The table does not tell: (.*)\.\]", text).group(1)
    for name in (
        "how folds were made",
        "numbers of windows",
        "the number of candidates",
        "a null",
        "versions",
    ):
        assert name in unsaid
    assert "controls" not in unsaid


def test_leaks_and_failures_are_not_kept_quiet(results):
    leaking = (results["estimator"] == "clip") & (results["control"] == "decoder")
    text = describe_verdict("leak", "phase_randomized")
    results.loc[leaking, ["verdict", "verdict_text"]] = ["leak", text]
    results.loc[results["fold"] == 1, "n_train_overlap"] = 5.0
    results.loc[(results["estimator"] == "ridge") & (results["fold"] == 2), ["error", "top_k"]] = [
        "ValueError: no",
        np.nan,
    ]
    text = generate_methods_text(results)
    assert (
        "contained sound of the training windows in 1 of 3 folds, so these are not scores on unheard" in text
    )
    assert re.search(
        r"clip: [^.]*\.\d % ± [^.]*\.\d %, chance 9\.9 %; LEAK \(phase-randomized recordings\)\.", text
    )
    assert "4 fits failed and are missing here." in text


def test_one_person_has_no_error(results):
    text = generate_methods_text(results[results["subject"] == "s0"])
    assert "±" not in text
    assert "Scores are those of one person" in text


def test_a_table_without_scores_raises(results):
    with pytest.raises(ValueError, match="no rows but those of failed fits"):
        generate_methods_text(results.assign(error="MemoryError: "))
    with pytest.raises(ValueError, match=r"must have the columns \['subject'\]"):
        generate_methods_text(results.drop(columns="subject"))


def test_an_audit_has_methods_too():
    heard = pd.DataFrame({"segment": np.arange(60), "onset": 3.0 * np.arange(60), "duration": 3.0})
    text = generate_methods_text(score_similarities(np.eye(60), heard))
    assert "60 windows of 1 person" in text
    assert "does not tell: how folds were made, numbers of windows" in text
