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


def _make_scalar(dtype, data):
    """Make a number of NumPy. Objects are refused."""
    if dtype.hasobject:
        raise pickle.UnpicklingError("a scalar of type object")
    return np.frombuffer(data, dtype)[0]


def _encode(text, encoding):
    """Return the bytes that Python 2 stored as text."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"a text in {encoding!r}")
    return codecs.encode(text, "latin1")


def _make_array(kind, shape, typecode):
    """Make an empty array, whose state follows."""
    if kind is not np.ndarray:
        raise pickle.UnpicklingError("a subclass of an array")
    return np.ndarray(shape, typecode)


def _make_from_buffer(data, dtype, shape, order):
    """Make an array from its bytes."""
    return np.frombuffer(data, dtype).reshape(shape, order=order)


ALLOWED = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype, ("_codecs", "encode"): _encode}
for _core in _CORES:
    ALLOWED[f"{_core}.multiarray", "_reconstruct"] = _make_array
    ALLOWED[f"{_core}.multiarray", "scalar"] = _make_scalar
    ALLOWED[f"{_core}.numeric", "_frombuffer"] = _make_from_buffer


class _RestrictedUnpickler(pickle.Unpickler):
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
            content = None if shape != () or not dtype.hasobject else _RestrictedUnpickler(file).load()
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
    return content
