"""Headers that contradict their files are refused, and recordings that stop in the middle are named."""

import warnings

import mne
import numpy as np
import pytest
from helpers.raw_files import write_brainvision, write_edf

from sk_b2s.events._stimuli import stimulus_duration
from sk_b2s.io._bids_files import find_recordings
from sk_b2s.io._raw._open import read_raw
from sk_b2s.io._raw._recordings import Processing, read_signal
from sk_b2s.io._sidecars import apply_sidecars

NAMES = [f"E{index}" for index in range(6)]
DATA = np.random.default_rng(0).standard_normal((6, 5000))


def edited(folder, old="", new=""):
    write_brainvision(folder / "p.vhdr", DATA, NAMES, 250)
    text = (folder / "p.vhdr").read_text()
    assert old in text
    (folder / "p.vhdr").write_text(text.replace(old, new))
    return folder / "p.vhdr"


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("NumberOfChannels=6", "NumberOfChannels=5", "says NumberOfChannels=5 and names 6 channels"),
        ("=E1,", "=E0,", "several channels 'E0'"),
        ("SamplingInterval=4000", "SamplingInterval=0", "no SamplingInterval above 0"),
    ],
)
def test_brainvision_headers_that_contradict_themselves_are_refused(tmp_path, old, new, match):
    with pytest.raises(ValueError, match=match):
        read_raw(edited(tmp_path, old, new))


def test_brainvision_samples_that_do_not_fit_are_named(tmp_path):
    path = edited(tmp_path)
    samples = path.with_suffix(".eeg").read_bytes()
    path.with_suffix(".eeg").write_bytes(samples[:-3])
    with pytest.warns(UserWarning, match=r"119,997 bytes\) end within a time point of 6 channels"):
        read_raw(path)
    path.with_suffix(".eeg").write_bytes(b"")
    with pytest.raises(ValueError, match="are empty"):
        read_raw(path)


def test_markers_in_another_code_page_are_named(tmp_path):
    path = edited(tmp_path)
    marks = path.with_suffix(".vmrk")
    marks.write_bytes(marks.read_bytes() + "Mk2=Comment,müde,500,1,0\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"'p.vmrk', line 9, is not UTF-8"):
        read_raw(path)


@pytest.mark.parametrize("ending", [".eeg", ".vmrk"])
def test_a_part_in_place_of_the_header_is_named(tmp_path, ending):
    with pytest.raises(ValueError, match="is a part of 'p.vhdr'"):
        read_raw(edited(tmp_path).with_suffix(ending))


@pytest.mark.parametrize(("true", "named"), [(".edf", ".bdf"), (".bdf", ".edf")])
def test_an_edf_named_as_a_bdf_is_refused(tmp_path, true, named):
    write_edf(tmp_path / f"p{true}", 1e-5 * DATA, 250)
    read_raw(tmp_path / f"p{true}")
    (tmp_path / f"p{true}").rename(tmp_path / f"p{named}")
    with pytest.raises(ValueError, match=f"is {true[1:].upper()} by its first bytes"):
        read_raw(tmp_path / f"p{named}")


def save(folder, name, notes=()):
    data = 1e-6 * DATA.copy()
    data[:, 2000:4000] = data[:, :1]  # 8 of 20 s
    raw = mne.io.RawArray(data, mne.create_info(NAMES, 250, "eeg"), verbose="ERROR")
    raw.set_annotations(mne.Annotations(*zip(*notes, strict=True)) if notes else None)
    raw.save(folder / name, verbose="ERROR")
    return str(folder / name)


def test_a_recording_that_stops_in_the_middle_is_named(tmp_path):
    wanted = Processing(sfreq=25.0)
    with pytest.warns(UserWarning, match=r"constant in all channels from 8\.0 to 16\.0 s \(1 such"):
        read_signal(save(tmp_path, "a_raw.fif"), None, wanted)
    padded = mne.io.RawArray(1e-6 * np.pad(np.tile(DATA, 3), ((0, 0), (1300, 1300))),
                             mne.create_info(NAMES, 250, "eeg"), verbose="ERROR")  # fmt: skip
    padded.save(tmp_path / "c_raw.fif", verbose="ERROR")  # 5 of 70 s at each end
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        read_signal(save(tmp_path, "b_raw.fif", [(7.9, 8.2, "BAD_ACQ_SKIP")]), None, wanted)
        read_signal(str(tmp_path / "c_raw.fif"), None, wanted)


def test_odd_states_of_channels_are_named(tmp_path):
    path = tmp_path / "sub-01/eeg/sub-01_task-a_eeg.vhdr"
    write_brainvision(path, DATA, NAMES, 250)
    table = path.with_name("sub-01_task-a_channels.tsv")
    rows = [
        f"{name}\tEEG\t{state}"
        for name, state in zip(NAMES, ["Bad ", "noisy", "n/a"] + 3 * ["good"], strict=True)
    ]
    table.write_text("\n".join(["name\ttype\tstatus", *rows]))
    with pytest.warns(UserWarning, match=r"'status': expected good, bad or n/a, got 'noisy', taken for good"):
        raw = apply_sidecars(read_raw(path), path)
    assert raw.info["bads"] == ["E0"]


def test_two_runs_of_one_number_are_refused(tmp_path):
    for run in ("1", "01"):
        write_brainvision(tmp_path / f"sub-01/eeg/sub-01_task-a_run-{run}_eeg.vhdr", DATA, NAMES, 250)
    wanted = dict.fromkeys(("task", "sub", "ses", "run", "proc", "desc"))
    with pytest.raises(
        ValueError, match=r"run-01_eeg.vhdr' and 'sub-01_task-a_run-1_eeg.vhdr' are of one run"
    ):
        find_recordings(tmp_path, wanted)
    assert len(find_recordings(tmp_path, {**wanted, "run": "1"})) == 1


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "git lfs pull"),
        (b"/annex/objects/SHA256E-s9--1.wav\n", "datalad get"),
        (b"<!DOCTYPE html><html>404</html>", "a page of a web server"),
    ],
)
def test_what_stands_in_the_place_of_a_sound_is_named(tmp_path, content, match):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(ValueError, match=match):
        stimulus_duration(str(tmp_path / "a.wav"))
