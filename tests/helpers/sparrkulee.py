"""Folders of SparrKULee in the published layout."""

import gzip
import io

import numpy as np

SFREQ = 64
NAME = "sub-{}_ses-{}_task-listeningActive_run-{}_desc-preproc-audio-{}_eeg.npy"


def make_envelope(name, seconds=20.0):
    """Make an envelope that depends on the name of the stimulus."""
    rng = np.random.default_rng(sum(map(ord, name)))
    return np.abs(rng.standard_normal((round(seconds * SFREQ), 1))).astype(np.float32)


def write_stimulus(root, name, separator="_", seconds=20.0):
    """Write envelope and mel spectrum of a stimulus."""
    folder = root / "derivatives/preprocessed_stimuli"
    folder.mkdir(parents=True, exist_ok=True)
    envelope = make_envelope(name, seconds)
    np.save(folder / f"{name}{separator}envelope.npy", envelope)
    np.save(folder / f"{name}{separator}mel.npy", np.repeat(envelope, 10, axis=1))


def write_eeg(root, subject, run, name, session="shortstories01", seconds=20.0):
    """Write preprocessed EEG that follows the envelope of its stimulus."""
    folder = root / f"derivatives/preprocessed_eeg/sub-{subject}/ses-{session}"
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(int(subject)).standard_normal((round(seconds * SFREQ), 64))
    np.save(folder / NAME.format(subject, session, run, name), noise + make_envelope(name, seconds))


def write_split(root, subject, name, seconds=20.0, gain=1.0):
    """Write the parts of a recording as the challenges do."""
    folder = root / "derivatives/split_data"
    folder.mkdir(parents=True, exist_ok=True)
    envelope = make_envelope(name, seconds)
    edges = np.round(np.array([0, 0.8, 0.9, 1]) * len(envelope)).astype(int)
    for part, start, stop in zip(("train", "val", "test"), edges[:-1], edges[1:], strict=True):
        stem = folder / f"{part}_-_sub-{subject}_-_{name}_-_"
        np.save(f"{stem}envelope.npy", gain * envelope[start:stop] - 1)
        np.save(f"{stem}eeg.npy", np.random.default_rng(0).standard_normal((stop - start, 64)))


def write_audio(root, name, seconds=2.0, rate=8000):
    """Write the audio of a stimulus as a compressed archive."""
    folder = root / "stimuli/eeg"
    folder.mkdir(parents=True, exist_ok=True)
    audio = 0.1 * np.random.default_rng(0).standard_normal(round(seconds * rate))
    buffer = io.BytesIO()
    np.savez(buffer, audio=audio, fs=rate)
    (folder / f"{name}.npz.gz").write_bytes(gzip.compress(buffer.getvalue(), mtime=0))
    return audio
