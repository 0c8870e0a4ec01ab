"""Training of an encoder in several calls of partial_fit."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.utils import check_random_state
from torch import nn

from sk_b2s._utils._devices import choose_device
from sk_b2s.decoding._candidates import find_distinct_candidates
from sk_b2s.decoding._encoder_network import check_encoder_network_parameters
from sk_b2s.decoding._incremental._inputs import PartialFitInputsMixin
from sk_b2s.decoding._pretrained_trunk import check_pretrained_trunk, load_pretrained_trunk
from sk_b2s.nn._data import PairDataset
from sk_b2s.nn._prefetch import prefetch_windows_to_device, store_prefetched_windows
from sk_b2s.nn._registry import LOSSES
from sk_b2s.preprocessing._windows._checks import check_window_subjects

REFUSED = {"checkpoint": None, "distributed": False}  # parameters with the only possible value
WAYS_OUT = {
    "checkpoint": "Save the encoder after a call instead",
    "distributed": "Use fit for several processes",
}


class PartialFitEncoderMixin(PartialFitInputsMixin):
    """Method ``partial_fit`` of an encoder."""

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y):
        """Train for one pass over the given windows.

        The first call draws the weights as :meth:`fit` does, and each further
        call continues from the present weights, with the present state of the
        optimizer. On a CPU, n calls with the same windows give the weights of
        ``fit`` with ``validation=None`` and ``max_epochs=n`` to the bit.
        ``callbacks`` begin again in each call.
        A call with other windows trains on these alone, so repeat the calls
        in turn if the windows of each call should count equally.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            EEG/MEG windows, as in :meth:`fit`. In later calls, their channels
            (without spatial attention), length and sampling rate must be those
            of the first call.
        y : DataFrame, Windows or array-like of shape \
