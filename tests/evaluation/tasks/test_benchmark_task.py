"""Benchmarks of tasks."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers.decoders import ONE, Power, counting, people, ridge
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    Envelope,
    Epocher,
    FeatureScaler,
    RidgeDecoder,
    RobustChannelScaler,
    RowCandidates,
    StimulusKFold,
    benchmark,
    benchmark_task,
    generate_methods_text,
    read_results,
    summarize,
    write_report,
)
from sk_b2s.evaluation._benchmark_summary import BenchmarkSummary
from sk_b2s.evaluation._scores import SCORES
from sk_b2s.evaluation._tasks._names import TASK_QUESTIONS
from sk_b2s.evaluation._tasks._registry import TASKS
from sk_b2s.plotting._scores import plot_subjects
from sk_b2s.reporting._findings import write_findings_headline

FAST = {"cv": StimulusKFold(2), "n_shifts": 20, "verbose": 0}


def named_people(**changes):
    """Planted windows of subjects with words, each presented several times."""
    X, y = people(**{"together": 2, "n_recordings": 4, "n": 30, **changes})
    return X, y.assign(word=[f"word {i % 17}" for i in range(len(y))])


def test_benchmark_task_segment_equals_benchmark():
    data = named_people()
    results = benchmark_task("segment", {"ridge": ONE}, data, controls=False, **FAST)
    expected = benchmark({"ridge": ONE}, *data, controls=False, n_candidates=None, **FAST)
    assert results.columns[:2].tolist() == ["task", "main_score"]
    for name in ("top_1", "top_k", "match_mismatch", "chance", "null_high", "verdict"):
        assert (results[name] == expected[name]).all()


def test_benchmark_task_words_are_judged_by_their_null():
    results = benchmark_task(
        "word", {"ridge": ridge(alphas=(1.0,))}, named_people(), **FAST, options={"n_words": 17, "k": 2}
    )
    table = summarize(results).set_index("control")
    assert (table["word_timing_chance"] == 10 / 17).all()
    assert table["word_top_10_timing"].between(0.3, 1).all()
    assert {"phase_randomized", "shifted_labels"} <= set(table.index)
    assert (table["n_candidates"] == 17).all()
    assert table.loc["phase_randomized", "verdict"] == "at_null"
    assert abs(table["null_mean"] - table["chance"]).max() < 0.05
    assert table["match_mismatch"].isna().all()


@pytest.mark.parametrize(
    ("task", "chance", "candidates"),
    [
        ("match_mismatch", 0.5, "the target and 1 segment of the same recording at a distance of 1 s"),
        ("match_mismatch_5", 0.2, "the target and 4 random segments of the same recording"),
    ],
)
def test_task_match_mismatch_has_few_candidates(task, chance, candidates):
    results = benchmark_task(task, {"ridge": ONE}, people(together=2, n=40), controls=False, **FAST)
    assert (results["chance"] == chance).all()
    assert (results["verdict"] == "above_null").all()
    text = generate_methods_text(results)
    assert candidates in text
    assert "whole sets of candidates" in text
    assert "shifts of the labels" not in text
    n = int(results.drop_duplicates("fold")["n_without_candidates"].sum())
    assert (f"{n} windows without enough candidates were left out." in text) == (n > 0)


def test_task_sentence_takes_matched_candidates():
    X, y = people(n=40)
    rule = RowCandidates(3, match="kind", within=None)
    results = benchmark_task(
        "sentence", {"ridge": ONE}, (X, y.assign(kind=np.arange(len(y)) % 4)), controls=False,
        options={"k": 1, "candidates_per_row": rule}, **FAST,
    )  # fmt: skip
    assert results["chance"].unique() == pytest.approx([1 / 3])
    assert "with equal kind" in generate_methods_text(results)


def test_benchmark_task_detects_recording_identity():
    X, y = named_people(fingerprint=2.0, response=0.0, n_recordings=6, n=40)
    y["word"] = X.rows["recording"] + y["word"].str[-1]  # each recording has its own words
    results = benchmark_task(
        "word", {"power": make_pipeline(Power(), ridge())}, (X, y), controls=["phase_randomized"],
        options={"n_words": 30, "k": 3}, **FAST,
    )  # fmt: skip
    verdict = summarize(results).set_index("control")["verdict"]
    assert verdict.to_dict() == {"decoder": "leak", "phase_randomized": "leak", "timing_only": "context"}


def test_benchmark_task_resumes_and_shares_a_file(fits, tmp_path):
    data, path = named_people(), tmp_path / "results.jsonl"
    for _ in range(2):
        for task in ("segment", "word"):
            options = {"n_words": 17} if task == "word" else None
            results = benchmark_task(
                task, {"ridge": counting()}, data, path=path, controls=False, options=options, **FAST
            )
    assert fits() == 4
    benchmark({"ridge": counting()}, *data, path=path, controls=False, **FAST)
    both = read_results(path)
    assert both.groupby("task", sort=False).size().to_dict() == {"segment": 8, "word": 8, "": 16}
    table = summarize(both).query("control == 'decoder'").reset_index(drop=True)
    assert table[["task", "missing"]].to_numpy().tolist() == [
        ["segment", ""],
        ["word", ""],
        ["", ""],
        ["", ""],
    ]
    assert summarize(results).query("control == 'decoder'")["top_k"].item() == table["top_k"][1]
    text = generate_methods_text(both[both["task"] != ""])
    assert all(
        TASKS[name].question in text and TASKS[name].candidates in text for name in ("segment", "word")
    )
    assert (
        "top-10 accuracy of words, each with equal weight, with a chance level of 10 divided by the number"
        in text
    )


def test_benchmark_task_always_runs_required_controls(monkeypatch):
    monkeypatch.setitem(TASKS, "word", replace(TASKS["word"], always=("phase_randomized",)))
    results = benchmark_task(
        "word", {"ridge": ONE}, named_people(), controls=False, options={"n_words": 17}, **FAST
    )
    assert set(results["control"]) == {"decoder", "phase_randomized", "timing_only"}


def test_benchmark_task_limits_controls(monkeypatch):
    monkeypatch.setitem(TASKS, "word", replace(TASKS["word"], controls=("shifted_labels",)))
    results = benchmark_task("word", {"ridge": ONE}, named_people(), options={"n_words": 17}, **FAST)
    assert set(results["control"]) == {"decoder", "shifted_labels", "timing_only"}


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"task": "wrod"}, ValueError, "did you mean 'word'"),
        ({"options": {"n": 3}}, ValueError, "unknown keys .'n'."),
        ({"data": np.ones((3, 2))}, TypeError, "an events table or a tuple"),
        ({"rows": {"tmin": 0}}, ValueError, "requires an events table"),
        ({"rows": {"tmx": 5}}, ValueError, "unknown keys .'tmx'. .did you mean 'tmax'"),
        ({"n_shifts": -1}, ValueError, "n_shifts must be an integer of 0 or more, got -1"),
        ({"n_shifts": True}, ValueError, "n_shifts must be"),
        ({"options": {"k": 0}}, ValueError, "'k' of task 'word' must be an integer of 1"),
        ({"options": {"n_words": "many"}}, ValueError, "'n_words' of task 'word' must be"),
    ],
)
def test_benchmark_task_checks_input(changes, error, match):
    arguments = {"task": "word", "estimators": {"ridge": ONE}, "data": (None, None), **changes}
    with pytest.raises(error, match=match):
        benchmark_task(**arguments)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    memory = str(tmp_path_factory.mktemp("cache"))
    speech = make_pipeline(Envelope(sfreq=16, memory=memory), FeatureScaler())
    return make_pipeline(
        Epocher(sfreq=16, memory=memory), RobustChannelScaler(), RidgeDecoder(speech=speech, alphas=(10.0,))
    )


OPTIONS = {"word": {"n_words": 8, "k": 2}, "word_types": {"n_words": 8, "k": 2}, "phoneme": {"n_windows": 5}}


@pytest.mark.parametrize("task", TASKS)
def test_benchmark_task_runs_every_task(task, listening_events, pipeline):
    results = benchmark_task(
        task, {"ridge": pipeline}, listening_events, cv=StimulusKFold(2), controls=False, options=OPTIONS.get(task),
        rows={"block": 8}, only=0, n_shifts=20, verbose=0,
    )  # fmt: skip
    assert results["error"].eq("").all()
    spec, own = TASKS[task], results[(results["control"] == "decoder") & (results["pool"] == "all")]
    assert own["subject"].tolist() == ["01", "02"]  # one row for each
    assert own["main_score"].eq(spec.main_score).all()
    assert own[[spec.main_score, "chance", "null_high"]].notna().all(axis=None)
    assert abs(own["null_mean"] - own["chance"]).max() < 0.2  # few shifts of six sentences
    text = generate_methods_text(results)
    assert spec.question in text
    assert spec.label.format(k=own["k"].iloc[0]) in text
    assert "(block=8)" in text
    if task in {"word_types", "phoneme", "speech"}:
        timing = results[results["control"] == "timing_only"]
        assert timing["chance"].tolist() == own["chance"].tolist()
        assert "timing of the windows alone" in text


def test_benchmark_task_makes_presets_by_name(listening):
    few = tuple(table.iloc[::4].reset_index(drop=True) for table in listening)
    results = benchmark_task(
        "segment", ["ridge"], few, cv=StimulusKFold(2), controls=False, only=0, n_shifts=0, verbose=0
    )
    assert results["estimator"].eq("ridge").all()
    assert set(results["verdict"]) <= {"no_null", "context"}
    headline = write_findings_headline(BenchmarkSummary(results))[1]
    assert "n_shifts=0" in headline
    assert "too short" not in headline


def test_benchmark_task_documents_every_task():
    assert list(TASK_QUESTIONS) == list(TASKS)
    for name, spec in TASKS.items():
        assert f'"{name}"' in benchmark_task.__doc__
        assert spec.question.endswith("?")
        assert spec.source
    assert "Candidates: ." not in benchmark_task.__doc__


def test_summarize_shows_main_score_of_a_task(tmp_path):
    rows = benchmark_task("segment", {"ridge": ONE}, named_people(), controls=["phase_randomized"], **FAST)
    r = {"task": "reconstruction", "main_score": "reconstruction_r", "reconstruction_r": 0.25, "chance": 0.0}
    others = [name for name in SCORES if name in rows]
    rows = rows[rows["control"] != "timing_only"].assign(**dict.fromkeys(others, np.nan), **r, n_candidates=0)
    rows = rows.assign(null_low=-0.1, null_mean=0.0, null_high=0.1)
    summary = BenchmarkSummary(rows)
    assert summary.score_label == TASKS["reconstruction"].label
    assert summary.scored["top_k"].item() == summary.means()["score"].item() == 0.25
    text = generate_methods_text(rows)
    assert "0.250" in text
    assert "circular shifts of the estimated features relative to the true features within" in text
    assert "similarities" not in text
    assert "labels" not in text
    page = write_report(rows, tmp_path / "report.html").read_text(encoding="utf-8")
    assert TASKS["reconstruction"].question in page
    assert "Pearson correlation over time, mean over bands" in page
    assert "mong 0 candidates" not in page
    body = page[page.index("<body>") :]
    assert "0.250 ±" in body
    assert "null −0." in body
    assert "25.0\N{NO-BREAK SPACE}%" not in body
    plot = plot_subjects(rows)
    assert plot.get_ylim()[0] < 0
    assert "%" not in plot.yaxis.get_major_formatter()(0.2, 0)
    with pytest.raises(ValueError, match="must have one task"):
        write_report(pd.concat([rows, rows.assign(task="word")]), tmp_path / "report.html")
