"""Windows as Epochs of MNE."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np

from sk_b2s.io._raw._read_raw import read_raw
from sk_b2s.io._sensors import make_sensor_info
from sk_b2s.preprocessing._windows._checks import find_window_positions


def make_epochs(windows, info=None, tmin=0.0, metadata=None):
    """Make Epochs, see :meth:`~sk_b2s.Windows.to_epochs`."""
    if windows.sfreq is None:
        raise ValueError(
            "to_epochs requires the sampling rate of the windows, which an array does not have. Pass "
            "Windows.from_array(data, sfreq=...)."
        )
    n_windows, n_channels, _ = windows.shape
    metadata = windows.rows if metadata is None else metadata
    if metadata is not None and len(metadata) != n_windows:
        raise ValueError(
            f"metadata must have one row per window. Got {len(metadata)} rows for {n_windows} windows."
        )
    if info is None:
        info = _find_epochs_info(windows, n_channels)
    elif len(info["ch_names"]) != n_channels:
        raise ValueError(
            f"info must have the {n_channels} channels of the windows. Got {len(info['ch_names'])}. Pick the channels "
            f"first, such as mne.pick_info(info, mne.pick_types(info, eeg=True))."
        )
    else:
        _check_epochs_order(info["ch_names"], windows.ch_names)
        info = _change_epochs_rate(info, windows.sfreq)
    data = np.asarray(windows, dtype=np.float64)
    masked = np.flatnonzero((data == 0).all(2).any(0))
    info["bads"] = list(dict.fromkeys([*info["bads"], *(info["ch_names"][i] for i in masked)]))
    events = np.column_stack([np.arange(n_windows), np.zeros(n_windows, int), np.ones(n_windows, int)])
    if metadata is not None:
        metadata = metadata.reset_index(drop=True)
    return mne.EpochsArray(data, info, events, tmin, metadata=metadata, verbose="ERROR")


def _check_epochs_order(given, names):
    """Raise if an info has channels of the windows at other places."""
    moved = [
        one for one, name in zip(given, names or given, strict=True) if one != name and one in (names or ())
    ]
    if moved:
        raise ValueError(
            f"info must have the channels in the order of the windows, {list(names)[:3]}... Got {given[:3]}... Reorder "
            f"it: mne.pick_info(info, [info.ch_names.index(name) for name in windows.ch_names])."
        )


def _find_epochs_info(windows, n_channels):
    """Return the channels of windows with their positions.

    Those of MEG are in the header of the first recording.
    """
    names = windows.ch_names
    if names is None or len(names) != n_channels:
        return make_sensor_info([str(index) for index in range(n_channels)], windows.sfreq)
    if (header := _read_epochs_header(windows)) is not None and set(names) <= set(header["ch_names"]):
        index = [header["ch_names"].index(name) for name in names]
        if {mne.channel_type(header, one) for one in index} != {"eeg"}:
            info = _change_epochs_rate(mne.pick_info(header, index, verbose="ERROR"), windows.sfreq)
            info["bads"] = []  # those of all recordings are found in the data
            return info
    return make_sensor_info(names, windows.sfreq, find_window_positions(windows))


def _read_epochs_header(windows):
    """Return the info of the first recording, None if it is not a file."""
    if windows.rows is None or "recording" not in windows.rows or not len(windows):
        return None
    path = windows.rows["recording"].iloc[0]
    return read_raw(path).info if isinstance(path, (str, Path)) and Path(path).exists() else None


def _change_epochs_rate(info, sfreq):
    """Return a copy of an info with another sampling rate."""
    data = np.zeros((len(info["ch_names"]), 1))
    raw = mne.io.RawArray(data, mne.pick_info(info, np.arange(len(data)), verbose="ERROR"), verbose="ERROR")
    with raw.info._unlock():
        raw.info["sfreq"] = float(sfreq)
        raw.info["lowpass"] = min(raw.info["lowpass"], sfreq / 2)
    return raw.info
