"""Accuracy of live decoding by its total latency, and switches of attention.

``python benchmarks/bench_streaming.py`` fits causal decoders with several
look-aheads to simulated MEG and EEG of four subjects who listen to four audio
files, and decodes two other files of the same subjects as streams. Candidates
are the presented passage, a passage 25 s later, and two passages of the other
file. Predictions come every 0.24 s, and the evidence of windows of 3 s is
summed over decisions without overlap.

All windows of a recording are decoded at once. One stream of each decoder is
decoded by ``StreamingDecoder.push``, and the correlation of its evidence with
that of the recording is a column of the rows.

Decoders with a look-ahead of 0.16 s have two controls with the same fitted
weights: candidates that begin 40 s too late ("shifted"), and samples with
permuted channels ("permuted"). "offline" is the preset of ``make_decoders``
with whole recordings. With ``--talkers`` subjects attend to one of two
talkers. Then the talkers are the candidates, and attention switches every 20
s, by exchanging their audio.

The subjects are those of ``--seed``. Seed 0 was used to develop the decoders,
so report another one. Each line of ``streaming.jsonl`` is one decoder and
look-ahead. Lines that exist are not computed again. ``--table`` prints them.
"""

import argparse
import time
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import soundfile as sf
from _machine import machine, markdown
from _rows import append_row, name_of, read_rows
from sklearn.pipeline import make_pipeline

import sk_b2s
from sk_b2s import (
    BrainEncoder,
    Epocher,
    FeatureScaler,
    MelSpectrogram,
    RidgeDecoder,
    RobustChannelScaler,
    StreamingDecoder,
    make_decoders,
    make_segments,
)
from sk_b2s.datasets import make_listening
from sk_b2s.decoding._presets import SIZES
from sk_b2s.events._audio._track_files import read_track_samples
from sk_b2s.events._stimuli import get_stimulus_state
from sk_b2s.preprocessing import Windows
from sk_b2s.streaming._candidates import StreamingCandidateSounds

N_CHANNELS = {"eeg": 32, "meg": 64}
CONTROLLED = 0.16  # s, look-ahead of the decoders with controls
LAG, WINDOW, STEP = 0.15, 3.0, 0.24
LOOK_AHEADS = (0.0, 0.08, 0.16, 0.32, 0.56)
DECODERS = ("ridge", "likelihood", "network")
PRESETS = {"ridge": "ridge", "likelihood": "likelihood", "network": "clip-mel"}
EVIDENCE = (3, 5, 10, 20)  # s
N_TRAINED = 4  # audio files, the next two are decoded
CALIBRATION = 20.0  # s
LATER, SHIFT, PERIOD = 25.0, 40.0, 20.0  # s: other passages, shifted control, between switches
MEMORY_CONSTANTS = (2.0, 5.0, 10.0, 20.0)  # s, of leaky evidence
LARGE = 1000.0  # temperature, so that the probability of the sum of evidence does not become 0 or 1


def make_live_pipeline(name, look_ahead, memory):
    """Make a pipeline without later samples, except for the look-ahead."""
    mel = make_pipeline(MelSpectrogram(n_mels=20, sfreq=50, memory=memory), FeatureScaler())
    lags = (-LAG, look_ahead)
    if name == "ridge":
        speech = make_pipeline(MelSpectrogram(n_mels=20, sfreq=50, memory=memory), FeatureScaler(whiten=True))
        decoder = RidgeDecoder(speech=speech, lags=lags, n_components=48)
    elif name == "likelihood":
        decoder = make_decoders("likelihood", memory=memory)["likelihood"][-1].set_params(lags=lags)
    else:  # the receptive field of the preset is shorter than the longest look-ahead
        network = {**SIZES["laptop"].network, "depth": 4, "kernel_size": 5}
        decoder = BrainEncoder(speech=mel, **network, look_ahead=look_ahead, random_state=0, verbose=0)
    epocher = Epocher(sfreq=50, lag=LAG, l_freq=0.5, h_freq=15, causal=True, memory=memory)
    return make_pipeline(epocher, RobustChannelScaler(clip=20, calibration=CALIBRATION), decoder)


