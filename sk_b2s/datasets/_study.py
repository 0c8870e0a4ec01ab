"""Helpers of all data set readers: files, subjects and events."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._text import make_suggestion_text, shorten_list
from sk_b2s.events._table_times import check_table_times_of_last_word, delay_table_times
from sk_b2s.io._annex import check_annex_content
from sk_b2s.io._sidecars import parse_sidecar_duration, read_sidecar_tsv

MAX_LISTED = 20  # names in a warning
DEFAULT_TAIL = 10.0  # s from the last event to the end of a missing recording


def check_study_root(root, study, hint):
    """Return the folder of a study as a Path. Raise if it does not exist."""
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{study}: root={str(root)!r} is not a folder. {hint}")
    return root


def require_study_file(path, study, hint):
    """Return the path of a required file or folder, as it is spelled on disk.

    Parameters
    ----------
    path : path-like
        Path, whose upper and lower case may differ on disk.
    study, hint : str
        Name of the study and way out for errors.

    Returns
    -------
    path : Path
        Path on disk.

    Raises
    ------
    FileNotFoundError
        If the file does not exist, or is a git-annex placeholder.
    """
    path = find_study_file_on_disk(path)
    try:
        check_annex_content(path, "file")
    except OSError as error:
        raise type(error)(f"{study}: {error}") from error
    if not path.exists():
        raise FileNotFoundError(f"{study}: {str(path)!r} does not exist. {hint}")
    return path


def find_study_file_on_disk(path):
    """Return a path as it is spelled on disk, if this is unambiguous."""
    path = Path(path)
    if path.exists() or path.is_symlink() or path == path.parent:
        return path
    parent = find_study_file_on_disk(path.parent)
    if not parent.is_dir():
        return path
    matches = [other for other in parent.iterdir() if other.name.casefold() == path.name.casefold()]
    return matches[0] if len(matches) == 1 else path


def read_study_json(path, study):
    """Read the object in a JSON file, and name the file in errors."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{study}: {str(path)!r} is not valid JSON: {error}. Check that the file is complete."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{study}: {str(path)!r} must contain a JSON object. Got {type(content).__name__} instead."
        )
    return content


def read_study_duration(path, study):
    """Read ``RecordingDuration`` (s) from a sidecar file, or NaN."""
    if not Path(path).is_file():
        return np.nan
    sidecar = read_study_json(path, study)
    try:
        return parse_sidecar_duration(sidecar)
    except ValueError as error:
        raise ValueError(f"{study}: {str(path)!r}: {error}") from error


def warn_of_missing_study_parts(study, problem, names):
    """Warn of names that an edition of a study lacks, if there are any."""
    if names := list(dict.fromkeys(names)):
        warnings.warn(f"{study}: {problem}: {shorten_list(names, MAX_LISTED)}.", stacklevel=3)


def select_study_names(parameter, requested, available, study):
    """Select requested names in their order, or all available names.

    Parameters
    ----------
    parameter : str
        Name of the parameter for the error.
    requested : None, str or sequence of str
        Names, with or without "sub-" or "ses-". If None, select all.
    available : sequence of str
        Existing names.
    study : str
        Name of the study for the error.

    Returns
    -------
    names : list of str
        Selected names.
    """
    if requested is None:
        return list(available)
    listed = [requested] if isinstance(requested, (str, int)) else list(requested)
    names = [str(one).removeprefix("sub-").removeprefix("ses-") for one in listed]
    for name in names:
        if name not in available:
            hint = make_suggestion_text(name, available, cutoff=0.4)
            raise ValueError(
                f"{study}: {parameter}={requested!r} contains {name!r}, which does not exist{hint}. Available: "
                f"{', '.join(available) or 'none'}."
            )
    return names


def read_study_tsv(path, study, columns=()):
    """Read a BIDS table with inferred types, and check its columns.

    Parameters
    ----------
    path : path-like
        Table in UTF-8 with "n/a" for missing values.
    study : str
        Name of the study for errors.
    columns : sequence of str, default=()
        Required columns.

    Returns
    -------
    table : DataFrame
        The table.
    """
    table = read_sidecar_tsv(path, dtype=None)
    if missing := [column for column in columns if column not in table]:
        raise ValueError(f"{study}: {str(path)!r} lacks the columns {missing}. It has {list(table)}.")
    return table


def combine_study_tables(tables, study, need_recordings, audio_delay=0.0):
    """Concatenate events of recordings, and estimate missing durations.

    Parameters
    ----------
    tables : list of DataFrame
        Events of each recording.
    study : str
        Value of the column ``study``.
    need_recordings : bool
        If False, a missing recording without a known duration is assumed to
        end 10 s after its last event.
    audio_delay : float or dict, default=0.0
        Delay of the audio, see
        :func:`~sk_b2s.events._table_times.delay_table_times`.

    Returns
    -------
    events : DataFrame
        Events of all recordings.

    Raises
    ------
    ValueError
        If an audio file is shorter than its words.
    """
    for index, table in enumerate(tables):
        is_available = need_recordings or Path(table["recording"].iloc[0]).exists()
        if not is_available and not np.isfinite(table.get("recording_duration", np.nan)).all():
            end = (table["onset"] + table["duration"]).max()
            tables[index] = table.assign(recording_duration=end + DEFAULT_TAIL)
    events = pd.concat(tables, ignore_index=True).assign(study=study)
    for sound, onset in events.groupby("sound", sort=False)["sound_onset"].max().items():
        check_table_times_of_last_word(sound, onset, study)
    return events if audio_delay == 0 else delay_table_times(events, audio_delay)
