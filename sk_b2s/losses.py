"""Losses over pairs of estimates and speech, on the similarity that scoring uses.

References
----------
.. [1] Défossez et al. 2023, Nat. Mach. Intell. 5:1097, doi:10.1038/s42256-023-00714-5.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .metrics import similarity

__all__ = ["LOSSES", "ClipLoss", "MSELoss", "clip_loss", "mse_loss", "retrieval_cross_entropy"]


def retrieval_cross_entropy(scores: Tensor, target: Tensor) -> Tensor:
    r"""Cross-entropy of picking each window's right candidate from its scores.

    .. math:: -\frac{1}{n} \sum_i \log \frac{\exp s_{i,t(i)}}{\sum_o \exp s_{io}}

    with :math:`t` the target. Unlike in :func:`clip_loss` each window names its own column, so that
    several windows, of several people, can share a candidate.

    Parameters
    ----------
    scores : Tensor, shape (n_windows, n_candidates)
        As :func:`sk_b2s.metrics.similarity` gives them.
    target : Tensor of int64, shape (n_windows,)
        Column of each window's right candidate.

    Returns
    -------
    loss : Tensor, shape ()
        In nats; log(n_candidates) where the scores say nothing. In float32 or float64.

    Examples
    --------
    >>> retrieval_cross_entropy(torch.zeros(3, 10), torch.tensor([4, 4, 0]))
    tensor(2.3026)
    """
    return F.cross_entropy(scores.to(_at_least_float32(scores)), target)


def clip_loss(Z: Tensor, Y: Tensor, weights: Tensor | None = None) -> Tensor:
    r"""Contrastive loss of the paper [1]_: each window must pick its own sound among the batch's.

    .. math:: -\frac{1}{n} \sum_i \log \frac{\exp s_{ii}}{\sum_o \exp s_{io}}

    with :math:`s` the :func:`~sk_b2s.metrics.similarity`. There is a softmax over candidates only,
    not over windows, and no temperature: estimates are not normalised, so their length takes its
    place. Two windows of one sound in a batch count as each other's negatives.

    Parameters
    ----------
    Z : Tensor, shape (n_windows, n_features) or (n_windows, n_features, n_frames)
        Estimates.
    Y : Tensor, shaped as Z
        Speech features of the same windows.
    weights : Tensor, shape (n_frames,), or None
        Steps in each frame (:func:`sk_b2s.frames.frame_weights`).

    Returns
    -------
    loss : Tensor, shape ()
        In nats; log(n_windows) where the estimates say nothing. In float32 or float64, also within
        ``torch.autocast``.

    Raises
    ------
    ValueError
        If Z and Y are not shaped alike.

    Examples
    --------
    >>> clip_loss(torch.zeros(8, 120, 343), torch.rand(8, 120, 343))
    tensor(2.0794)
    """
    _check_pairs(Z, Y)
    return retrieval_cross_entropy(similarity(Z, Y, weights), torch.arange(len(Z), device=Z.device))


def mse_loss(Z: Tensor, Y: Tensor, weights: Tensor | None = None) -> Tensor:
    r"""Mean squared error, each frame weighed by its steps: the paper's regression baseline.

    .. math:: \frac{1}{n F \sum_j w_j} \sum_{ifj} w_j (z_{ifj} - y_{ifj})^2

    On pooled frames this is a loss of its own. It leaves out how far steps stray from their frame's
    mean, so it is lower than the error of unpooled estimates against repeated features.

    Parameters
    ----------
    Z : Tensor, shape (n_windows, n_features) or (n_windows, n_features, n_frames)
        Estimates.
    Y : Tensor, shaped as Z
        Speech features of the same windows.
    weights : Tensor, shape (n_frames,), or None
        Steps in each frame (:func:`sk_b2s.frames.frame_weights`).

    Returns
    -------
    loss : Tensor, shape ()
        In float32 or float64.

    Raises
    ------
    ValueError
        If Z and Y are not shaped alike, or weights do not match the frames.

    Examples
    --------
    >>> mse_loss(torch.zeros(8, 120, 2), torch.ones(8, 120, 2), torch.tensor([3, 2]))
    tensor(1.)
    """
    _check_pairs(Z, Y)
    errors = (Z.to(_at_least_float32(Z)) - Y.to(_at_least_float32(Y))).square()
    if weights is None:
        return errors.mean()
    by_frame = errors.mean((0, 1)).reshape(-1)
    weights = torch.as_tensor(weights).to(by_frame)
    if weights.shape != by_frame.shape:
        raise ValueError(
            f"weights must have one entry for each of {len(by_frame)} frames; "
            f"got shape {tuple(weights.shape)}."
        )
    return (by_frame * weights).sum() / weights.sum()


class _WeightedLoss(nn.Module):
    """A loss that carries the frames' weights to the device it runs on."""

    weights: Tensor | None

    def __init__(self, weights: Tensor | None = None) -> None:
        super().__init__()
        weights = None if weights is None else torch.as_tensor(weights)
        self.register_buffer("weights", weights, persistent=False)


class ClipLoss(_WeightedLoss):
    """The loss :func:`clip_loss` as a module.

    Parameters
    ----------
    weights : array-like, shape (n_frames,), or None
        Steps in each frame.

    Shape:
        - Z, Y: `(n_windows, n_features, n_frames)`
        - Output: `()`

    Examples
    --------
    >>> ClipLoss([3, 2])(torch.rand(8, 120, 2), torch.rand(8, 120, 2)).shape
    torch.Size([])
    """

    def forward(self, Z: Tensor, Y: Tensor) -> Tensor:
        """Return the loss of a batch of pairs."""
        return clip_loss(Z, Y, self.weights)


class MSELoss(_WeightedLoss):
    """The loss :func:`mse_loss` as a module.

    Parameters
    ----------
    weights : array-like, shape (n_frames,), or None
        Steps in each frame.

    Shape:
        - Z, Y: `(n_windows, n_features, n_frames)`
        - Output: `()`

    Examples
    --------
    >>> MSELoss([3, 2])(torch.rand(8, 120, 2), torch.rand(8, 120, 2)).shape
    torch.Size([])
    """

    def forward(self, Z: Tensor, Y: Tensor) -> Tensor:
        """Return the loss of a batch of pairs."""
        return mse_loss(Z, Y, self.weights)


LOSSES = {"clip": ClipLoss, "mse": MSELoss}


def _at_least_float32(A: Tensor) -> torch.dtype:
    """Return the type to compute in."""
    return torch.promote_types(A.dtype, torch.float32)


def _check_pairs(Z: Tensor, Y: Tensor) -> None:
    """Raise unless row i of one belongs to row i of the other."""
    if Z.shape != Y.shape:
        raise ValueError(
            "Z and Y must be pairs, shaped (n_windows, n_features, n_frames) alike; "
            f"got {tuple(Z.shape)} and {tuple(Y.shape)}."
        )
