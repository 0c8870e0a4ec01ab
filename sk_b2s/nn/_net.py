"""The skorch net that trains a brain module for retrieval."""

from __future__ import annotations

import re
import sys

import numpy as np
import torch
from skorch import NeuralNet
from torch.utils.data import DataLoader

from sk_b2s._utils._chunks import slice_rows
from sk_b2s._utils._devices import allowed_threads
from sk_b2s._utils._precision import Precision
from sk_b2s.metrics._ranking import ranks
from sk_b2s.metrics._tiled import iter_scores
from sk_b2s.nn._data import HELD_BYTES, BalancedBatchSampler
from sk_b2s.nn._prefetch import fetch_ahead
from sk_b2s.nn._speech_module import encode_windows
from sk_b2s.nn._validation import EarlyStop
from sk_b2s.nn.functional import calibrated_cross_entropy, retrieval_cross_entropy

CHECKED = 8  # windows of a batch that reduced precision is checked on


def log_message(line):
    """Print a line of the table of epochs, colored on a terminal and plain in a log."""
    print(line if sys.stdout.isatty() else re.sub(r"\x1b\[\d+m", "", line), flush=True)


def _first_windows(inputs):
    """Return the module's inputs for the first windows of a batch."""
    return {name: value if name == "positions" else value[:CHECKED] for name, value in inputs.items()}


def _as_is(batch):
    return batch


