"""Tests for EEG in NumPy files of SparrKULee."""

import numpy as np
import pytest
from helpers.read_files import load_header, load_signal

from sk_b2s.io._raw._read_raw import read_raw

NAME = "sub-001_ses-shortstories01_task-listeningActive_run-01_desc-preproc-audio-audiobook_5_1_eeg.npy"


@pytest.mark.parametrize("name", [NAME, "train_-_sub-001_-_audiobook_5_1_-_eeg.npy"])
@pytest.mark.parametrize("transpose", [False, True], ids=["channels first", "time first"])
def test_read_npy_array_reads_microvolts(tmp_path, name, transpose):
    data = np.random.default_rng(0).standard_normal((64, 640)).astype(np.float32)
    np.save(tmp_path / name, data.T if transpose else data)
    raw = read_raw(tmp_path / name)
    assert (raw.info["sfreq"], raw.n_times) == (64.0, 640)
    assert raw.ch_names[:2] == ["Fp1", "AF7"]
    np.testing.assert_allclose(load_signal(tmp_path / name, sfreq=64.0), 1e-6 * data.T, rtol=1e-5)
    assert np.isfinite(load_header(tmp_path / name, sfreq=64.0).positions).all()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("eeg.npy", np.zeros((64, 5)), "only those of SparrKULee are supported"),
        (NAME, np.zeros((63, 5)), r"must have 64 channels.*Got float64 \(63, 5\)"),
        (NAME, np.zeros((64, 5), int), "Got int64"),
        (NAME, np.array([{}]), "cannot be read: Object arrays"),
    ],
)
def test_read_npy_array_describes_invalid_files(tmp_path, name, data, message):
    np.save(tmp_path / name, data, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        read_raw(tmp_path / name)


def test_read_npy_array_describes_truncated_file(tmp_path):
    np.save(tmp_path / NAME, np.zeros((64, 640)))
    (tmp_path / NAME).write_bytes((tmp_path / NAME).read_bytes()[:5000])
    with pytest.raises(ValueError, match="cannot be read.*truncated"):
        read_raw(tmp_path / NAME)
