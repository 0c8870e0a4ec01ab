"""Filter, resample, re-reference and interpolate signals."""

from __future__ import annotations

from fractions import Fraction

import mne
import numpy as np
from scipy.signal import firwin, resample_poly

from sk_b2s._utils._caching import get_cache_code
from sk_b2s._utils._text import shorten_list
from sk_b2s.io._raw._causal import process_causally
from sk_b2s.io._recording_files import format_recording_file_name
from sk_b2s.io._sensors import HEAD_CENTER, NOT_EEG, project_sensors

CODE = get_cache_code(__file__)
ELECTRIC = ("eeg", "seeg", "ecog", "dbs")
HEAD_POINTS = (3, 4)  # FIFF kinds of digitized electrodes and extra points
MAX_PADDING = 0.1  # share of a recording that may be constant at its start and end


def compute_processed_length(n_times, sfreq_in, sfreq_out):
    """Compute floor(n_times * sfreq_out / sfreq_in)."""
    ratio = Fraction(sfreq_out / sfreq_in).limit_denominator(10000)
    return n_times * ratio.numerator // ratio.denominator


def resample_in_processing(data, sfreq_in, sfreq_out):
    """Resample the last axis with a polyphase windowed sinc filter.

    The filter of the paper has 24 zero crossings on each side, a cutoff at
    0.945 of the new Nyquist frequency (56.7 Hz for 120 Hz) and a Hann window.
    Edges are extended with their last value.

    Parameters
    ----------
    data : ndarray of shape (..., n_times)
    sfreq_in, sfreq_out : float
        Sampling rates in Hz.

    Returns
    -------
    data : ndarray of shape (..., floor(n_times * sfreq_out / sfreq_in))
    """
    ratio = Fraction(sfreq_out / sfreq_in).limit_denominator(10000)
    up, down = ratio.numerator, ratio.denominator
    if up == down:
        return data
    taps = firwin(2 * 24 * max(up, down) + 1, 0.945 / max(up, down), window="hann")
    out = resample_poly(data, up, down, axis=-1, window=taps, padtype="edge")
    return out[..., : compute_processed_length(data.shape[-1], sfreq_in, sfreq_out)]


