"""Tests of the optimization of pretrained models for inference."""

import pytest
import torch
from helpers.speech_models import KINDS, N_LAYERS, make_audio

from sk_b2s.features import _checkpoints as checkpoints
from sk_b2s.features import _inference as inference
from sk_b2s.features._inference import TimeMajorInference


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "whisper"])
def test_optimize_keeps_narrow_convolutions_float32(model_folder, kind):
    network = checkpoints.load_speech_checkpoint(model_folder(kind), precision="bfloat16")
    seen = {}
    grouped = {
        name: module
        for name, module in network.encoder.named_modules()
        if isinstance(module, torch.nn.Conv1d) and module.groups > 1
    }
    assert grouped
    for name, module in grouped.items():
        module.register_forward_hook(lambda m, args, out, _name=name: seen.update({_name: out.dtype}))
    network.average_layers(network.prepare_inputs(make_audio(0.5)), (N_LAYERS,))
    assert seen
    assert set(seen.values()) == {torch.float32}
    assert {module.weight.dtype for module in grouped.values()} == {torch.float32}
    checkpoints._load_checkpoint_model.cache_clear()


@pytest.mark.parametrize("kind", ["wav2vec2, stable norm", "wavlm", "whisper"])
def test_optimize_converts_only_products(model_folder, kind):
    network = checkpoints.load_speech_checkpoint(model_folder(kind), precision="bfloat16")
    dtypes = {name: p.dtype for name, p in network.encoder.named_parameters()}
    for name, module in network.encoder.named_modules():
        if isinstance(module, (torch.nn.LayerNorm, torch.nn.GroupNorm)):
            assert {p.dtype for p in module.parameters()} == {torch.float32}, name
        if isinstance(module, torch.nn.Linear) and "layers" in name:
            assert module.weight.dtype == torch.bfloat16, name
    assert set(dtypes.values()) == {torch.float32, torch.bfloat16}
    seen = []
    hooks = [
        layer.register_forward_pre_hook(lambda m, args: seen.append(args[0].dtype))
        for layer in network.layers
    ]
    audio = make_audio(0.5)
    network.average_layers(network.prepare_inputs(audio), (N_LAYERS,))
    for hook in hooks:
        hook.remove()
    assert seen == [torch.float32] * N_LAYERS, "residual sums"


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "whisper"])
def test_time_major_convolutions_equal_torch(model_folder, kind):
    from transformers import AutoModel

    extractor = AutoModel.from_pretrained(model_folder(kind)).eval().feature_extractor
    audio = torch.from_numpy(make_audio(2.1))[None]
    with torch.no_grad():
        expected = extractor(audio)
        assert TimeMajorInference.can_replace(extractor)
        found = TimeMajorInference(extractor.conv_layers, torch.float32)(audio)
    assert audio.shape[1] // 5 > 2 * inference.CHUNK_FRAMES, "several chunks"
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert isinstance(
        checkpoints.load_speech_checkpoint(model_folder(kind)).encoder.feature_extractor, TimeMajorInference
    )


def test_can_replace_rejects_other_convolutions(model_folder):
    from transformers import AutoModel

    def changed(change):
        extractor = AutoModel.from_pretrained(model_folder("wav2vec2")).feature_extractor
        change(extractor)
        return TimeMajorInference.can_replace(extractor)

    assert changed(lambda e: None)
    assert not changed(lambda e: setattr(e.conv_layers[2].conv, "padding", (1,)))
    assert not changed(lambda e: setattr(e.conv_layers[2].conv, "groups", 2))
    assert not changed(lambda e: setattr(e.conv_layers[0], "layer_norm", torch.nn.BatchNorm1d(8)))
    assert not changed(lambda e: setattr(e.conv_layers[0], "dropout", torch.nn.Dropout()))
    assert not changed(lambda e: setattr(e, "projection", torch.nn.Linear(8, 8)))
