"""Decode an attended talker while a simulated recording is replayed.

``make demo-live`` runs this script. It fits a causal decoder to the first
minutes of a simulated subject who attends one of two concurrent talkers. Then
``sk-b2s live`` replays the next minute through an LSL outlet on this machine,
twice as fast, shows the probabilities, and scores them. Everything takes
less than two minutes on two cores.
"""

import importlib.util
import os
import shlex
import sys
import time
from pathlib import Path

import mne
import numpy as np
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    AcousticOnsets,
    Epocher,
    FeatureScaler,
    LikelihoodDecoder,
    MelSpectrogram,
    RobustChannelScaler,
    SpeechFeatureUnion,
    StreamingDecoder,
    make_segments,
    save,
)
from sk_b2s._cli._main import main
from sk_b2s.datasets import make_listening
from sk_b2s.streaming._outlet import LOOPBACK

WINDOW, STEP, CALIBRATION = 5.0, 0.16, 10.0  # s
BEFORE = 5.0  # s of the recording before the talkers begin
SNR = -14  # dB; 4 dB above the default, because the subject has 64 sensors and few minutes of data
SPEED, N_PERMUTED = 2, 8


def find_lsl(folder):
    """Return None if LSL can be used, otherwise the reason."""
    if importlib.util.find_spec("mne_lsl") is None:
        return "mne-lsl is not installed (extra [live])"
    if "LSLAPICFG" not in os.environ:  # the stream stays on this machine
        (folder / "lsl.cfg").write_text(LOOPBACK)
        os.environ["LSLAPICFG"] = str(folder / "lsl.cfg")
    try:
        import mne_lsl.lsl  # noqa: F401
    except Exception as error:  # liblsl cannot be loaded
        return f"{type(error).__name__}: {error}"
    return None


def fit_decoder(events, last):
    """Fit a causal pipeline to the trials before the last one."""
    own = events[events["stream"] == "attended"]
    X, y = make_segments(own, anchor=0.5, tmin=0, tmax=WINDOW)
    unseen = ~y["sound"].map(str).isin([str(sound) for sound in last["sound"]])
    rows = (unseen & (X["onset"] + X["duration"] < last["onset"].min())).to_numpy()
    features = [("mel", MelSpectrogram(n_mels=8, sfreq=25)), ("onsets", AcousticOnsets(n_bands=8, sfreq=25))]
    pipeline = make_pipeline(
        Epocher(sfreq=25, lag=0.15, l_freq=0.5, h_freq=10, causal=True),
        RobustChannelScaler(calibration=CALIBRATION),
        LikelihoodDecoder(
            speech=make_pipeline(SpeechFeatureUnion(features), FeatureScaler()), lags=(-0.15, 0.3)
        ),
    )
    minutes = y.loc[rows].drop_duplicates("sound")
    print(f"Fitting to {rows.sum()} windows of {len(minutes)} stimuli ...", flush=True)
    return pipeline.fit(X[rows], y[rows])


def score_permuted(pipeline, raw, candidates, subject):
    """Return the mean accuracy of the same decoder with permuted channels."""
    samples = raw.get_data(picks=list(pipeline[0].ch_names_))
    rng, scores = np.random.default_rng(0), []
    for _ in range(N_PERMUTED):
        decoder = StreamingDecoder(pipeline, candidates, raw.info["sfreq"], WINDOW, step=1.0, subject=subject)
        predictions = decoder.start(BEFORE).push(rng.permutation(samples))
        scores.append((predictions["best"] == "attended").mean())
    return np.mean(scores)


def run(folder="demo_output"):
    """Simulate, fit, replay and score."""
    begun, folder = time.perf_counter(), Path(folder)
    print("Writing the recording of a simulated subject ...", flush=True)
    events = make_listening(
        1, minutes=8, n_channels=64, snr_db=SNR, artifacts=["blinks", "line", "drift", "ignored"],
        root=folder / "listening",
    )  # fmt: skip
    sounds = events[events["type"] == "sound"]
    last = sounds[sounds["onset"] >= sounds.loc[sounds["stream"] == "attended", "onset"].max()]
    last = last.set_index("stream")
    pipeline = fit_decoder(events, last)
    model, recording = folder / "causal.safetensors", folder / "live_raw.fif"
    save(pipeline, model)
    began = last["onset"].min()
    raw = (
        mne.io.read_raw(last["recording"].iloc[0], verbose="ERROR")
        .crop(began - BEFORE)
        .load_data(verbose="ERROR")
    )
    raw.save(recording, overwrite=True, verbose="ERROR")
    output = folder / "live.jsonl"
    output.unlink(missing_ok=True)
    candidates = {name: (row["sound"], row["onset"] - began) for name, row in last.iterrows()}
    argv = ["live", "--model", str(model), "--candidates"]
    argv += [f"{name}={sound}@{delay:.3f}" for name, (sound, delay) in candidates.items()]
    argv += [
        "--replay", str(recording), "--speed", str(SPEED), "--step", str(STEP), "--onset", f"{BEFORE:.3f}", "--twin",
        "--subject", last["subject"].iloc[0], "--truth", "attended", "--output", str(output), "--port", "0",
    ]  # fmt: skip
    if reason := find_lsl(folder):
        print(f"LSL cannot be used: {reason}. The recording is replayed without it.")
        argv.append("--no-lsl")
    print(f"[{time.perf_counter() - begun:.0f} s] sk-b2s {shlex.join(argv)}", flush=True)
    status = main(argv)
    permuted = score_permuted(pipeline, raw, candidates, last["subject"].iloc[0])
    print(f"accuracy with permuted channels, mean of {N_PERMUTED}: {permuted:.2f} (chance 0.50)")
    print(f"[{time.perf_counter() - begun:.0f} s] {folder}/: causal.safetensors, live_raw.fif, live.jsonl")
    return status


if __name__ == "__main__":
    sys.exit(run())
