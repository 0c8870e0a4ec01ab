"""Continuous signals read from recordings, with header and extent."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import mne
import numpy as np
import scipy

from sk_b2s._utils._caching import code_of
from sk_b2s._utils._chunks import count_rows, slice_rows
from sk_b2s.io._raw._gaps import CODE as GAPS
from sk_b2s.io._raw._gaps import Gap, gaps_of, mark_gaps, recording_type
from sk_b2s.io._raw._identity import recording_state
from sk_b2s.io._raw._open import CODE as FORMATS
from sk_b2s.io._raw._open import raise_truncated, read_raw
from sk_b2s.io._raw._processing import CODE as PROCESSING
from sk_b2s.io._raw._processing import (
    PAD,
    check_filters_fit,
    interpolate,
    process,
    reference_channels,
    rereference,
    resampled_length,
)
from sk_b2s.io._sensors import CODE as SENSORS
from sk_b2s.io._sensors import name_of, pick_channels, sensor_positions, set_montage
from sk_b2s.io._sidecars import CODE as SIDECARS
from sk_b2s.io._sidecars import apply_sidecars

GLIMPSED = (8, 4, 64)  # channels, places and samples at each that a copy is known by
FLAT = 5.0  # s in which no channel changes that are warned of
CHUNK_BYTES = 2**30  # float64 bytes of one group of channels that is filtered at a time
CODE = "-".join([SENSORS, FORMATS, SIDECARS, GAPS, PROCESSING, code_of(__file__, mne, scipy)])


class Processing(NamedTuple):
    """All that decides a recording's signal, besides its file; the key under which it is cached."""

    sfreq: float = 120.0
    picks: tuple | str | None = None
    reference: tuple | str | None = None
    l_freq: float | None = None
    h_freq: float | None = None
    notch: tuple | None = None
    phase: str = "zero"
    montage: object = None  # of MNE, or its name
    bads: str = "mask"
    raw_hook: object = None
    hook_code: str | None = None  # digest of its code
    code: str = CODE  # of these readers and the libraries they call


class Header(NamedTuple):
    """What a recording's file says of itself before any sample is read."""

    ch_names: tuple  # the channels that will be read
    positions: np.ndarray  # (n_channels, 2) in [0, 1], NaN where unknown
    bads: tuple  # those of ch_names that are marked bad
    sfreq: float  # Hz, in the file
    n_times: int  # samples, in the file


def open_raw(path, processing=None):
    """Open a recording, hand it to the user's hook and place its sensors."""
    raw = mark_gaps(apply_sidecars(read_raw(path), path), path)
    if processing is None:
        return raw
    if processing.raw_hook is not None:
        raw = processing.raw_hook(raw)
        if not isinstance(raw, mne.io.BaseRaw):
            raise TypeError(
                f"raw_hook must return the mne Raw it was given or a new one, got {type(raw).__name__} "
                f"for {str(path)!r}."
            )
    return set_montage(raw, processing.montage)


class Extent(NamedTuple):
    """How long a recording lasts, and where it is bad or not continuous."""

    duration: float  # s
    bad: tuple  # (onset, duration) of annotations that begin with "bad", s from the first sample
    gaps: tuple  # of Gap
    sfreq: float | None = None  # Hz
    first_time: float = 0.0  # s from the start of the acquisition to the first sample
    file_duration: float = np.nan  # s, where a table says something else


@lru_cache(maxsize=65536)
def _extent(state):
    path = state[0]
    raw = open_raw(path)
    if raw.info.get("maxshield"):
        _warn_of_maxshield(str(path))
    bad = [
        (a["onset"] - raw.first_time, a["duration"])  # MNE counts from the start of acquisition
        for a in raw.annotations
        if a["description"].lower().startswith("bad")
    ]
    gaps = gaps_of(raw)
    if not gaps and recording_type(path)[0] in ("discontinuous", "epoched"):
        gaps = [Gap(np.nan, np.nan)]
    sfreq = float(raw.info["sfreq"])
    return Extent(raw.n_times / sfreq, tuple(bad), tuple(gaps), sfreq, float(raw.first_time))


