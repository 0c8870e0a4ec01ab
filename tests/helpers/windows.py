"""Small EEG windows that are a mixture of their speech features."""

import numpy as np
import pandas as pd

from sk_b2s import Windows


def make_planted_windows(n=64, n_channels=5, n_features=4, n_times=12, subjects=("a", "b"), seed=0):
    """Return Windows of some subjects with positions, and features."""
    rng = np.random.default_rng(seed)
    speech = rng.standard_normal((n, n_features, n_times)).astype("f4")
    brain = np.einsum("cf,nft->nct", rng.standard_normal((n_channels, n_features)), speech)
    brain = (brain + 0.1 * rng.standard_normal(brain.shape)).astype("f4")
    subject = np.resize(subjects, n)
    rows = pd.DataFrame({"subject": subject, "recording": subject})
    positions = rng.uniform(size=(n_channels, 2))
    return Windows.from_array(brain, rows=rows, positions=positions, sfreq=100), speech
