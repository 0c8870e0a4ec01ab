"""Audio files: duration, tracks and checked samples."""

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
from sk_b2s.events._audio._headers import compare_audio_header

MIN_RATE, SPEECH_RATE, MAX_RATE = 100, 1000, 1_000_000  # Hz; the second is the minimum for speech
MAX_SAMPLE = 1e10  # 32-bit integers reach 2e9, and the square must fit into float32
TAIL = 1000  # frames at the end that must be readable
HEADER_TOLERANCE = 0.1  # s between header and samples
PIECE = 2**18  # frames that are read at a time


@dataclass(frozen=True)
class AudioTrack:
    """One track of an audio file with several tracks.

    It takes the place of a path, which stands for the mean of all tracks. In
    an events table the column ``sound_channel`` has the same effect, see
    :func:`~sk_b2s.check_events`.

    Parameters
    ----------
    path : str or Path
        Audio file.
    channel : int, "left", "right" or "mean", default=0
        Track, counted from 0. "left" is 0 and "right" is 1. "mean" is the
        mean of all tracks, without a warning if they differ.

    Raises
    ------
    ValueError
        If ``channel`` is not one of these.

    Examples
    --------
    >>> from sk_b2s import AudioTrack
    >>> AudioTrack("dialog.wav", "right")
    AudioTrack(path='dialog.wav', channel=1)
    """

    path: str
    channel: int | str = 0

    def __post_init__(self):
        object.__setattr__(self, "path", str(self.path))
        object.__setattr__(self, "channel", parse_audio_file_channel(self.channel))

    def __fspath__(self):
        return self.path

    def __str__(self):
        return self.path


def parse_audio_file_channel(channel):
    """Convert a channel to a track number or "mean"."""
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
        f"channel must be the number of a track, counted from 0, or 'left', 'right' or 'mean'. Got {channel!r}."
    )


def get_audio_file_path(sound):
    """Return the path of an audio file or track: str."""
    return sound.path if isinstance(sound, AudioTrack) else str(sound)


def make_audio_file_key(sound):
    """Convert a path to str, as caches identify it, and keep a track."""
    return sound if isinstance(sound, AudioTrack) else str(sound)


