"""Gaps in recordings: pauses, removed segments and joins.

A gap lies between two samples and has no length in the file. The missing time
may be known. In an opened recording a gap is an annotation ``EDGE gap (15.000
s)`` or ``EDGE gap``, which MNE's filters respect and which moves with the
samples if the recording is cropped.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import mne
import numpy as np

from sk_b2s._utils._caching import get_cache_code
from sk_b2s.io._raw._binary_headers import find_binary_header_breaks, read_binary_record_times
from sk_b2s.io._recording_files import list_recording_files_of_header, read_recording_json_file
from sk_b2s.io._sidecars import find_sidecar, parse_sidecar_entities

CODE = get_cache_code(__file__)
# Annotations of gaps by MNE, EEGLAB, BrainVision, Nihon Kohden and mark_gaps.
IS_GAP = re.compile(
    r"(?:bad|edge)[ _]boundary|(?:.*/\s*)?boundary|new segment\s*/?.*|edge gap(?: \((?P<seconds>[\d.]+) s\))?",
    re.I,
)
SEGMENT = re.compile(
    r"^Mk\d+\s*=\s*New Segment,[^,]*,(\d{1,12}),\d*,-?\d*(?:,(\d*))?", re.MULTILINE | re.IGNORECASE
)
DATE = "%Y%m%d%H%M%S%f"
MIN_EPOCH = 0.1  # s, shortest epoch
MAX_DRIFT = 1e-4  # maximum drift between computer and amplifier


class Gap(NamedTuple):
    """Place in a recording where time is missing."""

    onset: float  # s from the first sample to the first one after the gap, NaN if unknown
    seconds: float  # duration of the missing time, NaN if unknown


def list_gaps(raw):
    """List the gaps of an opened recording in order.

    Parameters
    ----------
    raw : mne.io.Raw
        As returned by :func:`mark_gaps`. It may be cropped or concatenated.

    Returns
    -------
    gaps : list of Gap
        A gap at the first sample is listed only if its duration is known.
    """
    sfreq, found = raw.info["sfreq"], {}
    for note in raw.annotations:
        match = IS_GAP.fullmatch(note["description"].strip())
        # Boundaries of EEGLAB lie between two samples.
        sample = int(np.ceil((note["onset"] - raw.first_time) * sfreq - 1e-3))
        if match is None or not 0 <= sample < raw.n_times:
            continue
        seconds = float(match["seconds"] or "nan")
        if np.isnan(seconds) and "boundary" == note["description"].strip().lower():
            seconds = (
                note["duration"] if note["duration"] > 1.5 / sfreq else np.nan
            )  # EEGLAB's default of 1 sample
        if sample > 0 or seconds > 0:
            found[sample] = np.fmax(found.get(sample, np.nan), seconds)
    return [Gap(float(sample / sfreq), float(found[sample])) for sample in sorted(found)]


def mark_gaps(raw, path):
    """Annotate the gaps that MNE reports and those that only the file has."""
    path, sfreq = Path(path), raw.info["sfreq"]
    found = {round(gap.onset * sfreq): gap.seconds for gap in list_gaps(raw)}
    suffix = path.suffix.lower()
    if suffix == ".vhdr":
        found = _add_gaps_between_segments(path, raw, found)
    elif suffix == ".set":
        found = _add_boundary_durations(path, raw, found)
    elif suffix in (".edf", ".bdf"):
        found |= _find_record_gaps(path, sfreq)
    elif suffix == ".ds":
        found |= _find_trial_gaps(raw)
    if not found:
        found = _find_epoch_gaps(path, raw)
    inside = sorted(sample for sample in found if 0 <= sample < raw.n_times)
    others = [i for i, name in enumerate(raw.annotations.description) if IS_GAP.fullmatch(name.strip())]
    raw.annotations.delete(others)
    if inside:
        names = ["EDGE gap" + ("" if np.isnan(found[s]) else f" ({found[s]:.6f} s)") for s in inside]
        raw.annotations.append(np.array(inside) / sfreq + raw.first_time, np.zeros(len(inside)), names)
    return raw


def read_type_for_gaps(path):
    """Read the continuity of a recording from its BIDS sidecar file.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    kind : str
        "continuous", "discontinuous" or "epoched" in lower case. "" if
        unknown.
    epoch : float or None
        Duration of an epoch in seconds.
    """
    path = Path(path)
    if path.parent.name not in ("eeg", "meg") or "sub" not in parse_sidecar_entities(path):
        return "", None
    file = find_sidecar(path, f"{path.parent.name}.json")
    if file is None:
        return "", None
    sidecar = read_recording_json_file(file)
    epoch = sidecar.get("EpochLength")
    is_length = isinstance(epoch, (int, float)) and 0 < epoch < np.inf
    return str(sidecar.get("RecordingType", "")).strip().lower(), float(epoch) if is_length else None


def describe_gaps(gaps, max_named=5):
    """Describe the first gaps in a message."""
    texts = [
        f"{'an unknown time' if np.isnan(gap.seconds) else f'{gap.seconds:.1f} s'} missing at {gap.onset:.1f} s"
        for gap in gaps
        if np.isfinite(gap.onset)
    ]
    if not texts:
        return "gaps at unknown places"
    return ", ".join(texts[:max_named]) + (
        f" and {len(texts) - max_named} more gaps" if len(texts) > max_named else ""
    )


# --- gaps in file formats ---------------------------------------------------------


def _add_gaps_between_segments(path, raw, found):
    """Add the segments of a BrainVision marker file, with missing times."""
    markers = list_recording_files_of_header(path).get("MarkerFile", path.with_suffix(".vmrk"))
    if not markers.is_file():
        return found
    sfreq = raw.info["sfreq"]
    segments = [
        (int(at) - 1, _parse_gap_date(day)) for at, day in SEGMENT.findall(markers.read_text("latin-1"))
    ]
    segments = [(0, None)] * (not segments or segments[0][0] > 0) + sorted(segments, key=lambda one: one[0])
    for (first, before), (second, after) in zip(segments[:-1], segments[1:], strict=True):
        if second == first:
            continue
        seconds, written = np.nan, (second - first) / sfreq
        if before is not None and after is not None:
            seconds = (after - before).total_seconds() - written
        if abs(seconds) <= 2 / sfreq + MAX_DRIFT * written:
            found.pop(second, None)  # no time is missing
        else:
            found[second] = seconds if seconds > 0 else np.nan
    return found


def _parse_gap_date(text):
    """Return the date of a BrainVision marker, None if invalid."""
    try:
        return datetime.strptime(text, DATE)
    except ValueError:
        return None


def _add_boundary_durations(path, raw, found):
    """Add durations of EEGLAB boundaries that MNE cuts at the end."""
    end = raw.n_times / raw.info["sfreq"]
    cut = [
        gap for gap in list_gaps(raw) if not gap.onset + gap.seconds < end - 0.5 and not np.isnan(gap.seconds)
    ]
    if not cut:
        return found
    notes = mne.read_annotations(path)
    for onset, seconds, name in zip(notes.onset, notes.duration, notes.description, strict=True):
        if name.strip().lower() == "boundary":
            sample = int(np.ceil(onset * raw.info["sfreq"] - 1e-3))
            found[sample] = np.fmax(found.get(sample, np.nan), seconds or np.nan)
    return found


def _find_record_gaps(path, sfreq):
    """Find gaps between data records of EDF+D, and BioSemi pauses."""
    times, seconds = read_binary_record_times(path)
    found = {}
    if path.suffix.lower() == ".bdf":
        found = {round(at * sfreq): np.nan for at in find_binary_header_breaks(path)}
    if times is not None:
        missing = np.diff(times) - seconds
        wide = np.flatnonzero(~(np.abs(missing) <= 1.5 / sfreq))
        known = np.where(missing > 0, missing, np.nan)  # records do not overlap
        found |= {round((i + 1) * seconds * sfreq): float(known[i]) for i in wide}
    return found


def _find_trial_gaps(raw):
    """Find the gaps between the trials of a CTF recording."""
    size = int(raw._raw_extras[0].get("block_size", 0))
    clock = next((name for name in raw.ch_names if name.startswith("SCLK")), None)
    starts = np.arange(0, raw.n_times, size) if size else []
    if clock is None or len(starts) < 2:
        return {}
    index = raw.ch_names.index(clock)
    count = np.array([raw[index, s : s + 1][0][0, 0] for s in [*starts, starts[0] + size - 1]])
    return find_gaps_between_trials(count[:-1], count[-1], size, raw.info["sfreq"])


def find_gaps_between_trials(count, last, size, sfreq):
    """Find gaps between trials from a clock that runs while recording pauses.

    Parameters
    ----------
    count : ndarray of shape (n_trials,)
        Clock at the first sample of each trial.
    last : float
        Clock at the last sample of the first trial.
    size : int
        Samples per trial.
    sfreq : float
        Sampling rate in Hz.

    Returns
    -------
    gaps : dict of int to float
        Missing seconds before a sample.
    """
    step = (last - count[0]) / max(size - 1, 1)
    if not step > 0:
        return {}
    missing = np.diff(count) / step - size
    return {
        int((trial + 1) * size): float(missing[trial] / sfreq) if missing[trial] > 0 else np.nan
        for trial in np.flatnonzero(np.abs(missing) > max(2, MAX_DRIFT * size))
    }


def _find_epoch_gaps(path, raw):
    """Find the gaps between epochs of a BIDS recording type."""
    kind, epoch = read_type_for_gaps(path)
    if kind != "epoched" or epoch is None:
        return {}
    size = round(epoch * raw.info["sfreq"])
    return dict.fromkeys(range(size, raw.n_times, size), np.nan) if epoch >= MIN_EPOCH else {}
