"""Windows that fit into their recording, and warnings for those left out."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._text import shorten_list
from sk_b2s._utils._units import guess_unit
from sk_b2s.events._stimuli import stimulus_name
from sk_b2s.events._table_times import clock_rate
from sk_b2s.io._raw._gaps import IS_GAP
from sk_b2s.io._raw._recordings import Extent, read_extent

LAST_STEP = 0.05  # s; a window of d seconds has floor(d · sfreq) + 1 steps, the last may begin as it ends
NAMED = 20  # recordings that a message names, at most


def find_fitting_windows(events, anchors, margin=0.5, reject=True, anchor="word", everything=None):
    """Find the windows that fit, and warn of the others.

    Parameters
    ----------
    events : DataFrame
        A checked events table.
    anchors : DataFrame of shape (n_windows, ...)
        Windows: ``recording, subject, stream, sound, onset, duration``.
    margin : float, default=0.5
        Seconds that windows keep from ends, bad stretches and gaps.
    reject : bool, default=True
        Leave out windows that touch a bad stretch. Windows that cross a gap are always left out.
    anchor : "word" or float, default="word"
        For messages.
    everything : DataFrame, default=None
        The table before a stream was chosen, whose recordings are to have windows. None is ``events``.

    Returns
    -------
    keep : ndarray of bool of shape (n_windows,)

    Raises
    ------
    ValueError
        If no window fits, with the numbers that were compared.

    Warns
    -----
    UserWarning
        If windows are left out, with the names of recordings and subjects of which none is left.
    """
    anchors = anchors.reset_index(drop=True)
    extents, stretches, gaps = _lengths_and_bad(events, anchors)
    masks = _masks(events, anchors, margin, reject, extents, stretches, gaps)
    reasons, free = {}, np.ones(len(anchors), bool)
    for reason, mask in masks.items():
        reasons[reason] = mask & free
        free &= ~mask
    counts = ", ".join(f"{mask.sum()} {reason}" for reason, mask in reasons.items() if mask.any())
    everything = events if everything is None else everything
    lost = _lost(everything, anchors, reasons, free, extents, anchor, margin)
    lost += _lost_sounds(events, anchors, free, anchor)
    if not free.any():
        raise ValueError(
            f"make_segments(anchor={anchor!r}): none of {len(anchors)} windows is left: {counts}.{lost}"
        )
    if counts:
        warnings.warn(
            f"make_segments left out {(~free).sum()} of {len(free)} windows: {counts}.{lost}", stacklevel=3
        )
    elif lost:
        warnings.warn(f"make_segments found no window in a part of the events.{lost}", stacklevel=3)
    return free


def _masks(events, anchors, margin, reject, extents, stretches, gaps):
    """Mark the windows that do not fit, by reason."""
    start = anchors["onset"].to_numpy()
    stop = start + anchors["duration"].to_numpy()
    outside, across, bad = (np.zeros(len(anchors), bool) for _ in range(3))
    for recording, rows in anchors.groupby("recording", sort=False).indices.items():
        first, last = start[rows] - margin, stop[rows] + margin
        outside[rows] = (first < -1e-6) | (last > extents[recording].duration - LAST_STEP)
        for onset in gaps[recording]:
            across[rows] |= (first < onset) & (last > onset)
        for onset, duration in stretches[recording] if reject else ():
            bad[rows] |= (first < onset + duration) & (last > onset)
    return {
        f"leave the recording (margin={margin:g} s)": outside,
        "cross a gap": across,
        "touch a bad stretch": bad,
        "contain a second sound": _contains_second_sound(events, anchors),
    }


def _lengths_and_bad(events, anchors):
    """Extent of each recording, as the table says or the file has, its bad stretches and gaps: three dicts."""
    said = {}
    if "recording_duration" in events:
        said = events.groupby("recording", sort=False)["recording_duration"].first().dropna().to_dict()
    rows = events[events["type"] == "bad"]
    is_gap = rows["text"].map(
        lambda text: isinstance(text, str) and IS_GAP.fullmatch(text.strip()) is not None
    )
    is_gap = is_gap.to_numpy(bool)
    marked = {key: part[["onset", "duration"]].to_numpy() for key, part in rows[~is_gap].groupby("recording")}
    joints = {key: part["onset"].to_numpy() for key, part in rows[is_gap].groupby("recording")}
    extents, stretches, gaps = {}, {}, {}
    for recording in pd.unique(anchors["recording"]):
        there = recording not in said or Path(recording).exists()
        extent = read_extent(recording) if there else Extent(np.inf, (), ())
        length = min(float(said.get(recording, np.inf)), extent.duration)  # the file may have been cut off
        extents[recording] = extent._replace(duration=length, file_duration=extent.duration)
        stretches[recording] = [*marked.get(recording, ()), *extent.bad]
        gaps[recording] = [*joints.get(recording, ()), *(gap.onset for gap in extent.gaps)]
    return extents, stretches, gaps


def _contains_second_sound(events, anchors):
    """Mark windows that reach into the sound before or after their own in the same stream."""
    sounds = events[events["type"] == "sound"]
    second = np.zeros(len(anchors), bool)
    keys = ["recording", "stream"]
    places = anchors.groupby(keys, sort=False).indices
    for key, group in sounds.groupby(keys, sort=False):
        if key not in places:
            continue
        rows = places[key]
        onset = group["onset"].to_numpy()
        end = onset + group["duration"].to_numpy() * clock_rate(group)
        start = anchors["onset"].to_numpy()[rows]
        stop = start + anchors["duration"].to_numpy()[rows]
        heard = np.searchsorted(onset, stop - 1e-6) - np.searchsorted(end, start + 1e-6, side="right")
        second[rows] = heard > 1
    return second


# --- names of what is left out -------------------------------------------------------------------------


def _lost(events, anchors, reasons, free, extents, anchor, margin):
    """Name recordings, subjects and sounds of which nothing is left: a text that begins with a space, or ""."""
    people = events.drop_duplicates("recording").set_index("recording")["subject"]
    rows = anchors.groupby("recording", sort=False).indices
    causes, few = {}, []
    for recording in people.index:
        own = rows.get(recording, np.array([], int))
        if not len(own):
            causes[recording] = _without_anchor(events[events["recording"] == recording], anchor)
        elif not free[own].any():
            causes[recording] = _without_window(own, anchors, reasons, extents[recording], margin)
        elif 2 * free[own].sum() < len(own):
            few.append(f"{Path(recording).name!r} ({free[own].sum()} of {len(own)})")
    left = set(people.drop(list(causes)))
    gone = [who for who in pd.unique(people) if who not in left]
    texts = []
    if gone and left:
        texts.append(
            f"No window is left of subject{'s' * (len(gone) > 1)} {shorten_list(map(repr, gone), NAMED)}."
        )
    if causes:
        named = [f"{Path(recording).name!r} {cause}" for recording, cause in list(causes.items())[:NAMED]]
        more = f" (and {len(causes) - NAMED} more)" if len(causes) > NAMED else ""
        texts.append(
            f"No window is left in {len(causes)} of {len(people)} recordings{more}: {'; '.join(named)}."
        )
    if few:
        texts.append(f"Less than half of the windows are left in {shorten_list(few, NAMED)}.")
    return "".join(f" {text}" for text in texts)


def _without_anchor(rows, anchor):
    sounds = rows[rows["type"] == "sound"]
    if anchor == "word":
        return "has no row of type 'word'"
    if sounds.empty:
        return "has no row of type 'sound'"
    return f"has no sound as long as a window, the longest lasts {sounds['duration'].max():.2f} s"


def _without_window(own, anchors, reasons, extent, margin):
    counts = [
        f"{mask[own].sum()} of {len(own)} {reason}" for reason, mask in reasons.items() if mask[own].any()
    ]
    start = anchors["onset"].to_numpy()[own]
    stop = start + anchors["duration"].to_numpy()[own]
    is_said = np.isfinite(extent.file_duration) and extent.duration < extent.file_duration - LAST_STEP
    text = f"({', '.join(counts)}; it lasts {extent.duration:.3f} s"
    if is_said:
        text += f" by the column recording_duration, {extent.file_duration:.3f} s by its file"
    text += f", its windows are from {start.min():.3f} to {stop.max():.3f} s"
    if (lasts := float((stop - start)[0])) > extent.duration:
        return f"{text}; a window lasts {lasts:.3f} s, tmin and tmax are in seconds)"
    if (margin >= 30 or 2 * margin >= extent.duration) and start.min() < extent.duration:
        text += f"; margin={margin:g} is in seconds"
    hint = "" if is_said else guess_unit(stop.max(), extent.duration, extent.sfreq, extent.first_time)
    return f"{text}.{hint})" if hint else f"{text})"


def _lost_sounds(events, anchors, free, anchor):
    """Name sounds of which no window is left, in no recording or in some that have windows of other sounds."""
    inside = events[events["recording"].isin(anchors.loc[free, "recording"])]
    inside = inside[inside["stream"].isin(anchors["stream"])]  # nobody wrote down the words of another talker
    played = inside.loc[inside["type"] == "sound", ["sound", "recording"]].drop_duplicates()
    if anchor != "word":  # sounds that are shorter than a window have none
        played = played[played["sound"].isin(set(anchors["sound"]))]
    kept = anchors.loc[free, ["sound", "recording"]]
    everywhere = ~played["sound"].isin(set(kept["sound"]))
    pairs = set(zip(kept["sound"], kept["recording"], strict=True))
    here = [pair not in pairs for pair in zip(played["sound"], played["recording"], strict=True)]
    names = [repr(stimulus_name(sound)) for sound in pd.unique(played.loc[everywhere, "sound"])]
    names += [
        f"{stimulus_name(row.sound)!r} in {Path(row.recording).name!r}"
        for row in played[~everywhere & np.array(here, bool)].itertuples()
    ]
    return f" No window is left of the sounds {shorten_list(names, NAMED)}." if names else ""
