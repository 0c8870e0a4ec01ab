"""Loss functions over estimates and speech features.

A batch is n estimates and the *distinct* segments that were heard, with ``target`` naming the row of
each window's own: nobody's sound is repeated because several people heard it. Where it was, the
``DUPLICATES`` of the loss decide what the other windows' copies are to window i:

============ ===========================================================================
"keep"       wrong answers, as in the paper
"mask"       neither right nor wrong, left out
"positive"   right answers too
============ ===========================================================================

References
----------
.. [1] Défossez et al. 2023, Nat. Mach. Intell. 5:1097, doi:10.1038/s42256-023-00714-5.
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
    r"""Cross-entropy of picking each window's right candidate from its scores.

    .. math:: -\frac{1}{n} \sum_i \log \frac{\exp s_{i,t(i)}}{\sum_o \exp s_{io}}

    with :math:`t` the target. Unlike in :func:`clip_loss` a candidate stands there once, however
    many windows of the batch share it.

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


def calibrated_cross_entropy(scores: Tensor, target: Tensor, n_steps: int = 40) -> tuple[Tensor, Tensor]:
    r"""Cross-entropy of the scores at the temperature that suits them best.

    .. math:: \min_{\beta \ge 0} -\frac{1}{n} \sum_i
        \log \frac{\exp \beta s_{i,t(i)}}{\sum_o \exp \beta s_{io}}

    Unlike :func:`retrieval_cross_entropy` it does not care how long the estimates are, so it compares
    losses that leave their length open, and does not punish a ranking that grows too sure of itself.
    Convex in :math:`\beta`; the root of its slope is found by Newton steps within a bracket.

    Parameters
    ----------
    scores : Tensor, shape (n_windows, n_candidates)
        As :func:`sk_b2s.metrics.similarity` gives them.
    target : Tensor of int64, shape (n_windows,)
        Column of each window's right candidate.
    n_steps : int
        Most steps taken. Scores that rank every window right have no best temperature, and end at
        the highest one tried.

    Returns
    -------
    loss : Tensor, shape ()
        Never above log(n_candidates).
    scale : Tensor, shape ()
        The best :math:`\beta`.

    Examples
    --------
    >>> scores, target = torch.tensor([[8.0, 0], [8, 0], [8, 0]]), torch.tensor([0, 0, 1])
    >>> loss, scale = calibrated_cross_entropy(scores, target)  # right in two of three
    >>> round(loss.item(), 4), round((8 * scale).exp().item(), 3)
    (0.6365, 2.0)
    """
    scores = scores.detach().to(_at_least_float32(scores))
    margins = scores - scores.gather(1, target[:, None])
    largest = margins.abs().max()
    if margins.mean() >= 0 or not largest > 0:  # the slope at zero: the right ones score below average
        return margins.new_tensor(math.log(margins.shape[1])), margins.new_tensor(0.0)
    margins /= largest  # first, lest squares overflow or vanish
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
    r"""Cosine of each estimate with each candidate, frames weighed by their steps.

    .. math:: c_{io} = \frac{\langle z_i, y_o \rangle_w}{|z_i|_w |y_o|_w},
        \qquad \langle z, y \rangle_w = \sum_j w_j \langle z_j, y_j \rangle

    This is the :func:`~sk_b2s.metrics.similarity` over the length of the estimate, so it orders the
    candidates of a window in the same way. The length is that of the frames' means, without how
    far steps stray from them.

    Parameters
    ----------
    Z : Tensor, shape (n_windows, n_features) or (n_windows, n_features, n_frames)
        Estimates.
    Y : Tensor, shape (n_candidates, n_features) or (n_candidates, n_features, n_frames)
        Candidates.
    weights : Tensor, shape (n_frames,), or None
        Steps in each frame.

    Returns
    -------
    cosines : Tensor, shape (n_windows, n_candidates)
        From -1 to 1, zero where one of the two is. In float32 or float64.

    Examples
    --------
    >>> cosine(torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.3, 0.4]]))
    tensor([[0.6000, 1.0000]])
    """
    scores = similarity(Z, Y, weights)  # it checks the shapes
    return scores / (1e-8 + weighted_norms(Z, weights))[:, None]


