"""Intervals of stimuli, their union and overlap."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s._utils._validation import get_validated_recordings, validate_column, validate_seconds
from sk_b2s.events._stimuli import NOT_FILES, digest_stimuli, identify_stimuli


class StimulusIntervals:
    """Stretches of stimuli that a table of segments contains.

    Parameters
    ----------
    intervals : dict of str to ndarray of shape (n_intervals, 2)
        Sorted, disjoint intervals in seconds for the digest of each stimulus.
    copies : iterable of str, default=()
        Digests of copies of other stimuli in ``intervals``. Their seconds are
        not counted again.

    Attributes
    ----------
    copies : tuple of str
        The sorted, distinct digests.
    files : dict of str to str
        Audio file of each digest, on this computer only.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from sk_b2s.events import StimulusArray
    >>> story = StimulusArray(np.zeros(640), sfreq=64)
    >>> table = pd.DataFrame({"sound": [story] * 3, "duration": 2.0,
    ...                       "sound_onset": [0.0, 1.0, 6.0]})
    >>> training = StimulusIntervals.from_table(table[:2])
    >>> training.seconds
    3.0
    >>> training.touches(table).tolist()
    [True, True, False]
    """

    def __init__(self, intervals, copies=()):
        self.intervals, self.copies = intervals, tuple(sorted({str(key) for key in copies}))
        self.files = {}  # not saved

    @classmethod
    def from_table(cls, table, blocks=False):
        """Compute the union of the segments of a table.

        Parameters
        ----------
        table : DataFrame
            Columns ``sound``, ``sound_onset`` and ``duration``.
        blocks : bool, default=False
            If True, add the whole block of each row (``block_start`` to
            ``block_stop``).

        Returns
        -------
        intervals : StimulusIntervals
        """
        own = digest_stimuli(validate_column(table, "sound"))
        start = validate_seconds(table, "sound_onset")
        stop = start + validate_seconds(table, "duration")
        parts = [(own, start, stop)]
        if blocks and {"block_start", "block_stop"} <= set(table.columns):
            parts.append((own, table["block_start"].to_numpy(float), table["block_stop"].to_numpy(float)))
        key, shift = identify_stimuli(table, own)
        copied = key != own
        if copied.any():  # in their own time and in that of the original
            parts += [(key[copied], (a + shift)[copied], (b + shift)[copied]) for _, a, b in parts]
        new = cls.from_spans(*(np.concatenate(part) for part in zip(*parts, strict=True)), own[copied])
        distinct = table["sound"].reset_index(drop=True).drop_duplicates()
        new.files = {own[i]: sound for i, sound in distinct.items() if not isinstance(sound, NOT_FILES)}
        return new

    @classmethod
    def from_spans(cls, key, start, stop, *parts):
        """Compute the union of intervals.

        Parameters
        ----------
        key : ndarray of str of shape (n_spans,)
            Digest of the stimulus of each interval.
        start, stop : ndarray of shape (n_spans,)
            Seconds.
        *parts : tuple
            Other arguments of the constructor.

        Returns
        -------
        intervals : StimulusIntervals
        """
        return cls(
            {
                k: np.column_stack(unite_intervals(start[rows], stop[rows]))
                for k, rows in _rows_of_each(key).items()
            },
            *parts,
        )

    def __or__(self, other):
        """Compute the union with other intervals."""
        both = {
            key: np.concatenate([part.intervals[key] for part in (self, other) if key in part.intervals])
            for key in self.intervals | other.intervals
        }
        new = StimulusIntervals(
            {key: np.column_stack(unite_intervals(*spans.T)) for key, spans in both.items()},
            {*self.copies, *other.copies},
        )
        new.files = {**self.files, **other.files}
        return new

    @property
    def seconds(self):
        """Total duration in seconds, without copies."""
        copies = set(self.copies)
        distinct = (spans for key, spans in self.intervals.items() if key not in copies)
        return float(sum(np.diff(spans, axis=1).sum() for spans in distinct))

    def touches(self, table, gap=0.0):
        """Return which windows overlap the intervals.

        Parameters
        ----------
        table : DataFrame of shape (n_windows, ...)
            Columns ``sound``, ``sound_onset`` and ``duration``.
        gap : float, default=0.0
            Windows within this many seconds of an interval also count.

        Returns
        -------
        mask : ndarray of bool of shape (n_windows,)
        """
        own = digest_stimuli(validate_column(table, "sound"))
        key, shift = identify_stimuli(table, own)
        start = validate_seconds(table, "sound_onset") - gap
        length = validate_seconds(table, "duration") + 2 * gap
        mask = self.overlap_spans(own, start, start + length)
        if (copied := key != own).any():
            start = start[copied] + shift[copied]
            mask[copied] |= self.overlap_spans(key[copied], start, start + length[copied])
        return mask

    def overlap_spans(self, key, start, stop):
        """Return which stretches of stimuli overlap the intervals.

        Parameters
        ----------
        key : ndarray of str of shape (n_spans,)
            Digest of the stimulus of each stretch.
        start, stop : ndarray of shape (n_spans,)
            Seconds.

        Returns
        -------
        mask : ndarray of bool of shape (n_spans,)
        """
        mask = np.zeros(len(key), bool)
        tolerance = 1e-9  # adjacent windows do not overlap
        for digest, rows in _rows_of_each(key).items():
            if (spans := self.intervals.get(digest)) is None:
                continue
            first = np.searchsorted(spans[:, 1], start[rows] + tolerance, side="right")
            inside = first < len(spans)
            mask[rows] = inside & (spans[np.minimum(first, len(spans) - 1), 0] < stop[rows] - tolerance)
        return mask


def _rows_of_each(key):
    """Return the row numbers of each distinct value: dict."""
    return pd.Series(key, dtype=object).groupby(key, sort=False).indices


def unite_intervals(start, stop):
    """Merge one or more intervals into sorted, disjoint starts and stops."""
    order = np.argsort(start, kind="stable")
    start, stop = start[order], np.maximum.accumulate(stop[order])
    new = np.flatnonzero(np.r_[True, start[1:] > stop[:-1]])
    return start[new], stop[np.r_[new[1:] - 1, len(stop) - 1]]


def count_new_interval_seconds(group, start, stop):
    """Compute the seconds that each interval adds to the earlier intervals.

    Parameters
    ----------
    group : ndarray of shape (n_intervals,)
        Recording of each interval. Intervals are sorted by group and start.
    start, stop : ndarray of shape (n_intervals,)
        Seconds.

    Returns
    -------
    seconds : ndarray of shape (n_intervals,)
        Their sum is the length of the union.
    """
    reached = pd.Series(stop).groupby(group).cummax().groupby(group).shift().fillna(-np.inf)
    return np.maximum(0.0, stop - np.maximum(start, reached.to_numpy()))


def sum_recorded_intervals(rows):
    """Compute the recorded time that windows cover, without counting it twice.

    Parameters
    ----------
    rows : DataFrame of shape (n_windows, ...)
        ``recording``, ``onset`` and ``duration`` in seconds, and ``subject``
        if recordings of several subjects have the same name.

    Returns
    -------
    seconds : float

    Examples
    --------
    >>> windows = pd.DataFrame({"recording": list("aab"),
    ...                         "onset": [0.0, 1.0, 0.0]})
    >>> sum_recorded_intervals(windows.assign(duration=3.0))
    7.0
    """
    start, code = rows["onset"].to_numpy(float), pd.factorize(get_validated_recordings(rows))[0]
    stop, order = start + rows["duration"].to_numpy(float), np.lexsort([start, code])
    return float(count_new_interval_seconds(code[order], start[order], stop[order]).sum())


GAP = 1.0  # s between training and test stimuli
