"""Recordings in MATLAB files: FieldTrip and Broderick et al. structs."""

from __future__ import annotations

import re
from pathlib import Path

import mne
import numpy as np
from scipy.io import loadmat, whosmat

from sk_b2s._utils._caching import get_cache_code
from sk_b2s._utils._units import format_unknown_unit, get_unit_factor
from sk_b2s.io._recording_files import FileFormatError
from sk_b2s.io._sensors import METERS, NOT_EEG

CODE = get_cache_code(__file__)
MIN_SD = 1e-2  # µV, below the standard deviation of any electrode
MAGNETIC = re.compile(r"M[LRZ][CFOPT]\d\d(-\d+)?$|MEG ?\d{3,4}$")
FIELDTRIP_TYPES = {
    "eeg": "eeg", "eog": "eog", "ecg": "ecg", "emg": "emg", "trigger": "stim", "megmag": "mag", "meggrad": "mag",
    "megaxial": "mag", "megplanar": "grad", "refmag": "ref_meg", "refgrad": "ref_meg",
}  # fmt: skip


def read_matlab(path):
    """Read a MATLAB file with one of the supported structs."""
    names = _list_matlab_variables(path)
    return read_matlab_broderick(path) if "eegData" in names else read_matlab_fieldtrip(path)


def _list_matlab_variables(path):
    """Return the names of the variables in a MATLAB file."""
    try:
        return {name for name, _, _ in whosmat(path)}
    except NotImplementedError as error:
        raise FileFormatError(
            f"recording {str(path)!r} is a MATLAB file of version 7.3, which is not supported. Save it with "
            "save(..., '-v7'), or as FIF with fieldtrip2fiff of FieldTrip."
        ) from error


def read_matlab_broderick(path):
    """Read a run of Broderick et al. from Dryad, with 128 BioSemi channels.

    Parameters
    ----------
    path : path-like
        ``.mat`` file with ``eegData`` (n_times, 128) and ``mastoids``
        (n_times, 2) in microvolts, and ``fs``.

    Returns
    -------
    raw : mne.io.RawArray
        ``A1`` to ``D32`` in volts, with the montage "biosemi128". The mastoids
        ``M1`` and ``M2`` have the type "misc", for use as
        ``Epocher(reference=("M1", "M2"))``.

    Raises
    ------
    ValueError
        If a variable or channel is missing.
    """
    content = loadmat(path, variable_names=["eegData", "mastoids", "fs"])
    montage = mne.channels.make_standard_montage("biosemi128")
    if missing := {"eegData", "fs"} - set(content):
        raise FileFormatError(f"recording {str(path)!r} lacks the variables {sorted(missing)}.")
    data = np.asarray(content["eegData"], float).T
    if len(data) != len(montage.ch_names):
        raise FileFormatError(
            f"recording {str(path)!r}: eegData must be (n_times, 128), got {content['eegData'].shape}."
        )
    if 0 < (spread := float(np.median(data.std(axis=1)))) < MIN_SD:
        raise FileFormatError(
            f"recording {str(path)!r}: eegData must be in microvolts, but its channels have a standard "
            f"deviation of {spread:.1g}. If the unit is volt, multiply by 1e6 and save it again."
        )
    mastoids = np.asarray(content.get("mastoids", np.empty((data.shape[1], 0))), float).T
    names = [*montage.ch_names, *["M1", "M2"][: len(mastoids)]]
    info = mne.create_info(names, float(np.squeeze(content["fs"])), ["eeg"] * 128 + ["misc"] * len(mastoids))
    raw = mne.io.RawArray(1e-6 * np.concatenate([data, mastoids]), info, verbose="ERROR")
    raw.set_montage(montage, verbose="ERROR")
    return _set_matlab_filename(raw, path)


