"""Tests for change points in the relation between two clocks."""

import numpy as np
import pytest

from sk_b2s.io._clocks._clock_fit import check_clock_fit, fit_clock


def make_break(s, ppm, start=180.0, stop=420.0):
    """Return marks of a clock with 30 ppm, and ppm more in between."""
    rate = 1 + 30e-6
    return 8 + rate * s + ppm * 1e-6 * (np.clip(s, start, stop) - start)


@pytest.mark.parametrize("ppm", [200, 300, 400, 600])
@pytest.mark.parametrize("step", [1.0, 10.0, 30.0])
def test_find_change_points_finds_rates(ppm, step):
    s = np.arange(0, 600, step)
    r = make_break(s, ppm) + 1e-3 * np.random.default_rng(ppm).standard_normal(len(s))
    with pytest.warns(UserWarning, match="the rate changes by") as caught:
        check_clock_fit(fit := fit_clock(np.zeros(len(s), int), s, r), "recording 'a'")
    assert [clock_break.kind for clock_break in fit.breaks] == ["rate", "rate"]
    np.testing.assert_allclose([clock_break.time for clock_break in fit.breaks], [188, 428], atol=2 + step)
    np.testing.assert_allclose([clock_break.size * 1e6 for clock_break in fit.breaks], [ppm, -ppm], rtol=0.2)
    worst = np.abs(fit.onsets[0] + (1 + fit.drift) * s - make_break(s, ppm)).max()
    assert fit.worst == pytest.approx(worst, abs=4e-3)
    assert f"up to {fit.worst * 1e3:.0f} ms wrong" in str(caught[-1].message)


def test_find_change_points_finds_jump():
    s = np.arange(0, 600, 10.0)
    r = 8 + s + 0.015 * (s > 300) + 1e-3 * np.random.default_rng(0).standard_normal(60)
    with pytest.warns(UserWarning, match=r"at 31\d\.\d s the clock jumps by \+1[456]\.\d ms"):
        check_clock_fit(fit_clock(np.zeros(60, int), s, r), "recording 'a'")


def test_find_change_points_finds_late_change():
    """The last marks are off a line through most marks."""
    s = np.arange(0, 600, 5.0)
    r = make_break(s, 600, 540, 600) + 1e-3 * np.random.default_rng(0).standard_normal(len(s))
    fit = fit_clock(np.zeros(len(s), int), s, r)
    assert fit.used.mean() < 0.95
    with pytest.warns(UserWarning, match=r"at 5[45]\d\.\d s the rate changes by \+[567]\d\d ppm"):
        check_clock_fit(fit, "recording 'a'")
