"""The table of a benchmark says what Retrieval says, survives kills, and is the same by any road."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from helpers import TESTS
from helpers.decoders import FAST, ONE, Counting, Power, counting, people, ridge, same
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

import sk_b2s
from sk_b2s import (
    LeaveOneSubjectOut,
    RidgeDecoder,
    StimulusKFold,
    Windows,
    benchmark,
    read_results,
    retrieve,
    run_controls,
    score_similarities,
    summarize,
)
from sk_b2s._utils._json_lines import JsonLinesFile
from sk_b2s.evaluation._results._table import ABOUT, COST, MADE
from sk_b2s.preprocessing._fingerprint import _sources, describe, digest_code, digest_rows, key_of


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """An uninterrupted run of two estimators on three folds: arguments, table and file."""
    X, y = people(together=2)
    arguments = {"estimators": {"one": ONE, "pooled": ridge(alphas=(1.0,), per_subject=False)}, "X": X, "y": y,
                 "cv": StimulusKFold(3), **FAST}  # fmt: skip
    path = tmp_path_factory.mktemp("benchmark") / "results.jsonl"
    return arguments, benchmark(path=path, **arguments), path


# --- the numbers -------------------------------------------------------------------------------------


def test_rows_are_what_retrieval_says_of_each_fold(done):
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


def test_an_audit_of_a_decoder_is_its_rows(done):
    arguments, results, _ = done
    X, y = arguments["X"], arguments["y"]
    train, test = next(StimulusKFold(3).split(X, y))
    decoder = ridge(alphas=(1.0,)).fit(X[train], y.iloc[train])
    similarity = decoder.similarity(X[test], y.iloc[test])
    table = X.rows.iloc[test].join(y.iloc[test].drop(columns="duration"))
    audited = score_similarities(similarity, table, n_shifts=50, name="one")
    rows = results.query("estimator == 'one' and control == 'decoder' and fold == 0").reset_index(drop=True)
    cost = [
        *ABOUT,
        *MADE,
        *COST,
        "plan",
        "key",
        "n_train",
        "verdict",
    ]  # of folds and controls an audit is told
    pd.testing.assert_frame_equal(audited.drop(columns=cost), rows.drop(columns=cost), check_dtype=False)
    # In other words, by columns, with the candidates in another order.
    order = np.random.default_rng(0).permutation(similarity.shape[1])
    names = y.iloc[test].drop_duplicates("segment").iloc[order]
    same(score_similarities(similarity[:, order], table, names, n_shifts=50, name="one"), audited)
    column = pd.Index(names["segment"]).get_indexer(table["segment"])
    named = table.drop(columns="segment").assign(target=column)
    same(score_similarities(similarity[:, order], named, names, n_shifts=50, name="one"), audited)


def test_a_pool_has_the_right_one_and_as_many_others_in_every_fold(done):
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


def test_the_null_is_that_of_shifts_and_of_the_pool():
    X, y = people(n_recordings=2, n=120, together=2)
    train, test = next(StimulusKFold(2).split(X, y))
    answers = retrieve(ONE.fit(X[train], y.iloc[train]), X[test], y.iloc[test])
    rows = score_similarities(answers.scores, answers.rows, n_shifts=4000).set_index("pool")
    null = answers.null(n_shifts=4000)
    assert rows.loc["all", "null_mean"] == pytest.approx(null.mean(), abs=0.005)
    assert rows.loc["all", "null_high"] == pytest.approx(np.quantile(null, 0.975), abs=0.02)
    assert rows.loc["50", "null_low"] < 0.2 < rows.loc["50", "null_high"]
    whole = score_similarities(answers.scores, answers.rows, n_candidates=answers.n_candidates)
    pd.testing.assert_series_equal(  # all of them are a pool too
        whole.loc[0].drop(["pool"]), whole.loc[1].drop(["pool"]), check_names=False
    )


def test_noise_is_at_chance_by_every_measure():
    random = np.random.default_rng(2)
    n = 600
    words = np.array(["the", "a", *[f"w{i}" for i in range(38)]])[random.integers(0, 40, n)]
    table = pd.DataFrame({
        "subject": np.repeat(["a", "b", "c"], 200), "recording": np.repeat(["a", "b", "c"], 200),
        "onset": np.tile(np.arange(200) * 0.4, 3), "duration": 3.0, "segment": np.arange(n), "word": words,
    })  # fmt: skip
    results = score_similarities(random.standard_normal((n, n)), table)
    rows = summarize(results).set_index("pool")
    assert rows.loc["all", "top_10"] == pytest.approx(10 / n, abs=0.015)
    assert rows.loc["50", "top_10"] == pytest.approx(0.2, abs=0.03)
    assert rows.loc["all", "match_mismatch"] == pytest.approx(0.5, abs=0.03)
    assert rows.loc["all", "median_relative_rank"] == pytest.approx(0.5, abs=0.05)
    assert rows.loc["all", "word_top_10"] == pytest.approx(rows.loc["all", "word_chance"], abs=0.06)
    assert list(rows["verdict"]) == ["at_null"] * 2


def test_nearly_right_answers_count_within_half_a_second_of_the_same_sound():
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


def test_estimators_keep_the_order_in_which_they_were_given(tmp_path):
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


def test_conditions_divide_a_subject():
    X, y = people(n_recordings=2, n=60, together=2)
    y["condition"] = np.where(np.arange(len(y)) % 3 == 0, "ignored", "attended")
    results = benchmark({"one": ONE}, X, y, StimulusKFold(2), controls=False, **FAST).query("pool == 'all'")
    plain = benchmark({"one": ONE}, X, y.drop(columns="condition"), StimulusKFold(2), controls=False, **FAST)
    assert set(results["condition"]) == {"attended", "ignored"}
    whole = (results["top_k"] * results["n_windows"]).groupby(results["fold"]).sum() / results.groupby(
        "fold"
    )["n_windows"].sum()
    np.testing.assert_allclose(whole, plain.query("pool == 'all'")["top_k"])


def test_the_summary_is_over_subjects_and_not_over_folds(done):
    _, results, _ = done
    summary = summarize(results).set_index(["estimator", "control", "pool"])
    rows = results.query("estimator == 'one' and control == 'decoder' and pool == 'all'")
    hits = (rows["top_10"] * rows["n_windows"]).groupby(rows["subject"]).sum()
    scores = hits / rows.groupby("subject")["n_windows"].sum()
    one = summary.loc["one", "decoder", "all"]
    assert one["top_10"] == pytest.approx(scores.mean())
    assert one["top_10_sem"] == pytest.approx(scores.std() / np.sqrt(3))
    assert (one["n_subjects"], one["n_folds"], one["n_windows"]) == (3, 3, 360)
    assert summary.loc[("pooled", "decoder", "all"), "verdict"] == "above_null"
    assert (
        summary.loc[("pooled", ["phase_randomized", "shifted_labels"], "all"), "verdict"] == "at_null"
    ).all()


def test_the_null_of_a_summary_is_that_of_all_folds_together(done):
    arguments, results, _ = done
    controls = run_controls(
        ONE, arguments["X"], arguments["y"], StimulusKFold(3), controls=["phase_randomized"], n_shifts=2000
    )
    more = benchmark(**{**arguments, "estimators": {"one": ONE}, "controls": False, "n_shifts": 2000})
    row = summarize(more).set_index("pool").loc["all"]
    table = run_controls(
        ONE, arguments["X"], arguments["y"], StimulusKFold(3), controls=["decoder"], n_shifts=2000
    )
    assert row["top_k"] == pytest.approx(table.loc["decoder", "top_k"])
    assert row["null_mean"] == pytest.approx(table.loc["decoder", "null_mean"], abs=0.003)
    assert row["null_high"] == pytest.approx(table.loc["decoder", "null_high"], abs=0.01)
    assert controls.loc["phase_randomized", "verdict"] == "at_null"


# --- verdicts ----------------------------------------------------------------------------------------


def test_a_fingerprint_is_named_by_its_control():
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
    # The same of similarities alone, with those of the control beside them.
    train, test = next(StimulusKFold(3).split(X, y))
    answers = retrieve(power.fit(X[train], y.iloc[train]), X[test], y.iloc[test])
    audited = score_similarities(answers.scores, answers.rows, controls={"phase_randomized": answers.scores})
    assert set(audited["verdict"]) == {"leak"}
    assert set(audited["leak_sources"]) == {"phase_randomized", ""}


def test_sound_of_training_is_named():
    X, y = people()
    rows = np.random.default_rng(0).permutation(len(y))
    folds = [(np.sort(rows[120:]), np.sort(rows[:120]))]  # windows of three seconds, one a second
    with pytest.warns(UserWarning, match="contain sound"):
        results = benchmark({"one": ONE}, X, y, folds, controls=False, **FAST)
    assert set(results["verdict"]) == {"leak"}
    assert set(results["leak_sources"]) == {"sound of training"}
    assert (results["n_train_overlap"] > 100).all()


@pytest.fixture
def fits(tmp_path, monkeypatch):
    """Number of fits of ``Counting`` so far."""
    log = tmp_path / "fits.txt"
    log.touch()
    monkeypatch.setenv("FITS", str(log))
    return lambda: len(log.read_text().split())


def test_what_is_written_is_read_and_not_done_again(done, fits, tmp_path):
    arguments, results, path = done
    same(read_results(path), results)
    same(benchmark(path=path, **arguments), results)
    arguments = {**arguments, "estimators": {"one": counting()}}
    first = benchmark(path=tmp_path / "r.jsonl", **arguments)
    assert fits() == 9
    same(benchmark(path=tmp_path / "r.jsonl", **arguments), first)
    assert fits() == 9


def test_a_torn_line_is_done_again_and_nothing_else(fits, tmp_path):
    X, y = people(n_recordings=2)
    arguments = {"estimators": {"one": counting()}, "X": X, "y": y, "cv": StimulusKFold(3), "controls": False,
                 "n_candidates": 30, **FAST}  # fmt: skip
    path = tmp_path / "r.jsonl"
    first = benchmark(path=path, **arguments)
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1)
    for cut in (1, 2, 40, 1000, len(whole) - last - 2, len(whole) - last):
        path.write_bytes(whole[:-cut])
        before = fits()
        same(benchmark(path=path, **arguments), first)
        assert fits() - before == (cut > 1)  # the line break alone is no loss
        same(read_results(path), first)


def test_changed_parameters_are_new_work_and_must_not_share_a_name(done, tmp_path):
    arguments, _, _ = done
    arguments = {**arguments, "controls": False}
    path = tmp_path / "r.jsonl"
    first = benchmark(path=path, **{**arguments, "estimators": {"one": ONE}})
    other = benchmark(path=path, **{**arguments, "estimators": {"one": ridge(alphas=(100.0,))}})
    assert not first["top_k"].equals(other["top_k"])
    with pytest.raises(
        ValueError, match="'one', seed 0, fold 0, 'decoder' was run twice, with different parameters"
    ):
        read_results(path)
    same(read_results(path, conflicts="last"), other)
    for changed in ({"k": 5}, {"n_shifts": 20}, {"y": arguments["y"].assign(condition="x")}):
        new = benchmark(path=path, **{**arguments, "estimators": {"one": ONE}, **changed})
        assert not set(new["key"]) & set(first["key"])
    idle = benchmark(path=path, **{**arguments, "estimators": {"one": ONE}, "n_jobs": 1})
    assert set(idle["key"]) == set(first["key"])


def test_a_fold_alone_and_many_files_make_the_same_table(done, tmp_path):
    arguments, results, _ = done
    for fold in range(3):
        alone = benchmark(path=tmp_path / f"{fold}.jsonl", only=fold, **arguments)
        assert set(alone["fold"]) == {fold}
    benchmark(path=tmp_path / "again.jsonl", only=("one", 1), **arguments)  # an exact duplicate
    same(read_results(tmp_path), results)
    same(read_results([tmp_path / f"{fold}.jsonl" for fold in (2, 0, 1)]), results)


def test_a_failure_is_seen_and_tried_again(fits, tmp_path, monkeypatch):
    X, y = people(n_recordings=4, together=2)
    arguments = {
        "estimators": {"one": counting()},
        "X": X,
        "y": y,
        "cv": StimulusKFold(2),
        "controls": False,
        **FAST,
    }
    good = benchmark(**arguments)
    path = tmp_path / "r.jsonl"

    def fails(self, X, y):
        raise RuntimeError("no memory left")

    with monkeypatch.context() as patch:
        patch.setattr(Counting, "fit", fails)
        with pytest.warns(FitFailedWarning, match="1 of 1 fits failed.*no memory left"):
            bad = benchmark(path=path, only=1, **arguments)
        assert set(bad["verdict"]) == {"error"}
        assert set(bad["error"]) == {"RuntimeError: no memory left"}
        assert list(bad["subject"]) == ["s0", "s1"]
        assert bad["top_k"].isna().all()
        with pytest.raises(ValueError, match="all fits failed"):
            summarize(bad)
        with pytest.warns(FitFailedWarning):
            assert set(read_results(path)["error"]) == set(benchmark(path=path, only=1, **arguments)["error"])
    mixed = pd.concat([good[good["fold"] == 0], bad], ignore_index=True)
    assert list(summarize(mixed)["n_failed"]) == [1, 1]
    same(benchmark(path=path, **arguments), good)
    same(read_results(path), good)


def test_equal_tables_at_any_number_of_jobs(done):
    arguments, results, _ = done
    with joblib.parallel_config("threading"):
        same(benchmark(n_jobs=2, **arguments), results)


@pytest.mark.slow
def test_equal_tables_from_two_processes_of_workers(done, tmp_path):
    arguments, results, _ = done
    same(benchmark(n_jobs=2, path=tmp_path / "r.jsonl", **arguments), results)
    same(read_results(tmp_path / "r.jsonl"), results)


KILLED = """
import os, random, signal, sys, time
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from helpers.decoders import FAST, counting, people, same
from sk_b2s import StimulusKFold, benchmark, read_results

