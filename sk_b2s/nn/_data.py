"""Inputs, pairs and batches of windows for training."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

HELD_BYTES = 2**27  # of validation scores that are held to find their best temperature


class WindowInputs:
    """Windows of the brain with all that the module wants to know of them.

    Parameters
    ----------
    windows : Windows of shape (n_windows, n_channels, n_times)
    subject : ndarray of int of shape (n_windows,)
        Index among the subjects known, -1 for others.
    device : torch.device
    """

    def __init__(self, windows, subject, device):
        self.windows, self.device = windows, device
        self.subject = torch.from_numpy(np.asarray(subject, np.int64))
        self.layout = torch.from_numpy(windows.layout[windows.which])
        positions = windows.positions
        self.positions = (
            None if positions is None else torch.from_numpy(positions.astype(np.float32)).to(device)
        )

    def __len__(self):
        return len(self.windows)

    def inputs(self, indices):
        """Gather the module's arguments for some windows: a dict of tensors on the device."""
        rows = torch.from_numpy(np.asarray(indices))
        inputs = {
            "x": self.windows.gather(indices, device=self.device),
            "subject": self.subject[rows].to(self.device),
        }
        if self.positions is not None:
            inputs.update(layout=self.layout[rows].to(self.device), positions=self.positions)
        return inputs


class PairDataset(Dataset):
    """Windows of the brain and of what was heard, fetched a batch at a time.

    Parameters
    ----------
    brain : Brain
    targets : Windows of shape (n_windows, n_features, n_frames)
        Features of what was heard, row by row.
    rows : ndarray of int
        Rows of both that belong to this data set.
    segments : ndarray of int of shape (n_windows,)
        Identity of each row of both: equal for all who heard the same.
    """

    def __init__(self, brain, targets, rows, segments):
        self.brain, self.targets, self.segments = brain, targets, segments
        # A batch's order is free, and one ordered by recording is gathered without a detour.
        self.rows = rows[np.argsort(brain.windows.which[rows], kind="stable")]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.__getitems__([index])

    def __getitems__(self, indices):
        """Fetch a batch: the module's inputs, and the features of its distinct segments with each window's."""
        rows = self.rows[np.sort(indices)]
        first, target = self._distinct(rows)
        heard = self.targets.gather(first, device=self.brain.device)
        return self.brain.inputs(rows), (heard, torch.from_numpy(target).to(self.brain.device))

    def distinct(self):
        """Distinct segments of these rows: their features, and which is each row's."""
        first, target = self._distinct(self.rows)
        return self.targets[first], target

    def _distinct(self, rows):
        """Rows in which each segment appears first, ordered by sound, and the place of each row's among them."""
        _, first, target = np.unique(self.segments[rows], return_index=True, return_inverse=True)
        order = np.argsort(self.targets.which[rows[first]], kind="stable")
        return rows[first[order]], np.argsort(order)[target]


class BalancedBatchSampler(Sampler):
    """Shuffle n rows into ceil(n / batch_size) batches whose sizes differ by at most one.

    A short last batch would make an easier contrast, and a batch of one none at all.

    Parameters
    ----------
    n_rows, batch_size : int
    generator : numpy.random.RandomState
        Draws the order anew each time.
    """

    def __init__(self, n_rows, batch_size, generator):
        self.n_rows, self.batch_size, self.generator = n_rows, batch_size, generator

    def __len__(self):
        return -(-self.n_rows // self.batch_size)

    def __iter__(self):
        return iter(np.array_split(self.generator.permutation(self.n_rows), len(self)))
