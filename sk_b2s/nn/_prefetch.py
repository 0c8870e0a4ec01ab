"""Windows held on the device, and batches fetched ahead."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from sk_b2s._utils._devices import free_bytes
from sk_b2s.preprocessing._signals import as_tensor
from sk_b2s.preprocessing._windows import Windows

SHARE = 0.6  # of a GPU's free memory, for signals; the rest is for weights, activations and scores


class ResidentWindows(Windows):
    """Windows whose signals lie on a device, one after another, so that a batch is one gather there.

    To the outside the same array as before. Subsets share the signals; they are freed with the last of
    them. :func:`keep_on_device` makes them where there is room.

    Parameters
    ----------
    windows : Windows
        What is read. Signals that none of its windows is of stay where they are.
    device : str or torch.device
        Where the signals are copied to.

    Examples
    --------
    >>> windows = Windows([np.arange(20, dtype="f4").reshape(10, 2)], [0, 0, 0], [0, 2, 7], 3, sfreq=100)
    >>> ResidentWindows(windows, "cpu")[1:].gather([1])
    tensor([[[14., 16., 18.],
             [15., 17., 19.]]])
    """

    def __init__(self, windows, device):
        vars(self).update(vars(windows))
        used, self.first = np.unique(self.which), np.full(len(self.signals), -1)
        lengths = [self.signals[index].shape[0] for index in used]
        edges = np.r_[0, np.cumsum(lengths, dtype=np.int64)]
        self.first[used] = edges[:-1]
        self.memory = torch.empty(edges[-1], self.shape[1], device=device)
        for index, begin, end in zip(used, edges[:-1], edges[1:], strict=True):
            self.memory[begin:end] = as_tensor(self.signals[index])

    def _replace(self, **changes):
        """Return other windows of the same signals."""
        other = object.__new__(type(self))
        vars(other).update(vars(self) | vars(super()._replace(**changes)))
        return other

    def empty(self, n_windows, device=None, pinned=False):
        """Make a buffer for :meth:`gather`.

        Parameters
        ----------
        n_windows : int
            How many windows it is for.
        device : str or torch.device, default=None
            Where it lies; where the signals do by default.
        pinned : bool, default=False
            Has no meaning here.

        Returns
        -------
        out : Tensor of shape (n_windows, n_channels, n_times_read)
            Time-major in memory.
        """
        return super().empty(n_windows, self.memory.device if device is None else device)

    def _fill(self, memory, which, start):
        """Take all samples of a batch by one index, which is worked out on the device."""
        first = self.first[which]
        if (first < 0).any():
            index = which[np.argmax(first < 0)]
            raise RuntimeError(f"signal {index} was left behind: no window was of it when they were moved.")
        begin = torch.from_numpy(first + start).to(self.memory.device)
        samples = begin[:, None] + torch.arange(self.n_read, device=begin.device)
        torch.index_select(self.memory, 0, samples.flatten(), out=memory.flatten(0, 1))


def keep_on_device(device, *parts, room=None):
    """Keep windows on a GPU as long as there is room; what does not fit is sent batch by batch.

    Parameters
    ----------
    device : torch.device
    *parts : Windows
        First those that matter most.
    room : int, default=None
        Bytes for all of them. By default ``SHARE`` of the memory that is free, and nothing on the CPU,
        which reads signals where they lie.

    Returns
    -------
    parts : list of Windows
        :class:`ResidentWindows` where they fit.
    """
    room = _room(device) if room is None else room
    kept = []
    for windows in parts:
        n_bytes = 4 * windows.shape[1] * sum(windows.signals[i].shape[0] for i in np.unique(windows.which))
        if n_bytes <= room:
            windows, room = ResidentWindows(windows, device), room - n_bytes
        kept.append(windows)
    return kept


def _room(device):
    """Bytes of a device that signals may take."""
    if device.type != "cuda":
        return -1
    return int(SHARE * free_bytes(device))


def fetch_ahead(batches, device, threaded=None):
    """Fetch each batch while the one before is computed with.

    A thread reads windows and sends them on a stream of its own, one batch ahead. A CPU has nothing to
    gain, for the thread would take the cores that compute.

    Parameters
    ----------
    batches : iterable
        Of nested tuples, lists and dicts of tensors; it is read from the other thread, in order.
    device : str or torch.device
        Where the batches arrive.
    threaded : bool, default=None
        Whether to do so; by default on a GPU alone.

    Yields
    ------
    batch : object
        As it came.
    """
    device = torch.device(device)
    on_gpu = device.type == "cuda"
    if not (on_gpu if threaded is None else threaded):
        yield from batches
        return
    iterator, stream = iter(batches), torch.cuda.Stream(device) if on_gpu else None
    if on_gpu:  # what the batches are made from may still be on its way
        stream.wait_stream(torch.cuda.current_stream(device))

    def fetch():
        with torch.cuda.stream(stream) if on_gpu else contextlib.nullcontext():
            batch = next(iterator, END)
            return batch, stream.record_event() if on_gpu else None

    with ThreadPoolExecutor(1, "fetch_ahead") as thread:
        coming = thread.submit(fetch)
        while True:
            batch, sent = coming.result()
            if batch is END:
                return
            coming = thread.submit(fetch)
            if on_gpu:
                _receive(batch, sent, torch.cuda.current_stream(device))
            yield batch


END = object()


def _receive(batch, sent, stream):
    """Let a stream wait for a batch, and keep its memory from being used anew before the stream is done."""
    stream.wait_event(sent)
    for tensor in _tensors(batch):
        tensor.record_stream(stream)


def _tensors(batch):
    """Tensors of a nested batch."""
    if isinstance(batch, torch.Tensor):
        yield batch
    elif isinstance(batch, (tuple, list, dict)):
        for part in batch.values() if isinstance(batch, dict) else batch:
            yield from _tensors(part)
