"""Counts of the studies of the paper as their loaders read them.

The tables of the real studies are needed: ``--data`` is a folder with
``meg_masc``, ``brennan2019``, ``broderick_bids`` and ``formats``. Recordings
and audio files are not needed. The audio is noise of the right duration, and a
study marked "layout" has words of another text.

    python benchmarks/bench_studies.py --data ../shared/data
    python benchmarks/bench_studies.py --data ../shared/data --whole
"""

import argparse
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from _machine import machine, markdown, peak_mib, reset_peak

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers.studies import (
    brennan_folder,
    broderick_folder,
    count_as_published,
    masc_folder,
    write_mous_stimuli,
    write_mous_subject,
)

from sk_b2s import HashedBlockSplit, PaperBlocks, check_events, make_segments
from sk_b2s.datasets import load_brennan2019, load_broderick2019, load_gwilliams2022, load_schoffelen2019

ONCE = ("03", "12", "16", "20", "21")  # has one session
MASC, ALICE = "gwilliams2022", "brennan2019, published"
AUTHORS, OLD_MAN, MOUS = "brennan2019, authors", "broderick2019 (layout)", "schoffelen2019 (layout)"
PUBLISHED = {
    MASC: {
        "recordings": 196, "people": 27, "hours to the last event": "57.3 recorded", "rows sound": 1470,
        "rows word": 419489, "rows phoneme": 1507289, "blocks": 365, "blocks train": 238, "blocks valid": 49,
        "blocks test": 78, "segments test": 1428,
    },
    ALICE: {
        "recordings": 33, "people": 33, "hours to the last event": 6.7, "rows word": 70257, "blocks": 58,
        "blocks train": 44, "blocks valid": 8, "blocks test": 6, "segments test, their windows": 190,
        "segments train, their windows": 1211, "words test, their windows": 148, "words train, their windows": 513,
    },
    AUTHORS: {"recordings": 33, "people": 33},
    OLD_MAN: {"recordings": 380, "people": 19},
    MOUS: {},
}  # fmt: skip


def describe(name, events, min_duration=6.0, as_published=False):
    """Count rows, subjects, hours, segments and blocks of one study."""
    checked = check_events(events)
    types = checked["type"].value_counts()
    end = (checked["onset"] + checked["duration"]).groupby(checked["recording"]).max()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        X, y = make_segments(checked, margin=0.15, block=PaperBlocks(min_duration))
        grid_X, grid = make_segments(checked, anchor=0.5, margin=0.15, block=PaperBlocks(min_duration))
    both = pd.concat([y, grid], ignore_index=True)
    part = HashedBlockSplit().assign(both)
    texts = pd.Series(both["block_text"].unique())
    blocks = pd.Series(HashedBlockSplit().assign(None, groups=texts)).value_counts()
    found = {
        "recordings": checked["recording"].nunique(), "people": checked["subject"].nunique(),
        "hours to the last event": round(end.sum() / 3600, 1),
        **{f"rows {kind}": int(types[kind]) for kind in ("sound", "word", "phoneme") if kind in types},
        "windows at words": len(X), "windows of the grid": len(grid_X), "blocks": len(texts),
        **{f"blocks {kind}": int(blocks.get(kind, 0)) for kind in ("train", "valid", "test")},
        **{f"segments {kind}": both["segment"][part == kind].nunique() for kind in ("train", "valid", "test")},
    }  # fmt: skip
    if as_published:
        theirs = count_as_published(checked, min_duration)
        found |= {f"{' '.join(what.split()[::-1])}, their windows": count for what, count in theirs.items()}
    return {name: found}


def table(described):
    """Make a table with one row per count and one column per study."""
    names = list(dict.fromkeys(key for found in described.values() for key in found))
    rows = []
    for key in names:
        cells = []
        for study, found in described.items():
            known = PUBLISHED[study].get(key)
            cells.append(f"{found.get(key, '')}" + (f" ({known})" if known is not None else ""))
        rows.append([key, *cells])
    return markdown(["", *described], rows)


def whole_masc(data, root):
    """Make the 196 recordings of MEG-MASC from the tables of sub-04."""
    masc_folder(data, root, ("04",))
    source = root / "sub-04/ses-0/meg"
    for number in range(1, 28):
        subject = f"{number:02d}"
        for session in "0" if subject in ONCE else "01":
            folder = root / f"sub-{subject}/ses-{session}/meg"
            folder.mkdir(parents=True, exist_ok=True)
            for path in source.iterdir():
                name = path.name.replace("sub-04_ses-0", f"sub-{subject}_ses-{session}")
                if not (folder / name).exists():
                    shutil.copy(path, folder / name)
    return root


def describe_mous(data, root, people=4, n_sounds=120):
    """Count a simulated MOUS folder with logs and missing triggers."""
    write_mous_stimuli(root, n_sounds)
    for person in range(people):
        lose = np.random.default_rng(person).choice(4 * n_sounds // 3, 6, replace=False)
        write_mous_subject(data, root, n_sounds, f"A20{person + 2:02d}", lose, seed=person)
    events, report = load_schoffelen2019(root, return_report=True)
    described = describe(MOUS, events, min_duration=0)
    described[MOUS] |= {
        "triggers in the logs": report["n_log"].sum(), "triggers matched": report["n_matched"].sum(),
        "largest residual, ms": f"{report['largest'].max():.2f}",
        "drift, ppm (40 planted)": f"{report['drift_ppm'].min():.1f} to {report['drift_ppm'].max():.1f}",
    }  # fmt: skip
    return described


def time_whole(data):
    """Measure reading, checking and cutting all 196 recordings."""
    rows = []

    def timed(name, step):
        before, begin, used = reset_peak(), time.perf_counter(), time.process_time()
        table = step()
        seconds = (time.process_time() - used, time.perf_counter() - begin)
        rows.append((name, len(table), *(f"{one:.1f}" for one in seconds), f"{peak_mib() - before:.0f}"))
        return table

    with tempfile.TemporaryDirectory() as root:
        whole_masc(data, Path(root))
        events = timed("load_gwilliams2022", lambda: load_gwilliams2022(root, need_recordings=False))
        if (found := events["recording"].nunique()) != 196:
            raise RuntimeError(f"made {found} recordings instead of 196")
        timed("check_events", lambda: check_events(events))
        timed("make_segments", lambda: make_segments(events, margin=0.15)[0])
    return rows


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--whole", action="store_true")
    arguments = parser.parse_args()
    print(machine(), end="\n\n")
    if arguments.whole:
        print(
            markdown(
                ["step", "rows", "s of the processor", "s of the clock", "MiB more at most"],
                time_whole(arguments.data),
            )
        )
        return
    described = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        root = whole_masc(arguments.data, folder / "masc")
        described |= describe(MASC, load_gwilliams2022(root, need_recordings=False))
        root = brennan_folder(arguments.data, folder / "brennan")
        described |= describe(
            ALICE, load_brennan2019(root, "reference", need_recordings=False), as_published=True
        )
        described |= describe(AUTHORS, load_brennan2019(root, need_recordings=False), as_published=True)
        root = broderick_folder(arguments.data, folder / "broderick", 19, 20)
        described |= describe(OLD_MAN, load_broderick2019(root, need_recordings=False))
        described |= describe_mous(arguments.data, folder / "mous")
    print(table(described))


if __name__ == "__main__":
    main()
