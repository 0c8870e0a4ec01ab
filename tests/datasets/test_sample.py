"""Tests of the sample of real EEG, with a local server."""

import hashlib
import re

import pytest

from sk_b2s.datasets import _sample, fetch_sample


def test_sample_files_have_versions_and_checksums():
    assert 80e6 < sum(size for *_, size, _ in _sample.FILES) < 90e6
    for path, source, version, _, digest in _sample.FILES:
        assert path.rpartition("/")[2] == source.rpartition("/")[2]
        assert re.fullmatch(r"[\w.]{32}", version)
        assert re.fullmatch(r"[0-9a-f]{64}", digest)


def test_fetch_sample_verifies_files(server, monkeypatch, tmp_path):
    files = []
    for path, source, version, *_ in _sample.FILES:
        body = path.encode() * 10
        server.files[f"/{source}?versionId={version}"] = body
        files.append((path, source, version, len(body), hashlib.sha256(body).hexdigest()))
    server.files[f"/{_sample.CHANNELS}"] = b"name\tstatus\nA1\tgood\n"
    monkeypatch.setattr(_sample, "SERVER", server.url)
    monkeypatch.setattr(_sample, "FILES", files)
    root = fetch_sample(tmp_path / "sample", progress=False)
    for path, *_ in files:
        assert (root / path).read_bytes() == path.encode() * 10
    assert (root / _sample.CHANNELS).read_bytes().startswith(b"name")

    monkeypatch.setattr(_sample, "FILES", [(*files[0][:4], "0" * 64)])
    with pytest.raises(ValueError, match="checksum"):
        fetch_sample(tmp_path / "other", progress=False)
