"""One epoch of a study of 56 hours and 27 subjects on a GPU.

``python benchmarks/bench_gpu.py`` trains the network of the paper (208
channels x 343 samples, width 320, 1,024 outputs at 50 Hz) for two epochs on
noise, of which the second counts: with the signals on the device and with each
batch sent, in bfloat16 and float32. Without a CUDA device it prints a message
and measures nothing. ``--device cpu --hours 0.02`` only runs the code.

The limit is two operations for each multiply-add of the network without
pooling, 2.45 G per window forward and three times as many in training, at the
rate of matrix products in the same run.
"""

import argparse
import contextlib
from unittest import mock

import numpy as np
import pandas as pd
import torch
from _machine import machine, markdown, matrix_rate, training_operations

from sk_b2s import BrainEncoder, Windows

HOURS, N_SUBJECTS, N_CHANNELS, N_FEATURES = 56.0, 27, 208, 1024
SFREQ_X, SFREQ_Y, N_STEPS, N_FRAMES, STEP = 120, 50, 343, 143, 0.5
GIB = 2**30


def simulate(hours):
    """Make windows of noise every half second, with shared stimuli.

    The host holds one recording for all subjects. The device holds one per
    subject.
    """
    rng = np.random.default_rng(0)
    seconds = 3600 * hours / N_SUBJECTS
    recording = rng.standard_normal((int(SFREQ_X * seconds), N_CHANNELS), dtype=np.float32)
    sound = rng.standard_normal((int(SFREQ_Y * seconds), N_FEATURES), dtype=np.float32)
    onset = np.arange(0, seconds - 3.2, STEP)
    which = np.repeat(np.arange(N_SUBJECTS), len(onset))
    onset = np.tile(onset, N_SUBJECTS)
    rows = pd.DataFrame({"subject": which.astype(str), "recording": which.astype(str)})
    positions = rng.random((1, N_CHANNELS, 2))
    start = (SFREQ_X * onset).astype(int)
    brain = Windows([recording] * N_SUBJECTS, which, start, N_STEPS, SFREQ_X, rows=rows, positions=positions)
    heard = Windows([sound], np.zeros(len(onset)), (SFREQ_Y * onset).astype(int), N_FRAMES, SFREQ_Y)
    return brain, heard


def measure(brain, heard, device, precision, resident, batch_size):
    """Return seconds of the second epoch and peak memory in GiB."""
    encoder = BrainEncoder(
        batch_size=batch_size, max_epochs=2, validation=None, device=device, precision=precision, random_state=0,
        verbose=0,
    )  # fmt: skip
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with contextlib.nullcontext() if resident else mock.patch("sk_b2s.nn._prefetch.SHARE", 0.0):
        encoder.fit(brain, heard)
    return encoder.history_[-1, "dur"], torch.cuda.max_memory_allocated() / GIB if on_gpu else float("nan")


def main(device, hours, batch_size):
    """Print the table."""
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        print("not measured: no CUDA device")
        return
    brain, heard = simulate(hours)
    rows, operations = [], training_operations(N_CHANNELS, N_STEPS, N_FEATURES)
    for precision in ("bfloat16", "float32"):
        limit = matrix_rate(getattr(torch, precision), device=device)
        for resident in (True, False):
            seconds, gib = measure(brain, heard, device, precision, resident, batch_size)
            rate = len(brain) / seconds
            rows.append([
                precision, "on the device" if resident else "sent", f"{seconds:.1f}", f"{rate:,.0f}",
                f"{limit / 1e12:.1f}", f"{rate * operations / limit:.0%}", f"{gib:.1f}",
            ])  # fmt: skip
    print(
        f"{machine()}; {len(brain):,} windows of {hours:g} hours and {N_SUBJECTS} subjects, batches of {batch_size}\n"
    )
    columns = [
        "precision",
        "signals",
        "an epoch (s)",
        "windows/s",
        "matrix products (TFLOP/s)",
        "of the limit",
    ]
    print(markdown([*columns, "device memory (GiB)"], rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--hours", type=float, default=HOURS)
    parser.add_argument("--batch", type=int, default=256)
    given = parser.parse_args()
    main(given.device, given.hours, given.batch)
