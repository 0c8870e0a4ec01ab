"""Tests of own candidates of each window, as in match-mismatch."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from helpers.decoders import ONE, people
from sklearn.base import clone
from sklearn.model_selection import cross_validate

from sk_b2s import (
    EnsembleDecoder,
    LikelihoodDecoder,
    RowCandidates,
    StimulusKFold,
    circular_shift_test,
    concat_results,
    retrieval_scores,
    retrieve,
)
from sk_b2s.decoding._candidates import find_distinct_candidates
from sk_b2s.decoding._retrieval._row_candidates import locate_row_candidate_stimuli, make_row_candidate_sets
from sk_b2s.decoding._retrieval._row_result import make_row_retrieval_result
from sk_b2s.decoding._retrieval._row_scores import GROUP, compute_row_scores
from sk_b2s.plotting import plot_ranks, plot_similarity, plot_words

PAIRS, FIVE = RowCandidates(2, "balanced"), RowCandidates(5, "balanced")
RULES = [2, 5, PAIRS, FIVE, RowCandidates(2, "next"), RowCandidates(3, within=None, gap=0)]


@pytest.fixture(scope="module")
def data():
    """Windows of 3 s every second: (X_train, y_train, X_test, y_test)."""
    X, y = people(n_recordings=4, n=60)
    half = len(X) // 2
    return X[:half], y.iloc[:half], X[half:], y.iloc[half:].reset_index(drop=True)


@pytest.fixture(scope="module")
def fitted(data):
    return clone(ONE).fit(*data[:2])


def score_candidates(data, rule, score):
    """Make a result of similarities that are computed from candidates."""
    X, y = data[2:]
    found, line = find_distinct_candidates(y), locate_row_candidate_stimuli(y, y)
    rows = X.rows.reset_index(drop=True)
    sets = make_row_candidate_sets(rule, found, rows, line)
    scored = compute_row_scores(score, sets, found, rows, line)
    return make_row_retrieval_result(scored, y.iloc[found.first], rows, 1)


# --- rules -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_row_scores_are_those_of_the_full_matrix(data, fitted, rule):
    full, few = retrieve(fitted, *data[2:]), retrieve(fitted, *data[2:], candidates_per_row=rule)
    expected = np.take_along_axis(full.scores[few.kept], few.columns, axis=1)
    np.testing.assert_allclose(few.scores, expected, rtol=1e-4, atol=1e-5)
    rows = np.arange(len(few.rows))
    np.testing.assert_array_equal(few.columns[rows, few.target], full.target[few.kept])
    pd.testing.assert_frame_equal(few.rows, full.rows.iloc[few.kept].reset_index(drop=True))
    assert few.top_k() > 2 * few.chance - 0.4
    assert (np.diff(few.columns, axis=1) > 0).all()


@pytest.mark.parametrize(("rule", "step"), [(PAIRS, 4), (FIVE, 4)], ids=["pairs", "five"])
def test_balanced_candidates_are_each_target_once(data, fitted, rule, step):
    found = retrieve(fitted, *data[2:], candidates_per_row=rule)
    sets = pd.Series(list(map(tuple, found.columns))).value_counts()
    assert (sets == rule.n_candidates).all()
    targets = found.columns[np.arange(len(found.rows)), found.target]
    assert len(set(targets)) == len(targets)
    onset = found.candidates["sound_onset"].to_numpy()[found.columns]
    np.testing.assert_allclose(np.diff(onset, axis=1), step, atol=0.2)  # 3 s and a gap of 1 s


def test_next_candidate_begins_gap_after_target(data, fitted):
    found = retrieve(fitted, *data[2:], candidates_per_row=RowCandidates(2, "next"))
    onset = found.candidates["sound_onset"].to_numpy()[found.columns]
    np.testing.assert_allclose(onset[:, 1] - onset[:, 0], 4, atol=0.2)
    assert (found.target == 0).all()


def test_windows_without_candidates_are_counted(data, fitted):
    found = retrieve(fitted, *data[2:], candidates_per_row=RowCandidates(2, "next"))
    assert found.n_left_out == 2 * 4  # the last four of either recording
    assert found.summary(n_shifts=0)["n_left_out"] == found.n_left_out
    assert found.summary(n_shifts=0)["n_windows"] + found.n_left_out == len(data[2])


def test_match_restricts_candidates(data, fitted):
    X, y = data[2], data[3].assign(kind=np.arange(len(data[3])) % 3)
    found = retrieve(fitted, X, y, candidates_per_row=RowCandidates(4, match="kind"))
    kinds = found.candidates["kind"].to_numpy()[found.columns]
    assert (kinds == kinds[:, :1]).all()


# --- preferences without neural data -----------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1], ids=["later", "earlier"])
@pytest.mark.parametrize("rule", [PAIRS, FIVE], ids=["pairs", "five"])
def test_preference_is_at_chance_if_balanced(data, rule, sign):
    onset = sign * data[3]["sound_onset"].to_numpy()
    found = score_candidates(data, rule, lambda rows, columns: np.tile(onset[columns], (len(rows), 1)))
    assert found.top_k() == pytest.approx(found.chance, abs=1e-12)


def test_column_position_is_at_chance_if_balanced(data):
    found = score_candidates(data, PAIRS, lambda rows, columns: np.zeros((len(rows), len(columns))))
    assert (found.target == 0).mean() == 0.5
    assert found.top_k() == 0.0  # ties are errors


@pytest.mark.parametrize(("sign", "score"), [(1, 0.0), (-1, 1.0)], ids=["later", "earlier"])
def test_null_has_preferences_of_rule_next(data, sign, score):
    onset = sign * data[3]["sound_onset"].to_numpy()
    rule = RowCandidates(2, "next")
    found = score_candidates(data, rule, lambda rows, columns: np.tile(onset[columns], (len(rows), 1)))
    assert found.top_k() == score
    null = found.null(n_shifts=200)
    assert abs(null.mean() - score) < 0.05
    assert np.quantile(null, 0.025) <= found.top_k() <= np.quantile(null, 0.975)


def test_null_of_noise_is_at_chance(data):
    random = np.random.default_rng(0)
    found = score_candidates(data, FIVE, lambda rows, columns: random.normal(size=(len(rows), len(columns))))
    null = found.null(n_shifts=200)
    assert abs(null.mean() - 0.2) < 0.03
    assert np.quantile(null, 0.01) <= found.top_k() <= np.quantile(null, 0.99)


def test_null_leaves_out_own_stimulus(data):
    onset = data[3]["sound_onset"].to_numpy()
    found = score_candidates(data, PAIRS, lambda rows, columns: -abs(onset[rows, None] - onset[columns]))
    assert found.top_k() == 1.0
    inner = np.flatnonzero(found.group == found.group[0])[:-3]
    assert (found.null_ranks[inner, :3] == -1).all()  # windows of 3 s every second
    assert (found.null_ranks >= 0).any()


# --- cost --------------------------------------------------------------------------------------------


def test_random_candidates_are_equally_frequent():
    rows = pd.DataFrame({"subject": "a", "recording": "r", "onset": np.arange(40.0), "duration": 2.0})
    y = pd.DataFrame({"segment": np.arange(40)})
    found, count = find_distinct_candidates(y), np.zeros((40, 40))
    for seed in range(200):
        sets = make_row_candidate_sets(RowCandidates(4, gap=1.0, random_state=seed), found, rows, None)
        np.add.at(count, (sets.kept[:, None], sets.columns), 1)
    apart = abs(np.subtract.outer(range(40), range(40)))
    assert (count[(apart > 0) & (apart < 3)] == 0).all()
    shares = count[20, apart[20] >= 3] / 200
    np.testing.assert_allclose(shares, 3 / 35, atol=0.08)
    most = make_row_candidate_sets(
        RowCandidates(36, gap=1.0), found, rows, None
    )  # all others, for inner windows
    assert set(most.kept) == set(range(40))


def test_score_candidate_sets_is_linear_in_windows():
    shapes, n = [], 1000
    y = pd.DataFrame({"segment": np.arange(n)})
    rows = pd.DataFrame({"subject": "s", "recording": "r", "onset": np.arange(n), "duration": 3.0})
    found, line = find_distinct_candidates(y), (np.zeros(n, int), np.arange(n), np.arange(n) + 3.0)

    def score(own, columns):
        shapes.append((len(own), len(columns)))
        return np.zeros((len(own), len(columns)), np.float32)

    scored = compute_row_scores(score, make_row_candidate_sets(PAIRS, found, rows, line), found, rows, line)
    assert np.max(shapes, axis=0).tolist() <= [GROUP, 2 * GROUP]
    assert scored.null_ranks.shape[1] <= GROUP


# --- lists and invalid rules -------------------------------------------------------------------------


def test_retrieve_takes_lists_of_rows(data, fitted):
    X, y = data[2:]
    given = np.c_[np.arange(len(y)), (np.arange(len(y)) + 7) % len(y)]
    given[0] = -1
    found = retrieve(fitted, X, y, candidates_per_row=given)
    assert found.n_left_out == 1
    np.testing.assert_array_equal(found.columns, np.sort(given[1:], axis=1))
    assert fitted.score(X, y, candidates_per_row=given) == found.top_k()
    weight = (np.arange(len(y)) == 5).astype(float)
    assert fitted.score(X, y, weight, given) == float(found.ranks[4] == 0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda n: np.zeros((n, 2), int), "its own segment is not a candidate"),
        (lambda n: np.full((n, 2), n), "must contain rows of y"),
        (lambda n: np.zeros((n, 2)), "RowCandidates, or integers"),
        (lambda n: [[0], *[[1, 2]] * (n - 1)], "RowCandidates, or integers"),
        (lambda n: np.c_[np.arange(n), np.arange(n)], "a candidate twice"),
        (lambda n: np.full((n, 2), -1), "No window has 2 candidates"),
        (lambda n: RowCandidates(2, "balanced", gap=500), "No window has 2 candidates"),
        (lambda n: RowCandidates(2, match="voice"), "no columns"),
        (lambda n: RowCandidates(2, within="voice"), "no such column"),
    ],
    ids=["own", "range", "float", "ragged", "twice", "none", "far", "match", "within"],
)
def test_retrieve_rejects_candidates_per_row(data, fitted, given, message):
    with pytest.raises(ValueError, match=message):
        retrieve(fitted, *data[2:], candidates_per_row=given(len(data[2])))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_candidates": 1}, "n_candidates"),
        ({"rule": "first"}, "rule must be"),
        ({"gap": -1}, "gap must be"),
        ({"match": None}, "match must be"),
        ({"match": [1]}, "match must be"),
        ({"random_state": "a"}, "random_state must be"),
        ({"within": 3}, "within must be"),
    ],
    ids=["n", "rule", "gap", "match", "matches", "seed", "within"],
)
def test_row_candidates_rejects_options(options, message):
    with pytest.raises(ValueError, match=message):
        RowCandidates(**options)


def test_row_result_refuses_common_candidates(data, fitted):
    found = retrieve(fitted, *data[2:], candidates_per_row=2)
    for name in ("average", "pool_groups", "score_words", "score_within_recording"):
        with pytest.raises(AttributeError, match=f"{name} compares all windows with the same candidates"):
            getattr(found, name)
    with pytest.raises(ValueError, match="own candidates"):
        concat_results([found])
    for plot in (plot_similarity, plot_words):
        with pytest.raises(ValueError, match="each window of this result has its own"):
            plot(found)
    assert len(plot_ranks(found).patches)


# --- estimators and scorers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "decoder",
    [
        LikelihoodDecoder(speech=ONE.speech, lags=(0, 0), k=1),
        EnsembleDecoder([("one", ONE), ("two", clone(ONE))], weights="equal"),
    ],
    ids=["likelihood", "ensemble"],
)
def test_decoders_score_row_candidates(data, decoder):
    found = retrieve(clone(decoder).fit(*data[:2]), *data[2:], candidates_per_row=FIVE)
    assert found.top_k(1) > 0.5
    part = found.select(found.rows["recording"] == found.rows["recording"].iloc[0])
    assert part.by_subject().shape == (1, 3)
    assert circular_shift_test(found, n_shifts=99)["p"] <= 0.02


def test_retrieval_scores_take_candidates_per_row(data):
    scorer = partial(retrieval_scores, candidates_per_row=PAIRS)
    found = cross_validate(clone(ONE), *data[:2], cv=StimulusKFold(2), scoring=scorer)
    assert (found["test_chance"] == 0.5).all()
    assert found["test_top_k"].mean() > 0.7
