"""Whitening of a covariance by its eigenvectors."""

from __future__ import annotations

import numpy as np


def find_whitening_axes(covariance, smallest=None, floor=0.0, shrink=None):
    """Scale the eigenvectors of a covariance to unit variance.

    Parameters
    ----------
    covariance : ndarray or Tensor of shape (n_channels, n_channels)
        Symmetric.
    smallest : float, default=None
        Axes with a variance up to this share of the largest are left out, such
        as those that an average reference has removed. If None, all are kept.
    floor : float, default=0.0
        Least value of the largest variance in this rule.
    shrink : callable, default=None
        Function of the variances of all axes that returns those to divide by.
        If None, they are not changed.

    Returns
    -------
    axes : ndarray or Tensor of shape (n_channels, n_axes)
        Filters in columns, in ascending order of variance.
    vectors : ndarray or Tensor of shape (n_channels, n_axes)
        The eigenvectors.

    Examples
    --------
    >>> find_whitening_axes(np.diag([0.0, 4.0]), smallest=1e-9)[0]
    array([[0. ],
           [0.5]])
    """
    if isinstance(covariance, np.ndarray):
        values, vectors = np.linalg.eigh(covariance)
    else:
        import torch

        values, vectors = torch.linalg.eigh(covariance)
    if smallest is not None:
        is_kept = values > smallest * max(float(values[-1]), floor)
        values, vectors = values[is_kept], vectors[:, is_kept]
    if shrink is not None and len(values):
        values = shrink(values)
    return vectors / values**0.5, vectors
