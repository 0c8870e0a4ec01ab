"""Errors and misses of `AudioOnset` on channels that record speech.

``python benchmarks/bench_onsets.py`` mixes a minute of the audio files of the
package at several rates, as a waveform or its envelope, with white noise of a
tenth of its standard deviation or all of it, and searches for two candidates.
In "other" a third file is played.
"""

import time

import numpy as np
from _machine import machine, markdown

from sk_b2s.datasets.simulated._speech import load_speech
from sk_b2s.events._audio._track_files import read_track_samples
from sk_b2s.events._stimuli import get_stimulus_state
from sk_b2s.io._raw._processing import resample_in_processing
from sk_b2s.streaming import AudioOnset

SECONDS, ONSET, DELAY = 60, 11.234, 1.0
CHANNELS = ((128, True), (500, False), (2000, False))  # Hz, and whether the channel is an envelope


def make_channel(parts, rate, sfreq, is_envelope, noise):
    """Mix audio from its onsets on, resample it and add noise."""
    mixture = np.zeros(SECONDS * rate)
    for samples, onset in parts:
        first = round(onset * rate)
        mixture[first : first + len(samples)] += samples[: len(mixture) - first]
    channel = resample_in_processing(np.abs(mixture) if is_envelope else mixture, rate, sfreq)
    return channel + noise * channel.std() * np.random.default_rng(0).normal(size=len(channel))


def main():
    """Print one row per channel."""
    speech = load_speech(6)
    paths = speech.loc[speech["type"] == "sound", "sound"].map(str).tolist()[:3]
    (one, rate), (two, _), (three, _) = (read_track_samples(path, get_stimulus_state(path)) for path in paths)
    plays = {
        "one": ([(one, ONSET)], 0.0), "both": ([(one, ONSET), (two, ONSET + DELAY)], DELAY), "other": ([(three, 5.0)], 0.0),
    }  # fmt: skip
    rows = []
    for name, (parts, delay) in plays.items():
        for duration in (5.0, 8.0):
            for sfreq, is_envelope in CHANNELS:
                for noise in (0.1, 1.0):
                    channel = make_channel(parts, rate, sfreq, is_envelope, noise)
                    finder = AudioOnset({"one": paths[0], "two": (paths[1], delay)}, sfreq, duration)
                    begun, found, largest = time.process_time(), [], 0.0
                    for first in range(0, len(channel), sfreq // 2):
                        found += finder.push(channel[first : first + sfreq // 2])
                        largest = np.fmax(largest, finder.correlation_)
                    cost = 1e3 * (time.process_time() - begun) / SECONDS
                    errors = [f"{1e3 * (place / sfreq - ONSET):+.0f}" for place in found]
                    kind = f"{sfreq} Hz, {'envelope' if is_envelope else 'waveform'}"
                    rows.append(
                        [
                            name,
                            duration,
                            kind,
                            noise,
                            ", ".join(errors) or "none",
                            f"{largest:.2f}",
                            f"{cost:.0f}",
                        ]
                    )
    print(machine(), "\n")
    columns = [
        "played",
        "compared (s)",
        "channel",
        "noise",
        "errors (ms)",
        "largest correlation",
        "ms per second of stream",
    ]
    print(markdown(columns, rows))


if __name__ == "__main__":
    main()
