"""Recordings in MATLAB files: FieldTrip and Broderick et al. structs."""

from __future__ import annotations

import re
from pathlib import Path

import mne
import numpy as np
from scipy.io import loadmat, whosmat

from sk_b2s._utils._caching import code_of
from sk_b2s.io._file_parts import RecordingFormatError
from sk_b2s.io._sensors import NOT_EEG

CODE = code_of(__file__)
FAINT = 1e-2  # µV of s.d. that no electrode's samples have
UNITS = {
    "v": 1.0, "mv": 1e-3, "uv": 1e-6, "µv": 1e-6, "nv": 1e-9, "t": 1.0, "pt": 1e-12, "ft": 1e-15, "t/m": 1.0,
    "ft/cm": 1e-13,
}  # fmt: skip
MAGNETIC = re.compile(r"M[LRZ][CFOPT]\d\d(-\d+)?$|MEG ?\d{3,4}$")
METERS = {"m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001}
FIELDTRIP_TYPES = {
    "eeg": "eeg", "eog": "eog", "ecg": "ecg", "emg": "emg", "trigger": "stim", "megmag": "mag", "meggrad": "mag",
    "megaxial": "mag", "megplanar": "grad", "refmag": "ref_meg", "refgrad": "ref_meg",
}  # fmt: skip


def read_mat(path):
    """Read whichever of the known structs a MATLAB file holds."""
    names = _variables(path)
    return read_broderick(path) if "eegData" in names else read_fieldtrip(path)


def _variables(path):
    try:
        return {name for name, _, _ in whosmat(path)}
    except NotImplementedError as error:
        raise RecordingFormatError(
            f"recording {str(path)!r} is a MATLAB file of version 7.3, which is not read; save it by save(..., '-v7') "
            f"or as FIF by FieldTrip's fieldtrip2fiff."
        ) from error


def read_broderick(path):
    """Read a run of Broderick's listeners as Dryad has it: a table of 128 BioSemi channels.

    Parameters
    ----------
    path : str or Path
        A ``.mat`` with ``eegData`` (n_times, 128) and ``mastoids`` (n_times, 2) in microvolts, and ``fs``.

    Returns
    -------
    raw : mne.io.RawArray
        ``A1`` to ``D32`` in volt, placed by the montage "biosemi128", and the mastoids ``M1`` and ``M2`` as "misc":
        never taken for EEG, but there for ``Epocher(reference=("M1", "M2"))``.

    Raises
    ------
    ValueError
        If a variable or channel is missing.
    """
    held = loadmat(path, variable_names=["eegData", "mastoids", "fs"])
    montage = mne.channels.make_standard_montage("biosemi128")
    if missing := {"eegData", "fs"} - set(held):
        raise RecordingFormatError(f"recording {str(path)!r} lacks the variables {sorted(missing)}.")
    data = np.asarray(held["eegData"], float).T
    if len(data) != len(montage.ch_names):
        raise RecordingFormatError(
            f"recording {str(path)!r}: eegData must be (n_times, 128), got {held['eegData'].shape}."
        )
    if 0 < (spread := float(np.median(data.std(axis=1)))) < FAINT:
        raise RecordingFormatError(
            f"recording {str(path)!r}: eegData is to be in microvolts, but its channels vary by {spread:.1g}; if that "
            f"is volt, save it multiplied by 1e6."
        )
    mastoids = np.asarray(held.get("mastoids", np.empty((data.shape[1], 0))), float).T
    names = [*montage.ch_names, *["M1", "M2"][: len(mastoids)]]
    info = mne.create_info(names, float(np.squeeze(held["fs"])), ["eeg"] * 128 + ["misc"] * len(mastoids))
    raw = mne.io.RawArray(1e-6 * np.concatenate([data, mastoids]), info, verbose="ERROR")
    raw.set_montage(montage, verbose="ERROR")
    return _remember(raw, path)


def read_fieldtrip(path):
    """Read a continuous recording from a FieldTrip struct, such as those of Brennan's listeners.

    Parameters
    ----------
    path : str or Path
        A ``.mat`` of which one variable has the fields ``label``, ``trial`` and ``fsample`` (or ``hdr.Fs``). Several
        trials must follow each other without a gap (``sampleinfo``).

    Returns
    -------
    raw : mne.io.RawArray
        In the units that ``hdr.chanunit`` names, made volt and tesla; where it names none, magnetic sensors are in
        tesla and all others in microvolt. Types are those of ``hdr.chantype``, but for names that speak against it
        (``VEOG``, ``AUD``, ``Aux5``); without it, sensors of ``grad`` and of CTF's names are magnetic. Places are those
        of ``elec`` or ``grad``; electrodes with no place whose names are numbers up to 61 are those of "easycap-M10".

    Raises
    ------
    ValueError
        If there is no such variable, trials leave gaps, or a unit is not known.
    """
    held = loadmat(path, squeeze_me=True, simplify_cells=True)
    found = [value for value in held.values() if isinstance(value, dict) and {"label", "trial"} <= set(value)]
    if len(found) != 1:
        raise RecordingFormatError(
            f"recording {str(path)!r} must hold one FieldTrip struct with 'label' and 'trial', or 'eegData' and 'fs'; "
            f"it holds {sorted(name for name in held if not name.startswith('__'))}."
        )
    (struct,) = found
    header = struct.get("hdr") or {}
    names = [str(name).strip() for name in np.atleast_1d(struct["label"])]
    data = _one_piece(struct, len(names), path)
    sfreq = struct.get("fsample", header.get("Fs"))
    if sfreq is None:
        raise RecordingFormatError(f"recording {str(path)!r} has no rate: neither 'fsample' nor 'hdr.Fs'.")
    magnetic = _labels_of(struct.get("grad") or header.get("grad"))
    kinds = [
        _type_of(name, kind, magnetic)
        for name, kind in zip(names, _by_label(header, "chantype", names), strict=True)
    ]
    units = [
        _scale_of(unit, kind, path)
        for unit, kind in zip(_by_label(header, "chanunit", names), kinds, strict=True)
    ]
    info = mne.create_info(names, float(sfreq), kinds)
    raw = mne.io.RawArray(data * np.array(units)[:, None], info, verbose="ERROR")
    _place(raw, struct, header)
    return _remember(raw, path)


def _remember(raw, path):
    """Keep the file's name, which messages print."""
    raw._filenames = (Path(path),)
    return raw


def _one_piece(struct, n_channels, path):
    """Join trials without gaps: (n_channels, n_times)."""
    trials = struct["trial"]
    trials = [trials] if isinstance(trials, np.ndarray) and trials.dtype != object else list(trials)
    trials = [np.asarray(trial, float).reshape(n_channels, -1) for trial in trials]
    if len(trials) > 1:
        info = np.atleast_2d(struct.get("sampleinfo", np.empty((0, 2))))
        if len(info) != len(trials) or (info[1:, 0] != info[:-1, 1] + 1).any():
            raise RecordingFormatError(
                f"recording {str(path)!r} holds {len(trials)} trials with gaps between them; continuous recordings are "
                f"cut here, so save the data before ft_definetrial, or hand over mne.Epochs or an array of windows."
            )
    return np.concatenate(trials, axis=1)


def _by_label(header, field, names):
    """What the header says of each channel, None where it says nothing."""
    values = header.get(field)
    if values is None or len(np.atleast_1d(values)) != len(np.atleast_1d(header.get("label", names))):
        return [None] * len(names)
    labels = [str(label).strip() for label in np.atleast_1d(header.get("label", names))]
    said = {label: str(value).strip() for label, value in zip(labels, np.atleast_1d(values), strict=True)}
    return [said.get(name) for name in names]


def _labels_of(sensors):
    """Names of the sensors of a FieldTrip description: set."""
    found = sensors.get("label", ()) if isinstance(sensors, dict) else ()
    return {str(name).strip() for name in np.atleast_1d(found)}


def _type_of(name, kind, magnetic):
    """MNE's type of a channel; a name that speaks of something else than brain is believed."""
    if NOT_EEG.match(name):
        return "eog" if "EOG" in name.upper() else "misc"
    if kind is None or str(kind).lower() in ("unknown", ""):
        return "mag" if name in magnetic or MAGNETIC.match(name) else "eeg"
    return FIELDTRIP_TYPES.get(str(kind).lower(), "misc")


def _scale_of(unit, kind, path):
    if unit is None or str(unit).lower() in ("unknown", "[]", ""):
        return 1.0 if kind in ("mag", "grad", "ref_meg") else 1e-6  # FieldTrip keeps MEG in tesla
    try:
        return UNITS[str(unit).lower()]
    except KeyError as error:
        raise RecordingFormatError(
            f"recording {str(path)!r}: unit {str(unit)!r} is none of {', '.join(UNITS)}."
        ) from error


def _place(raw, struct, header):
    """Set the places of sensors, in place, where the struct or the sensors' names tell them."""
    for field in ("elec", "grad"):
        sensors = struct.get(field) or header.get(field)
        if not isinstance(sensors, dict) or "label" not in sensors:
            continue
        meters = METERS.get(str(sensors.get("unit", "m")), 1.0)
        places = sensors.get("chanpos", sensors.get("elecpos", sensors.get("pnt")))
        for name, place in zip(sensors["label"], np.atleast_2d(places), strict=False):
            if str(name) in raw.ch_names:
                raw.info["chs"][raw.ch_names.index(str(name))]["loc"][:3] = meters * place
        return
    electrodes = [
        name for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True) if kind == "eeg"
    ]
    if len(electrodes) > 32 and all(name.isdigit() and 1 <= int(name) <= 61 for name in electrodes):
        raw.set_montage("easycap-M10", on_missing="ignore", verbose="ERROR")
