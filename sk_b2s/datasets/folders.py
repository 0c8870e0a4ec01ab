"""What the readers of all studies need: files that must be there, and people and sessions to choose."""

from __future__ import annotations

import difflib
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s.completing import delay_events
from sk_b2s.sidecars import open_table
from sk_b2s.stimuli import sound_duration

__all__ = ["choose", "finish", "need", "read_tsv", "study_root"]

POINTER = b"annex/objects"  # what git-annex leaves in the place of a file that was not fetched
LATE = 0.1  # s by which a word may begin after its sound has ended
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

    Raises
    ------
    FileNotFoundError
        If it is not there, or git-annex has not fetched what is in it.
    """
    path = Path(path)
    if is_pointer(path):
        raise FileNotFoundError(
            f"{study}: {str(path)!r} is a link to what git-annex has not fetched; in the study's folder, run "
            f"`datalad get {path.name}` or `git annex get {path.name}` with its path."
        )
    if not path.exists():
        raise FileNotFoundError(f"{study}: {str(path)!r} does not exist. {hint}")
    return path


def is_pointer(path):
    """Tell whether a path is a link of git-annex that leads to nothing: bool."""
    if path.is_symlink() and not path.exists():
        return True
    if not path.is_file() or path.stat().st_size > 1024:
        return False
    return POINTER in path.read_bytes()


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
            close = difflib.get_close_matches(one, available, n=1, cutoff=0.4)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
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
            f"{study}: {str(path)!r} lacks the column{'s' * (len(missing) > 1)} {missing}; it has {list(table)}."
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
        See :func:`~sk_b2s.completing.delay_events`.

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
        if onset > (length := sound_duration(sound)) + LATE:
            raise ValueError(
                f"{study}: {sound!r} lasts {length:.3f} s, but its last word begins at {onset:.3f} s; is it whole?"
            )
    return events if audio_delay == 0 else delay_events(events, audio_delay)
