"""Decoders, their controls and the oracle on the simulated experiment.

``python benchmarks/bench_listening.py`` fits the presets of
``make_decoders`` to eight subjects on four fifths of the speech and scores
them on the rest, without and with artifacts, with several seeds. The subjects
are those of ``--seed``. The settings of the presets were selected on seed 0
(``search_presets.py``), so report another one.

Each line of ``listening.jsonl`` is one fit: a decoder and a seed, a control
of it, or a fit without the last two subjects, who are then decoded as unseen
subjects. It is written as soon as it exists and is not computed again.
``--table`` prints the existing rows. With ``--demo`` the experiment is that
of ``examples/plot_1_decode_listening.py``.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from _machine import machine, markdown
from _rows import append_row, name_of, read_rows
from scipy.stats import wilcoxon

from sk_b2s import (
    BrainEncoder,
    RetrievalResult,
    StimulusKFold,
    make_decoders,
    make_segments,
    retrieve,
    run_controls,
)
from sk_b2s.datasets import make_listening, oracle_scores
from sk_b2s.datasets.simulated._experiment import VERSION
from sk_b2s.decoding._candidates import find_distinct_candidates
from sk_b2s.decoding._ensemble._members import count_ensemble_member_parameters
from sk_b2s.decoding._presets import PRESETS, SIZES
from sk_b2s.evaluation._controls._registry import LEAK_TESTS

# name: preset and changes, the most important rows first
DECODERS = {
    "oracle": None,
    "ridge": ("ridge", {}),
    "likelihood": ("likelihood", {}),
    "network": ("clip-mel", {}),
    "ensemble": ("ensemble", {}),
    "network, size hours": ("clip-mel", {f"encoder__{name}": value for name, value in SIZES["hours"].network.items()}),
    "ensemble, size hours, one seed": (
        "ensemble", {
            "ensemble__n_seeds": 1,
            **{f"ensemble__clip-mel__encoder__{name}": value for name, value in SIZES["hours"].network.items()},
        },
    ),
    "regression": ("regression", {}),
    "network, embedding": ("clip-mel", {"encoder__subject_layer": "embedding"}),
    "network, no subject layer": ("clip-mel", {"encoder__subject_layer": None}),
    "network, no clipping": ("clip-mel", {"scale__clip": None}),
    "network, half a million weights": (
        "clip-mel", {"encoder__hidden": 128, "encoder__depth": 3, "encoder__n_virtual_channels": 64}
    ),
    # at the rate and on the target of the other networks; hours per fit without a GPU
    "network, size of the paper": (
        "clip-mel", {f"encoder__{name}": BrainEncoder().get_params()[name] for name in SIZES["laptop"].network}
    ),
}  # fmt: skip
N_UNSEEN = 2


def make_decoder(name, seed, memory):
    """Make a pipeline with a seed."""
    preset, changes = DECODERS[name]
    decoder = make_decoders(preset, memory=memory)[preset].set_params(**changes)
    seeds = {key: seed for key in decoder.get_params() if key.endswith("random_state")}
    return decoder.set_params(**seeds)


def has_seed(name):
    """Return whether fits with several seeds differ."""
    preset = DECODERS[name] and DECODERS[name][0]
    return preset is not None and any(
        key.endswith("random_state") for key in make_decoder(name, 0, None).get_params()
    )


def count_parameters(decoder):
    """Count the fitted weights of a pipeline, NaN if unknown."""
    last = decoder[-1]
    if hasattr(last, "summary_"):  # ensemble
        return float(last.summary_["n_parameters"].iloc[-1])
    return float(count_ensemble_member_parameters(last))


class Experiment:
    """Rows and folds of one experiment."""

    def __init__(self, data, root):
        self.data, self.memory = data, root / "cache"
        events, self.truth = make_listening(**data, root=root, return_truth=True)
        self.X, self.y = make_segments(events, tmin=-0.5, tmax=2.5)
        self.train, self.test = next(StimulusKFold(5).split(self.X, self.y))

    def oracle(self):
        """Score with the simulated truth."""
        X, y = self.X.iloc[self.test], self.y.iloc[self.test]
        found = find_distinct_candidates(y)
        rows = X.join(y[["segment", "word"]]).reset_index(drop=True)
        candidates = y.iloc[found.first].reset_index(drop=True)
        return describe(RetrievalResult(oracle_scores(self.truth, X, y), found.target, candidates, rows))

    def score(self, name, seed):
        """Fit a decoder on the training rows, and score it on the rest."""
        decoder = make_decoder(name, seed, self.memory)
        began = time.perf_counter()
        decoder.fit(self.X.iloc[self.train], self.y.iloc[self.train])
        seconds = time.perf_counter() - began
        result = retrieve(decoder, self.X.iloc[self.test], self.y.iloc[self.test])
        return {**describe(result), "seconds": round(seconds, 1), "n_parameters": count_parameters(decoder)}

    def control(self, name, seed, control):
        """Refit a decoder on the data of a control, and score it."""
        decoder, cv = make_decoder(name, seed, self.memory), [(self.train, self.test)]
        row = run_controls(decoder, self.X, self.y, cv=cv, controls=[control], n_shifts=200)
        row = row.loc[control]
        return {"top_1": row["top_1"], "top_k": row["top_k"], "verdict": str(row["verdict"])}

    def unseen(self, name, seed):
        """Fit without the last subjects, and score them."""
        names = np.unique(self.X["subject"])[-N_UNSEEN:]
        is_unseen = self.X["subject"].isin(names).to_numpy()
        train, test = self.train[~is_unseen[self.train]], self.test[is_unseen[self.test]]
        decoder = make_decoder(name, seed, self.memory).fit(self.X.iloc[train], self.y.iloc[train])
        return describe(retrieve(decoder, self.X.iloc[test], self.y.iloc[test]))


def describe(result):
    """Return scores per subject, number of candidates, chance and null."""
    summary, subjects = result.summary(), result.by_subject()
    columns = ["top_1", "top_k", "median_relative_rank"]
    return {
        **summary[[*columns, "n_candidates", "chance", "null_high"]].astype(float).round(5).to_dict(),
        "subjects": subjects[columns].round(5).to_dict(orient="index"),
    }  # fmt: skip


def list_jobs(names, seeds, controls, unseen):
    """List the fits of one experiment: (name, seed, what)."""
    for name in names:
        own = seeds if DECODERS[name] and has_seed(name) else seeds[:1]
        yield from ((name, seed, "decoder") for seed in own)
    for name in names:
        if DECODERS[name] is not None:
            yield from ((name, seeds[0], control) for control in controls)
    for name in names:
        if DECODERS[name] is not None and unseen:
            yield name, seeds[0], "unseen"


def run(experiments, jobs, folder):
    """Compute missing rows of some experiments."""
    path = folder / "listening.jsonl"
    done = read_rows(path)
    for data in experiments:
        experiment = None
        for name, seed, what in jobs:
            key = {**data, "simulation": VERSION, "decoder": name, "seed": seed, "what": what}
            if name_of(key) in done:
                continue
            experiment = experiment or Experiment(data, folder)
            try:
                if DECODERS[name] is None:
                    values = experiment.oracle()
                elif what == "decoder":
                    values = experiment.score(name, seed)
                elif what == "unseen":
                    values = experiment.unseen(name, seed)
                else:
                    values = experiment.control(name, seed, what)
            except FloatingPointError as error:  # without clipping a fit can diverge, which is a result
                print(f"{key}: {error}", flush=True)
                continue
            done[name_of(key)] = append_row(path, key, **values, machine=machine())
            told = f"top-10 {values['top_k']:.3f}, top-1 {values['top_1']:.3f}"
            print(
                f"{data['modality']}, artifacts {data['artifacts']}, {name}, seed {seed}, {what}: {told}",
                flush=True,
            )
    return done


def get_subject_means(rows):
    """Average over seeds: one row per subject."""
    tables = [pd.DataFrame.from_dict(row["subjects"], orient="index") for row in rows]
    return sum(tables) / len(tables)


def report(done, data, names):
    """Print the table of one experiment."""
    rows = [
        row for row in done.values() if all(row["key"].get(name) == value for name, value in data.items())
    ]
    by = {}
    for row in rows:
        by.setdefault((row["key"]["decoder"], row["key"]["what"]), []).append(row)
    if ("oracle", "decoder") not in by:
        return
    means = {name: get_subject_means(by[name, "decoder"]) for name in names if (name, "decoder") in by}
    oracle, first = means["oracle"]["top_k"].mean(), rows[0]
    lines = []
    for name, own in means.items():
        fits = pd.DataFrame(by[name, "decoder"])
        spread = f" (seeds {fits['top_k'].min():.3f} to {fits['top_k'].max():.3f})" if len(fits) > 1 else ""
        line = {"decoder": name}
        line["top-1"] = f"{own['top_1'].mean():.3f} ± {own['top_1'].sem():.3f}"
        line["top-10"] = f"{own['top_k'].mean():.3f} ± {own['top_k'].sem():.3f}{spread}"
        line["median relative rank"] = f"{own['median_relative_rank'].mean():.3f}"
        line["of the oracle"] = f"{(own['top_k'].mean() - first['chance']) / (oracle - first['chance']):.0%}"
        for reference in ("ridge", "network", "likelihood"):
            line[f"minus {reference}"] = (
                compare(own, means[reference])
                if reference in means and name not in (reference, "oracle")
                else ""
            )
        controls = {what: by[name, what][0] for _, what in by if (name, what) in by and what in LEAK_TESTS}
        line["controls, top-10"] = ", ".join(f"{what} {row['top_k']:.3f}" for what, row in controls.items())
        line["unseen, top-10"] = f"{by[name, 'unseen'][0]['top_k']:.3f}" if (name, "unseen") in by else ""
        has_cost = "n_parameters" in fits and not pd.isna(fits["n_parameters"].iloc[0])
        line["parameters"] = f"{fits['n_parameters'].iloc[0]:,.0f}" if has_cost else ""
        line["fit (s)"] = f"{fits['seconds'].mean():.0f}" if "seconds" in fits else ""
        lines.append(line)
    print(
        f"\n**{data['modality'].upper()}, {data['snr_db'] or 'default'} dB, artifacts {'on' if data['artifacts'] else 'off'}, "
        f"{data['n_subjects']} subjects of seed {data['random_state']}, {data['minutes']:g} minutes, "
        f"{first['n_candidates']:.0f} candidates, chance {first['chance']:.4f}**\n"
    )
    print(markdown(list(lines[0]), [line.values() for line in lines]))


def compare(own, reference):
    """Compare top-10 accuracies of the same subjects."""
    paired = own["top_k"] - reference["top_k"]
    p = wilcoxon(paired).pvalue if (paired != 0).any() else 1.0
    return f"{paired.mean():+.3f} ({(paired > 0).sum()} of {len(paired)} subjects, p = {p:.3f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modality", choices=["meg", "eeg"], nargs="*", default=["meg", "eeg"])
    parser.add_argument("--artifacts", choices=["off", "on"], nargs="*", default=["off", "on"])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--subjects", type=int, default=8)
    parser.add_argument("--snr", type=float, help="dB; by default that of the simulation")
    parser.add_argument(
        "--demo", action="store_true", help="4 subjects, 10 minutes of MEG at -12 dB with artifacts"
    )
    parser.add_argument(
        "--seed", type=int, default=100, help="of the simulated subjects; 0 was used for development"
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="of the networks")
    parser.add_argument("--decoders", nargs="*", choices=list(DECODERS), default=list(DECODERS)[:6])
    parser.add_argument(
        "--controls", nargs="*", choices=LEAK_TESTS, default=["phase_randomized", "shifted_labels"]
    )
    parser.add_argument(
        "--unseen", action="store_true", help="also decode two subjects without training data"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("bench_listening"), help="recordings and rows (5 GB)"
    )
    parser.add_argument("--table", action="store_true", help="only print existing rows")
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True, parents=True)
    size = {
        "n_subjects": given.subjects,
        "minutes": given.minutes,
        "snr_db": given.snr,
        "random_state": given.seed,
    }
    conditions = [(modality, on == "on") for modality in given.modality for on in given.artifacts]
    if given.demo:
        size |= {"n_subjects": 4, "minutes": 10.0, "snr_db": -12.0}
        conditions = [("meg", True)]
    experiments = [
        {**size, "modality": modality, "artifacts": artifacts} for modality, artifacts in conditions
    ]
    names = [name for name in given.decoders if DECODERS[name] is None or DECODERS[name][0] in PRESETS]
    if not given.table:
        run(experiments, list(list_jobs(names, given.seeds, given.controls, given.unseen)), given.folder)
    done = read_rows(given.folder / "listening.jsonl")
    for data in experiments:
        report(done, data, list(DECODERS))
    print(f"\n{machine()}")
