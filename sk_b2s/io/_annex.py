"""Placeholders of git-annex and DataLad for files not yet fetched."""

from __future__ import annotations

import os
import re
from pathlib import Path

# A link, or a small file with a key in it.
POINTER = re.compile(rb"(/annex/objects/|(\.\./)*\.git/annex/objects/)")


def check_fetched(paths, root):
    """Raise if files are stand-ins of git-annex whose content is elsewhere.

    Parameters
    ----------
    paths : sequence of path-like
    root : path-like
        The data set, which the command is for.

    Raises
    ------
    FileNotFoundError
        Naming the first such file, their number, and the command that fetches them.
    """
    lost = []
    for path in map(Path, paths):
        files = path.rglob("*") if path.is_dir() else path.parent.glob(f"{_escape(path.stem)}.*")
        lost += [file for file in sorted({path, *files}) if _is_pointer(file)]
    if lost:
        place = os.path.relpath(lost[0], root)
        raise FileNotFoundError(
            f"{place!r} in {str(root)!r} is a link of git-annex whose content has not been fetched"
            f"{f' ({len(lost) - 1} more such files)' if len(lost) > 1 else ''}. Fetch it by\n"
            f"    datalad get -d {root} {place}\nor, in that folder, by\n    git annex get {place}\n"
            f"and the others likewise (a folder fetches all in it), or read what is there by subjects=[...]."
        )


def _escape(stem):
    return re.sub(r"([\[\]*?])", r"[\1]", stem)


def _is_pointer(path):
    if path.is_symlink():
        return not path.exists() and "annex" in os.readlink(path)
    if not path.is_file() or path.stat().st_size > 32768:
        return False
    with path.open("rb") as file:
        return POINTER.match(file.read(200)) is not None
