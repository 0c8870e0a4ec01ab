"""Loss modules, with the parameters that are learned with them.

References
----------
.. [1] Radford et al. 2021, ICML, arXiv:2103.00020.
"""

import math

import torch
from torch import Tensor, nn

from sk_b2s.metrics._similarity import weighted_norms
from sk_b2s.nn.functional import clip_loss, mse_loss, siglip_loss, symmetric_clip_loss

LARGEST_SCALE = 100.0  # of a learned temperature, as in CLIP [1]_: beyond it training is unstable


class _Loss(nn.Module):
    """A loss that carries the frames' weights, and what it learns, to the device it runs on.

    Parameters
    ----------
    weights : array-like, shape (n_frames,), or None
        Steps in each frame.
    duplicates : {"keep", "mask", "positive"}
        What a segment is where another window of the batch heard it too: wrong, left out or right.
        Regression does not read it.
    """

    weights: Tensor | None

    def __init__(self, weights: Tensor | None = None, duplicates: str = "keep") -> None:
        super().__init__()
        self.duplicates = duplicates
        weights = None if weights is None else torch.as_tensor(weights)
        self.register_buffer("weights", weights, persistent=False)

    def as_compared(self, Z: Tensor) -> Tensor:
        """Give estimates the length at which their similarities are this loss's logits."""
        return Z


class ClipLoss(_Loss):
    """The loss :func:`clip_loss` as a module.

    Parameters
    ----------
    weights : array-like, shape (n_frames,), or None
        Steps in each frame.
    duplicates : {"keep", "mask", "positive"}
        What the other copies of a window's segment are.

    Shape:
        - Z: `(n_windows, n_features, n_frames)`
        - Y: `(n_segments, n_features, n_frames)`
        - target: `(n_windows,)` int64, row of Y for each window
        - Output: `()`

    Examples
    --------
    >>> ClipLoss([3, 2])(torch.rand(8, 120, 2), torch.rand(8, 120, 2)).shape
    torch.Size([])
    """

    def forward(self, Z: Tensor, Y: Tensor, target: Tensor | None = None) -> Tensor:
        """Return the loss of a batch."""
        return clip_loss(Z, Y, self.weights, target, self.duplicates)


class _CosineLoss(_Loss):
    """A loss on cosines that learns how sharply to read them."""

    first_scale: float

    def __init__(self, weights: Tensor | None = None, duplicates: str = "keep") -> None:
        super().__init__(weights, duplicates)
        self.log_scale = nn.Parameter(torch.tensor(math.log(self.first_scale)))

    def scale(self) -> Tensor:
        """Return one over the temperature; in training it is kept from growing beyond 100."""
        if self.training:
            with torch.no_grad():  # in place, so that the gradient can bring it back
                self.log_scale.clamp_(max=math.log(LARGEST_SCALE))
        return self.log_scale.exp()

    def as_compared(self, Z: Tensor) -> Tensor:
        """Give estimates the length at which their similarities are this loss's logits."""
        scale = self.log_scale.exp() / (1e-8 + weighted_norms(Z, self.weights))
        return Z * scale.reshape(-1, *[1] * (Z.ndim - 1))


class SymmetricClipLoss(_CosineLoss):
    """The loss :func:`symmetric_clip_loss` as a module that learns its temperature, at first 0.07.

    Parameters
    ----------
    weights : array-like, shape (n_frames,), or None
        Steps in each frame.
    duplicates : {"keep", "mask", "positive"}
        What the other copies of a window's segment are.

    Attributes
    ----------
    log_scale : Parameter
        Logarithm of one over the temperature.

    Shape:
        - Z: `(n_windows, n_features, n_frames)`
        - Y: `(n_segments, n_features, n_frames)`
        - target: `(n_windows,)` int64, row of Y for each window
        - Output: `()`

    Examples
    --------
    >>> SymmetricClipLoss([3, 2])(torch.rand(8, 120, 2), torch.rand(8, 120, 2)).shape
    torch.Size([])
    """

    first_scale = 1 / 0.07

    def forward(self, Z: Tensor, Y: Tensor, target: Tensor | None = None) -> Tensor:
        """Return the loss of a batch."""
        return symmetric_clip_loss(Z, Y, self.weights, target, self.duplicates, self.scale())


class SigLIPLoss(_CosineLoss):
    """The loss :func:`siglip_loss` as a module that learns its temperature, at first 0.1, and bias, -10.

    Parameters
    ----------
    weights : array-like, shape (n_frames,), or None
        Steps in each frame.
    duplicates : {"keep", "mask", "positive"}
        What the other copies of a window's segment are.

    Attributes
    ----------
    log_scale : Parameter
        Logarithm of one over the temperature.
    bias : Parameter
        Added to every logit.

    Shape:
        - Z: `(n_windows, n_features, n_frames)`
        - Y: `(n_segments, n_features, n_frames)`
        - target: `(n_windows,)` int64, row of Y for each window
        - Output: `()`

    Examples
    --------
    >>> SigLIPLoss([3, 2])(torch.rand(8, 120, 2), torch.rand(8, 120, 2)).shape
    torch.Size([])
    """

    first_scale = 10.0

    def __init__(self, weights: Tensor | None = None, duplicates: str = "keep") -> None:
        super().__init__(weights, duplicates)
        self.bias = nn.Parameter(torch.tensor(-10.0))

    def forward(self, Z: Tensor, Y: Tensor, target: Tensor | None = None) -> Tensor:
        """Return the loss of a batch."""
        return siglip_loss(Z, Y, self.weights, target, self.duplicates, self.scale(), self.bias)


class MSELoss(_Loss):
    """The loss :func:`mse_loss` as a module.

    Parameters
    ----------
    weights : array-like, shape (n_frames,), or None
        Steps in each frame.
    duplicates : {"keep", "mask", "positive"}
        Not read: a pair does not know of the others.

    Shape:
        - Z: `(n_windows, n_features, n_frames)`
        - Y: `(n_segments, n_features, n_frames)`
        - target: `(n_windows,)` int64, row of Y for each window
        - Output: `()`

    Examples
    --------
    >>> MSELoss([3, 2])(torch.rand(8, 120, 2), torch.rand(8, 120, 2)).shape
    torch.Size([])
    """

    def forward(self, Z: Tensor, Y: Tensor, target: Tensor | None = None) -> Tensor:
        """Return the loss of a batch."""
        return mse_loss(Z, Y, self.weights, target)


LOSSES = {"clip": ClipLoss, "symmetric_clip": SymmetricClipLoss, "siglip": SigLIPLoss, "mse": MSELoss}
