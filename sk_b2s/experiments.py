"""Experiments by their names, and tables of events from files."""

from __future__ import annotations

import codecs
import difflib
import inspect
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import pooch

from sk_b2s.bids import read_bids
from sk_b2s.datasets.brennan2019 import load_brennan2019
from sk_b2s.datasets.broderick2019 import load_broderick2019
from sk_b2s.datasets.gwilliams2022 import load_gwilliams2022
from sk_b2s.datasets.oracle import oracle_scores
from sk_b2s.datasets.schoffelen2019 import load_schoffelen2019
from sk_b2s.datasets.simulated import make_listening
from sk_b2s.file_parts import check_regular, decode_utf8

__all__ = ["EXPERIMENTS", "Experiment", "cache_folder", "load_experiment", "read_events"]

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


@dataclass
class Experiment:
    """What was heard while what was recorded.

    Parameters
    ----------
    events : DataFrame
        An events table, see :func:`~sk_b2s.check_events`.
    oracle : callable or None, default=None
        Similarities of one who knows how the recordings were made, where somebody does; see
        :func:`~sk_b2s.run_controls`.
    """

    events: pd.DataFrame
    oracle: Callable | None = None


def cache_folder():
    """Folder for what can be computed again: the environment's ``SK_B2S_CACHE``, or else the user's cache.

    Returns
    -------
    folder : Path
    """
    return Path(os.environ.get("SK_B2S_CACHE") or pooch.os_cache("sk_b2s"))


# --- by name -----------------------------------------------------------------------------------------


def _listening(people=4, minutes=10.0, kind="meg", snr=None, sessions=1, artefacts=True, data_seed=0):
    """Simulated people who listen to Alice in Wonderland, with the truth for an oracle."""
    events, truth = make_listening(
        people, minutes, modality=kind, snr_db=snr, sessions=sessions, artefacts=artefacts, random_state=data_seed,
        root=cache_folder(), return_truth=True,
    )  # fmt: skip
    return Experiment(events, partial(oracle_scores, truth))


def _study(load, says):
    """Let a study of the paper be loaded from the folder ``root``."""

    def loaded(root=None, subjects=None):
        if root is None:
            raise ValueError(
                f"give --root, the folder that {load.__name__} reads; see help({load.__name__})."
            )
        return Experiment(load(root) if subjects is None else load(root, subjects=subjects))

    loaded.__doc__ = says
    return loaded


# Name -> how to load it; the first line of its docstring tells what it is, its parameters are its options.
EXPERIMENTS: dict[str, Callable] = {
    "listening": _listening,
    "gwilliams2022": _study(load_gwilliams2022, "MEG-MASC: 27 people, MEG, four stories in English."),
    "schoffelen2019": _study(load_schoffelen2019, "MOUS: 96 people, MEG, sentences and word lists in Dutch."),
    "broderick2019": _study(load_broderick2019, "19 people, EEG, The Old Man and the Sea."),
    "brennan2019": _study(load_brennan2019, "33 people, EEG, a chapter of Alice in Wonderland."),
}


def load_experiment(name, **options):
    """Load an experiment by its name, from a table of events, or from a BIDS folder.

    Parameters
    ----------
    name : str or Path
        One of ``EXPERIMENTS``; what :func:`read_events` reads; or a folder with ``dataset_description.json``, for
        :func:`~sk_b2s.read_bids`.
    **options
        Of the experiment; a table has none. "listening" has those of
        :func:`~sk_b2s.datasets.make_listening`: ``people, minutes, kind`` ("meg" or "eeg"), ``snr`` (dB),
        ``sessions, artefacts, data_seed``. A study has ``root``, its folder, and ``subjects``; a BIDS folder
        ``task`` and ``subjects``.

    Returns
    -------
    experiment : Experiment

    Raises
    ------
    ValueError
        If there is no such experiment or file, or it has no such option.
    """
    if str(name) in EXPERIMENTS:
        load = EXPERIMENTS[str(name)]
        known = list(inspect.signature(load).parameters)
    elif _is_bids(name):
        load, known = partial(_from_bids, name), ["task", "subjects"]
    elif Path(name).exists():
        load, known = partial(_from_table, name), []
    else:
        close = difflib.get_close_matches(str(name), EXPERIMENTS, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(
            f"{str(name)!r} is neither the name of an experiment ({', '.join(EXPERIMENTS)}) nor a file or folder "
            f"that is there{hint}."
        )
    if unknown := [option for option in options if option not in known]:
        has = f"has only {', '.join(known)}" if known else "has no options: it is as it was written"
        raise ValueError(f"{str(name)!r} has no option {unknown[0]!r}; it {has}.")
    return load(**options)


# --- from a file -------------------------------------------------------------------------------------


def _is_bids(path):
    """Tell a BIDS folder from one that holds a table of events."""
    return (Path(path) / "dataset_description.json").is_file() and not any(
        (Path(path) / f"events{suffix}").is_file() for suffix in SUFFIXES
    )


def _from_bids(path, task=None, subjects=None):
    return Experiment(read_bids(path, task, subjects=subjects))


def _from_table(path):
    return Experiment(read_events(path))


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
