"""Windows of continuous signals, cut only when needed."""

from __future__ import annotations

import html

import numpy as np
import pandas as pd
import torch

from sk_b2s._utils._callers import find_caller
from sk_b2s._utils._svg import draw_svg_dots, draw_svg_lines
from sk_b2s._utils._validation import get_validated_recordings
from sk_b2s.preprocessing._exchange._imports import ImportTrialsMixin
from sk_b2s.preprocessing._signals import (
    Signal,
    copy_signal_windows,
    is_signal_loaded,
    make_signal_time_major,
)

SHOWN = 8  # channels in HTML


class Windows(ImportTrialsMixin):
    """Lazy array of windows of continuous signals.

    It behaves like an array of shape ``(n_windows, n_channels, n_times)``,
    but holds a few continuous signals and, for each window, its signal and
    first sample. Ten thousand overlapping windows of one hour need no more
    memory than the hour, subsets share the signals, and a pickle contains
    recipes instead of samples. Signals are time-major, so that a window is
    contiguous in memory and a batch is copied at full speed.

    Parameters
    ----------
    signals : sequence of ndarray or Signal of shape (n_times, n_channels)
        Continuous signals with equal channels. Arrays that are not
        C-contiguous float32 are copied.
    which : array-like of int of shape (n_windows,)
        Signal of each window.
    start : array-like of int of shape (n_windows,)
        First sample of each window in its signal.
    n_times : int
        Number of samples that are read for a window.
    sfreq : float or None
        Sampling rate in Hz. None if unknown, as for plain arrays.
    rows : DataFrame of shape (n_windows, ...), default=None
        Row of the table of segments of each window.
    positions : ndarray of shape (n_layouts, n_channels, 2), default=None
        Sensor layouts on the unit square, NaN for unknown positions.
    layout : array-like of int of shape (n_signals,), default=None
        Layout of each signal. If None, all have the first one.
    ch_names : sequence of str of length n_channels, default=None
        Names of channels.
    extent : array-like of int of shape (n_signals, 2), default=None
        First and last sample of each signal for its statistics. If None, the
        whole signal is used.
    steps : tuple of callables, default=()
        Functions that are applied to each batch, see :meth:`then`.
    n_valid : array-like of int of shape (n_windows,), default=None
        Number of samples of each window after all steps. The rest is set to
        0, so that windows of unequal length have one shape. If None, all
        samples are valid.
    is_continuous : bool, default=True
        Whether samples before and after a window in its signal are its real
        context, which :meth:`gather_context` reads. False for windows of an
        array, whose neighbors may be from another time.

    Raises
    ------
    ValueError
        If a window exceeds its signal or the arguments do not match.

    Examples
    --------
    >>> import numpy as np
    >>> signal = np.arange(20, dtype="f4").reshape(10, 2)
    >>> windows = Windows([signal], [0, 0, 0], [0, 2, 7], 3, sfreq=100)
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
        ch_names=None, extent=None, steps=(), n_valid=None, is_continuous=True,
    ):  # fmt: skip
        self.signals = [s if isinstance(s, Signal) else make_signal_time_major(s) for s in signals]
        self.which = np.asarray(which, dtype=np.int64)
        self.start = np.array(
            start, dtype=np.int64
        )  # a copy, because torch rejects read-only columns of pandas
        self.n_read = int(n_times)
        self.sfreq = sfreq
        self.rows = rows
        self.positions = positions
        n_signals = len(self.signals)
        self.layout = np.zeros(n_signals, np.int64) if layout is None else np.asarray(layout, np.int64)
        self.ch_names = None if ch_names is None else tuple(ch_names)
        self.extent = extent
        self.steps = tuple(steps)
        self.n_valid = None if n_valid is None else np.array(n_valid, dtype=np.int64)
        self.is_continuous = bool(is_continuous)
        self._check()

    def _check(self):
        """Raise if the arguments do not match."""
        lengths = np.array([signal.shape[0] for signal in self.signals])
        if len({signal.shape[1] for signal in self.signals}) > 1:
            raise ValueError(
                f"signals must have the same number of channels. Got {[s.shape[1] for s in self.signals]}."
            )
        if len(self.which) != len(self.start):
            raise ValueError(
                f"which and start must have the same length. Got {len(self.which)} and {len(self.start)}."
            )
        if self.rows is not None and len(self.rows) != len(self.which):
            raise ValueError(
                f"rows must have one row per window. Got {len(self.rows)} rows for {len(self.which)} windows."
            )
        if self.n_valid is not None and (
            self.n_valid.shape != self.which.shape
            or not ((self.n_valid >= 1) & (self.n_valid <= self.n_times)).all()
        ):
            raise ValueError(
                f"n_valid must have one number of samples from 1 to {self.n_times} for each of {len(self.which)} windows. "
                f"Got {self.n_valid}."
            )
        n_signals, n_channels = len(self.signals), self.signals[0].shape[1]
        for name, shape, expected in [
            ("positions", np.shape(self.positions)[1:], (n_channels, 2)),
            ("layout", np.shape(self.layout), (n_signals,)),
            ("ch_names", np.shape(self.ch_names), (n_channels,)),
            ("extent", np.shape(self.extent), (n_signals, 2)),
        ]:
            if getattr(self, name) is not None and shape != expected:
                raise ValueError(
                    f"{name} must have the shape {expected} for {n_signals} signals of {n_channels} channels"
                    f"{' and each layout' * (name == 'positions')}. Got {shape}."
                )
        if len(self.which):
            if self.which.min() < 0 or self.which.max() >= n_signals:
                row = np.flatnonzero((self.which < 0) | (self.which >= n_signals))[0]
                raise ValueError(
                    f"Window {row} has the signal {self.which[row]}, but there are {n_signals} signals."
                )
            beyond = (self.start < 0) | (self.start + self.n_read > lengths[self.which])
            if beyond.any():
                row = np.flatnonzero(beyond)[0]
                raise ValueError(
                    f"Window {row} reads samples {self.start[row]} to {self.start[row] + self.n_read} of a signal "
                    f"of {lengths[self.which[row]]} samples ({beyond.sum()} such windows)."
                )

    @classmethod
    def from_array(cls, data, rows=None, positions=None, sfreq=None, ch_names=None, montage=None):
        """Make Windows of an array.

        Parameters
        ----------
        data : array-like of shape (n_windows, n_channels, n_times)
            Converted to time-major float32. If ``rows`` has a column
            ``recording``, the windows of each recording of a subject form one
            signal, otherwise all windows form one signal.
        rows : DataFrame of shape (n_windows, ...), default=None
            ``subject``, ``recording`` and other columns.
        positions : array-like of shape (n_channels, 2), default=None
            Sensor positions on the unit square, NaN if unknown.
        sfreq : float, default=None
            Sampling rate in Hz.
        ch_names : sequence of str, default=None
            Names of channels.
        montage : str, path-like or mne.channels.DigMontage, default=None
            Electrode positions, instead of ``positions``: a montage of MNE,
            its name such as "biosemi64", or a file that
            :func:`mne.channels.read_custom_montage` reads. It requires
            ``ch_names``.

        Returns
        -------
        windows : Windows

        Raises
        ------
        ValueError
            If ``data`` does not have three dimensions, or ``montage`` is given
            without ``ch_names`` or has none of the channels.

        Warns
        -----
        UserWarning
            If ``montage`` does not have all channels.
        """
        data = np.asarray(check_windows_equal_shapes(data, "data"))
        if data.ndim != 3:
            raise ValueError(
                f"data must have the shape (n_windows, n_channels, n_times). Got {data.shape}. Add the missing axis."
            )
        n_windows, n_channels, n_times = data.shape
        if rows is not None and len(rows) != n_windows:
            raise ValueError(
                f"rows must have one row per window. Got {len(rows)} rows for {n_windows} windows."
            )
        of_recording = rows is not None and "recording" in rows
        which = (
            pd.factorize(get_validated_recordings(rows), use_na_sentinel=False)[0]
            if of_recording
            else np.zeros(n_windows, np.int64)
        )
        signals, start = [], np.empty(n_windows, np.int64)
        for index in range(which.max(initial=-1) + 1):
            mine = np.flatnonzero(which == index)
            block = data if len(mine) == n_windows else data[mine]
            signals.append(
                make_signal_time_major(block.transpose(0, 2, 1)).reshape(len(mine) * n_times, n_channels)
            )
            start[mine] = np.arange(len(mine)) * n_times
        positions = _find_positions(positions, montage, ch_names)
        signals = signals or [np.empty((0, n_channels), np.float32)]
        return cls(
            signals, which, start, n_times, sfreq, rows=rows, positions=positions, ch_names=ch_names,
            is_continuous=False,
        )  # fmt: skip

    @classmethod
    def from_trials(
        cls, responses, stimuli, sfreq, *, stimulus_sfreq=None, seconds=5.0, block=20.0, subject="1",
        channels_first=False, ch_names=None, positions=None, montage=None,
    ):  # fmt: skip
        """Make Windows and their stimuli from trials of unequal length.

        This is the form of data of the mTRF-Toolbox: for each trial one array
        of the response and one of stimulus features, which begin together.

        Parameters
        ----------
        responses : list of array-like of shape (n_times, n_channels)
            EEG/MEG of each trial. One array is one trial.
        stimuli : list of array-like of shape (n_times, n_features) or \
