"""Recordings of a table that hold the same samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._caching import digest_cached_content
from sk_b2s._utils._validation import get_validated_recordings
from sk_b2s.io._raw._recordings import read_recording_duration_and_bads, read_recording_excerpt

OTHERS = "the recording of another subject,"  # text of copies that are a leak
ALIKE = 0.999  # correlation of samples above which recordings are copies


class LeakageCopies:
    """Recordings with the same content under several paths."""

    def __init__(self, brain):
        self.path = brain["recording"].astype(str).reset_index(drop=True)
        self.name = pd.Series("", index=self.path.index)
        if "subject" in brain:
            self.name = "subject " + brain["subject"].astype(str).reset_index(drop=True)
        content = find_leakage_recording_copies(self.path.unique())
        labels = zip(self.path, get_validated_recordings(brain), strict=True)
        self.same = np.array([content.get(path, label) for path, label in labels], object)
        several = self.path.groupby(self.same).transform("nunique").to_numpy() > 1
        shared = self.name.groupby(self.same).transform("nunique").to_numpy() > 1
        self.rows = np.flatnonzero(several | shared)

    def between(self, train, test):
        """Return a text on copies in both training and test, or ""."""
        rows = self.rows[train[self.rows] | test[self.rows]]
        table = pd.DataFrame({"path": self.path[rows], "name": self.name[rows], "same": self.same[rows]})
        found = []
        for _, copies in table.assign(train=train[rows], test=test[rows]).groupby("same", sort=False):
            sides = [
                copies.loc[copies[side], ["path", "name"]].drop_duplicates() for side in ("train", "test")
            ]
            pairs = sides[0].merge(sides[1], how="cross").query("path_x != path_y or name_x != name_y")
            if len(pairs):
                found.append(
                    _format_recording_copy(**pairs.iloc[pairs["name_x"].eq(pairs["name_y"]).argmin()])
                )
        if len(found) > 3:
            found = [*found[:3], f"and {len(found) - 3} more"]
        return ", ".join(found)


def _format_recording_copy(path_x, name_x, path_y, name_y):
    """Return a text on a recording of training and its copy in the test."""
    if name_x == name_y:
        return f"{path_x!r} of training is the same recording as {path_y!r}"
    return f"{path_x!r} of {name_x} in training is {OTHERS} {path_y!r} of {name_y}"


def find_leakage_recording_copies(paths):
    """Find copies of recordings: dict of path to the first copy."""
    lengths = pd.Series({path: _measure_recording_for_copies(path) for path in paths}, dtype=float).dropna()
    first = {path: path for path in lengths.index}
    for _, alike in lengths.groupby(lengths):
        looks = [(path, _sample_recording_for_copies(path)) for path in alike.index] if len(alike) > 1 else []
        for index, (path, look) in enumerate(looks):
            same = (
                other
                for other, seen in looks[:index]
                if seen.shape == look.shape and seen @ look > ALIKE * look @ look
            )
            if look.any():
                first[path] = next(same, path)
    return first


def _measure_recording_for_copies(path):
    """Return the duration of a recording, or minus its bytes if unreadable."""
    try:
        return read_recording_duration_and_bads(path)[0]
    except (ValueError, OSError):
        return -float(Path(path).stat().st_size) if Path(path).is_file() else None


def _sample_recording_for_copies(path):
    """Return samples of a recording, or the digest of an unreadable file."""
    try:
        return read_recording_excerpt(path)
    except (ValueError, OSError):
        return np.eye(256)[list(bytes.fromhex(digest_cached_content(path)))].ravel()


def find_leakage_copy_columns(code, mask):
    """Return which labels have rows in a mask. Missing labels are -1."""
    present = np.zeros(code.max() + 1, bool)
    present[code[mask & (code >= 0)]] = True
    return present
