"""Registry of the types that a file may hold, and of their tags.

Numbers, texts and lists stand for themselves; anything else is an object with one key, its tag
(``TAGS``), which names the method of :class:`~sk_b2s._persistence._serialize.Writer` and :class:`~sk_b2s._persistence._deserialize.Reader`
that deals with it. A class is written by its name in a dict that both are given. The reader looks it up
there: it imports nothing, unpickles nothing and evaluates nothing.
"""

from __future__ import annotations

from dataclasses import fields
from inspect import signature
from pathlib import PurePath

import mne
import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from sk_b2s.decoding._calibrated import CalibratedDecoder
from sk_b2s.decoding._encoder import BrainEncoder
from sk_b2s.decoding._forward_trf import ForwardTRF
from sk_b2s.decoding._ridge_decoder import RidgeDecoder
from sk_b2s.decoding._shared_response import SharedResponse
from sk_b2s.evaluation._controls._surrogates import SurrogateRecordings
from sk_b2s.events._audio._files import AudioTrack
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.events._stimuli import StimulusArray
from sk_b2s.features._activity import SpeechActivity
from sk_b2s.features._events import EventFeatures
from sk_b2s.features._precomputed import PrecomputedFeatures
from sk_b2s.features._pretrained import Wav2Vec2Features
from sk_b2s.features._spectral import AcousticOnsets, Envelope, MelSpectrogram
from sk_b2s.features._union import SpeechFeatureUnion
from sk_b2s.model_selection._registry import SPLITTERS
from sk_b2s.preprocessing._covariance_alignment import CovarianceAlignment
from sk_b2s.preprocessing._epocher import Baseline, Epocher
from sk_b2s.preprocessing._scalers import Affine, FeatureScaler, RobustChannelScaler
from sk_b2s.preprocessing._windows import Windows

# What estimators hold, by name: the class, and for each argument of its constructor the attribute.
PARTS: dict[str, tuple[type, dict[str, str]]] = {
    "Affine": (Affine, {"center": "center", "scale": "scale", "clip": "clip"}),
    "Baseline": (Baseline, {"first": "first", "last": "last", "begin": "begin", "length": "length"}),
    "SharedResponse": (SharedResponse, {field.name: field.name for field in fields(SharedResponse)}),
    "StimulusArray": (StimulusArray, {"data": "data", "sfreq": "sfreq", "name": "name"}),
    "AudioTrack": (AudioTrack, {"path": "path", "channel": "channel"}),
    "StimulusIntervals": (StimulusIntervals, {"intervals": "intervals"}),
    "Windows": (Windows, {
        "signals": "signals", "which": "which", "start": "start", "n_times": "n_read", "sfreq": "sfreq",
        "rows": "rows", "positions": "positions", "layout": "layout", "ch_names": "ch_names",
        "extent": "extent", "steps": "steps",
    }),
}  # fmt: skip
# Splitters of one fold, which an encoder may validate on.
PARTS |= {
    spec.class_name: (spec.load(), {name: name for name in signature(spec.load()).parameters})
    for spec in SPLITTERS.values()
    if spec.folds_parameter is None
}

STEPS = (Affine, Baseline)  # those of windows that are plain data

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

# Every estimator that can be saved, by the name it has in a file.
ESTIMATORS: dict[str, type] = {
    "sk_b2s.AcousticOnsets": AcousticOnsets,
    "sk_b2s.BrainEncoder": BrainEncoder,
    "sk_b2s.CalibratedDecoder": CalibratedDecoder,
    "sk_b2s.CovarianceAlignment": CovarianceAlignment,
    "sk_b2s.Envelope": Envelope,
    "sk_b2s.Epocher": Epocher,
    "sk_b2s.EventFeatures": EventFeatures,
    "sk_b2s.FeatureScaler": FeatureScaler,
    "sk_b2s.SpeechFeatureUnion": SpeechFeatureUnion,
    "sk_b2s.ForwardTRF": ForwardTRF,
    "sk_b2s.MelSpectrogram": MelSpectrogram,
    "sk_b2s.RidgeDecoder": RidgeDecoder,
    "sk_b2s.RobustChannelScaler": RobustChannelScaler,
    "sk_b2s.SpeechActivity": SpeechActivity,
    "sk_b2s.PrecomputedFeatures": PrecomputedFeatures,
    "sk_b2s.SurrogateRecordings": SurrogateRecordings,
    "sk_b2s.Wav2Vec2Features": Wav2Vec2Features,
    "sklearn.decomposition.PCA": PCA,
    "sklearn.linear_model.Ridge": Ridge,
    "sklearn.pipeline.FeatureUnion": FeatureUnion,
    "sklearn.pipeline.Pipeline": Pipeline,
    "sklearn.preprocessing.MinMaxScaler": MinMaxScaler,
    "sklearn.preprocessing.RobustScaler": RobustScaler,
    "sklearn.preprocessing.StandardScaler": StandardScaler,
}
