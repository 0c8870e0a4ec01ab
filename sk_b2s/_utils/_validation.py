"""Validation of tables of segments, of their columns and of X with y."""

from __future__ import annotations

import numbers
from contextlib import contextmanager
from numbers import Real

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_consistent_length


def count_samples(duration, sfreq):
    """Return the number of samples of a window, floor(duration · sfreq) + 1.

    For 2.85 s at 120 Hz these are 343, as in the paper.
    """
    return int(np.floor(duration * sfreq + 1e-6)) + 1


def _check_not_empty(table):
    """Raise a ValueError if a table of segments has no rows."""
    if not len(table):
        raise ValueError(
            "The table of segments has no rows, so the length of windows is unknown. Pass at least one row."
        )


def get_validated_window_length(table, sfreq):
    """Return the number of samples of the windows of a table.

    That of the column ``padded_duration``, if windows have unequal lengths.
    """
    column = "padded_duration" if "padded_duration" in table else "duration"
    durations = table[column].unique()
    _check_not_empty(table)
    if len(durations) != 1:
        raise ValueError(
            f"all rows must have one {column}, got {sorted(durations)[:5]} s. Make them in one call of make_segments."
        )
    return count_samples(float(durations[0]), sfreq)


def get_validated_sample_counts(table, sfreq):
    """Return the samples of each window, None if all have equal lengths."""
    if "padded_duration" not in table:
        return None
    durations = table["duration"].to_numpy(float)
    if (durations > table["padded_duration"].to_numpy(float) + 1e-6).any() or not (durations >= 0).all():
        raise ValueError(
            "The column 'duration' must be at most 'padded_duration' in every row. Make the table in one call of "
            "make_segments."
        )
    return np.array([count_samples(duration, sfreq) for duration in durations], np.int64)


def is_validated_table(X):
    """Return whether X is a table of segments."""
    return isinstance(X, pd.DataFrame) and {"recording", "onset", "duration"} <= set(X.columns)


def is_validated_text(y):
    """Return whether y has labels in text, unless they are numbers."""
    values = y.to_numpy() if isinstance(y, pd.Series) else y
    is_array = isinstance(values, np.ndarray) and values.ndim > 0
    if not (is_array or isinstance(values, (list, tuple))) or not len(values):
        return False
    if not isinstance(first := values[0], (str, bytes)):
        return False
    try:
        return np.isnan(float(first))
    except ValueError:
        return True


def get_validated_recordings(rows):
    """Return the recording of each window, with study and subject if known."""
    names = rows["recording"].to_numpy(dtype=object)
    if "subject" in rows:
        names = [f"{subject}, {name}" for subject, name in zip(rows["subject"], names, strict=True)]
    if "study" in rows:  # studies may have equal names of subjects and recordings
        known = (rows["study"].notna() & (rows["study"] != "")).to_numpy(bool)
        studies = rows["study"].to_numpy(dtype=object)
        names = [
            f"{study}, {name}" if is_known else name
            for study, name, is_known in zip(studies, names, known, strict=True)
        ]
    return np.array(names, object)


def validate_rows(X):
    """Check that every row of a table of segments has its times."""
    _check_not_empty(X)
    for column in ("onset", "duration"):
        number = pd.to_numeric(X[column], errors="coerce").to_numpy(float)
        if lost := np.flatnonzero(~np.isfinite(number)).tolist():
            raise ValueError(
                f"{column!r} must hold seconds in every row, but row {X.index.tolist()[lost[0]]!r} holds "
                f"{X[column].iloc[lost[0]]!r} ({len(lost)} such rows). Drop them with X[X[{column!r}].notna()]."
            )


