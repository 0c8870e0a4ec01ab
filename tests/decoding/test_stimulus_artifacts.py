"""Channels that hold the sound, by their names and by their samples."""

import warnings

import mne
import numpy as np
import pandas as pd
import pytest
from scipy.signal import butter, sosfilt, sosfiltfilt

from sk_b2s import (
    ForwardTRF,
    StimulusArray,
    Windows,
    check_alignment,
)
from sk_b2s.decoding._stimulus_artifacts import (
    LEAK,
    find_stimulus_artifact_channels,
    score_stimulus_artifact,
    warn_stimulus_artifact_channels,
)
from sk_b2s.io._sensors import NOT_EEG, pick_sensor_channels

SFREQ = 64


@pytest.mark.parametrize(
    "name",
    ["AUD", "Sound", "Mic", "WavLeft", "env", "Photo", "BIP1", "L-Audio", "sound_R", "Envelope", "wav", "Mic 2",
     "Line In", "StimTrak", "EEG Sound", "Trig1", "DC01", "photodiode", "Speech", "ACC_X"],
)  # fmt: skip
def test_audio_channel_names_are_not_electrodes(name):
    assert NOT_EEG.match(name)


def test_montage_names_are_electrodes():
    names = {
        "M1",
        "M2",
        "Mz",
        "E1",
        "E256",
        "A1",
        "B32",
        "VREF",
        "EEG 001",
        "MEG 0111",
        "MLC11-4408",
        "EEG Fpz-Cz",
        "Ch12",
    }
    for montage in mne.channels.get_builtin_montages():
        names |= set(mne.channels.make_standard_montage(montage).ch_names)
    assert not [name for name in names if NOT_EEG.match(name)]
    info = mne.create_info(["M1", "Mz", "Sound", "E1"], 100, "eeg")
    raw = mne.io.RawArray(np.zeros((4, 100)), info, verbose="ERROR")
    assert pick_sensor_channels(raw) == ["M1", "Mz", "E1"]
    assert pick_sensor_channels(raw, ("Sound", "E1")) == ["Sound", "E1"], "names that are asked for are taken"


def listened(seed=0, minutes=3, n_channels=16, delays=(0.12,), strength=0.4):
    """Smoothed noise as audio, and channels that repeat it after delays."""
    rng = np.random.default_rng(seed)
    sos = butter(2, [1, 12], "band", fs=SFREQ, output="sos")
    sound = sosfiltfilt(sos, rng.standard_normal(60 * minutes * SFREQ))
    brain = sosfiltfilt(sos, rng.standard_normal((len(sound), n_channels)), axis=0)
    for delay in delays:
        brain += strength * np.outer(np.roll(sound, round(delay * SFREQ)), rng.standard_normal(n_channels))
    return brain, sound


COPIES = {
    "copy": lambda sound: sound,
    "inverted and noisy": lambda sound: (
        -sound + sound.std() * np.random.default_rng(1).standard_normal(len(sound))
    ),
    "low-passed": lambda sound: sosfilt(butter(1, 20, fs=SFREQ, output="sos"), sound),
    "a sample late": lambda sound: np.roll(sound, 1),
    "compressed": lambda sound: np.sqrt(sound - sound.min()),
}


@pytest.mark.parametrize("copy", COPIES)
def test_find_stimulus_artifact_channels_finds_copy(copy):
    brain, sound = listened(strength=0.2)
    brain[:, 5] = COPIES[copy](sound)
    assert [channel for channel, _ in find_stimulus_artifact_channels(brain, sound, SFREQ)] == [5]


@pytest.mark.parametrize("strength", [0.0, 0.3, 3.0])
def test_find_audio_channels_ignores_responses(strength):
    assert find_stimulus_artifact_channels(*listened(strength=strength), SFREQ) == []


def test_leak_score_of_noise_is_standard_normal():
    scores = [
        score_stimulus_artifact(*listened(seed, strength=0, minutes=2), SFREQ, np.ones(120 * SFREQ, bool))
        for seed in range(40)
    ]
    assert abs(np.mean(scores)) < 0.5
    assert 0.7 < np.std(scores) < 1.4


