"""Fixtures of the evaluation tests."""

import pytest
from helpers.decoders import FAST, ONE, people, ridge

from sk_b2s import (
    StimulusKFold,
    benchmark,
)


@pytest.fixture(scope="session")
def done(tmp_path_factory):
    """Run two estimators on three folds: arguments, table and file."""
    X, y = people(together=2)
    arguments = {"estimators": {"one": ONE, "pooled": ridge(alphas=(1.0,), per_subject=False)}, "X": X, "y": y,
                 "cv": StimulusKFold(3), **FAST}  # fmt: skip
    path = tmp_path_factory.mktemp("benchmark") / "results.jsonl"
    return arguments, benchmark(path=path, **arguments), path


@pytest.fixture
def fits(tmp_path, monkeypatch):
    """Number of fits of ``Counting`` so far."""
    log = tmp_path / "fits.txt"
    log.touch()
    monkeypatch.setenv("FITS", str(log))
    return lambda: len(log.read_text().split())