def clip_loss(
    Z: Tensor,
    Y: Tensor,
    weights: Tensor | None = None,
    target: Tensor | None = None,
    duplicates: str = "keep",
) -> Tensor:
    r"""Contrastive loss of the paper [1]_: each window must pick its own sound among the batch's.

    .. math:: -\frac{1}{n} \sum_i \log \frac{\sum_{j \in P_i} \exp s_{ij}}
                                            {\sum_{j \in P_i \cup N_i} \exp s_{ij}}

    with :math:`s_{ij}` the :func:`~sk_b2s.metrics.similarity` of window i and the sound of window j,
    :math:`P_i` the right and :math:`N_i` the wrong answers. There is a softmax over candidates only,
    not over windows, and no temperature: estimates are not normalized, so their length takes its
    place.

    Equal sounds score equally, so "positive" is "keep" less the logarithm of their number: only
    "mask" trains otherwise. (The mean over the right answers' logarithms would be "keep" itself.)

    Parameters
    ----------
    Z : Tensor, shape (n_windows, n_features) or (n_windows, n_features, n_frames)
        Estimates.
    Y : Tensor, shape (n_segments, n_features) or (n_segments, n_features, n_frames)
        Speech features of the distinct segments.
    weights : Tensor, shape (n_frames,), or None
        Steps in each frame (:func:`sk_b2s.metrics._frames.frame_weights`).
    target : Tensor of int64, shape (n_windows,), or None
        Row of Y that each window heard. None if row i of one is that of row i of the other.
    duplicates : {"keep", "mask", "positive"}
        What a segment is where another window of the batch heard it too: wrong, left out or right.

    Returns
    -------
    loss : Tensor, shape ()
        In nats; log(n_windows) where the estimates say nothing. In float32 or float64, also within
        ``torch.autocast``.

    Raises
    ------
    ValueError
        If Z, Y and target do not belong together.

    Examples
    --------
    >>> clip_loss(torch.zeros(8, 120, 343), torch.rand(8, 120, 343))
    tensor(2.0794)
    """
    target = _check_pairs(Z, Y, target)
    return _pick(select(similarity(Z, Y, weights), target, dim=1), *_answers(target, duplicates))


def symmetric_clip_loss(
    Z: Tensor,
    Y: Tensor,
    weights: Tensor | None = None,
    target: Tensor | None = None,
    duplicates: str = "keep",
    scale: Tensor | float = 1 / 0.07,
) -> Tensor:
    r"""Contrastive loss of CLIP [2]_: windows pick sounds, and sounds pick windows.

    .. math:: \tfrac{1}{2} \ell(\beta c) + \tfrac{1}{2} \ell(\beta c^\top)

    with :math:`\ell` the formula of :func:`clip_loss` and :math:`c_{ij}` the :func:`cosine` of window
    i and the sound of window j. Where sounds pick windows, "positive" sums the probabilities of all
    windows that heard them, which differ.

    Parameters
    ----------
    Z, Y, weights, target, duplicates
        As in :func:`clip_loss`.
    scale : Tensor or float
        :math:`\beta`, one over the temperature.

    Returns
    -------
    loss : Tensor, shape ()
        In nats; log(n_windows) where all cosines are equal. In float32 or float64, also within
        ``torch.autocast``.

    Raises
    ------
    ValueError
        If Z, Y and target do not belong together.

    Examples
    --------
    >>> symmetric_clip_loss(torch.ones(8, 120, 2), torch.ones(8, 120, 2))
    tensor(2.0794)
    """
    target = _check_pairs(Z, Y, target)
    logits = scale * select(cosine(Z, Y, weights), target, dim=1)
    answers = _answers(target, duplicates)
    return (_pick(logits, *answers) + _pick(logits.T, *answers)) / 2


def siglip_loss(
    Z: Tensor,
    Y: Tensor,
    weights: Tensor | None = None,
    target: Tensor | None = None,
    duplicates: str = "keep",
    scale: Tensor | float = 10.0,
    bias: Tensor | float = -10.0,
) -> Tensor:
    r"""Pairwise loss of SigLIP [3]_: for each window and sound, whether they belong together.

    .. math:: -\frac{1}{n} \sum_i \left( \sum_{j \in P_i} \log \sigma(\beta c_{ij} + b)
              + \sum_{j \in N_i} \log \sigma(-\beta c_{ij} - b) \right)

    with :math:`c_{ij}` the :func:`cosine` of window i and the sound of window j. Unlike in
    :func:`clip_loss` pairs do not compete. With "positive" this is the de-duplicated loss of [4]_.

    Parameters
    ----------
    Z, Y, weights, target, duplicates
        As in :func:`clip_loss`.
    scale : Tensor or float
        :math:`\beta`, one over the temperature.
    bias : Tensor or float
        :math:`b`, below zero as most pairs do not belong together.

    Returns
    -------
    loss : Tensor, shape ()
        In nats, a sum over n_windows candidates; 0 at best. In float32 or float64, also within
        ``torch.autocast``.

    Raises
    ------
    ValueError
        If Z, Y and target do not belong together.

    Examples
    --------
    >>> siglip_loss(torch.zeros(8, 120, 2), torch.rand(8, 120, 2), scale=1, bias=0) / 8
    tensor(0.6931)
    """
    target = _check_pairs(Z, Y, target)
    logits = scale * select(cosine(Z, Y, weights), target, dim=1) + bias
    right, wrong = _answers(target, duplicates)
    signs = right.to(logits.dtype) - wrong.to(logits.dtype)
    return -(F.logsigmoid(signs * logits) * (right | wrong)).sum() / len(Z)


