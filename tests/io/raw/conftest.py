"""Fixtures of the tests of recordings."""

import numpy as np
import pytest
from helpers.read_files import make_noise
from scipy.io import savemat

SFREQ = 500.0


@pytest.fixture
def fieldtrip(tmp_path):
    """Write a FieldTrip struct like Brennan's: (changed fields) -> path."""

    def write(labels=None, data=None, header=None, **fields):
        labels = [str(i) for i in range(1, 62) if i != 29] + ["VEOG", "AUD"] if labels is None else labels
        data = 10 * make_noise(len(labels)) if data is None else data
        hdr = {
            "Fs": SFREQ, "label": labels, "chantype": ["eeg"] * len(labels), "chanunit": ["uV"] * len(labels),
            **(header or {}),
        }  # fmt: skip
        struct = {"hdr": hdr, "label": np.array(labels, object), "fsample": SFREQ, "trial": data, **fields}
        savemat(tmp_path / "S01.mat", {"raw": {k: v for k, v in struct.items() if v is not None}})
        return tmp_path / "S01.mat"

    return write
