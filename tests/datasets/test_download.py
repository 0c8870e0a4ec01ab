"""Tests of resumed and verified downloads."""

import gzip
import hashlib
import io
import os
import shutil
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.servers import (
    CONTENT,
    MOST_SENT,
    SimulatedClock,
    download_file,
    iter_endless,
    list_files,
    make_file,
    send_chunks,
    send_head,
    stop_waiting_for_heads,
)

from sk_b2s.datasets import _download as downloading
from sk_b2s.datasets import _servers
from sk_b2s.datasets._download import DownloadFile, download
from sk_b2s.datasets._listings import request_file_listing

MANUAL = "Open the page in a browser."
LARGE_CONTENT = np.random.default_rng(0).bytes(3_000_000)


LARGE_SHA = f"sha256:{hashlib.sha256(LARGE_CONTENT).hexdigest()}"


@pytest.fixture
def large_file(server):
    server.files["/story.wav"] = LARGE_CONTENT
    return DownloadFile("stimuli/audio/story.wav", f"{server.url}/story.wav", len(LARGE_CONTENT), LARGE_SHA)


def test_download_skips_existing_file(server, large_file, tmp_path):
    for _ in range(2):
        root = download([large_file], tmp_path / "study", progress=False)
    assert (root / large_file.path).read_bytes() == LARGE_CONTENT
    assert server.requests == [("/story.wav", None)]
    assert [path.name for path in root.rglob("*") if path.is_file()] == ["story.wav"]


def test_download_resumes_lost_connection(server, large_file, tmp_path):
    server.drops = 3
    download([large_file], tmp_path, progress=False)
    assert (tmp_path / large_file.path).read_bytes() == LARGE_CONTENT
    begins = [int(wanted[6:-1]) for _, wanted in server.requests[1:]]
    assert begins == sorted(begins)
    assert len(set(begins)) == 3
    assert begins[0] >= len(LARGE_CONTENT) // 3


def test_download_keeps_partial_file(server, large_file, tmp_path):
    server.drops = downloading.ATTEMPTS
    with pytest.raises(
        ConnectionError,
        match=r"story\.wav', from .*: the connection was lost.*after 6 attempts\. The [\d,]+ bytes",
    ):
        download([large_file], tmp_path, progress=False)
    assert not (tmp_path / large_file.path).exists()
    part = tmp_path / (large_file.path + ".part")
    n_bytes = part.stat().st_size
    assert part.read_bytes() == LARGE_CONTENT[:n_bytes]
    download([large_file], tmp_path, progress=False)
    assert server.requests[-1] == ("/story.wav", f"bytes={n_bytes}-")
    assert (tmp_path / large_file.path).read_bytes() == LARGE_CONTENT


def test_download_restarts_without_ranges(server, large_file, tmp_path):
    server.drops, server.ranges = 2, False
    download([large_file._replace(size=None)], tmp_path, progress=False)
    assert (tmp_path / large_file.path).read_bytes() == LARGE_CONTENT


def test_download_deletes_too_long_part(large_file, tmp_path):
    part = tmp_path / (large_file.path + ".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(LARGE_CONTENT * 2)
    download([large_file], tmp_path, progress=False)
    assert (tmp_path / large_file.path).read_bytes() == LARGE_CONTENT


def test_download_deletes_file_of_wrong_checksum(server, large_file, tmp_path):
    server.files["/story.wav"] = LARGE_CONTENT[:-1] + b"!"
    with pytest.raises(
        ValueError,
        match=r"story\.wav' from .* does not have the listed checksum .*\(sha256:.*Run the download again",
    ):
        download([large_file], tmp_path, progress=False)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (403, PermissionError, "403 Forbidden: the server requires a login.*save the file as"),
        (401, PermissionError, "401 Unauthorized"),
        (404, FileNotFoundError, "404 Not Found: the file has moved"),
    ],
)
def test_download_stops_at_refusal(server, tmp_path, status, error, message):
    server.status["/gone"] = status
    with pytest.raises(error, match=message):
        download([DownloadFile("gone", f"{server.url}/gone", None, None)], tmp_path, progress=False)
    assert len(server.requests) == 1


def test_download_repeats_after_server_error(server, tmp_path):
    server.status["/busy"] = 503
    with pytest.raises(
        ConnectionError, match="the server returned 503 Service Unavailable, after 6 attempts"
    ):
        download([DownloadFile("busy", f"{server.url}/busy", None, None)], tmp_path, progress=False)
    assert len(server.requests) == downloading.ATTEMPTS


