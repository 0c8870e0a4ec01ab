"""Principal components of speech features."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from sk_b2s.preprocessing._base import WindowsTransformer, make_base_feature_names
from sk_b2s.preprocessing._scalers import iter_scaler_batches
from sk_b2s.preprocessing._windows._windows import Windows


class FeaturePCAProjection:
    """Step that maps the features x of each frame to C (x - mean)."""

    def __init__(self, mean, components):
        self.mean = torch.as_tensor(mean, dtype=torch.float32)
        self.components = torch.as_tensor(components, dtype=torch.float32)

    def n_channels(self, n_channels):
        """Return the number of components."""
        return len(self.components)

    def __call__(self, batch, which):
        mean, components = (values.to(batch.device) for values in (self.mean, self.components))
        return ((batch.mT - mean) @ components.T).mT


class FeaturePCA(WindowsTransformer):
    """Reduce speech features to their principal components.

    In contrast to :class:`~sklearn.decomposition.PCA` it accepts windows of
    shape (n_windows, n_features, n_frames), pools windows and frames, and
    reads the training rows in batches. A decoder of fewer features scores
    candidates faster. For a linear decoder it takes the place of
    ``BrainEncoder(target_dim=...)``, whose map is learned.

    Parameters
    ----------
    n_components : int or float, default=0.99
        Number of components. A float between 0 and 1 is the fraction of the
        variance that the components must explain.
    whiten : bool, default=False
        If True, scale all components to a variance of 1. Otherwise distances
        between frames remain as they are.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Orthonormal components, the largest variance first. Their largest
        weight is positive.
    mean_ : ndarray of shape (n_features,)
        Means.
    explained_variance_, explained_variance_ratio_ : ndarray of shape \
(n_components,)
        Variance of each component, and its fraction of the total variance.
    n_features_in_ : int
        Number of features.

    Raises
    ------
    ValueError
        If there are fewer features than ``n_components``, or values that are
        not finite.

    See Also
    --------
    FeatureScaler : Standardize features, usually before this step.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_b2s.preprocessing import FeaturePCA
    >>> X = np.random.default_rng(0).standard_normal((5, 1, 20))
    >>> X = np.concatenate([X, 2 * X], axis=1)
    >>> FeaturePCA().fit_transform(X).shape
    (5, 1, 20)
    """

    _parameter_constraints = {
        "n_components": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
        ],
        "whiten": ["boolean"],
    }

    def __init__(self, n_components=0.99, whiten=False):
        self.n_components = n_components
        self.whiten = whiten

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Estimate the components.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_features[, n_frames])
            Speech features.
        y : Ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        self : FeaturePCA
            The fitted transformer.
        """
        X = self._validate_fit(X)
        if self.n_components > self.n_features_in_:
            raise ValueError(
                f"n_components={self.n_components} must not be larger than the number of features. Got "
                f"{self.n_features_in_} features."
            )
        self.mean_, covariance = _compute_feature_covariance(X)
        if not np.isfinite(covariance).all():
            raise ValueError(
                "FeaturePCA requires finite values, but features hold NaN or infinite values. Compute them again or "
                "exclude these windows."
            )
        values, vectors = np.linalg.eigh(covariance)
        values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1].T
        ratio = values / (values.sum() or 1.0)
        n_components = self.n_components
        if not isinstance(n_components, Integral):
            n_components = min(int(np.sum(np.cumsum(ratio) < n_components - 1e-12)) + 1, len(values))
        signs = np.sign(vectors[np.arange(len(vectors)), np.abs(vectors).argmax(1)])
        self.components_ = (vectors * signs[:, None])[:n_components]
        self.explained_variance_, self.explained_variance_ratio_ = values[:n_components], ratio[:n_components]
        return self

    def transform(self, X):
        """Compute the components of each frame.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_features[, n_frames])
            Speech features.

        Returns
        -------
        X : Windows or ndarray of shape (n_windows, n_components[, n_frames])
            Of the type of the input. Windows are transformed lazily.
        """
        check_is_fitted(self)
        scale = np.sqrt(self.explained_variance_) if self.whiten else np.ones(len(self.components_))
        components = self.components_ / np.where(scale > 0, scale, 1.0)[:, None]
        if isinstance(X, Windows):
            return X._replace(ch_names=None, positions=None).then(
                FeaturePCAProjection(self.mean_, components)
            )
        X = self._validate_transform(X)
        centered = np.moveaxis(X, 1, -1) - self.mean_.astype(X.dtype)
        return np.moveaxis(centered @ components.T.astype(X.dtype), -1, 1)

    def get_feature_names_out(self, input_features=None):
        """Return the names of components.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Not used, present for API consistency by convention.

        Returns
        -------
        names : ndarray of str of shape (n_components,)
            "featurepca0", "featurepca1" and so on.
        """
        return make_base_feature_names(self, len(getattr(self, "components_", ())))


def _compute_feature_covariance(X):
    """Compute mean and covariance over windows and frames."""
    count, total, products = 0, 0.0, 0.0
    shift = None  # close to the mean, against cancellation
    for batch in iter_scaler_batches(X):
        flat = np.moveaxis(batch, 1, 0).reshape(batch.shape[1], -1).astype(np.float64)
        shift = flat.mean(1, keepdims=True) if shift is None else shift
        flat -= shift
        count, total, products = count + flat.shape[1], total + flat.sum(1), products + flat @ flat.T
    mean = total / count
    return shift[:, 0] + mean, products / count - np.outer(mean, mean)
