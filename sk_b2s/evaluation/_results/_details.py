"""Details of a fit for reports: ranks, guesses, training and recordings."""

from __future__ import annotations

import json
import math
from numbers import Real
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._estimators import find_decoder_in_estimator
from sk_b2s._utils._validation import is_validated_table
from sk_b2s.decoding._retrieval._result import RetrievalResult
from sk_b2s.decoding._retrieval._row_result import RowRetrievalResult
from sk_b2s.evaluation._results._topography import (
    describe_topography,
    find_topography_epocher,
    find_topography_positions,
    list_fitted_members,
)
from sk_b2s.evaluation._results._training_details import describe_selection, describe_training
from sk_b2s.events._images import ImageStimulus
from sk_b2s.events._stimuli import stimulus_name
from sk_b2s.preprocessing._windows._windows import Windows

N_RANKS = 40  # numbers of guesses of a rank curve, in addition to the first ones
N_GUESSES = 6  # windows of a fold
MAX_EPOCHS = 300  # of a training curve
MAX_CHARACTERS = 2**20  # of the text of one fit
MAX_TEXT = 200  # characters of a stimulus


# --- write -----------------------------------------------------------------------------------------


def describe_fit_details(fold, result, note, has_training, has_examples):
    """Describe a fit for the report, in types of JSON.

    Parameters
    ----------
    fold : ControlFold
        After its fit.
    result : RetrievalResult or other
        Ranks and guesses are only described of a retrieval result.
    note : dict
        What all fits share, such as the command.
    has_training : bool
        Whether recordings and the training curve are described.
    has_examples : bool
        Whether guesses and a topography are described.

    Returns
    -------
    details : dict
    """
    details, row = dict(note), int(fold.test[0])
    if isinstance(result, RetrievalResult):
        details["ranks"] = describe_rank_details(result)
        if has_examples and not isinstance(result, RowRetrievalResult):
            details["guesses"] = describe_details_of_guesses(result)
    if not has_training or fold.fitted is None:
        return details
    decoder, _ = find_decoder_in_estimator(fold.fitted, fitted=True)
    if history := getattr(decoder, "history_", None):
        details["history"] = describe_history_details(history, getattr(decoder, "loss", ""))
    if has_examples and (topography := describe_topography(fold.fitted, fold.X, row)):
        details["topography"] = topography
    for name, describe in (("training", describe_training), ("selection", describe_selection)):
        details[name] = [
            part | member for member, one in list_fitted_members(fold.fitted) for part in describe(one)
        ]
    return details | {"recordings": _describe_recordings_of_fit(fold, row)}


def list_guess_numbers_for_details(n_candidates):
    """List the numbers of guesses of a rank curve, 1 to ``n_candidates``.

    Examples
    --------
    >>> list_guess_numbers_for_details(4)
    [1, 2, 3, 4]
    """
    spaced = np.geomspace(1, n_candidates, N_RANKS).round().astype(int)
    return np.unique([*range(1, min(n_candidates, 10) + 1), *spaced]).tolist()


def describe_rank_details(result):
    """Describe the ranks of each subject by cumulative counts of windows."""
    k = list_guess_numbers_for_details(result.n_candidates)
    has_names = "subject" in result.rows
    subject = result.rows["subject"].to_numpy() if has_names else np.full(len(result.ranks), "")
    hits = {
        str(name): [len(own), *np.searchsorted(np.sort(own.to_numpy()), k).tolist()]
        for name, own in pd.Series(result.ranks).groupby(subject)
    }
    return {"n_candidates": result.n_candidates, "k": k, "hits": hits}


def describe_details_of_guesses(result, n_guesses=N_GUESSES):
    """Describe the targets and guesses of windows evenly spaced in time.

    The choice of windows does not depend on scores.
    """
    try:
        result, is_calibrated = result.scale_temperature(), True
    except (ValueError, TypeError):  # without sentences to hold out
        is_calibrated = False
    rows = np.linspace(0, len(result.rows) - 1, n_guesses + 2).round().astype(int)[1:-1]
    rows = np.unique(rows)
    part = result.select(rows)
    best = part.scores.argmax(1)
    table = part.guesses()
    out = []
    for place, row in enumerate(table.to_dict("records")):
        at = {"target": int(part.target[place]), "guess": int(best[place])}
        out.append({
            **{name: str(row[name]) for name in ("subject",) if name in row},
            **{name: float(row[name]) for name in ("onset", "probability", "target_probability") if name in row},
            "rank": int(row["rank"]), "n_candidates": part.n_candidates, "is_calibrated": is_calibrated,
            **{name: _describe_stimulus_of_fit(part.candidates.iloc[column]) for name, column in at.items()},
        })  # fmt: skip
    return out


