"""Tests that damaged or malicious files are refused without side effects."""

import json
import os
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from sk_b2s import (
    BrainEncoder,
    CovarianceAlignment,
    FeatureScaler,
    ForwardTRF,
    MelSpectrogram,
    PrecomputedFeatures,
    RidgeDecoder,
    RobustChannelScaler,
    StimulusArray,
    Windows,
    load,
    save,
)
from sk_b2s.events._stimuli import get_stimulus_digest, stimulus_duration

posix = pytest.mark.skipif(os.name != "posix", reason="needs FIFOs and devices")


@pytest.mark.parametrize("question", [get_stimulus_digest, stimulus_duration])
@pytest.mark.parametrize("kind", [pytest.param("fifo", marks=posix), pytest.param("device", marks=posix),
                                  "folder", "missing", "NUL", "long"])  # fmt: skip
def test_predict_requires_regular_audio_files(question, kind, tmp_path):
    path = tmp_path / "sound.wav"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    sound = {"device": "/dev/zero", "NUL": "a\0b.wav", "long": 5000 * "a"}.get(kind, str(path))
    with pytest.raises(FileNotFoundError, match=r"(not a regular file|cannot be opened).*candidates="):
        question(sound)


# --- load ------------------------------------------------------------------------------------------

SMALL = {"hidden": 8, "depth": 2, "n_virtual_channels": 6, "max_epochs": 1, "batch_size": 16, "k": 2, "random_state": 0,
         "verbose": 0, "validation": None, "precision": "float32", "spatial_attention": False}  # fmt: skip


def brain(n_windows=30, seed=0):
    return np.random.default_rng(seed).standard_normal((n_windows, 4, 20)).astype(np.float32)


def features(n_windows=30, seed=1):
    return np.random.default_rng(seed).standard_normal((n_windows, 3, 10)).astype(np.float32)


