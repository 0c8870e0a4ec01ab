"""Ridge regression on lagged windows without a lagged matrix, correlations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from sk_b2s._utils._chunks import count_chunk_rows, slice_rows_into_chunks

LAGGED_BYTES = 2**22  # of lagged frames, few enough for the cache of the processor


@dataclass
class RidgeMoments:
    """Sums over frames that determine every ridge regression on them.

    Subtraction removes the frames of a fold without a second pass.

    Attributes
    ----------
    n : int
        Number of frames.
    x, y : ndarray of shape (n_columns,) and (n_features,)
        Sums.
    xx : ndarray of shape (n_columns, n_columns)
        Sum of x x'.
    xy : ndarray of shape (n_columns, n_features)
        Sum of x y'.
    yy : ndarray of shape (n_features,)
        Sum of squares.
    """

    n: int
    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray

    def add(self, other):
        """Add sums in place and return them."""
        self.n += other.n
        for name in ("x", "y", "xx", "xy", "yy"):
            total = getattr(self, name)
            total += getattr(other, name)
        return self

    def __sub__(self, other):
        return RidgeMoments(**{name: value - getattr(other, name) for name, value in vars(self).items()})

    def centered(self):
        """Return cov(x, x), cov(x, y) and var(y)."""
        x, y = self.x / self.n, self.y / self.n
        return self.xx / self.n - np.outer(x, x), self.xy / self.n - np.outer(x, y), self.yy / self.n - y**2


def compute_ridge_moments(batches, lags, n_channels, n_features, has_context=False):
    r"""Sum the second moments of lagged windows without a lagged matrix.

    Column (l, c) of frame j is channel c at frame j + lags[l] of the same
    window, 0 beyond it. Let G(a, b) be the sum over windows and their n frames
    of x(j + a) x(j + b)'. Increasing both lags by one shifts the sum by a
    frame,

    .. math:: G(a + 1, b + 1) = G(a, b) - \sum x(a) x(b)^\top
       + \sum x(n + a) x(n + b)^\top,

    so that G is summed for the first lag only, and the rest follows from the
    ends of the windows. This takes n_lags times fewer operations than products
    of lagged matrices. The products for the first lag, those with the features
    and the sums are one matrix product of a few windows at a time.

    Parameters
    ----------
    batches : iterable of (x, y)
        Tensors of shape (n_windows, n_frames, n_channels) and (n_windows,
        n_frames, n_features).
    lags : ndarray of int of shape (n_lags,)
        Consecutive rising frames.
    n_channels, n_features : int
        Shapes, for the case that ``batches`` is empty.
    has_context : bool, default=False
        Whether x also has the ``-lags[0]`` frames before and the ``lags[-1]``
        frames after a window, instead of 0.

    Returns
    -------
    moments : RidgeMoments
        float64, with n_columns = n_lags * n_channels, channels fastest.
    """
    n_lags = len(lags)
    n_columns = n_lags * n_channels
    reach = -int(lags[0]), int(lags[-1])  # frames of padding before and after, negative to crop
    # Products of the channels at the first lag, the features and 1 with all columns.
    products = torch.zeros(n_channels + n_features + 1, n_columns).double()
    ends = np.zeros(((n_lags - 1) * n_channels,) * 2)
    y_sum, yy, n = np.zeros(n_features), np.zeros(n_features), 0
    for x, y in batches:
        n_windows, n_frames = y.shape[:2]
        padded = x if has_context else torch.nn.functional.pad(x, (0, 0, *reach))
        left = torch.cat([padded[:, :n_frames], y, y.new_ones(n_windows, n_frames, 1)], dim=2)
        lagged = padded.unfold(1, n_lags, 1).transpose(2, 3)  # (n_windows, n_frames, n_lags, n_channels)
        n_rows = count_chunk_rows(LAGGED_BYTES, n_frames, n_columns, itemsize=8)
        for part in slice_rows_into_chunks(n_windows, n_rows):
            columns = lagged[part].reshape(-1, n_columns)
            products.addmm_(left[part].flatten(0, 1).T, columns)
        n_padded = (0, 0) if has_context else reach
        _add_ridge_ends(ends, padded[:, n_frames : n_frames + n_lags - 1], n_padded[1], is_last=True)
        _add_ridge_ends(ends, padded[:, : n_lags - 1], n_padded[0])
        y_sum += y.sum((0, 1)).numpy()
        yy += y.square().sum((0, 1)).numpy()
        n += n_windows * n_frames
    top, xy, x_sum = np.split(products.numpy(), [n_channels, n_channels + n_features])
    xx = _along_diagonals(top.reshape(n_channels, n_lags, n_channels), ends).reshape(n_columns, n_columns)
    return RidgeMoments(n, x_sum[0], y_sum, xx, xy.T, yy)


def _add_ridge_ends(ends, frames, n_padded, is_last=False):
    """Add products of the last frames, or subtract those of the first.

    Frames of padding, the last ``n_padded`` of the last or the first of the
    first ones, are zero and are left out.
    """
    _, n_frames, n_channels = frames.shape
    n_padded = min(max(n_padded, 0), n_frames)
    used = slice(0, n_frames - n_padded) if is_last else slice(n_padded, n_frames)
    flat = frames[:, used].flatten(1)
    place = slice(used.start * n_channels, used.stop * n_channels)
    product = (flat.T @ flat).numpy()
    ends[place, place] += product if is_last else -product


def _along_diagonals(top, ends):
    """Extend the moments of the first lag to all.

    (n_channels, n_lags, n_channels) ->
    (n_lags, n_channels, n_lags, n_channels)
    """
    n_channels, n_lags = top.shape[:2]
    ends = ends.reshape(n_lags - 1, n_channels, n_lags - 1, n_channels)
    xx = np.empty((n_lags, n_channels, n_lags, n_channels))
    xx[0], xx[:, :, 0] = top, top.transpose(1, 2, 0)
    for lag in range(1, n_lags):
        xx[lag, :, 1:] = xx[lag - 1, :, :-1] + ends[lag - 1]
    return xx


def iter_ridge_path(cov_xx, cov_xy, alphas, penalty=None):
    r"""Yield ridge coefficients for many alphas by one eigendecomposition.

    .. math:: B_\alpha = (C_{xx} + \alpha \bar\lambda D)^{-1} C_{xy}

    with :math:`\bar\lambda` the mean eigenvalue of :math:`C_{xx}`, so that
    alphas do not depend on the unit of x. D is diagonal, the ``penalty`` of
    each column. If None, it is the identity. The result then equals
    :class:`sklearn.linear_model.Ridge` on n rows with
    :math:`n \alpha \bar\lambda`.
    """
    scale = (
        max(np.trace(cov_xx), 0) / len(cov_xx) or 1.0
    )  # coefficients of constant columns are 0 for any scale
    if penalty is not None:  # ridge on columns that are divided by the root of their penalty
        factor = 1 / np.sqrt(penalty)[:, None]
        cov_xx, cov_xy = cov_xx * factor * factor.T, cov_xy * factor
    values, vectors = np.linalg.eigh(cov_xx)
    values = np.maximum(values, 0)  # negative values are rounding errors
    rotated = vectors.T @ cov_xy
    vectors = vectors if penalty is None else factor * vectors
    for alpha in alphas:
        yield vectors @ (rotated / (values + alpha * scale)[:, None])


def solve_ridge_patterns(coef, cov_xx, cov_yy):
    """Compute the patterns of a linear model, cov(x, z) inv(cov(y, y)).

    z are the estimates of y. Without regularization, patterns are the
    coefficients of a regression of x on y. The shape is that of ``coef``.
    """
    return cov_xx @ coef @ np.linalg.pinv(cov_yy, rcond=1e-10, hermitian=True)


def compute_ridge_correlation(coef, heldout):
    """Compute the mean Pearson correlation over features from moments.

    ``heldout`` is the result of ``RidgeMoments.centered``. Features whose
    estimate or target is constant count as 0.
    """
    cov_xx, cov_xy, var_y = heldout
    cov = (coef * cov_xy).sum(0)
    power = (coef * (cov_xx @ coef)).sum(0) * var_y
    return float(np.mean(np.where(power > 0, cov / np.sqrt(np.where(power > 0, power, 1)), 0)))


def standardize_for_ridge_solver(signal):
    """Scale channels to mean 0 and variance 1. Constant ones are NaN."""
    signal = signal - signal.mean((0, 2), keepdims=True, dtype=float)
    scale = np.sqrt(np.square(signal).mean((0, 2), keepdims=True))
    return signal / np.where(scale > 0, scale, np.nan)


def correlate_ridge_channels(one, other):
    """Average the product of two standardized signals for each channel."""
    return np.einsum("nct,nct->c", one, other) / (one.shape[0] * one.shape[2])


def sum_ridge_frames(batch, frames, n_frames):
    """Sum the samples of each frame.

    (n_windows, n_channels, n_times) -> (n_windows, n_frames, n_channels)
    """
    sums = batch.new_zeros(len(batch), n_frames, batch.shape[1])
    return sums.index_add_(1, frames, batch.transpose(1, 2))