class RetrievalNet(NeuralNet):
    """The skorch net that a :class:`~sk_b2s.BrainEncoder` holds.

    It differs from :class:`skorch.NeuralNet` in three hooks: batches come whole from Windows, the
    forward pass runs in ``precision``, and the validation loss is the cross-entropy of all
    validation windows over all their distinct segments at once, so that it means the same at every
    batch size, and at the temperature that suits it best
    (:func:`~sk_b2s.nn.functional.calibrated_cross_entropy`), so that it means the same for every loss. The
    loss belongs to what is learned: its temperature is trained, kept and restored with the weights.
    So does a network on the speech features, ``speech_module_``, where there is one.

    Parameters
    ----------
    speech_module : class of nn.Module or None
        Network that speech features go through before they are compared; its arguments are
        ``speech_module__...``. Nobody's sound goes through it twice in a batch, so a segment that
        several people heard counts once in the statistics of its batch normalization.
    shuffle : numpy.random.RandomState
        Draws the order of the batches.
    precision : torch.dtype or Precision, default=torch.float32
        Precision of the forward pass; weights stay float32. It is checked on the first windows of training, of
        estimates and of encoded speech, and becomes float32 where it is wrong.
    k : int
        The top-k accuracy shown for the validation windows.
    """

    def __init__(
        self, module, criterion, *, speech_module=None, shuffle=None, precision=torch.float32, k=10, **kwargs
    ):
        self.speech_module = speech_module
        self.shuffle = shuffle
        self.precision = precision
        self.k = k
        super().__init__(module, criterion, **kwargs)

    @property
    def precision(self):
        """Precision in use, a torch.dtype."""
        return self.guard.dtype

    @precision.setter
    def precision(self, value):
        self.guard = value if isinstance(value, Precision) else Precision(value)

    def get_iterator(self, dataset, training=False):
        """Fetch whole batches instead of one row at a time."""
        if not training:
            return dataset
        batches = BalancedBatchSampler(len(dataset), self.batch_size, self.shuffle)
        # A generator of its own, because a loader without one draws from torch's global one.
        return DataLoader(dataset, batch_sampler=batches, collate_fn=_as_is, generator=torch.Generator())

    def initialize_module(self):
        """Draw the weights of both networks."""
        super().initialize_module()
        if self.speech_module is not None:
            self.speech_module_ = self.initialized_instance(
                self.speech_module, self.get_params_for("speech_module")
            )
        return self

    def infer(self, x, **fit_params):
        """Run the module in the chosen precision."""
        with self._autocast():
            return super().infer(x, **fit_params)

    def hear(self, Y):
        """Put speech features through their network, in the same precision, where there is one."""
        if self.speech_module is None:
            return Y
        with self._autocast():
            return self.speech_module_(Y)

    def _autocast(self):
        device = torch.device(self.device).type
        return self.guard.autocast(device)

    def _check_training(self, batch):
        """Check the precision of forward and backward pass on the first windows of a batch."""
        inputs, (heard, _) = batch

        def compute():
            speech = [] if self.speech_module is None else [self.hear(heard[:CHECKED])]
            return [self.infer(_first_windows(inputs)), *speech]

        self._set_training(True)
        networks = [part for part in self._parts().values() if part is not self.criterion_]
        self.guard.check("training", networks, compute, gradients=True)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Compare estimates with the distinct segments of the batch."""
        heard, target = y_true
        return self.criterion_(y_pred, self.hear(heard), target)

    @allowed_threads()
    def fit_loop(self, *args, **kwargs):
        """Note whether Ctrl-C ended the training, which skorch takes for its end."""
        self.interrupted = self.stopped = False
        try:
            return super().fit_loop(*args, **kwargs)
        except KeyboardInterrupt:
            self.interrupted = not self.stopped
            raise

    def notify(self, method_name, **kwargs):
        """Call the callbacks, of which early stopping ends the training by the exception that Ctrl-C raises."""
        try:
            return super().notify(method_name, **kwargs)
        except KeyboardInterrupt:
            self.stopped = method_name == "on_epoch_end"
            raise

    def train_step(self, batch, **fit_params):
        """Take a step, and stop at once where the loss is no number."""
        self._check_training(batch)
        step = super().train_step(batch, **fit_params)
        if not torch.isfinite(step["loss"]):
            raise FloatingPointError(
                f"the training loss became {step['loss'].item()} in epoch {len(self.history)}: the fit diverged. Lower "
                f"lr={self.lr:g}, clip the input (RobustChannelScaler(clip=20)) or check it for huge values"
                + ("." if self.precision == torch.float32 else ", or set precision='float32'.")
            )
        return step

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Train batch by batch, but validate in one piece."""
        if iterator is None:
            return
        if training:
            return self._train_epoch(iterator, step_fn, **fit_params)
        loss, uncalibrated, accuracy, n_candidates = self._validate(iterator)
        self.history.record("valid_loss", loss)
        self.history.record("valid_cross_entropy", uncalibrated)
        if accuracy is not None:
            self.history.record(f"valid_top{self.k}", accuracy)
        self.history.record("valid_candidates", n_candidates)

    def _train_epoch(self, iterator, step_fn, **fit_params):
        """Run skorch's loop, which would take the layouts for rows and count them."""
        for batch in fetch_ahead(iterator, self.device):
            self.notify("on_batch_begin", batch=batch, training=True)
            step = step_fn(batch, **fit_params)
            self.history.record_batch("train_loss", step["loss"].item())
            self.history.record_batch("train_batch_size", len(batch[1][1]))
            self.history.record_batch("train_chance", float(np.log(len(batch[1][0]))))  # loss of a guess
            self.notify("on_batch_end", batch=batch, training=True, **step)
        self.history.record("train_batch_count", len(iterator))

    @allowed_threads()
    def embed(self, brain, indices):
        """Estimate speech features of some windows: (len(indices), n_features, n_frames) float32."""
        batches = (brain.inputs(indices[part]) for part in slice_rows(len(indices), self.batch_size))
        self.module_.eval()
        with torch.no_grad():
            return torch.cat([
                self.criterion_.as_compared(self._estimate(inputs))
                for inputs in fetch_ahead(batches, brain.device)
            ])  # fmt: skip

    def _estimate(self, inputs):
        """Run the module on a batch, the first time also in float32."""
        self.guard.check("estimates", [self.module_], lambda: [self.infer(_first_windows(inputs))])
        return self.infer(inputs).float()

    @allowed_threads()
    def encode(self, targets):
        """Put candidates through the network on speech features: Windows to be compared with estimates."""
        if self.speech_module is None:
            return targets
        self.speech_module_.eval()
        with torch.no_grad():
            first = targets.gather(np.arange(min(CHECKED, len(targets))), device=torch.device(self.device))
            self.guard.check("encoded speech", [self.speech_module_], lambda: [self.hear(first)])
            n_outputs = self.speech_module__n_outputs
            return encode_windows(targets, self.hear, n_outputs, self.batch_size, torch.device(self.device))

    def _validate(self, pairs):
        """Cross-entropies, and top-k accuracy where there are candidates enough, over the distinct segments."""
        candidates, target = pairs.distinct()
        candidates = self.encode(candidates)
        every = -(-4 * len(pairs) * len(candidates) // HELD_BYTES)  # evenly spread windows stand for all
        held, loss, hits = [], 0.0, 0
        scored = iter_scores(
            lambda indices: self.embed(pairs.brain, pairs.rows[indices]),
            len(pairs), candidates, self.criterion_.weights, pairs.brain.device,
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
        """All that is learned, by the prefix that its names have in :meth:`state`."""
        speech = {} if self.speech_module is None else {"speech.": self.speech_module_}
        return {"": self.module_, **speech, "loss.": self.criterion_}

    def state(self):
        """Weights of the module under their own names, and what else was learned: a dict of Tensors."""
        return {
            prefix + name: value
            for prefix, part in self._parts().items()
            for name, value in part.state_dict().items()
        }

    def load_state(self, state):
        """Take up what :meth:`state` gave."""
        for prefix, part in self._parts().items():
            part.load_state_dict({name: state[prefix + name] for name in part.state_dict()})

    def drop_training(self):
        """Forget all that only training needs, so that a fitted net stays small."""
        self.optimizer_.state.clear()
        self.train_split = None
        self.shuffle = None
        for _, callback in self.callbacks_:
            if isinstance(callback, EarlyStop):
                callback.best_state_ = None
