"""Tests for the identity of recordings."""

import os
import shutil
from pathlib import Path

import mne
from helpers.read_files import make_signal

from sk_b2s.io._raw._identity import digest_recording_identity

SFREQ = 250.0


def copy_formats(data_folder, name, folder):
    return Path(shutil.copytree(data_folder / "formats" / name, folder))


def test_digest_recording_ignores_path_and_date(tmp_path, save):
    path = save(make_signal(4))
    state, before = path.stat(), digest_recording_identity(path)
    (copy := tmp_path / "other" / "name_raw.fif").parent.mkdir()
    copy.write_bytes(path.read_bytes())
    os.utime(copy, ns=(1, 1))
    assert digest_recording_identity(copy) == before
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # one bit of one sample
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_size == state.st_size
    assert digest_recording_identity(path) != before
    path.write_bytes(copy.read_bytes())
    assert digest_recording_identity(path) == before
    assert digest_recording_identity(tmp_path / "absent.fif") == ""


def test_digest_recording_includes_header_files(tmp_path, data_folder):
    folder = copy_formats(data_folder, "brainvision", tmp_path / "one")
    renamed = copy_formats(data_folder, "brainvision", tmp_path / "two")
    (renamed / "test.eeg").rename(renamed / "samples.bin")
    header = renamed / "test.vhdr"
    header.write_text(header.read_text().replace("test.eeg", "samples.bin"))
    for path, samples in ((folder / "test.vhdr", folder / "test.eeg"), (header, renamed / "samples.bin")):
        before = digest_recording_identity(path)
        samples.write_bytes(samples.read_bytes()[:-1] + b"!")
        assert digest_recording_identity(path) != before
        before = digest_recording_identity(path)
        (path.parent / "test.vmrk").write_bytes((path.parent / "test.vmrk").read_bytes() + b"\n")
        assert digest_recording_identity(path) != before


def test_digest_recording_includes_split_parts(tmp_path):
    raw = mne.io.RawArray(make_signal(4, 400_000), mne.create_info(4, SFREQ, "eeg"), verbose="ERROR")
    for naming, name in [("neuromag", "x_raw.fif"), ("bids", "y_meg.fif")]:
        raw.save(tmp_path / name, split_size="2MB", split_naming=naming, verbose="ERROR")
    (tmp_path / "x_raw-eve.fif").write_bytes(b"events")
    first = {"x_raw.fif": "x_raw-1.fif", "y_split-01_meg.fif": "y_split-03_meg.fif"}
    for name, part in first.items():
        before = digest_recording_identity(tmp_path / name)
        (tmp_path / "x_raw-eve.fif").write_bytes(b"others")
        assert digest_recording_identity(tmp_path / name) == before
        content = bytearray((tmp_path / part).read_bytes())
        content[-2000] ^= 1
        (tmp_path / part).write_bytes(content)
        assert digest_recording_identity(tmp_path / name) != before


def test_digest_recording_includes_kit_markers(tmp_path):
    path = tmp_path / "sub-01_ses-0_task-0_meg.con"
    path.write_bytes(b"samples")
    seen = {digest_recording_identity(path)}
    for name in ("sub-01_ses-0_task-0_markers.mrk", "sub-01_ses-0_acq-ELP_headshape.pos"):
        for content in (b"1", b"2"):
            (tmp_path / name).write_bytes(content)
            seen.add(digest_recording_identity(path))
    assert len(seen) == 5


def test_digest_recording_identity_includes_folders(tmp_path):
    stamps = []
    for name in ("a.ds", "b.ds"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name[0]}.meg4").write_bytes(b"samples")
        (tmp_path / name / "hc").write_bytes(b"head")
        stamps.append(digest_recording_identity(tmp_path / name))
    assert stamps[0] == stamps[1]
    (tmp_path / "b.ds" / "b.meg4").write_bytes(b"sampled")
    assert digest_recording_identity(tmp_path / "b.ds") != stamps[0]
