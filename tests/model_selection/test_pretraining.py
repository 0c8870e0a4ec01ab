"""Tests of what pretraining without labels has seen of a test."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from sk_b2s import StimulusArray, check_leakage, format_leakage, make_grid_segments, make_segments
from sk_b2s.model_selection._pretraining import describe_pretraining_rows, unite_pretraining_rows

STORIES = [
    StimulusArray(np.random.default_rng(i).standard_normal(64 * 60), sfreq=64, name=f"{i}") for i in range(2)
]


@pytest.fixture(scope="module")
def events():
    """Subjects a and b with story 0, c with story 1."""
    return pd.DataFrame([
        {"type": "sound", "onset": 2.0, "duration": 0.0, "sound": STORIES[story], "subject": name,
         "recording": f"{name}.fif", "recording_duration": 65.0}
        for name, story in (("a", 0), ("b", 0), ("c", 1))
    ])  # fmt: skip


def pretrain(grid):
    """Return an estimator that starts from rows of a grid."""
    recordings, stimuli = describe_pretraining_rows(grid)
    return SimpleNamespace(init=SimpleNamespace(recordings_=recordings, stimuli_=stimuli))


@pytest.mark.parametrize(
    ("seen", "expected", "text"),
    [
        ("a", (1.0, 1, 1.0), "has seen 100 % of the test windows"),
        ("b", (0.0, 0, 1.0), "recordings with the stimuli of 100 % of the test windows"),
        ("c", (0.0, 0, 0.0), None),
    ],
)
def test_check_leakage_names_pretraining(events, seen, expected, text):
    X, y = make_segments(events, anchor=1.0, tmin=0, tmax=3)
    train, test = (np.flatnonzero(X["subject"] == name) for name in "ca")
    estimator = pretrain(make_grid_segments(events, subjects=seen))
    table = check_leakage(X, y, [(train, test)], estimator=estimator)
    found = table[["pretrained_windows", "pretrained_subjects", "pretrained_stimuli"]].iloc[0]
    assert tuple(found) == expected
    assert table["verdict"][0] == ("caution" if text else "no_leak")
    if text:
        assert text in table["verdict_text"][0]
        assert text in format_leakage(table)
    assert "pretrained_windows" not in check_leakage(X, y, [(train, test)])


def test_check_leakage_names_other_recordings(events):
    X, y = make_segments(events, anchor=1.0, tmin=0, tmax=3)
    train, test = (np.flatnonzero(X["subject"] == name) for name in "ca")
    grid = make_grid_segments(events, subjects="c").assign(subject="a", recording="other.fif")
    table = check_leakage(X, y, [(train, test)], estimator=pretrain(grid))
    assert "other recordings of 1 unseen subjects" in table["verdict_text"][0]
    assert table["pretrained_windows"][0] == 0


def test_check_leakage_names_unknown_recordings(events):
    X, y = make_segments(events, anchor=1.0, tmin=0, tmax=3)
    folds = [np.isin(X["subject"], list(names)).nonzero()[0] for names in ("c", "a", "b")]
    init = SimpleNamespace(recordings_=None, stimuli_=None, subjects_=np.array(["a"]))
    search = SimpleNamespace(param_grid={"init": [None, init]})
    table = check_leakage(X, y, [(folds[0], folds[1]), (folds[0], folds[2])], estimator=search)
    assert table["verdict"].tolist() == ["caution", "no_leak"]  # subject b is not in pretraining
    assert "is unknown" in table["verdict_text"][0]
    assert "seen recordings of 1 unseen subjects" in table["verdict_text"][0]
    assert np.isnan(table["pretrained_windows"][0])
    assert table["pretrained_windows"][1] == 0
    init.subjects_ = np.array([""])  # an array without names
    assert check_leakage(X, y, [(folds[0], folds[2])], estimator=search)["verdict"][0] == "caution"


def test_check_leakage_finds_other_paths(events, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    events = events.assign(recording=events["subject"] + ".dat")
    X, y = make_segments(events, anchor=1.0, tmin=0, tmax=3)
    estimator = pretrain(make_grid_segments(events, subjects="a"))
    train, test = (np.flatnonzero(X["subject"] == name) for name in "ca")
    (tmp_path / "a.dat").write_bytes(b"content")
    X.loc[test, "recording"] = str(tmp_path / "a.dat")  # a.dat in pretraining
    assert check_leakage(X, y, [(train, test)], estimator=estimator)["pretrained_windows"][0] == 1


def test_unite_pretraining_rows_keeps_all(events):
    parts = [describe_pretraining_rows(make_grid_segments(events, subjects=name)) for name in "abc"]
    recordings, stimuli = unite_pretraining_rows(unite_pretraining_rows(*parts[:2]), parts[2])
    assert recordings["subject"].tolist() == ["a", "b", "c"]
    assert len(stimuli) == 2  # the same for a and b
    recordings, stimuli = unite_pretraining_rows((None, None), parts[0])
    assert recordings is None  # some are unknown
    assert len(stimuli) == 1
    assert describe_pretraining_rows(np.zeros((3, 2, 4))) == (None, None)
