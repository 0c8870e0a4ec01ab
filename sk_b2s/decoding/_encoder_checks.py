"""Checks of the parameters and the training of BrainEncoder."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sk_b2s.nn._losses import LOSSES

LEAST_GAIN = 1e-3  # relative decrease of the training loss, compared with a guess
NULL_GAIN = 3.0  # nats over all validation windows that the best temperature gains without information


def check_parameters(encoder):
    """Raise for incompatible parameters, and warn about unused ones."""
    if encoder.kernel_size % 2 == 0:
        raise ValueError(
            f"kernel_size must be odd, so that a kernel is centered on its sample. Got {encoder.kernel_size}."
        )
    if isinstance(encoder.validation, str):  # str has a method split, too
        raise ValueError(
            f"validation must be a fraction of the rows, a splitter such as HashedBlockSplit('valid'), or None. Got "
            f"{encoder.validation!r}."
        )
    if encoder.speech_embedding_dim is not None and not LOSSES[encoder.loss].is_contrastive:
        raise ValueError(
            f"speech_embedding_dim={encoder.speech_embedding_dim} requires a contrastive loss. With loss={encoder.loss!r} "
            f"both networks can collapse to a constant. Set loss='clip' or speech_embedding_dim=None."
        )
    if encoder.batch_size == 1 and LOSSES[encoder.loss].is_contrastive:
        raise ValueError(
            f"batch_size must be at least 2 with loss={encoder.loss!r}, because the other windows of a batch are the "
            f"negatives. Got 1. Increase batch_size or set loss='mse'."
        )
    for callback in encoder.callbacks or ():
        if not hasattr(callback[1] if isinstance(callback, tuple) else callback, "on_train_begin"):
            raise ValueError(
                f"callbacks must contain skorch callbacks or (name, callback) tuples. Got {callback!r}."
            )
    for parameter, reason in _without_effect(encoder):
        warnings.warn(
            f"{parameter}={getattr(encoder, parameter)!r} has no effect with {reason}. Leave it at its default to "
            f"silence this.",
            stacklevel=4,
        )


def _without_effect(encoder):
    """Yield unused parameters and the parameter that makes them unused."""
    if encoder.subject_layer is None and encoder.subject_dropout > 0:
        yield "subject_dropout", "subject_layer=None"
    if encoder.subject_layer is None and encoder.unseen_subject == "nearest":
        yield "unseen_subject", "subject_layer=None"
    if not LOSSES[encoder.loss].is_contrastive and encoder.duplicates != "keep":
        yield "duplicates", f"loss={encoder.loss!r}"


def warn_no_learning(encoder, n_valid):
    """Warn if training was interrupted or learned nothing.

    With validation windows, the cross-entropy at its best temperature is
    compared with that of a guess among the candidates. Without them, or with
    too few to distinguish perfect estimates from guesses, a contrastive
    training loss is compared with that of a guess within the batch, and any
    loss with its first epoch.
    """
    history = encoder.history_
    if encoder.interrupted_:
        warnings.warn(
            f"training was interrupted in epoch {len(history)} of at most {encoder.max_epochs}, and the encoder "
            f"has its best weights until then. Fit again to complete the training.",
            ConvergenceWarning,
            stacklevel=4,
        )
    elif finding := _no_learning(history, encoder.loss, n_valid):
        warnings.warn(
            f"{finding}. Check that X and y match and vary. Try another lr, a larger max_epochs, more data, or "
            f"RobustChannelScaler(clip=20) before the encoder.",
            ConvergenceWarning,
            stacklevel=4,
        )


def _no_learning(history, loss, n_valid):
    """Describe why nothing was learned, or return None if something was."""
    last = history[-1]
    if "valid_loss" in last and n_valid * np.log(last["valid_candidates"]) > 2 * NULL_GAIN:
        best, n_candidates = min(history[:, "valid_loss"]), last["valid_candidates"]
        if best > np.log(n_candidates) - NULL_GAIN / n_valid:
            return (
                f"the validation cross-entropy of {best:.3f} is not below the {np.log(n_candidates):.3f} of a guess "
                f"among {n_candidates} candidates, so the encoder learned nothing that generalizes to other stimuli"
            )
        return None
    now, first, chance = last["train_loss"], history[0]["train_loss"], None
    if LOSSES[loss].is_cross_entropy:
        chance = float(np.mean(history[-1, "batches", :, "train_chance"]))
        if now > chance * (1 - LEAST_GAIN):
            return (
                f"the training loss of {now:.3f} is not below the {chance:.3f} of a guess within the batch, so the "
                f"encoder learned nothing"
            )
    if len(history) > 1 and now > first - LEAST_GAIN * abs(first) and (chance is None or now > 0.9 * chance):
        return (
            f"the training loss did not decrease, from {first:.4g} in the first epoch to {now:.4g} in the last, so the "
            f"encoder learned nothing"
        )
    return None
