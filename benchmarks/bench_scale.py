"""Memory, messages and time of a large study on dask, by its size.

Run as ``python benchmarks/bench_scale.py``. Recordings are random numbers in
memory-mapped files, and all subjects listen to the same stimuli. Each fold of
a cross-validation is one task of a dask cluster on this machine. Every size
has a new cluster. The slopes of all quantities over subjects and hours are
those of a straight line in logarithms: 1 is proportional, 2 is the square.
The last table extrapolates the largest size to 100 subjects of two hours.

- memory: the largest peak of a worker in a task, without libraries and without
  pages of the files, which all workers share
- data: what the client sends to the cluster
- seconds: processor time of all tasks, and wall time of the run
"""

import argparse
import asyncio
import pickle
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from _machine import MIB, held_mib, machine, markdown, peak_mib, reset_peak
from distributed import Client, LocalCluster
from distributed.comm.tcp import TCP
from sklearn.exceptions import ConvergenceWarning

from sk_b2s.decoding import RidgeDecoder
from sk_b2s.preprocessing import Windows
from sk_b2s.preprocessing._windows._signals import Signal

SFREQ, N_CHANNELS, N_FEATURES, SECONDS, STEP, N_FOLDS = 50, 64, 20, 3.0, 2.0, 4
BLOCK = 60.0  # seconds
SUBJECTS, HOURS, WORKERS = (2, 4, 8, 16), (0.1, 0.2, 0.4), (1, 2)
PAPER = 100, 2.0
QUANTITIES = ("signals MiB", "table MiB", "memory MiB", "data MiB", "messages", "fit s", "score s", "wall s")


def read(path):
    """Return the samples of a file without reading them."""
    return np.load(path, mmap_mode="r")