@lru_cache(maxsize=65536)  # once for each path, though a file that has just been written is read each time
def _warn_of_maxshield(path):
    warnings.warn(
        f"recording {path!r} was acquired with MaxShield and holds its compensation: run MaxFilter, or "
        f"mne.preprocessing.maxwell_filter, and read what it wrote. It is read as it is.",
        stacklevel=4,
    )


def recording_extent(path):
    """Read how long a recording lasts and its bad stretches.

    Parameters
    ----------
    path : str
        A file that :func:`~sk_b2s.io._raw._open.read_raw` opens.

    Returns
    -------
    duration : float
        Seconds.
    bad : tuple of (onset, duration)
        Annotations whose description begins with "bad", in seconds from the first sample.
    """
    extent = read_extent(path)
    return extent.duration, extent.bad


def read_extent(path):
    """Read how long a recording lasts, its bad stretches and its gaps.

    Parameters
    ----------
    path : str
        A file that :func:`~sk_b2s.io._raw._open.read_raw` opens.

    Returns
    -------
    extent : Extent
        A recording that BIDS calls discontinuous, and in which no gap is marked, has one at an unknown place.

    Warns
    -----
    UserWarning
        Once for each recording that was acquired with MaxShield.
    """
    if not Path(path).exists():
        open_raw(path)
    return _extent(recording_state(path))


def recording_glimpse(path):
    """Read a few samples throughout a recording, equal for a copy that was renamed, anonymized or saved again.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    samples : ndarray of shape (n_samples,)
        Each channel has mean 0 and norm 1.
    """
    return _glimpse(recording_state(path))


@lru_cache(maxsize=4096)
def _glimpse(state):
    raw = open_raw(state[0])
    picks = pick_channels(raw)[: GLIMPSED[0]]
    places = np.linspace(0, raw.n_times, GLIMPSED[1] + 2).astype(int)[1:-1]
    pieces = [raw.get_data(picks, place, place + GLIMPSED[2], verbose="ERROR") for place in places]
    data = np.concatenate(pieces, axis=1)
    data -= data.mean(1, keepdims=True)
    scale = np.linalg.norm(data, axis=1, keepdims=True)
    return (data / np.where(scale > 0, scale, 1)).ravel()


def read_header(path, stamp, processing):
    """Read channels, positions, rate and length without the samples.

    Parameters
    ----------
    path : str
        A file that :func:`~sk_b2s.io._raw._open.read_raw` opens.
    stamp : str or None
        :func:`recording_stamp` of the file, its key in a cache.
    processing : Processing
        What will be done to it.

    Returns
    -------
    header : Header

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If ``picks`` names what is not there or the wanted rate exceeds the file's.
    """
    raw = open_raw(path, processing)
    names = pick_channels(raw, processing.picks)
    file_sfreq = float(raw.info["sfreq"])
    if processing.sfreq > file_sfreq * (1 + 1e-6):
        raise ValueError(
            f"sfreq={processing.sfreq:g} Hz is above the {file_sfreq:g} Hz of {name_of(raw)}: resampling "
            f"upwards invents no information; take Epocher(sfreq={file_sfreq:g}) or less."
        )
    check_filters_fit(processing, file_sfreq, name_of(raw))
    reference_channels(raw, names, processing.reference)  # raises now rather than when samples are read
    bads = tuple(name for name in raw.info["bads"] if name in names)
    return Header(tuple(names), sensor_positions(raw.info, names), bads, file_sfreq, raw.n_times)


