"""Tests of loading Schoffelen et al. (2019)."""

import warnings
from functools import partial

import numpy as np
import pytest
from helpers.studies import check_lag, write_mous_stimuli, write_mous_subject

from sk_b2s import PaperBlocks, make_segments
from sk_b2s.datasets import _schoffelen2019 as schoffelen2019
from sk_b2s.datasets import load_schoffelen2019

N_SOUNDS = 24


@pytest.fixture
def write_subject(data_folder, tmp_path):
    """Return a writer of a subject with another clock in the log."""
    write_mous_stimuli(tmp_path, N_SOUNDS)
    write = partial(write_mous_subject, data_folder, tmp_path, N_SOUNDS)
    write.root = tmp_path
    return write


def test_load_finds_simulated_lag(write_subject, monkeypatch):
    monkeypatch.setattr(schoffelen2019, "MIN_TRIGGERS", 20)  # the default is for an hour
    played = write_subject(lose=(3, 9, 10), add=[(5.0, 20), (40.05, 10)])
    events, report = load_schoffelen2019(write_subject.root, return_report=True)
    sounds = events[events["type"] == "sound"]
    assert sounds["sequence"].tolist() == [str(number) for number, _ in played]
    np.testing.assert_allclose(sounds["onset"], [onset for _, onset in played], atol=1.5e-3)
    agreement = report.iloc[0]
    assert (agreement["n_log"], agreement["n_triggers"], agreement["n_matched"]) == (32, 31, 29)
    assert agreement["drift_ppm"] == pytest.approx(40, abs=10)
    assert agreement["offset"] == pytest.approx(-12.3456, abs=2e-3)
    assert agreement["largest"] < 2
    check_lag(events)
    words = events[events["type"] == "word"]
    assert len(words) == 8 * N_SOUNDS
    assert (words["sequence_uid"].str.split().str.len() == 10).all(), (
        "the complete line, although the last words are lost"
    )
    assert words.groupby("sequence")["word_index"].max().eq(7).all()
    assert words["condition"].value_counts().to_dict() == {"sentence": 96, "word_list": 96}
    _, y = make_segments(events, tmin=0.0, tmax=1.0, margin=0.1, block=PaperBlocks(min_duration=0))
    assert set(y["block_text"]) <= set(words["sequence_uid"])


@pytest.mark.parametrize(("lost", "left_out"), [(range(6), 4), (range(26, 32), 5), (range(10, 16), 0)])
def test_load_with_lost_triggers(write_subject, monkeypatch, lost, left_out):
    """The fewest edits are ambiguous, as the triggers repeat a pattern."""
    monkeypatch.setattr(schoffelen2019, "MIN_TRIGGERS", 20)
    played = dict(write_subject(lose=lost))
    with warnings.catch_warnings(record=True) as agreement:
        warnings.simplefilter("always")
        events, report = load_schoffelen2019(write_subject.root, return_report=True)
    messages = [str(one.message) for one in agreement if "omitted" in str(one.message)]
    assert len(messages) == bool(left_out)
    row = report.iloc[0]
    assert (row["n_matched"], row["n_sounds"], row["n_left_out"]) == (26, N_SOUNDS, left_out)
    assert row["drift_ppm"] == pytest.approx(40, abs=10)
    assert row["largest"] < 2
    sounds = events[events["type"] == "sound"]
    onset = [played[int(name)] for name in sounds["sequence"]]
    assert len(sounds) == N_SOUNDS - left_out
    np.testing.assert_allclose(sounds["onset"], onset, atol=3e-3)


def test_load_ignores_button_press(write_subject, monkeypatch):
    monkeypatch.setattr(schoffelen2019, "MIN_TRIGGERS", 20)
    played = write_subject()
    log = write_subject.root / "sourcedata/meg_task/10-MEG-MOUS-AudA2002.log"
    lines = log.read_text().split("\n")
    first = next(row for row, line in enumerate(lines) if "Start File" in line)
    lines.insert(
        first + 1, lines[first].replace("Nothing", "Response").replace(lines[first].split("\t")[3], "1")
    )
    log.write_text("\n".join(lines))
    events = load_schoffelen2019(write_subject.root)
    assert (events["type"] == "sound").sum() == len(played)


