"""The loaders of the four studies: real tables, folders in their layout with a planted response, broken files."""

import json
import warnings
from functools import partial
from pathlib import Path
from shutil import copytree, rmtree

import mne
import numpy as np
import pandas as pd
import pytest
from helpers.raw_files import (
    brain_of,
    spoken_words,
    write_brainvision,
    write_fieldtrip,
    write_kit,
    write_speech,
    write_textgrid,
)
from helpers.studies import (
    brennan_folder,
    broderick_folder,
    masc_folder,
    mous_listener,
    mous_stimuli,
    write_noise,
)
from scipy.io import loadmat, savemat
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    Envelope,
    Epocher,
    PaperBlocks,
    RidgeDecoder,
    RobustChannelScaler,
    StimulusKFold,
    check_events,
    make_segments,
)
from sk_b2s.datasets import _schoffelen2019 as schoffelen2019
from sk_b2s.datasets import load_brennan2019, load_broderick2019, load_gwilliams2022, load_schoffelen2019
from sk_b2s.datasets._brennan2019 import PUBLISHED_SHIFT, SUBJECTS
from sk_b2s.datasets._broderick2019 import find_openneuro
from sk_b2s.datasets._matching import match_sequences, match_times

COUNTS = {"0": (4, 668, 2462), "1": (6, 1503, 5113), "2": (8, 2637, 8952), "3": (12, 3753, 14234)}
SENTENCES = {"0": 52, "1": 126, "2": 246, "3": 252}

# --- MEG-MASC: real tables -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def masc(masc_root):
    return load_gwilliams2022(masc_root, need_recordings=False)


def test_masc_has_its_known_rows(masc):
    by_type = masc.groupby(["subject", "task", "type"]).size().unstack()[["sound", "word", "phoneme"]]
    assert {key: tuple(row) for key, row in by_type.loc["04"].iterrows()} == COUNTS
    assert {key: tuple(row) for key, row in by_type.loc["12"].iterrows()} == {k: COUNTS[k] for k in "01"}
    words = masc[masc["type"] == "word"]
    assert words[words["subject"] == "04"].groupby("task")["sequence"].nunique().to_dict() == SENTENCES
    lost = words.groupby(["subject", "task", "sequence"])["word_index"].min().ne(0)
    assert lost.groupby(["subject", "task"]).sum().loc["04"].tolist() == [14, 14, 44, 27]
    conditions = words[words["subject"] == "04"].groupby(["task", "condition"]).size().unstack(fill_value=0)
    assert conditions["word_list"].tolist() == [54, 120, 273, 361]
    assert conditions["pseudo_words"].tolist() == [1, 0, 5, 2]
    assert set(words["speaker"]) == {"Allison", "Ava", "Samantha"}
    assert words["speech_rate"].between(145, 205).all()
    assert words["text"].notna().all()


def test_both_forms_of_masc_say_the_same(masc):
    """sub-12 has literals, sub-04 columns; what was heard is one thing, when it was heard another."""
    heard = ["type", "sound", "sound_onset", "duration", "text", "sequence", "word_index", "condition", "speaker",
             "speech_rate", "story"]  # fmt: skip
    one, other = (
        masc[(masc["subject"] == name) & masc["task"].isin(["0", "1"])].reset_index(drop=True)
        for name in ("04", "12")
    )
    pd.testing.assert_frame_equal(one[heard], other[heard])
    apart = (other["onset"] - one["onset"]).groupby([one["task"], one["sound"]])
    assert (apart.max() - apart.min()).max() < 1e-3
    assert apart.mean().nunique() == 10


def test_sound_that_came_late_in_one_session(masc_root, masc):
    late = load_gwilliams2022(masc_root, need_recordings=False, audio_delay={"sub-12": 0.02})
    moved = (late["onset"] - masc["onset"]).groupby(masc["subject"]).agg(["min", "max"]).round(9)
    assert moved.loc["12"].tolist() == [0.02, 0.02]
    assert moved.loc["04"].tolist() == [0.0, 0.0]


def test_masc_segments_are_the_same_for_both(masc):
    X, y = make_segments(masc[masc["task"].isin(["0", "1"])], margin=0.15, block=PaperBlocks())
    for column in ("segment", "block"):
        one, other = (set(y.loc[X["subject"] == name, column]) for name in ("04", "12"))
        assert one == other


