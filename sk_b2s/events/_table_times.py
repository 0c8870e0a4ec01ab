"""Checks of the times of an events table."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._text import unwrap_scalar
from sk_b2s._utils._units import guess_factor, guess_unit
from sk_b2s.events._stimuli import stimulus_duration, stimulus_name
from sk_b2s.events._table_rows import LONG, map_distinct, raise_for_rows

LATE = 0.1  # s by which a word may begin after the end of its audio file
BEYOND = 5.0  # s by which a word may end after the file of its sound, as its last pause
DRIFTS = 200e-6  # s in a second by which two clocks whose drift is unknown may be apart


def is_after_end(onset, duration):
    """Return whether words begin after the end of their audio files."""
    return onset > duration * (1 + DRIFTS) + LATE


def check_last_word(stimulus, onset, source):
    """Raise if the last word begins after the end of its audio file.

    Parameters
    ----------
    stimulus : str, AudioTrack or StimulusArray
    onset : float
        Onset of the last word in the stimulus, in seconds.
    source : str
        File or study that the onset was read from, for the message.
    """
    if is_after_end(onset, duration := stimulus_duration(stimulus)):
        name = str(stimulus) if isinstance(stimulus, (str, Path)) else stimulus_name(stimulus)
        raise ValueError(
            f"The audio file {name!r} has {duration:.3f} s, but its last word begins at {onset:.3f} s in {source}. "
            f"Check that the audio file is complete and that both belong to the same stimulus."
            f"{guess_unit(onset, duration)}"
        )


def check_no_overlap(sounds):
    for _, group in sounds.groupby(["recording", "stream"], sort=False):
        group = group.sort_values("onset")
        ends = (group["onset"] + group["duration"] * clock_rate(group)).to_numpy()
        early = group["onset"].to_numpy()[1:] < ends[:-1] - 0.01 - DRIFTS * group["duration"].to_numpy()[:-1]
        if early.any():
            row = np.flatnonzero(early)[0]
            first, second = group.iloc[row], group.iloc[row + 1]
            raise ValueError(
                f"events row {unwrap_scalar(second.name)!r}, column 'onset': the sound {stimulus_name(second['sound'])!r} "
                f"begins at {second['onset']:.3f} s, before {stimulus_name(first['sound'])!r} (row "
                f"{unwrap_scalar(first.name)!r}) ends at {first['onset'] + first['duration']:.3f} s in "
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


def find_playing_stimulus(events, rows):
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
    raise_for_rows(
        events, wrong, "sound_onset",
        f"the time in the sound that its onset and the row of the sound give, {expected[first]:.3f} s (it begins at "
        f"{events['onset'].iloc[spoken[first]]:.3f} s, {stimulus_name(sound['sound'])!r} at {sound['onset']:.3f} s)",
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
        raise_for_rows(
            events, wrong, "duration",
            f"a word or phoneme that ends with its sound, {stimulus_name(events['sound'].iloc[spoken[first]])!r} of "
            f"{length[first]:.3f} s", guess_unit(np.quantile(lasts, 0.9), 1.0),
        )  # fmt: skip
    if (long := lasts > LONG).any():
        row = events.iloc[spoken[int(np.argmax(long))]]
        warnings.warn(
            f"{long.sum()} of {len(spoken)} words and phonemes last longer than {LONG:g} s, the first in events row "
            f"{unwrap_scalar(row.name)!r}: {row['text']!r} at {row['onset']:.3f} s lasts {row['duration']:.3f} s. Correct the "
            f"column 'duration', or leave such rows out.",
            stacklevel=4,
        )


def place_words(events):
    """Give every word and phoneme its sound and its time in it."""
    labels, events = events.index, events.reset_index(drop=True)
    spoken = np.flatnonzero(events["type"].isin(("word", "phoneme")))
    rows = events.iloc[spoken]
    playing = find_playing_stimulus(events, rows)
    without = rows["sound"].isna().to_numpy()
    lost = np.zeros(len(events), bool)
    lost[spoken[without & (playing < 0)]] = True
    if lost.any():
        row = events.iloc[int(np.argmax(lost))]
        inside = events[(events["type"] == "sound") & (events["recording"] == row["recording"])]
        first = inside.loc[inside["stream"] == row["stream"], "onset"].min()
        begins = "has none" if np.isnan(first) else f"has its first at {first:.3f} s"
        raise_for_rows(
            events.set_axis(labels), lost, "sound",
            f"a sound, given or playing in the recording (a row of type 'sound'), which {begins} in stream "
            f"{row['stream']!r}, where this row begins at {row['onset']:.3f} s",
        )  # fmt: skip
    since = rows["onset"].to_numpy() - events["onset"].to_numpy()[playing]
    since = since / clock_rate(events)[playing]
    ended = without & is_after_end(since, events["duration"].to_numpy()[playing])
    if ended.any():
        lost[spoken[ended]] = True
        at = int(np.argmax(ended))
        last = events.iloc[playing[at]]
        raise_for_rows(
            events.set_axis(labels), lost, "sound",
            f"a sound, given or playing, but the last, {stimulus_name(last['sound'])!r}, has ended at "
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
        raise_for_rows(
            events.set_axis(labels),
            lost,
            "sound_onset",
            "a time in the sound that it names, or a row of type 'sound' in which that sound is playing",
        )
    begun = events["sound_onset"].to_numpy()[playing]
    events.loc[spoken[untimed], "sound_onset"] = (since + begun)[untimed]
    length = map_distinct(events["sound"].iloc[spoken], stimulus_duration).astype(float)
    beyond = np.zeros(len(events), bool)
    beyond[spoken] = is_after_end(events["sound_onset"].to_numpy()[spoken], length)
    if beyond.any():
        first = int(np.argmax(beyond[spoken]))
        name = stimulus_name(events["sound"].iloc[spoken[first]])
        raise_for_rows(
            events.set_axis(labels), beyond, "sound_onset",
            f"a time within the sound (is the audio file shorter than its words?), which is {name!r} of "
            f"{length[first]:.3f} s", _unit_in_sound(events.iloc[spoken], length),
        )  # fmt: skip
    _check_word_lengths(events.set_axis(labels), spoken, length)
    _check_times_agree(events.set_axis(labels), spoken, playing, since + begun)
    return events.set_axis(labels)
