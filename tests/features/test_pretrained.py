"""Tests of the features of pretrained models."""

import os
import pickle
import shutil
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from helpers.sounds import write
from helpers.speech_models import (
    RATE,
    compute_all_frames,
    compute_with_transformers,
    float32_features,
    make_audio,
    make_table,
)
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

import sk_b2s
from sk_b2s import (
    FeatureScaler,
    RidgeDecoder,
    SpeechFeatureUnion,
    StimulusArray,
    Wav2Vec2Features,
    Windows,
)
from sk_b2s.features import _checkpoints as checkpoints
from sk_b2s.features import _pretrained as pretrained
from sk_b2s.features._pretrained_chunks import split_pretrained_chunks


def test_layers_may_be_negative_or_repeated(model_folder, tmp_path):
    path = write(tmp_path / "noise.wav", make_audio(1.5))
    one = compute_all_frames(float32_features(model_folder("wav2vec2"), layers=[1, 2]), path, 1.5)
    for layers in [(2, 1), (1, 2, 2), np.array([-3, -2])]:
        np.testing.assert_array_equal(
            compute_all_frames(float32_features(model_folder("wav2vec2"), layers=layers), path, 1.5), one
        )


def test_precision_auto_shares_cache(model_folder, tmp_path, monkeypatch):
    y = make_table([write(tmp_path / "noise.wav", make_audio(1.5))], [0.1])
    features = Wav2Vec2Features(
        model_folder("wav2vec2"), layers=2, memory=joblib.Memory(tmp_path / "cache", verbose=0)
    )
    assert features.precision == "auto"
    found = {
        p: np.asarray(clone(features).set_params(precision=p).fit_transform(y))
        for p in ("float32", "bfloat16")
    }
    assert np.abs(found["float32"] - found["bfloat16"]).max() > 0, "each has its own cache entry"
    monkeypatch.setattr(checkpoints, "load_speech_checkpoint", None)
    for native in found:
        monkeypatch.setattr(pretrained, "choose_dtype_of_device", lambda *a, _p=native: getattr(torch, _p))
        np.testing.assert_array_equal(np.asarray(features.fit_transform(y)), found[native])


EDGES = [0.0, 1.21, 2.4, 3.3]


@pytest.mark.parametrize("kind", ["wav2vec2, stable norm", "whisper"])
def test_transform_processes_blocks_separately(model_folder, sound, kind):
    path, audio = sound
    y = make_table([path], [1.22], 1.16, EDGES)
    inside = float32_features(model_folder(kind), layers=2).fit_transform(y)[0].T
    alone = compute_with_transformers(model_folder(kind), audio[round(1.21 * RATE) : round(2.4 * RATE)])[2]
    begin = round(1.22 * 50) - round(1.21 * 50)
    n_frames = 58
    assert np.abs(inside[:n_frames] - alone[begin : begin + n_frames]).max() < 1e-5


@pytest.mark.parametrize("rate", [16000, 22050])
def test_transform_context_ends_at_block_edges(model_folder, tmp_path, rate):
    n_samples = round(3.3 * rate)
    audio = np.random.default_rng(0).standard_normal(n_samples).astype("f4") / 10
    other = audio.copy()
    inside = slice(round(EDGES[1] * rate), round(EDGES[2] * rate))
    other[inside] = np.random.default_rng(1).standard_normal(n_samples)[inside]
    onsets = np.arange(0, 2.8, 0.02)
    windows = []
    for name, samples in [("one.wav", audio), ("other.wav", other)]:
        y = make_table([write(tmp_path / name, samples, rate)] * len(onsets), onsets, 0.1, EDGES)
        windows.append(np.asarray(float32_features(model_folder("wav2vec2"), layers=3).fit_transform(y)))
    first, stop = np.round(onsets * 50), np.round(onsets * 50) + 6
    edges = np.round(np.array(EDGES) * 50)
    apart = (stop <= edges[1]) | (first >= edges[2])
    assert apart.any()
    np.testing.assert_array_equal(windows[0][apart], windows[1][apart])
    within = (first >= edges[1]) & (stop <= edges[2])
    assert (np.abs(windows[0][within] - windows[1][within]).max((1, 2)) > 1e-3).all()


