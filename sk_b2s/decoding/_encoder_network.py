"""Network of BrainEncoder, with checks of its parameters and training."""

from __future__ import annotations

import warnings
from numbers import Integral
from pickle import PicklingError

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from sk_b2s._utils._devices import choose_device, choose_dtype_of_device
from sk_b2s._utils._precision import Precision
from sk_b2s._utils._validation import validate_table
from sk_b2s._utils._versions import get_versions
from sk_b2s.decoding._encoder_module import check_custom_module, list_ignored_by_module
from sk_b2s.model_selection._split import stimulus_train_test
from sk_b2s.nn._net import RetrievalNet, log_net_message
from sk_b2s.nn._registry import LOSSES
from sk_b2s.nn._speech_module import SpeechModule
from sk_b2s.nn._training_checkpoint import list_training_callbacks, make_training_checkpoint_path
from sk_b2s.nn._validation import ValidationEarlyStop, make_validation_split, validate_on
from sk_b2s.preprocessing._fingerprint import fingerprint_array_rows, fingerprint_rows, make_fingerprint
from sk_b2s.preprocessing._windows._checks import check_window_subjects

# Parameters of BrainEncoder that are passed to its modules.
ARCHITECTURE = (
    "hidden", "depth", "kernel_size", "n_virtual_channels", "spatial_attention", "spatial_dropout", "initial_linear",
    "subject_layer", "subject_dropout", "glu", "skip", "head", "activation", "channel_dropout", "time_dropout",
)  # fmt: skip
SPEECH_ARCHITECTURE = ("hidden", "depth", "kernel_size", "glu", "skip", "activation")
LINEAR = {"depth": 1, "kernel_size": 1}  # a speech network of one linear map of each frame
# Names of weights without weight decay: offsets, normalization, temperature and the layers of subjects.
NOT_DECAYED = ("*bias", "*.norm.weight", "subject_layer.*", "log_scale")
NOT_IN_KEY = ("callbacks", "checkpoint", "device", "k", "verbose", "warm_start")  # of a file of training
N_COMPARED = 8  # windows that several processes compare
LEAST_GAIN = 1e-3  # relative decrease of the training loss, compared with a guess
NULL_GAIN = 3.0  # nats over all validation windows that the best temperature gains without information


