"""Windows stored on a device, and batches read ahead."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from sk_b2s._utils._devices import get_free_device_bytes
from sk_b2s.preprocessing._windows._signals import make_window_signal_tensor
from sk_b2s.preprocessing._windows._windows import Windows

STORED_BYTES = 2**30  # of windows after all steps, on the CPU
SHARE = 0.6  # of the free GPU memory for signals; the rest is for weights, activations and scores


class PrefetchedWindows(Windows):
    """Windows with signals on a device, so that a batch is one gather there.

    They behave like the Windows they are made of. Subsets share the signals.
    :func:`prefetch_windows_to_device` makes them if there is enough memory.

    Parameters
    ----------
    windows : Windows
        Windows to read. Signals without a window are not copied.
    device : str or torch.device
        Device of the signals.

    Examples
    --------
    >>> signal = np.arange(20, dtype="f4").reshape(10, 2)
    >>> windows = Windows([signal], [0, 0, 0], [0, 2, 7], 3, sfreq=100)
    >>> PrefetchedWindows(windows, "cpu")[1:].gather([1])
    tensor([[[14., 16., 18.],
             [15., 17., 19.]]])
    """

    def __init__(self, windows, device):
        vars(self).update(vars(windows))
        used, self.first = np.unique(self.which), np.full(len(self.signals), -1)
        lengths = [self.signals[index].shape[0] for index in used]
        edges = np.r_[0, np.cumsum(lengths, dtype=np.int64)]
        self.first[used] = edges[:-1]
        self.memory = torch.empty(edges[-1], self.n_channels_read, device=device)
        for index, begin, end in zip(used, edges[:-1], edges[1:], strict=True):
            self.memory[begin:end] = make_window_signal_tensor(self.signals[index])

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
            Number of windows.
        device : str or torch.device, default=None
            Device of the buffer. If None, that of the signals.
        pinned : bool, default=False
            Ignored.

        Returns
        -------
        out : Tensor of shape (n_windows, n_channels, n_times_read)
            Time-major in memory.
        """
        return super().empty(n_windows, self.memory.device if device is None else device)

    def _fill(self, memory, which, start):
        """Gather all samples of a batch by an index on the device."""
        first = self.first[which]
        if (first < 0).any():
            index = which[np.argmax(first < 0)]
            raise RuntimeError(
                f"signal {index} is not on the device, because no window used it when signals were copied."
            )
        begin = torch.from_numpy(first + start).to(self.memory.device)
        samples = begin[:, None] + torch.arange(self.n_read, device=begin.device)
        torch.index_select(self.memory, 0, samples.flatten(), out=memory.flatten(0, 1))


class StoredPrefetchWindows(Windows):
    """Windows whose steps are applied once, when a window is first read.

    They behave like the Windows they are made of. Subsets apply the steps
    again. :func:`store_prefetched_windows` makes them for training on the CPU,
    where whitening all channels can take longer than a small network.

    Parameters
    ----------
    windows : Windows
        Windows to read.

    Examples
    --------
    >>> signal = np.arange(20, dtype="f4").reshape(10, 2)
    >>> windows = Windows([signal], [0, 0, 0], [0, 2, 7], 3, sfreq=100)
    >>> StoredPrefetchWindows(windows).gather([1])
    tensor([[[4., 6., 8.],
             [5., 7., 9.]]])
    """

    def __init__(self, windows):
        vars(self).update(vars(windows))
        self.memory = torch.empty(len(self), self.n_times, self.shape[1])  # pages are used when written
        self.is_stored = np.zeros(len(self), bool)

    def gather(self, indices=None, out=None, device=None):
        """Read windows, after all steps."""
        if out is not None:
            return super().gather(indices, out, device)
        indices = np.asarray(range(len(self)) if indices is None else indices)
        indices = np.flatnonzero(indices) if indices.dtype == bool else indices.astype(np.int64)
        if len(missing := np.unique(indices[~self.is_stored[indices]])):
            self.memory[torch.from_numpy(missing)] = super().gather(missing).transpose(1, 2)
            self.is_stored[missing] = True
        return self.memory[torch.from_numpy(indices)].transpose(1, 2)


def store_prefetched_windows(device, windows, most=STORED_BYTES):
    """Store windows after their steps, if they have any and memory is enough.

    Only on the CPU, and for at most ``most`` bytes.
    """
    if device.type != "cpu" or not windows.steps or windows.nbytes > most:
        return windows
    return StoredPrefetchWindows(windows)


def prefetch_windows_to_device(device, *parts, room=None):
    """Store windows on a GPU if there is enough memory: list of Windows.

    Parameters
    ----------
    device : torch.device
    *parts : Windows
        In order of priority. Those without enough memory are returned
        unchanged.
    room : int, default=None
        Memory in bytes. If None, ``SHARE`` of the free memory, and nothing on
        the CPU.
    """
    room = _count_free_device_bytes(device) if room is None else room
    kept = []
    for windows in parts:
        n_bytes = (
            4 * windows.n_channels_read * sum(windows.signals[i].shape[0] for i in np.unique(windows.which))
        )
        if n_bytes <= room:
            windows, room = PrefetchedWindows(windows, device), room - n_bytes
        kept.append(windows)
    return kept


def _count_free_device_bytes(device):
    """Return the bytes of a device for signals."""
    if device.type != "cuda":
        return -1
    return int(SHARE * get_free_device_bytes(device))


def prefetch_batches(batches, device, threaded=None):
    """Yield batches, reading the next one while the current one is used.

    A thread reads windows and copies them on a separate stream. A CPU has no
    benefit, because the thread uses the cores that compute.

    Parameters
    ----------
    batches : iterable
        Nested tuples, lists and dicts of tensors. It is read in order from the
        thread.
    device : str or torch.device
        Device of the batches.
    threaded : bool, default=None
        Whether to use a thread. If None, only on a GPU.
    """
    device = torch.device(device)
    on_gpu = device.type == "cuda"
    if not (on_gpu if threaded is None else threaded):
        yield from batches
        return
    iterator, stream = iter(batches), torch.cuda.Stream(device) if on_gpu else None
    if on_gpu:  # the source of the batches may still be copied
        stream.wait_stream(torch.cuda.current_stream(device))

    def fetch():
        with torch.cuda.stream(stream) if on_gpu else contextlib.nullcontext():
            batch = next(iterator, END)
            return batch, stream.record_event() if on_gpu else None

    with ThreadPoolExecutor(1, "prefetch_batches") as thread:
        coming = thread.submit(fetch)
        while True:
            batch, sent = coming.result()
            if batch is END:
                return
            coming = thread.submit(fetch)
            if on_gpu:
                _receive_prefetched_batch(batch, sent, torch.cuda.current_stream(device))
            yield batch


END = object()


def _receive_prefetched_batch(batch, sent, stream):
    """Let a stream wait for a batch, and protect its memory until then."""
    stream.wait_event(sent)
    for tensor in _iter_tensors_of_batch(batch):
        tensor.record_stream(stream)


def _iter_tensors_of_batch(batch):
    """Yield the tensors of a nested batch."""
    if isinstance(batch, torch.Tensor):
        yield batch
    elif isinstance(batch, (tuple, list, dict)):
        for part in batch.values() if isinstance(batch, dict) else batch:
            yield from _iter_tensors_of_batch(part)
