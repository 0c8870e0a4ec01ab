"""Shared response of subjects to a stimulus, and filters to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from sk_b2s._utils._whitening import find_whitening_axes

N_COMPONENTS = 16  # of the speech features
N_LATENTS = 8  # of the evoked response
N_LAGS = 21
LAGS = (-0.3, 0.5)  # s, EEG/MEG after the stimulus
RIDGE = 1e-3  # regularization of lagged features, as a fraction of their mean eigenvalue
LOAD, SOFT = 0.3, 2.0  # regularization of covariance and filter gain, see SharedResponse.layer
LEAST = 3.0  # minimum variance between subjects, in units of the sampling error
TINY = 1e-9  # minimum weight of the mean pattern in frames, which avoids division by zero


@dataclass(frozen=True, eq=False)
class SharedResponse:
    r"""Linear model of the response to speech in channels shared by subjects.

    Latents :math:`g_t` of unit variance are linear in the speech features
    around t. They evoke :math:`U g_t` in the inputs of the convolutions and
    :math:`Q_s g_t` in the inputs of the layer of subject s. The pattern of a
    subject has the prior mean :math:`\bar Q`, the mean over training subjects,
    and their variance :math:`\tau_k^2` for each latent. The fewer data of a
    subject there are, the closer is the pattern to the mean.

    Parameters
    ----------
    mean : ndarray of shape (n_features,)
        Mean of the speech features.
    components : ndarray of shape (n_components, n_features)
        Principal components of the features, scaled to unit variance.
    lags : ndarray of int of shape (n_lags,)
        Lags of EEG/MEG after the stimulus in frames.
    latents : ndarray of shape (n_lags * n_components, n_latents)
        Map from lagged components, lag by lag, to g.
    shared : ndarray of shape (n_virtual_channels, n_latents)
        U.
    pattern : ndarray of shape (n_virtual_channels, n_latents)
        Mean pattern over subjects.
    spread : ndarray of shape (n_latents,)
        :math:`\tau_k^2`, the variance of a channel's pattern over subjects.
    noise : ndarray of shape (n_latents,)
        :math:`\nu_k`, the variance of a channel's pattern estimated from one
        frame, for channels of unit variance. It is measured between windows
        and thus accounts for the autocorrelation of background activity.
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
        r"""Compute the layer of a new subject in closed form.

        The pattern is the ridge estimate

        .. math:: Q = \arg\min_Q \sum_t |z_t - Q g_t|^2
           + \sum_k \rho_k |q_k - \bar q_k|^2,
           \qquad \rho_k = \sigma^2 \nu_k / \tau_k^2,

        with :math:`\sigma^2` the variance of a channel. The layer is the
        filter of least variance from the pattern to the shared response [1]_:
        :math:`M = R^{-1} Q (Q^\top R^{-1} Q + \mu)^{-1} U^\top`, with the
        covariance R of the channels plus 0.3 of its mean eigenvalue, and
        :math:`\mu` twice the mean eigenvalue of :math:`Q^\top R^{-1} Q`.

        Parameters
        ----------
        batches : iterable of (features, read)
            Speech features, Tensors of shape (n_windows, n_features,
            n_frames), and inputs of the layer, (n_windows, n_virtual_channels,
            n_frames).
        share : float, default=1.0
            Fraction of frames that are distinct. Frames in several windows
            count once.

        Returns
        -------
        layer : Tensor of shape (n_virtual_channels, n_virtual_channels)
            M. The output of the layer is :math:`M^\top z`.

        References
        ----------
        .. [1] Van Veen, van Drongelen, Yuchtman, Suzuki (1997). Localization
           of brain electrical activity via linearly constrained minimum
           variance spatial filtering. IEEE Transactions on Biomedical
           Engineering 44:867. https://doi.org/10.1109/10.623056
        """
        latents, shared, pattern = map(torch.as_tensor, (self.latents, self.shared, self.pattern))
        n, gram, cross, covariance = 0, 0.0, 0.0, 0.0
        for features, read in batches:
            g = _lag_response_components(features, self.mean, self.components, self.lags) @ latents
            z = _crop_response_channels(read, self.lags)
            g, z = ((part - part.mean(1, keepdim=True)).flatten(0, 1) for part in (g, z))
            n, gram, cross, covariance = n + len(g), gram + g.T @ g, cross + z.T @ g, covariance + z.T @ z
        covariance = covariance / n
        rho = covariance.diagonal().mean() * torch.as_tensor(self.noise / self.spread)
        rho = torch.diag(rho.clamp(min=TINY))
        pattern = torch.linalg.solve(share * gram + rho, (share * cross + pattern @ rho).T).T
        filters = torch.linalg.solve(_add_diagonal(covariance, LOAD), pattern)
        return (filters @ torch.linalg.solve(_add_diagonal(pattern.T @ filters, SOFT), shared.T)).float()


