"""Tests of the features of phonemes and words."""

import numpy as np
import pandas as pd
import pytest
from helpers.sounds import table
from sklearn.base import clone

from sk_b2s import EventFeatures, StimulusArray
from sk_b2s.datasets import load_speech
from sk_b2s.features._events import PHONETIC_FEATURES


def test_event_features_mark_phones_and_words():
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


def test_event_features_hold_and_classes():
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
        UserWarning, match="1 of 3 events of type 'phoneme' have a text that belongs to no class: b"
    ):
        EventFeatures(events, classes={"a": "aa"}).fit(y)
    with pytest.raises(ValueError, match=r"no row of type 'word', only \['phoneme'\]"):
        EventFeatures(events, "word").fit(y)
    with pytest.raises(ValueError, match=r"'events' is missing required columns \['text'\]"):
        EventFeatures(events.drop(columns="text"), classes={"a": "aa"}).fit(y)
    with pytest.raises(ValueError, match="check_events"):
        EventFeatures(events.assign(sound=None)).fit(y)
