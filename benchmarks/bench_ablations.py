"""Ablations of the paper, losses and speech features on simulated data.

``python benchmarks/bench_ablations.py`` fits each row with three seeds to the
same subjects and stimuli, with artifacts, and scores it on a held-out fifth of
the speech. A row is appended to ``ablations.jsonl`` in ``--folder`` as soon as
it exists and is not computed again. ``--table`` prints the existing rows. A
difference is beyond the spread if it exceeds two standard errors of a
difference of means over seeds, 2 sqrt((s² + s_reference²) / n_seeds). Three
seeds estimate a deviation badly, so a "yes" close to the limit is weak
evidence.

Every fit has the same budget of epochs, and a tenth of the training blocks
selects the best. Nothing was selected on the test blocks. The network needs a
minute per fit on one core. The table shows which differences exceed the spread
over seeds *here*, not their size in the network of the paper.
"""

import argparse
import inspect
import time
from pathlib import Path

import numpy as np
import pandas as pd
from _machine import machine, markdown
from _rows import append_row, name_of, read_rows
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    BrainEncoder,
    Epocher,
    FeatureScaler,
    MelSpectrogram,
    RobustChannelScaler,
    StimulusKFold,
    Wav2Vec2Features,
    make_segments,
    retrieve,
)
from sk_b2s.datasets import make_listening
from sk_b2s.datasets.simulated._experiment import VERSION
from sk_b2s.nn._registry import LOSSES

SEEDS = (0, 1, 2)
EXPERIMENT = {"n_subjects": 6, "minutes": 20, "modality": "meg", "snr_db": -12.0, "simulation": VERSION}
BRAIN = {"sfreq": 40, "lag": 0.15, "clip": 20.0}
SPEECH = {"target": "Mel"}
ENCODER = {
    "hidden": 48, "depth": 5, "n_virtual_channels": 64, "lr": 1e-3, "batch_size": 64, "max_epochs": 4, "patience": 4,
    "precision": "bfloat16",
}  # fmt: skip

# Table 4 of the paper, by the changed setting.
ABLATIONS = {
    "reference": {},
    "no subject layer": {"subject_layer": None},
    "no clipping": {"clip": None},
    "no spatial attention": {"spatial_attention": False},
    "no GLU": {"glu": False},
    "no initial linear": {"initial_linear": False},
    "no final convolutions": {"head": False},
    "no skip": {"skip": False},
    "ReLU": {"activation": "relu"},
    "subject embedding": {"subject_layer": "embedding"},
    "no spatial dropout": {"spatial_dropout": 0.0},
    "clamp 100": {"clip": 100.0},
    "float32": {"precision": "float32"},  # not in the paper: the cost of bfloat16
}
# The paper's loss has the same gradient for "positive" and "keep": equal segments have equal scores.
CONTRASTS = {
    f"{loss}, duplicates {what}": {"loss": loss, "duplicates": what}
    for loss in (name for name, spec in LOSSES.items() if spec.is_contrastive)
    for what in ("keep", "mask", "positive")
    if (loss, what) != ("clip", "positive")
}
# wav2vec 2.0 has 50 Hz, and the MEG must not be slower.
TARGETS = {
    "Mel": {"sfreq": 50},
    "Deep Mel": {"sfreq": 50, "speech_embedding_dim": 64},
    "wav2vec 2.0": {
        "sfreq": 50,
        "target": "wav2vec 2.0",
        "layers": (2, 3),
    },  # of the four layers of the small model
}
ROWS = {
    **{name: ("ablations", changes) for name, changes in ABLATIONS.items()},
    "mse": ("losses", {"loss": "mse"}),
    **{name: ("losses", changes) for name, changes in CONTRASTS.items()},
    **{name: ("targets", changes) for name, changes in TARGETS.items()},
}
# Reference of each group. The first two are one fit with two names.
REFERENCE = {"ablations": "reference", "losses": "clip, duplicates keep", "targets": "Mel"}


def key_of(name, seed):
    """Return the settings of a fit without defaults.

    Rows of earlier runs stay valid when a new option is added.
    """
    defaults = {name: p.default for name, p in inspect.signature(BrainEncoder).parameters.items()}
    settings = {**BRAIN, **SPEECH, **ENCODER, **ROWS[name][1]}
    kept = {k: v for k, v in settings.items() if k not in defaults or v != defaults[k]}
    return {"experiment": EXPERIMENT, **kept, "random_state": seed}


def is_possible(name, wav2vec2):
    """Return whether the package and the arguments allow a row."""
    changes = ROWS[name][1]
    known = {*inspect.signature(BrainEncoder).parameters, "sfreq", "clip", "target", "layers"}
    wanted = changes.get("target") != "wav2vec 2.0" or wav2vec2 is not None
    return wanted and set(changes) <= known and changes.get("loss", "clip") in LOSSES


