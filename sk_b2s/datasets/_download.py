"""Downloads of files, resumed after an interruption and checked.

openneuro-py, which the extra ``[fetch]`` installs, brings niquests and with it urllib3-future, a package that takes the
name and place of urllib3. What is here, by requests, works with either of the two.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import requests
from tqdm import tqdm

from sk_b2s._utils._text import shorten_text
from sk_b2s.datasets._file_names import (
    UnusableAddress,
    check_name,
    check_part,
    check_size,
    open_part,
)
from sk_b2s.datasets._servers import Stalled, check_answer, final_error, length_of, open_answer, pieces_of

ATTEMPTS = 6  # times that a connection may drop
WAIT = 2.0  # s before the second attempt; doubled before each further one
TIMEOUT = 60  # s without a byte, or with fewer than 1000 bytes a second
SPARE = 1.02  # share of the bytes to come that must be free
LEFT = 0.95  # share of the free disk that a file of unknown size may take
MOST_LIST = 2**26  # bytes of a list
BY_HAND = (
    "Open the address in a browser, save the file into the study's folder and run it again; files that are "
    "there are not fetched again."
)


class Remote(NamedTuple):
    """A file at its server."""

    path: str  # in the study's folder
    url: str
    size: int | None  # bytes
    checksum: str | None  # "sha256:..."


def download(files, root, progress=True):
    """Fetch files one at a time, going on with what was cut off, and check them.

    Parameters
    ----------
    files : sequence of Remote
    root : path-like
    progress : bool, default=True
        Show a bar for each file.

    Returns
    -------
    root : Path

    Raises
    ------
    ConnectionError
        If a connection dropped for good, or a server stalls. What came is kept, to be resumed. Also if an address is
        not http or https, or a server sends something else than its list says.
    PermissionError, FileNotFoundError
        If a server or proxy refuses, sends a page instead, or has no such file.
    ValueError
        If a file does not have its checksum, or its list names it in a way that cannot be used.
    OSError
        If the disk does not have enough room, or something else has the name of a file.
    """
    root, files = Path(root), [_checked(file) for file in files]
    root.mkdir(parents=True, exist_ok=True)
    missing = [file for file in files if not _is_there(file, root)]
    come = sum(_come(_part(root / file.path)) for file in missing)
    check_room(root, sum(file.size or 0 for file in missing) - come)
    for index, file in enumerate(missing, start=1):
        _Download(file, root, f"{index} of {len(missing)}: {file.path}", progress).run()
    return root


def _checked(file):
    """Check what a list says of a file, before anything is asked for or written."""
    source = f"the list of the server of {shorten_text(file.url, 80)}"
    check_name(file.path, source)
    if not isinstance(file.url, str) or not re.match(r"https?://[^/]", file.url):
        raise UnusableAddress(
            f"{file.path!r}: the list names the address {shorten_text(file.url, 80)}, which is not http or "
            f"https; nothing was fetched. Fetch the study by hand, and tell the maintainers of the data set."
        )
    if file.checksum is not None:
        kind, _, digest = str(file.checksum).partition(":")
        known = kind in hashlib.algorithms_guaranteed and not kind.startswith("shake")
        if not known or not re.fullmatch(f"[0-9a-fA-F]{{{2 * hashlib.new(kind).digest_size}}}", digest):
            raise ValueError(
                f"{source} names the checksum {shorten_text(file.checksum, 80)} for {file.path!r}, which is not "
                f"one; nothing was fetched. Fetch the study by hand, and tell the maintainers of the data "
                f"set."
            )
    return file._replace(size=check_size(file.size, file.path, source))


def _is_there(file, root):
    """Tell whether a file is there already, by its size: it was checked when it came, unless put there by hand."""
    path = root / file.path
    if path.is_dir():
        raise IsADirectoryError(
            f"{str(path)!r} is a folder where the file of {file.url} is to be; remove or rename it, and run "
            f"it again."
        )
    return path.is_file() and (file.size is None or path.stat().st_size == file.size)


def _part(path):
    return path.with_name(path.name + ".part")


def _come(part):
    """Bytes of a part, which must be one."""
    check_part(part)
    return part.stat().st_size if part.exists() else 0


def check_room(root, size):
    """Raise unless the disk has room for so many bytes.

    Parameters
    ----------
    root : Path
        Folder they are for, which need not be there yet.
    size : float
        Bytes to come.

    Raises
    ------
    OSError
        If there is too little.
    """
    there = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if size * SPARE > free:
        raise OSError(
            f"{size / 1e9:.1f} GB are to come, but only {free / 1e9:.1f} GB are free in {str(root)!r}. Make "
            f"room, choose another root, or fetch fewer participants by subjects=[...]."
        )


def _attempts():
    """Count attempts, resting before each further one for longer."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(WAIT * 2 ** (attempt - 1))
        yield attempt


