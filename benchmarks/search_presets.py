"""Search the settings of the presets on development data.

``python benchmarks/search_presets.py`` fits candidates on the simulated
experiments of ``random_state=0`` and on the first eight participants of the
real EEG, which no report uses. Networks are searched greedily: each candidate
changes one setting of ``NETWORK``, and changes that gain on the experiment
"demo" are combined. The best ``--keep`` candidates of "demo" continue on the
recordings of 30 minutes, and the best of these on more seeds. Ridge regression
is searched in the same way from ``RIDGE``.

Each line of ``search.jsonl`` in ``--folder`` is one candidate, experiment and
seed. It is written as soon as it exists and is not computed again.
``--set hidden=48 depth=1`` computes any other candidate, and ``--table``
prints the existing rows. Scores are those of the first fold of five. "mean of
seeds" averages the standardized similarities of all seeds.
"""

import argparse
import ast
import hashlib
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _machine import machine, markdown
from _rows import append_row, name_of, read_rows
from bench_dtu import hits, load_page
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    AcousticOnsets,
    BrainEncoder,
    CovarianceAlignment,
    Epocher,
    FeatureScaler,
    LikelihoodDecoder,
    MelSpectrogram,
    RidgeDecoder,
    RobustChannelScaler,
    SpeechFeatureUnion,
    StimulusKFold,
    Windows,
    make_segments,
)
from sk_b2s.datasets import make_listening
from sk_b2s.datasets.simulated._experiment import VERSION
from sk_b2s.decoding._candidates import find_distinct_candidates
from sk_b2s.decoding._ensemble._members import count_ensemble_member_parameters
from sk_b2s.metrics._ranks_and_top_k import ranks

LONG = {"n_subjects": 8, "minutes": 30}
EXPERIMENTS = {
    "demo": {"n_subjects": 4, "minutes": 10, "modality": "meg", "snr_db": -12.0, "artifacts": True},
    "meg": {**LONG, "modality": "meg", "artifacts": False},
    "meg-artifacts": {**LONG, "modality": "meg", "artifacts": True},
    "eeg": {**LONG, "modality": "eeg", "artifacts": False},
    "eeg-artifacts": {**LONG, "modality": "eeg", "artifacts": True},
    "real-eeg": {},
}
MOST_BYTES = 6e9  # of windows in memory, more are cut for each batch
# Windows and target of both kinds of decoders
WINDOWS = {"sfreq": 50, "lag": 0.15, "clip": 20.0, "align": True, "shrinkage": 0.1, "tmin": -0.5, "tmax": 2.5}
TARGET = {"n_mels": 20, "mel_sfreq": 50, "onsets": 0, "per_feature": True, "whiten": False}
NETWORK = {
    "hidden": 32, "depth": 2, "kernel_size": 7, "n_virtual_channels": 16, "glu": False, "head": False, "lr": 1e-3,
    "batch_size": 128, "max_epochs": 12, "patience": 4,
}  # fmt: skip
RIDGE = {"lags": (-0.15, 0.35), "n_components": 48}
LIKELIHOOD = {"lags": (-0.15, 0.3)}
BASES = {"network": NETWORK, "ridge": RIDGE, "likelihood": LIKELIHOOD}

CANDIDATES = {
    "network": [
        {}, {"batch_size": 64}, {"lr": 3e-3}, {"max_epochs": 20, "patience": 6}, {"n_mels": 10},
        {"loss": "symmetric_clip"}, {"kernel_size": 11}, {"subject_layer": "embedding"}, {"hidden": 64},
        {"n_virtual_channels": 8}, {"n_virtual_channels": 32}, {"onsets": 8}, {"duplicates": "mask"},
        {"loss": "siglip", "duplicates": "positive"}, {"shrinkage": 0.01}, {"spatial_dropout": 0.0},
        {"spatial_dropout": 0.4}, {"n_mels": 40}, {"depth": 1, "kernel_size": 15}, {"depth": 3},
        {"initial_linear": False}, {"skip": False}, {"lr": 5e-4}, {"batch_size": 256}, {"sfreq": 100},
        {"sfreq": 100, "mel_sfreq": 100}, {"mel_sfreq": 25}, {"head": True}, {"glu": True}, {"align": False},
        {"kernel_size": 5}, {"lag": 0.1},
    ],
    "ridge": [
        {}, {"align": False}, {"n_mels": 40}, {"n_mels": 10}, {"n_mels": 40, "mel_sfreq": 25}, {"mel_sfreq": 25},
        {"n_components": 24}, {"n_components": 96}, {"n_components": None},
        {"lags": (-0.15, 0.2)}, {"lags": (-0.1, 0.35)}, {"lags": (-0.15, 0.5)},
        {"per_feature": False}, {"onsets": 8}, {"align": False, "n_mels": 40, "mel_sfreq": 25},
    ],
}  # fmt: skip


