"""Shared response of subjects to a stimulus, and filters to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

N_COMPONENTS = 16  # of the speech features
N_LATENTS = 8  # of what they evoke
N_LAGS = 21
LAGS = (-0.3, 0.5)  # s, of the brain after the sound
RIDGE = 1e-3  # of the lagged features, as a share of their mean eigenvalue
LOAD, SOFT = 0.3, 2.0  # of the channels' covariance and of the filters' gain, see SharedResponse.layer
LEAST = 3.0  # by how much more than luck people are taken to differ at least
TINY = 1e-9  # frames that the mean pattern counts for at least, so that nothing is divided by nothing


@dataclass(frozen=True, eq=False)
class SharedResponse:
    r"""A linear model of what speech evokes in the space that all people share.

    Latents :math:`g_t` of unit variance, linear in the speech features around t, evoke :math:`U g_t` in the channels
    that the convolutions read, and :math:`Q_s g_t` in those that the layer of person s reads. A person's pattern
    is taken to be drawn around :math:`\bar Q`, the mean over known people, with their variance :math:`\tau_k^2` for
    each latent: the less is known of somebody the more does their pattern resemble the mean.

    Parameters
    ----------
    mean : ndarray of shape (n_features,)
        Of the speech features.
    components : ndarray of shape (n_components, n_features)
        Principal components of the features, scaled to unit variance.
    lags : ndarray of int of shape (n_lags,)
        In frames; positive where the brain comes after the sound.
    latents : ndarray of shape (n_lags * n_components, n_latents)
        From lagged components, lag by lag, to g.
    shared : ndarray of shape (n_virtual_channels, n_latents)
        U.
    pattern : ndarray of shape (n_virtual_channels, n_latents)
        The mean pattern.
    spread : ndarray of shape (n_latents,)
        :math:`\tau_k^2`, the variance of a channel's pattern over people.
    noise : ndarray of shape (n_latents,)
        :math:`\nu_k`, the variance of a channel's pattern as one frame shows it, for channels of unit variance. It
        was measured between windows, so it counts how far ongoing activity goes on from frame to frame.
    """

    mean: np.ndarray
    components: np.ndarray
    lags: np.ndarray
    latents: np.ndarray
    shared: np.ndarray
    pattern: np.ndarray
    spread: np.ndarray
    noise: np.ndarray

    def layer(self, batches, share=1.0):
        r"""Find the layer of somebody who heard some speech, in closed form.

        Their pattern is the ridge estimate

        .. math:: Q = \arg\min_Q \sum_t |z_t - Q g_t|^2 + \sum_k \rho_k |q_k - \bar q_k|^2,
           \qquad \rho_k = \sigma^2 \nu_k / \tau_k^2,

        with :math:`\sigma^2` the variance of a channel, and the layer the filter of least variance that brings it to
        the shared response [1]_: :math:`M = R^{-1} Q (Q^\top R^{-1} Q + \mu)^{-1} U^\top` for the covariance R of
        their channels, loaded by 0.3 of its mean eigenvalue, and :math:`\mu` twice the mean eigenvalue of
        :math:`Q^\top R^{-1} Q`.

        Parameters
        ----------
        batches : iterable of (features, read)
            Of windows of what was heard, Tensors of shape (n_windows, n_features, n_frames), and of what their layer
            would have read, (n_windows, n_virtual_channels, n_frames).
        share : float, default=1.0
            How many of the frames are distinct: those that several windows hold count once.

        Returns
        -------
        layer : Tensor of shape (n_virtual_channels, n_virtual_channels)
            M; the layer gives :math:`M^\top z`.

        References
        ----------
        .. [1] Van Veen, van Drongelen, Yuchtman, Suzuki (1997). Localization of brain electrical activity via linearly
           constrained minimum variance spatial filtering. IEEE Transactions on Biomedical Engineering 44:867.
           https://doi.org/10.1109/10.623056
        """
        latents, shared, pattern = map(torch.as_tensor, (self.latents, self.shared, self.pattern))
        n, gram, cross, covariance = 0, 0.0, 0.0, 0.0
        for features, read in batches:
            g = _lagged(features, self.mean, self.components, self.lags) @ latents
            z = _inside(read, self.lags)
            g, z = ((part - part.mean(1, keepdim=True)).flatten(0, 1) for part in (g, z))
            n, gram, cross, covariance = n + len(g), gram + g.T @ g, cross + z.T @ g, covariance + z.T @ z
        covariance = covariance / n
        rho = covariance.diagonal().mean() * torch.as_tensor(self.noise / self.spread)
        rho = torch.diag(rho.clamp(min=TINY))
        pattern = torch.linalg.solve(share * gram + rho, (share * cross + pattern @ rho).T).T
        filters = torch.linalg.solve(_loaded(covariance, LOAD), pattern)
        return (filters @ torch.linalg.solve(_loaded(pattern.T @ filters, SOFT), shared.T)).float()


def fit_shared_response(batches, n_subjects, sfreq=None):
    """Learn what people's brains have in common from windows of what they heard.

    Parameters
    ----------
    batches : callable
        ``batches()`` iterates over (features, channels, read, subject): Tensors of shapes (n_windows, n_features,
        n_frames), (n_windows, n_virtual_channels, n_frames) of what convolutions read, the same of what people's
        layers read, and (n_windows,) int64, each window's person. It is asked for three times.
    n_subjects : int
    sfreq : float, default=None
        Frames in a second; where it is unknown lags are an eighth of a window.

    Returns
    -------
    response : SharedResponse or None
        None where there is nothing to learn from: features or channels that do not vary within a window, as none do
        in windows of one frame.
    """
    found = _components(batches)
    if found is None or found[2] < 2:
        return None
    mean, components, n_frames = found
    lags = _lags(n_frames, sfreq)

    def lagged():
        for features, channels, read, subject in batches():
            x = _lagged(features, mean, components, lags)
            yield x, _inside(channels, lags), _inside(read, lags), subject

    evoked = _latents(lagged)
    if evoked is None:
        return None
    latents, shared = evoked
    pattern, spread, noise = _patterns(lagged, latents, n_subjects)
    return SharedResponse(*map(np.asarray, (mean, components, lags, latents, shared, pattern, spread, noise)))


def _components(batches):
    """Principal components of the features, by their mean and covariance; and the number of frames."""
    n, total, square = 0, 0.0, 0.0
    for features, *_ in batches():
        flat = features.mT.reshape(-1, features.shape[1]).double()
        n, total, square = n + len(flat), total + flat.sum(0), square + flat.T @ flat
    if n < 2:
        return None
    mean = total / n
    values, vectors = torch.linalg.eigh(square / n - torch.outer(mean, mean))
    there = values > 1e-9 * values[-1].clamp(min=1e-30)
    values, vectors = values[there][-N_COMPONENTS:], vectors[:, there][:, -N_COMPONENTS:]
    if not len(values):
        return None
    return mean.numpy(), (vectors / values.sqrt()).T.numpy(), features.shape[2]


def _lags(n_frames, sfreq):
    """Lags in frames, at most a quarter of a window to either side."""
    most = n_frames // 4
    first, last = (-(n_frames // 8), n_frames // 8) if sfreq is None else (round(lag * sfreq) for lag in LAGS)
    first, last = max(first, -most), min(last, most)
    return np.unique(np.linspace(first, last, min(N_LAGS, last - first + 1)).round().astype(np.int64))


def _lagged(features, mean, components, lags):
    """Components at each lag, in frames where all are known: (n_windows, n_frames, n_lags * n_components)."""
    mean, components = torch.as_tensor(mean), torch.as_tensor(components)
    parts = (features.mT.double() - mean) @ components.T
    first, last = max(0, lags[-1]), features.shape[2] + min(0, lags[0])
    return torch.cat([parts[:, first - lag : last - lag] for lag in lags], -1)


def _inside(channels, lags):
    """Channels in those frames: (n_windows, n_frames, n_channels)."""
    return channels.mT[:, max(0, lags[-1]) : channels.shape[2] + min(0, lags[0])].double()


def _loaded(matrix, share):
    """Add a share of the mean eigenvalue to a positive matrix."""
    load = share * matrix.diagonal().mean().clamp(min=1e-30)
    return matrix + load * torch.eye(len(matrix), dtype=matrix.dtype)


def _latents(lagged):
    """From lagged features to latents, and from these to what they evoke in the shared channels."""
    n, sums, square, cross, power = 0, 0.0, 0.0, 0.0, 0.0
    for x, channels, *_ in lagged():
        x, channels = x.flatten(0, 1), channels.flatten(0, 1)
        both = torch.cat([x, channels], 1).sum(0)
        n, sums, square, cross = n + len(x), sums + both, square + x.T @ x, cross + x.T @ channels
        power = power + float(channels.square().sum())
    mean = sums / n
    of_x, of_channels = mean[: len(square)], mean[len(square) :]
    square = square / n - torch.outer(of_x, of_x)
    kernel = torch.linalg.solve(_loaded(square, RIDGE), cross / n - torch.outer(of_x, of_channels))
    values, vectors = torch.linalg.eigh(kernel.T @ square @ kernel)
    values, vectors = values.flip(0)[:N_LATENTS], vectors.flip(1)[:, :N_LATENTS]
    there = values > max(1e-9 * float(values[0]), 1e-12 * power / n)  # else it is rounding
    values, vectors = values[there].sqrt(), vectors[:, there]
    return (kernel @ vectors / values, vectors * values) if there.any() else None


def _patterns(lagged, latents, n_subjects):
    """Mean pattern over people, how much they differ, and what luck adds to a pattern seen for one frame."""
    n, shape, power = torch.zeros(n_subjects, dtype=torch.float64), (), 0.0
    sums, squares = [0.0] * n_subjects, [0.0] * n_subjects
    for x, _, read, subject in lagged():
        g, read = x @ latents, read - read.mean(1, keepdim=True)
        products = (g - g.mean(1, keepdim=True)).mT @ read / x.shape[1]  # (n_windows, n_latents, n_channels)
        power, shape = power + read.square().sum(), read.shape
        for index in subject.unique().tolist():
            own = products[subject == index]
            n[index] += len(own)
            sums[index], squares[index] = sums[index] + own.sum(0), squares[index] + own.square().sum(0)
    people = torch.nonzero(n)[:, 0].tolist()
    patterns = torch.stack([sums[i] / n[i] for i in people])
    within = torch.stack([squares[i] / n[i] - (sums[i] / n[i]).square() for i in people]).mean((0, 2))
    if len(people) > 2:
        luck = within / n[people].mean()  # in the pattern of a whole recording
        spread = torch.maximum(patterns.var(0).mean(1) - luck, LEAST * luck)
    else:  # two people cannot tell how people differ
        spread = patterns.square().mean((0, 2))
    n_frames, n_channels = shape[1], shape[2]
    power = power / (n.sum() * n_frames * n_channels)
    noise = n_frames * within / power.clamp(min=1e-30)
    return patterns.mean(0).T, spread.clamp(min=1e-30), noise
