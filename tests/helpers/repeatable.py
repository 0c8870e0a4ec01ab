"""Digests of fits that are large enough to be divided among threads.

As a program it prints them, for a number of threads:
``python tests/helpers/repeatable.py 2 [deterministic]``.
"""

import hashlib
import json
import sys
from functools import cache

import numpy as np
import pandas as pd
import torch

from sk_b2s import BrainEncoder, ForwardTRF, RidgeDecoder, Windows

N_WINDOWS, N_CHANNELS, N_FEATURES, N_TIMES, SFREQ = 260, 64, 16, 60, 50
SETTINGS = {
    "hidden": 32, "depth": 2, "n_virtual_channels": 64, "batch_size": 130, "max_epochs": 1, "lr": 3e-3,
    "validation": None, "precision": "float32", "random_state": 0, "verbose": 0, "device": "cpu",
}  # fmt: skip
FITS = {
    "clip": {"validation": 0.2},
    "positive": {"loss": "symmetric_clip", "duplicates": "positive"},
    "siglip": {"loss": "siglip", "duplicates": "mask"},
    "mse": {"loss": "mse", "subject_dropout": 0.2},
    "embedding": {"subject_layer": "embedding", "spatial_attention": False},
    "target_dim": {
        "target_dim": 8,
        "weight_decay": 0.1,
        "weight_averaging": 0.9,
        "channel_dropout": 0.1,
        "time_dropout": 0.1,
        "lag_jitter": 0.1,
    },  # fmt: skip
    "speech_embedding_dim": {"speech_embedding_dim": 24},
    "bfloat16": {"precision": "bfloat16"},
}
REPEATED = (
    "clip",
    "positive",
    "embedding",
    "speech_embedding_dim",
    "target_dim",
    "bfloat16",
)  # in processes of their own
METHODS = ("ridge", "layer", "all")
LINEAR = {"lags": (0.0, 0.1), "alphas": (0.1, 1.0), "per_subject": False}


@cache
def data(n_subjects=12, n_segments=24, first=0):
    """Windows of subjects with one layout and few repeated segments."""
    rng = np.random.default_rng(first)
    segment = np.arange(N_WINDOWS) % n_segments
    speech = np.random.default_rng(9).standard_normal((n_segments, N_FEATURES, N_TIMES)).astype("f4")[segment]
    brain = np.repeat(speech, N_CHANNELS // N_FEATURES, 1) + rng.standard_normal(
        (N_WINDOWS, N_CHANNELS, N_TIMES)
    )
    subject = [f"s{first + i * n_subjects // N_WINDOWS:02}" for i in range(N_WINDOWS)]
    rows = pd.DataFrame({"subject": subject, "recording": subject})
    positions = np.random.default_rng(1).random((N_CHANNELS, 2))
    return Windows.from_array(brain.astype("f4"), sfreq=SFREQ, positions=positions, rows=rows), speech


def digest(*arrays):
    """Digest of the bytes of arrays or tensors."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def encoder(name="clip", **changes):
    """Fit one of ``FITS``."""
    return BrainEncoder(**{**SETTINGS, **FITS[name], **changes}).fit(*data())


def results(model):
    """Digest of a fitted encoder: its weights, losses and similarities."""
    losses = [row["train_loss"] for row in model.history_]
    return digest(*model.net_.state().values(), losses, model.similarity(data()[0]))


def all_results():
    """Digests of all fits by name: a dict."""
    fitted, new = {name: encoder(name) for name in REPEATED}, data(2, first=50)
    found = {name: results(model) for name, model in fitted.items()}
    for method in METHODS:
        adapted = fitted["clip"].adapt(*new, method, max_epochs=1)
        found[f"adapt {method}"] = digest(adapted.transform(new[0]), adapted.similarity(data()[0]))
    X, y = data()
    for model in (RidgeDecoder(n_components=12, **LINEAR), ForwardTRF(**LINEAR)):
        found[type(model).__name__] = digest(model.fit(X, y).coef_)
    return found


if __name__ == "__main__":
    torch.use_deterministic_algorithms("deterministic" in sys.argv)
    torch.set_num_threads(int(sys.argv[1]))
    print(json.dumps(all_results()))
