"""Concurrent streams: stimuli of several talkers at once."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s.events._check_events import check_events
from sk_b2s.events._stimuli import digest_stimuli, make_stimulus_id
from sk_b2s.events._table_times import get_table_times_clock_rate


def find_concurrent_stream_stimuli(events, windows, stream):
    """Find what a concurrent stream played during windows of recordings.

    Parameters
    ----------
    events : DataFrame
        A checked events table.
    windows : DataFrame of shape (n_windows, ...)
        ``recording``, ``onset`` and ``duration`` in seconds.
    stream : str
        Name of the concurrent stream.

    Returns
    -------
    found : DataFrame of shape (n_windows, 3)
        ``sound``, ``sound_onset`` in seconds and ``segment``, an integer that
        is equal for equal stretches to 10 ms. A window that is not completely
        inside a stimulus of the stream has None, NaN and -1.
    """
    sounds = events[(events["type"] == "sound") & (events["stream"] == stream)].sort_values("onset")
    sound, place = np.full(len(windows), None, dtype=object), np.full(len(windows), np.nan)
    onset, length = windows["onset"].to_numpy(float), windows["duration"].to_numpy(float)
    recording = windows["recording"].astype(str)
    rows_of = recording.groupby(recording.to_numpy(), sort=False).indices
    for name, played in sounds.groupby(sounds["recording"].astype(str), sort=False):
        if name not in rows_of:
            continue
        rows, rate = rows_of[name], get_table_times_clock_rate(played)
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
        make_stimulus_id("beside", digest, round(p, 2))
        for digest, p in zip(digest_stimuli(sound[known]), place[known].tolist(), strict=True)
    ]
    columns = {"sound": sound, "sound_onset": place, "segment": segment}
    return pd.DataFrame(columns, index=windows.index)


def concurrent_stream(X, y, events, stream="ignored"):
    """Return the segments of a concurrent stream during each window.

    In experiments with two talkers, ``y`` has the segments of the attended
    talker. This function returns those of the other talker, for
    :func:`~sk_b2s.attention_decision_accuracy` or as candidates.

    Parameters
    ----------
    X : DataFrame of shape (n_windows, ...)
        EEG/MEG windows with ``recording`` and ``onset``.
    y : DataFrame of shape (n_windows, ...)
        Attended segments, one row per window.
    events : DataFrame
        Events table that ``X`` and ``y`` were made from, with stimuli of
        another ``stream``.
    stream : str, default="ignored"
        Name of the concurrent stream.

    Returns
    -------
    other : DataFrame of shape (n_windows, ...)
        ``duration, sound, sound_onset, segment`` and ``stream``, with the
        index of ``y``. A window that is not completely inside a stimulus of
        the stream has the sound None, the onset NaN and the segment -1.

    Raises
    ------
    ValueError
        If ``events`` has no stimulus of the stream.
    """
    events = check_events(events)
    if not ((events["type"] == "sound") & (events["stream"] == stream)).any():
        raise ValueError(
            f"events has no stimulus in the stream {stream!r}. It has the streams {sorted(set(events['stream']))}."
        )
    windows = X[["recording", "onset"]].assign(duration=y["duration"].to_numpy())
    other = find_concurrent_stream_stimuli(events, windows, stream).set_axis(y.index).assign(stream=stream)
    other.insert(0, "duration", windows["duration"].to_numpy())
    return other