def test_leak_score_separates_leak_and_response():
    heard = np.ones(180 * SFREQ, bool)
    score = {
        delays: score_stimulus_artifact(*listened(delays=delays), SFREQ, heard)
        for delays in [(0.0,), (0.0, 0.14), (0.09, 0.14)]
    }
    assert score[0.0,] > LEAK < score[0.0, 0.14]
    assert score[0.09, 0.14] < LEAK / 2


def test_check_alignment_names_audio_channel(tmp_path):
    brain, sound = listened(strength=0.2)
    brain[:, 3] = sound
    info = mne.create_info([f"E{i}" for i in range(15)] + ["X7"], SFREQ, "eeg")
    path = tmp_path / "x_raw.fif"
    brain = brain[:, [*range(3), *range(4, 16), 3]]
    mne.io.RawArray(1e-5 * brain.T, info, verbose="ERROR").save(path, verbose="ERROR")
    events = pd.DataFrame({
        "subject": ["01"], "recording": str(path), "type": "sound", "onset": 0.0, "duration": len(sound) / SFREQ,
        "sound": [StimulusArray(sound[:, None] - sound.min(), SFREQ, name="noise")],
    })  # fmt: skip
    found = check_alignment(events, minutes=10)
    assert "channel 'X7' contains the stimulus" in found["note"][0]
    assert "channel" not in check_alignment(events, minutes=10, picks=[f"E{i}" for i in range(15)])["note"][0]


def test_ridge_decoder_warns_about_audio_channel():
    """Also a fifth of a second late, as an Epocher with a lag makes it."""
    brain, sound = listened(strength=0.2, minutes=2)
    story = StimulusArray(sound[:, None] - sound.min(), SFREQ, name="noise")
    starts = np.arange(0, 110)
    y = pd.DataFrame(
        {"sound": [story] * 110, "sound_onset": starts.astype(float), "duration": 3.0, "segment": starts}
    )
    X = pd.DataFrame({"recording": "a.fif", "subject": "01", "onset": starts.astype(float), "duration": 3.0})
    targets = Windows.from_array(
        np.stack([sound[None, s * SFREQ : s * SFREQ + 192] for s in starts]), sfreq=64.0
    )

    def of(channels):
        data = np.stack([channels[s * SFREQ : s * SFREQ + 192].T for s in starts])
        return Windows.from_array(data, rows=X, sfreq=64.0)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_stimulus_artifact_channels(of(brain), y, targets)
    brain[:, 5] = np.roll(sound, -13)
    with pytest.warns(
        UserWarning, match=r"Channels of X that hold the sound, counted from 0: 5 \(correlation"
    ):
        warn_stimulus_artifact_channels(of(brain), y, targets)


def test_forward_trf_warns_of_audio_channel():
    rng = np.random.default_rng(0)
    speech = rng.standard_normal((60, 1, 40)).astype("f4")
    brain = rng.standard_normal((60, 6, 40)).astype("f4")
    sound = StimulusArray(np.zeros((4000, 1)), 10, "noise")
    heard = pd.DataFrame({
        "sound": [sound] * 60, "sound_onset": 5.0 * np.arange(60), "duration": 4.0, "segment": np.arange(60)
    })  # fmt: skip
    X = pd.DataFrame({"recording": "a.fif", "subject": "01", "onset": 5.0 * np.arange(60), "duration": 4.0})
    targets = Windows.from_array(speech, rows=heard, sfreq=10)

    def texts(brain):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            ForwardTRF(alphas=(1.0,)).fit(Windows.from_array(brain, rows=X, sfreq=10), targets)
        return [str(one.message) for one in said]

    assert texts(brain) == []
    brain[:, 4] = np.roll(speech[:, 0], 2, axis=1)
    (text,) = texts(brain)
    assert text.startswith("Channels of X that hold the sound, counted from 0: 4 (")