class EncoderNetworkMixin:
    """Validation split, shapes and skorch nets of an encoder."""

    def _check_X(self, X, reset=False):
        """Check windows and, for spatial attention, their sensor positions."""
        attends = self.spatial_attention and self.module is None
        X = self._check_windows(X, reset, any_channels=attends)
        check_encoder_network_positions(X, attends)
        return X

    def _split(self, X, y, segments, random):
        """Return training rows and validation rows."""
        if self.validation is None:
            return np.arange(len(y)), None
        if hasattr(self.validation, "split"):
            train, valid = make_validation_split(self.validation, X, y)
            without = train  # rows that the splitter leaves out stay out
        else:
            without = np.arange(len(y))
            table = validate_table(y)
            groups = None if table is not None and "block" in table else segments
            train, valid = stimulus_train_test(y, self.validation, random_state=random, groups=groups)
        if len(np.unique(segments[valid])) < 2:
            warnings.warn(
                f"validation={self.validation} would hold out {len(valid)} windows of a single segment, which cannot "
                f"be ranked. Training runs for max_epochs={self.max_epochs} without validation. Increase validation, "
                f"use more stimuli, or set validation=None.",
                stacklevel=4,
            )
            return without, None
        return train, valid

    def _fit_shapes(self, X, y, targets, train):
        """Set the subjects and the arguments of the networks."""
        frames = self._fit_frames(X, y, targets)
        self.n_features_out_ = self.speech_embedding_dim or self.target_dim or self.n_speech_features_
        self.subjects_ = np.unique(check_window_subjects(X)[train])  # other layers would not be trained
        made = {
            "n_channels": X.shape[1],
            "n_outputs": self.n_features_out_,
            "n_subjects": len(self.subjects_),
            "n_times": self.n_times_in_,
            "pooling": None if np.array_equal(frames, np.arange(targets.shape[2])) else frames.tolist(),
            "n_frames": targets.shape[2],
            "max_shift": self._count_shift(X),
        }
        if self.module is None:
            own = {name: getattr(self, name) for name in ARCHITECTURE}
            self.architecture_ = {**made, "look_ahead": count_encoder_look_ahead(self.look_ahead, X), **own}
        else:
            self.architecture_ = self._infer_architecture(made, X.sfreq)
        self.speech_architecture_ = None
        if self.speech_embedding_dim or self.target_dim:
            made = (
                {name: getattr(self, name) for name in SPEECH_ARCHITECTURE}
                if self.target_dim is None
                else LINEAR
            )
            self.speech_architecture_ = {
                "n_features": self.n_speech_features_,
                "n_outputs": self.n_features_out_,
                **made,
            }

    def _count_shift(self, X):
        """Return the largest shift of training windows in samples."""
        if self.lag_jitter == 0:
            return 0
        if X.sfreq is None:
            raise ValueError(
                f"lag_jitter={self.lag_jitter} is in seconds and requires the sampling rate of X, which an array does not "
                f"have. Pass Windows.from_array(X, sfreq=...), or set lag_jitter=0."
            )
        shift = round(self.lag_jitter * X.sfreq)
        if not 0 < shift < X.shape[2]:
            raise ValueError(
                f"lag_jitter must be at least half a sample and less than a window, here between {0.5 / X.sfreq:.3g} and "
                f"{X.shape[2] / X.sfreq:.3g} seconds. Got {self.lag_jitter}."
            )
        return shift

    def _make_net(self, random, held_out=None, kind=RetrievalNet, with_speech=True, **changes):
        """Build a skorch net with weights drawn from ``random``.

        ``make_control_speech_inputs`` adds the speech network, ``changes``
        replace arguments.
        """
        speech = self.speech_architecture_ if with_speech else None
        device = choose_device(self.device)
        callbacks = [] if held_out is None else [("early_stopping", ValidationEarlyStop(self.patience))]
        seed, dropout_seed = (int(s) for s in random.randint(np.iinfo(np.int32).max, size=2))
        arguments = {
            **{f"module__{name}": value for name, value in self.architecture_.items()},
            **self._get_module_arguments(),
            "speech_module": None if speech is None else SpeechModule,
            **{f"speech_module__{name}": value for name, value in (speech or {}).items()},
            "criterion__weights": torch.as_tensor(self.frame_weights_, dtype=torch.float32),
            "criterion__duplicates": self.duplicates,
            "optimizer": torch.optim.Adam,
            "optimizer__fused": True,
            **(self._get_weight_decay() if self.weight_decay > 0 and kind is RetrievalNet else {}),
            "lr": self.lr,
            "max_epochs": self.max_epochs,
            "batch_size": self.batch_size,
            "train_split": validate_on(held_out),
            "shuffle": np.random.RandomState(random.randint(np.iinfo(np.int32).max)),
            "callbacks": callbacks + list(self.callbacks or []),
            **({"callbacks__print_log__sink": log_net_message} if self.verbose else {"callbacks__print_log": None}),
            "precision": Precision(choose_dtype_of_device(self.precision, device), type(self).__name__),
            "k": self.k,
            "averaging": self.weight_averaging if kind is RetrievalNet else 0.0,
            "device": str(device),
            "verbose": self.verbose,
        }  # fmt: skip
        net = kind(self._get_network_class(), LOSSES[self.loss].module, **{**arguments, **changes})
        return net.initialize_with_seeds(seed, dropout_seed)

    def _make_net_for_fit(self, random, held_out):
        """Make the net of this process, which may be one of several."""
        if not self.distributed:
            return self._make_net(random, held_out)
        from sk_b2s.nn._distributed import AcceleratedNet, make_accelerator

        changes = {"accelerator": make_accelerator(), "averaging": self.weight_averaging}
        if self.weight_decay > 0:
            changes |= self._get_weight_decay()
        return self._make_net(random, held_out, kind=AcceleratedNet, **changes)

    def _unwrap_net(self):
        """Replace the net of several processes by an ordinary one."""
        if self.distributed:
            trained = self.net_
            self.net_ = self._make_net(np.random.RandomState(0), precision=trained.guard)
            self.net_.load_state(trained.state())
            self.net_.history, self.net_.interrupted = trained.history, trained.interrupted

    # --- earlier and interrupted fits --------------------------------------------------------------

    def _get_previous_fit(self):
        """Return what a warm start needs of the previous fit, or None."""
        if not (self.warm_start and hasattr(self, "net_")):
            return None
        weights = {name: value.clone() for name, value in self.net_.state().items()}
        heard = getattr(self, "adaptation_rows_", np.int64([]))
        if isinstance(self.segments_, np.ndarray):
            heard = np.union1d(heard, fingerprint_array_rows(self.segments_))
        return list(self.subjects_), weights, self.stimulus_intervals_, heard

    def _add_stimuli_of_previous_fit(self, previous):
        """Add the stimuli of previous fits to those that scores warn about."""
        if previous is None:
            return
        *_, intervals, heard = previous
        known = [one for one in (self.stimulus_intervals_, intervals) if one is not None]
        self.stimulus_intervals_ = known[0] | known[-1] if known else None
        if len(heard):
            self.adaptation_rows_ = heard

    def _load_previous_fit(self, previous):
        """Set the weights of the previous fit, or raise."""
        if previous is None:
            return
        subjects, weights, *_ = previous
        if self.module is None and sorted(subjects) == list(self.subjects_):  # partial_fit appends subjects
            order = [subjects.index(name) for name in self.subjects_]
            weights |= {
                name: value[order] for name, value in weights.items() if name.startswith("subject_layer.")
            }
            subjects = list(self.subjects_)
        if subjects != list(self.subjects_):
            raise ValueError(
                f"warm_start=True continues with the subjects {subjects}, but X has {list(self.subjects_)}. Set "
                f"warm_start=False, or call adapt for new subjects."
            )
        here = {name: tuple(value.shape) for name, value in self.net_.state().items()}
        came = {name: tuple(value.shape) for name, value in weights.items()}
        if changed := sorted(name for name in {*here, *came} if here.get(name) != came.get(name)):
            name = changed[0]
            raise ValueError(
                f"warm_start=True requires the network of the previous fit, but the weight {name!r} has the shape "
                f"{here.get(name)} instead of {came.get(name)}. Set warm_start=False, or restore the parameters."
            )
        self.net_.load_state(weights)

    def _find_checkpoint(self, X, y, train, valid):
        """Return the file of the training state of this fit, or None.

        Raise if this process has other data or parameters than others of it.
        """
        if self.distributed:
            from sk_b2s.nn._distributed import check_equal_processes

            some = X.gather(np.linspace(0, len(X) - 1, N_COMPARED).astype(int)).numpy()  # all would take long
            rows = X.shape, X.sfreq, X.which, X.start, some, fingerprint_rows(y)
            check_equal_processes(self._make_training_key("distributed=True", rows, train, valid))
        if self.checkpoint is None:
            return None
        if not isinstance(self.random_state, Integral):
            raise ValueError(
                f"checkpoint requires an integer random_state, so that the same fit can be continued. Got "
                f"random_state={self.random_state!r}. Set for example random_state=0."
            )
        rows = [fingerprint_rows(part) for part in (X, y)]
        callbacks = list_training_callbacks(self.callbacks)
        key = self._make_training_key("checkpoint", rows, train, valid, callbacks)
        return make_training_checkpoint_path(self.checkpoint, key)

    def _make_training_key(self, reason, rows, train, valid, *more):
        """Hash the data, parameters and weights from which training begins."""
        params = {
            name: value for name, value in self.get_params(deep=False).items() if name not in NOT_IN_KEY
        }
        weights = {name: value.cpu().numpy() for name, value in self.net_.state().items()}
        kind, versions = type(self), get_versions()
        try:
            return make_fingerprint(
                kind, params, self.architecture_, rows, train, valid, weights, versions, *more
            )
        except (PicklingError, TypeError, RuntimeError, AttributeError) as error:
            raise ValueError(
                f"{reason} cannot compare the parameters of {kind.__name__} between processes: {str(error)[:300]}. If "
                f"module is an instance, pass its class or a function."
            ) from error

    def _get_weight_decay(self):
        """Return the arguments of an optimizer with weight decay."""
        return {
            "optimizer": torch.optim.AdamW,
            "optimizer__weight_decay": self.weight_decay,
            "optimizer__param_groups": [(name, {"weight_decay": 0.0}) for name in NOT_DECAYED],
        }


