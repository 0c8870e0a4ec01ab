"""Real tables where they are at hand, and small recordings with a planted response elsewhere."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile


def shared_data():
    """Folder of the development data, None where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SK_B2S_TEST_DATA", beside))
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def data_folder():
    """The development data, or a skip that says how to point at it."""
    folder = shared_data()
    if folder is None:
        pytest.skip("the development data is absent; set SK_B2S_TEST_DATA to its folder")
    return folder


def write_noise(path, seconds, rate=1000):
    """Write noise of its own as a wav file that stands for a sound not at hand."""
    rng = np.random.default_rng(abs(hash(Path(path).name)) % 2**32)
    soundfile.write(path, 0.1 * rng.standard_normal(int(np.ceil(seconds * rate))), rate)


@pytest.fixture(scope="session")
def masc_events(data_folder, tmp_path_factory):
    """The MEG-MASC events of sub-04 (all four stories) as an events table, with stand-in wavs."""
    root = tmp_path_factory.mktemp("masc")
    tables = []
    for task in range(4):
        path = data_folder / f"meg_masc/sub-04/ses-0/meg/sub-04_ses-0_task-{task}_events.tsv.gz"
        table = pd.read_csv(path, sep="\t", encoding="utf-8-sig", keep_default_na=False, na_values=["n/a"])
        table["recording"] = f"sub-04_ses-0_task-{task}_meg.con"
        table["sequence"] = f"{task}/" + table["sequence_id"].astype(str)
        table["recording_duration"] = table["onset"].max() + 10
        tables.append(table)
    events = pd.concat(tables, ignore_index=True)
    events["type"] = events["kind"]
    events["text"] = events["word"].where(events["kind"] == "word", events["phoneme"])
    events["sound_onset"] = events["start"].fillna(0.0)
    name = events["sound"].str.extract(r"([^/]+_\d+)(?:\.0)?\.wav$")[0].str.lower()
    ends = (events["sound_onset"] + events["duration"]).groupby(name).max()
    for sound, seconds in ends.items():
        write_noise(root / f"{sound}.wav", seconds + 0.5)
    events["sound"] = [str(root / f"{n}.wav") for n in name]
    return events.assign(subject="04", session="0", study="gwilliams2022").drop(columns="word")


@pytest.fixture(scope="session")
def brennan_events(data_folder, tmp_path_factory):
    """The Brennan words joined to the samples of S01, as an events table with stand-in wavs."""
    from scipy.io import loadmat

    root = tmp_path_factory.mktemp("brennan")
    words = pd.read_csv(data_folder / "brennan2019/AliceChapterOne-EEG.csv")
    proc = loadmat(data_folder / "brennan2019/proc/S01.mat", squeeze_me=True, simplify_cells=True)["proc"]
    onset = (np.asarray(proc["trl"])[:, 0] - 1 + 150) / 500  # a trial begins 150 samples before its word
    length = (words["offset"]).groupby(words["Segment"]).max()
    for segment, seconds in length.items():
        write_noise(root / f"{segment}.wav", seconds)
    table = pd.DataFrame({
        "type": "word", "onset": onset, "duration": words["offset"] - words["onset"],
        "sound": [str(root / f"{s}.wav") for s in words["Segment"]], "sound_onset": words["onset"],
        "text": words["Word"], "sequence": words["Sentence"].map("alice/{}".format),
        "word_index": words["Position"],
    })  # fmt: skip
    sounds = table.groupby("sound", sort=False).first().reset_index()
    sounds = sounds.assign(
        type="sound", onset=sounds["onset"] - sounds["sound_onset"], sound_onset=0.0, duration=0.0
    )
    events = pd.concat([sounds.drop(columns=["text", "sequence", "word_index"]), table], ignore_index=True)
    return events.assign(subject="S01", recording="S01.mat", recording_duration=onset.max() + 10)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Workers of joblib's have one thread; equal scores need equal threads, and tiny nets like one."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def listening(tmp_path_factory):
    """Two people who hear two minutes, with a response far above the noise: X and y."""
    from sk_b2s import make_segments
    from sk_b2s.datasets import make_listening

    events = make_listening(
        2,
        2,
        modality="eeg",
        n_channels=16,
        snr_db=0,
        artefacts=False,
        sfreq=64,
        root=tmp_path_factory.mktemp("listening"),
    )
    return make_segments(events, anchor=1.0, tmin=0, tmax=3, block=8)


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory):
    """Make a small pipeline; keywords are parameters of the encoder, ``steps`` of the others."""
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
