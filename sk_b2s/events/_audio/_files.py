"""Audio files: length, tracks and samples, read with checks."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from sk_b2s._utils._placeholders import is_placeholder
from sk_b2s._utils._text import shorten_text
from sk_b2s.events._audio._headers import compare_header

SLOWEST, SLOW, FASTEST = 100, 1000, 1_000_000  # Hz; sampling rates that are refused, warned of, refused
LOUDEST = (
    1e10  # samples beyond it are refused: 32-bit integers reach 2e9, and the square must fit into float32
)
TAIL = 1000  # frames at the end that must be readable
CLOSE = 0.1  # s by which a header may differ from the samples
PIECE = 2**18  # frames that are read at a time


@dataclass(frozen=True)
class AudioTrack:
    """One track of an audio file with several, in place of the file's path.

    A path alone stands for the mean of all tracks. In an events table the column ``sound_channel``
    has the same effect: :func:`~sk_b2s.check_events` makes a AudioTrack of both.

    Parameters
    ----------
    path : str or Path
        The audio file.
    channel : int, "left", "right" or "mean", default=0
        The track, counted from 0. "left" is 0, "right" is 1. "mean" is the mean of all tracks, as
        without a AudioTrack, but chosen, so that no warning names the file.

    Raises
    ------
    ValueError
        If ``channel`` is none of these.

    Examples
    --------
    >>> from sk_b2s import AudioTrack
    >>> AudioTrack("dialog.wav", "right")
    AudioTrack(path='dialogue.wav', channel=1)
    """

    path: str
    channel: int | str = 0

    def __post_init__(self):
        object.__setattr__(self, "path", str(self.path))
        object.__setattr__(self, "channel", parse_channel(self.channel))

    def __fspath__(self):
        return self.path

    def __str__(self):
        return self.path


def parse_channel(channel):
    """Return the number of a track, or "mean"; raise ValueError if it is neither."""
    name = channel.strip().lower() if isinstance(channel, str) else channel
    name = {"left": 0, "right": 1}.get(name, name) if isinstance(name, str) else name
    if isinstance(name, str) and name.removesuffix(".0").isdigit():
        name = int(name.removesuffix(".0"))
    if isinstance(name, (float, np.floating)) and float(name).is_integer():
        name = int(name)
    if isinstance(name, str) and name == "mean":
        return name
    if isinstance(name, Integral) and not isinstance(name, bool) and name >= 0:
        return int(name)
    raise ValueError(
        f"channel must be the number of a track, counted from 0, or 'left', 'right' or 'mean'; got {channel!r}."
    )


def audio_path(sound):
    """Return the path of a sound that is an audio file: str."""
    return sound.path if isinstance(sound, AudioTrack) else str(sound)


def to_audio_key(sound):
    """Return a sound file as :func:`read_samples` takes it and a cache identifies it: str or AudioTrack."""
    return sound if isinstance(sound, AudioTrack) else str(sound)


def is_file(path):
    """Return whether a name, however long or odd, is that of an existing file."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


class AudioInfo(NamedTuple):
    """Length and tracks of an audio file, as far as its samples can be read.

    Attributes
    ----------
    rate : int
        Frames per second.
    n_frames : int
    n_tracks : int
    note : str
        How the header differs from the samples; "" if it does not.
    """

    rate: int
    n_frames: int
    n_tracks: int
    note: str

    @property
    def duration(self):
        """Length in seconds."""
        return self.n_frames / self.rate


def _is_no_audio(path):
    """Name what stands in the place of a sound's content, with the way out; "" if it is nothing known."""
    with open(path, "rb") as file:
        first = file.read(200).lstrip().lower()
    if first.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS whose content has not been fetched: git lfs pull"
    if is_placeholder(path):
        return "a pointer of git-annex whose content has not been fetched: datalad get, or git annex get"
    if first.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "a page of a web server, as of a login or an error: download the sound again"
    return ""


