"""Topographies of fitted decoders recover where a simulated response is."""

import numpy as np
import pytest
from scipy.signal import lfilter

from sk_b2s import CalibratedDecoder, EnsembleDecoder, LikelihoodDecoder, RidgeDecoder, Windows
from sk_b2s.evaluation._results._topography import describe_topography

MIXING = np.array([4.0, 2.0, 1.0, 0.5, 0.0, 0.0])
DRIFT = np.array([8.0, 4.0, 2.0, 0.0, -8.0, 0.0])  # not orthogonal to the response
PLACES = np.random.default_rng(1).uniform(0.2, 0.8, (6, 2))


@pytest.fixture(scope="module")
def recording():
    """Six channels follow one feature after 0.1 s, in noise that drifts."""
    rng = np.random.default_rng(0)
    speech = rng.normal(size=(90, 1, 30))
    eeg = 2 * rng.normal(size=(90, 6, 30))
    eeg += DRIFT[:, None] * lfilter([1], [1, -0.95], rng.normal(size=(90, 1, 30)))
    eeg[:, :, 1:] += MIXING[:, None] * speech[:, :, :-1]
    return Windows.from_array(eeg, positions=PLACES, sfreq=10), speech.astype(np.float32)


RIDGE = RidgeDecoder(lags=(0, 0.2), alphas=(1e-3,), k=1)
LIKELIHOOD = LikelihoodDecoder(lags=(0, 0.2), max_iter=2, k=1)


@pytest.mark.parametrize(("estimator", "names"), [
    (LIKELIHOOD, [""]), (EnsembleDecoder([("r", RIDGE), ("gone", "drop"), ("l", LIKELIHOOD)], "equal"), ["r", "l"]),
    (CalibratedDecoder(LIKELIHOOD, "none"), [""]), (CalibratedDecoder(EnsembleDecoder([("r", RIDGE)], "equal"), "none"), ["r"]),
], ids=["likelihood", "ensemble", "calibrated", "calibrated ensemble"])  # fmt: skip
def test_describe_topography_recovers_response(estimator, names, recording):
    X, y = recording
    found = describe_topography(estimator.fit(X, y), X, 0)
    assert [one.get("member", "") for one in found] == names
    for one in found:
        least = 0.99 if one["label"].startswith("response") else 0.97
        assert np.corrcoef(one["values"], MIXING)[0, 1] > least
        np.testing.assert_allclose(np.column_stack([one["x"], one["y"]]), PLACES, atol=1e-3)


def test_describe_topography_needs_positions(recording):
    X, y = recording
    X = Windows.from_array(np.asarray(X), sfreq=10)
    assert describe_topography(RIDGE.fit(X, y), X, 0) == []
