"""Tests of estimators within the tools of scikit-learn."""

import copy
import pickle

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, cross_validate, learning_curve
from sklearn.pipeline import Pipeline

from sk_b2s import LeaveOneSubjectOut, StimulusKFold, StimulusLeakWarning, retrieval_scores

pytestmark = pytest.mark.filterwarnings("ignore:make_segments left out")


@pytest.fixture(scope="module")
def fitted(listening, tiny_pipeline):
    X, y = listening
    train, test = next(StimulusKFold(3).split(X, y))
    pipe = tiny_pipeline(max_epochs=12).fit(X.iloc[train], y.iloc[train])
    return pipe, X.iloc[test], y.iloc[test], X.iloc[train], y.iloc[train]


def test_pipeline_decodes_unseen_stimuli(fitted):
    pipe, X, y, *_ = fitted
    scores = retrieval_scores(pipe, X, y)
    assert scores["top_1"] > 0.5
    assert scores["chance"] == 5 / scores["n_candidates"] < 0.25
    assert scores["top_k"] == pipe.score(X, y)


def test_shuffled_pairs_are_at_chance(listening, tiny_pipeline):
    X, y = listening
    train, test = next(StimulusKFold(3).split(X, y))
    rng = np.random.default_rng(0)
    shuffled = y.iloc[rng.permutation(train)].set_axis(train)  # with their own index they would be refused
    pipe = tiny_pipeline(max_epochs=12).fit(X.iloc[train], shuffled)
    scores = retrieval_scores(pipe, X.iloc[test], y.iloc[test])
    chance, n_segments = scores["chance"], scores["n_candidates"]
    assert abs(scores["top_k"] - chance) < 4 * np.sqrt(chance * (1 - chance) / n_segments)


def test_predict_returns_candidate_segments(fitted):
    pipe, X, y, *_ = fitted
    predicted = pipe.predict(X, candidates=y)
    assert set(predicted) <= set(y["segment"])
    assert (predicted == y["segment"]).mean() == retrieval_scores(pipe, X, y)["top_1"]
    proba = pipe.predict_proba(X, candidates=y)
    assert proba.shape == (len(X), y["segment"].nunique())
    np.testing.assert_allclose(proba.sum(1), 1)
    assert (y["segment"].unique()[proba.argmax(1)] == predicted).all()


def test_candidates_default_to_fit(fitted):
    pipe, X, _, _, y_train = fitted
    assert set(pipe.predict(X)) <= set(y_train["segment"])
    assert len(pipe[-1].segments_) == y_train["segment"].nunique()


def test_routing_of_candidates_and_weights(fitted):
    pipe, X, y, *_ = fitted
    found, _ = pipe[-1].ranks(pipe[:-1].transform(X), y)
    weight = np.where(found == 0, 1.0, 7.0) + np.arange(len(X)) / len(X)
    pipe = copy.deepcopy(pipe).set_params(encoder__k=1)
    plain = pipe.predict(X, candidates=y), pipe.score(X, y, sample_weight=weight)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = pipe.predict(X, candidates=y), pipe.score(X, y, sample_weight=weight)
    np.testing.assert_array_equal(plain[0], routed[0])
    assert plain[1] == routed[1] == pytest.approx(np.average(found == 0, weights=weight))


def test_transform_is_independent_of_other_rows(fitted):
    pipe, X, y, *_ = fitted
    whole = pipe.transform(X)
    part = pipe.transform(X.iloc[5:9])
    np.testing.assert_allclose(part, whole[5:9], rtol=1e-4, atol=1e-5)
    order = np.random.default_rng(0).permutation(len(X))
    assert pipe.score(X.iloc[order], y.iloc[order]) == pipe.score(X, y)


@pytest.mark.parametrize("change", ["index", "column", "clone"])
def test_transform_ignores_index_and_columns(fitted, change):
    pipe, X, y, *_ = fitted
    before = pipe.transform(X)
    if change == "index":
        X = X.set_axis(np.arange(len(X))[::-1] + 1000)
    elif change == "column":
        X = X.assign(mood="calm")
    else:
        assert clone(pipe).get_params().keys() == pipe.get_params().keys()
    np.testing.assert_array_equal(pipe.transform(X), before)


