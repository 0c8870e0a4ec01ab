"""Map of EEG/MEG samples to stimulus frames at another sampling rate.

The brain is read at ``sfreq_x``, 120 Hz in the paper, and wav2vec 2.0 speaks at ``sfreq_y``, 50 Hz.
Where the paper repeats features up to the brain's rate, we take the mean of the brain's steps in
each frame and weigh the frame by their number, which gives the same score at less cost:
with z_j the mean and w_j the number of steps z_i in frame j, sum_i <z_i, y_j(i)> =
sum_j w_j <z_j, y_j>, and repeated features have the squared norm sum_j w_j |y_j|².
"""

import math

import numpy as np


def frame_of_step(n_times, sfreq_x, sfreq_y):
    """Find the frame of the sound to which each step of the brain belongs.

    Step ``i`` starts at ``i / sfreq_x`` and belongs to frame ``floor(i * sfreq_y / sfreq_x)``. This
    is how features at 50 Hz meet a brain at 120 Hz without being repeated.

    Parameters
    ----------
    n_times : int
        Number of steps of the brain in a window.
    sfreq_x : float
        Rate of the brain in Hz.
    sfreq_y : float
        Rate of the speech features in Hz. Above ``sfreq_x`` some frames get no step.

    Returns
    -------
    frames : array of int64, shape (n_times,)
        Never decreasing, from 0.

    Raises
    ------
    ValueError
        If there is no step, or a rate is not positive and finite.

    Examples
    --------
    >>> frame_of_step(13, 120, 50)
    array([0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5])
    """
    for name, value in {"n_times": n_times, "sfreq_x": sfreq_x, "sfreq_y": sfreq_y}.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite; got {value}.")
    # A step within a billionth of a frame before a boundary is on it: 200/3 Hz is no exact float.
    return np.floor(np.arange(n_times) * sfreq_y / sfreq_x + 1e-9).astype(np.int64)


def frame_weights(n_times, sfreq_x, sfreq_y):
    """Count the steps of the brain in each frame of the sound.

    The weights ``w_j`` with which :func:`sk_b2s.metrics.similarity` of pooled frames equals that of
    repeated ones.

    Parameters
    ----------
    n_times : int
        Number of steps of the brain in a window.
    sfreq_x, sfreq_y : float
        Rates of the brain and of the speech features in Hz.

    Returns
    -------
    weights : array of int64, shape (n_frames,)
        Sums to ``n_times``. There are as many frames as the last step reaches; zero where a frame
        has no step.

    Examples
    --------
    >>> frame_weights(13, 120, 50)
    array([3, 2, 3, 2, 2, 1])
    """
    return np.bincount(frame_of_step(n_times, sfreq_x, sfreq_y))


def match_frames(X, targets):
    """Find the frame of the sound for each step of the brain, and check that the windows are as long.

    Parameters
    ----------
    X : Windows of shape (n_windows, n_channels, n_times)
    targets : Windows of shape (n_windows, n_features, n_frames)
        Where either rate is unknown both windows are taken to be equally long.

    Returns
    -------
    frames : ndarray of int of shape (n_times,)

    Raises
    ------
    ValueError
        If the windows differ by more than a frame, or frames are faster than steps.
    """
    n_times, n_frames = X.shape[2], targets.shape[2]
    if n_frames > n_times:
        raise ValueError(
            f"y has {n_frames} frames for {n_times} steps of the brain: speech features must not be faster than the "
            f"brain is read; raise Epocher(sfreq=...) or lower the features' rate."
        )
    if X.sfreq is None or targets.sfreq is None:
        return np.arange(n_times) * n_frames // n_times
    long_x, long_y = (n_times - 1) / X.sfreq, (n_frames - 1) / targets.sfreq
    if abs(long_x - long_y) > 1 / targets.sfreq + 1e-9:
        raise ValueError(
            f"windows differ in length: X has {n_times} steps at {X.sfreq:g} Hz ({long_x:.3f} s), y has {n_frames} "
            f"frames at {targets.sfreq:g} Hz ({long_y:.3f} s). Make X and y by one call of make_segments."
        )
    return np.minimum(frame_of_step(n_times, X.sfreq, targets.sfreq), n_frames - 1)
