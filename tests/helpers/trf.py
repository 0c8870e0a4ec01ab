"""Simulated responses for forward models."""

import numpy as np


def simulate_two_sets(n=60, n_noise=8, seed=0):
    """Channel 0 of two follows feature 0, among unrelated features."""
    rng = np.random.default_rng(seed)
    speech = rng.standard_normal((n, 1 + n_noise, 30))
    eeg = 2.0 * rng.standard_normal((n, 1, 30))
    eeg[:, 0, 2:] += 0.7 * speech[:, 0, :-2]
    return eeg, speech
