"""Trials in .mat files of the mTRF-Toolbox and of the CNSP workshop."""

from __future__ import annotations

import numpy as np
from scipy.io import loadmat

from sk_b2s._utils._extras import import_extra

HDF5 = b"\x89HDF\r\n\x1a\n"  # first bytes


def read_mtrf_trials(path, stimuli, features, names, sfreq=None):
    """Read trials from .mat files: parameters of Windows.from_trials."""
    if isinstance(names, str) or len(names) != 3:
        raise ValueError(f"names must be three: response, stimulus and rate. Got {names!r}.")
    content = read_mtrf_matlab_variables(path)
    if stimuli is not None:
        content = {**content, **read_mtrf_matlab_variables(stimuli)}
    if isinstance(content.get("eeg"), dict) and isinstance(content.get("stim"), dict):
        return _convert_cnsp(path, content["eeg"], content["stim"], features)
    if missing := [name for name in names[: 3 if sfreq is None else 2] if name not in content]:
        found = ", ".join(f"{name} ({_describe_mtrf_variable(value)})" for name, value in content.items())
        second = " Pass the file of the stimuli, too: stimuli='dataStim.mat'." if "eeg" in content else ""
        raise ValueError(
            f"{str(path)!r} must have the variables {', '.join(names)}. Missing: {', '.join(missing)}. It has {found}. "
            f"Set names=(response, stimulus, rate){' or sfreq=...' * (missing == [names[2]])}.{second}"
        )
    if features is not None:
        raise ValueError(
            "features= selects features of a CNSP structure 'stim', which these files do not have."
        )
    response, stimulus = (content[name] for name in names[:2])
    return {
        "responses": _list_mtrf_cells(response),
        "stimuli": _list_mtrf_cells(stimulus),
        "sfreq": _get_mtrf_rate(content[names[2]], path) if sfreq is None else sfreq,
    }


def _convert_cnsp(path, eeg, stim, features):
    """Convert the structures of CNSP: one cell per trial, and per feature."""
    if missing := [
        f"{name}.{field}"
        for name, part in (("eeg", eeg), ("stim", stim))
        for field in ("data", "fs")
        if field not in part
    ]:
        raise ValueError(f"{str(path)!r} lacks {', '.join(missing)} of the CNSP format.")
    responses, cells = _list_mtrf_cells(eeg["data"]), np.atleast_2d(stim["data"])
    names = [str(name) for name in _list_mtrf_cells(stim.get("names", []))]
    if cells.dtype != object:
        cells = np.array([[None]], dtype=object)
        cells[0, 0] = stim["data"]
    if len(cells) != len(names) and cells.shape[1] == len(names) and len(cells) == len(responses):
        cells = cells.T
    known = names if len(names) == len(cells) else [str(index) for index in range(len(cells))]
    wanted = known if features is None else [features] if isinstance(features, str) else list(features)
    if not wanted:
        raise ValueError(f"features must be one or more of {known}, or None for all. Got {features!r}.")
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(f"features must be some of {known}. Got {unknown}.")
    if cells.shape[1] != len(responses):
        raise ValueError(f"{str(path)!r} has {len(responses)} responses and {cells.shape[1]} stimuli.")
    rates = _get_mtrf_rate(eeg["fs"], path), _get_mtrf_rate(stim["fs"], path)
    stimuli = []
    for trial, response in enumerate(responses):
        parts = [_make_mtrf_columns(cells[known.index(name), trial]) for name in wanted]
        seconds = min(len(response) / rates[0], *(len(part) / rates[1] for part in parts))
        responses[trial] = response[: round(seconds * rates[0])]
        stimuli.append(np.concatenate([part[: round(seconds * rates[1])] for part in parts], axis=1))
    found = {"responses": responses, "stimuli": stimuli, "sfreq": rates[0], "stimulus_sfreq": rates[1]}
    places = eeg.get("chanlocs")
    if isinstance(places, dict):  # version 7.3, or one channel
        labels = [str(label) for label in np.ravel(np.array(places.get("labels", []), object))]
    else:
        labels = [str(place["labels"]) for place in places or () if "labels" in place]
    if len(labels) == responses[0].shape[1]:
        found["ch_names"] = labels
    return found


def _list_mtrf_cells(value):
    """Return the entries of a cell array, or a list of one matrix."""
    value = np.asarray(value)
    return list(value.ravel()) if value.dtype == object else [value]


def _make_mtrf_columns(trial):
    """Return a matrix of times and columns, vectors as one column."""
    trial = np.atleast_2d(trial)
    return trial.T if len(trial) == 1 else trial


def _get_mtrf_rate(value, path):
    """Return a sampling rate, which must be one number."""
    value = np.ravel(value)
    if value.dtype.kind not in "iuf" or len(value) != 1:
        raise ValueError(f"{str(path)!r}: the sampling rate must be one number. Got {value!r}.")
    return float(value[0])


def _describe_mtrf_variable(value):
    """Describe a variable by its type and shape."""
    return (
        f"struct of {len(value)} fields" if isinstance(value, dict) else " x ".join(map(str, np.shape(value)))
    )


def read_mtrf_matlab_variables(path):
    """Read the variables of a .mat file of any version.

    Returns a dict. Structures are dicts, arrays of structures are lists of
    dicts, cell arrays are object arrays and text is str.
    """
    with open(path, "rb") as file:
        is_hdf5 = HDF5 in (file.read(8), file.seek(512) and file.read(8))  # after the header of MATLAB
    if is_hdf5:  # version 7.3
        h5py = import_extra("h5py", f"{str(path)!r} is a file of MATLAB version 7.3, which")
    try:
        if is_hdf5:
            with h5py.File(path, "r") as file:
                return {name: _convert_mtrf_hdf5(item, file) for name, item in file.items() if name[0] != "#"}
        content = loadmat(path)
    except Exception as error:  # many types, which depend on the damage
        raise ValueError(f"{str(path)!r} cannot be read as a .mat file ({error}).") from error
    return {name: _convert_mtrf_matlab(value) for name, value in content.items() if not name.startswith("__")}


def _convert_mtrf_matlab(value):
    """Convert a variable of scipy.io.loadmat."""
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.names:
        found = [
            {name: _convert_mtrf_matlab(one[name]) for name in value.dtype.names} for one in value.ravel()
        ]
        return found[0] if len(found) == 1 else found
    if value.dtype == object:
        cells = np.empty(value.shape, dtype=object)
        for place in np.ndindex(value.shape):
            cells[place] = _convert_mtrf_matlab(value[place])
        return cells
    if value.dtype.kind == "U":
        return "".join(value.ravel()) if value.size else ""
    return value


def _convert_mtrf_hdf5(item, file):
    """Convert a variable of a file of version 7.3, which is transposed."""
    if hasattr(item, "keys"):
        return {name: _convert_mtrf_hdf5(part, file) for name, part in item.items()}
    value = item[()]
    kind = item.attrs.get("MATLAB_class", b"")
    if item.attrs.get("MATLAB_empty", 0):
        return "" if kind == b"char" else np.zeros((0, 0))
    if np.asarray(value).dtype == object:  # references to cells
        cells = np.empty(value.shape[::-1], dtype=object)
        for place in np.ndindex(value.shape):
            cells[place[::-1]] = _convert_mtrf_hdf5(file[value[place]], file)
        return cells
    if kind == b"char":
        return "".join(map(chr, np.ravel(value)))
    return np.asarray(value).T
