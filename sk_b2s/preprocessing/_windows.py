"""Windows on a few continuous signals, cut only when needed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from sk_b2s._utils._validation import recordings_of
from sk_b2s.preprocessing._signals import Signal, copy_windows, to_time_major


class Windows:
    """Equal-length windows of continuous signals: the one array-like of the package.

    To the outside an array of shape ``(n_windows, n_channels, n_times)``, inside a few continuous
    signals and, for each window, which signal it is cut from and where it starts. Ten thousand
    overlapping windows of an hour need no more memory than the hour, subsets are free, and a pickle
    holds recipes instead of samples. Signals are time-major, so that a window is one contiguous
    block of memory and a batch is filled at the speed of copying.

    Parameters
    ----------
    signals : sequence of ndarray or Signal of shape (n_times_of_signal, n_channels)
        Continuous signals with equal channels; arrays that are not C-contiguous float32 are copied.
    which : array-like of int of shape (n_windows,)
        Signal of each window.
    start : array-like of int of shape (n_windows,)
        First sample of each window in its signal.
    n_times : int
        Samples that are read for a window.
    sfreq : float or None
        Rate in Hz; None where unknown (plain arrays).
    rows : DataFrame of shape (n_windows, ...), default=None
        The table's rows that the windows belong to.
    positions : ndarray of shape (n_layouts, n_channels, 2), default=None
        Sensor layouts on the unit square, NaN where a position is unknown.
    layout : array-like of int of shape (n_signals,), default=None
        Layout of each signal; all the first by default.
    ch_names : sequence of str of length n_channels, default=None
        Names of the channels.
    extent : array-like of int of shape (n_signals, 2), default=None
        First and last sample of each signal that counts for its statistics; all of it by default.
    steps : tuple of callables, default=()
        What is done to every batch, see :meth:`then`.

    Raises
    ------
    ValueError
        If a window leaves its signal or the parts do not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> windows = Windows([np.arange(20, dtype="f4").reshape(10, 2)], [0, 0, 0], [0, 2, 7], 3, sfreq=100)
    >>> windows
    Windows(3 windows x 2 channels x 3 times, 100 Hz, 1 signal)
    >>> windows[1:].shape
    (2, 2, 3)
    >>> windows[2]
    array([[14., 16., 18.],
           [15., 17., 19.]], dtype=float32)
    """

    def __init__(
        self, signals, which, start, n_times, sfreq, *, rows=None, positions=None, layout=None,
        ch_names=None, extent=None, steps=(),
    ):  # fmt: skip
        self.signals = [s if isinstance(s, Signal) else to_time_major(s) for s in signals]
        self.which = np.asarray(which, dtype=np.int64)
        self.start = np.array(start, dtype=np.int64)  # a copy, for torch refuses columns of pandas
        self.n_read = int(n_times)
        self.sfreq = sfreq
        self.rows = rows
        self.positions = positions
        n_signals = len(self.signals)
        self.layout = np.zeros(n_signals, np.int64) if layout is None else np.asarray(layout, np.int64)
        self.ch_names = None if ch_names is None else tuple(ch_names)
        self.extent = extent
        self.steps = tuple(steps)
        self._check()

    def _check(self):
        lengths = np.array([signal.shape[0] for signal in self.signals])
        if len({signal.shape[1] for signal in self.signals}) > 1:
            raise ValueError(f"signals must have equal channels, got {[s.shape[1] for s in self.signals]}.")
        if len(self.which) != len(self.start):
            raise ValueError(f"which and start differ in length: {len(self.which)} and {len(self.start)}.")
        if self.rows is not None and len(self.rows) != len(self.which):
            raise ValueError(f"rows has {len(self.rows)} rows for {len(self.which)} windows.")
        n_signals, n_channels = len(self.signals), self.signals[0].shape[1]
        for name, came, wanted in [
            ("positions", np.shape(self.positions)[1:], (n_channels, 2)),
            ("layout", np.shape(self.layout), (n_signals,)),
            ("ch_names", np.shape(self.ch_names), (n_channels,)),
            ("extent", np.shape(self.extent), (n_signals, 2)),
        ]:
            if getattr(self, name) is not None and came != wanted:
                raise ValueError(
                    f"{name} must have the shape {wanted} for {n_signals} signals of {n_channels} channels"
                    f"{' and each layout' * (name == 'positions')}, got {came}."
                )
        if len(self.which):
            if self.which.min() < 0 or self.which.max() >= n_signals:
                row = np.flatnonzero((self.which < 0) | (self.which >= n_signals))[0]
                raise ValueError(f"window {row} is of signal {self.which[row]}, but there are {n_signals}.")
            beyond = (self.start < 0) | (self.start + self.n_read > lengths[self.which])
            if beyond.any():
                row = np.flatnonzero(beyond)[0]
                raise ValueError(
                    f"window {row} reads samples {self.start[row]} to {self.start[row] + self.n_read} of a signal "
                    f"of {lengths[self.which[row]]} ({beyond.sum()} such windows)."
                )

    @classmethod
    def from_array(cls, data, rows=None, positions=None, sfreq=None, ch_names=None):
        """Wrap windows that are already cut.

        Parameters
        ----------
        data : array-like of shape (n_windows, n_channels, n_times)
            Converted to time-major float32. With a column ``recording`` in ``rows`` the windows of
            each recording of a subject form one signal, else all form one.
        rows : DataFrame of shape (n_windows, ...), default=None
            ``subject``, ``recording`` and whatever else is known of them.
        positions : array-like of shape (n_channels, 2), default=None
            Sensors on the unit square; NaN where unknown.
        sfreq : float, default=None
            Rate in Hz.
        ch_names : sequence of str, default=None

        Returns
        -------
        windows : Windows

        Raises
        ------
        ValueError
            If ``data`` has not three dimensions.
        """
        data = np.asarray(check_equal_shapes(data, "data"))
        if data.ndim != 3:
            raise ValueError(
                f"data must have the shape (n_windows, n_channels, n_times), got {data.shape}; add the missing axis."
            )
        n_windows, n_channels, n_times = data.shape
        if rows is not None and len(rows) != n_windows:
            raise ValueError(f"rows has {len(rows)} rows for {n_windows} windows.")
        of_recording = rows is not None and "recording" in rows
        which = (
            pd.factorize(recordings_of(rows), use_na_sentinel=False)[0]
            if of_recording
            else np.zeros(n_windows, np.int64)
        )
        signals, start = [], np.empty(n_windows, np.int64)
        for index in range(which.max(initial=-1) + 1):
            mine = np.flatnonzero(which == index)
            block = data if len(mine) == n_windows else data[mine]
            signals.append(to_time_major(block.transpose(0, 2, 1)).reshape(len(mine) * n_times, n_channels))
            start[mine] = np.arange(len(mine)) * n_times
        if positions is not None:
            positions = np.asarray(positions, float)[None]
        signals = signals or [np.empty((0, n_channels), np.float32)]
        return cls(signals, which, start, n_times, sfreq, rows=rows, positions=positions, ch_names=ch_names)

    # --- an array to the outside -------------------------------------------------------------------

    ndim = 3
    dtype = np.dtype(np.float32)

    @property
    def shape(self):
        """(n_windows, n_channels, n_times)."""
        n_times = self.n_read
        for step in self.steps:
            n_times = getattr(step, "n_times", lambda n: n)(n_times)
        return len(self.which), self.signals[0].shape[1], n_times

    @property
    def n_times(self):
        """Samples of a window after all steps."""
        return self.shape[2]

    @property
    def size(self):
        """Number of samples in all windows."""
        return int(np.prod(self.shape))

    @property
    def nbytes(self):
        """Bytes that the windows would need if materialised."""
        return 4 * self.size

    def __len__(self):
        return len(self.which)

    def __getitem__(self, key):
        if isinstance(key, tuple):
            key, *rest = key
            if any(not (r is Ellipsis or (isinstance(r, slice) and r == slice(None))) for r in rest):
                raise IndexError(
                    "Windows are indexed along their first axis; for channels or times take "
                    "np.asarray(windows)[...] or choose them in Epocher(picks=...)."
                )
        if isinstance(key, (int, np.integer)):
            if not -len(self) <= key < len(self):
                raise IndexError(f"window {key} of {len(self)}.")
            return self.gather([key % len(self)])[0].cpu().numpy()
        if not isinstance(key, slice):
            key = np.asarray(key)
            key = key.astype(np.int64) if key.size == 0 and key.dtype != bool else key
        rows = self.rows.iloc[key] if self.rows is not None else None
        return self._replace(which=self.which[key], start=self.start[key], rows=rows)

    def __iter__(self):
        return (self[index] for index in range(len(self)))

    def __array__(self, dtype=None, copy=None):
        if copy is False:
            raise ValueError("Windows hold no array of their own, so np.asarray must be allowed to copy.")
        array = np.ascontiguousarray(self.gather().cpu().numpy())
        return array if dtype is None else array.astype(dtype, copy=False)

    def __repr__(self):
        n_windows, n_channels, n_times = self.shape
        rate = "" if self.sfreq is None else f", {self.sfreq:g} Hz"
        n_signals, n_steps = len(self.signals), len(self.steps)
        steps = f", {n_steps} step{'s' * (n_steps > 1)}" if n_steps else ""
        return (
            f"Windows({n_windows} windows x {n_channels} channels x {n_times} times{rate}, "
            f"{n_signals} signal{'s' * (n_signals > 1)}{steps})"
        )

    def _replace(self, **changes):
        """Return a copy that shares the signals."""
        parts = {
            "signals": self.signals, "which": self.which, "start": self.start, "n_times": self.n_read,
            "sfreq": self.sfreq, "rows": self.rows, "positions": self.positions, "layout": self.layout,
            "ch_names": self.ch_names, "extent": self.extent, "steps": self.steps,
        }  # fmt: skip
        return Windows(**{**parts, **changes})

    # --- reading -----------------------------------------------------------------------------------

    def then(self, step):
        """Add a lazy step.

        Parameters
        ----------
        step : callable
            ``step(batch, which) -> batch`` with a float32 tensor of shape (n_windows, n_channels,
            n_times), fresh so that it may be changed in place, on the device it was gathered for,
            and the signal of each window, (n_windows,) int64. A step that changes the number of
            times has a method ``n_times(n_times) -> n_times``. It must pickle.

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
            How many windows it is for.
        device : str or torch.device, default=None
            Where it lies; the processor's memory by default.
        pinned : bool, default=False
            Whether a GPU may read it by itself, while the processor goes on.

        Returns
        -------
        out : Tensor of shape (n_windows, n_channels, n_times_read)
            Time-major in memory.
        """
        shape = n_windows, self.n_read, self.shape[1]
        return torch.empty(shape, device=device, pin_memory=pinned).transpose(1, 2)

    def gather(self, indices=None, out=None, device=None):
        """Cut windows and put them through the steps.

        Parameters
        ----------
        indices : array-like of int or mask, default=None
            Windows, in the order wanted; None takes all. A batch ordered by signal is filled
            fastest.
        out : Tensor of shape (len(indices), n_channels, n_times_read), default=None
            Buffer from :meth:`empty` to read into; the batch returned shares its memory.
        device : str or torch.device, default=None
            Where the steps run and the batch is wanted.

        Returns
        -------
        batch : Tensor of shape (len(indices), n_channels, n_times)
            float32; time-major in memory: ``batch.transpose(1, 2)`` has its channels side by side, and is
            contiguous where no step crops.

        Raises
        ------
        ValueError
            If ``out`` does not fit.
        """
        indices = slice(None) if indices is None else np.asarray(indices)
        if getattr(indices, "size", 1) == 0:
            indices = np.zeros(0, np.int64)
        which, start = self.which[indices], self.start[indices]
        if out is None:
            # torch keeps a pinned buffer from being used anew until it is sent
            out = self.empty(len(which), pinned=device is not None and torch.device(device).type == "cuda")
        memory = out.transpose(1, 2)
        if memory.shape != (len(which), self.n_read, self.shape[1]) or not memory.is_contiguous():
            raise ValueError(
                f"out must come from empty({len(which)}), a time-major buffer of shape "
                f"{(len(which), self.shape[1], self.n_read)}; got {tuple(out.shape)} with strides {out.stride()}."
            )
        self._fill(memory, which, start)
        # What comes from a GPU is waited for, because the processor does not know when it has arrived.
        batch = out if device is None else out.to(device, non_blocking=torch.device(device).type != "cpu")
        for step in self.steps:
            batch = step(batch, which)
        return batch

    def _fill(self, memory, which, start):
        copy_windows(memory, self.signals, which, start)

    def overlaps(self, indices, others):
        """Tell which of some windows read samples that others read as well.

        Parameters
        ----------
        indices, others : array-like of int
            Windows.

        Returns
        -------
        mask : ndarray of bool of shape (len(indices),)

        Examples
        --------
        >>> import numpy as np
        >>> windows = Windows([np.zeros((10, 1), "f4")] * 2, [0, 0, 0, 1], [0, 2, 3, 0], 3, sfreq=100)
        >>> windows.overlaps([0, 1, 3], [2])
        array([False,  True, False])
        """
        longest = max(signal.shape[0] for signal in self.signals)
        place = self.which * (longest + self.n_read) + self.start  # windows of two signals are never near
        others = np.r_[np.iinfo(np.int64).min // 2, np.sort(place[others]), np.iinfo(np.int64).max // 2]
        after = np.searchsorted(others, place[indices])
        gap = np.minimum(others[after] - place[indices], place[indices] - others[after - 1])
        return gap < self.n_read

    @property
    def n_distinct(self):
        """Number of distinct samples that the windows read: those that several share count once."""
        order = np.lexsort((self.start, self.which))
        which, start = self.which[order], self.start[order]
        new = np.diff(start, append=0)
        new[np.flatnonzero(np.diff(which, append=-1))] = self.n_read  # the last of each signal
        return int(np.minimum(new, self.n_read).sum())

    # --- what statistics are taken from ------------------------------------------------------------

    def tiles(self, index, most=200):
        """Lay windows side by side over the part of a signal that counts.

        Parameters
        ----------
        index : int
            Signal.
        most : int, default=200
            At most so many, evenly spread. The paper's scaler saw 200 windows of each recording.

        Returns
        -------
        windows : Windows
            Through the same steps; the same whatever windows ``self`` holds.
        """
        length = self.signals[index].shape[0]
        first, last = (0, length) if self.extent is None else self.extent[index]
        first, last = max(int(first), 0), min(int(last), length)
        if last - first < self.n_read:  # the heard part is shorter than a window
            first, last = 0, length
        count = max((last - first) // self.n_read, 1)
        start = first + self.n_read * np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))
        return self._replace(which=np.full(len(start), index), start=start, rows=None)


def check_equal_shapes(X, name="X"):
    """Return X as it is, or raise a ValueError if it is a sequence of windows of different shapes.

    Parameters
    ----------
    X : object
    name : str, default="X"
        Name of X in the message.

    Returns
    -------
    X : object
    """
    if not isinstance(X, (list, tuple)) and not (isinstance(X, np.ndarray) and X.dtype == object):
        return X
    shapes = []
    for window in X:
        try:
            shapes.append(np.shape(window))
        except ValueError:  # ragged itself
            shapes.append(None)
        if shapes[-1] != shapes[0] or shapes[0] is None:
            raise ValueError(
                f"all windows of {name} must have one shape (n_channels, n_times), got {shapes[0]} in window 0 and "
                f"{shapes[-1]} in window {len(shapes) - 1}. Cut or pad them to one length."
            )
    return X


def subjects_of(windows):
    """Subject of each window, "" where unnamed: (n_windows,) array of str."""
    rows = windows.rows
    if rows is None or "subject" not in rows:
        return np.full(len(windows), "", dtype=object)
    unnamed = rows["subject"].isna().to_numpy()
    if unnamed.any():
        raise ValueError(
            f"X row {rows.index[unnamed.argmax()]!r}, column 'subject': expected a name, got "
            f"{rows['subject'].iloc[unnamed.argmax()]!r} ({unnamed.sum()} such rows); name them, or drop them from X "
            f"and y alike."
        )
    return rows["subject"].astype(str).to_numpy(dtype=object)
