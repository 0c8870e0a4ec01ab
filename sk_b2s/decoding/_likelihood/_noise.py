"""Noise of EEG/MEG: spatial and temporal whitening, limited at bursts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import solve_toeplitz

from sk_b2s._utils._whitening import find_whitening_axes

LOAD = 0.03  # white noise added to the autocorrelation
SMALLEST = 1e-6  # prediction error relative to the variance, and eigenvalue relative to the largest
ORDERS = (4, 8, 12, 16, 24)  # that "auto" selects from
SHRINKAGES = (0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.7)  # of covariances
N_PARTS = 5  # of a recording, held out in turn to select the shrinkage


@dataclass(frozen=True, eq=False)
class LikelihoodNoiseModel:
    r"""Noise with a spatial and a temporal covariance.

    Frames are decorrelated in space, limited in norm, and decorrelated in
    time and again in space, because slow background activity has other
    patterns than what remains.

    Parameters
    ----------
    mean : ndarray of shape (n_channels,)
    unmix : ndarray of shape (n_channels, n_channels)
        First spatial filters, in columns.
    limit : float
        Largest root mean square over the filtered channels of a frame.
    autocorrelation : ndarray of shape (n_lags,)
        Mean autocorrelation of the filtered channels.
    order : int
        Order of the autoregressive model.
    remix : ndarray of shape (n_channels, n_channels)
        Second spatial filters, applied to the output of the first.
    """

    mean: np.ndarray
    unmix: np.ndarray
    limit: float
    autocorrelation: np.ndarray
    order: int
    remix: np.ndarray

    @property
    def filters(self):
        """Both spatial filters: ndarray of shape (n_channels, n_channels)."""
        return self.unmix @ self.remix

    def make_time_filter(self, n_frames):
        """Make the temporal filter: Tensor of shape (n_frames, n_frames)."""
        return make_noise_time_filter(self.autocorrelation[: self.order + 1], n_frames)


def whiten_noise(frames, mean, unmix, limit, time_filter, filters):
    """Whiten windows by the parameters of a LikelihoodNoiseModel.

    (n_windows, n_frames, n_channels) -> (n_windows, n_frames, n_filters)
    """
    mean, unmix, time_filter, filters = (
        torch.as_tensor(part).to(frames) for part in (mean, unmix, time_filter, filters)
    )
    return time_filter @ (limit_noise_norm((frames - mean) @ unmix, limit) @ filters)


def average_noise(models):
    """Average the covariances and autocorrelations of noise models."""
    unmix = decorrelate_noise_covariance(
        np.mean([_compute_noise_covariance(one.unmix) for one in models], axis=0)
    )
    second = np.mean([_compute_noise_covariance(one.filters) for one in models], axis=0)
    lengths = [len(one.autocorrelation) for one in models]
    autocorrelation = np.mean([one.autocorrelation[: min(lengths)] for one in models], axis=0)
    return LikelihoodNoiseModel(
        np.mean([one.mean for one in models], axis=0), unmix, float(np.mean([one.limit for one in models])),
        autocorrelation, max(one.order for one in models), decorrelate_noise_covariance(unmix.T @ second @ unmix),
    )  # fmt: skip


def _compute_noise_covariance(filters):
    """Return the covariance that filters turn into the identity."""
    inverse = np.linalg.pinv(filters)
    return inverse.T @ inverse


def decorrelate_noise_covariance(covariance):
    """Return filters in columns that decorrelate channels."""
    axes, _ = find_whitening_axes(covariance, SMALLEST, 1e-30)
    return np.ascontiguousarray(np.pad(axes, ((0, 0), (len(covariance) - axes.shape[1], 0))))


def limit_noise_norm(frames, limit):
    """Scale down frames whose root mean square exceeds the limit."""
    size = frames.square().mean(-1, keepdim=True).sqrt()
    return frames * (limit / size.clamp(min=1e-30)).clamp(max=1)


def fit_noise(frames, order="auto", clip=2.0):
    """Estimate the noise of windows.

    Parameters
    ----------
    frames : Tensor of shape (n_windows, n_frames, n_channels)
        The response to speech is a small part of it and is not removed.
    order : int or "auto", default="auto"
        Order of the autoregressive model. "auto" selects it by the Bayesian
        information criterion.
    clip : float or None, default=2.0
        Limit of the norm of a frame, in units of the median. None has no
        limit.

    Returns
    -------
    noise : LikelihoodNoiseModel
    """
    mean = frames.mean((0, 1))
    frames = frames - mean
    unmix = decorrelate_noise(frames)
    frames, limit = frames @ torch.from_numpy(unmix).to(frames), np.inf
    if clip is not None:
        limit = clip * float(frames.square().mean(-1).sqrt().median()) or np.inf
        frames = limit_noise_norm(frames, limit)
    autocorrelation = find_noise_autocorrelation(frames, max(ORDERS) if order == "auto" else order)
    if order == "auto":
        order = choose_noise_order(autocorrelation, frames.shape[0] * frames.shape[1])
    order = min(order, len(autocorrelation) - 1)
    frames = make_noise_time_filter(autocorrelation[: order + 1], frames.shape[1]).to(frames) @ frames
    remix = decorrelate_noise(frames)
    return LikelihoodNoiseModel(mean.double().numpy(), unmix, limit, autocorrelation, order, remix)


def decorrelate_noise(frames):
    """Return filters in columns that decorrelate channels of mean 0.

    (n_windows, n_frames, n_channels) -> (n_channels, n_channels). The
    covariance is shrunk towards a multiple of the identity. Channels without
    variance get zeros.
    """
    parts = [part.flatten(0, 1) for part in torch.tensor_split(frames, N_PARTS) if len(part)]
    covariances = np.stack([(part.mT @ part / len(part)).double().numpy() for part in parts])
    shares = np.array([len(part) for part in parts]) / (frames.shape[0] * frames.shape[1])
    covariance = np.einsum("p,pij->ij", shares, covariances)
    return decorrelate_noise_covariance(
        shrink_noise_covariance(covariance, choose_noise_shrinkage(covariances, shares))
    )


def shrink_noise_covariance(covariance, shrinkage):
    """Shrink a covariance towards a multiple of the identity."""
    target = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    return (1 - shrinkage) * covariance + shrinkage * target


def choose_noise_shrinkage(covariances, shares):
    """Select the shrinkage by the likelihood of held-out parts.

    Unlike the formula of Ledoit and Wolf, held-out parts of the recording
    account for the autocorrelation of the noise and for its changes over time.
    """
    costs = np.zeros(len(SHRINKAGES))
    if len(covariances) < 2:
        return SHRINKAGES[-1]
    for heldout in range(len(covariances)):
        weights = np.delete(shares, heldout)
        train = np.einsum("p,pij->ij", weights / weights.sum(), np.delete(covariances, heldout, 0))
        values, vectors = np.linalg.eigh(train)
        power = np.einsum("ij,ij->j", vectors, covariances[heldout] @ vectors)
        for place, shrinkage in enumerate(SHRINKAGES):
            shrunk = (1 - shrinkage) * values + shrinkage * values.mean()
            shrunk = np.maximum(shrunk, max(1e-12 * values[-1], 1e-30))
            costs[place] += shares[heldout] * (np.log(shrunk) + power / shrunk).sum()
    return SHRINKAGES[int(np.argmin(costs))]


def find_noise_autocorrelation(frames, most):
    """Return the mean autocorrelation of channels: lags 0 to ``most``."""
    n_frames = frames.shape[1]
    total = [
        float((frames[:, : n_frames - lag] * frames[:, lag:]).mean())
        for lag in range(min(most, n_frames - 1) + 1)
    ]
    found = np.array(total) / max(total[0], 1e-30)
    found[0] = 1 + LOAD
    return found


def choose_noise_order(autocorrelation, n_frames):
    """Select an order by the Bayesian information criterion."""
    orders = [order for order in ORDERS if order < len(autocorrelation)] or [len(autocorrelation) - 1]
    costs = [
        np.log(_predict_noise(autocorrelation, order)[1]) + np.log(n_frames) / n_frames * order
        for order in orders
    ]
    return orders[int(np.argmin(costs))]


def _predict_noise(autocorrelation, order):
    """Return coefficients on the preceding frames, and the error."""
    if not order:
        return np.zeros(0), autocorrelation[0]
    coef = solve_toeplitz(autocorrelation[:order], autocorrelation[1 : order + 1])
    return coef, max(autocorrelation[0] - coef @ autocorrelation[1 : order + 1], SMALLEST)


def make_noise_time_filter(autocorrelation, n_frames):
    """Make the matrix that decorrelates the frames of a window.

    It is the inverse Cholesky factor of the covariance of the autoregressive
    process, so that the first frames, which have fewer predecessors, are
    decorrelated as well: Tensor of shape (n_frames, n_frames), float32.
    """
    order, out = len(autocorrelation) - 1, np.zeros((n_frames, n_frames))
    for frame in range(n_frames):
        if frame <= order:
            coef, error = _predict_noise(autocorrelation, frame)
        row = np.append(-coef[::-1], 1.0) / np.sqrt(error)
        out[frame, frame + 1 - len(row) : frame + 1] = row
    return torch.from_numpy(out).float()