(n_times,)
            Features of the stimulus of each trial, such as its envelope.
            Trials with equal features have the same stimulus.
        sfreq : float
            Sampling rate of the responses in Hz.
        stimulus_sfreq : float, default=None
            Sampling rate of the stimuli in Hz. If None, that of the responses.
        seconds : float, default=5.0
            Length of the windows. Those of a trial adjoin each other.
        block : float, default=20.0
            Minimum duration in seconds of the stimulus blocks that
            :class:`~sk_b2s.StimulusKFold` splits.
        subject : str or sequence of str, default="1"
            Subject of all trials, or of each trial.
        channels_first : bool, default=False
            Whether the arrays have the shape (n_channels or n_features,
            n_times).
        ch_names : sequence of str, default=None
            Names of channels.
        positions : array-like of shape (n_channels, 2), default=None
            Sensor positions on the unit square, NaN if unknown.
        montage : str, path-like or mne.channels.DigMontage, default=None
            Electrode positions, as in :meth:`from_array`.

        Returns
        -------
        X : Windows
            The responses. ``X.rows`` has the columns ``subject, recording``
            (the trial), ``onset`` and ``duration``.
        y : DataFrame
            Stimulus segments for
            :class:`~sk_b2s.features.PrecomputedFeatures`, which returns the
            features.

        Raises
        ------
        ValueError
            If a response and its stimulus differ in duration, the axes seem
            to be exchanged, or a value is not finite.

        Warns
        -----
        UserWarning
            If more than 5 % of the samples are left out, because they are
            the remainder of a trial.

        Examples
        --------
        >>> import numpy as np
        >>> from sk_b2s.decoding import ForwardTRF
        >>> from sk_b2s.features import PrecomputedFeatures
        >>> rng = np.random.default_rng(0)
        >>> stimuli = [rng.standard_normal(n) for n in (3200, 3840)]
        >>> responses = [np.roll(s, 6)[:, None] * [1.0, -2.0] for s in stimuli]
        >>> X, y = Windows.from_trials(responses, stimuli, sfreq=64)
        >>> X
        Windows(22 windows x 2 channels x 320 times, 64 Hz, 2 signals)
        >>> trf = ForwardTRF(PrecomputedFeatures(), lags=(0, 0.3)).fit(X, y)
        >>> trf.coef_.shape
        (1, 20, 1, 2)
        >>> float(trf.lags_[abs(trf.coef_[0, :, 0, 1]).argmax()])
        0.09375
        """
        from sk_b2s.preprocessing._exchange._trials import cut_trials

        signals, which, start, n_times, rows, y = cut_trials(
            responses, stimuli, sfreq, stimulus_sfreq=stimulus_sfreq, seconds=seconds, block=block,
            subject=subject, channels_first=channels_first,
        )  # fmt: skip
        positions = _find_positions(positions, montage, ch_names)
        X = cls(signals, which, start, n_times, sfreq, rows=rows, positions=positions, ch_names=ch_names)
        return X, y

    # --- array interface ---------------------------------------------------------------------------

    ndim = 3
    dtype = np.dtype(np.float32)

    @property
    def shape(self):
        """(n_windows, n_channels, n_times)."""
        n_channels, n_times = self.n_channels_read, self.n_read
        for step in self.steps:
            n_channels = getattr(step, "n_channels", lambda n: n)(n_channels)
            n_times = getattr(step, "n_times", lambda n: n)(n_times)
        return len(self.which), n_channels, n_times

    @property
    def n_channels_read(self):
        """Number of channels of the signals, before all steps."""
        return self.signals[0].shape[1]

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
        """Bytes of an array of all windows."""
        return 4 * self.size

    def __len__(self):
        return len(self.which)

    def __getitem__(self, key):
        if isinstance(key, tuple):
            key, *rest = key
            if any(not (r is Ellipsis or (isinstance(r, slice) and r == slice(None))) for r in rest):
                raise IndexError(
                    "Windows support indexing of the first axis only. For channels or times use "
                    "np.asarray(windows)[...] or select channels with Epocher(picks=...)."
                )
        if isinstance(key, (int, np.integer)):
            if not -len(self) <= key < len(self):
                raise IndexError(f"Index {key} is out of bounds for {len(self)} windows.")
            return self.gather([key % len(self)])[0].cpu().numpy()
        if not isinstance(key, slice):
            key = np.asarray(key)
            key = key.astype(np.int64) if key.size == 0 and key.dtype != bool else key
        rows = self.rows.iloc[key] if self.rows is not None else None
        n_valid = self.n_valid[key] if self.n_valid is not None else None
        return self._replace(which=self.which[key], start=self.start[key], rows=rows, n_valid=n_valid)

    def __iter__(self):
        return (self[index] for index in range(len(self)))

    def __array__(self, dtype=None, copy=None):
        if copy is False:
            raise ValueError(
                "Windows cannot be converted to an array without a copy. Use copy=None or copy=True."
            )
        self._explain_refusal()
        array = np.ascontiguousarray(self.gather().cpu().numpy())
        return array if dtype is None else array.astype(dtype, copy=False)

    def _explain_refusal(self):
        """Raise if an estimator of scikit-learn takes matrices only."""
        check = find_caller("sklearn.utils.validation", "check_array")
        if check is None or check.get("allow_nd", True) or check.get("array") is not self:
            return
        estimator = check.get("estimator")
        name = estimator if isinstance(estimator, str) else type(estimator).__name__
        owner = "This function" if estimator is None else name
        raise ValueError(
            f"{owner} requires a matrix (n_samples, n_features), but windows have the shape {self.shape}, (n_windows, "
            f"n_channels, n_times). Scale channels with RobustChannelScaler(), and speech features with FeatureScaler(). "
            f"For other estimators, reshape the windows with mne.decoding.Vectorizer() before this step."
        )

    def __repr__(self):
        n_windows, n_channels, n_times = self.shape
        rate = "" if self.sfreq is None else f", {self.sfreq:g} Hz"
        n_signals, n_steps = len(self.signals), len(self.steps)
        steps = f", {n_steps} step{'s' * (n_steps > 1)}" if n_steps else ""
        return (
            f"Windows({n_windows} windows x {n_channels} channels x {n_times} times{rate}, "
            f"{n_signals} signal{'s' * (n_signals > 1)}{steps})"
        )

    def _repr_html_(self):
        parts = [f"<p><code>{html.escape(repr(self))}</code></p>"]
        if len(self) and is_signal_loaded(self.signals[self.which[0]]):
            window = self[0][:SHOWN]
            spread = np.nanmax(np.ptp(window, axis=1), initial=0.0) or 1.0
            time = np.arange(window.shape[1]) / (self.sfreq or 1)
            known = np.isfinite(window)
            center = np.where(known, window, 0).sum(1) / np.maximum(known.sum(1), 1)
            lines = [(time, line - center[place] - spread * place) for place, line in enumerate(window)]
            unit = "samples" if self.sfreq is None else "s"
            names = ", ".join(map(str, (self.ch_names or range(self.shape[1]))[:SHOWN]))
            parts.append(draw_svg_lines(lines, (unit, f"first window, {names}"), height=200))
        else:
            parts.append("<p>Signals are read when they are needed.</p>")
        if self.positions is not None and np.isfinite(self.positions[0]).any():
            parts.append(draw_svg_dots(self.positions[0]))
        return f"<div>{''.join(parts)}</div>"

    def _replace(self, **changes):
        """Return a copy that shares the signals."""
        parts = {
            "signals": self.signals, "which": self.which, "start": self.start, "n_times": self.n_read,
            "sfreq": self.sfreq, "rows": self.rows, "positions": self.positions, "layout": self.layout,
            "ch_names": self.ch_names, "extent": self.extent, "steps": self.steps,
            "n_valid": self.n_valid, "is_continuous": self.is_continuous,
        }  # fmt: skip
        return Windows(**{**parts, **changes})

    def to_epochs(self, info=None, tmin=0.0, metadata=None):
        """Return the windows as Epochs of MNE.

        Parameters
        ----------
        info : mne.Info, default=None
            Channels in the order of the windows, such as
            ``mne.io.read_raw(file).pick("meg").info``. Its rate is not used.
            If None, EEG channels with the names and positions of the windows.
            Required for MEG, whose sensors have more than a position.
        tmin : float, default=0.0
            Time of the first sample in seconds, such as the ``tmin`` of
            :func:`make_segments`.
        metadata : DataFrame of shape (n_windows, ...), default=None
            Metadata of the epochs, such as ``X.join(y["text"])``. If None,
            ``rows``.

        Returns
        -------
        epochs : mne.EpochsArray
            All lazy steps are applied. MNE takes the values for volts or
            tesla, which they are without a scaler.

        Raises
        ------
        ValueError
            If the sampling rate is unknown, windows have unequal lengths, or
            ``info`` or ``metadata`` does not match.

        Examples
        --------
        >>> import numpy as np
        >>> from sk_b2s import Windows
        >>> windows = Windows.from_array(
        ...     np.ones((3, 2, 50)), sfreq=100, ch_names=["Cz", "Pz"],
        ...     montage="biosemi64",
        ... )
        >>> epochs = windows.to_epochs(tmin=-0.1)
        >>> epochs.get_data().shape, epochs.times[[0, -1]].tolist()
        ((3, 2, 50), [-0.1, 0.39])
        """
        from sk_b2s.preprocessing._exchange._epochs import make_epochs

        check_windows_equal_lengths(self, "to_epochs")
        return make_epochs(self, info, tmin, metadata)

    # --- reading -----------------------------------------------------------------------------------

    def then(self, step):
        """Add a function that is applied to each batch.

        Parameters
        ----------
        step : callable
            ``step(batch, which) -> batch``. ``batch`` is a float32 tensor of
            shape (n_windows, n_channels, n_times), which may be modified in
            place, on the device of the batch. ``which`` is the signal of each
            window, (n_windows,) int64. A step that changes the number of
            samples needs a method ``n_times(n_times) -> n_times``, and one
            that changes the number of channels ``n_channels(n_channels) ->
            n_channels``. A step that reads samples before the current one
            needs their number as ``n_past``. It must be picklable.

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
        return batch if self.n_valid is None else _mask_padding(batch, self.n_valid[indices])

    def gather_context(self, indices, before, after, fill):
        """Read windows with samples before and after them.

        Parameters
        ----------
        indices : array-like of int
            Windows in the order of the batch.
        before, after : int
            Number of further samples at each end, negative to crop.
        fill : Tensor of shape (n_channels,)
            Values where the signal has no sample, and of all further samples
            if windows have no real context or a step changes their length.

        Returns
        -------
        batch : Tensor of shape (len(indices), n_channels, \
n_times + before + after)
            In the type of ``fill``.
        """
        indices = np.asarray(indices)
        n_times = self.n_times + before + after
        batch = fill[:, None].repeat(len(indices), 1, n_times)
        if not self.is_continuous or any(hasattr(step, "n_times") for step in self.steps):
            inside = self.gather(indices)[..., max(-before, 0) : self.n_times + min(after, 0)]
            batch[..., max(before, 0) : max(before, 0) + inside.shape[2]] = inside
            return batch
        which = self.which[indices]
        first = self.start[indices] - before
        # the part of each window that its signal has
        length = np.array([signal.shape[0] for signal in self.signals])[which]
        begin = np.clip(first, 0, length)
        end = np.clip(first + n_times, begin, length)
        past = np.minimum(begin, sum(getattr(step, "n_past", 0) for step in self.steps))
        for index in np.unique(which):
            if getattr(self.signals[index], "further", ()):
                self.signals[index].load_context((begin - past)[which == index], end[which == index])
        parts = np.stack([begin - first, end - begin, past], axis=1)
        for shift, n_read, n_past in np.unique(parts, axis=0):
            rows = np.flatnonzero((parts == (shift, n_read, n_past)).all(1))
            if n_read > 0:
                part = self._replace(
                    which=which[rows], start=begin[rows] - n_past, n_times=n_read + n_past, rows=None, n_valid=None
                )  # fmt: skip
                batch[torch.from_numpy(rows), :, shift : shift + n_read] = part.gather()[..., n_past:].to(
                    fill.dtype
                )
        return batch

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

    # --- statistics --------------------------------------------------------------------------------

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