def test_transform_without_blocks(model_folder, sound):
    path, audio = sound
    frames = compute_all_frames(float32_features(model_folder("wav2vec2"), layers=2), path, 3.3)
    expected = compute_with_transformers(model_folder("wav2vec2"), audio)[2]
    assert np.abs(frames[: len(expected)] - expected).max() < 1e-5


def test_transform_depends_on_rows_only(model_folder, sound, tmp_path):
    path, audio = sound
    other = write(tmp_path / "other.wav", audio[::-1])
    onsets = np.linspace(-0.3, 3.2, 24)
    y = make_table([path, other] * 12, onsets, 0.5, EDGES).assign(row=np.arange(24))
    features = float32_features(model_folder("wav2vec2"), layers=(1, 2)).fit(y)
    everything = np.asarray(features.transform(y))
    assert everything.shape == (24, 16, 26)
    for rows in ([5], [0, 23], [7, 6, 7], np.arange(0, 24, 3), np.random.default_rng(0).permutation(24)):
        some = y.iloc[rows].set_index(np.arange(len(rows)) + 100)
        windows = clone(features).fit_transform(some)
        np.testing.assert_array_equal(np.asarray(windows), everything[rows])
        message = pickle.dumps(windows)
        assert len(message) < 20000, "neither weights nor samples"
        np.testing.assert_array_equal(np.asarray(pickle.loads(message)), everything[rows])
    silence = everything[0][:, :15]  # before the audio begins
    np.testing.assert_array_equal(silence, 0)
    np.testing.assert_array_equal(everything[-1][:, 5:], 0)


def test_transform_computes_touched_blocks_only(model_folder, sound, monkeypatch):
    path, _ = sound
    read, stretches = pretrained.read_audio_for_features, []
    monkeypatch.setattr(
        pretrained, "read_audio_for_features", lambda path, *span: stretches.append(span) or read(path, *span)
    )
    features = float32_features(model_folder("wav2vec2"), layers=1)
    for onsets, expected in [
        ([0.1], [(0.0, 1.21)]),
        ([2.0], [(1.21, 2.4), (2.4, 3.3)]),
        ([2.9], []),  # the process keeps what it has computed
    ]:
        stretches.clear()
        windows = features.fit_transform(make_table([path], onsets, 0.45, EDGES))
        assert not stretches, "computed when windows are gathered"
        np.asarray(windows)
        assert stretches == expected


def test_transform_places_frames_in_time(model_folder, tmp_path):
    audio = np.zeros(3 * RATE, "f4")
    audio[round(2.1 * RATE) :] = make_audio(0.9)
    y = make_table([write(tmp_path / "late.wav", audio)], [0.0], 2.98, [0, 1.3, 3])
    y["block_start"], y["block_stop"], y["block_before"] = 0.0, 1.3, 0.0
    frames = float32_features(model_folder("wav2vec2, stable norm"), layers=0).fit_transform(y)[0].T
    change = np.abs(np.diff(frames, axis=0)).max(1)
    reach = 16 // 2 + 1  # frames that the positional convolution sees on either side
    assert 105 - reach - 2 <= 80 + np.flatnonzero(change[80:] > 0.05)[0] <= 105


def test_compute_pretrained_states_joins_chunks(model_folder, tmp_path):
    folder, audio = model_folder("wav2vec2, stable norm"), make_audio(5.0)
    path = write(tmp_path / "long.wav", audio)
    joined = compute_all_frames(float32_features(folder, layers=2, chunk=2, overlap=1), path, 5.0)
    normal = (audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)  # of the interval, not of the chunk
    network = checkpoints.load_speech_checkpoint(folder)
    assert len(split_pretrained_chunks(249, 100, 50)) == 4
    for first, last, begin, end in split_pretrained_chunks(249, 100, 50):
        piece = torch.from_numpy(normal[first * 320 : (last - 1) * 320 + 400])[None]
        with torch.no_grad():
            states = network.encoder(piece, output_hidden_states=True).hidden_states[2][0].numpy()
        assert np.abs(joined[begin:end] - states[begin - first : end - first]).max() < 1e-5


def test_compute_pretrained_states_is_exact_at_joints(model_folder, tmp_path):
    """The input of the first layer is exact if the overlap is long enough."""
    path = write(tmp_path / "long.wav", make_audio(8.0))

    def error(layer, overlap):
        folder = model_folder("wav2vec2, stable norm")
        once = compute_all_frames(float32_features(folder, layers=layer), path, 8.0)
        chunks = compute_all_frames(
            float32_features(folder, layers=layer, chunk=4, overlap=overlap), path, 8.0
        )
        return np.abs(chunks - once).max() / once.std()

    positional = 16 / 50  # s, length of its convolution
    assert error(0, overlap=positional) < 1e-5
    assert error(0, overlap=0) > 0.1
    assert 1e-4 < error(2, overlap=1) < 0.1


