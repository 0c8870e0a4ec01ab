"""Fetching, from a server on this machine that behaves as badly as servers do."""

import hashlib
import io
import shutil
import sys
import types
import zipfile

import numpy as np
import pytest
from helpers.servers import Server

from sk_b2s.datasets import _download as downloading
from sk_b2s.datasets import _fetching as fetching
from sk_b2s.datasets import fetch_brennan2019, fetch_broderick2019, fetch_gwilliams2022, fetch_schoffelen2019
from sk_b2s.datasets._download import Remote, download

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(downloading, "WAIT", 0.01)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def remote(server):
    server.files["/story.wav"] = CONTENT
    return Remote("stimuli/audio/story.wav", f"{server.url}/story.wav", len(CONTENT), SHA)


# --- one file ------------------------------------------------------------------------------------------


def test_a_file_comes_once(server, remote, tmp_path):
    for _ in range(2):
        root = download([remote], tmp_path / "study", progress=False)
    assert (root / remote.path).read_bytes() == CONTENT
    assert server.requests == [("/story.wav", None)]
    assert [path.name for path in root.rglob("*") if path.is_file()] == ["story.wav"]


def test_a_dropped_connection_is_resumed(server, remote, tmp_path):
    server.drops = 3
    download([remote], tmp_path, progress=False)
    assert (tmp_path / remote.path).read_bytes() == CONTENT
    begins = [int(wanted[6:-1]) for _, wanted in server.requests[1:]]
    assert begins == sorted(begins)
    assert len(set(begins)) == 3
    assert begins[0] >= len(CONTENT) // 3


def test_what_came_is_kept_for_the_next_time(server, remote, tmp_path):
    server.drops = downloading.ATTEMPTS
    with pytest.raises(
        ConnectionError,
        match=r"story\.wav', from .*: the connection dropped.*6 attempts in all\. [\d,]+ bytes of it",
    ):
        download([remote], tmp_path, progress=False)
    assert not (tmp_path / remote.path).exists()
    part = tmp_path / (remote.path + ".part")
    come = part.stat().st_size
    assert part.read_bytes() == CONTENT[:come]
    download([remote], tmp_path, progress=False)
    assert server.requests[-1] == ("/story.wav", f"bytes={come}-")
    assert (tmp_path / remote.path).read_bytes() == CONTENT


def test_a_server_that_cannot_resume_begins_anew(server, remote, tmp_path):
    server.drops, server.ranges = 2, False
    download([remote._replace(size=None)], tmp_path, progress=False)
    assert (tmp_path / remote.path).read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_thrown_away(remote, tmp_path):
    part = tmp_path / (remote.path + ".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT * 2)
    download([remote], tmp_path, progress=False)
    assert (tmp_path / remote.path).read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing(server, remote, tmp_path):
    server.files["/story.wav"] = CONTENT[:-1] + b"!"
    with pytest.raises(
        ValueError, match=r"story\.wav' came .* with another checksum .*\(sha256:.*Run it again"
    ):
        download([remote], tmp_path, progress=False)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (403, PermissionError, "403 Forbidden: the server wants you to log in.*save the file into"),
        (401, PermissionError, "401 Unauthorized"),
        (404, FileNotFoundError, "404 Not Found: it has moved"),
    ],
)
def test_a_refusal_is_final(server, tmp_path, status, error, message):
    server.status["/gone"] = status
    with pytest.raises(error, match=message):
        download([Remote("gone", f"{server.url}/gone", None, None)], tmp_path, progress=False)
    assert len(server.requests) == 1


def test_a_server_in_trouble_is_asked_again(server, tmp_path):
    server.status["/busy"] = 503
    with pytest.raises(
        ConnectionError, match="the server answered 503 Service Unavailable, 6 attempts in all"
    ):
        download([Remote("busy", f"{server.url}/busy", None, None)], tmp_path, progress=False)
    assert len(server.requests) == downloading.ATTEMPTS


def test_a_page_in_the_place_of_a_file_is_no_file(server, remote, tmp_path):
    """A network that wants a log-in answers 200, and whatever it says must not become the file's first bytes."""
    server.files["/story.wav"], server.kinds["/story.wav"] = (
        b"<html>log in</html>",
        "text/html; charset=utf-8",
    )
    for one in (remote, remote._replace(size=None, checksum=None)):
        with pytest.raises(PermissionError, match=r"sent a web page instead of 'stimuli/audio/story\.wav'"):
            download([one], tmp_path, progress=False)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_list_that_names_another_size(server, remote, tmp_path):
    with pytest.raises(
        ConnectionError, match=r"sent 3,000,000 bytes, but its list says 3,000,010; it was thrown away"
    ):
        download([remote._replace(size=len(CONTENT) + 10)], tmp_path, progress=False)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("more", [b"", b"too much"])
