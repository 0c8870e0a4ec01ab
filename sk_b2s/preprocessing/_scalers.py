"""Scalers for EEG/MEG channels and for speech features."""

from __future__ import annotations

import warnings
from numbers import Real

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from sk_b2s._utils._chunks import count_chunk_rows, slice_rows_into_chunks
from sk_b2s.preprocessing._base import WindowsTransformer
from sk_b2s.preprocessing._constant import warn_of_constant
from sk_b2s.preprocessing._windows._windows import Windows

MIN_ERROR = 1e-12  # relative variance of a difference that is not rounding
BATCH_VALUES = 2**24  # numbers of one batch of features, 128 MiB in double precision


class AffineScaling:
    """Step (batch - center) / scale, then clip, per signal or for all."""

    def __init__(self, center, scale, clip=None, reports_constant=False):
        self.center = torch.as_tensor(center, dtype=torch.float32)
        self.scale = torch.as_tensor(scale, dtype=torch.float32)
        self.clip = clip
        self.reports_constant = reports_constant

    @property
    def is_per_signal(self):
        """Whether signals have values of their own."""
        return len(self.center) > 1

    def __call__(self, batch, which):
        rows = torch.from_numpy(which) if len(self.center) > 1 else torch.zeros(1, dtype=torch.int64)
        batch -= self.center[rows].to(batch.device)[:, :, None]
        batch /= self.scale[rows].to(batch.device)[:, :, None]
        return batch if self.clip is None else batch.clamp_(-self.clip, self.clip)


class WhiteningScaling:
    """Step that standardizes the change of each feature between frames.

    Computes ``(x(t) - a x(t - 1)) / scale`` with x centered. The frame before
    the first one is equal to it.
    """

    n_past = 1

    def __init__(self, center, autocorrelation, scale):
        self.center = torch.as_tensor(center, dtype=torch.float32)
        self.autocorrelation = torch.as_tensor(autocorrelation, dtype=torch.float32)
        self.scale = torch.as_tensor(scale, dtype=torch.float32)

    def __call__(self, batch, which):
        center, autocorrelation, scale = (
            values.to(batch.device)[:, None] for values in (self.center, self.autocorrelation, self.scale)
        )
        batch -= center
        past = torch.cat([batch[:, :, :1], batch[:, :, :-1]], dim=2)
        return batch.sub_(past.mul_(autocorrelation)).div_(scale)


def _flatten_windows_by_channel(X):
    """Reshape windows to (n_channels, n_samples)."""
    return np.moveaxis(X, 1, 0).reshape(X.shape[1], -1)


def _make_channel_column(vector, ndim):
    """Reshape a vector over channels to the dimensions of windows."""
    return vector if ndim == 2 else vector[:, None]


def compute_scaler_median_and_iqr(samples, quantile_range=(25.0, 75.0)):
    """Compute the median and interquartile range of each channel.

    Parameters
    ----------
    samples : ndarray of shape (n_channels, n_samples)
    quantile_range : (float, float), default=(25, 75)
        Percentiles whose difference is the range.

    Returns
    -------
    median, iqr : ndarray of shape (n_channels,)
        The range of a constant channel is 1, as in the paper.
    """
    low, median, high = np.percentile(samples, [quantile_range[0], 50, quantile_range[1]], axis=-1)
    iqr = high - low
    return median, np.where(iqr > 0, iqr, 1.0)


