"""Sound files: tracks, silence, headers and copies, from file to split."""

import io
import struct
import warnings
from pathlib import Path

import librosa
import mne
import numpy as np
import pandas as pd
import pytest
import soundfile
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    AcousticOnsets,
    AudioTrack,
    Envelope,
    EventFeatures,
    FeatureScaler,
    LeaveOneSubjectOut,
    MelSpectrogram,
    PrecomputedFeatures,
    RidgeDecoder,
    SpeechActivity,
    StimulusArray,
    StimulusIntervals,
    StimulusKFold,
    StimulusLeakWarning,
    Windows,
    align_to_audio,
    check_alignment,
    check_events,
    check_leakage,
    format_leakage,
    load,
    make_segments,
    save,
)
from sk_b2s.datasets.simulated._speech import SPEECH
from sk_b2s.events._audio._copies import StimulusCopies
from sk_b2s.events._audio._fingerprints import compute_fingerprint, find_matches
from sk_b2s.events._stimuli import stimulus_digest, stimulus_duration
from sk_b2s.io._clocks._audio_alignment import find_stimulus

RATE = 16000


@pytest.fixture(scope="module")
def talks():
    """Forty seconds of each of three stories, by two voices."""
    names = ["alice-01.ogg", "alice-02.ogg", "alice-03.ogg"]
    return [soundfile.read(SPEECH / name, dtype="float32", frames=40 * RATE)[0] for name in names]


@pytest.fixture
def silent_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def write(path, samples, rate=RATE, **options):
    soundfile.write(path, samples, rate, **options)
    return str(path)


def segments(sounds, onset=2.0, duration=20.0, **columns):
    sounds = sounds if isinstance(sounds, list) else [sounds]
    return pd.DataFrame({"sound": sounds, "sound_onset": onset, "duration": duration, **columns})


def heard(sounds, subject="01", **columns):
    """An events table in which one person hears sounds one after the other."""
    rows, onset = [], 2.0
    for sound in sounds:
        rows.append({"type": "sound", "onset": onset, "duration": 0.0, "sound": sound})
        onset += stimulus_duration(sound) + 2
    return pd.DataFrame(rows).assign(
        subject=subject, recording=f"{subject}.fif", recording_duration=onset + 5, **columns
    )


def envelope(sound, **columns):
    return np.asarray(Envelope(sfreq=25).fit_transform(segments(sound, **columns)))[0, 0]


