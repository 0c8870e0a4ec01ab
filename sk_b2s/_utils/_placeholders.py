"""Placeholder files that git-annex and DataLad leave for missing content."""

from __future__ import annotations

import errno
import re
from pathlib import Path

# git-annex reads no more of a file when it looks for a pointer.
MAX_BYTES = 32_768
# The first line is a path into annex/objects: "/annex/objects/KEY" in an unlocked file, the target of
# the link ("../../.git/annex/objects/...") where the file system has no symbolic links.
POINTER = re.compile(
    rb"\s*(?:[./\\]|[A-Za-z]:[/\\])[^\n\t]*?annex[/\\]objects[/\\]|\s*[/\\]annex[/\\]objects[/\\]"
)


def is_placeholder(path):
    """Return whether a file stands for content that was not fetched.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    is_placeholder : bool
        True for a symbolic link to a missing file and for a pointer file of
        git-annex. False for a loop of links, which no command can fetch.
    """
    path = Path(path)
    if path.is_symlink() and not path.exists():
        return not is_placeholder_loop(path)
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        return False
    with path.open("rb") as file:
        return POINTER.match(file.read(1024)) is not None


def is_placeholder_loop(path):
    """Return whether a symbolic link leads back to itself."""
    try:
        Path(path).stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False
