"""The events table: one row per sound, word, phoneme or bad stretch."""

from __future__ import annotations

import difflib
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s.audio import SoundTrack, audio_path, is_file, shortened
from sk_b2s.sounds import chosen_sounds, length_note, rate_hint, warn_of_tracks
from sk_b2s.stimuli import SoundArray, sound_duration, sound_name
from sk_b2s.units import guess_factor, guess_unit

__all__ = ["EVENT_TYPES", "check_events", "clock_rate", "playing_sound"]

LATE = 0.1  # s by which a word may begin after its sound has ended
SHORTER = 1.0  # s by which a file may be shorter than its row says, without a warning
LONG = 10.0  # s that no word lasts, and from which the length of a sound tells its sampling rate
BEYOND = 5.0  # s by which a word may end after the file of its sound, as its last pause
DRIFTS = 200e-6  # s in a second by which two clocks whose drift is unknown may be apart
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
        or :class:`~sk_b2s.SoundArray`). May have ``study``, ``session``, ``sound_onset`` (s, in the
        sound; default 0 for a sound), ``text``, ``sequence`` (identity of the sentence),
        ``word_index``, ``condition``, ``stream`` (default "single"), ``recording_duration`` (s; else
        read from the file), ``drift_ppm`` of sounds (seconds of the recording in a second of sound, minus
        1, in 1e-6; default 0) and any others, which are carried along. A sound whose duration is
        missing or 0 lasts as long as its file.

    Returns
    -------
    events : DataFrame
        A copy with every column filled, sorted by recording and onset, indexed from 0. Where a track is chosen,
        ``sound`` is a :class:`~sk_b2s.SoundTrack`.

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
    >>> from sk_b2s import SoundArray, check_events
    >>> story = SoundArray(np.zeros(640), sfreq=64, name="story")
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
    _refuse(events, events["recording"].isna(), "recording", "the path of a recording")
    events["recording"] = _of_each(events["recording"], str)
    for column in TIMES & set(events.columns):
        events[column] = _numbers(events, column)
    events["sequence"] = name_sequences(events["sequence"])
    is_sound = events["type"] == "sound"
    _check_types(events)
    _refuse(events, ~np.isfinite(events["onset"]), "onset", "a time in seconds")
    _check_clocks(events)
    _check_people(events)
    _check_sounds_exist(events, is_sound)
    _choose_tracks(events, is_sound)
    events.loc[is_sound & events["sound_onset"].isna(), "sound_onset"] = 0.0
    _fill_sound_durations(events, is_sound)
    _refuse(
        events, ~((events["duration"] >= 0) & np.isfinite(events["duration"])), "duration",
        "a number of seconds of 0 or more",
    )  # fmt: skip
    _check_one_sound_at_a_time(events[is_sound])
    events = _name_tracks(_place_in_sounds(events))
    return events.sort_values(["recording", "onset"], kind="stable", ignore_index=True)


def _refuse(events, wrong, column, expected, hint=""):
    """Raise for the first wrong row."""
    wrong = np.asarray(wrong, bool)
    if wrong.any():
        row = np.flatnonzero(wrong)[0]
        more = f" ({wrong.sum() - 1} more such rows)" if wrong.sum() > 1 else ""
        raise ValueError(
            f"events row {_plain(events.index[row])!r}, column {column!r}: expected {expected}, got "
            f"{_shown(events[column].iloc[row])}{more}.{hint}"
        )


def _shown(value):
    """Represent a value in a message, a long text by its ends."""
    return shortened(value) if isinstance(value, str) else repr(_plain(value))


def _plain(value):
    """A numpy scalar as the number a user would write."""
    return value.item() if isinstance(value, np.generic) else value


def _of_each(column, function, missing=np.nan):
    """Map each distinct value once, as there are few among millions of rows: array of objects."""
    codes, distinct = pd.factorize(column)
    return np.array([*map(function, distinct), missing], object)[codes]  # -1, a missing one, takes the last


def name_sequences(names):
    """Name the sentences of a table by texts: array of objects, None where there is none."""
    return _of_each(names, _as_text, missing=None)


