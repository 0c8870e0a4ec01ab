"""A folder of BIDS is read from its path, and what is wrong in it is said with file, line and way out."""

import gzip
import json
import re
import shutil
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from helpers.bids_folders import EVENTS, HEADER, Folder, write_recording, write_wav
from helpers.raw_files import write_fieldtrip

from sk_b2s import Epocher, make_segments, read_bids
from sk_b2s.datasets import make_listening
from sk_b2s.io._raw._identity import recording_stamp
from sk_b2s.io._raw._recordings import open_raw
from sk_b2s.io._sidecars import entities_of, find_sidecar, read_tsv


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "small")


# --- what is read ------------------------------------------------------------------------------


def test_what_the_simulation_wrote_is_read_back(tmp_path):
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


def test_words_that_look_like_nothing_and_missing_durations(folder):
    events = read_bids(folder.root)
    assert events.loc[events["type"] == "word", "text"].tolist() == ["null", "nan", "None"]
    assert events["duration"].tolist() == [20.0, 0.5, 0.5, 0.5]
    assert events["sound_onset"].tolist() == [0.0, 1.0, 1.5, 3.0]
    assert events[["subject", "session", "task", "run"]].drop_duplicates().values.tolist() == [
        ["01", "", "story", ""]
    ]
    # A silence of 0.4 s ends a sentence, and its text is its name.
    assert events["sequence"].tolist()[1:] == ["null nan", "null nan", "none"]
    assert events["word_index"].tolist()[1:] == [0, 1, 0]
    assert read_bids(folder.root, sentence_gap=1.1)["sequence"].nunique() == 1


def test_columns_and_types_of_any_name(folder):
    folder.tell(
        "start\tlength\tkind\tfile\tToken\tf0\tspeaker_id\n2\t0\tAUDIO_ON\tstory.wav\tn/a\tn/a\tanna\n"
        "3\t0.5\tToken\tn/a\tété\t210\tanna\n4\t0.5\tbutton\tn/a\tn/a\tn/a\tn/a\n"
        "5\t1\tBAD_cough\tn/a\tn/a\tn/a\tn/a\n",
        encoding="utf-8-sig",
    )
    names = {"onset": "start", "duration": "length", "sound": "file", "text": "Token"}
    events = read_bids(
        folder.root, columns=names, types={"AUDIO_ON": "sound", "Token": "word", "button": None}
    )
    assert events["type"].tolist() == ["sound", "word", "bad"]
    assert events["text"].tolist()[1] == "été"
    assert events["f0"].tolist()[1] == 210.0
    assert events["speaker_id"].tolist()[:2] == ["anna", "anna"]
    with pytest.warns(UserWarning, match="left out rows whose type is not known: 1 of 'button'"):
        read_bids(folder.root, columns=names, types={"AUDIO_ON": "sound", "Token": "word"})


def test_of_several_columns_the_first_that_holds_a_value_counts(folder):
    folder.tell(
        "onset\tduration\ttrial_type\tstim_file\tphone\tlabel\n2\t0\tsound\tstory.wav\tn/a\tn/a\n"
        "3\t0.5\tword\tn/a\tn/a\tonce\n3\t0.2\tphone\tn/a\tW\tn/a\n"
    )
    events = read_bids(folder.root, columns={"text": ["label", "phone"]})
    assert events["text"].tolist()[1:] == ["once", "W"]


def test_without_a_type_words_are_words_and_names_of_sounds_are_sounds(folder):
    folder.tell("onset\tduration\tstim_file\tword\n2\t0\tstory.wav\tn/a\n3\t0.5\tn/a\tonce\n")
    assert read_bids(folder.root)["type"].tolist() == ["sound", "word"]
    folder.tell("onset\tduration\ttrial_type\n2\t0\tA\n30\t0\tB\n")
    write_wav(folder.root / "stimuli/other.wav", 5, seed=2)
    events = read_bids(folder.root, stimuli={"A": "story.wav", "B": "other.wav"})
    assert [Path(sound).name for sound in events["sound"]] == ["story.wav", "other.wav"]
    assert events["onset"].tolist() == [2.0, 30.0]


