"""Cost of one more subject in time and memory, for 1 to 16 subjects.

Run as ``python benchmarks/bench_scaling.py``. All subjects listen to the same
minutes of speech, so only the number of subjects grows. Each size runs in a
process of its own with its own peak memory, and nothing is cached. Times are
processor seconds, which depend less on other processes than wall time. Memory
is read from Linux's ``/proc``.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from _machine import MIB, held_mib, machine, markdown, peak_mib, reset_peak

from sk_b2s import (
    BrainEncoder,
    Epocher,
    FeatureScaler,
    MelSpectrogram,
    RobustChannelScaler,
    StimulusKFold,
    make_segments,
    retrieval_scores,
)
from sk_b2s.datasets import make_listening

SIZES = (1, 2, 4, 8, 16)
MINUTES, SFREQ, STEP = 4, 120, 1.0
STAGES = ("prepare", "epoch", "score")
MEMORY = ("signals MiB", "if cut MiB", "held MiB", "prepare MiB", "epoch MiB", "score MiB")


class Stages:
    """Processor time and peak memory of each stage, without the libraries."""

    def __init__(self):
        self.before, self.row = held_mib(), {}
        self._begin()

    def _begin(self):
        reset_peak()
        self.began = time.process_time()

    def end(self, name):
        """End a stage and begin the next."""
        self.row |= {
            f"{name} s": time.process_time() - self.began,
            f"{name} MiB": peak_mib() - self.before,
        }
        self._begin()


def prepare(X, y, train):
    """Make windows, scaled windows and stimulus segments."""
    windows = Epocher(sfreq=SFREQ, lag=0.15).fit_transform(X)
    brain = RobustChannelScaler(clip=20).fit_transform(windows)
    features = MelSpectrogram(n_mels=40, sfreq=50).fit(y).transform(y)
    return windows, brain, FeatureScaler().fit(features[train]).transform(features)


def measure(n_subjects, folder):
    """Prepare one half, train for an epoch, and score the other half."""
    events = make_listening(n_subjects, MINUTES, root=folder)
    X, y = make_segments(events, anchor=STEP, tmin=-0.5, tmax=2.5)
    train, test = next(StimulusKFold(2).split(X, y))
    prepare(X[:1], y[:1], [0])  # the memory of libraries at first use does not count
    stages = Stages()
    windows, brain, heard = prepare(X, y, train)
    stages.end("prepare")
    held = held_mib() - stages.before
    encoder = BrainEncoder(
        hidden=64, depth=5, n_virtual_channels=64, batch_size=64, max_epochs=1, validation=None, precision="float32",
        random_state=0, verbose=0,
    )  # fmt: skip
    encoder.fit(brain[train], heard[train])
    stages.end("epoch")
    retrieval_scores(encoder, brain[test], heard[test])
    stages.end("score")
    size = sum(int(s.shape[0] * s.shape[1]) for s in windows.signals) * 4 / MIB
    return stages.row | {
        "windows": len(windows), "signals MiB": size, "if cut MiB": windows.nbytes / MIB, "held MiB": held,
    }  # fmt: skip


def in_own_process(n_subjects, folder):
    """Measure in a new interpreter."""
    command = [sys.executable, __file__, "--folder", str(folder), "--one", str(n_subjects)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main(folder):
    """Measure all sizes and print the table."""
    rows = []
    for n_subjects in SIZES:
        make_listening(n_subjects, MINUTES, root=folder)
        row = in_own_process(n_subjects, folder)
        rows.append([n_subjects, row["windows"], *(f"{row[f'{stage} s']:.1f}" for stage in STAGES)])
        rows[-1] += [f"{row[name]:,.0f}" for name in MEMORY]
        rows[-1] += [f"{sum(row[f'{stage} s'] for stage in STAGES) / n_subjects:.1f}"]
        print(f"{n_subjects}: {row}", file=sys.stderr, flush=True)
    print(f"{machine()}\n{MINUTES} minutes of 208 channels per subject, {SFREQ} Hz\n")
    columns = [
        "people",
        "windows",
        "preparing (s)",
        "an epoch (s)",
        "scoring (s)",
        "continuous signals (MiB)",
        "windows if cut (MiB)",
        "held (MiB)",
        *(f"peak, {stage} (MiB)" for stage in ("preparing", "epoch", "scoring")),
    ]
    columns += ["s a person"]
    print(markdown(columns, rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, default=Path("bench_scaling"), help="folder of recordings (0.6 GB)"
    )
    parser.add_argument("--one", type=int, help="measure this size here and print it")
    given = parser.parse_args()
    if given.one is None:
        main(given.folder)
    else:
        print(json.dumps(measure(given.one, given.folder)))
