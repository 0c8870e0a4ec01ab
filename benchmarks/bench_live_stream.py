"""A stream of ten minutes through LSL, with gaps, clock jumps and a reconnect.

Run as ``python benchmarks/bench_live_stream.py [SPEED]``. A recording is sent
through a real LSL outlet on loopback, SPEED times as fast as it was recorded
(default 1, ten minutes). Time stamps are always those of the recorded time.
Ten gaps, two clock jumps, a reconnect and a dead channel are injected. The
sender lists the samples that it sent, and the predictions are compared with
those of the whole recording without faults.
"""

import os
import resource
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import soundfile
from _machine import machine
from scipy.signal import resample_poly
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    Epocher,
    FeatureScaler,
    LikelihoodDecoder,
    MelSpectrogram,
    RobustChannelScaler,
    StreamingDecoder,
    make_segments,
)
from sk_b2s.datasets import make_listening
from sk_b2s.streaming import make_stream_source
from sk_b2s.streaming._outlet import LOOPBACK
from sk_b2s.streaming._regularizer import PLACED, RECEIVED, StreamRegularizer

SECONDS, TMAX, STEP, RATE = 600, 3.0, 0.2, 16_000
GAPS = {
    45: 0.01, 90: 0.02, 130: 0.03, 170: 0.045, 215: 0.1, 260: 0.25, 300: 0.5, 345: 1.0, 390: 2.0, 430: 4.0,
}  # fmt: skip
JUMPS = {235: 7.3, 410: -3.1}  # s, changes of the sender's clock
RECONNECT = (480, 483)
DEAD = (530, 570, 4)  # s, s and channel
CHUNK = 0.04  # s of one push of the sender
JITTER = 0.0005  # s, of the time stamps of a chunk
SHIFT = 61  # s, of the other candidate


def make_experiment(folder):
    """Fit a causal pipeline, and return what decodes ten minutes."""
    events = make_listening(
        n_subjects=1, minutes=22, sessions=2, modality="eeg", n_channels=32, artifacts=False, random_state=100
    )
    X, y = make_segments(events[events["session"] == "01"], anchor=0.5, tmin=0, tmax=TMAX)
    speech = make_pipeline(MelSpectrogram(n_mels=8, sfreq=25, memory=folder), FeatureScaler())
    epocher = Epocher(sfreq=25, lag=0.1, l_freq=0.5, h_freq=10, causal=True, memory=folder)
    decoder = LikelihoodDecoder(speech=speech, lags=(-0.1, 0.2))
    pipe = make_pipeline(epocher, RobustChannelScaler(calibration=20), decoder).fit(X, y)
    sounds = events[(events["type"] == "sound") & (events["session"] == "02")]
    raw = mne.io.read_raw(sounds["recording"].iloc[0], verbose="ERROR").pick(pipe[0].ch_names_)
    audio = np.zeros(RATE * (SECONDS + 300))
    for row in sounds[sounds["onset"] < SECONDS].itertuples():
        samples, rate = soundfile.read(row.sound, always_2d=True)
        samples, first = resample_poly(samples.mean(1), RATE, rate), round(row.onset * RATE)
        audio[first : first + len(samples)] += samples
    audio = audio[: RATE * SECONDS]
    candidates = {"presented": str(Path(folder) / "presented.wav"), "other": str(Path(folder) / "other.wav")}
    soundfile.write(candidates["presented"], audio, RATE)
    soundfile.write(candidates["other"], np.roll(audio, SHIFT * RATE), RATE)
    samples = raw.get_data()[:, : round(SECONDS * raw.info["sfreq"])]
    return pipe, candidates, samples, raw.info["sfreq"], str(sounds["subject"].iloc[0])


