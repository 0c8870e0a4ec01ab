"""Training of one network by several processes, with accelerate."""

from __future__ import annotations

import os

import numpy as np
import torch
from skorch import NeuralNet
from skorch.hf import AccelerateMixin
from torch.utils.data import DataLoader

from sk_b2s._utils._extras import import_extra
from sk_b2s.nn._data import BalancedBatchSampler
from sk_b2s.nn._losses import MSELoss
from sk_b2s.nn._net import RetrievalNet


class SharedBatchSampler(BalancedBatchSampler):
    """Batches of one of several processes with equal generators.

    Parameters
    ----------
    n_rows : int
    batch_size : int
        Largest batch of a process.
    generator : numpy.random.RandomState
    n_processes, index : int
        Number of processes, and the index of this one.
    fewest : int, default=1
        Smallest size of a batch that can be trained on.
    """

    def __init__(self, n_rows, batch_size, generator, n_processes, index, fewest=1):
        super().__init__(n_rows, batch_size * n_processes, generator)
        if (smallest := n_rows // len(self) // n_processes) < fewest:
            raise ValueError(
                f"distributed=True requires at least {fewest} windows in each batch of each process. {n_rows} windows in "
                f"{len(self)} batches of {n_processes} processes are {smallest} for some. Use more windows, a larger "
                f"batch_size or fewer processes."
            )
        self.n_processes, self.index = n_processes, index

    def __iter__(self):
        return (np.array_split(rows, self.n_processes)[self.index] for rows in super().__iter__())


class AcceleratedNet(AccelerateMixin, RetrievalNet):
    """Net that trains on a part of the batches in each process.

    Gradients are averaged over processes. Networks are wrapped for training
    only, so that the fitted net is an ordinary one.
    """

    def __init__(self, *args, accelerator, **kwargs):
        is_silent = kwargs.get("callbacks__print_log", ...) is None or not accelerator.is_main_process
        if is_silent:  # the mixin requires the callback
            kwargs.pop("callbacks__print_log", None)
            kwargs["callbacks__print_log__sink"] = _print_nothing
        super().__init__(*args, accelerator=accelerator, **kwargs)

    def initialize(self):
        """Initialize everything except the wrappers."""
        return NeuralNet.initialize(self)

    def partial_fit(self, *args, **kwargs):
        """Train, and end this process after Ctrl-C, for which others wait."""
        try:
            return super().partial_fit(*args, **kwargs)
        except _ProcessInterrupt:
            raise KeyboardInterrupt from None

    def _initialize_accelerator(self):
        """Wrap the modules that have trained parameters."""
        accelerate = import_extra("accelerate", "distributed=True")
        if getattr(self.module_, "has_unused_weights", bool)():  # the search takes time in each step
            self.accelerator.ddp_handler = accelerate.DistributedDataParallelKwargs(
                find_unused_parameters=True
            )
        kept = self._criteria, self._modules
        self._criteria, self._modules = ([name for name in names if self._is_trained(name)] for names in kept)
        try:
            return super()._initialize_accelerator()
        finally:
            self._criteria, self._modules = kept

    def _is_trained(self, name):
        return any(weight.requires_grad for weight in getattr(self, f"{name}_").parameters())

    def _parts(self):
        return {
            name: getattr(part, "module", part)
            if isinstance(part, torch.nn.parallel.DistributedDataParallel)
            else part
            for name, part in super()._parts().items()
        }

    def get_iterator(self, dataset, training=False):
        """Return an iterator over the batches of this process."""
        iterator = RetrievalNet.get_iterator(self, dataset, training)
        if training:
            n_processes, index = self.accelerator.num_processes, self.accelerator.process_index
            fewest = 1 if isinstance(self.criterion_, MSELoss) else 2
            sampler = SharedBatchSampler(
                len(dataset), self.batch_size, self.shuffle, n_processes, index, fewest
            )
            iterator = DataLoader(
                dataset, batch_sampler=sampler, collate_fn=iterator.collate_fn, generator=iterator.generator
            )
        return iterator

    def _train_epoch(self, iterator, step_fn, **fit_params):
        """Train on each batch, and take statistics of the first process."""
        super()._train_epoch(iterator, step_fn, **fit_params)
        for part in self._parts().values():
            for buffer in part.buffers():
                torch.distributed.broadcast(buffer, 0)

    def fit_loop(self, *args, **kwargs):
        """Train, with wrapped networks."""
        self._initialize_accelerator()
        try:
            return super().fit_loop(*args, **kwargs)
        except KeyboardInterrupt:
            if self.stopped:  # by a callback, in all processes
                raise
            raise _ProcessInterrupt from None

    def _measure_batch(self, batch, step):
        """Return means and the size over processes, for equal callbacks."""
        loss, size, chance = super()._measure_batch(batch, step)
        sums = torch.tensor([size, loss * size, chance * size], dtype=torch.float64, device=self.device)
        size, *means = self.accelerator.reduce(sums).tolist()
        return means[0] / size, int(size), means[1] / size


class _ProcessInterrupt(BaseException):
    """Ctrl-C, which skorch would take for the end of training."""


def _print_nothing(message):
    """Print nothing."""


_mute = _print_nothing  # in pickles of former versions


def make_accelerator():
    """Return an Accelerator of the processes that a launcher started."""
    accelerate = import_extra("accelerate", "distributed=True")
    accelerator = accelerate.Accelerator(device_placement=False)
    if accelerator.num_processes == 1:
        if (n_started := os.environ.get("WORLD_SIZE", "1")) != "1":
            raise ValueError(
                f"distributed=True requires that accelerate uses the {n_started} processes that were started, and it uses one. "
                f"Without GPUs, set the environment variable ACCELERATE_USE_CPU=true."
            )
        raise ValueError(
            "distributed=True requires several processes, and there is one. Start the script with `accelerate launch "
            "--num_processes 2 script.py` or `torchrun --nproc-per-node 2 script.py`, or set distributed=False."
        )
    return accelerator


def check_equal_processes(key):
    """Raise unless all processes have the same key of data and parameters."""
    keys = import_extra("accelerate", "distributed=True").utils.gather_object([key])
    if len(set(keys)) > 1:
        raise ValueError(
            "distributed=True requires the same X, y, parameters and versions of packages in all processes, and they differ. "
            "Read all data in each process, which trains on its share of each batch."
        )
