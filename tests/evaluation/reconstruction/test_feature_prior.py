"""Test the prior of speech features."""

import numpy as np
from scipy.ndimage import uniform_filter1d

from sk_b2s import (
    Windows,
)
from sk_b2s.evaluation._reconstruction._feature_prior import FeaturePrior


def test_feature_prior_of_known_covariance():
    speech = uniform_filter1d(np.random.default_rng(0).standard_normal((500, 1, 20)), 2, axis=2)
    prior = FeaturePrior(Windows.from_array(np.concatenate([speech, 2 * speech], axis=1)))
    np.testing.assert_allclose(prior.bands / prior.bands[0, 0], [[1, 2], [2, 4]], rtol=1e-5)
    np.testing.assert_allclose(prior.frames[5, 3:8] / prior.frames[0, 0], [0, 0.5, 1, 0.5, 0], atol=0.05)
    np.testing.assert_allclose(
        prior.apply(np.ones((1, 2, 20)))[0, 1], 2 * prior.apply(np.ones((1, 2, 20)))[0, 0]
    )
