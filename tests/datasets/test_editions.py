"""What one edition of a study has and another lacks is worked around and said, or an error that names it."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.raw_files import write_textgrid
from helpers.studies import write_noise
from scipy.io import savemat

from sk_b2s import check_events
from sk_b2s.datasets import _schoffelen2019 as schoffelen2019
from sk_b2s.datasets import load_brennan2019, load_broderick2019, load_gwilliams2022

WORDS = [(0.5 + 0.4 * index, 0.3, f"word{index}") for index in range(8)]


@pytest.fixture(autouse=True)
def no_other_warnings():
    """A warning that a test does not expect fails it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


# --- MEG-MASC ------------------------------------------------------------------------------------------


def masc_rows(story="lw1"):
    """Rows of a table in the form of NEMAR: a sound, its words and a phoneme of each."""
    common = {"sound": f"stimuli/audio/{story}_0.wav", "sequence_id": 0.0, "condition": "sentence",
              "speech_rate": 205.0, "voice": "Ava"}  # fmt: skip
    rows = [{"kind": "sound", "start": 0.0, "duration": 0.0, "sound": f"stimuli/audio/{story}_0.0.wav"}]
    for index, (start, duration, word) in enumerate(WORDS):
        rows.append(
            {
                **common,
                "kind": "word",
                "start": start,
                "duration": duration,
                "word": word,
                "word_index": index,
            }
        )
        rows.append(
            {
                **common,
                "kind": "phoneme",
                "start": start,
                "duration": 0.1,
                "phoneme": "t_B",
                "word_index": index,
            }
        )
    table = pd.DataFrame(rows)
    return table.assign(onset=7.0 + table["start"], trial_type=table["kind"])


@pytest.fixture
def masc(tmp_path, monkeypatch):
    """Two participants, the second of one session; tables are short, and that is no matter here."""
    monkeypatch.setattr("sk_b2s.datasets._gwilliams2022.ROWS", dict.fromkeys("0123", 0))
    stories = {"0": "lw1", "1": "cable_spool_fort", "2": "easy_money", "3": "the_black_willow"}
    (tmp_path / "stimuli/audio").mkdir(parents=True)
    for story in stories.values():
        write_noise(tmp_path / f"stimuli/audio/{story}_0.wav", 5)
    for subject, sessions in (("01", "01"), ("03", "0")):
        for session in sessions:
            for task, story in stories.items():
                path = (
                    tmp_path
                    / f"sub-{subject}/ses-{session}/meg/sub-{subject}_ses-{session}_task-{task}_events.tsv"
                )
                path.parent.mkdir(parents=True, exist_ok=True)
                masc_rows(story).to_csv(path, sep="\t", index=False, na_rep="n/a")
    return tmp_path


def load_masc(root, **options):
    return load_gwilliams2022(root, need_recordings=False, **options)


def edit_tables(root, change):
    for path in root.rglob("*_events.tsv"):
        change(pd.read_csv(path, sep="\t")).to_csv(path, sep="\t", index=False, na_rep="n/a")


def test_masc_that_is_whole_is_silent(masc):
    events = check_events(load_masc(masc))
    assert events.groupby("recording").ngroups == 12


@pytest.mark.parametrize("lost", ["condition", "speech_rate", "voice"])
def test_masc_without_a_column_that_is_not_needed(masc, lost):
    whole = load_masc(masc)
    edit_tables(masc, lambda table: table.drop(columns=lost))
    column = {"voice": "speaker"}.get(lost, lost)
    with pytest.warns(
        UserWarning, match=f"tables of this edition do not have, and the events neither: {column}"
    ):
        events = load_masc(masc)
    assert events[column].isna().all()
    pd.testing.assert_frame_equal(events.drop(columns=column), whole.drop(columns=column))


@pytest.mark.parametrize("lost", ["word", "word_index", "sequence_id", "start", "sound"])
def test_masc_without_a_column_that_is_needed(masc, lost):
    edit_tables(masc, lambda table: table.drop(columns=lost))
    with pytest.raises(ValueError, match=rf"events\.tsv' lacks the columns \['{lost}'\]"):
        load_masc(masc)


