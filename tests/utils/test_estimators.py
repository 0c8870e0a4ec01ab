"""Walk through nested estimators."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import VotingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_b2s import CalibratedDecoder, RidgeDecoder, SpeechReconstructor
from sk_b2s._utils._estimators import (
    find_decoder_in_estimator,
    find_innermost_estimator,
    iter_estimator_levels,
    iter_nested_estimators,
    make_estimator_fit_params,
    replace_innermost_estimator,
    unwrap_decoder_of_estimator,
    unwrap_innermost_estimator,
)

FOLDS = [(np.arange(10), np.arange(10, 20)), (np.arange(10, 20), np.arange(10))]
WRAPPERS = {
    "decoder": lambda d: d,
    "pipeline": lambda d: make_pipeline(Doubled(), d),
    "pipeline of one step": lambda d: make_pipeline(d),
    "nested pipelines": lambda d: make_pipeline(Doubled(), make_pipeline(Doubled(), d)),
    "search": lambda d: GridSearchCV(d, {"k": [2, 3]}, cv=FOLDS),
    "search of a pipeline": lambda d: GridSearchCV(make_pipeline(Doubled(), d), {"ridgedecoder__k": [2]}, cv=FOLDS),
    "pipeline of a search": lambda d: make_pipeline(Doubled(), GridSearchCV(d, {"k": [2]}, cv=FOLDS)),
    "calibrated": lambda d: CalibratedDecoder(d, "none"),
    "calibrated pipeline": lambda d: CalibratedDecoder(make_pipeline(Doubled(), d), "none"),
}  # fmt: skip
N_DOUBLED = {"pipeline": 1, "nested pipelines": 2, "search of a pipeline": 1, "pipeline of a search": 1,
             "calibrated pipeline": 1}  # fmt: skip


class Doubled(TransformerMixin, BaseEstimator):
    """Double X."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return 2 * X


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20, 3, 12))
    return X, X[:, :2] + 0.1


@pytest.fixture(scope="module", params=WRAPPERS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def fitted(name, data):
    return WRAPPERS[name](RidgeDecoder(lags=(0, 0), alphas=[1.0], sfreq=10.0, k=2)).fit(*data)


@pytest.fixture(params=["as fitted", "frozen"])
def wrapped(request, fitted):
    return FrozenEstimator(fitted) if request.param == "frozen" else fitted


def test_find_decoder_in_estimator_of_fitted_wrapper(wrapped):
    decoder, prefix = find_decoder_in_estimator(wrapped, fitted=True)
    assert type(decoder) is RidgeDecoder
    assert decoder.alpha_ is not None
    assert (
        decoder
        is list(iter_estimator_levels(wrapped))[-1]
        is find_innermost_estimator(wrapped, fitted=True)[0]
    )
    assert not prefix or prefix.endswith("__")


def test_find_decoder_in_estimator_of_unfitted_wrapper(fitted):
    estimator = clone(fitted)
    decoder, prefix = find_decoder_in_estimator(estimator)
    assert not hasattr(decoder, "alpha_")
    assert f"{prefix}k" in estimator.get_params()
    estimator.set_params(**{f"{prefix}k": 7})
    assert find_decoder_in_estimator(estimator)[0].k == 7


def test_unwrap_decoder_transforms_windows(wrapped, name, data):
    decoder, X = unwrap_decoder_of_estimator(wrapped, data[0], "it")
    np.testing.assert_array_equal(X, data[0] * 2 ** N_DOUBLED.get(name, 0))
    assert type(decoder) is RidgeDecoder
    np.testing.assert_array_equal(decoder.ranks(X, data[1])[0], wrapped_ranks(wrapped, data))


def wrapped_ranks(wrapped, data):
    last, X = unwrap_innermost_estimator(wrapped, data[0])
    return last.ranks(X, data[1])[0]


def test_iter_nested_estimators_ends_at_decoder(wrapped):
    parts = list(iter_nested_estimators(wrapped))
    assert parts[0] is wrapped
    assert parts[-1] is find_innermost_estimator(wrapped, fitted=True)[0]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda one: FeatureUnion([("one", one), ("none", "drop")]),
        lambda one: ColumnTransformer([("one", make_pipeline(one), [0])], remainder="passthrough"),
        lambda one: make_pipeline(FeatureUnion([("one", one)]), RidgeDecoder()),
        lambda one: GridSearchCV(make_pipeline(ColumnTransformer([("one", one, [0])]), Ridge()), {}),
        lambda one: VotingRegressor([("one", make_pipeline(one, Ridge()))]),
        lambda one: TransformedTargetRegressor(make_pipeline(one, Ridge()), transformer=StandardScaler()),
        lambda one: SpeechReconstructor(make_pipeline(one, RidgeDecoder())),
    ],
    ids=["union", "columns", "pipeline", "search", "voting", "target", "reconstructor"],
)
def test_iter_nested_estimators_finds_parts(wrap):
    part = Doubled()
    assert [one for one in iter_nested_estimators(wrap(part)) if isinstance(one, Doubled)] == [part]


def test_iter_nested_estimators_prefers_fitted_parts(data):
    X, y = data[0][:, 0], data[1][:, 0, 0]
    columns = ColumnTransformer([("one", Doubled(), [0])]).fit(X)
    voting = VotingRegressor([("one", make_pipeline(Doubled(), Ridge()))]).fit(X, y)
    for estimator in (columns, voting):
        (part,) = (one for one in iter_nested_estimators(estimator) if isinstance(one, Doubled))
        assert part.fitted_


def test_replace_innermost_estimator_keeps_original(wrapped, data):
    decoder, _ = find_innermost_estimator(wrapped, fitted=True)
    other = clone(decoder).set_params(k=5).fit(*data)
    copied = replace_innermost_estimator(wrapped, other)
    assert find_innermost_estimator(copied, fitted=True)[0] is other
    assert find_innermost_estimator(wrapped, fitted=True)[0] is decoder


@pytest.mark.parametrize("wrap", ["transformed target", "ridge", "passthrough"])
def test_find_decoder_in_estimator_refuses_others(wrap, data):
    estimator = {
        "transformed target": TransformedTargetRegressor(RidgeDecoder(), transformer=StandardScaler()),
        "ridge": make_pipeline(StandardScaler(), Ridge()),
        "passthrough": Pipeline([("none", "passthrough")]),
    }[wrap]
    with pytest.raises(TypeError, match="must be a decoder"):
        find_decoder_in_estimator(estimator)
    with pytest.raises(TypeError, match="score needs a decoder"):
        unwrap_decoder_of_estimator(estimator, data[0], "score")


@pytest.mark.parametrize(
    ("wrap", "expected"),
    [
        (lambda d: d, "calibration"),
        (lambda d: make_pipeline(Doubled(), d), "calibrateddecoder__calibration"),
        (lambda d: GridSearchCV(make_pipeline(Doubled(), d), {}), "calibrateddecoder__calibration"),
        (lambda d: d.estimator, None),
    ],
    ids=["calibrated", "pipeline", "search of a pipeline", "decoder"],
)
def test_make_estimator_fit_params_prefix(wrap, expected):
    params = make_estimator_fit_params(wrap(CalibratedDecoder(RidgeDecoder())), np.ones(2, bool))
    assert list(params) == ([] if expected is None else [expected])
