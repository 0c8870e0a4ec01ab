"""Candidate segments of retrieval, and checks of targets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from sk_b2s._utils._validation import validate_table
from sk_b2s.preprocessing._fingerprint import fingerprint_array_rows
from sk_b2s.preprocessing._windows._signals import load_signal
from sk_b2s.preprocessing._windows._windows import Windows


class Candidates(NamedTuple):
    """Distinct segments among which windows are ranked.

    Attributes
    ----------
    ids : ndarray of int of shape (n_candidates,)
        Column ``segment`` of a table, else the order of appearance.
    first : ndarray of int of shape (n_candidates,)
        First row of ``y`` with each segment.
    target : ndarray of int of shape (n_rows,)
        Candidate of each row of ``y``.
    """

    ids: np.ndarray
    first: np.ndarray
    target: np.ndarray


def find_distinct_candidates(y):
    """Find the distinct segments of targets, in order of first appearance.

    Tables (and Windows with one) are distinguished by the column ``segment``,
    other Windows by their position in the signals, arrays by their values.
    """
    table = validate_table(y)
    if table is not None and "segment" in table:
        keys = table["segment"].to_numpy()
    elif isinstance(y, pd.DataFrame):
        raise ValueError(
            f"y requires the column 'segment', as returned by make_segments. Its columns are {list(y.columns)[:8]}."
        )
    elif isinstance(y, Windows):
        keys = y.which * (1 + max(signal.shape[0] for signal in y.signals)) + y.start
    else:
        keys = fingerprint_array_rows(y)
    if pd.isna(keys).any():
        row = int(np.flatnonzero(pd.isna(keys))[0])
        raise ValueError(
            f"y, row {table.index[row]!r}, column 'segment' must identify a segment. Got {keys[row]!r} "
            f"({np.count_nonzero(pd.isna(keys))} such rows). Remove these rows from X and y."
        )
    target, distinct = pd.factorize(keys)
    first = np.unique(target, return_index=True)[1]
    ids = distinct if table is not None and "segment" in table else np.arange(len(distinct))
    return Candidates(np.asarray(ids), first, target)


def check_candidates_vary(targets, rows, owner):
    """Raise if all features of all stimuli of some rows are constant.

    ``targets`` are Windows of features. ``owner`` names the estimator.
    """
    used = np.unique(targets.which[rows])
    for index in used.tolist():
        data = load_signal(targets.signals[index])
        first, last = (0, len(data)) if targets.extent is None else targets.extent[index]
        if len(part := data[int(first) : int(last)]) and np.ptp(part, axis=0).any():
            return
    if len(used):
        raise ValueError(
            f"{owner}: all features of all {len(used)} stimuli in y are constant. Check that the audio files are "
            f"correct and not silent."
        )


def make_candidate_windows(y):
    """Make Windows of an array with one, two or three dimensions."""
    y = np.asarray(y)
    if y.dtype.kind not in "biuf" and len(y) and isinstance(first := y.flat[0], str):
        raise ValueError(
            f"y must be the table of segments by make_segments, or features of numbers. Got labels such as {str(first)!r}. "
            f"Decoders rank segments of speech instead of classes, see cross_val_classification for labels."
        )
    y = np.asarray(y, np.float32)
    return Windows.from_array(y.reshape(len(y), -1, y.shape[2] if y.ndim == 3 else 1))
