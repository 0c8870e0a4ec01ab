"""Calibrate the simulated subjects against published results of real ones.

``python benchmarks/calibrate_listening.py [--root FOLDER]`` prints the tables
of ``benchmarks/README.md``: a plain linear decoder of this script, continuous
in time, on 36 minutes of training speech, at each signal-to-noise ratio and at
the final one. The level and the variation between subjects were selected once,
from these tables and the published ranges (envelope r of .1 to .2 in EEG;
leave-one-subject-out over within-subject r of .5 to .85), not by the scores of
another decoder.
"""

import argparse
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import soundfile as sf

from sk_b2s.datasets import make_listening
from sk_b2s.features._stft import compute_stft, make_stft_filter_bank
from sk_b2s.metrics._ranks_and_top_k import ranks

RATE = 32  # Hz
LAGS = np.arange(15)  # to 437 ms
N_COMPONENTS, N_MELS = 48, 20
WINDOW = (-0.5, 2.5)  # s around a word
ALPHAS = 10.0 ** np.arange(-1, 7)
TEST, VALID = (9, 10, 11), (12, 13)  # sounds, of three voices and of two
LEVELS = (-30, -25, -20, -15, -10, -5)  # dB


def mel_of(path):
    """Compute mel power to the 0.3 in 20 bands at 32 Hz: (n_times, 20)."""
    samples, rate = sf.read(path, dtype="float32")
    power = np.abs(compute_stft(np.pad(samples, 512), 1024, rate // RATE)) ** 2
    mel = make_stft_filter_bank(rate, 1024, N_MELS, htk=False) @ power
    return (mel**0.3).T


class Subject:
    """Recording at 32 Hz, 0.5 to 15 Hz, with separate evoked signal."""

    def __init__(self, events, truth, clip):
        path = events["recording"].iloc[0]
        raw = mne.io.read_raw(path, preload=True, verbose="ERROR")
        planted = truth.recordings[path]
        raw._data -= planted.patterns.T @ planted.sources
        info = mne.create_info(len(planted.sources), raw.info["sfreq"], "misc")
        courses = mne.io.RawArray(planted.sources, info, verbose="ERROR")
        parts = [self._prepare(part) for part in (raw, courses)]
        self.noise, self.courses = parts[0], parts[1]
        self.patterns, self.snr_db, self.clip = planted.patterns.astype(np.float32), truth.snr_db, clip
        sounds = events[events["type"] == "sound"].sort_values("sound")
        self.begin = np.round(sounds["onset"].to_numpy() * RATE).astype(int)

    @staticmethod
    def _prepare(raw):
        raw.filter(0.5, 15, picks="all", verbose="ERROR").resample(RATE, verbose="ERROR")
        return raw.get_data().T.astype(np.float32)

    def at(self, snr_db=None):
        """Return the standardized recording at another level."""
        gain = 1.0 if snr_db is None else 10 ** ((snr_db - self.snr_db) / 20)
        data = self.noise + gain * self.courses @ self.patterns
        low, middle, high = np.percentile(data, [25, 50, 75], axis=0)
        data = (data - middle) / (high - low)
        return np.clip(data, -20, 20) if self.clip else data


def lagged(data, sign):
    """Stack lags 0 to 437 ms of the recording (1) or of the stimulus (-1)."""
    n_times, n_columns = data.shape
    out = np.zeros((n_times, len(LAGS), n_columns), np.float32)
    for lag in LAGS:
        if sign > 0:
            out[: n_times - lag, lag] = data[lag:]
        else:
            out[lag:, lag] = data[: n_times - lag]
    return out.reshape(n_times, -1)


def moments(inputs, outputs):
    """Compute second moments of inputs, and of inputs with outputs."""
    return inputs.T @ inputs, inputs.T @ outputs


def solve(xx, xy, inputs, outputs):
    """Fit ridge regression with the best alpha on validation rows."""
    values, vectors = np.linalg.eigh(xx.astype(float))
    rotated, scale = vectors.T @ xy, values.mean()
    fits = [vectors @ (rotated / (np.maximum(values, 0) + a * scale / 100)[:, None]) for a in ALPHAS]
    return max(fits, key=lambda fit: np.mean(correlation(inputs @ fit.astype("f4"), outputs))).astype("f4")


def correlation(a, b):
    """Compute the correlation of each column."""
    a, b = a - a.mean(0), b - b.mean(0)
    return (a * b).sum(0) / np.sqrt((a**2).sum(0) * (b**2).sum(0) + 1e-30)


class Experiment:
    """Stimuli, their onsets in the recordings, and the test words."""

    def __init__(self, events):
        first = events[events["subject"] == events["subject"].iloc[0]]
        names = sorted(first.loc[first["type"] == "sound", "sound"])
        self.mel = [mel_of(name) for name in names]
        spread = np.concatenate(self.mel).std(0)
        self.mel = [mel / spread for mel in self.mel]
        words = first[first["type"] == "word"]
        self.words = [
            words.loc[words["sound"] == name, "sound_onset"].sort_values().to_numpy() for name in names
        ]
        self.train = [i for i in range(len(names)) if i not in TEST + VALID]

    def rows(self, subject, sounds, minutes=None):
        """Return the times of some stimuli in a recording."""
        found = np.concatenate([subject.begin[i] + np.arange(len(self.mel[i])) for i in sounds])
        return found if minutes is None else found[: int(minutes * 60 * RATE)]

    def heard(self, sounds, minutes=None):
        """Return centered mel features of some stimuli: (n_times, 20)."""
        mel = np.concatenate([self.mel[i] for i in sounds])
        mel = mel if minutes is None else mel[: int(minutes * 60 * RATE)]
        return mel - mel.mean(0)

    def windows(self, estimates):
        """Return windows of estimates and truth at the test words."""
        begin, stop = (round(t * RATE) for t in WINDOW)
        cut = [[], []]
        offset = 0
        for i in TEST:
            length = len(self.mel[i])
            for part, source in zip(cut, (estimates[offset : offset + length], self.mel[i]), strict=True):
                padded = np.pad(source - source.mean(0), ((-begin, stop + 1), (0, 0)))
                first = np.round(self.words[i] * RATE).astype(int)
                part.append(padded[first[:, None] + np.arange(stop - begin)].reshape(len(first), -1))
            offset += length
        return [np.concatenate(part) for part in cut]

    def scores(self, estimates):
        """Return envelope r, match-mismatch, top-1 and top-10 accuracy."""
        truth = self.heard(TEST)
        guess, target = self.windows(estimates)
        similarity = guess @ (target / np.linalg.norm(target, axis=1, keepdims=True)).T
        found = ranks(similarity, np.arange(len(guess)))
        other = np.random.default_rng(0).permutation(len(guess))
        match = np.diag(similarity) > similarity[np.arange(len(guess)), other]
        envelope = correlation(estimates.mean(1, keepdims=True), truth.mean(1, keepdims=True))[0]
        return {
            "envelope r": envelope, "2-way": match[other != np.arange(len(guess))].mean(),
            "top-1": np.mean(found == 0), "top-10": np.mean(found < 10), "candidates": len(guess),
        }  # fmt: skip


def backward(experiment, subject, data, minutes=None, shift=0):
    """Estimate the test stimuli by a decoder of the subject: (n_times, 20)."""
    rows = experiment.rows(subject, experiment.train, minutes)
    components = np.linalg.eigh(np.cov(data[rows].T))[1][:, -N_COMPONENTS:].astype("f4")
    inputs = lagged(data @ components, 1)
    inputs -= inputs[rows].mean(0)
    heard = np.roll(experiment.heard(experiment.train, minutes), shift * RATE, axis=0)
    fit = solve(
        *moments(inputs[rows], heard), inputs[experiment.rows(subject, VALID)], experiment.heard(VALID)
    )
    return inputs[experiment.rows(subject, TEST)] @ fit


def forward(experiment, subject, data):
    """Return the largest correlation of a channel with its prediction."""

    def inputs(sounds):
        return np.concatenate([lagged(experiment.mel[i] - experiment.mel[i].mean(0), -1) for i in sounds])

    train, valid, test = (experiment.rows(subject, s) for s in (experiment.train, VALID, TEST))
    fit = solve(*moments(inputs(experiment.train), data[train]), inputs(VALID), data[valid])
    return correlation(inputs(TEST) @ fit, data[test]).max()


def left_out(experiment, subjects, data):
    """Return the envelope r of each subject by a decoder of the others."""
    covariances = [
        np.cov(d[experiment.rows(p, experiment.train)].T) for p, d in zip(subjects, data, strict=True)
    ]
    found = []
    for out in range(len(subjects)):
        others = [i for i in range(len(subjects)) if i != out]
        components = np.linalg.eigh(sum(covariances[i] for i in others))[1][:, -N_COMPONENTS:].astype("f4")
        xx, xy, valid = 0, 0, []
        for i in [*others, out]:
            inputs = lagged(data[i] @ components, 1)
            rows = experiment.rows(subjects[i], experiment.train)
            inputs -= inputs[rows].mean(0)
            if i == out:
                break
            products = moments(inputs[rows], experiment.heard(experiment.train))
            xx, xy = xx + products[0], xy + products[1]
            valid.append(inputs[experiment.rows(subjects[i], VALID)])
        fit = solve(xx, xy, np.concatenate(valid), np.tile(experiment.heard(VALID), (len(others), 1)))
        estimates = inputs[experiment.rows(subjects[out], TEST)] @ fit
        found.append(experiment.scores(estimates)["envelope r"])
    return np.array(found)


def markdown(table):
    """Print a table in the style of benchmarks/README.md."""
    lines = ["| " + " | ".join([table.index.name or "", *map(str, table.columns)]) + " |"]
    lines.append("|---" * (table.shape[1] + 1) + "|")
    for name, row in table.iterrows():
        lines.append(
            "| "
            + " | ".join(
                [str(name), *(f"{v:.3f}".lstrip("0") if isinstance(v, float) else str(v) for v in row)]
            )
            + " |"
        )
    print("\n".join(lines), flush=True)


def calibrate(modality, artifacts, root, n_subjects=8):
    """Print the tables of one kind of sensors."""
    events, truth = make_listening(
        n_subjects, None, modality=modality, artifacts=artifacts, root=root, return_truth=True
    )
    experiment = Experiment(events)
    subjects = [Subject(rows, truth[name], clip=bool(artifacts)) for name, rows in events.groupby("subject")]
    seconds = {part: sum(len(experiment.mel[i]) for i in s) / RATE
               for part, s in (("train", experiment.train), ("valid", VALID), ("test", TEST))}  # fmt: skip
    print(
        f"\n## {modality}, artifacts={artifacts}: "
        + ", ".join(f"{k} {v / 60:.1f} min" for k, v in seconds.items())
    )
    print("SNR of each subject:", " ".join(f"{subject.snr_db:.1f}" for subject in subjects), "\n", flush=True)
    if not artifacts:
        rows = {}
        for level in LEVELS:
            found = []
            for subject in subjects[:2]:
                data = subject.at(level)
                scores = experiment.scores(backward(experiment, subject, data))
                found.append({**scores, "forward r": forward(experiment, subject, data)})
            rows[level] = pd.DataFrame(found).mean()
        markdown(pd.DataFrame(rows).T.rename_axis("SNR dB (2 subjects)"))
    data = [subject.at() for subject in subjects]
    estimates = [backward(experiment, p, d) for p, d in zip(subjects, data, strict=True)]
    frozen = pd.DataFrame([experiment.scores(e) for e in estimates])
    frozen["forward r"] = [forward(experiment, p, d) for p, d in zip(subjects, data, strict=True)]
    shifted = [
        experiment.scores(backward(experiment, p, d, shift=60))["top-10"]
        for p, d in zip(subjects, data, strict=True)
    ]
    frozen["top-10, labels shifted by 60 s"] = shifted
    others = left_out(experiment, subjects, data)
    frozen["envelope r, left out"] = others
    print("\nFrozen level, one decoder per subject")
    summary = pd.DataFrame({"mean": frozen.mean(), "lowest": frozen.min(), "highest": frozen.max()})
    markdown(summary.T.rename_axis("8 subjects"))
    print(f"\nleft out / within envelope r: {others.mean() / frozen['envelope r'].mean():.2f}")
    if not artifacts:
        print("\nMinutes of training, top-10 of two subjects")
        curve = {m: [experiment.scores(backward(experiment, p, d, m))["top-10"]
                     for p, d in list(zip(subjects, data, strict=True))[:2]] for m in (2, 5, 10, 20, 30)}  # fmt: skip
        markdown(pd.DataFrame(curve, index=["01", "02"]))
    print("\nEstimates averaged over k subjects, top-10")
    mean = {k: experiment.scores(np.mean(estimates[:k], axis=0))["top-10"] for k in (1, 2, 4, 8)}
    markdown(pd.DataFrame(mean, index=[modality]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=None, help="where the recordings are kept (5 GB)")
    parser.add_argument("--modality", choices=["eeg", "meg"], nargs="*", default=["eeg", "meg"])
    arguments = parser.parse_args()
    for modality in arguments.modality:
        for artifacts in (False, True):
            calibrate(modality, artifacts, arguments.root)
