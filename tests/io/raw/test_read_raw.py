"""Tests for opening recordings in many formats."""

import shutil

import mne
import numpy as np
import pytest
from helpers.raw_files import write_edf, write_eeglab
from helpers.read_files import load_header, load_signal, make_noise
from scipy.io import savemat

from sk_b2s.io._raw._read_raw import read_raw


def truncate(path, share):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    return path


def test_read_raw_strips_ctf_suffix(data_folder):
    path = data_folder / "formats/ctf/somMDYO-18av.ds"
    names = load_header(path).ch_names
    suffixed = [n for n in mne.io.read_raw(path, verbose="ERROR").ch_names if n.startswith("M")]
    assert all("-" in name for name in suffixed)
    assert set(names) <= {name.split("-")[0] for name in suffixed}


@pytest.mark.parametrize(
    ("file", "least", "most"),
    [("test.bdf", 1e-7, 1e-3), ("brainvision/test.vhdr", 1e-8, 1e-2), ("kit/test.sqd", 1e-14, 1e-10),
     ("ctf/somMDYO-18av.ds", 1e-15, 1e-10)],
)  # fmt: skip
def test_read_raw_returns_volts_and_tesla(data_folder, file, least, most):
    spread = load_signal(data_folder / "formats" / file).std(0)
    assert least < np.median(spread[spread > 0]) < most


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
def test_read_raw_names_truncated_file(data_folder, tmp_path, source, target, samples, share):
    source = data_folder / "formats" / source
    (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / target)
    truncate(tmp_path / samples, share)
    with pytest.raises(
        ValueError, match=rf"recording '.*{target}' (cannot be opened|opens, but).* bytes here"
    ):
        load_signal(tmp_path / target)


def test_read_raw_warns_truncated_brainvision(data_folder, tmp_path):
    shutil.copytree(data_folder / "formats/brainvision", tmp_path / "bv")
    truncate(tmp_path / "bv/test.eeg", 0.5)
    with pytest.warns(UserWarning, match=r"test.vhdr' .* seems truncated .* 4.0 s can be read"):
        raw = read_raw(tmp_path / "bv/test.vhdr")
    assert raw.n_times == 3950


def test_read_raw_names_truncated_fif_and_mat(tmp_path, fieldtrip):
    raw = mne.io.RawArray(1e-5 * make_noise(8, 20_000), mne.create_info(8, 250.0, "eeg"), verbose="ERROR")
    raw.save(tmp_path / "x_raw.fif", verbose="ERROR")
    truncate(tmp_path / "x_raw.fif", 0.5)
    with (
        pytest.warns(UserWarning, match="x_raw.fif' .* seems truncated"),
        pytest.raises(ValueError, match="x_raw.fif' opens, but its samples cannot be read"),
    ):
        load_signal(tmp_path / "x_raw.fif")
    with pytest.raises(ValueError, match=r"S01.mat' cannot be opened"):
        read_raw(truncate(fieldtrip(), 0.5))


def test_read_raw_refuses_other_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="'nowhere.fif' does not exist. The column 'recording'"):
        read_raw("nowhere.fif")
    (tmp_path / "x.docx").write_text("a letter")
    with pytest.raises(ValueError, match="x.docx' cannot be opened"):
        read_raw(tmp_path / "x.docx")
    (tmp_path / "a.con").symlink_to(tmp_path / ".git/annex/objects/absent")
    (tmp_path / "b.con").write_text("/annex/objects/MD5E-s104--abc.con\n")
    for name in ("a.con", "b.con"):
        with pytest.raises(FileNotFoundError, match=rf"not been fetched.*Run `datalad get '{name}'`"):
            read_raw(tmp_path / name)


def test_read_raw_names_missing_parts(tmp_path):
    from scipy.io import loadmat

    path = tmp_path / "a.set"
    write_eeglab(path, np.ones((2, 500)), 100)
    held = loadmat(path, simplify_cells=True)["EEG"]
    savemat(path, {"EEG": {**held, "data": "a.fdt"}})
    with pytest.raises(FileNotFoundError, match=r"a\.set' cannot be opened.*missing.*a\.fdt"):
        read_raw(path)
    data = np.zeros((8, 100_000))
    mne.io.RawArray(data, mne.create_info(8, 1000, "eeg"), verbose="ERROR").save(
        tmp_path / "b_raw.fif", split_size="2MB", buffer_size_sec=1, verbose="ERROR"
    )
    (tmp_path / "b_raw-1.fif").unlink()
    with pytest.raises(FileNotFoundError, match=r"b_raw\.fif' cannot be opened.*missing.*b_raw-1\.fif"):
        read_raw(tmp_path / "b_raw.fif")


def test_read_raw_recognizes_epochs(tmp_path):
    info = mne.create_info(2, 100, "eeg")
    mne.EpochsArray(np.zeros((3, 2, 100)), info, verbose="ERROR").save(
        tmp_path / "a_epo.fif", verbose="ERROR"
    )
    with pytest.raises(ValueError, match="seems to hold epochs or averages, but must be continuous"):
        read_raw(tmp_path / "a_epo.fif")


def test_read_raw_names_broken_bytes(tmp_path):
    write_edf(tmp_path / "a.edf", np.zeros((1, 300)), 100)
    (tmp_path / "a.edf").write_bytes((tmp_path / "a.edf").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"a\.edf' cannot be opened.*it is complete \(300 bytes here\)"):
        read_raw(tmp_path / "a.edf")
    shutil.copy(tmp_path / "a.edf", tmp_path / "a.fif")
    with pytest.raises(ValueError, match="raw.save"):
        read_raw(tmp_path / "a.fif")
