"""BIDS sidecar files of a recording: channels, electrodes, duration.

File names consist of entities, ``sub-01_ses-02_task-story_eeg.vhdr``. A table
in the same or a parent folder applies to all recordings with its entities (the
inheritance principle of BIDS [1]_).

References
----------
.. [1] Gorgolewski et al. (2016). BIDS, a format for organizing and describing
   neuroimaging data. https://doi.org/10.1038/sdata.2016.44
"""

from __future__ import annotations

import codecs
import re
import warnings
from io import BytesIO
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from sk_b2s._utils._caching import get_cache_code
from sk_b2s._utils._text import shorten_list
from sk_b2s.io._annex import check_annex_content
from sk_b2s.io._channel_names import CODE as NAMES
from sk_b2s.io._channel_names import match_channel_names
from sk_b2s.io._recording_files import (
    check_regular_recording_file,
    decode_recording_file_text,
    read_recording_json_file,
)
from sk_b2s.io._sensors import METERS

CODE = f"{get_cache_code(__file__)}-{NAMES}"
# MNE channel types of the types in channels.tsv that files often label as EEG.
NOT_EEG_TYPES = {
    "EOG": "eog", "HEOG": "eog", "VEOG": "eog", "ECG": "ecg", "EMG": "emg", "TRIG": "stim", "RESP": "resp",
    "GSR": "gsr", "TEMP": "temperature", "AUDIO": "misc", "MISC": "misc", "REF": "misc", "EYEGAZE": "misc",
    "PUPIL": "misc", "PPG": "misc", "SYSCLOCK": "misc", "PHOTO": "misc", "OTHER": "misc",
}  # fmt: skip
# Coordinate systems with their origin between the ears. Axes: x right and y forward, or x forward and y left.
RIGHT_FORWARD = ("captrak", "elektaneuromag", "neuromagelektamegin", "chietiitab")
FORWARD_LEFT = ("ctf", "eeglab", "eeglab-hj", "4dbti", "kityokogawa")
# Without leading zeros. MATLAB and numpy write NaN and infinity into columns of numbers.
NUMBER = re.compile(r" *((?i:nan)|[-+]?((?i:inf)|((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?)) *")


def parse_sidecar_entities(path):
    """Return the entities of a file name, with the last part as "suffix".

    Parameters
    ----------
    path : path-like

    Returns
    -------
    entities : dict of str to str
        Empty if the name does not follow BIDS.

    Examples
    --------
    >>> parse_sidecar_entities("sub-01/eeg/sub-01_task-story_run-02_eeg.vhdr")
    {'sub': '01', 'task': 'story', 'run': '02', 'suffix': 'eeg'}
    """
    *pairs, suffix = Path(path).name.split(".")[0].split("_")
    if not all(re.fullmatch(r"[a-zA-Z]+-[a-zA-Z0-9+]+", pair) for pair in pairs):
        return {}
    return {**dict(pair.split("-") for pair in pairs), "suffix": suffix}


def find_sidecar(recording, suffix, root=None, space=None):
    """Find a sidecar file by the inheritance principle of BIDS.

    The file of the nearest folder with the most matching entities applies.

    Parameters
    ----------
    recording : path-like
        File or folder of a BIDS data set.
    suffix : str
        End of the name: "events.tsv", "channels.tsv", "eeg.json".
    root : path-like, default=None
        Outermost folder to search. If None, the folder of
        ``dataset_description.json``, or that of the recording.
    space : str, default=None
        Coordinate system in the name, "CapTrak". If None, any.

    Returns
    -------
    path : Path or None
    """
    # mne-bids 0.20 is not used: find_matching_sidecar also returns tables of another run, session or
    # acquisition if the recording has none, and nothing if two tables have equally many entities.
    recording = Path(recording)
    own = {
        key: value
        for key, value in parse_sidecar_entities(recording).items()
        if key not in ("split", "suffix")
    }
    name, _, extension = suffix.partition(".")
    for folder in _iter_sidecar_folders(recording, root):
        fits = []
        for path in folder.glob(f"*{suffix}"):
            entities = parse_sidecar_entities(path)
            if entities.pop("suffix", None) == name and path.name.endswith(f"{name}.{extension}"):
                where = entities.pop("space", None)
                if entities.items() <= own.items() and (space is None or where in (None, space)):
                    fits.append((len(entities), where is not None, str(path)))
        if fits:
            return Path(max(fits)[-1])
    return None


def _iter_sidecar_folders(recording, root):
    """Return the folder of a recording and its parents in the data set."""
    parents = list(recording.parents)
    if root is not None:
        return parents[: parents.index(Path(root)) + 1] if Path(root) in parents else parents[:1]
    for depth, folder in enumerate(parents[:5]):
        if (folder / "dataset_description.json").is_file():
            return parents[: depth + 1]
    return parents[:1]


