"""Checks of the times of an events table."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._text import unwrap_scalar_for_text
from sk_b2s._utils._units import guess_unit, guess_unit_factor
from sk_b2s.events._stimuli import stimulus_duration, stimulus_name
from sk_b2s.events._table_rows import LONG, map_distinct_table_row_values, raise_for_table_rows

MAX_LATE = 0.1  # s by which a word may begin after the end of its audio file
MAX_BEYOND = 5.0  # s by which a word may end after its audio file, if it includes the last silence
MAX_DRIFT = 200e-6  # s per second between two clocks whose drift is unknown


def is_time_after_end(onset, duration):
    """Return whether words begin after the end of their audio files."""
    return onset > duration * (1 + MAX_DRIFT) + MAX_LATE


def check_table_times_of_last_word(stimulus, onset, source):
    """Raise if the last word begins after the end of its audio file.

    Parameters
    ----------
    stimulus : str, AudioTrack or StimulusArray
    onset : float
        Onset of the last word in the stimulus, in seconds.
    source : str
        File or study that the onset was read from, for the message.
    """
    if is_time_after_end(onset, duration := stimulus_duration(stimulus)):
        name = str(stimulus) if isinstance(stimulus, (str, Path)) else stimulus_name(stimulus)
        raise ValueError(
            f"The audio file {name!r} has {duration:.3f} s, but its last word begins at {onset:.3f} s in {source}. "
            f"Check that the audio file is complete and that both belong to the same stimulus."
            f"{guess_unit(onset, duration)}"
        )


def check_table_times_overlap(sounds):
    """Raise if two stimuli of one recording and stream overlap."""
    for _, group in sounds.groupby(["recording", "stream"], sort=False):
        group = group.sort_values("onset")
        ends = (group["onset"] + group["duration"] * get_table_times_clock_rate(group)).to_numpy()
        early = (
            group["onset"].to_numpy()[1:] < ends[:-1] - 0.01 - MAX_DRIFT * group["duration"].to_numpy()[:-1]
        )
        if early.any():
            row = np.flatnonzero(early)[0]
            first, second = group.iloc[row], group.iloc[row + 1]
            raise ValueError(
                f"events row {unwrap_scalar_for_text(second.name)!r}, column 'onset': the stimulus "
                f"{stimulus_name(second['sound'])!r} begins at {second['onset']:.3f} s, before "
                f"{stimulus_name(first['sound'])!r} (row {unwrap_scalar_for_text(first.name)!r}) ends at "
                f"{first['onset'] + first['duration']:.3f} s in {second['recording']!r}. Give stimuli that play at the "
                f"same time different values in the column 'stream'.{_guess_minutes(group, ends)}"
            )


def _guess_minutes(group, ends):
    """Suggest that onsets are in minutes, if stimuli would not overlap."""
    onset = group["onset"].to_numpy()
    fits = (60 * np.diff(onset) >= (ends - onset)[:-1] - 0.5).all()
    return " The onsets may be in minutes." if fits and (np.diff(onset) < (ends - onset)[:-1]).all() else ""


def get_table_times_clock_rate(events):
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


def find_stimulus_at_table_times(events, rows):
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


def _check_times_agree(events, words, playing, expected):
    """Raise if a word's time in its stimulus contradicts their onsets."""
    # half a second and a drift are tolerated
    same = (playing >= 0) & (events["sound"].to_numpy()[words] == events["sound"].to_numpy()[playing])
    wrong = np.zeros(len(events), bool)
    given = events["sound_onset"].to_numpy()[words]
    wrong[words] = same & (np.abs(given - expected) > 0.5 + MAX_DRIFT * np.abs(expected))
    if not wrong.any():
        return
    first, sound = int(np.argmax(wrong[words])), events.iloc[playing[int(np.argmax(wrong[words]))]]
    at = wrong[words] & (given != 0)
    ratio = np.median(expected[at] / given[at]) if at.any() else 1.0
    raise_for_table_rows(
        events, wrong, "sound_onset",
        f"the time in the stimulus that follows from the onsets, {expected[first]:.3f} s (the word begins at "
        f"{events['onset'].iloc[words[first]]:.3f} s, {stimulus_name(sound['sound'])!r} at {sound['onset']:.3f} s)",
        guess_unit_factor(ratio),
    )  # fmt: skip


