"""Splitters that hold out a subject, a session or a study."""

import copy

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate

from sk_b2s import (
    HashedBlockSplit,
    LeaveOneSessionOut,
    LeaveOneStudyOut,
    LeaveOneSubjectOut,
    StimulusArray,
    StimulusKFold,
    Windows,
    check_leakage,
    make_segments,
)
from sk_b2s.events._intervals import sum_recorded_intervals
from sk_b2s.model_selection._leave_one_out import LeaveOneOut
from sk_b2s.model_selection._split import exclude_split_overlap

PLAN = {  # stories of each session, subject and study
    ("one", "one-a"): {"0": "ab", "1": "ab"},
    ("one", "one-b"): {"0": "ba", "1": "ab", "2": "a"},
    ("two", "two-a"): {"0": "cd", "1": "ef"},
    ("two", "two-b"): {"0": "ce", "1": "df"},
}


@pytest.fixture(scope="module")
def tables():
    """Two studies of two subjects. Only the first repeats its stories."""
    rng = np.random.default_rng(0)
    stories = {name: StimulusArray(rng.standard_normal(90 * 16), 16, name) for name in "abcdef"}
    rows = []
    for (study, subject), sessions in PLAN.items():
        for session, names in sessions.items():
            common = {
                "study": study, "subject": subject, "session": session, "recording": f"{subject}-{session}.fif",
                "recording_duration": 250.0,
            }  # fmt: skip
            for place, name in enumerate(names):
                begin = 3.0 + 110 * place
                rows.append(
                    {**common, "type": "sound", "onset": begin, "duration": 0.0, "sound": stories[name]}
                )
                rows += [
                    {**common, "type": "word", "onset": begin + 1.5 * i, "duration": 1.4, "text": f"{name}{i}",
                     "sequence": f"{name}/{i // 6}", "word_index": i % 6}
                    for i in range(58)
                ]  # fmt: skip
    return make_segments(pd.DataFrame(rows), block=10)


LEAVING = {
    "subject": LeaveOneSubjectOut(2),
    "session": LeaveOneSessionOut(2),
    "session, wide": LeaveOneSessionOut(3, gap=3.0, random_state=1),
    "session, of all": LeaveOneSessionOut(2, within_subject=False),
    "study": LeaveOneStudyOut(),
    "study, folds": LeaveOneStudyOut(3, gap=0.0),
}
SOUND_STAYS = [LeaveOneSubjectOut(None), LeaveOneSessionOut(None), LeaveOneStudyOut(None)]
SPLITTERS = {**LEAVING, "sound": StimulusKFold(4)}


def only(tables, study):
    rows = (tables[0]["study"] == study).to_numpy()
    return tables[0][rows].reset_index(drop=True), tables[1][rows].reset_index(drop=True)


@pytest.mark.parametrize("name", LEAVING)
def test_split_holds_out_groups(tables, name):
    X, y = tables
    splitter = LEAVING[name]
    column = splitter._column
    label = (X["subject"] + "/" + X[column]).to_numpy() if column == "session" else X[column].to_numpy()
    for train, test in splitter.split(X, y):
        assert len(set(label[test])) == 1
        assert not set(label[train]) & set(label[test])
        for held in ("block", "segment", "sequence"):
            assert not set(y[held].iloc[train]) & set(y[held].iloc[test])


@pytest.mark.parametrize("name", SPLITTERS)
def test_check_leakage_confirms_guarantee(tables, name):
    splitter = SPLITTERS[name]
    table = check_leakage(*tables, splitter, gap=splitter.gap)
    assert table["verdict"].eq("no_leak").all()
    assert (table["nearest"] >= splitter.gap).all()
    if isinstance(splitter, LeaveOneOut):
        plural = {"subject": "subjects", "session": "sessions", "study": "studies"}[splitter._column]
        assert (table[plural] == 0).all()
        assert f"neither the {splitter._column} nor the stimulus" in splitter.guarantee
    for column in ("leaking", "segments", "sentences", "blocks", "retold"):
        assert (table[column] == 0).all(), column


