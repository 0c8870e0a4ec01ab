"""Curves: nested training sets, refits that equal those by hand, decisions counted one by one."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from sk_b2s import (
    Epocher,
    LeaveOneSubjectOut,
    PrecomputedFeatures,
    RidgeDecoder,
    StimulusArray,
    StimulusKFold,
    Windows,
    attention_decision_accuracy,
    mean_and_sem,
    retrieval_learning_curve,
    retrieval_validation_curve,
    retrieve,
)  # fmt: skip
from sk_b2s.evaluation._curves import _Ladder, _training_rows
from sk_b2s.events._intervals import recorded_seconds

SFREQ, STEP, LENGTH = 8.0, 8, 24


def planted(n_subjects=4, n=90, lag=0, noise=1.0, seed=0):
    """People who hear one sound of 90 s in blocks of 10 s, and answer to it ``lag`` steps later."""
    rng = np.random.default_rng(seed)
    n_times = STEP * n + LENGTH
    heard = rng.standard_normal((n_times, 2)).astype(np.float32)
    mixing = rng.standard_normal((2, 5))
    brains = [
        (np.roll(heard, lag, axis=0) @ mixing + noise * rng.standard_normal((n_times, 5))).astype(np.float32)
        for _ in range(n_subjects)
    ]
    which, start = np.repeat(np.arange(n_subjects), n), np.tile(np.arange(n) * STEP, n_subjects)
    names = np.array([f"s{index}" for index in range(n_subjects)])[which]
    rows = pd.DataFrame(
        {"subject": names, "recording": names, "onset": start / SFREQ, "duration": LENGTH / SFREQ}
    )
    y = pd.DataFrame({
        "sound": [StimulusArray(heard, SFREQ, "story")] * len(which), "sound_onset": start / SFREQ,
        "duration": (LENGTH - 1) / SFREQ, "segment": start, "block": start // (10 * STEP),
        "block_start": start // (10 * STEP) * 10.0, "block_stop": (start // (10 * STEP) + 1) * 10.0,
    })  # fmt: skip
    return Windows(brains, which, start, LENGTH, SFREQ, rows=rows), y


def ridge(**changes):
    parameters = {
        "speech": PrecomputedFeatures(),
        "lags": (0, 0.5),
        "alphas": (1e-2,),
        "per_subject": False,
        "k": 2,
    }
    return RidgeDecoder(**parameters | changes)


# --- learning curves --------------------------------------------------------------------------------


def test_sets_are_nested_in_minutes_and_in_people_and_made_of_whole_blocks():
    X, y = planted()
    rows, blocks = _training_rows(X, y)
    train, _ = next(LeaveOneSubjectOut(3).split(X, y))
    ladder = _Ladder(rows, blocks, train, np.random.RandomState(0))
    sets = {(n, m): set(ladder.rows(n, m, 0)[0]) for n in (1, 2, 3) for m in (0.1, 0.3, 0.5, None)}
    order = [0.1, 0.3, 0.5, None]
    for (n, m), own in sets.items():
        for (other_n, other_m), larger in sets.items():
            if n <= other_n and order.index(m) <= order.index(other_m):
                assert own <= larger
        people = rows["subject"].to_numpy()
        assert len(set(people[list(own)])) == n
        for person in set(people[list(own)]):
            mine = [i for i in own if people[i] == person]
            whole = [i for i in train if people[i] == person and blocks[i] in set(blocks[mine])]
            assert set(mine) == set(whole)
            assert m is None or recorded_seconds(rows.iloc[mine]) >= 60 * m - 1e-6
    assert sets[3, None] == set(train)


def test_seconds_are_those_of_a_raster():
    rng = np.random.default_rng(0)
    onset, duration = rng.integers(0, 60, 40) / 4, rng.integers(1, 12, 40) / 4
    recording = rng.integers(0, 3, 40)
    covered = {(r, step) for r, o, d in zip(recording, 4 * onset, 4 * duration, strict=True)
               for step in range(int(o), int(o + d))}  # fmt: skip
    rows = pd.DataFrame({"recording": recording, "onset": onset, "duration": duration})
    assert recorded_seconds(rows) == pytest.approx(len(covered) / 4)


def test_the_end_of_the_curve_is_the_score_of_all_the_data_and_tests_stay_the_same():
    X, y = planted()
    cv = StimulusKFold(3)
    curve = retrieval_learning_curve(ridge(), X, y, cv, minutes=[0.2, 0.4])
    everything = retrieval_learning_curve(ridge(), X, y, cv, subjects=None)
    folds = list(cv.split(X, y))
    assert (curve.groupby("fold")["n_windows"].sum() == [2 * len(test) for _, test in folds]).all()
    assert curve["n_candidates"].nunique() == 1
    assert (curve["minutes_used"] >= curve["minutes"] - 1e-9).all()
    assert len(everything) == 4 * 3 * 4
    last = everything[everything["minutes"] == everything["minutes"].max()]
    n_train = last.groupby("fold")["n_train"].first()
    whole = [fold for fold, (train, _) in enumerate(folds) if n_train[fold] == len(train)]
    assert whole, "the fold with the least data gives all of it"
    for fold in whole:
        train, test = folds[fold]
        by_hand = retrieve(ridge().fit(X[train], y.iloc[train]), X[test], y.iloc[test]).by_subject()["top_k"]
        assert last[last["fold"] == fold].set_index("subject")["top_k"].to_dict() == by_hand.to_dict()


def test_more_people_help_a_new_one_and_those_tested_must_be_new():
    X, y = planted(noise=8.0)
    curve = retrieval_learning_curve(ridge(), X, y, LeaveOneSubjectOut(2), subjects=[1, 3])
    assert curve["minutes"].isna().all()
    assert len(curve) == 2 * 8
    means = mean_and_sem(curve, "top_k", by="n_subjects")["mean"]
    assert means[3] > means[1] > curve["chance"].iloc[0]
    cv = list(LeaveOneSubjectOut(2).split(X, y))
    whole = curve[(curve["n_subjects"] == 3) & (curve["fold"] == 5)].iloc[0]
    train, test = cv[5]
    expected = retrieve(ridge().fit(X[train], y.iloc[train]), X[test], y.iloc[test]).top_k()
    assert (whole["top_k"], whole["n_train"]) == (expected, len(train))
    with pytest.raises(ValueError, match="needs folds that hold people out"):
        retrieval_learning_curve(ridge(), X, y, StimulusKFold(2), subjects=[1])
    with pytest.raises(ValueError, match="fold 0 has 1 to 3 to train on"):
        retrieval_learning_curve(ridge(), X, y, LeaveOneSubjectOut(2), subjects=[4])
    with pytest.raises(ValueError, match=r"99 minutes were asked for, but fold 0 has 0\.\d+ of subject"):
        retrieval_learning_curve(ridge(), X, y, StimulusKFold(2), minutes=[99])
    with pytest.raises(ValueError, match=r"y lacks \['block'\]"):
        retrieval_learning_curve(ridge(), X, y.drop(columns="block"), StimulusKFold(2))
    with pytest.raises(TypeError, match=r"StimulusKFold\(5\)"):
        retrieval_learning_curve(ridge(), X, y, 5)


# --- by a parameter ---------------------------------------------------------------------------------


def test_the_planted_lag_is_where_the_score_is_and_rows_equal_refits_by_hand():
    X, y = planted(n_subjects=2, lag=3, noise=0.5)  # three steps, 0.375 s
    pipe = Pipeline([("epochs", Epocher()), ("ridge", ridge())])
    lags = {"-0.375 s": (-0.375, -0.375), "0 s": (0.0, 0.0), "0.375 s": (0.375, 0.375)}
    table = retrieval_validation_curve(pipe, X, y, StimulusKFold(2), "ridge__lags", lags)
    means = mean_and_sem(table, "top_k", by="value")
    assert means["mean"].idxmax() == "0.375 s"
    assert means["mean"].drop("0.375 s").max() < 3 * means["chance"].iloc[0] < means["mean"].max()
    train, test = list(StimulusKFold(2).split(X, y))[1]
    model = clone(pipe).set_params(ridge__lags=(0.375, 0.375)).fit(X[train], y.iloc[train])
    expected = retrieve(model, X[test], y.iloc[test]).by_subject()["top_k"]
    mine = table[(table["value"] == "0.375 s") & (table["fold"] == 1)].set_index("subject")["top_k"]
    assert mine.to_dict() == expected.to_dict()
    assert pipe.get_params()["ridge__lags"] == (0, 0.5), "the estimator given is not changed"


def test_parameters_may_change_together_and_wrong_names_are_told():
    X, y = planted(n_subjects=1)
    pipe = Pipeline([("epochs", Epocher()), ("ridge", ridge())])
    both = retrieval_validation_curve(
        pipe, X, y, StimulusKFold(2), ("ridge__k", "ridge__alphas"), [(1, (1.0,)), (3, (0.1,))]
    )
    assert both.groupby("value", sort=False)["k"].first().tolist() == [1, 3]
    one = retrieval_validation_curve(pipe, X, y, StimulusKFold(2), "ridge__k", [1, 3])
    assert one["value"].tolist() == [1, 1, 3, 3]
    with pytest.raises(ValueError, match="'lag' is none of Pipeline's. Did you mean 'epochs__lag'?"):
        retrieval_validation_curve(pipe, X, y, StimulusKFold(2), "lag", [0])
    folds = [[np.isin(np.arange(len(X)), rows) for rows in pair] for pair in StimulusKFold(2).split(X, y)]
    masks = retrieval_validation_curve(pipe, X, y, folds, "ridge__k", [3])
    pd.testing.assert_frame_equal(
        masks, retrieval_validation_curve(pipe, X, y, StimulusKFold(2), "ridge__k", [3])
    )
    with pytest.raises(TypeError, match="cv must be a splitter"):
        retrieval_validation_curve(pipe, X, y, None, "ridge__k", [3])
    with pytest.raises(ValueError, match="must have 2 parts"):
        retrieval_validation_curve(pipe, X, y, StimulusKFold(2), ("ridge__k", "ridge__alphas"), [(1,)])


# --- decisions --------------------------------------------------------------------------------------


def decisions(n=60, step=1.0, duration=1.0, seed=0):
    rng = np.random.default_rng(seed)
    onset = np.tile(5 + step * np.arange(n), 4)
    names = np.repeat(["a/1", "a/2", "b/1", "b/2"], n)
    rows = pd.DataFrame(
        {"recording": names, "subject": [name[0] for name in names], "onset": onset, "duration": duration}
    )
    return 0.3 + rng.normal(size=4 * n), rng.normal(size=4 * n), rows


@pytest.mark.parametrize(("step", "duration"), [(1.0, 1.0), (0.5, 2.0), (0.7, 1.3)])
def test_decisions_are_those_counted_one_by_one(step, duration):
    attended, ignored, rows = decisions(step=step, duration=duration)
    order = np.random.default_rng(1).permutation(len(rows))
    table = attention_decision_accuracy(attended[order], ignored[order], rows.iloc[order], lengths=(2, 5))
    for row in table.itertuples():
        right = []
        for name in (f"{row.subject}/1", f"{row.subject}/2"):
            own = np.flatnonzero(rows["recording"] == name)
            onset = rows["onset"].to_numpy()[own]
            for first in np.arange(5.0, onset.max() + 1, row.length):
                inside = own[(onset > first - 1e-6) & (onset + duration < first + row.length + 1e-6)]
                if len(inside):
                    right.append(attended[inside].sum() > ignored[inside].sum())
        assert row.accuracy == pytest.approx(np.mean(right))
        assert row.n_decisions == len(right)


def test_longer_decisions_are_surer_as_normal_theory_says():
    from scipy.stats import norm

    attended, ignored, rows = decisions(n=6000)
    means = (
        attention_decision_accuracy(attended, ignored, rows, (1, 4, 16)).groupby("length")["accuracy"].mean()
    )
    np.testing.assert_allclose(means, norm.cdf(0.3 / np.sqrt(2) * np.sqrt([1, 4, 16])), atol=0.02)
    swapped = attention_decision_accuracy(ignored, attended, rows, (4,))["accuracy"]
    np.testing.assert_allclose(
        1 - swapped, attention_decision_accuracy(attended, ignored, rows, (4,))["accuracy"]
    )
    assert (attention_decision_accuracy(attended, attended, rows, (4,))["accuracy"] == 0).all(), (
        "a tie is wrong"
    )


def test_what_cannot_be_decided_is_said():
    attended, ignored, rows = decisions(duration=3.0)
    with pytest.raises(ValueError, match="decision of 1 s cannot hold a window of 3 s"):
        attention_decision_accuracy(attended, ignored, rows)
    with pytest.raises(ValueError, match=r"columns \['onset'\]"):
        attention_decision_accuracy(attended, ignored, rows.drop(columns="onset"))
    with pytest.raises(ValueError, match="each of 240 rows"):
        attention_decision_accuracy(attended[1:], ignored[1:], rows)
