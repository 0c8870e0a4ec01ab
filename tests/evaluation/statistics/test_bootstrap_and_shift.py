"""Bootstrap intervals and circular shift tests."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sk_b2s import RetrievalResult, bootstrap_ci, circular_shift_test
from sk_b2s.metrics._ranks_and_top_k import ranks

# --- bootstrap --------------------------------------------------------------------------------------


def crossed(n_subjects=12, n_blocks=20, n=10, spread=0.1, seed=0):
    """Simulate hits around 0.4 with effects of subjects and blocks."""
    rng = np.random.default_rng(seed)
    p = 0.4 + spread * (rng.normal(size=(n_subjects, 1)) + rng.normal(size=(1, n_blocks)))
    hits = rng.random((n_subjects, n_blocks, n)) < np.clip(p, 0, 1)[..., None]
    subject, block, _ = np.indices(hits.shape)
    return hits.ravel(), subject.ravel(), block.ravel()


def test_bootstrap_ci_coverage():
    covered = {"crossed": [], "people": [], "windows": []}
    for seed in range(120):
        hits, subject, block = crossed(seed=seed)
        each = np.arange(len(hits)) // 4  # windows in fours: already wider than windows alone
        for name, labels in {
            "crossed": (subject, block), "people": (subject, 0 * block), "windows": (each, 0 * block),
        }.items():  # fmt: skip
            interval = bootstrap_ci(hits, *labels, n_boot=200, random_state=seed)
            covered[name].append(interval["low"] <= 0.4 <= interval["high"])
    assert 0.9 <= np.mean(covered["crossed"]) <= 0.98
    assert np.mean(covered["people"]) < 0.88
    assert np.mean(covered["windows"]) < 0.6


def test_bootstrap_ci_of_one_block():
    hits, subject, _ = crossed(9, 5)
    interval = bootstrap_ci(hits, subject, np.zeros(len(hits)), n_boot=20_000)
    means = pd.Series(hits.astype(float)).groupby(subject).mean().to_numpy()
    expected = stats.bootstrap(
        (means,), np.mean, method="percentile", n_resamples=20_000, random_state=np.random.default_rng(0)
    )
    assert interval["mean"] == pytest.approx(means.mean())
    assert interval["low"] == pytest.approx(expected.confidence_interval.low, abs=4e-3)
    assert interval["high"] == pytest.approx(expected.confidence_interval.high, abs=4e-3)
    assert interval["se"] == pytest.approx(means.std() / 3, rel=0.03), "known in closed form"


def test_bootstrap_ci_equals_explicit_resampling():
    rng = np.random.default_rng(0)
    subject, block, hits = rng.integers(0, 3, 40), rng.integers(0, 4, 40), rng.random(40)
    subject, block = (pd.factorize(labels)[0] for labels in (subject, block))  # in order of appearance
    interval = bootstrap_ci(hits, subject, block, level=0.5, n_boot=7, random_state=5)
    random, means = np.random.RandomState(5), []
    people = random.multinomial(3, [1 / 3] * 3, size=7)
    blocks = random.multinomial(4, [1 / 4] * 4, size=7)
    for w, v in zip(people, blocks, strict=True):
        drawn = []
        for s in np.repeat([0, 1, 2], w):
            windows = [hits[(subject == s) & (block == b)] for b in np.repeat(range(4), v)]
            drawn.append(np.concatenate(windows).mean())
        means.append(np.mean(drawn))
    np.testing.assert_allclose(interval[["low", "high"]].tolist(), np.quantile(means, [0.25, 0.75]))


def test_bootstrap_ci_ignores_names_and_checks_input():
    hits, subject, block = crossed(4, 6, 2)
    named = bootstrap_ci(hits, [f"s{s}" for s in subject], [f"b{b}" for b in block])
    pd.testing.assert_series_equal(named, bootstrap_ci(hits, subject, block))
    own_sound = bootstrap_ci(hits, subject, subject)  # different stimuli for all
    assert own_sound["low"] < own_sound["mean"] < own_sound["high"]
    with pytest.raises(ValueError, match="at least two subjects or two stimulus blocks"):
        bootstrap_ci(hits, 0 * subject, 0 * block)
    with pytest.raises(ValueError, match="one entry per window"):
        bootstrap_ci(hits, subject, block[1:])
    with pytest.raises(ValueError, match="must not be NaN or None"):
        bootstrap_ci(np.where(subject == 1, np.nan, hits), subject, block)


# --- the shift null ---------------------------------------------------------------------------------


def answers_of(scores, target, subject, recording, onset, k=2):
    rows = pd.DataFrame({"subject": subject, "recording": recording, "onset": onset, "duration": 1.0})
    candidates = pd.DataFrame({"segment": np.arange(scores.shape[1])})
    return RetrievalResult(np.asarray(scores), np.asarray(target), candidates, rows, k=k)


def two_people(signal=0.0, n=(6, 9), seed=0):
    rng = np.random.default_rng(seed)
    target = np.concatenate([rng.permutation(9)[:length] for length in n])
    scores = rng.normal(size=(sum(n), 9))
    scores[np.arange(sum(n)), target] += signal
    who = np.repeat(["a", "b"], n)
    return answers_of(scores, target, who, who, np.concatenate([np.arange(length) for length in n]))


def test_circular_shift_test_equals_enumeration():
    answers = two_people(1.0)
    test = circular_shift_test(answers)
    null = []
    for first, second in list(product(range(6), range(9)))[1:]:  # few shifts include the true order
        moved = np.concatenate([np.roll(answers.target[:6], -first), np.roll(answers.target[6:], -second)])
        hits = ranks(answers.scores, moved) < 2
        null.append((hits[:6].mean() + hits[6:].mean()) / 2)
    found = answers.by_subject()["top_k"].mean()
    assert test["every_shift"]
    assert test["n_shifts"] == 53
    assert test["top_k"] == pytest.approx(found)
    assert test["p"] == pytest.approx((1 + np.sum(np.array(null) >= found - 1e-12)) / 54)
    assert test["null_mean"] == pytest.approx(np.mean(null))
    drawn = circular_shift_test(answers, n_shifts=39)
    assert not drawn["every_shift"]
    assert drawn["smallest_p"] == 1 / 40


def test_circular_shift_test_draws_shifts():
    answers = two_people(0.5, n=(9, 9), seed=3)
    every, answers_of_three = circular_shift_test(answers), join(answers, two_people(0.5, n=(9, 9), seed=4))
    drawn = circular_shift_test(answers_of_three, n_shifts=511)  # of 9 ** 4
    whole = circular_shift_test(answers_of_three, n_shifts=9**4)
    assert (every["n_shifts"], whole["n_shifts"]) == (80, 9**4 - 1)
    assert drawn["p"] == pytest.approx(whole["p"], abs=0.06)
    assert drawn["null_mean"] == pytest.approx(whole["null_mean"], abs=0.02)


def join(a, b):
    """Add two subjects with other recordings."""
    rows = b.rows.assign(subject=b.rows["subject"] + "'", recording=b.rows["recording"] + "'")
    return replace(
        a, scores=np.concatenate([a.scores, b.scores]), target=np.concatenate([a.target, b.target]),
        rows=pd.concat([a.rows, rows], ignore_index=True),
    )  # fmt: skip


def test_circular_shift_test_pools_folds():
    whole = two_people(0.7, n=(9, 9))
    parts = [replace(whole, scores=whole.scores[own], target=whole.target[own],
                     rows=whole.rows[own].reset_index(drop=True))
             for own in (np.arange(18) < 9, np.arange(18) >= 9)]  # fmt: skip
    pd.testing.assert_series_equal(circular_shift_test(parts), circular_shift_test(whole))


def test_circular_shift_test_p_of_noise_is_uniform():
    p = np.array([circular_shift_test(two_people(seed=seed))["p"] for seed in range(300)])
    for level in (0.05, 0.1, 0.25, 0.5):
        assert np.mean(p <= level) <= level + 2.6 * np.sqrt(level * (1 - level) / 300)
    assert 0.4 < p.mean() < 0.7
    known = circular_shift_test(two_people(50.0))
    assert known["top_k"] == 1
    assert known["p"] == known["smallest_p"] == 1 / 54


def test_circular_shift_test_needs_times():
    answers = two_people()
    with pytest.raises(ValueError, match=r"rows of results 0 lack \['onset'\]"):
        circular_shift_test(replace(answers, rows=answers.rows.drop(columns="onset")))
