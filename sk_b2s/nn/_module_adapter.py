"""Adapter of any torch network to the training of brain encoders."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sk_b2s._utils._devices import explain_lack_of_memory
from sk_b2s.nn._augmentation import WindowAugmentation
from sk_b2s.nn._brain_module import make_pooling_members

N_PROBED = 2  # windows of noise from which the shape of an output is found
WEIGHTS = (torch.float32, torch.float64)
RANDOM = (
    1e-3  # relative change of estimates from call to call, larger than rounding of parallel sums on a GPU
)
LEAK = 0.01  # relative change of an estimate by the other windows of a batch, larger than rounding


def name_adapted_module(module: object) -> str:
    """Return the name of a class, function or network, for messages."""
    return getattr(module, "__name__", None) or type(module).__name__


def _list_module_arguments(function: Any) -> dict[str, inspect.Parameter]:
    """Return the arguments that can be passed by name, {} if unknown."""
    is_class = isinstance(function, type)
    if is_class:  # a base class may have a __new__ without names
        function = inspect.getattr_static(function, "__init__")
    try:
        arguments = list(inspect.signature(function).parameters.items())
    except (TypeError, ValueError):
        return {}
    return dict(arguments[is_class:])  # without self


def build_adapted_module(module: Any, params: Mapping[str, Any], known: Mapping[str, Any]) -> nn.Module:
    """Build a network, with the known numbers that its signature names.

    Parameters
    ----------
    module : class of nn.Module, callable or nn.Module
        A network is copied. A class or callable is called.
    params : dict of str to object
        Arguments of the user. They take precedence.
    known : dict of str to int or float
        Numbers of the data. Only those that the signature names are passed.

    Returns
    -------
    network : nn.Module
    """
    name = name_adapted_module(module)
    if isinstance(module, nn.Module):
        if params:
            raise ValueError(
                f"module is an instance of {name}, which cannot take module__{next(iter(params))}. Pass the class, "
                f"module={name}, or set the argument where you make the instance."
            )
        return _copy_module(module)
    accepted = _list_module_arguments(module)
    is_open = any(one.kind is one.VAR_KEYWORD for one in accepted.values())
    if not is_open and (unknown := [key for key in params if key not in accepted]):
        names = ", ".join(accepted)
        raise ValueError(f"module__{unknown[0]} is not an argument of {name}. Its arguments are {names}.")
    given = {key: value for key, value in known.items() if key in accepted and value is not None}
    lacking = [
        key
        for key, one in accepted.items()
        if key in known and known[key] is None and one.default is one.empty and key not in params
    ]
    if lacking:
        raise ValueError(
            f"{name} requires {lacking[0]}, which X does not have. Pass Windows with it, such as "
            f"Windows.from_array(X, sfreq=...), or set module__{lacking[0]}."
        )
    given |= params
    try:
        with explain_lack_of_memory():
            network = module(**given)
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(
            f"{name} cannot be built with {_format_arguments(given)}: {_format_error(error)} Set other arguments with "
            f"module__, for example BrainEncoder(module={name}, module__{_name_lacking(accepted, given)}=...)."
        ) from error
    if not isinstance(network, nn.Module):
        raise TypeError(
            f"module must be a torch.nn.Module, its class, or a callable that returns one. {name} returned "
            f"{type(network).__name__}."
        )
    return network if isinstance(module, type) else _copy_module(network)  # it may return the same one twice


def _copy_module(network: nn.Module) -> nn.Module:
    """Copy a network of the user, or raise."""
    name = name_adapted_module(network)
    if any(one.is_meta for one in network.parameters()) and torch.get_default_device().type != "meta":
        raise ValueError(f"{name} is on the meta device and has no weights. Pass its class, module={name}.")
    try:
        with torch.no_grad():  # the weights of copies of scripted networks would not be leaves
            copied = copy.deepcopy(network)
    except Exception as error:
        raise ValueError(
            f"The instance of {name} cannot be copied: {_format_error(error)} Pass its class, module={name}, or a "
            f"function that makes it. Initialize lazy layers before by a call of the network."
        ) from error
    for one, former in zip(copied.parameters(), network.parameters(), strict=True):
        if not nn.parameter.is_lazy(one):
            one.requires_grad_(former.requires_grad)
    return copied


def _format_arguments(given: Mapping[str, Any]) -> str:
    """Format the arguments of a network for a message."""
    shown = [f"{key}={value!r:.40}" for key, value in given.items()]
    return ", ".join(shown) or "no arguments"


def _format_error(error: Exception) -> str:
    """Format an error of a network as a sentence."""
    text = f"{type(error).__name__}: {str(error).strip()}".removesuffix(": ")
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _name_lacking(accepted: Mapping[str, inspect.Parameter], given: Mapping[str, Any]) -> str:
    """Return the first argument that was not given, for a message."""
    names = [
        key
        for key, one in accepted.items()
        if key not in given and one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD
    ]
    return names[0] if names else "name"


class _ModuleOutputError(ValueError):
    """A network returned another output than a tensor of features."""


class ModuleAdapter(nn.Module):
    """Any network on EEG/MEG windows, with the interface of BrainModule.

    The network is called with windows, contiguous in memory, and with
    ``subject`` and ``positions`` if its ``forward`` has arguments of these
    names. In training, its random numbers are drawn from ``generator``.

    Parameters
    ----------
    make : class of nn.Module, callable or nn.Module
        The network, see :func:`build_adapted_module`.
    params : dict of str to object
        Arguments of the network.
    n_channels, n_outputs, n_times, n_frames : int
        Numbers of channels, speech features, samples and output frames.
    n_network_outputs : int
        Passed to the network as ``n_outputs``: ``n_outputs``, or times
        ``n_frames`` for a network that returns one vector per window.
    n_subjects, n_averaged : int or None
        Number of subjects, and of those in the training set if others were
        added.
    pooling : sequence of int or None
        Frame of each sample, None if every frame is one sample.
    sfreq : float or None
        Sampling rate in Hz.
    channel_dropout, time_dropout, max_shift
        See :class:`~sk_b2s.nn._augmentation.WindowAugmentation`.

    Attributes
    ----------
    generator : torch.Generator or None
        CPU generator. None uses the global one of torch.

    Shape:
        - x, subject, layout, positions: as :class:`BrainModule`
        - Output: `(n_windows, n_outputs, n_frames)`
    """

    members: Tensor | None
    made_by: tuple[Any, ...] | None = None  # of parametrized networks, absent in pickles of former versions

    def __init__(
        self,
        make: Any,
        params: Mapping[str, Any],
        *,
        n_channels: int,
        n_outputs: int,
        n_subjects: int,
        n_times: int,
        n_frames: int,
        n_network_outputs: int,
        n_averaged: int | None = None,
        pooling: Sequence[int] | np.ndarray | None = None,
        sfreq: float | None = None,
        channel_dropout: float = 0.0,
        time_dropout: float = 0.0,
        max_shift: int = 0,
    ) -> None:
        super().__init__()
        self.name = name_adapted_module(make)
        self.n_channels, self.n_times = n_channels, n_times
        self.n_outputs, self.n_frames = n_outputs, n_frames
        self.n_known = n_averaged or n_subjects
        self.generator: torch.Generator | None = None
        self.augmentation = WindowAugmentation(channel_dropout, time_dropout, max_shift)
        known = describe_adapter_data(n_channels, n_times, n_frames, self.n_known, sfreq)
        made_by = make, params, {**known, "n_outputs": n_network_outputs}
        self.network = build_adapted_module(*made_by)
        accepted = _list_module_arguments(self.network.forward)
        self.extra = tuple(name for name in ("subject", "positions") if name in accepted)
        members = None
        if pooling is not None:
            members = make_pooling_members(pooling, n_times, n_frames)
        self.register_buffer("members", members, persistent=False)
        _check_dtypes(self)
        probe_adapted_module(self)  # initializes lazy layers, and raises before training
        is_parametrized = any(map(nn.utils.parametrize.is_parametrized, self.network.modules()))
        self.made_by = made_by if is_parametrized else None

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle parametrizations, which torch does not support.

        The network is made again, with the same weight tensors, because an
        optimizer may share them.
        """
        if self.made_by is None:
            return super().__reduce_ex__(protocol)
        content = {key: value for key, value in vars(self).items() if key not in ("_modules", "made_by")}
        parts = {key: part for key, part in self._modules.items() if key != "network"}
        return _restore_adapter, (type(self), content, parts, self.made_by, _list_tensors(self.network))

    def has_unused_weights(self) -> bool:
        """Return whether the output does not depend on some weights."""
        weights = [one for one in self.network.parameters() if one.requires_grad]
        try:
            total = probe_adapted_module(self, has_gradient=True).sum()
            found = torch.autograd.grad(total, weights, allow_unused=True) if weights else ()
        except RuntimeError:  # recurrent layers of cuDNN have no gradient in evaluation
            return True
        return any(one is None for one in found)

    def draw_from(self, generator: torch.Generator | None) -> None:
        """Set the CPU generator of all random numbers."""
        self.generator = self.augmentation.generator = generator

    def forward(
        self,
        x: Tensor,
        subject: Tensor,
        layout: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Return the estimated speech features of each window."""
        if tuple(x.shape[1:]) != (self.n_channels, self.n_times):
            raise ValueError(
                f"Windows must have {self.n_channels} channels and {self.n_times} samples, as in training. Got "
                f"{tuple(x.shape[1:])} instead."
            )
        given: dict[str, Tensor] = {}
        if "subject" in self.extra:
            given["subject"] = subject.masked_fill(subject >= self.n_known, -1)
        if "positions" in self.extra:
            if positions is None or layout is None:
                raise ValueError(
                    f"{self.name} requires sensor positions, and X has none. Set Epocher(montage=...) or wrap an array "
                    f"with Windows.from_array(X, positions=...)."
                )
            given["positions"] = positions[layout]
        out = self._run(self.augmentation(x).contiguous(), given)
        return self._shape_output(out, len(x))

    def _run(self, x: Tensor, given: dict[str, Tensor]) -> Tensor:
        """Run the network, and explain errors for unseen subjects."""
        try:
            return self._run_network(x, given)
        except IndexError as error:
            if "subject" not in given or bool((given["subject"] >= 0).all()):
                raise
            raise ValueError(
                f"{self.name} cannot process windows of subjects that were not in the first fit, for which it is given "
                f"subject=-1: {_format_error(error)} Use for example nn.Embedding(n_subjects + 1, ...) with subject + 1, or "
                f"call it with windows of {self.n_known} known subjects only."
            ) from error

    def _run_network(self, x: Tensor, given: dict[str, Tensor]) -> Tensor:
        """Run the network, with random numbers of the generator."""
        if not self.training or self.generator is None:
            return self.network(x, **given)
        seed = int(torch.randint(2**62, (), generator=self.generator))
        with torch.random.fork_rng([x.device] if x.is_cuda else []):
            torch.default_generator.manual_seed(seed)
            if x.is_cuda:
                with torch.cuda.device(x.device):
                    torch.cuda.manual_seed(seed)
            return self.network(x, **given)

    def _shape_output(self, out: Any, n_windows: int) -> Tensor:
        """Return an output as features of each frame, or raise."""
        if not isinstance(out, Tensor):
            raise _ModuleOutputError(
                f"{self.name} must return one tensor. Got {type(out).__name__} instead. Write a class whose forward method "
                f"selects the tensor, for example `return self.network(x)[0]`."
            )
        if not out.is_floating_point():
            raise _ModuleOutputError(
                f"{self.name} must return real numbers. Got a tensor of {_format_dtype(out)} instead. Return for example "
                f"its real part or magnitude."
            )
        shape, n_values = tuple(out.shape), self.n_outputs * self.n_frames
        if shape == (n_windows, self.n_outputs, self.n_frames):
            return out
        if shape == (n_windows, self.n_outputs, self.n_times) and self.members is not None:
            pooled = self.members @ out.mT
            return (pooled / self.members.sum(1, keepdim=True).clamp(min=1).to(pooled.dtype)).mT
        if shape == (n_windows, n_values):
            return out.unflatten(1, (self.n_outputs, self.n_frames))
        if shape == (n_windows, self.n_outputs):
            return out[:, :, None].expand(-1, -1, self.n_frames)
        raise _ModuleOutputError(
            f"{self.name} must return ({n_windows}, {self.n_outputs}, {self.n_frames}) for {n_windows} windows: "
            f"{self.n_outputs} features in {self.n_frames} frames. It may also return {self.n_times} samples instead of "
            f"frames, or vectors of {n_values} or {self.n_outputs} numbers. Got {shape} instead. Let it take the "
            f"arguments n_outputs and n_frames, or end it with nn.AdaptiveAvgPool1d({self.n_frames})."
        )


def describe_adapter_data(
    n_channels: int, n_times: int, n_frames: int, n_subjects: int, sfreq: float | None
) -> dict[str, int | float | None]:
    """Return the numbers of the data that a network may name as arguments.

    ``n_chans``, ``n_times`` and ``sfreq`` are the names of braindecode.
    """
    return {
        "n_chans": n_channels,
        "n_channels": n_channels,
        "n_times": n_times,
        "n_frames": n_frames,
        "n_subjects": n_subjects,
        "sfreq": sfreq,
    }


def probe_adapted_module(
    adapter: ModuleAdapter, n_windows: int = N_PROBED, seed: int | None = None, has_gradient: bool = False
) -> Tensor:
    """Return the output of a network for windows of noise, equal in each call.

    ``seed`` is that of the random numbers of the network. If None, they are
    those of the seed of the fit, as for the weights of lazy layers.
    """
    own = (one.device for one in adapter.network.parameters() if not nn.parameter.is_lazy(one))
    device = next(own, torch.zeros(0).device)
    noise = np.random.default_rng(0).standard_normal((N_PROBED, adapter.n_channels, adapter.n_times))
    x = torch.from_numpy(noise.astype(np.float32))[-n_windows:].to(device)
    subject = torch.zeros(n_windows, dtype=torch.int64, device=device)
    positions = torch.zeros(1, adapter.n_channels, 2, device=device)
    members, training = adapter.members, adapter.training
    adapter.members = None if members is None else members.to(device)
    adapter.eval()
    try:
        with explain_lack_of_memory(), torch.set_grad_enabled(has_gradient), torch.random.fork_rng([]):
            if seed is not None:
                torch.default_generator.manual_seed(seed)
            return adapter(x, subject, subject, positions)
    except _ModuleOutputError as error:
        raise ValueError(str(error)) from None
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(
            f"{adapter.name} cannot process {n_windows} windows of {adapter.n_channels} channels and {adapter.n_times} "
            f"samples: {_format_error(error)} Its forward method must accept a float32 tensor of shape (n_windows, "
            f"{adapter.n_channels}, {adapter.n_times}) with any number of windows. Other possible arguments are subject and "
            f"positions.{_advise_float32(adapter)}"
        ) from error
    finally:
        adapter.members = members
        adapter.train(training)


def _check_dtypes(adapter: ModuleAdapter) -> None:
    """Raise for weights of reduced precision."""
    for key, value in [*adapter.network.named_parameters(), *adapter.network.named_buffers()]:
        if value.is_floating_point() and value.dtype not in WEIGHTS:
            raise ValueError(
                f"{adapter.name} has weights of {_format_dtype(value)} ({key}), and training requires float32. Convert them "
                f"with its method float(), and set precision='bfloat16' for faster training."
            )


def check_adapted_module(adapter: ModuleAdapter) -> None:
    """Raise or warn for a network that is not usable, before its training.

    Raises for weights that cannot be stored, and for a network that cannot
    process a single window. Warns if the estimate of a window is random or
    depends on the other windows.
    """
    for key, value in adapter.network.state_dict().items():
        if not isinstance(value, Tensor):
            raise ValueError(
                f"{adapter.name} has the extra state {key!r}, which cannot be stored. Remove get_extra_state from the "
                f"network, or return a tensor."
            )
    out, again, alone = (probe_adapted_module(adapter, n, seed) for n, seed in ((2, 0), (2, 1), (1, 0)))
    change = again.nan_to_num() - out.nan_to_num()
    if change.norm() > RANDOM * out.nan_to_num().norm():
        warnings.warn(
            f"{adapter.name} returns other estimates for the same windows when it is called again, so scores are random. "
            f"Dropout in a forward method must depend on self.training.",
            stacklevel=3,
        )
    elif out.isfinite().all() and (alone[-1] - out[-1]).norm() > LEAK * out[-1].norm():
        warnings.warn(
            f"{adapter.name} returns another estimate of a window if other windows are in the batch, so scores depend on "
            f"the batches and can use other windows. Check the axis of windows (nn.LSTM needs batch_first=True), and use "
            f"normalization with running statistics.",
            stacklevel=3,
        )


def _advise_float32(adapter: ModuleAdapter) -> str:
    """Return advice for a network of float64 weights, or nothing."""
    is_double = any(one.dtype == torch.float64 for one in adapter.network.parameters())
    return " Its weights are float64. Convert them with its method float()." if is_double else ""


def _format_dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _list_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return all weights and buffers by name."""
    return dict([
        *network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)
    ])  # fmt: skip


