"""
Decode segments of a story from simulated MEG
=============================================

Four simulated subjects listen to spoken *Alice's Adventures in Wonderland*
while 208 MEG sensors record. We cut the recordings into three-second segments,
one at each word, train on four fifths of the story and rank the segments of
the remaining fifth for each test window. With a few hundred candidates, the
chance level of the top-10 accuracy is a few per cent.

``sk-b2s demo`` runs the same experiment without the explanations.
"""

# %%
# The experiment
# --------------
# A recording is a file. The events are a table with one row for each stimulus, word and phoneme. The
# simulated experiment has the same format as a real one, and the same artifacts: blinks, jumping sensors,
# movements, line noise and responses of varying strength. It also has a ground truth, which the oracle uses.
# Ten minutes are little data, so the responses are twice as large as by default (``snr_db=-12`` instead of
# -18, the level of real recordings). Do not expect these scores on real recordings.
import time
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

import sk_b2s
from sk_b2s.datasets import make_listening, oracle_scores
from sk_b2s.plotting import plot_history, plot_rank_curve, plot_scores

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

OUT = Path("demo_output")
OUT.mkdir(exist_ok=True)
began = time.perf_counter()

print("Writing the recordings of four simulated subjects ...")
events, truth = make_listening(
    n_subjects=4, minutes=10, modality="meg", snr_db=-12, root=OUT / "listening", return_truth=True
)
print(events.groupby("type").size().to_string(), "\n")

# %%
# A segment is a row
# ------------------
# ``X`` describes the EEG/MEG windows (recording and onset), and ``y`` the stimulus segments (stimulus, onset
# and words). Both stay tables until the signals are needed, so scikit-learn can split them like any other
# table. Segments overlap by seconds. Therefore *blocks* of at least twenty seconds of audio are assigned to
# folds, and no training segment is within a second of held-out audio.
X, y = sk_b2s.make_segments(events, anchor="word", tmin=-0.5, tmax=2.5)
splitter = sk_b2s.StimulusKFold(n_splits=5)
print(splitter.summary(X, y).head(1).to_string(index=False), "\n")
train, test = next(splitter.split(X, y))
X_train, y_train, X_test, y_test = X.iloc[train], y.iloc[train], X.iloc[test], y.iloc[test]

# %%
# Two decoders
# ------------
# Both decoders estimate the same speech features from the same windows: a mel spectrogram with each band
# standardized. (Ridge regression needs this. With one mean for all bands as in the paper,
# ``FeatureScaler(per_feature=False)``, its score is much lower.) Ridge regression is the classical backward
# model, one per subject, with lags of 0 to 500 ms. The lags count from the windows, which the Epocher has
# already shifted by 150 ms. The encoder is the network of Défossez et al. (2023), here small enough for a
# laptop, with one layer per subject. It learns to make the target segment more similar than the other
# segments of its batch. :func:`~sk_b2s.make_decoders` makes both by name. The printed pipeline shows the
# steps.
decoders = sk_b2s.make_decoders(["ridge", "clip-mel"], memory=OUT / "cache", verbose=1)
decoders["clip-mel"].set_params(encoder__max_epochs=8, encoder__patience=3, encoder__random_state=0)
print(decoders["clip-mel"])

# %%
# Scores
# ------
# The score is top-10 accuracy among all distinct segments of the held-out stimuli, one score per subject. The
# table also has the number of candidates, the chance level and the null distribution: the score of the same
# similarities after the labels are shifted circularly in time, which is the score without neural information.
results, seconds = {}, {}
for name, decoder in decoders.items():
    print(f"\nFitting {name} ...")
    start = time.perf_counter()
    decoder.fit(X_train, y_train)
    seconds[name] = time.perf_counter() - start
    results[name] = sk_b2s.retrieve(decoder, X_test, y_test)
table = pd.DataFrame({name: result.summary() for name, result in results.items()}).T.assign(
    fit_seconds=seconds
)
print("\n" + table.round(3).T.to_string())
table.to_csv(OUT / "scores.csv")

