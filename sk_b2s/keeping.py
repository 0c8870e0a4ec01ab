"""What is kept of an encoder in a file: all of it, or what it has beyond the one that it was adapted from."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from skorch.history import History

from sk_b2s.adaptation import LAYER_NAMES, AdaptingNet, layers_of
from sk_b2s.devices import choose_device

__all__ = ["KeptMixin"]


class KeptMixin:
    """The state of an encoder as plain data, and back.

    The encoder makes nets by ``_make_net`` and adapts as :class:`~sk_b2s.adaptation.AdaptationMixin` does.
    """

    def _get_saved_state(self):
        """Fitted attributes, with weights and losses in place of the nets."""
        params = self.get_params(deep=False)
        state = {name: value for name, value in vars(self).items() if name not in params}
        if state.pop("saved_beside_parent_", False):
            return self._added_state()
        if "net_" in state:
            state["weights"] = state.pop("net_").state()
            state["history_"] = list(self.history_)
        if own := state.pop("own_nets_", None):
            state["own_weights"] = {person: net.state() for person, net in own.items()}
        return state

    def _set_saved_state(self, state):
        """Take up such a state; the nets are built anew around their weights."""
        nets = {name: state.pop(name) for name in ("weights", "own_weights") if name in state}
        vars(self).update(state)
        self._check_device()
        if "weights" in nets:
            self.net_ = self._make_net(np.random.RandomState(0))
            self.net_.load_state(nets["weights"])
            self.net_.history = self.history_ = History(state["history_"])
            self._forget_training()
        if "own_weights" in nets:
            self.own_nets_ = {
                person: self._own_net(weights) for person, weights in nets["own_weights"].items()
            }

    def _check_device(self):
        """Fall back on "auto" where the device does not exist on this machine."""
        try:
            choose_device(self.device)
        except ValueError:
            warnings.warn(
                f"device={self.device!r} is not on this machine; it is set to 'auto'.", stacklevel=2
            )
            self.device = "auto"

    # --- beside a parent ----------------------------------------------------------------------------

    def _own_net(self, weights):
        """Make a person's own network around its weights."""
        net = self._make_net(np.random.RandomState(0), kind=AdaptingNet, hears=False)
        net.load_state(weights)
        net.drop_training()
        return net

    def _added_state(self):
        """What an adapted encoder has beyond the one that was fitted."""
        n_known = self.architecture_["n_averaged"]
        state = {
            "parent_": self.parent_, "adaptations_": self.adaptations_, "added": list(self.subjects_[n_known:]),
            "sound_intervals_": self.sound_intervals_, "added_weights": {},
        }  # fmt: skip
        if self.subject_layer is not None:
            state["layers"] = layers_of(self.net_)[n_known:].detach().cpu()
        for person, net in getattr(self, "own_nets_", {}).items():
            weights = net.state()
            if self.subject_layer is not None:
                name = LAYER_NAMES[self.subject_layer]
                weights[name] = weights[name][list(self.subjects_).index(person)]
            state["added_weights"][person] = weights
        return state

    def _join_parent(self, parent):
        """Complete an encoder whose state is :meth:`_added_state` by the one that it was adapted from."""
        added = {name: vars(self).pop(name, None) for name in ("added", "layers")}
        own = vars(self).pop("added_weights")
        told = {name: vars(self).pop(name) for name in ("parent_", "adaptations_", "sound_intervals_")}
        new = parent._with(added["added"])
        vars(new).update({**self.get_params(deep=False), **told})
        if added["layers"] is not None:
            with torch.no_grad():
                layers_of(new.net_)[-len(added["layers"]) :] = added["layers"]
        for person, weights in own.items():
            if self.subject_layer is not None:
                name = LAYER_NAMES[self.subject_layer]
                rows = new.net_.state()[name].clone()
                rows[list(new.subjects_).index(person)] = weights[name]
                weights[name] = rows
            new.own_nets_[person] = new._own_net(weights)
        return new
