"""Continuous signals, loaded on first use."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from sk_b2s._utils._chunks import count_rows, slice_rows

PIECE_BYTES = 2**22  # of a shuffled batch that are copied at a time; a piece stays in the cache


class Signal:
    """A continuous signal that is made on first use and pickled as its recipe.

    Parameters
    ----------
    recipe : callable
        Called without arguments, returns a float32 array of shape ``shape``. A
        :func:`functools.partial` over an importable function pickles to a few hundred bytes.
    shape : tuple (n_times, n_channels)
        What it will return.
    """

    def __init__(self, recipe, shape):
        self.recipe = recipe
        self.shape = tuple(int(n) for n in shape)
        self._data = None

    def load(self):
        """Return the signal, making it the first time: (n_times, n_channels) float32."""
        if self._data is None:
            data = self.recipe()
            if data.shape != self.shape:
                raise RuntimeError(
                    f"a signal announced as {self.shape} came as {data.shape}: {self.recipe!r}."
                )
            self._data = to_time_major(data)
        return self._data

    def __getstate__(self):
        return {**self.__dict__, "_data": None}

    def __repr__(self):
        return f"Signal({self.shape[0]} x {self.shape[1]}{'' if self._data is None else ', loaded'})"


def load_signal(signal, keep=True):
    """Return the samples of a signal, whether it is made or not yet.

    Parameters
    ----------
    signal : ndarray or Signal of shape (n_times, n_channels)
    keep : bool, default=True
        False makes a :class:`Signal` anew for the caller alone, and holds no more of it than it held.

    Returns
    -------
    data : ndarray of shape (n_times, n_channels)
    """
    if not isinstance(signal, Signal):
        return signal
    return signal.load() if keep else Signal(signal.recipe, signal.shape).load()


def to_time_major(signal):
    """Return a signal as windows read it: float32, times one after another in memory."""
    return np.ascontiguousarray(signal, dtype=np.float32)


def as_tensor(signal):
    """Return a signal as a tensor that is only read: (n_times, n_channels)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writ")
        return torch.from_numpy(load_signal(signal))


def copy_windows(memory, signals, which, start):
    """Copy stretches of signals side by side, signal by signal.

    Parameters
    ----------
    memory : Tensor of shape (n_windows, n_times, n_channels)
        Contiguous; what is in it is written over.
    signals : sequence of ndarray or Signal of shape (n_times_of_signal, n_channels)
        Those that no stretch is of are not made.
    which, start : ndarray of int64 of shape (n_windows,)
        Signal of each stretch, and its first sample there. It is fastest ordered by signal.

    Examples
    --------
    >>> memory = torch.empty(2, 3, 1)
    >>> copy_windows(memory, [np.arange(9, dtype="f4")[:, None]], np.array([0, 0]), np.array([5, 1]))
    >>> memory[..., 0]
    tensor([[5., 6., 7.],
            [1., 2., 3.]])
    """
    flat = memory.flatten(1)  # a view, as memory is contiguous
    n_times = memory.shape[1]
    if (which[1:] >= which[:-1]).all():
        edges = np.r_[0, np.flatnonzero(np.diff(which)) + 1, len(which)]
        for first, last in zip(edges[:-1], edges[1:], strict=True):
            if first < last:
                starts = torch.from_numpy(start[first:last])
                torch.index_select(_sliding(signals[which[first]], n_times), 0, starts, out=flat[first:last])
        return
    # torch cannot select into scattered rows; numpy can, by way of a piece in the cache.
    max_rows = count_rows(PIECE_BYTES, flat.shape[1])
    for index in np.unique(which):
        view, rows = _sliding(signals[index], n_times).numpy(), np.flatnonzero(which == index)
        for part in slice_rows(len(rows), max_rows):
            piece = rows[part]
            flat.numpy()[piece] = view[start[piece]]


def _sliding(signal, n_times):
    """View a signal as all stretches of a length, one in a row: (n_starts, n_times * n_channels)."""
    data = as_tensor(signal)
    n_channels = data.shape[1]
    shape = (len(data) - n_times + 1, n_times * n_channels)
    return data.as_strided(shape, (n_channels, 1))
