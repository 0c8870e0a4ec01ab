"""What the steps ask of a table of segments: that it is one, and how long its windows are."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pandas as pd

__all__ = ["check_rows", "explained", "is_segment_table", "recordings_of", "steps_in", "window_length"]


def steps_in(duration, sfreq):
    """Steps of a window, floor(duration · sfreq) + 1: 343 for 2.85 s at 120 Hz, as in the paper."""
    return int(np.floor(duration * sfreq + 1e-6)) + 1


def window_length(table, sfreq):
    """Steps of the windows of a table, which must have one duration."""
    durations = table["duration"].unique()
    if len(durations) != 1:
        raise ValueError(
            f"all rows must have one duration, got {sorted(durations)[:5]} s; make them by one call of make_segments."
        )
    return steps_in(float(durations[0]), sfreq)


def is_segment_table(X):
    """Tell a table of segments from a table of numbers."""
    return isinstance(X, pd.DataFrame) and {"recording", "onset", "duration"} <= set(X.columns)


def recordings_of(rows):
    """Label the recording of each window; recordings of two people are two, however they are named."""
    if "subject" not in rows:
        return rows["recording"].to_numpy(dtype=object)
    return np.array(
        [f"{who}, {name}" for who, name in zip(rows["subject"], rows["recording"], strict=True)], object
    )


def check_rows(X):
    """Check that every row of a table of segments says when it is."""
    if not len(X):
        raise ValueError(
            "the table of segments has no rows, so no window's length is known; give one row at least."
        )
    for column in ("onset", "duration"):
        number = pd.to_numeric(X[column], errors="coerce").to_numpy(float)
        if lost := np.flatnonzero(~np.isfinite(number)).tolist():
            raise ValueError(
                f"{column!r} must hold seconds in every row, but row {X.index.tolist()[lost[0]]!r} holds "
                f"{X[column].iloc[lost[0]]!r} ({len(lost)} such rows); drop them: X[X[{column!r}].notna()]."
            )


@contextmanager
def explained(X):
    """Say of a table that is none of numbers what it lacks to be one of segments."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if not isinstance(X, pd.DataFrame) or X.select_dtypes(exclude=["number", "bool"]).empty:
            raise
        missing = [name for name in ("recording", "onset", "duration") if name not in X.columns]
        swapped = " It has 'sound_onset': were X and y swapped?" if "sound_onset" in X.columns else ""
        raise ValueError(
            f"X must be a table of segments with the columns recording, onset and duration, or numbers; the columns "
            f"{missing} are missing.{swapped}"
        ) from error
