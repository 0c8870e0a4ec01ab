"""Writer of BIDS events.tsv files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._text import shorten_list, shorten_text
from sk_b2s.events._images import list_image_types, make_image
from sk_b2s.io._bids_events import VERSIONS
from sk_b2s.io._sidecars import parse_sidecar_entities

NAMES = {"type": "trial_type", "sound": "stim_file"}  # columns that BIDS calls otherwise
FIRST = ("onset", "duration", "trial_type", "stim_file", "sound_onset", "text")
OF_RECORDING = ("study", "subject", "session", "task", "run", "recording")  # part of the file name
DECIMALS = 6  # of seconds
MEANINGS = {
    "onset": ("Onset of the event in the recording", "s"),
    "duration": ("Duration of the event", "s"),
    "trial_type": ("sound, image or another stimulus, word, phoneme, or bad (a stretch to leave out)", None),
    "stim_file": ("Audio file or image, relative to the folder stimuli", None),
    "sound_onset": ("Onset of the event in the audio file", "s"),
    "text": ("Word or phoneme", None),
    "sequence": ("Sentence of the word or phoneme", None),
    "word_index": ("Position of the word in its sentence, from 0", None),
}


def write_bids_events(events, root=None, *, overwrite=False):
    """Write the events of each recording as a BIDS ``events.tsv`` file.

    :func:`read_bids` reads them again. An ``events.json`` file next to each
    table describes its columns.

    Parameters
    ----------
    events : DataFrame
        Events table in the format of :func:`~sk_b2s.check_events`. The
        recordings must have names of BIDS, such as
        ``sub-01/eeg/sub-01_task-story_eeg.vhdr``.
    root : path-like, default=None
        Folder that gets the ``sub-*`` folders, such as one of derivatives. If
        None, the tables are written next to the recordings.
    overwrite : bool, default=False
        If True, replace existing files.

    Returns
    -------
    paths : list of Path
        The tables, in the order of the recordings in ``events``.

    Raises
    ------
    FileExistsError
        If a table exists and ``overwrite`` is False. Nothing is written then.
    ValueError
        If a recording has no name of BIDS, a stimulus is not a file, or
        ``recording``, ``type`` or ``onset`` is missing in a row.

    Notes
    -----
    Audio files in a folder "stimuli" of the data set are written relative to
    it, and others as absolute paths. Times are rounded to microseconds.
    ``type`` becomes the column ``trial_type``, and ``sound`` becomes
    ``stim_file``. All other columns keep their names. Onsets include an
    ``audio_delay`` of :func:`read_bids`, so do not pass it again.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from sk_b2s.datasets import make_listening
    >>> with TemporaryDirectory() as root:
    ...     events = make_listening(1, minutes=1, n_channels=16, root=root)
    ...     paths = write_bids_events(events, root + "/derivatives/mine")
    >>> [path.name for path in paths]
    ['sub-01_task-listening_events.tsv']
    """
    if missing := [column for column in ("recording", "type", "onset", "duration") if column not in events]:
        raise ValueError(
            f"'events' is missing required columns {missing}. Pass the output of check_events(events)."
        )
    for column in ("recording", "type", "onset"):
        if lost := np.flatnonzero(events[column].isna()).tolist():
            raise ValueError(
                f"events row {events.index[lost[0]]!r} has no {column!r} ({len(lost)} such rows), and would be lost. Fill "
                f"it in, or drop these rows with events.dropna(subset={column!r})."
            )
    tables = {}
    for recording, rows in events.groupby("recording", sort=False):
        path = _locate_bids_table(Path(recording), root)
        if path in tables:
            raise ValueError(
                f"Two recordings have the same events table {path.name!r}, the second is {str(recording)!r}. Write "
                f"them to different folders with root=..."
            )
        tables[path] = _make_bids_table(rows, path)
    existing = [path.name for path in tables if path.exists()]
    if existing and not overwrite:
        raise FileExistsError(
            f"{len(existing)} events.tsv files exist: {shorten_list(existing)}. Pass overwrite=True to replace them, or "
            f"another folder as root=..."
        )
    for path, table in tables.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_bids_text(
            path, "".join("\t".join(line) + "\n" for line in [list(table), *table.to_numpy().tolist()])
        )
        _write_bids_text(
            path.with_suffix(".json"), json.dumps(_describe_bids_columns(table), indent=2) + "\n"
        )
    return list(tables)


def _locate_bids_table(recording, root):
    """Return the path of the events.tsv file of a recording."""
    entities = parse_sidecar_entities(recording)
    if "sub" not in entities or "task" not in entities:
        raise ValueError(
            f"The recording {shorten_text(recording.name)} must have a name of BIDS with the entities sub and task, such "
            f"as 'sub-01_task-story_eeg.vhdr'. Rename the files, for example with mne_bids.write_raw_bids."
        )
    pairs = [f"{key}-{value}" for key, value in entities.items() if key not in VERSIONS]
    folder = recording.parent
    if root is not None:
        session = [f"ses-{entities['ses']}"] if "ses" in entities else []
        folder = Path(os.path.abspath(root)).joinpath(
            f"sub-{entities['sub']}", *session, recording.parent.name
        )
    return folder / f"{'_'.join(pairs)}_events.tsv"


def _make_bids_table(rows, path):
    """Make the table of one recording, with text in all cells."""
    rows = rows.drop(columns=[column for column in (*OF_RECORDING, *NAMES.values()) if column in rows])
    rows = rows.sort_values("onset", kind="stable").dropna(axis=1, how="all")
    rows = _name_images_in_bids_table(rows)
    if "sound" in rows:
        rows = rows.assign(sound=[_format_bids_stimulus(sound, path) for sound in rows["sound"]])
    rows = rows.rename(columns=NAMES)
    first = [column for column in FIRST if column in rows]
    rows = rows[[*first, *(column for column in rows if column not in first)]]
    return rows.apply(lambda column: column.map(_format_bids_cell))


def _name_images_in_bids_table(rows):
    """Replace images by their identifier, with the file in ``sound``."""
    for kind in list_image_types(rows):
        own = (rows["type"] == kind).to_numpy()
        names = rows[kind] if kind in rows else pd.Series(None, rows.index, dtype=object)
        sound = rows["sound"] if "sound" in rows else pd.Series(None, rows.index, dtype=object)
        given = sound.astype(object).where(sound.notna(), names)[own].dropna()
        images = {value: make_image(value, kind) for value in given.unique()}
        rows = rows.assign(**{
            kind: names.astype(object).where(~own, given.map({value: one.name for value, one in images.items()})),
            "sound": sound.astype(object).where(~own, given.map({v: one.path or None for v, one in images.items()})),
        })  # fmt: skip
    return rows.dropna(axis=1, how="all")


def _format_bids_stimulus(sound, table):
    """Return a stimulus relative to the folder of stimuli, if it is in one."""
    if not isinstance(sound, (str, Path)):
        if not np.ndim(sound) and pd.isna(sound):
            return None
        raise ValueError(
            f"write_bids_events requires stimuli that are files, but {table.name!r} has a {type(sound).__name__}. Write "
            f"it to an audio file, and name this file in the column 'sound'."
        )
    path = Path(os.path.abspath(sound))
    for folder in table.parents:
        if path.is_relative_to(folder / "stimuli"):
            return path.relative_to(folder / "stimuli").as_posix()
    return str(path)


def _format_bids_cell(value):
    """Return a value as text, "n/a" if it is missing."""
    if pd.isna(value):
        return "n/a"
    if isinstance(value, (float, np.floating)):
        value = round(float(value), DECIMALS)
        return str(int(value)) if value.is_integer() else str(value)
    text = " ".join(str(value).splitlines()).replace("\t", " ")
    return '"' + text.replace('"', '""') + '"' if text.startswith('"') else text


def _describe_bids_columns(table):
    """Describe the columns as in the sidecar files of BIDS."""
    meanings = {
        column: MEANINGS.get(column, (f"Column {column!r} of the events table", None)) for column in table
    }
    return {
        column: {"Description": text} | ({} if unit is None else {"Units": unit})
        for column, (text, unit) in meanings.items()
    }


def _write_bids_text(path, text):
    """Write a file at once, so that an interruption leaves the old one."""
    draft = path.with_name(path.name + ".part")
    draft.write_text(text, encoding="utf-8", newline="\n")
    draft.replace(path)
