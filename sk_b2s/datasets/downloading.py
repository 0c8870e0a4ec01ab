"""Files from servers one at a time, resumed where a connection dropped, and checked; and lists of them.

openneuro-py, which the extra ``[fetch]`` installs, brings niquests and with it urllib3-future, a package that takes the
name and place of urllib3. What is here, by pooch and requests, works with either of the two.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import NamedTuple

import pooch
import requests
from tqdm import tqdm

__all__ = ["Remote", "ask", "check_room", "download"]

ATTEMPTS = 6  # times that a connection may drop
WAIT = 2.0  # s before the second attempt; doubled before each further one
TIMEOUT = 60  # s without a byte
CHUNK = 2**16  # bytes; so many at most are lost when a connection drops
SPARE = 1.02  # share of the bytes to come that must be free


class Remote(NamedTuple):
    """A file at its server."""

    path: str  # in the study's folder
    url: str
    size: int | None  # bytes
    checksum: str | None  # "sha256:..." as pooch writes it


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
        If a connection dropped for good; what came is kept, to be resumed.
    PermissionError, FileNotFoundError
        If a server refuses, sends a page instead, or has no such file.
    ValueError
        If a file has not its checksum, or a name leads out of the folder.
    OSError
        If the disk has not enough room.
    """
    root = Path(root)
    for file in files:
        if Path(file.path).is_absolute() or ".." in Path(file.path).parts:
            raise ValueError(
                f"the server names a file outside the study's folder, {file.path!r}; nothing was fetched."
            )
    root.mkdir(parents=True, exist_ok=True)
    missing = [file for file in files if not _is_there(file, root)]
    come = sum(_part(root / file.path).stat().st_size for file in missing if _part(root / file.path).exists())
    check_room(root, sum(file.size or 0 for file in missing) - come)
    for index, file in enumerate(missing, start=1):
        title = f"{index} of {len(missing)}: {file.path}"
        fetcher = _Resuming(file, root / file.path, title, progress)
        try:
            pooch.retrieve(
                file.url,
                file.checksum,
                fname=Path(file.path).name,
                path=(root / file.path).parent,
                downloader=fetcher,
            )
        except ValueError as error:
            raise ValueError(
                f"{file.path!r} came from {file.url} with another checksum than the server names ({file.checksum}) "
                f"and was thrown away. Run it again; if it comes so again, the file at the server has changed; tell "
                f"its keepers."
            ) from error
    return root


def _is_there(file, root):
    """Tell whether a file is there already, by its size: it was checked when it came, unless put there by hand."""
    path = root / file.path
    return path.is_file() and (file.size is None or path.stat().st_size == file.size)


def _part(path):
    return path.with_name(path.name + ".part")


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
            f"{size / 1e9:.1f} GB are to come, but only {free / 1e9:.1f} GB are free in {str(root)!r}. Make room, "
            f"choose another root, or fetch fewer people by subjects=[...]."
        )


