"""Sums over windows of several calls that determine a ridge regression."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from sk_b2s.decoding._ridge_solver import RidgeMoments


@dataclass
class IncrementalMoments:
    """Sums of uncentered frames, from which those of centered ones follow.

    Samples beyond a window are replaced by the mean of all windows, which is
    known after the last call only. Lagged channels are therefore relative to a
    ``reference``, with 0 beyond a window, and an additional channel is 1
    within the window. Let z be a lagged channel, o the additional one at the
    same lag and d the mean minus the reference. The centered channel z - d o
    is linear in both, so that its moments follow from theirs.

    Attributes
    ----------
    n_frames, n_used : int
        Number of frames, and of those with samples.
    reference : ndarray of shape (n_channels,)
    x, y : ndarray of shape (n_channels,) and (n_features,)
        Sums of channels relative to the reference over used frames, and of
        features.
    yy : ndarray of shape (n_features, n_features)
        Sum of products of features.
    lagged : ndarray of shape (n_lags, n_channels + 1)
        Sums of lagged channels.
    products : ndarray of shape (n_lags, n_channels + 1, n_lags, \
n_channels + 1)
        Sums of products of lagged channels.
    cross : ndarray of shape (n_lags, n_channels + 1, n_features)
        Sums of products of lagged channels with features.
    """

    n_frames: int
    n_used: int
    reference: np.ndarray
    x: np.ndarray
    y: np.ndarray
    yy: np.ndarray
    lagged: np.ndarray
    products: np.ndarray
    cross: np.ndarray

    @classmethod
    def from_sums(cls, sums, n_used, reference, x, yy):
        """Make moments from those of `compute_ridge_moments`."""
        shape = len(sums.x) // (len(reference) + 1), len(reference) + 1
        return cls(
            sums.n, n_used, reference.numpy(), x.numpy(), sums.y, yy.numpy(), sums.x.reshape(shape),
            sums.xx.reshape(shape * 2), sums.xy.reshape(*shape, -1),
        )  # fmt: skip

    def add(self, other):
        """Add sums with the same reference, and return them."""
        for field in fields(self):
            if field.name != "reference":
                total = getattr(self, field.name)
                total += getattr(other, field.name)  # in place for arrays
                setattr(self, field.name, total)
        return self

    @property
    def mean(self):
        """Mean of each channel."""
        return self.reference + self.x / self.n_used

    @property
    def offset(self):
        """Mean of each feature."""
        return self.y / self.n_frames

    @property
    def feature_covariance(self):
        """Covariance of features: (n_features, n_features)."""
        return self.yy / self.n_frames - np.outer(self.offset, self.offset)

    def center(self):
        """Return the moments of centered channels and features."""
        shift, (n_lags, n_channels) = self.x / self.n_used, (len(self.lagged), len(self.reference))
        products, inside = self.products[:, :-1, :, :-1], self.products[:, -1, :, -1]
        one_sided = self.products[:, :-1, :, -1]  # (n_lags, n_channels, n_lags)
        xx = products - one_sided[..., None] * shift
        xx -= shift[:, None, None] * (one_sided.transpose(2, 0, 1) - inside[..., None] * shift)[:, None]
        x = self.lagged[:, :-1] - self.lagged[:, -1:] * shift
        xy = self.cross[:, :-1] - shift[:, None] * self.cross[:, -1:]
        n_columns = n_lags * n_channels
        x, xy = x.reshape(n_columns), xy.reshape(n_columns, -1)
        return RidgeMoments(
            self.n_frames,
            x,
            np.zeros_like(self.y),
            xx.reshape(n_columns, n_columns),
            xy - np.outer(x, self.offset),
            self.n_frames * np.diag(self.feature_covariance),
        )
