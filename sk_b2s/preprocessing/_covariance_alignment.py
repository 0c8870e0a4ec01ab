"""Covariance alignment: recordings whitened by their mean covariance."""

from __future__ import annotations

from numbers import Real

import numpy as np
import scipy.linalg
import torch
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sk_b2s._utils._whitening import find_whitening_axes
from sk_b2s.preprocessing._base import WindowsTransformer
from sk_b2s.preprocessing._constant import warn_of_constant
from sk_b2s.preprocessing._windows._windows import Windows

# pyriemann is not used: its mean needs matrices of full rank, which an average reference, ICA or SSS removes.
# tests/preprocessing/test_covariance_alignment.py compares both where the rank is full.
MIN_EIGENVALUE = 1e-6  # of the largest; smaller ones are directions that a reference or projection removed
MAX_ITER, TOLERANCE = 50, 1e-9  # of the Riemannian mean


class _Mix:
    """Step that multiplies channels by a matrix per signal or for all."""

    reports_constant = True  # CovarianceAlignment has checked the channels before they are mixed

    def __init__(self, matrices):
        self.matrices = torch.as_tensor(matrices, dtype=torch.float32)

    @property
    def is_per_signal(self):
        """Whether signals have matrices of their own."""
        return len(self.matrices) > 1

    def __call__(self, batch, which):
        by_time = batch.transpose(1, 2)  # contiguous: time-major
        if len(self.matrices) == 1:
            return (by_time @ self.matrices[0].T.to(batch.device)).transpose(1, 2)
        matrices = self.matrices.to(batch.device)[torch.from_numpy(which).to(batch.device)]
        return torch.bmm(by_time, matrices.transpose(1, 2)).transpose(1, 2)


def compute_mean_covariance(covariances, mean="euclidean"):
    r"""Compute the Euclidean or Riemannian mean of covariance matrices.

    The Riemannian mean [1]_ is the C for which
    :math:`\sum_i \log(C^{-1/2} C_i C^{-1/2}) = 0`. It minimizes the
    affine-invariant distance to all matrices, so windows with an artifact
    have less weight. It is computed in the range of the Euclidean mean.

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
        If the matrices have NaN or infinite values.

    References
    ----------
    .. [1] Barachant, Bonnet, Congedo, Jutten (2012). Multiclass brain-computer
       interface classification by Riemannian geometry. IEEE Transactions on
       Biomedical Engineering 59:920. https://doi.org/10.1109/TBME.2011.2172210
    """
    euclidean = covariances.mean(0)
    _check_covariance_finite(euclidean)
    if mean == "euclidean" or not euclidean.any():
        return euclidean
    values, vectors = np.linalg.eigh(euclidean)
    basis = vectors[:, values > MIN_EIGENVALUE * values[-1]]
    inside = basis.T @ covariances @ basis
    center = inside.mean(0)
    for _ in range(MAX_ITER):
        root, inverse = _compute_matrix_power(center, 0.5), _compute_matrix_power(center, -0.5)
        tangent = _compute_matrix_logarithm(inverse @ inside @ inverse).mean(0)
        center = root @ _compute_matrix_exponential(tangent) @ root
        if np.linalg.norm(tangent) < TOLERANCE * np.sqrt(len(tangent)):
            break
    return basis @ center @ basis.T


def compute_covariance_alignment_whitener(covariance, shrinkage=0.1):
    r"""Compute the symmetric whitening matrix of a covariance.

    It is :math:`((1 - s) C + s \bar\lambda P)^{-1/2}` in the range of C,
    where P is the projection on the range and :math:`\bar\lambda` the mean
    of the eigenvalues there. Directions that an average reference, ICA or SSS
    has removed stay zero instead of being amplified. Of all whitening
    matrices it changes the channels least, so sensors keep their positions.

    Parameters
    ----------
    covariance : ndarray of shape (n_channels, n_channels)
    shrinkage : float, default=0.1
        s, between 0 and 1. With 1 all channels are scaled by one factor.

    Returns
    -------
    matrix : ndarray of shape (n_channels, n_channels)
        Symmetric. Zero if the covariance is zero.

    Raises
    ------
    ValueError
        If the covariance has NaN or infinite values.

    Examples
    --------
    >>> covariance = np.diag([4.0, 1.0, 0.0])
    >>> compute_covariance_alignment_whitener(covariance, shrinkage=0)
    array([[0.5, 0. , 0. ],
           [0. , 1. , 0. ],
           [0. , 0. , 0. ]])
    """
    _check_covariance_finite(covariance)
    axes, vectors = find_whitening_axes(
        covariance, MIN_EIGENVALUE, shrink=lambda values: (1 - shrinkage) * values + shrinkage * values.mean()
    )
    return axes @ vectors.T


