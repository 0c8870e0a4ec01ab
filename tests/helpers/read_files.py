"""Read recordings with options, and random signals to write."""

import numpy as np

from sk_b2s.io._raw._identity import digest_recording_identity
from sk_b2s.io._raw._recordings import RecordingProcessing, read_recording_header, read_recording_signal


def load_header(path, **processing):
    """Read the header of a recording."""
    return read_recording_header(
        str(path), digest_recording_identity(path), RecordingProcessing(**processing)
    )


def load_signal(path, **processing):
    """Read the signal of a recording, (n_times, n_channels)."""
    return read_recording_signal(
        str(path), digest_recording_identity(path), RecordingProcessing(**processing)
    )


def make_noise(n_channels, n_times=2000):
    """Draw white noise with unit variance."""
    return np.random.default_rng(0).standard_normal((n_channels, n_times))


def make_signal(n_channels=3, n_times=5000, seed=0):
    """Draw white noise of 10 microvolts."""
    return 1e-5 * np.random.default_rng(seed).standard_normal((n_channels, n_times))
