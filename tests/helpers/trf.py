"""Simulated responses for forward models."""

import numpy as np
import pandas as pd

from sk_b2s import Windows


def simulate_two_sets(n=60, n_noise=8, n_channels=1, seed=0):
    """Channel 0 follows feature 0, among unrelated features."""
    rng = np.random.default_rng(seed)
    speech = rng.standard_normal((n, 1 + n_noise, 30))
    eeg = 2.0 * rng.standard_normal((n, n_channels, 30))
    eeg[:, 0, 2:] += 0.7 * speech[:, 0, :-2]
    return eeg, speech


def simulate_group(n_subjects=8, n=10, seed=0):
    """Windows of subjects whose first two channels follow after 0.2 s."""
    rng = np.random.default_rng(seed)
    speech = rng.standard_normal((n_subjects * n, 1, 40))
    eeg = 2.0 * rng.standard_normal((n_subjects * n, 5, 40))
    eeg[:, :2, 2:] += speech[:, :, :-2] * np.array([[1.0], [0.8]])
    rows = pd.DataFrame({"subject": np.repeat([f"s{i}" for i in range(n_subjects)], n)})
    places = np.array([[0.5, 0.7], [0.5, 0.5], [0.2, 0.5], [0.8, 0.5], [0.5, 0.2]])
    X = Windows.from_array(eeg, rows, places, sfreq=10.0, ch_names=["Fz", "Cz", "T7", "T8", "Oz"])
    return X, speech
