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

MAX_LATE = 0.1  # s by which a word may begin after the end of its audio file
MAX_BEYOND = 5.0  # s by which a word may end after its audio file, if it includes the last silence
MAX_DRIFT = 200e-6  # s per second between two clocks whose drift is unknown


def is_after_end(onset, duration):
    """Return whether words begin after the end of their audio files."""
    return onset > duration * (1 + MAX_DRIFT) + MAX_LATE


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
    """Raise if two stimuli of one recording and stream overlap."""
    for _, group in sounds.groupby(["recording", "stream"], sort=False):
        group = group.sort_values("onset")
        ends = (group["onset"] + group["duration"] * clock_rate(group)).to_numpy()
        early = (
            group["onset"].to_numpy()[1:] < ends[:-1] - 0.01 - MAX_DRIFT * group["duration"].to_numpy()[:-1]
        )
        if early.any():
            row = np.flatnonzero(early)[0]
            first, second = group.iloc[row], group.iloc[row + 1]
            raise ValueError(
                f"events row {unwrap_scalar(second.name)!r}, column 'onset': the stimulus "
                f"{stimulus_name(second['sound'])!r} begins at {second['onset']:.3f} s, before "
                f"{stimulus_name(first['sound'])!r} (row {unwrap_scalar(first.name)!r}) ends at "
                f"{first['onset'] + first['duration']:.3f} s in {second['recording']!r}. Give stimuli that play at the "
                f"same time different values in the column 'stream'.{_guess_minutes(group, ends)}"
            )


def _guess_minutes(group, ends):
    """Suggest that onsets are in minutes, if stimuli would not overlap."""
    onset = group["onset"].to_numpy()
    fits = (60 * np.diff(onset) >= (ends - onset)[:-1] - 0.5).all()
    return " The onsets may be in minutes." if fits and (np.diff(onset) < (ends - onset)[:-1]).all() else ""


def clock_rate(events):
    """Return the seconds of a recording per second of the stimulus.

    Parameters
    ----------
    events : DataFrame of shape (n_events, ...)
        With ``drift_ppm``, if it is known.

    Returns
    -------
    rate : ndarray of shape (n_events,)
        1 where the drift is unknown.
    """
    if "drift_ppm" not in events:
        return np.ones(len(events))
    return 1 + events["drift_ppm"].fillna(0).to_numpy(float) * 1e-6


def find_playing_stimulus(events, rows):
    """Find the stimulus that began last at or before each event.

    Parameters
    ----------
    events : DataFrame
        An events table indexed from 0.
    rows : DataFrame of shape (n_rows, ...)
        Rows of it.

    Returns
    -------
    position : ndarray of int of shape (n_rows,)
        Row of the stimulus in ``events``, in the same recording and stream.
        -1 if no stimulus began before.
    """
    keys = ["recording", "stream"]
    sounds = events.loc[events["type"] == "sound", [*keys, "onset"]].sort_values("onset")
    wanted = rows[[*keys, "onset"]].assign(row=np.arange(len(rows))).sort_values("onset")
    wanted["onset"] += 1e-6  # a word may begin with its stimulus
    found = pd.merge_asof(wanted, sounds.assign(position=sounds.index), on="onset", by=keys)
    return found.set_index("row")["position"].reindex(range(len(rows))).fillna(-1).astype(int).to_numpy()


def _check_times_agree(events, spoken, playing, expected):
    """Raise if a word's time in its stimulus contradicts their onsets."""
    # half a second and a drift are tolerated
    same = (playing >= 0) & (events["sound"].to_numpy()[spoken] == events["sound"].to_numpy()[playing])
    wrong = np.zeros(len(events), bool)
    given = events["sound_onset"].to_numpy()[spoken]
    wrong[spoken] = same & (np.abs(given - expected) > 0.5 + MAX_DRIFT * np.abs(expected))
    if not wrong.any():
        return
    first, sound = int(np.argmax(wrong[spoken])), events.iloc[playing[int(np.argmax(wrong[spoken]))]]
    at = wrong[spoken] & (given != 0)
    ratio = np.median(expected[at] / given[at]) if at.any() else 1.0
    raise_for_rows(
        events, wrong, "sound_onset",
        f"the time in the stimulus that follows from the onsets, {expected[first]:.3f} s (the word begins at "
        f"{events['onset'].iloc[spoken[first]]:.3f} s, {stimulus_name(sound['sound'])!r} at {sound['onset']:.3f} s)",
        guess_factor(ratio),
    )  # fmt: skip


def _guess_unit_in_stimulus(rows, length):
    """Suggest why times in stimuli are later than the ends of the stimuli."""
    if (rows["sound_onset"] == rows["onset"]).all():
        return " All values are equal to the column 'onset'. They may be times in the recording."
    return guess_unit(float((rows["sound_onset"] / length).max()), 1.0)


def _check_word_lengths(events, spoken, length):
    """Raise if a word ends after its stimulus, and warn of very long words."""
    lasts, begins = (events[name].to_numpy(float)[spoken] for name in ("duration", "sound_onset"))
    wrong = np.zeros(len(events), bool)
    wrong[spoken] = begins + lasts > length + MAX_BEYOND
    if wrong.any():
        first = int(np.argmax(wrong[spoken]))
        raise_for_rows(
            events, wrong, "duration",
            f"a word or phoneme that ends with its stimulus, {stimulus_name(events['sound'].iloc[spoken[first]])!r} of "
            f"{length[first]:.3f} s", guess_unit(np.quantile(lasts, 0.9), 1.0),
        )  # fmt: skip
    if (long := lasts > LONG).any():
        row = events.iloc[spoken[int(np.argmax(long))]]
        warnings.warn(
            f"{long.sum()} of {len(spoken)} words and phonemes last longer than {LONG:g} s. The first is events row "
            f"{unwrap_scalar(row.name)!r}: {row['text']!r} at {row['onset']:.3f} s lasts {row['duration']:.3f} s. "
            f"Correct the column 'duration' or remove such rows.",
            stacklevel=4,
        )


def place_words(events):
    """Fill in the stimulus of words and phonemes, and their times in it."""
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
        begins = "has no stimulus" if np.isnan(first) else f"has its first stimulus at {first:.3f} s"
        raise_for_rows(
            events.set_axis(labels), lost, "sound",
            f"a stimulus, given or playing in the recording (a row of type 'sound'). The recording {begins} in stream "
            f"{row['stream']!r}, but this row begins at {row['onset']:.3f} s",
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
            f"a stimulus, given or playing. The last one, {stimulus_name(last['sound'])!r}, has ended at "
            f"{last['onset'] + last['duration']:.3f} s, and this row begins at {rows['onset'].iloc[at]:.3f} s (the "
            f"audio file may be incomplete, its duration wrong, or the row of a stimulus missing)",
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
            "a time in its stimulus, or a row of type 'sound' in which that stimulus is playing",
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
            f"a time within the stimulus {name!r} of {length[first]:.3f} s (the audio file may be incomplete)",
            _guess_unit_in_stimulus(events.iloc[spoken], length),
        )  # fmt: skip
    _check_word_lengths(events.set_axis(labels), spoken, length)
    _check_times_agree(events.set_axis(labels), spoken, playing, since + begun)
    return events.set_axis(labels)
