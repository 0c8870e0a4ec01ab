"""What was heard: the identity of sounds, their blocks, and the intervals of sound that tables share."""

from __future__ import annotations

import hashlib
import re
import stat
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s.audio import SoundTrack, audio_info, audio_path
from sk_b2s.caching import content_digest, file_state
from sk_b2s.columns import column_of, seconds_of
from sk_b2s.sound_facts import sound_facts

__all__ = [
    "SoundArray",
    "SoundIntervals",
    "cut_blocks",
    "cut_sounds",
    "sentences_of_sound",
    "sound_digest",
    "sound_duration",
]

SENTENCE = 5  # words; shorter sentences ("Oh dear!") may be said anywhere


class SoundArray:
    """A sound given by its features instead of a file.

    It stands in the ``sound`` column of an events table where a path would stand, for stimuli whose
    waveform may not be shared but whose envelope, say, is at hand.

    Parameters
    ----------
    data : array-like of shape (n_times, n_features) or (n_times,)
        The features, one row per time step.
    sfreq : float
        Their rate in Hz.
    name : str, default=""
        What messages call it.

    Raises
    ------
    ValueError
        If ``data`` is not one- or two-dimensional, holds NaN or infinity, or ``sfreq`` is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> SoundArray(np.zeros((3200, 1)), sfreq=64, name="story").duration
    50.0
    """

    def __init__(self, data, sfreq, name=""):
        data = np.ascontiguousarray(data, dtype=np.float32)
        if data.ndim == 1:
            data = data[:, None]
        if data.ndim != 2 or not np.isfinite(data).all():
            raise ValueError(
                f"SoundArray {name!r}: data must be finite and of shape (n_times, n_features); got "
                f"shape {data.shape} with {np.count_nonzero(~np.isfinite(data))} non-finite values."
            )
        if not sfreq > 0:
            raise ValueError(f"SoundArray {name!r}: sfreq must be a positive rate in Hz, got {sfreq}.")
        self.data, self.sfreq, self.name = data, float(sfreq), name
        self.digest = _digest(data.tobytes(), str(data.shape), str(self.sfreq))

    @property
    def duration(self):
        """Length in seconds."""
        return len(self.data) / self.sfreq

    def __eq__(self, other):
        return isinstance(other, SoundArray) and self.digest == other.digest

    def __hash__(self):
        return hash(self.digest)

    def __repr__(self):
        n_times, n_features = self.data.shape
        return f"SoundArray({self.name!r}, {n_times} x {n_features} at {self.sfreq:g} Hz)"


