"""Calibration split: the first minutes of each subject."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from sk_b2s._utils._validation import recordings_of, table_of
from sk_b2s.events._intervals import count_new_seconds
from sk_b2s.model_selection._split import exclude_overlap

ROUNDING = 1e-6  # s


class CalibrationSplit:
    """What a new listener is learnt from, the first minutes of recording, and what is tested after them.

    Recordings follow one another by session, run and name, whose numbers count by size ("2" before "10").

    Parameters
    ----------
    X : DataFrame or Windows of shape (n_rows, ...)
        With ``recording``, ``onset`` and ``duration``.
    y : DataFrame or Windows of shape (n_rows, ...)
        What was heard; with ``block``, ``sound``, ``sound_onset`` and ``duration`` its sound is kept apart.
    amounts : sequence of float
        Minutes, infinity for all.
    test_size : float
        Share of the recorded time that is tested.
    gap : float
        Seconds between, of recording and of sound.

    Raises
    ------
    ValueError
        If X does not say when its windows were recorded.
    """

    def __init__(self, X, y, amounts, test_size, gap):
        table, heard = table_of(X), table_of(y)
        if missing := [c for c in ("recording", "onset", "duration") if table is None or c not in table]:
            raise ValueError(
                f"calibration_minutes are counted in recorded time, but X lacks {missing} (s); see make_segments."
            )
        self.amounts, self.test_size, self.gap, self.y = list(amounts), test_size, gap, y
        self.start = table["onset"].to_numpy(float)
        self.stop = self.start + table["duration"].to_numpy(float)
        self.recording = _chronological(table)
        known = heard is not None and "block" in heard
        self.block = heard["block"].to_numpy() if known else np.arange(len(table))

    def tested(self, rows, name):
        """Choose the last rows of a person, from the beginning of the block nearest to the share asked for.

        Parameters
        ----------
        rows : ndarray of int
            All rows of the person.
        name : str
            What messages call the person.

        Returns
        -------
        tested : ndarray of int
            In the order of the table.

        Raises
        ------
        ValueError
            If all rows are of one block.
        """
        rows = self._in_time(rows)
        edges = np.flatnonzero(
            (np.diff(self.recording[rows]) != 0) | (self.block[rows[1:]] != self.block[rows[:-1]])
        )
        if not len(edges):
            raise ValueError(
                f"{name} heard one block of sound, so nothing of it can be learnt before the rest is tested: give "
                f"more sound, or make_segments(block=...) with shorter blocks."
            )
        total = np.cumsum(self._gains(rows))
        edge = edges[np.argmin(abs(total[edges] - (1 - self.test_size) * total[-1]))]
        return np.sort(rows[edge + 1 :])

    def drawn(self, rows, tested, test, name):
        """Choose the rows of each amount: before the tested part, with a gap, and without sound of the test.

        Parameters
        ----------
        rows, tested : ndarray of int
            All rows of the person, and those of its tested part.
        test : ndarray of int
            Rows of the tested part that this fold tests.
        name : str
            What messages call the person.

        Returns
        -------
        drawn : list of ndarray of int
            For each amount rows in the order in which they were recorded, each the beginning of any larger one.

        Raises
        ------
        ValueError
            If there are fewer minutes than asked for, or none where all are.
        """
        own = self._in_time(np.setdiff1d(rows, tested))
        begin = pd.Series(self.start[tested]).groupby(self.recording[tested]).min()
        limit = begin.reindex(self.recording[own]).fillna(np.inf).to_numpy() - self.gap
        own = own[self.stop[own] <= limit + ROUNDING]
        own = exclude_overlap(self.y, own[~np.isin(self.block[own], self.block[test])], test, self.gap)
        total = np.cumsum(self._gains(own))
        return [own[: self._count(total, minutes, own, name)] for minutes in self.amounts]

    def _count(self, total, minutes, own, name):
        """How many of the rows make up so many minutes, to a window."""
        if minutes == 0:
            return 0
        there = total[-1] if len(total) else 0.0
        window = float((self.stop[own] - self.start[own]).max(initial=0.0))
        if not len(own) or minutes < np.inf and there < 60 * minutes - window:
            raise ValueError(
                f"calibration_minutes={minutes:g}: {name} has {there / 60:.2f} minutes before the tested part that "
                f"hold no sound of the test. Ask for fewer, or test less than test_size={self.test_size:g}; where "
                f"sessions repeat their sound, deal it to more folds by stimulus_folds."
            )
        if minutes == np.inf:
            return len(own)
        if not (count := int(np.searchsorted(total, 60 * minutes + ROUNDING, side="right"))):
            raise ValueError(f"calibration_minutes={minutes:g} are less than a window of {window:g} s.")
        return count

    def _in_time(self, rows):
        return rows[np.lexsort([self.start[rows], self.recording[rows]])]

    def _gains(self, rows):
        return count_new_seconds(self.recording[rows], self.start[rows], self.stop[rows])


def _chronological(table):
    """Number recordings by session, run and name: (n_rows,) array of int."""
    columns = [column for column in ("session", "run", "recording") if column in table]
    table = table.assign(recording=recordings_of(table))
    distinct = table.drop_duplicates("recording")
    keys = [[_natural(value) for value in row] for row in distinct[columns].itertuples(index=False)]
    rank = np.empty(len(keys), int)
    rank[sorted(range(len(keys)), key=keys.__getitem__)] = np.arange(len(keys))
    return pd.Series(rank, index=distinct["recording"].to_numpy()).loc[table["recording"]].to_numpy()


def _natural(value):
    """A text as a list of texts and numbers by turns, so that "run-2" comes before "run-10"."""
    parts = re.split(r"([0-9]+)", str(value))
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]
