"""Tests of the exports of the features."""

from pathlib import Path

import pytest

from sk_b2s import features
from sk_b2s._persistence._registry import ESTIMATORS
from sk_b2s._persistence._states import STATES

REFERENCE = Path(__file__).parents[2] / "docs/api/features.rst"


@pytest.mark.parametrize("name", features.__all__)
def test_exported_feature_is_documented_and_saved(name):
    assert f"   {name}\n" in REFERENCE.read_text()
    if not isinstance(getattr(features, name), type):
        return  # a function has no state
    assert ESTIMATORS[f"sk_b2s.{name}"] is getattr(features, name)
    assert "n_features_out_" in STATES[f"sk_b2s.{name}"]
