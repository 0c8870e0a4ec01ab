"""Stimuli over a gap in a recording, or with another time origin."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

import mne
import numpy as np

from sk_b2s._utils._text import shorten_list
from sk_b2s.events._stimuli import stimulus_name
from sk_b2s.events._table_times import clock_rate
from sk_b2s.io._raw._gaps import describe_gaps
from sk_b2s.io._raw._identity import recording_state
from sk_b2s.io._raw._recordings import open_raw, read_extent
from sk_b2s.io._triggers import mark_times

NEAR = 0.1  # s between an event and the trigger or annotation that confirms it
LOOKED_AT = 20  # sounds of a recording that are compared with triggers
NAMED = 20  # recordings that the warning names, at most


def warn_of_gaps(events, stacklevel=3):
    """Warn of recordings that are not continuous where sounds play over a gap or begin after it.

    Parameters
    ----------
    events : DataFrame
        A checked events table.
    stacklevel : int, default=3

    Warns
    -----
    UserWarning
        With the time and length of the gaps, the sounds concerned and what to do.
    """
    if notes := describe_gaps_by_recording(events):
        texts = [f"{Path(recording).name!r}: {note}" for recording, note in list(notes.items())[:NAMED]]
        more = f"\nand {len(notes) - NAMED} more recordings" if len(notes) > NAMED else ""
        warnings.warn(
            f"{len(notes)} recording{'s are' if len(notes) > 1 else ' is'} not continuous, and sound may not fit the "
            f"samples after a gap.\n" + ".\n".join(texts) + f".{more}",
            stacklevel=stacklevel,
        )


def warn_of_acquisition_times(events, stacklevel=3):
    """Warn of recordings whose sounds count from the start of the acquisition and not from the first sample.

    FIF files may begin later than their acquisition (``raw.first_samp``). Events that MNE finds count from there.

    Parameters
    ----------
    events : DataFrame
        A checked events table.
    stacklevel : int, default=3

    Warns
    -----
    UserWarning
        If triggers or annotations are where the sounds would begin without ``raw.first_time``, and not where they do.
    """
    late = []
    for recording, rows in events[events["type"] == "sound"].groupby("recording", sort=False):
        if not Path(recording).exists() or (first := read_extent(recording).first_time) < 5 * NEAR:
            continue
        onset = tuple(rows["onset"].astype(float)[:LOOKED_AT])
        if _counts_from_acquisition(recording_state(recording), onset):
            late.append(f"{Path(recording).name!r} ({first:.3f} s)")
    if late:
        warnings.warn(
            f"sounds of {len(late)} recordings begin later than their triggers or annotations by the time between the "
            f"start of the acquisition and the first sample: {shorten_list(late, NAMED)}. Subtract raw.first_time from "
            f"their onsets, which count from the first sample.",
            stacklevel=stacklevel,
        )


@lru_cache(maxsize=4096)
def _counts_from_acquisition(state, onset):
    raw, onset = open_raw(state[0]), np.array(onset)
    return not _has_mark(raw, onset).any() and _has_mark(raw, onset - raw.first_time).mean() > 0.8


def _has_mark(raw, times):
    """Tell at which times an annotation or trigger is: ndarray of bool. Only samples near them are read."""
    notes = np.array([note["onset"] - raw.first_time for note in raw.annotations], float)
    found = (np.abs(times[:, None] - notes) <= NEAR).any(1)
    stim, sfreq = mne.pick_types(raw.info, meg=False, stim=True), raw.info["sfreq"]
    for place, time in enumerate(times if len(stim) else ()):
        start, stop = (round((time + side * NEAR) * sfreq) for side in (-1, 1))
        if not found[place] and 0 <= start < stop <= raw.n_times:
            found[place] = (np.diff(raw[stim, start:stop][0], axis=1) > 0).any()
    return found


def describe_gaps_by_recording(events):
    """Describe for each recording the gaps over which sounds play, or after which they begin.

    A sound that begins after a gap is right if its time counts samples, as that of a trigger does, and wrong if it is
    of a clock that went on. Sounds that begin where a trigger or annotation is, or that a table continues right after
    the gap, are taken for right.

    Parameters
    ----------
    events : DataFrame
        A checked events table.

    Returns
    -------
    notes : dict of str to str
        By recording. Without those that have no gap, or whose sounds are right.
    """
    notes = {}
    for recording, rows in events.groupby("recording", sort=False):
        try:
            gaps = read_extent(recording).gaps if Path(recording).exists() else ()
        except (ValueError, OSError):
            continue  # of a file that cannot be opened more is said elsewhere
        sounds = rows[rows["type"] == "sound"].sort_values("onset")
        if gaps and (note := _note(recording, sounds, gaps)):
            notes[recording] = note
    return notes


def add_gap_notes(found, events):
    """Add what is known of gaps to the notes of a table of recordings and their parts.

    Parameters
    ----------
    found : DataFrame
        With ``recording, part, verdict, note``, as :func:`~sk_b2s.check_alignment` returns it.
    events : DataFrame
        A checked events table.

    Returns
    -------
    found : DataFrame
        The same, with the note of :func:`describe_gaps_by_recording` at each whole recording and at those of its parts of which nothing
        can be told.
    """
    said = describe_gaps_by_recording(events)
    notes = found["recording"].map(lambda recording: said.get(recording, ""))
    told = (notes != "") & ((found["part"] == 0) | (found["verdict"] == "cannot tell"))
    found.loc[told, "note"] = [
        "; ".join(filter(None, pair)) for pair in zip(found.loc[told, "note"], notes[told], strict=True)
    ]
    return found


def _note(recording, sounds, gaps):
    """Describe the sounds of one recording that do not fit after its gaps, "" if all do."""
    if np.isnan(gaps[0].onset):
        return (
            "its sidecar says that it is discontinuous or epoched, but not where. Windows may cross gaps. Mark them in "
            "the file by annotations 'BAD boundary', or correct RecordingType"
        )
    begins = sounds["onset"].to_numpy(float)
    ends = begins + sounds["duration"].to_numpy(float) * clock_rate(sounds)
    places = np.array([gap.onset for gap in gaps])
    continued = (np.abs(begins[:, None] - places) <= NEAR) & (sounds["sound_onset"].to_numpy(float) > 0)[
        :, None
    ]
    places = places[~continued.any(0)]  # of those the table knows
    over = ((begins[:, None] < places - NEAR) & (ends[:, None] > places + NEAR)).any(1)
    later = (begins[:, None] >= places - NEAR).any(1)
    if later.any():
        marks = _marks(recording_state(recording))
        far = np.abs(begins[:, None] - marks).min(1, initial=np.inf) > NEAR
        later &= far
    if not (over | later).any():
        return ""
    names = np.array([stimulus_name(sound) for sound in sounds["sound"]], object)
    texts = [describe_gaps([gap for gap in gaps if gap.onset in places])]
    if over.any():
        texts.append(
            f"Sounds that play over it: {_listed(names[over])}. Their windows after it are paired with sound of "
            f"another time. End their rows at the gap, and add rows for the rest with their own onset and sound_onset"
        )
    if later.any():
        texts.append(
            f"Sounds that begin after it, where no trigger or annotation is: {_listed(names[later])}. They are right "
            f"only if their onsets count the samples of the file"
        )
    return ". ".join(texts)


def _listed(names):
    return shorten_list(dict.fromkeys(map(repr, names)))


@lru_cache(maxsize=4096)
def _marks(state):
    return mark_times(open_raw(state[0]))
