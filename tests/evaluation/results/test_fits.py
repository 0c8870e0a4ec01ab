"""Tasks of a benchmark: backends, seeds, warnings and leakage."""

import re
import threading
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from helpers.decoders import FAST, ONE, Power, people, ridge, same, tiny_encoder
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.utils import check_random_state
from skorch.callbacks import Callback

from sk_b2s import (
    FeatureScaler,
    LeaveOneSubjectOut,
    PrecomputedFeatures,
    RidgeDecoder,
    StimulusKFold,
    benchmark,
    check_leakage,
    compare_estimators,
    generate_methods_text,
    make_masked_encoder,
    mean_and_sem,
    read_results,
    retrieval_scores,
    score_similarities,
    summarize,
)
from sk_b2s._utils._json_lines import JsonLinesFile
from sk_b2s._utils._monitoring import monitor_warnings
from sk_b2s.evaluation._results._progress import format_progress_time_left

POOLED = ridge(alphas=(1.0,), per_subject=False)


class Wavering(RidgeDecoder):
    """A ridge with a warning that it did not converge."""

    def fit(self, X, y):
        for _ in range(2):
            warnings.warn("no end in sight", ConvergenceWarning, stacklevel=2)
        return super().fit(X, y)


class Jittered(RidgeDecoder):
    """A ridge whose coefficients are drawn about the true ones."""

    def __init__(self, speech=None, lags=(0, 0), alphas=(1.0,), random_state=None):
        super().__init__(speech=speech, lags=lags, alphas=alphas)
        self.random_state = random_state

    def fit(self, X, y):
        super().fit(X, y)
        noise = check_random_state(self.random_state).normal(0, self.coef_.std(), self.coef_.shape)
        self.coef_ = (self.coef_ + noise).astype(np.float32)
        return self


def speech():
    return make_pipeline(PrecomputedFeatures(), FeatureScaler())


# --- where it runs -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_benchmark_is_equal_on_dask(tmp_path):
    dask = pytest.importorskip("dask", reason="the cluster is one of dask's")
    distributed = pytest.importorskip("distributed", reason="the cluster is one of dask's")
    X, y = people(n_recordings=2, n=60)
    arguments = {
        "estimators": {"one": ONE, "pooled": POOLED}, "X": X, "y": y, "cv": StimulusKFold(2),
        "controls": ["shifted_labels"], "n_candidates": 30, **FAST,
    }  # fmt: skip
    here = benchmark(path=tmp_path / "here.jsonl", **arguments)
    # A thread takes no seconds to start. Its data is sent as to a process, and it would pause beyond its share of the
    # memory of the machine, in which the other tests are.
    thread = {"processes": False, "protocol": "tcp://", "memory_limit": 0}
    patience = 600  # s, which only a failure needs
    waits = {f"distributed.comm.timeouts.{name}": f"{patience}s" for name in ("connect", "tcp")}
    with (
        dask.config.set(waits),
        distributed.LocalCluster(1, threads_per_worker=1, dashboard_address=None, **thread) as cluster,
        distributed.Client(cluster, timeout=patience),
        joblib.parallel_config("dask", scatter=[X], wait_for_workers_timeout=patience),
    ):
        same(benchmark(path=tmp_path / "there.jsonl", **arguments), here)
        again = benchmark(path=tmp_path / "there.jsonl", **arguments)
    pd.testing.assert_frame_equal(again, read_results(tmp_path / "there.jsonl"))  # nothing was done again
    same(read_results(tmp_path), here)


@pytest.mark.slow
def test_benchmark_of_network_is_reproducible():
    X, y = people(n_recordings=2, n=60, together=2)
    arguments = {
        "X": X,
        "y": y,
        "cv": StimulusKFold(2),
        "controls": ["phase_randomized"],
        "n_candidates": 30,
        **FAST,
    }
    encoder = tiny_encoder().set_params(random_state=None, max_epochs=3)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = benchmark(encoder, **arguments)
        same(benchmark(encoder, **arguments), alone)
    finally:
        torch.set_num_threads(before)
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        same(benchmark(encoder, n_jobs=2, **arguments), alone)


@pytest.mark.slow
def test_benchmark_is_equal_with_processes(done, tmp_path):
    """The processes of the test above are used again."""
    arguments, results, _ = done
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        same(benchmark(n_jobs=2, path=tmp_path / "r.jsonl", **arguments), results)
    same(read_results(tmp_path / "r.jsonl"), results)


