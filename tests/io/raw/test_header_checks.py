"""Tests for checks of recording headers against their files."""

import numpy as np
import pytest
from helpers.raw_files import write_brainvision, write_edf

from sk_b2s.events._stimuli import stimulus_duration
from sk_b2s.io._raw._read_raw import read_raw

NAMES = [f"E{index}" for index in range(6)]


DATA = np.random.default_rng(0).standard_normal((6, 5000))


def write_edited(folder, old="", new=""):
    write_brainvision(folder / "p.vhdr", DATA, NAMES, 250)
    text = (folder / "p.vhdr").read_text()
    assert old in text
    (folder / "p.vhdr").write_text(text.replace(old, new))
    return folder / "p.vhdr"


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("NumberOfChannels=6", "NumberOfChannels=5", "has NumberOfChannels=5, but names 6 channels"),
        ("=E1,", "=E0,", "several channels with the name 'E0'"),
        ("SamplingInterval=4000", "SamplingInterval=0", "must have a SamplingInterval above 0"),
    ],
)
def test_check_header_refuses_brainvision(tmp_path, old, new, match):
    with pytest.raises(ValueError, match=match):
        read_raw(write_edited(tmp_path, old, new))


def test_check_header_names_partial_samples(tmp_path):
    path = write_edited(tmp_path)
    samples = path.with_suffix(".eeg").read_bytes()
    path.with_suffix(".eeg").write_bytes(samples[:-3])
    with pytest.warns(UserWarning, match=r"119,997 bytes\), ends within a time point of 6 channels"):
        read_raw(path)
    path.with_suffix(".eeg").write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        read_raw(path)


def test_explain_header_error_names_encoding(tmp_path):
    path = write_edited(tmp_path)
    marks = path.with_suffix(".vmrk")
    marks.write_bytes(marks.read_bytes() + "Mk2=Comment,müde,500,1,0\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"'p.vmrk', line 9, is not UTF-8"):
        read_raw(path)


@pytest.mark.parametrize("ending", [".eeg", ".vmrk"])
def test_check_header_names_header_file(tmp_path, ending):
    with pytest.raises(ValueError, match="is a part of 'p.vhdr'"):
        read_raw(write_edited(tmp_path).with_suffix(ending))


@pytest.mark.parametrize(("true", "named"), [(".edf", ".bdf"), (".bdf", ".edf")])
def test_check_header_refuses_edf_named_bdf(tmp_path, true, named):
    write_edf(tmp_path / f"p{true}", 1e-5 * DATA, 250)
    read_raw(tmp_path / f"p{true}")
    (tmp_path / f"p{true}").rename(tmp_path / f"p{named}")
    with pytest.raises(ValueError, match=f"is an {true[1:].upper()} file"):
        read_raw(tmp_path / f"p{named}")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "git lfs pull"),
        (b"/annex/objects/SHA256E-s9--1.wav\n", "datalad get"),
        (b"<!DOCTYPE html><html>404</html>", "not audio but a web page"),
    ],
)
def test_stimulus_duration_names_placeholders(tmp_path, content, match):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(ValueError, match=match):
        stimulus_duration(str(tmp_path / "a.wav"))
