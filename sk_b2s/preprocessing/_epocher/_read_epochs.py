"""Windows of the Epochs of MNE, for the Epocher."""

from __future__ import annotations

import numpy as np

from sk_b2s.io._raw._processing import interpolate_in_processing
from sk_b2s.io._sensors import load_sensor_montage, pick_sensor_channels, project_sensors, set_sensor_montage
from sk_b2s.preprocessing._windows._windows import Windows


def read_epochs_windows(epochs, montage=None, picks=None, bads_rule="interpolate", wanted=None):
    """Return Windows of the picked channels of Epochs, or of ``wanted``."""
    if isinstance(montage, dict):
        raise ValueError("montage is a dict of studies, but mne.Epochs have no study. Give one montage.")
    if montage is not None:
        epochs = set_sensor_montage(epochs.copy(), load_sensor_montage(montage))
    names = pick_sensor_channels(epochs, picks)
    wanted = names if wanted is None else list(wanted)
    if missing := [name for name in wanted if name not in names]:
        raise ValueError(
            f"The Epochs lack {len(missing)} channels seen in fit: {', '.join(missing[:8])}. Call fit with Epochs of "
            f"these channels or select common channels with picks=[...]."
        )
    data = epochs.get_data(picks=wanted, verbose="ERROR")
    positions = project_sensors(epochs.info, wanted)
    bads = [name for name in wanted if name in epochs.info["bads"]]
    if bads and bads_rule == "interpolate":
        signal = data.transpose(0, 2, 1).reshape(-1, len(wanted))
        interpolate_in_processing(signal, epochs, wanted, bads, epochs.info["sfreq"])
        data = signal.reshape(len(data), -1, len(wanted)).transpose(0, 2, 1)
    elif bads:
        data[:, np.isin(wanted, bads)], positions[np.isin(wanted, bads)] = 0.0, np.nan
    return Windows.from_array(
        data, rows=epochs.metadata, sfreq=epochs.info["sfreq"], positions=positions, ch_names=wanted
    )
