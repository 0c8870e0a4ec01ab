"""Files that read_bids passes over are named with the reason, and missing beginnings are refused."""

import shutil
import warnings

import mne
import numpy as np
import pytest
from helpers.bids_folders import EVENTS, Folder

from sk_b2s import make_segments, read_bids
from sk_b2s.io._raw._open import read_raw
from sk_b2s.io._raw._recordings import open_raw, read_extent

NAME = "sub-02_task-story_eeg.fif"
PLACE = f"sub-02/eeg/{NAME}"


@pytest.fixture
def folder(tmp_path):
    made = Folder(tmp_path / "small")
    made.tell(EVENTS, made.add(PLACE))
    return made


def told(function, *arguments, **keywords):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        value = function(*arguments, **keywords)
    return value, "\n".join(str(warning.message) for warning in said)


def move(root, place):
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(root / PLACE, root / place)


def test_folder_as_it_should_be_is_silent(folder):
    events, text = told(read_bids, folder.root)
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
        ("sub-02/eeg/sub-02_task-story_eeg.cnt", "the format .cnt is not read"),
        ("sub-02/eeg/sub-02_task-story_eeg.fif.gz", "the format .gz is not read"),
        ("sub-02/eeg/sub-02_task-story_eeg-1.fif", "a later part of 'sub-02_task-story_eeg.fif'"),
        (f"sub-02/EEG/{NAME}", "it is not in sub-<label>"),
        (f"sub-02/{NAME}", "it is not in sub-<label>"),
        (f"sub-02/ses1/eeg/{NAME}", "it is not in sub-<label>"),
        (f"sub_02/eeg/{NAME}", "its folder 'sub_02' is not named"),
        (f"Sub-02/eeg/{NAME}", "its folder 'Sub-02' is not named"),
    ],
)
def test_file_that_is_not_taken_is_named(place, why, folder):
    move(folder.root, place)
    events, text = told(read_bids, folder.root)
    assert events["subject"].unique().tolist() == ["01"]
    assert text.count(f"{place!r}: ") == 1
    assert why in text
    with pytest.raises(ValueError, match="none with sub=") as error:
        read_bids(folder.root, subjects=["02"])
    assert f"{place!r}: " in str(error.value)
    assert told(read_bids, folder.root, subjects="01")[1] == ""


@pytest.mark.parametrize(
    "name",
    [
        "sub-02_task-story_proc-clean_epo.fif", "sub-02_task-story_ave.fif", "sub-02-epo.fif",
        "sub-02_acq-crosstalk_meg.fif", "sub-02_task-story_markers.sqd", "._sub-02_task-story_eeg.fif",
        "sub-02_task-story_events.mat",
    ],
)  # fmt: skip
def test_file_that_is_no_recording_is_silent(name, folder):
    (folder.root / "sub-02/eeg" / name).write_bytes(b"")
    assert told(read_bids, folder.root)[1] == ""


def test_behaviour_and_emptyroom_are_silent(folder):
    for place in (
        "sub-02/beh/x.mat",
        "sub-emptyroom/ses-1/meg/x_meg.fif",
        "sub-02/eeg/sub-02_task-rest_eeg.set",
    ):
        (folder.root / place).parent.mkdir(parents=True, exist_ok=True)
        (folder.root / place).write_bytes(b"")
    assert told(read_bids, folder.root)[1] == ""


def test_subjects_without_recording_are_named(folder):
    (folder.root / "sub-03/anat").mkdir(parents=True)
    (folder.root / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\nsub-04\n")
    _, text = told(read_bids, folder.root)
    assert "1 people who have a folder and no recording: 03." in text
    assert "1 people who are in participants.tsv and have no folder: 04." in text
    assert told(read_bids, folder.root, subjects=["01", "02"])[1] == ""


def test_file_in_the_folder_of_another_subject_is_refused(folder):
    move(folder.root, "sub-01/eeg/sub-02_task-story_run-2_eeg.fif")
    with pytest.raises(ValueError, match="is of subject '02' by its name and of '01' by its folder"):
        read_bids(folder.root)


# --- beginnings ------------------------------------------------------------------------------------------


def split(path, seconds=400, n_parts=2):
    """Save a recording in parts as MNE does."""
    rate = 1000
    data = 1e-5 * np.random.default_rng(0).standard_normal((8, seconds * rate // 10))
    raw = mne.io.RawArray(data, mne.create_info(8, rate, "eeg"), verbose="ERROR")
    raw.save(path, split_size="2MB", split_naming="bids", verbose="ERROR", buffer_size_sec=1)
    return sorted(path.parent.glob("*_split-*"))


@pytest.mark.parametrize("lost", [0, None])
def test_split_recording_without_its_first_part_is_refused(lost, folder):
    (folder.root / PLACE).unlink()
    parts = split(folder.root / PLACE, 1000)
    assert len(parts) > 1
    if lost is None:
        assert told(read_bids, folder.root)[1] == ""
        return
    parts[lost].unlink()
    with pytest.raises(FileNotFoundError, match=rf"split-01_eeg\.fif' is missing.* {parts[1].name!r}"):
        read_bids(folder.root)
    with pytest.warns(UserWarning, match=r"is the continuation of '.*_eeg\.fif', where its beginning is"):
        read_raw(parts[1])


def test_middle_part_that_is_missing_is_named(folder):
    (folder.root / PLACE).unlink()
    for number in ("01", "03"):
        folder.add(f"sub-02/eeg/sub-02_task-story_split-{number}_eeg.fif")
    with pytest.raises(FileNotFoundError, match=r"split-02_eeg\.fif' is missing"):
        read_bids(folder.root)


def test_maxshield_is_read_with_one_warning(folder):
    path = folder.root / PLACE
    data = read_raw(path).get_data()
    raw = mne.io.read_raw_fif(path, preload=True, verbose="ERROR")
    with raw.info._unlock():
        raw.info["maxshield"] = True
    raw.save(path, overwrite=True, verbose="ERROR")
    events, text = told(read_bids, folder.root)
    assert text == ""
    _, text = told(lambda: [make_segments(events, tmin=0, tmax=1, margin=0) for _ in range(2)])
    assert text.count("MaxShield") == 1
    np.testing.assert_array_equal(open_raw(path).get_data(), data)
    assert read_extent(str(path)).duration == 40.0
