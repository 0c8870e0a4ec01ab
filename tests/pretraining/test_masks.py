"""Tests of block masks and of masked windows."""

import numpy as np
import pytest
import torch

from sk_b2s import Windows
from sk_b2s.nn._data import WindowInputData
from sk_b2s.pretraining._masks import (
    MaskedDataset,
    draw_block_mask,
    group_sensors_for_masks,
    scale_targets_of_masks,
)


def test_group_sensors_for_masks_unites_neighbors():
    random = np.random.RandomState(0)
    x = np.r_[np.linspace(0, 0.1, 5), np.linspace(0.9, 1, 5)]
    positions = np.column_stack([x, np.zeros(10)])
    positions[3] = np.nan
    found = [tuple(group_sensors_for_masks(positions, 10, 2, random)) for _ in range(20)]
    assert all(groups[3] == -1 and set(groups) == {-1, 0, 1} for groups in found)
    apart = [set(groups[:3]) == {groups[0]} and set(groups[5:]) == {1 - groups[0]} for groups in found]
    assert any(apart)  # centers on both sides
    assert len(set(found)) > 3


def test_group_sensors_without_positions_is_equal():
    groups = group_sensors_for_masks(None, 12, 3, np.random.RandomState(1))
    assert np.bincount(groups).tolist() == [4, 4, 4]
    changes = (np.diff(groups) != 0).sum()
    assert changes in (2, 3)  # adjacent channels, cyclically


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_draw_block_mask_masks_blocks(ratio):
    groups = np.tile(np.repeat([0, 1, -1], [4, 3, 1]), (200, 1))
    mask = draw_block_mask(groups, 2, 60, 10, ratio, np.random.RandomState(0)).numpy()
    assert abs(mask[:, :7].mean() - ratio) < 0.05
    assert not mask[:, 7].any()
    assert (mask[:, :4] == mask[:, :1]).all()
    assert (mask[:, 4:7] == mask[:, 4:5]).all()
    assert (mask[:, 0] != mask[:, 4]).any(1).mean() > 0.5  # groups are masked independently
    edges = [np.flatnonzero(np.diff(row.astype(int))) for row in mask[:, 0]]
    assert all((np.diff(one) % 10 == 0).all() for one in edges)
    assert len({one[0] % 10 for one in edges if len(one)}) == 10  # random limits of blocks


def test_scale_targets_excludes_constant_channels():
    x = torch.randn(3, 2, 40, generator=torch.Generator().manual_seed(0)) * 1e-13 + 5e-13
    x[1, 0] = 7e-13
    scaled, varies = scale_targets_of_masks(x)
    assert varies[:, :, 0].tolist() == [[True, True], [False, True], [True, True]]
    torch.testing.assert_close(scaled[0].var(1, correction=0), torch.ones(2))
    assert not scaled[1, 0].any()


def test_masked_dataset_hides_targets():
    data = np.random.default_rng(0).standard_normal((6, 4, 50)).astype("f4")
    brain = WindowInputData(Windows.from_array(data, sfreq=50), np.zeros(6), torch.device("cpu"))
    dataset = MaskedDataset(brain, 2, 10, 0.5, np.random.RandomState(0))
    inputs, (targets, mask) = dataset.__getitems__(np.arange(6))
    assert mask.any()
    assert not mask.all()
    assert not inputs["x"][mask].any()
    np.testing.assert_allclose(inputs["x"][~mask], 2 * data[~mask.numpy()], rtol=1e-6)
    np.testing.assert_allclose(targets, scale_targets_of_masks(torch.from_numpy(data))[0], atol=1e-5)
