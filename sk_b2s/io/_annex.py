"""Errors for git-annex and DataLad files whose content was not fetched."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sk_b2s._utils._placeholders import is_placeholder, is_placeholder_loop


def check_annex_fetched(paths, root):
    """Raise if files, or others of the same stem, are placeholders.

    Parameters
    ----------
    paths : sequence of path-like
        Files, or folders that are searched.
    root : path-like
        Folder of the data set, for the command in the message.

    Raises
    ------
    FileNotFoundError
        With the first such file, their number, and the command that fetches
        them.
    """
    missing = []
    for path in map(Path, paths):
        files = path.rglob("*") if path.is_dir() else path.parent.glob(f"{_escape_glob_stem(path.stem)}.*")
        missing += [file for file in sorted({path, *files}) if is_placeholder(file)]
    if missing:
        file = os.path.relpath(missing[0], root)
        raise FileNotFoundError(
            f"The content of {file!r} in {str(root)!r} has not been fetched: the file is a git-annex placeholder or "
            f"a broken link{f' ({len(missing) - 1} more such files)' if len(missing) > 1 else ''}. Fetch it with\n"
            f"    datalad get -d {root} {file}\nor, in that folder, with\n    git annex get {file}\n"
            f"A folder in place of the file fetches all files in it. To read only subjects whose files are complete, "
            f"pass subjects=[...]."
        )


def _escape_glob_stem(stem):
    return re.sub(r"([\[\]*?])", r"[\1]", stem)


def check_annex_content(path, what="recording"):
    """Raise if a file is a placeholder or a link that leads to no file.

    Parameters
    ----------
    path : Path
    what : str, default="recording"
        Kind of file in the message.

    Raises
    ------
    FileNotFoundError
        With the command that fetches the content.
    OSError
        If the path is a loop of links.
    """
    if path.is_symlink() and is_placeholder_loop(path):
        raise OSError(
            f"{what} {str(path)!r} is a link that leads back to itself. Copy the file there instead."
        )
    if is_placeholder(path):
        raise FileNotFoundError(
            f"The content of {what} {str(path)!r} has not been fetched: the file is a git-annex placeholder or a "
            f"broken link. Run `datalad get {path.name!r}` or `git annex get {path.name!r}` in {str(path.parent)!r}."
        )
