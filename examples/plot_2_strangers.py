"""
A listener nobody has met
=========================

A decoder that is trained on you knows your brain. How much of it holds for somebody else, who hears something else?
We leave out one person *and* part of the story, train on the other people and the rest of the story, and ask of every
segment that this person heard: which was it? Settings are chosen by a grid search that never sees either.
"""

# %%
# The experiment
# --------------
# Four simulated people, ten minutes of *Alice's Adventures in Wonderland*, 64 MEG sensors. Their auditory cortices lie
# and point differently and their responses differ in latency, so a decoder of one is a poor decoder of another. To
# see something in ten minutes we make the responses four times as large as by default (``snr_db=-6`` instead of -18,
# the level of real recordings) and leave the artifacts out: the figures below are no forecast for real ones.
import time
from pathlib import Path

import matplotlib
import pandas as pd
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline

from sk_b2s import (
    BrainEncoder,
    Epocher,
    FeatureScaler,
    LeaveOneSubjectOut,
    MelSpectrogram,
    RidgeDecoder,
    RobustChannelScaler,
    concat_results,
    make_segments,
    retrieval_scores,
    retrieve,
)
from sk_b2s.datasets import make_listening
from sk_b2s.plotting import plot_rank_curve, plot_scores

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

OUT = Path("demo_output")
OUT.mkdir(exist_ok=True)
began = time.perf_counter()
events = make_listening(
    4, 10, modality="meg", n_channels=64, snr_db=-6, artifacts=False, root=OUT / "listening"
)
X, y = make_segments(events, anchor="word", tmin=-0.5, tmax=2.5)
print(f"{len(X)} segments of {X['subject'].nunique()} people, {y['segment'].nunique()} of them distinct\n")

# %%
# Two things to leave out
# -----------------------
# ``LeaveOneSubjectOut(stimulus_folds=2)`` leaves out each person in turn and, for each, each half of the sound:
# eight folds. All four heard the same story, so leaving out the person alone would test on sound that the decoder
# was trained on. The same rule within the search: what suits a stranger is chosen on strangers.
outer = LeaveOneSubjectOut(stimulus_folds=2)
inner = LeaveOneSubjectOut(stimulus_folds=2)
print(outer.summary(X, y).round(0).astype(int).to_string(), "\n")

# %%
# What is searched
# ----------------
# Every parameter of every step has a name. We ask two questions: which 350 ms of brain say what was just heard, those
# from the sound on or those that begin 150 ms later? And is a stranger better served by the mean of three personal
# decoders, or by one decoder of three people? The scorer gives all scores from one pass; ``refit`` names the one
# that counts, here the median relative rank, which moves with every window (``top_k`` is coarse where scores are low).
brain = [("epochs", Epocher(sfreq=25, memory=OUT / "cache")), ("scale", RobustChannelScaler(clip=20))]
speech = make_pipeline(MelSpectrogram(n_mels=20, sfreq=25, memory=OUT / "cache"), FeatureScaler())
ridge = Pipeline([*brain, ("ridge", RidgeDecoder(speech=speech, lags=(0, 0.35), n_components=16))])


def best(results):
    """Row of the grid with the lowest median relative rank."""
    return int(results["mean_test_median_relative_rank"].argmin())


search = GridSearchCV(
    ridge,
    {"epochs__lag": [0.0, 0.15], "ridge__per_subject": [True, False]},
    cv=inner,
    scoring=retrieval_scores,
    refit=best,
)

# %%
# A search in every fold
# ----------------------
# Searching once on everything and then cross-validating the winner would let it see the people it is tested on. So
# the search goes *into* the cross-validation: each fold chooses for itself, on six splits of its three people.
found = cross_validate(
    search, X, y, cv=outer, scoring=retrieval_scores, return_estimator=True, return_indices=True, n_jobs=2
)
columns = ["test_top_1", "test_top_k", "test_median_relative_rank", "test_n_candidates", "test_chance"]
folds = pd.DataFrame({name.removeprefix("test_"): found[name] for name in columns})
chosen = pd.DataFrame([estimator.best_params_ for estimator in found["estimator"]])
subject = [X["subject"].iloc[test[0]] for test in found["indices"]["test"]]
print(pd.concat([pd.Series(subject, name="new listener"), folds.round(3), chosen], axis=1).to_string(), "\n")
print(f"after {time.perf_counter() - began:.0f} s\n")

