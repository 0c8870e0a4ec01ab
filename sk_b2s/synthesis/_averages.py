"""Average of reconstructions of the same stimulus."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s.evaluation._reconstruction._result import ReconstructionResult

AVERAGES = {"subjects": [], "repeats": ["study", "subject"]}  # columns of recordings that are not averaged


def average_reconstruction(result, average, is_standardized=True):
    """Average recordings at equal places of the stimulus.

    Parameters
    ----------
    result : ReconstructionResult
        With ``place``. Recordings of different folds are not averaged.
    average : {"subjects", "repeats"}
        Whether to average all recordings, or those of each subject.
    is_standardized : bool, default=True
        Whether the bands of estimates are standardized before. The level of
        the training mean is that of its audio, so it must not be.

    Returns
    -------
    result : ReconstructionResult
        One recording per group, of the subject "average" if subjects are
        averaged.
    """
    by = [name for name in ["fold", *AVERAGES[average]] if name in result.rows]
    groups = result.rows.groupby(by, sort=False, dropna=False).ngroup() if by else np.zeros(len(result.rows))
    estimate, target, place, rows = [], [], [], []
    for number in pd.unique(np.asarray(groups)):
        own = np.flatnonzero(groups == number)
        group = result.rows.iloc[own[0]][by].to_dict()
        at = np.concatenate([result.place[i] for i in own])
        found, inverse = np.unique(at, return_inverse=True)
        count = np.bincount(inverse)
        sums = []
        for parts in (result.estimate, result.target):
            joined = np.concatenate(
                [
                    _standardize_bands(parts[i]) if is_standardized and parts is result.estimate else parts[i]
                    for i in own
                ],
                axis=1,
            )
            sums.append(np.stack([np.bincount(inverse, band) / count for band in joined]))
        estimate.append(sums[0])
        target.append(sums[1])
        place.append(found)
        name = f"fold {group['fold']}" if "fold" in group else "average"
        rows.append({
            "subject": "average", "recording": name, **group, "n_frames": len(found),
            "n_windows": int(result.rows["n_windows"].iloc[own].sum()),
        })  # fmt: skip
    return ReconstructionResult(estimate, target, pd.DataFrame(rows), result.window, result.sfreq, place)


def _standardize_bands(estimate):
    """Standardize bands, so that each recording has the same weight."""
    spread = estimate.std(1, keepdims=True)
    centered = estimate - estimate.mean(1, keepdims=True)
    return np.divide(centered, spread, out=np.zeros_like(centered), where=spread > 1e-9)
