"""Speech activity: whether somebody speaks."""

from __future__ import annotations

from numbers import Real

import numpy as np
from sklearn.utils._param_validation import Interval

from sk_b2s._utils._caching import code_of
from sk_b2s.features._audio import read_audio
from sk_b2s.features._spectral import CODE as SPEECH_CODE
from sk_b2s.features._spectral import SpectralFeatures, power_spectrogram

CODE = code_of(__file__)
LOUD = 95  # percentile of a sound's frames that the threshold is counted from


def speech_activity(path, stamp, sfreq, threshold, pause, n_fft):
    """Speech or silence of a sound file, see :class:`SpeechActivity`: (n_frames, 1)."""
    energy = power_spectrogram(read_audio(path), sfreq, n_fft).sum(0)
    loud = np.percentile(energy, LOUD)
    active = energy > loud * 10 ** (threshold / 10)
    edges = np.flatnonzero(np.diff(active, prepend=not active[0], append=not active[-1]))
    for first, last in zip(edges[:-1], edges[1:], strict=True):
        if not active[first] and last - first < pause * sfreq and 0 < first and last < len(active):
            active[first:last] = True  # the closure of a plosive is no pause
    return active.astype(np.float32)[:, None]


class SpeechActivity(SpectralFeatures):
    """One where there is speech and zero in a pause, from the short-time energy of the sound.

    A frame is silent if its energy is ``threshold`` dB below the loud frames of its sound (their 95th
    percentile); silences shorter than ``pause``, such as the closure of a plosive, count as speech.
    Given to a decoder as ``speech=`` it tells how far the pauses alone carry.

    Parameters
    ----------
    sfreq : float, default=50
        Frames per second; must divide 16,000.
    threshold : float, default=-30
        In dB. Raise it for recordings with background noise, where nothing is ever silent.
    pause : float, default=0.1
        Shortest silence in seconds.
    n_fft : int, default=512
        Samples of 1/16000 s in a frame.
    memory : None, str or joblib.Memory, default=None
        Folder where the activity of each sound is kept.
        The folder holds pickle, which runs code when it is read. Use one that only you can write.

    Attributes
    ----------
    n_features_out_ : int

    Notes
    -----
    Beyond the ends of a sound there is silence, 0.
    """

    _compute, _code = staticmethod(speech_activity), (SPEECH_CODE, CODE)
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

    def _n_features(self, sounds):
        return 1
