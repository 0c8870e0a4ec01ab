"""Tests of THINGS-EEG2 on small files of the published layout."""

import pickle
import zipfile

import numpy as np
import pytest

from sk_b2s import Epocher, PrecomputedFeatures, check_events, make_segments
from sk_b2s.datasets import fetch_things_eeg2, load_things_eeg2, load_things_eeg2_trials
from sk_b2s.datasets._download import DownloadFile
from sk_b2s.datasets.things_eeg2 import _load
from sk_b2s.datasets.things_eeg2._npy_dictionary import read_npy_dictionary

CHANNELS = ["O1", "Oz", "O2", "Pz"]
METADATA = {
    "train_img_files": ["aardvark_01b.jpg", "aardvark_02s.jpg", "antelope_01b.jpg", "antelope_02s.jpg"],
    "train_img_concepts": ["00001_aardvark"] * 2 + ["00002_antelope"] * 2,
    "train_img_concepts_THINGS": ["00001_aardvark"] * 2 + ["00027_antelope"] * 2,
    "test_img_files": ["aircraft_carrier_06s.jpg"],
    "test_img_concepts": ["00001_aircraft_carrier"],
    "test_img_concepts_THINGS": ["00010_aircraft_carrier"],
}
ORDER = [2, 99999, 1, 4, 3, 2, 1, 3, 4]  # conditions, with a target


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder with two sessions of a subject, raw and preprocessed."""
    monkeypatch.setenv("SK_B2S_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "things"
    (root / "image_set").mkdir(parents=True)
    np.save(root / "image_set" / "image_metadata.npy", METADATA)
    rng = np.random.default_rng(0)
    for session in ("01", "02"):
        folder = root / "raw_data" / "sub-01" / f"ses-{session}"
        folder.mkdir(parents=True)
        for part, order in (("training", ORDER), ("test", [1, 1])):
            data = 1e-5 * rng.standard_normal((5, 200 * len(order) + 2000))
            data[4] = 0
            data[4, 500 + 200 * np.arange(len(order))] = order
            content = {
                "raw_eeg_data": data, "ch_names": [*CHANNELS, "stim"], "ch_types": ["eeg"] * 4 + ["stim"],
                "sfreq": 1000, "highpass": 0.01, "lowpass": 100,
            }  # fmt: skip
            np.save(folder / f"raw_eeg_{part}.npy", content)
    folder = root / "preprocessed_data" / "sub-01"
    folder.mkdir(parents=True)
    trials = {
        "preprocessed_eeg_data": rng.standard_normal((4, 3, 4, 10)), "ch_names": CHANNELS,
        "times": np.linspace(-0.2, 0.7, 10),
    }  # fmt: skip
    np.save(folder / "preprocessed_eeg_training.npy", trials)
    return root


def test_load_things_eeg2_events(root):
    events = check_events(load_things_eeg2(root))
    assert events.groupby(["session", "partition"]).size().to_dict() == {
        ("01", "training"): 8, ("01", "test"): 2, ("02", "training"): 8, ("02", "test"): 2,
    }  # fmt: skip
    first = events[(events["session"] == "01") & (events["partition"] == "training")]
    assert first["image"].tolist()[:3] == ["aardvark_02s", "aardvark_01b", "antelope_02s"]
    np.testing.assert_allclose(first["onset"].iloc[:2], [0.5, 0.9])
    assert set(first["category"]) == {"00001_aardvark", "00027_antelope"}
    assert first.groupby("image")["repetition"].apply(sorted).map([0, 1].__eq__).all()


def test_load_things_eeg2_recordings(root):
    events = load_things_eeg2(root, subjects="01", sessions="02", parts="training")
    X, y = make_segments(events, anchor="image", tmin=0, tmax=0.5)
    windows = Epocher(sfreq=100, lag=0, baseline=None).fit_transform(X)
    assert windows.shape[:2] == (8, 4)
    assert list(windows.ch_names) == CHANNELS
    stored = read_npy_dictionary(root / "raw_data/sub-01/ses-02/raw_eeg_training.npy", ["sfreq"], "study")
    assert np.abs(np.asarray(windows)).max() < 1e-4
    assert y["block"].nunique() == 2
    assert stored["raw_eeg_data"].shape == (5, 3800)


def test_load_things_eeg2_trials(root):
    X, y = load_things_eeg2_trials(root, "01")
    assert X.shape == (12, 4, 10)
    assert X.sfreq == pytest.approx(10)
    assert y["image"].tolist()[::3] == ["aardvark_01b", "aardvark_02s", "antelope_01b", "antelope_02s"]
    assert y["block"].nunique() == 2
    assert y["segment"].nunique() == 4
    vectors = y[["image"]].drop_duplicates().set_index("image").assign(a=range(4))
    np.testing.assert_array_equal(PrecomputedFeatures(vectors).fit_transform(y)[:, 0], np.repeat(range(4), 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subjects": "07"}, "contains '07'"),
        ({"parts": "validation"}, "contains 'validation'"),
    ],
)
def test_load_things_eeg2_refuses_unknown(root, options, message):
    with pytest.raises(ValueError, match=message):
        load_things_eeg2(root, **options)


def test_load_things_eeg2_names_missing_files(root):
    with pytest.raises(FileNotFoundError, match="fetch_things_eeg2"):
        load_things_eeg2(root / "image_set")
    with pytest.raises(FileNotFoundError, match="preprocessed_eeg_test"):
        load_things_eeg2_trials(root, "01", "test")
    with pytest.raises(ValueError, match="'part' must be one of"):
        load_things_eeg2_trials(root, "01", "train")
    (root / "image_set" / "image_metadata.npy").unlink()
    with pytest.raises(FileNotFoundError, match="part of the images"):
        load_things_eeg2(root)


def test_load_things_eeg2_refuses_other_layouts(root):
    path = root / "raw_data/sub-01/ses-01/raw_eeg_training.npy"
    content = read_npy_dictionary(path, ["sfreq"], "study")
    np.save(path, content | {"ch_types": ["eeg"] * 5})
    with pytest.raises(ValueError, match="0 'stim' channels"):
        load_things_eeg2(root)
    content["raw_eeg_data"][4, 600] = 5
    np.save(path, content)
    with pytest.raises(ValueError, match="image number 5, but image_metadata.npy has 1 to 4"):
        load_things_eeg2(root)


class Dangerous:
    """An object whose pickle runs a function."""

    def __reduce__(self):
        return print, ("this must not run",)


def test_read_npy_array_dictionary_refuses_objects(tmp_path, capsys):
    path = tmp_path / "file.npy"
    np.save(path, {"a": Dangerous()})
    with pytest.raises(ValueError, match=r"builtins\.print, which is not read because it could run code"):
        read_npy_dictionary(path, ["a"], "study")
    assert not capsys.readouterr().out
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"could run code|not a complete npy file"):
        read_npy_dictionary(path, ["a"], "study")
    np.save(path, np.zeros(3))
    with pytest.raises(ValueError, match="must hold a dictionary with"):
        read_npy_dictionary(path, ["a"], "study")


class Pretending:
    """An object that NumPy writes as a callable of numbers and arrays."""

    def __init__(self, *parts):
        self.parts = parts

    def __reduce__(self):
        return self.parts


HIDDEN = (4, "|", None, ("a",), {"a": ("O8", 0)}, 8, 1, 0)  # flags that deny the objects


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Pretending(np.dtype, ("V8", False, True), HIDDEN), "type of numbers 'V8'"),
        (Pretending(np.dtype, ("i8", False, True), HIDDEN), "type of numbers with fields"),
        (Pretending(np.ndarray, ((1,), "O", bytes(8))), "not callable"),
        (Pretending(np.zeros(1).__reduce__()[0], (np.ndarray, (10**9,), b"b")), "one without a state"),
    ],
)
def test_read_npy_array_dictionary_refuses_memory(value, message, tmp_path):
    """Bytes of a file never become addresses of objects."""
    path = tmp_path / "file.npy"
    np.save(path, {"a": value})
    with pytest.raises(ValueError, match=message):
        read_npy_dictionary(path, ["a"], "study")


def test_read_npy_array_dictionary_reads_plain_data(tmp_path):
    path = tmp_path / "file.npy"
    content = {
        "a": np.arange(6.0).reshape(2, 3, order="F"),
        "b": ["x", "y"],
        "c": np.float32(2.5),
        "d": np.array(["u", "v"]),
    }
    for protocol in (2, 3, 4, 5):
        with path.open("wb") as file:
            header = {"descr": "|O", "fortran_order": False, "shape": ()}
            np.lib.format.write_array_header_1_0(file, header)
            pickle.dump(np.array(content, dtype=object), file, protocol=protocol)
        found = read_npy_dictionary(path, content, "study")
        np.testing.assert_array_equal(found["a"], content["a"])
        assert (found["b"], found["c"], found["d"].tolist()) == (["x", "y"], 2.5, ["u", "v"])


def test_fetch_things_eeg2_unpacks_subjects(root, tmp_path, monkeypatch):
    """Archives of the requested subjects and the metadata are downloaded."""
    listed = {
        "crxs4": [DownloadFile(f"sub-{n}.zip", "url", 1, None) for n in ("01", "02")],
        "y63gw": [
            DownloadFile(name, "url", 1, None) for name in ("image_metadata.npy", "training_images.zip")
        ],
    }
    monkeypatch.setattr(_load, "_list_files", lambda node, manual: listed[node])

    def save(files, target, progress):
        target.mkdir()
        for file in files:
            if file.path.endswith(".zip"):
                with zipfile.ZipFile(target / file.path, "w") as archive:
                    for path in (root / "raw_data/sub-01").rglob("*.npy"):
                        archive.write(path, f"sub-02/{path.parent.name}/{path.name}")
            else:
                np.save(target / file.path, METADATA)
        return target

    monkeypatch.setattr(_load, "download", save)
    target = fetch_things_eeg2(tmp_path / "fetched", "02")
    assert not (target / "training_images.zip").exists()
    assert load_things_eeg2(target)["subject"].unique().tolist() == ["02"]
    with pytest.raises(ValueError, match="07"):
        fetch_things_eeg2(tmp_path / "fetched", "07")
    with pytest.raises(ValueError, match="'edition' must be one of"):
        fetch_things_eeg2(tmp_path / "fetched", edition="epochs")