X, y = people(n_recordings=4, n=40, together=2)
def run(path):
    estimators = {{"one": counting(), "ten": counting(alphas=(10.0,))}}
    return benchmark(estimators, X, y, StimulusKFold(3), path, seeds=(0, 1), n_candidates=30, **FAST)
def fork(path):
    child = os.fork()
    if not child:
        run(path)
        os._exit(0)
    return child
fits = lambda: len(open(os.environ["FITS"]).read().split())

# Nothing is computed before the forks, so no thread is lost by them.
# Moments are counted in fits and not in seconds, so that a busy machine kills as a quiet one does.
random.seed({seed})
kills = 0
for _ in range(20):
    child, enough = fork("killed.jsonl"), min(fits() + random.choice([0, 1, 2, 3]), 36)
    while fits() < enough:
        time.sleep(0.001)
    time.sleep(random.uniform(0.0, 0.05))  # in the fit, the score or the writing
    os.kill(child, signal.SIGKILL)
    kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
assert kills >= 10, kills
assert os.path.getsize("killed.jsonl") > 0
os.waitpid(fork("killed.jsonl"), 0)
print("fits", fits(), "kills", kills)
assert 36 <= fits() <= 36 + kills
open(os.environ["FITS"], "w").close()

children = [fork("shared.jsonl") for _ in range(3)]
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
assert fits() == 36, fits()

