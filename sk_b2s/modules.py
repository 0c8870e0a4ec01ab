"""The network of the paper, piece by piece: torch modules that know nothing of files or of MNE.

Every module takes and gives ``(n_windows, n_channels, n_times)``. In memory such a batch is usually
time-major, a transposed view whose ``.mT`` is contiguous; whatever only mixes channels is a plain
matrix product there and copies nothing.

References
----------
.. [1] Défossez et al. 2023, Nat. Mach. Intell. 5:1097, doi:10.1038/s42256-023-00714-5.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "ACTIVATIONS",
    "SUBJECT_LAYERS",
    "BrainModule",
    "ConvBlock",
    "SpatialAttention",
    "SubjectEmbedding",
    "SubjectLayer",
    "fourier_positions",
]

ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU}

_WAY_OUT = "Give positions (in Epocher by montage=), or set spatial_attention=False."


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


def _check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Raise unless a parameter's value is one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {choices}; got {value!r}.")


def _activation(name: str) -> nn.Module:
    """Return a new activation by its name."""
    _check_choice("activation", name, list(ACTIVATIONS))
    return ACTIVATIONS[name]()


def _distinct(index: Tensor, low: int, high: int, name: str) -> tuple[Tensor, Tensor]:
    """Return the distinct values of an index and the place of each window's value among them."""
    values, places = torch.unique(index, return_inverse=True)
    if len(values) and not low <= int(values[0]) <= int(values[-1]) < high:
        raise ValueError(
            f"{name} must lie in {low} .. {high - 1}, as the module was built and called; "
            f"got values from {int(values[0])} to {int(values[-1])}."
        )
    return values, places


def _multiply_by_group(x: Tensor, places: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Return ``x_i @ matrices[places_i]`` for each window.

    One product per matrix, not one copy of a matrix per window. ``x`` is (n_windows, n_times,
    n_inputs) and each matrix (n_inputs, n_outputs).
    """
    if len(matrices) == 1:
        return x @ matrices[0]
    order = torch.argsort(places, stable=True)
    sizes = torch.bincount(places, minlength=len(matrices)).tolist()
    groups = zip(x[order].split(sizes), matrices, strict=True)
    return torch.cat([group @ matrix for group, matrix in groups])[torch.argsort(order)]


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
        CPU generator of the dropout's centres, set by the owner; None takes torch's global one.

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

    def weights(self, positions: Tensor) -> Tensor:
        """Return the weights, (n_layouts, n_virtual_channels, n_channels) with sums of one."""
        known = ~positions.isnan().any(-1)
        if not known.any(-1).all():
            raise ValueError(f"A layout has no channel with a known position to attend to. {_WAY_OUT}")
        # NaN must go before the product: a weight of zero does not stop it in the gradient.
        scores = self.heads @ fourier_positions(positions.nan_to_num(0.0), self.dim).mT
        heard = known & ~self._dropped(positions, known)
        return scores.masked_fill(~heard[:, None, :], -math.inf).softmax(dim=-1)

    def _dropped(self, positions: Tensor, known: Tensor) -> Tensor:
        """Return which channels (n_layouts, n_channels) this call's dropout leaves out."""
        if not self.training or self.dropout == 0:
            return torch.zeros_like(known)
        centre = torch.rand(2, generator=self.generator).to(positions)
        near = torch.linalg.vector_norm(positions - centre, dim=-1) <= self.dropout
        return near & (known & ~near).any(-1, keepdim=True)

    def forward(self, x: Tensor, layout: Tensor, positions: Tensor) -> Tensor:
        """Mix the channels of each window by its layout's weights."""
        if positions.shape[1:] != (x.shape[1], 2):
            raise ValueError(
                f"positions must be (n_layouts, {x.shape[1]}, 2) for windows of {x.shape[1]} "
                f"channels; got {tuple(positions.shape)}."
            )
        used, places = _distinct(layout, 0, len(positions), "layout")
        weights = self.weights(positions[used].to(self.heads.dtype))
        return _multiply_by_group(x.mT, places, weights.mT.unbind()).mT


class SubjectLayer(nn.Module):
    r"""Give each person a linear map of the channels: :math:`x \mapsto M_s^\top x`, without a bias.

    It lets people differ in how channels mix; :class:`SubjectEmbedding` only lets them differ in an
    offset. Someone unknown (-1) gets the mean of all matrices.

    Parameters
    ----------
    n_channels : int
        Number of channels, in and out.
    n_subjects : int
        Number of people, each with n_channels² weights, drawn from N(0, 1 / n_channels).

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

    def __init__(self, n_channels: int, n_subjects: int) -> None:
        super().__init__()
        matrices = torch.randn(n_subjects, n_channels, n_channels) / math.sqrt(n_channels)
        self.matrices = nn.Parameter(matrices)

    def forward(self, x: Tensor, subject: Tensor) -> Tensor:
        """Multiply each window by its person's matrix."""
        used, places = _distinct(subject, -1, len(self.matrices), "subject")
        matrices = [self.matrices[s] if s >= 0 else self.matrices.mean(0) for s in used.tolist()]
        return _multiply_by_group(x.mT, places, matrices).mT


class SubjectEmbedding(nn.Module):
    """Give each person a vector that is added to the channels at every step: x → x + e_s.

    The cheap alternative to :class:`SubjectLayer`, n_channels weights per person instead of
    n_channels². Added rather than concatenated: before a convolution the two differ only at the
    window's edges, and this one keeps the width. Someone unknown (-1) gets the mean.

    Parameters
    ----------
    n_channels : int
        Number of channels, in and out.
    n_subjects : int
        Number of people, each with a vector drawn from N(0, 1).

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

    def __init__(self, n_channels: int, n_subjects: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(n_subjects, n_channels))

    def forward(self, x: Tensor, subject: Tensor) -> Tensor:
        """Add each window's vector."""
        _distinct(subject, -1, len(self.vectors), "subject")
        # The mean comes last, where -1 points.
        vectors = torch.cat([self.vectors, self.vectors.mean(0, keepdim=True)])
        return x + vectors[subject][:, :, None]


SUBJECT_LAYERS = {"layer": SubjectLayer, "embedding": SubjectEmbedding}


class _BatchNorm(nn.BatchNorm1d):
    """Batch normalisation by running statistics where one window of one step has no variance."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each channel over windows and time."""
        if self.training and x.shape[0] * x.shape[2] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


class ConvBlock(nn.Module):
    """Convolve over time, normalise, activate, add the input, and gate.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Numbers of channels.
    kernel_size, dilation : int
        Of the convolution, which keeps the length ('same', zeros outside the window).
    skip : bool
        Add the input, where the widths agree.
    glu : bool
        End with a convolution (kernel 3) to twice the width and a gated linear unit, not residual.
    activation : {"gelu", "relu"}
        One of ``ACTIVATIONS``.

    Shape:
        - Input: `(n_windows, n_inputs, n_times)`
        - Output: `(n_windows, n_outputs, n_times)`

    Examples
    --------
    >>> ConvBlock(270, 320, dilation=2, glu=True)(torch.rand(4, 270, 343)).shape
    torch.Size([4, 320, 343])
    """

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        kernel_size: int = 3,
        dilation: int = 1,
        skip: bool = True,
        glu: bool = False,
        activation: str = "gelu",
    ) -> None:
        super().__init__()
        self.skip = skip and n_inputs == n_outputs
        self.conv = nn.Conv1d(n_inputs, n_outputs, kernel_size, dilation=dilation, padding="same")
        self.norm = _BatchNorm(n_outputs)
        self.activation = _activation(activation)
        self.gate = nn.Conv1d(n_outputs, 2 * n_outputs, 3, padding=1) if glu else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        h = self.activation(self.norm(self.conv(x)))
        if self.skip:
            h = h + x
        return h if self.gate is None else F.glu(self.gate(h), dim=1)