@contextmanager
def _opened(path):
    """Open an audio file, and name it in every error of libsndfile."""
    if not is_file(path):
        raise FileNotFoundError(f"sound {shorten_text(path)} is not an existing file.")
    try:
        with soundfile.SoundFile(path) as file:
            yield file
    except (soundfile.LibsndfileError, soundfile.SoundFileRuntimeError, TypeError) as error:
        size = Path(path).stat().st_size
        if kind := _is_no_audio(path):
            raise ValueError(f"sound {path!r} is no audio, but {kind} ({size:,} bytes).") from error
        raise ValueError(
            f"sound {path!r} is not an audio file soundfile can read: {str(error).rstrip('.')}. If it was cut "
            f"off or damaged on its way here ({size:,} bytes), copy it again; otherwise convert it to WAV or FLAC."
        ) from error


def read_audio_info(path, stamp):
    """Read the length of an audio file, and check that the samples are there.

    Parameters
    ----------
    path : str
    stamp : hashable
        Identity of the file's content, see :func:`~sk_b2s.events._stimuli.stimulus_state`; the file is read once for
        each.

    Returns
    -------
    info : AudioInfo

    Raises
    ------
    ValueError
        If the file is not audio, holds no samples, has an absurd sampling rate, or is cut off in a way
        that leaves nothing readable. The message names the file.
    """
    return _info(str(path), stamp)


@lru_cache(maxsize=65536)
def _info(path, stamp):
    with _opened(path) as file:
        rate, said, n_tracks = file.samplerate, file.frames, file.channels
        kind = file.format
        _check_rate(path, rate)
        n_frames = _readable_frames(path, file)
    if n_frames == 0:
        stream = (
            " Its header may be that of a stream, without a length: write it anew, for example with ffmpeg."
        )
        long = stream * (Path(path).stat().st_size > 4096)
        raise ValueError(f"sound {path!r} holds no samples ({Path(path).stat().st_size:,} bytes).{long}")
    if abs(said - n_frames) > CLOSE * rate:
        note = f"its header says {said / rate:.1f} s, but {n_frames / rate:.1f} s can be read"
    else:
        note = compare_header(path, kind, n_frames / rate)
    return AudioInfo(rate, n_frames, n_tracks, note)


def _check_rate(path, rate):
    if not SLOWEST <= rate <= FASTEST:
        raise ValueError(
            f"sound {path!r} has a sampling rate of {rate:,} Hz in its header; expected {SLOWEST} to {FASTEST:,} Hz. "
            f"Write the file anew at its true rate."
        )
    if rate < SLOW:
        warnings.warn(
            f"sound {path!r} has a sampling rate of {rate} Hz in its header: speech needs {SLOW:,} Hz or more. If the "
            f"header is wrong, write the file anew at its true rate.",
            stacklevel=2,
        )


def _readable_frames(path, file):
    """Count the frames of an open file, by its header if the last ones can be read, else one after the other."""
    said = file.frames
    if said == 0:
        return 0
    try:
        file.seek(max(0, said - TAIL))
        if len(file.read(min(TAIL, said), dtype="float32")) == min(TAIL, said):
            return said
        file.seek(0)
    except soundfile.LibsndfileError as error:
        known = f"{said / file.samplerate:,.1f} s" if said < 2**40 else "no length"
        raise ValueError(
            f"sound {path!r} cannot be read to its end: {error} Its header says {known}; is it whole "
            f"({Path(path).stat().st_size:,} bytes)? Copy it again or, if it plays, convert it to WAV."
        ) from error
    count = 0
    while n_read := len(file.read(PIECE, dtype="float32", always_2d=True)):
        count += n_read
    return count


