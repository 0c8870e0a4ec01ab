"""Tests for HDF5 recordings in the layout of LibriBrain."""

import json
import sys

import mne
import numpy as np
import pytest
from helpers.hdf5_files import list_neuromag_sensors, write_hdf5
from helpers.read_files import load_header, load_signal

from sk_b2s.io._raw import _hdf5
from sk_b2s.io._raw._identity import digest_recording_identity, list_recording_identity_files
from sk_b2s.io._raw._read_raw import read_raw

h5py = pytest.importorskip("h5py")


@pytest.fixture
def recording(tmp_path):
    rng = np.random.default_rng(0)
    data = 1e-12 * rng.standard_normal((306, 700)).astype(np.float32)
    return write_hdf5(tmp_path / "Sherlock1/derivatives/serialised/a_meg.h5", data), data


def test_read_hdf5_reads_blocks_of_channels(recording, monkeypatch):
    path, data = recording
    monkeypatch.setattr(_hdf5, "N_READ", 64)
    raw = read_raw(path)
    assert (raw.info["sfreq"], raw.n_times, raw.info["lowpass"]) == (250.0, 700, 125.0)
    assert not raw.preload
    np.testing.assert_array_equal(raw.get_data(), data)
    picks = [300, 2, 17]
    np.testing.assert_array_equal(raw.get_data(picks, 100, 333), data[picks, 100:333])
    other = raw.copy().crop(0.4, 1.6).pick(["MEG0113", "MEG0111"])
    np.testing.assert_array_equal(
        other.get_data(), data[[raw.ch_names.index(n) for n in other.ch_names], 100:401]
    )


def test_read_hdf5_has_types_and_layout(recording):
    path, _ = recording
    raw = read_raw(path)
    assert raw.get_channel_types() == list_neuromag_sensors()[1]
    head = load_header(path)
    sample = mne.channels.read_layout("Vectorview-all")
    assert np.isfinite(head.positions).all()
    assert len(head.positions) == len(sample.names)


def test_epocher_signal_equals_hdf5_samples(recording):
    path, data = recording
    np.testing.assert_allclose(load_signal(path, sfreq=250.0), data.T, rtol=1e-6)


def test_read_hdf5_takes_positions_of_data_set(recording):
    path, data = recording
    before = digest_recording_identity(path)
    places = np.random.default_rng(1).standard_normal((306, 3))
    file = path.parents[3] / "metadata/sensor_xyz.json"
    file.parent.mkdir()
    file.write_text(json.dumps(places.tolist()))
    raw = read_raw(path)
    np.testing.assert_allclose([channel["loc"][:3] for channel in raw.info["chs"]], places)
    assert ("positions", file) in list_recording_identity_files(path)
    assert digest_recording_identity(path) != before
    file.write_text("[[1, 2, 3], 4]")
    with pytest.raises(ValueError, match=r"sensor_xyz\.json' must hold three coordinates"):
        read_raw(path)


def change_file(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


def replace_data(data):
    def change(file):
        del file["data"]
        if data is not None:
            file["data"] = data

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace_data(None), r"must have the dataset 'data' .* Got \['times'\]"),
        (replace_data(np.zeros((2, 3, 4), np.float32)), r"Got float32 \(2, 3, 4\)"),
        (replace_data(np.zeros((3, 4), np.float32)), "each of its 3 channels. Got 306 names and 306 types"),
        (replace_data(np.zeros((306, 0), np.float32)), "Got 250 Hz and 0 samples"),
        (lambda file: file.attrs.pop("sample_frequency"), r"lacks \['sample_frequency'\]"),
        (lambda file: file.attrs.update(channel_types="mag," * 305 + "bone"), "Got .*bone"),
    ],
)  # fmt: skip
def test_read_hdf5_describes_other_layouts(recording, change, message):
    path, _ = recording
    change_file(path, change)
    with pytest.raises(ValueError, match=rf"a_meg\.h5'.*{message}"):
        read_raw(path)


@pytest.mark.parametrize("share", [0.9, 0.01])
def test_read_hdf5_describes_truncated_file(recording, share):
    path, _ = recording
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"a_meg\.h5' cannot be opened: OSError.*Check that it is complete"):
        read_raw(path)


def test_read_hdf5_requires_h5py(recording, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"requires h5py.*pip install 'sk_b2s\[hdf5\]'"):
        read_raw(recording[0])
