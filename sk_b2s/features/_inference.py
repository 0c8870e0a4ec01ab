"""Pretrained speech networks optimized for inference."""

from __future__ import annotations

import copy

import torch
from torch.nn.utils import parametrize, skip_init

from sk_b2s._utils._precision import CONVOLUTION, keep_narrow_in_float32

NORMS = (torch.nn.LayerNorm, torch.nn.GroupNorm)
PIECE = 1024  # frames; with 512 channels 2 MiB, which stay in the cache from the product to the activation


def optimize_for_inference(encoder, layers, dtype):
    """Prepare a network of transformers for inference, in place.

    - Parametrised weights (the weight norm of the positional convolution) are computed once.
    - Convolutions on samples become :class:`TimeMajorConvolutions` where they can.
    - In bfloat16 the weights of linear layers and convolutions are stored so, except of convolutions of few
      channels per group (:func:`~sk_b2s._utils._precision.keep_narrow_in_float32`). Norms and what is added
      up from layer to layer stay in float32. It is to be run within ``torch.autocast``, which converts
      what enters a product and then finds no weights to convert.

    Parameters
    ----------
    encoder : torch.nn.Module
        In eval mode, in float32.
    layers : torch.nn.ModuleList
        Layers of its transformer.
    dtype : torch.dtype
        float32 or bfloat16.

    Returns
    -------
    encoder : torch.nn.Module
        The same.
    """
    _fold_parametrizations(encoder)
    narrow = keep_narrow_in_float32(encoder)
    extractor = getattr(encoder, "feature_extractor", None)
    replaces = extractor is not None and TimeMajorConvolutions.can_replace(extractor)
    convolutions = TimeMajorConvolutions(extractor.conv_layers, dtype) if replaces else None
    if dtype != torch.float32:
        for module in encoder.modules():
            if isinstance(module, (torch.nn.Linear, CONVOLUTION)) and module not in narrow:
                _round_weights(module, dtype)
        layers[0].register_forward_pre_hook(_in_float32, with_kwargs=True)
    if replaces:
        encoder.feature_extractor = convolutions
    return encoder.requires_grad_(False)


def make_float32_copy(encoder):
    """Copy a network of transformers without copying its weights.

    Parameters
    ----------
    encoder : torch.nn.Module
        Its parametrised weights are computed, in place.

    Returns
    -------
    twin : torch.nn.Module
        Its modules may be changed, but not their weights in place.
    """
    _fold_parametrizations(encoder)
    tensors = [*encoder.parameters(), *encoder.buffers()]
    return copy.deepcopy(encoder, {id(tensor): tensor for tensor in tensors})


def _fold_parametrizations(encoder):
    """Replace parametrised weights by their values."""
    for module in list(encoder.modules()):
        for name in list(getattr(module, "parametrizations", {})):
            parametrize.remove_parametrizations(module, name)


def _round_weights(module, dtype):
    """Replace the weights of a layer, which another network may share, by rounded ones."""
    for name, weight in list(module.named_parameters(recurse=False)):
        setattr(module, name, torch.nn.Parameter(weight.detach().to(dtype), requires_grad=False))


def _in_float32(layer, args, kwargs):
    """Let what the first layer adds to, and all after it, be float32: a hook."""
    if args:
        return (args[0].float(), *args[1:]), kwargs
    return args, {**kwargs, "hidden_states": kwargs["hidden_states"].float()}


class TimeMajorConvolutions(torch.nn.Module):
    """Convolutions of a feature extractor as matrix products on frames whose channels lie side by side.

    Frame j of a convolution reads k frames of its input, which are one stretch of memory: a row of a
    strided view (n_frames, k · n_channels) that is multiplied with the taps. Layer norms find their
    channels in place, too, so that nothing is transposed, and a piece of frames goes through product,
    norm and activation while it is in the cache. The same sums in another order.

    Parameters
    ----------
    layers : sequence of Module
        Each with a ``conv`` (Conv1d), an ``activation`` and maybe a ``layer_norm``, as wav2vec 2.0,
        HuBERT, WavLM and Data2Vec have them.
    dtype : torch.dtype
        Of what is multiplied, except in the first layer: it reads the samples, and stays in float32 as
        norms and activations do.

    Shape:
        Input: `(1, n_samples)`
        Output: `(1, n_features, n_frames)`
    """

    def __init__(self, layers, dtype):
        super().__init__()
        self.dtype = dtype
        self.kernels = [layer.conv.kernel_size[0] for layer in layers]
        self.strides = [layer.conv.stride[0] for layer in layers]
        self.norms = torch.nn.ModuleList(
            getattr(layer, "layer_norm", None) or torch.nn.Identity() for layer in layers
        )
        self.activations = torch.nn.ModuleList(layer.activation for layer in layers)
        self.products = torch.nn.ModuleList()
        for index, layer in enumerate(layers):
            taps = layer.conv.weight.detach().permute(0, 2, 1).flatten(1)
            has_bias = layer.conv.bias is not None
            product = skip_init(torch.nn.Linear, *taps.shape[::-1], bias=has_bias)  # draws nothing
            product.weight.data = taps.contiguous()
            if has_bias:
                product.bias.data = layer.conv.bias.detach()
            self.products.append(product.to(dtype if index else torch.float32))

    @staticmethod
    def can_replace(extractor):
        """Whether a feature extractor is made of such layers and of nothing else."""
        layers = getattr(extractor, "conv_layers", ())
        return [name for name, _ in extractor.named_children()] == ["conv_layers"] and all(
            {name for name, _ in layer.named_children()} - {"layer_norm"} == {"conv", "activation"}
            and isinstance(layer.conv, torch.nn.Conv1d)
            and (layer.conv.padding, layer.conv.dilation, layer.conv.groups) == ((0,), (1,), 1)
            and isinstance(getattr(layer, "layer_norm", None), (*NORMS, type(None)))
            for layer in layers
        )

    def forward(self, audio):
        """Compute the features of one stretch of samples."""
        with torch.autocast(audio.device.type, enabled=False):
            x = audio.reshape(-1, 1).float()
            for index in range(len(self.products)):
                x = self._layer(x, index)
        return x.T[None]

    def _layer(self, x, index):
        """Apply one layer, piece by piece: (n_frames, n_channels) -> (n_frames, n_channels)."""
        kernel, stride, n_channels = self.kernels[index], self.strides[index], x.shape[1]
        product, norm = self.products[index], self.norms[index]
        n_frames = (len(x) - kernel) // stride + 1
        x = x.to(product.weight.dtype)
        frames = x.as_strided((n_frames, kernel * n_channels), (stride * n_channels, 1))
        over_time = isinstance(norm, torch.nn.GroupNorm)  # of each channel over all of the stretch
        size = n_frames if over_time or x.device.type != "cpu" else PIECE
        out = torch.empty(n_frames, len(product.weight), dtype=self.dtype, device=x.device)
        for first in range(0, n_frames, size):
            piece = product(frames[first : first + size]).float()
            piece = norm(piece.T[None])[0].T if over_time else norm(piece)
            out[first : first + size] = self.activations[index](piece)
        return out
