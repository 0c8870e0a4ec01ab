"""Posterior mean of speech features under a forward model."""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft, rfft

MOST_SEGMENTS = 2000  # training segments that the prior is estimated from


class FeaturePrior:
    r"""Prior covariance of speech features over bands and time.

    With the responses H and the noise covariance :math:`\Sigma` of a forward
    model, and the prior covariance C of the features y of a window, the
    posterior mean given EEG/MEG x is

    .. math:: (C^{-1} + H^T \Sigma^{-1} H)^{-1} H^T \Sigma^{-1} x
              \approx C H^T \Sigma^{-1} x

    for weak responses. ``transform`` of a :class:`~sk_b2s.LikelihoodDecoder`
    returns :math:`H^T \Sigma^{-1} x`, a matched filter. C is the product of a
    covariance over bands and one over frames, which depends on their distance.

    Parameters
    ----------
    targets : Windows of shape (n_segments, n_bands, n_frames)
        Features of the training segments.
    """

    def __init__(self, targets):
        rows = np.unique(np.linspace(0, len(targets) - 1, MOST_SEGMENTS).round().astype(int))
        features = targets.gather(rows).cpu().numpy().astype(float)
        features -= features.mean((0, 2), keepdims=True)
        n, n_bands, n_frames = features.shape
        self.bands = np.einsum("nft,ngt->fg", features, features) / (n * n_frames)
        power = (np.abs(rfft(features, 2 * n_frames)) ** 2).sum((0, 1))
        distance = np.arange(n_frames)
        covariance = irfft(power, 2 * n_frames)[:n_frames] / (n * n_bands * (n_frames - distance))
        self.frames = covariance[np.abs(np.subtract.outer(distance, distance))]

    def apply(self, matched):
        """Multiply matched filters by the prior covariance, band and frame.

        Parameters
        ----------
        matched : ndarray of shape (n_windows, n_bands, n_frames)

        Returns
        -------
        estimates : ndarray of shape (n_windows, n_bands, n_frames)
            Proportional to the posterior mean without its offset.
        """
        return np.einsum("fg,ngt->nft", self.bands, matched) @ self.frames
