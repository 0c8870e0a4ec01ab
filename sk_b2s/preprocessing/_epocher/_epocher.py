"""Windows of filtered, resampled recordings from a table of segments."""

from __future__ import annotations

import warnings
from numbers import Real
from pathlib import Path

import joblib
import mne
import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from sk_b2s._utils._validation import (
    explain_validation_error,
    is_validated_table,
    validate_rows,
)
from sk_b2s.events._intervals import GAP
from sk_b2s.io._channel_names import warn_channel_name_spellings
from sk_b2s.io._raw._processing import (
    check_processing_band,
)
from sk_b2s.io._sensors import load_sensor_montage
from sk_b2s.preprocessing._base import WindowsTransformer
from sk_b2s.preprocessing._epocher._read_epochs import read_epochs_windows
from sk_b2s.preprocessing._epocher._table import EpocherTableMixin
from sk_b2s.preprocessing._windows._checks import check_windows_equal_shapes
from sk_b2s.preprocessing._windows._windows import Windows

DEFAULT_SFREQ = 120  # Hz, as in the paper


# Parameters of recordings, without effect on windows.
OF_RECORDINGS = ("picks", "reference", "l_freq", "h_freq", "notch", "raw_hook")


def _make_raw_error():
    return TypeError(
        "Epocher requires a table of segments, mne.Epochs or windows. Got a Raw, which has no segments. Make them by "
        "events = events_from_raw(file, stimuli) and X, y = make_segments(events), see docs/from_mne.md."
    )


