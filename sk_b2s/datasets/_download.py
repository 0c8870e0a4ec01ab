"""Downloads that resume after an interruption and verify checksums.

The optional openneuro-py installs niquests and urllib3-future, which replaces
urllib3. This module uses requests, which works with both.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import requests
from tqdm import tqdm

from sk_b2s._utils._extras import import_extra
from sk_b2s._utils._text import shorten_text
from sk_b2s.datasets._file_names import (
    check_file_name,
    check_file_name_part,
    check_file_name_size,
    open_part_file_name,
)
from sk_b2s.datasets._servers import (
    FinalServerError,
    StalledServerError,
    check_server_response,
    iter_server_body,
    make_final_server_error,
    open_server_response,
    read_server_content_length,
)

ATTEMPTS = 6  # attempts for each file
WAIT = 2.0  # s before the second attempt, doubled before each later one
TIMEOUT = 60  # s without a byte, or with less than 1000 bytes per second
DISK_MARGIN = 1.02  # free space needed, relative to the bytes to download
MAX_DISK_SHARE = 0.95  # share of the free space that a file of unknown size may take


class DownloadFile(NamedTuple):
    """A file on a server."""

    path: str  # in the folder of the study
    url: str
    size: int | None  # bytes
    checksum: str | None  # "sha256:..."


def download(files, root, progress=True):
    """Download files one at a time, resume partial downloads and verify them.

    Parameters
    ----------
    files : sequence of DownloadFile
        Files of a study.
    root : path-like
        Folder of the study.
    progress : bool, default=True
        Show a progress bar for each file.

    Returns
    -------
    root : Path
        Folder of the study.

    Raises
    ------
    ConnectionError
        If the connection is lost or the server stalls in all attempts. Partial
        files are kept and resumed by the next call. Also if an address is not
        http or https, or if the server sends something else than it listed.
    PermissionError, FileNotFoundError
        If a server or proxy refuses access, sends a web page instead, or does
        not have the file.
    ValueError
        If a file does not match its checksum, or if its name is not valid.
    OSError
        If the disk is full, or if something else has the name of a file.
    """
    root, files = Path(root), [_check_download_entry(file) for file in files]
    root.mkdir(parents=True, exist_ok=True)
    missing = [file for file in files if not _is_download_complete(file, root)]
    n_bytes = sum(_downloaded_bytes(_get_partial_path(root / file.path)) for file in missing)
    check_download_space(root, sum(file.size or 0 for file in missing) - n_bytes)
    for index, file in enumerate(missing, start=1):
        _FileDownload(file, root, f"{index} of {len(missing)}: {file.path}", progress).run()
    return root


def _check_download_entry(file):
    """Check the name, address, checksum and size that a server listed."""
    source = f"the list of the server of {shorten_text(file.url, 80)}"
    check_file_name(file.path, source)
    if not isinstance(file.url, str) or not re.match(r"https?://[^/]", file.url):
        raise FinalServerError(
            f"{file.path!r}: the server lists the address {shorten_text(file.url, 80)}, which is not http or https. "
            f"Nothing was downloaded. Download the study manually, and contact the data set's maintainers."
        )
    if file.checksum is not None:
        kind, _, digest = str(file.checksum).partition(":")
        known = kind in hashlib.algorithms_guaranteed and not kind.startswith("shake")
        if not known or not re.fullmatch(f"[0-9a-fA-F]{{{2 * hashlib.new(kind).digest_size}}}", digest):
            raise ValueError(
                f"{source} has the invalid checksum {shorten_text(file.checksum, 80)} for {file.path!r}. Nothing was "
                f"downloaded. Download the study manually, and contact the data set's maintainers."
            )
    return file._replace(size=check_file_name_size(file.size, file.path, source))


def _is_download_complete(file, root):
    """Return whether a file exists with the listed size.

    Its checksum was verified when it was downloaded.
    """
    path = root / file.path
    if path.is_dir():
        raise IsADirectoryError(
            f"{str(path)!r} is a folder, but the file {file.url} belongs there. Remove or rename the folder, and "
            f"run the download again."
        )
    return path.is_file() and (file.size is None or path.stat().st_size == file.size)


def _get_partial_path(path):
    return path.with_name(path.name + ".part")


def _downloaded_bytes(part):
    """Return the size of a partial file, 0 if it does not exist."""
    check_file_name_part(part)
    return part.stat().st_size if part.exists() else 0


def check_download_space(root, size):
    """Raise if the disk of a folder, which may not exist yet, is full."""
    existing = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if size * DISK_MARGIN > free:
        raise OSError(
            f"The download needs {size / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free in {str(root)!r}. Free "
            f"disk space, choose another root, or download fewer participants with subjects=[...]."
        )


def iter_download_attempts():
    """Count attempts, and wait before each further one."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(WAIT * 2 ** (attempt - 1))
        yield attempt