def read_tracks(path, info, start=0.0, stop=None):
    """Read the tracks of a sound file, checked: ndarray of shape (n_samples, n_tracks), float32.

    Parameters
    ----------
    path : str
    info : AudioInfo
    start, stop : float, default=0.0, None
        Seconds; None is the end.

    Raises
    ------
    ValueError
        If samples cannot be read, are not finite or are absurdly large. The message names the file.
    """
    first = min(round(start * info.rate), info.n_frames)
    last = info.n_frames if stop is None else min(round(stop * info.rate), info.n_frames)
    with _opened(path) as file:
        if first:
            file.seek(first)
        data = file.read(max(last - first, 0), dtype="float32", always_2d=True)
    _check_count(path, last - first - len(data), info)
    _check_samples(path, data, first / info.rate, info.rate)
    return data


def _check_count(path, missing, info):
    """Raise if a decoder leaves out samples in the middle, so that all that follow are early."""
    if missing > CLOSE * info.rate:
        raise ValueError(
            f"sound {path!r} is damaged: {missing / info.rate:.2f} of its {info.duration:.2f} s cannot be decoded, and "
            f"what follows would be early. Copy it again."
        )


def _check_samples(path, data, start, rate):
    """Raise if samples are not finite or are absurdly large."""
    if not data.size or max(data.max(), -data.min()) <= LOUDEST:
        return
    wrong = ~np.isfinite(data).all(1)
    if wrong.any():
        what = "samples are NaN or infinite"
        at = int(np.argmax(wrong))
    else:
        at = int(np.argmax(np.abs(data).max(1)))
        what = f"samples reach {np.abs(data[at]).max():.3g}, where the full scale is 1"
    raise ValueError(
        f"sound {path!r}: {what} (the first at {start + at / rate:.3f} s). Its features would be wrong or missing: "
        f"write the file anew."
    )


def mix_tracks(data, channel):
    """Return one track of several, or their mean: ndarray of shape (n_samples,)."""
    return data.mean(1) if channel is None or channel == "mean" else data[:, channel]


def read_samples(sound, stamp, start=0.0, stop=None):
    """Read a sound file, or a stretch of it, as one track at the file's own rate.

    Parameters
    ----------
    sound : str, Path or AudioTrack
        The mean of the tracks is taken where none is chosen.
    stamp : hashable
        As for :func:`read_audio_info`.
    start, stop : float, default=0.0, None
        The stretch in seconds; None reads to the end.

    Returns
    -------
    samples : ndarray of shape (n_samples,)
        float32.
    rate : int
        In Hz.

    Raises
    ------
    ValueError
        As for :func:`read_audio_info`, and if samples are not finite or beyond 1e10, or the track is not there.
    """
    info = check_track(sound, stamp)
    return mix_tracks(
        read_tracks(audio_path(sound), info, start, stop), getattr(sound, "channel", None)
    ), info.rate


def check_track(sound, stamp):
    """Read the length of a sound file, and raise ValueError if the track that is chosen is not there.

    Parameters
    ----------
    sound : str, Path or AudioTrack
    stamp : hashable
        As for :func:`read_audio_info`.

    Returns
    -------
    info : AudioInfo
    """
    info, channel = read_audio_info(audio_path(sound), stamp), getattr(sound, "channel", None)
    if isinstance(channel, int) and channel >= info.n_tracks:
        raise ValueError(
            f"sound {audio_path(sound)!r} has {info.n_tracks} track{'s' * (info.n_tracks > 1)}, counted from 0, and "
            f"no track {channel}."
        )
    return info


def read_pieces(path, info):
    """Yield the samples of a sound file in pieces, checked: ndarrays of shape (n_samples, n_tracks).

    Parameters
    ----------
    path : str
    info : AudioInfo
    """
    count = 0
    with _opened(path) as file:
        for first in range(0, info.n_frames, PIECE):
            piece = file.read(min(PIECE, info.n_frames - first), dtype="float32", always_2d=True)
            count += len(piece)
            _check_samples(path, piece, first / info.rate, info.rate)
            if len(piece):
                yield piece
    _check_count(path, info.n_frames - count, info)
