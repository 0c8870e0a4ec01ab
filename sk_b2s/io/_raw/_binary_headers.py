"""Times and links in EDF, BDF and FIF headers that MNE does not report."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sk_b2s._utils._caching import get_cache_code

CODE = get_cache_code(__file__)
TIME = re.compile(rb"([+-]\d+(?:\.\d*)?)\x14")
NEW_EPOCH = 1  # bit 16 of the BioSemi status, the lowest one of its third byte
# FIFF tags: role and name of another file, and samples.
REF_ROLE, REF_NAME = 115, 118
DATA_BUFFER = 300
MAX_TAGS, MAX_BYTES = 100_000, 10_000  # limits against loops of links and wrong sizes
PREVIOUS = 1  # role of the previous part


class EdfHeader(NamedTuple):
    """Layout of an EDF or BDF file."""

    offset: int  # bytes before the first data record
    n_records: int
    seconds: float  # of a data record
    labels: list
    counts: np.ndarray  # samples of each signal in a record
    width: int  # bytes of a sample
    is_discontinuous: bool  # EDF+D or BDF+D


def read_edf_header(path):
    """Read the layout of an EDF or BDF file, None if it is not standard."""
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(256).replace(b"\0", b" ")
        try:
            offset, n_records, seconds = int(head[184:192]), int(head[236:244]), float(head[244:252])
            n_signals = int(head[252:256])
            rest = file.read(256 * n_signals).replace(b"\0", b" ")
            counts = np.array([int(rest[216 * n_signals + 8 * i :][:8]) for i in range(n_signals)], int)
        except ValueError:
            return None
    labels = [rest[16 * i : 16 * i + 16].decode("latin-1").strip() for i in range(n_signals)]
    width = 3 if head[:1] == b"\xff" else 2
    size = width * int(counts.sum())
    if not (seconds > 0 and size > 0 and (counts >= 0).all() and offset > 0):
        return None
    whole = (path.stat().st_size - offset) // size
    n_records = (
        whole if n_records < 0 else min(n_records, whole)
    )  # -1 means that the recording was not closed
    is_discontinuous = head[192:197] in (b"EDF+D", b"BDF+D")
    return EdfHeader(offset, n_records, seconds, labels, counts, width, is_discontinuous)


def _map_edf_signal(path, header, index):
    """Return the bytes of one signal, (n_records, bytes per record)."""
    size = header.width * int(header.counts.sum())
    if header.n_records < 1:
        return np.empty((0, 0), np.uint8)
    records = np.memmap(path, np.uint8, "r", header.offset, (header.n_records, size))
    first = header.width * int(header.counts[:index].sum())
    return records[:, first : first + header.width * int(header.counts[index])]


def read_binary_record_times(path):
    """Read the onset of each data record of an EDF+D or BDF+D file.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    times : ndarray of shape (n_records,) or None
        Seconds since the first record. None for continuous files.
    seconds : float or None
        Duration of a data record. None for continuous files.
    """
    header = read_edf_header(path)
    if header is None or not header.is_discontinuous:
        return None, None
    notes = [i for i, label in enumerate(header.labels) if label in ("EDF Annotations", "BDF Annotations")]
    if not notes:
        return None, header.seconds
    found = [TIME.match(bytes(record)) for record in _map_edf_signal(path, header, notes[0])]
    times = np.array([float(match[1]) if match else np.nan for match in found])
    return (times - times[0] if len(times) else times), header.seconds


def find_binary_header_breaks(path):
    """Return the times in seconds where a BioSemi amplifier resumed recording.

    A new epoch sets bit 16 of the status channel of the BDF file.
    """
    header = read_edf_header(path)
    if header is None:
        return []
    status = [i for i, label in enumerate(header.labels) if label.lower() == "status"]
    if not status or header.width != 3 or not header.counts[status[0]]:
        return []
    flag = np.ascontiguousarray(_map_edf_signal(path, header, status[0])[:, 2::3]).ravel() & NEW_EPOCH
    rate = header.counts[status[0]] / header.seconds
    return ((np.flatnonzero(np.diff(flag.astype(np.int8)) == 1) + 1) / rate).tolist()


def read_binary_fif_header(path):
    """Return the name of the file that a FIF file continues, or None."""
    role = None
    with Path(path).open("rb") as file:
        for _ in range(MAX_TAGS):
            if len(head := file.read(16)) < 16:
                return None
            kind, _, size, after = struct.unpack(">iiii", head)
            if kind == DATA_BUFFER or size < 0:
                return None
            is_short = kind in (REF_ROLE, REF_NAME) and size < MAX_BYTES
            content = file.read(size) if is_short else file.seek(size, 1)
            if kind == REF_ROLE and is_short and size == 4:
                role = struct.unpack(">i", content)[0]
            elif kind == REF_NAME and is_short and role == PREVIOUS:
                return content.decode("latin-1")
            if after < 0:
                return None
            if after > 0:
                file.seek(after)
    return None
