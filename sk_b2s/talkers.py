"""Two talkers at once: beside each window what the other one said."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s.events import clock_rate
from sk_b2s.stimuli import digests, stable_id

__all__ = ["other_talker", "place_beside"]

BESIDE = ["beside_sound", "beside_onset", "beside_stream"]


def place_beside(windows, events, stream):
    """Add to windows of one stream the sound that plays beside them all the while.

    Parameters
    ----------
    windows : DataFrame of shape (n_windows, ...)
        ``recording, onset, duration``, in the recording.
    events : DataFrame
        An events table of all streams.
    stream : str
        That of the windows.

    Returns
    -------
    windows : DataFrame of shape (n_windows, ...)
        With ``beside_sound``, ``beside_onset`` (s, in that sound, where the window starts) and
        ``beside_stream``, missing where no other sound plays from its start to its end. Of several the
        last begun is taken. Unchanged if there is no other stream.
    """
    others = events[(events["type"] == "sound") & (events["stream"] != stream)].sort_values("onset")
    if others.empty:
        return windows
    start = windows["onset"].to_numpy(float)
    stop = start + windows["duration"].to_numpy(float)
    sound, name = np.full(len(windows), None, object), np.full(len(windows), None, object)
    begin = np.full(len(windows), np.nan)
    places = windows.reset_index(drop=True).groupby("recording", sort=False).indices
    for recording, played in others.groupby("recording", sort=False):
        if recording not in places:
            continue
        onset, rate = played["onset"].to_numpy(), clock_rate(played)
        end = onset + played["duration"].to_numpy() * rate
        rows = places[recording]
        at = np.searchsorted(onset, start[rows] + 1e-6, side="right") - 1
        inside = (at >= 0) & (stop[rows] <= end[at] + 1e-6)
        rows, at = rows[inside], at[inside]
        sound[rows], name[rows] = played["sound"].to_numpy()[at], played["stream"].to_numpy()[at]
        begin[rows] = played["sound_onset"].to_numpy()[at] + (start[rows] - onset[at]) / rate[at]
    return windows.assign(beside_sound=sound, beside_onset=begin.round(6), beside_stream=name)


def other_talker(y):
    """Turn a table of segments to the talker beside: what the same windows would be had one listened to them.

    With it a fitted encoder tells which of two talkers was attended: windows whose similarity to their own
    row of ``y`` is above that to the row of ``other_talker(y)``.

    Parameters
    ----------
    y : DataFrame of shape (n_segments, ...)
        As :func:`make_segments` returns it with ``stream=`` from events of several streams; every row
        needs a sound beside it: ``y[y["beside_sound"].notna()]`` (and ``X`` likewise).

    Returns
    -------
    y : DataFrame of shape (n_segments, 5)
        ``sound, sound_onset, duration, segment, stream`` of the other talker, row by row.

    Raises
    ------
    ValueError
        If there is no such column, or a row has no sound beside it.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from sk_b2s import SoundArray, make_segments, other_talker
    >>> a, b = (SoundArray(np.full(640, level), sfreq=16, name=name) for level, name in enumerate("ab"))
    >>> events = pd.DataFrame({
    ...     "subject": "01", "recording": "a.fif", "recording_duration": 50.0, "type": "sound", "duration": 0,
    ...     "sound": [a, b], "onset": [2.0, 3.0], "stream": ["attended", "ignored"]})
    >>> X, y = make_segments(events, anchor=5.0, tmin=0, tmax=3, stream="attended")
    >>> heard = y["beside_sound"].notna()
    >>> other_talker(y[heard])[["sound_onset", "stream"]].head(2)
       sound_onset   stream
    1          4.0  ignored
    2          9.0  ignored
    """
    if missing := [column for column in BESIDE if column not in y]:
        raise ValueError(
            f"y has no {missing}: make_segments(events, stream='attended') adds them where events hold another stream."
        )
    if (alone := y["beside_sound"].isna()).any():
        raise ValueError(
            f"{alone.sum()} rows of y have no other talker all the while, the first is {y.index[alone][0]!r}; leave "
            f"them out of X and y: y[y['beside_sound'].notna()]."
        )
    other = y[[*BESIDE, "duration"]].set_axis(["sound", "sound_onset", "stream", "duration"], axis=1)
    keys = zip(digests(other["sound"]), (other["sound_onset"] * 100).round(), other["duration"], strict=True)
    segment = [stable_id("beside", digest, int(tick), f"{duration:g}") for digest, tick, duration in keys]
    other = other.assign(segment=pd.Series(segment, index=other.index, dtype="int64"))
    return other[["sound", "sound_onset", "duration", "segment", "stream"]]