def _as_text(name):
    """A name as text: a column of integers with gaps, which pandas makes floats, keeps its names."""
    return str(int(name)) if isinstance(name, float) and name.is_integer() else str(name)


def _check_people(events):
    """Raise unless every recording has one subject, and every subject one study."""
    _refuse(events, events["subject"].isna(), "subject", "the name of a subject")
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
        _refuse(events, differs, column, f"one {column} for each {owner} ({advice})")
    same = [c for c in ("recording", "stream", "type", "onset", "duration", "text") if c in events]
    _refuse(events, events[same].duplicated(), "onset", "each event once")


def _check_clocks(events):
    """Raise where a recording lasts no time, or a drift is one of no clock."""
    if "recording_duration" in events:
        _refuse(events, events["recording_duration"] <= 0, "recording_duration", "seconds above 0, or none")
    if "drift_ppm" in events:
        expected = f"parts per million, {FASTEST:g} at most (real clocks are 100 apart)"
        _refuse(events, events["drift_ppm"].abs() > FASTEST, "drift_ppm", expected)


def _numbers(events, column):
    if pd.api.types.is_timedelta64_dtype(events[column]):
        return events[column].dt.total_seconds()
    is_date = pd.api.types.is_datetime64_any_dtype(events[column])
    _refuse(events, events[column].notna() & is_date, column, "a number of seconds and no date")
    numbers = pd.to_numeric(events[column], errors="coerce").astype(float)
    _refuse(events, numbers.isna() & events[column].notna(), column, "a number")
    return numbers


def _check_types(events):
    unknown = ~events["type"].isin(EVENT_TYPES)
    if unknown.any():
        came = str(events.loc[unknown, "type"].iloc[0])
        close = difflib.get_close_matches(came, EVENT_TYPES, n=1, cutoff=0.4)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        _refuse(events, unknown, "type", f"one of {', '.join(EVENT_TYPES)}{hint}")


def _check_sounds_exist(events, is_sound):
    _refuse(
        events,
        is_sound & events["sound"].isna(),
        "sound",
        "the path of an audio file or a SoundArray",
    )
    events["sound"] = events["sound"].astype(object)
    known = events["sound"].notna()
    distinct = pd.unique(events.loc[known, "sound"])
    if any(isinstance(sound, Path) for sound in distinct):
        events["sound"] = events["sound"].map(lambda sound: str(sound) if isinstance(sound, Path) else sound)
        distinct = pd.unique(events.loc[known, "sound"])
    for sound in distinct:
        if not isinstance(sound, SoundArray) and not is_file(audio_path(sound)):
            _refuse(events, known & (events["sound"] == sound), "sound", "an existing file")


def _choose_tracks(events, is_sound):
    """Put the track that ``sound_channel`` names in place of its file, and warn where one should be chosen."""
    if "sound_channel" in events:
        try:
            events["sound"] = chosen_sounds(events)
        except ValueError as error:
            raise ValueError(f"events {error}") from error
        chosen = events[is_sound & events["sound"].map(lambda sound: isinstance(sound, SoundTrack))]
        tracks = {
            (row.recording, row.stream, row.sound.path): row.sound
            for row in chosen[["recording", "stream", "sound"]].drop_duplicates().itertuples()
        }
        lost = ~is_sound & events["sound"].map(lambda sound: isinstance(sound, str))
        if tracks and lost.any():  # words that name the file are heard in the track that played
            rows = events.loc[lost, ["recording", "stream", "sound"]].itertuples(index=False)
            events.loc[lost, "sound"] = pd.Series(
                [tracks.get(tuple(row), row.sound) for row in rows], index=events.index[lost], dtype=object
            )
    _name_row(events, is_sound, lambda sounds: warn_of_tracks(pd.unique(sounds), stacklevel=6))


def _name_tracks(events):
    """Fill ``sound_channel`` of words and phonemes, which have the track of their sound."""
    if "sound_channel" not in events:
        return events
    track = events["sound"].map(lambda sound: getattr(sound, "channel", None), na_action="ignore")
    given = events["sound_channel"].astype(object)
    return events.assign(sound_channel=given.where(given.notna(), track))


