"""Scalers for EEG/MEG channels and for speech features."""

from __future__ import annotations

import warnings
from numbers import Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import FLOAT_DTYPES, check_is_fitted, validate_data

from sk_b2s._utils._chunks import count_rows, slice_rows
from sk_b2s.preprocessing._constant import warn_of_constant
from sk_b2s.preprocessing._windows import Windows, check_equal_shapes

BATCH_VALUES = 2**24  # numbers of one batch of features, 128 MiB in double precision


class Affine:
    """Step (batch - center) / scale, then clip; one row of center and scale for each signal, or one for all."""

    def __init__(self, center, scale, clip=None, reports_constant=False):
        self.center = torch.as_tensor(center, dtype=torch.float32)
        self.scale = torch.as_tensor(scale, dtype=torch.float32)
        self.clip = clip
        self.reports_constant = reports_constant

    def __call__(self, batch, which):
        rows = torch.from_numpy(which) if len(self.center) > 1 else torch.zeros(1, dtype=torch.int64)
        batch -= self.center[rows].to(batch.device)[:, :, None]
        batch /= self.scale[rows].to(batch.device)[:, :, None]
        return batch if self.clip is None else batch.clamp_(-self.clip, self.clip)


def _flat(X):
    """(n_windows, n_channels[, n_times]) -> (n_channels, n_samples)."""
    return np.moveaxis(X, 1, 0).reshape(X.shape[1], -1)


def _column(vector, ndim):
    """Shape a vector over channels so that it broadcasts over windows and times."""
    return vector if ndim == 2 else vector[:, None]


def compute_median_and_iqr(samples, quantile_range=(25.0, 75.0)):
    """Median and interquartile range along the last axis.

    Parameters
    ----------
    samples : ndarray of shape (n_channels, n_samples)
    quantile_range : (float, float), default=(25, 75)
        Percentiles whose difference is the range.

    Returns
    -------
    median, iqr : ndarray of shape (n_channels,)
        A range of 0, of a constant channel, is returned as 1, as in the paper.
    """
    low, median, high = np.percentile(samples, [quantile_range[0], 50, quantile_range[1]], axis=-1)
    iqr = high - low
    return median, np.where(iqr > 0, iqr, 1.0)