def test_a_part_that_is_whole_is_the_file_where_no_size_is_known(server, remote, tmp_path, more):
    part = tmp_path / (remote.path + ".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT + more)
    download([remote._replace(size=None)], tmp_path, progress=False)
    assert (tmp_path / remote.path).read_bytes() == CONTENT


@pytest.mark.parametrize("path", ["../story.wav", "/story.wav", "a/../../story.wav"])
def test_nothing_is_written_elsewhere(server, remote, tmp_path, path):
    with pytest.raises(ValueError, match="names a file outside the study's folder"):
        download([remote._replace(path=path)], tmp_path / "study", progress=False)
    assert server.requests == []


def test_a_full_disk_is_said_before_anything_comes(server, remote, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2_000_000))
    with pytest.raises(OSError, match=r"0\.0 GB are to come, but only 0\.0 GB are free.*subjects=\[\.\.\.\]"):
        download([remote], tmp_path / "new" / "study", progress=False)
    assert server.requests == []


def test_progress_names_the_file(remote, tmp_path, capsys):
    download([remote], tmp_path)
    assert "1 of 1: stimuli/audio/story.wav" in capsys.readouterr().err


# --- the studies' servers ------------------------------------------------------------------------------


def osf_node(server, node, files):
    """Folders and files as OSF lists them, a page for each entry."""
    folders = {"": []}
    for path in files:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folder, inner = "/".join(parts[: depth - 1]), "/".join(parts[:depth])
            if inner not in folders:
                folders[inner] = []
                folders[folder].append(("folder", inner))
        folders["/".join(parts[:-1])].append(("file", path))
    for folder, entries in folders.items():
        base = f"/{node}/files/osfstorage/" + (folder.replace("/", "-") if folder else "")
        for page, (kind, path) in enumerate(entries):
            entry = {"attributes": {"kind": kind, "materialized_path": f"/{path}" + "/" * (kind == "folder")}}
            if kind == "folder":
                href = f"{server.url}/{node}/files/osfstorage/{path.replace('/', '-')}"
                entry["relationships"] = {"files": {"links": {"related": {"href": href}}}}
            else:
                body = files[path]
                server.files[f"/{node}-{path}"] = body
                entry["links"] = {"download": f"{server.url}/{node}-{path}"}
                digest = hashlib.sha256(body).hexdigest()
                entry["attributes"] |= {"size": len(body), "extra": {"hashes": {"sha256": digest}}}
            following = f"{server.url}{base}?{page + 1}" if page + 1 < len(entries) else None
            here = base + (f"?{page}" if page else "" if folder else "?page[size]=100")
            server.json(here, {"data": [entry], "links": {"next": following}})


@pytest.fixture
def masc_server(server, monkeypatch):
    monkeypatch.setattr(fetching, "OSF", server.url)
    nodes = [
        {"participants.tsv": b"a", "sub-01/ses-0/meg/one.con": b"01", "sub-01/ses-0/meg/two.con": b"012"},
        {"sub-02/ses-0/meg/one.con": b"02", "participants.tsv": b"of the second part"},
        {"stimuli/audio/lw1_0.wav": b"wav"},
        {"sub-27/ses-1/meg/one.con": b"27"},
    ]
    for node, files in zip(fetching.MASC_NODES, nodes, strict=True):
        osf_node(server, node, files)
    return {path: body for files in reversed(nodes) for path, body in files.items()}