def _name_row(events, is_sound, look):
    """Call a function of the column of sounds, and name the row of the sound that it refuses."""
    try:
        return look(events.loc[is_sound, "sound"])
    except (ValueError, OSError) as error:
        for sound in pd.unique(events.loc[is_sound, "sound"]):
            if not isinstance(sound, SoundArray) and shortened(audio_path(sound)) in str(error):
                rows = events.index[is_sound & (events["sound"] == sound)].tolist()
                raise ValueError(f"events row {rows[0]!r}, column 'sound': {error}") from error
        raise


def _fill_sound_durations(events, is_sound):
    lengths = _name_row(events, is_sound, lambda sounds: _of_each(sounds, sound_duration).astype(float))
    sounds = events.loc[is_sound]
    begin = sounds["sound_onset"]
    if (wrong := (begin < 0) | (begin > lengths)).any():
        first, mask = int(np.argmax(wrong)), np.zeros(len(events), bool)
        mask[np.flatnonzero(is_sound)] = wrong
        _refuse(
            events, mask, "sound_onset",
            f"a time in the sound {sound_name(sounds['sound'].iloc[first])!r} of {lengths[first]:.3f} s",
            guess_unit(begin.iloc[first], lengths[first]),
        )  # fmt: skip
    left = lengths - begin
    given = sounds["duration"].where(sounds["duration"] != 0)
    _warn_of_short(sounds, given, left, lengths)
    events.loc[is_sound, "duration"] = np.fmin(given, left)


def _warn_of_short(sounds, given, left, lengths):
    """Warn of files that are shorter than their rows or their headers say."""
    found = {}
    short = (given > left + SHORTER).to_numpy()
    for row in np.flatnonzero(short):
        sound = sounds["sound"].iloc[row]
        if sound not in found:
            n_rows = int(np.count_nonzero(short & (sounds["sound"] == sound).to_numpy()))
            last = sounds["sound_onset"].iloc[row] + given.iloc[row]
            found[sound] = (
                f"{sound_name(sound)!r} lasts {lengths[row]:.1f} s, but row {_plain(sounds.index[row])!r} uses it up "
                f"to {last:.1f} s ({n_rows} such row{'s' * (n_rows > 1)})"
            )
            found[sound] += rate_hint(lengths[row] / last) or guess_unit(last, lengths[row])
    whole = (sounds["sound_onset"] == 0) & (given > LONG)
    ratios = (lengths / given).where(whole, 1.0).to_numpy()
    for row in np.flatnonzero(np.abs(ratios * 44.1 / 48 - 1) < 0.01):
        sound, hint = sounds["sound"].iloc[row], rate_hint(ratios[row], surely=True)
        if sound not in found and hint:
            found[sound] = f"{sound_name(sound)!r} lasts {lengths[row]:.1f} s{hint}"
    for sound in pd.unique(sounds["sound"]):
        if sound not in found and (note := length_note(sound)):
            found[sound] = f"{sound_name(sound)!r}: {note}"
    if found:
        texts = [text.rstrip("?.") for text in found.values()]
        more = f"; and {len(texts) - 5} more" if len(texts) > 5 else ""
        warnings.warn(
            f"{'; '.join(texts[:5])}{more}. Is each file whole, and of the right sound? Windows are laid within "
            f"what can be read; copy the files again, or correct the durations.",
            stacklevel=4,
        )


def _check_one_sound_at_a_time(sounds):
    for _, group in sounds.groupby(["recording", "stream"], sort=False):
        group = group.sort_values("onset")
        ends = (group["onset"] + group["duration"] * clock_rate(group)).to_numpy()
        early = group["onset"].to_numpy()[1:] < ends[:-1] - 0.01 - DRIFTS * group["duration"].to_numpy()[:-1]
        if early.any():
            row = np.flatnonzero(early)[0]
            first, second = group.iloc[row], group.iloc[row + 1]
            raise ValueError(
                f"events row {_plain(second.name)!r}, column 'onset': the sound {sound_name(second['sound'])!r} "
                f"begins at {second['onset']:.3f} s, before {sound_name(first['sound'])!r} (row "
                f"{_plain(first.name)!r}) ends at {first['onset'] + first['duration']:.3f} s in "
                f"{second['recording']!r}. Sounds that play at once need different values in the column 'stream'."
                f"{_unit_of_onsets(group, ends)}"
            )


