"""Identity of recordings by the content of all their files."""

from __future__ import annotations

import warnings
from functools import lru_cache
from glob import escape
from hashlib import blake2b
from pathlib import Path

from sk_b2s._utils._caching import digest_cached_content, get_cached_file_state
from sk_b2s.io._raw._gaps import read_type_for_gaps
from sk_b2s.io._raw._hdf5 import SUFFIXES as HDF5_SUFFIXES
from sk_b2s.io._raw._hdf5 import find_hdf5_positions
from sk_b2s.io._raw._kit import find_kit_head_files
from sk_b2s.io._raw._read_raw import read_raw
from sk_b2s.io._recording_files import list_recording_files_of_header
from sk_b2s.io._sidecars import list_sidecars

NOT_OPENED = (
    ".mat",
    ".edf",
    ".bdf",
    ".gdf",
    ".con",
    ".sqd",
    ".npy",
    *HDF5_SUFFIXES,
)  # single files without links to others
ONE_FILE = (*NOT_OPENED, ".fif")  # formats without further files of the same stem


def list_recording_identity_files(path):
    """List the files of a recording, each with its role.

    These are the file itself, files named in its header (BrainVision samples,
    ``.fdt`` of EEGLAB, parts of a split FIF), markers and head points of KIT,
    the content of a folder, and BIDS sidecar files.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    files : list of (str, Path)
        Sorted by role, which does not depend on the name of the recording.
        Empty if the file does not exist.
    """
    path = Path(path)
    if path.is_dir():
        inside = [file for file in path.rglob("*") if file.is_file()]
        found = [(file.relative_to(path).as_posix().replace(path.stem, "*"), file) for file in inside]
    elif path.exists():
        found = [("main" + path.suffix.lower(), path)]
        found += [
            (f"part {number}{file.suffix}", file) for number, file in enumerate(_find_linked_files(path))
        ]
        found += [
            (name, file) for name, file in list_recording_files_of_header(path).items() if file.is_file()
        ]
        if path.suffix.lower() not in ONE_FILE:
            siblings = path.parent.glob(f"{escape(path.stem)}.*")
            found += [(file.name.removeprefix(path.stem), file) for file in siblings if file.is_file()]
        found += [("positions", file)] if (file := find_hdf5_positions(path)) else []
        found += [(role, file) for role, file in find_kit_head_files(path).items() if file is not None]
    else:
        return []
    found += [(file.name.rpartition("_")[2], file) for file in list_sidecars(path)]
    distinct = {file: (role, file) for role, file in reversed(found)}  # keeps the first role of each file
    return sorted(distinct.values())


def _find_linked_files(path):
    """Return files named in a header, none if it cannot be read."""
    if path.suffix.lower() in NOT_OPENED:
        return []
    try:
        return _list_opened_files(get_cached_file_state(path))
    except (ValueError, OSError):
        return []


@lru_cache(maxsize=65536)
def _list_opened_files(state):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = read_raw(state[0])
    return [
        Path(name) for name in raw.filenames if name and Path(name).is_file() and Path(name) != Path(state[0])
    ]


def get_recording_identity_state(path):
    """Return the path and state of all files, valid in one process."""
    return (
        str(path),
        read_type_for_gaps(path),
        *(get_cached_file_state(file) for _, file in list_recording_identity_files(path)),
    )


def digest_recording_identity(path):
    """Compute a digest of the content of all files of a recording.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    stamp : str
        32 hexadecimal digits, which do not depend on paths or dates. Empty if
        the file does not exist.
    """
    digests = [f"{role} {digest_cached_content(file)}" for role, file in list_recording_identity_files(path)]
    if digests and (kind := read_type_for_gaps(path))[0] not in ("", "continuous"):
        digests.append(repr(kind))
    return blake2b("\n".join(digests).encode(), digest_size=16).hexdigest() if digests else ""


def digest_recording_identity_at_path(path):
    """Digest the content and path, which a ``raw_hook`` may read."""
    return f"{digest_recording_identity(path)} {Path(path).absolute()}"
