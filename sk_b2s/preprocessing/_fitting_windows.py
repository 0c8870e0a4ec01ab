"""Windows that fit into their recording, and warnings for those left out."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._text import shorten_list
from sk_b2s._utils._units import guess_unit
from sk_b2s.events._images import list_image_types
from sk_b2s.events._stimuli import stimulus_name
from sk_b2s.events._table_times import get_table_times_clock_rate
from sk_b2s.io._raw._gaps import IS_GAP
from sk_b2s.io._raw._recordings import Extent, read_recording_extent

LAST_STEP = (
    0.05  # s; a window of d seconds has floor(d · sfreq) + 1 samples, so the last one may begin at its end
)
MAX_NAMED = 20  # recordings in a message


def find_fitting_windows(events, anchors, margin=0.5, reject=True, anchor="word", everything=None):
    """Find the windows that can be read, and warn of the others.

    Parameters
    ----------
    events : DataFrame
        A checked events table.
    anchors : DataFrame of shape (n_windows, ...)
        Windows: ``recording, subject, stream, sound, onset, duration``.
    margin : float, default=0.5
        Minimum distance of windows from ends, bad stretches and gaps, in
        seconds.
    reject : bool, default=True
        If True, exclude windows that touch a bad stretch. Windows that cross
        a gap are always excluded.
    anchor : "word", "phoneme", "sentence", "image" or float, default="word"
        For messages.
    everything : DataFrame, default=None
        Table before the selection of a stream, for messages about recordings
        without windows. If None, ``events``.

    Returns
    -------
    keep : ndarray of bool of shape (n_windows,)

    Raises
    ------
    ValueError
        If no window remains.
    """
    anchors = anchors.reset_index(drop=True)
    extents, stretches, gaps = read_fitting_extents(events, anchors)
    # images may follow each other within a window, as in rapid serial presentation
    is_image = anchor in list_image_types(events)
    second = np.zeros(len(anchors), bool) if is_image else _contains_second_stimulus(events, anchors)
    masks = find_faults_of_fitting_windows(anchors, margin, reject, extents, stretches, gaps, second)
    reasons, free = {}, np.ones(len(anchors), bool)
    for reason, mask in masks.items():
        reasons[reason] = mask & free
        free &= ~mask
    counts = ", ".join(f"{mask.sum()} {reason}" for reason, mask in reasons.items() if mask.any())
    everything = events if everything is None else everything
    lost = _describe_excluded(everything, anchors, reasons, free, extents, anchor, margin)
    lost += _describe_excluded_stimuli(events, anchors, free, anchor)
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


def find_faults_of_fitting_windows(anchors, margin, reject, extents, stretches, gaps, second):
    """Return a mask of excluded windows for each reason: dict."""
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
        "contain a second stimulus": second,
    }


def read_fitting_extents(events, anchors):
    """Return extents, bad stretches and gaps of recordings: three dicts."""
    in_table = {}
    if "recording_duration" in events:
        in_table = events.groupby("recording", sort=False)["recording_duration"].first().dropna().to_dict()
    rows = events[events["type"] == "bad"]
    is_gap = rows["text"].map(
        lambda text: isinstance(text, str) and IS_GAP.fullmatch(text.strip()) is not None
    )
    is_gap = is_gap.to_numpy(bool)
    marked = {key: part[["onset", "duration"]].to_numpy() for key, part in rows[~is_gap].groupby("recording")}
    joints = {key: part["onset"].to_numpy() for key, part in rows[is_gap].groupby("recording")}
    extents, stretches, gaps = {}, {}, {}
    for recording in pd.unique(anchors["recording"]):
        is_readable = recording not in in_table or Path(recording).exists()
        extent = read_recording_extent(recording) if is_readable else Extent(np.inf, (), ())
        length = min(float(in_table.get(recording, np.inf)), extent.duration)  # the file may be truncated
        extents[recording] = extent._replace(duration=length, file_duration=extent.duration)
        stretches[recording] = [*marked.get(recording, ()), *extent.bad]
        gaps[recording] = [*joints.get(recording, ()), *(gap.onset for gap in extent.gaps)]
    return extents, stretches, gaps


def _contains_second_stimulus(events, anchors):
    """Return which windows contain another stimulus of the same stream."""
    sounds = events[events["type"] == "sound"]
    second = np.zeros(len(anchors), bool)
    keys = ["recording", "stream"]
    places = anchors.groupby(keys, sort=False).indices
    for key, group in sounds.groupby(keys, sort=False):
        if key not in places:
            continue
        rows = places[key]
        onset = group["onset"].to_numpy()
        end = onset + group["duration"].to_numpy() * get_table_times_clock_rate(group)
        start = anchors["onset"].to_numpy()[rows]
        stop = start + anchors["duration"].to_numpy()[rows]
        n_stimuli = np.searchsorted(onset, stop - 1e-6) - np.searchsorted(end, start + 1e-6, side="right")
        second[rows] = n_stimuli > 1
    return second


# --- messages about excluded recordings ----------------------------------------------------------------


def _describe_excluded(events, anchors, reasons, free, extents, anchor, margin):
    """Describe recordings and subjects without windows: str."""
    subjects = events.drop_duplicates("recording").set_index("recording")["subject"]
    rows = anchors.groupby("recording", sort=False).indices
    causes, few = {}, []
    for recording in subjects.index:
        own = rows.get(recording, np.array([], int))
        if not len(own):
            causes[recording] = _explain_no_anchor(events[events["recording"] == recording], anchor)
        elif not free[own].any():
            causes[recording] = _explain_no_window(own, anchors, reasons, extents[recording], margin)
        elif 2 * free[own].sum() < len(own):
            few.append(f"{Path(recording).name!r} ({free[own].sum()} of {len(own)})")
    left = set(subjects.drop(list(causes)))
    gone = [subject for subject in pd.unique(subjects) if subject not in left]
    texts = []
    if gone and left:
        texts.append(
            f"No window is left of subject{'s' * (len(gone) > 1)} {shorten_list(map(repr, gone), MAX_NAMED)}."
        )
    if causes:
        named = [f"{Path(recording).name!r} {cause}" for recording, cause in list(causes.items())[:MAX_NAMED]]
        more = f" (and {len(causes) - MAX_NAMED} more)" if len(causes) > MAX_NAMED else ""
        texts.append(
            f"No window is left in {len(causes)} of {len(subjects)} recordings{more}: {'; '.join(named)}."
        )
    if few:
        texts.append(f"Less than half of the windows are left in {shorten_list(few, MAX_NAMED)}.")
    return "".join(f" {text}" for text in texts)


def _explain_no_anchor(rows, anchor):
    sounds = rows[rows["type"] == "sound"]
    if anchor == "sentence":
        return "has no words with a sentence"
    if isinstance(anchor, str):
        return f"has no row of type {anchor!r}"
    if sounds.empty:
        return "has no row of type 'sound'"
    return f"has no stimulus as long as a window, the longest has {sounds['duration'].max():.2f} s"


def _explain_no_window(own, anchors, reasons, extent, margin):
    counts = [
        f"{mask[own].sum()} of {len(own)} {reason}" for reason, mask in reasons.items() if mask[own].any()
    ]
    start = anchors["onset"].to_numpy()[own]
    stop = start + anchors["duration"].to_numpy()[own]
    is_in_table = np.isfinite(extent.file_duration) and extent.duration < extent.file_duration - LAST_STEP
    text = f"({', '.join(counts)}. It has {extent.duration:.3f} s"
    if is_in_table:
        text += f" in the column recording_duration, but {extent.file_duration:.3f} s in its file"
    text += f", and windows are from {start.min():.3f} to {stop.max():.3f} s"
    if (lasts := float((stop - start)[0])) > extent.duration:
        return f"{text}. A window has {lasts:.3f} s, tmin and tmax are in seconds)"
    if (margin >= 30 or 2 * margin >= extent.duration) and start.min() < extent.duration:
        text += f". margin={margin:g} is in seconds"
    hint = "" if is_in_table else guess_unit(stop.max(), extent.duration, extent.sfreq, extent.first_time)
    return f"{text}.{hint})" if hint else f"{text})"


def _describe_excluded_stimuli(events, anchors, free, anchor):
    """Describe stimuli without windows in recordings with other windows."""
    inside = events[events["recording"].isin(anchors.loc[free, "recording"])]
    inside = inside[inside["stream"].isin(anchors["stream"])]  # words of another talker may be unknown
    kind = anchor if anchor in list_image_types(events) else "sound"
    played = inside.loc[inside["type"] == kind, ["sound", "recording"]].drop_duplicates()
    if not isinstance(anchor, str):  # a stimulus may be shorter than a window
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
    return f" No window is left of the stimuli {shorten_list(names, MAX_NAMED)}." if names else ""
