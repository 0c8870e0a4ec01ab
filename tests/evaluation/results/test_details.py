"""Details of fits: equal to the scores, safe to read, absent in old files."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers.decoders import same
from helpers.score_tables import make_retrieval_result
from sklearn.model_selection import GridSearchCV

from sk_b2s import RidgeDecoder, read_results
from sk_b2s.evaluation._benchmark_summary import average_summary_scores
from sk_b2s.evaluation._results._details import (
    describe_details_of_guesses,
    describe_history_details,
    describe_window_seconds,
    list_guess_numbers_for_details,
    measure_hours_for_details,
    read_fit_details,
)
from sk_b2s.evaluation._results._rank_curves import average_rank_curves
from sk_b2s.evaluation._results._training_details import describe_selection


def test_average_rank_curves_equal_scores(done):
    results = done[1]
    curves = average_rank_curves(results)
    rows = results[(results["control"] == "decoder") & (results["pool"] == "all")]
    for name in ("top_1", "top_5", "top_10"):
        means = average_summary_scores(rows, name, ["estimator"])["score"]
        k = int(name.removeprefix("top_"))
        for label, curve in curves.items():
            assert np.interp(k, curve.k, curve.accuracy) == pytest.approx(means[label], abs=0.003)
            assert curve.accuracy[-1] == 1
            assert curve.n_subjects == rows["subject"].nunique()


def test_read_results_accepts_lines_without_details(done, tmp_path):
    lines = [json.loads(line) for line in done[2].read_text().splitlines() if line]
    old = tmp_path / "old.jsonl"
    old.write_text("\n".join(json.dumps({k: v for k, v in line.items() if k != "details"}) for line in lines))
    results = read_results(old)
    assert results["details"].isna().all()
    same(results.drop(columns="details"), done[1].drop(columns="details"))
    assert average_rank_curves(results) == {}


def test_benchmark_stores_details_once_per_fit(done):
    results = done[1]
    fits = results.groupby(["estimator", "control", "seed", "fold"])["details"]
    assert (fits.count() == 1).all()
    first = results[(results["control"] == "decoder") & (results["fold"] == 0)].iloc[0]
    details = read_fit_details(first["details"])
    assert details["ranks"]["n_candidates"] == first["n_candidates"]
    assert 0 < details["hours"] < 1
    assert len(details["guesses"]) == 6
    assert details["window_seconds"][0] == details["window_seconds"][2] > 0
    assert details["selection"] == details["training"] == []  # a single alpha, no network


RANKS = {"n_candidates": 3, "k": [1, 2, 3], "hits": {"a": [4, 1, 2, 4]}}
STIMULUS = {"text": "a", "sound": "a.wav", "start": 0.0, "duration": 1.0}
GUESS = {
    "rank": 1,
    "n_candidates": 3,
    "probability": 0.5,
    "target_probability": 0.5,
    "target": STIMULUS,
    "guess": STIMULUS,
}
HISTORY = {
    "loss": "clip",
    "epoch": [1, 2],
    "train_loss": [2.0, 1.0],
    "valid_loss": [2.0, 1.5],
    "valid_candidates": 9,
}
TRAINED = {"loss": "clip", "lr": 1e-3, "batch_size": 64.0, "max_epochs": 5.0, "epochs": 3, "member": "a"}
CHOICE = {"name": "alpha", "tried": [0.1, 1.0], "chosen": [1.0], "n_folds": 3}
PLACES = {
    "label": "a",
    "neutral": 1.0,
    "values": [1, 2, 3, 4.0],
    "x": [0, 1, 0.5, 0.2],
    "y": [0, 1, 0.5, 0.2],
}


@pytest.mark.parametrize(("name", "valid", "wrong"), [
    ("ranks", RANKS, {"k": [2, 1, 3]}), ("ranks", RANKS, {"hits": {"a": [1, 2, 3, 4]}}), ("ranks", RANKS, {"hits": {}}),
    ("ranks", RANKS, {"n_candidates": -3}), ("guesses", GUESS, {"rank": "1"}), ("guesses", GUESS, {"target": None}),
    ("guesses", GUESS, {"guess": {"start": -1}}), ("history", HISTORY, {"train_loss": [1.0]}),
    ("history", HISTORY, {"valid_candidates": 1}), ("topography", PLACES, {"x": [0, 1, 2, 0]}),
    ("topography", PLACES, {"values": [1, 2, 3, None]}), ("recordings", {"n_channels": 3}, {"reference": 3}),
    ("hours", {}, {}), ("topography", PLACES, {"member": 3}), ("training", TRAINED, {"lr": "fast"}),
    ("selection", CHOICE, {"chosen": []}), ("selection", CHOICE, {"tried": [None]}),
])  # fmt: skip
def test_read_fit_details_drops_invalid_parts(name, valid, wrong):
    is_list = name in ("guesses", "training", "selection") or "member" in wrong
    wrap = (lambda value: [value]) if is_list else (lambda value: value)
    if valid:
        assert read_fit_details(json.dumps({name: wrap(valid)})) == {name: wrap(valid)}
    assert read_fit_details(json.dumps({name: wrap({**valid, **wrong}), "command": "x"})) == {"command": "x"}


@pytest.mark.parametrize("text", [None, np.nan, "", "[]", "{", "3", "[" * 10**5], ids=range(7))
def test_read_fit_details_accepts_any_text(text):
    assert read_fit_details(text) == {}


def test_describe_guesses_does_not_depend_on_scores():
    chosen = [
        [
            (guess["subject"], guess["onset"])
            for guess in describe_details_of_guesses(make_retrieval_result(gain=gain))
        ]
        for gain in (0.0, 5.0)
    ]
    assert chosen[0] == chosen[1]
    assert len(set(chosen[0])) == 6


def test_describe_history_details_has_limited_size():
    class History(list):
        def __getitem__(self, index):
            return (
                super().__getitem__(index[0])[index[1]]
                if isinstance(index, tuple)
                else super().__getitem__(index)
            )

    history = History({"epoch": i + 1, "train_loss": 1 / (i + 1)} for i in range(5000))
    found = describe_history_details(history, "clip")
    assert len(found["epoch"]) == len(found["train_loss"]) == 300
    assert (found["epoch"][0], found["epoch"][-1]) == (1, 5000)


def test_measure_recorded_hours_counts_overlaps_once():
    rows = pd.DataFrame({
        "recording": ["a", "a", "a", "b"], "onset": [1800.0, 0.0, 900.0, 0.0], "duration": [1800.0] * 4,
    })  # fmt: skip
    assert measure_hours_for_details(rows) == pytest.approx(1.5)
    assert measure_hours_for_details(rows.drop(columns="onset")) is None


def test_list_guess_numbers_for_details_is_short():
    for n in (1, 7, 10**6):
        k = list_guess_numbers_for_details(n)
        assert (k[0], k[-1]) == (1, n)
        assert k == sorted(set(k))
        assert len(k) <= 50


def test_describe_window_seconds_needs_durations():
    rows = pd.DataFrame({"duration": [0.3, 2.0, 0.5]})
    assert describe_window_seconds(rows) == [0.3, 0.5, 2.0]
    assert describe_window_seconds(rows[[]]) is None


def test_describe_selection_of_several_grids():
    """Values of other grids are masked, and ``alphas`` may be a number."""
    tried = np.ma.array([3, 0], mask=[False, True])
    level = SimpleNamespace(
        best_params_={"k": 3}, cv_results_={"param_k": tried}, n_splits_=2, alpha_=1.0, alphas=100
    )
    (found,) = describe_selection(level)
    assert found == {"name": "k", "tried": [3.0], "chosen": [3.0], "n_folds": 2}


def test_describe_selection_of_search():
    X, y = np.random.default_rng(0).normal(size=(2, 30, 3, 8)).astype(np.float32)
    search = GridSearchCV(
        RidgeDecoder(lags=(0, 0), alphas=(1.0,), sfreq=10, k=1), {"n_components": [None, 1]}, cv=2
    )
    (found,) = describe_selection(search.fit(X, y))
    assert found["name"] == "n_components"
    assert found["tried"] == ["None", 1.0]
    assert found["chosen"][0] in found["tried"]
    assert found["n_folds"] == 2
