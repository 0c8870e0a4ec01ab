"""Messages where a mistake used to surface far below, or not at all."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import ShuffleSplit, cross_val_predict, cross_val_score
from skorch.callbacks import Callback

from sk_b2s import (
    BrainEncoder,
    CovarianceAlignment,
    Epocher,
    FeatureScaler,
    ForwardTRF,
    RidgeDecoder,
    RobustChannelScaler,
    StimulusKFold,
    StimulusLeakWarning,
    Windows,
    benchmark,
    run_controls,
)


@pytest.fixture(scope="module")
def ridge_on(listening):
    """Fit a ridge decoder on the first half of the segments."""
    X, y = listening
    windows = Epocher(sfreq=32, lag=0).fit_transform(X)
    features = np.random.default_rng(0).standard_normal((len(y), 2, 96)).astype("f4")
    y_windows = Windows.from_array(features, rows=y, sfreq=32)
    return RidgeDecoder(k=2, alphas=(1.0,)), windows, y_windows


def test_predict_warns_about_default_candidates(ridge_on):
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


def test_cross_val_predict_warns(ridge_on):
    ridge, X, y = ridge_on
    with pytest.warns(UserWarning, match="all predictions are wrong"):
        cross_val_predict(ridge, X, y, cv=StimulusKFold(2))


@pytest.mark.filterwarnings("ignore:the training loss")
def test_scorer_with_predict_raises(listening, tiny_pipeline):
    X, y = listening
    pipe = tiny_pipeline(max_epochs=1)
    with pytest.raises(ValueError, match="ranks segments instead of classes.*scoring=retrieval_scores"):
        cross_val_score(pipe, X, y, cv=StimulusKFold(2), scoring="accuracy", error_score="raise")


@pytest.mark.parametrize(
    "estimator",
    [
        RidgeDecoder(sfreq=25), ForwardTRF(sfreq=25), BrainEncoder(), Epocher(), RobustChannelScaler(),
        CovarianceAlignment(), FeatureScaler(),
    ],
    ids=lambda e: type(e).__name__,
)  # fmt: skip
def test_fit_raises_for_unequal_windows(estimator):
    X = [np.zeros((4, 50 + i)) for i in range(30)]
    with pytest.raises(
        ValueError, match=r"same shape \(n_channels, n_times\)\. Got \(4, 50\) in window 0 and \(4, 51\)"
    ):
        estimator.fit(X, np.zeros((30, 2, 50)))


def test_fit_raises_for_unequal_features():
    with pytest.raises(ValueError, match="All windows of y must have the same shape"):
        RidgeDecoder(sfreq=25).fit(
            np.random.default_rng(0).random((3, 4, 50)),
            [np.zeros((2, 5)), np.zeros((2, 6)), np.zeros((2, 5))],
        )
    with pytest.raises(ValueError, match="All windows of data must have the same shape"):
        Windows.from_array([np.zeros((2, 5)), np.zeros((2, 6))])


def test_benchmark_of_frozen_estimator(ridge_on):
    ridge, X, y = ridge_on
    fitted = RidgeDecoder(k=2, alphas=(1.0,)).fit(X, y)
    with pytest.warns(UserWarning, match="gave warnings"):  # it was fitted on all of it
        table = benchmark(
            {"f": FrozenEstimator(fitted)}, X, y, StimulusKFold(2), k=2, controls=False, verbose=0
        )
    assert (table["error"] == "").all()


@pytest.mark.parametrize("kind", ["table", "array"])
def test_validation_on_training_stimuli_warns(listening, tiny_pipeline, kind):
    X, y = listening
    if kind == "table":
        pipe = tiny_pipeline(max_epochs=1, validation=ShuffleSplit(1, random_state=0))
        with pytest.warns(StimulusLeakWarning, match=r"has 27 of 27 validation windows"):
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


def test_validation_on_other_stimuli_is_silent(listening, tiny_pipeline):
    X, y = listening
    with warnings.catch_warnings():
        warnings.simplefilter("error", StimulusLeakWarning)
        for validation in (0.25, next_split(X, y)):
            tiny_pipeline(max_epochs=1, validation=validation).fit(X, y)


def next_split(X, y):
    """Return the first fold of a splitter as a splitter of one fold."""

    class First(StimulusKFold):
        def split(self, X, y=None, groups=None):
            yield next(super().split(X, y, groups))

    return First(3)


# --- parameters that contradict each other ------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"l_freq": 12, "h_freq": 8}, "l_freq must be below h_freq. Got l_freq=12 and h_freq=8"),
        ({"l_freq": 8, "h_freq": 8}, "l_freq must be below h_freq"),
        ({"l_freq": 16}, "l_freq must be below sfreq / 2. Got l_freq=16 Hz at sfreq=32"),
        ({"h_freq": 40}, "h_freq=40 Hz must be below 32 Hz, the Nyquist frequency of recording"),
        ({"notch": 50}, "notch=50 Hz must be below 32 Hz"),
        ({"notch": (20, 32)}, "notch=32 Hz must be below 32 Hz"),
        ({"notch": ()}, r"'notch' parameter must hold one or more frequencies above 0 Hz. Got \(\)"),
        ({"notch": [-50]}, "'notch' parameter must hold one or more frequencies above 0 Hz"),
        ({"reference": ["nope"]}, r"no channel \['nope'\]"),
    ],
    ids=str,
)
def test_epocher_raises_for_filters(listening, parameters, message):
    X, _ = listening
    with pytest.raises(ValueError, match=message):
        Epocher(sfreq=32, lag=0, **parameters).fit(X)


def small_encoder(**changes):
    parameters = {
        "hidden": 8, "depth": 1, "n_virtual_channels": 8, "spatial_attention": False, "max_epochs": 5, "verbose": 0,
        "validation": None, "k": 2, "random_state": 0, "lr": 1e-2, "precision": "float32",
    }  # fmt: skip
    return BrainEncoder(**{**parameters, **changes})


def planted(n=60, level=1.0, seed=0):
    """Windows in which every channel follows the feature, and the features."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((n, 2, 20)).astype("f4")
    return level * np.repeat(y, 2, axis=1) + rng.standard_normal((n, 4, 20)).astype("f4"), y


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"batch_size": 1}, "batch_size must be at least 2 with loss='clip'"),
        ({"batch_size": 1, "loss": "siglip"}, "batch_size must be at least 2 with loss='siglip'"),
        ({"speech_embedding_dim": 4, "loss": "mse"}, "requires a contrastive loss"),
        ({"target_dim": 4, "loss": "mse"}, "target_dim=4 requires a contrastive loss.*or target_dim=None"),
        ({"target_dim": 4, "speech_embedding_dim": 5}, "both set the number of output features"),
        ({"lag_jitter": 0.1}, r"requires the sampling rate of X.*Windows.from_array\(X, sfreq="),
        ({"look_ahead": 0.1}, r"look_ahead=0.1 is in seconds and requires the sampling rate of X"),
        ({"callbacks": ["early"]}, "callbacks must contain skorch callbacks"),
        ({"callbacks": [("name", 3)]}, "callbacks must contain skorch callbacks"),
    ],
    ids=str,
)
def test_encoder_raises_for_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        small_encoder(**parameters).fit(*planted())


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"subject_layer": None, "subject_dropout": 0.5}, "subject_dropout=0.5 has no effect"),
        ({"subject_layer": None, "unseen_subject": "nearest"}, "unseen_subject='nearest' has no effect"),
        ({"loss": "mse", "duplicates": "mask"}, "duplicates='mask' has no effect"),
    ],
    ids=str,
)
def test_encoder_warns_of_ignored_parameters(parameters, named):
    with pytest.warns(UserWarning, match=named):
        small_encoder(**parameters).fit(*planted())