def test_sentences_by_index_and_indices_by_sentence(folder):
    rows = "".join(f"{3 + i}\t0.5\tword\tn/a\t{w}\t{{}}\n" for i, w in enumerate("abcd"))
    head = HEADER.replace("\n", "\t{}\n") + "2\t0\tsound\tstory.wav\tn/a\tn/a\n"
    folder.tell((head + rows).format("word_index", 1, 2, 1, 2))
    words = read_bids(folder.root)[1:]
    assert words["sequence"].tolist() == ["a b", "a b", "c d", "c d"]
    folder.tell((head + rows).format("sentence", 7, 7, 8, 8))
    words = read_bids(folder.root)[1:]
    assert words["word_index"].tolist() == [0, 1, 0, 1]
    assert words["sequence"].tolist() == ["story/7", "story/7", "story/8", "story/8"]


def test_a_whole_number_names_a_sentence_in_one_way(folder):
    """Programs write 7.0 for 7 where a column has a missing value; the sentence is one."""
    rows = "2\t0\tsound\tstory.wav\tn/a\t{}\n3\t0.5\tword\tn/a\tonce\t{}\n"
    head = HEADER.replace("\n", "\tsequence_id\n")
    folder.tell(head + rows.format("n/a", "7"))
    folder.tell(head + rows.format("n/a", "7.0"), folder.add("sub-02/eeg/sub-02_task-story_eeg.fif"))
    folder.tell(head + rows.format("x", "7.0"), folder.add("sub-03/eeg/sub-03_task-story_eeg.fif"))
    words = read_bids(folder.root).query("type == 'word'").set_index("subject")["sequence"]
    # Of names that are not all numbers none is one.
    assert words.to_dict() == {"01": "story/7", "02": "story/7", "03": "7.0"}


def test_a_number_that_names_two_sentences_gets_its_sound(folder):
    """Each run counts its sentences from 1; the second sentence of both is the same, by chance."""
    head = HEADER.replace("\n", "\tsentence\n") + "2\t0\tsound\t{}.wav\tn/a\tn/a\n"
    rows = "".join(f"{3 + i}\t0.5\tword\tn/a\t{{}}{w}\t{1 + i // 2}\n" for i, w in enumerate("abcd"))
    write_wav(folder.root / "stimuli/tale.wav", 20, seed=2)
    for subject in ("01", "02"):
        for run, sound in [("1", "story"), ("2", "tale")]:
            recording = folder.add(f"sub-{subject}/eeg/sub-{subject}_task-story_run-{run}_eeg.fif")
            folder.tell(head.format(sound) + rows.format(sound, sound, "", ""), recording)
    words = read_bids(folder.root, runs=["1", "2"]).query("type == 'word'")
    names = words.groupby(["subject", "run"])["sequence"].agg(lambda s: list(dict.fromkeys(s)))
    for subject in ("01", "02"):
        assert names[subject].to_dict() == {"1": ["story/1", "story/2"], "2": ["tale/1", "tale/2"]}
    alone = read_bids(folder.root, runs="1").query("type == 'word'")
    assert set(alone["sequence"]) == {"story/1", "story/2"}, "whatever else is read"


def test_a_recording_whose_table_says_nothing_is_named(folder):
    folder.tell(HEADER, folder.add("sub-02/eeg/sub-02_task-story_eeg.fif"))
    with pytest.warns(UserWarning, match=r"left out 1 of 2 recordings, .*: sub-02_task-story_eeg\.fif"):
        assert set(read_bids(folder.root)["subject"]) == {"01"}


def test_words_without_durations_last_until_the_next(folder):
    said = zip("abcd", (3.0, 3.5, 4.0, 4.5), ("n/a", "0.05", "n/a", "n/a"), strict=True)
    rows = "".join(f"{onset}\t{lasts}\tword\tn/a\t{word}\n" for word, onset, lasts in said)
    folder.tell(HEADER + "2\tn/a\tsound\tstory.wav\tn/a\n" + rows)
    words = read_bids(folder.root)[1:]
    assert words["sequence"].tolist() == ["a b", "a b", "c d", "c d"]
    folder.tell(HEADER + "2\tn/a\tsound\tstory.wav\tn/a\n3\tn/a\tword\tn/a\ta\n3.5\tn/a\tword\tn/a\tb\n")
    with pytest.warns(
        UserWarning, match=r"1 recordings cannot be found, because their words have no duration"
    ):
        events = read_bids(folder.root)
    assert events["sequence"].isna().all()


