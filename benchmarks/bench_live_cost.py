"""Cost of a live decoder: seconds per step and per hour, and memory.

Run as ``python benchmarks/bench_live_cost.py``. The decoders are those of the
laptop preset, made causal, with the time stamps of a live stream. Two minutes
of noise in chunks of one step are pushed to each. With ``--hour``, one hour is
pushed as fast as possible, and the resident memory is printed on the way. A
trial begins with each repetition of the sounds. Each row is a process of its
own, with one thread.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from tempfile import TemporaryDirectory

import numpy as np
from _machine import held_mib, machine, markdown, threads

from sk_b2s import StreamingDecoder, make_decoders, make_segments
from sk_b2s.datasets import make_listening

DECODERS = ("clip-mel", "ridge", "likelihood")
N_CHANNELS = (64, 208)
STEP, SFREQ, WINDOW = 0.08, 125.0, 3.0  # s, Hz, s: 10 samples in a step
MINUTES = (1, 10, 30, 60)  # when memory is read


def fit_causal(name, n_channels, root):
    """Fit a decoder, and return it with positions and sounds."""
    events = make_listening(1, minutes=4, n_channels=n_channels, sfreq=SFREQ, artifacts=False, root=root)
    X, y = make_segments(events, anchor=1.0, tmin=0, tmax=WINDOW)
    pipeline = make_decoders(name, random_state=0)[name]
    pipeline.set_params(epochs__causal=True, scale__calibration=20)
    if "align" in pipeline.named_steps:
        pipeline.set_params(align="passthrough")
    if name == "clip-mel":  # the cost of a step does not depend on the weights
        pipeline.set_params(encoder__look_ahead=0, encoder__max_epochs=1)
    sounds = events[events["type"] == "sound"].drop_duplicates("sound").nlargest(2, "duration")
    pipeline.fit(X, y)
    positions = pipeline[0].transform(X.iloc[:1]).positions[0]
    return pipeline, positions, dict(zip("ab", sounds["sound"], strict=True)), sounds["duration"].min()


def measure(name, n_channels, minutes):
    """Push noise, and return seconds of pushes and starts, and memory."""
    with TemporaryDirectory() as root, threads(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline, positions, sounds, duration = fit_causal(name, n_channels, root)
        decoder = StreamingDecoder(pipeline, sounds, SFREQ, WINDOW, STEP, subject="01", positions=positions)
        n_chunk = round(STEP * SFREQ)
        noise = np.random.default_rng(0).standard_normal((n_channels, 997 * n_chunk)) * 1e-12
        pushes, starts, memory, due, n_predictions = [], [], {}, 0.0, 0
        for step in range(round(minutes * 60 / STEP)):
            now = step * STEP
            if now >= due:
                begun = time.process_time()
                decoder.start(now)
                starts.append(time.process_time() - begun)
                due = now + duration + 1
            at = step % 997 * n_chunk
            stamps = now + np.arange(n_chunk) / SFREQ
            begun = time.process_time()
            predictions = decoder.push(noise[:, at : at + n_chunk], stamps, now + STEP)
            if len(predictions) == 1:
                pushes.append(time.process_time() - begun)
            n_predictions += len(predictions)
            if (passed := (step + 1) * STEP / 60) in MINUTES:
                memory[passed] = held_mib()
                print(f"{passed:.0f} min: {memory[passed]:.0f} MiB", file=sys.stderr, flush=True)
    return {
        "decoder": name, "channels": n_channels, "predictions": n_predictions,
        "step_ms": 1e3 * np.median(pushes), "step_99_ms": 1e3 * np.quantile(pushes, 0.99),
        "start_s": float(np.median(starts)), "hour_s": float(np.mean(pushes) * 3600 / STEP), "memory": memory,
    }  # fmt: skip


def run(name, n_channels, minutes):
    """Measure in a new process, so that memory and caches are its own."""
    command = [sys.executable, __file__, "--child", name, str(n_channels), str(minutes)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    """Print the costs of all decoders."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--hour", nargs="*", choices=DECODERS, default=[], help="decoders that run for an hour"
    )
    parser.add_argument("--channels", type=int, default=64, help="channels of --hour")
    parser.add_argument("--child", nargs=3)
    args = parser.parse_args()
    if args.child:
        name, n_channels, minutes = args.child
        return print(json.dumps(measure(name, int(n_channels), float(minutes))))
    print(machine())
    if args.hour:
        rows = [run(name, args.channels, 60) for name in args.hour]
        lines = [
            [
                row["decoder"],
                row["channels"],
                *(f"{mib:.0f}" for mib in row["memory"].values()),
                f"{row['hour_s']:.0f}",
            ]
            for row in rows
        ]
        return print(
            markdown(["decoder", "channels", *(f"MiB, {m} min" for m in MINUTES), "s per hour"], lines)
        )
    rows = [run(name, n_channels, 2) for n_channels in N_CHANNELS for name in DECODERS]
    columns = ["decoder", "channels", "step: median (ms)", "99 % (ms)", "start (s)", "s per hour"]
    lines = [
        [row["decoder"], row["channels"], f"{row['step_ms']:.1f}", f"{row['step_99_ms']:.1f}", f"{row['start_s']:.2f}",
         f"{row['hour_s']:.0f}"]
        for row in rows
    ]  # fmt: skip
    return print(markdown(columns, lines))


if __name__ == "__main__":
    main()