def check_encoder_network_positions(X, spatial_attention):
    """Raise if spatial attention has no sensor positions."""
    if spatial_attention and X.positions is None:
        raise ValueError(
            "spatial_attention=True requires sensor positions, and X has none. Set Epocher(montage=...), wrap an "
            "array with Windows.from_array(X, ch_names=..., montage=...), or set spatial_attention=False."
        )


def count_encoder_look_ahead(look_ahead, X):
    """Return the number of later samples that an estimate may use."""
    if look_ahead is None:
        return None
    if X.sfreq is None:
        raise ValueError(
            f"look_ahead={look_ahead} is in seconds and requires the sampling rate of X, which an array does not "
            f"have. Pass Windows.from_array(X, sfreq=...), or set look_ahead=None."
        )
    return int(look_ahead * X.sfreq + 1e-6)


def check_encoder_network_parameters(encoder):
    """Raise for incompatible parameters, and warn about unused ones."""
    if encoder.kernel_size % 2 == 0:
        raise ValueError(
            f"kernel_size must be odd, so that a kernel is centered on its sample. Got {encoder.kernel_size}."
        )
    if isinstance(encoder.validation, str):  # str has a method split, too
        raise ValueError(
            f"validation must be a fraction of the rows, a splitter such as HashedBlockSplit('valid'), or None. Got "
            f"{encoder.validation!r}."
        )
    learned = [name for name in ("speech_embedding_dim", "target_dim") if getattr(encoder, name) is not None]
    if len(learned) > 1:
        raise ValueError(
            f"speech_embedding_dim={encoder.speech_embedding_dim} and target_dim={encoder.target_dim} both set the number "
            f"of output features. Set one of them to None."
        )
    if learned and not LOSSES[encoder.loss].is_contrastive:
        raise ValueError(
            f"{learned[0]}={getattr(encoder, learned[0])} requires a contrastive loss. With loss={encoder.loss!r} "
            f"estimates and learned features can collapse to a constant. Set loss='clip' or {learned[0]}=None."
        )
    if encoder.batch_size == 1 and LOSSES[encoder.loss].is_contrastive:
        raise ValueError(
            f"batch_size must be at least 2 with loss={encoder.loss!r}, because the other windows of a batch are the "
            f"negatives. Got 1. Increase batch_size or set loss='mse'."
        )
    for callback in encoder.callbacks or ():
        one = callback[1] if isinstance(callback, tuple) else callback
        if not (hasattr(one, "on_train_begin") and hasattr(one, "set_params")):
            raise ValueError(
                f"callbacks must contain skorch callbacks or (name, callback) tuples. Got {callback!r}."
            )
    check_custom_module(encoder)
    if encoder.distributed:
        _check_distributed(encoder)
    for parameter, reason in _list_parameters_without_effect(encoder):
        warnings.warn(
            f"{parameter}={getattr(encoder, parameter)!r} has no effect with {reason}. Leave it at its default to "
            f"silence this.",
            stacklevel=4,
        )


