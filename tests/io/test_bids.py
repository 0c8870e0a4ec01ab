"""Tests for reading BIDS folders."""

import gzip
import re
import shutil
from pathlib import Path

import mne_bids
import numpy as np
import pandas as pd
import pytest
from helpers.bids_folders import EVENTS, HEADER, write_recording, write_wav, write_word_tier
from helpers.raw_files import write_fieldtrip

from sk_b2s import Epocher, make_segments, read_bids
from sk_b2s.datasets import make_listening
from sk_b2s.io._raw._recordings import open_recording
from sk_b2s.io._sidecars import read_sidecar_tsv


def wav_of(name):
    """Return the file of a name in MEG-MASC, such as 'Easy_Money_0.0.wav'."""
    return Path(re.sub(r"(\d+)\.0\.wav$", r"\1.wav", name)).name.lower()


def test_read_bids_reads_simulated_study(tmp_path):
    options = {
        "minutes": 1,
        "n_subjects": 1,
        "sessions": 2,
        "n_channels": 16,
        "modality": "eeg",
        "artifacts": False,
    }
    written = make_listening(root=tmp_path, sfreq=64, **options)
    root = next(path for path in tmp_path.iterdir() if path.is_dir())
    read = read_bids(root, task="listening")
    columns = ["subject", "session", "task", "run", "recording", "type", "onset", "duration", "sound", "sound_onset",
               "text", "sequence", "word_index", "speaker", "stream"]  # fmt: skip
    order = ["recording", "stream", "onset", "type"]
    pd.testing.assert_frame_equal(
        read.sort_values(order, kind="stable")[columns].reset_index(drop=True),
        written.sort_values(order, kind="stable")[columns].reset_index(drop=True),
        check_dtype=False,
        atol=1e-3,
    )
    assert (read["study"] == root.name).all()


def test_read_bids_inherits_events_tables(folder):
    folder.add("sub-02/ses-a/eeg/sub-02_ses-a_task-story_run-1_eeg.fif")
    folder.write_table(EVENTS).rename(folder.root / "task-story_events.tsv")
    events = read_bids(folder.root)
    assert events.groupby("subject").size().to_dict() == {"01": 4, "02": 4}
    assert events.loc[events["subject"] == "02", ["session", "run"]].iloc[0].tolist() == ["a", "1"]
    assert read_bids(folder.root, subjects="sub-02")["subject"].unique().tolist() == ["02"]
    with pytest.raises(ValueError, match=r"2 recordings, but none with ses='b'.*sub: 01, 02; ses: a"):
        read_bids(folder.root, sessions="b")
    with pytest.raises(ValueError, match=r"none with sub=\['09'\]\. Available: .*sub: 01, 02"):
        read_bids(folder.root, subjects=["01", "09"])


def test_read_bids_reads_derivative_events(folder):
    recording = folder.root / "derivatives/clean/sub-01/eeg/sub-01_task-story_desc-clean_eeg.fif"
    write_recording(recording)
    assert read_bids(folder.root, derivatives="clean")["onset"][0] == 2.0
    folder.write_table(EVENTS.replace("2.0", "1.0"), recording)
    assert read_bids(folder.root, derivatives="clean")["onset"][0] == 1.0
    assert read_bids(folder.root)["onset"][0] == 2.0
    cropped = folder.root / "derivatives/cropped/sub-01/eeg/sub-01_task-story_desc-clean_eeg.fif"
    write_recording(cropped, 30.0)
    with pytest.raises(
        ValueError, match=r"lasts 30\.0 s, but 'sub-01_task-story_eeg\.fif', .* 40\.0 s\. If it was"
    ):
        read_bids(folder.root, derivatives="cropped")


def test_read_bids_reads_mne_bids_pipeline(folder):
    made = folder.root / "derivatives/mne-bids-pipeline/sub-01/eeg"
    for name in ("proc-clean_raw", "proc-filt_raw", "proc-clean_epo", "proc-icafit_ica"):
        write_recording(made / f"sub-01_task-story_{name}.fif")
    with pytest.raises(
        ValueError, match=r"several versions: \['sub-01_task-story_proc-clean_raw\.fif', .*filt_raw"
    ):
        read_bids(folder.root, derivatives="mne-bids-pipeline")
    events = read_bids(folder.root, derivatives="mne-bids-pipeline", proc="clean")
    assert Path(events["recording"][0]).name == "sub-01_task-story_proc-clean_raw.fif"
    made.joinpath("sub-01_task-story_proc-clean_channels.tsv").write_text("name\tstatus\nA1\tbad\n")
    assert open_recording(events["recording"][0]).info["bads"] == ["A1"]