class Epocher(EpocherTableMixin, WindowsTransformer):
    """Cut the windows of a table of segments from recordings.

    Each recording is read, filtered and resampled once as a whole and kept in
    memory (or on disk with ``memory``). Windows are cut when they are needed,
    in contrast to :class:`mne.Epochs`, which stores each overlapping window.
    Arrays of shape (n_windows, n_channels, n_times) and
    :class:`~sk_b2s.Windows` are returned unchanged. :class:`mne.Epochs` are
    converted to Windows, with ``picks``, ``montage`` and ``bads``. All of
    them can therefore use the same pipeline.

    Parameters
    ----------
    sfreq : float, default=120
        Sampling rate in Hz after resampling with an anti-aliasing filter, as
        in the paper. It must not exceed the rate of the recordings.
    lag : float, default=0.15
        Seconds by which EEG/MEG is read later than the stimulus, as in the
        paper. Values between 0 and 0.3 are useful. It requires
        ``make_segments(margin=...)`` of at least this value.
    baseline : (float, float) or None, default=(0, 0.5)
        Limits of the baseline in seconds from the start of the window, before
        the lag is added. Its mean is subtracted from each channel. During
        continuous speech it contains speech, so it removes slow drifts only.
        If None, nothing is subtracted.
    picks : None, str or sequence of str, default=None
        Types or names of channels. If None, all EEG and MEG channels are
        used, but no EXG, EOG, EMG, reference or trigger channels. Without
        names, the union of the channels of all recordings is used. A channel
        that a recording lacks is zero there and has no position.
    reference : None, "average" or sequence of str, default=None
        EEG reference: the mean of all good channels of the recording, or of
        the named channels, such as mastoids, which need not be in ``picks``.
        MEG channels are not changed.
    l_freq, h_freq : float or None, default=None
        Limits of a band-pass filter in Hz. The paper does not filter.
    notch : float, sequence of float or None, default=None
        Line frequencies to remove, in Hz.
    phase : {"zero", "minimum"}, default="zero"
        Phase of the filters. Zero-phase filters use future samples.
        Minimum-phase filters do not, but resampling does, by 24 samples of
        ``sfreq`` or 0.2 s at 120 Hz.
    montage : None, str, Path, DigMontage or dict of str to these, default=None
        Sensor positions of recordings without positions: a name
        ("biosemi64", "easycap-M10", ...), a file for
        :func:`mne.channels.read_custom_montage` or a
        :class:`mne.channels.DigMontage`. The keys of a dict are studies, and
        other studies have no montage.
    bads : {"mask", "interpolate"}, default="mask"
        If "mask", bad channels are set to zero without a position, so that
        spatial attention ignores them. If "interpolate", MNE interpolates
        them from neighboring channels.
    raw_hook : callable or None, default=None
        ``raw_hook(raw) -> raw`` is called on each opened recording before
        other steps, for example for ICA, SSS or CTF compensation. It must be
        importable, so that it can be sent to workers. The cache depends on
        its own code, but not on that of functions it calls. It is called once
        for the channels and once for the samples.
    memory : None, str or joblib.Memory, default=None
        Folder in which processed recordings are cached for all folds and
        processes. The key is the content of all files of a recording and the
        parameters above. Path and date have no influence (except for the path
        with ``raw_hook``). Each process reads a recording once to hash it.
        Without ``memory`` each call reads the recordings. The folder contains
        pickle files, which execute code when they are read. Use a folder that
        only you can write.
    n_jobs : int or None, default=None
        Number of recordings that are read in parallel, in threads. If None,
        recordings are read when their windows are first needed.
    causal : bool, default=False
        If True, no sample depends on later ones, as in a decoder that runs
        during the recording. Filters are Butterworth filters of order 4, and
        resampling has a minimum-phase filter. ``phase`` is not used. They
        delay the signal, between 0.5 and 20 Hz by 93, 53 and 44 ms at 2, 4 and
        8 Hz (120 Hz), so a larger ``lag`` may fit.

    Attributes
    ----------
    ch_names_ : tuple of str
        Channels of all windows, from the recordings or Epochs in ``fit``. Not
        set by arrays.
    n_features_in_ : int
        Number of columns or channels.

    Raises
    ------
    FileNotFoundError
        If a recording does not exist.
    ValueError
        If a table lacks a column or number, rows have different durations, a
        window exceeds its recording, a rate or channel is not available, a
        recording has NaN, or ``raw_hook`` cannot be cached.

    Warns
    -----
    UserWarning
        If a zero-phase filter is longer than the gap between training and
        test stimuli, or a recording in ``transform`` has channels that no
        recording in ``fit`` had.

    References
    ----------
    .. [1] Défossez et al. (2023). Decoding speech perception from non-invasive
       brain recordings. Nature Machine Intelligence 5:1097.
       https://doi.org/10.1038/s42256-023-00714-5

    Examples
    --------
    >>> import numpy as np
    >>> Epocher().fit_transform(np.zeros((4, 2, 10))).shape
    (4, 2, 10)
    """

    _parameter_constraints = {
        "sfreq": [Interval(Real, 0, None, closed="neither")],
        "lag": [Interval(Real, None, None, closed="neither")],
        "baseline": [tuple, list, None],
        "picks": [str, "array-like", None],
        "reference": [StrOptions({"average"}), "array-like", None],
        "l_freq": [Interval(Real, 0, None, closed="neither"), None],
        "h_freq": [Interval(Real, 0, None, closed="neither"), None],
        "notch": [Interval(Real, 0, None, closed="neither"), "array-like", None],
        "phase": [StrOptions({"zero", "minimum"})],
        "montage": [str, Path, mne.channels.DigMontage, dict, None],
        "bads": [StrOptions({"mask", "interpolate"})],
        "raw_hook": [callable, None],
        "memory": [str, Path, joblib.Memory, None],
        "n_jobs": [Interval(Real, None, None, closed="neither"), None],
        "causal": ["boolean"],
    }

    def __init__(
        self,
        sfreq=DEFAULT_SFREQ,
        lag=0.15,
        baseline=(0, 0.5),
        picks=None,
        reference=None,
        l_freq=None,
        h_freq=None,
        notch=None,
        phase="zero",
        montage=None,
        bads="mask",
        raw_hook=None,
        memory=None,
        n_jobs=None,
        causal=False,
    ):
        self.sfreq = sfreq
        self.lag = lag
        self.baseline = baseline
        self.picks = picks
        self.reference = reference
        self.l_freq = l_freq
        self.h_freq = h_freq
        self.notch = notch
        self.phase = phase
        self.montage = montage
        self.bads = bads
        self.raw_hook = raw_hook
        self.memory = memory
        self.n_jobs = n_jobs
        self.causal = causal

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Find the channels of all recordings.

        Parameters
        ----------
        X : DataFrame, Windows, mne.Epochs or array-like
            A table of segments with ``recording``, ``onset`` and
            ``duration``, or windows of shape (n_windows, n_channels,
            n_times).
        y : Ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        self : Epocher
        """
        vars(self).pop("ch_names_", None)
        check_processing_band(self.l_freq, self.h_freq, self.sfreq, self._make_processing().notch)
        if is_validated_table(X):
            validate_rows(X)
            headers = self._read_headers(self._make_processings(X))
            self._warn_of_filter_length(next(iter(headers.values())).sfreq)
            warn_channel_name_spellings({path: header.ch_names for path, header in headers.items()})
            self.ch_names_ = tuple(
                dict.fromkeys(name for header in headers.values() for name in header.ch_names)
            )
            self.n_features_in_ = X.shape[1]
        elif isinstance(X, mne.BaseEpochs):
            self.ch_names_ = self._from_epochs(X).ch_names
            self.n_features_in_ = len(self.ch_names_)
        elif isinstance(X, Windows):
            self._check_windows(X)
            self._check_unused()
            self.n_features_in_ = X.shape[1]
        elif isinstance(X, mne.io.BaseRaw):
            raise _make_raw_error()
        else:
            self._check_windows(X)
            self._check_unused()
            with explain_validation_error(X):
                validate_data(self, check_windows_equal_shapes(X), allow_nd=True)
        return self

    def _check_windows(self, X):
        """Raise if parameters contradict windows that are cut already."""
        rate = getattr(X, "sfreq", None)
        if rate is not None and self.sfreq != DEFAULT_SFREQ and not np.isclose(rate, self.sfreq):
            raise ValueError(
                f"Epocher(sfreq={self.sfreq:g}) cannot resample Windows at {rate:g} Hz, which it returns unchanged. Set "
                f"sfreq={rate:g}, or pass a table of segments."
            )
        if self.montage is not None and getattr(X, "positions", None) is None:
            raise ValueError(
                "Epocher(montage=...) cannot add positions to windows, which it returns unchanged. Set montage=None, and "
                "pass Windows.from_array(X, ch_names=..., montage=...), mne.Epochs or a table of segments."
            )
        if isinstance(self.montage, str):
            load_sensor_montage(self.montage)  # raises if the name is unknown

    def _check_unused(self):
        """Raise if windows are to be fitted with parameters of recordings."""
        for name in OF_RECORDINGS:
            if getattr(self, name) is not None:
                raise ValueError(
                    f"Epocher({name}={getattr(self, name)!r}) applies to recordings, but X has windows that are cut "
                    f"already, which it returns unchanged. Pass a table of segments, or set {name}=None."
                )

    def transform(self, X):
        """Cut windows from recordings.

        Parameters
        ----------
        X : DataFrame, Windows, mne.Epochs or array-like
            A table of segments, or windows of shape (n_windows, n_channels,
            n_times), which are returned unchanged.

        Returns
        -------
        windows : Windows or ndarray of shape (n_windows, n_channels, n_times)
            One window per row, in the same order.
        """
        check_is_fitted(self, "n_features_in_")
        if isinstance(X, mne.io.BaseRaw):
            raise _make_raw_error()
        if isinstance(X, Windows):
            self._check_windows(X)
            return X
        if not is_validated_table(X) and not isinstance(X, mne.BaseEpochs):
            return self._from_array(X)
        if not hasattr(self, "ch_names_"):
            raise ValueError(
                f"This Epocher was fitted on arrays or Windows, so it has no channels to transform "
                f"{'a table of segments' if is_validated_table(X) else 'mne.Epochs'}. Call fit with these first."
            )
        if isinstance(X, mne.BaseEpochs):
            return self._from_epochs(X, self.ch_names_)
        validate_rows(X)
        return self._from_table(X)

    def get_feature_names_out(self, input_features=None):
        """Return the names of channels.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the channels of an array. Not used for recordings.

        Returns
        -------
        names : ndarray of str of shape (n_channels,)
            Names of the second axis of the windows. "x0" and so on if ``fit``
            was given an array or Windows.
        """
        check_is_fitted(self, "n_features_in_")
        if hasattr(self, "ch_names_"):
            return np.array(self.ch_names_, dtype=object)
        return super().get_feature_names_out(input_features)

    def _from_array(self, X):
        if not hasattr(self, "ch_names_"):
            with explain_validation_error(X):
                return validate_data(self, check_windows_equal_shapes(X), allow_nd=True, reset=False)
        with explain_validation_error(X):
            X = check_array(check_windows_equal_shapes(X), allow_nd=True, estimator=self)
        if X.ndim != 3 or X.shape[1] != len(self.ch_names_):
            raise ValueError(
                f"This Epocher was fitted on recordings of {len(self.ch_names_)} channels. An array of windows must "
                f"have the shape (n_windows, {len(self.ch_names_)}, n_times). Got {X.shape}."
            )
        return X

    def _from_epochs(self, epochs, wanted=None):
        return read_epochs_windows(epochs, self.montage, self.picks, self.bads, wanted)

    def _warn_of_filter_length(self, sfreq):
        """Warn if a filter is longer than the gap between stimuli.

        A notch filter is as long, but affects only the line frequency.
        """
        if self.causal or self.phase != "zero" or (self.l_freq is None and self.h_freq is None):
            return
        taps = mne.filter.create_filter(None, sfreq, self.l_freq, self.h_freq, verbose="ERROR")
        tail = len(taps) / 2 / sfreq
        if tail > GAP:
            warnings.warn(
                f"The zero-phase filter (l_freq={self.l_freq}, h_freq={self.h_freq}) extends {tail:.1f} s to both sides, "
                f"beyond the default gap of {GAP:g} s between training and test stimuli. Use a splitter with "
                f"gap={np.ceil(tail):g} or more, or phase='minimum'.",
                stacklevel=4,
            )
