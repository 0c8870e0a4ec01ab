"""Checks for constant channels and recordings."""

from __future__ import annotations

import warnings

import numpy as np


def check_not_constant(windows, owner, stacklevel=3):
    """Warn of constant channels, and raise if all data are constant.

    Parameters
    ----------
    windows : Windows of shape (n_windows, n_channels, n_times)
    owner : str
        Name of the estimator in messages.
    stacklevel : int, default=3
        As in :func:`warnings.warn`.
    """
    if windows.shape[2] * len(windows) < 2:  # a single sample is always constant
        return
    n_constant = warn_of_constant(windows, stacklevel + 1)
    if n_constant == len(np.unique(windows.which)):
        raise ValueError(
            f"{owner} cannot be fitted, because every channel of every recording in X is constant. Check the files "
            f"that X was read from."
        )


def warn_of_constant(windows, stacklevel=3):
    """Warn of constant channels, once per recording.

    Channels without a position are masked or missing and matter only if all
    channels are constant. The same holds for the channels of an array, which
    is not a recording.

    Parameters
    ----------
    windows : Windows of shape (n_windows, n_channels, n_times)
        If a step has a true attribute ``reports_constant``, it has warned
        before.
    stacklevel : int, default=3
        As in :func:`warnings.warn`.

    Returns
    -------
    n_constant : int
        Number of recordings in which every channel is constant.
    """
    is_reported, n_constant = any(getattr(step, "reports_constant", False) for step in windows.steps), 0
    for index in np.unique(windows.which):
        is_flat = _find_constant_channels(windows, index)
        if is_all := bool(is_flat.all()):
            n_constant += 1
        elif windows.rows is None or "recording" not in windows.rows:
            continue  # an array may have a constant column, as any estimator's input
        elif windows.positions is not None:
            is_flat &= np.isfinite(windows.positions[windows.layout[index]]).all(1)
        if is_flat.any() and not is_reported:
            warnings.warn(
                _format_constant_channels_warning(windows, index, is_flat, is_all), stacklevel=stacklevel
            )
    return n_constant


def _find_constant_channels(windows, index):
    """Return which channels of a signal are constant: (n_channels,) bool."""
    tiles = windows.tiles(index)
    low = high = None
    for first in range(len(tiles)):
        batch = tiles.gather([first])[0].numpy()
        low = batch.min(1) if low is None else np.minimum(low, batch.min(1))
        high = batch.max(1) if high is None else np.maximum(high, batch.max(1))
        if not (low == high).any():
            break
    return low == high


def _format_constant_channels_warning(windows, index, is_flat, is_all):
    names = windows.ch_names or [str(i) for i in range(len(is_flat))]
    flat = [name for name, flat in zip(names, is_flat, strict=True) if flat]
    where = _format_recording_of_constant_channels(windows, index)
    if is_all:
        return (
            f"All {len(flat)} channels of {where} are constant. Its scores will be at chance level. Check the file or "
            f"exclude the recording."
        )
    return (
        f"{len(flat)} constant channel{'s' * (len(flat) > 1)} in {where}: {', '.join(flat[:8])}. They contain no "
        f"information and stay at zero. Mark them as bad, so that spatial attention ignores them."
    )


def _format_recording_of_constant_channels(windows, index):
    """Format the recording of a signal and its subject."""
    rows = windows.rows
    if rows is None or "recording" not in rows:
        return "the data"
    row = rows.iloc[int(np.argmax(windows.which == index))]
    subject = f" (subject {row['subject']!r})" if "subject" in rows and row["subject"] else ""
    return f"recording {str(row['recording'])!r}{subject}"
