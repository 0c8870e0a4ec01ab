"""Adapter of any torch network to the training of brain encoders."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sk_b2s.nn._augmentation import WindowAugmentation
from sk_b2s.nn._brain_module import _members

N_PROBED = 2  # windows of zeros from which the shape of an output is found


def name_adapted_module(module: object) -> str:
    """Return the name of a class, function or network, for messages."""
    return getattr(module, "__name__", None) or type(module).__name__


def _list_arguments(function: Any) -> dict[str, inspect.Parameter]:
    """Return the arguments that can be passed by name, {} if unknown."""
    if isinstance(function, type):  # a base class may have a __new__ without names
        function = inspect.getattr_static(function, "__init__")
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return {}


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
        return copy.deepcopy(module)
    accepted = _list_arguments(module)
    is_open = any(one.kind is one.VAR_KEYWORD for one in accepted.values())
    if not is_open and (unknown := [key for key in params if key not in accepted]):
        names = ", ".join(key for key in accepted if key != "self")
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
    network = module(**{**given, **params})
    if not isinstance(network, nn.Module):
        raise TypeError(
            f"module must be a torch.nn.Module, its class, or a callable that returns one. {name} returned "
            f"{type(network).__name__}."
        )
    return network if isinstance(module, type) else copy.deepcopy(network)  # it may return the same one twice


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
        self.network = build_adapted_module(make, params, {**known, "n_outputs": n_network_outputs})
        accepted = _list_arguments(self.network.forward)
        self.extra = tuple(name for name in ("subject", "positions") if name in accepted)
        members = None
        if pooling is not None:
            members = _members(pooling, n_times, n_frames)
        self.register_buffer("members", members, persistent=False)
        probe_adapted_module(self)  # initializes lazy layers, and raises before training

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
        shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        n_values = self.n_outputs * self.n_frames
        if shape == (n_windows, self.n_outputs, self.n_frames):
            return out
        if shape == (n_windows, self.n_outputs, self.n_times) and self.members is not None:
            pooled = self.members @ out.mT
            return (pooled / self.members.sum(1, keepdim=True).clamp(min=1).to(pooled.dtype)).mT
        if shape == (n_windows, n_values):
            return out.unflatten(1, (self.n_outputs, self.n_frames))
        if shape == (n_windows, self.n_outputs):
            return out[:, :, None].expand(-1, -1, self.n_frames)
        raise ValueError(
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


def probe_adapted_module(adapter: ModuleAdapter) -> Tensor:
    """Return the output of a network for windows of zeros."""
    own = (one.device for one in adapter.network.parameters() if not nn.parameter.is_lazy(one))
    device = next(own, torch.zeros(0).device)
    x = torch.zeros(N_PROBED, adapter.n_channels, adapter.n_times, device=device)
    subject = torch.zeros(N_PROBED, dtype=torch.int64, device=device)
    positions = torch.zeros(1, adapter.n_channels, 2, device=device)
    members, training = adapter.members, adapter.training
    adapter.members = None if members is None else members.to(device)
    adapter.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng([]):
            return adapter(x, subject, subject, positions)
    except (RuntimeError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(
            f"{adapter.name} cannot process windows of {adapter.n_channels} channels and {adapter.n_times} samples: "
            f"{type(error).__name__}: {error} Its forward method must accept a tensor of shape (n_windows, "
            f"{adapter.n_channels}, {adapter.n_times})."
        ) from error
    finally:
        adapter.members = members
        adapter.train(training)


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
    if "n_outputs" not in _list_arguments(make):
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
