"""Read headers, durations and continuous signals of recordings."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import mne
import numpy as np
import scipy

from sk_b2s._utils._caching import get_cache_code
from sk_b2s._utils._chunks import count_chunk_rows, slice_rows_into_chunks
from sk_b2s.io._raw._causal import CODE as CAUSAL
from sk_b2s.io._raw._gaps import CODE as GAPS
from sk_b2s.io._raw._gaps import Gap, list_gaps, mark_gaps, read_type_for_gaps
from sk_b2s.io._raw._identity import get_recording_identity_state
from sk_b2s.io._raw._processing import CODE as PROCESSING
from sk_b2s.io._raw._processing import (
    MAX_PADDING,
    check_processing_filters,
    check_processing_interpolation,
    compute_processed_length,
    interpolate_in_processing,
    process,
    rereference_in_processing,
    select_processing_reference,
)
from sk_b2s.io._raw._read_raw import CODE as FORMATS
from sk_b2s.io._raw._read_raw import make_read_raw_truncation_error, read_raw
from sk_b2s.io._recording_files import format_recording_file_name
from sk_b2s.io._sensors import CODE as SENSORS
from sk_b2s.io._sensors import pick_sensor_channels, project_sensors, set_sensor_montage
from sk_b2s.io._sidecars import CODE as SIDECARS
from sk_b2s.io._sidecars import apply_sidecars

EXCERPT = (8, 4, 64)  # channels, positions and samples per position that identify a copy
MIN_FLAT = 5.0  # s, shortest constant segment that is reported
CHUNK_BYTES = 2**30  # float64 bytes of the channels that are filtered together
CODE = "-".join([SENSORS, FORMATS, SIDECARS, GAPS, PROCESSING, CAUSAL, get_cache_code(__file__, mne, scipy)])


class RecordingProcessing(NamedTuple):
    """Parameters that determine a signal, used as cache key."""

    sfreq: float = 120.0
    picks: tuple | str | None = None
    reference: tuple | str | None = None
    l_freq: float | None = None
    h_freq: float | None = None
    notch: tuple | None = None
    phase: str = "zero"
    montage: object = None  # montage of MNE, or its name
    bads: str = "mask"
    raw_hook: object = None
    hook_code: str | None = None  # digest of its code
    causal: bool = False  # no filter uses later samples
    code: str = CODE  # version of these readers and of their libraries


class RecordingHeader(NamedTuple):
    """Properties of a recording that are known without its samples."""

    ch_names: tuple  # channels that will be read
    positions: np.ndarray  # (n_channels, 2) in [0, 1], NaN where unknown
    bads: tuple  # bad channels among ch_names
    sfreq: float  # Hz, of the file
    n_times: int  # samples, of the file


def open_recording(path, processing=None):
    """Open a recording, apply the user's hook and set its montage."""
    raw = mark_gaps(apply_sidecars(read_raw(path), path), path)
    if processing is None:
        return raw
    if processing.raw_hook is not None:
        raw = processing.raw_hook(raw)
        if not isinstance(raw, mne.io.BaseRaw):
            raise TypeError(
                f"raw_hook must return an mne Raw. Got {type(raw).__name__} for {str(path)!r} instead."
            )
    return set_sensor_montage(raw, processing.montage)


class Extent(NamedTuple):
    """Duration of a recording, with its bad segments and gaps."""

    duration: float  # s
    bad: tuple  # (onset, duration) in s of annotations that begin with "bad"
    gaps: tuple  # tuple of Gap
    sfreq: float | None = None  # Hz
    first_time: float = 0.0  # s from the start of acquisition to the first sample
    file_duration: float = np.nan  # s, if the events table has another duration


@lru_cache(maxsize=65536)
def _compute_recording_extent(state):
    path = state[0]
    raw = open_recording(path)
    if raw.info.get("maxshield"):
        _warn_maxshield(str(path))
    bad = [
        (a["onset"] - raw.first_time, a["duration"])  # MNE counts from the start of acquisition
        for a in raw.annotations
        if a["description"].lower().startswith("bad")
    ]
    gaps = list_gaps(raw)
    if not gaps and read_type_for_gaps(path)[0] in ("discontinuous", "epoched"):
        gaps = [Gap(np.nan, np.nan)]
    sfreq = float(raw.info["sfreq"])
    return Extent(raw.n_times / sfreq, tuple(bad), tuple(gaps), sfreq, float(raw.first_time))


