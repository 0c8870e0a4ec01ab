"""Selected, random or first sentences as calibration data.

``python benchmarks/bench_calibration.py`` holds out each simulated subject,
tests the last half of the stimuli, and calibrates on a few minutes of the
first half: those of ``select_calibration_sentences``, random sentences
(``--draws`` times, averaged), or the first that were recorded. The subjects
with EEG are others than those with MEG. Decoders are ridge on these minutes
alone ("ridge") and the network of the other subjects, adapted in closed form
("network"). A row is written to ``--path`` as soon as it exists, and
``--table`` prints the existing rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from _machine import machine, markdown
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    BrainEncoder,
    CalibratedDecoder,
    Epocher,
    FeatureScaler,
    LeaveOneSubjectOut,
    MelSpectrogram,
    RidgeDecoder,
    RobustChannelScaler,
    StimulusIntervals,
    compare_estimators,
    make_segments,
    mean_and_sem,
    retrieval_scores,
    select_calibration_sentences,
)
from sk_b2s.datasets import make_listening
from sk_b2s.evaluation._statistics._comparison import adjust_comparison_p_values

EXPERIMENTS = {
    "meg": {"modality": "meg", "n_channels": 52, "snr_db": -12.0, "random_state": 1},
    "eeg": {"modality": "eeg", "n_channels": 32, "snr_db": -14.0, "random_state": 2},  # other subjects
}
ENCODER = {
    "hidden": 48, "depth": 5, "n_virtual_channels": 48, "lr": 1e-3, "batch_size": 64, "max_epochs": 6, "patience": 3,
    "random_state": 0, "verbose": 0,
}  # fmt: skip


def decoders(memory, names):
    """Make the decoders by name, all with the same speech features."""
    mel = make_pipeline(MelSpectrogram(n_mels=20, sfreq=32, memory=memory), FeatureScaler())
    # One alpha: half a minute is one block, which cannot select it.
    ridge = RidgeDecoder(speech=mel, lags=(-0.15, 0.35), n_components=32, alphas=(0.03,))
    found = {
        "ridge": CalibratedDecoder(ridge, "scratch"),
        "network": CalibratedDecoder(BrainEncoder(speech=mel, **ENCODER), "ridge", memory),
    }
    return {name: found[name] for name in names}


def first_minutes(y, minutes, order):
    """Select whole sentences in an order, up to the minutes."""
    chosen, left = [], 60 * minutes
    for sentence in order:
        rows = np.flatnonzero(y["sequence"] == sentence)
        seconds = StimulusIntervals.from_table(y.iloc[rows]).seconds
        if seconds <= left:
            chosen.append(rows)
            left -= seconds
    return np.concatenate(chosen)


def choices(y, minutes, phonemes, draws):
    """Select rows in each way. Several of one name are averaged."""
    yield "suggested", select_calibration_sentences(y, minutes, phonemes)
    yield "first", first_minutes(y, minutes, pd.unique(y["sequence"]))
    for draw in range(draws):
        random = np.random.default_rng(draw)
        yield "random", first_minutes(y, minutes, random.permutation(pd.unique(y["sequence"])))


def run(name, given, path):
    """Write a row per decoder, subject, amount and selection."""
    root = Path(given.folder)
    events = make_listening(given.subjects, 16, **EXPERIMENTS[name], sfreq=64, root=root)
    X, y = make_segments(events, tmin=-0.5, tmax=2.5)
    phonemes, memory = events[events["type"] == "phoneme"], root / "cache"
    brain = make_pipeline(Epocher(sfreq=32, lag=0.15, memory=memory), RobustChannelScaler(clip=20))
    windows = brain.fit_transform(X)
    splitter = LeaveOneSubjectOut(1, calibration_minutes=np.inf)
    for train, test in splitter.split(X, y):
        subject = X["subject"].iloc[test[0]]
        own = (X["subject"].iloc[train] == subject).to_numpy()
        others, pool = train[~own], train[own]
        for minutes in given.minutes:
            for choice, rows in choices(y.iloc[pool], minutes, phonemes, given.draws):
                used = np.concatenate([others, pool[rows]])
                mask = np.arange(len(used)) >= len(others)
                for decoder, estimator in decoders(memory, given.decoders).items():
                    estimator.fit(windows[used], y.iloc[used], calibration=mask)
                    row = {
                        "experiment": name, "estimator": decoder, "subject": subject, "minutes": minutes,
                        "choice": choice, "used": StimulusIntervals.from_table(y.iloc[pool[rows]]).seconds / 60,
                        **retrieval_scores(estimator, windows[test], y.iloc[test]),
                    }  # fmt: skip
                    pd.DataFrame([row]).to_csv(path, mode="a", header=not path.exists(), index=False)
        print(f"{name}, subject {subject}", flush=True)


def report(path):
    """Print means over subjects and differences from random sentences."""
    results = pd.read_csv(path, dtype={"subject": str})
    keys = ["experiment", "estimator", "subject", "minutes", "choice"]
    results = results.groupby(keys, as_index=False, sort=False).mean()
    print(f"\n{machine()}\n")
    rows = []
    for names, part in results.groupby(["experiment", "estimator", "minutes"], sort=False):
        means = mean_and_sem(part, "top_k", "choice", weight=None)
        tests = compare_estimators(part, "random", "top_k", over=(), estimator="choice", weight=None)
        tests = tests.set_index("estimator")
        for choice, mean in means.iterrows():
            said = [f"{100 * mean['mean']:.1f} ± {100 * mean['sem']:.1f}", f"{100 * mean['chance']:.1f}"]
            test = tests.loc[choice] if choice in tests.index else None
            said += ["", "", ""] if test is None else [
                f"{100 * test['mean_difference']:+.1f} ± {100 * test['sem']:.1f}",
                f"{test['n_better']} of {test['n_subjects']}", f"{test['p']:.3f}",
            ]  # fmt: skip
            used = part.loc[part["choice"] == choice, "used"].mean()
            rows.append([*names, choice, f"{used:.2f}", *said])
    print(markdown(
        ["recording", "decoder", "minutes", "choice", "used", "top-10, %", "chance", "less random", "better in", "p"],
        rows,
    ))  # fmt: skip
    everybody = results.assign(subject=results["experiment"] + " " + results["subject"])
    for decoder, part in everybody.groupby("estimator", sort=False):
        overall(decoder, part)


def overall(decoder, results):
    """Print differences from random sentences over all subjects."""
    tests = {
        minutes: compare_estimators(part, "random", "top_k", over=(), estimator="choice", weight=None)
        for minutes, part in results.groupby("minutes")
    }
    tests = pd.concat(tests, names=["minutes"]).reset_index("minutes")
    rows = []
    for choice, part in tests.groupby("estimator", sort=False):
        for (_, test), p in zip(part.iterrows(), adjust_comparison_p_values(part["p"]), strict=True):
            rows.append([
                choice, f"{test['minutes']:g}", f"{100 * test['mean_difference']:+.1f} ± {100 * test['sem']:.1f}",
                f"{test['n_better']} of {test['n_subjects']}", f"{test['p']:.3f}", f"{p:.3f}",
            ])  # fmt: skip
    print(f"\n{decoder}, all subjects, minus random\n")
    print(markdown(["choice", "minutes", "points of top-10", "better in", "p", "p, Holm"], rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default="bench_calibration", help="folder of recordings and cache (1 GB)")
    parser.add_argument("--path", default="bench_calibration.csv", help="file of results")
    parser.add_argument("--experiment", nargs="+", default=list(EXPERIMENTS), choices=list(EXPERIMENTS))
    parser.add_argument("--subjects", type=int, default=8)
    parser.add_argument("--draws", type=int, default=4, help="random sets of sentences")
    parser.add_argument("--minutes", nargs="+", type=float, default=[0.5, 1.0, 2.0, 4.0])
    parser.add_argument("--decoders", nargs="+", default=["ridge", "network"], choices=["ridge", "network"])
    parser.add_argument("--table", action="store_true", help="only print existing rows")
    given = parser.parse_args()
    if not given.table:
        for name in given.experiment:
            run(name, given, Path(given.path))
    report(given.path)
