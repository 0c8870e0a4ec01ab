"""A person, a session, a study: what is left out is left out with its sound, and the splitter says so."""

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
    SoundArray,
    StimulusKFold,
    Windows,
    check_leakage,
    make_segments,
)
from sk_b2s.leave_one_out import LeaveOneOut

PLAN = {  # who hears which stories in which session of which study
    ("one", "one-a"): {"0": "ab", "1": "ab"},
    ("one", "one-b"): {"0": "ba", "1": "ab", "2": "a"},
    ("two", "two-a"): {"0": "cd", "1": "ef"},
    ("two", "two-b"): {"0": "ce", "1": "df"},
}


@pytest.fixture(scope="module")
def tables():
    """Two studies of two people each: the first repeats its stories in every session, the second does not."""
    rng = np.random.default_rng(0)
    stories = {name: SoundArray(rng.standard_normal(90 * 16), 16, name) for name in "abcdef"}
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
    "session, wide": LeaveOneSessionOut(3, guard=3.0, random_state=1),
    "session, of all": LeaveOneSessionOut(2, within_subject=False),
    "study": LeaveOneStudyOut(),
    "study, folds": LeaveOneStudyOut(3, guard=0.0),
}
SOUND_STAYS = [LeaveOneSubjectOut(None), LeaveOneSessionOut(None), LeaveOneStudyOut(None)]
SPLITTERS = {**LEAVING, "sound": StimulusKFold(4)}


def only(tables, study):
    rows = (tables[0]["study"] == study).to_numpy()
    return tables[0][rows].reset_index(drop=True), tables[1][rows].reset_index(drop=True)


@pytest.mark.parametrize("name", LEAVING)
def test_what_is_left_out_is_not_in_training(tables, name):
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
def test_the_check_finds_what_the_splitter_guarantees(tables, name):
    splitter = SPLITTERS[name]
    table = check_leakage(*tables, splitter, guard=splitter.guard)
    assert table["verdict"].str.startswith("no leak").all()
    assert (table["nearest"] >= splitter.guard).all()
    if isinstance(splitter, LeaveOneOut):
        plural = {"subject": "subjects", "session": "sessions", "study": "studies"}[splitter._column]
        assert (table[plural] == 0).all()
        assert f"neither the {splitter._column} nor the sound" in splitter.guarantee
    for column in ("leaking", "segments", "sentences", "blocks", "retold"):
        assert (table[column] == 0).all(), column


@pytest.mark.parametrize("name", SPLITTERS)
def test_every_row_is_tested_once(tables, name):
    X, y = tables
    folds = list(SPLITTERS[name].split(X, y))
    np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(len(y)))
    assert len(folds) == SPLITTERS[name].get_n_splits(X, y)


def test_a_session_is_learnt_from_its_person_alone_or_from_all(tables):
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
        if session[test[0]] != "2":  # which one person alone has
            assert session[test[0]] in session[with_all], "of that name another person has another session"


def test_sessions_of_their_own_sound_lose_no_training_row(tables):
    """Where each session has sound of its own, all of the other session is learnt from, in one fold or more."""
    X, y = only(tables, "two")
    for k in (1, 2):
        for train, test in LeaveOneSessionOut(k).split(X, y):
            person = X["subject"].iloc[test[0]]
            others = (X["subject"] == person) & (X["session"] != X["session"].iloc[test[0]])
            np.testing.assert_array_equal(train, np.flatnonzero(others))


def test_groups_that_heard_the_same_are_dealt_the_same(tables):
    X, y = only(tables, "one")
    keep = (X["session"] != "2").to_numpy()
    X, y = X[keep], y[keep]
    tested = [frozenset(y["block"].iloc[test]) for _, test in LeaveOneSessionOut(2).split(X, y)]
    assert len(tested) == 8
    assert len(set(tested)) == 2


def test_a_group_is_dealt_its_own_sound_evenly(tables):
    X, y = tables
    sizes = [len(test) for _, test in LeaveOneSessionOut(3).split(X, y)]
    for of_session in np.reshape(sizes, (-1, 3)):
        assert np.ptp(of_session) <= y.groupby("block").size().max()


def test_a_story_that_two_studies_share_is_not_trained_on(tables):
    X, y = tables
    shared = np.array([sound.name in "a" for sound in y["sound"]])
    study = np.where(shared & (X["subject"] == "one-b"), "three", X["study"])
    for train, test in LeaveOneStudyOut().split(X.assign(study=study), y):
        one_side = set(study[test])
        assert one_side == {"two"} or not shared[train].any()
    stays = list(LeaveOneStudyOut(None).split(X.assign(study=study), y))
    assert any(shared[train].any() and shared[test].any() for train, test in stays)


