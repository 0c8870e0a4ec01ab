"""Test the reading of audio files and their headers."""

import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.audio_files import RATE, envelope, make_events, segments, write

from sk_b2s import (
    Envelope,
    MelSpectrogram,
    StimulusArray,
    check_events,
    make_segments,
)
from sk_b2s.events._stimuli import stimulus_duration
from sk_b2s.io._clocks._audio_alignment import find_stimulus_by_audio_alignment


def make_bad_samples(name, talk):
    samples = talk[: 10 * RATE].astype(np.float64)
    if name in ("nan", "inf"):
        samples[3 * RATE] = float(name)
    return {"1e30": 1e30 * samples, "int16": 32768 * samples}.get(name, samples)


@pytest.mark.parametrize(
    ("name", "message"),
    [("nan", r"samples are NaN or infinite \(the first at 3.000 s\)"), ("inf", "NaN or infinite"),
     ("1e30", "samples reach .*e\\+.*full scale")],
)  # fmt: skip
def test_reading_rejects_invalid_samples(tmp_path, talks, name, message):
    path = write(tmp_path / f"{name}.wav", make_bad_samples(name, talks[0]), subtype="FLOAT")
    with pytest.raises(ValueError, match=rf"{name}.wav.*{message}"):
        MelSpectrogram(8, sfreq=25).fit_transform(segments(path, duration=5.0))
    with pytest.raises(ValueError, match=rf"{name}.wav.*{message}"):
        find_stimulus_by_audio_alignment(np.ones(5000), 100, path)


def test_features_warn_of_integers_as_floats(tmp_path, talks):
    path = write(tmp_path / "loud.wav", make_bad_samples("int16", talks[0]), subtype="FLOAT")
    with pytest.warns(UserWarning, match="'loud.wav' reach .*e.04.*Divide its samples by 32768"):
        Envelope(sfreq=25).fit_transform(segments(path, duration=5.0))


@pytest.mark.parametrize("rate", [1, 7, 99, 2_000_000_000])
def test_reading_rejects_invalid_rates(tmp_path, talks, rate):
    path = write(tmp_path / "r.wav", talks[0], rate)
    with pytest.raises(ValueError, match=rf"r.wav' has a sampling rate of {rate:,} Hz"):
        check_events(
            make_events([path])
            if rate < 1000
            else make_events([write(tmp_path / "ok.wav", talks[0])]).assign(sound=path)
        )
    with pytest.raises(ValueError, match="sampling rate"):
        envelope(path)