def test_read_bids_reads_matlab_and_refuses_4d(folder):
    write_fieldtrip(
        folder.recording.with_suffix(".mat"), np.random.default_rng(0).standard_normal((4, 4000)), 100.0
    )
    assert read_bids(folder.root)["recording"][0] == str(folder.recording)  # preferred to MATLAB
    folder.recording.unlink()
    events = read_bids(folder.root)
    X, _ = make_segments(events, tmin=0, tmax=1)
    assert np.asarray(Epocher(sfreq=50).fit_transform(X)).shape == (3, 4, 51)
    made_by_4d = folder.root / "sub-01/meg/sub-01_task-story_run-1_meg"
    made_by_4d.mkdir(parents=True)
    (made_by_4d / "config").touch()
    with pytest.raises(
        ValueError, match=r"4D Neuroimaging \(BTi\), which is not supported.*mne\.io\.read_raw_bti"
    ):
        read_bids(folder.root)
    assert len(read_bids(folder.root, datatype="eeg")) == 4


def test_read_bids_applies_audio_delay(folder):
    folder.add("sub-02/ses-a/eeg/sub-02_ses-a_task-story_eeg.fif")
    folder.write_table(EVENTS + "9\t1\tbad\tn/a\tn/a\n").rename(folder.root / "task-story_events.tsv")
    plain = read_bids(folder.root)
    moved = read_bids(folder.root, audio_delay={"sub-02": 0.1, "sub-02_ses-a": 0.03})
    by = (moved["onset"] - plain["onset"]).round(6)
    assert by[(plain["subject"] == "02") & (plain["type"] != "bad")].unique().tolist() == [0.03]
    assert by[(plain["subject"] == "01") | (plain["type"] == "bad")].unique().tolist() == [0.0]
    pd.testing.assert_series_equal(plain["sound_onset"], moved["sound_onset"])
    for wrong, message in [
        ("late", "must be a finite number of seconds"),
        (30, "at most 5 seconds"),
        ({"sub-03": 0.1}, "'sub-03'"),
    ]:
        with pytest.raises(ValueError, match=message):
            read_bids(folder.root, audio_delay=wrong)


def test_read_bids_names_placeholders(folder):
    key = ".git/annex/objects/00/11/SHA256E-s5--ab.wav/SHA256E-s5--ab.wav"
    folder.wav.unlink()
    folder.wav.symlink_to(f"../{key}")
    with pytest.raises(FileNotFoundError, match=r"(?s)datalad get -d .* stimuli/story\.wav.*git annex get"):
        read_bids(folder.root)
    folder.wav.unlink()
    folder.wav.write_text("/annex/objects/SHA256E-s5--ab.wav\n")  # an unlocked file
    with pytest.raises(FileNotFoundError, match="has not been fetched"):
        read_bids(folder.root)
    write_wav(folder.wav)
    folder.recording.unlink()
    folder.recording.symlink_to(f"../../{key}")
    with pytest.raises(FileNotFoundError, match=r"get sub-01/eeg/sub-01_task-story_eeg\.fif"):
        read_bids(folder.root)


def test_read_bids_adds_textgrid_words(folder):
    write_word_tier(
        folder.wav.with_suffix(".TextGrid"), [(0, 1, ""), (1, 1.5, "once"), (1.5, 2, "upon"), (18, 19, "end")]
    )
    folder.write_table(
        "onset\tduration\ttrial_type\tstim_file\tsound_onset\tvolume\n2\t10\tsound\tstory.wav\t0\t3\n"
        "15\t0\tsound\tstory.wav\t1.2\t5\n"
    )
    events = read_bids(folder.root)
    words = events[events["type"] == "word"]
    np.testing.assert_allclose(words["onset"], [3, 3.5, 15.3, 31.8])
    np.testing.assert_allclose(words["sound_onset"], [1, 1.5, 1.5, 18])
    assert words["volume"].tolist() == [3, 3, 5, 5]
    assert words["text"].tolist() == ["once", "upon", "upon", "end"]
    assert set(read_bids(folder.root, textgrids=False)["type"]) == {"sound"}
    folder.wav.with_suffix(".TextGrid").rename(folder.root / "story.textgrid")
    assert (read_bids(folder.root, textgrids=".")["type"] == "word").sum() == 4
    with pytest.raises(
        FileNotFoundError, match=r"holds no TextGrid with the name of an audio file, such as story\.TextGrid"
    ):
        read_bids(folder.root, textgrids="stimuli")


def test_read_bids_warns_missing_textgrids(folder):
    write_word_tier(folder.wav.with_suffix(".TextGrid"), [(1, 2, "once")])
    write_wav(folder.root / "stimuli/tale.wav", 10, seed=2)
    folder.write_table(HEADER.replace("\tword", "") + "2\t0\tsound\tstory.wav\n25\t0\tsound\ttale.wav\n")
    with pytest.warns(
        UserWarning, match=r"1 of 2 audio files have no TextGrid and therefore no words: tale\.wav"
    ):
        assert read_bids(folder.root)["text"].dropna().tolist() == ["once"]
    folder.wav.with_suffix(".TextGrid").rename(folder.root / "stimuli/tale.TextGrid")
    with pytest.warns(
        UserWarning, match=r"the duration in .*tale\.TextGrid' is 20\.0 s, but .*tale\.wav' lasts 10"
    ):
        read_bids(folder.root)


