"""Predictions of a stream with lost samples, clock jumps and dead channels."""

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    Epocher,
    FeatureScaler,
    LikelihoodDecoder,
    MelSpectrogram,
    RobustChannelScaler,
    StreamingDecoder,
)
from sk_b2s.io._raw._read_raw import read_raw

SFREQ, TMAX, STEP = 64, 3.0, 0.25


@pytest.fixture(scope="module")
def fitted(listening, tmp_path_factory):
    memory = str(tmp_path_factory.mktemp("cache"))
    speech = make_pipeline(MelSpectrogram(n_mels=4, sfreq=32, memory=memory), FeatureScaler())
    epocher = Epocher(sfreq=32, lag=0.1, l_freq=1.0, h_freq=12, causal=True)
    decoder = LikelihoodDecoder(speech=speech, lags=(-0.1, 0.2), k=5)
    return make_pipeline(epocher, RobustChannelScaler(calibration=8.0), decoder).fit(*listening)


@pytest.fixture(scope="module")
def stream(listening_events):
    """Samples and time stamps of 40 s, and what is needed to decode them."""
    sounds = listening_events[listening_events["type"] == "sound"]
    heard = sounds.iloc[0]
    other = next(sound for sound in sounds["sound"] if str(sound) != str(heard["sound"]))
    samples = read_raw(heard["recording"]).get_data()[:, : 40 * SFREQ]
    stamps = 500 + np.arange(samples.shape[1]) / SFREQ
    return samples, stamps, heard["onset"] - heard["sound_onset"], {"heard": heard["sound"], "other": other}


@pytest.fixture
def decoder(fitted, stream, listening_events):
    subject = listening_events["subject"].iloc[0]
    options = {"step": STEP, "subject": subject, "temperature": 30.0}
    return StreamingDecoder(fitted, stream[3], SFREQ, TMAX, **options).start(stream[2])


def push_all(decoder, samples, stamps=None, sizes=(16,), arrived=()):
    """Push in chunks, with times of arrival 20 ms after their stamps."""
    first, parts, turn = 0, [], 0
    while first < samples.shape[1]:
        chunk = slice(first, first + sizes[turn % len(sizes)])
        timed = () if stamps is None else (stamps[chunk],)
        if stamps is not None and arrived is not None:
            timed += (arrived[chunk][-1] if len(arrived) else stamps[chunk][-1] + 0.02,)
        parts.append(decoder.push(samples[:, chunk], *timed))
        first, turn = chunk.stop, turn + 1
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def list_evidence(table):
    """Return the evidence of each window that follows another, by its time."""
    odds = (np.log(table["heard"]) - np.log(table["other"])).diff()
    return odds[table["time"].diff() < 1.5 * STEP].set_axis(
        table["time"][table["time"].diff() < 1.5 * STEP].round(3)
    )


def test_time_stamps_without_faults_change_nothing(decoder, stream):
    samples, stamps, onset, _ = stream
    plain = push_all(decoder, samples)
    assert decoder.sample_counts_["used"] == decoder.n_samples_ == samples.shape[1]
    timed = push_all(decoder.reset().start(onset), samples, stamps)
    pd.testing.assert_frame_equal(timed, plain, check_exact=True)
    assert decoder.sample_counts_["used"] == decoder.n_samples_ == samples.shape[1]
    assert len(decoder.faults_) == 0
    assert len(plain) > 60


@pytest.mark.filterwarnings("ignore:64 samples")
def test_predictions_outside_gaps_are_those_without(decoder, stream):
    samples, stamps, onset, _ = stream
    expected = list_evidence(push_all(decoder, samples))
    is_there = np.ones(len(stamps), bool)
    is_there[24 * SFREQ : 25 * SFREQ] = False
    arguments = samples[:, is_there], stamps[is_there]
    table = push_all(decoder.reset().start(onset), *arguments)
    counts = decoder.sample_counts_
    assert (counts["lost"], counts["received"], decoder.n_samples_) == (
        SFREQ,
        len(stamps) - SFREQ,
        len(stamps),
    )
    (gap,) = decoder.faults_.to_dict("records")
    assert (gap["time"], gap["kind"], gap["seconds"]) == (24, "gap", 1)
    window = table["time"].to_numpy() - TMAX
    assert not ((window < 25) & (table["time"] > 24)).any(), "no prediction of windows that touch the gap"
    found = list_evidence(table)
    assert len(found) > 20
    before = found.index < 24
    np.testing.assert_allclose(found[before], expected[found.index[before]], atol=1e-6)
    scale = expected.std()
    assert abs(found - expected[found.index]).max() < 0.2 * scale, "filters have settled"
    for sizes in ((3,), (1, 40)):
        again = push_all(decoder.reset().start(onset), *arguments, sizes)
        pd.testing.assert_frame_equal(again, table, atol=1e-6)
        assert decoder.sample_counts_ == counts


