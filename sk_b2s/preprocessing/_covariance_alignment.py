"""Covariance alignment: recordings whitened by their mean covariance."""

from __future__ import annotations

from numbers import Real

import numpy as np
import scipy.linalg
import torch
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import FLOAT_DTYPES, check_is_fitted, validate_data

from sk_b2s.preprocessing._constant import warn_of_constant
from sk_b2s.preprocessing._windows import Windows, check_equal_shapes

RANK = (
    1e-6  # eigenvalues below so much of the largest are directions that a reference or a projection took away
)
STEPS, CLOSE = 50, 1e-9  # of the iteration for the geometric mean


class _Mix:
    """Step batch -> K batch, with one matrix for each signal, or one for all."""

    reports_constant = True  # CovarianceAlignment has looked at the channels before they were mixed

    def __init__(self, matrices):
        self.matrices = torch.as_tensor(matrices, dtype=torch.float32)

    def __call__(self, batch, which):
        by_time = batch.transpose(1, 2)  # contiguous: time-major
        if len(self.matrices) == 1:
            return (by_time @ self.matrices[0].T.to(batch.device)).transpose(1, 2)
        matrices = self.matrices.to(batch.device)[torch.from_numpy(which).to(batch.device)]
        return torch.bmm(by_time, matrices.transpose(1, 2)).transpose(1, 2)


def compute_mean_covariance(covariances, mean="euclidean"):
    r"""Mean of covariances: of their entries, or the point nearest to all by the affine-invariant distance.

    The Riemannian mean [1]_ is the C for which :math:`\sum_i \log(C^{-1/2} C_i C^{-1/2}) = 0`. Single windows with
    an artifact weigh less in it. It is taken within the directions that the Euclidean mean has.

    Parameters
    ----------
    covariances : ndarray of shape (n_windows, n_channels, n_channels)
    mean : {"euclidean", "riemannian"}, default="euclidean"

    Returns
    -------
    covariance : ndarray of shape (n_channels, n_channels)

    Raises
    ------
    ValueError
        If they hold NaN or infinite values.

    References
    ----------
    .. [1] Barachant, Bonnet, Congedo, Jutten (2012). Multiclass brain-computer
       interface classification by Riemannian geometry. IEEE Transactions on
       Biomedical Engineering 59:920. https://doi.org/10.1109/TBME.2011.2172210
    """
    euclidean = covariances.mean(0)
    _check_finite(euclidean)
    if mean == "euclidean" or not euclidean.any():
        return euclidean
    values, vectors = np.linalg.eigh(euclidean)
    basis = vectors[:, values > RANK * values[-1]]
    inside = basis.T @ covariances @ basis
    center = inside.mean(0)
    for _ in range(STEPS):
        root, inverse = _power(center, 0.5), _power(center, -0.5)
        tangent = _logarithm(inverse @ inside @ inverse).mean(0)
        center = root @ _exponential(tangent) @ root
        if np.linalg.norm(tangent) < CLOSE * np.sqrt(len(tangent)):
            break
    return basis @ center @ basis.T


def compute_whitener(covariance, shrinkage=0.1):
    r"""Symmetric inverse root of a covariance, within the directions that it has.

    :math:`((1 - s) C + s \bar\lambda P)^{-1/2}`, with P the projection on the range of C and
    :math:`\bar\lambda` the mean of its eigenvalues there. What an average reference, ICA or SSS has taken away
    stays away, instead of being blown up. Of all whitening matrices this one moves channels least, so sensors
    keep their places.

    Parameters
    ----------
    covariance : ndarray of shape (n_channels, n_channels)
    shrinkage : float, default=0.1
        s, between 0 and 1; with 1 channels are only scaled, all alike.

    Returns
    -------
    matrix : ndarray of shape (n_channels, n_channels)
        Symmetric. Zero if the covariance is.

    Raises
    ------
    ValueError
        If the covariance holds NaN or infinite values.

    Examples
    --------
    >>> compute_whitener(np.diag([4.0, 1.0, 0.0]), shrinkage=0)
    array([[0.5, 0. , 0. ],
           [0. , 1. , 0. ],
           [0. , 0. , 0. ]])
    """
    _check_finite(covariance)
    values, vectors = np.linalg.eigh(covariance)
    there = values > RANK * max(values[-1], 0.0)
    if not there.any():
        return np.zeros_like(covariance)
    values, vectors = values[there], vectors[:, there]
    values = (1 - shrinkage) * values + shrinkage * values.mean()
    return (vectors / np.sqrt(values)) @ vectors.T


