"""Errors of events tables with row and column, and maps of distinct values."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s._utils._text import shorten_text, unwrap_scalar_for_text

LONG = 10.0  # s; longer than any word, and enough to infer a sampling rate from the duration of a file


def raise_for_table_rows(events, wrong, column, expected, hint=""):
    """Raise a ValueError for the first wrong row, if there is one."""
    wrong = np.asarray(wrong, bool)
    if wrong.any():
        row = np.flatnonzero(wrong)[0]
        more = f" ({wrong.sum() - 1} more such rows)" if wrong.sum() > 1 else ""
        raise ValueError(
            f"events row {unwrap_scalar_for_text(events.index[row])!r}, column {column!r}: expected {expected}. Got "
            f"{_format_table_value(events[column].iloc[row])}{more}.{hint}"
        )


def _format_table_value(value):
    """Format a value for a message."""
    return shorten_text(value) if isinstance(value, str) else repr(unwrap_scalar_for_text(value))


def map_distinct_table_row_values(column, function, missing=np.nan):
    """Apply a function once per distinct value: array of objects."""
    codes, distinct = pd.factorize(column)
    return np.array([*map(function, distinct), missing], object)[
        codes
    ]  # the code of a missing value is -1, the last entry
