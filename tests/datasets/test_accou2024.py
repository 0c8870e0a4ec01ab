"""Tests of loading and downloading SparrKULee."""

import hashlib

import numpy as np
import pytest
import soundfile
from helpers.servers import list_files
from helpers.sparrkulee import NAME, make_envelope, write_audio, write_eeg, write_split, write_stimulus

from sk_b2s import Epocher, PrecomputedFeatures, check_events, make_segments
from sk_b2s.datasets import _accou2024, fetch_accou2024, load_accou2024


@pytest.fixture
def folder(tmp_path):
    """Two subjects, who listened to the same story and to others."""
    for name, separator in (("audiobook_1", "_"), ("audiobook_5_1", "_-_"), ("podcast_2", "_")):
        write_stimulus(tmp_path, name, separator)
    write_eeg(tmp_path, "001", "01", "audiobook_5_1")
    write_eeg(tmp_path, "001", "02", "audiobook_1")
    write_eeg(tmp_path, "027", "04", "audiobook_5_1", "varyingStories01")
    write_eeg(tmp_path, "027", "05", "podcast_2", "varyingStories01")
    return tmp_path


def test_load_pairs_eeg_and_stimuli(folder, no_other_warnings):
    events = load_accou2024(folder)
    assert events[["subject", "session", "run"]].to_numpy().tolist() == [
        ["001", "shortstories01", "01"], ["001", "shortstories01", "02"], ["027", "varyingStories01", "04"],
        ["027", "varyingStories01", "05"],
    ]  # fmt: skip
    assert events["sound"][0] is events["sound"][2]
    np.testing.assert_array_equal(events["sound"][3].data, make_envelope("podcast_2"))
    assert load_accou2024(folder / "derivatives", stimuli="mel")["sound"][0].data.shape == (1280, 10)
    assert set(load_accou2024(folder, "027")["subject"]) == {"027"}


def test_load_aligns_eeg_and_envelope(folder):
    X, y = make_segments(load_accou2024(folder, "001"), anchor=1.0, tmin=0, tmax=5)
    eeg = np.asarray(Epocher(sfreq=64, lag=0, baseline=None).fit_transform(X)).mean(1)
    envelope = np.asarray(PrecomputedFeatures().fit(y).transform(y))[:, 0]
    scores = [np.corrcoef(one, other)[0, 1] for one, other in zip(eeg, envelope, strict=True)]
    assert min(scores) > 0.9
    assert set(y["duration"]) == {5.0}


def test_load_selects_sessions(folder):
    assert len(load_accou2024(folder, sessions="varyingStories01")) == 2
    with pytest.raises(ValueError, match=r"sessions='stories' contains 'stories'.*Available: shortstories01"):
        load_accou2024(folder, sessions="stories")
    with pytest.raises(ValueError, match="subjects='28' contains '28'"):
        load_accou2024(folder, "28")


def test_load_omits_unaligned_recordings(folder):
    write_eeg(folder, "006", "06", "audiobook_1")
    with pytest.warns(UserWarning, match="without enough triggers are omitted: sub-006.*run-06"):
        assert len(load_accou2024(folder)) == 4


def test_load_omits_recordings_without_stimulus(folder):
    (folder / "derivatives/preprocessed_stimuli/podcast_2_envelope.npy").unlink()
    with pytest.warns(UserWarning, match="whose stimulus is missing are omitted: sub-027.*podcast_2_eeg.npy"):
        assert len(load_accou2024(folder)) == 3
    for path in (folder / "derivatives/preprocessed_stimuli").glob("*envelope.npy"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"audiobook_5_1_envelope\.npy' does not exist.*may also be"):
        load_accou2024(folder)


def test_load_uses_shorter_duration(folder):
    write_eeg(folder, "001", "02", "audiobook_1", seconds=8.0)
    with pytest.warns(UserWarning, match=r"audiobook_1_eeg\.npy \(8\.0 s, and 20\.0 s of its stimulus\)"):
        events = load_accou2024(folder)
    assert events["duration"].tolist() == [20, 8, 20, 20]
    check_events(events)


def test_load_split_shares_stimuli(tmp_path, no_other_warnings):
    write_split(tmp_path, "001", "audiobook_1")
    write_split(tmp_path, "002", "audiobook_1", gain=1.3)
    events = load_accou2024(tmp_path, data="split")
    assert events.groupby("partition")["sound"].nunique().to_dict() == {
        "test": 1,
        "train": 1,
        "validation": 1,
    }
    assert events.groupby("partition")["duration"].first().to_dict() == {
        "test": 2,
        "train": 16,
        "validation": 2,
    }
    X, y = make_segments(events, anchor=1.0, tmin=0, tmax=1.5, margin=0)
    assert np.asarray(Epocher(sfreq=64).fit_transform(X)).shape[1] == 64
    assert (y["partition"] == "train").sum() == 30


