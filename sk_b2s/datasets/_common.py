"""Helpers of all data set readers: files, subjects and sessions."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._text import shorten_list, suggest_name
from sk_b2s.events._sentences import delay_events
from sk_b2s.events._table_times import check_last_word
from sk_b2s.io._annex import check_content
from sk_b2s.io._sidecars import open_table

MOST_NAMED = 20  # of what is missing
AFTER = 10.0  # s that a recording which is not there is taken to last after its last event


def study_root(root, study, hint):
    """Return the folder of a study, which must be there.

    Parameters
    ----------
    root : path-like
    study, hint : str
        What a message calls the study, and how to come by it.

    Returns
    -------
    root : Path
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{study}: root={str(root)!r} is not a folder. {hint}")
    return root


def need(path, study, hint):
    """Return the path of a file or folder that must be there, with its content.

    Parameters
    ----------
    path : path-like
    study, hint : str
        What a message calls the study, and how to come by the file.

    Returns
    -------
    path : Path
        As it is on disk, where the case of letters may differ.

    Raises
    ------
    FileNotFoundError
        If it is not there, or git-annex has not fetched what is in it.
    """
    path = as_on_disk(path)
    try:
        check_content(path, "file")
    except OSError as error:
        raise type(error)(f"{study}: {error}") from error
    if not path.exists():
        raise FileNotFoundError(f"{study}: {str(path)!r} does not exist. {hint}")
    return path


def as_on_disk(path):
    """Return a path with the case of letters that it has on disk, as it is if that is not there or not clear: Path."""
    path = Path(path)
    if path.exists() or path.is_symlink() or path == path.parent:
        return path
    parent = as_on_disk(path.parent)
    if not parent.is_dir():
        return path
    alike = [other for other in parent.iterdir() if other.name.casefold() == path.name.casefold()]
    return alike[0] if len(alike) == 1 else path


def read_json(path, study):
    """Read a JSON file that holds an object: dict.

    Raises
    ------
    ValueError
        Naming the file, if it holds something else.
    """
    try:
        held = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{study}: {str(path)!r} is not valid JSON: {error}. Was it cut off?") from error
    if not isinstance(held, dict):
        raise ValueError(f"{study}: {str(path)!r} must hold an object in JSON, got {type(held).__name__}.")
    return held


def seconds_of(path, study):
    """Read ``RecordingDuration`` from the sidecar of a recording: float, NaN if it is not there or not known."""
    if not Path(path).is_file():
        return np.nan
    seconds = read_json(path, study).get("RecordingDuration")
    try:
        return np.nan if seconds in (None, "n/a", "") else float(seconds)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{study}: {str(path)!r}: RecordingDuration must be a number of seconds, got {seconds!r}."
        ) from error


def warn_of_missing(study, what, names):
    """Warn of what this edition of a study lacks, naming it.

    Parameters
    ----------
    study, what : str
        What a message calls the study, and what is missing and what was done.
    names : sequence of str
        Nothing is said if it is empty.
    """
    if names := list(dict.fromkeys(names)):
        warnings.warn(f"{study}: {what}: {shorten_list(names, MOST_NAMED)}.", stacklevel=3)


def choose(name, asked, available, study):
    """Take what was asked for, in its order; None takes everything.

    Parameters
    ----------
    name : str
        The parameter, for the message.
    asked : None, str or sequence of str
    available : sequence of str
    study : str
        What a message calls the study.

    Returns
    -------
    chosen : list of str

    Raises
    ------
    ValueError
        If something asked for is not there.
    """
    if asked is None:
        return list(available)
    listed = [asked] if isinstance(asked, (str, int)) else list(asked)
    chosen = [str(one).removeprefix("sub-").removeprefix("ses-") for one in listed]
    for one in chosen:
        if one not in available:
            hint = suggest_name(one, available, cutoff=0.4)
            raise ValueError(
                f"{study}: {name}={asked!r} names {one!r}, which is not there{hint}; there "
                f"{'are' if len(available) != 1 else 'is'} {', '.join(available) or 'none'}."
            )
    return chosen


def read_tsv(path, study, columns=()):
    """Read a table of BIDS: UTF-8 with or without its mark, "n/a" where a value is missing.

    Parameters
    ----------
    path : path-like
    study : str
        What a message calls the study.
    columns : sequence of str, default=()
        Columns that must be there.

    Returns
    -------
    table : DataFrame

    Raises
    ------
    ValueError
        If a column is missing, or a line has fewer or more fields than the head.
    """
    table = pd.read_csv(open_table(path), sep="\t", keep_default_na=False, na_values=["n/a"], index_col=False)
    if missing := [column for column in columns if column not in table]:
        raise ValueError(
            f"{study}: {str(path)!r} lacks the column{'s' * (len(missing) > 1)} {missing}; it has "
            f"{list(table)}."
        )
    return table


def finish(tables, study, need_recordings, audio_delay=0.0):
    """Put the tables of all recordings into one, with the length of those that are not there.

    Parameters
    ----------
    tables : list of DataFrame
        One for each recording.
    study : str
        Value of the column ``study``.
    need_recordings : bool
        False lets a recording that is not there last 10 s after its last event.
    audio_delay : float or dict, default=0.0
        See :func:`~sk_b2s.events._sentences.delay_events`.

    Returns
    -------
    events : DataFrame

    Raises
    ------
    ValueError
        If a sound's file is shorter than its words.
    """
    for index, table in enumerate(tables):
        there = need_recordings or Path(table["recording"].iloc[0]).exists()
        if not there and not np.isfinite(table.get("recording_duration", np.nan)).all():
            end = (table["onset"] + table["duration"]).max()
            tables[index] = table.assign(recording_duration=end + AFTER)
    events = pd.concat(tables, ignore_index=True).assign(study=study)
    last = events.groupby("sound", sort=False)["sound_onset"].max()
    for sound, onset in last.items():
        check_last_word(sound, onset, study)
    return events if audio_delay == 0 else delay_events(events, audio_delay)
