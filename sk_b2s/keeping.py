"""What is kept of an encoder in a file: all of it, or what it has beyond the one that it was adapted from."""

from __future__ import annotations

import copy
import hashlib
import json
import warnings

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from skorch.history import History

from sk_b2s.adaptation import LAYER_NAMES, AdaptingNet, layers_of
from sk_b2s.devices import choose_device
from sk_b2s.ledger import describe
from sk_b2s.stimuli import SoundIntervals

__all__ = ["KeptMixin"]

NEW = ("parent_", "adaptations_", "heard_rows_")  # attributes that only adapting gives


class KeptMixin:
    """The state of an encoder as plain data, and back.

    The encoder makes nets by ``_make_net`` and adapts as :class:`~sk_b2s.adaptation.AdaptationMixin` does.
    """

    def digest(self):
        """Hash of all that was learnt and that answers come from, equal for encoders fitted alike.

        That is the network and its architecture, the subjects, the frames and their weights, the shared response,
        covariances of subjects, and what the steps of ``speech_`` have learnt. What these steps were set to is not in
        it, nor the default candidates: a file is to be the same encoder still when a step has got a new parameter.

        Returns
        -------
        digest : str
            SHA-256 in hexadecimal digits.
        """
        check_is_fitted(self)
        said = {
            "subjects": list(map(str, self.subjects_)),
            "shapes": [self.n_times_in_, self.architecture_, self.speech_architecture_],
            "weights": {name: value.cpu().numpy() for name, value in self.net_.state().items()},
            "frame_weights": self.frame_weights_,
            "response": None if self.response_ is None else vars(self.response_),
            "covariances": getattr(self, "covariances_", None),
            "speech": _learnt(self.speech_),
        }
        return hashlib.sha256(json.dumps(describe(said)).encode()).hexdigest()

    def _get_saved_state(self):
        """Fitted attributes, with weights and losses in place of the nets."""
        params = self.get_params(deep=False)
        state = {name: value for name, value in vars(self).items() if name not in params}
        if "saved_beside_" in state:
            return self._added_state(*state["saved_beside_"])
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
        random, precision = np.random.RandomState(0), self.net_.guard
        net = self._make_net(random, kind=AdaptingNet, hears=False, precision=precision)
        net.load_state(weights)
        net.drop_training()
        return net

    def _beside(self, parent, shared=()):
        """Copy of an adapted encoder that is saved without what the one that was fitted has.

        ``shared`` names parameters that are to be had from that one.
        """
        light = copy.copy(self)
        light.saved_beside_ = parent, list(shared)
        vars(light).update(dict.fromkeys(shared))
        return light

    def _added_state(self, parent, shared):
        """What an adapted encoder has beyond the one that was fitted."""
        n_known = self.architecture_["n_averaged"]
        state = {name: value for name, value in vars(self).items() if name in NEW}
        state |= {"added": list(self.subjects_[n_known:]), "shared": shared, "added_weights": {}}
        if self.sound_intervals_ is not None:
            known = parent.sound_intervals_.intervals
            state["added_sound"] = {
                sound: spans
                for sound, spans in self.sound_intervals_.intervals.items()
                if not np.array_equal(spans, known.get(sound))
            }
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
        added = vars(self)
        kept = {**self.get_params(deep=False), **{name: getattr(parent, name) for name in added["shared"]}}
        new = parent._with(added["added"])
        vars(new).update({**kept, **{name: value for name, value in added.items() if name in NEW}})
        if "added_sound" in added:
            new.sound_intervals_ = SoundIntervals(
                {**parent.sound_intervals_.intervals, **added["added_sound"]}
            )
        if "layers" in added:
            with torch.no_grad():
                layers_of(new.net_)[-len(added["layers"]) :] = added["layers"]
        for person, weights in added["added_weights"].items():
            if self.subject_layer is not None:
                name = LAYER_NAMES[self.subject_layer]
                rows = new.net_.state()[name].clone()
                rows[list(new.subjects_).index(person)] = weights[name]
                weights[name] = rows
            new.own_nets_[person] = new._own_net(weights)
        return new


def _learnt(thing, fitted=True):
    """Say what an estimator and those within it have learnt, in lists that are equal in every process.

    Learnt is an attribute whose name ends in ``_``; ``fitted`` says whether ``thing``, if it is no estimator, is one.
    """
    if isinstance(thing, BaseEstimator):
        parts = {name: part for name, part in sorted(vars(thing).items()) if not name.startswith("_")}
        said = [[name, _learnt(part, name.endswith("_"))] for name, part in parts.items()]
        return [type(thing).__name__, *(part for part in said if part[1])]
    if isinstance(thing, (list, tuple)):
        return [said for said in (_learnt(part, fitted) for part in thing) if said]
    if isinstance(thing, pd.DataFrame):  # of which describe would look for the files it names
        thing = thing.to_dict("list")
    if isinstance(thing, dict):
        return _learnt(list(thing.items()), fitted)
    return describe(thing) if fitted else ""
