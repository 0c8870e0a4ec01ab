"""Concurrent streams: stimuli of several talkers at once."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s.events._stimuli import digest_stimuli, stable_id
from sk_b2s.events._table import check_events
from sk_b2s.events._table_times import clock_rate


def find_concurrent_stimuli(events, windows, stream):
    """Find what another talker said during windows of recordings.

    Parameters
    ----------
    events : DataFrame
        A checked events table.
    windows : DataFrame of shape (n_windows, ...)
        ``recording``, ``onset`` and ``duration`` (s, in the recording).
    stream : str
        The other talker's.

    Returns
    -------
    beside : DataFrame of shape (n_windows, 3)
        ``sound, sound_onset`` (s, in the sound) and ``segment``, an integer equal for equal stretches of sound,
        to 10 ms. A window that does not lie in one of that talker's sounds as a whole has None, NaN and -1.
    """
    sounds = events[(events["type"] == "sound") & (events["stream"] == stream)].sort_values("onset")
    sound, place = np.full(len(windows), None, dtype=object), np.full(len(windows), np.nan)
    onset, length = windows["onset"].to_numpy(float), windows["duration"].to_numpy(float)
    recording = windows["recording"].astype(str)
    rows_of = recording.groupby(recording.to_numpy(), sort=False).indices
    for name, played in sounds.groupby(sounds["recording"].astype(str), sort=False):
        if name not in rows_of:
            continue
        rows, rate = rows_of[name], clock_rate(played)
        begin = played["onset"].to_numpy(float)
        at = np.searchsorted(begin, onset[rows] + 1e-6, side="right") - 1
        end = (begin + played["duration"].to_numpy(float) * rate)[at]
        inside = (at >= 0) & (onset[rows] + length[rows] <= end + 1e-6)
        rows, at = rows[inside], at[inside]
        sound[rows] = played["sound"].to_numpy(object)[at]
        place[rows] = played["sound_onset"].to_numpy(float)[at] + (onset[rows] - begin[at]) / rate[at]
    known = ~np.isnan(place)
    segment = np.full(len(windows), -1, np.int64)
    segment[known] = [
        stable_id("beside", digest, round(p, 2))
        for digest, p in zip(digest_stimuli(sound[known]), place[known].tolist(), strict=True)
    ]
    columns = {"sound": sound, "sound_onset": place, "segment": segment}
    return pd.DataFrame(columns, index=windows.index)


def concurrent_stream(X, y, events, stream="ignored"):
    """What another talker said during each window.

    Parameters
    ----------
    X : DataFrame of shape (n_windows, ...)
        What the brain did: ``recording`` and ``onset``.
    y : DataFrame of shape (n_windows, ...)
        What was attended to, row by row.
    events : DataFrame
        The events table both were made of, with sounds of another ``stream``.
    stream : str, default="ignored"
        The other talker's.

    Returns
    -------
    other : DataFrame of shape (n_windows, ...)
        Like ``y``, but ``sound, sound_onset, segment`` and ``stream`` are those of the other talker, and what is
        said of words, blocks and sentences is gone. A window that does not lie in one of that talker's sounds as
        a whole has None and NaN.

    Raises
    ------
    ValueError
        If no sound is of that stream.
    """
    events = check_events(events)
    if not ((events["type"] == "sound") & (events["stream"] == stream)).any():
        raise ValueError(f"events has no sound of stream {stream!r}, only {sorted(set(events['stream']))}.")
    windows = X[["recording", "onset"]].assign(duration=y["duration"].to_numpy())
    other = find_concurrent_stimuli(events, windows, stream).set_axis(y.index).assign(stream=stream)
    other.insert(0, "duration", windows["duration"].to_numpy())
    return other
