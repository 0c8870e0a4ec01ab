"""Stimuli: identity by content, duration and name."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._caching import digest_cached_content, get_cached_file_state
from sk_b2s._utils._text import shorten_list
from sk_b2s._utils._validation import validate_column
from sk_b2s.events._audio._facts import measure_audio
from sk_b2s.events._audio._track_files import AudioTrack, get_audio_file_path, read_track_file_info
from sk_b2s.events._images import ImageStimulus


class StimulusArray:
    """Stimulus given by its features instead of an audio file.

    It takes the place of a path in the ``sound`` column of an events table,
    for stimuli whose audio may not be shared but whose features, such as the
    envelope, are available.

    Parameters
    ----------
    data : array-like of shape (n_times, n_features) or (n_times,)
        Features, one row per time step.
    sfreq : float
        Sampling rate of the features in Hz.
    name : str, default=""
        Name in messages.
    features : sequence of str, default=()
        Names of the features. A feature named "speech" is above 0 during
        speech, for :func:`~sk_b2s.label_segments`.

    Attributes
    ----------
    data : ndarray of shape (n_times, n_features)
        float32.
    digest : str
        Hash of data and rate, which identifies the stimulus.

    Raises
    ------
    ValueError
        If ``data`` is not one- or two-dimensional, has NaN or infinite
        values, ``sfreq`` is not positive, or the number of ``features`` is
        not that of ``data``.

    Examples
    --------
    >>> import numpy as np
    >>> StimulusArray(np.zeros((3200, 1)), sfreq=64, name="story").duration
    50.0
    """

    def __init__(self, data, sfreq, name="", features=()):
        data = np.ascontiguousarray(data, dtype=np.float32)
        if data.ndim == 1:
            data = data[:, None]
        if data.ndim != 2 or not np.isfinite(data).all():
            raise ValueError(
                f"The data of StimulusArray {name!r} must be finite and of shape (n_times, n_features). Got "
                f"shape {data.shape} with {np.count_nonzero(~np.isfinite(data))} non-finite values."
            )
        if not sfreq > 0:
            raise ValueError(f"sfreq of StimulusArray {name!r} must be a positive rate in Hz. Got {sfreq}.")
        if len(features) not in (0, data.shape[1]):
            raise ValueError(
                f"The 'features' of StimulusArray {name!r} must name all {data.shape[1]} features. Got {features!r}."
            )
        self.data, self.sfreq, self.name, self.features = data, float(sfreq), name, tuple(features)
        self.digest = _digest_stimulus(data.tobytes(), str(data.shape), str(self.sfreq))

    @property
    def duration(self):
        """Duration in seconds."""
        return len(self.data) / self.sfreq

    def __eq__(self, other):
        return isinstance(other, StimulusArray) and self.digest == other.digest

    def __hash__(self):
        return hash(self.digest)

    def __repr__(self):
        n_times, n_features = self.data.shape
        return f"StimulusArray({self.name!r}, {n_times} x {n_features} at {self.sfreq:g} Hz)"


def _digest_stimulus(*parts):
    """Hash bytes and strings to 32 hexadecimal digits."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        hasher.update(part if isinstance(part, bytes) else part.encode())
        hasher.update(b"\0")
    return hasher.hexdigest()


def make_stimulus_id(*parts):
    """Hash values to an integer that does not depend on the process.

    It has 52 bits, so that a column of float64 represents it exactly. Two of
    100,000 hashes collide with probability 1e-6.
    """
    return int(_digest_stimulus(*map(str, parts))[:13], 16)


def _get_regular_stimulus_file(sound):
    """Return the path of a stimulus, which must be a regular file."""
    sound = get_audio_file_path(sound)  # a pipe or device could block for ever
    wrong = "is not a regular file"
    try:
        if stat.S_ISREG(Path(sound).stat().st_mode):
            return sound
    except (OSError, ValueError) as error:  # ValueError for a NUL in the name
        wrong = f"cannot be opened ({getattr(error, 'strerror', None) or error})"
    text = str(sound)
    raise FileNotFoundError(
        f"The audio file {text[:200] + '...' * (len(text) > 200)!r} {wrong}. Correct the column 'sound' or restore the "
        f"file. If a loaded decoder needs it, give candidates= with files of this computer."
    )


def get_stimulus_state(sound):
    """Return path, size and times of the audio file of a stimulus."""
    return get_cached_file_state(_get_regular_stimulus_file(sound))


