"""Unseen subjects: leave-one-subject-out with controls and statistics.

``python benchmarks/bench_leave_one_subject_out.py`` decodes each of eight
simulated subjects by decoders that were trained on the seven others and on the
other half of the stimuli: ridge, the network with a regression loss, with the
contrastive loss on mel, with Deep Mel, and, with ``--wav2vec2 FOLDER``, on
wav2vec 2.0, each with its controls. A row is written to ``results.jsonl`` in
``--folder`` as soon as it exists, and a second call resumes.
``--interruptions N`` runs the same in a process that is interrupted (SIGKILL)
at N random moments and resumed each time. ``--table`` prints existing rows.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

from _machine import machine, markdown
from sklearn.pipeline import Pipeline, make_pipeline

from sk_b2s import (
    BrainEncoder,
    Epocher,
    FeatureScaler,
    LeaveOneSubjectOut,
    MelSpectrogram,
    RidgeDecoder,
    RobustChannelScaler,
    Wav2Vec2Features,
    benchmark,
    compare_estimators,
    generate_methods_text,
    make_segments,
    read_results,
    summarize,
)
from sk_b2s.datasets import make_listening, oracle_scores

EXPERIMENT = {"n_subjects": 8, "minutes": 12, "modality": "meg", "snr_db": -12.0, "n_channels": 104}
CONTROLS = ("phase_randomized", "shifted_labels", "silence_truth", "envelope_only", "oracle")
ENCODER = {
    "hidden": 48, "depth": 5, "n_virtual_channels": 64, "lr": 1e-3, "batch_size": 64, "max_epochs": 4, "patience": 4,
    "random_state": 0, "verbose": 0,
}  # fmt: skip


def decoders(folder, wav2vec2=None):
    """Make the pipelines by name, with the same preprocessing."""
    memory = folder / "cache"
    mel = make_pipeline(MelSpectrogram(n_mels=40, sfreq=25, memory=memory), FeatureScaler())
    steps = {
        "ridge": RidgeDecoder(speech=mel, lags=(-0.15, 0.35), n_components=48, per_subject=False),
        "regression, Mel": BrainEncoder(speech=mel, loss="mse", **ENCODER),
        "CLIP, Mel": BrainEncoder(speech=mel, **ENCODER),
        "CLIP, Deep Mel": BrainEncoder(speech=mel, speech_embedding_dim=64, **ENCODER),
    }
    if wav2vec2 is not None:
        speech = make_pipeline(Wav2Vec2Features(wav2vec2, layers=(2, 3), memory=memory), FeatureScaler())
        steps["CLIP, wav2vec 2.0"] = BrainEncoder(speech=speech, **ENCODER)
    brain = [("epochs", Epocher(sfreq=25, lag=0.15, memory=memory)), ("scale", RobustChannelScaler(clip=20))]
    return {name: Pipeline([*brain, ("decoder", step)]) for name, step in steps.items()}


def run(folder, wav2vec2, n_jobs):
    """Compute missing rows and return the table."""
    events, truth = make_listening(**EXPERIMENT, root=folder, return_truth=True)
    X, y = make_segments(events, tmin=-0.5, tmax=2.5)
    return benchmark(
        decoders(folder, wav2vec2), X, y, LeaveOneSubjectOut(stimulus_folds=2), path=folder / "results.jsonl",
        controls=CONTROLS, oracle=partial(oracle_scores, truth), n_jobs=n_jobs,
    )  # fmt: skip


def run_and_interrupt(arguments, n_interruptions, longest):
    """Interrupt a run at random moments, return lines written each time."""
    command = [sys.executable, __file__, *arguments]
    random.seed(0)
    lines = []
    for interruption in range(n_interruptions):
        process = subprocess.Popen(command, start_new_session=True)
        try:
            process.wait(random.uniform(5, longest))
            break  # it had finished before
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        path = Path(arguments[arguments.index("--folder") + 1]) / "results.jsonl"
        lines.append(len(path.read_bytes().splitlines()) if path.exists() else 0)
        print(f"interruption {interruption + 1} of {n_interruptions}, {lines[-1]} lines so far", flush=True)
    subprocess.run(command, check=True)
    return lines


def report(results):
    """Print summary, controls, comparisons and methods paragraph."""
    table = summarize(results[results["pool"] == "all"])
    columns = ["top_1", "top_10", "top_10_sem", "chance", "null_high", "median_relative_rank"]
    columns += ["match_mismatch", "word_top_10", "word_chance"]
    shown = table[["estimator", "control", *columns, "verdict"]].round(3).astype(object)
    print(f"\n{machine()}\n")
    print(markdown(shown.columns, shown.where(shown.notna(), "").itertuples(index=False)), "\n")
    pairs = compare_estimators(results).round(4)
    print(markdown(pairs.columns, pairs.itertuples(index=False)), "\n")
    print(generate_methods_text(results))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", default="bench_leave_one_subject_out", help="of recordings and rows (1 GB)"
    )
    parser.add_argument(
        "--wav2vec2", help="folder or name of a pretrained model; without it, this row is left out"
    )
    parser.add_argument("--jobs", type=int, default=1, help="number of parallel fits")
    parser.add_argument("--interruptions", type=int, default=0, help="number of interruptions")
    parser.add_argument(
        "--longest", type=float, default=120.0, help="longest time before an interruption, in seconds"
    )
    parser.add_argument("--table", action="store_true", help="only print existing rows")
    given = parser.parse_args()
    folder = Path(given.folder)
    folder.mkdir(parents=True, exist_ok=True)
    if given.interruptions:
        plain = ["--folder", given.folder, "--jobs", str(given.jobs)]
        plain += ["--wav2vec2", given.wav2vec2] if given.wav2vec2 else []
        run_and_interrupt(plain, given.interruptions, given.longest)
    report(
        read_results(folder / "results.jsonl")
        if given.table or given.interruptions
        else run(folder, given.wav2vec2, given.jobs)
    )