def riemannian_distance(a, b, shrinkage=0.1):
    r"""Affine-invariant distance of two covariances: how unlike two recordings are.

    :math:`\sqrt{\sum_i \log^2 \lambda_i}` with the generalized eigenvalues :math:`\lambda_i` of the two [1]_. It is the
    same whatever invertible mixture of the channels both are seen through. Both are shrunk towards their mean
    variance first, so that directions which a reference or a projection took away count as quiet, not as far.

    Parameters
    ----------
    a, b : ndarray of shape (n_channels, n_channels)
    shrinkage : float, default=0.1
        Between 0 and 1; above 0 where a rank is lacking.

    Returns
    -------
    distance : float

    References
    ----------
    .. [1] Barachant, Bonnet, Congedo, Jutten (2012). Multiclass brain-computer
       interface classification by Riemannian geometry. IEEE Transactions on
       Biomedical Engineering 59:920, eq. 4.
       https://doi.org/10.1109/TBME.2011.2172210

    Examples
    --------
    >>> round(riemannian_distance(np.eye(2), np.e * np.eye(2), shrinkage=0) ** 2, 6)  # two logarithms of 1
    2.0
    """
    shrunk = [
        (1 - shrinkage) * c + shrinkage * max(np.trace(c) / len(c), 1e-30) * np.eye(len(c)) for c in (a, b)
    ]
    return float(np.linalg.norm(np.log(scipy.linalg.eigvalsh(*shrunk))))