class FaultySender:
    """Thread that sends samples through an outlet, and lists them.

    Parameters
    ----------
    samples : ndarray of shape (n_channels, n_times)
    sfreq, speed : float
    """

    def __init__(self, samples, ch_names, sfreq, speed):
        from mne_lsl.lsl import StreamInfo, local_clock

        self.samples, self.sfreq, self.speed, self.clock = samples, sfreq, speed, local_clock
        self.info = StreamInfo(
            f"bench-{os.getpid()}", "eeg", len(samples), sfreq, "float64", f"bench-{os.getpid()}"
        )
        self.info.set_channel_names(list(ch_names))
        self.info.set_channel_units(["0"] * len(samples))
        self.sent, self.outlet, self.begun, self.is_done = [], None, None, False
        self._open()
        self.thread = threading.Thread(target=self._send, daemon=True)

    def _open(self):
        from mne_lsl.lsl import StreamOutlet

        self.outlet = StreamOutlet(self.info)

    def _send(self):
        while not self.outlet.wait_for_consumers(0.2):
            pass
        random, size = np.random.default_rng(0), round(CHUNK * self.sfreq)
        stamped = self.clock()
        self.begun = time.perf_counter()
        is_lost = np.zeros(self.samples.shape[1], bool)
        for at, seconds in GAPS.items():
            first = round(at * self.sfreq)
            is_lost[first : first + max(1, round(seconds * self.sfreq))] = True
        first = 0
        while first < self.samples.shape[1]:
            last = min(first + size, self.samples.shape[1])
            now = last / self.sfreq
            time.sleep(max(0.0, self.begun + now / self.speed - time.perf_counter()))
            if self.outlet is not None and RECONNECT[0] <= now < RECONNECT[1]:
                time.sleep(0.3)  # all that was sent is received
                self.outlet = None
            elif self.outlet is None and now >= RECONNECT[1]:
                self._open()
                while not self.outlet.wait_for_consumers(0.2):
                    pass
            at = np.arange(first, last)[~is_lost[first:last]]
            late = (time.perf_counter() - self.begun) * self.speed * self.sfreq
            if self.outlet is not None and len(at) and late - last < self.sfreq:
                jump = sum(value for when, value in JUMPS.items() if at[-1] / self.sfreq >= when)
                stamp = stamped + at[-1] / self.sfreq + jump + random.uniform(0, JITTER)
                self.outlet.push_chunk(self.samples[:, at].T.copy("C"), timestamp=stamp)
                self.sent += at.tolist()
            first = last
        self.is_done = True


def decode(decoder, sender, source):
    """Decode the stream, and return predictions with their delay."""
    parts, latest, n_chunks = [], time.monotonic(), 0
    while not (sender.is_done and time.monotonic() - latest > 2):
        chunk = source.read()
        if chunk is None or not chunk[0].shape[1]:
            time.sleep(0.002)
            continue
        arrived, latest, n_chunks = time.perf_counter() * sender.speed, time.monotonic(), n_chunks + 1
        table = decoder.push(chunk[0], chunk[1], arrived)
        if len(table):
            now = (time.perf_counter() - sender.begun) * sender.speed
            parts.append(table.assign(delay=now - table["time"]))
    return pd.concat(parts, ignore_index=True), n_chunks


def list_evidence(table):
    """Return the evidence of each window that follows another, by its time."""
    odds = (np.log(table["presented"]) - np.log(table["other"])).diff()
    follows = table["time"].diff() < 1.5 * STEP
    return odds[follows].set_axis(table["time"][follows].round(3))


def compare(table, whole, masked, sent, sfreq, settle):
    """Print where predictions were made, and how they differ."""
    is_sent = np.zeros(round(SECONDS * sfreq), bool)
    is_sent[sent] = True
    edges = np.flatnonzero(np.diff(np.r_[True, is_sent, True])).reshape(-1, 2)
    long = edges[edges[:, 1] - edges[:, 0] > int(0.05 * sfreq)] / sfreq
    short = edges[edges[:, 1] - edges[:, 0] <= int(0.05 * sfreq)] / sfreq
    times = whole["time"].to_numpy()
    reach = TMAX + 2 / 25 + 1e-6

    def touch(intervals, after=0.0):
        return np.any([(times > start) & (times - reach < stop + after) for start, stop in intervals], axis=0)

    is_marked, is_made = touch(long, settle), np.isin(times.round(3), table["time"].round(3))
    print(
        f"windows {len(times)}, marked {is_marked.sum()}, of these predicted {(is_made & touch(long)).sum()}"
    )
    print(f"other windows {(~is_marked).sum()}, of these not predicted {(~is_marked & ~is_made).sum()}")
    found, expected, replaced = list_evidence(table), list_evidence(whole), list_evidence(masked)
    index = pd.Index(times.round(3))
    is_dead = (times > DEAD[0]) & (times - reach < DEAD[1] + 1.5 + settle)
    before = times <= min(GAPS)
    kinds = {
        "before the first fault": (before, expected),
        "after, no gap in the last 30 s": (~before & ~touch([*long, *short], 30) & ~is_dead, expected),
        "touches an interpolated gap": (touch(short, settle) & ~touch(long, 30) & ~is_dead, expected),
        "0 to 30 s after a long gap": (touch(long, 30) & ~touch([*long, *short], 0) & ~is_dead, expected),
        "dead channel, against it in bads": (
            is_dead & ~touch(long, 30) & (times > DEAD[0] + 0.75) & (times < DEAD[1] + 1 + settle), replaced,
        ),
    }  # fmt: skip
    print(f"{'windows':34s}{'number':>8s}{'largest difference, in s.d. of the evidence':>46s}")
    for name, (chosen, truth) in kinds.items():
        at = found.index.intersection(index[chosen]).intersection(truth.index)
        largest = abs(found[at] - truth[at]).max() / expected.std() if len(at) else np.nan
        print(f"{name:34s}{len(at):8d}{largest:46.2g}")


