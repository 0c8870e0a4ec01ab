"""Files of a recording, and errors where one is missing or no file."""

from __future__ import annotations

import codecs
import json
import re
import stat
from pathlib import Path

from sk_b2s._utils._caching import code_of
from sk_b2s._utils._text import shorten_text
from sk_b2s.io._annex import check_content

CODE = code_of(__file__)
HEADER_LINE = re.compile(r"^\s*(DataFile|MarkerFile)\s*=\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE)


class RecordingFormatError(ValueError):
    """An error that already tells the user what to do."""


def describe_size(path):
    """Describe the size of a file or folder in a message."""
    if not path.exists():
        return "absent"
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    return f"{sum(file.stat().st_size for file in files):,} bytes"


def check_regular(path, what="file"):
    """Raise unless a path leads to a regular file, since a pipe or device may never end.

    Parameters
    ----------
    path : path-like
    what : str, default="file"
        Name of the kind of file in the message.

    Raises
    ------
    OSError
        Of the class that fits, with what to do.
    """
    path = Path(path)
    start = f"{what} {shorten_text(path)}"
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        why = "is a link to a file that does not exist" if path.is_symlink() else "does not exist"
        raise FileNotFoundError(f"{start} {why}. Copy or fetch the file.") from error
    except OSError as error:
        raise OSError(
            f"{start} cannot be opened: {error.strerror}. Copy the file there under a short name."
        ) from error
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{start} is a folder, and a file is expected. Rename or remove it.")
    if not stat.S_ISREG(mode):
        raise OSError(f"{start} is a pipe or device and was not opened. Copy its content into a file.")


def decode_utf8(data, path):
    """Decode the content of a text file.

    Parameters
    ----------
    data : bytes
        Without a mark of byte order.
    path : path-like
        For the message.

    Returns
    -------
    text : str

    Raises
    ------
    ValueError
        Naming the line, if the content is not UTF-8.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:4]:
        raise ValueError(f"{str(path)!r} is UTF-16, and UTF-8 is expected. Save it as UTF-8.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        text = data[max(0, error.start - 20) : error.start + 20].decode("latin-1")
        raise ValueError(
            f"{str(path)!r}, line {line}: byte {data[error.start]:#04x} is not UTF-8, in {text!r}. Save the file as "
            f"UTF-8."
        ) from error


def read_json(path):
    """Read the object in a JSON file.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    about : dict
        Empty if the file holds something else than an object.

    Raises
    ------
    ValueError
        Naming the file, if it is not JSON.
    """
    check_regular(path, "JSON file")
    try:
        about = json.loads(decode_utf8(Path(path).read_bytes().removeprefix(codecs.BOM_UTF8), path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} is not valid JSON: {error}. Correct or remove it.") from error
    return about if isinstance(about, dict) else {}


def parts_of(path):
    """List the files that the header of a recording names.

    Parameters
    ----------
    path : path-like
        A recording. Only BrainVision headers (``.vhdr``) name their files in plain text.

    Returns
    -------
    parts : dict of str to Path
        The line of the header, "DataFile" or "MarkerFile", and the file, which may be missing. Empty for
        other formats.
    """
    path = Path(path)
    if path.suffix.lower() not in (".vhdr", ".ahdr") or not path.is_file():
        return {}
    text = path.read_bytes()[:100_000].decode("latin-1").partition("[Comment]")[0]
    try:
        text = text.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        pass  # older headers are Latin-1
    places = {"datafile": "DataFile", "markerfile": "MarkerFile"}
    return {
        places[key.lower()]: path.parent / name.replace("$b", path.stem)
        for key, name in HEADER_LINE.findall(text)
    }


def check_parts(path):
    """Raise if a file that belongs to a recording is missing, with the way out.

    Parameters
    ----------
    path : Path
        A BrainVision header or a CTF folder. Others are checked when they are opened.

    Raises
    ------
    FileNotFoundError
        Naming the recording, the missing file, and a file of another name that may be the one.
    """
    if path.suffix.lower() == ".ds" and path.is_dir():
        _check_ctf(path)
    for key, part in parts_of(path).items():
        check_content(part, "samples" if key == "DataFile" else "markers")
        if part.is_file():
            continue
        raise FileNotFoundError(
            f"recording {str(path)!r} names {key}={part.name}, which is not in its folder"
            f"{_renamed(path, part)}"
        )


def _renamed(path, part):
    """Advise on a part that is missing: renamed, or not copied."""
    endings = {part.suffix.lower(), ".eeg" if part.suffix.lower() in (".eeg", ".dat") else ".vmrk"}
    there = [file for file in path.parent.glob("*") if file.suffix.lower() in endings]
    same = [file for file in there if file.stem == path.stem]
    if same:
        return (
            f". {same[0].name!r} is there: if files were renamed, put that name into the header, or copy the original "
            f"files by mne_bids.copyfiles.copyfile_brainvision, which changes the headers too."
        )
    names = ", ".join(repr(file.name) for file in sorted(there)[:5])
    return (
        f"{f'; it holds {names}' if names else ''}. A BrainVision recording is three files (.vhdr, .vmrk, .eeg): copy "
        f"all of them."
    )


def _check_ctf(path):
    """Raise for a CTF folder without its header or samples, or whose files were not renamed with it."""
    for ending in ("res4", "meg4"):
        if (path / f"{path.stem}.{ending}").is_file():
            continue
        there = sorted(file.name for file in path.glob(f"*.{ending}"))
        if there:
            raise FileNotFoundError(
                f"recording {str(path)!r} must hold '{path.stem}.{ending}', but holds {there[0]!r}: files in a CTF "
                f"folder have the folder's name. Rename the folder back, or its files with it."
            )
        raise FileNotFoundError(
            f"recording {str(path)!r} has no '{path.stem}.{ending}': the CTF folder is not whole. Copy all its files."
        )
    numbers = [
        int(match[1])
        for file in path.glob("*_meg4")
        if (match := re.fullmatch(rf"{re.escape(path.stem)}\.(\d+)_meg4", file.name))
    ]
    if lost := sorted(set(range(1, max(numbers, default=0))) - set(numbers)):
        raise FileNotFoundError(
            f"recording {str(path)!r} has no '{path.stem}.{lost[0]}_meg4', though later parts of its samples are "
            f"there. Copy all its files."
        )
