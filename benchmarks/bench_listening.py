"""Decoders and the oracle on the simulated experiment.

``python benchmarks/bench_listening.py --modality meg`` fits each decoder to
eight subjects on four fifths of the speech and scores it on the rest, with and
without artifacts, clipping and subject layers. Each row is written as soon as
it exists, and existing rows are not computed again. The tables of
``benchmarks/README.md`` are printed at the end.

Nothing was selected on these test blocks: ridge selects its ``alpha`` from 10
values by three inner folds, the encoder its epoch on a tenth of the training
blocks, with the settings of the demo.
"""

import argparse
import time
from pathlib import Path

import pandas as pd
from _machine import markdown
from scipy.stats import wilcoxon
from sklearn.pipeline import Pipeline, make_pipeline

from sk_b2s import (
    BrainEncoder,
    Epocher,
    FeatureScaler,
    MelSpectrogram,
    RetrievalResult,
    RidgeDecoder,
    RobustChannelScaler,
    StimulusKFold,
    Wav2Vec2Features,
    make_segments,
    retrieve,
)
from sk_b2s.datasets import make_listening, oracle_scores
from sk_b2s.datasets.simulated._experiment import VERSION
from sk_b2s.decoding._candidates import find_distinct_candidates

CLIP = 20.0
ENCODER = {
    "hidden": 64, "depth": 5, "n_virtual_channels": 64, "lr": 1e-3, "batch_size": 128, "max_epochs": 12, "patience": 4,
    "random_state": 0, "verbose": 0,
}  # fmt: skip
# decoder, artifacts, clip: the most important cases first
CASES = [
    ("oracle", True, CLIP),
    ("ridge", True, CLIP),
    ("CLIP, Mel", True, CLIP),
    ("regression, Mel", True, CLIP),
    ("CLIP, Mel", True, None),
    ("ridge", True, None),
    ("CLIP, Mel, no subject layer", True, CLIP),
    ("CLIP, wav2vec 2.0", True, CLIP),
    ("oracle", False, CLIP),
    ("ridge", False, CLIP),
    ("CLIP, Mel", False, CLIP),
    ("CLIP, Mel, no subject layer", False, CLIP),
    ("regression, Mel", False, CLIP),
    ("CLIP, wav2vec 2.0", False, CLIP),
]


def make_decoder(name, clip, folder, model):
    """Make the pipeline of a decoder, with the same preprocessing."""
    memory = folder / "cache"
    if name == "CLIP, wav2vec 2.0":
        speech = make_pipeline(Wav2Vec2Features(model, memory=memory), FeatureScaler())
    else:
        speech = make_pipeline(MelSpectrogram(n_mels=40, sfreq=25, memory=memory), FeatureScaler())
    if name == "ridge":
        decoder = RidgeDecoder(speech=speech, lags=(-0.15, 0.35), n_components=48)
    else:
        changes = {"regression, Mel": {"loss": "mse"}, "CLIP, Mel, no subject layer": {"subject_layer": None}}
        decoder = BrainEncoder(speech=speech, **{**ENCODER, **changes.get(name, {})})
    epochs = Epocher(sfreq=50, lag=0.15, memory=memory)
    return Pipeline([("epochs", epochs), ("scale", RobustChannelScaler(clip=clip)), ("decoder", decoder)])


def answer(name, clip, folder, model, data, truth):
    """Fit a decoder on the first fold and return its results and seconds."""
    X, y, train, test = data
    X_test, y_test = X.iloc[test], y.iloc[test]
    if name == "oracle":
        found = find_distinct_candidates(y_test)
        rows = X_test.join(y_test[["segment", "word"]]).reset_index(drop=True)
        candidates = y_test.iloc[found.first].reset_index(drop=True)
        return RetrievalResult(oracle_scores(truth, X_test, y_test), found.target, candidates, rows), 0.0
    decoder = make_decoder(name, clip, folder, model)
    began = time.perf_counter()
    decoder.fit(X.iloc[train], y.iloc[train])
    return retrieve(decoder, X_test, y_test), time.perf_counter() - began