def _check_distributed(encoder):
    """Raise for parameters that do not work in several processes."""
    if encoder.precision != "float32":
        raise ValueError(
            f"distributed=True requires precision='float32', because the comparison of precisions runs in one process. "
            f"Got precision={encoder.precision!r}."
        )
    if encoder.checkpoint is not None:
        raise ValueError(
            "distributed=True cannot be combined with checkpoint. Set one of them to its default."
        )
    if not isinstance(encoder.random_state, Integral):
        raise ValueError(
            f"distributed=True requires an integer random_state, so that all processes start with equal weights. Got "
            f"random_state={encoder.random_state!r}."
        )


def _list_parameters_without_effect(encoder):
    """Yield unused parameters and the parameter that makes them unused."""
    if encoder.module is not None:
        for name in list_ignored_by_module(encoder, ARCHITECTURE, SPEECH_ARCHITECTURE):
            yield name, "module"
    elif encoder.subject_layer is None and encoder.subject_dropout > 0:
        yield "subject_dropout", "subject_layer=None"
    if encoder.subject_layer is None and encoder.unseen_subject == "nearest":
        yield "unseen_subject", "subject_layer=None"
    if not LOSSES[encoder.loss].is_contrastive and encoder.duplicates != "keep":
        yield "duplicates", f"loss={encoder.loss!r}"