def test_columns_are_carried_whatever_their_name(folder):
    lines = [f"{line}\t{label}" for line, label in zip(EVENTS.splitlines(), ["label", *"xyzz"], strict=True)]
    folder.tell("\n".join(lines))
    assert read_bids(folder.root)["label"].tolist() == ["x", "y", "z", "z"]


def test_only_what_is_called_bad_is_bad(folder):
    folder.tell(EVENTS + "8\t1\tbadge\tn/a\tn/a\n9\t1\tBAD blink\tn/a\tn/a\n10\t1\tbad\tn/a\tn/a\n")
    with pytest.warns(UserWarning, match="1 of 'badge'"):
        events = read_bids(folder.root)
    assert events.loc[events["type"] == "bad", "onset"].tolist() == [9, 10]


def test_a_word_that_names_a_sound_which_is_not_there(folder):
    folder.tell(EVENTS.replace("0.5\tword\tn/a\tnull", "0.5\tword\tothr.wav\tnull"))
    with pytest.raises(
        FileNotFoundError, match=r"line 3: the sound 'othr\.wav' is not there; .*or None there"
    ):
        read_bids(folder.root)
    events = read_bids(folder.root, stimuli={"othr.wav": None})
    assert events["sound"].nunique() == 1
    write_wav(folder.root / "stimuli/othr.wav", 10, seed=3)
    with pytest.raises(ValueError, match=r"line 3', column 'sound_onset': expected a time in its stimulus"):
        read_bids(folder.root)
    folder.tell(
        HEADER.replace("\n", "\tstart\n")
        + "3\t0.5\tword\tothr.wav\tonce\t1.5\n4\t0.5\tword\tothr.wav\tupon\t2.5\n"
    )
    events = read_bids(folder.root, columns={"sound_onset": "start"})  # no row of a sound is needed then
    X, y = make_segments(events, tmin=0, tmax=1)
    assert y["sound_onset"].tolist() == [1.5, 2.5]
    assert np.asarray(Epocher(sfreq=32).fit_transform(X)).shape == (2, 3, 33)


def textgrid(path, words):
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "0 20 <exists> 1",
        '"IntervalTier" "words" 0 20',
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, str(len(words)), *(f'{a} {b} "{text}"' for a, b, text in words)]))


