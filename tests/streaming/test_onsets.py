"""Onsets of a stream in a trigger or audio channel."""

import numpy as np
import pytest
import soundfile as sf

from sk_b2s import StreamingDecoder
from sk_b2s.io._raw._processing import resample_in_processing
from sk_b2s.streaming import AudioOnset, TriggerOnset, decode_live

SFREQ, TMAX, RATE = 64, 3.0, 8000


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    """Write two files of noise with the envelopes of different speech."""
    folder, out = tmp_path_factory.mktemp("voices"), {}
    for seed, name in enumerate(("one", "two")):
        random = np.random.default_rng(seed)
        slow = resample_in_processing(np.abs(random.normal(size=20 * 12)) ** 1.5, 12, RATE)
        out[name] = str(folder / f"{name}.wav")
        sf.write(out[name], 0.2 * np.clip(slow, 0, 3) / 3 * random.normal(size=len(slow)), RATE)
    return out


def make_channel(voices, onsets, sfreq, seconds=40, noise=0.02):
    """Return a channel at a low rate with voices from their onsets on."""
    channel = np.zeros(seconds * RATE)
    for name, onset in onsets.items():
        samples, _ = sf.read(voices[name])
        first = round(onset * RATE)
        channel[first : first + len(samples)] += samples[: len(channel) - first]
    channel = np.abs(channel)  # an envelope
    channel = resample_in_processing(channel, RATE, sfreq)
    return channel + noise * channel.std() * np.random.default_rng(5).normal(size=len(channel))


@pytest.mark.parametrize("sizes", [[4000], [1] * 900, [64, 3, 700]], ids=["whole", "samples", "irregular"])
def test_audio_onset_is_found_in_any_chunks(voices, sizes):
    channel = make_channel(voices, {"one": 11.37}, 100)
    finder, found, at = AudioOnset(voices, 100), [], 0
    for size in [*sizes, 4000]:
        found += finder.push(channel[at : at + size])
        at += size
    assert np.array(found) / 100 == pytest.approx([11.37], abs=0.02)
    assert finder.name_ == "one"


def test_audio_onset_of_two_talkers_and_delays(voices):
    channel = make_channel(voices, {"one": 9.0, "two": 10.0}, 100)
    finder = AudioOnset({"one": voices["one"], "two": (voices["two"], 1.0)}, 100, audio_delay=0.01)
    found = finder.push(channel)
    assert np.array(found) / 100 == pytest.approx([9.01], abs=0.03)
    assert finder.correlation_ < 1


def test_audio_onset_ignores_other_audio(voices):
    finder = AudioOnset(voices["one"], 100)
    assert finder.push(make_channel(voices, {"two": 5.0}, 100)) == []
    assert finder.correlation_ < 0.51
    assert finder.reset().push(np.zeros(3000)) == []


def test_audio_onset_checks_its_input(voices, tmp_path):
    with pytest.raises(ValueError, match="at least 2 s of each candidate. Got duration=1"):
        AudioOnset(voices, 100, duration=1)
    with pytest.raises(ValueError, match="sfreq must be a positive number"):
        AudioOnset(voices, 0)
    sf.write(tmp_path / "silence.wav", np.zeros(4 * RATE), RATE)
    with pytest.raises(ValueError, match="The first 4.0 s of .* are silent"):
        AudioOnset(tmp_path / "silence.wav", 100)


def test_trigger_onset_in_any_chunks():
    channel = np.array([3, 3, 0, 0, 7, 7, 0, 2, 2, 7, 0])
    for size in (1, 2, 11):
        parts = [channel[first : first + size] for first in range(0, 11, size)]
        for finder, expected in (
            (TriggerOnset(), [4, 7]),
            (TriggerOnset(code=7), [4, 9]),
            (TriggerOnset(9), []),
        ):
            assert sum((finder.push(part) for part in parts), []) == expected


@pytest.mark.parametrize("code", [1.5, np.nan, np.inf, [1], "1"])
def test_trigger_onset_requires_an_integer(code):
    with pytest.raises(ValueError, match="code must be an integer or None. Got "):
        TriggerOnset(code)


@pytest.mark.parametrize("has_stamps", [False, True])
def test_decode_live_starts_at_trigger(fitted, stream, has_stamps):
    heard, candidates, data, onset = stream
    data = data[:, : 26 * SFREQ]
    trigger = np.zeros(data.shape[1])
    first = round(onset * SFREQ)
    trigger[first : first + 5] = 4
    decoder = StreamingDecoder(fitted(), candidates, SFREQ, TMAX, step=0.25, subject=heard["subject"])
    samples = np.vstack([data, trigger])
    stamps = 500 + np.arange(data.shape[1]) / SFREQ if has_stamps else None
    chunks = [
        (samples[:, at : at + 100], None if stamps is None else stamps[at : at + 100])
        for at in range(0, data.shape[1], 100)
    ]
    lines = []
    decode_live(decoder, chunks, TriggerOnset(), callbacks=[lines.append])
    expected = decoder.reset().start(first / SFREQ).push(data)
    np.testing.assert_allclose(
        [line["probabilities"]["heard"] for line in lines], expected["heard"], atol=1e-6
    )
    np.testing.assert_allclose([line["time"] for line in lines], expected["time"])
    assert {line["trial"] for line in lines} == {0}


@pytest.mark.parametrize("has_stamps", [False, True])
def test_decode_live_has_both_triggers_of_a_chunk(fitted, stream, has_stamps):
    heard, candidates, data, onset = stream
    first = round(onset * SFREQ)
    second, stop = first + 15 * SFREQ, first + 17 * SFREQ
    trigger = np.zeros(stop)
    trigger[[first, second]] = 4
    decoder = StreamingDecoder(
        fitted(), candidates, SFREQ, TMAX, 0.25, subject=heard["subject"], history=25.0, max_age=30.0
    )
    samples = np.vstack([data[:, :stop], trigger])
    stamps = 500 + np.arange(stop) / SFREQ if has_stamps else None
    chunks = [(samples[:, :40], stamps if stamps is None else stamps[:40])]
    chunks += [(samples[:, 40:], stamps if stamps is None else stamps[40:])]

    class Chunks(list):
        def arrival(self):
            return 700.0

    trials = {}
    decode_live(
        decoder, Chunks(chunks), TriggerOnset(),
        callbacks=[lambda line: trials.setdefault(line["trial"], []).append(line["probabilities"]["heard"])],
    )  # fmt: skip
    expected = decoder.reset().start(first / SFREQ).push(data[:, :stop])
    expected = expected.loc[expected["time"] < second / SFREQ, "heard"]
    assert len(expected) > 3
    np.testing.assert_allclose(trials[0], expected, atol=1e-6)
