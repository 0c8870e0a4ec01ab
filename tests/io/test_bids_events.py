"""Tests for events tables from events.tsv files."""

import shutil
from pathlib import Path

import mne
import mne_bids
import numpy as np
import pandas as pd
import pytest
import soundfile
from helpers.bids_folders import EVENTS, HEADER, write_wav, write_word_tier
from helpers.recorded_warnings import record_warnings

from sk_b2s import Epocher, check_events, make_segments, read_bids


def test_read_bids_keeps_words_like_missing_values(folder):
    events = read_bids(folder.root)
    assert events.loc[events["type"] == "word", "text"].tolist() == ["null", "nan", "None"]
    assert events["duration"].tolist() == [20.0, 0.5, 0.5, 0.5]
    assert events["sound_onset"].tolist() == [0.0, 1.0, 1.5, 3.0]
    assert events[["subject", "session", "task", "run"]].drop_duplicates().values.tolist() == [
        ["01", "", "story", ""]
    ]
    # A silence of 0.4 s ends a sentence, which is named by its text.
    assert events["sequence"].tolist()[1:] == ["null nan", "null nan", "none"]
    assert events["word_index"].tolist()[1:] == [0, 1, 0]
    assert read_bids(folder.root, sentence_gap=1.1)["sequence"].nunique() == 1