def _digest(*parts):
    """Hash bytes and texts to 32 hexadecimal digits."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        hasher.update(part if isinstance(part, bytes) else part.encode())
        hasher.update(b"\0")
    return hasher.hexdigest()


def stable_id(*parts):
    """Hash texts to an integer that is the same everywhere.

    52 bits, so that a float64 on its way through somebody's table keeps it whole; two of 100,000 ids
    collide with probability 1e-6.
    """
    return int(_digest(*map(str, parts))[:13], 16)


def _regular_file(sound):
    """Return the path of a sound, which must be a regular file because others may never end."""
    sound = audio_path(sound)
    wrong = "is not a regular file, and was not opened"
    try:
        if stat.S_ISREG(Path(sound).stat().st_mode):
            return sound
    except (OSError, ValueError) as error:  # ValueError for a NUL in the name
        wrong = f"cannot be opened ({getattr(error, 'strerror', None) or error})"
    text = str(sound)
    raise FileNotFoundError(
        f"sound {text[:200] + '...' * (len(text) > 200)!r} {wrong}. Correct the column 'sound', or put the file there. "
        f"If a decoder names it among the segments of its fit, give candidates= with sounds of this machine."
    )


def sound_state(sound):
    """Return what changes when the file of a sound is written, see :func:`~sk_b2s.caching.file_state`."""
    return file_state(_regular_file(sound))


def file_stamp(path):
    """Digest the content of the file of a sound, whatever its path and date: str."""
    return content_digest(_regular_file(path))


def sound_digest(sound):
    """Identify a sound by its content, so that a copied or moved file is the same sound.

    Parameters
    ----------
    sound : str, Path, SoundTrack or SoundArray
        A sound as it stands in an events table.

    Returns
    -------
    digest : str
        32 hexadecimal digits, equal for equal content. One track of a file whose tracks differ is another
        sound than the file.
    """
    if isinstance(sound, SoundArray):
        return sound.digest
    whole = file_stamp(sound)
    if not isinstance(sound, SoundTrack) or sound.channel == "mean" or sound_facts(sound, whole).are_equal:
        return whole
    return _digest(whole, "track", str(sound.channel))


def sound_duration(sound):
    """Length of a sound in seconds.

    Parameters
    ----------
    sound : str, Path, SoundTrack or SoundArray
        A sound as it stands in an events table.

    Returns
    -------
    duration : float
        Seconds, of the samples that can be read.

    Raises
    ------
    ValueError
        If the file is not audio, or is damaged; see :func:`~sk_b2s.audio.audio_info`.
    """
    if isinstance(sound, SoundArray):
        return sound.duration
    return audio_info(audio_path(sound), sound_state(sound)).duration


def sound_name(sound):
    """Name a sound in a message."""
    if isinstance(sound, SoundArray):
        return sound.name or repr(sound)
    track = f" (track {sound.channel})" if isinstance(sound, SoundTrack) else ""
    return Path(sound).name + track


SOUNDS = (str, Path, SoundTrack, SoundArray)  # what the column 'sound' may hold


def digests(sounds):
    """Digest of every entry of a column, each distinct entry once: (n_rows,) array of str."""
    sounds = pd.Series(sounds, dtype=object)
    try:
        codes, distinct = pd.factorize(sounds)
        is_wrong = (codes < 0).any() or not all(isinstance(s, SOUNDS) for s in distinct)
    except TypeError:  # a list, which has no hash
        is_wrong = True
    if is_wrong:
        row, sound = next((r, s) for r, s in sounds.items() if not isinstance(s, SOUNDS))
        raise ValueError(
            f"row {row!r}, column 'sound': expected the path of an audio file or a SoundArray, got {sound!r}. Correct "
            f"this row or drop it from X and y."
        )
    return np.array([sound_digest(sound) for sound in distinct], dtype=object)[codes]


def identities(table):
    """Identify the sound of each row of a table of segments, one sound for all copies of one recording.

    Parameters
    ----------
    table : DataFrame of shape (n_rows, ...)
        ``sound``, and where there are copies ``copy_of`` and ``copy_shift``, as :func:`make_segments` adds them.

    Returns
    -------
    key : ndarray of str of shape (n_rows,)
        Digests.
    shift : ndarray of float of shape (n_rows,)
        Seconds to add to times in the sound of the row for times in the sound of ``key``.
    """
    key, shift = digests(column_of(table, "sound")), np.zeros(len(table))
    if {"copy_of", "copy_shift"} <= set(table.columns):
        copied = table["copy_of"].notna().to_numpy()
        key[copied] = table["copy_of"].to_numpy(object)[copied]
        shift[copied] = table["copy_shift"].to_numpy(float)[copied]
    return key, shift


def plain_text(words):
    """Lower-case words without punctuation, joined: what makes two texts equal. Missing words say nothing."""
    return " ".join(re.sub(r"[^\w']+", "", str(word).lower()) for word in words if pd.notna(word)).strip()


def cut_blocks(words, duration, block=20.0, pause=0.3):
    """Cut a sound into blocks that end at a sentence or a pause.

    Going through the sound, the next cut is the first place at least ``block`` seconds after the last
    one where a sentence ends or nobody speaks for ``pause`` seconds; the cut lies in the middle of the
    gap between two words. What is left at the end joins the last block, so every block of a sound
    longer than ``block`` has at least that length. Without words the cuts are ``block`` apart.

    Parameters
    ----------
    words : DataFrame of shape (n_words, ...)
        Columns ``sound_onset`` and ``duration`` in seconds, and ``sequence``, the sentence of each
        word (missing where unknown).
    duration : float
        Length of the sound in seconds.
    block : float, default=20.0
        Shortest block in seconds.
    pause : float, default=0.3
        Shortest silence between two words, in seconds, at which a block may end.

    Returns
    -------
    edges : ndarray of shape (n_blocks + 1,)
        Edges in seconds from the start of the sound; the first is 0, the last ``duration``.

    Examples
    --------
    >>> import pandas as pd
    >>> words = pd.DataFrame({"sound_onset": [0.0, 9.0, 21.0, 30.0, 44.0], "duration": 1.0,
    ...                       "sequence": ["a", "a", "b", "b", "c"]})
    >>> cut_blocks(words, duration=50.0).tolist()
    [0.0, 26.0, 50.0]
    """
    if len(words):
        words = words.sort_values("sound_onset")
        onset = words["sound_onset"].to_numpy(float)
        ends = np.maximum.accumulate(onset + words["duration"].to_numpy(float))[:-1]
        gap = onset[1:] - ends
        sequence = pd.factorize(words["sequence"])[0]  # -1 where unknown
        new_sentence = (sequence[1:] != sequence[:-1]) & (sequence[1:] >= 0)
        candidates = onset[1:] - np.maximum(gap, 0) / 2
        candidates = candidates[new_sentence | (gap >= pause)]
    else:
        candidates = np.arange(block, duration, block)
    edges = [0.0]
    for candidate in candidates:
        if candidate - edges[-1] >= block:
            edges.append(float(candidate))
    if len(edges) > 1 and duration - edges[-1] < block:
        edges.pop()
    return np.array([*edges, float(duration)])


def sentences_of_sound(words):
    """List the sentences of a sound that are told apart from all others by their words.

    Parameters
    ----------
    words : DataFrame of shape (n_words, ...)
        ``sound_onset``, ``text`` and ``sequence``.

    Returns
    -------
    sentences : DataFrame of shape (n_sentences, 3)
        ``text`` (plain), ``start`` and ``last`` (s, the onsets of its first and last word) of those of five words or
        more; "Oh dear!" may be said anywhere.
    """
    found = []
    for _, sentence in words.groupby("sequence", sort=False):
        text = plain_text(sentence["text"])
        if text.count(" ") + 1 >= SENTENCE:
            found.append((text, sentence["sound_onset"].min(), sentence["sound_onset"].max()))
    return pd.DataFrame(found, columns=["text", "start", "last"]).sort_values("start", ignore_index=True)


def cut_sounds(words, durations, block=20.0):
    """Cut sounds into blocks, those that tell one story at the same sentences.

    A sound that shares no sentence with another is cut by :func:`cut_blocks`. Of those that do, say a story read by
    two voices, the first is cut at sentences alone and the others at the same ones, so that its blocks have the same
    text in every voice; a stretch in between that is as long as two blocks is cut further.

    Parameters
    ----------
    words : dict of str to DataFrame
        The words of each sound: ``sound_onset, duration, text, sequence``.
    durations : dict of str to float
        Length of each sound, in seconds; those without words too.
    block : float, default=20.0
        Shortest block in seconds; of the further voices of a story, in the pace of the first.

    Returns
    -------
    edges : dict of str to ndarray of shape (n_blocks + 1,)
    """
    nothing = pd.DataFrame(columns=["sound_onset", "duration", "text", "sequence"])
    sentences = {sound: sentences_of_sound(words[sound]) for sound in durations if sound in words}
    told = pd.Series([text for found in sentences.values() for text in found["text"].unique()], dtype=object)
    shared = set(told[told.duplicated()])
    edges, marks = {}, set()
    for sound in sorted(durations):  # whatever order they come in
        spoken, known = words.get(sound, nothing), sentences.get(sound)
        if known is None or not known["text"].isin(shared).any():
            edges[sound] = cut_blocks(spoken, durations[sound], block)
            continue
        spoken = spoken.sort_values("sound_onset")
        same = known.loc[known["text"].isin(marks), "start"]
        edges[sound] = _cut_at(same, spoken, durations[sound], block)
        after = np.searchsorted(known["start"], edges[sound][1:-1])
        marks |= set(known["text"].iloc[after[after < len(known)]]) & shared
    return edges


def _cut_at(starts, words, duration, block):
    """Cut a sound before some of its sentences, and further, at sentences, where that leaves two blocks' length."""
    onset = words["sound_onset"].to_numpy(float)
    ends = np.r_[0.0, np.maximum.accumulate(onset + words["duration"].to_numpy(float))]
    starts = np.array([start for start in starts if start > 0], float)
    gap = np.maximum(starts - ends[np.searchsorted(onset, starts)], 0)
    edges = np.r_[0.0, starts - gap / 2, duration]
    cuts: list[float] = []
    for begin, stop in zip(edges[:-1], edges[1:], strict=True):
        inner = words[(onset >= begin) & (onset < stop)]
        cuts.append(begin)
        if stop - begin >= 2 * block and len(inner):
            inner = inner.assign(sound_onset=inner["sound_onset"] - begin)
            cuts += (begin + cut_blocks(inner, stop - begin, block, pause=np.inf)[1:-1]).tolist()
    return np.array([*cuts, duration], float)


