"""Reconstructed speech and its controls: correlation and identification.

``python benchmarks/bench_sound.py simulated`` simulates subjects with
``make_listening``, MEG and EEG of 32 channels at the default levels and at -6
dB, and reconstructs 20 mel bands by ridge regression and likelihood, each with
its controls, of single recordings and averaged over subjects. ``eeg`` reads
the real EEG of ``bench_dtu.py``: the envelope from 1 to 8 Hz at 32 Hz, trained
on one half of the story and reconstructed in the other. Each result is
appended to ``--out`` as soon as it is computed, and is not computed again.
``--seed`` selects the simulated subjects, and seed 0 was used to develop.
"""

import argparse
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from _machine import machine, markdown
from _rows import append_row, name_of, read_rows
from bench_dtu import add_onsets, load_page, load_subjects
from sklearn.pipeline import Pipeline, make_pipeline

from sk_b2s import (
    Epocher,
    FeatureScaler,
    LikelihoodDecoder,
    MelSpectrogram,
    RidgeDecoder,
    RobustChannelScaler,
    SpeechReconstructor,
    StimulusKFold,
    make_segments,
)
from sk_b2s.datasets import make_listening
from sk_b2s.evaluation._reconstruction._result import ReconstructionResult
from sk_b2s.preprocessing import Windows
from sk_b2s.synthesis import reconstruct_with_controls
from sk_b2s.synthesis._controls_result import make_controls_result

SFREQ, N_MELS = 32, 20
N_CHANNELS = 32
LEVELS = [("meg", None), ("eeg", None), ("meg", -6.0), ("eeg", -6.0)]
COLUMNS = ["control", "r", "null 97.5 %", "p", "2-way", "p", "10-way", "null 97.5 %", "p"]


def measure(args, key, run):
    """Compute the tables of a reconstruction, unless the file has them."""
    if name_of(key) in read_rows(args.out):
        return
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        controls = run()
    seconds = time.process_time() - began
    began = time.process_time()
    n_seconds = min(60.0, controls.results["decoder"].estimate[0].shape[1] / controls.sfreq)
    controls.to_audio("decoder", 0, 0, n_seconds)
    audio = (time.process_time() - began) * 60 / n_seconds
    rows = controls.results["decoder"].rows
    variants = {"single": controls}
    if "unseen" not in key["decoder"]:
        variants["subjects averaged"] = controls.average_subjects()
    if key["part"] == "eeg":
        variants["repeats averaged"] = controls.average_repeats()
    append_row(
        args.out, key, seconds=seconds, seconds_per_minute=audio,
        minutes=rows["n_frames"].sum() / controls.sfreq / 60, subjects=int(rows["subject"].nunique()),
        tables={
            name: part.scores[(part.scores["subject"] == "mean") | (name == "single")].to_dict("records")
            for name, part in variants.items()
        },
        verdicts={name: str(part.verdict) for name, part in variants.items()},
    )  # fmt: skip
    print(name_of(key), f"{seconds:.0f} s", controls.verdict, flush=True)


def run_simulated(args):
    """Reconstruct mel bands of simulated subjects at four levels."""
    memory = str(args.root / "cache")
    for modality, snr_db in LEVELS:
        keys = {
            name: {
                "part": "simulated",
                "modality": modality,
                "snr_db": snr_db,
                "decoder": name,
                "seed": args.seed,
            }
            for name in ("ridge", "likelihood")
        }
        if all(name_of(key) in read_rows(args.out) for key in keys.values()):
            continue
        level = {} if snr_db is None else {"snr_db": snr_db}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            events = make_listening(
                args.subjects, args.minutes, modality=modality, n_channels=N_CHANNELS, random_state=args.seed,
                root=args.root, **level,
            )  # fmt: skip
            X, y = make_segments(events, anchor=0.5, tmin=0, tmax=3)
        speech = make_pipeline(MelSpectrogram(N_MELS, SFREQ, memory=memory), FeatureScaler())
        for name, decoder in {"ridge": RidgeDecoder(), "likelihood": LikelihoodDecoder()}.items():
            pipe = Pipeline([
                ("epochs", Epocher(sfreq=SFREQ, lag=0, l_freq=0.5, h_freq=12.0, baseline=None, memory=memory)),
                ("scale", RobustChannelScaler(clip=20)), ("decoder", decoder.set_params(speech=speech)),
            ])  # fmt: skip
            model = SpeechReconstructor(pipe)
            measure(args, keys[name], partial(reconstruct_with_controls, model, X, y, StimulusKFold(2)))


