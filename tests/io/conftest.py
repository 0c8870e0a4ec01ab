"""Fixtures of the tests of readers."""

import mne
import pytest
import soundfile
from helpers.bids_folders import Folder
from helpers.sync_recordings import make_syllables

SFREQ = 250.0


@pytest.fixture
def folder(tmp_path):
    """A BIDS folder with one recording."""
    return Folder(tmp_path / "small")


@pytest.fixture(scope="session")
def wavs(tmp_path_factory):
    """Two audio files of a minute."""
    folder = tmp_path_factory.mktemp("wavs")
    paths = [folder / f"{name}.wav" for name in "ab"]
    for seed, path in enumerate(paths):
        soundfile.write(path, make_syllables(seed=seed), 4000, subtype="FLOAT")
    return [str(path) for path in paths]


@pytest.fixture
def save(tmp_path):
    """Write a FIF file: (data, names, types, ...) -> path."""

    def write(
        data, names=None, types="eeg", sfreq=SFREQ, name="x_raw.fif", montage=None, bads=(), first_samp=0
    ):
        names = [f"E{i}" for i in range(len(data))] if names is None else names
        raw = mne.io.RawArray(
            data, mne.create_info(names, sfreq, types), first_samp=first_samp, verbose="ERROR"
        )
        if montage is not None:
            raw.set_montage(montage)
        raw.info["bads"] = list(bads)
        raw.save(tmp_path / name, overwrite=True, verbose="ERROR", fmt="double")
        return tmp_path / name

    return write
