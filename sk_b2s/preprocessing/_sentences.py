"""Anchors of windows at sentences, and their lengths."""

from __future__ import annotations

import warnings
from numbers import Real

import numpy as np

from sk_b2s.events._stimuli import digest_stimuli

ROUNDING = 1e-6  # s
STEP = 0.5  # s, of the ends of windows with tmax=None
SAME_ONSET = 0.1  # s by which tables may differ in the onset of a sentence


def make_sentence_anchors(events, tmin, tmax):
    """Make an anchor at the first word of each sentence.

    A sentence is a run of words of a recording with one ``sequence`` and
    increasing ``word_index``.

    Parameters
    ----------
    events : DataFrame
        A checked events table.
    tmin : float
        Start of the window relative to the sentence in seconds.
    tmax : float, None or sequence of float
        End of the window. If not a number, ``duration`` and
        ``padded_duration`` are set to that of the latest end within the
        sentence, and the longest. Shorter sentences are left out with a
        warning.

    Returns
    -------
    anchors : DataFrame
        Rows of the first words.
    """
    words = events[(events["type"] == "word") & events["sequence"].notna()]
    words = words.sort_values(["recording", "stream", "onset"], kind="stable")
    names = words[["recording", "stream", "sequence"]]
    same = (names == names.shift()).all(axis=1) & ~(words["word_index"].diff() <= 0)
    run = (~same).cumsum().to_numpy()
    anchors = words[~same.to_numpy()].copy()
    if isinstance(tmax, Real) or anchors.empty:
        return anchors
    stop = (words["sound_onset"] + words["duration"].fillna(0.0)).groupby(run).max().to_numpy()
    length = anchors.assign(
        digest=digest_stimuli(anchors["sound"]), length=stop - anchors["sound_onset"],
        place=(anchors["sound_onset"] / SAME_ONSET).round(),
    )  # fmt: skip
    length = length.groupby(["digest", "sequence", "place"])["length"].transform("min")  # of all recordings
    ends = np.arange(STEP, length.max() + STEP, STEP) if tmax is None else np.sort(np.asarray(tmax, float))
    last = np.searchsorted(ends, length.to_numpy() + ROUNDING, side="right") - 1
    anchors["duration"] = (ends[np.maximum(last, 0)] - tmin).round(6)
    if (is_short := last < 0).any():
        warnings.warn(
            f"make_segments left out {is_short.sum()} of {len(anchors)} sentences that are shorter than {ends[0]:g} s.",
            stacklevel=3,
        )
    anchors = anchors[~is_short].copy()
    longest = anchors["duration"].max() if tmax is None else ends[-1] - tmin
    return anchors.assign(padded_duration=np.round(longest, 6))
