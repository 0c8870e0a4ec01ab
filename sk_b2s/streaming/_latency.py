"""Delay and look-ahead of the steps of a pipeline."""

from __future__ import annotations

import mne
import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sk_b2s._utils._estimators import get_inner_estimator
from sk_b2s.nn._brain_module import distribute_brain_module_look_ahead
from sk_b2s.preprocessing._epocher._epocher import Epocher
from sk_b2s.preprocessing._scalers import RobustChannelScaler
from sk_b2s.streaming._pipeline import DELAY_AT, make_pipeline_chain

N_CROSSINGS = 24  # of the resampling filter that is not causal, on each side


def pipeline_latency(pipeline, sfreq):
    """Compute the delay and the look-ahead of each step of a pipeline.

    Parameters
    ----------
    pipeline : Pipeline
        Fitted, or a fitted search over one. It begins with an Epocher.
    sfreq : float
        Sampling rate of the recordings in Hz.

    Returns
    -------
    latency : DataFrame of shape (n_steps + 1, 3)
        Indexed by the names of the steps, and "total". ``step`` is the class.
        ``delay``, in seconds, is that of the signal after the stimulus: the
        lag of the Epocher and the group delay of its filters at 4 Hz.
        ``look_ahead``, in seconds, is how much later signal a value may depend
        on, inf for the whole recording. For a decoder, it is how much later
        signal takes part in the estimate of one moment: ``look_ahead`` of
        :class:`BrainEncoder`, and the largest of the ``lags`` of other
        decoders. :class:`LikelihoodDecoder` adds the order of its temporal
        whitening.

    Raises
    ------
    TypeError
        If ``pipeline`` is not a Pipeline that begins with an Epocher.
    NotFittedError
        If its last step is not fitted.
    """
    while not isinstance(pipeline, Pipeline) and (found := get_inner_estimator(pipeline, fitted=True)):
        pipeline = found[1]
    if not isinstance(pipeline, Pipeline) or not isinstance(pipeline.steps[0][1], Epocher):
        raise TypeError(
            f"pipeline must be a Pipeline that begins with an Epocher. Got {type(pipeline).__name__}."
        )
    check_is_fitted(pipeline.steps[-1][1])
    epocher, rows = pipeline.steps[0][1], {}
    for name, step in pipeline.steps:
        if step in (None, "passthrough"):
            continue
        if isinstance(step, Epocher):
            delay, ahead = _measure_epocher_latency(step, sfreq)
        elif isinstance(step, RobustChannelScaler):
            delay, ahead = 0.0, np.inf if step.calibration is None else 0.0
        elif step is pipeline.steps[-1][1]:
            delay, ahead = 0.0, find_look_ahead_latency(step, epocher.sfreq)
        else:
            delay, ahead = 0.0, np.inf
        rows[name] = type(step).__name__, delay, ahead
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["step", "delay", "look_ahead"])
    table.loc["total"] = ["", table["delay"].sum(), table["look_ahead"].sum()]
    return table


def _measure_epocher_latency(epocher, sfreq):
    """Return the delay and the look-ahead of an Epocher in seconds."""
    lag = float(epocher.lag)
    if epocher.causal:
        return lag + float(make_pipeline_chain(epocher, sfreq).delay(DELAY_AT)[0]), 0.0
    is_resampled = not np.isclose(sfreq, epocher.sfreq)
    ahead = N_CROSSINGS / min(sfreq, epocher.sfreq) if is_resampled else 0.0
    if epocher.phase == "zero" and (epocher.l_freq is not None or epocher.h_freq is not None):
        taps = mne.filter.create_filter(None, sfreq, epocher.l_freq, epocher.h_freq, verbose="ERROR")
        ahead += (len(taps) - 1) / 2 / sfreq
    return lag, ahead


def find_look_ahead_latency(decoder, sfreq):
    """Return the seconds of later signal in the estimate of one moment."""
    if getattr(decoder, "module", None) is not None:  # it may use the whole window
        return decoder.n_times_in_ / sfreq
    if (architecture := getattr(decoder, "architecture_", None)) is not None:
        depth, kernel_size, glu = (getattr(decoder, name) for name in ("depth", "kernel_size", "glu"))
        most = count_look_ahead_latency(depth, kernel_size, glu)
        ahead = architecture["look_ahead"]
        return (most if ahead is None else min(ahead, most)) / sfreq
    if (lags := getattr(decoder, "lags_", None)) is None:
        return 0.0
    n_whitened = int(
        np.max(getattr(decoder, "order_", 0))
    )  # later frames whose noise is predicted from this one
    frame = decoder.n_times_in_ / len(decoder.frame_weights_) / sfreq
    return max(0.0, float(lags[-1]) + n_whitened * frame)


def count_look_ahead_latency(depth, kernel_size, glu):
    """Return the later samples that centered convolutions read.

    Examples
    --------
    >>> count_look_ahead_latency(10, 3, True)  # of the paper, 558 ms
    67
    """
    most = 0
    while None not in distribute_brain_module_look_ahead(most, depth, kernel_size, glu):
        most += 1
    return most
