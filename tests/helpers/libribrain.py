"""Folders of LibriBrain100 in the published layout."""

import numpy as np
import pandas as pd

from helpers.hdf5_files import write_hdf5

SFREQ = 250.0
PROC = "bads+headpos+sss+notch+bp+ds"


def make_table(begin=2.0, n_sentences=4, n_words=5, jitter=0.0, silences=True, seed=0):
    """Make the table of a session: words of two phonemes, and silences."""
    rng = np.random.default_rng(seed)
    rows, now = [], begin
    for sentence in range(n_sentences):
        for word in range(n_words):
            late = jitter * rng.standard_normal()
            text = f"w{sentence}{word}"
            rows.append(("word", text, now + late, 0.3, sentence, word, ""))
            for phoneme, symbol in enumerate(("ae_B", "t_E")):
                rows.append(("phoneme", symbol, now + late + 0.15 * phoneme, 0.15, sentence, word, phoneme))
            now += 0.35
        if silences:
            rows.append(("silence", "", now, 0.4, "", "", ""))
        now += 0.4
    columns = ["kind", "segment", "timemeg", "duration", "sentenceidx", "wordidx", "phonemeidx"]
    return pd.DataFrame(rows, columns=columns)


def write_run(
    root, subject="0", session="1", task="Sherlock1", run="1", table=None, desc="", seconds=15.0, meg=True
):  # fmt: skip
    """Write the table and the recording of a run."""
    folder = root / task / "derivatives"
    stem = f"sub-{subject}_ses-{session}_task-{task}_run-{run}"
    (folder / "events").mkdir(parents=True, exist_ok=True)
    if table is not None:
        table.to_csv(folder / f"events/{stem}_events.tsv", sep="\t", index=False)
    if meg:
        rng = np.random.default_rng(int(subject))
        data = 1e-12 * rng.standard_normal((6, round(seconds * SFREQ)))
        serialised = "serialised_competition" if desc else "serialised"
        name = f"{stem}_proc-{PROC}{f'_desc-{desc}' if desc else ''}_meg.h5"
        write_hdf5(folder / serialised / name, data, SFREQ)
    return folder


def write_holdout(root, subject=0, n_channels=6, **changes):
    """Write both hold-out files of a subject: 3 sentences and 4 words."""
    folder = root / "COMPETITION_HOLDOUT"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(subject)
    lengths, n_words = np.array([600, 500, 700]), [3, 1, 2]
    onsets = np.full((3, 3), np.nan)
    for sentence, number in enumerate(n_words):
        onsets[sentence, :number] = 0.1 + 0.4 * np.arange(number)
    content = {
        "meg": rng.standard_normal((3, n_channels, 700)).astype(np.float32), "sentence_n_times": lengths,
        "sentence_sample_mask": np.arange(700) < lengths[:, None], "word_onsets_s": onsets,
        "word_mask": np.isfinite(onsets), "sfreq": 250.0, "sentence_extra_end_s": 1.0, **changes,
    }  # fmt: skip
    content = {name: value for name, value in content.items() if value is not None}
    words = {
        "meg": rng.standard_normal((4, n_channels, 250)).astype(np.float32),
        "sfreq": 250.0,
        "tmin": 0.0,
        "tmax": 1.0,
    }
    np.savez(folder / f"subj{subject:02d}_holdout01_sentence.npz", **content)
    np.savez(folder / f"subj{subject:02d}_holdout2_word.npz", **words)
    return content, words
