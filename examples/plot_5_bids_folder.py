"""
Decode a BIDS folder from its path
==================================

A BIDS folder contains recordings of participants who listened to speech.
Nothing but its path is given. Do the recordings contain a response to speech,
is it at the times of the events tables, and how well can it be decoded?
"""

# %%
# A folder
# --------
# To avoid a download, this page writes the folder: four simulated subjects, ten minutes of *Alice's
# Adventures in Wonderland*, 64 MEG sensors, responses twice as large as by default. The return value is
# ignored, and only the path is used from here on.
import time
from pathlib import Path

import matplotlib
import pandas as pd

import sk_b2s
from sk_b2s.datasets import make_listening
from sk_b2s.plotting import plot_alignment, plot_rank_curve

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

OUT = Path("demo_output")
OUT.mkdir(exist_ok=True)
began = time.perf_counter()
make_listening(4, 10, modality="meg", n_channels=64, snr_db=-12, root=OUT / "bids")
folder = next((OUT / "bids").glob("listening-meg-*"))
for path in sorted(folder.glob("*")) + sorted((folder / "sub-01").rglob("*.*")):
    print(path.relative_to(folder))

# %%
# Events
# ------
# The events table has one row for each stimulus, word and phoneme, over all recordings. Channels, bad
# channels, sampling rates and sensor positions stay in the files until they are needed. Map other column
# names with ``read_bids(columns={...}, types={...})``. TextGrids are found next to the audio files.
events = sk_b2s.read_bids(folder, task="listening")
print("\n", events.groupby(["subject", "type"]).size().unstack().to_string(), "\n")

# %%
# Check the alignment
# -------------------
# A wrong trigger, a delay of the sound card or the stimuli of another subject can waste a week of training.
# Check the alignment first: in each recording, and in every five minutes of it, the response to the envelope
# should begin with the stimulus and peak near 0.1 s.
found = sk_b2s.check_alignment(events, memory=OUT / "cache")
columns = ["subject", "part", "heard", "verdict_text", "offset", "p"]
print(found[columns].round(4).to_string(index=False), "\n")

# %%
# What an error looks like
# ------------------------
# Subject 02 gets onsets that are 0.3 s too early, as if the offset of an epoch had been forgotten (Brennan's
# published reader has this error). Subject 03 gets the stimuli in another order.
wrong = events[events["type"] == "sound"].copy()
wrong.loc[wrong["subject"] == "02", "onset"] -= 0.3
of_third = wrong["subject"] == "03"
sounds = wrong.groupby("sound")["duration"].max()
another = dict(zip(sounds.index, [*sounds.index[1:], sounds.index[0]], strict=True))
wrong.loc[of_third, "sound"] = wrong.loc[of_third, "sound"].map(another)
wrong["duration"] = wrong["duration"].clip(upper=wrong["sound"].map(sounds))
mistaken = sk_b2s.check_alignment(wrong, memory=OUT / "cache")
whole = mistaken[mistaken["part"] == 0]
print(whole[["subject", "verdict_text", "note"]].to_string(index=False), "\n")

figure, axes = plt.subplots(1, 2, figsize=(13, 3.5), layout="constrained")
plot_alignment(found, ax=axes[0])
plot_alignment(mistaken, ax=axes[1])
axes[1].set_title("02 shifted, 03 with the wrong sounds")
figure.savefig(OUT / "alignment.png", dpi=120)

# %%
# Decode
# ------
# The rest is as for any events table: segments at words, a held-out fifth of the story with a gap of a
# second, and a decoder. Ridge regression is the fast option, and ``sk_b2s.make_decoders(["clip-mel"])`` is
# the network.
X, y = sk_b2s.make_segments(events, anchor="word", tmin=-0.5, tmax=2.5)
train, test = next(sk_b2s.StimulusKFold(n_splits=5).split(X, y))
decoder = sk_b2s.make_decoders(["ridge"], memory=OUT / "cache")["ridge"].fit(X.iloc[train], y.iloc[train])
result = sk_b2s.retrieve(decoder, X.iloc[test], y.iloc[test])
print(pd.Series(result.summary()).round(3).to_string())

figure, ax = plt.subplots(figsize=(5, 4), layout="constrained")
plot_rank_curve(result, label="ridge", ax=ax)
figure.savefig(OUT / "bids_ranks.png", dpi=120)
print(f"\n{OUT}/: alignment.png, bids_ranks.png, in {time.perf_counter() - began:.0f} s")

# sphinx_gallery_thumbnail_path = "_static/figures/plot_alignment.svg"
