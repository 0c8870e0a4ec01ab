"""Correlation of reconstructed speech features with the true ones."""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

CONSTANT = 1e-12  # standard deviation, relative to the mean, below which a signal is constant


def reconstruction_correlation(estimate, target, weights=None, per_window=False):
    r"""Compute Pearson's correlation of each band of a reconstruction.

    .. math:: r_f = \frac{\sum_j w_j (\hat y_{fj} - \bar{\hat y}_f)
              (y_{fj} - \bar y_f)}
              {\sqrt{\sum_j w_j (\hat y_{fj} - \bar{\hat y}_f)^2 \;
              \sum_j w_j (y_{fj} - \bar y_f)^2}}

    with the bands f, for example of a mel spectrogram, and the frames j. The
    scores of published reconstructions, such as those of the auditory EEG
    challenge [1]_, are means of r over bands, then over recordings, and then
    over subjects.

    Parameters
    ----------
    estimate, target : array-like of shape (n_windows, n_bands, n_frames)
        Reconstructed and true features. The shapes (n_bands, n_frames) and
        (n_frames,) are one window.
    weights : array-like of shape (n_frames,), default=None
        Weight of each frame, of shape (n_windows, n_frames) if it differs
        between windows. Frames with weight 0 may be NaN. If None, all weights
        are 1.
    per_window : bool, default=False
        If True, correlate each window separately. If False, correlate all
        frames of all windows. Overlapping windows then count several times,
        see :func:`overlap_add`.

    Returns
    -------
    r : ndarray of shape (n_bands,) or (n_windows, n_bands), or float
        Correlations from -1 to 1, a float for one-dimensional input. A
        constant estimate has the correlation 0, because it contains no
        information. If the target is constant, the correlation is undefined,
        NaN.

    Raises
    ------
    ValueError
        If shapes differ, a value is NaN, or ``per_window`` is True and there
        is only one window.

    See Also
    --------
    sk_b2s.cross_val_reconstruction : Cross-validated scores of a decoder.

    Notes
    -----
    Short windows have larger correlations by chance, and lose slow
    fluctuations. Scores of different durations are not comparable.

    References
    ----------
    .. [1] Monesi, Bollens, Accou et al. (2024). Auditory EEG decoding
       challenge for ICASSP 2023. IEEE Open Journal of Signal Processing 5:652.
       https://doi.org/10.1109/OJSP.2024.3376296

    Examples
    --------
    >>> import numpy as np
    >>> from sk_b2s.metrics import reconstruction_correlation
    >>> target = np.array([[1.0, 2, 3, 4], [4.0, 1, 3, 2]])
    >>> estimate = np.array([[2.0, 4, 6, 8], [1.0, 1, 1, 1]])
    >>> reconstruction_correlation(estimate, target)
    array([1., 0.])
    """
    estimate, target = np.asarray(estimate), np.asarray(target)
    if estimate.shape != target.shape or not 1 <= estimate.ndim <= 3 or not estimate.size:
        raise ValueError(
            f"estimate and target must have the same shape (n_bands, n_frames) or (n_windows, n_bands, n_frames). Got "
            f"{estimate.shape} and {target.shape}."
        )
    if per_window and estimate.ndim != 3:
        raise ValueError(
            f"per_window=True requires arrays of shape (n_windows, n_bands, n_frames). Got {estimate.shape}."
        )
    n_dims = estimate.ndim
    estimate, target = (_make_reconstruction_windows(data) for data in (estimate, target))
    weights = _check_reconstruction_weights(weights, estimate)
    if not per_window:  # all frames of a band on one axis
        estimate, target = (
            data.transpose(1, 0, 2).reshape(1, data.shape[1], -1) for data in (estimate, target)
        )
        weights = weights.reshape(1, 1, -1)
    used = np.broadcast_to(weights > 0, estimate.shape)
    estimate, target = (np.where(used, data, 0.0) for data in (estimate, target))
    for name, data in (("estimate", estimate), ("target", target)):
        if not np.isfinite(data).all():
            raise ValueError(
                f"{name} has {np.count_nonzero(~np.isfinite(data))} values that are NaN or infinite. Set the weights of "
                f"these frames to 0."
            )
    r = _correlate_reconstruction(estimate, target, weights)
    r = r if per_window else r[0]
    return float(r[0]) if n_dims == 1 else r


def _make_reconstruction_windows(data):
    """Return an array of shape (n_windows, n_bands, n_frames)."""
    return data.reshape(*(1,) * (3 - data.ndim), *data.shape)