def test_compute_pretrained_states_limits_whisper(model_folder, tmp_path):
    audio = make_audio(5.0)
    path = write(tmp_path / "long.wav", audio)
    frames = compute_all_frames(float32_features(model_folder("whisper"), layers=2, overlap=0.5), path, 5.0)
    first, last, begin, end = split_pretrained_chunks(250, 100, 25)[1]
    piece = compute_with_transformers(model_folder("whisper"), audio[first * 320 : last * 320])[2]
    assert np.abs(frames[begin:end] - piece[begin - first : end - first]).max() < 1e-5


def test_transform_reads_cached_features(model_folder, sound, tmp_path, monkeypatch):
    path, _ = sound
    folder = shutil.copytree(model_folder("wav2vec2"), tmp_path / "network")
    memory = joblib.Memory(tmp_path / "cache", verbose=0, mmap_mode="c")
    features = float32_features(str(folder), layers=(1, 2), memory=memory)
    y = make_table([path] * 3, [0.1, 1.0, 1.5], 0.5, EDGES)
    plain = np.asarray(clone(features).set_params(memory=None).fit_transform(y))
    load, loaded = checkpoints.load_speech_checkpoint, []
    monkeypatch.setattr(checkpoints, "load_speech_checkpoint", lambda *a: loaded.append(a) or load(*a))
    np.testing.assert_array_equal(np.asarray(features.fit_transform(y)), plain)
    assert len(loaded) == 2, "two blocks"
    for rows in ([0], [1, 2], [2, 0, 1]):
        np.testing.assert_array_equal(np.asarray(clone(features).fit_transform(y.iloc[rows])), plain[rows])
    assert len(loaded) == 2
    moved = shutil.move(folder, tmp_path / "moved")
    features.set_params(model=str(moved))
    np.testing.assert_array_equal(np.asarray(features.fit_transform(y)), plain)
    assert len(loaded) == 2, "a model is identified by its content"
    np.asarray(features.fit_transform(make_table([path], [2.8], 0.4, EDGES)))
    assert len(loaded) == 3, "a new block"
    for change in ({"layers": 1}, {"chunk": 1.0, "overlap": 0.5}):
        np.asarray(clone(features).set_params(**change).fit_transform(y[:1]))
    assert len(loaded) == 5
    for weights in Path(moved).glob("*.safetensors"):
        os.replace(shutil.copy(Path(model_folder("hubert")) / weights.name, tmp_path / "w"), weights)
    shutil.copy(Path(model_folder("hubert")) / "config.json", moved)
    assert np.abs(np.asarray(features.fit_transform(y)) - plain).max() > 0.01, "another model"


def test_pickle_and_save_hold_no_weights(model_folder, sound, tmp_path):
    path, _ = sound
    y = make_table([path], [0.4], 0.5, EDGES)
    features = float32_features(model_folder("wav2vec2"), layers=2)
    windows = np.asarray(features.fit_transform(y))
    message = pickle.dumps(features)
    assert len(message) < 1000
    np.testing.assert_array_equal(np.asarray(pickle.loads(message).transform(y)), windows)
    sk_b2s.save(features, tmp_path / "features.safetensors")
    assert (tmp_path / "features.safetensors").stat().st_size < 2000
    loaded = sk_b2s.load(tmp_path / "features.safetensors")
    np.testing.assert_array_equal(np.asarray(loaded.transform(y)), windows)
    assert loaded.get_params()["layers"] == 2


def test_decoder_with_wav2vec2_features(model_folder, tmp_path):
    path = write(tmp_path / "story.wav", make_audio(30.0))
    onsets = np.arange(0, 29.0, 0.25)
    edges = np.arange(0, 31.0, 5)
    y = make_table([path] * len(onsets), onsets, 0.58, edges)
    y = y.assign(block=y["block_start"].astype(int), segment=np.arange(len(y)))
    speech = make_pipeline(
        float32_features(model_folder("wav2vec2"), layers=(1, 2), memory=tmp_path / "cache"), FeatureScaler()
    )
    heard = np.asarray(clone(speech).fit_transform(y))
    mixing = np.random.default_rng(0).standard_normal((20, 16))
    X = Windows.from_array(np.einsum("cf,nft->nct", mixing, heard), sfreq=50)
    decoder = RidgeDecoder(speech=speech, k=1).fit(X[:70], y[:70])
    assert decoder.score(X[80:], y[80:]) > 0.9, "the data are a linear function of the features"


