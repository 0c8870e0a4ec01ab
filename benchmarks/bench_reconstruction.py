"""Reconstructed envelope and mel spectrogram, and classes of speech.

``python benchmarks/bench_reconstruction.py eeg`` reads the real EEG of
``bench_dtu.py``: the envelope from 1 to 8 Hz at 32 Hz, trained on one half of
the story and reconstructed in the other. ``filters`` compares the first
subject with and without this filter. ``mel`` and ``classes`` simulate
subjects with ``make_listening`` and print the correlations of the envelope and
of ten mel bands, and the F1 scores of speech and silence, and of phonemes, of
single windows and of averages, each with the null distribution of circular
shifts. ``--seed`` selects the subjects, and seed 0 was used to develop.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from _machine import machine, markdown
from bench_dtu import add_onsets, load_page, load_subjects
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import Pipeline, make_pipeline

from sk_b2s import (
    CovarianceAlignment,
    Envelope,
    Epocher,
    FeatureScaler,
    LeaveOneSubjectOut,
    LikelihoodDecoder,
    MelSpectrogram,
    RidgeDecoder,
    RobustChannelScaler,
    StimulusKFold,
    cross_val_classification,
    cross_val_reconstruction,
    label_segments,
    make_segments,
    mean_and_sem,
    reconstruct,
)
from sk_b2s.datasets import make_listening
from sk_b2s.evaluation._statistics._subject_means import compute_subject_null_statistics
from sk_b2s.metrics import reconstruction_correlation


def summarize(scores, score, by):
    """Return mean, standard error and null over subjects as rows of text."""
    means = mean_and_sem(scores, score, by=by)
    own = scores.rename(columns={score: "top_k"})
    if score == "r":  # folds share their correlations by chance
        own = own.assign(main_score="reconstruction_r", reconstruction_r=own["top_k"])
    null = compute_subject_null_statistics(own, by)
    return [
        [
            *(name if isinstance(name, tuple) else (name,)), f"{row['mean']:.3f} ± {row['sem']:.3f}", f"{row['chance']:.3f}",
            f"{null.loc[name, 'null_mean']:.3f}", f"{null.loc[name, 'null_high']:.3f}",
        ]
        for name, row in means.iterrows()
    ]  # fmt: skip


def run_eeg(_):
    """Reconstruct the envelope from real EEG, single and averaged repeats."""
    page = load_page()
    people, envelope = load_subjects(page, range(1, 9))
    parts, averaged = [], []
    for fold, (train, test) in enumerate((("second", "first"), ("first", "second"))):
        X, y = page.cut(people, envelope, train, 1.5)
        X_test, y_test = page.cut(people, envelope, test, 1.5)
        of_train, of_test = (windows.rows["subject"].to_numpy() for windows in (X, X_test))
        likelihood = LikelihoodDecoder(lags=(-0.125, 0.25), k=1).fit(X, add_onsets(y))
        own = page.make_decoder("ridge").fit(X, y)
        for subject in people:
            others, mine = of_train != subject, of_test == subject
            fitted = {
                "ridge": (own, y_test[mine]),
                "likelihood": (likelihood, add_onsets(y_test[mine])),
                "ridge, unseen subject": (
                    page.make_decoder("ridge", True).fit(X[others], y[others]),
                    y_test[mine],
                ),
            }
            for name, (decoder, speech) in fitted.items():
                result = reconstruct(decoder, X_test[mine], speech)
                scores = result.correlations(1000).assign(fold=fold, decoder=name)
                parts.append(
                    scores[scores["band"] == ("mean" if result.n_bands == 1 else "0")]
                )  # the envelope
                r = reconstruction_correlation(np.mean(result.estimate, axis=0), result.target[0])
                averaged.append({"fold": fold, "decoder": name, "subject": subject, "r": float(r[0])})
    page.HALVES["whole"] = (0.0, 49.5)
    scores = cross_val_reconstruction(
        page.make_decoder("ridge"), *page.cut(people, envelope, "whole", 0.5), StimulusKFold(5)
    )
    (fifths,) = summarize(scores.assign(decoder="ridge, five folds"), "r", ["decoder"])
    scores, averaged = pd.concat(parts, ignore_index=True), pd.DataFrame(averaged)
    lines = [
        [*row, f"{mean:.3f} ± {sem:.3f}"]
        for row, (mean, sem) in zip(
            summarize(scores, "r", ["decoder"]),
            mean_and_sem(averaged, "r", by="decoder")[["mean", "sem"]].to_numpy(),
            strict=True,
        )
    ]
    lines.append([*fifths, ""])
    print(
        markdown(["decoder", "r, single repeat", "chance", "null", "97.5 %", "r, mean of ten repeats"], lines)
    )
    table = scores.groupby(["decoder", "subject"], sort=False)["r"].mean().unstack(0)
    for name in ("ridge", "likelihood"):
        own = averaged[averaged["decoder"] == name].groupby("subject")["r"].mean()
        table[f"{name}, mean of ten"] = own
    print(
        markdown(["subject", *table], [[name, *(f"{v:.3f}" for v in row)] for name, row in table.iterrows()])
    )


def run_filters(_):
    """Reconstruct the envelope of S1 in ten folds, with and without filter."""
    page = load_page()
    people, envelope = load_subjects(page, [1])
    page.HALVES["whole"] = (0.0, 49.5)
    lines = []
    for name in ("1 to 8 Hz", "none"):
        if name == "none":
            page.filter_signal = lambda signal, axis: signal - signal.mean(axis, keepdims=True)
        X, y = page.cut(people, envelope, "whole", 0.5)
        onset = y.rows["sound_onset"].to_numpy()
        folds = (onset + page.SECONDS / 2) // 5
        cv = []
        for fold in np.unique(folds):
            test = np.flatnonzero(folds == fold)
            first, last = onset[test].min() - page.SECONDS, onset[test].max() + page.SECONDS
            cv.append((np.flatnonzero((onset <= first) | (onset >= last)), test))
        scores = cross_val_reconstruction(page.make_decoder("ridge"), X, y, cv)
        lines.append([name, *(f"{scores[column].mean():.3f}" for column in ("r", "null_mean", "null_high"))])
    print(markdown(["filter", "r of S1", "null", "97.5 % of a fold"], lines))


def simulate(args, modality, minutes, n_channels, **segments):
    """Simulate subjects, and cut segments."""
    events = make_listening(
        args.subjects,
        minutes,
        modality=modality,
        n_channels=n_channels,
        random_state=args.seed,
        root=args.root,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return events, *make_segments(events, **segments)


def run_mel(args):
    """Reconstruct envelope and mel bands of simulated subjects."""
    memory = str(args.root / "cache")
    lines, bands = [], []
    for modality in ("eeg", "meg"):
        _, X, y = simulate(args, modality, args.minutes, 32, anchor=0.5, tmin=0, tmax=3)
        features = {
            "envelope": Envelope(sfreq=32, memory=memory),
            "mel": MelSpectrogram(n_mels=10, sfreq=32, memory=memory),
        }
        for name, feature in features.items():
            decoders = {
                "ridge": RidgeDecoder(),
                "ridge, unseen subject": RidgeDecoder(per_subject=False),
                "likelihood": LikelihoodDecoder(),
            }
            for label, decoder in decoders.items():
                decoder.set_params(speech=make_pipeline(feature, FeatureScaler()))
                align = [("align", CovarianceAlignment())] * label.startswith("ridge")
                pipe = Pipeline([
                    ("epochs", Epocher(sfreq=32, lag=0, l_freq=0.5, h_freq=12.0, baseline=None, memory=memory)),
                    ("scale", RobustChannelScaler(clip=20)), *align, ("decoder", decoder),
                ])  # fmt: skip
                cv = LeaveOneSubjectOut(stimulus_folds=2) if "unseen" in label else StimulusKFold(4)
                began = time.perf_counter()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    scores = cross_val_reconstruction(pipe, X, y, cv, n_shifts=1000)
                seconds = time.perf_counter() - began
                rows = summarize(scores[scores["band"] == "mean"], "r", ["band"])
                lines.append([modality, name, label, *rows[0][1:], f"{seconds:.0f}"])
                print(lines[-1], flush=True)
                if name == "mel" and label == "likelihood":
                    means = mean_and_sem(scores, "r", by="band")["mean"].drop("mean")
                    bands.append([modality, *(f"{value:.3f}" for value in means)])
    print(markdown(["recordings", "features", "decoder", "r", "chance", "null", "97.5 %", "seconds"], lines))
    print(markdown(["recordings", *(f"band {n}" for n in range(10))], bands))


def run_classes(args):
    """Classify speech and silence, and phonemes, of simulated subjects."""
    memory = str(args.root / "cache")
    steps = [
        ("epochs", Epocher(sfreq=32, lag=0, l_freq=0.5, h_freq=12.0, baseline=None, memory=memory)),
        ("scale", RobustChannelScaler(clip=20)),
        ("align", CovarianceAlignment()),
    ]
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    mel = make_pipeline(MelSpectrogram(n_mels=20, sfreq=32, memory=memory), FeatureScaler())
    kinds = {
        "speech": ({"anchor": 0.25, "tmin": 0, "tmax": 0.6}, [(1, 10)]),
        "phoneme": ({"anchor": "phoneme", "tmin": 0, "tmax": 0.6}, [(1, 10), (1, 10, 100)]),
    }
    lines = []
    for kind, (segments, sizes) in kinds.items():
        _, X, y = simulate(args, "meg", args.minutes, 32, margin=0.6, **segments)
        labels = label_segments(y, kind=kind)
        print(
            kind,
            len(X),
            "windows;",
            labels.value_counts(normalize=True).round(3).head(3).to_dict(),
            flush=True,
        )
        decoders = {"LDA": lda, "ridge, templates": RidgeDecoder(speech=mel, lags=(0, 0.4))}
        for label, decoder in decoders.items():
            for n_averaged in sizes:
                began = time.perf_counter()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    scores = cross_val_classification(
                        Pipeline([*steps, ("last", decoder)]),
                        X,
                        y,
                        labels,
                        StimulusKFold(2),
                        n_averaged,
                        n_shifts=100,
                    )
                seconds = time.perf_counter() - began
                n_classes = f"{scores['n_classes'].mean():.1f}"
                balanced = mean_and_sem(scores, "balanced_accuracy", by=["control", "n_averaged"])["mean"]
                for row in summarize(scores, "f1_macro", ["control", "n_averaged"]):
                    recall = f"{balanced.loc[row[0], row[1]]:.3f}"
                    lines.append([kind, n_classes, label, *row, recall, f"{seconds:.0f}"])
                    print(lines[-1], flush=True)
    columns = [
        "task",
        "classes",
        "decoder",
        "control",
        "averaged",
        "F1-macro",
        "chance",
        "null",
        "97.5 %",
        "recall",
        "s",
    ]
    print(markdown(columns, lines))


def main():
    """Run one part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["eeg", "filters", "mel", "classes"])
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--root", type=Path, default=Path("reconstruction"))
    args = parser.parse_args()
    print(machine(), vars(args))
    {"eeg": run_eeg, "filters": run_filters, "mel": run_mel, "classes": run_classes}[args.part](args)


if __name__ == "__main__":
    main()