def _restore_adapter(
    kind: type[ModuleAdapter], content: dict[str, Any], parts: dict[str, nn.Module], made_by: tuple[Any, ...],
    tensors: Mapping[str, Tensor],
) -> ModuleAdapter:  # fmt: skip
    """Make a pickled adapter and its network again."""
    adapter = kind.__new__(kind)
    nn.Module.__init__(adapter)
    vars(adapter).update(content, made_by=made_by)
    with torch.random.fork_rng([]):
        network = build_adapted_module(*made_by)
    adapter.network = network
    for name, part in parts.items():
        setattr(adapter, name, part)
    probe_adapted_module(adapter)  # initializes lazy layers
    for name, value in tensors.items():
        path, _, leaf = name.rpartition(".")
        setattr(network.get_submodule(path), leaf, value)
    return adapter.train(content["training"])


def infer_adapter_outputs(make: Any, params: Mapping[str, Any], made: Mapping[str, Any]) -> int:
    """Return the argument ``n_outputs`` of a network.

    It is the number of speech features, or times the number of frames if the
    network returns a vector per window and takes this number as an argument.

    Parameters
    ----------
    make, params
        See :class:`ModuleAdapter`.
    made : dict of str to object
        Its other arguments.
    """
    n_features, n_values = made["n_outputs"], made["n_outputs"] * made["n_frames"]
    if isinstance(make, nn.Module) or "n_outputs" in params or n_features == n_values:
        return n_features
    if "n_outputs" not in _list_module_arguments(make):
        return n_features
    with torch.random.fork_rng([]):
        probed = _VectorProbe(make, params, **made, n_network_outputs=n_features)
    return n_values if probed.is_vector else n_features


class _VectorProbe(ModuleAdapter):
    """Adapter that records whether the network returns vectors."""

    is_vector = False

    def _shape_output(self, out: Any, n_windows: int) -> Tensor:
        self.is_vector = isinstance(out, Tensor) and tuple(out.shape) == (n_windows, self.n_outputs)
        return super()._shape_output(out, n_windows)