class _Download:
    """One file on its way: what came is kept in a part beside its place, and the rest is asked for."""

    def __init__(self, file, root, title, progress):
        self.file, self.root, self.title, self.progress = file, root, title, progress
        self.target = root / file.path
        self.part = _part(self.target)
        self.manual = (
            f"Open {file.url} in a browser, save the file into the study's folder as {str(self.target)!r} "
            f"and run it again; files that are there are not fetched again."
        )

    def run(self):
        """Fetch, check and put into its place."""
        self._make_folder()
        begun = False
        for _ in _attempts():
            try:
                if self._go_on():
                    break
                trouble = "the connection dropped"
            except requests.HTTPError as error:
                trouble = f"the server answered {error.response.status_code} {error.response.reason}"
            except Stalled as error:
                trouble = f"the server stalled ({error})"
            except requests.RequestException as error:
                begun = begun or _come(self.part) > 0
                if (final := final_error(error, self.file.url, self.manual, begun)) is not None:
                    raise final from error
                trouble = f"the connection dropped ({type(error).__name__})"  # what came is in the file
        else:
            raise ConnectionError(
                f"{self.file.path!r}, from {self.file.url}: {trouble}, {ATTEMPTS} attempts in all. "
                f"{_come(self.part):,} bytes of it are kept; run it again to go on from there."
            )
        self._check_content()
        check_part(self.part)
        os.replace(self.part, self.target)  # a link of that name is replaced, not followed

    def _make_folder(self):
        folder = self.target.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise NotADirectoryError(
                f"{str(folder)!r} is to be a folder for {self.file.path!r}, but there is a file with its "
                f"name, or with that of a folder around it; remove or rename it, and run it again."
            ) from error

    def _check_content(self):
        if self.file.checksum is None:
            return
        kind, _, digest = self.file.checksum.partition(":")
        with self.part.open("rb") as file:
            found = hashlib.file_digest(file, kind).hexdigest()
        if found != digest.lower():
            self.part.unlink()
            raise ValueError(
                f"{self.file.path!r} came from {self.file.url} with another checksum than the server names "
                f"({self.file.checksum}) and was thrown away. Run it again; if it comes so again, the file "
                f"at the server has changed; tell the maintainers of the data set."
            )

    def _go_on(self):
        """Fetch the rest; tell whether the file is whole now."""
        file, come = self.file, _come(self.part)
        if file.size is not None and come >= file.size and (come or self.part.exists()):
            if come == file.size:
                return True
            self.part.unlink()
            come = 0
        # A packed answer would have another length than the file.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={come}-"} if come else {})
        with open_answer(file.url, headers, TIMEOUT) as answer:
            if answer.status_code == 416:  # the part is whole already, or none of this file
                whole = answer.headers.get("Content-Range") == f"bytes */{come}" and file.size is None
                if not whole:
                    self.part.unlink(missing_ok=True)
                return whole
            check_answer(answer, file.url, self.manual)
            self._check_is_file(answer)
            resumed = answer.status_code == 206
            if resumed and not self._is_the_rest(answer, come):
                self.part.unlink(missing_ok=True)
                return False
            begin, rest = (come, length_of(answer)) if resumed else (0, length_of(answer))
            whole = None if rest is None else begin + rest
            if whole is not None and file.size is not None and whole > file.size:
                raise self._other_size(f"offers {whole:,} bytes")
            self._write(answer, begin)
        come = _come(self.part)
        if whole is not None and come == whole and file.size not in (None, whole):
            raise self._other_size(f"sent {whole:,} bytes")
        expected = whole if file.size is None else file.size
        return expected is None or come == expected

    def _write(self, answer, begin):
        """Write what comes, and no more than there is to be."""
        size = self.file.size
        most = begin + int(shutil.disk_usage(self.part.parent).free * LEFT) if size is None else size
        bar = tqdm(
            desc=self.title, total=size, initial=begin, unit="B", unit_scale=True, disable=not self.progress
        )
        with open_part(self.part, append=begin > 0) as sink, bar:
            come = begin
            for piece in pieces_of(answer, TIMEOUT):
                sink.write(piece[: most - come])
                come += len(piece)
                bar.update(len(piece))
                if come > most:
                    break
        if come > most and size is None:
            self.part.unlink()
            raise OSError(
                f"{self.file.path!r}: {self.file.url} has sent {come / 1e9:.1f} GB without an end, as much "
                f"as is free in {str(self.root)!r}; it was thrown away. {self.manual}"
            )
        if come > most:
            raise self._other_size(f"sends more than {size:,} bytes")

    def _other_size(self, what):
        self.part.unlink(missing_ok=True)
        return UnusableAddress(
            f"{self.file.path!r}: {self.file.url} {what}, but its list says {self.file.size:,}; it was "
            f"thrown away. Run it again; if it comes so again, the file at the server has changed; tell the "
            f"maintainers of the data set."
        )

    def _is_the_rest(self, answer, come):
        """Tell whether a partial answer begins where the part ends; servers that do not say so are believed."""
        said = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
        return come > 0 and (said is None or int(said[1]) == come)

    def _check_is_file(self, answer):
        """Raise for a web page in the place of a file, as of a network that wants a log-in, or a packed file."""
        is_page = answer.headers.get("Content-Type", "").lower().startswith("text/html")
        if is_page and Path(self.file.path).suffix.lower() not in (".html", ".htm"):
            raise PermissionError(
                f"{answer.url} sent a web page instead of {self.file.path!r}: a network or server that wants "
                f"you to log in, or blocks programs. {self.manual}"
            )
        packing = answer.headers.get("Content-Encoding", "").strip().lower()
        if packing not in ("", "identity"):
            raise UnusableAddress(
                f"{self.file.path!r}: {self.file.url} sent it packed ({shorten_text(packing, 80)}), although it "
                f"was asked not to; nothing of it was kept. {self.manual}"
            )


