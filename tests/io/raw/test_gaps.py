"""Tests for gaps in recordings."""

import json
import re

import mne
import numpy as np
import pandas as pd
import pytest
from helpers.bids_folders import EVENTS, Folder
from helpers.raw_files import simulate_channels, write_brainvision, write_edf, write_eeglab, write_speech
from helpers.recorded_warnings import record_warnings

from sk_b2s import check_alignment, events_from_raw, make_segments, read_bids
from sk_b2s.io._raw._gaps import find_gaps_between_trials, list_gaps
from sk_b2s.io._raw._identity import digest_recording_identity
from sk_b2s.io._raw._recordings import (
    RecordingProcessing,
    open_recording,
    read_recording_extent,
    read_recording_signal,
)
from sk_b2s.io._triggers import read_triggers

RATE = 50


AT, MISSING = 40, 15  # s: position of the gap in the file, and its duration


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "s.wav"
    write_speech(path, 90.0, 1)
    return path


@pytest.fixture(scope="module")
def neural_data(sound):
    """Signal of 100 s without 15 s in the middle."""
    whole = simulate_channels([(sound, 5.0)], 100.0, RATE, 3)
    return np.delete(whole, np.r_[AT * RATE : (AT + MISSING) * RATE], axis=1)


def add_segments(path, *dates):
    """Write dates of segments into a marker file."""
    marks = path.with_suffix(".vmrk")
    text = marks.read_text().replace("Mk1=New Segment,,1,1,0,0", f"Mk1=New Segment,,1,1,0,{dates[0]}")
    for number, date in enumerate(dates[1:], 2):
        text += f"Mk{number}=New Segment,,{(number - 1) * AT * RATE + 1},1,0,{date}\n"
    marks.write_text(text)


def write_brainvision_gap(folder, neural_data, first="20200101120000000000", second="20200101120055000000"):
    write_brainvision(folder / "p.vhdr", neural_data, "ABC", RATE)
    add_segments(folder / "p.vhdr", first, second)
    return folder / "p.vhdr"


def write_eeglab_gap(folder, neural_data, latency=AT * RATE + 0.5, lasts=MISSING * RATE):
    write_eeglab(folder / "p.set", 1e-5 * neural_data, RATE, [("x", 100, 1), ("boundary", latency, lasts)])
    return folder / "p.set"


def write_edf_gap(folder, neural_data, ending=".edf"):
    starts = [start + MISSING * (start >= AT) for start in range(85)]
    write_edf(folder / f"p{ending}", 1e-5 * neural_data, RATE, starts, [(70.5, "late"), (99.5, "last")])
    return folder / f"p{ending}"


def write_bdf_gap(folder, neural_data):
    return write_edf_gap(folder, neural_data, ".bdf")