def _find_positions(positions, montage, ch_names):
    """Return one layout of given positions or of a montage, or None."""
    if montage is not None:
        from sk_b2s.io._sensors import project_montage

        if positions is not None or ch_names is None:
            raise ValueError(
                "montage= requires ch_names=, the names of the channels, and no positions=. Pass "
                "Windows.from_array(data, ch_names=[...], montage=...)."
            )
        positions = project_montage(montage, list(ch_names))
    return None if positions is None else np.asarray(positions, float)[None]


def _mask_padding(batch, n_valid):
    """Set samples beyond the valid ones to 0."""
    sample = torch.arange(batch.shape[2], device=batch.device)
    is_padding = sample >= torch.as_tensor(n_valid, device=batch.device)[:, None]
    return batch.masked_fill_(is_padding[:, None], 0.0)


def check_windows_equal_lengths(windows, owner):
    """Raise if windows have unequal numbers of valid samples."""
    n_valid = getattr(windows, "n_valid", None)
    if n_valid is not None and len(n_valid) and (n_valid < windows.n_times).any():
        raise ValueError(
            f"{owner} requires windows of equal length, but X has windows of {n_valid.min()} to {n_valid.max()} samples. "
            f"Make windows of equal length with make_segments(anchor='sentence', tmax=2.0), or use RidgeDecoder or "
            f"BrainEncoder, which ignore the padding."
        )


