"""Checks of recording headers against their files."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from pathlib import Path

from sk_b2s.io._recording_files import FileFormatError, list_recording_files_of_header

SAMPLE_BYTES = {"INT_16": 2, "UINT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4}
LINE = r"^[ \t]*{name}[ \t]*=[ \t]*(\S+)"


def check_header(path):
    """Raise if a header contradicts itself or its file.

    Parameters
    ----------
    path : path-like
        Recording of any format. BrainVision, EDF and BDF headers are checked.

    Raises
    ------
    ValueError
        If the file is another part of the recording, an EDF file is named BDF
        or the other way round, a BrainVision header has another number of
        channels than names, or its file of samples is empty.

    Warns
    -----
    UserWarning
        If the samples of a BrainVision recording end within a time point.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending in (".eeg", ".vmrk", ".dat") and (header := path.with_suffix(".vhdr")).is_file():
        raise FileFormatError(
            f"recording {str(path)!r} is a part of {header.name!r}. Pass that file, the header, instead."
        )
    if ending == ".vhdr" and path.is_file():
        _check_brainvision_header(path)
    if ending in (".edf", ".bdf") and path.is_file():
        _check_edf_header(path, ending)


def _check_edf_header(path, ending):
    """Raise if an EDF file is named BDF or the other way round."""
    with path.open("rb") as file:
        first = file.read(8)
    actual = {b"\xffBIOSEMI": ".bdf", b"0       ": ".edf"}.get(first, ending)
    if actual != ending:
        raise FileFormatError(
            f"recording {str(path)!r} is an {actual[1:].upper()} file, but is named as {ending[1:].upper()}, "
            f"which has samples of another size. Rename it to {path.with_suffix(actual).name!r}."
        )


def _check_brainvision_header(path):
    """Raise if a header or its file of samples is inconsistent."""
    text = _read_brainvision_header(path)
    n_channels, names = _find_header_value(text, "NumberOfChannels"), _list_header_channel_names(text)
    if n_channels.isdigit() and names and int(n_channels) != len(names):
        raise FileFormatError(
            f"recording {str(path)!r}: the header has NumberOfChannels={n_channels}, but names {len(names)} "
            "channels, so that samples would be assigned to wrong channels. Correct the header."
        )
    samples = list_recording_files_of_header(path).get("DataFile")
    if samples is None or not samples.is_file():
        return
    n_bytes, width = (
        samples.stat().st_size,
        SAMPLE_BYTES.get(_find_header_value(text, "BinaryFormat").upper()),
    )
    if n_bytes == 0:
        raise FileFormatError(
            f"recording {str(path)!r}: its file of samples, {samples.name!r}, is empty (0 bytes). Copy it again."
        )
    if (
        width
        and names
        and _find_header_value(text, "DataFormat").upper() == "BINARY"
        and n_bytes % (width * len(names))
    ):
        warnings.warn(
            f"recording {str(path)!r}: its file of samples, {samples.name!r} ({n_bytes:,} bytes), ends within a "
            f"time point of {len(names)} channels with {width} bytes each. It seems truncated or belongs to "
            "another header. Copy both files again.",
            stacklevel=3,
        )


def explain_header_error(path, error):
    """Return why MNE cannot read a BrainVision header, "" if unknown."""
    path = Path(path)
    if path.suffix.lower() != ".vhdr" or not path.is_file():
        return ""
    twice = [
        name
        for name, count in Counter(_list_header_channel_names(_read_brainvision_header(path))).items()
        if count > 1
    ]
    if twice:
        return f"The header has several channels with the name {twice[0]!r}. Give each channel a unique name."
    for file in (
        (path, list_recording_files_of_header(path).get("MarkerFile"))
        if isinstance(error, UnicodeDecodeError)
        else ()
    ):
        try:
            (data := file.read_bytes()).decode("utf-8")
        except UnicodeDecodeError as wrong:
            line = data.count(b"\n", 0, wrong.start) + 1
            what = f"{file.name!r}, line {line}, is not UTF-8, but the header has Codepage=UTF-8"
            return f"{what}. Save it as UTF-8, or write Codepage=ANSI."
    if re.fullmatch(r"0*\.?0*", _find_header_value(_read_brainvision_header(path), "SamplingInterval")):
        return "The header must have a SamplingInterval above 0 (in microseconds)."
    return ""


def _read_brainvision_header(path):
    """Return the text of a BrainVision header without its comment."""
    return path.read_bytes()[:1_000_000].decode("latin-1").partition("[Comment]")[0]


def _find_header_value(text, name):
    """Return the value of an entry, "" if it is missing."""
    match = re.search(LINE.format(name=name), text, re.IGNORECASE | re.MULTILINE)
    return match[1] if match else ""


def _list_header_channel_names(text):
    """Return the names in [Channel Infos], not those in [Coordinates]."""
    part = re.split(r"^[ \t]*\[", text.partition("[Channel Infos]")[2], maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(r"^[ \t]*Ch\d+[ \t]*=[ \t]*([^,\r\n]*)", part, re.IGNORECASE | re.MULTILINE)