whole = run("whole.jsonl")
same(read_results("killed.jsonl"), whole)
same(run("killed.jsonl"), whole)
same(read_results("shared.jsonl"), whole)
same(read_results(["whole.jsonl", "shared.jsonl", "killed.jsonl"]), whole)
assert fits() == 72, fits()
print("the same")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked and killed")
def test_twenty_kills_and_three_sharers_make_the_table_of_one_quiet_run(fits, tmp_path):
    tests = str(TESTS)
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(tests=tests, seed=3)], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(tests).parent), *sys.path])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the same" in done.stdout


# --- who is who --------------------------------------------------------------------------------------


def estimator_that(text):
    """Make a class as a notebook does that is changed and run again."""
    space = {"__name__": "__main__"}
    exec(f"class Mine:\n    def get_params(self, deep=True):\n        return {{}}\n    {text}", space)
    return space["Mine"]()


def test_a_class_of_ones_own_is_its_methods():
    doubled = describe(estimator_that("def transform(self, X): return 2 * X"))
    assert doubled == describe(estimator_that("def transform(self, X): return 2 * X"))
    assert doubled != describe(estimator_that("def transform(self, X): return 3 * X"))
    assert doubled != describe(estimator_that("def transform(self, X, by=1): return 2 * X"))
    assert describe(Ridge) == ["sklearn.linear_model._ridge.Ridge"]
    assert describe(RidgeDecoder) == ["sk_b2s.decoding._ridge_decoder.RidgeDecoder"]


