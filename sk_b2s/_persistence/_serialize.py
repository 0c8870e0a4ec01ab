"""Encode estimators as JSON nodes and tensors."""

from __future__ import annotations

import math
import warnings
from pathlib import PurePath

import joblib
import mne
import numpy as np
import pandas as pd
import torch
from sklearn.frozen import FrozenEstimator

from sk_b2s._persistence._registry import PANDAS_TYPES, PARTS, STEPS, TAGS
from sk_b2s.events._stimuli import StimulusArray
from sk_b2s.preprocessing._windows._signals import load_signal
from sk_b2s.preprocessing._windows._windows import Windows


class Serializer:
    """Encode an estimator as JSON nodes, and collect its arrays.

    ``where`` in all methods is the path to a value, a tuple of str. It names
    tensors and appears in errors.

    Parameters
    ----------
    known : dict of str to class or function
        Names of the estimators and functions that may be written.

    Attributes
    ----------
    tensors : dict of str to ndarray
        Encoded arrays, contiguous and of types that safetensors supports.
    """

    def __init__(self, known):
        self.names = {id(thing): name for name, thing in known.items()}
        self.tensors = {}
        self.written = {}  # id of an array -> the array, which keeps its id valid, and its node
        self.sounds = {}  # digest -> first of equal StimulusArrays

    def encode(self, value, where):
        """Encode any value. Raise a TypeError if a part cannot be saved."""
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
        trust = f", or pass trusted={{'a name': {name}}} to save and load" if callable(value) else ""
        return TypeError(f"{'.'.join(where)} is {value!r}, which cannot be saved. {way_out}{trust}.")

    def _items(self, values, where):
        return [self.encode(v, (*where, _label_saved_step(v, i))) for i, v in enumerate(values)]

    def _float(self, value, where):
        return repr(value)

    def _tuple(self, value, where):
        if _label_saved_step(value, "") == "":
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
            raise TypeError(f"{'.'.join(where)} is a tensor of bfloat16. Convert it to float32.")
        return self._array(value.detach().cpu().numpy(), where)

    def _scalar(self, value, where):
        return self._array(np.asarray(value), where)

    def _montage(self, value, where):
        positions = value.get_positions()
        if mne.channels.make_dig_montage(**positions) != value:
            raise self._refuse(
                value, where, "Use the name of a standard montage, or set the positions in the recordings"
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
                f"{'.'.join(where)} is a {type(array).__name__} of {array.dtype}, which cannot be saved. Convert it to "
                f"an array of numbers or str."
            )
        if array.dtype.kind in "OU":
            width = array.dtype.itemsize // 4 if array.dtype.kind == "U" else None
            return {"shape": array.shape, "width": width, **self._values(array.ravel().tolist(), where)}
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        # The order in memory is kept as in a pickle, because rounding of matrix products depends on it.
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
        """Encode distinct values, and their codes if any repeats."""
        places: dict = {}
        distinct, codes = [], []
        for value in values:
            content = (
                repr(value) if isinstance(value, float) else value
            )  # 0 and -0 differ, and nan equals nan
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
                f"{'.'.join(where)} is a table with a MultiIndex or with duplicate column names. Use reset_index() or "
                f"rename the columns."
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
            raise TypeError(
                f"{'.'.join(where)} is a column of {column.dtype}. Convert it with astype(object)."
            )
        return {"data": self.encode(column.to_numpy(object), where), "dtype": str(column.dtype)}

    # --- parts and estimators ----------------------------------------------------------------------

    def _part(self, value, where):
        if isinstance(value, StimulusArray):
            value = self.sounds.setdefault(value.digest, value)
        name, arguments = next(((n, a) for n, (cls, a) in PARTS.items() if cls is type(value)), (None, {}))
        lazy = getattr(value, "steps", ())
        if name is None or not all(type(step) in STEPS for step in lazy):
            way_out = "For Windows with custom steps, fit on Windows.from_array(np.asarray(y), rows=y.rows)"
            raise self._refuse(value, where, way_out)
        state = {argument: getattr(value, attribute) for argument, attribute in arguments.items()}
        if isinstance(value, Windows):
            state["signals"] = _load_saved_signals(value)
        return {"class": name, "state": self._dict(state, where)}

    def _estimator(self, estimator, where):
        name = self.names.get(id(type(estimator)))
        if name is None:
            own = type(estimator).__name__
            search = "Save its best_estimator_ instead" if hasattr(estimator, "best_estimator_") else None
            raise TypeError(
                f"{'.'.join(where) or 'estimator'} is a {own}, which cannot be saved. Estimators that can be saved: "
                f"{', '.join(sorted(self.names.values()))}. "
                f"{search or f'If it is your own class, pass trusted={{{own!r}: {own}}} to save and load'}."
            )
        params = estimator.get_params(deep=False)
        state = _get_fitted_state(estimator, params)
        return {
            "class": name,
            "params": {p: self._param(p, v, (*where, p)) for p, v in params.items()},
            "fitted": self._dict(state, where),
        }

    def _param(self, name, value, where):
        if name == "memory" and isinstance(value, (str, PurePath, joblib.Memory)):
            return {"memory": None}
        if name == "checkpoint":
            return None  # a folder of this machine
        if name == "callbacks" and value:
            warnings.warn(
                f"{'.'.join(where)} is not saved, because it only affects training. Set it again before fitting.",
                stacklevel=2,
            )
            return None
        if name == "init" and isinstance(value, FrozenEstimator):  # of a search, which clones its values
            value = value.estimator
        return self.encode(value, where)


def _label_saved_step(value, otherwise):
    """Return the name of a (name, step) tuple, or the index in a list."""
    named = type(value) is tuple and len(value) > 1 and type(value[0]) is str
    return value[0] if named else str(otherwise)


def _get_fitted_state(estimator, params):
    """Return the fitted attributes of an estimator."""
    if hasattr(estimator, "_get_saved_state"):
        state = estimator._get_saved_state()
    else:
        state = {name: value for name, value in vars(estimator).items() if name not in params}
    if "_metadata_request" in state:
        requests = vars(state.pop("_metadata_request"))
        state["metadata_request"] = {m: r.requests for m, r in requests.items() if hasattr(r, "requests")}
    return state


def _load_saved_signals(windows):
    """Load the signals of windows, with unused ones empty."""
    used = set(windows.which.tolist())
    return [
        load_signal(signal) if index in used else np.empty((0, signal.shape[1]), np.float32)
        for index, signal in enumerate(windows.signals)
    ]
