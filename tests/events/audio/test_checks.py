"""Test checks of tracks, silence and level of audio files."""

import warnings

import librosa
import mne
import numpy as np
import pandas as pd
import pytest
from helpers.audio_files import RATE, envelope, make_events, segments, write
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    AcousticOnsets,
    AudioTrack,
    Envelope,
    EventFeatures,
    FeatureScaler,
    MelSpectrogram,
    PrecomputedFeatures,
    RidgeDecoder,
    SpeechActivity,
    StimulusArray,
    Windows,
    align_to_audio,
    check_alignment,
    check_events,
    load,
    make_segments,
    save,
)
from sk_b2s.events._stimuli import digest_stimulus
from sk_b2s.io._clocks._audio_alignment import find_stimulus_by_audio_alignment


@pytest.mark.parametrize(
    ("other", "message"), [("another talker", "correlation 0.0"), ("inverted", "-1.00, one is inverted")]
)
def test_differing_tracks_warn_unless_selected(tmp_path, talks, other, message):
    left = talks[0]
    right = np.roll(left, len(left) // 2) if other == "another talker" else -left
    path = write(tmp_path / "two.wav", np.stack([left, right], 1))
    alone = envelope(write(tmp_path / "left.wav", left))
    with pytest.warns(UserWarning, match=r"'two.wav' \(correlation.*'sound_channel'") as caught:
        mean = envelope(path)
    assert message in " ".join(str(one.message) for one in caught)
    assert abs(np.corrcoef(mean, alone)[0, 1] if mean.any() else 0) < 0.9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for choice in (0, "0", "left", 0.0):
            np.testing.assert_array_equal(envelope(path, sound_channel=choice), alone)
        np.testing.assert_array_equal(envelope(AudioTrack(path, "left")), alone)
        np.testing.assert_array_equal(envelope(path, sound_channel="mean") if mean.any() else mean, mean)


@pytest.mark.parametrize("second", ["same", "half as loud", "silent", "none"])
def test_equal_tracks_do_not_warn(tmp_path, talks, silent_warnings, second):
    left = talks[0]
    right = {"same": left, "half as loud": left / 2, "silent": 0 * left, "none": left}[second]
    path = write(tmp_path / "two.wav", left if second == "none" else np.stack([left, right], 1))
    alone = envelope(write(tmp_path / "left.wav", left))
    assert np.corrcoef(envelope(path), alone)[0, 1] > 0.9999
    check_events(make_events([path]))


@pytest.mark.parametrize(
    "features", [MelSpectrogram(8, sfreq=25), Envelope(sfreq=25), AcousticOnsets(sfreq=25), SpeechActivity(sfreq=25)],
    ids=lambda f: type(f).__name__,
)  # fmt: skip
def test_features_and_caches_depend_on_track(tmp_path, talks, features):
    path = write(tmp_path / "two.wav", np.stack(talks[:2], 1))
    features = features.set_params(memory=str(tmp_path / "cache"))
    for channel, talk in enumerate(talks[:2]):
        alone = features.fit_transform(segments(write(tmp_path / "one.wav", talk)))
        for _ in range(2):  # computed, and read from the cache
            chosen = features.fit_transform(segments(path, sound_channel=channel))
            np.testing.assert_array_equal(chosen, np.asarray(alone))


def test_check_events_selects_tracks(tmp_path, talks, silent_warnings):
    path = write(tmp_path / "two.wav", np.stack(talks[:2], 1))
    mono = write(tmp_path / "mono.wav", talks[0])
    word = pd.DataFrame({"type": ["word"], "onset": 3.0, "duration": 0.3, "sound": [path], "text": "one"})
    word = word.assign(subject="01", recording="01.fif")
    events = make_events([path, mono], sound_channel=[1, 0])
    for table in (events, pd.concat([events, word.drop(columns="sound")]), pd.concat([events, word])):
        checked = check_events(check_events(table))
        assert set(checked["sound"].map(str)) == {path, mono}
        rows = checked["sound"].map(str) == path
        assert set(checked.loc[rows, "sound"]) == {AudioTrack(path, 1)}
        assert set(checked.loc[rows, "sound_channel"]) == {1}
    both = pd.concat(
        [make_events([path]).assign(stream=s, sound_channel=c) for s, c in (("attended", 1), ("ignored", 0))]
    )
    _, y = make_segments(both, anchor=1.0, stream="attended")
    assert set(y["sound"]) == {AudioTrack(path, 1)}
    assert set(y["ignored_sound"]) == {AudioTrack(path, 0)}
    direct = check_events(make_events([AudioTrack(path, "right"), mono]))
    assert direct["sound"].tolist() == [AudioTrack(path, 1), mono]
    _, y = make_segments(make_events([path], sound_channel="right"), anchor=1.0)
    assert set(y["sound"]) == {AudioTrack(path, 1)}
    _, other = make_segments(make_events([path], sound_channel=0), anchor=1.0)
    assert not set(y["segment"]) & set(other["segment"])
    assert not set(y["block"]) & set(other["block"])


@pytest.mark.parametrize(
    ("channel", "message"),
    [(2, "two.wav' has 2 tracks"), (-1, "number of a track"), ("center", "'left', 'right' or 'mean'"), (0.5, "0.5")],
)  # fmt: skip
def test_select_audio_tracks_rejects_invalid_tracks(tmp_path, talks, channel, message):
    path = write(tmp_path / "two.wav", np.stack(talks[:2], 1))
    with pytest.raises(ValueError, match=rf"events row 0, column 'sound_channel'.*{message}"):
        check_events(make_events([path], sound_channel=channel))
    with pytest.raises(ValueError, match=message):
        envelope(path, sound_channel=channel)
    with pytest.raises(ValueError, match="has features instead of tracks"):
        check_events(make_events([StimulusArray(np.arange(99.0), 10)], sound_channel=1))


def test_digest_stimulus_of_tracks(tmp_path, talks):
    two, same = np.stack(talks[:2], 1), np.stack([talks[0], talks[0]], 1)
    two, same = write(tmp_path / "two.wav", two), write(tmp_path / "same.wav", same)
    one, other = (digest_stimulus(AudioTrack(two, channel)) for channel in (0, 1))
    assert len({one, other, digest_stimulus(two)}) == 3
    assert digest_stimulus(AudioTrack(two, "mean")) == digest_stimulus(two)
    assert {digest_stimulus(AudioTrack(same, channel)) for channel in (0, 1)} == {digest_stimulus(same)}


def test_find_stimulus_uses_the_track(tmp_path, talks):
    path = write(tmp_path / "two.wav", np.stack([talks[0], 3 * talks[1]], 1))
    channel = np.r_[
        np.zeros(5 * 500), librosa.resample(talks[0], orig_sr=RATE, target_sr=500), np.zeros(1500)
    ]
    onset, likeness = find_stimulus_by_audio_alignment(channel, 500, AudioTrack(path, 0))
    assert onset == pytest.approx(5.0, abs=0.02)
    assert likeness > 0.95
    assert find_stimulus_by_audio_alignment(channel, 500, AudioTrack(path, 1))[1] < 0.4
    raw = mne.io.RawArray(channel[None], mne.create_info(["MISC 001"], 500, "misc"), verbose="ERROR")
    raw.save(tmp_path / "01_raw.fif", verbose="ERROR")
    events = make_events([path], sound_channel=0).assign(recording=str(tmp_path / "01_raw.fif"), onset=4.6)
    aligned = align_to_audio(events, "MISC 001")
    assert aligned["onset"].iloc[0] == pytest.approx(5.0, abs=0.005)


def test_save_preserves_the_track(tmp_path, talks):
    path = write(tmp_path / "two.wav", np.stack(talks[:2], 1))
    _, y = make_segments(make_events([path], sound_channel=1), anchor=1.0)
    speech = make_pipeline(Envelope(sfreq=10), FeatureScaler())
    X = np.random.default_rng(0).standard_normal((len(y), 3, 29)).astype("f4")
    save(RidgeDecoder(speech=speech, sfreq=10, alphas=(1.0,)).fit(X, y), tmp_path / "model")
    assert set(load(tmp_path / "model").segments_["sound"]) == {AudioTrack(path, 1)}


@pytest.mark.parametrize("constant", [0.0, 0.1], ids=["zeros", "constant"])
def test_features_warn_once_of_silent_files(tmp_path, talks, constant):
    loud = write(tmp_path / "loud.wav", talks[0])
    silent = [write(tmp_path / f"s{i}.wav", np.full((40 + i) * RATE, constant)) for i in range(2)]
    table = segments([loud, *silent] * 2)
    for features in (Envelope(sfreq=25), MelSpectrogram(8, sfreq=25), SpeechActivity(sfreq=25)):
        with pytest.warns(UserWarning, match="'s0.wav', 's1.wav' are silent") as caught:
            features.fit_transform(table)
        assert len(caught) == 1


def test_features_accept_noise_floor_and_silence(tmp_path, talks, silent_warnings):
    rng = np.random.default_rng(0)
    floor = write(tmp_path / "floor.wav", 3e-5 * rng.integers(-1, 2, 40 * RATE))
    pause = talks[0].copy()
    pause[5 * RATE :] = 0
    ogg = write(tmp_path / "pause.ogg", pause)
    MelSpectrogram(8, sfreq=25).fit_transform(segments([floor, ogg]))
    FeatureScaler().fit(Envelope(sfreq=25).fit_transform(segments([floor, ogg])))


def test_features_warn_of_constant_values(tmp_path):
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
def test_ridge_decoder_rejects_constant_features(tmp_path):
    silent = write(tmp_path / "s.wav", np.zeros(40 * RATE))
    _, y = make_segments(make_events([silent]), anchor=1.0)
    X = np.random.default_rng(0).standard_normal((len(y), 3, 29)).astype("f4")
    speech = make_pipeline(Envelope(sfreq=10), FeatureScaler())
    with pytest.raises(ValueError, match="RidgeDecoder: all features of all 1 stimuli in y are constant"):
        RidgeDecoder(speech=speech, sfreq=10).fit(X, y)
    flat = Windows([np.zeros((400, 2), "f4")], np.zeros(len(y), int), np.arange(len(y)), 29, 10)
    with pytest.raises(ValueError, match="stimuli in y are constant"):
        RidgeDecoder(sfreq=10).fit(X, flat)


def test_check_alignment_notes_silent_stimuli(tmp_path):
    rng = np.random.default_rng(0)
    brain = rng.standard_normal((3, 64 * 100))
    raw = mne.io.RawArray(1e-6 * brain, mne.create_info(3, 64, "eeg"), verbose="ERROR")
    raw.save(tmp_path / "01_raw.fif", verbose="ERROR")
    story = StimulusArray(np.abs(rng.standard_normal(64 * 45)), 64, "story")
    silent = StimulusArray(np.zeros(64 * 40), 64, "nothing")
    for sounds in ([story, silent], [silent]):
        events = make_events(sounds).assign(recording=str(tmp_path / "01_raw.fif"), recording_duration=100.0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = check_alignment(events, minutes=None, max_offset=0.5)
        assert found["note"].iloc[0].startswith("'nothing' is silent")
        assert found["heard"].iloc[0] == pytest.approx(45.0 * (story in sounds), abs=0.1)