class CovarianceAlignment(TransformerMixin, BaseEstimator):
    r"""Whiten each recording by the mean covariance of its own windows (Euclidean alignment [1]_ and kin [2]_).

    ``x' = R^{-1/2} x``: afterwards the mean covariance of every recording is the identity in the directions
    it has, so what differs between people and days in how strongly and how jointly sensors move is gone before
    anything is learnt. It needs no labels: like :class:`~sk_b2s.RobustChannelScaler` it takes the statistics of a
    recording from windows laid side by side over the part in which sound is heard, a test recording's from
    itself. Put it after that scaler, whose clipping keeps artifacts out of the covariance. A plain array is one
    unnamed recording, whose statistics are learnt in ``fit``.

    Parameters
    ----------
    mean : {"euclidean", "riemannian"}, default="euclidean"
        Which mean of the covariances of windows; see :func:`~sk_b2s.preprocessing._covariance_alignment.compute_mean_covariance`.
    shrinkage : float, default=0.1
        Towards equal variances, between 0 and 1; see :func:`~sk_b2s.preprocessing._covariance_alignment.compute_whitener`.

    Attributes
    ----------
    matrix_ : ndarray of shape (n_channels, n_channels)
        Of an array; Windows are whitened by their recordings' own.
    n_features_in_ : int
        Number of channels.

    Raises
    ------
    ValueError
        If X holds NaN; or is an array and has other channels than in ``fit``, or that was on Windows. Windows may
        have any channels, since nothing is learnt from those of ``fit``.

    Notes
    -----
    A recording should last minutes: with n_channels² / 2 numbers to estimate, shrinkage stands in for what is
    lacking. In an online session ``fit`` on what has been heard so far.

    References
    ----------
    .. [1] He & Wu (2020). Transfer learning for brain-computer interfaces: a
       Euclidean space data alignment approach. IEEE Transactions on Biomedical
       Engineering 67:399. https://doi.org/10.1109/TBME.2019.2913914
    .. [2] Zanini, Congedo, Jutten, Said, Berthoumieu (2018). Transfer
       learning: a Riemannian geometry framework with applications to
       brain-computer interfaces. IEEE Transactions on Biomedical Engineering
       65:1107. https://doi.org/10.1109/TBME.2017.2742541

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = np.einsum("ij,njt->nit", rng.standard_normal((3, 3)), rng.standard_normal((50, 3, 100)))
    >>> white = CovarianceAlignment(shrinkage=0).fit_transform(X)
    >>> np.abs(np.cov(np.moveaxis(white, 1, 0).reshape(3, -1))).round(1)
    array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 1.]])
    """

    _parameter_constraints = {
        "mean": [StrOptions({"euclidean", "riemannian"})],
        "shrinkage": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(self, mean="euclidean", shrinkage=0.1):
        self.mean = mean
        self.shrinkage = shrinkage

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn the covariance of an array; those of Windows are their recordings' own.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            Windows of one kind.
        y : Ignored
            Here for scikit-learn's sake.

        Returns
        -------
        self : CovarianceAlignment
        """
        if isinstance(X, Windows):
            self.n_features_in_ = X.shape[1]
            vars(self).pop("matrix_", None)  # of a former fit
        else:
            X = validate_data(self, check_equal_shapes(X), allow_nd=True, dtype=FLOAT_DTYPES)
            self.matrix_ = self._matrix(X)
        return self

    def transform(self, X):
        """Whiten.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            Windows of one kind.

        Returns
        -------
        X : Windows or ndarray, as given
            Windows whiten lazily, batch by batch.
        """
        check_is_fitted(self, "n_features_in_")
        if isinstance(X, Windows):
            warn_of_constant(X)
            matrices = np.zeros((len(X.signals), X.shape[1], X.shape[1]))
            for index in np.unique(X.which):
                batch = X.tiles(index).gather().numpy()
                _check_recording(batch, X, index)
                matrices[index] = self._matrix(batch)
            return X.then(_Mix(matrices))
        X = validate_data(self, check_equal_shapes(X), allow_nd=True, dtype=FLOAT_DTYPES, reset=False)
        if not hasattr(self, "matrix_"):
            raise ValueError(
                "this CovarianceAlignment was fitted on Windows; fit it on an array before it transforms one."
            )
        return np.einsum("ij,nj...->ni...", self.matrix_.astype(X.dtype), X)

    def _matrix(self, X):
        """Whitener of windows of one recording: (n_channels, n_channels)."""
        X = X.astype(np.float64)
        X = X[..., None] if X.ndim == 2 else X
        if X.shape[2] < 2:  # rows of one time are windows of a recording all the same
            X = np.moveaxis(X, 0, 2).reshape(1, X.shape[1], -1)
        if X.shape[0] * X.shape[2] < 2:
            raise ValueError("CovarianceAlignment needs 2 samples of a recording or more, got 1 sample.")
        X = X - X.mean((0, 2), keepdims=True)
        covariances = X @ X.transpose(0, 2, 1) / X.shape[2]
        return compute_whitener(compute_mean_covariance(covariances, self.mean), self.shrinkage)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


def _check_recording(batch, windows, index):
    """Raise if what a recording's covariance would be taken from is not finite, naming it and its channels."""
    bad = np.flatnonzero(~np.isfinite(batch).all((0, 2)))
    if not len(bad):
        return
    rows, names = windows.rows, windows.ch_names or [str(i) for i in range(batch.shape[1])]
    named = rows is not None and "recording" in rows
    recording = repr(rows["recording"].iloc[np.argmax(windows.which == index)]) if named else index
    raise ValueError(
        f"recording {recording} holds NaN or infinite samples in {len(bad)} of {batch.shape[1]} channels: "
        f"{', '.join(names[i] for i in bad[:8])}; no covariance can be taken of them. Set a bad channel to 0 "
        f"throughout the recording, interpolate short gaps, or leave out windows that have them."
    )


def _check_finite(covariance):
    bad = np.flatnonzero(~np.isfinite(covariance.diagonal()))
    if len(bad) or not np.isfinite(covariance).all():
        raise ValueError(
            f"covariance holds NaN or infinite values, in channels {', '.join(map(str, bad[:8]))} by their place: "
            f"interpolate these or set them to 0 before it is taken."
        )


def _spectral(function, matrices):
    """Apply a function to the eigenvalues of symmetric matrices."""
    values, vectors = np.linalg.eigh(matrices)
    return (vectors * function(values)[..., None, :]) @ np.swapaxes(vectors, -1, -2)


def _power(matrix, exponent):
    return _spectral(lambda values: values**exponent, matrix)


def _logarithm(matrices):
    # a single window may have fewer samples than channels, and a logarithm of zero has no mean
    return _spectral(
        lambda values: np.log(np.maximum(values, RANK * values.max(-1, keepdims=True))), matrices
    )


def _exponential(matrix):
    return _spectral(np.exp, matrix)
