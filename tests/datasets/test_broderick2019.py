"""Tests of loading and downloading Broderick et al. (2018)."""

import hashlib
import json
import sys
import types
from pathlib import Path
from shutil import copytree, rmtree

import numpy as np
import pandas as pd
import pytest
from helpers.raw_files import simulate_channels, spoken_words, write_brainvision, write_speech, write_textgrid
from helpers.servers import list_files, make_zip, read_files
from helpers.studies import broderick_folder, check_lag, write_noise
from scipy.io import savemat

from sk_b2s import check_events
from sk_b2s.datasets import _broderick2019 as broderick2019
from sk_b2s.datasets import fetch_broderick2019, load_broderick2019
from sk_b2s.datasets._broderick2019 import find_broderick2019_openneuro


def write_edition(root, edition):
    """Write two subjects and two runs of an edition."""
    stimuli = root / "stimuli"
    for run in (1, 2):
        write_speech(stimuli / f"audio{run:02d}.wav", 40, run)
        write_textgrid(stimuli / f"audio{run:02d}.TextGrid", spoken_words(40, run), 40.0)
        for subject in (1, 2):
            played = [(stimuli / f"audio{run:02d}.wav", 0.0)]
            n_channels, sfreq = (128, 128) if edition == "dryad" else (6, 512)
            brain = simulate_channels(played, 42, sfreq, n_channels, seed=10 * subject + run)
            if edition == "dryad":
                folder = root / f"Natural Speech/EEG/Subject{subject}"
                folder.mkdir(parents=True, exist_ok=True)
                content = {"eegData": 10 * brain.T, "mastoids": brain[:2].T, "fs": [[128]]}
                savemat(folder / f"Subject{subject}_Run{run}.mat", content)
                continue
            stem = root / f"sub-{subject:03d}/eeg/sub-{subject:03d}_task-listening_run-{run:02d}"
            names = ["A1", "A2", "B1", "C1", "D1", "D32"]
            write_brainvision(Path(f"{stem}_eeg.vhdr"), brain, names, 512)
            table = pd.DataFrame({"name": names, "type": "EEG", "units": "V", "status": "good"})
            table.to_csv(f"{stem}_channels.tsv", sep="\t", index=False)
            Path(f"{stem}_eeg.json").write_text('{"RecordingDuration": 42.0}')
    return root


def test_load_openneuro_finds_simulated_lag(tmp_path):
    events = load_broderick2019(write_edition(tmp_path, "openneuro"))
    assert events.groupby(["subject", "run"]).ngroups == 4
    check_lag(events[events["subject"] == "002"])
    words = events[events["type"] == "word"]
    assert (words.groupby(["run", "sequence", "word_index"])["subject"].nunique() == 2).all()
    assert words.loc[words["subject"] == "001", ["sequence", "word_index"]].iloc[[0, 5, 6]].to_numpy().tolist() == [
        ["01/0", 0.0], ["01/0", 5.0], ["01/1", 0.0]
    ]  # fmt: skip


def test_load_dryad_finds_simulated_lag(tmp_path):
    root = write_edition(tmp_path, "dryad")
    with pytest.raises(ValueError, match="the edition of Dryad has no audio. Pass 'stimuli'"):
        load_broderick2019(root, edition="dryad")
    events = load_broderick2019(root, edition="dryad", stimuli=root / "stimuli")
    check_lag(events[events["subject"] == "001"])
    assert set(events["subject"]) == {"001", "002"}
    assert len(load_broderick2019(root, "002", "01", "dryad", root / "stimuli")["recording"].unique()) == 1
    for other in ("Natural Speech - Reverse", "Speech in Noise"):
        copytree(root / "Natural Speech", root / other)
    again = load_broderick2019(root, edition="dryad", stimuli=root / "stimuli")
    pd.testing.assert_frame_equal(again, events)
    alone = load_broderick2019(root / "Natural Speech", edition="dryad", stimuli=root / "stimuli")
    pd.testing.assert_frame_equal(alone, events)
    rmtree(root / "Natural Speech")
    with pytest.raises(FileNotFoundError, match="Other folders of Dryad contain other experiments"):
        load_broderick2019(root, edition="dryad", stimuli=root / "stimuli")


