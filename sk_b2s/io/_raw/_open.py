"""Recordings in any format that MNE reads, opened as Raw."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import mne
import numpy as np

from sk_b2s._utils._caching import code_of
from sk_b2s.io._annex import check_content
from sk_b2s.io._file_parts import CODE as PARTS
from sk_b2s.io._file_parts import (
    RecordingFormatError,
    check_parts,
    check_regular,
    describe_size,
)
from sk_b2s.io._raw._binary_headers import CODE as HEADERS
from sk_b2s.io._raw._binary_headers import previous_fif, record_times
from sk_b2s.io._raw._header_checks import check_header, hint_of_header
from sk_b2s.io._raw._kit import CODE as KIT_CODE
from sk_b2s.io._raw._kit import KIT, read_kit
from sk_b2s.io._raw._matlab import CODE as MATLAB
from sk_b2s.io._raw._matlab import read_mat

CODE = "-".join([code_of(__file__), PARTS, MATLAB, HEADERS, KIT_CODE])
# What MNE warns of when a file holds less than its header, or its markers, say.
CUT_OFF = re.compile(
    r"invalid tag|does not match the file size|outside data range|truncated|unexpected end", re.I
)
EPOCHED = re.compile(r"trials.{0,20}must be 1|read_epochs|epoch|evoked|no raw data", re.I)
OPTION = re.compile(r"(?:use|set|setting|pass|try|specify)\b[^.]{0,60}?\b([a-z_]\w*) ?=", re.I)


def read_raw(path):
    """Open a recording in whatever format it is, samples unread where the format allows.

    Beyond what :func:`mne.io.read_raw` does of itself:

    * KIT ``.con`` and ``.sqd`` get their head from the markers (``*_markers.mrk`` or ``.sqd``) and the FastSCAN
      files (``*_acq-ELP_headshape.pos``, ``*_acq-HSP_headshape.pos``) that BIDS puts beside them, if all three are
      there. The places of the sensors do not need them.
    * CTF ``.ds`` sensors lose the suffix of their site (``MLC11-2908`` is ``MLC11``), so that one sensor has one
      name everywhere.
    * MATLAB ``.mat`` is a FieldTrip struct (:func:`~sk_b2s.io._raw._matlab.read_fieldtrip`) or one of Broderick's
      tables (:func:`~sk_b2s.io._raw._matlab.read_broderick`).
    * FIF files that were acquired with MaxShield are opened, ``raw.info["maxshield"]`` is True.
    * Annotations of EDF+D and BDF+D files, whose times include the pauses, are moved to the samples that they mark.
      Annotations that are not UTF-8 are read as Latin-1.

    Samples are in volt and tesla.

    Parameters
    ----------
    path : str or Path
        A file, or the folder of a CTF or EGI recording.

    Returns
    -------
    raw : mne.io.Raw

    Raises
    ------
    FileNotFoundError
        If there is no such file, one that belongs to it is missing, or a link stands where its content has not been
        fetched.
    ValueError
        If the file is not of a format that can be read, needs an option of MNE's reader, or ends too early to be
        opened.

    Warns
    -----
    UserWarning
        If the file is shorter than it says itself, or the continuation of another.
    """
    path = Path(path)
    _check_there(path)
    refuse_4d(path)
    check_header(path)
    check_parts(path)
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            raw = READERS.get(path.suffix.lower(), _read_any)(path)
    except RecordingFormatError:
        raise
    except Exception as error:  # readers fail on broken bytes in every possible way
        raise _explained(path, error) from error
    for text in dict.fromkeys(str(warning.message) for warning in said):
        if "is read without its head" in text or "continuation of" in text:
            warnings.warn(text, stacklevel=2)
        if CUT_OFF.search(text):
            warnings.warn(
                f"recording {str(path)!r} holds less than it says of itself and seems truncated "
                f"({text.strip()[:200]}): {raw.n_times / raw.info['sfreq']:.1f} s can be read. Fetch or copy it again.",
                stacklevel=2,
            )
    return raw


def _explained(path, error):
    """Turn an exception of one of MNE's readers into one that names the recording and a way out."""
    text = str(error).strip()[:300]
    save = "save what it returns as FIF, raw.save('..._raw.fif'), and give that file"
    if isinstance(error, FileNotFoundError) or "does not exist" in text:
        return FileNotFoundError(
            f"recording {str(path)!r} cannot be opened, as a file that belongs to it is missing: {text} Copy all files "
            f"of the recording under the names that they had when it was written."
        )
    start = f"recording {str(path)!r} cannot be opened: {type(error).__name__}: {text.rstrip('.')}. "
    if hint := hint_of_header(path, error):
        return ValueError(f"{start}{hint}")
    if EPOCHED.search(text):
        return ValueError(
            f"{start}It seems to hold epochs or averages, and a continuous recording is expected. Give the file from "
            f"which they were cut, or hand mne.Epochs or an array of windows to a decoder."
        )
    if option := OPTION.search(text):
        return ValueError(
            f"{start}The file may be whole, but MNE's reader needs the option {option[1]}: call that reader with it, "
            f"{save}."
        )
    return ValueError(
        f"{start}Is it whole ({describe_size(path)} here), and of a format that mne.io.read_raw reads? If a reader of "
        f"MNE opens it with options of its own, {save}."
    )


