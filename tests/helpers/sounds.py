"""Audio files of known content, and their features computed by hand."""

import numpy as np
import pandas as pd
import soundfile

RATE = 16000


def write(path, audio, rate=RATE):
    soundfile.write(path, np.asarray(audio), rate, subtype="FLOAT")
    return str(path)


def table(sounds, onsets, duration=2.0):
    return pd.DataFrame({"sound": sounds, "sound_onset": onsets, "duration": duration})


# --- independent computations ------------------------------------------------------------------------


def filters_by_hand(n_fft, n_mels):
    """Triangles between points equally spaced on the HTK mel scale."""
    mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), n_mels + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    freqs = np.arange(n_fft // 2 + 1) * RATE / n_fft
    up = (freqs - edges[:-2, None]) / np.diff(edges)[:-1, None]
    down = (edges[2:, None] - freqs) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(up, down))


def frame_by_hand(audio, index, sfreq, n_fft):
    """Compute the power spectrum of a Hann window around a frame."""
    middle = (index + 0.5) * RATE / sfreq
    first = int(middle - n_fft / 2)
    samples = [audio[i] if 0 <= i < len(audio) else 0.0 for i in range(first, first + n_fft)]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    return np.abs(np.fft.rfft(hann * samples)) ** 2