def test_masc_takes_what_is_asked(masc_root):
    options = {"need_recordings": False}
    some = load_gwilliams2022(masc_root, ["sub-12", "04"], tasks=["1"], **options)
    assert some["subject"].drop_duplicates().tolist() == ["12", "04"]
    assert set(some["task"]) == {"1"}
    with pytest.raises(ValueError, match=r"sessions=\['0', '9'\] names '9', which is not there"):
        load_gwilliams2022(masc_root, sessions=["0", "9"], **options)
    with pytest.raises(ValueError, match=r"tasks=\['0', '3'\] names '3', which is not there"):
        load_gwilliams2022(masc_root, "12", tasks=["0", "3"], **options)
    with pytest.raises(
        ValueError, match=r"subjects='13' names '13', which is not there \(did you mean '12'\?\)"
    ):
        load_gwilliams2022(masc_root, "13", **options)
    with pytest.raises(ValueError, match="tasks='4' names '4'.*there are 0, 1, 2, 3"):
        load_gwilliams2022(masc_root, tasks="4", **options)
    with pytest.raises(FileNotFoundError, match="no table .*events.tsv that was asked for.*fetch_gwilliams"):
        load_gwilliams2022(masc_root, sessions="1", **options)
    with pytest.raises(FileNotFoundError, match=r"meg\.con' does not exist.*need_recordings=False"):
        load_gwilliams2022(masc_root, "04")
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        load_gwilliams2022(masc_root / "nowhere")


# --- MEG-MASC: broken files ----------------------------------------------------------------------------

LITERAL = "{'story': 'lw1', 'kind': 'word', 'start': 0.5, 'sound': 'stimuli/audio/LW1_0.wav', 'word': 'null', " \
          "'phoneme': None, 'sequence_id': 0.0, 'condition': 'sentence', 'word_index': 0.0, 'speech_rate': 205.0, " \
          "'voice': 'Ava'}"  # fmt: skip
SOUND = "{'story': 'lw1', 'kind': 'sound', 'start': 0.0, 'sound': 'stimuli/audio/LW1_0.0.wav'}"


@pytest.fixture
def tiny_masc(tmp_path):
    """One recording of one word, whose table is what the test makes of it."""
    folder = tmp_path / "sub-01/ses-0/meg"
    folder.mkdir(parents=True)
    (tmp_path / "stimuli/audio").mkdir(parents=True)
    write_noise(tmp_path / "stimuli/audio/lw1_0.wav", 3)

    def load(sound=SOUND, word=LITERAL, onset=7.5, header="onset\tduration\ttrial_type\tvalue\tsample"):
        rows = [header, f"7.0\t0.0\t{sound}\t1\t7000", f"{onset}\t0.3\t{word}\t1\t7500"]
        (folder / "sub-01_ses-0_task-0_events.tsv").write_text("\n".join(rows), encoding="utf-8-sig")
        return load_gwilliams2022(tmp_path, need_recordings=False)

    return load


@pytest.mark.filterwarnings("ignore:gwilliams2022. 1 tables have fewer rows")
def test_a_table_of_masc_that_was_cut_off(data_folder, tmp_path):
    root = masc_folder(data_folder, tmp_path, ("04", "12"))
    table = next(root.glob("sub-12/ses-*/meg/*task-1_events.tsv"))
    table.write_bytes(b"\n".join(table.read_bytes().split(b"\n")[:2000]))
    with pytest.warns(
        UserWarning, match=r"1 tables have fewer rows than that of their story, .* 1999 of 6622"
    ):
        load_gwilliams2022(root, "12", need_recordings=False)
    with pytest.raises(
        ValueError, match=r"sub-12.*_task-1_meg\.con' has 1999 rows, those of other .* 6622 \(1 such"
    ):
        load_gwilliams2022(root, need_recordings=False)


