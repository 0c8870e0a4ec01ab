"""Checks and parts of a fitted pipeline that can run on a stream."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.signal import sosfilt
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sk_b2s._utils._estimators import get_inner_estimator
from sk_b2s.decoding._ensemble._decoder import EnsembleDecoder
from sk_b2s.decoding._mixins import RetrievalMixin
from sk_b2s.io._raw._causal import CausalChain
from sk_b2s.preprocessing._epocher._epocher import Epocher
from sk_b2s.preprocessing._scalers import RobustChannelScaler

DELAY_AT = 4.0  # Hz, where the delay of filters is stated; the envelope of speech is strongest there

SETTLED = 0.05  # share of the impulse response that is left when filters have settled
MAX_SETTLING = 60.0  # s


class PipelineParts(NamedTuple):
    """Steps of a fitted pipeline.

    Attributes
    ----------
    epocher : Epocher
    scalers : tuple of (str, RobustChannelScaler)
    decoder : estimator
    """

    epocher: Any
    scalers: tuple
    decoder: Any


def split_streaming_pipeline(pipeline):
    """Return the parts of a pipeline, or raise if one needs later samples."""
    while not isinstance(pipeline, Pipeline) and (found := get_inner_estimator(pipeline, fitted=True)):
        pipeline = found[1]
    if not isinstance(pipeline, Pipeline) or len(pipeline.steps) < 2:
        raise TypeError(
            f"StreamingDecoder requires a fitted Pipeline that begins with an Epocher and ends in a decoder. Got "
            f"{type(pipeline).__name__}."
        )
    (first, epocher), *scalers, (last, decoder) = pipeline.steps
    if not isinstance(epocher, Epocher):
        raise TypeError(f"Step {first!r} must be an Epocher. Got {type(epocher).__name__}.")
    if not isinstance(decoder, RetrievalMixin) or isinstance(decoder, EnsembleDecoder):
        raise TypeError(
            f"Step {last!r} must be one decoder of the package, such as LikelihoodDecoder. Got {type(decoder).__name__}."
        )
    check_is_fitted(decoder)
    if not hasattr(epocher, "ch_names_"):
        raise ValueError(f"Step {first!r} was fitted on arrays. Fit the Pipeline on a table of segments.")
    if getattr(decoder, "speech_", None) is None:
        raise ValueError(
            f"Step {last!r} has speech=None, so the features of the candidates cannot be computed from their sounds. "
            f"Fit it with speech=..."
        )
    if hasattr(decoder, "_context_frames"):
        raise ValueError(
            f"Step {last!r} was fitted with context=True and reads samples after a window, which a stream does not have. "
            f"Fit it with context=False."
        )
    _check_epocher(first, epocher)
    scalers = [(name, step) for name, step in scalers if hasattr(step, "transform")]
    for name, step in scalers:
        if not isinstance(step, RobustChannelScaler) or step.calibration is None:
            way_out = (
                "Set calibration=... seconds."
                if isinstance(step, RobustChannelScaler)
                else "Only RobustChannelScaler(calibration=...) can be used between Epocher and decoder."
            )
            raise ValueError(
                f"Step {name!r}, {type(step).__name__}, uses the whole recording, which a stream does not have. {way_out}"
            )
    return PipelineParts(epocher, tuple(scalers), decoder)


def _check_epocher(name, epocher):
    """Raise if an Epocher uses later samples, or cannot be applied to some."""
    if not epocher.causal:
        raise ValueError(
            f"Step {name!r} has causal=False, so its filters use later samples. Fit the Pipeline with "
            f"Epocher(causal=True)."
        )
    if epocher.raw_hook is not None:
        raise ValueError(
            f"Step {name!r} has a raw_hook, which needs a whole recording. Set raw_hook=None and process samples before "
            f"they are pushed."
        )
    if epocher.bads == "interpolate":
        raise ValueError(f"Step {name!r} has bads='interpolate', which a stream cannot do. Use bads='mask'.")
    if epocher.reference is not None:
        raise ValueError(
            f"Step {name!r} has reference={epocher.reference!r}. Fit the Pipeline with reference=None on recordings with "
            f"that reference, and subtract it before samples are pushed."
        )


def make_pipeline_chain(epocher, sfreq):
    """Make the causal filters of an Epocher for a sampling rate."""
    notch = () if epocher.notch is None else np.atleast_1d(epocher.notch).astype(float).tolist()
    return CausalChain(sfreq, epocher.sfreq, epocher.l_freq, epocher.h_freq, notch)


def find_pipeline_settling_time(chain):
    """Return the seconds after which 5 % of the impulse response is left."""
    impulse = np.zeros((1, round(MAX_SETTLING * chain.sfreq_in)))
    impulse[0, 0] = 1.0
    response = abs(sosfilt(chain.sections, impulse, axis=1)[0]) if len(chain.sections) else impulse[0]
    left = np.cumsum(response[::-1])[::-1]
    return (np.count_nonzero(left > SETTLED * left[0]) + chain.n_past) / chain.sfreq_in