def key_of(decoder, changes, experiment, seed):
    """Return the settings of a fit, only those that are changed."""
    base = {**WINDOWS, **TARGET, **BASES[decoder]}
    changes = {name: value for name, value in changes.items() if name not in base or base[name] != value}
    data = {**EXPERIMENTS[experiment], "simulation": VERSION}
    return {"decoder": decoder, "changes": changes, "experiment": experiment, "data": data, "seed": seed}


class Experiment:
    """Windows, stimulus table and folds of an experiment, read once."""

    def __init__(self, name, folder):
        self.name, self.memory, self.windows = name, folder / "cache", {}
        if name == "real-eeg":
            page = load_page()
            subjects, envelope = page.load_subjects(page.data_folder())
            self.halves = [
                (
                    *page.cut(subjects, envelope, train, 0.25, train),
                    *page.cut(subjects, envelope, test, page.SECONDS, train),
                )
                for train, test in (("second", "first"), ("first", "second"))
            ]
            return
        self.events = make_listening(**EXPERIMENTS[name], root=folder)

    def cut(self, sfreq, lag, clip, align, shrinkage, tmin, tmax):
        """Return windows, table and rows of training and test."""
        key = sfreq, lag, clip, align, shrinkage, tmin, tmax
        if key not in self.windows:
            self.windows.clear()  # one at a time
            X, y = make_segments(self.events, tmin=tmin, tmax=tmax)
            steps = [Epocher(sfreq=sfreq, lag=lag, memory=self.memory), RobustChannelScaler(clip=clip)]
            steps += [CovarianceAlignment(shrinkage=shrinkage)] if align else []
            windows = make_pipeline(*steps).fit_transform(X)
            self.windows[key] = store_windows(windows), y, *next(StimulusKFold(5).split(X, y))
        return self.windows[key]


def store_windows(windows):
    """Compute windows once if they fit into memory."""
    if windows.nbytes > MOST_BYTES:
        return windows
    order = np.argsort(windows.which, kind="stable")
    signals, start = [], np.empty(len(windows), np.int64)
    for index in range(len(windows.signals)):
        mine = order[windows.which[order] == index]
        batch = windows.gather(mine).transpose(1, 2)
        start[mine] = np.arange(len(mine)) * batch.shape[1]
        signals.append(np.ascontiguousarray(batch.reshape(-1, batch.shape[2]).numpy()))
    return Windows(
        signals, windows.which, start, windows.n_times, windows.sfreq, rows=windows.rows,
        positions=windows.positions, layout=windows.layout, ch_names=windows.ch_names,
    )  # fmt: skip


class SearchEncoder(BrainEncoder):
    """Encoder without the statistics for unseen subjects, to save time."""

    def _fit_unseen_subjects(self, *args):
        pass


def make_speech(memory, n_mels, mel_sfreq, onsets, per_feature, whiten):
    """Make the target of a decoder."""
    features = MelSpectrogram(n_mels=n_mels, sfreq=mel_sfreq, memory=memory)
    if onsets:
        both = [("mel", features), ("onsets", AcousticOnsets(sfreq=mel_sfreq, n_bands=onsets, memory=memory))]
        features = SpeechFeatureUnion(both)
    return make_pipeline(features, FeatureScaler(per_feature=per_feature, whiten=whiten))


