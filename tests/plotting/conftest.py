"""Matplotlib without a display, and no figure left open."""

import pytest

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def close_figures():
    """Close all figures after each test."""
    yield
    matplotlib.pyplot.close("all")
