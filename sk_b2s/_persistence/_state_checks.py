"""Check the fitted attributes of a file against their schema."""

from __future__ import annotations

import inspect

import numpy as np
import torch

from sk_b2s._persistence._state_attributes import is_state_integer, state_numbers
from sk_b2s._persistence._states import EVERYWHERE, PART_STATES, STATES, get_state_schema
from sk_b2s.preprocessing._windows._windows import Windows


def check_state_names(name, cls, state):
    """Raise if ``fit`` of a class does not set an attribute of a state."""
    known, own = get_state_schema(name, state), name in STATES
    for attribute in state:
        ends = attribute in known or (isinstance(attribute, str) and attribute.isidentifier() and (
            attribute.endswith("_") and not attribute.startswith("_") if own else not attribute.startswith("__")
        ))  # fmt: skip
        if not ends or _is_taken(cls, attribute, own) or attribute in cls._get_param_names():
            raise ValueError(
                f"it sets {str(attribute)[:80]!r} of {name}, which is not an attribute that its fit sets."
            )


def _is_taken(cls, attribute, own):
    """Return whether a class has a method or property of that name.

    Classes of users may have a value that fit replaces.
    """
    found = inspect.getattr_static(cls, attribute, None)
    return hasattr(cls, attribute) and (own or callable(found) or hasattr(found, "__get__"))


def check_state(owner, expected, state, sizes):
    """Raise if attributes are missing, or their types or shapes are wrong.

    ``sizes`` maps names of axes to known lengths. Others are added.
    """
    if not any(name in state for name in expected if name not in EVERYWHERE):
        return  # not fitted
    sizes |= {
        name: int(value) for name, value in state.items() if is_state_integer(value) and name in expected
    }
    for name, attribute in expected.items():
        if name not in state:
            if attribute.absent:
                continue
            raise ValueError(f"the attribute {name!r} of {owner} is missing.")
        if state[name] is None and attribute.none:
            continue
        if (wanted := attribute.check(state[name], sizes)) is not None:
            came = getattr(state[name], "shape", None)
            came = (
                repr(state[name])[:80] if came is None else f"{type(state[name]).__name__} of {tuple(came)}"
            )
            raise ValueError(f"the attribute {name!r} of {owner} must be {wanted}, got {came}.")


def check_state_frames(name, state):
    """Raise if frames of a decoder do not match its samples or segments."""
    if "_frames" in state:
        weights = np.asarray(state["_weights" if "_weights" in state else "frame_weights_"])
        if not np.array_equal(np.bincount(np.asarray(state["_frames"]), minlength=len(weights)), weights):
            raise ValueError(
                f"the number of samples in each frame of {name} does not match its frame weights."
            )
    segments = state.get("segments_")
    if isinstance(segments, (np.ndarray, Windows)) and "frame_weights_" in state:
        came = (*segments.shape[1:], 1, 1)[:2] if len(segments.shape) < 4 else None
        if came != (wanted := (state["n_speech_features_"], len(state["frame_weights_"]))):
            raise ValueError(f"the segments of {name} must have {wanted} features and frames, got {came}.")


def check_part_state(name, state):
    """Raise unless the arguments of one of ``PART_STATES`` match."""
    check_state(name, PART_STATES[name], state, {})
    wrong = None
    if name == "SharedResponse" and len(state["latents"]) != len(state["lags"]) * len(state["components"]):
        wrong = "its latents do not match its lags and components"
    elif name == "Moments" and state["lagged"].shape[1] != len(state["reference"]) + 1:
        wrong = "its lagged channels do not match its channels"
    elif name == "StimulusIntervals":
        spans = state_numbers("n_intervals", 2)
        if any(spans.check(one, {}) or not np.isfinite(one).all() for one in state["intervals"].values()):
            wrong = "its intervals are not pairs of numbers"
    elif name == "Baseline" and not state["first"] < state["last"]:
        wrong = "its baseline is empty"
    elif name == "Windows":
        wrong = _find_wrong_windows(state)
    if wrong:
        raise ValueError(f"a {name} in it is damaged: {wrong}.")


def _find_wrong_windows(state):
    """Describe errors in Windows that their constructor does not check."""
    n_layouts = 1 if state["positions"] is None else len(state["positions"])
    layout = state["layout"]
    if layout.size and (layout.min() < 0 or layout.max() >= n_layouts):
        return f"a signal has the layout {layout.max()}, but there are only {n_layouts}"
    n_times = state["n_times"]
    for step in state["steps"]:
        ends = [getattr(step, "last", 0), getattr(step, "begin", 0) + getattr(step, "length", 0)]
        if max(ends) > n_times:
            return f"a step reads sample {max(ends)} of {n_times}"
        n_times = getattr(step, "length", n_times)
    return None


def find_nonfinite_states(expected, state):
    """List attributes with NaN or infinite values that should be finite."""
    return [
        name for name, attribute in expected.items()
        if attribute.finite and name in state and not _is_state_finite(state[name])
    ]  # fmt: skip


def _is_state_finite(value):
    if isinstance(value, dict):
        return all(_is_state_finite(part) for part in value.values())
    if isinstance(value, torch.Tensor):
        return bool(torch.isfinite(value).all())
    return not isinstance(value, np.ndarray) or value.dtype.kind not in "fc" or bool(np.isfinite(value).all())
