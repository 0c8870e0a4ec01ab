"""Tests of loading and downloading Gwilliams et al. (2022)."""

import hashlib
import shutil
from pathlib import Path

import mne
import pandas as pd
import pytest
from helpers.raw_files import simulate_channels, spoken_words, write_kit, write_speech
from helpers.servers import read_files
from helpers.studies import LAG, N_CHANNELS, SECONDS, check_lag, masc_folder, write_noise
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
from sk_b2s.datasets import _gwilliams2022 as gwilliams2022
from sk_b2s.datasets import fetch_gwilliams2022, load_gwilliams2022

COUNTS = {"0": (4, 668, 2462), "1": (6, 1503, 5113), "2": (8, 2637, 8952), "3": (12, 3753, 14234)}


SENTENCES = {"0": 52, "1": 126, "2": 246, "3": 252}


@pytest.fixture(scope="module")
def published_events(masc_root):
    return load_gwilliams2022(masc_root, need_recordings=False)


def test_load_has_published_rows(published_events):
    by_type = (
        published_events.groupby(["subject", "task", "type"]).size().unstack()[["sound", "word", "phoneme"]]
    )
    assert {key: tuple(row) for key, row in by_type.loc["04"].iterrows()} == COUNTS
    assert {key: tuple(row) for key, row in by_type.loc["12"].iterrows()} == {k: COUNTS[k] for k in "01"}
    words = published_events[published_events["type"] == "word"]
    assert words[words["subject"] == "04"].groupby("task")["sequence"].nunique().to_dict() == SENTENCES
    lost = words.groupby(["subject", "task", "sequence"])["word_index"].min().ne(0)
    assert lost.groupby(["subject", "task"]).sum().loc["04"].tolist() == [14, 14, 44, 27]
    conditions = words[words["subject"] == "04"].groupby(["task", "condition"]).size().unstack(fill_value=0)
    assert conditions["word_list"].tolist() == [54, 120, 273, 361]
    assert conditions["pseudo_words"].tolist() == [1, 0, 5, 2]
    assert set(words["speaker"]) == {"Allison", "Ava", "Samantha"}
    assert words["speech_rate"].between(145, 205).all()
    assert words["text"].notna().all()


def test_load_both_editions_agree(published_events):
    """Tables of sub-12 have literals, those of sub-04 have columns."""
    columns = ["type", "sound", "sound_onset", "duration", "text", "sequence", "word_index", "condition", "speaker",
             "speech_rate", "story"]  # fmt: skip
    one, other = (
        published_events[
            (published_events["subject"] == name) & published_events["task"].isin(["0", "1"])
        ].reset_index(drop=True)
        for name in ("04", "12")
    )
    pd.testing.assert_frame_equal(one[columns], other[columns])
    difference = (other["onset"] - one["onset"]).groupby([one["task"], one["sound"]])
    assert (difference.max() - difference.min()).max() < 1e-3
    assert difference.mean().nunique() == 10


def test_load_applies_audio_delay(masc_root, published_events):
    late = load_gwilliams2022(masc_root, need_recordings=False, audio_delay={"sub-12": 0.02})
    delay = (
        (late["onset"] - published_events["onset"])
        .groupby(published_events["subject"])
        .agg(["min", "max"])
        .round(9)
    )
    assert delay.loc["12"].tolist() == [0.02, 0.02]
    assert delay.loc["04"].tolist() == [0.0, 0.0]


def test_load_gives_equal_segments(published_events):
    X, y = make_segments(
        published_events[published_events["task"].isin(["0", "1"])], margin=0.15, block=PaperBlocks()
    )
    for column in ("segment", "block"):
        one, other = (set(y.loc[X["subject"] == name, column]) for name in ("04", "12"))
        assert one == other


