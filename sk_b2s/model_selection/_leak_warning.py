"""Warnings of scores on stimuli of the training set."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from sk_b2s._utils._callers import find_caller
from sk_b2s._utils._text import shorten_list
from sk_b2s.events._audio._copies import find_rows_of_audio_copies
from sk_b2s.events._stimuli import stimulus_name


class StimulusLeakWarning(UserWarning):
    """Warning that scored windows contain stimuli of the training set."""


def warn_of_stimulus_leak(fitted, y, owner, stacklevel=3):
    """Warn if rows of ``y`` contain stimuli of ``fit``.

    ``fitted`` are the StimulusIntervals of ``fit``, and ``owner`` is the name
    of the estimator in the warning.
    """
    leaking = fitted.touches(y)
    leaking |= find_rows_of_audio_copies(fitted, y)
    names = sorted({stimulus_name(sound) for sound in pd.unique(y["sound"][leaking].astype(object))})
    warn_of_leak_in_rows(leaking, names, owner, stacklevel + 1)


def warn_of_leak_in_rows(leaking, names, owner, stacklevel=3):
    """Warn of the rows in the mask ``leaking``, naming their stimuli."""
    if leaking.any() and not _is_training_score():
        warnings.warn(
            f"{np.count_nonzero(leaking)} of {len(leaking)} scored windows contain stimuli this {owner} was fitted on "
            f"({shorten_list(names, 5)}). The score measures memory, not decoding. Split by blocks of stimuli: "
            f"cv=StimulusKFold() or LeaveOneSubjectOut().",
            StimulusLeakWarning,
            stacklevel=stacklevel,
        )


def _is_training_score():
    """Return whether scikit-learn computes a training score on request.

    Searches with ``return_train_score`` and learning curves do.
    """
    scored = find_caller("sklearn.model_selection._validation", "_score")
    fitted = find_caller("sklearn.model_selection._validation", "_fit_and_score")
    return scored is not None and fitted is not None and scored.get("X_test") is fitted.get("X_train")
