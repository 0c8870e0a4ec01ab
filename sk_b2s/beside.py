"""Several talkers at once: where in another talker's sound a window of the recording lies."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s.events import clock_rate
from sk_b2s.stimuli import digests, stable_id

__all__ = ["sounds_beside"]


def sounds_beside(events, windows, stream):
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
        for digest, p in zip(digests(sound[known]), place[known].tolist(), strict=True)
    ]
    columns = {"sound": sound, "sound_onset": place, "segment": segment}
    return pd.DataFrame(columns, index=windows.index)
