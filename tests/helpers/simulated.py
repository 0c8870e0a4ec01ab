"""Reading of simulated experiments."""

from pathlib import Path

import mne

PARAMETERS = {"n_subjects": 2, "minutes": 1, "n_channels": 16, "artifacts": False}


def read_recording(events, subject):
    return mne.io.read_raw(events.loc[events["subject"] == subject, "recording"].iloc[0], verbose="ERROR")


def list_times(root):
    return {path: path.stat().st_mtime_ns for path in Path(root).rglob("*") if path.is_file()}


def get_single(found):
    """Return data and truth of a single recording."""
    data, truth, _ = found
    (path,) = data
    return data[path], truth[path]
