"""BIDS sidecar files of a recording: inheritance, channels, electrodes.

Files are named by entities, ``sub-01_ses-02_task-story_run-01_eeg.vhdr``, and a table in the same or an
outer folder holds for every recording that has all its entities (the inheritance principle of BIDS [1]_).

References
----------
.. [1] Gorgolewski et al. (2016). The brain imaging data structure, a format for organizing and describing
   outputs of neuroimaging experiments. Scientific Data 3:160044. https://doi.org/10.1038/sdata.2016.44
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

from sk_b2s._utils._caching import code_of
from sk_b2s._utils._text import shorten_list
from sk_b2s.io._annex import check_content
from sk_b2s.io._channel_names import CODE as NAMES
from sk_b2s.io._channel_names import match_names
from sk_b2s.io._file_parts import check_regular, decode_utf8, read_json

CODE = f"{code_of(__file__)}-{NAMES}"
# What channels.tsv calls that which files often take for EEG, in MNE's words; the others become "misc".
NOT_BRAIN = {
    "EOG": "eog", "HEOG": "eog", "VEOG": "eog", "ECG": "ecg", "EMG": "emg", "TRIG": "stim", "RESP": "resp",
    "GSR": "gsr", "TEMP": "temperature", "AUDIO": "misc", "MISC": "misc", "REF": "misc", "EYEGAZE": "misc",
    "PUPIL": "misc", "PPG": "misc", "SYSCLOCK": "misc", "PHOTO": "misc", "OTHER": "misc",
}  # fmt: skip
METERS = {"m": 1.0, "cm": 1e-2, "mm": 1e-3}
# Coordinate systems whose origin lies between the ears: x to the right and y forward, or x forward and y left.
RIGHT_FORWARD = ("captrak", "elektaneuromag", "neuromagelektamegin", "chietiitab")
FORWARD_LEFT = ("ctf", "eeglab", "eeglab-hj", "4dbti", "kityokogawa")


def entities_of(path):
    """Read the entities of a name, the last part as "suffix".

    Parameters
    ----------
    path : path-like

    Returns
    -------
    entities : dict of str to str
        Empty if the name is none of BIDS.

    Examples
    --------
    >>> entities_of("sub-01/eeg/sub-01_task-story_run-02_eeg.vhdr")
    {'sub': '01', 'task': 'story', 'run': '02', 'suffix': 'eeg'}
    """
    *pairs, suffix = Path(path).name.split(".")[0].split("_")
    if not all(re.fullmatch(r"[a-zA-Z]+-[a-zA-Z0-9+]+", pair) for pair in pairs):
        return {}
    return {**dict(pair.split("-") for pair in pairs), "suffix": suffix}


def find_sidecar(recording, suffix, root=None, space=None):
    """Find the table of a recording: in its folder or an outer one, the nearest and most specific.

    Parameters
    ----------
    recording : path-like
        A file or folder of a BIDS data set.
    suffix : str
        How the name ends: "events.tsv", "channels.tsv", "eeg.json".
    root : path-like, default=None
        The outermost folder to look in. None is that which holds ``dataset_description.json``, or the
        recording's own.
    space : str, default=None
        The coordinate system of its name, "CapTrak"; None is any.

    Returns
    -------
    path : Path or None
    """
    recording = Path(recording)
    own = {key: value for key, value in entities_of(recording).items() if key not in ("split", "suffix")}
    name, _, extension = suffix.partition(".")
    for folder in _folders(recording, root):
        fits = []
        for path in folder.glob(f"*{suffix}"):
            entities = entities_of(path)
            if entities.pop("suffix", None) == name and path.name.endswith(f"{name}.{extension}"):
                where = entities.pop("space", None)
                if entities.items() <= own.items() and (space is None or where in (None, space)):
                    fits.append((len(entities), where is not None, str(path)))
        if fits:
            return Path(max(fits)[-1])
    return None


def _folders(recording, root):
    """The folder of a recording and those around it, up to the data set's."""
    parents = list(recording.parents)
    if root is not None:
        return parents[: parents.index(Path(root)) + 1] if Path(root) in parents else parents[:1]
    for depth, folder in enumerate(parents[:5]):
        if (folder / "dataset_description.json").is_file():
            return parents[: depth + 1]
    return parents[:1]


def read_tsv(path):
    """Read a table as texts, missing where it says "n/a"; a mark of byte order is no part of a name.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    table : DataFrame
        All columns hold str or NaN, so that the words "nan" and "null" stay words.

    Raises
    ------
    ValueError
        If the file is not UTF-8 or no table, or a line has fewer or more fields than the head.
    """
    try:
        table = pd.read_csv(
            open_table(path), sep="\t", dtype=str, keep_default_na=False, na_values=["n/a"], quoting=3,
            index_col=False,
        )  # fmt: skip
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{str(path)!r} is no table of BIDS, tab-separated UTF-8: {error}") from error
    table = table.rename(columns=str.strip)
    for column in table:
        texts = table[column]
        if texts.str.startswith('"').any():  # as programs write a field with a quote or a tab in it
            table[column] = texts.str.replace(r'^"(.*)"$', lambda m: m[1].replace('""', '"'), regex=True)
    return table


