"""Registry of splitters."""

from pathlib import Path

import pytest

from sk_b2s import model_selection
from sk_b2s._persistence._registry import PARTS
from sk_b2s.model_selection._registry import SPLITTERS
from sk_b2s.model_selection._split import StimulusSplitter

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", SPLITTERS)
def test_splitters_load_and_are_exported(name):
    spec = SPLITTERS[name]
    assert spec.name == name
    assert spec.class_name in model_selection.__all__
    splitter = spec.load()()
    assert isinstance(splitter, StimulusSplitter)
    assert spec.folds_parameter is None or hasattr(splitter, spec.folds_parameter)
    assert (spec.class_name in PARTS) == (spec.folds_parameter is None)


@pytest.mark.parametrize("name", SPLITTERS)
def test_splitters_are_documented(name):
    api = "".join(path.read_text() for path in (ROOT / "docs").glob("**/*.rst"))
    assert SPLITTERS[name].class_name in api
    assert SPLITTERS[name].class_name in "".join(path.read_text() for path in (ROOT / "docs").glob("**/*.md"))


def test_all_exported_splitters_are_registered():
    exported = {name for name in model_selection.__all__ if isinstance(getattr(model_selection, name), type)}
    exported = {name for name in exported if issubclass(getattr(model_selection, name), StimulusSplitter)}
    assert exported == {spec.class_name for spec in SPLITTERS.values()}
