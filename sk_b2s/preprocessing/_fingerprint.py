"""Digests of estimators, functions, tables and windows."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import sys
import sysconfig
from functools import cache, lru_cache, partial
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

from sk_b2s._utils._caching import CachedFromFile
from sk_b2s._utils._text import unwrap_scalar_for_text
from sk_b2s.events._stimuli import digest_stimuli, make_stimulus_id
from sk_b2s.io._raw._identity import digest_recording_identity
from sk_b2s.preprocessing._windows._windows import Windows

IGNORED = ("checkpoint", "memory", "n_jobs", "verbose")  # parameters that do not change results
HERE = Path(__file__).resolve().parents[1]
IMPORT = re.compile(r"^[ \t]*from sk_b2s\.([\w.]+) import (\([^)]*\)|.*)", re.MULTILINE)
INSTALLED = {
    Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")
}


def make_fingerprint(*parts):
    """Hash the description of objects, see :func:`describe`.

    Returns
    -------
    key : str
        32 hexadecimal digits, equal in all processes.
    """
    return hashlib.blake2b(json.dumps(describe_for_fingerprint(parts)).encode(), digest_size=16).hexdigest()


def describe_for_fingerprint(value):
    """Describe an object by lists and strings, equal in all processes.

    In contrast to a hash of a pickle, the result does not depend on shared
    objects. An estimator is described by its class and parameters, without
    those in ``IGNORED``, which do not change results. A fitted MaskedEncoder
    is also described by its weights, PrecomputedFeatures by their file, and a
    torch network by its classes, attributes and weights. Functions and classes
    outside of installed packages are described by their own code, without the
    code of functions they call.

    Parameters
    ----------
    value : object
        Estimator, function, array, table or an object that joblib can hash.

    Returns
    -------
    description : list or str
    """
    if isinstance(value, (str, bytes, bool, int, float, type(None), np.generic)):
        return repr(unwrap_scalar_for_text(value))
    if isinstance(value, (list, tuple)):
        return [describe_for_fingerprint(item) for item in value]
    if isinstance(value, dict):
        return [
            "dict",
            *sorted(
                [describe_for_fingerprint(key), describe_for_fingerprint(item)] for key, item in value.items()
            ),
        ]
    if isinstance(value, (set, frozenset)):
        return ["set", *sorted(map(str, map(describe_for_fingerprint, value)))]
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return ["array", str(value.shape), str(value.dtype), _digest_to_hex(np.ascontiguousarray(value))]
    if isinstance(value, (np.ndarray, pd.DataFrame, Windows)):
        rows = np.atleast_1d(value) if isinstance(value, np.ndarray) else value
        return ["rows", str(np.shape(value)), _digest_to_hex(fingerprint_rows(rows).tobytes())]
    if isinstance(value, CachedFromFile):
        return ["from file", *describe_for_fingerprint(value.identity())]
    if isinstance(value, partial):
        return [
            "partial",
            describe_for_fingerprint(value.func),
            describe_for_fingerprint(value.args),
            describe_for_fingerprint(value.keywords),
        ]
    if isinstance(value, type):
        return [f"{value.__module__}.{value.__qualname__}", *_describe_own_classes(value)]
    if hasattr(value, "named_modules"):
        return _describe_network(value)
    if hasattr(value, "requires_grad"):  # a tensor, whose pickle differs between processes
        array = value.detach().cpu()
        array = array.float() if str(array.dtype) == "torch.bfloat16" else array
        return ["tensor", str(value.dtype), describe_for_fingerprint(array.numpy())]
    if hasattr(value, "get_params"):
        params = value.get_params(deep=False)
        fitted = value._describe_fitted() if hasattr(value, "_describe_fitted") else None
        return [
            describe_for_fingerprint(type(value)),
            describe_for_fingerprint({k: v for k, v in params.items() if k not in IGNORED}),
            *([] if fitted is None else [fitted]),
        ]
    if hasattr(value, "__code__"):
        held = [cell.cell_contents for cell in value.__closure__ or ()]
        held = [cell for cell in held if cell is not value]  # a recursive function
        given = [value.__defaults__, value.__kwdefaults__, held, getattr(value, "__self__", None)]
        return [
            f"{value.__module__}.{value.__qualname__}",
            _describe_code(value.__code__),
            *describe_for_fingerprint(given),
        ]
    return [describe_for_fingerprint(type(value)), joblib.hash(value)]


def _describe_own_classes(kind):
    """Describe the methods of a class that no installed package defines."""
    own = [base for base in kind.__mro__ if not _is_installed(base)]
    parts = [(name, getattr(part, "__func__", part)) for base in own for name, part in vars(base).items()]
    parts = [(name, inspect.unwrap(part)) for name, part in parts if callable(part)]
    return [
        [
            name,
            _describe_code(part.__code__),
            describe_for_fingerprint(part.__defaults__),
            describe_for_fingerprint(part.__kwdefaults__),
        ]
        for name, part in parts
        if hasattr(part, "__code__")
    ]


def _describe_network(network):
    """Describe a torch network, whose pickle differs between processes."""
    parts = [
        [
            name,
            type(part),
            {key: item for key, item in vars(part).items() if key[0] != "_" and key != "training"},
        ]
        for name, part in network.named_modules()
    ]
    weights = {
        name: [one.requires_grad, None if hasattr(one, "materialize") else one]
        for name, one in [*network.named_parameters(), *network.named_buffers()]
    }
    return ["network", *describe_for_fingerprint([parts, weights])]


def _is_installed(kind):
    """Return whether a class belongs to this or an installed package."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if kind.__module__ == "__main__" or file is None:
        return kind.__module__ != "__main__"
    return _is_file_installed(file)


