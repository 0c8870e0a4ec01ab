"""Files with one feature vector per stimulus."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

SUFFIXES = (".npz", ".safetensors", ".parquet")


def read_feature_vectors(source):
    """Read the vectors of stimuli as a DataFrame indexed by name.

    Parameters
    ----------
    source : str, Path or DataFrame
        A table indexed by name, or a file. A npz or safetensors file has
        ``features`` of shape (n_stimuli, n_features) and ``names`` (in the
        metadata of safetensors, as JSON), or one array per stimulus. A parquet
        file has an index or a column ``name``, and one column per feature.

    Returns
    -------
    vectors : DataFrame of shape (n_stimuli, n_features)
        float32.

    Raises
    ------
    ValueError
        If the file has another form, a name occurs twice, or a value is not
        finite.
    """
    if isinstance(source, pd.DataFrame):
        return _check_vectors(source, source)
    path = Path(source)
    state = path.stat() if path.is_file() else None
    return _read_vectors_unchanged(path.resolve(), state and (state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=4)
def _read_vectors_unchanged(path, state):
    """Read a file once until it changes. ``state`` is its time and size."""
    return _check_vectors(_read_vectors_file(path), path)


def _check_vectors(table, source):
    """Return the vectors of a table as float32, or raise."""
    try:
        numbers = table.to_numpy(np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The feature vectors of {_name_vectors_source(source)} must be numbers. {error}"
        ) from error
    names = pd.Index([str(name) for name in table.index])
    if len(twice := names[names.duplicated()]):
        raise ValueError(
            f"{_name_vectors_source(source)} has two vectors of the stimulus {twice[0]!r}. Remove one."
        )
    if not len(names) or not numbers.shape[1]:
        raise ValueError(
            f"{_name_vectors_source(source)} must have a vector of at least one stimulus. Got shape {numbers.shape}."
        )
    if not np.isfinite(numbers).all():
        wrong = names[~np.isfinite(numbers).all(1)][0]
        raise ValueError(
            f"{_name_vectors_source(source)} has NaN or infinite values in the vector of {wrong!r}. Correct them."
        )
    return pd.DataFrame(numbers, index=names)


def _name_vectors_source(source):
    """Return the name of a source in messages."""
    return "The table of features" if isinstance(source, pd.DataFrame) else repr(str(source))


def _read_vectors_file(path):
    """Read a file of vectors."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"The file of features must end in one of {list(SUFFIXES)}. Got {str(path)!r}.")
    if not path.is_file():
        raise FileNotFoundError(
            f"The file of features {str(path)!r} does not exist. Correct the 'features' parameter."
        )
    if path.suffix == ".parquet":
        try:
            table = pd.read_parquet(path)
        except ImportError as error:
            raise ImportError(
                f"{str(path)!r} requires pyarrow. Install it, or save the vectors as npz."
            ) from error
        return table.set_index("name") if "name" in table else table
    arrays, names = _read_vectors_npz(path) if path.suffix == ".npz" else _read_vectors_safetensors(path)
    if "features" in arrays:
        return _make_table_of_vectors(path, arrays["features"], names)
    shapes = {name: np.shape(array) for name, array in arrays.items()}
    if len(set(shapes.values())) != 1 or len(next(iter(shapes.values()))) != 1:
        raise ValueError(
            f"{str(path)!r} must have the array 'features' of shape (n_stimuli, n_features) with 'names', or one vector "
            f"of equal length per stimulus. Got {dict(list(shapes.items())[:5])}."
        )
    return pd.DataFrame(np.stack(list(arrays.values())), index=list(arrays))


def _read_vectors_npz(path):
    """Read the arrays and the names of a npz file."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return arrays, np.atleast_1d(arrays["names"]).astype(str) if "names" in arrays else None
    except (ValueError, TypeError, EOFError, BadZipFile) as error:
        raise ValueError(
            f"{str(path)!r} is not a npz file of numbers and texts ({error}). Write it with "
            f"numpy.savez(file, features=features, names=numpy.asarray(names, str))."
        ) from error


def _read_vectors_safetensors(path):
    """Read the arrays and the names of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as stored:
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            names = (stored.metadata() or {}).get("names")
        return arrays, None if names is None else list(json.loads(names))
    except (SafetensorError, ValueError, TypeError) as error:
        raise ValueError(
            f"{str(path)!r} is not a safetensors file with 'names' as JSON ({error}). Write it with "
            f"safetensors.numpy.save_file({{'features': features}}, file, {{'names': json.dumps(names)}})."
        ) from error


def _make_table_of_vectors(path, features, names):
    """Return a table of an array and its names."""
    n_names = None if names is None else len(names)
    if np.ndim(features) != 2 or n_names != len(features):
        raise ValueError(
            f"{str(path)!r} must have 'features' of shape (n_stimuli, n_features) and one of 'names' for each. Got "
            f"shape {np.shape(features)} and {n_names} names."
        )
    return pd.DataFrame(np.asarray(features), index=[str(name) for name in names])
