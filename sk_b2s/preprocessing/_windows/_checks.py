"""Checks of windows, and the subject of each."""

from __future__ import annotations

import numpy as np


def check_windows_equal_lengths(windows, owner):
    """Raise if windows have unequal numbers of valid samples."""
    n_valid = getattr(windows, "n_valid", None)
    if n_valid is not None and len(n_valid) and (n_valid < windows.n_times).any():
        raise ValueError(
            f"{owner} requires windows of equal length, but X has windows of {n_valid.min()} to {n_valid.max()} samples. "
            f"Make windows of equal length with make_segments(anchor='sentence', tmax=2.0), or use "
            f"RidgeDecoder(context=False) or BrainEncoder, which ignore the padding."
        )


def check_windows_equal_shapes(X, name="X"):
    """Return X, or raise if its windows have different shapes."""
    if not isinstance(X, (list, tuple)) and not (isinstance(X, np.ndarray) and X.dtype == object):
        return X
    shapes = []
    for window in X:
        try:
            shapes.append(np.shape(window))
        except ValueError:  # ragged
            shapes.append(None)
        if shapes[-1] != shapes[0] or shapes[0] is None:
            raise ValueError(
                f"All windows of {name} must have the same shape (n_channels, n_times). Got {shapes[0]} in window 0 and "
                f"{shapes[-1]} in window {len(shapes) - 1}. Cut or pad them to the same length."
            )
    return X


def check_windows_index(key, n_windows):
    """Return indices or a mask of windows as an array, or raise."""
    key = np.asarray(key)
    if key.size == 0 and key.dtype != bool:
        return key.astype(np.int64)
    if key.dtype == bool and key.shape != (n_windows,):
        raise IndexError(f"A mask must have one value for each of {n_windows} windows. Got {key.shape}.")
    if key.ndim != 1 or key.dtype.kind not in "biu":
        what = repr(key.item()) if key.ndim == 0 else f"{key.ndim}-D values of type {key.dtype}"
        raise IndexError(
            f"Windows are indexed by integers, slices, indices or masks. Got {what}. Columns of the table are in "
            f"windows.rows, such as windows[(windows.rows['subject'] == '01').to_numpy()]."
        )
    return key


def find_window_positions(windows):
    """Return the first known position of each channel, None without any.

    Bad channels of a recording have no position there, but in others. The
    shape is (n_channels, 2).
    """
    if windows.positions is None or not len(windows):
        return None
    layouts = windows.positions[list(dict.fromkeys(windows.layout[windows.which].tolist()))]
    first = np.isfinite(layouts).all(2).argmax(0)
    return layouts[first, np.arange(len(first))]


def check_window_subjects(windows):
    """Return the subject of each window, "" if unknown."""
    rows = windows.rows
    if rows is None or "subject" not in rows:
        return np.full(len(windows), "", dtype=object)
    unnamed = rows["subject"].isna().to_numpy()
    if unnamed.any():
        raise ValueError(
            f"X row {rows.index[unnamed.argmax()]!r}, column 'subject': expected a name, got "
            f"{rows['subject'].iloc[unnamed.argmax()]!r} ({unnamed.sum()} such rows). Fill in the column, or remove "
            f"these rows from X and y."
        )
    return rows["subject"].astype(str).to_numpy(dtype=object)