@pytest.mark.parametrize("splitter", SOUND_STAYS, ids=lambda s: s._call())
def test_sound_stays_only_if_asked_by_name(tables, splitter):
    X, y = only(tables, "one") if not isinstance(splitter, LeaveOneStudyOut) else tables
    table = check_leakage(X, y, splitter)
    assert "its sound may be" in splitter.guarantee
    if not isinstance(splitter, LeaveOneStudyOut):
        assert table["verdict"].str.startswith("LEAK: 100 %").any()
        assert (table["leaking"] > 0).all()


# --- rows in another order, labels from elsewhere ----------------------------------------------------


@pytest.mark.parametrize("name", SPLITTERS)
def test_the_order_of_rows_breaks_no_promise(tables, name):
    X, y = tables
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X.iloc[order], y.iloc[order]
    splitter = SPLITTERS[name]
    table = check_leakage(X, y, splitter, guard=splitter.guard)
    assert table["verdict"].str.startswith("no leak").all()
    assert table["n_test"].sum() == len(X)


def test_one_fold_of_sound_is_for_groups_that_heard_different_things(tables):
    X, y = only(tables, "two")
    own = (X["subject"] == "two-a") == y["sound"].isin([s for s in y["sound"] if s.name in "cd"])
    X, y = X[own.to_numpy()], y[own.to_numpy()]
    table = check_leakage(X, y, LeaveOneSubjectOut(1))
    assert table["verdict"].str.startswith("no leak").all()
    assert len(table) == 2
    assert table["n_train"].tolist() == table["n_test"].tolist()[::-1], "nothing had to be left out"


def test_groups_take_the_place_of_the_column(tables):
    X, y = tables
    for splitter in (LeaveOneSessionOut(2), LeaveOneStudyOut()):
        column = splitter._column
        bare = X.drop(columns=column)
        for one, two in zip(
            splitter.split(bare, y, groups=X[column]), splitter.split(X, y), strict=True
        ):  # fmt: skip
            np.testing.assert_array_equal(one[0], two[0])
            np.testing.assert_array_equal(one[1], two[1])


def test_arrays_with_groups_are_one_person():
    X, y, groups = np.zeros((12, 3)), np.arange(12), np.repeat(list("abcd"), 3)
    for splitter in SOUND_STAYS:
        folds = list(splitter.split(X, y, groups))
        assert [set(groups[test]) for _, test in folds] == [{"a"}, {"b"}, {"c"}, {"d"}]
        assert all(len(train) == 9 for train, _ in folds)
        assert splitter.get_n_splits(X, y, groups) == 4


def test_windows_carry_the_tables(tables):
    X, y = tables
    brain = Windows([np.zeros((9, 2), "f4")], np.zeros(len(X)), np.zeros(len(X)), 3, 120.0, rows=X)
    for splitter in (LeaveOneSessionOut(2), LeaveOneStudyOut()):
        for one, two in zip(splitter.split(brain, y), splitter.split(X, y), strict=True):
            np.testing.assert_array_equal(one[0], two[0])
            np.testing.assert_array_equal(one[1], two[1])


def test_the_summary_tells_what_split_does(tables):
    for splitter in (LeaveOneSessionOut(2), LeaveOneStudyOut(2)):
        summary, folds = splitter.summary(*tables), list(splitter.split(*tables))
        assert summary["n_train"].tolist() == [len(train) for train, _ in folds]
        assert summary["n_test"].tolist() == [len(test) for _, test in folds]


# --- the guarantee -----------------------------------------------------------------------------------

ALL = [
    *SPLITTERS.values(),
    *SOUND_STAYS,
    HashedBlockSplit(),
    StimulusKFold(guard=0),
    StimulusKFold(guard=None),
]


@pytest.mark.parametrize("splitter", ALL, ids=lambda s: s._call())
def test_the_representation_makes_the_splitter_and_says_what_it_guarantees(splitter):
    names = {type(splitter).__name__: type(splitter)}
    again = eval(repr(splitter), names)
    assert vars(again) == vars(splitter)
    assert repr(again) == repr(splitter)
    assert splitter.guarantee in repr(splitter)
    assert "\n" not in splitter.guarantee
    for other in (clone(splitter, safe=False), copy.deepcopy(splitter)):
        assert vars(other) == vars(splitter)


def test_guarantees_name_the_guard_that_is():
    assert "2.5 s of sound between" in LeaveOneSubjectOut(guard=2.5).guarantee
    assert "between" not in LeaveOneSubjectOut(guard=0).guarantee
    assert "between" not in LeaveOneSubjectOut(None).guarantee
    assert "nobody else" in LeaveOneSessionOut().guarantee
    assert "so are other people" in LeaveOneSessionOut(within_subject=False).guarantee