class RobustChannelScaler(WindowsTransformer):
    """Scale channels of each recording by median and IQR, then clip.

    ``x' = clip((x - median) / IQR)``. In contrast to
    :class:`~sklearn.preprocessing.RobustScaler` the statistics are those of a
    *channel* over all its samples, separately for each *recording*. They come
    from adjacent windows over the part of the recording in which stimuli
    play, and never from the selected rows, so the output does not depend on
    the subset of rows. No labels are used, so a test recording is scaled by
    its own statistics. A plain array is one recording, whose statistics are
    estimated in ``fit``.

    Clipping limits artifacts. Without it the mean top-10 accuracy of the
    paper's network fell from 43 to 10 % (its Table 4).

    Parameters
    ----------
    clip : float or None, default=20
        Largest absolute value in interquartile ranges. If None, values are
        not clipped.
    quantile_range : (float, float), default=(25, 75)
        Percentiles whose difference is the scale.
    calibration : float or None, default=None
        Seconds, from the first stimulus of a recording, whose samples
        determine the statistics, as in a decoder that runs during the
        recording. Later samples have no influence. If None, the whole part in
        which stimuli play is used.

    Attributes
    ----------
    center_, scale_ : ndarray of shape (n_channels,)
        Statistics of a plain array. Not set by Windows.
    n_features_in_ : int
        Number of channels.

    Warns
    -----
    UserWarning
        If a channel of a recording is constant.

    References
    ----------
    .. [1] Défossez et al. (2023). Decoding speech perception from non-invasive
       brain recordings. Nature Machine Intelligence 5:1097.
       https://doi.org/10.1038/s42256-023-00714-5

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[[0.0, 1.0, 2.0, 3.0, 1000.0]]])
    >>> RobustChannelScaler(clip=20).fit_transform(X)
    array([[[-1. , -0.5,  0. ,  0.5, 20. ]]])
    """

    _parameter_constraints = {
        "clip": [Interval(Real, 0, None, closed="neither"), None],
        "quantile_range": [tuple, list],
        "calibration": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(self, clip=20.0, quantile_range=(25.0, 75.0), calibration=None):
        self.clip = clip
        self.quantile_range = quantile_range
        self.calibration = calibration

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Estimate the statistics of an array.

        Nothing is estimated from Windows, which are scaled per recording.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            EEG/MEG windows.
        y : Ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        self : RobustChannelScaler
        """
        low, high = self.quantile_range
        if not 0 <= low < high <= 100:
            raise ValueError(
                f"quantile_range must be two increasing percentiles. Got {self.quantile_range!r}."
            )
        if high <= 1:
            raise ValueError(
                f"quantile_range must be in percent, from 0 to 100. Got {self.quantile_range!r}. Use "
                f"{(100 * low, 100 * high)!r} instead of fractions."
            )
        X = self._validate_fit(X)
        if not isinstance(X, Windows):
            self.center_, self.scale_ = compute_scaler_median_and_iqr(
                _flatten_windows_by_channel(X), self.quantile_range
            )
        return self

    def transform(self, X):
        """Scale and clip each recording.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            EEG/MEG windows.

        Returns
        -------
        X : Windows or ndarray
            Of the type of the input. Windows are scaled lazily.
        """
        check_is_fitted(self, "n_features_in_")
        if isinstance(X, Windows):
            return X.then(self._make_step(X))
        X = self._validate_transform(X, fitted="center_")
        center, scale = (_make_channel_column(v, X.ndim).astype(X.dtype) for v in (self.center_, self.scale_))
        X = (X - center) / scale
        return X if self.clip is None else np.clip(X, -self.clip, self.clip)

    def inverse_transform(self, X):
        """Return scaled arrays to the units of the channels.

        Parameters
        ----------
        X : array-like of shape (..., n_channels, n_times) or \
(n_windows, n_channels)
            Scaled windows. Clipped values remain clipped. Patterns of a
            decoder have no center, so multiply them by ``scale_`` instead.

        Returns
        -------
        X : ndarray
            ``X * scale_ + center_``.

        Raises
        ------
        ValueError
            If the scaler was fitted on Windows, whose statistics are those of
            each recording.
        """
        check_is_fitted(self, "n_features_in_")
        if not hasattr(self, "center_"):
            raise ValueError(
                "inverse_transform requires a RobustChannelScaler that was fitted on an array. Windows are scaled by the "
                "statistics of each recording."
            )
        X = np.asarray(X)
        axis = -1 if X.ndim == 2 else -2
        if X.ndim < 2 or X.shape[axis] != self.n_features_in_:
            raise ValueError(
                f"X must have the {self.n_features_in_} channels of fit in axis {axis}. Got shape {X.shape}."
            )
        center, scale = (_make_channel_column(v, X.ndim) for v in (self.center_, self.scale_))
        return X * scale + center

    def _make_step(self, windows):
        n_signals, n_channels = len(windows.signals), windows.shape[1]
        center, scale = np.zeros((n_signals, n_channels)), np.ones((n_signals, n_channels))
        for index in np.unique(windows.which):
            tiles, n_first = windows.tiles(index), None
            if self.calibration is not None:
                n_first = self._count_calibration(windows.sfreq)
                tiles = windows.tiles(index, most=windows.signals[index].shape[0])
                tiles = tiles[tiles.start < tiles.start[0] + n_first]
            samples = _flatten_windows_by_channel(tiles.gather().numpy())[:, :n_first]
            every = max(1, samples.shape[1] // 20_000)  # 20,000 samples determine a median to 1 %
            samples = np.ascontiguousarray(samples[:, ::every])
            center[index], scale[index] = compute_scaler_median_and_iqr(samples, self.quantile_range)
        warn_of_constant(windows, stacklevel=4)
        return AffineScaling(center, scale, self.clip, reports_constant=True)

    def _count_calibration(self, sfreq):
        """Return the number of samples that determine the statistics."""
        if sfreq is None:
            raise ValueError(
                f"calibration={self.calibration} is in seconds and requires the sampling rate of X. Pass "
                f"Windows.from_array(X, sfreq=...), or set calibration=None."
            )
        return max(2, round(self.calibration * sfreq))


class FeatureScaler(WindowsTransformer):
    """Standardize speech features by mean and standard deviation.

    In contrast to :class:`~sklearn.preprocessing.StandardScaler` it accepts
    windows of shape (n_windows, n_features, n_frames), pools windows and
    frames, and reads the training rows in batches.

    Parameters
    ----------
    per_feature : bool, default=True
        If True, each feature has its own mean and standard deviation. If
        False, all features share them, as in the paper. A neural network
        works with both, but a regression needs True: otherwise the mean
        spectrum, which all candidates share, dominates the similarity.
    whiten : bool, default=False
        If True, subtract from each frame of a window its prediction from the
        frame before, a first-order autoregression, and scale the difference to
        a standard deviation of 1. Speech features change slowly, so without
        it the similarity of two windows depends mostly on their slow
        fluctuations. In the first frame of a window, the frame before is equal
        to it. The prediction is estimated from frames of the same window.
        Weights of a :class:`ForwardTRF` on windows of 0.5 s and of 40 s thus
        differ by 0.4 % of the largest weight or less in simulations.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,)
        Means.
    scale_ : ndarray of shape (n_features,)
        Standard deviations, or those of the differences if ``whiten``. The
        scale of a constant feature is 1.
    autocorrelation_ : ndarray of shape (n_features,)
        Coefficients of the prediction, from 0 to 1. Only with ``whiten``.
    n_features_in_ : int
        Number of features.

    Warns
    -----
    UserWarning
        If all features are constant.

    References
    ----------
    .. [1] Défossez et al. (2023). Decoding speech perception from non-invasive
       brain recordings. Nature Machine Intelligence 5:1097.
       https://doi.org/10.1038/s42256-023-00714-5

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[[1.0, 3.0]], [[5.0, 7.0]]])
    >>> FeatureScaler(per_feature=False).fit_transform(X).ravel()
    array([-1.34164079, -0.4472136 ,  0.4472136 ,  1.34164079])
    """

    _parameter_constraints = {"per_feature": ["boolean"], "whiten": ["boolean"]}

    def __init__(self, per_feature=True, whiten=False):
        self.per_feature = per_feature
        self.whiten = whiten

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Estimate mean and standard deviation.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_features[, n_frames])
            Speech features.
        y : Ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        self : FeatureScaler
        """
        X = self._validate_fit(X)
        if self.whiten and (X.ndim < 3 or X.shape[2] < 2):
            raise ValueError(
                f"whiten=True requires windows of at least 2 frames. Got X of shape {X.shape}. Set whiten=False."
            )
        self.mean_, self.scale_, varies = self._compute_moments(iter_scaler_batches(X))
        if wrong := np.flatnonzero(~np.isfinite(self.mean_)).tolist():
            raise ValueError(
                f"FeatureScaler requires finite values, but {len(wrong)} of {self.n_features_in_} features hold NaN or "
                f"infinite values, the first is feature {wrong[0]}. Compute them again or exclude these windows."
            )
        if not varies:
            warnings.warn(
                f"FeatureScaler: every one of {self.n_features_in_} features is constant in all windows of fit. A decoder "
                f"cannot learn from them. Check that the audio files are not silent.",
                stacklevel=3,
            )
        vars(self).pop("autocorrelation_", None)  # of an earlier fit
        if self.whiten:
            self.autocorrelation_, self.scale_ = self._compute_autocorrelation(iter_scaler_batches(X))
        return self

    def _compute_autocorrelation(self, batches):
        """Compute the prediction from the frame before, and its error."""
        sums = np.zeros((3, self.n_features_in_))
        for batch in batches:
            batch = (batch.astype(np.float64) - self.mean_[:, None]) / self.scale_[:, None]
            past, now = batch[:, :, :-1], batch[:, :, 1:]
            sums += [np.einsum("nft,nft->f", *pair) for pair in ((past, past), (past, now), (now, now))]
        sums = sums if self.per_feature else np.broadcast_to(sums.sum(1, keepdims=True), sums.shape)
        power, product, power_now = sums
        coefficient = np.clip(product / np.where(power > 0, power, 1.0), 0, 1)
        error = (power_now - 2 * coefficient * product + coefficient**2 * power) / np.where(
            power_now > 0, power_now, 1.0
        )
        return coefficient, self.scale_ * np.where(
            error > MIN_ERROR, np.sqrt(np.maximum(error, MIN_ERROR)), 1.0
        )

    def _compute_moments(self, batches):
        """Compute mean and deviation, and whether any feature varies."""
        # Chan's update of batches avoids cancellation.
        count, mean, spread = 0, 0.0, 0.0
        for batch in batches:
            flat = _flatten_windows_by_channel(batch).astype(np.float64)
            flat = flat if self.per_feature else flat.reshape(1, -1)
            n = flat.shape[1]
            center = flat.mean(1)
            shift = center - mean
            spread = spread + ((flat - center[:, None]) ** 2).sum(1) + shift**2 * (count * n / (count + n))
            mean = mean + shift * (n / (count + n))
            count += n
        std = np.sqrt(spread / count)
        varying = std > 10 * np.finfo(np.float64).eps * np.abs(mean)
        std = np.where(varying, std, 1.0)
        mean, std = (np.broadcast_to(v, self.n_features_in_).copy() for v in (mean, std))
        return mean, std, bool(np.any(varying))

    def transform(self, X):
        """Standardize features.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_features[, n_frames])
            Speech features.

        Returns
        -------
        X : Windows or ndarray
            Of the type of the input. Windows are scaled lazily.
        """
        check_is_fitted(self)
        if isinstance(X, Windows):
            if self.whiten:
                return X.then(WhiteningScaling(self.mean_, self.autocorrelation_, self.scale_))
            return X.then(AffineScaling(self.mean_[None], self.scale_[None]))
        X = self._validate_transform(X)
        mean, scale = (_make_channel_column(v, X.ndim).astype(X.dtype) for v in (self.mean_, self.scale_))
        X = X - mean
        if self.whiten:
            past = np.concatenate([X[:, :, :1], X[:, :, :-1]], axis=2)
            X = X - past * self.autocorrelation_[:, None].astype(X.dtype)
        return X / scale


def iter_scaler_batches(X):
    """Iterate over arrays of windows, one for an array, without padding.

    Parameters
    ----------
    X : Windows or ndarray of shape (n_windows, ...)

    Yields
    ------
    batch : ndarray of shape (n_rows, ...)
    """
    if not isinstance(X, Windows):
        yield X
        return
    if X.n_valid is not None:
        for n_valid in np.unique(X.n_valid):
            whole = X[X.n_valid == n_valid]._replace(n_valid=None)
            yield from (batch[:, :, :n_valid] for batch in iter_scaler_batches(whole))
        return
    for part in slice_rows_into_chunks(len(X), count_chunk_rows(BATCH_VALUES, *X.shape[1:], itemsize=1)):
        yield X.gather(np.arange(part.start, part.stop)).numpy()