def test_load_converts_audio(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("SK_B2S_CACHE", str(tmp_path / "cache"))
    audio = write_audio(folder, "audiobook_1")
    write_audio(folder, "audiobook_5_1", seconds=20.0)
    with pytest.warns(UserWarning, match=r"podcast_2_eeg\.npy|differ in duration"):
        events = load_accou2024(folder, stimuli="audio")
    sound = events[events["run"] == "02"]["sound"].iloc[0]
    np.testing.assert_allclose(soundfile.read(sound)[0], audio, atol=1e-7)
    assert events["sound"].nunique() == 2
    (folder / "stimuli/eeg/audiobook_1.npz.gz").write_bytes(b"\x1f\x8b" + bytes(40))
    with pytest.raises(ValueError, match=r"audiobook_1\.npz\.gz' must be a compressed archive.*truncated"):
        load_accou2024(folder, stimuli="audio")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "raw"}, "'data' must be 'preprocessed' or 'split'"),
        ({"stimuli": "words"}, "'stimuli' must be one of .*'audio'"),
        ({"data": "split", "stimuli": "audio"}, r"one of \('envelope', 'mel'\) with data='split'"),
        ({"data": "split", "sessions": "a"}, "'sessions' must be None"),
    ],
)
def test_load_describes_invalid_options(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        load_accou2024(tmp_path, **options)


def test_load_describes_ways_to_get_data(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"fetch_accou2024.*rclone \(https://homes\.esat\.kuleuven"):
        load_accou2024(tmp_path)
    with pytest.raises(FileNotFoundError, match="require registration at https://exporl.github.io"):
        load_accou2024(tmp_path, data="split")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((3, 4, 5), np.float32), r"must have the shape \(n_times, n_features\). Got float32 \(3, 4, 5\)"),
        (np.full((90, 1), np.nan), "has 90 NaN or infinite values"),
        (np.array([{}]), "cannot be read: Object arrays"),
    ],
)  # fmt: skip
def test_load_describes_invalid_stimuli(folder, data, message):
    np.save(folder / "derivatives/preprocessed_stimuli/audiobook_1_envelope.npy", data, allow_pickle=True)
    with pytest.raises(ValueError, match=rf"audiobook_1_envelope\.npy'.*{message}"):
        load_accou2024(folder)


# --- download ---

FILES = {
    "derivatives/preprocessed_eeg/sub-001/ses-shortstories01/" + NAME.format("001", "shortstories01", "01", "a_1"): b"eeg 1",
    "derivatives/preprocessed_eeg/sub-002/ses-shortstories01/" + NAME.format("002", "shortstories01", "01", "a_1"): b"eeg 2",
    "derivatives/preprocessed_stimuli/a_1_envelope.npy": b"envelope",
    "derivatives/preprocessed_stimuli/a_1.data_dict": b"pickle",
    "stimuli/eeg/a_1.npz.gz": b"audio", "stimuli/eeg/t_a_1.npz.gz": b"triggers", "README.md": b"text",
    "sub-001/ses-shortstories01/eeg/sub-001_ses-shortstories01_task-listeningActive_run-01_eeg.bdf.gz": b"raw",
}  # fmt: skip
LIST = "/api/datasets/:persistentId/versions/:latest-published/files?persistentId=doi:10.48804/K3VSND"


@pytest.fixture
def rdr(server, monkeypatch):
    monkeypatch.setattr(_accou2024, "RDR", server.url)
    entries = []
    for number, (path, body) in enumerate(FILES.items()):
        folder, _, name = path.rpartition("/")
        server.files[f"/api/access/datafile/{number}"] = body
        about = {"id": number, "filename": name, "filesize": len(body),
                 "checksum": {"type": "MD5", "value": hashlib.md5(body).hexdigest()}}  # fmt: skip
        entries.append({"restricted": False, "directoryLabel": folder or None, "dataFile": about})
    name = NAME.format("019", "shortstories01", "01", "a_1")
    folder = "derivatives/preprocessed_eeg/sub-019/ses-shortstories01"
    about = {"id": 99, "filename": name, "filesize": 3}
    entries.append({"restricted": True, "directoryLabel": folder, "dataFile": about})
    table = {
        "id": 98,
        "filename": "participants.tab",
        "originalFileName": "participants.tsv",
        "originalFileSize": 2,
    }
    entries.append({"restricted": False, "dataFile": table})
    server.json(LIST, {"status": "OK", "data": entries})
    return server


def test_fetch_selects_preprocessed_files(rdr, tmp_path, no_other_warnings):
    fetch_accou2024(tmp_path, "001", progress=False)
    eeg, _, envelope, *_ = FILES
    assert list_files(tmp_path) == [eeg, envelope]
    fetch_accou2024(tmp_path, ["001", "002"], audio=True, progress=False)
    assert list_files(tmp_path) == [*list(FILES)[:3], "stimuli/eeg/a_1.npz.gz"]


def test_fetch_warns_of_restricted_files(rdr, tmp_path):
    with pytest.warns(
        UserWarning, match=r"restricted and were not downloaded \(write to sparrkulee@.*sub-019"
    ):
        fetch_accou2024(tmp_path, progress=False)
    with pytest.raises(ValueError, match=r"subjects contains \['086'\]"):
        fetch_accou2024(tmp_path, "086")


def test_fetch_describes_new_server(rdr, tmp_path):
    rdr.files.pop(LIST)
    rdr.status[LIST] = 404
    with pytest.raises(OSError, match=r"moved to https://homes\.esat\.kuleuven.*rclone"):
        fetch_accou2024(tmp_path)
