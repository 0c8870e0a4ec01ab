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

from sk_b2s._utils._chunks import split_rows
from sk_b2s._utils._devices import choose_device, choose_precision
from sk_b2s._utils._validation import check_in_step, table_of
from sk_b2s.decoding._candidates import find_distinct_segments
from sk_b2s.decoding._unseen_subjects import BATCH
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.nn._data import PairDataset, WindowInputs
from sk_b2s.nn._losses import LOSSES
from sk_b2s.nn._net import RetrievalNet
from sk_b2s.preprocessing._fingerprint import hash_rows
from sk_b2s.preprocessing._windows import Windows, subjects_of

METHODS = ("auto", "ridge", "layer", "all")
ENOUGH = 2.0  # minutes of distinct calibration from which "all" is the better choice
TUNING = {"layer": (1e-3, 6), "all": (3e-4, 4)}  # rate of Adam, passes over the calibration
STEPS = 12  # at least
CONSTRAINTS = {
    "lr": [Interval(Real, 0, None, closed="neither"), None],
    "max_epochs": [Interval(Integral, 1, None, closed="left"), None],
}
LAYER_NAMES = {"layer": "subject_layer.matrices", "embedding": "subject_layer.vectors"}  # in a net's state


class AdaptingNet(RetrievalNet):
    """A :class:`~sk_b2s.nn._net.RetrievalNet` of which one person's layer is trained, or all.

    Batch normalization keeps the statistics it has, and no sensors are dropped: minutes of one person are too few
    to learn either anew.

    Parameters
    ----------
    layer_only : bool
        Whether people's layers alone are trained, of which only the one whose windows are given has a gradient;
        False trains all of the network on the brain.
    """

    def __init__(self, *args, layer_only=False, **kwargs):
        self.layer_only = layer_only
        super().__init__(*args, **kwargs)

    def freeze(self):
        """Leave trainable what is to be trained, and nothing else: not the space that candidates lie in."""
        for part in self._parts().values():
            part.requires_grad_(False)
        (get_subject_layers(self) if self.layer_only else self.module_).requires_grad_(True)
        return self

    def _set_training(self, training=True):
        super()._set_training(False)


def get_subject_layers(net):
    """Return the layers of all people that a net knows, one parameter: (n_subjects, ...)."""
    (layers,) = net.module_.subject_layer.parameters()
    return layers


@dataclass
class _Calibration:
    """One new person's minutes."""

    person: str
    brain: WindowInputs
    speech: Windows
    targets: Windows  # what estimates are compared with: the features of speech, or what is made of them
    rows: np.ndarray
    segments: np.ndarray
    minutes: float  # of distinct sound, or of the brain where what was heard has no table; NaN if unknown
    share: float  # of the frames that are distinct

    @property
    def n_segments(self):
        """Number of distinct segments."""
        return len(np.unique(self.segments[self.rows]))

    def _parts(self):
        """Rows that are read at once."""
        return split_rows(self.rows, BATCH)

    def check_finite(self):
        """Raise where a number is none: one would spoil all of a layer."""
        for name, windows in (("X", self.brain.windows), ("y", self.speech)):
            for rows in self._parts():
                bad = ~torch.isfinite(windows.gather(rows)).flatten(1).all(1).cpu().numpy()
                if bad.any():
                    raise ValueError(
                        f"{name} holds NaN or infinite values in row {rows[bad][0]}, of subject {self.person!r}: leave "
                        f"such rows out of X and y alike, or mend what they are read from."
                    )

    def batches(self, module):
        """Windows as :meth:`~sk_b2s.decoding._shared_response.SharedResponse.layer` takes them."""
        for rows in self._parts():
            inputs = {**self.brain.inputs(rows), "subject": None}
            yield self.speech.gather(rows), module.eval().virtual_channels(**inputs).cpu()  # without dropout


