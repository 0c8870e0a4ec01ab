r"""Responses to speech with a prior that is learned from all subjects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

SMALL = 1e-9  # relative to the mean eigenvalue, avoids singular matrices
START = 0.1  # regularization of the first responses, relative to the mean eigenvalue of the lagged features


@dataclass(eq=False)
class ResponseMoments:
    """Sums over whitened frames that determine every response to them.

    Attributes
    ----------
    n : float
        Number of frames.
    gram : ndarray of shape (n_columns, n_columns)
        Sum of z z' over frames, of lagged and whitened features z.
    cross : ndarray of shape (n_columns, n_channels)
        Sum of z x', with the whitened channels x.
    """

    n: float
    gram: np.ndarray
    cross: np.ndarray

    def __add__(self, other):
        return ResponseMoments(self.n + other.n, self.gram + other.gram, self.cross + other.cross)

    def scaled(self, share):
        """Return the moments of a fraction of the frames."""
        return ResponseMoments(share * self.n, share * self.gram, share * self.cross)


def lag_response_features(features, lags):
    """Lag features, 0 outside of the window.

    (n_windows, n_frames, n_features) ->
    (n_windows, n_frames, n_lags * n_features), where column (l, f) of frame j
    is feature f at frame j - lags[l].
    """
    n_frames, reach = features.shape[1], (int(lags[-1]), -int(lags[0]))
    padded = torch.nn.functional.pad(features, (0, 0, *reach))
    return torch.cat([padded[:, reach[0] - lag : reach[0] - lag + n_frames] for lag in lags], 2)


def sum_response_moments(batches, n_columns, n_channels):
    """Sum the moments of batches.

    ``batches`` yields lagged features and channels, Tensors of shape
    (n_windows, n_frames, n_columns) and (n_windows, n_frames, n_channels).
    """
    n, gram, cross = 0, np.zeros((n_columns, n_columns)), np.zeros((n_columns, n_channels))
    for z, x in batches:
        z, x = z.flatten(0, 1), x.flatten(0, 1)
        n += len(z)
        gram += (z.T @ z).double().numpy()
        cross += (z.T @ x).double().numpy()
    return ResponseMoments(n, gram, cross)


@dataclass(frozen=True, eq=False)
class ResponsePrior:
    r"""Normal distribution of the responses of subjects.

    The response H of a subject, of shape (n_columns, n_channels), has mean 0
    and the covariance :math:`K \otimes Q` of its lagged features and of its
    channels before whitening. Subjects thus share the features, lags
    and sensors that respond, but not the responses themselves.

    Parameters
    ----------
    columns : ndarray of shape (n_columns, n_columns)
        K. Its mean eigenvalue is 1.
    channels : ndarray of shape (n_channels, n_channels)
        Q.
    """

    columns: np.ndarray
    channels: np.ndarray

    def estimate(self, moments, filters):
        r"""Estimate the response of a subject in closed form.

        With the eigendecompositions of :math:`L^\top G L` (where
        :math:`K = L L^\top`) and of the whitened :math:`W^\top Q W`, the
        elements of the response are independent.

        Parameters
        ----------
        moments : ResponseMoments
        filters : ndarray of shape (n_channels, n_channels)
            Spatial filters W in columns.

        Returns
        -------
        response : ndarray of shape (n_columns, n_channels)
            Mean of the posterior, for whitened channels.
        statistics : (ndarray, ndarray)
            Expected squares that the prior is updated from, divided by the
            number of channels and of columns.
        """
        n_columns, n_channels = moments.cross.shape
        root = np.linalg.cholesky(self.columns + SMALL * np.eye(n_columns))
        gain, U = np.linalg.eigh(root.T @ moments.gram @ root)
        power, V = np.linalg.eigh(filters.T @ self.channels @ filters)
        gain, power = np.maximum(gain, 0)[:, None], np.maximum(power, SMALL * power[-1])
        left, right = root @ U, V
        variance = power / (1 + gain * power)
        mean = variance * (left.T @ moments.cross @ right)
        of_columns = (mean / power) @ mean.T + np.diag((variance / power).sum(1))
        of_channels = mean.T @ mean + np.diag(variance.sum(0))
        back = np.linalg.pinv(filters).T @ right
        return left @ mean @ right.T, (
            left @ of_columns @ left.T / n_channels,
            back @ of_channels @ back.T / n_columns,
        )

    def updated(self, statistics):
        """Return the prior of highest expected likelihood over subjects."""
        columns, channels = (np.mean(part, axis=0) for part in zip(*statistics, strict=True))
        scale = np.trace(columns) / len(columns)
        return ResponsePrior(columns / scale, channels * scale)


def make_first_response_prior(moments, filters):
    """Return the prior that the iterations start from.

    All columns are independent, and patterns have the covariance of the noise,
    as in ridge regression on whitened channels.
    """
    n_columns = len(moments[0].gram)
    inverse = [np.linalg.pinv(one) for one in filters]
    level = START * np.mean([np.trace(one.gram) / n_columns for one in moments])
    channels = np.mean([one.T @ one for one in inverse], axis=0) / max(level, 1e-30)
    return ResponsePrior(np.eye(n_columns), channels)


def iter_brain_responses(moments, filters, n_iter):
    """Yield the responses of all subjects in each of ``n_iter`` iterations.

    The expectation-maximization algorithm updates the prior between them.

    Yields
    ------
    responses : list of ndarray of shape (n_columns, n_channels)
    prior : ResponsePrior
        That the responses were estimated with.
    """
    prior = make_first_response_prior(moments, filters)
    for index in range(n_iter):
        found = [prior.estimate(*one) for one in zip(moments, filters, strict=True)]
        yield [response for response, _ in found], prior
        if index < n_iter - 1:
            prior = prior.updated([statistics for _, statistics in found])


def cut_response_rank(response, moments, rank):
    """Keep the directions of the channels with the largest response.

    Returns the response in these directions, an array of shape (n_columns,
    rank), and the directions, of shape (n_channels, rank). Both are zeros
    beyond the rank of the response.
    """
    power, directions = np.linalg.eigh(response.T @ moments.gram @ response)
    order = np.argsort(power)[::-1][:rank]
    directions = directions[:, order] * (power[order] > SMALL * max(power.max(), 1e-30))
    return response @ directions, directions


def compare_response_ranks(cut, directions, heldout):
    """Compare predictions with held-out channels, for each rank from 1.

    Returns an array of shape (2, rank): products with the held-out channels
    and squared predictions, summed up to each rank. Both determine the
    log-likelihood at any gain.
    """
    products = np.einsum("ij,ij->j", cut, heldout.cross @ directions)
    squares = np.einsum("ij,ij->j", cut, heldout.gram @ cut)
    return np.cumsum([products, squares], axis=1)
