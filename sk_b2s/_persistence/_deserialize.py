"""Objects read from JSON and tensors, of known classes only."""

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

from sk_b2s._persistence._registry import PANDAS_TYPES, PARTS, READABLE
from sk_b2s._persistence._states import (
    check_frames,
    check_names,
    check_part,
    check_state,
    described,
    find_nonfinite,
)

ROOM = 2**26, 16  # bytes that may be made of any file, and for each of its own
LONGEST = 1024  # letters that texts of a fixed width may have beyond those that are there
MOST_JOBS = 1024  # workers that a file may ask for
LISTS = ("steps", "transformer_list")  # parameters that are lists of names and estimators


def compute_tensor_digest(array):
    """Digest a tensor of a file.

    Parameters
    ----------
    array : ndarray

    Returns
    -------
    digest : str
        32 hexadecimal digits, of its type, shape and values.
    """
    hasher = hashlib.blake2b(f"{array.dtype.str}{array.shape}".encode(), digest_size=16)
    hasher.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return hasher.hexdigest()


class Reader:
    """Make again what :class:`~sk_b2s._persistence._serialize.Writer` wrote.

    Parameters
    ----------
    tensor : callable
        ``tensor(name)`` returns a tensor of the file as a fresh ndarray.
    known : dict of str to class or function
        What may be made, by name.
    memory : None, str or joblib.Memory
        Given to every parameter ``memory`` that was not None.
    size : int
        Bytes of the file, by which what is made of it is bounded.

    Attributes
    ----------
    names : set of str
        Classes met so far.
    digests : dict of str to str
        Of the tensors read so far.
    doubts : list of str
        Attributes that hold NaN or infinity where a fit leaves none.
    """

    def __init__(self, tensor, known, memory=None, size=0):
        self.tensor, self.known, self.memory = tensor, known, memory
        self.names = set()
        self.arrays, self.digests, self.doubts = {}, {}, []
        self.room = ROOM[0] + ROOM[1] * size

    def _take(self, n_bytes):
        """Count memory that is about to be used, before it is."""
        self.room -= n_bytes
        if self.room < 0:
            raise ValueError(
                "it asks for far more memory than its own size, which no file of save does: it is damaged, or was made "
                "to exhaust the memory."
            )

    def decode(self, node):
        """Decode anything.

        Parameters
        ----------
        node : None, bool, int, float, str, list or dict
            What :meth:`~sk_b2s._persistence._serialize.Writer.encode` returned.

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
            raise KeyError(f"unknown tag {tag[:80]!r}")
        return getattr(self, f"_{tag}")(content)

    def _known_as(self, name):
        if not isinstance(name, str) or name not in self.known:
            shown = repr(name)[:80]
            raise ValueError(
                f"it names {shown}, which is none of those that load makes: {', '.join(sorted(self.known))}. If it is "
                f"yours, give trusted={{{shown}: ...}} to load."
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
        random, state = np.random.RandomState(), self.decode(state)
        kind, keys, position = state[:3]
        # numpy believes the position, and would read beyond its keys.
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
        """Read a tensor, and note its digest."""
        array = self.tensor(name)
        self.digests[name] = compute_tensor_digest(array)
        return array

    def _numbers(self, node):
        array = self._read(node["tensor"])
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
        codes = self._read(node["codes"]) if "codes" in node else np.arange(len(distinct))
        if codes.ndim != 1 or codes.dtype.kind not in "iu" or (codes < 0).any():
            raise TypeError("codes of texts are not numbers of them")
        self._take(codes.size * distinct.itemsize)
        flat = distinct[codes]
        return (flat if node["width"] is None else self._fixed(flat, distinct, node["width"])).reshape(
            node["shape"]
        )

    def _fixed(self, flat, distinct, width):
        """Texts of a fixed width, which is hardly more than the longest needs."""
        longest = max((len(value) for value in distinct), default=0)
        if not 0 <= width <= longest + LONGEST:
            raise ValueError(f"texts of {longest} letters at most are said to have {width}: it is damaged.")
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
                    f"column {str(label)[:80]!r} has {len(column)} rows, its table {len(index)}."
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
            raise TypeError(f"no column of {dtype!r} is written so")
        before_pandas_3 = dtype == "str" and isinstance(pd.api.types.pandas_dtype("str"), np.dtype)
        return pd.Series(data, dtype=object if before_pandas_3 else dtype)

    def _part(self, node):
        cls, arguments = PARTS[node["class"]]
        state = self._dict(node["state"])
        if state.keys() != arguments.keys():
            raise KeyError(f"{node['class']} with {sorted(state)}")
        check_part(node["class"], state)
        return cls(**state)

    def _estimator(self, node):
        cls = self._known_as(node["class"])
        if not (isinstance(cls, type) and issubclass(cls, BaseEstimator)):
            raise TypeError(f"{node['class']} is no estimator")
        self.names.add(node["class"])
        params = {name: self._param(name, value) for name, value in node["params"].items()}
        unknown = sorted(set(params) - set(cls._get_param_names()))
        if unknown:
            raise ValueError(
                f"it sets {', '.join(unknown)[:200]} of {node['class']}, which has no such parameter here; install the "
                f"version that wrote the file."
            )
        _check_params(cls, params)
        estimator = cls(**params)
        self._restore(estimator, node["class"], self._dict(node["fitted"]))
        return estimator

    def _param(self, name, node):
        """Decode a parameter; of folders of caches and callbacks a file has no say."""
        if name == "memory" and not (
            node == {"memory": None} or isinstance(node, (bool, int, float, type(None)))
        ):
            raise ValueError(
                "it names a folder of a cache, whose content runs when it is read: save writes none, and load takes "
                "none from a file but that of memory=."
            )
        if name == "callbacks" and node not in (None, []):
            raise ValueError("it has callbacks, which save leaves out.")
        return self.decode(node)

    def _restore(self, estimator, name, state):
        """Give an estimator back what the writer took from it, once it is known to fit together."""
        requests = state.pop("metadata_request", None)
        check_names(name, type(estimator), state)
        expected = described(name, state)
        check_state(name, expected, state, {})
        check_frames(name, state)
        self.doubts += [f"{found} of {name}" for found in find_nonfinite(expected, state)]
        if requests is not None:
            state["_metadata_request"] = _routing(estimator, requests)
        if hasattr(estimator, "_set_saved_state"):
            estimator._set_saved_state(state)
        else:
            vars(estimator).update(state)


def _check_params(cls, params):
    """Raise unless parameters are such as ``fit`` takes."""
    for name in LISTS:
        if name in params and not all(
            isinstance(step, (tuple, list)) and len(step) == 2 and isinstance(step[0], str)
            and (isinstance(step[1], BaseEstimator) or step[1] in (None, "drop", "passthrough"))
            for step in params[name]
        ):  # fmt: skip
            raise ValueError(f"the {name} of a {cls.__name__} in it are no pairs of a name and an estimator.")
    n_jobs = params.get("n_jobs")
    if isinstance(n_jobs, int) and abs(n_jobs) > MOST_JOBS:
        raise ValueError(
            f"n_jobs={n_jobs} of a {cls.__name__} in it would start more workers than a machine bears."
        )
    constraints = getattr(cls, "_parameter_constraints", {})
    checked = {name: value for name, value in params.items() if name in constraints and name != "memory"}
    validate_parameter_constraints(constraints, checked, cls.__name__)


def _routing(estimator, requests):
    """Requests for metadata, of methods that have such."""
    routing = estimator._get_metadata_request()
    for method, names in requests.items():
        if method not in SIMPLE_METHODS:
            raise ValueError(
                f"it routes metadata to {str(method)[:80]!r}, which is no method that takes any."
            )
        for name, alias in names.items():
            getattr(routing, method).add_request(param=name, alias=alias)
    return routing
