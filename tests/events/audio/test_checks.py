"""Test checks of the silence and level of audio files."""

import warnings

import mne
import numpy as np
import pandas as pd
import pytest
from helpers.audio_files import RATE, make_events, segments, write
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    Envelope,
    EventFeatures,
    FeatureScaler,
    MelSpectrogram,
    PrecomputedFeatures,
    RidgeDecoder,
    SpeechActivity,
    StimulusArray,
    Windows,
    check_alignment,
    make_segments,
)


@pytest.mark.parametrize("constant", [0.0, 0.1], ids=["zeros", "constant"])
def test_features_warn_once_of_silent_files(tmp_path, talks, constant):
    loud = write(tmp_path / "loud.wav", talks[0])
    silent = [write(tmp_path / f"s{i}.wav", np.full((40 + i) * RATE, constant)) for i in range(2)]
    table = segments([loud, *silent] * 2)
    for features in (Envelope(sfreq=25), MelSpectrogram(8, sfreq=25), SpeechActivity(sfreq=25)):
        with pytest.warns(UserWarning, match="'s0.wav', 's1.wav' are silent") as caught:
            features.fit_transform(table)
        assert len(caught) == 1


def test_features_accept_noise_floor_and_silence(tmp_path, talks, silent_warnings):
    rng = np.random.default_rng(0)
    floor = write(tmp_path / "floor.wav", 3e-5 * rng.integers(-1, 2, 40 * RATE))
    pause = talks[0].copy()
    pause[5 * RATE :] = 0
    ogg = write(tmp_path / "pause.ogg", pause)
    MelSpectrogram(8, sfreq=25).fit_transform(segments([floor, ogg]))
    FeatureScaler().fit(Envelope(sfreq=25).fit_transform(segments([floor, ogg])))


def test_features_warn_of_constant_values(tmp_path):
    one, other = (
        StimulusArray(np.ones((640, 2)), 64, "flat"),
        StimulusArray(np.arange(1300.0).reshape(650, 2), 64, "ramp"),
    )
    with pytest.warns(UserWarning, match="'flat' is constant in all features"):
        PrecomputedFeatures().fit_transform(segments([one, other], duration=3.0))
    events = pd.DataFrame({"type": "word", "sound": [one], "sound_onset": 1.0, "duration": 0.2, "text": "a"})
    with pytest.warns(UserWarning, match="no word in 'ramp'"):
        EventFeatures(events, kind="word").fit_transform(segments([one, other], duration=3.0))
    with pytest.warns(UserWarning, match="every one of 2 features is constant"):
        FeatureScaler().fit(np.ones((5, 2, 7)))
    with pytest.raises(ValueError, match="1 of 2 features hold NaN"):
        FeatureScaler().fit(Windows([np.array([[0, 1], [0, np.nan]])], [0, 0], [0, 1], 1, 10))


@pytest.mark.filterwarnings("ignore:.* silent:UserWarning", "ignore:.*constant:UserWarning")
def test_ridge_decoder_rejects_constant_features(tmp_path):
    silent = write(tmp_path / "s.wav", np.zeros(40 * RATE))
    _, y = make_segments(make_events([silent]), anchor=1.0)
    X = np.random.default_rng(0).standard_normal((len(y), 3, 29)).astype("f4")
    speech = make_pipeline(Envelope(sfreq=10), FeatureScaler())
    with pytest.raises(ValueError, match="RidgeDecoder: all features of all 1 stimuli in y are constant"):
        RidgeDecoder(speech=speech, sfreq=10).fit(X, y)
    flat = Windows([np.zeros((400, 2), "f4")], np.zeros(len(y), int), np.arange(len(y)), 29, 10)
    with pytest.raises(ValueError, match="stimuli in y are constant"):
        RidgeDecoder(sfreq=10).fit(X, flat)


def test_check_alignment_notes_silent_stimuli(tmp_path):
    rng = np.random.default_rng(0)
    brain = rng.standard_normal((3, 64 * 100))
    raw = mne.io.RawArray(1e-6 * brain, mne.create_info(3, 64, "eeg"), verbose="ERROR")
    raw.save(tmp_path / "01_raw.fif", verbose="ERROR")
    story = StimulusArray(np.abs(rng.standard_normal(64 * 45)), 64, "story")
    silent = StimulusArray(np.zeros(64 * 40), 64, "nothing")
    for sounds in ([story, silent], [silent]):
        events = make_events(sounds).assign(recording=str(tmp_path / "01_raw.fif"), recording_duration=100.0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = check_alignment(events, minutes=None, max_offset=0.5)
        assert found["note"].iloc[0].startswith("'nothing' is silent")
        assert found["heard"].iloc[0] == pytest.approx(45.0 * (story in sounds), abs=0.1)