class _FileDownload:
    """Download of one file that resumes a partial file."""

    def __init__(self, file, root, title, progress):
        self.file, self.root, self.title, self.progress = file, root, title, progress
        self.target = root / file.path
        self.part = _get_partial_path(self.target)
        self.manual = (
            f"Open {file.url} in a browser, save the file as {str(self.target)!r} and run the download again. "
            f"Existing files are not downloaded again."
        )

    def run(self):
        """Download, verify and rename the file."""
        self._make_folder()
        has_begun = False
        for _ in iter_download_attempts():
            try:
                if self._fetch_rest():
                    break
                problem = "the connection was lost"
            except requests.HTTPError as error:
                problem = f"the server returned {error.response.status_code} {error.response.reason}"
            except StalledServerError as error:
                problem = f"the server stalled ({error})"
            except requests.RequestException as error:
                has_begun = has_begun or _downloaded_bytes(self.part) > 0
                if (
                    final := make_final_server_error(error, self.file.url, self.manual, has_begun)
                ) is not None:
                    raise final from error
                problem = f"the connection was lost ({type(error).__name__})"
        else:
            raise ConnectionError(
                f"{self.file.path!r}, from {self.file.url}: {problem}, after {ATTEMPTS} attempts. The "
                f"{_downloaded_bytes(self.part):,} bytes received are kept. Run the download again to resume."
            )
        self._verify_checksum()
        check_file_name_part(self.part)
        os.replace(self.part, self.target)  # replaces a link of that name without following it

    def _make_folder(self):
        folder = self.target.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise NotADirectoryError(
                f"{str(folder)!r} must be a folder for {self.file.path!r}, but it or one of its parents is a file. "
                f"Remove or rename that file, and run the download again."
            ) from error

    def _verify_checksum(self):
        if self.file.checksum is None:
            return
        kind, _, digest = self.file.checksum.partition(":")
        with self.part.open("rb") as file:
            found = hashlib.file_digest(file, kind).hexdigest()
        if found != digest.lower():
            self.part.unlink()
            raise ValueError(
                f"{self.file.path!r} from {self.file.url} does not have the listed checksum "
                f"({self.file.checksum}) and was deleted. Run the download again. If the error persists, the file "
                f"on the server has changed: contact the data set's maintainers."
            )

    def _fetch_rest(self):
        """Download the rest of the file, and return whether it is complete."""
        file, n_bytes = self.file, _downloaded_bytes(self.part)
        if file.size is not None and n_bytes >= file.size and (n_bytes or self.part.exists()):
            if n_bytes == file.size:
                return True
            self.part.unlink()
            n_bytes = 0
        # A compressed response would have another length than the file.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={n_bytes}-"} if n_bytes else {})
        with open_server_response(file.url, headers, TIMEOUT) as response:
            if response.status_code == 416:  # the partial file is complete, or belongs to another file
                is_complete = (
                    response.headers.get("Content-Range") == f"bytes */{n_bytes}" and file.size is None
                )
                if not is_complete:
                    self.part.unlink(missing_ok=True)
                return is_complete
            check_server_response(response, file.url, self.manual)
            self._check_is_file(response)
            is_partial = response.status_code == 206
            if is_partial and not self._continues_part(response, n_bytes):
                self.part.unlink(missing_ok=True)
                return False
            begin, rest = (n_bytes if is_partial else 0), read_server_content_length(response)
            total = None if rest is None else begin + rest
            if total is not None and file.size is not None and total > file.size:
                raise self._make_size_error(f"announces {total:,} bytes")
            self._write(response, begin)
        n_bytes = _downloaded_bytes(self.part)
        if total is not None and n_bytes == total and file.size not in (None, total):
            raise self._make_size_error(f"sent {total:,} bytes")
        expected = total if file.size is None else file.size
        return expected is None or n_bytes == expected

    def _write(self, response, begin):
        """Write the body of a response, up to the size of the file."""
        size = self.file.size
        limit = (
            begin + int(shutil.disk_usage(self.part.parent).free * MAX_DISK_SHARE) if size is None else size
        )
        bar = tqdm(
            desc=self.title, total=size, initial=begin, unit="B", unit_scale=True, disable=not self.progress
        )
        with open_part_file_name(self.part, append=begin > 0) as sink, bar:
            n_bytes = begin
            for chunk in iter_server_body(response, TIMEOUT):
                sink.write(chunk[: limit - n_bytes])
                n_bytes += len(chunk)
                bar.update(len(chunk))
                if n_bytes > limit:
                    break
        if n_bytes > limit and size is None:
            self.part.unlink()
            raise OSError(
                f"{self.file.path!r}: {self.file.url} sent {n_bytes / 1e9:.1f} GB without an end, which fills the "
                f"disk of {str(self.root)!r}. The file was deleted. {self.manual}"
            )
        if n_bytes > limit:
            raise self._make_size_error(f"sends more than {size:,} bytes")

    def _make_size_error(self, problem):
        self.part.unlink(missing_ok=True)
        return FinalServerError(
            f"{self.file.path!r}: {self.file.url} {problem}, but the listed size is {self.file.size:,}. The file was "
            f"deleted. Run the download again. If the error persists, the file on the server has changed: contact "
            f"the data set's maintainers."
        )

    def _continues_part(self, response, n_bytes):
        """Return whether a response begins where the partial file ends.

        A response without a Content-Range is assumed to do so.
        """
        found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        return n_bytes > 0 and (found is None or int(found[1]) == n_bytes)

    def _check_is_file(self, response):
        """Raise if the server sends a web page or compresses the file."""
        is_page = response.headers.get("Content-Type", "").lower().startswith("text/html")
        if is_page and Path(self.file.path).suffix.lower() not in (".html", ".htm"):
            raise PermissionError(
                f"{response.url} sent a web page instead of {self.file.path!r}. The network or server may require a "
                f"login, or block programs. {self.manual}"
            )
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in ("", "identity"):
            raise FinalServerError(
                f"{self.file.path!r}: {self.file.url} sent the file compressed ({shorten_text(encoding, 80)}), although "
                f"the request excludes this. Nothing was kept. {self.manual}"
            )