# %%
# One score for each person
# -------------------------
# The four folds of one half chose among the same segments, so their answers join into one table. ``summary`` gives
# means over people with their standard errors, chance, and the null: the score of the same similarities after the
# labels have moved along in time.
tests = found["indices"]["test"]
answers = {
    "ridge": concat_results(
        retrieve(found["estimator"][fold], X.iloc[tests[fold]], y.iloc[tests[fold]])
        for fold in range(0, 8, 2)
    )
}

# %%
# And a small network in the same four folds, with no layer for each person, as none of them is the one tested.
encoder = Pipeline([
    *brain,
    ("encoder", BrainEncoder(
        speech=speech, hidden=48, depth=4, n_virtual_channels=32, subject_layer=None, lr=1e-3, batch_size=128,
        max_epochs=6, patience=2, random_state=0, verbose=0,
    )),
]).set_params(epochs__lag=0.15)  # fmt: skip
parts = []
for train, test in list(outer.split(X, y))[::2]:
    encoder.fit(X.iloc[train], y.iloc[train])
    parts.append(retrieve(encoder, X.iloc[test], y.iloc[test]))
answers["encoder"] = concat_results(parts)
print(pd.DataFrame({name: a.summary() for name, a in answers.items()}).round(3).to_string(), "\n")
people = pd.DataFrame({
    name: pd.Series(a.ranks / (a.n_candidates - 1)).groupby(a.rows["subject"]).median() for name, a in answers.items()
})  # fmt: skip
print(f"Median relative rank of each person, chance 0.5\n{people.round(3).to_string()}\n")

# %%
# Three of the four are read far better than by chance, though nobody's own recording was in training; the network,
# which learns one mapping of all sensors, reads each of them better than ridge. The fourth is not read at all: in
# these sensors that person's response looks unlike the others'. Three people are few to learn strangers from, and a
# mean over people hides such a one, so look at every one of them.

# %%
# What else is known
# ------------------
# Two things may be known without knowing what was heard, and each has to be said beside the score. *That these people
# heard the same sound*: then their similarities may be averaged. *That these segments belong to one sentence*: then
# they may help each other. No decoder is trained anew.
rows = {}
for name, single in answers.items():
    ways = {
        "single segments": single,
        "pooled over a sentence": single.pool_groups(),
        "averaged over people": single.average("subject"),
        "both": single.average("subject").pool_groups(),
    }
    for way, a in ways.items():
        summary = a.summary(n_shifts=200)
        rows[name, way] = summary[
            ["top_1", "top_k", "median_relative_rank", "n_candidates", "chance", "null_high"]
        ]
print(pd.DataFrame(rows).T.round(3).to_string(), "\n")

# %%
# A sentence helps a little, as its segments know little. Averaging over people helps much more: what the decoder gets
# wrong about each of them differs, what they heard does not, and even the one whom it cannot read does not spoil it.

# %%
# Words
# -----
# Which word was said at the anchor? The probabilities of all segments of a word are summed. Naming the commonest
# words whatever the brain does is a good guess over windows (``chance`` of "plain") and a poor one over words, so
# "balanced" is the line to quote.
print(answers["encoder"].score_words().round(3).to_string(), "\n")

# %%
# The picture
# -----------
figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
plot_scores(answers, ax=axes[0])
axes[0].set_ylabel("top-10 accuracy")
for name, single in answers.items():
    plot_rank_curve(single, label=name, ax=axes[1])
    plot_rank_curve(single.average("subject"), label=f"{name}, averaged over people", ax=axes[1])
figure.savefig(OUT / "strangers.png", dpi=120)
print(f"{OUT}/strangers.png, in {time.perf_counter() - began:.0f} s")
