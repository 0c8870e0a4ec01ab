"""Restricted reader of npy files that hold a dictionary.

NumPy stores a dictionary in a ``.npy`` file as a pickle, which can run any
code when it is loaded. This reader allows arrays, and the containers, numbers
and texts of Python, and refuses everything else.
"""

from __future__ import annotations

import codecs
import pickle
from pathlib import Path

import numpy as np

# The names of both versions of NumPy, which differ in an underscore.
_CORES = ("numpy.core", "numpy._core")


KINDS = "biufcSUO"  # types without fields, see numpy.dtype.kind
_NDARRAY = object()  # in place of numpy.ndarray, which would also make arrays of any memory


class _NpyDtype:
    """Data type of which a file determines the name and the byte order.

    The state of numpy.dtype could hide a type of objects in one of numbers,
    and the bytes of the file would then be addresses of objects.
    """

    def __init__(self, name, *_):
        self.dtype = np.dtype(name) if isinstance(name, str) else None
        if self.dtype is None or self.dtype.kind not in KINDS:
            raise pickle.UnpicklingError(f"the type of numbers {name!r}")

    def __setstate__(self, state):
        if any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("a type of numbers with fields")
        self.dtype = self.dtype.newbyteorder(state[1])


class _NpyArray(np.ndarray):
    """Array whose type comes from :class:`_NpyDtype`."""

    def __setstate__(self, state):
        version, shape, kind, is_fortran, data = state
        super().__setstate__((version, shape, kind.dtype, is_fortran, data))


def _make_npy_scalar(kind, data):
    """Make a number of NumPy. Objects are refused."""
    if kind.dtype.hasobject:
        raise pickle.UnpicklingError("a scalar of type object")
    return np.frombuffer(data, kind.dtype)[0]


def _encode_npy_text(text, encoding):
    """Return the bytes that Python 2 stored as text."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"a text in {encoding!r}")
    return codecs.encode(text, "latin1")


def _make_npy_array(kind, shape, typecode):
    """Make an empty array, whose state follows."""
    if kind is not _NDARRAY or shape != (0,):
        raise pickle.UnpicklingError("a subclass of an array, or one without a state")
    return _NpyArray(0, np.int8)


def _make_npy_array_from_buffer(data, kind, shape, order):
    """Make an array from its bytes."""
    return np.frombuffer(data, kind.dtype).reshape(shape, order=order)


ALLOWED = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _NpyDtype,
    ("_codecs", "encode"): _encode_npy_text,
}
for _core in _CORES:
    ALLOWED[f"{_core}.multiarray", "_reconstruct"] = _make_npy_array
    ALLOWED[f"{_core}.multiarray", "scalar"] = _make_npy_scalar
    ALLOWED[f"{_core}.numeric", "_frombuffer"] = _make_npy_array_from_buffer


class _NpyUnpickler(pickle.Unpickler):
    """Unpickler of plain data and arrays."""

    def find_class(self, module, name):
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"the object {module}.{name}") from None


def read_npy_dictionary(path, keys, study):
    """Read a dictionary from a npy file without running code of the file.

    Parameters
    ----------
    path : path-like
        File of ``numpy.save`` of a dictionary.
    keys : sequence of str
        Required keys.
    study : str
        Name of the study for errors.

    Returns
    -------
    content : dict
        Plain data and arrays.

    Raises
    ------
    ValueError
        If the file is not a dictionary, lacks a key, or contains other objects
        than plain data and arrays.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, _, dtype = read[version](file)
            content = None if shape != () or not dtype.hasobject else _NpyUnpickler(file).load()
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{study}: {str(path)!r} contains {error}, which is not read because it could run code. If you trust the "
            f"file, load it with numpy.load(path, allow_pickle=True).item(), convert all values to arrays, lists and "
            f"texts, and store the dictionary again with numpy.save."
        ) from error
    except (
        ValueError,
        KeyError,
        EOFError,
        IndexError,
        AttributeError,
        TypeError,
        UnicodeDecodeError,
    ) as error:
        raise ValueError(
            f"{study}: {str(path)!r} is not a complete npy file ({type(error).__name__}: {error}). Download it again."
        ) from error
    content = content.item() if isinstance(content, np.ndarray) and content.shape == () else content
    if not isinstance(content, dict) or (missing := [key for key in keys if key not in content]):
        found = f"one without {missing}" if isinstance(content, dict) else "another array"
        raise ValueError(
            f"{study}: {str(path)!r} must hold a dictionary with {list(keys)}. Got {found}. Download it again."
        )
    return {
        key: np.asarray(value) if isinstance(value, _NpyArray) else value for key, value in content.items()
    }
