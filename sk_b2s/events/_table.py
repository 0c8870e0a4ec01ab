"""Events table: one row per stimulus, word, phoneme or bad stretch."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s._utils._text import suggest_name
from sk_b2s.events._table_rows import map_distinct, raise_for_rows
from sk_b2s.events._table_stimuli import (
    check_stimuli_exist,
    choose_tracks,
    fill_durations,
    name_tracks,
)
from sk_b2s.events._table_times import check_no_overlap, place_words

FASTEST = 2e4  # ppm beyond which no clock or sampling rate is off
TIMES = {"onset", "duration", "sound_onset", "drift_ppm", "recording_duration"}
EVENT_TYPES = ("sound", "word", "phoneme", "bad")
REQUIRED = ("subject", "recording", "type", "onset", "duration")
DEFAULTS = {
    "study": "", "session": "", "sound": None, "sound_onset": np.nan, "text": None,
    "sequence": None, "word_index": np.nan, "condition": None, "stream": "single",
}  # fmt: skip


def check_events(events):
    """Check an events table and fill in what may be left out.

    One row per sound, word, phoneme or bad stretch, over all recordings. Sounds of one recording
    must not overlap in time unless their ``stream`` differs. A word or phoneme that names no sound
    takes it, and its time in the sound, from the sound that is playing.

    Parameters
    ----------
    events : DataFrame
        Columns ``subject``, ``recording`` (path), ``type`` ("sound", "word", "phoneme" or "bad"),
        ``onset`` and ``duration`` (s, in the recording); for sounds ``sound`` (path of an audio file
        or :class:`~sk_b2s.StimulusArray`). May have ``study``, ``session``, ``sound_onset`` (s, in the
        sound; default 0 for a sound), ``text``, ``sequence`` (identity of the sentence),
        ``word_index``, ``condition``, ``stream`` (default "single"), ``recording_duration`` (s; else
        read from the file), ``drift_ppm`` of sounds (seconds of the recording in a second of sound, minus
        1, in 1e-6; default 0) and any others, which are carried along. A sound whose duration is
        missing or 0 lasts as long as its file.

    Returns
    -------
    events : DataFrame
        A copy with every column filled, sorted by recording and onset, indexed from 0. Where a track is chosen,
        ``sound`` is a :class:`~sk_b2s.AudioTrack`.

    Raises
    ------
    TypeError
        If ``events`` is not a DataFrame.
    ValueError
        Naming the first row and the column that is wrong, what was expected and what came.

    Warns
    -----
    UserWarning
        If a file is more than 1 s shorter than its row or its own header says, or its tracks differ and none is
        chosen.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from sk_b2s import StimulusArray, check_events
    >>> story = StimulusArray(np.zeros(640), sfreq=64, name="story")
    >>> events = pd.DataFrame({
    ...     "subject": "01", "recording": "a.fif", "type": ["sound", "word"], "onset": [2.0, 3.5],
    ...     "duration": [10.0, 0.4], "sound": [story, None], "text": [None, "once"]})
    >>> check_events(events)[["type", "onset", "sound_onset"]]
        type  onset  sound_onset
    0  sound    2.0          0.0
    1   word    3.5          1.5
    """
    if not isinstance(events, pd.DataFrame):
        raise TypeError(f"events must be a pandas DataFrame, got {type(events).__name__}.")
    if missing := [column for column in REQUIRED if column not in events.columns]:
        raise ValueError(
            f"events lacks the column{'s' * (len(missing) > 1)} {missing}; it has "
            f"{list(events.columns)}. See check_events for what each holds."
        )
    if len(events) == 0:
        raise ValueError("events has no rows.")
    events = events.copy()
    for column, default in DEFAULTS.items():
        if column not in events.columns:
            events[column] = pd.Series(default, index=events.index, dtype=object if default is None else None)
    events["stream"] = events["stream"].astype(object).where(events["stream"].notna(), "single")
    raise_for_rows(events, events["recording"].isna(), "recording", "the path of a recording")
    events["recording"] = map_distinct(events["recording"], str)
    for column in TIMES & set(events.columns):
        events[column] = _numbers(events, column)
    events["sequence"] = name_sequences(events["sequence"])
    is_sound = events["type"] == "sound"
    _check_types(events)
    raise_for_rows(events, ~np.isfinite(events["onset"]), "onset", "a time in seconds")
    _check_clocks(events)
    _check_people(events)
    check_stimuli_exist(events, is_sound)
    choose_tracks(events, is_sound)
    events.loc[is_sound & events["sound_onset"].isna(), "sound_onset"] = 0.0
    fill_durations(events, is_sound)
    raise_for_rows(
        events, ~((events["duration"] >= 0) & np.isfinite(events["duration"])), "duration",
        "a number of seconds of 0 or more",
    )  # fmt: skip
    check_no_overlap(events[is_sound])
    events = name_tracks(place_words(events))
    return events.sort_values(["recording", "onset"], kind="stable", ignore_index=True)


def name_sequences(names):
    """Name the sentences of a table by texts: array of objects, None where there is none."""
    return map_distinct(names, _as_text, missing=None)


def _as_text(name):
    """A name as text: a column of integers with gaps, which pandas makes floats, keeps its names."""
    return str(int(name)) if isinstance(name, float) and name.is_integer() else str(name)


def _check_people(events):
    """Raise unless every recording has one subject, and every subject one study."""
    raise_for_rows(events, events["subject"].isna(), "subject", "the name of a subject")
    for column, owner, advice in [
        ("subject", "recording", "a recording is of one person"),
        (
            "study",
            "subject",
            "subjects of different studies need different names: prefix them by their study",
        ),
    ]:
        first = events.groupby(owner)[column].transform("first")
        differs = events[column].notna() & (events[column] != first)
        raise_for_rows(events, differs, column, f"one {column} for each {owner} ({advice})")
    same = [c for c in ("recording", "stream", "type", "onset", "duration", "text") if c in events]
    raise_for_rows(events, events[same].duplicated(), "onset", "each event once")


def _check_clocks(events):
    """Raise where a recording lasts no time, or a drift is one of no clock."""
    if "recording_duration" in events:
        raise_for_rows(
            events, events["recording_duration"] <= 0, "recording_duration", "seconds above 0, or none"
        )
    if "drift_ppm" in events:
        expected = f"parts per million, {FASTEST:g} at most (real clocks are 100 apart)"
        raise_for_rows(events, events["drift_ppm"].abs() > FASTEST, "drift_ppm", expected)


def _numbers(events, column):
    if pd.api.types.is_timedelta64_dtype(events[column]):
        return events[column].dt.total_seconds()
    is_date = pd.api.types.is_datetime64_any_dtype(events[column])
    raise_for_rows(events, events[column].notna() & is_date, column, "a number of seconds and no date")
    numbers = pd.to_numeric(events[column], errors="coerce").astype(float)
    raise_for_rows(events, numbers.isna() & events[column].notna(), column, "a number")
    return numbers


def _check_types(events):
    unknown = ~events["type"].isin(EVENT_TYPES)
    if unknown.any():
        came = str(events.loc[unknown, "type"].iloc[0])
        hint = suggest_name(came, EVENT_TYPES, cutoff=0.4)
        raise_for_rows(events, unknown, "type", f"one of {', '.join(EVENT_TYPES)}{hint}")