# --- tracks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "said"), [("another talker", "correlation 0.0"), ("inverted", "-1.00, one is inverted")]
)
def test_differing_tracks_are_named_and_can_be_chosen(tmp_path, talks, other, said):
    left = talks[0]
    right = np.roll(left, len(left) // 2) if other == "another talker" else -left
    path = write(tmp_path / "two.wav", np.stack([left, right], 1))
    alone = envelope(write(tmp_path / "left.wav", left))
    with pytest.warns(UserWarning, match=r"'two.wav' \(correlation.*'sound_channel'") as told:
        mean = envelope(path)
    assert said in " ".join(str(one.message) for one in told)
    assert abs(np.corrcoef(mean, alone)[0, 1] if mean.any() else 0) < 0.9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for choice in (0, "0", "left", 0.0):
            np.testing.assert_array_equal(envelope(path, sound_channel=choice), alone)
        np.testing.assert_array_equal(envelope(AudioTrack(path, "left")), alone)
        np.testing.assert_array_equal(envelope(path, sound_channel="mean") if mean.any() else mean, mean)


@pytest.mark.parametrize("second", ["same", "half as loud", "silent", "none"])
def test_equal_tracks_are_silent(tmp_path, talks, silent_warnings, second):
    left = talks[0]
    right = {"same": left, "half as loud": left / 2, "silent": 0 * left, "none": left}[second]
    path = write(tmp_path / "two.wav", left if second == "none" else np.stack([left, right], 1))
    alone = envelope(write(tmp_path / "left.wav", left))
    assert np.corrcoef(envelope(path), alone)[0, 1] > 0.9999
    check_events(heard([path]))


@pytest.mark.parametrize(
    "features", [MelSpectrogram(8, sfreq=25), Envelope(sfreq=25), AcousticOnsets(sfreq=25), SpeechActivity(sfreq=25)],
    ids=lambda f: type(f).__name__,
)  # fmt: skip
def test_features_and_caches_know_the_track(tmp_path, talks, features):
    path = write(tmp_path / "two.wav", np.stack(talks[:2], 1))
    features = features.set_params(memory=str(tmp_path / "cache"))
    for channel, talk in enumerate(talks[:2]):
        alone = features.fit_transform(segments(write(tmp_path / "one.wav", talk)))
        for _ in range(2):  # computed, and read from the cache
            chosen = features.fit_transform(segments(path, sound_channel=channel))
            np.testing.assert_array_equal(chosen, np.asarray(alone))


def test_check_events_puts_tracks_in_place_of_files(tmp_path, talks, silent_warnings):
    path = write(tmp_path / "two.wav", np.stack(talks[:2], 1))
    mono = write(tmp_path / "mono.wav", talks[0])
    word = pd.DataFrame({"type": ["word"], "onset": 3.0, "duration": 0.3, "sound": [path], "text": "one"})
    word = word.assign(subject="01", recording="01.fif")
    events = heard([path, mono], sound_channel=[1, 0])
    for table in (events, pd.concat([events, word.drop(columns="sound")]), pd.concat([events, word])):
        checked = check_events(check_events(table))
        assert set(checked["sound"].map(str)) == {path, mono}
        rows = checked["sound"].map(str) == path
        assert set(checked.loc[rows, "sound"]) == {AudioTrack(path, 1)}
        assert set(checked.loc[rows, "sound_channel"]) == {1}
    both = pd.concat(
        [heard([path]).assign(stream=s, sound_channel=c) for s, c in (("attended", 1), ("ignored", 0))]
    )
    _, y = make_segments(both, anchor=1.0, stream="attended")
    assert set(y["sound"]) == {AudioTrack(path, 1)}
    assert set(y["ignored_sound"]) == {AudioTrack(path, 0)}
    direct = check_events(heard([AudioTrack(path, "right"), mono]))
    assert direct["sound"].tolist() == [AudioTrack(path, 1), mono]
    _, y = make_segments(heard([path], sound_channel="right"), anchor=1.0)
    assert set(y["sound"]) == {AudioTrack(path, 1)}
    _, other = make_segments(heard([path], sound_channel=0), anchor=1.0)
    assert not set(y["segment"]) & set(other["segment"])
    assert not set(y["block"]) & set(other["block"])


@pytest.mark.parametrize(
    ("channel", "message"),
    [(2, "two.wav' has 2 tracks"), (-1, "number of a track"), ("center", "'left', 'right' or 'mean'"), (0.5, "0.5")],
)  # fmt: skip
def test_wrong_tracks_are_refused(tmp_path, talks, channel, message):
    path = write(tmp_path / "two.wav", np.stack(talks[:2], 1))
    with pytest.raises(ValueError, match=rf"events row 0, column 'sound_channel'.*{message}"):
        check_events(heard([path], sound_channel=channel))
    with pytest.raises(ValueError, match=message):
        envelope(path, sound_channel=channel)
    with pytest.raises(ValueError, match="holds features and has no tracks"):
        check_events(heard([StimulusArray(np.arange(99.0), 10)], sound_channel=1))


def test_digest_of_a_track_is_that_of_what_is_heard(tmp_path, talks):
    two, same = np.stack(talks[:2], 1), np.stack([talks[0], talks[0]], 1)
    two, same = write(tmp_path / "two.wav", two), write(tmp_path / "same.wav", same)
    one, other = (stimulus_digest(AudioTrack(two, channel)) for channel in (0, 1))
    assert len({one, other, stimulus_digest(two)}) == 3
    assert stimulus_digest(AudioTrack(two, "mean")) == stimulus_digest(two)
    assert {stimulus_digest(AudioTrack(same, channel)) for channel in (0, 1)} == {stimulus_digest(same)}


def test_find_sound_hears_the_chosen_track(tmp_path, talks):
    path = write(tmp_path / "two.wav", np.stack([talks[0], 3 * talks[1]], 1))
    channel = np.r_[
        np.zeros(5 * 500), librosa.resample(talks[0], orig_sr=RATE, target_sr=500), np.zeros(1500)
    ]
    onset, likeness = find_stimulus(channel, 500, AudioTrack(path, 0))
    assert onset == pytest.approx(5.0, abs=0.02)
    assert likeness > 0.95
    assert find_stimulus(channel, 500, AudioTrack(path, 1))[1] < 0.4
    raw = mne.io.RawArray(channel[None], mne.create_info(["MISC 001"], 500, "misc"), verbose="ERROR")
    raw.save(tmp_path / "01_raw.fif", verbose="ERROR")
    events = heard([path], sound_channel=0).assign(recording=str(tmp_path / "01_raw.fif"), onset=4.6)
    moved = align_to_audio(events, "MISC 001")
    assert moved["onset"].iloc[0] == pytest.approx(5.0, abs=0.005)


def test_save_keeps_the_track(tmp_path, talks):
    path = write(tmp_path / "two.wav", np.stack(talks[:2], 1))
    _, y = make_segments(heard([path], sound_channel=1), anchor=1.0)
    speech = make_pipeline(Envelope(sfreq=10), FeatureScaler())
    X = np.random.default_rng(0).standard_normal((len(y), 3, 29)).astype("f4")
    save(RidgeDecoder(speech=speech, sfreq=10, alphas=(1.0,)).fit(X, y), tmp_path / "model")
    assert set(load(tmp_path / "model").segments_["sound"]) == {AudioTrack(path, 1)}


# --- nothing to hear -------------------------------------------------------------------------------


@pytest.mark.parametrize("constant", [0.0, 0.1], ids=["zeros", "constant"])
def test_silent_sounds_are_named_once(tmp_path, talks, constant):
    loud = write(tmp_path / "loud.wav", talks[0])
    silent = [write(tmp_path / f"s{i}.wav", np.full((40 + i) * RATE, constant)) for i in range(2)]
    table = segments([loud, *silent] * 2)
    for features in (Envelope(sfreq=25), MelSpectrogram(8, sfreq=25), SpeechActivity(sfreq=25)):
        with pytest.warns(UserWarning, match="'s0.wav', 's1.wav' are silent") as told:
            features.fit_transform(table)
        assert len(told) == 1


def test_noise_floors_and_pauses_do_not_warn(tmp_path, talks, silent_warnings):
    rng = np.random.default_rng(0)
    floor = write(tmp_path / "floor.wav", 3e-5 * rng.integers(-1, 2, 40 * RATE))
    pause = talks[0].copy()
    pause[5 * RATE :] = 0
    ogg = write(tmp_path / "pause.ogg", pause)
    MelSpectrogram(8, sfreq=25).fit_transform(segments([floor, ogg]))
    FeatureScaler().fit(Envelope(sfreq=25).fit_transform(segments([floor, ogg])))


def test_features_without_content_are_named(tmp_path):
    one, other = (
        StimulusArray(np.ones((640, 2)), 64, "flat"),
        StimulusArray(np.arange(1300.0).reshape(650, 2), 64, "ramp"),
    )
    with pytest.warns(UserWarning, match="'flat' is constant in all features"):
        PrecomputedFeatures().fit_transform(segments([one, other], duration=3.0))
    events = pd.DataFrame({"type": "word", "sound": [one], "sound_onset": 1.0, "duration": 0.2, "text": "a"})
    with pytest.warns(UserWarning, match="no word in 'ramp'"):
        EventFeatures(events, kind="word").fit_transform(segments([one, other], duration=3.0))
    with pytest.warns(UserWarning, match="every one of 2 features is constant"):
        FeatureScaler().fit(np.ones((5, 2, 7)))
    with pytest.raises(ValueError, match="1 of 2 features hold NaN"):
        FeatureScaler().fit(Windows([np.array([[0, 1], [0, np.nan]])], [0, 0], [0, 1], 1, 10))


@pytest.mark.filterwarnings("ignore:.* silent:UserWarning", "ignore:.*constant:UserWarning")
def test_decoders_refuse_constant_features(tmp_path):
    silent = write(tmp_path / "s.wav", np.zeros(40 * RATE))
    _, y = make_segments(heard([silent]), anchor=1.0)
    X = np.random.default_rng(0).standard_normal((len(y), 3, 29)).astype("f4")
    speech = make_pipeline(Envelope(sfreq=10), FeatureScaler())
    with pytest.raises(ValueError, match="RidgeDecoder: all features of all 1 sounds in y are constant"):
        RidgeDecoder(speech=speech, sfreq=10).fit(X, y)
    flat = Windows([np.zeros((400, 2), "f4")], np.zeros(len(y), int), np.arange(len(y)), 29, 10)
    with pytest.raises(ValueError, match="constant from beginning to end"):
        RidgeDecoder(sfreq=10).fit(X, flat)


def test_check_alignment_names_silent_sounds(tmp_path):
    rng = np.random.default_rng(0)
    brain = rng.standard_normal((3, 64 * 100))
    raw = mne.io.RawArray(1e-6 * brain, mne.create_info(3, 64, "eeg"), verbose="ERROR")
    raw.save(tmp_path / "01_raw.fif", verbose="ERROR")
    story = StimulusArray(np.abs(rng.standard_normal(64 * 45)), 64, "story")
    silent = StimulusArray(np.zeros(64 * 40), 64, "nothing")
    for sounds in ([story, silent], [silent]):
        events = heard(sounds).assign(recording=str(tmp_path / "01_raw.fif"), recording_duration=100.0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = check_alignment(events, minutes=None, max_offset=0.5)
        assert found["note"].iloc[0].startswith("'nothing' is silent")
        assert found["heard"].iloc[0] == pytest.approx(45.0 * (story in sounds), abs=0.1)


# --- files that are not what they say ---------------------------------------------------------------


def changed_sounds(name, talk):
    samples = talk[: 10 * RATE].astype(np.float64)
    if name in ("nan", "inf"):
        samples[3 * RATE] = float(name)
    return {"1e30": 1e30 * samples, "int16": 32768 * samples}.get(name, samples)


@pytest.mark.parametrize(
    ("name", "message"),
    [("nan", r"samples are NaN or infinite \(the first at 3.000 s\)"), ("inf", "NaN or infinite"),
     ("1e30", "samples reach .*e\\+.*full scale")],
)  # fmt: skip
def test_samples_that_are_no_sound_are_refused_by_name(tmp_path, talks, name, message):
    path = write(tmp_path / f"{name}.wav", changed_sounds(name, talks[0]), subtype="FLOAT")
    with pytest.raises(ValueError, match=rf"{name}.wav.*{message}"):
        MelSpectrogram(8, sfreq=25).fit_transform(segments(path, duration=5.0))
    with pytest.raises(ValueError, match=rf"{name}.wav.*{message}"):
        find_stimulus(np.ones(5000), 100, path)


def test_integers_written_as_floats_are_named(tmp_path, talks):
    path = write(tmp_path / "loud.wav", changed_sounds("int16", talks[0]), subtype="FLOAT")
    with pytest.warns(UserWarning, match="'loud.wav' reach .*e.04.*divide its samples by 32768"):
        Envelope(sfreq=25).fit_transform(segments(path, duration=5.0))


@pytest.mark.parametrize("rate", [1, 7, 99, 2_000_000_000])
def test_absurd_rates_are_refused(tmp_path, talks, rate):
    path = write(tmp_path / "r.wav", talks[0], rate)
    with pytest.raises(ValueError, match=rf"r.wav' has a sampling rate of {rate:,} Hz"):
        check_events(
            heard([path]) if rate < 1000 else heard([write(tmp_path / "ok.wav", talks[0])]).assign(sound=path)
        )
    with pytest.raises(ValueError, match="sampling rate"):
        envelope(path)


def damaged(path, how, talk):
    """Write a sound and damage its file."""
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
    [("a.flac", "half", r"a.flac' cannot be read to its end.* is it whole"), ("a.caf", "half", "copy it again"),
     ("a.wav", 0, "holds no samples"), ("a.wav", "empty", "holds no samples")],
)  # fmt: skip
def test_files_that_cannot_be_read_are_named_with_their_row(tmp_path, talks, name, how, message):
    path = tmp_path / name
    good = write(tmp_path / "good.wav", talks[0])
    path = write(path, talks[0][:0]) if how == "empty" else damaged(path, how, talks[0])
    with pytest.raises(ValueError, match=rf"events row 0, column 'sound': .*{message}"):
        check_events(heard([good]).assign(sound=path))
    with pytest.raises(ValueError, match=message):
        envelope(path)


@pytest.mark.parametrize(
    ("name", "how", "seconds", "message"),
    [("a.wav", "half", 20, "header says 40.0 s, but 20.0 s can be read"), ("a.ogg", "half", 20, "mark of its end"),
     ("a.mp3", "half", 20, "header says 40.0 s"), ("a.wav", 20 * 2 * RATE, 20, "bytes for 20.0 s more follow"),
     ("a.wav", 80 * 2 * RATE, 40, "header says 80.0 s, but 40.0 s")],
)  # fmt: skip
def test_headers_that_lie_are_named(tmp_path, talks, name, how, seconds, message):
    path = damaged(tmp_path / name, how, talks[0])
    with pytest.warns(UserWarning, match=f"'{name}': .*{message}"):
        events = check_events(heard([write(tmp_path / "good.wav", talks[0])]).assign(sound=path))
    assert events["duration"].iloc[0] == pytest.approx(seconds, abs=0.6)


@pytest.mark.parametrize("name", ["a.ogg", "a.opus", "a.flac"])
def test_holes_in_the_middle_are_refused(tmp_path, talks, name):
    """A decoder of Ogg skips a damaged page, and all that follows comes early."""
    form = {"format": "OGG", "subtype": "OPUS"} if name == "a.opus" else {}
    path = tmp_path / name
    write(path, talks[0], **form)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2 : len(whole) // 2 + 300] = bytes(range(250)) + bytes(50)
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=rf"{name}' is (damaged: .* of its 40.00 s|not an audio file)"):
        envelope(str(path))
    with pytest.raises(ValueError, match=name):
        find_stimulus(np.ones(5000), 100, path)


