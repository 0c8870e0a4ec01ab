"""Reconstructed speech and its controls: correlation and identification.

``python benchmarks/bench_sound.py simulated`` simulates subjects with
``make_listening``, MEG and EEG of 32 channels at the default levels and at -6
dB, and reconstructs 20 mel bands by ridge regression and likelihood, each with
its controls, of single recordings and averaged over subjects. ``eeg`` reads
the real EEG of ``bench_dtu.py``: the envelope from 1 to 8 Hz at 32 Hz, trained
on one half of the story and reconstructed in the other. ``voice``
reconstructs the pretrained features that a voice matches, and mel spectra for
comparison, and scores the sound itself. Each result is appended to ``--out``
as soon as it is computed, and is not computed again. ``--seed`` selects the
simulated subjects, and seed 0 was used to develop.
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
from bench_voice import count_word_errors, load_encoder, recognize
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
    Wav2Vec2Features,
    make_segments,
)
from sk_b2s.datasets import make_listening
from sk_b2s.evaluation._reconstruction._result import ReconstructionResult
from sk_b2s.preprocessing import Windows
from sk_b2s.synthesis import SpeakerVoice, reconstruct_with_controls
from sk_b2s.synthesis._confidence import compare_confidence_seconds
from sk_b2s.synthesis._controls_result import make_controls_result
from sk_b2s.synthesis._identification import list_identification_shifts
from sk_b2s.synthesis._vocoder import make_vocoder_mel
from sk_b2s.synthesis._voice import FLITE, list_voice_sentences
from sk_b2s.synthesis._voice_sounds import read_voice_sound

SFREQ, N_MELS = 32, 20
N_CHANNELS = 32
LEVELS = [("meg", None), ("eeg", None), ("meg", -6.0), ("eeg", -6.0)]
VOICE, ALPHAS = "slt", (1e-3, 1e-1, 1e1)
SOUND_COLUMNS = [
    "control", "r of estimate", "r of sound", "2-way", "10-way", "null", "likeness", "share", "WER", "words", "s per min",
]  # fmt: skip
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


def run_voice(args):
    """Reconstruct simulated subjects in a voice, and score the sound."""
    embed, memory = load_encoder(), str(args.root / "cache")
    for modality, snr_db in LEVELS[2::-2] + LEVELS[3::-2]:  # MEG first
        level = {} if snr_db is None else {"snr_db": snr_db}
        key = {"part": "voice", "modality": modality, "snr_db": snr_db, "seed": args.seed}
        if all(name_of({**key, "target": name}) in read_rows(args.out) for name in ("features", "mel")):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            events = make_listening(
                args.subjects, args.minutes, modality=modality, n_channels=N_CHANNELS, random_state=args.seed,
                root=args.root, **level,
            )  # fmt: skip
            X, y = make_segments(events, anchor=1.0, tmin=0, tmax=3)
        spoken = list_voice_sentences(VOICE)
        spoken = spoken[~spoken["sound"].isin(events["sound"])]  # other speech than the stimuli
        voice = SpeakerVoice(precision="float32").fit(spoken.head(10), consent=FLITE.format(VOICE))
        own = [read_voice_sound((r.sound, r.sound_onset, r.sound_onset + r.duration)) for r in
               spoken.tail(5).itertuples()]  # fmt: skip
        likeness = None if embed is None else np.mean([embed(sound) for sound in own], axis=0)
        for target in ("features", "mel"):
            features = (
                Wav2Vec2Features("whisper-tiny.en", precision="float32", memory=memory)
                if target == "features"
                else MelSpectrogram(N_MELS, SFREQ, memory=memory)
            )
            sfreq = 50 if target == "features" else SFREQ
            pipe = Pipeline([
                ("epochs", Epocher(sfreq=sfreq, lag=0, l_freq=0.5, h_freq=12.0, baseline=None, memory=memory)),
                ("scale", RobustChannelScaler(clip=20)),
                ("decoder", RidgeDecoder(make_pipeline(features, FeatureScaler()), alphas=ALPHAS, cv=2)),
            ])  # fmt: skip
            model = SpeechReconstructor(pipe, vocoder=voice, target=target)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fold = [next(iter(StimulusKFold(2).split(X, y)))]
                controls = reconstruct_with_controls(model, X, y, fold, n_shifts=200)
            sounds = score_sounds(controls, events, args.seconds, embed, likeness)
            append_row(args.out, {**key, "target": target}, sounds=sounds, subjects=args.subjects)


def score_sounds(controls, events, seconds, embed, likeness):
    """Score the sound of each control: list of dicts.

    "r" and "2-way" compare the mel spectrum of the sound with that of the
    stimulus, "likeness" is the similarity to other sentences of the speaker.
    """
    stimulus, rows = controls.read_stimulus(0, 0, seconds), []
    words = list_words(controls, events, seconds)
    true = make_vocoder_mel(stimulus, SFREQ, N_MELS)
    for name in controls.results:
        began = time.process_time()
        sound = controls.to_audio(name, 0, 0, seconds)
        taken = time.process_time() - began
        mel = make_vocoder_mel(np.pad(sound, (0, max(len(stimulus) - len(sound), 0))), SFREQ, N_MELS)[
            : len(true)
        ]
        bands = [np.corrcoef(a, b)[0, 1] for a, b in zip(mel.T, true.T, strict=True)]
        similarity = compare_confidence_seconds(mel.T, true.T, SFREQ)
        found = list_identification_shifts(similarity, 10)
        rows.append({
            "control": name, "r of estimate": float(controls.select_means().set_index(["control", "measure"]).loc[(name, "r"), "score"]),
            "r": float(np.nanmean(bands)), "two_way": float(found[0, 0]), "ten_way": float(found[0, 1]),
            "ten_way_null": float(np.quantile(found[1:, 1], 0.975)),
            "likeness": np.nan if embed is None else float(np.dot(embed(sound), likeness) / np.linalg.norm(likeness)),
            "wer": count_word_errors(words, recognize(sound)) / max(len(words), 1), "words": len(recognize(sound)),
            "seconds_per_minute": taken * 60 / seconds,
        })  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def list_words(controls, events, seconds):
    """List the words during the first seconds of a reconstruction."""
    stimuli, place = controls.stimuli, controls.results["decoder"].place[0]
    place = place[: round(seconds * controls.sfreq)]
    entry = np.searchsorted(stimuli.first, place, side="right") - 1
    words = events[events["type"] == "word"].drop_duplicates(["sound", "sound_onset"])
    found = []
    for one in pd.unique(entry):
        at = stimuli.seconds[one] + (place[entry == one] - stimuli.first[one]) / stimuli.sfreq
        own = words[words["sound"].astype(str) == str(stimuli.sounds[one])]
        frame = np.searchsorted(at, own["sound_onset"].to_numpy(float))
        near = np.abs(at[np.minimum(frame, len(at) - 1)] - own["sound_onset"].to_numpy(float)) < 0.1
        found += own[near].sort_values("sound_onset")["text"].str.lower().tolist()
    return found


def show_sounds(row):
    """Print the table of the sounds of a voice."""
    lines, first = [], row["sounds"][0]
    for own in row["sounds"]:
        share = own["likeness"] / first["likeness"]
        lines.append([
            own["control"], f"{own['r of estimate']:.3f}", f"{own['r']:.3f}", f"{own['two_way']:.3f}", f"{own['ten_way']:.3f}",
            f"{own['ten_way_null']:.3f}", f"{own['likeness']:.3f}", f"{share:.0%}", f"{own['wer']:.2f}", str(own["words"]),
            f"{own['seconds_per_minute']:.1f}",
        ])  # fmt: skip
    print(f"\n{row['key']}\n{markdown(SOUND_COLUMNS, lines)}")


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
        if "sounds" in row:
            show_sounds(row)
            continue
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
    parser.add_argument("part", choices=["simulated", "eeg", "voice", "show"])
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=60.0, help="sound that is scored by voice")
    parser.add_argument("--root", type=Path, default=Path("sound"))
    parser.add_argument("--out", type=Path, default=Path("sound.jsonl"))
    args = parser.parse_args()
    print(machine(), vars(args), flush=True)
    {"simulated": run_simulated, "eeg": run_eeg, "voice": run_voice, "show": lambda args: None}[args.part](
        args
    )
    show(args)


if __name__ == "__main__":
    main()
