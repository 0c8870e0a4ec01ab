"""
Decode an unseen subject
========================

How well does a decoder of some subjects work for another subject with other
stimuli? We hold out one subject *and* part of the story, train on the other
subjects and the rest of the story, and decode every segment of the held-out
part. A grid search that sees neither the subject nor the stimuli selects the
parameters.
"""

# %%
# The experiment
# --------------
# Four simulated subjects, ten minutes of *Alice's Adventures in Wonderland*, 64 MEG sensors. Position and
# orientation of the auditory cortices and the latencies of the responses differ between subjects, so a
# decoder of one subject is a poor decoder of another. Ten minutes are little data, so the responses are four
# times as large as by default (``snr_db=-6`` instead of -18, the level of real recordings), without
# artifacts. Do not expect these scores on real recordings.
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
print(f"{len(X)} segments of {X['subject'].nunique()} subjects, {y['segment'].nunique()} of them distinct\n")

# %%
# Hold out subject and stimulus
# -----------------------------
# ``LeaveOneSubjectOut(stimulus_folds=2)`` holds out each subject and, for each, one half of the stimuli:
# eight folds. All four subjects listened to the same story. Holding out only the subject would test on
# training stimuli. The inner search uses the same splitter, so parameters for unseen subjects are selected on
# unseen subjects.
outer = LeaveOneSubjectOut(stimulus_folds=2)
inner = LeaveOneSubjectOut(stimulus_folds=2)
print(outer.summary(X, y).round(0).astype(int).to_string(), "\n")

# %%
# The grid
# --------
# Every parameter of every step has a name. The grid has two parameters. The lag: 350 ms of MEG that begin
# with the stimulus, or 150 ms later. The model: the mean of three models of one subject each, or one model of
# three subjects. The scorer returns all scores from one pass. ``refit`` selects by the median relative rank,
# which changes with every window (``top_k`` is coarse where scores are low).
steps = [("epochs", Epocher(sfreq=25, memory=OUT / "cache")), ("scale", RobustChannelScaler(clip=20))]
speech = make_pipeline(MelSpectrogram(n_mels=20, sfreq=25, memory=OUT / "cache"), FeatureScaler())
ridge = Pipeline([*steps, ("ridge", RidgeDecoder(speech=speech, lags=(0, 0.35), n_components=16))])


def select_best(results):
    """Return the row of the grid with the lowest median relative rank."""
    return int(results["mean_test_median_relative_rank"].argmin())


search = GridSearchCV(
    ridge,
    {"epochs__lag": [0.0, 0.15], "ridge__per_subject": [True, False]},
    cv=inner,
    scoring=retrieval_scores,
    refit=select_best,
)

# %%
# Nested cross-validation
# -----------------------
# A single search on all data would see the subjects of the test. The search is therefore part of each fold,
# with six splits of its three subjects.
found = cross_validate(
    search, X, y, cv=outer, scoring=retrieval_scores, return_estimator=True, return_indices=True, n_jobs=2
)
columns = ["test_top_1", "test_top_k", "test_median_relative_rank", "test_n_candidates", "test_chance"]
folds = pd.DataFrame({name.removeprefix("test_"): found[name] for name in columns})
chosen = pd.DataFrame([estimator.best_params_ for estimator in found["estimator"]])
subject = [X["subject"].iloc[test[0]] for test in found["indices"]["test"]]
print(
    pd.concat([pd.Series(subject, name="unseen subject"), folds.round(3), chosen], axis=1).to_string(), "\n"
)
print(f"after {time.perf_counter() - began:.0f} s\n")

# %%
# One score per subject
# ---------------------
# The four folds of one half have the same candidates, so their results are joined. ``summary`` returns means
# over subjects with standard errors, the chance level and the null distribution of circular shifts.
tests = found["indices"]["test"]
results = {
    "ridge": concat_results(
        retrieve(found["estimator"][fold], X.iloc[tests[fold]], y.iloc[tests[fold]])
        for fold in range(0, 8, 2)
    )
}

# %%
# A small network in the same four folds follows. It has no subject layers, because no test subject has one.
encoder = Pipeline([
    *steps,
    ("encoder", BrainEncoder(
        speech=speech, hidden=48, depth=4, n_virtual_channels=32, subject_layer=None, lr=1e-3, batch_size=128,
        max_epochs=6, patience=2, random_state=0, verbose=0,
    )),
]).set_params(epochs__lag=0.15)  # fmt: skip
parts = []
for train, test in list(outer.split(X, y))[::2]:
    encoder.fit(X.iloc[train], y.iloc[train])
    parts.append(retrieve(encoder, X.iloc[test], y.iloc[test]))
results["encoder"] = concat_results(parts)
print(pd.DataFrame({name: result.summary() for name, result in results.items()}).round(3).to_string(), "\n")
median_ranks = pd.DataFrame(
    {
        name: pd.Series(result.ranks / (result.n_candidates - 1)).groupby(result.rows["subject"]).median()
        for name, result in results.items()
    }
)
print(f"Median relative rank of each subject, chance level 0.5\n{median_ranks.round(3).to_string()}\n")

# %%
# Three of the four subjects are decoded far better than chance, although their recordings were not in
# training. The network learns one mapping of all sensors, and its score is better than that of ridge
# regression for each of them. The fourth subject is not decoded at all: its response differs from the others
# in these sensors. Three training subjects are few, and a mean over subjects hides such a case. Look at every
# subject.

# %%
# Additional information
# ----------------------
# Two facts may be known without the label, and must be reported with the score. If these subjects are known
# to have had the same stimulus, their similarities can be averaged. If these segments are known to belong to
# one sentence, their similarities can be pooled. The decoders stay the same.
rows = {}
for name, single in results.items():
    ways = {
        "single segments": single,
        "pooled over a sentence": single.pool_groups(),
        "averaged over subjects": single.average("subject"),
        "both": single.average("subject").pool_groups(),
    }
    for way, result in ways.items():
        summary = result.summary(n_shifts=200)
        rows[name, way] = summary[
            ["top_1", "top_k", "median_relative_rank", "n_candidates", "chance", "null_high"]
        ]
print(pd.DataFrame(rows).T.round(3).to_string(), "\n")

# %%
# Pooling over a sentence improves little, because each segment carries little information. Averaging over
# subjects improves much more: the errors differ between subjects, the stimulus does not. The subject that is
# not decoded does not spoil the average.

# %%
# Words
# -----
# The probabilities of all segments with the same word at the anchor are summed. Always naming the most
# frequent words is a good guess over windows (``chance`` of "plain") and a poor one over words, so report
# "balanced".
print(results["encoder"].score_words().round(3).to_string(), "\n")

# %%
# Figure
# ------
figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
plot_scores(results, ax=axes[0])
axes[0].set_ylabel("top-10 accuracy")
for name, single in results.items():
    plot_rank_curve(single, label=name, ax=axes[1])
    plot_rank_curve(single.average("subject"), label=f"{name}, averaged over subjects", ax=axes[1])
figure.savefig(OUT / "unseen_subjects.png", dpi=120)
print(f"{OUT}/unseen_subjects.png, in {time.perf_counter() - began:.0f} s")

# sphinx_gallery_thumbnail_path = "_static/figures/model_selection.svg"
