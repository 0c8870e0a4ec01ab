"""Tests of the writer of events.tsv files."""

import json

import numpy as np
import pandas as pd
import pytest
from helpers.bids_folders import Folder

from sk_b2s import StimulusArray, read_bids, write_bids_events

TABLE = (
    "onset\tduration\ttrial_type\tstim_file\ttext\tmark\n"
    "2.0\t20\tsound\tstory.wav\tn/a\t1\n"
    "3.0\t0.5\tword\tn/a\tnull\t2\n"
    '3.123456789\t0.5\tword\tn/a\t"""oh"" he said"\tn/a\n'
    "5.0\t0.5\tword\tn/a\tnan\t2.5\n"
    "9.0\t1.5\tBAD_blink\tn/a\tn/a\tn/a\n"
)


@pytest.fixture
def folder(tmp_path):
    folder = Folder(tmp_path / "study")
    folder.write_table(TABLE)
    other = folder.add("sub-02/eeg/sub-02_task-story_run-1_eeg.fif", seed=1)
    folder.write_table(TABLE, other)
    return folder


def test_write_bids_events_round_trip(folder):
    events = read_bids(folder.root)
    assert events["text"].dropna().tolist()[:3] == ["null", '"oh" he said', "nan"]
    paths = write_bids_events(events, overwrite=True)
    assert [path.name for path in paths] == [
        "sub-01_task-story_events.tsv",
        "sub-02_task-story_run-1_events.tsv",
    ]
    again = read_bids(folder.root)
    pd.testing.assert_frame_equal(again.reset_index(drop=True), events.reset_index(drop=True), atol=1e-6)
    lines = paths[0].read_text().splitlines()
    assert lines[0].startswith("onset\tduration\ttrial_type\tstim_file\tsound_onset\ttext")
    assert lines[1].startswith("2\t20\tsound\tstory.wav")
    described = json.loads(paths[0].with_suffix(".json").read_text())
    assert described["onset"]["Units"] == "s"
    assert set(described) == set(lines[0].split("\t"))


def test_write_bids_events_refuses_to_overwrite(folder):
    events = read_bids(folder.root)
    before = folder.write_table(TABLE).read_text()
    with pytest.raises(FileExistsError, match=r"2 events.tsv files exist.*overwrite=True"):
        write_bids_events(events.assign(onset=0.0))
    assert folder.write_table(TABLE).read_text() == before


def test_write_bids_events_into_derivatives(folder, tmp_path):
    events = read_bids(folder.root)
    moved = events.assign(onset=events["onset"] + 1)
    paths = write_bids_events(moved, folder.root / "derivatives/mine")
    assert paths[1].relative_to(folder.root).as_posix() == (
        "derivatives/mine/sub-02/eeg/sub-02_task-story_run-1_events.tsv"
    )
    assert float(paths[0].read_text().splitlines()[1].split("\t")[0]) == 3
    outside = write_bids_events(events, tmp_path / "elsewhere")
    assert str(folder.wav) in outside[0].read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recording": "story.fif"}, "must have a name of BIDS"),
        ({"sound": StimulusArray(np.zeros(9), 10)}, "stimuli that are files, but .* has a StimulusArray"),
        ({"recording": "other/sub-01_task-story_eeg.fif"}, None),
    ],
    ids=["name", "array", "folder"],
)
def test_write_bids_events_names_unwritable_parts(folder, tmp_path, change, message):
    events = read_bids(folder.root, subjects="01").assign(**change)
    if message is None:
        both = pd.concat([events, events.assign(recording="another/sub-01_task-story_eeg.fif")])
        events = both.assign(
            recording=[f"{name.split('/')[0]}/eeg/{name.split('/')[1]}" for name in both["recording"]]
        )
        message = "Two recordings have the same events table"
    with pytest.raises(ValueError, match=message):
        write_bids_events(events, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("column", ["recording", "onset"])
def test_write_bids_events_refuses_to_lose_rows(folder, tmp_path, column):
    events = read_bids(folder.root, subjects="01")
    events.loc[1, column] = None
    with pytest.raises(ValueError, match=rf"row 1 has no '{column}' \(1 such rows\)"):
        write_bids_events(events, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_write_bids_events_requires_columns():
    with pytest.raises(ValueError, match=r"missing required columns \['duration'\]"):
        write_bids_events(pd.DataFrame({"recording": ["a"], "type": "word", "onset": 0.0}))
