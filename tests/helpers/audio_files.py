"""Audio files of speech, and tables of them."""

import numpy as np
import pandas as pd
import soundfile

from sk_b2s import Envelope
from sk_b2s.events._stimuli import stimulus_duration

RATE = 16000


def write(path, samples, rate=RATE, **options):
    soundfile.write(path, samples, rate, **options)
    return str(path)


def segments(sounds, onset=2.0, duration=20.0, **columns):
    sounds = sounds if isinstance(sounds, list) else [sounds]
    return pd.DataFrame({"sound": sounds, "sound_onset": onset, "duration": duration, **columns})


def make_events(sounds, subject="01", **columns):
    """Make events of one subject with consecutive stimuli."""
    rows, onset = [], 2.0
    for sound in sounds:
        rows.append({"type": "sound", "onset": onset, "duration": 0.0, "sound": sound})
        onset += stimulus_duration(sound) + 2
    return pd.DataFrame(rows).assign(
        subject=subject, recording=f"{subject}.fif", recording_duration=onset + 5, **columns
    )


def envelope(sound, **columns):
    return np.asarray(Envelope(sfreq=25).fit_transform(segments(sound, **columns)))[0, 0]
