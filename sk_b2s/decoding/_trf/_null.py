"""Null distribution of the correlations of a forward model."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.utils import _safe_indexing

from sk_b2s._utils._validation import get_validated_recordings
from sk_b2s.decoding._candidates import find_distinct_candidates
from sk_b2s.decoding._ridge_solver import correlate_ridge_channels
from sk_b2s.metrics._null import find_null_shifts


def correlate_trf_shifts(predicted, eeg, X, y, rows, n_shifts, random):
    """Correlate predictions that are shifted within recordings.

    Returns an array of shape (n_shifts or 1, n_channels).
    """
    table = X.rows.iloc[rows] if X.rows is not None else pd.DataFrame()
    nothing = np.full((1, X.shape[1]), np.nan)
    if not n_shifts or not {"recording", "onset", "duration"} <= set(table):
        return nothing
    labels = find_distinct_candidates(_safe_indexing(y, rows)).target
    onset, recording = table["onset"].to_numpy(float), get_validated_recordings(table)
    total = np.zeros((n_shifts, X.shape[1]))
    for name in pd.unique(recording):
        own = np.flatnonzero(recording == name)
        own = own[np.argsort(onset[own], kind="stable")]
        try:
            possible = find_null_shifts(name, labels[own], onset[own], table["duration"].max())
        except ValueError:  # a recording may be too short for a null
            return nothing
        for index, shift in enumerate(random.choice(possible, size=n_shifts)):
            total[index] += len(own) * correlate_ridge_channels(
                np.roll(predicted[own], shift, axis=0), eeg[own]
            )
    return total / len(rows)
