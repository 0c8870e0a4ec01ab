"""Tests for channel selection, montages and sensor positions."""

from pathlib import Path

import mne
import numpy as np
import pytest
from helpers.read_files import load_header, make_signal
from mne.io.constants import FIFF
from mne.io.kit.constants import KIT

from sk_b2s.datasets.simulated._head import make_sensors_on_head
from sk_b2s.io._sensors import load_sensor_montage, pick_sensor_channels, project_sensors

SFREQ = 250.0

FORMATS = {
    "test.bdf": (66, 2048.0, 2048),
    "brainvision/test.vhdr": (26, 1000.0, 7900),
    "kit/test.sqd": (157, 1000.0, 2000),
    "kit/test_umd-raw.sqd": (157, 1000.0, 100),
    "ctf/somMDYO-18av.ds": (151, 1250.0, 626),
}


EEG_1020 = ["Fp1", "Fp2", "F3", "Fz", "F4", "C3", "Cz", "C4", "P3", "Pz", "P4", "O1", "O2"]


def min_distance(positions):
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    return distance[~np.eye(len(positions), dtype=bool)].min()


def make_helmet(sensors):
    """Place sensors(radial, down, around) on a sphere, return their Info."""
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
    """Turn the triaxial sensor by 45 degrees."""
    one, two = (radial + down) / 2**0.5, (radial - down) / 2**0.5
    return [("mag", 8101, around, one), ("mag", 8101, around, two), ("mag", 8101, one, around)]


CAPS = ["biosemi16", "biosemi64", "biosemi256", "easycap-M10", "easycap-M43", "GSN-HydroCel-256"]


CAPS += [name for name in mne.channels.get_builtin_montages() if name.endswith("_1005")][:1]


def make_cap(name, leave_out=()):
    montage = mne.channels.make_standard_montage(name)
    info = mne.create_info([n for n in montage.ch_names if n not in leave_out], SFREQ, "eeg")
    return info.set_montage(montage)


def make_sites():
    """Yield the name and Info of each kind of sensors."""
    yield from ((name, make_cap(name)) for name in CAPS)
    yield from ((sensors.__name__, make_helmet(sensors)) for sensors in (neuromag, triaxial, tilted))
    yield "simulated", make_sensors_on_head("meg", 208, SFREQ)[0]


@pytest.mark.parametrize("file", [file for file in FORMATS if file.startswith("kit")])
def test_project_sensors_equal_mne_layout(data_folder, file):
    path = data_folder / "formats" / file
    positions = load_header(path).positions
    assert min_distance(positions) > 0.01
    raw = mne.io.read_raw(path, verbose="ERROR")
    layout = mne.channels.find_layout(raw.info, exclude=())
    by_mne = dict(zip(layout.names, layout.pos[:, :2], strict=True))
    by_mne = np.array([by_mne[name] for name in load_header(path).ch_names])
    expected = (by_mne - by_mne[0]) / np.ptp(layout.pos[:, :2], axis=0)
    np.testing.assert_allclose(positions - positions[0], expected, atol=1e-12)
    assert (positions.min(0) >= 0).all()
    assert (positions.max(0) <= 1).all()


def test_project_sensors_project_without_layout(data_folder):
    """MNE returns the CTF-275 layout for CTF-151, without seven sensors."""
    head = load_header(data_folder / "formats/ctf/somMDYO-18av.ds")
    assert min_distance(head.positions) > 0.03
    left, right = (np.char.startswith(head.ch_names, side) for side in ("ML", "MR"))
    assert head.positions[left, 0].max() < 0.5 < head.positions[right, 0].min()


@pytest.mark.parametrize(
    ("file", "montage"), [("test.bdf", "biosemi64"), ("brainvision/test.vhdr", "easycap-M1")]
)
def test_set_montage_sets_positions(data_folder, file, montage):
    path = data_folder / "formats" / file
    bare, head = load_header(path), load_header(path, montage=montage)
    assert np.isnan(bare.positions).all()
    assert bare.ch_names == head.ch_names
    place = dict(zip(map(str.upper, head.ch_names), head.positions, strict=True))
    for left, right in [("FP1", "FP2"), ("C3", "C4"), ("O1", "O2")]:
        assert place[left][0] < 0.5 < place[right][0]
        assert place[left][1] == pytest.approx(place[right][1], abs=0.03)
    assert place["FP1"][1] > place["C3"][1] > place["O1"][1]
    known = head.positions[np.isfinite(head.positions).all(1)]
    assert min_distance(known) > 0.01