class Experiment:
    """Subjects, their training segments, and the sounds that are decoded."""

    def __init__(self, modality, seed, talkers, root):
        self.talkers, self.root, self.memory = talkers, root, str(root / "cache")
        options = {"n_subjects": 4, "modality": modality, "random_state": seed, "root": root}
        options["n_channels"] = N_CHANNELS[modality]
        if talkers:
            artifacts = [
                "blinks",
                "jumps",
                "bursts",
                "shift",
                "gain",
                "attention",
                "line",
                "drift",
                "ignored",
            ]
            events = make_listening(minutes=13.4, artifacts=artifacts, **options)
        else:
            events = make_listening(minutes=11.4, **options)
        self.sounds = events[events["type"] == "sound"]
        stream = "attended" if talkers else "single"
        names = sorted(self.sounds["sound"].unique())
        self.train, self.test = names[:N_TRAINED], names[N_TRAINED : N_TRAINED + 2]
        mine = events[events["stream"] == stream]
        X, y = make_segments(events, anchor=0.5, tmin=0, tmax=WINDOW, stream=stream)
        rows = y["sound"].isin(self.train).to_numpy()
        self.X, self.y = X[rows], y[rows]
        self.heard = mine[(mine["type"] == "sound") & mine["sound"].isin(self.test)]
        self.name = f"{modality}-{seed}-{'talkers' if talkers else 'single'}"
        self._data, self.targets, self.windows = {}, {}, {}

    def fit(self, name, look_ahead):
        """Fit a decoder, or load it."""
        path = self.root / "fitted" / f"{self.name}-{name}-{look_ahead}.safetensors"
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            if look_ahead is None:
                pipeline = make_decoders(PRESETS[name], memory=self.memory, random_state=0)[PRESETS[name]]
            else:
                pipeline = make_live_pipeline(name, look_ahead, self.memory)
            sk_b2s.save(pipeline.fit(self.X, self.y), path)
        pipeline = sk_b2s.load(path)
        pipeline[0].memory = self.memory
        return pipeline

    def list_candidates(self, row, onset):
        """Return the sounds by name, the presented one first."""
        if self.talkers:
            own = self.sounds[
                (self.sounds["recording"] == row.recording) & (self.sounds["stream"] == "ignored")
            ]
            other = own.iloc[(own["onset"] - row.onset).abs().argmin()]
            return {
                "attended": (row.sound, onset),
                "ignored": (other["sound"], onset + other["onset"] - row.onset),
            }
        other = next(name for name in self.test if name != row.sound)
        return {
            "presented": (row.sound, onset), "later": (row.sound, onset - LATER),
            "other": (other, onset), "other, later": (other, onset - LATER),
        }  # fmt: skip

    def read(self, row, names):
        """Return samples until a sound ends, and its onset."""
        key = row.recording, row.sound
        if key not in self._data:
            raw = mne.io.read_raw(row.recording, verbose="ERROR")
            begin = find_begin(row)
            first, last = (round(t * raw.info["sfreq"]) for t in (begin, row.onset + row.duration + 1.0))
            self._data[key] = raw.get_data(picks=names)[:, first:last], row.onset - begin, raw.info["sfreq"]
        return self._data[key]


def decode_stream(experiment, pipeline, row):
    """Return ends of windows, the evidence of each, and the latency."""
    samples, onset, sfreq = experiment.read(row, pipeline[0].ch_names_)
    candidates = experiment.list_candidates(row, onset)
    one = experiment.X[experiment.X["subject"] == row.subject].iloc[:1]
    positions = pipeline[0].transform(one).positions[0]
    live = StreamingDecoder(
        pipeline, candidates, sfreq, WINDOW, STEP, temperature=LARGE, subject=row.subject, positions=positions,
    ).start(0.0)  # fmt: skip
    size = round(5 * sfreq)
    parts = [live.push(samples[:, first : first + size]) for first in range(0, samples.shape[1], size)]
    table = pd.concat([part for part in parts if len(part)])
    return *split_evidence(table, list(candidates), onset), live.latency_


