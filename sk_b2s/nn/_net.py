"""The skorch net that trains a brain module for retrieval."""

from __future__ import annotations

import re
import sys

import numpy as np
import torch
from skorch import NeuralNet
from torch.utils.data import DataLoader

from sk_b2s._utils._chunks import slice_rows_into_chunks
from sk_b2s._utils._devices import allowed_threads, explain_lack_of_memory
from sk_b2s._utils._logging import iterate_with_logged_progress
from sk_b2s._utils._precision import Precision
from sk_b2s.metrics._ranks_and_top_k import ranks
from sk_b2s.metrics._tiled import iter_tiled_scores
from sk_b2s.nn._averaging import WeightAverage
from sk_b2s.nn._data import HELD_BYTES, BalancedBatchSampler
from sk_b2s.nn._prefetch import prefetch_batches
from sk_b2s.nn._speech_module import encode_by_speech_module
from sk_b2s.nn._time_estimate import TimeEstimate
from sk_b2s.nn._validation import ValidationEarlyStop
from sk_b2s.nn.functional import calibrated_cross_entropy, retrieval_cross_entropy

OUTPUT_LAYERS = ("augmentation", "head", "last")  # parts of BrainModule that are not part of its trunk
CHECKED = 8  # windows of a batch on which reduced precision is checked


def log_net_message(line):
    """Print a line of the epoch table, with colors only on a terminal."""
    print(line if sys.stdout.isatty() else re.sub(r"\x1b\[\d+m", "", line), flush=True)


def _take_first_windows(inputs):
    """Return the inputs of the module for the first windows of a batch."""
    return {name: value if name == "positions" else value[:CHECKED] for name, value in inputs.items()}


def _return_batch_unchanged(batch):
    return batch


