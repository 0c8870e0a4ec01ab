"""Checks for constant channels and recordings."""

from __future__ import annotations

import warnings

import numpy as np


def check_not_constant(windows, owner, stacklevel=3):
    """Warn of recordings with constant channels, and raise if nothing in them varies.

    Parameters
    ----------
    windows : Windows of shape (n_windows, n_channels, n_times)
    owner : str
        Name of the estimator in messages.
    stacklevel : int, default=3
        As of :func:`warnings.warn`, counted from here.

    Raises
    ------
    ValueError
        If every channel of every recording is constant.
    """
    if windows.shape[2] * len(windows) < 2:  # a single sample is always constant
        return
    dead = warn_of_constant(windows, stacklevel + 1)
    if dead == len(np.unique(windows.which)):
        raise ValueError(
            f"X holds nothing to learn from: every channel of every recording is constant. Check the files that X was "
            f"read from before fitting {owner}."
        )


def warn_of_constant(windows, stacklevel=3):
    """Warn of constant channels, once for each recording, unless an earlier step has done so.

    Channels without a position are masked or absent and count only if all channels are constant. So do the channels
    of an array, which is no recording.

    Parameters
    ----------
    windows : Windows of shape (n_windows, n_channels, n_times)
        A step with a true attribute ``reports_constant`` has looked at them already.
    stacklevel : int, default=3
        As of :func:`warnings.warn`, counted from here.

    Returns
    -------
    n_dead : int
        Recordings in which every channel is constant.
    """
    is_reported, n_dead = any(getattr(step, "reports_constant", False) for step in windows.steps), 0
    for index in np.unique(windows.which):
        is_flat = _constant_channels(windows, index)
        if is_dead := bool(is_flat.all()):
            n_dead += 1
        elif windows.rows is None or "recording" not in windows.rows:
            continue  # an array may have a constant column, as any estimator's input
        elif windows.positions is not None:
            is_flat &= np.isfinite(windows.positions[windows.layout[index]]).all(1)
        if is_flat.any() and not is_reported:
            warnings.warn(_message(windows, index, is_flat, is_dead), stacklevel=stacklevel)
    return n_dead


def _constant_channels(windows, index):
    """Return which channels of a signal are constant, reading no more of it than needed: (n_channels,) bool."""
    tiles = windows.tiles(index)
    low = high = None
    for first in range(len(tiles)):
        batch = tiles.gather([first])[0].numpy()
        low = batch.min(1) if low is None else np.minimum(low, batch.min(1))
        high = batch.max(1) if high is None else np.maximum(high, batch.max(1))
        if not (low == high).any():
            break
    return low == high


def _message(windows, index, is_flat, is_dead):
    names = windows.ch_names or [str(i) for i in range(len(is_flat))]
    flat = [name for name, flat in zip(names, is_flat, strict=True) if flat]
    where = _recording(windows, index)
    if is_dead:
        return (
            f"all {len(flat)} channels of {where} are constant: nothing can be decoded from it, and its scores are at "
            f"chance. Check the file, or leave this recording out."
        )
    return (
        f"{len(flat)} constant channel{'s' * (len(flat) > 1)} in {where}: {', '.join(flat[:8])}. They carry nothing "
        f"and stay at zero; mark them bad so that no attention is paid to them."
    )


def _recording(windows, index):
    """Name the recording of a signal, with its subject where the file does not say it."""
    rows = windows.rows
    if rows is None or "recording" not in rows:
        return "the data"
    row = rows.iloc[int(np.argmax(windows.which == index))]
    who = f" (subject {row['subject']!r})" if "subject" in rows and row["subject"] else ""
    return f"recording {str(row['recording'])!r}{who}"
