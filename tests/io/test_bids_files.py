"""Tests for finding recordings in BIDS folders."""

import shutil
from pathlib import Path

import mne
import mne_bids
import numpy as np
import pytest
from helpers.bids_folders import EVENTS, Folder, write_recording
from helpers.raw_files import write_brainvision
from helpers.recorded_warnings import record_warnings

from sk_b2s import make_segments, read_bids
from sk_b2s.io._bids_files import find_bids_files
from sk_b2s.io._raw._read_raw import read_raw
from sk_b2s.io._raw._recordings import open_recording

NAME = "sub-02_task-story_eeg.fif"


PLACE = f"sub-02/eeg/{NAME}"


@pytest.fixture
def study(tmp_path):
    made = Folder(tmp_path / "small")
    made.write_table(EVENTS, made.add(PLACE))
    return made


@pytest.mark.parametrize("place", ["sub-02", "sub-02/eeg", PLACE])
def test_read_bids_names_root_of_inner_paths(study, place):
    with pytest.raises((ValueError, FileNotFoundError), match="Is root the folder '.*small'"):
        read_bids(study.root / place)


def test_read_bids_refuses_bids_path(study):
    path = mne_bids.BIDSPath(root=study.root, subject="02", task="story", datatype="eeg")
    with pytest.raises(TypeError, match=r"small', task='story', subjects='02', datatype='eeg'\)"):
        read_bids(path)


def move(root, place):
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(root / PLACE, root / place)


def test_find_bids_files_accepts_valid_folder(study):
    events, text = record_warnings(read_bids, study.root)
    assert (sorted(events["subject"].unique()), text) == (["01", "02"], "")


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("sub-02/eeg/sub-02_task-story_run-1.5_eeg.fif", "'run-1.5' in its name"),
        ("sub-02/eeg/sub-02_task-sto_ry_eeg.fif", "'ry' in its name"),
        ("sub-02/eeg/sub-02_task-story-2_eeg.fif", "'task-story-2' in its name"),
        ("sub-02/eeg/sub-02_story_eeg.fif", "'story' in its name"),
        ("sub-02/eeg/sub-02_run-1_eeg.fif", "its name has no task-<label>"),
        ("sub-02/eeg/sub-02_Task-story_eeg.fif", "no task-<label>, but 'Task'"),
        ("sub-02/eeg/sub_02_task-story_eeg.fif", "'sub' in its name"),
        ("sub-02/eeg/sub-02_task-story_eeg_raw_tsss.fif", "'eeg' in its name"),
        ("sub-02/eeg/sub-02_task-story_EEG.fif", "ends in 'EEG' instead of 'eeg'"),
        ("sub-02/eeg/sub-02_task-story_meg.fif", "ends in 'meg' instead of 'eeg'"),
        ("sub-02/eeg/sub-02_task-story_eeg.cnt", "the format .cnt is not supported"),
        ("sub-02/eeg/sub-02_task-story_eeg.fif.gz", "the format .gz is not supported"),
        ("sub-02/eeg/sub-02_task-story_eeg-1.fif", "a later part of 'sub-02_task-story_eeg.fif'"),
        (f"sub-02/EEG/{NAME}", "it is not in sub-<label>"),
        (f"sub-02/{NAME}", "it is not in sub-<label>"),
        (f"sub-02/ses1/eeg/{NAME}", "it is not in sub-<label>"),
        (f"sub_02/eeg/{NAME}", "its folder 'sub_02' is not named"),
        (f"Sub-02/eeg/{NAME}", "its folder 'Sub-02' is not named"),
    ],
)
def test_find_bids_files_names_ignored_files(place, why, study):
    move(study.root, place)
    events, text = record_warnings(read_bids, study.root)
    assert events["subject"].unique().tolist() == ["01"]
    assert text.count(f"{place!r}: ") == 1
    assert why in text
    with pytest.raises(ValueError, match="none with sub=") as error:
        read_bids(study.root, subjects=["02"])
    assert f"{place!r}: " in str(error.value)
    assert record_warnings(read_bids, study.root, subjects="01")[1] == ""


@pytest.mark.parametrize(
    "name",
    [
        "sub-02_task-story_proc-clean_epo.fif", "sub-02_task-story_ave.fif", "sub-02-epo.fif",
        "sub-02_acq-crosstalk_meg.fif", "sub-02_task-story_markers.sqd", "._sub-02_task-story_eeg.fif",
        "sub-02_task-story_events.mat",
    ],
)  # fmt: skip
def test_find_bids_files_skips_other_files(name, study):
    (study.root / "sub-02/eeg" / name).write_bytes(b"")
    assert record_warnings(read_bids, study.root)[1] == ""


def test_find_bids_files_skips_other_folders(study):
    for place in (
        "sub-02/beh/x.mat",
        "sub-emptyroom/ses-1/meg/x_meg.fif",
        "sub-02/eeg/sub-02_task-rest_eeg.set",
    ):
        (study.root / place).parent.mkdir(parents=True, exist_ok=True)
        (study.root / place).write_bytes(b"")
    assert record_warnings(read_bids, study.root)[1] == ""