@lru_cache(maxsize=65536)  # once per path, because a recent file is read each time
def _warn_maxshield(path):
    warnings.warn(
        f"recording {path!r} was acquired with MaxShield (internal active shielding) and is used without MaxFilter. "
        "Apply it, or mne.preprocessing.maxwell_filter, and pass the result if interference is large.",
        stacklevel=4,
    )


def read_recording_duration_and_bads(path):
    """Read the duration of a recording and its bad segments.

    Returns
    -------
    duration : float
        Seconds.
    bad : tuple of (onset, duration)
        Annotations that begin with "bad", in seconds from the first sample.
    """
    extent = read_recording_extent(path)
    return extent.duration, extent.bad


def read_recording_extent(path):
    """Read the duration of a recording, its bad segments and its gaps.

    Parameters
    ----------
    path : str
        File that :func:`~sk_b2s.io._raw._read_raw.read_raw` opens.

    Returns
    -------
    extent : Extent
        A discontinuous recording by BIDS without marked gaps has one gap at an
        unknown place.

    Warns
    -----
    UserWarning
        Once per recording that was acquired with MaxShield.
    """
    if not Path(path).exists():
        open_recording(path)
    return _compute_recording_extent(get_recording_identity_state(path))


def read_recording_excerpt(path):
    """Read a few samples that identify copies of a recording.

    The samples are equal for copies that were renamed, anonymized or saved
    again.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    samples : ndarray of shape (n_samples,)
        Each channel has mean 0 and norm 1.
    """
    return _read_recording_excerpt(get_recording_identity_state(path))


@lru_cache(maxsize=4096)
def _read_recording_excerpt(state):
    raw = open_recording(state[0])
    picks = pick_sensor_channels(raw)[: EXCERPT[0]]
    starts = np.linspace(0, raw.n_times, EXCERPT[1] + 2).astype(int)[1:-1]
    pieces = [raw.get_data(picks, start, start + EXCERPT[2], verbose="ERROR") for start in starts]
    data = np.concatenate(pieces, axis=1)
    data -= data.mean(1, keepdims=True)
    scale = np.linalg.norm(data, axis=1, keepdims=True)
    return (data / np.where(scale > 0, scale, 1)).ravel()


def read_recording_header(path, stamp, processing):
    """Read channels, positions, sampling rate and length, without the samples.

    Parameters
    ----------
    path : str
        File that :func:`~sk_b2s.io._raw._read_raw.read_raw` opens.
    stamp : str or None
        :func:`digest_recording_identity` of the file, its key in a cache.
    processing : RecordingProcessing

    Returns
    -------
    header : RecordingHeader

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If ``picks`` names a missing channel, or ``sfreq`` exceeds that of the
        file.
    """
    raw = open_recording(path, processing)
    names = pick_sensor_channels(raw, processing.picks)
    file_sfreq = float(raw.info["sfreq"])
    if processing.sfreq > file_sfreq * (1 + 1e-6):
        raise ValueError(
            f"sfreq={processing.sfreq:g} Hz must not exceed the {file_sfreq:g} Hz of {format_recording_file_name(raw)}, because "
            f"upsampling adds no information. Use Epocher(sfreq={file_sfreq:g}) or less."
        )
    check_processing_filters(processing, file_sfreq, format_recording_file_name(raw))
    select_processing_reference(raw, names, processing.reference)  # raise before samples are read
    bads = tuple(name for name in raw.info["bads"] if name in names)
    if processing.bads == "interpolate":
        check_processing_interpolation(raw, bads)
    return RecordingHeader(tuple(names), project_sensors(raw.info, names), bads, file_sfreq, raw.n_times)


