"""What a leak does to a score: splits that mix overlapping windows, and recordings that can be told apart.

``python benchmarks/bench_leak.py`` prints the tables of ``docs/leakage.md``, in five minutes on one core. Part one
scores one decoder on one small experiment under four splits, with what :func:`sk_b2s.check_leakage` says of each and
what the controls say of the scores. Part two has no response to speech in it at all, only a fingerprint of each
recording.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from _machine import machine, markdown
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import Pipeline, make_pipeline
from threadpoolctl import threadpool_limits

from sk_b2s import (
    Epocher,
    FeatureScaler,
    MelSpectrogram,
    RidgeDecoder,
    RobustChannelScaler,
    StimulusKFold,
    benchmark,
    check_leakage,
    format_leakage,
    make_segments,
)
from sk_b2s.datasets import make_listening
from sk_b2s.evaluation._statistics import mean_and_sem

CONTROLS = ["phase_randomized", "white_noise", "shifted_labels"]
FOLDS = 5


class Roughness(TransformerMixin, BaseEstimator):
    """Logarithm of the power of differences in time, by which a linear decoder can tell one spectrum from another."""

    def fit(self, X, y=None):
        """Learn nothing."""
        self.fitted_ = True
        return self

    def transform(self, X):
        """Add the step to Windows."""
        return X.then(roughness)


def roughness(batch, which):
    """Log of squared differences of neighboring steps, the first being zero."""
    return torch.diff(batch, dim=2, prepend=batch[:, :, :1]).square_().add_(1e-4).log_()


def make_decoder(folder, *between, lags=(-0.15, 0.35)):
    """Ridge on a Mel spectrogram."""
    speech = make_pipeline(MelSpectrogram(n_mels=20, sfreq=25, memory=folder / "cache"), FeatureScaler())
    return Pipeline([
        ("epochs", Epocher(sfreq=50, lag=0.15, memory=folder / "cache")),
        ("scale", RobustChannelScaler(clip=20)),
        *between,
        ("decoder", RidgeDecoder(speech=speech, lags=lags, n_components=24)),
    ])  # fmt: skip


def make_splits(y):
    """Four ways to divide the rows, from one that knows nothing of sound to one that knows all."""
    rows = np.zeros(len(y))
    groups = GroupKFold(FOLDS, shuffle=True, random_state=0)
    return {
        "random windows": KFold(FOLDS, shuffle=True, random_state=0).split(rows),
        "whole words": groups.split(rows, groups=y["segment"]),
        "whole sentences": groups.split(rows, groups=y["sequence"]),
        "`StimulusKFold`": StimulusKFold(FOLDS).split(rows, y),
    }


def score(decoder, X, y, folds, k):
    """Means over people, among all pools of fifty candidates: a row for the decoder and each control."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", FitFailedWarning
        )  # no sound can be moved where all of it is in training
        results = benchmark(decoder, X, y, folds, controls=CONTROLS, k=k, n_shifts=200, verbose=0)
    results = results[(results["pool"] == "50") & (results["error"] == "")]
    means = mean_and_sem(results, f"top_{k}", by="control")
    return means.join(results.groupby("control")["verdict"].first())


def lines_of(name, means):
    """Rows of a printed table, in per cent."""
    for control, row in means.iterrows():
        share = f"{100 * row['mean']:.1f} ± {100 * row['sem']:.1f}"
        yield [name, control, share, f"{100 * row['chance']:.0f}", row["verdict"]]
        name = ""


def of_splits(folder, n_subjects, minutes, n_folds):
    """One experiment with a response, and four splits."""
    events = make_listening(n_subjects, minutes, n_channels=64, snr_db=-12, root=folder)
    X, y = make_segments(events, anchor="word", tmin=-0.5, tmax=2.5)
    people = X["subject"].nunique()
    print(f"\nSplits: {people} people, {minutes:g} minutes of speech, {len(X):,} windows of 3 s\n")
    lines = []
    for name, folds in make_splits(y).items():
        folds = list(folds)
        print(f"- {name}: {format_leakage(check_leakage(X, y, folds))}", flush=True)
        lines += lines_of(name, score(make_decoder(folder), X, y, folds[:n_folds], k=1))
    print("\n" + markdown(["split", "what is decoded", "top-1 of 50, %", "chance", "verdict"], lines))


def of_fingerprints(folder, n_subjects, minutes):
    """No response at all, an honest split, and recordings that can be told apart."""
    lines = []
    for name, artifacts in (("fingerprint", ["fingerprint"]), ("none", False)):
        events = make_listening(
            n_subjects, minutes, n_channels=64, snr_db=-np.inf, runs=3, artifacts=artifacts, root=folder
        )
        X, y = make_segments(events, anchor=1.0, tmin=0, tmax=3)
        folds = list(StimulusKFold(FOLDS).split(X, y))
        decoder = make_decoder(folder, ("roughness", Roughness()), lags=(0, 0))
        lines += lines_of(name, score(decoder, X, y, folds, k=10))
    recordings = X["recording"].nunique()
    print(f"\nFingerprints: {recordings} recordings of {n_subjects} people without any response to sound\n")
    print(format_leakage(check_leakage(X, y, folds)))
    print(
        "\n"
        + markdown(["in the recordings", "what is decoded", "top-10 of 50, %", "chance", "verdict"], lines)
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("bench_leak"), help="of the recordings (0.2 GB)")
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--folds", type=int, default=1, help="of five that are scored")
    arguments = parser.parse_args()
    given = arguments.folder, arguments.subjects, arguments.minutes, arguments.folds
    arguments.folder.mkdir(exist_ok=True, parents=True)
    with threadpool_limits(1):
        of_splits(*given)
        of_fingerprints(*given[:3])
    print(f"\n{time.process_time():.0f} s of one core on {machine()}")
