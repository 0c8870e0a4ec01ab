"""Checks of file names from servers and archives."""

from __future__ import annotations

import os
import stat
import unicodedata
from pathlib import PureWindowsPath

from sk_b2s._utils._text import shorten_text

MOST_BYTES = 240  # of a part of a name, so that ".part" fits into the 255 of most file systems
MOST_TOTAL = 1000  # bytes of a whole name
RESERVED = {
    "CON",
    "PRN",
    "AUX",
    "NUL",
    "CONIN$",
    "CONOUT$",
    *(f"{port}{number}" for port in ("COM", "LPT") for number in "123456789¹²³"),
}  # fmt: skip ; names of devices on Windows, with any ending
FORBIDDEN = set('\\:*?"<>|')  # in names on Windows; a backslash separates folders there, and a colon a drive


class UnusableAddress(ConnectionError, ValueError):
    """An address, or what it sent, that cannot be used, however often it is tried."""


def check_name(name, source):
    """Check that a name stays in the study's folder, on every platform.

    Parameters
    ----------
    name : str
        As the server or archive sent it, with "/" between folders.
    source : str
        Who names it, for the message.

    Returns
    -------
    parts : tuple of str
        Folders and the file.

    Raises
    ------
    ValueError
        If it is absolute, has a drive, leads out of the folder, or cannot be a file's name on some platform.

    Examples
    --------
    >>> check_name("stimuli/audio/lw1.wav", "the server")
    ('stimuli', 'audio', 'lw1.wav')
    """
    if wrong := _wrong(name):
        outside = "a file outside the study's folder, " if wrong.startswith("leads") else ""
        raise ValueError(
            f"{source} names {outside}{shorten_text(name, 80)}, which {wrong}; nothing was fetched. Fetch the "
            f"study by hand, and tell the maintainers of the data set."
        )
    return tuple(name.split("/"))


def _wrong(name):
    """What is wrong with a name: str, empty if nothing is."""
    if not isinstance(name, str) or not name:
        return "is empty or not a text"
    windows = PureWindowsPath(name)
    if windows.drive or windows.root or ".." in windows.parts:
        return "leads out of that folder on some platform"
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
        return "holds control characters"
    if found := FORBIDDEN & set(name):
        return f"holds characters that cannot be in a file name on Windows ({' '.join(sorted(found))})"
    parts = name.split("/")
    if any(part in ("", ".") or part != part.strip() or part.endswith(".") for part in parts):
        return (
            "has a folder or file without a name, or one that begins or ends with a space or ends with a dot"
        )
    if any(part.split(".")[0].rstrip().upper() in RESERVED for part in parts):
        return "is the name of a device on Windows"
    if max(len(part.encode()) for part in parts) > MOST_BYTES or len(name.encode()) > MOST_TOTAL:
        return f"is too long (more than {MOST_BYTES} bytes in one part, or {MOST_TOTAL} in all)"
    return ""


def check_size(size, name, source):
    """Return the size of a file as a server names it: int, or None where it names none.

    Raises
    ------
    ValueError
        If it is negative or not a whole number.
    """
    if size is None or size == "":
        return None
    if isinstance(size, str) and size.isascii() and size.isdigit() and len(size) < 20:
        return int(size)
    if isinstance(size, float) and size.is_integer():
        size = int(size)
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise ValueError(
            f"{source} names the size {shorten_text(size, 80)} for {shorten_text(name, 80)}; expected a number of "
            f"bytes. Nothing was fetched. Fetch the study by hand, and tell the maintainers of the data set."
        )
    return size


def open_part(path, append):
    """Open the part of a download for writing, if it is a file of its own and not a link.

    Parameters
    ----------
    path : Path
        Ends in ".part".
    append : bool
        Go on after what it holds. Otherwise it begins empty.

    Returns
    -------
    file : BinaryIO

    Raises
    ------
    FileExistsError
        If it is a link, a folder, a pipe or a device, or has a second name elsewhere.
    """
    check_part(path)
    flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else 0)
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        check_part(path)  # it may have become one since
        raise OSError(
            error.errno, f"{error.strerror} while a download was to be written", str(path)
        ) from error
    file = os.fdopen(descriptor, "ab" if append else "wb")
    if (wrong := _planted(os.fstat(descriptor))) is not None:
        file.close()
        raise _refused(path, wrong)
    file.truncate(None if append else 0)
    return file


def check_part(path):
    """Raise if something that is not a part of a download has its name."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    if (wrong := _planted(found)) is not None:
        raise _refused(path, wrong)


def _planted(found):
    if stat.S_ISLNK(found.st_mode):
        return "a link"
    if stat.S_ISDIR(found.st_mode):
        return "a folder"
    if not stat.S_ISREG(found.st_mode):
        return "a pipe or a device"
    return "a file with a second name elsewhere (a hard link)" if found.st_nlink > 1 else None


def _refused(path, wrong):
    return FileExistsError(
        f"{str(path)!r} is {wrong}, and not the part of a download; nothing was written to it. Remove it, "
        f"and run it again."
    )


def open_new(path):
    """Open a file for writing that must not exist, so that no link is followed: BinaryIO."""
    return open(path, "xb")
