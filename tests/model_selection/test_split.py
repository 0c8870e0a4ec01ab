"""Splitters that hold out stimuli."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate

from sk_b2s import LeaveOneSubjectOut, StimulusArray, StimulusKFold, Windows, make_segments
from sk_b2s.model_selection._split import (
    assign_rows_to_split_folds,
    exclude_split_overlap,
    stimulus_train_test,
)

N_SUBJECTS = 4
SPLITTERS = [
    StimulusKFold(5),
    StimulusKFold(3, gap=3.0, random_state=1),
    LeaveOneSubjectOut(3),
    LeaveOneSubjectOut(2, gap=0.0, random_state=0),
]


@pytest.fixture(scope="module")
def tables():
    """Four subjects with two stories of 160 s. One lacks the second story."""
    rng = np.random.default_rng(0)
    stories = {name: StimulusArray(rng.standard_normal(160 * 16), 16, name) for name in "ab"}
    rows = []
    for subject in range(N_SUBJECTS):
        for place, (name, story) in enumerate(stories.items()):
            if subject == 3 and name == "b":
                continue
            begin = 2.0 + 170 * place
            common = {"subject": f"s{subject}", "recording": f"{subject}.fif", "recording_duration": 400.0}
            rows.append({**common, "type": "sound", "onset": begin, "duration": 0.0, "sound": story})
            rows += [
                {**common, "type": "word", "onset": begin + 1.1 * i, "duration": 0.9, "text": f"{name}{i}",
                 "sequence": f"{name}/{i // 6}", "word_index": i % 6}
                for i in range(140)
            ]  # fmt: skip
    return make_segments(pd.DataFrame(rows), block=15)


def spans(y, rows):
    """Intervals of stimuli by story: {story: [(start, stop)]}."""
    out = {}
    for row in y.iloc[rows].itertuples():
        out.setdefault(row.sound.name, []).append((row.sound_onset, row.sound_onset + row.duration))
    return out


def nearest(one, two):
    """Least distance in s between intervals, negative if they overlap."""
    return min(
        (max(c - b, a - d) for story in one for a, b in one[story] for c, d in two.get(story, [])),
        default=np.inf,
    )


@pytest.mark.parametrize("splitter", SPLITTERS, ids=repr)
def test_split_leaves_gap(tables, splitter):
    X, y = tables
    for train, test in splitter.split(X, y):
        assert nearest(spans(y, np.unique(train)), spans(y, test)) >= splitter.gap - 1e-6
        assert not set(y["block"].iloc[train]) & set(y["block"].iloc[test])
        assert not set(y["segment"].iloc[train]) & set(y["segment"].iloc[test])
        assert not set(y["sequence"].iloc[train]) & set(y["sequence"].iloc[test])


@pytest.mark.parametrize("splitter", SPLITTERS, ids=repr)
def test_split_tests_each_row_once(tables, splitter):
    X, y = tables
    folds = list(splitter.split(X, y))
    tested = np.concatenate([test for _, test in folds])
    np.testing.assert_array_equal(np.sort(tested), np.arange(len(y)))
    assert len(folds) == splitter.get_n_splits(X, y)
    for train, test in folds:
        assert not set(train) & set(test)
        assert len(np.unique(train)) == len(train)


def test_split_holds_out_subject(tables):
    X, y = tables
    subjects = X["subject"].to_numpy()
    for train, test in LeaveOneSubjectOut(2).split(X, y):
        assert len(set(subjects[test])) == 1
        assert set(subjects[train]) == set(subjects) - set(subjects[test])


def test_split_holds_out_whole_blocks(tables):
    rows = np.random.default_rng(0).random(len(tables[1])) < 0.1
    X, y = tables[0][rows], tables[1][rows]
    for train, test in StimulusKFold(4, gap=2.0).split(X, y):
        blocks = {}
        for sound, start, stop in y.iloc[test][["sound", "block_start", "block_stop"]].itertuples(
            index=False
        ):
            blocks.setdefault(sound.name, []).append((start, stop))
        assert nearest(spans(y, train), blocks) >= 2.0 - 1e-6


def test_split_without_stimulus_folds(tables):
    X, y = tables
    folds = list(LeaveOneSubjectOut(stimulus_folds=None).split(X, y))
    assert len(folds) == N_SUBJECTS
    for (train, test), subject in zip(folds, ["s0", "s1", "s2", "s3"], strict=True):
        np.testing.assert_array_equal(test, np.flatnonzero(X["subject"] == subject))
        np.testing.assert_array_equal(train, np.flatnonzero(X["subject"] != subject))


def test_assign_rows_to_split_folds_balances_sizes(tables):
    X, y = tables
    sizes = np.array([len(test) for _, test in StimulusKFold(4).split(X, y)])
    assert sizes.max() - sizes.min() <= y.groupby("block").size().max()
    for seed in range(5):
        counts = np.random.default_rng(seed).integers(1, 30, 40)
        fold = assign_rows_to_split_folds(np.repeat(np.arange(40), counts), 5, random_state=seed)
        assert np.ptp(np.bincount(fold)) <= counts.max()


@pytest.mark.parametrize("gap", [0.0, 1.0, 4.0])
def test_split_drops_only_rows_within_gap(tables, gap):
    X, y = tables
    blocks = y["block"].to_numpy()
    for train, test in StimulusKFold(4, gap=gap).split(X, y):
        held = spans(y, test)
        for sound, start, stop in y.iloc[test][["sound", "block_start", "block_stop"]].itertuples(
            index=False
        ):
            held[sound.name].append((start, stop))
        others = np.setdiff1d(np.flatnonzero(~np.isin(blocks, blocks[test])), train)
        assert all(nearest(spans(y, [row]), held) < gap for row in others)


@pytest.mark.parametrize("splitter", [*SPLITTERS, LeaveOneSubjectOut(None)], ids=repr)
def test_summary_equals_split(tables, splitter):
    X, y = tables
    summary, folds = splitter.summary(X, y), list(splitter.split(X, y))
    assert summary["n_train"].tolist() == [len(train) for train, _ in folds]
    assert summary["n_test"].tolist() == [len(test) for _, test in folds]
    total = [np.concatenate([train, test]) for train, test in folds]
    assert (summary["n_left_out"] <= [len(y) - len(rows) for rows in total]).all()
    for seconds, (_, test) in zip(summary["test_seconds"], folds, strict=True):
        heard = spans(y, test)
        ticks = {(s, tick) for s in heard for a, b in heard[s] for tick in range(int(100 * a), int(100 * b))}
        assert seconds == pytest.approx(len(ticks) / 100, rel=0.02)


def test_random_state_changes_folds(tables):
    X, y = tables

    def folds(seed):
        return [tuple(test) for _, test in StimulusKFold(4, random_state=seed).split(X, y)]

    assert folds(0) == folds(0)
    assert folds(None) == folds(None)
    assert len({tuple(folds(seed)) for seed in (None, 0, 1, 2)}) > 1


# --- groups and other inputs -------------------------------------------------------------------------


def test_groups_replace_columns(tables):
    X, y = tables
    story = np.array([sound.name for sound in y["sound"]])
    for train, test in StimulusKFold(2).split(X, y, groups=story):
        assert set(story[train]) & set(story[test]) == set()
        assert len(train) + len(test) == len(y), "two stories share no sound: no gap is needed"
    pairs = np.where(X["subject"].isin(["s0", "s1"]), "first", "second")
    folds = list(LeaveOneSubjectOut(2).split(X, y, groups=pairs))
    assert len(folds) == 4
    for train, test in folds:
        assert set(pairs[train]) & set(pairs[test]) == set()


def test_groups_split_arrays():
    X, y, groups = np.zeros((12, 3)), np.arange(12), np.repeat(list("abcd"), 3)
    folds = list(StimulusKFold(4).split(X, y, groups))
    assert [set(groups[test]) for _, test in folds] == [{"a"}, {"b"}, {"c"}, {"d"}]
    assert all(len(train) == 9 for train, _ in folds)
    assert len(list(LeaveOneSubjectOut(None).split(X, y, groups))) == 4


def test_split_of_windows_with_rows(tables):
    X, y = tables
    brain = Windows([np.zeros((9, 2), "f4")], np.zeros(len(X)), np.zeros(len(X)), 3, 120.0, rows=X)
    heard = Windows([np.zeros((9, 2), "f4")], np.zeros(len(X)), np.zeros(len(X)), 3, 50.0, rows=y)
    for splitter in SPLITTERS:
        for one, two in zip(splitter.split(brain, heard), splitter.split(X, y), strict=True):
            np.testing.assert_array_equal(one[0], two[0])
            np.testing.assert_array_equal(one[1], two[1])


def test_split_ignores_index(tables):
    X, y = tables
    relabelled = X.set_index(np.zeros(len(X), int)), y.set_index(np.arange(len(y))[::-1])
    for splitter in SPLITTERS:
        for one, two in zip(splitter.split(*relabelled), splitter.split(X, y), strict=True):
            np.testing.assert_array_equal(one[0], two[0])
            np.testing.assert_array_equal(one[1], two[1])


@pytest.mark.parametrize("gap", [1.0, 0.0])
@pytest.mark.parametrize("seed", range(4))
def test_stimulus_train_test_of_fraction(tables, gap, seed):
    _, y = tables
    train, test = stimulus_train_test(y, test_size=0.2, gap=gap, random_state=seed)
    assert 0.2 <= len(test) / len(y) <= 0.2 + y.groupby("block").size().max() / len(y)
    assert nearest(spans(y, train), spans(y, test)) >= gap - 1e-6
    again = stimulus_train_test(y, test_size=0.2, gap=gap, random_state=seed)
    np.testing.assert_array_equal(again[0], train)


def test_exclude_split_overlap_keeps_arrays():
    train = np.array([3, 1])
    np.testing.assert_array_equal(exclude_split_overlap(np.zeros(5), train, np.array([0])), train)


# --- errors ------------------------------------------------------------------------------------------

ERRORS = {
    "few blocks": (lambda X, y: StimulusKFold(99).split(X, y), r"n_splits=99 must not be larger than the number of stimulus blocks,.*with shorter blocks\."),
    "one subject": (lambda X, y: LeaveOneSubjectOut().split(X.assign(subject="s0"), y), r"2 subjects or more.*s0"),
    "no block": (lambda X, y: StimulusKFold().split(X, y.drop(columns="block")), "needs the column 'block' in y"),
    "array y": (lambda X, y: StimulusKFold().split(X, np.zeros(len(X))), "'block' in y .* got ndarray"),
    "array y, subjects": (lambda X, y: LeaveOneSubjectOut().split(X, np.zeros(len(X))), r"stimulus_folds=.* needs"),
    "no y": (lambda X, y: StimulusKFold().split(X), "got NoneType"),
    "array X": (lambda X, y: LeaveOneSubjectOut().split(np.zeros(len(X)), y), "'subject' in X .* got ndarray"),
    "no count": (lambda X, y: [LeaveOneSubjectOut().get_n_splits()], r"LeaveOneSubjectOut requires X with the column 'subject', or groups, to count its folds\."),
    "one fold": (lambda X, y: StimulusKFold(1).split(X, y), "n_splits must be an integer of 2 or more, got 1"),
    "half folds": (lambda X, y: LeaveOneSubjectOut(2.5).split(X, y), "stimulus_folds must be an integer"),
    "gap": (lambda X, y: StimulusKFold(gap=-1).split(X, y), r"gap must be a number of seconds, 0 or more\. Got -1 instead\."),
    "wide gap": (lambda X, y: StimulusKFold(2, gap=500.0).split(X, y), r"StimulusKFold\(gap=500\.0, n_splits=2, random_state=None\), fold 0:.*fewer folds or a smaller gap\."),
    "unheard": (lambda X, y: LeaveOneSubjectOut(10).split(X, y), r"subject 's3' has 8 stimulus blocks, fewer than stimulus_folds=10\..*with shorter blocks\."),
    "one block": (lambda X, y: stimulus_train_test(y[y["block"] == y["block"].iloc[0]]), r"Holding out 10% of the stimuli requires 2 or more blocks, got 1\..*or fit with validation=None\."),
    "nothing left": (lambda X, y: stimulus_train_test(y[X["onset"] < 150], gap=500.0), r"No training row is 500 s or more away from the held-out stimuli\..*or fit with validation=None\."),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_split_errors_name_fix(tables, name):
    function, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        list(function(*tables))


# --- inside scikit-learn -----------------------------------------------------------------------------


class SegmentMemory(BaseEstimator):
    """Score the fraction of test segments that were not in training."""

    def __init__(self, setting=0):
        self.setting = setting

    def fit(self, X, y):
        assert len(X) == len(y)
        self.subjects_, self.heard_ = set(X["subject"]), set(y["segment"])
        return self

    def score(self, X, y):
        return np.mean([segment not in self.heard_ for segment in y["segment"]]) + self.setting


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("splitter", [StimulusKFold(3), LeaveOneSubjectOut(2)], ids=repr)
def test_cross_val_score_of_unseen_stimuli(tables, splitter, routing):
    with sklearn.config_context(enable_metadata_routing=routing):
        scores = cross_val_score(SegmentMemory(), *tables, cv=splitter, n_jobs=1)
    assert scores.tolist() == [1.0] * splitter.get_n_splits(tables[0])


def test_plain_folds_share_stimuli(tables):
    assert cross_val_score(SegmentMemory(), *tables, cv=5).max() < 1


@pytest.mark.parametrize("routing", [False, True])
def test_nested_search(tables, routing):
    with sklearn.config_context(enable_metadata_routing=routing):
        search = GridSearchCV(SegmentMemory(), {"setting": [0, 1]}, cv=LeaveOneSubjectOut(2))
        result = cross_validate(
            search, *tables, cv=LeaveOneSubjectOut(2), return_estimator=True, return_indices=True
        )
    assert (result["test_score"] == 2).all()
    for inner, train in zip(result["estimator"], result["indices"]["train"], strict=True):
        assert inner.n_splits_ == 3 * 2, "three subjects are left inside"
        assert inner.best_estimator_.heard_ == set(tables[1]["segment"].iloc[train])


def test_groups_are_routed(tables):
    X, y = tables
    story = np.array([sound.name for sound in y["sound"]])
    plain = cross_validate(SegmentMemory(), X, y, cv=StimulusKFold(2), groups=story, return_indices=True)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = cross_validate(
            SegmentMemory(), X, y, cv=StimulusKFold(2), params={"groups": story}, return_indices=True
        )
        search = GridSearchCV(SegmentMemory(), {"setting": [0, 1]}, cv=StimulusKFold(2)).fit(
            X, y, groups=story
        )
    for side in ("train", "test"):
        for one, two in zip(plain["indices"][side], routed["indices"][side], strict=True):
            np.testing.assert_array_equal(one, two)
            assert side == "train" or len(set(story[one])) == 1
    assert search.n_splits_ == 2


@pytest.mark.parametrize("make", [StimulusKFold, LeaveOneSubjectOut])
def test_splitters_yield_constant_folds_without_seed(make):
    """HalvingGridSearchCV accepts only such splitters, by this rule."""
    from sklearn.model_selection._search_successive_halving import _yields_constant_splits

    assert not make().shuffle
    assert _yields_constant_splits(make())
    assert _yields_constant_splits(make(random_state=0))
    assert not _yields_constant_splits(make(random_state=np.random.RandomState(0)))
    assert "shuffle" not in repr(make())
