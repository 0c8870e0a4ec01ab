"""Windows of continuous signals, cut only when needed."""

from __future__ import annotations

from numbers import Real

import numpy as np
import pandas as pd

from sk_b2s._utils._callers import find_caller
from sk_b2s._utils._validation import get_validated_recordings
from sk_b2s.preprocessing._exchange._imports import ImportTrialsMixin
from sk_b2s.preprocessing._windows._checks import (
    check_windows_equal_lengths,
    check_windows_equal_shapes,
    check_windows_index,
)
from sk_b2s.preprocessing._windows._reading import WindowsReadingMixin
from sk_b2s.preprocessing._windows._repr_html import draw_windows_html
from sk_b2s.preprocessing._windows._signals import Signal, make_signal_time_major


class Windows(WindowsReadingMixin, ImportTrialsMixin):
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
        if self.sfreq is not None and not (isinstance(self.sfreq, Real) and 0 < self.sfreq < np.inf):
            raise ValueError(f"sfreq must be a finite number above 0, or None. Got {self.sfreq!r}.")
        if self.ch_names is not None and len(set(self.ch_names)) < len(self.ch_names):
            twice = [name for index, name in enumerate(self.ch_names) if name in self.ch_names[:index]]
            raise ValueError(f"ch_names must differ. {twice[0]!r} is there more than once.")
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
        positions = _find_window_positions(positions, montage, ch_names)
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
            EEG/MEG of each trial. One array is one trial. The mTRF-Toolbox
            has the stimuli first.
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
            the remainder of a trial, or if responses and stimuli seem to be
            exchanged and there are no ``ch_names``.

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
            subject=subject, channels_first=channels_first, ch_names=ch_names,
        )  # fmt: skip
        positions = _find_window_positions(positions, montage, ch_names)
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
            key = check_windows_index(key, len(self))
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
        return draw_windows_html(self)

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
            tesla, which they are without a scaler. Channels that are masked in
            a window, and hence 0, are in ``info["bads"]``.

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


def _find_window_positions(positions, montage, ch_names):
    """Return one layout of given positions or of a montage, or None."""
    if montage is not None:
        from sk_b2s.io._sensors import project_montage

        if positions is not None or ch_names is None:
            raise ValueError(
                "montage= requires ch_names=, the names of the channels, and no positions=. Pass ch_names=[...], "
                "montage=...."
            )
        positions = project_montage(montage, list(ch_names))
    return None if positions is None else np.asarray(positions, float)[None]