def make_decoder(decoder, settings, speech, seed):
    """Make a decoder of windows."""
    if decoder == "ridge":
        return RidgeDecoder(speech=speech, **settings)
    if decoder == "likelihood":
        return LikelihoodDecoder(speech=speech, **settings)
    return SearchEncoder(speech=speech, random_state=seed, verbose=0, **settings)


def fit(decoder, changes, experiment, seed):
    """Fit, score and return similarities, targets and entries of a row."""
    settings = {**WINDOWS, **TARGET, **BASES[decoder], **changes}
    windows, target = ({name: settings.pop(name) for name in part} for part in (WINDOWS, TARGET))
    if experiment.name == "real-eeg":
        settings |= (
            {"k": 1} if decoder != "network" else {"k": 1, "spatial_attention": False, "validation": None}
        )
        began, found = time.perf_counter(), []
        for X, y, X_test, y_test in experiment.halves:
            fitted = make_decoder(decoder, settings, None, seed).fit(X, y)
            found.append(fitted.similarity(X_test, y_test).reshape(8, -1, 8, 8))
        scores = np.stack(found, axis=2)
        seconds = time.perf_counter() - began
        entries = {"top_1": hits(scores).mean(), "top_k": hits(scores, averaged=True).mean()}
        return (
            scores,
            None,
            {**entries, "seconds": seconds, "n_parameters": int(count_ensemble_member_parameters(fitted))},
        )
    X, y, train, test = experiment.cut(**windows)
    speech = make_speech(experiment.memory, **target)
    began = time.perf_counter()
    fitted = make_decoder(decoder, settings, speech, seed).fit(X[train], y.iloc[train])
    seconds = time.perf_counter() - began
    scores = fitted.similarity(X[test], y.iloc[test])
    correct = find_distinct_candidates(y.iloc[test]).target
    entries = {
        **score(scores, correct),
        "seconds": seconds,
        "n_parameters": int(count_ensemble_member_parameters(fitted)),
    }
    if decoder == "network":
        valid = [epoch["valid_loss"] for epoch in fitted.history_]
        entries |= {"epoch": int(np.argmin(valid)) + 1, "valid_loss": round(float(np.min(valid)), 4)}
    return scores, correct, entries


def score(scores, correct):
    """Compute both accuracies, number of candidates included."""
    rank = ranks(scores, correct)
    return {
        "top_1": float((rank < 1).mean()), "top_k": float((rank < 10).mean()), "n_candidates": scores.shape[1],
    }  # fmt: skip


def standardize(scores):
    """Standardize the similarities of each window."""
    return (scores - scores.mean(-1, keepdims=True)) / scores.std(-1, keepdims=True)


def path_of(folder, key):
    """Return the file of similarities of a fit."""
    return folder / "similarities" / f"{hashlib.sha1(name_of(key).encode()).hexdigest()[:16]}.npz"


def run(jobs, folder):
    """Compute missing rows: (decoder, changes, experiment, seed)."""
    path, experiments = folder / "search.jsonl", {}
    done = read_rows(path)
    for decoder, changes, name, seed in jobs:
        key = key_of(decoder, changes, name, seed)
        if name_of(key) in done:
            continue
        if name not in experiments:
            experiments = {name: Experiment(name, folder)}  # one at a time
        scores, correct, entries = fit(decoder, changes, experiments[name], seed)
        path_of(folder, key).parent.mkdir(exist_ok=True)
        np.savez(
            path_of(folder, key), scores=scores.astype(np.float16), correct=() if correct is None else correct
        )
        entries = {
            name: round(value, 4) if isinstance(value, float) else value for name, value in entries.items()
        }
        done[name_of(key)] = append_row(path, key, **entries, machine=machine())
        told = ", ".join(f"{name} {value}" for name, value in entries.items())
        print(f"{decoder} {key['changes']}, {name}, seed {seed}: {told}", flush=True)
    return done


