"""Validation split and early stopping of training."""

from __future__ import annotations

import warnings

import numpy as np
from skorch.callbacks import EarlyStopping
from skorch.helper import predefined_split

from sk_b2s._utils._validation import validate_table
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.model_selection._leak_warning import StimulusLeakWarning
from sk_b2s.preprocessing._fingerprint import fingerprint_array_rows


class ValidationEarlyStop(EarlyStopping):
    """Stop ``patience`` epochs after the best one, and restore its state.

    The state includes the parameters of the loss, such as a temperature.

    Parameters
    ----------
    patience : int
        Epochs without a lower validation loss.
    """

    def __init__(self, patience=10):
        super().__init__("valid_loss", patience, threshold=0, sink=_mute_early_stopping)

    def on_train_begin(self, net, **kwargs):
        """Reset the best state."""
        super().on_train_begin(net, **kwargs)
        self.best_state_ = None

    def on_epoch_end(self, net, **kwargs):
        """Store the state of the best epoch."""
        super().on_epoch_end(net, **kwargs)
        if self.misses_ == 0:
            self.best_state_ = {name: value.clone() for name, value in net.state().items()}

    def on_train_end(self, net, **kwargs):
        """Restore the best state."""
        if self.best_state_ is not None and self.best_epoch_ != net.history[-1, "epoch"]:
            net.load_state(self.best_state_)


def _mute_early_stopping(message):
    """Ignore the messages of skorch, because the epoch table shows them."""


_mute = _mute_early_stopping  # in pickles of former versions


def make_validation_split(splitter, X, y):
    """Return training and validation rows of a splitter with one split."""
    tables = (data if validate_table(data) is None else validate_table(data) for data in (X, y))
    try:
        splits = [
            [_make_validation_indices(rows, len(X)) for rows in pair] for pair in splitter.split(*tables)
        ]
    except ValueError as error:
        raise ValueError(
            f"validation={splitter!r} cannot split the rows of fit: {error} If a search or cross-validation has "
            f"already held them out, set validation to a fraction of the rows, such as 0.1, or to None."
        ) from error
    if len(splits) != 1:
        raise ValueError(
            f"validation={splitter!r} must yield one split, training and validation rows. It yields {len(splits)}."
        )
    train, valid = splits[0]
    if len(train) == 0 or len(np.intersect1d(train, valid)):
        raise ValueError(
            f"validation={splitter!r} must yield disjoint training and validation rows. It yields {len(train)} and "
            f"{len(valid)} rows, {len(np.intersect1d(train, valid))} of them in both."
        )
    if n_shared := _count_shared_segments(y, train, valid):
        warnings.warn(
            f"validation={splitter!r} has {n_shared} of {len(valid)} validation windows with stimuli of the training "
            f"set, so early stopping measures memory instead of decoding. Set validation to a fraction of the rows, "
            f"such as 0.1, which holds out whole stimulus blocks, or to a splitter of the package.",
            StimulusLeakWarning,
            stacklevel=5,
        )
    return train, valid


def _count_shared_segments(y, train, valid):
    """Count the validation rows whose stimulus overlaps with training."""
    table = validate_table(y)
    if table is not None and {"sound", "sound_onset", "duration"} <= set(table):
        return int(StimulusIntervals.from_table(table.iloc[train]).touches(table.iloc[valid]).sum())
    if isinstance(y, np.ndarray):
        return int(np.isin(fingerprint_array_rows(y[valid]), fingerprint_array_rows(y[train])).sum())
    return 0


def _make_validation_indices(rows, n_rows):
    """Return rows, given as indices or mask, as indices."""
    rows = np.asarray(rows)
    return np.flatnonzero(rows) if rows.dtype == bool and len(rows) == n_rows else rows.astype(np.int64)


def validate_on(pairs):
    """Return a train_split of skorch with the given pairs, or None."""
    return None if pairs is None else predefined_split(pairs)
