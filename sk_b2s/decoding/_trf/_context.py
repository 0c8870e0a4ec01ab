"""EEG/MEG samples beyond the ends of windows that lags read."""

from __future__ import annotations

import numpy as np
import torch

from sk_b2s.decoding._ridge_solver import sum_ridge_frames

ROUNDING = 1e-9  # frames; a sample this close before a boundary is on it


def find_context_frames(X, targets, lags):
    """Find the stimulus frame of each sample that the lags of a window read.

    Parameters
    ----------
    X, targets : Windows
        If either rate is unknown, both windows are assumed to be equally long.
    lags : ndarray of int of shape (n_lags,)
        Consecutive rising frames.

    Returns
    -------
    frames : ndarray of int of shape (n_context_times,)
        From ``lags[0]`` to the last frame plus ``lags[-1]``. Frame 0 begins
        with the window.
    """
    n_times, n_frames = X.shape[2], targets.shape[2]
    ratio = n_frames / n_times if None in (X.sfreq, targets.sfreq) else targets.sfreq / X.sfreq
    first, stop = int(lags[0]), n_frames + int(lags[-1])
    samples = np.arange(int(first / ratio) - 2, int(stop / ratio) + 2)
    frames = np.floor(samples * ratio + ROUNDING).astype(np.int64)
    return frames[(frames >= first) & (frames < stop)]


def find_adjoining_spans(X):
    """Find the samples of windows and of those that adjoin them.

    Parameters
    ----------
    X : Windows

    Returns
    -------
    spans : ndarray of int of shape (n_windows, 2)
        First sample in the signal, and the one after the last, of the stretch
        that windows cover without a gap. A baseline is not part of a window.

    Examples
    --------
    >>> from sk_b2s import Windows
    >>> X = Windows([np.zeros((20, 1))], [0, 0, 0], [2, 11, 6], 4, sfreq=100)
    >>> find_adjoining_spans(X).tolist()
    [[2, 10], [11, 15], [2, 10]]
    """
    shift = X.which * (2 + max(signal.shape[0] for signal in X.signals))  # signals do not adjoin each other
    begin = getattr(X.steps[0], "begin", 0) if X.steps else 0  # after the start of a baseline
    first = X.start + begin + shift
    order = np.argsort(first, kind="stable")
    first = first[order]
    stop = np.maximum.accumulate(first + X.n_times)
    is_new = np.r_[True, first[1:] > stop[:-1]][: len(first)]
    group = np.cumsum(is_new) - 1
    last = np.r_[np.flatnonzero(is_new)[1:], len(first)][: group.max(initial=-1) + 1] - 1
    spans = np.empty((len(first), 2), np.int64)
    spans[order] = np.stack([first[is_new][group], stop[last][group]], axis=1)
    return spans - shift[:, None]


def read_context_frames(X, rows, frames, own, mean, spans=None):
    """Read, center and average the samples of each frame that lags read.

    Parameters
    ----------
    X : Windows
    rows : ndarray of int of shape (n_rows,)
    frames : ndarray of int of shape (n_context_times,)
        Result of :func:`find_context_frames`.
    own : ndarray of int of shape (n_times,)
        Frame of each sample of the window.
    mean : Tensor of shape (n_channels,)
        It is subtracted, and replaces samples that do not exist.
    spans : ndarray of int of shape (n_windows, 2), default=None
        Samples of the signal that may be read for each window. If None, all.

    Returns
    -------
    batch : Tensor of shape (n_rows, n_context_frames, n_channels)
        In the type of ``mean``.
    """
    before = int(np.count_nonzero(frames < 0) - np.count_nonzero(own < frames[0]))
    spans = None if spans is None else spans[rows]
    batch = X.gather_context(rows, before, len(frames) - len(own) - before, mean, spans)
    places = torch.from_numpy(frames - frames[0])
    sums = sum_ridge_frames(batch - mean[:, None], places, int(places[-1]) + 1)
    return sums / torch.bincount(places).to(sums)[:, None].clamp(min=1)
