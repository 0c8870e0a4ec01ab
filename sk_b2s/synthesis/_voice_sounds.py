"""Speech of a speaker: reading sounds at 16 kHz and checking them."""

from __future__ import annotations

from os import PathLike

import numpy as np
import pandas as pd

from sk_b2s.events._audio._resampling import resample_audio
from sk_b2s.events._audio._track_files import AudioTrack
from sk_b2s.features._read_audio import AUDIO_SFREQ, read_audio_for_features

SHORTEST = 0.2  # s of a sound
SILENT = 1e-4  # peak
DYNAMIC_RANGE, STEADY = 40.0, 3.0  # dB below the loudest frame, standard deviation in dB
LOWEST_RATE = 8000  # Hz


def list_voice_sounds(sounds):
    """List sounds of a list or of a table with stimulus intervals."""
    if isinstance(sounds, pd.DataFrame):
        missing = [name for name in ("sound", "sound_onset", "duration") if name not in sounds]
        if missing:
            raise ValueError(
                f"The table 'sounds' must have the columns {missing}. Use the y of make_segments."
            )
        rows = sounds[["sound", "sound_onset", "duration"]].itertuples(index=False)
        sounds = [(sound, float(onset), float(onset + duration)) for sound, onset, duration in rows]
    if not isinstance(sounds, (list, tuple)) or not sounds:
        raise ValueError(
            f"'sounds' must be a non-empty list of audio files or (samples, sfreq) tuples, or a table of stimulus "
            f"intervals. Got {type(sounds).__name__} instead."
        )
    return list(sounds)


def read_voice_sound(sound, name="'sound'"):
    """Read and check a sound as float32 mono at 16 kHz."""
    if isinstance(sound, (str, PathLike, AudioTrack)):
        audio = read_audio_for_features(sound)
    elif isinstance(sound, tuple) and len(sound) == 3:
        audio = read_audio_for_features(*sound)
    elif isinstance(sound, tuple) and len(sound) == 2:
        audio = _convert_voice_samples(*sound, name)
    else:
        raise ValueError(
            f"{name} must be an audio file or a tuple (samples, sfreq). Got {type(sound).__name__} instead."
        )
    _check_voice_speech(audio, name)
    return audio


def _convert_voice_samples(samples, sfreq, name):
    if not isinstance(sfreq, (int, float, np.number)) or not LOWEST_RATE <= sfreq <= 192000:
        raise ValueError(
            f"{name}: the sampling rate must be from {LOWEST_RATE} to 192000 Hz. Got {sfreq!r} instead."
        )
    samples = np.asarray(samples)
    if samples.dtype.kind in "iu":
        samples = samples / np.iinfo(samples.dtype).max
    if samples.dtype.kind != "f" or samples.ndim not in (1, 2) or not samples.size:
        raise ValueError(
            f"{name} must be numbers of shape (n_samples,) or (n_samples, n_channels). Got shape {samples.shape} of "
            f"{samples.dtype} instead."
        )
    if samples.ndim == 2 and samples.shape[1] > samples.shape[0]:
        raise ValueError(
            f"{name} must have the shape (n_samples, n_channels). Got {samples.shape} instead. Transpose it."
        )
    bad = np.argwhere(~np.isfinite(samples))
    if len(bad):
        raise ValueError(f"{name} must be finite. Got a NaN or infinite value at sample {bad[0][0]} instead.")
    mono = samples if samples.ndim == 1 else samples.mean(1)
    return resample_audio(mono.astype(np.float32), sfreq, AUDIO_SFREQ)


def _check_voice_speech(audio, name):
    seconds = len(audio) / AUDIO_SFREQ
    if seconds < SHORTEST:
        raise ValueError(
            f"{name} must last at least {SHORTEST} s. Got {seconds:.3f} s instead. Use longer speech."
        )
    if np.abs(audio - audio.mean()).max() < SILENT:
        raise ValueError(f"{name} is silent, its peak is below {SILENT}. Remove it or check the file.")
    frames = audio[: len(audio) // 160 * 160].reshape(-1, 160)
    level = 10 * np.log10((frames**2).mean(1) + 1e-12)
    spread = np.maximum(level, level.max() - DYNAMIC_RANGE).std()
    if spread < STEADY:
        raise ValueError(
            f"{name} has a constant level ({spread:.1f} dB standard deviation over frames of 10 ms), so it is not "
            f"speech. Speech varies by more than {STEADY:g} dB. Use a recording of speech."
        )
