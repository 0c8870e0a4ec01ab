"""Matplotlib without a display, and a page with all sections."""

import pytest

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
pytest.importorskip("matplotlib.pyplot")

from helpers.browser import Browser, find_browser  # noqa: E402
from helpers.pages import EVIL, Reader  # noqa: E402
from helpers.score_tables import (  # noqa: E402
    add_details,
    make_curve,
    make_retrieval_result,
    make_score_table,
)

from sk_b2s import write_report  # noqa: E402
from sk_b2s.reporting import _html  # noqa: E402


@pytest.fixture(scope="session")
def full_page(tmp_path_factory):
    """Write a page with all sections, a leak and an HTML injection."""
    results = add_details(make_score_table(("ridge", "encoder"), leak="ridge"), EVIL)
    failed = (
        (results["estimator"] == "encoder")
        & (results["control"] == "phase_randomized")
        & (results["fold"] == 1)
    )
    results.loc[failed, "error"] = f"ValueError: {EVIL}"
    figure = matplotlib.figure.Figure()
    figure.subplots().plot([1, 2, 3])
    return write_report(
        results, tmp_path_factory.mktemp("report") / "report.html", title=f"All of it {EVIL}", cv="StimulusKFold(2)",
        results_by_decoder={"ridge": make_retrieval_result(), EVIL: make_retrieval_result(seed=1)},
        curves={"Lag": make_curve("value", [0.0, 0.1])}, figures={"Mine": (figure, "A line from 1 to 3.")},
    )  # fmt: skip


@pytest.fixture
def empty_figures(monkeypatch):
    """Leave out the drawing, half of the time, for tests of the text."""
    monkeypatch.setattr(_html, "_draw_svg", lambda drawn, alt: "")


@pytest.fixture(scope="session")
def parsed_page(full_page):
    """Parse the page with all sections."""
    return Reader(full_page.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Start a headless Chromium or Chrome."""
    started = Browser(find_browser(), tmp_path_factory.mktemp("profile"))
    yield started
    started.close()