def test_load_selects_and_reports_missing(masc_root):
    options = {"need_recordings": False}
    some = load_gwilliams2022(masc_root, ["sub-12", "04"], tasks=["1"], **options)
    assert some["subject"].drop_duplicates().tolist() == ["12", "04"]
    assert set(some["task"]) == {"1"}
    with pytest.raises(ValueError, match=r"sessions=\['0', '9'\] contains '9', which does not exist"):
        load_gwilliams2022(masc_root, sessions=["0", "9"], **options)
    with pytest.raises(ValueError, match=r"tasks=\['0', '3'\] contains '3', which does not exist"):
        load_gwilliams2022(masc_root, "12", tasks=["0", "3"], **options)
    with pytest.raises(
        ValueError, match=r"subjects='13' contains '13', which does not exist \(did you mean '12'\?\)"
    ):
        load_gwilliams2022(masc_root, "13", **options)
    with pytest.raises(ValueError, match="tasks='4' contains '4'.*Available: 0, 1, 2, 3"):
        load_gwilliams2022(masc_root, tasks="4", **options)
    with pytest.raises(FileNotFoundError, match="no requested table .*events.tsv.*fetch_gwilliams"):
        load_gwilliams2022(masc_root, sessions="1", **options)
    with pytest.raises(FileNotFoundError, match=r"meg\.con' does not exist.*need_recordings=False"):
        load_gwilliams2022(masc_root, "04")
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        load_gwilliams2022(masc_root / "nowhere")


LITERAL = "{'story': 'lw1', 'kind': 'word', 'start': 0.5, 'sound': 'stimuli/audio/LW1_0.wav', 'word': 'null', " \
          "'phoneme': None, 'sequence_id': 0.0, 'condition': 'sentence', 'word_index': 0.0, 'speech_rate': 205.0, " \
          "'voice': 'Ava'}"  # fmt: skip


SOUND = "{'story': 'lw1', 'kind': 'sound', 'start': 0.0, 'sound': 'stimuli/audio/LW1_0.0.wav'}"


@pytest.fixture
def load_table(tmp_path):
    """Return a loader of one recording with a modified table."""
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
def test_load_reports_truncated_table(data_folder, tmp_path):
    root = masc_folder(data_folder, tmp_path, ("04", "12"))
    table = next(root.glob("sub-12/ses-*/meg/*task-1_events.tsv"))
    table.write_bytes(b"\n".join(table.read_bytes().split(b"\n")[:2000]))
    with pytest.warns(
        UserWarning, match=r"1 tables have fewer rows than in the published data, .* 1999 of 6622"
    ):
        load_gwilliams2022(root, "12", need_recordings=False)
    with pytest.raises(
        ValueError, match=r"sub-12.*_task-1_meg\.con' has 1999 rows, but tables of other .* 6622 \(1 such"
    ):
        load_gwilliams2022(root, need_recordings=False)


