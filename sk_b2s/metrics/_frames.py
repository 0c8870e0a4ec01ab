"""Map of EEG/MEG samples to stimulus frames at another sampling rate.

EEG/MEG has the rate ``sfreq_x``, 120 Hz in Défossez et al. (2023), and
wav2vec 2.0 features the rate ``sfreq_y``, 50 Hz. The paper repeats features at
the rate of the EEG/MEG. Here the samples of each frame are averaged, and the
frame is weighted by their number. The score is the same at less cost: with z_j
the mean and w_j the number of samples z_i in frame j, sum_i <z_i, y_j(i)> =
sum_j w_j <z_j, y_j>, and repeated features have the squared norm
sum_j w_j |y_j|².
"""

import math

import numpy as np


def find_frames_of_samples(n_times, sfreq_x, sfreq_y):
    """Find the stimulus frame of each EEG/MEG sample.

    Sample ``i`` starts at ``i / sfreq_x`` and belongs to frame ``floor(i *
    sfreq_y / sfreq_x)``, so that features at 50 Hz match EEG/MEG at 120 Hz
    without repetition.

    Parameters
    ----------
    n_times : int
        Number of EEG/MEG samples in a window.
    sfreq_x : float
        Sampling rate of the EEG/MEG in Hz.
    sfreq_y : float
        Rate of the speech features in Hz. Above ``sfreq_x`` some frames have
        no sample.

    Returns
    -------
    frames : array of int64, shape (n_times,)
        Non-decreasing, from 0.

    Raises
    ------
    ValueError
        If a number is not positive and finite.

    Examples
    --------
    >>> find_frames_of_samples(13, 120, 50)
    array([0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5])
    """
    for name, value in {"n_times": n_times, "sfreq_x": sfreq_x, "sfreq_y": sfreq_y}.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite. Got {value}.")
    # A sample within a billionth of a frame before a boundary is on it, as 200/3 Hz has no exact float.
    return np.floor(np.arange(n_times) * sfreq_y / sfreq_x + 1e-9).astype(np.int64)


def frame_weights(n_times, sfreq_x, sfreq_y):
    """Count the EEG/MEG samples in each stimulus frame.

    With these weights, :func:`sk_b2s.metrics.similarity` of averaged frames
    equals that of repeated features.

    Parameters
    ----------
    n_times : int
        Number of EEG/MEG samples in a window.
    sfreq_x, sfreq_y : float
        Rates of the EEG/MEG and of the speech features in Hz.

    Returns
    -------
    weights : array of int64, shape (n_frames,)
        Sums to ``n_times``. The last frame is that of the last sample. Frames
        without a sample have weight zero.

    Examples
    --------
    >>> frame_weights(13, 120, 50)
    array([3, 2, 3, 2, 2, 1])
    """
    return np.bincount(find_frames_of_samples(n_times, sfreq_x, sfreq_y))


def find_frames_of_windows(X, targets):
    """Find the stimulus frame of each EEG/MEG sample of two sets of windows.

    Parameters
    ----------
    X : Windows of shape (n_windows, n_channels, n_times)
    targets : Windows of shape (n_windows, n_features, n_frames)
        If either rate is unknown, both windows are assumed to be equally long.

    Returns
    -------
    frames : ndarray of int of shape (n_times,)

    Raises
    ------
    ValueError
        If the durations differ by more than a frame, or there are more frames
        than samples.
    """
    n_times, n_frames = X.shape[2], targets.shape[2]
    if n_frames > n_times:
        raise ValueError(
            f"y has {n_frames} frames for {n_times} samples of X. Speech features must not have a higher rate than the "
            f"EEG/MEG. Raise Epocher(sfreq=...) or lower the rate of the features."
        )
    if X.sfreq is None or targets.sfreq is None:
        return np.arange(n_times) * n_frames // n_times
    long_x, long_y = (n_times - 1) / X.sfreq, (n_frames - 1) / targets.sfreq
    if abs(long_x - long_y) > 1 / targets.sfreq + 1e-9:
        raise ValueError(
            f"windows differ in length: X has {n_times} samples at {X.sfreq:g} Hz ({long_x:.3f} s), y has {n_frames} "
            f"frames at {targets.sfreq:g} Hz ({long_y:.3f} s). Make X and y in one call of make_segments."
        )
    return np.minimum(find_frames_of_samples(n_times, X.sfreq, targets.sfreq), n_frames - 1)
