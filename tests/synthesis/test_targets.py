"""Reconstruction of pretrained features in a voice, and of the stimulus."""

import io
from base64 import b64decode
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile
from helpers.estimators import write_network
from helpers.pages import Reader
from sklearn.pipeline import make_pipeline

from sk_b2s import FeatureScaler, MelSpectrogram, RidgeDecoder, SpeechReconstructor, StimulusArray, load, save
from sk_b2s.features import Wav2Vec2Features
from sk_b2s.preprocessing import Windows
from sk_b2s.reporting import _html, write_reconstruction_report
from sk_b2s.synthesis import SpeakerVoice, reconstruct_with_controls
from sk_b2s.synthesis._stimulus_audio import list_stimulus_audio

RATE, SECONDS = 16000, 24


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """Return X and y of a response to features, features and a voice."""
    folder = tmp_path_factory.mktemp("targets")
    random, time = np.random.default_rng(0), np.arange(SECONDS * RATE) / RATE
    sound = 0.1 * random.standard_normal(len(time)) * np.sin(5 * time + np.sin(time)) ** 2
    soundfile.write(folder / "story.wav", sound, RATE)
    start = np.arange(SECONDS - 1)
    rows = pd.DataFrame({
        "subject": "01", "recording": "a", "onset": 3.0 + start, "sound": str(folder / "story.wav"),
        "sound_onset": start.astype(float), "duration": 1.0, "segment": start,
    })  # fmt: skip
    features = Wav2Vec2Features(write_network(folder), layers=1, precision="float32")
    true = features.fit(rows).transform(rows)
    data = true.gather(np.arange(len(rows))).numpy()
    data = (data - data.mean((0, 2), keepdims=True)) / data.std((0, 2), keepdims=True)
    data = np.einsum("nft,fc->nct", data, random.standard_normal((8, 12)))
    X = Windows.from_array(data + 0.3 * random.standard_normal(data.shape), sfreq=true.sfreq, rows=rows)
    voice = SpeakerVoice(features.model, layers=1, n_iter=2).fit([str(folder / "story.wav")], "A. agreed")
    return X, rows, features, voice


@pytest.fixture(scope="module")
def model(experiment):
    X, rows, features, voice = experiment
    decoder = RidgeDecoder(alphas=[1.0], k=1, speech=make_pipeline(features, FeatureScaler()))
    return SpeechReconstructor(decoder, vocoder=voice).fit(X[:12], rows[:12])


