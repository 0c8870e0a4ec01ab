"""Test checks of the fitted clock."""

import warnings

import numpy as np
import pytest

from sk_b2s.io._clocks._clock_fit import check_fit, fit_clock


def test_check_fit_warns_of_scattered_marks():
    s = np.arange(0, 600, 10.0)
    late = 8 + s + 0.03 * (np.arange(60) % 2)  # every second one comes 30 ms late
    with pytest.warns(UserWarning, match=r"scatter by 15\.. ms"):
        check_fit(fit_clock(np.zeros(60, int), s, late), "p.fif")
    screen = 8 + s + np.random.default_rng(0).uniform(0, 1 / 60, 60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_fit(fit_clock(np.zeros(60, int), s, screen), "p.fif")
    with pytest.raises(ValueError, match="in milliseconds"):
        check_fit(fit_clock(np.zeros(60, int), s, 1000 * (8 + s)), "p.fif")
