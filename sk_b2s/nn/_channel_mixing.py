"""Spatial attention, subject layers and subject embeddings.

References
----------
.. [1] Défossez et al. 2023, Nat. Mach. Intell. 5:1097, doi:10.1038/s42256-023-00714-5.
"""

import math
import weakref
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from sk_b2s.nn.functional import select

HELD_BYTES = 2**26  # of an embedding that is held from step to step
WAY_OUT = "Give positions (in Epocher by montage=), or set spatial_attention=False."


def fourier_positions(positions: Tensor, dim: int = 2048) -> Tensor:
    """Embed sensor positions as the cosines and sines of two-dimensional waves.

    With n = sqrt(dim / 2) and k, l = 0 .. n - 1, the features are cos and sin of 2π(k x' + l y') /
    1.4, where x' = x + 0.2 and y' = y + 0.2: one period is the unit square with a margin of 0.2 on
    every side.

    Parameters
    ----------
    positions : Tensor, shape (..., 2)
        Positions in [0, 1]²; NaN gives NaN.
    dim : int
        Number of features, twice a square. More waves tell nearer sensors apart.

    Returns
    -------
    embedding : Tensor, shape (..., dim)
        All cosines, then all sines, ``l`` running fastest.

    Examples
    --------
    >>> fourier_positions(torch.rand(208, 2)).shape
    torch.Size([208, 2048])
    """
    n = math.isqrt(max(dim, 0) // 2)
    if dim < 2 or 2 * n * n != dim:
        raise ValueError(f"dim must be twice a square, such as 2048 = 2 * 32²; got {dim}.")
    waves = torch.arange(n, device=positions.device, dtype=positions.dtype)
    x, y = (2 * math.pi / 1.4 * (positions + 0.2))[..., None, None].unbind(-3)
    phases = (x * waves[:, None] + y * waves).flatten(-2)
    return torch.cat([phases.cos(), phases.sin()], dim=-1)


def check_index(index: Tensor, low: int, high: int, name: str) -> None:
    """Raise unless every entry of an index lies in low .. high - 1."""
    if len(index) and not low <= int(index.min()) <= int(index.max()) < high:
        raise ValueError(
            f"{name} must lie in {low} .. {high - 1}, as the module was built and called; "
            f"got values from {int(index.min())} to {int(index.max())}."
        )


def mix(x: Tensor, matrices: Tensor, which: Tensor, offsets: Tensor | None = None) -> Tensor:
    """Mix the channels of each window: y_i = K x_i + c at every step, with the K and c of its kind.

    Parameters
    ----------
    x : Tensor, shape (n_windows, n_channels, n_times)
    matrices : Tensor, shape (n_kinds, n_outputs, n_channels)
    which : Tensor of int64, shape (n_windows,)
        Kind of each window.
    offsets : Tensor, shape (n_kinds, n_outputs), or None

    Returns
    -------
    y : Tensor, shape (n_windows, n_outputs, n_times)
        A view of time-major memory.
    """
    if len(matrices) == 1:
        return F.linear(x.mT, matrices[0], None if offsets is None else offsets[0]).mT
    if offsets is None:
        offsets = matrices.new_zeros(matrices.shape[:2])
    if x.device.type == "cpu":
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        x, matrices, offsets = (part.to(dtype) for part in (x, matrices, offsets))
        return _MixedRuns.apply(x.mT, matrices, offsets, _runs(which.tolist())).mT
    return torch.baddbmm(select(offsets, which)[:, None], x.mT, select(matrices, which).mT).mT


def _runs(which: list[int]) -> list[tuple[int, int, int]]:
    """Return (kind, first, stop) of windows of one kind that follow each other."""
    edges = [0, *(i for i in range(1, len(which)) if which[i] != which[i - 1]), len(which)]
    return [(which[first], first, stop) for first, stop in pairwise(edges) if stop > first]


class _MixedRuns(torch.autograd.Function):
    """Multiply runs of windows by the matrix of their kind, without a copy of it for each window.

    The gradient of a matrix is one product for each run, so that no rows are scattered and the order of
    every sum is fixed.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, matrices: Tensor, offsets: Tensor, runs: list[tuple[int, int, int]]
    ) -> Tensor:
        """Return (n_windows, n_times, n_outputs) for (n_windows, n_times, n_channels)."""
        x = x.contiguous()
        ctx.save_for_backward(x, matrices)
        ctx.runs = runs
        out = x.new_empty(*x.shape[:2], matrices.shape[1])
        with torch.autocast(x.device.type, enabled=False):
            for kind, first, stop in runs:
                into = out[first:stop].flatten(0, 1)
                torch.addmm(offsets[kind], x[first:stop].flatten(0, 1), matrices[kind].T, out=into)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        """Return the gradients of the windows, if they have any, of matrices and of offsets."""
        x, matrices = ctx.saved_tensors
        of_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        of_matrices = torch.zeros_like(matrices)
        of_offsets = matrices.new_zeros(matrices.shape[:2])
        for kind, first, stop in ctx.runs:
            rows = gradient[first:stop].flatten(0, 1)
            of_matrices[kind] += rows.T @ x[first:stop].flatten(0, 1)
            of_offsets[kind] += rows.sum(0)
            if of_x is not None:
                torch.mm(rows, matrices[kind], out=of_x[first:stop].flatten(0, 1))
        return of_x, of_matrices, of_offsets, None


class SpatialAttention(nn.Module):
    r"""Bring any sensors to common virtual channels by attending to where they are.

    Virtual channel :math:`v` is :math:`\sum_c a_{vc} x_c` with :math:`a_v = \mathrm{softmax}_c
    \langle h_v, e(p_c) \rangle`, where :math:`e` is :func:`fourier_positions` and :math:`h_v` is
    learned and shared by all people. Nothing is tied to a number of channels: another cap can come
    at any call. The weights are computed once per layout in the batch, not once per window.

    In training, channels within ``dropout`` of one random place, drawn anew at each call, are left
    out of the softmax, unless no channel of the layout would be left.

    Parameters
    ----------
    n_virtual_channels : int
        Number of virtual channels.
    dropout : float
        Radius of the spatial dropout, where a layout is one unit wide and high. Zero for none.
    dim : int
        Size of the embedding of a position, twice a square.

    Attributes
    ----------
    generator : torch.Generator or None
        CPU generator of the dropout's centers, set by the owner; None takes torch's global one.

    Shape:
        - x: `(n_windows, n_channels, n_times)`
        - layout: `(n_windows,)` int64, row of ``positions`` for each window
        - positions: `(n_layouts, n_channels, 2)` in [0, 1]², NaN for a channel to leave out
        - Output: `(n_windows, n_virtual_channels, n_times)`

    Examples
    --------
    >>> attention = SpatialAttention(270)
    >>> layout, positions = torch.tensor([0, 0, 1, 0]), torch.rand(2, 208, 2)
    >>> attention(torch.rand(4, 208, 343), layout, positions).shape
    torch.Size([4, 270, 343])
    """

    def __init__(self, n_virtual_channels: int, dropout: float = 0.2, dim: int = 2048) -> None:
        super().__init__()
        self.dropout = dropout
        self.dim = dim
        self.generator: torch.Generator | None = None
        self.heads = nn.Parameter(torch.randn(n_virtual_channels, dim) / math.sqrt(dim))
        self._last: Any = None  # positions, their state and their embedding

    def weights(self, positions: Tensor, layouts: Tensor | None = None) -> Tensor:
        """Return the weights of some layouts or all, (n_layouts, n_virtual_channels, n_channels), sums of one."""
        embedding = self._embedding(positions)
        if layouts is not None:
            positions, embedding = positions[layouts], embedding[layouts]
        positions = positions.to(self.heads.dtype)
        known = ~positions.isnan().any(-1)
        if not known.any(-1).all():
            raise ValueError(f"A layout has no channel with a known position to attend to. {WAY_OUT}")
        scores = self.heads @ embedding
        heard = known & ~self._dropped(positions, known)
        return scores.masked_fill(~heard[:, None, :], -math.inf).softmax(dim=-1)

    def _embedding(self, positions: Tensor) -> Tensor:
        """Return the embedding of all positions, (n_layouts, dim, n_channels), from the last call if it is equal."""
        kind = positions.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.heads.dtype
        held: Any = self._last or (None, None, None)
        last, version, embedding = held
        if last is not None and last() is positions and version == (positions._version, dtype):
            return embedding
        # NaN must go before the product: a weight of zero does not stop it in the gradient.
        places = positions.to(self.heads.dtype).nan_to_num(0.0)
        embedding = fourier_positions(places, self.dim).mT.to(dtype)
        if embedding.nbytes <= HELD_BYTES and not (embedding.requires_grad or embedding.is_inference()):
            self._last = weakref.ref(positions), (positions._version, dtype), embedding
        return embedding

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}

    def _dropped(self, positions: Tensor, known: Tensor) -> Tensor:
        """Return which channels (n_layouts, n_channels) this call's dropout leaves out."""
        if not self.training or self.dropout == 0:
            return torch.zeros_like(known)
        center = torch.rand(2, generator=self.generator).to(positions)
        near = torch.linalg.vector_norm(positions - center, dim=-1) <= self.dropout
        return near & (known & ~near).any(-1, keepdim=True)

    def check(self, x: Tensor, layout: Tensor, positions: Tensor) -> None:
        """Raise unless every channel of every window has a place in ``positions``."""
        if positions.shape[1:] != (x.shape[1], 2):
            raise ValueError(
                f"positions must be (n_layouts, {x.shape[1]}, 2) for windows of {x.shape[1]} "
                f"channels; got {tuple(positions.shape)}."
            )
        check_index(layout, 0, len(positions), "layout")

    def forward(self, x: Tensor, layout: Tensor, positions: Tensor) -> Tensor:
        """Mix the channels of each window by its layout's weights."""
        self.check(x, layout, positions)
        used, which = torch.unique(layout, return_inverse=True)
        return mix(x, self.weights(positions, used), which)


class SubjectLayer(nn.Module):
    r"""Give each person a linear map of the channels: :math:`x \mapsto M_s^\top x`, without a bias.

    It lets people differ in how channels mix; :class:`SubjectEmbedding` only lets them differ in an
    offset. Someone unknown (-1) gets the mean of the matrices that were trained together.

    Parameters
    ----------
    n_channels : int
        Number of channels, in and out.
    n_subjects : int
        Number of people, each with n_channels² weights. All begin with the same, drawn from N(0, 1 / n_channels):
        the mean of matrices that were drawn apart would be no filter at all.
    n_averaged : int or None
        How many of them, from the first, the mean is taken over. None for all.

    Shape:
        - x: `(n_windows, n_channels, n_times)`
        - subject: `(n_windows,)` int64 in -1 .. n_subjects - 1
        - Output: `(n_windows, n_channels, n_times)`

    Examples
    --------
    >>> layer = SubjectLayer(270, n_subjects=27)
    >>> layer(torch.rand(3, 270, 343), torch.tensor([5, -1, 5])).shape
    torch.Size([3, 270, 343])
    """

    def __init__(self, n_channels: int, n_subjects: int, n_averaged: int | None = None) -> None:
        super().__init__()
        self.n_averaged = n_averaged
        matrix = torch.randn(n_channels, n_channels) / math.sqrt(n_channels)
        self.matrices = nn.Parameter(matrix.repeat(n_subjects, 1, 1))

    def after(self, matrices: Tensor, offsets: Tensor, subject: Tensor) -> tuple[Tensor, Tensor]:
        """Return the affine maps that come of others followed by the layers of some people."""
        maps = self._maps(subject)
        return maps @ matrices, (maps @ offsets[:, :, None])[:, :, 0]

    def _maps(self, subject: Tensor) -> Tensor:
        """Return M_s^T of some people, (n, n_channels, n_channels)."""
        check_index(subject, -1, len(self.matrices), "subject")
        known = select(self.matrices, subject.clamp(min=0))
        unknown = subject < 0
        if unknown.any():
            known = torch.where(unknown[:, None, None], self.average(), known)
        return known.mT

    def average(self) -> Tensor:
        """Return the matrix of someone unknown, (n_channels, n_channels)."""
        return self.matrices[: self.n_averaged].mean(0)

    def forward(self, x: Tensor, subject: Tensor) -> Tensor:
        """Multiply each window by its person's matrix."""
        used, which = torch.unique(subject, return_inverse=True)
        return mix(x, self._maps(used), which)


class SubjectEmbedding(nn.Module):
    """Give each person a vector that is added to the channels at every step: x → x + e_s.

    The cheap alternative to :class:`SubjectLayer`, n_channels weights per person instead of
    n_channels². Added rather than concatenated: before a convolution the two differ only at the
    window's edges, and this one keeps the width. Someone unknown (-1) gets the mean of the vectors
    that were trained together.

    Parameters
    ----------
    n_channels : int
        Number of channels, in and out.
    n_subjects : int
        Number of people, each with a vector drawn from N(0, 1).
    n_averaged : int or None
        How many of them, from the first, the mean is taken over. None for all.

    Shape:
        - x: `(n_windows, n_channels, n_times)`
        - subject: `(n_windows,)` int64 in -1 .. n_subjects - 1
        - Output: `(n_windows, n_channels, n_times)`

    Examples
    --------
    >>> embedding = SubjectEmbedding(270, n_subjects=27)
    >>> embedding(torch.rand(3, 270, 343), torch.tensor([5, -1, 5])).shape
    torch.Size([3, 270, 343])
    """

    def __init__(self, n_channels: int, n_subjects: int, n_averaged: int | None = None) -> None:
        super().__init__()
        self.n_averaged = n_averaged
        self.vectors = nn.Parameter(torch.randn(n_subjects, n_channels))

    def after(self, matrices: Tensor, offsets: Tensor, subject: Tensor) -> tuple[Tensor, Tensor]:
        """Return the affine maps that come of others followed by the vectors of some people."""
        return matrices, offsets + self._vectors(subject)

    def _vectors(self, subject: Tensor) -> Tensor:
        """Return e_s of some people, (n, n_channels)."""
        check_index(subject, -1, len(self.vectors), "subject")
        vectors = torch.cat([self.vectors, self.average()[None]])
        return select(vectors, subject.remainder(len(vectors)))  # the mean comes last, where -1 points

    def average(self) -> Tensor:
        """Return the vector of someone unknown, (n_channels,)."""
        return self.vectors[: self.n_averaged].mean(0)

    def forward(self, x: Tensor, subject: Tensor) -> Tensor:
        """Add each window's vector."""
        return x + self._vectors(subject)[:, :, None]


SUBJECT_LAYERS: dict[str, type[SubjectLayer] | type[SubjectEmbedding]] = {
    "layer": SubjectLayer,
    "embedding": SubjectEmbedding,
}
