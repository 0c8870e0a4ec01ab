"""Columns of tables of segments, checked."""

from __future__ import annotations

from numbers import Real

import numpy as np

__all__ = ["column_of", "seconds_of"]


def column_of(table, column, side="y"):
    """Return a column of a table of segments, or raise a ValueError that names it."""
    if column not in table:
        raise ValueError(
            f"{side} needs the column {column!r}, as make_segments returns it; it has {list(table.columns)[:8]}."
        )
    return table[column]


def seconds_of(table, column, side="y"):
    """Return a column of seconds as floats, or raise a ValueError that names the first row without a number.

    Parameters
    ----------
    table : DataFrame
    column : str
    side : str, default="y"
        Name of the table in messages.

    Returns
    -------
    seconds : ndarray of shape (n_rows,)
    """
    values = column_of(table, column, side)
    try:
        seconds = values.to_numpy(float)
    except (TypeError, ValueError):
        seconds = np.array([float(v) if isinstance(v, Real) else np.nan for v in values])
    if lost := np.flatnonzero(~np.isfinite(seconds)).tolist():
        raise ValueError(
            f"{side} row {table.index.tolist()[lost[0]]!r}, column {column!r}: expected a number of seconds, got "
            f"{values.iloc[lost[0]]!r} ({len(lost)} such rows). Correct these rows or drop them from X and y."
        )
    return seconds
