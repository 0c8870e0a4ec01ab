"""Spatial attention, subject layers and subject embeddings.

References
----------
.. [1] Défossez et al. 2023, Nat. Mach. Intell. 5:1097,
   doi:10.1038/s42256-023-00714-5.
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

HELD_BYTES = 2**26  # of an embedding that is stored between steps
WAY_OUT = "Pass positions (in Epocher by montage=), or set spatial_attention=False."


def embed_channel_mixing_positions(positions: Tensor, dim: int = 2048) -> Tensor:
    """Embed sensor positions by cosines and sines of two-dimensional waves.

    With n = sqrt(dim / 2) and k, l = 0 .. n - 1, the features are cos and sin
    of 2π(k x' + l y') / 1.4, where x' = x + 0.2 and y' = y + 0.2. One period
    is the unit square with a margin of 0.2 on each side.

    Parameters
    ----------
    positions : Tensor, shape (..., 2)
        Positions in [0, 1]². NaN returns NaN.
    dim : int
        Number of features, twice a square. More features separate nearer
        sensors.

    Returns
    -------
    embedding : Tensor, shape (..., dim)
        All cosines, then all sines, with ``l`` as the fastest index.

    Examples
    --------
    >>> embed_channel_mixing_positions(torch.rand(208, 2)).shape
    torch.Size([208, 2048])
    """
    n = math.isqrt(max(dim, 0) // 2)
    if dim < 2 or 2 * n * n != dim:
        raise ValueError(f"dim must be twice a square, such as 2048 = 2 * 32². Got {dim} instead.")
    waves = torch.arange(n, device=positions.device, dtype=positions.dtype)
    x, y = (2 * math.pi / 1.4 * (positions + 0.2))[..., None, None].unbind(-3)
    phases = (x * waves[:, None] + y * waves).flatten(-2)
    return torch.cat([phases.cos(), phases.sin()], dim=-1)


def check_mixing_index(index: Tensor, low: int, high: int, name: str) -> None:
    """Raise if an entry of an index is not in low .. high - 1."""
    if len(index) and not low <= int(index.min()) <= int(index.max()) < high:
        raise ValueError(
            f"{name} must be from {low} to {high - 1} in this module. Got values from {int(index.min())} to "
            f"{int(index.max())} instead."
        )


def mix_channels(x: Tensor, matrices: Tensor, which: Tensor, offsets: Tensor | None = None) -> Tensor:
    """Mix the channels of each window: y_i = K x_i + c.

    Parameters
    ----------
    x : Tensor, shape (n_windows, n_channels, n_times)
    matrices : Tensor, shape (n_kinds, n_outputs, n_channels)
    which : Tensor of int64, shape (n_windows,)
        Row of ``matrices`` and ``offsets`` for each window.
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
        return _MixedRuns.apply(x.mT, matrices, offsets, _list_runs_of_windows(which.tolist())).mT
    return torch.baddbmm(select(offsets, which)[:, None], x.mT, select(matrices, which).mT).mT


def _list_runs_of_windows(which: list[int]) -> list[tuple[int, int, int]]:
    """Return (kind, first, stop) of consecutive windows of one kind."""
    edges = [0, *(i for i in range(1, len(which)) if which[i] != which[i - 1]), len(which)]
    return [(which[first], first, stop) for first, stop in pairwise(edges) if stop > first]


