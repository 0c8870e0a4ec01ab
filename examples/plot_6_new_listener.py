"""
Minutes of a new listener
=========================

Someone sits down, listens for a few minutes, and is to be decoded. The decoder knows other people. Below a person is
met as a stranger, then adapted to in three ways, from half a minute of recording on, and each is held against a
decoder that was trained on the same minutes alone.
"""

# %%
# Four people and a story
# -----------------------
# Ten minutes of *Alice's Adventures in Wonderland* for each, 64 simulated MEG sensors. Auditory cortices lie, point and
# respond differently in everybody. Responses are a little larger than those by which the package's benchmarks measure,
# so that ten minutes show something: the figures are no forecast for real recordings.
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline

from sk_b2s import (
    BrainEncoder,
    CalibratedDecoder,
    CovarianceAlignment,
    Epocher,
    FeatureScaler,
    LeaveOneSubjectOut,
    MelSpectrogram,
    RobustChannelScaler,
    benchmark,
    load,
    make_segments,
    mean_and_sem,
    save,
)
from sk_b2s.datasets import make_listening
from sk_b2s.plotting import plot_adaptation

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

OUT = Path("demo_output")
OUT.mkdir(exist_ok=True)
events = make_listening(
    4, 10, modality="meg", n_channels=64, snr_db=-10, random_state=3, root=OUT / "listening"
)
X, y = make_segments(events, anchor=0.5, tmin=-0.5, tmax=2.5)
print(f"{len(X)} segments of {X['subject'].nunique()} people, {y['segment'].nunique()} of them distinct\n")

# %%
# The decoder
# -----------
# :class:`~sk_b2s.CovarianceAlignment` whitens each recording by its own covariance. It needs no labels and takes away
# much of what makes people differ, so it stands before anything is learned. The encoder keeps a layer for each person,
# and beside it what their brains have in common when they hear a sound; by ``subject_dropout`` it trains for strangers.
memory = OUT / "cache"
speech = make_pipeline(MelSpectrogram(n_mels=40, sfreq=25, memory=memory), FeatureScaler())
decoder = Pipeline([
    ("epochs", Epocher(sfreq=50, lag=0.15, memory=memory)),
    ("scale", RobustChannelScaler(clip=20)),
    ("recentre", CovarianceAlignment(shrinkage=0.01)),
    ("encoder", BrainEncoder(
        speech=speech, hidden=48, depth=5, n_virtual_channels=48, subject_dropout=0.3, lr=1e-3, batch_size=128,
        max_epochs=8, patience=3, random_state=0, verbose=0,
    )),
])  # fmt: skip

# %%
# A stranger, by hand
# -------------------
# ``LeaveOneSubjectOut(calibration_minutes=...)`` deals the rows: the other people, without the sound of the test; then
# the first minutes of the new person; and, later in the same recording, what is tested. Each person is the new one in
# turn; here it is the first.
splitter = LeaveOneSubjectOut(stimulus_folds=1, calibration_minutes=1, test_size=0.3)
train, test = next(splitter.split(X, y))
new = X["subject"].iloc[test[0]]
own = (X["subject"].iloc[train] == new).to_numpy()
others, minute = train[~own], train[own]
decoder.fit(X.iloc[others], y.iloc[others])
print(f"Subject {new} is unknown: {decoder.score(X.iloc[test], y.iloc[test]):.3f} top-10,", end=" ")
print(f"chance {10 / y['segment'].iloc[test].nunique():.3f}")

# %%
# ``adapt`` returns an encoder that also knows the new person. The one that was fitted stays as it is. In closed form
# that takes about as long as reading the sentence.
brain, encoder = decoder[:-1], decoder[-1]
began = time.perf_counter()
adapted = encoder.adapt(brain.transform(X.iloc[minute]), y.iloc[minute], method="ridge")
took = time.perf_counter() - began
score = adapted.score(brain.transform(X.iloc[test]), y.iloc[test])
print(f"A minute later: {score:.3f} top-10, adapted in {took:.1f} s")
print(adapted.adaptations_.round(2).to_string(index=False))

# %%
# What is new is little, and is kept beside the encoder that it came of.
with TemporaryDirectory() as folder:
    everybody, one = Path(folder) / "everybody.safetensors", Path(folder) / f"{new}.safetensors"
    save(encoder, everybody)
    save(adapted, one, parent=everybody)
    print(
        f"{everybody.stat().st_size / 1e3:.0f} kB for everybody, {one.stat().st_size / 1e3:.0f} kB for subject {new}"
    )
    print(load(one).subjects_)

# %%
# The curve, for everybody
# ------------------------
# :class:`~sk_b2s.CalibratedDecoder` makes a way of adapting a decoder like any other, so
# :func:`~sk_b2s.benchmark` compares them: each person is the new one in turn, and all ways share one fit to the others.
# "from scratch" is the same network trained on the new person's minutes alone; with none of them there is none.
few = [0.5, 2, np.inf]
alone = clone(decoder).set_params(encoder__max_epochs=40, encoder__validation=None)
runs = [
    ({"a stranger": CalibratedDecoder(decoder, "none", memory)}, [0]),
    ({
        "closed form": CalibratedDecoder(decoder, "ridge", memory),
        "frozen trunk": CalibratedDecoder(decoder, "layer", memory),
        "full fine-tuning": CalibratedDecoder(decoder, "all", memory),
        "from scratch": CalibratedDecoder(alone, "scratch"),
    }, few),
]  # fmt: skip
results = pd.concat([
    benchmark(
        ways, X, y, LeaveOneSubjectOut(1, calibration_minutes=amounts, test_size=0.3),
        controls=False, n_candidates=None, verbose=0,
    )
    for ways, amounts in runs
])  # fmt: skip
table = mean_and_sem(results, "top_10", by=["estimator", "calibration_minutes"])["mean"].unstack(sort=False)
print(table[[0, *few]].round(3).to_string(na_rep=""))

# %%
# The picture
# -----------
# Top-10 against minutes, mean and standard error over people; chance is dashed, and shaded is what shifting the true
# answers in time reaches. ``benchmarks/README.md`` has the same for eight people, MEG and EEG, weaker responses, and
# more ways.
_, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
plot_adaptation(results, ax=ax)
plt.savefig(OUT / "new_listener.png", dpi=120)