def _unit_of_onsets(group, ends):
    """Ask whether onsets are in minutes, if all sounds follow each other then."""
    onset = group["onset"].to_numpy()
    fits = (60 * np.diff(onset) >= (ends - onset)[:-1] - 0.5).all()
    return " Are onsets in minutes?" if fits and (np.diff(onset) < (ends - onset)[:-1]).all() else ""


def clock_rate(events):
    """Tell the seconds of the recording in a second of sound.

    Parameters
    ----------
    events : DataFrame of shape (n_events, ...)
        May have ``drift_ppm``.

    Returns
    -------
    rate : ndarray of shape (n_events,)
        1 where no drift is known.
    """
    if "drift_ppm" not in events:
        return np.ones(len(events))
    return 1 + events["drift_ppm"].fillna(0).to_numpy(float) * 1e-6


def playing_sound(events, rows):
    """Tell which sound plays at some events: the last one begun in the recording and stream.

    Parameters
    ----------
    events : DataFrame
        An events table indexed from 0.
    rows : DataFrame of shape (n_rows, ...)
        Some of its rows.

    Returns
    -------
    position : ndarray of int of shape (n_rows,)
        Row of the sound in ``events``, -1 where none has begun.
    """
    keys = ["recording", "stream"]
    sounds = events.loc[events["type"] == "sound", [*keys, "onset"]].sort_values("onset")
    asked = rows[[*keys, "onset"]].assign(row=np.arange(len(rows))).sort_values("onset")
    asked["onset"] += 1e-6  # a word that begins with its sound
    found = pd.merge_asof(asked, sounds.assign(position=sounds.index), on="onset", by=keys)
    return found.set_index("row")["position"].reindex(range(len(rows))).fillna(-1).astype(int).to_numpy()


def _check_times_agree(events, spoken, playing, expected):
    """Raise where a word's time in its sound contradicts the sound's row by more than half a second and a drift."""
    same = (playing >= 0) & (events["sound"].to_numpy()[spoken] == events["sound"].to_numpy()[playing])
    wrong = np.zeros(len(events), bool)
    given = events["sound_onset"].to_numpy()[spoken]
    wrong[spoken] = same & (np.abs(given - expected) > 0.5 + DRIFTS * np.abs(expected))
    if not wrong.any():
        return
    first, sound = int(np.argmax(wrong[spoken])), events.iloc[playing[int(np.argmax(wrong[spoken]))]]
    at = wrong[spoken] & (given != 0)
    ratio = np.median(expected[at] / given[at]) if at.any() else 1.0
    _refuse(
        events, wrong, "sound_onset",
        f"the time in the sound that its onset and the row of the sound give, {expected[first]:.3f} s (it begins at "
        f"{events['onset'].iloc[spoken[first]]:.3f} s, {sound_name(sound['sound'])!r} at {sound['onset']:.3f} s)",
        guess_factor(ratio),
    )  # fmt: skip


def _unit_in_sound(rows, length):
    """Guess why times in sounds are later than their ends."""
    if (rows["sound_onset"] == rows["onset"]).all():
        return " All are equal to the column 'onset': do they count from the beginning of the recording?"
    return guess_unit(float((rows["sound_onset"] / length).max()), 1.0)