def test_find_bids_files_warns_missing_subjects(study):
    (study.root / "sub-03/anat").mkdir(parents=True)
    (study.root / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\nsub-04\n")
    _, text = record_warnings(read_bids, study.root)
    assert "1 subjects with a folder but without a recording: 03." in text
    assert "1 subjects in participants.tsv but without a folder: 04." in text
    assert record_warnings(read_bids, study.root, subjects=["01", "02"])[1] == ""


def test_find_bids_files_refuses_wrong_folder(study):
    move(study.root, "sub-01/eeg/sub-02_task-story_run-2_eeg.fif")
    with pytest.raises(ValueError, match="belongs to subject '02' by its name, but to '01' by its folder"):
        read_bids(study.root)


def write_split(path, seconds=400, n_parts=2):
    """Save a recording in several parts with MNE."""
    rate = 1000
    data = 1e-5 * np.random.default_rng(0).standard_normal((8, seconds * rate // 10))
    raw = mne.io.RawArray(data, mne.create_info(8, rate, "eeg"), verbose="ERROR")
    raw.save(path, split_size="2MB", split_naming="bids", verbose="ERROR", buffer_size_sec=1)
    return sorted(path.parent.glob("*_split-*"))


@pytest.mark.parametrize("missing", [0, None])
def test_find_bids_files_requires_first_part(missing, study):
    (study.root / PLACE).unlink()
    parts = write_split(study.root / PLACE, 1000)
    assert len(parts) > 1
    if missing is None:
        assert record_warnings(read_bids, study.root)[1] == ""
        return
    parts[missing].unlink()
    with pytest.raises(FileNotFoundError, match=rf"split-01_eeg\.fif' is missing.* {parts[1].name!r}"):
        read_bids(study.root)
    with pytest.warns(UserWarning, match=r"continues '.*_eeg\.fif', so that onsets"):
        read_raw(parts[1])


def test_find_bids_files_names_missing_part(study):
    (study.root / PLACE).unlink()
    for number in ("01", "03"):
        study.add(f"sub-02/eeg/sub-02_task-story_split-{number}_eeg.fif")
    with pytest.raises(FileNotFoundError, match=r"split-02_eeg\.fif' is missing"):
        read_bids(study.root)


def test_find_bids_files_warns_lone_events(folder):
    other = folder.root / "sub-02/eeg/sub-02_task-story_events.tsv"
    other.parent.mkdir(parents=True)
    other.write_text(EVENTS)
    with pytest.warns(UserWarning, match=r"1 subjects with events but without a recording: 02"):
        assert set(read_bids(folder.root)["subject"]) == {"01"}


def test_find_bids_files_selects_versions(folder):
    clean = folder.root / "derivatives/clean"
    for desc in ("ica", "asr"):
        write_recording(clean / f"sub-01/eeg/sub-01_task-story_desc-{desc}_eeg.fif")
    with pytest.raises(ValueError, match=r"several versions: .*Choose one with proc= or desc="):
        read_bids(folder.root, derivatives="clean")
    events = read_bids(folder.root, derivatives="clean", desc="ica")
    assert Path(events["recording"][0]) == clean / "sub-01/eeg/sub-01_task-story_desc-ica_eeg.fif"
    assert len(events) == 4  # events of the original recording
    assert "derivatives" not in read_bids(folder.root)["recording"][0]
    with pytest.raises(FileNotFoundError, match=r"derivatives='ica'.*holds \['clean'\]"):
        read_bids(folder.root, derivatives="ica")


def test_check_bids_file_chains_refuses_unlinked_parts(folder):
    folder.recording.unlink()
    for part in ("01", "02"):
        folder.add(f"sub-01/eeg/sub-01_task-story_split-{part}_eeg.fif")
    with pytest.raises(
        ValueError, match=r"split-01_eeg\.fif' and 1 further .* links to 0 others.*concatenate_raws"
    ):
        read_bids(folder.root)


def test_find_bids_files_ignores_case_of_suffix(folder):
    folder.recording.rename(folder.recording.with_suffix(".FIF"))
    events = read_bids(folder.root)
    assert len(make_segments(events, tmin=0, tmax=1)[0]) == 3


def test_find_bids_files_joins_split_files(folder):
    folder.recording.unlink()
    raw = mne.io.RawArray(np.random.default_rng(0).standard_normal((40, 40 * 1000)) * 1e-5,
                          mne.create_info(40, 1000, "eeg"), verbose="ERROR")  # fmt: skip
    raw.save(folder.recording, split_size="2MB", split_naming="bids", verbose="ERROR")
    parts = sorted(folder.recording.parent.glob("*.fif"))
    assert len(parts) > 2
    events = read_bids(folder.root)
    assert events["recording"].unique().tolist() == [str(parts[0])]
    assert open_recording(events["recording"][0]).n_times == 40_000


def test_find_bids_files_skips_rest_and_noise(folder):
    for name in ("sub-01/eeg/sub-01_task-rest_eeg.fif", "sub-emptyroom/eeg/sub-emptyroom_task-noise_eeg.fif"):
        folder.add(name)
    assert read_bids(folder.root)["task"].unique().tolist() == ["story"]


def test_find_bids_files_refuses_shared_samples(folder):
    folder.recording.unlink()
    first, second = (folder.root / f"sub-01/eeg/sub-01_task-story_run-{run}_eeg.vhdr" for run in (1, 2))
    write_brainvision(first, np.ones((2, 500)), "AB", 100)
    shutil.copy(first, second)
    with pytest.raises(ValueError, match=r"run-2_eeg\.vhdr' and '.*run-1_eeg\.vhdr' both name DataFile="):
        read_bids(folder.root)


def test_find_bids_files_refuses_equal_runs(tmp_path):
    for run in ("1", "01"):
        write_brainvision(
            tmp_path / f"sub-01/eeg/sub-01_task-a_run-{run}_eeg.vhdr", np.ones((2, 500)), "AB", 250
        )
    wanted = dict.fromkeys(("task", "sub", "ses", "run", "proc", "desc"))
    with pytest.raises(
        ValueError, match=r"run-01_eeg.vhdr' and 'sub-01_task-a_run-1_eeg.vhdr' have the same run number"
    ):
        find_bids_files(tmp_path, wanted)
    assert len(find_bids_files(tmp_path, {**wanted, "run": "1"})) == 1
