"""Every format comes through one door, with names, places and units as the studies need them."""

import shutil

import mne
import numpy as np
import pytest
from mne.io.constants import FIFF
from mne.io.kit.constants import KIT
from scipy.io import savemat

from sk_b2s.io._raw._identity import recording_stamp
from sk_b2s.io._raw._kit import read_fastscan
from sk_b2s.io._raw._open import read_raw
from sk_b2s.io._raw._recordings import Processing, read_header, read_signal, recording_extent
from sk_b2s.io._sensors import sensor_positions

SFREQ = 500.0
MICROVOLT = 1e-6


def header(path, **processing):
    return read_header(str(path), recording_stamp(path), Processing(**processing))


def signal(path, **processing):
    return read_signal(str(path), recording_stamp(path), Processing(**processing))


def noise(n_channels, n_times=2000):
    return np.random.default_rng(0).standard_normal((n_channels, n_times))


# --- MATLAB ----------------------------------------------------------------------------------------


@pytest.fixture
def fieldtrip(tmp_path):
    """Write a FieldTrip struct as Brennan's: (changes of fields) -> path."""

    def write(labels=None, data=None, header=None, **fields):
        labels = [str(i) for i in range(1, 62) if i != 29] + ["VEOG", "AUD"] if labels is None else labels
        data = 10 * noise(len(labels)) if data is None else data
        hdr = {
            "Fs": SFREQ, "label": labels, "chantype": ["eeg"] * len(labels), "chanunit": ["uV"] * len(labels),
            **(header or {}),
        }  # fmt: skip
        struct = {"hdr": hdr, "label": np.array(labels, object), "fsample": SFREQ, "trial": data, **fields}
        savemat(tmp_path / "S01.mat", {"raw": {k: v for k, v in struct.items() if v is not None}})
        return tmp_path / "S01.mat"

    return write


def test_brennans_struct_is_read(fieldtrip):
    data = 10 * noise(62)
    path = fieldtrip(data=data)
    head = header(path)
    assert (len(head.ch_names), head.sfreq, head.n_times) == (60, SFREQ, 2000)
    assert {"VEOG", "AUD", "29"}.isdisjoint(head.ch_names), "the eye and the sound are no brain"
    np.testing.assert_allclose(signal(path, sfreq=SFREQ), data[:60].T * MICROVOLT, rtol=1e-6)
    assert recording_extent(path)[0] == 4.0
    place = dict(zip(head.ch_names, head.positions, strict=True))
    cap = mne.create_info(list(head.ch_names), SFREQ, "eeg").set_montage("easycap-M10")
    np.testing.assert_array_equal(head.positions, sensor_positions(cap, head.ch_names))
    assert np.linalg.norm(place["1"] - 0.5) < 0.05, "electrode 1 is at the vertex"


@pytest.mark.parametrize(("unit", "volt"), [("uV", 1e-6), ("mV", 1e-3), ("V", 1.0), ("unknown", 1e-6)])
def test_units_become_volt(fieldtrip, unit, volt):
    path = fieldtrip(["Cz", "Pz"], header={"chanunit": [unit] * 2})
    np.testing.assert_allclose(signal(path, sfreq=SFREQ), 10 * noise(2).T * volt, rtol=1e-6)


def test_electrodes_of_a_struct_keep_their_places(fieldtrip):
    place = {"Cz": [0, 0, 140.0], "Left": [-85.0, 0, 40]}
    elec = {"label": np.array([*place], object), "chanpos": np.array([*place.values()]), "unit": "mm"}
    head = header(fieldtrip(["Cz", "Left"], elec=elec))
    np.testing.assert_allclose(head.positions[0], [0.5, 0.5], atol=1e-6)
    assert head.positions[1, 0] < 0.2
    assert head.positions[1, 1] == pytest.approx(0.5)


def test_magnetometers_of_a_struct_are_in_tesla(fieldtrip):
    fields = {"chantype": ["meggrad", "trigger"], "chanunit": ["fT", "unknown"]}
    path = fieldtrip(["MLC11", "UPPT001"], header=fields)
    assert header(path).ch_names == ("MLC11",)
    np.testing.assert_allclose(signal(path, sfreq=SFREQ)[:, 0], 1e-14 * noise(2)[0], rtol=1e-6)


