"""Checks of the audio files of an events table."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from sk_b2s._utils._caching import content_digest
from sk_b2s._utils._text import shorten_list
from sk_b2s.events._audio._facts import measure_audio
from sk_b2s.events._audio._files import AudioTrack, audio_path, check_track, parse_channel, read_audio_info
from sk_b2s.events._stimuli import StimulusArray, stimulus_name, stimulus_state

ALIKE = 0.99  # correlation of tracks above which their mean stands for each
OPPOSITE = -0.9  # below it one track is said to be inverted
SAME_RATIO = 3e-4  # by which a ratio of lengths may differ from one of sampling rates
LOUD = 100.0  # samples beyond it are no fractions of full scale


def format_names(sounds, most=5):
    """List the names of distinct sounds in a message, the first few of many: str."""
    return shorten_list(map(repr, dict.fromkeys(map(stimulus_name, sounds))), most)


def measure_stimulus(sound, memory=None):
    """Return what the samples of a sound file are like, see :func:`~sk_b2s.events._audio._facts.measure_audio`."""
    return measure_audio(sound, content_digest(audio_path(sound)), memory)


def describe_length(sound):
    """Return how the header of a sound file differs from its samples, "" if it does not."""
    if isinstance(sound, StimulusArray):
        return ""
    path = audio_path(sound)
    return read_audio_info(path, stimulus_state(path)).note


def describe_ratio(ratio, only_audio_rates=False):
    """Return a remark on a file that is longer or shorter than its row by the ratio of two sampling rates.

    Parameters
    ----------
    ratio : float
        Length of the file over that of the row.
    only_audio_rates : bool, default=False
        Only consider 44.1 and 48 kHz. Half or a third of a file may well be played.

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
            if abs(ratio * other / one - 1) < SAME_RATIO:
                return (
                    f", {ratio:.4f} times what its row says, as {one:g} to {other:g}: is the sampling rate in its "
                    f"header right?"
                )
    return ""


def is_silent(sound, memory=None):
    """Return whether a sound, or each of its stored features, is constant from beginning to end."""
    if isinstance(sound, StimulusArray):
        return len(sound.data) == 0 or not np.ptp(sound.data, axis=0).any()
    return measure_stimulus(sound, memory).is_silent


def select_tracks(table):
    """Return the sounds of a table with the tracks that its column ``sound_channel`` chooses.

    Parameters
    ----------
    table : DataFrame of shape (n_rows, ...)
        ``sound``, and maybe ``sound_channel``: a number from 0, "left", "right" or "mean", or missing.

    Returns
    -------
    sounds : Series of shape (n_rows,)

    Raises
    ------
    ValueError
        If a value is none of these, or there is no such track. The message names row and column.
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
            tracks[place] = _track(out[row], channels[row])
        except ValueError as error:
            raise ValueError(
                f"row {table.index.tolist()[row]!r}, column 'sound_channel': {error} "
                f"({np.count_nonzero(inverse == place)} such rows)"
            ) from error
    out[where] = tracks[inverse]
    return pd.Series(out, index=sounds.index, name="sound", dtype=object)


def _track(sound, channel):
    """Return one track of a sound, or the sound itself if it has but one."""
    number = parse_channel(channel)
    if isinstance(sound, StimulusArray):
        raise ValueError(f"{sound!r} holds features and has no tracks; leave the column empty there.")
    if isinstance(sound, AudioTrack):
        if sound.channel != number:
            raise ValueError(f"{sound!r} is another track than {channel!r}.")
        return sound
    from_path = AudioTrack(sound, number)
    info = check_track(from_path, stimulus_state(sound))
    return from_path if info.n_tracks > 1 else sound


def warn_of_tracks(sounds, stacklevel=3):
    """Warn of files whose tracks differ and of which none was chosen.

    Parameters
    ----------
    sounds : iterable of str, Path, AudioTrack or StimulusArray
        Distinct sounds.
    stacklevel : int, default=3
        As of :func:`warnings.warn`, counted from here.

    Warns
    -----
    UserWarning
        If the correlation of two tracks, in a file of which the mean is taken, is below .99.
    """
    differ = []
    for sound in sounds:
        if (
            isinstance(sound, (StimulusArray, AudioTrack))
            or check_track(sound, stimulus_state(sound)).n_tracks < 2
        ):
            continue
        if (facts := measure_stimulus(sound)).correlation < ALIKE:
            inverted = ", one is inverted" if facts.correlation < OPPOSITE else ""
            silent = ": their mean is silence" if facts.is_silent else ""
            differ.append(f"{stimulus_name(sound)!r} (correlation {facts.correlation:.2f}{inverted}{silent})")
    if differ:
        warnings.warn(
            f"The tracks of {len(differ)} sound file{'s' * (len(differ) > 1)} differ: {shorten_list(differ, 5)}. "
            f"The mean of all tracks is used. Choose a track in the column 'sound_channel' of the table (0 or 'left', "
            f"1 or 'right', ...), or 'mean' to use the mean without this warning.",
            stacklevel=stacklevel,
        )


def warn_of_level(sounds, stacklevel=3):
    """Warn of files whose samples are far beyond full scale.

    Parameters
    ----------
    sounds : iterable of str, Path, AudioTrack or StimulusArray
        Distinct sounds.
    stacklevel : int, default=3
        As of :func:`warnings.warn`, counted from here.

    Warns
    -----
    UserWarning
        If samples are above 100.
    """
    peaks = {sound: measure_stimulus(sound).peak for sound in sounds if not isinstance(sound, StimulusArray)}
    if loud := [sound for sound, peak in peaks.items() if peak > LOUD]:
        warnings.warn(
            f"The samples of {format_names(loud)} reach {max(peaks.values()):.4g}, where the full scale of a sound file is 1. "
            f"Were integers written as floating-point numbers? The level of such a file outweighs that of others: "
            f"divide its samples by 32768 (16 bits).",
            stacklevel=stacklevel,
        )
