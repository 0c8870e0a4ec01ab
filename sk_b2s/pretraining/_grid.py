"""Windows on a regular grid over whole recordings."""

from __future__ import annotations

from numbers import Real

import numpy as np
import pandas as pd

from sk_b2s._utils._text import shorten_list
from sk_b2s.events._check_events import check_events
from sk_b2s.events._images import list_image_types
from sk_b2s.events._table_times import get_table_times_clock_rate
from sk_b2s.preprocessing._fitting_windows import find_faults_of_fitting_windows, read_fitting_extents
from sk_b2s.preprocessing._segments import RECORDING_COLUMNS, find_segment_extents

EXACT = 1e-6  # s


def make_grid_segments(events, duration=3.0, step=None, subjects=None, margin=0.5, reject_by_annotation=True):
    """Cut whole recordings into windows on a regular grid, without labels.

    Parameters
    ----------
    events : DataFrame
        An events table, see :func:`check_events`. Its stimuli may be missing.
    duration : float, default=3.0
        Duration of a window in seconds.
    step : float, default=None
        Distance between the onsets of windows in seconds. If None,
        ``duration``, so that the windows adjoin each other.
    subjects : str or sequence of str, default=None
        Subjects whose recordings are cut. If None, all subjects. Leave out
        subjects that are tested later.
    margin : float, default=0.5
        Minimum distance in seconds of windows from the ends of the recording,
        from bad stretches and from gaps, as in
        :func:`~sk_b2s.make_segments`.
    reject_by_annotation : bool, default=True
        If True, exclude windows that touch an event of type "bad" or an
        annotation that begins with "bad". Windows across a gap are always
        excluded. A new grid begins after each of them.

    Returns
    -------
    X : DataFrame of shape (n_windows, ...)
        * ``recording, subject, session, study`` and other columns of
          :func:`~sk_b2s.make_segments`, if present;
        * ``onset, duration``, the window in seconds of the recording;
        * ``heard_start, heard_stop``, between which stimuli play, so that
          scalers use the same part of the recording as for labeled windows;
        * ``sound, sound_onset``, the stimulus with the largest part in the
          window and the time of the window in it, None and NaN in silence;
        * ``images``, a tuple of the images, or stimuli of other types, that
          are presented in the window, if the events have any.
          :class:`MaskedEncoder` does not train on stimuli, but stores them for
          :func:`~sk_b2s.check_leakage`.

    Raises
    ------
    ValueError
        If a parameter or subject is invalid, or no window remains.

    Examples
    --------
    >>> import pandas as pd
    >>> from sk_b2s import make_grid_segments
    >>> events = pd.DataFrame({
    ...     "type": ["bad"], "onset": 10.0, "duration": 1.0, "subject": "01",
    ...     "recording": "a.fif", "recording_duration": 20.0,
    ... })
    >>> make_grid_segments(events)["onset"].tolist()
    [0.5, 3.5, 6.5, 11.5, 14.5]
    """
    step = duration if step is None else step
    for name, value, minimum in (("duration", duration, EXACT), ("step", step, EXACT), ("margin", margin, 0)):
        if not (isinstance(value, Real) and minimum <= value < np.inf):
            raise ValueError(f"{name} must be a number of seconds of at least {minimum:g}. Got {value!r}.")
    events = check_events(events)
    if subjects is not None:
        subjects = [subjects] if isinstance(subjects, str) else list(subjects)
        if unknown := sorted(set(subjects) - set(events["subject"])):
            raise ValueError(
                f"subjects must be in the column 'subject' of events. Got {shorten_list(map(repr, unknown), 8)}. Known "
                f"subjects are {shorten_list(map(repr, sorted(set(events['subject']))), 20)}."
            )
        events = events[events["subject"].isin(subjects)].reset_index(drop=True)
    columns = [column for column in RECORDING_COLUMNS if column in events]
    recordings = events[columns].drop_duplicates("recording").reset_index(drop=True)
    extents, stretches, gaps = read_fitting_extents(events, recordings)
    found = extents, stretches if reject_by_annotation else dict.fromkeys(stretches, ()), gaps
    rows = pd.concat(
        [recordings.iloc[[i]].merge(_make_grid_windows(found, name, duration, step, margin), how="cross")
         for i, name in enumerate(recordings["recording"])],
        ignore_index=True,
    )  # fmt: skip
    faults = find_faults_of_fitting_windows(rows, margin, True, *found, np.zeros(len(rows), bool))
    keep = ~np.any(list(faults.values()), axis=0)
    if not keep.any():
        longest = max(extent.duration for extent in extents.values())
        raise ValueError(
            f"make_grid_segments found no window of {duration:g} s with margin={margin:g} s in {len(recordings)} "
            f"recordings. The longest one has {longest:.3f} s. Make windows shorter, or check gaps and bad stretches."
        )
    rows = rows[keep].reset_index(drop=True).join(find_segment_extents(events), on="recording")
    return _add_images_to_grid(_add_stimuli_to_grid(rows, events), events)


