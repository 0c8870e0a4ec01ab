"""Tests of the control "recording_order"."""

import numpy as np
import pandas as pd
import pytest
from helpers.decoders import planted
from sklearn.model_selection import KFold

from sk_b2s import (
    PrecomputedFeatures,
    RidgeDecoder,
    StimulusArray,
    StimulusKFold,
    Windows,
    benchmark,
    make_segments,
    run_controls,
)
from sk_b2s.evaluation._controls._order import has_order_trials, rank_by_order

N_CATEGORIES, N_CONCEPTS, N_IMAGES, N_CHANNELS = 6, 4, 3, 8


def make_design(is_block, seed=0, n_recordings=2):
    """Make X, y and vectors of recordings of drift, without a response."""
    rng = np.random.default_rng(seed)
    n = N_CATEGORIES * N_CONCEPTS * N_IMAGES
    category, concept = np.arange(n) // (N_CONCEPTS * N_IMAGES), np.arange(n) // N_IMAGES
    vectors = 2 * rng.normal(size=(N_CATEGORIES, 5))[category] + rng.normal(size=(n, 5))
    vectors = pd.DataFrame(vectors, index=[f"image {i}" for i in range(n)])
    events, data = [], []
    for recording in range(n_recordings):
        order = rng.permutation(n)
        if is_block:
            order = order[np.argsort(rng.permutation(N_CATEGORIES)[category[order]], kind="stable")]
        events.append(pd.DataFrame({
            "subject": f"{recording}", "recording": f"{recording}.fif", "type": "image",
            "onset": 1 + 2.0 * np.arange(n), "duration": 0.5, "image": [f"image {i}" for i in order],
            "category": [f"concept {concept[i]}" for i in order], "recording_duration": 2.0 * n + 4,
        }))  # fmt: skip
        walk = np.cumsum(rng.normal(size=(n, N_CHANNELS)), axis=0)
        data.append(walk[:, :, None] + rng.normal(size=(n, N_CHANNELS, 4)))
    X, y = make_segments(pd.concat(events, ignore_index=True), anchor="image", tmin=0, tmax=1)
    return Windows.from_array(np.concatenate(data).astype(np.float32), rows=X, sfreq=4), y, vectors


def make_decoder(vectors):
    return RidgeDecoder(speech=PrecomputedFeatures(vectors), alphas=(1.0,), cv=2, k=3)


@pytest.mark.parametrize(
    "cv", [KFold(4, shuffle=True, random_state=0), StimulusKFold(4)], ids=["KFold", "concepts"]
)
@pytest.mark.filterwarnings("ignore::sk_b2s.StimulusLeakWarning")
def test_recording_order_detects_blocks(cv):
    """A split by concept does not help, as categories are in blocks."""
    X, y, vectors = make_design(is_block=True)
    table = run_controls(make_decoder(vectors), X, y, cv=cv, controls=["decoder"], n_shifts=100)
    assert table.loc["decoder", "top_k"] > table.loc["decoder", "chance"] + 0.1  # without a response
    assert table.loc["recording_order", "verdict"] == "leak"
    assert "order and time of presentation" in table.loc["decoder", "verdict_text"]


def test_recording_order_passes_random_order():
    X, y, vectors = make_design(is_block=False, seed=1)
    table = run_controls(
        make_decoder(vectors), X, y, cv=StimulusKFold(4), controls=["recording_order"], n_shifts=100
    )
    assert table.loc["recording_order", "verdict"] == "at_null"


def test_recording_order_false_positive_rate():
    """Random orders are not marked more often than by chance."""
    from sk_b2s.decoding import RetrievalResult
    from sk_b2s.evaluation._controls._leak_test import is_leak_test_positive, pool_leak_test_rows
    from sk_b2s.evaluation._controls._run import run_control_outcome

    rng, marks = np.random.default_rng(0), 0
    for _ in range(40):
        vectors = rng.normal(size=(40, 3))
        rows = pd.DataFrame({
            "subject": "", "recording": np.repeat(["a", "b"], 40), "position": np.tile(np.arange(40), 2),
            "onset": np.tile(np.arange(40.0), 2), "duration": 1.0, "stimulus": np.r_[rng.permutation(40), rng.permutation(40)],
        })  # fmt: skip
        is_test = (rows["stimulus"] < 10).to_numpy()
        test = rows[is_test].reset_index(drop=True)
        scores = rank_by_order(rows[~is_test], test, vectors[rows["stimulus"][~is_test]], vectors[:10])
        result = RetrievalResult(
            scores, test["stimulus"].to_numpy(), pd.DataFrame({"segment": range(10)}), test, 2
        )
        outcome = run_control_outcome([result], 100, 0, is_permuted=True)
        marks += is_leak_test_positive(pool_leak_test_rows([outcome]))
    assert marks <= 2  # of 40, at 1 to 2 % each


def test_rank_by_order_uses_other_recordings():
    """A position that is known from another recording finds the stimulus."""
    vectors = np.random.default_rng(1).normal(size=(20, 4))
    rows = pd.DataFrame({"recording": "a", "position": np.arange(20)})
    scores = rank_by_order(rows, rows.assign(recording="b"), vectors, vectors)
    assert (scores.argmax(1) == np.arange(20)).mean() > 0.3


def test_benchmark_always_runs_recording_order():
    X, y, vectors = make_design(is_block=True)
    table = benchmark(
        make_decoder(vectors), X, y, cv=StimulusKFold(4), controls=False, n_shifts=100, k=3, n_candidates=None
    )
    assert set(table["control"]) == {"decoder", "recording_order"}
    assert (table["verdict"] == "leak").all()


def test_recording_order_applies_to_isolated_sounds():
    rng = np.random.default_rng(2)
    sounds = [StimulusArray(rng.normal(size=(8, 2)).astype(np.float32), 8) for _ in range(3)]
    trials = pd.DataFrame({"subject": "1", "recording": "a", "onset": np.arange(6.0), "duration": 1.0})
    trials = trials.assign(sound=sounds * 2, segment=[1, 2, 3] * 2)
    assert has_order_trials(trials)
    assert not has_order_trials(trials.assign(segment=range(6)))  # several segments of a stimulus
    assert not has_order_trials(trials.drop(columns="sound"))


def test_recording_order_refuses_continuous_speech():
    X, y = planted(0.0, 0.0, n_recordings=1, n=30)
    decoder = make_decoder(pd.DataFrame([[1.0]], index=["a"]))
    with pytest.raises(ValueError, match="'recording_order' needs windows that are trials"):
        run_controls(decoder, X, y, controls=["recording_order"])
