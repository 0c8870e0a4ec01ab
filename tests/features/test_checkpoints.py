"""Tests of loading and running pretrained models."""

import json
import shutil
import threading
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from helpers.hub import connect_client, start_hub
from helpers.sounds import write
from helpers.speech_models import (
    KINDS,
    N_LAYERS,
    RATE,
    compute_all_frames,
    compute_with_transformers,
    float32_features,
    make_audio,
    make_table,
)

from sk_b2s import Wav2Vec2Features
from sk_b2s.features import _checkpoints as checkpoints

EDGES = [0.0, 1.21, 2.4, 3.3]  # s, of blocks


@pytest.mark.parametrize("kind", KINDS)
def test_average_layers_equals_transformers(model_folder, tmp_path, kind):
    folder, audio = model_folder(kind), make_audio(1.5)
    path = write(tmp_path / "noise.wav", audio)
    expected = compute_with_transformers(folder, audio)
    assert len(expected) == N_LAYERS + 1
    n_frames = 75 if kind == "whisper" else 74
    for layer in range(N_LAYERS + 1):
        frames = compute_all_frames(float32_features(folder, layers=layer), path, 1.5)
        assert frames.shape == (75, 16)
        assert np.abs(frames[:n_frames] - expected[layer, :n_frames]).max() < 3e-5
        np.testing.assert_array_equal(frames[n_frames:], frames[n_frames - 1 : n_frames][: 75 - n_frames])
    several = compute_all_frames(float32_features(folder, layers=(0, 2, -1)), path, 1.5)
    assert np.abs(several[:n_frames] - expected[[0, 2, -1], :n_frames].mean(0)).max() < 3e-5
    assert np.abs(expected[1:] - expected[:-1]).max() > 0.1, "layers differ"


@pytest.mark.parametrize("kind", KINDS)
def test_average_layers_stops_at_highest_layer(model_folder, tmp_path, kind, monkeypatch):
    path = write(tmp_path / "noise.wav", make_audio(1.5))
    stack, run = checkpoints.load_speech_checkpoint(model_folder(kind)).layers, []
    assert len(stack) == N_LAYERS
    for index, layer in enumerate(stack):
        monkeypatch.setattr(
            layer, "forward", lambda *a, _i=index, _f=layer.forward, **k: run.append(_i) or _f(*a, **k)
        )
    for layers in [(0,), (1,), (1, 2), (0, 1), (3,)]:
        run.clear()
        compute_all_frames(float32_features(model_folder(kind), layers=layers), path, 1.5)
        assert run == list(range(max(layers)))