def make_study(folder, n_subjects, hours):
    """Write random recordings and stimuli, and return windows of both."""
    rng, n_samples = np.random.default_rng(0), int(hours * 3600 * SFREQ)
    signals = []
    for name, n_columns in [*((f"{i}", N_CHANNELS) for i in range(n_subjects)), ("speech", N_FEATURES)]:
        path = Path(folder) / f"{name}.npy"
        np.save(path, rng.standard_normal((n_samples, n_columns), dtype=np.float32))
        signals.append(Signal(partial(read, path), (n_samples, n_columns)))
    *brain, speech = signals
    start = np.arange(0, n_samples - int(SECONDS * SFREQ), int(STEP * SFREQ))
    which, starts = np.repeat(np.arange(n_subjects), len(start)), np.tile(start, n_subjects)
    subject = np.array([f"subject {i:03}" for i in range(n_subjects)])[which]
    block = (starts / SFREQ // BLOCK).astype(int)
    rows = pd.DataFrame({"subject": subject, "recording": subject, "segment": starts, "block": block})
    n_times = int(SECONDS * SFREQ)
    return (
        Windows(brain, which, starts, n_times, SFREQ, rows=rows[["subject", "recording"]]),
        Windows([speech], np.zeros_like(which), starts, n_times, SFREQ, rows=rows[["segment", "block"]]),
        block,
    )


def run_fold(decoder, X, y, block, fold):
    """Fit on the blocks of other folds, and score. One task."""
    held, train, pages = held_mib(), block % N_FOLDS != fold, count_file_mib()
    reset_peak()
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # random numbers
        decoder.fit(X[train], y[train])
    fitted = time.process_time()
    decoder.score(X[~train], y[~train])
    scored = time.process_time()
    own = peak_mib() - held - (count_file_mib() - pages)
    return {"fit s": fitted - began, "score s": scored - fitted, "memory MiB": own}


def count_file_mib():
    """Return the pages of files in memory, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssFile"))


class Traffic:
    """Count the messages that this process sends, and their bytes."""

    def __init__(self):
        self.n_messages = self.n_bytes = 0
        write = TCP.write

        async def count(comm, *args, **kwargs):
            n_bytes = await write(comm, *args, **kwargs)
            self.n_messages, self.n_bytes = self.n_messages + 1, self.n_bytes + (n_bytes or 0)
            return n_bytes

        assert asyncio.iscoroutinefunction(write)
        TCP.write = count


def measure(traffic, n_subjects, hours, n_workers):
    """Run all folds of a study on a new cluster: dict of numbers."""
    with tempfile.TemporaryDirectory() as folder:
        X, y, block = make_study(folder, n_subjects, hours)
        decoder = RidgeDecoder(lags=(0, 0.2), n_components=16, alphas=(1e2, 1e4), k=10)
        with (
            LocalCluster(n_workers, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            client.run(RidgeDecoder)  # imports
            before, began = (traffic.n_messages, traffic.n_bytes), time.perf_counter()
            with joblib.parallel_config("dask", scatter=[X, y, block]):
                rows = joblib.Parallel()(
                    joblib.delayed(run_fold)(decoder, X, y, block, fold) for fold in range(N_FOLDS)
                )
            wall = time.perf_counter() - began
            n_messages, n_bytes = traffic.n_messages - before[0], traffic.n_bytes - before[1]
    return {
        "subjects": n_subjects,
        "hours": hours,
        "workers": n_workers,
        "windows": len(X),
        "signals MiB": sum(4 * np.prod(signal.shape) for signal in X.signals) / MIB,
        "table MiB": len(pickle.dumps(X)) / MIB,
        "memory MiB": max(row["memory MiB"] for row in rows),
        "data MiB": n_bytes / MIB,
        "messages": n_messages,
        "fit s": sum(row["fit s"] for row in rows),
        "score s": sum(row["score s"] for row in rows),
        "wall s": wall,
    }


def fit_slope(sizes, values):
    """Return the slope of a straight line through logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def show(rows):
    """Print a table of all numbers."""
    columns = ["subjects", "hours", "workers", "windows", *QUANTITIES]
    print(
        markdown(
            columns,
            [[f"{row[c]:,.4g}" if isinstance(row[c], float) else row[c] for c in columns] for row in rows],
        )
    )


def main():
    """Measure all sizes, fit slopes and extrapolate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, nargs="+", default=SUBJECTS)
    parser.add_argument("--hours", type=float, nargs="+", default=HOURS)
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    args = parser.parse_args()
    traffic, few, short = Traffic(), args.subjects[1], args.hours[0]
    print(f"{machine()}\n{N_CHANNELS} channels, {SFREQ} Hz, {N_FOLDS} tasks of a RidgeDecoder\n")
    sizes = [
        *((n, short, args.workers[-1]) for n in args.subjects),
        *((few, hours, args.workers[-1]) for hours in args.hours),
        *((args.subjects[-1], short, n) for n in args.workers),
    ]
    rows = {size: measure(traffic, *size) for size in dict.fromkeys(sizes)}
    by_subjects = [rows[size] for size in sizes[: len(args.subjects)]]
    by_hours = [rows[size] for size in sizes[len(args.subjects) :][: len(args.hours)]]
    show(rows.values())
    print("\nSlopes over logarithms of size\n")
    slopes = {
        "subjects": [fit_slope(args.subjects, [row[name] for row in by_subjects]) for name in QUANTITIES],
        "hours": [fit_slope(args.hours, [row[name] for row in by_hours]) for name in QUANTITIES],
    }
    print(markdown(["over", *QUANTITIES], [[k, *(f"{v:.2f}" for v in line)] for k, line in slopes.items()]))
    print(
        f"\nOn paper: {PAPER[0]} subjects of {PAPER[1]:g} hours, by these slopes and by slopes of at least 1\n"
    )
    last, paper = by_subjects[-1], []
    for name, least in (("slopes", 0), ("at least 1", 1)):
        factors = [
            (PAPER[0] / last["subjects"]) ** max(a, least) * (PAPER[1] / last["hours"]) ** max(b, least)
            for a, b in zip(*slopes.values(), strict=True)
        ]
        paper.append(
            [name, *(f"{last[q] * factor:,.3g}" for q, factor in zip(QUANTITIES, factors, strict=True))]
        )
    print(markdown(["by", *QUANTITIES], paper))


if __name__ == "__main__":
    main()