def split_evidence(table, names, onset):
    """Return the ends of windows after the onset, and the evidence of each."""
    total = LARGE * np.log(table[names].to_numpy())
    steps = np.diff(total, axis=0)
    return table["stimulus_time"].to_numpy()[1:] - onset, steps - steps.mean(axis=1, keepdims=True)


def find_begin(row):
    """Return the time in the recording when the stream of a sound begins."""
    return (
        np.ceil(2 * max(0.0, row.onset - CALIBRATION - 10.0)) / 2
    )  # where samples of 128 and 50 Hz coincide


def cut_windows(experiment, pipeline, row, shift, sounds):
    """Return scaled windows, their starts, and which are used."""
    begin = find_begin(row) - row.onset
    first, last = sounds.start - begin, min(sounds.stop, row.duration) - WINDOW - begin
    times = begin + STEP * np.arange(np.ceil(first / STEP), np.floor(last / STEP) + 1)
    is_live = pipeline[0].causal
    before = np.arange(begin, 0, 1.0) if is_live else np.empty(0)  # of the scaler
    key = is_live, row.recording, row.sound, shift, len(times)
    if key not in experiment.windows:  # equal for all decoders
        X = pd.DataFrame({
            "recording": row.recording, "subject": row.subject, "onset": row.onset + np.r_[before, times],
            "duration": WINDOW, "heard_start": row.onset, "heard_stop": row.onset + sounds.stop,
        })  # fmt: skip
        experiment.windows[key] = pipeline[:2].transform(X)[np.arange(len(before), len(X))]
    windows = experiment.windows[key]
    for step in pipeline[2:-1]:  # alignment
        windows = step.transform(windows)
    return windows, times, times + WINDOW >= (begin + CALIBRATION + WINDOW if is_live else 0)


def decode_recording(experiment, pipeline, row, shift=0.0, candidates=None, permute=False):
    """Return the same as `decode_stream` for all windows at once."""
    if candidates is None:
        candidates = experiment.list_candidates(row, shift)
    sounds = StreamingCandidateSounds(candidates, WINDOW)
    windows, times, is_used = cut_windows(experiment, pipeline, row, shift, sounds)
    if permute:
        order = np.random.default_rng(0).permutation(windows.shape[1])
        parts = [windows.gather(rows).numpy() for rows in np.array_split(np.arange(len(times)), 8)]
        windows = Windows.from_array(
            np.concatenate(parts)[:, order],
            windows.rows,
            windows.positions[0],
            windows.sfreq,
            windows.ch_names,
        )
    key = type(pipeline[-1]), row.recording, *map(str, candidates.values()), shift
    if key not in experiment.targets:
        experiment.targets[key] = pipeline[-1]._targets(sounds.make_rows(times))
    parts = pipeline[-1]._score_targets(windows, experiment.targets[key])
    scores, n = np.concatenate([part.cpu().numpy() for _, part in parts]), len(sounds)
    scores = np.stack([scores[i, n * i : n * (i + 1)] for i in range(len(times))])
    return times[is_used] + WINDOW, (scores - scores.mean(axis=1, keepdims=True))[is_used]


def count_hits(ends, evidence, seconds):
    """Return decisions of so many seconds: how many are right, and all."""
    begin = ends[0] - WINDOW
    index = np.floor((ends - WINDOW - begin + 1e-6) / seconds)
    inside = ends - begin <= (index + 1) * seconds + 1e-6
    total = pd.DataFrame(evidence[inside]).groupby(index[inside]).sum()
    if len(total) and (ends[-1] - begin) < (total.index[-1] + 1) * seconds - STEP:
        total = total.iloc[:-1]  # incomplete
    return int((total.to_numpy().argmax(axis=1) == 0).sum()), len(total)