def fetched(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_four_nodes_of_masc_make_one_folder(masc_server, tmp_path):
    for _ in range(2):
        assert fetched(fetch_gwilliams2022(tmp_path, progress=False)) == masc_server


def test_few_people_of_masc(server, masc_server, tmp_path):
    fetch_gwilliams2022(tmp_path, ["sub-02"], progress=False)
    assert fetched(tmp_path) == {
        path: body for path, body in masc_server.items() if path[:6] in ("partic", "stimul", "sub-02")
    }
    assert not any("sub-01" in path or "sub-27" in path for path, _ in server.requests), "no list of others"
    with pytest.raises(
        ValueError, match=r"subjects names \['99'\], which the server does not have; it has *\."
    ):
        fetch_gwilliams2022(tmp_path, "99", progress=False)


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, body in files.items():
            packed.writestr(name, body)
    return buffer.getvalue()


def test_alice_is_unpacked(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "DEEP_BLUE", server.url)
    files = {
        "S01.mat": b"raw 1", "S02.mat": b"raw 2", "AliceChapterOne-EEG.csv": b"Word",
        "audio.zip": zipped({"audio/one.wav": b"wav", "__MACOSX/audio/._one.wav": b"no"}),
        "proc.zip": zipped({"S01.mat": b"trials"}),
    }  # fmt: skip
    listed = []
    for index, (name, body) in enumerate(files.items()):
        server.files[f"/downloads/id{index}"] = body
        checksum = hashlib.md5(body).hexdigest()
        listed.append(
            {"id": f"id{index}", "title": [name], "file_size": len(body), "original_checksum": checksum}
        )
    server.json("/concern/data_sets/bg257f92t.json", {"file_sets": listed})
    fetch_brennan2019(tmp_path, "S01", progress=False)
    assert set(fetched(tmp_path)) == {*files, "audio/one.wav", "proc/S01.mat"} - {"S02.mat"}
    assert (tmp_path / "proc/S01.mat").read_bytes() == b"trials"
    with pytest.raises(ValueError, match=r"subjects names \['S1'\].*it has S01, S02"):
        fetch_brennan2019(tmp_path, "S1", progress=False)


@pytest.mark.parametrize("packed_twice", [False, True])
def test_dryads_archive_is_unpacked(server, tmp_path, monkeypatch, packed_twice):
    monkeypatch.setattr(fetching, "DRYAD", server.url)
    archive = zipped({"Natural Speech/EEG/Subject1/Subject1_Run1.mat": b"eeg"})
    if packed_twice:
        inner = {
            "Natural Speech.zip": archive,
            "N400.zip": zipped({"N400/x.mat": b"no"}),
            "README.txt": b"all",
        }
        archive = zipped(inner)
    server.json(
        "/api/v2/datasets/doi:10.5061/dryad.070jc/versions",
        {
            "_embedded": {
                "stash:versions": [{"_links": {"self": {"href": f"/api/v2/versions/{n}"}}} for n in (1, 2)]
            }
        },
    )
    entries = []
    names = ("Natural Speech.zip", "Natural Speech - Reverse.zip", "N400.zip")
    for name in ("doi_10.5061_dryad.070jc.zip",) if packed_twice else names:
        link = "/download/" + name.replace(" ", "_")
        server.files[link] = archive
        entries.append({
            "path": name, "size": len(archive), "digest": hashlib.sha256(archive).hexdigest(),
            "digestType": "sha-256", "_links": {"stash:download": {"href": link}},
        })  # fmt: skip
    server.json(
        "/api/v2/versions/2/files?per_page=100", {"_embedded": {"stash:files": entries}, "_links": {}}
    )
    fetch_broderick2019(tmp_path, edition="dryad", progress=False)
    expected = {"Natural Speech.zip", "Natural Speech/EEG/Subject1/Subject1_Run1.mat"}
    expected |= {"doi_10.5061_dryad.070jc.zip", "README.txt"} if packed_twice else set()
    assert set(fetched(tmp_path)) == expected
    with pytest.raises(ValueError, match="one archive; leave subjects=None"):
        fetch_broderick2019(tmp_path, "001", edition="dryad")
    with pytest.raises(ValueError, match="edition must be 'openneuro' or 'dryad', got 'osf'"):
        fetch_broderick2019(tmp_path, edition="osf")


def test_openneuro_is_asked_for_few(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setitem(sys.modules, "openneuro", types.SimpleNamespace(download=asked.update))
    assert fetch_broderick2019(tmp_path, ["sub-001", "019"]) == tmp_path
    assert asked["include"] == ["sub-001", "sub-019", "stimuli"]
    assert (asked["dataset"], asked["tag"], asked["target_dir"]) == ("ds004408", "1.0.8", tmp_path)
    with pytest.raises(ValueError, match=r"\['020'\], which the server does not have; it has 001, 002"):
        fetch_broderick2019(tmp_path, "020")
    monkeypatch.setitem(sys.modules, "openneuro", None)
    with pytest.raises(ImportError, match=r"pip install 'sk_b2s\[fetch\]'"):
        fetch_broderick2019(tmp_path)


def test_a_list_that_does_not_come(server, monkeypatch, tmp_path):
    monkeypatch.setattr(fetching, "OSF", server.url)
    server.status["/ag3kj/files/osfstorage/?page[size]=100"] = 403
    with pytest.raises(PermissionError, match="403 Forbidden"):
        fetch_gwilliams2022(tmp_path)
    server.status["/ag3kj/files/osfstorage/?page[size]=100"] = 500
    with pytest.raises(ConnectionError, match=r"does not answer: 500 .*Are you online\?"):
        fetch_gwilliams2022(tmp_path)


def test_a_list_that_is_a_page(server, monkeypatch, tmp_path):
    monkeypatch.setattr(fetching, "OSF", server.url)
    server.files["/ag3kj/files/osfstorage/?page[size]=100"] = b"<html>log in</html>"
    with pytest.raises(PermissionError, match=r"sent no list but '<html>log in</html>'"):
        fetch_gwilliams2022(tmp_path)
    server.json("/ag3kj/files/osfstorage/?page[size]=100", {"items": []})
    with pytest.raises(
        ValueError, match=r"a list of another form than it had: \['data', 'links'\] are missing"
    ):
        fetch_gwilliams2022(tmp_path)


def test_mous_says_what_to_do(tmp_path):
    with pytest.raises(PermissionError, match=r"(?s)data\.ru\.nl.*DSC_3011020\.09_236.*wget .*sub-A2002/meg"):
        fetch_schoffelen2019(tmp_path, "A2002")
