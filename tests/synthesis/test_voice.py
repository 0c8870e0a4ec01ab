"""Voices made of a speaker's own frames."""

import numpy as np
import pytest
from helpers.estimators import write_network
from sklearn.base import clone

from sk_b2s import RidgeDecoder, SpeechReconstructor, load, save
from sk_b2s.synthesis import SpeakerVoice, _voice_frames, make_example_voice, read_wav_metadata
from sk_b2s.synthesis._voice_frames import compute_voice_frame_mel, invert_voice_frame_mel, match_voice_frames

RATE, CONSENT = 16000, "Ada agreed to tests"


def make_babble(seconds=1.5, seed=0, rate=RATE):
    """Return noise with syllables, as samples and rate."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return 0.1 * noise * np.sin(2 * np.pi * 2 * time) ** 2, rate


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    network = write_network(tmp_path_factory.mktemp("network"))
    return SpeakerVoice(network, layers=1, n_iter=2).fit([make_babble(), make_babble(seed=1)], CONSENT)


@pytest.mark.parametrize("consent", [None, "", "  \n", 3])
def test_fit_requires_consent(consent):
    with pytest.raises(ValueError, match="who agreed to what"):
        SpeakerVoice().fit([make_babble()], consent)


BAD = {
    "short": ((np.ones(100), RATE), "at least 0.2 s"),
    "silent": ((np.zeros(RATE), RATE), "silent"),
    "nan": ((np.full(RATE, np.nan), RATE), "must be finite"),
    "steady": ((np.random.default_rng(0).standard_normal(RATE), RATE), "constant level"),
    "rate": ((np.ones(RATE), 100), "sampling rate"),
    "transposed": ((np.ones((2, RATE)), RATE), "Transpose"),
    "type": (3, "audio file or a tuple"),
}


@pytest.mark.parametrize(("sound", "message"), BAD.values(), ids=BAD)
def test_voice_rejects_invalid_sound(voice, sound, message):
    with pytest.raises(ValueError, match=message):
        voice.convert(sound)
    with pytest.raises(ValueError, match=message):
        SpeakerVoice().fit([make_babble(), sound], CONSENT)


def test_convert_averages_channels_and_resamples(voice):
    mono, rate = make_babble(rate=44100)
    stereo = np.stack([mono, mono], axis=1)
    sound = voice.convert((stereo, rate))
    np.testing.assert_array_equal(sound, voice.convert((mono, rate)))
    assert abs(len(sound) / RATE - 1.5) <= 0.02
    assert np.abs(sound).max() <= 1


def test_convert_own_speech_selects_own_frames(voice):
    features = voice.features_
    chosen = match_voice_frames(features, features, 1)[:, 0]
    assert (chosen == np.arange(len(features))).mean() > 0.95


def test_match_voice_frames_in_chunks_is_equal(monkeypatch):
    rng = np.random.default_rng(0)
    queries, library = rng.standard_normal((2, 40, 6))
    whole = match_voice_frames(queries, library, 3)
    expected = np.argsort(-(queries @ library.T) / np.linalg.norm(library, axis=1), axis=1)[:, :3]
    np.testing.assert_array_equal(whole, np.sort(expected, axis=1))
    monkeypatch.setattr(_voice_frames, "SIMILARITY_BYTES", 500)
    np.testing.assert_array_equal(match_voice_frames(queries, library, 3), whole)


def test_voice_saves_consent(voice, tmp_path):
    save(voice, tmp_path / "voice.safetensors")
    restored = load(tmp_path / "voice.safetensors")
    assert restored.metadata == {"synthetic": True, "consent": CONSENT}
    sound = restored.convert(make_babble(seed=2))
    np.testing.assert_array_equal(sound, voice.convert(make_babble(seed=2)))
    restored.write(tmp_path / "a.wav", sound)
    assert read_wav_metadata(tmp_path / "a.wav")["consent"] == CONSENT


@pytest.mark.parametrize(("width", "sfreq"), [(8, 50), (16, 25), (10, 64), (80, 100)])
def test_voice_is_vocoder_of_features_and_mel(voice, width, sfreq):
    given = np.random.default_rng(0).standard_normal((2 * sfreq, width))
    sound = voice(given, sfreq)
    assert sound.shape == (2 * RATE,)
    assert np.isfinite(sound).all()
    np.testing.assert_array_equal(sound, voice(given, sfreq))


def test_voice_sounds_constant_mel(voice):
    assert np.isfinite(voice(np.full((50, 80), -2.0), 50)).all()


@pytest.mark.parametrize(
    ("mel", "sfreq", "message"),
    [(np.zeros(8), 50, "shape"), (np.full((9, 8), np.nan), 50, "finite"), (np.ones((9, 8)), 0, "'sfreq'")],
    ids=["shape", "nan", "rate"],
)
def test_voice_rejects_invalid_features(voice, mel, sfreq, message):
    with pytest.raises(ValueError, match=message):
        voice(mel, sfreq)


def test_watermark_is_applied_and_checked(voice):
    plain = voice.convert(make_babble())
    parameters = dict(vars(voice))
    marked = SpeakerVoice()
    vars(marked).update(parameters | {"watermark": lambda sound, sfreq: sound * np.float32(0.5)})
    np.testing.assert_allclose(marked.convert(make_babble()), plain / 2, rtol=1e-5)
    for wrong in (lambda s, f: s[1:], lambda s, f: s * np.nan, lambda s, f: s * 1e3):
        marked.watermark = wrong
        with pytest.raises(ValueError, match="'watermark' must return"):
            marked.convert(make_babble())


def test_invert_voice_frame_mel_restores_mel():
    mel = compute_voice_frame_mel(make_babble()[0])
    again = compute_voice_frame_mel(invert_voice_frame_mel(mel, 16, 0))
    assert np.corrcoef(mel.ravel(), again.ravel())[0, 1] > 0.9


def test_make_example_voice_rejects_unknown_speaker():
    with pytest.raises(ValueError, match="'speaker' must be one of"):
        make_example_voice("nobody")


def test_voice_is_the_vocoder_of_a_reconstructor(voice, tmp_path):
    random = np.random.default_rng(0)
    X = random.standard_normal((24, 4, 50))
    model = clone(SpeechReconstructor(RidgeDecoder(sfreq=50), vocoder=voice)).fit(X, X)
    mel = model.predict(X[:4])[0]
    mel[50:100] = np.nan
    audio = model.to_audio(mel)
    assert len(audio) == pytest.approx(64000, abs=320)
    assert not audio[16000:32000].any()
    model.write(tmp_path / "a.wav", audio)
    assert read_wav_metadata(tmp_path / "a.wav")["consent"] == CONSENT
    save(model, tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").to_audio(mel), audio)
