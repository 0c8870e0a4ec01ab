"""Tests of loading and downloading Brennan & Hale (2019)."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from helpers.raw_files import simulate_channels, spoken_words, write_fieldtrip, write_speech
from helpers.servers import make_zip, read_files
from helpers.studies import LAG, SECONDS, brennan_folder, check_lag, find_response_lag, write_noise
from scipy.io import loadmat, savemat

from sk_b2s import check_events
from sk_b2s.datasets import _brennan2019 as brennan2019
from sk_b2s.datasets import fetch_brennan2019, load_brennan2019
from sk_b2s.datasets._brennan2019 import PUBLISHED_SHIFT, SUBJECTS


@pytest.fixture(scope="module")
def published_events(brennan_root):
    return load_brennan2019(brennan_root, "all", need_recordings=False)


def test_load_has_published_subjects(published_events, data_folder, brennan_root):
    matlab = loadmat(data_folder / "brennan2019/datasets.mat", squeeze_me=True)
    assert SUBJECTS["authors"] == tuple(name.removesuffix(".mat") for name in matlab["use"])
    assert published_events["subject"].nunique() == 42
    default = load_brennan2019(brennan_root, need_recordings=False)
    assert tuple(default["subject"].unique()) == SUBJECTS["authors"]
    left_out = {"S02", "S24", "S26", "S27", "S30", "S32", "S34", "S35", "S36"}
    assert set(SUBJECTS["reference"]) == set(SUBJECTS["all"]) - left_out
    assert len(SUBJECTS["reference"]) == 33
    with pytest.raises(ValueError, match=r"subjects='author' contains 'author'.*Available: S01"):
        load_brennan2019(brennan_root, "author", need_recordings=False)


def test_load_has_published_rows(published_events):
    assert len(published_events.query("subject == 'S01' and type == 'word'")) == 2129
    words = published_events[published_events["type"] == "word"]
    assert words.groupby("subject")["sequence"].nunique().value_counts().to_dict() == {84: 34, 77: 8}
    assert (words[words["subject"] == "S01"].groupby("sequence")["word_index"].min() == 0).all()


def test_load_onset_shift_equals_published_code(published_events, data_folder, brennan_root):
    """The published shift reproduces the onsets of the published code."""
    proc = loadmat(data_folder / "brennan2019/proc/S01.mat", squeeze_me=True, simplify_cells=True)["proc"]
    begin = proc["trl"][:, 0]
    words = (
        published_events.query("subject == 'S01' and type == 'word'").sort_values("onset")["onset"].to_numpy()
    )
    np.testing.assert_allclose(words, (begin + 149) / 500, atol=0.002)
    shifted = load_brennan2019(brennan_root, "S01", onset_shift=PUBLISHED_SHIFT, need_recordings=False)
    published = shifted[shifted["type"] == "word"].sort_values("onset")["onset"]
    np.testing.assert_allclose(published, begin / 500, atol=0.002)


def test_load_corrects_mislabeled_audio(published_events):
    """Intervals between audio files are equal for all subjects."""
    sounds = published_events[published_events["type"] == "sound"]
    times = sounds.pivot_table(index="subject", columns="sound", values="onset")
    order = times.loc["S01"].sort_values().index
    intervals = times[order].diff(axis=1).iloc[:, 1:]
    assert (intervals - intervals.loc["S01"]).abs().max(axis=None) < 0.1
    late = {"S24", "S26", "S27", "S30", "S32", "S34", "S35", "S36"}
    assert set(times.index[times[order[0]].isna()]) == late
    assert times.loc[sorted(late), order[1]].gt(40).all()


def test_load_with_textgrids(brennan_root, data_folder):
    events = load_brennan2019(brennan_root, "S01", 0.0, data_folder / "brennan2019/textgrids", False)
    checked = check_events(events)
    phonemes = checked[checked["type"] == "phoneme"]
    assert len(phonemes) > 2.5 * 2129
    assert phonemes["sequence"].notna().all()
    first = phonemes[(phonemes["sequence"] == "alice/1") & (phonemes["word_index"] == 0)]
    assert first["text"].str.rstrip("012").tolist() == ["AE", "L", "AH", "S"]


@pytest.fixture
def load_trials(tmp_path, data_folder):
    """Return a loader of S01 with real words and modified trials."""
    root = brennan_folder(data_folder, tmp_path, {"S01"})
    proc = loadmat(root / "proc/S01.mat", squeeze_me=True, simplify_cells=True)["proc"]
    (root / "proc/S01.mat").unlink()

    def load(names=("segment", "tmin", "Order"), change=lambda trials: trials, **options):
        trials = change(np.array(proc["trl"]))
        savemat(root / "proc/S01.mat", {"proc": {"trl": trials, "varnames": np.array(names, object)}})
        return load_brennan2019(root, "S01", **{"need_recordings": False, **options})

    load.root = root
    return load


def edit_column(column, value, rows=slice(None)):
    def change(trials):
        trials[rows, column] = value(trials[rows, column]) if callable(value) else value
        return trials

    return change


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ("number", "tmin", "Order")}, r"must be begin, end, offset, and include 'segment' and 'tmin'.*Got \['number'"),
        ({"change": edit_column(2, -100.0)}, "must begin 150 samples before their word. Got an offset of -100"),
        ({"change": edit_column(0, lambda s: s + 50, [3])}, r"onset of audio file 1 differs by 0\.10. s between"),
        ({"change": lambda trials: trials[trials[:, 3] != 5]}, r"intervals of 11 audio onsets do not match .* smallest error"),
        ({"change": edit_column(4, lambda s: s + 0.3)}, r"contradict each other: the onset of word 1, 'Alice', differs by 0\.300 s"),
        ({"need_recordings": True}, r"S01\.mat' does not exist.*need_recordings=False"),
        ({"textgrids": "nowhere"}, "SoundFile1.TextGrid' does not exist"),
    ],
)  # fmt: skip
def test_load_describes_invalid_trials(load_trials, options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_trials(**options)


def test_load_rejects_decimal_commas(load_trials):
    path = load_trials.root / "AliceChapterOne-EEG.csv"
    table = pd.read_csv(path, keep_default_na=False)
    table.assign(onset=table["onset"].map(lambda s: str(s).replace(".", ","))).to_csv(path, index=False)
    with pytest.raises(
        ValueError, match=r"line 2, column 'onset': expected a number. Got '0,\d+' instead.*decimal commas"
    ):
        load_trials()


def test_load_rejects_truncated_audio(load_trials):
    write_noise(load_trials.root / "audio/DownTheRabbitHoleFinal_SoundFile7.wav", 20)
    with pytest.raises(
        ValueError, match=r"SoundFile7\.wav' has 20\.000 s, but its last word begins at 6\d\.\d+ s"
    ):
        load_trials()
    (load_trials.root / "audio/DownTheRabbitHoleFinal_SoundFile7.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"SoundFile7\.wav' does not exist\. Unpack audio\.zip"):
        load_trials()


def test_load_finds_simulated_lag(tmp_path):
    """Use two audio files, with trials that begin 150 samples early."""
    rows, onsets = [], {1: 3.1, 2: 3.1 + 25.07}
    for number in onsets:
        write_speech(tmp_path / f"audio/DownTheRabbitHoleFinal_SoundFile{number}.wav", 25, number)
        for index, (onset, duration, text) in enumerate(spoken_words(25, number)):
            rows.append((text, number, onset, onset + duration, index % 6 + 1, 10 * number + index // 6))
    columns = ["Word", "Segment", "onset", "offset", "Position", "Sentence"]
    words = pd.DataFrame(rows, columns=columns)
    words.to_csv(tmp_path / "AliceChapterOne-EEG.csv", index=False)
    sample = np.round((words["Segment"].map(onsets) + words["onset"]) * 500) + 1
    trials = np.column_stack(
        [sample - 150, sample + 500, -150 + 0 * sample, words["Segment"], words["onset"]]
    )
    (tmp_path / "proc").mkdir()
    savemat(
        tmp_path / "proc/S01.mat",
        {"proc": {"trl": trials, "varnames": np.array(["segment", "tmin"], object)}},
    )
    played = [
        (tmp_path / f"audio/DownTheRabbitHoleFinal_SoundFile{number}.wav", onset)
        for number, onset in onsets.items()
    ]
    write_fieldtrip(tmp_path / "S01.mat", simulate_channels(played, SECONDS, 500, 20), 500.0)
    check_lag(load_brennan2019(tmp_path, "S01"))
    published = load_brennan2019(tmp_path, "S01", onset_shift=PUBLISHED_SHIFT)
    assert abs(find_response_lag(published) - LAG - 0.298) <= 0.02, "response seems 0.3 s later"


WORDS = [(0.5 + 0.4 * index, 0.3, f"word{index}") for index in range(8)]


OPTIONAL_COLUMNS = ["Order", "LogFreq", "SndPower", "IsLexical", "NGRAM", "RNN", "CFG"]


@pytest.fixture
def study_folder(no_other_warnings, tmp_path):
    """Folder of one subject and one audio file."""
    for folder in ("audio", "proc"):
        (tmp_path / folder).mkdir()
    write_noise(tmp_path / "audio/DownTheRabbitHoleFinal_SoundFile1.wav", 5)
    words = pd.DataFrame([(text, 1, a, a + b, i + 1, 1) for i, (a, b, text) in enumerate(WORDS)],
                         columns=["Word", "Segment", "onset", "offset", "Position", "Sentence"])  # fmt: skip
    words.assign(**dict.fromkeys(OPTIONAL_COLUMNS, 1.0)).to_csv(
        tmp_path / "AliceChapterOne-EEG.csv", index=False
    )
    begin = np.round((words["onset"] + 2) * 500) + 1 - 150
    trials = np.column_stack([begin, begin + 500, -150 + 0 * begin, words["Segment"], words["onset"]])
    content = {"proc": {"trl": trials, "varnames": np.array(["segment", "tmin"], object)}}
    savemat(tmp_path / "proc/S01.mat", content)
    return tmp_path


def load(root, **options):
    return load_brennan2019(root, "S01", need_recordings=False, **options)


def edit_csv(root, change):
    path = root / "AliceChapterOne-EEG.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)


def test_load_complete_edition_is_silent(study_folder):
    assert len(check_events(load(study_folder))) == 9


def test_load_warns_of_missing_optional_columns(study_folder):
    complete = load(study_folder)
    edit_csv(study_folder, lambda table: table.drop(columns=["NGRAM", "CFG"]))
    with pytest.warns(UserWarning, match=r"csv of this edition and the events lack: NGRAM, CFG\."):
        events = load(study_folder)
    pd.testing.assert_frame_equal(events, complete.drop(columns=["ngram", "cfg"]))


def test_load_ignores_case_of_files(study_folder):
    complete = load(study_folder)
    edit_csv(study_folder, lambda table: table.rename(columns=str.upper))
    (study_folder / "proc/S01.mat").rename(study_folder / "proc/s01.MAT")
    pd.testing.assert_frame_equal(load(study_folder), complete)


def test_load_finds_nested_folders(study_folder):
    for name in ("audio", "proc"):
        (study_folder / name).rename(study_folder / "inner")
        (study_folder / name).mkdir()
        (study_folder / "inner").rename(study_folder / name / name)
    assert len(load(study_folder)) == 9


def test_load_prefers_brainvision(study_folder):
    (study_folder / "S01.vhdr").touch()
    assert set(load(study_folder)["recording"]) == {str(study_folder / "S01.vhdr")}


def make_bids(root, recording="sub-001", late=1 / 500):
    """Move a folder of Deep Blue into the layout of NEMAR nm000180."""
    (root / "sourcedata").mkdir()
    for name in ("proc", "AliceChapterOne-EEG.csv"):
        (root / name).rename(root / "sourcedata" / name)
    (root / "audio").rename(root / "stimuli")
    stem = root / recording / f"eeg/{recording}_task-alicelistening"
    stem.parent.mkdir(parents=True)
    stem.with_name(f"{stem.name}_eeg.vhdr").touch()
    onset = [onset + 2 + late for onset, *_ in WORDS]
    table = pd.DataFrame({"onset": onset, "duration": 0.3, "trial_type": "word"})
    table.to_csv(f"{stem}_events.tsv", sep="\t", index=False)


def test_load_of_nemar_equals_deep_blue(study_folder):
    published = load(study_folder)
    make_bids(study_folder)
    events = load(study_folder)
    assert set(events["recording"]) == {
        str(study_folder / "sub-001/eeg/sub-001_task-alicelistening_eeg.vhdr")
    }
    assert set(events["sound"]) == {str(study_folder / "stimuli/DownTheRabbitHoleFinal_SoundFile1.wav")}
    columns = ["recording", "sound", "recording_duration"]
    pd.testing.assert_frame_equal(events.drop(columns=columns, errors="ignore"),
                                  published.drop(columns=columns, errors="ignore"))  # fmt: skip


def test_load_of_nemar_warns_of_missing(study_folder, monkeypatch):
    make_bids(study_folder, "sub-002")
    (study_folder / "sourcedata/proc/S02.mat").write_bytes(
        (study_folder / "sourcedata/proc/S01.mat").read_bytes()
    )
    monkeypatch.setitem(SUBJECTS, "all", ("S01", "S02"))
    with pytest.warns(UserWarning, match=r"lacks the recordings: sub-001_task-alicelistening_eeg\.vhdr\."):
        assert set(load_brennan2019(study_folder, "all")["subject"]) == {"S02"}
    with pytest.raises(FileNotFoundError, match=r"sub-001_task-alicelistening_eeg\.vhdr' does not exist"):
        load_brennan2019(study_folder, "S01")


def test_load_of_nemar_checks_tables(study_folder):
    make_bids(study_folder, late=0.1)
    message = r"events\.tsv': 0 of 8 words are at one of 8 trials of this subject \(90% are required\)"
    with pytest.raises(ValueError, match=message):
        load(study_folder)


@pytest.mark.parametrize(("content", "message"), [
    ({"other": 1}, "lacks 'proc'"), ({"proc": {"varnames": "x"}}, "lacks 'trl'"),
    ({"proc": 5}, "expected a struct .proc."),
    (b"no MATLAB", "cannot be read"), (b"", "cannot be read"),
])  # fmt: skip
def test_load_describes_invalid_matlab_file(study_folder, content, message):
    path = study_folder / "proc/S01.mat"
    path.write_bytes(content) if isinstance(content, bytes) else savemat(path, content)
    with pytest.raises(ValueError, match=rf"proc/S01\.mat'.*{message}"):
        load(study_folder)


def test_load_describes_missing_audio(study_folder, tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"SoundFile1\.TextGrid' does not exist\. Provide a TextGrid .* textgrids=None",
    ):
        load(study_folder, textgrids=study_folder)
    (study_folder / "audio/DownTheRabbitHoleFinal_SoundFile1.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"SoundFile1\.wav' does not exist\. Unpack audio\.zip"):
        load(study_folder)


def serve(server, work, files):
    """Serve a deposit of Deep Blue Data."""
    listed = []
    for index, (name, body) in enumerate(files.items()):
        server.files[f"/downloads/id{index}"] = body
        checksum = hashlib.md5(body).hexdigest()
        listed.append(
            {"id": f"id{index}", "title": [name], "file_size": len(body), "original_checksum": checksum}
        )
    server.json(f"/concern/data_sets/{work}.json", {"file_sets": listed})


def test_fetch_unpacks_archives(server, tmp_path, monkeypatch):
    monkeypatch.setattr(brennan2019, "DEEP_BLUE", server.url)
    files = {
        "S01.mat": b"raw 1", "S02.mat": b"raw 2", "AliceChapterOne-EEG.csv": b"Word",
        "audio.zip": make_zip({"audio/one.wav": b"wav", "__MACOSX/audio/._one.wav": b"no"}),
        "proc.zip": make_zip({"S01.mat": b"trials"}),
    }  # fmt: skip
    serve(server, "bg257f92t", files)
    fetch_brennan2019(tmp_path, "S01", progress=False)
    assert set(read_files(tmp_path)) == {*files, "audio/one.wav", "proc/S01.mat"} - {"S02.mat"}
    assert (tmp_path / "proc/S01.mat").read_bytes() == b"trials"
    with pytest.raises(ValueError, match=r"subjects contains \['S1'\].*Available are S01, S02"):
        fetch_brennan2019(tmp_path, "S1", progress=False)


def test_fetch_brainvision_selects_all_files(server, tmp_path, monkeypatch):
    monkeypatch.setattr(brennan2019, "DEEP_BLUE", server.url)
    names = [f"S0{number}.{suffix}" for number in (1, 2) for suffix in ("vhdr", "vmrk", "eeg")]
    serve(server, "bn999738r", {name: name.encode() for name in [*names, "datasets.mat"]})
    fetch_brennan2019(tmp_path, "S02", progress=False, edition="brainvision")
    assert set(read_files(tmp_path)) == {*names[3:], "datasets.mat"}
    with pytest.raises(ValueError, match="'edition' must be 'matlab' or 'brainvision'. Got 'v2'"):
        fetch_brennan2019(tmp_path, edition="v2")
    server.files.clear()
    with pytest.raises(FileNotFoundError, match=r"bn999738r.*Globus"):
        fetch_brennan2019(tmp_path, progress=False, edition="brainvision")