def test_read_bids_maps_columns_and_types(folder):
    folder.write_table(
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
    with pytest.warns(UserWarning, match="dropped rows of unknown type: 1 of 'button'"):
        read_bids(folder.root, columns=names, types={"AUDIO_ON": "sound", "Token": "word"})


def test_read_bids_uses_first_column_with_value(folder):
    folder.write_table(
        "onset\tduration\ttrial_type\tstim_file\tphone\tlabel\n2\t0\tsound\tstory.wav\tn/a\tn/a\n"
        "3\t0.5\tword\tn/a\tn/a\tonce\n3\t0.2\tphone\tn/a\tW\tn/a\n"
    )
    events = read_bids(folder.root, columns={"text": ["label", "phone"]})
    assert events["text"].tolist()[1:] == ["once", "W"]


def test_read_bids_reads_tags(folder):
    (folder.wav.parent / "story.txt").write_text("once upon")
    folder.write_table(
        "onset\tduration\ttrial_type\n2\t0\tsound/story\n3\t0.5\tword/once\n4\t0.5\tWord/a/b\n"
        "4\t0.1\tphoneme/AH\n5\t0.5\tToken/upon\n"
    )
    events = read_bids(folder.root, types={"Token": "word"})
    assert events["type"].tolist() == ["sound", "word", "word", "phoneme", "word"]
    assert set(events["sound"]) == {str(folder.wav)}
    assert sorted(events["text"].dropna()) == ["AH", "a/b", "once", "upon"]
    assert events.loc[events["text"] == "upon", "trial_type"].tolist() == ["Token/upon"]


def test_read_bids_prefers_column_to_tag(folder):
    folder.write_table(
        "onset\tduration\ttrial_type\tstim_file\tword\n2\t0\tsound/x\tstory.wav\tn/a\n"
        "3\t0.5\tword/noun\tn/a\tqueen\n4\t0.5\tword/now\tn/a\tn/a\n"
    )
    assert read_bids(folder.root)["text"].tolist()[1:] == ["queen", "now"]


def test_read_bids_maps_patterns_and_functions(folder):
    table = "onset\tduration\ttrial_type\tstim_file\tword\n2\t0\tplay\tstory.wav\tn/a\n"
    folder.write_table(table + "3\t0.5\tnoun_1\tn/a\tqueen\n4\t0.5\tverb_2\tn/a\tran\n5\t0\tkey\tn/a\tn/a\n")
    expected = ["sound", "word", "word"]
    types = {"play": "sound", "noun_*": "word", "verb_[12]": "word", "k?y": None}
    assert read_bids(folder.root, types=types)["type"].tolist() == expected
    kinds = {"play": "sound", "noun_1": "word", "verb_2": "word"}
    assert read_bids(folder.root, types=kinds.get)["type"].tolist() == expected
    folder.write_table(table + "3\t0.5\tn/a\tn/a\tqueen\n")
    assert len(read_bids(folder.root, types=lambda value: None if value == "n/a" else "sound")) == 1
    with pytest.raises(ValueError, match=r"types\('play'\) returned 'audio': expected one of sound"):
        read_bids(folder.root, types=lambda value: "audio")


def test_read_bids_reads_mne_bids_tags(folder):
    """Recordings with annotations, as MNE-BIDS writes them."""
    info = mne.create_info(["M1", "M2"], 100, "mag")
    raw = mne.io.RawArray(np.random.default_rng(0).standard_normal((2, 4000)) * 1e-13, info, verbose="ERROR")
    raw.set_annotations(mne.Annotations([2, 3, 4], [20, 0.5, 0.5], ["sound/story", "word/the", "word/queen"]))
    raw.save(folder.root / "own_raw.fif", verbose="ERROR")
    raw = mne.io.read_raw_fif(folder.root / "own_raw.fif", verbose="ERROR")
    raw.info["line_freq"] = 50
    path = mne_bids.BIDSPath(subject="07", task="tags", root=folder.root, datatype="meg")
    mne_bids.write_raw_bids(raw, path, verbose="ERROR")
    events = read_bids(folder.root, task="tags")
    assert events["type"].tolist() == ["sound", "word", "word"]
    assert events["text"].tolist()[1:] == ["the", "queen"]
    assert events["onset"].tolist() == [2.0, 3.0, 4.0]


def test_read_bids_infers_missing_types(folder):
    folder.write_table("onset\tduration\tstim_file\tword\n2\t0\tstory.wav\tn/a\n3\t0.5\tn/a\tonce\n")
    assert read_bids(folder.root)["type"].tolist() == ["sound", "word"]
    folder.write_table("onset\tduration\ttrial_type\n2\t0\tA\n30\t0\tB\n")
    write_wav(folder.root / "stimuli/other.wav", 5, seed=2)
    events = read_bids(folder.root, stimuli={"A": "story.wav", "B": "other.wav"})
    assert [Path(sound).name for sound in events["sound"]] == ["story.wav", "other.wav"]
    assert events["onset"].tolist() == [2.0, 30.0]


def test_read_bids_counts_rows_without_types(folder):
    folder.write_table(
        "onset\tduration\tstim_file\tword\n2\t0\tstory.wav\tn/a\n3\t0.5\tn/a\tonce\n4\t0\tn/a\tn/a\n"
    )
    with pytest.warns(UserWarning, match=r"dropped 1 rows without a stimulus or a word.*types={'n/a': None}"):
        assert read_bids(folder.root)["type"].tolist() == ["sound", "word"]
    events, text = record_warnings(read_bids, folder.root, types={"n/a": None})
    assert (events["type"].tolist(), text) == (["sound", "word"], "")
    folder.write_table(EVENTS + "6\t0\tn/a\tn/a\tn/a\n")
    _, text = record_warnings(read_bids, folder.root, types={"n/a": None})
    assert text == ""
    folder.write_table("onset\tduration\tstim_file\tword\n2\t0\tstory.wav\tn/a\n3\t0.5\tn/a\tonce\n")
    events = read_bids(folder.root, types={"play": "sound"}.__getitem__)  # of no row
    assert events["type"].tolist() == ["sound", "word"]


@pytest.mark.parametrize("sign", [" ", ": ", "="])
def test_read_bids_reads_tags_of_patterns(sign, folder):
    folder.write_table(f"onset\tduration\ttrial_type\n2\t0\tplay{sign}story\n3\t0.5\ttoken{sign}n/a\n")
    pattern = f"{sign.strip() or sign}*"
    events = read_bids(folder.root, types={f"play{pattern}": "sound", f"token{pattern}": "word"})
    assert (Path(events["sound"][0]).name, events["text"].iloc[1]) == ("story.wav", "n/a")


@pytest.mark.parametrize("convert", [str, Path])
def test_read_bids_refuses_folder_as_stimuli(convert, folder):
    with pytest.raises(ValueError, match=r"Got the folder '.*stimuli'\. Pass .*as stimuli_dir="):
        read_bids(folder.root, stimuli=convert(folder.root / "stimuli"))


def test_read_bids_names_folder_with_audio(folder):
    (folder.root / "sounds/deep").mkdir(parents=True)
    (folder.root / "stimuli/story.wav").rename(folder.root / "sounds/deep/story.wav")
    with pytest.raises(FileNotFoundError, match=r"The folder 'sounds/deep' has 'story\.wav'\. Pass"):
        read_bids(folder.root)
    folder.write_table(EVENTS.replace("story.wav", "C:\\exp\\story.wav"))
    assert Path(read_bids(folder.root, stimuli_dir="sounds/deep")["sound"].iloc[0]).name == "story.wav"


def test_read_bids_fills_sentences_and_indices(folder):
    rows = "".join(f"{3 + i}\t0.5\tword\tn/a\t{w}\t{{}}\n" for i, w in enumerate("abcd"))
    head = HEADER.replace("\n", "\t{}\n") + "2\t0\tsound\tstory.wav\tn/a\tn/a\n"
    folder.write_table((head + rows).format("word_index", 1, 2, 1, 2))
    words = read_bids(folder.root)[1:]
    assert words["sequence"].tolist() == ["a b", "a b", "c d", "c d"]
    folder.write_table((head + rows).format("sentence", 7, 7, 8, 8))
    words = read_bids(folder.root)[1:]
    assert words["word_index"].tolist() == [0, 1, 0, 1]
    assert words["sequence"].tolist() == ["story/7", "story/7", "story/8", "story/8"]


def test_read_bids_normalizes_sentence_numbers(folder):
    """Programs write 7.0 for 7 in columns with missing values."""
    rows = "2\t0\tsound\tstory.wav\tn/a\t{}\n3\t0.5\tword\tn/a\tonce\t{}\n"
    head = HEADER.replace("\n", "\tsequence_id\n")
    folder.write_table(head + rows.format("n/a", "7"))
    folder.write_table(head + rows.format("n/a", "7.0"), folder.add("sub-02/eeg/sub-02_task-story_eeg.fif"))
    folder.write_table(head + rows.format("x", "7.0"), folder.add("sub-03/eeg/sub-03_task-story_eeg.fif"))
    words = read_bids(folder.root).query("type == 'word'").set_index("subject")["sequence"]
    # A column with other names is kept as text.
    assert words.to_dict() == {"01": "story/7", "02": "story/7", "03": "7.0"}


def test_read_bids_prefixes_sentence_numbers(folder):
    """Each run counts its sentences from 1."""
    head = HEADER.replace("\n", "\tsentence\n") + "2\t0\tsound\t{}.wav\tn/a\tn/a\n"
    rows = "".join(f"{3 + i}\t0.5\tword\tn/a\t{{}}{w}\t{1 + i // 2}\n" for i, w in enumerate("abcd"))
    write_wav(folder.root / "stimuli/tale.wav", 20, seed=2)
    for subject in ("01", "02"):
        for run, sound in [("1", "story"), ("2", "tale")]:
            recording = folder.add(f"sub-{subject}/eeg/sub-{subject}_task-story_run-{run}_eeg.fif")
            folder.write_table(head.format(sound) + rows.format(sound, sound, "", ""), recording)
    words = read_bids(folder.root, runs=["1", "2"]).query("type == 'word'")
    names = words.groupby(["subject", "run"])["sequence"].agg(lambda s: list(dict.fromkeys(s)))
    for subject in ("01", "02"):
        assert names[subject].to_dict() == {"1": ["story/1", "story/2"], "2": ["tale/1", "tale/2"]}
    alone = read_bids(folder.root, runs="1").query("type == 'word'")
    assert set(alone["sequence"]) == {"story/1", "story/2"}


def test_read_bids_warns_empty_tables(folder):
    folder.write_table(HEADER, folder.add("sub-02/eeg/sub-02_task-story_eeg.fif"))
    with pytest.warns(UserWarning, match=r"dropped 1 of 2 recordings, .*: sub-02_task-story_eeg\.fif"):
        assert set(read_bids(folder.root)["subject"]) == {"01"}


def test_read_bids_estimates_word_durations(folder):
    words = zip("abcd", (3.0, 3.5, 4.0, 4.5), ("n/a", "0.05", "n/a", "n/a"), strict=True)
    rows = "".join(f"{onset}\t{lasts}\tword\tn/a\t{word}\n" for word, onset, lasts in words)
    folder.write_table(HEADER + "2\tn/a\tsound\tstory.wav\tn/a\n" + rows)
    words = read_bids(folder.root)[1:]
    assert words["sequence"].tolist() == ["a b", "a b", "c d", "c d"]
    folder.write_table(
        HEADER + "2\tn/a\tsound\tstory.wav\tn/a\n3\tn/a\tword\tn/a\ta\n3.5\tn/a\tword\tn/a\tb\n"
    )
    with pytest.warns(
        UserWarning, match=r"1 recordings cannot be found, because their words have no duration"
    ):
        events = read_bids(folder.root)
    assert events["sequence"].isna().all()


def test_read_bids_copies_unknown_columns(folder):
    lines = [f"{line}\t{label}" for line, label in zip(EVENTS.splitlines(), ["label", *"xyzz"], strict=True)]
    folder.write_table("\n".join(lines))
    assert read_bids(folder.root)["label"].tolist() == ["x", "y", "z", "z"]


def test_read_bids_keeps_leading_zeros(folder):
    columns = {
        "code": ["007", "12", "n/a", "1"],
        "count": ["7", "12", "n/a", "1"],
        "level": ["0.50", "1.0", "-2", "1e-3"],
    }
    lines = [
        "\t".join(fields)
        for fields in zip(*([name, *values] for name, values in columns.items()), strict=True)
    ]
    folder.write_table(
        "\n".join(f"{line}\t{more}" for line, more in zip(EVENTS.splitlines(), lines, strict=True))
    )
    events = read_bids(folder.root)
    assert events["code"].dropna().tolist() == ["007", "12", "1"]
    assert events["count"].dropna().tolist() == [7, 12, 1]
    assert events["level"].tolist() == [0.5, 1, -2, 1e-3]


def test_read_bids_types_agree_between_tables(folder):
    other = folder.add("sub-02/eeg/sub-02_task-story_eeg.fif")
    line, *lines = EVENTS.splitlines()
    for recording, value in ((folder.recording, "12"), (other, "007")):
        table = [f"{line}\tcode", *(f"{one}\t{value}" for one in lines)]
        folder.write_table("\n".join(table), recording)
    assert set(read_bids(folder.root)["code"]) == {"12", "007"}


def test_read_bids_recognizes_bad_rows(folder):
    folder.write_table(EVENTS + "8\t1\tbadge\tn/a\tn/a\n9\t1\tBAD blink\tn/a\tn/a\n10\t1\tbad\tn/a\tn/a\n")
    with pytest.warns(UserWarning, match="1 of 'badge'"):
        events = read_bids(folder.root)
    assert events.loc[events["type"] == "bad", "onset"].tolist() == [9, 10]


def test_read_bids_names_missing_audio_of_words(folder):
    folder.write_table(EVENTS.replace("0.5\tword\tn/a\tnull", "0.5\tword\tothr.wav\tnull"))
    with pytest.raises(
        FileNotFoundError, match=r"line 3: the audio file 'othr\.wav' does not exist.*map the name to None"
    ):
        read_bids(folder.root)
    events = read_bids(folder.root, stimuli={"othr.wav": None})
    assert events["sound"].nunique() == 1
    write_wav(folder.root / "stimuli/othr.wav", 10, seed=3)
    with pytest.raises(ValueError, match=r"line 3', column 'sound_onset': expected a time in its stimulus"):
        read_bids(folder.root)
    folder.write_table(
        HEADER.replace("\n", "\tstart\n")
        + "3\t0.5\tword\tothr.wav\tonce\t1.5\n4\t0.5\tword\tothr.wav\tupon\t2.5\n"
    )
    events = read_bids(folder.root, columns={"sound_onset": "start"})  # without a row of type sound
    X, y = make_segments(events, tmin=0, tmax=1)
    assert y["sound_onset"].tolist() == [1.5, 2.5]
    assert np.asarray(Epocher(sfreq=32).fit_transform(X)).shape == (2, 3, 33)


def test_read_bids_names_stimulus_by_template(folder):
    folder.write_table(EVENTS).unlink()
    with pytest.raises(FileNotFoundError, match=r"no events\.tsv.*stimuli='audio\{run\}\.wav'"):
        read_bids(folder.root)
    write_word_tier(folder.wav.with_suffix(".TextGrid"), [(1, 2, "once")])
    events = read_bids(folder.root, stimuli="{task}.wav")
    assert events[["type", "onset", "duration"]].values.tolist() == [["sound", 0, 20], ["word", 1, 1]]
    with pytest.raises(ValueError, match="names the entity 'run', which"):
        read_bids(folder.root, stimuli="audio{run}.wav")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (EVENTS.replace("3.5", "3,5"), {}, r"events\.tsv, line 4, column 'onset': expected a number, got '3,5'"),
        (EVENTS, {"columns": {"text": "Word"}}, r"has no column 'Word' \(did you mean 'word'\?\)\. It has"),
        (EVENTS, {"columns": {"txt": "word"}}, r"'txt' \(did you mean 'text'\?\) is not a column of"),
        (EVENTS, {"types": {"word": "token"}}, r"'word': 'token'.: expected one of sound, image, .*or the name of a column"),
        (HEADER + "1\t1\tbutton\tn/a\tn/a\n", {}, "No row .* known type .*Found 1 of 'button'.*types="),
        (HEADER, {}, "No row .* known type .*Found no rows"),
        (EVENTS.replace("5.0", "25"), {}, r"line 5'.*'story\.wav', has ended at 22\.000 s, .*audio file may be incomplete"),
        (EVENTS.replace("onset", "time"), {}, r"has no column 'onset'\. It has \['time'.*columns=.'onset'"),
        (EVENTS.replace("stim_file", "file"), {}, r"line 2: a row of type sound must name its audio file .*columns=.'sound'"),
        (EVENTS.replace("5.0", "n/a"), {}, "line 5', column 'onset': expected a time in seconds"),
        (EVENTS.replace("2.0", "4.0"), {}, r"line 3', column 'sound': expected a stimulus, given or playing"),
        (EVENTS.replace("3.5\t0.5\tword\tn/a\tnan", "3.0\t0.5\tword\tn/a\tnull"), {}, "expected each event once"),
        (EVENTS, {"datatype": "ieeg"}, "'datatype' parameter must be 'eeg', 'meg' or None"),
        (EVENTS + "12.5\t0.5\tword\n", {}, r"events\.tsv', line 6: expected 5 fields as in the header, got 3: '12\.5"),
        (EVENTS + "12.5\t0.5\tword\tn/a\ta\tb\n", {}, r"line 6: expected 5 fields .* got 6"),
        (EVENTS.replace("\t", ","), {}, r"has no column 'onset'.* separated by commas, but BIDS tables"),
    ],
)  # fmt: skip
def test_read_bids_names_invalid_rows(folder, text, options, message):
    folder.write_table(text)
    with pytest.raises(ValueError, match=message):
        read_bids(folder.root, **options)