def check_windows_equal_shapes(X, name="X"):
    """Return X, or raise if its windows have different shapes."""
    if not isinstance(X, (list, tuple)) and not (isinstance(X, np.ndarray) and X.dtype == object):
        return X
    shapes = []
    for window in X:
        try:
            shapes.append(np.shape(window))
        except ValueError:  # ragged
            shapes.append(None)
        if shapes[-1] != shapes[0] or shapes[0] is None:
            raise ValueError(
                f"All windows of {name} must have the same shape (n_channels, n_times). Got {shapes[0]} in window 0 and "
                f"{shapes[-1]} in window {len(shapes) - 1}. Cut or pad them to the same length."
            )
    return X


def get_subjects_of_windows(windows):
    """Return the subject of each window, "" if unknown."""
    rows = windows.rows
    if rows is None or "subject" not in rows:
        return np.full(len(windows), "", dtype=object)
    unnamed = rows["subject"].isna().to_numpy()
    if unnamed.any():
        raise ValueError(
            f"X row {rows.index[unnamed.argmax()]!r}, column 'subject': expected a name, got "
            f"{rows['subject'].iloc[unnamed.argmax()]!r} ({unnamed.sum()} such rows). Fill in the column, or remove "
            f"these rows from X and y."
        )
    return rows["subject"].astype(str).to_numpy(dtype=object)
