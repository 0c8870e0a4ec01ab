"""Checks of file names and sizes from servers and archives."""

from __future__ import annotations

import os
import stat
import unicodedata
from pathlib import PureWindowsPath

from sk_b2s._utils._text import shorten_text

MAX_PART_BYTES = 240  # of a folder or file name; with ".part" below the 255 of most file systems
MAX_NAME_BYTES = 1000  # of a path
RESERVED = {
    "CON",
    "PRN",
    "AUX",
    "NUL",
    "CONIN$",
    "CONOUT$",
    *(f"{port}{number}" for port in ("COM", "LPT") for number in "123456789¹²³"),
}  # fmt: skip ; device names on Windows, with any suffix
FORBIDDEN = set(
    '\\:*?"<>|'
)  # in names on Windows, where a backslash separates folders and a colon follows a drive


def check_file_name(name, source):
    """Check that a path stays in the folder of the study, on every platform.

    Parameters
    ----------
    name : str
        Path from a server or archive, with "/" between folders.
    source : str
        Description of the server or archive for the message.

    Returns
    -------
    parts : tuple of str
        Folders and file name.

    Raises
    ------
    ValueError
        If the path is absolute, has a drive, leaves the folder, or is not a
        valid file name on some platform.

    Examples
    --------
    >>> check_file_name("stimuli/audio/lw1.wav", "the server")
    ('stimuli', 'audio', 'lw1.wav')
    """
    if problem := _describe_invalid_name(name):
        outside = "a file outside the folder of the study, " if problem.startswith("leaves") else ""
        raise ValueError(
            f"{source} contains {outside}{shorten_text(name, 80)}, which {problem}. Nothing was downloaded. Download the "
            f"study manually, and contact the data set's maintainers."
        )
    return tuple(name.split("/"))


def _describe_invalid_name(name):
    """Describe why a path is not valid, "" if it is valid."""
    if not isinstance(name, str) or not name:
        return "is empty or not a string"
    windows = PureWindowsPath(name)
    if windows.drive or windows.root or ".." in windows.parts:
        return "leaves that folder on some platform"
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
        return "contains control characters"
    if found := FORBIDDEN & set(name):
        return (
            f"contains characters that are not allowed in file names on Windows ({' '.join(sorted(found))})"
        )
    parts = name.split("/")
    if any(part in ("", ".") or part != part.strip() or part.endswith(".") for part in parts):
        return "has an empty folder or file name, or one that begins or ends with a space or ends with a dot"
    if any(part.split(".")[0].rstrip().upper() in RESERVED for part in parts):
        return "is a device name on Windows"
    if max(len(part.encode()) for part in parts) > MAX_PART_BYTES or len(name.encode()) > MAX_NAME_BYTES:
        return f"is too long (more than {MAX_PART_BYTES} bytes in one name, or {MAX_NAME_BYTES} in total)"
    return ""


def check_file_name_size(size, name, source):
    """Return the listed size of a file as an integer or None."""
    if size is None or size == "":
        return None
    if isinstance(size, str) and size.isascii() and size.isdigit() and len(size) < 20:
        return int(size)
    if isinstance(size, float) and size.is_integer():
        size = int(size)
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise ValueError(
            f"{source} lists the size {shorten_text(size, 80)} for {shorten_text(name, 80)}, but a number of bytes is "
            f"required. Nothing was downloaded. Download the study manually, and contact the data set's maintainers."
        )
    return size


def open_part_file_name(path, append):
    """Open a partial file for writing, without following links.

    Parameters
    ----------
    path : Path
        Path that ends with ".part".
    append : bool
        Whether to keep the existing content.

    Returns
    -------
    file : BinaryIO
        The open file.

    Raises
    ------
    FileExistsError
        If the path is a link, folder, pipe or device, or has other hard links.
    """
    check_file_name_part(path)
    flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else 0)
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        check_file_name_part(path)  # the path may have been replaced since the first check
        raise OSError(error.errno, f"{error.strerror} while opening a partial download", str(path)) from error
    file = os.fdopen(descriptor, "ab" if append else "wb")
    if (kind := _describe_non_file(os.fstat(descriptor))) is not None:
        file.close()
        raise _make_file_name_error(path, kind)
    file.truncate(None if append else 0)
    return file


def check_file_name_part(path):
    """Raise if the path of a partial file is a link, folder or device."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    if (kind := _describe_non_file(found)) is not None:
        raise _make_file_name_error(path, kind)


def _describe_non_file(found):
    if stat.S_ISLNK(found.st_mode):
        return "a link"
    if stat.S_ISDIR(found.st_mode):
        return "a folder"
    if not stat.S_ISREG(found.st_mode):
        return "a pipe or a device"
    return "a file with a second hard link" if found.st_nlink > 1 else None


def _make_file_name_error(path, kind):
    return FileExistsError(
        f"{str(path)!r} is {kind}, not a partial download. Nothing was written to it. Remove it, and run the "
        f"download again."
    )


def open_new_file_name(path):
    """Open a new file for writing, without following links."""
    return open(path, "xb")
