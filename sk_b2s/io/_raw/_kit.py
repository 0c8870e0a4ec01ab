"""KIT recordings with head shape and digitization."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import mne
import numpy as np

from sk_b2s._utils._caching import get_cache_code
from sk_b2s.io._recording_files import FileFormatError, check_regular_recording_file

CODE = get_cache_code(__file__)
KIT = (".con", ".sqd")
MAX_HEAD_POINTS = 500  # points of the head surface, of up to hundreds of thousands


def read_kit(path):
    """Read a KIT recording, with its digitization if that is valid."""
    head = {}
    try:
        head = _find_kit_digitization(path)
        return mne.io.read_raw_kit(path, **head, preload=False, verbose="WARNING")
    except Exception as error:  # sensor positions do not need the digitization
        raw = mne.io.read_raw_kit(path, preload=False, verbose="WARNING")
        warnings.warn(
            f"recording {str(path)!r} is read without its digitization, because its markers or head points are "
            f"invalid ({type(error).__name__}: {str(error).strip()[:200]}). Correct or remove these files.",
            stacklevel=2,
        )
        return raw


def find_kit_head_files(path):
    """Find the files "mrk", "elp" and "hsp" of a KIT recording in BIDS.

    A missing file has the value None. Other recordings have an empty dict.
    """
    session = re.match(r"sub-[^_]+(_ses-[^_]+)?", path.stem)
    if session is None or path.suffix.lower() not in KIT:
        return {}
    recording = path.stem.removesuffix("_meg")
    found = {
        "mrk": [path.with_name(f"{recording}_markers{suffix}") for suffix in (".mrk", ".sqd")],
        "elp": [path.with_name(f"{session[0]}_acq-ELP_headshape.pos")],
        "hsp": [path.with_name(f"{session[0]}_acq-HSP_headshape.pos")],
    }
    return {name: next(filter(Path.is_file, paths), None) for name, paths in found.items()}


def _find_kit_digitization(path):
    """Return MNE's options, none unless all three files exist."""
    found = find_kit_head_files(path)
    if not found or None in found.values():
        return {}
    surface = read_kit_fastscan(found["hsp"])
    surface = surface[:: max(1, len(surface) // MAX_HEAD_POINTS)]
    return {"mrk": found["mrk"], "elp": read_kit_fastscan(found["elp"]), "hsp": surface}


def read_kit_fastscan(path):
    """Read the points in a text file of Polhemus FastSCAN.

    Parameters
    ----------
    path : path-like
        Lines of three coordinates in mm, and comments that begin with ``%``.

    Returns
    -------
    points : ndarray of shape (n_points, 3)
        Coordinates in m.

    Raises
    ------
    ValueError
        With the first line without three numbers.
    """
    check_regular_recording_file(path, "head points")
    points = []
    for number, line in enumerate(Path(path).read_text(encoding="latin-1").splitlines(), start=1):
        fields = line.partition("%")[0].split()
        if not fields:
            continue
        try:
            x, y, z = map(float, fields)
        except ValueError as error:
            raise FileFormatError(
                f"{str(path)!r}, line {number}: expected three coordinates in mm, got {line.strip()!r}."
            ) from error
        points.append((x, y, z))
    if not points:
        raise FileFormatError(f"{str(path)!r} has no points. Check that it is a FastSCAN text file.")
    return np.array(points) / 1000