def test_load_rejects_implausible_drift(write_subject, monkeypatch):
    monkeypatch.setattr(schoffelen2019, "MIN_TRIGGERS", 20)
    write_subject(scale=1.02)
    with pytest.raises(ValueError, match=r"differ by -19\d\d\d ppm. Real clocks differ by less than 100"):
        load_schoffelen2019(write_subject.root)


def test_load_describes_mismatched_files(write_subject, monkeypatch):
    write_subject()
    with pytest.raises(
        ValueError, match=r"share only 32 triggers in order \(40 are required, 32 in the log, 32 in"
    ):
        load_schoffelen2019(write_subject.root)
    monkeypatch.setattr(schoffelen2019, "MIN_TRIGGERS", 10)
    log = write_subject.root / "sourcedata/meg_task/10-MEG-MOUS-AudA2002.log"
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
        ValueError, match=r"of 32 triggers in the log \d+ are within 20 ms .*Check that the recording"
    ):
        load_schoffelen2019(write_subject.root)
    log.write_text(text.replace("1 Audio onset", "blank", 1))
    with pytest.raises(
        ValueError, match="expected 'Audio onset' within 1 s after '14 Start File .*Got 'blank'"
    ):
        load_schoffelen2019(write_subject.root)
    log.write_text("nothing")
    with pytest.raises(
        ValueError, match="no table with the columns .*Check that it is a log of Presentation"
    ):
        load_schoffelen2019(write_subject.root)
    log.write_text(text)
    (write_subject.root / "stimuli/stimuli.txt").write_text("1 Iets anders")
    with pytest.raises(ValueError, match=r"the words of EQ_Ramp.*are not in stimuli/stimuli\.txt"):
        load_schoffelen2019(write_subject.root)
    with pytest.raises(ValueError, match="subjects V... read the sentences"):
        load_schoffelen2019(write_subject.root, "V1001")
    with pytest.raises(ValueError, match="'A2003', which does not exist"):
        load_schoffelen2019(write_subject.root, "A2003")
    next((write_subject.root / "derivatives/phonemes").iterdir()).unlink()
    (write_subject.root / "stimuli/stimuli.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"stimuli\.txt' does not exist"):
        load_schoffelen2019(write_subject.root)


def test_load_rejects_other_sampling_rate(write_subject):
    write_subject(sfreq=600.0)
    with pytest.raises(ValueError, match="must have a sampling rate of 1200 Hz. Got 600 Hz"):
        load_schoffelen2019(write_subject.root)


@pytest.mark.usefixtures("no_other_warnings")
def test_find_recording_warns_of_others(tmp_path):
    for name in ("task-auditory", "task-rest", "task-visual"):
        (tmp_path / f"sub-A2002/meg/sub-A2002_{name}_meg.ds").mkdir(parents=True)
    assert (
        schoffelen2019._find_mous_recording(tmp_path / "sub-A2002").name == "sub-A2002_task-auditory_meg.ds"
    )
    (tmp_path / "sub-A2002/meg/sub-A2002_task-auditory_run-2_meg.ds").mkdir()
    with pytest.warns(
        UserWarning, match=r"of several recordings of sub-A2002, .*run-2_meg\.ds is used, not: .*auditory_meg"
    ):
        schoffelen2019._find_mous_recording(tmp_path / "sub-A2002")


@pytest.mark.usefixtures("no_other_warnings")
def test_read_sentences_in_latin_1(tmp_path):
    (tmp_path / "stimuli").mkdir()
    (tmp_path / "stimuli/stimuli.txt").write_bytes("1 Een café is één huis.".encode("latin-1"))
    assert list(schoffelen2019._read_mous_sentences(tmp_path).values()) == ["Een café is één huis."]


def test_load_describes_download(tmp_path):
    message = r"(?s)data\.ru\.nl.*DSC_3011020\.09_236.*wget .*sub-<subject>/meg.*WebMAUS"
    with pytest.raises(FileNotFoundError, match=message):
        load_schoffelen2019(tmp_path)
    with pytest.raises(FileNotFoundError, match=message):
        load_schoffelen2019(tmp_path / "missing")
