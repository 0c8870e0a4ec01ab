"""Optimization of pretrained speech models for inference."""

from __future__ import annotations

import copy

import torch
from torch.nn.utils import parametrize, skip_init

from sk_b2s._utils._precision import CONVOLUTION, keep_narrow_precision

NORMS = (torch.nn.LayerNorm, torch.nn.GroupNorm)
CHUNK_FRAMES = 1024  # 2 MiB with 512 channels, which stay in the processor cache during a layer


def optimize_for_inference(encoder, layers, dtype):
    """Optimize a model of transformers for inference, in place.

    - Parametrized weights (the weight norm of the positional convolution) are
      computed once.
    - Convolutions on samples are replaced by :class:`TimeMajorInference` if
      possible.
    - For bfloat16, weights of linear layers and convolutions are converted,
      except for convolutions with few channels per group. Norms and residual
      sums stay in float32. Run the model within ``torch.autocast``, which
      converts the inputs of products.

    Parameters
    ----------
    encoder : torch.nn.Module
        Model in evaluation mode, in float32.
    layers : torch.nn.ModuleList
        Its transformer layers.
    dtype : torch.dtype
        float32 or bfloat16.

    Returns
    -------
    encoder : torch.nn.Module
        The same model.
    """
    _fold_parametrizations(encoder)
    narrow = keep_narrow_precision(encoder)
    extractor = getattr(encoder, "feature_extractor", None)
    replaces = extractor is not None and TimeMajorInference.can_replace(extractor)
    convolutions = TimeMajorInference(extractor.conv_layers, dtype) if replaces else None
    if dtype != torch.float32:
        for module in encoder.modules():
            if isinstance(module, (torch.nn.Linear, CONVOLUTION)) and module not in narrow:
                _convert_weights(module, dtype)
        layers[0].register_forward_pre_hook(_convert_hidden_states, with_kwargs=True)
    if replaces:
        encoder.feature_extractor = convolutions
    return encoder.requires_grad_(False)


def make_float32_inference_copy(encoder):
    """Copy a model without copying its weights.

    Modules of the copy may be replaced, but weights must not change in place.
    Parametrized weights of ``encoder`` are computed in place.
    """
    _fold_parametrizations(encoder)
    tensors = [*encoder.parameters(), *encoder.buffers()]
    return copy.deepcopy(encoder, {id(tensor): tensor for tensor in tensors})


def _fold_parametrizations(encoder):
    """Replace parametrized weights by their values."""
    for module in list(encoder.modules()):
        for name in list(getattr(module, "parametrizations", {})):
            parametrize.remove_parametrizations(module, name)


def _convert_weights(module, dtype):
    """Replace the weights of a layer, as another model may share them."""
    for name, weight in list(module.named_parameters(recurse=False)):
        setattr(module, name, torch.nn.Parameter(weight.detach().to(dtype), requires_grad=False))


def _convert_hidden_states(layer, args, kwargs):
    """Convert the input of the first layer, so that sums are float32."""
    if args:
        return (args[0].float(), *args[1:]), kwargs
    return args, {**kwargs, "hidden_states": kwargs["hidden_states"].float()}


class TimeMajorInference(torch.nn.Module):
    """Convolutions of a feature extractor as matrix products in time order.

    Frame j of a convolution reads k frames of its input, which are contiguous
    in memory. They are a row of a strided view (n_frames, k · n_channels),
    which is multiplied with the weights. Layer norms also find the channels of
    a frame in place, so nothing is transposed, and a chunk of frames stays in
    the processor cache through product, norm and activation. The sums are
    those of the convolution, in another order.

    On one thread this takes 0.6 of the processor time of the convolutions at
    the size of XLSR-53, which saves a tenth of the whole model. See
    ``benchmarks/bench_wav2vec2.py``.

    Parameters
    ----------
    layers : sequence of Module
        Layers with a ``conv`` (Conv1d), an ``activation`` and optionally a
        ``layer_norm``, as in wav2vec 2.0, HuBERT, WavLM and Data2Vec.
    dtype : torch.dtype
        Type of the products. The first layer, norms and activations are always
        float32.

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
            product = skip_init(torch.nn.Linear, *taps.shape[::-1], bias=has_bias)  # without drawing weights
            product.weight.data = taps.contiguous()
            if has_bias:
                product.bias.data = layer.conv.bias.detach()
            self.products.append(product.to(dtype if index else torch.float32))

    @staticmethod
    def can_replace(extractor):
        """Return whether a feature extractor consists of such layers only."""
        layers = getattr(extractor, "conv_layers", ())
        return [name for name, _ in extractor.named_children()] == ["conv_layers"] and all(
            {name for name, _ in layer.named_children()} - {"layer_norm"} == {"conv", "activation"}
            and isinstance(layer.conv, torch.nn.Conv1d)
            and (layer.conv.padding, layer.conv.dilation, layer.conv.groups) == ((0,), (1,), 1)
            and isinstance(getattr(layer, "layer_norm", None), (*NORMS, type(None)))
            for layer in layers
        )

    def forward(self, audio):
        """Compute the features of one interval of audio."""
        with torch.autocast(audio.device.type, enabled=False):
            x = audio.reshape(-1, 1).float()
            for index in range(len(self.products)):
                x = self._apply_layer(x, index)
        return x.T[None]

    def _apply_layer(self, x, index):
        """Apply a layer in chunks to frames (n_frames, n_channels)."""
        kernel, stride, n_channels = self.kernels[index], self.strides[index], x.shape[1]
        product, norm = self.products[index], self.norms[index]
        n_frames = (len(x) - kernel) // stride + 1
        x = x.to(product.weight.dtype)
        frames = x.as_strided((n_frames, kernel * n_channels), (stride * n_channels, 1))
        over_time = isinstance(norm, torch.nn.GroupNorm)  # statistics of each channel over all frames
        size = n_frames if over_time or x.device.type != "cpu" else CHUNK_FRAMES
        out = torch.empty(n_frames, len(product.weight), dtype=self.dtype, device=x.device)
        for first in range(0, n_frames, size):
            chunk = product(frames[first : first + size]).float()
            chunk = norm(chunk.T[None])[0].T if over_time else norm(chunk)
            out[first : first + size] = self.activations[index](chunk)
        return out