def read_recording_signal(path, stamp, processing):
    """Read, filter, resample and re-reference a recording.

    Channels are processed in groups, so that a long recording at a high rate
    is never held in memory in double precision. Re-referencing and
    interpolation combine channels and filters combine times, so that the
    former can be applied after resampling with the same result.

    Parameters
    ----------
    path : str
        File that :func:`~sk_b2s.io._raw._read_raw.read_raw` opens.
    stamp : str or None
        :func:`digest_recording_identity` of the file, its key in a cache.
    processing : RecordingProcessing

    Returns
    -------
    signal : ndarray of shape (n_times, n_channels)
        float32 in volts or tesla, with the channels of the header. Bad
        channels are zero if ``bads="mask"``.

    Raises
    ------
    ValueError
        If samples are NaN or infinite, or a reference channel is missing.
    """
    raw = open_recording(path, processing)
    names = pick_sensor_channels(raw, processing.picks)
    bads = [name for name in names if name in raw.info["bads"]]
    reference = select_processing_reference(raw, names, processing.reference)
    wanted = names + [name for name in reference if name not in names]
    sfreq = float(raw.info["sfreq"])
    signal = np.empty(
        (compute_processed_length(raw.n_times, sfreq, processing.sfreq), len(wanted)), np.float32
    )
    replaced = [name for name in bads if name not in reference]
    parts, flat = _find_contiguous_parts(raw), np.ones(max(raw.n_times - 1, 0), bool)
    for part in slice_rows_into_chunks(len(wanted), count_chunk_rows(CHUNK_BYTES, raw.n_times, itemsize=8)):
        data = _read_recording_samples(raw, wanted[part])
        data[np.isin(wanted[part], replaced)] = 0.0
        _check_recording_finite(data, raw, wanted[part])
        flat &= (data[:, 1:] == data[:, :-1]).all(0)
        signal[:, part] = process(data, sfreq, processing, parts).T
    _warn_flat_channels(flat, raw)
    rereference_in_processing(signal, raw, wanted, reference)
    signal = signal[:, : len(names)]
    if bads and processing.bads == "interpolate":
        interpolate_in_processing(signal, raw, names, bads, processing.sfreq)
    elif bads:
        signal[:, [names.index(name) for name in bads]] = 0.0
    return np.ascontiguousarray(signal)


def _read_recording_samples(raw, names):
    """Return samples, or raise that the file is truncated."""
    try:
        return raw.get_data(picks=names, verbose="ERROR")
    except (ValueError, OSError, RuntimeError) as error:
        raise make_read_raw_truncation_error(raw, error) from error


def _check_recording_finite(data, raw, names):
    """Raise with the first sample that is NaN or infinite."""
    bad = ~np.isfinite(data)
    if bad.any():
        channel, sample = np.argwhere(bad)[0]
        raise ValueError(
            f"{format_recording_file_name(raw)} holds {np.count_nonzero(bad)} NaN or infinite samples. The first one is in channel "
            f"{names[channel]!r} at {sample / raw.info['sfreq']:.3f} s. Mark the channel as bad in "
            "raw.info['bads'], exclude it with picks=, or cut the segment out of the file."
        )


def _warn_flat_channels(flat, raw):
    """Warn if all channels are constant outside of bad segments."""
    sfreq = raw.info["sfreq"]
    if flat.all():
        return  # reported where windows are made
    for note in raw.annotations:
        if note["description"].lower().startswith("bad"):
            start = round((note["onset"] - raw.first_time) * sfreq)
            flat[max(start - 1, 0) : max(round(start + note["duration"] * sfreq) + 1, 0)] = False
    edges = np.flatnonzero(np.diff(np.r_[False, flat, False])).reshape(-1, 2) / sfreq
    lasts, end = np.diff(edges)[:, 0], (raw.n_times - 1) / sfreq
    is_pad = ((edges[:, 0] == 0) | (edges[:, 1] == end)) & (lasts < MAX_PADDING * end)
    edges = edges[(lasts >= MIN_FLAT) & ~is_pad]
    if len(edges):
        start, stop = edges[0]
        warnings.warn(
            f"{format_recording_file_name(raw)} is constant in all channels from {start:.1f} to {stop:.1f} s ({len(edges)} such "
            f"segments, {np.diff(edges).sum():.1f} of {raw.n_times / sfreq:.1f} s). Windows there have no "
            "signal. Mark the segments with annotations 'BAD' in the file, or with rows of type 'bad' in the "
            "events table.",
            stacklevel=4,
        )


def _find_contiguous_parts(raw):
    """Return (start, stop) of the parts without gaps, in samples."""
    sfreq = raw.info["sfreq"]
    edges = {0, raw.n_times} | {round(gap.onset * sfreq) for gap in list_gaps(raw)}
    for note in raw.annotations:
        if note["description"].lower().startswith("bad_acq_skip"):  # MNE fills skips with zeros
            start = round((note["onset"] - raw.first_time) * sfreq)
            edges |= {start, start + round(note["duration"] * sfreq)}
    edges = sorted(edge for edge in edges if 0 <= edge <= raw.n_times)
    return list(zip(edges[:-1], edges[1:], strict=True))
