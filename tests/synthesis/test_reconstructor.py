"""Tests of SpeechReconstructor."""

import numpy as np
import pytest
from helpers.continuous import FOLD, LENGTH, RATE, join_subjects, make_recording
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

import sk_b2s
from sk_b2s import (
    BrainEncoder,
    CalibratedDecoder,
    EnsembleDecoder,
    LikelihoodDecoder,
    RidgeDecoder,
    SpeakerVoice,
    SpeechReconstructor,
    StimulusArray,
)
from sk_b2s.model_selection import StimulusLeakWarning
from sk_b2s.preprocessing._windows._windows import Windows
from sk_b2s.synthesis import read_wav_metadata

NETWORK = {
    "hidden": 8, "depth": 1, "n_virtual_channels": 8, "spatial_attention": False, "batch_size": 32, "max_epochs": 1,
    "validation": None, "k": 5, "precision": "float32", "random_state": 0, "verbose": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def fitted():
    X, y, speech = make_recording()
    return SpeechReconstructor(RidgeDecoder()).fit(X[:40], y[:40]), X, y, speech


def test_predict_adds_overlapping_windows(fitted):
    model, X, y, speech = fitted
    (mel,) = model.predict(X[40:])
    assert mel.shape == (len(speech) - 40 * LENGTH // 2, 3)
    assert np.corrcoef(mel[:, 0], speech[800:, 0])[0, 1] > 0.7
    assert model.list_recordings(X[40:]).loc[0, "onset"] == pytest.approx(45)
    assert model.score(X[40:], y[40:]) > 0.7


def test_predict_is_nan_without_window(fitted):
    model, X, _, _ = fitted
    (mel,) = model.predict(X[[40, 50]])
    assert np.isnan(mel).all(1).sum() == 10 * LENGTH // 2 - LENGTH
    assert not np.isnan(mel[[0, -1]]).any()


def test_score_of_noise_is_at_chance(fitted):
    model, _, y, _ = fitted
    noise, _, _ = make_recording(seed=1)
    result = model.reconstruct(noise[40:], y[40:]).correlations(n_shifts=200)
    row = result[result["band"] == "mean"].iloc[0]
    assert row["r"] < row["null_high"]


def test_predict_by_retrieval_averages_candidates(fitted):
    _, X, y, _ = fitted
    model = SpeechReconstructor(RidgeDecoder(), "retrieval").fit(X[:40], y[:40])
    assert model.predict(X[40:])[0].shape == (400, 3)
    candidates = y[40:42]
    (mel,) = model.predict(X[[50]], candidates)
    probability = model.decoder_.predict_proba(X[[50]], candidates)[0]
    np.testing.assert_allclose(mel.T, np.tensordot(probability, np.asarray(candidates), 1), rtol=1e-4)


def test_to_audio_fades_to_silence(fitted):
    model, X, _, _ = fitted
    mel = model.predict(X[40:])[0][: 4 * RATE]
    audio = model.to_audio(mel, confidence=[1, 0.2, np.nan, 1])
    assert len(audio) == 64000
    assert not audio[17600:46400].any()
    assert audio[:14000].any()
    assert len(model.to_audio(mel, 8000)) == 32000


def test_to_audio_calls_vocoder(fitted):
    _, X, y, _ = fitted
    model = SpeechReconstructor(
        RidgeDecoder(), vocoder=lambda mel, rate: np.ones(round(len(mel) / rate * 16000))
    )
    model.fit(X, y)
    assert (model.to_audio(np.zeros((20, 3))) == 1).all()
    model.vocoder = lambda mel, rate: np.zeros((2, 2))
    with pytest.raises(ValueError, match="vocoder"):
        model.to_audio(np.zeros((20, 3)))


def test_fit_raises_for_silence(fitted):
    _, X, y, _ = fitted
    y = Windows(
        [np.arange(3600, dtype="f4").reshape(1200, 3) * 1e-12], y.which, y.start, LENGTH, RATE, rows=y.rows
    )
    with pytest.raises(ValueError, match="constant"):
        SpeechReconstructor(RidgeDecoder()).fit(X, y)


def test_to_audio_raises_for_other_bands(fitted):
    with pytest.raises(ValueError, match="3 bands"):
        fitted[0].to_audio(np.zeros((20, 4)))


def test_save_restores_reconstructor(fitted, tmp_path):
    model, X, _, _ = fitted
    sk_b2s.save(model, tmp_path / "model")
    np.testing.assert_array_equal(sk_b2s.load(tmp_path / "model").predict(X)[0], model.predict(X)[0])


class Tone:
    """Vocoder that requires finite spectra, as a voice."""

    metadata = {"synthetic": True, "consent": "A. agreed to tests"}

    def __call__(self, mel, sfreq):
        assert np.isfinite(mel).all()
        return np.full(round(len(mel) / sfreq * 16000), 0.5)


def test_to_audio_of_vocoder_is_silent_at_nan(fitted, tmp_path):
    _, X, y, _ = fitted
    model = clone(SpeechReconstructor(RidgeDecoder(), vocoder=Tone())).fit(X, y)
    mel = np.zeros((40, 3))
    mel[10:20] = np.nan
    audio = model.to_audio(mel)
    assert not audio[8000:16000].any()
    assert (audio[:8000] == 0.5).all()
    assert not model.to_audio(np.full((40, 3), np.nan)).any()
    model.write(tmp_path / "a.wav", audio)
    assert read_wav_metadata(tmp_path / "a.wav")["consent"] == "A. agreed to tests"


def test_clone_shares_the_vocoder():
    voice = SpeakerVoice()
    assert clone(SpeechReconstructor(RidgeDecoder(), vocoder=voice)).vocoder is voice


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("decoder", "method"),
    [
        (LikelihoodDecoder(k=5), "regression"),
        (EnsembleDecoder([("a", RidgeDecoder(k=5)), ("b", LikelihoodDecoder(k=5))]), "retrieval"),
        (BrainEncoder(loss="mse", **NETWORK), "regression"),
        (CalibratedDecoder(BrainEncoder(**NETWORK)), "retrieval"),
    ],
    ids=["likelihood", "ensemble", "network", "calibrated"],
)
def test_any_decoder_reconstructs(decoder, method, tmp_path):
    X, y = join_subjects()
    train, test = FOLD[0]
    calibration = X.rows["subject"].to_numpy()[train] == "02"
    model = SpeechReconstructor(decoder, method).fit(X[train], y[train], calibration=calibration)
    mel = model.predict(X[test])
    assert [part.shape for part in mel] == [(600, 3), (600, 3)]
    sk_b2s.save(model, tmp_path / "model")
    np.testing.assert_allclose(sk_b2s.load(tmp_path / "model").predict(X[test])[0], mel[0], atol=1e-5)


def test_fit_refuses_decoders_without_features(fitted):
    _, X, y, _ = fitted
    ensemble = EnsembleDecoder([("a", RidgeDecoder(k=5)), ("b", LikelihoodDecoder(k=5))])
    with pytest.raises(TypeError, match="method='retrieval'"):
        SpeechReconstructor(ensemble).fit(X, y)
    with pytest.raises(TypeError, match="must be a decoder"):
        SpeechReconstructor(StandardScaler()).fit(X, y)


def test_reconstruct_raises_for_silence(fitted):
    model, X, y, _ = fitted
    silent = y._replace(signals=[np.full((1200, 3), -5, "f4")])
    with pytest.raises(ValueError, match="silent"):
        model.score(X[40:], silent[40:])


def test_score_of_training_stimuli_warns(fitted):
    model, X, y, _ = fitted
    sounds = y.rows.assign(sound=StimulusArray(np.zeros(1200), sfreq=RATE), sound_onset=y.start / RATE)
    y = y._replace(rows=sounds)
    model = SpeechReconstructor(RidgeDecoder()).fit(X[:40], y[:40])
    with pytest.warns(StimulusLeakWarning, match="trained on"):
        model.score(X[30:50], y[30:50])


def test_recordings_of_two_studies_are_two(fitted):
    model, X, y, _ = fitted
    study = np.repeat(["a", "b"], [9, 10])
    X, y = (part[40:]._replace(rows=part[40:].rows.assign(study=study)) for part in (X, y))
    assert model.list_recordings(X)["n_windows"].tolist() == [9, 10]
    assert model.list_recordings(X)["study"].tolist() == ["a", "b"]
    result = model.reconstruct(X, y)
    assert result.rows["n_windows"].tolist() == [9, 10]
    scores = result.correlations(n_shifts=0).query("band == 'mean'")
    assert scores["study"].tolist() == ["a", "b"]


def test_average_of_subjects_raises_correlation():
    X, y = join_subjects(noise=4.0)
    train, test = FOLD[0]
    model = SpeechReconstructor(RidgeDecoder()).fit(X[train], y[train])
    result = model.reconstruct(X[test], y[test], "subjects")
    assert list(result.rows["subject"]) == ["average"]
    assert result.estimate[0].shape == model.reconstruct(X[test], y[test]).estimate[0].shape
    assert model.score(X[test], y[test], "subjects") > model.score(X[test], y[test])
    repeats = model.reconstruct(X[test], y[test], "repeats")
    assert list(repeats.rows["subject"]) == ["01", "02"]
    with pytest.raises(ValueError, match="'average' parameter"):
        model.score(X[test], y[test], "mean")


def test_recordings_without_windows_raise(fitted):
    model, X, y, _ = fitted
    for use in (model.predict, model.list_recordings):
        with pytest.raises(ValueError, match="at least one window"):
            use(X[:0])
    with pytest.raises(ValueError, match="No window of X has a frame during its stimulus"):
        model.reconstruct(X[:0], y[:0])
    extent = np.array([[0, 0]])  # windows, but no frame of their stimulus
    with pytest.raises(ValueError, match="No window of X has a frame during its stimulus"):
        model.reconstruct(X[40:], y[40:]._replace(extent=extent))