def compute_covariance_distance(a, b, shrinkage=0.1):
    r"""Compute the affine-invariant distance of two covariance matrices.

    It is :math:`\sqrt{\sum_i \log^2 \lambda_i}` with the generalized
    eigenvalues :math:`\lambda_i` of both matrices [1]_, and does not change
    if the channels of both recordings are mixed by the same invertible
    matrix. Both matrices are shrunk towards their mean variance first, so
    that directions which a reference or projection has removed do not
    dominate.

    Parameters
    ----------
    a, b : ndarray of shape (n_channels, n_channels)
    shrinkage : float, default=0.1
        Between 0 and 1. It must be positive for rank-deficient matrices.

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
    >>> one = np.eye(2)
    >>> distance = compute_covariance_distance(one, np.e * one, shrinkage=0)
    >>> round(distance**2, 6)  # two logarithms of 1
    2.0
    """
    shrunk = [
        (1 - shrinkage) * c + shrinkage * max(np.trace(c) / len(c), 1e-30) * np.eye(len(c)) for c in (a, b)
    ]
    return float(np.linalg.norm(np.log(scipy.linalg.eigvalsh(*shrunk))))


class CovarianceAlignment(WindowsTransformer):
    r"""Whiten each recording by the mean covariance of its own windows.

    Euclidean [1]_ or Riemannian [2]_ alignment: ``x' = R^{-1/2} x`` with the
    mean covariance R of the recording. Afterwards the mean covariance of each
    recording is the identity within its range, which removes differences of
    amplitude and correlation between subjects and sessions. No labels are
    used. As in :class:`~sk_b2s.RobustChannelScaler`, the statistics of a
    recording, including a test recording, come from adjacent windows over the
    part of it in which stimuli play. Use it after that scaler, because
    clipping limits the influence of artifacts on the covariance. A plain
    array is one recording, whose statistics are estimated in ``fit``.

    Parameters
    ----------
    mean : {"euclidean", "riemannian"}, default="euclidean"
        Mean of the covariances of windows.
    shrinkage : float, default=0.1
        Shrinkage towards equal variances, between 0 and 1.

    Attributes
    ----------
    matrix_ : ndarray of shape (n_channels, n_channels)
        Whitening matrix of an array. Not set by Windows, which are whitened
        per recording.
    n_features_in_ : int
        Number of channels.

    Raises
    ------
    ValueError
        If X has NaN, or is an array with other channels than in ``fit`` or
        after a ``fit`` on Windows. Windows may have any channels, because
        nothing is estimated in ``fit``.

    Notes
    -----
    A recording should last minutes, because n_channels² / 2 values are
    estimated. Shrinkage compensates for short recordings. In an online
    session call ``fit`` on the data so far.

    References
    ----------
    .. [1] He & Wu (2020). Transfer learning for brain-computer interfaces: a
       Euclidean space data alignment approach. IEEE Transactions on Biomedical
       Engineering 67:399. https://doi.org/10.1109/TBME.2019.2913914
    .. [2] Zanini et al. (2018). Transfer
       learning: a Riemannian geometry framework with applications to
       brain-computer interfaces. IEEE Transactions on Biomedical Engineering
       65:1107. https://doi.org/10.1109/TBME.2017.2742541

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> sources = rng.standard_normal((50, 3, 100))
    >>> mixing = rng.standard_normal((3, 3))
    >>> X = np.einsum("ij,njt->nit", mixing, sources)
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
        """Estimate the whitening matrix of an array.

        Nothing is estimated from Windows, which are whitened per recording.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            EEG/MEG windows.
        y : Ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        self : CovarianceAlignment
        """
        X = self._validate_fit(X)
        if isinstance(X, Windows):
            vars(self).pop("matrix_", None)  # of an earlier fit
        else:
            self.matrix_ = self._compute_matrix(X)
        return self

    def transform(self, X):
        """Whiten each recording.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            EEG/MEG windows.

        Returns
        -------
        X : Windows or ndarray
            Of the type of the input. Windows are whitened lazily.
        """
        check_is_fitted(self, "n_features_in_")
        if isinstance(X, Windows):
            warn_of_constant(X)
            matrices = np.zeros((len(X.signals), X.shape[1], X.shape[1]))
            for index in np.unique(X.which):
                batch = X.tiles(index).gather().numpy()
                _check_recording_to_align(batch, X, index)
                matrices[index] = self._compute_matrix(batch)
            return X.then(_Mix(matrices))
        X = self._validate_transform(X, fitted="matrix_")
        return np.einsum("ij,nj...->ni...", self.matrix_.astype(X.dtype), X)

    def _compute_matrix(self, X):
        """Compute the whitening matrix of one recording."""
        X = X.astype(np.float64)
        X = X[..., None] if X.ndim == 2 else X
        if X.shape[2] < 2:  # windows of one time are samples of one recording
            X = np.moveaxis(X, 0, 2).reshape(1, X.shape[1], -1)
        if X.shape[0] * X.shape[2] < 2:
            raise ValueError("CovarianceAlignment requires at least 2 samples per recording. Got 1 sample.")
        X = X - X.mean((0, 2), keepdims=True)
        covariances = X @ X.transpose(0, 2, 1) / X.shape[2]
        return compute_covariance_alignment_whitener(
            compute_mean_covariance(covariances, self.mean), self.shrinkage
        )


def _check_recording_to_align(batch, windows, index):
    """Raise if samples of a recording are not finite."""
    bad = np.flatnonzero(~np.isfinite(batch).all((0, 2)))
    if not len(bad):
        return
    rows, names = windows.rows, windows.ch_names or [str(i) for i in range(batch.shape[1])]
    named = rows is not None and "recording" in rows
    recording = repr(rows["recording"].iloc[np.argmax(windows.which == index)]) if named else index
    raise ValueError(
        f"The recording {recording} has NaN or infinite samples in {len(bad)} of {batch.shape[1]} channels: "
        f"{', '.join(names[i] for i in bad[:8])}. Its covariance cannot be computed. Set a bad channel to 0 in the "
        f"whole recording, interpolate short gaps or exclude the windows."
    )


def _check_covariance_finite(covariance):
    bad = np.flatnonzero(~np.isfinite(covariance.diagonal()))
    if len(bad) or not np.isfinite(covariance).all():
        raise ValueError(
            f"The covariance has NaN or infinite values in the channels with index {', '.join(map(str, bad[:8]))}. "
            f"Interpolate these channels or set them to 0 before computing the covariance."
        )


def _apply_to_eigenvalues(function, matrices):
    """Apply a function to the eigenvalues of symmetric matrices."""
    values, vectors = np.linalg.eigh(matrices)
    return (vectors * function(values)[..., None, :]) @ np.swapaxes(vectors, -1, -2)


def _compute_matrix_power(matrix, exponent):
    return _apply_to_eigenvalues(lambda values: values**exponent, matrix)


def _compute_matrix_logarithm(matrices):
    # a single window may have fewer samples than channels, and a logarithm of zero has no mean
    return _apply_to_eigenvalues(
        lambda values: np.log(np.maximum(values, MIN_EIGENVALUE * values.max(-1, keepdims=True))), matrices
    )


def _compute_matrix_exponential(matrix):
    return _apply_to_eigenvalues(np.exp, matrix)