def test_mp3_without_a_count_of_frames_is_named(tmp_path, talks):
    """The library takes the first bit rate for all frames and stops early."""
    path = tmp_path / "a.mp3"
    write(path, talks[0])
    whole = bytearray(path.read_bytes())
    at = whole.find(b"Xing")
    whole[at : at + 4] = b"none"
    path.write_bytes(whole)
    if stimulus_duration(str(path)) > 39:
        pytest.skip("this libsndfile reads it whole")
    with pytest.warns(UserWarning, match=r"'a.mp3': its frames last 40.\d s, but only"):
        check_events(heard([str(path)]))


def test_rows_longer_than_their_files_are_named(tmp_path, talks):
    path = write(tmp_path / "short.wav", talks[0])
    twice = pd.concat([heard([path], "01"), heard([path], "02")], ignore_index=True)
    for seconds in (118.0, 1e9):
        with pytest.warns(UserWarning, match=r"'short.wav' has 40.0 s, but row 0 ends at .* \(2 such rows\)"):
            events = check_events(twice.assign(duration=seconds))
        assert events["duration"].tolist() == [40.0, 40.0]
    array = StimulusArray(np.arange(100.0), 10, "ramp")
    with pytest.warns(UserWarning, match="'ramp' lasts 10.0 s, but row 0"):
        make_segments(heard([array]).assign(duration=12.0), anchor=1.0)


