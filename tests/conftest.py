"""Fixtures: tables of real studies, and small simulated recordings.

Heavy packages are imported in fixtures, because the process that distributes
the tests loads this file and needs none of them.
"""

import gc
import hashlib
import os
from pathlib import Path

import pytest


def pytest_configure(config):
    """Raise on a warning whose class is not imported by the distributor."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        config.addinivalue_line("filterwarnings", "error::sklearn.exceptions.DataConversionWarning")
    gc.set_threshold(10_000, 10, 5)


def pytest_collection_finish(session):
    """Exclude modules and collected tests from garbage collection.

    They stay alive until the end, and are millions of objects.
    """
    gc.collect()
    gc.freeze()


def shared_data():
    """Folder of the development data, None where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SK_B2S_TEST_DATA", beside))
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def data_folder():
    """Return the folder of development data, or skip the test."""
    folder = shared_data()
    if folder is None:
        pytest.skip("the development data is absent; set SK_B2S_TEST_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def masc_root(data_folder, tmp_path_factory):
    """MEG-MASC with real tables of sub-04 (four stories) and sub-12 (two)."""
    from helpers.studies import masc_folder

    return masc_folder(data_folder, tmp_path_factory.mktemp("masc"), ("04", "12"))


@pytest.fixture(scope="session")
def masc_events(masc_root):
    """The MEG-MASC events of sub-04, as the loader reads them."""
    from sk_b2s.datasets import load_gwilliams2022

    return load_gwilliams2022(masc_root, subjects="04", need_recordings=False)


@pytest.fixture(scope="session")
def brennan_root(data_folder, tmp_path_factory):
    """The study of Brennan & Hale with real words and trials."""
    from helpers.studies import brennan_folder

    return brennan_folder(data_folder, tmp_path_factory.mktemp("brennan"))


@pytest.fixture(scope="session")
def brennan_events(brennan_root):
    """The events of S01 of Brennan & Hale, as the loader reads them."""
    from sk_b2s.datasets import load_brennan2019

    return load_brennan2019(brennan_root, subjects="S01", need_recordings=False)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Use one thread, as joblib workers do, for equal scores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def forgotten_features():
    """Forget the features that a process keeps, which other tests computed."""
    from sk_b2s._utils._caching import _RESULTS

    _RESULTS.clear()


@pytest.fixture(scope="session", autouse=True)
def shared_source_features():
    """Compute the features of equal speech once for all simulations."""
    from sk_b2s.datasets.simulated import _experiment

    compute, known = _experiment.compute_source_features, {}

    def compute_once(path, stop, spoken=None):
        key = str(path), stop, None if spoken is None else len(spoken)
        if key not in known:
            known[key] = compute(path, stop, spoken)
            for values in known[key].values():
                values.flags.writeable = False
        return dict(known[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_experiment, "compute_source_features", compute_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def shared_audio():
    """Decode equal compressed audio files once, a tenth of a second each."""
    from sk_b2s.events._audio import _track_files

    read, known = _track_files.read_tracks_of_file, {}

    def read_once(path, info, start=0.0, stop=None):
        if Path(path).suffix != ".ogg":
            return read(path, info, start, stop)
        key = hashlib.sha256(Path(path).read_bytes()).digest(), info.rate, info.n_frames, start, stop
        if key not in known:
            known[key] = read(path, info, start, stop)
            while len(known) > 24:
                del known[next(iter(known))]
        return known[key].copy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_track_files, "read_tracks_of_file", read_once)
        yield


@pytest.fixture(scope="session")
def listening_events(tmp_path_factory):
    """Events of two subjects and two minutes, with a strong response."""
    from sk_b2s.datasets import make_listening

    return make_listening(
        2, 2, modality="eeg", n_channels=16, snr_db=0, artifacts=False, sfreq=64,
        root=tmp_path_factory.mktemp("listening"),
    )  # fmt: skip


@pytest.fixture(scope="session")
def listening(listening_events):
    """X and y of two subjects and two minutes, with a strong response."""
    from sk_b2s import make_segments

    return make_segments(listening_events, anchor=1.0, tmin=0, tmax=3, block=8)


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory):
    """Make a small pipeline with parameters of encoder and ``steps``."""
    from sklearn.pipeline import Pipeline, make_pipeline

    from sk_b2s import BrainEncoder, Epocher, FeatureScaler, MelSpectrogram, RobustChannelScaler

    memory = str(tmp_path_factory.mktemp("cache"))

    def make(**changes):
        parameters = {
            "hidden": 16, "depth": 2, "n_virtual_channels": 16, "lr": 3e-3, "batch_size": 64, "max_epochs": 2,
            "validation": None, "k": 5, "precision": "float32", "random_state": 0, "verbose": 0, **changes,
        }  # fmt: skip
        speech = make_pipeline(MelSpectrogram(n_mels=8, sfreq=32, memory=memory), FeatureScaler())
        return Pipeline([
            ("epochs", Epocher(sfreq=32, memory=memory)),
            ("scale", RobustChannelScaler()),
            ("encoder", BrainEncoder(speech=speech, **parameters)),
        ])  # fmt: skip

    return make
