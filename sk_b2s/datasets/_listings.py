"""File lists of data set servers: OSF, Deep Blue, Dryad, Hugging Face, RDR."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from urllib.parse import quote

import requests

from sk_b2s._utils._text import shorten_text
from sk_b2s.datasets import _download as downloads
from sk_b2s.datasets._download import DownloadFile
from sk_b2s.datasets._file_names import check_file_name, check_file_name_size
from sk_b2s.datasets._servers import (
    FinalServerError,
    check_server_response,
    iter_server_body,
    make_final_server_error,
    open_server_response,
    read_server_content_length,
)

CHECKSUMS = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}  # by number of hexadecimal digits
MAX_PAGES = 5000  # of the list of a study
MAX_LIST_BYTES = 2**26


def read_osf_listing(url, subjects, manual):
    """List the files of a folder at OSF and of its subfolders.

    Parameters
    ----------
    url : str
        Address of the first page.
    subjects : None or set of str
        Files of other subjects are omitted.
    manual : str
        Sentence for errors on how to download the files manually.

    Returns
    -------
    files : list of DownloadFile
        Files of the selected subjects, and files without a subject.
    """
    files, pending, seen = [], [url], {}
    while pending:
        url = pending.pop()
        _check_listed_once(url, seen, manual)
        page = request_file_listing(url, "data", "links", manual=manual)
        folders = []
        for entry in _get_listing_field(page, list, url, manual, "data"):
            path = _get_listing_field(entry, str, url, manual, "attributes", "materialized_path").strip("/")
            check_file_name(path, url)
            if subjects is not None and get_listing_subject(path) not in {None, *subjects}:
                continue
            if _get_listing_field(entry, str, url, manual, "attributes", "kind") == "folder":
                below = ("relationships", "files", "links", "related", "href")
                folders.append(_get_listing_field(entry, str, url, manual, *below))
                continue
            link = _get_listing_field(entry, str, url, manual, "links", "download")
            extra = _get_listing_field(entry, dict, url, manual, "attributes", "extra", optional=True) or {}
            checksum = _get_listing_field(extra, str, url, manual, "hashes", "sha256", optional=True)
            size = check_file_name_size(entry["attributes"].get("size"), path, url)
            files.append(DownloadFile(path, link, size, f"sha256:{checksum}" if checksum else None))
        following = _get_listing_field(page, str, url, manual, "links", "next", optional=True)
        pending += [*([following] if following else []), *reversed(folders)]
    return files


def get_listing_subject(path):
    """Return the subject of a path, or None for a common file."""
    first = PurePosixPath(path).parts[0] if path else ""
    return first.removeprefix("sub-") if first.startswith("sub-") else None


def read_deep_blue_listing(server, work, manual):
    """List the files of a data set at Deep Blue Data."""
    url = f"{server}/concern/data_sets/{work}.json"
    files = []
    for entry in _get_listing_field(
        request_file_listing(url, "file_sets", manual=manual), list, url, manual, "file_sets"
    ):
        name = _get_listing_field(
            {"title": _take_first_listed(_get_listed_value(entry, "title"))}, str, url, manual, "title"
        )
        number = _get_listing_field(entry, str, url, manual, "id")
        checksum = _parse_checksum(
            _take_first_listed(_get_listed_value(entry, "original_checksum")), None, url
        )
        size = check_file_name_size(_take_first_listed(_get_listed_value(entry, "file_size")), name, url)
        files.append(DownloadFile(name, f"{server}/downloads/{number}", size, checksum))
    return files


def read_dryad_listing(server, doi, manual):
    """List the files of the last version of a data set at Dryad."""
    url = f"{server}/api/v2/datasets/{doi}/versions"
    versions = _get_listing_field(
        request_file_listing(url, "_embedded", manual=manual),
        list,
        url,
        manual,
        "_embedded",
        "stash:versions",
    )
    if not versions:
        raise _make_format_error(url, "_embedded.stash:versions", "at least one version", versions, manual)
    version = _get_listing_field(versions[-1], str, url, manual, "_links", "self", "href")
    url, files, seen = f"{server}{version}/files?per_page=100", [], {}
    while url:
        _check_listed_once(url, seen, manual)
        page = request_file_listing(url, "_embedded", "_links", manual=manual)
        for entry in _get_listing_field(page, list, url, manual, "_embedded", "stash:files"):
            kinds = ("stash:download", "stash:file-download")
            kind = next(
                (k for k in kinds if k in _get_listing_field(entry, dict, url, manual, "_links")), kinds[0]
            )
            link = _get_listing_field(entry, str, url, manual, "_links", kind, "href")
            name = _get_listing_field(entry, str, url, manual, "path")
            size = check_file_name_size(entry.get("size"), name, url)
            checksum = _parse_checksum(entry.get("digest"), entry.get("digestType"), url)
            files.append(DownloadFile(name, f"{server}{link}", size, checksum))
        next_page = _get_listing_field(page, str, url, manual, "_links", "next", "href", optional=True)
        url = f"{server}{next_page}" if next_page else None
    return files


def read_hugging_face_listing(server, repository, manual):
    """List the files of a data set at Hugging Face."""
    url = f"{server}/api/datasets/{repository}?blobs=true"
    files = []
    for entry in _get_listing_field(
        request_file_listing(url, "siblings", manual=manual), list, url, manual, "siblings"
    ):
        name = _get_listing_field(entry, str, url, manual, "rfilename")
        checksum = _get_listing_field(entry, str, url, manual, "lfs", "sha256", optional=True)
        size = check_file_name_size(entry.get("size"), name, url)
        link = f"{server}/datasets/{repository}/resolve/main/{quote(name)}"
        files.append(DownloadFile(name, link, size, _parse_checksum(checksum, "sha256", url)))
    return files


def read_dataverse_listing(server, doi, manual):
    """List the files of a data set at a Dataverse server (KU Leuven RDR).

    Returns
    -------
    files : list of DownloadFile
        Files that can be downloaded.
    restricted : list of str
        Paths of files that require an agreement.
    """
    url = f"{server}/api/datasets/:persistentId/versions/:latest-published/files?persistentId={doi}"
    files, restricted = [], []
    for entry in _get_listing_field(
        request_file_listing(url, "data", manual=manual), list, url, manual, "data"
    ):
        about = _get_listing_field(entry, dict, url, manual, "dataFile")
        folder = _get_listing_field(entry, str, url, manual, "directoryLabel", optional=True)
        name = _get_listing_field(about, str, url, manual, "filename")
        path = f"{folder}/{name}" if folder else name
        if entry.get("restricted"):
            restricted.append(path)
            continue
        number = _get_listing_field(about, int, url, manual, "id")
        original = _get_listing_field(about, str, url, manual, "originalFileName", optional=True)
        if original:  # a table that the server converted
            path, size = (f"{folder}/{original}" if folder else original), about.get("originalFileSize")
            size = check_file_name_size(size, path, url)
            files.append(
                DownloadFile(path, f"{server}/api/access/datafile/{number}?format=original", size, None)
            )
            continue
        checksum = _get_listing_field(about, str, url, manual, "checksum", "value", optional=True)
        kind = _get_listing_field(about, str, url, manual, "checksum", "type", optional=True)
        size = check_file_name_size(about.get("filesize"), path, url)
        link = f"{server}/api/access/datafile/{number}"
        files.append(DownloadFile(path, link, size, _parse_checksum(checksum, kind, url)))
    return files, restricted


def _take_first_listed(value):
    return (value[0] if value else None) if isinstance(value, list) else value


def _get_listed_value(entry, key):
    return entry.get(key) if isinstance(entry, dict) else None


def _check_listed_once(url, seen, manual):
    """Raise for a list with a loop of pages, or with too many pages."""
    if url in seen:
        raise ValueError(f"{url}: the pages of this list form a loop. Nothing was downloaded. {manual}")
    seen[url] = len(seen)
    if len(seen) > MAX_PAGES:
        raise ValueError(
            f"The list at {next(iter(seen))} has more than {MAX_PAGES} pages, up to {url}. Nothing was downloaded. "
            f"{manual}"
        )


def _get_listing_field(value, kind, url, manual, *keys, optional=False):
    """Return a nested field of a list, and check its type."""
    whole = value
    for key in keys:
        if optional and (value is None or (isinstance(value, dict) and value.get(key) is None)):
            return None
        if not isinstance(value, dict) or key not in value:
            raise _make_format_error(url, ".".join(keys), f"a {kind.__name__}", whole, manual)
        value = value[key]
    if not isinstance(value, kind):
        raise _make_format_error(url, ".".join(keys), f"a {kind.__name__}", value, manual)
    return value


def _make_format_error(url, name, expected, found, manual):
    return ValueError(
        f"{url} sent a list in an unexpected format: {name} must be {expected}. Got {shorten_text(found, 80)} instead. "
        f"Nothing was downloaded. {manual} Please report this to the maintainers of this package."
    )


def _parse_checksum(digest, kind, url):
    """Return a checksum as "kind:digest". The length gives a missing kind."""
    if not digest:
        return None
    kind = kind or CHECKSUMS.get(len(str(digest)))
    name = str(kind).replace("-", "").lower()
    if name not in CHECKSUMS.values():
        raise ValueError(
            f"{url} lists a checksum of an unknown kind, {shorten_text(kind, 80)}: {shorten_text(digest, 80)}. Nothing was "
            f"downloaded. Download the study manually."
        )
    return f"{name}:{digest}"


# --- lists in JSON -----------------------------------------------------------------------------------


def request_file_listing(url, *keys, manual):
    """Request a list in JSON that contains some keys.

    Parameters
    ----------
    url : str
        Address of the list.
    *keys : str
        Required keys.
    manual : str
        Sentence for errors on how to download the files manually.

    Returns
    -------
    content : dict
        The list.
    """
    for _ in downloads.iter_download_attempts():
        try:
            with open_server_response(url, {"Accept": "application/json"}, downloads.TIMEOUT) as response:
                check_server_response(response, url, manual)
                text = _read_listing(response, url, manual)
            return _parse_listing(text, url, keys, manual)
        except requests.RequestException as error:
            if (final := make_final_server_error(error, url, manual)) is not None:
                raise final from error
            last = error
    raise ConnectionError(f"{url} does not respond: {last}. Check the network connection. {manual}") from last


def _read_listing(response, url, manual):
    """Read the decompressed body of a list."""
    text = bytearray()
    for chunk in iter_server_body(response, downloads.TIMEOUT, decode=True):
        text += chunk
        if len(text) > MAX_LIST_BYTES:
            raise FinalServerError(
                f"{url} sent a list of more than {MAX_LIST_BYTES / 1e6:.0f} MB, which seems to have no end. {manual}"
            )
    expected = None if response.headers.get("Content-Encoding") else read_server_content_length(response)
    if expected is not None and len(text) < expected:
        raise requests.ConnectionError(f"received only {len(text):,} of {expected:,} bytes")
    return bytes(text)


def _parse_listing(text, url, keys, manual):
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"{url} sent a list that is nested too deeply. {manual}") from error
    except ValueError as error:
        begin = text[:60].decode(errors="replace").strip()
        raise PermissionError(
            f"{url} sent {begin!r} instead of a list. The network or server may require a login, or block programs. "
            f"{manual}"
        ) from error
    if not isinstance(content, dict):
        raise _make_format_error(url, ", ".join(keys), "in a dict", content, manual)
    if missing := [key for key in keys if key not in content]:
        raise _make_format_error(url, ", ".join(missing), "in the list", list(content), manual)
    return content
