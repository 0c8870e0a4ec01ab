"""
Which of these segments was heard?
==================================

Four simulated people listen to spoken *Alice's Adventures in Wonderland* while 208 MEG sensors record. We cut
the recordings into three-second segments, one at each word, train on four fifths of the story and ask, for
every segment of the remaining fifth: which of its segments did this person hear? The answer is a ranking of a
few hundred candidates, and guessing puts the right one among the first ten in a few per cent of cases.
"""

# %%
# The experiment
# --------------
# A recording is a file, and what was heard is a table: one row for each sound, word and phoneme. The simulated
# experiment has the shape of a real one, so this is also how a real one begins.
import time
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline, make_pipeline

import sk_b2s
from sk_b2s import (
    BrainEncoder,
    Epocher,
    FeatureScaler,
    MelSpectrogram,
    RidgeDecoder,
    RobustChannelScaler,
)
from sk_b2s.datasets import make_listening
from sk_b2s.plotting import plot_history, plot_rank_curve, plot_scores

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

OUT = Path("demo_output")
OUT.mkdir(exist_ok=True)
began = time.perf_counter()

print("Writing the recordings of four simulated listeners ...")
events = make_listening(n_subjects=4, minutes=10, modality="meg", root=OUT / "listening")
print(events.groupby("type").size().to_string(), "\n")

# %%
# A segment is a row
# ------------------
# ``X`` says what the brain did (which recording, from when), ``y`` what was heard (which sound, from when, which
# words). Both stay tables until they are needed, so scikit-learn can split them like any other table. Segments
# overlap by seconds, so we do not split segments: we split *blocks* of sound of twenty seconds and more, and no
# training segment comes within a second of held-out sound.
X, y = sk_b2s.make_segments(events, anchor="word", tmin=-0.5, tmax=2.5)
splitter = sk_b2s.StimulusKFold(n_splits=5)
print(splitter.summary(X, y).head(1).to_string(index=False), "\n")
train, test = next(splitter.split(X, y))
X_train, y_train, X_test, y_test = X.iloc[train], y.iloc[train], X.iloc[test], y.iloc[test]

# %%
# Two decoders
# ------------
# Both see the same brain and estimate the same speech, a mel spectrogram with each band standardised. (Ridge needs
# that: with the paper's one mean for all bands, ``FeatureScaler(per_feature=False)``, its top-10 falls to two fifths.)
# Ridge regression is the classical backward model, one for each person, on the brain from 0 to 500 ms after the
# sound: its lags count from the windows, which the Epocher has moved by 150 ms already. The encoder is the network
# of Défossez et al. (2023), here small enough for a laptop, with a layer for each person; it learns to make the
# segment that was heard more similar than the others of its batch.
brain = [
    ("epochs", Epocher(sfreq=50, lag=0.15, memory=OUT / "cache")),
    ("scale", RobustChannelScaler(clip=20)),
]
speech = make_pipeline(MelSpectrogram(n_mels=40, sfreq=25, memory=OUT / "cache"), FeatureScaler())
decoders = {
    "ridge": Pipeline([*brain, ("encoder", RidgeDecoder(speech=speech, lags=(-0.15, 0.35), n_components=48))]),
    "encoder": Pipeline([
        *brain,
        ("encoder", BrainEncoder(
            speech=speech, hidden=64, depth=5, n_virtual_channels=64, lr=1e-3, batch_size=128, max_epochs=8,
            patience=2, random_state=0,
        )),
    ]),
}  # fmt: skip

# %%
# Scores, with what they need to be read
# --------------------------------------
# Top-10 accuracy among all distinct segments of the held-out sound, one score for each person. Beside it stand
# the number of candidates, chance, and what the same similarities give if the labels are moved along in time:
# the score of a decoder to which the brain says nothing.
answers, seconds = {}, {}
for name, decoder in decoders.items():
    print(f"\nFitting {name} ...")
    start = time.perf_counter()
    decoder.fit(X_train, y_train)
    seconds[name] = time.perf_counter() - start
    answers[name] = sk_b2s.retrieve(decoder, X_test, y_test)
table = pd.DataFrame({name: a.summary() for name, a in answers.items()}).T.assign(fit_seconds=seconds)
print("\n" + table.round(3).T.to_string())
table.to_csv(OUT / "scores.csv")

# %%
# The picture
# -----------
# Left, each person under both decoders. Middle, accuracy at every k. Right, how the encoder learned.
figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
plot_scores(answers, ax=axes[0])
axes[0].set_ylabel("top-10 accuracy")
n_candidates = answers["ridge"].n_candidates
ks = np.arange(1, n_candidates + 1)
axes[1].plot(ks, ks / n_candidates, color="tab:red", linestyle="--", label="chance")
for name in decoders:
    plot_rank_curve(answers[name], label=name, ax=axes[1])
plot_history(decoders["encoder"][-1].history_, ax=axes[2])
figure.savefig(OUT / "scores.png", dpi=120)

# %%
# What was heard
# --------------
# The words of a few held-out segments, and those of the segment that the encoder takes them for.
heard = y_test.drop_duplicates("segment").set_index("segment")["text"]
few = np.random.default_rng(0).choice(len(X_test), 5, replace=False)
for truth, guess in zip(
    y_test["segment"].iloc[few], decoders["encoder"].predict(X_test.iloc[few], candidates=y_test), strict=True
):
    print(f"{'=' if truth == guess else ' '} heard: {heard[truth]!r}\n  taken: {heard[guess]!r}")

# %%
# The model, kept
# ---------------
# The whole pipeline goes into one file of weights and plain text, without pickle, and comes back equal.
sk_b2s.save(decoders["encoder"], OUT / "encoder.safetensors")
again = sk_b2s.load(OUT / "encoder.safetensors")
assert again.score(X_test, y_test) == decoders["encoder"].score(X_test, y_test)
print(f"\n{OUT}/: scores.csv, scores.png, encoder.safetensors, in {time.perf_counter() - began:.0f} s")
