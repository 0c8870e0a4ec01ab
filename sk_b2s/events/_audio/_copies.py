"""Audio files of one recording (copies), and their common time line."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from sk_b2s.events._audio._checks import measure_stimulus
from sk_b2s.events._audio._files import audio_path, is_file
from sk_b2s.events._audio._fingerprints import find_matches
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.events._stimuli import (
    StimulusArray,
    digest_stimuli,
    stable_id,
    stimulus_digest,
    stimulus_duration,
    stimulus_name,
)

MEET = 0.1  # s, of a stretch that windows only meet in
MOST = 256  # sets of sounds whose matches a process remembers
_FOUND: dict = {}
WHOLE = 0.95  # share of a sound that must be found in another for it to count as a copy of that


def find_copied_windows(heard, matches, table):
    """Return which windows hold a recording that was heard in another file.

    Parameters
    ----------
    heard : StimulusIntervals
        What was heard, in the time of its own sounds.
    matches : list of (str, str, Match)
        Digests of two sounds, and the stretch that they share.
    table : DataFrame of shape (n_windows, ...)
        ``sound, sound_onset, duration``.

    Returns
    -------
    mask : ndarray of bool of shape (n_windows,)
    """
    table, mask = table[["sound", "sound_onset", "duration"]], np.zeros(len(table), bool)
    for first, second, match in matches:
        for here, there, shift in ((first, second, match.shift), (second, first, -match.shift)):
            low = match.start if here == first else match.start - match.shift
            spans = np.clip(heard.intervals.get(here, np.empty((0, 2))), low, low + match.stop - match.start)
            spans = spans[spans[:, 1] - spans[:, 0] > MEET] - shift
            if len(spans):
                mask |= StimulusIntervals({there: spans}).touches(table)
    return mask


def find_windows_of_copies(learnt, table):
    """Return which windows hold a recording that was heard in a file that the table does not name.

    Parameters
    ----------
    learnt : StimulusIntervals
        What was heard; its files are compared as far as this process knows them.
    table : DataFrame of shape (n_windows, ...)
        ``sound, sound_onset, duration``.

    Returns
    -------
    mask : ndarray of bool of shape (n_windows,)
    """
    distinct = table["sound"].drop_duplicates()
    new = {
        stimulus_digest(sound): sound for sound in distinct if stimulus_digest(sound) not in learnt.intervals
    }
    known = [sound for sound in learnt.files.values() if is_file(audio_path(sound))]
    if not known or all(isinstance(sound, StimulusArray) for sound in new.values()):
        return np.zeros(len(table), bool)
    matches = [
        found
        for found in StimulusCopies([*known, *new.values()]).matches
        if (found[0] in new) != (found[1] in new)
    ]
    return find_copied_windows(learnt, matches, table)


class StimulusCopies:
    """Which of several sounds hold the same recording, known by their acoustic fingerprints.

    Format, level, sampling rate, a delay and cut ends make no difference. Files that cannot be read and arrays of
    features have no fingerprint and are left out.

    Parameters
    ----------
    sounds : array-like of str, AudioTrack or StimulusArray
        Distinct sounds, or equal ones.

    Attributes
    ----------
    sounds : dict of str to str or AudioTrack
        The sounds by digest.
    matches : list of (str, str, Match)
        Digests of two sounds, and the stretch that they share.
    place : dict of str to (str, float)
        For each sound that is a copy of another, or a part of it: the digest of that, and the seconds to add to
        a time in the copy for the time in the other.
    """

    def __init__(self, sounds):
        self.sounds, prints = {}, []
        distinct = pd.Series(sounds, dtype=object).unique()
        files = {stimulus_digest(sound): sound for sound in distinct if not isinstance(sound, StimulusArray)}
        for digest in sorted(files) if len(files) > 1 else ():
            try:
                prints.append(measure_stimulus(files[digest]).fingerprint)
                self.sounds[digest] = files[digest]
            except (ValueError, OSError):  # named where its features are computed
                continue
        names = tuple(self.sounds)
        if names not in _FOUND:
            if len(_FOUND) >= MOST:
                _FOUND.clear()
            _FOUND[names] = find_matches(prints) if len(prints) > 1 else []
        found = _FOUND[names]
        self.matches = [(names[match.first], names[match.second], match) for match in found]
        self.place = self._places() if self.matches else {}

    def _places(self):
        """Put every copy on the time line of the longest sound that it is a copy of."""
        near: dict = {}
        for first, second, match in sorted(self.matches, key=lambda found: -found[2].share):
            if match.share >= WHOLE:
                near.setdefault(first, {}).setdefault(second, match.shift)
                near.setdefault(second, {}).setdefault(first, -match.shift)
        place: dict = {}
        longest = sorted(near, key=lambda digest: (-stimulus_duration(self.sounds[digest]), digest))
        for root in longest:
            reached = [root] if root not in place else []
            place.setdefault(root, (root, 0.0))
            while reached:
                here = reached.pop()
                for other, shift in near[here].items():
                    if other not in place:
                        place[other] = root, round(place[here][1] + shift, 3)
                        reached.append(other)
        return {digest: where for digest, where in place.items() if where[0] != digest}

    @property
    def partial(self):
        """Matches of sounds that have no common time line."""
        origin = {digest: self.place.get(digest, (digest, 0.0)) for digest in self.sounds}
        return [
            (first, second, match)
            for first, second, match in self.matches
            if origin[first][0] != origin[second][0]
            or abs(origin[second][1] - origin[first][1] - match.shift) > 0.1
        ]

    def mark(self, table):
        """Name in a table of segments the sound that each copy is a copy of.

        Parameters
        ----------
        table : DataFrame of shape (n_rows, ...)

        Returns
        -------
        table : DataFrame of shape (n_rows, ...)
            With ``copy_of`` (digest; None where a sound is no copy) and ``copy_shift`` (s), or as it was if there are
            no copies.
        """
        table = table.drop(columns=["copy_of", "copy_shift"], errors="ignore")
        if not self.place:
            return table
        found = [self.place.get(digest, (None, 0.0)) for digest in digest_stimuli(table["sound"])]
        return table.assign(
            copy_of=np.array([root for root, _ in found], object), copy_shift=[shift for _, shift in found]
        )

    def apart(self, table):
        """Return a table in which copies are different sounds again, None if there are none.

        Parameters
        ----------
        table : DataFrame of shape (n_rows, ...)
            With ``block`` and ``block_start``, if it has blocks.

        Returns
        -------
        table : DataFrame of shape (n_rows, ...) or None
        """
        if not self.matches:
            return None
        table = table.drop(columns=["copy_of", "copy_shift"], errors="ignore")
        if not {"block", "block_start"} <= set(table.columns):
            return table
        key = digest_stimuli(table["sound"])
        copied = np.isin(key, [digest for first, second, _ in self.matches for digest in (first, second)])
        start = table["block_start"].to_numpy()
        block = table["block"].to_numpy(copy=True)
        block[copied] = [stable_id(*pair) for pair in zip(key[copied], start[copied].tolist(), strict=True)]
        return table.assign(block=block)

    def describe(self):
        """Say which files hold one recording: list of str, empty if none do."""
        names = {digest: repr(stimulus_name(sound)) for digest, sound in self.sounds.items()}
        whole = [
            f"{names[digest]} is in {names[root]} from {shift:+.2f} s on"
            for digest, (root, shift) in self.place.items()
        ]
        parts: dict = {}
        for first, second, match in self.partial:
            parts[first, second] = parts.get((first, second), 0.0) + match.stop - match.start
        return whole + [
            f"{names[one]} and {names[other]} share {seconds:.1f} s"
            for (one, other), seconds in parts.items()
        ]

    def warn(self, consequence, stacklevel=3):
        """Warn of sounds that hold the same recording, if there are any.

        Parameters
        ----------
        consequence : str
            A sentence that says what was done.
        stacklevel : int, default=3
            As of :func:`warnings.warn`, counted from here.
        """
        if found := self.describe():
            more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
            warnings.warn(
                f"Different sound files hold the same recording: {'; '.join(found[:5])}{more}. {consequence} To avoid "
                f"this warning, name one file for one recording in the events table.",
                stacklevel=stacklevel,
            )