def read_sidecar_tsv(path, dtype=str):
    """Read a BIDS table, with "n/a" as missing value.

    Parameters
    ----------
    path : path-like
    dtype : type or None, default=str
        Type of all columns. If str, the words "nan" and "null" are kept. If
        None, types are inferred.

    Returns
    -------
    table : DataFrame

    Raises
    ------
    ValueError
        If the file is not a UTF-8 table, or a line has fewer or more fields
        than the header.
    """
    try:
        table = pd.read_csv(
            open_sidecar_table(path), sep="\t", dtype=dtype, keep_default_na=False, na_values=["n/a"], quoting=3,
            index_col=False,
        )  # fmt: skip
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{str(path)!r} is not a BIDS table (tab-separated UTF-8): {error}") from error
    table = table.rename(columns=str.strip)
    for column in table.select_dtypes(exclude="number"):
        texts = table[column]
        if texts.dtype != bool and texts.str.startswith('"').any():  # fields with a quote or a tab
            table[column] = texts.str.replace(r'^"(.*)"$', lambda m: m[1].replace('""', '"'), regex=True)
    return table


def convert_sidecar_numbers(texts):
    """Return a column of text as numbers if this loses nothing.

    All values must be decimal numbers without a leading zero, so that
    identifiers such as "007" stay text. Integers that a float would round stay
    text, too. "nan" and "inf" are numbers next to others.

    Parameters
    ----------
    texts : Series of str
        NaN or None for missing values.

    Returns
    -------
    column : Series
        int64, or float64 with missing values or decimals, else ``texts``.

    Examples
    --------
    >>> convert_sidecar_numbers(pd.Series(["7", "12"])).tolist()
    [7, 12]
    >>> convert_sidecar_numbers(pd.Series(["007", "12"])).tolist()
    ['007', '12']
    """
    known = texts.dropna().tolist()
    if not known or not all(isinstance(one, str) and NUMBER.fullmatch(one) for one in known):
        return texts
    digits = [one.strip(" +-") for one in known]
    if not any(one[-1].isdigit() or "." in one for one in digits):  # such as words
        return texts
    whole = [one for one in digits if one.isdigit()]
    largest = max(map(int, whole), default=0)
    is_integer = len(whole) == len(texts)
    return pd.to_numeric(texts, errors="coerce") if largest < (2**63 if is_integer else 2**53) else texts


def open_sidecar_table(path):
    """Open a BIDS table whose lines all have the fields of the header.

    The byte order mark and empty fields at the end of lines are removed.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    file : BytesIO

    Raises
    ------
    ValueError
        With the line, if it has fewer fields than the header, as in truncated
        files, or more non-empty ones.
    """
    check_regular_recording_file(path, "table")
    data = Path(path).read_bytes().removeprefix(codecs.BOM_UTF8)
    try:
        decode_recording_file_text(data, path)
    except ValueError as error:
        why = str(error).removeprefix(repr(str(path))).lstrip(", ")
        raise ValueError(f"{str(path)!r} is not a BIDS table (tab-separated UTF-8): {why}") from error
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines = data.split(b"\n")
    tabs = lines[0].rstrip(b"\t").count(b"\t")
    for row, line in enumerate(lines):
        if not line.strip():
            lines[row] = b""
        if (found := lines[row].count(b"\t")) == tabs or not lines[row]:
            continue
        if found < tabs or line.rstrip(b"\t").count(b"\t") > tabs:
            raise ValueError(
                f"{str(path)!r}, line {row + 1}: expected {tabs + 1} fields as in the header, got {found + 1}: "
                f"{line[:80].decode(errors='replace')!r}. Check that the file is complete and separated by tabs."
            )
        lines[row] = line[: len(line) - (found - tabs)]
    return BytesIO(b"\n".join(lines))


def list_sidecars(recording):
    """Return the sidecar files that :func:`apply_sidecars` reads."""
    if parse_sidecar_entities(recording).get("suffix") not in (
        "eeg",
        "meg",
        "raw",
    ) or "sub" not in parse_sidecar_entities(recording):
        return []
    electrodes = find_sidecar(recording, "electrodes.tsv")
    space = None if electrodes is None else parse_sidecar_entities(electrodes).get("space")
    found = [
        find_sidecar(recording, "channels.tsv"),
        electrodes,
        find_sidecar(recording, "coordsystem.json", space=space),
    ]
    found = [path for path in found if path is not None]
    for path in found:
        check_annex_content(path, "table")
    return found


