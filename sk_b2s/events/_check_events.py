"""Events table with one row per stimulus, word, phoneme or bad stretch."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s._utils._text import make_suggestion_text
from sk_b2s.events._images import list_image_types, place_table_images
from sk_b2s.events._table_rows import map_distinct_table_row_values, raise_for_table_rows
from sk_b2s.events._table_stimuli import (
    check_table_stimuli_exist,
    choose_table_stimuli_tracks,
    fill_table_stimuli_durations,
    name_table_stimuli_tracks,
)
from sk_b2s.events._table_times import check_table_times_overlap, place_words_at_table_times

MAX_DRIFT = 2e4  # ppm, more than any clock or sampling rate is off
TIME_COLUMNS = {"onset", "duration", "sound_onset", "drift_ppm", "recording_duration"}
EVENT_TYPES = ("sound", "image", "word", "phoneme", "bad")  # and those of users
REQUIRED = ("subject", "recording", "type", "onset", "duration")
DEFAULTS = {
    "study": "", "session": "", "sound": None, "sound_onset": np.nan, "text": None,
    "sequence": None, "word_index": np.nan, "condition": None, "stream": "single",
}  # fmt: skip
# Columns with a meaning of their own, which are not the identifiers of a type.
NOT_TYPES = {
    *REQUIRED, *DEFAULTS, *TIME_COLUMNS, "category", "repetition", "sound_channel", "task", "run", "language", "speaker",
}  # fmt: skip


def check_events(events):
    """Check an events table and fill in optional columns.

    The table has one row per stimulus ("sound", "image" or another type),
    word, phoneme or bad stretch, over all recordings. Stimuli of one recording
    and type must not overlap in time unless their ``stream`` differs. The
    stimulus of a word or phoneme, and its time in the stimulus, are taken from
    the stimulus that is playing if they are missing.

    Parameters
    ----------
    events : DataFrame
        Required columns:

        * ``subject``;
        * ``recording``, a path;
        * ``type``, "sound", "image", "word", "phoneme", "bad", or another
          name of stimuli such as "video", which is then also the name of a
          column of their identifiers;
        * ``onset`` and ``duration`` in seconds, in the recording. A stimulus
          whose duration is missing or 0 lasts as long as its file;
        * ``sound`` in rows of type "sound", the path of an audio file or a
          :class:`~sk_b2s.StimulusArray`.

        Optional columns:

        * ``study``, ``session``;
        * ``sound_onset``, seconds in the stimulus (0 in rows of type
          "sound");
        * ``sound_channel``, a track, see :class:`~sk_b2s.AudioTrack`;
        * ``text``, and ``sequence``, the identity of the sentence, and
          ``word_index``, the position of a word in it;
        * ``image`` in rows of type "image", an identifier (str), the Path of
          an image file, or an :class:`~sk_b2s.ImageStimulus`, and the same
          in the column of another type, for example ``video``;
        * ``category``, the concept of an image (the image itself if missing),
          and ``repetition``, counted per subject from 0 if missing;
        * ``condition``;
        * ``stream`` ("single" if missing);
        * ``recording_duration`` in seconds (that of the file if missing);
        * ``drift_ppm`` of stimuli, by how many parts per million they play
          slower than the clock of the recording (0 if missing).

        Other columns are passed through.

    Returns
    -------
    events : DataFrame
        A copy with all columns, sorted by recording and onset, indexed from
        0. If a track is selected, ``sound`` is a
        :class:`~sk_b2s.AudioTrack`.

    Raises
    ------
    TypeError
        If ``events`` is not a DataFrame.
    ValueError
        If a value is wrong. The message has its row and column, what was
        expected and what was found.

    Warns
    -----
    UserWarning
        If an audio file is more than 1 s shorter than its row or its header,
        or its tracks differ and no track is selected.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from sk_b2s import StimulusArray, check_events
    >>> story = StimulusArray(np.zeros(640), sfreq=64, name="story")
    >>> events = pd.DataFrame({
    ...     "subject": "01", "recording": "a.fif", "type": ["sound", "word"],
    ...     "onset": [2.0, 3.5], "duration": [10.0, 0.4],
    ...     "sound": [story, None], "text": [None, "once"]})
    >>> check_events(events)[["type", "onset", "sound_onset"]]
        type  onset  sound_onset
    0  sound    2.0          0.0
    1   word    3.5          1.5
    """
    if not isinstance(events, pd.DataFrame):
        raise TypeError(f"events must be a pandas DataFrame. Got {type(events).__name__}.")
    if missing := [column for column in REQUIRED if column not in events.columns]:
        raise ValueError(
            f"events lacks the column{'s' * (len(missing) > 1)} {missing}. It has "
            f"{list(events.columns)}. See check_events for all columns."
        )
    if len(events) == 0:
        raise ValueError("events must have at least one row. Got an empty table.")
    events = events.copy()
    for column, default in DEFAULTS.items():
        if column not in events.columns:
            events[column] = pd.Series(default, index=events.index, dtype=object if default is None else None)
    events["stream"] = events["stream"].astype(object).where(events["stream"].notna(), "single")
    raise_for_table_rows(events, events["recording"].isna(), "recording", "the path of a recording")
    events["recording"] = map_distinct_table_row_values(events["recording"], str)
    for column in TIME_COLUMNS & set(events.columns):
        events[column] = _get_event_numbers(events, column)
    events["sequence"] = name_sequences_of_checked_events(events["sequence"])
    is_sound = events["type"] == "sound"
    _check_event_types(events)
    raise_for_table_rows(events, ~np.isfinite(events["onset"]), "onset", "a time in seconds")
    _check_event_clocks(events)
    _check_event_subjects(events)
    place_table_images(events)
    check_table_stimuli_exist(events, is_sound)
    choose_table_stimuli_tracks(events, is_sound)
    events.loc[is_sound & events["sound_onset"].isna(), "sound_onset"] = 0.0
    fill_table_stimuli_durations(events, is_sound)
    raise_for_table_rows(
        events, ~((events["duration"] >= 0) & np.isfinite(events["duration"])), "duration",
        "a number of seconds of at least 0",
    )  # fmt: skip
    check_table_times_overlap(events[is_sound])
    for kind in list_image_types(events):
        check_table_times_overlap(events[events["type"] == kind])
    events = name_table_stimuli_tracks(place_words_at_table_times(events))
    return events.sort_values(["recording", "onset"], kind="stable", ignore_index=True)


def name_sequences_of_checked_events(names):
    """Convert names of sentences to strings or None: array of objects."""
    return map_distinct_table_row_values(names, _convert_event_name, missing=None)


def _convert_event_name(name):
    """Convert a name to a string."""
    # pandas converts a column of integers with missing values to floats
    return str(int(name)) if isinstance(name, float) and name.is_integer() else str(name)


def _check_event_subjects(events):
    """Raise unless recordings have one subject, and subjects one study."""
    raise_for_table_rows(events, events["subject"].isna(), "subject", "the name of a subject")
    for column, owner, advice in [
        ("subject", "recording", "a recording has one subject"),
        ("study", "subject", "prefix subjects of different studies with their study"),
    ]:
        first = events.groupby(owner)[column].transform("first")
        differs = events[column].notna() & (events[column] != first)
        raise_for_table_rows(events, differs, column, f"one {column} for each {owner} ({advice})")
    same = [c for c in ("recording", "stream", "type", "onset", "duration", "text") if c in events]
    raise_for_table_rows(events, events[same].duplicated(), "onset", "each event once")


def _check_event_clocks(events):
    """Raise if a duration is not positive or a drift is impossibly large."""
    if "recording_duration" in events:
        raise_for_table_rows(
            events, events["recording_duration"] <= 0, "recording_duration", "a positive number of seconds"
        )
    if "drift_ppm" in events:
        expected = f"at most {MAX_DRIFT:g} parts per million (clocks usually differ by less than 100)"
        raise_for_table_rows(events, events["drift_ppm"].abs() > MAX_DRIFT, "drift_ppm", expected)


def _get_event_numbers(events, column):
    if pd.api.types.is_timedelta64_dtype(events[column]):
        return events[column].dt.total_seconds()
    is_date = pd.api.types.is_datetime64_any_dtype(events[column])
    raise_for_table_rows(
        events, events[column].notna() & is_date, column, "a number of seconds instead of a date"
    )
    numbers = pd.to_numeric(events[column], errors="coerce").astype(float)
    raise_for_table_rows(events, numbers.isna() & events[column].notna(), column, "a number")
    return numbers


def _check_event_types(events):
    own = [kind for kind in events["type"].unique() if isinstance(kind, str) and is_event_type(kind, events)]
    unknown = ~events["type"].isin(own)
    if unknown.any():
        given = str(events.loc[unknown, "type"].iloc[0])
        hint = make_suggestion_text(given, EVENT_TYPES, cutoff=0.4)
        raise_for_table_rows(
            events, unknown, "type",
            f"one of {', '.join(EVENT_TYPES)}{hint}, or the name of a column with the identifiers of other stimuli",
        )  # fmt: skip


def is_event_type(kind, columns):
    """Return whether a type is known, or that of a column of identifiers."""
    return kind in EVENT_TYPES or (kind in columns and kind not in NOT_TYPES)