def test_forward_trf_checks_rate_and_lags():
    X, y = planted()
    X = Windows.from_array(X, sfreq=20)
    with pytest.raises(ValueError, match="must be shorter than the window of 1.000 s"):
        ForwardTRF(lags=(2, 3)).fit(X, y)
    with pytest.raises(ValueError, match="sfreq=50, but X has a sampling rate of 20 Hz"):
        ForwardTRF(sfreq=50).fit(X, y)
    for model in (ForwardTRF(lags=(-100, 500)), RidgeDecoder(lags=(0, 500), k=2)):
        with pytest.raises(ValueError, match="Convert milliseconds to"):
            model.fit(X, y)


# --- training that did not learn ----------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["clip", "symmetric_clip", "siglip", "mse"])
def test_fit_warns_if_nothing_is_learned(loss):
    X, y = planted()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        small_encoder(loss=loss).fit(X, y)
    with pytest.warns(ConvergenceWarning, match="learned nothing"):
        small_encoder(loss=loss, lr=1e-12).fit(X, y)


def test_fit_warns_of_divergence():
    with pytest.warns(ConvergenceWarning, match="not below the .* of a guess within the batch"):
        small_encoder(lr=1e3, max_epochs=2).fit(*planted())


def test_fit_warns_of_validation_at_chance():
    X, y = planted(200, level=3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        small_encoder(validation=0.3).fit(X, y)
    noise = np.random.default_rng(1).standard_normal(X.shape).astype("f4")
    with pytest.warns(
        ConvergenceWarning, match="of a guess among 60 candidates.*generalizes to other stimuli"
    ):
        small_encoder(validation=0.3).fit(noise, y)


def test_fit_ignores_small_validation():
    """With two validation windows, the training loss is judged instead."""
    X, y = planted(20, level=3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        small_encoder(validation=0.1, max_epochs=20).fit(X, y)
    with pytest.warns(ConvergenceWarning, match="training loss.*learned nothing"):
        small_encoder(validation=0.1, lr=1e-12).fit(X, y)


def test_fit_warns_of_interruption():
    class Interrupt(Callback):
        def on_batch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    with pytest.warns(ConvergenceWarning, match="interrupted in epoch 1 of at most 5"):
        small_encoder(callbacks=[Interrupt()]).fit(*planted())


def test_controls_at_chance_are_silent():
    X, y = planted(120, level=3.0)
    rows = pd.DataFrame({"recording": "a", "subject": "s", "onset": 3.0 * np.arange(120), "duration": 1.0})
    X = Windows.from_array(X, rows=rows, sfreq=20)
    folds = [(np.arange(60), np.arange(60, 120))]
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        run_controls(
            small_encoder(max_epochs=20), X, y, folds, controls=["decoder", "white_noise"], verbose=0
        )
