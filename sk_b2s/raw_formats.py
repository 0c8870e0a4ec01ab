"""The one door to a recording's file: every format that MNE reads, KIT's digitisation, and MATLAB's structs."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import mne
import numpy as np
from scipy.io import loadmat, whosmat

from sk_b2s.caching import code_of
from sk_b2s.sensors import NOT_EEG

__all__ = [
    "check_content",
    "read_broderick",
    "read_fastscan",
    "read_fieldtrip",
    "read_raw",
    "refuse_4d",
    "say_truncated",
]

CODE = code_of(__file__)
KIT = (".con", ".sqd")
# What MNE warns of when a file holds less than its header, or its markers, say.
CUT_OFF = re.compile(
    r"invalid tag|does not match the file size|outside data range|truncated|unexpected end", re.I
)
FAINT = 1e-2  # µV of s.d. that no electrode's samples have
HEAD_SHAPE = 500  # points kept of a head's surface; FastSCAN writes hundreds of thousands
UNITS = {
    "v": 1.0, "mv": 1e-3, "uv": 1e-6, "µv": 1e-6, "nv": 1e-9, "t": 1.0, "pt": 1e-12, "ft": 1e-15, "t/m": 1.0,
    "ft/cm": 1e-13,
}  # fmt: skip
MAGNETIC = re.compile(r"M[LRZ][CFOPT]\d\d(-\d+)?$|MEG ?\d{3,4}$")
METRES = {"m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001}
FIELDTRIP_TYPES = {
    "eeg": "eeg", "eog": "eog", "ecg": "ecg", "emg": "emg", "trigger": "stim", "megmag": "mag", "meggrad": "mag",
    "megaxial": "mag", "megplanar": "grad", "refmag": "ref_meg", "refgrad": "ref_meg",
}  # fmt: skip


def read_raw(path):
    """Open a recording in whatever format it is, samples unread where the format allows.

    Beyond what :func:`mne.io.read_raw` does of itself:

    * KIT ``.con`` and ``.sqd`` get their head from the markers (``*_markers.mrk`` or ``.sqd``) and the FastSCAN
      files (``*_acq-ELP_headshape.pos``, ``*_acq-HSP_headshape.pos``) that BIDS puts beside them, if all three are
      there. The places of the sensors do not need them.
    * CTF ``.ds`` sensors lose the suffix of their site (``MLC11-2908`` is ``MLC11``), so that one sensor has one
      name everywhere.
    * MATLAB ``.mat`` is a FieldTrip struct (:func:`read_fieldtrip`) or one of Broderick's tables
      (:func:`read_broderick`).

    Samples are in volt and tesla.

    Parameters
    ----------
    path : str or Path
        A file, or the folder of a CTF or EGI recording.

    Returns
    -------
    raw : mne.io.Raw

    Raises
    ------
    FileNotFoundError
        If there is no such file, or a link stands where its content has not been fetched.
    ValueError
        If the file is not of a format that can be read, or ends too early to be opened.

    Warns
    -----
    UserWarning
        If the file is shorter than it says itself.
    """
    path = Path(path)
    _check_there(path)
    refuse_4d(path)
    suffix = path.suffix.lower()
    read = {".ds": _read_ctf, ".mat": _read_mat, **dict.fromkeys(KIT, _read_kit)}.get(suffix, _read_any)
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            raw = read(path)
    except (FileNotFoundError, Explained):
        raise
    except Exception as error:  # readers fail on broken bytes in every possible way
        raise ValueError(
            f"recording {str(path)!r} cannot be opened: {type(error).__name__}: {str(error).strip()[:300]} Is it whole "
            f"({_size(path)} here), and of a format that mne.io.read_raw reads?"
        ) from error
    for text in dict.fromkeys(str(warning.message) for warning in said):
        if "is read without its head" in text:
            warnings.warn(text, stacklevel=2)
        if CUT_OFF.search(text):
            warnings.warn(
                f"recording {str(path)!r} holds less than it says of itself and seems truncated "
                f"({text.strip()[:200]}): {raw.n_times / raw.info['sfreq']:.1f} s can be read. Fetch or copy it again.",
                stacklevel=2,
            )
    return raw


class Explained(ValueError):
    """An error that already tells the user what to do."""


def refuse_4d(path):
    """Raise for a folder of 4D Neuroimaging (BTi), the one format of BIDS for MEG whose files have no ending.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    ValueError
        Telling how to make a FIF of it.
    """
    path = Path(path)
    if path.is_dir() and path.suffix == "":
        raise Explained(
            f"recording {str(path)!r} is a folder without an ending, as of 4D Neuroimaging (BTi), which is not read. "
            f"Make a FIF of it: mne.io.read_raw_bti('{path.name}/c,rfDC', '{path.name}/config', '{path.name}/hs_file')"
            f".save('{path.name}.fif')."
        )


def say_truncated(raw, error):
    """Turn what a reader raised among the samples into an error that names the file."""
    files = getattr(raw, "filenames", None)
    path = Path(files[0]) if files and files[0] else None
    return ValueError(
        f"recording {str(path)!r} opens, but its samples cannot be read: {type(error).__name__}: "
        f"{str(error).strip()[:200]}. It is most likely truncated ({_size(path) if path else 'size unknown'} here); "
        f"fetch or copy it again and compare its size with the source's."
    )


def _size(path):
    if not path.exists():
        return "absent"
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    return f"{sum(file.stat().st_size for file in files):,} bytes"


def check_content(path, what="recording"):
    """Raise for a file that is the placeholder that git-annex or DataLad left.

    Parameters
    ----------
    path : Path
    what : str, default="recording"
        What the message calls it.

    Raises
    ------
    FileNotFoundError
        With the command that fetches its content.
    """
    pointer = (
        path.is_file() and path.stat().st_size < 1000 and path.read_bytes().startswith(b"/annex/objects")
    )
    if pointer or (path.is_symlink() and not path.exists()):
        raise FileNotFoundError(
            f"{what} {str(path)!r} is a link to content that has not been fetched: run `datalad get {path.name!r}` "
            f"or `git annex get {path.name!r}` in {str(path.parent)!r}."
        )


def _check_there(path):
    check_content(path)
    if not path.exists():
        raise FileNotFoundError(
            f"recording {str(path)!r} does not exist; the column 'recording' must hold the path of a "
            f"file that mne.io.read_raw reads."
        )


def _read_any(path):
    return mne.io.read_raw(path, preload=False, verbose="WARNING")


def _read_ctf(path):
    return mne.io.read_raw_ctf(path, clean_names=True, preload=False, verbose="WARNING")


# --- KIT -----------------------------------------------------------------------------------------


def _read_kit(path):
    head = {}
    try:
        head = _digitisation(path)
        return mne.io.read_raw_kit(path, **head, preload=False, verbose="WARNING")
    except Exception as error:  # the sensors' places do not need the head
        raw = mne.io.read_raw_kit(path, preload=False, verbose="WARNING")
        warnings.warn(
            f"recording {str(path)!r} is read without its head: the markers or head points beside it cannot be used "
            f"({type(error).__name__}: {str(error).strip()[:200]}).",
            stacklevel=2,
        )
        return raw


def _digitisation(path):
    """Markers and points of the head beside a KIT recording laid out after BIDS: {} unless all are there."""
    session = re.match(r"sub-[^_]+(_ses-[^_]+)?", path.stem)
    if session is None:
        return {}
    recording = path.stem.removesuffix("_meg")
    found = {
        "mrk": [path.with_name(f"{recording}_markers{suffix}") for suffix in (".mrk", ".sqd")],
        "elp": [path.with_name(f"{session[0]}_acq-ELP_headshape.pos")],
        "hsp": [path.with_name(f"{session[0]}_acq-HSP_headshape.pos")],
    }
    found = {name: next(filter(Path.is_file, paths), None) for name, paths in found.items()}
    if None in found.values():
        return {}
    surface = read_fastscan(found["hsp"])
    surface = surface[:: max(1, len(surface) // HEAD_SHAPE)]
    return {"mrk": found["mrk"], "elp": read_fastscan(found["elp"]), "hsp": surface}


def read_fastscan(path):
    """Read the points that Polhemus FastSCAN wrote as text.

    Parameters
    ----------
    path : str or Path
        Lines of three numbers in millimetres, and comments that begin with ``%``, whatever the file's suffix.

    Returns
    -------
    points : ndarray of shape (n_points, 3)
        In metres.

    Raises
    ------
    ValueError
        Naming the line that does not hold three numbers.
    """
    points = []
    for number, line in enumerate(Path(path).read_text(encoding="latin-1").splitlines(), start=1):
        fields = line.partition("%")[0].split()
        if not fields:
            continue
        try:
            x, y, z = map(float, fields)
        except ValueError as error:
            raise Explained(
                f"{str(path)!r}, line {number}: expected the three coordinates of a point in mm, got {line.strip()!r}."
            ) from error
        points.append((x, y, z))
    if not points:
        raise Explained(f"{str(path)!r} holds no points; is it a FastSCAN text file?")
    return np.array(points) / 1000


# --- MATLAB --------------------------------------------------------------------------------------


def _read_mat(path):
    names = _variables(path)
    return read_broderick(path) if "eegData" in names else read_fieldtrip(path)


def _variables(path):
    try:
        return {name for name, _, _ in whosmat(path)}
    except NotImplementedError as error:
        raise Explained(
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
        raise Explained(f"recording {str(path)!r} lacks the variables {sorted(missing)}.")
    data = np.asarray(held["eegData"], float).T
    if len(data) != len(montage.ch_names):
        raise Explained(
            f"recording {str(path)!r}: eegData must be (n_times, 128), got {held['eegData'].shape}."
        )
    if 0 < (spread := float(np.median(data.std(axis=1)))) < FAINT:
        raise Explained(
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
        raise Explained(
            f"recording {str(path)!r} must hold one FieldTrip struct with 'label' and 'trial', or 'eegData' and 'fs'; "
            f"it holds {sorted(name for name in held if not name.startswith('__'))}."
        )
    (struct,) = found
    header = struct.get("hdr") or {}
    names = [str(name).strip() for name in np.atleast_1d(struct["label"])]
    data = _one_piece(struct, len(names), path)
    sfreq = struct.get("fsample", header.get("Fs"))
    if sfreq is None:
        raise Explained(f"recording {str(path)!r} has no rate: neither 'fsample' nor 'hdr.Fs'.")
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
            raise Explained(
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
        raise Explained(
            f"recording {str(path)!r}: unit {str(unit)!r} is none of {', '.join(UNITS)}."
        ) from error


def _place(raw, struct, header):
    """Set the places of sensors, in place, where the struct or the sensors' names tell them."""
    for field in ("elec", "grad"):
        sensors = struct.get(field) or header.get(field)
        if not isinstance(sensors, dict) or "label" not in sensors:
            continue
        metres = METRES.get(str(sensors.get("unit", "m")), 1.0)
        places = sensors.get("chanpos", sensors.get("elecpos", sensors.get("pnt")))
        for name, place in zip(sensors["label"], np.atleast_2d(places), strict=False):
            if str(name) in raw.ch_names:
                raw.info["chs"][raw.ch_names.index(str(name))]["loc"][:3] = metres * place
        return
    electrodes = [
        name for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True) if kind == "eeg"
    ]
    if len(electrodes) > 32 and all(name.isdigit() and 1 <= int(name) <= 61 for name in electrodes):
        raw.set_montage("easycap-M10", on_missing="ignore", verbose="ERROR")
