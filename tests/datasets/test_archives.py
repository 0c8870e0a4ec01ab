"""Tests of unpacking zip archives."""

import stat
import zipfile

import numpy as np
import pytest
from helpers.servers import list_files, make_zip

from sk_b2s.datasets._archives import InvalidArchiveError, unpack_archive

CONTENT = np.random.default_rng(0).bytes(300_000)


def keep_name(name):
    return name


def test_unpack_describes_invalid_archive(tmp_path):
    for body in (
        b"",
        b"no zip",
        make_zip({"a": b"b"})[:-10],
        make_zip({"a": CONTENT}).replace(CONTENT[:9], b"*" * 9),
    ):
        (tmp_path / "audio.zip").write_bytes(body)
        with pytest.raises(
            (InvalidArchiveError, zipfile.BadZipFile), match=r"audio\.zip', from http://h, cannot be unpacked"
        ):
            unpack_archive(tmp_path / "audio.zip", tmp_path / "study", keep_name, "http://h")
        assert not (tmp_path / "study/a").exists()


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "..\\x", "C:x", "CON"])
def test_unpack_omits_outside_paths(tmp_path, name):
    (tmp_path / "a.zip").write_bytes(make_zip({name: b"bad", "good": b"good"}))
    with pytest.warns(UserWarning, match=r"a\.zip': omitted 1 of 2 members"):
        paths = unpack_archive(tmp_path / "a.zip", tmp_path / "study", keep_name)
    assert list_files(tmp_path) == ["a.zip", "study/good"]
    assert paths == [tmp_path / "study/good"]


def test_unpack_omits_links_and_duplicates(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(link, "/etc/passwd")
        packed.writestr("one/x.wav", b"one")
        packed.writestr("two/x.wav", b"two")
        packed.writestr("three/x.wav", b"one")
    with pytest.warns(
        UserWarning, match=r"omitted 2 .*'link' \(is a link\), 'two/x\.wav' \(has .* as 'one/x\.wav'\)"
    ):
        unpack_archive(tmp_path / "a.zip", tmp_path / "study", lambda name: name.split("/")[-1])
    assert (tmp_path / "study/x.wav").read_bytes() == b"one"


def test_unpack_rejects_large_content(tmp_path):
    (tmp_path / "a.zip").write_bytes(make_zip({str(i): bytes(30_000_000) for i in range(4)}))
    with pytest.raises(InvalidArchiveError, match=r"a\.zip' has .* bytes and would unpack to 120,000,000"):
        unpack_archive(tmp_path / "a.zip", tmp_path / "study", keep_name)
    assert list_files(tmp_path) == ["a.zip"]


def test_unpack_rejects_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr("sk_b2s.datasets._archives.MAX_MEMBERS", 3)
    (tmp_path / "a.zip").write_bytes(make_zip({str(i): b"" for i in range(4)}))
    with pytest.raises(InvalidArchiveError, match="in 4 files"):
        unpack_archive(tmp_path / "a.zip", tmp_path / "study", keep_name)


def test_unpack_follows_no_links(tmp_path):
    (tmp_path / "a.zip").write_bytes(make_zip({"x": b"new", "y": b"new"}))
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / "study").mkdir()
    (tmp_path / "study/x").symlink_to(tmp_path / "victim")
    (tmp_path / "study/y.part").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError, match=r"y\.part' is a link"):
        unpack_archive(tmp_path / "a.zip", tmp_path / "study", keep_name)
    (tmp_path / "study/y.part").unlink()
    unpack_archive(tmp_path / "a.zip", tmp_path / "study", keep_name)
    assert (tmp_path / "victim").read_bytes() == b"mine"
    assert (tmp_path / "study/x").read_bytes() == b"new"
