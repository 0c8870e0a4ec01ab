"""Onsets, phones and words fall where they are; several spaces stand side by side; and what each of them adds."""

import pickle

import numpy as np
import pandas as pd
import pytest
from helpers.sounds import RATE, filters_by_hand, frame_by_hand, table, write
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline

from sk_b2s import (
    AcousticOnsets,
    Envelope,
    EventFeatures,
    FeatureScaler,
    ForwardTRF,
    MelSpectrogram,
    PrecomputedFeatures,
    RidgeDecoder,
    SpeechFeatureUnion,
    StimulusArray,
    StimulusKFold,
    Windows,
    compare_feature_sets,
    unique_variance,
)
from sk_b2s.datasets import load_speech
from sk_b2s.features._events import PHONETIC_FEATURES


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """A wav of 3 s that is silent, then loud, then silent again."""
    audio = np.zeros(3 * RATE)
    audio[RATE : 2 * RATE] = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    return write(tmp_path_factory.mktemp("sound") / "noise.wav", audio), audio


# --- features ---------------------------------------------------------------------------------------


def test_onsets_are_rises_of_compressed_bands(noise):
    path, audio = noise
    onsets = np.asarray(AcousticOnsets(sfreq=50, n_bands=4).fit_transform(table([path], [0.9], 0.5)))[0]
    power = np.stack([frame_by_hand(audio, 44 + i, 50, 512) for i in range(27)], axis=1)
    bands = (filters_by_hand(512, 4) @ power) ** 0.3
    np.testing.assert_allclose(onsets, np.maximum(np.diff(bands, axis=1), 0), rtol=1e-3, atol=1e-5)
    assert (onsets[:, :4] == 0).all()
    assert onsets.sum(0).argmax() in (5, 6), "at 1 s"


def test_phones_and_words_are_where_the_events_table_says():
    speech = load_speech(0.2)
    sound = speech["sound"].iloc[0]
    y = table([sound], [0.0], 5.0)
    phones = speech[(speech["type"] == "phoneme") & (speech["sound"] == sound) & (speech["sound_onset"] < 5)]
    feature = EventFeatures(speech, classes=PHONETIC_FEATURES, sfreq=100)
    found = np.asarray(feature.fit_transform(y))[0]
    expected = np.zeros_like(found)
    for phone in phones.itertuples():
        for index, members in enumerate(PHONETIC_FEATURES.values()):
            if phone.text.lower().strip("012") in members.split():
                expected[index, int(phone.sound_onset * 100 + 1e-6)] = 1
    np.testing.assert_array_equal(found, expected)
    assert expected.any(axis=1).sum() > 14
    twice = EventFeatures(
        pd.concat([speech, speech.assign(subject="b")]), classes=PHONETIC_FEATURES, sfreq=100
    )
    np.testing.assert_array_equal(np.asarray(clone(twice).fit_transform(y))[0], found)
    words = np.asarray(EventFeatures(speech, "word", sfreq=100).fit_transform(y))[0, 0]
    onsets = speech.loc[(speech["type"] == "word") & (speech["sound"] == sound), "sound_onset"]
    assert set(np.flatnonzero(words)) == {int(t * 100 + 1e-6) for t in onsets if t < 5.01}


def test_an_event_that_is_held_lasts_and_a_class_of_many_texts_has_them_all():
    sound = StimulusArray(np.zeros(100), 10)
    events = pd.DataFrame({
        "type": "phoneme", "sound": [sound] * 3, "sound_onset": [0.12, 0.4, 0.95], "duration": [0.2, 0.1, 0.1],
        "text": ["AA1", "b", "SP"],
    })  # fmt: skip
    y = table([sound], [0.0], 1.0)
    held = EventFeatures(events, classes={"a": ["aa"], "any": "aa b"}, hold=True, sfreq=20).fit_transform(y)
    found = [np.flatnonzero(row).tolist() for row in np.asarray(held)[0]]
    assert found == [[2, 3, 4, 5, 6], [2, 3, 4, 5, 6, 8, 9]]
    with pytest.warns(
        UserWarning, match="1 of 3 events of type 'phoneme' have a text that is in no class: b"
    ):
        EventFeatures(events, classes={"a": "aa"}).fit(y)
    with pytest.raises(ValueError, match=r"no row of type 'word', only \['phoneme'\]"):
        EventFeatures(events, "word").fit(y)
    with pytest.raises(ValueError, match=r"events lacks \['text'\]"):
        EventFeatures(events.drop(columns="text"), classes={"a": "aa"}).fit(y)
    with pytest.raises(ValueError, match="check_events"):
        EventFeatures(events.assign(sound=None)).fit(y)


# --- side by side -----------------------------------------------------------------------------------