# %%
# Controls
# --------
# A score far above the chance level can still have another cause. The encoder is therefore fitted and scored
# again on inputs that contain nothing to decode: *surrogate* recordings with random phases, which keep
# spectra and covariance, white noise, and recordings with labels shifted by ten seconds or more. A control
# above the chance level is a leak, and the verdict is LEAK. Other rows show what the score may consist of.
# Exact silences alone would identify three segments in four. The remaining rows decode silences and loudness
# from the recordings, and the *oracle* uses the ground truth.
print("\nControls of the encoder, each refitted ...")
encoder = decoders["clip-mel"].set_params(encoder__verbose=0)
controls = sk_b2s.run_controls(encoder, X, y, oracle=partial(oracle_scores, truth), verbose=1)
columns = ["top_1", "top_k", "top_k_sem", "n_candidates", "chance", "null_high", "share_of_oracle", "verdict"]
print("\n" + controls[columns].round(3).to_string())
controls.to_csv(OUT / "controls.csv")

# %%
# The three controls are at chance, as they must be. Decoded silences explain nothing here. Loudness explains
# as much as the whole spectrogram: with ten minutes of data, the encoder learns mainly loudness. The oracle
# decodes nearly everything, so most of the information in these recordings remains unused.

# %%
# Additional information
# ----------------------
# The next rows use the same fitted decoder with an additional assumption each. If the segments of a
# *sentence* are known, their similarities can be pooled. If *subjects* are known to have had the same
# stimulus, their similarities can be averaged. The last table scores the *word* at the anchor. Always naming
# frequent words is often correct but carries no information, so words are weighted equally, and the chance
# level is that of equal segment probabilities.
single = results["clip-mel"]
ways = {
    "single segments": single, "pooled over a sentence": single.pool_groups(),
    "averaged over subjects": single.average("subject"), "averaged and pooled": single.average("subject").pool_groups(),
}  # fmt: skip
known = pd.DataFrame({way: result.summary(n_shifts=200) for way, result in ways.items()}).T
print("\n" + known[["top_1", "top_k", "median_relative_rank", "n_candidates", "chance"]].round(3).to_string())
print("\nWords\n" + single.score_words().round(3).to_string())

# %%
# Figure
# ------
# Left: each subject with both decoders. Middle: accuracy for every k. Right: training of the encoder.
figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
plot_scores(results, ax=axes[0])
axes[0].set_ylabel("top-10 accuracy")
ks = np.arange(1, single.n_candidates + 1)
axes[1].plot(ks, ks / single.n_candidates, color="tab:red", linestyle="--", label="chance")
for name in decoders:
    plot_rank_curve(results[name], label=name, ax=axes[1])
plot_history(encoder[-1], ax=axes[2])
figure.savefig(OUT / "scores.png", dpi=120)

# %%
# Target and prediction
# ---------------------
# The words of a few held-out segments, and the words of the segments that the encoder predicts.
texts = y_test.drop_duplicates("segment").set_index("segment")["text"]
few = np.random.default_rng(0).choice(len(X_test), 5, replace=False)
print()
for target, predicted in zip(
    y_test["segment"].iloc[few], encoder.predict(X_test.iloc[few], candidates=y_test), strict=True
):
    print(f"{'=' if target == predicted else ' '} target:    {texts[target]!r}")
    print(f"  predicted: {texts[predicted]!r}")

# %%
# Save the model
# --------------
# The whole pipeline is saved in one file of weights and plain text, without pickle. The loaded pipeline gives
# equal scores.
sk_b2s.save(encoder, OUT / "encoder.safetensors")
loaded = sk_b2s.load(OUT / "encoder.safetensors")
assert loaded.score(X_test, y_test) == encoder.score(X_test, y_test)
print(
    f"\n{OUT}/: scores.csv, controls.csv, scores.png, encoder.safetensors, in {time.perf_counter() - began:.0f} s"
)