def make_switching_talkers(experiment, row):
    """Write two talkers who exchange their audio every `PERIOD` seconds."""
    (one, begin), (two, later) = experiment.list_candidates(row, 0.0).values()
    (a, rate), (b, _) = (read_track_samples(path, get_stimulus_state(path)) for path in (one, two))
    delay = round((later - begin) * rate)
    b = np.concatenate([np.zeros(delay, b.dtype), b])
    n = min(len(a), len(b))
    is_odd = np.arange(n) // round(PERIOD * rate) % 2 == 1
    out = {}
    for name, (first, second) in {"first": (a, b), "second": (b, a)}.items():
        path = (
            experiment.root
            / "switching"
            / f"{experiment.name}-{row.subject}-{Path(row.sound).stem}-{name}.flac"
        )
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            sf.write(path, np.where(is_odd, second[:n], first[:n]), rate)
        out[name] = str(path)
    return out


def measure_switches(ends, evidence, memory_constant):
    """Return seconds until a switch is found, and accuracy in the last 5 s."""
    difference = evidence[:, 0] - evidence[:, 1]
    total, level = np.empty(len(difference)), 0.0
    for i, step in enumerate(difference):
        level = level * np.exp(-STEP / memory_constant) + step
        total[i] = level
    number = np.floor(ends / PERIOD).astype(int)
    is_right = np.where(number % 2 == 0, total > 0, total < 0)
    seconds, late = [], []
    for k in range(number[0] + 1, number[-1]):  # whole periods
        own = number == k
        since, right = ends[own] - k * PERIOD, is_right[own]
        seconds.append(float(since[right.argmax()]) if right.any() else PERIOD)
        late += right[since > PERIOD - 5].tolist()
    return seconds, late


def score(experiment, name, look_ahead, drop=False):
    """Return the values of one row."""
    begun = time.perf_counter()
    pipeline = experiment.fit(name, look_ahead)
    fitted = time.perf_counter() - begun
    if drop:  # leave out the last moments, which have less context
        n_frames = round(look_ahead * 50)
        pipeline[-1].frame_weights_ = pipeline[-1].frame_weights_.copy()
        pipeline[-1].frame_weights_[len(pipeline[-1].frame_weights_) - n_frames :] = 0
    kind = "offline" if look_ahead is None else "live"
    kinds = [kind, "shifted", "permuted"] if look_ahead == CONTROLLED and not drop else [kind]
    accuracy, latency, difference = {kind: {} for kind in kinds}, {}, None
    seconds, late = {}, {}
    for _, rows in experiment.heard.groupby("subject"):
        found = {(kind, e): np.zeros(2, int) for kind in kinds for e in EVIDENCE}
        for row in rows.itertuples():
            for kind in kinds:
                shift, permute = SHIFT * (kind == "shifted"), kind == "permuted"
                ends, evidence = decode_recording(experiment, pipeline, row, shift, permute=permute)
                if kind == "live" and difference is None and not drop:  # one stream, to compare
                    times, streamed, latency = decode_stream(experiment, pipeline, row)
                    difference = compare_streamed(ends, evidence, times, streamed)
                    latency = latency.round(4).to_dict()
                for e in EVIDENCE:
                    found[kind, e] += count_hits(ends, evidence, e)
            if experiment.talkers and look_ahead is not None:
                talkers = make_switching_talkers(experiment, row)
                ends, evidence = decode_recording(experiment, pipeline, row, candidates=talkers)
                for constant in MEMORY_CONSTANTS:
                    own = measure_switches(ends, evidence, constant)
                    seconds.setdefault(str(constant), []).extend(own[0])
                    late.setdefault(str(constant), []).extend(own[1])
        for (kind, e), (hits, n) in found.items():
            accuracy[kind].setdefault(str(e), []).append([float(round(hits / max(n, 1), 4)), int(n)])
    switches = {
        constant: {
            "median": round(float(np.median(seconds[constant])), 2), "n": len(seconds[constant]),
            "missed": sum(s >= PERIOD for s in seconds[constant]), "accuracy": round(float(np.mean(late[constant])), 3),
        }
        for constant in seconds
    }  # fmt: skip
    return {
        "accuracy": accuracy, "latency": latency, "difference": difference, "switches": switches,
        "fit_seconds": round(fitted, 1),
    }  # fmt: skip