(n_windows[, n_features[, n_frames]])
            Stimulus segments or features, as in :meth:`fit`. ``speech`` is
            fitted in the first call only.

        Returns
        -------
        self : BrainEncoder
            The fitted encoder. ``segments_``, ``stimulus_intervals_`` and
            ``recording_intervals_`` cover the windows of all calls, and
            ``shared_response_`` those of the last one.

        Raises
        ------
        ValueError
            If X or y does not match the first call, a parameter of the network
            was changed, the encoder was adapted, or ``checkpoint``,
            ``distributed`` or ``unseen_subject="nearest"`` is set. If ``y``
            has one distinct segment, unless ``loss="mse"`` in a later call.
        FloatingPointError
            If the loss becomes NaN or infinite. The weights of former calls
            are then lost.

        Notes
        -----
        Not used are ``max_epochs``, ``validation`` and ``patience``. New
        subjects start from the mean of the subject layers and are appended to
        ``subjects_``. A network given as ``module`` treats the subjects that
        were not in the first call as unseen ones. ``lr``, ``batch_size`` and
        ``freeze`` can be changed between calls. ``init`` and the other
        parameters of training, such as ``callbacks`` and ``weight_decay``, are
        those of the first call. After :meth:`fit` or :func:`~sk_b2s.load`,
        training continues from the weights with a new optimizer and new random
        numbers. A pickle keeps both.

        Examples
        --------
        >>> import numpy as np
        >>> from sk_b2s.decoding import BrainEncoder
        >>> rng = np.random.default_rng(0)
        >>> eeg = rng.standard_normal((32, 8, 30)).astype("float32")
        >>> encoder = BrainEncoder(
        ...     hidden=16, depth=2, n_virtual_channels=8,
        ...     spatial_attention=False, random_state=0, verbose=0,
        ... )
        >>> for _ in range(3):
        ...     encoder = encoder.partial_fit(eeg[:16], eeg[:16, :4])
        >>> encoder = encoder.partial_fit(eeg[16:], eeg[16:, :4])
        >>> len(encoder.history_), len(encoder.segments_)
        (4, 32)
        """
        self._check_partial_fit()
        is_first = not hasattr(self, "net_")
        if not is_first:
            self._check_params_as_fitted("partial_fit")
            self.net_.check_weights()
        X = self._check_X(X, reset=is_first)
        check_pretrained_trunk(self, X)
        y, targets = self._check_partial_inputs(X, y, is_first)
        try:
            if is_first:
                self._fit_shapes(X, y, targets, np.arange(len(y)))
                self.net_ = self._make_net(check_random_state(self.random_state))
                self._check_module()
                load_pretrained_trunk(self)
            else:
                vars(self).update(self._unite_inputs(X, y))
                self._resume_training()
                self._add_subjects(np.unique(check_window_subjects(X)))
            self._train_one_pass(X, y, targets)
        except Exception:
            if is_first:  # the next call is the first one again
                for name in [name for name in vars(self) if name.endswith("_")]:
                    delattr(self, name)
            raise
        if self.interrupted_:
            raise KeyboardInterrupt  # also ends the loop of the caller
        return self

    def _train_one_pass(self, X, y, targets):
        """Train on all windows once, and fit what unseen subjects need."""
        device, rows = choose_device(self.device), np.arange(len(y))
        targets, ready = prefetch_windows_to_device(device, targets, X)
        brain = self._make_inputs(store_prefetched_windows(device, ready), in_fit=True)
        pairs = PairDataset(brain, targets, rows, find_distinct_candidates(y).target)
        self.net_.max_epochs = 1  # for the estimate of the duration
        self.net_.partial_fit(pairs, None)
        self.history_, self.interrupted_ = self.net_.history, self.net_.interrupted
        self._fit_unseen_subjects(brain, targets, rows)

    def _check_distinct(self, segments):
        if len(segments) < 2 and LOSSES[self.loss].is_contrastive:
            raise ValueError(
                f"partial_fit with loss={self.loss!r} requires at least 2 distinct segments in each call, because the other "
                f"segments of a batch are the negatives. Got 1. Pass more rows in a call, or set loss='mse' before the first."
            )

    def _check_partial_fit(self):
        """Raise for parameters and states that are not supported."""
        check_encoder_network_parameters(self)
        for name, only in REFUSED.items():
            if (value := getattr(self, name)) != only:
                raise ValueError(
                    f"partial_fit requires {name}={only!r}. Got {name}={value!r}. {WAYS_OUT[name]}."
                )
        if self.unseen_subject == "nearest":
            raise ValueError(
                "partial_fit cannot be combined with unseen_subject='nearest', which compares the recordings of all training "
                "subjects. Use fit, or unseen_subject='average'."
            )
        if getattr(self, "adaptations_", None) is not None:
            raise ValueError(
                "partial_fit cannot continue an encoder that adapt returned, because its subjects have their own layers or "
                "networks. Call partial_fit of the encoder before adapt."
            )

    def _resume_training(self):
        """Make the net ready for training, also after ``fit`` or ``load``."""
        if self.net_.shuffle is None:
            former, self.net_ = self.net_, self._make_net(check_random_state(self.random_state))
            self.net_.load_state(former.state())
            self.net_.history = former.history
        if self.freeze != bool(self.net_.frozen):
            self.net_.freeze_trunk(self.freeze)
        if self.net_.lr != self.lr:
            self.net_.set_params(lr=self.lr)
        self.net_.batch_size = self.batch_size

    def _add_subjects(self, subjects):
        """Append new subjects, which start from the average layer."""
        new = np.setdiff1d(subjects, self.subjects_)
        if not len(new):
            return
        n_known = len(self.subjects_)
        self.subjects_ = np.append(self.subjects_, new)
        changes = {"n_subjects": len(self.subjects_)}
        if self.module is not None:
            changes["n_averaged"] = self.architecture_.get("n_averaged") or n_known
        self.architecture_ = {**self.architecture_, **changes}
        vars(self.net_).update({f"module__{name}": value for name, value in changes.items()})
        if self._get_subject_layer() is not None:
            append_subject_layers(self.net_, len(new))


def append_subject_layers(net, n_new):
    """Append subject layers, the average of the others, to a net in training.

    The moments of the optimizer are 0 for them.
    """
    part = net.module_.subject_layer
    ((name, former),) = part.named_parameters()
    weights = list(net.averaged())
    average = part.average().detach().expand(n_new, *former.shape[1:])
    longer = nn.Parameter(torch.cat([former.detach(), average]), requires_grad=former.requires_grad)
    setattr(part, name, longer)
    if net.average is not None and net.average.other is not None:
        place = weights.index(f"subject_layer.{name}")
        other = net.average.other[place]
        net.average.other[place] = torch.cat([other, other.mean(0, keepdim=True).expand_as(average)])
    for group in net.optimizer_.param_groups:
        group["params"] = [longer if one is former else one for one in group["params"]]
    if state := net.optimizer_.state.pop(former, None):
        net.optimizer_.state[longer] = {
            key: torch.cat([value, value.new_zeros(average.shape)]) if value.shape == former.shape else value
            for key, value in state.items()
        }
