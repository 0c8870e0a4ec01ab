"""EEG in NumPy files, as in SparrKULee and the auditory EEG challenges."""

from __future__ import annotations

import re
from pathlib import Path

import mne
import numpy as np

from sk_b2s._utils._caching import get_cache_code
from sk_b2s.io._recording_files import FileFormatError

CODE = get_cache_code(__file__)
SFREQ = 64.0  # Hz
MONTAGE = "biosemi64"
PREPROCESSED = re.compile(r"sub-\d+_ses-\w+_task-\w+_run-\d+_desc-preproc-audio-.+_eeg\.npy")
SPLIT = re.compile(r"(?:train|val|test)_-_sub-\d+_-_.+_-_eeg\.npy")


def read_npy_array(path):
    """Read preprocessed EEG of SparrKULee.

    Parameters
    ----------
    path : path-like
        File of ``derivatives/preprocessed_eeg`` (..._desc-preproc-audio-...
        _eeg.npy, in microvolts) or of ``derivatives/split_data``
        (train_-_sub-001_-_..._-_eeg.npy, normalized), both with 64 channels at
        64 Hz, (n_times, 64) or (64, n_times).

    Returns
    -------
    raw : mne.io.RawArray
        Electrodes of the montage "biosemi64" in volts. Normalized samples are
        treated as microvolts.

    Raises
    ------
    ValueError
        If the file has another name or shape.
    """
    path = Path(path)
    if not (PREPROCESSED.fullmatch(path.name) or SPLIT.fullmatch(path.name)):
        raise FileFormatError(
            f"recording {str(path)!r}: of NumPy files, only those of SparrKULee are supported "
            "(sub-001_..._desc-preproc-audio-..._eeg.npy, train_-_sub-001_-_..._-_eeg.npy), because an array has "
            "no sampling rate and no names. Save a Raw with these as FIF, raw.save('..._raw.fif')."
        )
    try:
        data = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise FileFormatError(
            f"recording {str(path)!r} cannot be read: {error}. It is probably truncated. Download it again."
        ) from error
    montage = mne.channels.make_standard_montage(MONTAGE)
    n_channels = len(montage.ch_names)
    if data.ndim != 2 or n_channels not in data.shape or not np.issubdtype(data.dtype, np.floating):
        raise FileFormatError(
            f"recording {str(path)!r} must have {n_channels} channels, (n_times, {n_channels}) or ({n_channels}, "
            f"n_times). Got {data.dtype} {data.shape} instead. Download it again."
        )
    data = data if data.shape[0] == n_channels else data.T
    raw = mne.io.RawArray(
        1e-6 * data.astype(float), mne.create_info(montage.ch_names, SFREQ, "eeg"), verbose="ERROR"
    )
    raw.set_montage(montage, verbose="ERROR")
    raw._filenames = (path,)
    return raw