def process(data, sfreq, processing, parts):
    """Filter and resample each part separately, to avoid ringing at gaps."""
    if len(parts) == 1:
        return _process_recording_part(data, sfreq, processing)
    ratio = Fraction(processing.sfreq / sfreq).limit_denominator(10000)
    up, down = ratio.numerator, ratio.denominator
    n_times = data.shape[1]
    out = np.zeros((len(data), compute_processed_length(n_times, sfreq, processing.sfreq)), data.dtype)
    for start, stop in parts:
        lead = start % down  # align the part with the output samples of the whole recording
        first, last = -(-start * up // down), min(-(-stop * up // down), out.shape[1])
        place = first - (start - lead) * up // down
        done = _process_recording_part(data[:, start:stop], sfreq, processing, lead, down)
        out[:, first:last] = done[:, place : place + last - first]
    return out


def _process_recording_part(data, sfreq, processing, before=0, after=0):
    """Process a part, with repetitions of its first and last sample."""
    filtered = data if processing.causal else _filter_recording(data, sfreq, processing)
    if before or after:
        filtered = np.pad(filtered, ((0, 0), (before, after)), mode="edge")
    if processing.causal:
        return process_causally(filtered, sfreq, processing)
    return resample_in_processing(filtered, sfreq, processing.sfreq)


def _filter_recording(data, sfreq, processing):
    """Apply the notch filter, then the band-pass filter."""
    options = {"phase": processing.phase, "verbose": "ERROR"}
    if processing.notch is not None:
        data = mne.filter.notch_filter(data, sfreq, processing.notch, **options)
    if processing.l_freq is not None or processing.h_freq is not None:
        data = mne.filter.filter_data(data, sfreq, processing.l_freq, processing.h_freq, **options)
    return data


def select_processing_reference(raw, names, reference):
    """Return the channels whose mean is subtracted.

    For "average", these are all good electric channels of the picked types.
    """
    if reference is None:
        return []
    types = dict(zip(raw.ch_names, raw.get_channel_types(), strict=True))
    if reference == "average":
        kinds = {types[name] for name in names} & set(ELECTRIC)
        if not kinds:
            return []  # only magnetic sensors
        good = [name for name in raw.ch_names if types[name] in kinds and name not in raw.info["bads"]]
        chosen = [name for name in good if not NOT_EEG.match(name)]
    else:
        if missing := [name for name in reference if name not in raw.ch_names]:
            raise ValueError(
                f"reference={list(reference)!r}: {format_recording_file_name(raw)} has no channel {missing}. It has "
                f"{shorten_list(raw.ch_names)}."
            )
        chosen = list(reference)
    if all(types[name] in ("mag", "grad") for name in chosen):
        raise ValueError(
            f"reference={reference!r}: {format_recording_file_name(raw)} has no good electric channel for the reference. Use "
            "reference=None."
        )
    return chosen


def rereference_in_processing(signal, raw, wanted, reference):
    """Subtract the mean of the reference from electric channels, in place."""
    if not reference:
        return
    types = dict(zip(raw.ch_names, raw.get_channel_types(), strict=True))
    electric = np.array([types[name] not in ("mag", "grad") for name in wanted])
    index = [wanted.index(name) for name in reference]
    signal[:, electric] -= signal[:, index].mean(1, keepdims=True, dtype=np.float64)


def check_processing_interpolation(raw, bads):
    """Raise if the fields of active shielding make interpolation wrong.

    Interpolation assumes that all sources are inside of the helmet, but the
    coils of the shield are outside.
    """
    kinds = dict(zip(raw.ch_names, raw.get_channel_types(), strict=True))
    if raw.info.get("maxshield") and (magnetic := [name for name in bads if kinds[name] in ("mag", "grad")]):
        raise ValueError(
            f"bads='interpolate': {format_recording_file_name(raw)} was acquired with MaxShield (internal active shielding). "
            f"The fields of its coils would be interpolated wrongly in {shorten_list(magnetic)}. Use bads='mask', or "
            "mne.preprocessing.maxwell_filter, which reconstructs bad channels, and pass its result."
        )


def interpolate_in_processing(signal, raw, names, bads, sfreq):
    """Interpolate bad channels in place from good ones with positions."""
    check_processing_interpolation(raw, bads)
    known = np.isfinite(project_sensors(raw.info, names)).all(1)
    names = np.array(names)
    if missing := [name for name in names[~known] if name in bads]:
        raise ValueError(
            f"bads='interpolate': {format_recording_file_name(raw)} has no position for the bad channels {missing}. Pass "
            "montage=..., or use bads='mask'."
        )
    info = mne.pick_info(raw.info, [raw.ch_names.index(name) for name in names[known]], verbose="ERROR")
    with info._unlock():
        info["sfreq"] = sfreq
        info["lowpass"] = min(info["lowpass"], sfreq / 2)
    info["bads"] = bads
    head = [point for point in info["dig"] or () if int(point["kind"]) in HEAD_POINTS]
    origin = "auto" if len(head) > 3 else tuple(HEAD_CENTER)
    located = mne.io.RawArray(signal[:, known].T.astype(float), info, verbose="ERROR")
    located.interpolate_bads(reset_bads=False, origin=origin, verbose="ERROR")
    signal[:, np.isin(names, bads)] = located.get_data(picks=[n for n in names if n in bads]).T


def check_processing_band(l_freq, h_freq, sfreq, notch=None):
    """Raise a ValueError if filters contradict each other or ``sfreq``."""
    if notch is not None and not (notch and all(0 < frequency < float("inf") for frequency in notch)):
        raise ValueError(
            f"The 'notch' parameter must hold one or more frequencies above 0 Hz. Got {notch!r} instead. Use "
            "notch=None to disable it."
        )
    if None not in (l_freq, h_freq) and l_freq >= h_freq:
        raise ValueError(
            f"l_freq must be below h_freq. Got l_freq={l_freq:g} and h_freq={h_freq:g} Hz, which would remove "
            "the band between them."
        )
    if l_freq is not None and l_freq >= sfreq / 2:
        raise ValueError(
            f"l_freq must be below sfreq / 2. Got l_freq={l_freq:g} Hz at sfreq={sfreq:g} Hz, which would "
            "remove the whole signal. Lower l_freq or raise sfreq."
        )


def check_processing_filters(processing, file_sfreq, name):
    """Raise a ValueError if a filter is above the Nyquist frequency."""
    edges = [("l_freq", processing.l_freq), ("h_freq", processing.h_freq)]
    edges += [("notch", frequency) for frequency in processing.notch or ()]
    for parameter, frequency in edges:
        if frequency is not None and frequency >= file_sfreq / 2:
            raise ValueError(
                f"{parameter}={frequency:g} Hz must be below {file_sfreq / 2:g} Hz, the Nyquist frequency of "
                f"{name}. Lower it or set it to None."
            )
