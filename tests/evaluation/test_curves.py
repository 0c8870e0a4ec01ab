"""Learning curves and validation curves."""

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
    mean_and_sem,
    retrieval_learning_curve,
    retrieval_validation_curve,
    retrieve,
)  # fmt: skip
from sk_b2s.evaluation import _curves
from sk_b2s.evaluation._curves import (
    _make_curve_training_rows,
    _NestedTrainingSets,
    describe_learning_curve_edge,
)
from sk_b2s.events._intervals import sum_recorded_intervals

SFREQ, STEP, LENGTH = 8.0, 8, 24


def planted(n_subjects=4, n=90, lag=0, noise=1.0, seed=0):
    """Simulate responses to one stimulus of 90 s in blocks of 10 s.

    Subjects respond ``lag`` steps after the stimulus.
    """
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


def test_nested_sets_consist_of_whole_blocks():
    X, y = planted()
    rows, blocks = _make_curve_training_rows(X, y)
    train, _ = next(LeaveOneSubjectOut(3).split(X, y))
    nested = _NestedTrainingSets(rows, blocks, train, np.random.RandomState(0))
    sets = {(n, m): set(nested.rows(n, m, 0)[0]) for n in (1, 2, 3) for m in (0.1, 0.3, 0.5, None)}
    order = [0.1, 0.3, 0.5, None]
    for (n, m), own in sets.items():
        for (other_n, other_m), larger in sets.items():
            if n <= other_n and order.index(m) <= order.index(other_m):
                assert own <= larger
        subjects = rows["subject"].to_numpy()
        assert len(set(subjects[list(own)])) == n
        for subject in set(subjects[list(own)]):
            mine = [i for i in own if subjects[i] == subject]
            whole = [i for i in train if subjects[i] == subject and blocks[i] in set(blocks[mine])]
            assert set(mine) == set(whole)
            assert m is None or sum_recorded_intervals(rows.iloc[mine]) >= 60 * m - 1e-6
    assert sets[3, None] == set(train)


def test_sum_recorded_intervals_counts_overlaps_once():
    rng = np.random.default_rng(0)
    onset, duration = rng.integers(0, 60, 40) / 4, rng.integers(1, 12, 40) / 4
    recording = rng.integers(0, 3, 40)
    covered = {(r, step) for r, o, d in zip(recording, 4 * onset, 4 * duration, strict=True)
               for step in range(int(o), int(o + d))}  # fmt: skip
    rows = pd.DataFrame({"recording": recording, "onset": onset, "duration": duration})
    assert sum_recorded_intervals(rows) == pytest.approx(len(covered) / 4)


def test_learning_curve_ends_at_score_of_all_data():
    X, y = planted()
    cv = StimulusKFold(3)
    curve = retrieval_learning_curve(ridge(), X, y, cv, minutes=[0.2, 0.4])
    everything = retrieval_learning_curve(ridge(), X, y, cv, subjects=None)
    folds = list(cv.split(X, y))
    assert (curve.groupby("fold")["n_windows"].sum() == [2 * len(test) for _, test in folds]).all()
    assert curve["n_candidates"].nunique() == 1
    assert (curve["minutes_used"] >= curve["minutes"] - 1e-9).all()
    assert len(everything) == 3 * 3 * 4  # an eighth has one block
    last = everything[everything["minutes"] == everything["minutes"].max()]
    n_train = last.groupby("fold")["n_train"].first()
    whole = [fold for fold, (train, _) in enumerate(folds) if n_train[fold] == len(train)]
    assert whole, "the smallest fold uses all its data"
    for fold in whole:
        train, test = folds[fold]
        by_hand = retrieve(ridge().fit(X[train], y.iloc[train]), X[test], y.iloc[test]).by_subject()["top_k"]
        assert last[last["fold"] == fold].set_index("subject")["top_k"].to_dict() == by_hand.to_dict()


def test_learning_curve_defaults_hold_two_blocks():
    """Ridge regression selects alpha in cross-validation over blocks."""
    X, y = planted(n_subjects=2, n=60)
    curve = retrieval_learning_curve(ridge(alphas=(1e-2, 1.0)), X, y, StimulusKFold(2))
    minutes = curve["minutes"].unique()
    np.testing.assert_allclose(minutes / minutes.max(), [0.5, 1])
    few = np.tile(np.arange(60) < 20, 2)  # training sets have one block, and all of it is tried
    with pytest.raises(ValueError, match=r"two stimulus intervals .* Got 1 block"):
        retrieval_learning_curve(ridge(alphas=(1e-2, 1.0)), X[few], y[few], StimulusKFold(2))