def open_table(path):
    """Open a table of BIDS of which each line has the fields of the first; a mark of byte order is passed.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    file : BytesIO
        Without empty fields at the end of lines that the first line does not have.

    Raises
    ------
    ValueError
        Naming a line with fewer fields, as where a file was cut off, or with more of which one holds something.
    """
    check_regular(path, "table")
    data = Path(path).read_bytes().removeprefix(codecs.BOM_UTF8)
    try:
        decode_utf8(data, path)
    except ValueError as error:
        why = str(error).removeprefix(repr(str(path))).lstrip(", ")
        raise ValueError(f"{str(path)!r} is no table of BIDS, tab-separated UTF-8: {why}") from error
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
                f"{str(path)!r}, line {row + 1}: expected {tabs + 1} fields as in the first line, got {found + 1}: "
                f"{line[:80].decode(errors='replace')!r}. Was the file cut off, or is it not separated by tabs?"
            )
        lines[row] = line[: len(line) - (found - tabs)]
    return BytesIO(b"\n".join(lines))


def sidecars_of(recording):
    """List the tables that :func:`apply_sidecars` reads for a recording.

    Parameters
    ----------
    recording : path-like

    Returns
    -------
    paths : list of Path
    """
    if entities_of(recording).get("suffix") not in ("eeg", "meg", "raw") or "sub" not in entities_of(
        recording
    ):
        return []
    electrodes = find_sidecar(recording, "electrodes.tsv")
    space = None if electrodes is None else entities_of(electrodes).get("space")
    found = [
        find_sidecar(recording, "channels.tsv"),
        electrodes,
        find_sidecar(recording, "coordsystem.json", space=space),
    ]
    found = [path for path in found if path is not None]
    for path in found:
        check_content(path, "table")
    return found


def apply_sidecars(raw, recording):
    """Tell a Raw what its BIDS tables know: bad channels, what is no EEG, and where the electrodes are.

    A channel of status "bad" joins ``raw.info["bads"]``; one that the file takes for EEG and
    ``channels.tsv`` for something else gets that type; electrodes whose file has no place take that of
    ``electrodes.tsv``, if its coordinate system has its origin between the ears (CapTrak, EEGLAB, CTF
    and the like).

    Parameters
    ----------
    raw : mne.io.Raw
        Changed in place.
    recording : path-like
        Where it was read from; outside BIDS nothing happens.

    Returns
    -------
    raw : mne.io.Raw

    Warns
    -----
    UserWarning
        If the recording is shorter than ``RecordingDuration`` of its ``eeg.json`` or ``meg.json``.
    """
    _compare_length(raw, Path(recording))
    paths = {entities_of(path)["suffix"]: path for path in sidecars_of(recording)}
    if "channels" in paths:
        _apply_channels(raw, read_tsv(paths["channels"]), paths["channels"])
    if "electrodes" in paths and "coordsystem" in paths and raw.get_montage() is None:
        _apply_electrodes(raw, read_tsv(paths["electrodes"]), paths)
    return raw


def _compare_length(raw, recording):
    """Warn of a recording that ends before its description says."""
    if "sub" not in entities_of(recording) or recording.parent.name not in ("eeg", "meg"):
        return
    path = find_sidecar(recording, f"{recording.parent.name}.json")
    if path is None:
        return
    said = read_json(path).get("RecordingDuration")
    lasts = raw.n_times / raw.info["sfreq"]
    if isinstance(said, (int, float)) and lasts < said - max(1.0, 0.01 * said):
        warnings.warn(
            f"recording {str(recording)!r} lasts {lasts:.1f} s, but {path.name!r} says {said:.1f} s: it seems "
            f"truncated. Fetch or copy it again.",
            stacklevel=4,
        )


def _apply_channels(raw, table, path):
    if "name" not in table:
        raise ValueError(f"{str(path)!r} lacks the column 'name'; it has {list(table)}.")
    names = match_names(table["name"].fillna(""), raw.ch_names, path)
    table = table.assign(name=names).dropna(subset="name")
    if "status" in table:
        said = table["status"].str.strip().str.lower()
        if len(odd := sorted(set(said.dropna()) - {"good", "bad", ""})):
            warnings.warn(
                f"{str(path)!r}, column 'status': expected good, bad or n/a, got {shorten_list(map(repr, odd))}, taken for "
                f"good. Write 'bad' where a channel is not to be used.",
                stacklevel=5,
            )
        bad = table.loc[said == "bad", "name"].unique()
        raw.info["bads"] += [name for name in bad if name not in raw.info["bads"]]
    if "type" in table:
        kinds = dict(zip(raw.ch_names, raw.get_channel_types(), strict=True))
        told = dict(zip(table["name"], table["type"].fillna("").str.strip().str.upper(), strict=True))
        change = {n: NOT_BRAIN[kind] for n, kind in told.items() if kinds[n] == "eeg" and kind in NOT_BRAIN}
        raw.set_channel_types(change, on_unit_change="ignore", verbose="ERROR")


def _apply_electrodes(raw, table, paths):
    about = read_json(paths["coordsystem"])
    system = str(about.get("EEGCoordinateSystem", "")).lower()
    unit = METERS.get(about.get("EEGCoordinateUnits"))
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
    names = match_names(table["name"].fillna(""), electric, paths["electrodes"])
    places = {
        name: xyz
        for name, xyz in zip(names, place, strict=True)
        if name is not None and np.isfinite(xyz).all()
    }
    if places:
        montage = mne.channels.make_dig_montage(places, coord_frame="head")
        raw.set_montage(montage, on_missing="ignore", verbose="ERROR")
