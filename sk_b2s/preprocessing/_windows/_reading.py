"""Reading of windows: batches, context, overlap and tiles of signals."""

from __future__ import annotations

import numpy as np
import torch

from sk_b2s.preprocessing._windows._signals import copy_signal_windows


class WindowsReadingMixin:
    """Methods of :class:`~sk_b2s.Windows` that read samples."""

    def then(self, step):
        """Add a function that is applied to each batch.

        Parameters
        ----------
        step : callable
            ``step(batch, which) -> batch``. ``batch`` is a float32 tensor of
            shape (n_windows, n_channels, n_times), which may be modified in
            place, on the device of the batch. ``which`` is the signal of each
            window, (n_windows,) int64. A step that changes the number of
            samples, or that depends on all samples of a window, needs a method
            ``n_times(n_times) -> n_times``. Its windows have no context. One
            that changes the number of channels ``n_channels(n_channels) ->
            n_channels``. A step that reads samples before the current one
            needs their number as ``n_past``. One that depends on ``which``
            needs ``is_per_signal = True``. It must be picklable.

        Returns
        -------
        windows : Windows
            The same windows with one more step.
        """
        return self._replace(steps=(*self.steps, step))

    def empty(self, n_windows, device=None, pinned=False):
        """Make a buffer for :meth:`gather`.

        Parameters
        ----------
        n_windows : int
            Number of windows.
        device : str or torch.device, default=None
            Device of the buffer. If None, the CPU.
        pinned : bool, default=False
            If True, use page-locked memory, which a GPU reads asynchronously.

        Returns
        -------
        out : Tensor of shape (n_windows, n_channels_read, n_times_read)
            Time-major in memory.
        """
        shape = n_windows, self.n_read, self.n_channels_read
        return torch.empty(shape, device=device, pin_memory=pinned).transpose(1, 2)

    def gather(self, indices=None, out=None, device=None):
        """Read windows and apply the steps.

        Parameters
        ----------
        indices : array-like of int or mask, default=None
            Windows in the order of the batch. If None, all windows. Batches
            sorted by signal are read fastest.
        out : Tensor of shape (n_indices, n_channels_read, n_read), \
default=None
            Buffer from :meth:`empty`. The batch shares its memory.
        device : str or torch.device, default=None
            Device of the steps and the batch.

        Returns
        -------
        batch : Tensor of shape (len(indices), n_channels, n_times)
            float32, time-major in memory: the channels of
            ``batch.transpose(1, 2)`` are adjacent, and it is contiguous if no
            step crops.

        Raises
        ------
        ValueError
            If ``out`` has the wrong shape or layout.
        """
        indices = slice(None) if indices is None else np.asarray(indices)
        if getattr(indices, "size", 1) == 0:
            indices = np.zeros(0, np.int64)
        which, start = self.which[indices], self.start[indices]
        if out is None:
            # torch does not reuse a pinned buffer before it has been sent
            out = self.empty(len(which), pinned=device is not None and torch.device(device).type == "cuda")
        memory = out.transpose(1, 2)
        if memory.shape != (len(which), self.n_read, self.n_channels_read) or not memory.is_contiguous():
            raise ValueError(
                f"out must be made by empty({len(which)}), a time-major buffer of shape "
                f"{(len(which), self.n_channels_read, self.n_read)}. Got {tuple(out.shape)} with strides {out.stride()}."
            )
        self._fill(memory, which, start)
        # Copies from a GPU block, because the CPU would not notice when they are complete.
        batch = out if device is None else out.to(device, non_blocking=torch.device(device).type != "cpu")
        for step in self.steps:
            batch = step(batch, which)
        return batch if self.n_valid is None else _mask_window_padding(batch, self.n_valid[indices])

    def gather_context(self, indices, before, after, fill, spans=None):
        """Read windows with samples before and after them.

        Parameters
        ----------
        indices : array-like of int
            Windows in the order of the batch.
        before, after : int
            Number of further samples at each end, negative to crop.
        fill : Tensor of shape (n_channels,)
            Values where the signal has no sample, and of all further samples
            if windows have no real context or a step changes their length,
            unless it is a baseline of the :class:`~sk_b2s.Epocher`.
        spans : ndarray of int of shape (n_indices, 2), default=None
            First sample in the signal that may be read for each window, and
            the one after the last. They include the window. If None, those of
            the signal.

        Returns
        -------
        batch : Tensor of shape (len(indices), n_channels, \
n_times + before + after)
            In the type of ``fill``.
        """
        indices = np.asarray(indices)
        n_times = self.n_times + before + after
        batch = fill[:, None].repeat(len(indices), 1, n_times)
        changes = [hasattr(step, "n_times") and not hasattr(step, "extended") for step in self.steps]
        changes += [hasattr(step, "n_times") for step in self.steps[1:]]
        if not self.is_continuous or any(changes):
            inside = self.gather(indices)[..., max(-before, 0) : self.n_times + min(after, 0)]
            batch[..., max(before, 0) : max(before, 0) + inside.shape[2]] = inside
            return batch
        which = self.which[indices]
        if spans is None:
            stop = np.array([signal.shape[0] for signal in self.signals])[which]
            spans = np.stack([np.zeros_like(stop), stop], axis=1)
        # the part of each window that may be read
        first = self.start[indices] + (getattr(self.steps[0], "begin", 0) if self.steps else 0)
        before_own = np.minimum(before, first - spans[:, 0])
        after_own = np.minimum(after, spans[:, 1] - first - self.n_times)
        begin, end = first - before_own, first + self.n_times + after_own
        past = np.minimum(begin - spans[:, 0], sum(getattr(step, "n_past", 0) for step in self.steps))
        for index in np.unique(which):
            if getattr(self.signals[index], "further", ()):
                self.signals[index].load_context((begin - past)[which == index], end[which == index])
        parts = np.stack([before_own, after_own, past], axis=1)
        for n_before, n_after, n_past in np.unique(parts, axis=0):
            rows = np.flatnonzero((parts == (n_before, n_after, n_past)).all(1))
            if self.n_times + n_before + n_after > 0:
                part = self._extended(indices[rows], n_before + n_past, n_after)
                place = slice(before - n_before, before + self.n_times + n_after)
                batch[torch.from_numpy(rows), :, place] = part.gather()[..., n_past:].to(fill.dtype)
        return batch

    def _extended(self, indices, before, after):
        """Return windows with further samples at both ends."""
        steps = self.steps
        if steps and hasattr(steps[0], "extended"):
            step, before, after = steps[0].extended(before, after, self.n_read)
            steps = (step, *steps[1:])
        return self._replace(
            which=self.which[indices], start=self.start[indices] - before, n_times=self.n_read + before + after,
            steps=steps, rows=None, n_valid=None,
        )  # fmt: skip

    def _fill(self, memory, which, start):
        copy_signal_windows(memory, self.signals, which, start)

    def overlaps(self, indices, others):
        """Return which windows share samples with other windows.

        Parameters
        ----------
        indices, others : array-like of int
            Indices of windows.

        Returns
        -------
        mask : ndarray of bool of shape (len(indices),)

        Examples
        --------
        >>> import numpy as np
        >>> from sk_b2s import Windows
        >>> signals = [np.zeros((10, 1), "f4")] * 2
        >>> which, start = [0, 0, 0, 1], [0, 2, 3, 0]
        >>> windows = Windows(signals, which, start, 3, sfreq=100)
        >>> windows.overlaps([0, 1, 3], [2])
        array([False,  True, False])
        """
        longest = max(signal.shape[0] for signal in self.signals)
        place = self.which * (longest + self.n_read) + self.start  # windows of two signals are never close
        others = np.r_[np.iinfo(np.int64).min // 2, np.sort(place[others]), np.iinfo(np.int64).max // 2]
        after = np.searchsorted(others, place[indices])
        gap = np.minimum(others[after] - place[indices], place[indices] - others[after - 1])
        return gap < self.n_read

    @property
    def n_distinct(self):
        """Number of distinct samples that the windows read."""
        order = np.lexsort((self.start, self.which))
        which, start = self.which[order], self.start[order]
        new = np.diff(start, append=0)
        new[np.flatnonzero(np.diff(which, append=-1))] = self.n_read  # the last of each signal
        return int(np.minimum(new, self.n_read).sum())

    def tiles(self, index, most=200):
        """Return adjacent windows of a signal, for its statistics.

        Parameters
        ----------
        index : int
            Signal.
        most : int, default=200
            Maximum number of windows, evenly distributed. The scaler of the
            paper used 200 windows of each recording.

        Returns
        -------
        windows : Windows
            With the same steps, within ``extent``. They do not depend on the
            windows of ``self``.
        """
        length = self.signals[index].shape[0]
        first, last = (0, length) if self.extent is None else self.extent[index]
        first, last = max(int(first), 0), min(int(last), length)
        if last - first < self.n_read:  # the extent is shorter than a window
            first, last = 0, length
        count = max((last - first) // self.n_read, 1)
        start = first + self.n_read * np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))
        return self._replace(which=np.full(len(start), index), start=start, rows=None, n_valid=None)


def _mask_window_padding(batch, n_valid):
    """Set samples beyond the valid ones to 0."""
    sample = torch.arange(batch.shape[2], device=batch.device)
    is_padding = sample >= torch.as_tensor(n_valid, device=batch.device)[:, None]
    return batch.masked_fill_(is_padding[:, None], 0.0)
