"""Events tables from CSV, TSV, JSON and Parquet files."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import pandas as pd

from sk_b2s.io._file_parts import check_regular, decode_utf8

NAMES = (
    "study",
    "subject",
    "session",
    "task",
    "run",
    "recording",
    "type",
    "sound",
    "text",
    "sequence",
    "condition",
    "speaker",
    "language",
    "stream",
)  # fmt: skip ; columns that are text, though "01" and "null" look like something else
PATHS = ("recording", "sound")
SUFFIXES = (".tsv", ".tsv.gz", ".csv", ".csv.gz", ".json")
MISSING = ("", "n/a")  # as in BIDS; "NA", "nan" and "null" are words


def read_events(path):
    r"""Read an events table from a file, as texts what are names and relative to the file what are paths.

    Parameters
    ----------
    path : str or Path
        A table with the columns of :func:`~sk_b2s.check_events`: ``.tsv`` or ``.csv`` (also ``.gz``), where an
        empty cell or "n/a" is missing, or ``.json``, a list of objects. Or a folder that holds one of them under
        the name "events". ``recording`` and ``sound`` may be relative to its folder.

    Returns
    -------
    events : DataFrame
        Not checked yet.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    ValueError
        If it is not such a file.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with open(Path(folder) / "events.csv", "w") as file:
    ...         print("subject,text,onset", "01,null,2.5", sep="\n", file=file)
    ...     events = read_events(folder)
    >>> events.values.tolist()
    [['01', 'null', 2.5]]
    """
    path = Path(path)
    if path.is_dir():
        found = [path / f"events{suffix}" for suffix in SUFFIXES if (path / f"events{suffix}").is_file()]
        if len(found) != 1:
            raise ValueError(
                f"the folder {str(path)!r} must hold one table of events, events.tsv, .csv or .json; it holds "
                f"{[file.name for file in found] or 'none'}."
            )
        path = found[0]
    if not path.name.endswith(SUFFIXES):
        raise ValueError(f"{str(path)!r} is no table of events: its name must end in {', '.join(SUFFIXES)}.")
    events = _read_json(path) if path.suffix == ".json" else _read_csv(path)
    for column in [name for name in PATHS if name in events]:
        events[column] = [_beside(path, name) for name in events[column]]
    return events


def _read_csv(path):
    check_regular(path, "table of events")
    if path.suffix != ".gz":
        decode_utf8(path.read_bytes().removeprefix(codecs.BOM_UTF8), path)
    separator = "\t" if ".tsv" in path.suffixes else ","
    try:
        events = pd.read_csv(
            path, sep=separator, dtype=dict.fromkeys(NAMES, str), keep_default_na=False, na_values=list(MISSING),
            encoding="utf-8-sig",
        )  # fmt: skip
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{str(path)!r} cannot be read as a table: {error}.".replace("\n", " ")) from error
    return events.dropna(axis=1, how="all")  # what is nowhere said has its default


def _read_json(path):
    check_regular(path, "table of events")
    text = decode_utf8(path.read_bytes().removeprefix(codecs.BOM_UTF8), path)
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} is no JSON: {error}.") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{str(path)!r} must hold a list of objects, one for each event.")
    events = pd.DataFrame(rows)
    for column in [name for name in NAMES if name in events]:
        events[column] = [None if pd.isna(value) else str(value) for value in events[column]]
    return events


def _beside(path, name):
    return name if pd.isna(name) else str(path.parent / name)