# --- helpers of the fetch functions ---------------------------------------------------------------


def describe_manual_download(page, root):
    """Return a sentence for errors on how to download files in a browser."""
    return f"Open {page} in a browser, and save its files into {str(root)!r} under their original names."


def strip_download_subjects(subjects):
    """Return subject labels without "sub-" as a set, or None for all."""
    if subjects is None:
        return None
    subjects = [subjects] if isinstance(subjects, (str, int)) else subjects
    return {str(subject).removeprefix("sub-") for subject in subjects}


def check_download_subjects(requested, available):
    """Raise if the server does not have a requested subject."""
    if requested is not None and (missing := requested - available):
        known = sorted(one for one in available if one is not None)
        raise ValueError(
            f"subjects contains {sorted(missing)}, which the server does not have. Available are "
            f"{', '.join(known)}."
        )


def download_openneuro(dataset, tag, root, include, n_bytes, study):
    """Download files of a data set of OpenNeuro with its client.

    Parameters
    ----------
    dataset, tag : str
        Name of the data set, and version.
    root : Path
        Folder of the study.
    include : list of str
        Files and folders.
    n_bytes : float
        Required disk space in bytes.
    study : str
        Name of the study for errors.

    Returns
    -------
    root : Path

    Raises
    ------
    ImportError
        If openneuro-py is not installed.
    ConnectionError, OSError
        If the download fails, or the disk has too little space.
    """
    openneuro = import_extra("openneuro", f"fetch_{study}")
    check_download_space(root, n_bytes)
    page = f"https://openneuro.org/datasets/{dataset}/versions/{tag}"
    try:
        openneuro.download(
            dataset=dataset, tag=tag, target_dir=root, include=include, max_concurrent_downloads=1
        )
    except Exception as error:  # openneuro-py raises errors of several libraries
        raise ConnectionError(
            f"openneuro-py could not download {dataset}, version {tag}: {type(error).__name__}: {str(error)[:300]}. "
            f"Run the download again to resume. {describe_manual_download(page, root)}"
        ) from error
    return root