def test_a_textgrid_speaks_wherever_its_sound_plays(folder):
    textgrid(
        folder.wav.with_suffix(".TextGrid"), [(0, 1, ""), (1, 1.5, "once"), (1.5, 2, "upon"), (18, 19, "end")]
    )
    folder.tell(
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
    with pytest.raises(FileNotFoundError, match=r"holds no TextGrid named as a sound, story\.TextGrid"):
        read_bids(folder.root, textgrids="stimuli")


def test_a_sound_without_a_textgrid_where_others_have_one(folder):
    textgrid(folder.wav.with_suffix(".TextGrid"), [(1, 2, "once")])
    write_wav(folder.root / "stimuli/tale.wav", 10, seed=2)
    folder.tell(HEADER.replace("\tword", "") + "2\t0\tsound\tstory.wav\n25\t0\tsound\ttale.wav\n")
    with pytest.warns(UserWarning, match=r"1 of 2 sounds have no TextGrid, and no words: tale\.wav"):
        assert read_bids(folder.root)["text"].dropna().tolist() == ["once"]
    folder.wav.with_suffix(".TextGrid").rename(folder.root / "stimuli/tale.TextGrid")
    with pytest.warns(
        UserWarning, match=r"tale\.TextGrid' says that its sound lasts 20\.0 s, but .*tale\.wav' lasts 10"
    ):
        read_bids(folder.root)


def test_people_without_a_recording_are_told(folder):
    other = folder.root / "sub-02/eeg/sub-02_task-story_events.tsv"
    other.parent.mkdir(parents=True)
    other.write_text(EVENTS)
    with pytest.warns(UserWarning, match=r"left out 1 people who have events and no recording: 02"):
        assert set(read_bids(folder.root)["subject"]) == {"01"}


def test_a_recording_without_events_plays_the_sound_of_its_name(folder):
    folder.tell(EVENTS).unlink()
    with pytest.raises(FileNotFoundError, match=r"no events\.tsv.*stimuli='audio\{run\}\.wav'"):
        read_bids(folder.root)
    textgrid(folder.wav.with_suffix(".TextGrid"), [(1, 2, "once")])
    events = read_bids(folder.root, stimuli="{task}.wav")
    assert events[["type", "onset", "duration"]].values.tolist() == [["sound", 0, 20], ["word", 1, 1]]
    with pytest.raises(ValueError, match="has no entity 'run'; it has"):
        read_bids(folder.root, stimuli="audio{run}.wav")


def test_an_outer_table_holds_for_all_recordings(folder):
    folder.add("sub-02/ses-a/eeg/sub-02_ses-a_task-story_run-1_eeg.fif")
    folder.tell(EVENTS).rename(folder.root / "task-story_events.tsv")
    events = read_bids(folder.root)
    assert events.groupby("subject").size().to_dict() == {"01": 4, "02": 4}
    assert events.loc[events["subject"] == "02", ["session", "run"]].iloc[0].tolist() == ["a", "1"]
    assert read_bids(folder.root, subjects="sub-02")["subject"].unique().tolist() == ["02"]
    with pytest.raises(ValueError, match=r"2 recordings but none with ses='b'.*sub: 01, 02; ses: a"):
        read_bids(folder.root, sessions="b")
    with pytest.raises(ValueError, match=r"none with sub=\['09'\]\. There are .*sub: 01, 02"):
        read_bids(folder.root, subjects=["01", "09"])


# --- versions, parts and derivatives --------------------------------------------------------------


def test_versions_are_chosen_by_name(folder):
    clean = folder.root / "derivatives/clean"
    for desc in ("ica", "asr"):
        write_recording(clean / f"sub-01/eeg/sub-01_task-story_desc-{desc}_eeg.fif")
    with pytest.raises(ValueError, match=r"several versions, .*choose by proc= or desc="):
        read_bids(folder.root, derivatives="clean")
    events = read_bids(folder.root, derivatives="clean", desc="ica")
    assert Path(events["recording"][0]) == clean / "sub-01/eeg/sub-01_task-story_desc-ica_eeg.fif"
    assert len(events) == 4  # its events are in the raw folder
    assert "derivatives" not in read_bids(folder.root)["recording"][0]
    with pytest.raises(FileNotFoundError, match=r"derivatives='ica'.*holds \['clean'\]"):
        read_bids(folder.root, derivatives="ica")


def test_parts_that_are_no_chain_are_told(folder):
    folder.recording.unlink()
    for part in ("01", "02"):
        folder.add(f"sub-01/eeg/sub-01_task-story_split-{part}_eeg.fif")
    with pytest.raises(
        ValueError, match=r"split-01_eeg\.fif' and 1 further .* leads to 0 others.*concatenate_raws"
    ):
        read_bids(folder.root)


def test_endings_in_capitals_are_endings(folder):
    folder.recording.rename(folder.recording.with_suffix(".FIF"))
    events = read_bids(folder.root)
    assert len(make_segments(events, tmin=0, tmax=1)[0]) == 3


def test_a_derivative_has_its_own_table_or_that_of_the_root(folder):
    recording = folder.root / "derivatives/clean/sub-01/eeg/sub-01_task-story_desc-clean_eeg.fif"
    write_recording(recording)
    assert read_bids(folder.root, derivatives="clean")["onset"][0] == 2.0
    folder.tell(EVENTS.replace("2.0", "1.0"), recording)
    assert read_bids(folder.root, derivatives="clean")["onset"][0] == 1.0
    assert read_bids(folder.root)["onset"][0] == 2.0
    cropped = folder.root / "derivatives/cropped/sub-01/eeg/sub-01_task-story_desc-clean_eeg.fif"
    write_recording(cropped, 30.0)
    with pytest.raises(
        ValueError, match=r"lasts 30\.0 s, but 'sub-01_task-story_eeg\.fif', .* 40\.0 s\. If it was"
    ):
        read_bids(folder.root, derivatives="cropped")


def test_what_mne_bids_pipeline_writes_is_read(folder):
    made = folder.root / "derivatives/mne-bids-pipeline/sub-01/eeg"
    for name in ("proc-clean_raw", "proc-filt_raw", "proc-clean_epo", "proc-icafit_ica"):
        write_recording(made / f"sub-01_task-story_{name}.fif")
    with pytest.raises(
        ValueError, match=r"several versions, \['sub-01_task-story_proc-clean_raw\.fif', .*filt_raw"
    ):
        read_bids(folder.root, derivatives="mne-bids-pipeline")
    events = read_bids(folder.root, derivatives="mne-bids-pipeline", proc="clean")
    assert Path(events["recording"][0]).name == "sub-01_task-story_proc-clean_raw.fif"
    made.joinpath("sub-01_task-story_proc-clean_channels.tsv").write_text("name\tstatus\nA1\tbad\n")
    assert open_raw(events["recording"][0]).info["bads"] == ["A1"]


def test_matlab_is_read_and_4d_says_what_to_do(folder):
    write_fieldtrip(
        folder.recording.with_suffix(".mat"), np.random.default_rng(0).standard_normal((4, 4000)), 100.0
    )
    assert read_bids(folder.root)["recording"][0] == str(folder.recording)  # the first choice
    folder.recording.unlink()
    events = read_bids(folder.root)
    X, _ = make_segments(events, tmin=0, tmax=1)
    assert np.asarray(Epocher(sfreq=50).fit_transform(X)).shape == (3, 4, 51)
    made_by_4d = folder.root / "sub-01/meg/sub-01_task-story_run-1_meg"
    made_by_4d.mkdir(parents=True)
    (made_by_4d / "config").touch()
    with pytest.raises(
        ValueError, match=r"4D Neuroimaging \(BTi\), which is not read.*mne\.io\.read_raw_bti"
    ):
        read_bids(folder.root)
    assert len(read_bids(folder.root, datatype="eeg")) == 4


def test_a_recording_shorter_than_its_description_is_told(folder):
    events = read_bids(folder.root)
    folder.recording.with_suffix(".json").write_text('{"RecordingDuration": 80.0}')
    with pytest.warns(
        UserWarning, match=r"story_eeg\.fif' lasts 40\.0 s, but 'sub-01_task-story_eeg\.json' says 80"
    ):
        open_raw(folder.recording)
    with pytest.warns(UserWarning, match="left out 1 of 3 windows"):
        X, _ = make_segments(events.assign(recording_duration=80.0), tmin=0, tmax=34.6)
    assert len(X) == 2  # what the table says and the file does not hold is not there


def test_a_split_recording_is_one(folder):
    folder.recording.unlink()
    raw = mne.io.RawArray(np.random.default_rng(0).standard_normal((40, 40 * 1000)) * 1e-5,
                          mne.create_info(40, 1000, "eeg"), verbose="ERROR")  # fmt: skip
    raw.save(folder.recording, split_size="2MB", split_naming="bids", verbose="ERROR")
    parts = sorted(folder.recording.parent.glob("*.fif"))
    assert len(parts) > 2
    events = read_bids(folder.root)
    assert events["recording"].unique().tolist() == [str(parts[0])]
    assert open_raw(events["recording"][0]).n_times == 40_000


def test_rest_and_noise_are_not_asked_for(folder):
    for name in ("sub-01/eeg/sub-01_task-rest_eeg.fif", "sub-emptyroom/eeg/sub-emptyroom_task-noise_eeg.fif"):
        folder.add(name)
    assert read_bids(folder.root)["task"].unique().tolist() == ["story"]


# --- channels ----------------------------------------------------------------------------------


def test_channels_marked_bad_reach_the_windows(folder):
    X, _ = make_segments(read_bids(folder.root), tmin=0, tmax=1)
    before = recording_stamp(folder.recording)
    folder.tell(
        "name\ttype\tunits\tstatus\nA1\tEEG\tV\tgood\nA2\tEEG\tV\tbad\nA3\tVEOG\tV\tn/a\n",
        suffix="channels.tsv",
    )
    assert recording_stamp(folder.recording) != before  # what was cached is not used any more
    raw = open_raw(folder.recording)
    assert raw.info["bads"] == ["A2"]
    assert raw.get_channel_types() == ["eeg", "eeg", "eog"]
    epocher = Epocher(sfreq=32, baseline=None)
    windows = np.asarray(epocher.fit_transform(X))
    assert epocher.ch_names_ == ("A1", "A2")
    assert (windows[:, 1] == 0).all()
    assert windows[:, 0].std() > 0


def test_a_bad_channel_that_is_not_there_is_not_another(folder):
    folder.recording = folder.add("sub-01/eeg/sub-01_task-story_eeg.fif", names=("F3-C3", "C3-P3", "MLC11"))
    folder.tell("name\tstatus\nF3-A1\tbad\nMLC11-2908\tbad\nC3-P3\tgood\n", suffix="channels.tsv")
    assert open_raw(folder.recording).info["bads"] == ["MLC11"]
    folder.tell("channel\tstatus\nA1\tbad\n", suffix="channels.tsv")
    with pytest.raises(
        ValueError, match=r"channels\.tsv' lacks the column 'name'; it has \['channel', 'status'\]"
    ):
        open_raw(folder.recording)
    folder.tell("/annex/objects/SHA256E-s5--ab.tsv\n", suffix="channels.tsv")
    with pytest.raises(
        FileNotFoundError, match=r"table '.*channels\.tsv' has not been fetched.*git annex get"
    ):
        open_raw(folder.recording)


def test_electrodes_are_read_in_their_own_system(folder):
    stem = folder.recording.with_name("sub-01_space-{}_{}")
    Path(str(stem).format("CTF", "electrodes.tsv")).write_text("name\tx\ty\tz\nA1\t0.08\t0\t0.05\n")
    for system in ("CTF", "CapTrak"):
        about = {"EEGCoordinateSystem": system, "EEGCoordinateUnits": "m"}
        Path(str(stem).format(system, "coordsystem.json")).write_text(json.dumps(about))
    np.testing.assert_allclose(
        open_raw(folder.recording).info["chs"][0]["loc"][:3], [0, 0.08, 0.05], atol=1e-6
    )


@pytest.mark.parametrize(
    ("system", "unit", "row"), [("CapTrak", "m", "0.01\t0.07\t0.05"), ("CTF", "mm", "70\t-10\t50")]
)
def test_electrodes_are_where_their_table_says(folder, system, unit, row):
    about = {"EEGCoordinateSystem": system, "EEGCoordinateUnits": unit}
    where = folder.recording.with_name("sub-01_coordsystem.json")
    where.write_text(json.dumps(about))
    folder.recording.with_name("sub-01_space-x_electrodes.tsv").write_text(
        f"name\tx\ty\tz\nA1\t{row}\nA2\tn/a\tn/a\tn/a\n"
    )
    raw = open_raw(folder.recording)
    np.testing.assert_allclose(raw.info["chs"][0]["loc"][:3], [0.01, 0.07, 0.05], atol=1e-6)
    where.write_text(json.dumps({**about, "EEGCoordinateSystem": "fsaverage"}))
    assert open_raw(folder.recording).get_montage() is None


# --- time ----------------------------------------------------------------------------------------


def test_sound_that_came_late_moves_what_was_heard(folder):
    folder.add("sub-02/ses-a/eeg/sub-02_ses-a_task-story_eeg.fif")
    folder.tell(EVENTS + "9\t1\tbad\tn/a\tn/a\n").rename(folder.root / "task-story_events.tsv")
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


# --- what is wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (EVENTS.replace("3.5", "3,5"), {}, r"events\.tsv, line 4, column 'onset': expected a number, got '3,5'"),
        (EVENTS, {"columns": {"text": "Word"}}, r"has no column 'Word' \(did you mean 'word'\?\); it has"),
        (EVENTS, {"columns": {"txt": "word"}}, r"'txt' \(did you mean 'text'\?\) is none of"),
        (EVENTS, {"types": {"word": "token"}}, "'token' is none of sound, word, phoneme, bad, None"),
        (HEADER + "1\t1\tbutton\tn/a\tn/a\n", {}, "no row .* is known .*1 of 'button'.*types="),
        (HEADER, {}, "no row .* is known .*there are no rows"),
        (EVENTS.replace("5.0", "25"), {}, r"line 5'.*'story\.wav', has ended at 22\.000 s, .*audio file may be incomplete"),
        (EVENTS.replace("onset", "time"), {}, r"has no column 'onset'; it has \['time'.*columns=.'onset'"),
        (EVENTS.replace("stim_file", "file"), {}, r"line 2: a sound without the name of its file .*columns=.'sound'"),
        (EVENTS.replace("5.0", "n/a"), {}, "line 5', column 'onset': expected a time in seconds"),
        (EVENTS.replace("2.0", "4.0"), {}, r"line 3', column 'sound': expected a stimulus, given or playing"),
        (EVENTS.replace("3.5\t0.5\tword\tn/a\tnan", "3.0\t0.5\tword\tn/a\tnull"), {}, "expected each event once"),
        (EVENTS, {"datatype": "ieeg"}, "datatype must be 'eeg', 'meg' or None"),
        (EVENTS + "12.5\t0.5\tword\n", {}, r"events\.tsv', line 6: expected 5 fields as in the first .* got 3: '12\.5"),
        (EVENTS + "12.5\t0.5\tword\tn/a\ta\tb\n", {}, r"line 6: expected 5 fields .* got 6"),
        (EVENTS.replace("\t", ","), {}, r"has no column 'onset'; .* with commas between them: fields of BIDS are"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(folder, text, options, message):
    folder.tell(text)
    with pytest.raises(ValueError, match=message):
        read_bids(folder.root, **options)


def test_a_missing_wav_and_a_missing_folder(folder):
    folder.tell(EVENTS.replace("story.wav", "Story.WAV"))
    with pytest.raises(FileNotFoundError, match=r"'Story\.WAV' is not there \(did you mean 'story\.wav'\?\)"):
        read_bids(folder.root)
    folder.tell(EVENTS.replace("story.wav", "tale.wav"))
    with pytest.raises(
        FileNotFoundError, match=r"line 2: the sound 'tale\.wav' is not there; .*stimuli_dir=.*stimuli="
    ):
        read_bids(folder.root)
    events = read_bids(folder.root, stimuli=lambda name: name.replace("tale", "story"))
    assert Path(events["sound"][0]).name == "story.wav"
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        read_bids(folder.root / "nowhere")
    with pytest.raises(ValueError, match=r"has no recordings .*formats looked for"):
        read_bids(folder.root / "stimuli")


def test_content_that_git_annex_keeps_elsewhere(folder):
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


def test_tabs_at_the_end_of_a_line_are_no_fields(folder):
    plain = read_bids(folder.root)
    folder.tell(EVENTS.replace("\n", "\t\n").replace("word\t\n", "word\n", 1) + "\n\t\n")
    pd.testing.assert_frame_equal(read_bids(folder.root), plain)
    folder.tell(EVENTS.replace("\n", "\r\n"))
    pd.testing.assert_frame_equal(read_bids(folder.root), plain)


def test_entities_and_tables():
    assert entities_of("sub-01_ses-2_task-a_run-03_split-01_meg.fif")["run"] == "03"
    assert entities_of("notes.txt") == {"suffix": "notes"}
    assert entities_of("my_raw.fif") == {}


def test_the_nearest_table_with_most_entities_counts(folder):
    outer = folder.root / "channels.tsv"
    outer.write_text("name\nA1\n")
    assert find_sidecar(folder.recording, "channels.tsv") == outer
    near = folder.tell("name\nA1\n", suffix="channels.tsv")
    near.with_name("sub-01_channels.tsv").write_text("name\n")
    near.with_name("sub-01_task-other_channels.tsv").write_text("name\n")
    assert find_sidecar(folder.recording, "channels.tsv") == near
    assert read_tsv(near)["name"].tolist() == ["A1"]
    near.write_bytes(b"name\n\xff\xfe\n")
    with pytest.raises(ValueError, match="no table of BIDS"):
        read_tsv(near)


# --- real folders --------------------------------------------------------------------------------


def test_the_public_broderick_folder_asks_for_its_content(data_folder, tmp_path):
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
    # Content that has been fetched: recordings and a sound of our own in the place of theirs.
    for path in [*root.rglob("*.vhdr"), *root.rglob("*.eeg"), *root.rglob("*.vmrk"), *root.glob("stimuli/*")]:
        path.unlink()
    for path in root.rglob("*_eeg.json"):
        write_recording(path.with_suffix(".fif"), 30, ["A1", "A5", "B2", "C20"])
    for run in ("01", "02"):
        write_wav(root / f"stimuli/audio{run}.wav", 20, seed=int(run))
        textgrid(root / f"stimuli/audio{run}.TextGrid", [(1, 2, "he"), (2, 3, "was"), (3, 4, "old")])
    events = read_bids(root, task="listening", stimuli="audio{run}.wav")
    assert events.groupby(["subject", "run"]).size().to_dict() == {
        (subject, run): 4 for subject in ("001", "019") for run in ("01", "02")
    }
    bads = {Path(path).name: set(open_raw(path).info["bads"]) for path in events["recording"].unique()}
    for name, found in bads.items():
        table = read_tsv(next(root.rglob(name.replace("eeg.fif", "channels.tsv"))))
        assert found == set(table.loc[table["status"] == "bad", "name"]) & {"A1", "A5", "B2", "C20"}
    assert any(bads.values())


def test_the_tables_of_meg_masc_are_any_tables(data_folder, tmp_path):
    expected = {0: (4, 668, 2462, 52), 1: (6, 1503, 5113, 126)}  # as published
    root = tmp_path / "masc"
    for task in expected:
        source = data_folder / f"meg_masc/sub-04/ses-0/meg/sub-04_ses-0_task-{task}_events.tsv.gz"
        table = root / "sub-04/ses-0/meg" / source.stem
        write_recording(table.with_name(table.name.replace("events.tsv", "meg.fif")), 1)
        table.write_bytes(gzip.decompress(source.read_bytes()))
        rows = read_tsv(table)
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


def wav_of(name):
    """MEG-MASC writes 'stimuli/audio/Easy_Money_0.0.wav' for 'easy_money_0.wav'."""
    return Path(re.sub(r"(\d+)\.0\.wav$", r"\1.wav", name)).name.lower()


def test_read_bids_refuses_sounds_outside_its_folder(folder):
    outside = write_wav(folder.root.parent / "secret.wav")
    folder.tell(EVENTS.replace("story.wav", "../../secret.wav"))
    with pytest.raises(ValueError, match=r"line 2: the sound '../../secret.wav' is outside of the data set"):
        read_bids(folder.root)
    given = read_bids(folder.root, stimuli={"../../secret.wav": str(outside)})
    assert given["sound"].unique().tolist() == [str(outside)]
    folder.tell(EVENTS.replace("story.wav", str(outside)))
    assert read_bids(folder.root)["sound"].unique().tolist() == [str(outside)]
    folder.tell(EVENTS.replace("story.wav", "x" * 5000))
    with pytest.raises(FileNotFoundError, match=r"5,000 characters") as told:
        read_bids(folder.root)
    assert len(str(told.value)) < 1500
    (folder.root / "stimuli/sub").mkdir()
    folder.tell(EVENTS.replace("story.wav", "sub/../story.wav"))
    assert read_bids(folder.root)["sound"].nunique() == 1
