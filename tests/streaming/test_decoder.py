"""Decoding of a stream, equal in any chunks and to the whole recording."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline

from sk_b2s import RobustChannelScaler, StreamingDecoder

SFREQ, TMAX = 64, 3.0


def push_all(decoder, data, sizes):
    at, parts = 0, []
    for size in sizes:
        parts.append(decoder.push(data[:, at : at + size]))
        at += size
    parts.append(decoder.push(data[:, at:]))
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


@pytest.mark.filterwarnings("ignore:the training loss")
@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("ridge", {}),
        ("ridge", {"calibration": None, "baseline": None}),
        ("likelihood", {"notch": 20.0}),
        ("network", {}),
    ],
    ids=str,
)
def test_streaming_equals_the_recording(fitted, stream, kind, parameters):
    heard, candidates, data, onset = stream
    arguments = (fitted(kind, **parameters), candidates, SFREQ, TMAX)
    options = {"step": 0.25, "subject": heard["subject"]}
    decoder = StreamingDecoder(*arguments, **options).start(onset)
    data = data[:, : 30 * SFREQ]
    whole = decoder.push(data)
    replayed = StreamingDecoder(*arguments, **options).replay(heard["recording"], onset)
    assert len(whole) > 40
    columns = ["time", "stimulus_time", "age", "probability", "heard", "other"]
    np.testing.assert_allclose(whole[columns], replayed.iloc[: len(whole)][columns], atol=2e-4)
    random = np.random.default_rng(0)
    for sizes in ([1] * 320, [16] * 100, random.integers(0, 90, 30).tolist()):
        parts = push_all(decoder.reset().start(onset), data, sizes)
        np.testing.assert_allclose(parts[columns], whole[columns], atol=1e-5)


def test_streaming_predictions_do_not_look_ahead(fitted, stream):
    heard, candidates, data, onset = stream
    decoder = StreamingDecoder(fitted(), candidates, SFREQ, TMAX, step=0.25, subject=heard["subject"])
    before = decoder.start(onset).push(data[:, : 40 * SFREQ])
    changed = data[:, : 40 * SFREQ].copy()
    changed[:, 25 * SFREQ + 1 :] *= -3
    after = decoder.reset().start(onset).push(changed)
    moved = abs(before["heard"] - after["heard"]) > 1e-12
    assert not moved[before["time"] <= 25].any()
    assert moved[before["time"] > 25.3].all()


def test_streaming_finds_the_presented_sound(fitted, stream):
    heard, candidates, data, onset = stream
    arguments = (fitted("likelihood"), candidates, SFREQ, TMAX, 0.25)
    decoder = StreamingDecoder(*arguments, subject=heard["subject"])
    predictions = decoder.start(onset).push(data[:, : 40 * SFREQ])
    assert predictions["heard"].iloc[-1] > 0.99
    assert predictions["best"].iloc[-1] == "heard"
    last = {}
    for evidence in ("sum", "leaky"):
        options = {"temperature": 50.0, "evidence": evidence, "time_constant": 3}
        slow = StreamingDecoder(*arguments, subject=heard["subject"], **options)
        last[evidence] = slow.start(onset).push(data[:, : 40 * SFREQ])["heard"].iloc[-1]
    assert 0.5 < last["leaky"] < last["sum"]


def test_streaming_states_its_latency_and_age(fitted, stream):
    heard, candidates, data, onset = stream
    decoder = StreamingDecoder(fitted(), candidates, SFREQ, TMAX, step=0.25, subject=heard["subject"])
    assert np.isnan(decoder.latency_["computation"])
    predictions = decoder.start(onset).push(data[:, : 30 * SFREQ])
    latency = decoder.latency_
    assert latency["lag"] == 0.1
    assert latency["step"] == 0.25
    assert latency["look_ahead"] == 6 / 32  # lags of the ridge, rounded to samples
    assert latency["total"] == pytest.approx(0.35 + 6 / 32 + decoder.chain.delay(4.0)[0])
    assert latency["computation"] > 0
    np.testing.assert_allclose(predictions["age"], 0.1, atol=2 / 32)  # the lag, rounded to samples
    np.testing.assert_allclose(np.diff(predictions["time"]), 0.25, atol=1 / SFREQ)


def test_streaming_memory_does_not_grow(fitted, stream):
    heard, candidates, data, onset = stream
    decoder = StreamingDecoder(fitted(), candidates, SFREQ, TMAX, step=1.0, subject=heard["subject"])
    decoder.start(onset)
    sizes = []
    for _ in range(3):
        for first in range(0, data.shape[1], SFREQ):
            decoder.push(data[:, first : first + SFREQ])
            sizes.append(len(decoder._kept))
    assert max(sizes) < 30 * 32


def test_streaming_calls_back_after_its_state(fitted, stream):
    heard, candidates, data, onset = stream
    arguments = {"sfreq": SFREQ, "duration": TMAX, "step": 0.25, "subject": heard["subject"]}
    tables = []
    decoder = StreamingDecoder(fitted(), candidates, callback=tables.append, **arguments).start(onset)
    parts = push_all(decoder, data[:, : 20 * SFREQ], [100] * 12)
    assert sum(map(len, tables)) == len(parts)
    assert all(map(len, tables))

    def fail(predictions):
        raise OSError("no network")

    decoder = StreamingDecoder(fitted(), candidates, callback=fail, **arguments).start(onset)
    with pytest.warns(RuntimeWarning, match="callback raised OSError: no network"):
        failed = push_all(decoder, data[:, : 20 * SFREQ], [100] * 12)
    np.testing.assert_array_equal(failed["heard"], parts["heard"])
    with pytest.raises(ValueError, match="callback must be callable or None. Got 3"):
        StreamingDecoder(fitted(), candidates, callback=3, **arguments)


def test_streaming_accepts_onsets_in_its_history(fitted, stream):
    heard, candidates, data, onset = stream
    arguments = {"sfreq": SFREQ, "duration": TMAX, "step": 0.25, "subject": heard["subject"]}
    data = data[:, : 30 * SFREQ]
    known = StreamingDecoder(fitted(), candidates, **arguments).start(onset).push(data)
    late = StreamingDecoder(fitted(), candidates, history=25.0, **arguments)
    late.push(data[:, : 26 * SFREQ])
    predictions = late.start(onset).push(data[:, 26 * SFREQ :])
    np.testing.assert_allclose(predictions["heard"], known["heard"], atol=1e-9)
    late = StreamingDecoder(fitted(), candidates, history=5.0, **arguments)
    late.push(data)
    with pytest.raises(
        ValueError, match=r"too early: samples before .* Call start before .* at most 5\.0 s later"
    ):
        late.start(onset)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"causal": False}, "has causal=False.*Epocher\\(causal=True\\)"),
        ({"reference": "average"}, "has reference='average'"),
        ({"bads": "interpolate"}, "has bads='interpolate'"),
        ({"raw_hook": abs}, "has a raw_hook"),
    ],
    ids=str,
)
def test_streaming_refuses_steps_of_whole_recordings(fitted, stream, changes, message):
    pipeline = copy.deepcopy(fitted())
    pipeline[0].set_params(**changes)
    with pytest.raises(ValueError, match=message):
        StreamingDecoder(pipeline, stream[1], SFREQ, TMAX)


def test_streaming_refuses_samples_after_a_window(fitted, stream, listening):
    pipeline, X, y = copy.deepcopy(fitted()), *(table[:40] for table in listening)
    pipeline[-1].set_params(context=True, alphas=(1.0,)).fit(pipeline[:-1].transform(X), y)
    with pytest.raises(ValueError, match="fitted with context=True and reads samples after a window"):
        StreamingDecoder(pipeline, stream[1], SFREQ, TMAX)


def test_streaming_checks_its_input(fitted, stream, tiny_pipeline):
    heard, candidates, data, onset = stream
    pipeline = fitted()
    with pytest.raises(TypeError, match="requires a fitted Pipeline"):
        StreamingDecoder(pipeline[-1], candidates, SFREQ, TMAX)
    whole = make_pipeline(pipeline[0], RobustChannelScaler(), pipeline[-1])
    with pytest.raises(ValueError, match="uses the whole recording.*Set calibration="):
        StreamingDecoder(whole, candidates, SFREQ, TMAX)
    for change, message in (
        ({"candidates": {"one": candidates["heard"]}}, "at least two sounds"),
        ({"evidence": "mean"}, "evidence must be one of"),
        ({"step": 0}, "step must be a positive number"),
        ({"duration": 1e4}, "must last at least one window of 10000 s"),
        ({"positions": np.zeros((3, 2))}, r"positions must have the shape .n_channels=16, 2."),
        ({"bads": ["X1"]}, "bads: .'X1'. are not channels"),
    ):
        arguments = {"candidates": candidates, "sfreq": SFREQ, "duration": TMAX, **change}
        with pytest.raises(ValueError, match=message):
            StreamingDecoder(pipeline, **arguments)
    decoder = StreamingDecoder(pipeline, candidates, SFREQ, TMAX, subject=heard["subject"])
    with pytest.raises(ValueError, match=r"shape \(n_channels=16, n_times\)"):
        decoder.push(data[:3])
    with pytest.raises(ValueError, match="Sample 2 of channel .* is not finite"):
        decoder.push(np.where(np.arange(5) == 2, np.nan, data[:, :5]))
    with pytest.raises(ValueError, match="onset must be a finite number"):
        decoder.start(np.nan)
    decoder.push(data[:, : 60 * SFREQ])
    with pytest.raises(ValueError, match="onset=1 s is too early"):
        decoder.start(1.0)


def test_streaming_masks_bad_channels(fitted, stream):
    heard, candidates, data, onset = stream
    pipeline = fitted()
    bad = pipeline[0].ch_names_[3]
    decoder = StreamingDecoder(pipeline, candidates, SFREQ, TMAX, subject=heard["subject"], bads=[bad])
    lost = data[:, : 20 * SFREQ].copy()
    lost[3] = np.nan
    zeros = np.where(np.arange(16)[:, None] == 3, 0.0, data[:, : 20 * SFREQ])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        masked = decoder.start(onset).push(lost)["heard"]
    plain = StreamingDecoder(pipeline, candidates, SFREQ, TMAX, subject=heard["subject"])
    with pytest.warns(UserWarning, match="constant"):
        np.testing.assert_array_equal(masked, plain.start(onset).push(zeros)["heard"])