def read_signal(path, stamp, processing):
    """Read, filter, resample and re-reference a recording once.

    Channels are worked on in groups, so that a long recording at a high rate never stands in memory
    in double precision as a whole. Re-referencing and interpolation mix channels only, filters mix
    times only, so doing the former at the low rate changes nothing.

    Parameters
    ----------
    path : str
        A file that :func:`~sk_b2s.io._raw._open.read_raw` opens.
    stamp : str or None
        :func:`recording_stamp` of the file, its key in a cache.
    processing : Processing
        What is done to it.

    Returns
    -------
    signal : ndarray of shape (n_times, n_channels)
        float32, time-major, in volt or tesla; columns as in the header's ``ch_names``, zero in bad
        channels where ``bads="mask"``.

    Raises
    ------
    ValueError
        If samples are NaN or infinite, or a reference channel is missing.
    """
    raw = open_raw(path, processing)
    names = pick_channels(raw, processing.picks)
    bads = [name for name in names if name in raw.info["bads"]]
    reference = reference_channels(raw, names, processing.reference)
    wanted = names + [name for name in reference if name not in names]
    sfreq = float(raw.info["sfreq"])
    signal = np.empty((resampled_length(raw.n_times, sfreq, processing.sfreq), len(wanted)), np.float32)
    unheard = [name for name in bads if name not in reference]  # replaced below, whatever they hold
    parts, flat = _parts_in_time(raw), np.ones(max(raw.n_times - 1, 0), bool)
    for part in slice_rows(len(wanted), count_rows(CHUNK_BYTES, raw.n_times, itemsize=8)):
        data = _samples(raw, wanted[part])
        data[np.isin(wanted[part], unheard)] = 0.0
        _check_finite(data, raw, wanted[part])
        flat &= (data[:, 1:] == data[:, :-1]).all(0)
        signal[:, part] = process(data, sfreq, processing, parts).T
    _warn_of_flat(flat, raw)
    rereference(signal, raw, wanted, reference)
    signal = signal[:, : len(names)]
    if bads and processing.bads == "interpolate":
        interpolate(signal, raw, names, bads, processing.sfreq)
    elif bads:
        signal[:, [names.index(name) for name in bads]] = 0.0
    return np.ascontiguousarray(signal)


def _samples(raw, names):
    try:
        return raw.get_data(picks=names, verbose="ERROR")
    except (ValueError, OSError, RuntimeError) as error:
        raise raise_truncated(raw, error) from error


def _check_finite(data, raw, names):
    bad = ~np.isfinite(data)
    if bad.any():
        channel, sample = np.argwhere(bad)[0]
        raise ValueError(
            f"{name_of(raw)} holds {np.count_nonzero(bad)} NaN or infinite samples, the first in channel "
            f"{names[channel]!r} at {sample / raw.info['sfreq']:.3f} s. Mark the channel bad "
            f"(raw.info['bads']), leave it out by picks=, or cut the stretch out of the file."
        )


def _warn_of_flat(flat, raw):
    """Warn of stretches in which no channel changes, outside of those annotated as bad."""
    sfreq = raw.info["sfreq"]
    if flat.all():
        return  # said of the whole recording where windows are looked at
    for note in raw.annotations:
        if note["description"].lower().startswith("bad"):
            start = round((note["onset"] - raw.first_time) * sfreq)
            flat[max(start - 1, 0) : max(round(start + note["duration"] * sfreq) + 1, 0)] = False
    edges = np.flatnonzero(np.diff(np.r_[False, flat, False])).reshape(-1, 2) / sfreq
    lasts, end = np.diff(edges)[:, 0], (raw.n_times - 1) / sfreq
    is_pad = ((edges[:, 0] == 0) | (edges[:, 1] == end)) & (lasts < PAD * end)
    edges = edges[(lasts >= FLAT) & ~is_pad]
    if len(edges):
        start, stop = edges[0]
        warnings.warn(
            f"{name_of(raw)} is constant in all channels from {start:.1f} to {stop:.1f} s ({len(edges)} such "
            f"stretches, {np.diff(edges).sum():.1f} of {raw.n_times / sfreq:.1f} s). Windows there hold nothing: mark "
            f"the stretches by annotations 'BAD' in the file, or by rows of type 'bad' in the events.",
            stacklevel=4,
        )


def _parts_in_time(raw):
    """Edges in samples of the parts of a recording in which samples follow each other: list of (start, stop)."""
    sfreq = raw.info["sfreq"]
    edges = {0, raw.n_times} | {round(gap.onset * sfreq) for gap in gaps_of(raw)}
    for note in raw.annotations:
        if note["description"].lower().startswith("bad_acq_skip"):  # MNE fills them with zeros
            start = round((note["onset"] - raw.first_time) * sfreq)
            edges |= {start, start + round(note["duration"] * sfreq)}
    edges = sorted(edge for edge in edges if 0 <= edge <= raw.n_times)
    return list(zip(edges[:-1], edges[1:], strict=True))
