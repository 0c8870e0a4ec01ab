"""Recordings with triggers and a recorded audio channel of known clocks."""

import mne
import numpy as np
import pandas as pd
import soundfile
from scipy.signal import decimate

RATE = 500  # Hz, of the recordings


PPM = 80.0


SECONDS = 60.0


def make_syllables(seconds=SECONDS, rate=4000, seed=0):
    """Draw noise with an envelope at the rate of syllables."""
    rng = np.random.default_rng(seed)
    knots = rng.gamma(1.0, 1.0, round(seconds * 6) + 2)
    loud = np.interp(np.arange(round(seconds * rate)) / rate * 6, np.arange(len(knots)), knots)
    return 0.1 * loud * rng.standard_normal(len(loud))


def play(samples, onset, ppm, seconds, kind="waveform", rate=4000):
    """Return the channel that recorded a stimulus of another clock."""
    low = decimate(samples if kind == "waveform" else np.abs(samples), rate // RATE, ftype="fir")
    at = (np.arange(round(seconds * RATE)) / RATE - onset) / (1 + ppm * 1e-6)
    return np.interp(at, np.arange(len(low)) / RATE, low, left=0, right=0)


def write_raw(path, channels, stim=None, annotations=None, first_samp=700):
    names, kinds = list(channels), ["misc" if name.startswith("MISC") else "eeg" for name in channels]
    data = list(channels.values())
    if stim is not None:
        names, kinds, data = [*names, "STI 014"], [*kinds, "stim"], [*data, stim]
    info = mne.create_info(names, RATE, kinds)
    raw = mne.io.RawArray(np.array(data), info, first_samp=first_samp, verbose="ERROR")
    if annotations is not None:
        raw.set_annotations(mne.Annotations(*annotations))
    raw.save(path, fmt="double", overwrite=True, verbose="ERROR")
    return path


def make_pulses(times, seconds, codes=1):
    """Make a trigger channel with pulses of 10 ms at given times."""
    stim = np.zeros(round(seconds * RATE))
    for time, code in zip(times, np.broadcast_to(codes, len(times)), strict=True):
        stim[round(time * RATE) : round(time * RATE) + 5] = code
    return stim


def write_planted(tmp_path, wavs, channel, error=0.35):
    """Write a recording of both stimuli, return events with late onsets."""
    seconds = 2 * SECONDS + 20
    data = {"Cz": np.zeros(round(seconds * RATE)), "MISC 001": channel}
    path = write_raw(tmp_path / "planted_raw.fif", data)
    return pd.DataFrame({
        "subject": "01", "recording": str(path), "type": ["sound", "word", "sound", "word"],
        "onset": np.array([4.0, 54.0, 75.0, 76.0]) + error, "duration": [0, 0.5, 0, 0.5],
        "sound": [wavs[0], wavs[0], wavs[1], wavs[1]], "sound_onset": [0.0, 50.0, 0.0, 1.0],
        "text": [None, "late", None, "early"],
    })  # fmt: skip


def play_both(wavs, ppm=PPM, kind="waveform", seconds=2 * SECONDS + 20):
    return sum(
        play(soundfile.read(wav)[0], onset, ppm, seconds, kind)
        for wav, onset in zip(wavs, (4.0, 75.0), strict=True)
    )
