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
from sk_b2s.decoding._adaptation import LAYER_NAMES, AdaptingNet, get_adaptation_layers
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.nn._registry import LOSSES
from sk_b2s.nn._speech_module import SpeechModule
from sk_b2s.preprocessing._fingerprint import describe_for_fingerprint

COUNT = [Interval(Integral, 1, None, closed="left")]
SHIFT = [Interval(Integral, 0, None, closed="left")]
MEMBERS = 2**24  # elements of the matrix of frames and samples that any file may have, 64 MiB
ADDED = ("parent_", "adaptations_", "adaptation_rows_")  # attributes that adapt sets


class EncoderStateMixin:
    """Conversion of the state of an encoder to plain data and back."""

    def digest(self):
        """Compute a hash of all fitted values that determine the results.

        It covers the network and its architecture, subjects, frame weights,
        shared response, covariances and the fitted values of ``speech_``. It
        does not cover the parameters of ``speech_`` and the default
        candidates, so that the hash stays the same if a step gets a new
        parameter.

        Returns
        -------
        digest : str
            SHA-256 in hexadecimal digits. Equal for encoders with equal fits.
        """
        check_is_fitted(self)
        content = {
            "subjects": list(map(str, self.subjects_)),
            "shapes": [self.n_times_in_, self.architecture_, self.speech_architecture_],
            "weights": {name: value.cpu().numpy() for name, value in self.net_.state().items()},
            "frame_weights": self.frame_weights_,
            "response": None if self.shared_response_ is None else vars(self.shared_response_),
            "covariances": getattr(self, "covariances_", None),
            "speech": _list_fitted_attributes(self.speech_),
        }
        return hashlib.sha256(json.dumps(describe_for_fingerprint(content)).encode()).hexdigest()

    def _get_saved_state(self):
        """Return fitted attributes, with weights instead of nets."""
        params = self.get_params(deep=False)
        state = {name: value for name, value in vars(self).items() if name not in params}
        if "relative_to_" in state:
            return self._get_added_state(*state["relative_to_"])
        if "net_" in state:
            state["weights"] = state.pop("net_").state()
            state["history_"] = list(self.history_)
        if own := state.pop("subject_nets_", None):
            state["own_weights"] = {subject: net.state() for subject, net in own.items()}
        return state

    def _set_saved_state(self, state):
        """Set fitted attributes, and build nets with their weights."""
        nets = {name: state.pop(name) for name in ("weights", "own_weights") if name in state}
        vars(self).update(state)
        replace_missing_device(self)
        for name, weights in nets.items():
            self._check_state(weights if name == "weights" else nets["weights"])
            for own in weights.values() if name == "own_weights" else ():
                check_encoder_state_weights(own, self._shapes(own, with_speech=False))
        if not set(nets.get("own_weights", ())) <= set(getattr(self, "subjects_", ())):
            raise ValueError("it has networks of subjects that are not in subjects_.")
        if "weights" in nets:
            self.net_ = self._make_net(np.random.RandomState(0))
            self.net_.load_state(nets["weights"])
            self.net_.history = self.history_ = History(state["history_"])
            self.net_.drop_training()
        if "own_weights" in nets:
            self.subject_nets_ = {
                subject: self._make_subject_net(weights) for subject, weights in nets["own_weights"].items()
            }

    def _check_state(self, weights):
        """Raise unless the architecture matches the weights."""
        made, n_steps, n_frames = self.architecture_, self.n_times_in_, len(self.frame_weights_)
        known = {
            "n_channels": self.n_features_in_, "n_outputs": self.n_features_out_, "n_subjects": len(self.subjects_),
            "n_times": n_steps, "n_frames": n_frames,
        }  # fmt: skip
        for name, length in known.items():
            if made.get(name) != length:
                raise ValueError(
                    f"the architecture has {name}={str(made.get(name))[:80]}, but its attributes have {length}."
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
            raise ValueError(f"pooling in the architecture must be one of {n_frames} frames for each sample.")
        if n_frames * n_steps > MEMBERS + 16 * sum(weight.numel() for weight in weights.values()):
            raise ValueError(
                f"windows of {n_steps} samples and {n_frames} frames are far larger than its weights."
            )
        check_encoder_state_weights(weights, self._shapes(weights))
        mixed = made.get("initial_linear") or made.get("spatial_attention")
        wanted = self.n_speech_features_, made["n_virtual_channels"] if mixed else self.n_features_in_
        if self.shared_response_ is not None and wanted != (
            len(self.shared_response_.mean),
            len(self.shared_response_.shared),
        ):
            raise ValueError(f"the shared response must have {wanted[0]} features and {wanted[1]} channels.")

    def _shapes(self, weights, with_speech=True):
        """Return the shape and type of each weight, without a net."""
        constraints = self._parameter_constraints
        own, arguments = self._get_network_class(), self._get_module_arguments("")
        shapes, modules = {}, [("", own, {**self.architecture_, "pooling": None})]
        if with_speech and self.speech_architecture_ is not None:
            modules.append(("speech.", SpeechModule, self.speech_architecture_))
        for prefix, kind, made in modules:
            own_shapes = compute_encoder_state_shapes(
                kind, made, constraints, len(weights), arguments if kind is own else {}
            )
            shapes |= {prefix + name: shape for name, shape in own_shapes.items()}
        weights = torch.as_tensor(self.frame_weights_, dtype=torch.float32)
        loss = LOSSES[self.loss].module(weights=weights, duplicates=self.duplicates)
        return shapes | {
            f"loss.{name}": (tuple(one.shape), one.dtype) for name, one in loss.state_dict().items()
        }

    # --- state relative to a parent -----------------------------------------------------------------

    def _make_subject_net(self, weights):
        """Make the own network of a subject with its weights."""
        random, precision = np.random.RandomState(0), self.net_.guard
        net = self._make_net(random, kind=AdaptingNet, with_speech=False, precision=precision)
        net.load_state(weights)
        net.drop_training()
        return net

    def _make_relative(self, parent, shared=()):
        """Copy an adapted encoder, to save it relative to its parent.

        ``shared`` names parameters that are equal to those of the parent.
        """
        relative = copy.copy(self)
        relative.relative_to_ = parent, list(shared)
        vars(relative).update(dict.fromkeys(shared))
        return relative

    def _get_added_state(self, parent, shared):
        """Return what an adapted encoder has in addition to its parent."""
        n_known = self.architecture_["n_averaged"]
        state = {name: value for name, value in vars(self).items() if name in ADDED}
        state |= {"added": list(self.subjects_[n_known:]), "shared": shared, "added_weights": {}}
        if self.stimulus_intervals_ is not None:
            known = parent.stimulus_intervals_.intervals
            state["added_intervals"] = {
                stimulus: spans
                for stimulus, spans in self.stimulus_intervals_.intervals.items()
                if not np.array_equal(spans, known.get(stimulus))
            }
            if self.stimulus_intervals_.copies:
                state["added_copies"] = self.stimulus_intervals_.copies
        name = LAYER_NAMES.get(self._get_subject_layer())
        if name:
            state["layers"] = get_adaptation_layers(self.net_)[n_known:].detach().cpu()
        for subject, net in getattr(self, "subject_nets_", {}).items():
            weights = net.state()
            if name:
                weights[name] = weights[name][list(self.subjects_).index(subject)]
            state["added_weights"][subject] = weights
        return state

    def _check_added(self, parent):
        """Raise unless the added state fits the parent."""
        subjects, made = list(self.added), parent.architecture_
        if len(set(subjects)) < len(subjects) or not set(self.added_weights) <= set(subjects):
            raise ValueError(
                "the names of new subjects are not distinct, or other subjects have their own networks."
            )
        if not set(self.shared) <= {"speech", "init"}:
            raise ValueError(
                f"it takes {', '.join(self.shared)[:80]} from its parent. Only 'speech' and 'init' are possible."
            )
        if self._get_subject_layer() != (wanted := made.get("subject_layer")):
            raise ValueError(f"subject_layer={self.subject_layer!r}, but its parent has {wanted!r}.")
        shapes = parent._shapes(parent.net_.state(), with_speech=False)
        if name := LAYER_NAMES.get(self._get_subject_layer()):
            (_, *layer), kind = shapes[name]
            shapes[name] = tuple(layer), kind
            if tuple(self.layers.shape) != (len(subjects), *layer):
                raise ValueError(
                    f"{len(subjects)} new subjects need layers of {(len(subjects), *layer)}, got "
                    f"{tuple(self.layers.shape)}."
                )
        for weights in self.added_weights.values():
            check_encoder_state_weights(weights, shapes)
        if "added_intervals" in vars(self):
            spans = [np.asarray(one, float) for one in self.added_intervals.values()]
            if parent.stimulus_intervals_ is None or any(one.ndim != 2 or one.shape[1] != 2 for one in spans):
                raise ValueError("the added intervals of stimuli are not pairs of seconds.")

    def _join_parent(self, parent):
        """Combine the added state of this encoder with its parent."""
        self._check_added(parent)
        added = vars(self)
        params = {**self.get_params(deep=False), **{name: getattr(parent, name) for name in added["shared"]}}
        new = parent._with_subjects(added["added"])
        vars(new).update({**params, **{name: value for name, value in added.items() if name in ADDED}})
        if "added_intervals" in added:
            new.stimulus_intervals_ = StimulusIntervals(
                {**parent.stimulus_intervals_.intervals, **added["added_intervals"]},
                added.get("added_copies", ()),
            )
        name = LAYER_NAMES.get(self._get_subject_layer())
        if "layers" in added:
            with torch.no_grad():
                get_adaptation_layers(new.net_)[-len(added["layers"]) :] = added["layers"]
        for subject, weights in added["added_weights"].items():
            if name:
                rows = new.net_.state()[name].clone()
                rows[list(new.subjects_).index(subject)] = weights[name]
                weights[name] = rows
            new.subject_nets_[subject] = new._make_subject_net(weights)
        return new


def replace_missing_device(estimator):
    """Set the device to "auto" if it does not exist on this machine."""
    try:
        choose_device(estimator.device)
    except ValueError:
        warnings.warn(
            f"device={estimator.device!r} does not exist on this machine. It is set to 'auto'.", stacklevel=3
        )
        estimator.device = "auto"


class _OnMetaDevice(TorchFunctionMode):
    """Build modules on the meta device without its slow imports."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.randn:
            function = torch.empty
        if function is torch.Tensor.__truediv__:
            return args[0]
        return function(*args, **(kwargs or {}))


def _make_on_meta_device(kind, arguments):
    """Return the weights of a module without memory for their values.

    A network of the user that cannot be built in this way is built as usual.
    """
    try:
        with torch.device("meta"), _OnMetaDevice():
            return kind(**arguments).state_dict()
    except (RuntimeError, ValueError, TypeError, AttributeError):
        if "make" not in arguments:
            raise
        with torch.random.fork_rng([]):
            return kind(**arguments).state_dict()


def compute_encoder_state_shapes(kind, made, constraints, n_weights, arguments=None):
    """Return shape and type of each weight of a module, without memory.

    ``made`` are its arguments in a file, ``constraints`` those of the
    parameters of the estimator, and ``n_weights`` the weights in the file.
    ``arguments`` are not checked.
    """
    counts = {name: COUNT for name in made if name.startswith("n_") and name not in constraints}
    rules = {
        **constraints,
        **counts,
        "n_averaged": [*COUNT, None],
        "pooling": [None],
        "max_shift": SHIFT,
        "look_ahead": [*SHIFT, None],
    }
    if strange := sorted(set(made) - set(inspect.signature(kind).parameters)):
        raise ValueError(
            f"the architecture has {', '.join(strange)[:80]}, which are not arguments of {kind.__name__}."
        )
    validate_parameter_constraints(rules, made, kind.__name__)
    if made.get("depth", 0) > n_weights:
        raise ValueError(f"the architecture has depth={made['depth']}, but only {n_weights} weights.")
    state = _make_on_meta_device(kind, {**made, **(arguments or {})})
    return {name: (tuple(weight.shape), weight.dtype) for name, weight in state.items()}


def check_encoder_state_weights(weights, shapes):
    """Raise unless weights have the expected names and shapes."""
    for name in [*shapes, *(name for name in weights if not name.startswith("loss."))]:
        expected, came = shapes.get(name), weights.get(name)
        came = None if came is None else (tuple(came.shape), came.dtype)
        if expected != came:
            raise ValueError(
                f"the weight {name[:80]!r} should be {_format_encoder_weight(expected)}, and is {_format_encoder_weight(came)}."
            )


def _format_encoder_weight(weight):
    return "missing" if weight is None else f"{str(weight[1]).removeprefix('torch.')} of shape {weight[0]}"


def _list_fitted_attributes(thing, is_fitted=True):
    """List fitted values of an estimator and its parts, for a hash.

    Fitted values are attributes whose names end in ``_``. ``is_fitted``
    applies to a ``thing`` that is not an estimator.
    """
    if isinstance(thing, BaseEstimator):
        parts = {name: part for name, part in sorted(vars(thing).items()) if not name.startswith("_")}
        values = [[name, _list_fitted_attributes(part, name.endswith("_"))] for name, part in parts.items()]
        return [type(thing).__name__, *(value for value in values if value[1])]
    if isinstance(thing, (list, tuple)):
        return [value for value in (_list_fitted_attributes(part, is_fitted) for part in thing) if value]
    if isinstance(thing, pd.DataFrame):  # describe would look for the files that it names
        thing = thing.to_dict("list")
    if isinstance(thing, dict):
        return _list_fitted_attributes(list(thing.items()), is_fitted)
    return describe_for_fingerprint(thing) if is_fitted else ""