def warn_encoder_network_learned_nothing(encoder, n_valid):
    """Warn if training was interrupted or learned nothing.

    With validation windows, the cross-entropy at its best temperature is
    compared with that of a guess among the candidates. Without them, or with
    too few to distinguish perfect estimates from guesses, a contrastive
    training loss is compared with that of a guess within the batch, and any
    loss with its first epoch.
    """
    history = encoder.history_
    if encoder.interrupted_:
        warnings.warn(
            f"training was interrupted in epoch {len(history)} of at most {encoder.max_epochs}, and the encoder "
            f"has its {'last' if 'valid_loss' not in history[0] else 'best'} weights until then. Fit again to complete the "
            f"training.",
            ConvergenceWarning,
            stacklevel=4,
        )
    elif finding := _make_no_learning_error(history, encoder.loss, n_valid):
        warnings.warn(
            f"{finding}. Check that X and y match and vary. Try another lr, a larger max_epochs, more data, or "
            f"RobustChannelScaler(clip=20) before the encoder.",
            ConvergenceWarning,
            stacklevel=4,
        )


def _make_no_learning_error(history, loss, n_valid):
    """Describe why nothing was learned, or return None if something was."""
    last = history[-1]
    if "valid_loss" in last and n_valid * np.log(last["valid_candidates"]) > 2 * NULL_GAIN:
        best, n_candidates = min(history[:, "valid_loss"]), last["valid_candidates"]
        if best > np.log(n_candidates) - NULL_GAIN / n_valid:
            return (
                f"the validation cross-entropy of {best:.3f} is not below the {np.log(n_candidates):.3f} of a guess "
                f"among {n_candidates} candidates, so the encoder learned nothing that generalizes to other stimuli"
            )
        return None
    now, first, chance = last["train_loss"], history[0]["train_loss"], None
    if LOSSES[loss].is_cross_entropy:
        chance = float(np.mean(history[-1, "batches", :, "train_chance"]))
        if now > chance * (1 - LEAST_GAIN):
            return (
                f"the training loss of {now:.3f} is not below the {chance:.3f} of a guess within the batch, so the "
                f"encoder learned nothing"
            )
    if len(history) > 1 and now > first - LEAST_GAIN * abs(first) and (chance is None or now > 0.9 * chance):
        return (
            f"the training loss did not decrease, from {first:.4g} in the first epoch to {now:.4g} in the last, so the "
            f"encoder learned nothing"
        )
    return None