def is_audio_file(path):
    """Return whether a file exists, also for invalid paths."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


class AudioFileInfo(NamedTuple):
    """Duration and tracks of the readable part of an audio file.

    Attributes
    ----------
    rate : int
        Frames per second.
    n_frames : int
    n_tracks : int
    note : str
        How the header differs from the samples, "" if it does not.
    """

    rate: int
    n_frames: int
    n_tracks: int
    note: str

    @property
    def duration(self):
        """Duration in seconds."""
        return self.n_frames / self.rate


def _describe_other_content(path):
    """Describe a file that is not audio and how to fix it, "" if unknown."""
    with open(path, "rb") as file:
        first = file.read(200).lstrip().lower()
    if first.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS whose content has not been fetched. Run git lfs pull"
    if is_placeholder(path):
        return "a pointer of git-annex whose content has not been fetched. Run datalad get or git annex get"
    if first.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "a web page, for example of a login or an error. Download the audio file again"
    return ""


@contextmanager
def _open_audio_file(path):
    """Open an audio file, with its path in errors of libsndfile."""
    if not is_audio_file(path):
        raise FileNotFoundError(f"The audio file {shorten_text(path)} does not exist.")
    try:
        with soundfile.SoundFile(path) as file:
            yield file
    except (soundfile.LibsndfileError, soundfile.SoundFileRuntimeError, TypeError) as error:
        size = Path(path).stat().st_size
        if kind := _describe_other_content(path):
            raise ValueError(f"The file {path!r} is not audio but {kind} ({size:,} bytes).") from error
        raise ValueError(
            f"The file {path!r} is not an audio file that soundfile can read: {str(error).rstrip('.')}. If it was "
            f"truncated or damaged ({size:,} bytes), copy it again. Otherwise convert it to WAV or FLAC."
        ) from error


def read_track_file_info(path, stamp):
    """Read the duration of an audio file, and check that samples exist.

    Parameters
    ----------
    path : str
    stamp : hashable
        Identity of the content, see
        :func:`~sk_b2s.events._stimuli.get_stimulus_state`. The file is read
        once per stamp.

    Returns
    -------
    info : AudioFileInfo

    Raises
    ------
    ValueError
        If the file is not audio, has no readable samples or an invalid
        sampling rate.
    """
    return _read_audio_info(str(path), stamp)


@lru_cache(maxsize=65536)
def _read_audio_info(path, stamp):
    with _open_audio_file(path) as file:
        rate, n_in_header, n_tracks = file.samplerate, file.frames, file.channels
        kind = file.format
        _check_audio_rate(path, rate)
        n_frames = _count_audio_frames(path, file)
    if n_frames == 0:
        stream = " Its header may be that of a stream, without a duration. Rewrite the file, for example with ffmpeg."
        long = stream * (Path(path).stat().st_size > 4096)
        raise ValueError(
            f"The audio file {path!r} has no samples ({Path(path).stat().st_size:,} bytes).{long}"
        )
    if abs(n_in_header - n_frames) > HEADER_TOLERANCE * rate:
        note = f"its header has {n_in_header / rate:.1f} s, but {n_frames / rate:.1f} s can be read"
    else:
        note = compare_audio_header(path, kind, n_frames / rate)
    return AudioFileInfo(rate, n_frames, n_tracks, note)


def _check_audio_rate(path, rate):
    if not MIN_RATE <= rate <= MAX_RATE:
        raise ValueError(
            f"The audio file {path!r} has a sampling rate of {rate:,} Hz in its header. It must be {MIN_RATE} to "
            f"{MAX_RATE:,} Hz. Rewrite the file at its true rate."
        )
    if rate < SPEECH_RATE:
        warnings.warn(
            f"The audio file {path!r} has a sampling rate of {rate} Hz in its header, but speech requires at least "
            f"{SPEECH_RATE:,} Hz. If the header is wrong, rewrite the file at its true rate.",
            stacklevel=2,
        )


def _count_audio_frames(path, file):
    """Count the readable frames of an open file."""
    n_in_header = file.frames
    if n_in_header == 0:
        return 0
    try:
        file.seek(max(0, n_in_header - TAIL))
        if len(file.read(min(TAIL, n_in_header), dtype="float32")) == min(TAIL, n_in_header):
            return n_in_header
        file.seek(0)
    except soundfile.LibsndfileError as error:
        known = f"{n_in_header / file.samplerate:,.1f} s" if n_in_header < 2**40 else "no length"
        raise ValueError(
            f"The audio file {path!r} cannot be read to its end: {error} Its header has {known}. Check that the file is "
            f"complete ({Path(path).stat().st_size:,} bytes). Copy it again or, if it plays, convert it to WAV."
        ) from error
    count = 0
    while n_read := len(file.read(PIECE, dtype="float32", always_2d=True)):
        count += n_read
    return count


def read_tracks_of_file(path, info, start=0.0, stop=None):
    """Read and check the tracks of an audio file.

    Parameters
    ----------
    path : str
    info : AudioFileInfo
    start, stop : float, default=0.0, None
        Seconds. If ``stop`` is ``None``, read to the end.

    Returns
    -------
    samples : ndarray of float32 of shape (n_samples, n_tracks)

    Raises
    ------
    ValueError
        If samples cannot be read, are not finite or are implausibly large.
    """
    first = min(round(start * info.rate), info.n_frames)
    last = info.n_frames if stop is None else min(round(stop * info.rate), info.n_frames)
    with _open_audio_file(path) as file:
        if first:
            file.seek(first)
        data = file.read(max(last - first, 0), dtype="float32", always_2d=True)
    _check_audio_frame_count(path, last - first - len(data), info)
    _check_audio_samples(path, data, first / info.rate, info.rate)
    return data


def _check_audio_frame_count(path, missing, info):
    """Raise if the decoder omits samples, which shifts the following ones."""
    if missing > HEADER_TOLERANCE * info.rate:
        raise ValueError(
            f"The audio file {path!r} is damaged. {missing / info.rate:.2f} of its {info.duration:.2f} s cannot be "
            f"decoded, and the following samples would be early. Copy it again."
        )


def _check_audio_samples(path, data, start, rate):
    """Raise if samples are not finite or are implausibly large."""
    if not data.size or max(data.max(), -data.min()) <= MAX_SAMPLE:
        return
    wrong = ~np.isfinite(data).all(1)
    if wrong.any():
        problem = "samples are NaN or infinite"
        at = int(np.argmax(wrong))
    else:
        at = int(np.argmax(np.abs(data).max(1)))
        problem = f"samples reach {np.abs(data[at]).max():.3g}, but the full scale is 1"
    raise ValueError(
        f"In the audio file {path!r}, {problem} (the first at {start + at / rate:.3f} s). Features would be wrong or "
        f"missing. Rewrite the file."
    )


def mix_audio_file_tracks(data, channel):
    """Return one track or the mean of all: ndarray of shape (n_samples,)."""
    return data.mean(1) if channel is None or channel == "mean" else data[:, channel]


def read_track_samples(sound, stamp, start=0.0, stop=None):
    """Read one track of an audio file, or a part of it, at its own rate.

    Parameters
    ----------
    sound : str, Path or AudioTrack
        If it is a path, the mean of the tracks is returned.
    stamp : hashable
        As in :func:`read_track_file_info`.
    start, stop : float, default=0.0, None
        Seconds. If ``stop`` is ``None``, read to the end.

    Returns
    -------
    samples : ndarray of float32 of shape (n_samples,)
    rate : int
        In Hz.

    Raises
    ------
    ValueError
        As in :func:`read_track_file_info`, and if samples are not finite or
        beyond 1e10, or the track does not exist.
    """
    info = check_audio_file_track(sound, stamp)
    return mix_audio_file_tracks(
        read_tracks_of_file(get_audio_file_path(sound), info, start, stop), getattr(sound, "channel", None)
    ), info.rate


def check_audio_file_track(sound, stamp):
    """Read the duration of an audio file, and check that a track exists.

    Parameters
    ----------
    sound : str, Path or AudioTrack
    stamp : hashable
        As in :func:`read_track_file_info`.

    Returns
    -------
    info : AudioFileInfo
    """
    info, channel = read_track_file_info(get_audio_file_path(sound), stamp), getattr(sound, "channel", None)
    if isinstance(channel, int) and channel >= info.n_tracks:
        raise ValueError(
            f"The audio file {get_audio_file_path(sound)!r} has {info.n_tracks} track{'s' * (info.n_tracks > 1)}, counted from 0, "
            f"but track {channel} is selected."
        )
    return info


def read_track_file_pieces(path, info):
    """Yield checked samples of an audio file, (n_samples, n_tracks) each."""
    count = 0
    with _open_audio_file(path) as file:
        for first in range(0, info.n_frames, PIECE):
            piece = file.read(min(PIECE, info.n_frames - first), dtype="float32", always_2d=True)
            count += len(piece)
            _check_audio_samples(path, piece, first / info.rate, info.rate)
            if len(piece):
                yield piece
    _check_audio_frame_count(path, info.n_frames - count, info)
