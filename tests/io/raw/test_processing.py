"""Tests for filters, resampling, references and interpolation."""

import mne
import numpy as np
import pytest
from helpers.read_files import load_header, load_signal, make_signal

from sk_b2s.io._raw._processing import compute_processed_length, resample_in_processing

SFREQ = 250.0


def make_sine(freq, sfreq, n_times):
    return np.sin(2 * np.pi * freq * np.arange(n_times) / sfreq)


@pytest.mark.parametrize("sfreq_in", [1000.0, 2048.0, 500.0, 256.0])
@pytest.mark.parametrize("freq", [0.5, 10.0, 45.0])
def test_resample_keeps_low_frequencies(sfreq_in, freq):
    n_times = int(20 * sfreq_in)
    out = resample_in_processing(make_sine(freq, sfreq_in, n_times), sfreq_in, 120.0)
    inside = slice(120, -120)
    np.testing.assert_allclose(out[inside], make_sine(freq, 120.0, len(out))[inside], atol=5e-3)


@pytest.mark.parametrize("freq", [63.0, 70.0, 110.0, 119.0, 121.0, 180.0, 400.0])
def test_resample_removes_high_frequencies(freq):
    out = resample_in_processing(make_sine(freq, 1000.0, 20_000), 1000.0, 120.0)[120:-120]
    assert 20 * np.log10(np.abs(out).max()) < -40


@pytest.mark.parametrize(
    ("n_times", "sfreq_in", "sfreq_out"),
    [(10_007, 1000, 120), (2048, 2048, 120), (999, 250, 120), (626, 1250, 100)],
)
def test_compute_processed_length_is_floor(n_times, sfreq_in, sfreq_out):
    data = np.random.default_rng(0).standard_normal((2, n_times))
    expected = n_times * sfreq_out // sfreq_in
    assert compute_processed_length(n_times, sfreq_in, sfreq_out) == expected
    assert resample_in_processing(data, sfreq_in, sfreq_out).shape == (2, expected)
    assert resample_in_processing(data, sfreq_in, sfreq_in) is data


def test_resample_extends_edges():
    np.testing.assert_allclose(resample_in_processing(np.full(5000, 7.0), 1000.0, 120.0), 7.0, rtol=1e-3)


def test_resample_has_no_delay():
    bump = np.exp(-0.5 * ((np.arange(10_000) / 1000 - 4.2) / 0.05) ** 2)
    out = resample_in_processing(bump, 1000.0, 120.0)
    np.testing.assert_allclose(out, np.exp(-0.5 * ((np.arange(1200) / 120 - 4.2) / 0.05) ** 2), atol=1e-3)


EEG_1020 = ["Fp1", "Fp2", "F3", "Fz", "F4", "C3", "Cz", "C4", "P3", "Pz", "P4", "O1", "O2"]


def test_rereference_equals_numpy(save):
    data = make_signal(5)
    path = save(data, names=list("ABCDM"), bads=["B"])
    plain = load_signal(path, sfreq=SFREQ, picks=tuple("ABCD"))
    np.testing.assert_allclose(plain[:, [0, 2, 3]], data[[0, 2, 3]].T, rtol=1e-6)
    average = load_signal(path, sfreq=SFREQ, picks=tuple("ABCD"), reference="average")
    good = data[[0, 2, 3]]
    np.testing.assert_allclose(average[:, [0, 2, 3]], (good - data[[0, 2, 3, 4]].mean(0)).T, atol=1e-11)
    assert (average[:, 1] == 0).all()
    named = load_signal(path, sfreq=SFREQ, picks=tuple("ACD"), reference=("M", "A"))
    np.testing.assert_allclose(named, (good - data[[4, 0]].mean(0)).T, atol=1e-11)


def test_rereference_does_not_depend_on_picks(save):
    """The average is over all good electrodes, without EXG."""
    data = np.concatenate([make_signal(6), 1e-8 * make_signal(1, seed=1)])
    path = save(data, names=["A", "B", "C", "D", "EXG1", "E", "M"], types=["eeg"] * 6 + ["mag"], bads=["D"])
    raw = mne.io.read_raw(path, preload=True, verbose="ERROR").drop_channels(["EXG1"])
    by_mne = raw.set_eeg_reference("average", verbose="ERROR").get_data(picks=["C", "A"])
    picked = load_signal(path, sfreq=SFREQ, picks=("C", "A"), reference="average")
    np.testing.assert_allclose(picked, by_mne.T, atol=1e-11)
    whole, names = load_signal(path, reference="average"), load_header(path).ch_names
    for picks in (("C", "A"), ("A",), ("D", "E", "M")):
        index = [names.index(name) for name in picks]
        some = load_signal(path, picks=picks, reference="average")
        np.testing.assert_allclose(some, whole[:, index], rtol=0, atol=1e-12)


