"""Tests for stimulus onsets from a recorded audio channel."""

import numpy as np
import pandas as pd
import pytest
import soundfile
from helpers.sync_recordings import (
    PPM,
    RATE,
    make_syllables,
    play,
    play_both,
    write_planted,
    write_raw,
)
from scipy.signal import decimate

from sk_b2s import align_to_audio, make_segments
from sk_b2s.io._clocks._audio_alignment import find_stimulus_by_audio_alignment


@pytest.mark.parametrize("kind", ["waveform", "envelope", "noisy and inverted"])
def test_align_to_audio_recovers_onset_and_drift(tmp_path, wavs, kind):
    channel = play_both(wavs, kind=kind.split()[0] if kind in ("waveform", "envelope") else "waveform")
    if kind.startswith("noisy"):
        channel = 5 - 3 * channel + channel.std() * np.random.default_rng(2).standard_normal(len(channel))
    events = align_to_audio(write_planted(tmp_path, wavs, channel), ["AUD", "MISC 001"], audio_delay=0.01)
    sounds = events[events["type"] == "sound"]
    np.testing.assert_allclose(sounds["onset"], [4.01, 75.01], atol=0.002)
    np.testing.assert_allclose(sounds["drift_ppm"], PPM, atol=25)
    assert (sounds["residual_ms"] < 3).all()
    words = events[events["type"] == "word"]
    np.testing.assert_allclose(words["onset"], [54.01 + 50 * PPM * 1e-6, 76.01 + PPM * 1e-6], atol=0.002)
    assert words["sound_onset"].tolist() == [50.0, 1.0]


