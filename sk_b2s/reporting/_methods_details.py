"""Sentences of a methods text: windows, features, training and tests."""

from __future__ import annotations

from numbers import Real

import numpy as np
import pandas as pd

from sk_b2s._utils._text import join_text_items
from sk_b2s.evaluation._benchmark_summary import get_summary_score_label
from sk_b2s.evaluation._scores import is_score_correlation
from sk_b2s.evaluation._statistics._comparison import (
    compare_estimators,
    describe_comparison_counts,
    order_comparison_pairs,
)

LOSSES = {"mse": "squared error", "clip": "contrastive loss (clip)"}  # others by their name
MAX_PAIRS = 6  # comparisons that are listed


def describe_window_duration(fits):
    """Describe the duration of windows, None if it is unknown."""
    found = [details["window_seconds"] for details in fits["details"] if "window_seconds" in details]
    if not found:
        return None
    low, median, high = found[0]
    if high - low < 1e-3:
        return f"{low:g} s"
    low, median, high = (f"{value:.2g}" if value < 99.5 else f"{value:.0f}" for value in (low, median, high))
    return f"{low} to {high} s (median {median} s)"


def describe_features(mine):
    """Describe the speech features of all decoders, "" if unknown."""
    if "features" not in mine:
        return ""
    kinds: dict[str, list[str]] = {}
    for name, text in mine.drop_duplicates("estimator")[["estimator", "features"]].itertuples(index=False):
        if isinstance(text, str) and text:
            members = dict.fromkeys(part.partition("; digest")[0] for part in text.split(" | "))
            kinds.setdefault(join_text_items(list(members)), []).append(str(name))
    if len(kinds) == 1:
        return next(iter(kinds))
    return join_text_items([f"{text} for {join_text_items(names)}" for text, names in kinds.items()])


def list_training_sentences(fits):
    """List sentences about the training of networks, equal ones once."""
    kinds: dict[tuple, list[str]] = {}
    epochs: dict[str, list[float]] = {}
    for name, one in _iter_parts_of_fits(fits, "training"):
        key = tuple((key, value) for key, value in one.items() if key not in ("epochs", "member"))
        kinds[key] = [*dict.fromkeys([*kinds.get(key, []), name])]
        epochs.setdefault(name, []).append(one["epochs"])
    sentences = []
    for key, names in kinds.items():
        one = dict(key)
        decay = one.get("weight_decay", 0)
        optimizer = f"AdamW (weight decay {decay:g}, " if decay else "Adam ("
        stop = ""
        if one.get("validation") and one.get("patience", np.inf) < one["max_epochs"]:
            stop = (
                f", and stopped after {_format_epochs(one['patience'])} without a lower validation loss on "
                f"{100 * one['validation']:g} % of the training windows"
            )
        elif one.get("validation"):
            stop = f", of which that with the lowest validation loss on {100 * one['validation']:g} % of the training windows was used"
        took = _format_methods_values([number for name in names for number in epochs[name]])
        sentences.append(
            f"{join_text_items(names)} {'was' if len(names) == 1 else 'were'} trained on the {LOSSES.get(one['loss'], one['loss'])} "
            f"with {optimizer}learning rate {one['lr']:g}, batches of {one['batch_size']:g} windows) for at most "
            f"{_format_epochs(one['max_epochs'])}{stop}. Training took {took} epoch{'s' * (took != '1')}."
        )  # fmt: skip
    return sentences


def list_selection_sentences(fits):
    """List sentences about hyperparameters chosen on training data."""
    found: dict[tuple, dict] = {}
    for name, one in _iter_parts_of_fits(fits, "selection"):
        own = found.setdefault(
            (name, one["name"]), {"tried": one["tried"], "chosen": [], "n_folds": one["n_folds"]}
        )
        own["chosen"] += one["chosen"]
    sentences = []
    for (name, parameter), own in found.items():
        among = (
            f" among {len(own['tried'])} values ({_format_methods_values(own['tried'])})"
            if own["tried"]
            else ""
        )
        how = f" by {own['n_folds']}-fold cross-validation" if own["n_folds"] else ""
        sentences.append(
            f"For {name}, {parameter} was chosen{among}{how} within the training set: {_format_methods_values(own['chosen'])}."
        )
    return sentences


def _iter_parts_of_fits(fits, part):
    """Yield the name of a decoder or member, and its details."""
    for label, details in zip(fits["label"], fits["details"], strict=True):
        for one in details.get(part, ()):
            yield f"{label} ({one['member']})" if one.get("member") else label, one


def _format_epochs(n):
    return f"{n:g} epoch{'s' * (n != 1)}"


def _format_methods_values(values):
    """Format numbers by their range, and other values as a list."""
    if all(isinstance(value, Real) for value in values):
        low, high = min(values), max(values)
        return f"{low:g}" if low == high else f"{low:g} to {high:g}"
    distinct = list(dict.fromkeys(f"{value:g}" if isinstance(value, Real) else value for value in values))
    return join_text_items(distinct[:5] + [f"{len(distinct) - 5} others"] * (len(distinct) > 5))


def describe_comparison(mine):
    """Describe paired tests between the decoders, "" without any."""
    columns = {"estimator", "subject", "top_k", "n_windows"}
    if not columns <= set(mine) or mine["estimator"].nunique() < 2 or mine["subject"].nunique() < 2:
        return ""
    try:
        table = order_comparison_pairs(compare_estimators(mine, score="top_k"))
    except ValueError:
        return ""
    is_correlation = is_score_correlation(mine)
    texts = [
        f"{row.estimator} minus {row.reference} {_format_methods_difference(row, is_correlation)}, {describe_comparison_counts(row)}, "
        f"p = {row.p_holm:.2g}"
        for row in table.itertuples()
    ]  # fmt: skip
    n = int((table["p_holm"] < 0.05).sum())
    found = "; ".join(texts) if len(texts) <= MAX_PAIRS else f"{n} of {len(texts)} differences had p < 0.05"
    smallest = table["smallest_p_holm"].min()
    return (
        f"Differences in {get_summary_score_label(mine)} were tested by exact Wilcoxon signed-rank tests, paired over subjects "
        f"and corrected by Holm's method ({found}; smallest possible p {smallest:.2g})"
    )


def _format_methods_difference(row, is_correlation):
    scale, digits, unit = (1, 3, "") if is_correlation else (100, 1, " points")
    mean, sem = scale * row.mean_difference, scale * row.sem
    return f"{mean:.{digits}f}{unit} ± {sem:.{digits}f}" if pd.notna(sem) else f"{mean:.{digits}f}{unit}"
