"""Unpacking of zip archives with limits on size and paths."""

from __future__ import annotations

import os
import shutil
import stat
import warnings
import zipfile
import zlib
from pathlib import Path

from sk_b2s._utils._text import shorten_text
from sk_b2s.datasets._download import check_download_space
from sk_b2s.datasets._file_names import check_file_name, check_file_name_part, open_new_file_name

MAX_MEMBERS = 20_000
MAX_RATIO, MIN_LIMIT = 50, 10**8  # limit of the unpacked size: 50 times the archive, or 0.1 GB


class InvalidArchiveError(zipfile.BadZipFile, ValueError):
    """Error of a zip archive that is damaged or exceeds the limits."""


def unpack_archive(archive, root, choose_path, source=""):
    """Unpack a zip archive, except for existing files of the same size.

    Parameters
    ----------
    archive : Path
        The archive.
    root : Path
        Folder of the study.
    choose_path : callable
        Function of the name of a member, which returns its path in ``root``,
        or None to omit it.
    source : str, default=""
        Address of the archive for messages.

    Returns
    -------
    paths : list of Path
        Paths of the members.

    Raises
    ------
    InvalidArchiveError
        If the archive is damaged, encrypted or exceeds the limits.
    OSError
        If the disk is full, or if something else has the name of a file.

    Warns
    -----
    UserWarning
        If members are omitted because they are links, leave the folder or have
        the same path as another member.
    """
    origin = f", from {source}," if source else ""
    advice = "Remove it and download it again. If the error persists, contact the data set's maintainers."
    try:
        with zipfile.ZipFile(archive) as packed:
            members, omitted = _select_archive_members(packed, choose_path)
            _check_archive_limits(packed, [member for member, _ in members], archive, origin, advice)
            check_download_space(
                root, sum(m.file_size for m, where in members if not _is_extracted(root / where, m))
            )
            for member, where in members:
                _extract_member(packed, member, root / where)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        if isinstance(error, InvalidArchiveError):
            raise
        raise InvalidArchiveError(
            f"{str(archive)!r}{origin} cannot be unpacked: {error}. {advice}"
        ) from error
    if omitted:
        shown = ", ".join(f"{shorten_text(name, 80)} ({reason})" for name, reason in omitted[:5])
        warnings.warn(
            f"{str(archive)!r}: omitted {len(omitted)} of {len(omitted) + len(members)} members: {shown}. Unpack "
            f"them manually if they are needed.",
            stacklevel=4,
        )
    return [root / where for _, where in members]


def _select_archive_members(packed, choose_path):
    """Return pairs (member, path) to unpack, and (name, reason) to omit."""
    members, omitted, taken = [], [], {}
    for member in packed.infolist():
        if member.is_dir():
            continue
        name = member.filename
        try:
            check_file_name(name, "the archive")
        except ValueError as error:
            omitted.append((name, str(error).partition(", which ")[2].partition(". ")[0]))
            continue
        if (where := choose_path(name)) is None:
            continue
        if stat.S_ISLNK(member.external_attr >> 16):
            omitted.append((name, "is a link"))
        elif (other := taken.setdefault(where.casefold(), member)) is not member:
            if (other.CRC, other.file_size) != (member.CRC, member.file_size):
                omitted.append((name, f"has the same path as {other.filename!r}"))
        else:
            members.append((member, where))
    return members, omitted


def _check_archive_limits(packed, members, archive, origin, advice):
    """Raise for an archive whose content is suspiciously large."""
    size, total = Path(archive).stat().st_size, sum(member.file_size for member in members)
    limit = max(MAX_RATIO * size, MIN_LIMIT)
    if total > limit or len(packed.infolist()) > MAX_MEMBERS:
        raise InvalidArchiveError(
            f"{str(archive)!r}{origin} has {size:,} bytes and would unpack to {total:,} bytes in "
            f"{len(packed.infolist()):,} files. The limit is {limit:,} bytes and {MAX_MEMBERS:,} files. Nothing was "
            f"unpacked. {advice}"
        )


def _is_extracted(target, member):
    return target.is_file() and target.stat().st_size == member.file_size


def _extract_member(packed, member, target):
    if _is_extracted(target, member):
        return
    if target.is_dir():
        raise IsADirectoryError(
            f"{str(target)!r} is a folder, but a file of the archive belongs there. Remove or rename the folder."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    check_file_name_part(part)
    part.unlink(missing_ok=True)
    with packed.open(member) as source, open_new_file_name(part) as sink:
        shutil.copyfileobj(source, sink)
    os.replace(part, target)
