"""Laws of the null made of moved labels."""

import numpy as np
import pytest

from sk_b2s.metrics._null import circular_shift_null
from sk_b2s.metrics._ranks_and_top_k import ranks


def test_circular_shift_null_of_noise_and_response():
    rng = np.random.default_rng(0)
    recording = np.repeat(["a", "b"], 100)
    onset = np.tile(np.arange(100.0), 2)
    target = np.concatenate([rng.permutation(100), rng.permutation(100)])
    noise = rng.standard_normal((200, 100))
    null = circular_shift_null(noise, target, recording, onset, 3.0, k=10, n_shifts=500, random_state=0)
    assert null.shape == (500,)
    assert null.mean() == pytest.approx(0.1, abs=0.02)
    perfect = noise.copy()
    perfect[np.arange(200), target] = 100
    again = circular_shift_null(perfect, target, recording, onset, 3.0, k=10, n_shifts=500, random_state=0)
    assert again.mean() == pytest.approx(0.1, abs=0.02), "a true decoder does not lift its own null"


def test_shift_null_equals_the_ranks_of_moved_labels():
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 6, size=(12, 12)).astype(float)  # many ties
    target = rng.permutation(12)
    null = circular_shift_null(
        scores, target, ["a"] * 12, np.arange(12.0), 1.0, k=3, n_shifts=300, random_state=0
    )
    moved = [(ranks(scores, np.roll(target, -shift)) < 3).mean() for shift in range(1, 12)]
    assert set(null.round(9)) == set(np.round(moved, 9))


def test_circular_shift_null_by_subject_and_recording():
    rng = np.random.default_rng(3)
    scores, target = rng.normal(size=(24, 24)), rng.permutation(24)
    subject, onset = np.repeat(["anna", "ben"], 12), np.tile(np.arange(12.0), 2)
    args = {"onset": onset, "duration": 1.0, "k": 3, "n_shifts": 200, "random_state": 0}
    named = circular_shift_null(scores, target, np.repeat(["one", "two"], 12), **args)
    np.testing.assert_array_equal(
        circular_shift_null(scores, target, ["run 1"] * 24, subject=subject, **args), named
    )
    with pytest.raises(ValueError, match="recording 'anna, run 1' has 12 windows"):
        circular_shift_null(scores, target, ["run 1"] * 24, subject=subject, **args | {"duration": 7.0})


def test_shift_null_needs_room():
    with pytest.raises(ValueError, match="recording 'a' has 4 windows, and labels must be shifted by 3"):
        circular_shift_null(np.eye(4), np.arange(4), ["a"] * 4, np.arange(4.0), 3.0, k=1)


def test_circular_shift_null_of_repeated_stimuli():
    target = np.tile(np.arange(16), 2)  # sixteen windows presented twice
    args = np.eye(16)[target], target, ["a"] * 32, 3.0 * np.arange(32), 3.0
    assert circular_shift_null(*args, k=1, random_state=0).max() == 0, (
        "a perfect decoder is never right of moved labels"
    )
    with pytest.raises(ValueError, match="repeats its stimuli so often"):
        circular_shift_null(np.eye(2)[[0] * 8], [0] * 8, ["a"] * 8, 3.0 * np.arange(8), 3.0, k=1)


@pytest.mark.parametrize(("k", "scores"), [(8, np.eye(8)), (10, np.eye(8)), (1, np.full((8, 8), np.nan))])
def test_shift_null_refuses_what_cannot_be_scored(k, scores):
    with pytest.raises(ValueError, match="less than the number of candidates|NaN in 8 of 8"):
        circular_shift_null(scores, np.arange(8), ["a"] * 8, 3.0 * np.arange(8), 3.0, k=k)


def test_circular_shift_null_equals_shifted_ranks():
    rng = np.random.default_rng(2)
    scores, target, weight = rng.normal(size=(9, 9)), rng.permutation(9), rng.random(9)
    null = circular_shift_null(
        scores,
        target,
        ["a"] * 9,
        np.arange(9.0),
        1.0,
        k=3,
        n_shifts=200,
        random_state=0,
        sample_weight=weight,
    )
    moved = [np.average(ranks(scores, np.roll(target, -shift)) < 3, weights=weight) for shift in range(9)]
    assert set(null.round(9)) == set(np.round(moved, 9)), "few shifts include the true order"
