"""Details of training and of chosen hyperparameters, for methods texts."""

from __future__ import annotations

from numbers import Real

import numpy as np

from sk_b2s._utils._estimators import find_decoder_in_estimator, iter_estimator_levels

NUMBERS = ("lr", "weight_decay", "batch_size", "max_epochs", "patience", "validation")
MAX_VALUES = 50  # of a parameter


def describe_training(fitted):
    """Describe the training of a network.

    Returns a list with one dict of the loss, the parameters in ``NUMBERS`` and
    the number of epochs. It is empty for other decoders.
    """
    decoder, _ = find_decoder_in_estimator(fitted, fitted=True)
    history = getattr(decoder, "history_", None)
    if not history or not hasattr(decoder, "lr") or not hasattr(decoder, "loss"):
        return []
    values = {name: getattr(decoder, name, None) for name in NUMBERS}
    numbers = {name: float(value) for name, value in values.items() if _is_training_number(value)}
    return [{"loss": str(decoder.loss), "epochs": len(history), **numbers}]


def describe_selection(fitted):
    """Describe the hyperparameters that were chosen on training data.

    Returns a list of dicts with ``name``, the values ``tried`` and ``chosen``,
    and ``n_folds``, 0 if unknown.
    """
    found = []
    for level in iter_estimator_levels(fitted):
        for name, value in getattr(level, "best_params_", {}).items():
            tried = getattr(level, "cv_results_", {}).get(f"param_{name}", ())
            found.append(
                _describe_training_choice(name, np.ma.compressed(tried), [value], level)
            )  # without other grids
        if hasattr(level, "alpha_") and np.ndim(getattr(level, "alphas", 0)) == 1 and len(level.alphas) > 1:
            found.append(_describe_training_choice("alpha", level.alphas, np.ravel(level.alpha_), level))
        if {"rank_", "n_iter_", "cv_scores_"} <= set(vars(level)):
            if level.rank == "auto":
                found.append(_describe_training_choice("rank", (), [level.rank_], level))
            if level.max_iter > 1:
                found.append(_describe_training_choice("number of iterations", (), [level.n_iter_], level))
    return found


def _describe_training_choice(name, tried, chosen, level):
    n_folds = getattr(level, "n_splits_", getattr(level, "cv", 0))
    return {
        "name": str(name), "tried": _list_training_values(tried), "chosen": _list_training_values(chosen),
        "n_folds": int(n_folds) if _is_training_number(n_folds) else 0,
    }  # fmt: skip


def _list_training_values(values):
    """List distinct values as numbers or text."""
    found = [
        float(f"{value:.6g}") if _is_training_number(value) else " ".join(str(value).split())[:200]
        for value in values
    ]
    found = list(dict.fromkeys(found))
    return found if len(found) <= MAX_VALUES else [*found[: MAX_VALUES - 1], found[-1]]


def _is_training_number(value):
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_) and np.isfinite(value)
