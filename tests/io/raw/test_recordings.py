"""Recordings are read as their files say, in every format at hand."""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import mne
import numpy as np
import pytest

from sk_b2s.datasets.simulated._head import make_sensors
from sk_b2s.io._raw._identity import recording_stamp
from sk_b2s.io._raw._open import read_raw
from sk_b2s.io._raw._processing import resample, resampled_length
from sk_b2s.io._raw._recordings import Processing, read_header, read_signal, recording_extent
from sk_b2s.io._sensors import montage_key, pick_channels, sensor_positions

SFREQ = 250.0
EEG_1020 = ["Fp1", "Fp2", "F3", "Fz", "F4", "C3", "Cz", "C4", "P3", "Pz", "P4", "O1", "O2"]


def header(path, **processing):
    return read_header(str(path), recording_stamp(path), Processing(**processing))


def signal(path, **processing):
    return read_signal(str(path), recording_stamp(path), Processing(**processing))


@pytest.fixture
def save(tmp_path):
    """Write a FIF file: (data, names, types, ...) -> path."""

    def write(
        data, names=None, types="eeg", sfreq=SFREQ, name="x_raw.fif", montage=None, bads=(), first_samp=0
    ):
        names = [f"E{i}" for i in range(len(data))] if names is None else names
        raw = mne.io.RawArray(
            data, mne.create_info(names, sfreq, types), first_samp=first_samp, verbose="ERROR"
        )
        if montage is not None:
            raw.set_montage(montage)
        raw.info["bads"] = list(bads)
        raw.save(tmp_path / name, overwrite=True, verbose="ERROR", fmt="double")
        return tmp_path / name

    return write


def noise(n_channels=3, n_times=5000, seed=0):
    return 1e-5 * np.random.default_rng(seed).standard_normal((n_channels, n_times))


# --- resampling ------------------------------------------------------------------------------------


def sine(freq, sfreq, n_times):
    return np.sin(2 * np.pi * freq * np.arange(n_times) / sfreq)


@pytest.mark.parametrize("sfreq_in", [1000.0, 2048.0, 500.0, 256.0])
@pytest.mark.parametrize("freq", [0.5, 10.0, 45.0])
def test_a_sine_below_the_cut_stays_itself(sfreq_in, freq):
    n_times = int(20 * sfreq_in)
    out = resample(sine(freq, sfreq_in, n_times), sfreq_in, 120.0)
    inside = slice(120, -120)
    np.testing.assert_allclose(out[inside], sine(freq, 120.0, len(out))[inside], atol=5e-3)


@pytest.mark.parametrize("freq", [63.0, 70.0, 110.0, 119.0, 121.0, 180.0, 400.0])
def test_a_sine_above_the_new_nyquist_is_gone(freq):
    out = resample(sine(freq, 1000.0, 20_000), 1000.0, 120.0)[120:-120]
    assert 20 * np.log10(np.abs(out).max()) < -40


@pytest.mark.parametrize(
    ("n_times", "sfreq_in", "sfreq_out"),
    [(10_007, 1000, 120), (2048, 2048, 120), (999, 250, 120), (626, 1250, 100)],
)
def test_length_is_the_floor(n_times, sfreq_in, sfreq_out):
    data = np.random.default_rng(0).standard_normal((2, n_times))
    expected = n_times * sfreq_out // sfreq_in
    assert resampled_length(n_times, sfreq_in, sfreq_out) == expected
    assert resample(data, sfreq_in, sfreq_out).shape == (2, expected)
    assert resample(data, sfreq_in, sfreq_in) is data


def test_edges_are_continued():
    np.testing.assert_allclose(resample(np.full(5000, 7.0), 1000.0, 120.0), 7.0, rtol=1e-3)


def test_resampling_shifts_nothing():
    bump = np.exp(-0.5 * ((np.arange(10_000) / 1000 - 4.2) / 0.05) ** 2)
    out = resample(bump, 1000.0, 120.0)
    np.testing.assert_allclose(out, np.exp(-0.5 * ((np.arange(1200) / 120 - 4.2) / 0.05) ** 2), atol=1e-3)


