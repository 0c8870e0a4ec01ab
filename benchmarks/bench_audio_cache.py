"""Audio that a benchmark without ``memory`` decodes, and its seconds.

``python benchmarks/bench_audio_cache.py`` runs a task with all folds
twice in one process: without and with the features that the process
keeps in memory. It counts the audio files that were decoded for features.
"""

import argparse
import time
import warnings
from tempfile import TemporaryDirectory

from _machine import machine, markdown

from sk_b2s import benchmark_task, make_decoders
from sk_b2s._utils import _caching
from sk_b2s.datasets import make_listening
from sk_b2s.features import _read_audio


def run(task, decoders, data, n_bytes):
    """Run a task with a limit of features in memory: seconds and decodings."""
    _caching._RESULTS = _caching.CacheInMemory(n_bytes)
    count, read = [], _read_audio.read_track_samples

    def read_counted(*args, **kwargs):
        count.append(args[0])
        return read(*args, **kwargs)

    _read_audio.read_track_samples = read_counted
    start = time.perf_counter(), time.process_time()
    try:
        results = benchmark_task(task, make_decoders(decoders), data, controls=False, n_shifts=0, verbose=0)
    finally:
        _read_audio.read_track_samples = read
    wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    n_fits = len(results.drop_duplicates(["estimator", "control", "fold"]))
    return [
        f"{n_bytes / 2**20:.0f}",
        n_fits,
        len(count),
        len(set(count)),
        f"{wall:.1f}",
        f"{cpu:.1f}",
    ], results


def main():
    """Simulate, run twice and print the numbers of decodings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="reconstruction")
    parser.add_argument("--decoders", nargs="*", default=["ridge"])
    parser.add_argument("--subjects", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    with TemporaryDirectory() as folder:
        events = make_listening(
            args.subjects, args.minutes, modality="eeg", random_state=args.seed, root=folder
        )
        parts = [run(args.task, args.decoders, events, n_bytes) for n_bytes in (0, _caching.MOST_BYTES)]
    rows, tables = zip(*parts, strict=True)
    score = tables[0]["main_score"].iloc[0]
    print(machine())
    print(f"{vars(args)}, equal scores: {tables[0][score].equals(tables[1][score])}")
    print(markdown(["MiB kept", "fits", "decodings", "files", "wall time s", "processor s"], rows))


if __name__ == "__main__":
    main()
