"""Run the checks of scikit-learn on every exported estimator."""

import pickle
from unittest import SkipTest

import joblib
import numpy as np
import pytest
from helpers.estimators import EXAMPLES
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from sk_b2s import ForwardTRF, SurrogateRecordings
from sk_b2s._persistence._registry import register_estimators
from sk_b2s._persistence._states import STATES
from sk_b2s._utils import _estimators

NAMES = sorted(name.rpartition(".")[2] for name in register_estimators())


def expected_failures(estimator):
    """Checks that an estimator cannot pass, with the reason."""
    if isinstance(estimator, SurrogateRecordings):
        reason = "an array is one recording, and its noise depends on all of its rows"
        return dict.fromkeys(
            ["check_methods_subset_invariance", "check_methods_sample_order_invariance"], reason
        )
    return {}


@pytest.mark.filterwarnings("ignore::sk_b2s.StimulusLeakWarning")  # the checks score their training data
@parametrize_with_checks(
    [estimator for name in NAMES if name in EXAMPLES for estimator in EXAMPLES[name].instances],
    expected_failed_checks=expected_failures,
)
def test_sklearn_compatible(estimator, check, request):
    """Failures that are expected are reported without the traceback.

    To render it, pytest parses all of scikit-learn's module of checks.
    """
    expected, failed = request.node.get_closest_marker("xfail"), None
    try:
        check(estimator)
    except Exception as error:
        if expected is None or isinstance(error, SkipTest):
            raise
        failed = type(error).__name__
    if failed:
        pytest.xfail(f"{failed}: {expected.kwargs['reason']}")


@pytest.mark.parametrize("name", NAMES)
def test_exported_estimator_is_registered(name):
    assert name in EXAMPLES, f"add {name!r} to EXAMPLES in tests/helpers/estimators.py"
    assert f"sk_b2s.{name}" in STATES, (
        f"add the fitted attributes of 'sk_b2s.{name}' to _persistence/_states.py"
    )


def test_registered_estimators_are_exported():
    assert sorted(EXAMPLES) == NAMES
    assert {name for name in STATES if name.startswith("sk_b2s.")} == set(register_estimators())


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name in EXAMPLES and not EXAMPLES[name].takes_arrays]
)
def test_estimator_on_own_data(name, tmp_path):
    """The data checks of scikit-learn, for estimators that take no matrix."""
    estimator, arguments = EXAMPLES[name].make(tmp_path)
    method = "transform" if hasattr(estimator, "transform") else "predict"
    data = arguments[1 if isinstance(estimator, ForwardTRF) else 0]
    with pytest.raises(NotFittedError):
        getattr(clone(estimator), method)(data)
    before = {name: joblib.hash(value) for name, value in estimator.get_params(deep=False).items()}
    assert estimator.fit(*arguments) is estimator
    assert {name: joblib.hash(value) for name, value in estimator.get_params(deep=False).items()} == before
    first, fitted = np.asarray(getattr(estimator, method)(data)), set(vars(estimator))
    np.testing.assert_array_equal(first, np.asarray(getattr(estimator, method)(data)))
    assert set(vars(estimator)) == fitted
    again = clone(estimator).fit(*arguments)
    np.testing.assert_array_equal(first, np.asarray(getattr(again, method)(data)))
    restored = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(first, np.asarray(getattr(restored, method)(data)))
    if hasattr(estimator, "fit_transform"):
        np.testing.assert_array_equal(first, np.asarray(clone(estimator).fit_transform(*arguments)))


@pytest.mark.parametrize("name", NAMES)
def test_diagram_links_to_documentation(name, monkeypatch):
    estimator = EXAMPLES[name].instances[0]
    monkeypatch.setattr(_estimators, "find_documentation_url", lambda: "https://docs.invalid/stable")
    module = type(estimator).__module__.split("._")[0]
    assert estimator._get_doc_link() == f"https://docs.invalid/stable/generated/{module}.{name}.html"
    monkeypatch.setattr(_estimators, "find_documentation_url", lambda: "")
    assert estimator._get_doc_link() == ""
