"""Speed and memory of scoring windows against many candidates.

Run as ``python benchmarks/bench_scoring.py [--quick]``. It prints operations
per second as a share of the matrix rate, memory, and whether ranks are equal.
The last row scores in the dimensions of ``BrainEncoder(target_dim=12)``. Its
time includes the map of the candidates to them. All numbers of the table are
of one run.
"""

from __future__ import annotations

import argparse
import time
from unittest import mock

import numpy as np
import torch
from _machine import machine, markdown, matrix_rate, peak_mib, reset_peak, threads

from sk_b2s import Windows
from sk_b2s.metrics import _tiled
from sk_b2s.metrics._frames import frame_weights
from sk_b2s.metrics._ranks_and_top_k import ranks
from sk_b2s.metrics._similarity import similarity
from sk_b2s.nn._speech_module import SpeechModule, encode_by_speech_module

HOP = 43  # frames between candidates, like words: 0.36 s at 120 Hz
SIGNAL = 3.0  # distance of the target from the other scores, in standard deviations


def sounds(n_candidates, n_features, n_frames, seed=0):
    """Make candidates that overlap in one long stimulus, filled in place."""
    rng = np.random.default_rng(seed)
    signal = np.empty(((n_candidates - 1) * HOP + n_frames, n_features), np.float32)
    for first in range(0, len(signal), 4096):
        rng.standard_normal(out=signal[first : first + 4096], dtype=np.float32)
    return Windows([signal], np.zeros(n_candidates), np.arange(n_candidates) * HOP, n_frames, None)


class Listener:
    """Estimates of noise and some signal, with a count of their time."""

    def __init__(self, targets, n_windows, seed=1):
        n_candidates, n_features, n_frames = targets.shape
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal((8 * n_frames, n_features), dtype=np.float32)
        start = rng.integers(0, 7 * n_frames, n_windows)
        self.noise = Windows([noise], np.zeros(n_windows), start, n_frames, None)
        self.targets, self.heard = targets, rng.integers(0, n_candidates, n_windows)
        self.level = SIGNAL / (n_features * n_frames) ** 0.5
        self.seconds = 0.0

    def __call__(self, rows):
        """Estimate the stimulus of some windows."""
        begin = time.perf_counter()
        estimates = self.noise.gather(rows).add_(self.targets.gather(self.heard[rows]), alpha=self.level)
        self.seconds += time.perf_counter() - begin
        return estimates


