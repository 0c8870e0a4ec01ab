"""Comparison of reduced precision with float32, and the fallback to it.

Kernels of some processors return wrong values in bfloat16, for example grouped
convolutions of few channels on processors with AMX. A network is therefore
computed in both precisions once, on the first batch of each task, before its
reduced precision is used.
"""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import nn
from torch.func import functional_call

# Largest deviations from float32 that are taken for rounding. Right kernels of bfloat16 give .003 for a
# single product, and in networks of 2 to 10 layers up to .05 for estimates and .35 for gradients.
BOUNDS = {"products": 0.02, "features": 0.1, "estimates": 0.2, "gradients": 0.7}
NARROW = 16  # channels per group; oneDNN's bfloat16 kernel for fewer is wrong on processors with AMX
HOOKS = ("_forward_hooks", "_forward_pre_hooks")  # attributes of a module
CONVOLUTION = nn.modules.conv._ConvNd


def compute_precision_deviation(reduced, exact, dims=None):
    """Compute the deviation of values from exact ones, relative to their size.

    Parameters
    ----------
    reduced, exact : Tensor
        Of one shape. Values that are not finite in ``exact`` are left out.
    dims : tuple of int, default=None
        Axes over which ``exact`` varies. The denominator is the norm of its
        deviation from the mean over them, and at least a tenth of its norm. If
        None, it is the norm.

    Returns
    -------
    deviation : float or None
        Infinite where ``reduced`` is not finite and ``exact`` is. None if
        ``exact`` is zero or nowhere finite, so that nothing can be compared.
    """
    exact, reduced = exact.detach().double(), reduced.detach().double()
    known = exact.isfinite()
    exact = exact.where(known, 0.0)
    size = exact.norm()
    if dims is not None:
        size = torch.maximum((exact - exact.mean(dims, keepdim=True)).norm(), 0.1 * size)
    if not size > 0:
        return None
    error = ((reduced - exact).where(known, 0.0).norm() / size).item()
    return math.inf if math.isnan(error) else error


def warn_of_precision_fallback(dtype, place, what, measured):
    """Warn that a network runs in float32.

    Parameters
    ----------
    dtype : torch.dtype
        Precision that was wanted.
    place : str
        What was computed.
    what : str
        Key of ``BOUNDS``.
    measured : float
        Deviation from float32.
    """
    found = f"differ by {measured:.2g}" if math.isfinite(measured) else "are not finite or cannot be computed"
    warnings.warn(
        f"{place}: {what} in {str(dtype).removeprefix('torch.')} {found}, relative to float32, and the bound is "
        f"{BOUNDS[what]:g}. The kernels of this device or library are wrong or the network is too sensitive to "
        f"rounding. Everything is computed in float32 instead. Set precision='float32' to silence this warning.",
        stacklevel=4,
    )


# --- layers -----------------------------------------------------------------------------------------


def keep_narrow_precision(network):
    """Compute convolutions of few channels per group in float32.

    This holds within ``torch.autocast``, too.

    Parameters
    ----------
    network : torch.nn.Module
        Changed in place, in its convolutions of several groups with fewer than
        16 input or output channels per group.

    Returns
    -------
    narrow : set of torch.nn.Module
        These convolutions.
    """
    narrow = {
        module
        for module in network.modules()
        if isinstance(module, CONVOLUTION)
        and module.groups > 1
        and min(module.in_channels, module.out_channels) < NARROW * module.groups
    }
    for module in narrow:
        module.float().forward = partial(_forward_in_float32, module.forward)
    return narrow


def _forward_in_float32(forward, x, *args, **kwargs):
    """Call the forward method of a layer in float32."""
    with torch.autocast(x.device.type, enabled=False):
        return forward(x.float(), *args, **kwargs)


@contextmanager
def watch_precision_of_products(network, dtype, found):
    """Measure how far products of a network are from exact ones.

    Within this context the network must run in float32. The first call of each
    linear layer and convolution is repeated at the end of the context with
    input and weights rounded to ``dtype``, in that precision and in float32,
    so that only the kernels differ. If gradients are enabled, those of the
    input and of trainable weights are compared, too.

    Parameters
    ----------
    network : torch.nn.Module
    dtype : torch.dtype
    found : dict
        Filled with the deviation of each layer.
    """
    inputs = {}

    def store(module, args, _):
        if module not in inputs:  # a copy, because the next layer can change it
            inputs[module] = args[0].detach().clone()

    layers = [module for module in network.modules() if isinstance(module, (nn.Linear, CONVOLUTION))]
    with ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_hook(store).remove)
        yield
    found.update({module: _product_apart(module, x, dtype) for module, x in inputs.items()})


def _product_apart(module, x, dtype):
    """Return the largest deviation of a product and its gradients."""
    x = x.to(dtype).float().requires_grad_(torch.is_grad_enabled())
    own = dict(module.named_parameters())
    rounded = {
        name: weight.detach().to(dtype).float().requires_grad_(x.requires_grad and weight.requires_grad)
        for name, weight in own.items()
    }
    trained = [name for name, weight in rounded.items() if weight.requires_grad]
    with torch.autocast(x.device.type, enabled=False):
        exact = functional_call(module, rounded, (x,))
    exact = [exact, *_gradients_of([exact], [x, *(rounded[name] for name in trained)])]
    try:
        with torch.autocast(x.device.type, dtype):
            reduced = module(x)
        reduced = [reduced, *_gradients_of([reduced], [x, *(own[name] for name in trained)])]
    except (RuntimeError, TypeError) as error:
        return get_precision_deviation_of_error(error)
    return max(compute_precision_deviation(*pair) or 0.0 for pair in zip(reduced, exact, strict=True))