def _make_grid_windows(found, recording, duration, step, margin):
    """Return the windows of a recording, a new grid after each bad stretch."""
    extents, stretches, gaps = found
    extent = extents[recording]
    if not np.isfinite(extent.duration):
        raise ValueError(
            f"The duration of the recording {recording!r} is unknown. Add the column recording_duration, or check its "
            f"path."
        )
    blocks = [(begin, begin + length) for begin, length in stretches[recording]]
    blocks += [(at, at) for at in gaps[recording] if np.isfinite(at)]
    edges = sorted(blocks) + [(extent.duration, np.inf)]
    begin, onsets = 0.0, []
    for stop, resume in edges:
        free = min(stop, extent.duration) - margin - duration
        onsets.append(np.arange(begin + margin, free + EXACT, step))
        begin = max(begin, resume)
    return pd.DataFrame({"onset": np.concatenate(onsets), "duration": float(duration)})


def _add_images_to_grid(rows, events):
    """Add the images that are presented in each window."""
    shown = events[events["type"].isin(list_image_types(events))].sort_values("onset", kind="stable")
    if shown.empty:
        return rows
    images = pd.Series([()] * len(rows), index=rows.index, dtype=object)
    parts = dict(iter(shown.groupby("recording")))
    for recording, own in rows.groupby("recording", sort=False):
        if recording not in parts:
            continue
        part = parts[recording]
        begin, end = (part["onset"] + shift for shift in (0.0, part["duration"]))
        for index, start in own["onset"].items():
            is_inside = (begin < start + own["duration"][index]) & (end >= start)
            images[index] = tuple(part["sound"][is_inside].unique())
    return rows.assign(images=images)


def _add_stimuli_to_grid(rows, events):
    """Add the stimulus with the largest part in each window."""
    sounds = events[events["type"] == "sound"]
    rows = rows.assign(sound=None, sound_onset=np.nan)
    best = np.zeros(len(rows))
    places = rows.groupby("recording", sort=False).indices
    rate = np.broadcast_to(get_table_times_clock_rate(sounds), len(sounds))
    for sound, pace in zip(sounds.itertuples(), rate, strict=True):
        own = places.get(sound.recording, np.zeros(0, int))
        onset, length = rows["onset"].to_numpy()[own], rows["duration"].to_numpy()[own]
        shared = np.minimum(onset + length, sound.onset + sound.duration * pace) - np.maximum(
            onset, sound.onset
        )
        own, onset, shared = (part[shared > best[own] + EXACT] for part in (own, onset, shared))
        best[own] = shared
        rows.loc[own, "sound"] = pd.Series([sound.sound] * len(own), index=own, dtype=object)
        rows.loc[own, "sound_onset"] = sound.sound_onset + (onset - sound.onset) / pace
    return rows
