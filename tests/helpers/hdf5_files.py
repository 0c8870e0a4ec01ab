"""HDF5 recordings in the layout of LibriBrain."""

import mne
import numpy as np


def list_neuromag_sensors():
    """List names and types of the 306 sensors, as LibriBrain spells them."""
    layout = mne.channels.read_layout("Vectorview-all")
    names = sorted(name.replace(" ", "") for name in layout.names)
    return names, ["mag" if name.endswith("1") else "grad" for name in names]


def write_hdf5(path, data, sfreq=250.0, names=None, kinds=None, **attributes):
    """Write a continuous recording (n_channels, n_times)."""
    import h5py

    sensors = list_neuromag_sensors()
    names, kinds = names or sensors[0][: len(data)], kinds or sensors[1][: len(data)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=np.asarray(data, np.float32), chunks=(len(data), 50))
        file.create_dataset("times", data=np.arange(np.shape(data)[1], dtype=np.float32) / sfreq)
        file.attrs.update({
            "sample_frequency": sfreq, "highpass_cutoff": 0.1, "lowpass_cutoff": 125.0,
            "channel_names": ", ".join(names), "channel_types": ", ".join(kinds), **attributes,
        })  # fmt: skip
    return path
