"""Adaptation of a fitted encoder to an unseen subject."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
import pandas as pd
import torch
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, validate_parameter_constraints
from sklearn.utils.validation import check_is_fitted

from sk_b2s._utils._chunks import split_rows_into_chunks
from sk_b2s._utils._devices import choose_device, choose_dtype_of_device
from sk_b2s._utils._validation import validate_rows_in_step
from sk_b2s.decoding._candidates import find_distinct_candidates
from sk_b2s.decoding._inputs import count_input_minutes
from sk_b2s.decoding._unseen_subjects import BATCH
from sk_b2s.nn._data import PairDataset, WindowInputData
from sk_b2s.nn._net import RetrievalNet
from sk_b2s.nn._registry import LOSSES
from sk_b2s.preprocessing._windows._checks import check_window_subjects
from sk_b2s.preprocessing._windows._windows import Windows

METHODS = ("auto", "ridge", "layer", "all")
ENOUGH = 2.0  # minutes of distinct calibration data from which "auto" uses "all"
TUNING = {"layer": (1e-3, 6), "all": (3e-4, 4)}  # learning rate of Adam, epochs
STEPS = 12  # minimum number of training steps
CONSTRAINTS = {
    "lr": [Interval(Real, 0, None, closed="neither"), None],
    "max_epochs": [Interval(Integral, 1, None, closed="left"), None],
}
LAYER_NAMES = {"layer": "subject_layer.matrices", "embedding": "subject_layer.vectors"}  # names of weights


class AdaptingNet(RetrievalNet):
    """Net that trains the layer of one subject, or the network on EEG/MEG.

    Batch normalization keeps its statistics and sensor dropout is off, because
    the calibration data of one subject are too few for either.

    Parameters
    ----------
    layer_only : bool
        If True, train only the subject layers, of which only the layer of the
        given subject has a gradient. If False, train the whole network on
        EEG/MEG.
    """

    def __init__(self, *args, layer_only=False, **kwargs):
        self.layer_only = layer_only
        super().__init__(*args, **kwargs)

    def freeze(self):
        """Freeze all other parameters, the speech network included.

        After ``freeze_trunk``, the layers of the subject are trained as well.
        """
        trained = [one for one in self.module_.parameters() if one.requires_grad]
        if self.frozen and self.module_.subject_layer is not None:
            trained.append(get_adaptation_layers(self))
        for part in self._parts().values():
            part.requires_grad_(False)
        for one in [get_adaptation_layers(self)] if self.layer_only else trained:
            one.requires_grad_(True)
        return self

    def _set_training(self, training=True):
        super()._set_training(False)


def get_adaptation_layers(net):
    """Return the subject layers of a net: Parameter of (n_subjects, ...)."""
    (layers,) = net.module_.subject_layer.parameters()
    return layers


@dataclass
class _AdaptationData:
    """Calibration data of one new subject."""

    subject: str
    brain: WindowInputData
    speech: Windows
    targets: Windows  # compared with estimates: speech features, or their embedding
    rows: np.ndarray
    segments: np.ndarray
    minutes: float  # of distinct stimuli, without a table of distinct EEG/MEG samples, NaN if unknown
    share: float  # fraction of frames that are distinct

    @property
    def n_segments(self):
        """Number of distinct segments."""
        return len(np.unique(self.segments[self.rows]))

    def _parts(self):
        """Split rows into batches."""
        return split_rows_into_chunks(self.rows, BATCH)

    def check_finite(self):
        """Raise for NaN or infinite values, which would spoil a layer."""
        for name, windows in (("X", self.brain.windows), ("y", self.speech)):
            for rows in self._parts():
                bad = ~torch.isfinite(windows.gather(rows)).flatten(1).all(1).cpu().numpy()
                if bad.any():
                    raise ValueError(
                        f"{name} contains NaN or infinite values in row {rows[bad][0]} of subject {self.subject!r}. "
                        f"Remove these rows from X and y, or fix the input files."
                    )

    def batches(self, module):
        """Yield the arguments of ``SharedResponse.layer``."""
        for rows in self._parts():
            inputs = {**self.brain.inputs(rows), "subject": None}
            yield self.speech.gather(rows), module.eval().virtual_channels(**inputs).cpu()  # without dropout


class AdaptationMixin:
    """Adaptation of a fitted encoder to new subjects.

    The encoder has a fitted ``net_``, ``architecture_`` and ``subjects_`` in
    the order of its subject layer, and makes nets by ``_make_net``.
    """

    def adapt(self, X, y, method="auto", *, lr=None, max_epochs=None):
        """Adapt to new subjects with labeled calibration data.

        This encoder is not changed. The returned encoder gives the same
        results to the bit for all other subjects.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            EEG/MEG windows of the new subjects. With ``spatial_attention``,
            their sensors may differ from those in ``fit``. An array has one
            unnamed subject. If ``fit`` was also given an array, pass
            ``Windows.from_array(X, rows=pd.DataFrame({"subject": ...}))``.
        y : DataFrame, Windows or array-like of shape \