def get_stimulus_stamp(path):
    """Hash the content of an audio file, independent of path and date: str."""
    return digest_cached_content(_get_regular_stimulus_file(path))


def get_stimulus_digest(sound):
    """Hash the content of a stimulus.

    Parameters
    ----------
    sound : str, Path, AudioTrack, StimulusArray or ImageStimulus
        Entry of the column ``sound`` of an events table.

    Returns
    -------
    digest : str
        32 hexadecimal digits, equal for equal content whatever the path. A
        track differs from its file if the tracks of the file differ.
    """
    if isinstance(sound, StimulusArray):
        return sound.digest
    if isinstance(sound, ImageStimulus):
        return digest_cached_content(sound.path) if sound.path else _digest_stimulus(sound.kind, sound.name)
    whole = get_stimulus_stamp(sound)
    if not isinstance(sound, AudioTrack) or sound.channel == "mean" or measure_audio(sound, whole).are_equal:
        return whole
    return _digest_stimulus(whole, "track", str(sound.channel))


def stimulus_duration(sound):
    """Return the duration of a stimulus in seconds.

    Parameters
    ----------
    sound : str, Path, AudioTrack, StimulusArray or ImageStimulus
        Entry of the column ``sound`` of an events table.

    Returns
    -------
    duration : float
        Of the samples that can be read. 0 of an image.

    Raises
    ------
    ValueError
        If the file is not an audio file or is damaged.
    """
    if isinstance(sound, StimulusArray):
        return sound.duration
    if isinstance(sound, ImageStimulus):
        return 0.0
    return read_track_file_info(get_audio_file_path(sound), get_stimulus_state(sound)).duration


def stimulus_name(sound):
    """Return the name of a stimulus in messages: str."""
    if isinstance(sound, StimulusArray):
        return sound.name or repr(sound)
    if isinstance(sound, ImageStimulus):
        return sound.name
    track = f" (track {sound.channel})" if isinstance(sound, AudioTrack) else ""
    return Path(sound).name + track


NOT_FILES = (StimulusArray, ImageStimulus)  # stimuli without an audio file
SOUNDS = (str, Path, AudioTrack, *NOT_FILES)  # what the column 'sound' may hold


def digest_stimuli(sounds):
    """Hash each entry of a column of stimuli: (n_rows,) array of str."""
    sounds = pd.Series(sounds, dtype=object)
    try:
        codes, distinct = pd.factorize(sounds)
        is_wrong = (codes < 0).any() or not all(isinstance(s, SOUNDS) for s in distinct)
    except TypeError:  # a list is not hashable
        is_wrong = True
    if is_wrong:
        row, sound = next((r, s) for r, s in sounds.items() if not isinstance(s, SOUNDS))
        raise ValueError(
            f"Row {row!r}, column 'sound': expected the path of an audio file or a StimulusArray. Got {sound!r}. "
            f"Correct this row or remove it from X and y."
        )
    return np.array([get_stimulus_digest(sound) for sound in distinct], dtype=object)[codes]


def identify_stimuli(table, own=None):
    """Return the original stimulus of each row, and the shift to its time.

    Parameters
    ----------
    table : DataFrame of shape (n_rows, ...)
        ``sound`` and, if there are copies, ``copy_of`` and ``copy_shift`` as
        :func:`~sk_b2s.make_segments` adds them.
    own : ndarray of str of shape (n_rows,), default=None
        Digests of ``sound``. If None, they are computed.

    Returns
    -------
    key : ndarray of str of shape (n_rows,)
        Digests. All copies of one recording have the same digest.
    shift : ndarray of float of shape (n_rows,)
        Seconds to add to a time in ``sound`` for the time in the original.
    """
    key = digest_stimuli(validate_column(table, "sound")) if own is None else own.copy()
    shift = np.zeros(len(table))
    if {"copy_of", "copy_shift"} <= set(table.columns):
        copied = table["copy_of"].notna().to_numpy()
        key[copied] = table["copy_of"].to_numpy(object)[copied]
        shift[copied] = table["copy_shift"].to_numpy(float)[copied]
    return key, shift


def format_stimulus_names(sounds, most=5):
    """Format the names of the first few distinct stimuli: str."""
    return shorten_list(map(repr, dict.fromkeys(map(stimulus_name, sounds))), most)
