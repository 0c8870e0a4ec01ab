"""Validation of tables of segments, of their columns and of X with y."""

from __future__ import annotations

import numbers
from contextlib import contextmanager
from numbers import Real

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_consistent_length


def steps_in(duration, sfreq):
    """Steps of a window, floor(duration · sfreq) + 1: 343 for 2.85 s at 120 Hz, as in the paper."""
    return int(np.floor(duration * sfreq + 1e-6)) + 1


def _check_not_empty(table):
    if not len(table):
        raise ValueError(
            "the table of segments has no rows, so no window's length is known; give one row at least."
        )


def window_length(table, sfreq):
    """Steps of the windows of a table, which must have one duration."""
    durations = table["duration"].unique()
    _check_not_empty(table)
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
    _check_not_empty(X)
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


# --- X and y, row by row -----------------------------------------------------------------------------

SAME_PACE = 0.015  # s; largest difference between the steps of two rows in recording and stimulus
ENOUGH_PAIRS, SHARE_IN_STEP = 10, 0.3  # pairs of rows that are judged, and the share that must agree


def check_in_step(X, y):
    """Raise a ValueError if X and y differ in length or their rows belong to different windows.

    Tables are compared by their index. An index 0, 1, 2, ... says nothing once rows were selected, so times are
    compared there: from one window to the next in a recording, the stimulus must advance as the recording does.

    Parameters
    ----------
    X, y : DataFrame, Windows or array-like of shape (n_windows, ...)
        EEG/MEG windows and stimulus segments.
    """
    check_consistent_length(X, y)
    brain, heard = table_of(X), table_of(y)
    if brain is None or heard is None:
        return
    calls = [table.attrs.get("make_segments") for table in (brain, heard)]
    if None not in calls and calls[0] != calls[1]:
        raise ValueError(
            "X and y are out of step: they come from two calls of make_segments, which cut other windows. Take both "
            "from one call."
        )
    one, other = brain.index, heard.index
    if not one.equals(other):
        if set(one) == set(other) or not (_is_count(one) or _is_count(other)):
            row = int(np.argmin(np.asarray(one == other)))
            labels = one.tolist()[row], other.tolist()[row]
            raise ValueError(
                f"X and y are out of step: row {row} is {labels[0]!r} in X and {labels[1]!r} in y. Select, sort and "
                f"drop rows of both alike, or reset both indices if the rows do belong together. To permute labels, "
                f"use circular_shift_test or run_controls instead."
            )
    elif not isinstance(one, pd.RangeIndex):
        return
    _check_pace(brain, heard)


def _is_count(index):
    """Return whether an index is 0, 1, 2, ..."""
    return np.array_equal(index, np.arange(len(index)))


def _check_pace(brain, heard):
    """Raise if the stimulus does not advance with the recording from window to window.

    Only windows that overlap in the recording are compared, so that repetitions of a stimulus do not count. All
    recordings are judged together, and then each by itself: one that is out of step is a small share of many.
    """
    if not {"recording", "onset", "duration"} <= set(brain) or not {"sound", "sound_onset"} <= set(heard):
        return
    times = pd.DataFrame({
        "recording": pd.factorize(recordings_of(brain))[0], "sound": pd.factorize(heard["sound"].to_numpy())[0],
        "onset": pd.to_numeric(brain["onset"], errors="coerce").to_numpy(float),
        "duration": pd.to_numeric(brain["duration"], errors="coerce").to_numpy(float),
        "sound_onset": pd.to_numeric(heard["sound_onset"], errors="coerce").to_numpy(float),
    })  # fmt: skip
    order = times.sort_values(["recording", "onset"], kind="stable")
    step, length = order.diff().iloc[1:], order["duration"].to_numpy()[1:]
    judged = (step["recording"] == 0) & (step["sound"] == 0) & (step["sound_onset"] != 0)
    judged &= (step["onset"] > 0) & (step["onset"] < length)
    apart = (step["onset"] - step["sound_onset"]).abs()[judged]
    recording = order["recording"].iloc[1:][judged]
    for code, own in [(None, apart), *apart.groupby(recording, sort=False)]:
        agree = (own <= SAME_PACE).mean() if len(own) else 1.0
        if len(own) < ENOUGH_PAIRS or agree >= SHARE_IN_STEP:
            continue
        row = own.index[own.to_numpy() > SAME_PACE][0]
        where = "" if code is None else f" in recording {str(brain['recording'].iloc[row])!r}"
        raise ValueError(
            f"X and y are out of step{where}: of {len(own)} pairs of neighboring windows of one stimulus, {agree:.0%} "
            f"advance by the same time in X (onset) and in y (sound_onset), and row {row} is {own[row]:.3f} s off. "
            f"Take both from one call of make_segments, and select, sort and drop rows of both alike."
        )


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


def table_of(data):
    """Return the table that rides with ``data``: itself, the rows of Windows, or None."""
    data = getattr(data, "rows", data)
    return data if isinstance(data, pd.DataFrame) else None


def labels_of(data, column, groups, owner, side):
    """Read one label per row from ``groups`` or else from the table."""
    if groups is not None:
        return _complete(np.asarray(groups), "groups", owner)
    table = table_of(data)
    if table is None or column not in table:
        raise ValueError(
            f"{owner} needs the column {column!r} in {side} (as make_segments returns it) or groups=, one label "
            f"per row; got {type(data).__name__} without it."
        )
    return _complete(table[column].to_numpy(), f"the column {column!r} of {side}", owner)


def _complete(labels, what, owner):
    """Refuse labels that are missing: nobody knows on which side such a row belongs."""
    if (missing := np.flatnonzero(pd.isna(labels))).size:
        raise ValueError(
            f"{owner} needs a label in every row, but {what} has none in row {missing[0]} ({missing.size} such rows); "
            f"fill them in or leave those rows out."
        )
    return labels


def check_count(name, value, least=2):
    """Refuse what is no number of folds."""
    if not (isinstance(value, numbers.Integral) and value >= least):
        raise ValueError(f"{name} must be an integer of {least} or more, got {value!r}.")


def join_tables(brain, heard):
    """Tables of both sides in one; plain arrays are one unnamed subject and recording."""
    heard = heard.reset_index(drop=True)
    brain = pd.DataFrame(index=heard.index) if brain is None else brain.reset_index(drop=True)
    rows = brain.join(heard[[column for column in heard if column not in brain]])
    unnamed = {column: "" for column in ("subject", "recording") if column not in rows}
    return rows.assign(**unnamed)
