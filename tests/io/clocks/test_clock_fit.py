"""Tests for the linear fit from stimulus to recording time."""

import warnings

import numpy as np
import pytest
from helpers.sync_recordings import PPM

from sk_b2s.io._clocks._clock_fit import check_clock_fit, fit_clock, match_clock_fit_marks


def test_fit_clock_ignores_false_marks():
    rng = np.random.default_rng(0)
    which = np.repeat([0, 1, 2], 100)
    onsets = np.array([3.0, 410.0, 900.0])
    s = np.tile(np.arange(100) * 3.0, 3)
    r = onsets[which] + s * (1 + PPM * 1e-6) + 0.001 * rng.standard_normal(300)
    false = rng.random(300) < 0.25
    r[false] += rng.uniform(-2, 2, false.sum())
    fit = fit_clock(which, s, r)
    np.testing.assert_allclose(fit.onsets, onsets, atol=1e-3)
    assert abs(fit.drift * 1e6 - PPM) < 3
    assert 0.0007 < fit.residual < 0.0015
    assert not fit.used[false & (np.abs(r - onsets[which] - s) > 0.1)].any()
    assert fit.used[~false].mean() > 0.95


def test_fit_clock_equals_least_squares():
    rng = np.random.default_rng(1)
    s = np.arange(50.0)
    r = 2 + s * 1.00004 + 1e-4 * rng.standard_normal(50)
    slope, onset = np.polyfit(s, r, 1)
    fit = fit_clock(np.zeros(50, int), s, r)
    np.testing.assert_allclose([fit.onsets[0], 1 + fit.drift], [onset, slope], rtol=1e-9)


def test_fit_clock_without_drift():
    fit = fit_clock([0, 1], [0.0, 0.0], [3.0, 90.0])
    assert fit.drift == 0
    assert fit.onsets.tolist() == [3.0, 90.0]


@pytest.mark.parametrize(
    ("which", "s", "r", "message"),
    [
        ([], [], [], "at least one mark"),
        ([0, 0], [0.0, 1.0], [0.0], "one value per mark"),
        ([0, 0], [0.0, np.nan], [0.0, 1.0], "Mark 1 is not"),
        ([0, 2], [0.0, 0.0], [0.0, 1.0], r"without gaps. Got \[0, 2\]"),
    ],
)
def test_fit_clock_refuses_invalid_marks(which, s, r, message):
    with pytest.raises(ValueError, match=message):
        fit_clock(which, s, r)


def test_fit_clock_accepts_equal_marks():
    fit = fit_clock([0, 0, 0], [5.0, 5.0, 5.0], [9.0, 9.0, 9.001])
    assert fit.drift == 0
    assert fit.onsets[0] == pytest.approx(4.0, abs=1e-3)


@pytest.mark.parametrize("jitter", [0.0, 1e-3])
def test_check_clock_fit_warns_fast_clock(jitter):
    s = np.arange(0, 600, 10.0)
    r = 8 + s * (1 + 372e-6) + jitter * np.random.default_rng(0).standard_normal(60)
    with pytest.warns(UserWarning, match=r"drift of \+37[0-9] ppm .* real clocks are within 100"):
        check_clock_fit(fit := fit_clock(np.zeros(60, int), s, r), "recording 'a'")
    assert fit.residual == pytest.approx(jitter, rel=0.3, abs=1e-9)


def test_check_clock_fit_accepts_straight_clocks():
    """Random jitter, rounding, missing marks and drifts up to 100 ppm."""
    rng = np.random.default_rng(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for draw in range(120):
            s = np.arange(0, 600, rng.choice([5.0, 10.0, 30.0]))
            s = np.delete(s, rng.choice(len(s), len(s) // 8, replace=False))
            which = np.searchsorted([0, 200, 400][: 1 + draw % 3], s, side="right") - 1
            r = 8 + 20 * which + s * (1 + rng.uniform(-1e-4, 1e-4)) + 1e-3 * rng.standard_normal(len(s))
            step = [0.0, 1 / 500, 1 / 128][draw % 3]
            r = np.round(r / step) * step if step else r
            check_clock_fit(fit_clock(which, s, r, resolution=step), "recording 'a'")


def test_check_clock_fit_counts_ignored_marks():
    s = np.arange(0, 600, 10.0)
    r = 8 + s + 1e-3 * np.random.default_rng(0).standard_normal(60)
    r[::6] += np.random.default_rng(1).uniform(0.1, 1, 10)
    with pytest.warns(UserWarning, match="10 of 60 marks are off the line and were ignored"):
        check_clock_fit(fit_clock(np.zeros(60, int), s, r), "recording 'a'")
    with pytest.warns(UserWarning, match="1 of 3 marks are off the line"):
        check_clock_fit(
            fit_clock(np.zeros(3, int), [0.0, 300.0, 600.0], [8.0, 308.03, 608.0]), "recording 'a'"
        )


def test_match_clock_fit_marks_skips_missing_and_extra():
    expected = np.arange(0, 3600, 1.0)
    observed = 10 + expected * (1 + 100e-6)  # 0.36 s at the end, above the tolerance
    kept = np.delete(observed, np.arange(5, 3600, 7))
    s, r = match_clock_fit_marks(expected, np.sort(np.r_[kept, kept[::50] + 0.4]), onset=10.0)
    np.testing.assert_allclose(r, 10 + s * (1 + 100e-6))
    assert len(s) == len(kept)


def test_match_clock_fit_marks_allows_drift_over_time():
    """At 500 ppm, marks every ten minutes shift by 0.3 s each."""
    expected = np.arange(600.0, 3601.0, 600.0)
    s, r = match_clock_fit_marks(expected, 10 + expected * (1 + 500e-6), onset=10.0)
    np.testing.assert_allclose(r - s - 10, 500e-6 * expected)
    assert len(match_clock_fit_marks(expected, 10 + expected * 1.01, onset=10.0)[0]) == 0


def test_match_clock_fit_marks_uses_triggers_once():
    expected = np.arange(0.08, 4.0, 0.08)
    s, r = match_clock_fit_marks(expected, np.delete(expected, [10, 25]), onset=0.0)
    np.testing.assert_allclose(r, s)
    assert len(s) == len(expected) - 2


def test_check_clock_fit_warns_scattered_marks():
    s = np.arange(0, 600, 10.0)
    late = 8 + s + 0.03 * (np.arange(60) % 2)  # every second mark is 30 ms late
    with pytest.warns(UserWarning, match=r"residual of 15\.. ms"):
        check_clock_fit(fit_clock(np.zeros(60, int), s, late), "p.fif")
    screen = 8 + s + np.random.default_rng(0).uniform(0, 1 / 60, 60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_clock_fit(fit_clock(np.zeros(60, int), s, screen), "p.fif")
    with pytest.raises(ValueError, match="in milliseconds"):
        check_clock_fit(fit_clock(np.zeros(60, int), s, 1000 * (8 + s)), "p.fif")