def test_a_word_may_be_called_null(tiny_masc):
    events = check_events(tiny_masc())
    assert events["text"].tolist()[1:] == ["null"]
    assert events.loc[0, ["onset", "sound_onset", "duration"]].tolist() == [7.0, 0.0, 3.0]
    assert (events["recording_duration"] == 17.8).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"word": "{'kind': 'word'"}, r"row 1, column 'trial_type': expected a dictionary with 'kind', got \"\{"),
        ({"word": "__import__('os').getcwd()"}, r"row 1, column 'trial_type': .*got \"__import__"),
        ({"word": "word"}, "row 1, column 'trial_type': expected a dictionary"),
        ({"word": LITERAL.replace("LW1_0.wav", "story.mp3")}, r"column 'sound': expected .*got 'stimuli/audio/story"),
        ({"word": LITERAL.replace("LW1_0", "LW1_7")}, r"lw1_7\.wav' does not exist.*fetch_gwilliams2022"),
        ({"onset": 7.8}, r"row 1: expected the onset to be that of the sound 'lw1_0\.wav' plus 0\.500 s, .*\+0\.300 s"),
        ({"sound": LITERAL}, "row 0: expected the onset .* has no row of its sound"),
        ({"header": "onset\tduration\tvalue\tsample\tother"}, r"events\.tsv' lacks the column \['trial_type'\]"),
        ({"header": "onset\tduration\ttrial_type\tkind\tsample"}, r"lacks the columns \['start', 'sound', 'word'"),
    ],
)  # fmt: skip
def test_broken_tables_of_masc(tiny_masc, changes, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        tiny_masc(**changes)


def test_what_git_annex_did_not_fetch(tiny_masc, tmp_path):
    tiny_masc()
    wav = tmp_path / "stimuli/audio/lw1_0.wav"
    for pointer in ("link", "text"):
        wav.unlink()
        target = "../.git/annex/objects/kp/4k/SHA256E-s31--61.wav/SHA256E-s31--61.wav"
        wav.symlink_to(target) if pointer == "link" else wav.write_text(target)
        with pytest.raises(FileNotFoundError, match=r"not been fetched.*git annex get .lw1_0\.wav"):
            tiny_masc()


# --- Alice: real tables --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alice(brennan_root):
    return load_brennan2019(brennan_root, "all", need_recordings=False)


def test_alice_has_its_known_people(alice, data_folder, brennan_root):
    said = loadmat(data_folder / "brennan2019/datasets.mat", squeeze_me=True)
    assert SUBJECTS["authors"] == tuple(name.removesuffix(".mat") for name in said["use"])
    assert alice["subject"].nunique() == 42
    default = load_brennan2019(brennan_root, need_recordings=False)
    assert tuple(default["subject"].unique()) == SUBJECTS["authors"]
    left_out = {"S02", "S24", "S26", "S27", "S30", "S32", "S34", "S35", "S36"}
    assert set(SUBJECTS["reference"]) == set(SUBJECTS["all"]) - left_out
    assert len(SUBJECTS["reference"]) == 33
    with pytest.raises(ValueError, match=r"subjects='author' names 'author'.*there are S01"):
        load_brennan2019(brennan_root, "author", need_recordings=False)


def test_alice_has_its_known_rows(alice):
    assert len(alice.query("subject == 'S01' and type == 'word'")) == 2129
    words = alice[alice["type"] == "word"]
    assert words.groupby("subject")["sequence"].nunique().value_counts().to_dict() == {84: 34, 77: 8}
    assert (words[words["subject"] == "S01"].groupby("sequence")["word_index"].min() == 0).all()


def test_alice_begins_at_the_150th_sample_of_a_trial(alice, data_folder, brennan_root):
    """The published shift puts every word where the published code had it, to the rounding of a sample."""
    proc = loadmat(data_folder / "brennan2019/proc/S01.mat", squeeze_me=True, simplify_cells=True)["proc"]
    begin = proc["trl"][:, 0]
    words = alice.query("subject == 'S01' and type == 'word'").sort_values("onset")["onset"].to_numpy()
    np.testing.assert_allclose(words, (begin + 149) / 500, atol=0.002)
    shifted = load_brennan2019(brennan_root, "S01", onset_shift=PUBLISHED_SHIFT, need_recordings=False)
    published = shifted[shifted["type"] == "word"].sort_values("onset")["onset"]
    np.testing.assert_allclose(published, begin / 500, atol=0.002)


def test_sounds_of_alice_that_were_mislabelled_get_their_own_words(alice):
    """Nobody paused the sounds: each begins as long after the one before as for the other people."""
    sounds = alice[alice["type"] == "sound"]
    times = sounds.pivot_table(index="subject", columns="sound", values="onset")
    order = times.loc["S01"].sort_values().index
    apart = times[order].diff(axis=1).iloc[:, 1:]
    assert (apart - apart.loc["S01"]).abs().max(axis=None) < 0.1
    late = {"S24", "S26", "S27", "S30", "S32", "S34", "S35", "S36"}
    assert set(times.index[times[order[0]].isna()]) == late
    assert times.loc[sorted(late), order[1]].gt(40).all()


def test_alice_with_phonemes(brennan_root, data_folder):
    events = load_brennan2019(brennan_root, "S01", 0.0, data_folder / "brennan2019/textgrids", False)
    checked = check_events(events)
    phonemes = checked[checked["type"] == "phoneme"]
    assert len(phonemes) > 2.5 * 2129
    assert phonemes["sequence"].notna().all()
    first = phonemes[(phonemes["sequence"] == "alice/1") & (phonemes["word_index"] == 0)]
    assert first["text"].str.rstrip("012").tolist() == ["AE", "L", "AH", "S"]


# --- Alice: broken files -------------------------------------------------------------------------------


@pytest.fixture
def tiny_alice(tmp_path, data_folder):
    """S01 with real words; the test writes the trials."""
    root = brennan_folder(data_folder, tmp_path, {"S01"})
    proc = loadmat(root / "proc/S01.mat", squeeze_me=True, simplify_cells=True)["proc"]
    (root / "proc/S01.mat").unlink()

    def load(names=("segment", "tmin", "Order"), change=lambda trials: trials, **options):
        trials = change(np.array(proc["trl"]))
        savemat(root / "proc/S01.mat", {"proc": {"trl": trials, "varnames": np.array(names, object)}})
        return load_brennan2019(root, "S01", **{"need_recordings": False, **options})

    load.root = root
    return load


def edited(column, value, rows=slice(None)):
    def change(trials):
        trials[rows, column] = value(trials[rows, column]) if callable(value) else value
        return trials

    return change


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ("number", "tmin", "Order")}, r"offset and then 'segment' and 'tmin' .*got \['number'"),
        ({"change": edited(2, -100.0)}, "begin 150 samples before their word, got an offset of -100"),
        ({"change": edited(0, lambda s: s + 50, [3])}, r"trials of sound 1 place its beginning 0\.10. s apart"),
        ({"change": lambda trials: trials[trials[:, 3] != 5]}, r"11 sounds do not follow each other .* off at best"),
        ({"change": edited(4, lambda s: s + 0.3)}, r"contradict each other: word 1, 'Alice', is 0\.300 s elsewhere"),
        ({"need_recordings": True}, r"S01\.mat' does not exist.*need_recordings=False"),
        ({"textgrids": "nowhere"}, "SoundFile1.TextGrid' does not exist"),
    ],
)  # fmt: skip
def test_broken_trials_of_alice(tiny_alice, options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        tiny_alice(**options)


def test_a_csv_of_alice_with_decimal_commas(tiny_alice):
    path = tiny_alice.root / "AliceChapterOne-EEG.csv"
    table = pd.read_csv(path, keep_default_na=False)
    table.assign(onset=table["onset"].map(lambda s: str(s).replace(".", ","))).to_csv(path, index=False)
    with pytest.raises(
        ValueError, match=r"line 2, column 'onset': expected a number, got '0,\d+'; .*decimal commas"
    ):
        tiny_alice()


def test_a_sound_of_alice_that_was_cut_off(tiny_alice):
    write_noise(tiny_alice.root / "audio/DownTheRabbitHoleFinal_SoundFile7.wav", 20)
    with pytest.raises(
        ValueError, match=r"SoundFile7\.wav' has 20\.000 s, but its last word begins at 6\d\.\d+ s"
    ):
        tiny_alice()
    (tiny_alice.root / "audio/DownTheRabbitHoleFinal_SoundFile7.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"SoundFile7\.wav' does not exist\. Unpack audio\.zip"):
        tiny_alice()


# --- a planted response, in each study's layout and format ---------------------------------------------

LAG, SECONDS, N_CHANNELS = 0.1, 60.0, 12


def response_lag(events, **epocher):
    """Lag in s at which the brain follows the envelope most, from the loader's table through the Epocher."""
    X, y = make_segments(events, anchor=1.0, tmin=0.0, tmax=4.0, margin=0.1, block=8.0)
    brain = np.asarray(Epocher(sfreq=100, lag=0.0, baseline=None, **epocher).fit_transform(X), float)
    sound = np.asarray(Envelope(sfreq=100).fit_transform(y), float)[:, 0]
    brain -= brain.mean(2, keepdims=True)
    sound -= sound.mean(1, keepdims=True)
    power = {}
    for step in range(-60, 61):
        a, b = max(step, 0), min(step, 0)
        heard, read = sound[:, -b : sound.shape[1] - a], brain[:, :, a : brain.shape[2] + b]
        n_times = min(heard.shape[1], read.shape[2])
        covariance = np.einsum("nt,nct->c", heard[:, :n_times], read[:, :, :n_times]) / n_times
        power[step / 100] = (covariance**2).sum()
    return max(power, key=power.get)


def check_lag(events, **epocher):
    """The planted lag is found, and an onset error of 300 ms would not pass."""
    check_events(events)
    assert abs(response_lag(events, **epocher) - LAG) <= 0.02
    late = events.assign(onset=events["onset"] + 0.3)
    assert abs(response_lag(late, **epocher) - LAG) > 0.2


def masc_table(path, sounds, words):
    """Write an events.tsv in the form of OSF."""
    rows = []
    for number, ((name, onset), spoken) in enumerate(zip(sounds, words, strict=True)):
        said = {"story": "lw1", "kind": "sound", "start": 0.0, "sound": f"stimuli/audio/{name}.0.wav"}
        rows.append((onset, 0.0, said))
        for index, (start, duration, text) in enumerate(spoken):
            said = {"kind": "word", "start": start, "sound": f"stimuli/audio/{name}.wav", "word": text,
                    "sequence_id": 10.0 * number + index // 6, "condition": "sentence",
                    "word_index": index % 6}  # fmt: skip
            rows.append((onset + start, duration, said))
    lines = ["onset\tduration\ttrial_type\tvalue\tsample"]
    lines += [f"{onset}\t{duration}\t{said}\t1\t{round(onset * 1000)}" for onset, duration, said in rows]
    path.write_text("\n".join(lines), encoding="utf-8-sig")


@pytest.mark.slow
def test_masc_from_its_folder(data_folder, tmp_path):
    sounds = [("LW1_0", 4.0), ("LW1_1", 33.0)]
    for seed, (name, _) in enumerate(sounds):
        write_speech(tmp_path / f"stimuli/audio/{name.lower()}.wav", 25, seed)
    played = [(tmp_path / f"stimuli/audio/{name.lower()}.wav", onset) for name, onset in sounds]
    for subject in ("01", "02"):
        stem = tmp_path / f"sub-{subject}/ses-0/meg/sub-{subject}_ses-0_task-0"
        brain = brain_of(played, SECONDS, 250, N_CHANNELS, seed=int(subject))
        write_kit(data_folder / "formats/kit/test.sqd", Path(f"{stem}_meg.con"), brain, 250.0)
        masc_table(Path(f"{stem}_events.tsv"), sounds, [spoken_words(25, seed) for seed in (0, 1)])
    events = load_gwilliams2022(tmp_path)
    names = mne.io.read_raw_kit(f"{stem}_meg.con", verbose="ERROR").ch_names[:N_CHANNELS]
    check_lag(events, picks=names)
    X, y = make_segments(events, anchor=0.5, tmin=0.0, tmax=3.0, margin=0.2, block=6.0)
    decoder = make_pipeline(
        Epocher(sfreq=50, lag=LAG, baseline=None, picks=names),
        RobustChannelScaler(),
        RidgeDecoder(speech=Envelope(sfreq=50), lags=(0.0, 0.05), k=1),
    )
    chance = 1 / y["segment"].nunique()
    assert cross_val_score(decoder, X, y, cv=StimulusKFold(3)).mean() > 10 * chance


def test_alice_from_its_folder(tmp_path):
    """Two of the twelve sounds, with trials that begin 150 samples before their words."""
    rows, begun = [], {1: 3.1, 2: 3.1 + 25.07}
    for number in begun:
        write_speech(tmp_path / f"audio/DownTheRabbitHoleFinal_SoundFile{number}.wav", 25, number)
        for index, (onset, duration, text) in enumerate(spoken_words(25, number)):
            rows.append((text, number, onset, onset + duration, index % 6 + 1, 10 * number + index // 6))
    columns = ["Word", "Segment", "onset", "offset", "Position", "Sentence"]
    words = pd.DataFrame(rows, columns=columns)
    words.to_csv(tmp_path / "AliceChapterOne-EEG.csv", index=False)
    sample = np.round((words["Segment"].map(begun) + words["onset"]) * 500) + 1
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
        for number, onset in begun.items()
    ]
    write_fieldtrip(tmp_path / "S01.mat", brain_of(played, SECONDS, 500, 20), 500.0)
    check_lag(load_brennan2019(tmp_path, "S01"))
    published = load_brennan2019(tmp_path, "S01", onset_shift=PUBLISHED_SHIFT)
    assert abs(response_lag(published) - LAG - 0.298) <= 0.02, "the brain seems 0.3 s later"


def old_man(root, edition):
    """A folder of either edition of Broderick's study, of two people and two runs."""
    stimuli = root / "stimuli"
    for run in (1, 2):
        write_speech(stimuli / f"audio{run:02d}.wav", 40, run)
        write_textgrid(stimuli / f"audio{run:02d}.TextGrid", spoken_words(40, run), 40.0)
        for subject in (1, 2):
            played = [(stimuli / f"audio{run:02d}.wav", 0.0)]
            n_channels, sfreq = (128, 128) if edition == "dryad" else (6, 512)
            brain = brain_of(played, 42, sfreq, n_channels, seed=10 * subject + run)
            if edition == "dryad":
                folder = root / f"Natural Speech/EEG/Subject{subject}"
                folder.mkdir(parents=True, exist_ok=True)
                held = {"eegData": 10 * brain.T, "mastoids": brain[:2].T, "fs": [[128]]}
                savemat(folder / f"Subject{subject}_Run{run}.mat", held)
                continue
            stem = root / f"sub-{subject:03d}/eeg/sub-{subject:03d}_task-listening_run-{run:02d}"
            names = ["A1", "A2", "B1", "C1", "D1", "D32"]
            write_brainvision(Path(f"{stem}_eeg.vhdr"), brain, names, 512)
            table = pd.DataFrame({"name": names, "type": "EEG", "units": "V", "status": "good"})
            table.to_csv(f"{stem}_channels.tsv", sep="\t", index=False)
            Path(f"{stem}_eeg.json").write_text('{"RecordingDuration": 42.0}')
    return root


def test_the_old_man_from_openneuro(tmp_path):
    events = load_broderick2019(old_man(tmp_path, "openneuro"))
    assert events.groupby(["subject", "run"]).ngroups == 4
    check_lag(events[events["subject"] == "002"])
    words = events[events["type"] == "word"]
    assert (words.groupby(["run", "sequence", "word_index"])["subject"].nunique() == 2).all()
    assert words.loc[words["subject"] == "001", ["sequence", "word_index"]].iloc[[0, 5, 6]].to_numpy().tolist() == [
        ["01/0", 0.0], ["01/0", 5.0], ["01/1", 0.0]
    ]  # fmt: skip


def test_the_old_man_from_dryad(tmp_path):
    root = old_man(tmp_path, "dryad")
    with pytest.raises(ValueError, match="Dryad's edition has no sounds; give stimuli="):
        load_broderick2019(root, edition="dryad")
    events = load_broderick2019(root, edition="dryad", stimuli=root / "stimuli")
    check_lag(events[events["subject"] == "001"])
    assert set(events["subject"]) == {"001", "002"}
    assert len(load_broderick2019(root, "002", "01", "dryad", root / "stimuli")["recording"].unique()) == 1
    for other in ("Natural Speech - Reverse", "Speech in Noise"):
        copytree(root / "Natural Speech", root / other)
    again = load_broderick2019(root, edition="dryad", stimuli=root / "stimuli")
    pd.testing.assert_frame_equal(again, events)
    alone = load_broderick2019(root / "Natural Speech", edition="dryad", stimuli=root / "stimuli")
    pd.testing.assert_frame_equal(alone, events)
    rmtree(root / "Natural Speech")
    with pytest.raises(FileNotFoundError, match="Dryad's other folders are of other experiments"):
        load_broderick2019(root, edition="dryad", stimuli=root / "stimuli")


@pytest.fixture
def gentle(tmp_path):
    """A run of Dryad's whose words Gentle aligned, and its text."""
    folder = tmp_path / "EEG/Subject1"
    folder.mkdir(parents=True)
    (folder / "Subject1_Run3.mat").touch()
    stimuli = tmp_path / "private"
    write_speech(stimuli / "audio3.wav", 12, 0)
    said = "He was an old man who fished alone . He went eighty four days now without taking a fish".split()
    words = []
    for index, word in enumerate(said):
        entry = {"case": "success", "word": word, "start": 0.5 + 0.5 * index, "end": 0.8 + 0.5 * index,
                 "phones": [{"phone": "x_B", "duration": 0.1}, {"phone": "y_E", "duration": 0.2}]}  # fmt: skip
        words.append({"case": "not-found-in-audio", "word": "."} if word == "." else entry)
    (stimuli / "align3.json").write_text(json.dumps({"words": words}))
    text = "“He was an old man who fished alone.” He had gone eighty-four days now without taking a fish."
    (stimuli / "oldman_run3.txt").write_text(text, encoding="utf-8")
    return lambda **options: load_broderick2019(
        tmp_path, edition="dryad", stimuli=stimuli, need_recordings=False, **options
    )


def test_sentences_of_the_old_mans_text(gentle):
    """Eighteen words heard; "went", "eighty" and "four" are not in the text and follow the word before them."""
    events = gentle(texts=gentle().loc[0, "sound"].rsplit("/", 1)[0])
    words = events[events["type"] == "word"]
    assert words["sequence"].tolist() == ["03/0"] * 8 + ["03/1"] * 10
    assert words["word_index"].tolist() == [*range(8), *range(10)]
    phonemes = events[events["type"] == "phoneme"]
    np.testing.assert_allclose(
        phonemes["onset"].to_numpy().reshape(-1, 2) - words["onset"].to_numpy()[:, None], [[0, 0.1]] * 18, atol=1e-9
    )  # fmt: skip
    assert (phonemes["word_index"].to_numpy().reshape(-1, 2) == words["word_index"].to_numpy()[:, None]).all()
    alone = gentle(sentence_gap=0.6)
    assert set(alone["sequence"].iloc[1:]) == {"03/0", "03/1"}, "the full stop that was not found is a pause"


def test_the_wrong_text_of_the_old_man(gentle, tmp_path):
    (tmp_path / "private/oldman_run3.txt").write_text("Alice was beginning to get very tired. Of sitting.")
    with pytest.raises(
        ValueError, match=r"only \d of 18 words heard are in .*oldman_run3\.txt'; is it the text"
    ):
        gentle(texts=tmp_path / "private")


def test_what_the_old_man_asks_for(tmp_path, gentle):
    with pytest.raises(ValueError, match="edition must be 'openneuro' or 'dryad', got 'osf'"):
        load_broderick2019(tmp_path, edition="osf")
    with pytest.raises(FileNotFoundError, match=r"has no sub-\*/eeg/.*edition='dryad'"):
        load_broderick2019(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"audio03\.wav' does not exist\. It may also be 'audio3\.wav'"
    ):
        load_broderick2019(tmp_path, edition="dryad", stimuli=tmp_path, need_recordings=False)


def test_all_people_of_the_old_man_hear_the_same(data_folder, tmp_path):
    """19 people and 20 runs, as published; the words are Alice's."""
    events = load_broderick2019(broderick_folder(data_folder, tmp_path, 19, 20), need_recordings=False)
    assert events["recording"].nunique() == 380
    assert events["subject"].nunique() == 19
    words = events[events["type"] == "word"]
    assert words.groupby(["run", "sequence", "word_index"])["subject"].nunique().eq(19).all()
    assert set(events["recording_duration"].round(1)) == {190.0, 193.6, 196.0, 204.0}


def test_the_real_tables_of_the_old_man(data_folder):
    there = find_openneuro(data_folder / "broderick_bids")
    assert sorted(there) == [("001", "01"), ("001", "02"), ("019", "01"), ("019", "02")]
    assert there["001", "01"][1] == {"recording_duration": 195.998046875}
    with pytest.raises(FileNotFoundError, match=r"vhdr' does not exist"):
        load_broderick2019(data_folder / "broderick_bids")


# --- MOUS ----------------------------------------------------------------------------------------------

N_SOUNDS = 24


@pytest.fixture
def mous(data_folder, tmp_path):
    """Make the folder of a listener: the log's clock began 12.3456 s before the recording's and is 40 ppm slow."""
    mous_stimuli(tmp_path, N_SOUNDS)
    write = partial(mous_listener, data_folder, tmp_path, N_SOUNDS)
    write.root = tmp_path
    return write


def test_mous_from_its_folder(mous, monkeypatch):
    monkeypatch.setattr(schoffelen2019, "LEAST", 20)  # the true one is for an hour
    played = mous(lose=(3, 9, 10), add=[(5.0, 20), (40.05, 10)])
    events, report = load_schoffelen2019(mous.root, return_report=True)
    sounds = events[events["type"] == "sound"]
    assert sounds["sequence"].tolist() == [str(number) for number, _ in played]
    np.testing.assert_allclose(sounds["onset"], [onset for _, onset in played], atol=1.5e-3)
    said = report.iloc[0]
    assert (said["n_log"], said["n_triggers"], said["n_matched"]) == (32, 31, 29)
    assert said["drift_ppm"] == pytest.approx(40, abs=10)
    assert said["offset"] == pytest.approx(-12.3456, abs=2e-3)
    assert said["largest"] < 2
    check_lag(events)
    words = events[events["type"] == "word"]
    assert len(words) == 8 * N_SOUNDS
    assert (words["sequence_uid"].str.split().str.len() == 10).all(), (
        "the whole line, though the last words are lost"
    )
    assert words.groupby("sequence")["word_index"].max().eq(7).all()
    assert words["condition"].value_counts().to_dict() == {"sentence": 96, "word_list": 96}
    _, y = make_segments(events, tmin=0.0, tmax=1.0, margin=0.1, block=PaperBlocks(min_duration=0))
    assert set(y["block_text"]) <= set(words["sequence_uid"])


@pytest.mark.parametrize(("lost", "left_out"), [(range(6), 4), (range(26, 32), 5), (range(10, 16), 0)])
def test_mous_whose_recording_lacks_a_stretch(mous, monkeypatch, lost, left_out):
    """Triggers come in a pattern that repeats, so that the fewest edits do not tell which are lost."""
    monkeypatch.setattr(schoffelen2019, "LEAST", 20)
    played = dict(mous(lose=lost))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        events, report = load_schoffelen2019(mous.root, return_report=True)
    told = [str(one.message) for one in said if "left out" in str(one.message)]
    assert len(told) == bool(left_out)
    row = report.iloc[0]
    assert (row["n_matched"], row["n_sounds"], row["n_left_out"]) == (26, N_SOUNDS, left_out)
    assert row["drift_ppm"] == pytest.approx(40, abs=10)
    assert row["largest"] < 2
    sounds = events[events["type"] == "sound"]
    onset = [played[int(name)] for name in sounds["sequence"]]
    assert len(sounds) == N_SOUNDS - left_out
    np.testing.assert_allclose(sounds["onset"], onset, atol=3e-3)


def test_mous_with_a_press_of_a_button_before_the_sound(mous, monkeypatch):
    monkeypatch.setattr(schoffelen2019, "LEAST", 20)
    played = mous()
    log = mous.root / "sourcedata/meg_task/10-MEG-MOUS-AudA2002.log"
    lines = log.read_text().split("\n")
    at = next(row for row, line in enumerate(lines) if "Start File" in line)
    lines.insert(at + 1, lines[at].replace("Nothing", "Response").replace(lines[at].split("\t")[3], "1"))
    log.write_text("\n".join(lines))
    events = load_schoffelen2019(mous.root)
    assert (events["type"] == "sound").sum() == len(played)


def test_mous_of_clocks_that_cannot_be(mous, monkeypatch):
    monkeypatch.setattr(schoffelen2019, "LEAST", 20)
    mous(scale=1.02)
    with pytest.raises(ValueError, match=r"are -19\d\d\d ppm apart, real ones less than 100"):
        load_schoffelen2019(mous.root)


def test_mous_that_does_not_fit(mous, monkeypatch):
    mous()
    with pytest.raises(
        ValueError, match=r"share only 32 triggers in order \(40 are needed; 32 in the log, 32 in"
    ):
        load_schoffelen2019(mous.root)
    monkeypatch.setattr(schoffelen2019, "LEAST", 10)
    log = mous.root / "sourcedata/meg_task/10-MEG-MOUS-AudA2002.log"
    text = log.read_text()
    rows = text.split("\n")
    late = [
        "\t".join([*cells[:4], str(int(cells[4]) + 3000 * (index > 60)), *cells[5:]])
        if len(cells := row.split("\t")) > 10 and cells[4].isdigit()
        else row
        for index, row in enumerate(rows)
    ]
    log.write_text("\n".join(late))
    with pytest.raises(
        ValueError, match=r"of 32 triggers in the log \d+ are within 20 ms .*was the recording"
    ):
        load_schoffelen2019(mous.root)
    log.write_text(text.replace("1 Audio onset", "blank", 1))
    with pytest.raises(
        ValueError, match="expected 'Audio onset' within 1 s after '14 Start File .*got 'blank'"
    ):
        load_schoffelen2019(mous.root)
    log.write_text("nothing")
    with pytest.raises(ValueError, match="no table with the columns .*is it a log of Presentation"):
        load_schoffelen2019(mous.root)
    log.write_text(text)
    (mous.root / "stimuli/stimuli.txt").write_text("1 Iets anders")
    with pytest.raises(ValueError, match=r"the words of EQ_Ramp.*are no line of stimuli/stimuli\.txt"):
        load_schoffelen2019(mous.root)
    with pytest.raises(ValueError, match="those named V read"):
        load_schoffelen2019(mous.root, "V1001")
    with pytest.raises(ValueError, match="'A2003', which is not there"):
        load_schoffelen2019(mous.root, "A2003")
    next((mous.root / "derivatives/phonemes").iterdir()).unlink()
    (mous.root / "stimuli/stimuli.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"stimuli\.txt' does not exist"):
        load_schoffelen2019(mous.root)


def test_mous_at_another_rate(mous):
    mous(sfreq=600.0)
    with pytest.raises(ValueError, match="was to be sampled at 1200 Hz, got 600"):
        load_schoffelen2019(mous.root)


# --- matching ------------------------------------------------------------------------------------------


def levenshtein(a, b):
    """Fewest edits, by the textbook's recursion over rows."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        new = [i]
        for j, z in enumerate(b, start=1):
            new.append(min(row[j] + 1, new[-1] + 1, row[j - 1] + (x != z)))
        row = new
    return row[-1]


@pytest.mark.parametrize("seed", range(20))
def test_pairs_are_those_of_the_fewest_edits(seed):
    rng = np.random.default_rng(seed)
    first, second = (rng.integers(0, 4, rng.integers(0, 30)) for _ in range(2))
    pairs = match_sequences(first, second)
    assert (first[pairs[:, 0]] == second[pairs[:, 1]]).all()
    assert (np.diff(pairs, axis=0) > 0).all()
    edges = np.concatenate([[[-1, -1]], pairs, [[len(first), len(second)]]])
    assert np.maximum(*np.diff(edges, axis=0).T - 1).sum() == levenshtein(first, second)


def test_times_are_matched_once_each():
    first, second = np.array([1.0, 2.0, 2.004, 5.0]), np.array([0.99, 2.003, 9.0])
    assert match_times(first, second, 0.02).tolist() == [[0, 0], [2, 1]]
    assert match_times(first, second[:0], 0.02).tolist() == []
    assert match_times(first, second[:1], 0.02).tolist() == [[0, 0]]