class Experiment:
    """Recordings, rows and folds, read once."""

    def __init__(self, folder, wav2vec2):
        parameters = {name: value for name, value in EXPERIMENT.items() if name != "simulation"}
        events = make_listening(**parameters, artifacts=True, root=folder)
        X, self.y = make_segments(events, tmin=-0.5, tmax=2.5)
        self.train, self.test = next(StimulusKFold(5).split(X, self.y))
        self.X, self.memory, self.wav2vec2, self.brains = X, folder / "cache", wav2vec2, {}

    def brain(self, sfreq, lag, clip):
        """Return scaled and clipped EEG/MEG windows."""
        asked = sfreq, lag, clip
        if asked not in self.brains:
            windows = Epocher(sfreq=sfreq, lag=lag, memory=self.memory).fit_transform(self.X)
            self.brains[asked] = RobustChannelScaler(clip=clip).fit_transform(windows)
        return self.brains[asked]

    def speech(self, target, layers):
        """Convert the stimulus table to features."""
        if target == "wav2vec 2.0":
            features = Wav2Vec2Features(self.wav2vec2, layers=layers, memory=self.memory)
        else:
            features = MelSpectrogram(n_mels=40, sfreq=25, memory=self.memory)
        return make_pipeline(features, FeatureScaler())

    def fit(self, sfreq, lag, clip, target, layers=None, **parameters):
        """Fit, score and return the entries of a row."""
        brain, y = self.brain(sfreq, lag, clip), self.y
        encoder = BrainEncoder(speech=self.speech(target, layers), verbose=0, **parameters)
        began = time.perf_counter()
        try:
            encoder.fit(brain[self.train], y.iloc[self.train])
        except FloatingPointError as error:  # without clipping a fit can diverge, which is a result
            chance = 10 / y["segment"].iloc[self.test].nunique()
            seconds = round(time.perf_counter() - began, 1)
            return {"top_1": chance / 10, "top_k": chance, "diverged": str(error), "seconds": seconds}
        seconds = time.perf_counter() - began
        answers = retrieve(encoder, brain[self.test], y.iloc[self.test])
        told = answers.summary()[["top_1", "top_k", "median_relative_rank", "chance", "null_high"]]
        return {
            **told.astype(float).to_dict(),
            "n_candidates": answers.n_candidates,
            "n_train": len(self.train),
            "top_k_by_subject": answers.by_subject()["top_k"].round(5).to_dict(),
            "valid_loss": [round(float(epoch["valid_loss"]), 4) for epoch in encoder.history_],
            "seconds": round(seconds, 1),
        }  # fmt: skip


def run(names, seeds, path, folder, wav2vec2):
    """Compute missing rows, the first seed of each row first."""
    done, experiment = read_rows(path), None
    for seed, name in [(seed, name) for seed in seeds for name in names]:
        key = key_of(name, seed)
        if name_of(key) in done or not is_possible(name, wav2vec2):
            continue
        experiment = experiment or Experiment(folder, wav2vec2)
        settings = {**BRAIN, **SPEECH, **ENCODER, **ROWS[name][1], "random_state": seed}
        values = experiment.fit(**settings) | {"machine": machine()}
        done[name_of(key)] = append_row(path, key, **values)
        print(f"{name}, seed {seed}: top-10 {values['top_k']:.3f}, {values['seconds']:.0f} s", flush=True)


def summarize(name, done, seeds):
    """Return mean and deviation over seeds, None if a seed is missing."""
    rows = [done.get(name_of(key_of(name, seed))) for seed in seeds]
    if any(row is None for row in rows):
        return None
    scores = pd.Series([row["top_k"] for row in rows])
    return scores.mean(), scores.std(), rows


def report(done, seeds):
    """Print a table for each group with a complete reference."""
    for group, alias in REFERENCE.items():
        reference = summarize(alias, done, seeds)
        if reference is None:
            print(f"\n**{group}**: {alias!r} has no row for one of the seeds {seeds}.")
            continue
        names = [name for name, (its, _) in ROWS.items() if its == group and name != alias]
        lines = [
            line(alias, reference),
            *(line(name, summarize(name, done, seeds), reference) for name in names),
        ]
        lines = [entry for entry in lines if entry is not None]
        first = next((row for row in reference[2] if "diverged" not in row), None)
        if first is None:
            print(f"\n**{group}**: {alias!r} diverged with each of the seeds {seeds}.")
            continue
        where = (
            first.get("machine") or f"torch {first['torch']}, {first['threads']} thread(s)"
        )  # row of an earlier version
        print(
            f"\n**{group}**: {EXPERIMENT['n_subjects']} subjects, {EXPERIMENT['minutes']} minutes, "
            f"{EXPERIMENT['modality']} at {EXPERIMENT['snr_db']:g} dB with artifacts; {first['n_train']} windows of "
            f"training, {first['n_candidates']} candidates, chance {first['chance']:.4f}, null 97.5 % "
            f"{first['null_high']:.4f}; {len(seeds)} seeds; {where}.\n"
        )
        print(markdown(list(lines[0]), [entry.values() for entry in lines]))


def line(name, found, reference=None):
    """Return one row of a table, None if it is incomplete."""
    if found is None:
        return None
    mean, sd, rows = found
    compared = {"minus reference": "", "beyond the spread": ""}
    if reference is not None:
        difference, error = mean - reference[0], 2 * np.sqrt((sd**2 + reference[1] ** 2) / len(rows))
        beyond = (
            "" if np.isnan(error) else "yes" if abs(difference) > error else "no"
        )  # one seed has no spread
        compared = {"minus reference": f"{difference:+.3f}", "beyond the spread": beyond}
    return {
        "": name,
        "top-10": f"{mean:.3f} ± {sd:.3f}",
        "top-1": f"{np.mean([row['top_1'] for row in rows]):.3f}",
        **compared,
        "diverged": sum("diverged" in row for row in rows) or "",
        "fit (s)": f"{np.mean([row['seconds'] for row in rows]):.0f}",
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS), metavar="ROW")
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument(
        "--folder", type=Path, default=Path("bench_ablations"), help="folder of recordings and rows"
    )
    parser.add_argument(
        "--wav2vec2", help="folder or name of a pretrained model; without it, this row is left out"
    )
    parser.add_argument("--table", action="store_true", help="only print existing rows")
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True, parents=True)
    path = given.folder / "ablations.jsonl"
    if not given.table:
        run(given.rows, given.seeds, path, given.folder, given.wav2vec2)
    report(read_rows(path), given.seeds)
