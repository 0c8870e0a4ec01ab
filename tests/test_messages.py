"""Messages where a mistake used to surface far below, or not at all."""

import warnings

import numpy as np
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import ShuffleSplit, cross_val_predict, cross_val_score

from sk_b2s import (
    BrainEncoder,
    CovarianceRecentring,
    Epocher,
    FeatureScaler,
    ForwardTRF,
    RidgeDecoder,
    RobustChannelScaler,
    StimulusKFold,
    StimulusLeakWarning,
    Windows,
    benchmark,
)


@pytest.fixture(scope="module")
def ridge_on(listening):
    """A fitted ridge on the windows of the first half of the segments, with X as Windows."""
    X, y = listening
    windows = Epocher(sfreq=32, lag=0).fit_transform(X)
    features = np.random.default_rng(0).standard_normal((len(y), 2, 96)).astype("f4")
    y_windows = Windows.from_array(features, rows=y, sfreq=32)
    return RidgeDecoder(k=2, alphas=(1.0,)), windows, y_windows


def test_predict_warns_that_default_candidates_are_those_of_fit(ridge_on):
    ridge, X, y = ridge_on
    train, test = next(StimulusKFold(2).split(X, y))
    ridge.fit(X[train], y[train])
    with pytest.warns(
        UserWarning, match=rf"{len(test)} of {len(test)} windows were not in fit.*candidates=y"
    ):
        ridge.predict(X[test])
    with pytest.warns(UserWarning, match="default candidates"):
        ridge.predict_proba(X[test])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ridge.predict(X[train])
        ridge.predict(X[test], candidates=y[test])
        ridge.predict(X[test], candidates=ridge.segments_)


def test_cross_val_predict_is_not_silent(ridge_on):
    ridge, X, y = ridge_on
    with pytest.warns(UserWarning, match="every prediction is wrong"):
        cross_val_predict(ridge, X, y, cv=StimulusKFold(2))


def test_scorer_that_calls_predict_is_named(listening, tiny_pipeline):
    X, y = listening
    pipe = tiny_pipeline(max_epochs=1)
    with pytest.warns(UserWarning, match="scoring='accuracy'"), pytest.raises(TypeError):
        cross_val_score(pipe, X, y, cv=StimulusKFold(2), scoring="accuracy", error_score="raise")


@pytest.mark.parametrize(
    "estimator",
    [
        RidgeDecoder(sfreq=25), ForwardTRF(sfreq=25), BrainEncoder(), Epocher(), RobustChannelScaler(),
        CovarianceRecentring(), FeatureScaler(),
    ],
    ids=lambda e: type(e).__name__,
)  # fmt: skip
def test_windows_of_different_lengths_are_named(estimator):
    X = [np.zeros((4, 50 + i)) for i in range(30)]
    with pytest.raises(
        ValueError, match=r"one shape \(n_channels, n_times\), got \(4, 50\) in window 0 and \(4, 51\)"
    ):
        estimator.fit(X, np.zeros((30, 2, 50)))


def test_features_of_different_lengths_are_named():
    with pytest.raises(ValueError, match="all windows of y must have one shape"):
        RidgeDecoder(sfreq=25).fit(
            np.random.default_rng(0).random((3, 4, 50)),
            [np.zeros((2, 5)), np.zeros((2, 6)), np.zeros((2, 5))],
        )
    with pytest.raises(ValueError, match="all windows of data must have one shape"):
        Windows.from_array([np.zeros((2, 5)), np.zeros((2, 6))])


def test_frozen_estimator_runs_in_a_benchmark(ridge_on):
    ridge, X, y = ridge_on
    fitted = RidgeDecoder(k=2, alphas=(1.0,)).fit(X, y)
    with pytest.warns(UserWarning, match="gave warnings"):  # it was fitted on all of it
        table = benchmark(
            {"f": FrozenEstimator(fitted)}, X, y, StimulusKFold(2), k=2, controls=False, verbose=0
        )
    assert (table["error"] == "").all()


@pytest.mark.parametrize("kind", ["table", "array"])
def test_validation_that_shares_stimuli_with_training_is_named(listening, tiny_pipeline, kind):
    X, y = listening
    if kind == "table":
        pipe = tiny_pipeline(max_epochs=1, validation=ShuffleSplit(1, random_state=0))
        with pytest.warns(StimulusLeakWarning, match=r"leaves 27 of 27 validation windows"):
            pipe.fit(X, y)
        return
    rng = np.random.default_rng(0)
    encoder = BrainEncoder(
        hidden=4, depth=1, n_virtual_channels=4, spatial_attention=False, max_epochs=1, verbose=0, random_state=0,
        validation=ShuffleSplit(1, test_size=10, random_state=0), k=2,
    )  # fmt: skip
    twice = np.tile(rng.standard_normal((20, 2, 20)), (2, 1, 1))
    with pytest.warns(StimulusLeakWarning, match="of 10 validation windows"):
        encoder.fit(rng.standard_normal((40, 4, 20)), twice)


def test_honest_validation_is_silent(listening, tiny_pipeline):
    X, y = listening
    with warnings.catch_warnings():
        warnings.simplefilter("error", StimulusLeakWarning)
        for validation in (0.25, next_split(X, y)):
            tiny_pipeline(max_epochs=1, validation=validation).fit(X, y)


def next_split(X, y):
    """The first fold of a splitter of the package, as a splitter of one fold."""

    class First(StimulusKFold):
        def split(self, X, y=None, groups=None):
            yield next(super().split(X, y, groups))

    return First(3)
