"""Tests of libraries of extras."""

import sys
import tomllib
from pathlib import Path

import pytest

from sk_b2s import Wav2Vec2Features
from sk_b2s._utils._extras import EXTRAS, get_extra_version, import_extra


def test_import_extra_names_extra(monkeypatch):
    assert import_extra("transformers.utils", "this").__name__ == "transformers.utils"
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"^this requires transformers\. .*pip install 'sk_b2s\[speech\]'"):
        import_extra("transformers", "this")


def test_get_extra_version_of_missing_library():
    assert get_extra_version("transformers")[0].isdigit()
    assert get_extra_version("not-a-library") == ""


def test_extras_are_in_the_project_file():
    path = Path(__file__).parents[2] / "pyproject.toml"
    extras = tomllib.loads(path.read_text())["project"]["optional-dependencies"]
    for name, extra in EXTRAS.values():
        assert any(requirement.startswith(f"{name}>=") for requirement in extras[extra]), name


def test_pretrained_features_name_their_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for model in ("whisper-tiny.en", "facebook/wav2vec2-large-xlsr-53"):
        from sk_b2s.features import _checkpoints

        _checkpoints._read_architecture.cache_clear()
        with pytest.raises(
            ImportError, match=r"requires transformers\. Install it with `pip install 'sk_b2s\[speech\]'"
        ):
            _checkpoints.read_checkpoint_architecture(model)
    assert Wav2Vec2Features().model
