"""Overlap of windows in time, on stimuli, recordings or samples."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s._utils._validation import validate_seconds, validate_table
from sk_b2s.events._intervals import unite_intervals
from sk_b2s.preprocessing._windows._windows import Windows

NEEDED = ("sound", "sound_onset", "duration")
HEARD = {"blocks": "block", "sentences": "sequence", "segments": "segment"}  # columns of y
EXACT = 1e-6  # s; windows that share less are adjacent


def make_overlap_line_table(X, y):
    """Return the table of stimuli, or hashes of the rows of features."""
    table, brain = validate_table(y), validate_table(X)
    if table is None or not {*NEEDED, *HEARD.values()} & set(table):
        known = {"segment": _number_equal_rows(y)} if has_overlap_line_frames(y) else {}
        return pd.DataFrame(known, index=range(len(y)))
    if "duration" not in table and brain is not None and "duration" in brain:
        return table.assign(duration=brain["duration"].to_numpy())
    return table


def has_overlap_line_frames(y):
    """Return whether y is an array of features over time.

    Equal rows then mean equal stimuli. Rows of one frame, such as embeddings
    of words, are equal for each occurrence of a word.
    """
    return not isinstance(y, (Windows, pd.DataFrame)) and np.ndim(y) == 3 and np.shape(y)[2] > 1


def _number_equal_rows(y):
    """Number distinct rows of features, NaN for constant rows."""
    values = np.asarray(y)
    values = (
        values.reshape(len(values), -1) + 0
        if values.dtype.kind in "biuf"
        else values.reshape(len(values), -1)
    )
    codes = pd.factorize(pd.Series([row.tobytes() for row in values], dtype=object))[0]
    return np.where((values == values[:, :1]).all(1), np.nan, codes)


def make_overlap_line(table, sound, shift, y):
    """Make the time line of the stimuli of rows, None if unknown."""
    if sound is not None and set(NEEDED) <= set(table):
        return OverlapLine(
            sound, validate_seconds(table, "sound_onset") + shift, validate_seconds(table, "duration")
        )
    return make_overlap_line_of_windows(y)


def make_overlap_line_of_windows(data):
    """Make the time line of Windows, None if their times are unknown."""
    if not isinstance(data, Windows) or not len(data):
        return None
    lengths = np.array([signal.shape[0] for signal in data.signals])
    if not (data.start % data.n_read).any() and not (lengths[np.unique(data.which)] % data.n_read).any():
        return None  # Windows.from_array concatenates windows of unknown times
    rate = data.sfreq or 1.0
    return OverlapLine(data.which, data.start / rate, np.full(len(data), data.n_read / rate))


class OverlapLine:
    """Windows of several stimuli on one time axis, with gaps between them."""

    def __init__(self, code, start, duration):
        start = np.asarray(start, float)
        stop = start + np.asarray(duration, float)
        first = pd.Series(start).groupby(code).min().to_numpy()
        extent = pd.Series(stop).groupby(code).max().to_numpy() - first
        self.apart = extent.max() + 1.0
        place = np.cumsum(np.r_[0.0, extent[:-1] + self.apart])
        self.start, self.stop = start - first[code] + place[code], stop - first[code] + place[code]
        self.order = np.argsort(self.start, kind="stable")

    def spans(self, mask):
        """Compute the union of the windows of a mask: starts and stops."""
        rows = self.order[mask[self.order]]
        return unite_intervals(self.start[rows], self.stop[rows])

    def shared(self, train, test):
        """Compute the seconds that both masks share."""
        one, two, both = (np.subtract(*self.spans(m)[::-1]).sum() for m in (train, test, train | test))
        shared = one + two - both
        return float(shared) if shared > EXACT else 0.0

    def nearest(self, train, test):
        """Compute distances of test windows to training, and any overlap."""
        begin, end = self.spans(train)
        start, stop = self.start[test], self.stop[test]
        after = np.searchsorted(end, start + EXACT, side="right")
        ahead = np.r_[begin, np.inf][after] - stop
        behind = start - np.r_[-np.inf, end][after]
        distance = np.maximum(np.minimum(ahead, behind), 0.0).round(6)
        return np.where(distance < self.apart - EXACT, distance, np.inf), ahead < -EXACT
