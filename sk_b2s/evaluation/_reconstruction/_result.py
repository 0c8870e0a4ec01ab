"""Continuous reconstructions of speech features and their correlations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from sk_b2s._utils._validation import get_validated_recordings
from sk_b2s.metrics._reconstruction import correlate_reconstruction_shifts

MEAN = "mean"  # name of the mean over bands
FOLDS_FACTOR = np.sqrt(2)  # by which the null of a mean over folds is wider than that of independent folds


@dataclass(frozen=True)
class ReconstructionResult:
    """Reconstructed and true speech features of each recording.

    :func:`~sk_b2s.reconstruct` returns it.

    Parameters
    ----------
    estimate, target : list of ndarray of shape (n_bands, n_frames)
        One of each per recording. Overlapping windows are averaged, so that
        each frame appears once. Frames without a window are left out.
    rows : DataFrame of shape (n_recordings, ...)
        ``study`` (if known), ``subject, recording, n_windows`` and
        ``n_frames``.
    window : int
        Number of frames of a window.
    sfreq : float or None
        Frames per second, None if unknown.
    place : list of ndarray of shape (n_frames,)
        Integer identity of the stimulus frame at each frame. It is equal for
        repetitions of a stimulus.
    """

    estimate: list
    target: list
    rows: pd.DataFrame
    window: int
    sfreq: float | None = None
    place: list = field(default_factory=list)

    @property
    def n_bands(self):
        """Number of bands, the features of the decoder."""
        return self.target[0].shape[0]

    def correlations(self, n_shifts=1000, random_state=0):
        r"""Correlate the reconstruction of each subject and band.

        Correlations are computed over all frames of a recording, and averaged
        over the recordings of a subject, weighted by their number of frames.

        Parameters
        ----------
        n_shifts : int, default=1000
            Number of circular shifts for the null distribution. The
            reconstruction of each recording is shifted by at least one window,
            and not onto a repetition of its stimulus.
        random_state : None, int or RandomState, default=0
            Seed of the shifts.

        Returns
        -------
        scores : DataFrame of shape (n_subjects * (n_bands + 1), ...)
            ``study`` (if known) and ``subject``. ``band``, "mean" for the mean
            of the correlations of all bands, or the number of a band as text.
            With one band there is only "mean". ``r`` and its ``chance`` level,
            0. ``null_low, null_mean`` and ``null_high``, the 2.5 % quantile,
            mean and 97.5 % quantile of the null distribution, NaN without
            shifts and if a recording is shorter than two windows.
            ``n_recordings, n_windows`` and ``minutes`` of distinct frames, NaN
            if the rate is unknown. A band whose target is constant is NaN, and
            left out of the mean.
        """
        random = check_random_state(random_state)
        curves = [self.correlate_recording(index, n_shifts, random) for index in range(len(self.rows))]
        names = [MEAN, *map(str, range(self.n_bands))] if self.n_bands > 1 else [MEAN]
        parts = []
        keys = self.rows.assign(recording="")  # subjects of studies, which may have equal names
        for of_subject in keys.groupby(get_validated_recordings(keys), sort=False).indices.values():
            rows = self.rows.iloc[of_subject]
            subject = rows["subject"].iloc[0]
            weights = rows["n_frames"].to_numpy(float)
            found = np.stack(
                [curves[index] for index in of_subject]
            )  # (n_recordings, 1 + n_shifts, n_bands + 1)
            r = _average_reconstructed_recordings(found, weights)[:, : len(names)]
            null = r[1:] if n_shifts else np.full((1, len(names)), np.nan)
            low, high = np.quantile(null, [0.025, 0.975], axis=0)
            minutes = np.nan if self.sfreq is None else rows["n_frames"].sum() / self.sfreq / 60
            parts.append(
                pd.DataFrame({
                    **({"study": rows["study"].iloc[0]} if "study" in rows else {}), "subject": subject, "band": names,
                    "r": r[0], "chance": 0.0, "null_mean": null.mean(0), "null_low": low, "null_high": high,
                    "n_recordings": len(rows), "n_windows": int(rows["n_windows"].sum()), "minutes": minutes,
                })
            )  # fmt: skip
        return pd.concat(parts, ignore_index=True)

    def correlate_recording(self, index, n_shifts, random):
        """Correlate one recording without and with shifts.

        Parameters
        ----------
        index : int
            Row of the recording.
        n_shifts : int
            Number of circular shifts.
        random : RandomState
            Draws the shifts.

        Returns
        -------
        r : ndarray of shape (1 + n_shifts, 1 + n_bands)
            The first row is not shifted, and the first column is the mean over
            bands.
        """
        r = correlate_reconstruction_shifts(self.estimate[index], self.target[index])
        with np.errstate(invalid="ignore"):
            known = ~np.isnan(r[:, 0])
        mean = r[known].mean(0) if known.any() else np.full(r.shape[1], np.nan)
        r = np.vstack([mean, r]).T
        if not n_shifts:
            return r[:1]
        place = self.place[index] if self.place else np.arange(len(r))
        possible = find_reconstruction_result_shifts(place, self.window)
        if not len(possible):
            return np.vstack([r[:1], np.full((n_shifts, r.shape[1]), np.nan)])
        return np.vstack([r[:1], r[random.choice(possible, size=n_shifts)]])


def _average_reconstructed_recordings(found, weights):
    """Average recordings, without those whose target is constant."""
    known = ~np.isnan(found[:, :1])  # by band, as r is NaN
    weights = weights[:, None, None] * known
    total = weights.sum(0)
    summed = (weights * np.where(known, found, 0)).sum(0)
    return np.divide(summed, total, out=np.full(summed.shape, np.nan), where=total > 0)


def find_reconstruction_result_shifts(place, window):
    """Find circular shifts after which no frame meets its own stimulus.

    Parameters
    ----------
    place : ndarray of int of shape (n_frames,)
        Identity of the stimulus frame at each frame.
    window : int
        Least shift, in frames, from the own frame and from its repetitions.

    Returns
    -------
    shifts : ndarray of int
        Empty if the recording is too short.
    """
    n_frames = len(place)
    is_free = np.zeros(n_frames, bool)
    is_free[window : n_frames - window + 1] = True
    order = np.argsort(place, kind="stable")
    _, count = np.unique(place, return_counts=True)
    for start, n in zip(np.cumsum(count) - count, count, strict=True):
        if n == 1:
            continue
        at = order[start : start + n]
        apart = np.unique((at[:, None] - at)[~np.eye(n, dtype=bool)] % n_frames)
        if (~is_free[apart]).all():
            continue
        near = (apart[:, None] + np.arange(1 - window, window)) % n_frames
        is_free[near] = False
    return np.flatnonzero(is_free)


def describe_reconstruction_result_recordings(parts: list[dict[str, Any]]):
    """Make the table of recordings, without a study if it is unknown."""
    rows = pd.DataFrame(parts)
    return rows.drop(columns="study") if rows["study"].isna().all() else rows
