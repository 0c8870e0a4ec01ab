"""Continuous signals, loaded on first use."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sk_b2s._utils._chunks import count_chunk_rows, slice_rows_into_chunks
from sk_b2s._utils._logging import iterate_with_logged_progress

PIECE_BYTES = 2**22  # of a shuffled batch that are copied at a time; a piece stays in the cache


@dataclass(frozen=True)
class SignalPart:
    """Samples ``first`` to ``stop`` of some channels, and their recipe."""

    first: int
    stop: int
    channels: slice
    recipe: Any


class Signal:
    """Continuous signal that is computed on first use.

    A pickle contains the recipe instead of the samples.

    Parameters
    ----------
    recipe : callable
        Called without arguments. Returns a float32 array of shape ``shape``.
        A :func:`functools.partial` of an importable function is pickled to a
        few hundred bytes.
    shape : tuple (n_times, n_channels)
        Shape of the result.
    further : sequence of SignalPart, default=()
        Parts that the recipe leaves out, because no window reads them. They
        are computed when they are read as context of a window.
    """

    def __init__(self, recipe, shape, further=()):
        self.recipe = recipe
        self.shape = tuple(int(n) for n in shape)
        self.further = tuple(further)
        self._data = None
        self._missing = self.further

    def load(self):
        """Return the samples, computed once: (n_times, n_channels) float32."""
        if self._data is None:
            data = self.recipe()
            if data.shape != self.shape:
                raise RuntimeError(
                    f"A signal must have the shape {self.shape}. Got {data.shape} from {self.recipe!r}."
                )
            self._data = make_signal_time_major(data)
        return self._data

    def load_context(self, begin, end):
        """Compute the further parts that intervals of samples touch.

        ``begin`` and ``end`` are arrays of int, one value per interval.
        """
        missing = []
        for part in self._missing:
            if ((begin < part.stop) & (end > part.first)).any():
                self.load()[part.first : part.stop, part.channels] = part.recipe()
            else:
                missing.append(part)
        self._missing = tuple(missing)

    def __getstate__(self):
        return {**self.__dict__, "_data": None, "_missing": self.further}

    def __repr__(self):
        return f"Signal({self.shape[0]} x {self.shape[1]}{'' if self._data is None else ', loaded'})"


def load_signal(signal, keep=True):
    """Return the samples of a signal.

    Parameters
    ----------
    signal : ndarray or Signal of shape (n_times, n_channels)
    keep : bool, default=True
        If False, do not store the samples in the :class:`Signal`.

    Returns
    -------
    data : ndarray of shape (n_times, n_channels)
    """
    if not isinstance(signal, Signal):
        return signal
    return signal.load() if keep else Signal(signal.recipe, signal.shape).load()


def load_signals(signals):
    """Load signals that are not in memory yet, with a progress bar."""
    missing = [signal for signal in signals if not is_signal_loaded(signal)]
    for signal in iterate_with_logged_progress(missing, "signals"):
        signal.load()


def is_signal_loaded(signal):
    """Return whether the samples of a signal are in memory."""
    return not isinstance(signal, Signal) or signal._data is not None


def make_signal_time_major(signal):
    """Convert a signal to C-contiguous float32."""
    return np.ascontiguousarray(signal, dtype=np.float32)


def make_window_signal_tensor(signal):
    """Return a read-only tensor of a signal: (n_times, n_channels)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writ")
        return torch.from_numpy(load_signal(signal))


def copy_signal_windows(memory, signals, which, start):
    """Copy windows of signals into a buffer.

    Parameters
    ----------
    memory : Tensor of shape (n_windows, n_times, n_channels)
        Contiguous buffer, which is overwritten.
    signals : sequence of ndarray or Signal of shape (n_times, n_channels)
        Signals without a window are not loaded.
    which, start : ndarray of int64 of shape (n_windows,)
        Signal and first sample of each window. Windows sorted by signal are
        copied fastest.

    Examples
    --------
    >>> memory = torch.empty(2, 3, 1)
    >>> signal = np.arange(9, dtype="f4")[:, None]
    >>> which, start = np.array([0, 0]), np.array([5, 1])
    >>> copy_signal_windows(memory, [signal], which, start)
    >>> memory[..., 0]
    tensor([[5., 6., 7.],
            [1., 2., 3.]])
    """
    flat = memory.flatten(1)  # a view, as memory is contiguous
    n_times = memory.shape[1]
    load_signals([signals[index] for index in np.unique(which)])
    if (which[1:] >= which[:-1]).all():
        edges = np.r_[0, np.flatnonzero(np.diff(which)) + 1, len(which)]
        for first, last in zip(edges[:-1], edges[1:], strict=True):
            if first < last:
                starts = torch.from_numpy(start[first:last])
                torch.index_select(
                    _view_windows(signals[which[first]], n_times), 0, starts, out=flat[first:last]
                )
        return
    # torch cannot select into scattered rows. numpy can, with pieces that fit into the cache.
    max_rows = count_chunk_rows(PIECE_BYTES, flat.shape[1])
    for index in np.unique(which):
        view, rows = _view_windows(signals[index], n_times).numpy(), np.flatnonzero(which == index)
        for part in slice_rows_into_chunks(len(rows), max_rows):
            piece = rows[part]
            flat.numpy()[piece] = view[start[piece]]


def _view_windows(signal, n_times):
    """View all windows of a signal: (n_starts, n_times * n_channels)."""
    data = make_window_signal_tensor(signal)
    n_channels = data.shape[1]
    shape = (len(data) - n_times + 1, n_times * n_channels)
    return data.as_strided(shape, (n_channels, 1))