def test_pickle_is_complete_and_small(fitted):
    pipe, X, y, *_ = fitted
    data = pickle.dumps(pipe)
    parameters = 4 * sum(p.numel() for p in pipe[-1].net_.module_.parameters())
    assert len(data) < parameters + 300_000, "weights and tables, no samples, no optimizer"
    np.testing.assert_array_equal(pickle.loads(data).predict(X, candidates=y), pipe.predict(X, candidates=y))
    windows = pipe[:-1].transform(X)
    assert len(pickle.dumps(windows)) < 0.05 * windows.nbytes


@pytest.mark.slow
def test_cross_val_score_with_two_jobs(listening, tiny_pipeline):
    X, y = listening
    pipe = tiny_pipeline()
    one = cross_val_score(pipe, X, y, cv=StimulusKFold(3))
    with joblib.parallel_config("multiprocessing"):  # loky's processes are those of test_fits.py
        two = cross_val_score(pipe, X, y, cv=StimulusKFold(3), n_jobs=2)
    np.testing.assert_array_equal(one, two)


def test_leave_one_subject_out(listening, tiny_pipeline):
    X, y = listening
    scores = cross_val_score(tiny_pipeline(), X, y, cv=LeaveOneSubjectOut(stimulus_folds=3))
    assert scores.shape == (6,)


class Counting(TransformerMixin, BaseEstimator):
    calls = 0

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        Counting.calls += 1
        return X


def test_cross_validate_of_several_scores(listening, tiny_pipeline):
    X, y = listening
    pipe = tiny_pipeline()
    pipe = Pipeline([("count", Counting()), *pipe.steps])
    Counting.calls = 0
    results = cross_validate(pipe, X, y, cv=StimulusKFold(3), scoring=retrieval_scores)
    assert Counting.calls == 2 * 3, "one in fit and one in scoring for each fold"
    assert {"test_top_1", "test_top_k", "test_median_relative_rank", "test_n_candidates"} <= set(results)


@pytest.mark.slow
def test_nested_search_of_all_steps(listening, tiny_pipeline):
    X, y = listening
    grid = {
        "epochs__lag": [0.0, 0.15],
        "encoder__speech__melspectrogram__n_mels": [4, 8],
        "encoder__lr": [1e-3],
    }
    search = GridSearchCV(tiny_pipeline(max_epochs=1), grid, cv=StimulusKFold(2))
    results = cross_validate(search, X, y, cv=StimulusKFold(2), return_estimator=True)
    assert results["test_score"].shape == (2,)
    search = results["estimator"][0]
    assert len(search.cv_results_["params"]) == 4
    assert set(search.predict(X[:3])) <= set(y["segment"])


@pytest.mark.slow
def test_learning_curve(listening, tiny_pipeline):
    X, y = listening
    sizes, train, test = learning_curve(
        tiny_pipeline(max_epochs=1), X, y, cv=StimulusKFold(2), train_sizes=[0.5, 1.0],
        shuffle=True, random_state=0,
    )  # fmt: skip
    assert test.shape == (2, 2)
    assert sizes[0] < sizes[1]


def test_groups_are_passed(listening, tiny_pipeline):
    X, y = listening
    halves = (y["sound_onset"] > y["sound_onset"].median()).to_numpy()
    scores = cross_val_score(tiny_pipeline(), X, y, cv=StimulusKFold(2), groups=halves)
    assert scores.shape == (2,)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = cross_val_score(tiny_pipeline(), X, y, cv=StimulusKFold(2), params={"groups": halves})
    np.testing.assert_array_equal(scores, routed)


def test_split_by_rows_warns(listening, tiny_pipeline):
    X, y = listening
    with pytest.warns(
        StimulusLeakWarning, match=r"of \d+ scored windows contain stimuli .* was fitted on \(alice"
    ):
        cross_val_score(tiny_pipeline(max_epochs=1), X, y, cv=KFold(2, shuffle=True, random_state=0))