def fit_shared_response(batches, n_subjects, sfreq=None):
    """Fit the response that training subjects share.

    Parameters
    ----------
    batches : callable
        ``batches()`` iterates over (features, channels, read, subject),
        Tensors of shapes (n_windows, n_features, n_frames), (n_windows,
        n_virtual_channels, n_frames) for the inputs of the convolutions, the
        same for the inputs of the subject layers, and (n_windows,) int64. It
        is called three times.
    n_subjects : int
    sfreq : float, default=None
        Frame rate in Hz. If None, lags are an eighth of a window.

    Returns
    -------
    response : SharedResponse or None
        None if features or channels are constant within windows, as in windows
        of one frame.
    """
    found = _fit_response_components(batches)
    if found is None or found[2] < 2:
        return None
    mean, components, n_frames = found
    lags = _choose_response_lags(n_frames, sfreq)

    def lagged():
        for features, channels, read, subject in batches():
            x = _lag_response_components(features, mean, components, lags)
            yield x, _crop_response_channels(channels, lags), _crop_response_channels(read, lags), subject

    evoked = _fit_response_latents(lagged)
    if evoked is None:
        return None
    latents, shared = evoked
    pattern, spread, noise = _fit_response_patterns(lagged, latents, n_subjects)
    return SharedResponse(*map(np.asarray, (mean, components, lags, latents, shared, pattern, spread, noise)))


def _fit_response_components(batches):
    """Return mean and principal components of features, and n_frames."""
    n, total, square = 0, 0.0, 0.0
    for features, *_ in batches():
        flat = features.mT.reshape(-1, features.shape[1]).double()
        n, total, square = n + len(flat), total + flat.sum(0), square + flat.T @ flat
    if n < 2:
        return None
    mean = total / n
    axes, _ = find_whitening_axes(square / n - torch.outer(mean, mean), 1e-9, 1e-30)
    if not axes.shape[1]:
        return None
    return mean.numpy(), axes[:, -N_COMPONENTS:].contiguous().T.numpy(), features.shape[2]


def _choose_response_lags(n_frames, sfreq):
    """Return lags in frames, at most a quarter of a window in size."""
    most = n_frames // 4
    first, last = (-(n_frames // 8), n_frames // 8) if sfreq is None else (round(lag * sfreq) for lag in LAGS)
    first, last = max(first, -most), min(last, most)
    return np.unique(np.linspace(first, last, min(N_LAGS, last - first + 1)).round().astype(np.int64))


def _lag_response_components(features, mean, components, lags):
    """Lag components, in frames where all lags are inside of the window.

    Returns a Tensor of shape (n_windows, n_frames, n_lags * n_components).
    """
    mean, components = torch.as_tensor(mean), torch.as_tensor(components)
    parts = (features.mT.double() - mean) @ components.T
    first, last = max(0, lags[-1]), features.shape[2] + min(0, lags[0])
    return torch.cat([parts[:, first - lag : last - lag] for lag in lags], -1)


def _crop_response_channels(channels, lags):
    """Crop channels to these frames: (n_windows, n_frames, n_channels)."""
    return channels.mT[:, max(0, lags[-1]) : channels.shape[2] + min(0, lags[0])].double()


def _add_diagonal(matrix, share):
    """Add a fraction of the mean eigenvalue to the diagonal."""
    load = share * matrix.diagonal().mean().clamp(min=1e-30)
    return matrix + load * torch.eye(len(matrix), dtype=matrix.dtype)


def _fit_response_latents(lagged):
    """Return maps from lagged features to latents and to shared channels."""
    n, sums, square, cross, power = 0, 0.0, 0.0, 0.0, 0.0
    for x, channels, *_ in lagged():
        x, channels = x.flatten(0, 1), channels.flatten(0, 1)
        both = torch.cat([x, channels], 1).sum(0)
        n, sums, square, cross = n + len(x), sums + both, square + x.T @ x, cross + x.T @ channels
        power = power + float(channels.square().sum())
    mean = sums / n
    of_x, of_channels = mean[: len(square)], mean[len(square) :]
    square = square / n - torch.outer(of_x, of_x)
    kernel = torch.linalg.solve(_add_diagonal(square, RIDGE), cross / n - torch.outer(of_x, of_channels))
    values, vectors = torch.linalg.eigh(kernel.T @ square @ kernel)
    values, vectors = values.flip(0)[:N_LATENTS], vectors.flip(1)[:, :N_LATENTS]
    nonzero = values > max(1e-9 * float(values[0]), 1e-12 * power / n)  # above rounding errors
    values, vectors = values[nonzero].sqrt(), vectors[:, nonzero]
    return (kernel @ vectors / values, vectors * values) if nonzero.any() else None


def _fit_response_patterns(lagged, latents, n_subjects):
    """Return mean pattern, variance over subjects, and noise of one frame."""
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
    subjects = torch.nonzero(n)[:, 0].tolist()
    patterns = torch.stack([sums[i] / n[i] for i in subjects])
    within = torch.stack([squares[i] / n[i] - (sums[i] / n[i]).square() for i in subjects]).mean((0, 2))
    if len(subjects) > 2:
        error = within / n[subjects].mean()  # sampling error of the pattern of a whole recording
        spread = torch.maximum(patterns.var(0).mean(1) - error, LEAST * error)
    else:  # the variance over two subjects is too uncertain
        spread = patterns.square().mean((0, 2))
    n_frames, n_channels = shape[1], shape[2]
    power = power / (n.sum() * n_frames * n_channels)
    noise = n_frames * within / power.clamp(min=1e-30)
    return patterns.mean(0).T, spread.clamp(min=1e-30), noise