def test_download_rejects_web_page(server, large_file, tmp_path):
    """A login page with status 200 must not be written to the file."""
    server.files["/story.wav"], server.kinds["/story.wav"] = (
        b"<html>log in</html>",
        "text/html; charset=utf-8",
    )
    for one in (large_file, large_file._replace(size=None, checksum=None)):
        with pytest.raises(PermissionError, match=r"sent a web page instead of 'stimuli/audio/story\.wav'"):
            download([one], tmp_path, progress=False)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_download_rejects_other_size(server, large_file, tmp_path):
    with pytest.raises(
        ConnectionError, match=r"sent 3,000,000 bytes, but the listed size is 3,000,010. The file was deleted"
    ):
        download([large_file._replace(size=len(LARGE_CONTENT) + 10)], tmp_path, progress=False)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("more", [b"", b"too much"])
def test_download_accepts_complete_part(server, large_file, tmp_path, more):
    part = tmp_path / (large_file.path + ".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(LARGE_CONTENT + more)
    download([large_file._replace(size=None)], tmp_path, progress=False)
    assert (tmp_path / large_file.path).read_bytes() == LARGE_CONTENT


@pytest.mark.parametrize("path", ["../story.wav", "/story.wav", "a/../../story.wav"])
def test_download_rejects_outside_path(server, large_file, tmp_path, path):
    with pytest.raises(ValueError, match="contains a file outside the folder of the study"):
        download([large_file._replace(path=path)], tmp_path / "study", progress=False)
    assert server.requests == []


def test_download_checks_disk_space_first(server, large_file, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2_000_000))
    with pytest.raises(
        OSError, match=r"The download needs 0\.0 GB, but only 0\.0 GB are free.*subjects=\[\.\.\.\]"
    ):
        download([large_file], tmp_path / "new" / "study", progress=False)
    assert server.requests == []


def test_download_progress_shows_file(large_file, tmp_path, capsys):
    download([large_file], tmp_path)
    assert "1 of 1: stimuli/audio/story.wav" in capsys.readouterr().err


@pytest.mark.parametrize("announced", [None, 10**9, "abc", "-5"])
def test_download_stops_at_the_known_size(impatient_server, tmp_path, monkeypatch, announced):
    written = []
    real = downloading.open_part_file_name

    def open_and_record(path, append):
        file = real(path, append)
        written.append(file)
        return file

    monkeypatch.setattr(downloading, "open_part_file_name", open_and_record)

    sent, is_over = [], threading.Event()

    def respond(request):
        send_head(request, **({} if announced is None else {"Content_Length": str(announced)}))
        sent.append(send_chunks(request, iter_endless()))
        is_over.set()

    impatient_server.special["/f.bin"] = respond
    with pytest.raises(
        ConnectionError, match=r"'a/f\.bin'.*f\.bin (sends more than|announces).*listed size is 300,000"
    ):
        download_file(make_file(impatient_server), tmp_path)
    assert is_over.wait(300)
    assert sent[0] < MOST_SENT, "the connection is closed early"
    assert len(impatient_server.requests) == 1
    assert list_files(tmp_path) == []
    assert (announced == 10**9) == (not written), "nothing is written if the announced size is too large"


def test_download_writes_at_most_the_size(impatient_server, tmp_path, monkeypatch):
    sizes = []
    unlink = type(tmp_path).unlink

    def record_size(path, **options):
        if path.exists():
            sizes.append(path.stat().st_size)
        unlink(path, **options)

    monkeypatch.setattr(type(tmp_path), "unlink", record_size)
    impatient_server.special["/f.bin"] = lambda request: (
        send_head(request),
        send_chunks(request, iter_endless()),
    )
    with pytest.raises(ConnectionError, match="sends more than"):
        download_file(make_file(impatient_server, size=12_345), tmp_path)
    assert sizes == [12_345]


def test_download_of_unknown_size_checks_disk(impatient_server, tmp_path, monkeypatch):
    usage = downloading.shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda path: usage)
    impatient_server.special["/f.bin"] = lambda request: (
        send_head(request),
        send_chunks(request, iter_endless()),
    )
    with pytest.raises(OSError, match=r"f\.bin sent .* without an end"):
        download_file(make_file(impatient_server, size=None, checksum=None), tmp_path)
    assert list_files(tmp_path) == []