def test_trials_are_joined_only_where_nothing_is_missing(fieldtrip):
    trials = np.empty(2, object)
    trials[:] = [noise(2)[:, :900], noise(2)[:, 900:]]
    path = fieldtrip(["Cz", "Pz"], trials, sampleinfo=np.array([[1, 900], [901, 2000]]))
    np.testing.assert_allclose(signal(path, sfreq=SFREQ), noise(2).T * MICROVOLT, rtol=1e-6)
    with pytest.raises(ValueError, match="2 trials with gaps between them"):
        read_raw(fieldtrip(["Cz", "Pz"], trials, sampleinfo=np.array([[1, 900], [1001, 2100]])))


def test_a_wrong_struct_says_what_it_lacks(fieldtrip, tmp_path):
    with pytest.raises(ValueError, match="unit 'furlong' is none of v, mv"):
        read_raw(fieldtrip(["Cz"], header={"chanunit": ["furlong"]}))
    with pytest.raises(ValueError, match="neither 'fsample' nor 'hdr.Fs'"):
        read_raw(fieldtrip(["Cz"], header={"Fs": None}, fsample=None, hdr={"label": ["Cz"]}))
    savemat(tmp_path / "other.mat", {"x": np.zeros(3)})
    with pytest.raises(ValueError, match=r"one FieldTrip struct .* it holds \['x'\]"):
        read_raw(tmp_path / "other.mat")


@pytest.mark.parametrize("told", ["grad", "names"])
def test_magnetic_sensors_without_units_are_in_tesla(tmp_path, told):
    """Older FieldTrip says neither type nor unit."""
    names = ["MLC11", "MRC12"] if told == "names" else ["A1", "A2"]
    data = 1e-13 * np.random.default_rng(0).standard_normal((2, 500))
    struct = {
        "label": np.array([*names, "EEG057"], object),
        "fsample": 100.0,
        "trial": np.concatenate([data, 1e14 * data[:1]]),
    }
    if told == "grad":
        struct["grad"] = {"label": np.array(names, object), "chanpos": np.zeros((2, 3)), "unit": "cm"}
    savemat(tmp_path / "x.mat", {"data": struct})
    raw = read_raw(tmp_path / "x.mat")
    assert raw.get_channel_types() == ["mag", "mag", "eeg"]
    np.testing.assert_allclose(raw.get_data()[:2], data)
    np.testing.assert_allclose(raw.get_data()[2], 1e8 * data[0])


def test_brodericks_tables_are_read(tmp_path):
    data, mastoids = 20 * noise(128), 20 * noise(2) + 3
    path = tmp_path / "Subject1_Run1.mat"
    savemat(path, {"eegData": data.T, "mastoids": mastoids.T, "fs": [[128]]})
    head = header(path, sfreq=128.0)
    assert head.ch_names[0] == "A1"
    assert head.ch_names[-1] == "D32"
    assert (len(head.ch_names), head.sfreq) == (128, 128.0)
    assert np.isfinite(head.positions).all()
    np.testing.assert_allclose(signal(path, sfreq=128.0), data.T * MICROVOLT, rtol=1e-6)
    referenced = signal(path, sfreq=128.0, reference=("M1", "M2"))
    np.testing.assert_allclose(referenced, (data - mastoids.mean(0)).T * MICROVOLT, atol=1e-11)
    savemat(path, {"eegData": data[:64].T, "fs": [[128]]})
    with pytest.raises(ValueError, match=r"eegData must be \(n_times, 128\), got \(2000, 64\)"):
        read_raw(path)
    savemat(path, {"eegData": 1e-6 * data.T, "fs": [[128]]})
    with pytest.raises(
        ValueError, match=r"is to be in microvolts, but its channels vary by 2e-05; if that is volt"
    ):
        read_raw(path)


# --- KIT -------------------------------------------------------------------------------------------


def test_fastscan_is_read_as_numpy_reads_it(data_folder):
    for name in ("test_elp.txt", "test_hsp.txt"):
        path = data_folder / "formats/kit" / name
        np.testing.assert_allclose(read_fastscan(path), np.loadtxt(path, comments="%") / 1000)