def test_pick_sensor_channels_excludes_exg_and_status(data_folder):
    path = data_folder / "formats/test.bdf"
    raw = mne.io.read_raw(path, verbose="ERROR")
    assert {"EXG1", "REOG", "LEOG", "IEOG", "EXG5", "EXG8", "Status"} <= set(raw.ch_names)
    for picks in (None, "eeg", ("eeg",)):
        names = pick_sensor_channels(raw, picks)
        assert not {"EXG1", "REOG", "LEOG", "IEOG", "EXG5", "EXG8", "Status"} & set(names)
    assert pick_sensor_channels(raw, ("EXG1", "Fp1")) == ["EXG1", "Fp1"]  # explicitly named


@pytest.mark.parametrize("sensors", [neuromag, triaxial, tilted])
def test_project_sensors_separate_collocated(sensors):
    info = make_helmet(sensors)
    positions = project_sensors(info, info["ch_names"])
    together = positions.reshape(30, 3, 2)
    assert min(map(min_distance, together)) > 0.01
    assert np.linalg.norm(together - together.mean(1, keepdims=True), axis=-1).max() < 0.03
    alone = project_sensors(info, info["ch_names"][2::3])
    np.testing.assert_array_equal(alone, together[:, 2])


def test_project_sensors_of_mixed_types():
    info = make_helmet(
        lambda radial, down, around: [("mag", 3024, down, radial), ("eeg", 1, 0 * down, 0 * radial)]
    )
    assert np.isfinite(project_sensors(info, info["ch_names"])).all()


def test_project_sensors_nan_if_unknown():
    info = mne.create_info(EEG_1020, SFREQ, "eeg")
    assert np.isnan(project_sensors(info, EEG_1020)).all()
    info.set_montage("easycap-M1")
    assert np.isfinite(project_sensors(info, ["Cz"])).all()
    info["chs"][3]["loc"][:3] = np.nan
    positions = project_sensors(info, EEG_1020)
    assert np.flatnonzero(np.isnan(positions).any(1)).tolist() == [3]
    np.testing.assert_array_equal(positions[4], project_sensors(info, ["F4"])[0])


@pytest.mark.parametrize(("name", "info"), list(make_sites()), ids=lambda p: p if isinstance(p, str) else "")
def test_project_sensors_are_independent(name, info):
    """Positions do not depend on the other sensors."""
    names = np.array(info["ch_names"])
    whole = project_sensors(info, names)
    assert ((whole >= 0) & (whole <= 1)).all()
    for some in (np.arange(len(names)) % 3 == 0, whole[:, 1] > 0.5, np.arange(len(names)) == 5):
        np.testing.assert_array_equal(project_sensors(info, names[some]), whole[some])
        file = mne.pick_info(info, np.flatnonzero(some), verbose="ERROR")
        np.testing.assert_array_equal(project_sensors(file, file["ch_names"]), whole[some])


@pytest.mark.parametrize("file", [file for file in FORMATS if file.startswith(("kit", "ctf"))])
def test_project_sensors_independent_in_layout(data_folder, file):
    head = load_header(data_folder / "formats" / file)
    some = load_header(data_folder / "formats" / file, picks=head.ch_names[10:60:7])
    np.testing.assert_array_equal(some.positions, head.positions[10:60:7])


def test_project_sensors_agree_between_caps():
    small, large = make_cap("biosemi16"), make_cap("biosemi64")
    np.testing.assert_allclose(
        project_sensors(small, small["ch_names"]), project_sensors(large, small["ch_names"]), atol=1e-3
    )
    lacking = make_cap("biosemi64", leave_out=["Iz"])
    np.testing.assert_array_equal(
        project_sensors(lacking, lacking["ch_names"]), project_sensors(large, lacking["ch_names"])
    )


