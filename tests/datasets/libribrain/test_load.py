"""Tests of loading LibriBrain100."""

import numpy as np
import pytest
from helpers.libribrain import make_table, write_run

from sk_b2s import Epocher, PrecomputedFeatures, check_events, make_segments
from sk_b2s.datasets import load_libribrain100

h5py = pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two subjects, whose clocks differ, and two books in two folders."""
    root = tmp_path_factory.mktemp("libribrain")
    write_run(root / "LibriBrain", "0", "1", "Sherlock2", "1", make_table(n_sentences=2, n_words=10))
    write_run(root / "LibriBrain", "0", "11", "Sherlock1", "2", make_table())
    table = make_table(begin=3.0, jitter=0.004)
    write_run(root / "LibriBrain2", "1", "11", "Sherlock1", "1", table)
    return root


@pytest.fixture(scope="module")
def events(folder):
    return load_libribrain100(folder)


def test_load_has_rows_and_parts(events):
    assert events.groupby("recording")["type"].value_counts().groupby("type").unique().map(list).to_dict() == {
        "phoneme": [40], "sound": [1], "word": [20],
    }  # fmt: skip
    parts = events.groupby(["subject", "task", "session"])["partition"].first().to_dict()
    assert parts == {("0", "Sherlock1", "11"): "validation", ("0", "Sherlock2", "1"): "train",
                     ("1", "Sherlock1", "11"): "validation"}  # fmt: skip
    word = events[(events["type"] == "word") & (events["text"] == "w21")].iloc[0]
    assert (word["sequence"], word["word_index"]) == ("Sherlock1/11/2", 1.0)
    phonemes = events[(events["type"] == "phoneme") & (events["sequence"] == "Sherlock1/11/2")]
    assert phonemes["word_index"].tolist()[:4] == [0, 0, 1, 1]
    assert phonemes["text"].tolist()[:2] == ["ae", "t"]


def test_load_shares_stimulus_of_session(events):
    shared = events[events["task"] == "Sherlock1"]
    assert len(set(shared["sound"])) == 1
    assert events["sound"].nunique() == 2
    words = shared[shared["type"] == "word"].pivot_table(
        index="text", columns="subject", values=["onset", "sound_onset"]
    )
    np.testing.assert_array_equal(words["sound_onset"]["0"], words["sound_onset"]["1"])
    assert np.abs(words["onset"]["1"] - words["onset"]["0"] - 1).max() < 0.02
    sound = shared.loc[shared["type"] == "sound", ["subject", "onset"]].set_index("subject")["onset"]
    assert sound["1"] == pytest.approx(3.0, abs=0.01)
    data = shared["sound"].iloc[0].data
    assert data[:, 1].sum() == 20
    assert data[:30, 0].all()
    assert not data[175:214, 0].any()


def test_load_makes_segments_of_words(events):
    X, y = make_segments(check_events(events), anchor="word", tmin=-0.1, tmax=0.6)
    windows = Epocher(sfreq=50).fit_transform(X)
    assert np.asarray(windows).shape[1] == 6
    assert y["partition"].isin(["train", "validation"]).all()
    features = PrecomputedFeatures().fit(y).transform(y)
    assert np.asarray(features).shape[1] == 3


def test_load_selects_parts(folder):
    assert set(load_libribrain100(folder, "1")["subject"]) == {"1"}
    assert set(load_libribrain100(folder, partition="train")["task"]) == {"Sherlock2"}
    with pytest.raises(ValueError, match=r"tasks='TIMIT' contains 'TIMIT'.*Available: Sherlock1, Sherlock2"):
        load_libribrain100(folder, tasks="TIMIT")
    with pytest.raises(ValueError, match="'partition' must be None or one of"):
        load_libribrain100(folder, partition="val")
    with pytest.raises(FileNotFoundError, match="no run of the requested parts"):
        load_libribrain100(folder, partition="test")


def test_load_without_recordings(tmp_path):
    write_run(tmp_path, table=make_table(silences=False), meg=False)
    with pytest.raises(FileNotFoundError, match=r"_meg\.h5' does not exist.*need_recordings=False"):
        load_libribrain100(tmp_path)
    events = load_libribrain100(tmp_path, need_recordings=False)
    checked = check_events(events)
    assert checked["recording_duration"].iloc[0] == pytest.approx(events.eval("onset + duration").max() + 10)
    assert not events["sound"].iloc[0].data[180:210, 0].any()


def test_load_describes_missing_tables(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no <task>/derivatives/events.*fetch_libribrain100"):
        load_libribrain100(tmp_path)
    write_run(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"run-1_events\.tsv' does not exist"):
        load_libribrain100(tmp_path)


def set_cell(row, column, value):
    def change(table):
        table = table.astype(object)
        table.loc[row, column] = value
        return table

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="timemeg"), r"lacks the columns \['timemeg'\]"),
        (set_cell(0, "kind", "wrod"), r"column 'kind': expected word, phoneme, silence. Got \['wrod'\]"),
        (set_cell(3, "timemeg", "1,5"), r"line 5, column 'timemeg': expected a number. Got '1,5'"),
        (set_cell(0, "timemeg", -1.0), "line 2, column 'timemeg': expected a time of at least 0 s"),
        (lambda table: table[table["kind"] != "word"], "has no words"),
    ],
)
def test_load_describes_invalid_tables(tmp_path, change, message):
    write_run(tmp_path, table=change(make_table()), meg=False)
    with pytest.raises(ValueError, match=rf"Sherlock1_run-1_events\.tsv'.*{message}"):
        load_libribrain100(tmp_path, need_recordings=False)


def test_load_describes_tables_that_differ(tmp_path):
    write_run(tmp_path, "0", table=make_table(), meg=False)
    other = make_table()
    other.loc[other["kind"] == "word", "segment"] = "other"
    write_run(tmp_path, "1", table=other, meg=False)
    with pytest.raises(
        ValueError, match=r"sub-1_.*has other rows than 'sub-0_.*the word 'other' at 2\.000 s"
    ):
        load_libribrain100(tmp_path, need_recordings=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_cell(0, "segment", "first"), r"rows that sub-0_.* does not have are omitted from: sub-1_.*\(1 rows\)"),
        (set_cell(1, "timemeg", ""), r"rows without a time or text are omitted from: sub-1_.*\(1 rows\)"),
        (set_cell(6, "timemeg", 2.9), r"differ by more than 100 ms, in: sub-1_.*\(up to \+200 ms, at 'w02', 2\.900 s\)"),
    ],
)  # fmt: skip
def test_load_warns_of_rows(tmp_path, change, message):
    write_run(tmp_path, "0", table=make_table(), meg=False)
    write_run(tmp_path, "1", table=change(make_table()), meg=False)
    with pytest.warns(UserWarning, match=message):
        load_libribrain100(tmp_path, need_recordings=False)


def test_load_cuts_part_of_competition(tmp_path):
    write_run(tmp_path, "13", "11", table=make_table(), desc="firsthalf", seconds=5.0)
    events = load_libribrain100(tmp_path)
    assert events.eval("onset + duration").max() <= 5.0
    assert set(events["partition"]) == {"train"}
    assert 5 < (events["type"] == "word").sum() < 20
    check_events(events)


def test_load_warns_of_further_recordings(tmp_path):
    folder = write_run(tmp_path, table=make_table())
    (first,) = (folder / "serialised").glob("*.h5")
    (folder / "serialised" / first.name.replace("bads+headpos+sss+notch+bp+ds", "raw")).write_bytes(b"")
    with pytest.warns(
        UserWarning, match="further recordings of the same runs are ignored: .*proc-raw_meg.h5"
    ):
        events = load_libribrain100(tmp_path)
    assert events["recording"].iloc[0] == str(first)
