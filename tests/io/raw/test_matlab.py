"""Tests for recordings in MATLAB files."""

import mne
import numpy as np
import pytest
from helpers.read_files import load_header, load_signal, make_noise
from scipy.io import savemat

from sk_b2s.io._raw._read_raw import read_raw
from sk_b2s.io._raw._recordings import read_recording_duration_and_bads
from sk_b2s.io._sensors import project_sensors

SFREQ = 500.0

MICROVOLT = 1e-6


def test_read_matlab_fieldtrip_reads_brennan_struct(fieldtrip):
    data = 10 * make_noise(62)
    path = fieldtrip(data=data)
    head = load_header(path)
    assert (len(head.ch_names), head.sfreq, head.n_times) == (60, SFREQ, 2000)
    assert {"VEOG", "AUD", "29"}.isdisjoint(head.ch_names)
    np.testing.assert_allclose(load_signal(path, sfreq=SFREQ), data[:60].T * MICROVOLT, rtol=1e-6)
    assert read_recording_duration_and_bads(path)[0] == 4.0
    place = dict(zip(head.ch_names, head.positions, strict=True))
    cap = mne.create_info(list(head.ch_names), SFREQ, "eeg").set_montage("easycap-M10")
    np.testing.assert_array_equal(head.positions, project_sensors(cap, head.ch_names))
    assert np.linalg.norm(place["1"] - 0.5) < 0.05  # the vertex


@pytest.mark.parametrize(("unit", "volt"), [("uV", 1e-6), ("mV", 1e-3), ("V", 1.0), ("unknown", 1e-6)])
def test_read_matlab_fieldtrip_converts_units(fieldtrip, unit, volt):
    path = fieldtrip(["Cz", "Pz"], header={"chanunit": [unit] * 2})
    np.testing.assert_allclose(load_signal(path, sfreq=SFREQ), 10 * make_noise(2).T * volt, rtol=1e-6)


def test_read_matlab_fieldtrip_reads_positions(fieldtrip):
    place = {"Cz": [0, 0, 140.0], "Left": [-85.0, 0, 40]}
    elec = {"label": np.array([*place], object), "chanpos": np.array([*place.values()]), "unit": "mm"}
    head = load_header(fieldtrip(["Cz", "Left"], elec=elec))
    np.testing.assert_allclose(head.positions[0], [0.5, 0.5], atol=1e-6)
    assert head.positions[1, 0] < 0.2
    assert head.positions[1, 1] == pytest.approx(0.5)


def test_read_matlab_fieldtrip_reads_tesla(fieldtrip):
    fields = {"chantype": ["meggrad", "trigger"], "chanunit": ["fT", "unknown"]}
    path = fieldtrip(["MLC11", "UPPT001"], header=fields)
    assert load_header(path).ch_names == ("MLC11",)
    np.testing.assert_allclose(load_signal(path, sfreq=SFREQ)[:, 0], 1e-14 * make_noise(2)[0], rtol=1e-6)


def test_read_matlab_fieldtrip_joins_contiguous_trials(fieldtrip):
    trials = np.empty(2, object)
    trials[:] = [make_noise(2)[:, :900], make_noise(2)[:, 900:]]
    path = fieldtrip(["Cz", "Pz"], trials, sampleinfo=np.array([[1, 900], [901, 2000]]))
    np.testing.assert_allclose(load_signal(path, sfreq=SFREQ), make_noise(2).T * MICROVOLT, rtol=1e-6)
    with pytest.raises(ValueError, match="2 trials with gaps between them"):
        read_raw(fieldtrip(["Cz", "Pz"], trials, sampleinfo=np.array([[1, 900], [1001, 2100]])))


def test_read_matlab_fieldtrip_names_missing_fields(fieldtrip, tmp_path):
    with pytest.raises(ValueError, match="unit must be one of V, mV.*Got 'furlong'"):
        read_raw(fieldtrip(["Cz"], header={"chanunit": ["furlong"]}))
    with pytest.raises(ValueError, match="'fsample' and 'hdr.Fs' are missing"):
        read_raw(fieldtrip(["Cz"], header={"Fs": None}, fsample=None, hdr={"label": ["Cz"]}))
    savemat(tmp_path / "other.mat", {"x": np.zeros(3)})
    with pytest.raises(ValueError, match=r"one FieldTrip struct .* It holds \['x'\]"):
        read_raw(tmp_path / "other.mat")


@pytest.mark.parametrize("source", ["grad", "names"])
def test_read_matlab_fieldtrip_defaults_to_tesla(tmp_path, source):
    """Old FieldTrip files have neither types nor units."""
    names = ["MLC11", "MRC12"] if source == "names" else ["A1", "A2"]
    data = 1e-13 * np.random.default_rng(0).standard_normal((2, 500))
    struct = {
        "label": np.array([*names, "EEG057"], object),
        "fsample": 100.0,
        "trial": np.concatenate([data, 1e14 * data[:1]]),
    }
    if source == "grad":
        struct["grad"] = {"label": np.array(names, object), "chanpos": np.zeros((2, 3)), "unit": "cm"}
    savemat(tmp_path / "x.mat", {"data": struct})
    raw = read_raw(tmp_path / "x.mat")
    assert raw.get_channel_types() == ["mag", "mag", "eeg"]
    np.testing.assert_allclose(raw.get_data()[:2], data)
    np.testing.assert_allclose(raw.get_data()[2], 1e8 * data[0])


def test_read_matlab_broderick_reads_variables(tmp_path):
    data, mastoids = 20 * make_noise(128), 20 * make_noise(2) + 3
    path = tmp_path / "Subject1_Run1.mat"
    savemat(path, {"eegData": data.T, "mastoids": mastoids.T, "fs": [[128]]})
    head = load_header(path, sfreq=128.0)
    assert head.ch_names[0] == "A1"
    assert head.ch_names[-1] == "D32"
    assert (len(head.ch_names), head.sfreq) == (128, 128.0)
    assert np.isfinite(head.positions).all()
    np.testing.assert_allclose(load_signal(path, sfreq=128.0), data.T * MICROVOLT, rtol=1e-6)
    referenced = load_signal(path, sfreq=128.0, reference=("M1", "M2"))
    np.testing.assert_allclose(referenced, (data - mastoids.mean(0)).T * MICROVOLT, atol=1e-11)
    savemat(path, {"eegData": data[:64].T, "fs": [[128]]})
    with pytest.raises(ValueError, match=r"eegData must be \(n_times, 128\), got \(2000, 64\)"):
        read_raw(path)
    savemat(path, {"eegData": 1e-6 * data.T, "fs": [[128]]})
    with pytest.raises(
        ValueError, match=r"must be in microvolts, but its channels have a standard deviation of 2e-05"
    ):
        read_raw(path)
