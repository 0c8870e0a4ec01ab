"""Loss modules with their learned parameters.

References
----------
.. [1] Radford et al. 2021, ICML, arXiv:2103.00020.
"""

import math

import torch
from torch import Tensor, nn

from sk_b2s.metrics._similarity import weighted_norms
from sk_b2s.nn.functional import clip_loss, mse_loss, siglip_loss, symmetric_clip_loss

MAX_SCALE = 100.0  # of a learned temperature, as in CLIP [1]_: training is unstable beyond it


class _BaseLoss(nn.Module):
    """Base class of losses, with frame weights and rule for duplicates."""

    weights: Tensor | None

    def __init__(self, weights: Tensor | None = None, duplicates: str = "keep") -> None:
        super().__init__()
        self.duplicates = duplicates
        weights = None if weights is None else torch.as_tensor(weights)
        self.register_buffer("weights", weights, persistent=False)

    def as_compared(self, Z: Tensor) -> Tensor:
        """Scale estimates so that similarities are logits of this loss."""
        return Z


class ClipLoss(_BaseLoss):
    """Contrastive loss of the paper, :func:`~sk_b2s.nn.functional.clip_loss`.

    Parameters
    ----------
    weights : array-like, shape (n_frames,), or None
        Number of EEG/MEG samples in each frame.
    duplicates : {"keep", "mask", "positive"}
        Role of other windows of the batch with the same segment.

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
        """Compute the loss of a batch."""
        return clip_loss(Z, Y, self.weights, target, self.duplicates)


class _BaseCosineLoss(_BaseLoss):
    """Base class of losses on cosines, with a learned temperature."""

    first_scale: float

    def __init__(self, weights: Tensor | None = None, duplicates: str = "keep") -> None:
        super().__init__(weights, duplicates)
        self.log_scale = nn.Parameter(torch.tensor(math.log(self.first_scale)))

    def scale(self) -> Tensor:
        """Return the inverse temperature, limited in training."""
        if self.training:
            with torch.no_grad():  # in place, so that the gradient can reduce it again
                self.log_scale.clamp_(max=math.log(MAX_SCALE))
        return self.log_scale.exp()

    def as_compared(self, Z: Tensor) -> Tensor:
        """Scale estimates so that similarities are logits of this loss."""
        scale = self.log_scale.exp() / (1e-8 + weighted_norms(Z, self.weights))
        return Z * scale.reshape(-1, *[1] * (Z.ndim - 1))


class SymmetricClipLoss(_BaseCosineLoss):
    """CLIP loss in both directions with a learned temperature, initially 0.07.

    It is :func:`~sk_b2s.nn.functional.symmetric_clip_loss` as a module.

    Parameters
    ----------
    weights : array-like, shape (n_frames,), or None
        Number of EEG/MEG samples in each frame.
    duplicates : {"keep", "mask", "positive"}
        Role of other windows of the batch with the same segment.

    Attributes
    ----------
    log_scale : Parameter
        Logarithm of the inverse temperature.

    Shape:
        - Z: `(n_windows, n_features, n_frames)`
        - Y: `(n_segments, n_features, n_frames)`
        - target: `(n_windows,)` int64, row of Y for each window
        - Output: `()`

    Examples
    --------
    >>> loss = SymmetricClipLoss([3, 2])
    >>> loss(torch.rand(8, 120, 2), torch.rand(8, 120, 2)).shape
    torch.Size([])
    """

    first_scale = 1 / 0.07

    def forward(self, Z: Tensor, Y: Tensor, target: Tensor | None = None) -> Tensor:
        """Compute the loss of a batch."""
        return symmetric_clip_loss(Z, Y, self.weights, target, self.duplicates, self.scale())


class SigLIPLoss(_BaseCosineLoss):
    """Pairwise SigLIP loss with learned temperature and bias.

    It is :func:`~sk_b2s.nn.functional.siglip_loss` as a module. The initial
    temperature is 0.1, and the initial bias is -10.

    Parameters
    ----------
    weights : array-like, shape (n_frames,), or None
        Number of EEG/MEG samples in each frame.
    duplicates : {"keep", "mask", "positive"}
        Role of other windows of the batch with the same segment.

    Attributes
    ----------
    log_scale : Parameter
        Logarithm of the inverse temperature.
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
        """Compute the loss of a batch."""
        return siglip_loss(Z, Y, self.weights, target, self.duplicates, self.scale(), self.bias)


class MSELoss(_BaseLoss):
    """Mean squared error, :func:`~sk_b2s.nn.functional.mse_loss`.

    Parameters
    ----------
    weights : array-like, shape (n_frames,), or None
        Number of EEG/MEG samples in each frame.
    duplicates : {"keep", "mask", "positive"}
        Not used, present for API consistency by convention.

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
        """Compute the loss of a batch."""
        return mse_loss(Z, Y, self.weights, target)
