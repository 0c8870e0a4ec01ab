"""Tables, TextGrids and recordings that are not what their names say end in one sentence with a way out."""

import json
import os
import shutil
import warnings

import mne
import numpy as np
import pandas as pd
import pytest
import soundfile
from helpers.bids_folders import EVENTS, HEADER, Folder
from helpers.raw_files import write_brainvision, write_edf, write_eeglab, write_textgrid

from sk_b2s import Epocher, check_events, events_from_raw, make_segments, read_bids, read_textgrid
from sk_b2s.io._channel_names import match_names, plain_name
from sk_b2s.io._events_file import read_events
from sk_b2s.io._file_parts import check_parts, parts_of
from sk_b2s.io._raw._open import read_raw
from sk_b2s.io._raw._recordings import open_raw
from sk_b2s.io._textgrid import textgrid_events
from sk_b2s.io._triggers import read_triggers


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "small")


def told(function, *arguments, **keywords):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        value = function(*arguments, **keywords)
    return value, " ".join(str(warning.message) for warning in said)


def events_file(folder):
    return folder.root / "sub-01/eeg/sub-01_task-story_events.tsv"


# --- what stands where a file should be -----------------------------------------------------------------


def link_loop(path):
    path.symlink_to(path.name)


def dangling(path):
    path.symlink_to("nowhere.tsv")


PLACES = {
    "folder": (lambda path: path.mkdir(), "is a folder"), "pipe": (os.mkfifo, "is a pipe or device"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is a pipe or device"),
    "link loop": (link_loop, "cannot be opened|leads back to itself"), "dangling link": (dangling, "is a link to"),
}  # fmt: skip


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("what", ["events.tsv", "channels.tsv", "eeg.json", "recording", "TextGrid", "table"])
def test_what_is_not_a_file_is_not_opened(what, kind, folder):
    make, message = PLACES[kind]
    stem = folder.root / "sub-01/eeg/sub-01_task-story_"
    path = {"recording": folder.recording, "TextGrid": folder.root / "stimuli/story.TextGrid",
            "table": folder.root / "events.tsv"}.get(what, stem.with_name(stem.name + what))  # fmt: skip
    path.unlink(missing_ok=True)
    make(path)
    if what == "table" and kind == "folder":
        message = "must hold one table of events"
    if what == "recording":
        message = {"folder": "cannot be opened|MEG|names", "link loop": "leads back to itself"}.get(
            kind, message
        )
    calls = {"table": lambda: read_events(path), "TextGrid": lambda: read_textgrid(path)}
    with pytest.raises((OSError, ValueError), match=message) as error:
        calls.get(what, lambda: make_segments(read_bids(folder.root), tmin=0, tmax=1))()
    assert path.name in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "latin-1"])
@pytest.mark.parametrize("reader", ["bids", "table"])
def test_other_encodings_are_named_with_their_line(reader, encoding, folder):
    text = EVENTS.replace("null", "schön")
    path = folder.tell(text, encoding=encoding)
    message = r"line 3.*byte 0xf6" if encoding == "latin-1" else "UTF-16"
    with pytest.raises(ValueError, match=message) as error:
        read_bids(folder.root) if reader == "bids" else read_events(path)
    assert path.name in str(error.value)


@pytest.mark.parametrize("text", ['{"RecordingDuration": ', "[" * 100_000, "\xff"])
def test_json_that_is_none_is_named(text, folder):
    path = folder.tell("", suffix="eeg.json")
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"task-story_eeg\.json'"):
        open_raw(folder.recording)


@pytest.mark.parametrize("name", ["../../../../etc/passwd", "../../outside.wav"])
def test_sound_outside_of_the_data_set_is_refused(name, folder):
    soundfile.write(folder.root.parent / "outside.wav", np.zeros(100), 1000)
    folder.tell(EVENTS.replace("story.wav", name))
    with pytest.raises(ValueError, match=r"_events\.tsv, line 2: the sound .* is outside of the data set"):
        read_bids(folder.root)
    events = read_bids(folder.root, stimuli={name: str(folder.wav)})
    assert events["sound"].unique().tolist() == [str(folder.wav)]


def test_sound_by_an_absolute_path_outside_is_named(folder):
    outside = shutil.copy(folder.wav, folder.root.parent / "outside.wav")
    folder.tell(EVENTS.replace("story.wav", str(outside)))
    _, text = told(read_bids, folder.root)
    assert "takes 1 sounds from outside of the data set" in text
    assert "outside.wav" in text
    assert told(read_bids, folder.root, stimuli={str(outside): str(outside)})[1] == ""
    folder.tell(EVENTS.replace("story.wav", "/etc/passwd"))
    with pytest.raises(ValueError, match=r"line 2', column 'sound': sound '/etc/passwd'"):
        told(read_bids, folder.root)


