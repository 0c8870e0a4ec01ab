"""Parameters, features and machine of an estimator in a results file."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import torch
from sklearn import config_context
from sklearn.base import BaseEstimator

from sk_b2s._utils._devices import choose_device, choose_dtype_of_device
from sk_b2s._utils._estimators import (
    find_innermost_estimator,
    iter_estimator_levels,
    list_decoders_in_estimator,
    list_estimators_inside,
)
from sk_b2s._utils._text import join_text_items
from sk_b2s._utils._validation import validate_table
from sk_b2s.events._stimuli import digest_stimuli, stimulus_name
from sk_b2s.preprocessing._fingerprint import make_fingerprint

MAX_CHARACTERS = 4000  # of a description
MAX_STIMULI = 20  # that are listed


def describe_parameter_provenance(estimator):
    """Describe an estimator and its nested ones by their changed parameters.

    ``memory``, which does not affect results, and addresses of objects are
    left out.
    """
    with config_context(print_changed_only=True):
        is_known = isinstance(estimator, BaseEstimator)
        text = (
            BaseEstimator.__repr__(estimator, N_CHAR_MAX=10 * MAX_CHARACTERS) if is_known else repr(estimator)
        )
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(text.split()))
    text = re.sub(r"(, )?\bmemory=('[^']*'|\"[^\"]*\"|\w+\([^()]*\))", "", text).replace("(, ", "(")
    return (
        text
        if len(text) <= MAX_CHARACTERS
        else f"{text[:MAX_CHARACTERS]} ... (digest {make_fingerprint(estimator)[:16]})"
    )


def describe_feature_provenance(estimator, y):
    """Describe the features of a decoder by class, rate and digest.

    Without ``speech``, ``y`` contains the features. Different features of the
    members of an ensemble are listed.
    """
    decoders = [decoder for decoder, _ in list_decoders_in_estimator(estimator)]
    return " | ".join(
        dict.fromkeys(
            _describe_provenance_of_speech(getattr(decoder, "speech", None), y) for decoder in decoders
        )
    )


def _describe_provenance_of_speech(speech, y):
    """Describe the features of one decoder."""
    if speech is None:
        rate = getattr(y, "sfreq", None)
        shape = " x ".join(map(str, np.shape(y)[1:]))
        return f"{type(y).__name__} of {shape}{f' at {rate:g} Hz' if rate else ''}"
    steps = [step for _, step in speech.steps] if hasattr(speech, "steps") else [speech]
    params = speech.get_params()
    rates = [params[name] for name in params if name.rsplit("__", 1)[-1] == "sfreq"]
    rate = next((f" at {rate:g} Hz" for rate in rates if isinstance(rate, (int, float))), "")
    names = ", ".join(map(_name_provenance_step, steps))
    return f"{names}{rate}; digest {make_fingerprint(speech)[:16]}"


def _name_provenance_step(step):
    """Name a step by its class, and a union also by its parts."""
    parts = [type(one).__name__ for _, one in getattr(step, "transformer_list", ()) if hasattr(one, "fit")]
    return f"{type(step).__name__} of {join_text_items(parts)}" if parts else type(step).__name__


def describe_choice_provenance(estimator):
    """Describe the hyperparameters that a fitted estimator chose.

    Parameters
    ----------
    estimator : estimator

    Returns
    -------
    text : str
        Regularization of each subject, best parameters and epochs, "alpha_: 01
        10, 02 100" for example, or "". Values of a grid search that are the
        lowest or highest of three or more, and better than the next one, are
        marked. Of an ensemble, the weight of each member and what it chose.
    """
    parts = []
    for level in iter_estimator_levels(estimator):
        own = getattr(level, "__dict__", {})
        if "best_params_" in own:
            parts.append(f"best_params_: {own['best_params_']}{_describe_filter_edges(level)}")
        alpha, subjects = getattr(level, "alpha_", None), getattr(level, "subjects_", ())
        if alpha is not None:
            numbers = [f"{value:.4g}" for value in np.ravel(alpha)]
            names = [f"{one} " for one in subjects] if len(subjects) == len(numbers) else [""] * len(numbers)
            parts.append(
                "alpha_: " + ", ".join(f"{name}{value}" for name, value in zip(names, numbers, strict=True))
            )
        if history := own.get("history_"):
            parts.append(f"epochs: {len(history)}")
        if "estimators_" in own and "weights_" in own:
            members = zip(list_estimators_inside(level), own["estimators_"], own["weights_"], strict=True)
            for (name, _), copies, weight in members:
                inner = describe_choice_provenance(copies[0])
                parts.append(f"{name}: weight {weight:.3g}{f' ({inner})' if inner else ''}")
    text = "; ".join(" ".join(part.split()) for part in parts)
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]} ..."


def _describe_filter_edges(search):
    """Describe best values at an end of a grid.

    They must exceed the neighboring value by more than the standard error of
    the difference over folds.
    """
    results, parts = getattr(search, "cv_results_", {}), []
    if not hasattr(search, "param_grid") or "split0_test_score" not in results:
        return ""
    table, best = pd.DataFrame(results), search.best_index_
    folds = table.filter(regex=r"^split\d+_test_score$").to_numpy(float)
    for name, value in search.best_params_.items():
        values = pd.to_numeric(table[f"param_{name}"], errors="coerce")
        tried = np.unique(values)  # NaN sorts last
        if isinstance(value, bool) or len(tried) < 3 or np.isnan(tried).any() or tried[0] < value < tried[-1]:
            continue
        near = np.flatnonzero(values == (tried[1] if value == tried[0] else tried[-2]))
        near = near[np.argmax(folds[near].mean(1))]
        gain = folds[best] - folds[near]
        if gain.mean() > (gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else 0.0):
            parts.append(f"{name} is the {'lowest' if value == tried[0] else 'highest'} tried")
    return f" ({', '.join(parts)}; values beyond may be better)" if parts else ""


def describe_machine_provenance(estimator):
    """Describe threads, device and precision of an estimator."""
    parts = [f"threads {torch.get_num_threads()}"]
    last = list(iter_estimator_levels(estimator))[-1]
    inner = [find_innermost_estimator(member)[0] for _, member in list_estimators_inside(last)]
    last = next((one for one in inner if getattr(one, "device", None) is not None), last)
    if getattr(last, "device", None) is not None:
        device = choose_device(last.device)
        parts.append(f"device {device}")
        if isinstance(getattr(last, "precision", None), str):
            parts.append(
                f"precision {str(choose_dtype_of_device(last.precision, device)).removeprefix('torch.')}"
            )
    return ", ".join(parts)


def digest_data_provenance(windows, stimuli, y):
    """Digest the data of a plan.

    Parameters
    ----------
    windows, stimuli : ndarray of uint64 of shape (n_rows,)
        Digests of the rows of X and y.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)

    Returns
    -------
    data : dict
        ``X``, ``y``, ``n_rows``, and ``sounds`` with the digest of each
        stimulus by its name, if there are few.
    """
    data = {"X": make_fingerprint(windows)[:16], "y": make_fingerprint(stimuli)[:16], "n_rows": len(windows)}
    table = validate_table(y)
    if table is None or "sound" not in table:
        return data
    sounds = pd.unique(table["sound"].dropna().astype(object))
    found = dict(zip(map(stimulus_name, sounds), map(str, digest_stimuli(pd.Series(sounds))), strict=True))
    if len(found) > MAX_STIMULI:
        return data | {"sounds": {f"all {len(found)}": make_fingerprint(sorted(found.values()))[:16]}}
    return data | {"sounds": {name: digest[:16] for name, digest in found.items()}}