def test_project_sensors_preserve_area():
    """A spherical cap above height z has the area 2 pi (1 - z)."""
    info = mne.create_info(["A", "B", "C"], SFREQ, "eeg")
    for channel, z in zip(info["chs"], (0.9, 0.2, -0.6), strict=True):
        channel["loc"][:3] = 0.1 * np.array([0, np.sqrt(1 - z**2), z]) + [0, 0, 0.04]
    radius = np.linalg.norm(project_sensors(info, list("ABC")) - 0.5, axis=1)
    np.testing.assert_allclose(np.pi * radius**2 / (np.pi / 4), [0.05, 0.4, 0.8], rtol=1e-6)


def test_project_sensors_of_equal_electrodes():
    info = mne.create_info(["Fz", "Cz", "Pz", "C3"], SFREQ, "eeg")
    info.set_montage("easycap-M1")
    info["chs"][3]["loc"][:] = info["chs"][1]["loc"]
    positions = project_sensors(info, info["ch_names"])
    np.testing.assert_array_equal(positions[3], positions[1])


def test_set_montage_warns_missing_positions(save):
    path = save(make_signal(4), names=["Fz", "Cz", "A17", "A18"])
    with pytest.warns(
        UserWarning, match=r"montage=standard_1020 has no position for 2 of 4 electrodes of .* A17, A18"
    ):
        head = load_header(path, montage="standard_1020")
    assert np.isfinite(head.positions).all(1).tolist() == [True, True, False, False]


def test_load_montage_reads_file(save, tmp_path):
    montage = mne.channels.make_standard_montage("easycap-M1")
    place = montage.get_positions()["ch_pos"]
    path = save(make_signal(3), names=["Fz", "C3", "Oz"])
    file = tmp_path / "cap.sfp"
    for turn in (1, -1):
        lines = [f"{name} {' '.join(map(str, turn * xyz * [1, 1, turn]))}" for name, xyz in place.items()]
        file.write_text("\n".join(lines))
        raw = mne.io.read_raw(path, verbose="ERROR")
        raw.set_montage(mne.channels.read_custom_montage(file), verbose="ERROR")
        for given in (file, str(file)):
            head = load_header(path, montage=load_sensor_montage(given))
            np.testing.assert_array_equal(head.positions, project_sensors(raw.info, raw.ch_names))
        assert (head.positions[0, 1] > head.positions[2, 1]) == (turn == 1)
    assert load_sensor_montage("biosemi64") == "biosemi64"
    assert load_sensor_montage(montage) is montage
    with pytest.raises(FileNotFoundError, match="montage='nowhere.sfp' is not an existing file"):
        load_sensor_montage(Path("nowhere.sfp"))


def make_system_info(names, coil, **about):
    """Make an Info of magnetic sensors at random locations."""
    info = mne.create_info(list(names), 1000.0, "mag")
    rng = np.random.default_rng(0)
    for channel in info["chs"]:
        channel["coil_type"], channel["loc"][:] = coil, rng.standard_normal(12)
    with info._unlock():
        info.update(about)
    return info


def test_project_sensors_of_kit_208():
    layout = mne.channels.read_layout("KIT-AD")
    names = [f"MEG {i:03d}" for i in range(1, 209)]
    info = make_system_info(names, FIFF.FIFFV_COIL_KIT_GRAD, kit_system_id=KIT.SYSTEM_NYUAD_2014)
    positions = project_sensors(info, names)
    places = dict(zip(layout.names, layout.pos[:, :2], strict=True))
    expected = np.array([places[name] for name in names])
    expected = (expected - layout.pos[:, :2].min(0)) / np.ptp(layout.pos[:, :2], axis=0)
    np.testing.assert_allclose(positions, expected, atol=1e-12)


@pytest.mark.parametrize("suffix", ["", "-2908", "-606"])
def test_project_sensors_ignore_ctf_suffix(suffix):
    layout = mne.channels.read_layout("CTF-275")
    bare = [name.split("-")[0] for name in layout.names]
    names = [name + suffix for name in bare]
    info = make_system_info(names, FIFF.FIFFV_COIL_CTF_GRAD)
    expected = (layout.pos[:, :2] - layout.pos[:, :2].min(0)) / np.ptp(layout.pos[:, :2], axis=0)
    np.testing.assert_allclose(project_sensors(info, names), expected, atol=1e-12)