def test_read_bids_names_missing_audio(folder):
    folder.write_table(EVENTS.replace("story.wav", "Story.WAV"))
    with pytest.raises(
        FileNotFoundError, match=r"'Story\.WAV' does not exist \(did you mean 'story\.wav'\?\)"
    ):
        read_bids(folder.root)
    folder.write_table(EVENTS.replace("story.wav", "tale.wav"))
    with pytest.raises(
        FileNotFoundError, match=r"line 2: the audio file 'tale\.wav' does not exist.*stimuli_dir=.*stimuli="
    ):
        read_bids(folder.root)
    events = read_bids(folder.root, stimuli=lambda name: name.replace("tale", "story"))
    assert Path(events["sound"][0]).name == "story.wav"
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        read_bids(folder.root / "nowhere")
    with pytest.raises(ValueError, match=r"has no recordings .*Supported formats"):
        read_bids(folder.root / "stimuli")


def test_read_bids_refuses_audio_outside_folder(folder):
    outside = write_wav(folder.root.parent / "secret.wav")
    folder.write_table(EVENTS.replace("story.wav", "../../secret.wav"))
    with pytest.raises(
        ValueError, match=r"line 2: the audio file '../../secret.wav' is outside of the data set"
    ):
        read_bids(folder.root)
    given = read_bids(folder.root, stimuli={"../../secret.wav": str(outside)})
    assert given["sound"].unique().tolist() == [str(outside)]
    folder.write_table(EVENTS.replace("story.wav", str(outside)))
    assert read_bids(folder.root)["sound"].unique().tolist() == [str(outside)]
    folder.write_table(EVENTS.replace("story.wav", "x" * 5000))
    with pytest.raises(FileNotFoundError, match=r"5,000 characters") as caught:
        read_bids(folder.root)
    assert len(str(caught.value)) < 1500
    (folder.root / "stimuli/sub").mkdir()
    folder.write_table(EVENTS.replace("story.wav", "sub/../story.wav"))
    assert read_bids(folder.root)["sound"].nunique() == 1