FITTED = {
    "CovarianceAlignment": (CovarianceAlignment(), brain(), None),
    "FeatureScaler": (FeatureScaler(), features(), None),
    "ForwardTRF": (ForwardTRF(sfreq=10), features(), features()),
    "MinMaxScaler": (MinMaxScaler(), brain()[:, :, 0], None),
    "PCA": (PCA(2), brain()[:, :, 0], None),
    "Ridge": (Ridge(), brain()[:, :, 0], features()[:, :, 0]),
    "RidgeDecoder": (RidgeDecoder(sfreq=10, k=2), brain(), features()),
    "RobustChannelScaler": (RobustChannelScaler(), brain(), None),
    "RobustScaler": (RobustScaler(), brain()[:, :, 0], None),
    "StandardScaler": (StandardScaler(), brain()[:, :, 0], None),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Saved estimators by name; they are copied before they are changed."""
    folder = tmp_path_factory.mktemp("files")
    for name, (estimator, X, y) in FITTED.items():
        save(estimator.fit(X, y), folder / name)
    save(BrainEncoder(**SMALL).fit(brain(), features()), folder / "BrainEncoder")
    pipe = make_pipeline(MelSpectrogram(), FeatureScaler()).set_params(
        memory="own", melspectrogram__memory="own"
    )
    save(pipe, folder / "cached")
    return folder


def content(path):
    with safe_open(path, "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()["sk_b2s"])


def forge(path, tensors, text):
    """Write a malicious file, which needs no checksum."""
    text.pop("checksum", None)
    save_file(tensors, path, metadata={"sk_b2s": json.dumps(text)})


def fitted_items(text):
    return text["estimator"]["estimator"]["fitted"]


def item(text, name):
    return next(pair for pair in fitted_items(text) if pair[0] == name)


def architecture(text):
    return item(text, "architecture_")[1]["dict"]


@pytest.fixture
def forged(files, tmp_path):
    """Load a saved estimator after a change of its tensors and text."""

    def attempt(name, change, **options):
        tensors, text = content(files / name)
        change(tensors, text)
        forge(tmp_path / name, tensors, text)
        return load(tmp_path / name, **options)

    return attempt


@pytest.mark.parametrize("node", ["folder", {"path": "folder"}, {"tuple": ["a"]}, [], {"trusted": "sk_b2s.Epocher"},
                                  {"memory": "folder"}, {"dict": []}])  # fmt: skip
@pytest.mark.parametrize("where", ["pipeline", "step"])
def test_load_rejects_cache_folder(forged, node, where):
    def change(tensors, text):
        pipe = text["estimator"]["estimator"]["params"]
        step = pipe["steps"][0]["tuple"][1]["estimator"]["params"]
        (pipe if where == "pipeline" else step)["memory"] = node

    with pytest.raises(ValueError, match=r"cached cannot be loaded: it names a cache folder"):
        forged("cached", change)


@pytest.mark.parametrize("name", ["memory", "sfreq", "transform", "fit_transform", "raw_hook", "__class__", "__dict__",
                                  "get_params", "n_mels", "_compute", "_x", 5])  # fmt: skip
def test_load_rejects_unknown_attribute(forged, name):
    def change(tensors, text):
        step = text["estimator"]["estimator"]["params"]["steps"][0]["tuple"][1]["estimator"]
        step["fitted"] = [["n_features_out_", 120], [name, "hello"]]

    with pytest.raises(ValueError, match="not an attribute that its fit sets"):
        forged("cached", change)


@pytest.mark.parametrize("callbacks", [["x"], {"trusted": "sk_b2s.Epocher"}, "x"])
def test_load_rejects_callbacks(forged, callbacks):
    def change(tensors, text):
        text["estimator"]["estimator"]["params"]["callbacks"] = callbacks

    with pytest.raises(ValueError, match="callbacks"):
        forged("BrainEncoder", change)


@pytest.mark.parametrize("value", [10**5, 10**9, 2**62, -1, 0, 1.5, "8", None, True])
@pytest.mark.parametrize("name", ["hidden", "depth", "n_virtual_channels", "kernel_size", "n_subjects", "n_channels",
                                  "n_outputs", "n_frames", "n_times", "n_averaged"])  # fmt: skip
def test_load_checks_architecture_first(forged, monkeypatch, name, value):
    def change(tensors, text):
        pairs = architecture(text)
        next(pair for pair in [*pairs, ["n_averaged", None]] if pair[0] == name)[1] = value
        if name == "n_averaged":
            pairs.append([name, value])

    if (name, value) in {("n_averaged", None), ("n_subjects", True), ("n_averaged", True)}:
        return  # what they are anyway: True is 1
    made, make = [], torch.nn.Module.__init__

    def make_and_count(module, *args, **kwargs):
        made.append(type(module))
        assert len(made) < 1000, "an architecture of any size is made before it is checked"
        make(module, *args, **kwargs)

    monkeypatch.setattr(torch.nn.Module, "__init__", make_and_count)
    with pytest.raises(ValueError, match="cannot be loaded"):
        forged("BrainEncoder", change)
    assert len(made) < 1000


def test_load_limits_frame_matrix(forged):
    def change(tensors, text):
        n = 20000  # 1.6 GB
        for pair in [*architecture(text), *fitted_items(text)]:
            if pair[0] in ("n_times", "n_frames", "n_times_in_"):
                pair[1] = n
            elif pair[0] == "pooling":
                pair[1] = list(range(n))
        tensors["frame_weights_"], tensors["segments_"] = (
            np.ones(n, np.int64),
            np.zeros((2, 3, n), np.float32),
        )

    with pytest.raises(ValueError, match="far larger than its weights"):
        forged("BrainEncoder", change)


@pytest.mark.parametrize("name", FITTED)
def test_load_rejects_mismatched_arrays(files, forged, name):
    """Change each array: a row longer, another dimension, missing, text."""
    tensors, text = content(files / name)
    arrays = [pair[0] for pair in fitted_items(text) if isinstance(pair[1], dict) and "array" in pair[1]]
    arrays = [array for array in arrays if array in tensors and tensors[array].ndim and array != "segments_"]
    assert arrays
    for array in arrays:
        for kind in ("longer", "deeper", "text"):

            def change(tensors, text, array=array, kind=kind):
                if kind == "longer":
                    tensors[array] = np.concatenate([tensors[array]] * 2)
                elif kind == "deeper":
                    tensors[array] = tensors[array][None]
                else:
                    item(text, array)[1] = "hello"

            with pytest.raises(ValueError, match="cannot be loaded"):
                forged(name, change)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("FeatureScaler", "mean_"),
        ("RidgeDecoder", "coef_"),
        ("BrainEncoder", "weights.last.weight"),
        ("PCA", "components_"),
    ],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])  # fmt: skip
def test_load_warns_about_nonfinite_weights(forged, name, array, value):
    def change(tensors, text):
        tensors[array].flat[0] = value

    with pytest.warns(UserWarning, match=rf"{name}: the .* of .*{name} contains NaN or infinite"):
        forged(name, change)


@pytest.mark.parametrize("parent", [5, True, [], {}, "", ".", "..", "a\0b", "../../x", "a/../../x", "/etc/passwd",
                                    "//evil/share/x", r"\\evil\share\x", r"C:\x", "C:x", "NUL", "con.txt", "a/../x",
                                    "x:stream", "http://x/y", "../../../../../../etc/passwd"])  # fmt: skip
def test_load_rejects_parent_elsewhere(forged, parent):
    def change(tensors, text):
        text["parent"] = parent

    with pytest.raises(ValueError, match="BrainEncoder cannot be loaded: its parent file.*parent="):
        forged("BrainEncoder", change)


def test_load_rejects_parent_without_adaptation(files, forged):
    with pytest.raises(ValueError, match="no adapted encoder"):
        forged("BrainEncoder", lambda tensors, text: text.update(parent="x"), parent=files / "BrainEncoder")
    with pytest.raises(ValueError, match="no adapted encoder"):
        forged("FeatureScaler", lambda tensors, text: text.update(parent="x"), parent=files / "BrainEncoder")


class Holder(BaseEstimator):
    def __init__(self, value=None):
        self.value = value


@pytest.mark.parametrize("value", [
    {"array": {"shape": [1], "width": 2**28, "values": ["a"]}},
    {"array": {"shape": [10**6], "width": 1000, "values": ["a"], "codes": "codes"}},
    {"table": {"index": [0, 10**12, 1], "index_name": None, "columns": []}},
    {"table": {"index": [0, 10**9, 1], "index_name": None, "columns": []}},
    {"table": {"index": [0, 10**6, 1], "index_name": None, "columns": [
        [f"c{i}", {"data": {"array": {"tensor": "codes"}}}] for i in range(300)]}},
    {"table": {"index": [0, 5, 1], "index_name": None, "columns": [["c", {"data": {"array": {"tensor": "codes"}}}]]}},
    [{"array": {"shape": [10**6], "width": None, "values": ["a"], "codes": "codes"}}] * 40,
    {"random_state": {"tuple": ["MT19937", {"array": {"tensor": "keys"}}, 625, 0, 0.0]}},
    {"random_state": {"tuple": ["MT19937", {"array": {"tensor": "keys"}}, -1, 0, 0.0]}},
    {"part": {"class": "Windows", "state": [
        ["signals", [{"array": {"tensor": "signal"}}]], ["which", {"array": {"tensor": "which"}}],
        ["start", {"array": {"tensor": "which"}}], ["n_times", 0], ["sfreq", None], ["rows", None],
        ["positions", None], ["layout", {"array": {"tensor": "which"}}], ["ch_names", None], ["extent", None],
        ["steps", {"tuple": []}]]}},
    {"part": {"class": "Windows", "state": [
        ["signals", [{"array": {"tensor": "signal"}}]], ["which", {"array": {"tensor": "which"}}],
        ["start", {"array": {"tensor": "which"}}], ["n_times", 5], ["sfreq", None], ["rows", None],
        ["positions", None], ["layout", {"array": {"tensor": "which"}}], ["ch_names", None], ["extent", None],
        ["steps", {"tuple": [{"part": {"class": "Baseline", "state": [
            ["first", 0], ["last", 2], ["begin", 0], ["length", 10**12]]}}]}]]}},
], ids=["width", "width x rows", "index", "index GB", "columns", "short index", "objects", "position", "position -1",
        "no times", "baseline"])  # fmt: skip
def test_load_limits_memory(value, tmp_path):
    save(Holder(), tmp_path / "a", trusted={"Holder": Holder})
    _, text = content(tmp_path / "a")
    text["estimator"]["estimator"]["params"]["value"] = value
    tensors = {"codes": np.zeros(10**6, np.uint8), "keys": np.zeros(624, np.uint32), "which": np.zeros(1, np.int64),
               "signal": np.zeros((9, 2), np.float32)}  # fmt: skip
    forge(tmp_path / "a", tensors, text)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="a cannot be loaded"):
            load(tmp_path / "a", trusted={"Holder": Holder})
        assert tracemalloc.get_traced_memory()[1] < 4e8
    finally:
        tracemalloc.stop()


def test_load_memory_error_names_file(files, monkeypatch):
    def fail(self, node):
        raise MemoryError("Cannot allocate memory")

    monkeypatch.setattr("sk_b2s._persistence._deserialize.Deserializer.decode", fail)
    with pytest.raises(MemoryError, match=r"FeatureScaler has 0 MB, and there is not enough memory"):
        load(files / "FeatureScaler")


def test_load_detects_changed_bit(files, tmp_path):
    whole = (files / "RidgeDecoder").read_bytes()
    path, expected = tmp_path / "changed", load(files / "RidgeDecoder").transform(brain())
    for place in np.random.default_rng(0).integers(0, 8 * len(whole), 150):
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            loaded = load(path)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017
        else:
            np.testing.assert_array_equal(loaded.transform(brain()), expected)


@pytest.mark.parametrize(
    "change", [lambda one: one[None].copy(), lambda one: one.view(np.int64), lambda one: -one]
)
def test_load_detects_changed_shape_type_value(change, files, tmp_path):
    tensors, text = content(files / "RidgeDecoder")
    tensors["cv_scores_"] = change(tensors["cv_scores_"])
    save_file(tensors, tmp_path / "a", metadata={"sk_b2s": json.dumps(text)})
    with pytest.raises(ValueError, match=r"a cannot be loaded: .*(checksum|must be)"):
        load(tmp_path / "a")


def test_load_accepts_missing_checksum(forged):
    assert forged("FeatureScaler", lambda tensors, text: None).n_features_in_ == 3


@posix
@pytest.mark.parametrize("kind", ["fifo", "device", "missing"])
def test_predict_does_not_open_fifo(kind, tmp_path):
    sounds = [
        StimulusArray(np.random.default_rng(seed).standard_normal((400, 3)), 20, str(seed))
        for seed in range(2)
    ]
    y = pd.DataFrame({
        "sound": [sounds[i % 2] for i in range(24)], "sound_onset": np.arange(24) // 2 * 0.5, "duration": 0.45,
        "segment": np.arange(24),
    })  # fmt: skip
    X = Windows.from_array(brain(24), sfreq=40)
    decoder = RidgeDecoder(make_pipeline(PrecomputedFeatures(), FeatureScaler()), lags=(0, 0.3), k=2).fit(
        X, y
    )
    fifo = tmp_path / "a.wav"
    if kind == "fifo":
        os.mkfifo(fifo)
    decoder.segments_ = y.assign(sound="/dev/zero" if kind == "device" else str(fifo))
    mel = MelSpectrogram(n_mels=3, sfreq=20)
    mel.n_features_out_ = 3
    decoder.speech_ = decoder.speech = make_pipeline(mel, decoder.speech_[1])
    save(decoder, tmp_path / "decoder")
    with pytest.raises(FileNotFoundError, match="give candidates="):
        load(tmp_path / "decoder").predict(X)


class Counter(BaseEstimator):
    """A custom estimator with a class attribute that fit replaces."""

    count_ = None

    def fit(self, X, y=None):
        self.count_, self._seen, self.n_rows = 3, True, len(X)
        return self


def test_load_accepts_attributes_of_trusted_class(tmp_path):
    save(Counter().fit([1, 2]), tmp_path / "a", trusted={"Counter": Counter})
    assert vars(load(tmp_path / "a", trusted={"Counter": Counter})) == {
        "count_": 3,
        "_seen": True,
        "n_rows": 2,
    }
    tensors, text = content(tmp_path / "a")
    for name in ("fit", "get_params", "__class__"):
        text["estimator"]["estimator"]["fitted"] = [[name, 1]]
        forge(tmp_path / "b", tensors, text)
        with pytest.raises(ValueError, match="not an attribute that its fit sets"):
            load(tmp_path / "b", trusted={"Counter": Counter})


@pytest.mark.parametrize("n_jobs", [10**9, -(10**9)])
def test_load_limits_n_jobs(n_jobs, tmp_path):
    save(FeatureUnion([("a", PCA(2))], n_jobs=n_jobs), tmp_path / "a")
    with pytest.raises(ValueError, match="too many workers"):
        load(tmp_path / "a")


@posix
def test_save_error_names_file(tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = RobustChannelScaler().fit(np.random.default_rng(0).standard_normal((1, 5000, 3)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match=r"scaler\.safetensors cannot be written"):
            save(big, tmp_path / "scaler.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())
