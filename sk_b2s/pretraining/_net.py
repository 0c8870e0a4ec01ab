"""The skorch net that trains a brain module on masked windows."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from sk_b2s._utils._chunks import split_rows_into_chunks
from sk_b2s._utils._devices import allowed_threads
from sk_b2s.nn._net import RetrievalNet

MOST = 2048  # windows for the statistics of batch normalization


class MaskedLoss(nn.Module):
    """Mean squared error of masked values."""

    def forward(self, estimates, targets, mask):
        """Return the mean over masked values, 0 without any."""
        error = (estimates.float() - targets).square_()
        return (error * mask).sum() / mask.sum().clamp(min=1)


class MaskedNet(RetrievalNet):
    """Net that estimates masked values instead of ranking segments.

    The last layer starts at zero, so that the first estimate is the mean of
    each channel. A random last layer adds noise, which training would have to
    remove first.
    """

    def initialize_module(self):
        """Initialize the weights, those of the last layer to zero."""
        super().initialize_module()
        nn.init.zeros_(self.module_.last.weight)
        nn.init.zeros_(self.module_.last.bias)
        return self

    def _explain_divergence(self, loss):
        """Return the message for a loss that is not finite."""
        if len(self.history) == 1 and len(self.history[-1, "batches"]) == 1:
            return (
                f"The training loss is {loss} before the first step of training, so X contains NaN, infinite or very large "
                f"values. Remove these windows, or clip them with RobustChannelScaler(clip=20)."
            )
        return super()._explain_divergence(loss)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Compute the loss of masked values."""
        return self.criterion_(y_pred, *y_true)

    @allowed_threads()
    @torch.no_grad()
    def measure(self, dataset):
        """Return the mean loss of all windows, normalized within batches.

        The stored statistics are those of complete windows.
        """
        total = count = 0.0
        with self._normalize_by_batch(update=False):
            for rows in split_rows_into_chunks(np.arange(len(dataset)), self.batch_size):
                inputs, (targets, mask) = dataset.__getitems__(rows)
                n_masked = int(mask.sum())
                total += self.criterion_(self.infer(inputs), targets, mask).item() * n_masked
                count += n_masked
        return total / max(count, 1)

    @allowed_threads()
    @torch.no_grad()
    def normalize_complete(self, brain):
        """Compute statistics of batch normalization on complete windows."""
        rows = np.unique(np.linspace(0, len(brain) - 1, min(len(brain), MOST)).astype(int))
        with self._normalize_by_batch(update=True) as layers:
            for layer in layers:
                layer.reset_running_stats()
            for part in split_rows_into_chunks(rows, self.batch_size):
                self.module_.latent(**brain.inputs(part))

    @contextmanager
    def _normalize_by_batch(self, update):
        """Normalize by statistics of the batch, without dropout.

        If ``update``, the stored statistics become their cumulative average.
        Otherwise they are not touched, not even by batches with NaN.
        """
        layers = [part for part in self.module_.modules() if isinstance(part, nn.BatchNorm2d)]
        former = [layer.momentum for layer in layers]
        self.module_.eval()
        for layer in layers:
            layer.momentum, layer.track_running_stats = None, update
            layer.train()
        try:
            yield layers
        finally:
            for layer, before in zip(layers, former, strict=True):
                layer.momentum, layer.track_running_stats = before, True
            self.module_.eval()

    @allowed_threads()
    @torch.no_grad()
    def embed_latent(self, inputs):
        """Return the latent channels of complete windows, float32."""
        self.module_.eval()
        with self._autocast():
            return self.module_.latent(**inputs).float()