WRONG = {
    "too high": ({"layers": (1, 14)}, {}, r"layers=\(1, 14\): .* has 3 layers.* 0 \(the input\) to 3, or -4 to -1"),
    "too low": ({"layers": -5}, {}, "has 3 layers"),
    "no layers": ({"layers": ()}, {}, r"'layers' parameter of Wav2Vec2Features must be an integer .* Got \(\)"),
    "fractional layer": ({"layers": 1.5}, {}, "The 'layers' parameter of Wav2Vec2Features"),
    "fractional layers": ({"layers": (1.5, 2)}, {}, "'layers' parameter of Wav2Vec2Features must be an integer"),
    "overlap": ({"chunk": 5, "overlap": 5}, {}, "'overlap' must be less than 'chunk'. Got overlap=5 and chunk=5"),
    "overlap in frames": (
        {"chunk": 0.02, "overlap": 0.015}, {}, r"overlap=0.015 and chunk=0.02 s, which are 1 and 1 frames of 0.02 s"
    ),
    "chunk in frames": ({"chunk": 0.005, "overlap": 0}, {}, "0 and 0 frames of 0.02 s. Use a longer chunk"),
    "chunk": ({"chunk": 0}, {}, "The 'chunk' parameter"),
    "precision": ({"precision": "half"}, {}, "The 'precision' parameter of Wav2Vec2Features"),
    "device": ({"device": "abacus"}, {}, "device='abacus' is not available"),
    "features": ({}, {"sound": StimulusArray(np.zeros(99), 50, "stored")}, "requires audio files, but StimulusArray"),
    "missing column": ({}, {"block_before": None}, r"columns of block edges but lacks \['block_before'\]"),
    "missing values": ({}, {"block_stop": np.nan}, "columns of block edges but has rows without values"),
    "long windows": ({}, {"duration": 2.5}, r"y row 0: the window at sound_onset=0.1 s extends beyond the blocks"),
    "overlapping blocks": ({}, {"block_after": [2.4, 2.2]}, r"'story.wav' contradict .* 1.21 to 2.2 s, .* 2.4 s"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_fit_transform_describes_invalid_input(model_folder, sound, name):
    parameters, columns, message = WRONG[name]
    y = make_table([sound[0]] * 2, [0.1, 0.2], 0.5, EDGES)
    for column, value in columns.items():
        y = (
            y.drop(columns=column)
            if value is None
            else y.assign(
                **{column: [value] * 2 if np.isscalar(value) or isinstance(value, StimulusArray) else value}
            )
        )
    with pytest.raises(ValueError, match=message):
        Wav2Vec2Features(model_folder("wav2vec2"), **{"layers": (1, 2), **parameters}).fit_transform(y)


@pytest.mark.parametrize("in_union", [False, True])
def test_context_of_windows_crosses_blocks(model_folder, sound, in_union):
    path, _ = sound
    y = make_table([path], [1.22], 0.4, EDGES)
    features = float32_features(model_folder("wav2vec2"), layers=1)
    features = SpeechFeatureUnion([("a", features), ("b", clone(features))]) if in_union else features
    windows = features.fit_transform(y)
    n_features = windows.shape[1]
    whole = features.fit_transform(make_table([path] * 3, [0.0, 1.22, 2.42], 0.8, EDGES))
    whole = whole.gather_context([0, 1, 2], 0, 0, torch.zeros(n_features))
    np.testing.assert_array_equal(windows[0], whole[1][:, :21])
    fill = torch.full((n_features,), 9.0)
    found = windows.gather_context([0], 61, 60, fill)[0]
    np.testing.assert_array_equal(found[:, :41], whole[0])  # the block before, from its beginning
    np.testing.assert_array_equal(found[:, 121:142], whole[2][:, :21])  # the block after
    again = pickle.loads(pickle.dumps(windows)).gather_context([0], 61, 60, fill)[0]
    np.testing.assert_array_equal(again, found)