def test_voice_is_matched_by_features(experiment, model, tmp_path):
    X, rows, _, voice = experiment
    assert model.target_ == "features"
    (estimate,) = model.predict(X[13:])
    assert estimate.shape == (501, 8)
    assert model.score(X[13:], rows[13:]) > 0.8
    audio = model.to_audio(estimate)
    np.testing.assert_array_equal(audio, voice(model._match_level(estimate), 50)[: len(audio)])
    save(model, tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").to_audio(estimate), audio)
    model = SpeechReconstructor(model.decoder, vocoder=voice, target="mel").fit(X[:12], rows[:12])
    assert model.predict(X[13:])[0].shape == (501, 40)


def test_target_requires_matching_features(experiment):
    X, rows, features, voice = experiment
    pretrained = RidgeDecoder(alphas=[1.0], k=1, speech=features)
    other = SpeakerVoice(features.model, layers=2)
    assert not other.has_features_of(features)
    for decoder, vocoder, message in (
        (
            RidgeDecoder(alphas=[1.0], k=1, speech=MelSpectrogram(4, 50)),
            voice,
            "requires a step Wav2Vec2Features",
        ),
        (pretrained, "griffinlim", "requires a vocoder that takes"),
        (pretrained, other, "layers=2"),
    ):
        with pytest.raises(ValueError, match=message):
            SpeechReconstructor(decoder, vocoder=vocoder, target="features").fit(X, rows)
    model = SpeechReconstructor(
        RidgeDecoder(alphas=[1.0], k=1, speech=MelSpectrogram(4, 50)), vocoder=voice
    ).fit(X, rows)
    assert model.target_ == "mel"


def test_to_audio_of_features_raises_for_griffinlim(model):
    changed = SpeechReconstructor(model.decoder)
    vars(changed).update({**vars(model), "vocoder": "griffinlim"})
    with pytest.raises(ValueError, match="takes mel spectra"):
        changed.to_audio(np.zeros((20, 8)))


class Tone:
    """Vocoder that takes features, and is faster than a voice."""

    def __call__(self, features, sfreq):
        return np.full(round(len(features) / sfreq * RATE), 0.1)


@pytest.fixture(scope="module")
def controls(experiment, model):
    X, rows, _, _ = experiment
    model = SpeechReconstructor(model.decoder, "regression", Tone(), "features")
    folds = [(np.arange(11), np.arange(13, 23)), (np.arange(12, 23), np.arange(10))]
    return reconstruct_with_controls(model, X, rows, folds, controls=["prior_only"], n_shifts=20)


def test_read_stimulus_returns_the_audio(experiment, controls):
    file, _ = soundfile.read(experiment[1]["sound"][0], dtype="float32")
    for index, first in ((0, 13.5), (1, 0.5)):
        audio = controls.read_stimulus(index, 0.5, 2.5)
        np.testing.assert_allclose(audio, file[int(first * RATE) : int((first + 2) * RATE)], atol=1e-6)
    average = controls.average_subjects()
    np.testing.assert_array_equal(average.read_stimulus(1, 0.5, 2.5), audio)


def test_stimulus_of_gaps_is_joined(experiment, controls):
    file, _ = soundfile.read(experiment[1]["sound"][0], dtype="float32")
    place = controls.results["decoder"].place[0]
    audio = controls.stimuli.read(np.r_[place[50:100], place[150:175]])
    np.testing.assert_allclose(
        audio, np.r_[file[14 * RATE : 15 * RATE], file[16 * RATE :][: RATE // 2]], atol=1e-6
    )


def test_page_plays_the_stimulus(experiment, controls, tmp_path, monkeypatch):
    monkeypatch.setattr(_html, "_draw_svg", lambda drawn, alt: "")
    file, _ = soundfile.read(experiment[1]["sound"][0])
    path = write_reconstruction_report(controls, tmp_path / "page.html", duration=1)
    page = Reader(path.read_text(encoding="utf-8"))
    player = page.all("audio")[-1]
    assert player["aria-label"] == "stimulus"
    audio, _ = soundfile.read(io.BytesIO(b64decode(player["src"].partition(";base64,")[2])))
    np.testing.assert_allclose(audio, file[13 * RATE : 14 * RATE], atol=1e-4)
    assert "Listen to the stimulus last" in page.text
    path = write_reconstruction_report(controls, path, duration=1, stimulus=False)
    assert len(Reader(path.read_text(encoding="utf-8")).all("audio")) == len(page.all("audio")) - 1


def test_stimuli_without_files_have_no_audio(experiment, model):
    X, rows, _, _ = experiment
    rows = rows.assign(sound=StimulusArray(np.zeros(RATE), sfreq=RATE))
    found = model._compute_mel(experiment[1])
    assert list_stimulus_audio(found._replace(rows=rows)).read(np.arange(100, 120)) is None
    assert list_stimulus_audio(found._replace(rows=None)) is None


def test_stimulus_of_other_rates_and_channels(controls, tmp_path):
    loud = np.sin(np.arange(8000 * SECONDS) / 20)
    soundfile.write(tmp_path / "stereo.wav", 0.3 * np.c_[loud, loud], 8000)
    stimuli = replace(controls.stimuli, sounds=[str(tmp_path / "stereo.wav")] * len(controls.stimuli.sounds))
    audio = stimuli.read(controls.results["decoder"].place[0][:100])
    assert audio.shape == (2 * RATE,)
    assert audio.std() == pytest.approx(0.3 / np.sqrt(2), rel=0.05)