@pytest.mark.parametrize("name", SPLITTERS)
def test_split_tests_each_row_once(tables, name):
    X, y = tables
    folds = list(SPLITTERS[name].split(X, y))
    np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(len(y)))
    assert len(folds) == SPLITTERS[name].get_n_splits(X, y)


def test_session_trains_within_or_across_subjects(tables):
    X, y = tables
    subject, session = X["subject"].to_numpy(), X["session"].to_numpy()
    for (alone, test), (with_all, again) in zip(
        LeaveOneSessionOut(2).split(X, y),
        LeaveOneSessionOut(2, within_subject=False).split(X, y),
        strict=True,
    ):
        np.testing.assert_array_equal(test, again)
        assert set(subject[alone]) == set(subject[test])
        np.testing.assert_array_equal(alone, with_all[subject[with_all] == subject[test][0]])
        assert set(subject[with_all]) == set(subject)
        if session[test[0]] != "2":  # only one subject has it
            assert session[test[0]] in session[with_all], "of that name another person has another session"


def test_session_with_own_stimuli_keeps_rows(tables):
    X, y = only(tables, "two")
    for k in (1, 2):
        for train, test in LeaveOneSessionOut(k).split(X, y):
            person = X["subject"].iloc[test[0]]
            others = (X["subject"] == person) & (X["session"] != X["session"].iloc[test[0]])
            np.testing.assert_array_equal(train, np.flatnonzero(others))


def test_groups_with_equal_stimuli_have_equal_folds(tables):
    X, y = only(tables, "one")
    keep = (X["session"] != "2").to_numpy()
    X, y = X[keep], y[keep]
    tested = [frozenset(y["block"].iloc[test]) for _, test in LeaveOneSessionOut(2).split(X, y)]
    assert len(tested) == 8
    assert len(set(tested)) == 2


def test_stimulus_folds_are_balanced(tables):
    X, y = tables
    sizes = [len(test) for _, test in LeaveOneSessionOut(3).split(X, y)]
    for of_session in np.reshape(sizes, (-1, 3)):
        assert np.ptp(of_session) <= y.groupby("block").size().max()


def test_study_excludes_shared_stimuli(tables):
    X, y = tables
    shared = np.array([sound.name in "a" for sound in y["sound"]])
    study = np.where(shared & (X["subject"] == "one-b"), "three", X["study"])
    for train, test in LeaveOneStudyOut().split(X.assign(study=study), y):
        one_side = set(study[test])
        assert one_side == {"two"} or not shared[train].any()
    stays = list(LeaveOneStudyOut(None).split(X.assign(study=study), y))
    assert any(shared[train].any() and shared[test].any() for train, test in stays)


@pytest.mark.parametrize("splitter", SOUND_STAYS, ids=lambda s: s._call())
def test_stimulus_folds_none_shares_stimuli(tables, splitter):
    X, y = only(tables, "one") if not isinstance(splitter, LeaveOneStudyOut) else tables
    table = check_leakage(X, y, splitter)
    assert "its stimulus may be" in splitter.guarantee
    if not isinstance(splitter, LeaveOneStudyOut):
        assert table["verdict_text"].str.startswith("LEAK: 100 %").any()
        assert (table["leaking"] > 0).all()


# --- rows in another order, labels from elsewhere ----------------------------------------------------


@pytest.mark.parametrize("name", SPLITTERS)
def test_split_ignores_row_order(tables, name):
    X, y = tables
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X.iloc[order], y.iloc[order]
    splitter = SPLITTERS[name]
    table = check_leakage(X, y, splitter, gap=splitter.gap)
    assert table["verdict"].eq("no_leak").all()
    assert table["n_test"].sum() == len(X)


def test_one_stimulus_fold_needs_other_stimuli(tables):
    X, y = only(tables, "two")
    own = (X["subject"] == "two-a") == y["sound"].isin([s for s in y["sound"] if s.name in "cd"])
    X, y = X[own.to_numpy()], y[own.to_numpy()]
    table = check_leakage(X, y, LeaveOneSubjectOut(1))
    assert table["verdict"].eq("no_leak").all()
    assert len(table) == 2
    assert table["n_train"].tolist() == table["n_test"].tolist()[::-1], "nothing had to be left out"


