"""Tests of the speech of the package."""

import re

import numpy as np
import pytest
import soundfile

from sk_b2s.datasets import load_speech


def test_load_speech_times_match_audio():
    """Compare the last 40 s of each file, where a drift is largest."""
    speech = load_speech()
    for path, rows in speech[speech["type"] == "word"].groupby("sound"):
        info = soundfile.info(path)
        first = max(info.frames - 40 * info.samplerate, 0)
        samples, rate = soundfile.read(path, start=first)
        first /= rate
        n_bins = len(samples) * 1000 // rate
        power = (samples[: n_bins * rate // 1000] ** 2).reshape(n_bins, -1).mean(1)  # 1 ms bins
        rate = 1000
        spoken = np.zeros(n_bins, bool)
        for onset, duration in zip(rows["sound_onset"], rows["duration"], strict=True):
            start, stop = (max(round((time - first) * rate), 0) for time in (onset, onset + duration))
            spoken[start:stop] = True

        def contrast(shift, power=power, spoken=spoken, rate=rate):
            mask = np.roll(spoken, round(shift * rate))
            return 10 * np.log10(power[mask].mean() / power[~mask].mean())

        shifts = np.arange(-0.1, 0.101, 0.01)
        best = shifts[np.argmax([contrast(shift) for shift in shifts])]
        assert contrast(0) > 20, path
        assert abs(best) < 0.015, path


def test_load_speech_phones_fill_words():
    speech = load_speech()
    spoken = speech[speech["type"] != "sound"].assign(stop=lambda t: t["sound_onset"] + t["duration"])
    spans = spoken.groupby(["type", "sequence", "word_index"]).agg(
        begin=("sound_onset", "min"), stop=("stop", "max"), seconds=("duration", "sum")
    )
    words, phones = spans.loc["word"], spans.loc["phoneme"]
    assert words.index.equals(phones.index)
    np.testing.assert_allclose(words, phones, atol=2e-3)


def test_load_speech_sentences_are_unique():
    words = load_speech().query("type == 'word'")
    texts = words.groupby(["sound", "sequence"])["text"].agg(" ".join).reset_index()
    assert texts["text"].is_unique
    assert texts["sequence"].is_unique
    assert words.groupby("sound")["speaker"].nunique().eq(1).all()
    assert words["speaker"].nunique() == 3


@pytest.mark.parametrize("minutes", [0.2, 1, 5])
def test_load_speech_stops_at_sentence_end(minutes):
    speech, everything = load_speech(minutes), load_speech()
    sounds = speech[speech["type"] == "sound"]
    assert minutes * 60 <= sounds["duration"].sum() < minutes * 60 + 40
    last = sounds.iloc[-1]
    words = everything[(everything["type"] == "word") & (everything["sound"] == last["sound"])]
    is_taken = words["sound_onset"] < last["duration"]
    assert not set(words.loc[is_taken, "sequence"]) & set(words.loc[~is_taken, "sequence"])
    assert (words.loc[is_taken, "sound_onset"] + words.loc[is_taken, "duration"]).max() < last["duration"]
    assert is_taken.sum() == (speech["type"].eq("word") & speech["sound"].eq(last["sound"])).sum()


@pytest.mark.parametrize("minutes", [0, -1, 46, np.nan, "ten"])
def test_load_speech_rejects_invalid_minutes(minutes):
    with pytest.raises(
        ValueError, match=r"'minutes' must be .* at most 45\.4.* Got " + re.escape(repr(minutes))
    ):
        load_speech(minutes)
