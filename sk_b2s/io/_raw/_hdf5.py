"""Continuous MEG in HDF5 files in the layout of LibriBrain, read lazily."""

from __future__ import annotations

import json
from pathlib import Path

import mne
import numpy as np

from sk_b2s._utils._caching import get_cache_code
from sk_b2s._utils._extras import import_extra
from sk_b2s.io._recording_files import FileFormatError

CODE = get_cache_code(__file__)
SUFFIXES = (".h5", ".hdf5")
N_READ = 2**14  # samples of all channels that are read at a time
REQUIRED = ("sample_frequency", "channel_names", "channel_types")
KINDS = ("mag", "grad", "eeg", "eog", "ecg", "emg", "stim", "misc", "ref_meg")
POSITIONS = Path("metadata/sensor_xyz.json")  # in the folder of the data set


class RawHdf5(mne.io.BaseRaw):
    """Raw that reads the dataset ``data`` of an HDF5 file when it is used."""

    def __init__(self, path, info, n_times):
        super().__init__(info, False, (0,), [n_times - 1], [Path(path)], orig_format="single")

    def _read_segment_file(self, data, idx, fi, start, stop, cals, mult):
        """Read samples in pieces, so that no more channels are in memory."""
        h5py = import_hdf5_library(self.filenames[fi])
        with h5py.File(self.filenames[fi], "r") as file:
            for first in range(start, stop, N_READ):
                last = min(first + N_READ, stop)
                block = file["data"][:, first:last]
                view = data[:, first - start : last - start]
                view[:] = cals * block[idx] if mult is None else mult @ block[idx].astype(data.dtype)


def import_hdf5_library(path):
    """Import h5py, or raise an ImportError with the way to install it."""
    return import_extra("h5py", f"recording {str(path)!r} is an HDF5 file, which")


def find_hdf5_positions(path):
    """Return the file of sensor positions of LibriBrain, None if missing."""
    parents = Path(path).parents
    file = parents[3] / POSITIONS if len(parents) > 3 else POSITIONS
    return file if Path(path).suffix.lower() in SUFFIXES and file.is_file() else None


def read_hdf5(path):
    """Open a continuous recording in an HDF5 file, without its samples.

    Parameters
    ----------
    path : path-like
        File with the dataset ``data`` (n_channels, n_times) in tesla, tesla
        per meter and volts, and the attributes ``sample_frequency`` (Hz),
        ``channel_names`` and ``channel_types``, each separated by commas.

    Returns
    -------
    raw : RawHdf5
        Sensors have the types of MNE, and those of Neuromag the coil types of
        VectorView. Positions are those in ``metadata/sensor_xyz.json`` of the
        data set, if it exists.

    Raises
    ------
    ImportError
        If h5py is not installed.
    ValueError
        If the file has another layout.
    """
    h5py = import_hdf5_library(path)
    with h5py.File(path, "r") as file:
        data, wanted = file.get("data"), f"recording {str(path)!r} must have"
        if not isinstance(data, h5py.Dataset) or data.ndim != 2 or not np.issubdtype(data.dtype, np.floating):
            found = f"{data.dtype} {data.shape}" if isinstance(data, h5py.Dataset) else sorted(file)
            raise FileFormatError(
                f"{wanted} the dataset 'data' (n_channels, n_times) of floating-point samples. Got {found} "
                "instead. Convert the recording to FIF if it has another layout."
            )
        if missing := [name for name in REQUIRED if name not in file.attrs]:
            raise FileFormatError(f"{wanted} the attributes {list(REQUIRED)}, but lacks {missing}.")
        names, kinds = (
            _read_hdf5_list(file.attrs["channel_names"]),
            _read_hdf5_list(file.attrs["channel_types"]),
        )
        n_channels, n_times = data.shape
        sfreq = float(file.attrs["sample_frequency"])
        edges = {key: float(file.attrs.get(f"{key}_cutoff", np.nan)) for key in ("highpass", "lowpass")}
    if not len(names) == len(kinds) == n_channels:
        raise FileFormatError(
            f"{wanted} a name and a type for each of its {n_channels} channels. Got {len(names)} names and "
            f"{len(kinds)} types instead."
        )
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise FileFormatError(f"{wanted} channel types among {list(KINDS)}. Got {unknown} instead.")
    if not (sfreq > 0 and n_times > 0):
        raise FileFormatError(
            f"{wanted} a positive sampling rate and samples. Got {sfreq:g} Hz and {n_times} samples instead."
        )
    info = mne.create_info(names, sfreq, kinds)
    with info._unlock():
        for key, value in edges.items():
            if 0 <= value <= sfreq / 2:
                info[key] = value
    _set_hdf5_positions(info, find_hdf5_positions(path))
    return RawHdf5(path, info, n_times)


def _read_hdf5_list(value):
    """Return the entries of a text with commas, or of an array of texts."""
    if isinstance(value, (str, bytes)):
        value = (value.decode() if isinstance(value, bytes) else value).split(",")
    return [(one.decode() if isinstance(one, bytes) else str(one)).strip() for one in np.atleast_1d(value)]


def _set_hdf5_positions(info, path):
    """Set the positions of sensors in place, unless the file has others."""
    if path is None:
        return
    try:
        places = np.array(json.loads(path.read_text()), float)
    except (ValueError, TypeError) as error:
        raise FileFormatError(
            f"{str(path)!r} must hold three coordinates for each channel: {error}. Download it again or remove it."
        ) from error
    if places.shape == (len(info["chs"]), 3):
        for channel, place in zip(info["chs"], places, strict=True):
            channel["loc"][:3] = place