def test_groups_replace_column(tables):
    X, y = tables
    for splitter in (LeaveOneSessionOut(2), LeaveOneStudyOut()):
        column = splitter._column
        bare = X.drop(columns=column)
        for one, two in zip(
            splitter.split(bare, y, groups=X[column]), splitter.split(X, y), strict=True
        ):  # fmt: skip
            np.testing.assert_array_equal(one[0], two[0])
            np.testing.assert_array_equal(one[1], two[1])


def test_arrays_with_groups_are_one_subject():
    X, y, groups = np.zeros((12, 3)), np.arange(12), np.repeat(list("abcd"), 3)
    for splitter in SOUND_STAYS:
        folds = list(splitter.split(X, y, groups))
        assert [set(groups[test]) for _, test in folds] == [{"a"}, {"b"}, {"c"}, {"d"}]
        assert all(len(train) == 9 for train, _ in folds)
        assert splitter.get_n_splits(X, y, groups) == 4


def test_split_of_windows_with_rows(tables):
    X, y = tables
    brain = Windows([np.zeros((9, 2), "f4")], np.zeros(len(X)), np.zeros(len(X)), 3, 120.0, rows=X)
    for splitter in (LeaveOneSessionOut(2), LeaveOneStudyOut()):
        for one, two in zip(splitter.split(brain, y), splitter.split(X, y), strict=True):
            np.testing.assert_array_equal(one[0], two[0])
            np.testing.assert_array_equal(one[1], two[1])


def test_summary_equals_split(tables):
    for splitter in (LeaveOneSessionOut(2), LeaveOneStudyOut(2)):
        summary, folds = splitter.summary(*tables), list(splitter.split(*tables))
        assert summary["n_train"].tolist() == [len(train) for train, _ in folds]
        assert summary["n_test"].tolist() == [len(test) for _, test in folds]


# --- calibration minutes -----------------------------------------------------------------------------

AMOUNTS = [0, 0.25, 0.5, 1, np.inf]
CALIBRATED = {
    "one fold": LeaveOneSubjectOut(1, calibration_minutes=AMOUNTS),
    "two folds": LeaveOneSubjectOut(2, calibration_minutes=AMOUNTS),
    "little test": LeaveOneSubjectOut(2, gap=2.0, calibration_minutes=AMOUNTS, test_size=0.3, random_state=0),
    "sound stays": LeaveOneSubjectOut(None, calibration_minutes=AMOUNTS),
    "one amount": LeaveOneSubjectOut(2, calibration_minutes=0.5),
}


@pytest.fixture(scope="module")
def listeners(tables):
    """Subjects of the second study, with the same stories in other orders."""
    return only(tables, "two")


def amounts_of(splitter, X, y):
    """Group the folds that differ only in their amount."""
    folds, n = list(splitter.split(X, y)), len(splitter.amounts)
    assert len(folds) == splitter.get_n_splits(X, y)
    return [folds[first : first + n] for first in range(0, len(folds), n)]


def parts(X, train, test):
    """Training rows of other subjects, and of the tested subject."""
    own = (X["subject"].iloc[train] == X["subject"].iloc[test[0]]).to_numpy()
    assert not np.any(own[:-1] & ~own[1:]), "the others come first"
    return train[~own], train[own]


@pytest.mark.parametrize("name", CALIBRATED)
def test_amounts_differ_only_in_calibration(listeners, name):
    X, y = listeners
    for folds in amounts_of(CALIBRATED[name], X, y):
        others, own = zip(*(parts(X, *fold) for fold in folds), strict=True)
        for index, (_, test) in enumerate(folds):
            np.testing.assert_array_equal(test, folds[0][1])
            np.testing.assert_array_equal(others[index], others[0])
            np.testing.assert_array_equal(own[index], own[-1][: len(own[index])])
        assert sorted(map(len, own)) == list(map(len, own))


