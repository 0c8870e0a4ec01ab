"""Schemas of single fitted attributes: type, shape and range of a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator

from sk_b2s.decoding._incremental._moments import IncrementalMoments


@dataclass(frozen=True)
class StateAttribute:
    """Schema of a fitted attribute.

    Parameters
    ----------
    check : callable
        ``check(value, sizes)`` returns the expectation as text, or None if the
        value is valid. ``sizes`` maps names of axes to lengths, and is filled.
    none, absent : bool
        Whether the attribute may be None, and whether it may be missing.
    finite : bool
        Whether to warn about NaN and infinity.
    """

    check: Callable[[Any, dict], str | None]
    none: bool = False
    absent: bool = False
    finite: bool = False


def _check_state_axis(axis, sizes, length):
    """Return the expected length of an axis. The first length sets it."""
    if isinstance(axis, int):
        return axis
    return sizes.setdefault(axis, length)


def _has_state_shape(shape, sizes, axes):
    return len(shape) == len(axes) and all(
        n == _check_state_axis(axis, sizes, n) for n, axis in zip(shape, axes, strict=True)
    )


def _format_state_shape(axes, sizes):
    return "(" + ", ".join(f"{axis}={sizes[axis]}" if axis in sizes else str(axis) for axis in axes) + ")"


def state_numbers(*axes, kinds="fiu", within=None, none=False, absent=False, finite=True):
    """Describe an array or tensor of numbers with named axes.

    ``within`` is the range of values, as numbers or names of axes.
    """

    def check(value, sizes):
        array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
        right = isinstance(array, (np.ndarray, np.generic)) and array.dtype.kind in kinds
        if not right or not _has_state_shape(array.shape, sizes, axes):
            return f"numbers of shape {_format_state_shape(axes, sizes)}"
        low, high = (0, 0) if within is None else within
        low, high = (
            -sizes.get(end[1:], 0) if str(end)[0] == "-" else sizes.get(end, end) for end in (low, high)
        )
        if within is not None and array.size and not (low <= array.min() and array.max() < high):
            return f"numbers from {low} to {high - 1}"
        return None

    return StateAttribute(check, none, absent, finite)


def state_strings(*axes, none=False, absent=False):
    """Describe a sequence of strings."""

    def check(value, sizes):
        if isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value) == 1:
            if _has_state_shape((len(value),), sizes, axes) and all(isinstance(one, str) for one in value):
                return None
        return f"strings of shape {_format_state_shape(axes, sizes)}"

    return StateAttribute(check, none, absent)


def is_state_integer(value):
    return isinstance(value, Integral) and not isinstance(value, bool)


def state_integer(least, none=False, absent=False):
    """Describe an integer with a minimum."""

    def check(value, sizes):
        return None if is_state_integer(value) and value >= least else f"an integer of at least {least}"

    return StateAttribute(check, none, absent)


def state_of_type(*kinds, none=False, absent=False, finite=False):
    """Describe a value of given types."""

    def check(value, sizes):
        return None if isinstance(value, kinds) else " or ".join(kind.__name__ for kind in kinds)

    return StateAttribute(check, none, absent, finite)


def state_any_of(*attributes, none=False, absent=False):
    """Describe a value that satisfies one of several schemas."""

    def check(value, sizes):
        expected = [attribute.check(value, sizes) for attribute in attributes]
        return None if None in expected else " or ".join(expected)

    return StateAttribute(check, none, absent, attributes[0].finite)


def check_weights_state(value, sizes):
    right = isinstance(value, dict) and all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in value.items()
    )
    return None if right else "tensors by name"


def check_subject_weights_state(value, sizes):
    right = isinstance(value, dict) and all(
        isinstance(name, str) and check_weights_state(one, sizes) is None for name, one in value.items()
    )
    return None if right else "tensors by name for each subject"


def check_pairs_state(value, sizes):
    pairs = value.values() if isinstance(value, dict) else [None]
    right = all(isinstance(p, tuple) and len(p) == 2 and all(map(is_state_integer, p)) for p in pairs)
    return None if right else "two integers by name"


def check_named_estimators_state(value, sizes):
    right = isinstance(value, list) and all(
        isinstance(p, tuple) and len(p) == 2 and isinstance(p[0], str) and isinstance(p[1], BaseEstimator)
        for p in value
    )
    return None if right else "pairs of a name and an estimator"


def check_fitted_copies_state(value, sizes):
    right = isinstance(value, list) and all(
        isinstance(copies, list) and copies and all(isinstance(one, BaseEstimator) for one in copies)
        for copies in value
    )
    right = right and _check_state_axis("n_members", sizes, len(value)) == len(value)
    return None if right else "lists of estimators, one for each member"


def check_records_state(value, sizes):
    right = isinstance(value, list) and all(isinstance(row, dict) for row in value)
    return None if right else "a list of dicts"


def check_moments_state(lagged, other, value, sizes):
    axes = ("n_lags", "n_lagged", other)
    right = isinstance(value, dict) and all(
        isinstance(one, IncrementalMoments) and len(one.x) == sizes[lagged] and _has_state_shape(one.cross.shape, sizes, axes)
        for one in value.values()) and _check_state_axis("n_models", sizes, len(value)) == len(value)  # fmt: skip
    return None if right else f"sums of {sizes[lagged]} lagged signals and {sizes[other]} others by model"


def check_consent_state(value, sizes):
    return None if isinstance(value, str) and value.strip() else "a text that states who agreed to what"


def check_true_state(value, sizes):
    return None if value is True else "True"