def adding(number):
    return lambda a: a + number


def test_a_key_is_of_the_values_and_not_of_the_objects():
    X, y = people(n_recordings=2)
    assert key_of(ridge(), X, y) == key_of(ridge(), X[:], y.copy())
    assert key_of(ridge(k=3)) != key_of(ridge())
    assert key_of(make_pipeline(Power(), ONE)) != key_of(ONE)
    assert describe(lambda a: a + 1) != describe(lambda a: a + 2)
    assert describe(adding(1)) != describe(adding(2))
    assert describe(adding(1)) == describe(adding(1))
    assert describe(ridge(k=3).get_params) != describe(ridge(k=4).get_params)
    assert describe({"a": 1, "b": {3, 2}}) == describe({"b": {2, 3}, "a": np.int64(1)})
    both = ("x" * 3, "xx" + "x")
    assert key_of(both) == key_of(("xxx", both[0]))


def test_rows_are_told_apart_by_all_that_they_hold():
    X, y = people(n_recordings=2)
    assert len(np.unique(digest_rows(X))) == len(X)
    np.testing.assert_array_equal(digest_rows(X)[[5, 3]], digest_rows(X[[5, 3]]))
    np.testing.assert_array_equal(digest_rows(y)[7:9], digest_rows(y.iloc[7:9].set_axis(["a", "b"])))
    louder = X._replace(signals=[2 * X.signals[0], X.signals[1]])
    assert np.flatnonzero(digest_rows(X) != digest_rows(louder)).tolist() == list(range(60))
    assert (digest_rows(np.eye(3)) != digest_rows(np.ones((3, 3)))).all()
    assert (digest_rows(y) == digest_rows(y[list(y.columns[::-1])])).all()
    assert not (digest_rows(y) == digest_rows(y.rename(columns={"block": "black"}))).any()