@pytest.fixture
def load_gentle(tmp_path):
    """Return a loader of a run of Dryad with words aligned by Gentle."""
    folder = tmp_path / "EEG/Subject1"
    folder.mkdir(parents=True)
    (folder / "Subject1_Run3.mat").touch()
    stimuli = tmp_path / "private"
    write_speech(stimuli / "audio3.wav", 12, 0)
    spoken = "He was an old man who fished alone . He went eighty four days now without taking a fish".split()
    words = []
    for index, word in enumerate(spoken):
        entry = {"case": "success", "word": word, "start": 0.5 + 0.5 * index, "end": 0.8 + 0.5 * index,
                 "phones": [{"phone": "x_B", "duration": 0.1}, {"phone": "y_E", "duration": 0.2}]}  # fmt: skip
        words.append({"case": "not-found-in-audio", "word": "."} if word == "." else entry)
    (stimuli / "align3.json").write_text(json.dumps({"words": words}))
    text = "“He was an old man who fished alone.” He had gone eighty-four days now without taking a fish."
    (stimuli / "oldman_run3.txt").write_text(text, encoding="utf-8")
    return lambda **options: load_broderick2019(
        tmp_path, edition="dryad", stimuli=stimuli, need_recordings=False, **options
    )


def test_load_matches_words_with_text(load_gentle):
    """Unmatched words ("went", "eighty", "four") follow the previous word."""
    events = load_gentle(texts=load_gentle().loc[0, "sound"].rsplit("/", 1)[0])
    words = events[events["type"] == "word"]
    assert words["sequence"].tolist() == ["03/0"] * 8 + ["03/1"] * 10
    assert words["word_index"].tolist() == [*range(8), *range(10)]
    phonemes = events[events["type"] == "phoneme"]
    np.testing.assert_allclose(
        phonemes["onset"].to_numpy().reshape(-1, 2) - words["onset"].to_numpy()[:, None], [[0, 0.1]] * 18, atol=1e-9
    )  # fmt: skip
    assert (phonemes["word_index"].to_numpy().reshape(-1, 2) == words["word_index"].to_numpy()[:, None]).all()
    alone = load_gentle(sentence_gap=0.6)
    assert set(alone["sequence"].iloc[1:]) == {"03/0", "03/1"}, "the missing full stop is a silence"


def test_load_rejects_other_text(load_gentle, tmp_path):
    (tmp_path / "private/oldman_run3.txt").write_text("Alice was beginning to get very tired. Of sitting.")
    with pytest.raises(
        ValueError, match=r"only \d of 18 aligned words are in .*oldman_run3\.txt'. Check that it is the text"
    ):
        load_gentle(texts=tmp_path / "private")


def test_load_describes_missing_files(tmp_path, load_gentle):
    with pytest.raises(ValueError, match="'edition' must be 'openneuro' or 'dryad'. Got 'osf'"):
        load_broderick2019(tmp_path, edition="osf")
    with pytest.raises(FileNotFoundError, match=r"has no sub-\*/eeg/.*edition='dryad'"):
        load_broderick2019(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"audio03\.wav' does not exist\. Its name may also be 'audio3\.wav'"
    ):
        load_broderick2019(tmp_path, edition="dryad", stimuli=tmp_path, need_recordings=False)


def test_load_gives_equal_words_to_subjects(data_folder, tmp_path):
    """Use 19 subjects and 20 runs, with the words of another text."""
    events = load_broderick2019(broderick_folder(data_folder, tmp_path, 19, 20), need_recordings=False)
    assert events["recording"].nunique() == 380
    assert events["subject"].nunique() == 19
    words = events[events["type"] == "word"]
    assert words.groupby(["run", "sequence", "word_index"])["subject"].nunique().eq(19).all()
    assert set(events["recording_duration"].round(1)) == {190.0, 193.6, 196.0, 204.0}


