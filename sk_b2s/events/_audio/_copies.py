"""Audio files with the same recording (copies), and their common time."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from sk_b2s.events._audio._facts import measure_audio_facts
from sk_b2s.events._audio._fingerprint_matches import match_audio_fingerprints
from sk_b2s.events._audio._track_files import get_audio_file_path, is_audio_file
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.events._stimuli import (
    NOT_FILES,
    digest_stimuli,
    get_stimulus_digest,
    make_stimulus_id,
    stimulus_duration,
    stimulus_name,
)

MIN_OVERLAP = 0.1  # s of a copied stretch that a window must contain
MIN_SHARE = 0.95  # of a stimulus that must be found in another for a copy
MAX_MATCHES = 256  # sets of stimuli whose matches are kept in memory
_MATCHES: dict = {}


def find_audio_copies_in_rows(intervals, matches, table):
    """Return which windows have a recording that is in ``intervals``.

    Parameters
    ----------
    intervals : StimulusIntervals
        Stretches of other files.
    matches : list of (str, str, FingerprintMatch)
        Digests of two stimuli, and the stretch that they share.
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
            spans = np.clip(
                intervals.intervals.get(here, np.empty((0, 2))), low, low + match.stop - match.start
            )
            spans = spans[spans[:, 1] - spans[:, 0] > MIN_OVERLAP] - shift
            if len(spans):
                mask |= StimulusIntervals({there: spans}).touches(table)
    return mask


def find_rows_of_audio_copies(intervals, table):
    """Return which windows have a recording of a file not in the table.

    Parameters
    ----------
    intervals : StimulusIntervals
        Training stimuli, compared as far as their files are known.
    table : DataFrame of shape (n_windows, ...)
        ``sound, sound_onset, duration``.

    Returns
    -------
    mask : ndarray of bool of shape (n_windows,)
    """
    distinct = table["sound"].drop_duplicates()
    new = {
        get_stimulus_digest(sound): sound
        for sound in distinct
        if get_stimulus_digest(sound) not in intervals.intervals
    }
    known = [sound for sound in intervals.files.values() if is_audio_file(get_audio_file_path(sound))]
    if not known or all(isinstance(sound, NOT_FILES) for sound in new.values()):
        return np.zeros(len(table), bool)
    matches = [
        found
        for found in StimulusCopies([*known, *new.values()]).matches
        if (found[0] in new) != (found[1] in new)
    ]
    return find_audio_copies_in_rows(intervals, matches, table)


class StimulusCopies:
    """Stimuli with the same recording, found by acoustic fingerprints.

    Format, level, sampling rate, a delay and missing ends make no difference.
    Files that cannot be read and arrays of features have no fingerprint and
    are ignored.

    Parameters
    ----------
    sounds : array-like of str, AudioTrack or StimulusArray
        Stimuli.

    Attributes
    ----------
    sounds : dict of str to str or AudioTrack
        Stimuli by digest.
    matches : list of (str, str, FingerprintMatch)
        Digests of two stimuli, and the stretch that they share.
    place : dict of str to (str, float)
        For each copy: the digest of the original, and the seconds to add to a
        time in the copy for the time in the original.
    """

    def __init__(self, sounds):
        self.sounds, prints = {}, []
        distinct = pd.Series(sounds, dtype=object).unique()
        files = {get_stimulus_digest(sound): sound for sound in distinct if not isinstance(sound, NOT_FILES)}
        for digest in sorted(files) if len(files) > 1 else ():
            try:
                prints.append(measure_audio_facts(files[digest]).fingerprint)
                self.sounds[digest] = files[digest]
            except (ValueError, OSError):  # raised with the row when features are computed
                continue
        names = tuple(self.sounds)
        if names not in _MATCHES:
            if len(_MATCHES) >= MAX_MATCHES:
                _MATCHES.clear()
            _MATCHES[names] = match_audio_fingerprints(prints) if len(prints) > 1 else []
        found = _MATCHES[names]
        self.matches = [(names[match.first], names[match.second], match) for match in found]
        self.place = self._place_copies() if self.matches else {}

    def _place_copies(self):
        """Compute the time of each copy in the longest original."""
        near: dict = {}
        for first, second, match in sorted(self.matches, key=lambda found: -found[2].share):
            if match.share >= MIN_SHARE:
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
        """Matches of stimuli that are not copies as a whole."""
        origin = {digest: self.place.get(digest, (digest, 0.0)) for digest in self.sounds}
        return [
            (first, second, match)
            for first, second, match in self.matches
            if origin[first][0] != origin[second][0]
            or abs(origin[second][1] - origin[first][1] - match.shift) > 0.1
        ]

    def mark(self, table):
        """Add the original of each copy to a table of segments.

        Parameters
        ----------
        table : DataFrame of shape (n_rows, ...)

        Returns
        -------
        table : DataFrame of shape (n_rows, ...)
            With ``copy_of``, a digest or None, and ``copy_shift`` in seconds
            if there are copies.
        """
        table = table.drop(columns=["copy_of", "copy_shift"], errors="ignore")
        if not self.place:
            return table
        found = [self.place.get(digest, (None, 0.0)) for digest in digest_stimuli(table["sound"])]
        return table.assign(
            copy_of=np.array([root for root, _ in found], object), copy_shift=[shift for _, shift in found]
        )

    def separate(self, table):
        """Treat copies as different stimuli.

        Parameters
        ----------
        table : DataFrame of shape (n_rows, ...)
            With ``block`` and ``block_start``, if it has blocks.

        Returns
        -------
        table : DataFrame of shape (n_rows, ...) or None
            None if no copy was found.
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
        block[copied] = [
            make_stimulus_id(*pair) for pair in zip(key[copied], start[copied].tolist(), strict=True)
        ]
        return table.assign(block=block)

    def describe(self):
        """Describe each copy and each shared stretch: list of str."""
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
        """Warn of files with the same recording, if there are any.

        Parameters
        ----------
        consequence : str
            A sentence about what was done.
        stacklevel : int, default=3
            As in :func:`warnings.warn`.
        """
        if found := self.describe():
            more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
            warnings.warn(
                f"Different audio files contain the same recording: {'; '.join(found[:5])}{more}. {consequence} To avoid "
                f"this warning, use one file per recording in the events table.",
                stacklevel=stacklevel,
            )
