"""Surrogate recordings: phase-randomized signals and white noise."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.fft
from sklearn.base import _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from sk_b2s.events._stimuli import make_stimulus_id
from sk_b2s.preprocessing._base import WindowsTransformer
from sk_b2s.preprocessing._windows._signals import Signal, load_signal
from sk_b2s.preprocessing._windows._windows import Windows


def make_phase_surrogate(signal, seed):
    r"""Randomize the phases of a signal, equally in all channels.

    .. math:: \hat x'_c(f) = \hat x_c(f) \, e^{i \varphi(f)}, \quad
              \varphi(f) \sim U(0, 2 \pi)

    Because :math:`\varphi` does not depend on the channel, :math:`\hat x'_a
    \overline{\hat x'_b} = \hat x_a \overline{\hat x_b}`. All spectra,
    cross-spectra and covariances of the channels are preserved, and all timing
    information is removed.

    Parameters
    ----------
    signal : ndarray of shape (n_times, n_channels)
        A channel with NaN is NaN throughout the surrogate.
    seed : int
        Draws the phases.

    Returns
    -------
    surrogate : ndarray of shape (n_times, n_channels)
        float32, with the mean of each channel.

    References
    ----------
    .. [1] Prichard, Theiler (1994). Generating surrogate data for time series
       with several simultaneously measured variables. Physical Review Letters
       73:951. https://doi.org/10.1103/PhysRevLett.73.951

    Examples
    --------
    >>> import numpy as np
    >>> signal = np.random.default_rng(0).standard_normal((500, 2))
    >>> surrogate = make_phase_surrogate(signal, seed=1)
    >>> np.allclose(np.cov(surrogate.T), np.cov(signal.T), rtol=1e-4)
    True
    """
    signal = np.asarray(signal)
    n_times, n_channels = signal.shape
    random = np.random.default_rng(seed)
    turn = np.exp(2j * np.pi * random.random(n_times // 2 + 1))
    turn[0] = 1.0
    if n_times % 2 == 0:  # the Nyquist frequency of a real signal has a sign instead of a phase
        turn[-1] = random.choice([-1.0, 1.0])
    out = np.empty((n_times, n_channels), np.float32)
    for channel in range(n_channels):  # one by one, because all spectra need four times the memory
        spectrum = scipy.fft.rfft(signal[:, channel].astype(np.float64))
        out[:, channel] = scipy.fft.irfft(spectrum * turn, n_times)
    return out


def make_noise_surrogate(signal, seed):
    """Draw Gaussian noise of unit variance, independent in all samples.

    Unlike :func:`make_phase_surrogate`, it preserves nothing of the signal.
    Even channels that are zero are replaced, because bad channels identify a
    recording.

    Parameters
    ----------
    signal : ndarray of shape (n_times, n_channels)
        A channel with NaN is NaN throughout the surrogate.
    seed : int
        Draws the noise.

    Returns
    -------
    surrogate : ndarray of shape (n_times, n_channels)
        float32.
    """
    signal = np.asarray(signal)
    out = np.random.default_rng(seed).standard_normal(signal.shape, dtype=np.float32)
    out[:, np.isnan(signal).any(0)] = np.nan
    return out


# kind -> function of signal and seed
SURROGATES = {"phase": make_phase_surrogate, "white": make_noise_surrogate}


def _make_surrogate(source, kind, seed):
    """Load a signal without caching it and make its surrogate."""
    return SURROGATES[kind](load_signal(source, keep=False), seed)


class SurrogateRecordings(WindowsTransformer):
    """Replace each recording by noise and leave everything else unchanged.

    Inserted right after the Epocher, it shows the score of the same pipeline
    without neural information. Windows, rows and positions are unchanged. The
    continuous signal is replaced as a whole, so windows overlap as before.
    Steps that Windows already carry, such as a scaler, are kept with "phase",
    which preserves the scale. With "white" their output is replaced, because
    they would restore the scale of each recording.

    The noise of a recording is drawn from ``random_state`` and its study,
    subject, session, file name and length. So it is the same for any subset of
    its rows, in ``fit`` and in ``predict``, and for a copy in another folder.
    A plain array is one unnamed recording of concatenated windows. Its noise
    depends on its rows, so replace the whole array before it is split, as
    :func:`~sk_b2s.run_controls` does. Windows that overlapped before they were
    cut do not overlap in the noise.

    Phase randomization of single windows is not a null. It preserves the mean
    and spectrum of each window, and with them a part of the response. It also
    removes the overlap, so it does not detect decoders of several windows.
    Therefore recordings that consist of one window each are refused.

    Parameters
    ----------
    kind : {"phase", "white"}, default="phase"
        "phase" preserves the spectrum of every channel and all cross-spectra,
        and so all differences between recordings, see
        :func:`~sk_b2s.evaluation._controls._surrogates.make_phase_surrogate`.
        "white" preserves nothing, see
        :func:`~sk_b2s.evaluation._controls._surrogates.make_noise_surrogate`.
        A decoder that is above chance with the first and at chance with the
        second identifies recordings instead of stimuli.
    random_state : None, int or RandomState, default=0
        Draws the noise. With None or a RandomState, each ``fit`` draws other
        noise.
    overlap : bool, default=True
        If True, windows share samples as in the recording. If False, each
        window is a stretch of its own in a longer surrogate. A decoder that is
        above chance only if True reads the intervals between windows. The
        noise of a window then depends on the other windows. Windows of plain
        arrays never share samples.

    Attributes
    ----------
    seed_ : int
        Seed of the noise, together with the identity of a recording.
    n_features_in_ : int
        Number of channels.

    Notes
    -----
    Sensor positions and subjects stay in the windows. A network with spatial
    attention or a subject layer uses them with noise of either kind.

    Both kinds preserve the overlap of windows if the recording is continuous.
    A decoder that processes several windows together reads the intervals
    between them, which identify words [1]_. It is above chance on both kinds,
    and at chance if ``overlap=False``.

    "phase" spreads artifacts over the whole recording, where clipping does not
    remove them.

    References
    ----------
    .. [1] arXiv:2609.40359, for joint decoders of words.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((20, 3, 50))
    >>> noise = SurrogateRecordings().fit_transform(X)
    >>> noise.shape, bool(np.isclose(noise.std(), X.std()))
    ((20, 3, 50), True)
    >>> bool(np.allclose(noise, X, atol=1))
    False
    """

    _parameter_constraints = {
        "kind": [StrOptions(set(SURROGATES))],
        "random_state": ["random_state"],
        "overlap": ["boolean"],
    }

    def __init__(self, kind="phase", random_state=0, overlap=True):
        self.kind = kind
        self.random_state = random_state
        self.overlap = overlap

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Draw the seed. Nothing is learned from the data.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            EEG/MEG windows.
        y : Ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        self : SurrogateRecordings
        """
        self._validate_fit(X, ensure_all_finite="allow-nan")
        self.seed_ = int(check_random_state(self.random_state).randint(2**31 - 1))
        return self

    def transform(self, X):
        """Replace the signals.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            EEG/MEG windows.

        Returns
        -------
        X : Windows or ndarray
            As the input. The noise of Windows is computed when it is first
            read.
        """
        check_is_fitted(self)
        if not isinstance(X, Windows):
            X = self._validate_array(X, ensure_all_finite="allow-nan", reset=False)
            flat = np.moveaxis(X, 1, -1)  # (n_windows[, n_times], n_channels)
            noise = SURROGATES[self.kind](flat.reshape(-1, X.shape[1]), make_stimulus_id(self.seed_, 0))
            return np.moveaxis(noise.reshape(flat.shape), -1, 1).astype(X.dtype)
        if X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} channels, but SurrogateRecordings was fitted on {self.n_features_in_}."
            )
        self._check_recordings(X)
        n_times = X.n_read if self.kind == "phase" else X.n_times
        steps = X.steps if self.kind == "phase" else ()
        seeds = [make_stimulus_id(self.seed_, *who) for who in _identify_surrogate_signals(X)]
        if not self.overlap:
            return _separate_windows(X, self.kind, seeds, n_times)._replace(steps=steps)
        signals = [
            Signal(partial(_make_surrogate, signal, self.kind, seed), signal.shape)
            for signal, seed in zip(X.signals, seeds, strict=True)
        ]
        return X._replace(signals=signals, steps=steps, n_times=n_times)

    def _check_recordings(self, X):
        """Raise for recordings of one window, warn if overlap was lost."""
        lengths = np.array([signal.shape[0] for signal in X.signals])
        if self.kind == "phase" and len(lengths) > 1 and (lengths <= X.n_read).all():
            raise ValueError(
                f"All {len(lengths)} recordings consist of one window. Phase randomization of single windows preserves "
                f"the mean of each window, so it is not a null. Use kind='white', or pass continuous recordings."
            )
        if X.rows is None or not {"recording", "onset", "duration"} <= set(X.rows) or not len(X):
            return
        order = np.lexsort([X.rows["onset"], X.which])
        same = np.diff(X.which[order]) == 0
        step, samples = np.diff(X.rows["onset"].to_numpy(float)[order]), np.diff(X.start[order])
        overlaps = same & (step < X.rows["duration"].to_numpy(float)[order[1:]] - 1e-6)
        if overlaps.any() and (abs(samples[overlaps]) >= X.n_read).all():
            warnings.warn(
                f"{overlaps.sum()} windows overlap in time, but X has no common samples of them, because they were cut "
                f"before. Their surrogates do not overlap, so a decoder of several windows is not tested. Pass the "
                f"table of make_segments with an Epocher, or continuous signals.",
                stacklevel=3,
            )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _make_long_surrogate(source, kind, seed, n_times):
    """Concatenate surrogates of a signal up to a length."""
    signal = load_signal(source, keep=False)
    n_parts = -(-n_times // len(signal))
    parts = [SURROGATES[kind](signal, make_stimulus_id(seed, part)) for part in range(n_parts)]
    return np.concatenate(parts)[:n_times]


def _separate_windows(windows, kind, seeds, n_times):
    """Give each window a stretch of its own in a longer surrogate."""
    start, signals = np.empty(len(windows), np.int64), []
    for index, (signal, seed) in enumerate(zip(windows.signals, seeds, strict=True)):
        mine = np.flatnonzero(windows.which == index)
        start[mine] = np.arange(len(mine)) * n_times
        length = max(len(mine), 1) * n_times
        signals.append(
            Signal(partial(_make_long_surrogate, signal, kind, seed, length), (length, signal.shape[1]))
        )
    return windows._replace(signals=signals, start=start, n_times=n_times, extent=None, is_continuous=False)


def _identify_surrogate_signals(windows):
    """Return a tuple per signal that identifies its recording.

    It does not depend on the folder. Unnamed recordings are numbered.
    """
    out = [(index,) for index in range(len(windows.signals))]
    if windows.rows is None or "recording" not in windows.rows:
        return out
    columns = [name for name in ("study", "subject", "session") if name in windows.rows]
    first = np.flatnonzero(~pd.Series(windows.which).duplicated())
    table = windows.rows[[*columns, "recording"]].iloc[first]
    for index, (*columns_of, name) in zip(windows.which[first], table.itertuples(index=False), strict=True):
        known = ["" if pd.isna(part) else part for part in columns_of]
        out[index] = (*known, _get_surrogate_file_name(str(name)), windows.signals[index].shape[0])
    return out


def _get_surrogate_file_name(recording):
    """Return the last part of a path, or a name that is not a path."""
    path = Path(recording)
    return path.name if path.suffix or path.is_absolute() else recording
