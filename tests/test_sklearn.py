"""scikit-learn's own checks on every estimator that takes arrays."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from sk_b2s import Epocher, FeatureScaler, RidgeDecoder, RobustChannelScaler

ESTIMATORS = [
    Epocher(),
    RobustChannelScaler(),
    FeatureScaler(),
    FeatureScaler(per_feature=False),
    RidgeDecoder(k=1),
]


@parametrize_with_checks(ESTIMATORS)
def test_sklearn_compatible(estimator, check):
    check(estimator)
