"""Tests for matching channel names."""

import pytest
from helpers.bids_folders import EVENTS
from helpers.recorded_warnings import record_warnings

from sk_b2s import Epocher, make_segments, read_bids
from sk_b2s.io._channel_names import match_channel_names, normalize_channel_name
from sk_b2s.io._raw._recordings import open_recording


@pytest.mark.parametrize(
    ("told_name", "name"),
    [
        ("FP1", "Fp1"), ("Fp1 ", "Fp1"), ("EEG 001", "EEG001"), ("EEG001", "EEG 001"), ("Fp1", "EEG Fp1-Ref"),
        ("Fp1-Ref", "Fp1"), ("EEG Fp1-LE", "Fp1"), ("MLC11-2908", "MLC11"), ("T3", "t3"), ("MEG 0111", "MEG0111"),
        ("E1", "E001"),
    ],
)  # fmt: skip
def test_match_channel_names_accepts_other_spellings(told_name, name, folder):
    folder.add("sub-01/eeg/sub-01_task-story_eeg.fif", names=(name, "Cz", "Pz"))
    folder.write_table(f"name\ttype\tstatus\nCz\tEOG\tgood\n{told_name}\tEEG\tbad \n", suffix="channels.tsv")
    raw, text = record_warnings(open_recording, folder.recording)
    assert (raw.info["bads"], text) == ([name], "")
    assert raw.get_channel_types() == ["eeg", "eog", "eeg"]


@pytest.mark.parametrize(
    ("table", "names", "expected"),
    [
        (["Fp1", "FP1"], ["Fp1", "FP1"], ["Fp1", "FP1"]),  # equal names match first
        (["FP1"], ["Fp1", "fp1"], [None]),  # ambiguous
        (["FP1", "fp1"], ["Fp1"], [None, None]),
        (["Cz", "Cz"], ["Cz"], ["Cz", "Cz"]),
        (["E1", "E01"], ["E1", "E2"], ["E1", None]),
        (["A1", "A10"], ["A10", "A1"], ["A1", "A10"]),
        ([""], ["Cz"], [None]),
    ],
)
def test_match_channel_names_prefers_equal_names(table, names, expected):
    assert record_warnings(match_channel_names, table, names, "channels.tsv")[0] == expected


def test_match_channel_names_warns_unmatched(folder):
    folder.write_table("name\tstatus\nA1\tgood\nB7\tbad\n", suffix="channels.tsv")
    raw, text = record_warnings(open_recording, folder.recording)
    assert raw.info["bads"] == []
    assert (
        "1 names that the recording lacks (B7), and the recording has 2 channels that the table lacks" in text
    )
    folder.write_table("name\tstatus\nA1\tgood\nA2\tgood\nA3\tgood\nB7\tbad\n", suffix="channels.tsv")
    assert record_warnings(open_recording, folder.recording)[1] == ""  # a channel dropped from the file


def test_match_channel_names_warns_duplicates(folder):
    folder.write_table("name\tstatus\nA1\tbad\nA2\tgood\nA1\tgood\nA3\tgood\n", suffix="channels.tsv")
    raw, text = record_warnings(open_recording, folder.recording)
    assert raw.info["bads"] == ["A1"]
    assert "1 names in several rows: A1" in text


def test_normalize_name_separates_channels():
    names = [
        "Fp1",
        "Fp2",
        "A1",
        "A10",
        "A11",
        "M1",
        "E1",
        "MLC11",
        "MLC12",
        "MEG0111",
        "MEG0112",
        "CPz",
        "Cz",
        "1",
        "10",
    ]
    assert len({normalize_channel_name(name) for name in names}) == len(names)


def test_warn_channel_name_spellings_names_twins(folder):
    twin = folder.add("sub-02/eeg/sub-02_task-story_eeg.fif", names=("a1", "A2", "A4"))
    folder.write_table(EVENTS, twin)
    X, _ = make_segments(read_bids(folder.root), tmin=0, tmax=1)
    _, text = record_warnings(Epocher(sfreq=32).fit, X)
    assert (
        "1 channels are spelled differently in different recordings: 'A1' (sub-01_task-story_eeg.fif) and 'a1' (sub-02"
        in text
    )
    assert record_warnings(Epocher(sfreq=32).fit, X[X["subject"] == "01"])[1] == ""