def test_spaces_side_by_side_are_the_spaces_one_by_one(noise):
    path, _ = noise
    y = table([path, path, path], [0.2, 1.0, -0.5], 1.5)
    spaces = [
        ("level", make_pipeline(Envelope(sfreq=25), FeatureScaler())), ("mel", MelSpectrogram(5, sfreq=25)),
        ("onsets", make_pipeline(AcousticOnsets(sfreq=25, n_bands=2), FeatureScaler())),
    ]  # fmt: skip
    joined = SpeechFeatureUnion(spaces).fit(y)
    assert joined.places_ == {"level": (0, 1), "mel": (1, 6), "onsets": (6, 8)}
    windows = joined.transform(y)
    assert isinstance(windows, Windows)
    assert len(windows.signals) == 1
    expected = np.concatenate([np.asarray(clone(space).fit_transform(y)) for _, space in spaces], axis=1)
    np.testing.assert_allclose(np.asarray(windows), expected, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(windows[[2, 0]]), expected[[2, 0]], rtol=1e-6)
    content = pickle.dumps(windows)
    assert len(content) < 5000
    np.testing.assert_array_equal(np.asarray(pickle.loads(content)), np.asarray(windows))
    changed = clone(joined).set_params(mel__n_mels=3)
    assert changed.fit(y).n_features_out_ == 6
    assert joined.get_params()["mel__n_mels"] == 5


def test_spaces_that_do_not_fit_are_named(noise):
    y = table([noise[0]], [0.2], 1.5)
    with pytest.raises(ValueError, match="space 'b' has 76 frames at 50.0 Hz, but 'a' has 38 at 25.0 Hz"):
        SpeechFeatureUnion([("a", Envelope(sfreq=25)), ("b", Envelope(sfreq=50))]).fit_transform(y)
    with pytest.raises(ValueError, match="not unique"):
        SpeechFeatureUnion([("a", Envelope()), ("a", Envelope())]).fit(y)
    with pytest.raises(ValueError, match="spaces is empty"):
        SpeechFeatureUnion([]).fit(y)


# --- what each adds ---------------------------------------------------------------------------------


class Column(PrecomputedFeatures):
    """One column of what the sounds bring along."""

    def __init__(self, column=0):
        self.column = column

    def _n_features(self, sounds):
        return 1

    def _features(self, sound):
        return sound.data[:, [self.column]]


def planted(n=80, sfreq=10.0, seed=0):
    """Two people whose brain follows the first feature; the second goes with it, the third with nothing."""
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((int(3 * n * sfreq) + 40, 3)).astype("f4")
    data[:, 1] = data[:, 0] + 0.7 * data[:, 1]
    brain = [
        np.column_stack([np.roll(data[:, 0], 1), 0 * data[:, 0]]) + rng.standard_normal((len(data), 2))
        for _ in "ab"
    ]
    start = np.tile(np.arange(n) * int(3 * sfreq), 2)
    rows = pd.DataFrame({
        "subject": np.repeat(["a", "b"], n), "recording": np.repeat(["ra", "rb"], n), "onset": start / sfreq,
        "duration": 3.0,
    })  # fmt: skip
    y = pd.DataFrame({
        "sound": [StimulusArray(data, sfreq)] * (2 * n), "sound_onset": start / sfreq, "duration": 2.9, "segment": start,
        "block": start // int(30 * sfreq),
    })  # fmt: skip
    return Windows(brain, np.repeat([0, 1], n), start, int(3 * sfreq), sfreq, rows=rows), y


@pytest.mark.parametrize("kind", ["forward", "decoder"])
def test_only_the_space_that_the_brain_follows_is_unique(kind):
    X, y = planted()
    if kind == "forward":
        estimator, score = ForwardTRF(lags=(0, 0.3), alphas=(1e-3,)), "r"
    else:
        estimator, score = Pipeline([("ridge", RidgeDecoder(lags=(0, 0.3), alphas=(1e-3,), k=1))]), "top_k"
    spaces = {"true": Column(0), "beside": Column(1), "none": Column(2)}
    scores = compare_feature_sets(estimator, X, y, StimulusKFold(2, gap=0), spaces)
    assert len(scores) == 7 * 2 * 2
    means = scores.groupby("features")[score].mean()
    assert means["true"] > means["beside"] > means["none"]
    found = unique_variance(scores, score)
    assert list(found.columns) == ["features", "subject", "alone", "without", "all", "unique"]
    if kind == "forward":
        unique = found.groupby("features")["unique"].mean()
        assert unique["true"] > 0.03
        assert unique.drop("true").abs().max() < 0.02
        assert means["true"] == pytest.approx(np.sqrt(0.5) / 2, abs=0.04)  # one of two channels


def test_of_two_spaces_all_but_one_is_the_other_and_errors_say_what_is_missing():
    X, y = planted(n=40)
    trf = ForwardTRF(lags=(0, 0.3), alphas=(1e-3,))
    scores = compare_feature_sets(trf, X, y, StimulusKFold(2, gap=0), {"true": Column(0), "none": Column(2)})
    one, other = (
        scores[scores["features"] == name].reset_index(drop=True).drop(columns="features")
        for name in ("none", "all but true")
    )
    pd.testing.assert_frame_equal(one, other)
    with pytest.raises(ValueError, match="two or more"):
        compare_feature_sets(trf, X, y, StimulusKFold(2), {"true": Column(0)})
    with pytest.raises(ValueError, match="has no parameter speech"):
        compare_feature_sets(FeatureScaler(), X, y, StimulusKFold(2), {"a": Column(0), "b": Column(1)})
    with pytest.raises(TypeError, match="write cv=StimulusKFold"):
        compare_feature_sets(trf, X, y, 3, {"a": Column(0), "b": Column(1)})
