"""Registry of the types that a file may hold, and of their tags.

Numbers, strings and lists are written as they are. Any other object is written
as a JSON object with one key, its tag (``TAGS``). The tag names the method of
``Serializer`` and ``Deserializer`` that handles the type. A class is written
by its name in a dict that both share. The reader looks the name up there: it
imports, unpickles and evaluates nothing.
"""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
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

from sk_b2s.decoding._incremental._moments import IncrementalMoments
from sk_b2s.decoding._shared_response import SharedResponse
from sk_b2s.events._audio._track_files import AudioTrack
from sk_b2s.events._images import ImageStimulus
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.events._stimuli import StimulusArray
from sk_b2s.model_selection._registry import SPLITTERS
from sk_b2s.preprocessing._epocher._table import EpocherTableBaseline
from sk_b2s.preprocessing._feature_pca import FeaturePCAProjection
from sk_b2s.preprocessing._scalers import AffineScaling, WhiteningScaling
from sk_b2s.preprocessing._windows._windows import Windows

# Classes that estimators hold, by name, with the attribute of each argument of the constructor.
PARTS: dict[str, tuple[type, dict[str, str]]] = {
    "Affine": (AffineScaling, {"center": "center", "scale": "scale", "clip": "clip"}),
    "Projection": (FeaturePCAProjection, {"mean": "mean", "components": "components"}),
    "Whitening": (WhiteningScaling, {name: name for name in ("center", "autocorrelation", "scale")}),
    "Baseline": (EpocherTableBaseline, {"first": "first", "last": "last", "begin": "begin", "length": "length"}),
    "SharedResponse": (SharedResponse, {field.name: field.name for field in fields(SharedResponse)}),
    "Moments": (IncrementalMoments, {field.name: field.name for field in fields(IncrementalMoments)}),
    "StimulusArray": (StimulusArray, {name: name for name in ("data", "sfreq", "name", "features")}),
    "ImageStimulus": (ImageStimulus, {"name": "name", "path": "path", "kind": "kind"}),
    "AudioTrack": (AudioTrack, {"path": "path", "channel": "channel"}),
    "StimulusIntervals": (StimulusIntervals, {"intervals": "intervals", "copies": "copies"}),
    "Windows": (Windows, {
        "signals": "signals", "which": "which", "start": "start", "n_times": "n_read", "sfreq": "sfreq",
        "rows": "rows", "positions": "positions", "layout": "layout", "ch_names": "ch_names",
        "extent": "extent", "steps": "steps", "n_valid": "n_valid", "is_continuous": "is_continuous",
    }),
}  # fmt: skip
NEWER = {
    "Windows": {"n_valid", "is_continuous"},
    "StimulusArray": {"features"},
    "StimulusIntervals": {"copies"},
    "ImageStimulus": {"kind"},
}  # arguments that files of earlier versions lack
# Splitters of one fold, which may be the parameter `validation` of an encoder.
PARTS |= {
    spec.class_name: (spec.load(), {name: name for name in signature(spec.load()).parameters})
    for spec in SPLITTERS.values()
    if spec.folds_parameter is None
}

STEPS = (
    AffineScaling,
    WhiteningScaling,
    FeaturePCAProjection,
    EpocherTableBaseline,
)  # steps of Windows that are plain data

# The tag of each type that JSON cannot represent. Built-in types must match exactly.
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

# Extension types of pandas. Their columns are written as objects and restored by name.
PANDAS_TYPES = {"str", "string", "boolean", "Float32", "Float64"} | {
    f"{sign}nt{bits}" for sign in ("I", "UI") for bits in (8, 16, 32, 64)
}

SKLEARN = {
    "decomposition": (PCA,), "linear_model": (Ridge,), "pipeline": (FeatureUnion, Pipeline),
    "preprocessing": (MinMaxScaler, RobustScaler, StandardScaler),
}  # fmt: skip


def register_estimators():
    """Find the exported estimators, by their names in a file.

    Only names of classes are resolved, so that modules with functions such as
    figures are not imported.
    """
    found = {}
    for subpackage in import_module("sk_b2s")._SUBPACKAGES:
        module = import_module(f"sk_b2s.{subpackage}")
        for name in module.__all__:
            if name[0].isupper() and not name.isupper():
                thing = getattr(module, name)
                if isinstance(thing, type) and issubclass(thing, BaseEstimator):
                    found[f"sk_b2s.{name}"] = thing
    return found


# Every estimator that can be saved, by its name in a file.
ESTIMATORS: dict[str, type] = register_estimators() | {
    f"sklearn.{module}.{cls.__name__}": cls for module, classes in SKLEARN.items() for cls in classes
}
