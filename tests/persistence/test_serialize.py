"""Tests that values, arrays, tensors and tables survive a round trip."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from sk_b2s._persistence._deserialize import Deserializer
from sk_b2s._persistence._serialize import Serializer
from sk_b2s.events._stimuli import StimulusArray


@pytest.fixture
def path(tmp_path):
    return tmp_path / "value.safetensors"


def there_and_back(value, path):
    """Write to a file and read again."""
    writer = Serializer({})
    text = json.dumps(writer.encode(value, ("value",)), allow_nan=False)
    save_file(writer.tensors, path, metadata={"text": text})
    with safe_open(path, "numpy") as file:
        return Deserializer(file.get_tensor, {}).decode(json.loads(file.metadata()["text"]))


def matrix():
    return np.random.default_rng(2).standard_normal((30, 6))


VALUES = {
    "None": None, "True": True, "int": 2**80, "float": 0.1, "inf": -np.inf, "tiny": 5e-324, "negative zero": -0.0,
    "text": "Ä\u2028\ud800\0", "nested": [1, (2.5, ["a", ()]), {}], "pair": ("name", 1), "dict": {"a": 1, 2: (3,)},
    "path": Path("a/b"), "float64": np.float64(0.1), "float16": np.float16(0.1), "bool_": np.bool_(True),
    "str_": np.str_("a"), "int8": np.int8(-3), "complex": np.complex128(1 + 2j), "device": torch.device("cpu"),
    "time": np.datetime64("2020-01-02"), "requests": {"estimator": 1}, "tag": {"path": "x"},
}  # fmt: skip


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_roundtrip_values(value, path):
    loaded = there_and_back(value, path)
    assert type(loaded) is type(value)
    assert repr(loaded) == repr(value)


def test_roundtrip_nan(path):
    assert np.isnan(there_and_back(float("nan"), path))


@pytest.mark.parametrize(
    "dtype", ["?", "i1", "u2", ">i4", "i8", "f2", ">f4", "f8", "c8", "c16", "M8[us]", "U3", "O"]
)
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3), (2, 0, 3)])
def test_roundtrip_arrays(dtype, shape, path):
    value = np.random.default_rng(0).integers(0, 2, shape)
    value = np.asarray(value).astype(dtype) if dtype != "O" else np.asarray(value.astype(str), dtype=object)
    loaded = there_and_back(value, path)
    assert loaded.dtype == value.dtype.newbyteorder("=")
    assert loaded.shape == value.shape
    np.testing.assert_array_equal(loaded, value)
    assert loaded.flags.writeable


def test_roundtrip_memory_order(path):
    """Products of matrices round differently where it changes."""
    value = [matrix(), np.asfortranarray(matrix()), np.zeros((2, 3, 4)).transpose(2, 1, 0), matrix()[::2]]
    loaded = there_and_back(value, path)
    for a, b in zip(value, loaded, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.flags.f_contiguous == b.flags.f_contiguous


def test_encode_shared_array_once(path):
    one = matrix()
    loaded = there_and_back([one, {"again": one}], path)
    with safe_open(path, "numpy") as file:
        assert len(file.keys()) == 1
    assert loaded[0] is loaded[1]["again"]


def test_encode_equal_stimuli_once(path):
    sounds = [StimulusArray(np.ones(100), 20, "a") for _ in range(2)]
    loaded = there_and_back(sounds, path)
    assert loaded == sounds
    with safe_open(path, "numpy") as file:
        assert len(file.keys()) == 1


def test_roundtrip_signed_zeros(path):
    value = np.array([0.0, -0.0, float("nan"), np.nan, 0, False], dtype=object)
    assert repr(there_and_back(value, path)) == repr(value)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_roundtrip_tensors(dtype, path):
    value = torch.arange(6).reshape(2, 3).to(getattr(torch, dtype))
    loaded = there_and_back([value, value.sum(dtype=value.dtype)], path)
    assert loaded[0].dtype == value.dtype
    assert torch.equal(loaded[0], value)
    assert loaded[1].shape == ()


TABLES = {
    "mixed": pd.DataFrame({
        "object": pd.Series(["a", None, np.nan, Path("b"), 1.0], dtype=object), "str": ["a", None, "a", "b", "Ä"],
        "float": [0.1, np.nan, np.inf, -0.0, 5.0], "int": range(5), "bool": [True, False] * 2 + [True],
        "category": pd.Categorical(["u", "v", None, "u", "u"], ordered=True), "Int64": pd.array([1, None] * 2 + [3]),
        "string": pd.Series(["a", None, "b", "a", "a"], dtype="string"),
    }),
    "odd index": pd.DataFrame({"a": [1.0, 2.0], 7: ["x", "y"]}, index=pd.Index(["r", "s"], name="row")),
    "numbered index": pd.DataFrame({"a": [1.0, 2.0]}, index=[7, 3]),
    "slice": pd.DataFrame({"a": np.arange(9)})[1::3],
    "no rows": pd.DataFrame({"a": pd.Series([], dtype=float), "b": pd.Series([], dtype=object)}),
    "no columns": pd.DataFrame(index=range(3)),
    "all alike": pd.DataFrame({"a": ["same"] * 1000}),
}  # fmt: skip


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_roundtrip_tables(table, path):
    loaded = there_and_back(table, path)
    pd.testing.assert_frame_equal(loaded, table, check_exact=True, check_freq=False)
    for name in set(table) & {"object"}:
        assert [repr(cell) for cell in loaded[name]] == [repr(cell) for cell in table[name]]
    assert path.stat().st_size < 10_000


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_tuples([(1, 2)])),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame({"a": pd.date_range("2020", periods=2, tz="UTC")}),
    ],
)
def test_encode_rejects_unsupported_tables(table):
    with pytest.raises(TypeError, match="value"):
        Serializer({}).encode(table, ("value",))
