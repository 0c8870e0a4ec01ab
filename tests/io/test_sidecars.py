"""Tests for BIDS sidecar files."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.bids_folders import EVENTS
from helpers.raw_files import write_brainvision
from helpers.recorded_warnings import record_warnings

from sk_b2s import Epocher, make_segments, read_bids
from sk_b2s.io._raw._identity import digest_recording_identity
from sk_b2s.io._raw._read_raw import read_raw
from sk_b2s.io._raw._recordings import open_recording
from sk_b2s.io._sidecars import (
    apply_sidecars,
    convert_sidecar_numbers,
    find_sidecar,
    parse_sidecar_duration,
    parse_sidecar_entities,
    read_sidecar_tsv,
)


def test_apply_sidecars_warns_short_recording(folder):
    events = read_bids(folder.root)
    folder.recording.with_suffix(".json").write_text('{"RecordingDuration": 80.0}')
    with pytest.warns(
        UserWarning,
        match=r"story_eeg\.fif' lasts 40\.0 s, but its duration in 'sub-01_task-story_eeg\.json' is 80",
    ):
        open_recording(folder.recording)
    with pytest.warns(UserWarning, match="left out 1 of 3 windows"):
        X, _ = make_segments(events.assign(recording_duration=80.0), tmin=0, tmax=34.6)
    assert len(X) == 2  # windows after the end of the file are dropped


def test_apply_sidecars_marks_bad_channels(folder):
    X, _ = make_segments(read_bids(folder.root), tmin=0, tmax=1)
    before = digest_recording_identity(folder.recording)
    folder.write_table(
        "name\ttype\tunits\tstatus\nA1\tEEG\tV\tgood\nA2\tEEG\tV\tbad\nA3\tVEOG\tV\tn/a\n",
        suffix="channels.tsv",
    )
    assert digest_recording_identity(folder.recording) != before  # cached signals are renewed
    raw = open_recording(folder.recording)
    assert raw.info["bads"] == ["A2"]
    assert raw.get_channel_types() == ["eeg", "eeg", "eog"]
    epocher = Epocher(sfreq=32, baseline=None)
    windows = np.asarray(epocher.fit_transform(X))
    assert epocher.ch_names_ == ("A1", "A2")
    assert (windows[:, 1] == 0).all()
    assert windows[:, 0].std() > 0


def test_apply_sidecars_ignores_missing_channels(folder):
    folder.recording = folder.add("sub-01/eeg/sub-01_task-story_eeg.fif", names=("F3-C3", "C3-P3", "MLC11"))
    folder.write_table("name\tstatus\nF3-A1\tbad\nMLC11-2908\tbad\nC3-P3\tgood\n", suffix="channels.tsv")
    assert open_recording(folder.recording).info["bads"] == ["MLC11"]
    folder.write_table("channel\tstatus\nA1\tbad\n", suffix="channels.tsv")
    with pytest.raises(
        ValueError, match=r"channels\.tsv' must have the column 'name'\. It has \['channel', 'status'\]"
    ):
        open_recording(folder.recording)
    folder.write_table("/annex/objects/SHA256E-s5--ab.tsv\n", suffix="channels.tsv")
    with pytest.raises(
        FileNotFoundError, match=r"table '.*channels\.tsv' has not been fetched.*git annex get"
    ):
        open_recording(folder.recording)


def test_apply_sidecars_matches_electrode_space(folder):
    stem = folder.recording.with_name("sub-01_space-{}_{}")
    Path(str(stem).format("CTF", "electrodes.tsv")).write_text("name\tx\ty\tz\nA1\t0.08\t0\t0.05\n")
    for system in ("CTF", "CapTrak"):
        about = {"EEGCoordinateSystem": system, "EEGCoordinateUnits": "m"}
        Path(str(stem).format(system, "coordsystem.json")).write_text(json.dumps(about))
    np.testing.assert_allclose(
        open_recording(folder.recording).info["chs"][0]["loc"][:3], [0, 0.08, 0.05], atol=1e-6
    )


@pytest.mark.parametrize(
    ("system", "unit", "row"), [("CapTrak", "m", "0.01\t0.07\t0.05"), ("CTF", "mm", "70\t-10\t50")]
)
def test_apply_sidecars_sets_electrode_positions(folder, system, unit, row):
    about = {"EEGCoordinateSystem": system, "EEGCoordinateUnits": unit}
    where = folder.recording.with_name("sub-01_coordsystem.json")
    where.write_text(json.dumps(about))
    folder.recording.with_name("sub-01_space-x_electrodes.tsv").write_text(
        f"name\tx\ty\tz\nA1\t{row}\nA2\tn/a\tn/a\tn/a\n"
    )
    raw = open_recording(folder.recording)
    np.testing.assert_allclose(raw.info["chs"][0]["loc"][:3], [0.01, 0.07, 0.05], atol=1e-6)
    where.write_text(json.dumps({**about, "EEGCoordinateSystem": "fsaverage"}))
    assert open_recording(folder.recording).get_montage() is None


def test_read_tsv_strips_trailing_tabs(folder):
    plain = read_bids(folder.root)
    folder.write_table(EVENTS.replace("\n", "\t\n").replace("word\t\n", "word\n", 1) + "\n\t\n")
    pd.testing.assert_frame_equal(read_bids(folder.root), plain)
    folder.write_table(EVENTS.replace("\n", "\r\n"))
    pd.testing.assert_frame_equal(read_bids(folder.root), plain)


def test_parse_sidecar_entities_of_names():
    assert parse_sidecar_entities("sub-01_ses-2_task-a_run-03_split-01_meg.fif")["run"] == "03"
    assert parse_sidecar_entities("notes.txt") == {"suffix": "notes"}
    assert parse_sidecar_entities("my_raw.fif") == {}


def test_find_sidecar_prefers_nearest_table(folder):
    outer = folder.root / "channels.tsv"
    outer.write_text("name\nA1\n")
    assert find_sidecar(folder.recording, "channels.tsv") == outer
    near = folder.write_table("name\nA1\n", suffix="channels.tsv")
    near.with_name("sub-01_channels.tsv").write_text("name\n")
    near.with_name("sub-01_task-other_channels.tsv").write_text("name\n")
    assert find_sidecar(folder.recording, "channels.tsv") == near
    assert read_sidecar_tsv(near)["name"].tolist() == ["A1"]
    near.write_bytes(b"name\n\xff\xfe\n")
    with pytest.raises(ValueError, match="is not a BIDS table"):
        read_sidecar_tsv(near)


def test_apply_sidecars_matches_electrode_names(folder):
    folder.write_table("name\tx\ty\tz\nA 1\t10\t0\t80\na2\t0\t10\t80\n", suffix="electrodes.tsv")
    about = {"EEGCoordinateSystem": "CapTrak", "EEGCoordinateUnits": "mm"}
    folder.write_table(json.dumps(about), suffix="coordsystem.json")
    raw = open_recording(folder.recording)
    np.testing.assert_allclose(
        [ch["loc"][:3] for ch in raw.info["chs"][:2]], [[0.01, 0, 0.08], [0, 0.01, 0.08]]
    )


@pytest.mark.parametrize("suffix", ["channels.tsv", "electrodes.tsv"])
@pytest.mark.parametrize(
    "text", ["name\ttype\tstatus\tx\ty\tz\n", "name\ttype\tstatus\tx\ty\tz\nn/a\tn/a\tn/a\tn/a\tn/a\tn/a\n"]
)
def test_apply_sidecars_accepts_empty_tables(suffix, text, folder):
    folder.write_table(text, suffix=suffix)
    folder.write_table(
        '{"EEGCoordinateSystem": "CapTrak", "EEGCoordinateUnits": "mm"}', suffix="coordsystem.json"
    )
    raw, text = record_warnings(open_recording, folder.recording)
    assert (raw.info["bads"], text) == ([], "")


NAMES = [f"E{index}" for index in range(6)]


DATA = np.random.default_rng(0).standard_normal((6, 5000))


def test_apply_sidecars_warns_unknown_status(tmp_path):
    path = tmp_path / "sub-01/eeg/sub-01_task-a_eeg.vhdr"
    write_brainvision(path, DATA, NAMES, 250)
    table = path.with_name("sub-01_task-a_channels.tsv")
    rows = [
        f"{name}\tEEG\t{state}"
        for name, state in zip(NAMES, ["Bad ", "noisy", "n/a"] + 3 * ["good"], strict=True)
    ]
    table.write_text("\n".join(["name\ttype\tstatus", *rows]))
    with pytest.warns(
        UserWarning, match=r"'status': expected good, bad or n/a, got 'noisy', which is read as good"
    ):
        raw = apply_sidecars(read_raw(path), path)
    assert raw.info["bads"] == ["E0"]


@pytest.mark.parametrize(
    ("duration", "expected"), [(80, 80.0), ("80.5", 80.5), ("n/a", np.nan), (None, np.nan), ("", np.nan)]
)
def test_parse_recording_duration_accepts_missing(duration, expected):
    np.testing.assert_equal(parse_sidecar_duration({"RecordingDuration": duration}), expected)
    assert np.isnan(parse_sidecar_duration({}))


@pytest.mark.parametrize("duration", ["long", [80], {}])
def test_parse_recording_duration_refuses_text(folder, duration):
    with pytest.raises(ValueError, match="RecordingDuration must be a number of seconds. Got"):
        parse_sidecar_duration({"RecordingDuration": duration})
    folder.recording.with_suffix(".json").write_text(json.dumps({"RecordingDuration": duration}))
    assert open_recording(folder.recording).n_times > 0


def test_read_tsv_infers_types(folder):
    path = folder.write_table('onset\ttext\tflag\n1.5\t"a ""b"""\ttrue\nn/a\tnan\tfalse\n')
    table = read_sidecar_tsv(path, dtype=None)
    np.testing.assert_array_equal(table["onset"], [1.5, np.nan])
    assert table["text"].tolist() == ['a "b"', "nan"]
    assert table["flag"].tolist() == [True, False]
    assert read_sidecar_tsv(path)["onset"].tolist()[0] == "1.5"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1", "-2", "0"], [1, -2, 0]),
        (["1.50", "0.5", "2e-3"], [1.5, 0.5, 0.002]),
        (["01", "2"], None),
        (["00.5"], None),
        (["+1", " 2"], [1, 2]),
        (["-Inf", "+.5", "1."], [-np.inf, 0.5, 1]),
        (["nan", "-inf"], None),
        (["1_0"], None),
        (["1", "a"], None),
        (["9007199254740993"], [9007199254740993]),
        (["9007199254740993", None], None),
        (["99999999999999999999"], None),
        ([None, None], None),
    ],
    ids=str,
)
def test_convert_sidecar_numbers_loses_nothing(texts, expected):
    column = pd.Series(texts, dtype=object)
    found = convert_sidecar_numbers(column)
    assert found is column if expected is None else found.tolist() == expected


def test_convert_sidecar_numbers_reads_nan_of_matlab():
    found = convert_sidecar_numbers(pd.Series(["NaN", "1", None, "nan"], dtype=object))
    np.testing.assert_array_equal(found, [np.nan, 1, np.nan, np.nan])