def average_seeds(rows, folder):
    """Score the mean of the standardized similarities of some rows."""
    files = [np.load(path_of(folder, row["key"])) for row in rows]
    mean = np.mean([standardize(file["scores"].astype(np.float32)) for file in files], axis=0)
    if rows[0]["key"]["experiment"] == "real-eeg":
        return {"top_1": hits(mean).mean(), "top_k": hits(mean, averaged=True).mean()}
    return score(mean, files[0]["correct"])


def summarize(done, folder):
    """Return one line per decoder, candidate and experiment."""
    groups = {}
    for row in done.values():
        key = row["key"]
        groups.setdefault((key["experiment"], key["decoder"], name_of(key["changes"])), []).append(row)
    lines = []
    for (experiment, decoder, changes), rows in groups.items():
        both = average_seeds(rows, folder) if len(rows) > 1 else None
        scores = pd.DataFrame(rows)
        lines.append({
            "experiment": experiment, "decoder": decoder, "changes": changes, "seeds": len(rows),
            "top_k": scores["top_k"].mean(), "sd": scores["top_k"].std(), "top_1": scores["top_1"].mean(),
            "mean of seeds": both and both["top_k"], "its top_1": both and both["top_1"],
            "parameters": scores["n_parameters"].iloc[0], "seconds": scores["seconds"].mean(),
        })  # fmt: skip
    order = {name: place for place, name in enumerate(EXPERIMENTS)}
    table = pd.DataFrame(lines)
    return table.sort_values(
        ["experiment", "decoder", "top_k"],
        key=lambda c: c.map(order) if c.name == "experiment" else -c if c.name == "top_k" else c,
    )


def report(table):
    """Print a table for each experiment and decoder."""
    for (experiment, decoder), rows in table.groupby(["experiment", "decoder"], sort=False):
        names = ("top-1, single", "top-1, averaged") if experiment == "real-eeg" else ("top-1", "top-10")
        lines = [
            [
                ", ".join(f"{k}={v!r}" for k, v in json.loads(row["changes"]).items()) or "base",
                int(row["seeds"]), f"{row['top_k']:.3f}" + f" ± {row['sd']:.3f}" * (row["seeds"] > 1),
                f"{row['top_1']:.3f}",
                f"{row['mean of seeds']:.3f} / {row['its top_1']:.3f}" if row["seeds"] > 1 else "",
                f"{row['parameters']:,.0f}", f"{row['seconds']:.0f}",
            ]
            for row in rows.to_dict("records")
        ]  # fmt: skip
        columns = ["settings", "seeds", names[1], names[0], "mean of seeds", "parameters", "fit (s)"]
        print(f"\n**{decoder}, {experiment}**\n\n{markdown(columns, lines)}")


def best(table, decoder, experiment, n):
    """Return the changes of the best candidates of an experiment."""
    rows = table[(table["decoder"] == decoder) & (table["experiment"] == experiment)]
    texts = rows.nlargest(n, "top_k")["changes"]
    return [json.loads(text) for text in texts]


def parse_setting(text):
    """Parse ``name=value``."""
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return name, value


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--decoder", nargs="*", choices=list(BASES), default=list(BASES))
    parser.add_argument("--experiments", nargs="*", choices=list(EXPERIMENTS), default=list(EXPERIMENTS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--keep", type=int, default=6, help="candidates of 'demo' that continue")
    parser.add_argument("--set", nargs="*", action="append", metavar="NAME=VALUE", help="only this candidate")
    parser.add_argument(
        "--folder", type=Path, default=Path("search_presets"), help="recordings and rows (6 GB)"
    )
    parser.add_argument("--table", action="store_true", help="only print existing rows")
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True, parents=True)
    torch.set_num_threads(1)
    for name in given.decoder if not given.table else ():
        seeds = given.seeds[:1] if name != "network" else given.seeds
        candidates = CANDIDATES[name]
        if given.set is not None:
            candidates = [dict(map(parse_setting, pairs)) for pairs in given.set]
        for place, experiment in enumerate(given.experiments):
            done = run([(name, c, experiment, s) for c in candidates for s in seeds], given.folder)
            if place == 0 and given.set is None:
                candidates = best(summarize(done, given.folder), name, experiment, given.keep)
    report(summarize(read_rows(given.folder / "search.jsonl"), given.folder))
