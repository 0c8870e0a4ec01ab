"""Inputs, pairs and batches of windows for training."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

HELD_BYTES = 2**27  # of validation scores, stored to find their best temperature


class WindowInputData:
    """EEG/MEG windows and the other inputs of BrainModule.

    Parameters
    ----------
    windows : Windows of shape (n_windows, n_channels, n_times)
    subject : ndarray of int of shape (n_windows,)
        Index of the subject, -1 for unseen subjects.
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
        """Return the arguments of the module for windows: dict of Tensors."""
        rows = torch.from_numpy(np.asarray(indices))
        inputs = {
            "x": self.windows.gather(indices, device=self.device),
            "subject": self.subject[rows].to(self.device),
        }
        if self.positions is not None:
            inputs.update(layout=self.layout[rows].to(self.device), positions=self.positions)
        return inputs


class PairDataset(Dataset):
    """Pairs of EEG/MEG windows and speech features, read in batches.

    Parameters
    ----------
    brain : WindowInputData
    targets : Windows of shape (n_windows, n_features, n_frames)
        Speech features of each window.
    rows : ndarray of int
        Rows of both in this data set.
    segments : ndarray of int of shape (n_windows,)
        Segment of each row, equal for subjects with the same stimulus.
    """

    def __init__(self, brain, targets, rows, segments):
        self.brain, self.targets, self.segments = brain, targets, segments
        # The order in a batch is free, and rows sorted by recording are read faster.
        self.rows = rows[np.argsort(brain.windows.which[rows], kind="stable")]
        self.has_padding = targets.n_valid is not None and (targets.n_valid[rows] < targets.shape[2]).any()

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.__getitems__([index])

    def __getitems__(self, indices):
        """Return inputs, features of distinct segments, and target rows.

        If features have unequal lengths, also which frames are not padding.
        """
        rows = self.rows[np.sort(indices)]
        first, target = self._distinct(rows)
        heard = self.targets.gather(first, device=self.brain.device)
        pairs = [heard, torch.from_numpy(target).to(self.brain.device)]
        if self.has_padding:
            inside = np.arange(heard.shape[2]) < self.targets.n_valid[first, None, None]
            pairs.append(torch.from_numpy(inside).to(self.brain.device))
        return self.brain.inputs(rows), tuple(pairs)

    def distinct(self):
        """Return features of distinct segments, and the target of each row."""
        first, target = self._distinct(self.rows)
        return self.targets[first], target

    def _distinct(self, rows):
        """Return the first row of each segment, and the target of each row."""
        _, first, target = np.unique(self.segments[rows], return_index=True, return_inverse=True)
        order = np.argsort(self.targets.which[rows[first]], kind="stable")
        return rows[first[order]], np.argsort(order)[target]


class BalancedBatchSampler(Sampler):
    """Shuffle rows into batches whose sizes differ by at most one.

    A short last batch has fewer negatives, and a batch of one has none.

    Parameters
    ----------
    n_rows, batch_size : int
    generator : numpy.random.RandomState
        Draws the order of each epoch.
    """

    def __init__(self, n_rows, batch_size, generator):
        self.n_rows, self.batch_size, self.generator = n_rows, batch_size, generator

    def __len__(self):
        return -(-self.n_rows // self.batch_size)

    def __iter__(self):
        return iter(np.array_split(self.generator.permutation(self.n_rows), len(self)))
