"""Trials in the forms of other programs."""

from types import SimpleNamespace

import numpy as np
from scipy.io import savemat


def make_cells(parts, shape=None):
    """Return a cell array of matrices, in one row by default."""
    cells = np.empty(len(parts), dtype=object)
    cells[:] = parts
    return cells.reshape(shape or (1, len(parts)))


def write_cnsp(folder, eeg, stimuli, sfreq, names, stimulus_sfreq=None):
    """Write trials in the format of CNSP. ``stimuli`` are by feature."""
    labels = np.array(
        [(f"E{i}", float(i)) for i in range(eeg[0].shape[1])], dtype=[("labels", "O"), ("theta", "f8")]
    )
    paths = folder / "dataSub1.mat", folder / "dataStim.mat"
    savemat(
        paths[0], {"eeg": {"data": make_cells(eeg), "fs": sfreq, "dataType": "EEG", "chanlocs": labels[None]}}
    )
    cells = make_cells([part for of_feature in stimuli for part in of_feature], (len(stimuli), len(eeg)))
    stim = {
        "data": cells,
        "fs": stimulus_sfreq or sfreq,
        "names": make_cells(names),
        "stimIdxs": np.arange(3),
    }
    savemat(paths[1], {"stim": stim})
    return paths


def write_matlab_73(path, **variables):
    """Write matrices, lists of matrices (cells) and texts as version 7.3."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            if isinstance(value, list):
                cells = file.create_dataset(name, (len(value), 1), h5py.ref_dtype)
                for index, part in enumerate(value):
                    is_text = isinstance(part, str)
                    data = np.array([[ord(letter)] for letter in part]) if is_text else np.asarray(part).T
                    cell = file.create_dataset(f"#refs#/{name}{index}", data=data)
                    if is_text:
                        cell.attrs["MATLAB_class"] = np.bytes_("char")
                    cells[index, 0] = cell.ref
                cells.attrs["MATLAB_class"] = b"cell"
            else:
                file[name] = np.asarray(value, float).T


class NDVar:
    """Array with named dimensions, with the interface of eelbrain.NDVar."""

    def __init__(self, data, dims, sfreq, tmin=0.0, names=None, locs=None, has_case=False):
        self.data, self.dimnames, self.has_case = data, dims, has_case
        self.time = _Time(1 / sfreq, tmin, data.shape[dims.index("time")]) if "time" in dims else None
        if names is not None:
            self.sensor = SimpleNamespace(names=names, locs=locs)

    def has_dim(self, name):
        return name in self.dimnames

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        assert self.has_case
        other = object.__new__(NDVar)
        vars(other).update(vars(self), data=self.data[index], dimnames=self.dimnames[1:], has_case=False)
        return other

    def get_data(self, dims):
        return self.data.transpose([self.dimnames.index(name) for name in dims])


class _Time:
    def __init__(self, tstep, tmin, n_times):
        self.tstep, self.tmin, self.n_times = tstep, tmin, n_times

    def __len__(self):
        return self.n_times