def test_training_sets_are_found_by_bisection(monkeypatch):
    """The duration of few of the sets of blocks is computed."""
    n = 256
    rows = pd.DataFrame({"subject": "a", "recording": "one", "onset": 2.0 * np.arange(n), "duration": 2.0})
    nested = _NestedTrainingSets(rows, np.arange(n), np.arange(n), np.random.RandomState(0))
    calls = []
    monkeypatch.setattr(
        _curves, "sum_recorded_intervals", lambda table: calls.append(1) or sum_recorded_intervals(table)
    )
    for n_blocks in (1, 100, 256):
        found, minutes = nested.rows(1, 2 * n_blocks / 60, 0)
        assert (len(found), minutes) == (n_blocks, pytest.approx(2 * n_blocks / 60))
        np.testing.assert_array_equal(np.sort(nested.order[:n_blocks]), found)
    assert len(calls) < 3 * 12
    with pytest.raises(
        ValueError, match=r"minutes=9 was requested, but fold 0 has only 8\.533 training minutes"
    ):
        nested.rows(1, 9, 0)


def test_learning_curve_over_subjects_and_errors():
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
    with pytest.raises(ValueError, match="needs folds that hold subjects out"):
        retrieval_learning_curve(ridge(), X, y, StimulusKFold(2), subjects=[1])
    with pytest.raises(ValueError, match="fold 0 has 3 training subjects. Use 1 to 3"):
        retrieval_learning_curve(ridge(), X, y, LeaveOneSubjectOut(2), subjects=[4])
    with pytest.raises(
        ValueError, match=r"minutes=99 was requested, but fold 0 has only 0\.\d+ training minutes of"
    ):
        retrieval_learning_curve(ridge(), X, y, StimulusKFold(2), minutes=[99])
    with pytest.raises(ValueError, match=r"y lacks \['block'\]"):
        retrieval_learning_curve(ridge(), X, y.drop(columns="block"), StimulusKFold(2))
    with pytest.raises(TypeError, match=r"StimulusKFold\(5\)"):
        retrieval_learning_curve(ridge(), X, y, 5)


# --- by a parameter ---------------------------------------------------------------------------------


def test_validation_curve_recovers_simulated_lag():
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
    assert pipe.get_params()["ridge__lags"] == (0, 0.5), "the estimator is not modified"


def test_validation_curve_of_two_parameters_and_errors():
    X, y = planted(n_subjects=1)
    pipe = Pipeline([("epochs", Epocher()), ("ridge", ridge())])
    both = retrieval_validation_curve(
        pipe, X, y, StimulusKFold(2), ("ridge__k", "ridge__alphas"), [(1, (1.0,)), (3, (0.1,))]
    )
    assert both.groupby("value", sort=False)["k"].first().tolist() == [1, 3]
    one = retrieval_validation_curve(pipe, X, y, StimulusKFold(2), "ridge__k", [1, 3])
    assert one["value"].tolist() == [1, 1, 3, 3]
    with pytest.raises(ValueError, match="'lag' is not a parameter of Pipeline. Did you mean 'epochs__lag'?"):
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


def scores_over(values, means, people=4):
    spread = 0.001 * np.arange(people)
    return pd.DataFrame(np.add.outer(means, spread), index=pd.Index(values), columns=list("abcd")[:people])


@pytest.mark.parametrize(
    ("values", "means", "note"),
    [
        pytest.param([0.0, 0.1, 0.2], [0.1, 0.2, 0.3], "Highest at 0.2, the last value", id="last"),
        pytest.param([0.0, 0.1, 0.2], [0.3, 0.2, 0.1], "Highest at 0, the first value", id="first"),
        pytest.param([0.0, 0.1, 0.2], [0.1, 0.3, 0.2], "", id="within"),
        pytest.param([0.0, 0.1, 0.2], [0.2, 0.2, 0.2], "", id="flat"),
        pytest.param([0.0, 0.1], [0.1, 0.2], "", id="two"),
        pytest.param(["delta", "theta", "alpha"], [0.1, 0.2, 0.3], "", id="names"),
        pytest.param([0.0, 0.1, 0.2], [0.1, 0.2, np.nan], "", id="unknown"),
    ],
)
def test_describe_learning_curve_edge_of_numbers(values, means, note):
    assert describe_learning_curve_edge(scores_over(values, means)).startswith(note)
    assert bool(describe_learning_curve_edge(scores_over(values, means))) == bool(note)


def test_describe_learning_curve_edge_ignores_noise():
    people = pd.DataFrame([[0.1, 0.1], [0.2, 0.2], [0.1, 0.31]], index=[0.0, 0.1, 0.2])
    assert describe_learning_curve_edge(people) == "", "one of two subjects is lower there"
