"""Delay and look-ahead of pipelines, stated and measured by impulses."""

import numpy as np
import pytest
from scipy.signal import hilbert
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from sk_b2s import Epocher, RidgeDecoder, RobustChannelScaler, StreamingDecoder
from sk_b2s.preprocessing import Windows
from sk_b2s.streaming import pipeline_latency
from sk_b2s.streaming._pipeline import make_pipeline_chain

SFREQ, RATE, TMAX = 64, 32, 3.0
KINDS = {"ridge": 0, "likelihood": 0, "network": 0, "network, 4 steps": 4 / RATE}
LAG = round(0.2 * RATE) / RATE
LOOK_AHEAD = {"ridge": LAG, "likelihood": LAG + 8 / RATE, "network": 0.0, "network, 4 steps": 4 / RATE}


def make_pipeline_of_kind(fitted, kind):
    return fitted(kind.split(",")[0], look_ahead=KINDS[kind])


@pytest.mark.filterwarnings("ignore:the training loss")
@pytest.mark.parametrize("kind", KINDS)
def test_streaming_impulse_arrives_as_stated(fitted, stream, kind):
    heard, candidates, data, onset = stream
    pipeline = make_pipeline_of_kind(fitted, kind)
    options = {"step": 0.25, "subject": heard["subject"], "temperature": 100.0}
    decoder = StreamingDecoder(pipeline, candidates, SFREQ, TMAX, **options)
    data = data[:, : 24 * SFREQ]
    before = decoder.start(onset).push(data)
    at = 20 * SFREQ + 5
    struck = data.copy()
    struck[:, at] += 50 * data.std(axis=1)
    after = decoder.reset().start(onset).push(struck)
    moved = (before["heard"] != after["heard"]).to_numpy()
    time = before["time"].to_numpy()
    assert not moved[time <= at / SFREQ].any()
    first = int(moved.argmax())
    assert moved[first:].all()
    assert time[first] - at / SFREQ <= decoder.latency_["step"] + 1 / RATE
    sound = before["stimulus_time"].iloc[first] + onset + decoder.latency_["lag"]  # in the recording
    assert abs(sound - time[first]) <= 2 / RATE


@pytest.mark.filterwarnings("ignore:the training loss")
@pytest.mark.parametrize("kind", KINDS)
def test_latency_states_look_ahead(fitted, stream, kind):
    pipeline = make_pipeline_of_kind(fitted, kind)
    n_times, at = pipeline[-1].n_times_in_, 60
    windows = np.random.default_rng(0).normal(size=(2, 16, n_times)).astype(np.float32)
    windows[1] = windows[0]
    windows[1, :, at] += 5
    windows = Windows.from_array(windows, sfreq=RATE, ch_names=pipeline[0].ch_names_)
    one, other = pipeline[-1].set_params(unseen_subject="average").transform(windows)
    ahead = (at - np.flatnonzero((one != other).any(axis=0)).min()) / RATE
    stated = pipeline_latency(pipeline, SFREQ)["look_ahead"]
    assert stated["total"] == pytest.approx(ahead, abs=0.5 / RATE)
    assert stated["total"] == LOOK_AHEAD[kind]
    assert StreamingDecoder(pipeline, stream[1], SFREQ, TMAX).latency_["look_ahead"] == LOOK_AHEAD[kind]


def test_latency_states_delay_of_filters(fitted):
    pipeline = fitted()
    table = pipeline_latency(pipeline, SFREQ)
    center = 15.0
    time = np.arange(30 * SFREQ) / SFREQ
    burst = np.exp(-(((time - center) / 0.5) ** 2)) * np.cos(2 * np.pi * 4 * time)
    filtered, _ = make_pipeline_chain(pipeline[0], SFREQ)(np.tile(burst, (16, 1)), None)
    power = abs(hilbert(filtered[0])) ** 2
    measured = (power * np.arange(len(power))).sum() / power.sum() / RATE - center
    lag = pipeline[0].lag
    assert table.loc["epocher", "delay"] - lag == pytest.approx(measured, abs=0.01)


def test_latency_of_steps_of_whole_recordings(fitted):
    epocher = Epocher(sfreq=RATE, lag=0.15, l_freq=0.5, h_freq=12)
    steps = epocher, RobustChannelScaler(), fitted()[-1]
    table = pipeline_latency(make_pipeline(*steps), 1000.0)
    assert list(table.index) == ["epocher", "robustchannelscaler", "ridgedecoder", "total"]
    assert table["look_ahead"].tolist() == [pytest.approx(3.3 + 24 / RATE, abs=0.02), np.inf, LAG, np.inf]
    assert table["delay"].tolist() == [0.15, 0, 0, 0.15]
    with pytest.raises(NotFittedError):
        pipeline_latency(make_pipeline(epocher, RidgeDecoder()), 1000.0)
    with pytest.raises(TypeError, match="begins with an Epocher. Got RidgeDecoder"):
        pipeline_latency(steps[-1], 1000.0)
    with pytest.raises(TypeError, match="begins with an Epocher. Got Pipeline"):
        pipeline_latency(make_pipeline(*steps[1:]), 1000.0)
