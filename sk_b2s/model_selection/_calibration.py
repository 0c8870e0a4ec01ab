"""Calibration split: the first minutes of a held-out subject."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from sk_b2s._utils._validation import get_validated_recordings, validate_table
from sk_b2s.events._intervals import count_new_interval_seconds
from sk_b2s.model_selection._split import exclude_split_overlap

ROUNDING = 1e-6  # s


class CalibrationSplit:
    """Split of a subject into calibration minutes and a later test period.

    Recordings are ordered by session, run and name, with numbers in them by
    value ("2" before "10").

    Parameters
    ----------
    X : DataFrame or Windows of shape (n_rows, ...)
        EEG/MEG windows with ``recording``, ``onset`` and ``duration``.
    y : DataFrame or Windows of shape (n_rows, ...)
        Stimulus segments. Stimuli are held out if it has ``block``, ``sound``,
        ``sound_onset`` and ``duration``.
    amounts : sequence of float
        Calibration minutes, infinity for all.
    test_size : float
        Fraction of the recorded time that is tested.
    gap : float
        Least distance in seconds, in the recording and in the stimuli.

    Raises
    ------
    ValueError
        If X has no times of its windows.
    """

    def __init__(self, X, y, amounts, test_size, gap):
        table, segments = validate_table(X), validate_table(y)
        if missing := [c for c in ("recording", "onset", "duration") if table is None or c not in table]:
            raise ValueError(
                f"calibration_minutes are counted in recorded time, but X has no columns {missing} (s). Use X of "
                f"make_segments."
            )
        self.amounts, self.test_size, self.gap, self.y = list(amounts), test_size, gap, y
        self.start = table["onset"].to_numpy(float)
        self.stop = self.start + table["duration"].to_numpy(float)
        self.recording = _rank_recordings_by_time(table)
        has_blocks = segments is not None and "block" in segments
        self.block = segments["block"].to_numpy() if has_blocks else np.arange(len(table))

    def select_test(self, rows, name):
        """Return the rows of a subject that are tested, sorted.

        They begin with the block nearest to the requested fraction. ``name``
        is the subject in errors.
        """
        rows = self._in_time(rows)
        edges = np.flatnonzero(
            (np.diff(self.recording[rows]) != 0) | (self.block[rows[1:]] != self.block[rows[:-1]])
        )
        if not len(edges):
            raise ValueError(
                f"{name} has only one stimulus block, so no calibration is possible before the test period. Use more "
                f"stimuli, or make_segments(block=...) with shorter blocks."
            )
        total = np.cumsum(self._gains(rows))
        edge = edges[np.argmin(abs(total[edges] - (1 - self.test_size) * total[-1]))]
        return np.sort(rows[edge + 1 :])

    def select_calibration(self, rows, tested, test, name):
        """Return the calibration rows of each amount: list of ndarray of int.

        Rows end ``gap`` seconds before the test period and hold no stimulus of
        the test. They are in the order of recording, and smaller amounts are
        the beginning of larger ones.

        Parameters
        ----------
        rows, tested : ndarray of int
            All rows of the subject, and those of its test period.
        test : ndarray of int
            Rows of the test period that are tested in this fold.
        name : str
            Name of the subject in errors.

        Raises
        ------
        ValueError
            If fewer minutes are available than requested.
        """
        own = self._in_time(np.setdiff1d(rows, tested))
        begin = pd.Series(self.start[tested]).groupby(self.recording[tested]).min()
        limit = begin.reindex(self.recording[own]).fillna(np.inf).to_numpy() - self.gap
        own = own[self.stop[own] <= limit + ROUNDING]
        own = exclude_split_overlap(self.y, own[~np.isin(self.block[own], self.block[test])], test, self.gap)
        total = np.cumsum(self._gains(own))
        return [own[: self._count(total, minutes, own, name)] for minutes in self.amounts]

    def _count(self, total, minutes, own, name):
        """Return how many rows make up the minutes, up to one window."""
        if minutes == 0:
            return 0
        there = total[-1] if len(total) else 0.0
        window = float((self.stop[own] - self.start[own]).max(initial=0.0))
        if not len(own) or minutes < np.inf and there < 60 * minutes - window:
            raise ValueError(
                f"calibration_minutes={minutes:g}: {name} has only {there / 60:.2f} minutes before the test period "
                f"without stimuli of the test. Use fewer minutes, or a test_size below {self.test_size:g}. If sessions "
                f"repeat their stimuli, use more stimulus_folds."
            )
        if minutes == np.inf:
            return len(own)
        if not (count := int(np.searchsorted(total, 60 * minutes + ROUNDING, side="right"))):
            raise ValueError(f"calibration_minutes={minutes:g} must be at least one window of {window:g} s.")
        return count

    def _in_time(self, rows):
        return rows[np.lexsort([self.start[rows], self.recording[rows]])]

    def _gains(self, rows):
        return count_new_interval_seconds(self.recording[rows], self.start[rows], self.stop[rows])


def _rank_recordings_by_time(table):
    """Return the rank of each row's recording by session, run and name."""
    columns = [column for column in ("session", "run", "recording") if column in table]
    table = table.assign(recording=get_validated_recordings(table))
    distinct = table.drop_duplicates("recording")
    keys = [
        [_make_natural_sort_key(value) for value in row] for row in distinct[columns].itertuples(index=False)
    ]
    rank = np.empty(len(keys), int)
    rank[sorted(range(len(keys)), key=keys.__getitem__)] = np.arange(len(keys))
    return pd.Series(rank, index=distinct["recording"].to_numpy()).loc[table["recording"]].to_numpy()


def _make_natural_sort_key(value):
    """Return a sort key by which "run-2" comes before "run-10"."""
    parts = re.split(r"([0-9]+)", str(value))
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]