class RobustChannelScaler(TransformerMixin, BaseEstimator):
    """Scale each channel of each recording by its median and interquartile range, then clip.

    ``x' = clip((x - median) / IQR)``. Unlike :class:`~sklearn.preprocessing.RobustScaler` the
    statistics are those of a *channel* over all its times, and of each *recording* by itself: they
    are taken from windows laid side by side over the part of the recording in which sound is heard,
    never from the rows asked for, so any subset of rows gives the same output. They use no labels,
    so a test recording is scaled by itself. A plain array is one unnamed recording, whose statistics
    are learnt in ``fit``.

    Clipping is what makes the paper's network learn at all from recordings with artifacts: without
    it top-10 accuracy fell from 43 to 10 % on average (its Table 4).

    Parameters
    ----------
    clip : float or None, default=20
        Largest absolute value left, in interquartile ranges. None leaves everything.
    quantile_range : (float, float), default=(25, 75)
        Percentiles whose difference is the scale.

    Attributes
    ----------
    center_, scale_ : ndarray of shape (n_channels,)
        Statistics of a plain array; not set for Windows.
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
    }

    def __init__(self, clip=20.0, quantile_range=(25.0, 75.0)):
        self.clip = clip
        self.quantile_range = quantile_range

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn the statistics of an array; those of Windows are their recordings' own.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            Windows of one kind.
        y : Ignored
            Here for scikit-learn's sake.

        Returns
        -------
        self : RobustChannelScaler
        """
        low, high = self.quantile_range
        if not 0 <= low < high <= 100:
            raise ValueError(f"quantile_range must be two rising percentiles, got {self.quantile_range!r}.")
        if high <= 1:
            raise ValueError(
                f"quantile_range is in percent, from 0 to 100, got {self.quantile_range!r}: were shares meant? "
                f"Write {(100 * low, 100 * high)!r}."
            )
        if isinstance(X, Windows):
            self.n_features_in_ = X.shape[1]
        else:
            X = validate_data(self, check_equal_shapes(X), allow_nd=True, dtype=FLOAT_DTYPES)
            self.center_, self.scale_ = compute_median_and_iqr(_flat(X), self.quantile_range)
        return self

    def transform(self, X):
        """Scale and clip.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            Windows of one kind.

        Returns
        -------
        X : Windows or ndarray, as given
            Windows scale lazily, batch by batch.
        """
        check_is_fitted(self, "n_features_in_")
        if isinstance(X, Windows):
            return X.then(self._step(X))
        X = validate_data(self, check_equal_shapes(X), allow_nd=True, dtype=FLOAT_DTYPES, reset=False)
        if not hasattr(self, "center_"):
            raise ValueError(
                "this scaler was fitted on Windows; fit it on an array before it transforms one."
            )
        center, scale = (_column(v, X.ndim).astype(X.dtype) for v in (self.center_, self.scale_))
        X = (X - center) / scale
        return X if self.clip is None else np.clip(X, -self.clip, self.clip)

    def _step(self, windows):
        n_signals, n_channels = len(windows.signals), windows.shape[1]
        center, scale = np.zeros((n_signals, n_channels)), np.ones((n_signals, n_channels))
        for index in np.unique(windows.which):
            batch = windows.tiles(index).gather().numpy()
            every = max(1, batch.shape[0] * batch.shape[2] // 20_000)  # 20,000 samples fix a median to 1 %
            samples = np.ascontiguousarray(_flat(batch)[:, ::every])
            center[index], scale[index] = compute_median_and_iqr(samples, self.quantile_range)
        warn_of_constant(windows, stacklevel=4)
        return Affine(center, scale, self.clip, reports_constant=True)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


class FeatureScaler(TransformerMixin, BaseEstimator):
    """Standardize speech features: ``(f - mean) / std``, learnt from the training rows in batches.

    Unlike :class:`~sklearn.preprocessing.StandardScaler` it takes windows (n_windows, n_features,
    n_frames) and pools over windows and frames.

    Parameters
    ----------
    per_feature : bool, default=True
        Give each feature a mean and deviation of its own. False gives all features one mean and one
        deviation, as the paper does. A network does as well with either, but a regression is lost
        with one: what all candidates have in common, their mean spectrum, then outweighs in the
        similarity what tells them apart.

    Attributes
    ----------
    mean_, scale_ : ndarray of shape (n_features,)
        A deviation of 0 is kept as 1.
    n_features_in_ : int

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
    >>> FeatureScaler(per_feature=False).fit_transform(np.array([[[1.0, 3.0]], [[5.0, 7.0]]])).ravel()
    array([-1.34164079, -0.4472136 ,  0.4472136 ,  1.34164079])
    """

    _parameter_constraints = {"per_feature": ["boolean"]}

    def __init__(self, per_feature=True):
        self.per_feature = per_feature

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn mean and deviation.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_features[, n_frames])
            Windows of one kind.
        y : Ignored
            Here for scikit-learn's sake.

        Returns
        -------
        self : FeatureScaler
        """
        if isinstance(X, Windows):
            self.n_features_in_ = X.shape[1]
            parts = slice_rows(len(X), count_rows(BATCH_VALUES, *X.shape[1:], itemsize=1))
            batches = (X.gather(np.arange(part.start, part.stop)).numpy() for part in parts)
        else:
            batches = [validate_data(self, check_equal_shapes(X), allow_nd=True, dtype=FLOAT_DTYPES)]
        self.mean_, self.scale_, varies = self._moments(batches)
        if wrong := np.flatnonzero(~np.isfinite(self.mean_)).tolist():
            raise ValueError(
                f"FeatureScaler: {len(wrong)} of {self.n_features_in_} features hold NaN or infinite values, feature "
                f"{wrong[0]} first. Compute them anew or leave their windows out."
            )
        if not varies:
            warnings.warn(
                f"FeatureScaler: every one of {self.n_features_in_} features is constant over all windows of fit. No "
                f"decoder can learn from them. Is the sound silent, or the wrong one?",
                stacklevel=3,
            )
        return self

    def _moments(self, batches):
        """Mean and deviation by Chan's merging of batches, which cancels nothing, and whether any feature varies."""
        count, mean, spread = 0, 0.0, 0.0
        for batch in batches:
            flat = _flat(batch).astype(np.float64)
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
        """Standardize.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_features[, n_frames])
            Windows of one kind.

        Returns
        -------
        X : Windows or ndarray, as given
            Windows of one kind.
        """
        check_is_fitted(self)
        if isinstance(X, Windows):
            return X.then(Affine(self.mean_[None], self.scale_[None]))
        X = validate_data(self, check_equal_shapes(X), allow_nd=True, dtype=FLOAT_DTYPES, reset=False)
        mean, scale = (_column(v, X.ndim).astype(X.dtype) for v in (self.mean_, self.scale_))
        return (X - mean) / scale

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags
