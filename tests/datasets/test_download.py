"""Servers, lists and archives that do harm, and what may lie in the way of a download."""

import gzip
import hashlib
import io
import os
import stat
import time
import zipfile

import numpy as np
import pytest
from helpers.servers import Server

from sk_b2s.datasets import _download as downloading
from sk_b2s.datasets import _fetching as fetching
from sk_b2s.datasets import _listings as listings
from sk_b2s.datasets import fetch_brennan2019, fetch_broderick2019, fetch_gwilliams2022
from sk_b2s.datasets._archives import BadArchive, unpack
from sk_b2s.datasets._download import Remote, download, request_json
from sk_b2s.datasets._file_names import check_name, check_size

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
SECONDS = 5  # that the server sends at most, whatever happens


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(downloading, "WAIT", 0.01)
    monkeypatch.setattr(downloading, "ATTEMPTS", 2)
    monkeypatch.setattr(downloading, "TIMEOUT", 5.0)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def head(request, status=200, **headers):
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()


def send_slowly(request, pieces, pause=0.0):
    """Send until the other side has had enough, or time is up."""
    until = time.monotonic() + SECONDS
    try:
        for piece in pieces:
            request.wfile.write(piece)
            request.wfile.flush()
            time.sleep(pause)
            if time.monotonic() > until:
                return
    except OSError:
        return


def remote(server, size=300_000, checksum=SHA, path="a/f.bin"):
    return Remote(path, f"{server.url}/f.bin", size, checksum)


def fetch(file, root):
    return download([file], root, progress=False)


def files_in(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


# --- bodies --------------------------------------------------------------------------------------------


def endless():
    while True:
        yield 10_000 * b"x"


@pytest.mark.parametrize("announced", [None, 10**9, "abc", "-5"])
def test_download_stops_at_the_known_size(server, tmp_path, monkeypatch, announced):
    written = []
    real = downloading.open_part

    def opened(path, append):
        file = real(path, append)
        written.append(file)
        return file

    monkeypatch.setattr(downloading, "open_part", opened)

    def answer(request):
        head(request, **({} if announced is None else {"Content_Length": str(announced)}))
        send_slowly(request, endless())

    server.special["/f.bin"] = answer
    began = time.monotonic()
    with pytest.raises(
        ConnectionError, match=r"'a/f\.bin'.*f\.bin (sends more than|offers).*its list says 300,000"
    ):
        fetch(remote(server), tmp_path)
    assert time.monotonic() - began < SECONDS
    assert len(server.requests) == 1
    assert files_in(tmp_path) == []
    assert (announced == 10**9) == (not written), "what is announced as too long is not begun"


def test_download_never_writes_more_than_its_size(server, tmp_path, monkeypatch):
    most = []
    unlink = type(tmp_path).unlink

    def note(path, **options):
        if path.exists():
            most.append(path.stat().st_size)
        unlink(path, **options)

    monkeypatch.setattr(type(tmp_path), "unlink", note)
    server.special["/f.bin"] = lambda request: (head(request), send_slowly(request, endless()))
    with pytest.raises(ConnectionError, match="sends more than"):
        fetch(remote(server, size=12_345), tmp_path)
    assert most == [12_345]


def test_download_of_unknown_size_stops_at_the_disk(server, tmp_path, monkeypatch):
    usage = downloading.shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda path: usage)
    server.special["/f.bin"] = lambda request: (head(request), send_slowly(request, endless()))
    with pytest.raises(OSError, match=r"f\.bin has sent .* without an end"):
        fetch(remote(server, size=None, checksum=None), tmp_path)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("size", [len(CONTENT), None])
@pytest.mark.parametrize("packing", ["gzip", "GZip", "br", "identity, gzip"])
def test_download_refuses_packed_bodies(server, tmp_path, size, packing):
    body = gzip.compress(bytes(50_000_000 if packing == "gzip" else 1000))

    def answer(request):
        head(request, Content_Encoding=packing, Content_Length=str(len(body)))
        send_slowly(request, [body])

    server.special["/f.bin"] = answer
    with pytest.raises(
        ConnectionError, match=r"'a/f\.bin': .*/f\.bin sent it packed \('.*'\), .* in a browser"
    ):
        fetch(remote(server, size), tmp_path)
    assert files_in(tmp_path) == []
    assert len(server.requests) == 1


@pytest.mark.parametrize("where", ["body", "head"])
def test_download_gives_up_on_a_trickle(server, tmp_path, monkeypatch, where):
    monkeypatch.setattr(downloading, "TIMEOUT", 0.3)

    def answer(request):
        if where == "body":
            head(request, Content_Length=str(len(CONTENT)))
            send_slowly(request, (CONTENT[i : i + 1] for i in range(1000)), 0.05)
        else:
            send_slowly(request, [b"HTTP/1.0 200 OK\r\n", *[b"A: b\r\n"] * 1000], 0.05)

    server.special["/f.bin"] = answer
    began = time.monotonic()
    with pytest.raises(
        ConnectionError, match=r"f\.bin', from .*the server stalled.*2 attempts.* bytes of it are kept"
    ):
        fetch(remote(server), tmp_path)
    assert time.monotonic() - began < 3 * SECONDS
    if where == "head":
        return
    part = tmp_path / "a/f.bin.part"
    assert CONTENT.startswith(part.read_bytes())
    assert part.stat().st_size > 0
    del server.special["/f.bin"]
    server.files["/f.bin"] = CONTENT
    fetch(remote(server), tmp_path)
    assert (tmp_path / "a/f.bin").read_bytes() == CONTENT


def test_download_goes_on_at_a_modest_rate(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloading, "TIMEOUT", 0.5)

    def answer(request):
        head(request, Content_Length=str(len(CONTENT)))
        send_slowly(request, (CONTENT[i : i + 15_000] for i in range(0, len(CONTENT), 15_000)), 0.05)

    server.special["/f.bin"] = answer
    fetch(remote(server), tmp_path)
    assert (tmp_path / "a/f.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("length", ["abc", "-5", "1e5", None])
def test_download_ignores_a_length_that_is_none(server, tmp_path, length):
    def answer(request):
        head(request, **({} if length is None else {"Content_Length": length}))
        send_slowly(request, [CONTENT])

    server.special["/f.bin"] = answer
    fetch(remote(server), tmp_path / "one")
    fetch(remote(server, size=None), tmp_path / "two")
    assert (tmp_path / "two/a/f.bin").read_bytes() == CONTENT


def test_download_starts_again_after_another_part(server, tmp_path):
    """A partial answer that begins elsewhere is not appended."""

    def answer(request):
        if request.headers.get("Range"):
            head(request, 206, Content_Range=f"bytes 0-9/{len(CONTENT)}", Content_Length="10")
            return send_slowly(request, [CONTENT[:10]])
        head(request, Content_Length=str(len(CONTENT)))
        send_slowly(request, [CONTENT])

    server.special["/f.bin"] = answer
    (tmp_path / "a").mkdir()
    (tmp_path / "a/f.bin.part").write_bytes(CONTENT[:1000])
    fetch(remote(server, checksum=None), tmp_path)
    assert (tmp_path / "a/f.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("status", [400, 405, 451, 501])
def test_a_final_status_is_asked_once(server, tmp_path, status):
    server.status["/f.bin"] = status
    with pytest.raises(OSError, match=rf"f\.bin answered {status} .*in a browser"):
        fetch(remote(server), tmp_path)
    assert len(server.requests) == 1


# --- addresses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x/", "//[bad/"])
def test_a_redirect_elsewhere_is_refused_at_once(server, tmp_path, target):
    server.special["/f.bin"] = lambda request: head(request, 302, Location=target, Content_Length="0")
    with pytest.raises(ConnectionError, match=r"/f\.bin is, or leads to, an address that is not fetched"):
        fetch(remote(server), tmp_path)
    assert len(server.requests) == 1
    with pytest.raises(ConnectionError, match="an address that is not fetched"):
        request_json(f"{server.url}/f.bin", "data")
    assert len(server.requests) == 2


def test_a_redirect_in_a_circle_is_refused_at_once(server, tmp_path):
    server.special["/f.bin"] = lambda request: head(request, 302, Location="/f.bin", Content_Length="0")
    with pytest.raises(ConnectionError, match="leads in a circle"):
        fetch(remote(server), tmp_path)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://h/x", "/etc/passwd", "", None, 5, "http://"])
def test_an_address_that_is_not_http_is_refused(tmp_path, url):
    with pytest.raises(ConnectionError, match="not http or https; nothing was fetched"):
        fetch(Remote("f.bin", url, None, None), tmp_path / "study")
    assert not (tmp_path / "study").exists()


# --- names, sizes and checksums ------------------------------------------------------------------------

OUTSIDE = ["../x", "a/../../x", "/etc/x", "\\x", "C:x", "c:/x", "C:\\x", "\\\\server\\share\\x", "//server/share/x",
           "..", "a\\..\\..\\x", "\\\\?\\C:\\x"]  # fmt: skip
UNUSABLE = ["", ".", "./x", "a//b", "a/", "a/./b", "x\0y", "x\ny", "x\x1b[2J", "CON", "nul.txt", "a/COM1.mat", "aux ",
            "LPT¹", "a/ b", "a./b", "... ", "x:y", "a\\b", "x*", "x" * 300, "x/" * 600 + "x",
            "\ud800", None, 5,
            ["a"]]  # fmt: skip
USABLE = ["sub-01/ses-0/meg/one.con", "stimuli/audio/lw1_0.wav", "Natural Speech/EEG/Subject1/Subject1_Run1.mat",
          "ÄÖ.wav", "doi_10.5061_dryad.070jc.zip", "console.txt", "COM10", ".bidsignore", "a..b",
          "x" * 200]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE + UNUSABLE, ids=lambda name: ascii(name)[:20])
def test_check_name_refuses_on_every_platform(name, server, tmp_path):
    outside = "a file outside the study's folder" if name in OUTSIDE else "which "
    with pytest.raises(ValueError, match=f"names .*{outside}.*nothing was fetched"):
        fetch(remote(server, path=name), tmp_path / "study")
    assert not (tmp_path / "study").exists()
    assert server.requests == []


@pytest.mark.parametrize("name", USABLE)
def test_check_name_passes_honest_names(name):
    assert "/".join(check_name(name, "the server")) == name


@pytest.mark.parametrize(
    "size", [-5, -1, 1.5, float("nan"), float("inf"), True, "abc", "-5", "1e5", [], {}, "9" * 30]
)
def test_sizes_are_numbers_of_bytes(server, tmp_path, size):
    with pytest.raises(ValueError, match=r"names the size .* for 'a/f\.bin'; expected a number of bytes"):
        fetch(remote(server, size=size), tmp_path / "study")
    assert server.requests == []


def test_check_size_passes_honest_sizes():
    assert [check_size(size, "f", "s") for size in (0, 12, "12", 12.0, None, "")] == [
        0,
        12,
        12,
        12,
        None,
        None,
    ]


@pytest.mark.parametrize("checksum", ["sha256:abc", "md9:00", "abc", "sha256:" + "g" * 64, 5, "shake_128:00"])
def test_checksums_are_checked_before_anything_comes(server, tmp_path, checksum):
    with pytest.raises(ValueError, match="names the checksum .* which is not one"):
        fetch(remote(server, checksum=checksum), tmp_path)
    assert server.requests == []


# --- what lies in the way ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "pipe", "folder"])
def test_a_planted_part_is_refused(server, tmp_path, kind):
    server.files["/f.bin"] = CONTENT
    root, victim = tmp_path / "study", tmp_path / "victim"
    (root / "a").mkdir(parents=True)
    part = root / "a/f.bin.part"
    victim.write_bytes(b"mine")
    if kind == "hard link":
        os.link(victim, part)
    elif kind == "pipe":
        os.mkfifo(part)
    elif kind == "folder":
        part.mkdir()
    else:
        part.symlink_to(victim if kind == "link" else tmp_path / "new")
    with pytest.raises(FileExistsError, match=r"f\.bin\.part' is a .*nothing was written to it. Remove it"):
        fetch(remote(server), root)
    assert victim.read_bytes() == b"mine"
    assert not (tmp_path / "new").exists()


def test_a_part_planted_while_it_comes_is_refused(server, tmp_path):
    """The first connection drops, and the part is replaced by a link before the second."""
    root, victim = tmp_path / "study", tmp_path / "victim"
    victim.write_bytes(b"mine")

    def answer(request):
        part = root / "a/f.bin.part"
        part.unlink(missing_ok=True)
        part.symlink_to(victim)
        head(request, Content_Length=str(len(CONTENT)))
        send_slowly(request, [CONTENT])

    server.special["/f.bin"] = answer
    with pytest.raises(FileExistsError, match="is a link"):
        fetch(remote(server), root)
    assert victim.read_bytes() == b"mine"


@pytest.mark.parametrize("there", [b"mine", None])
def test_a_link_in_the_place_of_a_file_is_replaced(server, tmp_path, there):
    server.files["/f.bin"] = CONTENT
    root, victim = tmp_path / "study", tmp_path / "victim"
    (root / "a").mkdir(parents=True)
    (root / "a/f.bin").symlink_to(victim)
    if there is not None:
        victim.write_bytes(there)
    fetch(remote(server), root)
    assert not (root / "a/f.bin").is_symlink()
    assert (root / "a/f.bin").read_bytes() == CONTENT
    assert (victim.read_bytes() if there else victim.exists()) == (there or False)


def test_a_link_to_the_whole_file_is_the_file(server, tmp_path):
    """As git-annex keeps its files."""
    (tmp_path / "a").mkdir()
    (tmp_path / "kept").write_bytes(CONTENT)
    (tmp_path / "a/f.bin").symlink_to(tmp_path / "kept")
    fetch(remote(server), tmp_path)
    assert server.requests == []


def test_files_and_folders_in_the_way_are_named(server, tmp_path):
    server.files["/f.bin"] = CONTENT
    (tmp_path / "one/a/f.bin").mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match=r"f\.bin' is a folder where the file of .* is to be"):
        fetch(remote(server), tmp_path / "one")
    (tmp_path / "two").mkdir()
    (tmp_path / "two/a").write_text("")
    with pytest.raises(NotADirectoryError, match=r"a' is to be a folder for 'a/f\.bin', but there is a file"):
        fetch(remote(server), tmp_path / "two")


# --- lists ---------------------------------------------------------------------------------------------


@pytest.fixture
def osf(server, monkeypatch):
    monkeypatch.setattr(fetching, "OSF", server.url)
    monkeypatch.setattr(fetching, "MASC_NODES", ("ag3kj",))
    return "/ag3kj/files/osfstorage/?page[size]=100"


def entry(server, **changes):
    found = {
        "attributes": {"kind": "file", "materialized_path": "/f.bin", "size": 3, "extra": {}},
        "links": {"download": f"{server.url}/f.bin"},
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
def test_ask_names_the_address_of_a_list_that_is_none(server, osf, tmp_path, body):
    server.files[osf] = body
    with pytest.raises(
        ValueError, match=rf"{server.url}/ag3kj.*(of another form|nested too deeply).*in a browser"
    ):
        fetch_gwilliams2022(tmp_path / "study", progress=False)
    assert not (tmp_path / "study").exists()
    assert len(server.requests) == 1


@pytest.mark.parametrize("body", [b"", b"\xff\xfe\x00", b"{", b"<html>", b"9" * 5000])
def test_ask_tells_a_page_from_a_list(server, osf, tmp_path, body):
    server.files[osf] = body
    with pytest.raises((PermissionError, ValueError), match=rf"{server.url}/ag3kj.* sent (no|a) list "):
        fetch_gwilliams2022(tmp_path, progress=False)


@pytest.mark.parametrize("page", [
    {"data": None, "links": {}}, {"data": {}, "links": {}}, {"data": [None], "links": {}}, {"data": [5], "links": {}},
    {"data": [], "links": []}, {"data": [], "links": {"next": 5}},
    {"data": [{"attributes": None}], "links": {}}, {"data": [{"attributes": {}}], "links": {}},
    {"data": [{"attributes": {"materialized_path": "/x", "kind": "folder"}}], "links": {}},
    {"data": [{"attributes": {"materialized_path": 5}}], "links": {}},
], ids=str)  # fmt: skip
def test_osf_files_names_what_has_another_form(server, osf, tmp_path, page):
    server.json(osf, page)
    with pytest.raises(ValueError, match=rf"{server.url}/ag3kj.* must be .* got .*Nothing was fetched"):
        fetch_gwilliams2022(tmp_path, progress=False)


@pytest.mark.parametrize(("changes", "message"), [
    ({"attributes__size": -5}, "names the size -5"), ({"attributes__size": "many"}, "names the size 'many'"),
    ({"links": {}}, r"links\.download must be a str"),
    ({"attributes__materialized_path": "/../x"}, "outside the study"),
    ({"attributes__extra": {"hashes": 5}}, "must be a str"), ({"attributes__extra": 5}, "must be a dict"),
    ({"attributes__extra": {"hashes": {"sha256": "abc"}}}, "names the checksum"),
    ({"links": {"download": "file:///etc/passwd"}}, "not http or https"),
], ids=str)  # fmt: skip
def test_osf_files_checks_each_file(server, osf, tmp_path, changes, message):
    server.json(osf, {"data": [entry(server, **changes)], "links": {}})
    with pytest.raises((ValueError, ConnectionError), match=message):
        fetch_gwilliams2022(tmp_path, progress=False)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("extra", [{}, None, {"hashes": {}}, {"hashes": {"sha256": None}}])
def test_osf_files_passes_files_without_checksum(server, osf, tmp_path, extra):
    server.files["/f.bin"] = b"abc"
    server.json(osf, {"data": [entry(server, attributes__extra=extra)], "links": {"next": None}})
    fetch_gwilliams2022(tmp_path, progress=False)
    assert files_in(tmp_path) == ["f.bin"]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_lists_in_a_circle_are_refused(server, osf, tmp_path, length):
    names = [osf, *(f"/page{n}" for n in range(1, length))]
    for name, following in zip(names, [*names[1:], names[0]], strict=True):
        server.json(name, {"data": [], "links": {"next": server.url + following}})
    with pytest.raises(ValueError, match="is a list that goes on with itself; nothing was fetched"):
        fetch_gwilliams2022(tmp_path, progress=False)
    assert len(server.requests) <= length + 1


def test_a_folder_that_holds_itself_is_refused(server, osf, tmp_path):
    itself = {"attributes": {"kind": "folder", "materialized_path": "/x/"},
              "relationships": {"files": {"links": {"related": {"href": server.url + osf}}}}}  # fmt: skip
    server.json(osf, {"data": [itself], "links": {}})
    with pytest.raises(ValueError, match="goes on with itself"):
        fetch_gwilliams2022(tmp_path, progress=False)


def test_lists_without_end_are_refused(server, osf, tmp_path, monkeypatch):
    monkeypatch.setattr(listings, "MOST_PAGES", 5)
    for page in range(8):
        here = osf if page == 0 else f"/page{page}"
        server.json(here, {"data": [], "links": {"next": f"{server.url}/page{page + 1}"}})
    with pytest.raises(ValueError, match=r"the list of .*/ag3kj.* has more than 5 pages, up to .*/page5"):
        fetch_gwilliams2022(tmp_path, progress=False)


@pytest.mark.parametrize("packed", [False, True])
def test_a_list_of_endless_size_is_refused(server, osf, tmp_path, monkeypatch, packed):
    monkeypatch.setattr(downloading, "MOST_LIST", 10**6)

    def answer(request):
        head(request, **({"Content_Encoding": "gzip"} if packed else {}))
        send_slowly(request, [gzip.compress(bytes(10**7))] if packed else endless())

    server.special[osf] = answer
    with pytest.raises(ConnectionError, match="sent a list of more than 1 MB"):
        fetch_gwilliams2022(tmp_path, progress=False)
    assert len(server.requests) == 1


def test_a_list_that_trickles_is_given_up(server, osf, tmp_path, monkeypatch):
    monkeypatch.setattr(downloading, "TIMEOUT", 0.3)

    def answer(request):
        head(request, Content_Length="1000")
        send_slowly(request, [b" "] * 1000, 0.05)

    server.special[osf] = answer
    with pytest.raises(ConnectionError, match="does not answer: only .* bytes came in"):
        fetch_gwilliams2022(tmp_path, progress=False)


@pytest.mark.parametrize("listed", [
    None, [None], [{"id": "1"}], [{"id": None, "title": ["a"]}], [{"id": "1", "title": []}], [{"id": "1", "title": 5}],
    [{"id": "1", "title": "a", "file_size": "many"}], [{"id": "1", "title": "a", "file_size": [-1]}],
    [{"id": "1", "title": "a", "original_checksum": "abc"}], [{"id": "1", "title": "../a"}],
], ids=str)  # fmt: skip
def test_deep_blue_files_checks_each_file(server, tmp_path, monkeypatch, listed):
    monkeypatch.setattr(fetching, "DEEP_BLUE", server.url)
    server.json("/concern/data_sets/bg257f92t.json", {"file_sets": listed})
    with pytest.raises(ValueError, match=server.url):
        fetch_brennan2019(tmp_path, progress=False)


@pytest.mark.parametrize(("versions", "files"), [
    ([], None), (None, None), ([{}], None), ([5], None), ([{"_links": {"self": {"href": 5}}}], None),
    (1, [{"path": "a"}]), (1, [{"path": 5, "_links": {"stash:download": {"href": "/d"}}}]),
    (1, [{"path": "a", "_links": {"stash:download": {"href": "/d"}}, "digest": "00", "digestType": "sha-9"}]),
    (1, None),
], ids=str)  # fmt: skip
def test_dryad_files_checks_each_file(server, tmp_path, monkeypatch, versions, files):
    monkeypatch.setattr(fetching, "DRYAD", server.url)
    versions = [{"_links": {"self": {"href": "/v1"}}}] if versions == 1 else versions
    server.json(
        "/api/v2/datasets/doi:10.5061/dryad.070jc/versions", {"_embedded": {"stash:versions": versions}}
    )
    server.json("/v1/files?per_page=100", {"_embedded": {"stash:files": files}, "_links": {}})
    with pytest.raises(ValueError, match=server.url):
        fetch_broderick2019(tmp_path, edition="dryad", progress=False)


# --- archives ------------------------------------------------------------------------------------------


def zipped(members, kind=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as packed:
        for name, body in members.items():
            packed.writestr(name, body)
    return buffer.getvalue()


def as_they_are(name):
    return name


def test_unpack_names_an_archive_that_is_none(tmp_path):
    for body in (
        b"",
        b"no zip",
        zipped({"a": b"b"})[:-10],
        zipped({"a": CONTENT}).replace(CONTENT[:9], b"*" * 9),
    ):
        (tmp_path / "audio.zip").write_bytes(body)
        with pytest.raises(
            (BadArchive, zipfile.BadZipFile), match=r"audio\.zip', from http://h, cannot be unpacked"
        ):
            unpack(tmp_path / "audio.zip", tmp_path / "study", as_they_are, "http://h")
        assert not (tmp_path / "study/a").exists()


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "..\\x", "C:x", "CON"])
def test_unpack_leaves_out_what_leads_away_and_says_so(tmp_path, name):
    (tmp_path / "a.zip").write_bytes(zipped({name: b"bad", "good": b"good"}))
    with pytest.warns(UserWarning, match=r"a\.zip': left out 1 of 2 members"):
        paths = unpack(tmp_path / "a.zip", tmp_path / "study", as_they_are)
    assert files_in(tmp_path) == ["a.zip", "study/good"]
    assert paths == [tmp_path / "study/good"]


def test_unpack_leaves_out_links_and_doubles(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(link, "/etc/passwd")
        packed.writestr("one/x.wav", b"one")
        packed.writestr("two/x.wav", b"two")
        packed.writestr("three/x.wav", b"one")
    with pytest.warns(
        UserWarning, match=r"left out 2 .*'link' \(is a link\), 'two/x\.wav' \(has .* as 'one/x\.wav'\)"
    ):
        unpack(tmp_path / "a.zip", tmp_path / "study", lambda name: name.split("/")[-1])
    assert (tmp_path / "study/x.wav").read_bytes() == b"one"


def test_unpack_refuses_bombs(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({str(i): bytes(30_000_000) for i in range(4)}))
    with pytest.raises(BadArchive, match=r"a\.zip' has .* bytes and would unpack to 120,000,000"):
        unpack(tmp_path / "a.zip", tmp_path / "study", as_they_are)
    assert files_in(tmp_path) == ["a.zip"]


def test_unpack_refuses_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr("sk_b2s.datasets._archives.MOST_MEMBERS", 3)
    (tmp_path / "a.zip").write_bytes(zipped({str(i): b"" for i in range(4)}))
    with pytest.raises(BadArchive, match="in 4 files"):
        unpack(tmp_path / "a.zip", tmp_path / "study", as_they_are)


def test_unpack_follows_no_links(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"x": b"new", "y": b"new"}))
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / "study").mkdir()
    (tmp_path / "study/x").symlink_to(tmp_path / "victim")
    (tmp_path / "study/y.part").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError, match=r"y\.part' is a link"):
        unpack(tmp_path / "a.zip", tmp_path / "study", as_they_are)
    (tmp_path / "study/y.part").unlink()
    unpack(tmp_path / "a.zip", tmp_path / "study", as_they_are)
    assert (tmp_path / "victim").read_bytes() == b"mine"
    assert (tmp_path / "study/x").read_bytes() == b"new"


def test_unpack_of_dryad_leaves_archives_of_the_user(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "DRYAD", server.url)
    body = zipped({"Natural Speech/x.mat": b"eeg"})
    server.files["/d"] = body
    server.json("/api/v2/datasets/doi:10.5061/dryad.070jc/versions",
                {"_embedded": {"stash:versions": [{"_links": {"self": {"href": "/v1"}}}]}})  # fmt: skip
    listed = {"path": "Natural Speech.zip", "size": len(body), "_links": {"stash:download": {"href": "/d"}}}
    server.json("/v1/files?per_page=100", {"_embedded": {"stash:files": [listed]}, "_links": {}})
    (tmp_path / "my backup.zip").write_bytes(zipped({"private.txt": b"no"}))
    fetch_broderick2019(tmp_path, edition="dryad", progress=False)
    assert files_in(tmp_path) == ["Natural Speech.zip", "Natural Speech/x.mat", "my backup.zip"]