def test_load_speech_checkpoint_keeps_random_state(model_folder, tmp_path):
    path = write(tmp_path / "noise.wav", make_audio(1.5))
    features = float32_features(model_folder("wav2vec2"), layers=3)
    checkpoints._load_checkpoint_model.cache_clear()
    state = torch.random.get_rng_state()
    one, two = compute_all_frames(features, path, 1.5), compute_all_frames(features, path, 1.5)
    np.testing.assert_array_equal(one, two)
    assert torch.equal(torch.random.get_rng_state(), state)
    network = checkpoints.load_speech_checkpoint(model_folder("wav2vec2"))
    assert not network.encoder.training
    assert all(parameter.grad is None for parameter in network.encoder.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_average_layers_bfloat16_is_close(model_folder, tmp_path, kind):
    path = write(tmp_path / "noise.wav", make_audio(1.5))
    for layers in (0, (1, 2), 3):
        expected = compute_all_frames(float32_features(model_folder(kind), layers=layers), path, 1.5)
        features = compute_all_frames(
            Wav2Vec2Features(model_folder(kind), layers=layers, precision="bfloat16"), path, 1.5
        )
        error = np.linalg.norm(features - expected) / np.linalg.norm(expected - expected.mean(0))
        assert features.dtype == np.float32
        assert 1e-5 < error < 0.05
        assert np.corrcoef(features.ravel(), expected.ravel())[0, 1] > 0.999


def change_kernel(how):
    """Return a function that corrupts the result of a kernel."""
    if how == "not implemented":
        raise RuntimeError("\"kernel\" not implemented for 'BFloat16'")
    random = torch.Generator().manual_seed(1)
    changes = {
        "garbage": lambda x: torch.randn(x.shape, generator=random).to(x),
        "NaN": lambda x: x * np.nan,
        "a tenth too large": lambda x: x * 1.1,
    }
    return changes[how]


@pytest.mark.parametrize("how", ["garbage", "NaN", "a tenth too large", "not implemented"])
@pytest.mark.parametrize("kind", ["wav2vec2, stable norm", "conformer", "whisper"])
def test_average_layers_falls_back_to_float32(model_folder, tmp_path, monkeypatch, kind, how):
    paths = [write(tmp_path / f"{i}.wav", make_audio(1.5, i)) for i in range(2)]
    choices = (0, (1, 2), 3)
    expected = [
        compute_all_frames(float32_features(model_folder(kind), layers=layers), path, 1.5)
        for layers in choices
        for path in paths
    ]
    right = torch.nn.functional.linear

    def wrong(*args, **kwargs):
        out = right(*args, **kwargs)
        return change_kernel(how)(out) if out.dtype == torch.bfloat16 else out

    monkeypatch.setattr(torch.nn.functional, "linear", wrong)
    checkpoints._load_checkpoint_model.cache_clear()
    low = [Wav2Vec2Features(model_folder(kind), layers=layers, precision="bfloat16") for layers in choices]
    with pytest.warns(UserWarning, match="float32 instead") as caught:
        found = [compute_all_frames(features, path, 1.5) for features in low for path in paths]
    np.testing.assert_array_equal(found, expected)
    (message,) = [str(w.message) for w in caught]
    assert model_folder(kind) in message
    assert "precision='float32'" in message
    checkpoints._load_checkpoint_model.cache_clear()


def test_average_layers_keeps_accurate_bfloat16(model_folder, tmp_path, recwarn):
    """Audio may begin with silence, be silent, or be too short to compare."""
    silent, short = np.zeros(RATE, "f4"), make_audio(0.2)
    for kind in ("wav2vec2", "wavlm, stable norm", "whisper"):
        checkpoints._load_checkpoint_model.cache_clear()
        features = partial(Wav2Vec2Features, model_folder(kind), precision="bfloat16")
        compute_all_frames(features(layers=2), write(tmp_path / "none.wav", silent), 1.0)
        compute_all_frames(features(layers=2), write(tmp_path / "short.wav", short), 0.2)
        path = write(tmp_path / "late.wav", np.r_[silent, silent, make_audio(1.5)])
        expected = compute_all_frames(float32_features(model_folder(kind), layers=3), path, 3.5)
        checkpoints._load_checkpoint_model.cache_clear()
        found = compute_all_frames(features(layers=3), path, 3.5)
        assert 1e-5 < np.abs(found - expected).max()
        network = checkpoints.load_speech_checkpoint(model_folder(kind), precision="bfloat16")
        assert network.reference is None, "released after the comparison"
        assert network.dtype == torch.bfloat16
    assert not [w for w in recwarn if "float32 instead" in str(w.message)]


def test_load_speech_checkpoint_loads_once(model_folder, sound):
    path, _ = sound
    checkpoints._load_checkpoint_model.cache_clear()
    for layers in (1, 2, (0, 3)):
        y = make_table([path] * 3, [0.1, 1.0, 2.0], 0.5, EDGES)
        np.asarray(float32_features(model_folder("wav2vec2"), layers=layers).fit_transform(y))
    assert checkpoints._load_checkpoint_model.cache_info().misses == 1


def test_load_speech_checkpoint_is_shared_by_threads(model_folder, tmp_path):
    path = write(tmp_path / "noise.wav", make_audio(1.5))
    features = [
        float32_features(model_folder("wav2vec2"), layers=layers) for layers in [0, 1, 2, 3, (1, 3)] * 4
    ]
    alone = [compute_all_frames(f, path, 1.5) for f in features]
    together = joblib.Parallel(n_jobs=4, backend="threading")(
        joblib.delayed(compute_all_frames)(f, path, 1.5) for f in features
    )
    np.testing.assert_array_equal(together, alone)


def test_load_speech_checkpoint_loads_once_for_threads(model_folder):
    checkpoints._load_checkpoint_model.cache_clear()
    at_once, found = threading.Barrier(4), []

    def load():
        at_once.wait()
        found.append(checkpoints.load_speech_checkpoint(model_folder("wav2vec2")))

    model_folder("wav2vec2")
    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len({id(network) for network in found}) == 1
    assert checkpoints._load_checkpoint_model.cache_info().misses == 1


def test_fit_describes_missing_files(model_folder, sound, tmp_path):
    y = make_table([sound[0]], [0.1])
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        folder = shutil.copytree(model_folder("wav2vec2"), tmp_path / name)
        (folder / name).unlink()
        with pytest.raises(FileNotFoundError, match=rf"lacks {name}. The folder of a model contains"):
            float32_features(str(folder), layers=1).fit(y)
    for model in (tmp_path / "nowhere", "./nowhere", "a/b/c"):
        with pytest.raises(FileNotFoundError, match="nowhere|a/b/c.*this folder does not exist"):
            float32_features(model).fit(y)


def test_fit_without_network_describes_download(sound, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    y = make_table([sound[0]], [0.1])
    message = (
        r"(?s)'facebook/wav2vec2-large-xlsr-53' .*cannot be downloaded \(.*"
        r"hf download facebook/wav2vec2-large-xlsr-53 --local-dir FOLDER\n.*model='FOLDER'.*HF_HOME.*use model='whisper-tiny\.en', "
    )
    with pytest.raises(OSError, match=message):
        float32_features().fit(y)
    with pytest.raises(OSError, match="hf download some/model --revision v2 --local-dir FOLDER"):
        float32_features("some/model", revision="v2").fit(y)
    with pytest.raises(ValueError, match="'what is this' must be a folder or the name of a model on the hub"):
        float32_features("what is this").fit(y)


def test_load_speech_checkpoint_rejects_other_models(model_folder, sound, tmp_path):
    y = make_table([sound[0]], [0.1])

    def config(**content):
        folder = shutil.copytree(model_folder("wav2vec2"), tmp_path / f"c{len(list(tmp_path.iterdir()))}")
        (folder / "config.json").write_text(json.dumps(content))
        return float32_features(str(folder), layers=1)

    with pytest.raises(ValueError, match="is a BertConfig, which is not a supported speech model"):
        config(model_type="bert").fit(y)
    with pytest.raises(ValueError, match="transformers cannot read its config.json"):
        config(model_type="no such thing").fit(y)
    content = json.loads((Path(model_folder("wav2vec2")) / "config.json").read_text())
    taller = config(**{**content, "num_hidden_layers": 4}).fit(y)
    with pytest.raises(ValueError, match=r"lacks the weights .*layers\.3.* which would be random"):
        np.asarray(taller.transform(y))
    damaged = shutil.copytree(model_folder("wav2vec2"), tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(OSError, match="transformers cannot load it from .*damaged"):
        np.asarray(float32_features(str(damaged), layers=1).fit_transform(y))


def test_load_speech_checkpoint_requires_known_layers(model_folder, monkeypatch):
    import transformers

    class Elsewhere(torch.nn.Linear):
        config = transformers.PretrainedConfig()

    load = lambda *args, **kwargs: (Elsewhere(2, 2), {"missing_keys": []})  # noqa: E731
    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", load)
    checkpoints._load_checkpoint_model.cache_clear()
    with pytest.raises(ValueError, match="Elsewhere does not store its layers where wav2vec 2.0"):
        checkpoints.load_speech_checkpoint(model_folder("wav2vec2"))


class Bomb:
    """Object that writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_load_speech_checkpoint_of_pickle_runs_no_code(model_folder, sound, tmp_path):
    from safetensors.torch import load_file

    path, _ = sound
    folder = shutil.copytree(model_folder("wav2vec2"), tmp_path / "old")
    new_names = {
        "parametrizations.weight.original0": "weight_g",
        "parametrizations.weight.original1": "weight_v",
    }
    weights = {"quantizer.codevectors": torch.zeros(1, 4, 2)}  # used in pretraining, as in XLSR-53
    for name, value in load_file(folder / "model.safetensors").items():
        for new, old in new_names.items():
            name = name.replace(new, old)
        weights[f"wav2vec2.{name}"] = value
    assert any("weight_g" in name for name in weights)
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    y = make_table([path], [0.1])
    old = np.asarray(float32_features(str(folder), layers=2).fit_transform(y))
    np.testing.assert_array_equal(
        old, np.asarray(float32_features(model_folder("wav2vec2"), layers=2).fit_transform(y))
    )
    torch.save({**weights, "bomb": Bomb(tmp_path / "exploded")}, folder / "pytorch_model.bin")
    with pytest.raises(OSError, match="transformers cannot load it"):
        np.asarray(float32_features(str(folder), layers=2).fit_transform(y))
    assert not (tmp_path / "exploded").exists()


def test_load_speech_checkpoint_downloads_once(model_folder, sound, tmp_path, monkeypatch):
    """The model is read from the cache after the local hub server stopped."""
    files = {path.name: path.read_bytes() for path in Path(model_folder("wav2vec2")).iterdir()}
    commit = "0123456789" * 4
    y = make_table([sound[0]], [0.1])

    def compute_features():
        checkpoints._load_checkpoint_model.cache_clear()
        features = Wav2Vec2Features("some/network", layers=2, precision="float32")
        return np.asarray(features.fit_transform(y))

    with start_hub() as hub:
        hub.repositories["some/network"] = {"commits": {commit: files}, "main": commit}
        connect_client(monkeypatch, hub.url, tmp_path / "hub")
        first = compute_features()
        fetched = {Path(path).name for method, path in hub.requests if method == "GET"}
    again = compute_features()
    assert {"config.json", "preprocessor_config.json", "model.safetensors"} <= fetched
    expected = np.asarray(float32_features(model_folder("wav2vec2"), layers=2).fit_transform(y))
    for features in (first, again):
        assert np.abs(features - expected).max() < 1e-6