def test_a_new_splitter_is_a_few_lines(tables):
    class LeaveOneRecordingOut(LeaveOneOut):
        _column = "recording"
        _advice = "give more recordings."

    splitter = LeaveOneRecordingOut(2)
    assert splitter.guarantee.startswith("neither the recording nor the sound of a test row is in training")
    assert repr(splitter).startswith("LeaveOneRecordingOut(guard=1.0, random_state=None, stimulus_folds=2)")
    table = check_leakage(*tables, splitter)
    assert (table["recordings"] == 0).all()
    assert table["verdict"].str.startswith("no leak").all()


# --- errors ------------------------------------------------------------------------------------------


def with_one_session(X):
    return X[(X["subject"] != "one-a") | (X["session"] == "0")]


ERRORS = {
    "no session": (lambda X, y: LeaveOneSessionOut().split(X.drop(columns="session"), y), "'session' in X .*groups="),
    "unnamed": (lambda X, y: LeaveOneSessionOut().split(X.assign(session=""), y),
                r"subject 'one-a' has one \(4 of 4 people have\): name them in the events' column 'session'"),
    "one session": (lambda X, y: LeaveOneSessionOut().split(with_one_session(X), y.loc[with_one_session(X).index]),
                    r"subject 'one-a' has one \(1 of 4 people have\): leave such people out: keep = X.groupby"),
    "arrays, one session": (lambda X, y: LeaveOneSessionOut(None).split(np.zeros((4, 1)), None, list("aaaa")),
                            "needs 2 sessions or more, got session 'a': name them"),
    "missing": (lambda X, y: LeaveOneSessionOut().split(X.assign(session=X["session"].where(X.index != 7)), y),
                r"the column 'session' of X has none in row 7 \(1 such rows\)"),
    "one study": (lambda X, y: LeaveOneStudyOut().split(X.assign(study=""), y),
                  "needs 2 studies or more, got study '': join the events .* LeaveOneSubjectOut"),
    "no study": (lambda X, y: LeaveOneStudyOut().split(X.drop(columns="study"), y), "needs the column 'study' in X"),
    "same sound at once": (lambda X, y: LeaveOneSessionOut(1).split(X, y),
                           "nothing is left to learn from where session '0' of subject 'one-a' is tested, .* "
                           "Deal the sound to more folds than stimulus_folds=1"),
    "many folds": (lambda X, y: LeaveOneSessionOut(50).split(X, y), "heard .* blocks of sound, too few for stimulus_f"),
    "no folds": (lambda X, y: LeaveOneStudyOut(0).split(X, y), "stimulus_folds must be an integer of 1 or more, got 0"),
    "wide guard": (lambda X, y: LeaveOneSessionOut(2, guard=500.0).split(X, y), "within 500.* s of held-out sound"),
    "no y": (lambda X, y: LeaveOneStudyOut().split(X), r"LeaveOneStudyOut\(stimulus_folds=...\) needs the column 'bl"),
    "no count": (lambda X, y: [LeaveOneSessionOut().get_n_splits()], "needs X .with its column 'session'. or groups"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_way_out(tables, name):
    function, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        list(function(*tables))


# --- inside scikit-learn -----------------------------------------------------------------------------


class Listener(BaseEstimator):
    """Remembers what it was fitted on; its score is 1 if that has nothing of the test but its person."""

    def __init__(self, setting=0):
        self.setting = setting

    def fit(self, X, y):
        self.seen_, self.heard_ = set(X["recording"]), set(y["segment"])
        return self

    def score(self, X, y):
        return 1.0 - bool(self.seen_ & set(X["recording"]) or self.heard_ & set(y["segment"])) + self.setting


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("splitter", [LeaveOneSessionOut(2), LeaveOneStudyOut()], ids=lambda s: s._call())
def test_scores_are_of_what_was_never_met(tables, splitter, routing):
    with sklearn.config_context(enable_metadata_routing=routing):
        scores = cross_val_score(Listener(), *tables, cv=splitter)
    assert scores.tolist() == [1.0] * splitter.get_n_splits(tables[0])


@pytest.mark.parametrize("routing", [False, True])
def test_nested_search(tables, routing):
    """Studies outside and sessions inside: the search chooses on sessions of the studies that it may see."""
    with sklearn.config_context(enable_metadata_routing=routing):
        search = GridSearchCV(Listener(), {"setting": [0, 1]}, cv=LeaveOneSessionOut(2))
        result = cross_validate(search, *tables, cv=LeaveOneStudyOut(), return_estimator=True)
    assert result["test_score"].tolist() == [2.0, 2.0]
    assert sorted(inner.n_splits_ for inner in result["estimator"]) == [2 * 4, 2 * 5]
    assert "GridSearchCV(cv=LeaveOneSessionOut(" in repr(search)
