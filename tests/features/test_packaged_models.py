"""Tests of the speech model that is part of the package."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from helpers.sounds import write
from helpers.speech_models import RATE, float32_features, make_audio, make_table
from transformers.audio_utils import mel_filter_bank

import sk_b2s
from sk_b2s.features import _model_files as model_files
from sk_b2s.features._checkpoints import load_speech_checkpoint
from sk_b2s.features._model_files import PACKAGED, find_model_file, identify_model_files, resolve_model_files
from sk_b2s.features._stft import compute_stft

NAME = "whisper-tiny.en"
FOLDER = PACKAGED[NAME].folder
# Last hidden states of make_audio(2.0), frames 0, 40 and 99, computed by CTranslate2 4.8.5 from the source of the
# weights. They are independent of the conversion and of transformers.
REFERENCE = [
    [-0.3497, -0.5532, 0.7302, -0.8436, -0.1138],
    [0.2616, -0.1861, -0.4023, -0.2362, 0.2202],
    [-1.2721, 0.2361, 0.0872, -0.2128, -0.0499],
]


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """Copy the model to the folder of another installation."""
    folder = shutil.copytree(FOLDER, tmp_path / "elsewhere")
    monkeypatch.setitem(PACKAGED, NAME, PACKAGED[NAME]._replace(folder=folder))
    model_files._check_packaged_model.cache_clear()
    yield folder
    model_files._check_packaged_model.cache_clear()


def test_packaged_files_have_recorded_digests():
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FOLDER.iterdir()}
    assert PACKAGED[NAME].sha256.items() <= digests.items()
    assert set(digests) - set(PACKAGED[NAME].sha256) == {"LICENSE", "README.md"}
    assert digests["model.safetensors"][:16] == "07cd205bba5220b6"
    assert "Copyright (c) 2022 OpenAI" in (FOLDER / "LICENSE").read_text()


def test_packaged_model_equals_reference():
    model = load_speech_checkpoint(NAME)
    states = model.average_layers(model.prepare_inputs(make_audio(2.0)), [4])
    assert states.shape == (1500, 384)
    assert np.abs(states[[0, 40, 99], :5] - REFERENCE).max() < 0.005


def test_packaged_model_inputs_equal_definition():
    audio = make_audio(1.5)
    mel = mel_filter_bank(201, 80, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney").T
    padded = np.pad(audio, (0, 30 * RATE - len(audio)))
    spectrum = np.abs(compute_stft(np.pad(padded, 200, mode="reflect"), 400, 160)[:, :-1]) ** 2
    expected = np.log10(np.maximum(mel @ spectrum, 1e-10))
    expected = (np.maximum(expected, expected.max() - 8) + 4) / 4
    assert np.abs(load_speech_checkpoint(NAME).prepare_inputs(audio)[0].numpy() - expected).max() < 1e-3


def test_packaged_model_needs_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.hf_hub_download", None)
    y = make_table([write(tmp_path / "story.wav", make_audio(1.0))], [0.2])
    auto = np.asarray(float32_features(NAME).fit_transform(y))
    assert auto.shape == (1, 384, 26)
    np.testing.assert_array_equal(auto, np.asarray(float32_features(FOLDER, layers=(2, 3)).fit_transform(y)))


def test_packaged_model_is_saved_by_name(tmp_path, copied):
    features = float32_features(NAME)
    sk_b2s.save(features, tmp_path / "features.safetensors")
    assert str(FOLDER).encode() not in (tmp_path / "features.safetensors").read_bytes()
    loaded = sk_b2s.load(tmp_path / "features.safetensors")
    assert find_model_file(loaded.model, "config.json") == copied / "config.json"
    assert identify_model_files(loaded.model) == identify_model_files(FOLDER), "the cache is shared"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_resolve_model_files_rejects_damaged_files(copied, name):
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(
        OSError, match=rf"'whisper-tiny.en': .*{name}' is missing or damaged.* Install sk_b2s again"
    ):
        resolve_model_files(NAME)
    (copied / name).unlink()
    with pytest.raises(OSError, match="Got no file instead"):
        identify_model_files(NAME)


def test_fit_describes_wrong_packaged_parameters(sound):
    y = make_table([sound[0]], [0.1])
    with pytest.raises(ValueError, match="'revision' parameter .* must be None for model='whisper-tiny.en'"):
        float32_features(NAME, revision="main").fit(y)
    with pytest.raises(ValueError, match=r"layers=\(3, 5\): 'whisper-tiny.en' has 4 layers"):
        float32_features(NAME, layers=(3, 5)).fit(y)


def test_packaged_model_has_empty_decoder():
    config = json.loads((FOLDER / "config.json").read_text())
    assert (config["decoder_layers"], config["vocab_size"]) == (0, 1), (
        "it would be filled with random weights"
    )
    assert FOLDER.joinpath("model.safetensors").stat().st_size < 17e6