@pytest.mark.parametrize("name", ["../../../../etc/passwd", "../../outside.wav"])
def test_read_bids_refuses_relative_outside_path(name, folder):
    soundfile.write(folder.root.parent / "outside.wav", np.zeros(100), 1000)
    folder.write_table(EVENTS.replace("story.wav", name))
    with pytest.raises(
        ValueError, match=r"_events\.tsv, line 2: the audio file .* is outside of the data set"
    ):
        read_bids(folder.root)
    events = read_bids(folder.root, stimuli={name: str(folder.wav)})
    assert events["sound"].unique().tolist() == [str(folder.wav)]


def test_read_bids_warns_absolute_outside_path(folder):
    outside = shutil.copy(folder.wav, folder.root.parent / "outside.wav")
    folder.write_table(EVENTS.replace("story.wav", str(outside)))
    _, text = record_warnings(read_bids, folder.root)
    assert "uses 1 audio files outside of the data set" in text
    assert "outside.wav" in text
    assert record_warnings(read_bids, folder.root, stimuli={str(outside): str(outside)})[1] == ""
    folder.write_table(EVENTS.replace("story.wav", "/etc/passwd"))
    with pytest.raises(ValueError, match=r"line 2', column 'sound': The file '/etc/passwd'"):
        record_warnings(read_bids, folder.root)