def run(speed, folder):
    """Send, decode and compare ten minutes."""
    pipe, candidates, samples, sfreq, subject = make_experiment(folder)
    options = {"step": STEP, "subject": subject, "temperature": 300.0}

    def make(**changes):
        return StreamingDecoder(pipe, candidates, sfreq, TMAX, **options, **changes).start(0.0)

    names = pipe[0].ch_names_
    whole, masked = make().push(samples), make(bads=[names[DEAD[2]]]).push(samples)
    faulty = samples.copy()
    first, last = (round(at * sfreq) for at in DEAD[:2])
    faulty[DEAD[2], first:last] = faulty[DEAD[2], first]
    decoder, sender = make(), FaultySender(faulty, names, sfreq, speed)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with make_stream_source(sender.info.name, names) as source:
        sender.thread.start()
        begun = time.process_time()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            table, n_chunks = decode(decoder, sender, source)
        seconds = time.process_time() - begun
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    counts = decoder.sample_counts_
    print(
        f"{SECONDS} s of {len(names)} channels at {sfreq:g} Hz, {speed:g} times real time, {n_chunks} chunks"
    )
    print(", ".join(f"{name} {n}" for name, n in counts.items()))
    n_missing = round(SECONDS * sfreq) - len(sender.sent)
    print(
        f"sent {len(sender.sent)}, not sent {n_missing}, interpolated or lost {counts['interpolated'] + counts['lost']}"
    )
    is_whole = counts["received"] == len(sender.sent) == sum(counts[name] for name in RECEIVED)
    is_whole &= decoder.n_samples_ == sum(counts[name] for name in PLACED)
    print(f"adds up: {is_whole}, time line {decoder.n_samples_} of {samples.shape[1]} samples")
    print(decoder.faults_.round(3).to_string(index=False, na_rep=""))
    print(f"{len(caught)} warnings: " + "; ".join(str(warning.message).split(". ")[0] for warning in caught))
    compare(table, whole, masked, sender.sent, sfreq, decoder._settle)
    late, ages = (
        table["delay"].quantile([0.5, 0.99, 1]),
        (table["age"] + table["delay"]).quantile([0.5, 0.99]),
    )
    print(f"delay after the last sample: median {late[0.5]:.3f}, 99 % {late[0.99]:.3f}, most {late[1]:.3f} s")
    print(f"age of the evidence: median {ages[0.5]:.3f}, 99 % {ages[0.99]:.3f} s")
    print(
        f"filters settle in {decoder._settle:.2f} s; processor {seconds:.1f} s; memory grew {grown:.0f} MiB"
    )
    print(f"last: {table['best'].iloc[-1]} (whole recording: {whole['best'].iloc[-1]})")


def drift_hour(sfreq=128, drift=1e-4):
    """Print the largest error of alignment of an hour with drift."""
    random, n_times = np.random.default_rng(0), 3600 * sfreq
    for jitter in (0.0, 0.002, 0.01):
        stamps = np.arange(n_times) / sfreq * (1 + drift)
        received, regularizer, pieces = (
            stamps + jitter * random.random(n_times),
            StreamRegularizer(sfreq, ["x"]),
            [],
        )
        begun = time.process_time()
        for first in range(0, n_times, 8):
            chunk = slice(first, first + 8)
            pieces += list(regularizer.push(np.arange(n_times, dtype=float)[None, chunk], received[chunk]))
        seconds = time.process_time() - begun
        output = np.concatenate(pieces, axis=1)[0] / sfreq * (1 + drift)
        error = np.abs(output - np.arange(len(output)) / sfreq)
        print(
            f"an hour with {drift * 1e6:g} ppm, jitter {jitter * 1e3:g} ms: largest error {error.max() * 1e3:.1f} ms, "
            f"{regularizer.counts['inserted']} inserted, {seconds:.0f} s of processor"
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary, "lsl.cfg").write_text(LOOPBACK)
        os.environ["LSLAPICFG"] = str(Path(temporary, "lsl.cfg"))
        os.environ.setdefault("MNE_LSL_LOG_LEVEL", "ERROR")
        print(machine())
        run(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0, temporary)
        drift_hour()