def _describe_stimulus_of_fit(row):
    """Describe a segment by text, word, image, and place in an audio file."""
    out = {}
    for name in ("text", "word"):
        if isinstance(row.get(name), str) and row[name]:
            out[name] = row[name][:MAX_TEXT]
    if isinstance(row.get("sound"), ImageStimulus):
        out |= {"kind": row["sound"].kind, "text": out.get("text", row["sound"].name[:MAX_TEXT])}
    if not out:
        out["segment"] = str(row.get("segment", ""))
    numbers = [row.get("sound_onset"), row.get("duration")]
    if isinstance(row.get("sound"), str | Path) and all(isinstance(one, Real) for one in numbers):
        out |= {
            "sound": stimulus_name(row["sound"]),
            "start": float(numbers[0]),
            "duration": float(numbers[1]),
        }
    return out


def describe_history_details(history, loss):
    """Describe the training curve of an encoder."""
    epochs = np.unique(np.linspace(0, len(history) - 1, min(len(history), MAX_EPOCHS)).round().astype(int))
    out = {"loss": str(loss), "epoch": [int(history[int(at), "epoch"]) for at in epochs]}
    for name in ("train_loss", "valid_loss"):
        if name in history[0]:
            out[name] = [float(f"{history[int(at), name]:.5g}") for at in epochs]
    if "valid_candidates" in history[-1]:
        out["valid_candidates"] = int(history[-1, "valid_candidates"])
    return out


def _describe_recordings_of_fit(fold, row):
    """Describe rate, channels and filters of the windows of a decoder."""
    X, epocher = fold.X, find_topography_epocher(fold.fitted)
    if isinstance(X, Windows):
        return {"n_channels": X.shape[1], **({"sfreq": float(X.sfreq)} if X.sfreq else {})}
    if not is_validated_table(X) or epocher is None or not hasattr(epocher, "ch_names_"):
        return {}
    out = {"n_channels": len(epocher.ch_names_), "sfreq": float(epocher.sfreq), "lag": float(epocher.lag)}
    out |= {
        name: float(value) for name in ("l_freq", "h_freq") if (value := getattr(epocher, name)) is not None
    }
    if epocher.notch is not None:
        out["notch"] = [float(value) for value in np.atleast_1d(epocher.notch)]
    if epocher.reference is not None:
        is_text = isinstance(epocher.reference, str)
        out["reference"] = epocher.reference if is_text else ", ".join(map(str, epocher.reference))
    if isinstance(epocher.montage, str):
        out["montage"] = epocher.montage
    positions = find_topography_positions(fold.fitted, X, row)
    if positions is not None:
        out["n_positions"] = int(np.isfinite(positions).all(1).sum())
    return out


def measure_hours_for_details(rows):
    """Return the hours of recordings that are covered by windows.

    None if the times of the windows are unknown.
    """
    if not {"recording", "onset", "duration"} <= set(rows):
        return None
    seconds = 0.0
    for _, own in rows.groupby("recording", sort=False):
        start = own["onset"].to_numpy(float)
        order = np.argsort(start, kind="stable")
        stop = np.maximum.accumulate((start + own["duration"].to_numpy(float))[order])
        before = np.r_[-np.inf, stop[:-1]]
        seconds += np.sum(stop - np.maximum(np.minimum(before, stop), start[order]))
    return round(float(seconds) / 3600, 4) if math.isfinite(seconds) else None


def describe_window_seconds(rows):
    """Return the shortest, median and longest window in s, None if unknown."""
    if "duration" not in rows or not np.isfinite(seconds := rows["duration"].to_numpy(float)).all():
        return None
    return [round(float(value), 4) for value in np.quantile(seconds, [0, 0.5, 1])]


# --- read ------------------------------------------------------------------------------------------


def read_fit_details(text):
    """Read the details of a fit from a text, without parts that are invalid.

    Parameters
    ----------
    text : str or other
        Value of the column ``details``.

    Returns
    -------
    details : dict
        Empty without any.
    """
    if not isinstance(text, str) or not text or len(text) > MAX_CHARACTERS:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        name: found[name]
        for name, is_valid in PARTS.items()
        if name in found and _holds_details(is_valid, found[name])
    }


