"""Differences between the attributes of two estimators."""

import inspect

import numpy as np
import pandas as pd
import torch


def list_attribute_differences(one, other, where="", seen=None):
    """List the paths of attributes that differ in type or value.

    Networks are compared by their weights, without the state of training.
    """
    seen = set() if seen is None else seen
    if one is other or (id(one), id(other)) in seen:
        return []
    seen.add((id(one), id(other)))
    if type(one) is not type(other):
        return [where]
    if isinstance(one, np.ndarray) and one.dtype.kind != "O":
        return [where] * (
            one.dtype != other.dtype or one.shape != other.shape or one.tobytes() != other.tobytes()
        )
    parts, others = _get_parts(one), _get_parts(other)
    if parts is None:
        return [where] * (repr(one) != repr(other))
    found = [f"{where}.{name}" for name in parts.keys() ^ others.keys()]
    for name in parts.keys() & others.keys():
        found += list_attribute_differences(parts[name], others[name], f"{where}.{name}", seen)
    return sorted(found)


def _get_parts(value):
    """Return the parts of a value by name, or None if it has none."""
    if isinstance(value, pd.DataFrame):
        return {"index": value.index.to_numpy(), **{name: value[name].to_numpy() for name in value}}
    if isinstance(value, torch.Tensor):
        return {"tensor": value.detach().numpy()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return dict(enumerate(value))
    if isinstance(value, dict):
        return value
    if isinstance(value, type) or inspect.isroutine(value) or not hasattr(value, "__dict__"):
        return None
    parts = {name: part for name, part in vars(value).items() if name != "subject_nets_"}
    return {**parts, "net_": parts["net_"].state()} if "net_" in parts else parts