@lru_cache(maxsize=1024)
def _is_file_installed(file):
    """Return whether a file is part of this or an installed package."""
    path = Path(file).resolve()
    return HERE in path.parents or any(path.is_relative_to(folder) for folder in INSTALLED)


def _describe_code(code):
    """Describe the instructions, names and constants of a function."""
    parts = [
        _describe_code(part) if hasattr(part, "co_code") else describe_for_fingerprint(part)
        for part in code.co_consts
    ]
    return [_digest_to_hex(code.co_code), repr(code.co_names), parts]


def fingerprint_rows(data):
    """Hash each row of a table, of windows or of an array.

    Parameters
    ----------
    data : DataFrame, Windows or array-like of shape (n_rows, ...)
        The order of columns and the index of a table are ignored. Stimuli and
        recordings are hashed by content, so that path and date are ignored.

    Returns
    -------
    digests : ndarray of uint64 of shape (n_rows,)
    """
    if isinstance(data, Windows):
        signals = np.array([_signal_digest(signal) for signal in data.signals], np.uint64)
        how = int(
            make_fingerprint(data.n_read, data.sfreq, data.steps, data.positions, data.ch_names)[:15], 16
        )
        table = pd.DataFrame({"signal": signals[data.which], "start": data.start, "how": how})
        if data.rows is not None:
            table = pd.concat([table.add_prefix("windows' "), data.rows.reset_index(drop=True)], axis=1)
        return fingerprint_rows(table)
    if not isinstance(data, pd.DataFrame):
        data = np.asarray(data)
        rows = np.ascontiguousarray(data.astype(str) if data.dtype.hasobject else data).reshape(len(data), -1)
        return np.array([int(_digest_to_hex(row.tobytes())[:16], 16) for row in rows], np.uint64)
    data = data.reset_index(drop=True)
    table = {str(name): _make_comparable_column(str(name), column) for name, column in data.items()}
    table = {name: table[name] for name in sorted(table)}
    table["\0"] = pd.Series(repr(list(table)), index=data.index, dtype=object)  # not the name of a column
    return pd.util.hash_pandas_object(pd.DataFrame(table, index=data.index), index=False).to_numpy(np.uint64)


def _make_comparable_column(name, column):
    """Convert a column so that equivalent values are equal."""
    if pd.api.types.is_numeric_dtype(column.dtype) and not column.isna().all():
        return column  # a column without values may have been text in another file format
    if name == "sound":
        return pd.Series(digest_stimuli(column), index=column.index)
    text = column.astype(object).where(column.notna(), "").map(str)
    if name == "recording":
        text = text.map({one: _identify_recording(one) for one in text.unique()})
    return text.astype(object)


def _identify_recording(recording):
    """Hash the files of a recording, or return its name."""
    path = Path(recording)
    if not (path.suffix or path.is_absolute()):
        return recording
    return digest_recording_identity(path) or path.name


def _signal_digest(signal):
    if isinstance(signal, np.ndarray):
        return int(_digest_to_hex(np.ascontiguousarray(signal))[:16], 16)
    return int(make_fingerprint(signal.recipe, signal.shape)[:16], 16)


def _digest_to_hex(content):
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def fingerprint_array_rows(y):
    """Hash each row of an array by its values: (n_rows,) int64."""
    y = np.ascontiguousarray(y).reshape(len(y), -1) + 0.0  # -0 is 0
    return np.array([make_stimulus_id(row.tobytes().hex()) for row in y], dtype=np.int64)


ESTIMATOR_FOLDERS = ("preprocessing", "features", "nn", "decoding", "pretraining")


@cache
def make_code_fingerprint(folder=HERE, roots=("evaluation._results._fits", "_persistence._registry")):
    """Hash the source files that a result depends on.

    Parameters
    ----------
    folder : Path, default=folder of this package
    roots : tuple of str, \
            default=("evaluation._results._fits", "_persistence._registry")
        Modules that are hashed together with all modules of the package that
        they import directly or indirectly. The registry imports all
        estimators. Figures, reports and statistics are not included, so that
        their changes do not require new results.

    Returns
    -------
    digest : str
        16 hexadecimal digits.
    """
    return make_fingerprint(_read_module_sources(folder, roots))[:16]


def _read_module_sources(folder, roots):
    """Return the sources of modules and their imports, by module: dict."""
    sources, ahead = {}, list(roots)
    for name in ESTIMATOR_FOLDERS:  # loaded by name, so that no import statement leads to them
        paths = sorted(
            path.relative_to(folder).with_suffix("") for path in (folder / name).rglob("_[!_]*.py")
        )
        ahead += [".".join(path.parts) for path in paths]
    while ahead:
        name = ahead.pop()
        path = folder.joinpath(*name.split(".")).with_suffix(".py")
        if name in sources or not path.is_file():
            continue
        sources[name] = path.read_bytes()
        for module, names in IMPORT.findall(sources[name].decode()):  # a syntax tree takes a second
            ahead += [module, *(f"{module}.{name}" for name in re.findall(r"\w+", names))]
    return sources
