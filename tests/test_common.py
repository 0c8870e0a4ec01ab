"""scikit-learn's own checks on every estimator that takes arrays."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from sk_b2s import (
    BrainEncoder,
    CalibratedDecoder,
    CovarianceAlignment,
    Epocher,
    FeatureScaler,
    RidgeDecoder,
    RobustChannelScaler,
    SurrogateRecordings,
)

ESTIMATORS = [
    Epocher(),
    RobustChannelScaler(),
    CovarianceAlignment(),
    CovarianceAlignment("riemannian"),
    FeatureScaler(),
    FeatureScaler(per_feature=False),
    SurrogateRecordings(),
    SurrogateRecordings("white"),
    RidgeDecoder(k=1),
    CalibratedDecoder(RidgeDecoder(k=1), "none"),
    BrainEncoder(
        k=1,
        spatial_attention=False,
        hidden=8,
        depth=2,
        n_virtual_channels=8,
        max_epochs=2,
        precision="float32",
        random_state=0,
        verbose=0,
    ),  # fmt: skip
]


def expected_failures(estimator):
    """Checks that an estimator cannot pass, and why."""
    if not isinstance(estimator, SurrogateRecordings):
        return {}
    reason = "an array is one recording, and its noise that of all its rows together"
    return dict.fromkeys(["check_methods_subset_invariance", "check_methods_sample_order_invariance"], reason)


@pytest.mark.filterwarnings("ignore::sk_b2s.StimulusLeakWarning")  # the checks score what they fit
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures)
def test_sklearn_compatible(estimator, check):
    check(estimator)
