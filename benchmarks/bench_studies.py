"""The studies as their loaders read them, beside what was published; and MEG-MASC as large as it is.

Seven of the published 190 test segments of Brennan's study reach into the next sound, where no window is laid here.
Blocks of MEG-MASC are those of its four stories together.

The tables of the real studies are needed: ``--data`` is a folder with ``meg_masc``, ``brennan2019`` and
``broderick_bids``; recordings and sounds are not. Sounds are noise of the right length.

    python benchmarks/bench_studies.py --data ../shared/data
    python benchmarks/bench_studies.py --data ../shared/data --whole   # 196 recordings: time and memory
"""

import argparse
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pandas as pd
from _machine import machine, markdown, peak_mib, reset_peak

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from studies import brennan_folder, masc_folder

from sk_b2s import HashedBlockSplit, PublishedBlocks, check_events, make_segments
from sk_b2s.datasets import load_brennan2019, load_gwilliams2022

ONCE = ("03", "12", "16", "20", "21")  # came for one session
PUBLISHED = {
    "gwilliams2022": {"blocks": 365, "train": 238, "valid": 49, "test": 78, "test segments": 1428},
    "brennan2019": {"blocks": 58, "train": 44, "valid": 8, "test": 6, "test segments": 190},
}


def describe(name, events):
    """Rows by type, people, hours, segments and split of one study."""
    checked = check_events(events)
    types = checked["type"].value_counts()
    length = checked.groupby("recording")["recording_duration"].first()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        X, y = make_segments(checked, margin=0.15, block=PublishedBlocks())
        grid_X, grid = make_segments(checked, anchor=0.5, margin=0.15, block=PublishedBlocks())
    both = pd.concat([y, grid], ignore_index=True)
    part = HashedBlockSplit().assign(both)
    texts = pd.Series(both["block_text"].unique())
    blocks = pd.Series(HashedBlockSplit().assign(None, groups=texts)).value_counts()
    found = {
        "recordings": checked["recording"].nunique(), "people": checked["subject"].nunique(),
        "hours": f"{length.sum() / 3600:.2f}", **{f"{kind} rows": int(types.get(kind, 0)) for kind in types.index},
        "windows at words": len(X), "windows of the grid": len(grid_X), "blocks": len(texts),
        **{kind: int(blocks.get(kind, 0)) for kind in ("train", "valid", "test")},
        "test segments": both["segment"][part == "test"].nunique(),
        "train segments": both["segment"][part == "train"].nunique(),
    }  # fmt: skip
    published = PUBLISHED.get(name, {})
    return [(name, key, value, published.get(key, "")) for key, value in found.items()]


def whole_masc(data, root):
    """MEG-MASC in its 196 recordings: the four tables of sub-04 for everybody."""
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


def time_whole(data):
    """Seconds and MiB to read the events of all 196 recordings, to check them and to cut them into segments."""
    rows = []

    def timed(name, step):
        before, begin = reset_peak(), time.perf_counter()
        table = step()
        seconds = time.perf_counter() - begin
        rows.append((name, len(table), f"{seconds:.1f}", f"{peak_mib() - before:.0f}"))
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
        print(markdown(["step", "rows", "s", "MiB more at most"], time_whole(arguments.data)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = masc_folder(arguments.data, Path(folder, "masc"), ("04",))
        rows += describe("gwilliams2022", load_gwilliams2022(root, need_recordings=False))
        root = brennan_folder(arguments.data, Path(folder, "brennan"))
        for subjects in ("reference", "authors"):
            name = "brennan2019" if subjects == "reference" else f"brennan2019 ({subjects})"
            rows += describe(name, load_brennan2019(root, subjects, need_recordings=False))
    print(markdown(["study", "what", "found", "published"], rows))


if __name__ == "__main__":
    main()