@pytest.mark.parametrize("name", CALIBRATED)
def test_calibration_minutes_exact_to_a_window(listeners, name):
    X, y = listeners
    splitter = CALIBRATED[name]
    for folds in amounts_of(splitter, X, y):
        everything = [parts(X, *fold)[1] for fold in folds][-1]
        for minutes, fold in zip(splitter.amounts, folds, strict=True):
            own = parts(X, *fold)[1]
            seconds = sum_recorded_intervals(X.iloc[own])
            if minutes < np.inf:
                assert seconds <= 60 * minutes + 1e-6
            if len(own) < len(everything):
                assert sum_recorded_intervals(X.iloc[everything[: len(own) + 1]]) > 60 * minutes
            assert (
                np.diff(X["onset"].iloc[own])[np.diff(pd.factorize(X["recording"].iloc[own])[0]) == 0] > 0
            ).all()


@pytest.mark.parametrize("name", CALIBRATED)
def test_calibration_precedes_test(listeners, name):
    X, y = listeners
    splitter = CALIBRATED[name]
    stop, gap = X["onset"] + X["duration"], splitter.gap
    for train, test in splitter.split(X, y):
        own = parts(X, train, test)[1]
        for recording, rows in X.iloc[test].groupby("recording"):
            mine = own[(X["recording"].iloc[own] == recording).to_numpy()]
            assert (stop.iloc[mine] <= rows["onset"].min() - gap + 1e-6).all()
        for held in ("block", "segment", "sequence"):
            assert not set(y[held].iloc[own]) & set(y[held].iloc[test])
    table = check_leakage(X, y, splitter, gap=gap)
    if splitter.stimulus_folds is not None:
        assert table["verdict"].eq("no_leak").all()
        assert (table["nearest"] >= gap).all()
    asked = np.tile(splitter.amounts, len(table) // len(splitter.amounts))
    assert (table["test_period_minutes"] == 0).all()
    near = asked < np.inf
    np.testing.assert_allclose(table["calibration_minutes_used"][near], asked[near], atol=(2.85 + 1e-6) / 60)
    said = table["verdict_text"].str.contains(
        "minutes of tested subjects are in training, from before the test"
    )
    np.testing.assert_array_equal(said, asked > 0)


@pytest.mark.parametrize(
    "asked", [np.array(0.5), np.array([0.5]), [0.5], (0.5,), pd.Series([0.5]), np.float32(0.5)], ids=str
)
def test_amounts_accept_sequences_and_arrays(listeners, asked):
    X, y = listeners
    folds = LeaveOneSubjectOut(2, calibration_minutes=asked)
    assert folds.amounts == [0.5]
    expected = CALIBRATED["one amount"].split(X, y)
    for one, two in zip(folds.split(X, y), expected, strict=True):
        np.testing.assert_array_equal(one[0], two[0])


@pytest.mark.parametrize("name", ["one fold", "two folds", "little test"])
def test_test_period_is_last_part(listeners, name):
    X, y = listeners
    splitter = CALIBRATED[name]
    tested = [folds[0][1] for folds in amounts_of(splitter, X, y)]
    assert len(np.unique(np.concatenate(tested))) == sum(map(len, tested))
    for subject, rows in X.groupby("subject"):
        mine = [test for test in tested if X["subject"].iloc[test[0]] == subject]
        assert len(mine) == splitter.stimulus_folds
        last = np.sort(np.concatenate(mine))
        share = sum_recorded_intervals(X.iloc[last]) / sum_recorded_intervals(rows)
        assert abs(share - splitter.test_size) < 0.06, "to the nearest block"
        before = rows.index.difference(last)
        assert (before.max() < last).all(), "rows are in the order in which they were recorded"


def test_zero_minutes_train_on_other_subjects(listeners):
    X, y = listeners
    for train, test in LeaveOneSubjectOut(2, calibration_minutes=0).split(X, y):
        others = (X["subject"] != X["subject"].iloc[test[0]]) & ~y["block"].isin(y["block"].iloc[test])
        np.testing.assert_array_equal(train, exclude_split_overlap(y, np.flatnonzero(others), test))


def test_calibration_on_repeated_stimuli(tables):
    X, y = only(tables, "one")
    splitter = LeaveOneSubjectOut(3, calibration_minutes=[0.5, np.inf], test_size=0.4)
    for train, test in splitter.split(X, y):
        own = parts(X, train, test)[1]
        assert not set(y["block"].iloc[own]) & set(y["block"].iloc[test])
    assert check_leakage(X, y, splitter)["verdict"].eq("no_leak").all()
    with pytest.raises(
        ValueError,
        match=r"LeaveOneSubjectOut\(calibration_minutes=0\.5, gap=1\.0,.*Use more than stimulus_folds=1\.",
    ):
        list(LeaveOneSubjectOut(1, calibration_minutes=0.5, test_size=0.6).split(X, y))


def test_runs_are_ordered_by_number(listeners):
    X, y = listeners
    X, y = X[mine := (X["subject"] == "two-a") | (X["session"] == "1")], y[mine]
    recording = X["recording"].replace({"two-a-0.fif": "run-2.fif", "two-a-1.fif": "run-10.fif"})
    X = X.assign(recording=recording, session="", run=1)

    def tested(X, y):
        folds = LeaveOneSubjectOut(1, calibration_minutes=1).split(X, y)
        return {
            X["recording"].iloc[row] for _, test in folds for row in test if X["subject"].iloc[row] == "two-a"
        }

    assert tested(X, y) == {"run-10.fif"}
    order = np.random.default_rng(0).permutation(len(X))
    assert tested(X.iloc[order], y.iloc[order]) == {"run-10.fif"}
    assert tested(X.assign(run=np.where(recording == "run-2.fif", "12", "3")), y) == {"run-2.fif"}


def test_guarantee_names_minutes():
    splitter = LeaveOneSubjectOut(1, gap=2.0, calibration_minutes=(0, 0.5, np.inf))
    assert splitter.guarantee == (
        "of the subject of a test row only minutes before the tested part are in training (0, 0.5 or all of them), "
        "with a gap of 2.0 s; its stimulus is not, with a gap of 2.0 s"
    )
    assert (
        "its stimulus may be, of other subjects" in LeaveOneSubjectOut(None, calibration_minutes=5).guarantee
    )
    assert "(5 of them)" in LeaveOneSubjectOut(calibration_minutes=5).guarantee
    assert LeaveOneSubjectOut(calibration_minutes=0).guarantee == LeaveOneSubjectOut().guarantee
    assert "calibration" not in repr(LeaveOneSubjectOut(test_size=0.5))
    assert "(calibration_minutes=0.5, gap=1.0, random_state=None, stimulus_folds=5, test_size=0.5)" in repr(
        LeaveOneSubjectOut(calibration_minutes=0.5)
    )


# --- the guarantee -----------------------------------------------------------------------------------

ALL = [
    *SPLITTERS.values(),
    *CALIBRATED.values(),
    *SOUND_STAYS,
    HashedBlockSplit(),
    StimulusKFold(gap=0),
    StimulusKFold(gap=None),
]


@pytest.mark.parametrize("splitter", ALL, ids=lambda s: s._call())
def test_repr_is_code_with_guarantee(splitter):
    names = {type(splitter).__name__: type(splitter)}
    again = eval(repr(splitter), names)
    assert vars(again) == vars(splitter)
    assert repr(again) == repr(splitter)
    assert splitter.guarantee in repr(splitter)
    assert "\n" not in splitter.guarantee
    for other in (clone(splitter, safe=False), copy.deepcopy(splitter)):
        assert vars(other) == vars(splitter)


def test_guarantee_names_gap():
    assert "a gap of 2.5 s" in LeaveOneSubjectOut(gap=2.5).guarantee
    assert "gap" not in LeaveOneSubjectOut(gap=0).guarantee
    assert "gap" not in LeaveOneSubjectOut(None).guarantee
    assert "no other subject" in LeaveOneSessionOut().guarantee
    assert "and other subjects" in LeaveOneSessionOut(within_subject=False).guarantee


def test_subclass_with_other_column(tables):
    class LeaveOneRecordingOut(LeaveOneOut):
        _column = "recording"
        _advice = "give more recordings."

    splitter = LeaveOneRecordingOut(2)
    assert splitter.guarantee.startswith(
        "neither the recording nor the stimulus of a test row is in training"
    )
    assert repr(splitter).startswith("LeaveOneRecordingOut(gap=1.0, random_state=None, stimulus_folds=2)")
    table = check_leakage(*tables, splitter)
    assert (table["recordings"] == 0).all()
    assert table["verdict"].eq("no_leak").all()


# --- errors ------------------------------------------------------------------------------------------


def with_one_session(X):
    return X[(X["subject"] != "one-a") | (X["session"] == "0")]


ERRORS = {
    "no session": (lambda X, y: LeaveOneSessionOut().split(X.drop(columns="session"), y), "'session' in X .*groups="),
    "unnamed": (lambda X, y: LeaveOneSessionOut().split(X.assign(session=""), y),
                r"LeaveOneSessionOut requires 2 or more sessions of each subject, but.*one session with StimulusKFold\."),
    "one session": (lambda X, y: LeaveOneSessionOut().split(with_one_session(X), y.loc[with_one_session(X).index]),
                    r"LeaveOneSessionOut requires 2 or more sessions of each subject, but.*> 1\."),
    "arrays, one session": (lambda X, y: LeaveOneSessionOut(None).split(np.zeros((4, 1)), None, list("aaaa")),
                            r"LeaveOneSessionOut requires 2 sessions or more, got session 'a'\..*one session with StimulusKFold\."),
    "missing": (lambda X, y: LeaveOneSessionOut().split(X.assign(session=X["session"].where(X.index != 7)), y),
                r"LeaveOneSessionOut needs a label in every row, but the column.*in the labels or drop these rows\."),
    "one study": (lambda X, y: LeaveOneStudyOut().split(X.assign(study=""), y),
                  r"LeaveOneStudyOut requires 2 studies or more, got study ''\. Join the.*subjects with LeaveOneSubjectOut\."),
    "no study": (lambda X, y: LeaveOneStudyOut().split(X.drop(columns="study"), y), "needs the column 'study' in X"),
    "same sound at once": (lambda X, y: LeaveOneSessionOut(1).split(X, y),
                           r"LeaveOneSessionOut\(gap=1\.0, random_state=None, stimulus_folds=1,"),
    "much calibration": (lambda X, y: LeaveOneSubjectOut(2, calibration_minutes=[1, 30]).split(X, y),
                         r"calibration_minutes=30: subject 'one-a' has only 1\.24 minutes.*stimuli, use more stimulus_folds\."),
    "little calibration": (lambda X, y: LeaveOneSubjectOut(2, calibration_minutes=0.01).split(X, y),
                           r"calibration_minutes=0\.01 must be at least one window of 2\.85 s\."),
    "negative": (lambda X, y: LeaveOneSubjectOut(2, calibration_minutes=[1, -1]).split(X, y), r"calibration_minutes must be a number of minutes, 0 or more,.*or None\. Got \[1, -1\] instead\."),
    "NaN": (lambda X, y: LeaveOneSubjectOut(2, calibration_minutes=np.nan).split(X, y), r"calibration_minutes must be a number of minutes, 0 or more,.*all, or None\. Got nan instead\."),
    "no amounts": (lambda X, y: LeaveOneSubjectOut(2, calibration_minutes=[]).split(X, y), r"calibration_minutes must be a number of minutes, 0 or more,.*or None\. Got \[\] instead\."),
    "a bool": (lambda X, y: LeaveOneSubjectOut(2, calibration_minutes=True).split(X, y), r"calibration_minutes must be a number of minutes, 0 or more,.*all, or None\. Got True instead\."),
    "a text": (lambda X, y: LeaveOneSubjectOut(2, calibration_minutes="1").split(X, y), r"calibration_minutes must be a number of minutes, 0 or more,.*or None\. Got .1. instead\."),
    "nothing before": (lambda X, y: LeaveOneSubjectOut(1, calibration_minutes=np.inf).split(X, y),
                       r"calibration_minutes=inf: subject 'one-a' has only 0\.00 minutes.*stimuli, use more stimulus_folds\."),
    "all tested": (lambda X, y: LeaveOneSubjectOut(2, calibration_minutes=1, test_size=1).split(X, y), "test_size"),
    "no times": (lambda X, y: LeaveOneSubjectOut(2, calibration_minutes=1).split(X.drop(columns="onset"), y),
                 r"calibration_minutes are counted in recorded time, but X has no.*\(s\)\. Use X of make_segments\."),
    "one block": (lambda X, y: LeaveOneSubjectOut(2, calibration_minutes=1).split(
                      *(t[((y["block"] == y["block"][0]) & (X["session"] == "0")).to_numpy()] for t in (X, y))),
                  r"subject 'one-a' has only one stimulus block, so no calibration is.*with shorter blocks\."),
    "many folds": (lambda X, y: LeaveOneSessionOut(50).split(X, y), r"session '0' of subject 'one-a' has 10 stimulus blocks, fewer than.*with shorter blocks\."),
    "no folds": (lambda X, y: LeaveOneStudyOut(0).split(X, y), "stimulus_folds must be an integer of 1 or more, got 0"),
    "wide gap": (lambda X, y: LeaveOneSessionOut(2, gap=500.0).split(X, y), r"LeaveOneSessionOut\(gap=500\.0, random_state=None, stimulus_folds=2,"),
    "no y": (lambda X, y: LeaveOneStudyOut().split(X), r"LeaveOneStudyOut\(stimulus_folds=...\) needs the column 'bl"),
    "no count": (lambda X, y: [LeaveOneSessionOut().get_n_splits()], r"LeaveOneSessionOut requires X with the column 'session', or groups, to count its folds\."),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_split_errors_name_fix(tables, name):
    function, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        list(function(*tables))


# --- inside scikit-learn -----------------------------------------------------------------------------


class SegmentMemory(BaseEstimator):
    """Score 1 if training shares only the subject with the test."""

    def __init__(self, setting=0):
        self.setting = setting

    def fit(self, X, y):
        self.seen_, self.heard_ = set(X["recording"]), set(y["segment"])
        return self

    def score(self, X, y):
        return 1.0 - bool(self.seen_ & set(X["recording"]) or self.heard_ & set(y["segment"])) + self.setting


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("splitter", [LeaveOneSessionOut(2), LeaveOneStudyOut()], ids=lambda s: s._call())
def test_cross_val_score_of_unseen_groups(tables, splitter, routing):
    with sklearn.config_context(enable_metadata_routing=routing):
        scores = cross_val_score(SegmentMemory(), *tables, cv=splitter)
    assert scores.tolist() == [1.0] * splitter.get_n_splits(tables[0])


@pytest.mark.parametrize("routing", [False, True])
def test_cross_val_score_with_calibration(listeners, routing):

    class Calibrated(SegmentMemory):
        def score(self, X, y):
            return float(bool(self.heard_ & set(y["segment"]))) + 0.5 * bool(self.seen_ & set(X["recording"]))

    splitter = LeaveOneSubjectOut(2, calibration_minutes=[0, np.inf], test_size=0.6)
    with sklearn.config_context(enable_metadata_routing=routing):
        scores = cross_val_score(Calibrated(), *listeners, cv=splitter)
        search = GridSearchCV(SegmentMemory(), {"setting": [0, 1]}, cv=StimulusKFold(2))
        nested = cross_validate(search, *listeners, cv=splitter, return_estimator=True)
    assert scores.tolist() == [0.0, 0.5] * 4
    assert {inner.n_splits_ for inner in nested["estimator"]} == {2}


@pytest.mark.parametrize("routing", [False, True])
def test_nested_search_of_studies(tables, routing):
    with sklearn.config_context(enable_metadata_routing=routing):
        search = GridSearchCV(SegmentMemory(), {"setting": [0, 1]}, cv=LeaveOneSessionOut(2))
        result = cross_validate(search, *tables, cv=LeaveOneStudyOut(), return_estimator=True)
    assert result["test_score"].tolist() == [2.0, 2.0]
    assert sorted(inner.n_splits_ for inner in result["estimator"]) == [2 * 4, 2 * 5]
    assert "GridSearchCV(cv=LeaveOneSessionOut(" in repr(search)


def test_amounts_must_be_distinct():
    cv = LeaveOneSubjectOut(1, calibration_minutes=[0.5, 0.5])
    with pytest.raises(
        ValueError,
        match=r"calibration_minutes must be a number of minutes, 0 or more,.*or None\. Got \[0\.5, 0\.5\] instead\.",
    ):
        cv._check()
