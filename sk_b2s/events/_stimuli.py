"""Stimuli: identity, duration, name and samples."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._caching import content_digest, file_state
from sk_b2s._utils._validation import column_of
from sk_b2s.events._audio._facts import measure_audio
from sk_b2s.events._audio._files import AudioTrack, audio_path, read_audio_info


class StimulusArray:
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
    >>> StimulusArray(np.zeros((3200, 1)), sfreq=64, name="story").duration
    50.0
    """

    def __init__(self, data, sfreq, name=""):
        data = np.ascontiguousarray(data, dtype=np.float32)
        if data.ndim == 1:
            data = data[:, None]
        if data.ndim != 2 or not np.isfinite(data).all():
            raise ValueError(
                f"StimulusArray {name!r}: data must be finite and of shape (n_times, n_features); got "
                f"shape {data.shape} with {np.count_nonzero(~np.isfinite(data))} non-finite values."
            )
        if not sfreq > 0:
            raise ValueError(f"StimulusArray {name!r}: sfreq must be a positive rate in Hz, got {sfreq}.")
        self.data, self.sfreq, self.name = data, float(sfreq), name
        self.digest = _digest(data.tobytes(), str(data.shape), str(self.sfreq))

    @property
    def duration(self):
        """Length in seconds."""
        return len(self.data) / self.sfreq

    def __eq__(self, other):
        return isinstance(other, StimulusArray) and self.digest == other.digest

    def __hash__(self):
        return hash(self.digest)

    def __repr__(self):
        n_times, n_features = self.data.shape
        return f"StimulusArray({self.name!r}, {n_times} x {n_features} at {self.sfreq:g} Hz)"


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


def stimulus_state(sound):
    """Return what changes when the file of a sound is written, see :func:`~sk_b2s._utils._caching.file_state`."""
    return file_state(_regular_file(sound))


def file_stamp(path):
    """Digest the content of the file of a sound, whatever its path and date: str."""
    return content_digest(_regular_file(path))


def stimulus_digest(sound):
    """Identify a sound by its content, so that a copied or moved file is the same sound.

    Parameters
    ----------
    sound : str, Path, AudioTrack or StimulusArray
        A sound as it stands in an events table.

    Returns
    -------
    digest : str
        32 hexadecimal digits, equal for equal content. One track of a file whose tracks differ is another
        sound than the file.
    """
    if isinstance(sound, StimulusArray):
        return sound.digest
    whole = file_stamp(sound)
    if not isinstance(sound, AudioTrack) or sound.channel == "mean" or measure_audio(sound, whole).are_equal:
        return whole
    return _digest(whole, "track", str(sound.channel))


def stimulus_duration(sound):
    """Length of a sound in seconds.

    Parameters
    ----------
    sound : str, Path, AudioTrack or StimulusArray
        A sound as it stands in an events table.

    Returns
    -------
    duration : float
        Seconds, of the samples that can be read.

    Raises
    ------
    ValueError
        If the file is not audio, or is damaged; see :func:`~sk_b2s.events._audio._files.read_audio_info`.
    """
    if isinstance(sound, StimulusArray):
        return sound.duration
    return read_audio_info(audio_path(sound), stimulus_state(sound)).duration


def stimulus_name(sound):
    """Name a sound in a message."""
    if isinstance(sound, StimulusArray):
        return sound.name or repr(sound)
    track = f" (track {sound.channel})" if isinstance(sound, AudioTrack) else ""
    return Path(sound).name + track


SOUNDS = (str, Path, AudioTrack, StimulusArray)  # what the column 'sound' may hold


def digest_stimuli(sounds):
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
            f"row {row!r}, column 'sound': expected the path of an audio file or a StimulusArray, got {sound!r}. Correct "
            f"this row or drop it from X and y."
        )
    return np.array([stimulus_digest(sound) for sound in distinct], dtype=object)[codes]


def identify_stimuli(table):
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
    key, shift = digest_stimuli(column_of(table, "sound")), np.zeros(len(table))
    if {"copy_of", "copy_shift"} <= set(table.columns):
        copied = table["copy_of"].notna().to_numpy()
        key[copied] = table["copy_of"].to_numpy(object)[copied]
        shift[copied] = table["copy_shift"].to_numpy(float)[copied]
    return key, shift