class _MixedRuns(torch.autograd.Function):
    """Multiply runs of windows by one matrix each, without copies of it.

    The gradient of a matrix is one product for each run, so the order of each
    sum is fixed.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, matrices: Tensor, offsets: Tensor, runs: list[tuple[int, int, int]]
    ) -> Tensor:
        """Map the channels of (n_windows, n_times, n_channels)."""
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
        """Return the gradients of windows, matrices and offsets."""
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
    r"""Map any sensors to common virtual channels by their positions.

    Virtual channel :math:`v` is :math:`\sum_c a_{vc} x_c` with :math:`a_v =
    \mathrm{softmax}_c \langle h_v, e(p_c) \rangle`, where :math:`e` is
    :func:`embed_channel_mixing_positions` and :math:`h_v` is learned and
    shared by all subjects. The number of channels may differ between calls.
    Weights are computed once per layout in the batch.

    In training, channels within ``dropout`` of one random position, drawn at
    each call, are excluded from the softmax, unless the layout would have no
    channel left.

    Parameters
    ----------
    n_virtual_channels : int
        Number of virtual channels.
    dropout : float
        Radius of the spatial dropout, for layouts of width and height 1. Zero
        disables it.
    dim : int
        Size of the embedding of a position, twice a square.

    Attributes
    ----------
    generator : torch.Generator or None
        CPU generator of the dropout. None uses the global one of torch.

    Shape:
        - x: `(n_windows, n_channels, n_times)`
        - layout: `(n_windows,)` int64, row of ``positions`` for each window
        - positions: `(n_layouts, n_channels, 2)` in [0, 1]², NaN for excluded
          channels
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
        """Return weights: (n_layouts, n_virtual_channels, n_channels)."""
        embedding = self._embedding(positions)
        if layouts is not None:
            positions, embedding = positions[layouts], embedding[layouts]
        positions = positions.to(self.heads.dtype)
        known = ~positions.isnan().any(-1)
        if not known.any(-1).all():
            raise ValueError(f"Each layout must have a channel with a known position. {WAY_OUT}")
        scores = self.heads @ embedding
        used = known & ~self._dropped(positions, known)
        return scores.masked_fill(~used[:, None, :], -math.inf).softmax(dim=-1)

    def _embedding(self, positions: Tensor) -> Tensor:
        """Return the embedding of positions: (n_layouts, dim, n_channels)."""
        kind = positions.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.heads.dtype
        stored: Any = self._last or (None, None, None)
        last, version, embedding = stored
        if last is not None and last() is positions and version == (positions._version, dtype):
            return embedding
        # NaN is replaced before the product, because a weight of zero does not remove it from the gradient.
        places = positions.to(self.heads.dtype).nan_to_num(0.0)
        embedding = embed_channel_mixing_positions(places, self.dim).mT.to(dtype)
        if embedding.nbytes <= HELD_BYTES and not (embedding.requires_grad or embedding.is_inference()):
            self._last = weakref.ref(positions), (positions._version, dtype), embedding
        return embedding

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}

    def _dropped(self, positions: Tensor, known: Tensor) -> Tensor:
        """Return which channels this call drops: (n_layouts, n_channels)."""
        if not self.training or self.dropout == 0:
            return torch.zeros_like(known)
        center = torch.rand(2, generator=self.generator).to(positions)
        near = torch.linalg.vector_norm(positions - center, dim=-1) <= self.dropout
        return near & (known & ~near).any(-1, keepdim=True)

    def check(self, x: Tensor, layout: Tensor, positions: Tensor) -> None:
        """Raise if a channel has no row in ``positions``."""
        if positions.shape[1:] != (x.shape[1], 2):
            raise ValueError(
                f"positions must have the shape (n_layouts, {x.shape[1]}, 2) for windows of {x.shape[1]} channels. Got "
                f"{tuple(positions.shape)} instead."
            )
        check_mixing_index(layout, 0, len(positions), "layout")

    def forward(self, x: Tensor, layout: Tensor, positions: Tensor) -> Tensor:
        """Mix the channels of each window by the weights of its layout."""
        self.check(x, layout, positions)
        used, which = torch.unique(layout, return_inverse=True)
        return mix_channels(x, self.weights(positions, used), which)


class SubjectLayer(nn.Module):
    r"""Linear map of the channels for each subject, without a bias.

    The map is :math:`x \mapsto M_s^\top x`. Subjects may differ in the mixing
    of channels. With :class:`SubjectEmbedding` they differ only in an offset.
    Unseen subjects (-1) use the mean of the trained matrices.

    Parameters
    ----------
    n_channels : int
        Number of input and output channels.
    n_subjects : int
        Number of subjects, each with n_channels² weights. All start with the
        same matrix, drawn from N(0, 1 / n_channels), because the mean of
        independent matrices is not a useful map.
    n_averaged : int or None
        Number of subjects, from the first, that are averaged. None uses all.

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
        """Return affine maps followed by the layers of subjects."""
        maps = self._maps(subject)
        return maps @ matrices, (maps @ offsets[:, :, None])[:, :, 0]

    def _maps(self, subject: Tensor) -> Tensor:
        """Return M_s^T of subjects: (n, n_channels, n_channels)."""
        check_mixing_index(subject, -1, len(self.matrices), "subject")
        known = select(self.matrices, subject.clamp(min=0))
        unknown = subject < 0
        if unknown.any():
            known = torch.where(unknown[:, None, None], self.average(), known)
        return known.mT

    def average(self) -> Tensor:
        """Return the matrix for unseen subjects: (n_channels, n_channels)."""
        return self.matrices[: self.n_averaged].mean(0)

    def forward(self, x: Tensor, subject: Tensor) -> Tensor:
        """Multiply each window by the matrix of its subject."""
        used, which = torch.unique(subject, return_inverse=True)
        return mix_channels(x, self._maps(used), which)


class SubjectEmbedding(nn.Module):
    """Vector for each subject that is added to all samples: x → x + e_s.

    It has n_channels weights per subject, compared with n_channels² of
    :class:`SubjectLayer`. Before a convolution, adding differs from
    concatenating only at the edges of the window, and it does not change the
    width. Unseen subjects (-1) use the mean of the trained vectors.

    Parameters
    ----------
    n_channels : int
        Number of input and output channels.
    n_subjects : int
        Number of subjects, each with a vector drawn from N(0, 1).
    n_averaged : int or None
        Number of subjects, from the first, that are averaged. None uses all.

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
        """Return affine maps followed by the vectors of subjects."""
        return matrices, offsets + self._vectors(subject)

    def _vectors(self, subject: Tensor) -> Tensor:
        """Return e_s of subjects: (n, n_channels)."""
        check_mixing_index(subject, -1, len(self.vectors), "subject")
        vectors = torch.cat([self.vectors, self.average()[None]])
        return select(vectors, subject.remainder(len(vectors)))  # the mean is last, at index -1

    def average(self) -> Tensor:
        """Return the vector for unseen subjects: (n_channels,)."""
        return self.vectors[: self.n_averaged].mean(0)

    def forward(self, x: Tensor, subject: Tensor) -> Tensor:
        """Add the vector of each window's subject."""
        return x + self._vectors(subject)[:, :, None]


SUBJECT_LAYERS: dict[str, type[SubjectLayer] | type[SubjectEmbedding]] = {
    "layer": SubjectLayer,
    "embedding": SubjectEmbedding,
}