class SoundIntervals:
    """The stretches of sound that a table of segments contains.

    Parameters
    ----------
    intervals : dict of str to ndarray of shape (n_intervals, 2)
        For each sound (:func:`sound_digest`) sorted, disjoint intervals in seconds.
    copies : set of str, default=()
        Sounds in ``intervals`` that are copies of others there, whose seconds do not count twice.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> story = SoundArray(np.zeros(640), sfreq=64)
    >>> table = pd.DataFrame({"sound": [story] * 3, "sound_onset": [0.0, 1.0, 6.0], "duration": 2.0})
    >>> heard = SoundIntervals.from_table(table[:2])
    >>> heard.seconds
    3.0
    >>> heard.touches(table).tolist()
    [True, True, False]
    """

    def __init__(self, intervals, copies=()):
        self.intervals, self.copies = intervals, set(copies)
        self.files = {}  # by digest, in this process alone

    @classmethod
    def from_table(cls, table, blocks=False):
        """Unite the windows of a table of segments.

        Parameters
        ----------
        table : DataFrame
            Columns ``sound``, ``sound_onset`` and ``duration``.
        blocks : bool, default=False
            Add the whole block of every row (``block_start`` to ``block_stop``).

        Returns
        -------
        intervals : SoundIntervals
        """
        own = digests(column_of(table, "sound"))
        start = seconds_of(table, "sound_onset")
        stop = start + seconds_of(table, "duration")
        parts = [(own, start, stop)]
        if blocks and {"block_start", "block_stop"} <= set(table.columns):
            parts.append((own, table["block_start"].to_numpy(float), table["block_stop"].to_numpy(float)))
        key, shift = identities(table)
        copied = key != own
        if copied.any():  # both in their own time and in that of the sound that they are copies of
            parts += [(key[copied], (a + shift)[copied], (b + shift)[copied]) for _, a, b in parts]
        new = cls.from_spans(*(np.concatenate(part) for part in zip(*parts, strict=True)), own[copied])
        distinct = table["sound"].reset_index(drop=True).drop_duplicates()
        new.files = {own[i]: sound for i, sound in distinct.items() if not isinstance(sound, SoundArray)}
        return new

    @classmethod
    def from_spans(cls, key, start, stop, *parts):
        """Unite stretches of time.

        Parameters
        ----------
        key : ndarray of str of shape (n_spans,)
            What each is a stretch of.
        start, stop : ndarray of shape (n_spans,)
            In seconds.
        *parts : tuple
            Further arguments of the constructor.

        Returns
        -------
        intervals : SoundIntervals
        """
        return cls({k: _unite(start[rows], stop[rows]) for k, rows in _rows_of_each(key).items()}, *parts)

    def __or__(self, other):
        """Unite with others."""
        both = {
            key: np.concatenate([part.intervals[key] for part in (self, other) if key in part.intervals])
            for key in self.intervals | other.intervals
        }
        new = SoundIntervals(
            {key: _unite(spans[:, 0], spans[:, 1]) for key, spans in both.items()}, self.copies | other.copies
        )
        new.files = {**self.files, **other.files}
        return new

    @property
    def seconds(self):
        """Seconds of distinct sound."""
        distinct = (spans for key, spans in self.intervals.items() if key not in self.copies)
        return float(sum(np.diff(spans, axis=1).sum() for spans in distinct))

    def touches(self, table, guard=0.0):
        """Tell which windows share sound with the intervals.

        Parameters
        ----------
        table : DataFrame of shape (n_windows, ...)
            Columns ``sound``, ``sound_onset`` and ``duration``.
        guard : float, default=0.0
            Windows within so many seconds of an interval count as well.

        Returns
        -------
        mask : ndarray of bool of shape (n_windows,)
        """
        own, (key, shift) = digests(column_of(table, "sound")), identities(table)
        start = seconds_of(table, "sound_onset") - guard
        length = seconds_of(table, "duration") + 2 * guard
        mask = self.overlap_spans(own, start, start + length)
        if (copied := key != own).any():
            start = start[copied] + shift[copied]
            mask[copied] |= self.overlap_spans(key[copied], start, start + length[copied])
        return mask

    def overlap_spans(self, key, start, stop):
        """Return which stretches of time overlap the intervals.

        Parameters
        ----------
        key : ndarray of str of shape (n_spans,)
            What each is a stretch of.
        start, stop : ndarray of shape (n_spans,)
            In seconds.

        Returns
        -------
        mask : ndarray of bool of shape (n_spans,)
        """
        mask = np.zeros(len(key), bool)
        tolerance = 1e-9  # two windows that only meet share no sound
        for digest, rows in _rows_of_each(key).items():
            if (spans := self.intervals.get(digest)) is None:
                continue
            first = np.searchsorted(spans[:, 1], start[rows] + tolerance, side="right")
            inside = first < len(spans)
            mask[rows] = inside & (spans[np.minimum(first, len(spans) - 1), 0] < stop[rows] - tolerance)
        return mask


def _rows_of_each(key):
    """Row numbers of each distinct value, in one pass: dict."""
    return pd.Series(key, dtype=object).groupby(key, sort=False).indices


def _unite(start, stop):
    """Merge intervals into sorted, disjoint ones."""
    order = np.argsort(start, kind="stable")
    start, stop = start[order], np.maximum.accumulate(stop[order])
    new = np.r_[True, start[1:] > stop[:-1]]
    return np.column_stack([start[new], stop[np.r_[np.flatnonzero(new)[1:] - 1, len(stop) - 1]]])