def compare_streamed(ends, evidence, times, streamed):
    """Return the correlation of evidence of a stream and of a recording."""
    parts = [np.interp(times, ends, own) for own in evidence.T]
    inside = (times >= ends[0]) & (times <= ends[-1])
    return round(float(np.corrcoef(np.array(parts)[:, inside].ravel(), streamed[inside].T.ravel())[0, 1]), 4)


def print_table(rows):
    """Print the rows as tables."""
    for talkers in (False, True):
        mine = [row for row in rows.values() if row["key"]["talkers"] == talkers]
        if not mine:
            continue
        lines = []
        for row in mine:
            key, stages = row["key"], row["latency"]
            for kind, accuracy in row["accuracy"].items():
                means = []
                for e in EVIDENCE:
                    per = np.array(accuracy[str(e)])[:, 0]
                    means.append(f"{per.mean():.2f} ± {per.std(ddof=1) / np.sqrt(len(per)):.2f}")
                is_live = kind == "live" and bool(stages)
                total = f"{stages['total']:.2f}" if is_live else ""
                ahead = "whole" if key["look_ahead"] is None else f"{key['look_ahead']:.2f}"
                name = key["decoder"] + ", without the last" * key["drop"]
                lines.append([key["modality"], name, ahead, kind, total, *means])
        print(
            markdown(["", "decoder", "look-ahead", "", "total", *(f"{e} s" for e in EVIDENCE)], lines), "\n"
        )
        switches = [
            [row["key"]["modality"], row["key"]["decoder"], f"{row['key']['look_ahead']:.2f}", constant,
             f"{one['median']:.1f}", f"{one['missed']} of {one['n']}", f"{one['accuracy']:.2f}"]
            for row in mine for constant, one in row["switches"].items()
        ]  # fmt: skip
        if switches:
            columns = ["", "decoder", "look-ahead", "time constant", "switch (s)", "missed", "accuracy"]
            print(markdown(columns, switches), "\n")


def main():
    """Compute the rows that are missing, and print all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--root", type=Path, default=Path("cache"))
    parser.add_argument("--rows", type=Path, default=Path("streaming.jsonl"))
    parser.add_argument("--modalities", nargs="+", default=["meg", "eeg"])
    parser.add_argument("--decoders", nargs="+", default=list(DECODERS))
    parser.add_argument("--look-aheads", nargs="+", type=float, default=list(LOOK_AHEADS))
    parser.add_argument("--talkers", action="store_true", help="two talkers instead of passages")
    parser.add_argument("--live", action="store_true", help="without the offline decoders")
    parser.add_argument("--drop", action="store_true", help="without the last moments of windows, too")
    parser.add_argument("--table", action="store_true", help="print existing rows only")
    options = parser.parse_args()
    options.root.mkdir(parents=True, exist_ok=True)
    for modality in options.modalities * (not options.table):
        experiment = None
        for name in options.decoders:
            for look_ahead in [*options.look_aheads, *[None] * (not options.live)]:
                for drop in (False, True)[: 1 + (options.drop and bool(look_ahead))]:
                    key = {
                        "modality": modality, "seed": options.seed, "talkers": options.talkers, "decoder": name,
                        "look_ahead": look_ahead, "drop": drop,
                    }  # fmt: skip
                    if name_of(key) in read_rows(options.rows):
                        continue
                    experiment = experiment or Experiment(
                        modality, options.seed, options.talkers, options.root
                    )
                    begun = time.perf_counter()
                    values = score(experiment, name, look_ahead, drop)
                    seconds = round(time.perf_counter() - begun, 1)
                    append_row(options.rows, key, **values, seconds=seconds)
                    print(
                        key, values["accuracy"], values["difference"], values["switches"], seconds, flush=True
                    )
    print(machine(), "\n")
    print_table(read_rows(options.rows))


if __name__ == "__main__":
    main()