@pytest.mark.parametrize("size", [len(CONTENT), None])
@pytest.mark.parametrize("packing", ["gzip", "GZip", "br", "identity, gzip"])
def test_download_rejects_compressed_body(impatient_server, tmp_path, size, packing):
    body = gzip.compress(bytes(50_000_000 if packing == "gzip" else 1000))

    def respond(request):
        send_head(request, Content_Encoding=packing, Content_Length=str(len(body)))
        send_chunks(request, [body])

    impatient_server.special["/f.bin"] = respond
    with pytest.raises(
        ConnectionError, match=r"'a/f\.bin': .*/f\.bin sent the file compressed \('.*'\), .* in a browser"
    ):
        download_file(make_file(impatient_server, size), tmp_path)
    assert list_files(tmp_path) == []
    assert len(impatient_server.requests) == 1


STALLED = r"f\.bin', from .*the server stalled.*2 attempts.* bytes received are kept"


def test_download_stops_at_slow_body(impatient_server, tmp_path, monkeypatch):
    def respond(request):
        send_head(request, Content_Length=str(len(CONTENT)))
        send_chunks(request, (CONTENT[i : i + 1] for i in range(1000)))

    impatient_server.special["/f.bin"] = respond
    with monkeypatch.context() as patch:
        patch.setattr(_servers, "time", SimulatedClock(2 * downloading.TIMEOUT))
        with pytest.raises(ConnectionError, match=STALLED):
            download_file(make_file(impatient_server), tmp_path)
    part = tmp_path / "a/f.bin.part"
    assert CONTENT.startswith(part.read_bytes())
    assert part.stat().st_size > 0
    del impatient_server.special["/f.bin"]
    impatient_server.files["/f.bin"] = CONTENT
    download_file(make_file(impatient_server), tmp_path)
    assert (tmp_path / "a/f.bin").read_bytes() == CONTENT


def test_download_stops_at_slow_head(impatient_server, tmp_path, monkeypatch):
    with stop_waiting_for_heads(monkeypatch) as (waits, is_over):

        def respond(request):
            send_chunks(request, [b"HTTP/1.0 200 OK\r\n"])
            is_over.wait()

        impatient_server.special["/f.bin"] = respond
        with pytest.raises(ConnectionError, match=STALLED):
            download_file(make_file(impatient_server), tmp_path)
    assert waits == [3 * downloading.TIMEOUT] * 2


def test_iter_server_body_counts_reading_only(monkeypatch):
    """A server is not slow because its chunks are written slowly."""
    clock = SimulatedClock(1.0)
    monkeypatch.setattr(_servers, "time", clock)
    body = io.BytesIO(bytes(20_000))
    raw = SimpleNamespace(read1=lambda size, decode_content: body.read(2000))  # 2000 bytes per second
    for _ in _servers.iter_server_body(SimpleNamespace(raw=raw), timeout=5.0):
        clock.now += 100.0
    assert body.tell() == 20_000


@pytest.mark.parametrize("length", ["abc", "-5", "1e5", None])
def test_download_ignores_invalid_length(impatient_server, tmp_path, length):
    def respond(request):
        send_head(request, **({} if length is None else {"Content_Length": length}))
        send_chunks(request, [CONTENT])

    impatient_server.special["/f.bin"] = respond
    download_file(make_file(impatient_server), tmp_path / "one")
    download_file(make_file(impatient_server, size=None), tmp_path / "two")
    assert (tmp_path / "two/a/f.bin").read_bytes() == CONTENT


