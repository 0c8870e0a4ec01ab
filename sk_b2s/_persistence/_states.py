"""Schema of the fitted attributes of each estimator."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator

from sk_b2s.decoding._incremental._moments import IncrementalMoments
from sk_b2s.decoding._shared_response import SharedResponse
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.preprocessing._windows._windows import Windows


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


def _size(axis, sizes, length):
    """Return the expected length of an axis. The first length sets it."""
    if isinstance(axis, int):
        return axis
    return sizes.setdefault(axis, length)


def _has_shape(shape, sizes, axes):
    return len(shape) == len(axes) and all(
        n == _size(axis, sizes, n) for n, axis in zip(shape, axes, strict=True)
    )


def _format_shape(axes, sizes):
    return "(" + ", ".join(f"{axis}={sizes[axis]}" if axis in sizes else str(axis) for axis in axes) + ")"


def state_numbers(*axes, kinds="fiu", within=None, none=False, absent=False, finite=True):
    """Describe an array or tensor of numbers with named axes.

    ``within`` is the range of values, as numbers or names of axes.
    """

    def check(value, sizes):
        array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
        right = isinstance(array, (np.ndarray, np.generic)) and array.dtype.kind in kinds
        if not right or not _has_shape(array.shape, sizes, axes):
            return f"numbers of shape {_format_shape(axes, sizes)}"
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
            if _has_shape((len(value),), sizes, axes) and all(isinstance(one, str) for one in value):
                return None
        return f"strings of shape {_format_shape(axes, sizes)}"

    return StateAttribute(check, none, absent)


def _is_integer(value):
    return isinstance(value, Integral) and not isinstance(value, bool)


def state_integer(least, none=False, absent=False):
    """Describe an integer with a minimum."""

    def check(value, sizes):
        return None if _is_integer(value) and value >= least else f"an integer of at least {least}"

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


def _weights(value, sizes):
    right = isinstance(value, dict) and all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in value.items()
    )
    return None if right else "tensors by name"


def _weights_by_subject(value, sizes):
    right = isinstance(value, dict) and all(
        isinstance(name, str) and _weights(one, sizes) is None for name, one in value.items()
    )
    return None if right else "tensors by name for each subject"


def _pairs(value, sizes):
    pairs = value.values() if isinstance(value, dict) else [None]
    right = all(isinstance(p, tuple) and len(p) == 2 and all(map(_is_integer, p)) for p in pairs)
    return None if right else "two integers by name"


def _named_estimators(value, sizes):
    right = isinstance(value, list) and all(
        isinstance(p, tuple) and len(p) == 2 and isinstance(p[0], str) and isinstance(p[1], BaseEstimator)
        for p in value
    )
    return None if right else "pairs of a name and an estimator"


def _fitted_copies(value, sizes):
    right = isinstance(value, list) and all(
        isinstance(copies, list) and copies and all(isinstance(one, BaseEstimator) for one in copies)
        for copies in value
    )
    right = right and _size("n_members", sizes, len(value)) == len(value)
    return None if right else "lists of estimators, one for each member"


def _records(value, sizes):
    right = isinstance(value, list) and all(isinstance(row, dict) for row in value)
    return None if right else "a list of dicts"


def _moments(lagged, other, value, sizes):
    axes = ("n_lags", "n_lagged", other)
    right = isinstance(value, dict) and all(
        isinstance(one, IncrementalMoments) and len(one.x) == sizes[lagged] and _has_shape(one.cross.shape, sizes, axes)
        for one in value.values()) and _size("n_models", sizes, len(value)) == len(value)  # fmt: skip
    return None if right else f"sums of {sizes[lagged]} lagged signals and {sizes[other]} others by model"


def _consent(value, sizes):
    return None if isinstance(value, str) and value.strip() else "a text that states who agreed to what"


def _true(value, sizes):
    return None if value is True else "True"


N, COUNT, FLAG = "n_features_in_", state_integer(1), state_of_type(bool)
NUMBER = state_of_type(Real, absent=True)
SEGMENTS = state_of_type(pd.DataFrame, Windows, np.ndarray)
OUTPUT = StateAttribute(
    lambda value, sizes: None if value in ({"transform": name} for name in ("default", "pandas", "polars")) else
    "an output of set_output", absent=True,
)  # fmt: skip
EVERYWHERE = {"_sklearn_output_config": OUTPUT, "feature_names_in_": state_strings(N, absent=True)}
HEARD = {"adaptation_rows_": state_numbers("n_heard", kinds="i", absent=True)}
FEATURES_OUT = {"n_features_out_": COUNT}
SPEECH = {
    "speech_": state_of_type(BaseEstimator, none=True),
    "stimulus_intervals_": state_of_type(StimulusIntervals, none=True),
}
DECODER = {
    N: COUNT, "n_times_in_": COUNT, "n_features_out_": COUNT, "n_speech_features_": COUNT,
    "sfreq_in_": state_of_type(Real, none=True), "ch_names_in_": state_strings(N, none=True), "segments_": SEGMENTS, **SPEECH,
    "frame_weights_": state_numbers("n_frames", kinds="iu"), "_flat_targets": FLAG, "subjects_": state_strings("n_subjects"),
}  # fmt: skip
REGRESSION = {
    "alpha_": state_numbers("n_models", finite=False), "cv_scores_": state_numbers("n_models", "n_alphas", finite=False),
}  # fmt: skip
CHANNELS = {
    "ch_names_": state_strings(N, none=True, absent=True),
    "positions_": state_numbers(N, 2, none=True, absent=True, finite=False),
}

# Fitted attributes by the name of a class in a file. Other attributes whose names end in "_" are not checked.
STATES: dict[str, dict[str, StateAttribute]] = {
    **dict.fromkeys(
        ("sk_b2s.AcousticOnsets", "sk_b2s.Envelope", "sk_b2s.MelSpectrogram", "sk_b2s.SpeechActivity",
         "sk_b2s.PrecomputedFeatures", "sk_b2s.Wav2Vec2Features"), FEATURES_OUT),
    "sk_b2s.BrainEncoder": {
        **DECODER, "architecture_": state_of_type(dict), "speech_architecture_": state_of_type(dict, none=True),
        "history_": StateAttribute(_records), "interrupted_": FLAG, "shared_response_": state_of_type(SharedResponse, none=True),
        "covariances_": state_numbers("n_fitted", "n_mixed", "n_mixed", absent=True),
        "weights": StateAttribute(_weights, finite=True),
        "own_weights": StateAttribute(_weights_by_subject, absent=True, finite=True),
        "parent_": state_of_type(str, absent=True, none=True), "adaptations_": state_of_type(pd.DataFrame, absent=True, none=True), **HEARD,
    },
    "sk_b2s.CalibratedDecoder": {
        "n_calibration_": state_integer(0), "interrupted_": FLAG, "estimator_": state_of_type(BaseEstimator),
    },
    "sk_b2s.CovarianceAlignment": {N: COUNT, "matrix_": state_numbers(N, N, absent=True)},
    "sk_b2s.EnsembleDecoder": {
        N: state_integer(1, absent=True), "estimators_": StateAttribute(_fitted_copies), "weights_": state_numbers("n_members"),
        "summary_": state_of_type(pd.DataFrame), "segments_": SEGMENTS, "stimulus_intervals_": SPEECH["stimulus_intervals_"], **HEARD,
    },
    "sk_b2s.Epocher": {N: COUNT, "ch_names_": state_strings("n_channels", absent=True)},
    "sk_b2s.EventFeatures": {**FEATURES_OUT, "rows_": state_of_type(pd.DataFrame)},
    "sk_b2s.FeatureScaler": {
        N: COUNT, "mean_": state_numbers(N), "scale_": state_numbers(N), "autocorrelation_": state_numbers(N, absent=True),
    },
    "sk_b2s.FeaturePCA": {
        N: COUNT, "mean_": state_numbers(N), "components_": state_numbers("n_components_", N),
        **dict.fromkeys(("explained_variance_", "explained_variance_ratio_"), state_numbers("n_components_")),
    },
    "sk_b2s.SpeechFeatureUnion": {
        **FEATURES_OUT, "transformer_list_": StateAttribute(_named_estimators), "feature_ranges_": StateAttribute(_pairs),
    },
    "sk_b2s.ForwardTRF": {
        **SPEECH, N: COUNT, "n_features_out_": COUNT, "subjects_": state_strings("n_subjects"), **REGRESSION,
        "band_alphas_": state_numbers("n_models", "n_bands", absent=True),
        "_shape": state_of_type(tuple), "_weights": state_numbers("n_frames", kinds="i"),
        "_frames": state_numbers("n_times", kinds="i", within=(0, "n_frames")),
        "_lags": state_numbers("n_lags", kinds="i"), "lags_": state_numbers("n_lags"),
        "coef_": state_numbers("n_models", "n_lags", "n_features_out_", N), "intercept_": state_numbers("n_models", N),
        "mean_": state_numbers("n_models", "n_features_out_"), **CHANNELS,
        "moments_": StateAttribute(partial(_moments, "n_features_out_", N), absent=True),
    },
    "sk_b2s.LikelihoodDecoder": {
        **DECODER, "_frames": state_numbers("n_times_in_", kinds="i", within=(0, "n_frames")),
        "lag_frames_": state_numbers("n_lags", kinds="i", within=("-n_frames", "n_frames")), "lags_": state_numbers("n_lags"),
        "mean_": state_numbers("n_models", N), "unmix_": state_numbers("n_models", N, N),
        "limit_": state_numbers("n_models", finite=False), "time_filter_": state_numbers("n_models", "n_frames", "n_frames"),
        "filters_": state_numbers("n_models", N, "rank_"),
        "coef_": state_numbers("n_models", "n_lags", "n_inputs", "rank_"),
        "spatial_patterns_": state_numbers("n_models", "rank_", N, absent=True),
        "energy_": state_numbers("n_models"), "normalize_": FLAG, "scale_": NUMBER,
        "order_": state_numbers("n_subjects", kinds="i"), "speech_mean_": state_numbers("n_features_out_"),
        "speech_components_": state_numbers("n_features_out_", "n_inputs"),
        "prior_columns_": state_numbers("n_columns", "n_columns"), "prior_channels_": state_numbers(N, N),
        "n_iter_": COUNT, "rank_": COUNT, "gain_": NUMBER,
        "cv_scores_": state_numbers("n_tried", "n_ranks", finite=False),
        "adaptations_": state_of_type(pd.DataFrame, absent=True), **HEARD,
    },
    "sk_b2s.MaskedEncoder": {
        **{name: DECODER[name] for name in (N, "n_times_in_", "n_features_out_", "sfreq_in_", "ch_names_in_", "subjects_")},
        "architecture_": state_of_type(dict), "history_": StateAttribute(_records), "interrupted_": FLAG,
        "recordings_": state_of_type(pd.DataFrame, none=True), "stimuli_": state_of_type(pd.DataFrame, none=True),
        "weights": StateAttribute(_weights, finite=True),
    },
    "sk_b2s.RidgeDecoder": {
        **DECODER, **REGRESSION, "_frames": state_numbers("n_times_in_", kinds="i", within=(0, "n_frames")),
        "lag_frames_": state_numbers("n_lags", kinds="i", within=("-n_frames", "n_frames")), "lags_": state_numbers("n_lags"),
        "coef_": state_numbers("n_models", "n_lags", N, "n_features_out_"),
        "intercept_": state_numbers("n_models", "n_features_out_"), "mean_": state_numbers("n_models", N),
        "patterns_": state_numbers("n_models", "n_lags", N, "n_features_out_", absent=True), **CHANNELS,
        "moments_": StateAttribute(partial(_moments, N, "n_features_out_"), absent=True),
        "_context_frames": state_numbers("n_context_times", kinds="i", absent=True),
    },
    "sk_b2s.RobustChannelScaler": {N: COUNT, **{name: state_numbers(N, absent=True) for name in ("center_", "scale_")}},
    "sk_b2s.SpeechReconstructor": {
        "decoder_": state_of_type(BaseEstimator), "sfreq_": state_of_type(Real), "target_": state_of_type(str),
        "mel_mean_": state_numbers("n_mels"), "mel_std_": state_numbers("n_mels"), "mel_map_": state_numbers("n_rows", "n_mels"),
    },
    "sk_b2s.SpeakerVoice": {
        "consent_": StateAttribute(_consent), "synthetic_": StateAttribute(_true), "duration_": state_of_type(Real),
        "features_": state_numbers("n_frames", "n_features"), "mel_": state_numbers("n_frames", 160),
    },
    "sk_b2s.SurrogateRecordings": {N: COUNT, "seed_": state_integer(0)},
    "sklearn.decomposition.PCA": {
        N: COUNT, "_fit_svd_solver": state_of_type(str, absent=True), "n_components_": COUNT, "n_samples_": COUNT,
        "mean_": state_numbers(N),
        "components_": state_numbers("n_components_", N), "noise_variance_": NUMBER,
        **dict.fromkeys(("explained_variance_", "explained_variance_ratio_", "singular_values_"),
                        state_numbers("n_components_", finite=False)),
    },
    "sklearn.linear_model.Ridge": {
        N: COUNT, "coef_": state_any_of(state_numbers("n_targets", N), state_numbers(N)), "solver_": state_of_type(str, absent=True),
        "intercept_": state_any_of(state_numbers("n_targets"), state_of_type(Real)),
    },
    "sklearn.pipeline.FeatureUnion": {},
    "sklearn.pipeline.Pipeline": {},
    "sklearn.preprocessing.MinMaxScaler": {
        N: COUNT, **dict.fromkeys(("min_", "scale_", "data_min_", "data_max_", "data_range_"), state_numbers(N)),
    },
    "sklearn.preprocessing.RobustScaler": {
        N: COUNT, **dict.fromkeys(("center_", "scale_"), state_numbers(N, none=True)),
    },
    "sklearn.preprocessing.StandardScaler": {
        N: COUNT, **dict.fromkeys(("mean_", "var_", "scale_"), state_numbers(N, none=True)),
    },
}  # fmt: skip

# State of an adapted encoder that is saved relative to its parent.
ADDED = {
    "parent_": state_of_type(str), "adaptations_": state_of_type(pd.DataFrame), **HEARD,
    "added": state_strings("n_added"), "shared": state_strings("n_shared"),
    "added_weights": StateAttribute(_weights_by_subject, finite=True), "added_intervals": state_of_type(dict, absent=True),
    "added_copies": state_strings("n_copies", absent=True),
    "layers": state_of_type(torch.Tensor, absent=True, finite=True),
}  # fmt: skip

# Constructor arguments of the classes that estimators hold.
PART_STATES: dict[str, dict[str, StateAttribute]] = {
    "Affine": {
        "center": state_numbers("n_signals", "n_channels"), "scale": state_numbers("n_signals", "n_channels"),
        "clip": state_of_type(Real, none=True),
    },
    "Projection": {"mean": state_numbers("n_channels"), "components": state_numbers("n_components", "n_channels")},
    "Whitening": {name: state_numbers("n_channels") for name in ("center", "autocorrelation", "scale")},
    "Baseline": {name: state_integer(0) for name in ("first", "last", "begin", "length")},
    "HashedBlockSplit": {
        "part": state_of_type(str), "test_size": state_of_type(Real), "valid_size": state_of_type(Real), "salt": state_integer(0),
    },
    "SharedResponse": {
        "mean": state_numbers("n_features"), "components": state_numbers("n_components", "n_features"),
        "lags": state_numbers("n_lags", kinds="i"), "latents": state_numbers("n_lagged", "n_latents"),
        **dict.fromkeys(("shared", "pattern"), state_numbers("n_mixed", "n_latents")),
        **dict.fromkeys(("spread", "noise"), state_numbers("n_latents")),
    },
    "StimulusArray": {
        "data": state_numbers("n_times", "n_features"), "sfreq": state_of_type(Real), "name": state_of_type(str),
        "features": state_strings("n_names", absent=True),
    },
    "Moments": {
        **dict.fromkeys(("n_frames", "n_used"), state_integer(1)), **dict.fromkeys(("reference", "x"), state_numbers("n_channels")),
        "y": state_numbers("n_features"), "yy": state_numbers("n_features", "n_features"), "lagged": state_numbers("n_lags", "n_lagged"),
        "products": state_numbers("n_lags", "n_lagged", "n_lags", "n_lagged"),
        "cross": state_numbers("n_lags", "n_lagged", "n_features"),
    },
    "ImageStimulus": {"name": state_of_type(str), "path": state_of_type(str), "kind": state_of_type(str, absent=True)},
    "StimulusIntervals": {"intervals": state_of_type(dict), "copies": state_strings("n_copies", absent=True)},
    "AudioTrack": {"path": state_of_type(str), "channel": state_any_of(state_integer(0), state_of_type(str))},
    "Windows": {
        "signals": state_of_type(list), "which": state_numbers("n_windows", kinds="iu"), "start": state_numbers("n_windows", kinds="iu"),
        "n_times": state_integer(1), "sfreq": state_of_type(Real, none=True), "rows": state_of_type(pd.DataFrame, none=True),
        "positions": state_numbers("n_layouts", "n_channels", 2, none=True, finite=False),
        "layout": state_numbers("n_signals", kinds="iu"), "ch_names": state_strings("n_channels", none=True),
        "extent": state_numbers("n_signals", 2, kinds="iu", none=True), "steps": state_of_type(tuple),
        "n_valid": state_numbers("n_windows", kinds="iu", none=True, absent=True), "is_continuous": state_of_type(bool, absent=True),
    },
}  # fmt: skip


def get_state_schema(name, state):
    """Return the schema of a state in a file: dict of str to Attribute."""
    own = ADDED if name == "sk_b2s.BrainEncoder" and "added" in state else STATES.get(name, {})
    return {**EVERYWHERE, **own}


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
    sizes |= {name: int(value) for name, value in state.items() if _is_integer(value) and name in expected}
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
        if attribute.finite and name in state and not _is_finite(state[name])
    ]  # fmt: skip


def _is_finite(value):
    if isinstance(value, dict):
        return all(_is_finite(part) for part in value.values())
    if isinstance(value, torch.Tensor):
        return bool(torch.isfinite(value).all())
    return not isinstance(value, np.ndarray) or value.dtype.kind not in "fc" or bool(np.isfinite(value).all())
