"""Stimuli that a fitted estimator was trained on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from types import CellType, FunctionType, MethodType, ModuleType
from typing import NamedTuple

import numpy as np
import pandas as pd

from sk_b2s._utils._validation import validate_table
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.model_selection._leak_warning import StimulusLeakWarning
from sk_b2s.preprocessing._fingerprint import fingerprint_array_rows
from sk_b2s.preprocessing._overlap_line import EXACT, NEEDED, has_overlap_line_frames
from sk_b2s.preprocessing._windows._windows import Windows

FOREIGN = ("torch", "numpy", "pandas", "mne", "joblib")  # hold no decoder
DEEPEST = 20  # levels of attributes, lists and dictionaries
PLAIN = (
    str,
    bytes,
    int,
    float,
    complex,
    bool,
    type(None),
    np.ndarray,
    np.generic,
    pd.DataFrame,
    pd.Series,
    Windows,
)


class Exposure(NamedTuple):
    """Mask of rows that an estimator was trained on, and its attributes."""

    rows: np.ndarray
    where: list


def find_exposure(estimator, y, but=()):
    """Find rows whose stimulus a fitted estimator was trained on.

    Pipelines, searches, frozen and calibrated estimators, and attributes of
    any name are searched for the stimuli that decoders of this package store
    in ``fit``, ``adapt`` and ``load``. Decoders passed as parameters, and
    objects that :func:`~sklearn.base.clone` does not clone, are found as well.

    Parameters
    ----------
    estimator : estimator
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        Stimuli.
    but : sequence of object, default=()
        Objects that are not searched.

    Returns
    -------
    exposure : Exposure
        ``rows``, ndarray of bool of shape (n_windows,), and ``where``, the
        paths of the attributes with these stimuli.
    """
    table, hashes, found = validate_table(y), None, Exposure(np.zeros(len(y), bool), [])
    has_sound = table is not None and set(NEEDED) <= set(table)
    for where, part in _iter_objects_for_exposure(estimator, {id(one) for one in but}):
        rows = None
        if isinstance(part, StimulusIntervals) and has_sound:
            rows = part.touches(table, gap=-EXACT)
        elif (
            has_overlap_line_frames(y)
            and isinstance(y, np.ndarray)
            and isinstance(_get_own_attributes(part).get("segments_"), np.ndarray)
        ):
            hashes = fingerprint_array_rows(y) if hashes is None else hashes
            known = [
                fingerprint_array_rows(part.segments_),
                _get_own_attributes(part).get("adaptation_rows_", np.int64([])),
            ]
            values = y.reshape(len(y), -1)
            is_sound = (values != values[:, :1]).any(1)  # windows of silence are not a stimulus
            rows = np.isin(hashes, np.concatenate(known)) & is_sound
        if rows is not None and rows.any():
            found = Exposure(found.rows | rows, [*found.where, where])
    return found


def _iter_objects_for_exposure(estimator, seen):
    """Yield each object in an estimator once, with its attribute path."""
    ahead, kept = [("", estimator, 0)], []
    while ahead:
        where, part, depth = ahead.pop()
        if id(part) in seen or isinstance(part, PLAIN) or depth > DEEPEST:
            continue
        seen.add(id(part))
        kept.append(part)  # so that its id is not reused
        yield where, part
        if isinstance(part, StimulusIntervals):
            continue
        ahead += [(path, one, depth + 1) for path, one in _list_held_objects(where, part)]


def _get_own_attributes(part):
    """Attributes of an instance itself."""
    return getattr(part, "__dict__", {})


def _list_held_objects(where, part):
    """List the objects in a container, instance or function, with paths."""
    if isinstance(part, Mapping):
        found = [(f"[{key!r}]", one) for key, one in list(part.items()) if not isinstance(one, PLAIN)]
    elif isinstance(part, (list, tuple, set, frozenset)):
        found = [(f"[{place}]", one) for place, one in enumerate(part) if not isinstance(one, PLAIN)]
    elif isinstance(part, (FunctionType, MethodType, partial)):
        found = [(f".{name}", getattr(part, name, None)) for name in ("__self__", "func", "args", "keywords")]
        cells = getattr(part, "__closure__", None) or ()
        found += [(".__closure__", cell.cell_contents) for cell in cells if cell != CellType()]
    elif isinstance(part, (type, ModuleType)) or _get_package_of_class(type(part)) in FOREIGN:
        found = []
    else:
        kinds = [
            kind
            for kind in type(part).__mro__
            if _get_package_of_class(kind) not in (*FOREIGN, "builtins", "sk_b2s", "sklearn")
        ]
        shared = {name: one for kind in kinds for name, one in vars(kind).items() if not callable(one)}
        found = [(f".{name}", one) for name, one in (shared | _get_own_attributes(part)).items()]
    return [((where + name).lstrip("."), one) for name, one in found]


def _get_package_of_class(kind):
    return kind.__module__.split(".")[0]


def warn_of_exposure(estimator, decoder, y, stacklevel=3):
    """Warn of stimuli that parts of an estimator were trained on.

    ``decoder``, the last step, is not searched, because it warns itself.
    """
    found = find_exposure(estimator, y, but=[decoder])
    if found.where:
        warnings.warn(
            f"{np.count_nonzero(found.rows)} of {len(found.rows)} scored windows contain stimuli that a part of this "
            f"{type(estimator).__name__} was trained on ({', '.join(found.where)}). The score may measure memory. Fit "
            f"that part on training rows only.",
            StimulusLeakWarning,
            stacklevel=stacklevel,
        )