def read_matlab_fieldtrip(path):
    """Read a continuous recording from a FieldTrip struct.

    Parameters
    ----------
    path : path-like
        ``.mat`` file with one struct that has the fields ``label``, ``trial``
        and ``fsample`` (or ``hdr.Fs``). Trials must be contiguous
        (``sampleinfo``).

    Returns
    -------
    raw : mne.io.RawArray
        Signals in volts and tesla, converted from ``hdr.chanunit``. Without
        it, magnetic sensors are in tesla and all others in microvolts. Channel
        types are those in ``hdr.chantype``, except for names of other
        physiology and audio (``VEOG``, ``AUD``, ``Aux5``). Without it, sensors
        in ``grad`` or with CTF names are magnetic. Positions come from
        ``elec`` or ``grad``. Electrodes without positions that are named by
        numbers up to 61 get those of "easycap-M10".

    Raises
    ------
    ValueError
        If the struct is missing, trials have gaps, or a unit is unknown.
    """
    content = loadmat(path, squeeze_me=True, simplify_cells=True)
    found = [
        value for value in content.values() if isinstance(value, dict) and {"label", "trial"} <= set(value)
    ]
    if len(found) != 1:
        raise FileFormatError(
            f"recording {str(path)!r} must hold one FieldTrip struct with 'label' and 'trial', or 'eegData' and "
            f"'fs'. It holds {sorted(name for name in content if not name.startswith('__'))}."
        )
    (struct,) = found
    header = struct.get("hdr") or {}
    names = [str(name).strip() for name in np.atleast_1d(struct["label"])]
    data = _join_fieldtrip_trials(struct, len(names), path)
    sfreq = struct.get("fsample", header.get("Fs"))
    if sfreq is None:
        raise FileFormatError(
            f"recording {str(path)!r} has no sampling rate: 'fsample' and 'hdr.Fs' are missing."
        )
    magnetic = _read_matlab_sensor_labels(struct.get("grad") or header.get("grad"))
    kinds = [
        _get_matlab_channel_type(name, kind, magnetic)
        for name, kind in zip(names, _read_matlab_values_by_channel(header, "chantype", names), strict=True)
    ]
    units = [
        _get_matlab_unit_scale(unit, kind, path)
        for unit, kind in zip(_read_matlab_values_by_channel(header, "chanunit", names), kinds, strict=True)
    ]
    info = mne.create_info(names, float(sfreq), kinds)
    raw = mne.io.RawArray(data * np.array(units)[:, None], info, verbose="ERROR")
    _set_matlab_positions(raw, struct, header)
    return _set_matlab_filename(raw, path)


def _set_matlab_filename(raw, path):
    """Store the file name, which messages print."""
    raw._filenames = (Path(path),)
    return raw


def _join_fieldtrip_trials(struct, n_channels, path):
    """Concatenate trials without gaps: (n_channels, n_times)."""
    trials = struct["trial"]
    trials = [trials] if isinstance(trials, np.ndarray) and trials.dtype != object else list(trials)
    trials = [np.asarray(trial, float).reshape(n_channels, -1) for trial in trials]
    if len(trials) > 1:
        info = np.atleast_2d(struct.get("sampleinfo", np.empty((0, 2))))
        if len(info) != len(trials) or (info[1:, 0] != info[:-1, 1] + 1).any():
            raise FileFormatError(
                f"recording {str(path)!r} holds {len(trials)} trials with gaps between them, but must be "
                "continuous. Save the data before ft_definetrial, or pass mne.Epochs or an array of windows to a "
                "decoder."
            )
    return np.concatenate(trials, axis=1)


def _read_matlab_values_by_channel(header, field, names):
    """Return a header field for each channel, None if missing."""
    values = header.get(field)
    if values is None or len(np.atleast_1d(values)) != len(np.atleast_1d(header.get("label", names))):
        return [None] * len(names)
    labels = [str(label).strip() for label in np.atleast_1d(header.get("label", names))]
    listed = {label: str(value).strip() for label, value in zip(labels, np.atleast_1d(values), strict=True)}
    return [listed.get(name) for name in names]


def _read_matlab_sensor_labels(sensors):
    """Return the sensor names of a FieldTrip description as a set."""
    found = sensors.get("label", ()) if isinstance(sensors, dict) else ()
    return {str(name).strip() for name in np.atleast_1d(found)}


def _get_matlab_channel_type(name, kind, magnetic):
    """Return MNE's type of a channel. Names of other physiology win."""
    if NOT_EEG.match(name):
        return "eog" if "EOG" in name.upper() else "misc"
    if kind is None or str(kind).lower() in ("unknown", ""):
        return "mag" if name in magnetic or MAGNETIC.match(name) else "eeg"
    return FIELDTRIP_TYPES.get(str(kind).lower(), "misc")


def _get_matlab_unit_scale(unit, kind, path):
    """Return the factor to volts or tesla."""
    if unit is None or str(unit).lower() in ("unknown", "[]", ""):
        return 1.0 if kind in ("mag", "grad", "ref_meg") else 1e-6  # FieldTrip stores MEG in tesla
    if (factor := get_unit_factor(unit)) is None:
        raise FileFormatError(f"recording {str(path)!r}: {format_unknown_unit(unit)}")
    return factor


def _set_matlab_positions(raw, struct, header):
    """Set sensor positions in place from the struct or the names."""
    for field in ("elec", "grad"):
        sensors = struct.get(field) or header.get(field)
        if not isinstance(sensors, dict) or "label" not in sensors:
            continue
        meters = METERS.get(str(sensors.get("unit", "m")), 1.0)
        positions = sensors.get("chanpos", sensors.get("elecpos", sensors.get("pnt")))
        for name, position in zip(sensors["label"], np.atleast_2d(positions), strict=False):
            if str(name) in raw.ch_names:
                raw.info["chs"][raw.ch_names.index(str(name))]["loc"][:3] = meters * position
        return
    electrodes = [
        name for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True) if kind == "eeg"
    ]
    if len(electrodes) > 32 and all(name.isdigit() and 1 <= int(name) <= 61 for name in electrodes):
        raw.set_montage("easycap-M10", on_missing="ignore", verbose="ERROR")
