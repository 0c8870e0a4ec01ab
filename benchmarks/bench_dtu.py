"""Real EEG of eight participants: ridge, likelihood, networks, ensemble.

``SK_B2S_TEST_DATA=folder python benchmarks/bench_dtu.py`` reads ``eeg_dtu``
like ``examples/plot_3_real_eeg.py``, and cuts, trains and tests like that
page: the envelope at 32 Hz, windows of three seconds, eight candidates in
either half (k=1), single windows and the mean over ten repeats. "regression"
is the network of "CLIP" with ``loss="mse"``. The number of epochs of both was
selected on simulated subjects, whose scores are printed first, never on real
ones. "likelihood" selects everything in the training half. "ensemble" is the
sum of the standardized similarities of CLIP and likelihood with equal weights.
Each decoder is also fitted and tested with the stimulus shifted by 21 s.

Settings were developed on participants 1 to 8. ``--subjects`` selects others.

Sixteen windows of one story cannot show which decoder is best, and the
intervals show that.
"""

import argparse
import importlib.util
import sys
import time
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
from _machine import machine, markdown
from threadpoolctl import threadpool_limits

from sk_b2s import LikelihoodDecoder, bootstrap_ci, compare_estimators
from sk_b2s.decoding._ensemble._members import count_ensemble_member_parameters
from sk_b2s.metrics._ranks_and_top_k import ranks

EPOCHS = (1, 3, 5, 10)
DECODERS = ("ridge", "likelihood", "regression", "CLIP", "ensemble")
NETWORKS = ("regression", "CLIP")
SHIFTS = list(product(range(1, 8), repeat=2))  # windows of each half, equal for all subjects


def load_page():
    """Import the example as a module."""
    path = Path(__file__).resolve().parents[1] / "examples" / "plot_3_real_eeg.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_subjects(page, numbers):
    """Load the recordings of participants, and the envelope."""
    subjects, envelope = page.load_subjects(page.data_folder(), max(numbers))
    return {f"S{number}": subjects[f"S{number}"] for number in numbers}, envelope


def add_onsets(windows):
    """Append the rises of the envelope as a second feature."""
    (signal,) = windows.signals
    signal = np.asarray(signal)
    rises = np.maximum(np.diff(signal, axis=0, prepend=signal[:1]), 0)
    signal = np.ascontiguousarray(np.c_[signal, rises / rises.std()], np.float32)
    return windows._replace(signals=[signal])


def similarities(page, name, people, envelope, epochs=None, cost=None):
    """Compute similarities: (subjects, 10, halves, 8 windows, 8).

    Seconds and number of parameters of the last fit are written to ``cost``.
    """
    cost = {} if cost is None else cost
    if name == "ensemble":
        costs = {member: {} for member in ("CLIP", "likelihood")}
        found = sum(
            standardize(similarities(page, member, people, envelope, epochs, costs[member]))
            for member in costs
        )
        cost |= {key: sum(part[key] for part in costs.values()) for key in ("seconds", "n_parameters")}
        return found
    found, cost["seconds"] = [], 0.0
    for train, test in (("second", "first"), ("first", "second")):
        whiten, step = (train, 0.25) if name in NETWORKS else (None, 1.5)
        X, y = page.cut(people, envelope, train, step, whiten)
        X_test, y_test = page.cut(people, envelope, test, page.SECONDS, whiten)
        if name == "likelihood":
            decoder, y, y_test = (
                LikelihoodDecoder(lags=(-0.125, 0.25), k=1),
                add_onsets(y),
                add_onsets(y_test),
            )
        elif name == "ridge":
            decoder = page.make_decoder("ridge")
        else:
            decoder = page.make_decoder("encoder", epochs=epochs)
            decoder.set_params(loss="mse" if name == "regression" else "clip")
        began = time.perf_counter()
        decoder.fit(X, y)
        cost["seconds"] += time.perf_counter() - began
        cost["n_parameters"] = count_ensemble_member_parameters(decoder)
        found.append(decoder.similarity(X_test, y_test).reshape(len(people), -1, 8, 8))
    return np.stack(found, axis=2)


def standardize(scores):
    """Standardize the similarities of each window."""
    return (scores - scores.mean(-1, keepdims=True)) / scores.std(-1, keepdims=True)


def hits(scores, averaged=False, shifts=(0, 0)):
    """Return whether windows are correct: (subjects, repeats, halves, 8)."""
    scores = scores.mean(1, keepdims=True) if averaged else scores
    target = np.stack([(np.arange(8) + shift) % 8 for shift in shifts])
    labels = np.broadcast_to(target, scores.shape[:-1])
    return (ranks(scores.reshape(-1, 8), labels.ravel()) == 0).reshape(labels.shape)


