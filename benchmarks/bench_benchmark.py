"""Cost of `benchmark` by folds and workers, and resuming after interruption.

Run as ``python benchmarks/bench_benchmark.py``. The decoder is ridge with two
controls on two simulated subjects. Each size of the first table runs in a
process of its own, and memory and time of all its processes are measured:
shared memory counts once (PSS), and times are wall time and processor time.
For the second table a run is interrupted by ``kill -9`` at random moments and
resumed, and its table is compared with that of an uninterrupted run. Both need
Linux.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch
from _machine import machine, markdown
from sklearn.pipeline import Pipeline, make_pipeline

from sk_b2s import (
    Epocher,
    FeatureScaler,
    MelSpectrogram,
    RidgeDecoder,
    RobustChannelScaler,
    StimulusKFold,
    benchmark,
    make_segments,
    read_results,
)
from sk_b2s._utils._json_lines import JsonLinesFile
from sk_b2s.datasets import make_listening
from sk_b2s.evaluation._results._table import COST

PEOPLE, MINUTES = 2, 4
FOLDS, WORKERS = (2, 4, 8), (1, 2)
KILLS, FOLDS_KILLED = 20, 3


def arguments_of(folder, n_folds):
    """Return the arguments of the benchmark."""
    events = make_listening(PEOPLE, MINUTES, modality="eeg", n_channels=16, root=folder)
    X, y = make_segments(events, tmin=-0.5, tmax=2.5)
    speech = make_pipeline(MelSpectrogram(n_mels=40, sfreq=25, memory=folder / "cache"), FeatureScaler())
    ridge = Pipeline([
        ("epochs", Epocher(sfreq=50, lag=0.15, memory=folder / "cache")),
        ("scale", RobustChannelScaler(clip=20)),
        ("decoder", RidgeDecoder(speech=speech, lags=(-0.15, 0.35), n_components=16)),
    ])  # fmt: skip
    controls = ["phase_randomized", "shifted_labels"]
    return {
        "estimators": {"ridge": ridge},
        "X": X,
        "y": y,
        "cv": StimulusKFold(n_folds),
        "controls": controls,
    }


# --- cost --------------------------------------------------------------------------------------------


class Family(threading.Thread):
    """Monitor peak memory (MiB) and processor time of a process tree."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most, self.seconds, self.over = 0.0, {}, threading.Event()

    def run(self):
        """Measure ten times per second."""
        while not self.over.wait(0.1):
            together = 0.0
            for pid in family(os.getpid()):
                try:
                    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                    stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                except OSError:  # the process has ended
                    continue
                together += next(int(line.split()[1]) for line in rollup.splitlines() if line[:4] == "Pss:")
                self.seconds[pid] = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
            self.most = max(self.most, together / 1024)