def test_find_broderick2019_openneuro_of_real_tables(data_folder):
    found = find_broderick2019_openneuro(data_folder / "broderick_bids")
    assert sorted(found) == [("001", "01"), ("001", "02"), ("019", "01"), ("019", "02")]
    assert found["001", "01"][1] == {"recording_duration": 195.998046875}
    with pytest.raises(FileNotFoundError, match=r"vhdr' does not exist"):
        load_broderick2019(data_folder / "broderick_bids")


WORDS = [(0.5 + 0.4 * index, 0.3, f"word{index}") for index in range(8)]


@pytest.fixture
def study_folder(no_other_warnings, tmp_path):
    """Tables of two participants in two runs, without recordings."""
    (tmp_path / "stimuli").mkdir()
    for run in ("01", "02"):
        write_noise(tmp_path / f"stimuli/audio{run}.wav", 5)
        write_textgrid(tmp_path / f"stimuli/audio{run}.TextGrid", WORDS, 5.0)
        for subject in ("001", "002"):
            stem = tmp_path / f"sub-{subject}/eeg/sub-{subject}_task-listening_run-{run}"
            stem.parent.mkdir(parents=True, exist_ok=True)
            Path(f"{stem}_channels.tsv").write_text("name\ttype\tunits\tstatus\nA1\tEEG\tV\tgood\n")
            Path(f"{stem}_eeg.json").write_text(json.dumps({"RecordingDuration": 9.0}))
            Path(f"{stem}_eeg.vhdr").write_text("a header")
    return tmp_path


def load(root, **options):
    return load_broderick2019(root, need_recordings=False, **options)


def list_runs(events):
    return sorted(set(zip(events["subject"], events["run"], strict=True)))


ALL_RUNS = [("001", "01"), ("001", "02"), ("002", "01"), ("002", "02")]


def test_load_complete_edition_is_silent(study_folder):
    assert list_runs(check_events(load(study_folder))) == ALL_RUNS


def test_load_warns_of_missing_channel_tables(study_folder):
    (study_folder / "sub-002/eeg/sub-002_task-listening_run-01_channels.tsv").unlink()
    with pytest.warns(
        UserWarning, match=r"no channels\.tsv lists bad channels of: sub-002_.*_run-01_eeg\.vhdr\."
    ):
        events = load(study_folder)
    assert list_runs(events) == ALL_RUNS
    for path in study_folder.rglob("*_channels.tsv"):
        path.unlink()
    (study_folder / "task-listening_channels.tsv").write_text(
        "name\ttype\nA1\tEEG\n"
    )  # one table for all, as BIDS allows
    assert list_runs(load(study_folder)) == ALL_RUNS


def test_load_warns_of_missing_runs(study_folder):
    for path in study_folder.rglob("sub-002_*_run-02_*"):
        path.unlink()
    with pytest.warns(UserWarning, match=r"no recording exists for runs .*: sub-002 run-02\."):
        assert list_runs(load(study_folder)) == ALL_RUNS[:3]


@pytest.mark.parametrize("change", ["suffix", "run", "session"])
def test_load_accepts_other_layouts(study_folder, change):
    for path in sorted(study_folder.glob("sub-*/eeg/*")):
        name = path.name.replace(".vhdr", ".set") if change == "suffix" else path.name
        name = name.replace("run-0", "run-") if change == "run" else name
        folder = path.parent
        if change == "session":
            name = name.replace("_task", "_ses-01_task")
            folder = path.parents[1] / "ses-01/eeg"
            folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / name)
    events = load(study_folder)
    assert list_runs(events) == ALL_RUNS
    assert all(Path(path).exists() for path in events["recording"])


def test_load_warns_of_ignored_recordings(study_folder):
    stem = study_folder / "sub-001/eeg/sub-001_task-rest_eeg.vhdr"
    stem.write_text("rest")
    with pytest.warns(
        UserWarning, match=r"recordings with other names are ignored: sub-001_task-rest_eeg\.vhdr\."
    ):
        assert list_runs(load(study_folder)) == ALL_RUNS


