"""Level, silence, differing tracks and fingerprints of audio files."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sk_b2s._utils._caching import cached, digest_cached_content, get_cache_code
from sk_b2s.events._audio import _fingerprint_matches as fingerprints
from sk_b2s.events._audio import _track_files as audio
from sk_b2s.events._audio._track_files import (
    check_audio_file_track,
    get_audio_file_path,
    make_audio_file_key,
    mix_audio_file_tracks,
    read_track_file_pieces,
)

CODE = get_cache_code(__file__) + get_cache_code(audio.__file__) + get_cache_code(fingerprints.__file__)
MAX_SILENCE = 1e-12  # range of the samples of a silent track
MAX_FACTS = 2**13  # stimuli whose facts are kept in memory
_FACTS: dict = {}


class AudioFacts(NamedTuple):
    """Properties of the samples of an audio file.

    Attributes
    ----------
    peak : float
        Largest absolute value of any track.
    is_silent : bool
        Whether the selected track, or the mean of all, is constant, or tracks
        cancel each other to less than a ten-thousandth.
    n_tracks : int
    correlation : float
        Smallest correlation between two tracks that are not constant, 1 if
        there is one such track.
    are_equal : bool
        Whether all tracks are equal.
    fingerprint : ndarray of uint32
        Of the selected track or the mean, see ``compute_audio_fingerprint``.
    """

    peak: float
    is_silent: bool
    n_tracks: int
    correlation: float
    are_equal: bool
    fingerprint: np.ndarray


def measure_audio(sound, stamp, memory=None):
    """Measure the samples of an audio file, once per content.

    Parameters
    ----------
    sound : str, Path or AudioTrack
    stamp : hashable
        As in :func:`read_track_file_info`. With ``memory``, a digest of the
        content.
    memory : None, str, Path or joblib.Memory, default=None
        Folder in which results are cached. It contains pickle files, which
        execute code when they are read. Use a folder that only you can write.

    Returns
    -------
    facts : AudioFacts

    Raises
    ------
    ValueError
        As in :func:`read_track_samples`.
    """
    key = stamp, getattr(sound, "channel", None)
    if key not in _FACTS:
        if len(_FACTS) >= MAX_FACTS:
            _FACTS.clear()
        measure = cached(_measure_audio_file, memory, ignore=["sound"])
        _FACTS[key] = measure(make_audio_file_key(sound), (*key, CODE))
    return _FACTS[key]


def _measure_audio_file(sound, stamp):
    """Measure a file piece by piece."""
    info, channel = check_audio_file_track(sound, stamp), getattr(sound, "channel", None)
    tracks, samples = _TrackSums(info.n_tracks), []
    for piece in read_track_file_pieces(get_audio_file_path(sound), info):
        tracks.add(piece)
        samples.append(mix_audio_file_tracks(piece, channel))
    samples = np.concatenate(samples)
    spread, least = float(np.ptp(samples)), 1e-4 * float(tracks.spread.max()) if info.n_tracks > 1 else 0.0
    return AudioFacts(
        float(max(tracks.high.max(), -tracks.low.min())),
        spread <= max(MAX_SILENCE, least),
        info.n_tracks,
        tracks.correlation(),
        tracks.are_equal,
        fingerprints.compute_audio_fingerprint(samples, info.rate),
    )


class _TrackSums:
    """Ranges of tracks and products of two tracks, accumulated over pieces."""

    def __init__(self, n_tracks):
        self.low, self.high = np.full(n_tracks, np.inf), np.full(n_tracks, -np.inf)
        self.count, self.sums, self.products = 0, np.zeros(n_tracks), np.zeros((n_tracks, n_tracks))
        self.are_equal = True

    def add(self, piece):
        self.low, self.high = np.minimum(self.low, piece.min(0)), np.maximum(self.high, piece.max(0))
        if len(self.sums) > 1:
            double = piece.astype(np.float64)
            self.count += len(piece)
            self.sums += double.sum(0)
            self.products += double.T @ double
            self.are_equal &= bool((piece == piece[:, :1]).all())

    @property
    def spread(self):
        return self.high - self.low

    def correlation(self):
        """Return the smallest correlation of tracks that are not constant."""
        varying = self.spread > MAX_SILENCE
        if np.count_nonzero(varying) < 2:
            return 1.0
        mean = self.sums[varying] / self.count
        covariance = self.products[np.ix_(varying, varying)] / self.count - np.outer(mean, mean)
        deviation = np.sqrt(np.diag(covariance))
        return float((covariance / np.outer(deviation, deviation)).min())


def measure_audio_facts(sound, memory=None):
    """Measure an audio file, see :func:`measure_audio`, by its content."""
    return measure_audio(sound, digest_cached_content(get_audio_file_path(sound)), memory)
