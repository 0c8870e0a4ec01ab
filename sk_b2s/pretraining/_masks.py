"""Block masks in time and sensors, and masked windows for training."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset


def group_sensors_for_masks(positions, n_channels, n_groups, random):
    """Divide sensors into random groups of neighbors.

    Parameters
    ----------
    positions : ndarray of shape (n_channels, 2) or None
        Sensors without a position have no group. None groups channels by
        their order.
    n_channels, n_groups : int
    random : numpy.random.RandomState

    Returns
    -------
    groups : ndarray of int of shape (n_channels,)
        Group of each channel, -1 without a position.
    """
    if positions is None:
        shifted = (np.arange(n_channels) + random.randint(n_channels)) % n_channels
        return shifted * n_groups // n_channels
    known = np.flatnonzero(np.isfinite(positions).all(1))
    centers = random.permutation(known)[:n_groups]
    distance = np.linalg.norm(positions[known, None] - positions[centers], axis=2)
    groups = np.full(n_channels, -1)
    groups[known] = distance.argmin(1)
    return groups


def draw_block_mask(groups, n_groups, n_times, n_block, ratio, random):
    """Draw which values of windows are masked.

    A cell is a group of sensors during ``n_block`` samples. The same number of
    cells is masked in each window, with random limits of the blocks.

    Parameters
    ----------
    groups : ndarray of int of shape (n_windows, n_channels)
        Group of each channel. Channels of group -1 are never masked.
    n_groups, n_times, n_block : int
    ratio : float
        Fraction of the cells that are masked.
    random : numpy.random.RandomState

    Returns
    -------
    mask : Tensor of bool of shape (n_windows, n_channels, n_times)
    """
    n_windows = len(groups)
    n_blocks = -(-n_times // n_block) + 1
    n_cells = n_groups * n_blocks
    n_masked = int(np.clip(round(ratio * n_cells), 1, n_cells - 1))
    order = random.rand(n_windows, n_cells).argpartition(n_masked - 1, axis=1)
    cells = np.zeros((n_windows, n_cells), bool)
    np.put_along_axis(cells, order[:, :n_masked], True, axis=1)
    cells = cells.reshape(n_windows, n_groups, n_blocks)[np.arange(n_windows)[:, None], groups]
    cells[groups < 0] = False
    block = (np.arange(n_times) + random.randint(n_block, size=(n_windows, 1))) // n_block
    index = torch.from_numpy(block)[:, None].expand(-1, groups.shape[1], -1)
    return torch.from_numpy(cells).gather(2, index)


def scale_targets_of_masks(x):
    """Scale each channel of each window to mean 0 and variance 1.

    Returns the scaled windows, and which channels are not constant:
    (n_windows, n_channels, 1).
    """
    deviation = x.std(2, correction=0, keepdim=True)
    varies = deviation > 1e-6 * x.abs().amax(2, keepdim=True)
    scaled = (x - x.mean(2, keepdim=True)) / deviation.where(varies, 1.0)
    return scaled.where(varies, 0.0), varies


class MaskedDataset(Dataset):
    """Masked windows and their targets, read in batches.

    Parameters
    ----------
    brain : WindowInputData
    n_groups, n_block : int
        Number of groups of sensors, and samples of a block.
    ratio : float
        Fraction of masked cells.
    random : numpy.random.RandomState
    """

    def __init__(self, brain, n_groups, n_block, ratio, random):
        self.brain, self.random = brain, random
        self.n_groups, self.n_block, self.ratio = n_groups, n_block, ratio
        self.order = np.argsort(brain.windows.which, kind="stable")  # neighbors are read faster

    def __len__(self):
        return len(self.brain)

    def __getitem__(self, index):
        return self.__getitems__([index])

    def __getitems__(self, indices):
        """Return masked inputs, and (targets, mask) of all values."""
        rows = self.order[np.sort(indices)]
        inputs = self.brain.inputs(rows)
        x = inputs["x"]
        targets, varies = scale_targets_of_masks(x)
        mask = self._draw(rows, x.shape[1], x.shape[2]).to(x.device)
        share = 1.0 - self.ratio
        inputs["x"] = x.mT.masked_fill(mask.mT, 0.0).mT / share  # time-major, as the module reads it
        return inputs, (targets, mask & varies)

    def _draw(self, rows, n_channels, n_times):
        """Draw the mask of some windows, with new groups for each layout."""
        windows = self.brain.windows
        layouts, place = np.unique(windows.layout[windows.which[rows]], return_inverse=True)
        positions = [None if windows.positions is None else windows.positions[one] for one in layouts]
        groups = [group_sensors_for_masks(one, n_channels, self.n_groups, self.random) for one in positions]
        return draw_block_mask(
            np.stack(groups)[place], self.n_groups, n_times, self.n_block, self.ratio, self.random
        )
