"""Tests for KIT recordings with their digitization."""

import shutil

import mne
import numpy as np
import pytest
from helpers.read_files import load_header
from mne.io.constants import FIFF

from sk_b2s.io._raw._kit import read_kit_fastscan
from sk_b2s.io._raw._read_raw import read_raw


def test_read_kit_fastscan_equals_numpy(data_folder):
    for name in ("test_elp.txt", "test_hsp.txt"):
        path = data_folder / "formats/kit" / name
        np.testing.assert_allclose(read_kit_fastscan(path), np.loadtxt(path, comments="%") / 1000)


def test_read_kit_fastscan_names_invalid_line(tmp_path):
    path = tmp_path / "x.pos"
    path.write_text("% x y z\n 1.0 2.0 3.0\n 4.0 5.0\n")
    with pytest.raises(ValueError, match=r"line 3: expected three coordinates in mm, got '4.0 5.0'"):
        read_kit_fastscan(path)
    path.write_text("% nothing\n")
    with pytest.raises(ValueError, match="has no points"):
        read_kit_fastscan(path)


@pytest.mark.parametrize("broken", ["markers", "points"])
def test_read_kit_ignores_invalid_digitization(data_folder, tmp_path, broken):
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
    with pytest.warns(UserWarning, match="is read without its digitization"):
        raw = read_raw(recording)
    assert raw.n_times > 0


def test_read_kit_finds_digitization(data_folder, tmp_path):
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
    np.testing.assert_array_equal(load_header(path).positions, load_header(kit / "test.sqd").positions)
    (tmp_path / beside["test_hsp.txt"]).unlink()
    assert not read_raw(path).info["dig"]  # all three files are required
