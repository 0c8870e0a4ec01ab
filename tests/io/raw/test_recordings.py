"""Tests for headers, durations and signals of recordings."""

import warnings
from datetime import UTC, datetime

import mne
import numpy as np
import pytest
from helpers.bids_folders import EVENTS, Folder
from helpers.read_files import load_header, load_signal, make_signal
from helpers.recorded_warnings import record_warnings

from sk_b2s import make_segments, read_bids
from sk_b2s.io._raw._read_raw import read_raw
from sk_b2s.io._raw._recordings import (
    RecordingProcessing,
    open_recording,
    read_recording_duration_and_bads,
    read_recording_extent,
    read_recording_signal,
)

SFREQ = 250.0

FORMATS = {
    "test.bdf": (66, 2048.0, 2048),
    "brainvision/test.vhdr": (26, 1000.0, 7900),
    "kit/test.sqd": (157, 1000.0, 2000),
    "kit/test_umd-raw.sqd": (157, 1000.0, 100),
    "ctf/somMDYO-18av.ds": (151, 1250.0, 626),
}


@pytest.mark.parametrize("file", FORMATS)
def test_read_recording_signal_reads_real_files(data_folder, file):
    path = data_folder / "formats" / file
    n_channels, sfreq, n_times = FORMATS[file]
    head, data = load_header(path), load_signal(path)
    assert (len(head.ch_names), head.sfreq, head.n_times) == (n_channels, sfreq, n_times)
    assert data.shape == (int(n_times * 120 // sfreq), n_channels)
    assert data.dtype == np.float32
    assert data.flags.c_contiguous
    assert np.isfinite(data).all()
    raw = read_raw(path)
    types = set(raw.get_channel_types(picks=list(head.ch_names)))
    assert types == ({"eeg"} if n_channels < 100 else {"mag"})
    good = [name not in head.bads for name in head.ch_names]
    assert (data[:, good].std(0) > 0).all()
    assert (data[:, np.logical_not(good)] == 0).all()


def test_read_recording_signal_keeps_order_of_picks(save):
    data = make_signal(4)
    path = save(data, names=list("ABCD"))
    assert load_header(path, picks=("D", "A"), sfreq=SFREQ).ch_names == ("D", "A")
    np.testing.assert_allclose(load_signal(path, picks=("D", "A"), sfreq=SFREQ), data[[3, 0]].T, rtol=1e-6)


def test_read_recording_signal_is_equal_in_groups(save, monkeypatch):
    path = save(make_signal(7))
    options = {"reference": "average", "l_freq": 1.0, "h_freq": 40.0, "notch": (50.0,)}
    whole = load_signal(path, **options)
    monkeypatch.setattr("sk_b2s.io._raw._recordings.CHUNK_BYTES", 2 * 8 * 5000)
    np.testing.assert_array_equal(load_signal(path, **options), whole)


def test_read_recording_signal_names_nan(save):
    data = make_signal()
    data[1, 1234] = np.nan
    data[2, 4000:4003] = np.inf
    path = save(data)
    with pytest.raises(ValueError, match=r"'x_raw.fif' holds 4 NaN or infinite .* channel 'E1' at 4\.936 s"):
        load_signal(path)
    assert np.isfinite(load_signal(path, picks=("E0",))).all()


@pytest.mark.parametrize("reference", [None, "average"])
def test_read_recording_signal_ignores_bad_channels(save, reference):
    data = make_signal()
    clean = load_signal(save(data, bads=["E1"]), reference=reference)
    data[1, :77] = np.nan
    np.testing.assert_array_equal(load_signal(save(data, bads=["E1"]), reference=reference), clean)
    with pytest.raises(ValueError, match="channel 'E1' at 0.000 s"):
        load_signal(save(data, bads=["E1"]), reference=("E1",))


def test_read_recording_header_names_invalid_options(save, tmp_path):
    path = save(make_signal(), names=["Fz", "Cz", "Pz"])
    with pytest.raises(
        FileNotFoundError, match=r"recording '.*none.fif' does not exist. The column 'recording'"
    ):
        load_header(tmp_path / "none.fif")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_recording_duration_and_bads(tmp_path / "none.fif")
    with pytest.raises(
        ValueError, match=r"sfreq=500 Hz must not exceed the 250 Hz of .*Use Epocher\(sfreq=250\)"
    ):
        load_header(path, sfreq=500.0)
    with pytest.raises(ValueError, match=r"picks=\('Cz', 'Oz'\) names .* It has Fz, Cz, Pz"):
        load_header(path, picks=("Cz", "Oz"))
    with pytest.raises(ValueError, match=r"picks='mag' names"):
        load_header(path, picks="mag")
    with pytest.raises(
        ValueError, match=r"reference=\['M1'\]: recording 'x_raw.fif' has no channel \['M1'\]"
    ):
        load_signal(path, reference=("M1",))
    with pytest.raises(ValueError, match="has no EEG or MEG channel. Name channels with picks="):
        load_header(save(make_signal(), types="misc", name="m_raw.fif"))
    with pytest.raises(TypeError, match="raw_hook must return an mne Raw. Got NoneType"):
        load_header(path, raw_hook=lambda raw: None)


def test_open_recording_applies_hook_first(save):
    data = make_signal()
    path = save(data)
    renamed = {"raw_hook": lambda raw: raw.rename_channels({"E0": "first"}), "sfreq": SFREQ}
    assert load_header(path, **renamed).ch_names == ("first", "E1", "E2")
    made = mne.io.RawArray(2 * data, mne.create_info(3, SFREQ, "eeg"), verbose="ERROR")
    np.testing.assert_allclose(
        load_signal(path, raw_hook=lambda raw: made, sfreq=SFREQ), 2 * data.T, rtol=1e-6
    )


@pytest.mark.parametrize("dated", [True, False])
@pytest.mark.parametrize("first_samp", [0, 500])
@pytest.mark.parametrize("cropped", [True, False])
def test_read_recording_duration_and_bads(tmp_path, dated, first_samp, cropped):
    data = make_signal()
    data[:, 1000:1250] += 1.0  # an artifact from 4 to 5 s
    raw = mne.io.RawArray(data, mne.create_info(3, SFREQ, "eeg"), first_samp=first_samp, verbose="ERROR")
    if dated:
        raw.set_meas_date(datetime(2020, 1, 1, tzinfo=UTC))
    raw.set_annotations(mne.Annotations([4.0, 9.0], [1.0, 0.5], ["BAD_jump", "nice"]))
    if cropped:
        raw.crop(tmin=2.0)
    path = tmp_path / "x_raw.fif"
    raw.save(path, verbose="ERROR")
    duration, ((onset, length),) = read_recording_duration_and_bads(path)
    assert duration == pytest.approx(18.0 if cropped else 20.0)
    assert length == pytest.approx(1.0)
    jump = load_signal(path, sfreq=SFREQ)[:, 0] > 0.5
    np.testing.assert_allclose([onset, onset + length], np.flatnonzero(np.diff(jump) != 0) / SFREQ, atol=0.01)


NAMES = [f"E{index}" for index in range(6)]


DATA = np.random.default_rng(0).standard_normal((6, 5000))


def save_flat(folder, name, notes=()):
    data = 1e-6 * DATA.copy()
    data[:, 2000:4000] = data[:, :1]  # 8 of 20 s
    raw = mne.io.RawArray(data, mne.create_info(NAMES, 250, "eeg"), verbose="ERROR")
    raw.set_annotations(mne.Annotations(*zip(*notes, strict=True)) if notes else None)
    raw.save(folder / name, verbose="ERROR")
    return str(folder / name)


def test_read_recording_signal_warns_constant_segments(tmp_path):
    wanted = RecordingProcessing(sfreq=25.0)
    with pytest.warns(UserWarning, match=r"constant in all channels from 8\.0 to 16\.0 s \(1 such"):
        read_recording_signal(save_flat(tmp_path, "a_raw.fif"), None, wanted)
    padded = mne.io.RawArray(1e-6 * np.pad(np.tile(DATA, 3), ((0, 0), (1300, 1300))),
                             mne.create_info(NAMES, 250, "eeg"), verbose="ERROR")  # fmt: skip
    padded.save(tmp_path / "c_raw.fif", verbose="ERROR")  # 5 of 70 s at each end
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        read_recording_signal(save_flat(tmp_path, "b_raw.fif", [(7.9, 8.2, "BAD_ACQ_SKIP")]), None, wanted)
        read_recording_signal(str(tmp_path / "c_raw.fif"), None, wanted)


NAME = "sub-02_task-story_eeg.fif"


PLACE = f"sub-02/eeg/{NAME}"


@pytest.fixture
def study(tmp_path):
    made = Folder(tmp_path / "small")
    made.write_table(EVENTS, made.add(PLACE))
    return made


def test_read_recording_extent_warns_maxshield_once(study):
    path = study.root / PLACE
    data = read_raw(path).get_data()
    raw = mne.io.read_raw_fif(path, preload=True, verbose="ERROR")
    with raw.info._unlock():
        raw.info["maxshield"] = True
    raw.save(path, overwrite=True, verbose="ERROR")
    events, text = record_warnings(read_bids, study.root)
    assert text == ""
    _, text = record_warnings(lambda: [make_segments(events, tmin=0, tmax=1, margin=0) for _ in range(2)])
    assert text.count("MaxShield") == 1
    np.testing.assert_array_equal(open_recording(path).get_data(), data)
    assert read_recording_extent(str(path)).duration == 40.0
