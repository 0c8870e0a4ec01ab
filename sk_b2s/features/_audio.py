"""Audio samples at 16 kHz for speech features."""

from __future__ import annotations

import librosa
import numpy as np

from sk_b2s._utils._caching import code_of
from sk_b2s.events._audio import _files as audio_files
from sk_b2s.events._audio._files import read_samples
from sk_b2s.events._stimuli import stimulus_state

AUDIO_SFREQ = 16000  # Hz, of every sound before features are taken, as in the paper
CODE = code_of(__file__, librosa) + code_of(audio_files.__file__)  # of what reads audio
SILENCE = 5.0  # s; the silence around a sound is laid in multiples of this


def read_audio(sound, start=0.0, stop=None):
    """Read a sound, or a stretch of it, as mono at 16 kHz.

    Parameters
    ----------
    sound : str or AudioTrack
        A file that soundfile reads. Of several tracks the mean is taken, unless one is chosen.
    start, stop : float, default=0.0, None
        The stretch in seconds; None reads to the end. It is cut before it is resampled, so that no
        sample depends on what lies outside.

    Returns
    -------
    audio : ndarray of shape (n_samples,)
        float32.

    Raises
    ------
    ValueError
        If the file cannot be read, or samples are not finite or beyond 1e10. The message names the file.
    """
    audio, sfreq = read_samples(sound, stimulus_state(sound), start, stop)
    return librosa.resample(audio, orig_sr=sfreq, target_sr=AUDIO_SFREQ)


def pad_with_silence(features, pad, silence):
    """Lay silence around the features of a sound: float32, time-major."""
    features = np.asarray(features() if callable(features) else features, np.float32)
    return np.pad(features, ((pad, pad), (0, 0)), constant_values=silence)
