"""State of a brain encoder in a file, whole or relative to a parent."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import warnings
from numbers import Integral

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, validate_parameter_constraints
from sklearn.utils.validation import check_is_fitted
from skorch.history import History
from torch.overrides import TorchFunctionMode

from sk_b2s._utils._devices import choose_device
from sk_b2s.decoding._adaptation import LAYER_NAMES, AdaptingNet, get_subject_layers
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.nn._brain_module import BrainModule
from sk_b2s.nn._losses import LOSSES
from sk_b2s.nn._speech_module import SpeechModule
from sk_b2s.preprocessing._fingerprint import describe

COUNT = [Interval(Integral, 1, None, closed="left")]
MEMBERS = 2**24  # numbers that the matrix of frames and steps may have whatever the weights, 64 MiB
NEW = ("parent_", "adaptations_", "adaptation_rows_")  # attributes that only adapting gives


class EncoderStateMixin:
    """The state of an encoder as plain data, and back.

    The encoder makes nets by ``_make_net`` and adapts as
    :class:`~sk_b2s.decoding._adaptation.AdaptationMixin` does.
    """

    def digest(self):
        """Hash of all that was learnt and that answers come from, equal for encoders fitted alike.

        That is the network and its architecture, the subjects, the frames and
        their weights, the shared response, covariances of subjects, and what
        the steps of ``speech_`` have learnt. What these steps were set to is
        not in it, nor the default candidates: a file is to be the same encoder
        still when a step has got a new parameter.

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
            "response": None if self.shared_response_ is None else vars(self.shared_response_),
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
        if own := state.pop("subject_nets_", None):
            state["own_weights"] = {person: net.state() for person, net in own.items()}
        return state

    def _set_saved_state(self, state):
        """Take up such a state; the nets are built anew around their weights."""
        nets = {name: state.pop(name) for name in ("weights", "own_weights") if name in state}
        vars(self).update(state)
        self._check_device()
        for name, weights in nets.items():
            self._check_state(weights if name == "weights" else nets["weights"])
            for own in weights.values() if name == "own_weights" else ():
                check_weights(own, self._shapes(own, with_speech=False))
        if not set(nets.get("own_weights", ())) <= set(getattr(self, "subjects_", ())):
            raise ValueError("it has networks of subjects that it does not know.")
        if "weights" in nets:
            self.net_ = self._make_net(np.random.RandomState(0))
            self.net_.load_state(nets["weights"])
            self.net_.history = self.history_ = History(state["history_"])
            self._drop_training()
        if "own_weights" in nets:
            self.subject_nets_ = {
                person: self._own_net(weights) for person, weights in nets["own_weights"].items()
            }

    def _check_state(self, weights):
        """Raise unless the architecture is that of the weights; a network of another size is never built."""
        made, n_steps, n_frames = self.architecture_, self.n_times_in_, len(self.frame_weights_)
        known = {
            "n_channels": self.n_features_in_, "n_outputs": self.n_features_out_, "n_subjects": len(self.subjects_),
            "n_times": n_steps, "n_frames": n_frames,
        }  # fmt: skip
        for name, length in known.items():
            if made.get(name) != length:
                raise ValueError(
                    f"the architecture has {name}={str(made.get(name))[:80]}, and its attributes {length}."
                )
        averaged = made.get("n_averaged")
        if averaged is not None and not 1 <= averaged <= len(self.subjects_):
            raise ValueError(
                f"the architecture has n_averaged={str(averaged)[:80]} of {len(self.subjects_)} subjects."
            )
        frames = made["pooling"]
        if frames is None:
            fits = n_steps == n_frames
        else:
            fits = len(frames) == n_steps and all(type(one) is int and 0 <= one < n_frames for one in frames)
        if not fits:
            raise ValueError(f"pooling in the architecture must be one of {n_frames} frames for each step.")
        if n_frames * n_steps > MEMBERS + 16 * sum(weight.numel() for weight in weights.values()):
            raise ValueError(
                f"windows of {n_steps} steps and {n_frames} frames are far larger than its weights."
            )
        check_weights(weights, self._shapes(weights))
        mixed = made["initial_linear"] or made["spatial_attention"]
        wanted = self.n_speech_features_, made["n_virtual_channels"] if mixed else self.n_features_in_
        if self.shared_response_ is not None and wanted != (
            len(self.shared_response_.mean),
            len(self.shared_response_.shared),
        ):
            raise ValueError(f"the shared response is not of {wanted[0]} features and {wanted[1]} channels.")

    def _shapes(self, weights, with_speech=True):
        """Shape and type of each weight of the network, without making one."""
        constraints = self._parameter_constraints
        shapes, modules = {}, [("", BrainModule, {**self.architecture_, "pooling": None})]
        if with_speech and self.speech_architecture_ is not None:
            modules.append(("speech.", SpeechModule, self.speech_architecture_))
        for prefix, kind, made in modules:
            counts = {name: COUNT for name in made if name.startswith("n_") and name not in constraints}
            rules = {**constraints, **counts, "n_averaged": [*COUNT, None], "pooling": [None]}
            if strange := sorted(set(made) - set(inspect.signature(kind).parameters)):
                raise ValueError(
                    f"the architecture has {', '.join(strange)[:80]}, which no network here has."
                )
            validate_parameter_constraints(rules, made, kind.__name__)
            if made["depth"] > len(weights):
                raise ValueError(
                    f"the architecture has depth={made['depth']}, and {len(weights)} weights in all."
                )
            with torch.device("meta"), _Unmade():
                state = kind(**made).state_dict()
            shapes |= {prefix + name: (tuple(weight.shape), weight.dtype) for name, weight in state.items()}
        weights = torch.as_tensor(self.frame_weights_, dtype=torch.float32)
        loss = LOSSES[self.loss].module(weights=weights, duplicates=self.duplicates)
        return shapes | {
            f"loss.{name}": (tuple(one.shape), one.dtype) for name, one in loss.state_dict().items()
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
        net = self._make_net(random, kind=AdaptingNet, with_speech=False, precision=precision)
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
        if self.stimulus_intervals_ is not None:
            known = parent.stimulus_intervals_.intervals
            state["added_sound"] = {
                sound: spans
                for sound, spans in self.stimulus_intervals_.intervals.items()
                if not np.array_equal(spans, known.get(sound))
            }
        if self.subject_layer is not None:
            state["layers"] = get_subject_layers(self.net_)[n_known:].detach().cpu()
        for person, net in getattr(self, "subject_nets_", {}).items():
            weights = net.state()
            if self.subject_layer is not None:
                name = LAYER_NAMES[self.subject_layer]
                weights[name] = weights[name][list(self.subjects_).index(person)]
            state["added_weights"][person] = weights
        return state

    def _check_added(self, parent):
        """Raise unless what was added fits the encoder that it was added to; nothing is made before."""
        people, made = list(self.added), parent.architecture_
        if len(set(people)) < len(people) or not set(self.added_weights) <= set(people):
            raise ValueError(
                "the names of new subjects are not distinct, or others have networks of their own."
            )
        if not set(self.shared) <= {"speech"}:
            raise ValueError(
                f"it takes {', '.join(self.shared)[:80]} from its parent, and may take 'speech' alone."
            )
        if self.subject_layer != made["subject_layer"]:
            raise ValueError(
                f"subject_layer={self.subject_layer!r}, and its parent has {made['subject_layer']!r}."
            )
        shapes, name = (
            parent._shapes(parent.net_.state(), with_speech=False),
            LAYER_NAMES.get(self.subject_layer),
        )
        if name is not None:
            (_, *layer), kind = shapes[name]
            shapes[name] = tuple(layer), kind
            if tuple(self.layers.shape) != (len(people), *layer):
                raise ValueError(
                    f"{len(people)} new subjects need layers of {(len(people), *layer)}, got "
                    f"{tuple(self.layers.shape)}."
                )
        for weights in self.added_weights.values():
            check_weights(weights, shapes)
        if "added_sound" in vars(self):
            spans = {sound: np.asarray(one, float) for sound, one in self.added_sound.items()}
            if parent.stimulus_intervals_ is None or any(
                one.ndim != 2 or one.shape[1] != 2 for one in spans.values()
            ):
                raise ValueError("the intervals of sound that were added are not pairs of seconds.")

    def _join_parent(self, parent):
        """Complete an encoder whose state is :meth:`_added_state` by the one that it was adapted from."""
        self._check_added(parent)
        added = vars(self)
        kept = {**self.get_params(deep=False), **{name: getattr(parent, name) for name in added["shared"]}}
        new = parent._with_subjects(added["added"])
        vars(new).update({**kept, **{name: value for name, value in added.items() if name in NEW}})
        if "added_sound" in added:
            new.stimulus_intervals_ = StimulusIntervals(
                {**parent.stimulus_intervals_.intervals, **added["added_sound"]}
            )
        if "layers" in added:
            with torch.no_grad():
                get_subject_layers(new.net_)[-len(added["layers"]) :] = added["layers"]
        for person, weights in added["added_weights"].items():
            if self.subject_layer is not None:
                name = LAYER_NAMES[self.subject_layer]
                rows = new.net_.state()[name].clone()
                rows[list(new.subjects_).index(person)] = weights[name]
                weights[name] = rows
            new.subject_nets_[person] = new._own_net(weights)
        return new


class _Unmade(TorchFunctionMode):
    """Let modules be built for their shapes on torch's meta device, without what torch first imports there for it."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.randn:
            function = torch.empty
        if function is torch.Tensor.__truediv__:
            return args[0]
        return function(*args, **(kwargs or {}))


def check_weights(weights, shapes):
    """Raise unless weights are as many, and of such shapes and types, as a network has.

    Parameters
    ----------
    weights : dict of str to Tensor
    shapes : dict of str to (tuple, dtype)
    """
    for name in [*shapes, *(name for name in weights if not name.startswith("loss."))]:
        expected, came = shapes.get(name), weights.get(name)
        came = None if came is None else (tuple(came.shape), came.dtype)
        if expected != came:
            raise ValueError(f"the weight {name[:80]!r} should be {_said(expected)}, and is {_said(came)}.")


def _said(weight):
    return "missing" if weight is None else f"{str(weight[1]).removeprefix('torch.')} of shape {weight[0]}"


def _learnt(thing, fitted=True):
    """Say what an estimator and those within it have learnt, in lists that are equal in every process.

    Learnt is an attribute whose name ends in ``_``; ``fitted`` says whether
    ``thing``, if it is no estimator, is one.
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
