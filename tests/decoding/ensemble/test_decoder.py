"""Tests of EnsembleDecoder."""

import pickle
import warnings

import numpy as np
import pytest
from helpers.decoders import Adapting, planted, tiny_encoder
from scipy.special import softmax
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline

from sk_b2s import (
    CalibratedDecoder,
    EnsembleDecoder,
    Epocher,
    FeatureScaler,
    MelSpectrogram,
    PrecomputedFeatures,
    RidgeDecoder,
    StimulusKFold,
    StimulusLeakWarning,
    Windows,
    benchmark,
    load,
    retrieval_scores,
    retrieve,
    run_controls,
    save,
)
from sk_b2s.decoding._ensemble._members import seed_ensemble_member
from sk_b2s.decoding._ensemble._weights import learn_ensemble_weights
from sk_b2s.metrics._confidence import compute_confidence_loss
from sk_b2s.preprocessing._windows._signals import load_signal

SPEECH = make_pipeline(PrecomputedFeatures(), FeatureScaler())


class Channels(TransformerMixin, BaseEstimator):
    """Selection of channels."""

    def __init__(self, first=0, last=None):
        self.first = first
        self.last = last

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return Windows([load_signal(s)[:, self.first : self.last] for s in X.signals], X.which, X.start, X.n_read, X.sfreq,
                       rows=X.rows)  # fmt: skip


class Drawing(RidgeDecoder):
    """Ridge decoder on random features of the channels."""

    _parameter_constraints = {**RidgeDecoder._parameter_constraints, "random_state": "no_validation"}

    def __init__(self, speech=None, lags=(0, 0), alphas=(1.0,), k=5, random_state=None):
        super().__init__(speech=speech, lags=lags, alphas=alphas, k=k)
        self.random_state = random_state

    def fit(self, X, y):
        super().fit(X, y)
        rng = np.random.RandomState(self.random_state)
        self.coef_ = self.coef_ * (1 + rng.standard_normal(self.coef_.shape)).astype("f4")
        return self


def member(first=0, last=None, speech=SPEECH):
    return make_pipeline(Channels(first, last), RidgeDecoder(speech=speech, lags=(0, 0), alphas=(1.0,)))


MEMBERS = [("a", member(0, 2)), ("b", member(2, 4))]


@pytest.fixture(scope="module")
def data():
    """Channels 0 to 3 contain one feature each, 4 and 5 only noise."""
    X, y = planted(0.0, 0.25, n_recordings=4, n=90)
    train, test = next(StimulusKFold(4).split(X, y))
    return X[train], y.iloc[train], X[test], y.iloc[test]


@pytest.fixture(scope="module")
def fitted(data):
    return EnsembleDecoder([*MEMBERS, ("noise", member(4))], k=5).fit(*data[:2])


def standardize(scores):
    return (scores - scores.mean(1, keepdims=True)) / scores.std(1, keepdims=True)


# --- similarities ------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["equal", (1, 0.6)], ids=["equal", "numbers"])
def test_similarity_is_sum_of_standardized(data, weights):
    X, y, X_test, y_test = data
    ensemble = EnsembleDecoder(MEMBERS, weights, k=5).fit(X, y)
    numbers = (0.5, 0.5) if weights == "equal" else weights
    alone = [clone(one).fit(X, y) for _, one in MEMBERS]
    expected = sum(
        w * standardize(retrieve(one, X_test, y_test).scores) for w, one in zip(numbers, alone, strict=True)
    )
    np.testing.assert_allclose(ensemble.similarity(X_test, y_test), expected, rtol=1e-4, atol=1e-5)
    found = retrieve(ensemble, X_test, y_test)
    np.testing.assert_array_equal(found.scores, ensemble.similarity(X_test, y_test))
    assert found.k == 5
    best = y_test["segment"].unique()[expected.argmax(1)]
    np.testing.assert_array_equal(ensemble.predict(X_test, y_test), best)
    np.testing.assert_allclose(ensemble.predict_proba(X_test, y_test), softmax(expected, 1), rtol=1e-4)
    assert ensemble.summary_["inner_top_1"].isna().all()
    assert ensemble.summary_["n_fits"].tolist() == [1, 1, 2]


