"""Folders of Le Petit Prince in the layout of OpenNeuro ds007523."""

import json
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from helpers.raw_files import simulate_channels, spoken_words, write_speech, write_textgrid

CHAPTERS = {"01": "1-3", "02": "4-6"}
SECONDS, START, SFREQ = 40, 3.0, 500  # of the audio, s before it, Hz
FIRST = 10_000  # samples between the start of acquisition and the recording


def write_text(root, run, tiers=("words", "phones")):
    """Write audio, text and phonemes of a run; returns the words."""
    folder, name = root / "sourcedata", f"ch{CHAPTERS[run]}"
    write_speech(folder / f"stimuli/audio/{name}.wav", SECONDS, int(run))
    words = spoken_words(SECONDS, int(run))
    write_textgrid(folder / f"stimuli/phonemes/{name}.TextGrid", words, float(SECONDS), tiers)
    table = pd.DataFrame(words, columns=["onset", "duration", "word"])
    table["sequence_id"] = np.arange(len(words)) // 6
    empty = pd.DataFrame([{"onset": 0.1, "duration": 0.1, "word": " ", "sequence_id": 0}])
    pd.concat([empty, table]).to_csv(folder / f"task-listen_run-{run}_extra_info.tsv")
    return words


def write_run(root, subject, run, words, deviation=0.0, lost=(), clock="acquisition", recording=True):
    """Write table, sidecar and FIF of a run, with triggers.

    ``deviation`` are seconds by which triggers are later than in the table,
    ``lost`` are words without a trigger.
    """
    stem = root / f"sub-{subject}/ses-01/meg/sub-{subject}_ses-01_task-listen_run-{run}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    times = START + np.array([onset for onset, *_ in words])
    zero = FIRST / SFREQ if clock == "acquisition" else 0.0
    table = pd.DataFrame(words, columns=["onset", "duration", "stimulus"]).assign(trial_type="Word")
    table["onset"] = np.round(times + zero - deviation, 3)
    others = [{"onset": zero, "duration": 1.0, "trial_type": "BAD_ACQ_SKIP", "stimulus": "n/a"},
              {"onset": zero + 3.1, "duration": 0.1, "trial_type": "Word", "stimulus": " "}]  # fmt: skip
    table = pd.concat([pd.DataFrame(others), table])
    table[["onset", "duration", "trial_type", "stimulus"]].to_csv(f"{stem}_events.tsv", sep="\t", index=False)
    seconds = SECONDS + 2 * START
    Path(f"{stem}_meg.json").write_text(json.dumps({"RecordingDuration": seconds}))
    if not recording:
        return
    sound = root / f"sourcedata/stimuli/audio/ch{CHAPTERS[run]}.wav"
    brain = simulate_channels([(sound, START)], seconds, SFREQ, 12, seed=int(subject))
    triggers = np.zeros((1, brain.shape[1]))
    for place, time in enumerate(times):
        if place not in lost:
            triggers[0, round((time - 0.05) * SFREQ) : round(time * SFREQ)] = 5
    names = [f"MEG {number:03d}" for number in range(12)]
    info = mne.create_info([*names, "STI008"], SFREQ, ["mag"] * 12 + ["stim"])
    with info._unlock():
        info["maxshield"] = True
    raw = mne.io.RawArray(np.vstack([1e-12 * brain, triggers]), info, first_samp=FIRST, verbose="ERROR")
    raw.save(f"{stem}_meg.fif", verbose="ERROR")
