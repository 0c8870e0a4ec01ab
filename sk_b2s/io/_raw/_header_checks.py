"""Checks of recording headers against their files."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from pathlib import Path

from sk_b2s.io._file_parts import RecordingFormatError, parts_of

BYTES = {"INT_16": 2, "UINT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4}
LINE = r"^[ \t]*{name}[ \t]*=[ \t]*(\S+)"


def check_header(path):
    """Raise if the header of a BrainVision, EDF or BDF recording contradicts itself or its file.

    Parameters
    ----------
    path : path-like
        A recording, of any format.

    Raises
    ------
    ValueError
        If a file of another part of the recording was given, an EDF is named as a BDF or the other way round, a
        BrainVision header numbers other channels than it names, or its file of samples is empty.

    Warns
    -----
    UserWarning
        If the samples of a BrainVision recording end within a time point.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending in (".eeg", ".vmrk", ".dat") and (header := path.with_suffix(".vhdr")).is_file():
        raise RecordingFormatError(
            f"recording {str(path)!r} is a part of {header.name!r}: give that file, the header."
        )
    if ending == ".vhdr" and path.is_file():
        _check_brainvision(path)
    if ending in (".edf", ".bdf") and path.is_file():
        _check_edf(path, ending)


def _check_edf(path, ending):
    with path.open("rb") as file:
        first = file.read(8)
    true = {b"\xffBIOSEMI": ".bdf", b"0       ": ".edf"}.get(first, ending)
    if true != ending:
        raise RecordingFormatError(
            f"recording {str(path)!r} is {true[1:].upper()} by its first bytes and {ending[1:].upper()} by its name, "
            f"and the two have samples of another size. Rename it to {path.with_suffix(true).name!r}."
        )


def _check_brainvision(path):
    text = _text_of(path)
    said, names = _value(text, "NumberOfChannels"), _channels(text)
    if said.isdigit() and names and int(said) != len(names):
        raise RecordingFormatError(
            f"recording {str(path)!r}: its header says NumberOfChannels={said} and names {len(names)} channels. "
            f"Samples would be those of other channels: correct the header."
        )
    samples = parts_of(path).get("DataFile")
    if samples is None or not samples.is_file():
        return
    n_bytes, width = samples.stat().st_size, BYTES.get(_value(text, "BinaryFormat").upper())
    if n_bytes == 0:
        raise RecordingFormatError(
            f"recording {str(path)!r}: its samples {samples.name!r} are empty (0 bytes). Copy it again."
        )
    if width and names and _value(text, "DataFormat").upper() == "BINARY" and n_bytes % (width * len(names)):
        warnings.warn(
            f"recording {str(path)!r}: its samples {samples.name!r} ({n_bytes:,} bytes) end within a time point of "
            f"{len(names)} channels with {width} bytes each, and seem truncated or of another header. Copy both again.",
            stacklevel=3,
        )


def hint_of_header(path, error):
    """Say what in a BrainVision header or its markers MNE's reader fails at: a sentence, "" if it is nothing known.

    Parameters
    ----------
    path : path-like
    error : Exception

    Returns
    -------
    hint : str
    """
    path = Path(path)
    if path.suffix.lower() != ".vhdr" or not path.is_file():
        return ""
    twice = [name for name, count in Counter(_channels(_text_of(path))).items() if count > 1]
    if twice:
        return f"Its header names several channels {twice[0]!r}. Give each a name of its own."
    for file in (path, parts_of(path).get("MarkerFile")) if isinstance(error, UnicodeDecodeError) else ():
        try:
            (data := file.read_bytes()).decode("utf-8")
        except UnicodeDecodeError as wrong:
            line = data.count(b"\n", 0, wrong.start) + 1
            what = f"{file.name!r}, line {line}, is not UTF-8, as Codepage= says"
            return f"{what}. Save it as UTF-8, or write Codepage=ANSI."
    if re.fullmatch(r"0*\.?0*", _value(_text_of(path), "SamplingInterval")):
        return "Its header has no SamplingInterval above 0 (microseconds)."
    return ""


def _text_of(path):
    return path.read_bytes()[:1_000_000].decode("latin-1").partition("[Comment]")[0]


def _value(text, name):
    match = re.search(LINE.format(name=name), text, re.IGNORECASE | re.MULTILINE)
    return match[1] if match else ""


def _channels(text):
    """Names of the channels in the lines of [Channel Infos], not those of [Coordinates]."""
    part = re.split(r"^[ \t]*\[", text.partition("[Channel Infos]")[2], maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(r"^[ \t]*Ch\d+[ \t]*=[ \t]*([^,\r\n]*)", part, re.IGNORECASE | re.MULTILINE)