def test_masc_without_phonemes(masc):
    edit_tables(masc, lambda table: table[table["kind"] != "phoneme"].drop(columns="phoneme"))
    with pytest.warns(UserWarning, match="the rows of phonemes"):
        events = load_masc(masc)
    assert set(events["type"]) == {"sound", "word"}


def test_masc_whose_kind_is_the_trial_type(masc):
    whole = load_masc(masc)
    edit_tables(masc, lambda table: table.drop(columns="kind"))
    pd.testing.assert_frame_equal(load_masc(masc), whole)


def test_masc_whose_files_have_other_letters(masc):
    whole = load_masc(masc)
    for path in (masc / "stimuli/audio").iterdir():
        path.rename(path.with_name(path.name.replace("lw1", "LW1")))
    (masc / "stimuli").rename(masc / "Stimuli")
    events = load_masc(masc)
    assert set(events["sound"]) == {
        sound.replace("lw1", "LW1").replace("/stimuli/", "/Stimuli/") for sound in whole["sound"]
    }


def test_masc_names_stories_that_are_not_there(masc):
    for path in masc.glob("sub-01/ses-1/meg/*task-2*"):
        path.unlink()
    with pytest.warns(UserWarning, match=r"neither recording nor table is there of: sub-01 ses-1 task-2\."):
        load_masc(masc)
    shutil.rmtree(masc / "sub-01/ses-1")
    with pytest.warns(UserWarning, match=r"sub-01 ses-1 task-0, sub-01 ses-1 task-1, .*task-3\."):
        load_masc(masc)
    load_masc(masc, sessions="0")


@pytest.mark.parametrize(("text", "message"), [
    ("{", "is not valid JSON"), ("[]", "must hold an object"), ('{"RecordingDuration": "long"}', "number of seconds"),
    ("[" * 10**5, "is not valid JSON"),
])  # fmt: skip
def test_a_sidecar_that_is_broken_is_named(masc, text, message):
    (masc / "sub-01/ses-0/meg/sub-01_ses-0_task-0_meg.json").write_text(text)
    with pytest.raises(ValueError, match=rf"sub-01_ses-0_task-0_meg\.json'.* {message}"):
        load_masc(masc)


# --- The Old Man and the Sea ---------------------------------------------------------------------------


@pytest.fixture
def old_man(tmp_path):
    """Tables of two participants in two runs, without recordings."""
    (tmp_path / "stimuli").mkdir()
    for run in ("01", "02"):
        write_noise(tmp_path / f"stimuli/audio{run}.wav", 5)
        write_textgrid(tmp_path / f"stimuli/audio{run}.TextGrid", WORDS, 5.0)
        for subject in ("001", "002"):
            stem = tmp_path / f"sub-{subject}/eeg/sub-{subject}_task-listening_run-{run}"
            stem.parent.mkdir(parents=True, exist_ok=True)
            Path(f"{stem}_channels.tsv").write_text("name\ttype\tunits\tstatus\nA1\tEEG\tV\tgood\n")
            Path(f"{stem}_eeg.json").write_text(json.dumps({"RecordingDuration": 9.0}))
            Path(f"{stem}_eeg.vhdr").write_text("a header")
    return tmp_path


def load_old_man(root, **options):
    return load_broderick2019(root, need_recordings=False, **options)


def runs_of(events):
    return sorted(set(zip(events["subject"], events["run"], strict=True)))


ALL_RUNS = [("001", "01"), ("001", "02"), ("002", "01"), ("002", "02")]


def test_old_man_that_is_whole_is_silent(old_man):
    assert runs_of(check_events(load_old_man(old_man))) == ALL_RUNS