def _check_word_lengths(events, spoken, length):
    """Raise where a word lasts beyond its sound, and warn of words that last longer than any does."""
    lasts, begins = (events[name].to_numpy(float)[spoken] for name in ("duration", "sound_onset"))
    wrong = np.zeros(len(events), bool)
    wrong[spoken] = begins + lasts > length + BEYOND
    if wrong.any():
        first = int(np.argmax(wrong[spoken]))
        _refuse(
            events, wrong, "duration",
            f"a word or phoneme that ends with its sound, {sound_name(events['sound'].iloc[spoken[first]])!r} of "
            f"{length[first]:.3f} s", guess_unit(np.quantile(lasts, 0.9), 1.0),
        )  # fmt: skip
    if (long := lasts > LONG).any():
        row = events.iloc[spoken[int(np.argmax(long))]]
        warnings.warn(
            f"{long.sum()} of {len(spoken)} words and phonemes last longer than {LONG:g} s, the first in events row "
            f"{_plain(row.name)!r}: {row['text']!r} at {row['onset']:.3f} s lasts {row['duration']:.3f} s. Correct the "
            f"column 'duration', or leave such rows out.",
            stacklevel=4,
        )


def _place_in_sounds(events):
    """Give every word and phoneme its sound and its time in it."""
    labels, events = events.index, events.reset_index(drop=True)
    spoken = np.flatnonzero(events["type"].isin(("word", "phoneme")))
    rows = events.iloc[spoken]
    playing = playing_sound(events, rows)
    without = rows["sound"].isna().to_numpy()
    lost = np.zeros(len(events), bool)
    lost[spoken[without & (playing < 0)]] = True
    if lost.any():
        row = events.iloc[int(np.argmax(lost))]
        inside = events[(events["type"] == "sound") & (events["recording"] == row["recording"])]
        first = inside.loc[inside["stream"] == row["stream"], "onset"].min()
        begins = "has none" if np.isnan(first) else f"has its first at {first:.3f} s"
        _refuse(
            events.set_axis(labels), lost, "sound",
            f"a sound, given or playing in the recording (a row of type 'sound'), which {begins} in stream "
            f"{row['stream']!r}, where this row begins at {row['onset']:.3f} s",
        )  # fmt: skip
    since = rows["onset"].to_numpy() - events["onset"].to_numpy()[playing]
    since = since / clock_rate(events)[playing]
    ended = without & (since > events["duration"].to_numpy()[playing] * (1 + DRIFTS) + LATE)
    if ended.any():
        lost[spoken[ended]] = True
        at = int(np.argmax(ended))
        last = events.iloc[playing[at]]
        _refuse(
            events.set_axis(labels), lost, "sound",
            f"a sound, given or playing, but the last, {sound_name(last['sound'])!r}, has ended at "
            f"{last['onset'] + last['duration']:.3f} s (is the audio file shorter than its words, its duration wrong, "
            f"or a sound's row missing? This row begins at {rows['onset'].iloc[at]:.3f} s)",
            guess_unit(rows["onset"].max(), last["onset"] + last["duration"]),
        )  # fmt: skip
    fill = spoken[without]
    events.loc[fill, "sound"] = events["sound"].to_numpy()[playing[without]]
    untimed = rows["sound_onset"].isna().to_numpy()
    other = events["sound"].to_numpy()[spoken] != events["sound"].to_numpy()[playing]
    if (bad := untimed & ((playing < 0) | other)).any():
        lost[spoken[bad]] = True
        _refuse(
            events.set_axis(labels),
            lost,
            "sound_onset",
            "a time in the sound that it names, or a row of type 'sound' in which that sound is playing",
        )
    begun = events["sound_onset"].to_numpy()[playing]
    events.loc[spoken[untimed], "sound_onset"] = (since + begun)[untimed]
    length = _of_each(events["sound"].iloc[spoken], sound_duration).astype(float)
    beyond = np.zeros(len(events), bool)
    beyond[spoken] = events["sound_onset"].to_numpy()[spoken] > length * (1 + DRIFTS) + LATE
    if beyond.any():
        first = int(np.argmax(beyond[spoken]))
        name = sound_name(events["sound"].iloc[spoken[first]])
        _refuse(
            events.set_axis(labels), beyond, "sound_onset",
            f"a time within the sound (is the audio file shorter than its words?), which is {name!r} of "
            f"{length[first]:.3f} s", _unit_in_sound(events.iloc[spoken], length),
        )  # fmt: skip
    _check_word_lengths(events.set_axis(labels), spoken, length)
    _check_times_agree(events.set_axis(labels), spoken, playing, since + begun)
    return events.set_axis(labels)