def _guess_unit_in_stimulus(rows, length):
    """Suggest why times in stimuli are later than the ends of the stimuli."""
    if (rows["sound_onset"] == rows["onset"]).all():
        return " All values are equal to the column 'onset'. They may be times in the recording."
    return guess_unit(float((rows["sound_onset"] / length).max()), 1.0)


def _check_word_lengths(events, words, length):
    """Raise if a word ends after its stimulus, and warn of very long words."""
    lasts, begins = (events[name].to_numpy(float)[words] for name in ("duration", "sound_onset"))
    wrong = np.zeros(len(events), bool)
    wrong[words] = begins + lasts > length + MAX_BEYOND
    if wrong.any():
        first = int(np.argmax(wrong[words]))
        raise_for_table_rows(
            events, wrong, "duration",
            f"a word or phoneme that ends with its stimulus, {stimulus_name(events['sound'].iloc[words[first]])!r} of "
            f"{length[first]:.3f} s", guess_unit(np.quantile(lasts, 0.9), 1.0),
        )  # fmt: skip
    if (long := lasts > LONG).any():
        row = events.iloc[words[int(np.argmax(long))]]
        warnings.warn(
            f"{long.sum()} of {len(words)} words and phonemes last longer than {LONG:g} s. The first is events row "
            f"{unwrap_scalar_for_text(row.name)!r}: {row['text']!r} at {row['onset']:.3f} s lasts {row['duration']:.3f} s. "
            f"Correct the column 'duration' or remove such rows.",
            stacklevel=4,
        )


def place_words_at_table_times(events):
    """Fill in the stimulus of words and phonemes, and their times in it."""
    labels, events = events.index, events.reset_index(drop=True)
    words = np.flatnonzero(events["type"].isin(("word", "phoneme")))
    rows = events.iloc[words]
    playing = find_stimulus_at_table_times(events, rows)
    since = (rows["onset"].to_numpy() - events["onset"].to_numpy()[playing]) / get_table_times_clock_rate(
        events
    )[playing]
    without = rows["sound"].isna().to_numpy()
    _check_words_begin_in_stimulus(events.set_axis(labels), words, without & (playing < 0))
    ended = without & is_time_after_end(since, events["duration"].to_numpy()[playing])
    _check_words_begin_before_end(events.set_axis(labels), words, ended, playing)
    events.loc[words[without], "sound"] = events["sound"].to_numpy()[playing[without]]
    untimed = rows["sound_onset"].isna().to_numpy()
    other = events["sound"].to_numpy()[words] != events["sound"].to_numpy()[playing]
    raise_for_table_rows(
        events.set_axis(labels), _mark_word_rows(events, words, untimed & ((playing < 0) | other)), "sound_onset",
        "a time in its stimulus, or a row of type 'sound' in which that stimulus is playing",
    )  # fmt: skip
    expected = since + events["sound_onset"].to_numpy()[playing]
    events.loc[words[untimed], "sound_onset"] = expected[untimed]
    length = map_distinct_table_row_values(events["sound"].iloc[words], stimulus_duration).astype(float)
    events = events.set_axis(labels)
    _check_words_within_audio(events, words, length)
    _check_word_lengths(events, words, length)
    _check_times_agree(events, words, playing, expected)
    return events


def _mark_word_rows(events, words, is_wrong):
    """Return a mask of the rows of some words."""
    mask = np.zeros(len(events), bool)
    mask[words[is_wrong]] = True
    return mask