def _gradients_of(outputs, leaves):
    """Compute gradients of a sum of outputs with fixed random weights."""
    if not (torch.is_grad_enabled() and leaves):
        return []
    random = torch.Generator().manual_seed(0)
    weights = [torch.randn(out.shape, generator=random).to(out) for out in outputs]
    return list(torch.autograd.grad(outputs, leaves, weights, allow_unused=True, materialize_grads=True))


def get_precision_deviation_of_error(error):
    """Return the deviation of a result that a device cannot compute.

    Parameters
    ----------
    error : Exception
        It is raised again if memory is lacking, because float32 cannot be
        computed either in that case.

    Returns
    -------
    deviation : float
        Infinity.
    """
    if isinstance(error, torch.OutOfMemoryError):
        raise error
    return math.inf


# --- networks ---------------------------------------------------------------------------------------


class Precision:
    """Precision of a network, with a fallback to float32.

    Parameters
    ----------
    dtype : torch.dtype
        Wanted precision.
    name : str
        Of the estimator, for the warning.

    Attributes
    ----------
    dtype : torch.dtype
        Precision in use.
    """

    def __init__(self, dtype, name="BrainEncoder"):
        self.wanted, self.dtype, self.name = dtype, dtype, name
        self._passed = set()

    def __getstate__(self):
        return {**vars(self), "_passed": set()}  # another machine has to compare again

    def renewed(self, wanted):
        """Return an unchecked precision for another network of the same kind.

        Parameters
        ----------
        wanted : torch.dtype
            A fallback from this precision is kept.

        Returns
        -------
        precision : Precision
        """
        other = Precision(wanted, self.name)
        other.dtype = self.dtype if wanted == self.wanted else wanted
        return other

    def autocast(self, device):
        """Return the context in which the network runs.

        Parameters
        ----------
        device : str
            Type of the device.

        Returns
        -------
        context : torch.autocast
        """
        return torch.autocast(device, dtype=self.dtype, enabled=self.dtype != torch.float32)

    def check(self, task, networks, compute, gradients=False):
        """Compare with float32 the first time that a task is computed.

        Parameters
        ----------
        task : str
            Each task is compared once, at the first output that varies.
        networks : list of torch.nn.Module
            Buffers and generators stay as they are.
        compute : callable
            ``compute() -> outputs``, a list of Tensors of shape (n_windows,
            n_features, n_frames), in the precision in use.
        gradients : bool, default=False
            Whether gradients of trainable weights are compared, too.
        """
        if self.dtype == torch.float32 or task in self._passed:
            return
        found = self._compare(networks, compute, gradients)
        excess = {what: apart / BOUNDS[what] for what, apart in found.items()}
        worst = max(excess, key=excess.get)
        if excess[worst] > 1:
            self.dtype = torch.float32
            warn_of_precision_fallback(self.wanted, f"{self.name}, {task}", worst, found[worst])
        elif "estimates" in found:
            self._passed.add(task)

    def _compare(self, networks, compute, gradients):
        """Return the largest deviation of each kind."""
        products, weights = {}, [w for network in networks for w in network.parameters() if w.requires_grad]

        def results(*contexts):
            with ExitStack() as stack:
                for context in (_restore_networks(networks), torch.set_grad_enabled(gradients), *contexts):
                    stack.enter_context(context)
                outputs = compute()
                return outputs, _gradients_of(outputs, weights)

        reduced = self.dtype
        try:
            self.dtype = torch.float32
            exact, of_exact = results(
                *(watch_precision_of_products(network, reduced, products) for network in networks)
            )
        finally:
            self.dtype = reduced
        try:
            values, of_values = results()
        except (RuntimeError, TypeError) as error:
            return {"estimates": get_precision_deviation_of_error(error)}
        kinds = {
            "products": list(products.values()),
            "estimates": [
                compute_precision_deviation(a, b, (0, 2)) for a, b in zip(values, exact, strict=True)
            ],
            "gradients": [
                compute_precision_deviation(_flatten_tensors(of_values), _flatten_tensors(of_exact))
            ]
            if of_exact
            else [],
        }
        known = {what: [apart for apart in found if apart is not None] for what, found in kinds.items()}
        return {what: max(found) for what, found in known.items() if found}


def _flatten_tensors(tensors):
    """Return all numbers of some tensors."""
    real = (torch.view_as_real(one) if one.is_complex() else one for one in tensors)
    return torch.cat([tensor.flatten().float() for tensor in real])


@contextmanager
def _restore_networks(networks):
    """Restore buffers and random generators at the end, and disable hooks."""
    modules = [module for network in networks for module in network.modules()]
    hooks = [(vars(module), name, vars(module)[name]) for module in modules for name in HOOKS]
    buffers = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers(recurse=False)]
    generators = {g for g in (getattr(module, "generator", None) for module in modules) if g is not None}
    states = [(generator, generator.get_state()) for generator in generators]
    try:
        for attributes, name, _ in hooks:
            attributes[name] = OrderedDict()
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for attributes, name, value in hooks:
            attributes[name] = value
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
        for generator, state in states:
            generator.set_state(state)
