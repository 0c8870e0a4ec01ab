"""Recordings without a response, and a decoder of overlaps of windows."""

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import make_pipeline

from helpers.decoders import planted
from sk_b2s import FeatureScaler, PrecomputedFeatures, RidgeDecoder, StimulusArray, Windows
from sk_b2s.evaluation._controls._surrogates import make_phase_surrogate

SFREQ, LENGTH = 32.0, 64  # Hz; samples of a window, 2 s
N_WORDS, N_CODES = 50, 8


def make_silent_brains(n_recordings=4, n=150, n_channels=4, seed=0):
    """Make noise that is unrelated to the words of its recording.

    Each word of the vocabulary has a typical duration and random features.
    """
    rng = np.random.default_rng(seed)
    typical = np.exp(rng.uniform(np.log(0.15), np.log(0.6), N_WORDS))
    features = rng.standard_normal((N_WORDS, 12)).astype(np.float32)
    signals, tables = [], []
    for index in range(n_recordings):
        words = rng.integers(0, N_WORDS, n + 20)
        steps = np.maximum(
            np.round(SFREQ * typical[words] * np.exp(0.1 * rng.standard_normal(len(words)))), 3
        ).astype(int)
        sound = StimulusArray(np.repeat(features[words], steps, axis=0), SFREQ, f"sound {index}")
        start = np.r_[0, np.cumsum(steps)[:-1]][:n]
        noise = np.cumsum(rng.standard_normal((steps.sum(), n_channels)), 0) * 0.1
        signals.append((noise + rng.standard_normal(noise.shape)).astype(np.float32))
        seconds, block = start / SFREQ, start / SFREQ // 6
        tables.append(pd.DataFrame({
            "subject": "s", "recording": f"r{index}", "onset": seconds, "which": index, "start": start,
            "sound": [sound] * n, "sound_onset": seconds, "word": [f"word{word}" for word in words[:n]],
            "word_duration": steps[:n] / SFREQ, "block": 1000 * index + block.astype(int),
            "block_start": 6 * block, "block_stop": 6 * block + 6,
        }))  # fmt: skip
    table = pd.concat(tables, ignore_index=True).assign(segment=lambda rows: np.arange(len(rows)))
    rows = table[["subject", "recording", "onset"]].assign(duration=LENGTH / SFREQ)
    y = table.drop(columns=["subject", "recording", "onset", "which", "start"])
    y = y.assign(duration=(LENGTH - 1) / SFREQ)
    return Windows(signals, table["which"], table["start"], LENGTH, SFREQ, rows=rows), y


class OverlapReader(TransformerMixin, BaseEstimator):
    """Intervals between consecutive windows, found by aligning their samples.

    The output has no signal, only the interval of the word at each time.
    """

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        data, recording = np.asarray(X), X.rows["recording"].to_numpy()
        lags = np.zeros(len(data), int)
        for row in range(len(data) - 1):
            if recording[row] == recording[row + 1]:
                lags[row] = find_common_lag(data[row], data[row + 1])
        edges = np.linspace(np.log(3), np.log(24), N_CODES)
        out = 1e-3 * np.random.default_rng(0).standard_normal((len(data), N_CODES, LENGTH)).astype(np.float32)
        for row in range(len(data)):
            place, at = 0, row
            while place < LENGTH and at < len(data) and lags[at]:
                code = np.exp(-(((np.log(lags[at]) - edges) / (edges[1] - edges[0])) ** 2))
                out[row, :, place : place + lags[at]] = code[:, None]
                place, at = place + lags[at], at + 1
        return Windows.from_array(out, rows=X.rows, sfreq=X.sfreq)


def find_common_lag(one, other):
    """Return the shift between equal samples of two windows, 0 without any."""
    parts = np.lib.stride_tricks.sliding_window_view(one[:, 2:], 8, axis=1)
    found = np.flatnonzero(abs(parts - other[:, None, :8]).max((0, 2)) < 1e-3 * one.std())
    return 2 + found[0] if len(found) else 0


def make_slow_responses(n_recordings=2, n=80, seed=0):
    """Make recordings with a response to slow features of the stimulus."""
    X, y = planted(0.0, 0.0, n_recordings, n, seed)
    random, signals, sounds = np.random.default_rng(seed), [], {}
    for signal, sound in zip(X.signals, pd.unique(y["sound"]), strict=True):
        slow = np.cumsum(random.standard_normal((len(signal), 4)), 0).astype(np.float32)
        slow -= np.stack([np.convolve(one, np.ones(64) / 64, "same") for one in slow.T], 1)
        sounds[sound] = StimulusArray(slow, X.sfreq, sound.name)
        signals.append(signal + np.pad(slow / slow.std(), ((0, 0), (0, 2))).astype(np.float32))
    return X._replace(signals=signals), y.assign(sound=y["sound"].map(sounds))


def randomize_windows(X, seed=0):
    """Randomize the phases of each window on its own."""
    data = np.stack(
        [make_phase_surrogate(window.T, seed + row).T for row, window in enumerate(np.asarray(X))]
    )
    return Windows.from_array(data, rows=X.rows, sfreq=X.sfreq)


def make_joint_decoder(k=10):
    speech = make_pipeline(PrecomputedFeatures(), FeatureScaler())
    return make_pipeline(OverlapReader(), RidgeDecoder(speech=speech, lags=(0, 0), alphas=(1.0,), k=k))