def write_status_gap(folder, neural_data):
    flag = np.zeros(neural_data.shape[1], "<i4")
    flag[: RATE // 2] = flag[AT * RATE : AT * RATE + RATE // 2] = 1 << 16
    write_edf(folder / "p.bdf", 1e-5 * neural_data, RATE, status=flag + 7)
    return folder / "p.bdf"


def write_joined(folder, neural_data):
    parts = [
        mne.io.RawArray(1e-5 * part, mne.create_info(3, RATE, "eeg"), verbose="ERROR")
        for part in (neural_data[:, : AT * RATE], neural_data[:, AT * RATE :])
    ]
    mne.concatenate_raws(parts, verbose="ERROR").save(folder / "p_raw.fif", verbose="ERROR")
    return folder / "p_raw.fif"


FORMATS = {
    "BrainVision": (write_brainvision_gap, MISSING), "EEGLAB": (write_eeglab_gap, MISSING), "EDF+D": (write_edf_gap, MISSING),
    "BDF+D": (write_bdf_gap, MISSING), "BioSemi status": (write_status_gap, np.nan), "MNE join": (write_joined, np.nan),
}  # fmt: skip


def make_table(path, sound, onset=5.0):
    return events_from_raw(path, pd.DataFrame({"onset": [onset], "sound": [str(sound)]}), textgrid=False)


@pytest.mark.parametrize("name", FORMATS)
def test_make_segments_drops_windows_across_gaps(name, tmp_path, neural_data, sound):
    write, missing = FORMATS[name]
    path = str(write(tmp_path, neural_data))
    ((onset, seconds),) = read_recording_extent(path).gaps
    assert onset == AT
    np.testing.assert_allclose(seconds, missing, atol=0.01)
    (X, _), text = record_warnings(make_segments, make_table(path, sound), anchor=1.0)
    starts = X["onset"].to_numpy()
    assert not ((starts - 0.5 < AT) & (starts + 3.35 > AT)).any()
    assert "3 cross a gap" in text
    assert "bad stretch" not in text
    length = "an unknown time" if np.isnan(missing) else "15.0 s"
    assert f"{length} missing at 40.0 s. Stimuli that play over it: 's.wav'" in text
    kept, _ = make_segments(make_table(path, sound), anchor=1.0, reject_by_annotation=False)
    pd.testing.assert_frame_equal(kept, X)


@pytest.mark.parametrize(
    "dates", [("20200101120000000000", "20200101120040001000"), ("0",)], ids=["0 s", "1"]
)
def test_list_gaps_ignores_adjacent_segments(dates, tmp_path, neural_data, sound):
    write_brainvision(tmp_path / "p.vhdr", neural_data, "ABC", RATE)
    add_segments(tmp_path / "p.vhdr", *dates)
    (_, _), text = record_warnings(make_segments, make_table(tmp_path / "p.vhdr", sound), anchor=1.0)
    assert read_recording_extent(str(tmp_path / "p.vhdr")).gaps == ()
    assert "gap" not in text


@pytest.mark.parametrize("dates", [("0", "0"), ("20200101130000000000", "20200101120000000000")])
def test_list_gaps_has_unknown_duration(dates, tmp_path, neural_data):
    ((onset, seconds),) = read_recording_extent(
        str(write_brainvision_gap(tmp_path, neural_data, *dates))
    ).gaps
    assert onset == AT
    assert np.isnan(seconds)


@pytest.mark.parametrize(("latency", "lasts", "expected"), [
    (80 * RATE + 0.5, 15 * RATE, [(80.0, 15.0)]),  # beyond the end, where MNE crops it
    (AT * RATE + 0.5, np.nan, [(40.0, np.nan)]),
    (AT * RATE + 1, 1, [(40.0, np.nan)]),
    (0.5, 30 * RATE, [(0.0, 30.0)]),
    (1, 1, []),
])  # fmt: skip
def test_list_gaps_reads_eeglab_boundaries(latency, lasts, expected, tmp_path, neural_data):
    found = read_recording_extent(str(write_eeglab_gap(tmp_path, neural_data, latency, lasts))).gaps
    np.testing.assert_allclose(np.reshape(found, (-1, 2)), np.reshape(expected, (-1, 2)), atol=0.02)


def test_make_segments_names_missing_start(tmp_path, neural_data, sound):
    path = write_eeglab_gap(tmp_path, neural_data, 0.5, 30 * RATE)
    _, text = record_warnings(make_segments, make_table(path, sound), anchor=1.0)
    assert "30.0 s missing at 0.0 s" in text
    assert "begin after it" in text


def test_open_recording_moves_edf_annotations(tmp_path, neural_data):
    raw, text = record_warnings(open_recording, write_edf_gap(tmp_path, neural_data))
    assert read_triggers(raw, ["late", "last"])["late"] == pytest.approx([55.5])
    assert read_triggers(raw, ["last"])["last"] == pytest.approx([84.5])
    assert text == ""


def test_open_recording_reads_latin_1_annotations(tmp_path, neural_data):
    write_edf(tmp_path / "p.edf", 1e-5 * neural_data, RATE, notes=[(3.0, "Tür")], encoding="latin-1")
    assert read_triggers(open_recording(tmp_path / "p.edf"), ["Tür"])["Tür"] == pytest.approx([3.0])


@pytest.mark.parametrize("marked", [True, False])
def test_make_segments_checks_triggers_after_gap(marked, tmp_path, neural_data, sound):
    path = write_brainvision_gap(tmp_path, neural_data)
    if marked:
        marks = path.with_suffix(".vmrk")
        marks.write_text(marks.read_text() + f"Mk3=Stimulus,S  1,{45 * RATE + 1},1,0\n")
    short = sound.with_name("short.wav")
    write_speech(short, 20.0, 2)
    _, text = record_warnings(make_segments, make_table(path, short, 45.0), anchor=1.0)
    assert ("Stimuli that begin after it without a trigger or annotation: 'short.wav'" in text) != marked


def test_make_segments_accepts_resumed_stimulus(tmp_path, neural_data, sound):
    rows = pd.DataFrame({
        "subject": "1", "recording": str(write_brainvision_gap(tmp_path, neural_data)), "type": "sound", "sound": str(sound),
        "onset": [5.0, 40.0], "sound_onset": [0.0, 50.0], "duration": [35.0, 40.0],
    })  # fmt: skip
    _, text = record_warnings(make_segments, rows, anchor=1.0)
    assert "not continuous" not in text


@pytest.mark.parametrize("kind", ["continuous", "discontinuous", "epoched", "epochs of 2 s"])
def test_read_type_for_gaps_reads_sidecar(kind, tmp_path, neural_data, sound):
    folder = tmp_path / "sub-1" / "eeg"
    folder.mkdir(parents=True)
    path = (
        write_joined(folder, neural_data[:, : AT * RATE])
        if kind == "joined"
        else folder / "sub-1_task-a_eeg.fif"
    )
    info = mne.create_info(3, RATE, "eeg")
    mne.io.RawArray(1e-5 * neural_data, info, verbose="ERROR").save(path, verbose="ERROR")
    about = {"RecordingType": kind.partition(" ")[0].replace("epochs", "epoched")}
    about |= {"EpochLength": 20} if "of" in kind else {}
    path.with_suffix(".json").write_text(json.dumps(about))
    (X, _), text = record_warnings(make_segments, make_table(path, sound), anchor=1.0)
    assert (text.count("not continuous") == 1) == (kind != "continuous")
    assert ("the gaps are unknown" in text) == (kind in ("discontinuous", "epoched"))
    starts = X["onset"].to_numpy()[:, None]
    if "of" in kind:
        assert len(starts)
        assert not ((starts < [20, 40, 60, 80]) & (starts + 2.85 > [20, 40, 60, 80])).any()


def test_make_segments_reads_boundary_rows(tmp_path, neural_data, sound):
    path = tmp_path / "p_raw.fif"
    mne.io.RawArray(1e-5 * neural_data, mne.create_info(3, RATE, "eeg"), verbose="ERROR").save(
        path, verbose="ERROR"
    )
    table = make_table(path, sound)
    row = table.iloc[[0]].assign(type="bad", onset=40.0, duration=15.0, sound=None, text="boundary")
    _, text = record_warnings(make_segments, pd.concat([table, row], ignore_index=True), anchor=1.0)
    assert "3 cross a gap" in text
    assert "bad stretch" not in text


@pytest.mark.parametrize("kind", ["boundary", "New Segment", "Boundary"])
def test_read_bids_reads_boundary_rows(kind, tmp_path):
    folder = Folder(tmp_path / "small")
    folder.write_table(EVENTS + f"10.0\t15.0\t{kind}\tn/a\tn/a\n")
    events = read_bids(folder.root)
    (X, _), text = record_warnings(make_segments, events, anchor=0.5, tmin=0, tmax=1, margin=0)
    assert "1 cross a gap" in text
    assert ((X["onset"] >= 10) & (X["onset"] < 20)).sum() == 20  # not a bad segment of 15 s


@pytest.mark.parametrize("causal", [False, True])
def test_read_signal_processes_parts_separately(causal, tmp_path, neural_data):
    data = neural_data + np.where(np.arange(neural_data.shape[1]) < AT * RATE, 0.0, 1e4)  # a step at the gap
    write_edf(tmp_path / "a.edf", 1e-8 * data[:, : AT * RATE], RATE)
    write_edf(tmp_path / "b.edf", 1e-8 * data[:, AT * RATE :], RATE)
    write_edf(tmp_path / "p.edf", 1e-8 * data, RATE, [s + MISSING * (s >= AT) for s in range(85)])
    processing = RecordingProcessing(sfreq=20.0, l_freq=1.0, h_freq=8.0, causal=causal)
    whole, first, second = (
        read_recording_signal(path, digest_recording_identity(path), processing)
        for path in (str(tmp_path / f"{n}.edf") for n in "pab")
    )
    parted = np.concatenate([first, second])
    np.testing.assert_allclose(whole, parted, atol=1e-3 * parted.std())


def test_find_gaps_between_trials_of_ctf():
    count = np.array([0.0, 100.0, 200.0, 450.0, 550.0])  # a trial is 50 samples of 2 counts
    assert find_gaps_between_trials(count, 98.0, 50, 10.0) == {150: pytest.approx(7.5)}
    assert find_gaps_between_trials(count[:3], 98.0, 50, 10.0) == {}


def test_list_gaps_cropped_raw(tmp_path, neural_data):
    raw = open_recording(write_brainvision_gap(tmp_path, neural_data)).crop(10.0)
    (gap,) = list_gaps(raw)
    assert gap.onset == AT - 10
    assert re.fullmatch(r"EDGE gap \(15\.0+ s\)", raw.annotations.description[0])


def test_check_alignment_names_gap(tmp_path, neural_data, sound):
    events = make_table(write_brainvision_gap(tmp_path, neural_data), sound)
    found = check_alignment(events, sfreq=50, h_freq=10, max_offset=1.0)
    assert "15.0 s missing at 40.0 s. Stimuli that play over it: 's.wav'" in found["note"][0]


@pytest.mark.parametrize("marked", ["annotation", "trigger", "neither"])
@pytest.mark.parametrize("late", [True, False])
def test_make_segments_names_acquisition_times(late, marked, tmp_path, neural_data, sound):
    info = mne.create_info(["A", "B", "C", "STI"], RATE, ["eeg"] * 3 + ["stim"])
    data = np.vstack([1e-5 * neural_data, np.zeros(neural_data.shape[1])])
    at = 6 * RATE
    data[3, at : at + 5] = marked == "trigger"
    raw = mne.io.RawArray(data, info, first_samp=20 * RATE, verbose="ERROR")
    if marked == "annotation":
        raw.set_annotations(mne.Annotations([6.0], [0.0], ["story"]))
    raw.save(tmp_path / "p_raw.fif", verbose="ERROR")
    short = sound.with_name("short.wav")
    write_speech(short, 20.0, 2)
    _, text = record_warnings(
        make_segments, make_table(tmp_path / "p_raw.fif", short, 6.0 + 20.0 * late), anchor=1.0
    )
    assert ("'p_raw.fif' (20.000 s). Subtract raw.first_time" in text) == (late and marked != "neither")


def test_events_from_raw_reads_discontinuous_edf(tmp_path, neural_data, sound):
    path = write_edf_gap(tmp_path, neural_data)
    short = sound.with_name("short.wav")
    write_speech(short, 5.0, 2)
    raw = mne.io.read_raw_edf(path, verbose="ERROR")
    assert events_from_raw(raw, {"late": short}, textgrid=False)["onset"].tolist() == pytest.approx([55.5])