def test_download_rejects_other_range(impatient_server, tmp_path):
    """A partial response that begins elsewhere is not appended."""

    def respond(request):
        if request.headers.get("Range"):
            send_head(request, 206, Content_Range=f"bytes 0-9/{len(CONTENT)}", Content_Length="10")
            return send_chunks(request, [CONTENT[:10]])
        send_head(request, Content_Length=str(len(CONTENT)))
        send_chunks(request, [CONTENT])

    impatient_server.special["/f.bin"] = respond
    (tmp_path / "a").mkdir()
    (tmp_path / "a/f.bin.part").write_bytes(CONTENT[:1000])
    download_file(make_file(impatient_server, checksum=None), tmp_path)
    assert (tmp_path / "a/f.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("status", [400, 405, 451, 501])
def test_download_stops_at_final_status(impatient_server, tmp_path, status):
    impatient_server.status["/f.bin"] = status
    with pytest.raises(OSError, match=rf"f\.bin returned {status} .*in a browser"):
        download_file(make_file(impatient_server), tmp_path)
    assert len(impatient_server.requests) == 1


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x/", "//[bad/"])
def test_download_rejects_redirect_elsewhere(impatient_server, tmp_path, target):
    impatient_server.special["/f.bin"] = lambda request: send_head(
        request, 302, Location=target, Content_Length="0"
    )
    with pytest.raises(ConnectionError, match=r"/f\.bin is, or redirects to, an address that cannot be used"):
        download_file(make_file(impatient_server), tmp_path)
    assert len(impatient_server.requests) == 1
    with pytest.raises(ConnectionError, match="an address that cannot be used"):
        request_file_listing(f"{impatient_server.url}/f.bin", "data", manual=MANUAL)
    assert len(impatient_server.requests) == 2


def test_download_rejects_redirect_loop(impatient_server, tmp_path):
    impatient_server.special["/f.bin"] = lambda request: send_head(
        request, 302, Location="/f.bin", Content_Length="0"
    )
    with pytest.raises(ConnectionError, match="redirects in a loop"):
        download_file(make_file(impatient_server), tmp_path)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://h/x", "/etc/passwd", "", None, 5, "http://"])
def test_download_requires_http(tmp_path, url):
    with pytest.raises(ConnectionError, match="not http or https. Nothing was downloaded"):
        download_file(DownloadFile("f.bin", url, None, None), tmp_path / "study")
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("checksum", ["sha256:abc", "md9:00", "abc", "sha256:" + "g" * 64, 5, "shake_128:00"])
def test_download_rejects_invalid_checksum(impatient_server, tmp_path, checksum):
    with pytest.raises(ValueError, match="has the invalid checksum"):
        download_file(make_file(impatient_server, checksum=checksum), tmp_path)
    assert impatient_server.requests == []


@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "pipe", "folder"])
def test_download_rejects_linked_part(impatient_server, tmp_path, kind):
    impatient_server.files["/f.bin"] = CONTENT
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
    with pytest.raises(FileExistsError, match=r"f\.bin\.part' is a .*Nothing was written to it. Remove it"):
        download_file(make_file(impatient_server), root)
    assert victim.read_bytes() == b"mine"
    assert not (tmp_path / "new").exists()


def test_download_rejects_part_linked_later(impatient_server, tmp_path):
    """A link replaces the partial file between two connections."""
    root, victim = tmp_path / "study", tmp_path / "victim"
    victim.write_bytes(b"mine")

    def respond(request):
        part = root / "a/f.bin.part"
        part.unlink(missing_ok=True)
        part.symlink_to(victim)
        send_head(request, Content_Length=str(len(CONTENT)))
        send_chunks(request, [CONTENT])

    impatient_server.special["/f.bin"] = respond
    with pytest.raises(FileExistsError, match="is a link"):
        download_file(make_file(impatient_server), root)
    assert victim.read_bytes() == b"mine"


@pytest.mark.parametrize("there", [b"mine", None])
def test_download_replaces_link(impatient_server, tmp_path, there):
    impatient_server.files["/f.bin"] = CONTENT
    root, victim = tmp_path / "study", tmp_path / "victim"
    (root / "a").mkdir(parents=True)
    (root / "a/f.bin").symlink_to(victim)
    if there is not None:
        victim.write_bytes(there)
    download_file(make_file(impatient_server), root)
    assert not (root / "a/f.bin").is_symlink()
    assert (root / "a/f.bin").read_bytes() == CONTENT
    assert (victim.read_bytes() if there else victim.exists()) == (there or False)


def test_download_accepts_link_to_file(impatient_server, tmp_path):
    """git-annex stores its files like this."""
    (tmp_path / "a").mkdir()
    (tmp_path / "kept").write_bytes(CONTENT)
    (tmp_path / "a/f.bin").symlink_to(tmp_path / "kept")
    download_file(make_file(impatient_server), tmp_path)
    assert impatient_server.requests == []


def test_download_describes_blocking_files(impatient_server, tmp_path):
    impatient_server.files["/f.bin"] = CONTENT
    (tmp_path / "one/a/f.bin").mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match=r"f\.bin' is a folder, but the file .* belongs there"):
        download_file(make_file(impatient_server), tmp_path / "one")
    (tmp_path / "two").mkdir()
    (tmp_path / "two/a").write_text("")
    with pytest.raises(
        NotADirectoryError,
        match=r"a' must be a folder for 'a/f\.bin', but it or one of its parents is a file",
    ):
        download_file(make_file(impatient_server), tmp_path / "two")