def test_lengths_in_the_ratio_of_two_rates_are_named(tmp_path, talks):
    path = write(tmp_path / "slow.wav", talks[0])  # 40 s
    with pytest.warns(UserWarning, match="as 48 to 44.1: is the sampling rate in its header right"):
        check_events(heard([path]).assign(duration=40.0 * 44.1 / 48))
    with pytest.warns(UserWarning, match="as 1 to 2: is the sampling rate"):
        check_events(heard([path]).assign(duration=80.0))


@pytest.mark.parametrize("seconds", [0.0, 10.0, 40.0, 40.9])
def test_excerpts_and_honest_files_are_silent(tmp_path, talks, silent_warnings, seconds):
    for ext in ("wav", "flac", "ogg", "mp3"):
        path = write(tmp_path / f"a.{ext}", talks[0])
        check_events(heard([path]).assign(duration=seconds))


def test_names_that_are_no_sounds_are_refused_in_short(tmp_path):
    good = heard([StimulusArray(np.arange(99.0), 10)])
    for name in ("x" * 5000, "a\0b", str(tmp_path), "/dev/zero"):
        with pytest.raises(ValueError, match="row 0, column 'sound': expected an existing file") as told:
            check_events(good.assign(sound=name))
        assert len(str(told.value)) < 400
    text = Path(tmp_path / "passwd")
    text.write_text("root:x:0:0\n" * 20)
    with pytest.raises(ValueError, match="row 0, column 'sound': sound .*passwd' is not an audio file"):
        check_events(good.assign(sound=str(text)))


