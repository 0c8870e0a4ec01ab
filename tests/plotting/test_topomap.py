"""Topographic maps of values and of spatial attention."""

import numpy as np
import pytest

from sk_b2s.evaluation._results._topography import compute_attention_topography, compute_pattern_topography
from sk_b2s.plotting import plot_attention, plot_topography
from sk_b2s.plotting._topomap import project_to_topomap


def test_project_to_topomap_averages_places():
    positions = [[0.5, 0.5], [0.5, 0.5], [0.2, 0.5], [0.8, 0.5], [0.5, 0.9], [np.nan, np.nan]]
    values, places = project_to_topomap([1, 3, 5, 6, 7, 100], positions)
    assert sorted(values) == [2, 5, 6, 7]
    np.testing.assert_allclose(places[values == 2], 0, atol=1e-12)  # the middle of the head
    assert places[values == 7][0, 1] > 0  # nose up
    with pytest.raises(ValueError, match="four places"):
        project_to_topomap([1, 2, 3], [[0.1, 0.1], [0.2, 0.4], [0.4, 0.2]])
    with pytest.raises(ValueError, match=r"positions\[0\]"):
        project_to_topomap([1, 2], np.zeros((1, 2, 2)))


def test_plot_topography_shows_maximum():
    rng = np.random.default_rng(0)
    positions = rng.uniform(0.2, 0.8, (40, 2))
    ax = plot_topography(np.exp(-np.square(positions - [0.3, 0.6]).sum(1) / 0.02), positions, "r")
    image = np.ma.filled(ax.images[0].get_array(), -1)
    y, x = np.unravel_index(image.argmax(), image.shape)
    assert x < 0.45 * image.shape[1]  # left
    assert y > 0.5 * image.shape[0]  # front
    assert ax.images[0].get_clim() == pytest.approx((0, 1), abs=0.3)
    assert plot_topography(positions[:, 0] - 0.5, positions).images[0].get_clim()[0] < 0, "zero in the middle"


def test_compute_attention_topography_equals_module():
    import torch

    from sk_b2s import BrainEncoder, RidgeDecoder, Windows

    rng = np.random.default_rng(0)
    positions = rng.uniform(size=(9, 2))
    X = Windows.from_array(rng.normal(size=(40, 9, 20)).astype(np.float32), positions=positions)
    encoder = BrainEncoder(
        hidden=4, depth=2, n_virtual_channels=5, max_epochs=1, k=3, validation=None, random_state=0, verbose=0
    ).fit(X, rng.normal(size=(40, 3)))
    module = encoder.net_.module_.spatial_attention.train()
    values = compute_attention_topography(encoder, positions)
    assert module.training, "left as it was"
    weights = module.eval().weights(torch.as_tensor(positions, dtype=torch.float32)[None])[0]
    np.testing.assert_allclose(values, 9 * weights.mean(0).detach().numpy(), rtol=1e-5)
    assert np.mean(values) == pytest.approx(1)
    partly = np.where(np.arange(9)[:, None] < 2, np.nan, positions)
    assert np.isnan(compute_attention_topography(encoder, partly)).sum() == 2
    assert np.nanmean(compute_attention_topography(encoder, partly, virtual=2)) == pytest.approx(1)
    assert plot_attention(encoder, positions).get_title() == "mean of all virtual channels"
    with pytest.raises(ValueError, match="spatial_attention=True"):
        compute_attention_topography(RidgeDecoder(), positions)


def test_compute_pattern_topomap_is_relative_to_mean():
    patterns = np.zeros((2, 3, 4, 5))
    patterns[:, :, 1] = -2.0
    patterns[:, :, 2] = 1.0
    positions = np.array([[0.2, 0.2], [0.8, 0.2], [0.2, 0.8], [np.nan, np.nan]])
    values = compute_pattern_topography(patterns, positions)
    np.testing.assert_allclose(values, [0, 2, 1, np.nan])
    assert np.isnan(compute_pattern_topography(patterns[:, :, :3], positions)).all()
