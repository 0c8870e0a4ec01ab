"""Checks of the audio files of an events table."""

from __future__ import annotations

import warnings

import numpy as np

from sk_b2s.events._audio._facts import measure_audio_facts
from sk_b2s.events._audio._track_files import (
    get_audio_file_path,
    read_track_file_info,
)
from sk_b2s.events._stimuli import StimulusArray, format_stimulus_names, get_stimulus_state

RATIO_TOLERANCE = 3e-4  # between a ratio of durations and one of sampling rates
MAX_PEAK = 100.0  # larger samples are not fractions of full scale


def describe_audio_length(sound):
    """Describe how the header of an audio file differs from its samples."""
    if isinstance(sound, StimulusArray):
        return ""
    path = get_audio_file_path(sound)
    return read_track_file_info(path, get_stimulus_state(path)).note


def describe_audio_ratio(ratio, only_audio_rates=False):
    """Describe a ratio of durations if it is one of two sampling rates.

    Parameters
    ----------
    ratio : float
        Duration of the file divided by that of the row.
    only_audio_rates : bool, default=False
        If True, consider only 44.1 and 48 kHz. Half of a file may be played
        on purpose.

    Returns
    -------
    hint : str
        "" if the ratio is another one.
    """
    pairs = (
        [(48, 44.1)]
        if only_audio_rates
        else [(48, 44.1), (2, 1), (3, 1), (4, 1), (44.1, 16), (44.1, 32), (44.1, 24)]
    )
    for high, low in pairs:
        for one, other in ((high, low), (low, high)):
            if abs(ratio * other / one - 1) < RATIO_TOLERANCE:
                return (
                    f", {ratio:.4f} times the duration in its row, the ratio of {one:g} to {other:g}. Check the sampling "
                    f"rate in its header."
                )
    return ""


def check_audio_is_silent(sound, memory=None):
    """Return whether a stimulus, or each of its features, is constant."""
    if isinstance(sound, StimulusArray):
        return len(sound.data) == 0 or not np.ptp(sound.data, axis=0).any()
    return measure_audio_facts(sound, memory).is_silent


def check_audio_level(sounds, stacklevel=3):
    """Warn of files whose samples are far beyond full scale.

    Parameters
    ----------
    sounds : iterable of str, Path, AudioTrack or StimulusArray
        Distinct stimuli.
    stacklevel : int, default=3
        As in :func:`warnings.warn`.

    Warns
    -----
    UserWarning
        If samples are above 100.
    """
    peaks = {
        sound: measure_audio_facts(sound).peak for sound in sounds if not isinstance(sound, StimulusArray)
    }
    if loud := [sound for sound, peak in peaks.items() if peak > MAX_PEAK]:
        warnings.warn(
            f"The samples of {format_stimulus_names(loud)} reach {max(peaks.values()):.4g}, but the full scale of an audio file is "
            f"1. Integers were probably written as floating-point numbers, and features of such a file outweigh others. "
            f"Divide its samples by 32768 (16 bits).",
            stacklevel=stacklevel,
        )
