"""The form of objects as plain data: what stands for what JSON has not.

Numbers, texts and lists stand for themselves; anything else is an object with one key, its tag
(``TAGS``), which names the method of :class:`~sk_b2s.writer.Writer` and :class:`~sk_b2s.reader.Reader`
that deals with it. A class is written by its name in a dict that both are given. The reader looks it up
there: it imports nothing, unpickles nothing and evaluates nothing.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import PurePath

import mne
import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator

from sk_b2s.audio import SoundTrack
from sk_b2s.epocher import _Baseline
from sk_b2s.preprocessing import _Affine
from sk_b2s.published import HashedBlockSplit
from sk_b2s.response import SharedResponse
from sk_b2s.stimuli import SoundArray, SoundIntervals
from sk_b2s.windows import Windows

__all__ = ["PANDAS_TYPES", "PARTS", "READABLE", "STEPS", "TAGS"]

# What estimators hold, by name: the class, and for each argument of its constructor the attribute.
PARTS: dict[str, tuple[type, dict[str, str]]] = {
    "Affine": (_Affine, {"centre": "centre", "scale": "scale", "clip": "clip"}),
    "Baseline": (_Baseline, {"first": "first", "last": "last", "begin": "begin", "length": "length"}),
    "HashedBlockSplit": (HashedBlockSplit, {
        "part": "part", "test_size": "test_size", "valid_size": "valid_size", "salt": "salt",
    }),
    "SharedResponse": (SharedResponse, {field.name: field.name for field in fields(SharedResponse)}),
    "SoundArray": (SoundArray, {"data": "data", "sfreq": "sfreq", "name": "name"}),
    "SoundTrack": (SoundTrack, {"path": "path", "channel": "channel"}),
    "SoundIntervals": (SoundIntervals, {"intervals": "intervals"}),
    "Windows": (Windows, {
        "signals": "signals", "which": "which", "start": "start", "n_times": "n_read", "sfreq": "sfreq",
        "rows": "rows", "positions": "positions", "layout": "layout", "ch_names": "ch_names",
        "extent": "extent", "steps": "steps",
    }),
}  # fmt: skip

STEPS = (_Affine, _Baseline)  # those of windows that are plain data

# The tag of each type that JSON has not; those of Python's own must match exactly.
TAGS: dict[type | tuple[type, ...], str] = {
    float: "float",
    tuple: "tuple",
    dict: "dict",
    np.ndarray: "array",
    np.generic: "scalar",
    pd.DataFrame: "table",
    type(pd.NA): "missing",
    torch.Tensor: "tensor",
    torch.device: "device",
    PurePath: "path",
    np.random.RandomState: "random_state",
    mne.channels.DigMontage: "montage",
    tuple(cls for cls, _ in PARTS.values()): "part",
    BaseEstimator: "estimator",
}
READABLE = {*TAGS.values(), "memory", "trusted"}

# Types of pandas' own whose columns are written as objects and made again by name.
PANDAS_TYPES = {"str", "string", "boolean", "Float32", "Float64"} | {
    f"{sign}nt{bits}" for sign in ("I", "UI") for bits in (8, 16, 32, 64)
}
