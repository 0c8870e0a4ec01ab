"""Objects made again from what JSON held and the tensors beside it, of known classes alone."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator

from sk_b2s.tags import PANDAS_TYPES, PARTS, READABLE

__all__ = ["Reader"]


class Reader:
    """Make again what :class:`~sk_b2s.writer.Writer` wrote.

    Parameters
    ----------
    tensor : callable
        ``tensor(name)`` returns a tensor of the file as a fresh ndarray.
    known : dict of str to class or function
        What may be made, by name.
    memory : None, str or joblib.Memory
        Given to every parameter ``memory`` that was not None.

    Attributes
    ----------
    names : set of str
        Classes met so far.
    """

    def __init__(self, tensor, known, memory=None):
        self.tensor, self.known, self.memory = tensor, known, memory
        self.names = set()
        self.arrays = {}

    def decode(self, node):
        """Decode anything.

        Parameters
        ----------
        node : None, bool, int, float, str, list or dict
            What :meth:`~sk_b2s.writer.Writer.encode` returned.

        Returns
        -------
        value : object

        Raises
        ------
        ValueError
            If a class is not known, or has not the parameters that the node sets.
        """
        if isinstance(node, list):
            return [self.decode(item) for item in node]
        if not isinstance(node, dict):
            return node
        ((tag, content),) = node.items()
        if tag not in READABLE:
            raise KeyError(f"unknown tag {tag!r}")
        return getattr(self, f"_{tag}")(content)

    def _known_as(self, name):
        if name not in self.known:
            raise ValueError(
                f"it names {name!r}, which is none of those that load makes: {', '.join(sorted(self.known))}. If it is "
                f"yours, give trusted={{{name!r}: ...}} to load."
            )
        return self.known[name]

    _trusted = _known_as
    _float = staticmethod(float)
    _path = staticmethod(Path)
    _device = staticmethod(torch.device)

    def _memory(self, _):
        return self.memory

    def _tuple(self, items):
        return tuple(self.decode(items))

    def _dict(self, items):
        return {self.decode(key): self.decode(value) for key, value in items}

    def _missing(self, _):
        return pd.NA

    def _random_state(self, state):
        random = np.random.RandomState()
        random.set_state(self.decode(state))
        return random

    def _tensor(self, node):
        return torch.from_numpy(self._array(node))

    def _scalar(self, node):
        return self._array(node)[()]

    def _montage(self, positions):
        return mne.channels.make_dig_montage(**self.decode(positions))

    def _array(self, node):
        if "values" in node:
            return self._objects(node)
        name = node["tensor"]
        if name not in self.arrays:
            self.arrays[name] = self._numbers(node)
        return self.arrays[name]

    def _numbers(self, node):
        array = self.tensor(node["tensor"])
        if "dtype" in node:
            dtype = np.dtype(node["dtype"])
            if dtype.kind not in "cmM":
                raise TypeError(f"no array of {dtype} is written so")
            array = array.view(dtype).reshape(node["shape"])
        return array.T if node.get("columns_first") else array

    def _objects(self, node):
        distinct = np.empty(len(node["values"]), object)
        for i, value in enumerate(node["values"]):
            distinct[i] = self.decode(value)
        flat = distinct[self.tensor(node["codes"])] if "codes" in node else distinct
        flat = flat if node["width"] is None else flat.astype(f"<U{int(node['width'])}")
        return flat.reshape(node["shape"])

    def _table(self, node):
        rows = node["index"]
        index = pd.RangeIndex(*rows) if isinstance(rows, list) else pd.Index(self._column(rows))
        index.name = self.decode(node["index_name"])
        columns = {
            self.decode(label): self._column(column).set_axis(index) for label, column in node["columns"]
        }
        return pd.DataFrame(columns, index=index)

    def _column(self, node):
        data = self.decode(node["data"])
        if "categories" in node:
            categories = pd.Index(self._column(node["categories"]))
            return pd.Series(pd.Categorical.from_codes(data, categories, ordered=node["ordered"]))
        dtype = node.get("dtype")
        if dtype is None:
            return pd.Series(data, dtype=data.dtype)
        if dtype not in PANDAS_TYPES:
            raise TypeError(f"no column of {dtype!r} is written so")
        before_pandas_3 = dtype == "str" and isinstance(pd.api.types.pandas_dtype("str"), np.dtype)
        return pd.Series(data, dtype=object if before_pandas_3 else dtype)

    def _part(self, node):
        cls, arguments = PARTS[node["class"]]
        state = self._dict(node["state"])
        if state.keys() != arguments.keys():
            raise KeyError(f"{node['class']} with {sorted(state)}")
        return cls(**state)

    def _estimator(self, node):
        cls = self._known_as(node["class"])
        if not (isinstance(cls, type) and issubclass(cls, BaseEstimator)):
            raise TypeError(f"{node['class']} is no estimator")
        self.names.add(node["class"])
        params = {name: self.decode(value) for name, value in node["params"].items()}
        unknown = sorted(set(params) - set(cls._get_param_names()))
        if unknown:
            raise ValueError(
                f"it sets {', '.join(unknown)} of {node['class']}, which has no such parameter here; install the "
                f"version that wrote the file."
            )
        estimator = cls(**params)
        _restore(estimator, self._dict(node["fitted"]))
        return estimator


def _restore(estimator, state):
    """Give an estimator back what the writer took from it."""
    requests = state.pop("metadata_request", None)
    if requests is not None:
        routing = estimator._get_metadata_request()
        for method, names in requests.items():
            for name, alias in names.items():
                getattr(routing, method).add_request(param=name, alias=alias)
        state["_metadata_request"] = routing
    if hasattr(estimator, "_set_saved_state"):
        estimator._set_saved_state(state)
    else:
        vars(estimator).update(state)