def test_ensemble_beats_its_members(data, fitted):
    _, _, X_test, y_test = data
    scores = retrieval_scores(fitted, X_test, y_test)
    alone = [retrieval_scores(one, X_test, y_test)["top_1"] for one in fitted.named_estimators_.values()]
    assert scores["top_1"] > 1.3 * max(alone)
    assert fitted.score(X_test, y_test) == scores["top_k"]
    weights = dict(zip("abn", fitted.weights_, strict=True))
    assert weights["n"] < 0.1 * weights["a"]
    assert 0.5 < weights["a"] / weights["b"] < 2, "both members have two of four features"
    summary = fitted.summary_
    assert summary.index.tolist() == ["a", "b", "noise", "ensemble"]
    assert summary["n_fits"].tolist() == [2, 2, 2, 6]
    assert summary["n_parameters"].tolist() == [12, 12, 12, 36], "2 channels x 4 features + 4 intercepts"
    assert summary.loc["ensemble", "inner_top_k"] == summary["inner_top_k"].max()
    assert summary["seconds"].iloc[:3].sum() == pytest.approx(summary["seconds"].iloc[3])


def test_probabilities_are_calibrated(data, fitted):
    _, _, X_test, y_test = data
    proba = fitted.predict_proba(X_test, y_test)
    hit = fitted.predict(X_test, y_test) == y_test["segment"]
    assert proba.max(1).mean() == pytest.approx(hit.mean(), abs=0.12)


def test_default_candidates_are_those_of_fit(data, fitted):
    X, y, X_test, _ = data
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert set(fitted.predict(X[:9])) <= set(y["segment"])
    with pytest.warns(UserWarning, match="compared with the .* segments of fit"):
        fitted.predict(X_test)
    with pytest.warns(StimulusLeakWarning, match="this EnsembleDecoder was fitted on"):
        retrieve(fitted, X[:9], y[:9])


def test_ensemble_has_no_transform(fitted):
    assert not hasattr(fitted, "transform")
    with pytest.raises(AttributeError, match="members estimate different features"):
        fitted.transform(None)


# --- weights -----------------------------------------------------------------------------------------


