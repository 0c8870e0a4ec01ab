"""Open recordings in any format that MNE reads."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import mne
import numpy as np

from sk_b2s._utils._caching import get_cache_code
from sk_b2s.io._annex import check_annex_content
from sk_b2s.io._raw._binary_headers import CODE as HEADERS
from sk_b2s.io._raw._binary_headers import read_binary_fif_header, read_binary_record_times
from sk_b2s.io._raw._hdf5 import CODE as HDF5
from sk_b2s.io._raw._hdf5 import SUFFIXES as HDF5_SUFFIXES
from sk_b2s.io._raw._hdf5 import read_hdf5
from sk_b2s.io._raw._header_checks import check_header, explain_header_error
from sk_b2s.io._raw._kit import CODE as KIT_CODE
from sk_b2s.io._raw._kit import KIT, read_kit
from sk_b2s.io._raw._matlab import CODE as MATLAB
from sk_b2s.io._raw._matlab import read_matlab
from sk_b2s.io._raw._npy_arrays import CODE as ARRAYS
from sk_b2s.io._raw._npy_arrays import read_npy_array
from sk_b2s.io._recording_files import CODE as PARTS
from sk_b2s.io._recording_files import (
    FileFormatError,
    check_recording_files,
    check_regular_recording_file,
    describe_recording_file_size,
)

CODE = "-".join([get_cache_code(__file__), PARTS, MATLAB, HEADERS, KIT_CODE, HDF5, ARRAYS])
# Warnings of MNE about files that are shorter than their header or markers.
CUT_OFF = re.compile(
    r"invalid tag|does not match the file size|outside data range|truncated|unexpected end", re.I
)
EPOCHED = re.compile(r"trials.{0,20}must be 1|read_epochs|epoch|evoked|no raw data", re.I)
OPTION = re.compile(r"(?:use|set|setting|pass|try|specify)\b[^.]{0,60}?\b([a-z_]\w*) ?=", re.I)


def read_raw(path):
    """Open a recording, without reading its samples if the format allows that.

    In addition to :func:`mne.io.read_raw`:

    * KIT ``.con`` and ``.sqd`` files get their digitization from the markers
      (``*_markers.mrk`` or ``.sqd``) and FastSCAN files
      (``*_acq-ELP_headshape.pos``, ``*_acq-HSP_headshape.pos``) of a BIDS
      folder, if all three exist. Sensor positions do not need them.
    * CTF ``.ds`` sensors lose the suffix of their laboratory (``MLC11-2908``
      becomes ``MLC11``), so that names are equal across studies.
    * MATLAB ``.mat`` files hold a FieldTrip struct
      (:func:`~sk_b2s.io._raw._matlab.read_matlab_fieldtrip`) or the variables
      of Broderick et al.
      (:func:`~sk_b2s.io._raw._matlab.read_matlab_broderick`).
    * HDF5 ``.h5`` files have the layout of LibriBrain
      (:func:`~sk_b2s.io._raw._hdf5.read_hdf5`), and NumPy ``.npy`` files that
      of SparrKULee (:func:`~sk_b2s.io._raw._npy_arrays.read_npy_array`).
    * FIF files acquired with MaxShield are opened, with
      ``raw.info["maxshield"]`` set to True.
    * Annotations of EDF+D and BDF+D files, whose times include pauses, are
    moved
      to their samples. Annotations that are not UTF-8 are read as Latin-1.

    Samples are in volts and tesla.

    Parameters
    ----------
    path : path-like
        A file, or the folder of a CTF or EGI recording.

    Returns
    -------
    raw : mne.io.Raw

    Raises
    ------
    FileNotFoundError
        If the file or one of its parts is missing or was not fetched.
    ImportError
        If an HDF5 file is opened without h5py.
    ValueError
        If the format is not supported, MNE's reader needs an option, or the
        file is too short to be opened.

    Warns
    -----
    UserWarning
        If the file is shorter than its header states, or continues another
        one.
    """
    path = Path(path)
    _check_recording_exists(path)
    check_read_raw_is_not_4d(path)
    check_header(path)
    check_recording_files(path)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            raw = READERS.get(path.suffix.lower(), _read_any_raw)(path)
    except (FileFormatError, ImportError):
        raise
    except Exception as error:  # readers raise any exception on corrupt bytes
        raise _explain_read_raw_error(path, error) from error
    for text in dict.fromkeys(str(warning.message) for warning in caught):
        if (
            "is read without its digitization" in text
            or "onsets from the start of the recording do not match" in text
        ):
            warnings.warn(text, stacklevel=2)
        if CUT_OFF.search(text):
            warnings.warn(
                f"recording {str(path)!r} is shorter than its header states and seems truncated "
                f"({text.strip()[:200]}). {raw.n_times / raw.info['sfreq']:.1f} s can be read. Fetch or copy it "
                "again.",
                stacklevel=2,
            )
    return raw


def _explain_read_raw_error(path, error):
    """Return an exception that names the recording and the way out."""
    text = str(error).strip()[:300]
    save = "save the Raw as FIF with raw.save('..._raw.fif'), and pass that file"
    if isinstance(error, FileNotFoundError) or "does not exist" in text:
        return FileNotFoundError(
            f"recording {str(path)!r} cannot be opened, because one of its files is missing: {text} Copy all "
            "files of the recording under their original names."
        )
    start = f"recording {str(path)!r} cannot be opened: {type(error).__name__}: {text.rstrip('.')}. "
    if hint := explain_header_error(path, error):
        return ValueError(f"{start}{hint}")
    if EPOCHED.search(text):
        return ValueError(
            f"{start}It seems to hold epochs or averages, but must be continuous. Pass the continuous file, or "
            "pass mne.Epochs or an array of windows to a decoder."
        )
    if option := OPTION.search(text):
        return ValueError(
            f"{start}The file may be complete, but MNE's reader needs the option {option[1]}. Call that reader "
            f"with the option, {save}."
        )
    return ValueError(
        f"{start}Check that it is complete ({describe_recording_file_size(path)} here) and in a format of mne.io.read_raw. "
        f"If a reader of MNE opens it with other options, {save}."
    )


def check_read_raw_is_not_4d(path):
    """Raise for a folder of 4D Neuroimaging (BTi), which has no suffix.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    ValueError
        With the conversion to FIF.
    """
    path = Path(path)
    if path.is_dir() and path.suffix == "":
        raise FileFormatError(
            f"recording {str(path)!r} is a folder without a suffix, as of 4D Neuroimaging (BTi), which is not "
            f"supported. Convert it to FIF: mne.io.read_raw_bti('{path.name}/c,rfDC', '{path.name}/config', "
            f"'{path.name}/hs_file').save('{path.name}.fif')."
        )


def make_read_raw_truncation_error(raw, error):
    """Return an error that names the file whose samples cannot be read."""
    files = getattr(raw, "filenames", None)
    path = Path(files[0]) if files and files[0] else None
    size = describe_recording_file_size(path) if path else "size unknown"
    return ValueError(
        f"recording {str(path)!r} opens, but its samples cannot be read: {type(error).__name__}: "
        f"{str(error).strip()[:200]}. It is probably truncated ({size} here). Fetch or copy it again, and "
        "compare its size with the original."
    )


def _check_recording_exists(path):
    """Raise if a recording is missing, not fetched, or not a file."""
    check_annex_content(path)
    if not path.exists():
        raise FileNotFoundError(
            f"recording {str(path)!r} does not exist. The column 'recording' must hold the path of a file that "
            "mne.io.read_raw reads."
        )
    if not path.is_dir():
        check_regular_recording_file(path, "recording")


def _read_any_raw(path):
    """Read a format without additions."""
    return mne.io.read_raw(path, preload=False, verbose="WARNING")


def _read_ctf(path):
    """Read CTF with names that do not depend on the laboratory."""
    return mne.io.read_raw_ctf(path, clean_names=True, preload=False, verbose="WARNING")


def _read_fif(path):
    """Read FIF, and warn if it is a later part of a recording."""
    raw = mne.io.read_raw_fif(path, allow_maxshield="yes", preload=False, verbose="WARNING")
    if (previous := read_binary_fif_header(path)) is not None:
        warnings.warn(
            f"recording {str(path)!r} continues {previous!r}, so that onsets from the start of the recording do "
            "not match. Pass the first part, which links to the others.",
            stacklevel=2,
        )
    return raw


def _read_edf(path):
    """Read EDF and BDF, with Latin-1 annotations and pauses."""
    read = mne.io.read_raw_bdf if path.suffix.lower() == ".bdf" else mne.io.read_raw_edf
    times, seconds = read_binary_record_times(path)
    options = {}
    with warnings.catch_warnings():
        if times is not None:
            warnings.simplefilter("ignore")  # annotations beyond the end are moved below
        try:
            raw = read(path, preload=False, verbose="WARNING")
        except Exception as error:
            if "latin1" not in str(error):
                raise
            options = {"encoding": "latin1"}
            raw = read(path, **options, preload=False, verbose="WARNING")
        if times is None or np.isnan(times).any():
            return raw
        notes = mne.read_annotations(path, **options)
    record = np.clip(np.searchsorted(times, notes.onset + 1e-6, side="right") - 1, 0, len(times) - 1)
    onset = record * seconds + np.minimum(notes.onset - times[record], seconds)
    return raw.set_annotations(mne.Annotations(onset, notes.duration, notes.description))


READERS = {
    ".ds": _read_ctf, ".mat": read_matlab, ".fif": _read_fif, ".edf": _read_edf, ".bdf": _read_edf,
    ".npy": read_npy_array, **dict.fromkeys(KIT, read_kit), **dict.fromkeys(HDF5_SUFFIXES, read_hdf5),
}  # fmt: skip
