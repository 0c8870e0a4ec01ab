"""Tests of the spherical head model."""

import numpy as np

from sk_b2s.datasets.simulated._head import (
    HEAD_RADIUS,
    compute_head_lead_field,
    make_sensors_on_head,
    move_head,
)


def test_compute_lead_field_of_right_dipole():
    """A tangential dipole is largest next to it, a radial one is zero."""
    info, sphere = make_sensors_on_head("meg", 208, 128.0)
    place, upward = np.array([[0.06, 0.0, 0.0]]), np.array([[0.0, 0.0, 1.0]])
    field = compute_head_lead_field(info, sphere, place, upward)[:, 0]
    sensors = np.array([channel["loc"][:3] for channel in info["chs"]]) - [0, 0, 0.04]
    assert (sensors[np.abs(field) > np.abs(field).max() / 2, 0] > 0.05).all()
    # The field of an upward current on the right has opposite signs on both sides.
    assert sensors[np.argmax(field), 1] * sensors[np.argmin(field), 1] < 0
    outward = compute_head_lead_field(info, sphere, place, np.array([[1.0, 0.0, 0.0]]))[:, 0]
    assert np.abs(outward).max() < 1e-6 * np.abs(field).max()


def test_move_head_distance_and_angle():
    rng = np.random.default_rng(0)
    places = rng.uniform(-0.03, 0.03, (50, 3))
    directions = np.tile([0.0, 0.0, 1.0], (50, 1))
    moved, turned = move_head(np.random.default_rng(1), places, directions, 0.005, 0.0)
    np.testing.assert_allclose(np.linalg.norm(moved - places, axis=1), 0.005)
    np.testing.assert_allclose(turned, directions)
    moved, turned = move_head(np.random.default_rng(1), places, places, 0.0, 5.0)
    np.testing.assert_allclose(moved, turned)
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), np.linalg.norm(places, axis=1))
    assert np.linalg.norm(moved - places, axis=1).max() <= HEAD_RADIUS * np.deg2rad(5)
