"""Tests of readers of events of images and of other types of stimuli."""

import json

import mne
import numpy as np
import pandas as pd
import pytest

from sk_b2s import ImageStimulus, check_events, events_from_raw, read_bids, read_events, write_bids_events

HEADER = "onset\tduration\ttrial_type\tstim_file\tkind of animal\n"
TABLE = HEADER + "".join(
    f"{onset}\t0.1\timage\t{name}\t{kind}\n"
    for onset, name, kind in ((2, "dog.png", "pet"), (4, "cat.png", "pet"), (6, "dog.png", "pet"))
)


@pytest.fixture
def pictures(folder):
    """A BIDS folder with annotations and with one of two images."""
    (folder.root / "stimuli" / "dog.png").write_bytes(b"dog")
    notes = mne.Annotations([2.0, 4.0, 6.0], 0.1, ["image/dog", "image/cat", "image/dog"])
    mne.io.read_raw(folder.recording, preload=True, verbose="ERROR").set_annotations(notes).save(
        folder.recording, overwrite=True, verbose="ERROR"
    )
    folder.write_table(TABLE)
    return folder


def test_read_bids_reads_images(pictures):
    events = read_bids(pictures.root, columns={"category": "kind of animal"})
    path = str(pictures.root / "stimuli" / "dog.png")
    assert events["sound"].tolist()[:2] == [ImageStimulus("dog", path), ImageStimulus("cat")]
    assert events["category"].tolist() == ["pet"] * 3
    assert events["repetition"].tolist() == [0, 0, 1]
    paths = write_bids_events(events, overwrite=True)
    again = read_bids(pictures.root)
    pd.testing.assert_frame_equal(again, events[again.columns], check_dtype=False)
    assert "dog.png" in paths[0].read_text()
    assert str(pictures.root) not in paths[0].read_text()  # relative to the folder of stimuli


@pytest.mark.parametrize(
    ("table", "options", "kind", "names"),
    [
        (TABLE.replace("trial_type", "event"), {}, "image", ["dog", "cat", "dog"]),
        (TABLE.replace("stim_file", "image").replace("dog.png", "007"), {}, "image", ["007", "cat", "007"]),
        ("onset\tduration\ttrial_type\n2\t0\timage/cow\n", {}, "image", ["cow"]),
        (
            TABLE.replace("stim_file", "clip").replace("image", "play").replace("dog.png", "1").replace("cat.png", "2"),
            {"types": {"play": "video"}, "columns": {"video": "clip"}}, "video", ["1", "2", "1"],
        ),
        (TABLE.replace("stim_file", "image/s").replace("image", "tap"), {"types": {"tap": "tap/s"}}, None, None),
        (TABLE.replace("image", "tap").replace("stim_file", "tap"), {"types": {"tap": "tap"}}, "tap",
         ["dog", "cat", "dog"]),
    ],
    ids=["no type", "identifiers", "tags", "own type", "invalid type", "column of the type"],
)  # fmt: skip
def test_read_bids_finds_image_names(pictures, table, options, kind, names):
    pictures.write_table(table)
    if kind is None:
        with pytest.raises(ValueError, match="expected one of sound, image"):
            read_bids(pictures.root, **options)
        return
    events = read_bids(pictures.root, **options)
    assert events["type"].unique().tolist() == [kind]
    assert events[kind].tolist() == names
    assert {sound.kind for sound in events["sound"]} == {kind}


def test_write_bids_events_keeps_own_types(pictures):
    events = read_bids(pictures.root).drop(columns=["sound", "image"])
    events = check_events(events.assign(type="tap", tap=["01", "02", "01"]))
    write_bids_events(events, overwrite=True)
    again = read_bids(pictures.root, types={"tap": "tap"})
    assert again["tap"].tolist() == ["01", "02", "01"]
    with pytest.raises(ValueError, match="No row .*Found 3 of 'tap'"):
        read_bids(pictures.root)  # a column of the name of a type is not a stimulus without types=


@pytest.mark.parametrize("kind", ["image", "video"])
@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_read_events_reads_images(tmp_path, kind, suffix):
    (tmp_path / "c").mkdir()
    for place in ("dog.png", "c/dog.png"):
        (tmp_path / place).write_text(place)
    rows = [
        {"subject": "01", "recording": "a.fif", "type": kind, "onset": onset, "duration": 0.1, kind: name}
        for onset, name in enumerate(("dog.png", "7", "b/x.jpg", "a/x.jpg", "c/dog.png", "s" * 300))
    ]
    path = tmp_path / f"events.{suffix}"
    path.write_text(json.dumps(rows) if suffix == "json" else pd.DataFrame(rows).to_csv(index=False))
    sounds = check_events(read_events(path))["sound"].tolist()
    assert sounds[0] == ImageStimulus("dog", str(tmp_path / "dog.png"), kind)
    assert sounds[4] == ImageStimulus(
        "c/dog", str(tmp_path / "c/dog.png"), kind
    )  # another image of that name
    assert [sound.name for sound in sounds[1:4]] == ["7", "b/x", "a/x"]
    assert sounds[5].name == "s" * 300  # an identifier, too long for a file


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_read_events_without_images_keeps_columns(tmp_path, suffix):
    """Sounds are paths, and numbers stay numbers."""
    (tmp_path / "a.wav").write_bytes(b"a")
    rows = [
        {"subject": "01", "recording": "a.fif", "onset": 1, "sound": "a.wav", "type": "sound"},
        {"subject": "01", "recording": "a.fif", "onset": 2, "category": 2.5, "word": 3, "type": "word"},
    ]
    path = tmp_path / f"events.{suffix}"
    path.write_text(json.dumps(rows) if suffix == "json" else pd.DataFrame(rows).to_csv(index=False))
    events = read_events(path)
    assert events["sound"][0] == str(tmp_path / "a.wav")
    assert events[["category", "word"]].iloc[1].tolist() == [2.5, 3.0]


def test_events_from_raw_reads_images(pictures):
    dog = pictures.root / "stimuli" / "dog.png"
    events = events_from_raw(pictures.recording, {"image/dog": dog, "image/cat": ImageStimulus("cat")})
    assert events["image"].tolist() == ["dog", "cat", "dog"]
    assert events["repetition"].tolist() == [0, 0, 1]
    assert events["sound"][0] == ImageStimulus("dog", str(dog))
    np.testing.assert_allclose(events["onset"], [2, 4, 6], atol=2e-3)
    table = pd.DataFrame({"onset": [2.0, 4.0], "image": ["a", "b"], "category": ["x", "y"]})
    assert events_from_raw(pictures.recording, table)["category"].tolist() == ["x", "y"]
    tap = events_from_raw(pictures.recording, {"image/cat": ImageStimulus("t1", kind="tap")})
    assert tap[["type", "tap"]].values.tolist() == [["tap", "t1"]]
    with pytest.raises(ValueError, match="require stimuli with audio"):
        events_from_raw(pictures.recording, {"image/dog": dog}, sync={"image/cat": 1.0})
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        events_from_raw(pictures.recording, {"image/dog": "none.png"})