def draw_scores(separations, n=400, n_candidates=50, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((len(separations), n, n_candidates)).astype("f4")
    target = rng.integers(n_candidates, size=n)
    scores[:, np.arange(n), target] += np.asarray(separations, "f4")[:, None]
    return scores, target


def test_loss_has_its_gradient():
    folds = [draw_scores([1, 0.5], 30, 8), draw_scores([1, 0.5], 20, 5, seed=1)]
    weights, step = np.array([0.7, 0.3]), 1e-5
    loss, gradient = compute_confidence_loss(weights, folds)
    by_hand = [
        -np.log(softmax(np.tensordot(weights, scores, 1), 1)[np.arange(len(target)), target])
        for scores, target in folds
    ]
    assert loss == pytest.approx(np.concatenate(by_hand).mean(), rel=1e-6)
    for axis in range(2):
        moved = weights + step * np.eye(2)[axis]
        slope = (compute_confidence_loss(moved, folds)[0] - loss) / step
        assert slope == pytest.approx(gradient[axis], abs=1e-4)


def test_learned_weights_are_separations():
    """For unit normals, the log-likelihood ratio is separation x score."""
    folds = [draw_scores([2, 1, -1], 1000), draw_scores([2, 1, -1], 1000, 20, seed=1)]
    np.testing.assert_allclose(learn_ensemble_weights(folds), [2, 1, 0], atol=0.15)


def test_learned_weights_of_noise_are_equal():
    with pytest.warns(ConvergenceWarning, match="No member .* above the chance level on the inner folds"):
        weights = learn_ensemble_weights([draw_scores([-1, -1])])
    assert weights[0] == weights[1] > 0, "candidates of equal similarity would count as errors"


class Remembering(RidgeDecoder):
    """Ridge decoder that records the segments of fits and candidates."""

    seen = []

    def fit(self, X, y):
        Remembering.seen.append(("fit", y))
        return super().fit(X, y)

    def similarity(self, X, candidates=None):
        Remembering.seen.append(("similarity", candidates))
        return super().similarity(X, candidates)


@pytest.mark.parametrize(
    ("cv", "n_folds"), [(None, 1), (3, 3), (StimulusKFold(2), 2)], ids=["one", "int", "splitter"]
)
def test_inner_folds_share_no_stimulus(data, cv, n_folds):
    X, y = data[:2]
    Remembering.seen = []
    decoder = Remembering(speech=SPEECH, lags=(0, 0), alphas=(1.0,))
    EnsembleDecoder([("a", decoder)], cv=cv).fit(X, y)
    fits = [table for kind, table in Remembering.seen if kind == "fit"]
    held = [table for kind, table in Remembering.seen if kind == "similarity"]
    assert len(fits) == 1 + n_folds
    assert len(fits[0]) == len(y)
    for train, test in zip(fits[1:], held, strict=True):
        assert not set(train["block"]) & set(test["block"])
        assert len(train) < len(y)


# --- seeds -------------------------------------------------------------------------------------------


def test_seeds_are_averaged(data):
    X, y, X_test, y_test = data
    members = [("net", Drawing(SPEECH, random_state=4)), ("ridge", clone(MEMBERS[0][1]))]
    ensemble = EnsembleDecoder(members, weights=[1, 0], n_seeds=3).fit(X, y)
    assert [len(copies) for copies in ensemble.estimators_] == [3, 1]
    assert [one.random_state for one in ensemble.estimators_[0]] == [4, 1004, 2004]
    assert ensemble.summary_["n_fits"].tolist() == [3, 1, 4]
    scores = [
        standardize(Drawing(SPEECH, random_state=s).fit(X, y).similarity(X_test, y_test))
        for s in (4, 1004, 2004)
    ]
    expected = standardize(np.mean(scores, 0))
    np.testing.assert_allclose(ensemble.similarity(X_test, y_test), expected, rtol=1e-4, atol=1e-5)


def test_seeds_of_random_state_and_none():
    nested = make_pipeline(Channels(), Drawing(random_state=np.random.RandomState(0)))
    drawn = np.random.RandomState(0).randint(2**31 - 1)
    assert seed_ensemble_member(nested, 2)[-1].random_state == drawn + 2000
    assert seed_ensemble_member(Drawing(), 2).random_state is None
    assert seed_ensemble_member(member(), 2)[-1].alphas == (1.0,)


# --- within the tools of scikit-learn and of this package --------------------------------------------


def test_members_with_and_without_own_steps(listening, tmp_path):
    """Pipelines on tables equal decoders behind shared steps."""
    X, y = listening
    train, test = next(StimulusKFold(3).split(X, y))
    mel = make_pipeline(MelSpectrogram(n_mels=4, sfreq=16, memory=str(tmp_path)), FeatureScaler())
    decoders = [
        (name, RidgeDecoder(speech=mel, lags=lags, alphas=(0.1,), n_components=8))
        for name, lags in (("early", (0, 0.1)), ("late", (0.1, 0.3)))
    ]
    epochs = Epocher(sfreq=16, memory=str(tmp_path))
    behind = Pipeline([("epochs", epochs), ("ensemble", EnsembleDecoder(decoders, k=5))])
    around = EnsembleDecoder(
        [(name, Pipeline([("epochs", epochs), (name, one)])) for name, one in decoders], k=5
    )
    found = [
        retrieve(one.fit(X.iloc[train], y.iloc[train]), X.iloc[test], y.iloc[test])
        for one in (behind, around)
    ]
    np.testing.assert_array_equal(found[0].scores, found[1].scores)
    np.testing.assert_array_equal(behind[-1].weights_, around.weights_)
    assert found[0].top_k() > 2 * found[0].chance


def test_set_params_replaces_and_drops(data):
    X, y, X_test, y_test = data
    ensemble = EnsembleDecoder(MEMBERS, weights=(1, 2))
    ensemble = clone(ensemble).set_params(a="drop", b__ridgedecoder__alphas=(10.0,))
    assert ensemble.named_estimators.b[-1].alphas == (10.0,)
    assert MEMBERS[1][1][-1].alphas == (1.0,), "clone copies the members"
    ensemble.fit(X, y)
    assert list(ensemble.named_estimators_) == ["b"]
    assert ensemble.weights_.tolist() == [2]
    grid = {"weights": ["equal"], "b__ridgedecoder__alphas": [(1e-3,), (1e3,)]}
    search = GridSearchCV(EnsembleDecoder(MEMBERS), grid, cv=StimulusKFold(2)).fit(X, y)
    assert len(search.cv_results_["params"]) == 2
    assert retrieve(search, X_test, y_test).top_k() > 0.3


@pytest.mark.parametrize("way", ["save", "pickle"])
def test_fitted_ensemble_is_restored(data, tmp_path, way):
    X, y, X_test, y_test = data
    decoder = RidgeDecoder(speech=SPEECH, lags=(0, 0), alphas=(1.0,))
    network = tiny_encoder().set_params(max_epochs=1)
    ensemble = EnsembleDecoder([("ridge", decoder), ("net", network)], [1, 1], n_seeds=2).fit(X, y)
    assert ensemble.summary_.loc["net", "n_parameters"] > 2 * 16 * 16 * 3
    if way == "save":
        save(ensemble, tmp_path / "ensemble.safetensors")
        again = load(tmp_path / "ensemble.safetensors")
    else:
        again = pickle.loads(pickle.dumps(ensemble))
    expected = ensemble.similarity(X_test, y_test)
    np.testing.assert_array_equal(again.similarity(X_test, y_test), expected)
    assert again.summary_.equals(ensemble.summary_)
    with pytest.warns(StimulusLeakWarning):
        again.score(X[:20], y[:20])


def test_controls_replace_all_members(data, listening, tmp_path):
    X, y, *_ = data
    table = run_controls(
        EnsembleDecoder(MEMBERS, k=5), X, y, controls=["decoder", "white_noise"], n_shifts=50
    )
    assert table.loc["decoder", "top_k"] > table.loc["decoder", "null_high"]
    assert table.loc["white_noise", "top_k"] < 2.5 * table.loc["white_noise", "chance"]
    X, y = listening
    mels = [
        make_pipeline(Epocher(sfreq=16, memory=str(tmp_path)),
                      RidgeDecoder(speech=make_pipeline(MelSpectrogram(n, sfreq=16, memory=str(tmp_path)), FeatureScaler()),
                                   lags=(0, 0.2), alphas=(0.1,), n_components=8))
        for n in (2, 4)
    ]  # fmt: skip
    ensemble = EnsembleDecoder([("two", mels[0]), ("four", mels[1])], "equal", k=5)
    names = ["silence_truth", "envelope_only", "phase_randomized"]
    table = run_controls(ensemble, X, y, controls=names, n_shifts=20)
    assert table.index.tolist() == ["silence_truth", "envelope_only", "phase_randomized", "timing_only"]
    assert table.loc["phase_randomized", "verdict"] != "leak"


def test_benchmark_reports_members(data):
    X, y, *_ = data
    estimators = {"ensemble": EnsembleDecoder(MEMBERS, k=5), "one": MEMBERS[0][1]}
    table = benchmark(
        estimators,
        X,
        y,
        cv=StimulusKFold(3),
        controls=["white_noise"],
        n_shifts=20,
        verbose=0,
        n_candidates=None,
    )
    chosen = table[table["estimator"] == "ensemble"]["chosen"].iloc[0]
    assert "a: weight" in chosen
    assert "b: weight" in chosen
    assert (table["error"] == "").all()
    own = table.groupby("estimator")["top_1"].mean()
    assert own["ensemble"] > own["one"]


# --- adaptation --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def new_subject():
    """Two subjects, the second of which is new, and unseen stimuli."""
    X, y = planted(0.0, 0.7, n_recordings=2, n=60)
    rng = np.random.default_rng(0)
    X = X._replace(signals=[X.signals[0], (X.signals[1] @ rng.standard_normal((6, 6))).astype("f4")],
                   rows=X.rows.assign(subject="s" + X.rows["recording"].str[1:]))  # fmt: skip
    return X, y, np.arange(120) >= 60


def test_adapt_adapts_all_members(new_subject):
    X, y, is_new = new_subject
    members = [("a", Adapting(SPEECH)), ("b", Adapting(SPEECH, alphas=(10.0,)))]
    ensemble = EnsembleDecoder(members, "equal").fit(X[~is_new], y[~is_new])
    assert hasattr(EnsembleDecoder(members), "adapt")
    assert not hasattr(EnsembleDecoder([*members, ("ridge", member())]), "adapt")
    own, test = np.arange(60, 90), np.arange(95, 120)
    adapted = ensemble.adapt(X[own], y.iloc[own], method="layer")
    assert [copies[0].method_ for copies in adapted.estimators_] == ["layer", "layer"]
    expected = sum(
        0.5 * standardize(one.adapt(X[own], y.iloc[own]).similarity(X[test], y.iloc[test]))
        for one in ensemble.named_estimators_.values()
    )
    np.testing.assert_allclose(adapted.similarity(X[test], y.iloc[test]), expected, rtol=1e-4, atol=1e-5)
    assert len(ensemble.named_estimators_.a.subjects_) == 1, "the ensemble is left as it was"
    around = CalibratedDecoder(EnsembleDecoder(members, "equal"), "layer")
    rows = np.r_[:60, own]
    around.fit(X[rows], y.iloc[rows], calibration=is_new[rows])
    np.testing.assert_allclose(
        around.similarity(X[test], y.iloc[test]), adapted.similarity(X[test], y.iloc[test])
    )


def test_calibration_reaches_members(new_subject):
    X, y, is_new = new_subject
    members = [("own", CalibratedDecoder(member(), "scratch")), ("all", member())]
    ensemble = EnsembleDecoder(members).fit(X, y, calibration=is_new)
    assert ensemble.named_estimators_.own.n_calibration_ == 60
    assert len(ensemble.named_estimators_.own.decoder_.segments_) == 60
    assert ensemble.similarity(X[:2]).shape == (2, 120), "the candidates are those of the ensemble"


# --- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"estimators": []}, ValueError, "'estimators' parameter .* is empty"),
        ({"estimators": [("a", member()), ("a", member())]}, ValueError, "not unique"),
        ({"estimators": [("a", "drop")]}, ValueError, "All members .* are 'drop'"),
        ({"estimators": [("a", Channels())]}, TypeError, "Member 'a' .* must be a decoder"),
        ({"weights": [1]}, ValueError, r"'cv', 'equal' or 2 numbers .* Got \[1\] instead"),
        ({"weights": [1, -1]}, ValueError, "2 numbers of at least 0"),
        ({"weights": [0, 0]}, ValueError, "All weights .* are 0"),
        ({"n_seeds": 0}, ValueError, "'n_seeds' parameter"),
    ],
    ids=["empty", "names", "dropped", "no decoder", "few weights", "negative", "zero", "seeds"],
)
def test_fit_rejects_wrong_parameters(data, changes, error, match):
    with pytest.raises(error, match=match):
        EnsembleDecoder(**{"estimators": MEMBERS, **changes}).fit(*data[:2])


def test_fit_rejects_single_block(data):
    X, y, *_ = data
    y = y.assign(block=0)
    with pytest.raises(ValueError, match="requires inner folds .* 100|shorter blocks .* or weights='equal'"):
        EnsembleDecoder(MEMBERS).fit(X, y)
    EnsembleDecoder(MEMBERS, "equal").fit(X, y)


def test_verbose_prints_each_fit(data, capsys):
    EnsembleDecoder([("net", Drawing(SPEECH, random_state=0))], n_seeds=2, verbose=1).fit(*data[:2])
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "net, seed 1 of 2", "net, seed 2 of 2",
        "net, inner fold 1 of 1",
    ]  # fmt: skip
