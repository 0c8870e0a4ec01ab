"""Verdicts of ``check_alignment`` for recordings with known truth.

``python benchmarks/bench_alignment.py`` prints the table of this folder's
README. Subjects are simulated at the levels of real ones (MEG -18 dB, EEG -22
dB) with all usual artifacts, and tested in parts of five minutes and as whole
recordings.
"""

import argparse
import time
from tempfile import TemporaryDirectory

import joblib
import numpy as np
import pandas as pd
from _machine import machine, markdown
from threadpoolctl import threadpool_limits

from sk_b2s import check_alignment
from sk_b2s.datasets import make_listening

SHIFT = 0.3  # s
RECORDED = {
    "response": {},
    "no response": {"snr_db": -np.inf},
    "no response, earphones leak": {"snr_db": -np.inf, "earphones": True},
    "response, earphones leak": {"earphones": True},
}
TABLES = {
    "aligned": lambda sounds: sounds,
    "0.3 s early": lambda sounds: sounds.assign(onset=sounds["onset"] - SHIFT),
    "0.3 s late": lambda sounds: sounds.assign(onset=sounds["onset"] + SHIFT),
    "sounds swapped": lambda sounds: swapped(sounds),
    "one sound 0.4 s early": lambda sounds: sounds.assign(
        onset=sounds["onset"] - 0.4 * (place_of(sounds) == 1)
    ),
    "two sounds exchanged": lambda sounds: exchanged(sounds),
}
TRUTH = {"0.3 s early": SHIFT, "0.3 s late": -SHIFT}
NOTES = ("isolated peak", "before the stimulus", "from the others|no response to")
USUAL = ["blinks", "jumps", "bursts", "shift", "gain", "attention", "line", "drift", "clock", "jitter"]


def swapped(sounds):
    """Replace each stimulus with the next of its voice."""
    names = sounds.groupby("sound")["duration"].max()
    other = dict(zip(names.index, np.roll(names.index, 1), strict=True))
    heard = sounds["sound"].map(other)
    length = np.minimum(sounds["duration"], heard.map(names))
    return sounds.assign(sound=heard, duration=length)


def place_of(sounds):
    """Number the stimuli of each recording from 0."""
    return sounds.groupby("recording")["onset"].rank().astype(int) - 1


def exchanged(sounds):
    """Exchange the second and the third stimulus of each recording."""
    sounds, place = sounds.copy(), place_of(sounds)
    for _, rows in sounds.groupby("recording"):
        two = [rows.index[place[rows.index] == at][0] for at in (1, 2)]
        sounds.loc[two, "sound"] = sounds.loc[two[::-1], "sound"].to_numpy()
        sounds.loc[two, "duration"] = sounds.loc[two, "duration"].min()
    return sounds


def look(modality, recorded, seed, options):
    """Check each table of one set of recordings."""
    how = RECORDED[recorded]
    artifacts = USUAL + ["earphones"] * how.get("earphones", False)
    with TemporaryDirectory() as root:
        events = make_listening(
            options.subjects, options.minutes, modality=modality, artifacts=artifacts, n_channels=64, sfreq=64,
            snr_db=how.get("snr_db"), random_state=seed, root=root,
        )  # fmt: skip
        sounds = events[events["type"] == "sound"]
        names = options.tables if recorded == "response" else ["aligned"]
        tables = {name: TABLES[name] for name in names}
        memory = f"{root}/memory"
        return {name: check_alignment(change(sounds), memory=memory) for name, change in tables.items()}


def summary(found, truth):
    """Count verdicts and notes of parts and of whole recordings."""
    for name, rows in (("parts", found[found["part"] > 0]), ("whole", found[found["part"] == 0])):
        kind = rows["verdict"]
        named = rows["offset"].dropna()
        error = np.abs(named - truth)
        yield [
            name, len(rows), *(int((kind == k).sum()) for k in ("aligned", "off", "cannot_tell")),
            f"{named.median():+.2f}" if len(named) else "", int((error > 0.1).sum()),
            *(int(rows["note"].str.contains(note).sum()) for note in NOTES),
        ]  # fmt: skip


def marks(options):
    """Count marks at 0 s without and with earphones, and shifted stories."""
    for modality, n_channels in (("meg", 32), ("eeg", 32), ("meg", 208)):
        for snr_db in (-6, -12, -18):
            row = [f"{modality} {n_channels}", snr_db]
            for artifacts in (False, ["earphones"]):
                events = make_listening(
                    12, 4, modality=modality, n_channels=n_channels, snr_db=snr_db, artifacts=artifacts,
                    random_state=options.seeds[0],
                )  # fmt: skip
                sounds = events[events["type"] == "sound"]
                late = 0.2 * sounds["sound"].str.contains("alice-02")
                for change in (0.0, late):
                    found = check_alignment(sounds.assign(onset=sounds["onset"] + change))
                    note = found.loc[found["part"] == 0, "note"]
                    row += [int(note.str.contains("from the others" if change is late else "isolated").sum())]
            yield row


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--modalities", nargs="+", default=["meg", "eeg"])
    parser.add_argument("--recorded", nargs="+", default=list(RECORDED), choices=list(RECORDED))
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--marks", action="store_true", help="count marks at 0 s instead")
    parser.add_argument("--keep", help="also save all results in this file, as a pickle")
    options = parser.parse_args()
    began = time.perf_counter()
    print(machine(), flush=True)
    if options.marks:
        names = ["sensors", "snr, dB", "accused", "moved", "earphones accused", "earphones moved"]
        print(markdown(names, list(marks(options))))
        return
    rows, kept = [], {}
    with threadpool_limits(1):
        for modality in options.modalities:
            for recorded in options.recorded:
                looks = [look(modality, recorded, seed, options) for seed in options.seeds]
                for table in looks[0]:
                    found = pd.concat([one[table] for one in looks], ignore_index=True)
                    kept[modality, recorded, table] = found
                    rows += [
                        [modality, recorded, table, *row] for row in summary(found, TRUTH.get(table, 0.0))
                    ]
                    print(rows[-2:], flush=True)
    if options.keep:
        joblib.dump(kept, options.keep)
    columns = ["modality", "recorded", "table", "of", "n", "aligned", "off", "cannot tell", "median offset, s",
               "> 0.1 s from the truth", "peak at 0 named", "power before named", "sounds named"]  # fmt: skip
    print(markdown(columns, rows))
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