class AdaptationMixin:
    """New listeners of an encoder that knows others.

    The encoder has a fitted ``net_`` around a :class:`~sk_b2s.nn.BrainModule`, ``subjects_`` in the order of its
    subject layer, ``architecture_``, and makes nets by ``_make_net``.
    """

    def adapt(self, X, y, method="auto", *, lr=None, max_epochs=None):
        """Make an encoder that also knows the people of X, from minutes of what they heard.

        The encoder itself stays as it is, and the new one gives everybody but the new people the same answers to
        the bit.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            What the brains of the new people did; with ``spatial_attention`` their sensors may be others than those
            of ``fit``. An array is one person without a name; after a ``fit`` on an array, which was such a person
            too, name the new one by ``Windows.from_array(X, rows=pd.DataFrame({"subject": ...}))``.
        y : DataFrame, Windows or array-like of shape (n_windows[, n_features[, n_frames]])
            What they heard, row by row.
        method : {"auto", "ridge", "layer", "all"}, default="auto"
            "ridge" finds each one's layer in closed form, in seconds
            (:meth:`~sk_b2s.decoding._shared_response.SharedResponse.layer`); "layer" trains it by gradient from there, all else
            frozen; "all" trains a copy of the whole network for each from there, at a small rate. Where speech has
            one frame to a window there is no closed form, and both start from the mean of all layers. "auto" takes
            "layer" below 2 minutes of distinct sound, where "all" was no better and is a hundred times as much to keep,
            and "all" from there on: chosen on eight simulated listeners, and found again on sixteen others
            (``benchmarks/bench_adaptation.py``); "layer" where the minutes are unknown, as of windows without a rate;
            and "ridge" for a single segment, which nothing can be told from.
        lr : float, default=None
            Rate of Adam; 1e-3 for "layer", 3e-4 for "all". "ridge" has none.
        max_epochs : int, default=None
            Passes over the calibration; 6 for "layer", 4 for "all", or as many as make 12 steps. "ridge" makes none.

        Returns
        -------
        encoder : BrainEncoder
            With the new people at the end of ``subjects_``; ``adaptations_``, a table with ``subject, method,
            minutes`` (of distinct sound) and ``n_windows`` for each new person; and ``parent_``, the digest of the
            encoder that was fitted. What they heard counts as heard where scores are warned of.

        Raises
        ------
        ValueError
            If somebody is known already or has no name, X and y do not fit the encoder, are empty or hold NaN, a
            parameter of its network was set since ``fit``, or it has no layer of each person for "ridge" or "layer"
            to find.

        Warns
        -----
        UserWarning
            If somebody known is spelt almost alike.

        See Also
        --------
        CalibratedDecoder : Compares methods fold by fold.
        """
        check_is_fitted(self)
        owner = f"{type(self).__name__}.adapt"
        validate_parameter_constraints(CONSTRAINTS, {"lr": lr, "max_epochs": max_epochs}, owner)
        self._check_as_fitted()
        self._check_method(method)
        X = self._check_X(X)
        if not len(X):
            raise ValueError(f"X has no windows, and {owner} learns from those of at least one new person.")
        y = self._check_y(y)
        check_in_step(X, y)
        people = pd.unique(subjects_of(X))
        new = self._with(people)
        self._warn_misspelled_subjects(people)
        random = check_random_state(copy.deepcopy(self.random_state))  # yours stays where it is
        for calibration in self._calibrations(X, y):
            chosen = self._choose(calibration) if method == "auto" else method
            new._adapt_to(calibration, chosen, lr, max_epochs, random)
        new._remember(y)
        return new

    # --- what is adapted to ------------------------------------------------------------------------

    def _check_method(self, method):
        if method not in METHODS:
            raise ValueError(f"method must be one of {METHODS}, got {method!r}.")
        if method == "ridge" and self.shared_response_ is None:
            raise ValueError(
                f"method='ridge' finds the layer of a new person, and this encoder (subject_layer="
                f"{self.subject_layer!r}) has no such layers, or learned from windows that do not vary, or of one "
                f"frame: use method='all', or fit with subject_layer='layer'."
            )
        if method == "layer" and self.subject_layer is None:
            raise ValueError(
                "method='layer' trains the layer of a new person, and an encoder with subject_layer=None has none: use "
                "method='all'."
            )

    def _choose(self, calibration):
        """Method that is best for so much."""
        if self.shared_response_ is None:
            return "all" if self.subject_layer is None else "layer"
        if calibration.n_segments < 2:
            return "ridge"
        return "all" if calibration.minutes >= ENOUGH else "layer"

    def _check_as_fitted(self):
        """Raise where a parameter that made the network was set to another value since."""
        (loss,) = (name for name, spec in LOSSES.items() if type(self.net_.criterion_) is spec.module)
        speech = self.speech_architecture_
        made_by = {**self.architecture_, "loss": loss, "speech_embedding_dim": speech and speech["n_outputs"]}
        for name, value in self.get_params(deep=False).items():
            if name in made_by and value != made_by[name]:
                raise ValueError(
                    f"{name}={value!r} was set after a fit with {name}={made_by[name]!r}, and adapt goes on with the "
                    f"network of that: set it back, or fit again."
                )

    def _calibrations(self, X, y):
        """Each new person's minutes."""
        speech = self._targets(y)
        self._check_targets_shape(speech)
        targets = self._as_compared(speech)
        brain, segments, people = (
            self._as_brain(X, in_fit=True),
            find_distinct_segments(y).target,
            subjects_of(X),
        )
        for place, person in enumerate(pd.unique(people)):
            rows = np.flatnonzero(people == person)
            brain.subject[rows] = len(self.subjects_) + place
            steps = X[rows].n_distinct
            minutes = np.nan if X.sfreq is None else steps / X.sfreq / 60
            table = table_of(y)
            if table is not None and {"sound", "sound_onset", "duration"} <= set(table):
                minutes = StimulusIntervals.from_table(table.iloc[rows]).seconds / 60
            share = steps / (len(rows) * X.n_read)
            yield _Calibration(person, brain, speech, targets, rows, segments, minutes, share)

    # --- the new encoder ---------------------------------------------------------------------------

    def _with(self, people):
        """Copy of the encoder with room for new people, who are met as strangers so far."""
        known = sorted(set(people) & set(self.subjects_))
        if known == [""]:
            raise ValueError(
                "X does not name its subject, and the encoder knows one without a name: name the new one, by "
                "Windows.from_array(X, rows=pd.DataFrame({'subject': ['new'] * len(X)}))."
            )
        if known:
            raise ValueError(
                f"X has subjects that the encoder knows: {known}. adapt is for new people; rename them to learn them "
                f"anew, or fit again with all rows."
            )
        new = copy.copy(self)
        new.parent_ = getattr(self, "parent_", None) or self.digest()
        new.subjects_ = np.append(self.subjects_, people)
        new.adaptations_ = getattr(self, "adaptations_", None)
        new.subject_nets_ = dict(getattr(self, "subject_nets_", {}))
        new.architecture_ = {
            **self.architecture_,
            "n_subjects": len(new.subjects_),
            "n_averaged": self.architecture_.get("n_averaged") or len(self.subjects_),
        }
        precision = self.net_.guard.renewed(choose_precision(self.precision, choose_device(self.device)))
        new.net_ = new._make_net(  # your callbacks would begin anew
            np.random.RandomState(0), callbacks=[], precision=precision
        )
        state = self.net_.state()
        if self.subject_layer is not None:
            name = LAYER_NAMES[self.subject_layer]
            average = self.net_.module_.subject_layer.average().detach()
            state[name] = torch.cat([state[name], average.expand(len(people), *average.shape)])
        new.net_.load_state(state)
        new.net_.history = new.history_
        new._forget_training()
        return new

    def _adapt_to(self, calibration, method, lr, max_epochs, random):
        """Learn one new person."""
        calibration.check_finite()
        index = list(self.subjects_).index(calibration.person)
        if self.shared_response_ is not None:
            with torch.no_grad():
                layer = self.shared_response_.layer(calibration.batches(self.net_.module_), calibration.share)
            self._set_layer(index, layer)
        if method != "ridge":
            net = self._train(calibration, method, lr, max_epochs, random)
            if method == "all":
                self.subject_nets_[calibration.person] = net
            else:
                self._set_layer(index, get_subject_layers(net)[index])
        told = {
            "subject": calibration.person, "method": method, "minutes": calibration.minutes,
            "n_windows": len(calibration.rows),
        }  # fmt: skip
        before = [] if self.adaptations_ is None else [self.adaptations_]
        self.adaptations_ = pd.concat([*before, pd.DataFrame([told])], ignore_index=True)

    @torch.no_grad()
    def _set_layer(self, index, values):
        layers = get_subject_layers(self.net_)
        layers[index] = values.to(layers.device)

    def _train(self, calibration, method, lr, max_epochs, random):
        """Train a copy of the net on a new person: their layer, or all of it."""
        if calibration.n_segments < 2:
            instead = "" if self.shared_response_ is None else ", or use method='ridge'"
            raise ValueError(
                f"method={method!r} learns by telling segments apart, and subject {calibration.person!r} heard one; "
                f"give more of X and y{instead}."
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
        net.freeze().partial_fit(
            PairDataset(calibration.brain, calibration.targets, calibration.rows, calibration.segments), None
        )
        if net.interrupted:
            raise KeyboardInterrupt  # the encoder that was there is still whole
        net.drop_training()
        return net

    def _remember(self, y):
        """Count what was heard in the calibration as heard."""
        table = table_of(y)
        if isinstance(y, np.ndarray):
            self.adaptation_rows_ = np.union1d(getattr(self, "adaptation_rows_", np.int64([])), hash_rows(y))
        if self.stimulus_intervals_ is not None and table is not None and "sound_onset" in table:
            self.stimulus_intervals_ = self.stimulus_intervals_ | StimulusIntervals.from_table(table)

    def _embed(self, brain, indices):
        """Estimate speech features of some windows, those of people with a network of their own by that."""
        own = getattr(self, "subject_nets_", None)
        if not own:
            return self.net_.embed(brain, indices)
        place = brain.subject[torch.from_numpy(np.asarray(indices))].numpy()
        nets = {list(self.subjects_).index(person): net for person, net in own.items()}
        if len(set(place)) == 1 and place[0] in nets:
            return nets[place[0]].embed(brain, indices)
        out = self.net_.embed(brain, indices)  # of all, as batches of another size round otherwise
        for index, net in nets.items():
            if len(rows := np.flatnonzero(place == index)):
                out[torch.from_numpy(rows)] = net.embed(brain, np.asarray(indices)[rows])
        return out

    def _forget_adaptations(self):
        """Forget the people who were adapted to, as ``fit`` begins anew."""
        for name in ("parent_", "adaptations_", "subject_nets_", "adaptation_rows_"):
            vars(self).pop(name, None)