(n_windows[, n_features[, n_frames]])
            Stimulus segments or features, one row per window.
        method : {"auto", "ridge", "layer", "all"}, default="auto"
            "ridge" computes the layer of each subject in closed form, in
            seconds. "layer" starts from it and trains the layer by gradient
            descent, with all other weights frozen. "all" starts from it and
            trains a copy of the whole network for each subject, at a small
            learning rate. With ``freeze=True``, "all" trains the layer of the
            subject and the layers after the pretrained ones. If windows have
            one frame of features, a closed form does not exist, and training
            starts from the mean of all layers.

            "auto" uses "layer" for less than 2 minutes of distinct stimuli and
            "all" for more, "layer" if the duration is unknown, and "ridge" for
            a single segment (see Notes).
        lr : float, default=None
            Learning rate of Adam. If None, 1e-3 for "layer" and 3e-4 for
            "all". Not used by "ridge".
        max_epochs : int, default=None
            Number of passes over the calibration data. If None, 6 for "layer"
            and 4 for "all", or more to reach 12 training steps. Not used by
            "ridge".

        Returns
        -------
        encoder : BrainEncoder
            Encoder with the new subjects at the end of ``subjects_``. Its
            attribute ``adaptations_`` is a DataFrame with the columns
            ``subject``, ``method``, ``minutes`` (of distinct stimuli) and
            ``n_windows``. ``parent_`` is the digest of the encoder that was
            fitted. Scores on the calibration stimuli raise the same warning as
            scores on training stimuli.

        Raises
        ------
        ValueError
            If a subject of X is in ``subjects_`` or has no name, X and y do
            not match the encoder, are empty or contain NaN, a parameter of the
            network was changed after ``fit``, or ``method`` requires subject
            layers that the encoder does not have.

        Warns
        -----
        UserWarning
            If the name of a new subject is similar to that of a known subject.

        See Also
        --------
        CalibratedDecoder : Compare methods of adaptation across folds.

        Notes
        -----
        The threshold of 2 minutes was chosen on eight simulated subjects and
        confirmed on sixteen others (``benchmarks/bench_adaptation.py``). With
        less data, "all" was not more accurate, and a saved network is a
        hundred times larger than a layer.
        """
        check_is_fitted(self)
        owner = f"{type(self).__name__}.adapt"
        validate_parameter_constraints(CONSTRAINTS, {"lr": lr, "max_epochs": max_epochs}, owner)
        self._check_params_as_fitted()
        self._check_method(method)
        X = self._check_X(X)
        if not len(X):
            raise ValueError(f"X has no windows. {owner} requires windows of at least one new subject.")
        y = self._check_y(y)
        validate_rows_in_step(X, y)
        subjects = pd.unique(check_window_subjects(X))
        new = self._with_subjects(subjects)
        self._warn_misspelled_subjects(subjects)
        random = check_random_state(copy.deepcopy(self.random_state))  # the parameter is not changed
        for calibration in self._iter_calibrations(X, y):
            chosen = self._choose_method(calibration) if method == "auto" else method
            new._adapt_to(calibration, chosen, lr, max_epochs, random)
        new._add_calibration_stimuli(y)
        return new

    # --- calibration data --------------------------------------------------------------------------

    def _check_method(self, method):
        if method not in METHODS:
            raise ValueError(f"method must be one of {METHODS}. Got {method!r} instead.")
        if self.module is not None and method in ("ridge", "layer"):
            raise ValueError(
                f"method={method!r} estimates the subject layer of a new subject, and an encoder with module= has no "
                f"subject layers. Use method='all', which trains a copy of the network."
            )
        if method == "ridge" and self.shared_response_ is None:
            raise ValueError(
                f"method='ridge' computes the layer of a new subject. This encoder (subject_layer="
                f"{self.subject_layer!r}) has no such layers, or was fitted on windows that are constant or have one "
                f"frame. Use method='all', or fit with subject_layer='layer'."
            )
        if method == "layer" and self.subject_layer is None:
            raise ValueError(
                "method='layer' trains the layer of a new subject. An encoder with subject_layer=None does not have "
                "such layers. Use method='all'."
            )

    def _choose_method(self, calibration):
        """Choose the method for an amount of calibration data."""
        if self.shared_response_ is None:
            return "all" if self._get_subject_layer() is None else "layer"
        if calibration.n_segments < 2:
            return "ridge"
        return "all" if calibration.minutes >= ENOUGH else "layer"

    def _check_params_as_fitted(self, method="adapt"):
        """Raise if a parameter of the network was changed after ``fit``."""
        (loss,) = (name for name, spec in LOSSES.items() if type(self.net_.criterion_) is spec.module)
        self._check_module_as_fitted(method)
        made_by = {**self.architecture_, "loss": loss, "speech_embedding_dim": None, "target_dim": None}
        if (speech := self.speech_architecture_) is not None:
            made_by["speech_embedding_dim" if "hidden" in speech else "target_dim"] = speech["n_outputs"]
        for name, value in self.get_params(deep=False).items():
            if name in made_by and value != made_by[name]:
                raise ValueError(
                    f"{name}={value!r} was set after a fit with {name}={made_by[name]!r}, which {method} cannot "
                    f"change. Restore the parameter, or fit again."
                )

    def _iter_calibrations(self, X, y):
        """Yield the calibration data of each new subject."""
        speech = self._targets(y)
        self._check_targets_shape(speech)
        targets = self._embed_targets(speech)
        brain, segments, subjects = (
            self._make_inputs(X, in_fit=True),
            find_distinct_candidates(y).target,
            check_window_subjects(X),
        )
        for place, subject in enumerate(pd.unique(subjects)):
            rows = np.flatnonzero(subjects == subject)
            brain.subject[rows] = len(self.subjects_) + place
            steps = X[rows].n_distinct
            recorded = np.nan if X.sfreq is None else steps / X.sfreq / 60
            minutes = count_input_minutes(y, rows, recorded)
            share = steps / (len(rows) * X.n_read)
            yield _AdaptationData(subject, brain, speech, targets, rows, segments, minutes, share)

    # --- the new encoder ---------------------------------------------------------------------------

    def _with_subjects(self, subjects):
        """Copy the encoder, with average layers for new subjects."""
        self._check_new_subjects(subjects, "encoder")
        new = copy.copy(self)
        new.parent_ = getattr(self, "parent_", None) or self.digest()
        new.subjects_ = np.append(self.subjects_, subjects)
        new.adaptations_ = getattr(self, "adaptations_", None)
        new.subject_nets_ = dict(getattr(self, "subject_nets_", {}))
        new.architecture_ = {
            **self.architecture_,
            "n_subjects": len(new.subjects_),
            "n_averaged": self.architecture_.get("n_averaged") or len(self.subjects_),
        }
        precision = self.net_.guard.renewed(
            choose_dtype_of_device(self.precision, choose_device(self.device))
        )
        # Callbacks of the user would start from the beginning.
        new.net_ = new._make_net(np.random.RandomState(0), callbacks=[], precision=precision)
        state = self.net_.state()
        if (layer := self._get_subject_layer()) is not None:
            name = LAYER_NAMES[layer]
            average = self.net_.module_.subject_layer.average().detach()
            state[name] = torch.cat([state[name], average.expand(len(subjects), *average.shape)])
        new.net_.load_state(state)
        new.net_.history = new.history_
        new.net_.drop_training()
        return new

    def _adapt_to(self, calibration, method, lr, max_epochs, random):
        """Adapt to one new subject."""
        calibration.check_finite()
        index = list(self.subjects_).index(calibration.subject)
        if self.shared_response_ is not None:
            with torch.no_grad():
                layer = self.shared_response_.layer(calibration.batches(self.net_.module_), calibration.share)
            self._set_layer(index, layer)
        if method != "ridge":
            net = self._train(calibration, method, lr, max_epochs, random)
            if method == "all":
                self.subject_nets_[calibration.subject] = net
            else:
                self._set_layer(index, get_adaptation_layers(net)[index])
        row = {
            "subject": calibration.subject, "method": method, "minutes": calibration.minutes,
            "n_windows": len(calibration.rows),
        }  # fmt: skip
        before = [] if self.adaptations_ is None else [self.adaptations_]
        self.adaptations_ = pd.concat([*before, pd.DataFrame([row])], ignore_index=True)

    @torch.no_grad()
    def _set_layer(self, index, values):
        layers = get_adaptation_layers(self.net_)
        layers[index] = values.to(layers.device)

    def _train(self, calibration, method, lr, max_epochs, random):
        """Train a copy of the net, or only the layer, for a new subject."""
        if calibration.n_segments < 2:
            instead = "" if self.shared_response_ is None else ", or use method='ridge'"
            raise ValueError(
                f"method={method!r} requires at least two distinct segments, and subject {calibration.subject!r} has "
                f"one. Use more calibration data{instead}."
            )
        rate, epochs = TUNING[method]
        n_batches = -(-len(calibration.rows) // self.batch_size)
        net = self._make_net(
            random, kind=AdaptingNet, with_speech=False, layer_only=method == "layer", callbacks=[],
            precision=self.net_.guard,
            lr=rate if lr is None else lr,
            max_epochs=max(epochs, -(-STEPS // n_batches)) if max_epochs is None else max_epochs,
        )  # fmt: skip
        net.load_state(self.net_.state())
        if self.freeze:
            net.freeze_trunk()
        net.freeze().partial_fit(
            PairDataset(calibration.brain, calibration.targets, calibration.rows, calibration.segments), None
        )
        if net.interrupted:
            raise KeyboardInterrupt  # the existing encoder is still valid
        net.drop_training()
        return net

    def _embed(self, brain, indices):
        """Estimate features with the subject's own network, if any."""
        own = getattr(self, "subject_nets_", None)
        if not own:
            return self.net_.embed(brain, indices)
        place = brain.subject[torch.from_numpy(np.asarray(indices))].numpy()
        nets = {list(self.subjects_).index(subject): net for subject, net in own.items()}
        if len(set(place)) == 1 and place[0] in nets:
            return nets[place[0]].embed(brain, indices)
        out = self.net_.embed(brain, indices)  # of all windows, because rounding depends on the batch size
        for index, net in nets.items():
            if len(rows := np.flatnonzero(place == index)):
                out[torch.from_numpy(rows)] = net.embed(brain, np.asarray(indices)[rows])
        return out

    def _drop_adaptations(self):
        """Remove the results of adaptation before a new fit."""
        for name in ("parent_", "adaptations_", "subject_nets_", "adaptation_rows_"):
            vars(self).pop(name, None)
