"""
Decode while the recording runs
===============================

A decoder is fitted to the first minutes of a recording, the calibration data,
and then predicts which of two passages is presented, while the rest of the
recording is streamed. This page needs no stream: samples come from a file in
chunks, as from an amplifier. ``sk-b2s live`` does the same with streams of the
Lab Streaming Layer (``make demo-live``).
"""

# %%
# The experiment
# --------------
# One subject listens to five passages of *Alice's Adventures in Wonderland*. The recording is simulated, with 64
# MEG sensors. The responses are larger than by default (``snr_db=-14`` instead of -18), because there are few
# minutes and sensors. Do not expect these scores on real recordings. The first three passages are calibration
# data. The other two are decoded.
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib
import mne
import numpy as np
import pandas as pd
from sklearn.pipeline import make_pipeline

import sk_b2s
from sk_b2s.datasets import make_listening
from sk_b2s.streaming import (
    StreamingDecoder,
    decode_live,
    make_stream_source,
    pipeline_latency,
    read_live_predictions,
    score_live_predictions,
)

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

folder = TemporaryDirectory()
events = make_listening(
    1, minutes=8, n_channels=64, snr_db=-14, artifacts=["blinks", "line"], root=folder.name
)
passages = events[events["type"] == "sound"].sort_values("onset")
held_out = passages.tail(2)
print(passages[["onset", "duration", "speaker"]].round(1).to_string(index=False))

# %%
# A causal pipeline
# -----------------
# Filters must not read later samples (``causal=True``), and channels are scaled by the first seconds of a
# recording (``calibration=20``) and not by all of it. A network needs ``BrainEncoder(look_ahead=0)``. Everything
# else is a usual pipeline, which cross-validation can score before.
DURATION = 4.0  # s of evidence in one window
X, y = sk_b2s.make_segments(events, anchor=0.5, tmin=0, tmax=DURATION)
calibration = ~y["sound"].map(str).isin(held_out["sound"].map(str)).to_numpy()
speech = make_pipeline(sk_b2s.MelSpectrogram(n_mels=8, sfreq=25), sk_b2s.FeatureScaler())
pipe = make_pipeline(
    sk_b2s.Epocher(sfreq=25, lag=0.15, l_freq=0.5, h_freq=10, causal=True),
    sk_b2s.RobustChannelScaler(calibration=20),
    sk_b2s.LikelihoodDecoder(speech=speech, lags=(-0.15, 0.3)),
).fit(X[calibration], y[calibration])
raw = mne.io.read_raw(held_out["recording"].iloc[0], verbose="ERROR")
print(pipeline_latency(pipe, raw.info["sfreq"]).round(2).to_string())

# %%
# "delay" is the time that samples take through a step. "look_ahead" is the time of the response that the
# decoder uses: the last moments of a window are compared with a part of it.
#
# Stream
# ------
# :func:`~sk_b2s.streaming.decode_live` reads a source until it ends and writes each prediction to a file. The
# source could also be an LSL stream, ``make_stream_source("EEG")``. Here it is the file from 5 s before the first
# passage. At each of the two onsets the evidence begins again.
BEFORE = 5.0
start = held_out["onset"].min() - BEFORE
raw.crop(start)
onsets = (held_out["onset"] - start).tolist()
candidates = {"fourth": held_out["sound"].iloc[0], "fifth": held_out["sound"].iloc[1]}


def make_live():
    """Make a decoder that has not received any sample."""
    return StreamingDecoder(
        pipe, candidates, sfreq=raw.info["sfreq"], duration=DURATION, step=0.2,
        subject=held_out["subject"].iloc[0],
    )  # fmt: skip


live, path = make_live(), Path(folder.name) / "live.jsonl"
counts = decode_live(live, make_stream_source(raw, pipe[0].ch_names_), onsets, path)
print(counts["n_predictions"], "predictions of", counts["n_samples"], "samples")

# %%
# Latency
# -------
# ``step`` is how often a prediction comes. ``total`` is how late it is, and ``computation`` must be shorter than
# ``step``.
print(live.latency_.drop("computation").round(2).to_string())
print("keeps up:", bool(live.latency_["computation"] < live.latency_["step"]))

# %%
# Predictions do not depend on the chunks
# ---------------------------------------
# The same minute in irregular chunks gives the same probabilities, because filters and decoder carry all of
# their state.
samples = raw.get_data(picks=pipe[0].ch_names_)
predictions = read_live_predictions(path)
again, rng, at, parts = make_live().start(onsets[0]), np.random.default_rng(0), 0, []
while at < 60 * raw.info["sfreq"]:
    n_times = int(rng.integers(1, 200))
    parts.append(again.push(samples[:, at : at + n_times]))
    at += n_times
parts = pd.concat(parts, ignore_index=True)
difference = np.abs(parts["fourth"] - predictions["fourth"].iloc[: len(parts)]).max()
print(len(parts), "predictions, equal:", bool(difference < 1e-4))

# %%
# Scores and a twin
# -----------------
# The scores are those of the predictions that were written, by seconds of evidence. In ``accuracy_shifted`` the
# names of the two trials are exchanged. As a second null, a twin decodes the same stream with permuted channels.
# Two trials are too few for a conclusion. Predictions of one trial overlap, so an experiment counts trials.
truth = ["fourth", "fifth"]
columns = ["evidence_from", "evidence_to", "n_trials", "accuracy", "accuracy_shifted", "probability"]
print(score_live_predictions(predictions, truth, bin_width=20)[columns].round(2).to_string(index=False))
order = rng.permutation(len(samples))
permuted = mne.io.RawArray(
    samples[order], mne.create_info(pipe[0].ch_names_, raw.info["sfreq"], "mag"), verbose="ERROR"
)
twin_path = Path(folder.name) / "twin.jsonl"
decode_live(make_live(), make_stream_source(permuted), onsets, twin_path)
twin = read_live_predictions(twin_path)

# %%
# Probability of the presented passage. The first 20 s of each trial scale the channels.
figure, axes = plt.subplots(1, 2, figsize=(11, 3.5), sharey=True, layout="constrained")
for trial, (ax, name) in enumerate(zip(axes, truth, strict=True)):
    for label, table, color in [
        ("decoder", predictions, "tab:blue"),
        ("permuted channels", twin, "tab:gray"),
    ]:
        rows = table[table["trial"] == trial]
        ax.plot(rows["stimulus_time"], rows[name], color=color, label=label)
    ax.axhline(0.5, color="black", linestyle="--", linewidth=1, label="chance")
    ax.set(title=f"{name} passage presented", xlabel="evidence (s)", ylim=(-0.02, 1.02))
axes[0].set_ylabel("probability of the presented one")
axes[1].legend()

# %%
# Next
# ----
# Save the pipeline and use it with a stream:
#
# .. code-block:: sh
#
#     sk-b2s live --model causal.safetensors --candidates a=a.wav b=b.wav --subject 01 --stream EEG --onset 10
sk_b2s.save(pipe, Path(folder.name) / "causal.safetensors")
folder.cleanup()

# sphinx_gallery_thumbnail_path = "_static/figures/streaming.svg"
