"""Loss functions of estimates and speech features.

A batch has n estimates and the *distinct* target segments. ``target`` is the
row of the segment of each window, so a stimulus of several subjects is not
repeated. ``DUPLICATES`` of a loss define the role of other windows with the
same segment for window i:

============ ==============================================
"keep"       negatives, as in the paper
"mask"       excluded
"positive"   positives
============ ==============================================

References
----------
.. [1] Défossez et al. 2023, Nat. Mach. Intell. 5:1097,
   doi:10.1038/s42256-023-00714-5.
.. [2] Radford et al. 2021, ICML, arXiv:2103.00020.
.. [3] Zhai et al. 2023, ICCV, arXiv:2303.15343.
.. [4] d'Ascoli et al. 2025, Nat. Commun., arXiv:2412.17829.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from sk_b2s.metrics._similarity import similarity, weighted_norms

__all__ = [
    "DUPLICATES",
    "calibrated_cross_entropy",
    "clip_loss",
    "cosine",
    "mse_loss",
    "retrieval_cross_entropy",
    "select",
    "siglip_loss",
    "symmetric_clip_loss",
]

DUPLICATES = ("keep", "mask", "positive")


# --- from scores ------------------------------------------------------------------------------------


def retrieval_cross_entropy(scores: Tensor, target: Tensor) -> Tensor:
    r"""Compute the cross-entropy of choosing the target of each window.

    .. math:: -\frac{1}{n} \sum_i \log
        \frac{\exp s_{i,t(i)}}{\sum_o \exp s_{io}}

    with :math:`t` the target. Unlike in :func:`clip_loss`, each candidate
    counts once, independent of the number of windows that share it.

    Parameters
    ----------
    scores : Tensor, shape (n_windows, n_candidates)
        Result of :func:`sk_b2s.metrics.similarity`.
    target : Tensor of int64, shape (n_windows,)
        Column of the target of each window.

    Returns
    -------
    loss : Tensor, shape ()
        In nats, log(n_candidates) for equal scores. float32 or float64.

    Examples
    --------
    >>> scores = torch.zeros(3, 10)
    >>> retrieval_cross_entropy(scores, torch.tensor([4, 4, 0]))
    tensor(2.3026)
    """
    return F.cross_entropy(scores.to(_convert_to_float32_or_more(scores)), target)


def calibrated_cross_entropy(scores: Tensor, target: Tensor, n_steps: int = 40) -> tuple[Tensor, Tensor]:
    r"""Compute the cross-entropy at the best temperature of the scores.

    .. math:: \min_{\beta \ge 0} -\frac{1}{n} \sum_i
        \log \frac{\exp \beta s_{i,t(i)}}{\sum_o \exp \beta s_{io}}

    Unlike :func:`retrieval_cross_entropy`, it does not depend on the norm of
    the estimates. So it compares losses that do not define the norm, and does
    not penalize overconfident scores. It is convex in :math:`\beta`. The root
    of its derivative is found by Newton steps within a bracket.

    Parameters
    ----------
    scores : Tensor, shape (n_windows, n_candidates)
        Result of :func:`sk_b2s.metrics.similarity`.
    target : Tensor of int64, shape (n_windows,)
        Column of the target of each window.
    n_steps : int
        Largest number of steps. If all windows are ranked correctly, there is
        no best temperature, and the highest one tried is returned.

    Returns
    -------
    loss : Tensor, shape ()
        Never above log(n_candidates).
    scale : Tensor, shape ()
        The best :math:`\beta`.

    Examples
    --------
    Scores that are right for two of three windows:

    >>> scores = torch.tensor([[8.0, 0], [8, 0], [8, 0]])
    >>> loss, scale = calibrated_cross_entropy(scores, torch.tensor([0, 0, 1]))
    >>> round(loss.item(), 4), round((8 * scale).exp().item(), 3)
    (0.6365, 2.0)
    """
    scores = scores.detach().to(_convert_to_float32_or_more(scores))
    margins = scores - scores.gather(1, target[:, None])
    largest = margins.abs().max()
    if margins.mean() >= 0 or not largest > 0:  # the slope at zero: targets score below average
        return margins.new_tensor(math.log(margins.shape[1])), margins.new_tensor(0.0)
    margins /= largest  # first, so that squares do not overflow or underflow
    unit = margins.square().mean().sqrt()
    margins /= unit
    low, high, scale = 0.0, math.inf, 1.0
    for _ in range(n_steps):
        chances = torch.softmax(scale * margins, dim=1)
        means = (chances * margins).sum(1)
        slope = means.mean().item()
        curvature = ((chances * margins.square()).sum(1) - means.square()).mean().item()
        low, high = (scale, high) if slope < 0 else (low, scale)
        beyond = min(2 * high - low, 4 * scale) if math.isinf(high) else high
        newton = scale - slope / curvature if curvature > 0 else math.inf
        following = newton if low < newton < beyond else (low + beyond) / 2
        if abs(following - scale) <= 1e-4 * scale:
            break
        scale = following
    loss = torch.logsumexp(scale * margins, dim=1).mean()
    return loss, scale / unit / largest


# --- from pairs -------------------------------------------------------------------------------------


def cosine(Z: Tensor, Y: Tensor, weights: Tensor | None = None) -> Tensor:
    r"""Compute the cosine of each estimate and candidate, weighted by frames.

    .. math:: c_{io} = \frac{\langle z_i, y_o \rangle_w}{|z_i|_w |y_o|_w},
        \qquad \langle z, y \rangle_w = \sum_j w_j \langle z_j, y_j \rangle

    This is the :func:`~sk_b2s.metrics.similarity` divided by the norm of the
    estimate, so the order of candidates is the same. The norm is that of frame
    means, without the variation of samples within frames.

    Parameters
    ----------
    Z : Tensor, shape (n_windows, n_features[, n_frames])
        Estimates.
    Y : Tensor, shape (n_candidates, n_features[, n_frames])
        Candidates.
    weights : Tensor, shape (n_frames,), or None
        Number of samples in each frame.

    Returns
    -------
    cosines : Tensor, shape (n_windows, n_candidates)
        From -1 to 1, zero if an estimate or candidate is zero. float32 or
        float64.

    Examples
    --------
    >>> Y = torch.tensor([[1.0, 0.0], [0.3, 0.4]])
    >>> cosine(torch.tensor([[3.0, 4.0]]), Y)
    tensor([[0.6000, 1.0000]])
    """
    scores = similarity(Z, Y, weights)  # this checks the shapes
    return scores / (1e-8 + weighted_norms(Z, weights))[:, None]


def clip_loss(
    Z: Tensor,
    Y: Tensor,
    weights: Tensor | None = None,
    target: Tensor | None = None,
    duplicates: str = "keep",
) -> Tensor:
    r"""Compute the contrastive loss of the paper [1]_.

    Each window must choose its segment among those of the batch:

    .. math:: -\frac{1}{n} \sum_i \log \frac{\sum_{j \in P_i} \exp s_{ij}}
        {\sum_{j \in P_i \cup N_i} \exp s_{ij}}

    with :math:`s_{ij}` the :func:`~sk_b2s.metrics.similarity` of window i and
    the segment of window j, and :math:`P_i` the positives and :math:`N_i` the
    negatives of window i. The softmax is over candidates only, not over
    windows. It has no temperature, because estimates are not normalized and
    their norm has the same effect.

    Equal segments have equal scores, so "positive" differs from "keep" only by
    the logarithm of their number, and only "mask" changes training. (The mean
    over logarithms of positives would be "keep" itself.)

    Parameters
    ----------
    Z : Tensor, shape (n_windows, n_features[, n_frames])
        Estimates.
    Y : Tensor, shape (n_segments, n_features[, n_frames])
        Speech features of the distinct segments.
    weights : Tensor, shape (n_frames,), or None
        Number of samples in each frame
        (:func:`sk_b2s.metrics._frames.frame_weights`).
    target : Tensor of int64, shape (n_windows,), or None
        Row of Y for each window. If None, rows of Z and Y are pairs.
    duplicates : {"keep", "mask", "positive"}
        Role of other windows with the same segment: negatives, excluded or
        positives.

    Returns
    -------
    loss : Tensor, shape ()
        In nats, log(n_windows) for equal scores. float32 or float64, also
        within ``torch.autocast``.

    Raises
    ------
    ValueError
        If the shapes of Z, Y and target do not match.

    Examples
    --------
    >>> clip_loss(torch.zeros(8, 120, 343), torch.rand(8, 120, 343))
    tensor(2.0794)
    """
    target = _check_loss_pairs(Z, Y, target)
    return _compute_positive_cross_entropy(
        select(similarity(Z, Y, weights), target, dim=1), *_make_loss_masks(target, duplicates)
    )


def symmetric_clip_loss(
    Z: Tensor,
    Y: Tensor,
    weights: Tensor | None = None,
    target: Tensor | None = None,
    duplicates: str = "keep",
    scale: Tensor | float = 1 / 0.07,
) -> Tensor:
    r"""Compute the contrastive loss of CLIP, in both directions [2]_.

    .. math:: \tfrac{1}{2} \ell(\beta c) + \tfrac{1}{2} \ell(\beta c^\top)

    with :math:`\ell` the formula of :func:`clip_loss` and :math:`c_{ij}` the
    :func:`cosine` of window i and the segment of window j. If segments choose
    windows, "positive" sums the probabilities of all windows of the segment.

    Parameters
    ----------
    Z, Y, weights, target, duplicates
        As in :func:`clip_loss`.
    scale : Tensor or float
        :math:`\beta`, the inverse temperature.

    Returns
    -------
    loss : Tensor, shape ()
        In nats, log(n_windows) for equal cosines. float32 or float64, also
        within ``torch.autocast``.

    Raises
    ------
    ValueError
        If the shapes of Z, Y and target do not match.

    Examples
    --------
    >>> symmetric_clip_loss(torch.ones(8, 120, 2), torch.ones(8, 120, 2))
    tensor(2.0794)
    """
    target = _check_loss_pairs(Z, Y, target)
    logits = scale * select(cosine(Z, Y, weights), target, dim=1)
    masks = _make_loss_masks(target, duplicates)
    return (
        _compute_positive_cross_entropy(logits, *masks) + _compute_positive_cross_entropy(logits.T, *masks)
    ) / 2


def siglip_loss(
    Z: Tensor,
    Y: Tensor,
    weights: Tensor | None = None,
    target: Tensor | None = None,
    duplicates: str = "keep",
    scale: Tensor | float = 10.0,
    bias: Tensor | float = -10.0,
) -> Tensor:
    r"""Compute the pairwise loss of SigLIP [3]_.

    Each pair of window and segment is classified as match or not:

    .. math:: -\frac{1}{n} \sum_i \left(
        \sum_{j \in P_i} \log \sigma(\beta c_{ij} + b)
        + \sum_{j \in N_i} \log \sigma(-\beta c_{ij} - b) \right)

    with :math:`c_{ij}` the :func:`cosine` of window i and the segment of
    window j. Unlike in :func:`clip_loss`, pairs are independent. With
    "positive" this is the de-duplicated loss of [4]_.

    Parameters
    ----------
    Z, Y, weights, target, duplicates
        As in :func:`clip_loss`.
    scale : Tensor or float
        :math:`\beta`, the inverse temperature.
    bias : Tensor or float
        :math:`b`, below zero because most pairs do not match.

    Returns
    -------
    loss : Tensor, shape ()
        In nats, a sum over n_windows candidates, at best 0. float32 or
        float64, also within ``torch.autocast``.

    Raises
    ------
    ValueError
        If the shapes of Z, Y and target do not match.

    Examples
    --------
    >>> Z, Y = torch.zeros(8, 120, 2), torch.rand(8, 120, 2)
    >>> siglip_loss(Z, Y, scale=1, bias=0) / 8
    tensor(0.6931)
    """
    target = _check_loss_pairs(Z, Y, target)
    logits = scale * select(cosine(Z, Y, weights), target, dim=1) + bias
    right, wrong = _make_loss_masks(target, duplicates)
    signs = right.to(logits.dtype) - wrong.to(logits.dtype)
    return -(F.logsigmoid(signs * logits) * (right | wrong)).sum() / len(Z)


def mse_loss(Z: Tensor, Y: Tensor, weights: Tensor | None = None, target: Tensor | None = None) -> Tensor:
    r"""Compute the mean squared error, with frames weighted by their samples.

    This is the regression baseline of the paper:

    .. math:: \frac{1}{n F \sum_j w_j} \sum_{ifj} w_j (z_{ifj} - y_{ifj})^2

    Estimates are frame means. The loss does not include the variation of
    samples within frames, so it is lower than the error of samples against
    repeated features.

    Parameters
    ----------
    Z, Y, weights, target
        As in :func:`clip_loss`.

    Returns
    -------
    loss : Tensor, shape ()
        float32 or float64.

    Raises
    ------
    ValueError
        If the shapes of Z, Y and target do not match, or weights do not match
        the frames.

    Examples
    --------
    >>> Z, Y = torch.zeros(8, 120, 2), torch.ones(8, 120, 2)
    >>> mse_loss(Z, Y, torch.tensor([3, 2]))
    tensor(1.)
    """
    Y = select(Y, _check_loss_pairs(Z, Y, target))
    errors = (Z.to(_convert_to_float32_or_more(Z)) - Y.to(_convert_to_float32_or_more(Y))).square()
    if weights is None:
        return errors.mean()
    by_frame = errors.mean((0, 1)).reshape(-1)
    weights = torch.as_tensor(weights).to(by_frame)
    if weights.shape != by_frame.shape:
        raise ValueError(
            f"weights must have one value for each of {len(by_frame)} frames. Got shape {tuple(weights.shape)} instead."
        )
    return (by_frame * weights).sum() / weights.sum()


# --- parts ------------------------------------------------------------------------------------------


def _convert_to_float32_or_more(A: Tensor) -> torch.dtype:
    """Return the dtype of the computation."""
    return torch.promote_types(A.dtype, torch.float32)


def _check_loss_pairs(Z: Tensor, Y: Tensor, target: Tensor | None) -> Tensor:
    """Return the row of Y for each row of Z, or raise."""
    if target is None:
        if Z.shape != Y.shape:
            raise ValueError(
                f"Z and Y must have the same shape (n_windows, n_features, n_frames), or target must have the row of Y "
                f"for each window. Got {tuple(Z.shape)} and {tuple(Y.shape)} instead."
            )
        return torch.arange(len(Z), device=Z.device)
    if Z.shape[1:] != Y.shape[1:] or target.shape != Z.shape[:1]:
        raise ValueError(
            f"Z and Y must have equal (n_features, n_frames), and target one value for each window. Got "
            f"{tuple(Z.shape)}, {tuple(Y.shape)} and {tuple(target.shape)} instead."
        )
    return target


def _make_loss_masks(target: Tensor, duplicates: str) -> tuple[Tensor, Tensor]:
    """Return the positives and negatives of each window as masks."""
    if duplicates not in DUPLICATES:
        raise ValueError(f"duplicates must be one of {DUPLICATES}. Got {duplicates!r} instead.")
    same = target[:, None] == target
    own = torch.eye(len(target), dtype=torch.bool, device=target.device)
    right = same if duplicates == "positive" else own
    return right, ~own if duplicates == "keep" else ~same


def _compute_positive_cross_entropy(logits: Tensor, right: Tensor, wrong: Tensor) -> Tensor:
    """Return the cross-entropy of choosing any positive."""
    among = logits.masked_fill(~(right | wrong), -math.inf).logsumexp(1)
    return (among - logits.masked_fill(~right, -math.inf).logsumexp(1)).mean()


def select(source: Tensor, index: Tensor, dim: int = 0) -> Tensor:
    """Select entries along an axis, with a deterministic gradient.

    The gradient of a selection is a sum for each entry. ``source[index]`` adds
    atomically from several threads on a CPU, in varying order, and sorts first
    on a GPU. ``index_select`` adds in order on a CPU, and atomically on a GPU.
    So each device uses the deterministic form listed by
    ``torch.use_deterministic_algorithms``, and no global flag is required.

    Parameters
    ----------
    source : Tensor
    index : Tensor of int64, shape (n,)
        Not negative.
    dim : int
        Axis.

    Returns
    -------
    selected : Tensor
        Like ``source``, with ``n`` entries along the axis.

    Examples
    --------
    >>> source = torch.tensor([[1, 2, 3], [4, 5, 6]])
    >>> select(source, torch.tensor([2, 0, 2]), dim=1)
    tensor([[3, 1, 3],
            [6, 4, 6]])
    """
    if source.device.type == "cpu":
        return source.index_select(dim, index)
    return source[(slice(None),) * dim + (index,)]