def _check_reconstruction_weights(weights, data):
    """Return weights of shape (n_windows, 1, n_frames)."""
    n_windows, _, n_frames = data.shape
    if weights is None:
        return np.ones((n_windows, 1, n_frames))
    weights = np.asarray(weights, float)
    if weights.shape not in ((n_frames,), (n_windows, n_frames)):
        raise ValueError(
            f"weights must have the shape ({n_frames},) or ({n_windows}, {n_frames}). Got {weights.shape}."
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise ValueError("weights must be finite and at least 0, and one must be above 0.")
    return np.broadcast_to(weights, (n_windows, n_frames))[:, None]


def _correlate_reconstruction(estimate, target, weights):
    """Correlate over the last axis: (n_windows, n_bands)."""
    total = weights.sum(-1)
    centered, spread, is_constant = [], [], []
    for data in (estimate, target):
        mean = np.divide((weights * data).sum(-1), total, out=np.zeros(data.shape[:2]), where=total > 0)
        data = data - mean[..., None]
        std = np.sqrt(
            np.divide((weights * data**2).sum(-1), total, out=np.zeros(mean.shape), where=total > 0)
        )
        centered.append(data)
        spread.append(std)
        is_constant.append(std <= CONSTANT * np.abs(mean))
    products = np.divide(
        (weights * centered[0] * centered[1]).sum(-1), total, out=np.zeros(mean.shape), where=total > 0
    )
    r = np.divide(
        products, spread[0] * spread[1], out=np.zeros(mean.shape), where=~(is_constant[0] | is_constant[1])
    )
    return np.where(is_constant[1], np.nan, np.clip(r, -1, 1))


def overlap_add(windows, start, weights=None):
    """Average overlapping windows to a continuous signal.

    Parameters
    ----------
    windows : array-like of shape (n_windows, n_bands, n_frames)
        Estimates of the same signal.
    start : array-like of int of shape (n_windows,)
        First frame of each window in the signal.
    weights : array-like of shape (n_frames,), default=None
        Weight of each frame of a window. If None, all weights are 1.

    Returns
    -------
    signal : ndarray of shape (n_bands, n_times)
        Weighted mean of the windows at each frame, from the first frame of the
        earliest window. NaN in gaps.
    coverage : ndarray of shape (n_times,)
        Sum of the weights at each frame, 0 in gaps.

    Raises
    ------
    ValueError
        If the arguments do not match.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_b2s.metrics import overlap_add
    >>> signal, coverage = overlap_add([[[1.0, 3]], [[5.0, 7]]], [0, 1])
    >>> signal, coverage
    (array([[1., 4., 7.]]), array([1., 2., 1.]))
    """
    windows, start = np.asarray(windows), np.asarray(start)
    if (
        windows.ndim != 3
        or not len(windows)
        or start.shape != (len(windows),)
        or start.dtype.kind not in "iu"
    ):
        raise ValueError(
            f"windows must have the shape (n_windows, n_bands, n_frames), and start one integer per window. Got "
            f"{windows.shape}, and start of shape {start.shape} and type {start.dtype}."
        )
    n_frames = windows.shape[2]
    weights = np.ones(n_frames) if weights is None else np.asarray(weights, float)
    if weights.shape != (n_frames,):
        raise ValueError(f"weights must have the shape ({n_frames},). Got {weights.shape}.")
    start = start.astype(np.int64) - int(start.min())
    total = np.zeros((start.max() + n_frames, windows.shape[1]))
    coverage = np.zeros(len(total))
    for first, window in zip(start.tolist(), windows, strict=True):
        total[first : first + n_frames] += weights[:, None] * window.T
        coverage[first : first + n_frames] += weights
    signal = np.full(total.shape, np.nan)
    np.divide(total, coverage[:, None], out=signal, where=coverage[:, None] > 0)
    return signal.T, coverage


def correlate_reconstruction_shifts(estimate, target):
    """Correlate an estimate with the target at all circular shifts.

    Parameters
    ----------
    estimate, target : ndarray of shape (n_bands, n_times)
        Without NaN.

    Returns
    -------
    r : ndarray of shape (n_bands, n_times)
        Correlation with the target shifted by 0, 1, ... frames. A constant
        estimate has 0, a constant target NaN.
    """
    n_times = estimate.shape[1]
    scaled, is_constant = [], []
    for data in (estimate, target):
        mean = data.mean(1, dtype=float, keepdims=True)
        data = data - mean
        norm = np.sqrt((data**2).sum(1, keepdims=True))
        is_constant.append(norm[:, 0] <= CONSTANT * np.sqrt(n_times) * np.abs(mean[:, 0]))
        scaled.append(np.divide(data, norm, out=np.zeros(data.shape), where=norm > 0))
    length = next_fast_len(2 * n_times, real=True)  # a linear correlation, of which the halves are added
    product = rfft(scaled[0], length) * np.conj(rfft(scaled[1], length))
    r = irfft(product, length)
    r = r[:, :n_times] + np.c_[np.zeros(len(r)), r[:, length - n_times + 1 :]]
    r[is_constant[0]] = 0.0
    r[is_constant[1]] = np.nan
    return r