def test_old_man_without_tables_of_channels_keeps_its_recordings(old_man):
    (old_man / "sub-002/eeg/sub-002_task-listening_run-01_channels.tsv").unlink()
    with pytest.warns(
        UserWarning, match=r"no channels\.tsv says which channels are bad in: sub-002_.*_run-01_eeg\.vhdr\."
    ):
        events = load_old_man(old_man)
    assert runs_of(events) == ALL_RUNS
    for path in old_man.rglob("*_channels.tsv"):
        path.unlink()
    (old_man / "task-listening_channels.tsv").write_text(
        "name\ttype\nA1\tEEG\n"
    )  # one for all, as BIDS allows
    assert runs_of(load_old_man(old_man)) == ALL_RUNS


def test_old_man_names_runs_that_are_not_there(old_man):
    for path in old_man.rglob("sub-002_*_run-02_*"):
        path.unlink()
    with pytest.warns(UserWarning, match=r"no recording is there of runs .*: sub-002 run-02\."):
        assert runs_of(load_old_man(old_man)) == ALL_RUNS[:3]


@pytest.mark.parametrize("change", ["suffix", "run", "session"])
def test_old_man_of_another_form(old_man, change):
    for path in sorted(old_man.glob("sub-*/eeg/*")):
        name = path.name.replace(".vhdr", ".set") if change == "suffix" else path.name
        name = name.replace("run-0", "run-") if change == "run" else name
        folder = path.parent
        if change == "session":
            name = name.replace("_task", "_ses-01_task")
            folder = path.parents[1] / "ses-01/eeg"
            folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / name)
    events = load_old_man(old_man)
    assert runs_of(events) == ALL_RUNS
    assert all(Path(path).exists() for path in events["recording"])


def test_old_man_names_recordings_of_other_names(old_man):
    stem = old_man / "sub-001/eeg/sub-001_task-rest_eeg.vhdr"
    stem.write_text("rest")
    with pytest.warns(
        UserWarning, match=r"recordings of other names are not read: sub-001_task-rest_eeg\.vhdr\."
    ):
        assert runs_of(load_old_man(old_man)) == ALL_RUNS


def test_old_man_without_words_of_a_run(old_man):
    (old_man / "stimuli/audio02.TextGrid").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"audio02\.TextGrid' does not exist\. It may also be 'align2\.json'"
    ):
        load_old_man(old_man)
    assert runs_of(load_old_man(old_man, runs="01")) == [ALL_RUNS[0], ALL_RUNS[2]]


def test_old_man_with_other_letters(old_man):
    stimuli = old_man / "stimuli"
    (stimuli / "audio01.wav").rename(stimuli / "Audio01.WAV")
    (stimuli / "audio01.TextGrid").rename(stimuli / "audio01.textgrid")
    assert runs_of(load_old_man(old_man)) == ALL_RUNS


def test_old_man_of_dryad_with_other_letters(old_man):
    for subject, run in (("subject1", "Run1"), ("Subject2", "run2")):
        (old_man / f"EEG/{subject}").mkdir(parents=True)
        (old_man / f"EEG/{subject}/{subject}_{run}.mat").touch()
    with pytest.warns(UserWarning, match="sub-001 run-02, sub-002 run-01"):
        events = load_old_man(old_man, edition="dryad", stimuli=old_man / "stimuli")
    assert runs_of(events) == [("001", "01"), ("002", "02")]


# --- Alice ---------------------------------------------------------------------------------------------

FURTHER = ["Order", "LogFreq", "SndPower", "IsLexical", "NGRAM", "RNN", "CFG"]


@pytest.fixture
def alice(tmp_path):
    """One participant, one sound."""
    for folder in ("audio", "proc"):
        (tmp_path / folder).mkdir()
    write_noise(tmp_path / "audio/DownTheRabbitHoleFinal_SoundFile1.wav", 5)
    words = pd.DataFrame([(text, 1, a, a + b, i + 1, 1) for i, (a, b, text) in enumerate(WORDS)],
                         columns=["Word", "Segment", "onset", "offset", "Position", "Sentence"])  # fmt: skip
    words.assign(**dict.fromkeys(FURTHER, 1.0)).to_csv(tmp_path / "AliceChapterOne-EEG.csv", index=False)
    begin = np.round((words["onset"] + 2) * 500) + 1 - 150
    trials = np.column_stack([begin, begin + 500, -150 + 0 * begin, words["Segment"], words["onset"]])
    held = {"proc": {"trl": trials, "varnames": np.array(["segment", "tmin"], object)}}
    savemat(tmp_path / "proc/S01.mat", held)
    return tmp_path