def test_benchmark_seeds_searches(tmp_path):
    X, y = people(n_recordings=2, n=60, together=2)
    search = GridSearchCV(
        make_pipeline(Power(), Jittered(speech())), {"jittered__alphas": [(1.0,), (100.0,)]},
        scoring=retrieval_scores, refit="top_k", cv=StimulusKFold(2),
    )  # fmt: skip
    arguments = {
        "X": X,
        "y": y,
        "cv": StimulusKFold(2),
        "controls": False,
        "seeds": (0, 1),
        "n_candidates": 30,
    }
    first = benchmark({"search": search}, path=tmp_path / "r.jsonl", **arguments, **FAST)
    own = search.set_params(estimator__jittered__random_state=np.random.RandomState(3))
    second = benchmark({"search": own}, **arguments, **FAST)
    same(second, first)  # whatever it was
    assert list(second["key"]) == list(first["key"])
    drawn = first.set_index(["seed", "fold", "subject", "pool"])["match_mismatch"]
    assert not np.allclose(drawn.loc[0], drawn.loc[1])
    assert isinstance(search.get_params()["estimator__jittered__random_state"], np.random.RandomState)


# --- reports -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_benchmark_stores_and_prints_warnings(n_jobs, tmp_path, capsys):
    X, y = people(n_recordings=2, n=60, together=2)
    arguments = {"cv": StimulusKFold(2), "controls": False, "n_candidates": 30, "n_shifts": 50}
    estimators = {"one": ONE, "wavering": Wavering(**ONE.get_params(deep=False))}
    expected = pytest.warns(UserWarning, match="2 of 4 fits gave warnings. .* ConvergenceWarning: no end")
    with expected, joblib.parallel_config("threading", n_jobs=n_jobs):
        results = benchmark(estimators, X, y, path=tmp_path / "r.jsonl", **arguments)
    said = results.groupby("estimator")["warnings"].unique()
    assert said["one"].tolist() == [""]
    assert said["wavering"].tolist() == ["ConvergenceWarning: no end in sight"]
    assert read_results(tmp_path / "r.jsonl")["warnings"].equals(results["warnings"])
    printed = capsys.readouterr()
    assert printed.out.count("warned: ConvergenceWarning: no end in sight") == 2
    assert "no end in sight" not in printed.err


