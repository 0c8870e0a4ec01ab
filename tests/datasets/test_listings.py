"""Tests of the file lists of servers."""

import gzip

import pytest
from helpers.servers import SimulatedClock, iter_endless, list_files, send_chunks, send_head

from sk_b2s.datasets import (
    _brennan2019 as brennan2019,
)
from sk_b2s.datasets import (
    _broderick2019 as broderick2019,
)
from sk_b2s.datasets import (
    _download as downloading,
)
from sk_b2s.datasets import (
    _gwilliams2022 as gwilliams2022,
)
from sk_b2s.datasets import (
    _listings as listings,
)
from sk_b2s.datasets import (
    _servers,
    fetch_brennan2019,
    fetch_broderick2019,
    fetch_gwilliams2022,
)


def test_request_listing_describes_refusal(server, monkeypatch, tmp_path):
    monkeypatch.setattr(gwilliams2022, "OSF", server.url)
    server.status["/ag3kj/files/osfstorage/?page[size]=100"] = 403
    with pytest.raises(PermissionError, match="403 Forbidden"):
        fetch_gwilliams2022(tmp_path)
    server.status["/ag3kj/files/osfstorage/?page[size]=100"] = 500
    with pytest.raises(ConnectionError, match=r"does not respond: 500 .*Check the network connection"):
        fetch_gwilliams2022(tmp_path)


def test_request_listing_describes_login_page(server, monkeypatch, tmp_path):
    monkeypatch.setattr(gwilliams2022, "OSF", server.url)
    server.files["/ag3kj/files/osfstorage/?page[size]=100"] = b"<html>log in</html>"
    with pytest.raises(PermissionError, match=r"sent '<html>log in</html>' instead of a list"):
        fetch_gwilliams2022(tmp_path)
    server.json("/ag3kj/files/osfstorage/?page[size]=100", {"items": []})
    with pytest.raises(ValueError, match=r"a list in an unexpected format: data, links must be in the list"):
        fetch_gwilliams2022(tmp_path)


@pytest.fixture
def osf_page(impatient_server, monkeypatch):
    monkeypatch.setattr(gwilliams2022, "OSF", impatient_server.url)
    monkeypatch.setattr(gwilliams2022, "OSF_NODES", ("ag3kj",))
    return "/ag3kj/files/osfstorage/?page[size]=100"


def make_entry(impatient_server, **changes):
    found = {
        "attributes": {"kind": "file", "materialized_path": "/f.bin", "size": 3, "extra": {}},
        "links": {"download": f"{impatient_server.url}/f.bin"},
    }
    for keys, value in changes.items():
        *outer, last = keys.split("__")
        inner = found
        for key in outer:
            inner = inner[key]
        inner[last] = value
    return found


@pytest.mark.parametrize(
    "body", [b"null", b"[]", b"5", b'"text"', b"true", b"[" * 100_000, b'{"a":' * 100_000]
)
def test_request_listing_describes_invalid_list(impatient_server, osf_page, tmp_path, body):
    impatient_server.files[osf_page] = body
    with pytest.raises(
        ValueError,
        match=rf"{impatient_server.url}/ag3kj.*(an unexpected format|nested too deeply).*in a browser",
    ):
        fetch_gwilliams2022(tmp_path / "study", progress=False)
    assert not (tmp_path / "study").exists()
    assert len(impatient_server.requests) == 1


@pytest.mark.parametrize("body", [b"", b"\xff\xfe\x00", b"{", b"<html>", b"9" * 5000])
def test_request_listing_describes_page(impatient_server, osf_page, tmp_path, body):
    impatient_server.files[osf_page] = body
    with pytest.raises(
        (PermissionError, ValueError),
        match=rf"{impatient_server.url}/ag3kj.* sent (a list|.* instead of a list)",
    ):
        fetch_gwilliams2022(tmp_path, progress=False)


@pytest.mark.parametrize("page", [
    {"data": None, "links": {}}, {"data": {}, "links": {}}, {"data": [None], "links": {}}, {"data": [5], "links": {}},
    {"data": [], "links": []}, {"data": [], "links": {"next": 5}},
    {"data": [{"attributes": None}], "links": {}}, {"data": [{"attributes": {}}], "links": {}},
    {"data": [{"attributes": {"materialized_path": "/x", "kind": "folder"}}], "links": {}},
    {"data": [{"attributes": {"materialized_path": 5}}], "links": {}},
], ids=str)  # fmt: skip
def test_read_osf_listing_describes_other_format(impatient_server, osf_page, tmp_path, page):
    impatient_server.json(osf_page, page)
    with pytest.raises(
        ValueError, match=rf"{impatient_server.url}/ag3kj.* must be .* Got .*Nothing was downloaded"
    ):
        fetch_gwilliams2022(tmp_path, progress=False)


@pytest.mark.parametrize(("changes", "message"), [
    ({"attributes__size": -5}, "lists the size -5"), ({"attributes__size": "many"}, "lists the size 'many'"),
    ({"links": {}}, r"links\.download must be a str"),
    ({"attributes__materialized_path": "/../x"}, "outside the folder of the study"),
    ({"attributes__extra": {"hashes": 5}}, "must be a str"), ({"attributes__extra": 5}, "must be a dict"),
    ({"attributes__extra": {"hashes": {"sha256": "abc"}}}, "has the invalid checksum"),
    ({"links": {"download": "file:///etc/passwd"}}, "not http or https"),
], ids=str)  # fmt: skip
def test_read_osf_listing_checks_each_file(impatient_server, osf_page, tmp_path, changes, message):
    impatient_server.json(osf_page, {"data": [make_entry(impatient_server, **changes)], "links": {}})
    with pytest.raises((ValueError, ConnectionError), match=message):
        fetch_gwilliams2022(tmp_path, progress=False)
    assert list_files(tmp_path) == []


