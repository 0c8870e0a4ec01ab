"""Windows of a continuous response to three bands of speech."""

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter1d

from sk_b2s.preprocessing._windows import Windows

RATE, LENGTH = 20, 40  # frames per second and per window


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