def test_align_to_audio_names_break(tmp_path):
    """The second half of the stimulus is played 600 ppm slower."""
    wav = tmp_path / "long.wav"
    samples = make_syllables(180.0, seed=7)
    soundfile.write(wav, samples, 4000, subtype="FLOAT")
    t = np.arange(200 * RATE) / RATE - 4.0
    low = decimate(samples, 4000 // RATE, ftype="fir")
    at = np.where(t > 90, 90 + (t - 90) / (1 + 600e-6), t)
    channel = np.interp(at, np.arange(len(low)) / RATE, low, left=0, right=0)
    path = write_raw(tmp_path / "b_raw.fif", {"Cz": np.zeros(len(t)), "MISC 001": channel})
    events = pd.DataFrame({
        "subject": "1", "recording": str(path), "type": "sound", "onset": [4.3], "duration": 0.0, "sound": str(wav),
    })  # fmt: skip
    with pytest.warns(UserWarning, match=r"at (8|9|10)\d\.\d s the rate changes by \+[567]\d\d ppm"):
        align_to_audio(events, "MISC 001")


def test_align_to_audio_follows_fast_clock(tmp_path):
    """At 1900 ppm the end of five minutes is 0.57 s late."""
    wav = tmp_path / "long.wav"
    samples = make_syllables(300.0, seed=8)
    soundfile.write(wav, samples, 4000, subtype="FLOAT")
    path = write_raw(
        tmp_path / "b_raw.fif", {"Cz": np.zeros(310 * RATE), "MISC 001": play(samples, 4.0, 1900, 310)}
    )
    events = pd.DataFrame({
        "subject": "1", "recording": str(path), "type": "sound", "onset": [4.1], "duration": 0.0, "sound": str(wav),
    })  # fmt: skip
    with pytest.warns(UserWarning, match=r"drift of \+1(89|90)\d ppm"):
        aligned = align_to_audio(events, "MISC 001", search=0.3)
    np.testing.assert_allclose(aligned["onset"], 4.0, atol=0.002)
    with pytest.raises(ValueError, match="was not found within 0.3 s"):
        align_to_audio(events.assign(onset=5.2), "MISC 001", search=0.3)


def test_make_segments_follows_drift(tmp_path, wavs):
    events = write_planted(tmp_path, wavs, np.zeros(round(140 * RATE)), error=0.0)
    events["drift_ppm"] = np.where(events["type"] == "sound", 500.0, np.nan)
    X, y = make_segments(events, anchor=5.0, tmin=0.0, tmax=3.0)
    first = np.where(y["sound"] == wavs[0], 4.0, 75.0)
    np.testing.assert_allclose(X["onset"], first + y["sound_onset"] * 1.0005)
    assert "drift_ppm" not in y
    X, y = make_segments(events.assign(drift_ppm=np.nan), anchor=5.0, tmin=0.0, tmax=3.0)
    np.testing.assert_allclose(X["onset"], first + y["sound_onset"])


@pytest.mark.parametrize(
    ("channel", "name", "message"),
    [
        (
            lambda w: np.random.default_rng(3).standard_normal(70_000),
            "MISC 001",
            r"'a\.wav' was not found within 1 s",
        ),
        (
            lambda w: play_both(w[::-1]),
            "MISC 001",
            "was not found within 1 s of 4.35 s .*it is the presented stimulus",
        ),
        (lambda w: play_both(w, ppm=5000), "MISC 001", "real clocks|on a straight line|not found"),
        (play_both, "AUD", r"has no such channel\. Its channels besides the sensors are \['MISC 001'\]"),
    ],
)
def test_align_to_audio_refuses_wrong_channel(tmp_path, wavs, channel, name, message):
    events = write_planted(tmp_path, wavs, channel(wavs))
    with pytest.raises(ValueError, match=message):
        align_to_audio(events, name)


def test_align_to_audio_refuses_interruption(tmp_path, wavs):
    samples, _ = soundfile.read(wavs[0])
    late = play(samples, 4.0, 0, 140) * (np.arange(70_000) < 34 * RATE)
    late += play(samples, 4.2, 0, 140) * (np.arange(70_000) >= 34 * RATE)  # playback pauses for 0.2 s
    channel = late + play(soundfile.read(wavs[1])[0], 75.0, 0, 140)
    with pytest.raises(ValueError, match=r"on a straight line .*no stimulus was interrupted"):
        align_to_audio(write_planted(tmp_path, wavs, channel).iloc[:2], "MISC 001")


@pytest.mark.filterwarnings("ignore:recording .* not found")
def test_align_to_audio_shifts_short_stimuli(tmp_path):
    """Half a second of an envelope correlates with many segments."""
    seconds = [12.0, 0.5, 12.0, 0.6, 12.0, 0.8]
    paths = [str(tmp_path / f"s{i}.wav") for i in range(6)]
    for i, (path, lasts) in enumerate(zip(paths, seconds, strict=True)):
        soundfile.write(path, make_syllables(lasts, seed=20 + i), 4000, subtype="FLOAT")
    onsets = np.array([5.0, 25.0, 30.0, 50.0, 55.0, 75.0])
    channel = sum(play(soundfile.read(p)[0], t, 0, 90) for p, t in zip(paths, onsets, strict=True))
    path = write_raw(tmp_path / "x_raw.fif", {"MISC 001": channel, "Cz": np.zeros(len(channel))})
    table = pd.DataFrame({
        "subject": "1", "recording": str(path), "type": "sound", "onset": onsets - 0.3, "duration": 0.0, "sound": paths,
    })  # fmt: skip
    swapped = table.assign(sound=[paths[i] for i in (0, 3, 2, 1, 4, 5)])
    for events in (table, swapped):
        with pytest.warns(
            UserWarning, match=r"3 of 6 stimuli were not found.* shifted by \+300 ms, like the 3"
        ):
            aligned = align_to_audio(events, "MISC 001")
        np.testing.assert_allclose(aligned["onset"], onsets, atol=0.004)
    with pytest.raises(ValueError, match=r"'s1\.wav' was not found .*\(3 stimuli were not found\)\. Check"):
        align_to_audio(table.iloc[[1, 3, 5]].assign(onset=onsets[[1, 3, 5]] - [0.1, 0.3, 0.5]), "MISC 001")
    other = str(tmp_path / "other.wav")
    soundfile.write(other, make_syllables(12.0, seed=40), 4000, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"'other\.wav' was not found"):
        align_to_audio(table.assign(sound=[other, *paths[1:]]), "MISC 001")


def test_align_to_audio_finds_many_short_stimuli(tmp_path):
    paths, onsets = [str(tmp_path / f"s{i}.wav") for i in range(12)], 3.0 + 4.0 * np.arange(12)
    for i, path in enumerate(paths):
        soundfile.write(path, make_syllables(0.7, seed=60 + i), 4000, subtype="FLOAT")
    channel = sum(play(soundfile.read(p)[0], t, 0, 60) for p, t in zip(paths, onsets, strict=True))
    path = write_raw(tmp_path / "x_raw.fif", {"MISC 001": channel, "Cz": np.zeros(len(channel))})
    table = pd.DataFrame({
        "subject": "1", "recording": str(path), "type": "sound", "onset": onsets - 0.3, "duration": 0.0, "sound": paths,
    })  # fmt: skip
    np.testing.assert_allclose(align_to_audio(table, "MISC 001")["onset"], onsets, atol=0.004)


def test_find_stimulus_returns_first_repetition(tmp_path, wavs):
    samples = soundfile.read(wavs[1])[0]
    noise = 0.2 * samples.std() * np.random.default_rng(0).standard_normal(RATE * 200)
    channel = play(0.95 * samples, 5.3, 0, 200) + play(samples, 100.0, 0, 200) + noise
    assert abs(find_stimulus_by_audio_alignment(channel, RATE, wavs[1])[0] - 5.3) < 0.02
