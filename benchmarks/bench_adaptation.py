"""Calibration to an unseen subject: top-10 accuracy by minutes and method.

``python benchmarks/bench_adaptation.py`` holds out each of eight simulated
subjects, MEG and EEG. The last quarter of a subject's stimuli is the test set,
which no decoder was trained on, and the first minutes are calibration data.
Compared are unseen subjects without calibration (mean of the subject layers,
layer of the most similar subject), the three methods of ``adapt``, network and
ridge trained on the same minutes alone, and the network trained with all
subjects, the minutes of the new one included. A row is written to
``results.jsonl`` in ``--folder`` as soon as it exists. A second call resumes,
and several processes can share the work. ``--table`` prints the existing rows,
``--figure FILE`` plots them.
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
    CovarianceAlignment,
    Epocher,
    FeatureScaler,
    LeaveOneSubjectOut,
    MelSpectrogram,
    RidgeDecoder,
    RobustChannelScaler,
    benchmark,
    make_segments,
    read_results,
)
from sk_b2s.datasets import make_listening
from sk_b2s.evaluation._benchmark_summary import average_summary_scores
from sk_b2s.evaluation._results._amounts import AMOUNT
from sk_b2s.evaluation._statistics._subject_means import compute_subject_statistics
from sk_b2s.model_selection._split import list_split_folds

EXPERIMENTS = {  # other subjects than those that the constants were selected on (random_state=0)
    "meg": {"modality": "meg", "snr_db": -12.0, "n_channels": 104, "random_state": 1},
    "eeg": {"modality": "eeg", "snr_db": -14.0, "n_channels": 64, "random_state": 2},
}
PEOPLE, LASTING, TESTED = 8, 20, 0.25  # minutes, and the test share
MINUTES = (0, 0.5, 1, 2, 5, 10, np.inf)
FEW = MINUTES[1:]
NETWORK = {
    "hidden": 64, "depth": 5, "n_virtual_channels": 64, "subject_dropout": 0.3, "lr": 1e-3, "batch_size": 128,
    "random_state": 0, "verbose": 0,
}  # fmt: skip
TOGETHER = {"max_epochs": 5, "patience": 3}
ALONE = {"max_epochs": 60, "patience": 10}  # few minutes give short passes
METHODS = {"closed form": "ridge", "frozen trunk": "layer", "full fine-tuning": "all"}
FULL, SCRATCH = "trained with everybody", "network from scratch"


def data(name, folder):
    """Make the segments of one experiment."""
    events = make_listening(PEOPLE, LASTING, **EXPERIMENTS[name], root=folder)
    return make_segments(events, anchor=0.5, tmin=-0.5, tmax=2.5)


def decoders(memory, recentre=True):
    """Make the preprocessing steps, the network and ridge."""
    mel = make_pipeline(MelSpectrogram(n_mels=40, sfreq=25, memory=memory), FeatureScaler())
    brain = [("epochs", Epocher(sfreq=50, lag=0.15, memory=memory)), ("scale", RobustChannelScaler(clip=20))]
    brain += [("recentre", CovarianceAlignment(shrinkage=0.01))] if recentre else []
    encoder = Pipeline([*brain, ("encoder", BrainEncoder(speech=mel, **NETWORK, **TOGETHER))])
    ridge = RidgeDecoder(speech=mel, lags=(-0.15, 0.35), n_components=48)
    return encoder, Pipeline([*brain, ("ridge", ridge)])


def runs(memory):
    """List pairs of decoders and amounts of calibration."""
    encoder, ridge = decoders(memory)
    alone = clone(encoder).set_params(**{f"encoder__{name}": value for name, value in ALONE.items()})
    adapted = {name: CalibratedDecoder(encoder, method, memory) for name, method in METHODS.items()}
    yield {"unknown average": CalibratedDecoder(encoder, "none", memory)}, MINUTES[:1]
    yield {**adapted, SCRATCH: CalibratedDecoder(alone, "scratch")}, FEW
    fixed = clone(ridge).set_params(ridge__alphas=(0.03,))  # one or two blocks cannot select it
    yield {"ridge, one strength": CalibratedDecoder(fixed, "scratch")}, FEW
    yield {"ridge": CalibratedDecoder(ridge, "scratch")}, FEW[2:]
    yield {FULL: encoder}, (np.inf,)
    nearest = clone(encoder).set_params(encoder__unseen_subject="nearest")
    yield {"unknown nearest": CalibratedDecoder(nearest, "none")}, MINUTES[:1]
    plain = decoders(memory, recentre=False)[0]
    yield {"unknown average, not re-centred": CalibratedDecoder(plain, "none")}, MINUTES[:1]


def run(name, folder):
    """Compute the missing rows of one experiment."""
    X, y = data(name, folder)
    for estimators, minutes in runs(folder / "cache"):
        cv = LeaveOneSubjectOut(1, calibration_minutes=minutes, test_size=TESTED)
        benchmark(
            estimators, X, y, cv, path=folder / f"results_{name}.jsonl", controls=False, n_candidates=None
        )


def table(results):
    """Print means over subjects and conclusions by rules fixed in advance.

    If two means are within the null of a mean over as many subjects, neither
    is better. Two decoders are compared on the subjects of both.
    """
    rows = results[(results["error"] == "") & (results["control"] == "decoder")]
    if not len(rows):
        print("No rows yet.\n")
        return
    names, columns = list(pd.unique(rows["estimator"])), [*map(_said, MINUTES)]
    n_people = rows["subject"].nunique()
    found = average_summary_scores(rows, by=["estimator", AMOUNT])
    shown = [[name, *[_cell(found, (name, minutes), n_people) for minutes in MINUTES]] for name in names]
    print(markdown(["top-10, %", *columns], shown), "\n")
    chance, null, counts = 100 * rows["chance"].mean(), 100 * found["null_high"], rows["n_candidates"]
    print(
        f"Mean ± s.e.m. of {n_people} subjects, in parentheses where not above the null. Chance {chance:.1f}, 97.5 % of "
        f"the null of a mean over subjects {null.min():.1f} to {null.max():.1f}; "
        f"{counts.min():.0f} to {counts.max():.0f} candidates.\n"
    )
    methods = [name for name in METHODS if name in names]
    beside = {name: [_beside(rows, name, minutes, SCRATCH, minutes) for minutes in FEW] for name in methods}
    shown = [[name, *[_points(one) for one in ones]] for name, ones in beside.items()]
    print(markdown([f"points above {SCRATCH}", *columns[1:]], shown), "\n")
    share = {
        name: [_share(_beside(rows, name, minutes, FULL, np.inf)) for minutes in FEW] for name in methods
    }
    shown = [
        [name, *["" if np.isnan(one) else f"{100 * one:.0f}" for one in ones]] for name, ones in share.items()
    ]
    print(markdown([f"% of {FULL}, above chance", *columns[1:]], shown), "\n")
    for name in methods:
        print(f"- {name}: {_against_scratch(beside[name])}; {_enough(share[name])}")
    print(f"- best method by minutes: {', '.join(_best(found, methods, minutes) for minutes in FEW)}\n")


def _cell(found, key, n_people):
    """Format a mean of the table."""
    if key not in found.index:
        return ""
    one = found.loc[key]
    text = f"{100 * one['score']:.1f} ± {100 * one['sem']:.1f}"
    text = text if one["score"] > one["null_high"] else f"({text})"
    return text if one["n_subjects"] == n_people else f"{text}, {one['n_subjects']:.0f} people"


def _beside(rows, name, minutes, other, others_minutes):
    """Compare two decoders on the subjects of both, None without any."""
    asked = [(name, minutes), (other, others_minutes)]
    parts = [rows[(rows["estimator"] == name) & (rows[AMOUNT] == amount)] for name, amount in asked]
    both = set(parts[0]["subject"]) & set(parts[1]["subject"])
    if not both:
        return None
    parts = [part[part["subject"].isin(both)] for part in parts]
    one, other = (average_summary_scores(part, by=["estimator"]).iloc[0] for part in parts)
    between = compute_subject_statistics(parts[0], "top_k") - compute_subject_statistics(parts[1], "top_k")
    above = [each["score"] > each["null_high"] for each in (one, other)]
    return {"one": one, "other": other, "mean": between.mean(), "sem": between.sem(), "above": above}


def _points(beside):
    """Format a difference."""
    if beside is None:
        return ""
    return f"{100 * beside['mean']:+.1f} ± {100 * beside['sem']:.1f}" if any(beside["above"]) else "tie"


def _share(beside):
    """Return a score above chance as a share of another, or NaN."""
    if beside is None or not beside["above"][1]:
        return np.nan
    return np.divide(*[each["score"] - each["chance"] for each in (beside["one"], beside["other"])])


def _against_scratch(beside):
    """Compare a method with training from scratch, up to ten minutes."""
    kinds: dict[str, list[str]] = {}
    for minutes, one in zip(FEW, beside, strict=True):
        if minutes <= 10:
            kinds.setdefault(_kind(one), []).append(_said(minutes))
    return "; ".join(f"{kind} at {', '.join(ones)} minutes" for kind, ones in kinds.items())


def _kind(beside):
    """Return which of two means is higher."""
    if beside is None:
        return "nothing yet"
    return (
        ("above scratch" if beside["mean"] > 0 else "not above scratch") if any(beside["above"]) else "a tie"
    )


def _enough(shares):
    """Return the amount that reaches four fifths of the reference."""
    if np.isnan(shares).all():
        return f"{FULL} is missing or inside its null, so that nothing can be 80 % of it"
    enough = [_said(minutes) for minutes, share in zip(FEW, shares, strict=True) if share >= 0.8]
    return f"80 % of {FULL} {f'after {enough[0]} minutes' if enough else 'never'}"


def _best(found, methods, minutes):
    """Return the method with the highest mean at an amount."""
    there = found.loc[[(name, minutes) for name in methods if (name, minutes) in found.index]]
    if not len(there):
        return f"{_said(minutes)}: missing"
    above = (there["score"] > there["null_high"]).any()
    return f"{_said(minutes)}: {there['score'].idxmax()[0] if above else 'tie'}"


def _said(minutes):
    return "all" if minutes == np.inf else f"{minutes:g}"


def seconds(name, folder):
    """Measure the seconds of each method by minutes."""
    X, y = data(name, folder)
    encoder, _ = decoders(folder / "cache")
    cv = LeaveOneSubjectOut(1, calibration_minutes=FEW, test_size=TESTED)
    rows = {method: [] for method in METHODS}
    fitted = None
    for train, test in list_split_folds(cv, X, y)[: len(FEW)]:
        own = (X["subject"].iloc[train] == X["subject"].iloc[test[0]]).to_numpy()
        if fitted is None:
            fitted = clone(encoder).fit(X.iloc[train[~own]], y.iloc[train[~own]])
        windows = fitted[:-1].transform(X.iloc[train[own]])
        for method, argument in METHODS.items():
            began = time.perf_counter()
            fitted[-1].adapt(windows, y.iloc[train[own]], argument)
            rows[method].append(f"{time.perf_counter() - began:.1f}")
    print(
        markdown(["seconds to adapt", *map(_said, FEW)], [[name, *row] for name, row in rows.items()]),
        "\n",
    )


def figure(folder, path):
    """Plot the curves."""
    import matplotlib.pyplot as plt

    from sk_b2s.plotting import plot_adaptation

    _, axes = plt.subplots(1, len(EXPERIMENTS), figsize=(13, 5), layout="constrained")
    for ax, name in zip(axes, EXPERIMENTS, strict=True):
        plot_adaptation(read_results(folder / f"results_{name}.jsonl"), ax=ax)
        ax.set_title(f"{name.upper()}, {ax.get_title()}")
    plt.savefig(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", default="bench_adaptation", help="folder of recordings, cache and rows (2 GB)"
    )
    parser.add_argument("--experiment", nargs="+", default=list(EXPERIMENTS), choices=list(EXPERIMENTS))
    parser.add_argument("--table", action="store_true", help="only print existing rows")
    parser.add_argument("--seconds", action="store_true", help="only measure seconds to adapt")
    parser.add_argument("--figure", help="file of the figure, plotted from existing rows")
    given = parser.parse_args()
    folder = Path(given.folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if given.figure:
        figure(folder, given.figure)
    print(f"{machine()}\n{PEOPLE} subjects, {LASTING} minutes each, {torch.get_num_threads()} threads\n")
    for name in given.experiment:
        if given.seconds:
            seconds(name, folder)
        elif not given.table:
            run(name, folder)
        if not given.seconds:
            print(f"{name}\n")
            table(pd.DataFrame(read_results(folder / f"results_{name}.jsonl")))