def test_load_requires_words_of_a_run(study_folder):
    (study_folder / "stimuli/audio02.TextGrid").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"audio02\.TextGrid' does not exist\. Its name may also be 'align2\.json'"
    ):
        load(study_folder)
    assert list_runs(load(study_folder, runs="01")) == [ALL_RUNS[0], ALL_RUNS[2]]


def test_load_ignores_case_of_files(study_folder):
    stimuli = study_folder / "stimuli"
    (stimuli / "audio01.wav").rename(stimuli / "Audio01.WAV")
    (stimuli / "audio01.TextGrid").rename(stimuli / "audio01.textgrid")
    assert list_runs(load(study_folder)) == ALL_RUNS


def test_load_dryad_ignores_case_of_files(study_folder):
    for subject, run in (("subject1", "Run1"), ("Subject2", "run2")):
        (study_folder / f"EEG/{subject}").mkdir(parents=True)
        (study_folder / f"EEG/{subject}/{subject}_{run}.mat").touch()
    with pytest.warns(UserWarning, match="sub-001 run-02, sub-002 run-01"):
        events = load(study_folder, edition="dryad", stimuli=study_folder / "stimuli")
    assert list_runs(events) == [("001", "01"), ("002", "02")]


@pytest.mark.parametrize("packed_twice", [False, True])
def test_fetch_unpacks_dryad(server, tmp_path, monkeypatch, packed_twice):
    monkeypatch.setattr(broderick2019, "DRYAD", server.url)
    archive = make_zip({"Natural Speech/EEG/Subject1/Subject1_Run1.mat": b"eeg"})
    if packed_twice:
        inner = {
            "Natural Speech.zip": archive,
            "N400.zip": make_zip({"N400/x.mat": b"no"}),
            "README.txt": b"all",
        }
        archive = make_zip(inner)
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
    assert set(read_files(tmp_path)) == expected
    with pytest.raises(ValueError, match="a single archive of all subjects. Pass subjects=None"):
        fetch_broderick2019(tmp_path, "001", edition="dryad")
    with pytest.raises(ValueError, match="'edition' must be 'openneuro' or 'dryad'. Got 'osf'"):
        fetch_broderick2019(tmp_path, edition="osf")


def test_fetch_selects_subjects_of_openneuro(tmp_path, monkeypatch):
    arguments = {}
    monkeypatch.setitem(sys.modules, "openneuro", types.SimpleNamespace(download=arguments.update))
    assert fetch_broderick2019(tmp_path, ["sub-001", "019"]) == tmp_path
    assert arguments["include"] == ["sub-001", "sub-019", "stimuli"]
    assert (arguments["dataset"], arguments["tag"], arguments["target_dir"]) == (
        "ds004408",
        "1.0.8",
        tmp_path,
    )
    with pytest.raises(
        ValueError, match=r"\['020'\], which the server does not have\. Available are 001, 002"
    ):
        fetch_broderick2019(tmp_path, "020")
    monkeypatch.setitem(sys.modules, "openneuro", None)
    with pytest.raises(ImportError, match=r"pip install 'sk_b2s\[fetch\]'"):
        fetch_broderick2019(tmp_path)


def test_fetch_dryad_ignores_other_archives(server, tmp_path, monkeypatch):
    monkeypatch.setattr(broderick2019, "DRYAD", server.url)
    body = make_zip({"Natural Speech/x.mat": b"eeg"})
    server.files["/d"] = body
    server.json("/api/v2/datasets/doi:10.5061/dryad.070jc/versions",
                {"_embedded": {"stash:versions": [{"_links": {"self": {"href": "/v1"}}}]}})  # fmt: skip
    listed = {"path": "Natural Speech.zip", "size": len(body), "_links": {"stash:download": {"href": "/d"}}}
    server.json("/v1/files?per_page=100", {"_embedded": {"stash:files": [listed]}, "_links": {}})
    (tmp_path / "my backup.zip").write_bytes(make_zip({"private.txt": b"no"}))
    fetch_broderick2019(tmp_path, edition="dryad", progress=False)
    assert list_files(tmp_path) == ["Natural Speech.zip", "Natural Speech/x.mat", "my backup.zip"]