def run(modality, minutes, n_subjects, folder, model, cases):
    """Compute and return the missing rows of one kind of sensors."""
    path, experiments = folder / f"{modality}-{n_subjects}-people-{minutes:g}-min-v{VERSION}.csv", {}
    table = pd.read_csv(path, dtype={"subject": str}) if path.exists() else pd.DataFrame()
    for name, artifacts, clip in cases:
        case = {"decoder": name, "artifacts": artifacts, "clip": clip or 0.0}
        done = len(table) and (table[list(case)] == pd.Series(case)).all(axis=1).any()
        if done or (model is None and "wav2vec" in name):
            continue
        if artifacts not in experiments:
            events, truth = make_listening(
                n_subjects, minutes, modality=modality, artifacts=artifacts, root=folder, return_truth=True
            )
            X, y = make_segments(events, tmin=-0.5, tmax=2.5)
            experiments = {artifacts: ((X, y, *next(StimulusKFold(5).split(X, y))), truth)}  # one at a time
        try:
            answers, seconds = answer(name, clip, folder, model, *experiments[artifacts])
        except FloatingPointError as error:  # without clipping a fit can diverge, which is a result
            print(f"{modality} {case}: {error}", flush=True)
            continue
        scores = answers.by_subject().reset_index()
        summary = answers.summary()
        scores = scores.assign(**case, seconds=seconds, **summary[["n_candidates", "chance", "null_high"]])
        table = pd.concat([table, scores], ignore_index=True)
        table.to_csv(path, index=False)
        print(f"{modality} {case}: top-10 {summary['top_k']:.3f}, {seconds:.0f} s", flush=True)
    return table


def report(table, modality):
    """Print means, standard errors, shares of the oracle, and paired tests."""
    keys, chance = ["decoder", "artifacts", "clip"], table["chance"].iloc[0]
    means = table.groupby(keys, sort=False)
    lines = []
    for key, rows in means:
        oracle = table[(table["decoder"] == "oracle") & (table["artifacts"] == key[1])].set_index("subject")[
            "top_k"
        ]
        ridge = table[
            (table[keys] == pd.Series(dict(zip(keys, ("ridge", *key[1:]), strict=True)))).all(axis=1)
        ]
        own = rows.set_index("subject")
        line = {"decoder": key[0], "artifacts": "on" if key[1] else "off", "clip": key[2] or "none"}
        for score in ("top_1", "top_k", "median_relative_rank"):
            line[score] = f"{own[score].mean():.3f} ± {own[score].sem():.3f}"
        line["of the oracle"] = f"{(own['top_k'].mean() - chance) / (oracle.mean() - chance):.0%}"
        paired = own["top_k"] - ridge.set_index("subject")["top_k"]
        if key[0] not in ("ridge", "oracle") and paired.notna().all():
            p = wilcoxon(paired).pvalue
            line["minus ridge"] = (
                f"{paired.mean():+.3f} ({(paired > 0).sum()} of {len(paired)} people, p = {p:.3f})"
            )
        line["fit (s)"] = f"{own['seconds'].iloc[0]:.0f}"
        lines.append(line)
    first = table.iloc[0]
    print(
        f"\n### {modality}, {table['subject'].nunique()} subjects, {first['n_candidates']:.0f} candidates, "
        f"chance {chance:.3f}, null 97.5 % at most {table['null_high'].max():.3f}\n"
    )
    lines = pd.DataFrame(lines).fillna("")
    print(markdown(lines.columns, lines.itertuples(index=False)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modality", choices=["meg", "eeg"], nargs="*", default=["meg", "eeg"])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--subjects", type=int, default=8)
    parser.add_argument(
        "--folder", type=Path, default=Path("bench_listening"), help="folder of recordings and tables (5 GB)"
    )
    parser.add_argument(
        "--wav2vec2", help="name or folder of a pretrained model; without it, this row is left out"
    )
    parser.add_argument(
        "--cases", type=int, default=len(CASES), help="number of rows, the most important first"
    )
    arguments = parser.parse_args()
    arguments.folder.mkdir(exist_ok=True, parents=True)
    for modality in arguments.modality:
        given = (
            arguments.minutes,
            arguments.subjects,
            arguments.folder,
            arguments.wav2vec2,
            CASES[: arguments.cases],
        )
        report(run(modality, *given), modality)