def _holds_details(is_valid, value):
    try:
        return bool(is_valid(value))
    except (TypeError, KeyError, ValueError, AttributeError, IndexError, OverflowError):
        return False


def _is_detail_number(value):
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _are_detail_numbers(values):
    return isinstance(values, list) and all(map(_is_detail_number, values))


def _is_ranks_detail(found):
    n, k = found["n_candidates"], found["k"]
    return (
        isinstance(n, int) and n > 0 and k and _are_detail_numbers(k) and k == sorted(set(k)) and 1 <= k[0] and k[-1] <= n
        and len(found["hits"]) > 0
        and all(_are_detail_numbers(own) and len(own) == len(k) + 1 and own[0] > 0 and max(own[1:]) <= own[0]
                for own in found["hits"].values())
    )  # fmt: skip


def _is_stimulus_detail(found):
    texts = [found[name] for name in ("text", "word", "kind", "segment", "sound") if name in found]
    numbers = [found[name] for name in ("start", "duration") if name in found]
    return (
        all(isinstance(text, str) for text in texts)
        and _are_detail_numbers(numbers)
        and all(n >= 0 for n in numbers)
    )


def _is_guess_detail(found):
    numbers = [found["rank"], found["n_candidates"], found["probability"], found["target_probability"]]
    if "onset" in found:
        numbers.append(found["onset"])
    return (
        _are_detail_numbers(numbers)
        and _is_stimulus_detail(found["target"])
        and _is_stimulus_detail(found["guess"])
    )


def _is_history_detail(found):
    lists = [found[name] for name in ("epoch", "train_loss", "valid_loss") if name in found]
    n_valid = found.get("valid_candidates", 2)
    return (
        {"epoch", "train_loss"} <= set(found) and isinstance(found["loss"], str)
        and all(_are_detail_numbers(own) and len(own) == len(lists[0]) > 0 for own in lists) and n_valid > 1
    )  # fmt: skip


def _is_topography_detail(found):
    found = found if isinstance(found, list) else [found]  # former files have a single one
    return len(found) > 0 and all(map(_is_map_detail, found)) and _have_member_names(found)


def _have_member_names(found):
    return all(isinstance(one.get("member", ""), str) for one in found)


def _is_training_detail(found):
    numbers = [value for one in found for name, value in one.items() if name not in ("loss", "member")]
    return (
        _are_detail_numbers(numbers) and _have_member_names(found)
        and all(isinstance(one["loss"], str) and {"lr", "batch_size", "max_epochs", "epochs"} <= set(one) for one in found)
    )  # fmt: skip


def _is_selection_detail(found):
    values = [value for one in found for value in [*one["tried"], *one["chosen"]]]
    return (
        all(isinstance(value, str) or _is_detail_number(value) for value in values) and _have_member_names(found)
        and all(isinstance(one["name"], str) and one["chosen"] and isinstance(one["n_folds"], int) for one in found)
    )  # fmt: skip


def _is_map_detail(found):
    lists = [found[name] for name in ("values", "x", "y")]
    is_inside = all(0 <= at <= 1 for at in found["x"] + found["y"])
    return (
        isinstance(found["label"], str) and _is_detail_number(found["neutral"]) and is_inside
        and all(_are_detail_numbers(own) and len(own) == len(lists[0]) >= 4 for own in lists)
    )  # fmt: skip


def _is_recordings_detail(found):
    texts = [found[name] for name in ("reference", "montage") if name in found]
    others = [value for name, value in found.items() if name not in ("reference", "montage", "notch")]
    return all(isinstance(text, str) for text in texts) and _are_detail_numbers(
        others + found.get("notch", [])
    )


PARTS = {
    "command": lambda found: isinstance(found, str), "hours": _is_detail_number, "ranks": _is_ranks_detail, "history": _is_history_detail,
    "guesses": lambda found: isinstance(found, list) and all(map(_is_guess_detail, found)), "topography": _is_topography_detail,
    "recordings": _is_recordings_detail, "training": _is_training_detail, "selection": _is_selection_detail,
    "window_seconds": lambda found: _are_detail_numbers(found) and len(found) == 3 and found == sorted(found) and found[0] > 0,
}  # fmt: skip
