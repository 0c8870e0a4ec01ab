"""Networks of the user in BrainEncoder: parameters, checks and arguments."""

from __future__ import annotations

import inspect

from torch import nn

from sk_b2s.nn._brain_module import BrainModule
from sk_b2s.nn._module_adapter import (
    ModuleAdapter,
    check_adapted_module,
    infer_adapter_outputs,
    name_adapted_module,
)

PREFIX = "module__"
INIT = "init__"
AUGMENTATION = ("channel_dropout", "time_dropout")  # parameters of the network that also apply to others


class CustomModuleMixin:
    """Parameters ``module`` and ``module__...`` of an encoder."""

    _open_prefix = PREFIX

    def __init_subclass__(cls, **kwargs):
        """Hide ``module__...`` from the signature, as checks of it expect."""
        super().__init_subclass__(**kwargs)
        full = inspect.signature(cls.__init__)
        named = [one for one in full.parameters.values() if one.kind is not one.VAR_KEYWORD]
        cls.__signature__ = full.replace(parameters=named[1:])

    def _store_module_params(self, params):
        """Store arguments of the network as attributes."""
        for name, value in params.items():
            if not name.startswith(PREFIX):
                raise TypeError(f"{type(self).__name__}() got an unexpected keyword argument {name!r}")
            setattr(self, name, value)

    def get_params(self, deep=True):
        """Get the parameters, with those of ``module``.

        Parameters
        ----------
        deep : bool, default=True
            If True, include the parameters of ``speech``.

        Returns
        -------
        params : dict of str to object
            Parameters by name.
        """
        own = {name: value for name, value in vars(self).items() if name.startswith(PREFIX)}
        params = super().get_params(deep)  # init is fitted, and its parameters cannot change any more
        return {name: value for name, value in params.items() if not name.startswith(INIT)} | own

    def set_params(self, **params):
        """Set parameters, also those of ``module``.

        Parameters
        ----------
        **params : object
            Parameters by name. ``module__...`` are arguments of ``module``.

        Returns
        -------
        self : BrainEncoder
            This encoder.
        """
        if fixed := [name for name in params if name.startswith(INIT)]:
            raise ValueError(
                f"{fixed[0]} cannot be set, because init is fitted and fit would not use it. Fit one MaskedEncoder for each "
                f"value, and set init. In the grid of a search, wrap each one in sklearn.frozen.FrozenEstimator."
            )
        own = {name: value for name, value in params.items() if name.startswith(PREFIX)}
        super().set_params(**{name: value for name, value in params.items() if name not in own})
        vars(self).update(own)
        return self

    @property
    def uses_positions(self):
        """Whether the network uses sensor positions, once fitted."""
        if self.module is None:
            return self.spatial_attention
        return hasattr(self, "net_") and "positions" in self.net_.module_.extra

    def _get_subject_layer(self):
        """Return the kind of subject layers that the network has."""
        return self.subject_layer if self.module is None else None

    def _get_network_class(self):
        return BrainModule if self.module is None else ModuleAdapter

    def _get_module_arguments(self, prefix=PREFIX):
        """Return arguments of the adapter that are not plain data."""
        if self.module is None:
            return {}
        return {f"{prefix}make": self.module, f"{prefix}params": self._get_own_params()}

    def _get_own_params(self):
        """Return the arguments of the network that the user set."""
        return {
            name.removeprefix(PREFIX): value for name, value in vars(self).items() if name.startswith(PREFIX)
        }

    def _infer_architecture(self, made, sfreq):
        """Return the plain arguments of the adapter."""
        made = {**made, "sfreq": sfreq, **{name: getattr(self, name) for name in AUGMENTATION}}
        asked = infer_adapter_outputs(self.module, self._get_own_params(), made)
        return {**made, "n_network_outputs": asked}

    def _check_module(self):
        """Raise or warn if the network of the user is not usable."""
        if self.module is not None:
            check_adapted_module(self.net_.module_)

    def _check_module_as_fitted(self, method):
        """Raise if the network or its arguments were changed after ``fit``."""
        fitted = self.net_.get_params_for("module")
        if fitted.get("make") is not self.module or fitted.get("params", {}) != self._get_own_params():
            raise ValueError(
                f"module or one of its parameters was changed after fit, which {method} cannot change. Restore it, or fit "
                f"again."
            )


def check_custom_module(encoder):
    """Raise for parameters that do not work with the given network."""
    own = [name for name in encoder.get_params(deep=False) if name.startswith(PREFIX)]
    if encoder.module is None:
        if own:
            raise ValueError(f"{own[0]} requires a module. Set module to the class of your network.")
        return
    module = encoder.module
    if isinstance(module, type) and not issubclass(module, nn.Module):
        raise ValueError(
            f"module must be a torch.nn.Module, its class, or a callable that returns one. Got the class "
            f"{module.__name__}."
        )
    if encoder.look_ahead is not None:
        raise ValueError(
            f"look_ahead={encoder.look_ahead} changes the kernels of the network of the package, and cannot limit "
            f"{name_adapted_module(module)}. Use causal layers in your network and set look_ahead=None."
        )
    if encoder.unseen_subject == "nearest":
        raise ValueError(
            "unseen_subject='nearest' compares the inputs of subject layers, and an encoder with module= has no subject "
            "layers. Set unseen_subject='average', which passes the subject -1 to the network."
        )


def list_ignored_by_module(encoder, architecture, speech_architecture):
    """List parameters that were set and that a network of the user ignores.

    Values that switch something off, None and False, are not listed.
    """
    used = {*AUGMENTATION, *(speech_architecture if encoder.speech_embedding_dim is not None else ())}
    defaults = inspect.signature(type(encoder)).parameters
    return [
        name for name in architecture
        if name not in used and getattr(encoder, name) not in (None, False, defaults[name].default)
    ]  # fmt: skip