def _members(pooling: Sequence[int] | np.ndarray, n_times: int, n_frames: int | None) -> Tensor:
    """Return which steps belong to which frame, (n_frames, n_times) of zeros and ones."""
    frames = torch.as_tensor(pooling)
    if frames.shape != (n_times,):
        raise ValueError(
            f"pooling must be the frame of each of n_times={n_times} steps (frame_of_step gives "
            f"it); got shape {tuple(frames.shape)}."
        )
    if n_frames is None:
        n_frames = int(frames.max()) + 1
    return (frames == torch.arange(n_frames)[:, None]).float()


class BrainModule(nn.Module):
    """Map windows of the brain to features of speech: the convolutional network of the paper [1]_.

    Spatial attention, a linear map, the person's layer, ``depth`` convolutions with dilations 1, 2,
    4, 8, 16, 1, ... and a gate after every second one, then a head. At the defaults an output sees
    135 steps of its window. The mean over each frame's steps is taken before the last linear layer,
    with whose bias a mean commutes, so the output equals that of pooling at the very end.

    Parameters
    ----------
    n_channels : int
        Number of channels. With ``spatial_attention`` any other number may come later.
    n_outputs : int
        Number of speech features.
    n_subjects : int
        Number of people known.
    n_times : int
        Number of steps in a window.
    pooling : array-like of int, shape (n_times,) or None
        Frame of each step (:func:`~sk_b2s.frames.frame_of_step`). None for one frame per step.
    n_frames : int or None
        Frames that come out. None for as many as the steps reach; a last one without a step is zero
        before the last linear layer.
    hidden, depth, kernel_size : int
        Width, number and kernel of the convolutions.
    n_virtual_channels : int
        Width between spatial attention and convolutions.
    spatial_attention : bool
        Whether to attend to positions (:class:`SpatialAttention`). Without it channels count by
        their place in the array, and their number and order are those of training.
    spatial_dropout : float
        Radius of the spatial dropout.
    initial_linear : bool
        Whether a linear map to ``n_virtual_channels``, with bias, comes before the person's layer.
        Without it and without ``spatial_attention`` the channels go on as they are.
    subject_layer : {"layer", "embedding"} or None
        :class:`SubjectLayer`, :class:`SubjectEmbedding`, or everybody alike.
    glu, skip : bool
        Whether every second convolution is followed by a gate; whether convolutions are residual.
    head : bool
        Whether a layer of ``2 * hidden`` units precedes the last linear layer. False is the paper's
        'no final convs': the frames' means go straight to one linear layer.
    activation : {"gelu", "relu"}
        After each convolution and within the head.

    Shape:
        - x: `(n_windows, n_channels, n_times)`
        - subject: `(n_windows,)` int64, -1 for unknown; not read if ``subject_layer`` is None
        - layout: `(n_windows,)` int64, not read without ``spatial_attention``
        - positions: `(n_layouts, n_channels, 2)`, not read without ``spatial_attention``
        - Output: `(n_windows, n_outputs, n_frames)`, a view of time-major memory

    Examples
    --------
    >>> from sk_b2s.frames import frame_of_step
    >>> frames = frame_of_step(343, 120, 50)
    >>> module = BrainModule(64, 20, n_subjects=8, n_times=343, pooling=frames, hidden=32)
    >>> subject, layout = torch.tensor([0, 7, 2, -1]), torch.zeros(4, dtype=torch.int64)
    >>> module(torch.rand(4, 64, 343), subject, layout, torch.rand(1, 64, 2)).shape
    torch.Size([4, 20, 143])
    """

    spatial_attention: SpatialAttention | None
    initial_linear: nn.Linear | None
    subject_layer: nn.Module | None
    members: Tensor | None

    def __init__(
        self,
        n_channels: int,
        n_outputs: int,
        n_subjects: int,
        *,
        n_times: int,
        pooling: Sequence[int] | np.ndarray | None = None,
        n_frames: int | None = None,
        hidden: int = 320,
        depth: int = 10,
        kernel_size: int = 3,
        n_virtual_channels: int = 270,
        spatial_attention: bool = True,
        spatial_dropout: float = 0.2,
        initial_linear: bool = True,
        subject_layer: str | None = "layer",
        glu: bool = True,
        skip: bool = True,
        head: bool = True,
        activation: str = "gelu",
    ) -> None:
        super().__init__()
        _check_choice("subject_layer", subject_layer, [*SUBJECT_LAYERS, None])
        self.n_channels, self.n_times = n_channels, n_times
        members = None if pooling is None else _members(pooling, n_times, n_frames)
        self.register_buffer("members", members, persistent=False)

        width = n_channels
        self.spatial_attention = self.initial_linear = self.subject_layer = None
        if spatial_attention:
            self.spatial_attention = SpatialAttention(n_virtual_channels, spatial_dropout)
            width = n_virtual_channels
        if initial_linear:
            self.initial_linear = nn.Linear(width, n_virtual_channels)
            width = n_virtual_channels
        if subject_layer is not None:
            self.subject_layer = SUBJECT_LAYERS[subject_layer](width, n_subjects)
        self.convolutions = nn.Sequential()
        for i in range(depth):
            gate = glu and i % 2 == 1
            block = ConvBlock(width, hidden, kernel_size, 2 ** (i % 5), skip, gate, activation)
            self.convolutions.append(block)
            width = hidden
        self.head: nn.Sequential | None = None
        if head:
            self.head = nn.Sequential(nn.Conv1d(width, 2 * hidden, 1), _activation(activation))
            width = 2 * hidden
        self.last = nn.Linear(width, n_outputs)

    def forward(
        self,
        x: Tensor,
        subject: Tensor,
        layout: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Return the estimated speech features of each window."""
        if x.shape[2] != self.n_times:
            raise ValueError(f"Windows must have n_times={self.n_times} steps; got {x.shape[2]}.")
        h = self.convolutions(self._mix_channels(x, subject, layout, positions))
        if self.head is not None:
            h = self.head(h)
        h = h.mT
        if self.members is not None:
            h = self.members @ h / self.members.sum(1, keepdim=True).clamp(min=1)
        return self.last(h).mT

    def _mix_channels(
        self, x: Tensor, subject: Tensor, layout: Tensor | None, positions: Tensor | None
    ) -> Tensor:
        """Do all that comes before the first convolution: it is linear and blind to time."""
        if self.spatial_attention is not None:
            if layout is None or positions is None:
                raise ValueError(f"Spatial attention needs layout and positions. {_WAY_OUT}")
            x = self.spatial_attention(x, layout, positions)
        elif x.shape[1] != self.n_channels:
            raise ValueError(
                f"Without spatial attention windows must have n_channels={self.n_channels} "
                f"channels, as in training; got {x.shape[1]}."
            )
        if self.initial_linear is not None:
            x = self.initial_linear(x.mT).mT
        return x if self.subject_layer is None else self.subject_layer(x, subject)