@contextmanager
def explain_validation_error(X):
    """Turn an error about text columns into one about missing columns."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if isinstance(X, np.ndarray) and X.ndim == 2 and any(isinstance(cell, str) for cell in X[:1].flat):
            raise ValueError(
                "X must be a table of segments or hold numbers only. Got an array of text. Select rows of a table with "
                "X.iloc[rows], which keeps its columns, instead of X.to_numpy()[rows]."
            ) from error
        if not isinstance(X, pd.DataFrame) or X.select_dtypes(exclude=["number", "bool"]).empty:
            raise
        missing = [name for name in ("recording", "onset", "duration") if name not in X.columns]
        swapped = " It has 'sound_onset': were X and y swapped?" if "sound_onset" in X.columns else ""
        raise ValueError(
            f"X must be a table of segments with the columns recording, onset and duration, or hold numbers only. The "
            f"columns {missing} are missing.{swapped}"
        ) from error


# --- X and y, row by row -----------------------------------------------------------------------------

PERMUTED = "is_permuted"  # attribute of a table whose rows belong to other windows on purpose
SAME_PACE = 0.015  # s; largest difference between the steps of two rows in recording and stimulus
ENOUGH_PAIRS, SHARE_IN_STEP = 10, 0.3  # pairs of rows that are judged, and the share that must agree


def validate_rows_in_step(X, y):
    """Raise a ValueError if the rows of X and y belong to different windows.

    Tables are compared by their index. An index 0, 1, 2, ... carries no
    information once rows were selected. Times are compared in that case: from
    one window to the next in a recording, the stimulus must advance as the
    recording does.

    Parameters
    ----------
    X, y : DataFrame, Windows or array-like of shape (n_windows, ...)
        EEG/MEG windows and stimulus segments.
    """
    check_consistent_length(X, y)
    of_x, of_y = validate_table(X), validate_table(y)
    if of_x is None or of_y is None:
        return
    calls = [table.attrs.get("make_segments") for table in (of_x, of_y)]
    if None not in calls and calls[0] != calls[1]:
        raise ValueError(
            "X and y are out of step: they come from two calls of make_segments, which returned different windows. "
            "Take both from one call."
        )
    one, other = of_x.index, of_y.index
    if not one.equals(other):
        if set(one) == set(other) or not (_is_index(one) or _is_index(other)):
            row = int(np.argmin(np.asarray(one == other)))
            labels = one.tolist()[row], other.tolist()[row]
            raise ValueError(
                f"X and y are out of step: row {row} is {labels[0]!r} in X and {labels[1]!r} in y. Select, sort and "
                f"drop the same rows of both, or reset both indices if the rows do belong together. To permute labels, "
                f"use circular_shift_test or run_controls instead."
            )
    elif not isinstance(one, pd.RangeIndex) or of_y.attrs.get(PERMUTED):
        return
    _check_pace(of_x, of_y)


def _is_index(index):
    """Return whether an index is 0, 1, 2, ..."""
    return np.array_equal(index, np.arange(len(index)))


def _check_pace(of_x, of_y):
    """Raise if the stimulus does not advance with the recording.

    Only windows that overlap in the recording are compared, so that
    repetitions of a stimulus do not count. All recordings are tested together,
    and then each by itself, as one recording is a small share of many.
    """
    if not {"recording", "onset", "duration"} <= set(of_x) or not {"sound", "sound_onset"} <= set(of_y):
        return
    times = pd.DataFrame({
        "recording": pd.factorize(get_validated_recordings(of_x))[0], "sound": pd.factorize(of_y["sound"].to_numpy())[0],
        "onset": pd.to_numeric(of_x["onset"], errors="coerce").to_numpy(float),
        "duration": pd.to_numeric(of_x["duration"], errors="coerce").to_numpy(float),
        "sound_onset": pd.to_numeric(of_y["sound_onset"], errors="coerce").to_numpy(float),
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
        where = "" if code is None else f" in recording {str(of_x['recording'].iloc[row])!r}"
        raise ValueError(
            f"X and y are out of step{where}: of {len(own)} pairs of neighboring windows of one stimulus, {agree:.0%} "
            f"advance by the same time in X (onset) and in y (sound_onset), and row {row} is {own[row]:.3f} s off. "
            f"Take both from one call of make_segments, and select, sort and drop the same rows of both."
        )


def validate_column(table, column, side="y"):
    """Return a column of a table of segments, or raise a ValueError."""
    if column not in table:
        raise ValueError(
            f"{side} needs the column {column!r}, as make_segments returns it. It has {list(table.columns)[:8]}."
        )
    return table[column]


def validate_seconds(table, column, side="y"):
    """Return a column of seconds as floats, or raise a ValueError.

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
    values = validate_column(table, column, side)
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


def validate_table(data):
    """Return the table of ``data``: itself, the rows of Windows, or None."""
    data = getattr(data, "rows", data)
    return data if isinstance(data, pd.DataFrame) else None


def get_validated_groups(data, column, groups, owner, side):
    """Return one label per row, from ``groups`` or else from the table."""
    if groups is not None:
        return _check_labels_complete(np.asarray(groups), "groups", owner)
    table = validate_table(data)
    if table is None or column not in table:
        raise ValueError(
            f"{owner} needs the column {column!r} in {side} (as make_segments returns it) or groups=, one label "
            f"per row; got {type(data).__name__} without it."
        )
    return _check_labels_complete(table[column].to_numpy(), f"the column {column!r} of {side}", owner)


def _check_labels_complete(labels, what, owner):
    """Raise a ValueError if labels are missing, else return them."""
    if (missing := np.flatnonzero(pd.isna(labels))).size:
        raise ValueError(
            f"{owner} needs a label in every row, but {what} is missing in row {missing[0]} ({missing.size} such "
            f"rows). Fill in the labels or drop these rows."
        )
    return labels


def validate_positive(name, value):
    """Raise unless a parameter is a finite number above 0."""
    if not (np.isscalar(value) and np.isreal(value) and 0 < value < np.inf):
        raise ValueError(f"{name} must be a positive number. Got {value!r}.")


def validate_count(name, value, least=2):
    """Raise a ValueError if a value is not an integer >= ``least``."""
    if isinstance(value, bool) or not (isinstance(value, numbers.Integral) and value >= least):
        raise ValueError(f"{name} must be an integer of {least} or more, got {value!r}.")


def join_validated_tables(of_x, of_y):
    """Join the tables of X and y, where arrays are one unnamed recording."""
    of_y = of_y.reset_index(drop=True)
    of_x = pd.DataFrame(index=of_y.index) if of_x is None else of_x.reset_index(drop=True)
    rows = of_x.join(of_y[[column for column in of_y if column not in of_x]])
    unnamed = {column: "" for column in ("subject", "recording") if column not in rows}
    return rows.assign(**unnamed)
