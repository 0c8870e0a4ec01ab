"""Checks of the stimuli of an events table."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._text import shorten_text, unwrap_scalar_for_text
from sk_b2s._utils._units import guess_unit
from sk_b2s.events._audio._checks import describe_audio_length, describe_audio_ratio
from sk_b2s.events._audio._selection import select_audio_tracks, warn_of_audio_selection
from sk_b2s.events._audio._track_files import AudioTrack, get_audio_file_path, is_audio_file
from sk_b2s.events._stimuli import NOT_FILES, stimulus_duration, stimulus_name
from sk_b2s.events._table_rows import LONG, map_distinct_table_row_values, raise_for_table_rows

MAX_SHORTER = 1.0  # s by which a file may be shorter than its row, without a warning


def check_table_stimuli_exist(events, is_sound):
    """Raise unless rows of stimuli have an existing file or an array."""
    raise_for_table_rows(
        events,
        is_sound & events["sound"].isna(),
        "sound",
        "the path of an audio file or a StimulusArray",
    )
    events["sound"] = events["sound"].astype(object)
    known = events["sound"].notna()
    distinct = pd.unique(events.loc[known, "sound"])
    if any(isinstance(sound, Path) for sound in distinct):
        events["sound"] = events["sound"].map(lambda sound: str(sound) if isinstance(sound, Path) else sound)
        distinct = pd.unique(events.loc[known, "sound"])
    for sound in distinct:
        if not isinstance(sound, NOT_FILES) and not is_audio_file(get_audio_file_path(sound)):
            raise_for_table_rows(events, known & (events["sound"] == sound), "sound", "an existing file")


def choose_table_stimuli_tracks(events, is_sound):
    """Replace files by selected tracks, and warn of differing tracks."""
    if "sound_channel" in events:
        try:
            events["sound"] = select_audio_tracks(events)
        except ValueError as error:
            raise ValueError(f"events {error}") from error
        chosen = events[is_sound & events["sound"].map(lambda sound: isinstance(sound, AudioTrack))]
        tracks = {
            (row.recording, row.stream, row.sound.path): row.sound
            for row in chosen[["recording", "stream", "sound"]].drop_duplicates().itertuples()
        }
        is_path = ~is_sound & events["sound"].map(lambda sound: isinstance(sound, str))
        if tracks and is_path.any():  # words with the path of the file belong to the track that played
            rows = events.loc[is_path, ["recording", "stream", "sound"]].itertuples(index=False)
            events.loc[is_path, "sound"] = pd.Series(
                [tracks.get(tuple(row), row.sound) for row in rows], index=events.index[is_path], dtype=object
            )
    _call_with_row(events, is_sound, lambda sounds: warn_of_audio_selection(pd.unique(sounds), stacklevel=6))


def name_table_stimuli_tracks(events):
    """Fill in ``sound_channel`` of words and phonemes from their stimulus."""
    if "sound_channel" not in events:
        return events
    track = events["sound"].map(lambda sound: getattr(sound, "channel", None), na_action="ignore")
    given = events["sound_channel"].astype(object)
    return events.assign(sound_channel=given.where(given.notna(), track))


def _call_with_row(events, is_sound, function):
    """Call a function of the stimuli, and add the row to its errors."""
    try:
        return function(events.loc[is_sound, "sound"])
    except (ValueError, OSError) as error:
        for sound in pd.unique(events.loc[is_sound, "sound"]):
            if not isinstance(sound, NOT_FILES) and shorten_text(get_audio_file_path(sound)) in str(error):
                rows = events.index[is_sound & (events["sound"] == sound)].tolist()
                raise ValueError(f"events row {rows[0]!r}, column 'sound': {error}") from error
        raise


def fill_table_stimuli_durations(events, is_sound):
    """Fill in the durations of stimuli, at most to the end of their files."""
    lengths = _call_with_row(
        events,
        is_sound,
        lambda sounds: map_distinct_table_row_values(sounds, stimulus_duration).astype(float),
    )
    sounds = events.loc[is_sound]
    begin = sounds["sound_onset"]
    if (wrong := (begin < 0) | (begin > lengths)).any():
        first, mask = int(np.argmax(wrong)), np.zeros(len(events), bool)
        mask[np.flatnonzero(is_sound)] = wrong
        raise_for_table_rows(
            events, mask, "sound_onset",
            f"a time in the audio file {stimulus_name(sounds['sound'].iloc[first])!r} of {lengths[first]:.3f} s",
            guess_unit(begin.iloc[first], lengths[first]),
        )  # fmt: skip
    left = lengths - begin
    given = sounds["duration"].where(sounds["duration"] != 0)
    _warn_of_short(sounds, given, left, lengths)
    events.loc[is_sound, "duration"] = np.fmin(given, left)


def _warn_of_short(sounds, given, left, lengths):
    """Warn of files that are shorter than their rows or headers."""
    found = {}
    short = (given > left + MAX_SHORTER).to_numpy()
    for row in np.flatnonzero(short):
        sound = sounds["sound"].iloc[row]
        if sound not in found:
            n_rows = int(np.count_nonzero(short & (sounds["sound"] == sound).to_numpy()))
            last = sounds["sound_onset"].iloc[row] + given.iloc[row]
            found[sound] = (
                f"{stimulus_name(sound)!r} has {lengths[row]:.1f} s, but row {unwrap_scalar_for_text(sounds.index[row])!r} ends at "
                f"{last:.1f} s ({n_rows} such row{'s' * (n_rows > 1)})"
            )
            found[sound] += describe_audio_ratio(lengths[row] / last) or guess_unit(last, lengths[row])
    whole = (sounds["sound_onset"] == 0) & (given > LONG)
    ratios = (lengths / given).where(whole, 1.0).to_numpy()
    for row in np.flatnonzero(np.abs(ratios * 44.1 / 48 - 1) < 0.01):
        sound, hint = (
            sounds["sound"].iloc[row],
            describe_audio_ratio(ratios[row], only_audio_rates=True),
        )
        if sound not in found and hint:
            found[sound] = f"{stimulus_name(sound)!r} has {lengths[row]:.1f} s{hint}"
    for sound in pd.unique(sounds["sound"]):
        if sound not in found and (note := describe_audio_length(sound)):
            found[sound] = f"{stimulus_name(sound)!r}: {note}"
    if found:
        texts = [text.rstrip("?.") for text in found.values()]
        more = f"; and {len(texts) - 5} more" if len(texts) > 5 else ""
        warnings.warn(
            f"{'; '.join(texts[:5])}{more}. Check that each file is complete and belongs to its row. Copy the files "
            f"again or correct the durations. Windows are taken only where samples can be read.",
            stacklevel=4,
        )
