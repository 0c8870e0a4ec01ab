"""Check and read the files of a recording."""

from __future__ import annotations

import codecs
import json
import re
import stat
from pathlib import Path

from sk_b2s._utils._caching import get_cache_code
from sk_b2s._utils._text import shorten_text
from sk_b2s.io._annex import check_annex_content

CODE = get_cache_code(__file__)
HEADER_LINE = re.compile(r"^\s*(DataFile|MarkerFile)\s*=\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE)


class FileFormatError(ValueError):
    """Error that already contains the way out, so that readers pass it on."""


def format_recording_file_name(raw):
    """Return the name of a recording for a message."""
    files = getattr(raw, "filenames", None)  # epochs and a Raw made by a hook have none
    return f"recording {Path(files[0]).name!r}" if files and files[0] else "the recording"


def describe_recording_file_size(path):
    """Return the size of a file or folder as text."""
    if not path.exists():
        return "absent"
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    return f"{sum(file.stat().st_size for file in files):,} bytes"


def check_regular_recording_file(path, what="file"):
    """Raise an OSError unless a path is a regular file, as pipes never end."""
    path = Path(path)
    start = f"{what} {shorten_text(path)}"
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        why = "is a link to a missing file" if path.is_symlink() else "does not exist"
        raise FileNotFoundError(f"{start} {why}. Copy or fetch the file.") from error
    except OSError as error:
        raise OSError(
            f"{start} cannot be opened: {error.strerror}. Copy the file there under a short name."
        ) from error
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{start} is a folder, but must be a file. Rename or remove it.")
    if not stat.S_ISREG(mode):
        raise OSError(f"{start} is a pipe or device and was not opened. Copy its content into a file.")


def decode_recording_file_text(data, path):
    """Decode a UTF-8 file, or raise a ValueError with the invalid line."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:4]:
        raise ValueError(f"{str(path)!r} must be UTF-8, but is UTF-16. Save it as UTF-8.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        text = data[max(0, error.start - 20) : error.start + 20].decode("latin-1")
        raise ValueError(
            f"{str(path)!r}, line {line}: invalid UTF-8 byte {data[error.start]:#04x} in {text!r}. Save the "
            "file as UTF-8."
        ) from error


def read_recording_json_file(path):
    """Read a JSON object, {} if the file holds something else."""
    check_regular_recording_file(path, "JSON file")
    try:
        content = json.loads(
            decode_recording_file_text(Path(path).read_bytes().removeprefix(codecs.BOM_UTF8), path)
        )
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} is not valid JSON: {error}. Correct or remove it.") from error
    return content if isinstance(content, dict) else {}


def list_recording_files_of_header(path):
    """List the files that the header of a recording names.

    Parameters
    ----------
    path : path-like
        Recording. Only BrainVision headers (``.vhdr``) name their files in
        plain text.

    Returns
    -------
    parts : dict of str to Path
        Files by the entry of the header, "DataFile" or "MarkerFile". They may
        be missing. Empty for other formats.
    """
    path = Path(path)
    if path.suffix.lower() not in (".vhdr", ".ahdr") or not path.is_file():
        return {}
    text = path.read_bytes()[:100_000].decode("latin-1").partition("[Comment]")[0]
    try:
        text = text.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        pass  # old headers are Latin-1
    places = {"datafile": "DataFile", "markerfile": "MarkerFile"}
    return {
        places[key.lower()]: path.parent / name.replace("$b", path.stem)
        for key, name in HEADER_LINE.findall(text)
    }


def check_recording_files(path):
    """Raise if a file that belongs to a recording is missing.

    Parameters
    ----------
    path : Path
        BrainVision header or CTF folder. Other formats are checked by their
        readers.

    Raises
    ------
    FileNotFoundError
        With the missing file, and a file of another name that may be the one.
    """
    if path.suffix.lower() == ".ds" and path.is_dir():
        _check_ctf(path)
    for key, part in list_recording_files_of_header(path).items():
        check_annex_content(part, "samples" if key == "DataFile" else "markers")
        if part.is_file():
            continue
        raise FileNotFoundError(
            f"recording {str(path)!r} names {key}={part.name}, which is not in its "
            f"folder{_suggest_recording_part(path, part)}"
        )


def _suggest_recording_part(path, part):
    """Return what to do about a missing part."""
    endings = {part.suffix.lower(), ".eeg" if part.suffix.lower() in (".eeg", ".dat") else ".vmrk"}
    found = [file for file in path.parent.glob("*") if file.suffix.lower() in endings]
    same = [file for file in found if file.stem == path.stem]
    if same:
        return (
            f". {same[0].name!r} exists. If files were renamed, write that name into the header, or copy the "
            "original files with mne_bids.copyfiles.copyfile_brainvision, which also changes the headers."
        )
    names = ", ".join(repr(file.name) for file in sorted(found)[:5])
    return (
        f"{f'. The folder holds {names}' if names else ''}. A BrainVision recording consists of three files "
        "(.vhdr, .vmrk, .eeg). Copy all of them."
    )


def _check_ctf(path):
    """Raise if a CTF folder is incomplete or was renamed without its files."""
    for ending in ("res4", "meg4"):
        if (path / f"{path.stem}.{ending}").is_file():
            continue
        found = sorted(file.name for file in path.glob(f"*.{ending}"))
        if found:
            raise FileNotFoundError(
                f"recording {str(path)!r} must hold '{path.stem}.{ending}', but holds {found[0]!r}. Files in a CTF "
                "folder have the name of the folder. Restore the name of the folder, or rename its files too."
            )
        raise FileNotFoundError(
            f"recording {str(path)!r} has no '{path.stem}.{ending}'. The CTF folder is incomplete. Copy all its "
            "files."
        )
    numbers = [
        int(match[1])
        for file in path.glob("*_meg4")
        if (match := re.fullmatch(rf"{re.escape(path.stem)}\.(\d+)_meg4", file.name))
    ]
    if missing := sorted(set(range(1, max(numbers, default=0))) - set(numbers)):
        raise FileNotFoundError(
            f"recording {str(path)!r} has no '{path.stem}.{missing[0]}_meg4', but later parts of its samples. "
            "Copy all its files."
        )
