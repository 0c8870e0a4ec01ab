"""Events tables from CSV, TSV, JSON and Parquet files."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import pandas as pd

from sk_b2s.events._check_events import is_event_type
from sk_b2s.events._images import OTHER_TYPES, find_image
from sk_b2s.io._recording_files import check_regular_recording_file, decode_recording_file_text
from sk_b2s.io._sidecars import convert_sidecar_numbers

# Columns that are text, although values such as "01" and "null" look like numbers or missing values.
TEXT_COLUMNS = (
    "study", "subject", "session", "task", "run", "recording", "type", "sound", "text", "sequence", "condition",
    "speaker", "language", "stream",
)  # fmt: skip
NUMBER_COLUMNS = ("onset", "duration", "sound_onset", "word_index", "recording_duration", "drift_ppm")
PATH_COLUMNS = ("recording", "sound")
SUFFIXES = (".tsv", ".tsv.gz", ".csv", ".csv.gz", ".json")
BOOLEANS = {
    text: value for value in (True, False) for text in (f"{value}", f"{value}".upper(), f"{value}".lower())
}
MISSING = ("", "n/a")  # as in BIDS, because "NA", "nan" and "null" are words


def read_events(path):
    r"""Read an events table from a CSV, TSV or JSON file.

    Parameters
    ----------
    path : path-like
        Table with the columns of :func:`~sk_b2s.check_events`. In ``.tsv`` and
        ``.csv`` files (also ``.gz``), empty cells and "n/a" are missing
        values, and columns of numbers are numbers unless a value has a
        leading zero, such as "007". A ``.json`` file is a list of objects. A
        folder must hold one such file with the name "events". Paths in
        ``recording`` and ``sound`` may be relative to the folder of the file.
        So may those in ``image``, or the column of another type of stimuli,
        where names that are not files are identifiers.

    Returns
    -------
    events : DataFrame
        Events table. It is not checked.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is not an events table.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "events.csv")
    ...     _ = path.write_text("subject,text,onset\n01,null,2.5\n")
    ...     events = read_events(folder)
    >>> events.values.tolist()
    [['01', 'null', 2.5]]
    """
    path = Path(path)
    if path.is_dir():
        found = [path / f"events{suffix}" for suffix in SUFFIXES if (path / f"events{suffix}").is_file()]
        if len(found) != 1:
            raise ValueError(
                f"The folder {str(path)!r} must hold one events table: events.tsv, .csv or .json. Got "
                f"{[file.name for file in found] or 'none'}."
            )
        path = found[0]
    if not path.name.endswith(SUFFIXES):
        raise ValueError(
            f"The name of an events table must end with one of {', '.join(SUFFIXES)}. Got {str(path)!r}."
        )
    events = _read_events_json(path) if path.suffix == ".json" else _read_events_csv(path)
    for column in [name for name in PATH_COLUMNS if name in events]:
        joined = {name: str(path.parent / name) for name in events[column].dropna().unique()}
        events[column] = [joined.get(name, name) for name in events[column]]
    for column in _list_identifiers(events):
        found = {name: find_image(name, [path.parent], column) for name in events[column].dropna().unique()}
        events[column] = [found.get(name, name) for name in events[column]]
    return events


def _list_identifiers(events):
    """List the columns of identifiers, which have the name of a type."""
    kinds = events["type"].dropna().unique() if "type" in events else ()
    return [
        kind for kind in kinds if kind not in OTHER_TYPES and kind in events and is_event_type(kind, events)
    ]


def _list_text_columns(events):
    """List the columns that are text. Categories are those of images."""
    identifiers = _list_identifiers(events)
    return [*TEXT_COLUMNS, *identifiers, *["category"] * bool(identifiers)]


def _read_events_csv(path):
    """Read a CSV or TSV file, without columns that are empty."""
    check_regular_recording_file(path, "table of events")
    if path.suffix != ".gz":
        decode_recording_file_text(path.read_bytes().removeprefix(codecs.BOM_UTF8), path)
    separator = "\t" if ".tsv" in path.suffixes else ","
    try:
        events = pd.read_csv(
            path,
            sep=separator,
            dtype=str,
            keep_default_na=False,
            na_values=list(MISSING),
            encoding="utf-8-sig",
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{str(path)!r} cannot be read as a table: {error}.".replace("\n", " ")) from error
    events = events.dropna(axis=1, how="all")
    texts = _list_text_columns(events)
    for column in [name for name in events if name not in texts]:
        events[column] = _convert_event_values(events[column], column in NUMBER_COLUMNS)
    return events


def _convert_event_values(texts, is_number):
    """Return a column of text as numbers or booleans where it is one."""
    if set(texts.dropna()) <= set(BOOLEANS):
        return texts.map(BOOLEANS)  # objects if a value is missing
    numbers = convert_sidecar_numbers(texts)
    if numbers is texts and is_number:  # such as "02.5", and an error of check_events for text
        found = pd.to_numeric(texts, errors="coerce")
        return found if (found.notna() | texts.isna()).all() else texts
    return numbers


def _read_events_json(path):
    """Read a JSON list of objects."""
    check_regular_recording_file(path, "table of events")
    text = decode_recording_file_text(path.read_bytes().removeprefix(codecs.BOM_UTF8), path)
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{str(path)!r} is not valid JSON: {error}. Correct the file or save it again."
        ) from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{str(path)!r} must be a JSON list of objects, one per event.")
    events = pd.DataFrame(rows)
    for column in [name for name in _list_text_columns(events) if name in events]:
        events[column] = [None if pd.isna(value) else str(value) for value in events[column]]
    return events