def test_rereference_skips_magnetic_sensors(save):
    data = np.concatenate([make_signal(3), 1e-8 * make_signal(2, seed=1)])
    path = save(data, types=["eeg"] * 3 + ["mag"] * 2)
    out = load_signal(path, sfreq=SFREQ, reference="average")
    np.testing.assert_allclose(out[:, :3], (data[:3] - data[:3].mean(0)).T, atol=1e-11)
    np.testing.assert_allclose(out[:, 3:], data[3:].T, rtol=1e-6)
    alone = load_signal(path, sfreq=SFREQ, picks="mag", reference="average")
    np.testing.assert_array_equal(alone, load_signal(path, sfreq=SFREQ, picks="mag"))
    with pytest.raises(ValueError, match="no good electric channel .* Use reference=None"):
        load_signal(path, sfreq=SFREQ, picks="mag", reference=("E3",))
    bad = save(data[:3], bads=["E0", "E1", "E2"], name="bad_raw.fif")
    with pytest.raises(ValueError, match="no good electric channel"):
        load_signal(bad, sfreq=SFREQ, reference="average")


@pytest.mark.parametrize("phase", ["zero", "minimum"])
def test_process_filters_bands(save, phase):
    n_times = 15_000
    data = 1e-5 * np.stack([make_sine(f, SFREQ, n_times) for f in (0.05, 10.0, 50.0, 35.0)])
    path = save(data)
    rms = (
        load_signal(path, sfreq=SFREQ, l_freq=1.0, notch=(50.0,), h_freq=30.0, phase=phase)[2500:-2500].std(0)
        / 1e-5
    )
    assert rms[1] == pytest.approx(0.5**0.5, rel=0.02)
    assert (rms[[0, 2]] < 0.02).all()
    assert (load_signal(path, sfreq=SFREQ, notch=(50.0,))[2500:-2500, 2].std()) < 1e-7


def test_interpolate_equals_mne(save):
    sources = make_signal(2, seed=3)
    info = mne.create_info(EEG_1020, SFREQ, "eeg")
    info.set_montage("easycap-M1")
    place = np.array([channel["loc"][:3] for channel in info["chs"]])
    data = place[:, :2] @ sources / 0.1  # a smooth field
    broken = data.copy()
    broken[5] = 1e-3 * np.random.default_rng(0).standard_normal(5000)
    path = save(broken, names=EEG_1020, montage="easycap-M1", bads=["C3"])
    masked = load_signal(path, sfreq=SFREQ)
    assert (masked[:, 5] == 0).all()
    others = np.arange(13) != 5
    np.testing.assert_allclose(masked[:, others], data[others].T, rtol=1e-5)
    interpolated = load_signal(path, sfreq=SFREQ, bads="interpolate")
    np.testing.assert_array_equal(interpolated[:, others], masked[:, others])
    assert np.corrcoef(interpolated[:, 5], data[5])[0, 1] > 0.95
    by_mne = mne.io.read_raw(path, preload=True, verbose="ERROR").interpolate_bads(verbose="ERROR")
    np.testing.assert_allclose(interpolated[:, 5], by_mne.get_data()[5], rtol=1e-4, atol=1e-10)
    with pytest.raises(ValueError, match="no position for the bad channels .*E1.*montage="):
        load_signal(save(make_signal(), bads=["E1"], name="y_raw.fif"), sfreq=SFREQ, bads="interpolate")


def test_interpolate_reads_real_meg(data_folder):
    path = data_folder / "formats/ctf/somMDYO-18av.ds"
    head, interpolated, masked = load_header(path), load_signal(path, bads="interpolate"), load_signal(path)
    bad = np.isin(head.ch_names, head.bads)
    assert bad.sum() == 7
    np.testing.assert_array_equal(interpolated[:, ~bad], masked[:, ~bad])
    ratio = interpolated[:, bad].std(0) / np.median(interpolated[:, ~bad].std(0))
    assert ((ratio > 0.1) & (ratio < 10)).all()


def test_interpolate_refuses_maxshield(data_folder, tmp_path):
    source = mne.io.read_raw(data_folder / "formats/kit/test.sqd", preload=True, verbose="ERROR")
    source.info["bads"] = ["MEG 001"]
    with source.info._unlock():
        source.info["maxshield"] = True
    source.save(tmp_path / "a_raw.fif", verbose="ERROR")
    with pytest.raises(ValueError, match=r"acquired with MaxShield.*wrongly in MEG 001.*maxwell_filter"):
        load_header(tmp_path / "a_raw.fif", bads="interpolate")
    assert "MEG 001" in load_header(tmp_path / "a_raw.fif").bads