def refuse_4d(path):
    """Raise for a folder of 4D Neuroimaging (BTi), the one format of BIDS for MEG whose files have no ending.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    ValueError
        Telling how to make a FIF of it.
    """
    path = Path(path)
    if path.is_dir() and path.suffix == "":
        raise RecordingFormatError(
            f"recording {str(path)!r} is a folder without an ending, as of 4D Neuroimaging (BTi), which is not read. "
            f"Make a FIF of it: mne.io.read_raw_bti('{path.name}/c,rfDC', '{path.name}/config', '{path.name}/hs_file')"
            f".save('{path.name}.fif')."
        )


def raise_truncated(raw, error):
    """Turn what a reader raised among the samples into an error that names the file."""
    files = getattr(raw, "filenames", None)
    path = Path(files[0]) if files and files[0] else None
    size = describe_size(path) if path else "size unknown"
    return ValueError(
        f"recording {str(path)!r} opens, but its samples cannot be read: {type(error).__name__}: "
        f"{str(error).strip()[:200]}. It is most likely truncated ({size} here); fetch or copy it again and compare "
        f"its size with the size at the source."
    )


def _check_there(path):
    check_content(path)
    if not path.exists():
        raise FileNotFoundError(
            f"recording {str(path)!r} does not exist; the column 'recording' must hold the path of a "
            f"file that mne.io.read_raw reads."
        )
    if not path.is_dir():
        check_regular(path, "recording")


def _read_any(path):
    return mne.io.read_raw(path, preload=False, verbose="WARNING")


def _read_ctf(path):
    return mne.io.read_raw_ctf(path, clean_names=True, preload=False, verbose="WARNING")


def _read_fif(path):
    raw = mne.io.read_raw_fif(path, allow_maxshield="yes", preload=False, verbose="WARNING")
    if (before := previous_fif(path)) is not None:
        warnings.warn(
            f"recording {str(path)!r} is the continuation of {before!r}, where its beginning is. Events that count "
            f"from there do not fit. Give the first part, which leads to the others.",
            stacklevel=2,
        )
    return raw


def _read_edf(path):
    """Read EDF and BDF, Latin-1 annotations and pauses included."""
    read = mne.io.read_raw_bdf if path.suffix.lower() == ".bdf" else mne.io.read_raw_edf
    times, seconds = record_times(path)
    options = {}
    with warnings.catch_warnings():
        if times is not None:
            warnings.simplefilter("ignore")  # of annotations beyond the end, which are moved below
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
    ".ds": _read_ctf, ".mat": read_mat, ".fif": _read_fif, ".edf": _read_edf, ".bdf": _read_edf,
    **dict.fromkeys(KIT, read_kit),
}  # fmt: skip
