"""Exponential moving average of network weights during training."""

from __future__ import annotations

import torch


class WeightAverage:
    """Exponential moving average of the floating-point tensors of modules.

    The decay of step n is ``min(decay, (1 + n) / (10 + n))``, so that the
    first weights are soon forgotten.

    Parameters
    ----------
    decay : float
        Decay per step.

    Examples
    --------
    >>> weights, average = torch.zeros(1), WeightAverage(0.9)
    >>> for value in (1.0, 2.0):
    ...     average.update([weights.fill_(value)])
    >>> average.swap([weights])  # in place
    >>> weights
    tensor([1.7500])
    """

    def __init__(self, decay):
        self.decay, self.n_steps, self.other, self.is_swapped = decay, 0, None, False

    @torch.no_grad()
    def update(self, tensors):
        """Add the tensors after a step."""
        if self.other is None:
            self.other = [value.clone() for value in tensors]
        self.n_steps += 1
        decay = min(self.decay, (1 + self.n_steps) / (10 + self.n_steps))
        for mean, value in zip(self.other, tensors, strict=True):
            mean.lerp_(value, 1 - decay)

    @torch.no_grad()
    def swap(self, tensors):
        """Exchange the tensors for their average, or the average for them."""
        if self.other is None:
            return
        self.is_swapped = not self.is_swapped
        for mean, value in zip(self.other, tensors, strict=True):
            stored = value.clone()
            value.copy_(mean)
            mean.copy_(stored)
