"""Zip archives of data sets, unpacked within bounds."""

from __future__ import annotations

import os
import shutil
import stat
import warnings
import zipfile
import zlib
from pathlib import Path

from sk_b2s._utils._text import shorten_text
from sk_b2s.datasets._download import check_room
from sk_b2s.datasets._file_names import check_name, check_part, open_new

MOST_MEMBERS = 20_000
MOST_RATIO, LEAST_BOUND = 50, 10**8  # an archive unpacks to 50 times its size, or 0.1 GB, at most


class BadArchive(zipfile.BadZipFile, ValueError):
    """A zip archive that cannot be unpacked, or should not be."""


def unpack(archive, root, place, source=""):
    """Unpack a zip archive, leaving out what is there already with the same size.

    Parameters
    ----------
    archive : Path
    root : Path
        Folder of the study.
    place : callable
        Given the name of a member, returns where it goes in ``root``, or None to leave it out.
    source : str, default=""
        Address that the archive came from, for messages.

    Returns
    -------
    paths : list of Path
        Where the members are.

    Raises
    ------
    BadArchive
        If it is not a zip archive, is damaged or encrypted, or would unpack to very much more than its size.
    OSError
        If the disk does not have enough room, or something else has the name of a file.

    Warns
    -----
    UserWarning
        Naming members that are left out, because they are links, lead out of the folder or have the name of another.
    """
    came = f", from {source}," if source else ""
    again = "Remove it and fetch it again. If it comes so again, tell the maintainers of the data set."
    try:
        with zipfile.ZipFile(archive) as packed:
            members, left_out = _members(packed, place)
            _check_bounds(packed, [member for member, _ in members], archive, came, again)
            check_room(root, sum(m.file_size for m, where in members if not _is_there(root / where, m)))
            for member, where in members:
                _extract(packed, member, root / where)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        if isinstance(error, BadArchive):
            raise
        raise BadArchive(f"{str(archive)!r}{came} cannot be unpacked: {error}. {again}") from error
    if left_out:
        shown = ", ".join(f"{shorten_text(name, 80)} ({why})" for name, why in left_out[:5])
        warnings.warn(
            f"{str(archive)!r}: left out {len(left_out)} of {len(left_out) + len(members)} members: {shown}. "
            f"Unpack them by hand if they are needed.",
            stacklevel=4,
        )
    return [root / where for _, where in members]


def _members(packed, place):
    """List what is to be unpacked, (member, place), and what is left out, (name, reason)."""
    members, left_out, taken = [], [], {}
    for member in packed.infolist():
        if member.is_dir():
            continue
        name = member.filename
        try:
            check_name(name, "the archive")
        except ValueError as error:
            left_out.append((name, str(error).partition(", which ")[2].partition("; ")[0]))
            continue
        if (where := place(name)) is None:
            continue
        if stat.S_ISLNK(member.external_attr >> 16):
            left_out.append((name, "is a link"))
        elif (other := taken.setdefault(where.casefold(), member)) is not member:
            if (other.CRC, other.file_size) != (member.CRC, member.file_size):
                left_out.append((name, f"has the same place as {other.filename!r}"))
        else:
            members.append((member, where))
    return members, left_out


def _check_bounds(packed, members, archive, came, again):
    """Raise for an archive that is made to fill a disk."""
    size, total = Path(archive).stat().st_size, sum(member.file_size for member in members)
    most = max(MOST_RATIO * size, LEAST_BOUND)
    if total > most or len(packed.infolist()) > MOST_MEMBERS:
        raise BadArchive(
            f"{str(archive)!r}{came} has {size:,} bytes and would unpack to {total:,} in "
            f"{len(packed.infolist()):,} files; at most {most:,} bytes and {MOST_MEMBERS:,} files are "
            f"unpacked. Nothing was unpacked. {again}"
        )


def _is_there(target, member):
    return target.is_file() and target.stat().st_size == member.file_size


def _extract(packed, member, target):
    if _is_there(target, member):
        return
    if target.is_dir():
        raise IsADirectoryError(f"{str(target)!r} is a folder where a file is to be; remove or rename it.")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    check_part(part)
    part.unlink(missing_ok=True)
    with packed.open(member) as source, open_new(part) as sink:
        shutil.copyfileobj(source, sink)
    os.replace(part, target)
