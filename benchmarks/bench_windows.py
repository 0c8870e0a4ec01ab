"""Memory of windows, and speed of gathering compared with a plain copy.

Run as ``python benchmarks/bench_windows.py``. All printed numbers are of one
run.
"""

from __future__ import annotations

import platform
import resource
import time
from pathlib import Path

import numpy as np
import torch

from sk_b2s import Windows

SFREQ, HOUR, N_CHANNELS, N_TIMES = 120, 3600, 208, 361  # 3 s and the last sample, like Epocher
N_WINDOWS, BATCH, N_RECORDINGS = 100_000, 256, 8
MIB = 2**20


def processor():
    """Return the name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def peak():
    """Return the peak memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one_hour(rng):
    """Make one hour at 120 Hz, filled in place."""
    signal = np.empty((SFREQ * HOUR, N_CHANNELS), np.float32)
    for first in range(0, len(signal), 4096):
        block = signal[first : first + 4096]
        block[:] = rng.standard_normal(block.shape, dtype=np.float32)
    return signal


def memory():
    """Measure the memory of 100,000 windows of one hour."""
    rng = np.random.default_rng(0)
    torch.zeros(1).clone()  # the memory of libraries at first use does not count
    before = peak()
    signal = one_hour(rng)
    hour = peak() - before
    start = np.sort(rng.integers(0, len(signal) - N_TIMES, N_WINDOWS))
    windows = Windows([signal], np.zeros(N_WINDOWS), start, N_TIMES, SFREQ)
    out = windows.empty(BATCH)
    for first in range(0, N_WINDOWS - BATCH, 8 * BATCH):
        windows.gather(np.arange(first, first + BATCH), out=out)
    batch = out.numel() * 4 / MIB
    extra = peak() - before - hour
    return [
        ("one hour (float32)", f"{hour:.0f} MiB"),
        (f"{N_WINDOWS:,} windows if cut", f"{windows.nbytes / MIB:,.0f} MiB"),
        (f"one batch of {BATCH}", f"{batch:.0f} MiB"),
        ("peak beyond the signals", f"{extra:.0f} MiB ({extra - batch:+.0f} beyond the batch)"),
    ]


def rate(function, n_bytes, repeats=5):
    """Return the best rate in GB/s."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - begin)
    return n_bytes / min(seconds) / 1e9


def speed(n_threads, n_signals, ordered):
    """Compare the rates of gathering and of copying the same bytes."""
    torch.set_num_threads(n_threads)
    rng = np.random.default_rng(1)
    signals = [
        rng.standard_normal((SFREQ * HOUR // n_signals, N_CHANNELS), dtype=np.float32)
        for _ in range(n_signals)
    ]
    n_windows = 16 * BATCH
    which = rng.integers(0, n_signals, n_windows)
    start = rng.integers(0, len(signals[0]) - N_TIMES, n_windows)
    windows = Windows(signals, which, start, N_TIMES, SFREQ)
    order = np.lexsort((start, which)) if ordered else rng.permutation(n_windows)
    batches = np.split(order, 16)
    out = windows.empty(BATCH)
    sources = torch.from_numpy(np.concatenate(signals)).view(-1)[: 4 * out.numel()].split(out.numel())
    flat = out.transpose(1, 2).reshape(-1)

    def copy():
        for i in range(16):
            flat.copy_(sources[i % len(sources)])

    def gather():
        for batch in batches:
            windows.gather(batch, out=out)

    n_bytes = 16 * 4 * out.numel()
    turns = [(rate(copy, n_bytes), rate(gather, n_bytes)) for _ in range(5)]
    copied, gathered = np.max(turns, axis=0)
    return copied, gathered


def main():
    """Print the tables."""
    print(f"processor: {processor()}; torch {torch.__version__}, numpy {np.__version__}")
    print(f"windows of {N_TIMES} steps x {N_CHANNELS} channels, {SFREQ} Hz, float32\n")
    for name, value in memory():
        print(f"{name:<28}{value}")
    print(f"\n{'threads':>7}  {'batch from':<28}{'copy GB/s':>10}{'gather GB/s':>12}{'share':>7}")
    for n_threads in (1, 2):
        for n_signals, ordered in [(1, True), (1, False), (N_RECORDINGS, True), (N_RECORDINGS, False)]:
            copied, gathered = speed(n_threads, n_signals, ordered)
            source = f"{n_signals} recording{'s' * (n_signals > 1)}, {'in order' if ordered else 'shuffled'}"
            print(f"{n_threads:>7}  {source:<28}{copied:>10.2f}{gathered:>12.2f}{gathered / copied:>7.0%}")


if __name__ == "__main__":
    main()