def apply_sidecars(raw, recording):
    """Set bad channels, channel types and electrode positions of a Raw.

    They come from the BIDS sidecar files: channels of status "bad", types of
    channels that the recording labels as EEG, and positions of electrodes that
    the recording lacks. Positions need a coordinate system with its origin
    between the ears (such as CapTrak, EEGLAB or CTF).

    Parameters
    ----------
    raw : mne.io.Raw
        Modified in place.
    recording : path-like
        File of the Raw. Outside of a BIDS data set nothing is changed.

    Returns
    -------
    raw : mne.io.Raw

    Warns
    -----
    UserWarning
        If the recording is shorter than its ``RecordingDuration``.
    """
    _check_sidecar_duration(raw, Path(recording))
    paths = {parse_sidecar_entities(path)["suffix"]: path for path in list_sidecars(recording)}
    if "channels" in paths:
        _apply_sidecar_channels(raw, read_sidecar_tsv(paths["channels"]), paths["channels"])
    if "electrodes" in paths and "coordsystem" in paths and raw.get_montage() is None:
        _apply_sidecar_electrodes(raw, read_sidecar_tsv(paths["electrodes"]), paths)
    return raw


def parse_sidecar_duration(sidecar):
    """Return the ``RecordingDuration`` of a sidecar file in seconds, or NaN.

    Raises
    ------
    ValueError
        If it is not a number. The caller adds the file.
    """
    seconds = sidecar.get("RecordingDuration")
    try:
        return np.nan if seconds in (None, "n/a", "") else float(seconds)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"RecordingDuration must be a number of seconds. Got {seconds!r} instead."
        ) from error


def _check_sidecar_duration(raw, recording):
    """Warn if a recording is shorter than its sidecar file states."""
    if "sub" not in parse_sidecar_entities(recording) or recording.parent.name not in ("eeg", "meg"):
        return
    path = find_sidecar(recording, f"{recording.parent.name}.json")
    if path is None:
        return
    try:
        expected = parse_sidecar_duration(read_recording_json_file(path))
    except ValueError as error:
        if not str(error).startswith("RecordingDuration"):
            raise
        return
    lasts = raw.n_times / raw.info["sfreq"]
    if lasts < expected - max(1.0, 0.01 * expected):
        warnings.warn(
            f"recording {str(recording)!r} lasts {lasts:.1f} s, but its duration in {path.name!r} is "
            f"{expected:.1f} s. The file seems truncated. Fetch or copy it again.",
            stacklevel=4,
        )


def _apply_sidecar_channels(raw, table, path):
    """Set bad channels and channel types from channels.tsv."""
    if "name" not in table:
        raise ValueError(f"{str(path)!r} must have the column 'name'. It has {list(table)}.")
    names = match_channel_names(table["name"].fillna(""), raw.ch_names, path)
    table = table.assign(name=names).dropna(subset="name")
    if "status" in table:
        status = table["status"].str.strip().str.lower()
        if len(odd := sorted(set(status.dropna()) - {"good", "bad", ""})):
            warnings.warn(
                f"{str(path)!r}, column 'status': expected good, bad or n/a, got {shorten_list(map(repr, odd))}, which "
                "is read as good. Write 'bad' for channels to exclude.",
                stacklevel=5,
            )
        bad = table.loc[status == "bad", "name"].unique()
        raw.info["bads"] += [name for name in bad if name not in raw.info["bads"]]
    if "type" in table:
        kinds = dict(zip(raw.ch_names, raw.get_channel_types(), strict=True))
        listed = dict(zip(table["name"], table["type"].fillna("").str.strip().str.upper(), strict=True))
        change = {
            n: NOT_EEG_TYPES[kind]
            for n, kind in listed.items()
            if kinds[n] == "eeg" and kind in NOT_EEG_TYPES
        }
        raw.set_channel_types(change, on_unit_change="ignore", verbose="ERROR")


def _apply_sidecar_electrodes(raw, table, paths):
    """Set positions from electrodes.tsv in a known coordinate system."""
    header = read_recording_json_file(paths["coordsystem"])
    system = str(header.get("EEGCoordinateSystem", "")).lower()
    unit = METERS.get(header.get("EEGCoordinateUnits"))
    if (
        unit is None
        or system not in (*RIGHT_FORWARD, *FORWARD_LEFT)
        or not {"name", "x", "y", "z"} <= set(table)
    ):
        return
    place = table[["x", "y", "z"]].apply(pd.to_numeric, errors="coerce").to_numpy(float) * unit
    if system in FORWARD_LEFT:
        place = np.column_stack([-place[:, 1], place[:, 0], place[:, 2]])
    electric = [n for n, k in zip(raw.ch_names, raw.get_channel_types(), strict=True) if k == "eeg"]
    names = match_channel_names(table["name"].fillna(""), electric, paths["electrodes"])
    positions = {
        name: xyz
        for name, xyz in zip(names, place, strict=True)
        if name is not None and np.isfinite(xyz).all()
    }
    if positions:
        montage = mne.channels.make_dig_montage(positions, coord_frame="head")
        raw.set_montage(montage, on_missing="ignore", verbose="ERROR")
