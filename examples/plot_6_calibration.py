"""
Calibrate a decoder to an unseen subject
========================================

A decoder was trained on other subjects, and a few minutes of data of a new
subject are available. This page decodes the new subject without calibration,
then adapts the decoder in three ways with half a minute of data or more. Each
is compared with a decoder that was trained on the same minutes alone.
"""

# %%
# The experiment
# --------------
# Six minutes of *Alice's Adventures in Wonderland* for each of four subjects, 32 simulated MEG sensors.
# Position, orientation and response of the auditory cortices differ between subjects. The responses are a
# little larger than in the benchmarks of the package, because six minutes are little data. Do not expect
# these scores on real recordings.
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
    4, 6, modality="meg", n_channels=32, snr_db=-10, random_state=3, root=OUT / "listening"
)
X, y = make_segments(events, anchor=0.5, tmin=-0.5, tmax=2.5)
print(f"{len(X)} segments of {X['subject'].nunique()} subjects, {y['segment'].nunique()} of them distinct\n")

# %%
# The decoder
# -----------
# :class:`~sk_b2s.CovarianceAlignment` whitens each recording by its own covariance. It needs no labels and
# removes much of the difference between subjects, so it precedes all training. The encoder has a layer for
# each subject, and stores the mean response to speech of all subjects. ``subject_dropout`` trains it for
# unseen subjects.
memory = OUT / "cache"
speech = make_pipeline(MelSpectrogram(n_mels=40, sfreq=25, memory=memory), FeatureScaler())
decoder = Pipeline([
    ("epochs", Epocher(sfreq=50, lag=0.15, memory=memory)),
    ("scale", RobustChannelScaler(clip=20)),
    ("align", CovarianceAlignment(shrinkage=0.01)),
    ("encoder", BrainEncoder(
        speech=speech, hidden=32, depth=4, n_virtual_channels=32, subject_dropout=0.3, lr=1e-3, batch_size=128,
        max_epochs=6, patience=3, random_state=0, verbose=0,
    )),
])  # fmt: skip

# %%
# An unseen subject
# -----------------
# ``LeaveOneSubjectOut(calibration_minutes=...)`` assigns three sets of rows: the other subjects, without the
# stimuli of the test; the first minutes of the new subject; and the test rows, later in the same recording.
# Each subject is the new one in turn. This section uses the first.
splitter = LeaveOneSubjectOut(stimulus_folds=1, calibration_minutes=1, test_size=0.3)
train, test = next(splitter.split(X, y))
new = X["subject"].iloc[test[0]]
own = (X["subject"].iloc[train] == new).to_numpy()
others, calibration = train[~own], train[own]
decoder.fit(X.iloc[others], y.iloc[others])
print(f"Unseen subject {new}: {decoder.score(X.iloc[test], y.iloc[test]):.3f} top-10,", end=" ")
print(f"chance level {10 / y['segment'].iloc[test].nunique():.3f}")

# %%
# ``adapt`` returns an encoder that also contains the new subject. The fitted encoder does not change. The
# closed form takes less than a second.
preprocessing, encoder = decoder[:-1], decoder[-1]
began = time.perf_counter()
adapted = encoder.adapt(preprocessing.transform(X.iloc[calibration]), y.iloc[calibration], method="ridge")
took = time.perf_counter() - began
score = adapted.score(preprocessing.transform(X.iloc[test]), y.iloc[test])
print(f"With a minute of calibration data: {score:.3f} top-10, adapted in {took:.1f} s")
print(adapted.adaptations_.round(2).to_string(index=False))

# %%
# The difference to the fitted encoder is small, and is saved next to it.
with TemporaryDirectory() as folder:
    parent, child = Path(folder) / "all_subjects.safetensors", Path(folder) / f"{new}.safetensors"
    save(encoder, parent)
    save(adapted, child, parent=parent)
    print(
        f"{parent.stat().st_size / 1e3:.0f} kB for the encoder, {child.stat().st_size / 1e3:.0f} kB for subject {new}"
    )
    print(load(child).subjects_)

# %%
# Calibration curves
# ------------------
# :class:`~sk_b2s.CalibratedDecoder` turns a method of adaptation into a decoder, so :func:`~sk_b2s.benchmark`
# can compare them. Each subject is the new one in turn, and all methods share one fit to the others. "from
# scratch" is the same network trained on the data of the new subject alone, which is impossible without any.
few = [0.5, 2, np.inf]
alone = clone(decoder).set_params(encoder__max_epochs=20, encoder__validation=None)
runs = [
    ({"no calibration": CalibratedDecoder(decoder, "none", memory)}, [0]),
    ({
        "closed form": CalibratedDecoder(decoder, "ridge", memory),
        "frozen trunk": CalibratedDecoder(decoder, "layer", memory),
        "full fine-tuning": CalibratedDecoder(decoder, "all", memory),
        "from scratch": CalibratedDecoder(alone, "scratch"),
    }, few),
]  # fmt: skip
results = pd.concat([
    benchmark(
        methods, X, y, LeaveOneSubjectOut(1, calibration_minutes=amounts, test_size=0.3),
        controls=False, n_candidates=None, verbose=0,
    )
    for methods, amounts in runs
])  # fmt: skip
decoders = results[results["control"] == "decoder"]  # the control timing_only always runs
table = mean_and_sem(decoders, "top_10", by=["estimator", "calibration_minutes"])["mean"].unstack(sort=False)
print(table[[0, *few]].round(3).to_string(na_rep=""))

# %%
# With half a minute, each way of adaptation is better than training from scratch. With all minutes of a subject, training from
# scratch is as good, because these recordings are short and the responses are large.

# %%
# Figure
# ------
# Top-10 accuracy by calibration minutes, mean and standard error over subjects. The dashed line is the chance
# level, and the shaded area the null of circular shifts. ``benchmarks/README.md`` has the same figure as a
# table for eight subjects, MEG and EEG, weaker responses and more methods.
_, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
plot_adaptation(results, ax=ax)
plt.savefig(OUT / "calibration.png", dpi=120)

# sphinx_gallery_thumbnail_path = "_static/figures/plot_adaptation.svg"
