"""Results files of a benchmark."""

import os
import signal
from pathlib import Path

import joblib
import pandas as pd
import pytest
from helpers.decoders import FAST, ONE, Counting, counting, people, ridge, same
from helpers.processes import run_in_processes
from sklearn.exceptions import FitFailedWarning

from sk_b2s import (
    RidgeDecoder,
    StimulusKFold,
    benchmark,
    read_results,
    summarize,
)
from sk_b2s._utils._json_lines import JsonLinesLock
from sk_b2s.evaluation._results import _fits


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


POINTS = ("fit", "score", "write", "truncate", "release")  # where a process ends


def end_process(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def end_at(point):
    """Let this process end at a point of its second fit."""
    write, n_calls, n_lines = os.write, [0], [0]

    def end_after(function):
        def call(*args):
            result = function(*args)
            n_calls[0] += 1
            return result if n_calls[0] < 2 else end_process()

        return call

    def write_half(file, content):
        write(file, content[: len(content) // 2])
        end_process()

    def write_line(claim, line):
        n_lines[0] += 1
        if n_lines[0] == 2 and point == "write":
            end_process()
        if n_lines[0] == 2 and point == "truncate":
            os.write = write_half
        store(claim, line)
        if n_lines[0] == 2:
            end_process()

    if point == "fit":
        RidgeDecoder.fit = end_after(RidgeDecoder.fit)  # no other class, whose code is a part of the keys
    elif point == "score":
        _fits._score_fit = end_after(_fits._score_fit)
    else:
        store, JsonLinesLock.write = JsonLinesLock.write, write_line


def fork(path, point=None):
    """Run in another process, which may end early: its id."""
    child = os.fork()
    if not child:
        status = 1
        try:
            if point is not None:
                end_at(point)
            run_two(path)
            status = 0
        finally:
            os._exit(status)
    return child


def interrupt_and_share(folder):
    """Interrupt a benchmark at each point, and run one in three processes.

    The points are places in the code, so that they depend neither on the speed
    nor on the load of the machine.
    """
    log, path = Path(os.environ["FITS"]), folder / "interrupted.jsonl"
    for number, point in enumerate(POINTS, 1):
        assert os.WTERMSIG(os.waitpid(fork(path, point), 0)[1]) == signal.SIGKILL
        assert count_fits(log) == 2 * number
    assert os.waitpid(fork(path), 0)[1] == 0
    assert count_fits(log) == 12 + len(POINTS) - 1  # all but the last point lose a fit
    log.write_text("")
    children = [fork(folder / "shared.jsonl") for _ in range(3)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
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
    with pytest.warns(UserWarning, match="an invalid line was skipped"):
        same(read_results(interrupted), expected)
    same(run_two(interrupted), expected)
    same(read_results(shared), expected)
    same(read_results([whole, shared, interrupted]), expected)
    assert fits() == 24