def write_damaged(path, how, talk):
    """Write an audio file and damage it."""
    write(path, talk)
    whole = bytearray(path.read_bytes())
    if how == "half":
        path.write_bytes(whole[: len(whole) // 2])
    else:
        at = whole.find(b"data") + 4
        whole[at : at + 4] = struct.pack("<I", how)
        path.write_bytes(whole)
    return str(path)


@pytest.mark.parametrize(
    ("name", "how", "message"),
    [("a.flac", "half", r"a.flac' cannot be read to its end.*complete"), ("a.caf", "half", "copy it again"),
     ("a.wav", 0, "has no samples"), ("a.wav", "empty", "has no samples")],
)  # fmt: skip
def test_check_events_names_row_of_unreadable_file(tmp_path, talks, name, how, message):
    path = tmp_path / name
    good = write(tmp_path / "good.wav", talks[0])
    path = write(path, talks[0][:0]) if how == "empty" else write_damaged(path, how, talks[0])
    with pytest.raises(ValueError, match=rf"events row 0, column 'sound': .*{message}"):
        check_events(make_events([good]).assign(sound=path))
    with pytest.raises(ValueError, match=message):
        envelope(path)


@pytest.mark.parametrize(
    ("name", "how", "seconds", "message"),
    [("a.wav", "half", 20, "header has 40.0 s, but 20.0 s can be read"), ("a.ogg", "half", 20, "end mark is missing"),
     ("a.mp3", "half", 20, "header has 40.0 s"), ("a.wav", 20 * 2 * RATE, 20, "another 20.0 s of bytes follow"),
     ("a.wav", 80 * 2 * RATE, 40, "header has 80.0 s, but 40.0 s")],
)  # fmt: skip
def test_check_events_warns_of_wrong_headers(tmp_path, talks, name, how, seconds, message):
    path = write_damaged(tmp_path / name, how, talks[0])
    with pytest.warns(UserWarning, match=f"'{name}': .*{message}"):
        events = check_events(make_events([write(tmp_path / "good.wav", talks[0])]).assign(sound=path))
    assert events["duration"].iloc[0] == pytest.approx(seconds, abs=0.6)


@pytest.mark.parametrize("name", ["a.ogg", "a.opus", "a.flac"])
def test_reading_rejects_missing_samples(tmp_path, talks, name):
    """A decoder of Ogg omits a damaged page, which shifts the rest."""
    form = {"format": "OGG", "subtype": "OPUS"} if name == "a.opus" else {}
    path = tmp_path / name
    write(path, talks[0], **form)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2 : len(whole) // 2 + 300] = bytes(range(250)) + bytes(50)
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=rf"{name}' is (damaged\. .* of its 40.00 s|not an audio file)"):
        envelope(str(path))
    with pytest.raises(ValueError, match=name):
        find_stimulus_by_audio_alignment(np.ones(5000), 100, path)


def test_check_events_warns_of_mp3_without_count(tmp_path, talks):
    """Libsndfile uses the first bit rate for all frames and stops early."""
    path = tmp_path / "a.mp3"
    write(path, talks[0])
    whole = bytearray(path.read_bytes())
    at = whole.find(b"Xing")
    whole[at : at + 4] = b"none"
    path.write_bytes(whole)
    if stimulus_duration(str(path)) > 39:
        pytest.skip("this libsndfile reads all frames")
    with pytest.warns(UserWarning, match=r"'a.mp3': its frames have 40.\d s, but only"):
        check_events(make_events([str(path)]))


def test_check_events_warns_of_short_files(tmp_path, talks):
    path = write(tmp_path / "short.wav", talks[0])
    twice = pd.concat([make_events([path], "01"), make_events([path], "02")], ignore_index=True)
    for seconds in (118.0, 1e9):
        with pytest.warns(UserWarning, match=r"'short.wav' has 40.0 s, but row 0 ends at .* \(2 such rows\)"):
            events = check_events(twice.assign(duration=seconds))
        assert events["duration"].tolist() == [40.0, 40.0]
    array = StimulusArray(np.arange(100.0), 10, "ramp")
    with pytest.warns(UserWarning, match="'ramp' has 10.0 s, but row 0"):
        make_segments(make_events([array]).assign(duration=12.0), anchor=1.0)


def test_check_events_warns_of_wrong_rates(tmp_path, talks):
    path = write(tmp_path / "slow.wav", talks[0])  # 40 s
    with pytest.warns(UserWarning, match="the ratio of 48 to 44.1. Check the sampling rate in its header"):
        check_events(make_events([path]).assign(duration=40.0 * 44.1 / 48))
    with pytest.warns(UserWarning, match="the ratio of 1 to 2. Check the sampling rate"):
        check_events(make_events([path]).assign(duration=80.0))


@pytest.mark.parametrize("seconds", [0.0, 10.0, 40.0, 40.9])
def test_check_events_accepts_excerpts(tmp_path, talks, silent_warnings, seconds):
    for ext in ("wav", "flac", "ogg", "mp3"):
        path = write(tmp_path / f"a.{ext}", talks[0])
        check_events(make_events([path]).assign(duration=seconds))


def test_check_events_shortens_invalid_paths(tmp_path):
    good = make_events([StimulusArray(np.arange(99.0), 10)])
    for name in ("x" * 5000, "a\0b", str(tmp_path), "/dev/zero"):
        with pytest.raises(ValueError, match="row 0, column 'sound': expected an existing file") as caught:
            check_events(good.assign(sound=name))
        assert len(str(caught.value)) < 400
    text = Path(tmp_path / "passwd")
    text.write_text("root:x:0:0\n" * 20)
    with pytest.raises(ValueError, match="row 0, column 'sound': The file .*passwd' is not an audio file"):
        check_events(good.assign(sound=str(text)))