def _check_words_begin_in_stimulus(events, words, is_wrong):
    """Raise if words begin before the first stimulus."""
    if not is_wrong.any():
        return
    row = events.iloc[words[int(np.argmax(is_wrong))]]
    stimuli = events[(events["type"] == "sound") & (events["recording"] == row["recording"])]
    first = stimuli.loc[stimuli["stream"] == row["stream"], "onset"].min()
    begins = "has no stimulus" if np.isnan(first) else f"has its first stimulus at {first:.3f} s"
    raise_for_table_rows(
        events, _mark_word_rows(events, words, is_wrong), "sound",
        f"a stimulus, given or playing in the recording (a row of type 'sound'). The recording {begins} in stream "
        f"{row['stream']!r}, but this row begins at {row['onset']:.3f} s",
    )  # fmt: skip


def _check_words_begin_before_end(events, words, is_wrong, playing):
    """Raise if words begin after the last stimulus has ended."""
    if not is_wrong.any():
        return
    at = int(np.argmax(is_wrong))
    last, onsets = events.iloc[playing[at]], events["onset"].to_numpy()[words]
    end = last["onset"] + last["duration"]
    raise_for_table_rows(
        events, _mark_word_rows(events, words, is_wrong), "sound",
        f"a stimulus, given or playing. The last one, {stimulus_name(last['sound'])!r}, has ended at {end:.3f} s, and "
        f"this row begins at {onsets[at]:.3f} s (the audio file may be incomplete, its duration wrong, or the row of a "
        f"stimulus missing)",
        guess_unit(onsets.max(), end),
    )  # fmt: skip


def _check_words_within_audio(events, words, length):
    """Raise if words begin after the end of their audio files."""
    beyond = is_time_after_end(events["sound_onset"].to_numpy()[words], length)
    if not beyond.any():
        return
    first = int(np.argmax(beyond))
    name = stimulus_name(events["sound"].iloc[words[first]])
    raise_for_table_rows(
        events, _mark_word_rows(events, words, beyond), "sound_onset",
        f"a time within the stimulus {name!r} of {length[first]:.3f} s (the audio file may be incomplete)",
        _guess_unit_in_stimulus(events.iloc[words], length),
    )  # fmt: skip


def delay_table_times(events, audio_delay):
    """Delay events by the time between trigger and sound at the ear.

    Bad stretches of the recording are not delayed.

    Parameters
    ----------
    events : DataFrame
        With ``recording, type, onset``.
    audio_delay : float or dict of str to float
        Seconds. The keys of a dict are beginnings of recording file names
        ("sub-01", "sub-01_ses-02"). The longest key that fits is used, and 0
        if no key fits.

    Returns
    -------
    events : DataFrame
        A copy.

    Raises
    ------
    ValueError
        If a delay is not a finite number or a key fits no recording.
    """
    table = audio_delay if isinstance(audio_delay, dict) else {"": audio_delay}
    for name, delay in table.items():
        if not (isinstance(delay, (int, float, np.number)) and np.isfinite(delay)):
            raise ValueError(
                f"audio_delay must be a finite number of seconds or a dict of them. Got {audio_delay!r}."
            )
        if abs(delay) > 5:
            raise ValueError(
                f"audio_delay must be at most 5 seconds. Got {delay!r} for {name!r}. Divide by 1000 if it is in "
                f"milliseconds."
            )
    delays, fits = {}, set()
    for recording in events["recording"].unique():
        stem = Path(recording).name.split(".")[0]
        names = [name for name in table if f"{stem}_".startswith(f"{name}_") or name in ("", stem)]
        fits |= set(names)
        delays[recording] = table[max(names, key=len)] if names else 0.0
    if unused := sorted(set(table) - fits):
        raise ValueError(
            f"audio_delay has the key {unused[0]!r}, but no recording has a file name that begins with it. Correct or "
            f"remove the key."
        )
    delayed = events["onset"] + events["recording"].map(delays).astype(float)
    return events.assign(onset=events["onset"].where(events["type"] == "bad", delayed))
