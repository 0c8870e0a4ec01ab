"""Errors that name a row of an events table, and functions of its distinct values."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s._utils._text import shorten_text, unwrap_scalar

LONG = 10.0  # s that no word lasts, and from which the length of a sound tells its sampling rate


def raise_for_rows(events, wrong, column, expected, hint=""):
    """Raise for the first wrong row."""
    wrong = np.asarray(wrong, bool)
    if wrong.any():
        row = np.flatnonzero(wrong)[0]
        more = f" ({wrong.sum() - 1} more such rows)" if wrong.sum() > 1 else ""
        raise ValueError(
            f"events row {unwrap_scalar(events.index[row])!r}, column {column!r}: expected {expected}, got "
            f"{_shown(events[column].iloc[row])}{more}.{hint}"
        )


def _shown(value):
    """Represent a value in a message, a long text by its ends."""
    return shorten_text(value) if isinstance(value, str) else repr(unwrap_scalar(value))


def map_distinct(column, function, missing=np.nan):
    """Map each distinct value once, as there are few among millions of rows: array of objects."""
    codes, distinct = pd.factorize(column)
    return np.array([*map(function, distinct), missing], object)[codes]  # -1, a missing one, takes the last