def test_recordings_are_known_wherever_they_are_kept(tmp_path):
    tables = []
    for folder, content in (("here", "same"), ("there", "same"), ("there", "longer"), ("there", "louder")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "01.fif").write_text(content)
        tables.append(
            digest_rows(pd.DataFrame({"recording": [str(tmp_path / folder / "01.fif")], "onset": 0.0}))
        )
    assert tables[0] == tables[1] != tables[2] != tables[3]  # of the last two the size is the same
    (tmp_path / "header.vhdr").write_text("unchanged")
    for content in ("before", "filter"):
        (tmp_path / "header.eeg").write_text(content)
        tables.append(digest_rows(pd.DataFrame({"recording": [str(tmp_path / "header.vhdr")]})))
    assert tables[4] != tables[5]


def test_code_digest_depends_on_imported_modules_only(tmp_path):
    for name, text in {
        "evaluation/_tasks": "def run():\n    from sk_b2s.metrics._ranking import ranks",
        "metrics/_ranking": "from sk_b2s.metrics import _similarity",
        "metrics/_similarity": "similarity = 1",
        "evaluation/_statistics": "",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text(text)

    def digest():
        digest_code.cache_clear()
        return digest_code(tmp_path)

    first = digest()
    (tmp_path / "evaluation" / "_statistics.py").write_text(
        "from sk_b2s.metrics._similarity import similarity"
    )
    assert digest() == first
    (tmp_path / "metrics" / "_similarity.py").write_text("similarity = 2")
    assert digest() != first
    modules = set(_sources(Path(sk_b2s.__file__).parent, ["evaluation._tasks", "_persistence._registry"]))
    assert {
        "decoding._encoder",
        "decoding._ridge_decoder",
        "features._spectral",
        "metrics._similarity",
    } < modules
    assert not {"evaluation._statistics", "plotting._scores", "reporting._methods"} & modules


def test_lines_begin_anew_after_a_torn_one(tmp_path):
    ledger = JsonLinesFile(tmp_path / "folder" / "r.jsonl")
    assert ledger.lines() == []
    with ledger.claim("a" * 32) as claim:
        claim.write({"value": np.float32(0.5)})
    with open(ledger.path, "ab") as file:
        file.write(b'\n{"key": "b", "val')
    with ledger.claim("b" * 32) as claim:
        assert claim.found() == []
        claim.write({"value": float("nan")})
        assert np.isnan(claim.found()[0]["value"])
    assert [line["key"][0] for line in ledger.lines()] == ["a", "b"]


# --- errors ------------------------------------------------------------------------------------------


def test_errors_say_what_to_do():
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
    with pytest.raises(TypeError, match="cv=3 would split rows"):
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


def test_what_cannot_be_audited_says_why(tmp_path):
    table = pd.DataFrame({"segment": np.arange(20)})
    with pytest.raises(ValueError, match="one row for each of the 20 rows of table"):
        score_similarities(np.eye(19), table)
    with pytest.raises(ValueError, match="'segment' .* or 'target'"):
        score_similarities(np.eye(20), table.rename(columns={"segment": "x"}))
    with pytest.raises(ValueError, match="20 columns, but there are 19 candidates"):
        score_similarities(np.eye(20), table, table.iloc[1:])
    with pytest.raises(ValueError, match="row 0: its segment 0 is not a candidate"):
        score_similarities(np.eye(20)[:, 1:], table, table.iloc[1:])
    with pytest.raises(ValueError, match="has several columns"):
        score_similarities(np.eye(20), table, table.assign(segment=1))
    with pytest.raises(ValueError, match="NaN in 20"):
        score_similarities(np.full((20, 20), np.nan), table)
    with pytest.raises(ValueError, match="is not more than k=20"):
        score_similarities(np.eye(20), table, k=20)
    with pytest.raises(ValueError, match="'acoustics' is not one of"):
        score_similarities(np.eye(20), table, controls={"acoustics": np.eye(20)})
    with pytest.raises(ValueError, match="lacks the columns \\['onset', 'duration'\\]"):
        score_similarities(np.eye(20), table, controls={"phase_randomized": np.eye(20)})
    row = score_similarities(np.eye(20), table, n_candidates=None).iloc[0]
    assert row["verdict"] == "no_null"
    late = table.assign(onset=np.arange(20.0), duration=11.0)
    row = score_similarities(np.eye(20), late, n_candidates=None).iloc[0]
    assert row["verdict"] == "no_null"
    (tmp_path / "r.jsonl").write_text("not a result\n")
    with pytest.raises(ValueError, match="no results found"):
        read_results(tmp_path / "r.jsonl")


def test_recordings_of_two_people_are_two_whatever_their_names():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({
        "subject": np.repeat(["a", "b"], 40), "onset": np.tile(3.0 * np.arange(40), 2), "duration": 3.0,
        "segment": np.tile(np.arange(40), 2),
    })  # fmt: skip
    arguments = {
        "controls": {"phase_randomized": rng.normal(size=(80, 40))},
        "k": 5,
        "n_candidates": None,
        "n_shifts": 50,
    }
    scores = rng.normal(size=(80, 40))
    whole = score_similarities(scores, table.assign(recording=table["subject"] + "1"), **arguments)
    for other in (table, table.assign(recording="run1")):
        same(score_similarities(scores, other, **arguments), whole)
    for column in ("subject", "onset"):
        with pytest.raises(ValueError, match=f"table row 7 has no {column}"):
            score_similarities(scores, table.assign(**{column: table[column].where(table.index != 7)}))


def test_a_summary_survives_a_table_of_text(done, tmp_path):
    results = done[1]
    results.to_csv(tmp_path / "r.csv", index=False)
    pd.testing.assert_frame_equal(
        summarize(pd.read_csv(tmp_path / "r.csv")), summarize(results), check_dtype=False
    )


def test_left_out_subjects_and_seeds():
    X, y = people(n_recordings=3, n=60)
    results = benchmark(
        {"pooled": ridge(alphas=(1.0,), per_subject=False)}, X, y, LeaveOneSubjectOut(stimulus_folds=2),
        controls=["white_noise"], seeds=(0, 1), n_candidates=None, **FAST,
    )  # fmt: skip
    assert len(results) == 3 * 2 * 2 * 2
    pairs = results.pivot_table(index=["fold", "control"], columns="seed", values="top_k")
    assert pairs[0].loc[:, "decoder"].equals(pairs[1].loc[:, "decoder"])  # a ridge draws nothing
    assert not pairs[0].loc[:, "white_noise"].equals(pairs[1].loc[:, "white_noise"])
    row = summarize(results).query("control == 'decoder'").iloc[0]
    assert (row["n_subjects"], row["n_seeds"], row["n_folds"], row["n_windows"]) == (3, 2, 6, 180)


def test_scores_do_not_depend_on_the_order_of_windows_within_a_subject():
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


def test_rows_of_one_fit_are_summed_up_once(done):
    results = done[1]
    whole = summarize(results)
    with pytest.warns(UserWarning, match="are left out. Check whether a table was joined"):
        twice = summarize(pd.concat([results, results.iloc[:3]]))
    pd.testing.assert_frame_equal(whole, twice)


def test_run_controls_refuses_no_controls():
    with pytest.raises(ValueError, match="controls is empty. Use names from"):
        run_controls(ONE, *people(), controls=[])
