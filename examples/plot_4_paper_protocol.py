"""
Reproduce the protocol of the paper
===================================

Défossez et al. (2023) compare a regression of the mel spectrogram, a
contrastive loss, a jointly trained speech network (Deep Mel), and wav2vec 2.0.
This page uses their split, windows and losses on simulated subjects, with a
network and data that are small enough for a minute on one core. The scores of
a larger experiment are in the text.
"""

# %%
# Blocks of sentences
# -------------------
# Two subjects, eight minutes of *Alice's Adventures in Wonderland*, 32 MEG sensors, with artifacts. The
# responses are four times as large as by default (``snr_db=-6`` instead of -18), because eight minutes are
# little data. The published blocks consist of whole sentences, six seconds or more. A hash of their text
# assigns them to training, validation and test, so the split is the same for all users without a list.
# Training windows are on a grid of half a second, test windows at word onsets.
import time
from pathlib import Path

import matplotlib
import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline

from sk_b2s import (
    BrainEncoder,
    Epocher,
    FeatureScaler,
    HashedBlockSplit,
    MelSpectrogram,
    PaperBlocks,
    RobustChannelScaler,
    make_segments,
    retrieve,
)
from sk_b2s.datasets import make_listening
from sk_b2s.plotting import plot_scores

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

OUT = Path("demo_output")
OUT.mkdir(exist_ok=True)
began = time.perf_counter()
events = make_listening(2, 8, modality="meg", n_channels=32, snr_db=-6, root=OUT / "listening")
tables = [make_segments(events, anchor=a, margin=0.15, block=PaperBlocks()) for a in (0.5, "word")]
X, y = (pd.concat(parts, ignore_index=True) for parts in zip(*tables, strict=True))

# %%
# Training, validation and test
# -----------------------------
# A window counts only if it and its delay of 150 ms lie within one block of its set, so some words of test
# blocks are never tested (``n_test_left_out``). The split has no gap either. The clocks of recordings differ by
# milliseconds, so test windows can share audio with the training set (``n_shared``), and ``fit`` and ``score``
# then warn about it. Use this split only for comparisons with published scores. Otherwise use ``StimulusKFold``, which
# tests every word with a gap of a second.
split = HashedBlockSplit("test")
part = pd.Series(split.assign(y)).replace("", "left out")
print(pd.crosstab(part, y["anchor"]).to_string(), "\n")
train, test = next(split.split(X, y))
print(split.summary(X, y).to_string(index=False), "\n")

# %%
# The steps of Table 2 of the paper
# ---------------------------------
# The same network is trained three times with the same budget: regression on mel ("base"), contrastive loss
# on mel, and contrastive loss with a second network for the speech features. ``HashedBlockSplit("valid")``
# passes the published validation blocks to the encoder, which selects the best epoch on them. MEG at 50 Hz
# and mel at 25 Hz save most of the time.
steps = [
    ("epochs", Epocher(sfreq=50, lag=0.15, baseline=(0, 0.5), memory=OUT / "cache")),
    ("scale", RobustChannelScaler(clip=20)),
]
speech = make_pipeline(MelSpectrogram(n_mels=20, sfreq=25, memory=OUT / "cache"), FeatureScaler())
encoder = BrainEncoder(
    speech=speech, hidden=32, depth=2, n_virtual_channels=32, lr=1e-3, batch_size=128, max_epochs=8, patience=3,
    validation=HashedBlockSplit("valid"), random_state=0, verbose=0,
)  # fmt: skip
variants = {
    "regression, mel": {"loss": "mse"},
    "contrastive, mel": {"loss": "clip"},
    "contrastive, Deep Mel": {"loss": "clip", "speech_embedding_dim": 64},
}
results = {}
for name, changes in variants.items():
    pipe = Pipeline([*steps, ("encoder", clone(encoder).set_params(**changes))])
    pipe.fit(X.iloc[train], y.iloc[train])
    results[name] = retrieve(pipe, X.iloc[test], y.iloc[test])
table = pd.DataFrame({name: result.summary() for name, result in results.items()})
print(table.round(3).to_string(), "\n")

# %%
# Two subjects and one seed show the steps, and do not compare the losses. With four subjects, twenty minutes, 64 sensors,
# ``snr_db=-12``, 40 mel bands, ``hidden=64``, ``depth=5`` and ``n_virtual_channels=64``, this code took half an hour
# on one core. Top-10 accuracy was .27 for regression, .37 for the contrastive loss and .32 for the contrastive loss
# with Deep Mel, with a chance level of .021 and 97.5 % of the null below .029. The contrastive loss was better than
# regression, as in the paper, and the second network did not increase the score. For wav2vec 2.0, the last step of the
# paper, replace ``MelSpectrogram`` with ``Wav2Vec2Features("facebook/wav2vec2-large-xlsr-53")``.

# %%
# Figure
# ------
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
plot_scores(results, ax=ax)
ax.set_ylabel("top-10 accuracy")
figure.savefig(OUT / "paper_protocol.png", dpi=120)
print(f"{OUT}/paper_protocol.png, in {time.perf_counter() - began:.0f} s")