def test_message_is_short_though_a_name_is_long(folder):
    folder.tell(EVENTS.replace("story.wav", "a" * 5000 + ".wav"))
    with pytest.raises(FileNotFoundError, match="line 2: the sound 'aaa.* is not there") as error:
        read_bids(folder.root)
    assert len(str(error.value)) < 1500


def test_sound_that_is_no_audio_has_its_row(folder):
    (folder.root / "stimuli/story.wav").write_text("no sound")
    with pytest.raises(ValueError, match=r"events row '.*line 2', column 'sound': sound .*story\.wav"):
        read_bids(folder.root)


@pytest.mark.parametrize(("lasts", "unit"), [("1e300", ""), ("300", r" Are times in milliseconds\?")])
def test_word_that_lasts_beyond_its_sound_is_refused(lasts, unit, folder):
    folder.tell(EVENTS.replace("\t0.5\t", f"\t{lasts}\t"))
    with pytest.raises(
        ValueError, match=rf"line 3', column 'duration': expected a word .*20\.000 s.*rows\)\.{unit}$"
    ):
        read_bids(folder.root)


def test_word_of_twelve_seconds_is_named(folder):
    folder.tell(EVENTS.replace("5.0\t0.5", "5.0\t12"))
    _, text = told(read_bids, folder.root)
    assert "1 of 3 words and phonemes last longer than 10 s" in text
    assert "'None' at 5.000 s lasts 12.000 s" in text


@pytest.mark.parametrize(
    ("begin", "message"), [(-3.0, "a time in the audio file"), (25.0, "'story.wav' of 20.000 s")]
)
def test_sound_that_begins_outside_of_its_file_is_refused(begin, message, folder):
    folder.tell(f"onset\tduration\ttrial_type\tstim_file\tsound_onset\n2.0\tn/a\tsound\tstory.wav\t{begin}\n")
    with pytest.raises(ValueError, match=message):
        read_bids(folder.root)


@pytest.mark.parametrize(
    ("factor", "unit"), [(1000, "milliseconds"), (64, "in samples"), (1 / 60, "minutes"), (1, "")]
)
def test_units_of_onsets_are_guessed_where_words_say_their_time(factor, unit):
    rows = pd.DataFrame({
        "subject": "1", "recording": "a.fif", "type": ["sound", "word", "word"], "duration": [20.0, 0.3, 0.3],
        "onset": factor * np.array([2.0, 10.0, 14.0]), "sound_onset": [0.0, 8.0, 12.0],
        "sound": check_sound(), "text": [None, "a", "b"],
    })  # fmt: skip
    if not unit:
        check_events(rows)
        return
    with pytest.raises(ValueError, match=rf"that its onset and the row of the sound give, .*{unit}\?"):
        check_events(rows)


def check_sound():
    from sk_b2s import StimulusArray

    return [StimulusArray(np.ones(20 * 64), 64, "story")] * 3


# --- TextGrids ------------------------------------------------------------------------------------------


def grid(path, words, phones=None, stop=20.0):
    """Write tiers whose entries may be anything."""
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        f"0 {stop} <exists> {1 + (phones is not None)}",
    ]
    for name, rows in (("words", words), ("phones", phones)):
        if rows is not None:
            lines += [
                f'"IntervalTier" "{name}" 0 {stop} {len(rows)}',
                *(f'{a} {b} "{text}"' for a, b, text in rows),
            ]
    path.write_text("\n".join(lines))
    return path


def spoken(n=12, lasts=0.3, text="w"):
    at = np.round(np.cumsum(np.random.default_rng(0).uniform(0.5, 1.2, n)), 3)
    return [
        (begin, round(begin + lasts * (1 + 0.1 * (i % 3)), 3), f"{text}{i}") for i, begin in enumerate(at)
    ]


def parted(words, n=2, text="P"):
    return [(a + k * (b - a) / n, a + (k + 1) * (b - a) / n, text) for a, b, _ in words for k in range(n)]


