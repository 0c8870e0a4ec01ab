"""Objects as plain data: what JSON can hold, with arrays put aside as tensors; and back.

Numbers, texts and lists stand for themselves; anything else is an object with one key, its tag
(``TAGS``), which names the method of :class:`Writer` and :class:`Reader` that deals with it. A class is
written by its name in a dict that both are given. The reader looks it up there: it imports nothing,
unpickles nothing and evaluates nothing.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import fields
from pathlib import Path, PurePath

import joblib
import mne
import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator

from sk_b2s.epocher import _Baseline
from sk_b2s.preprocessing import _Affine
from sk_b2s.published import HashedBlockSplit
from sk_b2s.response import SharedResponse
from sk_b2s.signals import loaded
from sk_b2s.stimuli import SoundArray, SoundIntervals
from sk_b2s.windows import Windows

__all__ = ["PARTS", "TAGS", "Reader", "Writer"]

# What estimators hold, by name: the class, and for each argument of its constructor the attribute.
PARTS: dict[str, tuple[type, dict[str, str]]] = {
    "Affine": (_Affine, {"centre": "centre", "scale": "scale", "clip": "clip"}),
    "Baseline": (_Baseline, {"first": "first", "last": "last", "begin": "begin", "length": "length"}),
    "HashedBlockSplit": (HashedBlockSplit, {
        "part": "part", "test_size": "test_size", "valid_size": "valid_size", "salt": "salt",
    }),
    "SharedResponse": (SharedResponse, {field.name: field.name for field in fields(SharedResponse)}),
    "SoundArray": (SoundArray, {"data": "data", "sfreq": "sfreq", "name": "name"}),
    "SoundIntervals": (SoundIntervals, {"intervals": "intervals"}),
    "Windows": (Windows, {
        "signals": "signals", "which": "which", "start": "start", "n_times": "n_read", "sfreq": "sfreq",
        "rows": "rows", "positions": "positions", "layout": "layout", "ch_names": "ch_names",
        "extent": "extent", "steps": "steps",
    }),
}  # fmt: skip

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


class Writer:
    """Turn an estimator into what JSON can hold, and put its arrays aside.

    ``where``, in all its methods, is the way to a value: it names the tensor and appears in messages.

    Parameters
    ----------
    known : dict of str to class or function
        Names of the estimators, and functions, that may be written.

    Attributes
    ----------
    tensors : dict of str to ndarray
        Arrays met so far, contiguous and of types that safetensors has.
    """

    def __init__(self, known):
        self.names = {id(thing): name for name, thing in known.items()}
        self.tensors = {}
        self.written = {}  # id of an array: itself, so that the id stays its own, and its node
        self.sounds = {}  # the first of those that are equal, by digest

    def encode(self, value, where):
        """Encode anything.

        Parameters
        ----------
        value : object
        where : tuple of str

        Returns
        -------
        node : None, bool, int, float, str, list or dict

        Raises
        ------
        TypeError
            If the value, or something in it, cannot be written.
        """
        kind = type(value)
        if value is None or kind in (bool, int, str) or (kind is float and math.isfinite(value)):
            return value
        if kind is list:
            return self._items(value, where)
        if id(value) in self.names:
            return {"trusted": self.names[id(value)]}
        for types, tag in TAGS.items():
            if kind is types if types in (float, tuple, dict) else isinstance(value, types):
                return {tag: getattr(self, f"_{tag}")(value, where)}
        raise self._refuse(value, where)

    @staticmethod
    def _refuse(value, where, way_out="If it is a parameter, set it to None before saving"):
        name = getattr(value, "__name__", type(value).__name__)
        trust = f", or give trusted={{'a name': {name}}} to save and load" if callable(value) else ""
        return TypeError(f"{'.'.join(where)} is {value!r}, which cannot be saved. {way_out}{trust}.")

    def _items(self, values, where):
        return [self.encode(v, (*where, _label(v, i))) for i, v in enumerate(values)]

    def _float(self, value, where):
        return repr(value)

    def _tuple(self, value, where):
        if _label(value, "") == "":
            return self._items(value, where)
        return [value[0], *(self.encode(item, where) for item in value[1:])]

    def _dict(self, value, where):
        return [[self.encode(k, where), self.encode(v, (*where, str(k)))] for k, v in value.items()]

    def _missing(self, value, where):
        return "NA"

    def _device(self, value, where):
        return str(value)

    _path = _device

    def _random_state(self, value, where):
        return self.encode(value.get_state(), where)

    def _tensor(self, value, where):
        if value.dtype == torch.bfloat16:
            raise TypeError(f"{'.'.join(where)} is a tensor of bfloat16; convert it to float32.")
        return self._array(value.detach().cpu().numpy(), where)

    def _scalar(self, value, where):
        return self._array(np.asarray(value), where)

    def _montage(self, value, where):
        positions = value.get_positions()
        if mne.channels.make_dig_montage(**positions) != value:
            raise self._refuse(
                value, where, "Name a standard montage, or set the positions in the recordings"
            )
        return self.encode({**positions, "ch_pos": dict(positions["ch_pos"])}, where)

    # --- arrays and tables -------------------------------------------------------------------------

    def _array(self, array, where):
        if id(array) not in self.written:
            self.written[id(array)] = array, self._new_array(array, where)
        return self.written[id(array)][1]

    def _new_array(self, array, where):
        if type(array) not in (np.ndarray, np.memmap) or array.dtype.char in "SVgG":
            raise TypeError(
                f"{'.'.join(where)} is a {type(array).__name__} of {array.dtype}, which cannot be saved. Make it an "
                f"array of numbers or str."
            )
        if array.dtype.kind in "OU":
            width = array.dtype.itemsize // 4 if array.dtype.kind == "U" else None
            return {"shape": array.shape, "width": width, **self._values(array.ravel().tolist(), where)}
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        # As in a pickle, the order in memory is kept: products of matrices round by it.
        columns_first = array.flags.f_contiguous and not array.flags.c_contiguous
        data = np.asarray(array.T if columns_first else array, order="C")
        node = {"columns_first": True} if columns_first else {}
        if array.dtype.kind in "cmM":
            node |= {"dtype": array.dtype.str, "shape": data.shape}
            data = data.reshape(-1).view(np.uint8)
        return node | {"tensor": self._put(data, where)}

    def _put(self, data, where):
        name = ".".join(where) or "array"
        while name in self.tensors:
            name += "_"
        self.tensors[name] = data
        return name

    def _values(self, values, where):
        """Encode the distinct ones of a column and, where any repeats, which is where."""
        places: dict = {}
        distinct, codes = [], []
        for value in values:
            content = repr(value) if isinstance(value, float) else value  # tells 0 from -0, and nan is nan
            key = (type(value), content) if pd.api.types.is_hashable(value) else id(value)
            if key not in places:
                places[key] = len(distinct)
                distinct.append(self.encode(value, (*where, str(len(distinct)))))
            codes.append(places[key])
        if len(distinct) == len(codes):
            return {"values": distinct}
        codes = np.array(codes, np.min_scalar_type(len(distinct)))
        return {"values": distinct, "codes": self._put(codes, (*where, "codes"))}

    def _table(self, table, where):
        if isinstance(table.index, pd.MultiIndex) or not table.columns.is_unique:
            raise TypeError(
                f"{'.'.join(where)} is a table with an index of several levels, or several columns of one name; use "
                f"reset_index() or rename them."
            )
        index = table.index
        if type(index) is pd.RangeIndex:
            rows = [index.start, index.stop, index.step]
        else:
            rows = self._column(index.to_series(), (*where, "index"))
        columns = [
            [self.encode(label, where), self._column(table[label], (*where, str(label)))] for label in table
        ]
        return {"index": rows, "index_name": self.encode(index.name, where), "columns": columns}

    def _column(self, column, where):
        if isinstance(column.dtype, np.dtype):
            return {"data": self.encode(column.to_numpy(), where)}
        if isinstance(column.dtype, pd.CategoricalDtype):
            return {
                "data": self.encode(column.cat.codes.to_numpy(), where),
                "categories": self._column(column.cat.categories.to_series(), (*where, "categories")),
                "ordered": bool(column.cat.ordered),
            }
        if str(column.dtype) not in PANDAS_TYPES:
            raise TypeError(f"{'.'.join(where)} is a column of {column.dtype}; convert it by astype(object).")
        return {"data": self.encode(column.to_numpy(object), where), "dtype": str(column.dtype)}

    # --- parts and estimators ----------------------------------------------------------------------

    def _part(self, value, where):
        if isinstance(value, SoundArray):
            value = self.sounds.setdefault(value.digest, value)
        name, arguments = next(((n, a) for n, (cls, a) in PARTS.items() if cls is type(value)), (None, {}))
        lazy = getattr(value, "steps", ())
        if name is None or not all(type(step) in (_Affine, _Baseline) for step in lazy):
            way_out = (
                "For Windows with steps of your own, fit on Windows.from_array(np.asarray(y), rows=y.rows)"
            )
            raise self._refuse(value, where, way_out)
        state = {argument: getattr(value, attribute) for argument, attribute in arguments.items()}
        if isinstance(value, Windows):
            state["signals"] = _samples(value)
        return {"class": name, "state": self._dict(state, where)}

    def _estimator(self, estimator, where):
        name = self.names.get(id(type(estimator)))
        if name is None:
            own = type(estimator).__name__
            search = "Save its best_estimator_ instead" if hasattr(estimator, "best_estimator_") else None
            raise TypeError(
                f"{'.'.join(where) or 'estimator'} is a {own}, which is none of those that can be saved: "
                f"{', '.join(sorted(self.names.values()))}. "
                f"{search or f'If you wrote it, give trusted={{{own!r}: {own}}} to save and load'}."
            )
        params = estimator.get_params(deep=False)
        state = _fitted_state(estimator, params)
        return {
            "class": name,
            "params": {p: self._param(p, v, (*where, p)) for p, v in params.items()},
            "fitted": self._dict(state, where),
        }

    def _param(self, name, value, where):
        if name == "memory" and isinstance(value, (str, PurePath, joblib.Memory)):
            return {"memory": None}
        if name == "callbacks" and value:
            warnings.warn(
                f"{'.'.join(where)} is not saved, as it matters only in training; set it anew before fitting again.",
                stacklevel=2,
            )
            return None
        return self.encode(value, where)


def _label(value, otherwise):
    """Name of a step, which stands before it in a tuple, or its place in a list."""
    named = type(value) is tuple and len(value) > 1 and type(value[0]) is str
    return value[0] if named else str(otherwise)


def _fitted_state(estimator, params):
    """Return what an estimator has beyond its parameters, by its own account where it has one."""
    if hasattr(estimator, "_get_saved_state"):
        state = estimator._get_saved_state()
    else:
        state = {name: value for name, value in vars(estimator).items() if name not in params}
    if "_metadata_request" in state:
        requests = vars(state.pop("_metadata_request"))
        state["metadata_request"] = {m: r.requests for m, r in requests.items() if hasattr(r, "requests")}
    return state


def _samples(windows):
    """Read the signals that windows are cut from; one that none is cut from counts as empty."""
    used = set(windows.which.tolist())
    signals = [s if i in used else s.shape[1] for i, s in enumerate(windows.signals)]
    signals = [np.empty((0, s), np.float32) if isinstance(s, int) else s for s in signals]
    return [loaded(s) for s in signals]


class Reader:
    """Make again what :class:`Writer` wrote.

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
            What :meth:`Writer.encode` returned.

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
    """Give an estimator back what :func:`_fitted_state` took."""
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
