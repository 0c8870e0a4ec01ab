"""Tests of downloading LibriBrain100 from a local server."""

import hashlib

import pytest
from helpers.servers import list_files

from sk_b2s.datasets import fetch_libribrain100
from sk_b2s.datasets.libribrain import _download

H5 = "derivatives/serialised/sub-{}_ses-{}_task-{}_run-1_proc-bads+headpos+sss+notch+bp+ds_meg.h5"
TSV = "derivatives/events/sub-{}_ses-{}_task-{}_run-1_events.tsv"


def serve(server, repository, names):
    """List files at the address of a repository, each with its checksum."""
    siblings = []
    for name in names:
        body = name.encode()
        server.files[f"/datasets/{repository}/resolve/main/{name}"] = body
        entry = {"rfilename": name, "size": len(body), "blobId": "0" * 40}
        if name.endswith((".h5", ".npz")):
            entry["lfs"] = {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 134}
        siblings.append(entry)
    server.json(f"/api/datasets/{repository}?blobs=true", {"id": repository, "siblings": siblings})


@pytest.fixture
def hugging_face(server, monkeypatch):
    monkeypatch.setattr(_download, "HUGGING_FACE", server.url)
    first = [f"Sherlock1/{kind.format('0', session, 'Sherlock1')}" for session in "12" for kind in (H5, TSV)]
    serve(
        server,
        "pnpl/LibriBrain",
        [*first, "README.md", "metadata/sensor_xyz.json", "Sherlock1/stimuli/audio/a.wav"],
    )
    second = [f"Sherlock1/{kind.format('3', '11', 'Sherlock1')}" for kind in (H5, TSV)]
    serve(server, "pnpl/LibriBrain2", [*second, "TIMIT/" + TSV.format("0", "1", "TIMIT")])
    holdout = [
        "COMPETITION_HOLDOUT/subj00_holdout01_sentence.npz",
        "COMPETITION_HOLDOUT/subj07_holdout2_word.npz",
        "README.md",
    ]
    serve(server, "pnpl/LibriBrain-Competition-2026", holdout)
    return server


def test_fetch_selects_parts(hugging_face, tmp_path):
    fetch_libribrain100(tmp_path, subjects="0", sessions="2", tasks="Sherlock1", progress=False)
    assert list_files(tmp_path) == [
        f"Sherlock1/{TSV.format('0', '2', 'Sherlock1')}", f"Sherlock1/{H5.format('0', '2', 'Sherlock1')}",
        "metadata/sensor_xyz.json",
    ]  # fmt: skip
    fetch_libribrain100(tmp_path, progress=False)
    assert len(list_files(tmp_path)) == 8


def test_fetch_holdout(hugging_face, tmp_path):
    fetch_libribrain100(tmp_path, subjects=["7"], holdout=True, progress=False)
    assert list_files(tmp_path) == ["COMPETITION_HOLDOUT/subj07_holdout2_word.npz"]
    with pytest.raises(ValueError, match="must be None with holdout=True"):
        fetch_libribrain100(tmp_path, tasks="TIMIT", holdout=True)


def test_fetch_describes_missing_parts(hugging_face, tmp_path):
    with pytest.raises(ValueError, match=r"subjects contains \['9'\].*Available are 0, 3"):
        fetch_libribrain100(tmp_path, subjects="9")
    with pytest.raises(ValueError, match=r"tasks contains \['Sherlock3'\].*Available are TIMIT, Sherlock1"):
        fetch_libribrain100(tmp_path, tasks="Sherlock3")


def test_fetch_describes_refusal(hugging_face, tmp_path):
    hugging_face.files.pop("/api/datasets/pnpl/LibriBrain?blobs=true")
    hugging_face.status["/api/datasets/pnpl/LibriBrain?blobs=true"] = 401
    with pytest.raises(PermissionError, match="datasets/pnpl/LibriBrain/tree/main in a browser"):
        fetch_libribrain100(tmp_path)