class RetrievalNet(NeuralNet):
    """The skorch net of a :class:`~sk_b2s.BrainEncoder`.

    It overrides these parts of :class:`skorch.NeuralNet`:

    * Batches are read from Windows as a whole.
    * The forward pass runs in ``precision``.
    * The validation loss is the cross-entropy of all validation windows over
      all their distinct segments, so it does not depend on the batch size. It
      is computed at the best temperature
      (:func:`~sk_b2s.nn.functional.calibrated_cross_entropy`), so it is
      comparable between losses.
    * The parameters of the loss, such as a temperature, are trained, stored
      and restored with the weights. So are those of ``speech_module_``, a
      network on speech features.

    Parameters
    ----------
    speech_module : class of nn.Module or None
        Network that encodes speech features before the comparison. Its
        arguments are ``speech_module__...``. Each segment is encoded once in a
        batch, so segments of several subjects count once in batch
        normalization.
    shuffle : numpy.random.RandomState
        Draws the order of the batches.
    precision : torch.dtype or Precision, default=torch.float32
        Precision of the forward pass. Weights are float32. It is checked on
        the first windows of training, estimates and encoded speech, and set to
        float32 if results are wrong.
    k : int
        Number of guesses of the top-k accuracy of validation windows.
    averaging : float
        Decay per step of an exponential moving average of the weights. After
        each epoch the modules hold the average. 0 does not average.
    """

    def __init__(
        self,
        module,
        criterion,
        *,
        speech_module=None,
        shuffle=None,
        precision=torch.float32,
        k=10,
        averaging=0.0,
        **kwargs,
    ):
        self.speech_module = speech_module
        self.shuffle = shuffle
        self.precision = precision
        self.k = k
        self.averaging = averaging
        self.frozen = ()
        super().__init__(module, criterion, **kwargs)

    @property
    def precision(self):
        """Precision in use, a torch.dtype."""
        return self.guard.dtype

    @precision.setter
    def precision(self, value):
        self.guard = value if isinstance(value, Precision) else Precision(value)

    def freeze_trunk(self, freeze=True):
        """Exclude layers before the head from training, or include them."""
        trunk = [part for name, part in self.module_.named_children() if name not in OUTPUT_LAYERS]
        for part in trunk:
            part.requires_grad_(not freeze)
        self.frozen = trunk if freeze else ()
        return self

    def _set_training(self, training=True):
        super()._set_training(training)
        for part in self.frozen:
            part.eval()

    def get_iterator(self, dataset, training=False):
        """Return an iterator over whole batches."""
        if not training:
            return dataset
        batches = BalancedBatchSampler(len(dataset), self.batch_size, self.shuffle)
        # Without a generator, the loader draws from the global one of torch.
        return DataLoader(
            dataset, batch_sampler=batches, collate_fn=_return_batch_unchanged, generator=torch.Generator()
        )

    def initialize_module(self):
        """Initialize the weights of both networks."""
        super().initialize_module()
        self.average = None if self.averaging == 0 else WeightAverage(self.averaging)
        if self.speech_module is not None:
            self.speech_module_ = self.initialized_instance(
                self.speech_module, self.get_params_for("speech_module")
            )
        return self

    @explain_lack_of_memory()
    def initialize_with_seeds(self, seed, dropout_seed):
        """Draw the weights and set the generator of dropout, by two seeds."""
        device = torch.device(self.device)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            self.initialize()
        self.module_.draw_from(torch.Generator().manual_seed(dropout_seed))
        return self

    def initialize_optimizer(self, *args, **kwargs):
        """Initialize the optimizer, which must have something to train."""
        weights = [one for part in self._parts().values() for one in part.parameters()]
        if not any(one.requires_grad for one in weights):
            raise ValueError(
                "The network has no weights to train, or all have requires_grad=False. Layers in a plain list or dict are "
                "not found, so use nn.ModuleList or nn.ModuleDict."
            )
        if any(one.is_complex() for one in weights):
            self.optimizer__fused = False  # not available for them
        return super().initialize_optimizer(*args, **kwargs)

    def infer(self, x, **fit_params):
        """Run the module in the chosen precision."""
        with self._autocast():
            return super().infer(x, **fit_params)

    def encode_speech(self, Y):
        """Encode speech features in the same precision."""
        if self.speech_module is None:
            return Y
        with self._autocast():
            return self.speech_module_(Y)

    def _autocast(self):
        device = torch.device(self.device).type
        return self.guard.autocast(device)

    def _check_training(self, batch):
        """Check the precision on the first windows of a batch."""
        inputs, (segments, *_) = batch

        def compute():
            speech = [] if self.speech_module is None else [self.encode_speech(segments[:CHECKED])]
            return [self.infer(_take_first_windows(inputs)), *speech]

        self._set_training(True)
        networks = [part for part in self._parts().values() if part is not self.criterion_]
        self.guard.check("training", networks, compute, gradients=True)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Compute the loss over the distinct segments of the batch."""
        if (
            training
            and not y_pred.requires_grad
            and any(one.requires_grad for one in self.module_.parameters())
        ):
            raise ValueError(
                "The output of the network does not depend on its weights, so it cannot be trained. Check its forward method "
                "for detach, torch.no_grad and operations without a gradient."
            )
        segments, target, *inside = y_true
        encoded = self.encode_speech(segments)
        if inside and self.speech_module is not None:  # whose output is not zero in the padding
            encoded = encoded * inside[0]
        loss = self.criterion_(y_pred, encoded, target)
        if training and not loss.requires_grad:
            raise ValueError(
                "The network has no weights to train any more, because a callback set requires_grad=False for all. Let it "
                "freeze fewer layers."
            )
        return loss

    @explain_lack_of_memory()
    @allowed_threads()
    def fit_loop(self, *args, **kwargs):
        """Train, and record whether Ctrl-C interrupted it."""
        self.interrupted = self.stopped = False
        try:
            return super().fit_loop(*args, **kwargs)
        except KeyboardInterrupt:
            self.interrupted = not self.stopped
            raise

    def notify(self, method_name, **kwargs):
        """Notify the callbacks, and record whether they ended training."""
        try:
            return super().notify(method_name, **kwargs)
        except KeyboardInterrupt:
            self.stopped = method_name == "on_epoch_end"
            raise
        except KeyError as error:
            if "not found in history" not in str(error):
                raise
            columns = ", ".join(str(name) for name in self.history[-1] if name != "batches")
            raise ValueError(
                f"A callback reads what the history does not have: {error.args[0]} It has the columns {columns}. Those of "
                f"validation require validation=0.1 or a splitter. Validation windows are scored at once, without batches."
            ) from error

    def train_step(self, batch, **fit_params):
        """Take a step, or raise if the loss is not finite."""
        self._check_training(batch)
        step = super().train_step(batch, **fit_params)
        if not torch.isfinite(step["loss"]):
            raise FloatingPointError(self._explain_divergence(step["loss"].item()))
        if self.average is not None:
            self.average.update(self._averaged_tensors())
        return step

    def _explain_divergence(self, loss):
        """Return the message for a loss that is not finite."""
        place = f"The training loss is {loss} in epoch {len(self.history)}"
        reduced = "." if self.precision == torch.float32 else ", or set precision='float32'."
        if len(self.history) == 1 and len(self.history[-1, "batches"]) == 1:
            return (
                f"{place}, before the first step of training. Check X and y for very large values, clip the input "
                f"(RobustChannelScaler(clip=20)), check the output of your own network (module=) if you set one{reduced}"
            )
        return (
            f"{place}, so the fit diverged. Reduce lr={self.lr:g}, clip the input (RobustChannelScaler(clip=20)) or "
            f"check it for very large values{reduced}"
        )

    def check_weights(self):
        """Raise if training ended with NaN, before it is continued."""
        if not all(torch.isfinite(value).all() for value in self._averaged_tensors()):
            raise ValueError(
                "partial_fit cannot continue, because training has failed before and the weights are NaN. Load a saved "
                "estimator, or begin again with a clone."
            )

    def _averaged_tensors(self):
        """Return the weights and statistics of all parts."""
        return list(self.averaged().values())

    def averaged(self):
        """Return the tensors that a moving average covers: dict of Tensors.

        A tensor with several names is returned once.
        """
        found = {}
        for name, value in self.state().items():
            if value.is_floating_point() or value.is_complex():
                found.setdefault(value.data_ptr() if value.numel() else name, (name, value))
        return dict(found.values())

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Train in batches, or validate all windows at once."""
        if iterator is None:
            return
        if training:
            return self._train_epoch(iterator, step_fn, **fit_params)
        loss, uncalibrated, accuracy, n_candidates = self._validate(iterator)
        before = [row["valid_loss"] for row in self.history[:-1] if "valid_loss" in row]
        self.history.record("valid_loss", loss)
        self.history.record(
            "valid_loss_best", bool(loss < min(before, default=np.inf))
        )  # read by Checkpoint of skorch
        self.history.record("valid_cross_entropy", uncalibrated)
        if accuracy is not None:
            self.history.record(f"valid_top{self.k}", accuracy)
        self.history.record("valid_candidates", n_candidates)

    def _train_epoch(self, iterator, step_fn, **fit_params):
        """Train on each batch, and leave the modules with averaged weights."""
        if self.average is not None and self.average.is_swapped:
            self.average.swap(self._averaged_tensors())
        try:
            self._train_batches(iterator, step_fn, **fit_params)
        finally:  # also after Ctrl-C
            if self.average is not None:
                self.average.swap(self._averaged_tensors())

    def _train_batches(self, iterator, step_fn, **fit_params):
        batches = prefetch_batches(iterator, self.device)
        if self.verbose:
            title = f"epoch {len(self.history)}"  # TimeEstimate announces the fit
            batches = iterate_with_logged_progress(batches, title, len(iterator), announce=False)
        estimate = TimeEstimate(self, len(iterator)) if len(self.history) == 1 else None
        for batch in batches:
            self.notify("on_batch_begin", batch=batch, training=True)
            step = step_fn(batch, **fit_params)
            loss, size, chance = self._measure_batch(batch, step)
            self.history.record_batch("train_loss", loss)
            self.history.record_batch("train_batch_size", size)
            self.history.record_batch("train_chance", chance)
            self.notify("on_batch_end", batch=batch, training=True, **step)
            if estimate is not None and estimate.is_made():
                estimate = None
        self.history.record("train_batch_count", len(iterator))

    def _measure_batch(self, batch, step):
        """Return the loss, the number of windows and the loss at chance."""
        return step["loss"].item(), len(batch[1][1]), float(np.log(len(batch[1][0])))

    @explain_lack_of_memory()
    @allowed_threads()
    def embed(self, brain, indices):
        """Estimate the speech features of windows, float32."""
        batches = (
            brain.inputs(indices[part]) for part in slice_rows_into_chunks(len(indices), self.batch_size)
        )
        self.module_.eval()
        with torch.no_grad():
            return torch.cat([
                self._parts()["loss."].as_compared(self._estimate(inputs))
                for inputs in prefetch_batches(batches, brain.device)
            ])  # fmt: skip

    def _estimate(self, inputs):
        """Run the module on a batch, and check the precision once."""
        self.guard.check("estimates", [self.module_], lambda: [self.infer(_take_first_windows(inputs))])
        return self.infer(inputs).float()

    @explain_lack_of_memory()
    @allowed_threads()
    def encode(self, targets):
        """Encode candidates by the speech network: Windows."""
        if self.speech_module is None:
            return targets
        self.speech_module_.eval()
        with torch.no_grad():
            first = targets.gather(np.arange(min(CHECKED, len(targets))), device=torch.device(self.device))
            self.guard.check("encoded speech", [self.speech_module_], lambda: [self.encode_speech(first)])
            n_outputs = self.speech_module__n_outputs
            return encode_by_speech_module(
                targets, self.encode_speech, n_outputs, self.batch_size, torch.device(self.device)
            )

    def _validate(self, pairs):
        """Return cross-entropies, top-k accuracy and number of segments."""
        candidates, target = pairs.distinct()
        candidates = self.encode(candidates)
        every = -(-4 * len(pairs) * len(candidates) // HELD_BYTES)  # a sample of windows, evenly spaced
        held, loss, hits = [], 0.0, 0
        scored = iter_tiled_scores(
            lambda indices: self.embed(pairs.brain, pairs.rows[indices]),
            len(pairs), candidates, self._parts()["loss."].weights, pairs.brain.device,
        )  # fmt: skip
        for rows, scores in scored:
            truth = torch.from_numpy(target[rows]).to(scores.device)
            loss += retrieval_cross_entropy(scores, truth).item() * len(rows)
            hits += int((ranks(scores, truth) < self.k).sum())
            spread = slice(-rows[0] % every, None, every)
            held.append((scores[spread].clone(), truth[spread]))
        calibrated, _ = calibrated_cross_entropy(*map(torch.cat, zip(*held, strict=True)))
        accuracy = hits / len(pairs) if len(candidates) > self.k else None
        return calibrated.item(), loss / len(pairs), accuracy, len(candidates)

    def _parts(self):
        """Return trained modules by their prefix in :meth:`state`."""
        speech = {} if self.speech_module is None else {"speech.": self.speech_module_}
        return {"": self.module_, **speech, "loss.": self.criterion_}

    def state(self):
        """Return all trained parameters and buffers: dict of Tensors."""
        return {
            prefix + name: value
            for prefix, part in self._parts().items()
            for name, value in part.state_dict().items()
        }

    def load_state(self, state):
        """Load parameters that :meth:`state` returned."""
        for prefix, part in self._parts().items():
            part.load_state_dict({name: state[prefix + name] for name in part.state_dict()})

    def drop_training(self):
        """Remove what only training requires."""
        self.optimizer_.state.clear()
        self.average = None
        self.train_split = None
        self.shuffle = None
        self.frozen = ()
        for _, callback in self.callbacks_:
            if isinstance(callback, ValidationEarlyStop):
                callback.best_state_ = None
        self._set_training(False)  # no dropout, whether the last pass was training or validation
        self.module_.draw_from(None)
