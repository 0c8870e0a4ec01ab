"""Checks of the audio files of an events table."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from sk_b2s._utils._caching import digest_cached_content
from sk_b2s._utils._text import shorten_list
from sk_b2s.events._audio._facts import measure_audio
from sk_b2s.events._audio._files import (
    AudioTrack,
    audio_path,
    check_audio_file_track,
    parse_audio_file_channel,
    read_audio_file_info,
)
from sk_b2s.events._stimuli import StimulusArray, get_stimulus_state, stimulus_name

MIN_CORRELATION = 0.99  # of tracks whose mean may be used without a warning
MAX_INVERTED = -0.9  # correlation below which one track is probably inverted
RATIO_TOLERANCE = 3e-4  # between a ratio of durations and one of sampling rates
MAX_PEAK = 100.0  # larger samples are not fractions of full scale


def format_checked_audio_names(sounds, most=5):
    """Format the names of the first few distinct stimuli: str."""
    return shorten_list(map(repr, dict.fromkeys(map(stimulus_name, sounds))), most)


def measure_checked_audio_of_stimulus(sound, memory=None):
    """Measure an audio file, see :func:`measure_audio`."""
    return measure_audio(sound, digest_cached_content(audio_path(sound)), memory)


def describe_checked_audio_length(sound):
    """Describe how the header of an audio file differs from its samples."""
    if isinstance(sound, StimulusArray):
        return ""
    path = audio_path(sound)
    return read_audio_file_info(path, get_stimulus_state(path)).note


def describe_checked_audio_ratio(ratio, only_audio_rates=False):
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
    return measure_checked_audio_of_stimulus(sound, memory).is_silent


def select_checked_audio_tracks(table):
    """Return stimuli with the tracks that ``sound_channel`` selects.

    Parameters
    ----------
    table : DataFrame of shape (n_rows, ...)
        ``sound`` and, optionally, ``sound_channel``: a number from 0, "left",
        "right", "mean" or missing.

    Returns
    -------
    sounds : Series of shape (n_rows,)

    Raises
    ------
    ValueError
        If a value is invalid or the file does not have the track. The message
        has the row.
    """
    sounds = table["sound"]
    if "sound_channel" not in table:
        return sounds
    where = np.flatnonzero((table["sound_channel"].notna() & sounds.notna()).to_numpy())
    if not len(where):
        return sounds
    out, channels = sounds.to_numpy(object, copy=True), table["sound_channel"].to_numpy(object)
    codes, distinct = pd.factorize(channels[where])
    pairs = pd.factorize(out[where])[0] * len(distinct) + codes
    _, first, inverse = np.unique(pairs, return_index=True, return_inverse=True)
    tracks = np.empty(len(first), object)
    for place, row in enumerate(where[first]):
        try:
            tracks[place] = _select_track(out[row], channels[row])
        except ValueError as error:
            raise ValueError(
                f"row {table.index.tolist()[row]!r}, column 'sound_channel': {error} "
                f"({np.count_nonzero(inverse == place)} such rows)"
            ) from error
    out[where] = tracks[inverse]
    return pd.Series(out, index=sounds.index, name="sound", dtype=object)


def _select_track(sound, channel):
    """Return a track of a stimulus, or the stimulus if it has one track."""
    number = parse_audio_file_channel(channel)
    if isinstance(sound, StimulusArray):
        raise ValueError(f"{sound!r} has features instead of tracks. Leave the column empty in this row.")
    if isinstance(sound, AudioTrack):
        if sound.channel != number:
            raise ValueError(f"{sound!r} contradicts the value {channel!r}. Remove one of them.")
        return sound
    from_path = AudioTrack(sound, number)
    info = check_audio_file_track(from_path, get_stimulus_state(sound))
    return from_path if info.n_tracks > 1 else sound


def warn_of_checked_audio_tracks(sounds, stacklevel=3):
    """Warn of files with differing tracks if no track is selected.

    Parameters
    ----------
    sounds : iterable of str, Path, AudioTrack or StimulusArray
        Distinct stimuli.
    stacklevel : int, default=3
        As in :func:`warnings.warn`.

    Warns
    -----
    UserWarning
        If the correlation of two tracks is below .99.
    """
    differ = []
    for sound in sounds:
        if (
            isinstance(sound, (StimulusArray, AudioTrack))
            or check_audio_file_track(sound, get_stimulus_state(sound)).n_tracks < 2
        ):
            continue
        if (facts := measure_checked_audio_of_stimulus(sound)).correlation < MIN_CORRELATION:
            inverted = ", one is inverted" if facts.correlation < MAX_INVERTED else ""
            silent = ": their mean is silence" if facts.is_silent else ""
            differ.append(f"{stimulus_name(sound)!r} (correlation {facts.correlation:.2f}{inverted}{silent})")
    if differ:
        warnings.warn(
            f"The tracks of {len(differ)} audio file{'s' * (len(differ) > 1)} differ: {shorten_list(differ, 5)}. "
            f"The mean of all tracks is used. Select a track in the column 'sound_channel' of the table (0 or 'left', "
            f"1 or 'right', ...), or 'mean' to use the mean without this warning.",
            stacklevel=stacklevel,
        )


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
        sound: measure_checked_audio_of_stimulus(sound).peak
        for sound in sounds
        if not isinstance(sound, StimulusArray)
    }
    if loud := [sound for sound, peak in peaks.items() if peak > MAX_PEAK]:
        warnings.warn(
            f"The samples of {format_checked_audio_names(loud)} reach {max(peaks.values()):.4g}, but the full scale of an audio file is "
            f"1. Integers were probably written as floating-point numbers, and features of such a file outweigh others. "
            f"Divide its samples by 32768 (16 bits).",
            stacklevel=stacklevel,
        )