def test_read_bids_shortens_long_names(folder):
    folder.write_table(EVENTS.replace("story.wav", "a" * 5000 + ".wav"))
    with pytest.raises(FileNotFoundError, match="line 2: the audio file 'aaa.* does not exist") as error:
        read_bids(folder.root)
    assert len(str(error.value)) < 1500


def test_read_bids_names_row_of_invalid_audio(folder):
    (folder.root / "stimuli/story.wav").write_text("no sound")
    with pytest.raises(ValueError, match=r"events row '.*line 2', column 'sound': The file .*story\.wav"):
        read_bids(folder.root)


@pytest.mark.parametrize(("lasts", "unit"), [("1e300", ""), ("300", r" Are times in milliseconds\?")])
def test_read_bids_refuses_words_after_audio_end(lasts, unit, folder):
    folder.write_table(EVENTS.replace("\t0.5\t", f"\t{lasts}\t"))
    with pytest.raises(
        ValueError, match=rf"line 3', column 'duration': expected a word .*20\.000 s.*rows\)\.{unit}$"
    ):
        read_bids(folder.root)


def test_read_bids_warns_long_words(folder):
    folder.write_table(EVENTS.replace("5.0\t0.5", "5.0\t12"))
    _, text = record_warnings(read_bids, folder.root)
    assert "1 of 3 words and phonemes last longer than 10 s" in text
    assert "'None' at 5.000 s lasts 12.000 s" in text