def choose_epochs(page, name, people, envelope):
    """Select the epochs with the best score on simulated subjects."""
    made_up = page.simulate_subjects(people, envelope)
    found = {n: hits(similarities(page, name, made_up, envelope, n)).mean() for n in EPOCHS}
    print(
        f"{name}, simulated subjects: " + ", ".join(f"{n} epochs {share:.1%}" for n, share in found.items()),
        flush=True,
    )
    return max(found, key=found.get)


def interval(values):
    """Format the interval over subjects and windows in per cent."""
    person, _, half, window = np.indices(values.shape)
    found = 100 * bootstrap_ci(values.ravel(), person.ravel(), (8 * half + window).ravel())[["low", "high"]]
    return f"{found['low']:.1f} to {found['high']:.1f}"


def report(found, shifted, costs, averaged):
    """Print a table of decoders with null and control, and one of pairs."""
    right = {name: hits(scores, averaged) for name, scores in found.items()}
    lines = []
    for name, scores in found.items():
        own = 100 * right[name].mean((1, 2, 3))
        null = 100 * np.array([hits(scores, averaged, shifts).mean() for shifts in SHIFTS])
        p = (1 + np.sum(null >= own.mean() - 1e-9)) / (1 + len(null))
        lines.append([
            name, f"{own.mean():.1f} ± {own.std(ddof=1) / np.sqrt(len(own)):.1f}", interval(right[name]),
            f"{null.mean():.1f}", f"{np.quantile(null, 0.975):.1f}", f"{p:.3f}",
            f"{100 * hits(shifted[name], averaged).mean():.1f}", f"{costs[name]['n_parameters']:,.0f}",
            f"{costs[name]['seconds']:.0f}",
        ])  # fmt: skip
    columns = [
        "decoder",
        "right, %",
        "95 %, people and windows",
        "null",
        "null 97.5 %",
        f"p (least {1 / 50:.2f})",
        "stimulus shifted by 21 s, %",
        "parameters",
        "fit (s)",
    ]
    print(
        f"\n{'Ten repeats averaged' if averaged else 'Single windows'}, chance 12.5 %\n\n{markdown(columns, lines)}"
    )
    table = pd.DataFrame([
        {"estimator": name, "subject": person, "fold": half, "top_1": right[name][person, :, half].mean()}
        for name in found for person in range(len(right[name])) for half in (0, 1)
    ])  # fmt: skip
    compared = compare_estimators(table, score="top_1").set_index(["estimator", "reference"])
    lines = []
    for one, other in combinations(found, 2):
        row = compared.loc[(one, other)]
        lines.append([
            f"{one} - {other}", f"{100 * row['mean_difference']:+.1f} ± {100 * row['sem']:.1f}",
            interval(right[one].astype(float) - right[other]), f"{row['n_better']:.0f} of {row['n_subjects']:.0f}",
            f"{row['p']:.3f}", f"{row['smallest_p']:.3f}", f"{row['p_holm']:.3f}",
        ])  # fmt: skip
    columns = [
        "pair",
        "difference, points",
        "95 %, people and windows",
        "people better",
        "p",
        "least p",
        "p, Holm",
    ]
    print("\n" + markdown(columns, lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--subjects", type=int, nargs="*", default=list(range(1, 9)), help="numbers of participants"
    )
    parser.add_argument("--decoders", nargs="*", choices=DECODERS, default=list(DECODERS))
    given = parser.parse_args()
    page = load_page()
    if not page.data_folder().is_dir():
        sys.exit(
            f"No recordings in {page.data_folder()}: set SK_B2S_TEST_DATA to the folder that holds eeg_dtu."
        )
    costs = {name: {} for name in given.decoders}
    with threadpool_limits(1):
        people, envelope = load_subjects(page, given.subjects)
        chosen = [name for name in NETWORKS if name in given.decoders or "ensemble" in given.decoders]
        epochs = {name: choose_epochs(page, name, people, envelope) for name in chosen}
        epochs["ensemble"] = epochs.get("CLIP")
        found, shifted, moved = {}, {}, np.roll(envelope, 21 * page.SFREQ)
        for name in given.decoders:
            found[name] = similarities(page, name, people, envelope, epochs.get(name), costs[name])
            shifted[name] = similarities(page, name, people, moved, epochs.get(name))
            print(f"{name}: {hits(found[name]).mean():.1%} of single windows", flush=True)
    for averaged in (False, True):
        report(found, shifted, costs, averaged)
    print(f"\n{time.process_time():.0f} s of one core on {machine()}")
