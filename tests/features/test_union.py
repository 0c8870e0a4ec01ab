"""Tests of the union of speech features."""

import pickle

import numpy as np
import pytest
from helpers.sounds import RATE, table, write
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    AcousticOnsets,
    Envelope,
    FeaturePCA,
    FeatureScaler,
    MelSpectrogram,
    SpeechFeatureUnion,
    Windows,
)


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Audio file of 3 s with noise in the second second, and its samples."""
    audio = np.zeros(3 * RATE)
    audio[RATE : 2 * RATE] = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    return write(tmp_path_factory.mktemp("sound") / "noise.wav", audio), audio


def test_union_equals_concatenated_transformers(noise):
    path, _ = noise
    y = table([path, path, path], [0.2, 1.0, -0.5], 1.5)
    transformers = [
        ("level", make_pipeline(Envelope(sfreq=25), FeatureScaler())), ("mel", MelSpectrogram(5, sfreq=25)),
        ("onsets", make_pipeline(AcousticOnsets(sfreq=25, n_bands=2), FeatureScaler())),
    ]  # fmt: skip
    joined = SpeechFeatureUnion(transformers).fit(y)
    assert joined.feature_ranges_ == {"level": (0, 1), "mel": (1, 6), "onsets": (6, 8)}
    windows = joined.transform(y)
    assert isinstance(windows, Windows)
    assert len(windows.signals) == 1
    parts = [np.asarray(clone(transformer).fit_transform(y)) for _, transformer in transformers]
    expected = np.concatenate(parts, axis=1)
    np.testing.assert_allclose(np.asarray(windows), expected, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(windows[[2, 0]]), expected[[2, 0]], rtol=1e-6)
    content = pickle.dumps(windows)
    assert len(content) < 5000
    np.testing.assert_array_equal(np.asarray(pickle.loads(content)), np.asarray(windows))
    changed = clone(joined).set_params(mel__n_mels=3)
    assert changed.fit(y).n_features_out_ == 6
    assert joined.get_params()["mel__n_mels"] == 5


@pytest.mark.parametrize(
    ("weights", "factors"), [("balanced", (1, 3**-0.5)), ({"mel": 2}, (1, 2)), (None, (1, 1))], ids=str
)
def test_union_weights_and_reduces_transformers(noise, weights, factors):
    y = table([noise[0]] * 2, [0.2, 1.0], 1.5)
    transformers = [
        ("level", Envelope(sfreq=25)), ("mel", make_pipeline(MelSpectrogram(5, sfreq=25), FeaturePCA(3)))
    ]  # fmt: skip
    union = SpeechFeatureUnion(transformers, weights).fit(y)
    assert union.feature_ranges_ == {"level": (0, 1), "mel": (1, 4)}
    windows = union.transform(y)
    assert windows.shape == (2, 4, 38)
    parts = [np.asarray(clone(transformer).fit_transform(y)) for _, transformer in transformers]
    expected = np.concatenate([part * factor for part, factor in zip(parts, factors, strict=True)], axis=1)
    np.testing.assert_allclose(np.asarray(windows), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("weights", ["equal", {"a": 0}, {"b": 1}, 2.0])
def test_union_rejects_weights(noise, weights):
    with pytest.raises(ValueError, match=r"'transformer_weights' parameter .* positive factors of \['a'\]"):
        SpeechFeatureUnion([("a", Envelope())], weights).fit(table([noise[0]], [0.2], 1.5))


def test_union_rejects_incompatible_transformers(noise):
    y = table([noise[0]], [0.2], 1.5)
    with pytest.raises(
        ValueError, match="Transformer 'b' returns 76 frames at 50.0 Hz, but 'a' returns 38 at 25.0 Hz"
    ):
        SpeechFeatureUnion([("a", Envelope(sfreq=25)), ("b", Envelope(sfreq=50))]).fit_transform(y)
    with pytest.raises(ValueError, match="not unique"):
        SpeechFeatureUnion([("a", Envelope()), ("a", Envelope())]).fit(y)
    with pytest.raises(ValueError, match="'transformer_list' parameter of SpeechFeatureUnion is empty"):
        SpeechFeatureUnion([]).fit(y)