@pytest.mark.parametrize(
    ("begin", "message"), [(-3.0, "a time in the audio file"), (25.0, "'story.wav' of 20.000 s")]
)
def test_read_bids_refuses_invalid_sound_onset(begin, message, folder):
    folder.write_table(
        f"onset\tduration\ttrial_type\tstim_file\tsound_onset\n2.0\tn/a\tsound\tstory.wav\t{begin}\n"
    )
    with pytest.raises(ValueError, match=message):
        read_bids(folder.root)


@pytest.mark.parametrize(
    ("factor", "unit"), [(1000, "milliseconds"), (64, "in samples"), (1 / 60, "minutes"), (1, "")]
)
def test_check_events_guesses_onset_units(factor, unit):
    rows = pd.DataFrame({
        "subject": "1", "recording": "a.fif", "type": ["sound", "word", "word"], "duration": [20.0, 0.3, 0.3],
        "onset": factor * np.array([2.0, 10.0, 14.0]), "sound_onset": [0.0, 8.0, 12.0],
        "sound": story_stimuli(), "text": [None, "a", "b"],
    })  # fmt: skip
    if not unit:
        check_events(rows)
        return
    with pytest.raises(
        ValueError, match=rf"the time in the stimulus that follows from the onsets, .*{unit}\?"
    ):
        check_events(rows)


def story_stimuli():
    from sk_b2s import StimulusArray

    return [StimulusArray(np.ones(20 * 64), 64, "story")] * 3
