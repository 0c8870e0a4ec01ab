"""A new listener: top-10 against minutes of calibration, for every way to use them, and their seconds.

``python benchmarks/bench_adaptation.py`` leaves each of eight simulated people out in turn, MEG and EEG, anatomy and
latencies spread as always. The last quarter of what a person hears is tested, in sound that nobody learned from; the
first minutes before it are calibration. Compared are strangers without calibration (the mean of the known people's
layers, and the layer of who looks most alike), the three methods of ``adapt``, the network and ridge trained from
scratch on the same minutes, and the network trained with everybody, the new person's minutes included. A row is
written to ``results.jsonl`` in ``--folder`` as soon as it is there; a second call goes on, and several share the work.
``--table`` prints what is there, ``--figure FILE`` draws it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _machine import machine, markdown
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline

from sk_b2s import (
    BrainEncoder,
    CalibratedDecoder,
    CovarianceRecentring,
    Epocher,
    FeatureScaler,
    LeaveOneSubjectOut,
    MelSpectrogram,
    RidgeDecoder,
    RobustChannelScaler,
    benchmark,
    make_segments,
    mean_and_sem,
    read_results,
)
from sk_b2s.datasets import make_listening
from sk_b2s.model_selection import folds_of

EXPERIMENTS = {
    "meg": {"modality": "meg", "snr_db": -12.0, "n_channels": 104},
    "eeg": {"modality": "eeg", "snr_db": -14.0, "n_channels": 64},
}
PEOPLE, LASTING, TESTED = 8, 20, 0.25  # minutes, and the share that is tested
MINUTES = (0, 0.5, 1, 2, 5, 10, np.inf)
NETWORK = {
    "hidden": 64, "depth": 5, "n_virtual_channels": 64, "lr": 1e-3, "batch_size": 128, "random_state": 0, "verbose": 0,
}  # fmt: skip
TOGETHER = {"max_epochs": 5, "patience": 3}
ALONE = {"max_epochs": 60, "patience": 10}  # passes are short where minutes are few
METHODS = {"closed form": "ridge", "frozen trunk": "layer", "full fine-tuning": "all"}
FULL = "trained with everybody"


def data(name, folder):
    """Segments of one experiment."""
    events = make_listening(PEOPLE, LASTING, **EXPERIMENTS[name], root=folder)
    return make_segments(events, anchor=0.5, tmin=-0.5, tmax=2.5)


def decoders(memory, recentre=True):
    """Steps of the brain, network and ridge."""
    mel = make_pipeline(MelSpectrogram(n_mels=40, sfreq=25, memory=memory), FeatureScaler())
    brain = [("epochs", Epocher(sfreq=50, lag=0.15, memory=memory)), ("scale", RobustChannelScaler(clip=20))]
    brain += [("recentre", CovarianceRecentring(shrinkage=0.01))] if recentre else []
    encoder = Pipeline([*brain, ("encoder", BrainEncoder(speech=mel, **NETWORK, **TOGETHER))])
    ridge = RidgeDecoder(speech=mel, lags=(-0.15, 0.35), n_components=48)
    return encoder, Pipeline([*brain, ("ridge", ridge)])


def runs(memory):
    """What is compared, with the minutes it is compared at: pairs of a dict of decoders and amounts."""
    encoder, ridge = decoders(memory)
    alone = clone(encoder).set_params(**{f"encoder__{name}": value for name, value in ALONE.items()})
    few = MINUTES[1:]
    adapted = {name: CalibratedDecoder(encoder, method, memory) for name, method in METHODS.items()}
    yield {"unknown average": CalibratedDecoder(encoder, "none", memory)}, MINUTES[:1]
    yield {**adapted, "network from scratch": CalibratedDecoder(alone, "scratch")}, few
    fixed = clone(ridge).set_params(ridge__alphas=(0.03,))  # none can be chosen on a block or two
    yield {"ridge, one strength": CalibratedDecoder(fixed, "scratch")}, few
    yield {"ridge": CalibratedDecoder(ridge, "scratch")}, few[2:]
    yield {FULL: encoder}, (np.inf,)
    nearest = clone(encoder).set_params(encoder__unknown_subject="nearest")
    yield {"unknown nearest": CalibratedDecoder(nearest, "none")}, MINUTES[:1]
    plain = decoders(memory, recentre=False)[0]
    yield {"unknown average, not re-centred": CalibratedDecoder(plain, "none")}, MINUTES[:1]


def run(name, folder):
    """Do what is missing of one experiment."""
    X, y = data(name, folder)
    for estimators, minutes in runs(folder / "cache"):
        cv = LeaveOneSubjectOut(1, calibration_minutes=minutes, test_share=TESTED)
        benchmark(
            estimators, X, y, cv, path=folder / f"results_{name}.jsonl", controls=False, n_candidates=None
        )


def table(results):
    """Mean ± s.e.m. over people, by decoder and minutes."""
    rows = results[results["error"] == ""]
    found = mean_and_sem(rows, "top_10", by=["estimator", "calibration_minutes"])
    mean, sem = (100 * found[column].unstack(sort=False)[list(MINUTES)] for column in ("mean", "sem"))
    shown = mean.map("{:.1f}".format) + " ± " + sem.map("{:.1f}".format)
    shown = shown.where(mean.notna(), "").reset_index()
    print(
        markdown(["top-10, %", *[_said(minutes) for minutes in mean.columns]], shown.itertuples(index=False)),
        "\n",
    )
    chance, null = 100 * rows["chance"].mean(), 100 * rows.groupby("estimator")["null_high"].mean().max()
    counts = sorted(set(rows["n_candidates"]))
    print(
        f"Chance {chance:.1f}, 97.5 % of a person's null {null:.1f}; {counts[0]} to {counts[-1]} candidates.\n"
    )
    full = mean.loc[FULL, np.inf] - chance
    print(f"80 % of {FULL}, above chance: {chance + 0.8 * full:.1f}. Reached:")
    for method in METHODS:
        enough = mean.columns[(mean.loc[method] - chance >= 0.8 * full).to_numpy()]
        print(f"- {method}: {f'{_said(enough[0])} minutes' if len(enough) else 'never'}")
    scratch = mean.loc["network from scratch"]
    for method in METHODS:
        ahead = [_said(m) for m in MINUTES[1:] if mean.loc[method, m] > scratch[m]]
        print(f"- {method} is ahead of scratch after {', '.join(ahead) or 'none'} minutes")
    best = mean.loc[list(METHODS), list(MINUTES[1:])].idxmax()
    print("- best method by minutes: " + ", ".join(f"{_said(m)}: {best[m]}" for m in MINUTES[1:]), "\n")


def _said(minutes):
    return "all" if minutes == np.inf else f"{minutes:g}"


def seconds(name, folder):
    """Seconds of each method by minutes, for one person."""
    X, y = data(name, folder)
    encoder, _ = decoders(folder / "cache")
    cv = LeaveOneSubjectOut(1, calibration_minutes=MINUTES[1:], test_share=TESTED)
    rows = {method: [] for method in METHODS}
    fitted = None
    for train, test in folds_of(cv, X, y)[: len(MINUTES) - 1]:
        own = (X["subject"].iloc[train] == X["subject"].iloc[test[0]]).to_numpy()
        if fitted is None:
            fitted = clone(encoder).fit(X.iloc[train[~own]], y.iloc[train[~own]])
        windows = fitted[:-1].transform(X.iloc[train[own]])
        for method, argument in METHODS.items():
            began = time.perf_counter()
            fitted[-1].adapt(windows, y.iloc[train[own]], argument)
            rows[method].append(f"{time.perf_counter() - began:.1f}")
    print(
        markdown(
            ["seconds to adapt", *map(_said, MINUTES[1:])], [[name, *row] for name, row in rows.items()]
        ),
        "\n",
    )


def figure(folder, path):
    """Draw the curves."""
    import matplotlib.pyplot as plt

    from sk_b2s.plotting import plot_adaptation

    _, axes = plt.subplots(1, len(EXPERIMENTS), figsize=(13, 5), layout="constrained")
    for ax, name in zip(axes, EXPERIMENTS, strict=True):
        plot_adaptation(read_results(folder / f"results_{name}.jsonl"), score="top_10", ax=ax)
        ax.set_title(name.upper())
    plt.savefig(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default="bench_adaptation", help="of recordings, cache and rows (2 GB)")
    parser.add_argument("--experiment", nargs="+", default=list(EXPERIMENTS), choices=list(EXPERIMENTS))
    parser.add_argument("--table", action="store_true", help="only print what is there")
    parser.add_argument("--seconds", action="store_true", help="only measure seconds to adapt")
    parser.add_argument("--figure", help="file of the figure, drawn of what is there")
    given = parser.parse_args()
    folder = Path(given.folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if given.figure:
        figure(folder, given.figure)
    print(f"{machine()}\n{PEOPLE} people, {LASTING} minutes each, {torch.get_num_threads()} threads\n")
    for name in given.experiment:
        if given.seconds:
            seconds(name, folder)
        elif not given.table:
            run(name, folder)
        if not given.seconds:
            print(f"{name}\n")
            table(pd.DataFrame(read_results(folder / f"results_{name}.jsonl")))
