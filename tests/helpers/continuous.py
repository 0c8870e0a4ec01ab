"""Windows of a continuous response to three bands of speech."""

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter1d

from sk_b2s.preprocessing._windows._windows import Windows

RATE, LENGTH = 20, 40  # frames per second and per window
N = 59  # windows of a recording
FOLD = [(np.r_[:29, N : N + 29], np.r_[30:N, N + 30 : 2 * N])]


def make_recording(seed=0, n_frames=1200, noise=0.5, subject="01"):
    """Make windows of a response to three bands, at a grid with overlap."""
    random = np.random.default_rng(seed)
    speech = gaussian_filter1d(random.standard_normal((n_frames, 3)), 4, axis=0).astype("f4")
    speech = (speech - speech.mean(0)) / speech.std(0) - 2
    brain = speech @ random.standard_normal((3, 8)) * 0.5
    brain = brain + noise * random.standard_normal(brain.shape)
    start = np.arange(0, n_frames - LENGTH + 1, LENGTH // 2)
    rows = pd.DataFrame({
        "subject": subject, "recording": "a", "onset": 5 + start / RATE, "duration": LENGTH / RATE,
        "segment": np.arange(len(start)),
    })  # fmt: skip
    make = [
        Windows([data], np.zeros(len(start)), start, LENGTH, RATE, rows=rows)
        for data in (brain.astype("f4"), speech)
    ]
    return *make, speech


def join_subjects(noise=0.5):
    """Make two subjects who hear the same speech."""
    (X, y, _), (other, _, _) = make_recording(noise=noise), make_recording(noise=noise)
    random = np.random.default_rng(1)
    signals = [np.asarray(part.signals[0]) for part in (X, other)]
    signals[1] = (signals[1] + 0.5 * random.standard_normal(signals[1].shape)).astype("f4")
    rows = pd.concat([X.rows, X.rows.assign(subject="02", recording="b")], ignore_index=True)
    start = np.tile(X.start, 2)
    X = Windows(signals, np.repeat([0, 1], N), start, LENGTH, RATE, rows=rows)
    return X, Windows(y.signals, np.zeros(2 * N, int), start, LENGTH, RATE, rows=rows)
