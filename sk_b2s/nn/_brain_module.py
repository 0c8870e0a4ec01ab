"""Brain module: the convolutional network of the paper.

Each module maps ``(n_windows, n_channels, n_times)``. In memory a batch is
time-major, a transposed view whose ``.mT`` is contiguous. Mixing channels is
then a plain matrix product. A convolution reads the batch as an image one
pixel high with channels last, so that nothing is reordered.

References
----------
.. [1] Défossez et al. 2023, Nat. Mach. Intell. 5:1097,
   doi:10.1038/s42256-023-00714-5.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sk_b2s.nn._augmentation import WindowAugmentation
from sk_b2s.nn._channel_mixing import (
    SUBJECT_LAYERS,
    WAY_OUT,
    SpatialAttention,
    SubjectEmbedding,
    SubjectLayer,
    mix_channels,
)
from sk_b2s.nn.functional import select

ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU}
GATE_SIZE = 3  # samples of the kernel before a gated linear unit


def _check_module_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Raise if a value is not one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {choices}. Got {value!r} instead.")


def _make_activation(name: str) -> nn.Module:
    """Return a new activation module."""
    _check_module_choice("activation", name, list(ACTIVATIONS))
    return ACTIVATIONS[name]()


class _BatchNorm(nn.BatchNorm2d):
    """Batch normalization, with running statistics for a single sample."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize each channel over windows and time."""
        if self.training and x.shape[0] * x.shape[3] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


class ConvBlock(nn.Module):
    """Block of convolution over time, normalization, activation and gate.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Numbers of channels.
    kernel_size, dilation : int
        Of the convolution. The length does not change, and zeros pad the
        window.
    skip : bool
        If True, add the input if ``n_inputs`` equals ``n_outputs``.
    glu : bool
        If True, end with a convolution (kernel size 3) to twice the width and
        a gated linear unit, which is not residual.
    activation : {"gelu", "relu"}
        One of ``ACTIVATIONS``.
    ahead : (int, int) or None
        Number of later samples that the convolution and the gate read. None
        centers them.

    Shape:
        - Input: `(n_windows, n_inputs, n_times)`
        - Output: `(n_windows, n_outputs, n_times)`

    Examples
    --------
    >>> block = ConvBlock(270, 320, dilation=2, glu=True)
    >>> block(torch.rand(4, 270, 343)).shape
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
        ahead: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.skip = skip and n_inputs == n_outputs
        of_conv, of_gate = (None, None) if ahead is None else ahead
        self.conv = _make_convolution(n_inputs, n_outputs, kernel_size, dilation, of_conv)
        self.norm = _BatchNorm(n_outputs)
        self.activation = _make_activation(activation)
        self.gate = _make_convolution(n_outputs, 2 * n_outputs, GATE_SIZE, ahead=of_gate) if glu else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the block."""
        x = x.unsqueeze(2)
        h = self.activation(self.norm(self.conv(x)))
        if self.skip:
            # The backward pass of GELU does not read its output, so it can be modified in place.
            in_place = h.dtype == x.dtype and isinstance(self.activation, nn.GELU)
            h = h.add_(x) if in_place else h + x
        if self.gate is None:
            return h.squeeze(2)
        # Along the last axis, because the gradient of a gate across channels is channel-major.
        return F.glu(self.gate(h).squeeze(2).mT, dim=-1).mT


class _ShiftedConvolution(nn.Conv2d):
    """Convolution over time that reads ``ahead`` later samples."""

    def __init__(self, n_inputs: int, n_outputs: int, kernel_size: int, dilation: int, ahead: int) -> None:
        super().__init__(n_inputs, n_outputs, (1, kernel_size), dilation=(1, dilation))
        self.edges = dilation * (kernel_size - 1) - ahead, ahead

    def forward(self, x: Tensor) -> Tensor:
        """Pad with zeros before and after, and convolve."""
        return super().forward(F.pad(x, self.edges))


def _make_convolution(
    n_inputs: int, n_outputs: int, kernel_size: int, dilation: int = 1, ahead: int | None = None
) -> nn.Conv2d:
    """Return a 'same' convolution over time for images one pixel high."""
    if ahead is None:
        return nn.Conv2d(n_inputs, n_outputs, (1, kernel_size), dilation=(1, dilation), padding="same")
    return _ShiftedConvolution(n_inputs, n_outputs, kernel_size, dilation, ahead)


