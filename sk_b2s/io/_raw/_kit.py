"""KIT recordings with their head shape and digitization."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import mne
import numpy as np

from sk_b2s._utils._caching import code_of
from sk_b2s.io._file_parts import RecordingFormatError, check_regular

CODE = code_of(__file__)
KIT = (".con", ".sqd")
HEAD_SHAPE = 500  # points kept of a head's surface; FastSCAN writes hundreds of thousands


# --- KIT -----------------------------------------------------------------------------------------


def read_kit(path):
    head = {}
    try:
        head = _digitisation(path)
        return mne.io.read_raw_kit(path, **head, preload=False, verbose="WARNING")
    except Exception as error:  # the sensors' places do not need the head
        raw = mne.io.read_raw_kit(path, preload=False, verbose="WARNING")
        warnings.warn(
            f"recording {str(path)!r} is read without its head: the markers or head points beside it cannot be used "
            f"({type(error).__name__}: {str(error).strip()[:200]}).",
            stacklevel=2,
        )
        return raw


def head_files(path):
    """Find markers and points of the head of a KIT recording laid out after BIDS.

    Parameters
    ----------
    path : Path

    Returns
    -------
    files : dict of str to (Path or None)
        By the names "mrk", "elp" and "hsp". Empty for other recordings.
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


def _digitisation(path):
    """Options of MNE for the head of a KIT recording: {} unless markers and both kinds of points are there."""
    found = head_files(path)
    if not found or None in found.values():
        return {}
    surface = read_fastscan(found["hsp"])
    surface = surface[:: max(1, len(surface) // HEAD_SHAPE)]
    return {"mrk": found["mrk"], "elp": read_fastscan(found["elp"]), "hsp": surface}


def read_fastscan(path):
    """Read the points that Polhemus FastSCAN wrote as text.

    Parameters
    ----------
    path : str or Path
        Lines of three numbers in millimeters, and comments that begin with ``%``, whatever the file's suffix.

    Returns
    -------
    points : ndarray of shape (n_points, 3)
        In meters.

    Raises
    ------
    ValueError
        Naming the line that does not hold three numbers.
    """
    check_regular(path, "head points")
    points = []
    for number, line in enumerate(Path(path).read_text(encoding="latin-1").splitlines(), start=1):
        fields = line.partition("%")[0].split()
        if not fields:
            continue
        try:
            x, y, z = map(float, fields)
        except ValueError as error:
            raise RecordingFormatError(
                f"{str(path)!r}, line {number}: expected the three coordinates of a point in mm, got {line.strip()!r}."
            ) from error
        points.append((x, y, z))
    if not points:
        raise RecordingFormatError(f"{str(path)!r} holds no points; is it a FastSCAN text file?")
    return np.array(points) / 1000