def mse_loss(Z: Tensor, Y: Tensor, weights: Tensor | None = None, target: Tensor | None = None) -> Tensor:
    r"""Mean squared error, each frame weighed by its steps: the paper's regression baseline.

    .. math:: \frac{1}{n F \sum_j w_j} \sum_{ifj} w_j (z_{ifj} - y_{ifj})^2

    On pooled frames this is a loss of its own. It leaves out how far steps stray from their frame's
    mean, so it is lower than the error of unpooled estimates against repeated features.

    Parameters
    ----------
    Z, Y, weights, target
        As in :func:`clip_loss`.

    Returns
    -------
    loss : Tensor, shape ()
        In float32 or float64.

    Raises
    ------
    ValueError
        If Z, Y and target do not belong together, or weights do not match the frames.

    Examples
    --------
    >>> mse_loss(torch.zeros(8, 120, 2), torch.ones(8, 120, 2), torch.tensor([3, 2]))
    tensor(1.)
    """
    Y = select(Y, _check_pairs(Z, Y, target))
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


# --- parts ------------------------------------------------------------------------------------------


def _at_least_float32(A: Tensor) -> torch.dtype:
    """Return the type to compute in."""
    return torch.promote_types(A.dtype, torch.float32)


def _check_pairs(Z: Tensor, Y: Tensor, target: Tensor | None) -> Tensor:
    """Return the row of Y for each row of Z, or raise where that is not clear."""
    if target is None:
        if Z.shape != Y.shape:
            raise ValueError(
                "Z and Y must be pairs, shaped (n_windows, n_features, n_frames) alike, or target say which "
                f"row of Y each window heard; got {tuple(Z.shape)} and {tuple(Y.shape)}."
            )
        return torch.arange(len(Z), device=Z.device)
    if Z.shape[1:] != Y.shape[1:] or target.shape != Z.shape[:1]:
        raise ValueError(
            "Z and Y must agree in (n_features, n_frames), and target have an entry for each window; "
            f"got {tuple(Z.shape)}, {tuple(Y.shape)} and {tuple(target.shape)}."
        )
    return target


def _answers(target: Tensor, duplicates: str) -> tuple[Tensor, Tensor]:
    """Tell which windows' sounds are right and which are wrong for each window: (n_windows, n_windows)."""
    if duplicates not in DUPLICATES:
        raise ValueError(f"duplicates must be one of {DUPLICATES}; got {duplicates!r}.")
    same = target[:, None] == target
    own = torch.eye(len(target), dtype=torch.bool, device=target.device)
    right = same if duplicates == "positive" else own
    return right, ~own if duplicates == "keep" else ~same


def _pick(logits: Tensor, right: Tensor, wrong: Tensor) -> Tensor:
    """Cross-entropy of picking any right answer among all that are right or wrong."""
    among = logits.masked_fill(~(right | wrong), -math.inf).logsumexp(1)
    return (among - logits.masked_fill(~right, -math.inf).logsumexp(1)).mean()


def select(source: Tensor, index: Tensor, dim: int = 0) -> Tensor:
    """Select entries along an axis, with a gradient that equal inputs repeat to the bit.

    The gradient of a selection adds up what belongs to each entry. ``source[index]`` adds by atomic operations of
    several threads on a CPU, in an order that differs from run to run, and sorts first on a GPU. ``index_select`` is
    the opposite: it adds in order on a CPU, and by atomic operations on a GPU. So each device gets the form that is
    deterministic there, as the documentation of ``torch.use_deterministic_algorithms`` lists them, and no global flag
    has to be set.

    Parameters
    ----------
    source : Tensor
    index : Tensor of int64, shape (n,)
        From 0 up.
    dim : int
        The axis.

    Returns
    -------
    selected : Tensor
        Like ``source``, with ``n`` entries along the axis.

    Examples
    --------
    >>> import torch
    >>> select(torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([2, 0, 2]), dim=1)
    tensor([[3, 1, 3],
            [6, 4, 6]])
    """
    if source.device.type == "cpu":
        return source.index_select(dim, index)
    return source[(slice(None),) * dim + (index,)]