def test_fastscan_names_the_line_that_is_wrong(tmp_path):
    path = tmp_path / "x.pos"
    path.write_text("% x y z\n 1.0 2.0 3.0\n 4.0 5.0\n")
    with pytest.raises(
        ValueError, match=r"line 3: expected the three coordinates of a point in mm, got '4.0 5.0'"
    ):
        read_fastscan(path)
    path.write_text("% nothing\n")
    with pytest.raises(ValueError, match="holds no points"):
        read_fastscan(path)


@pytest.mark.parametrize("broken", ["markers", "points"])
def test_kit_is_read_without_a_head_that_is_broken(data_folder, tmp_path, broken):
    kit = data_folder / "formats/kit"
    recording = tmp_path / "sub-01_ses-0_task-0_meg.con"
    shutil.copy(kit / "test.sqd", recording)
    shutil.copy(kit / "test_mrk.sqd", tmp_path / "sub-01_ses-0_task-0_markers.sqd")
    for name, file in [("ELP", "test_elp.txt"), ("HSP", "test_hsp.txt")]:
        shutil.copy(kit / file, tmp_path / f"sub-01_ses-0_acq-{name}_headshape.pos")
    if broken == "markers":
        (tmp_path / "sub-01_ses-0_task-0_markers.sqd").write_bytes(b"nothing")
    else:
        (tmp_path / "sub-01_ses-0_acq-ELP_headshape.pos").write_text("% no points\n")
    with pytest.warns(UserWarning, match="is read without its head"):
        raw = read_raw(recording)
    assert raw.n_times > 0


def test_kit_finds_its_head_beside_it(data_folder, tmp_path):
    kit = data_folder / "formats/kit"
    beside = {
        "test.sqd": "sub-01_ses-0_task-0_meg.con", "test_mrk.sqd": "sub-01_ses-0_task-0_markers.mrk",
        "test_elp.txt": "sub-01_ses-0_acq-ELP_headshape.pos", "test_hsp.txt": "sub-01_ses-0_acq-HSP_headshape.pos",
    }  # fmt: skip
    for source, target in beside.items():
        shutil.copy(kit / source, tmp_path / target)
    path = tmp_path / beside["test.sqd"]
    raw = read_raw(path)
    stylus = np.loadtxt(kit / "test_elp.txt", comments="%") / 1000
    by_mne = mne.io.read_raw_kit(
        kit / "test.sqd", mrk=kit / "test_mrk.sqd", elp=stylus, hsp=stylus, verbose="ERROR"
    )
    np.testing.assert_allclose(raw.info["dev_head_t"]["trans"], by_mne.info["dev_head_t"]["trans"], atol=1e-6)
    n_surface = sum(point["kind"] == FIFF.FIFFV_POINT_EXTRA for point in raw.info["dig"])
    assert 0 < n_surface <= 1000
    np.testing.assert_array_equal(header(path).positions, header(kit / "test.sqd").positions)
    (tmp_path / beside["test_hsp.txt"]).unlink()
    assert not read_raw(path).info["dig"], "all three files or none"


def of_system(names, coil, **about):
    """Info of magnetic sensors of a system, at places of no meaning."""
    info = mne.create_info(list(names), 1000.0, "mag")
    rng = np.random.default_rng(0)
    for channel in info["chs"]:
        channel["coil_type"], channel["loc"][:] = coil, rng.standard_normal(12)
    with info._unlock():
        info.update(about)
    return info


def test_208_sensors_of_abu_dhabi_lie_as_in_their_layout():
    layout = mne.channels.read_layout("KIT-AD")
    names = [f"MEG {i:03d}" for i in range(1, 209)]
    info = of_system(names, FIFF.FIFFV_COIL_KIT_GRAD, kit_system_id=KIT.SYSTEM_NYUAD_2014)
    positions = sensor_positions(info, names)
    places = dict(zip(layout.names, layout.pos[:, :2], strict=True))
    expected = np.array([places[name] for name in names])
    expected = (expected - layout.pos[:, :2].min(0)) / np.ptp(layout.pos[:, :2], axis=0)
    np.testing.assert_allclose(positions, expected, atol=1e-12)