def request_json(url, *keys, manual=BY_HAND):
    """Ask a server for a list that has some keys.

    Parameters
    ----------
    url : str
        Of an answer in JSON.
    *keys : str
        What it must hold.
    manual : str, default="Open the address in a browser ..."
        What can be done by hand, for messages.

    Returns
    -------
    said : dict

    Raises
    ------
    ConnectionError
        If the server does not answer, stalls, or sends a list without end.
    PermissionError, FileNotFoundError
        If it or a proxy refuses, sends a page, or has no such address.
    ValueError
        If a key is missing, or the list is nested too deeply.
    """
    for _ in _attempts():
        try:
            with open_answer(url, {"Accept": "application/json"}, TIMEOUT) as answer:
                check_answer(answer, url, manual)
                text = _text_of(answer, url, manual)
            return _parsed(text, url, keys, manual)
        except requests.RequestException as error:
            if (final := final_error(error, url, manual)) is not None:
                raise final from error
            last = error
    raise ConnectionError(f"{url} does not answer: {last}. Are you online? {manual}") from last


def _text_of(answer, url, manual):
    """Read the body of a list: bytes, unpacked."""
    text = bytearray()
    for piece in pieces_of(answer, TIMEOUT, decode=True):
        text += piece
        if len(text) > MOST_LIST:
            raise UnusableAddress(
                f"{url} sent a list of more than {MOST_LIST / 1e6:.0f} MB, which has no end. {manual}"
            )
    expected = None if answer.headers.get("Content-Encoding") else length_of(answer)
    if expected is not None and len(text) < expected:
        raise requests.ConnectionError(f"only {len(text):,} of {expected:,} bytes came")
    return bytes(text)


def _parsed(text, url, keys, manual):
    try:
        said = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"{url} sent a list that is nested too deeply to be read. {manual}") from error
    except ValueError as error:
        begin = text[:60].decode(errors="replace").strip()
        raise PermissionError(
            f"{url} sent no list but {begin!r}: a network or server that wants you to log in, or blocks "
            f"programs. {manual}"
        ) from error
    if not isinstance(said, dict):
        raise ValueError(
            f"{url} sent a list of another form than it had: {shorten_text(said, 80)} where {', '.join(keys)} "
            f"should be. {manual} Please tell the maintainers of this package."
        )
    if missing := [key for key in keys if key not in said]:
        raise ValueError(
            f"{url} sent a list of another form than it had: {missing} are missing. {manual} Please tell the "
            f"maintainers of this package."
        )
    return said
