"""Candidate segments of a retrieval, and checks of targets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from sk_b2s._utils._validation import table_of
from sk_b2s.preprocessing._fingerprint import hash_rows
from sk_b2s.preprocessing._signals import load_signal
from sk_b2s.preprocessing._windows import Windows


class Candidates(NamedTuple):
    """Distinct segments to choose from.

    Attributes
    ----------
    ids : ndarray of int of shape (n_candidates,)
        Their identities: the column ``segment`` of a table, else their order of appearance.
    first : ndarray of int of shape (n_candidates,)
        Row of ``y`` in which each appears first.
    target : ndarray of int of shape (n_rows,)
        Candidate of each row of ``y``.
    """

    ids: np.ndarray
    first: np.ndarray
    target: np.ndarray


def find_distinct_segments(y):
    """Find the distinct segments of what was heard.

    Parameters
    ----------
    y : DataFrame, Windows or ndarray of shape (n_rows, ...)
        A table (or Windows with one) is told apart by its column ``segment``, other Windows by their
        place in their signals, arrays by their values.

    Returns
    -------
    candidates : Candidates
        In order of first appearance.

    Raises
    ------
    ValueError
        If a table has no column ``segment``.
    """
    table = table_of(y)
    if table is not None and "segment" in table:
        keys = table["segment"].to_numpy()
    elif isinstance(y, pd.DataFrame):
        raise ValueError(
            f"y needs the column 'segment', as make_segments returns it; it has {list(y.columns)[:8]}."
        )
    elif isinstance(y, Windows):
        keys = y.which * (1 + max(signal.shape[0] for signal in y.signals)) + y.start
    else:
        keys = hash_rows(y)
    if pd.isna(keys).any():
        row = int(np.flatnonzero(pd.isna(keys))[0])
        raise ValueError(
            f"y row {table.index[row]!r}, column 'segment': expected the identity of a segment, got {keys[row]!r} "
            f"({np.count_nonzero(pd.isna(keys))} such rows); drop them from X and y alike."
        )
    target, distinct = pd.factorize(keys)
    first = np.unique(target, return_index=True)[1]
    ids = distinct if table is not None and "segment" in table else np.arange(len(distinct))
    return Candidates(np.asarray(ids), first, target)


def check_targets_vary(targets, rows, owner):
    """Raise if no feature of the sounds changes over time, so that there is nothing to learn.

    Parameters
    ----------
    targets : Windows of shape (n_rows, n_features, n_frames)
        Features, of sounds that count within ``extent``.
    rows : array-like of int
        Those to learn from.
    owner : str
        What the message calls the estimator.

    Raises
    ------
    ValueError
        If every feature of every sound of ``rows`` is constant.
    """
    used = np.unique(targets.which[rows])
    for index in used.tolist():
        data = load_signal(targets.signals[index])
        first, last = (0, len(data)) if targets.extent is None else targets.extent[index]
        if len(part := data[int(first) : int(last)]) and np.ptp(part, axis=0).any():
            return
    if len(used):
        raise ValueError(
            f"{owner}: all features of all {len(used)} sounds in y are constant from beginning to end, so there is "
            f"nothing to learn. Are the sounds silent, or the wrong ones?"
        )


def make_target_windows(y):
    """Wrap numbers (n,), (n, n_features) or (n, n_features, n_frames) as Windows."""
    y = np.asarray(y, np.float32)
    return Windows.from_array(y.reshape(len(y), -1, y.shape[2] if y.ndim == 3 else 1))
