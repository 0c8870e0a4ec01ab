"""Decoding of a stream, equal in any chunks and to the whole recording."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    BrainEncoder,
    Epocher,
    FeatureScaler,
    LikelihoodDecoder,
    MelSpectrogram,
    RidgeDecoder,
    RobustChannelScaler,
    StreamingDecoder,
)
from sk_b2s.io._raw._open import read_raw

SFREQ, TMAX = 64, 3.0


def make_decoder(kind, memory):
    speech = make_pipeline(MelSpectrogram(n_mels=4, sfreq=32, memory=memory), FeatureScaler())
    if kind == "ridge":
        return RidgeDecoder(speech=speech, lags=(-0.1, 0.2), k=5)
    if kind == "likelihood":
        return LikelihoodDecoder(speech=speech, lags=(-0.1, 0.2), k=5)
    parameters = {"hidden": 8, "depth": 2, "max_epochs": 1, "validation": None, "spatial_attention": False}
    return BrainEncoder(speech=speech, **parameters, k=5, look_ahead=0, random_state=0, verbose=0)


@pytest.fixture(scope="module")
def stream(listening_events):
    """Recording of one subject, with its first sound and another one."""
    sounds = listening_events[listening_events["type"] == "sound"]
    mine = sounds[sounds["recording"] == sounds["recording"].iloc[0]].sort_values("onset")
    heard = mine.iloc[0]
    other = next(sound for sound in sounds["sound"] if str(sound) != str(heard["sound"]))
    data = read_raw(heard["recording"]).get_data()
    onset = heard["onset"] - heard["sound_onset"]
    return heard, {"heard": heard["sound"], "other": other}, data, onset


@pytest.fixture(scope="module")
def fitted(listening, tmp_path_factory):
    """Make and fit pipelines that run on a stream."""
    memory, kept = str(tmp_path_factory.mktemp("cache")), {}
    X, y = listening

    def make(kind="ridge", calibration=8.0, **changes):
        key = kind, calibration, *changes.items()
        if key not in kept:
            epocher = Epocher(
                **{"sfreq": 32, "lag": 0.1, "l_freq": 0.5, "h_freq": 12, "causal": True, **changes}
            )
            steps = [] if calibration is None else [RobustChannelScaler(calibration=calibration)]
            kept[key] = make_pipeline(epocher, *steps, make_decoder(kind, memory)).fit(X, y)
        return kept[key]

    return make


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
    for sizes in ([1] * 1200, [16] * 100, random.integers(0, 90, 30).tolist()):
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
    assert latency["total"] == pytest.approx(0.35 + decoder.chain.delay(4.0)[0])
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