ABSURD = {
    "no words": (([(0, 20, "")], None), "holds no word, only 1 entries"),
    "all sil": (([(0, 5, "sil"), (5, 20, "sp")], None), "only 2 entries 'sil, sp'"),
    "all spn": (([(0, 5, "spn")], None), "entries 'spn'"),
    "60 s": (
        ([*spoken(), (13.5, 73.5, "long")], None, 80.0),
        "1 of 13 words last longer than 10 s.*'long' at 13.500",
    ),
    "even": (([(i, i + 1, "w") for i in range(20)], None), "20 words last 1.000 s.*divided evenly"),
    "swapped": ((parted(spoken(), 3), [(a, b, t) for a, b, t in spoken()]), "Are the tiers swapped"),
    "phones silent": ((spoken(), [(a, b, "spn") for a, b, _ in spoken()]), "another language"),
    "unknown": (([(a, b, "<unk>") for a, b, _ in spoken()], None), "12 of 12 words are '<unk>'"),
}


@pytest.mark.parametrize("name", ABSURD)
def test_textgrid_that_is_no_alignment_is_named(name, tmp_path):
    tiers, message = ABSURD[name]
    path = grid(tmp_path / "a.TextGrid", *tiers)
    with pytest.warns(UserWarning, match=rf"(?s)a\.TextGrid'.*{message}"):
        textgrid_events(path)


def test_honest_textgrid_is_silent(tmp_path):
    words = spoken()
    assert told(textgrid_events, grid(tmp_path / "a.TextGrid", words, parted(words)))[1] == ""
    assert told(textgrid_events, grid(tmp_path / "a.TextGrid", words[:4]))[1] == ""


@pytest.mark.parametrize(
    ("words", "stop", "message"),
    [
        ([(0, 1, "a")], "1e309", r"line 4: expected where the TextGrid ends \(a finite number\), got 1e309"),
        ([(0, "1e999", "a")], 20, "a finite number"),
        (
            [(-3, 1, "a")],
            20,
            "interval 1 of tier 'words' to begin at 0 s, where its sound begins, or later, got -3 s",
        ),
        ([(0, 1, "a"), (300, 301, "b")], 20, "interval 2 of tier 'words' to end by 20 s"),
        ([(2, 1, "a")], 20, "to end later"),
        ([(0, 2, "a"), (1, 3, "b")], 20, "to begin at 2 s"),
    ],
)
def test_textgrid_with_impossible_times_has_its_line(words, stop, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_textgrid(grid(tmp_path / "a.TextGrid", words, stop=stop))


def test_message_of_a_textgrid_does_not_repeat_its_content(tmp_path):
    path = grid(tmp_path / "a.TextGrid", [(0, 1, "a" * 2_000_000), ("x", 2, "b")])
    with pytest.raises(ValueError, match=r"a\.TextGrid', line") as error:
        read_textgrid(path)
    path.write_text('File type = "' + "a" * 2_000_000 + '"')
    with pytest.raises(ValueError, match="as every TextGrid begins") as second:
        read_textgrid(path)
    assert max(len(str(error.value)), len(str(second.value))) < 1000


def test_textgrid_in_milliseconds_is_guessed(folder):
    (folder.root / "stimuli/story.wav").unlink()
    soundfile.write(folder.root / "stimuli/story.wav", np.random.default_rng(0).standard_normal(20_000), 1000)
    words = [(1000 * a, 1000 * (b - a), text) for a, b, text in spoken()]
    write_textgrid(folder.root / "stimuli/story.TextGrid", words, 20_000.0)
    folder.tell(HEADER + "2.0\tn/a\tsound\tstory.wav\tn/a\n")
    with pytest.raises(ValueError, match=r"lasts 20\.000 s.*Are times in milliseconds\?"):
        read_bids(folder.root)


# --- one sensor, two names ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told_name", "name"),
    [
        ("FP1", "Fp1"), ("Fp1 ", "Fp1"), ("EEG 001", "EEG001"), ("EEG001", "EEG 001"), ("Fp1", "EEG Fp1-Ref"),
        ("Fp1-Ref", "Fp1"), ("EEG Fp1-LE", "Fp1"), ("MLC11-2908", "MLC11"), ("T3", "t3"), ("MEG 0111", "MEG0111"),
        ("E1", "E001"),
    ],
)  # fmt: skip
def test_channel_in_another_spelling_is_the_channel(told_name, name, folder):
    folder.add("sub-01/eeg/sub-01_task-story_eeg.fif", names=(name, "Cz", "Pz"))
    folder.tell(f"name\ttype\tstatus\nCz\tEOG\tgood\n{told_name}\tEEG\tbad \n", suffix="channels.tsv")
    raw, text = told(open_raw, folder.recording)
    assert (raw.info["bads"], text) == ([name], "")
    assert raw.get_channel_types() == ["eeg", "eog", "eeg"]


