"""Results files of a benchmark."""

import os
import signal
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from helpers.decoders import FAST, ONE, Counting, counting, people, ridge, same
from helpers.processes import run_in_processes
from sklearn.exceptions import FitFailedWarning

from sk_b2s import (
    StimulusKFold,
    benchmark,
    read_results,
    summarize,
)


def test_benchmark_reuses_stored_fits(done, fits, tmp_path):
    arguments, results, path = done
    same(read_results(path), results)
    same(benchmark(path=path, **arguments), results)
    arguments = {**arguments, "estimators": {"one": counting()}}
    first = benchmark(path=tmp_path / "r.jsonl", **arguments)
    assert fits() == 9
    same(benchmark(path=tmp_path / "r.jsonl", **arguments), first)
    assert fits() == 9


def test_benchmark_repeats_truncated_line(fits, tmp_path):
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
        assert fits() - before == (cut > 1)  # the line break alone does not matter
        same(read_results(path), first)


def test_read_results_refuses_changed_parameters(done, tmp_path):
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


def test_read_results_joins_files_of_jobs(done, tmp_path):
    arguments, results, _ = done
    for fold in range(3):
        alone = benchmark(path=tmp_path / f"{fold}.jsonl", only=fold, **arguments)
        assert set(alone["fold"]) == {fold}
    benchmark(path=tmp_path / "again.jsonl", only=("one", 1), **arguments)  # an exact duplicate
    same(read_results(tmp_path), results)
    same(read_results([tmp_path / f"{fold}.jsonl" for fold in (2, 0, 1)]), results)


def test_benchmark_repeats_failed_fit(fits, tmp_path, monkeypatch):
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


def test_benchmark_is_equal_with_threads(done):
    arguments, results, _ = done
    with joblib.parallel_config("threading"):
        same(benchmark(n_jobs=2, **arguments), results)


def run_two(path):
    """Run two estimators with their controls on two folds: 12 fits."""
    X, y = people(n_recordings=4, n=40, together=2)
    estimators = {"one": counting(), "ten": counting(alphas=(10.0,))}
    return benchmark(estimators, X, y, StimulusKFold(2), path, n_candidates=30, **FAST)


def fork(path):
    """Run in another process: its id."""
    child = os.fork()
    if not child:
        status = 1
        try:
            run_two(path)
            status = 0
        finally:
            os._exit(status)
    return child


def interrupt_and_share(folder):
    """Interrupt a benchmark eight times, and run one in three processes.

    Times are counted in fits and not in seconds, so that they do not depend on
    the load of the machine.
    """
    log = Path(os.environ["FITS"])
    random, path, interruptions = np.random.default_rng(3), folder / "interrupted.jsonl", 0
    for _ in range(8):
        child, enough = fork(path), min(count_fits(log) + random.integers(3), 12)
        while count_fits(log) < enough:
            time.sleep(0.005)
        time.sleep(random.uniform(0.0, 0.05))  # in the fit, the score or the writing
        os.kill(child, signal.SIGKILL)
        interruptions += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert interruptions >= 4
    assert path.stat().st_size > 0
    assert os.waitpid(fork(path), 0)[1] == 0
    assert 12 <= count_fits(log) <= 12 + interruptions
    log.write_text("")
    children = [fork(folder / "shared.jsonl") for _ in range(3)]
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    assert count_fits(log) == 12


def count_fits(log):
    return len(log.read_text().split())


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="requires os.fork")
def test_benchmark_survives_interruptions_and_sharing(fits, tmp_path):
    run_in_processes(interrupt_and_share, [tmp_path])
    interrupted, shared, whole = (tmp_path / f"{name}.jsonl" for name in ("interrupted", "shared", "whole"))
    expected = run_two(whole)
    assert fits() == 24
    same(read_results(interrupted), expected)
    same(run_two(interrupted), expected)
    same(read_results(shared), expected)
    same(read_results([whole, shared, interrupted]), expected)
    assert fits() == 24
