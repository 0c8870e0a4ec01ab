"""Lists of files that the servers of data sets publish."""

from __future__ import annotations

from pathlib import PurePosixPath

from sk_b2s._utils._text import shorten_text
from sk_b2s.datasets._download import Remote, request_json
from sk_b2s.datasets._file_names import check_name, check_size

HASHES = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}
MOST_PAGES = 5000  # of all folders of a study


def osf_files(url, wanted, manual):
    """List the files of a folder at OSF and of those below it.

    Parameters
    ----------
    url : str
        Of the first page.
    wanted : None or set of str
        Participants. Files of others are left out.
    manual : str
        What can be done by hand, for messages.

    Returns
    -------
    files : list of Remote
    """
    files, ahead, seen = [], [url], {}
    while ahead:
        url = ahead.pop()
        _check_new(url, seen, manual)
        page = request_json(url, "data", "links", manual=manual)
        folders = []
        for entry in _field(page, list, url, manual, "data"):
            path = _field(entry, str, url, manual, "attributes", "materialized_path").strip("/")
            check_name(path, url)
            if wanted is not None and person_of(path) not in {None, *wanted}:
                continue
            if _field(entry, str, url, manual, "attributes", "kind") == "folder":
                below = ("relationships", "files", "links", "related", "href")
                folders.append(_field(entry, str, url, manual, *below))
                continue
            link = _field(entry, str, url, manual, "links", "download")
            extra = _field(entry, dict, url, manual, "attributes", "extra", optional=True) or {}
            checksum = _field(extra, str, url, manual, "hashes", "sha256", optional=True)
            size = check_size(entry["attributes"].get("size"), path, url)
            files.append(Remote(path, link, size, f"sha256:{checksum}" if checksum else None))
        following = _field(page, str, url, manual, "links", "next", optional=True)
        ahead += [*([following] if following else []), *reversed(folders)]
    return files


def person_of(path):
    """Name of the participant whose file it is, None for what belongs to all."""
    first = PurePosixPath(path).parts[0] if path else ""
    return first.removeprefix("sub-") if first.startswith("sub-") else None


def deep_blue_files(server, work, manual):
    """List the files of a work at Deep Blue Data: list of Remote."""
    url = f"{server}/concern/data_sets/{work}.json"
    files = []
    for entry in _field(request_json(url, "file_sets", manual=manual), list, url, manual, "file_sets"):
        name = _field({"title": _first(_get(entry, "title"))}, str, url, manual, "title")
        number = _field(entry, str, url, manual, "id")
        checksum = _hash(_first(_get(entry, "original_checksum")), None, url)
        size = check_size(_first(_get(entry, "file_size")), name, url)
        files.append(Remote(name, f"{server}/downloads/{number}", size, checksum))
    return files


def dryad_files(server, doi, manual):
    """List the files of the last version of a data set at Dryad: list of Remote."""
    url = f"{server}/api/v2/datasets/{doi}/versions"
    versions = _field(
        request_json(url, "_embedded", manual=manual), list, url, manual, "_embedded", "stash:versions"
    )
    if not versions:
        raise _other_form(url, "_embedded.stash:versions", "at least one version", versions, manual)
    version = _field(versions[-1], str, url, manual, "_links", "self", "href")
    url, files, seen = f"{server}{version}/files?per_page=100", [], {}
    while url:
        _check_new(url, seen, manual)
        page = request_json(url, "_embedded", "_links", manual=manual)
        for entry in _field(page, list, url, manual, "_embedded", "stash:files"):
            kinds = ("stash:download", "stash:file-download")
            kind = next((k for k in kinds if k in _field(entry, dict, url, manual, "_links")), kinds[0])
            link = _field(entry, str, url, manual, "_links", kind, "href")
            name = _field(entry, str, url, manual, "path")
            size = check_size(entry.get("size"), name, url)
            checksum = _hash(entry.get("digest"), entry.get("digestType"), url)
            files.append(Remote(name, f"{server}{link}", size, checksum))
        further = _field(page, str, url, manual, "_links", "next", "href", optional=True)
        url = f"{server}{further}" if further else None
    return files


def _first(value):
    return (value[0] if value else None) if isinstance(value, list) else value


def _get(entry, key):
    return entry.get(key) if isinstance(entry, dict) else None


def _check_new(url, seen, manual):
    """Raise for a list that goes on with itself, or without an end."""
    if url in seen:
        raise ValueError(f"{url} is a list that goes on with itself; nothing was fetched. {manual}")
    seen[url] = len(seen)
    if len(seen) > MOST_PAGES:
        raise ValueError(
            f"the list of {next(iter(seen))} has more than {MOST_PAGES} pages, up to {url}; nothing was "
            f"fetched. {manual}"
        )


def _field(value, kind, url, manual, *keys, optional=False):
    """Return what a list holds under some keys.

    Raises
    ------
    ValueError
        If it is not there, and not optional, or of another type.
    """
    whole = value
    for key in keys:
        if optional and (value is None or (isinstance(value, dict) and value.get(key) is None)):
            return None
        if not isinstance(value, dict) or key not in value:
            raise _other_form(url, ".".join(keys), f"a {kind.__name__}", whole, manual)
        value = value[key]
    if not isinstance(value, kind):
        raise _other_form(url, ".".join(keys), f"a {kind.__name__}", value, manual)
    return value


def _other_form(url, name, expected, found, manual):
    return ValueError(
        f"{url} sent a list of another form than it had: {name} must be {expected}, got "
        f"{shorten_text(found, 80)}. Nothing was fetched. {manual} Please tell the maintainers of this package."
    )


def _hash(digest, kind, url):
    """Write a digest as hashlib names it. Its length tells what it is where the server does not."""
    if not digest:
        return None
    kind = kind or HASHES.get(len(str(digest)))
    name = str(kind).replace("-", "").lower()
    if name not in HASHES.values():
        raise ValueError(
            f"{url} names a checksum of an unknown kind, {shorten_text(kind, 80)}: {shorten_text(digest, 80)}; "
            f"nothing was fetched. Fetch the study by hand."
        )
    return f"{name}:{digest}"