def naive(embed, n_windows, targets, weights):
    """Cut, weight and normalize all candidates for every chunk of windows."""
    step = max(1, _tiled.CHUNK_BYTES // (4 * targets.shape[1] * targets.shape[2]))
    chunks = [np.arange(i, min(i + step, len(targets))) for i in range(0, len(targets), step)]
    for first in range(0, n_windows, step):
        rows = np.arange(first, min(first + step, n_windows))
        Z = embed(rows)
        yield rows, torch.cat([similarity(Z, targets.gather(chunk), weights) for chunk in chunks], dim=1)


def measure(way, listener, weights, n_windows):
    """Score windows in one way, return seconds and ranks."""
    listener.seconds, found = 0.0, np.empty(n_windows, np.int64)
    begin = time.perf_counter()
    for rows, scores in way(listener, n_windows, listener.targets, weights):
        found[rows] = ranks(scores, torch.from_numpy(listener.heard[rows])).numpy()
    return time.perf_counter() - begin - listener.seconds, found


def measure_mapped(arguments, targets, weights, n_threads):
    """Score in few dimensions, and return the last row of the table."""
    module = SpeechModule(targets.shape[1], arguments.target_dim, depth=1, kernel_size=1).eval()
    limit, before = matrix_rate(n_threads=n_threads), reset_peak()
    with threads(n_threads), torch.no_grad():
        begin = time.perf_counter()
        mapped = encode_by_speech_module(targets, module, arguments.target_dim, batch_size=64)
        mapping = time.perf_counter() - begin
        listener = Listener(mapped, arguments.windows)
        seconds, _ = measure(_tiled.iter_tiled_scores, listener, weights, arguments.windows)
    extra, seconds = peak_mib() - before, seconds + mapping
    n_windows, (n_candidates, n_features, n_frames) = arguments.windows, mapped.shape
    products = n_candidates * n_frames * n_features * (n_windows + targets.shape[1])
    limit, rate = max(limit, matrix_rate(n_threads=n_threads)), 2 * products / seconds
    return [f"mapped to {n_features} features ({mapping:.1f} s), then the same", n_threads, f"{n_windows:,}",
            f"{seconds:.1f}", f"{rate / 1e9:.0f}", f"{limit / 1e9:.0f}", f"{rate / limit:.0%}", f"{extra:,.0f}", "other"]  # fmt: skip


def report(arguments, n_threads):
    """Return rows of the table for one number of threads."""
    n_features, n_frames = arguments.features, arguments.frames
    targets = sounds(arguments.candidates, n_features, n_frames)
    if arguments.only_mapped:
        weights = torch.from_numpy(frame_weights(n_frames, 120, 120)).float()
        return [measure_mapped(arguments, targets, weights, n_threads)], np.nan
    listener = Listener(targets, arguments.windows)
    weights = torch.from_numpy(frame_weights(n_frames, 120, 120)).float()
    first = min(arguments.windows, 2 * max(1, _tiled.CHUNK_BYTES // (4 * n_features * n_frames)))
    chunk, tile, held = _tiled.CHUNK_BYTES, _tiled.TILE_BYTES, _tiled.HELD_BYTES
    steps = [
        ("candidates cut, weighted and normalized for each chunk", first, naive, chunk, chunk),
        ("normalized once, estimates weighted once", first, _tiled.iter_tiled_scores, chunk, chunk),
        ("larger tiles and blocks", arguments.windows, _tiled.iter_tiled_scores, tile, held),
    ]
    rows, all_ranks = [], []
    for name, n_windows, way, tile_bytes, held_bytes in steps:
        sizes = {"TILE_BYTES": tile_bytes, "HELD_BYTES": held_bytes}
        limit, before = matrix_rate(n_threads=n_threads), reset_peak()
        with threads(n_threads), mock.patch.multiple(_tiled, **sizes):
            seconds, found = measure(way, listener, weights, n_windows)
        extra = peak_mib() - before
        limit = max(limit, matrix_rate(n_threads=n_threads))
        rate = 2 * n_windows * len(targets) * n_features * n_frames / seconds
        all_ranks.append(found)
        rows.append(
            [name, n_threads, f"{n_windows:,}", f"{seconds:.1f}", f"{rate / 1e9:.0f}", f"{limit / 1e9:.0f}",
             f"{rate / limit:.0%}", f"{extra:,.0f}"]
        )  # fmt: skip
    for row, found in zip(rows, all_ranks, strict=True):
        equal = np.count_nonzero(found[:first] == all_ranks[0])
        row.append(f"{equal:,} of {first:,}")
    rows.append(measure_mapped(arguments, targets, weights, n_threads))
    return rows, np.median(all_ranks[-1])


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=10_000)
    parser.add_argument("--candidates", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=1024)
    parser.add_argument("--target-dim", type=int, default=12, help="dimensions of the last row")
    parser.add_argument("--only-mapped", action="store_true", help="only the last row, of few dimensions")
    parser.add_argument("--frames", type=int, default=343)
    parser.add_argument("--threads", type=int, nargs="+", default=[torch.get_num_threads()])
    parser.add_argument("--quick", action="store_true", help="1,200 windows, 1,200 candidates")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.windows = arguments.candidates = 1200
    size = f"{arguments.candidates:,} candidates of {arguments.features:,} x {arguments.frames}"
    n_bytes = 4 * arguments.candidates * arguments.features * arguments.frames
    print(f"{machine()}\n{size}, {n_bytes / 2**20:,.0f} MiB if cut; float32\n")
    rows = []
    for n_threads in arguments.threads:
        more, median = report(arguments, n_threads)
        rows += more
    columns = [
        "way",
        "threads",
        "windows",
        "s",
        "GFLOP/s",
        "matrix GFLOP/s",
        "share",
        "MiB more",
        "ranks as in row 1",
    ]
    print(markdown(columns, rows))
    print(
        f"\nMedian rank {median:g}. Seconds without those of the estimates; MiB: peak beyond what was held before."
    )


if __name__ == "__main__":
    main()
