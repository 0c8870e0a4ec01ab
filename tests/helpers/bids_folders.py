"""A BIDS folder to fill, with recordings of known content."""

import json
import re

import mne
import numpy as np
import soundfile

RATE = 64
HEADER = "onset\tduration\ttrial_type\tstim_file\tword\n"
EVENTS = HEADER + (
    "2.0\tn/a\tsound\tstory.wav\tn/a\n"
    "3.0\t0.5\tword\tn/a\tnull\n"
    "3.5\t0.5\tword\tn/a\tnan\n"
    "5.0\t0.5\tword\tn/a\tNone\n"
)


def write_recording(path, seconds=40.0, names=("A1", "A2", "A3"), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = 1e-5 * np.random.default_rng(seed).standard_normal((len(names), round(seconds * RATE)))
    info = mne.create_info(list(names), RATE, "eeg")
    mne.io.RawArray(data, info, verbose="ERROR").save(path, overwrite=True, verbose="ERROR")
    return path


def write_wav(path, seconds=20.0, seed=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * 1000)), 1000)
    return path


class Folder:
    """A small BIDS folder with one recording and one audio file."""

    def __init__(self, root):
        self.root = root
        root.mkdir(parents=True)
        (root / "dataset_description.json").write_text(json.dumps({"Name": "small", "BIDSVersion": "1.9.0"}))
        self.recording = self.add("sub-01/eeg/sub-01_task-story_eeg.fif")
        self.wav = write_wav(root / "stimuli/story.wav")
        self.write_table(EVENTS)

    def add(self, name, **keywords):
        return write_recording(self.root / name, **keywords)

    def write_table(self, text, recording=None, suffix="events.tsv", encoding="utf-8"):
        recording = recording or self.recording
        path = recording.with_name(re.sub(r"(eeg|meg)\.fif$", suffix, recording.name))
        path.write_text(text, encoding=encoding)
        return path


def write_word_tier(path, words):
    """Write a TextGrid of 20 s with one tier of words."""
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "0 20 <exists> 1",
        '"IntervalTier" "words" 0 20',
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, str(len(words)), *(f'{a} {b} "{text}"' for a, b, text in words)]))