def distribute_brain_module_look_ahead(
    look_ahead: int | None, depth: int, kernel_size: int, glu: bool
) -> list[tuple[int, int] | None]:
    """Distribute later samples to convolutions and gates, short ones first.

    Parameters
    ----------
    look_ahead : int or None
        Number of later samples on which an output may depend. None, or as many
        as centered convolutions read, centers all of them.
    depth, kernel_size : int
        Number and kernel size of the convolutions.
    glu : bool
        Whether every second one is followed by a gate.

    Returns
    -------
    ahead : list of (int, int) or None, one per convolution
        Later samples of the convolution and its gate, None if centered.

    Examples
    --------
    >>> distribute_brain_module_look_ahead(5, depth=4, kernel_size=3, glu=True)
    [(1, 0), (2, 1), (0, 0), (0, 1)]
    """
    reach = [kernel_size // 2 * 2 ** (i % 5) for i in range(depth)]
    gates = [GATE_SIZE // 2 if glu and i % 2 == 1 else 0 for i in range(depth)]
    most = sum(reach) + sum(gates)
    if look_ahead is None or look_ahead >= most:
        return [None] * depth
    left, given = look_ahead, [0] * (2 * depth)
    every = [*reach, *gates]
    for place in sorted(range(2 * depth), key=lambda place: every[place]):
        given[place] = min(left, every[place])
        left -= given[place]
    return list(zip(given[:depth], given[depth:], strict=True))


def make_pooling_members(pooling: Sequence[int] | np.ndarray, n_times: int, n_frames: int | None) -> Tensor:
    """Return which samples are in which frame: (n_frames, n_times)."""
    frames = torch.as_tensor(pooling)
    if frames.shape != (n_times,):
        raise ValueError(
            f"pooling must have the frame of each of n_times={n_times} samples, as find_frames_of_samples returns. Got shape "
            f"{tuple(frames.shape)} instead."
        )
    if n_frames is None:
        n_frames = int(frames.max()) + 1
    return (frames == torch.arange(n_frames)[:, None]).float()


class BrainModule(nn.Module):
    """Convolutional network of the paper from EEG/MEG to features [1]_.

    It applies spatial attention, a linear map, the subject layer, ``depth``
    convolutions with dilations 1, 2, 4, 8, 16, 1, ... and a gate after every
    second one, then a head. With defaults, the receptive field has 135
    samples. Samples of a frame are averaged before the last linear layer,
    which commutes with the mean, so the output equals that of averaging at the
    end.

    Parameters
    ----------
    n_channels : int
        Number of channels. With ``spatial_attention``, later inputs may have
        another number.
    n_outputs : int
        Number of speech features.
    n_subjects : int
        Number of subjects in the training set.
    n_averaged : int or None
        Number of subjects, from the first, whose mean is used for unseen
        subjects. None uses all.
    n_times : int
        Number of samples in a window.
    pooling : array-like of int, shape (n_times,) or None
        Frame of each sample
        (:func:`~sk_b2s.metrics._frames.find_frames_of_samples`). None has one
        frame per sample.
    n_frames : int or None
        Number of output frames. None ends with the frame of the last sample. A
        last frame without samples is zero before the last linear layer.
    hidden, depth, kernel_size : int
        Width, number and kernel size of the convolutions.
    n_virtual_channels : int
        Number of channels between spatial attention and convolutions.
    spatial_attention : bool
        Whether to use sensor positions (:class:`SpatialAttention`). Without
        it, number and order of channels must be those of training.
    spatial_dropout : float
        Radius of the spatial dropout.
    initial_linear : bool
        Whether to apply a linear map to ``n_virtual_channels``, with bias,
        before the subject layer. Without it and without ``spatial_attention``,
        channels are not mixed.
    subject_layer : {"layer", "embedding"} or None
        :class:`SubjectLayer`, :class:`SubjectEmbedding`, or no differences
        between subjects.
    subject_dropout : float
        Fraction of the windows of a training step whose subject is treated as
        unseen.
    glu, skip : bool
        Whether every second convolution is followed by a gate, and whether
        convolutions are residual.
    head : bool
        Whether a layer of ``2 * hidden`` units precedes the last linear layer.
        False is 'no final convs' of the paper.
    activation : {"gelu", "relu"}
        Activation after each convolution and in the head.
    channel_dropout, time_dropout : float
        Fractions of channels and of samples that are set to zero in training
        (:class:`~sk_b2s.nn._augmentation.WindowAugmentation`).
    max_shift : int
        Largest shift of windows in training, in samples.
    look_ahead : int or None
        Number of later samples on which an output depends (see
        :func:`distribute_brain_module_look_ahead`). None centers all
        convolutions.

    Attributes
    ----------
    generator : torch.Generator or None
        CPU generator for ``subject_dropout``. None uses the global one of
        torch.

    Shape:
        - x: `(n_windows, n_channels, n_times)`
        - subject: `(n_windows,)` int64, -1 for unseen subjects, ignored
          without ``subject_layer``
        - layout: `(n_windows,)` int64, ignored without ``spatial_attention``
        - positions: `(n_layouts, n_channels, 2)`, ignored without
          ``spatial_attention``
        - Output: `(n_windows, n_outputs, n_frames)`, a view of time-major
          memory

    Examples
    --------
    >>> from sk_b2s.metrics._frames import find_frames_of_samples
    >>> frames = find_frames_of_samples(343, 120, 50)
    >>> module = BrainModule(
    ...     64, 20, n_subjects=8, n_times=343, pooling=frames, hidden=32
    ... )
    >>> subject = torch.tensor([0, 7, 2, -1])
    >>> layout = torch.zeros(4, dtype=torch.int64)
    >>> x, positions = torch.rand(4, 64, 343), torch.rand(1, 64, 2)
    >>> module(x, subject, layout, positions).shape
    torch.Size([4, 20, 143])
    """

    spatial_attention: SpatialAttention | None
    initial_linear: nn.Linear | None
    subject_layer: SubjectLayer | SubjectEmbedding | None
    members: Tensor | None

    def __init__(
        self,
        n_channels: int,
        n_outputs: int,
        n_subjects: int,
        *,
        n_averaged: int | None = None,
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
        subject_dropout: float = 0.0,
        glu: bool = True,
        skip: bool = True,
        head: bool = True,
        activation: str = "gelu",
        channel_dropout: float = 0.0,
        time_dropout: float = 0.0,
        max_shift: int = 0,
        look_ahead: int | None = None,
    ) -> None:
        super().__init__()
        _check_module_choice("subject_layer", subject_layer, [*SUBJECT_LAYERS, None])
        self.subject_dropout = subject_dropout
        self.generator: torch.Generator | None = None
        self.n_channels, self.n_times = n_channels, n_times
        self.augmentation = WindowAugmentation(channel_dropout, time_dropout, max_shift)
        members = None if pooling is None else make_pooling_members(pooling, n_times, n_frames)
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
            self.subject_layer = SUBJECT_LAYERS[subject_layer](width, n_subjects, n_averaged)
        self.convolutions = nn.Sequential()
        for i, ahead in enumerate(distribute_brain_module_look_ahead(look_ahead, depth, kernel_size, glu)):
            gate = glu and i % 2 == 1
            block = ConvBlock(width, hidden, kernel_size, 2 ** (i % 5), skip, gate, activation, ahead)
            self.convolutions.append(block)
            width = hidden
        self.head: nn.Sequential | None = None
        if head:
            self.head = nn.Sequential(nn.Linear(width, 2 * hidden), _make_activation(activation))
            width = 2 * hidden
        self.last = nn.Linear(width, n_outputs)

    def draw_from(self, generator: torch.Generator | None) -> None:
        """Set the CPU generator of all dropouts. None uses the global one."""
        self.generator = self.augmentation.generator = generator
        if self.spatial_attention is not None:
            self.spatial_attention.generator = generator

    def forward(
        self,
        x: Tensor,
        subject: Tensor,
        layout: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Return the estimated speech features of each window."""
        self._check(x, layout, positions)
        if self.training and self.subject_dropout > 0 and self.subject_layer is not None:
            lost = torch.rand(len(subject), generator=self.generator) < self.subject_dropout
            subject = subject.masked_fill(lost.to(subject.device), -1)
        x = self.augmentation(x)
        h = self._convolve(x, subject, layout, positions).mT
        if self.head is not None:
            h = self.head(h)
        return self.last(self._pool(h)).mT

    def latent(
        self,
        x: Tensor,
        subject: Tensor,
        layout: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Return the output of the convolutions.

        Parameters
        ----------
        x, subject, layout, positions : Tensor
            As in :meth:`forward`.

        Returns
        -------
        h : Tensor, shape (n_windows, hidden, n_times)
            A view of time-major memory.
        """
        self._check(x, layout, positions)
        return self._convolve(x, subject, layout, positions)

    def _convolve(
        self, x: Tensor, subject: Tensor, layout: Tensor | None, positions: Tensor | None
    ) -> Tensor:
        """Mix the channels, and apply all convolutions."""
        h: Tensor = self.convolutions(self._mix_channels(x, subject, layout, positions))
        return h

    def virtual_channels(
        self,
        x: Tensor,
        subject: Tensor | None,
        layout: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Return the input of the convolutions, averaged in frames.

        Parameters
        ----------
        x, subject, layout, positions : Tensor
            As in :meth:`forward`. With ``subject=None``, the subject layer is
            skipped.

        Returns
        -------
        h : Tensor, shape (n_windows, n_virtual_channels, n_frames)
            A view of time-major memory.
        """
        self._check(x, layout, positions)
        return self._pool(self._mix_channels(x, subject, layout, positions).mT).mT

    def _pool(self, h: Tensor) -> Tensor:
        """Average the samples of each frame."""
        if self.members is None:
            return h
        pooled = self.members @ h
        return pooled / self.members.sum(1, keepdim=True).clamp(min=1).to(pooled.dtype)

    def _mix_channels(
        self, x: Tensor, subject: Tensor | None, layout: Tensor | None, positions: Tensor | None
    ) -> Tensor:
        """Apply all layers before the first convolution in one product.

        Attention A_l, the linear map (W, b) and the subject matrix M_s are
        linear and equal for all samples: M_s^T (W A_l x + b) = (M_s^T W A_l) x
        + M_s^T b. The product is computed once per layout and subject in the
        batch.
        """
        layer = None if subject is None else self.subject_layer
        if self.spatial_attention is self.initial_linear is layer is None:
            return x
        if layer is None or subject is None:
            subject = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        if layout is None or self.spatial_attention is None:
            layout = torch.zeros_like(subject)
        kinds, which = torch.unique(torch.stack([layout, subject]), dim=1, return_inverse=True)
        layouts, place = torch.unique(kinds[0], return_inverse=True)
        if self.spatial_attention is None or positions is None:
            matrices = torch.eye(x.shape[1], device=x.device)[None]
        else:
            matrices = self.spatial_attention.weights(positions, layouts)
        with torch.autocast(x.device.type, enabled=False):
            matrices = matrices.to(self.last.weight.dtype)
            offsets = matrices.new_zeros(matrices.shape[:2])
            if self.initial_linear is not None:
                matrices = self.initial_linear.weight @ matrices
                offsets = self.initial_linear.bias.expand(len(matrices), -1)
            matrices, offsets = select(matrices, place), select(offsets, place)
            if layer is not None:
                matrices, offsets = layer.after(matrices, offsets, kinds[1])
        return mix_channels(x, matrices, which, offsets)

    def _check(self, x: Tensor, layout: Tensor | None, positions: Tensor | None) -> None:
        """Raise if windows do not fit the module."""
        if x.shape[2] != self.n_times:
            raise ValueError(f"Windows must have n_times={self.n_times} samples. Got {x.shape[2]} instead.")
        if self.spatial_attention is not None:
            if layout is None or positions is None:
                raise ValueError(f"Spatial attention requires layout and positions. {WAY_OUT}")
            self.spatial_attention.check(x, layout, positions)
        elif x.shape[1] != self.n_channels:
            raise ValueError(
                f"Without spatial attention, windows must have n_channels={self.n_channels} channels, as in training. "
                f"Got {x.shape[1]} instead."
            )
