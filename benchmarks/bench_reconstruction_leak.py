"""False alarms of the leak test of reconstructed speech features.

``python benchmarks/bench_reconstruction_leak.py`` decodes phase-randomized
recordings of simulated subjects in five stimulus folds, and compares the mean
correlation over folds with three nulls of circular shifts: with a shift of its
own in each fold, with one shift for all folds of a subject, and with the first
one widened by the square root of 2, which is the null of
:func:`sk_b2s.summarize` and of the leak test. It prints the number of
repetitions above and below each of them.
"""

import argparse
import time

import numpy as np
import pandas as pd
from _machine import machine, markdown
from scipy.signal import lfilter
from sklearn.pipeline import make_pipeline
from sklearn.utils import _safe_indexing

from sk_b2s import (
    FeatureScaler,
    PrecomputedFeatures,
    RidgeDecoder,
    StimulusArray,
    StimulusKFold,
    SurrogateRecordings,
    Windows,
    reconstruct,
)
from sk_b2s.evaluation._controls._leak_test import is_leak_test_positive, pool_leak_test_rows
from sk_b2s.evaluation._controls._registry import LEAK_ALPHA
from sk_b2s.evaluation._reconstruction._result import find_reconstruction_result_shifts
from sk_b2s.evaluation._tasks._judge_reconstruction import judge_reconstruction

SFREQ, STEP, LENGTH = 8.0, 8, 24  # Hz; samples between windows and in a window


def simulate(n_subjects, seconds, n_channels, n_bands, seed, gain):
    """Simulate recordings with a response to features, both autocorrelated."""
    rng = np.random.default_rng(seed)
    n_times = int(seconds * SFREQ)
    smooth = lambda noise: lfilter([0.6], [1, -0.8], noise, axis=0)  # noqa: E731
    stimulus = smooth(rng.standard_normal((n_times, n_bands)))
    sound = StimulusArray(stimulus.astype(np.float32), SFREQ, "story")
    recordings = []
    for _ in range(n_subjects):
        noise = smooth(rng.standard_normal((n_times, n_channels)))
        recordings.append(
            (noise + gain * stimulus @ rng.standard_normal((n_bands, n_channels))).astype(np.float32)
        )
    n = (n_times - LENGTH) // STEP
    which, start = np.repeat(np.arange(n_subjects), n), np.tile(np.arange(n) * STEP, n_subjects)
    names, block = [f"s{one}" for one in which], start // int(20 * SFREQ)
    rows = pd.DataFrame({
        "subject": names, "recording": names, "onset": start / SFREQ, "duration": LENGTH / SFREQ,
    })  # fmt: skip
    y = pd.DataFrame({
        "sound": [sound] * len(rows), "sound_onset": start / SFREQ, "duration": (LENGTH - 1) / SFREQ,
        "segment": start, "block": block, "block_start": 20.0 * block, "block_stop": 20.0 * block + 20,
    })  # fmt: skip
    return Windows(recordings, which, start, LENGTH, SFREQ, rows=rows), y


def correlate_shifts(result):
    """Correlate each subject without and with every shift, mean over bands."""
    found = {}
    for index, row in enumerate(result.rows.to_dict("records")):
        n = result.estimate[index].shape[1]
        possible = find_reconstruction_result_shifts(result.place[index], result.window)
        r = {0: result.correlate_recording(index, 0, None)[0, 0]}
        estimate, target = (
            part - part.mean(1, keepdims=True) for part in (result.estimate[index], result.target[index])
        )
        norm = np.linalg.norm(estimate, axis=1) * np.linalg.norm(target, axis=1)
        spectra = np.fft.rfft(target) * np.conj(np.fft.rfft(estimate))
        all_shifts = (np.fft.irfft(spectra, n) / norm[:, None]).mean(0)
        found[row["subject"]] = r | {int(shift): all_shifts[shift] for shift in possible}
    return found


def compare_nulls(folds, n_shifts, random):
    """Return the mean score, and nulls of separate and of joint shifts."""
    subjects = list(folds[0])
    score = np.mean([[fold[name][0] for name in subjects] for fold in folds])
    separate, joint = np.zeros(n_shifts), np.zeros(n_shifts)
    for name in subjects:
        common = sorted(set.intersection(*({*fold[name]} - {0} for fold in folds)))
        drawn = random.choice(common, n_shifts)
        for fold in folds:
            weight = 1 / (len(folds) * len(subjects))
            own = random.choice([shift for shift in fold[name] if shift], n_shifts)
            separate += weight * np.array([fold[name][shift] for shift in own])
            joint += weight * np.array([fold[name][shift] for shift in drawn])
    return score, separate, joint


def repeat(args, seed):
    """Run one repetition: which nulls the score is outside of."""
    X, y = simulate(args.subjects, args.seconds, args.channels, args.bands, seed, args.gain)
    speech = make_pipeline(PrecomputedFeatures(), FeatureScaler())
    decoder = RidgeDecoder(speech=speech, lags=(0, 0.25), alphas=(1.0,))
    surrogate = SurrogateRecordings(random_state=seed)
    folds, outcomes = [], []
    for train, test in StimulusKFold(args.folds).split(X, y):
        fitted = make_pipeline(surrogate, decoder).fit(_safe_indexing(X, train), _safe_indexing(y, train))
        result = reconstruct(fitted, _safe_indexing(X, test), _safe_indexing(y, test))
        folds.append(correlate_shifts(result))
        outcomes.append(judge_reconstruction(result, None).make_outcome(args.shifts, seed))
    score, separate, joint = compare_nulls(folds, 2000, np.random.default_rng(seed))
    row = {"score": score, "leak test, all outcomes": is_leak_test_positive(pool_leak_test_rows(outcomes))}
    for name, null in (("separate", separate), ("joint", joint), ("widened", separate)):
        null = null.mean() + (null - null.mean()) * (np.sqrt(2) if name == "widened" else 1)
        row[f"{name}, above 97.5 %"] = score > np.quantile(null, 0.975)
        row[f"{name}, below 2.5 %"] = score < np.quantile(null, 0.025)
        row[f"{name}, above 1 - alpha"] = score > np.quantile(null, 1 - LEAK_ALPHA)
        row[f"{name}, spread"] = null.std()
    return row


def main():
    """Repeat the simulation and print the numbers of false alarms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--subjects", type=int, default=2)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--bands", type=int, default=4)
    parser.add_argument(
        "--gain", type=float, default=0.0, help="of the response, before phases are randomized"
    )
    parser.add_argument("--shifts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=100, help="of the first repetition")
    args = parser.parse_args()
    start = time.perf_counter()
    table = pd.DataFrame([repeat(args, args.seed + number) for number in range(args.repetitions)])
    print(machine())
    print(f"{vars(args)}, {time.perf_counter() - start:.0f} s")
    print(f"standard deviation of the score {table['score'].std():.4f}, mean {table['score'].mean():.4f}")
    rows = []
    for name in ("separate", "joint", "widened"):
        columns = [f"{name}, {what}" for what in ("above 97.5 %", "below 2.5 %", "above 1 - alpha")]
        rows.append(
            [
                name,
                *(f"{table[column].sum()} of {len(table)}" for column in columns),
                f"{table[f'{name}, spread'].mean():.4f}",
            ]
        )
    print(
        markdown(
            ["null", "above 97.5 %", "below 2.5 %", f"above 1 - {LEAK_ALPHA:.4f}", "standard deviation"], rows
        )
    )
    print(f"positive leak tests: {table['leak test, all outcomes'].sum()} of {len(table)}")


if __name__ == "__main__":
    main()
