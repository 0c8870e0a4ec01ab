"""Decode JSON nodes and tensors to objects of known classes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.utils._metadata_requests import SIMPLE_METHODS
from sklearn.utils._param_validation import validate_parameter_constraints

from sk_b2s._persistence._registry import NEWER, PANDAS_TYPES, PARTS, READABLE
from sk_b2s._persistence._state_checks import (
    check_part_state,
    check_state,
    check_state_frames,
    check_state_names,
    find_nonfinite_states,
)
from sk_b2s._persistence._states import get_state_schema

MEMORY = 2**26, 16  # bytes of memory that any file may use, and per byte of the file
LONGEST = 1024  # characters by which a string width may exceed the longest string
MOST_JOBS = 1024  # workers that a file may set
LISTS = ("steps", "transformer_list", "estimators")  # parameters that are lists of names and estimators


def digest_deserialized_tensor(array):
    """Hash the type, shape and values of a tensor."""
    hasher = hashlib.blake2b(f"{array.dtype.str}{array.shape}".encode(), digest_size=16)
    hasher.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return hasher.hexdigest()


class Deserializer:
    """Decode the nodes of :class:`~sk_b2s._persistence._serialize.Serializer`.

    Parameters
    ----------
    tensor : callable
        ``tensor(name)`` returns a tensor of the file as a fresh ndarray.
    known : dict of str to class or function
        Classes and functions that may be used, by name.
    memory : None, str or joblib.Memory
        Value of all parameters ``memory`` that were not None.
    size : int
        Bytes of the file, which limit the memory used.

    Attributes
    ----------
    names : set of str
        Names of the classes decoded so far.
    digests : dict of str to str
        Hashes of the tensors read so far.
    nonfinite : list of str
        Attributes with NaN or infinite values that should be finite.
    """

    def __init__(self, tensor, known, memory=None, size=0):
        self.tensor, self.known, self.memory = tensor, known, memory
        self.names = set()
        self.arrays, self.digests, self.nonfinite = {}, {}, []
        self.memory_left = MEMORY[0] + MEMORY[1] * size

    def _take(self, n_bytes):
        """Reserve memory before it is used."""
        self.memory_left -= n_bytes
        if self.memory_left < 0:
            raise ValueError(
                "it needs far more memory than its size, unlike any file of save. It is damaged, or was made to "
                "exhaust the memory."
            )

    def decode(self, node):
        """Decode any node. Raise a ValueError for unknown classes."""
        if isinstance(node, list):
            return [self.decode(item) for item in node]
        if not isinstance(node, dict):
            return node
        ((tag, content),) = node.items()
        if tag not in READABLE:
            raise KeyError(f"unknown tag {tag[:80]!r}")
        return getattr(self, f"_{tag}")(content)

    def _get_known(self, name):
        if not isinstance(name, str) or name not in self.known:
            shown = repr(name)[:80]
            raise ValueError(
                f"it names {shown}, which load does not know. Known names: {', '.join(sorted(self.known))}. If it is your "
                f"own class or function, pass trusted={{{shown}: ...}} to load."
            )
        return self.known[name]

    _trusted = _get_known
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
        random, state = np.random.RandomState(), self.decode(state)
        kind, keys, position = state[:3]
        # numpy does not check the position, and would read beyond its keys.
        if kind != "MT19937" or keys.shape != (624,) or keys.dtype != np.uint32 or not 0 <= position <= 624:
            raise ValueError(f"a RandomState in it is damaged: {str(kind)[:20]!r} at {position}.")
        random.set_state(state)
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
        self._take(self.arrays[name].nbytes)  # also of one that many share, for they may copy it
        return self.arrays[name]

    def _read(self, name):
        """Read a tensor, and store its digest."""
        array = self.tensor(name)
        self.digests[name] = digest_deserialized_tensor(array)
        return array

    def _numbers(self, node):
        array = self._read(node["tensor"])
        if "dtype" in node:
            dtype = np.dtype(node["dtype"])
            if dtype.kind not in "cmM":
                raise TypeError(f"an array of {dtype} is not written in this way")
            array = array.view(dtype).reshape(node["shape"])
        return array.T if node.get("columns_first") else array

    def _objects(self, node):
        distinct = np.empty(len(node["values"]), object)
        for i, value in enumerate(node["values"]):
            distinct[i] = self.decode(value)
        codes = self._read(node["codes"]) if "codes" in node else np.arange(len(distinct))
        if codes.ndim != 1 or codes.dtype.kind not in "iu" or (codes < 0).any():
            raise TypeError("codes of strings are not indices of them")
        self._take(codes.size * distinct.itemsize)
        flat = distinct[codes]
        return (flat if node["width"] is None else self._fixed(flat, distinct, node["width"])).reshape(
            node["shape"]
        )

    def _fixed(self, flat, distinct, width):
        """Convert to strings of a fixed width, if it is plausible."""
        longest = max((len(value) for value in distinct), default=0)
        if not 0 <= width <= longest + LONGEST:
            raise ValueError(
                f"strings of at most {longest} characters have the width {width}. It is damaged."
            )
        self._take(4 * max(width, 1) * len(flat))
        return flat.astype(f"<U{width}")

    def _table(self, node):
        rows = node["index"]
        index = pd.RangeIndex(*rows) if isinstance(rows, list) else pd.Index(self._column(rows))
        index.name = self.decode(node["index_name"])
        columns = {self.decode(label): self._column(column) for label, column in node["columns"]}
        for label, column in columns.items():
            if len(column) != len(index):
                raise ValueError(
                    f"column {str(label)[:80]!r} has {len(column)} rows, but its table has {len(index)}."
                )
            self._take(column.nbytes)  # a table copies its columns
        if not columns:
            self._take(8 * len(index))
        return pd.DataFrame({label: column.set_axis(index) for label, column in columns.items()}, index=index)

    def _column(self, node):
        data = self.decode(node["data"])
        if "categories" in node:
            categories = pd.Index(self._column(node["categories"]))
            return pd.Series(pd.Categorical.from_codes(data, categories, ordered=node["ordered"]))
        dtype = node.get("dtype")
        if dtype is None:
            return pd.Series(data, dtype=data.dtype)
        if dtype not in PANDAS_TYPES:
            raise TypeError(f"a column of {dtype!r} is not written in this way")
        before_pandas_3 = dtype == "str" and isinstance(pd.api.types.pandas_dtype("str"), np.dtype)
        return pd.Series(data, dtype=object if before_pandas_3 else dtype)

    def _part(self, node):
        cls, arguments = PARTS[node["class"]]
        state = self._dict(node["state"])
        if not arguments.keys() - NEWER.get(node["class"], set()) <= state.keys() <= arguments.keys():
            raise KeyError(f"{node['class']} with {sorted(state)}")
        check_part_state(node["class"], state)
        return cls(**state)

    def _estimator(self, node):
        cls = self._get_known(node["class"])
        if not (isinstance(cls, type) and issubclass(cls, BaseEstimator)):
            raise TypeError(f"{node['class']} is not an estimator")
        self.names.add(node["class"])
        params = {name: self._param(name, value) for name, value in node["params"].items()}
        prefix = getattr(cls, "_open_prefix", None)  # of parameters that the constructor does not name
        unknown = sorted(
            name
            for name in set(params) - set(cls._get_param_names())
            if not (prefix and name.startswith(prefix))
        )
        if unknown:
            raise ValueError(
                f"it sets {', '.join(unknown)[:200]} of {node['class']}, which does not have this parameter. Install the "
                f"version that wrote the file."
            )
        _check_params(cls, params)
        estimator = cls(**params)
        self._restore(estimator, node["class"], self._dict(node["fitted"]))
        return estimator

    def _param(self, name, node):
        """Decode a parameter. Cache folders and callbacks are not read."""
        if name == "memory" and not (
            node == {"memory": None} or isinstance(node, (bool, int, float, type(None)))
        ):
            raise ValueError(
                "it names a cache folder, whose content can execute code. save does not write it, and load only uses the "
                "folder passed as memory."
            )
        if name == "checkpoint" and node is not None:
            raise ValueError("it names a folder for checkpoints, which save does not write.")
        if name == "callbacks" and node not in (None, []):
            raise ValueError("it has callbacks, which save does not write.")
        return self.decode(node)

    def _restore(self, estimator, name, state):
        """Set fitted attributes after checking that they match."""
        requests = state.pop("metadata_request", None)
        check_state_names(name, type(estimator), state)
        expected = get_state_schema(name, state)
        check_state(name, expected, state, {})
        check_state_frames(name, state)
        self.nonfinite += [f"{found} of {name}" for found in find_nonfinite_states(expected, state)]
        if requests is not None:
            state["_metadata_request"] = _make_requests(estimator, requests)
        if hasattr(estimator, "_set_saved_state"):
            estimator._set_saved_state(state)
        else:
            vars(estimator).update(state)


def _check_params(cls, params):
    """Raise unless parameters are valid for ``fit``."""
    for name in LISTS:
        if name in params and not all(
            isinstance(step, (tuple, list)) and len(step) == 2 and isinstance(step[0], str)
            and (isinstance(step[1], BaseEstimator) or step[1] in (None, "drop", "passthrough"))
            for step in params[name]
        ):  # fmt: skip
            raise ValueError(
                f"the {name} of a {cls.__name__} in it must be pairs of a name and an estimator."
            )
    n_jobs = params.get("n_jobs")
    if isinstance(n_jobs, int) and abs(n_jobs) > MOST_JOBS:
        raise ValueError(f"n_jobs={n_jobs} of a {cls.__name__} in it would start too many workers.")
    constraints = getattr(cls, "_parameter_constraints", {})
    checked = {name: value for name, value in params.items() if name in constraints and name != "memory"}
    validate_parameter_constraints(constraints, checked, cls.__name__)


def _make_requests(estimator, requests):
    """Make metadata requests from plain data."""
    routing = estimator._get_metadata_request()
    for method, names in requests.items():
        if method not in SIMPLE_METHODS:
            raise ValueError(
                f"it routes metadata to {str(method)[:80]!r}, which is not a method with metadata."
            )
        for name, alias in names.items():
            getattr(routing, method).add_request(param=name, alias=alias)
    return routing