def cut_story(page, people, envelope):
    """Cut both halves of the story: X, y, and the half of each row."""
    parts = [page.cut(people, envelope, half, 1.5) for half in page.HALVES]
    tables = [part[0].rows.assign(half=half) for half, part in zip(page.HALVES, parts, strict=True)]
    sides = []
    for side in range(2):
        windows = [part[side] for part in parts]
        n_signals = np.cumsum([0] + [len(each.signals) for each in windows])
        rows = pd.concat(tables, ignore_index=True)
        rows["recording"] = rows["recording"] + "/" + rows["half"]
        rows["onset"], rows["duration"] = rows["first"] / windows[0].sfreq, float(page.SECONDS)
        rows["segment"] = rows["first"] + 10_000 * (rows["half"] == "second")
        sides.append(
            Windows(
                [signal for each in windows for signal in each.signals],
                np.concatenate([each.which + n for each, n in zip(windows, n_signals, strict=False)]),
                np.concatenate([each.start for each in windows]), windows[0].n_read, windows[0].sfreq, rows=rows,
            )
        )  # fmt: skip
    return *sides, rows["half"].to_numpy()


def keep_envelope(controls):
    """Keep the first feature, the envelope, and score it again."""
    results = {
        name: ReconstructionResult(
            [part[:1] for part in result.estimate], [part[:1] for part in result.target], result.rows, result.window,
            result.sfreq, result.place,
        )
        for name, result in controls.results.items()
    }  # fmt: skip
    return make_controls_result(results, controls.models, controls.specs, **controls.settings)


def run_eeg(args):
    """Reconstruct the envelope from real EEG, known and unseen subjects."""
    page = load_page()
    people, envelope = load_subjects(page, range(1, 9))
    X, y, half = cut_story(page, people, envelope)
    subject = X.rows["subject"].to_numpy()
    halves = list(page.HALVES)
    folds = [(np.flatnonzero(half == a), np.flatnonzero(half == b)) for a, b in (halves, halves[::-1])]
    unseen = [
        (train[subject[train] != name], test[subject[test] == name])
        for name in people
        for train, test in folds
    ]
    onsets = Windows(
        [add_onsets(Windows([s], [0], [0], y.n_read, y.sfreq)).signals[0] for s in y.signals], y.which,
        y.start, y.n_read, y.sfreq, rows=y.rows,
    )  # fmt: skip
    runs = {
        "ridge": (RidgeDecoder(lags=(-0.125, 0.125)), y, folds),
        "likelihood": (LikelihoodDecoder(lags=(-0.125, 0.25)), onsets, folds),
        "ridge, unseen subject": (RidgeDecoder(lags=(-0.125, 0.125), per_subject=False), y, unseen),
    }
    for name, (decoder, stimuli, cv) in runs.items():
        measure(
            args, {"part": "eeg", "decoder": name},
            lambda decoder=decoder, stimuli=stimuli, cv=cv: keep_envelope(
                reconstruct_with_controls(SpeechReconstructor(decoder), X, stimuli, cv)
            ),
        )  # fmt: skip


def show(args):
    """Print the tables of the file."""
    for row in read_rows(args.out).values():
        print(
            f"\n{row['key']}: {row['subjects']} subjects, {row['minutes']:.0f} minutes, {row['seconds']:.0f} s of processor time; audio "
            f"{row['seconds_per_minute']:.1f} s per minute"
        )
        for name, table in row["tables"].items():
            scores = pd.DataFrame(table)
            means = scores[(scores["subject"] == "mean") & (scores["band"] == "mean")]
            lines = []
            for control, own in means.groupby("control", sort=False):
                r, two, ten = (own.set_index("measure").loc[n] for n in ("r", "two_way", "n_way"))
                lines.append([
                    control, f"{r['score']:.3f}", f"{r['null_high']:.3f}", f"{r['p_value']:.3f}", f"{two['score']:.3f}",
                    f"{two['p_value']:.3f}", f"{ten['score']:.3f}", f"{ten['null_high']:.3f}", f"{ten['p_value']:.3f}",
                ])  # fmt: skip
            print(f"{name}: {row['verdicts'][name]}\n{markdown(COLUMNS, lines)}")
            bands = scores[
                (scores["control"] == "decoder") & (scores["subject"] == "mean") & (scores["measure"] == "r")
            ]
            bands = bands[bands["band"] != "mean"]
            if len(bands):
                print("r of bands:", " ".join(f"{v:.2f}" for v in bands["score"]))
                print("97.5 %:", " ".join(f"{v:.2f}" for v in bands["null_high"]))


def main():
    """Run one part, and print all tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["simulated", "eeg", "show"])
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--root", type=Path, default=Path("sound"))
    parser.add_argument("--out", type=Path, default=Path("sound.jsonl"))
    args = parser.parse_args()
    print(machine(), vars(args), flush=True)
    {"simulated": run_simulated, "eeg": run_eeg, "show": lambda args: None}[args.part](args)
    show(args)


if __name__ == "__main__":
    main()