def load_alice(root, **options):
    return load_brennan2019(root, "S01", need_recordings=False, **options)


def edit_csv(root, change):
    path = root / "AliceChapterOne-EEG.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)


def test_alice_that_is_whole_is_silent(alice):
    assert len(check_events(load_alice(alice))) == 9


def test_alice_without_columns_that_are_not_needed(alice):
    whole = load_alice(alice)
    edit_csv(alice, lambda table: table.drop(columns=["NGRAM", "CFG"]))
    with pytest.warns(
        UserWarning, match=r"csv of this edition does not have, and the events neither: NGRAM, CFG\."
    ):
        events = load_alice(alice)
    pd.testing.assert_frame_equal(events, whole.drop(columns=["ngram", "cfg"]))


def test_alice_with_other_letters(alice):
    whole = load_alice(alice)
    edit_csv(alice, lambda table: table.rename(columns=str.upper))
    (alice / "proc/S01.mat").rename(alice / "proc/s01.MAT")
    pd.testing.assert_frame_equal(load_alice(alice), whole)


def test_alice_unpacked_into_folders_of_folders(alice):
    for name in ("audio", "proc"):
        (alice / name).rename(alice / "inner")
        (alice / name).mkdir()
        (alice / "inner").rename(alice / name / name)
    assert len(load_alice(alice)) == 9


def test_alice_of_brainvision(alice):
    (alice / "S01.vhdr").touch()
    assert set(load_alice(alice)["recording"]) == {str(alice / "S01.vhdr")}


@pytest.mark.parametrize(("held", "message"), [
    ({"other": 1}, "lacks 'proc'"), ({"proc": {"varnames": "x"}}, "lacks 'trl'"),
    ({"proc": 5}, "expected a struct .proc."),
    (b"no MATLAB", "cannot be read"), (b"", "cannot be read"),
])  # fmt: skip
def test_trials_of_alice_that_are_broken_are_named(alice, held, message):
    path = alice / "proc/S01.mat"
    path.write_bytes(held) if isinstance(held, bytes) else savemat(path, held)
    with pytest.raises(ValueError, match=rf"proc/S01\.mat'.*{message}"):
        load_alice(alice)


def test_alice_without_a_sound_or_its_phonemes(alice, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"SoundFile1\.TextGrid' does not exist\. Phonemes .* textgrids=None"
    ):
        load_alice(alice, textgrids=alice)
    (alice / "audio/DownTheRabbitHoleFinal_SoundFile1.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"SoundFile1\.wav' does not exist\. Unpack audio\.zip"):
        load_alice(alice)


# --- MOUS ----------------------------------------------------------------------------------------------


def test_mous_names_recordings_that_are_not_read(tmp_path):
    for name in ("task-auditory", "task-rest", "task-visual"):
        (tmp_path / f"sub-A2002/meg/sub-A2002_{name}_meg.ds").mkdir(parents=True)
    assert schoffelen2019._recording(tmp_path / "sub-A2002").name == "sub-A2002_task-auditory_meg.ds"
    (tmp_path / "sub-A2002/meg/sub-A2002_task-auditory_run-2_meg.ds").mkdir()
    with pytest.warns(
        UserWarning, match=r"of several recordings of sub-A2002, .*run-2_meg\.ds is read, not: .*auditory_meg"
    ):
        schoffelen2019._recording(tmp_path / "sub-A2002")


def test_mous_reads_texts_in_latin_1(tmp_path):
    (tmp_path / "stimuli").mkdir()
    (tmp_path / "stimuli/stimuli.txt").write_bytes("1 Een café is één huis.".encode("latin-1"))
    assert list(schoffelen2019._sentences(tmp_path).values()) == ["Een café is één huis."]