def test_load_keeps_word_null(load_table):
    events = check_events(load_table())
    assert events["text"].tolist()[1:] == ["null"]
    assert events.loc[0, ["onset", "sound_onset", "duration"]].tolist() == [7.0, 0.0, 3.0]
    assert (events["recording_duration"] == 17.8).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"word": "{'kind': 'word'"}, r"row 1, column 'trial_type': expected a dictionary with 'kind'. Got \"\{"),
        ({"word": "__import__('os').getcwd()"}, r"row 1, column 'trial_type': .*Got \"__import__"),
        ({"word": "word"}, "row 1, column 'trial_type': expected a dictionary"),
        ({"word": LITERAL.replace("LW1_0.wav", "story.mp3")}, r"column 'sound': expected .*Got 'stimuli/audio/story"),
        ({"word": LITERAL.replace("LW1_0", "LW1_7")}, r"lw1_7\.wav' does not exist.*fetch_gwilliams2022"),
        ({"onset": 7.8}, r"row 1: expected the onset of 'lw1_0\.wav' plus 0\.500 s, .*\+0\.300 s"),
        ({"sound": LITERAL}, "row 0: expected the onset .* the audio has no row"),
        ({"header": "onset\tduration\tvalue\tsample\tother"}, r"events\.tsv' lacks the columns \['trial_type'\]"),
        ({"header": "onset\tduration\ttrial_type\tkind\tsample"}, r"lacks the columns \['start', 'sound', 'word'"),
    ],
)  # fmt: skip
def test_load_describes_invalid_table(load_table, changes, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_table(**changes)


def test_load_describes_annex_placeholder(load_table, tmp_path):
    load_table()
    wav = tmp_path / "stimuli/audio/lw1_0.wav"
    for pointer in ("link", "text"):
        wav.unlink()
        target = "../.git/annex/objects/kp/4k/SHA256E-s31--61.wav/SHA256E-s31--61.wav"
        wav.symlink_to(target) if pointer == "link" else wav.write_text(target)
        with pytest.raises(FileNotFoundError, match=r"not been fetched.*git annex get .lw1_0\.wav"):
            load_table()


def write_osf_table(path, sounds, words):
    """Write an events table in the format of OSF."""
    rows = []
    for number, ((name, onset), spoken) in enumerate(zip(sounds, words, strict=True)):
        literal = {"story": "lw1", "kind": "sound", "start": 0.0, "sound": f"stimuli/audio/{name}.0.wav"}
        rows.append((onset, 0.0, literal))
        for index, (start, duration, text) in enumerate(spoken):
            literal = {"kind": "word", "start": start, "sound": f"stimuli/audio/{name}.wav", "word": text,
                    "sequence_id": 10.0 * number + index // 6, "condition": "sentence",
                    "word_index": index % 6}  # fmt: skip
            rows.append((onset + start, duration, literal))
    lines = ["onset\tduration\ttrial_type\tvalue\tsample"]
    lines += [
        f"{onset}\t{duration}\t{literal}\t1\t{round(onset * 1000)}" for onset, duration, literal in rows
    ]
    path.write_text("\n".join(lines), encoding="utf-8-sig")


@pytest.mark.slow
def test_load_finds_simulated_lag(data_folder, tmp_path):
    sounds = [("LW1_0", 4.0), ("LW1_1", 33.0)]
    for seed, (name, _) in enumerate(sounds):
        write_speech(tmp_path / f"stimuli/audio/{name.lower()}.wav", 25, seed)
    played = [(tmp_path / f"stimuli/audio/{name.lower()}.wav", onset) for name, onset in sounds]
    for subject in ("01", "02"):
        stem = tmp_path / f"sub-{subject}/ses-0/meg/sub-{subject}_ses-0_task-0"
        brain = simulate_channels(played, SECONDS, 250, N_CHANNELS, seed=int(subject))
        write_kit(data_folder / "formats/kit/test.sqd", Path(f"{stem}_meg.con"), brain, 250.0)
        write_osf_table(Path(f"{stem}_events.tsv"), sounds, [spoken_words(25, seed) for seed in (0, 1)])
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


WORDS = [(0.5 + 0.4 * index, 0.3, f"word{index}") for index in range(8)]


def make_rows(story="lw1"):
    """Return the rows of a table in the format of NEMAR."""
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
def study_folder(no_other_warnings, tmp_path, monkeypatch):
    """Two subjects, the second with one session, and short tables."""
    monkeypatch.setattr("sk_b2s.datasets._gwilliams2022.N_ROWS", dict.fromkeys("0123", 0))
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
                make_rows(story).to_csv(path, sep="\t", index=False, na_rep="n/a")
    return tmp_path


def load(root, **options):
    return load_gwilliams2022(root, need_recordings=False, **options)


def edit_tables(root, change):
    for path in root.rglob("*_events.tsv"):
        change(pd.read_csv(path, sep="\t")).to_csv(path, sep="\t", index=False, na_rep="n/a")


def test_load_complete_edition_is_silent(study_folder):
    events = check_events(load(study_folder))
    assert events.groupby("recording").ngroups == 12


@pytest.mark.parametrize("missing", ["condition", "speech_rate", "voice"])
def test_load_warns_of_missing_optional_column(study_folder, missing):
    complete = load(study_folder)
    edit_tables(study_folder, lambda table: table.drop(columns=missing))
    column = {"voice": "speaker"}.get(missing, missing)
    with pytest.warns(UserWarning, match=f"tables of this edition and the events lack: {column}"):
        events = load(study_folder)
    assert events[column].isna().all()
    pd.testing.assert_frame_equal(events.drop(columns=column), complete.drop(columns=column))


@pytest.mark.parametrize("missing", ["word", "word_index", "sequence_id", "start", "sound"])
def test_load_requires_column(study_folder, missing):
    edit_tables(study_folder, lambda table: table.drop(columns=missing))
    with pytest.raises(ValueError, match=rf"events\.tsv' lacks the columns \['{missing}'\]"):
        load(study_folder)


def test_load_without_phonemes(study_folder):
    edit_tables(study_folder, lambda table: table[table["kind"] != "phoneme"].drop(columns="phoneme"))
    with pytest.warns(UserWarning, match="rows of phonemes"):
        events = load(study_folder)
    assert set(events["type"]) == {"sound", "word"}


def test_load_reads_kind_from_trial_type(study_folder):
    complete = load(study_folder)
    edit_tables(study_folder, lambda table: table.drop(columns="kind"))
    pd.testing.assert_frame_equal(load(study_folder), complete)


def test_load_ignores_case_of_files(study_folder):
    complete = load(study_folder)
    for path in (study_folder / "stimuli/audio").iterdir():
        path.rename(path.with_name(path.name.replace("lw1", "LW1")))
    (study_folder / "stimuli").rename(study_folder / "Stimuli")
    events = load(study_folder)
    assert set(events["sound"]) == {
        sound.replace("lw1", "LW1").replace("/stimuli/", "/Stimuli/") for sound in complete["sound"]
    }


def test_load_warns_of_missing_stories(study_folder):
    for path in study_folder.glob("sub-01/ses-1/meg/*task-2*"):
        path.unlink()
    with pytest.warns(UserWarning, match=r"neither recording nor table exists for: sub-01 ses-1 task-2\."):
        load(study_folder)
    shutil.rmtree(study_folder / "sub-01/ses-1")
    with pytest.warns(UserWarning, match=r"sub-01 ses-1 task-0, sub-01 ses-1 task-1, .*task-3\."):
        load(study_folder)
    load(study_folder, sessions="0")


@pytest.mark.parametrize(("text", "message"), [
    ("{", "is not valid JSON"), ("[]", "must contain a JSON object"), ('{"RecordingDuration": "long"}', "number of seconds"),
    ("[" * 10**5, "is not valid JSON"),
])  # fmt: skip
def test_load_describes_invalid_sidecar(study_folder, text, message):
    (study_folder / "sub-01/ses-0/meg/sub-01_ses-0_task-0_meg.json").write_text(text)
    with pytest.raises(ValueError, match=rf"sub-01_ses-0_task-0_meg\.json'.* {message}"):
        load(study_folder)


def serve_osf_node(server, node, files):
    """Serve folders and files as OSF does, with one entry per page."""
    folders = {"": []}
    for path in files:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folder, inner = "/".join(parts[: depth - 1]), "/".join(parts[:depth])
            if inner not in folders:
                folders[inner] = []
                folders[folder].append(("folder", inner))
        folders["/".join(parts[:-1])].append(("file", path))
    for folder, entries in folders.items():
        base = f"/{node}/files/osfstorage/" + (folder.replace("/", "-") if folder else "")
        for page, (kind, path) in enumerate(entries):
            entry = {"attributes": {"kind": kind, "materialized_path": f"/{path}" + "/" * (kind == "folder")}}
            if kind == "folder":
                href = f"{server.url}/{node}/files/osfstorage/{path.replace('/', '-')}"
                entry["relationships"] = {"files": {"links": {"related": {"href": href}}}}
            else:
                body = files[path]
                server.files[f"/{node}-{path}"] = body
                entry["links"] = {"download": f"{server.url}/{node}-{path}"}
                digest = hashlib.sha256(body).hexdigest()
                entry["attributes"] |= {"size": len(body), "extra": {"hashes": {"sha256": digest}}}
            following = f"{server.url}{base}?{page + 1}" if page + 1 < len(entries) else None
            here = base + (f"?{page}" if page else "" if folder else "?page[size]=100")
            server.json(here, {"data": [entry], "links": {"next": following}})


@pytest.fixture
def osf_server(server, monkeypatch):
    monkeypatch.setattr(gwilliams2022, "OSF", server.url)
    nodes = [
        {"participants.tsv": b"a", "sub-01/ses-0/meg/one.con": b"01", "sub-01/ses-0/meg/two.con": b"012"},
        {"sub-02/ses-0/meg/one.con": b"02", "participants.tsv": b"of the second part"},
        {"stimuli/audio/lw1_0.wav": b"wav"},
        {"sub-27/ses-1/meg/one.con": b"27"},
    ]
    for node, files in zip(gwilliams2022.OSF_NODES, nodes, strict=True):
        serve_osf_node(server, node, files)
    return {path: body for files in reversed(nodes) for path, body in files.items()}


def test_fetch_merges_nodes(osf_server, tmp_path):
    for _ in range(2):
        assert read_files(fetch_gwilliams2022(tmp_path, progress=False)) == osf_server


def test_fetch_selects_subjects(server, osf_server, tmp_path):
    fetch_gwilliams2022(tmp_path, ["sub-02"], progress=False)
    assert read_files(tmp_path) == {
        path: body for path, body in osf_server.items() if path[:6] in ("partic", "stimul", "sub-02")
    }
    assert not any("sub-01" in path or "sub-27" in path for path, _ in server.requests), (
        "lists of other subjects"
    )
    with pytest.raises(
        ValueError, match=r"subjects contains \['99'\], which the server does not have\. Available are *\."
    ):
        fetch_gwilliams2022(tmp_path, "99", progress=False)
