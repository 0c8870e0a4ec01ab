"""Tests for checks of files before they are read."""

import os

import numpy as np
import pytest
from helpers.bids_folders import EVENTS
from helpers.raw_files import write_brainvision

from sk_b2s import make_segments, read_bids, read_textgrid
from sk_b2s.io._events_file import read_events
from sk_b2s.io._raw._read_raw import read_raw
from sk_b2s.io._raw._recordings import open_recording
from sk_b2s.io._recording_files import check_recording_files, list_recording_files_of_header


def make_link_loop(path):
    path.symlink_to(path.name)


def make_broken_link(path):
    path.symlink_to("nowhere.tsv")


PLACES = {
    "folder": (lambda path: path.mkdir(), "is a folder"), "pipe": (os.mkfifo, "is a pipe or device"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is a pipe or device"),
    "link loop": (make_link_loop, "cannot be opened|leads back to itself"), "dangling link": (make_broken_link, "is a broken link|has not been fetched|is a link to a missing file"),
}  # fmt: skip


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("what", ["events.tsv", "channels.tsv", "eeg.json", "recording", "TextGrid", "table"])
def test_readers_refuse_irregular_files(what, kind, folder):
    make, message = PLACES[kind]
    stem = folder.root / "sub-01/eeg/sub-01_task-story_"
    path = {"recording": folder.recording, "TextGrid": folder.root / "stimuli/story.TextGrid",
            "table": folder.root / "events.tsv"}.get(what, stem.with_name(stem.name + what))  # fmt: skip
    path.unlink(missing_ok=True)
    make(path)
    if what == "table" and kind == "folder":
        message = "must hold one events table"
    if what == "recording":
        message = {"folder": "cannot be opened|MEG|names", "link loop": "leads back to itself"}.get(
            kind, message
        )
    calls = {"table": lambda: read_events(path), "TextGrid": lambda: read_textgrid(path)}
    with pytest.raises((OSError, ValueError), match=message) as error:
        calls.get(what, lambda: make_segments(read_bids(folder.root), tmin=0, tmax=1))()
    assert path.name in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "latin-1"])
@pytest.mark.parametrize("reader", ["bids", "table"])
def test_readers_name_other_encodings(reader, encoding, folder):
    text = EVENTS.replace("null", "schön")
    path = folder.write_table(text, encoding=encoding)
    message = r"line 3.*byte 0xf6" if encoding == "latin-1" else "UTF-16"
    with pytest.raises(ValueError, match=message) as error:
        read_bids(folder.root) if reader == "bids" else read_events(path)
    assert path.name in str(error.value)


@pytest.mark.parametrize("text", ['{"RecordingDuration": ', "[" * 100_000, "\xff"])
def test_read_json_refuses_invalid_json(text, folder):
    path = folder.write_table("", suffix="eeg.json")
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"task-story_eeg\.json'"):
        open_recording(folder.recording)


@pytest.mark.parametrize("missing", [".eeg", ".vmrk"])
@pytest.mark.parametrize("renamed", [False, True])
def test_check_parts_names_missing_brainvision(missing, renamed, tmp_path):
    path = tmp_path / "old.vhdr"
    write_brainvision(path, np.ones((2, 500)), "AB", 100)
    if renamed:
        for file in list(tmp_path.iterdir()):
            file.rename(file.with_stem("sub-1_task-a_eeg"))
        path = tmp_path / "sub-1_task-a_eeg.vhdr"
    else:
        path.with_suffix(missing).unlink()
    message = (
        r"names DataFile=old\.eeg, which is not in its folder\. 'sub-1_task-a_eeg\.eeg' exists.*copyfile"
    )
    plain = rf"{'DataFile' if missing == '.eeg' else 'MarkerFile'}=old\{missing}, which is not in its folder.*three files"
    with pytest.raises(FileNotFoundError, match=message if renamed else plain):
        read_raw(path)


def test_list_header_files_reads_brainvision_header(tmp_path):
    path = tmp_path / "töne.vhdr"
    path.write_text(
        "[Common Infos]\nDataFile=$b.eeg\nMarkerFile=marks é.vmrk\n[Comment]\nDataFile=x\n", "latin-1"
    )
    assert list_recording_files_of_header(path) == {
        "DataFile": tmp_path / "töne.eeg",
        "MarkerFile": tmp_path / "marks é.vmrk",
    }


@pytest.mark.parametrize("there", [[], ["b.res4"], ["a.res4"], ["a.res4", "a.meg4", "a.2_meg4"]])
def test_check_parts_refuses_incomplete_ctf(there, tmp_path):
    folder = tmp_path / "a.ds"
    folder.mkdir()
    for name in there:
        (folder / name).write_bytes(b"")
    message = {0: "no 'a.res4'", 1: "no 'a.meg4'", 3: "no 'a.1_meg4', but later parts"}[len(there)]
    with pytest.raises(FileNotFoundError, match="holds 'b.res4'" if there == ["b.res4"] else message):
        check_recording_files(folder)


def test_read_events_keeps_leading_zeros(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text(
        "subject,onset,code,count,seen,cued,level\n01,02.5,007,7,TRUE,,0.50\n02,3,12,,FALSE,True,1\n"
    )
    events = read_events(path)
    assert events["code"].tolist() == ["007", "12"]
    assert events["onset"].tolist() == [2.5, 3.0]
    assert events["seen"].tolist() == [True, False]
    assert events["cued"].eq(True).tolist() == [False, True]
    assert events["level"].tolist() == [0.5, 1.0]
    assert events["count"].dtype == float
