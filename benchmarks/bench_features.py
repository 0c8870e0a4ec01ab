"""Decoders whose features are not those of the simulated response.

``python benchmarks/bench_features.py`` simulates the experiment of the demo
three times, with the same subjects, stimuli and noise: all sources respond,
only the acoustic ones (onsets and envelope), or only the linguistic ones
(phone classes and words). Each is decoded with several targets. A gain that
is found only if the target contains the features of the response is no
evidence about real recordings.

Targets of the words "white" are whitened in time
(``FeatureScaler(whiten=True)``). Targets with phones and words require a
transcript of all candidates. Scores are those of the first fold of five. Each
line of ``features.jsonl`` in ``--folder`` is one fit. It is written as soon as
it exists and is not computed again.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _machine import machine, markdown
from _rows import append_row, name_of, read_rows
from search_presets import store_windows
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    AcousticOnsets,
    BrainEncoder,
    CovarianceAlignment,
    Epocher,
    EventFeatures,
    FeatureScaler,
    LikelihoodDecoder,
    MelSpectrogram,
    RidgeDecoder,
    RobustChannelScaler,
    SpeechFeatureUnion,
    StimulusKFold,
    make_segments,
)
from sk_b2s.datasets import make_listening, oracle_scores
from sk_b2s.datasets.simulated._experiment import VERSION
from sk_b2s.decoding._candidates import find_distinct_candidates
from sk_b2s.decoding._presets import SIZES
from sk_b2s.features._events import PHONETIC_FEATURES
from sk_b2s.metrics._ranks_and_top_k import ranks

RESPONSES = {"all": None, "acoustic": ("onset", "envelope"), "linguistic": ("phonetic", "word")}
EXPERIMENT = {"n_subjects": 4, "minutes": 10, "modality": "meg", "snr_db": -12.0, "artifacts": True}
SFREQ = 50  # Hz, of windows and features
TARGETS = {
    "mel": ("mel",), "onsets": ("onsets",), "phones, words": ("phones", "words"),
    "everything": ("mel", "onsets", "phones", "words"),
}  # fmt: skip
# decoder, target, whether it is whitened, target_dim
FITS = [
    ("oracle", "mel", False, None),
    ("network", "mel", False, None), ("network", "everything", False, None),
    ("ridge", "mel", False, None), ("ridge", "mel", True, None), ("likelihood", "mel", False, None),
    ("likelihood", "everything", False, None), ("ridge", "everything", True, None),
    ("network", "everything", False, 12), ("ridge", "phones, words", False, None),
    ("network", "phones, words", False, None), ("network", "everything", True, None), ("ridge", "onsets", False, None),
    ("network", "onsets", False, None), ("ridge", "everything", False, None), ("network", "mel", True, None),
]  # fmt: skip


def make_target(events, target, white, memory):
    """Make the target of a decoder."""
    parts = {
        "mel": MelSpectrogram(n_mels=20, sfreq=SFREQ, memory=memory),
        "onsets": AcousticOnsets(sfreq=SFREQ, n_bands=8, memory=memory),
        "phones": EventFeatures(events, "phoneme", PHONETIC_FEATURES, sfreq=SFREQ),
        "words": EventFeatures(events, "word", sfreq=SFREQ),
    }
    union = SpeechFeatureUnion([(name, parts[name]) for name in TARGETS[target]])
    return make_pipeline(union, FeatureScaler(whiten=white))


def make_decoder(decoder, speech, target_dim, seed):
    """Make a decoder of windows, with the settings of the preset "laptop"."""
    if decoder == "ridge":
        return RidgeDecoder(speech=speech, **SIZES["laptop"].ridge)
    if decoder == "likelihood":
        return LikelihoodDecoder(speech=speech, lags=(-0.15, 0.3))
    settings = SIZES["laptop"].network
    return BrainEncoder(speech=speech, target_dim=target_dim, random_state=seed, verbose=0, **settings)


class Experiment:
    """Windows, stimulus table, fold and ground truth of an experiment."""

    def __init__(self, responses, folder):
        self.events, self.truth = make_listening(
            **EXPERIMENT, responses=RESPONSES[responses], root=folder, return_truth=True
        )
        self.X, self.y = make_segments(self.events, tmin=-0.5, tmax=2.5)
        steps = Epocher(sfreq=SFREQ, lag=0.15), RobustChannelScaler(clip=20), CovarianceAlignment()
        self.windows = store_windows(make_pipeline(*steps).fit_transform(self.X))
        self.train, self.test = next(StimulusKFold(5).split(self.X, self.y))

    def scores(self, decoder, target, white, target_dim, seed, memory):
        """Return similarities of the test windows, and seconds of the fit."""
        y_test, began = self.y.iloc[self.test], time.perf_counter()
        if decoder == "oracle":
            return oracle_scores(self.truth, self.X.iloc[self.test], y_test), 0.0
        speech = make_target(self.events, target, white, memory)
        fitted = make_decoder(decoder, speech, target_dim, seed)
        fitted.fit(self.windows[self.train], self.y.iloc[self.train])
        seconds = time.perf_counter() - began
        return fitted.similarity(self.windows[self.test], y_test), seconds


def run(given):
    """Compute the missing rows."""
    path, done = given.folder / "features.jsonl", read_rows(given.folder / "features.jsonl")
    for responses in given.responses:
        experiment = None
        for seed in given.seeds:
            for decoder, target, white, target_dim in FITS[: given.first]:
                key = {
                    "responses": responses, "decoder": decoder, "target": target, "white": white,
                    "target_dim": target_dim, "seed": seed if decoder == "network" else 0, "simulation": VERSION,
                }  # fmt: skip
                if decoder not in given.decoders or target not in given.targets or name_of(key) in done:
                    continue
                experiment = experiment or Experiment(responses, given.folder)
                scores, seconds = experiment.scores(
                    decoder, target, white, target_dim, seed, given.folder / "cache"
                )
                correct = find_distinct_candidates(experiment.y.iloc[experiment.test]).target
                rank = ranks(scores, correct)
                entries = {
                    "top_10": round(float(np.mean(rank < 10)), 4), "top_1": round(float(np.mean(rank < 1)), 4),
                    "n_candidates": scores.shape[1], "seconds": round(seconds, 1),
                }  # fmt: skip
                done[name_of(key)] = append_row(path, key, **entries, machine=machine())
                print(key, entries, flush=True)
    return done


def report(done):
    """Print a line for each decoder and target, a column per response."""
    table = pd.DataFrame([{**row["key"], **row} for row in done.values()])
    columns, lines = ["decoder", "target", *RESPONSES, "fits", "fit (s)"], []
    for (decoder, target, white, dim), rows in table.fillna({"target_dim": 0}).groupby(
        ["decoder", "target", "white", "target_dim"], sort=False
    ):
        name = target + ", white" * white + f", target_dim={dim:g}" * (dim > 0)
        cells = []
        for responses in RESPONSES:
            own = rows[rows["responses"] == responses]
            cells.append(f"{own['top_10'].mean():.3f} / {own['top_1'].mean():.3f}" if len(own) else "")
        lines.append(
            [decoder, "" if decoder == "oracle" else name, *cells, len(rows), f"{rows['seconds'].mean():.0f}"]
        )
    n = table["n_candidates"].iloc[0]
    print(
        f"\nTop-10 / top-1 of {n} candidates (chance {10 / n:.3f} / {1 / n:.3f}), by the sources that respond\n"
    )
    print(markdown(columns, lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--responses", nargs="*", choices=list(RESPONSES), default=list(RESPONSES))
    parser.add_argument("--decoders", nargs="*", default=["oracle", "ridge", "likelihood", "network"])
    parser.add_argument("--targets", nargs="*", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--first", type=int, default=len(FITS), help="number of fits, in the order of FITS")
    parser.add_argument(
        "--folder", type=Path, default=Path("bench_features"), help="recordings and rows (1 GB)"
    )
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True, parents=True)
    torch.set_num_threads(1)
    report(run(given))