def test_monitor_warnings_separates_threads():
    gate, kept = threading.Barrier(2), {}

    def work(name):
        with monitor_warnings() as heard:
            gate.wait()
            for text in (name, name, "both"):
                warnings.warn(text, UserWarning, stacklevel=1)
            gate.wait()
        kept[name] = heard

    before = (
        warnings.filters[:],
        warnings.showwarning,
        warnings._showwarnmsg,
        vars(warnings.catch_warnings).copy(),
    )
    threads = [threading.Thread(target=work, args=[name]) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept == {name: [f"UserWarning: {name}", "UserWarning: both"] for name in "ab"}
    after = (
        warnings.filters,
        warnings.showwarning,
        warnings._showwarnmsg,
        vars(warnings.catch_warnings).copy(),
    )
    assert after == before
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        with monitor_warnings() as heard:
            warnings.warn("ignored", RuntimeWarning, stacklevel=1)
            with monitor_warnings() as within:
                warnings.warn("within", UserWarning, stacklevel=1)
            with pytest.raises(FutureWarning):
                warnings.warn("raised", FutureWarning, stacklevel=1)
        assert (heard, within) == ([], ["UserWarning: within"])


def test_monitor_warnings_separates_recording_threads():
    gate, kept = threading.Barrier(2), {}

    def recording():
        with monitor_warnings() as heard:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                gate.wait()  # the other thread warns now
                gate.wait()
                warnings.warn("recorded", UserWarning, stacklevel=1)
            for one in caught:
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        kept["recording"] = heard

    def other():
        with monitor_warnings() as heard:
            gate.wait()
            warnings.warn("other", UserWarning, stacklevel=1)
            gate.wait()
        kept["other"] = heard

    threads = [threading.Thread(target=work) for work in (recording, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept == {"recording": ["UserWarning: recorded"], "other": ["UserWarning: other"]}


def test_benchmark_prints_progress(tmp_path, capsys):
    X, y = people(n_recordings=2, n=60, together=2)
    arguments = {"cv": StimulusKFold(3), "controls": ["phase_randomized"], "n_candidates": 30, "n_shifts": 50}
    benchmark({"one": ONE}, X, y, path=tmp_path / "r.jsonl", only=1, **arguments)
    benchmark({"one": ONE}, X, y, path=tmp_path / "r.jsonl", **arguments)
    lines = capsys.readouterr().out.splitlines()
    counts = [re.match(r"\[(\d+)/(\d+)\] one", line) for line in lines]
    counts = [tuple(map(int, count.groups())) for count in counts if count]
    assert counts == [(1, 2), (2, 2), (3, 6), (4, 6), (5, 6), (6, 6)]
    assert lines[3].startswith("6 fits, 2 of them finished before: 1 estimator and its controls on 3 folds")
    assert [("left" in line) for line in lines[4:]] == [True, True, True, False]
    assert format_progress_time_left(0) == ""
    assert [format_progress_time_left(s)[8:] for s in (0.2, 80, 100, 5000, 6000)] == [
        "1 s left", "80 s left", "2 min left", "83 min left", "2 h left",
    ]  # fmt: skip


def test_benchmark_reports_leakage_of_folds():
    X, y = people(n_recordings=2, n=60, together=2)
    cv = StimulusKFold(2)
    results = benchmark(ONE, X, y, cv, controls=False, n_candidates=None, **FAST).set_index("fold")
    assert set(results["cv"]) == {
        "StimulusKFold(gap=1.0, n_splits=2, random_state=None) (the stimulus of a test row is not in training, "
        "with a gap of 1.0 s; its subject may be)"
    }
    checked, summary = check_leakage(X, y, cv), cv.summary(X, y)
    for stored, name in (
        ("leakage", "verdict_text"),
        ("leakage_verdict", "verdict"),
        ("leakage_sources", "leak_sources"),
    ):
        assert results[stored].equals(checked[name].loc[results.index].rename(stored))
    np.testing.assert_allclose(results["train_seconds"], summary["train_seconds"].loc[results.index])
    assert (results["n_train_overlap"] == 0).all()
    alone = benchmark(ONE, X, y, cv, controls=False, n_candidates=None, only=1, **FAST).iloc[0]
    assert alone["leakage"] == checked.loc[1, "verdict_text"]
    # Given rows have no splitter, and masks are accepted.
    masks = [tuple(np.isin(np.arange(len(X)), side) for side in pair) for pair in cv.split(X, y)]
    plain = benchmark(ONE, X, y, masks, controls=False, n_candidates=None, **FAST).set_index("fold")
    assert plain["cv"].isna().all()
    pd.testing.assert_series_equal(plain["n_train"], results["n_train"])
    pd.testing.assert_series_equal(plain["top_k"], results["top_k"])


def test_benchmark_detects_text_in_other_voice():
    X, y = people(n_recordings=2, n=60, together=2)
    y["block"] = np.tile(y["block"][:60], 2)  # both stimuli have the same text
    which = X.rows["recording"].to_numpy() == "r0"
    folds = [(np.flatnonzero(which), np.flatnonzero(~which))]
    results = benchmark(POOLED, X, y, folds, controls=False, **FAST)
    assert set(results["verdict"]) == {"leak"}
    assert set(results["leak_sources"]) == set(results["leakage_sources"]) == {"text of training"}
    assert (results["n_train_overlap"] == 0).all()


def test_benchmark_names_pretraining():
    X, y = people(n_recordings=2, n=60)
    rows = [np.flatnonzero(X.rows["subject"] == name) for name in ("s0", "s1")]
    encoder = tiny_encoder().set_params(max_epochs=1)
    masked = make_masked_encoder(encoder, max_epochs=1, batch_size=32).fit(X[rows[1][:30]])
    encoders = {"scratch": encoder, "pretrained": clone(encoder).set_params(init=masked)}
    found = benchmark(
        encoders, X, y, [tuple(rows), tuple(rows[::-1])], controls=False, n_candidates=None, **FAST
    )
    steps = found.set_index(["estimator", "fold"])["transductive_steps"]
    assert steps["pretrained", 0] == "MaskedEncoder (test windows), MaskedEncoder (unseen subjects)"
    assert (steps.drop([("pretrained", 0)]) == "").all()


# --- in the hands of the statistics ------------------------------------------------------------------


def test_benchmark_of_arrays_has_no_null():
    rng = np.random.default_rng(0)
    brain = rng.standard_normal((120, 6, 24)).astype("f4")
    heard = brain[:, :4, ::2] + rng.standard_normal((120, 4, 12)).astype("f4")
    decoder = RidgeDecoder(lags=(0, 0), alphas=(1.0,), sfreq=8)
    results = benchmark(decoder, brain, heard, KFold(3), controls=False, n_candidates=30, **FAST)
    assert set(results["verdict"]) == {"no_null"}
    assert (results["top_k"] > 2 * results["chance"]).all()
    assert results["leakage"].str.startswith("not checked: X does not have recording").all()
    assert "KFold(n_splits=3" in generate_methods_text(results)


def test_benchmark_table_works_with_statistics(tmp_path):
    X, y = people(n_recordings=4, n=60)
    estimators = {"sharp": POOLED, "blunt": ridge(alphas=(1.0,), n_components=1, per_subject=False)}
    cv = LeaveOneSubjectOut(stimulus_folds=1)
    done = benchmark(
        estimators, X, y, cv, tmp_path / "r.jsonl", (0, 1), ["phase_randomized"], n_candidates=20, **FAST
    )
    for results in (done, read_results(tmp_path / "r.jsonl")):
        summary = summarize(results).set_index(["estimator", "control", "condition", "pool"])
        for score in ("top_10", "match_mismatch"):
            means = mean_and_sem(results[results["pool"] == "all"], score)
            for name, row in means.iterrows():
                assert row["mean"] == pytest.approx(summary.loc[name, score])
                assert row["sem"] == pytest.approx(summary.loc[name, f"{score}_sem"])
        row = compare_estimators(results, "blunt").iloc[0]
        assert (row["n_subjects"], row["smallest_p"]) == (4, 2 / 2**4)
        by = summary.xs("decoder", level="control").xs("all", level="pool")["top_10"].droplevel("condition")
        assert row["mean_difference"] == pytest.approx(by["sharp"] - by["blunt"])
        text = generate_methods_text(results)
        for part in (
            "tested in 4 subjects", "on 240 windows (60 of each subject), in 4 folds, each of which tested one subject (neither the subject nor the",
            "with 2 random seeds", "No test window contained a stimulus of the training windows", "phase-randomized",
            "mean ± s.e.m. over subjects", "sharp: top-10 accuracy", "blunt: top-10 accuracy", "sk_b2s 0",
        ):  # fmt: skip
            assert part in text, part
        assert "does not tell" not in text


@pytest.mark.slow
def test_summarize_false_positive_rate():
    rng, n, wrong = np.random.default_rng(5), 120, {"row": [], "summary": []}
    table = pd.DataFrame({
        "subject": np.repeat(["a", "b"], n // 2), "recording": np.repeat(["a", "b"], n // 2),
        "onset": np.tile(np.arange(n // 2) * 1.0, 2), "duration": 3.0, "segment": np.arange(n),
    })  # fmt: skip
    for _ in range(30):
        brain = rng.standard_normal((n + 2, 20))
        window = brain[:-2] + brain[1:-1] + brain[2:]  # neighbors overlap
        speech = rng.standard_normal((n, 20)) * rng.gamma(1, 1, (n, 1))  # some are preferred by all
        results = score_similarities(window @ speech.T, table, n_shifts=200, n_candidates=None)
        wrong["row"] += list(results["verdict"] == "above_null")
        wrong["summary"] += list(summarize(results)["verdict"] == "above_null")
    # Of 60 rows and 30 summaries 2.5 % are meant; 1 in 1000 times it would be more than this.
    assert sum(wrong["row"]) <= 6
    assert sum(wrong["summary"]) <= 4


class Interrupt(Callback):
    """Ctrl-C in the first epoch."""

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            raise KeyboardInterrupt


def test_benchmark_stops_at_interruption(tmp_path):
    X, y = people(n_recordings=2, n=40, together=2)
    decoder = tiny_encoder().set_params(callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        benchmark(
            {"network": decoder}, X, y, StimulusKFold(2), path=tmp_path / "results.jsonl", controls=False,
            n_candidates=None, k=2, **FAST,
        )  # fmt: skip
    assert not JsonLinesFile(tmp_path / "results.jsonl").lines()
