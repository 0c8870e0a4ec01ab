"""Benchmarks of decoders and controls."""

import numpy as np
import pandas as pd
import pytest
from helpers.decoders import FAST, ONE, Power, people, ridge, same
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    StimulusKFold,
    Windows,
    benchmark,
    read_results,
    retrieve,
    run_controls,
    score_similarities,
    summarize,
)


def test_benchmark_equals_retrieval_result(done):
    arguments, results, _ = done
    X, y = arguments["X"], arguments["y"]
    for fold, (train, test) in enumerate(StimulusKFold(3).split(X, y)):
        answers = retrieve(ridge(alphas=(1.0,)).fit(X[train], y.iloc[train]), X[test], y.iloc[test])
        rows = results.query(
            f"estimator == 'one' and control == 'decoder' and fold == {fold} and pool == 'all'"
        )
        said = answers.by_subject()
        rows = rows.set_index("subject")
        for name in ("top_1", "top_k", "median_relative_rank"):
            np.testing.assert_allclose(rows[name], said[name].loc[rows.index])
        np.testing.assert_allclose(rows["top_5"], answers.by_subject(5)["top_k"].loc[rows.index])
        assert rows["top_k"].mean() == pytest.approx(answers.summary(n_shifts=0)["top_k"])
        relative = pd.Series(answers.ranks / (answers.n_candidates - 1)).groupby(
            answers.rows["subject"].to_numpy()
        )
        np.testing.assert_allclose(rows["match_mismatch"], 1 - relative.mean().loc[rows.index])
        assert (rows["chance"] == answers.chance).all()
        assert (rows["n_train"] == len(train)).all()
        assert rows["n_windows"].sum() == len(test)
        assert (rows["n_candidates"] == answers.n_candidates).all()
        assert (rows["study"] == "planted").all()


def test_benchmark_keeps_order_of_estimators(tmp_path):
    X, y = people(n_recordings=2, n=40, together=2)
    arguments = {"X": X, "y": y, "cv": StimulusKFold(2), "controls": False, "n_candidates": None, **FAST}
    named = {"ridge": ONE, "clip": ONE, "a network": ONE}
    results = benchmark(named, path=tmp_path / "all.jsonl", **arguments)
    assert pd.unique(results["estimator"]).tolist() == list(named)
    same(read_results(tmp_path / "all.jsonl"), results)
    assert pd.unique(summarize(results)["estimator"]).tolist() == list(named)
    for job in reversed(named):
        for fold in (0, 1):
            benchmark(named, path=tmp_path / "jobs" / f"{job}, {fold}.jsonl", only=(job, fold), **arguments)
    same(read_results(tmp_path / "jobs"), results)


def test_benchmark_divides_conditions():
    X, y = people(n_recordings=2, n=60, together=2)
    y["condition"] = np.where(np.arange(len(y)) % 3 == 0, "ignored", "attended")
    results = benchmark({"one": ONE}, X, y, StimulusKFold(2), controls=False, **FAST).query("pool == 'all'")
    plain = benchmark({"one": ONE}, X, y.drop(columns="condition"), StimulusKFold(2), controls=False, **FAST)
    assert set(results["condition"]) == {"attended", "ignored"}
    whole = (results["top_k"] * results["n_windows"]).groupby(results["fold"]).sum() / results.groupby(
        "fold"
    )["n_windows"].sum()
    np.testing.assert_allclose(whole, plain.query("pool == 'all'")["top_k"])


def test_benchmark_detects_recording_identity():
    X, y = people(fingerprint=1.0, response=0.0, n=120, together=6)
    power = make_pipeline(Power(), ONE)
    results = benchmark({"power": power}, X, y, StimulusKFold(3), **FAST)
    decoder = results.query("control == 'decoder'")
    assert set(decoder["verdict"]) == {"leak"}
    assert set(decoder["leak_sources"]) == {"phase_randomized, shifted_labels"}
    assert set(results.query("control == 'phase_randomized'")["verdict"]) == {"leak"}
    summary = summarize(results).set_index(["control", "pool"])
    assert summary.loc[("decoder", "all"), "verdict"] == "leak"
    assert summary.loc[("decoder", "all"), "leak_sources"] == "phase_randomized, shifted_labels"
    # The same with precomputed similarities of decoder and control.
    train, test = next(StimulusKFold(3).split(X, y))
    answers = retrieve(power.fit(X[train], y.iloc[train]), X[test], y.iloc[test])
    audited = score_similarities(answers.scores, answers.rows, controls={"phase_randomized": answers.scores})
    assert set(audited["verdict"]) == {"leak"}
    assert set(audited["leak_sources"]) == {"phase_randomized", ""}


def test_benchmark_detects_stimulus_of_training():
    X, y = people()
    rows = np.random.default_rng(0).permutation(len(y))
    folds = [(np.sort(rows[120:]), np.sort(rows[:120]))]  # windows of three seconds, one a second
    with pytest.warns(UserWarning, match="contain stimuli"):
        results = benchmark({"one": ONE}, X, y, folds, controls=False, **FAST)
    assert set(results["verdict"]) == {"leak"}
    assert set(results["leak_sources"]) == {"sound of training"}
    assert (results["n_train_overlap"] > 100).all()


def test_benchmark_refuses_invalid_input():
    X, y = people(n_recordings=2)
    cv = StimulusKFold(2)
    with pytest.raises(ValueError, match="has the name 'a' more than once"):
        benchmark([("a", ONE), ("a", ridge())], X, y, cv)
    with pytest.raises(TypeError, match="a dict or pairs of a name and an estimator"):
        benchmark([ONE], X, y, cv)
    with pytest.raises(TypeError, match="must be a decoder.*Got Ridge"):
        benchmark({"a": Ridge()}, X, y, cv)
    with pytest.raises(ValueError, match="cv has no folds"):
        benchmark(ONE, X, y, [])
    with pytest.raises(TypeError, match="cv=3 would split overlapping windows"):
        benchmark(ONE, X, y, 3)
    with pytest.raises(ValueError, match="out of step"):
        benchmark(ONE, X, y.iloc[::-1], cv)
    with pytest.raises(ValueError, match="n_candidates must be above k=10 and at most"):
        benchmark(ONE, X, y, cv, n_candidates=500)
    with pytest.raises(ValueError, match="so top-70 accuracy is always 1"):
        benchmark(ONE, X, y, cv, k=70)
    with pytest.raises(ValueError, match="'noise' is not one of"):
        benchmark(ONE, X, y, cv, controls=["noise"])
    with pytest.raises(ValueError, match="'within_recording' is only available in run_controls"):
        benchmark(ONE, X, y, cv, controls=["within_recording"])
    with pytest.raises(ValueError, match="Or set controls=False"):
        benchmark(ONE, Windows(X.signals, X.which, X.start, X.n_read, X.sfreq), y, cv)
    with pytest.raises(ValueError, match="the folds are 0 to 1"):
        benchmark(ONE, X, y, cv, only=2)
    with pytest.raises(ValueError, match="estimators are \\['a'\\]"):
        benchmark({"a": ONE}, X, y, cv, only=("b", 0))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_results("nowhere.jsonl")


def test_run_controls_refuses_empty_controls():
    with pytest.raises(ValueError, match="controls is empty. Use names from"):
        run_controls(ONE, *people(), controls=[])
