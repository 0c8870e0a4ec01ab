"""Schema of the fitted attributes of each estimator."""

from __future__ import annotations

from functools import partial
from numbers import Real

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator

from sk_b2s._persistence._state_attributes import (
    StateAttribute,
    check_consent_state,
    check_fitted_copies_state,
    check_moments_state,
    check_named_estimators_state,
    check_pairs_state,
    check_records_state,
    check_subject_weights_state,
    check_true_state,
    check_weights_state,
    state_any_of,
    state_integer,
    state_numbers,
    state_of_type,
    state_strings,
)
from sk_b2s.decoding._shared_response import SharedResponse
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.preprocessing._windows._windows import Windows

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
        "history_": StateAttribute(check_records_state), "interrupted_": FLAG, "shared_response_": state_of_type(SharedResponse, none=True),
        "covariances_": state_numbers("n_fitted", "n_mixed", "n_mixed", absent=True),
        "weights": StateAttribute(check_weights_state, finite=True),
        "own_weights": StateAttribute(check_subject_weights_state, absent=True, finite=True),
        "parent_": state_of_type(str, absent=True, none=True), "adaptations_": state_of_type(pd.DataFrame, absent=True, none=True), **HEARD,
    },
    "sk_b2s.CalibratedDecoder": {
        "n_calibration_": state_integer(0), "interrupted_": FLAG, "estimator_": state_of_type(BaseEstimator),
    },
    "sk_b2s.CovarianceAlignment": {N: COUNT, "matrix_": state_numbers(N, N, absent=True)},
    "sk_b2s.EnsembleDecoder": {
        N: state_integer(1, absent=True), "estimators_": StateAttribute(check_fitted_copies_state), "weights_": state_numbers("n_members"),
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
        **FEATURES_OUT, "transformer_list_": StateAttribute(check_named_estimators_state), "feature_ranges_": StateAttribute(check_pairs_state),
    },
    "sk_b2s.ForwardTRF": {
        **SPEECH, N: COUNT, "n_features_out_": COUNT, "subjects_": state_strings("n_subjects"), **REGRESSION,
        "band_alphas_": state_numbers("n_models", "n_bands", absent=True),
        "_shape": state_of_type(tuple), "_weights": state_numbers("n_frames", kinds="i"),
        "_frames": state_numbers("n_times", kinds="i", within=(0, "n_frames")),
        "_lags": state_numbers("n_lags", kinds="i"), "lags_": state_numbers("n_lags"),
        "coef_": state_numbers("n_models", "n_lags", "n_features_out_", N), "intercept_": state_numbers("n_models", N),
        "mean_": state_numbers("n_models", "n_features_out_"), **CHANNELS,
        "moments_": StateAttribute(partial(check_moments_state, "n_features_out_", N), absent=True),
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
        "architecture_": state_of_type(dict), "history_": StateAttribute(check_records_state), "interrupted_": FLAG,
        "recordings_": state_of_type(pd.DataFrame, none=True), "stimuli_": state_of_type(pd.DataFrame, none=True),
        "weights": StateAttribute(check_weights_state, finite=True),
    },
    "sk_b2s.RidgeDecoder": {
        **DECODER, **REGRESSION, "_frames": state_numbers("n_times_in_", kinds="i", within=(0, "n_frames")),
        "lag_frames_": state_numbers("n_lags", kinds="i", within=("-n_frames", "n_frames")), "lags_": state_numbers("n_lags"),
        "coef_": state_numbers("n_models", "n_lags", N, "n_features_out_"),
        "intercept_": state_numbers("n_models", "n_features_out_"), "mean_": state_numbers("n_models", N),
        "patterns_": state_numbers("n_models", "n_lags", N, "n_features_out_", absent=True), **CHANNELS,
        "moments_": StateAttribute(partial(check_moments_state, N, "n_features_out_"), absent=True),
        "_context_frames": state_numbers("n_context_times", kinds="i", absent=True),
    },
    "sk_b2s.RobustChannelScaler": {N: COUNT, **{name: state_numbers(N, absent=True) for name in ("center_", "scale_")}},
    "sk_b2s.SpeechReconstructor": {
        "decoder_": state_of_type(BaseEstimator), "sfreq_": state_of_type(Real), "target_": state_of_type(str),
        "mel_mean_": state_numbers("n_mels"), "mel_std_": state_numbers("n_mels"), "mel_map_": state_numbers("n_rows", "n_mels"),
    },
    "sk_b2s.SpeakerVoice": {
        "consent_": StateAttribute(check_consent_state), "synthetic_": StateAttribute(check_true_state), "duration_": state_of_type(Real),
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
    "added_weights": StateAttribute(check_subject_weights_state, finite=True), "added_intervals": state_of_type(dict, absent=True),
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