def family(pid):
    """Yield a process and its descendants."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = path.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from family(int(child))


def measure(folder, n_folds, n_jobs):
    """Run once and return time and memory."""
    arguments = arguments_of(folder, n_folds)
    path = folder / f"{n_folds} folds, {n_jobs} workers.jsonl"
    path.unlink(missing_ok=True)
    watch, began = Family(), time.perf_counter()
    watch.start()
    results = benchmark(path=path, n_jobs=n_jobs, verbose=0, **arguments)
    seconds = time.perf_counter() - began
    watch.over.set()
    watch.join()
    return {
        "fits": results["key"].nunique(), "seconds": seconds, "processor": sum(watch.seconds.values()),
        "together": watch.most, "one": results["peak_memory_mb"].max(), "file": path.stat().st_size / 1024,
    }  # fmt: skip


def in_own_process(folder, n_folds, n_jobs):
    """Measure in a new interpreter."""
    command = [sys.executable, __file__, "--folder", str(folder), "--one", str(n_folds), str(n_jobs)]
    one = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=one)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def table_of_cost(folder):
    """Print time and memory of all sizes."""
    rows = []
    for n_folds in FOLDS:
        for n_jobs in WORKERS:
            row = in_own_process(folder, n_folds, n_jobs)
            alone = read_results(folder / f"{n_folds} folds, {WORKERS[0]} workers.jsonl")
            here = read_results(folder / f"{n_folds} folds, {n_jobs} workers.jsonl")
            rows.append([
                n_folds, n_jobs, row["fits"], f"{row['seconds']:.1f}", f"{row['processor']:.1f}",
                f"{row['processor'] / row['fits']:.2f}", f"{row['together']:,.0f}", f"{row['one']:,.0f}",
                f"{row['file']:,.0f}", "yes" if equal(here, alone) else "NO",
            ])  # fmt: skip
            print(*rows[-1], file=sys.stderr, flush=True)
    columns = [
        "folds", "workers", "fits", "clock (s)", "processors (s)", "processors (s a fit)", "peak, all together (MiB)",
        "peak, one process (MiB)", "file (KiB)", "table of one worker",
    ]  # fmt: skip
    print(markdown(columns, rows))


def equal(a, b):
    """Return whether two tables are equal except for their cost."""
    return a.drop(columns=list(COST)).equals(b.drop(columns=list(COST)))


# --- interruption ----------------------------------------------------------------------------------


def fork(path, arguments):
    """Run in a forked process and return its id."""
    child = os.fork()
    if not child:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            benchmark(path=path, verbose=0, **arguments)
        os._exit(0)
    return child


def table_of_kills(folder, seed):
    """Interrupt and resume runs at random moments and print the outcome."""
    random.seed(seed)
    torch.set_num_threads(1)  # no computation before, because a fork loses threads
    arguments = arguments_of(folder, FOLDS_KILLED)
    for path in folder.glob("killed*.jsonl"):
        path.unlink()
    (folder / "whole.jsonl").unlink(missing_ok=True)
    began = time.perf_counter()
    assert os.waitpid(fork(folder / "whole.jsonl", arguments), 0)[1] == 0
    seconds, rows, kills = time.perf_counter() - began, [], 0
    whole = read_results(folder / "whole.jsonl")
    while kills < KILLS:
        path, hits = folder / f"killed {len(rows)}.jsonl", []
        while kills + len(hits) < KILLS:
            child, moment = fork(path, arguments), random.uniform(0, seconds / 4)
            time.sleep(moment)
            os.kill(child, signal.SIGKILL)
            if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
                break  # the run had finished
            hits.append(moment)
        assert os.waitpid(fork(path, arguments), 0)[1] == 0
        kills += len(hits)
        written = [line for line in path.read_bytes().split(b"\n") if line]
        whole_lines = JsonLinesFile(path).lines()
        rows.append([
            len(rows) + 1, len(hits), " ".join(f"{moment:.1f}" for moment in hits), whole["key"].nunique(),
            len(whole_lines), len(written) - len(whole_lines), "yes" if equal(read_results(path), whole) else "NO",
        ])  # fmt: skip
        print(*rows[-1], file=sys.stderr, flush=True)
    print(f"An uninterrupted run took {seconds:.1f} s.\n")
    columns = [
        "run", "kills", "after (s)", "fits asked", "fits written", "torn lines", "table of the undisturbed run",
    ]  # fmt: skip
    print(markdown(columns, rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, default=Path("bench_benchmark"), help="folder of recordings (0.1 GB)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    parser.add_argument("--one", type=int, nargs=2, metavar=("FOLDS", "WORKERS"), help="measure this here")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    folder = given.folder.absolute()
    if given.one is not None:
        print(json.dumps(measure(folder, *given.one)))
    else:
        in_own_process(folder, FOLDS[0], 1)  # write recordings and caches
        print(f"{machine()}\n{PEOPLE} subjects, {MINUTES} minutes each, one thread per fit\n")
        table_of_cost(folder)
        print()
        table_of_kills(folder, given.seed)
