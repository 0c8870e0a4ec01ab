"""File of live predictions, its reader and its scores."""

from __future__ import annotations

import json
import os
import uuid
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._json_lines import JsonLinesFile
from sk_b2s._utils._text import shorten_list

COLUMNS = ("time", "stimulus_time", "age", "best", "probability")
NUMBERS = ("time", "stimulus_time", "age", "probability")


class LivePredictionWriter:
    """Write the predictions of one run to a file of JSON lines.

    Each line is one write in append mode and begins with a line break, so that
    a truncated line damages no other one, and runs can share a file.

    Parameters
    ----------
    path : str or Path
    header : dict
        Facts of the run, such as its parameters.
    """

    def __init__(self, path, header):
        self.path, self.run = Path(path), uuid.uuid4().hex
        JsonLinesFile(path).size()  # raises if it is not a regular file
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        self._file = os.open(self.path, flags, 0o666)
        self.write({"type": "header", **header})

    def write(self, line):
        """Append a line, a dict with "type"."""
        text = json.dumps({**line, "key": self.run}, default=_make_plain_prediction)
        os.write(self._file, f"\n{text}\n".encode())

    def close(self, **counts):
        """Write the last line of the run, and close the file."""
        if self._file is not None:
            self.write({"type": "end", **counts})
            os.fsync(self._file)
            os.close(self._file)
            self._file = None


def _make_plain_prediction(value):
    return value.item() if isinstance(value, np.generic) else str(value)


def read_live_predictions(path):
    """Read the predictions that a live decoder has written.

    Parameters
    ----------
    path : str or Path
        File of ``sk-b2s live`` or :func:`decode_live`, with one run or more.

    Returns
    -------
    predictions : DataFrame of shape (n_predictions, ...)
        ``run``, the identifier of the run; ``trial``, the number of the onset
        in the run; ``time``, ``stimulus_time``, ``age``, ``best`` and
        ``probability`` as of :meth:`StreamingDecoder.push`; ``n_lost``, the
        number of lost samples until then; and the probability of each
        candidate in a column of its name, NaN in runs without it. The headers
        of the runs are in ``attrs["headers"]``, and the last lines in
        ``attrs["ends"]``, dicts by run.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the path is not a regular file, or has no header.

    Warns
    -----
    UserWarning
        If lines are skipped, for example the truncated last line of an
        interrupted run.

    See Also
    --------
    score_live_predictions : Accuracy by seconds of evidence.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{str(path)!r} does not exist. Pass the file of sk-b2s live --output.")
    JsonLinesFile(path).size()
    headers, ends, rows, skipped = {}, {}, [], []
    for number, text in enumerate(path.read_bytes().split(b"\n"), 1):
        if not text.strip():
            continue
        line = _parse_prediction_line(text, headers)
        if line is None:
            skipped.append(number)
        elif line["type"] == "header":
            headers[line["key"]] = line
        elif line["type"] == "end":
            ends[line["key"]] = line
        else:
            known = {name: line[name] for name in COLUMNS}
            rows.append({
                "run": line["key"], "trial": line["trial"], **known, "n_lost": line["n_lost"], **line["probabilities"],
            })  # fmt: skip
    if not headers:
        raise ValueError(f"{str(path)!r} has no header of a live run. Pass the file of sk-b2s live --output.")
    if skipped:
        warnings.warn(
            f"{str(path)!r}: {len(skipped)} invalid lines were skipped, line {shorten_list(skipped, 10)}. "
            f"{len(rows)} predictions were read. Delete these lines to silence this warning.",
            stacklevel=2,
        )
    names = dict.fromkeys(name for header in headers.values() for name in header["candidates"])
    table = pd.DataFrame(rows, columns=["run", "trial", *COLUMNS, "n_lost", *names])
    table.attrs.update(headers=headers, ends=ends)
    return table


def _parse_prediction_line(text, headers):
    """Return a valid line, or None."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or not isinstance(line.get("key"), str):
        return None
    kind, key = line.get("type"), line["key"]
    if kind == "header":
        names = line.get("candidates")
        return line if isinstance(names, list) and names and all(isinstance(n, str) for n in names) else None
    if key not in headers:
        return None
    if kind == "end":
        return line
    names, values = headers[key]["candidates"], line.get("probabilities")
    is_valid = (
        kind == "prediction"
        and all(_is_prediction_number(line.get(name)) for name in NUMBERS)
        and all(isinstance(line.get(name), int) for name in ("trial", "n_lost"))
        and isinstance(values, dict)
        and list(values) == names
        and all(map(_is_prediction_number, values.values()))
        and line.get("best") in names
    )
    return line if is_valid else None


def _is_prediction_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and np.isfinite(value)