@pytest.mark.parametrize(
    ("table", "names", "expected"),
    [
        (["Fp1", "FP1"], ["Fp1", "FP1"], ["Fp1", "FP1"]),  # equal names count first
        (["FP1"], ["Fp1", "fp1"], [None]),  # which of them is not known
        (["FP1", "fp1"], ["Fp1"], [None, None]),
        (["Cz", "Cz"], ["Cz"], ["Cz", "Cz"]),
        (["E1", "E01"], ["E1", "E2"], ["E1", None]),
        (["A1", "A10"], ["A10", "A1"], ["A1", "A10"]),
        ([""], ["Cz"], [None]),
    ],
)
def test_match_names(table, names, expected):
    assert told(match_names, table, names, "channels.tsv")[0] == expected


def test_channels_that_fit_no_name_are_named(folder):
    folder.tell("name\tstatus\nA1\tgood\nB7\tbad\n", suffix="channels.tsv")
    raw, text = told(open_raw, folder.recording)
    assert raw.info["bads"] == []
    assert (
        "1 names that the recording does not have, B7, and the recording 2 channels that the table does not"
        in text
    )
    folder.tell("name\tstatus\nA1\tgood\nA2\tgood\nA3\tgood\nB7\tbad\n", suffix="channels.tsv")
    assert told(open_raw, folder.recording)[1] == "", "a channel that was dropped from the file"


def test_channel_that_is_twice_in_its_table_is_bad_if_a_row_says_so(folder):
    folder.tell("name\tstatus\nA1\tbad\nA2\tgood\nA1\tgood\nA3\tgood\n", suffix="channels.tsv")
    raw, text = told(open_raw, folder.recording)
    assert raw.info["bads"] == ["A1"]
    assert "1 names in several rows, A1" in text


def test_electrodes_in_another_spelling_get_their_place(folder):
    folder.tell("name\tx\ty\tz\nA 1\t10\t0\t80\na2\t0\t10\t80\n", suffix="electrodes.tsv")
    about = {"EEGCoordinateSystem": "CapTrak", "EEGCoordinateUnits": "mm"}
    folder.tell(json.dumps(about), suffix="coordsystem.json")
    raw = open_raw(folder.recording)
    np.testing.assert_allclose(
        [ch["loc"][:3] for ch in raw.info["chs"][:2]], [[0.01, 0, 0.08], [0, 0.01, 0.08]]
    )


def test_plain_name_of_different_channels_differs():
    names = [
        "Fp1",
        "Fp2",
        "A1",
        "A10",
        "A11",
        "M1",
        "E1",
        "MLC11",
        "MLC12",
        "MEG0111",
        "MEG0112",
        "CPz",
        "Cz",
        "1",
        "10",
    ]
    assert len({plain_name(name) for name in names}) == len(names)


def test_channels_spelled_in_two_ways_in_two_recordings_are_named(folder):
    twin = folder.add("sub-02/eeg/sub-02_task-story_eeg.fif", names=("a1", "A2", "A4"))
    folder.tell(EVENTS, twin)
    X, _ = make_segments(read_bids(folder.root), tmin=0, tmax=1)
    _, text = told(Epocher(sfreq=32).fit, X)
    assert "1 channels are spelled in several ways, 'A1' (sub-01_task-story_eeg.fif) and 'a1' (sub-02" in text
    assert told(Epocher(sfreq=32).fit, X[X["subject"] == "01"])[1] == ""


# --- empty --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["channels.tsv", "electrodes.tsv"])
@pytest.mark.parametrize(
    "text", ["name\ttype\tstatus\tx\ty\tz\n", "name\ttype\tstatus\tx\ty\tz\nn/a\tn/a\tn/a\tn/a\tn/a\tn/a\n"]
)
def test_table_with_a_header_alone_says_nothing(suffix, text, folder):
    folder.tell(text, suffix=suffix)
    folder.tell('{"EEGCoordinateSystem": "CapTrak", "EEGCoordinateUnits": "mm"}', suffix="coordsystem.json")
    raw, said = told(open_raw, folder.recording)
    assert (raw.info["bads"], said) == ([], "")


def test_trigger_channel_without_triggers_is_named(tmp_path):
    info = mne.create_info(["Cz", "STI"], 100, ["eeg", "stim"])
    raw = mne.io.RawArray(np.zeros((2, 500)), info, verbose="ERROR")
    with pytest.raises(ValueError, match="trigger 1 does not come in the recording; there are no triggers"):
        read_triggers(raw, [1])
    raw.set_annotations(mne.Annotations([2.0], [0.0], ["Stimulus/S  1"]))
    assert read_triggers(raw, [1])[1].tolist() == [2.0]