def _attempts():
    """Count attempts, resting before each further one for longer."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(WAIT * 2 ** (attempt - 1))
        yield attempt


class _Resuming:
    """Downloader for pooch that keeps what came in a file beside, and asks for the rest."""

    def __init__(self, file, target, title, progress):
        self.file, self.part, self.title, self.progress = file, _part(target), title, progress

    def __call__(self, url, output_file, pooch):
        self.part.parent.mkdir(parents=True, exist_ok=True)
        for _ in _attempts():
            try:
                if self._go_on(url):
                    break
                trouble = "the connection dropped"
            except requests.HTTPError as error:
                trouble = f"the server answered {error.response.status_code} {error.response.reason}"
            except requests.RequestException as error:
                trouble = f"the connection dropped ({type(error).__name__})"  # what came is in the file
        else:
            raise ConnectionError(
                f"{self.file.path!r}, from {url}: {trouble}, {ATTEMPTS} attempts in all. {self._come():,} bytes of "
                f"it are kept; run it again to go on from there."
            )
        shutil.move(self.part, output_file)

    def _come(self):
        return self.part.stat().st_size if self.part.exists() else 0

    def _go_on(self, url):
        """Fetch the rest; tell whether the file is whole now."""
        come = self._come()
        if self.file.size is not None and come >= self.file.size:
            if come == self.file.size:
                return True
            self.part.unlink()
            come = 0
        # A packed answer would have another length than the file.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={come}-"} if come else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code == 416:  # the part is whole already, or none of this file
                whole = answer.headers.get("Content-Range") == f"bytes */{come}" and self.file.size is None
                if not whole:
                    self.part.unlink(missing_ok=True)
                return whole
            _check_answer(answer, url)
            _check_page(answer, self.file)
            resumed = answer.status_code == 206
            with (
                self.part.open("ab" if resumed else "wb") as sink,
                tqdm(
                    desc=self.title,
                    total=self.file.size,
                    initial=come if resumed else 0,
                    unit="B",
                    unit_scale=True,
                    disable=not self.progress,
                ) as bar,
            ):
                for chunk in answer.iter_content(CHUNK):
                    sink.write(chunk)
                    bar.update(len(chunk))
        sent = (come if resumed else 0) + int(answer.headers.get("Content-Length", self._come()))
        if self._come() == sent != self.file.size is not None:
            self.part.unlink()
            raise ConnectionError(
                f"{self.file.path!r}: {url} sent {sent:,} bytes, but its list says {self.file.size:,}; it was thrown "
                f"away. Run it again; if it comes so again, the file at the server has changed; tell its keepers."
            )
        return self._come() == (sent if self.file.size is None else self.file.size)


def _check_answer(answer, url):
    """Raise for an answer that asking again would not change."""
    if answer.status_code in (401, 403):
        raise PermissionError(
            f"{url} answered {answer.status_code} {answer.reason}: the server wants you to log in, or blocks programs. "
            f"Open the address in a browser, save the file into the study's folder and run it again; files that are "
            f"there are not fetched again."
        )
    if answer.status_code in (404, 410):
        raise FileNotFoundError(
            f"{url} answered {answer.status_code} {answer.reason}: it has moved; see the study's page."
        )
    answer.raise_for_status()


def _check_page(answer, file):
    """Raise for a web page in the place of a file, such as that of a network that wants a log-in."""
    is_page = answer.headers.get("Content-Type", "").startswith("text/html")
    if is_page and Path(file.path).suffix.lower() not in (".html", ".htm"):
        raise PermissionError(
            f"{answer.url} sent a web page instead of {file.path!r}: a network or server that wants you to log in, or "
            f"blocks programs. Open the address in a browser, and run it again."
        )


def ask(url, *keys):
    """Ask a server for a list that has some keys.

    Parameters
    ----------
    url : str
        Of an answer in JSON.
    *keys : str
        What it must hold.

    Returns
    -------
    said : dict

    Raises
    ------
    ConnectionError
        If the server does not answer.
    PermissionError, FileNotFoundError
        If it refuses, sends a page, or has no such address.
    ValueError
        If a key is missing.
    """
    for _ in _attempts():
        try:
            answer = requests.get(url, headers={"Accept": "application/json"}, timeout=TIMEOUT)
            _check_answer(answer, url)
            said = answer.json()
            if missing := [key for key in keys if key not in said]:
                raise ValueError(
                    f"{url} sent a list of another form than it had: {missing} are missing. Fetch the study by hand, "
                    f"and tell the keepers of this package."
                )
            return said
        except requests.JSONDecodeError as error:
            raise PermissionError(
                f"{url} sent no list but {answer.text.strip()[:60]!r}: a network or server that wants you to log in, "
                f"or blocks programs. Open the address in a browser, and run it again."
            ) from error
        except (requests.ConnectionError, requests.Timeout, requests.HTTPError) as error:
            last = error
    raise ConnectionError(f"{url} does not answer: {last}. Are you online?") from last