def score_live_predictions(predictions, truth, bin_width=5.0):
    """Score live predictions by seconds of evidence.

    Parameters
    ----------
    predictions : DataFrame
        Returned by :func:`read_live_predictions`.
    truth : str, sequence of str, dict or DataFrame
        Name of the presented or attended candidate. A sequence or a dict has
        the names by ``trial``. A DataFrame has the columns ``stimulus_time``
        and ``candidate``, for attention that changes: a candidate is correct
        from its time until the next one.
    bin_width : float, default=5.0
        Width in seconds of the bins of ``stimulus_time``.

    Returns
    -------
    scores : DataFrame of shape (n_bins, 11)
        ``evidence_from`` and ``evidence_to``, the bin in seconds since the
        onset; ``n_trials`` and ``n_predictions``; ``accuracy``, the mean over
        trials of the fraction of correct predictions, with its standard error
        ``accuracy_sem``; ``chance``; ``accuracy_shifted``, the mean with the
        names of the trials circularly shifted by each possible number, NaN
        with one trial or a DataFrame as truth; ``probability``, the mean of
        the correct candidate; ``age``, the median in seconds; and ``n_lost``,
        samples lost by the end of the bin, summed over runs.

    Raises
    ------
    ValueError
        If a name is not a candidate, or a trial has no truth.

    Notes
    -----
    Predictions of one trial overlap and are not independent. Count trials.
    """
    if not (np.isscalar(bin_width) and 0 < bin_width < np.inf):
        raise ValueError(f"bin_width must be a positive number of seconds. Got {bin_width!r}.")
    table = predictions.reset_index(drop=True)
    correct = _find_truth_of_predictions(table, truth)
    names = table.columns[list(table.columns).index("n_lost") + 1 :]
    if unknown := sorted(set(correct) - set(names)):
        raise ValueError(f"truth: {unknown} are not candidates, which are {list(names)}.")
    values = table[names].to_numpy(float)
    table["probability"] = values[np.arange(len(table)), names.get_indexer(correct)] if len(table) else np.nan
    table["chance"] = 1 / np.isfinite(values).sum(1).clip(1)
    table["hit"] = (table["best"] == correct).astype(float)
    table["shifted"] = (
        _score_shifted_predictions(table, correct) if not isinstance(truth, pd.DataFrame) else np.nan
    )
    table["bin"] = np.floor(table["stimulus_time"] / bin_width + 1e-9).astype(int)
    rows = []
    for number, own in table.groupby("bin"):
        trials = own.groupby(["run", "trial"])[["hit", "shifted", "probability", "chance"]].mean()
        rows.append({
            "evidence_from": number * bin_width, "evidence_to": (number + 1) * bin_width, "n_trials": len(trials),
            "n_predictions": len(own), "accuracy": trials["hit"].mean(),
            "accuracy_sem": trials["hit"].sem(), "chance": trials["chance"].mean(),
            "accuracy_shifted": trials["shifted"].mean(), "probability": trials["probability"].mean(),
            "age": own["age"].median(), "n_lost": own.groupby("run")["n_lost"].max().sum(),
        })  # fmt: skip
    columns = [
        "evidence_from", "evidence_to", "n_trials", "n_predictions", "accuracy", "accuracy_sem", "chance",
        "accuracy_shifted", "probability", "age", "n_lost",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _find_truth_of_predictions(table, truth):
    """Return the correct name of each prediction."""
    if isinstance(truth, str):
        return np.array([truth] * len(table), dtype=object)
    if isinstance(truth, pd.DataFrame):
        if missing := {"stimulus_time", "candidate"} - set(truth):
            raise ValueError(
                f"truth must have the columns stimulus_time and candidate. Got no {sorted(missing)}."
            )
        truth = truth.sort_values("stimulus_time")
        at = np.searchsorted(truth["stimulus_time"], table["stimulus_time"], side="right") - 1
        if len(at) and at.min() < 0:
            raise ValueError("truth must begin before the first prediction, for example at stimulus_time=0.")
        return truth["candidate"].to_numpy(object)[at]
    by_trial = dict(truth) if isinstance(truth, Mapping) else dict(enumerate(truth))
    if missing := sorted(set(table["trial"]) - set(by_trial)):
        raise ValueError(
            f"truth must have the candidate of each trial. Got none for the trials {missing[:10]}."
        )
    return np.array([by_trial[trial] for trial in table["trial"]], dtype=object)


def _score_shifted_predictions(table, correct):
    """Return the fraction of hits of each prediction with shifted labels."""
    trials = pd.MultiIndex.from_frame(table[["run", "trial"]])
    unique = trials.unique()
    if len(unique) < 2:
        return np.nan
    at = unique.get_indexer(trials)
    labels = np.empty(len(unique), dtype=object)
    labels[at] = correct
    best = table["best"].to_numpy(object)
    shifts = range(1, len(unique))
    return np.mean([best == np.roll(labels, shift)[at] for shift in shifts], axis=0)