def test_short_gaps_and_clock_jumps_continue(decoder, stream):
    samples, stamps, onset, _ = stream
    whole = push_all(decoder, samples)
    stamps = stamps + 20.0 * (np.arange(len(stamps)) > 25 * SFREQ)
    is_there = ~np.isin(np.arange(len(stamps)), (1500, 1501, 1700))
    arrived = 0.02 + np.arange(len(stamps))[is_there] / SFREQ
    decoder.reset().start(onset)
    samples, stamps = samples[:, is_there], stamps[is_there]
    with pytest.warns(UserWarning, match=r"jump by \+20.000 s at 25.016 s.*decoding continues"):
        table = push_all(decoder, samples, stamps, (8,), arrived)
    np.testing.assert_array_equal(table["time"], whole["time"])
    np.testing.assert_allclose(table["heard"], whole["heard"], atol=0.02)
    assert decoder.sample_counts_["interpolated"] == 3
    assert decoder.find_time(stamps[-1]) == pytest.approx(40, abs=1.5 / SFREQ)
    assert decoder.faults_["kind"].tolist() == ["interpolated gap", "clock jump", "interpolated gap"]


def test_unknown_losses_end_predictions_until_start(decoder, stream):
    samples, stamps, onset, _ = stream
    stamps = stamps - 5.0 * (np.arange(len(stamps)) >= 25 * SFREQ)
    with pytest.warns(UserWarning, match="no predictions before the next start"):
        before = push_all(decoder, samples[:, : 30 * SFREQ], stamps[: 30 * SFREQ], arrived=None)
    decoder.start(30.0)
    after = push_all(decoder, samples[:, 30 * SFREQ :], stamps[30 * SFREQ :], arrived=None)
    times = pd.concat([before, after])["time"]
    assert times[times < 30].max() == pytest.approx(25, abs=STEP)
    assert times.max() > 38
    assert times[times > 30].min() > 37


@pytest.mark.filterwarnings("ignore:Channel")
def test_dead_channels_are_masked(decoder, stream, fitted):
    samples, stamps, onset, candidates = stream
    samples = samples.copy()
    samples[3, 22 * SFREQ :] = samples[3, 22 * SFREQ]
    samples[5, 23 * SFREQ :] = np.nan
    names = fitted[0].ch_names_
    with pytest.warns(UserWarning, match=f"Channel '{names[3]}' is constant and therefore masked"):
        found = list_evidence(push_all(decoder, samples, stamps))
    assert decoder.faults_["channel"].tolist() == [names[3], names[5]]
    options = {"step": STEP, "subject": decoder.subject, "temperature": 30.0, "bads": [names[3], names[5]]}
    masked = StreamingDecoder(fitted, candidates, SFREQ, TMAX, **options).start(onset)
    expected = list_evidence(push_all(masked, samples))
    late = found.index > 24.5
    assert late.sum() > 25
    np.testing.assert_allclose(found[late], expected[found.index[late]], atol=1e-5)


@pytest.mark.filterwarnings("ignore:192 samples", "ignore:At 6.5")
def test_scalers_are_calibrated_on_received_samples(decoder, stream):
    samples, stamps, onset, _ = stream
    is_there = np.ones(len(stamps), bool)
    first = round((onset + 3) * SFREQ)
    is_there[first : first + 3 * SFREQ] = False
    plain = push_all(decoder, samples)["time"].min()
    table = push_all(decoder.reset().start(onset), samples[:, is_there], stamps[is_there])
    assert table["time"].min() > plain + 3
    assert decoder.sample_counts_["lost"] == 3 * SFREQ


@pytest.mark.filterwarnings("ignore:.* samples .* were lost")
def test_calibration_goes_on_after_a_long_gap(fitted, stream):
    samples, stamps, _, candidates = stream
    decoder = StreamingDecoder(fitted, candidates, SFREQ, TMAX, history=90)
    stamps = np.where(stamps < stamps[0] + 12, stamps, stamps + 40)
    for first in range(0, 18 * SFREQ, 16):
        if first == 17 * SFREQ:  # one sample in the gap is needed for the calibration
            seconds = decoder.start(1)._n_calibrated / 32
            decoder.start(12 - seconds + 1 / 32)
        chunk = slice(first, first + 16)
        decoder.push(samples[:, chunk], stamps[chunk], stamps[chunk][-1] + 0.02)
    assert decoder._calibrated > 52 * 32


def test_push_checks_time_stamps(decoder, stream):
    samples, stamps, *_ = stream
    with pytest.raises(ValueError, match="find_time requires samples with timestamps"):
        decoder.find_time(3.0)
    decoder.push(samples[:, :5])
    with pytest.raises(ValueError, match="with all samples or with none"):
        decoder.push(samples[:, :5], stamps[:5])
    decoder.reset().push(samples[:, :5], stamps[:5])
    with pytest.raises(ValueError, match="with all samples or with none"):
        decoder.push(samples[:, :5])
    for name, value in (("max_gap", -1), ("max_age", 0)):
        with pytest.raises(ValueError, match=f"{name} must be"):
            StreamingDecoder(decoder.pipeline, decoder.candidates, SFREQ, TMAX, **{name: value})
