"""Features of pretrained networks are those of transformers, block by block and no layer further."""

import http.server
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

import sk_b2s
from sk_b2s import FeatureScaler, RidgeDecoder, StimulusArray, Wav2Vec2Features, Windows
from sk_b2s.features import _checkpoints as checkpoints
from sk_b2s.features import _inference as inference
from sk_b2s.features import _pretrained as pretrained
from sk_b2s.features._inference import TimeMajorConvolutions
from sk_b2s.features._pretrained import chunks_of

RATE, N_LAYERS = 16000, 3
SPEECH = {
    "hidden_size": 16, "num_hidden_layers": N_LAYERS, "num_attention_heads": 2, "intermediate_size": 24,
    "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "layerdrop": 0.9,
}  # fmt: skip
STABLE = {**SPEECH, "do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
MEL = {
    "d_model": 16, "encoder_layers": N_LAYERS, "encoder_attention_heads": 2, "encoder_ffn_dim": 24,
    "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 24, "num_mel_bins": 20,
    "max_source_positions": 100, "max_target_positions": 8, "vocab_size": 30, "pad_token_id": 1,
    "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3,
}  # fmt: skip
KINDS = {
    "wav2vec2": ("Wav2Vec2", SPEECH),
    "wav2vec2, stable norm": ("Wav2Vec2", STABLE),
    "hubert": ("Hubert", SPEECH),
    "hubert, stable norm": ("Hubert", STABLE),
    "wavlm": ("WavLM", SPEECH),
    "wavlm, stable norm": ("WavLM", STABLE),
    "data2vec": ("Data2VecAudio", {**SPEECH, "num_conv_pos_embeddings": 3}),
    "conformer": ("Wav2Vec2Conformer", {**STABLE, "conv_depthwise_kernel_size": 5}),
    "whisper": ("Whisper", MEL),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folder of a small random network, by its kind; each is made once."""
    made = {}

    def folder_of(kind):
        if kind not in made:
            import transformers

            name, settings = KINDS[kind]
            path = tmp_path_factory.mktemp("network")
            with torch.random.fork_rng():
                torch.manual_seed(0)
                network = getattr(transformers, f"{name}Model")(
                    getattr(transformers, f"{name}Config")(**settings)
                )
                for parameter in network.parameters():  # as norms are born, they do nothing
                    parameter.data += 0.1 * torch.randn_like(parameter)
            network.save_pretrained(path)
            extractor = (
                transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=2)
                if kind == "whisper"
                else transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
            )
            extractor.save_pretrained(path)
            made[kind] = str(path)
        return made[kind]

    return folder_of


exact = partial(Wav2Vec2Features, precision="float32")


def write(path, audio, rate=RATE):
    soundfile.write(path, np.asarray(audio), rate, subtype="FLOAT")
    return str(path)


def audio_of(seconds, seed=0):
    rng = np.random.default_rng(seed)
    n_samples = round(seconds * RATE)
    return (0.1 + 0.1 * rng.standard_normal(n_samples) * (1.2 + np.sin(np.arange(n_samples) / 3000))).astype(
        "f4"
    )


def table(sounds, onsets, duration=0.5, edges=None):
    """Return a table of windows, in blocks between ``edges`` if there are any."""
    y = pd.DataFrame({"sound": sounds, "sound_onset": onsets, "duration": duration})
    if edges is not None:
        edges = np.asarray(edges, float)
        at = np.clip(np.searchsorted(edges, y["sound_onset"], side="right") - 1, 0, len(edges) - 2)
        y["block_start"], y["block_stop"] = edges[at], edges[at + 1]
        y["block_before"] = edges[np.maximum(at - 1, 0)]
        y["block_after"] = edges[np.minimum(at + 2, len(edges) - 1)]
    return y


def by_transformers(folder, audio):
    """Return all hidden states of a piece of audio in the plain way: (n_layers + 1, n_frames, 16)."""
    from transformers import AutoFeatureExtractor, AutoModel

    extractor, network = (
        AutoFeatureExtractor.from_pretrained(folder),
        AutoModel.from_pretrained(folder).eval(),
    )
    inputs = extractor(audio, sampling_rate=RATE, return_tensors="pt")[extractor.model_input_names[0]]
    network = network.get_encoder() if network.config.is_encoder_decoder else network
    with torch.no_grad():
        return np.stack([s[0].numpy() for s in network(inputs, output_hidden_states=True).hidden_states])


def whole(features, path, seconds):
    """Return all frames of a sound: (n_frames, n_features)."""
    return features.fit_transform(table([path], [0.0], seconds - 0.02))[0].T


# --- they are those of transformers -------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_hidden_state_is_that_of_transformers(saved, tmp_path, kind):
    folder, audio = saved(kind), audio_of(1.5)
    path = write(tmp_path / "noise.wav", audio)
    expected = by_transformers(folder, audio)
    assert len(expected) == N_LAYERS + 1
    n_frames = 75 if kind == "whisper" else 74
    for layer in range(N_LAYERS + 1):
        frames = whole(exact(folder, layers=layer), path, 1.5)
        assert frames.shape == (75, 16)
        assert np.abs(frames[:n_frames] - expected[layer, :n_frames]).max() < 3e-5
        np.testing.assert_array_equal(frames[n_frames:], frames[n_frames - 1 : n_frames][: 75 - n_frames])
    several = whole(exact(folder, layers=(0, 2, -1)), path, 1.5)
    assert np.abs(several[:n_frames] - expected[[0, 2, -1], :n_frames].mean(0)).max() < 3e-5
    assert np.abs(expected[1:] - expected[:-1]).max() > 0.1, "or there was nothing to tell apart"


@pytest.mark.parametrize("kind", KINDS)
def test_no_layer_above_the_highest_is_run(saved, tmp_path, kind, monkeypatch):
    path = write(tmp_path / "noise.wav", audio_of(1.5))
    stack, run = checkpoints.network(saved(kind)).layers, []
    assert len(stack) == N_LAYERS
    for index, layer in enumerate(stack):
        monkeypatch.setattr(
            layer, "forward", lambda *a, _i=index, _f=layer.forward, **k: run.append(_i) or _f(*a, **k)
        )
    for layers in [(0,), (1,), (1, 2), (0, 1), (3,)]:
        run.clear()
        whole(exact(saved(kind), layers=layers), path, 1.5)
        assert run == list(range(max(layers)))


def test_nothing_is_learnt_and_nothing_is_drawn(saved, tmp_path):
    path = write(tmp_path / "noise.wav", audio_of(1.5))
    features = exact(saved("wav2vec2"), layers=3)
    checkpoints._network.cache_clear()
    state = torch.random.get_rng_state()
    one, two = whole(features, path, 1.5), whole(features, path, 1.5)
    np.testing.assert_array_equal(one, two)
    assert torch.equal(torch.random.get_rng_state(), state)
    network = checkpoints.network(saved("wav2vec2"))
    assert not network.encoder.training
    assert all(parameter.grad is None for parameter in network.encoder.parameters())


def test_layers_are_a_set_counted_from_either_end(saved, tmp_path):
    path = write(tmp_path / "noise.wav", audio_of(1.5))
    one = whole(exact(saved("wav2vec2"), layers=[1, 2]), path, 1.5)
    for layers in [(2, 1), (1, 2, 2), np.array([-3, -2])]:
        np.testing.assert_array_equal(whole(exact(saved("wav2vec2"), layers=layers), path, 1.5), one)


# --- in less time --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_moves_features_a_little(saved, tmp_path, kind):
    path = write(tmp_path / "noise.wav", audio_of(1.5))
    for layers in (0, (1, 2), 3):
        expected = whole(exact(saved(kind), layers=layers), path, 1.5)
        features = whole(Wav2Vec2Features(saved(kind), layers=layers, precision="bfloat16"), path, 1.5)
        error = np.linalg.norm(features - expected) / np.linalg.norm(expected - expected.mean(0))
        assert features.dtype == np.float32
        assert 1e-5 < error < 0.05
        assert np.corrcoef(features.ravel(), expected.ravel())[0, 1] > 0.999


def wrong_kernel(how):
    """Return what a wrong kernel makes of a right result."""
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
def test_features_fall_back_from_a_wrong_kernel(saved, tmp_path, monkeypatch, kind, how):
    paths = [write(tmp_path / f"{i}.wav", audio_of(1.5, i)) for i in range(2)]
    choices = (0, (1, 2), 3)
    expected = [whole(exact(saved(kind), layers=layers), path, 1.5) for layers in choices for path in paths]
    right = torch.nn.functional.linear

    def wrong(*args, **kwargs):
        out = right(*args, **kwargs)
        return wrong_kernel(how)(out) if out.dtype == torch.bfloat16 else out

    monkeypatch.setattr(torch.nn.functional, "linear", wrong)
    checkpoints._network.cache_clear()
    low = [Wav2Vec2Features(saved(kind), layers=layers, precision="bfloat16") for layers in choices]
    with pytest.warns(UserWarning, match="float32 instead") as caught:
        found = [whole(features, path, 1.5) for features in low for path in paths]
    np.testing.assert_array_equal(found, expected)
    (message,) = [str(w.message) for w in caught]
    assert saved(kind) in message
    assert "precision='float32'" in message
    checkpoints._network.cache_clear()


def test_features_of_right_kernels_are_silent(saved, tmp_path, recwarn):
    """Also where a sound begins with silence or holds nothing else, or is too short to compare."""
    silent, short = np.zeros(RATE, "f4"), audio_of(0.2)
    for kind in ("wav2vec2", "wavlm, stable norm", "whisper"):
        checkpoints._network.cache_clear()
        features = partial(Wav2Vec2Features, saved(kind), precision="bfloat16")
        whole(features(layers=2), write(tmp_path / "none.wav", silent), 1.0)
        whole(features(layers=2), write(tmp_path / "short.wav", short), 0.2)
        path = write(tmp_path / "late.wav", np.r_[silent, silent, audio_of(1.5)])
        expected = whole(exact(saved(kind), layers=3), path, 3.5)
        checkpoints._network.cache_clear()
        found = whole(features(layers=3), path, 3.5)
        assert 1e-5 < np.abs(found - expected).max()
        network = checkpoints.network(saved(kind), precision="bfloat16")
        assert network.exact is None, "compared, and gone"
        assert network.dtype == torch.bfloat16
    assert not [w for w in recwarn if "float32 instead" in str(w.message)]


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "whisper"])
def test_narrow_grouped_convolutions_stay_float32(saved, kind):
    network = checkpoints.network(saved(kind), precision="bfloat16")
    seen = {}
    grouped = {
        name: module
        for name, module in network.encoder.named_modules()
        if isinstance(module, torch.nn.Conv1d) and module.groups > 1
    }
    assert grouped
    for name, module in grouped.items():
        module.register_forward_hook(lambda m, args, out, _name=name: seen.update({_name: out.dtype}))
    network.mean_of_layers(network.inputs(audio_of(0.5)), (N_LAYERS,))
    assert seen
    assert set(seen.values()) == {torch.float32}
    assert {module.weight.dtype for module in grouped.values()} == {torch.float32}
    checkpoints._network.cache_clear()


@pytest.mark.parametrize("kind", ["wav2vec2, stable norm", "wavlm", "whisper"])
def test_in_bfloat16_only_products_are(saved, kind):
    network = checkpoints.network(saved(kind), precision="bfloat16")
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
    audio = audio_of(0.5)
    network.mean_of_layers(network.inputs(audio), (N_LAYERS,))
    for hook in hooks:
        hook.remove()
    assert seen == [torch.float32] * N_LAYERS, "what is added up"


def test_auto_is_one_of_the_two_and_shares_its_cache(saved, tmp_path, monkeypatch):
    y = table([write(tmp_path / "noise.wav", audio_of(1.5))], [0.1])
    features = Wav2Vec2Features(
        saved("wav2vec2"), layers=2, memory=joblib.Memory(tmp_path / "cache", verbose=0)
    )
    assert features.precision == "auto"
    found = {
        p: np.asarray(clone(features).set_params(precision=p).fit_transform(y))
        for p in ("float32", "bfloat16")
    }
    assert np.abs(found["float32"] - found["bfloat16"]).max() > 0, "each has its own place in the cache"
    monkeypatch.setattr(checkpoints, "network", None)
    for native in found:
        monkeypatch.setattr(pretrained, "choose_precision", lambda *a, _p=native: getattr(torch, _p))
        np.testing.assert_array_equal(np.asarray(features.fit_transform(y)), found[native])


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "whisper"])
def test_convolutions_as_products_are_the_convolutions(saved, kind):
    from transformers import AutoModel

    extractor = AutoModel.from_pretrained(saved(kind)).eval().feature_extractor
    audio = torch.from_numpy(audio_of(2.1))[None]
    with torch.no_grad():
        expected = extractor(audio)
        assert TimeMajorConvolutions.can_replace(extractor)
        found = TimeMajorConvolutions(extractor.conv_layers, torch.float32)(audio)
    assert audio.shape[1] // 5 > 2 * inference.PIECE, "or there is one piece"
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert isinstance(checkpoints.network(saved(kind)).encoder.feature_extractor, TimeMajorConvolutions)


def test_convolutions_of_another_kind_are_left_as_they_are(saved):
    from transformers import AutoModel

    def changed(change):
        extractor = AutoModel.from_pretrained(saved("wav2vec2")).feature_extractor
        change(extractor)
        return TimeMajorConvolutions.can_replace(extractor)

    assert changed(lambda e: None)
    assert not changed(lambda e: setattr(e.conv_layers[2].conv, "padding", (1,)))
    assert not changed(lambda e: setattr(e.conv_layers[2].conv, "groups", 2))
    assert not changed(lambda e: setattr(e.conv_layers[0], "layer_norm", torch.nn.BatchNorm1d(8)))
    assert not changed(lambda e: setattr(e.conv_layers[0], "dropout", torch.nn.Dropout()))
    assert not changed(lambda e: setattr(e, "projection", torch.nn.Linear(8, 8)))


# --- block by block -----------------------------------------------------------------------------------

EDGES = [0.0, 1.21, 2.4, 3.3]


@pytest.fixture
def sound(tmp_path):
    audio = audio_of(3.3)
    return write(tmp_path / "story.wav", audio), audio


@pytest.mark.parametrize("kind", ["wav2vec2, stable norm", "whisper"])
def test_a_block_goes_through_the_network_alone(saved, sound, kind):
    path, audio = sound
    y = table([path], [1.22], 1.16, EDGES)
    inside = exact(saved(kind), layers=2).fit_transform(y)[0].T
    alone = by_transformers(saved(kind), audio[round(1.21 * RATE) : round(2.4 * RATE)])[2]
    begin = round(1.22 * 50) - round(1.21 * 50)
    n_frames = 58
    assert np.abs(inside[:n_frames] - alone[begin : begin + n_frames]).max() < 1e-5


@pytest.mark.parametrize("rate", [16000, 22050])
def test_context_does_not_cross_the_edge_of_a_block(saved, tmp_path, rate):
    n_samples = round(3.3 * rate)
    audio = np.random.default_rng(0).standard_normal(n_samples).astype("f4") / 10
    other = audio.copy()
    inside = slice(round(EDGES[1] * rate), round(EDGES[2] * rate))
    other[inside] = np.random.default_rng(1).standard_normal(n_samples)[inside]
    onsets = np.arange(0, 2.8, 0.02)
    windows = []
    for name, samples in [("one.wav", audio), ("other.wav", other)]:
        y = table([write(tmp_path / name, samples, rate)] * len(onsets), onsets, 0.1, EDGES)
        windows.append(np.asarray(exact(saved("wav2vec2"), layers=3).fit_transform(y)))
    first, stop = np.round(onsets * 50), np.round(onsets * 50) + 6
    edges = np.round(np.array(EDGES) * 50)
    apart = (stop <= edges[1]) | (first >= edges[2])
    assert apart.any()
    np.testing.assert_array_equal(windows[0][apart], windows[1][apart])
    within = (first >= edges[1]) & (stop <= edges[2])
    assert (np.abs(windows[0][within] - windows[1][within]).max((1, 2)) > 1e-3).all()


def test_without_blocks_a_sound_is_one_stretch(saved, sound):
    path, audio = sound
    frames = whole(exact(saved("wav2vec2"), layers=2), path, 3.3)
    expected = by_transformers(saved("wav2vec2"), audio)[2]
    assert np.abs(frames[: len(expected)] - expected).max() < 1e-5


def test_rows_decide_and_nothing_else(saved, sound, tmp_path):
    path, audio = sound
    other = write(tmp_path / "other.wav", audio[::-1])
    onsets = np.linspace(-0.3, 3.2, 24)
    y = table([path, other] * 12, onsets, 0.5, EDGES).assign(row=np.arange(24))
    features = exact(saved("wav2vec2"), layers=(1, 2)).fit(y)
    everything = np.asarray(features.transform(y))
    assert everything.shape == (24, 16, 26)
    for rows in ([5], [0, 23], [7, 6, 7], np.arange(0, 24, 3), np.random.default_rng(0).permutation(24)):
        some = y.iloc[rows].set_index(np.arange(len(rows)) + 100)
        windows = clone(features).fit_transform(some)
        np.testing.assert_array_equal(np.asarray(windows), everything[rows])
        message = pickle.dumps(windows)
        assert len(message) < 20000, "a recipe, not weights or samples"
        np.testing.assert_array_equal(np.asarray(pickle.loads(message)), everything[rows])
    silence = everything[0][:, :15]  # before the sound begins
    np.testing.assert_array_equal(silence, 0)
    np.testing.assert_array_equal(everything[-1][:, 5:], 0)


def test_only_blocks_that_rows_touch_are_computed(saved, sound, monkeypatch):
    path, _ = sound
    read, stretches = pretrained.read_audio, []
    monkeypatch.setattr(
        pretrained, "read_audio", lambda path, *span: stretches.append(span) or read(path, *span)
    )
    features = exact(saved("wav2vec2"), layers=1)
    for onsets, expected in [
        ([0.1], [(0.0, 1.21)]),
        ([2.0], [(1.21, 2.4), (2.4, 3.3)]),
        ([2.9], [(2.4, 3.3)]),
    ]:
        stretches.clear()
        windows = features.fit_transform(table([path], onsets, 0.45, EDGES))
        assert not stretches, "nothing is computed before windows are gathered"
        np.asarray(windows)
        assert stretches == expected


def test_frames_lie_where_they_are_heard(saved, tmp_path):
    audio = np.zeros(3 * RATE, "f4")
    audio[round(2.1 * RATE) :] = audio_of(0.9)
    y = table([write(tmp_path / "late.wav", audio)], [0.0], 2.98, [0, 1.3, 3])
    y["block_start"], y["block_stop"], y["block_before"] = 0.0, 1.3, 0.0
    frames = exact(saved("wav2vec2, stable norm"), layers=0).fit_transform(y)[0].T
    change = np.abs(np.diff(frames, axis=0)).max(1)
    reach = 16 // 2 + 1  # frames that the positional convolution sees on either side
    assert 105 - reach - 2 <= 80 + np.flatnonzero(change[80:] > 0.05)[0] <= 105


# --- long stretches -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_frames", [1, 49, 50, 51, 77, 100, 499, 1000])
@pytest.mark.parametrize(("size", "overlap"), [(50, 0), (50, 10), (50, 33), (7, 6)])
def test_chunks_share_out_the_frames(n_frames, size, overlap):
    chunks = chunks_of(n_frames, size, overlap)
    kept = np.concatenate([np.arange(begin, end) for _, _, begin, end in chunks])
    np.testing.assert_array_equal(kept, np.arange(n_frames))
    assert all(last - first == min(size, n_frames) for first, last, _, _ in chunks)
    for first, last, begin, end in chunks:
        assert 0 <= first <= begin < end <= last <= n_frames
        assert begin - first >= overlap // 2 or first == 0
        assert last - end >= overlap // 2 or last == n_frames


def test_a_long_stretch_is_its_chunks_joined(saved, tmp_path):
    folder, audio = saved("wav2vec2, stable norm"), audio_of(5.0)
    path = write(tmp_path / "long.wav", audio)
    joined = whole(exact(folder, layers=2, chunk=2, overlap=1), path, 5.0)
    normal = (audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)  # of the stretch, not of the chunk
    network = checkpoints.network(folder)
    assert len(chunks_of(249, 100, 50)) == 4
    for first, last, begin, end in chunks_of(249, 100, 50):
        piece = torch.from_numpy(normal[first * 320 : (last - 1) * 320 + 400])[None]
        with torch.no_grad():
            states = network.encoder(piece, output_hidden_states=True).hidden_states[2][0].numpy()
        assert np.abs(joined[begin:end] - states[begin - first : end - first]).max() < 1e-5


def test_seams_are_exact_as_far_as_convolutions_reach(saved, tmp_path):
    """Attention hears all of a chunk, but what enters it is the same once the overlap is wide enough."""
    path = write(tmp_path / "long.wav", audio_of(8.0))

    def error(layer, overlap):
        folder = saved("wav2vec2, stable norm")
        once = whole(exact(folder, layers=layer), path, 8.0)
        chunks = whole(exact(folder, layers=layer, chunk=4, overlap=overlap), path, 8.0)
        return np.abs(chunks - once).max() / once.std()

    positional = 16 / 50  # s, of its convolution
    assert error(0, overlap=positional) < 1e-5
    assert error(0, overlap=0) > 0.1
    assert 1e-4 < error(2, overlap=1) < 0.1


def test_whisper_takes_no_more_than_it_can(saved, tmp_path):
    audio = audio_of(5.0)
    path = write(tmp_path / "long.wav", audio)
    frames = whole(exact(saved("whisper"), layers=2, overlap=0.5), path, 5.0)
    first, last, begin, end = chunks_of(250, 100, 25)[1]
    piece = by_transformers(saved("whisper"), audio[first * 320 : last * 320])[2]
    assert np.abs(frames[begin:end] - piece[begin - first : end - first]).max() < 1e-5


# --- kept on disk -------------------------------------------------------------------------------------


def test_cached_features_need_no_network(saved, sound, tmp_path, monkeypatch):
    path, _ = sound
    folder = shutil.copytree(saved("wav2vec2"), tmp_path / "network")
    memory = joblib.Memory(tmp_path / "cache", verbose=0, mmap_mode="c")
    features = exact(str(folder), layers=(1, 2), memory=memory)
    y = table([path] * 3, [0.1, 1.0, 1.5], 0.5, EDGES)
    plain = np.asarray(clone(features).set_params(memory=None).fit_transform(y))
    load, loaded = checkpoints.network, []
    monkeypatch.setattr(checkpoints, "network", lambda *a: loaded.append(a) or load(*a))
    np.testing.assert_array_equal(np.asarray(features.fit_transform(y)), plain)
    assert len(loaded) == 2, "two blocks"
    for rows in ([0], [1, 2], [2, 0, 1]):
        np.testing.assert_array_equal(np.asarray(clone(features).fit_transform(y.iloc[rows])), plain[rows])
    assert len(loaded) == 2
    moved = shutil.move(folder, tmp_path / "moved")
    features.set_params(model=str(moved))
    np.testing.assert_array_equal(np.asarray(features.fit_transform(y)), plain)
    assert len(loaded) == 2, "a network is known by its content"
    np.asarray(features.fit_transform(table([path], [2.8], 0.4, EDGES)))
    assert len(loaded) == 3, "a new block"
    for change in ({"layers": 1}, {"chunk": 1.0, "overlap": 0.5}):
        np.asarray(clone(features).set_params(**change).fit_transform(y[:1]))
    assert len(loaded) == 5
    for weights in Path(moved).glob("*.safetensors"):
        os.replace(shutil.copy(Path(saved("hubert")) / weights.name, tmp_path / "w"), weights)
    shutil.copy(Path(saved("hubert")) / "config.json", moved)
    assert np.abs(np.asarray(features.fit_transform(y)) - plain).max() > 0.01, "another network"


def test_the_network_is_loaded_once(saved, sound):
    path, _ = sound
    checkpoints._network.cache_clear()
    for layers in (1, 2, (0, 3)):
        y = table([path] * 3, [0.1, 1.0, 2.0], 0.5, EDGES)
        np.asarray(exact(saved("wav2vec2"), layers=layers).fit_transform(y))
    assert checkpoints._network.cache_info().misses == 1


def test_threads_share_the_network(saved, tmp_path):
    path = write(tmp_path / "noise.wav", audio_of(1.5))
    features = [exact(saved("wav2vec2"), layers=layers) for layers in [0, 1, 2, 3, (1, 3)] * 4]
    alone = [whole(f, path, 1.5) for f in features]
    together = joblib.Parallel(n_jobs=4, backend="threading")(
        joblib.delayed(whole)(f, path, 1.5) for f in features
    )
    np.testing.assert_array_equal(together, alone)


def test_threads_that_ask_at_once_load_the_network_once(saved):
    checkpoints._network.cache_clear()
    at_once, found = threading.Barrier(4), []

    def ask():
        at_once.wait()
        found.append(checkpoints.network(saved("wav2vec2")))

    saved("wav2vec2")
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len({id(network) for network in found}) == 1
    assert checkpoints._network.cache_info().misses == 1


def test_an_estimator_holds_no_weights(saved, sound, tmp_path):
    path, _ = sound
    y = table([path], [0.4], 0.5, EDGES)
    features = exact(saved("wav2vec2"), layers=2)
    windows = np.asarray(features.fit_transform(y))
    message = pickle.dumps(features)
    assert len(message) < 1000
    np.testing.assert_array_equal(np.asarray(pickle.loads(message).transform(y)), windows)
    sk_b2s.save(features, tmp_path / "features.safetensors")
    assert (tmp_path / "features.safetensors").stat().st_size < 2000
    loaded = sk_b2s.load(tmp_path / "features.safetensors")
    np.testing.assert_array_equal(np.asarray(loaded.transform(y)), windows)
    assert loaded.get_params()["layers"] == 2


def test_a_decoder_hears_through_them(saved, tmp_path):
    path = write(tmp_path / "story.wav", audio_of(30.0))
    onsets = np.arange(0, 29.0, 0.25)
    edges = np.arange(0, 31.0, 5)
    y = table([path] * len(onsets), onsets, 0.58, edges)
    y = y.assign(block=y["block_start"].astype(int), segment=np.arange(len(y)))
    speech = make_pipeline(
        exact(saved("wav2vec2"), layers=(1, 2), memory=tmp_path / "cache"), FeatureScaler()
    )
    heard = np.asarray(clone(speech).fit_transform(y))
    mixing = np.random.default_rng(0).standard_normal((20, 16))
    X = Windows.from_array(np.einsum("cf,nft->nct", mixing, heard), sfreq=50)
    decoder = RidgeDecoder(speech=speech, k=1).fit(X[:70], y[:70])
    assert decoder.score(X[80:], y[80:]) > 0.9, "the brain is a linear image of what was heard"


# --- what is said -------------------------------------------------------------------------------------


def test_what_is_missing_in_a_folder_is_named(saved, sound, tmp_path):
    y = table([sound[0]], [0.1])
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        folder = shutil.copytree(saved("wav2vec2"), tmp_path / name)
        (folder / name).unlink()
        with pytest.raises(FileNotFoundError, match=rf"lacks {name}; a model's folder holds"):
            exact(str(folder), layers=1).fit(y)
    for model in (tmp_path / "nowhere", "./nowhere", "a/b/c"):
        with pytest.raises(FileNotFoundError, match="nowhere|a/b/c.*there is no such folder"):
            exact(model).fit(y)


def test_without_network_it_is_said_how_to_get_them(sound, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    y = table([sound[0]], [0.1])
    message = (
        r"(?s)'facebook/wav2vec2-large-xlsr-53' .*cannot be fetched \(.*"
        r"hf download facebook/wav2vec2-large-xlsr-53 --local-dir FOLDER\n.*model='FOLDER'.*HF_HOME"
    )
    with pytest.raises(OSError, match=message):
        exact().fit(y)
    with pytest.raises(OSError, match="hf download some/model --revision v2 --local-dir FOLDER"):
        exact("some/model", revision="v2").fit(y)
    with pytest.raises(ValueError, match="'what is this' is no folder and no name on the hub"):
        exact("what is this").fit(y)


def test_networks_that_cannot_be_read(saved, sound, tmp_path):
    y = table([sound[0]], [0.1])

    def config(**content):
        folder = shutil.copytree(saved("wav2vec2"), tmp_path / f"c{len(list(tmp_path.iterdir()))}")
        (folder / "config.json").write_text(json.dumps(content))
        return exact(str(folder), layers=1)

    with pytest.raises(ValueError, match="is a BertConfig, which is no speech network that can be read here"):
        config(model_type="bert").fit(y)
    with pytest.raises(ValueError, match="transformers cannot read its config.json"):
        config(model_type="no such thing").fit(y)
    content = json.loads((Path(saved("wav2vec2")) / "config.json").read_text())
    taller = config(**{**content, "num_hidden_layers": 4}).fit(y)
    with pytest.raises(ValueError, match=r"lacks the weights .*layers\.3.* which would be random"):
        np.asarray(taller.transform(y))
    damaged = shutil.copytree(saved("wav2vec2"), tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(OSError, match="transformers cannot load it from .*damaged"):
        np.asarray(exact(str(damaged), layers=1).fit_transform(y))


def test_networks_whose_layers_are_elsewhere_are_named(saved, monkeypatch):
    import transformers

    class Elsewhere(torch.nn.Linear):
        config = transformers.PretrainedConfig()

    load = lambda *args, **kwargs: (Elsewhere(2, 2), {"missing_keys": []})  # noqa: E731
    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", load)
    checkpoints._network.cache_clear()
    with pytest.raises(ValueError, match="the layers of Elsewhere are not where they are in wav2vec 2.0"):
        checkpoints.network(saved("wav2vec2"))


class Bomb:
    """An object whose unpickling writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickled_weights_are_read_and_their_code_is_not_run(saved, sound, tmp_path):
    from safetensors.torch import load_file

    path, _ = sound
    folder = shutil.copytree(saved("wav2vec2"), tmp_path / "old")
    new_names = {
        "parametrizations.weight.original0": "weight_g",
        "parametrizations.weight.original1": "weight_v",
    }
    weights = {"quantizer.codevectors": torch.zeros(1, 4, 2)}  # of pre-training, as in XLSR-53
    for name, value in load_file(folder / "model.safetensors").items():
        for new, old in new_names.items():
            name = name.replace(new, old)
        weights[f"wav2vec2.{name}"] = value
    assert any("weight_g" in name for name in weights)
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    y = table([path], [0.1])
    old = np.asarray(exact(str(folder), layers=2).fit_transform(y))
    np.testing.assert_array_equal(old, np.asarray(exact(saved("wav2vec2"), layers=2).fit_transform(y)))
    torch.save({**weights, "bomb": Bomb(tmp_path / "exploded")}, folder / "pytorch_model.bin")
    with pytest.raises(OSError, match="transformers cannot load it"):
        np.asarray(exact(str(folder), layers=2).fit_transform(y))
    assert not (tmp_path / "exploded").exists()


WRONG = {
    "too high": ({"layers": (1, 14)}, {}, r"layers=\(1, 14\): .* has 3 layers.* 0 \(the input\) to 3, or -4 to -1"),
    "too low": ({"layers": -5}, {}, "has 3 layers"),
    "no layers": ({"layers": ()}, {}, r"layers must be one integer or several, got \(\)"),
    "half a layer": ({"layers": 1.5}, {}, "The 'layers' parameter of Wav2Vec2Features"),
    "half of several": ({"layers": (1.5, 2)}, {}, "layers must be one integer or several"),
    "overlap": ({"chunk": 5, "overlap": 5}, {}, "overlap must be less than chunk, got overlap=5 and chunk=5"),
    "overlap in frames": (
        {"chunk": 0.02, "overlap": 0.015}, {}, r"overlap=0.015 and chunk=0.02 s, which are 1 and 1 frames of 0.02 s"
    ),
    "chunk in frames": ({"chunk": 0.005, "overlap": 0}, {}, "0 and 0 frames of 0.02 s; make chunk longer"),
    "chunk": ({"chunk": 0}, {}, "The 'chunk' parameter"),
    "precision": ({"precision": "half"}, {}, "The 'precision' parameter of Wav2Vec2Features"),
    "device": ({"device": "abacus"}, {}, "device='abacus' is not on this machine"),
    "features": ({}, {"sound": StimulusArray(np.zeros(99), 50, "stored")}, "needs audio files, but StimulusArray"),
    "half of the columns": ({}, {"block_before": None}, r"columns of blocks but lacks \['block_before'\]"),
    "unknown blocks": ({}, {"block_stop": np.nan}, "columns of blocks but has rows without them"),
    "long windows": ({}, {"duration": 2.5}, r"y row 0: the window at sound_onset=0.1 s reaches beyond the blocks"),
    "contradiction": ({}, {"block_after": [2.4, 2.2]}, r"'story.wav' contradict .* 1.21 to 2.2 s, .* 2.4 s"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_errors_name_what_is_wrong(saved, sound, name):
    parameters, columns, message = WRONG[name]
    y = table([sound[0]] * 2, [0.1, 0.2], 0.5, EDGES)
    for column, value in columns.items():
        y = (
            y.drop(columns=column)
            if value is None
            else y.assign(
                **{column: [value] * 2 if np.isscalar(value) or isinstance(value, StimulusArray) else value}
            )
        )
    with pytest.raises(ValueError, match=message):
        Wav2Vec2Features(saved("wav2vec2"), **{"layers": (1, 2), **parameters}).fit_transform(y)


# --- from the hub -------------------------------------------------------------------------------------

ASK = """
import numpy as np, pandas as pd, sys
from sk_b2s import Wav2Vec2Features
assert "transformers" not in sys.modules and "huggingface_hub" not in sys.modules
y = pd.DataFrame({"sound": [sys.argv[1]], "sound_onset": [0.1], "duration": 0.5})
np.save(sys.argv[2], np.asarray(Wav2Vec2Features("some/network", layers=2, precision="float32").fit_transform(y)))
"""


@pytest.mark.slow
def test_a_name_is_fetched_from_the_hub_once(saved, sound, tmp_path):
    """A server on this machine plays the hub; what it gave is used again when it is gone."""
    commit, asked = "0123456789" * 4, []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append((self.command, self.path))
            path = Path(saved("wav2vec2")) / Path(self.path).name
            found = path.is_file() and self.path.startswith("/some/network/resolve/")
            body = path.read_bytes() if found else b""
            self.send_response(200 if found else 404)
            if not found:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("X-Repo-Commit", commit)
            self.send_header("ETag", f'"{path.name}"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_GET = do_HEAD

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith("HF_") and "proxy" not in k.lower()
    }
    environment |= {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "hub"),
        "PYTHONPATH": str(Path(sk_b2s.__file__).parents[1]), "HF_HUB_DISABLE_XET": "1",
    }  # fmt: skip
    y = table([sound[0]], [0.1])
    expected = np.asarray(exact(saved("wav2vec2"), layers=2).fit_transform(y))
    for attempt in ("first", "again"):
        result = tmp_path / f"{attempt}.npy"
        command = [sys.executable, "-c", ASK, sound[0], str(result)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert np.abs(np.load(result) - expected).max() < 1e-6
        if attempt == "first":
            fetched = {Path(path).name for method, path in asked if method == "GET"}
            assert {"config.json", "preprocessor_config.json", "model.safetensors"} <= fetched
            server.shutdown()
            server.server_close()
