"""Tracks of audio files that an events table selects."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from sk_b2s._utils._text import shorten_list
from sk_b2s.events._audio._facts import measure_audio_facts
from sk_b2s.events._audio._track_files import (
    AudioTrack,
    check_audio_file_track,
    parse_audio_file_channel,
)
from sk_b2s.events._stimuli import StimulusArray, get_stimulus_state, stimulus_name

MIN_CORRELATION = 0.99  # of tracks whose mean may be used without a warning
MAX_INVERTED = -0.9  # correlation below which one track is probably inverted


def select_audio_tracks(table):
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


def warn_of_audio_selection(sounds, stacklevel=3):
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
        if (facts := measure_audio_facts(sound)).correlation < MIN_CORRELATION:
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
