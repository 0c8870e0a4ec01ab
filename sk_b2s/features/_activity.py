"""Speech activity: speech or silence in each frame."""

from __future__ import annotations

from numbers import Real

import numpy as np
from sklearn.utils._param_validation import Interval

from sk_b2s._utils._caching import get_cache_code
from sk_b2s.features._acoustic_spectra import CODE as SPEECH_CODE
from sk_b2s.features._acoustic_spectra import SpectralFeatures, compute_power_spectrogram
from sk_b2s.features._read_audio import read_audio_for_features

CODE = get_cache_code(__file__)
REFERENCE_PERCENTILE = 95  # of the frames of a stimulus; the threshold is relative to it


def compute_speech_activity(path, stamp, sfreq, threshold, pause, n_fft):
    """Compute speech activity of an audio file, of shape (n_frames, 1)."""
    energy = compute_power_spectrogram(read_audio_for_features(path), sfreq, n_fft).sum(0)
    reference = np.percentile(energy, REFERENCE_PERCENTILE)
    active = energy > reference * 10 ** (threshold / 10)
    edges = np.flatnonzero(np.diff(active, prepend=not active[0], append=not active[-1]))
    for first, last in zip(edges[:-1], edges[1:], strict=True):
        if not active[first] and last - first < pause * sfreq and 0 < first and last < len(active):
            active[first:last] = True  # the closure of a plosive is not a silence
    return active.astype(np.float32)[:, None]


class SpeechActivity(SpectralFeatures):
    """Compute speech activity from the short-time energy of the audio.

    The feature is 1 in speech and 0 in silence. A frame is silent if its
    energy is ``threshold`` dB below the 95th percentile of the energy of its
    stimulus. Silences shorter than ``pause``, such as the closure of a
    plosive, count as speech. As the ``speech`` parameter of a decoder it
    measures how much the silences alone contribute to a score.

    Parameters
    ----------
    sfreq : float, default=50
        Frames per second. Must divide 16,000.
    threshold : float, default=-30
        Energy threshold in dB, relative to the loud frames of the stimulus.
        Raise it for stimuli with background noise, which are never silent.
    pause : float, default=0.1
        Shortest silence in seconds.
    n_fft : int, default=512
        Length of a frame in samples at 16 kHz.
    memory : None, str or joblib.Memory, default=None
        Cache folder for the activity of each stimulus. If None, the process
        keeps features in memory, up to 256 MiB of all stimuli together. The
        folder contains pickle files, which can run code when they are read.
        Use a folder that only you can write to.

    Attributes
    ----------
    n_features_out_ : int
        Number of features, 1.

    Notes
    -----
    Frames beyond the ends of a stimulus are silence, 0.
    """

    _compute, _code = staticmethod(compute_speech_activity), (SPEECH_CODE, CODE)
    _parameter_constraints = {
        **SpectralFeatures._parameter_constraints,
        "threshold": [Interval(Real, None, 0, closed="neither")],
        "pause": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, sfreq=50, threshold=-30.0, pause=0.1, n_fft=512, memory=None):
        self.sfreq = sfreq
        self.threshold = threshold
        self.pause = pause
        self.n_fft = n_fft
        self.memory = memory

    def _count_features(self, sounds):
        return 1
