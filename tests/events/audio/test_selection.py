"""Test tracks of audio files, their selection and their differences."""

import warnings

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
    FeatureScaler,
    MelSpectrogram,
    RidgeDecoder,
    SpeechActivity,
    StimulusArray,
    align_to_audio,
    check_events,
    load,
    make_segments,
    save,
)
from sk_b2s.events._audio._resampling import resample_audio
from sk_b2s.events._stimuli import get_stimulus_digest
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


def test_get_stimulus_digest_of_tracks(tmp_path, talks):
    two, same = np.stack(talks[:2], 1), np.stack([talks[0], talks[0]], 1)
    two, same = write(tmp_path / "two.wav", two), write(tmp_path / "same.wav", same)
    one, other = (get_stimulus_digest(AudioTrack(two, channel)) for channel in (0, 1))
    assert len({one, other, get_stimulus_digest(two)}) == 3
    assert get_stimulus_digest(AudioTrack(two, "mean")) == get_stimulus_digest(two)
    assert {get_stimulus_digest(AudioTrack(same, channel)) for channel in (0, 1)} == {
        get_stimulus_digest(same)
    }


def test_find_stimulus_uses_the_track(tmp_path, talks):
    path = write(tmp_path / "two.wav", np.stack([talks[0], 3 * talks[1]], 1))
    channel = np.r_[np.zeros(5 * 500), resample_audio(talks[0], RATE, 500), np.zeros(1500)]
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
