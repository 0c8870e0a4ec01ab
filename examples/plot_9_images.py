"""
Decode images, and detect a block design
========================================

Simulated subjects view images while EEG is recorded. This page decodes which
image was viewed, among images of concepts that the decoder has not seen, from
single trials and from averages over repetitions. Then the same images are
presented in blocks of one category, and the score has another cause.
"""

# %%
# The experiment
# --------------
# Two subjects view 200 images of 40 concepts in 8 categories, twice each. An image has a vector of 16
# features, and the response is linear in it. The response is stronger than in real recordings, so that the
# page is short. All recordings drift slowly.
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline

from sk_b2s import (
    Epocher,
    LikelihoodDecoder,
    PrecomputedFeatures,
    RobustChannelScaler,
    StimulusKFold,
    make_segments,
    retrieve,
    run_controls,
)
from sk_b2s.datasets import make_viewing

root = TemporaryDirectory()
options = {
    "n_subjects": 2, "n_concepts": 40, "repetitions": 2, "n_channels": 32, "snr_db": 10, "artifacts": ["drift"],
    "root": root.name,
}  # fmt: skip
events, vectors = make_viewing(**options)
print(events[["subject", "onset", "image", "category", "superordinate", "repetition"]].head(3).to_string())


# %%
# Decode new concepts
# -------------------
# Windows begin 0.1 s before the onset, which is the baseline. A split by concept has no image of a test
# concept in training. ``summary`` of the averages reports the single trials as well.
def make_decoder(baseline):
    """Return a pipeline with a baseline in seconds of the window, or None."""
    steps = [
        ("epochs", Epocher(sfreq=64, lag=0, baseline=baseline)), ("scale", RobustChannelScaler(clip=20)),
    ]  # fmt: skip
    return Pipeline([*steps, ("decoder", LikelihoodDecoder(speech=PrecomputedFeatures(vectors), k=5))])


X, y = make_segments(events, anchor="image", tmin=-0.1, tmax=0.7)
train, test = next(StimulusKFold(4).split(X, y))
fitted = make_decoder((0, 0.1)).fit(X.iloc[train], y.iloc[train])
results = retrieve(fitted, X.iloc[test], y.iloc[test])
summary = results.average("repeat").summary()
print(summary[["top_k", "n_averaged", "single_top_k", "n_candidates", "chance"]].round(3).to_string())

# %%
# Blocks without any response
# ---------------------------
# Now all images of a category are presented in one block, and the recordings contain noise and drift only
# (``snr_db=-inf``). Windows have no baseline, as in some published work. A plain K-fold shows a triumph:
# the decoder recognizes the minute, and thereby the category. A split by concept does not help, because the
# other concepts of the category are in the same block. The control "recording_order" has no neural data,
# and finds the target from the neighbors of a trial in time.
tables = {}
for order in ("random", "block"):
    noise, _ = make_viewing(**options | {"order": order, "snr_db": float("-inf")})
    X, y = make_segments(noise, anchor="image", tmin=-0.1, tmax=0.7)
    splits = {"K-fold": KFold(4, shuffle=True, random_state=0), "by concept": StimulusKFold(4)}
    for name, cv in splits.items():
        table = run_controls(
            make_decoder(None), X, y, cv=[next(cv.split(X, y))], controls=["decoder", "recording_order"],
            n_shifts=200,
        )  # fmt: skip
        tables[f"{order}, {name}"] = table
        print(f"\n{order} order, split {name}")
        print(table[["top_k", "chance", "verdict_text"]].round(3).to_string())

# %%
fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for place, (_name, table) in enumerate(tables.items()):
    for shift, control in ((-0.18, "decoder"), (0.18, "recording_order")):
        gain = table.loc[control, "top_k"] / table.loc[control, "chance"]
        ax.bar(
            place + shift,
            gain,
            0.34,
            color="C0" if control == "decoder" else "C7",
            label=control if not place else None,
        )
ax.axhline(1, color="k", lw=0.8, ls="--")
ax.set(
    xticks=range(len(tables)), ylabel="top-5 accuracy / chance level", title="Recordings without a response"
)
ax.set_xticklabels(list(tables))
ax.legend(frameon=False)

# %%
# The design is at fault, and not the decoder. Present images in a random order, and test on recordings of
# another order.
root.cleanup()

# sphinx_gallery_thumbnail_path = "_static/figures/images.svg"