# --- real files ------------------------------------------------------------------------------------

FORMATS = {
    "test.bdf": (66, 2048.0, 2048),
    "brainvision/test.vhdr": (26, 1000.0, 7900),
    "kit/test.sqd": (157, 1000.0, 2000),
    "kit/test_umd-raw.sqd": (157, 1000.0, 100),
    "ctf/somMDYO-18av.ds": (151, 1250.0, 626),
}


@pytest.mark.parametrize("file", FORMATS)
def test_real_files_are_read(data_folder, file):
    path = data_folder / "formats" / file
    n_channels, sfreq, n_times = FORMATS[file]
    head, data = header(path), signal(path)
    assert (len(head.ch_names), head.sfreq, head.n_times) == (n_channels, sfreq, n_times)
    assert data.shape == (int(n_times * 120 // sfreq), n_channels)
    assert data.dtype == np.float32
    assert data.flags.c_contiguous
    assert np.isfinite(data).all()
    raw = read_raw(path)
    types = set(raw.get_channel_types(picks=list(head.ch_names)))
    assert types == ({"eeg"} if n_channels < 100 else {"mag"}), "no reference, trigger or misc channel"
    good = [name not in head.bads for name in head.ch_names]
    assert (data[:, good].std(0) > 0).all()
    assert (data[:, np.logical_not(good)] == 0).all()


@pytest.mark.parametrize("file", [file for file in FORMATS if file.startswith("kit")])
def test_meg_positions_are_those_of_the_shipped_layout(data_folder, file):
    path = data_folder / "formats" / file
    positions = header(path).positions
    assert closest(positions) > 0.01
    raw = mne.io.read_raw(path, verbose="ERROR")
    layout = mne.channels.find_layout(raw.info, exclude=())
    by_mne = dict(zip(layout.names, layout.pos[:, :2], strict=True))
    by_mne = np.array([by_mne[name] for name in header(path).ch_names])
    expected = (by_mne - by_mne[0]) / np.ptp(layout.pos[:, :2], axis=0)
    np.testing.assert_allclose(positions - positions[0], expected, atol=1e-12)
    assert (positions.min(0) >= 0).all()
    assert (positions.max(0) <= 1).all()


def test_sensors_of_a_system_without_a_layout_are_seen_from_above(data_folder):
    """MNE offers the layout of CTF's 275 sensors for its 151, of which it lacks seven."""
    head = header(data_folder / "formats/ctf/somMDYO-18av.ds")
    assert closest(head.positions) > 0.03
    left, right = (np.char.startswith(head.ch_names, side) for side in ("ML", "MR"))
    assert head.positions[left, 0].max() < 0.5 < head.positions[right, 0].min()


@pytest.mark.parametrize(
    ("file", "montage"), [("test.bdf", "biosemi64"), ("brainvision/test.vhdr", "easycap-M1")]
)
def test_a_montage_gives_eeg_its_places(data_folder, file, montage):
    path = data_folder / "formats" / file
    bare, head = header(path), header(path, montage=montage)
    assert np.isnan(bare.positions).all()
    assert bare.ch_names == head.ch_names
    place = dict(zip(map(str.upper, head.ch_names), head.positions, strict=True))
    for left, right in [("FP1", "FP2"), ("C3", "C4"), ("O1", "O2")]:
        assert place[left][0] < 0.5 < place[right][0]
        assert place[left][1] == pytest.approx(place[right][1], abs=0.03)
    assert place["FP1"][1] > place["C3"][1] > place["O1"][1]
    known = head.positions[np.isfinite(head.positions).all(1)]
    assert closest(known) > 0.01


def test_exg_and_status_are_never_taken_for_eeg(data_folder):
    path = data_folder / "formats/test.bdf"
    raw = mne.io.read_raw(path, verbose="ERROR")
    assert {"EXG1", "REOG", "LEOG", "IEOG", "EXG5", "EXG8", "Status"} <= set(raw.ch_names)
    for picks in (None, "eeg", ("eeg",)):
        names = pick_channels(raw, picks)
        assert not {"EXG1", "REOG", "LEOG", "IEOG", "EXG5", "EXG8", "Status"} & set(names)
    assert pick_channels(raw, ("EXG1", "Fp1")) == ["EXG1", "Fp1"], "unless they are named"


# --- places ----------------------------------------------------------------------------------------


def closest(positions):
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    return distance[~np.eye(len(positions), dtype=bool)].min()


def helmet(sensors):
    """Make an Info with sensors at places over a sphere: sensors(radial, down, around) -> [(type, coil, ex, ez)]."""
    names, types, locs = [], [], []
    for i, (phi, theta) in enumerate(
        zip(np.linspace(0, 5 * np.pi, 30), np.linspace(0.0, 1.7, 30), strict=True)
    ):
        radial = np.array([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])
        down = np.array([np.cos(theta) * np.cos(phi), np.cos(theta) * np.sin(phi), -np.sin(theta)])
        for j, (kind, coil, ex, ez) in enumerate(sensors(radial, down, np.cross(radial, down))):
            names.append(f"S{i:02d}{j}")
            types.append(kind)
            locs.append((np.r_[0.1 * radial, ex, np.cross(ez, ex), ez], coil))
    info = mne.create_info(names, 1000.0, types)
    for channel, (loc, coil) in zip(info["chs"], locs, strict=True):
        channel["loc"][:], channel["coil_type"] = loc, coil
    return info


def neuromag(radial, down, around):
    planar, magnetometer = mne._fiff.constants.FIFF.FIFFV_COIL_VV_PLANAR_T1, 3024
    return [
        ("grad", planar, down, radial),
        ("grad", planar, around, radial),
        ("mag", magnetometer, down, radial),
    ]


def triaxial(radial, down, around):
    return [("mag", 8101, down, radial), ("mag", 8101, around, down), ("mag", 8101, radial, around)]


def tilted(radial, down, around):
    """Turn the triaxial sensor by 45 degrees, where two directions look alike from above."""
    one, two = (radial + down) / 2**0.5, (radial - down) / 2**0.5
    return [("mag", 8101, around, one), ("mag", 8101, around, two), ("mag", 8101, one, around)]


@pytest.mark.parametrize("sensors", [neuromag, triaxial, tilted])
def test_sensors_at_one_place_are_set_apart(sensors):
    info = helmet(sensors)
    positions = sensor_positions(info, info["ch_names"])
    together = positions.reshape(30, 3, 2)
    assert min(map(closest, together)) > 0.01
    assert np.linalg.norm(together - together.mean(1, keepdims=True), axis=-1).max() < 0.03
    alone = sensor_positions(info, info["ch_names"][2::3])
    np.testing.assert_array_equal(alone, together[:, 2])


def test_electrodes_beside_magnetometers_keep_a_place():
    info = helmet(
        lambda radial, down, around: [("mag", 3024, down, radial), ("eeg", 1, 0 * down, 0 * radial)]
    )
    assert np.isfinite(sensor_positions(info, info["ch_names"])).all()


def test_unknown_places_are_nan_and_one_sensor_has_a_place():
    info = mne.create_info(EEG_1020, SFREQ, "eeg")
    assert np.isnan(sensor_positions(info, EEG_1020)).all()
    info.set_montage("easycap-M1")
    assert np.isfinite(sensor_positions(info, ["Cz"])).all()
    info["chs"][3]["loc"][:3] = np.nan
    positions = sensor_positions(info, EEG_1020)
    assert np.flatnonzero(np.isnan(positions).any(1)).tolist() == [3]
    np.testing.assert_array_equal(positions[4], sensor_positions(info, ["F4"])[0])


CAPS = ["biosemi16", "biosemi64", "biosemi256", "easycap-M10", "easycap-M43", "GSN-HydroCel-256"]
CAPS += [name for name in mne.channels.get_builtin_montages() if name.endswith("_1005")][:1]


def cap(name, leave_out=()):
    montage = mne.channels.make_standard_montage(name)
    info = mne.create_info([n for n in montage.ch_names if n not in leave_out], SFREQ, "eeg")
    return info.set_montage(montage)


def sites():
    """Every kind of sensors: a name and its Info."""
    yield from ((name, cap(name)) for name in CAPS)
    yield from ((sensors.__name__, helmet(sensors)) for sensors in (neuromag, triaxial, tilted))
    yield "simulated", make_sensors("meg", 208, SFREQ)[0]


@pytest.mark.parametrize(("name", "info"), list(sites()), ids=lambda p: p if isinstance(p, str) else "")
def test_no_sensor_moves_another(name, info):
    """The place of a sensor is its own, whether the others are picked, in the file, or not."""
    names = np.array(info["ch_names"])
    whole = sensor_positions(info, names)
    assert ((whole >= 0) & (whole <= 1)).all()
    for some in (np.arange(len(names)) % 3 == 0, whole[:, 1] > 0.5, np.arange(len(names)) == 5):
        np.testing.assert_array_equal(sensor_positions(info, names[some]), whole[some])
        file = mne.pick_info(info, np.flatnonzero(some), verbose="ERROR")
        np.testing.assert_array_equal(sensor_positions(file, file["ch_names"]), whole[some])


@pytest.mark.parametrize("file", [file for file in FORMATS if file.startswith(("kit", "ctf"))])
def test_no_sensor_moves_another_in_a_shipped_layout(data_folder, file):
    head = header(data_folder / "formats" / file)
    some = header(data_folder / "formats" / file, picks=head.ch_names[10:60:7])
    np.testing.assert_array_equal(some.positions, head.positions[10:60:7])


def test_caps_of_one_system_agree_and_a_cap_may_lack_a_channel():
    small, large = cap("biosemi16"), cap("biosemi64")
    np.testing.assert_allclose(
        sensor_positions(small, small["ch_names"]), sensor_positions(large, small["ch_names"]), atol=1e-3
    )
    lacking = cap("biosemi64", leave_out=["Iz"])
    np.testing.assert_array_equal(
        sensor_positions(lacking, lacking["ch_names"]), sensor_positions(large, lacking["ch_names"])
    )


def test_equal_areas_of_the_head_stay_equal():
    """Archimedes: of a sphere, the cap above each height z has the area 2 pi (1 - z), so has its disc."""
    info = mne.create_info(["A", "B", "C"], SFREQ, "eeg")
    for channel, z in zip(info["chs"], (0.9, 0.2, -0.6), strict=True):
        channel["loc"][:3] = 0.1 * np.array([0, np.sqrt(1 - z**2), z]) + [0, 0, 0.04]
    radius = np.linalg.norm(sensor_positions(info, list("ABC")) - 0.5, axis=1)
    np.testing.assert_allclose(np.pi * radius**2 / (np.pi / 4), [0.05, 0.4, 0.8], rtol=1e-6)


def test_two_electrodes_at_one_place_share_it():
    info = mne.create_info(["Fz", "Cz", "Pz", "C3"], SFREQ, "eeg")
    info.set_montage("easycap-M1")
    info["chs"][3]["loc"][:] = info["chs"][1]["loc"]
    positions = sensor_positions(info, info["ch_names"])
    np.testing.assert_array_equal(positions[3], positions[1])


# --- what is done to the samples -------------------------------------------------------------------


def test_references_are_those_of_numpy(save):
    data = noise(5)
    path = save(data, names=list("ABCDM"), bads=["B"])
    plain = signal(path, sfreq=SFREQ, picks=tuple("ABCD"))
    np.testing.assert_allclose(plain[:, [0, 2, 3]], data[[0, 2, 3]].T, rtol=1e-6)
    average = signal(path, sfreq=SFREQ, picks=tuple("ABCD"), reference="average")
    good = data[[0, 2, 3]]
    np.testing.assert_allclose(average[:, [0, 2, 3]], (good - data[[0, 2, 3, 4]].mean(0)).T, atol=1e-11)
    assert (average[:, 1] == 0).all()
    named = signal(path, sfreq=SFREQ, picks=tuple("ACD"), reference=("M", "A"))
    np.testing.assert_allclose(named, (good - data[[4, 0]].mean(0)).T, atol=1e-11)


def test_picking_after_the_average_is_picking_before(save):
    """The average is of all good electrodes, never of EXG, whatever is picked."""
    data = np.concatenate([noise(6), 1e-8 * noise(1, seed=1)])
    path = save(data, names=["A", "B", "C", "D", "EXG1", "E", "M"], types=["eeg"] * 6 + ["mag"], bads=["D"])
    raw = mne.io.read_raw(path, preload=True, verbose="ERROR").drop_channels(["EXG1"])
    by_mne = raw.set_eeg_reference("average", verbose="ERROR").get_data(picks=["C", "A"])
    picked = signal(path, sfreq=SFREQ, picks=("C", "A"), reference="average")
    np.testing.assert_allclose(picked, by_mne.T, atol=1e-11)
    whole, names = signal(path, reference="average"), header(path).ch_names
    for picks in (("C", "A"), ("A",), ("D", "E", "M")):
        index = [names.index(name) for name in picks]
        some = signal(path, picks=picks, reference="average")
        np.testing.assert_allclose(some, whole[:, index], rtol=0, atol=1e-12)


def test_channels_come_in_the_order_asked(save):
    data = noise(4)
    path = save(data, names=list("ABCD"))
    assert header(path, picks=("D", "A"), sfreq=SFREQ).ch_names == ("D", "A")
    np.testing.assert_allclose(signal(path, picks=("D", "A"), sfreq=SFREQ), data[[3, 0]].T, rtol=1e-6)


def test_groups_of_channels_change_nothing(save, monkeypatch):
    path = save(noise(7))
    options = {"reference": "average", "l_freq": 1.0, "h_freq": 40.0, "notch": (50.0,)}
    whole = signal(path, **options)
    monkeypatch.setattr("sk_b2s.io._raw._recordings.CHUNK_BYTES", 2 * 8 * 5000)
    np.testing.assert_array_equal(signal(path, **options), whole)


def test_magnetic_sensors_are_not_referenced(save):
    data = np.concatenate([noise(3), 1e-8 * noise(2, seed=1)])
    path = save(data, types=["eeg"] * 3 + ["mag"] * 2)
    out = signal(path, sfreq=SFREQ, reference="average")
    np.testing.assert_allclose(out[:, :3], (data[:3] - data[:3].mean(0)).T, atol=1e-11)
    np.testing.assert_allclose(out[:, 3:], data[3:].T, rtol=1e-6)
    alone = signal(path, sfreq=SFREQ, picks="mag", reference="average")
    np.testing.assert_array_equal(alone, signal(path, sfreq=SFREQ, picks="mag"))
    with pytest.raises(ValueError, match="no good electric channel .* use reference=None"):
        signal(path, sfreq=SFREQ, picks="mag", reference=("E3",))
    bad = save(data[:3], bads=["E0", "E1", "E2"], name="bad_raw.fif")
    with pytest.raises(ValueError, match="no good electric channel"):
        signal(bad, sfreq=SFREQ, reference="average")


@pytest.mark.parametrize("phase", ["zero", "minimum"])
def test_filters_keep_what_they_should(save, phase):
    n_times = 15_000
    data = 1e-5 * np.stack([sine(f, SFREQ, n_times) for f in (0.05, 10.0, 50.0, 35.0)])
    path = save(data)
    rms = (
        signal(path, sfreq=SFREQ, l_freq=1.0, notch=(50.0,), h_freq=30.0, phase=phase)[2500:-2500].std(0)
        / 1e-5
    )
    assert rms[1] == pytest.approx(0.5**0.5, rel=0.02)
    assert (rms[[0, 2]] < 0.02).all()
    assert (signal(path, sfreq=SFREQ, notch=(50.0,))[2500:-2500, 2].std()) < 1e-7


def test_bads_are_masked_or_interpolated(save):
    sources = noise(2, seed=3)
    info = mne.create_info(EEG_1020, SFREQ, "eeg")
    info.set_montage("easycap-M1")
    place = np.array([channel["loc"][:3] for channel in info["chs"]])
    data = place[:, :2] @ sources / 0.1  # a smooth field
    broken = data.copy()
    broken[5] = 1e-3 * np.random.default_rng(0).standard_normal(5000)
    path = save(broken, names=EEG_1020, montage="easycap-M1", bads=["C3"])
    masked = signal(path, sfreq=SFREQ)
    assert (masked[:, 5] == 0).all()
    others = np.arange(13) != 5
    np.testing.assert_allclose(masked[:, others], data[others].T, rtol=1e-5)
    mended = signal(path, sfreq=SFREQ, bads="interpolate")
    np.testing.assert_array_equal(mended[:, others], masked[:, others])
    assert np.corrcoef(mended[:, 5], data[5])[0, 1] > 0.95
    by_mne = mne.io.read_raw(path, preload=True, verbose="ERROR").interpolate_bads(verbose="ERROR")
    np.testing.assert_allclose(mended[:, 5], by_mne.get_data()[5], rtol=1e-4, atol=1e-10)
    with pytest.raises(ValueError, match="no position for the bad channels .*E1.*montage="):
        signal(save(noise(), bads=["E1"], name="y_raw.fif"), sfreq=SFREQ, bads="interpolate")


def test_real_bad_meg_channels_are_interpolated(data_folder):
    path = data_folder / "formats/ctf/somMDYO-18av.ds"
    head, mended, masked = header(path), signal(path, bads="interpolate"), signal(path)
    bad = np.isin(head.ch_names, head.bads)
    assert bad.sum() == 7
    np.testing.assert_array_equal(mended[:, ~bad], masked[:, ~bad])
    ratio = mended[:, bad].std(0) / np.median(mended[:, ~bad].std(0))
    assert ((ratio > 0.1) & (ratio < 10)).all()


def test_a_nan_is_named_by_channel_and_time(save):
    data = noise()
    data[1, 1234] = np.nan
    data[2, 4000:4003] = np.inf
    path = save(data)
    with pytest.raises(ValueError, match=r"'x_raw.fif' holds 4 NaN or infinite .* channel 'E1' at 4\.936 s"):
        signal(path)
    assert np.isfinite(signal(path, picks=("E0",))).all()


@pytest.mark.parametrize("reference", [None, "average"])
def test_what_a_bad_channel_holds_does_not_matter(save, reference):
    data = noise()
    clean = signal(save(data, bads=["E1"]), reference=reference)
    data[1, :77] = np.nan
    np.testing.assert_array_equal(signal(save(data, bads=["E1"]), reference=reference), clean)
    with pytest.raises(ValueError, match="channel 'E1' at 0.000 s"):
        signal(save(data, bads=["E1"]), reference=("E1",))


def test_errors_name_the_way_out(save, tmp_path):
    path = save(noise(), names=["Fz", "Cz", "Pz"])
    with pytest.raises(
        FileNotFoundError, match=r"recording '.*none.fif' does not exist; the column 'recording'"
    ):
        header(tmp_path / "none.fif")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        recording_extent(tmp_path / "none.fif")
    with pytest.raises(ValueError, match=r"sfreq=500 Hz is above the 250 Hz of .*take Epocher\(sfreq=250\)"):
        header(path, sfreq=500.0)
    with pytest.raises(ValueError, match=r"picks=\('Cz', 'Oz'\) names .* it has Fz, Cz, Pz"):
        header(path, picks=("Cz", "Oz"))
    with pytest.raises(ValueError, match=r"picks='mag' names"):
        header(path, picks="mag")
    with pytest.raises(
        ValueError, match=r"reference=\['M1'\]: recording 'x_raw.fif' has no channel \['M1'\]"
    ):
        signal(path, reference=("M1",))
    with pytest.raises(ValueError, match="has no EEG or MEG channel; name channels by picks="):
        header(save(noise(), types="misc", name="m_raw.fif"))
    with pytest.raises(TypeError, match="raw_hook must return the mne Raw .* got NoneType"):
        header(path, raw_hook=lambda raw: None)


def test_a_hook_comes_before_everything(save):
    data = noise()
    path = save(data)
    renamed = {"raw_hook": lambda raw: raw.rename_channels({"E0": "first"}), "sfreq": SFREQ}
    assert header(path, **renamed).ch_names == ("first", "E1", "E2")
    made = mne.io.RawArray(2 * data, mne.create_info(3, SFREQ, "eeg"), verbose="ERROR")
    np.testing.assert_allclose(signal(path, raw_hook=lambda raw: made, sfreq=SFREQ), 2 * data.T, rtol=1e-6)


# --- annotations and change ------------------------------------------------------------------------


@pytest.mark.parametrize("dated", [True, False])
@pytest.mark.parametrize("first_samp", [0, 500])
@pytest.mark.parametrize("cropped", [True, False])
def test_bad_stretches_lie_where_they_were_marked(tmp_path, dated, first_samp, cropped):
    data = noise()
    data[:, 1000:1250] += 1.0  # the artifact itself, from 4 to 5 s
    raw = mne.io.RawArray(data, mne.create_info(3, SFREQ, "eeg"), first_samp=first_samp, verbose="ERROR")
    if dated:
        raw.set_meas_date(datetime(2020, 1, 1, tzinfo=UTC))
    raw.set_annotations(mne.Annotations([4.0, 9.0], [1.0, 0.5], ["BAD_jump", "nice"]))
    if cropped:
        raw.crop(tmin=2.0)
    path = tmp_path / "x_raw.fif"
    raw.save(path, verbose="ERROR")
    duration, ((onset, length),) = recording_extent(path)
    assert duration == pytest.approx(18.0 if cropped else 20.0)
    assert length == pytest.approx(1.0)
    jump = signal(path, sfreq=SFREQ)[:, 0] > 0.5
    np.testing.assert_allclose([onset, onset + length], np.flatnonzero(np.diff(jump) != 0) / SFREQ, atol=0.01)


def copy_formats(data_folder, name, folder):
    return Path(shutil.copytree(data_folder / "formats" / name, folder))


def test_recording_stamp_depends_on_content_alone(tmp_path, save):
    path = save(noise(4))
    state, before = path.stat(), recording_stamp(path)
    (copy := tmp_path / "other" / "name_raw.fif").parent.mkdir()
    copy.write_bytes(path.read_bytes())
    os.utime(copy, ns=(1, 1))
    assert recording_stamp(copy) == before
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # one bit of one sample
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_size == state.st_size
    assert recording_stamp(path) != before
    path.write_bytes(copy.read_bytes())
    assert recording_stamp(path) == before
    assert recording_stamp(tmp_path / "absent.fif") == ""


def test_recording_stamp_counts_files_of_a_header(tmp_path, data_folder):
    folder = copy_formats(data_folder, "brainvision", tmp_path / "one")
    renamed = copy_formats(data_folder, "brainvision", tmp_path / "two")
    (renamed / "test.eeg").rename(renamed / "samples.bin")
    header = renamed / "test.vhdr"
    header.write_text(header.read_text().replace("test.eeg", "samples.bin"))
    for path, samples in ((folder / "test.vhdr", folder / "test.eeg"), (header, renamed / "samples.bin")):
        before = recording_stamp(path)
        samples.write_bytes(samples.read_bytes()[:-1] + b"!")
        assert recording_stamp(path) != before
        before = recording_stamp(path)
        (path.parent / "test.vmrk").write_bytes((path.parent / "test.vmrk").read_bytes() + b"\n")
        assert recording_stamp(path) != before


def test_recording_stamp_counts_every_part_of_a_split_file(tmp_path):
    raw = mne.io.RawArray(noise(4, 400_000), mne.create_info(4, SFREQ, "eeg"), verbose="ERROR")
    for naming, name in [("neuromag", "x_raw.fif"), ("bids", "y_meg.fif")]:
        raw.save(tmp_path / name, split_size="2MB", split_naming=naming, verbose="ERROR")
    (tmp_path / "x_raw-eve.fif").write_bytes(b"events")
    first = {"x_raw.fif": "x_raw-1.fif", "y_split-01_meg.fif": "y_split-03_meg.fif"}
    for name, part in first.items():
        before = recording_stamp(tmp_path / name)
        (tmp_path / "x_raw-eve.fif").write_bytes(b"others")
        assert recording_stamp(tmp_path / name) == before
        content = bytearray((tmp_path / part).read_bytes())
        content[-2000] ^= 1
        (tmp_path / part).write_bytes(content)
        assert recording_stamp(tmp_path / name) != before


def test_recording_stamp_counts_kit_markers(tmp_path):
    path = tmp_path / "sub-01_ses-0_task-0_meg.con"
    path.write_bytes(b"samples")
    seen = {recording_stamp(path)}
    for name in ("sub-01_ses-0_task-0_markers.mrk", "sub-01_ses-0_acq-ELP_headshape.pos"):
        for content in (b"1", b"2"):
            (tmp_path / name).write_bytes(content)
            seen.add(recording_stamp(path))
    assert len(seen) == 5


def test_recording_stamp_counts_files_of_a_folder(tmp_path):
    stamps = []
    for name in ("a.ds", "b.ds"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name[0]}.meg4").write_bytes(b"samples")
        (tmp_path / name / "hc").write_bytes(b"head")
        stamps.append(recording_stamp(tmp_path / name))
    assert stamps[0] == stamps[1]
    (tmp_path / "b.ds" / "b.meg4").write_bytes(b"sampled")
    assert recording_stamp(tmp_path / "b.ds") != stamps[0]


def test_a_montage_that_knows_few_of_the_electrodes_is_told(save):
    path = save(noise(4), names=["Fz", "Cz", "A17", "A18"])
    with pytest.warns(
        UserWarning, match=r"montage=standard_1020 has no place for 2 of 4 electrodes of .* A17, A18"
    ):
        head = header(path, montage="standard_1020")
    assert np.isfinite(head.positions).all(1).tolist() == [True, True, False, False]


def test_a_montage_is_read_from_its_file(save, tmp_path):
    montage = mne.channels.make_standard_montage("easycap-M1")
    place = montage.get_positions()["ch_pos"]
    path = save(noise(3), names=["Fz", "C3", "Oz"])
    file = tmp_path / "cap.sfp"
    for turn in (1, -1):
        lines = [f"{name} {' '.join(map(str, turn * xyz * [1, 1, turn]))}" for name, xyz in place.items()]
        file.write_text("\n".join(lines))
        raw = mne.io.read_raw(path, verbose="ERROR")
        raw.set_montage(mne.channels.read_custom_montage(file), verbose="ERROR")
        for given in (file, str(file)):
            head = header(path, montage=montage_key(given))
            np.testing.assert_array_equal(head.positions, sensor_positions(raw.info, raw.ch_names))
        assert (head.positions[0, 1] > head.positions[2, 1]) == (turn == 1)
    assert montage_key("biosemi64") == "biosemi64"
    assert montage_key(montage) is montage
    with pytest.raises(FileNotFoundError, match="montage='nowhere.sfp' is not a file"):
        montage_key(Path("nowhere.sfp"))