@pytest.mark.parametrize(
    "sounds", [[], {}, pd.DataFrame({"onset": [], "sound": []})], ids=["list", "dict", "table"]
)
def test_no_sounds_are_refused_by_name(sounds, folder):
    with pytest.raises(ValueError, match="names no sound"):
        events_from_raw(folder.recording, sounds, audio="A1" if isinstance(sounds, list) else None)


def test_audio_channel_of_zeros_is_named(tmp_path, folder):
    info = mne.create_info(["Cz", "Audio"], 1000, ["eeg", "misc"])
    mne.io.RawArray(np.zeros((2, 40_000)), info, verbose="ERROR").save(
        tmp_path / "a_raw.fif", verbose="ERROR"
    )
    with pytest.raises(ValueError, match=r"channel 'Audio'"):
        told(events_from_raw, tmp_path / "a_raw.fif", [str(folder.wav)], audio="Audio")


# --- files in several parts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [".eeg", ".vmrk"])
@pytest.mark.parametrize("renamed", [False, True])
def test_part_of_brainvision_that_is_missing_is_named(lost, renamed, tmp_path):
    path = tmp_path / "old.vhdr"
    write_brainvision(path, np.ones((2, 500)), "AB", 100)
    if renamed:
        for file in list(tmp_path.iterdir()):
            file.rename(file.with_stem("sub-1_task-a_eeg"))
        path = tmp_path / "sub-1_task-a_eeg.vhdr"
    else:
        path.with_suffix(lost).unlink()
    message = (
        r"names DataFile=old\.eeg, which is not in its folder\. 'sub-1_task-a_eeg\.eeg' is there.*copyfile"
    )
    plain = rf"{'DataFile' if lost == '.eeg' else 'MarkerFile'}=old\{lost}, which is not in its folder.*three files"
    with pytest.raises(FileNotFoundError, match=message if renamed else plain):
        read_raw(path)


def test_headers_that_name_one_file_of_samples_are_refused(folder):
    folder.recording.unlink()
    first, second = (folder.root / f"sub-01/eeg/sub-01_task-story_run-{run}_eeg.vhdr" for run in (1, 2))
    write_brainvision(first, np.ones((2, 500)), "AB", 100)
    shutil.copy(first, second)
    with pytest.raises(ValueError, match=r"run-2_eeg\.vhdr' and '.*run-1_eeg\.vhdr' both name DataFile="):
        read_bids(folder.root)


def test_parts_of_brainvision_are_read_from_its_header(tmp_path):
    path = tmp_path / "töne.vhdr"
    path.write_text(
        "[Common Infos]\nDataFile=$b.eeg\nMarkerFile=marks é.vmrk\n[Comment]\nDataFile=x\n", "latin-1"
    )
    assert parts_of(path) == {"DataFile": tmp_path / "töne.eeg", "MarkerFile": tmp_path / "marks é.vmrk"}


@pytest.mark.parametrize("there", [[], ["b.res4"], ["a.res4"], ["a.res4", "a.meg4", "a.2_meg4"]])
def test_ctf_folder_that_is_not_whole_is_named(there, tmp_path):
    folder = tmp_path / "a.ds"
    folder.mkdir()
    for name in there:
        (folder / name).write_bytes(b"")
    message = {0: "no 'a.res4'", 1: "no 'a.meg4'", 3: "no 'a.1_meg4', though later parts"}[len(there)]
    with pytest.raises(FileNotFoundError, match="holds 'b.res4'" if there == ["b.res4"] else message):
        check_parts(folder)


def test_parts_of_other_formats_that_are_missing_are_named(tmp_path):
    from scipy.io import loadmat, savemat

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


def test_epochs_are_not_called_a_broken_file(tmp_path):
    info = mne.create_info(2, 100, "eeg")
    mne.EpochsArray(np.zeros((3, 2, 100)), info, verbose="ERROR").save(
        tmp_path / "a_epo.fif", verbose="ERROR"
    )
    with pytest.raises(
        ValueError, match="seems to hold epochs or averages, and a continuous recording is expected"
    ):
        read_raw(tmp_path / "a_epo.fif")


def test_bytes_after_all_are_called_broken(tmp_path):
    write_edf(tmp_path / "a.edf", np.zeros((1, 300)), 100)
    (tmp_path / "a.edf").write_bytes((tmp_path / "a.edf").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"a\.edf' cannot be opened.*Is it whole \(300 bytes here\)"):
        read_raw(tmp_path / "a.edf")
    shutil.copy(tmp_path / "a.edf", tmp_path / "a.fif")
    with pytest.raises(ValueError, match="raw.save"):
        read_raw(tmp_path / "a.fif")
