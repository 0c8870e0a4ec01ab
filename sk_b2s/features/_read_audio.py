"""Audio samples at 16 kHz for speech features."""

from __future__ import annotations

import numpy as np
import soxr

from sk_b2s._utils._caching import get_cache_code
from sk_b2s.events._audio import _track_files as audio_files
from sk_b2s.events._audio._resampling import resample_audio
from sk_b2s.events._audio._track_files import read_track_samples
from sk_b2s.events._stimuli import get_stimulus_state

AUDIO_SFREQ = 16000  # Hz; all audio is resampled to it, as in the paper
CODE = get_cache_code(__file__, soxr) + get_cache_code(
    audio_files.__file__
)  # digest of the code that reads audio
PADDING_STEP = 5.0  # s; the silence around a stimulus is a multiple of it


def read_audio_for_features(sound, start=0.0, stop=None):
    """Read an audio file, or an interval of it, as float32 mono at 16 kHz.

    Parameters
    ----------
    sound : str or AudioTrack
        Audio file. Several tracks are averaged if none is selected.
    start, stop : float, default=0.0, None
        Interval in seconds. It is cut before resampling, so that no sample
        depends on audio outside of it. By default, read to the end.
    """
    audio, sfreq = read_track_samples(sound, get_stimulus_state(sound), start, stop)
    return resample_audio(audio, sfreq, AUDIO_SFREQ)


def pad_features_of_read_audio(features, pad, silence):
    """Pad time-major features of a stimulus with silence, as float32."""
    features = np.asarray(features() if callable(features) else features, np.float32)
    return np.pad(features, ((pad, pad), (0, 0)), constant_values=silence)
