"""
Which of these segments was heard?
==================================

Four simulated people listen to spoken *Alice's Adventures in Wonderland* while 208 MEG sensors record. We cut
the recordings into three-second segments, one at each word, train on four fifths of the story and ask, for
every segment of the remaining fifth: which of its segments did this person hear? The answer is a ranking of a
few hundred candidates, and guessing puts the right one among the first ten in a few per cent of cases.

The command ``sk-b2s demo`` asks the same people the same question, without the explanations.
"""

# %%
# The experiment
# --------------
# A recording is a file, and what was heard is a table: one row for each sound, word and phoneme. The simulated
# experiment has the shape of a real one, and what spoils real ones: blinks, sensors that jump, movements, mains, a
# response that waxes and wanes. Unlike a real one it comes with the truth, for an oracle to decode with. And since ten
# minutes are few to learn from, the responses are twice as large as by default (``snr_db=-12`` instead of -18, the
# level of real recordings): the figures below are no forecast for real ones.
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

print("Writing the recordings of four simulated listeners ...")
events, truth = make_listening(
    n_subjects=4, minutes=10, modality="meg", snr_db=-12, root=OUT / "listening", return_truth=True
)
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
# Both see the same brain and estimate the same speech, a mel spectrogram with each band standardized. (Ridge needs
# that: with the paper's one mean for all bands, ``FeatureScaler(per_feature=False)``, it does much worse.)
# Ridge regression is the classical backward model, one for each person, on the brain from 0 to 500 ms after the
# sound: its lags count from the windows, which the Epocher has moved by 150 ms already. The encoder is the network
# of Défossez et al. (2023), here small enough for a laptop, with a layer for each person; it learns to make the
# segment that was heard more similar than the others of its batch.
# :func:`~sk_b2s.make_decoders` makes both by their names; the pipeline is printed so that you see of what.
decoders = sk_b2s.make_decoders(["ridge", "clip-mel"], memory=OUT / "cache", verbose=1)
decoders["clip-mel"].set_params(encoder__max_epochs=8, encoder__patience=3, encoder__random_state=0)
print(decoders["clip-mel"])

# %%
# Scores, with what they need to be read
# --------------------------------------
# Top-10 accuracy among all distinct segments of the held-out sound, one score for each person. Beside it stand
# the number of candidates, chance, and the null: what the same similarities give if the labels are moved along in
# time, the score of a decoder to which the brain says nothing.
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
# What else it could be
# ---------------------
# A score this far above chance can still be wrong in kind. So the encoder is fitted and scored again on what must
# not be decodable: on *surrogates* (each recording with random phases, which keeps its spectra and its covariance),
# on white noise, and on the right brain beside the wrong sound, moved by ten seconds or more. If one of them is
# above chance, something leaks, and the table says LEAK. The other rows say what the score may be made of: the pauses,
# whose places alone, if they were known to the frame, would name three segments in four; the pauses as this brain gives
# them away; loudness; and what the *oracle* reads, who knows how the recordings were made.
print("\nControls of the encoder, each fitted anew ...")
encoder = decoders["clip-mel"].set_params(encoder__verbose=0)
controls = sk_b2s.run_controls(encoder, X, y, oracle=partial(oracle_scores, truth), verbose=1)
columns = ["top_1", "top_k", "sem", "n_candidates", "chance", "null_high", "share_of_oracle", "verdict"]
print("\n" + controls[columns].round(3).to_string())
controls.to_csv(OUT / "controls.csv")

# %%
# The three that must be at chance are. The pauses give nothing away here, and loudness alone as much as the whole
# spectrogram: on ten minutes that is what the encoder learns. The oracle reads nearly everything, so most of what
# these recordings hold is still to be had.

# %%
# What else is known
# ------------------
# No decoder is trained anew for this; each line assumes something, and says so. That we know which segments belong
# to one *sentence*: then they may help each other. That we know which *people* heard the same: then their
# similarities may be averaged. And a question of its own: which *word* was said at the segment's anchor?
# Naming common words is right often and says nothing, so words count equally, and chance is that of a decoder
# that finds all segments equally likely.
single = answers["clip-mel"]
ways = {
    "single segments": single, "pooled over a sentence": single.pool_groups(),
    "averaged over people": single.average("subject"), "averaged and pooled": single.average("subject").pool_groups(),
}  # fmt: skip
known = pd.DataFrame({way: a.summary(n_shifts=200) for way, a in ways.items()}).T
print("\n" + known[["top_1", "top_k", "median_relative_rank", "n_candidates", "chance"]].round(3).to_string())
print("\nWords\n" + single.score_words().round(3).to_string())

# %%
# The picture
# -----------
# Left, each person under both decoders. Middle, accuracy at every k. Right, how the encoder learned.
figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
plot_scores(answers, ax=axes[0])
axes[0].set_ylabel("top-10 accuracy")
ks = np.arange(1, single.n_candidates + 1)
axes[1].plot(ks, ks / single.n_candidates, color="tab:red", linestyle="--", label="chance")
for name in decoders:
    plot_rank_curve(answers[name], label=name, ax=axes[1])
plot_history(encoder[-1], ax=axes[2])
figure.savefig(OUT / "scores.png", dpi=120)

# %%
# What was heard
# --------------
# The words of a few held-out segments, and those of the segment that the encoder takes them for.
heard = y_test.drop_duplicates("segment").set_index("segment")["text"]
few = np.random.default_rng(0).choice(len(X_test), 5, replace=False)
print()
for right, guess in zip(
    y_test["segment"].iloc[few], encoder.predict(X_test.iloc[few], candidates=y_test), strict=True
):
    print(f"{'=' if right == guess else ' '} heard: {heard[right]!r}\n  taken: {heard[guess]!r}")

# %%
# The model, kept
# ---------------
# The whole pipeline goes into one file of weights and plain text, without pickle, and comes back equal.
sk_b2s.save(encoder, OUT / "encoder.safetensors")
again = sk_b2s.load(OUT / "encoder.safetensors")
assert again.score(X_test, y_test) == encoder.score(X_test, y_test)
print(
    f"\n{OUT}/: scores.csv, controls.csv, scores.png, encoder.safetensors, in {time.perf_counter() - began:.0f} s"
)