def test_read_bids_reads_broderick_folder(data_folder, tmp_path):
    root = tmp_path / "ds004408"
    root.mkdir()
    for path in sorted((data_folder / "broderick_bids").rglob("*")):
        target = root / path.relative_to(data_folder / "broderick_bids")
        if path.suffix == ".annex-pointer":
            target.with_suffix("").symlink_to(path.read_text().strip())
        elif path.is_dir():
            target.mkdir(parents=True)
        else:
            shutil.copy(path, target)
    with pytest.raises(FileNotFoundError, match=r"sub-001_task-listening_run-01_eeg\.eeg.*11 more"):
        read_bids(root, stimuli="audio{run}.wav")
    # Replace the placeholders by small recordings and audio files.
    for path in [*root.rglob("*.vhdr"), *root.rglob("*.eeg"), *root.rglob("*.vmrk"), *root.glob("stimuli/*")]:
        path.unlink()
    for path in root.rglob("*_eeg.json"):
        write_recording(path.with_suffix(".fif"), 30, ["A1", "A5", "B2", "C20"])
    for run in ("01", "02"):
        write_wav(root / f"stimuli/audio{run}.wav", 20, seed=int(run))
        write_word_tier(root / f"stimuli/audio{run}.TextGrid", [(1, 2, "he"), (2, 3, "was"), (3, 4, "old")])
    events = read_bids(root, task="listening", stimuli="audio{run}.wav")
    assert events.groupby(["subject", "run"]).size().to_dict() == {
        (subject, run): 4 for subject in ("001", "019") for run in ("01", "02")
    }
    bads = {Path(path).name: set(open_recording(path).info["bads"]) for path in events["recording"].unique()}
    for name, found in bads.items():
        table = read_sidecar_tsv(next(root.rglob(name.replace("eeg.fif", "channels.tsv"))))
        assert found == set(table.loc[table["status"] == "bad", "name"]) & {"A1", "A5", "B2", "C20"}
    assert any(bads.values())


def test_read_bids_reads_meg_masc_tables(data_folder, tmp_path):
    expected = {0: (4, 668, 2462, 52), 1: (6, 1503, 5113, 126)}  # as published
    root = tmp_path / "masc"
    for task in expected:
        source = data_folder / f"meg_masc/sub-04/ses-0/meg/sub-04_ses-0_task-{task}_events.tsv.gz"
        table = root / "sub-04/ses-0/meg" / source.stem
        write_recording(table.with_name(table.name.replace("events.tsv", "meg.fif")), 1)
        table.write_bytes(gzip.decompress(source.read_bytes()))
        rows = read_sidecar_tsv(table)
        ends = pd.to_numeric(rows["start"]) + pd.to_numeric(rows["duration"])
        names = rows["sound"].map(lambda name: Path(wav_of(name)).name)
        for number, (name, seconds) in enumerate(ends.groupby(names).max().items()):
            write_wav(root / "stimuli/audio" / name, seconds + 0.5, seed=10 * task + number)
    events = read_bids(
        root, columns={"sound_onset": "start"}, stimuli=wav_of, stimuli_dir="stimuli/audio", study="masc"
    )
    for task, counts in expected.items():
        of_task = events[events["task"] == str(task)]
        found = [(of_task["type"] == kind).sum() for kind in ("sound", "word", "phoneme")]
        assert (*found, of_task["sequence"].nunique()) == counts
    assert events["session"].unique().tolist() == ["0"]
    words = events[events["type"] == "word"]
    assert words["text"].iloc[0] == "Tara"
    assert words["speech_rate"].between(145, 205).all()
    assert set(words["condition"]) == {"sentence", "word_list", "pseudo_words"}


def test_read_bids_equals_mne_bids(tmp_path):
    """Recordings, channels and positions are equal in a valid folder."""
    make_listening(
        root=tmp_path, n_subjects=2, sessions=2, minutes=1, n_channels=16, modality="eeg", sfreq=64
    )
    root = next(path for path in tmp_path.iterdir() if path.is_dir())
    events = read_bids(root, task="listening").drop_duplicates("recording")
    paths = mne_bids.find_matching_paths(
        root, tasks="listening", suffixes="eeg", extensions=[".vhdr", ".fif", ".edf"]
    )
    assert sorted(events["recording"]) == sorted(str(path.fpath) for path in paths)
    for row in events.itertuples():
        path = mne_bids.get_bids_path_from_fname(row.recording)
        assert (path.subject, path.session, path.task) == (row.subject, row.session, row.task)
        expected = mne_bids.read_raw_bids(path, verbose="ERROR")
        raw = open_recording(row.recording)
        assert raw.info["bads"] == expected.info["bads"]
        assert raw.get_channel_types() == expected.get_channel_types()
        positions = [[ch["loc"][:3] for ch in one.info["chs"]] for one in (raw, expected)]
        assert np.isfinite(positions).all()
        np.testing.assert_allclose(*positions, atol=1e-6)