@pytest.mark.parametrize("suffix", ["", "-2908", "-606"])
def test_ctf_sensors_lie_as_in_their_layout_whatever_their_suffix(suffix):
    layout = mne.channels.read_layout("CTF-275")
    bare = [name.split("-")[0] for name in layout.names]
    names = [name + suffix for name in bare]
    info = of_system(names, FIFF.FIFFV_COIL_CTF_GRAD)
    expected = (layout.pos[:, :2] - layout.pos[:, :2].min(0)) / np.ptp(layout.pos[:, :2], axis=0)
    np.testing.assert_allclose(sensor_positions(info, names), expected, atol=1e-12)


def test_ctf_sensors_lose_the_name_of_their_site(data_folder):
    path = data_folder / "formats/ctf/somMDYO-18av.ds"
    names = header(path).ch_names
    suffixed = [n for n in mne.io.read_raw(path, verbose="ERROR").ch_names if n.startswith("M")]
    assert all("-" in name for name in suffixed)
    assert set(names) <= {name.split("-")[0] for name in suffixed}


# --- units of the real samples ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "least", "most"),
    [("test.bdf", 1e-7, 1e-3), ("brainvision/test.vhdr", 1e-8, 1e-2), ("kit/test.sqd", 1e-14, 1e-10),
     ("ctf/somMDYO-18av.ds", 1e-15, 1e-10)],
)  # fmt: skip
def test_samples_are_in_volt_and_tesla(data_folder, file, least, most):
    spread = signal(data_folder / "formats" / file).std(0)
    assert least < np.median(spread[spread > 0]) < most


# --- what is not whole -----------------------------------------------------------------------------


def cut(path, share):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    return path


@pytest.mark.parametrize("share", [0.5, 0.02])
@pytest.mark.parametrize(
    ("source", "target", "samples"),
    [
        ("kit/test.sqd", "x.con", "x.con"),
        ("ctf/somMDYO-18av.ds", "somMDYO-18av.ds", "somMDYO-18av.ds/somMDYO-18av.meg4"),
        ("test.bdf", "x.bdf", "x.bdf"),
    ],
)
@pytest.mark.filterwarnings("ignore:recording .* seems truncated")
def test_a_truncated_file_is_named(data_folder, tmp_path, source, target, samples, share):
    source = data_folder / "formats" / source
    (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / target)
    cut(tmp_path / samples, share)
    with pytest.raises(
        ValueError, match=rf"recording '.*{target}' (cannot be opened|opens, but).* bytes here"
    ):
        signal(tmp_path / target)


def test_truncated_samples_of_brainvision_are_told(data_folder, tmp_path):
    shutil.copytree(data_folder / "formats/brainvision", tmp_path / "bv")
    cut(tmp_path / "bv/test.eeg", 0.5)
    with pytest.warns(UserWarning, match=r"test.vhdr' .* seems truncated .* 4.0 s can be read"):
        raw = read_raw(tmp_path / "bv/test.vhdr")
    assert raw.n_times == 3950


def test_a_truncated_fif_and_mat_are_named(tmp_path, fieldtrip):
    raw = mne.io.RawArray(1e-5 * noise(8, 20_000), mne.create_info(8, 250.0, "eeg"), verbose="ERROR")
    raw.save(tmp_path / "x_raw.fif", verbose="ERROR")
    cut(tmp_path / "x_raw.fif", 0.5)
    with (
        pytest.warns(UserWarning, match="x_raw.fif' .* seems truncated"),
        pytest.raises(ValueError, match="x_raw.fif' opens, but its samples cannot be read"),
    ):
        signal(tmp_path / "x_raw.fif")
    with pytest.raises(ValueError, match=r"S01.mat' cannot be opened"):
        read_raw(cut(fieldtrip(), 0.5))


def test_what_is_no_recording_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="'nowhere.fif' does not exist; the column 'recording'"):
        read_raw("nowhere.fif")
    (tmp_path / "x.docx").write_text("a letter")
    with pytest.raises(ValueError, match="x.docx' cannot be opened"):
        read_raw(tmp_path / "x.docx")
    (tmp_path / "a.con").symlink_to(tmp_path / ".git/annex/objects/absent")
    (tmp_path / "b.con").write_text("/annex/objects/MD5E-s104--abc.con\n")
    for name in ("a.con", "b.con"):
        with pytest.raises(FileNotFoundError, match=rf"not been fetched.*Run `datalad get '{name}'`"):
            read_raw(tmp_path / name)
