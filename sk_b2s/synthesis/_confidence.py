"""Identification and confidence of each second of a reconstruction."""

from __future__ import annotations

import numpy as np

from sk_b2s._utils._validation import validate_count

FADE = 0.1  # s, duration of a fade to silence


def compare_confidence_seconds(estimate, target, sfreq, seconds=1.0):
    """Correlate each second of an estimate with each second of the target.

    Parameters
    ----------
    estimate, target : ndarray of shape (n_bands, n_frames)
        Bands are standardized over the recording first.
    sfreq : float
        Frames per second.
    seconds : float, default=1.0
        Duration of a piece.

    Returns
    -------
    similarity : ndarray of shape (n_seconds, n_seconds)
        Pearson correlation over all bands and frames of a piece. A constant
        estimate has 0.

    Raises
    ------
    ValueError
        If the recording has fewer than three pieces.
    """
    length = max(round(seconds * sfreq), 1)
    n = estimate.shape[1] // length
    if n < 3:
        raise ValueError(
            f"The recording has {estimate.shape[1] / sfreq:.1f} s, and identification requires three pieces of {seconds:g} "
            f"s. Use longer recordings or a smaller value of 'seconds'."
        )
    parts = []
    for data in (estimate, target):
        data = np.asarray(data, float)[:, : n * length]
        data = data - data.mean(1, keepdims=True)
        spread = data.std(1, keepdims=True)
        data = np.divide(data, spread, out=np.zeros_like(data), where=spread > 1e-9)
        pieces = data.reshape(len(data), n, length).transpose(1, 0, 2).reshape(n, -1)
        norm = np.linalg.norm(pieces, axis=1, keepdims=True)
        parts.append(np.divide(pieces, norm, out=np.zeros_like(pieces), where=norm > 1e-9))
    return parts[0] @ parts[1].T


def compute_confidence(estimate, target, sfreq, seconds=1.0, context=5, least_shift=2):
    """Compute the confidence of each second of a reconstruction.

    The similarity of a second to its true stimulus is compared with that after
    each circular shift of the stimulus, the null distribution. One second of
    EEG/MEG has little information, so the similarities of neighboring seconds
    are averaged at the same shift.

    Parameters
    ----------
    estimate, target : array-like of shape (n_frames, n_mels)
        Reconstructed and true features of one recording.
    sfreq : float
        Frames per second.
    seconds : float, default=1.0
        Duration of a piece.
    context : int, default=5
        Number of pieces whose similarities are averaged.
    least_shift : int, default=2
        Shifts by fewer pieces are left out of the null distribution.

    Returns
    -------
    confidence : ndarray of shape (n_seconds,)
        1 - p, with p the fraction of shifts that are at least as similar,
        including the true one. About 5 % of the seconds without information
        have 0.95 or more.
    margin : ndarray of shape (n_seconds,)
        Similarity minus the mean of the null distribution, in its standard
        deviations.

    Raises
    ------
    ValueError
        If the shapes differ, a value is NaN, or the recording is too short.

    Examples
    --------
    >>> import numpy as np
    >>> target = np.random.default_rng(0).standard_normal((500, 4))
    >>> confidence, margin = compute_confidence(target, target, 10)
    >>> bool((confidence > 0.95).all()), len(margin)
    (True, 50)
    """
    estimate, target = np.asarray(estimate, float), np.asarray(target, float)
    if estimate.shape != target.shape or estimate.ndim != 2:
        raise ValueError(
            f"estimate and target must have the same shape (n_frames, n_mels). Got {estimate.shape} and {target.shape}."
        )
    for name, data in (("estimate", estimate), ("target", target)):
        if not np.isfinite(data).all():
            raise ValueError(
                f"The {name!r} parameter must be finite. Got {np.count_nonzero(~np.isfinite(data))} values that are not. "
                f"Pass the frames that have a window only."
            )
    validate_count("context", context, least=1)
    validate_count("least_shift", least_shift, least=1)
    similarity = compare_confidence_seconds(estimate.T, target.T, sfreq, seconds)
    n = len(similarity)
    if n < 2 * least_shift + 1:
        raise ValueError(
            f"The recording has {n} pieces of {seconds:g} s, and no circular shift by {least_shift} or more. Use a longer "
            f"recording."
        )
    by_shift = roll_confidence_shifts(similarity)
    kernel = np.ones(context)
    middle = slice((context - 1) // 2, (context - 1) // 2 + n)  # centered, also if there are fewer pieces
    count = np.convolve(np.ones(n), kernel)[middle]
    smooth = np.stack([np.convolve(column, kernel)[middle] for column in by_shift.T], 1) / count[:, None]
    null = smooth[:, least_shift : n - least_shift + 1]
    p = (1 + (null >= smooth[:, :1]).sum(1)) / (1 + null.shape[1])
    spread = null.std(1)
    margin = np.divide(smooth[:, 0] - null.mean(1), spread, out=np.zeros(n), where=spread > 1e-12)
    return 1 - p, margin


def roll_confidence_shifts(similarity):
    """Sort similarities by circular shift: (n_seconds, n_shifts)."""
    n = len(similarity)
    at = np.arange(n)
    return similarity[at[:, None], (at[:, None] + at) % n]


def make_confidence_fade(confidence, threshold, n_samples, sfreq):
    """Make the gain of each sample from the confidence of each second."""
    confidence = np.asarray(confidence, float)
    if confidence.ndim != 1 or not len(confidence):
        raise ValueError(
            f"The 'confidence' parameter must have one number per second. Got an array of shape {confidence.shape} instead."
        )
    if not 0 <= threshold <= 1:
        raise ValueError(f"The 'threshold' parameter must be between 0 and 1. Got {threshold!r} instead.")
    is_read = np.nan_to_num(confidence, nan=-1.0) >= threshold
    second = np.minimum(np.arange(n_samples) // int(sfreq), len(is_read))
    gain = np.append(is_read, False)[second].astype(float)  # silent after the last second
    n_fade = max(int(FADE * sfreq), 1)
    padded = np.pad(gain, (n_fade // 2, n_fade - n_fade // 2 - 1), mode="edge")
    total = np.cumsum(np.insert(padded, 0, 0.0))
    return ((total[n_fade:] - total[:-n_fade]) / n_fade).astype(np.float32)
