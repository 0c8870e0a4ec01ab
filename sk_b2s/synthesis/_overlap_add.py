"""Continuous recordings of overlapping windows, without their stimuli."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s._utils._validation import get_validated_recordings, validate_table
from sk_b2s.metrics._reconstruction import overlap_add


def overlap_add_recording(estimates, weights, table, sfreq):
    """Average the windows of each recording.

    Parameters
    ----------
    estimates : ndarray of shape (n_windows, n_bands, n_frames)
    weights : ndarray of shape (n_frames,)
    table : DataFrame of shape (n_windows, ...) or None
        ``onset`` (s), and ``study``, ``subject`` and ``recording`` if there
        are several.
        Without a table, windows are consecutive.
    sfreq : float
        Frames per second.

    Returns
    -------
    signals : list of ndarray of shape (n_times, n_bands)
        NaN where no window is. The first frame is that of the first window.
    rows : DataFrame of shape (n_recordings, ...)
        ``study`` (if known), ``subject``, ``recording``, ``onset`` (s) and
        ``n_windows``.
    """
    n_windows, _, n_frames = estimates.shape
    keys = pd.DataFrame({"subject": [""] * n_windows, "recording": ""})
    for name in ("study", "subject", "recording"):
        if table is not None and name in table:
            keys[name] = table[name].to_numpy(dtype=object)
    if table is None or "onset" not in table:
        onset = np.arange(n_windows) * n_frames / sfreq
    else:
        onset = table["onset"].to_numpy(float)
    first = np.round(onset * sfreq).astype(np.int64)
    signals, rows = [], []
    for own in keys.groupby(get_validated_recordings(keys), sort=False).indices.values():
        signal, _ = overlap_add(estimates[own], first[own], weights)
        signals.append(signal.T)
        rows.append({
            **keys.iloc[own[0]], "onset": first[own].min() / sfreq, "n_windows": len(own),
        })  # fmt: skip
    return signals, pd.DataFrame(rows)


def find_overlap_add_table(X, windows):
    """Return the table of windows, None without a table."""
    table = validate_table(X)
    return validate_table(windows) if table is None else table