# --- copies ----------------------------------------------------------------------------------------


def coded(samples, rate=RATE, **form):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, **form)
    buffer.seek(0)
    return soundfile.read(buffer, dtype="float32")


def changed(talk, how):
    """The same recording in another form: samples, rate, and the seconds by which it is early."""
    if how.endswith("kHz"):
        rate = int(1000 * float(how.removesuffix("kHz")))
        return librosa.resample(talk, orig_sr=RATE, target_sr=rate), rate, 0.0
    forms = {
        "ogg": {"format": "OGG", "subtype": "VORBIS"},
        "mp3": {"format": "MP3"},
        "24 bit": {"format": "WAV", "subtype": "PCM_24"},
        "u-law": {"format": "WAV", "subtype": "ULAW"},
    }
    # fmt: skip
    if how in forms:
        return *coded(talk, **forms[how]), 0.0
    noise = np.random.default_rng(0).standard_normal(len(talk)).astype("f4")
    return {
        "half as loud": (talk / 2, RATE, 0.0),
        "50 ms later": (np.r_[np.zeros(RATE // 20, "f4"), talk], RATE, -0.05),
        "trimmed": (talk[: -3 * RATE], RATE, 0.0),
        "excerpt": (talk[20 * RATE : 23 * RATE], RATE, 20.0),
        "noisy": (talk + 0.1 * talk.std() * noise, RATE, 0.0),
        "inverted": (-talk, RATE, 0.0),
    }[how]


@pytest.mark.parametrize(
    "how", ["ogg", "mp3", "24 bit", "u-law", "12kHz", "8kHz", "44.1kHz", "half as loud", "50 ms later", "trimmed",
            "excerpt", "noisy", "inverted"],
)  # fmt: skip
def test_find_matches_knows_a_recording_in_another_form(talks, how):
    samples, rate, shift = changed(talks[1], how)
    prints = [compute_fingerprint(talk, RATE) for talk in talks]
    found = find_matches([*prints, compute_fingerprint(np.asarray(samples, np.float32), rate)])
    assert {(match.first, match.second) for match in found} == {(1, 3)}
    assert found[0].shift == pytest.approx(shift, abs=0.012)
    assert found[0].share > 0.95


def test_find_matches_of_a_part(talks):
    joined = np.r_[talks[0][10 * RATE : 20 * RATE], talks[2][: 20 * RATE]]
    found = find_matches([compute_fingerprint(samples, RATE) for samples in (talks[0], talks[1], joined)])
    assert [(match.first, match.second) for match in found] == [(0, 2)]
    assert found[0].shift == pytest.approx(10.0, abs=0.01)
    assert (found[0].start, found[0].stop) == pytest.approx((10.0, 20.0), abs=1.5)
    assert found[0].share < 0.5


def test_find_matches_tells_tones_and_noise_apart():
    times, rng = np.arange(20 * RATE) / RATE, np.random.default_rng(0)
    beat = 1 + np.sin(2 * np.pi * 4 * times)
    sounds = [np.sin(2 * np.pi * 440 * times), np.sin(2 * np.pi * 880 * times), beat * np.sin(2 * np.pi * 440 * times),
              beat * np.sin(2 * np.pi * 880 * times), rng.standard_normal(len(times)), rng.standard_normal(len(times)),
              beat * rng.standard_normal(len(times)), 0 * times, 0 * times + 1, times % 0.25 == 0]  # fmt: skip
    assert find_matches([compute_fingerprint(np.asarray(sound, np.float32), RATE) for sound in sounds]) == []


@pytest.mark.slow
def test_find_matches_takes_no_story_for_another():
    """One voice reads several stories, with the refrains of songs."""
    prints = [
        compute_fingerprint(*soundfile.read(path, dtype="float32")) for path in sorted(SPEECH.glob("*.ogg"))
    ]
    assert len(prints) > 20
    assert find_matches(prints) == []


@pytest.fixture(scope="module")
def copied(tmp_path_factory, talks):
    """Two people hear three stories, the second from other files."""
    folder = tmp_path_factory.mktemp("copies")
    first = [write(folder / f"story{i}.flac", talk) for i, talk in enumerate(talks)]
    return folder, first


def two_people(copied, talks, how):
    folder, first = copied
    second = []
    for index, talk in enumerate(talks):
        samples, rate, _ = changed(talk, how)
        second.append(write(folder / f"other{index}.wav", samples, rate))
    events = pd.concat([heard(first, "01"), heard(second, "02")], ignore_index=True)
    with pytest.warns(
        UserWarning, match="Different sound files hold the same recording: .*other.*story|story.*other"
    ):
        return make_segments(events, anchor=0.5, block=10.0)


@pytest.mark.filterwarnings("ignore:Different sound files", "ignore:cv refuses")
@pytest.mark.parametrize("how", ["ogg", "24 bit", "half as loud", "12kHz", "50 ms later", "excerpt"])
def test_copies_leak_and_are_split_together(copied, talks, how):
    X, y = two_people(copied, talks, how)
    plain = y.drop(columns=["copy_of", "copy_shift"])
    subject = X["subject"].to_numpy()
    folds = [(np.flatnonzero(subject == "01"), np.flatnonzero(subject == "02"))]
    for table in (y, plain):
        assert check_leakage(X, table, folds)["leaking"].tolist() == [1.0]
        assert (
            format_leakage(check_leakage(X, table, LeaveOneSubjectOut(stimulus_folds=1))).count("LEAK: 100 %")
            == 1
        )
    assert StimulusIntervals.from_table(y[subject == "01"]).touches(y[subject == "02"]).all()
    assert y["block"].nunique() == y.loc[subject == "01", "block"].nunique()
    for cv in (StimulusKFold(3), LeaveOneSubjectOut(stimulus_folds=3)):
        found = check_leakage(X, plain, list(cv.split(X, y)))
        assert (found["leaking"] == 0).all()
        assert (found["nearest"] > 0.9).all()
    if how not in ("50 ms later", "excerpt"):
        assert y["segment"].nunique() == y.loc[subject == "01", "segment"].nunique()


def test_a_decoder_knows_a_copy_of_its_training(copied, talks):
    """The tables of training and test are made apart, so that only the sounds can tell."""
    folder, first = copied
    other = write(folder / "again.mp3", np.r_[np.zeros(RATE // 2, "f4"), talks[0]])
    speech = make_pipeline(Envelope(sfreq=10), FeatureScaler())
    tables = [make_segments(heard([sound]), anchor=1.0)[1] for sound in (first[0], other, first[1])]
    X = [np.random.default_rng(0).standard_normal((len(y), 3, 29)).astype("f4") for y in tables]
    decoder = RidgeDecoder(speech=speech, sfreq=10, alphas=(1.0,)).fit(X[0], tables[0])
    with pytest.warns(StimulusLeakWarning, match=rf"{len(X[1])} of {len(X[1])} windows .*again.mp3"):
        decoder.score(X[1], tables[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoder.score(X[2], tables[2])


def test_intervals_know_copies_with_and_without_their_names(copied, talks):
    _, y = two_people(copied, talks, "50 ms later")
    one, other = (y[y["sound"].map(lambda sound, name=name: name in sound)] for name in ("story", "other"))
    plain = [table.drop(columns=["copy_of", "copy_shift"]) for table in (one, other)]
    for part in (one, other):
        intervals = StimulusIntervals.from_table(part)
        for table in (one, other, plain[part is other]):
            assert intervals.touches(table).all()
        assert intervals.seconds == pytest.approx(StimulusIntervals.from_table(plain[part is other]).seconds)


@pytest.mark.filterwarnings("ignore:Different sound files")
def test_a_shared_part_leaks(copied, talks):
    folder, first = copied
    joined = write(folder / "joined.wav", np.r_[talks[0][10 * RATE : 20 * RATE], talks[2][20 * RATE :]])
    events = pd.concat([heard(first[:1], "01"), heard([joined], "02")], ignore_index=True)
    X, y = make_segments(events, anchor=0.5, block=10.0)
    subject = X["subject"].to_numpy()
    found = check_leakage(X, y, [(np.flatnonzero(subject == "01"), np.flatnonzero(subject == "02"))])
    assert found["verdict"].iloc[0].startswith("LEAK: ")
    inside = y.loc[subject == "02", "sound_onset"] < 10
    assert found["copied"].iloc[0] == pytest.approx(inside.mean(), abs=0.06)
    at = y["sound_onset"] + 0.5  # the anchor
    shared = y["block"][((subject == "02") & (at < 9)) | ((subject == "01") & (at > 11) & (at < 19))]
    assert shared.nunique() == 1


def test_different_stories_of_one_voice_are_no_copies(copied, silent_warnings):
    _, first = copied
    events = pd.concat([heard(first[:1], "01"), heard(first[1:], "02")], ignore_index=True)
    X, y = make_segments(events, anchor=0.5)
    assert "copy_of" not in y
    found = check_leakage(X, y, LeaveOneSubjectOut(stimulus_folds=1))
    assert found["verdict"].str.startswith("no leak").all()
    assert "copied" not in found


def test_copies_name_files_and_offsets(copied, talks):
    folder, first = copied
    late = write(folder / "late.wav", np.r_[np.zeros(2 * RATE, "f4"), talks[0]])
    copies = StimulusCopies([*first, late, StimulusArray(np.zeros(9), 10)])
    assert copies.describe() == ["'story0.flac' is in 'late.wav' from +2.00 s on"]
