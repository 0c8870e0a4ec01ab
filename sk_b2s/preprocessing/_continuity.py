"""Warnings for stimuli at gaps in recordings, or with another time origin."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

import mne
import numpy as np

from sk_b2s._utils._text import shorten_list
from sk_b2s.events._stimuli import stimulus_name
from sk_b2s.events._table_times import get_table_times_clock_rate
from sk_b2s.io._raw._gaps import describe_gaps
from sk_b2s.io._raw._identity import get_recording_identity_state
from sk_b2s.io._raw._recordings import open_recording, read_recording_extent
from sk_b2s.io._triggers import read_trigger_times

NEAR = 0.1  # s between an event and the trigger or annotation that confirms it
MAX_COMPARED = 20  # stimuli of a recording that are compared with triggers
MAX_NAMED = 20  # recordings in the warning


def warn_of_broken_continuity(events, stacklevel=3):
    """Warn of stimuli that play over a gap in a recording or after it.

    Parameters
    ----------
    events : DataFrame
        A checked events table.
    stacklevel : int, default=3
        As in :func:`warnings.warn`.
    """
    if notes := describe_continuity(events):
        texts = [f"{Path(recording).name!r}: {note}" for recording, note in list(notes.items())[:MAX_NAMED]]
        more = f"\nand {len(notes) - MAX_NAMED} more recordings" if len(notes) > MAX_NAMED else ""
        warnings.warn(
            f"{len(notes)} recording{'s are' if len(notes) > 1 else ' is'} not continuous, and stimuli may not match the "
            f"samples after a gap.\n" + ".\n".join(texts) + f".{more}",
            stacklevel=stacklevel,
        )


def warn_of_continuity_origin(events, stacklevel=3):
    """Warn of onsets from the start of the acquisition.

    FIF files may begin later than their acquisition (``raw.first_samp``).
    Events that MNE finds are relative to the acquisition. A recording is
    reported if triggers or annotations are at the onsets without
    ``raw.first_time``, and not at the onsets.

    Parameters
    ----------
    events : DataFrame
        A checked events table.
    stacklevel : int, default=3
        As in :func:`warnings.warn`.
    """
    late = []
    for recording, rows in events[events["type"] == "sound"].groupby("recording", sort=False):
        if not Path(recording).exists() or (first := read_recording_extent(recording).first_time) < 5 * NEAR:
            continue
        onset = tuple(rows["onset"].astype(float)[:MAX_COMPARED])
        if _counts_from_acquisition(get_recording_identity_state(recording), onset):
            late.append(f"{Path(recording).name!r} ({first:.3f} s)")
    if late:
        warnings.warn(
            f"Stimuli of {len(late)} recordings begin later than their triggers or annotations by the time between the "
            f"start of the acquisition and the first sample: {shorten_list(late, MAX_NAMED)}. Subtract raw.first_time "
            f"from their onsets, which must be relative to the first sample.",
            stacklevel=stacklevel,
        )


@lru_cache(maxsize=4096)
def _counts_from_acquisition(state, onset):
    """Return whether onsets are relative to the start of the acquisition."""
    raw, onset = open_recording(state[0]), np.array(onset)
    return (
        not _has_continuity_mark(raw, onset).any()
        and _has_continuity_mark(raw, onset - raw.first_time).mean() > 0.8
    )


def _has_continuity_mark(raw, times):
    """Return which times have an annotation or trigger nearby."""
    notes = np.array([note["onset"] - raw.first_time for note in raw.annotations], float)
    found = (np.abs(times[:, None] - notes) <= NEAR).any(1)
    stim, sfreq = mne.pick_types(raw.info, meg=False, stim=True), raw.info["sfreq"]
    for place, time in enumerate(times if len(stim) else ()):
        start, stop = (round((time + side * NEAR) * sfreq) for side in (-1, 1))
        if not found[place] and 0 <= start < stop <= raw.n_times:
            found[place] = (np.diff(raw[stim, start:stop][0], axis=1) > 0).any()
    return found


def describe_continuity(events):
    """Describe the gaps of each recording that affect stimuli.

    A stimulus after a gap is correct if its onset counts samples, as that of
    a trigger does, and wrong if it comes from a clock that kept running.
    Stimuli with a trigger or annotation at their onset, and stimuli that the
    table continues right after the gap, are assumed to be correct.

    Parameters
    ----------
    events : DataFrame
        A checked events table.

    Returns
    -------
    notes : dict of str to str
        By recording, without recordings whose stimuli are correct.
    """
    notes = {}
    for recording, rows in events.groupby("recording", sort=False):
        try:
            gaps = read_recording_extent(recording).gaps if Path(recording).exists() else ()
        except (ValueError, OSError):
            continue  # files that cannot be opened are reported elsewhere
        sounds = rows[rows["type"] == "sound"].sort_values("onset")
        if gaps and (note := _describe_continuity_gaps(recording, sounds, gaps)):
            notes[recording] = note
    return notes


def add_continuity_notes(found, events):
    """Add notes on gaps to a table of recordings and their parts.

    Parameters
    ----------
    found : DataFrame
        With ``recording, part, offset, note``, as
        :func:`~sk_b2s.check_alignment` returns it.
    events : DataFrame
        A checked events table.

    Returns
    -------
    found : DataFrame
        With notes on whole recordings and on undecided parts.
    """
    by_recording = describe_continuity(events)
    notes = found["recording"].map(lambda recording: by_recording.get(recording, ""))
    is_noted = (notes != "") & ((found["part"] == 0) | found["offset"].isna())
    found.loc[is_noted, "note"] = [
        "; ".join(filter(None, pair))
        for pair in zip(found.loc[is_noted, "note"], notes[is_noted], strict=True)
    ]
    return found


def _describe_continuity_gaps(recording, sounds, gaps):
    """Describe the stimuli of a recording that a gap affects, "" if none."""
    if np.isnan(gaps[0].onset):
        return (
            "RecordingType in its sidecar is discontinuous or epoched, but the gaps are unknown. Windows may cross gaps. "
            "Mark gaps in the file with annotations 'BAD boundary', or correct RecordingType"
        )
    begins = sounds["onset"].to_numpy(float)
    ends = begins + sounds["duration"].to_numpy(float) * get_table_times_clock_rate(sounds)
    places = np.array([gap.onset for gap in gaps])
    continued = (np.abs(begins[:, None] - places) <= NEAR) & (sounds["sound_onset"].to_numpy(float) > 0)[
        :, None
    ]
    places = places[~continued.any(0)]  # gaps that the table takes into account
    over = ((begins[:, None] < places - NEAR) & (ends[:, None] > places + NEAR)).any(1)
    later = (begins[:, None] >= places - NEAR).any(1)
    if later.any():
        marks = _read_continuity_marks(get_recording_identity_state(recording))
        far = np.abs(begins[:, None] - marks).min(1, initial=np.inf) > NEAR
        later &= far
    if not (over | later).any():
        return ""
    names = np.array([stimulus_name(sound) for sound in sounds["sound"]], object)
    texts = [describe_gaps([gap for gap in gaps if gap.onset in places])]
    if over.any():
        texts.append(
            f"Stimuli that play over it: {_format_recording_names(names[over])}. Their windows after the gap have the wrong part of "
            f"the stimulus. End these rows at the gap, and add rows for the rest with their own onset and sound_onset"
        )
    if later.any():
        texts.append(
            f"Stimuli that begin after it without a trigger or annotation: {_format_recording_names(names[later])}. They are correct "
            f"only if their onsets count the samples of the file"
        )
    return ". ".join(texts)


def _format_recording_names(names):
    return shorten_list(dict.fromkeys(map(repr, names)))


@lru_cache(maxsize=4096)
def _read_continuity_marks(state):
    return read_trigger_times(open_recording(state[0]))
