"""Tests of the names and the types of outputs of transformers."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from helpers.estimators import PHONES, write_audio
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_b2s import (
    Envelope,
    Epocher,
    EventFeatures,
    FeaturePCA,
    FeatureScaler,
    PrecomputedFeatures,
    RobustChannelScaler,
    SpeechFeatureUnion,
    Windows,
)

MATRIX = pd.DataFrame(np.random.default_rng(0).standard_normal((9, 3)), columns=["a", "b", "c"])


def test_set_output_makes_table_of_matrix():
    pipe = make_pipeline(FeatureScaler(), FeaturePCA(2)).set_output(transform="pandas")
    assert list(pipe[0].fit_transform(MATRIX)) == ["a", "b", "c"]
    table = pipe.fit_transform(MATRIX)
    assert list(table) == list(pipe.get_feature_names_out()) == ["featurepca0", "featurepca1"]
    assert table.index.equals(MATRIX.index)


def test_set_output_refuses_windows():
    windows = Windows.from_array(np.ones((4, 3, 5)) * np.arange(5))
    scaler = RobustChannelScaler().set_output(transform="pandas").fit(windows)
    with pytest.raises(ValueError, match=r"RobustChannelScaler returned windows of shape \(4, 3, 5\)"):
        scaler.transform(windows)


def test_global_table_output_leaves_windows():
    windows = Windows.from_array(np.ones((4, 3, 5)) * np.arange(5))
    with sklearn.config_context(transform_output="pandas"):
        assert isinstance(
            make_pipeline(RobustChannelScaler(), FeatureScaler()).fit_transform(windows), Windows
        )
        assert isinstance(FeatureScaler().fit_transform(MATRIX), pd.DataFrame)


def test_feature_names_of_speech(tmp_path):
    y = write_audio(tmp_path)
    classes = {"first": "a", "second": "b"}
    phones = EventFeatures(PHONES.assign(sound=y["sound"][0]), "word", classes=classes, sfreq=25)
    union = SpeechFeatureUnion([("sound", Envelope(sfreq=25)), ("phones", phones)])
    names = make_pipeline(union, FeatureScaler()).fit(y.iloc[::2]).get_feature_names_out()
    assert list(names) == ["sound__envelope0", "phones__first", "phones__second"]


def test_feature_names_of_vectors_are_columns():
    vectors = pd.DataFrame([[1.0, 2.0], [2.0, 1.0]], index=["cat.wav", "dog.wav"], columns=["size", "age"])
    y = pd.DataFrame({"sound": ["cat.wav", "dog.wav"], "sound_onset": 0.0, "duration": 1.0})
    features = PrecomputedFeatures(vectors).set_output(transform="pandas")
    assert list(features.fit_transform(y)) == ["size", "age"]


def test_epocher_feature_names_are_channels(listening):
    X, _ = listening
    epocher = Epocher(sfreq=25).fit(X)
    names = make_pipeline(epocher, RobustChannelScaler()).fit(X).get_feature_names_out()
    assert tuple(names) == epocher.ch_names_
    assert list(Epocher().fit(np.ones((2, 3, 4))).get_feature_names_out()) == ["x0", "x1", "x2"]


@pytest.mark.parametrize("estimator", [StandardScaler(), PCA(1)])
def test_matrix_estimator_refuses_windows_with_hint(estimator):
    windows = Windows.from_array(np.ones((4, 3, 5)))
    with pytest.raises(ValueError, match=r"requires a matrix.*RobustChannelScaler.*Vectorizer"):
        estimator.fit(windows)
    assert np.asarray(windows).shape == (4, 3, 5)
