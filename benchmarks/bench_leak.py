"""Effect of leakage: overlapping windows and identifiable recordings.

``python benchmarks/bench_leak.py`` prints the tables of ``docs/leakage.md``,
in five minutes on one core. Part one scores one decoder on one small
experiment under four splits, with the results of :func:`sk_b2s.check_leakage`
and of the controls. Part two contains no response to speech, only a
fingerprint of each recording.
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
from sk_b2s.evaluation._statistics._subject_means import mean_and_sem

CONTROLS = ["phase_randomized", "white_noise", "shifted_labels"]
FOLDS = 5


class Roughness(TransformerMixin, BaseEstimator):
    """Logarithm of the power of temporal differences.

    It allows a linear decoder to distinguish spectra.
    """

    def fit(self, X, y=None):
        """Do nothing."""
        self.fitted_ = True
        return self

    def transform(self, X):
        """Append the step to Windows."""
        return X.then(roughness)


def roughness(batch, which):
    """Compute the log of squared differences of samples, the first zero."""
    return torch.diff(batch, dim=2, prepend=batch[:, :, :1]).square_().add_(1e-4).log_()


def make_decoder(folder, *between, lags=(-0.15, 0.35)):
    """Make ridge regression on a mel spectrogram."""
    speech = make_pipeline(MelSpectrogram(n_mels=20, sfreq=25, memory=folder / "cache"), FeatureScaler())
    return Pipeline([
        ("epochs", Epocher(sfreq=50, lag=0.15, memory=folder / "cache")),
        ("scale", RobustChannelScaler(clip=20)),
        *between,
        ("decoder", RidgeDecoder(speech=speech, lags=lags, n_components=24)),
    ])  # fmt: skip


def make_splits(y):
    """Make four splits, from random rows to blocks of stimuli."""
    rows = np.zeros(len(y))
    groups = GroupKFold(FOLDS, shuffle=True, random_state=0)
    return {
        "random windows": KFold(FOLDS, shuffle=True, random_state=0).split(rows),
        "whole words": groups.split(rows, groups=y["segment"]),
        "whole sentences": groups.split(rows, groups=y["sequence"]),
        "`StimulusKFold`": StimulusKFold(FOLDS).split(rows, y),
    }


def score(decoder, X, y, folds, k):
    """Return means over subjects, for pools of fifty candidates."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", FitFailedWarning
        )  # stimuli cannot be shifted if all of them are in training
        results = benchmark(decoder, X, y, folds, controls=CONTROLS, k=k, n_shifts=200, verbose=0)
    results = results[(results["pool"] == "50") & (results["error"] == "")]
    means = mean_and_sem(results, f"top_{k}", by="control")
    return means.join(results.groupby("control")["verdict"].first())


def lines_of(name, means):
    """Format rows of a printed table, in per cent."""
    for control, row in means.iterrows():
        share = f"{100 * row['mean']:.1f} ± {100 * row['sem']:.1f}"
        yield [name, control, share, f"{100 * row['chance']:.0f}", row["verdict"]]
        name = ""


def of_splits(folder, n_subjects, minutes, n_folds):
    """Run one experiment with a response and four splits."""
    events = make_listening(n_subjects, minutes, n_channels=64, snr_db=-12, root=folder)
    X, y = make_segments(events, anchor="word", tmin=-0.5, tmax=2.5)
    people = X["subject"].nunique()
    print(f"\nSplits: {people} subjects, {minutes:g} minutes of speech, {len(X):,} windows of 3 s\n")
    lines = []
    for name, folds in make_splits(y).items():
        folds = list(folds)
        print(f"- {name}: {format_leakage(check_leakage(X, y, folds))}", flush=True)
        lines += lines_of(name, score(make_decoder(folder), X, y, folds[:n_folds], k=1))
    print("\n" + markdown(["split", "what is decoded", "top-1 of 50, %", "chance", "verdict"], lines))


def of_fingerprints(folder, n_subjects, minutes):
    """Run an experiment without a response, with fingerprints."""
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
    print(f"\nFingerprints: {recordings} recordings of {n_subjects} subjects without a response to speech\n")
    print(format_leakage(check_leakage(X, y, folds)))
    print(
        "\n"
        + markdown(["in the recordings", "what is decoded", "top-10 of 50, %", "chance", "verdict"], lines)
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, default=Path("bench_leak"), help="folder of recordings (0.2 GB)"
    )
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--folds", type=int, default=1, help="number of folds that are scored, of five")
    arguments = parser.parse_args()
    given = arguments.folder, arguments.subjects, arguments.minutes, arguments.folds
    arguments.folder.mkdir(exist_ok=True, parents=True)
    with threadpool_limits(1):
        of_splits(*given)
        of_fingerprints(*given[:3])
    print(f"\n{time.process_time():.0f} s of one core on {machine()}")
