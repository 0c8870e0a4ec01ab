"""Plans in results files."""

import json
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from helpers.decoders import FAST, people, ridge

from sk_b2s import (
    LeaveOneSubjectOut,
    StimulusKFold,
    benchmark,
    compare_estimators,
    generate_methods_text,
    read_results,
    score_similarities,
    summarize,
    write_report,
)
from sk_b2s.evaluation._benchmark_summary import BenchmarkSummary
from sk_b2s.evaluation._results._plan import UNKNOWN, describe_missing_plan_folds, merge_plans, read_plan
from sk_b2s.reporting import _html
from sk_b2s.reporting._findings import write_findings_headline
from sk_b2s.reporting._scores_text import format_scores

ONE, TWO = ridge(alphas=(1.0,)), ridge(alphas=(1.0, 100.0), per_subject=False)
QUIET = {"n_candidates": None, "controls": False, **FAST}
PLAN = {
    "cv": "cv", "questions": list("abcdefgh"), "subjects": ["01", "02", "03", "04"],
    "tests": [[0], [0], [1], [1], [2], [2], [3], [3]], "minutes": None, "work": {"ridge": {"decoder": [[0], 8]}},
    "settings": {"k": 10}, "data": {"X": "1", "y": "2"},
}  # fmt: skip


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def write(path, lines):
    path.write_text("".join(f"\n{json.dumps(line)}\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def study():
    return people(n_recordings=4, n=60)


@pytest.fixture(scope="module")
def whole(study, tmp_path_factory):
    """A finished benchmark of two estimators on eight folds, and its file."""
    path = tmp_path_factory.mktemp("plans") / "r.jsonl"
    cv = LeaveOneSubjectOut(stimulus_folds=2)
    return benchmark(
        {"one": ONE, "two": TWO}, *study, cv, path, **QUIET | {"controls": ["phase_randomized"]}
    ), path


@pytest.fixture
def empty_figures(monkeypatch):
    """Leave out the drawing, for tests of the text."""
    monkeypatch.setattr(_html, "_draw_svg", lambda drawn, alt: "")


def kept(whole, tmp_path, keep):
    return write(tmp_path / "part.jsonl", [line for line in lines_of(whole[1]) if keep(line["common"])])


@pytest.mark.parametrize(("done", "said"), [
    ({(fold, 0) for fold in range(8)}, ""),
    ({(fold, 0) for fold in range(4)}, "2 of 4 subjects, 4 of 8 folds; missing: 03, 04"),
    ({(0, 0), (2, 0), (4, 0), (6, 0)}, "4 of 4 subjects, 4 of 8 folds; missing: folds 1 (01), 3 (02), 5 (03), 7 (04)"),
    ({(0, 0), (1, 0), (2, 0)}, "2 of 4 subjects, 3 of 8 folds; missing: 03, 04; fold 3 (02)"),
    (set(), "0 of 4 subjects, 0 of 8 folds; missing: 01, 02, 03, 04"),
])  # fmt: skip
def test_missing_of_lists_subjects_and_folds(done, said):
    assert describe_missing_plan_folds(PLAN, done, "ridge") == said
    assert describe_missing_plan_folds(None, done, "ridge") == UNKNOWN


def test_missing_of_lists_seeds_and_amounts():
    plan = PLAN | {"work": {"ridge": {"decoder": [[0, 1], 8]}}}
    done = {(fold, seed) for fold in range(8) for seed in (0, 1)} - {(5, 1)}
    assert (
        describe_missing_plan_folds(plan, done, "ridge")
        == "4 of 4 subjects, 8 of 8 folds; missing: with seed 1 fold 5"
    )
    plan = PLAN | {"minutes": [0.0, 5.0]}
    assert describe_missing_plan_folds(plan, {(0, 0), (2, 0), (4, 0), (6, 0)}, "ridge", minutes={0.0}) == ""
    assert (
        describe_missing_plan_folds(plan, {(1, 0)}, "ridge", minutes={5.0})
        == "1 of 4 subjects, 1 of 4 folds; missing: 02, 03, 04"
    )
    same = PLAN | {"subjects": ["01"], "tests": [[0]] * 8}
    assert describe_missing_plan_folds(same, {(0, 0)}, "ridge").endswith(
        "1 of 8 folds; missing: folds 1, 2, 3, 4, 5, 6, 7"
    )


def test_complete_results_have_no_warning(whole, tmp_path, empty_figures):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = read_results(whole[1])
    assert (summarize(results)["missing"] == "").all()
    assert not write_findings_headline(BenchmarkSummary(results))[1].startswith("Not complete")
    page = write_report(results, tmp_path / "r.html").read_text(encoding="utf-8")
    texts = (generate_methods_text(results), format_scores(results), page)
    assert not any("missing:" in text or "unfinished" in text or "plan unknown" in text for text in texts)


def test_interrupted_results_list_missing_subjects(whole, tmp_path, empty_figures):
    said = "2 of 4 subjects, 4 of 8 folds; missing: s2, s3"
    path = kept(whole, tmp_path, lambda common: common["fold"] < 4)
    with pytest.warns(UserWarning, match=f"not complete. one: {said}. two: {said}. Call benchmark again"):
        results = read_results(path)
    summary = summarize(results)
    assert set(summary["missing"]) == {said}
    assert write_findings_headline(BenchmarkSummary(results))[1].startswith(
        f"Not complete: one: {said}; two: {said}. "
    )
    assert f"unfinished benchmark: one: {said}; two: {said}." in generate_methods_text(results)
    assert f"Not complete, one: {said}." in format_scores(summary).replace("\n", " ")
    assert (
        format_scores(summary).count("Not complete") == 2
    )  # controls that lack the same are not listed again
    with pytest.warns(UserWarning, match=f"^{re.escape(repr(str(path)))} is not complete"):
        read_results([path])  # as the command line does
    page = write_report(results, tmp_path / "r.html").read_text(encoding="utf-8")
    assert page.index(said) < page.index("<h2>Scores")


def test_missing_parts_of_each_estimator(whole, tmp_path):
    path = kept(
        whole, tmp_path, lambda c: c["estimator"] == "one" and (c["control"] == "decoder" or c["fold"] < 6)
    )
    said = "phase_randomized of one: 3 of 4 subjects, 6 of 8 folds; missing: s3. no result of two."
    with pytest.warns(UserWarning, match=said):
        results = read_results(path)
    missing = summarize(results).set_index("control")["missing"]
    assert missing["decoder"] == ""
    assert missing["phase_randomized"].endswith("missing: s3")
    assert "no result of two" in write_findings_headline(BenchmarkSummary(results))[1]


def test_failed_fold_is_missing(whole, tmp_path):
    lines = [line for line in lines_of(whole[1]) if line["common"]["control"] == "decoder"]
    for line in lines:
        if line["common"]["fold"] == 7:
            line |= {"error": "ValueError: no", "rows": [{"subject": "s3", "condition": "", "study": "", "pool": "all",
                                                          "n_windows": 30}]}  # fmt: skip
    with pytest.warns(UserWarning, match=r"7 of 8 folds; missing: fold 7 \(s3\)"):
        results = read_results(write(tmp_path / "r.jsonl", lines))
    assert summarize(results)["n_failed"].tolist() == [1, 1]


def test_jobs_store_complete_plan(study, tmp_path):
    for fold in (0, 1):
        benchmark({"one": ONE}, *study, LeaveOneSubjectOut(1), tmp_path / f"{fold}.jsonl", only=fold, **QUIET)
    with pytest.warns(UserWarning, match="2 of 4 subjects, 2 of 4 folds; missing: s2, s3"):
        read_results(tmp_path)
    with pytest.warns(UserWarning, match="1 of 4 subjects, 1 of 4 folds; missing: s0, s2, s3"):
        read_results(tmp_path / "1.jsonl")


CHANGED = {
    "folds": ({"cv": StimulusKFold(2)}, "folds made by .*StimulusKFold"),
    "k": ({"k": 5}, r"k \(10 and 5\)"),
    "candidates": ({"n_candidates": 20}, r"n_candidates \(None and 20\)"),
    "data": ({"y": None}, "y"),
    "parameters": ({"estimators": {"one": TWO}}, "the parameters of the estimator"),
    "code": ({}, "code"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_read_results_refuses_two_plans(study, tmp_path, name, monkeypatch):
    changed, said = CHANGED[name]
    X, y = study
    path, cv = tmp_path / "r.jsonl", LeaveOneSubjectOut(1)
    benchmark({"one": ONE}, X, y, cv, path, only=0, **QUIET)
    if name == "code":
        monkeypatch.setattr("sk_b2s.evaluation._results._fits.make_code_fingerprint", lambda: "another")
    changed = {"estimators": {"one": ONE}, "X": X, "y": y, "cv": cv, **QUIET, **changed}
    if changed["y"] is None:
        changed["y"] = y.assign(sound_onset=y["sound_onset"] + 0.01)
    benchmark(path=path, only=1, **changed)
    with pytest.raises(ValueError, match=f"results of 'one' have two plans, which differ in .*({said})"):
        read_results(path)
    with pytest.warns(UserWarning, match=r"1 of \d (people|folds)|folds; missing"):
        last = read_results(path, conflicts="last")
    assert set(last["fold"]) == {1}


def test_estimators_of_two_plans_are_not_compared(study, tmp_path):
    X, y = study
    path = tmp_path / "r.jsonl"
    benchmark({"one": ONE}, X, y, StimulusKFold(2), path, **QUIET)
    benchmark({"two": ONE}, X, y, StimulusKFold(2, random_state=1), path, **QUIET)
    with pytest.warns(UserWarning, match="several plans: 'one' and 'two' differ in folds made by"):
        results = read_results(path)
    assert "results are of several plans" in write_findings_headline(BenchmarkSummary(results))[2][0]
    with pytest.raises(ValueError, match="'one' and 'two' were scored on different folds or data"):
        compare_estimators(results)
    same = results.assign(estimator="one")
    with pytest.raises(ValueError, match="results of 'one' have 2 plans, which differ in folds"):
        summarize(same)


def test_extended_plan_is_merged(study, tmp_path):
    X, y = study
    path, cv = tmp_path / "r.jsonl", LeaveOneSubjectOut(1)
    folds = list(cv.split(X, y))
    benchmark({"one": ONE}, X, y, folds[:3], path, **QUIET)
    benchmark({"one": ONE, "two": TWO}, X, y, folds, path, seeds=(0, 1), **QUIET)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = read_results(path)
    assert (summarize(results)["missing"] == "").all()
    grown = merge_plans(
        [PLAN, PLAN | {"questions": list("abcdefghi"), "work": {"ridge": {"decoder": [[1], 9]}}}]
    )
    assert grown["work"] == {"ridge": {"decoder": [[0, 1], 9]}}


def test_removed_subject_changes_plan(study, tmp_path):
    X, y = study
    path = tmp_path / "r.jsonl"
    benchmark({"one": ONE}, X, y, LeaveOneSubjectOut(1), path, only=3, **QUIET)
    few = np.flatnonzero(X.rows["subject"] != "s3")
    benchmark({"one": ONE}, X[few], y.iloc[few], LeaveOneSubjectOut(1), path, **QUIET)
    with pytest.raises(ValueError, match="two plans, which differ in X, y"):
        read_results(path)


def test_read_results_without_plan_warns(whole, tmp_path):
    lines = [
        {key: value for key, value in line.items() if key not in ("plan", "made")}
        for line in lines_of(whole[1])
    ]
    with pytest.warns(
        UserWarning, match="does not have the plan of 'one', 'two', because an earlier version wrote it"
    ):
        results = read_results(write(tmp_path / "r.jsonl", lines))
    assert set(summarize(results)["missing"]) == {UNKNOWN}
    assert "do not contain their plan" in write_findings_headline(BenchmarkSummary(results))[2][-1]
    assert "whether subjects or folds are missing" in generate_methods_text(results)
    mixed = write(tmp_path / "m.jsonl", [*lines[:2], *lines_of(whole[1])[2:]])
    with pytest.raises(ValueError, match="lacks because an earlier version wrote it"):
        read_results(mixed)


@pytest.mark.parametrize("plan", [
    {}, {"questions": 3}, PLAN | {"tests": [[9]] * 8}, PLAN | {"work": {"ridge": {"decoder": 3}}},
    PLAN | {"work": {"ridge": {"decoder": [[0], 1e9]}}}, PLAN | {"settings": None}, PLAN | {"minutes": "all"}, [1], "{",
])  # fmt: skip
def test_read_plan_refuses_invalid_plan(plan):
    assert read_plan(json.dumps(plan)) is None
    assert read_plan(json.dumps(PLAN)) == PLAN


def test_score_similarities_has_complete_plan():
    table = pd.DataFrame({"segment": np.arange(60), "onset": 3.0 * np.arange(60), "duration": 3.0})
    both = pd.concat([score_similarities(np.eye(60), table.assign(subject=who)) for who in "ab"])
    assert (summarize(both)["missing"] == "").all()


def test_results_describe_estimator(whole, tmp_path, empty_figures):
    results, path = whole
    read = read_results(path)
    first = read[read["estimator"] == "two"].iloc[0]
    for word in ("RidgeDecoder", "alphas=(1.0, 100.0)", "per_subject=False", "PrecomputedFeatures"):
        assert word in first["parameters"]
    assert first["features"].startswith("PrecomputedFeatures, FeatureScaler")
    assert "; digest " in first["features"]
    assert first["chosen"].startswith("alpha_: 1")
    assert read.query("estimator == 'one' and fold == 0")["chosen"].iloc[0] == "alpha_: s1 1, s2 1, s3 1"
    assert first["machine"].startswith("threads ")
    plan = read_plan(first["plan"])
    assert plan["settings"]["k"] == 10
    assert len(plan["data"]["sounds"]) >= 1
    assert plan["data"]["n_rows"] == 240
    page = write_report(results, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Parameters and data" in page
    assert "alphas=(1.0, 100.0)" in page
    assert plan["data"]["X"] in page
    size = max(len(json.dumps([line["plan"], line["made"]])) for line in lines_of(path))
    assert size < 3000