@pytest.mark.parametrize("extra", [{}, None, {"hashes": {}}, {"hashes": {"sha256": None}}])
def test_read_osf_listing_without_checksum(impatient_server, osf_page, tmp_path, extra):
    impatient_server.files["/f.bin"] = b"abc"
    impatient_server.json(
        osf_page, {"data": [make_entry(impatient_server, attributes__extra=extra)], "links": {"next": None}}
    )
    fetch_gwilliams2022(tmp_path, progress=False)
    assert list_files(tmp_path) == ["f.bin"]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_read_osf_listing_rejects_page_loop(impatient_server, osf_page, tmp_path, length):
    names = [osf_page, *(f"/page{n}" for n in range(1, length))]
    for name, following in zip(names, [*names[1:], names[0]], strict=True):
        impatient_server.json(name, {"data": [], "links": {"next": impatient_server.url + following}})
    with pytest.raises(ValueError, match="the pages of this list form a loop. Nothing was downloaded"):
        fetch_gwilliams2022(tmp_path, progress=False)
    assert len(impatient_server.requests) <= length + 1


def test_read_osf_listing_rejects_folder_loop(impatient_server, osf_page, tmp_path):
    itself = {"attributes": {"kind": "folder", "materialized_path": "/x/"},
              "relationships": {"files": {"links": {"related": {"href": impatient_server.url + osf_page}}}}}  # fmt: skip
    impatient_server.json(osf_page, {"data": [itself], "links": {}})
    with pytest.raises(ValueError, match="form a loop"):
        fetch_gwilliams2022(tmp_path, progress=False)


def test_read_osf_listing_rejects_endless_pages(impatient_server, osf_page, tmp_path, monkeypatch):
    monkeypatch.setattr(listings, "MAX_PAGES", 5)
    for page in range(8):
        here = osf_page if page == 0 else f"/page{page}"
        impatient_server.json(here, {"data": [], "links": {"next": f"{impatient_server.url}/page{page + 1}"}})
    with pytest.raises(ValueError, match=r"The list at .*/ag3kj.* has more than 5 pages, up to .*/page5"):
        fetch_gwilliams2022(tmp_path, progress=False)


@pytest.mark.parametrize("packed", [False, True])
def test_request_listing_rejects_endless_list(impatient_server, osf_page, tmp_path, monkeypatch, packed):
    monkeypatch.setattr(listings, "MAX_LIST_BYTES", 10**6)

    def respond(request):
        send_head(request, **({"Content_Encoding": "gzip"} if packed else {}))
        send_chunks(request, [gzip.compress(bytes(10**7))] if packed else iter_endless())

    impatient_server.special[osf_page] = respond
    with pytest.raises(ConnectionError, match="sent a list of more than 1 MB"):
        fetch_gwilliams2022(tmp_path, progress=False)
    assert len(impatient_server.requests) == 1


def test_request_listing_stops_at_slow_server(impatient_server, osf_page, tmp_path, monkeypatch):
    def respond(request):
        send_head(request, Content_Length="1000")
        send_chunks(request, [b" "] * 1000)

    impatient_server.special[osf_page] = respond
    monkeypatch.setattr(_servers, "time", SimulatedClock(2 * downloading.TIMEOUT))
    with pytest.raises(ConnectionError, match="does not respond: received only .* bytes in"):
        fetch_gwilliams2022(tmp_path, progress=False)


@pytest.mark.parametrize("listed", [
    None, [None], [{"id": "1"}], [{"id": None, "title": ["a"]}], [{"id": "1", "title": []}], [{"id": "1", "title": 5}],
    [{"id": "1", "title": "a", "file_size": "many"}], [{"id": "1", "title": "a", "file_size": [-1]}],
    [{"id": "1", "title": "a", "original_checksum": "abc"}], [{"id": "1", "title": "../a"}],
], ids=str)  # fmt: skip
def test_read_deep_blue_listing_checks_each_file(impatient_server, tmp_path, monkeypatch, listed):
    monkeypatch.setattr(brennan2019, "DEEP_BLUE", impatient_server.url)
    impatient_server.json("/concern/data_sets/bg257f92t.json", {"file_sets": listed})
    with pytest.raises(ValueError, match=impatient_server.url):
        fetch_brennan2019(tmp_path, progress=False)


@pytest.mark.parametrize(("versions", "files"), [
    ([], None), (None, None), ([{}], None), ([5], None), ([{"_links": {"self": {"href": 5}}}], None),
    (1, [{"path": "a"}]), (1, [{"path": 5, "_links": {"stash:download": {"href": "/d"}}}]),
    (1, [{"path": "a", "_links": {"stash:download": {"href": "/d"}}, "digest": "00", "digestType": "sha-9"}]),
    (1, None),
], ids=str)  # fmt: skip
def test_read_dryad_listing_checks_each_file(impatient_server, tmp_path, monkeypatch, versions, files):
    monkeypatch.setattr(broderick2019, "DRYAD", impatient_server.url)
    versions = [{"_links": {"self": {"href": "/v1"}}}] if versions == 1 else versions
    impatient_server.json(
        "/api/v2/datasets/doi:10.5061/dryad.070jc/versions", {"_embedded": {"stash:versions": versions}}
    )
    impatient_server.json("/v1/files?per_page=100", {"_embedded": {"stash:files": files}, "_links": {}})
    with pytest.raises(ValueError, match=impatient_server.url):
        fetch_broderick2019(tmp_path, edition="dryad", progress=False)
